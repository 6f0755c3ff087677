"""Compose: what is said to it about the gateway's one service, and what its answers mean.

Pure, but for `find_compose_files`.

The project's name is pinned to the container's, so that two instances with different containers never touch each
other's. A container that does not run is made anew (`--force-recreate`): Compose copies a secret from the environment
into a container only when it makes it, so one that is merely started again would keep a password that was since
corrected. A container that runs is never given to `up` at all.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.settings import Settings, TradingMode
from orchestration.system.files import is_file_there

# In Compose's own order of preference, each with the override that goes with it.
_FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDE_NAMES = (
    *("compose.override.yml", "compose.override.yaml"),
    *("docker-compose.override.yml", "docker-compose.override.yaml"),
)

# The image forwards these ports of the container to the API's own, which listens on the container's loopback only.
_PAPER_FORWARDER, _LIVE_FORWARDER = 4004, 4003


@dataclass(frozen=True, kw_only=True)
class ComposeTarget:
    """Which service of which project in which files.

    Attributes:
        files: The Compose file, and its override where there is one; absolute.
        project: The project's name.
        service: The service's name.
    """

    files: tuple[Path, ...]
    project: str
    service: str


@dataclass(frozen=True, kw_only=True)
class ServiceImage:
    """What a service is made from.

    Attributes:
        image: The image's reference; empty if it is only built.
        is_built: Whether the Compose file says how to build it.
    """

    image: str
    is_built: bool


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
    """Read and check the Compose files; prints them merged, as JSON."""
    return (*_compose(target), "config", "--format", "json")


def pull_argv(target: ComposeTarget) -> tuple[str, ...]:
    """Fetch the service's image."""
    return (*_compose(target), "pull", target.service)


def up_argv(target: ComposeTarget) -> tuple[str, ...]:
    """Make the service's container, anew if there is one, and start it in the background."""
    return (*_compose(target), "up", "--detach", "--no-build", "--force-recreate", "--pull", "never", target.service)


def build_up_argv(target: ComposeTarget) -> tuple[str, ...]:
    """The same, for a service that the Compose file says how to build."""
    return (*_compose(target), "up", "--detach", "--force-recreate", target.service)


def _compose(target: ComposeTarget) -> tuple[str, ...]:
    argv = ["docker", "compose", "--ansi", "never", "--project-name", target.project]
    for file in target.files:
        argv += ["--file", str(file)]
    return tuple(argv)


def build_compose_environ(settings: Settings) -> dict[str, str]:
    """What the Compose file may refer to. The password goes this way, and never into an argument list."""
    live = settings.trading_mode is TradingMode.LIVE
    return {
        "GATEWAY_IMAGE": settings.gateway_image,
        "GATEWAY_CONTAINER_NAME": settings.gateway_container_name,
        "GATEWAY_PORT": str(settings.gateway_port),
        "GATEWAY_FORWARDER_PORT": str(_LIVE_FORWARDER if live else _PAPER_FORWARDER),
        "GATEWAY_MEMORY_LIMIT": settings.gateway_memory_limit,
        "TRADING_MODE": settings.trading_mode.value,
        "TWS_USERID": settings.tws_userid.reveal() if settings.tws_userid else "",
        # Set even if empty: Compose refuses a secret whose variable is unset.
        "TWS_PASSWORD": settings.tws_password.reveal() if settings.tws_password else "",
        "TIME_ZONE": settings.time_zone.key,
        "TWOFA_TIMEOUT_ACTION": settings.twofa_timeout_action,
        "AUTO_RESTART_TIME": settings.auto_restart_time,
        "SIMULATOR_FAULTS": settings.simulator_faults,
        "READ_ONLY_API": "yes" if settings.read_only_api else "no",
    }


def parse_service_image(text: str, service: str) -> ServiceImage | None:
    """What a service is made from, out of what `config_argv` printed; None if there is no such service.

    Raises:
        ValueError: It is not what that command prints.
    """
    try:
        services = json.loads(text)["services"]
        if service not in services:
            return None
        return ServiceImage(image=str(services[service].get("image", "")), is_built="build" in services[service])
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"docker compose config printed something unexpected: {error}") from error


def advise_on_failure(lines: Sequence[str], *, settings: Settings, files: Sequence[Path]) -> str:
    """What a person should do about what Compose complained of."""
    text = "\n".join(lines).lower()
    for phrases, advice in _ADVICE.items():
        if any(phrase in text for phrase in phrases):
            return advice.format(
                port=settings.gateway_port,
                name=settings.gateway_container_name,
                image=settings.gateway_image,
                file=files[0] if files else settings.docker_compose_dir,
            )
    return "Read Compose's own words above; `docker compose` in DOCKER_COMPOSE_DIR shows them again."


_ADVICE: Mapping[tuple[str, ...], str] = {
    ("port is already allocated", "address already in use", "ports are not available"): (
        "Another program holds port {port}: stop it (`docker ps`, `ss -ltnp`), or set GATEWAY_PORT."
    ),
    ("is already in use by container",): (
        "Another container is called {name}: remove or rename it, or set GATEWAY_CONTAINER_NAME."
    ),
    ("no such image", "pull access denied", "manifest unknown", "not found: manifest", "repository does not exist"): (
        "The image {image} is not there and could not be fetched: check GATEWAY_IMAGE and the connection."
    ),
    ("yaml:", "parsing", "additional property", "invalid compose", "must be a mapping", "unmarshal"): (
        "Correct {file}; `docker compose config` there names the line."
    ),
    ("no space left on device",): "The disk is full: make room (`docker system df` shows what Docker holds).",
    ("no such service",): "Correct GATEWAY_SERVICE: {file} has no service of that name.",
    ("cannot allocate memory", "invalid memory", "minimum memory limit"): "Correct GATEWAY_MEMORY_LIMIT.",
}
