"""One simulated stretch of time: a seed goes in, a trace and the breaches come out. And a failing one made small."""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.years.clockwork import DAY_S, Trace
from tests.years.oracles import Breach, Oracles
from tests.years.scenario import Happening, draw_faults, play
from tests.years.world import World, build_world

BEGIN = datetime(2026, 11, 18, 13, 0, tzinfo=UTC)  # a Wednesday, 08:00 in New York


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        faults: What happened.
        breaches: What must not have been.
        trace: The trace's lines.
        days: How much time passed.
        cpu_s: Seconds it took, of this process and its children.
        titles: How often each alert was taken.
        day_cpu_s: Of `cpu_s`, what each whole day took.
    """

    faults: tuple[Happening, ...]
    breaches: tuple[Breach, ...]
    trace: tuple[str, ...]
    days: float
    cpu_s: float
    titles: Mapping[str, int]
    day_cpu_s: tuple[float, ...] = ()


@dataclass
class DayCosts:
    """What each day of a world takes, in seconds of processor time, of this process and all its children.

    Attributes:
        world: The world.
        at_ends: What had been taken at the end of each day.
    """

    world: World
    at_ends: list[float] = field(default_factory=list)

    def note(self) -> None:
        """To be called at each step of the world."""
        while self.world.clockwork.now_s >= len(self.at_ends) * DAY_S:
            living = (psutil.Process(program.child).cpu_times() for program in self.world.programs)
            self.at_ends.append(sum(os.times()[:4]) + sum(one.user + one.system for one in living))

    def list_days(self) -> tuple[float, ...]:
        """Of each whole day."""
        return tuple(after - before for before, after in itertools.pairwise(self.at_ends))


def simulate(
    seed: int,
    *,
    days: float,
    faults: Sequence[Happening] | None = None,
    every_days: float = 1.5,
    interval_s: float = 60.0,
    settings: Mapping[str, str] | None = None,
    trace_path: Path | None = None,
    begin: datetime = BEGIN,
    prepare: Callable[[World], None] = lambda _world: None,
) -> Outcome:
    """Simulate some days.

    Args:
        seed: Where all chance comes from.
        days: How many.
        faults: What goes wrong; drawn from the seed by default.
        every_days: How often something does, on average.
        interval_s: `MONITOR_INTERVAL`.
        settings: Further variables.
        trace_path: Where the trace is written as it comes.
        begin: When the simulation begins.
        prepare: Changes the world before it begins.
    """
    drawn = tuple(draw_faults(seed, days=days, every_days=every_days) if faults is None else faults)
    began_s = sum(os.times()[:4])
    trace = Trace(trace_path)
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a file system without a disk
    with tempfile.TemporaryDirectory(prefix="years-", dir=folder) as root:
        variables = {"MONITOR_INTERVAL": f"{interval_s:g}", **(settings or {})}
        world = build_world(Path(root) / "w", seed=seed, begin=begin, trace=trace, settings=variables)
        chance = world.clockwork.random
        world.gateway.phone_s = lambda: round(chance.uniform(4.0, 60.0), 1)
        oracles = Oracles(world, drawn, interval_s=interval_s)
        costs = DayCosts(world)
        world.on_step.append(costs.note)
        prepare(world)
        try:
            play(world, drawn, days=days)
            world.run(days * DAY_S)
            oracles.judge_end()
        finally:
            world.close()
            trace.close()
    titles: dict[str, int] = {}
    for alert in world.alerts:
        titles[alert.title] = titles.get(alert.title, 0) + 1
    return Outcome(
        faults=drawn,
        breaches=tuple(oracles.breaches),
        trace=tuple(trace.lines),
        days=days,
        cpu_s=sum(os.times()[:4]) - began_s,
        titles=titles,
        day_cpu_s=costs.list_days(),
    )


def shrink(
    faults: Sequence[Happening], fails: Callable[[Sequence[Happening]], bool], *, until_s: float | None = None
) -> tuple[Happening, ...]:
    """Leave out faults for as long as it still fails: halves first, then one after the other.

    Args:
        faults: A scenario that fails.
        fails: Whether a scenario does.
        until_s: When to stop trying, in seconds of `time.monotonic`.
    """
    left = list(faults)
    size = max(1, len(left) // 2)
    while size >= 1:
        at = 0
        while at < len(left):
            if until_s is not None and time.monotonic() > until_s:
                return tuple(left)
            tried = left[:at] + left[at + size :]
            if fails(tried):
                left = tried
            else:
                at += size
        size //= 2
    return tuple(left)
