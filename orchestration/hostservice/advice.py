"""Commands in advice, as they work on this host: how the system is started again here, and where `inv` is.

Texts are written for the plain case: "`inv startup`". Before one is shown (an alert, a report, the screen),
`advise` puts what works here in its place. `inv startup` beside an installed boot service would make a bot that nothing
watches and that is in no control group; and `inv` alone is found only where the environment is on PATH. A container of
the stack has no host to type `inv` on: there, each command becomes the `docker` command that does the same.
"""

import functools
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import HostServiceError
from orchestration.hostservice.registrars import build_registrars, choose_target
from orchestration.hostservice.service import DEFAULT_INSTANCE, Registrar, ServicePlatform, find_lasting_folder
from orchestration.hostservice.systemd import SystemdRegistrar
from orchestration.settings import PACKAGE_DIR, PROJECT_DIR, Settings, is_checkout
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands

_QUOTED = re.compile(r"`(sudo )?inv ([^`]+)`")
_STARTS = frozenset({"startup", "bot.start"})
_REPLACES = frozenset({"startup --replace"})
# Compose copies user and password into the gateway's container when it makes it: a corrected one takes a new container.
_LOGIN_VARIABLES = ("TWS_USERID", "TWS_PASSWORD")
_NEW_GATEWAY = "docker/stack up -d --force-recreate gateway"
_EXPANDED = (
    " (A plain `docker compose --env-file .env` changes a value that holds a `$`, unless it is in single quotes; "
    "`docker/stack` does not.)"
)
_STACK_COMMAND = re.compile(r"`(?:sudo )?(?:\S*/)?inv ([a-z.]+)([^`]*)`")


@dataclass(frozen=True, kw_only=True)
class HostCommands:
    """The commands that work on this host.

    Attributes:
        inv: What `inv` is here, up to the task's name: with its path and the variables that say which instance.
        root_inv: The same for root, through sudo.
        start: Starts the system again.
        replace: Starts it again in place of the bot that runs.
    """

    inv: str
    start: str
    replace: str
    root_inv: str

    def apply(self, text: str) -> str:
        """The text with its commands as they work here."""
        return _QUOTED.sub(lambda found: f"`{self._find(found.group(2), as_root=bool(found.group(1)))}`", text)

    def _find(self, words: str, *, as_root: bool) -> str:
        if as_root:
            return f"{self.root_inv} {words}"
        if words in _STARTS:
            return self.start
        if words in _REPLACES:
            return self.replace
        return f"{self.inv} {words}"


def advise(text: str, settings: Settings) -> str:
    """The text with its commands as they work on this host. Looks at the host, changes nothing, raises nothing."""
    if settings.in_stack:
        return name_stack_commands(text, settings)
    if not _QUOTED.search(text):
        return text
    if not is_checkout(PROJECT_DIR):
        return _QUOTED.sub(lambda found: f"{found[0]} in the project's folder", text)
    return read_host_commands(settings).apply(text)


def read_host_commands(settings: Settings) -> HostCommands:
    """Look at this host, afresh each time: a boot service may be installed or removed while a supervisor runs."""
    # sudo looks for programs in folders of its own, and passes on no variables but those on its command line.
    root_inv = build_inv(settings, on_path=None, prefix="sudo ")
    # A copy of the package in a bot's environment has an `inv` on PATH that finds no tasks in the bot's folder.
    is_copy = PACKAGE_DIR.parent != PROJECT_DIR
    inv = build_inv(settings, on_path=None if is_copy else shutil.which("inv"))
    needs_supervisor = bool(settings.lease_etcd) and not settings.simulated
    return build_host_commands(inv, find_registrar(settings), root_inv=root_inv, needs_supervisor=needs_supervisor)


def build_host_commands(
    inv: str, registrar: Registrar | None, *, root_inv: str, needs_supervisor: bool = False
) -> HostCommands:
    """The commands of a host where the service is registered with that part of the operating system, or not at all.

    Args:
        inv: What `inv` is here.
        registrar: Where the boot service is registered; None where it is not.
        root_inv: What `inv` is here for root.
        needs_supervisor: Whether only a start that stays with the bot may start it (LEASE_ETCD).
    """
    if registrar is None:
        start = f"{inv} startup --foreground" if needs_supervisor else f"{inv} startup"
        return HostCommands(inv=inv, root_inv=root_inv, start=start, replace=f"{start} --replace")
    start = registrar.start_command
    if registrar.target is ServicePlatform.LINUX:
        replace = start.replace(" start ", " restart ", 1)
        return HostCommands(inv=inv, root_inv=root_inv, start=start, replace=replace)
    # A task's start by hand looks like its repeating trigger, which does nothing once it has given up. Where
    # its bot runs, a second start of the task does nothing either: its supervisor is asked.
    return HostCommands(inv=inv, root_inv=root_inv, start=f"{inv} resume && {start}", replace=f"{inv} bot.restart")


def find_registrar(settings: Settings) -> Registrar | None:
    """The operating system's part with which this checkout's service of this instance is registered, or None."""
    if os.name != "posix":
        return _find_task(settings)
    try:
        for registrar in build_registrars(
            ServicePlatform.LINUX, settings, commands=SystemCommands(), clock=SystemClock()
        ):
            # No `systemctl`: advice must not wait for it, and a unit of another checkout is not this one's.
            if isinstance(registrar, SystemdRegistrar) and registrar.is_own:
                return registrar
    except (HostServiceError, OSError, ValueError):
        return None
    return _find_task(settings) if choose_target("auto") is ServicePlatform.WINDOWS else None


def _find_task(settings: Settings) -> Registrar | None:
    return _find_task_once(_Key(settings))


class _Key:
    """Settings as a key of a cache: one process asks Windows once, for that takes seconds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._key = (settings.project_dir, settings.instance)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._key == other._key


@functools.lru_cache(maxsize=16)
def _find_task_once(key: _Key) -> Registrar | None:
    try:
        registrars = build_registrars(
            ServicePlatform.WINDOWS, key.settings, commands=SystemCommands(), clock=SystemClock()
        )
        return next((one for one in registrars if one.probe().installed), None)
    except (HostServiceError, OSError, ValueError):
        return None


def build_inv(settings: Settings, *, on_path: str | None, prefix: str = "") -> str:
    """`inv` where it is on PATH and this environment's own; else with its path, from the project's folder.

    Args:
        settings: Which project and instance.
        on_path: What the shell finds for `inv`, or None.
        prefix: What runs it, before the variables: `sudo `.
    """
    variables = "" if settings.instance == DEFAULT_INSTANCE else f"INSTANCE={shlex.quote(settings.instance)} "
    if env_file := settings.environ.get("ENV_FILE", "").strip():
        variables += f"ENV_FILE={shlex.quote(str(settings.project_dir / Path(env_file).expanduser()))} "
    program = Path(sys.prefix, "Scripts" if os.name == "nt" else "bin", "inv")
    if on_path is not None and os.path.realpath(on_path) == os.path.realpath(program):
        return f"{prefix}{variables}inv"
    project_dir = find_lasting_folder(settings.project_dir)
    usual = Path(".venv", "bin", "inv")
    where = str(usual) if (project_dir / usual).is_file() else shlex.quote(str(program))
    return f"cd {shlex.quote(str(project_dir))} && {prefix}{variables}{where}"


def name_stack_commands(text: str, settings: Settings) -> str:
    """The text with every `inv` command replaced, in a container of the stack; otherwise unchanged."""
    if not settings.in_stack:
        return text
    if any(name in text for name in _LOGIN_VARIABLES) and "`inv startup`" in text:
        text = text.replace("`inv startup`", f"`{_NEW_GATEWAY}` in the project folder")
        text += _EXPANDED
    text = text.replace("`inv shutdown` also stops what still runs", "`docker/stack stop` also stops what still runs")
    text = text.replace("`docker unpause`", f"`docker unpause {settings.bot_container_name}`")
    return _STACK_COMMAND.sub(lambda found: f"`{_translate_to_docker(found[1], found[2].split(), settings)}`", text)


def _translate_to_docker(task: str, words: list[str], settings: Settings) -> str:
    bot, gateway = settings.bot_container_name, settings.gateway_container_name
    grace = round(settings.gateway_stop_grace_s)
    if task == "logs":
        follow = " -f" if {"-f", "--follow"} & set(words) else ""
        return f"docker logs{follow} {gateway if 'gateway' in words else bot}"
    of_containers = {
        "startup": f"docker restart {bot}",  # its entrypoint runs the whole validated sequence
        "shutdown": f"docker stop {bot}",
        "bot.start": f"docker start {bot}",
        "bot.stop": f"docker stop {bot}",
        "monitor": "docker/stack up -d monitor",
        "gateway.up": f"docker start {gateway}",
        "gateway.restart": f"docker restart -t {grace} {gateway}",
        "gateway.down": f"docker stop -t {grace} {gateway}",
    }
    return of_containers.get(task) or " ".join(["docker", "exec", bot, "inv", task, *words])
