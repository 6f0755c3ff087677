"""The door for running command-line programs: argument lists in, results out; never a shell.

Each program gets a session of its own, so that all of it can be ended, its children included. A process id is used
again once its process has been waited for; a session is therefore killed first and waited for afterwards.
"""

import contextlib
import errno
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from orchestration.system.children import start_child
from orchestration.system.files import is_folder_there
from orchestration.system.platform import platform

OnLine = Callable[[str], None]

_LAST_LINES = 200
_DRAIN_S = 2.0  # for output that is still in the pipe when the program has ended
_OUTPUT, _ERRORS, _EXIT = "stdout", "stderr", "exit"
# What the kernel says of a file that is there and is no program.
_NOT_A_PROGRAM = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC, errno.ELOOP, errno.EISDIR}
# What a service manager tells this process and no other. systemd's own programs answer on the socket (`ERRNO=112`), and
# the journal would complain of it.
_OURS_ALONE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_withheld: set[str] = set()


def withhold(names: Iterable[str]) -> None:
    """From now on no program inherits these variables of this process's environment, unless it is handed them."""
    _withheld.update(names)


def build_inherited_environ() -> dict[str, str]:
    """What a program inherits of this process's environment."""
    return {name: value for name, value in os.environ.items() if name not in _OURS_ALONE | _withheld}


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What a finished program left behind.

    Attributes:
        argv: The argument list it was run with.
        exit_code: Its exit code; negative for a signal.
        stdout: Its standard output, decoded as UTF-8 with replacement.
        stderr: Its standard error, decoded likewise.
        duration_s: How long it took, in seconds.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: str = ""
    stderr: str = ""
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_code == 0

    @property
    def output(self) -> str:
        """All that it wrote, standard output first, then standard error."""
        return f"{self.stdout}\n{self.stderr}"

    def last_lines(self, count: int = 10) -> tuple[str, ...]:
        """The last non-empty lines it wrote, standard output first, then standard error."""
        lines = [line.rstrip() for line in self.output.splitlines()]
        return tuple([line for line in lines if line][-count:])


class CommandNotFoundError(Exception):
    """The program is not on this machine, or not on PATH, or may not be executed."""

    def __init__(self, argv: Sequence[str]) -> None:
        super().__init__(argv)
        self.argv = tuple(argv)

    def __str__(self) -> str:
        return f"{self.argv[0]}: program not found or not executable"


class CommandTimedOutError(Exception):
    """The program did not end in time and was killed.

    Attributes:
        argv: The argument list it was run with.
        timeout_s: How long it was given, in seconds.
        last_lines: What it had written until then: the last lines of it, more of them than are ever shown.
    """

    def __init__(self, argv: Sequence[str], timeout_s: float, last_lines: tuple[str, ...] = ()) -> None:
        super().__init__(argv, timeout_s)
        self.argv = tuple(argv)
        self.timeout_s = timeout_s
        self.last_lines = last_lines

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}: no end after {self.timeout_s:g} s"


class Following(Protocol):
    """A program that runs beside us and whose lines are handed on as they come."""

    @property
    def is_running(self) -> bool:
        """Whether it still runs, or has said something that is not handed on yet."""
        ...

    def close(self) -> None:
        """End it. Safe to call twice."""
        ...


class Commands(Protocol):
    """Runs programs."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """Run a program to its end.

        A child that it leaves behind in the background is not waited for, even if it keeps the output open.

        Args:
            argv: Program and arguments.
            timeout_s: Seconds until it is killed.
            cwd: Working folder; this process's own by default.
            environ: Variables set on top of what it inherits (`build_inherited_environ`).
            on_line: Called with each line of either stream as it comes, for progress.

        Raises:
            CommandNotFoundError: There is no such program.
            CommandTimedOutError: It ran too long; it and its whole session have been killed.
            NotADirectoryError: There is no such working folder.
        """
        ...

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Following:
        """Start a program and hand on each line of its output from a thread, until it ends or is closed.

        Raises:
            CommandNotFoundError: There is no such program.
            NotADirectoryError: There is no such working folder.
        """
        ...


class SystemCommands:
    """The real thing."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Commands.run`."""
        if (simulated := platform().commands) is not None:
            result: CommandResult = simulated.run(argv, timeout_s=timeout_s, cwd=cwd, environ=environ, on_line=on_line)
            return result
        started_s = time.monotonic()
        process = _start(argv, cwd=cwd, environ=environ, stderr=subprocess.PIPE)
        heard: dict[str, list[str]] = {_OUTPUT: [], _ERRORS: []}
        try:
            for name, line in _listen(process, deadline_s=started_s + timeout_s):
                heard[name].append(line)
                if on_line is not None:
                    on_line(line.rstrip("\r\n"))
        except _DeadlineError:
            _kill_session(process)
            lines = "".join(heard[_OUTPUT] + heard[_ERRORS]).splitlines()
            last = tuple([line.rstrip() for line in lines if line.strip()][-_LAST_LINES:])
            raise CommandTimedOutError(argv, timeout_s, last) from None
        except BaseException:
            _kill_session(process)
            raise
        return CommandResult(
            argv=tuple(argv),
            exit_code=process.wait(),
            stdout="".join(heard[_OUTPUT]),
            stderr="".join(heard[_ERRORS]),
            duration_s=time.monotonic() - started_s,
        )

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Following:
        """See `Commands.follow`. Both streams arrive as one."""
        if (simulated := platform().commands) is not None:
            following: Following = simulated.follow(argv, on_line=on_line, cwd=cwd, environ=environ)
            return following
        process = _start(argv, cwd=cwd, environ=environ, stderr=subprocess.STDOUT)

        def read() -> None:
            for line in _lines_of(process.stdout):
                on_line(line.rstrip("\r\n"))

        return _SystemFollowing(process, reader=_in_thread(read))


class _DeadlineError(Exception):
    pass


class _SystemFollowing:
    def __init__(self, process: "subprocess.Popen[str]", *, reader: threading.Thread) -> None:
        self._process = process
        self._reader = reader
        self._ended_s: float | None = None
        self._is_closed = False

    @property
    def is_running(self) -> bool:
        if self._is_closed:
            return False
        if not _has_ended(self._process, wait=False):
            return True
        # Its last lines may still be on their way; a child that it left behind may hold the output for ever.
        self._ended_s = self._ended_s or time.monotonic()
        return self._reader.is_alive() and time.monotonic() < self._ended_s + _DRAIN_S

    def close(self) -> None:
        self._is_closed = True
        if self._process.returncode is None:
            _kill_session(self._process)


def _start(
    argv: Sequence[str], *, cwd: Path | None, environ: Mapping[str, str] | None, stderr: int
) -> "subprocess.Popen[str]":
    if cwd is not None and not is_folder_there(cwd):
        raise NotADirectoryError(f"working folder {cwd} does not exist")
    try:
        return start_child(
            lambda: subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=build_inherited_environ() | dict(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                errors="replace",
                # A session of its own: Ctrl-C in the terminal reaches us, and we decide what becomes of the child.
                start_new_session=True,
            )
        )
    except OSError as error:
        if error.errno not in _NOT_A_PROGRAM:
            raise
        raise CommandNotFoundError(argv) from error


def _listen(process: "subprocess.Popen[str]", *, deadline_s: float) -> Iterator[tuple[str, str]]:
    """Each line with its stream's name, until the program has ended and its output with it, or soon after.

    Raises:
        _DeadlineError: It had not ended by the deadline.
    """
    arrived: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()

    def read(name: str, stream: IO[str] | None) -> None:
        for line in _lines_of(stream):
            arrived.put((name, line))
        arrived.put((name, None))

    def wait() -> None:
        _has_ended(process, wait=True)
        arrived.put((_EXIT, None))

    _in_thread(read, _OUTPUT, process.stdout)
    _in_thread(read, _ERRORS, process.stderr)
    _in_thread(wait)
    awaited = {_OUTPUT, _ERRORS, _EXIT}
    while awaited:
        try:
            name, line = arrived.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            if _EXIT in awaited:
                raise _DeadlineError from None
            return  # a child in the background still holds the output
        if line is not None:
            yield name, line
            continue
        awaited.discard(name)
        if name == _EXIT:
            deadline_s = time.monotonic() + _DRAIN_S


def _lines_of(stream: IO[str] | None) -> Iterator[str]:
    if stream is not None:
        with stream:
            yield from stream


def _in_thread(work: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, name="command", daemon=True)
    thread.start()
    return thread


if sys.platform == "win32":

    def _has_ended(process: "subprocess.Popen[str]", *, wait: bool) -> bool:
        if wait:
            process.wait()
        return process.poll() is not None

    def _kill_session(process: "subprocess.Popen[str]") -> None:
        process.kill()
        process.wait()

else:

    def _has_ended(process: "subprocess.Popen[str]", *, wait: bool) -> bool:
        """Whether it has ended, without collecting it: until then its process id belongs to it and its session."""
        if process.returncode is not None:
            return True
        options = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, process.pid, options) is not None
        return True

    def _kill_session(process: "subprocess.Popen[str]") -> None:
        import psutil

        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # A process that made a group of its own in this session is still there.
        for other in psutil.pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getsid(other) == process.pid:
                    os.kill(other, signal.SIGKILL)
        process.wait()
