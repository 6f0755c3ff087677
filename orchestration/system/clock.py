"""The clock's door: what time it is, how much time has passed, and waiting.

Durations and deadlines use the monotonic clock, which no time synchronisation can move. The wall clock is for dates
and for what a person reads.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some fixed instant; never goes back, never jumps."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Return after `duration_s` seconds."""
        ...

    def wait(self, signal: threading.Event, timeout_s: float) -> bool:
        """Return True as soon as `signal` is set, or False after `timeout_s` seconds."""
        ...


class SystemClock:
    """The real one."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """See `Clock.sleep`."""
        time.sleep(max(0.0, duration_s))

    def wait(self, signal: threading.Event, timeout_s: float) -> bool:
        """See `Clock.wait`."""
        return signal.wait(max(0.0, timeout_s))
