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
from orchestration.gateway import compose, compose_folder, drift, launcher_file, soft_restart
from orchestration.gateway.compose_folder import ComposeFolder, FolderReading
from orchestration.gateway.container import MISSING, GatewayStatus, parse_inspect
from orchestration.gateway.drift import Drift
from orchestration.gateway.launcher_log import LauncherReading
from orchestration.gateway.record import GatewayRecord
from orchestration.gateway.runtime import RestartKind
from orchestration.logs import prune_logs
from orchestration.settings import GatewayRuntime, Settings
from orchestration.settings.image_variables import is_vendors_image
from orchestration.settings.sources import read_secret_texts
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands, Following
from orchestration.system.files import write_atomic

_KILL_MARGIN_S = 30.0  # what the engine may need after the grace time
_LOOK_BACK_S = 5
_KILLED_EXIT_CODE = 137
_EVIDENCE_LINES = 15
_KEPT_LINES = 1000
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
    """Whether a container of the vendor's image would have to be made from this program's own file now. Pure.

    Then user and password matter. In a folder of the operator's they may stand in its `.env` alone
    (`compose_folder.refuse_without_login`).
    """
    if settings.gateway_runtime is not GatewayRuntime.DOCKER or settings.has_own_compose_folder:
        return False
    project = build_project_name(settings.gateway_container_name)
    return _takes_compose(status, project=project, can_make=False) and is_vendors_image(settings.gateway_image)


def needs_compose(settings: Settings, status: GatewayStatus, *, project: str = "") -> bool:
    """Whether it takes Compose, and so its files, to make the gateway's container run now. Pure.

    Args:
        settings: The configuration.
        status: The container.
        project: The Compose project, where it is not the one that goes by the container's name.
    """
    if settings.gateway_runtime is not GatewayRuntime.DOCKER:
        return False
    project = project or build_project_name(settings.gateway_container_name)
    return _takes_compose(status, project=project, can_make=can_make_one(settings))


def _takes_compose(status: GatewayStatus, *, project: str, can_make: bool) -> bool:
    action = choose_action(status, project=project, can_make=can_make)
    return action in {StartAction.UP, StartAction.REMOVE_AND_UP}


def can_make_one(settings: Settings) -> bool:
    """Whether a container made now could log in, as far as the settings say. Pure.

    The vendor's image needs user and password. What a folder of the operator's gives it is for Compose to say.
    """
    has_login = settings.tws_userid is not None and settings.tws_password is not None
    return has_login or settings.has_own_compose_folder or not is_vendors_image(settings.gateway_image)


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
        self._pinned_project = (record and record.project) or build_project_name(self.container_name)
        self._service = (record and record.service) or settings.gateway_service
        self._compose_dir = Path(record.compose_dir) if record and record.compose_dir else settings.docker_compose_dir
        self._docker = DockerCli(
            commands,
            read_timeout_s=max(settings.health_check_timeout_s, 1.0),
            secrets=settings.secrets,
            start_failure=FailureWord.GATEWAY_START_FAILED,
        )
        if record and self._compose_dir != settings.docker_compose_dir:  # of another release, or of other settings
            self._is_own_folder = record.project != build_project_name(self.container_name)
        else:
            self._is_own_folder = settings.has_own_compose_folder
        # In a folder of the operator's the files say what the project is called; a record has it from there.
        self._folder_project = record.project if record and self._is_own_folder else ""
        self._is_named = bool(record and record.container) or settings.is_set("GATEWAY_CONTAINER_NAME")
        # A Compose file of the operator's own need not name its container: then it is known by its labels.
        self._reference = self.container_name
        # The start of the container within which the gateway last restarted itself because of us, and when.
        self._soft_restart: tuple[tuple[str, datetime | None], datetime] | None = None

    @property
    def _project(self) -> str:
        """The Compose project; that of an operator's folder is asked of Compose once."""
        if not self._is_own_folder:
            return self._pinned_project
        if not self._folder_project:
            with contextlib.suppress(StartupFailure):
                self._note_names(self._folder().read())
        return self._folder_project or self._pinned_project

    def _note_names(self, reading: FolderReading) -> None:
        if reading.service is not None and reading.project:
            self._folder_project = reading.project
            if not self._is_named:
                self.container_name = reading.service.container_name or f"{reading.project}-{self._service}-1"

    def _folder(self) -> ComposeFolder:
        return ComposeFolder(self._settings, self._docker, directory=self._compose_dir, service=self._service)

    def build_record(self) -> GatewayRecord:
        """What later commands need to find this gateway again."""
        project = self._project  # in a folder of the operator's it also says what the container is called
        return GatewayRecord(
            runtime=self.kind,
            host=self._settings.gateway_host,
            port=self._settings.gateway_port,
            container=self.container_name,
            project=project,
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
        self._docker.protect(read_secret_texts((dict(status.environ),)))
        self._reference = status.name or self.container_name
        if self._soft_restart is not None and self._soft_restart[0] == status.start:
            return dataclasses.replace(status, restarted_at=self._soft_restart[1])
        return status

    def _find(self) -> GatewayStatus:
        """The container of exactly this name, or else of this Compose service."""
        projects = [self._project]  # which may also say what the container is called
        for status in self._docker.inspect(self.container_name, parse_inspect):
            if status.name == self.container_name:
                return status
        if self._is_own_folder and self._pinned_project not in projects:
            projects.append(self._pinned_project)  # as earlier versions of this program called it
        for project in projects:
            for container_id in self._docker.find_ids(project=project, service=self._service):
                statuses = self._docker.inspect(container_id, parse_inspect)
                if statuses:
                    return statuses[0]
        return MISSING

    def ensure_started(self, *, on_progress: Callable[[str], None]) -> bool:
        """See `Runtime.ensure_started`."""
        before = self.probe()
        action = choose_action(before, project=self._project, can_make=self._can_make(before))
        if action is StartAction.NOTHING:
            on_progress(f"container {self.container_name} is {before}")
            return False
        on_progress(f"container {self.container_name} is {before}")
        if action in {StartAction.START, StartAction.UNPAUSE}:
            self._refuse_live_container(before)
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
        if not status.is_up:
            self._refuse_live_container(status)
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
            return ()  # evidence, where there is some; a caller that needs the engine reports its absence
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
            return None  # the engine's absence is reported by the caller that needs the engine
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
        timeout_s = self._settings.docker_pull_timeout_s
        if not self._is_own_folder or not self._folder().has_file():
            self._compose().up(pull_timeout_s=timeout_s, on_progress=on_progress, recreates=recreates)
            return
        reading = self._folder().read()
        if reading.service is not None:  # else Compose says so itself
            compose_folder.refuse_unsafe(
                reading.service, self._settings, directory=self._compose_dir, service_name=self._service
            )
        service = self._build_folder_service(reading)
        service.up(
            pull_timeout_s=timeout_s,
            on_progress=on_progress,
            before_start=lambda: self._refuse_live_image(reading),
            # By hand nothing is recreated that has not changed; a secret from a variable is what Compose does not see.
            recreates=recreates and bool(reading.service and drift.PASSWORD in reading.service.secret_variables),
        )

    def _can_make(self, status: GatewayStatus) -> bool:
        """Whether a container made now could log in; asked of the folder only where one is there that could be kept."""
        if not self._is_own_folder or status.state not in {ContainerState.CREATED, ContainerState.EXITED}:
            return can_make_one(self._settings)
        try:
            reading = self._folder().read()
        except StartupFailure:
            return True  # it is made, and then fails with what is wrong
        return reading.service is None or not compose_folder.find_missing_login(reading.service)

    def _refuse_live_image(self, reading: FolderReading) -> None:
        """An image may have a mode of its own, which counts where the service does not set one."""
        if reading.service is None or not reading.service.image:
            return
        found = self._docker.look(container.image_environ_argv(reading.service.image))
        environ = {**(container.parse_image_environ(found.stdout) if found.ok else {}), **reading.service.environ}
        where, fix = f"image {reading.service.image}", compose_folder.build_mode_fix(self._compose_dir)
        compose_folder.refuse_live(environ, self._settings, where=where, fix=fix)

    def _refuse_live_container(self, status: GatewayStatus) -> None:
        """Rule 5 for a container that is started as it is.

        Raises:
            StartupFailure: `CONFIG_INVALID`.
        """
        compose_folder.refuse_live(
            dict(status.environ),
            self._settings,
            where=f"container {status.name}",
            fix=f"Remove it (`docker rm {status.name}`): a new one is made with these settings.",
        )

    def _has_other_login(self, status: GatewayStatus) -> bool:
        """Whether a container has, or may have, another password than it would get now: Compose does not see that."""
        wanted = self._settings.tws_password.reveal() if self._settings.tws_password else ""
        if self._is_own_folder:
            with contextlib.suppress(StartupFailure):
                wanted = self._folder().read_password() or wanted
        has = self._read_password(status)
        if has is None:
            return bool(wanted) or drift.PASSWORD_FILE in dict(status.environ)
        return has != wanted

    def _compose(self) -> ComposeService:
        target = ComposeTarget(
            files=find_compose_files(self._compose_dir), project=self._pinned_project, service=self._service
        )
        return ComposeService(
            self._docker,
            target,
            environ={
                **compose.build_compose_environ(self._settings),
                **{one.name: one.value for one in self._settings.image_variables},
            },
            known=dataclasses.replace(
                compose.build_service_names(self._settings, target.files), directory=self._compose_dir
            ),
        )

    def _build_folder_service(self, reading: FolderReading) -> ComposeService:
        known = self._folder().build_service_names()
        if reading.service is not None:
            known = dataclasses.replace(known, container=self.container_name, image=reading.service.image)
        return self._folder().build_service(reading.handed, project=reading.project, known=known)

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
        """What it would be made with now; one that this project did not make is measured by what is set."""
        settings = self._settings
        if status.compose_project != self._project:
            names = frozenset(row.name for row in settings.sources if row.source != "default")
            return drift.build_wanted(settings, names=names)
        if self._is_own_folder:
            with contextlib.suppress(StartupFailure):
                reading = self._folder().read()
                if reading.service is not None:
                    return drift.build_wanted_by_service(reading.service, settings)
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
        if asked.before is None or asked.reply is soft_restart.CommandReply.REFUSED:
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
