"""The door for running command-line programs: argument lists in, results out; never a shell."""

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

OnLine = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What a finished program left behind.

    Attributes:
        argv: The argument list it was run with.
        exit_code: Its exit code; negative for a signal.
        stdout: Its standard output, decoded as UTF-8 with replacement.
        stderr: Likewise its standard error.
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

    def last_lines(self, count: int = 10) -> tuple[str, ...]:
        """The last non-empty lines it wrote, standard output first, then standard error."""
        lines = [line.rstrip() for line in (self.stdout + "\n" + self.stderr).splitlines()]
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
        last_lines: What it had written until then, the last lines of it.
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
        """Whether it still runs."""
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

        Args:
            argv: Program and arguments.
            timeout_s: Seconds until it is killed.
            cwd: Working folder; this process's own by default.
            environ: Variables set on top of this process's own.
            on_line: Called with each line of either stream as it comes, for progress.

        Raises:
            CommandNotFoundError: There is no such program.
            CommandTimedOutError: It ran too long; it and its children in its session have been killed.
        """
        ...

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Following:
        """Start a program and hand on each line of its output from a thread, until it ends or is closed.

        Raises:
            CommandNotFoundError: There is no such program.
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
        started_s = time.monotonic()
        process = _start(argv, cwd=cwd, environ=environ, stderr=subprocess.PIPE)
        lines: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        readers = [
            _read_in_thread(stream, lambda line, name=name: lines.put((name, line)), lambda: lines.put(None))  # type: ignore[misc]
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
        ]
        texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
        open_streams = len(readers)
        try:
            while open_streams:
                left_s = timeout_s - (time.monotonic() - started_s)
                item = lines.get(timeout=max(0.0, left_s))
                if item is None:
                    open_streams -= 1
                    continue
                texts[item[0]].append(item[1])
                if on_line is not None:
                    on_line(item[1].rstrip("\r\n"))
            process.wait(timeout=max(0.001, timeout_s - (time.monotonic() - started_s)))
        except (queue.Empty, subprocess.TimeoutExpired):
            _kill_session(process)
            heard = "".join(texts["stdout"] + texts["stderr"]).splitlines()
            raise CommandTimedOutError(argv, timeout_s, tuple(line for line in heard if line.strip())[-10:]) from None
        except BaseException:
            _kill_session(process)
            raise
        return CommandResult(
            argv=tuple(argv),
            exit_code=process.returncode,
            stdout="".join(texts["stdout"]),
            stderr="".join(texts["stderr"]),
            duration_s=time.monotonic() - started_s,
        )

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Following:
        """See `Commands.follow`. Both streams arrive as one."""
        process = _start(argv, cwd=cwd, environ=environ, stderr=subprocess.STDOUT)
        _read_in_thread(process.stdout, lambda line: on_line(line.rstrip("\r\n")), lambda: None)
        return _SystemFollowing(process)


class _SystemFollowing:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        _kill_session(self._process)


def _start(
    argv: Sequence[str], *, cwd: Path | None, environ: Mapping[str, str] | None, stderr: int
) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**os.environ, **environ} if environ else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            errors="replace",
            # A session of its own: Ctrl-C in the terminal reaches us, and we decide what becomes of the child.
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if cwd is not None and not cwd.is_dir():
            raise NotADirectoryError(f"working folder {cwd} does not exist") from error
        raise CommandNotFoundError(argv) from error


def _read_in_thread(stream: IO[str] | None, on_line: OnLine, on_end: Callable[[], None]) -> threading.Thread:
    def read() -> None:
        if stream is not None:
            with stream:
                for line in stream:
                    on_line(line)
        on_end()

    thread = threading.Thread(target=read, name="command-output", daemon=True)
    thread.start()
    return thread


def _kill_session(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        else:
            process.kill()
        process.wait()
