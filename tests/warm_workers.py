"""Starts the workers of a parallel run as forks of one process that has loaded all tests.

A worker needs some three seconds of processor before its first test, two of them for imports that are the same in each
worker. `WarmServer` starts `python -m tests.warm_workers SOCKET`, which collects the tests once and then forks a worker
for each request. xdist starts a worker by running a Python with `-c`; it is told to run this file instead, which asks
the server for a fork with its own standard streams and ends when that fork does. Where there is no server, the file
becomes the Python that xdist meant. With `TEST_WARM_WORKERS=off` in the environment every worker is started.
"""

import contextlib
import gc
import json
import os
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LENGTH = struct.Struct("!I")
_PATIENCE_S = 120
_PROJECT = Path(__file__).resolve().parent.parent


class WarmServer:
    """The process that has the tests loaded; it ends when this one does.

    Attributes:
        python: What xdist is to run in place of Python.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Start it; it begins to load the tests below these paths, which are relative to the project's folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="warm-workers-")
        address = f"{self._folder.name}/socket"
        # `-I -S`: what stands between xdist and a worker needs nothing but the standard library.
        self.python = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).resolve()), address])
        # Requests may wait here while the server still loads the tests. If it dies they are refused.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(128)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_workers", str(listener.fileno()), *paths],
                cwd=_PROJECT,
                stdin=subprocess.PIPE,  # its end tells the server to end
                stdout=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
            )

    def close(self) -> None:
        """End the server; workers that still run go on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE_S)
        self._folder.cleanup()


def is_possible() -> bool:
    """Whether workers can be forked on this system, and no setting says otherwise."""
    return sys.platform == "linux" and os.environ.get("TEST_WARM_WORKERS") != "off"


def _ask_for_a_worker(address: str, arguments: list[str]) -> None:
    """Have a worker forked that has this process's streams, and end with it; without a server, become the worker."""
    request = json.dumps({"argv": [sys.executable, *arguments], "environ": dict(os.environ)}).encode()
    is_begun = False
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [_LENGTH.pack(len(request))], [0, 1, 2])
        server.sendall(request)
        is_begun = server.recv(1) != b""
        if is_begun:
            # The holder of the other ends is to see when the worker closes them.
            os.close(0)
            os.close(1)
            server.recv(1)
    if not is_begun:
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - what xdist was about to run


def _serve(listener: socket.socket) -> dict[str, Any]:
    """Fork workers until standard input ends. In a worker, return its request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing asks how a worker ended: it has told xdist
    waited_for: list[Any] = [0, listener]
    while True:
        if 0 in select.select(waited_for, [], [])[0]:
            os._exit(0)
        client = listener.accept()[0]
        with client:
            head, streams, _, _ = socket.recv_fds(client, _LENGTH.size, 3)
            with client.makefile("rb") as file:
                request = json.loads(file.read(_LENGTH.unpack(head)[0]))
            if os.fork() == 0:
                listener.close()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                client.sendall(b"1")
                client.detach()  # stays open to the end of the worker, which its end tells
                return dict(request)
            for stream in streams:
                os.close(stream)


def _become_python(argv: list[str], environ: dict[str, str]) -> str:
    """Turn this fork into a Python that was started with these words; returns the code that it is to run."""
    from tests.fork_server import open_streams

    code = argv[argv.index("-c") + 1]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main_thread: Any = threading.main_thread()
    main_thread._set_native_id()  # noqa: SLF001 - a fork leaves the parent's there, before Python 3.13
    os.environ.clear()
    os.environ.update(environ)
    open_streams(is_unbuffered=True)
    sys.argv[:] = ["-c"]
    sys.orig_argv[:] = argv
    sys.modules["__main__"] = types.ModuleType("__main__")
    return code


def _prepare_hypothesis() -> None:
    """Have it read the package's constants and Unicode's tables, which takes each process two seconds otherwise."""
    import hypothesis
    from hypothesis import strategies

    # Enough examples for it to want a constant, the same ones each time; however slow the machine is.
    @hypothesis.settings(
        max_examples=100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.lists(strategies.integers()), strategies.text())
    def draw(_numbers: list[int], _text: str) -> None:
        pass

    draw()


def main() -> None:
    """Load the tests, then fork workers; in a worker, run what xdist has it run."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the run, which ends this server
    import pytest

    # Options of the run, such as where its report goes, are for the run.
    os.environ.pop("PYTEST_ADDOPTS", None)
    pytest.main([*sys.argv[2:], "--collect-only", "-qqq", "-n", "0", "-p", "no:cacheprovider"])
    if any(Path(path).is_dir() for path in sys.argv[2:]):  # a single file may have no generated test
        _prepare_hypothesis()
    gc.collect()
    gc.freeze()
    request = _serve(listener)
    code = _become_python(request["argv"], request["environ"])
    exec(code, sys.modules["__main__"].__dict__)  # noqa: S102 - what `python -c` does


if __name__ == "__main__":
    if __package__:
        main()
    else:
        _ask_for_a_worker(sys.argv[1], sys.argv[2:])
