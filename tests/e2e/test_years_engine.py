"""The simulated engine of `tests/years` does what the real one does: one script of docker commands, run on both."""

import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Protocol

import pytest

from orchestration.docker import container
from orchestration.gateway.container import parse_inspect
from tests.e2e.images import LOCAL_BASE
from tests.years.clockwork import Clockwork, Trace
from tests.years.gateway import NAME, Gateway

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("engine")]

_PATIENCE_S = 60.0
_LABELS = {
    container.PROJECT_LABEL: NAME,
    container.SERVICE_LABEL: "gateway",
    container.ONE_OFF_LABEL: "False",
}
# A gateway in the words of a container: it ends with 143 when it is asked to, and with 1 when it dies.
_PROGRAM = "trap 'exit 143' TERM; rm -f /die; touch /ok; while [ ! -e /die ]; do sleep 0.05; done; exit 1"


class Engine(Protocol):
    """An engine with one container in it."""

    name: str

    def run(self, *argv: str) -> tuple[int, str, str]:
        """A docker command: exit code, output, errors."""

    def create(self) -> None:
        """Have the container made and started."""

    def die(self) -> None:
        """Have its program end with 1."""

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Let time pass until something is so."""

    def read_events(self) -> list[str]:
        """What the program heard that follows the events, from the first one on."""


class RealEngine:
    """The engine of this machine."""

    def __init__(self) -> None:
        self.name = f"zt-years-{uuid.uuid4().hex[:10]}"
        self._events: list[str] = []
        self._follower = subprocess.Popen(
            container.events_argv(self.name, since_s=0), stdout=subprocess.PIPE, text=True, bufsize=1
        )
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        assert self._follower.stdout
        with self._follower.stdout as lines:
            self._events.extend(line.strip() for line in lines)

    def run(self, *argv: str) -> tuple[int, str, str]:
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        return ended.returncode, ended.stdout, ended.stderr

    def create(self) -> None:
        labels = [f"--label={name}={value}" for name, value in {**_LABELS, container.PROJECT_LABEL: self.name}.items()]
        code, _, errors = self.run(
            *("docker", "run", "--detach", "--name", self.name, "--restart", "unless-stopped", *labels),
            *("--health-cmd", "test -e /ok", "--health-interval", "0.2s", "--memory", "2g", "--init=false"),
            *(LOCAL_BASE, "sh", "-c", _PROGRAM),
        )
        assert code == 0, errors

    def die(self) -> None:
        # The end of the container may end the command, too, once the file is there.
        assert self.run("docker", "exec", self.name, "touch", "/die")[0] in {0, 137}

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline_s, f"{self.run('docker', 'inspect', self.name)} {self._events}"
            time.sleep(0.05)

    def read_events(self) -> list[str]:
        return list(self._events)

    def close(self) -> None:
        self.run("docker", "rm", "--force", self.name)
        self._follower.terminate()
        self._follower.wait(_PATIENCE_S)


class SimulatedEngine:
    """The engine of the years."""

    name = NAME

    def __init__(self) -> None:
        self._clockwork = Clockwork(datetime.now(UTC), seed=1, trace=Trace())
        self._gateway = Gateway(self._clockwork)
        self._events: list[str] = []
        self._gateway.follow(1, container.events_argv(NAME, since_s=0), self._events.append, lambda: None)

    def run(self, *argv: str) -> tuple[int, str, str]:
        code, out, err, takes_s = self._gateway.run(argv, {}, "test")
        assert code is not None
        self._pass_time(takes_s)
        return code, out, err

    def create(self) -> None:
        assert self.run("docker", "compose", "up", "--detach")[0] == 0

    def die(self) -> None:
        self._gateway.end(1)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(600):
            if is_so():
                return
            self._pass_time(1.0)
        raise AssertionError(f"{self.run('docker', 'container', 'inspect', NAME)} {self._events}")

    def read_events(self) -> list[str]:
        return list(self._events)

    def _pass_time(self, duration_s: float) -> None:
        until_s = self._clockwork.now_s + duration_s
        while self._clockwork.next_s <= until_s:
            self._clockwork.now_s = self._clockwork.next_s
            self._clockwork.run_due()
        self._clockwork.now_s = until_s


def _look(engine: Engine) -> Mapping[str, object]:
    """What the program reads of the container."""
    code, out, err = engine.run(*container.inspect_argv(engine.name))
    if code != 0:
        return {"code": code, "error": err.replace(engine.name, "NAME").strip().casefold()}
    (status,) = parse_inspect(out)
    (other,) = container.parse_containers(engine.run(*container.inspect_argv(status.id))[1])
    return {
        "id": len(status.id),
        "is of this name": status.name == other.name == engine.name,
        "state": (status.state, other.state),
        "restarts": status.restart_count,
        "exit code": (status.exit_code, other.exit_code),
        "has started": status.started_at is not None,
        "has ended": status.finished_at is not None,
        "is before its start": status.finished_at is not None
        and status.started_at is not None
        and status.finished_at < status.started_at,
        "error": status.error,
        "memory": (status.out_of_memory, status.memory_limit_bytes),
        "is of this project": status.compose_project == engine.name,
    }


def _play(engine: Engine) -> dict[str, object]:
    """The life of a gateway's container, in the commands of the program."""
    seen: dict[str, object] = {"before": _look(engine), "logs of none": engine.run("docker", "logs", engine.name)[0]}

    def is_healthy() -> bool:
        return '"healthy"' in engine.run(*container.inspect_argv(engine.name))[1]

    def count(event: str) -> int:
        return engine.read_events().count(event)

    def note(what: str, *, starts: int) -> None:
        engine.wait_until(lambda: count("start") == starts and is_healthy())
        seen[what] = _look(engine)

    engine.create()
    note("created", starts=1)
    engine.die()
    note("died", starts=2)
    engine.die()
    note("died again", starts=3)
    for what, argv in (
        ("stop", container.stop_argv(engine.name, timeout_s=10)),
        ("stop of a stopped one", container.stop_argv(engine.name, timeout_s=10)),
        ("exec in a stopped one", ("docker", "exec", engine.name, "sh", "-c", "true")),
    ):
        seen[what] = (engine.run(*argv)[0], _look(engine))
    seen["start"] = engine.run(*container.start_argv(engine.name))[0]
    note("started", starts=4)
    seen["restart"] = engine.run(*container.restart_argv(engine.name, timeout_s=10))[0]
    note("restarted", starts=5)
    engine.die()
    note("died after a restart", starts=6)
    seen["second stop"] = engine.run(*container.stop_argv(engine.name, timeout_s=10))[0]
    seen["restart of a stopped one"] = engine.run(*container.restart_argv(engine.name, timeout_s=10))[0]
    note("restarted from rest", starts=7)
    seen["events"] = [one for one in engine.read_events() if not one.startswith("exec")]
    return seen


@pytest.fixture
def real() -> Iterator[RealEngine]:
    engine = RealEngine()
    yield engine
    engine.close()


def test_a_container_lives_alike_in_the_real_engine_and_the_simulated_one(real: RealEngine) -> None:
    simulated = _play(SimulatedEngine())
    is_so = _play(real)
    assert {what: (simulated[what], seen) for what, seen in is_so.items() if simulated[what] != seen} == {}
