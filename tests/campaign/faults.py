"""What goes wrong, and how it is put right again."""

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

from orchestration.soak.instance import cut_in_half, send_signal
from tests.campaign.draw import Fault, Runtime, Start
from tests.campaign.wall_clock import set_clock_ahead
from tests.campaign.world import NOBODY_LISTENS, World, docker, end
from tests.integration.alerts_scene import answer, close, hang
from tests.system import is_port_free, wait_until

_STOPPED_S = 1.0
_MANY = 200
_DAY_S = 86400
# A record that cannot be understood may be that of a running bot: the program refuses to start, and says this.
_MOVE_AWAY = re.compile(r"Make sure that no bot runs, then move it away: `(mv [^`]+)`")
_WRONG_WORDS: tuple[object, ...] = ("x", -1, 0, 1, None, [], {}, 2**70, 1.5, True, "\x00", "../../etc")

# A fault that is a setting of the run, the gateway or the bot.
_SETTINGS: dict[Fault, dict[str, str]] = {
    Fault.BOT_DIES: {"CAMPAIGN_BOT": "dies"},
    Fault.GATEWAY_CLOCK: {"SIMULATOR_FAULTS": "clock_skew=90"},
    Fault.WRONG_ACCOUNT: {"SIMULATOR_FAULTS": "wrong_account"},
    Fault.WRONG_PASSWORD: {"SIMULATOR_FAULTS": "wrong_password=0.3"},
    Fault.SECOND_FACTOR: {"SIMULATOR_FAULTS": "second_factor"},
    Fault.API_GARBAGE: {"SIMULATOR_FAULTS": "garbage"},
    Fault.API_SILENT_LATER: {"SIMULATOR_FAULTS": "silent_after=1.5"},
    Fault.LIVE: {"TRADING_MODE": "live"},
}
OF_GATEWAY = frozenset(fault for fault, change in _SETTINGS.items() if "SIMULATOR_FAULTS" in change)


def prepare(world: World) -> None:
    """Put the faults that are settings in place, before the run."""
    change = _SETTINGS.get(world.case.fault, {})
    world.system.environ |= change
    if world.case.fault not in OF_GATEWAY:
        return
    # A gateway that runs already would not have the fault.
    if world.case.runtime is Runtime.EXTERNAL:
        _restart_external(world, change["SIMULATOR_FAULTS"])
    elif world.case.start is not Start.NOTHING:
        world.signal_gateway(signal.SIGCONT)
        world.must("gateway.down")


def inject(world: World, runs: "list[subprocess.Popen[str]]") -> None:
    """Let it go wrong now."""
    fault = world.case.fault
    rng = random.Random(world.case.chance)  # noqa: S311 - which bytes, not a secret
    if fault in _TO_RUN:
        _signal_for_a_while([run.pid for run in runs[:1] if run.poll() is None], _TO_RUN[fault])
    elif fault in _TO_BOT:
        _signal_for_a_while([bot.pid for bot in world.system.bots()], _TO_BOT[fault])
    elif fault in _TO_GATEWAY:
        world.signal_gateway(_TO_GATEWAY[fault])
    elif fault in _FILES:
        damage(world.system.state / rng.choice(_FILES[fault]), rng, pids=(world.bystander.pid,))
    elif fault in _ANSWERS:
        world.channel.script[:] = [_ANSWERS[fault]] * _MANY
    elif fault in _OTHERS:
        _OTHERS[fault](world)


def repair(world: World, *, told: Sequence[str]) -> None:
    """Put it right, as a person would who was told what was wrong: with the commands that the program itself named."""
    case, system = world.case, world.system
    for command in dict.fromkeys(found for text in told for found in _MOVE_AWAY.findall(text)):
        if not system.bots():
            subprocess.run(shlex.split(command), check=True, timeout=30)
    for name in _SETTINGS.get(case.fault, {}):
        system.environ.pop(name, None)
    world.channel.script.clear()
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
    elif case.fault in OF_GATEWAY:
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
        # In place, as a bad sector or a careless editor would: whoever holds the file open holds this one.
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


def _signal_for_a_while(pids: list[int], number: int) -> None:
    for pid in pids:
        if send_signal(pid, number) and number == signal.SIGSTOP:
            time.sleep(_STOPPED_S)
            send_signal(pid, signal.SIGCONT)


def _restart_external(world: World, faults: str) -> None:
    if world.gateway is not None:
        end(world.gateway)
    wait_until(lambda: is_port_free(world.system.port), "free port")
    world.start_gateway(faults)
    if not faults or "clock" in faults or "account" in faults:
        wait_until(lambda: not is_port_free(world.system.port), "gateway that listens")


def _cut_network(world: World) -> None:
    if world.is_docker:
        docker("network", "disconnect", "--force", f"{world.container}_default", world.container)
        return
    rule = _rule(world)
    subprocess.run(["iptables", "-w", "-I", *rule], check=True, timeout=30)
    world.undo.callback(subprocess.run, ["iptables", "-w", "-D", *rule], check=False, capture_output=True, timeout=30)


def _join_network(world: World) -> None:
    if world.case.fault is not Fault.CUT_NETWORK:
        return
    if world.is_docker:
        docker("network", "connect", "--alias", "gateway", f"{world.container}_default", world.container)
        return
    subprocess.run(["iptables", "-w", "-D", *_rule(world)], check=False, capture_output=True, timeout=30)


def _rule(world: World) -> tuple[str, ...]:
    return ("INPUT", "-i", "lo", "-p", "tcp", "--dport", str(world.system.port), "-j", "DROP")


def _fill(folder: Path) -> None:
    handle = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(handle, b"\0" * size)
    finally:
        os.close(handle)


def _overwrite_journal(world: World) -> None:
    rng = random.Random(world.case.chance)  # noqa: S311 - which bytes
    path = world.system.state / "journal.sqlite3"
    with contextlib.suppress(OSError), path.open("r+b") as file:
        size = path.stat().st_size
        for _ in range(rng.choice((1, 3, 20))):
            file.seek(rng.randrange(max(size, 1)) if rng.random() < 0.8 else 0)
            file.write(rng.randbytes(rng.choice((1, 64, 512))))


def _cut_journal(world: World) -> None:
    rng = random.Random(world.case.chance)  # noqa: S311 - where
    path = world.system.state / "journal.sqlite3"
    with contextlib.suppress(OSError):
        os.truncate(path, rng.randrange(max(path.stat().st_size, 1)))


def _delete_state(world: World) -> None:
    shutil.rmtree(world.system.state, ignore_errors=True)


def _plan(write: Callable[[Path], object]) -> Callable[[World], None]:
    def act(world: World) -> None:
        path = world.system.plan_path
        if path.exists():
            write(path)
            world.note_plan("damaged")

    return act


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _refuse(world: World) -> None:
    address = world.system.environ["DISCORD_WEBHOOK_URL"]
    world.system.environ["DISCORD_WEBHOOK_URL"] = re.sub(r":\d+/", f":{NOBODY_LISTENS}/", address)
    world.channel.script[:] = [close] * _MANY  # for a run that has its settings already


_TO_RUN = {
    Fault.KILL_RUN: signal.SIGKILL,
    Fault.TERM_RUN: signal.SIGTERM,
    Fault.INT_RUN: signal.SIGINT,
    Fault.STOP_RUN: signal.SIGSTOP,
}
_TO_BOT = {Fault.KILL_BOT: signal.SIGKILL, Fault.STOP_BOT: signal.SIGSTOP}
_TO_GATEWAY = {
    Fault.KILL_GATEWAY: signal.SIGKILL,
    Fault.STOP_GATEWAY: signal.SIGTERM,
    Fault.PAUSE_GATEWAY: signal.SIGSTOP,
}
_FILES = {
    Fault.BOT_RECORD: ("bot.json",),
    Fault.LOCK_FILE: ("startup.lock", "supervisor.lock"),
    Fault.GATEWAY_RECORD: ("gateway.json",),
    Fault.ATTEMPTS: ("attempts.json",),
    Fault.EMERGENCY_PLAN: ("emergency_gameplan.json",),
}
_ANSWERS = {
    Fault.WEBHOOK_HANGS: hang,
    Fault.WEBHOOK_500: answer(500),
    Fault.WEBHOOK_429: answer(429, {"Retry-After": "1000"}),
    Fault.WEBHOOK_404: answer(404),
}
_OTHERS: dict[Fault, Callable[[World], None]] = {
    Fault.CUT_NETWORK: _cut_network,
    Fault.FULL_STATE: lambda world: _fill(world.system.state),
    Fault.FULL_LOGS: lambda world: _fill(world.system.logs),
    Fault.CLOCK_FORWARD: lambda world: set_clock_ahead(world.system, _DAY_S),
    Fault.CLOCK_BACK: lambda world: set_clock_ahead(world.system, -_DAY_S),
    Fault.PLAN_GARBAGE: _plan(lambda path: path.write_bytes(b"\x00{garbage")),
    Fault.PLAN_CUT: _plan(cut_in_half),
    Fault.PLAN_GONE: _plan(lambda path: path.unlink()),
    Fault.PLAN_OTHER: lambda world: world.place_plan("other"),
    Fault.PLAN_STALE: lambda world: world.place_plan("stale"),
    Fault.PLAN_PIPE: _plan(_make_pipe),
    Fault.JOURNAL_BYTES: _overwrite_journal,
    Fault.JOURNAL_CUT: _cut_journal,
    Fault.STATE_GONE: _delete_state,
    Fault.WEBHOOK_REFUSES: _refuse,
}
