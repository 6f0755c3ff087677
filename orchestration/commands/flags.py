"""Numbers that a command line gives: Invoke's own reading of one that is none ends in a traceback."""

import math


def read_count(flag: str, text: str, *, least: int = 1) -> int:
    """A whole number that is not negative.

    Args:
        flag: The flag's name as it is typed, for the message.
        text: What was given with it.
        least: The least that is allowed, 0 or more.

    Raises:
        SystemExit: It is none; with a message that names flag, text and what is allowed, which makes the exit code 1.
    """
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise SystemExit(f"{flag}: {text!r} is not a whole number of {least} or more")
    return int(text)


def read_number(flag: str, text: str) -> float:
    """A number that is finite.

    Args:
        flag: The flag's name as it is typed, for the message.
        text: What was given with it.

    Raises:
        SystemExit: It is none; with a message that names flag and text, which makes the exit code 1.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SystemExit(f"{flag}: {text!r} is not a number")
    return number
