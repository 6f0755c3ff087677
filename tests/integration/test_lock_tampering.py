"""Locks that are deleted, replaced, renamed or linked while they are held: never two bots, and none that is overlooked.

`LOCK_TRIES=200 pytest tests/integration/test_lock_tampering.py -k seeded -n 2` runs that many seeded tries, in place of
a few; `LOCK_FIRST_TRY` says with which seed to begin. A try that fails is repeated by its seed.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.lock_tampering import (
    TAMPERINGS,
    is_alone_held,
    open_gateway,
    put_back,
    read_second_bots,
    use_lonely_bot,
)
from tests.integration.watch_scene import begin, told
from tests.system import PATIENCE_S, SIGKILL, SIGTERM, System, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="locks and signals of Linux"),
    pytest.mark.timeout(300),
]

_TRIES = int(os.environ.get("LOCK_TRIES", "6"))
_FIRST_TRY = int(os.environ.get("LOCK_FIRST_TRY", "1"))


def finish(process: "subprocess.Popen[str]") -> dict[str, object]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out, err
    document: dict[str, object] = json.loads(out)
    return document


@pytest.mark.parametrize("how", list(TAMPERINGS))
def test_of_two_starts_that_each_hold_a_lock_one_launches_a_bot(system: System, how: str) -> None:
    use_lonely_bot(system)
    first = system.begin()
    system.wait_for_log("step gateway.wait")
    TAMPERINGS[how](system.state / "startup.lock")
    second = system.begin()
    with contextlib.closing(open_gateway(system)):
        ended = [finish(first), finish(second)]
        assert ended[0]["failure"] == "ALREADY_STARTING"
        assert "startup.lock" in str(ended[0]["message"])
        # What is no file is not followed; otherwise the lock that the path names counts.
        assert ended[1]["failure"] == ("CONFIG_INVALID" if how == "linked" else None), ended[1]
        assert len(system.bots()) == (how != "linked")
        assert read_second_bots(system) == ""
        put_back(system)
        assert system.inv("shutdown").code == 0
        assert system.bots() == []


@pytest.mark.parametrize("how", list(TAMPERINGS))
def test_a_start_whose_lock_no_longer_counts_launches_nothing(system: System, how: str) -> None:
    use_lonely_bot(system)
    process = system.begin()
    system.wait_for_log("step gateway.wait")
    TAMPERINGS[how](system.state / "startup.lock")
    with contextlib.closing(open_gateway(system)):
        assert finish(process)["failure"] == "ALREADY_STARTING"
        assert system.bots() == []


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_gateway_is_not_restarted_under_a_lock_that_no_longer_counts(system: System, how: str) -> None:
    system.use_small_bot("--ready")
    system.environ |= {"SIMULATOR_FAULTS": "accepts_silent", "GATEWAY_HEALTH_TIMEOUT": "4"}
    process = system.begin()
    system.wait_for_log("step gateway.wait")
    gateways = len(list(system.logs.glob("gateway_*.log")))
    TAMPERINGS[how](system.state / "startup.lock")
    ended = finish(process)
    assert ended["failure"] == "ALREADY_STARTING", ended
    assert len(list(system.logs.glob("gateway_*.log"))) == gateways == 1


def test_a_gateways_lock_that_is_a_link_is_not_followed(system: System) -> None:
    system.use_small_bot("--ready")
    lock = system.root / "shared" / "gateways" / f"port-{system.port}.lock"
    lock.parent.mkdir(parents=True)
    precious = system.root / "precious"
    precious.write_text("years of work", encoding="utf-8")
    lock.symlink_to(precious)
    refused = system.startup()
    assert refused.document["failure"] == "GATEWAY_START_FAILED", refused.err
    assert str(lock) in refused.document["message"]
    assert precious.read_text(encoding="utf-8") == "years of work"
    lock.unlink()
    assert system.startup().document["bot"] is not None


@pytest.mark.parametrize("how", list(TAMPERINGS))
def test_a_supervisor_whose_lock_no_longer_counts_says_so_and_ends_with_its_bot(
    watched: System, channel: LoopbackChannel, how: str
) -> None:
    process = begin(watched)
    TAMPERINGS[how](watched.state / "supervisor.lock")
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert watched.bots() == []
    assert told(channel).count("Supervision ended: its lock is gone") == 1
    put_back(watched)
    again = begin(watched)
    assert len(watched.bots()) == 1
    assert watched.inv("shutdown").code == 0
    assert again.wait(timeout=PATIENCE_S) == 0


def test_a_supervisor_leaves_its_bot_to_the_one_that_took_its_place(watched: System) -> None:
    first = begin(watched)
    (bot,) = watched.bots()
    # A supervisor that sees its lock gone while no process holds a new one stops its bot: it must not look before that.
    first.send_signal(signal.SIGSTOP)
    TAMPERINGS["deleted"](watched.state / "supervisor.lock")
    second = begin(watched)
    assert second.poll() is None
    first.send_signal(signal.SIGUSR1)  # it is asked to restart its bot
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 1
    assert [one.pid for one in watched.bots()] == [bot.pid], "adopted by the second, and left alone by the first"
    assert watched.inv("shutdown").code == 0
    assert second.wait(timeout=PATIENCE_S) == 0
    assert watched.bots() == []


_STARTS = (
    *[("orchestration.startup", "--json")] * 4,
    ("orchestration.startup", "--json", "--replace"),
    ("orchestration.startup", "--json", "--foreground"),
)
_COMMANDS = (
    *_STARTS,
    ("invoke", "bot.start"),
    ("invoke", "bot.restart"),
    ("invoke", "bot.stop"),
    ("invoke", "shutdown"),
)
_SPAN_S = 2.0
_PAIRS, _FREEZES = 0.7, 0.5  # of all tries
_LAUNCH_S = 0.004  # from the bot's log to its process
_FROZEN_S = 3.0
_LONGEST_S = 15.0


def _list_bot_logs(system: System) -> list[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(system.logs) as entries:
        return [entry.name for entry in entries if entry.name.startswith("bot_")]
    return []


class Try:
    """One seeded try: commands that overlap, while their locks, they themselves and the bot are interfered with."""

    def __init__(self, system: System, seed: int) -> None:
        self._system = system
        self._choice = random.Random(seed)  # noqa: S311 - a test's order of events, which a seed repeats
        self._processes: list[subprocess.Popen[str]] = []
        self.story: list[str] = []

    def run(self) -> None:
        choice = self._choice
        with contextlib.ExitStack() as self._gateway:
            self._tell("begin", self._begin())
            if choice.random() < _PAIRS:
                self._pair()
            events: list[tuple[float, str, Callable[[], str]]] = []
            if choice.random() < _FREEZES:
                self._freeze_at_launch()
            else:
                events.append((choice.uniform(0, _SPAN_S), "gateway", self._open))
            events += [(choice.uniform(0, _SPAN_S), "begin", self._begin) for _ in range(choice.randint(0, 2))]
            events += [(choice.uniform(0, _SPAN_S), "tamper", self._tamper) for _ in range(choice.randint(0, 2))]
            events += [(choice.uniform(0, _SPAN_S), "signal", self._interfere) for _ in range(choice.randint(0, 2))]
            begun_s = time.monotonic()
            for at_s, name, act in sorted(events, key=lambda event: event[0]):
                time.sleep(max(0.0, begun_s + at_s - time.monotonic()))  # the instants are what is drawn by lot
                self._tell(f"{at_s:.3f} {name}", act())
            self._end()

    def _pair(self) -> None:
        """Two starts that wait for the gateway at the same time, each with a lock of its own."""
        self._wait_for_waiting(1)
        self._tell("tamper", self._tamper("startup.lock"))
        put_back(self._system)
        self._tell("begin", self._begin())
        self._wait_for_waiting(2)

    def _freeze_at_launch(self) -> None:
        """Stop everybody in the midst of the first launch, take the lock away, and let another one come."""
        system = self._system
        logs = set(_list_bot_logs(system))
        self._tell("gateway", self._open())
        delay_s = self._choice.uniform(0, _LAUNCH_S)
        deadline_s = time.monotonic() + _LONGEST_S
        while set(_list_bot_logs(system)) == logs:  # without a pause: what follows takes a millisecond or two
            if time.monotonic() > deadline_s or all(process.poll() is not None for process in self._processes):
                return
        time.sleep(delay_s)
        frozen = [process for process in self._processes if process.poll() is None]
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        self._tell("freeze", f"{[process.pid for process in frozen]} after {1000 * delay_s:.2f} ms")
        self._tell("tamper", self._tamper("startup.lock"))
        put_back(system)
        self._tell("begin", self._begin())
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._processes[-1].wait(timeout=_FROZEN_S)
        for process in frozen:
            process.send_signal(signal.SIGCONT)

    def _wait_for_waiting(self, count: int) -> None:
        wait_until(
            lambda: (
                self._system.startup_log().count("step gateway.wait (") >= count
                or any(process.poll() is not None for process in self._processes)
            ),
            "wait for the gateway",
        )

    def _tell(self, name: str, what: str) -> None:
        self.story.append(f"{name}: {what}")

    def _open(self) -> str:
        self._gateway.enter_context(contextlib.closing(open_gateway(self._system)))
        return "up"

    def _begin(self) -> str:
        module, *arguments = self._choice.choice(_COMMANDS if len(self._processes) > 1 else _STARTS)
        process = self._system.begin_module(module, *arguments)
        self._processes.append(process)
        return f"{process.pid} {' '.join((module, *arguments))}"

    def _tamper(self, name: str = "") -> str:
        name = name or self._choice.choice(["startup.lock"] * 3 + ["supervisor.lock"])
        how = self._choice.choice(list(TAMPERINGS))
        put_back(self._system)
        with contextlib.suppress(OSError):  # there is none yet, or a command has just made a new one
            TAMPERINGS[how](self._system.state / name)
        return f"{name} {how}"

    def _interfere(self) -> str:
        what = self._choice.choice(["kill", "end", "stop", "kill bot"])
        process = self._choice.choice(self._processes)
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if what == "kill bot":
                for bot in self._system.bots():
                    bot.kill()
            elif process.poll() is None:
                process.send_signal({"kill": SIGKILL, "end": SIGTERM, "stop": signal.SIGSTOP}[what])
        return f"{what} {process.pid}"

    def _end(self) -> None:
        """Let everything go on, and end what would stay."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        deadline_s = time.monotonic() + PATIENCE_S
        for process in self._processes:
            if "--foreground" in process.args:  # type: ignore[operator]  # a list of words, as it was given
                wait_until(lambda process=process: process.poll() is not None or self._watches(), "watch")  # type: ignore[misc]
                if process.poll() is None:
                    process.send_signal(SIGTERM)
            process.communicate(timeout=max(1.0, deadline_s - time.monotonic()))

    def _watches(self) -> bool:
        return any(self._system.logs.glob("supervisor_*.log"))


@pytest.mark.parametrize("seed", range(_FIRST_TRY, _FIRST_TRY + _TRIES))
def test_in_seeded_tries_there_are_never_two_bots_nor_one_that_is_not_found(system: System, seed: int) -> None:
    use_lonely_bot(system)
    system.environ["BOT_STOP_TIMEOUT"] = "5"
    one = Try(system, seed)
    try:
        one.run()
        assert read_second_bots(system) == ""
        put_back(system)
        running = is_alone_held(system)
        seen = system.inv("status", "--json").document["bot"]["running"]
        assert seen is running
        down = system.inv("shutdown")
        assert down.code == 0, down.err
        assert not is_alone_held(system)
    except BaseException:
        print("\n".join(one.story))  # noqa: T201 - how to understand a try that failed
        raise
