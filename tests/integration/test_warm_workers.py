"""A worker that was forked from the process that has the tests loaded, beside one that was started."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests import warm_workers
from tests.system import PATIENCE_S, PROJECT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")

# As xdist has it: the code comes by standard input, and the answer goes to standard output.
_BOOTSTRAP = "import sys;exec(eval(sys.stdin.readline()))"
_MODULE = "tests.unit.test_choice"
_PROBE = """
import json, os, signal, sys, threading
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv[-3:], "environ": dict(os.environ), "cwd": os.getcwd(),
    "name": __name__, "main": sys.modules["__main__"].__dict__ is globals(),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
    "threads": threading.active_count(), "native": threading.main_thread().native_id == os.getpid(),
    "streams": [[stream.name, stream.encoding, stream.errors, stream.line_buffering, stream.write_through]
                for stream in (sys.stdin, sys.stdout, sys.stderr)],
    "left": sys.stdin.read(),
}))
print("to stderr", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[warm_workers.WarmServer]:
    server = warm_workers.WarmServer(["tests/unit/test_choice.py"])
    yield server
    server.close()


def run(python: str, code: str) -> tuple[str, str]:
    ended = subprocess.run(
        [*shlex.split(python), "-u", "-c", _BOOTSTRAP],
        input=f"{code!r}\nthe rest",
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "ONLY": "here"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return ended.stdout, ended.stderr


def look(python: str) -> Any:  # noqa: ANN401 - a JSON document
    out, err = run(python, _PROBE)
    assert err == "to stderr\n"
    return json.loads(out)


def test_a_forked_worker_is_like_a_started_one_but_has_the_tests_loaded(server: warm_workers.WarmServer) -> None:
    forked = look(server.python)
    assert forked == look(shlex.quote(sys.executable))
    assert forked["left"] == "the rest"
    has_it = f"import sys; print({_MODULE!r} in sys.modules)"
    assert run(server.python, has_it)[0] == "True\n"
    assert run(shlex.quote(sys.executable), has_it)[0] == "False\n"


def test_the_killing_of_a_worker_is_seen_where_it_is_awaited(server: warm_workers.WarmServer) -> None:
    assert run(server.python, f"import os; print(1); os.kill(os.getpid(), {int(signal.SIGKILL)})") == ("1\n", "")


def test_without_a_server_a_worker_is_started() -> None:
    server = warm_workers.WarmServer(["tests/unit/test_choice.py"])
    run(server.python, "pass")
    python = server.python
    server.close()
    assert look(python) == look(shlex.quote(sys.executable))
