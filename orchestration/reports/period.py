"""The period that a report is about, as it was typed. Pure."""

import re
from datetime import datetime, timedelta

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=400)  # what the journal keeps
ALLOWED = "48h, 7d, 2w, 90m, or a beginning such as 2026-11-20 or 2026-11-20T09:00 (this host's time)"


def parse_since(text: str, *, now: datetime) -> datetime:
    """The beginning of the period.

    Args:
        text: A length before now, or an instant; one without a time zone is in `now`'s.
        now: The end of the period, aware.

    Raises:
        ValueError: It is neither, not before now, or further back than the journal reaches. The text is for people.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([mhdw])", text.strip())
    if found:
        length = float(found[1]) * _UNITS[found[2]]
        if not length:
            raise ValueError(f"--since {text}: a period needs a length; allowed are {ALLOWED}")
        begin = now - length if length <= _LONGEST else None
    else:
        try:
            begin = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(f"--since {text}: allowed are {ALLOWED}") from None
        begin = begin if begin.tzinfo is not None else begin.replace(tzinfo=now.tzinfo)
        if begin >= now:
            raise ValueError(f"--since {text}: it is not in the past")
    if begin is None or now - begin > _LONGEST:
        raise ValueError(f"--since {text}: the journal reaches back {_LONGEST.days} days at the most")
    return begin
