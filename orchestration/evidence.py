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


def mask_account(account: str) -> str:
    """An account id as it may be shown: `DU1234567` becomes `DU*****67`."""
    shown_head, shown_tail = 2, 2
    if len(account) <= shown_head + shown_tail:
        return account[:1] + "*" * (len(account) - 1)
    hidden = len(account) - shown_head - shown_tail
    return account[:shown_head] + "*" * hidden + account[-shown_tail:]


@functools.lru_cache(maxsize=1)
def _build_redactor(secrets: tuple[str, ...]) -> Redactor:
    return Redactor(secrets)


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " …"
