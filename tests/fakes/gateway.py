"""A gateway that is what the test says, and answers to its API that the test has prepared."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from orchestration.docker.container import ContainerState
from orchestration.docker.engine import EngineProbe
from orchestration.errors import StartupFailure
from orchestration.gateway.api_status import ApiCode, ApiState, ApiStatus
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.drift import Drift
from orchestration.gateway.history import NO_HISTORY, GatewayHistory, GatewayUser, Left, Spared, StopReason
from orchestration.gateway.launcher_log import LauncherReading, read_launcher_log
from orchestration.gateway.record import GatewayRecord
from orchestration.gateway.runtime import RestartKind
from orchestration.settings import GatewayRuntime
from orchestration.system.endpoint import Endpoint

STARTED = datetime(2026, 11, 18, 13, 59, tzinfo=UTC)
RUNNING = GatewayStatus(
    state=ContainerState.RUNNING, health=Health.STARTING, id="c0ffee", name="ibkr-gateway", started_at=STARTED
)
HEALTHY = replace(RUNNING, health=Health.HEALTHY)
UNHEALTHY = replace(RUNNING, health=Health.UNHEALTHY)
READY = ApiStatus(
    state=ApiState.READY,
    server_version=178,
    accounts=("DU1234567",),
    next_valid_id=1,
    skew_s=0.0,
    latency_ms=2.0,
    client_id=9990,
)
LINK_DOWN = READY.hear((ApiCode(code=1100, text="Connectivity has been lost"),))
FARMS_BROKEN = READY.hear((ApiCode(code=2103, text="Market data farm connection is broken:usfarm"),))


def api(state: ApiState) -> ApiStatus:
    """A look at the API that ended like this."""
    return ApiStatus(state=state)


@dataclass
class FakeLogFollowing:
    """A `Following` that ends when it is closed."""

    is_running: bool = True

    def close(self) -> None:
        self.is_running = False


@dataclass
class FakeRuntime:
    """`orchestration.gateway.runtime.Runtime`, in the state that the test gives it."""

    status: GatewayStatus | StartupFailure = RUNNING
    kind: GatewayRuntime = GatewayRuntime.DOCKER
    container_name: str | None = "ibkr-gateway"
    can_control: bool = True
    has_events: bool = True
    log: list[str] = field(default_factory=list)
    launcher_lines: list[str] | None = None  # None: it cannot be read
    launcher_clock: Callable[[], datetime] = lambda: STARTED
    launcher_reads: int = 0
    restarts: int = 0
    full_restarts: int = 0
    restarts_as: RestartKind = RestartKind.FULL  # what comes of one that may be gentle
    stops: int = 0
    looks: int = 0
    after_restart: Callable[[], None] = lambda: None
    tells_of_starts: bool = True
    ends_logs: bool = True
    is_follower_slow: bool = False  # what was said before comes later, as from another process
    stop_failure: StartupFailure | None = None
    stop_reasons: list[StopReason] = field(default_factory=list)
    users: tuple[GatewayUser, ...] = ()
    drift: tuple[Drift, ...] = ()
    history: GatewayHistory = NO_HISTORY
    spared: Spared | None = None
    followings: list[FakeLogFollowing] = field(default_factory=list)
    _watchers: list[tuple[FakeLogFollowing, Callable[[], None]]] = field(default_factory=list)
    _readers: list[tuple[FakeLogFollowing, Callable[[str], None]]] = field(default_factory=list)

    def become(self, status: GatewayStatus | StartupFailure, *, silently: bool = False) -> None:
        """Change, and tell who watches."""
        self.status = status
        for following, on_change in self._watchers if not silently else ():
            if following.is_running:
                on_change()

    def say(self, *lines: str) -> None:
        """Write to the log of the present start."""
        self.log.extend(lines)
        for following, on_line in self._readers:
            for line in lines if following.is_running else ():
                on_line(line)

    def start_anew(self, status: GatewayStatus = RUNNING, *, after_s: float = 60.0) -> None:
        """A new start of the same container: an empty log, a later time."""
        self.log.clear()
        for following, _ in self._readers if self.ends_logs else ():
            following.is_running = False
        assert isinstance(self.status, GatewayStatus)
        before = self.status.started_at or STARTED
        self.become(replace(status, started_at=before + timedelta(seconds=after_s)), silently=not self.tells_of_starts)

    def build_record(self) -> GatewayRecord:
        return GatewayRecord(runtime=self.kind, host="127.0.0.1", port=4002)

    def probe_engine(self) -> EngineProbe:
        return EngineProbe(detail="fake")

    def wait_for_engine(self, timeout_s: float, on_progress: Callable[[str], None]) -> EngineProbe:
        del timeout_s, on_progress
        return self.probe_engine()

    def probe(self) -> GatewayStatus:
        self.looks += 1
        if isinstance(self.status, StartupFailure):
            raise self.status
        return self.status

    def find_drift(self, status: GatewayStatus) -> tuple[Drift, ...]:
        del status
        return self.drift

    def ensure_started(self, *, on_progress: Callable[[str], None]) -> bool:
        on_progress("fake")
        if isinstance(self.status, GatewayStatus) and self.status.is_up:
            return False
        self.start_anew()
        return True

    def restart(self, *, is_gentle: bool = True, on_progress: Callable[[str], None] | None = None) -> RestartKind:
        assert self.can_control, "not ours to restart"
        del on_progress
        self.restarts += 1
        self.full_restarts += not is_gentle
        kind = self.restarts_as if is_gentle else RestartKind.FULL
        if kind is RestartKind.FULL:
            self.start_anew()
        self.after_restart()
        return kind

    def restart_lost(
        self,
        about: object,
        *,
        yields: bool,
        on_restart: Callable[[], None],
        on_progress: Callable[[str], None],
        is_gentle: bool = True,
    ) -> Spared | None:
        assert about is None or isinstance(about, tuple)
        if self.spared is not None and (yields or self.spared.is_restarted):
            return self.spared
        on_restart()
        self.restart(is_gentle=is_gentle, on_progress=on_progress)
        return None

    def lift_stop(self) -> None:
        self.history = NO_HISTORY

    def find_users(self) -> tuple[GatewayUser, ...]:
        return self.users

    def read_history(self, status: GatewayStatus | None) -> GatewayHistory:
        del status
        return self.history

    def stop_unless_used(self, *, timeout_s: float, on_progress: Callable[[str], None]) -> Left:
        on_progress("fake")
        return Left(users=self.users, in_time=bool(self.users) or self.stop(timeout_s=timeout_s))

    def stop(self, *, timeout_s: float, reason: StopReason = StopReason.ASKED) -> bool:
        assert self.can_control, "not ours to stop"
        assert timeout_s > 0
        self.stop_reasons.append(reason)
        self.stops += 1
        if self.stop_failure is not None:
            raise self.stop_failure
        assert isinstance(self.status, GatewayStatus)
        self.become(replace(self.status, state=ContainerState.EXITED, exit_code=0))
        return True

    def read_log(self, *, since: datetime | None = None, lines: int = 200) -> tuple[str, ...]:
        del since
        return tuple(self.log[-lines:])

    def follow_log(
        self, on_line: Callable[[str], None], *, since: datetime | None = None, lines: int = 2000
    ) -> FakeLogFollowing:
        del since
        following = FakeLogFollowing()
        self.followings.append(following)
        self._readers.append((following, on_line))
        for line in () if self.is_follower_slow else self.log[-lines:]:
            on_line(line)
        return following

    def read_launcher_log(self, status: GatewayStatus) -> LauncherReading | None:
        self.launcher_reads += 1
        if self.launcher_lines is None or not status.is_up:
            return None
        return read_launcher_log(self.launcher_lines, now=self.launcher_clock(), since=status.log_since)

    def watch(self, on_change: Callable[[], None]) -> FakeLogFollowing:
        following = FakeLogFollowing()
        self.followings.append(following)
        self._watchers.append((following, on_change))
        return following


@dataclass
class FakeProbe:
    """`orchestration.gateway.api.probe_api`: gives the answer that the test has set; the last one stays.

    While `is_open` says no, it answers as a forwarder does before the login.
    """

    answers: list[ApiStatus] = field(default_factory=lambda: [READY])
    calls: int = 0
    before: Callable[[], None] = lambda: None
    is_open: Callable[[], bool] = lambda: True

    def __call__(
        self, endpoint: Endpoint, *, client_id: int, timeout_s: float, now: Callable[[], datetime]
    ) -> ApiStatus:
        assert endpoint.host
        assert endpoint.port > 0
        assert client_id > 0
        assert timeout_s > 0
        assert now().tzinfo is not None
        self.calls += 1
        self.before()
        if not self.is_open():
            return api(ApiState.CLOSED)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
