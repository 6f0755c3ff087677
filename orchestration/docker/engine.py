"""The Docker engine and Compose: do they answer, and if not, which of the known reasons is it?

Pure, but for `probe_engine` and `read_context_host`.
"""

import dataclasses
import os
import re
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestration.system.commands import CommandNotFoundError, CommandResult, Commands, CommandTimedOutError
from orchestration.system.files import is_there

# `docker compose config --images`, `--policy` of pull and environment secrets are all in 2.17; `include`, which the
# whole stack uses, came with 2.20.
LEAST_COMPOSE = (2, 20)
FAST_HEALTH_CHECKS_ENGINE = 25  # `start_interval`

VERSION_ARGV = ("docker", "version", "--format", "{{.Server.Version}}")
CONTEXT_HOST_ARGV = ("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
COMPOSE_VERSION_ARGV = ("docker", "compose", "version", "--short")
PLACE_ARGV = ("docker", "info", "--format", "{{.OperatingSystem}}{{range .SecurityOptions}}\n{{.}}{{end}}")


class EnginePlace(StrEnum):
    """Where an engine's networks and users are, seen from this host."""

    HOST = "host"
    """Its networks are this host's (or nothing says that they are not), and a user's number is the same inside."""
    ROOTLESS = "rootless"
    """In namespaces of one user: a container's root is that user, and every other number inside is another user."""
    DESKTOP = "desktop"
    """In a virtual machine."""


class EngineProblem(StrEnum):
    """Why Docker cannot be used."""

    CLI_MISSING = "cli_missing"
    ENGINE_DOWN = "engine_down"
    PERMISSION_DENIED = "permission_denied"
    WRONG_CONTEXT = "wrong_context"
    COMPOSE_MISSING = "compose_missing"
    COMPOSE_TOO_OLD = "compose_too_old"


@dataclass(frozen=True, kw_only=True)
class EngineProbe:
    """One look at Docker.

    Attributes:
        problem: What is wrong; None if it can be used.
        detail: What was seen, one line.
        next_action: What the operator should do; empty if nothing is wrong.
        engine_version: For example `26.1.5`; empty if unknown.
        compose_version: For example `2.26.1`; empty if unknown.
        supports_fast_health_checks: Whether the engine knows `start_interval` (25 and later).
    """

    problem: EngineProblem | None = None
    detail: str = ""
    next_action: str = ""
    engine_version: str = ""
    compose_version: str = ""
    supports_fast_health_checks: bool = True

    @property
    def is_waitable(self) -> bool:
        """Whether waiting can fix it: an engine that is starting looks like one that is down."""
        return self.problem in {EngineProblem.ENGINE_DOWN, EngineProblem.PERMISSION_DENIED}


_NEXT_ACTION = {
    EngineProblem.CLI_MISSING: "Install Docker (Linux: Docker Engine; Windows: Docker Desktop with WSL integration "
    "switched on for this distribution) so that `docker` is on PATH.",
    EngineProblem.ENGINE_DOWN: "Start it: `sudo systemctl start docker`, or start Docker Desktop.",
    EngineProblem.PERMISSION_DENIED: "Let this user use Docker: `sudo usermod -aG docker $USER`, then log in again.",
    EngineProblem.WRONG_CONTEXT: "Choose an engine that exists: `docker context ls`, `docker context use default`, or "
    "correct DOCKER_CONTEXT or DOCKER_HOST.",
    EngineProblem.COMPOSE_MISSING: "Install the Compose plugin (package docker-compose-plugin), so that "
    "`docker compose version` works.",
    EngineProblem.COMPOSE_TOO_OLD: f"Update the Compose plugin to {LEAST_COMPOSE[0]}.{LEAST_COMPOSE[1]} or later.",
}


# Engines of one user, by the socket that Docker's own complaint names: a rootless one, and Docker Desktop's.
_ROOTLESS = re.compile(r"/run/user/\d+/docker\.sock")
_DESKTOP = re.compile(r"/\.docker/(?:desktop|run)/docker\.sock|docker_engine|dockerDesktop")
_SYSTEM_SOCKET = "/var/run/docker.sock"
_SOCKET_ADVICE = (
    (
        EngineProblem.ENGINE_DOWN,
        _ROOTLESS,
        (
            "Start the rootless engine as its user: `systemctl --user start docker`. `sudo loginctl enable-linger "
            "$USER` keeps it running while that user is not logged in."
        ),
    ),
    (
        EngineProblem.PERMISSION_DENIED,
        _ROOTLESS,
        (
            "This is another user's rootless engine: run as that user, or choose an engine of this user's own "
            "(`docker context ls`, DOCKER_HOST)."
        ),
    ),
    (EngineProblem.ENGINE_DOWN, _DESKTOP, "Start Docker Desktop (on Linux: `systemctl --user start docker-desktop`)."),
)


def probe_engine(commands: Commands, *, timeout_s: float, run_dir: Path | None = None) -> EngineProbe:
    """Look at Docker: two short commands. Changes nothing, raises nothing.

    Args:
        commands: Runs `docker`.
        timeout_s: For each of them.
        run_dir: Where a rootless engine of this user has its socket; by default where the system puts it.
    """
    try:
        version = commands.run(VERSION_ARGV, timeout_s=timeout_s)
    except CommandNotFoundError:
        return describe_problem(EngineProblem.CLI_MISSING, "there is no `docker` program on PATH")
    except CommandTimedOutError:
        return describe_problem(EngineProblem.ENGINE_DOWN, f"the Docker engine did not answer within {timeout_s:g} s")
    engine_version = version.stdout.strip()
    if not version.ok or not engine_version:
        found = describe_problem(classify_engine_error(version), _first_meaningful_line(version))
        return _point_to_own_engine(found, _find_run_dir() if run_dir is None else run_dir)
    return dataclasses.replace(
        _probe_compose(commands, timeout_s=timeout_s, engine_version=engine_version),
        engine_version=engine_version,
        supports_fast_health_checks=parse_version(engine_version)[0] >= FAST_HEALTH_CHECKS_ENGINE,
    )


def _find_run_dir() -> Path | None:
    return None if sys.platform == "win32" else Path("/run/user", str(os.geteuid()))


def _point_to_own_engine(found: EngineProbe, run_dir: Path | None) -> EngineProbe:
    """A shell that names a rootless engine by DOCKER_HOST is not where a boot service looks: a context is."""
    socket = None if run_dir is None else run_dir / "docker.sock"
    if socket is None or not found.is_waitable or _SYSTEM_SOCKET not in found.detail or not is_there(socket):
        return found
    return dataclasses.replace(
        found,
        next_action=f"This user's own rootless engine is at unix://{socket}: `docker context use rootless` (where that "
        f"is missing, first `docker context create rootless --docker host=unix://{socket}`).",
    )


def _probe_compose(commands: Commands, *, timeout_s: float, engine_version: str) -> EngineProbe:
    try:
        compose = commands.run(COMPOSE_VERSION_ARGV, timeout_s=timeout_s)
    except (CommandNotFoundError, CommandTimedOutError) as error:
        return describe_problem(EngineProblem.COMPOSE_MISSING, str(error))
    if not compose.ok:
        return describe_problem(EngineProblem.COMPOSE_MISSING, _first_meaningful_line(compose))
    version = compose.stdout.strip().removeprefix("v")
    if parse_version(version) < LEAST_COMPOSE:
        detail = f"Compose is {version}, {LEAST_COMPOSE[0]}.{LEAST_COMPOSE[1]} is needed"
        return dataclasses.replace(describe_problem(EngineProblem.COMPOSE_TOO_OLD, detail), compose_version=version)
    return EngineProbe(detail=f"engine {engine_version}, Compose {version}", compose_version=version)


def read_context_host(commands: Commands, *, timeout_s: float) -> str:
    """Where the engine of the current Docker context is, for example `unix:///run/user/1000/docker.sock`.

    Empty if that is unknown. `DOCKER_HOST`, where it is set, goes before any context.
    """
    try:
        found = commands.run(CONTEXT_HOST_ARGV, timeout_s=timeout_s)
    except (CommandNotFoundError, CommandTimedOutError):
        return ""
    return found.stdout.strip() if found.ok else ""


def parse_place(text: str) -> EnginePlace:
    """What `PLACE_ARGV` printed."""
    system, *options = text.splitlines() or [""]
    if any("name=rootless" in option.split(",") for option in options):
        return EnginePlace.ROOTLESS
    return EnginePlace.DESKTOP if system.strip() == "Docker Desktop" else EnginePlace.HOST


def classify_engine_error(result: CommandResult) -> EngineProblem:
    """Which problem a docker command's complaint is about."""
    text = (result.stderr + result.stdout).lower()
    if "permission denied" in text or "access is denied" in text:
        return EngineProblem.PERMISSION_DENIED
    if (
        ("context" in text and ("not found" in text or "does not exist" in text))
        or "unable to resolve docker endpoint" in text
        or "unable to parse docker host" in text
        or "no such host" in text
        or "unsupported protocol" in text
    ):
        return EngineProblem.WRONG_CONTEXT
    return EngineProblem.ENGINE_DOWN


def is_engine_error(result: CommandResult) -> bool:
    """Whether a docker command failed because no engine answered, not because of what was asked."""
    text = (result.stderr + result.stdout).lower()
    return not result.ok and (
        "cannot connect to the docker daemon" in text
        or "error during connect" in text
        or "is the docker daemon running" in text
        or "failed to connect to the docker api" in text
        or "permission denied while trying to connect" in text
        or "unable to resolve docker endpoint" in text
    )


def describe_problem(problem: EngineProblem, detail: str) -> EngineProbe:
    """A probe that reports this problem, with what to do about it."""
    for of_problem, socket, advice in _SOCKET_ADVICE:
        if problem is of_problem and socket.search(detail):
            return EngineProbe(problem=problem, detail=detail, next_action=advice)
    return EngineProbe(problem=problem, detail=detail, next_action=_NEXT_ACTION[problem])


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor of a version text; zeros where there are none."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _first_meaningful_line(result: CommandResult) -> str:
    lines = [line.strip() for line in (result.stderr + "\n" + result.stdout).splitlines() if line.strip()]
    return lines[0] if lines else f"`{' '.join(result.argv)}` ended with {result.exit_code} and said nothing"
