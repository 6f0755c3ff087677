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
        suspended_s: How long the host has been suspended in all: by so much CLOCK_BOOTTIME is ahead of `now_s`.
        random: Where every decision of chance comes from.
        on_say: Told who says what in the trace.
    """

    def __init__(self, begin: datetime, *, seed: int, trace: Trace) -> None:
        self.now_s = 0.0
        self.wall_s = self.true_s = begin.timestamp()
        self.random = random.Random(seed)  # noqa: S311 - a simulation has to repeat itself
        self.trace = trace
        self.on_say: list[Callable[[str, str], None]] = []
        self.suspended_s = 0.0
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._outside: set[int] = set()
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

    def after(self, delay_s: float, happening: Callable[[], None], *, is_outside: bool = False) -> None:
        """Let something happen in so many seconds, of the host's monotonic clock or, outside the host, of all time."""
        self._count += 1
        if is_outside:
            self._outside.add(self._count)
        heapq.heappush(self._planned, (self.now_s + max(0.0, delay_s), self._count, happening))

    def at_market_time(self, day: date, clock: time, happening: Callable[[], None]) -> None:
        """Let something happen at a time of the exchange; not at all where that is past."""
        delay_s = (datetime.combine(day, clock, MARKET) - self.now).total_seconds()
        if delay_s > 0:
            self.after(delay_s, happening, is_outside=True)

    def suspend(self, duration_s: float) -> None:
        """Let time pass outside while the host stands still: for it, what was planned out there comes earlier."""
        self.suspended_s += duration_s
        self.wall_s += duration_s
        self.true_s += duration_s
        self._planned = [
            (max(self.now_s, at_s - duration_s) if count in self._outside else at_s, count, happening)
            for at_s, count, happening in self._planned
        ]
        heapq.heapify(self._planned)

    @property
    def next_s(self) -> float:
        """When the next thing happens."""
        return self._planned[0][0] if self._planned else float("inf")

    def run_due(self) -> None:
        """Let happen what is due."""
        while self._planned and self._planned[0][0] <= self.now_s:
            _, count, happening = heapq.heappop(self._planned)
            self._outside.discard(count)
            happening()

    def say(self, who: str, what: str) -> None:
        """Write a line of the trace."""
        shown = (datetime.fromtimestamp(self.true_s, UTC) + timedelta(seconds=self.now_s)).astimezone(MARKET)
        self.trace.write(f"{self.now_s:.3f} {shown:%Y-%m-%d %a %H:%M:%S} {who}: {what}")
        for told in self.on_say:
            told(who, what)
