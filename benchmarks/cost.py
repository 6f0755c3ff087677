"""What it costs: processor and memory while it waits, and disk once it is installed."""

import dataclasses
import re
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import SceneResult, Series, claim_at_most
from benchmarks.place import PROJECT, Place, SceneFailedError, inv

if TYPE_CHECKING:
    import psutil

_LOGIN_S = 40.0
_SETTLED_AFTER_S = 5.0
_INTERVAL_S = 2.5
_MOST_INTERVALS = 10  # all of them lie within the login


def measure_waiting(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """A long login: what the orchestrator uses while nothing happens."""
    argv = inv("startup")
    if "GATEWAY_RUNTIME" not in place.environ:
        place.start_container(faults=f"slow_login={_LOGIN_S:g}")
        return _watch(place, argv, runs, result)
    with place.simulator(fault=f"slow_login={_LOGIN_S:g}"):
        return _watch(place, argv, runs, result)


def _watch(place: Place, argv: tuple[str, ...], runs: int, result: SceneResult) -> SceneResult:
    import psutil

    process = place.begin(argv)
    watched = psutil.Process(process.pid)
    time.sleep(_SETTLED_AFTER_S)
    own, commands, memory = [], [], []
    for _ in range(min(runs, _MOST_INTERVALS)):
        before, begun_s = read_used(watched), time.perf_counter()
        time.sleep(_INTERVAL_S)
        after, took_s = read_used(watched), time.perf_counter() - begun_s
        if process.poll() is not None:
            raise SceneFailedError("it ended while it should have waited")
        own.append(100 * (after[0] - before[0]) / took_s)
        commands.append(100 * (after[1] - before[1]) / took_s)
        memory.append(sum(child.memory_info().rss for child in watched.children(recursive=True)) / 1e6)
    place.forget_launch()
    peak_mb = _read_peak_mb(watched)
    # To the end: what the last steps need counts too.
    while process.poll() is None:
        peak_mb = _read_peak_mb(watched, peak_mb)
        time.sleep(0.01)
    place.end_of(process, argv)
    series: tuple[Series, ...] = (
        Series(label="processor: the orchestrator itself, of one core", unit="%", samples=tuple(own)),
        Series(label="processor: the docker commands that it follows, of one core", unit="%", samples=tuple(commands)),
        Series(label="memory: the orchestrator, its peak over the whole run", unit="MB", samples=(peak_mb,)),
        Series(label="memory: the docker commands (shared pages counted in each)", unit="MB", samples=tuple(memory)),
    )
    mean = sum(own) / len(own)
    claims = (
        claim_at_most("mean processor use", mean, 2, "%"),
        claim_at_most("peak memory", peak_mb, 80, "MB"),
    )
    follows = any(memory)
    of_commands = f", of the docker commands {sum(commands) / len(commands):.2f} %" if follows else ""
    notes = (
        f"mean processor use {mean:.2f} %{of_commands}",
        f"windows of {_INTERVAL_S:g} s in a login of {_LOGIN_S:g} s; the kernel counts in hundredths of a second",
    )
    if not follows:
        series = (series[0], series[2])
    return dataclasses.replace(result, series=series, claims=claims, notes=notes)


def measure_size(_: Place, __: int, result: SceneResult) -> SceneResult:
    """What an installation takes: the package, and the distributions that it needs."""
    package = [path for path in (PROJECT / "orchestration").rglob("*") if path.suffix in {".py", ".json", ".typed"}]
    requirements = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", requirements, re.MULTILINE)
    sizes = {}
    for name in pinned:
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            continue  # for other systems or other versions of Python
        sizes[name] = sum(
            Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).exists()
        )
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    series = (
        Series(label="the package itself", unit="MB", samples=(sum(path.stat().st_size for path in package) / 1e6,)),
        Series(label="its modules", unit="", samples=(float(sum(path.suffix == ".py" for path in package)),)),
        Series(label="distributions it needs, installed here", unit="", samples=(float(len(sizes)),)),
        Series(label="their size, byte code included", unit="MB", samples=(sum(sizes.values()) / 1e6,)),
    )
    note = "the largest: " + ", ".join(f"{name} {sizes[name] / 1e6:.0f} MB" for name in largest)
    return dataclasses.replace(result, series=series, notes=(note,))


def read_used(process: "psutil.Process") -> tuple[float, float]:
    """Processor seconds used so far: by itself, and by all it started (ended ones included)."""
    import psutil

    times = process.cpu_times()
    started = times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            used = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        started += used.user + used.system
    return times.user + times.system, started


def _read_peak_mb(process: "psutil.Process", known_mb: float = 0.0) -> float:
    """The most memory that it has held (VmHWM); what was known, once it is gone."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return known_mb
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return max(known_mb, int(found[1]) * 1024 / 1e6) if found else known_mb
