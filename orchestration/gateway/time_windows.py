"""Times of the day or week at which something is expected, such as the broker's resets. Pure."""

import re
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_A_DAY = 24 * 60
_WINDOW = re.compile(
    r"(?:(?P<from_day>[A-Za-z]{3})\s+)?(?P<from>\d\d:\d\d)\s*-\s*"
    r"(?:(?P<to_day>[A-Za-z]{3})\s+)?(?P<to>\d\d:\d\d)\s+(?P<zone>\S+)"
)
_ALLOWED = "`HH:MM-HH:MM ZONE` for each day, or `Fri HH:MM-Sat HH:MM ZONE` for each week"


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of each day, or of each week, in the wall time of one zone. The end does not belong to it.

    Attributes:
        start_minute: Minutes since midnight, or since Monday's midnight for a weekly one.
        end_minute: The same; less than the start where the window crosses midnight, or the week's end.
        is_weekly: Whether it comes once a week.
        zone: Whose wall time it is.
    """

    start_minute: int
    end_minute: int
    is_weekly: bool
    zone: zoneinfo.ZoneInfo

    def contains(self, instant: datetime) -> bool:
        """Whether an aware instant lies in it."""
        local = instant.astimezone(self.zone)
        minute = local.hour * 60 + local.minute + (local.weekday() * _MINUTES_A_DAY if self.is_weekly else 0)
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


def parse_windows(text: str) -> tuple[Window, ...]:
    """The windows of a setting, with `;` between them; none in an empty text.

    Raises:
        ValueError: What is wrong and what is allowed, for the person who wrote it.
    """
    return tuple(_parse_window(part.strip()) for part in text.split(";") if part.strip())


def is_in_any(windows: Iterable[Window], instant: datetime) -> bool:
    """Whether an aware instant lies in one of the windows."""
    return any(window.contains(instant) for window in windows)


def _parse_window(text: str) -> Window:
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a window; allowed: {_ALLOWED}")
    if bool(match["from_day"]) != bool(match["to_day"]):
        raise ValueError(f"{text!r} names a day on one side only; allowed: {_ALLOWED}")
    is_weekly = bool(match["from_day"])
    start = _parse_minute(match["from"], match["from_day"], text)
    end = _parse_minute(match["to"], match["to_day"], text)
    if start == end:
        raise ValueError(f"{text!r} begins and ends at the same time")
    try:
        zone = zoneinfo.ZoneInfo(match["zone"])
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{match['zone']!r} is not a time zone of the tz database, for example `America/New_York`"
        ) from None
    return Window(start_minute=start, end_minute=end, is_weekly=is_weekly, zone=zone)


def _parse_minute(clock: str, day: str | None, text: str) -> int:
    hour, minute = int(clock[:2]), int(clock[3:])
    if hour > 23 or minute > 59:  # noqa: PLR2004 - the clock's own limits
        raise ValueError(f"{clock} in {text!r} is not a time of day")
    if day is None:
        return hour * 60 + minute
    if day.lower() not in _DAYS:
        raise ValueError(f"{day!r} in {text!r} is not a day; days are Mon, Tue, Wed, Thu, Fri, Sat, Sun")
    return _DAYS.index(day.lower()) * _MINUTES_A_DAY + hour * 60 + minute
