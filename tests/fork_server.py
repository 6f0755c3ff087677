"""Starts the project's programs as forks of one process that has them loaded: `python -m tests.fork_server FD`.

`tests/programs.py` starts it and asks it. A program's start costs a quarter to three quarters of a second of processor,
nearly all of it for imports; a fork costs milliseconds. The fork looks like a program of its own, from outside and from
inside: the test that asked is its parent and gets its exit code; command line, environment, standard streams, session
and `__main__` are its own; it has no thread, descriptor or signal handler of the server's.
`tests/integration/test_fork_server.py` compares it with a program that was really started.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import io
import json
import mmap
import os
import pkgutil
import signal
import socket
import struct
import sys
import threading
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("!I")

# What the programs import in functions of theirs, and `invoke`, which runs the tasks.
_LIBRARIES = (
    "asyncio",
    "dotenv.parser",
    "ib_async",
    "invoke.main",
    "jinja2",
    "jsonschema",
    "jsonschema_specifications",
    "requests",
    "rfc3339_validator",
    "rich.box",
    "rich.console",
    "rich.live",
    "rich.table",
    "sqlite3",
    "tzdata",
)

# See clone(2), prctl(2), PR_SET_MM(2const): constants of the kernel, the same on every architecture.
_SYS_CLONE3 = 435
_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x00008000, 0x00200000, 0x01000000
_PR_SET_MM, _PR_SET_MM_MAP, _PR_GET_TID_ADDRESS = 35, 14, 40
_FIELDS_OF_STAT = {
    "start_code": 26,
    "end_code": 27,
    "start_data": 45,
    "end_data": 46,
    "start_brk": 47,
    "start_stack": 28,
}

# What must not be forgotten: the kernel, or the interpreter, looks at it.
_KEPT: list[object] = []
_ON_INTERRUPT = signal.getsignal(signal.SIGINT)


class _CloneArguments(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    ]


class _MemoryMap(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("start_code", "end_code", "start_data", "end_data", "start_brk", "brk")),
        *((name, ctypes.c_uint64) for name in ("start_stack", "arg_start", "arg_end", "env_start", "env_end", "auxv")),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    ]


class CannotForkError(Exception):
    """The kernel or the interpreter does not allow what a fork that looks like a program needs."""


def _load_programs() -> None:
    """Import everything that the programs import, but do nothing of what they do."""
    import orchestration

    for name in _LIBRARIES:
        importlib.import_module(name)
    for found in pkgutil.walk_packages(orchestration.__path__, "orchestration."):
        # What cannot be imported here is for a test to find, not for the server.
        if not found.name.endswith(".__main__") and "deploy" not in found.name.split("."):
            with contextlib.suppress(ImportError):
                importlib.import_module(found.name)


def _check_that_nothing_runs_beside() -> None:
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) > 1:
        raise CannotForkError(f"something that was imported runs {len(threads) - 1} threads")


def _fork_for_the_parent() -> int:
    """Fork a child of this process's parent, as `os.fork` forks one of this process's own. Zero in the child."""
    # These two keep the interpreter's lock while they are called, as the fork in Python itself does.
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    own_id = ctypes.c_void_p()
    if libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(own_id), 0, 0, 0) != 0:
        raise CannotForkError(f"prctl: {os.strerror(ctypes.get_errno())}")
    # The C library keeps the thread's number where the kernel is told to write the child's.
    flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID
    arguments = _CloneArguments(flags=flags, child_tid=own_id.value)
    python.PyOS_BeforeFork()
    pid = int(libc.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments)))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise CannotForkError(f"clone3: {os.strerror(ctypes.get_errno())}")
    return pid


def _show_as(argv: Sequence[str], environ: dict[str, str]) -> None:
    """Let `/proc` show this command line and this environment, as it does after an exec."""
    line = b"".join(os.fsencode(word) + b"\0" for word in argv)
    variables = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environ.items())
    block = mmap.mmap(-1, len(line) + len(variables), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.write(line + variables)
    start = ctypes.addressof(ctypes.c_char.from_buffer(block))
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sbrk.restype = ctypes.c_void_p
    memory = _MemoryMap(
        **{name: int(fields[number - 3]) for name, number in _FIELDS_OF_STAT.items()},
        brk=libc.sbrk(ctypes.c_ssize_t(0)),
        arg_start=start,
        arg_end=start + len(line),
        env_start=start + len(line),
        env_end=start + len(line) + len(variables),
        exe_fd=2**32 - 1,
    )
    if libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(memory), ctypes.sizeof(memory), 0) != 0:
        raise CannotForkError(f"prctl: {os.strerror(ctypes.get_errno())}")
    _KEPT.append(block)


def open_streams(*, is_unbuffered: bool) -> None:
    """Make new `sys.stdin`, `sys.stdout` and `sys.stderr`, as the interpreter makes them when it begins."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        before = getattr(sys, name)
        binary: Any = open(  # noqa: SIM115 - a descriptor, which stays open
            number, f"{mode}b", buffering=0 if is_unbuffered and mode == "w" else -1, closefd=False
        )
        raw = getattr(binary, "raw", binary)
        raw.name = f"<{name}>"
        stream: Any = io.TextIOWrapper(
            binary,
            encoding=before.encoding,
            errors=before.errors,
            newline="\n",
            line_buffering=not is_unbuffered and (name == "stderr" or raw.isatty()),
            write_through=is_unbuffered,
        )
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _become(request: dict[str, Any], streams: Sequence[int], client: socket.socket) -> types.CodeType:
    """Turn this fresh child into the program that was asked for; the code to run."""
    signal.signal(signal.SIGINT, _ON_INTERRUPT)
    argv, environ = request["argv"], request["environ"]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    if request["start_new_session"]:
        os.setsid()
    if request["process_group"] >= 0:
        os.setpgid(0, request["process_group"])
    main_thread: Any = threading.main_thread()
    main_thread._set_native_id()  # noqa: SLF001 - a fork leaves the parent's there, before Python 3.13
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    open_streams(is_unbuffered=bool(environ.get("PYTHONUNBUFFERED")))
    module = argv[2]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{module}.__main__")
    if spec is None or spec.loader is None or spec.origin is None:
        raise CannotForkError(f"no module {module} to run")
    loader: Any = spec.loader
    code: types.CodeType = loader.get_code(spec.name)
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=loader,
        __package__=spec.parent,
        __spec__=spec,
        __builtins__=__builtins__,
    )
    _KEPT.append(sys.modules["__main__"])
    sys.modules["__main__"] = main
    sys.orig_argv[:] = argv
    sys.argv[:] = [spec.origin, *argv[3:]]
    _show_as(argv, environ)
    # All is done that can fail: the caller may go on. After that, nothing of the server is left open.
    _reply(client, {"pid": os.getpid()})
    client.detach()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    return code


def _reply(to: socket.socket, answer: dict[str, object]) -> None:
    data = json.dumps(answer).encode()
    to.sendall(LENGTH.pack(len(data)) + data)


def _receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One request and the three standard streams; ends the server where nothing will ask again."""
    head, streams, _, _ = socket.recv_fds(client, LENGTH.size, 3)
    if not head:
        os._exit(0)
    left, parts = LENGTH.unpack(head)[0], []
    while left:
        parts.append(client.recv(min(left, 2**20)))
        left -= len(parts[-1])
    return json.loads(b"".join(parts)), streams


def _refuse(client: socket.socket, error: Exception) -> None:
    _reply(client, {"error": f"{type(error).__name__}: {error}"})


def _serve(client: socket.socket) -> types.CodeType:
    """Answer requests until nothing asks any more. In a child, return what it is to run."""
    while True:
        request, streams = _receive(client)
        try:
            pid = _fork_for_the_parent()
        except CannotForkError as error:
            _refuse(client, error)
            pid = -1
        if pid == 0:
            try:
                return _become(request, streams, client)
            except Exception as error:  # noqa: BLE001 - whatever it is, the waiting side must hear of it
                _refuse(client, error)
                os._exit(1)
        for stream in streams:
            os.close(stream)


def _run(code: types.CodeType) -> None:
    """Run the program to its end.

    An ordinary end is brought about as the interpreter does, up to where it would take all modules apart, object by
    object: in a fork, which copies every page that it touches, that would cost more than all the rest. Any other end
    (an exception, a text as exit code, output that cannot be written) is left to the interpreter.
    """
    exit_code = 0
    try:
        exec(code, sys.modules["__main__"].__dict__)  # noqa: S102 - what `python -m` does
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        exit_code = ended.code or 0
    threading_module: Any = threading
    threading_module._shutdown()  # noqa: SLF001 - as the interpreter waits for threads
    atexit._run_exitfuncs()  # noqa: SLF001 - likewise
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code & 0xFF)
    sys.exit(exit_code)


def main() -> None:
    """Load the programs, say so, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the tests, and they end this server
    client = socket.socket(fileno=int(sys.argv[1]))
    try:
        _load_programs()
        _check_that_nothing_runs_beside()
        _show_as(sys.orig_argv, dict(os.environ))
    except CannotForkError as error:
        _refuse(client, error)
        return
    gc.collect()
    gc.freeze()
    _reply(client, {"pid": os.getpid()})
    _run(_serve(client))


if __name__ == "__main__":
    main()
