"""The login as the gateway itself writes it down, in `launcher.log` of its settings folder.

The file tells what happens from the start of the gateway's process until a login succeeds, whichever controller fills
in the dialog: IBKR's own text, undocumented, and so read with care. Then the gateway turns to an encrypted log, and the
file is silent until the next start. `login_patterns` holds every text that is read; what is not recognised says
nothing. Lines hold addresses, session ids and hashes: only phases, times and counts leave this module.

A line is `YYYY-MM-DD HH:MM:SS.mmm LEVEL  [thread] - message`; up to build 10.30 a tag of two letters, `[AB] `, stands
after the time. The time is the container's wall clock, without a zone. Some lines also carry UTC, and the difference,
rounded to a quarter of an hour, is the zone's offset for the lines around it.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestration.gateway.login_patterns import LAUNCHER_LOG, Event, read_wait_s
from orchestration.redaction import clean_line
from orchestration.redaction.notations import remove_terminal_sequences
from orchestration.system.clock import SystemClock
from orchestration.system.files import open_regular
from orchestration.system.streams import steady_stdout

# How long the gateway may be silent while it is not logged in, before its process must be gone or hang: it writes a
# heartbeat every 20 s while a challenge is pending, and otherwise something every 3 to 5 minutes.
CHALLENGE_SILENCE = timedelta(seconds=90)
LOGIN_SILENCE = timedelta(minutes=7)
# How long after an unanswered challenge, or after the end of a pause, the next attempt of a controller that retries is
# awaited: it comes within seconds.
IDLE_AFTER = timedelta(seconds=90)
_MAX_BYTES = 16 * 1024 * 1024

_LINE = re.compile(
    r"\ufeff?(?P<time>20\d{2}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})[.,](?P<ms>\d{3}) (?:\[[A-Z]{2}\] )?[A-Z]+ +\[[^\]]*\] - "
    r"(?P<message>.*)",
    re.IGNORECASE,
)
# How far ahead of the gateway's own clock a line may be: farther ahead it was written while that clock was wrong. More
# where no line told the zone.
_AHEAD = timedelta(hours=1)


# Texts that carry UTC beside the line's own time.
_UTC_TIMES = (
    re.compile(r"Started on (?P<utc>\d{8}-\d{2}:\d{2}:\d{2})$", re.IGNORECASE),
    re.compile(r"Sent NS_HEART_BEAT:.*;(?P<utc>\d{8}-\d{2}:\d{2}:\d{2});$", re.IGNORECASE),
)
_UTC_MILLISECONDS = re.compile(
    r"\b(?:startTime|socketOpenStart|socketOpenEnd|loginMessageReq)=(?P<ms>\d{13})\b", re.IGNORECASE
)
_SECOND_FACTOR_PROTOCOL = "5"
_LARGEST_OFFSET = timedelta(hours=14)


class LauncherPhase(StrEnum):
    """How far the login has come, by the gateway's own account."""

    UNKNOWN = "unknown"
    """Nothing was read, or the gateway is silent for so long that its process must be gone."""
    STARTING = "starting"
    """The process has started; no attempt yet."""
    AUTO_RESTARTING = "auto_restarting"
    """Started with the saved session of the nightly restart."""
    LOGGING_IN = "logging_in"
    """An attempt is under way."""
    SECOND_FACTOR = "second_factor"
    """The challenge is out: the operator's phone has to confirm it."""
    CHALLENGE_ENDED = "challenge_ended"
    """A challenge, or a login before one, ended unanswered; the controller may try again."""
    PAUSED = "paused"
    """After failed attempts no other is allowed for a while."""
    REJECTED = "rejected"
    """User or password are wrong."""
    REJECTED_OTHERWISE = "rejected_otherwise"
    """The broker refuses the login for another reason."""
    OUTDATED = "outdated"
    """The broker no longer accepts this version of the gateway."""
    IDLE = "idle"
    """A challenge or a pause is over, and no attempt has followed."""
    LOGGED_IN = "logged_in"


@dataclass(frozen=True, kw_only=True)
class LauncherReading:
    """What the log says of its latest start. Instants are aware, UTC.

    Attributes:
        phase: How far the login has come.
        since: Since when; None if nothing was read.
        last_line_at: When the gateway last wrote anything.
        last_restart_at: When the latest process started; None if its beginning is not in what was read.
        paused_until: The end of the pause; None outside one.
        attempts: Rounds of authentication since the last login that succeeded.
        challenges: Challenges among them.
        rejections: Rejected passwords since the last login that succeeded.
        is_auto_restart: Whether the latest process started with the saved session.
        is_session_refused: Whether the broker asked for the password although a saved session was offered.
        logged_in_at: When the last login succeeded, in all that was read.
        last_full_login_at: When the last login with the password, or a second factor, succeeded.
        asks_password: Whether the broker asked for the password in the last round.
        idle_after: The phase after which no attempt has followed, where the phase is `IDLE`.
    """

    phase: LauncherPhase = LauncherPhase.UNKNOWN
    since: datetime | None = None
    last_line_at: datetime | None = None
    last_restart_at: datetime | None = None
    paused_until: datetime | None = None
    attempts: int = 0
    challenges: int = 0
    rejections: int = 0
    is_auto_restart: bool = False
    is_session_refused: bool = False
    logged_in_at: datetime | None = None
    last_full_login_at: datetime | None = None
    asks_password: bool = False
    idle_after: LauncherPhase | None = None


@dataclass(frozen=True, kw_only=True)
class _Told:
    """One recognised line, at the container's wall clock."""

    local: datetime
    event: Event
    found: re.Match[str]


def read_launcher_log(
    lines: Iterable[str],
    *,
    now: datetime,
    offset: timedelta | None = None,
    since: datetime | None = None,
    last_line: str = "",
) -> LauncherReading:
    """What the lines say, oldest first, as of `now`.

    Args:
        lines: Whole lines. The first may be one of the middle of the log.
        now: The gateway's clock, aware.
        offset: Local time minus UTC of the container, where no line tells it; UTC if that is unknown too.
        since: When the container's latest start was, aware: of what was written before only the instants of the last
            login and start of the process are kept. None where all lines are of the latest start.
        last_line: The last line of the file, where `lines` may lack it; it only says when that was.
    """
    told, offsets, last_local = _parse(lines)
    _, last_offsets, last_of_all = _parse([last_line])
    offsets, last_local = offsets + last_offsets, last_of_all or last_local
    if last_local is None:
        return LauncherReading()
    fallback = offset or timedelta()
    latest = now + (_AHEAD if offsets else _LARGEST_OFFSET + _AHEAD)
    last_line_at = _to_utc(last_local, offsets, fallback)
    dated = ((_to_utc(one.local, offsets, fallback), one) for one in told)
    in_time = tuple(one for one in dated if one[0] <= latest)
    reading, is_latest = _fold(in_time, since)
    if not is_latest:
        return reading
    last_told_at = in_time[-1][0] if in_time else None
    return _judge_time(replace(reading, last_line_at=last_told_at if last_line_at > latest else last_line_at), now)


# At one look after the other the file says the same: once logged in, the gateway hardly writes there.
@lru_cache(maxsize=4)
def _fold(told: tuple[tuple[datetime, _Told], ...], since: datetime | None) -> tuple[LauncherReading, bool]:
    """What the lines say with their instants, and whether any of them is of the latest start."""
    reading = LauncherReading()
    is_latest = since is None
    for at, one in told:
        if not is_latest and since is not None and at >= since:
            reading, is_latest = _forget_start(reading), True
        reading = _take(reading, one, at=at)
    return (reading, True) if is_latest else (_forget_start(reading), False)


def _forget_start(reading: LauncherReading) -> LauncherReading:
    """What is still true once the container has been started again."""
    return LauncherReading(
        logged_in_at=reading.logged_in_at,
        last_full_login_at=reading.last_full_login_at,
        last_restart_at=reading.last_restart_at,
    )


def _parse(lines: Iterable[str]) -> tuple[list[_Told], list[tuple[datetime, timedelta]], datetime | None]:
    """The recognised lines, the offsets that lines told with their local times, and the last line's local time."""
    told: list[_Told] = []
    offsets: list[tuple[datetime, timedelta]] = []
    local = None
    for line in lines:
        parsed = _parse_line(line)
        if parsed is None:
            continue
        local, event, offset = parsed
        if event is not None:
            told.append(event)
        if offset is not None:
            offsets.append((local, offset))
    return told, offsets, local


@lru_cache(maxsize=1024)
def _parse_line(line: str) -> tuple[datetime, _Told | None, timedelta | None] | None:
    """A line's local time, what it tells, and the offset that it tells; None for one that continues the line before."""
    found = _LINE.match(remove_terminal_sequences(line) if "\x1b" in line else line)
    if found is None:
        return None
    try:
        local = datetime.strptime(f"{found['time']}.{found['ms']}", "%Y-%m-%d %H:%M:%S.%f")  # noqa: DTZ007 - the zone is what is sought
    except ValueError:
        return None
    message = found["message"].strip()
    offset = _read_offset(message, local)
    for pattern in LAUNCHER_LOG:
        if matched := pattern.text.match(message):
            return local, _Told(local=local, event=pattern.event, found=matched), offset
    return local, None, offset


def _read_offset(message: str, local: datetime) -> timedelta | None:
    utc = None
    for pattern in _UTC_TIMES:
        if found := pattern.match(message):
            try:
                utc = datetime.strptime(found["utc"], "%Y%m%d-%H:%M:%S")  # noqa: DTZ007 - UTC, as a local time is
            except ValueError:
                return None
    if found := _UTC_MILLISECONDS.search(message):
        utc = datetime.fromtimestamp(int(found["ms"]) / 1000, UTC).replace(tzinfo=None)
    if utc is None:
        return None
    quarters = round((local - utc) / timedelta(minutes=15))
    offset = timedelta(minutes=15 * quarters)
    return offset if abs(offset) <= _LARGEST_OFFSET else None


def _to_utc(local: datetime, offsets: Sequence[tuple[datetime, timedelta]], fallback: timedelta) -> datetime:
    """By the last offset that was told up to then, else by the first one after."""
    offset = fallback
    for at, told in offsets:
        if at > local and offset is not fallback:
            break
        offset = told
        if at > local:
            break
    return (local - offset).replace(tzinfo=UTC)


_PHASE_OF = {
    Event.RESTART: LauncherPhase.STARTING,
    Event.AUTO_RESTART: LauncherPhase.AUTO_RESTARTING,
    Event.ATTEMPT: LauncherPhase.LOGGING_IN,
    Event.ROUND: LauncherPhase.LOGGING_IN,
    Event.CHALLENGE: LauncherPhase.SECOND_FACTOR,
    Event.PAUSE: LauncherPhase.PAUSED,
}


def _take(reading: LauncherReading, told: _Told, *, at: datetime) -> LauncherReading:
    """Fold one line into what is known."""
    if told.event not in _PHASE_OF:
        return _take_outcome(reading, told, at=at)
    reading = replace(reading, phase=_PHASE_OF[told.event], since=at, paused_until=None)
    changes: dict[Event, dict[str, Any]] = {
        Event.RESTART: {"last_restart_at": at, "is_auto_restart": False, "is_session_refused": False},
        Event.AUTO_RESTART: {"is_auto_restart": True},
        Event.CHALLENGE: {"challenges": reading.challenges + 1},
    }
    if told.event is Event.ROUND:
        asks_password = told.found["full"] != "0"
        is_refused = asks_password and told.found["token"].upper() in {"SOFT", "TST"}
        return replace(
            reading,
            attempts=reading.attempts + 1,
            asks_password=asks_password,
            is_session_refused=reading.is_session_refused or is_refused,
        )
    if told.event is Event.PAUSE:
        return replace(reading, paused_until=at + timedelta(seconds=read_wait_s(told.found) or 0.0))
    return replace(reading, **changes.get(told.event, {}))


def _take_outcome(reading: LauncherReading, told: _Told, *, at: datetime) -> LauncherReading:
    match told.event:
        case Event.COMPLETED if told.found["is_in"].lower() == "true":
            is_full = told.found["protocol"] == _SECOND_FACTOR_PROTOCOL or reading.asks_password
            return replace(_succeed(reading, at), last_full_login_at=at if is_full else reading.last_full_login_at)
        case Event.LOGGED_IN:
            reading = _succeed(reading, at)
        case Event.REJECTED:
            # Two lines tell of one rejection; the second follows at once.
            is_same = reading.phase is LauncherPhase.REJECTED
            return replace(
                reading,
                phase=LauncherPhase.REJECTED,
                since=reading.since if is_same else at,
                rejections=reading.rejections + (0 if is_same else 1),
            )
        case Event.REJECTED_OTHERWISE:
            return replace(reading, phase=LauncherPhase.REJECTED_OTHERWISE, since=at, rejections=reading.rejections + 1)
        case Event.OUTDATED:
            return replace(reading, phase=LauncherPhase.OUTDATED, since=at)
        case Event.CHALLENGE_ENDED:
            return replace(reading, phase=LauncherPhase.CHALLENGE_ENDED, since=at)
        case _:  # no answer in time, or an authentication that ended without a login: the gateway tries again
            reading = replace(reading, phase=LauncherPhase.LOGGING_IN, since=at)
    return reading


def _succeed(reading: LauncherReading, at: datetime) -> LauncherReading:
    since = reading.since if reading.phase is LauncherPhase.LOGGED_IN else at
    return replace(
        reading,
        phase=LauncherPhase.LOGGED_IN,
        since=since,
        logged_in_at=at,
        paused_until=None,
        attempts=0,
        challenges=0,
        rejections=0,
    )


_MAY_BE_IDLE = frozenset({LauncherPhase.STARTING, LauncherPhase.CHALLENGE_ENDED, LauncherPhase.PAUSED})


def _judge_time(reading: LauncherReading, now: datetime) -> LauncherReading:
    """What the time since the last lines makes of them."""
    if reading.since is None or reading.last_line_at is None or reading.phase is LauncherPhase.LOGGED_IN:
        return reading  # once logged in, the gateway writes nothing more here
    limit = CHALLENGE_SILENCE if reading.phase is LauncherPhase.SECOND_FACTOR else LOGIN_SILENCE
    if now - reading.last_line_at > limit:
        return replace(reading, phase=LauncherPhase.UNKNOWN, since=reading.last_line_at)
    over_at = reading.paused_until or reading.since
    if reading.phase in _MAY_BE_IDLE and now - over_at > IDLE_AFTER:
        return replace(reading, phase=LauncherPhase.IDLE, idle_after=reading.phase, since=over_at + IDLE_AFTER)
    return reading


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m orchestration.gateway.launcher_log FILE`: how far the login of a gateway has come."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestration.gateway.launcher_log",
        description="Say how far a gateway's login has come, by its own launcher.log.",
    )
    parser.add_argument("file", type=Path, help="launcher.log, in the gateway's settings folder")
    given = parser.parse_args(arguments)
    try:
        with open_regular(given.file) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_BYTES))  # what counts stands at the end
            content = file.read(_MAX_BYTES)
    except OSError as error:
        steady_stdout().write(clean_line(f"{given.file} cannot be read: {error.strerror}") + "\n")
        return 1
    lines = content.decode("utf-8", errors="replace").splitlines()
    reading = read_launcher_log(lines, now=SystemClock().now())
    since = "" if reading.since is None else f" since {reading.since:%Y-%m-%d %H:%M:%S} UTC"
    counts = f"{reading.attempts} attempts, {reading.challenges} challenges, {reading.rejections} rejections"
    steady_stdout().write(clean_line(f"{reading.phase}{since}; since the last login: {counts}") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
