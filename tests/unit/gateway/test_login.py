"""What the lines of the gateway's controller mean."""

import pytest

from orchestration.gateway.login import LoginPhase, LoginReader, read_login

ATTEMPT = "2026-11-18 09:00:00:123 IBC: Login attempt: 1"
AGAIN = "2026-11-18 09:00:09:123 IBC: Login attempt: 2"
DIALOG = "2026-11-18 09:00:01:123 IBC: detected dialog entitled: Login failed; event=Opened"
FAILED = "2026-11-18 09:00:01:124 IBC: Login failed"
UNRECOGNIZED = (
    "2026-11-18 09:00:01:124 IBC: detected dialog entitled: Unrecognized Username or Password; event=Activated"
)
TOO_MANY = "2026-11-18 09:00:30:000 IBC: Too many failed login attempts. Please wait 53 seconds"
ASKED = "2026-11-18 09:00:02:000 IBC: Second Factor Authentication initiated"
COMPLETED = "2026-11-18 09:00:04:000 IBC: Login has completed"
CONFIGURED = "2026-11-18 09:00:05:000 IBC: Configuration tasks completed"
TAKEN = "2026-11-18 09:00:03:000 IBC: End this session and let the other session proceed"
INVALID = "2026-11-18 09:00:03:000 Authorization failed: Invalid username or password"
TIMED_OUT = "IBC returned exit status 87"


@pytest.mark.parametrize(
    ("lines", "phase", "failures", "is_rejected"),
    [
        ([], LoginPhase.UNKNOWN, 0, False),
        (["Starting Xvfb server", "", ".> API_PORT set to: 4002"], LoginPhase.UNKNOWN, 0, False),
        ([ATTEMPT], LoginPhase.LOGGING_IN, 0, False),
        ([ATTEMPT, ASKED], LoginPhase.SECOND_FACTOR, 0, False),
        ([ATTEMPT, ASKED, COMPLETED], LoginPhase.LOGGED_IN, 0, False),
        ([ATTEMPT, CONFIGURED], LoginPhase.LOGGED_IN, 0, False),
        ([ATTEMPT, DIALOG], LoginPhase.LOGGING_IN, 0, False),
        ([ATTEMPT, DIALOG, FAILED], LoginPhase.FAILED, 1, False),
        ([ATTEMPT, DIALOG, FAILED, DIALOG, FAILED], LoginPhase.FAILED, 1, False),
        ([ATTEMPT, FAILED, AGAIN, FAILED], LoginPhase.FAILED, 2, False),
        ([ATTEMPT, FAILED, AGAIN], LoginPhase.LOGGING_IN, 1, False),
        ([ATTEMPT, FAILED, AGAIN, ASKED], LoginPhase.SECOND_FACTOR, 0, False),
        ([ATTEMPT, FAILED, AGAIN, COMPLETED, ATTEMPT, FAILED], LoginPhase.FAILED, 1, False),
        ([ATTEMPT, UNRECOGNIZED, UNRECOGNIZED, FAILED], LoginPhase.FAILED, 1, False),
        ([TOO_MANY], LoginPhase.FAILED, 0, True),
        ([ATTEMPT, ASKED, AGAIN, TOO_MANY], LoginPhase.SECOND_FACTOR, 0, False),
        ([INVALID], LoginPhase.FAILED, 0, True),
        ([ATTEMPT, ASKED, INVALID], LoginPhase.FAILED, 0, True),
        ([ATTEMPT, ASKED, AGAIN], LoginPhase.LOGGING_IN, 0, False),
        ([ATTEMPT, ASKED, FAILED, AGAIN, FAILED], LoginPhase.LOGGING_IN, 0, False),
        ([ATTEMPT, ASKED, COMPLETED, AGAIN, FAILED], LoginPhase.FAILED, 1, False),
        ([TOO_MANY, COMPLETED], LoginPhase.LOGGED_IN, 0, False),
        ([ATTEMPT, TAKEN], LoginPhase.SESSION_TAKEN, 0, False),
        ([ATTEMPT, TAKEN, COMPLETED], LoginPhase.LOGGED_IN, 0, False),
        ([ASKED, TIMED_OUT], LoginPhase.SECOND_FACTOR, 0, False),
        ([ASKED, "IBC returned exit status 88"], LoginPhase.SECOND_FACTOR, 0, False),
        (["SIMULATED: Login has completed would be a lie here"], LoginPhase.UNKNOWN, 0, False),
        (["IBC: End the other session and continue this one"], LoginPhase.UNKNOWN, 0, False),
    ],
)
def test_a_log_means_this(lines: list[str], phase: LoginPhase, failures: int, *, is_rejected: bool) -> None:
    reading = read_login(lines)
    assert (reading.phase, reading.failures_in_a_row, reading.is_rejected) == (phase, failures, is_rejected)


@pytest.mark.parametrize(
    ("lines", "awaits", "too_many"),
    [
        ([ATTEMPT, ASKED, AGAIN, TOO_MANY], True, True),
        ([ATTEMPT, ASKED, FAILED, AGAIN, TOO_MANY, ATTEMPT], True, True),
        ([ATTEMPT, TIMED_OUT, AGAIN, TOO_MANY], True, True),
        ([ATTEMPT, ASKED, COMPLETED, AGAIN, TOO_MANY], False, True),
        ([ATTEMPT, FAILED, AGAIN, TOO_MANY], False, True),
        ([TOO_MANY, AGAIN, ASKED], True, False),
        ([ATTEMPT, ASKED, AGAIN, TOO_MANY, AGAIN, COMPLETED], False, False),
        ([ATTEMPT, INVALID, AGAIN, TOO_MANY], False, False),
        ([ATTEMPT, TOO_MANY, AGAIN, INVALID], False, False),
    ],
)
def test_what_came_before_says_what_too_many_attempts_are_about(
    lines: list[str], *, awaits: bool, too_many: bool
) -> None:
    reading = read_login(lines)
    assert (reading.awaits_second_factor, reading.has_too_many_attempts) == (awaits, too_many)


def test_an_unknown_user_counts_once_for_each_attempt() -> None:
    reading = read_login([ATTEMPT, UNRECOGNIZED, UNRECOGNIZED, AGAIN, UNRECOGNIZED])
    assert reading.unrecognized_in_a_row == 2
    assert reading.failures_in_a_row == 2


def test_a_second_factor_that_timed_out_is_remembered() -> None:
    assert read_login([ASKED, TIMED_OUT, ATTEMPT]).second_factor_timed_out


def test_the_evidence_is_the_last_line_that_said_anything() -> None:
    assert read_login([ATTEMPT, FAILED, "something else"]).evidence == FAILED


def test_only_a_line_that_changes_the_reading_is_worth_waking_up_for() -> None:
    reader = LoginReader()
    assert [reader.read(line) for line in (ATTEMPT, ATTEMPT, DIALOG, FAILED, FAILED, "noise", COMPLETED)] == [
        *(True, False, False, True, False, False, True)
    ]
