"""Injects the faults of the catalogue into a world of the campaign, and puts them right again."""

import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestration.soak.catalogue import CATALOGUE, Fault, FaultTarget
from orchestration.soak.channel import Behaviour, close
from orchestration.soak.instance import send_signal
from tests.campaign.draw import Runtime, Start
from tests.campaign.wall_clock import set_clock_ahead
from tests.campaign.world import NOBODY_LISTENS, World, docker, end
from tests.system import is_port_free, wait_until

_STOPPED_S = 1.0
_LINK_DOWN_S = 2.0
_MANY = 200
# A record that cannot be understood may be that of a running bot: the program refuses to start, and says this.
_MOVE_AWAY = re.compile(r"Make sure that no bot runs, then move it away: `(mv [^`]+)`")
_WRONG_WORDS: tuple[object, ...] = ("x", -1, 0, 1, None, [], {}, 2**70, 1.5, True, "\x00", "../../etc")


def prepare(world: World) -> None:
    """Put the faults that are settings in place, before the run."""
    traits = CATALOGUE[world.case.fault]
    faults = traits.settings.get("SIMULATOR_FAULTS")
    if faults is None:
        world.system.environ |= traits.settings
        return
    # A gateway that runs already would not have the fault.
    if world.case.runtime is Runtime.EXTERNAL:
        _restart_external(world, faults)
        return
    if world.case.start is not Start.NOTHING:
        world.signal_gateway(signal.SIGCONT)
        world.must("gateway.down")
    world.give_faults(faults)


def inject(world: World, runs: "list[subprocess.Popen[str]]") -> bool:
    """Let it go wrong now; returns whether it did."""
    return CATALOGUE[world.case.fault].inject(WorldTarget(world, runs))


class WorldTarget(FaultTarget):
    """A world of the campaign, as what faults are put into; see `FaultTarget` for each method.

    Args:
        world: The world.
        runs: The program's processes, the one that is to be hit first.
    """

    def __init__(self, world: World, runs: "list[subprocess.Popen[str]]") -> None:
        super().__init__(world.system, world.channel, link_down_s=_LINK_DOWN_S)
        self._world = world
        self._runs = runs
        self._rng = random.Random(world.case.chance)  # noqa: S311 - which bytes, not a secret

    def signal_gateway(self, number: int) -> bool:
        """See `FaultTarget`: a container, too, or a gateway that is this world's own."""
        return self._world.signal_gateway(number)

    def signal_bots(self, number: int) -> bool:
        """See `FaultTarget`."""
        return _signal_for_a_while([bot.pid for bot in self.instance.bots()], number)

    def signal_program(self, number: int) -> bool:
        """See `FaultTarget`."""
        return _signal_for_a_while([run.pid for run in self._runs[:1] if run.poll() is None], number)

    def set_gateway_faults(self, text: str) -> bool:
        """See `FaultTarget`."""
        return self._world.set_gateway_faults(text)

    def change_plan(self, change: Callable[[Path], object]) -> bool:
        """See `FaultTarget`."""
        is_changed = super().change_plan(change)
        if is_changed:
            self._world.note_plan("damaged")
        return is_changed

    def place_plan(self, kind: str) -> bool:
        """See `FaultTarget`."""
        self._world.place_plan(kind)
        return True

    def answer_alerts(self, behaviour: Behaviour) -> bool:
        """See `FaultTarget`."""
        self.channel.script[:] = [behaviour] * _MANY
        return True

    def refuse_alerts(self) -> bool:
        """See `FaultTarget`."""
        address = self.instance.environ["DISCORD_WEBHOOK_URL"]
        self.instance.environ["DISCORD_WEBHOOK_URL"] = re.sub(r":\d+/", f":{NOBODY_LISTENS}/", address)
        return self.answer_alerts(close)  # for a run that has its settings already

    def damage_record(self, *names: str) -> bool:
        """See `FaultTarget`."""
        damage(self.instance.state / self._rng.choice(names), self._rng, pids=(self._world.bystander.pid,))
        return True

    def overwrite_journal(self) -> bool:
        """See `FaultTarget`."""
        rng, path = self._rng, self.instance.state / "journal.sqlite3"
        with contextlib.suppress(OSError), path.open("r+b") as file:
            size = path.stat().st_size
            for _ in range(rng.choice((1, 3, 20))):
                file.seek(rng.randrange(max(size, 1)) if rng.random() < 0.8 else 0)
                file.write(rng.randbytes(rng.choice((1, 64, 512))))
        return True

    def cut_journal(self) -> bool:
        """See `FaultTarget`."""
        path = self.instance.state / "journal.sqlite3"
        with contextlib.suppress(OSError):
            os.truncate(path, self._rng.randrange(max(path.stat().st_size, 1)))
        return True

    def delete_state(self) -> bool:
        """See `FaultTarget`."""
        shutil.rmtree(self.instance.state, ignore_errors=True)
        return True

    def fill_disk(self, folder: Path) -> bool:
        """See `FaultTarget`."""
        handle = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (65536, 4096, 512, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(handle, b"\0" * size)
        finally:
            os.close(handle)
        return True

    def shift_clock(self, seconds: int) -> bool:
        """See `FaultTarget`."""
        set_clock_ahead(self._world.system, seconds)
        return True

    def cut_network(self) -> bool:
        """See `FaultTarget`."""
        world = self._world
        if world.is_docker:
            docker("network", "disconnect", "--force", f"{world.container}_default", world.container)
            return True
        rule = _rule(world)
        subprocess.run(["iptables", "-w", "-I", *rule], check=True, timeout=30)
        undone = ["iptables", "-w", "-D", *rule]
        world.undo.callback(subprocess.run, undone, check=False, capture_output=True, timeout=30)
        return True


def repair(world: World, *, told: Sequence[str]) -> None:
    """Put it right, as a person would who was told what was wrong: with the commands that the program itself named."""
    case, system = world.case, world.system
    for command in dict.fromkeys(found for text in told for found in _MOVE_AWAY.findall(text)):
        if not system.bots():
            subprocess.run(shlex.split(command), check=True, timeout=30)
    traits = CATALOGUE[case.fault]
    for name in traits.settings:
        system.environ.pop(name, None)
    world.give_faults("")
    world.channel.script.clear()
    world.channel.is_down = False
    system.environ["DISCORD_WEBHOOK_URL"] = world.channel.address
    _join_network(world)
    for folder in (system.state, system.logs):
        (folder / "filler").unlink(missing_ok=True)
    set_clock_ahead(world.system, 0)
    if case.fault.startswith("plan"):
        world.place_plan(case.plan)
    if case.start is Start.HELD:
        world.must("resume")
    if case.runtime is Runtime.EXTERNAL:
        _restart_external(world, "")
    elif traits.is_of_gateway:
        world.signal_gateway(signal.SIGCONT)
        system.inv("gateway.down")


def damage(path: Path, rng: random.Random, *, pids: tuple[int, ...]) -> None:
    """Damage a record in one of many ways: cut, overwritten, other JSON, the right names with the wrong values."""
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    kind = rng.randrange(7)
    if kind == 0:
        broken = content[: len(content) // 2]
    elif kind == 1:
        broken = rng.randbytes(max(len(content), 40))
    elif kind == 2:
        broken = rng.choice((b"", b"[]", b"{}", b"null", b"7", b'"x"', b"[" * 5000, b"\xff\xfe{"))
    else:
        broken = _damage_values(content, rng, pids)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # In place, as a bad sector or a careless editor would: a process that holds the file open holds this one.
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(broken)
            file.truncate()


def _damage_values(content: bytes, rng: random.Random, pids: tuple[int, ...]) -> bytes:
    try:
        fields = json.loads(content)
    except ValueError:
        fields = {"pid": 1, "birth": "1", "since": "", "purpose": "", "failed_at": [], "given_up": "", "runtime": "x"}
    if not isinstance(fields, dict):
        return b"[]"
    for name in rng.sample(sorted(fields), k=min(len(fields), rng.choice((1, 1, 2, 5)))):
        fields[name] = rng.choice(pids) if "pid" in name and rng.random() < 0.5 else rng.choice(_WRONG_WORDS)
    return json.dumps(fields).encode()


def _signal_for_a_while(pids: list[int], number: int) -> bool:
    """Send a signal; those that are stopped by it are continued a second later. Whether any was there."""
    were_there = [send_signal(pid, number) for pid in pids]
    if number == signal.SIGSTOP and any(were_there):
        time.sleep(_STOPPED_S)
        for pid in pids:
            send_signal(pid, signal.SIGCONT)
    return any(were_there)


def _restart_external(world: World, faults: str) -> None:
    if world.gateway is not None:
        end(world.gateway)
    wait_until(lambda: is_port_free(world.system.port), "free port")
    world.start_gateway(faults)
    if not faults or "clock" in faults or "account" in faults:
        wait_until(lambda: not is_port_free(world.system.port), "gateway that listens")


def _join_network(world: World) -> None:
    if world.case.fault is not Fault.NETWORK_CUT:
        return
    if world.is_docker:
        docker("network", "connect", "--alias", "gateway", f"{world.container}_default", world.container)
        return
    subprocess.run(["iptables", "-w", "-D", *_rule(world)], check=False, capture_output=True, timeout=30)


def _rule(world: World) -> tuple[str, ...]:
    return ("INPUT", "-i", "lo", "-p", "tcp", "--dport", str(world.system.port), "-j", "DROP")
