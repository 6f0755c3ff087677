"""Numbers on the command line."""

import pytest

from orchestration.commands.flags import read_count, read_number


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
