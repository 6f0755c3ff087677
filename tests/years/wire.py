"""What a simulated program and its world say to each other: one request at a time, over a pair of sockets."""

import marshal
import socket
import struct
from typing import Any

_LONGEST = 1 << 22
_SECONDS_AND_MICROSECONDS = struct.Struct("@ll")


class GoneError(Exception):
    """The other end has ended."""


class SilentError(Exception):
    """The other end says nothing."""


class Wire:
    """One end. Only plain values pass: numbers, texts, bytes, None, tuples, lists, dicts of them."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, value: Any) -> None:  # noqa: ANN401 - see the class
        """Send one value."""
        try:
            self._end.send(marshal.dumps(value))
        except OSError as error:
            raise GoneError from error

    def receive(self) -> Any:  # noqa: ANN401 - whatever was sent
        """Wait for one value.

        Raises:
            GoneError: There will be none.
            SilentError: None has come in the time that `limit_patience` has set.
        """
        try:
            content = self._end.recv(_LONGEST)
        except BlockingIOError as error:
            raise SilentError from error
        except OSError as error:
            raise GoneError from error
        if not content:
            raise GoneError
        return marshal.loads(content)  # noqa: S302 - both ends are this program

    def limit_patience(self, timeout_s: int) -> None:
        """Wait no longer than this for a value, in seconds of real time."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SECONDS_AND_MICROSECONDS.pack(timeout_s, 0))

    def close(self) -> None:
        """Close this end."""
        self._end.close()


def open_wire() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new one; a value is one packet, so that each costs one call of the kernel's a side."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
    return ends
