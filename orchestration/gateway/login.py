"""How far the gateway's login has come, by all that is known about it. Pure.

Three sources, in this order: what the gateway itself writes to `launcher.log` (`launcher_log`), what its controller
writes to the container's log (`LoginReader`), and the exit code of a container that has ended (`read_exit_code`).
`combine_logins` makes one reading of them; the texts themselves stand in `login_patterns`.

Only lines of the container's latest start may be given here: a log survives a restart, and yesterday's "Login has
completed" says nothing about today.

Some lines mislead. IBC reports each dialog several times as it opens and gets the focus ("detected dialog entitled:
Login failed; event=Opened"); only the controller's own lines count, and a failure counts once for each attempt. The
bare line "Login failed" also comes when the broker's server hung up, so one alone proves nothing. A text about user or
password right after an automatic restart is known to be spurious, so it counts as one failure, too. Once a second
factor is asked for, the password was right: as long as it stays unanswered, bare failures and the broker's "Too many
failed login attempts" are about that second factor.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestration.gateway.launcher_log import IDLE_AFTER, LauncherPhase, LauncherReading
from orchestration.gateway.login_patterns import CONTROLLERS, EXIT_CODES, Event, Source, read_wait_s

# What stands before a controller's text: IBC's time and name; ibcontroller's time, level and logger.
_PREFIXES = (
    re.compile(r"^.*?\bIBC: (?P<text>.*)$"),
    re.compile(r"^(?:.*? )?[A-Z]+ ibcontroller[\w.]*: (?:IBController > )?(?P<text>.*)$"),
)
# How long after the line that ends a challenge the next attempt begins, where it does not say so: IBC's own figure.
_RETRY_S = 5.0
LOGIN_IDLE_AFTER_S = IDLE_AFTER.total_seconds()  # for readers of any controller's log


class LoginPhase(StrEnum):
    """How far the login has come."""

    UNKNOWN = "unknown"
    LOGGING_IN = "logging_in"
    SECOND_FACTOR = "second_factor"
    LOGGED_IN = "logged_in"
    FAILED = "failed"
    PAUSED = "paused"
    """The controller pauses because the broker does not take the login, and tries again by itself."""
    IDLE = "idle"
    """A challenge or a pause is over, and no attempt has followed: no login is under way."""
    SESSION_TAKEN = "session_taken"


class Refusal(StrEnum):
    """Why the broker refuses a login."""

    CREDENTIALS = "credentials"
    VERSION = "version"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class LoginReading:
    """What is known about the login of one start of the gateway.

    Attributes:
        phase: How far the login has come.
        failures_in_a_row: Attempts that failed since the last one that got further.
        unrecognized_in_a_row: Those of them that failed with a text about user or password.
        is_rejected: Whether the broker said plainly that it refuses the login.
        refusal: Why it does, where `is_rejected`.
        has_too_many_attempts: Whether the broker counted too many failed attempts since the last one that got further,
            and said nothing plainer. After a second factor that went unanswered it is about that.
        awaits_second_factor: Whether a second factor was asked for, and no login has completed since.
        needs_device: Whether the second factor cannot be asked for, because no device was chosen for it.
        second_factor_timed_out: Whether the second factor went unanswered, at least once.
        is_auto_restart: Whether the gateway restarted itself with its saved session, and no password was sent since.
        attempt_due_s: In how many seconds the next attempt is due, counted from the line that said so; None where
            none is awaited.
        waits: How often an attempt has come to be awaited; tells one such wait from the next.
        logins: How many logins have completed.
        evidence: The last line that says any of this, or what the gateway's own log amounts to.
        last_full_login_at: When the last login with a second factor completed, aware; None if not known.
        last_restart_at: When the gateway's process last started, by its own log, aware; None if not known.
    """

    phase: LoginPhase = LoginPhase.UNKNOWN
    failures_in_a_row: int = 0
    unrecognized_in_a_row: int = 0
    is_rejected: bool = False
    refusal: Refusal = Refusal.CREDENTIALS
    has_too_many_attempts: bool = False
    awaits_second_factor: bool = False
    needs_device: bool = False
    second_factor_timed_out: bool = False
    is_auto_restart: bool = False
    attempt_due_s: float | None = None
    waits: int = 0
    logins: int = 0
    evidence: str = ""
    last_full_login_at: datetime | None = None
    last_restart_at: datetime | None = None


NOTHING_READ = LoginReading()


class LoginReader:
    """Reads a container's log line by line. A new one is needed for each start of the gateway."""

    def __init__(self) -> None:
        self.reading = NOTHING_READ
        self._counted_failure = False
        self._counted_unrecognized = False

    def read(self, line: str) -> bool:
        """Take one line. Returns whether it said anything about the login."""
        before = self.reading
        text = _strip_prefix(line).strip()
        for pattern in CONTROLLERS:
            if found := pattern.text.match(text):
                self._take(pattern.event, pattern.source, found)
                break
        if self.reading == before:
            return False
        self.reading = replace(self.reading, evidence=line.strip())
        return True

    def _take(self, event: Event, source: Source, found: re.Match[str]) -> None:  # noqa: C901, PLR0912 - one case for each event
        match event:
            case Event.REFUSED_DIALOG:
                self._count_unrecognized()
            case Event.REFUSED_CREDENTIALS:
                self._count_unrecognized()
                if not self.reading.is_auto_restart:
                    self._reject(Refusal.CREDENTIALS)
            case Event.REJECTED:
                self._reject(Refusal.CREDENTIALS)
            case Event.REJECTED_OTHERWISE:
                self._reject(Refusal.OTHER)
            case Event.OUTDATED:
                self._reject(Refusal.VERSION)
            case Event.PAUSE:
                self._take_pause(read_wait_s(found))
            case Event.BACKOFF:
                self._set(phase=LoginPhase.PAUSED)
                self._await_attempt(read_wait_s(found))
            case Event.AUTO_RESTART | Event.COLD_START:
                self._counted_failure = self._counted_unrecognized = False
                self._set(phase=LoginPhase.LOGGING_IN, is_auto_restart=event is Event.AUTO_RESTART, attempt_due_s=None)
            case Event.ATTEMPT:
                self._counted_failure = self._counted_unrecognized = False
                # ibcontroller says so where it has sent the password, IBC also for a restart with the saved session.
                is_auto_restart = self.reading.is_auto_restart and source is not Source.IBCONTROLLER
                self._set(phase=LoginPhase.LOGGING_IN, is_auto_restart=is_auto_restart, attempt_due_s=None)
            case Event.CHALLENGE | Event.DEVICE_NEEDED:
                self._succeed(LoginPhase.SECOND_FACTOR, needs_device=event is Event.DEVICE_NEEDED)
            case Event.CHALLENGE_ENDED:
                self._end_challenge(found)
            case Event.COMPLETED:
                is_again = self.reading.phase is LoginPhase.LOGGED_IN
                self._succeed(LoginPhase.LOGGED_IN, logins=self.reading.logins + (0 if is_again else 1))
            case Event.FAILED:
                # While a second factor is unanswered this is how its attempt ends, and says nothing about the password.
                if not self.reading.awaits_second_factor:
                    self._count_failure()
            case Event.SESSION_TAKEN:
                self._set(phase=LoginPhase.SESSION_TAKEN, attempt_due_s=None)
            case _:
                pass

    def _reject(self, refusal: Refusal) -> None:
        self._set(
            phase=LoginPhase.FAILED, is_rejected=True, refusal=refusal, has_too_many_attempts=False, attempt_due_s=None
        )

    def _take_pause(self, wait_s: float | None) -> None:
        if self.reading.awaits_second_factor:
            self._set(phase=LoginPhase.SECOND_FACTOR, has_too_many_attempts=True)
        elif not self.reading.is_rejected:
            self._set(phase=LoginPhase.FAILED, is_rejected=True, has_too_many_attempts=True)
        self._await_attempt(wait_s)

    def _end_challenge(self, found: re.Match[str]) -> None:
        wait_s = read_wait_s(found) if "seconds" in found.re.groupindex else None
        self._set(phase=LoginPhase.SECOND_FACTOR, awaits_second_factor=True, second_factor_timed_out=True)
        self._await_attempt(_RETRY_S if wait_s is None else wait_s)

    def _await_attempt(self, wait_s: float | None) -> None:
        if wait_s is not None:
            self._set(attempt_due_s=wait_s, waits=self.reading.waits + 1)

    def _set(self, **changes: object) -> None:
        self.reading = replace(self.reading, **changes)  # type: ignore[arg-type]  # field names of the calls above

    def _succeed(self, phase: LoginPhase, **changes: object) -> None:
        """The password was accepted: what failed before no longer counts."""
        self._set(
            phase=phase,
            failures_in_a_row=0,
            unrecognized_in_a_row=0,
            is_rejected=False,
            has_too_many_attempts=False,
            awaits_second_factor=phase is LoginPhase.SECOND_FACTOR,
            is_auto_restart=False,
            attempt_due_s=None,
            **{"needs_device": False, **changes},
        )

    def _count_failure(self) -> None:
        if self._counted_failure:
            return
        self._counted_failure = True
        self._set(phase=LoginPhase.FAILED, failures_in_a_row=self.reading.failures_in_a_row + 1)

    def _count_unrecognized(self) -> None:
        self._count_failure()
        if not self._counted_unrecognized:
            self._counted_unrecognized = True
            self._set(unrecognized_in_a_row=self.reading.unrecognized_in_a_row + 1)


def _strip_prefix(line: str) -> str:
    for prefix in _PREFIXES:
        if found := prefix.match(line):
            return found["text"]
    return line


def read_login(lines: Iterable[str]) -> LoginReading:
    """What all these lines of a container's log together say."""
    reader = LoginReader()
    for line in lines:
        reader.read(line)
    return reader.reading


def read_exit_code(code: int | None) -> LoginReading:
    """What the exit code of a container that has ended says about its login; None for one that runs."""
    match None if code is None else EXIT_CODES.get(code):
        case Event.CHALLENGE_ENDED:
            return LoginReading(
                phase=LoginPhase.SECOND_FACTOR,
                awaits_second_factor=True,
                second_factor_timed_out=True,
                evidence=f"the login controller ended with code {code}: the second factor was not confirmed",
            )
        case Event.REFUSED_CREDENTIALS:
            return LoginReading(
                phase=LoginPhase.FAILED,
                is_rejected=True,
                evidence=f"the login controller ended with code {code}: user or password are refused",
            )
        case Event.OUTDATED:
            return LoginReading(
                phase=LoginPhase.FAILED,
                is_rejected=True,
                refusal=Refusal.VERSION,
                evidence=f"the login controller ended with code {code}: the version is too old",
            )
        case _:
            return NOTHING_READ


_OPEN = frozenset({LoginPhase.UNKNOWN, LoginPhase.LOGGING_IN})  # what the end of the container may say more of
_CONTROLLER_KNOWS_MORE = frozenset({LoginPhase.SECOND_FACTOR, LoginPhase.PAUSED, LoginPhase.FAILED})


def combine_logins(
    launcher: LauncherReading, controller: LoginReading, *, exit_code: int | None = None
) -> LoginReading:
    """One reading of all sources, the gateway's own account first.

    Args:
        launcher: What `launcher.log` says of the latest start of the container.
        controller: What the container's log says of it.
        exit_code: Of a container that has ended.
    """
    reading = _combine(launcher, controller)
    if reading.phase in _OPEN and not reading.is_auto_restart:
        ended = read_exit_code(exit_code)
        reading = reading if ended.phase is LoginPhase.UNKNOWN else ended
    return replace(reading, last_full_login_at=launcher.last_full_login_at, last_restart_at=launcher.last_restart_at)


def _combine(launcher: LauncherReading, controller: LoginReading) -> LoginReading:
    own = _translate(launcher)
    if own.phase is LoginPhase.UNKNOWN:
        return controller
    if controller.phase is LoginPhase.SESSION_TAKEN and own.phase is not LoginPhase.SECOND_FACTOR:
        return controller  # a dialog, of which the gateway's own log says nothing
    if own.phase is LoginPhase.LOGGED_IN:
        # From then on that log is silent: what follows in the same process only the controller tells.
        has_gone_on = controller.logins > 0 and controller.phase is not LoginPhase.LOGGED_IN
        return controller if has_gone_on else own
    if own.phase is LoginPhase.IDLE and controller.attempt_due_s is not None:
        return controller  # it pauses by itself, and says for how long
    if own.phase is LoginPhase.LOGGING_IN and controller.phase in _CONTROLLER_KNOWS_MORE:
        return _complete(controller, launcher, own)
    return own


def _complete(controller: LoginReading, launcher: LauncherReading, own: LoginReading) -> LoginReading:
    """What the controller says of an attempt that is under way by the gateway's own account."""
    is_about_credentials = controller.unrecognized_in_a_row > 0
    if controller.phase is LoginPhase.FAILED and not (controller.is_rejected or is_about_credentials):
        # A failure of which the broker says nothing is a lost connection, where the broker's answers can be read.
        return own if launcher.attempts else controller
    is_spurious = launcher.is_auto_restart and is_about_credentials and not launcher.rejections
    return replace(
        controller,
        is_rejected=controller.is_rejected and not is_spurious,
        awaits_second_factor=controller.awaits_second_factor or own.awaits_second_factor,
        attempt_due_s=None if launcher.attempts else controller.attempt_due_s,
    )


def _translate(launcher: LauncherReading) -> LoginReading:
    """What the gateway's own account of this start amounts to."""
    since = "" if launcher.since is None else f" since {launcher.since:%H:%M:%S} UTC"
    counts = f"{launcher.attempts} attempts, {launcher.challenges} challenges, {launcher.rejections} rejections"
    reading = LoginReading(
        awaits_second_factor=launcher.challenges > 0,
        is_auto_restart=launcher.is_auto_restart,
        evidence=f"launcher.log: {launcher.phase.replace('_', ' ')}{since} ({counts})",
    )
    phase = launcher.phase
    if phase is LauncherPhase.UNKNOWN:
        return NOTHING_READ
    if phase is LauncherPhase.IDLE and launcher.idle_after is LauncherPhase.STARTING:
        phase = LauncherPhase.STARTING  # no attempt yet: that is for the deadline to judge
    if launcher.challenges and phase in _AFTER_A_CHALLENGE:
        return replace(reading, phase=LoginPhase.SECOND_FACTOR, **_AFTER_A_CHALLENGE[phase])
    if phase is LauncherPhase.REJECTED_OTHERWISE:
        reading = replace(reading, failures_in_a_row=launcher.rejections)
    return replace(reading, **_OWN_ACCOUNT.get(phase, {"phase": LoginPhase.LOGGING_IN}))


_AFTER_A_CHALLENGE: dict[LauncherPhase, dict[str, Any]] = {
    LauncherPhase.CHALLENGE_ENDED: {"second_factor_timed_out": True},
    LauncherPhase.PAUSED: {"has_too_many_attempts": True},
}
_OWN_ACCOUNT: dict[LauncherPhase, dict[str, Any]] = {
    LauncherPhase.SECOND_FACTOR: {"phase": LoginPhase.SECOND_FACTOR, "awaits_second_factor": True},
    LauncherPhase.PAUSED: {"phase": LoginPhase.FAILED, "is_rejected": True, "has_too_many_attempts": True},
    LauncherPhase.REJECTED: {"phase": LoginPhase.FAILED, "is_rejected": True, "awaits_second_factor": False},
    LauncherPhase.OUTDATED: {
        "phase": LoginPhase.FAILED,
        "is_rejected": True,
        "refusal": Refusal.VERSION,
        "awaits_second_factor": False,
    },
    LauncherPhase.REJECTED_OTHERWISE: {
        "phase": LoginPhase.FAILED,
        "refusal": Refusal.OTHER,
        "awaits_second_factor": False,
    },
    LauncherPhase.IDLE: {"phase": LoginPhase.IDLE, "awaits_second_factor": False},
    LauncherPhase.LOGGED_IN: {
        "phase": LoginPhase.LOGGED_IN,
        "awaits_second_factor": False,
    },
}
