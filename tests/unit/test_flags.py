"""Numbers on the command line."""

import pytest

from orchestration.commands.flags import asks_for_json, find_tasks, is_short_debug, read_count, read_number
from tasks import namespace


@pytest.mark.parametrize(("text", "least", "count"), [("1", 1, 1), ("0", 0, 0), ("007", 1, 7)])
def test_a_count_is_read(text: str, least: int, count: int) -> None:
    assert read_count("--lines", text, least=least) == count


@pytest.mark.parametrize("text", ["", "abc", "-1", "0", "1.5", "²", "1e3", " 5"])
def test_what_is_no_count_is_named_with_its_flag(text: str) -> None:
    with pytest.raises(SystemExit) as refused:
        read_count("--lines", text)
    assert refused.value.code == f"--lines: {text!r} is not a whole number of 1 or more"


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1h"])
def test_what_is_no_number_is_named_with_its_flag(text: str) -> None:
    assert read_number("--hours", "0.5") == 0.5
    with pytest.raises(SystemExit) as refused:
        read_number("--hours", text)
    assert refused.value.code == f"--hours: {text!r} is not a number"


_OWN = {"startup": ("dry-run", "d", "json", "j"), "bot.start": ("json", "j"), "install": ("dry-run", "d")}


@pytest.mark.parametrize(
    ("line", "is_invokes"),
    [
        ("inv -d startup", True),
        ("inv -ed startup", True),
        ("inv bot.start -d", True),
        ("inv startup -d bot.start -jd", True),
        ("inv startup -d", False),  # its own: --dry-run
        ("inv startup -jd", False),
        ("inv --debug startup", False),
        ("inv -D 1 startup", False),
        ("inv --dry bot.start --json", False),
    ],
)
def test_a_short_flag_that_invoke_takes_for_its_own_debugging_is_known(
    line: str,
    is_invokes: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_short_debug(line.split(), _OWN) is is_invokes


@pytest.mark.parametrize(
    ("line", "asks"),
    [("--json", True), ("-j", True), ("-jd", True), ("-dj", True), ("--jsonx", False), ("", False), ("json -d", False)],
)
def test_json_is_asked_for_by_either_of_its_flags(line: str, *, asks: bool) -> None:
    assert asks_for_json(line.split()) is asks


@pytest.mark.parametrize(
    ("line", "tasks"),
    [
        ("inv", ()),
        ("inv help startup", ("help", "startup")),
        ("inv startup --simulate help", ("startup", "help")),
        ("inv hold --reason help", ("hold",)),
        ("inv hold -r help resume", ("hold", "resume")),
        ("inv hold --reason=help", ("hold",)),
        ("inv shutdown --keep-gateway help", ("shutdown", "help")),
        ("inv install --windows-user help status", ("install", "status")),
    ],
)
def test_the_tasks_of_a_command_line_are_known_and_a_flags_value_is_none(line: str, tasks: tuple[str, ...]) -> None:
    assert find_tasks(line.split(), namespace) == tasks
