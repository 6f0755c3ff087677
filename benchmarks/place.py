"""A system in a folder of its own, to be started again and again: settings, plan, bot, gateway."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from orchestration.soak.instance import find_free_port

PROJECT = Path(__file__).resolve().parent.parent
CONTAINER = f"zt-benchmark-{os.getpid()}"
IMAGE = "zero-touch/simulator"
_COMPOSE_FILE = PROJECT / "docker" / "gateway" / "docker-compose.yml"
_PATIENCE_S = 120.0
_T = TypeVar("_T")

# The same bot for both. Its first instruction is the instant at which it counts as launched.
_BOT = """\
import time
launched_at = time.time()
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
stamp = os.environ["BENCHMARK_STAMP"]
with open(stamp + ".new", "w") as file:
    file.write(repr(launched_at))
os.replace(stamp + ".new", stamp)
if "NOTIFY_SOCKET" in os.environ:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
        talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    signal.pause()
"""

_INHERITED = ("PATH", "HOME", "LANG", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG")


class SceneFailedError(Exception):
    """A scene could not be measured: something in it did not do what it must."""


@dataclass(frozen=True)
class Place:
    """One system: its folder, the port of its gateway, and the environment that its commands get.

    Attributes:
        root: Its folder.
        port: Where its gateway's API is on this machine.
        environ: What every command of it gets, byte code kept in a folder of its own.
        is_quick: Whether a scene that measures for minutes is to be content with seconds.
    """

    root: Path
    port: int
    environ: dict[str, str] = field(default_factory=dict)
    is_quick: bool = False

    @classmethod
    def build(cls, root: Path, *, is_quick: bool = False) -> "Place":
        """Make the folder's content: a bot, a plan that trades, no settings from anywhere else."""
        root.mkdir(parents=True)
        (root / "bot.py").write_text(_BOT, encoding="utf-8")
        (root / "gameplan.json").write_text(json.dumps(_build_plan()), encoding="utf-8")
        (root / "settings.env").touch(mode=0o600)
        port = find_free_port()
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
            "ENV_FILE": str(root / "settings.env"),
            "STATE_DIR": str(root / "state"),
            "LOG_DIR": str(root / "logs"),
            "GATEWAY_SHARED_DIR": str(root / "shared"),
            "GATEWAY_PORT": str(port),
            "GATEWAY_CONTAINER_NAME": CONTAINER,
            "GATEWAY_IMAGE": IMAGE,
            "TWS_USERID": "benchmark",
            "TWS_PASSWORD": "benchmark",
            "GAMEPLAN_PATH": str(root / "gameplan.json"),
            "MARKET_CALENDAR": "daily",
            "BOT_COMMAND": f"'{sys.executable}' '{root / 'bot.py'}'",
            "BOT_WORKDIR": str(root),
            "BENCHMARK_STAMP": str(root / "launched_at"),
            "PYTHONPYCACHEPREFIX": str(root.parent / "byte_code"),
        }
        return cls(root, port, environ, is_quick)

    @property
    def bot_argv(self) -> tuple[str, ...]:
        """The bot's command."""
        return sys.executable, str(self.root / "bot.py")

    def begin(
        self, argv: tuple[str, ...], *, cwd: Path = PROJECT, environ: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Begin a command of this system. What it says goes to `output.txt`."""
        with (self.root / "output.txt").open("ab") as output:
            return subprocess.Popen(
                argv,
                cwd=cwd,
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path = PROJECT,
        environ: Mapping[str, str] | None = None,
        codes: tuple[int, ...] = (0,),
    ) -> float:
        """Run a command of this system to its end; returns its wall time in seconds.

        Raises:
            SceneFailedError: It ended with another code, or not at all.
        """
        begun_s = time.perf_counter()
        process = self.begin(argv, cwd=cwd, environ=environ)
        self.end_of(process, argv, codes=codes)
        return time.perf_counter() - begun_s

    def end_of(
        self, process: "subprocess.Popen[bytes]", argv: tuple[str, ...], *, codes: tuple[int, ...] = (0,)
    ) -> None:
        """Wait for a command's end.

        Raises:
            SceneFailedError: It ended with another code, or not at all.
        """
        # Not `wait(timeout)`, which looks every 0.05 s: that would round every measurement up.
        alarm = threading.Timer(_PATIENCE_S, process.kill)
        alarm.start()
        code = process.wait()
        is_too_late = not alarm.is_alive()
        alarm.cancel()
        if is_too_late:
            raise SceneFailedError(f"{' '.join(argv)} did not end within {_PATIENCE_S:g} s")
        if code not in codes:
            said = (self.root / "output.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
            raise SceneFailedError(f"{' '.join(argv)} ended with {code}:\n{said}")

    def forget_own_byte_code(self) -> dict[str, str]:
        """The environment of a machine that keeps byte code of Python and of the libraries, but none of ours."""
        kept = Path(self.environ["PYTHONPYCACHEPREFIX"])
        without = self.root / "byte_code_of_others"
        shutil.copytree(kept, without)
        shutil.rmtree(without / PROJECT.relative_to(PROJECT.anchor) / "orchestration", ignore_errors=True)
        return {"PYTHONPYCACHEPREFIX": str(without), "PYTHONDONTWRITEBYTECODE": "1"}

    def forget_launch(self) -> None:
        """Forget when the bot was launched last."""
        Path(self.environ["BENCHMARK_STAMP"]).unlink(missing_ok=True)

    def wait_for_launch(self) -> float:
        """When the bot was launched: seconds since the epoch, by its own first instruction."""
        stamp = Path(self.environ["BENCHMARK_STAMP"])
        wait_for("the bot's launch", stamp.exists)
        return float(stamp.read_text(encoding="utf-8"))

    def start_container(self, *, faults: str = "") -> None:
        """Make a new container of the gateway; returns once it has started, healthy or not."""
        argv = ("docker", "compose", "--file", str(_COMPOSE_FILE), "up", "--detach", "--force-recreate", "gateway")
        self.run(argv, environ={"SIMULATOR_FAULTS": faults})

    def read_healthy_since(self) -> float | None:
        """When the container's first successful health check ended, in seconds since the epoch; None if none did."""
        ended = subprocess.run(
            ["docker", "container", "inspect", CONTAINER], capture_output=True, text=True, check=True, env=self.environ
        )
        health: dict[str, Any] = json.loads(ended.stdout)[0]["State"]["Health"]
        ends = [check["End"] for check in health["Log"] if check["ExitCode"] == 0]
        return _parse_docker_time(ends[0]) if health["Status"] == "healthy" and ends else None

    def remove_container(self) -> None:
        """Remove the gateway's container and all that came with it."""
        argv = ["docker", "compose", "--file", str(_COMPOSE_FILE), "down", "--volumes", "--timeout", "2"]
        subprocess.run(argv, capture_output=True, check=False, env=self.environ)

    @contextlib.contextmanager
    def simulator(self, *, fault: str = "", options: Sequence[str] = ()) -> Iterator[Path]:
        """A gateway as a process that is run from outside, with these further options. Gives the path of its log."""
        log = self.root / "simulator.log"
        argv = [sys.executable, "-m", "orchestration.simulator", "--port", str(self.port), *options]
        argv += ["--fault", fault] if fault else []
        with log.open("wb") as output:
            process = subprocess.Popen(argv, cwd=PROJECT, env=self.environ, stdin=subprocess.DEVNULL, stdout=output)
        try:
            yield log
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


def inv(*words: str) -> tuple[str, ...]:
    """A command of Invoke's, run by this Python."""
    return sys.executable, "-m", "invoke", *words


def read_listening_since(log: Path) -> float | None:
    """When a simulator's API would first complete a handshake, in seconds since the epoch, as its log says."""
    found = re.search(r"^(\S+ \S+):(\d{3}) \S+: API listening", log.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        return None
    whole = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return whole.timestamp() + int(found[2]) / 1000


def wait_for(what: str, look: Callable[[], _T]) -> _T:
    """Look until something is found.

    Raises:
        SceneFailedError: It was not found in time.
    """
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise SceneFailedError(f"{what} did not come within {_PATIENCE_S:g} s")


def explain_no_engine() -> str:
    """Why the scenes with a container cannot be measured here; empty if they can.

    The simulator's image is built, if it is missing and `.ci/engine`'s base image is there.
    """
    try:
        ended = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no docker program"
    if ended.returncode == 0:
        return ""
    if "no such image" in ended.stderr.lower():
        return _build_image()
    return "no Docker engine answers"


def _build_image() -> str:
    """Build the simulator's image. Returns why it cannot be built; empty if it was."""
    from tests.e2e.images import NoImageError, build_simulator_image, choose_base

    missing = f"there is no image {IMAGE}; docs/reference/simulator.md says how to build it"
    if not choose_base():
        return missing
    try:
        build_simulator_image(IMAGE)
    except NoImageError as error:
        return f"{missing} ({error})"
    return ""


def _build_plan() -> dict[str, object]:
    return {
        "date": datetime.now(ZoneInfo("America/New_York")).date().isoformat(),
        "strategy": "A",
        "regime": "normal",
        "symbols": ["SPY", "QQQ"],
        "hard_limits": {
            "max_daily_loss_pct": 0.02,
            "pdt_trades_remaining": 2,
            "weekly_drawdown_governor_active": False,
            "max_intraday_pivots": 1,
        },
        "data_quality": {"quarantine_active": False},
    }


def _parse_docker_time(text: str) -> float:
    # Nanoseconds and an offset: 2026-11-18T14:00:01.123456789Z or …+01:00.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text)).timestamp()
