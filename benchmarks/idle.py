"""What a supervisor costs while nothing happens, beside supervisord, which then only waits for its process to end."""

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cost import read_used
from benchmarks.deaths import begin_supervisor, end_supervisor, supervise
from benchmarks.figures import SceneResult, Series, claim_at_most
from benchmarks.place import Place, SceneFailedError, explain_no_engine, inv, wait_for

if TYPE_CHECKING:
    import psutil

_WINDOW_S, _QUICK_WINDOW_S = 300.0, 20.0
_SETTLED_AFTER_S, _QUICK_SETTLED_AFTER_S = 30.0, 5.0
_LOOK_S = 5.0
_HOUR_S = 3600.0
_SUPERVISORD = "supervisor>=4.3,<5"
_CONFIGURATION = """\
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid

[program:bot]
command = '{python}' '{bot}'
"""


@dataclass
class _Watched:
    """One idle program, and what it used.

    Attributes:
        name: Whose figures these are.
        process: It.
        resident_mb: Its resident memory, at each look.
        proportional_mb: The same with shared pages divided among those who share them.
        of_commands_mb: The proportional memory of the commands that it follows, at each look.
        before: Processor seconds when the window began: its own, and its commands'.
        used: The same, within the window.
    """

    name: str
    process: "psutil.Process"
    resident_mb: list[float] = field(default_factory=list)
    proportional_mb: list[float] = field(default_factory=list)
    of_commands_mb: list[float] = field(default_factory=list)
    before: tuple[float, float] = (0.0, 0.0)
    used: tuple[float, float] = (0.0, 0.0)

    def look(self) -> None:
        """Note its memory now; bot and built-in gateway, its children too, are not counted."""
        self.resident_mb.append(self.process.memory_info().rss / 1e6)
        self.proportional_mb.append(read_proportional_mb(self.process.pid))
        followed = [child for child in self.process.children(recursive=True) if child.name() == "docker"]
        self.of_commands_mb.append(sum(read_proportional_mb(child.pid) for child in followed))

    def end_window(self, took_s: float) -> None:
        """Scale what the processor did to an hour."""
        after = read_used(self.process)
        self.used = (
            (after[0] - self.before[0]) * _HOUR_S / took_s,
            (after[1] - self.before[1]) * _HOUR_S / took_s,
        )


def measure_idle(place: Place, _: int, result: SceneResult) -> SceneResult:
    """All of them at once, over the same minutes: idle, they are not in each other's way."""
    window_s = _QUICK_WINDOW_S if place.is_quick else _WINDOW_S
    reason = explain_no_engine()
    least = f"{0.01 * _HOUR_S / window_s:.1f} s/h"
    notes = [f"{window_s:g} s measured, scaled to an hour; the kernel's hundredth of a second is then {least}"]
    with contextlib.ExitStack() as stack:
        watched = [stack.enter_context(_supervisor(place, "simulator", "built-in gateway"))]
        if reason:
            notes.append(f"no supervisor of a container: {reason}")
        else:
            other = Place.build(place.root / "container", is_quick=place.is_quick)
            stack.callback(other.remove_container)
            watched.append(stack.enter_context(_supervisor(other, "docker", "gateway in a container")))
        theirs = stack.enter_context(_supervisord(place))
        notes.append(theirs[1])
        watched += [] if theirs[0] is None else [theirs[0]]
        time.sleep(_QUICK_SETTLED_AFTER_S if place.is_quick else _SETTLED_AFTER_S)
        _watch(watched, window_s)
    series: list[Series] = []
    for one in watched:
        series += _render(one)
    claims = tuple(
        claim_at_most(f"resident memory of {one.name}", max(one.resident_mb), 80, "MB")
        for one in watched
        if one.name.startswith("our")
    )
    return dataclasses.replace(result, series=tuple(series), claims=claims, notes=tuple(notes))


def _watch(watched: list[_Watched], window_s: float) -> None:
    begun_s = time.perf_counter()
    for one in watched:
        one.before = read_used(one.process)
    while time.perf_counter() < begun_s + window_s:
        for one in watched:
            one.look()
        time.sleep(_LOOK_S)
    for one in watched:
        one.end_window(time.perf_counter() - begun_s)


def _render(one: _Watched) -> tuple[Series, ...]:
    series = (
        Series(label=f"memory: {one.name}, resident", unit="MB", samples=tuple(one.resident_mb)),
        Series(label=f"memory: {one.name}, proportional", unit="MB", samples=tuple(one.proportional_mb)),
        Series(label=f"processor: {one.name}, in an hour", unit="s/h", samples=(one.used[0],)),
        Series(
            label=f"memory: the docker commands of {one.name}, proportional",
            unit="MB",
            samples=tuple(one.of_commands_mb),
        ),
        Series(label=f"processor: the docker commands of {one.name}, in an hour", unit="s/h", samples=(one.used[1],)),
    )
    return series if any(one.of_commands_mb) else series[:3]


@contextlib.contextmanager
def _supervisor(place: Place, runtime: str, about: str) -> Iterator[_Watched]:
    import psutil

    place.environ["GATEWAY_RUNTIME"] = runtime
    supervise(place)
    # The reference bot: one that holds no connection to the gateway would be an incident.
    for name in ("BOT_COMMAND", "BOT_WORKDIR"):
        place.environ.pop(name)
    process = begin_supervisor(place, "--service")
    try:
        yield _Watched(f"our supervisor, {about}", psutil.Process(process.pid))
    finally:
        end_supervisor(place, process)
        place.run(inv("shutdown"), codes=(0, 1))


@contextlib.contextmanager
def _supervisord(place: Place) -> Iterator[tuple[_Watched | None, str]]:
    """Supervisord from a virtual environment of its own, and its version; None and why, where it cannot be had."""
    import psutil

    folder = place.root / "supervisord"
    python = folder / "bin" / "python"
    for argv in (
        (sys.executable, "-m", "venv", str(folder)),
        (str(python), "-m", "pip", "install", "--quiet", _SUPERVISORD),
    ):
        # With the whole environment: how packages are fetched here is the machine's matter.
        ended = subprocess.run(argv, check=False, capture_output=True, text=True, env=dict(os.environ))
        if ended.returncode:
            said = ((ended.stderr or ended.stdout).strip().splitlines() or ["no word"])[-1]
            yield None, f"supervisord could not be installed, so it is not measured: {said}"
            return
    bot = place.root / "bot.py"
    stamp = folder / "launched_at"
    configuration = folder / "supervisord.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, python=sys.executable, bot=bot), encoding="utf-8")
    program = (str(folder / "bin" / "supervisord"), "--configuration", str(configuration))
    process = place.begin(program, environ={"BENCHMARK_STAMP": str(stamp)})
    try:
        wait_for("supervisord's process", stamp.exists)
        version = subprocess.run([program[0], "--version"], check=True, capture_output=True, text=True).stdout.strip()
        about = f"supervisord {version} of PyPI, without its HTTP server, watching one process"
        yield _Watched("supervisord", psutil.Process(process.pid)), about
    finally:
        process.terminate()
        place.end_of(process, program)


def read_proportional_mb(pid: int) -> float:
    """The memory of a process, pages that it shares with others divided among them; 0.0 once it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0  # a short command that has ended
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    if found is None:
        raise SceneFailedError("this kernel does not tell the proportional memory of a process")
    return int(found[1]) * 1024 / 1e6
