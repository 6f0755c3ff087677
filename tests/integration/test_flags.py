"""A number on the command line that is none: a line that names it, no traceback."""

import sys

import pytest

from tests.system import System


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("invoke", "logs --lines=many"),
        ("invoke", "history --limit=many"),
        ("invoke", "soak --hours=many"),
        ("invoke", "soak --time-scale=many"),
        ("invoke", "soak --seed=many"),
        ("fabric", "-H localhost deploy --timeout=many"),
        ("fabric", "-H localhost rollback --timeout=many"),
        ("fabric", "-H localhost logs --lines=many"),
    ],
)
def test_a_command_with_a_wrong_number_says_so_in_a_line(program: str, line: str, system: System) -> None:
    ended = system.run([sys.executable, "-m", program, *line.split()])
    assert ended.code == 1
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert "'many' is not a" in ended.err
