"""The guard in conftest.py, guarded."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.unit.conftest import Guard


def _start_a_program() -> None:
    subprocess.run([sys.executable, "-V"], check=True)


def _start_a_shell() -> None:
    os.system("exit 0")  # noqa: S605 - the point is that it is refused


def _connect_to_a_name() -> None:
    socket.create_connection(("localhost", 1))


def _open_a_network_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def _sleep() -> None:
    time.sleep(0.001)


def _sleep_in_a_careless_place() -> None:
    try:
        _sleep()
    except Exception as error:
        raise AssertionError("the guard was swallowed") from error


_ACTS = [
    _start_a_program,
    _start_a_shell,
    _connect_to_a_name,
    _open_a_network_socket,
    _sleep,
    _sleep_in_a_careless_place,
]


@pytest.mark.parametrize("act", _ACTS, ids=lambda act: act.__name__.strip("_"))
def test_a_unit_test_that_touches_the_world_fails(act: Callable[[], None], guard: Guard) -> None:
    with pytest.raises(pytest.fail.Exception, match="a unit test"):
        act()
    assert guard.acts
    guard.acts.clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_fails_too(guard: Guard) -> None:
    with pytest.raises(pytest.fail.Exception, match="starts a process"):
        os.fork()
    guard.acts.clear()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_binding_a_socket_in_the_file_system_fails(guard: Guard) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one, pytest.raises(pytest.fail.Exception):
        one.bind("never-made.sock")
    guard.acts.clear()


def test_an_act_in_a_thread_is_noted_although_its_failure_is_not_seen(guard: Guard) -> None:
    def act() -> None:
        with pytest.raises(pytest.fail.Exception):
            _sleep()

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert guard.acts == ["sleeps (time.sleep)"]
    guard.acts.clear()


def test_what_stays_inside_the_process_is_allowed(guard: Guard) -> None:
    async def nothing() -> None:
        await asyncio.sleep(0)

    asyncio.run(nothing())
    time.sleep(0)
    assert threading.Event().wait(0) is False
    assert guard.acts == []
