"""The gateway in a container, through Docker's own command line."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from orchestration.docker import container
from orchestration.docker.cli import CHANGE_TIMEOUT_S, DockerCli
from orchestration.docker.compose import (
    ComposeService,
    ComposeTarget,
    advise_on_failure,
    build_project_name,
    find_compose_files,
)
from orchestration.docker.container import ContainerState
from orchestration.docker.engine import EngineProbe
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway import compose, drift, launcher_file, soft_restart
from orchestration.gateway.container import MISSING, GatewayStatus, parse_inspect
from orchestration.gateway.drift import Drift
from orchestration.gateway.launcher_log import LauncherReading
from orchestration.gateway.record import GatewayRecord
from orchestration.gateway.runtime import RestartKind
from orchestration.logs import prune_logs
from orchestration.settings import GatewayRuntime, Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands, Following
from orchestration.system.files import write_atomic

_KILL_MARGIN_S = 30.0  # what the engine may need after the grace time
_LOOK_BACK_S = 5
_KILLED_EXIT_CODE = 137
_EVIDENCE_LINES = 15
_KEPT_LINES = 1000
_SHIPPED_DIR = Path("docker", "gateway")
KEPT_LOG_PREFIX = "container"


class StartAction(StrEnum):
    """What makes a container run."""

    NOTHING = "nothing"
    UP = "up"
    REMOVE_AND_UP = "remove_and_up"
    START = "start"
    UNPAUSE = "unpause"


def choose_action(status: GatewayStatus, *, project: str, can_make: bool = True) -> StartAction:
    """What makes this container run. Pure.

    A container that this project did not make is never given to Compose, which would refuse or recreate it: it is
    started as it is. So is a stopped one where a new one could not log in (`can_make`, see `can_make_one`): it was made
    with a login of its own.
    """
    is_ours = status.compose_project == project and can_make
    match status.state:
        case ContainerState.MISSING:
            return StartAction.UP
        case ContainerState.CREATED | ContainerState.EXITED:
            return StartAction.UP if is_ours else StartAction.START
        case ContainerState.DEAD:
            return StartAction.REMOVE_AND_UP if status.compose_project == project else StartAction.START
        case ContainerState.PAUSED:
            return StartAction.UNPAUSE
        case _:  # running; or restarting, which the engine does, with a growing pause between tries
            return StartAction.NOTHING


def needs_credentials(settings: Settings, status: GatewayStatus) -> bool:
    """Whether a container of the vendor's image would have to be made now, so that user and password matter. Pure."""
    if settings.gateway_runtime is not GatewayRuntime.DOCKER:
        return False
    return _takes_compose(settings, status, can_make=False) and _is_vendors(settings.gateway_image)


def needs_compose(settings: Settings, status: GatewayStatus) -> bool:
    """Whether it takes Compose, and so its files, to make the gateway's container run now. Pure."""
    if settings.gateway_runtime is not GatewayRuntime.DOCKER:
        return False
    return _takes_compose(settings, status, can_make=can_make_one(settings))


def _takes_compose(settings: Settings, status: GatewayStatus, *, can_make: bool) -> bool:
    project = build_project_name(settings.gateway_container_name)
    action = choose_action(status, project=project, can_make=can_make)
    return action in {StartAction.UP, StartAction.REMOVE_AND_UP}


def can_make_one(settings: Settings) -> bool:
    """Whether a container made now could log in: the vendor's image needs user and password. Pure."""
    has_login = settings.tws_userid is not None and settings.tws_password is not None
    return has_login or not _is_vendors(settings.gateway_image)


def _is_vendors(image: str) -> bool:
    return "ib-gateway" in image.rpartition("/")[2]


class DockerRuntime:
    """See `runtime.Runtime`."""

    kind = GatewayRuntime.DOCKER
    can_control = True
    has_events = True

    def __init__(
        self, settings: Settings, *, commands: Commands, clock: Clock, record: GatewayRecord | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self.container_name: str = (record and record.container) or settings.gateway_container_name
        self._project = (record and record.project) or build_project_name(self.container_name)
        self._service = (record and record.service) or settings.gateway_service
        self._compose_dir = Path(record.compose_dir) if record and record.compose_dir else settings.docker_compose_dir
        self._docker = DockerCli(
            commands,
            read_timeout_s=max(settings.health_check_timeout_s, 1.0),
            secrets=settings.secrets,
            start_failure=FailureWord.GATEWAY_START_FAILED,
        )
        # A Compose file of somebody else's need not name its container: then it is known by its labels.
        self._reference = self.container_name
        # The start of the container within which the gateway last restarted itself because of us, and when.
        self._soft_restart: tuple[tuple[str, datetime | None], datetime] | None = None

    def build_record(self) -> GatewayRecord:
        """What later commands need to find this gateway again."""
        return GatewayRecord(
            runtime=self.kind,
            host=self._settings.gateway_host,
            port=self._settings.gateway_port,
            container=self.container_name,
            project=self._project,
            service=self._service,
            compose_dir=str(self._compose_dir),
        )

    def probe_engine(self) -> EngineProbe:
        """See `Runtime.probe_engine`."""
        return self._docker.probe_engine()

    def wait_for_engine(self, timeout_s: float, on_progress: Callable[[str], None]) -> EngineProbe:
        """See `Runtime.wait_for_engine`."""
        return self._docker.wait_for_engine(timeout_s, clock=self._clock, on_progress=on_progress)

    def probe(self) -> GatewayStatus:
        """See `Runtime.probe`."""
        status = self._find()
        self._reference = status.name or self.container_name
        if self._soft_restart is not None and self._soft_restart[0] == status.start:
            return dataclasses.replace(status, restarted_at=self._soft_restart[1])
        return status

    def _find(self) -> GatewayStatus:
        """The container of exactly this name, or else of this Compose service."""
        for status in self._docker.inspect(self.container_name, parse_inspect):
            if status.name == self.container_name:
                return status
        for container_id in self._docker.find_ids(project=self._project, service=self._service):
            statuses = self._docker.inspect(container_id, parse_inspect)
            if statuses:
                return statuses[0]
        return MISSING

    def ensure_started(self, *, on_progress: Callable[[str], None]) -> bool:
        """See `Runtime.ensure_started`."""
        before = self.probe()
        action = choose_action(before, project=self._project, can_make=can_make_one(self._settings))
        if action is StartAction.NOTHING:
            on_progress(f"container {self.container_name} is {before}")
            return False
        on_progress(f"container {self.container_name} is {before}")
        self._act(action, before, on_progress)
        after = self.probe()
        if after.state not in {ContainerState.RUNNING, ContainerState.RESTARTING}:
            reason = f": {after.error}" if after.error else ""
            raise self._docker.build_start_failure(
                f"container {self.container_name} was started and is {after} now{reason}",
                evidence=(*after.health_log, *self.read_log(since=after.log_since, lines=_EVIDENCE_LINES)),
                next_action=f"Read its log: `docker logs {self.container_name}`.",
            )
        return True

    def restart(self, *, is_gentle: bool = True, on_progress: Callable[[str], None] | None = None) -> RestartKind:
        """See `Runtime.restart`."""
        on_progress = on_progress or _no_progress
        status = self.probe()
        match status.state:
            case ContainerState.MISSING | ContainerState.CREATED | ContainerState.DEAD:
                self._act(choose_action(status, project=self._project), status, on_progress)
            case ContainerState.PAUSED:
                self._change(container.unpause_argv(status.id))
                self._restart(status)
            case _:
                asked = self._restart_softly(status, on_progress) if is_gentle else None
                if asked is not None:
                    return asked
                self._restart(status)
        return RestartKind.FULL

    def stop(self, *, timeout_s: float) -> bool:
        """See `Runtime.stop`."""
        status = self.probe()
        if status.state in {ContainerState.MISSING, ContainerState.CREATED, ContainerState.DEAD}:
            return True
        if status.state is ContainerState.PAUSED:
            self._change(container.unpause_argv(status.id))
        # Also for one that has exited: only a stop tells its restart policy to leave it alone.
        self._change(container.stop_argv(status.id, timeout_s=timeout_s), timeout_s=timeout_s + _KILL_MARGIN_S)
        return self.probe().exit_code != _KILLED_EXIT_CODE

    def read_log(self, *, since: datetime | None = None, lines: int = 200) -> tuple[str, ...]:
        """See `Runtime.read_log`."""
        argv = container.logs_argv(self._reference, lines=lines, since=since, timestamps=True)
        try:
            result = self._docker.look(argv)
        except StartupFailure:
            return ()  # evidence, where there is some; the engine's absence is found by whoever needs the engine
        if not result.ok:
            return ()
        merged = container.merge_streams(result.stdout, result.stderr)
        return self._docker.clean_lines(merged, last=lines)

    def follow_log(
        self, on_line: Callable[[str], None], *, since: datetime | None = None, lines: int = 2000
    ) -> Following:
        """See `Runtime.follow_log`."""
        argv = container.logs_argv(self._reference, lines=lines, since=since, follow=True)
        return self._docker.follow(argv, lambda line: on_line(self._docker.clean_line(line)))

    def read_launcher_log(self, status: GatewayStatus) -> LauncherReading | None:
        """See `Runtime.read_launcher_log`."""
        if not status.is_up:
            return None
        try:
            result = self._docker.look(launcher_file.read_argv(status.id, self._settings.trading_mode))
        except StartupFailure:
            return None  # the engine's absence is found by whoever needs the engine
        if not result.ok:
            return None
        since = status.log_since or status.started_at
        return launcher_file.parse_launcher_log(result.stdout, since=since, now=self._clock.now())

    def watch(self, on_change: Callable[[], None]) -> Following:
        """See `Runtime.watch`."""
        argv = container.events_argv(self._reference, since_s=_LOOK_BACK_S)
        return self._docker.follow(argv, lambda _: on_change())

    def _act(self, action: StartAction, status: GatewayStatus, on_progress: Callable[[str], None]) -> None:
        match action:
            case StartAction.UP:
                self._remove_leftovers(status)
                self._up(status, on_progress)
            case StartAction.REMOVE_AND_UP:
                kept = self._keep_log(status)
                self._change(container.remove_argv(status.id))
                self._make(on_progress, recreates=True)
                _tell_kept(kept, on_progress)
            case StartAction.UNPAUSE:
                self._change(container.unpause_argv(status.id))
            case _:
                on_progress("this container was not made by its Compose file: it is started as it is")
                self._change(container.start_argv(status.id))

    def _remove_leftovers(self, status: GatewayStatus) -> None:
        """Remove what an interrupted recreation left behind: two stopped containers of one service.

        Given both, Compose removes one while it gives the other its name, and fails if it is not quick enough.
        """
        if status.state is ContainerState.MISSING:
            return
        for container_id in self._docker.find_ids(project=self._project, service=self._service):
            if container_id != status.id:
                # One that runs is refused, and left for Compose to judge.
                self._docker.change(container.remove_stopped_argv(container_id))

    def _up(self, status: GatewayStatus, on_progress: Callable[[str], None]) -> None:
        """Make it, or start the one that is there; what that one has said last is kept before it may be replaced."""
        kept = self._keep_log(status)
        self._make(on_progress, recreates=status.state is ContainerState.MISSING or self._has_other_login(status))
        if kept is not None and self.probe().id == status.id:
            with contextlib.suppress(OSError):
                kept.unlink()  # the container has its log still
        else:
            _tell_kept(kept, on_progress)

    def _make(self, on_progress: Callable[[str], None], *, recreates: bool) -> None:
        on_progress(f"starting container {self.container_name}")
        self._compose().up(
            pull_timeout_s=self._settings.docker_pull_timeout_s, on_progress=on_progress, recreates=recreates
        )

    def _has_other_login(self, status: GatewayStatus) -> bool:
        """Whether a container has, or may have, another password than it would get now: Compose does not see that."""
        wanted = self._settings.tws_password.reveal() if self._settings.tws_password else ""
        has = self._read_password(status)
        if has is None:
            return bool(wanted) or drift.PASSWORD_FILE in dict(status.environ)
        return has != wanted

    def _compose(self) -> ComposeService:
        target = ComposeTarget(
            files=find_compose_files(self._compose_dir), project=self._project, service=self._service
        )
        return ComposeService(
            self._docker,
            target,
            environ=compose.build_compose_environ(self._settings),
            known=dataclasses.replace(
                compose.build_service_names(self._settings, target.files), directory=self._compose_dir
            ),
        )

    def _keep_log(self, status: GatewayStatus) -> Path | None:
        """Write down what a container that has ended said last: where it is replaced, its log goes with it.

        Where that cannot be written the start goes on without.
        """
        if status.state not in {ContainerState.EXITED, ContainerState.DEAD}:
            return None
        lines = self.read_log(lines=_KEPT_LINES)
        if not lines:
            return None
        path = self._settings.log_dir / f"{KEPT_LOG_PREFIX}_{self._clock.now().astimezone():%Y%m%d_%H%M%S}.log"
        head = f"the last lines of container {status.name} ({status.id[:12]}, {status}), before it was replaced"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, "\n".join((head, *lines, "")).encode(errors="backslashreplace"))
        except OSError:
            return None
        prune_logs(self._settings.log_dir, prefix=KEPT_LOG_PREFIX, keep=self._settings.log_keep, spare=[path])
        return path

    def find_drift(self, status: GatewayStatus) -> tuple[Drift, ...]:
        """See `Runtime.find_drift`."""
        if status.state in {ContainerState.MISSING, ContainerState.UNKNOWN}:
            return ()
        return drift.find_drift(status, self._build_wanted(status), password=self._read_password(status))

    def _build_wanted(self, status: GatewayStatus) -> drift.Wanted:
        """What it would be made with now; one that this project did not make is measured by what somebody has set."""
        settings = self._settings
        if status.compose_project != self._project:
            names = frozenset(row.name for row in settings.sources if row.source != "default")
            return drift.build_wanted(settings, names=names)
        if self._compose_dir != settings.project_dir / _SHIPPED_DIR:
            with contextlib.suppress(StartupFailure):
                wanted = drift.parse_wanted(self._compose().read_config(), self._service, settings)
                if wanted is not None:
                    return wanted
        return drift.build_wanted(settings)

    def _read_password(self, status: GatewayStatus) -> str | None:
        """The broker's password that a container has; None where it cannot be read. Never shown or written down."""
        environ = dict(status.environ)
        if environ.get(drift.PASSWORD):
            return environ[drift.PASSWORD]
        path = environ.get(drift.PASSWORD_FILE)
        if not path:
            return None
        try:
            copied = self._docker.look(container.copy_out_argv(status.id, path))
        except StartupFailure:
            return None
        content = container.parse_copied_file(copied.stdout) if copied.ok else None
        return None if content is None else content.rstrip("\r\n")

    def _restart(self, status: GatewayStatus) -> None:
        grace_s = self._settings.gateway_stop_grace_s
        self._change(container.restart_argv(status.id, timeout_s=grace_s), timeout_s=grace_s + CHANGE_TIMEOUT_S)

    def _restart_softly(self, status: GatewayStatus, on_progress: Callable[[str], None]) -> RestartKind | None:
        """Let the gateway restart itself, which needs no login. Returns what came of it; None if nothing, in time."""
        ports = soft_restart.find_ports(status)
        if ports is None:
            return None
        asked_at = self._clock.now()
        try:
            argv = soft_restart.ask_argv(status.id, ports)
            asked = soft_restart.parse_asked(self._docker.change(argv, timeout_s=soft_restart.COMMAND_TIMEOUT_S))
        except StartupFailure:
            return None  # an engine that does not answer is found by the next rung
        if asked.before is None or asked.reply is soft_restart.Reply.REFUSED:
            return None
        on_progress(f"the gateway's controller was asked to restart it; at most {asked.patience_s:.0f} s until it does")
        begun_s = self._clock.monotonic_s()
        looks = 0
        while (left_s := begun_s + asked.patience_s - self._clock.monotonic_s()) > 0:
            if looks and looks % soft_restart.LOOKS_A_REPORT == 0:
                on_progress(f"the gateway has not begun to restart itself yet, {left_s:.0f} s left")
            looks += 1
            self._clock.sleep(min(soft_restart.LOOK_INTERVAL_S, left_s))
            try:
                now = self.probe()
                looked = soft_restart.parse_look(self._docker.look(soft_restart.look_argv(status.id, ports)))
            except StartupFailure:
                continue
            if now.id != status.id or now.started_at != status.started_at:
                on_progress("the gateway's container was restarted by its controller")
                return RestartKind.FULL
            if looked is not None and soft_restart.has_begun(asked.before, looked):
                self._soft_restart = ((status.id, status.started_at), asked_at)
                on_progress("the gateway is restarting itself, without a new login")
                return RestartKind.SOFT
        on_progress(f"nothing happened within {asked.patience_s:.0f} s: its container is restarted")
        return None

    def _change(self, argv: Sequence[str], *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        result = self._docker.change(argv, timeout_s=timeout_s)
        if not result.ok:
            lines = self._docker.clean_lines(result.output, last=_EVIDENCE_LINES)
            raise self._docker.build_start_failure(
                f"`docker {argv[1]}` of container {self.container_name} failed",
                evidence=lines,
                next_action=advise_on_failure(lines, compose.build_service_names(self._settings, ())),
            )


def _tell_kept(kept: Path | None, on_progress: Callable[[str], None]) -> None:
    if kept is not None:
        on_progress(f"the last lines of the container before this one are in {kept}")


def _no_progress(text: str) -> None:
    del text
