"""A program that runs unchanged in the simulated world: its platform, and the scheduler of its threads.

Each program is a real process, forked from the simulation, so that a kill is a kill: locks, open files and SQLite's
state are what the kernel leaves. Its threads are real threads of which exactly one runs at any time, until it waits at
a door. Once all of them wait, the program tells the world until when, and sleeps. So what happens is decided by the
world's seed alone.

With everything that it says, the world names the instant before which nothing else happens, in it or in another
program. Up to there a program whose threads all wait passes the time by itself: what it would be told is nothing.
"""

import _thread
import asyncio
import concurrent.futures
import contextlib
import faulthandler
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from orchestration.system.commands import CommandNotFoundError, CommandResult, CommandTimedOutError, OnLine
from orchestration.system.platform import ChildProcess, Platform, StartedThread
from tests.years.wire import Wire

# These threads only look whether something has changed. Between two happenings of the world nothing can have.
_POLLERS = frozenset({"bot-watch"})
_LONGEST_POLL_S = 60.0
_COUNTED = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.chmod", "os.utime", "fcntl.flock"}
)


class SimThread:
    """A thread of a simulated program."""

    def __init__(self, scheduler: "Scheduler", name: str) -> None:
        self._scheduler = scheduler
        self.name = name
        self.turn = _thread.allocate_lock()
        self.turn.acquire()
        self.is_ready: Callable[[], bool] = lambda: True
        self.deadline_s: float | None = None
        self.is_poller = name in _POLLERS
        self.has_ended = False

    def join(self, timeout: float | None = None) -> None:
        """See `StartedThread.join`."""
        self._scheduler.block(lambda: self.has_ended, timeout)


class Scheduler:
    """Lets one thread run at a time, and virtual time pass when none can."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.main = SimThread(self, "main")
        self._threads = [self.main]
        self._current = self.main
        self.now_s = 0.0
        self.wall_s = 0.0
        self.suspended_s = 0.0
        self._quiet_until_s = 0.0
        self.signals: list[int] = []
        self.on_delivery: dict[str, Callable[..., None]] = {"signal": self.signals.append}

    def ask(self, *request: object) -> Any:  # noqa: ANN401 - whatever the world answers
        """Ask the world something that takes no time."""
        self.wire.send((self.now_s, *request))
        answer, self._quiet_until_s = self.wire.receive()
        return answer

    def block(self, is_ready: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until something is so, at most `timeout_s` seconds of virtual time; whether it is."""
        if is_ready():
            return True
        if timeout_s is not None and timeout_s <= 0:
            return False
        me = self._current
        me.is_ready = is_ready
        me.deadline_s = None if timeout_s is None else self.now_s + timeout_s
        if self._give_turn(me) is not me:
            me.turn.acquire()
        if self.signals:
            self._take_signals(me)
        return is_ready()

    def start(self, work: Callable[..., None], name: str, arguments: tuple[Any, ...]) -> SimThread:
        """Start a thread; it runs once the present one waits."""
        thread = SimThread(self, name)

        def run() -> None:
            thread.turn.acquire()
            try:
                work(*arguments)
            finally:
                thread.has_ended = True
                self._threads.remove(thread)
                self._give_turn(thread)

        self._threads.append(thread)
        threading.Thread(target=run, name=name, daemon=True).start()
        return thread

    def synchronise(self, told: tuple[float, float, float, float, list[tuple[Any, ...]]]) -> None:
        """Take in what the world says after a sleep."""
        self.now_s, self.wall_s, self.suspended_s, self._quiet_until_s, deliveries = told
        for kind, *arguments in deliveries:
            self.on_delivery[kind](*arguments)

    def _give_turn(self, me: SimThread) -> SimThread:
        while (chosen := self._choose(me)) is None:
            wake_s = self._find_wake_s()
            if wake_s < self._quiet_until_s:
                self.now_s = max(self.now_s, wake_s)
                continue
            self.wire.send((self.now_s, "sleep", wake_s))
            self.synchronise(self.wire.receive())
        self._current = chosen
        if chosen is not me:
            chosen.turn.release()
        return chosen

    def _choose(self, me: SimThread) -> SimThread | None:
        if self.signals:
            return self.main
        # The one after the present one first, so that none starves.
        at = self._threads.index(me) + 1 if me in self._threads else 0
        for one in (*self._threads[at:], *self._threads[:at]):
            if (one.deadline_s is not None and one.deadline_s <= self.now_s) or one.is_ready():
                return one
        return None

    def _find_wake_s(self) -> float:
        hard = [one.deadline_s for one in self._threads if one.deadline_s is not None and not one.is_poller]
        soft = [one.deadline_s + _LONGEST_POLL_S for one in self._threads if one.deadline_s and one.is_poller]
        return min([*hard, *soft], default=float("inf"))

    def _take_signals(self, me: SimThread) -> None:
        while me is self.main and self.signals:
            before = _thread._count()  # noqa: SLF001 - a handler may start a thread that sets an event
            signal.raise_signal(self.signals.pop(0))
            while _thread._count() > before:  # noqa: SLF001
                time.sleep(0.0001)


class SimLoop(asyncio.BaseEventLoop):
    """An event loop on virtual time whose connections lead into the simulated world."""

    def __init__(self, scheduler: Scheduler, transports: dict[int, "SimTransport"]) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._transports = transports
        self._selector = self
        self._is_woken = False

    def time(self) -> float:
        """See the base class."""
        return self._scheduler.now_s

    def select(self, timeout: float | None) -> list[Any]:
        """What the base class calls to wait."""
        self._scheduler.block(lambda: self._is_woken, timeout)
        self._is_woken = False
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        del event_list

    def _write_to_self(self) -> None:
        self._is_woken = True

    async def create_connection(  # type: ignore[override]  # what the program uses of it
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple["SimTransport", asyncio.Protocol]:
        """Connect to the simulated gateway."""
        number, answers_after_s = self._scheduler.ask("connect", host, port)
        if answers_after_s:
            await asyncio.sleep(answers_after_s)
        if number < 0:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = protocol_factory()
        transport = SimTransport(self, self._scheduler, number, protocol)
        self._transports[number] = transport
        self.call_soon(protocol.connection_made, transport)
        return transport, protocol


class SimTransport(asyncio.Transport):
    """One connection into the world."""

    def __init__(self, loop: SimLoop, scheduler: Scheduler, number: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._scheduler = scheduler
        self._number = number
        self._protocol = protocol
        self._is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See the base class."""
        if not self._is_closed:
            self._scheduler.ask("send", self._number, bytes(data))

    def write_eof(self) -> None:
        """See the base class."""

    def close(self) -> None:
        """See the base class."""
        if not self._is_closed:
            self._scheduler.ask("close", self._number)
            self.lose()

    def abort(self) -> None:
        """See the base class."""
        self.close()

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        if not self._is_closed:
            self._loop.call_soon_threadsafe(self._protocol.data_received, data)

    def lose(self) -> None:
        """The connection has ended."""
        if not self._is_closed:
            self._is_closed = True
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._protocol.connection_lost, None)


class SimFollowing:
    """A followed program."""

    def __init__(self, scheduler: Scheduler, number: int, on_line: OnLine) -> None:
        self._scheduler = scheduler
        self._number = number
        self.on_line = on_line
        self.is_running = True

    def close(self) -> None:
        """See `Following.close`."""
        if self.is_running:
            self.is_running = False
            self._scheduler.ask("unfollow", self._number)


class SimCommands:
    """Runs programs of the simulated world."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.followings: dict[int, SimFollowing] = {}

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None,
        environ: Mapping[str, str] | None,
        on_line: OnLine | None,
    ) -> CommandResult:
        """See `Commands.run`."""
        del cwd
        code, out, err, takes_s = self._scheduler.ask("run", tuple(argv), dict(environ or {}))
        if code is None:
            raise CommandNotFoundError(argv)
        self._scheduler.block(lambda: False, min(takes_s, timeout_s))
        if takes_s > timeout_s:
            raise CommandTimedOutError(argv, timeout_s)
        for line in (out + err).splitlines() if on_line is not None else ():
            if on_line is not None:
                on_line(line)
        return CommandResult(argv=tuple(argv), exit_code=code, stdout=out, stderr=err, duration_s=takes_s)

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None, environ: Mapping[str, str] | None
    ) -> SimFollowing:
        """See `Commands.follow`."""
        del cwd, environ
        number = self._scheduler.ask("follow", tuple(argv))
        following = SimFollowing(self._scheduler, number, on_line)
        self.followings[number] = following
        return following

    def hear(self, number: int, line: str) -> None:
        """A followed program has said something."""
        following = self.followings.get(number)
        if following is not None and following.is_running:
            following.on_line(line)

    def note_end(self, number: int) -> None:
        """A followed program has ended."""
        if number in self.followings:
            self.followings.pop(number).is_running = False


class SimNetwork:
    """Answers HTTP requests."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def request(
        self, address: str, document: Mapping[str, Any] | None, *, timeout_s: float, is_cut: Callable[[], bool]
    ) -> tuple[int, float | None]:
        """See `Network.request`."""
        status, wait_s, takes_s = self._scheduler.ask("post", address, _make_plain(document), timeout_s)
        if self._scheduler.block(is_cut, min(takes_s, timeout_s)) or takes_s > timeout_s:
            raise TimeoutError("timed out")
        if status is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return status, wait_s


def _make_plain(value: Any) -> Any:  # noqa: ANN401 - a JSON document
    if isinstance(value, Mapping):
        return {str(name): _make_plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value


class SimChild:
    """A process that the program started."""

    def __init__(self, scheduler: Scheduler, pid: int) -> None:
        self._scheduler = scheduler
        self.pid = pid
        self.returncode: int | Any = None

    def poll(self) -> int | None:
        """See `ChildProcess.poll`."""
        if self.returncode is None:
            self.returncode = self._scheduler.ask("collect", self.pid)[1]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """See `ChildProcess.wait`."""
        self._scheduler.block(lambda: self.poll() is not None, timeout)
        return int(self.returncode)


class InlineExecutor(concurrent.futures.Executor):
    """Does each piece of work at once, in the thread that asks for it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:  # noqa: ANN401 - the base class's own signature
        """See the base class."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to the caller that asks for the result
            done.set_exception(error)
        return done


class SimPlatform(Platform):
    """See `Platform`: the simulated world's."""

    def __init__(self, scheduler: Scheduler, *, proc_root: str, pid: int, dies_at: int) -> None:
        self._scheduler = scheduler
        self._pid = pid
        self._calls_left = dies_at
        self._ends: dict[int, list[int]] = {}
        self._transports: dict[int, SimTransport] = {}
        self.proc_root = proc_root
        programs = SimCommands(scheduler)
        self.commands = programs
        self.network = SimNetwork(scheduler)
        scheduler.on_delivery |= {
            "line": programs.hear,
            "unfollowed": programs.note_end,
            "data": self._feed,
            "lost": self._lose,
            "ended": self._note_end,
            "poke": lambda: None,
        }

    @property
    def is_simulated(self) -> bool:
        """See the base class."""
        return True

    def count_call(self) -> None:
        """One more call of a door: the one at which it is to be killed, perhaps."""
        if self._calls_left > 0:
            self._calls_left -= 1
            if self._calls_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def now(self) -> datetime:
        """See the base class."""
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=self._scheduler.wall_s + self._scheduler.now_s)

    def monotonic_s(self) -> float:
        """See the base class."""
        return self._scheduler.now_s

    def boottime_s(self) -> float:
        """See the base class."""
        return self._scheduler.now_s + self._scheduler.suspended_s

    def sleep(self, duration_s: float) -> None:
        """See the base class."""
        self.count_call()
        self._scheduler.block(lambda: False, duration_s)

    def wait(self, signal_: threading.Event, timeout_s: float | None) -> bool:
        """See the base class."""
        self.count_call()
        return self._scheduler.block(signal_.is_set, timeout_s)

    def wait_readable(self, descriptors: Collection[int], timeout_s: float) -> frozenset[int]:
        """See the base class."""
        self.count_call()

        def look() -> bool:
            return bool(select.select(descriptors, (), (), 0)[0])

        self._scheduler.block(look, timeout_s)
        return frozenset(select.select(descriptors, (), (), 0)[0])

    def start_thread(self, work: Callable[..., None], *, name: str, arguments: tuple[Any, ...] = ()) -> StartedThread:
        """See the base class."""
        self.count_call()
        return self._scheduler.start(work, name, arguments)

    def new_executor(self, *, workers: int, name: str) -> concurrent.futures.Executor:
        """See the base class."""
        del workers, name
        return InlineExecutor()

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """See the base class."""
        return SimLoop(self._scheduler, self._transports)

    def own_pid(self) -> int:
        """See the base class."""
        return self._pid

    def start_detached(
        self, argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str], output: int
    ) -> ChildProcess:
        """See the base class."""
        self.count_call()
        pid = self._scheduler.ask(
            "launch",
            tuple(argv),
            str(cwd),
            dict(environ),
            os.readlink(f"/proc/self/fd/{output}"),  # noqa: PTH115
        )
        self.count_call()
        return SimChild(self._scheduler, pid)

    def read_session_id(self, pid: int) -> int:
        """See the base class."""
        try:
            return int(Path(f"{self.proc_root}/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[3])
        except OSError as error:
            raise ProcessLookupError(3, "No such process") from error

    def send_signal(self, pid: int, number: int) -> None:
        """See the base class."""
        self.count_call()
        if not self._scheduler.ask("kill", pid, int(number)):
            raise ProcessLookupError(3, "No such process")

    def collect_exit_code(self, pid: int) -> int | None:
        """See the base class."""
        is_ours, code = self._scheduler.ask("collect", pid)
        if not is_ours:
            raise ChildProcessError(10, "No child processes")
        return code if code is None else int(code)

    def open_end_descriptor(self, pid: int) -> int | None:
        """See the base class."""
        reading, writing = os.pipe()
        self._ends.setdefault(pid, []).append(writing)
        if not self._scheduler.ask("watch_end", pid):
            self._note_end(pid)
        return reading

    def sync(self, descriptor: int) -> None:
        """What `os.fsync` is here: the simulated disk holds the file from now on."""
        self._scheduler.ask("sync", os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115

    def read_free_bytes(self, folder: Path) -> int:
        """See the base class."""
        del folder
        return int(self._scheduler.ask("free_bytes"))

    def _feed(self, number: int, data: bytes) -> None:
        if number in self._transports:
            self._transports[number].feed(data)

    def _lose(self, number: int) -> None:
        if number in self._transports:
            self._transports.pop(number).lose()

    def _note_end(self, pid: int) -> None:
        for writing in self._ends.pop(pid, []):
            with contextlib.suppress(OSError):
                os.close(writing)


def run_program(  # what a program is made of
    wire: Wire,
    work: Callable[[], int],
    *,
    pid: int,
    proc_root: str,
    environ: Mapping[str, str],
    cwd: str,
    output: str,
    watched_folder: str,
    dies_at: int,
) -> None:
    """Run a program in this process, which was forked for it, and end the process with its exit code."""
    code = 1
    said: TextIO | None = None
    try:
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(cwd)
        said = Path(output).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - it is open until the end
        sys.stdout = sys.stderr = said
        # The world sends this to a program that neither sleeps nor asks: the end of `output.txt` then says where it is.
        faulthandler.register(signal.SIGUSR2, file=said, all_threads=True)
        scheduler = Scheduler(wire)
        platform = SimPlatform(scheduler, proc_root=proc_root, pid=pid, dies_at=dies_at)
        scheduler.synchronise(wire.receive())
        from orchestration.system.platform import use_platform

        use_platform(platform)
        os.fsync = platform.sync  # type: ignore[assignment]  # the simulated kernel's
        if dies_at > 0:

            def count(event: str, arguments: tuple[object, ...]) -> None:
                if event in _COUNTED and watched_folder in str(arguments[0] if arguments else ""):
                    platform.count_call()

            sys.addaudithook(count)
        code = work()
        wire.send((scheduler.now_s, "exit", code))
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        with contextlib.suppress(Exception):
            wire.send((scheduler.now_s, "exit", code))
    except BaseException:  # noqa: BLE001 - the end of a process: the trace shows its exit code
        import traceback

        traceback.print_exc(file=said)
    finally:
        os._exit(code & 0xFF)
