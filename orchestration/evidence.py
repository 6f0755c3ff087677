"""Lines that show what happened, fit to be shown: the last of them, and no secret in them. Pure."""

import functools
from collections.abc import Iterable, Sequence

from orchestration.redaction import Redactor

_LONGEST_LINE = 400


def redact(lines: Iterable[str], secrets: Sequence[str]) -> tuple[str, ...]:
    """The lines with every secret masked and overlong ones cut."""
    redactor = _build_redactor(tuple(secrets))
    return tuple(_cut(redactor.text(line)) for line in lines)


def last_lines(lines: Sequence[str], count: int) -> tuple[str, ...]:
    """The last `count` lines that say something."""
    telling = [line.rstrip() for line in lines if line.strip()]
    return tuple(telling[-count:])


@functools.lru_cache(maxsize=1)
def _build_redactor(secrets: tuple[str, ...]) -> Redactor:
    return Redactor(secrets)


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " …"
