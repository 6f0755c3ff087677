"""The weekly login under supervision: the reminder, the login at its hour, its proof, and the alarm without it. Pure.

A login is begun once, at `WEEKLY_LOGIN` or as soon after it as nothing else is going on, and not later than two hours
after: then the alarm asks the operator. None is begun where this week's login has been seen already, where the
container's own controller does it (`TWS_COLD_RESTART`), while a second factor is being waited for, while the gateway
restarts itself, or where a new login would not help.
"""

import datetime as dt
from dataclasses import dataclass, replace

from orchestration.alerts.alert import Severity
from orchestration.gateway.history import RESTART_SPACING_S
from orchestration.gateway.readiness import Sight
from orchestration.gateway.weekly_login import LATEST_AFTER, Week, find_week, has_cold_restart
from orchestration.settings.week_time import describe_full_login, find_next
from orchestration.supervision.incidents import IncidentKind, IncidentLog, Notice, NoticeText, tell_event
from orchestration.supervision.observation import Observation
from orchestration.supervision.rules import Rules
from orchestration.system.clock import describe_instant

_IS_NEWS_FOR = dt.timedelta(hours=12)  # a supervisor that begins on Wednesday does not announce Sunday's login
_NOT_NOW = frozenset(
    {
        Sight.ENGINE_GONE,
        Sight.REJECTED,
        Sight.SECOND_FACTOR,
        Sight.SESSION_TAKEN,
        Sight.LOGIN_PAUSED,
        Sight.RESTARTING,
    }
)


@dataclass(frozen=True, kw_only=True)
class WeeklyMemory:
    """What is remembered of weekly logins.

    Attributes:
        reminded_of: The login that the operator was last reminded of.
        missed_since: The end of all sessions since which no full login has been seen, as last looked at.
        tried_s: When a login was last begun.
        full_login_at: The last full login that was seen. A gateway that is away for a moment has not lost it.
    """

    reminded_of: dt.datetime | None = None
    missed_since: dt.datetime | None = None
    tried_s: float | None = None
    full_login_at: dt.datetime | None = None


NO_WEEK = WeeklyMemory()
_NOT_BY_US = "The gateway needs a full login, which is not for this program to begin (GATEWAY_RECOVERY),"


def tell(
    memory: WeeklyMemory, log: IncidentLog, observation: Observation, rules: Rules
) -> tuple[WeeklyMemory, IncidentLog, tuple[Notice, ...]]:
    """The reminder before a login, and its proof after it. Each is said once."""
    memory = _note_seen(memory, observation)
    week = find_current_week(observation, rules)
    if week is None or rules.weekly_login is None:
        return memory, log, ()
    notices: tuple[Notice, ...] = ()
    is_proved = week.is_proved_by(memory.full_login_at)
    next_at = find_next(rules.weekly_login, rules.weekly_login_zone, observation.now)
    remind_at = next_at - dt.timedelta(seconds=rules.weekly_login_reminder_s)
    is_needed = next_at != week.login_at or not is_proved
    if remind_at <= observation.now < next_at and is_needed and memory.reminded_of != next_at and _is_ours(observation):
        memory = replace(memory, reminded_of=next_at)
        who = "The gateway logs in fully" if rules.may_restart_gateway else _NOT_BY_US
        words = NoticeText(
            title="Weekly login ahead",
            message=f"{who} at {describe_instant(next_at)} (WEEKLY_LOGIN), because IBKR ends every session on Sunday "
            "at 01:00 US Eastern.",
            next_action="Have the phone at hand then, to confirm the second factor.",
        )
        log, notice = tell_event(log, IncidentKind.WEEKLY_LOGIN, Severity.INFO, words)
        notices = (*notices, notice)
    if not is_proved:
        return replace(memory, missed_since=week.session_ended_at), log, notices
    is_news = memory.full_login_at is not None and observation.now - memory.full_login_at < _IS_NEWS_FOR
    if memory.missed_since == week.session_ended_at and is_news:
        words = NoticeText(
            title="Weekly login done", message=describe_full_login(memory.full_login_at, observation.now)
        )
        log, notice = tell_event(log, IncidentKind.WEEKLY_LOGIN, Severity.INFO, words)
        notices = (*notices, notice)
    return replace(memory, missed_since=None), log, notices


def _note_seen(memory: WeeklyMemory, observation: Observation) -> WeeklyMemory:
    seen = [at for at in (memory.full_login_at, observation.full_login_at) if at is not None]
    return replace(memory, full_login_at=max(seen, default=None))


def is_login_due(
    memory: WeeklyMemory, observation: Observation, sight: Sight, rules: Rules, *, is_other_at_work: bool
) -> bool:
    """Whether the full login is to be begun now.

    Args:
        memory: What is remembered.
        observation: The look.
        sight: What it amounts to.
        rules: What may be done.
        is_other_at_work: Whether a restart, by whomever, still has its time, or a finding forbids one.
    """
    week = find_current_week(observation, rules)
    if week is None or not rules.may_restart_gateway or not _is_ours(observation):
        return False
    if not week.login_at <= observation.now < week.login_at + LATEST_AFTER:
        return False
    if week.is_proved_by(memory.full_login_at) or sight in _NOT_NOW or is_other_at_work:
        return False
    status = observation.gateway
    has_begun = status is not None and status.started_at is not None and status.started_at >= week.login_at
    if has_begun or observation.in_window or observation.gateway_history.stop is not None:
        return False
    return memory.tried_s is None or observation.at_s - memory.tried_s >= RESTART_SPACING_S


def note_login(memory: WeeklyMemory, at_s: float) -> WeeklyMemory:
    """The login is begun."""
    return replace(memory, tried_s=at_s)


LOGIN_WORDS = NoticeText(
    title="Weekly login begins",
    message="The gateway is restarted for the full login of the week (WEEKLY_LOGIN).",
    next_action="Confirm the second factor on the phone.",
)


def find_current_week(observation: Observation, rules: Rules) -> Week | None:
    """The week of the look; None where no weekly login is configured."""
    if rules.weekly_login is None:
        return None
    return find_week(rules.weekly_login, rules.weekly_login_zone, observation.now)


def _is_ours(observation: Observation) -> bool:
    """Where the container's controller has its own cold restart, the login is only observed."""
    return not has_cold_restart(observation.gateway)
