"""Who runs the gateway, behind one protocol: a container, the built-in simulator, or an outside program.

A runtime looks (`probe`), converges (`ensure_started`), restarts and stops. Whether the gateway is *ready* is not its
business: `wait` asks the API that. `OwnRuntime` is what one instance needs to run a gateway; `Runtime` is that, with
regard for the other instances that use the same one (`shared_runtime`).
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from orchestration.docker.container import DOWN_STATES, ContainerState
from orchestration.docker.engine import EngineProbe
from orchestration.errors import StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.drift import Drift
from orchestration.gateway.history import GatewayHistory, GatewayUser, Left, Spared, StopReason
from orchestration.gateway.launcher_log import LauncherReading
from orchestration.gateway.record import GatewayRecord
from orchestration.settings import GatewayRuntime
from orchestration.system.commands import Following

OnText = Callable[[str], None]
Start = tuple[str, datetime | None]
FindUsers = Callable[[GatewayRecord], tuple[GatewayUser, ...]]


class RestartKind(StrEnum):
    """How a gateway was restarted."""

    SOFT = "soft"
    """It restarted itself and kept its session: no login, no second factor."""
    FULL = "full"
    """Its container or process was restarted: it logs in again."""


class NothingToFollow:
    """A `Following` of nothing."""

    is_running = True

    def close(self) -> None:
        """Do nothing."""


def find_no_users(record: GatewayRecord) -> tuple[GatewayUser, ...]:
    """For commands that only look: who else uses the gateway is nothing to them."""
    del record
    return ()


def require_no_locks() -> None:
    """For commands that only look, or stop: they need no lock."""


class OwnRuntime(Protocol):
    """Runs the gateway, or knows that an outside program does."""

    @property
    def kind(self) -> GatewayRuntime:
        """Which runtime this is."""
        ...

    @property
    def container_name(self) -> str | None:
        """The container's name; None where there is no container."""
        ...

    @property
    def can_control(self) -> bool:
        """Whether `ensure_started`, `restart` and `stop` may act: not where the gateway is run from outside."""
        ...

    @property
    def has_events(self) -> bool:
        """Whether `watch` tells of changes; otherwise they are found by looking."""
        ...

    def build_record(self) -> GatewayRecord:
        """What later commands need to find this gateway again."""
        ...

    def probe_engine(self) -> EngineProbe:
        """Look at what the runtime itself needs (Docker). Changes nothing, raises nothing."""
        ...

    def wait_for_engine(self, timeout_s: float, on_progress: OnText) -> EngineProbe:
        """Wait up to `timeout_s` seconds for the engine; one look at least.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`: not there in time, or for a reason that waiting does not fix.
        """
        ...

    def probe(self) -> GatewayStatus:
        """Look at the gateway's container or process once. Changes nothing.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`: the engine does not answer. Looking again may help.
        """
        ...

    def find_drift(self, status: GatewayStatus) -> tuple[Drift, ...]:
        """Settings that differ from what the gateway was made with; nothing where that is unknown."""
        ...

    def ensure_started(self, *, on_progress: OnText) -> bool:
        """Make the gateway run, if it does not; a running one is left alone. Returns whether anything was changed.

        Raises:
            StartupFailure: `GATEWAY_START_FAILED` with the evidence; `DOCKER_UNAVAILABLE`. Manual action is required.
        """
        ...

    def restart(self, *, is_gentle: bool = True, on_progress: OnText | None = None) -> RestartKind:
        """Restart the gateway, or start it if it is not there.

        Args:
            is_gentle: Whether the gateway is asked to restart itself first, where its controller can be asked: that
                takes up to two minutes and keeps the session. Otherwise it logs in again in any case.
            on_progress: Told what is being done.

        Raises:
            StartupFailure: `GATEWAY_START_FAILED`; `CONFIG_INVALID` where it is run from outside.
        """
        ...

    def stop(self, *, timeout_s: float) -> bool:
        """Stop the gateway so that it stays stopped. Returns whether it left by itself in time.

        Raises:
            StartupFailure: It could not be stopped; `CONFIG_INVALID` where it is run from outside.
        """
        ...

    def read_log(self, *, since: datetime | None = None, lines: int = 200) -> tuple[str, ...]:
        """The last lines of the gateway's log, those from `since` on (`GatewayStatus.log_since`); empty if unknown."""
        ...

    def follow_log(self, on_line: OnText, *, since: datetime | None = None, lines: int = 2000) -> Following:
        """Hand on the log's lines from `since` on, and the new ones as they come, from a thread."""
        ...

    def read_launcher_log(self, status: GatewayStatus) -> LauncherReading | None:
        """What the gateway itself has written about its login, since its latest start. Costs a process in a container.

        Args:
            status: How the gateway is; only one that is up can be asked.

        Returns:
            None where it cannot be read; a reading without a phase where the gateway has not written anything yet.
        """
        ...

    def watch(self, on_change: Callable[[], None]) -> Following:
        """Call `on_change`, from a thread, when something happens to the gateway's container."""
        ...


class Runtime(OwnRuntime, Protocol):
    """Runs the gateway with regard for the other instances that use it.

    `ensure_started`, `restart` and `stop` wait for another instance that is at work on it, and write down what they do.
    """

    def find_users(self) -> tuple[GatewayUser, ...]:
        """The other instances that use this gateway now. Takes some hundredths of a second for each one."""
        ...

    def read_history(self, status: GatewayStatus | None) -> GatewayHistory:
        """What the other instances have done to it: their restarts, and the stop that holds it down.

        Args:
            status: How the gateway is; a stop that it has outlived holds nothing down.
        """
        ...

    def restart_lost(
        self,
        about: Start | None,
        *,
        yields: bool,
        on_restart: Callable[[], None],
        on_progress: OnText,
        is_gentle: bool = True,
    ) -> Spared | None:
        """Restart a gateway that does not work, unless another instance has just done so.

        Args:
            about: The start that was seen not to work.
            yields: Whether a gateway that is up is left alone while another instance's bot runs on it.
            on_restart: Called right before the restart, when it is certain.
            on_progress: Told what is being waited for.
            is_gentle: See `restart`.

        Returns:
            None after a restart; otherwise why there was none.

        Raises:
            StartupFailure: As `restart`; or another instance has stopped it, and it is not brought back.
        """
        ...

    def stop(self, *, timeout_s: float, reason: StopReason = StopReason.ASKED) -> bool:
        """See `OwnRuntime.stop`; the reason is for those who would bring it back."""
        ...

    def lift_stop(self) -> None:
        """An operator wants it to run again, whatever stopped it: `ensure_started` may start it."""
        ...

    def stop_unless_used(self, *, timeout_s: float, on_progress: OnText) -> Left:
        """Stop the gateway, unless another instance uses it."""
        ...


def find_still_running(runtime: Runtime) -> tuple[str, ...]:
    """What of the system runs beside the bot: the gateway, also an external one. Unknown counts as perhaps."""
    try:
        status = runtime.probe()
    except StartupFailure as failure:
        return (f"perhaps the gateway ({failure.message})",)
    name = runtime.container_name or f"the {runtime.kind} gateway"
    if runtime.kind is GatewayRuntime.EXTERNAL:
        return (f"{name}, which is managed externally",)
    if status.state in DOWN_STATES:
        return ()
    return (name if status.state is ContainerState.RUNNING else f"{name} ({status.state})",)
