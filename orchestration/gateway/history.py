"""What was done to one gateway by those who share it, and who uses it: values. `shared_state` keeps them. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestration.docker.container import ContainerState
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.record import GatewayRecord
from orchestration.system.clock import describe_time_of_day

RESTART_SPACING_S = 900.0  # trouble right after a restart, by any process, is the same trouble
RESTARTS_A_DAY = 6  # a gateway that crashes again and again needs manual action, and each login may need a phone
DAY_S = 86400.0


class StopReason(StrEnum):
    """Why a gateway was stopped."""

    ASKED = "asked"
    """The operator meant it."""
    LOGIN_REJECTED = "login_rejected"
    """The broker refused user or password: a login loop can lock the account."""
    FAILING = "failing"
    """It crashed, or failed to log in, again and again: endless attempts can lock the account."""


@dataclass(frozen=True, kw_only=True)
class GatewayRestart:
    """One restart of a gateway by one of its instances.

    Attributes:
        by: The instance, for people.
        owner: Its state folder, which tells it from one of the same name in another checkout.
        at: When, aware.
        at_s: The same on the monotonic clock.
        start: Which start it was to end (`name_start`); while that one lasts it has not come about.
        is_soft: Whether the gateway has restarted itself: that has come about although its container runs on.
    """

    by: str
    owner: str
    at: datetime
    at_s: float
    start: str
    is_soft: bool = False

    def __str__(self) -> str:
        return f"instance {self.by} restarted it at {describe_time_of_day(self.at)}"


@dataclass(frozen=True, kw_only=True)
class GatewayStop:
    """A stop that was meant: no process restarts the gateway on its own.

    Attributes:
        by: The instance, for people.
        owner: Its state folder.
        at: When, aware.
        reason: Why.
        start: Which start was ended (`name_start`); a later one has outlived the stop.
    """

    by: str
    owner: str
    at: datetime
    reason: StopReason
    start: str

    def __str__(self) -> str:
        return f"instance {self.by} stopped it at {describe_time_of_day(self.at)}{_WHY_STOPPED[self.reason]}"


_WHY_STOPPED = {
    StopReason.ASKED: "",
    StopReason.LOGIN_REJECTED: ", because the broker refuses user or password",
    StopReason.FAILING: ", because it crashed or failed to log in again and again",
}


@dataclass(frozen=True, kw_only=True)
class GatewayHistory:
    """What was done to the gateway.

    Attributes:
        restarts: Restarts of this boot, oldest first.
        stop: The stop in effect, or None.
        process: A simulator's process, of any launcher; None where there is none.
    """

    restarts: tuple[GatewayRestart, ...] = ()
    stop: GatewayStop | None = None
    process: GatewayRecord | None = None

    def list_others(
        self, owner: str, status: GatewayStatus | None, *, is_under_way: bool
    ) -> tuple[GatewayRestart, ...]:
        """The restarts by other instances, oldest first.

        Args:
            owner: Who asks.
            status: How the gateway is.
            is_under_way: Whether one may be under way now. If not, one whose start still lasts has not come
                about: the process that made it was killed in the act.
        """
        unfinished = None if is_under_way or status is None else name_start(status)
        return tuple(one for one in self.restarts if one.owner != owner and (one.is_soft or one.start != unfinished))


NO_HISTORY = GatewayHistory()


@dataclass(frozen=True, kw_only=True)
class GatewayUser:
    """Another instance that uses the gateway now.

    Attributes:
        instance: Its name.
        detail: What of it is at work, for people: `the bot of instance a, process 7`.
        has_bot: Whether its bot runs, or may run.
    """

    instance: str
    detail: str
    has_bot: bool


@dataclass(frozen=True, kw_only=True)
class Spared:
    """A restart that was not made.

    Attributes:
        why: For people, as a sentence without its full stop.
        is_restarted: Whether another instance has restarted it: then it is waited for as after a restart of one's own.
    """

    why: str
    is_restarted: bool


@dataclass(frozen=True, kw_only=True)
class Left:
    """What became of a gateway that one instance needs no more.

    Attributes:
        users: Who uses it still, so that it was left running; empty if it was stopped.
        in_time: Whether it left by itself in time, where it was stopped.
    """

    users: tuple[GatewayUser, ...]
    in_time: bool = True


def name_start(status: GatewayStatus) -> str:
    """A start by a name that every process gives it. Pure."""
    # When a simulator was started each one computes by its own clock; its id already names the start.
    at = "" if status.is_simulated or status.started_at is None else status.started_at.isoformat()
    return f"{status.id}@{at}"


def is_in_effect(stop: GatewayStop | None, status: GatewayStatus) -> bool:
    """Whether the gateway is down because of this stop, not ended since in another way. Pure."""
    if stop is None or status.is_up:
        return False
    return status.state is ContainerState.MISSING or name_start(status) == stop.start
