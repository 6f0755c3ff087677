"""The stable words (states, failures, fallbacks, exit codes), what a check found, and the one exception tree.

Every word here is part of the contract: it appears in the journal, in JSON, in alerts and in the service's status.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class State(StrEnum):
    """Where a start-up is. The values are stable words."""

    INITIALIZING = "initializing"
    GATEWAY_STARTING = "gateway_starting"
    GATEWAY_WAITING = "gateway_waiting"
    GATEWAY_VALIDATED = "gateway_validated"
    GAMEPLAN_LOADING = "gameplan_loading"
    BOT_STARTING = "bot_starting"
    BOT_RUNNING = "bot_running"
    SUCCESS = "success"
    FAILURE = "failure"


class FailureWord(StrEnum):
    """Why a start-up failed. Each one ends in exit code 1."""

    CONFIG_INVALID = "CONFIG_INVALID"
    HELD = "HELD"
    ALREADY_STARTING = "ALREADY_STARTING"
    BOT_ALREADY_RUNNING = "BOT_ALREADY_RUNNING"
    DOCKER_UNAVAILABLE = "DOCKER_UNAVAILABLE"
    GATEWAY_START_FAILED = "GATEWAY_START_FAILED"
    GATEWAY_TIMEOUT = "GATEWAY_TIMEOUT"
    GATEWAY_UNHEALTHY = "GATEWAY_UNHEALTHY"
    GATEWAY_SECOND_FACTOR = "GATEWAY_SECOND_FACTOR"
    GATEWAY_LOGIN_FAILED = "GATEWAY_LOGIN_FAILED"
    GATEWAY_WRONG_ACCOUNT = "GATEWAY_WRONG_ACCOUNT"
    STRATEGY_C_FAILED = "STRATEGY_C_FAILED"
    OPEN_ORDERS = "OPEN_ORDERS"
    BOT_START_FAILED = "BOT_START_FAILED"
    LEASED_ELSEWHERE = "LEASED_ELSEWHERE"
    LEASE_UNAVAILABLE = "LEASE_UNAVAILABLE"
    INTERRUPTED = "INTERRUPTED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


_BENIGN_FAILURES: frozenset[str] = frozenset(
    {FailureWord.ALREADY_STARTING, FailureWord.BOT_ALREADY_RUNNING, FailureWord.HELD, FailureWord.INTERRUPTED}
)


def is_benign(failure: str) -> bool:
    """Whether a failure leaves the system as it was, or as the operator wanted it: no reason to wake anyone."""
    return failure in _BENIGN_FAILURES


class FallbackWord(StrEnum):
    """Why the emergency plan is active. None of them is a failure; each one ends in exit code 2."""

    GAMEPLAN_NOT_CONFIGURED = "GAMEPLAN_NOT_CONFIGURED"
    GAMEPLAN_MISSING = "GAMEPLAN_MISSING"
    GAMEPLAN_UNREADABLE = "GAMEPLAN_UNREADABLE"
    GAMEPLAN_INVALID = "GAMEPLAN_INVALID"
    GAMEPLAN_STALE = "GAMEPLAN_STALE"
    GAMEPLAN_NOT_YET = "GAMEPLAN_NOT_YET"
    GAMEPLAN_NO_SESSION = "GAMEPLAN_NO_SESSION"
    GAMEPLAN_QUARANTINED = "GAMEPLAN_QUARANTINED"
    CLOCK_SKEW = "CLOCK_SKEW"


class StepStatus(StrEnum):
    """How a step or a check ended; the same four words everywhere."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class ExitCode(IntEnum):
    """The exit codes of `startup`. There are no others; `GIVE_UP` only with `--service`."""

    SUCCESS = 0
    FAILURE = 1
    PARTIAL = 2
    GIVE_UP = 78  # the unit names it in RestartPreventExitStatus=; EX_CONFIG of sysexits.h


class StartupFailure(Exception):  # noqa: N818 - the field's word; it is an outcome, not a programming error
    """A start-up, or one step of it, that cannot continue; manual action is required.

    Attributes:
        word: The stable word that names the failure.
        message: One sentence: what was found.
        next_action: One sentence: what the operator should do next.
        evidence: Lines that show it (compose's last lines, the container's log, the bot's output). Not redacted yet.
    """

    def __init__(self, word: FailureWord, message: str, *, next_action: str, evidence: tuple[str, ...] = ()) -> None:
        super().__init__(word, message)
        self.word = word
        self.message = message
        self.next_action = next_action
        self.evidence = evidence

    def __str__(self) -> str:
        return f"{self.word}: {self.message}"


class OperationError(Exception):
    """An operation outside of a run could not be done; manual action is required.

    Attributes:
        message: One sentence: what was found.
        next_action: The command or setting that fixes it.
        evidence: Lines that show it.
    """

    def __init__(self, message: str, *, next_action: str = "", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.next_action = next_action
        self.evidence = evidence

    def __str__(self) -> str:
        return self.message


class HostServiceError(OperationError):
    """The host service could not be brought to the requested state."""


GAMEPLAN_CHECK = "gameplan"  # the name of the check whose finding a run with a fallback also tells


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the table.

    Attributes:
        name: What was looked at.
        status: ok, warn, fail or skip.
        detail: What was found.
        fix: The command or setting that fixes it; empty where there is nothing to fix.
        failure: The word a start-up fails with, for a failed check.
        found_by: For the check for a running bot: how it was found (`bot.find.FoundBy`), or `unknown` where a process
            may be this instance's bot; else empty. `recorded` and `marked` are known to be this instance's own.
    """

    name: str
    status: StepStatus
    detail: str
    fix: str = ""
    failure: FailureWord | None = None
    found_by: str = ""


def build_failed_check(name: str, failure: StartupFailure) -> Check:
    """The row of a check that ended in a failure."""
    return Check(
        name=name,
        status=StepStatus.FAIL,
        detail=failure.message,
        fix=failure.next_action,
        failure=failure.word,
    )
