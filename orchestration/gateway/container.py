"""The gateway's container, as one look saw it: what Docker's answer says about it, and its inner address. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestration.docker.container import PROJECT_LABEL, ContainerState, parse_instant, parse_state
from orchestration.errors import FailureWord, StartupFailure
from orchestration.system.endpoint import Endpoint

SIMULATED_LABEL = "zero-touch.simulated"

# An output that a container wrote just before the engine stamped its start still belongs to that start.
# Measured: up to 1 ms before. Docker's own restarts wait at least 100 ms, so 50 ms is never the life before's.
_BEFORE_START_LEAST = timedelta(milliseconds=50)
_BEFORE_START_MOST = timedelta(milliseconds=250)
# In these a container has no name that another one could look up.
_NAMELESS = frozenset({"bridge", "host", "none"})


class Health(StrEnum):
    """What the container's own health check says; `none` where it has none."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, kw_only=True)
class GatewayStatus:
    """What one look at the gateway's container, or process, saw.

    Attributes:
        state: Whether and how it runs.
        health: What its health check says.
        id: The container's full id; for a process its pid and birth; empty if there is none.
        name: Its name.
        image: The image it was made from.
        started_at: When its latest start was; None if it never started.
        restarted_at: When the gateway last restarted itself within this start of the container, as far as that is
            known; None where it did not.
        finished_at: When it last ended; None if it never did.
        restart_count: How often Docker's restart policy has started it again.
        exit_code: Of its last end; None while it runs.
        error: What the engine said when it could not start it.
        out_of_memory: Whether the kernel ended it for lack of memory.
        health_log: The outputs of its last health checks, oldest first.
        compose_project: The Compose project that made it; empty if none did.
        inner_ports: Each of the host's ports that lead into it, and the port inside that it leads to.
        networks: The Docker networks that it is in.
        environ: The environment that it was made with. It may hold secrets: never shown.
        memory_limit_bytes: Its memory limit; 0 where it has none.
        is_simulated: Whether it is the built-in simulator.
    """

    state: ContainerState
    health: Health = Health.NONE
    id: str = ""
    name: str = ""
    image: str = ""
    started_at: datetime | None = None
    restarted_at: datetime | None = None
    finished_at: datetime | None = None
    restart_count: int = 0
    exit_code: int | None = None
    error: str = ""
    out_of_memory: bool = False
    health_log: tuple[str, ...] = ()
    compose_project: str = ""
    inner_ports: tuple[tuple[int, int], ...] = ()
    networks: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    memory_limit_bytes: int = 0
    is_simulated: bool = False

    @property
    def start(self) -> tuple[str, datetime | None]:
        """Which start of the gateway this is: nothing learned about another one counts for it.

        It is the container's start, or the gateway's own restart within it, whichever was later.
        """
        return self.id, self.restarted_at if self._restarted_itself else self.started_at

    @property
    def _restarted_itself(self) -> bool:
        at, started_at = self.restarted_at, self.started_at
        return at is not None and (started_at is None or at > started_at)

    @property
    def published_ports(self) -> tuple[int, ...]:
        """The host's ports that lead into it."""
        return tuple(outer for outer, _ in self.inner_ports)

    @property
    def is_up(self) -> bool:
        """Whether its program runs (paused counts not)."""
        return self.state is ContainerState.RUNNING

    @property
    def log_since(self) -> datetime | None:
        """From when on its log is about its latest start; None for all of it.

        The engine stamps a start some milliseconds after the program may have written its first line, and the last
        line of the life before may be stamped some milliseconds after its end: the cut lies between the two.
        """
        if self._restarted_itself:
            return self.restarted_at
        if self.started_at is None or self.finished_at is None:
            return None
        if self.finished_at >= self.started_at:
            return self.started_at - _BEFORE_START_LEAST
        return self.started_at - min(_BEFORE_START_MOST, (self.started_at - self.finished_at) / 2)

    def __str__(self) -> str:
        if self.state is ContainerState.RUNNING and self.health is not Health.NONE:
            return f"{self.state} ({self.health})"
        if self.state is ContainerState.EXITED and self.exit_code is not None:
            return f"{self.state} with code {self.exit_code}"
        return str(self.state)


MISSING = GatewayStatus(state=ContainerState.MISSING)


def parse_inspect(text: str) -> tuple[GatewayStatus, ...]:
    """What `docker container inspect` printed.

    Raises:
        ValueError: It is not what that command prints.
    """
    try:
        found = json.loads(text)
        return tuple(_parse_container(one) for one in found)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"docker container inspect printed something unexpected: {error}") from error


def _parse_container(raw: Mapping[str, Any]) -> GatewayStatus:
    state, config = raw["State"], raw["Config"]
    labels: Mapping[str, str] = config.get("Labels") or {}
    health = state.get("Health") or {}
    word = parse_state(str(state["Status"]))
    return GatewayStatus(
        state=word,
        health=_parse_health(health),
        id=str(raw["Id"]),
        name=str(raw["Name"]).removeprefix("/"),
        image=str(config.get("Image", "")),
        started_at=parse_instant(str(state.get("StartedAt", ""))),
        finished_at=parse_instant(str(state.get("FinishedAt", ""))),
        restart_count=int(raw.get("RestartCount", 0)),
        exit_code=None if word in {ContainerState.RUNNING, ContainerState.PAUSED} else int(state.get("ExitCode", 0)),
        error=str(state.get("Error", "")),
        out_of_memory=bool(state.get("OOMKilled", False)),
        health_log=tuple(_health_line(entry) for entry in health.get("Log") or ()),
        compose_project=labels.get(PROJECT_LABEL, ""),
        inner_ports=_parse_ports((raw.get("HostConfig") or {}).get("PortBindings") or {}),
        networks=tuple(sorted((raw.get("NetworkSettings") or {}).get("Networks") or ())),
        environ=tuple(_split_pair(one) for one in config.get("Env") or ()),
        memory_limit_bytes=int((raw.get("HostConfig") or {}).get("Memory") or 0),
        is_simulated=labels.get(SIMULATED_LABEL, "").lower() in {"yes", "true", "1"},
    )


def _split_pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _parse_health(health: Mapping[str, Any]) -> Health:
    try:
        word = Health(str(health.get("Status", "")))
    except ValueError:
        return Health.NONE
    # While a container is paused its checks stop, and the engine calls it unhealthy until the next one has passed.
    # No check has failed then: it is not known yet.
    if word is Health.UNHEALTHY and not int(health.get("FailingStreak", 1)):
        return Health.STARTING
    return word


def _health_line(entry: Mapping[str, Any]) -> str:
    output = " ".join(str(entry.get("Output", "")).split())
    return f"health check ended with {entry.get('ExitCode')}" + (f": {output}" if output else "")


def _parse_ports(bindings: Mapping[str, Sequence[Mapping[str, str]] | None]) -> tuple[tuple[int, int], ...]:
    pairs = {
        (int(binding["HostPort"]), int(inner.partition("/")[0]))
        for inner, bound in bindings.items()
        for binding in bound or ()
        if binding.get("HostPort", "").isdigit()
    }
    return tuple(sorted(pairs))


def find_inner_address(status: GatewayStatus, *, port: int) -> Endpoint:
    """The address of a gateway that runs as a container.

    Args:
        status: Its container.
        port: The host's port that leads to its API (`GATEWAY_PORT`).

    Raises:
        StartupFailure: `BOT_START_FAILED`: no container can reach it.
    """
    named = [name for name in status.networks if name not in _NAMELESS]
    # Its Compose project's own one, where there are several: another may be its way out to the broker alone.
    default = f"{status.compose_project}_default"
    network = default if default in named else next(iter(named), None)
    inner = next((inner for outer, inner in status.inner_ports if outer == port), None)
    if network is None or inner is None:
        lack = "is in no network of its own" if network is None else f"publishes nothing at port {port}"
        raise StartupFailure(
            FailureWord.BOT_START_FAILED,
            f"A bot in a container cannot reach the gateway: container {status.name or 'of the gateway'} {lack}.",
            next_action="Make it with docker/gateway/docker-compose.yml, or set BOT_RUNTIME=process.",
        )
    return Endpoint(host=status.name, port=inner, network=network)
