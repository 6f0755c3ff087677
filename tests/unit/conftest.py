"""The guard of the unit tests: a test that starts a process, opens a socket or really sleeps, fails.

Python announces these acts to audit hooks. The hook below answers with a failure that no `except Exception` in the
tested code can swallow; and because a thread's failure is not seen, each act is also noted and fails the test at its
end. A hook can never be taken out again, so it is switched on and off around each test.
"""

import gc
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, SupportsIndex

import pytest

_FORBIDDEN = {
    "subprocess.Popen": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.spawn": "starts a process",
    "os.startfile": "starts a process",
    "os.system": "starts a process",
    "os.exec": "starts a process",
    "os.fork": "starts a process",
    "os.forkpty": "starts a process",
    "socket.connect": "opens a socket",
    "socket.bind": "opens a socket",
    "socket.sendto": "opens a socket",
    "socket.sendmsg": "opens a socket",
    "socket.getaddrinfo": "asks for an address",
    "socket.gethostbyname": "asks for an address",
    "socket.gethostbyaddr": "asks for an address",
}
_NETWORK = {socket.AF_INET, socket.AF_INET6}


class Guard:
    """Notes and refuses what a unit test may not do.

    Attributes:
        acts: What was refused during the test that runs now.
        is_on: Whether a unit test runs now.
    """

    def __init__(self) -> None:
        self.acts: list[str] = []
        self.is_on = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_on:
            return
        act = _FORBIDDEN.get(event)
        if event == "socket.__new__" and arguments[1] in _NETWORK:
            # A pair of local sockets is how an event loop wakes itself up: only the network's families count.
            act = "opens a socket"
        if act is not None:
            self.refuse(act, event)

    def refuse(self, act: str, event: str) -> NoReturn:
        self.acts.append(f"{act} ({event})")
        pytest.fail(f"a unit test {act} ({event}); it belongs in tests/integration, or needs a fake")

    def sleep(self, duration_s: SupportsIndex | float) -> None:
        """Stand for `time.sleep`, which older Pythons do not announce."""
        if duration_s:
            self.refuse("sleeps", "time.sleep")


_guard = Guard()
sys.addaudithook(_guard)
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A time-out costs a thread for each test: a third of what all unit tests take. Nothing here can wait for anything.
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.timeout(0))


def pytest_collection_finish() -> None:
    # What is there now stays to the end; looking through it for garbage again and again is a sixth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def guard() -> Iterator[Guard]:
    _guard.acts.clear()
    really_sleep, time.sleep = time.sleep, _guard.sleep
    _guard.is_on = True
    try:
        yield _guard
    finally:
        _guard.is_on = False
        time.sleep = really_sleep
    if _guard.acts:
        pytest.fail(f"this unit test {'; '.join(_guard.acts)}")
