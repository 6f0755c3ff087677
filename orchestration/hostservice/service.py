"""What is to be installed, and the one shape that systemd and Task Scheduler both have.

An operating system's part (a `Registrar`) renders one file, looks at what is installed, says what differs and what the
host lacks, and changes only on request. `install.py` decides; nothing here does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, Protocol

from orchestration.errors import Check
from orchestration.gateway.soft_restart import measure_longest_restart_s
from orchestration.settings import PROJECT_DIR, BotRuntime, GatewayRuntime, Settings, expand_home

WRAPPER = PurePath("docker/gateway/scripts/production-startup.sh")
TEMPLATES = PROJECT_DIR / "templates"
DEFAULT_INSTANCE = "default"
_BASE_NAME = "zero-touch-startup"
# Alerts get at most 10 s at the end; the rest is for the bot's children, the journal and a slow disk.
_STOP_MARGIN_S = 30
_DOCKER_START_TIMEOUT_S = 180  # what `--service` waits for Docker at boot


class ServicePlatform(StrEnum):
    """Whose boot the service is registered with."""

    LINUX = "linux"
    WINDOWS = "windows"


class Scope(StrEnum):
    """Whose service it is: the machine's, or one user's own."""

    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, kw_only=True)
class HostService:
    """What is to be installed, whatever the operating system. Holds no secret.

    Attributes:
        name: `zero-touch-startup`, for other instances than `default` with `-<instance>`: unit name and task name.
        description: One line for people.
        instance: The instance it starts.
        scope: The machine's service or one user's.
        user: Whom it runs as: the project folder's owner in system scope, the installing user in user scope.
        home: That user's home folder.
        project_dir: The folder that holds `tasks.py`, absolute. In WSL and on Linux a POSIX path.
        wrapper: The program that is started, absolute: the start-up script in the project.
        arguments: The program's arguments.
        environ: Variables the service must be given, because `.env` cannot say them: `INSTANCE` and `ENV_FILE`, where
            they are not the default ones.
        writable: Folders that the system and its bot write to, absolute, outermost ones only.
        stop_timeout_s: Seconds that an ordered stop may take.
        longest_start_s: Seconds that a start may take which fails as late as it can; bounds the restarts.
        needs_docker: Whether the gateway or the bot runs in a container.
    """

    name: str
    description: str
    instance: str
    scope: Scope
    user: str
    home: PurePath
    project_dir: PurePath
    wrapper: PurePath
    arguments: tuple[str, ...] = ("--service",)
    environ: Mapping[str, str] = field(default_factory=dict)
    writable: tuple[PurePath, ...] = ()
    stop_timeout_s: int
    longest_start_s: int
    needs_docker: bool


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The one file that an operating system's part makes.

    Attributes:
        file_name: What it is called in an `--output` folder.
        content: Its bytes, in the encoding that the operating system wants.
    """

    file_name: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class HostServiceStatus:
    """One look at what is installed.

    Attributes:
        name: The service's name.
        scope: Where it was found, or where it was looked for.
        installed: Whether it is registered at all.
        enabled: Whether the machine starts it at boot (in user scope with linger; on Windows: the task is enabled).
        active: Whether it runs now.
        state: The operating system's own word, for example `active (running)`; empty if unknown.
        status_text: What the service itself says it is doing; empty if it says nothing.
        differs: Whether what is installed is not what would be installed now.
        detail: What else is worth a line: drop-ins, why it failed, a reload that is due; empty for nothing.
        lacks: What keeps it from starting at boot, one sentence each.
    """

    name: str
    scope: Scope
    installed: bool
    enabled: bool = False
    active: bool = False
    state: str = ""
    status_text: str = ""
    differs: bool = False
    detail: str = ""
    lacks: tuple[str, ...] = ()


class Registrar(Protocol):
    """One operating system's part: systemd or Task Scheduler."""

    @property
    def target(self) -> ServicePlatform:
        """Whose boot this is."""
        ...

    @property
    def service(self) -> HostService:
        """What it is about."""
        ...

    @property
    def start_command(self) -> str:
        """The command that starts it now, without a reboot."""
        ...

    def render(self) -> Rendered:
        """The file as it should be. Pure, but for reading the template."""
        ...

    def check_rendered(self, rendered: Rendered) -> tuple[Check, ...]:
        """Is the file itself right, as far as this machine can tell? For `--output` too, on any operating system."""
        ...

    def check_host(self) -> tuple[Check, ...]:
        """What registering and running it needs of this host: each failed check has the command that fixes it."""
        ...

    def probe(self) -> HostServiceStatus:
        """One look at what is installed. Changes nothing, raises nothing."""
        ...

    def diff(self, rendered: Rendered) -> tuple[str, ...]:
        """What is installed against what should be, as lines for people; empty if there is no difference."""
        ...

    def register(self, rendered: Rendered) -> tuple[str, ...]:
        """Write, register and enable what is not so yet; returns what was done, a sentence each, none if nothing was.

        Raises:
            HostServiceError: It was refused.
        """
        ...

    def start(self) -> tuple[str, ...]:
        """Start it now, unless it runs; does not wait for the bot. Returns what was done.

        Raises:
            HostServiceError: It was refused.
        """
        ...

    def unregister(self) -> tuple[str, ...]:
        """Stop it gracefully, disable it, remove it and nothing else; returns what was done, none if nothing was there.

        Raises:
            HostServiceError: It was refused.
        """
        ...


def build_status_json(status: HostServiceStatus | None) -> dict[str, Any] | None:
    """The key `service` of a JSON document."""
    if status is None or not status.installed:
        return None
    return {
        "name": status.name,
        "scope": status.scope.value,
        "installed": status.installed,
        "enabled": status.enabled,
        "active": status.active,
        "state": status.state or None,
        "status_text": status.status_text or None,
        "differs": status.differs,
        "detail": status.detail or None,
        "lacks": list(status.lacks),
    }


def build_name(instance: str) -> str:
    """The service's name for an instance."""
    return _BASE_NAME if instance == DEFAULT_INSTANCE else f"{_BASE_NAME}-{instance}"


def build_host_service(settings: Settings, *, scope: Scope, user: str, home: PurePath) -> HostService:
    """What is to be installed for these settings.

    Args:
        settings: As the service itself will see them (`read_service_settings`).
        scope: The machine's service or one user's.
        user: Whom it runs as.
        home: That user's home folder.
    """
    env_file = settings.environ.get("ENV_FILE", "").strip()
    environ = {} if settings.instance == DEFAULT_INSTANCE else {"INSTANCE": settings.instance}
    project_dir = find_lasting_folder(settings.project_dir)
    if env_file:
        environ["ENV_FILE"] = str(project_dir / Path(expand_home(env_file)))
    marked = "" if settings.instance == DEFAULT_INSTANCE else f" (instance {settings.instance})"
    own: tuple[Path, ...] = (
        settings.project_dir,
        settings.bot_workdir,
        settings.state_dir,
        settings.log_dir,
        settings.emergency_gameplan_path.parent,
    )
    if project_dir != settings.project_dir:
        # State and logs lie beside the releases and are linked into each one: a unit must name them where they are.
        own = tuple(_through(project_dir, settings.project_dir, folder.resolve()) for folder in own)
    is_named = any(row.name == "GATEWAY_SHARED_DIR" and row.source != "default" for row in settings.sources)
    # A restart of the gateway's container may be under way when a stop is ordered.
    gateway_grace_s = settings.gateway_stop_grace_s if settings.gateway_runtime is GatewayRuntime.DOCKER else 0.0
    folders = (home, *own, *([settings.gateway_shared_dir] if is_named else []))  # else it lies in the home
    return HostService(
        name=build_name(settings.instance),
        description=f"Zero-touch start-up of the trading system{marked}",
        instance=settings.instance,
        scope=scope,
        user=user,
        home=home,
        project_dir=project_dir,
        wrapper=project_dir / WRAPPER,
        environ=environ,
        writable=keep_outermost(folders),
        stop_timeout_s=round(settings.bot_stop_timeout_s + gateway_grace_s) + _STOP_MARGIN_S,
        longest_start_s=round(
            _DOCKER_START_TIMEOUT_S
            + settings.docker_pull_timeout_s
            + 2 * settings.gateway_health_timeout_s
            + measure_longest_restart_s(settings.gateway_stop_grace_s)
            + settings.gateway_twofa_timeout_s
            + settings.bot_start_grace_s
        ),
        needs_docker=settings.bot_runtime is BotRuntime.DOCKER or settings.gateway_runtime is GatewayRuntime.DOCKER,
    )


def find_lasting_folder(project_dir: Path) -> Path:
    """The project's folder by the name that stays the same: the current release is reached through `current`.

    So the unit of a deployed system does not change from release to release (docs/how-to/deploy-to-the-rackmount.md).
    """
    current = project_dir.parent.parent / "current"
    is_release = project_dir.parent.name == "releases" and current.is_symlink() and current.resolve() == project_dir
    return current if is_release else project_dir


def _through(lasting: Path, project_dir: Path, folder: Path) -> Path:
    return lasting / folder.relative_to(project_dir) if folder.is_relative_to(project_dir) else folder


def keep_outermost(folders: tuple[PurePath, ...]) -> tuple[PurePath, ...]:
    """The folders without those that lie in another one of them, sorted."""
    distinct = set(folders)
    return tuple(sorted(one for one in distinct if not distinct.intersection(one.parents)))


def read_service_settings(settings: Settings) -> Settings:
    """The settings as the service will see them: of this shell's environment only `INSTANCE` and `ENV_FILE` go with it.

    Wrong values were reported when `settings` were read; here the default stands in for them.
    """
    from orchestration.settings import find_env_file
    from orchestration.settings.sources import read_env_file

    kept = {name: settings.environ[name] for name in ("ENV_FILE",) if settings.environ.get(name, "").strip()}
    if settings.instance != DEFAULT_INSTANCE:
        kept["INSTANCE"] = settings.instance
    path = find_env_file(kept, settings.project_dir)
    dotenv = read_env_file(path, []) if path is not None else {}
    return Settings.from_environ(kept, dotenv=dotenv, project_dir=settings.project_dir, lenient=True)


def find_shell_only_settings(settings: Settings) -> tuple[str, ...]:
    """Names of settings that stand in this shell's environment and nowhere else, so that the service lacks them."""
    here = {row.name for row in settings.sources if row.source.startswith("environment")}
    return tuple(sorted(here - {"INSTANCE", "ENV_FILE"}))
