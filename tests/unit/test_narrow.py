"""Tables in a terminal of any width: no word is broken, and nothing is lost."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from orchestration.errors import FailureWord, State, StepStatus
from orchestration.presenter import (
    LiveDisplay,
    draw_table,
    find_column_widths,
    fit_line,
    fit_text,
    stack_row,
    wrap_words,
)
from orchestration.startup.context import Step, StepResult
from orchestration.startup.report import Progress, Report, StepReport

HEADINGS = ("", "check", "found", "how to fix")
ROWS = (
    ("ok", "configuration", "paper trading, external gateway at 127.0.0.1:4002", ""),
    ("! warn", "alerts", "no alert channel: neither DISCORD_WEBHOOK_URL nor ALERT_URLS is set", "Set ALERT_URLS."),
)


@pytest.mark.parametrize("width", range(20, 200, 7))
def test_a_table_fits_without_a_broken_word_or_is_stacked(width: int) -> None:
    widths = find_column_widths(HEADINGS, ROWS, width)
    if widths is None:
        assert width < 80
        return
    assert sum(widths) + 2 * len(widths) <= width
    for row in ROWS:
        for cell, room in zip(row, widths, strict=True):
            assert all(len(word) <= room for word in cell.split())


def test_a_wide_terminal_gives_every_column_what_it_wants() -> None:
    assert find_column_widths(("", ""), (("bot", "not running"),), 80) == [3, 11]


def test_a_phone_is_shown_a_stack() -> None:
    assert find_column_widths(HEADINGS, ROWS, 40) is None
    assert stack_row(HEADINGS, ROWS[1], 40) == [
        "! warn alerts",
        "  found: no alert channel: neither",
        "  DISCORD_WEBHOOK_URL nor ALERT_URLS is",
        "  set",
        "  how to fix: Set ALERT_URLS.",
    ]
    assert stack_row(("", ""), ("  API", "ready: account DU****567, server version 178"), 40) == [
        "  API",
        "  ready: account DU****567, server",
        "  version 178",
    ]


def test_a_word_longer_than_the_terminal_stays_whole() -> None:
    path = "/opt/zero-touch/current/state/emergency_gameplan.json"
    assert wrap_words(f"see {path} now", 40) == ["see", path, "now"]
    assert wrap_words("", 40) == [""]


DETAILS = (
    "the simulator gateway was missing and has been started",
    "logged in: account DU****567, server version 178, latency 0 ms",
)


def _render_live(width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = io.StringIO()
    display = LiveDisplay(shown)
    steps = tuple(
        Step(name=name, state=State.GATEWAY_STARTING, act=lambda _, progress: StepResult(progress=progress, detail=""))
        for name in ("gateway.up", "gateway.wait", "gameplan.check")
    )
    display.begin(run_id="20261129_032558_f6f5", instance="default", simulated=True, steps=steps)
    for step, detail in zip(steps, DETAILS, strict=False):
        ended = StepReport(name=step.name, state=step.state, status=StepStatus.OK, duration_s=0.2, detail=detail)
        display.end_step(ended)
    display.end(
        Report(
            run_id="20261129_032558_f6f5",
            instance="default",
            simulated=True,
            failure=FailureWord.INTERRUPTED,
            message="",
            next_action="",
            started_at=datetime(2026, 11, 29, tzinfo=UTC),
            duration_s=1.0,
            steps=(),
            progress=Progress(),
        )
    )
    drawn = io.StringIO()
    Console(file=drawn, width=width).print(display.render())
    return drawn.getvalue()


@pytest.mark.parametrize("width", [38, 40, 59, 60, 80, 120])
def test_the_steps_of_a_start_break_no_word_in_any_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _render_live(width, monkeypatch)
    words = shown.split()
    for detail in DETAILS:
        assert set(detail.split()) <= set(words), shown
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())


@pytest.mark.parametrize("width", [60, 72, 80, 100])
def test_a_drawn_table_breaks_no_word(width: int) -> None:
    headings = ("started", "command", "result", "code", "took", "alerts", "")
    said = "The bot runs as process 25195 on strategy A."
    row = ("2026-11-29 03:25:58 UTC", "startup", "success", "0", "1.2 s", "4", said)
    widths = find_column_widths(headings, [row], width)
    if widths is None:
        assert width < 80
        return
    shown = io.StringIO()
    Console(file=shown, width=width).print(draw_table(headings, [row], widths))
    assert set(" ".join(row).split()) <= set(shown.getvalue().split()), shown.getvalue()
    assert max(len(line.rstrip()) for line in shown.getvalue().splitlines()) <= width


def test_a_line_is_broken_between_words_but_a_command_stays_in_one_line_where_there_is_room() -> None:
    text = "The bot runs as process 25195 on strategy A, and the gateway is ready. Note: nothing watches the bot."
    assert fit_line(text, 80) == [text[:77].rstrip(), text[77:]]
    advice = "run `inv startup --replace`, which stops the bot that runs and starts another one in its place"
    assert fit_line(advice, 80) == [advice[:77], advice[78:]]
    assert fit_line("Start it again when it is meant to run, as before: " + advice, 72)[1].startswith(
        "`inv startup --replace`"
    )
    assert (
        fit_line("cd /srv && inv startup --replace, in the folder of the project, which has a long name", 60)[1:] == []
    )
    assert len(fit_line(advice, 40)) == 3


def test_a_question_is_broken_between_words_and_keeps_its_indent() -> None:
    asked = (
        "\n6. Address for alerts\n   A Discord webhook, or an Apprise address. A secret: it is not shown.\n   [none] "
    )
    lines = ["6. Address for alerts", "   A Discord webhook, or an Apprise", "   address. A secret: it is not shown."]
    assert fit_text(asked, 40) == "\n".join(["", *lines, "   [none] "])
    assert fit_text(asked, 200) == asked
