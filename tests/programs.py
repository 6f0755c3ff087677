"""Starts programs for tests as `subprocess` does, the project's own ones as forks of a process that has them loaded.

`Popen` takes what `subprocess.Popen` takes, and `run` is its short form. What is not `python -m` of a program of the
project, in the project's folder and with nothing special about it, is started as ever. `tests/fork_server.py` says what
a fork is like. With `TEST_FORK_SERVER=off` in the environment every program is started.
"""

import atexit
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration.system.commands import CommandResult, Following, OnLine, SystemCommands
from tests.fork_server import LENGTH

PROJECT = Path(__file__).resolve().parent.parent

_PATIENCE_S = 60
_LONGEST_WORD = 100_000  # the kernel refuses words from 128 KiB on
_PROGRAMS = ("invoke", "orchestration.", "tests.start_probe")
_HANDED_ON = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "COVERAGE_PROCESS_START")
# What has its effect while the interpreter begins, and is as it was for the server or has no fork.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_PRELOAD", "MALLOC_", "GLIBC_", "COVERAGE_")
_MAY_DIFFER = frozenset({"PYTHONUNBUFFERED"})
_ARGUMENTS = [
    *(
        "args",
        "executable",
        "preexec_fn",
        "close_fds",
        "pass_fds",
        "cwd",
        "env",
        "startupinfo",
        "creationflags",
        "shell",
    ),
    *("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"),
    *("restore_signals", "gid", "gids", "uid", "umask", "start_new_session", "process_group"),
]
_PIPE_ENDS = _ARGUMENTS[10:16]
# What these must be for a fork; the rest is looked at, or passed on.
_ORDINARY = {
    "preexec_fn": None,
    "close_fds": True,
    "pass_fds": (),
    "shell": False,
    "restore_signals": True,
    "gid": None,
    "gids": None,
    "uid": None,
    "umask": -1,
}


class ForkServerError(Exception):
    """The fork server has died, or does not answer."""


class _Server:
    """The process that has the programs loaded; it is started when it is first needed, once in each test process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner = 0
        self.problem = ""

    def fork(self, request: dict[str, object], streams: Sequence[int]) -> int | None:
        """Fork a program; None where that cannot be done, and it has to be started."""
        with self._lock:
            if self._owner != os.getpid():
                self._begin()
            if self._socket is None:
                return None
            data = json.dumps(request).encode()
            try:
                socket.send_fds(self._socket, [LENGTH.pack(len(data))], list(streams))
                self._socket.sendall(data)
                return self._read_answer()
            except OSError as error:
                self._abandon()
                raise ForkServerError(f"the fork server has died, or does not answer: {error}") from error

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._socket, its = socket.socketpair()
        self._socket.settimeout(_PATIENCE_S)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(its.fileno())],
                cwd=PROJECT,
                # One thread in a library would be one that its forks lack.
                env={**read_handed_on(), "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(its.fileno(),),
            )
        atexit.register(self.close)
        try:
            if self._read_answer() is None:
                self.close()
        except OSError as error:
            self._abandon()
            raise ForkServerError(f"the fork server does not come up: {error}") from error

    def _abandon(self) -> None:
        """Kill it, so that a late answer is not taken for that to the next request, which starts another one."""
        assert self._process is not None
        self._process.kill()
        self.close()
        self._owner = 0

    def _read_answer(self) -> int | None:
        answer = json.loads(self._read(LENGTH.unpack(self._read(LENGTH.size))[0]))
        self.problem = answer.get("error", "")
        return None if self.problem else int(answer["pid"])

    def _read(self, length: int) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                raise ConnectionError("it has closed the connection; TEST_FORK_SERVER=off does without it")
            data += part
        return data

    def close(self) -> None:
        """End the server. It ends by itself, too, when this process does."""
        if self._socket is not None and self._process is not None and self._owner == os.getpid():
            self._socket.close()
            self._socket = None
            self._process.wait(_PATIENCE_S)


_server = _Server()
_IS_POSSIBLE = (
    sys.platform == "linux"
    and os.environ.get("TEST_FORK_SERVER") != "off"
    and list(inspect.signature(vars(subprocess.Popen)["_execute_child"]).parameters) == ["self", *_ARGUMENTS]
)


class Popen(subprocess.Popen[str]):
    """A program that runs, as `subprocess.Popen` has it: this process's child, with its output as text.

    Attributes:
        is_forked: Whether it was forked, not started.
    """

    is_forked = False

    def _execute_child(self, *arguments: Any) -> None:  # noqa: ANN401 - of two dozen types
        """Make the child: the one method of `subprocess.Popen` that does, whatever its streams and its waiting are."""
        given = dict(zip(_ARGUMENTS, arguments, strict=False))
        request = _build_request(given) if _IS_POSSIBLE else None
        if request is not None:
            streams = [
                number if given[name] == -1 else given[name]
                for number, name in enumerate(("p2cread", "c2pwrite", "errwrite"))
            ]
            pid = _server.fork(request, streams)
            if pid is not None:
                self.pid, self._child_created, self.is_forked = pid, True, True
                self._close_pipe_fds(*(given[name] for name in _PIPE_ENDS))  # type: ignore[attr-defined]
                return
        super()._execute_child(*arguments)  # type: ignore[misc]


def run(
    argv: Sequence[str],
    *,
    cwd: Path = PROJECT,
    env: Mapping[str, str] | None = None,
    timeout: float,
    kind: type["subprocess.Popen[str]"] = Popen,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, without input, and return what it said."""
    with kind(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


class ProjectCommands:
    """`Commands`, by which the project's own programs are run as `run` does: forked where that can be done."""

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
        assert on_line is None, "its output comes at its end"
        ended = run(argv, cwd=cwd or PROJECT, env={**read_handed_on(), **(environ or {})}, timeout=timeout_s)
        return CommandResult(argv=tuple(argv), exit_code=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Following:
        """See `Commands.follow`."""
        return SystemCommands().follow(argv, on_line=on_line, cwd=cwd, environ=environ)


def read_handed_on() -> dict[str, str]:
    """What a program is handed on of the environment of the tests."""
    return {name: os.environ[name] for name in _HANDED_ON if name in os.environ}


def _build_request(given: Mapping[str, Any]) -> dict[str, object] | None:
    """What to ask the server for; None for a program that has to be started."""
    argv = [given["args"]] if isinstance(given["args"], str | bytes | os.PathLike) else list(given["args"])
    environ = dict(os.environ if given["env"] is None else given["env"])
    if not (
        all(given[name] == value for name, value in _ORDINARY.items())
        and given["executable"] in {None, argv[0]}
        and len(argv) > 2
        and argv[:2] == [sys.executable, "-m"]
        and str(argv[2]).startswith(_PROGRAMS)
        and Path(given["cwd"] or ".").resolve() == PROJECT
    ):
        return None
    words = [*argv, *environ, *environ.values()]
    if not all(isinstance(word, str) and "\0" not in word and len(word) < _LONGEST_WORD for word in words):
        return None
    if any("=" in name for name in environ) or _read_at_start(environ) != _read_at_start(read_handed_on()):
        return None
    return {
        "argv": argv,
        "environ": environ,
        "start_new_session": given["start_new_session"],
        "process_group": given["process_group"],
    }


def _read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environ.items() if name.startswith(_READ_AT_START) and name not in _MAY_DIFFER
    }
