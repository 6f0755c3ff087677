"""Containers: what is said to Docker about one, and how its answers are written. Pure.

A container is looked up by its exact name or by Compose's labels, never by a `name=` filter, which is a regular
expression and finds `ibkr-gateway-monitor` too.
"""

import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from orchestration.system.processes import ProcessIdentity

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONE_OFF_LABEL = "com.docker.compose.oneoff"

_NEVER_YEAR = 1  # Docker writes 0001-01-01 for "never"


class ContainerState(StrEnum):
    """The state of a container, in Docker's own words where it has one."""

    MISSING = "missing"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    DEAD = "dead"
    UNKNOWN = "unknown"


_ALIVE = frozenset({ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.RESTARTING})
DOWN_STATES = frozenset({ContainerState.MISSING, ContainerState.EXITED, ContainerState.CREATED})


def parse_state(word: str) -> ContainerState:
    """Docker's word for a state."""
    if word == "removing":  # stuck half removed: what helps is what helps a dead one
        return ContainerState.DEAD
    try:
        return ContainerState(word)
    except ValueError:
        return ContainerState.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Container:
    """What one look at a container saw.

    Attributes:
        id: Its full id.
        name: Its name.
        state: Whether and how it runs.
        pid: Its first process, as the engine's host numbers it; 0 if it does not run.
        started_at: When its latest start was; None if it never started.
        exit_code: Of its last end; None while it runs.
        labels: Its labels.
    """

    id: str
    name: str
    state: ContainerState
    pid: int = 0
    started_at: datetime | None = None
    exit_code: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or may run on at any moment."""
        return self.state in _ALIVE

    @property
    def identity(self) -> ProcessIdentity:
        """Which start of which container this is."""
        started = self.started_at.isoformat() if self.started_at else "never"
        return ProcessIdentity(pid=self.pid, birth=f"{self.id}:{started}")


def parse_containers(text: str) -> tuple[Container, ...]:
    """What `docker container inspect` printed.

    Raises:
        ValueError: It is not what that command prints.
    """
    try:
        return tuple(_parse_container(one) for one in json.loads(text))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"docker container inspect printed something unexpected: {error}") from error


def _parse_container(raw: Mapping[str, Any]) -> Container:
    state = raw["State"]
    word = parse_state(str(state["Status"]))
    return Container(
        id=str(raw["Id"]),
        name=str(raw["Name"]).removeprefix("/"),
        state=word,
        pid=int(state.get("Pid", 0)),
        started_at=parse_instant(str(state.get("StartedAt", ""))),
        exit_code=None if word in _ALIVE else int(state.get("ExitCode", 0)),
        labels=raw["Config"].get("Labels") or {},
    )


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


def find_by_label_argv(name: str, value: str) -> tuple[str, ...]:
    """The ids of the containers that run, or may run on at any moment, and bear a label with this very value."""
    return ("docker", "ps", "--no-trunc", "--quiet", "--filter", f"label={name}={value}")


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


def wait_argv(container_id: str) -> tuple[str, ...]:
    """Wait for a container's end; prints its exit code."""
    return ("docker", "wait", container_id)


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
_PAUSES = ("pause", "unpause")


def events_argv(name: str, *, since_s: int, events: Sequence[str] = _TELLING_EVENTS) -> tuple[str, ...]:
    """What happens to a container, as it happens, and in the last `since_s` seconds before.

    The look back covers the time until the engine has accepted the subscription. Docker also takes a name that begins
    with this one; that costs a look and proves nothing, as every look is by exact name.
    """
    argv = ["docker", "events", "--since", f"{since_s}s", "--filter", "type=container", "--filter", f"container={name}"]
    for event in events:
        argv += ["--filter", f"event={event}"]
    return (*argv, "--format", "{{.Action}}")


def pauses_argv(container_id: str, *, since_s: int) -> tuple[str, ...]:
    """Each pause of a container and each end of one, as it happens, and in the last `since_s` seconds before."""
    return events_argv(container_id, since_s=since_s, events=_PAUSES)


def copy_out_argv(container_id: str, path: str) -> tuple[str, ...]:
    """One file of a container, running or not, as a tar archive on standard output."""
    return ("docker", "container", "cp", f"{container_id}:{path}", "-")


def signals_argv(container_id: str, *, since: datetime, until: datetime) -> tuple[str, ...]:
    """The numbers of the signals that the engine was asked to send to a container (`docker stop`, `docker kill`)."""
    return (
        *("docker", "events", "--since", render_instant(since), "--until", render_instant(until)),
        *("--filter", "type=container", "--filter", f"container={container_id}", "--filter", "event=kill"),
        *("--format", '{{index .Actor.Attributes "signal"}}'),
    )


def image_exists_argv(image: str) -> tuple[str, ...]:
    """Ends with 0 if the engine has this image."""
    return ("docker", "image", "inspect", "--format", "{{.Id}}", image)


def image_environ_argv(image: str) -> tuple[str, ...]:
    """The variables that an image sets by itself, as JSON."""
    return ("docker", "image", "inspect", "--format", "{{json .Config.Env}}", image)


def parse_image_environ(text: str) -> dict[str, str]:
    """What `image_environ_argv` printed; nothing where it printed something else."""
    try:
        return dict(str(one).split("=", 1) for one in json.loads(text) or ())
    except (ValueError, TypeError):
        return {}


def parse_copied_file(text: str) -> str | None:
    """The content of the one file in an archive that `copy_out_argv` printed; None where there is none, or no text."""
    if "\ufffd" in text:  # the door decodes as UTF-8, and this is what it puts for anything else
        return None
    try:
        with tarfile.open(fileobj=io.BytesIO(text.encode()), mode="r:") as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None and member.isfile() else None
            return None if file is None else file.read().decode()
    except (tarfile.TarError, UnicodeError, OSError):
        return None


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
