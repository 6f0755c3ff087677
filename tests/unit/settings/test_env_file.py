"""Changing a `.env` file: what was not answered stays, and what was arrives exactly as it was given."""

import io

import pytest
from dotenv.parser import parse_stream
from hypothesis import given
from hypothesis import strategies as st

from orchestration.settings.env_file import (
    change_values,
    check_answers,
    find_read_otherwise,
    is_read_alike,
    read_values,
    render_value,
)

VALUES = [
    "ann",
    "two words",
    " blanks around ",
    "p'q",
    'say "hi"',
    "back\\slash",
    "ends\\",
    "\\\\",
    "#1",
    "a #b",
    "$HOME ${X} %d {y} !",
    "ü€",
    "=x=",
    "export A",
]
FILE = """# my notes

export TWS_USERID=ann   # the paper user
TWS_PASSWORD='old'

# GATEWAY_PORT=4002
GATEWAY_PORT=4003
this line is broken
GATEWAY_PORT=4004
LOG_KEEP=5"""


@pytest.mark.parametrize("value", VALUES)
def test_every_value_is_read_back_as_it_was_given(value: str) -> None:
    assert read_values(change_values(FILE, {"TWS_PASSWORD": value}))["TWS_PASSWORD"] == value
    assert read_values(change_values("", {"BOT_COMMAND": value})) == {"BOT_COMMAND": value}


@given(st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1))
def test_any_text_of_one_line_is_read_back_or_refused(value: str) -> None:
    try:
        rendered = render_value(value)
    except ValueError:
        assert value.splitlines() != [value], "only a line break of another kind stands in the way"
        return
    assert [one.value for one in parse_stream(io.StringIO(f"A={rendered}\nB=1\n"))] == [value, "1"]


def test_what_is_not_answered_stays_as_it_stands() -> None:
    changed = change_values(FILE, {"TWS_PASSWORD": "new", "GAMEPLAN_PATH": "plan.json"})
    assert changed == FILE.replace("'old'", "new") + "\nGAMEPLAN_PATH=plan.json\n"


def test_the_line_that_counts_is_changed_and_its_doubles_go() -> None:
    changed = change_values(FILE, {"GATEWAY_PORT": "4005"})
    assert read_values(changed)["GATEWAY_PORT"] == "4005"
    assert changed.splitlines() == [
        "# my notes",
        "",
        "export TWS_USERID=ann   # the paper user",
        "TWS_PASSWORD='old'",
        "",
        "# GATEWAY_PORT=4002",
        "this line is broken",
        "GATEWAY_PORT=4005",
        "LOG_KEEP=5",
    ]


def test_a_value_is_removed_with_its_line_alone() -> None:
    assert change_values(FILE, {"TWS_PASSWORD": None}) == FILE.replace("TWS_PASSWORD='old'\n", "") + "\n"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"GATEWAY_PROT": "4002"}, "did you mean GATEWAY_PORT?"),
        ({"COLOUR": "red"}, "COLOUR is not a variable of this program"),
        ({"ENV_FILE": "x"}, "ENV_FILE is not a variable"),
        ({"GATEWAY_PORT": "often"}, "GATEWAY_PORT: 'often' must be a whole number"),
        ({"TWS_PASSWORD": "a", "TWS_PASSWORD_FILE": "b"}, "only one of them is allowed"),
        ({"BOT_COMMAND": "bad\x07bell"}, "control characters"),
    ],
)
def test_a_wrong_answer_is_named_with_what_is_allowed(answers: dict[str, str], said: str) -> None:
    assert any(said in problem for problem in check_answers(answers)), check_answers(answers)


def test_no_problem_shows_a_secret() -> None:
    problems = check_answers({"TWS_PASSWORD": "s3cret\x07"})
    assert problems
    assert "s3cret" not in str(problems)


@pytest.mark.parametrize(
    ("written", "is_alike"),
    [
        # What stands after `NAME=`, and whether `docker compose --env-file` (2.26) makes the same value of it.
        ("pa$w0rd#1", False),
        ('"pa$w0rd#1"', False),
        ("'pa$w0rd#1'", True),
        ("a$$b", False),
        ("a\\$b", False),
        ('"a\\$b"', False),
        ("${HOME}", False),
        ("a${b", False),
        ("a$", True),
        ("$1 a$ b", True),
        ("a\\$1", True),
        ('"a$"', True),
        ("a # $b", True),
        ('"a" # $b', True),
        ("'a' # \\\\", True),
        (" # a comment", False),
        ("#a", True),
        ("'a\\\\b'", False),
        ("'a\\b'", True),
        ("'it\\'s'", True),
        ('"a\\\\b"', True),
        ('"a\\\\\'b"', True),
        ('"a\\\'b"', False),
        ('"a\\0b"', False),
        ('"it\'s \\"x\\""', True),
        ("%{x} `id`", True),
        ("", True),
    ],
)
def test_which_notations_compose_reads_alike(written: str, *, is_alike: bool) -> None:
    assert is_read_alike(written) is is_alike


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("pa$w0rd#1", "'pa$w0rd#1'"),
        ("back\\slash", "'back\\slash'"),
        ("ends\\", '"ends\\\\"'),
        ("it's", "'it\\'s'"),
        ("$x\\", "'$x\\\\'"),  # there is none that both read alike
    ],
)
def test_a_value_is_written_so_that_compose_reads_it_alike_where_that_can_be(value: str, written: str) -> None:
    assert render_value(value) == written


def test_the_last_line_of_a_name_tells_whether_compose_reads_it_otherwise() -> None:
    text = "A='$x'\n\n# c\nexport B = $x\nC=$x\nA=$x\nB='$x'\nD=$x\n"
    assert find_read_otherwise(text, {"A", "B", "C"}) == {"C": 5, "A": 6}
    assert find_read_otherwise("\n\nA=$x\n", {"A"}) == {"A": 3}
