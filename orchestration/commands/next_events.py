"""What comes next: the plan's due time, the weekly login, the end of the broker's sessions. Pure."""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestration.gateway.weekly_login import find_week
from orchestration.settings import Settings
from orchestration.settings.week_time import find_next, find_next_session_end

if TYPE_CHECKING:
    from orchestration.gameplan import MarketCalendar


class EventKind(StrEnum):
    """What comes; a stable word, the label of a metric."""

    GAMEPLAN_DUE = "gameplan_due"
    WEEKLY_LOGIN = "weekly_login"
    WEEKLY_LOGIN_PROOF = "weekly_login_proof"
    SESSIONS_END = "sessions_end"


_TEXTS = {
    EventKind.GAMEPLAN_DUE: "the plan of the next session is due (GAMEPLAN_DUE)",
    EventKind.WEEKLY_LOGIN: "full login of the gateway (WEEKLY_LOGIN); have the phone at hand",
    EventKind.WEEKLY_LOGIN_PROOF: "this week's full login must be proved, else there are alerts",
    EventKind.SESSIONS_END: "IBKR ends every session; the gateway needs a full login after it",
}


@dataclass(frozen=True, kw_only=True)
class NextEvent:
    """Something that comes.

    Attributes:
        kind: What.
        at: When, aware.
    """

    kind: EventKind
    at: dt.datetime

    @property
    def text(self) -> str:
        """For people."""
        return _TEXTS[self.kind]


def find_next_events(
    settings: Settings, calendar: "MarketCalendar", *, now: dt.datetime, full_login_at: dt.datetime | None
) -> tuple[NextEvent, ...]:
    """What comes next, the nearest first.

    Args:
        settings: The configuration.
        calendar: The market's sessions.
        now: The instant to look from, aware.
        full_login_at: When the gateway was last seen to log in fully; None if unknown.
    """
    found = [NextEvent(kind=EventKind.SESSIONS_END, at=find_next_session_end(now))]
    if settings.gameplan_path is not None:
        due_at = _find_plan_due(settings, calendar, now)
        found += [NextEvent(kind=EventKind.GAMEPLAN_DUE, at=due_at)] if due_at is not None else []
    if settings.weekly_login is not None:
        login_at = find_next(settings.weekly_login, settings.time_zone, now)
        found.append(NextEvent(kind=EventKind.WEEKLY_LOGIN, at=login_at))
        week = find_week(settings.weekly_login, settings.time_zone, now)
        if now < week.proof_due_at and not week.is_proved_by(full_login_at):
            found.append(NextEvent(kind=EventKind.WEEKLY_LOGIN_PROOF, at=week.proof_due_at))
    return tuple(sorted(found, key=lambda event: event.at))


def describe_weekly_login(settings: Settings, *, now: dt.datetime, full_login_at: dt.datetime | None) -> str:
    """Where the week's full login stands, in one line."""
    if settings.weekly_login is None:
        return "only observed (WEEKLY_LOGIN is not set)"
    week = find_week(settings.weekly_login, settings.time_zone, now)
    hour = f"{settings.weekly_login} {settings.time_zone.key}"
    if week.is_proved_by(full_login_at):
        return f"{hour}; proved for this week"
    if full_login_at is None:
        return f"{hour}; unknown when the gateway last logged in fully"
    return f"{hour}; NOT proved for this week" + ("" if now >= week.proof_due_at else " yet")


def _find_plan_due(settings: Settings, calendar: "MarketCalendar", now: dt.datetime) -> dt.datetime | None:
    zone = settings.market_timezone
    today = now.astimezone(zone).date()
    due_at = dt.datetime.combine(today, settings.gameplan_due, tzinfo=zone)
    if calendar.is_session(today) and now < due_at:
        return due_at
    day = calendar.next_session(today)
    return None if day is None else dt.datetime.combine(day, settings.gameplan_due, tzinfo=zone)
