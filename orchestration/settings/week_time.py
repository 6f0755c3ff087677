"""An hour of the week, and the broker's: IBKR ends every session on Sunday at 01:00 US Eastern. Pure.

Hours of the week are wall time of a zone. Where its clock changes, one hour does not exist and one comes twice. The
first is then an hour later, and of the second its second time counts: a login never lies before the end of the sessions
that it is to replace.
"""

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass

from orchestration.system.clock import describe_instant

US_EASTERN = zoneinfo.ZoneInfo("America/New_York")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SUNDAY = 6
_SESSIONS_END = dt.time(1, 0)
_WEEK = dt.timedelta(days=7)
# Later than that it is nearer to the next end of all sessions than to the last one: the week would be lost.
_LATEST_AFTER_END = _WEEK / 2
_CHECKED_WEEKS = 53
_FIRST_CHECKED = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
_TEXT = re.compile(r"(?P<day>[A-Za-z]{3})\s+(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class WeekTime:
    """An hour of the week.

    Attributes:
        weekday: 0 is Monday.
        time: The time of day.
    """

    weekday: int
    time: dt.time

    def __str__(self) -> str:
        return f"{_DAYS[self.weekday]} {self.time:%H:%M}"


def parse_week_time(text: str) -> WeekTime:
    """The hour of the week that a text names, for example `Sun 18:00`.

    Raises:
        ValueError: It names none.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError
    weekday = [day.lower() for day in _DAYS].index(match["day"].lower())
    return WeekTime(weekday=weekday, time=dt.time(int(match["hour"]), int(match["minute"])))


def find_session_end(now: dt.datetime) -> dt.datetime:
    """The last Sunday 01:00 US Eastern up to an instant: what logged in before it is logged out."""
    return _last(WeekTime(weekday=_SUNDAY, time=_SESSIONS_END), US_EASTERN, now)


def find_next_session_end(now: dt.datetime) -> dt.datetime:
    """The next Sunday 01:00 US Eastern, at the instant or after it."""
    return find_next(WeekTime(weekday=_SUNDAY, time=_SESSIONS_END), US_EASTERN, now)


def describe_full_login(full_login_at: dt.datetime | None, now: dt.datetime) -> str:
    """When the last full login was seen, and what that is worth this week, as one sentence."""
    ended_at = find_session_end(now)
    end = f"Sunday 01:00 US Eastern ({describe_instant(ended_at)}), when IBKR ended every session"
    if full_login_at is None:
        return f"No full login of the gateway is known since {end}."
    relation = "newer" if full_login_at >= ended_at else "older"
    return f"The gateway's last full login was seen at {describe_instant(full_login_at)}: it is {relation} than {end}."


def find_next(hour: WeekTime, zone: zoneinfo.ZoneInfo, after: dt.datetime) -> dt.datetime:
    """The first time after an instant, or at it, that an hour of the week comes."""
    return next(at for at in _list_around(hour, zone, after) if at >= after)


def find_week_time_problem(hour: WeekTime, zone: zoneinfo.ZoneInfo) -> str:
    """Why a weekly login at this hour would be lost, as the rest of a sentence; empty where it would not."""
    now = _FIRST_CHECKED
    for _ in range(_CHECKED_WEEKS):
        end = find_session_end(now)
        if find_next(hour, zone, end) - end > _LATEST_AFTER_END:
            return (
                "does not follow Sunday 01:00 US Eastern, when IBKR ends every session: a login before that is lost; "
                "it must come within three and a half days after it in every week of the year "
                f"(in at least one of them from {end.astimezone(zone):%a %H:%M} in {zone.key} on)"
            )
        now += _WEEK
    return ""


def _last(hour: WeekTime, zone: zoneinfo.ZoneInfo, now: dt.datetime) -> dt.datetime:
    return max(at for at in _list_around(hour, zone, now) if at <= now)


def _list_around(hour: WeekTime, zone: zoneinfo.ZoneInfo, now: dt.datetime) -> Iterator[dt.datetime]:
    """The hour's instants of the weeks around one, in order, in UTC."""
    local = now.astimezone(zone)
    day = local.date() - dt.timedelta(days=(local.weekday() - hour.weekday) % 7)
    for weeks in (-1, 0, 1, 2):
        at = dt.datetime.combine(day + weeks * _WEEK, hour.time, tzinfo=zone)
        yield max(at.replace(fold=fold).astimezone(dt.UTC) for fold in (0, 1))
