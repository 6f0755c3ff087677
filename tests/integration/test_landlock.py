"""A program that may not connect to certain ports, by the kernel's own rules."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.system.landlock import can_deny_ports, run_confined
from orchestration.system.processes import launch_detached
from tests.integration.simulated_gateway import PATIENCE_S, PROJECT

_CONNECT = """
import socket, sys
def reach(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as error:
        return type(error).__name__
    return "connected"
found = [reach(int(port)) for port in sys.argv[1:]]
print(*found)
"""

needs_landlock = pytest.mark.skipif(not can_deny_ports(), reason="needs Landlock network rules (Linux 6.7)")


def run_program(code: str, *arguments: str, deny: set[int]) -> "subprocess.CompletedProcess[str]":
    denied = [word for port in sorted(deny) for word in ("--deny", str(port))]
    return subprocess.run(
        [sys.executable, "-m", "orchestration.system.landlock", *denied, "--", sys.executable, "-c", code, *arguments],
        cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


@needs_landlock
def test_a_confined_program_reaches_every_port_but_the_denied_ones() -> None:
    with socket.create_server(("127.0.0.1", 0)) as denied, socket.create_server(("127.0.0.1", 0)) as allowed:
        ports = [denied.getsockname()[1], allowed.getsockname()[1]]
        done = run_program(_CONNECT, *map(str, ports), deny={ports[0]})
        assert done.stdout.split() == ["PermissionError", "connected"], done.stderr


@needs_landlock
def test_what_it_starts_is_confined_with_it() -> None:
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
    with socket.create_server(("127.0.0.1", 0)) as denied:
        port = denied.getsockname()[1]
        done = run_program(nested, _CONNECT, str(port), deny={port})
        assert done.stdout.split() == ["PermissionError"], done.stderr


@needs_landlock
def test_it_becomes_the_program_with_its_arguments_and_exit_code() -> None:
    done = run_program("import os, sys; print(sys.argv[1:]); sys.exit(7)", "--deny", "5", deny={4002})
    assert (done.returncode, done.stdout.strip()) == (7, "['--deny', '5']")


@needs_landlock
def test_a_detached_program_is_confined_while_this_one_is_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as denied, socket.create_server(("127.0.0.1", 0)) as allowed:
        ports = [denied.getsockname()[1], allowed.getsockname()[1]]
        launched = launch_detached(
            [sys.executable, "-c", _CONNECT, *map(str, ports)],
            cwd=tmp_path,
            environ=os.environ,
            output=tmp_path / "output",
            denied_ports={ports[0]},
        )
        launched.wait(timeout_s=PATIENCE_S)
        assert launched.poll_exit_code() == 0
        assert (tmp_path / "output").read_text(encoding="utf-8").split() == ["PermissionError", "connected"]
        socket.create_connection(("127.0.0.1", ports[0]), timeout=PATIENCE_S).close()


@needs_landlock
def test_what_a_confined_function_raises_is_raised_here() -> None:
    with pytest.raises(FileNotFoundError):
        run_confined({4002}, lambda: subprocess.Popen(["/no/such/program"]))


def test_a_program_that_is_not_there_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.system.landlock", "--deny", "4002", "--", "/no/such/program"],
        cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 126
    assert done.stderr.strip()
