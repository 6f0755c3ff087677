"""What the gateway's log says about its login. Pure.

The lines are those of IBC, the controller that fills in the login dialog inside the container, and of its starting
script. Only lines of the container's latest start may be given here: a log survives a restart, and yesterday's "Login
has completed" says nothing about today.

Some lines mislead. Each dialog is reported several times as it opens and gets the focus ("detected dialog entitled:
Login failed; event=Opened"); only the controller's own lines count, and a failure counts once for each attempt. The
bare line "Login failed" also comes when the broker's server hung up, so one alone proves nothing. "Unrecognized
Username or Password" has been seen after an automatic restart with the right password, so it counts as one failure
too. Once a second factor is asked for, the password was right: as long as it stays unanswered, bare failures and the
broker's "Too many failed login attempts" are about that second factor.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

# A line of the controller: `2026-11-18 09:00:01:123 IBC: text`. Its text may also stand alone.
_CONTROLLER = re.compile(r"^.*?\bIBC: (?P<text>.*)$")
_DIALOG = re.compile(r"detected (?:dialog|frame) entitled:", re.IGNORECASE)
_EXIT_STATUS = re.compile(r"IBC returned exit status (\d+)", re.IGNORECASE)
_SECOND_FACTOR_EXIT_STATUS = 87

_ATTEMPT = "login attempt:"
_SECOND_FACTOR = "second factor authentication initiated"
_COMPLETED = ("login has completed", "configuration tasks completed")
_FAILED = "login failed"
_UNRECOGNIZED = "unrecognized username or password"
# The broker counts the failures, and makes the controller pause. Unanswered second factors are among them.
_TOO_MANY = "too many failed login attempts"
# Texts that leave no doubt.
_REJECTED = (
    "invalid username or password",
    "account has been locked",
    "account is locked",
    "user name has been locked",
)
_TAKEN = ("user must choose whether to continue with this session", "let the other session proceed")


class LoginPhase(StrEnum):
    """How far the login has come."""

    UNKNOWN = "unknown"
    LOGGING_IN = "logging_in"
    SECOND_FACTOR = "second_factor"
    LOGGED_IN = "logged_in"
    FAILED = "failed"
    SESSION_TAKEN = "session_taken"


@dataclass(frozen=True, kw_only=True)
class LoginReading:
    """What the log of one start of the gateway says.

    Attributes:
        phase: How far the login has come.
        failures_in_a_row: Attempts that failed since the last one that got further.
        unrecognized_in_a_row: Those of them that failed with "Unrecognized Username or Password".
        is_rejected: Whether the broker said plainly that user or password are wrong, or locked.
        has_too_many_attempts: Whether the broker counted too many failed attempts since the last one that got further,
            and said nothing plainer. After a second factor that went unanswered it is about that.
        awaits_second_factor: Whether a second factor was asked for, and no login has completed since.
        second_factor_timed_out: Whether the controller gave up waiting for the second factor, at least once.
        evidence: The last line that says any of this.
    """

    phase: LoginPhase = LoginPhase.UNKNOWN
    failures_in_a_row: int = 0
    unrecognized_in_a_row: int = 0
    is_rejected: bool = False
    has_too_many_attempts: bool = False
    awaits_second_factor: bool = False
    second_factor_timed_out: bool = False
    evidence: str = ""


NOTHING_READ = LoginReading()


class LoginReader:
    """Reads a log line by line. A new one is needed for each start of the gateway."""

    def __init__(self) -> None:
        self.reading = NOTHING_READ
        self._counted_failure = False
        self._counted_unrecognized = False

    def read(self, line: str) -> bool:
        """Take one line. Returns whether it said anything about the login."""
        before = self.reading
        matched = _CONTROLLER.match(line)
        self._take((matched["text"] if matched else line).strip().lower())
        if self.reading == before:
            return False
        self.reading = replace(self.reading, evidence=line.strip())
        return True

    def _take(self, text: str) -> None:
        if _UNRECOGNIZED in text:
            self._count_unrecognized()
        elif _DIALOG.search(text):
            pass
        elif any(phrase in text for phrase in _REJECTED):
            self._set(phase=LoginPhase.FAILED, is_rejected=True, has_too_many_attempts=False)
        elif _TOO_MANY in text:
            self._take_too_many()
        elif text.startswith(_ATTEMPT):
            self._counted_failure = self._counted_unrecognized = False
            self._set(phase=LoginPhase.LOGGING_IN)
        elif text.startswith(_SECOND_FACTOR):
            self._succeed(LoginPhase.SECOND_FACTOR)
        elif text.startswith(_COMPLETED):
            self._succeed(LoginPhase.LOGGED_IN)
        elif text.startswith(_FAILED):
            self._take_bare_failure()
        elif any(phrase in text for phrase in _TAKEN):
            self._set(phase=LoginPhase.SESSION_TAKEN)
        else:
            self._take_exit_status(text)

    def _take_too_many(self) -> None:
        if self.reading.awaits_second_factor:
            self._set(phase=LoginPhase.SECOND_FACTOR, has_too_many_attempts=True)
        elif not self.reading.is_rejected:
            self._set(phase=LoginPhase.FAILED, is_rejected=True, has_too_many_attempts=True)

    def _take_bare_failure(self) -> None:
        # While a second factor is unanswered this is how its attempt ends, and says nothing about the password.
        if not self.reading.awaits_second_factor:
            self._count_failure()

    def _take_exit_status(self, text: str) -> None:
        status = _EXIT_STATUS.search(text)
        if status is not None and int(status[1]) == _SECOND_FACTOR_EXIT_STATUS:
            self._set(phase=LoginPhase.SECOND_FACTOR, awaits_second_factor=True, second_factor_timed_out=True)

    def _set(self, **changes: object) -> None:
        self.reading = replace(self.reading, **changes)  # type: ignore[arg-type]  # field names of the calls above

    def _succeed(self, phase: LoginPhase) -> None:
        """The password was accepted: what failed before no longer counts."""
        self._set(
            phase=phase,
            failures_in_a_row=0,
            unrecognized_in_a_row=0,
            is_rejected=False,
            has_too_many_attempts=False,
            awaits_second_factor=phase is LoginPhase.SECOND_FACTOR,
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


def read_login(lines: Iterable[str]) -> LoginReading:
    """What all these lines together say."""
    reader = LoginReader()
    for line in lines:
        reader.read(line)
    return reader.reading
