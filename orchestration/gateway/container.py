"""Containers: what is said to Docker about one, and what its answers mean. Pure.

A container is looked up by its exact name or by Compose's labels, never by a `name=` filter, which is a regular
expression and finds `ibkr-gateway-monitor` too.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
SIMULATED_LABEL = "zero-touch.simulated"

# An output that a container wrote just before the engine stamped its start still belongs to that start.
# Measured: up to 1 ms before. Docker's own restarts wait at least 100 ms, so 50 ms is never the life before's.
_BEFORE_START_LEAST = timedelta(milliseconds=50)
_BEFORE_START_MOST = timedelta(milliseconds=250)
_NEVER_YEAR = 1  # Docker writes 0001-01-01 for "never"


class ContainerState(StrEnum):
    """The state of a gateway's container, in Docker's own words where it has one."""

    MISSING = "missing"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    DEAD = "dead"
    UNKNOWN = "unknown"


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
        finished_at: When it last ended; None if it never did.
        restart_count: How often Docker's restart policy has started it again.
        exit_code: Of its last end; None while it runs.
        error: What the engine said when it could not start it.
        out_of_memory: Whether the kernel ended it for lack of memory.
        health_log: The outputs of its last health checks, oldest first.
        compose_project: The Compose project that made it; empty if none did.
        compose_service: Its service there.
        published_ports: The host's ports that lead into it.
        is_simulated: Whether it is the built-in simulator.
    """

    state: ContainerState
    health: Health = Health.NONE
    id: str = ""
    name: str = ""
    image: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    restart_count: int = 0
    exit_code: int | None = None
    error: str = ""
    out_of_memory: bool = False
    health_log: tuple[str, ...] = ()
    compose_project: str = ""
    compose_service: str = ""
    published_ports: tuple[int, ...] = ()
    is_simulated: bool = False

    @property
    def start(self) -> tuple[str, datetime | None]:
        """Which start of which container this is: nothing learned about another one counts for it."""
        return self.id, self.started_at

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


def inspect_argv(reference: str) -> tuple[str, ...]:
    """Look at one container by name or id."""
    return ("docker", "container", "inspect", reference)


def find_by_labels_argv(*, project: str, service: str) -> tuple[str, ...]:
    """The ids of a Compose service's containers, stopped ones too, newest first; `docker compose run`'s left out."""
    return (
        *("docker", "ps", "--all", "--no-trunc", "--quiet"),
        *("--filter", f"label={PROJECT_LABEL}={project}"),
        *("--filter", f"label={SERVICE_LABEL}={service}"),
        *("--filter", f"label={ONE_OFF_LABEL}=False"),
    )


def start_argv(name: str) -> tuple[str, ...]:
    """Start a container that exists."""
    return ("docker", "start", name)


def unpause_argv(name: str) -> tuple[str, ...]:
    """Let a paused container run on."""
    return ("docker", "unpause", name)


def restart_argv(name: str, *, timeout_s: float) -> tuple[str, ...]:
    """Stop a container, by force after `timeout_s` seconds, and start it again."""
    return ("docker", "restart", "-t", str(round(timeout_s)), name)


def stop_argv(name: str, *, timeout_s: float) -> tuple[str, ...]:
    """Stop a container, by force after `timeout_s` seconds; its restart policy then leaves it stopped."""
    return ("docker", "stop", "-t", str(round(timeout_s)), name)


def remove_argv(container_id: str) -> tuple[str, ...]:
    """Remove one container; its volumes stay."""
    return ("docker", "rm", "--force", container_id)


def remove_stopped_argv(container_id: str) -> tuple[str, ...]:
    """Remove one container that does not run; the engine refuses this for one that does."""
    return ("docker", "rm", container_id)


def logs_argv(
    name: str, *, lines: int, since: datetime | None = None, follow: bool = False, timestamps: bool = False
) -> tuple[str, ...]:
    """The last lines of a container's log, from `since` on."""
    argv = ["docker", "logs", "--tail", str(lines)]
    if since is not None:
        argv += ["--since", render_instant(since)]
    if follow:
        argv.append("--follow")
    if timestamps:
        argv.append("--timestamps")
    return (*argv, name)


# Not `exec_*`: each health check makes three of those.
_TELLING_EVENTS = ("start", "die", "health_status", "pause", "unpause", "oom", "destroy")


def events_argv(name: str, *, since_s: int) -> tuple[str, ...]:
    """What happens to a container, as it happens, and in the last `since_s` seconds before.

    The look back covers the time until the engine has accepted the subscription. Docker also takes a name that begins
    with this one; that costs a look and proves nothing, as every look is by exact name.
    """
    argv = ["docker", "events", "--since", f"{since_s}s", "--filter", "type=container", "--filter", f"container={name}"]
    for event in _TELLING_EVENTS:
        argv += ["--filter", f"event={event}"]
    return (*argv, "--format", "{{.Action}}")


def image_exists_argv(image: str) -> tuple[str, ...]:
    """Ends with 0 if the engine has this image."""
    return ("docker", "image", "inspect", "--format", "{{.Id}}", image)


def render_instant(instant: datetime) -> str:
    """An instant as Docker's command line reads it."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_instant(text: str) -> datetime | None:
    """Docker's time stamp (nanoseconds, `Z` or an offset), or None for "never" and for nonsense."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    micro = ((fraction or "") + "000000")[:6]
    try:
        instant = datetime.fromisoformat(f"{whole}.{micro}{'+00:00' if zone == 'Z' else zone}")
    except ValueError:
        return None
    return None if instant.year == _NEVER_YEAR else instant


def merge_streams(*streams: str) -> tuple[str, ...]:
    """The lines of streams whose lines begin with Docker's time stamps, in the order of time, without the stamps."""
    stamped = []
    for stream in streams:
        for line in stream.splitlines():
            stamp, _, text = line.partition(" ")
            stamped.append((parse_instant(stamp), text) if parse_instant(stamp) else (None, line))
    # Two lines of one microsecond, and any that bear no stamp, keep the order in which they came.
    early = datetime.min.replace(tzinfo=UTC)
    return tuple(text for _, text in sorted(stamped, key=lambda pair: pair[0] or early))


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
    word = _parse_state(str(state["Status"]))
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
        compose_service=labels.get(SERVICE_LABEL, ""),
        published_ports=_parse_ports((raw.get("HostConfig") or {}).get("PortBindings") or {}),
        is_simulated=labels.get(SIMULATED_LABEL, "").lower() in {"yes", "true", "1"},
    )


def _parse_state(word: str) -> ContainerState:
    if word == "removing":  # stuck half removed: what helps is what helps a dead one
        return ContainerState.DEAD
    try:
        return ContainerState(word)
    except ValueError:
        return ContainerState.UNKNOWN


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


def _parse_ports(bindings: Mapping[str, Sequence[Mapping[str, str]] | None]) -> tuple[int, ...]:
    ports = {binding.get("HostPort", "") for bound in bindings.values() for binding in bound or ()}
    return tuple(sorted(int(port) for port in ports if port.isdigit()))
