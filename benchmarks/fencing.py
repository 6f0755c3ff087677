"""How late the fence kills: from the deadline to the end of the bot, while everything else is against it.

The supervisor is stopped (SIGSTOP), every processor computes with more processes than there are processors, the disk
is written to without a pause and every page that is not locked has been dropped from memory.
"""

import contextlib
import dataclasses
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import SceneResult, Series, claim_at_most
from benchmarks.place import Place
from orchestration.settings import PROJECT_DIR

_MOST_S = 0.5
_AHEAD_S = 3.0
_AT_ONCE = 2  # computing processes for each processor
# What an ordinary user may outside a service: neither priority nor, under the usual limit of 8 MB, locked memory.
_NO_RIGHTS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+dac_override,+dac_read_search")
_SUPERVISOR = """
import os, subprocess, sys, time
from orchestration.supervision.fence import Fence
from orchestration.system.clock import read_boottime_s
from orchestration.system.processes import read_identity
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
deadline_s = read_boottime_s() + float(sys.argv[1])
fence = Fence.start(deadline_s, marker="measured", environ=os.environ, on_change=lambda: None)
bot = subprocess.Popen(sleep, start_new_session=True)
worker = subprocess.Popen(sleep, start_new_session=True, env={"BOT_RECORD": "measured"})
fence.watch([read_identity(bot.pid)])
print(deadline_s, bot.pid, worker.pid, fence.pid, flush=True)
os.kill(os.getpid(), 19)
"""


def measure_fence(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """Measure it as root, who may have real-time priority, and as a user who may not."""
    series = []
    with _be_punctual():
        for user, switch in (("root", ()), ("without capabilities", _NO_RIGHTS)):
            for load in ("idle", "processors and disk busy"):
                told, unheard = [], []
                for _ in range(runs):
                    with _busy(place.root) if load != "idle" else contextlib.nullcontext():
                        both = _measure_once(switch)
                    told.append(both[0])
                    unheard.append(both[1])
                series.append(Series(label=f"{user}, {load}: the bot", unit="s", samples=tuple(told)))
                series.append(Series(label=f"{user}, {load}: one it was not told of", unit="s", samples=tuple(unheard)))
    claims = tuple(claim_at_most(f"worst, {one.label}", one.most, _MOST_S, "s") for one in series)
    return dataclasses.replace(result, series=tuple(series), claims=claims)


def explain_no_fence() -> str:
    """Why it cannot be measured here, or an empty string."""
    return "" if sys.platform == "linux" and os.geteuid() == 0 else "it takes root on Linux to drop the page cache"


def _measure_once(switch: tuple[str, ...]) -> tuple[float, float]:
    environ = {**os.environ, "PYTHONPATH": str(PROJECT_DIR), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [*switch, sys.executable, "-c", _SUPERVISOR, str(_AHEAD_S)]
    with subprocess.Popen(argv, env=environ, cwd="/", stdout=subprocess.PIPE, text=True) as supervisor:
        try:
            if supervisor.stdout is None:
                raise AssertionError("it has a pipe")
            deadline, *pids = supervisor.stdout.readline().split()
            bot, worker = (os.pidfd_open(int(pid)) for pid in pids[:2])
            Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
            waiting = select.poll()
            late: dict[int, float] = {}
            for descriptor in (bot, worker):
                waiting.register(descriptor, select.POLLIN)
            while len(late) < 2:
                for descriptor, _ in waiting.poll():
                    late[descriptor] = time.clock_gettime(time.CLOCK_BOOTTIME) - float(deadline)
                    waiting.unregister(descriptor)
            os.close(bot)
            os.close(worker)
            return late[bot], late[worker]
        finally:
            supervisor.kill()


@contextlib.contextmanager
def _be_punctual() -> Iterator[None]:
    """What measures must not wait for a processor itself; what it starts has no such right."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(50))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def _busy(folder: Path) -> Iterator[None]:
    """Every processor and the disk, until the end of the block."""
    compute = [sys.executable, "-S", "-c", "while True: pass"]
    dd = f"dd if=/dev/zero of='{folder}/written' bs=1M count=64 conv=fsync"
    write = ["sh", "-c", f"while :; do {dd}; done 2>/dev/null"]
    begun = [subprocess.Popen(compute) for _ in range(_AT_ONCE * (os.cpu_count() or 1))]
    begun += [subprocess.Popen(write, start_new_session=True)]
    try:
        yield
    finally:
        os.killpg(begun[-1].pid, 9)
        for one in begun:
            one.kill()
            one.wait()
