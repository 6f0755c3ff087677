"""Launch the bot as a container: its Compose service, recreated for each start.

What the shipped, or the operator's own, Compose file cannot know (whose it is, which plan, where the gateway is) is put
on top of it by a file in the state folder. That file holds no secret: those that `BOT_PASS_ENV` names go to Compose by
the environment, and into the container as files (`NAME_FILE`).

The caller has made sure that no bot runs, and holds the instance's lock.
"""

import contextlib
import dataclasses
import json
import os
import selectors
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from orchestration.bot.argv import locate_plan_in_container
from orchestration.bot.container import OVERLAY_NAME, RECORD_LABEL, RUN_LABEL, BotDocker
from orchestration.bot.container_processes import speaks_for_container
from orchestration.bot.ending import ContainerEnding
from orchestration.bot.environment import build_passed_secrets
from orchestration.bot.log import create_log
from orchestration.bot.members import read_connection
from orchestration.bot.notify import SOCKET_NAME, PeerCredentials
from orchestration.bot.order_guard import build_failure
from orchestration.bot.record import BotRecord, build_record_path
from orchestration.docker.compose import (
    ComposeService,
    ComposeTarget,
    ServiceNames,
    build_project_name,
    find_compose_files,
)
from orchestration.docker.container import Container
from orchestration.docker.engine import PLACE_ARGV, EnginePlace, parse_place
from orchestration.errors import FailureWord, StartupFailure
from orchestration.lease.held import REVISION_VARIABLE, kept_lease
from orchestration.settings import Settings
from orchestration.settings.child_environ import list_secret_names
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands
from orchestration.system.endpoint import Endpoint
from orchestration.system.files import write_atomic
from orchestration.system.sockets import is_own_address

OnProgress = Callable[[str], None]

NOTIFY_FOLDER = "/run/notify"
_READABLE = 0o444
_DEFAULT_NETWORK = "bridge"  # every engine has it, unless it was told otherwise
NO_ADDRESS = (
    "the engine runs in a machine of its own (Docker Desktop), in a network of its own (rootless), or on another host"
)
_UNKNOWN_EXIT_CODE = 255  # it is gone, and with it whatever it ended with


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardedNetwork:
    """The Docker network of a bot behind an order guard.

    Attributes:
        name: Its name.
        host: This host's address in it, where the guard listens.
    """

    name: str
    host: str


def ensure_guarded_network(settings: Settings) -> GuardedNetwork:
    """The network of a bot on Strategy C, which shares none with the gateway; made where it is missing, and kept.

    Raises:
        StartupFailure: `STRATEGY_C_FAILED`: it cannot be made, or the bot's Compose file puts the bot into another
            network too; `DOCKER_UNAVAILABLE`.
    """
    door = BotDocker(settings, name=settings.bot_container_name)
    _refuse_other_networks(settings, door)
    name = f"{build_project_name(door.name)}_guarded"
    if _read_place(door) is not EnginePlace.HOST:
        raise build_failure(f"the Docker network {name} would have no address of this host: {NO_ADDRESS}")
    found = door.docker.look(_network_argv(name))
    if not found.ok:
        made = door.docker.change(("docker", "network", "create", "--driver", "bridge", name))
        if not made.ok:
            raise build_failure("its network could not be made", door.docker.clean_lines(made.output))
        found = door.docker.look(_network_argv(name))
    host = found.stdout.split()[0] if found.ok and found.stdout.split() else ""
    if not host or not is_own_address(host):
        said = f"the Docker network {name} has no address of this host"
        raise build_failure(f"{said}: {NO_ADDRESS}" if host else said, door.docker.clean_lines(found.output))
    return GuardedNetwork(name=name, host=host)


def has_bridge_address(settings: Settings, commands: Commands) -> bool | None:
    """Whether this host has an address in the engine's networks, where a guard can listen; None if that is unknown."""
    door = BotDocker(settings, commands=commands)
    if _read_place(door) is not EnginePlace.HOST:
        return False  # an address of the same number may be here, for another engine's networks
    found = door.docker.look(_network_argv(_DEFAULT_NETWORK))
    hosts = found.stdout.split() if found.ok else []
    return is_own_address(hosts[0]) if hosts else None


def _read_place(door: BotDocker) -> EnginePlace:
    found = door.docker.look(PLACE_ARGV)
    return parse_place(found.stdout) if found.ok else EnginePlace.HOST


def _network_argv(name: str) -> tuple[str, ...]:
    template = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
    return ("docker", "network", "inspect", "--format", template, name)


def _refuse_other_networks(settings: Settings, door: BotDocker) -> None:
    files = find_compose_files(settings.bot_compose_dir)
    target = ComposeTarget(files=files, project=build_project_name(door.name), service=settings.bot_service)
    text = _build_compose_service(settings, door, target).read_config()
    others = find_other_networks(text, settings.bot_service)
    if others:
        raise build_failure(
            f"the Compose file in {settings.bot_compose_dir} puts service {settings.bot_service} into {others}, "
            "where it could go past the guard"
        )


def find_other_networks(config: str, service: str) -> str:
    """Which networks, besides the default one, a merged Compose file puts a service into, for people. Pure."""
    try:
        found = json.loads(config)["services"][service]
        mode = str(found.get("network_mode") or "")
        networks = [name for name in found.get("networks") or {} if name != "default"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""  # what is wrong with the file is said when the container is made
    if mode:
        return f"network mode {mode}"
    return f"the network {', '.join(networks)}" if networks else ""


def build_overlay(
    settings: Settings, launch: BotRecord, address: Endpoint, *, place: EnginePlace = EnginePlace.HOST
) -> dict[str, Any]:
    """What is put on top of the bot's Compose file. Pure, but for who we are."""
    plan = locate_plan_in_container(launch.gameplan)
    environment = {
        "GATEWAY_HOST": address.host,
        "GATEWAY_PORT": str(address.port),
        "GAMEPLAN_PATH": plan,
        "LOG_LEVEL": settings.bot_log_level,
        "INSTANCE": settings.instance,
        # Says that this start was validated, and by whom: the image's entrypoint then runs the bot, and only once.
        "BOT_RUN_ID": launch.run_id,
        "ENV_FILE": "",
        "IN_STACK": "no",  # this host's `inv` manages it
    }
    volumes = [_bind(launch.gameplan, plan)]
    if launch.notify_socket is not None:
        environment["NOTIFY_SOCKET"] = f"{NOTIFY_FOLDER}/{SOCKET_NAME}"
        volumes.append(_bind(launch.notify_socket.parent, NOTIFY_FOLDER))
    lease = kept_lease()
    if lease is not None:
        environment[REVISION_VARIABLE] = str(lease.revision)
    secrets = {name.lower(): name for name in build_passed_secrets(settings)}
    environment |= {f"{name}_FILE": f"/run/secrets/{key}" for key, name in secrets.items()}
    service: dict[str, Any] = {
        "image": settings.bot_image,
        "container_name": launch.container,
        # Never by Docker: a start is validated, or it is none.
        "restart": "no",
        "labels": {RECORD_LABEL: _escape(str(build_record_path(settings))), RUN_LABEL: launch.run_id},
        "environment": environment,
        "volumes": volumes,
    }
    arguments = launch.argv[1:]
    if arguments:
        service["command"] = [_escape(word) for word in arguments]
    user = "" if sys.platform == "win32" else choose_user(place, user=os.geteuid(), group=os.getegid())
    if user:
        service["user"] = user
    overlay: dict[str, Any] = {"services": {settings.bot_service: service}}
    if secrets:
        service["secrets"] = list(secrets)
        overlay["secrets"] = {key: {"environment": name} for key, name in secrets.items()}
    if address.network:
        overlay["networks"] = {"default": {"name": address.network, "external": True}}
    return overlay


def launch_container(
    settings: Settings,
    launch: BotRecord,
    address: Endpoint,
    *,
    clock: Clock,
    write_record: Callable[[BotRecord], None],
    on_progress: OnProgress,
    before_start: Callable[[], None] | None = None,
) -> BotRecord:
    """Make the container and start it. Whether the bot is up is for the caller to see.

    Args:
        settings: What it is.
        launch: This launch.
        address: Where it reaches the gateway.
        clock: Tells the time.
        write_record: Writes down what is known of it.
        on_progress: Told what is being done.
        before_start: Called when all is there, the image too; what it raises stops the launch.

    Raises:
        StartupFailure: `BOT_START_FAILED`, with Compose's own last lines; `DOCKER_UNAVAILABLE`.
    """
    door = BotDocker(settings, name=launch.container)
    _make_room(settings, door, clock)
    if _is_root():
        # The container's user is none of this host's. Who may look into the state folder is for that folder to say.
        launch.gameplan.chmod(_READABLE)
    overlay = settings.state_dir.absolute() / OVERLAY_NAME
    content = build_overlay(settings, launch, address, place=_read_place(door))
    write_record(launch)
    write_atomic(overlay, json.dumps(content, indent=2).encode())
    _build_service(settings, door, overlay).up(
        pull_timeout_s=settings.docker_pull_timeout_s, on_progress=on_progress, before_start=before_start
    )
    seen = door.probe()
    if seen is None or not door.is_of_run(seen, launch.run_id):
        raise door.docker.build_start_failure(
            f"container {door.name} is not the one that was just made",
            next_action="Something else is starting it at the same time; look at `docker ps -a`, then start again.",
        )
    record = dataclasses.replace(launch, process=seen.identity)
    write_record(record)
    return record


class StartedContainer:
    """See `up.Started`: a container. Use as a context."""

    def __init__(self, settings: Settings, record: BotRecord, *, clock: Clock) -> None:
        self._settings = settings
        self.record = record
        self._ending = ContainerEnding(settings, record, clock=clock)
        self._door = BotDocker(settings, name=record.container)
        self._container_id = record.birth.partition(":")[0]
        self._held = contextlib.ExitStack()
        self._descriptor: int | None = None
        self.log_hint = record.log_hint

    def __enter__(self) -> Self:
        self._descriptor = self._held.enter_context(self._ending.open())
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    def poll_exit_code(self) -> int | None:
        """See `Started.poll_exit_code`."""
        if not self._ending.has_come():
            return None
        code = self._ending.read_exit_code()
        return _UNKNOWN_EXIT_CODE if code is None else code

    def wait(self, *, timeout_s: float, or_readable: int | None = None) -> None:
        """See `Started.wait`."""
        with selectors.DefaultSelector() as selector:
            for descriptor in (or_readable, self._descriptor):
                if descriptor is not None:
                    selector.register(descriptor, selectors.EVENT_READ)
            selector.select(max(0.0, timeout_s))

    def is_heard(self, sender: PeerCredentials) -> bool:
        """See `Started.is_heard`."""
        return speaks_for_container(sender, self._container_id)

    def read_last_lines(self, count: int) -> tuple[str, ...]:
        """See `Started.read_last_lines`."""
        return self._door.read_log(lines=count, reference=self._container_id)

    def read_connection(self) -> bool | None:
        """See `Started.read_connection`."""
        return read_connection(self._settings, self.record)

    def describe_leftover(self) -> str:
        """See `Started.describe_leftover`: a container ends whole, but another program may have ended it."""
        how = self._ending.describe_outside_stop()
        return f"It {how}, by something else" if how else ""


def end_container(settings: Settings, launch: BotRecord, *, timeout_s: float) -> None:
    """End the container of this launch, if it runs; it stays, stopped, and its output with it."""
    door = BotDocker(settings, name=launch.container)
    with contextlib.suppress(StartupFailure):  # the failure that brought us here is the one to be told
        seen = door.probe()
        if seen is not None and seen.is_alive and door.is_of_run(seen, launch.run_id):
            door.stop(seen, timeout_s=timeout_s)


def _make_room(settings: Settings, door: BotDocker, clock: Clock) -> None:
    """Take a container of this name away that does not run, and keep what it said."""
    seen = door.probe()
    if seen is None:
        return
    if door.is_anothers(seen):
        raise door.docker.build_start_failure(
            f"container {door.name} belongs to another system ({seen.labels.get(RECORD_LABEL)})",
            next_action="Give this one's a name of its own: BOT_CONTAINER_NAME.",
        )
    if seen.is_alive:
        raise StartupFailure(
            FailureWord.BOT_ALREADY_RUNNING,
            f"No second bot is started: container {seen.name} is {seen.state}.",
            next_action="Leave it alone, or stop it with `inv bot.stop`.",
        )
    _keep_log(settings, door, seen, clock)
    door.remove(seen)


def _keep_log(settings: Settings, door: BotDocker, seen: Container, clock: Clock) -> None:
    lines = door.read_log()
    if lines:
        began = seen.started_at or clock.now()
        write_atomic(create_log(settings.log_dir, began), "\n".join((*lines, "")).encode("utf-8", "replace"))


def _build_service(settings: Settings, door: BotDocker, overlay: Path) -> ComposeService:
    files = find_compose_files(settings.bot_compose_dir)
    target = ComposeTarget(
        files=(*files, overlay) if files else (),
        project=build_project_name(door.name),
        service=settings.bot_service,
    )
    return _build_compose_service(settings, door, target)


def _build_compose_service(settings: Settings, door: BotDocker, target: ComposeTarget) -> ComposeService:
    return ComposeService(
        door.docker,
        target,
        environ=build_compose_environ(settings, container=door.name),
        known=ServiceNames(
            prefix="BOT",
            container=door.name,
            image=settings.bot_image,
            port=None,
            directory_variable="BOT_COMPOSE_DIR",
            directory=settings.bot_compose_dir,
            file=target.files[0] if target.files else None,
        ),
    )


def build_compose_environ(settings: Settings, *, container: str) -> dict[str, str]:
    """What the bot's Compose file may refer to, beside this process's environment. Pure.

    Only what is set: a default of ours would go before the `.env` in a folder of the operator's. This program's
    own secrets, which Compose would inherit, are handed over empty unless `BOT_PASS_ENV` names them.
    """
    values = {
        "BOT_IMAGE": settings.bot_image,
        "BOT_MEMORY_LIMIT": settings.bot_memory_limit,
        "BOT_LOG_MAX_MB": str(settings.bot_log_max_mb),
    }
    secrets = list_secret_names()
    return {
        "BOT_CONTAINER_NAME": container,
        **{name: value for name, value in values.items() if settings.is_set(name)},
        **{name: "" for name in sorted(secrets) if settings.environ.get(name)},
        **build_passed_secrets(settings),
    }


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": _escape(str(source)),
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def _escape(text: str) -> str:
    """As Compose reads it back: `$` would begin a variable."""
    return text.replace("$", "$$")


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def choose_user(place: EnginePlace, *, user: int, group: int) -> str:
    """Whom the container runs as: us, whose files it reads; the image's own user where we are root. Pure.

    What a rootless engine calls root is us, with no right that we do not have.
    """
    if user == 0:
        return ""
    return "0:0" if place is EnginePlace.ROOTLESS else f"{user}:{group}"
