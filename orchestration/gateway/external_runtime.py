"""A gateway, or TWS, that is managed externally: waited for and validated, never started, stopped or restarted."""

from collections.abc import Callable
from datetime import datetime

from orchestration.docker.container import ContainerState
from orchestration.docker.engine import EngineProbe
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.drift import Drift
from orchestration.gateway.history import NO_HISTORY, GatewayHistory, GatewayUser, Left, Spared, StopReason
from orchestration.gateway.launcher_log import LauncherReading
from orchestration.gateway.record import GatewayRecord
from orchestration.gateway.runtime import NothingToFollow, RestartKind
from orchestration.settings import GatewayRuntime, Settings
from orchestration.system.commands import Following


class ExternalRuntime:
    """See `runtime.Runtime`. What it knows of the gateway is nothing: only the API says whether it is there."""

    kind = GatewayRuntime.EXTERNAL
    container_name: str | None = None
    can_control = False
    has_events = False

    def __init__(self, settings: Settings, *, record: GatewayRecord | None = None) -> None:
        self._record = record or GatewayRecord(
            runtime=self.kind, host=settings.gateway_host, port=settings.gateway_port
        )

    def build_record(self) -> GatewayRecord:
        """See `Runtime.build_record`."""
        return self._record

    def probe_engine(self) -> EngineProbe:
        """No engine is needed."""
        return EngineProbe(detail="not needed: the gateway is managed externally")

    def wait_for_engine(self, timeout_s: float, on_progress: Callable[[str], None]) -> EngineProbe:
        """No engine is needed."""
        del timeout_s, on_progress
        return self.probe_engine()

    def probe(self) -> GatewayStatus:
        """Unknown, always."""
        return GatewayStatus(state=ContainerState.UNKNOWN)

    def find_drift(self, status: GatewayStatus) -> tuple[Drift, ...]:
        """Nothing: what it was made with is not known here."""
        del status
        return ()

    def ensure_started(self, *, on_progress: Callable[[str], None]) -> bool:
        """Start nothing."""
        on_progress("the gateway is managed externally; nothing is started")
        return False

    def restart(self, *, is_gentle: bool = True, on_progress: Callable[[str], None] | None = None) -> RestartKind:
        """Refuse."""
        del is_gentle, on_progress
        raise _refusal("restarted")

    def restart_lost(
        self,
        about: object,
        *,
        yields: bool,
        on_restart: Callable[[], None],
        on_progress: Callable[[str], None],
        is_gentle: bool = True,
    ) -> Spared | None:
        """Refuse."""
        del about, yields, on_restart, on_progress, is_gentle
        raise _refusal("restarted")

    def stop(self, *, timeout_s: float, reason: StopReason = StopReason.ASKED) -> bool:
        """Refuse."""
        del timeout_s, reason
        raise _refusal("stopped")

    def stop_unless_used(self, *, timeout_s: float, on_progress: Callable[[str], None]) -> Left:
        """Refuse."""
        del timeout_s, on_progress
        raise _refusal("stopped")

    def lift_stop(self) -> None:
        """Nothing of ours stops it."""

    def find_users(self) -> tuple[GatewayUser, ...]:
        """No user: it is not for us to leave it running."""
        return ()

    def read_history(self, status: GatewayStatus | None) -> GatewayHistory:
        """Nothing: this program does nothing to it."""
        del status
        return NO_HISTORY

    def read_log(self, *, since: datetime | None = None, lines: int = 200) -> tuple[str, ...]:
        """There is no log to read."""
        del since, lines
        return ()

    def follow_log(
        self, on_line: Callable[[str], None], *, since: datetime | None = None, lines: int = 2000
    ) -> Following:
        """There is no log to follow."""
        del on_line, since, lines
        return NothingToFollow()

    def read_launcher_log(self, status: GatewayStatus) -> LauncherReading | None:
        """None: see `Runtime.read_launcher_log`."""
        del status
        return None

    def watch(self, on_change: Callable[[], None]) -> Following:
        """Nothing tells of changes."""
        del on_change
        return NothingToFollow()


def _refusal(done: str) -> StartupFailure:
    return StartupFailure(
        FailureWord.CONFIG_INVALID,
        f"GATEWAY_RUNTIME is `external`: this gateway is managed externally, so it is not {done} from here",
        next_action="Do it where the gateway runs, or set GATEWAY_RUNTIME=docker to let this program run one.",
    )
