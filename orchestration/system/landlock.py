"""Start a program that cannot connect to certain TCP ports, by Landlock's network rules (Linux 6.7).

`python -m orchestration.system.landlock --deny 4001 --deny 4002 -- PROGRAM ARGUMENTS` confines itself and then becomes
the program: same process, same identity. The confinement holds for the program and everything that it starts, needs no
root, and can never be taken off. Landlock knows only what is allowed, so every port but the denied ones is allowed, one
by one (0.15 s). It covers TCP; what a kernel lets past it (MPTCP) is left to whoever watches the connections.
"""

import argparse
import ctypes
import os
import struct
import sys
from collections.abc import Collection, Sequence

# The same numbers on every architecture (asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_CONNECT_TCP = 1 << 1  # LANDLOCK_ACCESS_NET_CONNECT_TCP
_RULE_NET_PORT = 2
_NETWORK_VERSION = 4
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
_PORTS = 65536
_CANNOT_RUN = 126  # as a shell says it


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
    """Take from this process, and from all that it starts, the right to connect to these TCP ports. For good.

    Raises:
        LandlockError: The kernel refused; nothing is confined then.
    """
    attributes = struct.pack("=QQ", 0, _CONNECT_TCP)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        denied = set(ports)
        for port in range(_PORTS):
            if port not in denied:
                _call(_ADD_RULE, ruleset, _RULE_NET_PORT, struct.pack("=QQ", _CONNECT_TCP, port), 0)
        if _library().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            raise LandlockError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def build_confined_argv(argv: Sequence[str], ports: Collection[int], *, python: str = sys.executable) -> list[str]:
    """The command line that starts `argv` without the right to connect to these ports."""
    denied = [word for port in sorted(ports) for word in ("--deny", str(port))]
    return [python, "-m", "orchestration.system.landlock", *denied, "--", *argv]


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    library = _library()
    library.syscall.restype = ctypes.c_long
    result = int(library.syscall(ctypes.c_long(number), *arguments))
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
