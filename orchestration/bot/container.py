"""The bot as a container: which one it is, and what is done with it besides starting it.

It is looked up by its exact name, of which an engine has only one: so whatever is killed, or run at the same moment,
there are never two. Its labels say whose it is and which run made it. One of this name without them was started by
hand, by Compose alone for example; one that names another record belongs to another system.
"""

import contextlib
from collections.abc import Callable
from datetime import datetime

from orchestration.bot.record import BotRecord, build_record_path
from orchestration.docker import container
from orchestration.docker.cli import DockerCli
from orchestration.docker.container import Container, ContainerState, parse_containers
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import BotRuntime, Settings
from orchestration.system.commands import Commands, Following, SystemCommands
from orchestration.system.files import is_there

RECORD_LABEL = "zero-touch.bot-record"
RUN_LABEL = "zero-touch.run"
OVERLAY_NAME = "bot_compose.json"  # JSON is YAML

_KILLED_EXIT_CODE = 137
_KILL_MARGIN_S = 30.0  # what the engine may need after the time that the bot has
_PAUSE_LOOK_BACK_S = 5  # until the engine has accepted the subscription
_KEPT_LOG_LINES = 100_000
_ENDING_SIGNALS = frozenset({"2", "3", "9", "15"})  # SIGINT, SIGQUIT, SIGKILL, SIGTERM


class BotDocker:
    """The door to the bot's container.

    Args:
        settings: Whose bot it is.
        name: Its container; by default the configured one.
        commands: The door for programs; the real one by default.
        read_timeout_s: Seconds that a look may take; as long as a check of the gateway by default.

    Attributes:
        docker: The door to Docker.
        name: The container's name.
    """

    def __init__(
        self, settings: Settings, *, name: str = "", commands: Commands | None = None, read_timeout_s: float = 0.0
    ) -> None:
        self._record = str(build_record_path(settings))
        self.name = name or settings.bot_container_name
        self.docker = DockerCli(
            commands or SystemCommands(),
            read_timeout_s=read_timeout_s or max(settings.health_check_timeout_s, 1.0),
            secrets=settings.secrets,
            start_failure=FailureWord.BOT_START_FAILED,
        )

    def probe(self) -> Container | None:
        """Look at it once; None if there is none.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        return next((one for one in self.docker.inspect(self.name, parse_containers) if one.name == self.name), None)

    def find_labelled(self) -> tuple[Container, ...]:
        """The containers that run and that this instance made, whatever their name is.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        ids = self.docker.find_ids_by_label(RECORD_LABEL, self._record)
        found = [one for id_ in ids for one in self.docker.inspect(id_, parse_containers)]
        return tuple(one for one in found if one.is_alive and self.is_ours(one))

    def is_anothers(self, seen: Container) -> bool:
        """Whether it belongs to another system, which happens to use this name."""
        return seen.labels.get(RECORD_LABEL, "") not in {"", self._record}

    def is_ours(self, seen: Container) -> bool:
        """Whether this instance made it."""
        return seen.labels.get(RECORD_LABEL) == self._record

    def is_of_run(self, seen: Container, run_id: str) -> bool:
        """Whether this very run made it."""
        return seen.labels.get(RUN_LABEL) == run_id

    def stop(self, seen: Container, *, timeout_s: float) -> Container | None:
        """Ask it to leave, and end it by force after `timeout_s` seconds. Returns what was seen afterwards.

        Raises:
            StartupFailure: The engine could not do it; `DOCKER_UNAVAILABLE`.
        """
        if seen.state is ContainerState.PAUSED:
            self._change(container.unpause_argv(seen.id))
        self._change(container.stop_argv(seen.id, timeout_s=timeout_s), timeout_s=timeout_s + _KILL_MARGIN_S)
        return self.probe()

    def remove(self, seen: Container) -> None:
        """Remove one that does not run.

        Raises:
            StartupFailure: The engine could not do it; `DOCKER_UNAVAILABLE`.
        """
        self._change(container.remove_stopped_argv(seen.id))

    def read_log(self, *, lines: int = _KEPT_LOG_LINES, reference: str = "") -> tuple[str, ...]:
        """The last lines of its output; empty where there is no such container, or no engine."""
        argv = container.logs_argv(reference or self.name, lines=lines, timestamps=True)
        try:
            result = self.docker.look(argv)
        except StartupFailure:
            return ()  # evidence, where there is some; a caller that needs the engine reports its absence
        if not result.ok:
            return ()
        return self.docker.clean_lines(container.merge_streams(result.stdout, result.stderr), last=lines)

    def was_told_to_end(self, seen: Container, *, now: datetime) -> bool | None:
        """Whether the engine was asked to end this start of a container; None if that is unknown.

        The engine keeps its last 256 events. So this is asked right after the end.
        """
        if seen.started_at is None:
            return None
        try:
            result = self.docker.look(container.signals_argv(seen.id, since=seen.started_at, until=now))
        except StartupFailure:
            return None
        return any(word in _ENDING_SIGNALS for word in result.stdout.split()) if result.ok else None

    def follow_log(self, on_line: Callable[[str], None]) -> Following:
        """Hand on the lines of its output as they come.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        argv = container.logs_argv(self.name, lines=0, follow=True)
        return self.docker.follow(argv, lambda line: on_line(self.docker.clean_line(line)))

    def follow_end(self, container_id: str, on_line: Callable[[str], None]) -> Following:
        """Hand on one line when it ends: its exit code.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        return self.docker.follow(container.wait_argv(container_id), on_line)

    def follow_pauses(self, container_id: str, on_line: Callable[[str], None]) -> Following:
        """Hand on one line for each pause and each end of one.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        return self.docker.follow(container.pauses_argv(container_id, since_s=_PAUSE_LOOK_BACK_S), on_line)

    def _change(self, argv: tuple[str, ...], *, timeout_s: float = _KILL_MARGIN_S) -> None:
        result = self.docker.change(argv, timeout_s=timeout_s)
        if not result.ok and "no such container" not in (result.stderr + result.stdout).lower():
            raise self.docker.build_start_failure(
                f"`docker {argv[1]}` of container {self.name} failed",
                evidence=self.docker.clean_lines(result.output, last=5),
            )


def may_be_contained_unrecorded(settings: Settings) -> bool:
    """Whether the last bot that was launched may have been a container although neither record nor settings say so.

    What its Compose file was overlaid with stays in the state folder until a process is launched as the bot.
    """
    return is_there(settings.state_dir / OVERLAY_NAME)


def forget_container(settings: Settings) -> None:
    """The bot is a process now: nothing suggests a container any more."""
    with contextlib.suppress(OSError):
        (settings.state_dir / OVERLAY_NAME).unlink()


def is_contained(settings: Settings, record: BotRecord | None) -> bool:
    """Whether the bot is to be looked for among the engine's containers too."""
    return settings.bot_runtime is BotRuntime.DOCKER or (record is not None and bool(record.container))


def build_door(settings: Settings, record: BotRecord | None, *, commands: Commands | None = None) -> BotDocker:
    """The door to the container that was recorded, or else to the configured one."""
    return BotDocker(settings, name=record.container if record is not None else "", commands=commands)


def was_killed(seen: Container | None) -> bool:
    """Whether it had to be ended by force."""
    return seen is not None and seen.exit_code == _KILLED_EXIT_CODE


def is_recorded(seen: Container, record: BotRecord | None) -> bool:
    """Whether this is the very start that was recorded."""
    return record is not None and record.is_launched and record.birth == seen.identity.birth
