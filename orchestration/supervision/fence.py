"""The fence: a process of its own that kills the bot at a deadline, unless the supervisor moves the deadline in time.

A host may run the bot only while it holds the lease (docs/how-to/two-hosts.md). A supervisor that is frozen cannot end
the bot, so `fence_process` does it. One `Fence` belongs to one term of the lease: it is started before anything of the
bot, and released once nothing of the bot is left. One that has fired is never armed again.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from orchestration.bot.record import RECORD_MARKER
from orchestration.system.clock import SystemClock
from orchestration.system.processes import LaunchedProcess, ProcessIdentity, launch_connected

_PROGRAM = Path(__file__).with_name("fence_process.py")
_ENGINE_SOCKET = "/var/run/docker.sock"
_START_TIMEOUT_S = 10.0
_CONFIRM_TIMEOUT_S = 2.0
_END_TIMEOUT_S = 2.0
_READ_BYTES = 4096
_NS = 1_000_000_000
_HANDED_ON = ("PATH", "LD_LIBRARY_PATH")


class FenceError(OSError):
    """The fence does not work: no bot may be started, and one that runs has to be ended at once."""


class Fence:
    """One fence, from its start to its release. Its methods may be called from any thread.

    Made by `Fence.start`.
    """

    def __init__(self, process: LaunchedProcess, channel: socket.socket, on_change: Callable[[], None]) -> None:
        self._process = process
        self._channel = channel
        self._on_change = on_change
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_armed = False
        self._has_fired = False
        self._has_ended = False
        self._asked_ns = 0
        self._asked_at_s = 0.0
        self._confirmed_ns = 0
        self._watched: set[ProcessIdentity] = set()
        self._reader = threading.Thread(target=self._read, name="fence", daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls,
        deadline_s: float,
        *,
        marker: str,
        environ: Mapping[str, str],
        container: str = "",
        engine_host: str = "",
        on_change: Callable[[], None],
    ) -> "Fence":
        """Start the process, and return once it has confirmed that it is armed.

        Args:
            deadline_s: When it kills, as `read_boottime_s` counts.
            marker: The value of `BOT_RECORD` in the environment of everything that is the bot.
            environ: The environment that the engine's address and the loader's paths are taken from.
            container: The name of the bot's container; empty where the bot is a process.
            engine_host: Where its engine listens, as `DOCKER_HOST` says it; empty for what `environ` says, else the
                default. One that is no socket of this host is not asked.
            on_change: Called from another thread when it has fired or ended; must not block.

        Raises:
            FenceError: It is not armed; nothing of it is left.
        """
        if sys.platform != "linux":
            raise FenceError("a fence needs Linux")
        host = engine_host or environ.get("DOCKER_HOST", "")
        engine = host.removeprefix("unix://") if host.startswith("unix://") else "" if host else _ENGINE_SOCKET
        argv = [
            *(sys.executable, "-I", "-S", str(_PROGRAM), str(int(deadline_s * _NS))),
            *(f"{RECORD_MARKER}={marker}", container, engine),
        ]
        handed_on = {name: environ[name] for name in _HANDED_ON if name in environ}
        try:
            process, channel = launch_connected(argv, environ=handed_on)
        except OSError as error:
            raise FenceError(f"the fence could not be started: {error}") from error
        fence = cls(process, channel, on_change)
        with fence._changed:
            fence._changed.wait_for(lambda: fence._is_armed or fence._has_ended, _START_TIMEOUT_S)
            if fence._is_armed:
                return fence
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        raise FenceError(f"the fence was not armed within {_START_TIMEOUT_S:g} s")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_fired(self) -> bool:
        """Whether the deadline has passed and the bot has been killed."""
        return self._has_fired

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended and was collected."""
        return self._has_ended

    def is_alive(self) -> bool:
        """Whether it works: it runs, has not fired, and confirmed the last renewal within 2 s of it."""
        with self._lock:
            is_confirmed = self._confirmed_ns >= self._asked_ns
            is_in_time = SystemClock().monotonic_s() - self._asked_at_s < _CONFIRM_TIMEOUT_S
            return not self._has_fired and not self._has_ended and (is_confirmed or is_in_time)

    def renew(self, deadline_s: float) -> None:
        """Move the deadline. One that is not later than the last one changes nothing.

        Raises:
            FenceError: It has fired or ended, or takes nothing any more.
        """
        deadline_ns = int(deadline_s * _NS)
        with self._lock:
            if deadline_ns <= self._asked_ns:
                return
            if self._confirmed_ns >= self._asked_ns:
                self._asked_at_s = SystemClock().monotonic_s()
            self._asked_ns = deadline_ns
        self._send(f"deadline {deadline_ns}")

    def watch(self, identities: Iterable[ProcessIdentity]) -> None:
        """Tell it of processes of the bot; those that it knows are not told again.

        Raises:
            FenceError: As above.
        """
        new = [one for one in identities if one not in self._watched]
        if new:
            self._send("\n".join(f"process {one.pid} {one.birth.rpartition(':')[2]}" for one in new))
            self._watched.update(new)

    def fire(self) -> None:
        """Kill the bot now: the lease is known to be lost before the deadline.

        Raises:
            FenceError: As above.
        """
        self._send("fire")

    def release(self) -> bool:
        """Disarm and end it, also one that has fired. Returns whether it has ended.

        While something of the bot still runs, it stays as it is, and this returns False after 2 s.
        """
        with contextlib.suppress(OSError):
            self._channel.sendall(b"release\n")
        with self._changed:
            return self._changed.wait_for(lambda: self._has_ended, _END_TIMEOUT_S)

    def _send(self, text: str) -> None:
        if self._has_fired or self._has_ended:
            raise FenceError("the fence has fired" if self._has_fired else "the fence has ended")
        try:
            self._channel.sendall(f"{text}\n".encode("ascii"))
        except OSError as error:
            raise FenceError(f"the fence takes no more commands: {error}") from error

    def _read(self) -> None:
        rest = b""
        while part := self._receive():
            *lines, rest = (rest + part).split(b"\n")
            with self._changed:
                for line in lines:
                    self._take(*line.split())
                self._changed.notify_all()
            if self._has_fired:
                self._on_change()
        self._channel.close()
        self._process.wait(timeout_s=_END_TIMEOUT_S)
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
        self._on_change()

    def _receive(self) -> bytes:
        try:
            return self._channel.recv(_READ_BYTES)
        except OSError:
            return b""

    def _take(self, verb: bytes, number: bytes = b"") -> None:
        match verb:
            case b"armed":
                self._is_armed = True
            case b"confirmed":
                self._confirmed_ns = int(number)
            case b"fired":
                self._has_fired = True
