"""One gateway in a real container, with a name and a port of its own, and what a test needs to say about it."""

import json
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.errors import StartupFailure
from orchestration.gateway.api import probe_api
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.wait import GatewayReady, WaitEvent, WaitEventKind, wait_until_ready
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from tests.system import find_free_port

PATIENCE_S = 60.0
PASSWORD = "correct-horse-battery"  # noqa: S105 - a planted secret, looked for in everything that is shown

# A copy of the shipped file's health check with patience for a test: unhealthy after two bad looks, not after minutes.
_IMPATIENT = """
services:
  gateway:
    healthcheck:
      start_interval: 0.3s
      start_period: 1s
      interval: 0.5s
      timeout: 20s
      retries: 2
"""


def docker(*arguments: str, check: bool = True) -> str:
    """Run a docker command; both outputs."""
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert not check or ended.returncode == 0, f"docker {' '.join(arguments)}: {ended.stderr}"
    return ended.stdout + ended.stderr


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    """Wait for a condition, generously."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"{what} did not come true within {PATIENCE_S:g} s"
        time.sleep(0.05)


@dataclass
class GatewayScene:
    """A container's name, port and settings; and what was told during a wait."""

    name: str
    image: str
    port: int
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    events: list[WaitEvent] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)

    @classmethod
    def build(cls, *, image: str, folder: Path) -> "GatewayScene":
        return cls(name=f"zt-gw-{uuid.uuid4().hex[:10]}", image=image, port=find_free_port(), folder=folder)

    def remove(self) -> None:
        for container in docker("ps", "-aq", "--filter", f"name={self.name}", check=False).split():
            docker("rm", "--force", container, check=False)
        docker("network", "rm", f"{self.name}_default", check=False)
        docker("volume", "rm", f"{self.name}_settings", check=False)

    def be_impatient(self) -> None:
        """Let the container be called unhealthy soon."""
        directory = self.folder / "compose"
        directory.mkdir()
        shipped = Path(__file__).resolve().parents[2] / "docker" / "gateway" / "docker-compose.yml"
        (directory / "docker-compose.yml").write_bytes(shipped.read_bytes())
        (directory / "docker-compose.override.yml").write_text(_IMPATIENT, encoding="utf-8")
        self.environ["DOCKER_COMPOSE_DIR"] = str(directory)

    def settings(self, **changes: str) -> Settings:
        return Settings.from_environ(
            {
                "GATEWAY_CONTAINER_NAME": self.name,
                "GATEWAY_IMAGE": self.image,
                "GATEWAY_PORT": str(self.port),
                "GATEWAY_HEALTH_TIMEOUT": "40",
                "HEALTH_CHECK_TIMEOUT": "20",
                "TWS_USERID": "operator",
                "TWS_PASSWORD": PASSWORD,
                "STATE_DIR": str(self.folder / "state"),
                "LOG_DIR": str(self.folder / "logs"),
                "GATEWAY_SHARED_DIR": str(self.folder / "shared"),
                **self.environ,
                **changes,
            }
        )

    def runtime(self, **changes: str) -> Runtime:
        return build_runtime(self.settings(**changes), commands=SystemCommands(), clock=SystemClock())

    def start(self, **changes: str) -> bool:
        return self.runtime(**changes).ensure_started(on_progress=self.progress.append)

    def wait(self, *, on_event: Callable[[WaitEvent], None] | None = None, **changes: str) -> GatewayReady:
        def note(event: WaitEvent) -> None:
            self.events.append(event)
            if on_event is not None:
                on_event(event)

        return wait_until_ready(
            self.runtime(**changes),
            self.settings(**changes),
            clock=SystemClock(),
            probe=probe_api,
            on_event=note,
            on_progress=lambda _elapsed_s, _left_s, text: self.progress.append(text),
        )

    def told(self) -> list[WaitEventKind]:
        return [event.kind for event in self.events]

    def inspect(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(docker("container", "inspect", self.name))
        return found[0]

    def start_of(self) -> tuple[str, str]:
        """Which start of which container this is."""
        found = self.inspect()
        return found["Id"], found["State"]["StartedAt"]

    def run_foreign(self, *command: str, name: str | None = None, options: tuple[str, ...] = ()) -> None:
        """Run a container that Compose did not make."""
        docker("run", "--detach", "--name", name or self.name, *options, self.image, *command)


def shown(failure: StartupFailure) -> str:
    """Everything that a failure shows."""
    return "\n".join([failure.message, failure.next_action, *failure.evidence])
