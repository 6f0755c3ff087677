"""A daemon thread that sends what is due, sleeps until something is, and ends soon after it is asked to."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from orchestration.alerts.channel import DeliveryLimits
from orchestration.alerts.posting import Cutoff, Try
from orchestration.system.clock import Clock
from orchestration.system.platform import StartedThread, platform

_IDLE_S = 3600.0  # how long it sleeps between looks when nothing is due; every `wake` ends the sleep
LAST_MOMENT_S = 0.2  # of the time to close: for a request that was cut off to be written down


class Worker:
    """One thread of a delivery. It is started by the first `wake`.

    Args:
        name: What is sent, for the log.
        send_due: Sends one thing if one is due. Returns the instant (monotonic) at which the next one is, or None if
            nothing is left to be tried.
        on_crash: Told why sending stopped, should it ever do so by an error.
        clock: Time.
        log: For what goes wrong.
        limits: How long a try may take.

    Attributes:
        close_at_s: When it has to end, by the monotonic clock; None while none was asked for.
    """

    def __init__(
        self,
        name: str,
        *,
        send_due: Callable[[], float | None],
        on_crash: Callable[[str], None],
        clock: Clock,
        log: logging.Logger,
        limits: DeliveryLimits,
    ) -> None:
        self.close_at_s: float | None = None
        self._name = name
        self._send_due = send_due
        self._on_crash = on_crash
        self._clock = clock
        self._log = log
        self._limits = limits
        self._event = threading.Event()
        self._thread: StartedThread | None = None
        self._lock = threading.Lock()
        self._cutoff: Cutoff | None = None

    def wake(self) -> None:
        """Have it look again, unless it has been asked to end."""
        if self.close_at_s is not None:
            return
        if self._thread is None:
            try:
                self._thread = platform().start_thread(self._work, name=self._name)
            except RuntimeError:
                self._log.warning("No thread for sending %s; they wait for the next run", self._name)
                return
        self._event.set()

    def ask_to_end(self, close_at_s: float) -> None:
        """Have it end at this instant (monotonic), or as soon as nothing is left to be tried. Returns at once."""
        self.close_at_s = close_at_s
        self._event.set()

    def join(self) -> None:
        """Wait until it has ended, at most until the instant it was given; then its try is cut off."""
        if self._thread is None or self.close_at_s is None:
            return
        self._thread.join(max(0.0, self.close_at_s - self._clock.monotonic_s()))
        with self._lock:
            cutoff = self._cutoff
        if cutoff is not None:
            cutoff.cut()

    def join_last(self, timeout_s: float) -> None:
        """After `join`: a last moment for what was cut off to be written down."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    @contextlib.contextmanager
    def begin_try(self) -> Iterator[Try]:
        """One try, which ends at its deadline or when the worker has to."""
        bound_s = self._limits.try_timeout_s
        if self.close_at_s is not None:
            bound_s = min(bound_s, self.close_at_s - self._clock.monotonic_s())
        with Cutoff(bound_s) as cutoff:
            with self._lock:
                self._cutoff = cutoff
            try:
                yield Try(
                    cutoff=cutoff,
                    connect_timeout_s=self._limits.connect_timeout_s,
                    read_timeout_s=self._limits.read_timeout_s,
                    clock=self._clock,
                )
            finally:
                with self._lock:
                    self._cutoff = None

    def _work(self) -> None:
        try:
            while not self._is_over(self._send_what_is_due()):
                pass
        # The boundary of this thread. The interpreter would print the traceback of whatever gets here, and the text of
        # an HTTP library's exception may hold the address; so only its kind is told.
        except Exception as error:  # noqa: BLE001 - see above
            self._on_crash(f"sending stopped ({type(error).__name__})")
            self._log.error("Sending %s stopped unexpectedly (%s)", self._name, type(error).__name__)

    def _send_what_is_due(self) -> float | None:
        """Send until nothing is due. The instant of the next try, or None if nothing is left to be tried."""
        while True:
            now_s = self._clock.monotonic_s()
            if self.close_at_s is not None and now_s >= self.close_at_s:
                return None
            next_s = self._send_due()
            if next_s is None or next_s > self._clock.monotonic_s():
                return next_s

    def _is_over(self, next_s: float | None) -> bool:
        """Wait until something is due; True if nothing more can be done before the end."""
        now_s = self._clock.monotonic_s()
        close_at_s = self.close_at_s
        if close_at_s is not None and (next_s is None or next_s >= close_at_s):
            return True
        self._clock.wait(self._event, _IDLE_S if next_s is None else next_s - now_s)
        self._event.clear()
        return False
