"""Lines that show what happened, fit to be shown: the last of them, and no secret in them. Pure."""

from collections.abc import Iterable, Sequence

_MASK = "********"
_LONGEST_LINE = 400


def redact(lines: Iterable[str], secrets: Sequence[str]) -> tuple[str, ...]:
    """The lines with every secret masked and overlong ones cut."""
    # The longest first: one secret may hold another.
    ordered = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    redacted = []
    for line in lines:
        text = line
        for secret in ordered:
            text = text.replace(secret, _MASK)
        redacted.append(text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + " …")
    return tuple(redacted)


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
