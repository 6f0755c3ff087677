"""One run's own world: a system in a folder of its own, its channel, its gateway, and a bystander who must survive."""

import contextlib
import hashlib
import json
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.soak.catalogue import CATALOGUE
from tests.campaign.draw import Case, Runtime, Start
from tests.campaign.wall_clock import use_settable_clock
from tests.integration.alerts_scene import LoopbackChannel, run_channel
from tests.system import PROJECT, System, build_plan, day_from_today, is_port_free, system_in, wait_until

# Planted where secrets are kept; looked for wherever anything is written.
PASSWORD = "pl4nted-Passw0rd"  # noqa: S105 - planted to be looked for
PULSE = "pl4nted-pulse-77"
NOBODY_LISTENS = "9"
_DISK_SIZE = "3m"
_BOT = Path(__file__).with_name("ledger_bot.py")
_FIRST_START_ONLY = "first_start_only"
# Short times, so that a run takes seconds: what is tested is what happens, not how long the defaults are.
_TIMES = {
    "GATEWAY_HEALTH_TIMEOUT": "6",
    "GATEWAY_HEALTH_RETRY_INTERVAL": "0.2",
    "HEALTH_CHECK_TIMEOUT": "2",
    "GATEWAY_TWOFA_TIMEOUT": "2",
    "BOT_START_GRACE": "1",
    "BOT_STOP_TIMEOUT": "4",
    "MONITOR_INTERVAL": "1",
}


class CannotStageError(Exception):
    """A world could not be brought into its start state: the run says nothing."""


def docker(*arguments: str) -> str:
    """Run a docker command; what it says."""
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout + ended.stderr


@dataclass
class World:
    """Where one run happens.

    Attributes:
        case: The run.
        system: The system under test.
        channel: What receives its alerts and its heartbeat.
        bystander: A process that the system has nothing to do with.
        gateway: The gateway, where the world itself runs it.
        undo: What must be undone, whatever happens.
        plans: When the plan's file became what it is, and the hash of a valid plan of today (None for anything else).
    """

    case: Case
    system: System
    channel: LoopbackChannel
    bystander: "subprocess.Popen[bytes]"
    gateway: "subprocess.Popen[bytes] | None" = None
    undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    plans: list[tuple[float, str | None]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """Its folder."""
        return self.system.root

    @property
    def ledger(self) -> Path:
        """What the bots write down about themselves."""
        return self.root / "ledger"

    @property
    def container(self) -> str:
        """The container's name."""
        return self.system.environ["GATEWAY_CONTAINER_NAME"]

    @property
    def is_docker(self) -> bool:
        """Whether the gateway is a real container."""
        return self.case.runtime is Runtime.DOCKER

    def place_plan(self, kind: str) -> None:
        """Put the operator's plan in place, or none."""
        path = self.system.plan_path
        path.unlink(missing_ok=True)
        changes: dict[str, dict[str, object]] = {
            "valid": {},
            "other": {"symbols": ["IWM"]},
            "stale": {"date": day_from_today(-1)},
            "invalid": {"strategy": "Z"},
            "quarantined": {"data_quarantine": True},
            "chooses C": {"strategy": "C", "symbols": []},
        }
        if kind in changes:
            path.write_text(json.dumps(build_plan(**changes[kind])), encoding="utf-8")
        self.system.environ["GAMEPLAN_PATH"] = str(path)
        if kind == "none":
            del self.system.environ["GAMEPLAN_PATH"]
        self.note_plan(kind)

    def note_plan(self, kind: str) -> None:
        """Write down what the plan's file is from now on."""
        is_good = kind in {"valid", "other"}
        content = self.system.plan_path.read_bytes() if is_good else b""
        self.plans.append((time.monotonic(), hashlib.sha256(content).hexdigest() if is_good else None))

    def give_faults(self, text: str) -> None:
        """What the simulator's next start goes by, wherever it runs (`SIMULATOR_FAULTS`)."""
        self.system.environ["SIMULATOR_FAULTS"] = f"@{self.faults_path}" if self.set_gateway_faults(text) else text

    @property
    def faults_path(self) -> Path:
        """What the simulator that is not in a container goes by."""
        return self.root / "faults"

    def start_gateway(self, faults: str = "") -> None:
        """Start the gateway that is this world's own."""
        self.set_gateway_faults(faults)
        argv = [sys.executable, "-m", "orchestration.simulator", "--port", str(self.system.port), "--faults"]
        argv.append(f"@{self.faults_path}")
        with (self.root / "external_gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                argv, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.undo.callback(end, self.gateway)

    def signal_gateway(self, number: int) -> bool:
        """Send the gateway a signal, or do to its container what comes nearest; whether there was one."""
        if self.is_docker:
            words = {
                signal.SIGKILL: "kill",
                signal.SIGTERM: "stop",
                signal.SIGSTOP: "pause",
                signal.SIGCONT: "unpause",
            }
            return self.container in docker(words[signal.Signals(number)], self.container).split()
        if self.gateway is None:
            return self.system.signal_gateway(number)
        if self.gateway.poll() is None:
            self.gateway.send_signal(number)
            return True
        return False

    def set_gateway_faults(self, text: str) -> bool:
        """What the simulator's next start, or the one that runs at SIGHUP, goes by; a container's is not told."""
        if self.is_docker:
            return False
        self.faults_path.write_text(text, encoding="utf-8")
        return True

    def read_ledger(self) -> list[dict[str, object]]:
        """What the bots wrote down."""
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in self.ledger.read_text(encoding="utf-8").splitlines()]
        return []

    def enter_start(self) -> None:
        """Bring about what is to be there before the run.

        Raises:
            CannotStageError: It did not come about.
        """
        self.place_plan("valid")
        if self.case.runtime is Runtime.EXTERNAL and self.case.start is not Start.GATEWAY_STOPPED:
            self.start_gateway("accepts_silent" if self.case.start is Start.GATEWAY_SILENT else "")
            wait_until(lambda: not is_port_free(self.system.port), "gateway that listens")
        stage = _STAGES.get(self.case.start)
        if stage is not None:
            stage(self)
        self.place_plan(self.case.plan)
        self.channel.received.clear()

    def must(self, *arguments: str, codes: tuple[int, ...] = (0,), faults: str = "") -> None:
        """Run an `inv` command that has to work for the start state to come about."""
        self.give_faults(faults)
        ended = self.system.inv(*arguments)
        self.give_faults("")
        if ended.code not in codes:
            raise CannotStageError(f"inv {' '.join(arguments)}: {ended.code}: {ended.err[-500:]}")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process of this world's own, stopped or not."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _gateway_up(world: World) -> None:
    if world.case.runtime is not Runtime.EXTERNAL:
        world.must("gateway.up", "gateway.wait")


def _gateway_stopped(world: World) -> None:
    if world.case.runtime is not Runtime.EXTERNAL:
        _gateway_up(world)
        world.must("gateway.down")


def _gateway_paused(world: World) -> None:
    _gateway_up(world)
    world.signal_gateway(signal.SIGSTOP)


def _gateway_silent(world: World) -> None:
    if world.case.runtime is not Runtime.EXTERNAL:
        world.must("gateway.up", faults=f"accepts_silent, {_FIRST_START_ONLY}")


def _bot_runs(world: World) -> None:
    world.must("startup")


def _bot_orphaned(world: World) -> None:
    process = world.system.begin("--foreground")
    wait_until(
        lambda: list(world.system.logs.glob("supervisor_*.log")) or process.poll() is not None, "supervisor", 60.0
    )
    process.kill()
    process.communicate()
    if not world.system.bots():
        raise CannotStageError("no bot was left by the supervisor that was killed")


def _run_killed(world: World) -> None:
    world.give_faults(f"slow_login=60, {_FIRST_START_ONLY}")
    process = world.system.begin()
    wait_until(lambda: "step gateway.wait" in world.system.startup_log() or process.poll() is not None, "wait", 60.0)
    process.kill()
    process.communicate()
    world.give_faults("")


def _record_left(world: World) -> None:
    world.must("startup")
    for bot in world.system.bots():
        bot.kill()
    wait_until(lambda: not world.system.bots(), "end of the bot")


def _alerts_wait(world: World) -> None:
    address = world.system.environ["DISCORD_WEBHOOK_URL"]
    world.system.environ["DISCORD_WEBHOOK_URL"] = address.replace(f":{world.channel.port}/", f":{NOBODY_LISTENS}/")
    world.must("startup")
    world.must("bot.stop")
    world.system.environ["DISCORD_WEBHOOK_URL"] = address


def _held(world: World) -> None:
    world.must("hold", "--reason", "new disk")


_STAGES = {
    Start.GATEWAY_RUNS: _gateway_up,
    Start.GATEWAY_STOPPED: _gateway_stopped,
    Start.GATEWAY_PAUSED: _gateway_paused,
    Start.GATEWAY_SILENT: _gateway_silent,
    Start.BOT_RUNS: _bot_runs,
    Start.BOT_ORPHANED: _bot_orphaned,
    Start.RUN_KILLED: _run_killed,
    Start.RECORD_LEFT: _record_left,
    Start.ALERTS_WAIT: _alerts_wait,
    Start.HELD: _held,
}


@contextlib.contextmanager
def world_of(case: Case, root: Path, *, image: str) -> Iterator[World]:
    """A world for this run, of which nothing is left afterwards."""
    with system_in(root) as system, run_channel() as channel, contextlib.ExitStack() as undo:
        bystander = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)
        undo.callback(end, bystander)
        world = World(case, system, channel, bystander, undo=undo)
        system.environ |= _TIMES | {
            "GATEWAY_RUNTIME": case.runtime.value,
            "TWS_USERID": "ann",
            "TWS_PASSWORD": PASSWORD,
            "DISCORD_WEBHOOK_URL": channel.address,
            "HEARTBEAT_URL": f"http://127.0.0.1:{channel.port}/ping/{PULSE}",
            "BOT_COMMAND": shlex.join([sys.executable, str(_BOT)]),
            "BOT_WORKDIR": str(root),
            "CAMPAIGN_LEDGER": str(world.ledger),
        }
        world.give_faults("")
        if case.runtime is Runtime.DOCKER:
            system.environ |= {
                "GATEWAY_CONTAINER_NAME": f"zt-campaign-{uuid.uuid4().hex[:10]}",
                "GATEWAY_IMAGE": image,
                "GATEWAY_HEALTH_TIMEOUT": "12",
            }
            undo.callback(_remove_container, world.container)
        if CATALOGUE[case.fault].needs_other_clock:
            use_settable_clock(system)
        if CATALOGUE[case.fault].needs_other_disk:
            for folder in (system.state, system.logs):
                _mount_disk(folder, undo)
        yield world
        # Whatever still runs would write into what is about to be undone.
        system.close()


def _mount_disk(folder: Path, undo: contextlib.ExitStack) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={_DISK_SIZE},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, timeout=30)
    undo.callback(subprocess.run, ["umount", "-l", str(folder)], check=False, timeout=30)


def _remove_container(name: str) -> None:
    docker("rm", "--force", "--volumes", name)
    docker("volume", "rm", "--force", f"{name}_settings")
    for _ in range(3):
        if "in use" not in docker("network", "rm", f"{name}_default"):
            return
        time.sleep(0.2)
