"""A program that says what it was started as, or ends in one of many ways: `python -m tests.start_probe WHAT`."""

import atexit
import ctypes
import json
import locale
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SHOWN_OF_STATUS = ("Name", "Threads", "SigBlk", "SigIgn", "SigCgt", "Umask")


def _describe_stream(name: str) -> dict[str, object]:
    stream: Any = getattr(sys, name)
    shown = ("name", "mode", "encoding", "errors", "line_buffering", "write_through", "newlines", "closed")
    described = {attribute: getattr(stream, attribute) for attribute in shown}
    raw = getattr(stream.buffer, "raw", stream.buffer)
    described |= {"buffer": type(stream.buffer).__name__, "raw": [raw.fileno(), raw.name, raw.mode, raw.closefd]}
    return described | {"is_a_terminal": stream.isatty(), "is_the_first": stream is getattr(sys, f"__{name}__")}


def _describe() -> dict[str, object]:
    main = sys.modules["__main__"]
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    descriptors = sorted(int(path.name) for path in list(Path("/proc/self/fd").iterdir()) if path.exists())
    return {
        "argv": [sys.argv, sys.orig_argv, Path("/proc/self/cmdline").read_text(encoding="utf-8")],
        "environ": [dict(os.environ), sorted(Path("/proc/self/environ").read_text(encoding="utf-8").split("\0"))],
        "environ for C": ctypes.CDLL(None).getenv(b"STATE_DIR") != 0,
        "folder": [str(Path.cwd()), sys.path],
        "program": [sys.executable, str(Path("/proc/self/exe").readlink()), list(sys.flags), sys.dont_write_bytecode],
        "main": {name: str(value).split(" object at ")[0] for name, value in vars(main).items() if name[:2] == "__"},
        "is main": [main.__dict__ is globals(), __name__],
        "streams": [_describe_stream(name) for name in ("stdin", "stdout", "stderr")],
        "descriptors": descriptors,
        "status": {name: status[name].strip() for name in _SHOWN_OF_STATUS if name in status},
        "parent": os.getppid(),
        "is a leader": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "session": os.getsid(0) if os.getsid(0) != os.getpid() else None,
        "threads": [thread.name for thread in threading.enumerate()],
        "main thread": threading.main_thread().native_id == threading.get_native_id() == os.getpid(),
        "handlers": [str(signal.getsignal(number)).split(" at ")[0] for number in range(1, 32)],
        "locale": [locale.setlocale(locale.LC_CTYPE), sys.getfilesystemencoding(), time.tzname],
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8"),
        "test modules": sorted(name for name in sys.modules if name.partition(".")[0] == "tests"),
        "processor time is its own": time.process_time() < 30,
    }


def _print_and_wait() -> None:
    print("waiting", flush=True)
    while True:
        signal.pause()


def _leave_a_thread() -> None:
    may_go = threading.Event()

    def last_words() -> None:
        may_go.wait()
        print("the thread ends")

    threading.Thread(target=last_words).start()
    atexit.register(print, "at exit")
    threading.Timer(0.01, may_go.set).start()
    print("the main thread ends")


def _hit_the_main_thread() -> None:
    threading.Thread(target=lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)).start()
    _print_and_wait()


def _start_children() -> None:
    ended = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True, check=False)
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    print(ended, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _write_much() -> None:
    for _ in range(100_000):
        print("much")


def _fail() -> None:
    raise ValueError("as it was asked to")


def _interrupt_itself() -> None:
    raise KeyboardInterrupt


_WAYS: dict[str, Callable[[], object]] = {
    "describe": lambda: print(json.dumps(_describe())),
    "code": lambda: sys.exit(41),
    "text": lambda: sys.exit("some text"),
    "nothing": lambda: None,
    "fail": _fail,
    "interrupt itself": _interrupt_itself,
    "abort": os.abort,
    "leave at once": lambda: (print("lost"), os._exit(3)),
    "kill itself": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "raise a signal": lambda: signal.raise_signal(signal.SIGTERM),
    "hit the main thread": _hit_the_main_thread,
    "thread": _leave_a_thread,
    "children": _start_children,
    "echo": lambda: sys.stdout.write(sys.stdin.read()),
    "echo bytes": lambda: sys.stdout.buffer.write(sys.stdin.buffer.read()),
    "odd text": lambda: print("\udcff"),
    "much": _write_much,
    "wait": _print_and_wait,
    "chance": lambda: print(random.random(), os.urandom(4).hex()),  # noqa: S311 - not for a secret
}


if __name__ == "__main__":
    _WAYS[sys.argv[1]]()
