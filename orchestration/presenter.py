"""What is shown: a live display in a terminal, plain lines elsewhere, one JSON document on request.

Everything for people goes to standard error when a program asked for JSON, so that standard output holds the document
and nothing else.

Every text goes through `orchestration.redaction` on its way out: what is shown may come from outside.
"""

import json
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orchestration.errors import GAMEPLAN_CHECK, FailureWord, StepStatus
from orchestration.redaction import Redactor, clean_line, clean_text, escape_unsafe, own_redactor
from orchestration.startup.report import Report, Result, StepReport
from orchestration.state_dir import find_damaged_files
from orchestration.system.clock import describe_instant, format_duration
from orchestration.system.streams import steady_stderr, steady_stdout

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from orchestration.errors import Check
    from orchestration.startup.context import Display, Step

_ICON = {StepStatus.OK: "✓", StepStatus.WARN: "!", StepStatus.FAIL: "✗", StepStatus.SKIP: "-"}
_COLOUR = {StepStatus.OK: "green", StepStatus.WARN: "yellow", StepStatus.FAIL: "red", StepStatus.SKIP: "dim"}
_RESULT_COLOUR = {Result.SUCCESS: "green", Result.PARTIAL: "yellow", Result.FAILURE: "red"}
_RESULT_TEXT = {
    Result.SUCCESS: "SUCCESS",
    Result.PARTIAL: "PARTIAL SUCCESS: the system runs, on the emergency plan",
    Result.FAILURE: "FAILURE: manual action required",
}
_REFRESHES_PER_SECOND = 4
_PLAIN_WAIT_EVERY_S = 10.0
_NARROW = 60  # a phone's terminal has some 40 columns
_GAP = 3  # between two columns of a drawn table, and at its edges
_COMMAND = re.compile(r"`[^`]*`")
_UNBROKEN = "\0"  # for a blank in a command; none is in a line that was cleaned
_LEAST_WIDTH, _LEAST_WIDTH_OF_SENTENCES = 14, 20
_SENTENCE = 48
_FEW_COLUMNS = 2


def build_display(*, as_json: bool) -> "Display":
    """The display that fits where the output goes."""
    stream = steady_stderr() if as_json else steady_stdout()
    if stream.isatty():
        return LiveDisplay(stream)
    return PlainDisplay(stream)


def print_json(document: object) -> None:
    """Print one JSON document on standard output; times as ISO 8601 writes them."""
    text = json.dumps(_redact_values(document), indent=2, ensure_ascii=False, default=_build_json_value)
    # What a terminal would act on, and bytes that are no text, are written in JSON's own escapes.
    steady_stdout().write(escape_unsafe(text) + "\n")


def _redact_values(value: object) -> object:
    """The document without secrets. Its keys are stable words."""
    if isinstance(value, str):
        return own_redactor().text(value)
    if isinstance(value, Mapping):
        return {key: _redact_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_values(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else _redact_values(_build_json_value(value))


def _build_json_value(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class PlainDisplay:
    """One line for each thing that happens: for logs, pipes and services."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waited_s = 0.0
        self._said = ""

    def begin(self, *, run_id: str, instance: str, simulated: bool, steps: "tuple[Step, ...]") -> None:
        """See `Display.begin`."""
        marked = " (SIMULATED)" if simulated else ""
        names = " → ".join(step.name for step in steps)
        self._line(f"run {run_id} of instance {instance}{marked}: {names}")

    def begin_step(self, step: "Step") -> None:
        """See `Display.begin_step`."""
        self._waited_s = 0.0
        self._said = ""
        self._line(f"{step.name} …")

    def show(self, text: str) -> None:
        """See `Display.show`. The same text is said once."""
        if text != self._said:
            self._said = text
            self._line(f"    {text}")

    def show_wait(self, elapsed_s: float, remaining_s: float, text: str) -> None:
        """See `Display.show_wait`. Said when it changes, and every ten seconds."""
        if text != self._said or elapsed_s - self._waited_s >= _PLAIN_WAIT_EVERY_S:
            self._said = text
            self._waited_s = elapsed_s
            self._line(f"    {text} ({elapsed_s:.0f} s, at most {remaining_s:.0f} s more)")

    def end_step(self, step: StepReport) -> None:
        """See `Display.end_step`. Why a step failed stands in the summary, which follows."""
        detail = "" if step.status is StepStatus.FAIL else f" {step.detail}"
        self._line(f"{step.name}: {step.status} ({step.duration_s or 0.0:.1f} s){detail}")

    def end(self, report: Report) -> None:
        """See `Display.end`."""
        for line in build_summary(report):
            self._line(line)

    def _line(self, text: str) -> None:
        self._stream.write(clean_line(text) + "\n")


class LiveDisplay:
    """A table of the steps that moves while it is looked at."""

    def __init__(self, stream: TextIO) -> None:
        self._console = build_console(stream)
        self._live: Live | None = None
        self._steps: tuple[Step, ...] = ()
        self._ended: dict[str, StepReport] = {}
        self._current: Step | None = None
        self._text = ""
        self._title = ""
        self._since: datetime | None = None

    def begin(self, *, run_id: str, instance: str, simulated: bool, steps: "tuple[Step, ...]") -> None:
        """See `Display.begin`."""
        from rich.live import Live

        self._steps = steps
        self._title = f"run {run_id} · instance {instance}" + (" · SIMULATED" if simulated else "")
        self._live = Live(console=self._console, get_renderable=self.render, refresh_per_second=_REFRESHES_PER_SECOND)
        self._live.start()

    def begin_step(self, step: "Step") -> None:
        """See `Display.begin_step`."""
        self._current = step
        self._text = ""
        self._since = datetime.now().astimezone()
        self._refresh()

    def show(self, text: str) -> None:
        """See `Display.show`."""
        self._text = clean_line(text)
        self._refresh()

    def show_wait(self, elapsed_s: float, remaining_s: float, text: str) -> None:
        """See `Display.show_wait`. The table refreshes itself."""
        self._text = clean_line(f"{text} (at most {max(0.0, remaining_s):.0f} s more)")
        del elapsed_s  # the row counts its own seconds

    def end_step(self, step: StepReport) -> None:
        """See `Display.end_step`."""
        self._ended[step.name] = step
        self._current = None
        self._refresh()

    def end(self, report: Report) -> None:
        """See `Display.end`."""
        self._ended |= {step.name: step for step in report.steps if step.status is not StepStatus.SKIP}
        if self._live is not None:
            self._refresh()
            self._live.stop()
        for line in build_summary(report):
            self._console.print(
                clean_line(line), style=_RESULT_COLOUR[report.result] if line.isupper() else None, markup=False
            )

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.refresh()

    def render(self) -> "RenderableType":
        """What is shown now: a table, or on a phone a stack."""
        return self._render_stack() if self._console.width < _NARROW else self._render_table()

    def _find_row(self, step: "Step") -> tuple[str, str, str, str]:
        """A step's icon, time, text and colour; without an icon it has not begun."""
        ended = self._ended.get(step.name)
        if ended is not None:
            time = "" if ended.duration_s is None else f"{ended.duration_s:.1f} s"
            return _ICON[ended.status], time, clean_line(ended.detail), _COLOUR[ended.status]
        if self._current is step and self._since is not None:
            elapsed = (datetime.now().astimezone() - self._since).total_seconds()
            return "▸", f"{elapsed:.0f} s", self._text, "cyan"
        return "", "", "", "dim"

    def _render_stack(self) -> "RenderableType":
        """For a phone: each step in a line, and under it what came of it."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text

        lines: list[RenderableType] = [Text(self._title)]
        for step in self._steps:
            icon, time, text, colour = self._find_row(step)
            lines.append(Text(f"{icon or ' '} {step.name}  {time}".rstrip(), colour))
            if text:
                lines.append(Padding(Text(text), (0, 0, 0, 2)))
        return Group(*lines)

    def _render_table(self) -> "RenderableType":
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self._title, title_justify="left", box=SIMPLE_HEAD, expand=True, pad_edge=False)
        table.add_column("", width=1)
        table.add_column("step", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True, width=7)
        table.add_column("", ratio=1, overflow="fold")
        for step in self._steps:
            icon, time, text, colour = self._find_row(step)
            name = Text(step.name, "" if icon else colour)
            table.add_row(Text(icon, colour), name, time, Text(text, colour))
        return table


def build_console(stream: TextIO) -> "Console":
    """What draws tables on a terminal, as wide as the terminal is: Rich takes a dumb one for 80 characters wide."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if console.is_dumb_terminal:
        size = shutil.get_terminal_size()
        console.size = size.columns, size.lines
    return console


def build_summary(report: Report) -> list[str]:
    """The last lines of a run: the result, what it means, what to do, where to look."""
    code = int(report.exit_code)
    lines = [f"{_RESULT_TEXT[report.result]} (exit code {code}, {report.duration_s:.1f} s)"]
    if report.failure:
        # A message that ends in its evidence (several wrong settings) is shown with the list alone.
        lines.append(f"{report.failure}: {report.message.removesuffix('; '.join(report.evidence) or ' ').rstrip()}")
    elif report.progress.bot is not None or report.progress.is_bot_withheld:
        lines.append(report.message)  # otherwise it would say what each step has just said
    elif report.progress.open_at_broker:
        lines.append(report.progress.open_at_broker)
    lines += [f"  | {line}" for line in report.evidence]
    told = f"{GAMEPLAN_CHECK}: " if report.fallback is not None else None  # the message says what is with the plan
    lines += [f"warning: {one}" for one in report.progress.warnings if told is None or not one.startswith(told)]
    if report.next_action:
        lines.append(f"next: {report.next_action}")
    bot = report.progress.bot
    if bot is not None:
        lines.append(f"bot's log: {bot.record.log_hint}")
    if report.log:
        lines.append(f"log: {report.log}")
    return lines


def print_checks(checks: "Sequence[Check]", *, as_json: bool, instance: str) -> None:
    """The preflight table, as JSON or for people."""
    failed = [check for check in checks if check.status is StepStatus.FAIL]
    # The words that a start would end with, the first one first: the exit code alone does not say which.
    words = list(dict.fromkeys(check.failure or FailureWord.CONFIG_INVALID for check in failed))
    if as_json:
        print_json(
            {
                "instance": instance,
                "result": "failure" if failed else "success",
                "exit_code": 1 if failed else 0,
                "failure": words[0] if words else None,
                "checks": build_checks_json(checks),
            }
        )
        return
    print_check_table(checks)
    warned = sum(check.status is StepStatus.WARN for check in checks)
    named = f" ({', '.join(words)})" if words else ""
    print_line(f"{len(checks)} check{'' if len(checks) == 1 else 's'}: {len(failed)} failed{named}, {warned} warned")


def build_checks_json(checks: "Sequence[Check]") -> list[dict[str, object]]:
    """The checks as programs read them."""
    return [
        {
            "name": check.name,
            "status": check.status.value,
            "detail": check.detail,
            "fix": check.fix or None,
            "failure": check.failure,
            "found_by": check.found_by or None,
        }
        for check in checks
    ]


def has_failed(checks: "Sequence[Check]") -> bool:
    """Whether a start would be refused."""
    return any(check.status is StepStatus.FAIL for check in checks)


def print_check_table(checks: "Sequence[Check]") -> None:
    """Checks as a table for people."""
    print_table(
        ("", "check", "found", "how to fix"),
        [
            (f"{_ICON[check.status]} {check.status}", check.name, check.detail, check.fix if _needs_fix(check) else "")
            for check in checks
        ],
        styles=[_COLOUR[check.status] for check in checks],
    )


def _needs_fix(check: "Check") -> bool:
    return check.status in {StepStatus.WARN, StepStatus.FAIL}


def print_table(
    headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, styles: Sequence[str] | None = None
) -> None:
    """A table: drawn in a terminal, tab-aligned plain text elsewhere."""
    rows = [tuple(clean_line(cell) for cell in row) for row in rows]
    if not steady_stdout().isatty():
        wanted = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
        for row in (headings, *rows) if any(headings) else rows:
            cells = [cell.ljust(width) for cell, width in zip(row, wanted, strict=True)]
            print_line("  ".join(cells).rstrip())
        return
    console = build_console(steady_stdout())
    widths = find_column_widths(headings, rows, console.width)
    if widths is None:
        for number, row in enumerate(rows):
            for place, line in enumerate(stack_row(headings, row, console.width)):
                style = styles[number] if styles and place == 0 else None
                console.print(clean_line(line), style=style, markup=False, soft_wrap=True)
        return
    table = draw_table(headings, rows, widths, styles)
    console.print(table)


def draw_table(
    headings: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    widths: Sequence[int],
    styles: Sequence[str] | None = None,
) -> "RenderableType":
    """A table with columns of these widths (`find_column_widths`), as a terminal draws it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=any(headings))
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(heading, overflow="fold", width=width)
    for number, row in enumerate(rows):
        style = styles[number] if styles else ""
        table.add_row(*(Text(cell, style if column == 0 else "") for column, cell in enumerate(row)))
    return table


def find_column_widths(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], width: int) -> list[int] | None:
    """How wide each column of a table is in a terminal, or None where the table does not fit. Pure.

    No word is broken. Columns that have little to say get what they need, the others share the rest.

    Args:
        headings: One for each column.
        rows: The cells.
        width: Of the terminal, in characters.
    """
    columns = list(zip(headings, *rows, strict=True))
    wanted = [max(len(cell) for cell in column) for column in columns]
    left = width - _GAP * len(columns)
    if sum(wanted) <= left:
        return wanted
    # A sentence in a column of a few characters has no broken word, and still cannot be read.
    least = [
        max(
            min(want, _LEAST_WIDTH if want < _SENTENCE else _LEAST_WIDTH_OF_SENTENCES),
            *(len(word) for cell in column for word in cell.split() or [""]),
        )
        for column, want in zip(columns, wanted, strict=True)
    ]
    if sum(least) > left:
        return None
    found = list(least)
    for column in sorted(range(len(columns)), key=lambda number: wanted[number] - least[number]):
        others = sum(one < want for one, want in zip(found, wanted, strict=True))
        share = (left - sum(found)) // max(1, others)
        found[column] += min(share, wanted[column] - found[column])
    return found


def stack_row(headings: tuple[str, ...], row: tuple[str, ...], width: int) -> list[str]:
    """One row of a table that does not fit into the terminal: what it is about, and under it each cell. Pure."""
    heads, rest = (1, row[1:]) if len(row) <= _FEW_COLUMNS else (2, row[2:])
    lines = [" ".join(cell for cell in row[:heads] if cell)]
    for heading, cell in zip(headings[heads:], rest, strict=True):
        if cell:
            lines += wrap_words(f"{heading}: {cell}" if heading and len(row) > _FEW_COLUMNS else cell, width, "  ")
    return lines


def wrap_words(text: str, width: int, indent: str = "") -> list[str]:
    """The text in lines of at most the width; a word that is longer stays whole. Pure."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [text]


def print_line(text: str) -> None:
    """One line for people on standard output; in a terminal it is broken between words.

    A command in backticks is left whole where there is room, so that it is copied as one line.
    """
    _write_fitting(steady_stdout(), clean_line(text))


def _write_fitting(stream: TextIO, line: str) -> None:
    parts = fit_line(line, shutil.get_terminal_size().columns) if stream.isatty() else [line]
    stream.writelines(clean_line(part) + "\n" for part in parts)


def fit_line(line: str, width: int) -> list[str]:
    """A line for a terminal of this width, broken between words; see `print_line`. Pure."""
    outside = _COMMAND.sub("", line)
    if line.startswith(" ") or (width >= _NARROW and (" && " in outside or "`" in outside)):
        return [line]
    if width < _NARROW:
        return wrap_words(line, width)
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _UNBROKEN), line)
    return [part.replace(_UNBROKEN, " ") for part in wrap_words(whole, width)]


def write_prompt(text: str, *, as_json: bool, redactor: Redactor | None = None) -> None:
    """Show a question without ending the line; on standard error where a program asked for JSON.

    Args:
        text: The question.
        as_json: Whether standard output is for a document.
        redactor: Knows what may not be shown; by default every secret that this process has loaded.
    """
    stream = steady_stderr() if as_json else steady_stdout()
    shown = clean_text(text, redactor)  # before it is broken into lines: a mask has a length of its own
    fitting = fit_text(shown, shutil.get_terminal_size().columns) if stream.isatty() else shown
    stream.write(clean_text(fitting, redactor))
    stream.flush()


def fit_text(text: str, width: int) -> str:
    """The text for a terminal of this width: whole lines are broken between words and keep their indent. Pure."""
    *lines, unended = text.split("\n")
    fitting = [
        part
        for line in lines
        for part in (
            wrap_words(line.strip(), width, line[: len(line) - len(line.lstrip(" "))]) if line.strip() else [line]
        )
    ]
    return "\n".join([*fitting, unended])


def has_reader() -> bool:
    """Whether standard output still leads somewhere: a followed log can stop when its reader is gone."""
    return not steady_stdout().is_lost


def warn(text: str) -> None:
    """One line for people on standard error, broken as `print_line` does."""
    _write_fitting(steady_stderr(), clean_line(text))


def warn_of_damage(state_dir: Path) -> None:
    """Name every file of the state folder that cannot be used, on standard error: what is shown may rest on it."""
    for damaged in find_damaged_files(state_dir):
        warn(f"warning: {damaged}")


def warn_of_now(text: str) -> None:
    """What is at work now, on standard error, if that is a terminal; the next line takes its place."""
    stream = steady_stderr()
    if stream.isatty():
        stream.write(f"{clean_line(text)}\r")


def describe_moment(moment: datetime | str | None) -> str:
    """A moment for people, in the host's own time zone, which is named; empty for none."""
    if not moment:
        return ""
    return describe_instant(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)


def describe_duration(duration_s: float | None) -> str:
    """A duration for people; empty for none."""
    return "" if duration_s is None else format_duration(duration_s)
