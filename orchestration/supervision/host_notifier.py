"""What the host's service manager is told: READY, STATUS, more time, and that we are alive (sd_notify)."""

import threading
from collections.abc import Mapping

from orchestration.bot.notifier import Notifier, read_watchdog_interval_s
from orchestration.startup.context import Display, Step
from orchestration.startup.report import Report, StepReport
from orchestration.system.clock import Clock
from orchestration.system.platform import StartedThread, platform

_MORE_TIME_S = 60.0  # asked for again and again while something goes on: each look at it gives a minute more
_MICROSECONDS = 1_000_000
_PATIENCE_S = 1.0


class HostNotifier:
    """Speaks to systemd, where it listens; elsewhere it says nothing.

    The watchdog is fed from a thread, but only as long as the main thread has shown a sign of life (`is_alive`) lately:
    a thread that feeds it for ever would hide a main thread that hangs.

    Args:
        environ: The process's environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`.
        clock: Tells the time.
        silence_s: For how long the main thread may show no sign of life.
    """

    def __init__(self, environ: Mapping[str, str], *, clock: Clock, silence_s: float) -> None:
        # A socket holds about ten datagrams: READY must not be lost because we were quick.
        self._notifier = Notifier(environ, patience_s=_PATIENCE_S)
        self._clock = clock
        self._silence_s = silence_s
        self._alive_s = clock.monotonic_s()
        self._over = threading.Event()
        self._thread: StartedThread | None = None
        interval_s = read_watchdog_interval_s(environ, pid=platform().own_pid())
        if interval_s is not None:
            self._thread = platform().start_thread(self._feed, name="host-watchdog", arguments=(interval_s,))

    def say_status(self, text: str) -> None:
        """The line that `systemctl status` shows."""
        self.is_alive()
        self._notifier.say(STATUS=text)

    def say_starting(self, text: str) -> None:
        """The same, while the start goes on: it needs more time."""
        self.is_alive()
        self._notifier.say(STATUS=text, EXTEND_TIMEOUT_USEC=str(int(_MORE_TIME_S * _MICROSECONDS)))

    def say_ready(self, text: str) -> None:
        """The system is up."""
        self.is_alive()
        self._notifier.say(READY="1", STATUS=text)

    def say_stopping(self, text: str) -> None:
        """It is shutting down gracefully."""
        self.is_alive()
        self._notifier.say(STOPPING="1", STATUS=text, EXTEND_TIMEOUT_USEC=str(int(_MORE_TIME_S * _MICROSECONDS)))

    def is_alive(self) -> None:
        """The main thread shows a sign of life."""
        self._alive_s = self._clock.monotonic_s()

    def close(self) -> None:
        """Stop feeding the watchdog."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _feed(self, interval_s: float) -> None:
        while True:
            if self._clock.monotonic_s() - self._alive_s < self._silence_s:
                self._notifier.say(WATCHDOG="1")
            if self._clock.wait(self._over, interval_s):
                return


class NotifyingDisplay:
    """A display that tells the service manager what it shows."""

    def __init__(self, display: Display, host: HostNotifier) -> None:
        self._display = display
        self._host = host
        self._step = ""

    def begin(self, *, run_id: str, instance: str, simulated: bool, steps: tuple[Step, ...]) -> None:
        """See `Display.begin`."""
        self._display.begin(run_id=run_id, instance=instance, simulated=simulated, steps=steps)

    def begin_step(self, step: Step) -> None:
        """See `Display.begin_step`."""
        self._step = step.state.value
        self._host.say_starting(self._step)
        self._display.begin_step(step)

    def show(self, text: str) -> None:
        """See `Display.show`."""
        self._host.say_starting(f"{self._step}: {text}")
        self._display.show(text)

    def show_wait(self, elapsed_s: float, remaining_s: float, text: str) -> None:
        """See `Display.show_wait`."""
        self._host.say_starting(f"{self._step}: {text}")
        self._display.show_wait(elapsed_s, remaining_s, text)

    def end_step(self, step: StepReport) -> None:
        """See `Display.end_step`."""
        self._host.say_starting(step.state.value)
        self._display.end_step(step)

    def end(self, report: Report) -> None:
        """See `Display.end`."""
        self._display.end(report)
