"""Start a program that cannot connect to certain TCP ports, by Landlock's network rules (Linux 6.7).

`run_confined` starts it from within this program: the rules are a thread's, and what the thread starts inherits them.
`processes.launch_detached` has it as `denied_ports`.

`python -m orchestration.system.landlock --deny 4001 --deny 4002 -- PROGRAM ARGUMENTS` confines itself and then becomes
the program: same process, same identity. The confinement holds for the program and everything that it starts, needs no
root, and can never be taken off. Landlock knows only what is allowed, so every port but the denied ones is allowed, one
by one (0.15 s). It covers TCP; what a kernel lets past it (MPTCP) is left to the watcher of connections.
"""

import argparse
import ctypes
import functools
import os
import struct
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

# The same numbers on every architecture (asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_CONNECT_TCP = 1 << 1  # LANDLOCK_ACCESS_NET_CONNECT_TCP
_RULE_NET_PORT = 2
_NETWORK_VERSION = 4
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
_PORTS = 65536
_CANNOT_RUN = 126  # as a shell says it


_ResultT = TypeVar("_ResultT")


class LandlockError(OSError):
    """The kernel did not confine this process."""


def can_deny_ports() -> bool:
    """Whether this kernel has Landlock's network rules, switched on. Changes nothing."""
    if sys.platform != "linux":
        return False
    try:
        return _call(_CREATE_RULESET, None, 0, _GET_VERSION) >= _NETWORK_VERSION
    except LandlockError:
        return False


def deny_ports(ports: Collection[int]) -> None:
    """Take from this thread, and from all that it starts, the right to connect to these TCP ports. For good.

    Raises:
        LandlockError: The kernel refused; nothing is confined then.
    """
    attributes = struct.pack("=QQ", 0, _CONNECT_TCP)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        denied, rule = set(ports), struct.Struct("=QQ")
        for port in range(_PORTS):
            if port not in denied:
                _call(_ADD_RULE, ruleset, _RULE_NET_PORT, rule.pack(_CONNECT_TCP, port), 0)
        if _library().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            raise LandlockError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def run_confined(ports: Collection[int], act: Callable[[], _ResultT]) -> _ResultT:
    """Call `act` without the right to connect to these TCP ports, and return what it returns.

    The confinement holds for what `act` starts, for good; the rest of this program is not touched by it.

    Args:
        ports: The ports to deny.
        act: Called in a thread of its own, which ends with it.

    Raises:
        LandlockError: The kernel refused; `act` was not called.
        BaseException: What `act` raises.
    """
    results: list[_ResultT] = []
    errors: list[BaseException] = []
    is_interrupted = threading.Event()

    def work() -> None:
        try:
            deny_ports(ports)
            if not is_interrupted.is_set():
                results.append(act())
        except BaseException as error:  # noqa: BLE001 - handed on to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, name="confined")
    thread.start()
    try:
        thread.join()
    except BaseException:
        # A signal: what `act` starts must exist, or never come to exist, before the caller looks for it.
        is_interrupted.set()
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]


@functools.cache
def _library() -> ctypes.PyDLL:
    # One that keeps the interpreter's lock: giving it away 65,536 times would take minutes beside a busy thread.
    library = ctypes.PyDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = int(_library().syscall(number, *arguments))
    if result < 0:
        raise LandlockError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Confine this process, and become the program. Returns only if that failed."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.system.landlock")
    parser.add_argument("--deny", type=int, action="append", required=True, help="a TCP port to deny; may be repeated")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="-- and the program with its arguments")
    given = parser.parse_args(arguments)
    argv = given.program[1:] if given.program[:1] == ["--"] else given.program
    if not argv:
        parser.error("no program is named")
    try:
        deny_ports(given.deny)
    except LandlockError as error:
        sys.stderr.write(f"the kernel does not confine this process: {error.strerror}\n")
        return _CANNOT_RUN
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - to become the program is what this one is for
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
    return _CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
