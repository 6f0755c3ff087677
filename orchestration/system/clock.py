"""The clock's door: what time it is, how much time has passed, and waiting.

Durations and deadlines use the monotonic clock, which no time synchronisation can move. The wall clock is for dates
and for display.
"""

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from orchestration.system.platform import platform

_T = TypeVar("_T")


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


def read_boottime_s() -> float:
    """Seconds since the machine was booted, those in which it was suspended included; never set, never goes back.

    Elsewhere than on Linux it is the monotonic clock.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def wait_until(look: Callable[[], _T], *, timeout_s: float, every_s: float, clock: Clock) -> _T:
    """Look until what is found is true, or the time is over. Always looks at least once, and once at the very end.

    Args:
        look: One look. What it raises ends the wait.
        timeout_s: Seconds to go on looking; 0 or less for one look.
        every_s: Seconds between two looks.
        clock: Time.

    Returns:
        What the last look found; not true if the time is over.
    """
    deadline_s = clock.monotonic_s() + timeout_s
    while not (found := look()) and (left_s := deadline_s - clock.monotonic_s()) > 0:
        clock.sleep(min(every_s, left_s))
    return found


def describe_instant(instant: datetime) -> str:
    """An aware instant as people read it: in the host's own time zone, which is named."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def format_duration(duration_s: float | None) -> str:
    """Seconds for people: `42 s`, `5 min 3 s`, `3 h 12 min`, `2 d 4 h`."""
    if duration_s is None:
        return "an unknown time"
    minute, hour, day = 60, 3600, 86400
    seconds = int(duration_s)
    if seconds < minute:
        return f"{seconds} s"
    if seconds < hour:
        return f"{seconds // minute} min {seconds % minute} s"
    if seconds < day:
        return f"{seconds // hour} h {seconds % hour // minute} min"
    return f"{seconds // day} d {seconds % day // hour} h"


def describe_written_instant(text: str) -> str:
    """An instant that was written down in ISO 8601, in the host's own time zone; a text that is none as it is."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat(timespec="seconds")
    except ValueError:
        return text


def describe_time_of_day(instant: datetime) -> str:
    """The same for an instant of today: without the date."""
    return f"{instant.astimezone():%H:%M:%S %Z}"


class SystemClock:
    """The real one."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return platform().now()

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`."""
        return platform().monotonic_s()

    def sleep(self, duration_s: float) -> None:
        """See `Clock.sleep`."""
        platform().sleep(duration_s)

    def wait(self, signal: threading.Event, timeout_s: float) -> bool:
        """See `Clock.wait`."""
        return platform().wait(signal, max(0.0, timeout_s))


@functools.cache
def ensure_local_time() -> str | None:
    """Make sure that local times can be shown at all: with a `TZ` out of range they are shown in UTC from now on.

    POSIX allows an offset of up to 167 hours in `TZ`, and C libraries take more; Python takes less than 24, and raises
    wherever a local time is asked for.

    Returns:
        What is wrong with `TZ`, as a problem of the configuration; None if nothing is.
    """
    try:
        for month in (1, 7):  # with and without daylight-saving time
            datetime(2026, month, 1, tzinfo=UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        text = os.environ.get("TZ", "")
        os.environ["TZ"] = "UTC"
        if hasattr(time, "tzset"):
            time.tzset()
        return (
            f"TZ: {text!r} is no usable time zone (an offset must be less than 24 hours); unset it, or set it to one "
            "of the tz database, for example `America/New_York`; until then local times are given in UTC"
        )
    return None
