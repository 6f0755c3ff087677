"""The weekly login: IBKR ends every session on Sunday at 01:00 US Eastern, and the next login needs the phone. Pure.

Here is when it is due, by when it must be proved, and what proves it. What a supervisor does about it stands in
`orchestration.supervision.weekly_login`.
"""

import datetime as dt
import zoneinfo
from dataclasses import dataclass

from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.login import NOTHING_READ, LoginReading
from orchestration.settings.week_time import US_EASTERN, WeekTime, find_next, find_session_end

LATEST_AFTER = dt.timedelta(hours=2)  # SPEC G9: proved by then, or an alert; no login is begun later than that either
_FIRST_PROCESS = dt.timedelta(minutes=5)  # a container's first gateway process starts within
_PROVED_BY = dt.time(20, 0)  # SPEC G9: on Sunday, US Eastern
COLD_RESTART_VARIABLE = "TWS_COLD_RESTART"


@dataclass(frozen=True, kw_only=True)
class Week:
    """One week of the broker's, from the end of all sessions to the next one. Instants are aware.

    Attributes:
        session_ended_at: Sunday 01:00 US Eastern, its beginning.
        login_at: When its full login is due (`WEEKLY_LOGIN`).
        proof_due_at: By when the login must be proved.
    """

    session_ended_at: dt.datetime
    login_at: dt.datetime
    proof_due_at: dt.datetime

    def is_proved_by(self, full_login_at: dt.datetime | None) -> bool:
        """Whether a full login is newer than the end of all sessions."""
        return full_login_at is not None and full_login_at >= self.session_ended_at


def find_week(hour: WeekTime, zone: zoneinfo.ZoneInfo, now: dt.datetime) -> Week:
    """The week in which an instant lies."""
    ended_at = find_session_end(now)
    login_at = find_next(hour, zone, ended_at)
    sunday = ended_at.astimezone(US_EASTERN).date()
    evening = dt.datetime.combine(sunday, _PROVED_BY, tzinfo=US_EASTERN).astimezone(dt.UTC)
    return Week(session_ended_at=ended_at, login_at=login_at, proof_due_at=max(evening, login_at + LATEST_AFTER))


def find_last_full_login(
    status: GatewayStatus | None, login: LoginReading = NOTHING_READ, *, is_api_up: bool
) -> dt.datetime | None:
    """When the gateway was last seen to log in fully; None where that is unknown.

    Args:
        status: Its container or process.
        login: What is known of its login; the gateway's own log tells when the last full one was.
        is_api_up: Whether its API has completed a handshake on this start.

    A container that was started has no session to go on with, unless the gateway's own log says that it went on with a
    saved one; so its start is a full login once the API answers. Within one start of the container the nightly restarts
    keep the session.
    """
    started_at = status.started_at if status is not None and status.is_up and is_api_up else None
    if started_at is not None and login.is_auto_restart and login.last_restart_at is not None:
        is_first_process = login.last_restart_at - started_at < _FIRST_PROCESS
        started_at = None if is_first_process else started_at
    return max((at for at in (login.last_full_login_at, started_at) if at is not None), default=None)


def has_cold_restart(status: GatewayStatus | None) -> bool:
    """Whether the container's own controller logs in fully each Sunday."""
    return status is not None and bool(dict(status.environ).get(COLD_RESTART_VARIABLE, "").strip())
