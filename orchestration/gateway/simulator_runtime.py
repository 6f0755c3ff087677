"""The built-in simulator as the gateway: a process of its own, left running like a container would be."""

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from orchestration.docker.container import ContainerState
from orchestration.docker.engine import EngineProbe
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.drift import Drift
from orchestration.gateway.launcher_file import read_settings_folder
from orchestration.gateway.launcher_log import LauncherReading
from orchestration.gateway.record import GatewayRecord, read_record, write_record
from orchestration.gateway.runtime import FindUsers, NothingToFollow, RestartKind
from orchestration.gateway.shared_state import SharedGatewayState
from orchestration.logs import prune_logs
from orchestration.redaction import FileTail, Redactor, read_last_lines, redactor_for
from orchestration.settings import GatewayRuntime, Settings, TradingMode
from orchestration.settings.child_environ import drop_secrets
from orchestration.system.clock import Clock, wait_until
from orchestration.system.commands import Following
from orchestration.system.process_table import read_argv, read_pids, read_standard_output
from orchestration.system.processes import (
    LaunchedProcess,
    ProcessIdentity,
    end_process_tree,
    is_running,
    launch_detached,
    read_identity,
    read_uptime_s,
)

_STOP_TIMEOUT_S = 10.0
_LISTEN_TIMEOUT_S = 15.0
_LOOK_S = 0.02
_EVIDENCE_LINES = 15
_FOLLOW_LOOK_S = 0.1  # a look is one read of an open file

_MODULE = "orchestration.simulator"
_BOUND_LINE = "closed until the login is over"  # the simulator has its port; its login follows


class SimulatorRuntime:
    """See `runtime.OwnRuntime`. The process is known by the instance's gateway record, or by the shared state.

    Args:
        settings: The configuration.
        clock: Tells the time.
        record: What an earlier run of this instance used.
        shared_state: Names the process for all instances that use it, of any launcher.
        find_users: Who else uses a gateway.
    """

    kind = GatewayRuntime.SIMULATOR
    container_name: str | None = None
    can_control = True
    has_events = False

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        record: GatewayRecord | None = None,
        shared_state: SharedGatewayState,
        find_users: FindUsers,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._shared_state = shared_state
        self._find_users = find_users
        found = record if record is not None else read_record(settings.state_dir)
        self._record = found if found is not None and found.runtime is GatewayRuntime.SIMULATOR else None
        if self._record is None or self._record.pid is None:
            # Launched, and its launcher was killed before it could be written down; or what was, is damaged.
            self._record = _find_unrecorded(settings, self._marker) or self._record
        # One start has one time, whatever the wall clock does later.
        self._started_at: dict[ProcessIdentity, datetime] = {}

    def build_record(self) -> GatewayRecord:
        """What later commands need to find this gateway again."""
        settings = self._settings
        return self._record or GatewayRecord(
            runtime=self.kind, host=settings.gateway_host, port=settings.gateway_port, simulated=True
        )

    def probe_engine(self) -> EngineProbe:
        """No engine is needed."""
        return EngineProbe(detail="not needed: the gateway is simulated")

    def wait_for_engine(self, timeout_s: float, on_progress: Callable[[str], None]) -> EngineProbe:
        """No engine is needed."""
        del timeout_s, on_progress
        return self.probe_engine()

    def probe(self) -> GatewayStatus:
        """See `Runtime.probe`."""
        record, identity = self._record, self._identity()
        if record is None or identity is None:
            return GatewayStatus(state=ContainerState.MISSING, is_simulated=True)
        uptime_s = read_uptime_s(identity)
        if uptime_s is not None:
            self._started_at.setdefault(identity, self._clock.now() - timedelta(seconds=uptime_s))
        return GatewayStatus(
            state=ContainerState.EXITED if uptime_s is None else ContainerState.RUNNING,
            id=f"{identity.pid}:{identity.birth}",
            name=f"simulator, process {identity.pid}",
            image="orchestration.simulator",
            started_at=self._started_at.get(identity),
            inner_ports=((record.port, record.port),),
            is_simulated=True,
        )

    def find_drift(self, status: GatewayStatus) -> tuple[Drift, ...]:
        """Nothing: it is made for a run, and has no account to lose."""
        del status
        return ()

    def ensure_started(self, *, on_progress: Callable[[str], None]) -> bool:
        """See `Runtime.ensure_started`."""
        identity = self._identity()
        runs = identity is not None and is_running(identity)
        if self._record is not None and self._record.port != self._settings.gateway_port:
            if identity is not None and runs and not self._find_users(self._record):
                on_progress("the simulator runs on another port: it is restarted")
                end_process_tree(identity, timeout_s=_STOP_TIMEOUT_S)
            self._record = None
            runs = self._is_shared_running()
        if runs:
            on_progress(f"the simulator runs, process {self.build_record().pid}")
            return False
        with contextlib.suppress(OSError):
            self._marker.unlink(missing_ok=True)
        self._launch()
        on_progress(f"the simulator was started, process {self.build_record().pid}")
        return True

    def restart(self, *, is_gentle: bool = True, on_progress: Callable[[str], None] | None = None) -> RestartKind:
        """See `Runtime.restart`."""
        del is_gentle, on_progress
        self.stop(timeout_s=_STOP_TIMEOUT_S)
        self._launch()
        return RestartKind.FULL

    def stop(self, *, timeout_s: float) -> bool:
        """See `Runtime.stop`."""
        identity = self._identity()
        return True if identity is None else end_process_tree(identity, timeout_s=timeout_s)

    def read_log(self, *, since: datetime | None = None, lines: int = 200) -> tuple[str, ...]:
        """See `Runtime.read_log`. Each start has a log of its own, so `since` changes nothing."""
        del since
        record = self._record
        if record is None or not record.log:
            return ()
        try:
            return read_last_lines(Path(record.log), lines, redactor_for(self._settings.secrets))
        except OSError:
            return ()

    def follow_log(
        self, on_line: Callable[[str], None], *, since: datetime | None = None, lines: int = 2000
    ) -> Following:
        """See `Runtime.follow_log`."""
        if self._record is None or not self._record.log:
            return NothingToFollow()
        del since, lines
        return FileFollowing(Path(self._record.log), on_line, redactor_for(self._settings.secrets))

    def read_launcher_log(self, status: GatewayStatus) -> LauncherReading | None:
        """See `Runtime.read_launcher_log`."""
        if not status.is_up:
            return None
        return read_settings_folder(
            self._shared_state.simulator_settings_dir, since=status.started_at, now=self._clock.now()
        )

    def watch(self, on_change: Callable[[], None]) -> Following:
        """Nothing tells of changes: looking costs next to nothing here."""
        del on_change
        return NothingToFollow()

    @property
    def _marker(self) -> Path:
        return self._shared_state.first_start_marker

    def _identity(self) -> ProcessIdentity | None:
        """Which process it is: the one that this instance knows, unless it has ended and another one took its place."""
        own = _read_identity_of(self._record)
        if own is not None and is_running(own):
            return own
        return _read_identity_of(self._record) if self._is_shared_running() else own

    def _is_shared_running(self) -> bool:
        """Whether another instance's process runs as this gateway; then it is known as ours from now on."""
        port = self._settings.gateway_port if self._record is None else self._record.port
        shared = self._shared_state.read_process()
        identity = _read_identity_of(shared)
        if shared is None or shared.port != port or identity is None or not is_running(identity):
            return False
        self._record = shared
        return True

    def _launch(self) -> None:
        settings = self._settings
        log = settings.log_dir / f"gateway_{self._clock.now().astimezone():%Y%m%d_%H%M%S_%f}.log"
        argv = build_simulator_argv(
            settings, marker=self._marker, settings_dir=self._shared_state.simulator_settings_dir
        )
        try:
            environ = drop_secrets(settings.environ)
            launched = launch_detached(argv, cwd=settings.project_dir, environ=environ, output=log)
        except OSError as error:
            raise _start_failure(f"the simulator could not be started: {error}", "Read the error above.", ()) from error
        self._record = GatewayRecord(
            runtime=self.kind,
            host=settings.gateway_host,
            port=settings.gateway_port,
            pid=launched.identity.pid,
            birth=launched.identity.birth,
            log=str(log),
            simulated=True,
        )
        # Recorded at once: whatever becomes of this program, the next one finds the process. Where that is not possible
        # (disk full), no plan can be activated either: the run ends there, and ends this process with it.
        with contextlib.suppress(OSError):
            write_record(settings.state_dir, self._record)
        prune_logs(settings.log_dir, prefix="gateway", keep=settings.log_keep, spare=[log])
        self._shared_state.note_started(process=self._record)
        self._wait_until_bound(launched)

    def _wait_until_bound(self, launched: LaunchedProcess) -> None:
        def is_bound() -> bool:
            return any(_BOUND_LINE in line for line in self.read_log())

        def is_settled() -> bool:
            return is_bound() or launched.poll_exit_code() is not None

        wait_until(is_settled, timeout_s=_LISTEN_TIMEOUT_S, every_s=_LOOK_S, clock=self._clock)
        code = launched.poll_exit_code()
        if code is None and is_bound():
            launched.disown()
            return
        end_process_tree(launched.identity, timeout_s=_STOP_TIMEOUT_S)
        evidence = self.read_log(lines=_EVIDENCE_LINES)
        holder = describe_port_holder(self._settings.gateway_port)
        if any("cannot listen" in line for line in evidence):
            raise _start_failure(
                f"port {self._settings.gateway_port} is held by {holder}, so the simulator cannot listen there",
                "End that program, or set GATEWAY_PORT to a free port.",
                evidence,
            )
        if code is None:
            raise _start_failure(
                f"the simulator did not say within {_LISTEN_TIMEOUT_S:g} s that it has its port",
                f"Read its words above; where there are none, {self._settings.log_dir} may be full.",
                evidence,
            )
        raise _start_failure(
            f"the simulator ended at once, with code {code}",
            "Read its words above; SIMULATOR_FAULTS may name a fault that does not exist.",
            evidence,
        )


def _read_identity_of(record: GatewayRecord | None) -> ProcessIdentity | None:
    if record is None or record.pid is None:
        return None
    return ProcessIdentity(pid=record.pid, birth=record.birth)


def _find_unrecorded(settings: Settings, marker: Path) -> GatewayRecord | None:
    """This instance's simulator by its own arguments, where it was never recorded or its record is damaged."""
    for pid in read_pids():
        try:
            argv, log = read_argv(pid), read_standard_output(pid)
        except PermissionError:
            continue  # another user's, so not started by us
        identity = read_identity(pid)
        port = _read_option(argv, "--port")
        if _MODULE not in argv or _read_option(argv, "--start-marker") != str(marker) or identity is None or not port:
            continue
        return GatewayRecord(
            runtime=GatewayRuntime.SIMULATOR,
            host=_read_option(argv, "--host") or settings.gateway_host,
            port=int(port),
            pid=pid,
            birth=identity.birth,
            log=str(log or ""),
            simulated=True,
        )
    return None


def _read_option(argv: Sequence[str], name: str) -> str:
    return argv[argv.index(name) + 1] if name in argv[:-1] else ""


class FileFollowing:
    """A `Following` of a file that grows; its lines come fit to be shown."""

    def __init__(self, path: Path, on_line: Callable[[str], None], redactor: Redactor | None = None) -> None:
        self._path = path
        self._redactor = redactor
        self._on_line = on_line
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-follower", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it still follows."""
        return not self._ended.is_set()

    def close(self) -> None:
        """Stop."""
        self._ended.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        try:
            with contextlib.closing(FileTail(self._path, self._redactor)) as tail:
                while not self._ended.is_set():
                    for line in tail.read_new():
                        self._on_line(line)
                    self._ended.wait(_FOLLOW_LOOK_S)
        except OSError:
            self._ended.set()


def build_simulator_argv(settings: Settings, *, marker: Path, settings_dir: Path) -> tuple[str, ...]:
    """How the simulator is started. Pure.

    Args:
        settings: The configuration.
        marker: The file that tells a restart from a first start.
        settings_dir: Where it writes `launcher.log`.
    """
    argv = [sys.executable, "-m", _MODULE, "--host", settings.gateway_host]
    argv += ["--port", str(settings.gateway_port)]
    argv += ["--start-marker", str(marker)]
    argv += ["--settings-dir", str(settings_dir)]
    if settings.trading_mode is TradingMode.LIVE:
        argv += ["--mode", "live"]
    action = {one.name: one.value for one in settings.image_variables}.get("EXISTING_SESSION_DETECTED_ACTION", "")
    if action == "secondary":
        argv += ["--existing-session", action]
    if settings.simulator_faults:
        argv += ["--faults", settings.simulator_faults]
    return tuple(argv)


def describe_port_holder(port: int) -> str:
    """Which program listens on a port, as far as this user may know it."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            # The local address of a listening socket is a pair, never the empty tuple of an unconnected one.
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:] == (port,):
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another program"


def _start_failure(message: str, next_action: str, evidence: Sequence[str]) -> StartupFailure:
    return StartupFailure(FailureWord.GATEWAY_START_FAILED, message, next_action=next_action, evidence=tuple(evidence))
