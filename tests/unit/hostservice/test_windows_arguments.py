"""One line that three programs read, each by its own rules, and nothing that an operator chose gets lost."""

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestration.hostservice.windows_arguments import (
    build_wsl_arguments,
    is_wsl_argument,
    quote_argument,
)
from tests.unit.hostservice.windows_rules import (
    expand_as_task_scheduler,
    run_as_windows,
    split_as_command_line_to_argv,
)

_VARIABLES = {"PATH": r"C:\Windows;C:\Program Files", "USERNAME": "ann", "x": "y", "B": '"'}

# From the reference page of CommandLineToArgvW and the pages that it leads to; program first.
_PUBLISHED = [
    (r'p "a b c" d e', ["p", "a b c", "d", "e"]),
    (r'p "ab\"c" "\\" d', ["p", 'ab"c', "\\", "d"]),
    (r'p a\\\b d"e f"g h', ["p", r"a\\\b", "de fg", "h"]),
    (r"p a\\\"b c d", ["p", r"a\"b", "c", "d"]),
    (r'p a\\\\"b c" d e', ["p", r"a\\b c", "d", "e"]),
    (r'"C:\my dir\p" ""', [r"C:\my dir\p", ""]),
    (r"C:\x\p\ y", ["C:\\x\\p\\", "y"]),
]


@pytest.mark.parametrize(("line", "arguments"), _PUBLISHED)
def test_the_rules_of_this_test_are_the_published_ones(line: str, arguments: list[str]) -> None:
    assert split_as_command_line_to_argv(line) == arguments


def test_a_variable_in_an_argument_line_is_replaced_unless_it_is_unknown() -> None:
    assert expand_as_task_scheduler("a%USERNAME%b %nope% 100% %x", _VARIABLES) == "aannb %nope% 100% %x"
    assert expand_as_task_scheduler("a$(Arg0)b $(other)", _VARIABLES) == "ab $(other)"


_HOSTILE = [
    "/opt/my bot",
    "/opt/100%PATH%/x",
    "/opt/%USERNAME%",
    "/opt/%%x%%",
    "/opt/$(Arg0)/$HOME/$(Arg1)",
    '/opt/say "hi"',
    "/opt/ends with a backslash\\",
    '/opt/\\"',
    "/opt/\\\\%PATH%\\",
    "/opt/o'neil & sons <1>",
    "/opt/Müller/交易/🤖",
    "/opt/a=b;c|d^e",
    "/opt/`date`",
    "",
    "%",
    '"',
    '""',
    "\\",
]


@pytest.mark.parametrize("text", _HOSTILE)
def test_a_hostile_path_arrives_as_it_is(text: str) -> None:
    wrapper = PurePosixPath(f"/srv{text}/production-startup.sh")
    line = build_wsl_arguments(
        distribution="Ubuntu-24.04", wrapper=wrapper, environment=[("INSTANCE", "second"), ("ENV_FILE", text)]
    )
    options, program = run_as_windows(line, _VARIABLES)
    assert options == {"-d": "Ubuntu-24.04", "--cd": "/"}
    assert program == [
        "/usr/bin/env",
        "INSTANCE=second",
        f"ENV_FILE={text}",
        "bash",
        str(wrapper),
        "--service",
    ]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])), st.text(alphabet="ab %$\"\\()'A0="))
@example("%PATH%", "$(Arg0)")
@example('%x%"', '%B%\\"')
def test_any_text_arrives_as_it_is(one: str, other: str) -> None:
    line = f"-d U -e env {quote_argument(one)} {quote_argument(other)}"
    assert run_as_windows(line, _VARIABLES)[1] == ["env", one, other]


def test_a_plain_line_is_one_that_a_person_can_read() -> None:
    line = build_wsl_arguments(distribution="Ubuntu", wrapper=PurePosixPath("/opt/bot/start.sh"))
    assert line == "-d Ubuntu --cd / -e /usr/bin/env bash /opt/bot/start.sh --service"


@pytest.mark.parametrize("name", ["Ubuntu", "Ubuntu-24.04", "my_linux", "Übuntu"])
def test_an_ordinary_distribution_name_can_be_given(name: str) -> None:
    assert is_wsl_argument(name)
    assert run_as_windows(f"-d {name} -e true", {})[0] == {"-d": name}


@pytest.mark.parametrize("name", ["My Linux", 'a"b', "tab\tbed", "-d", "", "%PATH%", "$(Arg0)"])
def test_a_name_that_wsl_cannot_be_told_is_known(name: str) -> None:
    assert not is_wsl_argument(name)
