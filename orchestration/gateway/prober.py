"""The prober of the wait: they put together what the container, its log and the API say about one and the same start.

A look at Docker costs a process, so with a runtime that tells of changes the container is looked at when something
happened to it, and otherwise only every few seconds. Its log is followed, not read again and again.
"""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.api_status import ApiStatus
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.launcher_log import LauncherPhase, LauncherReading
from orchestration.gateway.login import (
    NOTHING_READ,
    LoginPhase,
    LoginReader,
    LoginReading,
    combine_logins,
    read_login,
)
from orchestration.gateway.readiness import ProbeResult
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.time_windows import Window, is_in_any
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.endpoint import Endpoint

if TYPE_CHECKING:
    from orchestration.system.commands import Following

_SAFETY_NET_S = 5.0  # events can be lost: the engine restarts, a buffer overflows
_LEAST_PROBE_S = 2.0  # the last look's handshake gets that much; a ready gateway needs a tenth of it
_LAUNCHER_INTERVAL_S = 5.0  # the gateway's own log is read by a process in the container
_LAUNCHER_URGENT_S = 1.0  # where a restart may be due, it must not lag behind the phone
_LAUNCHER_RETRY_S = 30.0  # where it cannot be read
_KEPT_LINES = 200
_LINES_FOLLOWED = 2000


class Probe(Protocol):
    """`orchestration.gateway.api.probe_api`, or what stands in for it in a test."""

    def __call__(
        self, endpoint: Endpoint, *, client_id: int, timeout_s: float, now: Callable[[], datetime]
    ) -> ApiStatus:
        """Look at the API once; never raises for what the network does."""
        ...


IsHandshakeDue = Callable[[GatewayStatus | None, LoginReading], bool]
"""Whether the API is worth asking now, given the container and its log. Pure."""


class GatewayProber:
    """Looks at one gateway. Use as a context: leaving it ends what it follows.

    Attributes:
        wake: Set when something may have changed. The thread that waits on it clears it.
    """

    def __init__(
        self, runtime: Runtime, settings: Settings, *, clock: Clock, probe: Probe, windows: tuple[Window, ...]
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._clock = clock
        self._probe = probe
        self._windows = windows
        self.wake = threading.Event()
        self._is_stale = threading.Event()
        self._watch: Following | None = None
        self._status: GatewayStatus | None = None
        self._is_engine_lost = False
        self._looked_s = float("-inf")
        self._log: _LogTail | None = None
        self._launcher = _LauncherLog(runtime, clock)

    def __enter__(self) -> Self:
        self._subscribe()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._log is not None:
            self._log.close()

    def look(
        self, *, left_s: float, fresh: bool = False, is_handshake_due: IsHandshakeDue | None = None
    ) -> ProbeResult:
        """Look once.

        Args:
            left_s: Seconds until the deadline; the handshake takes hardly longer.
            fresh: Whether to look at the container even if nothing is known to have happened to it.
            is_handshake_due: Whether to ask the API, too; None where another connection asks it.
        """
        status = self._read_status(fresh=fresh or left_s <= 0)
        controller = self._read_controller(status)

        def is_due(login: LoginReading) -> bool:
            return is_handshake_due is not None and is_handshake_due(status, login)

        api = None
        if controller.phase is LoginPhase.LOGGED_IN and is_due(controller):
            api = self._probe_api(left_s)
        # Once log and API agree, the gateway's own log, which costs a process in the container, adds nothing.
        is_settled = api is not None and api.is_ready and not api.is_link_down
        login = controller if is_settled else self._add_launcher(status, controller)
        if api is None and is_due(login):
            api = self._probe_api(left_s)
        if api is not None and api.is_ready and status is not None and status.state is not ContainerState.UNKNOWN:
            # The answer must be that of the start that was looked at.
            again = self._read_status(fresh=True)
            if again is None or again.start != status.start or not again.is_up:
                return ProbeResult(status=again, login=self._add_launcher(again, self._read_controller(again)))
            status = again
        return ProbeResult(
            status=status, login=login, api=api, in_reset_window=is_in_any(self._windows, self._clock.now())
        )

    def forget(self) -> None:
        """What was seen is out of date: the next look is a fresh one."""
        self._status = None
        self._is_stale.set()

    def read_evidence(self, lines: int) -> tuple[str, ...]:
        """The last health checks and the last lines of the log of the latest start.

        One that was started an instant ago, and crashes again and again, has said nothing yet: then the last lines of
        the start before.
        """
        status = self._status
        tail = self._log.lines(lines) if self._log is not None else ()
        if status is None:
            return tail
        if not tail:
            tail = self._runtime.read_log(since=status.log_since, lines=lines) or self._runtime.read_log(lines=lines)
        return (*status.health_log[-1:], *tail)

    def _subscribe(self) -> None:
        if self._runtime.has_events and (self._watch is None or not self._watch.is_running):
            if self._watch is not None:
                self._watch.close()
            self._watch = self._runtime.watch(self._note_change)

    def _note_change(self) -> None:
        self._is_stale.set()
        self.wake.set()

    def _read_status(self, *, fresh: bool) -> GatewayStatus | None:
        now_s = self._clock.monotonic_s()
        is_watched = self._watch is not None and self._watch.is_running
        is_recent = now_s - self._looked_s < _SAFETY_NET_S
        if is_watched and is_recent and not fresh and not self._is_stale.is_set() and self._status is not None:
            return self._status
        self._is_stale.clear()
        self._looked_s = now_s
        try:
            # First the subscription, then the look: what happens in between is not missed. (An engine that did not
            # answer is only asked whether it does now; the second look follows the subscription.)
            if self._is_engine_lost:
                self._runtime.probe()
            self._subscribe()
            self._status = self._runtime.probe()
            self._is_engine_lost = False
        except StartupFailure as failure:
            if failure.word is not FailureWord.DOCKER_UNAVAILABLE:
                raise
            self._status = None
            self._is_engine_lost = True
        return self._status

    def _read_controller(self, status: GatewayStatus | None) -> LoginReading:
        """What the container's log says: whoever performs the login writes there."""
        if status is None or status.started_at is None:
            return NOTHING_READ if self._log is None or status is not None else self._log.read()
        if self._log is None or self._log.start != status.start or (status.is_up and not self._log.is_running):
            if self._log is not None:
                self._log.close()
            self._log = _LogTail(self._runtime, status, self.wake)
        return self._log.read()

    def _add_launcher(self, status: GatewayStatus | None, controller: LoginReading) -> LoginReading:
        """That, and what the gateway's own log says."""
        if status is None:
            return NOTHING_READ if self._log is None else combine_logins(self._launcher.reading, controller)
        if status.started_at is None:
            return NOTHING_READ
        launcher = self._launcher.read(status, controller)
        return combine_logins(launcher, controller, exit_code=None if status.is_up else status.exit_code)

    def _probe_api(self, left_s: float) -> ApiStatus:
        return self._probe(
            self._settings.gateway,
            client_id=self._settings.gateway_probe_client_id,
            timeout_s=min(self._settings.health_check_timeout_s, max(left_s, _LEAST_PROBE_S)),
            now=self._clock.now,
        )


class _LauncherLog:
    """The gateway's own account of its login, read again from time to time.

    Attributes:
        reading: What it said last, about the latest start.
    """

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self.reading = LauncherReading()
        self._runtime = runtime
        self._clock = clock
        self._start: tuple[str, datetime | None] | None = None
        self._controller = NOTHING_READ
        self._due_s = float("-inf")
        self._read_s = float("-inf")

    def read(self, status: GatewayStatus, controller: LoginReading) -> LauncherReading:
        """What it says now: at once where the start is a new one, or the container's log has said something new."""
        now_s = self._clock.monotonic_s()
        is_new = status.start != self._start
        has_news = controller != self._controller and now_s >= self._read_s + _LAUNCHER_URGENT_S
        if is_new:
            self.reading = LauncherReading()
        if status.is_up and (is_new or now_s >= self._due_s or has_news):
            found = self._runtime.read_launcher_log(status)
            self.reading = found or LauncherReading()
            is_urgent = status.health is Health.UNHEALTHY or self.reading.phase is LauncherPhase.IDLE
            interval_s = _LAUNCHER_URGENT_S if is_urgent else _LAUNCHER_INTERVAL_S
            self._due_s = now_s + (_LAUNCHER_RETRY_S if found is None else interval_s)
            self._start, self._controller, self._read_s = status.start, controller, now_s
        return self.reading


class _LogTail:
    """The log of one start of the gateway, followed."""

    def __init__(self, runtime: Runtime, status: GatewayStatus, wake: threading.Event) -> None:
        self.start = status.start
        self._wake = wake
        self._reader = LoginReader()
        self._heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        # What it has said so far, where the first look may already lead to a restart: the follower tells it a little
        # later, and one that waits for a phone must not be restarted in between.
        is_in_trouble = status.is_up and status.health is Health.UNHEALTHY
        said = runtime.read_log(since=status.log_since, lines=_LINES_FOLLOWED) if is_in_trouble else ()
        self._said, self._said_lines = read_login(said), len(said)
        self._lines_read = 0
        # A reader of its own, only to tell a line that matters from one that does not: it runs in another thread.
        self._sentry = LoginReader()
        for line in runtime.read_log(since=status.log_since, lines=_KEPT_LINES) if not status.is_up else ():
            self._heard.put(line)
        self._following: Following | None = None
        if status.is_up:
            self._following = runtime.follow_log(self._take, since=status.log_since, lines=_LINES_FOLLOWED)

    @property
    def is_running(self) -> bool:
        return self._following is not None and self._following.is_running

    def read(self) -> LoginReading:
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._heard.get_nowait()
                self._kept.append(line)
                self._reader.read(line)
                self._lines_read += 1
        return self._reader.reading if self._lines_read >= self._said_lines else self._said

    def lines(self, count: int) -> tuple[str, ...]:
        self.read()
        return tuple(self._kept)[-count:]

    def close(self) -> None:
        if self._following is not None:
            self._following.close()

    def _take(self, line: str) -> None:
        self._heard.put(line)
        if self._sentry.read(line):
            self._wake.set()
