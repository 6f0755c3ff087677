"""Virtual time: what happens when, and the trace of what happened."""

import heapq
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

MARKET = ZoneInfo("America/New_York")
DAY_S = 86400.0


class Trace:
    """What happened, a line each: virtual seconds, the host's wall clock, who, what. Equal seeds give equal bytes."""

    def __init__(self, path: Path | None = None) -> None:
        self._file: TextIO | None = path.open("w", encoding="utf-8", buffering=1) if path is not None else None
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)
        if self._file is not None:
            self._file.write(line + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Clockwork:
    """Virtual time, in which nothing happens but what was planned.

    Attributes:
        now_s: Seconds since the simulation began; the monotonic clock of the host.
        wall_s: What the host's wall clock shows, in seconds since the epoch, less `now_s`.
        true_s: The same of a clock that is right.
        random: Where every decision of chance comes from.
        on_say: Told who says what in the trace.
    """

    def __init__(self, begin: datetime, *, seed: int, trace: Trace) -> None:
        self.now_s = 0.0
        self.wall_s = self.true_s = begin.timestamp()
        self.random = random.Random(seed)  # noqa: S311 - a simulation has to repeat itself
        self.trace = trace
        self.on_say: list[Callable[[str, str], None]] = []
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def now(self) -> datetime:
        """The true time."""
        return datetime.fromtimestamp(self.true_s + self.now_s, UTC)

    @property
    def host_now(self) -> datetime:
        """What the host's wall clock shows."""
        return datetime.fromtimestamp(self.wall_s + self.now_s, UTC)

    @property
    def market_now(self) -> datetime:
        """The true time where the exchange is."""
        return self.now.astimezone(MARKET)

    def after(self, delay_s: float, happening: Callable[[], None]) -> None:
        """Let something happen in so many seconds."""
        self._count += 1
        heapq.heappush(self._planned, (self.now_s + max(0.0, delay_s), self._count, happening))

    def at_market_time(self, day: date, clock: time, happening: Callable[[], None]) -> None:
        """Let something happen at a time of the exchange; not at all where that is past."""
        delay_s = (datetime.combine(day, clock, MARKET) - self.now).total_seconds()
        if delay_s > 0:
            self.after(delay_s, happening)

    @property
    def next_s(self) -> float:
        """When the next thing happens."""
        return self._planned[0][0] if self._planned else float("inf")

    def run_due(self) -> None:
        """Let happen what is due."""
        while self._planned and self._planned[0][0] <= self.now_s:
            heapq.heappop(self._planned)[2]()

    def say(self, who: str, what: str) -> None:
        """Write a line of the trace."""
        shown = (datetime.fromtimestamp(self.true_s, UTC) + timedelta(seconds=self.now_s)).astimezone(MARKET)
        self.trace.write(f"{self.now_s:.3f} {shown:%Y-%m-%d %a %H:%M:%S} {who}: {what}")
        for told in self.on_say:
            told(who, what)
