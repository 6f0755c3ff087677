"""Tables in a terminal of any width: no word is broken, and nothing is lost."""

import pytest

from orchestration.presenter import find_column_widths, stack_row, wrap_words

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
