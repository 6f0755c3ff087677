"""Who runs the gateway, behind one protocol: a container, the built-in simulator, or somebody else.

A runtime looks (`probe`), converges (`ensure_started`), restarts and stops. Whether the gateway is *ready* is not its
business: `wait` asks the API that.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from orchestration.docker.engine import EngineProbe
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.record import GatewayRecord
from orchestration.settings import GatewayRuntime, Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands, Following

OnText = Callable[[str], None]


class Runtime(Protocol):
    """Runs the gateway, or knows that somebody else does."""

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
        """Whether `ensure_started`, `restart` and `stop` may act: not where somebody else runs the gateway."""
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
            StartupFailure: `DOCKER_UNAVAILABLE`: not there in time, or for a reason that waiting does not mend.
        """
        ...

    def probe(self) -> GatewayStatus:
        """Look at the gateway's container or process once. Changes nothing.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`: the engine does not answer. Looking again may help.
        """
        ...

    def ensure_started(self, *, on_progress: OnText) -> bool:
        """Make the gateway run, if it does not; a running one is left alone. Returns whether anything was changed.

        Raises:
            StartupFailure: `GATEWAY_START_FAILED` with the evidence; `DOCKER_UNAVAILABLE`. A person is needed.
        """
        ...

    def restart(self) -> None:
        """Restart the gateway, or start it if it is not there.

        Raises:
            StartupFailure: `GATEWAY_START_FAILED`; `CONFIG_INVALID` where somebody else runs it.
        """
        ...

    def stop(self, *, timeout_s: float) -> bool:
        """Stop the gateway so that it stays stopped. Returns whether it left by itself in time.

        Raises:
            StartupFailure: It could not be stopped; `CONFIG_INVALID` where somebody else runs it.
        """
        ...

    def read_log(self, *, since: datetime | None = None, lines: int = 200) -> tuple[str, ...]:
        """The last lines of the gateway's log, those from `since` on (`GatewayStatus.log_since`); empty if unknown."""
        ...

    def follow_log(self, on_line: OnText, *, since: datetime | None = None, lines: int = 2000) -> Following:
        """Hand on the log's lines from `since` on, and the new ones as they come, from a thread."""
        ...

    def watch(self, on_change: Callable[[], None]) -> Following:
        """Call `on_change`, from a thread, when something happens to the gateway's container."""
        ...


def build_runtime(
    settings: Settings, *, commands: Commands, clock: Clock, record: GatewayRecord | None = None
) -> Runtime:
    """The runtime that the settings name, or the one that a run recorded.

    Args:
        settings: The configuration.
        commands: The door for programs.
        clock: The clock.
        record: What an earlier run of this instance used; it goes before the settings.
    """
    kind = record.runtime if record is not None else settings.gateway_runtime
    if kind is GatewayRuntime.EXTERNAL:
        from orchestration.gateway.external_runtime import ExternalRuntime

        return ExternalRuntime(settings, record=record)
    if kind is GatewayRuntime.SIMULATOR:
        from orchestration.gateway.simulator_runtime import SimulatorRuntime

        return SimulatorRuntime(settings, clock=clock, record=record)
    from orchestration.gateway.docker_runtime import DockerRuntime

    return DockerRuntime(settings, commands=commands, clock=clock, record=record)
