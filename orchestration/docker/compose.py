"""Compose: what is said to it about one service, what its answers mean, and how a service's container is made.

A container that does not run is started again as it is where nothing has changed, and recreated where something has:
that is for Compose to see. What Compose does not see is a secret: it copies one from the environment into a container
only when it makes it, so one that is merely started again would keep a password that was since corrected. Where that
may be so, it is recreated whatever Compose thinks (`--force-recreate`). A container that runs is never given to `up`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.docker import container
from orchestration.docker.cli import CHANGE_TIMEOUT_S, DockerCli
from orchestration.errors import StartupFailure
from orchestration.system.commands import CommandResult
from orchestration.system.files import is_file_there

_READ_TIMEOUT_S = 30.0
_EVIDENCE_LINES = 15
# Compose expands `$` in a folder's `.env`, and names what it took for a variable: that may be a piece of a password.
_TELLS_OF_UNSET = re.compile(r"variable is not set")

# In Compose's own order of preference, each with the override that goes with it.
_FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDE_NAMES = (
    *("compose.override.yml", "compose.override.yaml"),
    *("docker-compose.override.yml", "docker-compose.override.yaml"),
)


@dataclass(frozen=True, kw_only=True)
class ComposeTarget:
    """Which service of which project in which files.

    Attributes:
        files: The Compose file, and its override where there is one; absolute.
        project: The project's name.
        service: The service's name.
        is_as_by_hand: Whether Compose finds files and project itself, as it does when called in the folder
            (`name:`, COMPOSE_FILE, COMPOSE_PROJECT_NAME, the folder's `.env`); `project` is then what it came to.
    """

    files: tuple[Path, ...]
    project: str
    service: str
    is_as_by_hand: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedPort:
    """One port of the host that leads into a container.

    Attributes:
        host_ip: The address it is published on; empty for all of them.
        published: The host's port as text; it may be a range, or empty for one that Docker chooses.
        target: The port inside.
    """

    host_ip: str
    published: str
    target: int


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """One service as Compose would make it, with everything put in.

    Attributes:
        project: The project's name.
        image: The image's reference; empty if it is only built.
        is_built: Whether the Compose file says how to build it.
        container_name: The name that the file gives its container; empty where Compose chooses one.
        environ: The container's environment. It may hold secrets: never shown.
        ports: What is published.
        memory: The memory limit in bytes, as text; empty where there is none.
        secret_variables: The variables that secrets of this service take their content from.
        may_pull: Whether `up` itself fetches the image though it is there (`pull_policy`).
    """

    project: str = ""
    image: str
    is_built: bool
    container_name: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: tuple[PublishedPort, ...] = ()
    memory: str = ""
    secret_variables: frozenset[str] = frozenset()
    may_pull: bool = False


def find_compose_files(directory: Path) -> tuple[Path, ...]:
    """The Compose file in this folder and its override, or nothing if there is none.

    Compose itself would go on to look in the folders above, and would let COMPOSE_FILE decide.
    """
    found = next((directory / name for name in _FILE_NAMES if is_file_there(directory / name)), None)
    if found is None:
        return ()
    override = next((directory / name for name in _OVERRIDE_NAMES if is_file_there(directory / name)), None)
    return (found,) if override is None else (found, override)


def build_project_name(container_name: str) -> str:
    """The project's name for a container's: the same, where Compose allows it.

    Compose allows lower-case letters, digits, `_` and `-`. A name that had to be changed gets a short hash of the
    original, so that `Gateway.1` and `gateway-1` stay two projects.
    """
    allowed = re.sub(r"[^a-z0-9_-]", "-", container_name.lower()).lstrip("-_")
    if allowed == container_name:
        return allowed
    return f"{allowed or 'gateway'}-{hashlib.sha256(container_name.encode()).hexdigest()[:6]}"


def config_argv(target: ComposeTarget) -> tuple[str, ...]:
    """Read and check the Compose files; prints them merged, as JSON, services under `profiles:` too."""
    return (*_compose(target), "--profile", "*", "config", "--format", "json")


def pull_argv(target: ComposeTarget) -> tuple[str, ...]:
    """Fetch the service's image."""
    return (*_compose(target), "pull", target.service)


def build_argv(target: ComposeTarget) -> tuple[str, ...]:
    """Build the service's image."""
    return (*_compose(target), "build", target.service)


def up_argv(target: ComposeTarget, *, recreates: bool = True) -> tuple[str, ...]:
    """Make the service's container, or start it, in the background.

    A service that is named is started whatever its `profiles:`. In a folder of the operator's own nothing is added to
    what an operator would type there.

    Args:
        target: The service.
        recreates: Whether one that is there is recreated also if nothing that Compose sees has changed.
    """
    if target.is_as_by_hand:
        return (*_compose(target), "up", "--detach", *_force_recreate(recreates), target.service)
    return (
        *_compose(target),
        "up",
        "--detach",
        "--no-build",
        *_force_recreate(recreates),
        "--pull",
        "never",
        target.service,
    )


def build_up_argv(target: ComposeTarget, *, recreates: bool = True) -> tuple[str, ...]:
    """The same, for a service that the Compose file says how to build."""
    return (*_compose(target), "up", "--detach", *_force_recreate(recreates), target.service)


def _force_recreate(recreates: bool) -> tuple[str, ...]:  # noqa: FBT001 - one word of an argument list
    return ("--force-recreate",) if recreates else ()


def _compose(target: ComposeTarget) -> tuple[str, ...]:
    if target.is_as_by_hand:
        return ("docker", "compose", "--ansi", "never")
    argv = ["docker", "compose", "--ansi", "never", "--project-name", target.project]
    for file in target.files:
        argv += ["--file", str(file)]
    return tuple(argv)


def parse_service_config(text: str, service: str) -> ServiceConfig | None:
    """One service out of what `config_argv` printed; None if there is no such service.

    Raises:
        ValueError: It is not what that command prints.
    """
    try:
        document = json.loads(text)
        services = document["services"]
        if service not in services:
            return None
        found: Mapping[str, Any] = services[service]
        defined: Mapping[str, Any] = document.get("secrets") or {}
        used = [defined.get(str(one.get("source", ""))) or {} for one in found.get("secrets") or ()]
        return ServiceConfig(
            project=str(document.get("name", "")),
            image=str(found.get("image", "")),
            is_built="build" in found,
            container_name=str(found.get("container_name", "")),
            environ={
                str(name): _unescape(str(value))
                for name, value in (found.get("environment") or {}).items()
                if value is not None
            },
            ports=tuple(_parse_port(one) for one in found.get("ports") or ()),
            memory=str(found.get("mem_limit", "")),
            secret_variables=frozenset(str(one["environment"]) for one in used if one.get("environment")),
            may_pull=str(found.get("pull_policy", "")) not in {"", "missing", "if_not_present", "never"},
        )
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"docker compose config printed something unexpected: {error}") from error


def parse_service_names(text: str) -> tuple[str, ...]:
    """The names of all services in what `config_argv` printed, sorted; none where it printed something else."""
    try:
        return tuple(sorted(json.loads(text)["services"]))
    except (ValueError, KeyError, TypeError):
        return ()


def _parse_port(raw: Mapping[str, Any]) -> PublishedPort:
    return PublishedPort(
        host_ip=str(raw.get("host_ip", "")), published=str(raw.get("published", "")), target=int(raw["target"])
    )


def _unescape(value: str) -> str:
    """A value as the container gets it: what `config` prints is a Compose file again, so each `$` is doubled in it."""
    return value.replace("$$", "$")


@dataclass(frozen=True, kw_only=True)
class ServiceNames:
    """The names an operator knows a service by, for advice.

    Attributes:
        prefix: What the names of its variables begin with: `GATEWAY` or `BOT`.
        container: Its container's name.
        image: Its image.
        port: The port that it publishes; None where it publishes none.
        directory_variable: The variable that names the folder of its Compose file.
        directory: That folder.
        file: Its Compose file; None if there is none.
    """

    prefix: str
    container: str
    image: str
    port: int | None
    directory_variable: str
    directory: Path
    file: Path | None


def advise_on_failure(lines: Sequence[str], known: ServiceNames) -> str:
    """What to do about an error of Compose or Docker."""
    text = "\n".join(lines).lower()
    for phrases, advice in _ADVICE.items():
        if any(phrase in text for phrase in phrases):
            return advice.format(
                port=known.port,
                name=known.container,
                image=known.image,
                file=known.file or known.directory,
                prefix=known.prefix,
            )
    return f"Read Compose's own words above; `docker compose` in {known.directory_variable} shows them again."


_ADVICE: Mapping[tuple[str, ...], str] = {
    ("port is already allocated", "address already in use", "ports are not available"): (
        "Another program holds port {port}: stop it (`docker ps`, `ss -ltnp`), or set {prefix}_PORT."
    ),
    ("is already in use by container",): (
        "Another container is called {name}: remove or rename it, or set {prefix}_CONTAINER_NAME."
    ),
    ("no such image", "pull access denied", "manifest unknown", "not found: manifest", "repository does not exist"): (
        "The image {image} is not there and could not be fetched: check {prefix}_IMAGE and the connection."
    ),
    ("yaml:", "parsing", "additional property", "invalid compose", "must be a mapping", "unmarshal"): (
        "Correct {file}; `docker compose config` there names the line."
    ),
    ("no space left on device",): "The disk is full: make room (`docker system df` shows what Docker holds).",
    ("no such service",): "Correct {prefix}_SERVICE: {file} has no service of that name.",
    ("cannot allocate memory", "invalid memory", "minimum memory limit"): "Correct {prefix}_MEMORY_LIMIT.",
}


class ComposeService:
    """One service of a Compose file, and its container.

    Args:
        docker: The door to Docker.
        target: Which service in which files.
        environ: What the files may refer to. Secrets go this way, and never into an argument list.
        known: The names an operator knows it by.
    """

    def __init__(
        self,
        docker: DockerCli,
        target: ComposeTarget,
        *,
        environ: Mapping[str, str],
        known: ServiceNames,
    ) -> None:
        self._docker = docker
        self._target = target
        self._environ = environ
        self._known = known

    def up(
        self,
        *,
        pull_timeout_s: float,
        on_progress: Callable[[str], None],
        before_start: Callable[[], None] | None = None,
        recreates: bool = True,
    ) -> None:
        """Make the service's container and start it. A missing image is fetched, or built.

        Args:
            pull_timeout_s: Seconds in which the image must have been fetched or built.
            on_progress: Told what is being done.
            before_start: Called once the image is there, right before the container is made; what it raises stops that.
            recreates: Whether one that is there is recreated in any case, or only where Compose sees a change.

        Raises:
            StartupFailure: It could not be made or started, with Compose's own last lines; `DOCKER_UNAVAILABLE`.
        """
        if not self._target.files and not self._target.is_as_by_hand:
            raise self._docker.build_start_failure(
                f"there is no Compose file in {self._known.directory}",
                next_action=f"Set {self._known.directory_variable} to the folder that holds it.",
            )
        image = self._read_service()
        self._ensure_image(image, pull_timeout_s, on_progress)
        if before_start is not None:
            before_start()
        on_progress(f"starting service {self._target.service}")
        argv = (build_up_argv if image.is_built else up_argv)(self._target, recreates=recreates)
        takes_long = image.is_built or image.may_pull
        result = self._run(argv, timeout_s=pull_timeout_s if takes_long else CHANGE_TIMEOUT_S)
        if not result.ok:
            raise self._build_failure("`docker compose up` failed", self._last_lines(result))

    def read_config(self) -> str:
        """The Compose files merged, as JSON. Changes nothing.

        Raises:
            StartupFailure: They are not valid, with Compose's own last lines; `DOCKER_UNAVAILABLE`.
        """
        result = self._run(config_argv(self._target), timeout_s=_READ_TIMEOUT_S)
        if not result.ok:
            raise self._build_failure(f"{self._describe_file()} is not valid", self._last_lines(result))
        return result.stdout

    def _read_service(self) -> ServiceConfig:
        text = self.read_config()
        try:
            found = parse_service_config(text, self._target.service)
        except ValueError as error:
            raise self._build_failure(str(error), ()) from error
        if found is None:
            raise self._build_failure(
                f"{self._describe_file()} has no service {self._target.service}", ("no such service",)
            )
        return found

    def _describe_file(self) -> str:
        return str(self._target.files[0] if self._target.files else self._known.directory)

    def _ensure_image(self, made_from: ServiceConfig, timeout_s: float, on_progress: Callable[[str], None]) -> None:
        image = made_from.image
        if (made_from.is_built and not image) or self._docker.look(container.image_exists_argv(image)).ok:
            return  # one that is built and has no name of its own is built by `up`
        if made_from.is_built and not self._target.is_as_by_hand:
            on_progress(f"building image {image}")
            built = self._run(build_argv(self._target), timeout_s=timeout_s, on_line=on_progress)
            if not built.ok:
                raise self._build_failure(f"the image {image} could not be built", self._last_lines(built))
            return
        on_progress(f"fetching image {image}")
        pulled = self._run(pull_argv(self._target), timeout_s=timeout_s, on_line=on_progress)
        # Compose itself builds what cannot be fetched and says how to build it.
        if not pulled.ok and not made_from.is_built:
            raise self._build_failure(
                f"the image {image} could not be fetched",
                ("no such image", *self._last_lines(pulled)),
            )

    def _run(
        self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None] | None = None
    ) -> CommandResult:
        def tell(line: str) -> None:
            if on_line is not None and not _TELLS_OF_UNSET.search(line):
                on_line(line)

        return self._docker.change(
            argv,
            timeout_s=timeout_s,
            cwd=self._known.directory,
            environ=self._environ,
            on_line=None if on_line is None else tell,
        )

    def _last_lines(self, result: CommandResult) -> tuple[str, ...]:
        lines = [line for line in result.output.splitlines() if not _TELLS_OF_UNSET.search(line)]
        return self._docker.clean_lines(lines, last=_EVIDENCE_LINES)

    def _build_failure(self, message: str, lines: Sequence[str]) -> StartupFailure:
        return self._docker.build_start_failure(
            message, evidence=lines, next_action=advise_on_failure(lines, self._known)
        )
