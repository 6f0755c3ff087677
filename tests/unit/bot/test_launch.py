from pathlib import Path

import pytest

from orchestration.bot.log import read_last_lines
from orchestration.system.signals import describe_exit


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was ended by SIGKILL"),
        (-11, "was ended by SIGSEGV"),
        (-250, "was ended by signal 250"),
    ],
)
def test_an_end_is_described_in_words(exit_code: int, expected: str) -> None:
    assert describe_exit(exit_code) == expected


@pytest.mark.parametrize(
    ("content", "count", "expected"),
    [
        (b"", 5, ()),
        (b"one\ntwo\nthree\n\n\n", 2, ("two", "three")),
        (b"no newline", 2, ("no newline",)),
        (b"a\xffb\r\nc", 5, ("a\ufffdb", "c")),
        (b"x" * 5000, 1, ("x" * 2000 + " …",)),
        (b"one\ntwo", 0, ()),
        (b"y" * 300_000 + b"\nlast", 20, ("y" * 2000 + " …", "last")),
    ],
)
def test_the_last_lines_of_a_log_are_read_whatever_is_in_it(
    tmp_path: Path, content: bytes, count: int, expected: tuple[str, ...]
) -> None:
    log = tmp_path / "bot.log"
    log.write_bytes(content)
    assert read_last_lines(log, count) == expected


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert read_last_lines(tmp_path / "none.log", 20) == ()
    assert read_last_lines(tmp_path, 20) == ()
