"""A clock that moves only when it is waited on, or when the test moves it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# A Wednesday, 09:00 in New York: markets are about to open.
WEDNESDAY_MORNING = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)


class FakeClock:
    """`orchestration.system.clock.Clock`, in simulated time."""

    def __init__(self, now: datetime = WEDNESDAY_MORNING) -> None:
        self._now = now
        self._monotonic_s = 1000.0
        self._planned: list[tuple[float, Callable[[], None]]] = []
        self.waits_s: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def sleep(self, duration_s: float) -> None:
        self.waits_s.append(duration_s)
        self._advance_to(self._monotonic_s + max(0.0, duration_s))

    def wait(self, signal: threading.Event, timeout_s: float) -> bool:
        """Advance to the next planned happening that sets the signal, or to the end of the time-out."""
        self.waits_s.append(timeout_s)
        end_s = self._monotonic_s + max(0.0, timeout_s)
        while not signal.is_set():
            due = [at_s for at_s, _ in self._planned if at_s <= end_s]
            if not due:
                self._advance_to(end_s)
                break
            self._advance_to(min(due))
        return signal.is_set()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a time synchronisation does; monotonic time stays."""
        self._now += timedelta(seconds=seconds)

    def plan(self, after_s: float, happening: Callable[[], None]) -> None:
        """Let something happen when the clock gets there."""
        self._planned.append((self._monotonic_s + after_s, happening))

    def _advance_to(self, target_s: float) -> None:
        # A happening may plan another one: look again after each.
        while due := [planned for planned in self._planned if planned[0] <= target_s]:
            first = min(due, key=lambda planned: planned[0])
            self._planned.remove(first)
            self._move(first[0])
            first[1]()
        self._move(target_s)

    def _move(self, target_s: float) -> None:
        passed_s = max(0.0, target_s - self._monotonic_s)
        self._monotonic_s += passed_s
        self._now += timedelta(seconds=passed_s)
