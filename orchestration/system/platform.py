"""What the doors of this room stand on: the operating system, or one that a test simulates.

Every call that reads the time, waits, starts a thread, sends a signal or looks into `/proc` goes through `platform()`.
A test that runs the whole program in virtual time (`tests/years`) puts another one in its place, once, before the
program starts; nothing else ever does.
"""

import concurrent.futures
import os
import selectors
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio


class ChildProcess(Protocol):
    """A child process: what is used here of a `subprocess.Popen`."""

    pid: int
    returncode: int | Any

    def poll(self) -> int | None:
        """Its exit code (negative: a signal), or None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        ...


class StartedThread(Protocol):
    """A thread that was started."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        ...


class Programs(Protocol):
    """Runs programs: `orchestration.system.commands.Commands`, which stands on this module."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None,
        environ: Mapping[str, str] | None,
        on_line: Callable[[str], None] | None,
    ) -> Any:  # noqa: ANN401 - a `CommandResult`
        """See `Commands.run`."""
        ...

    def follow(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None],
        cwd: Path | None,
        environ: Mapping[str, str] | None,
    ) -> Any:  # noqa: ANN401 - a `Following`
        """See `Commands.follow`."""
        ...


class Network(Protocol):
    """Answers HTTP requests."""

    def request(
        self, address: str, document: Mapping[str, Any] | None, *, timeout_s: float, is_cut: Callable[[], bool]
    ) -> tuple[int, float | None]:
        """One request: the answer's status, and how long it asks to wait, in seconds.

        Raises:
            OSError: There was no answer.
        """
        ...


class Platform:
    """The operating system itself."""

    proc_root = "/proc"
    commands: "Programs | None" = None
    """What runs programs in place of this system; None for this system itself."""
    network: "Network | None" = None
    """What answers HTTP requests in place of the network; None for the network itself."""

    @property
    def is_simulated(self) -> bool:
        """Whether processes, connections and control groups are a test's, so that the kernel cannot be asked."""
        return False

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Seconds since some fixed instant; never goes back, never jumps."""
        return time.monotonic()

    def boottime_s(self) -> float:
        """Seconds since boot, suspended time included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """Return after `duration_s` seconds."""
        time.sleep(max(0.0, duration_s))

    def wait(self, signal_: threading.Event, timeout_s: float | None) -> bool:
        """Return True as soon as the event is set, or False after `timeout_s` seconds."""
        return signal_.wait(timeout_s if timeout_s is None else max(0.0, timeout_s))

    def wait_readable(self, descriptors: Collection[int], timeout_s: float) -> frozenset[int]:
        """Wait until one of these descriptors is readable, at most `timeout_s` seconds; returns those that are."""
        with selectors.DefaultSelector() as selector:
            for one in descriptors:
                selector.register(one, selectors.EVENT_READ)
            return frozenset(key.fd for key, _ in selector.select(timeout_s))

    def start_thread(self, work: Callable[..., None], *, name: str, arguments: tuple[Any, ...] = ()) -> StartedThread:
        """Start a daemon thread.

        Raises:
            RuntimeError: No thread can be started.
        """
        thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
        thread.start()
        return thread

    def new_executor(self, *, workers: int, name: str) -> concurrent.futures.Executor:
        """What runs several pieces of work side by side."""
        return concurrent.futures.ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name)

    def new_event_loop(self) -> "asyncio.AbstractEventLoop":
        """An event loop of asyncio."""
        import asyncio

        return asyncio.new_event_loop()

    def own_pid(self) -> int:
        """The process id of this process."""
        return os.getpid()

    def start_detached(
        self, argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str], output: int
    ) -> ChildProcess:
        """Start a program in a session of its own, both outputs to a descriptor. See `processes.launch_detached`.

        Raises:
            OSError: It could not be started.
        """
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            creationflags=flags,
            start_new_session=sys.platform != "win32",
        )

    def read_session_id(self, pid: int) -> int:
        """The session that a process is in.

        Raises:
            OSError: It has ended.
        """
        return os.getsid(pid)

    def send_signal(self, pid: int, number: int) -> None:
        """Send a signal.

        Raises:
            ProcessLookupError: There is no such process.
            PermissionError: It is another user's.
        """
        os.kill(pid, number)

    def collect_exit_code(self, pid: int) -> int | None:
        """The exit code (negative: a signal) of an ended child; None if it runs.

        Raises:
            ChildProcessError: It is not our child, or was collected already.
        """
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def open_end_descriptor(self, pid: int) -> int | None:
        """A descriptor that becomes readable when the process ends, or None where the system has none."""
        try:
            return os.pidfd_open(pid) if sys.platform == "linux" else None
        except OSError:  # a kernel before 5.3, or a filter that forbids it
            return None

    def read_free_bytes(self, folder: Path) -> int:
        """The room that is left on the file system of a folder.

        Raises:
            OSError: It cannot be looked at.
        """
        return shutil.disk_usage(folder).free


_IN_USE = [Platform()]


def platform() -> Platform:
    """What the doors stand on now."""
    return _IN_USE[0]


def use_platform(replacement: Platform) -> None:
    """Put a simulated system in place of this one, for the rest of this process's life."""
    _IN_USE[0] = replacement
