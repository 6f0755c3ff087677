"""What a simulated program and its world say to each other: one request at a time, over a pair of sockets."""

import marshal
import select
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<I")


class GoneError(Exception):
    """The other end has ended."""


class Wire:
    """One end. Only plain values pass: numbers, texts, bytes, None, tuples, lists, dicts of them."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, value: Any) -> None:  # noqa: ANN401 - see the class
        """Send one value."""
        content = marshal.dumps(value)
        try:
            self._end.sendall(_LENGTH.pack(len(content)) + content)
        except OSError as error:
            raise GoneError from error

    def wait(self, timeout_s: float) -> bool:
        """Whether something to receive has come, or the end, within so many seconds."""
        return bool(select.select([self._end], (), (), timeout_s)[0])

    def receive(self) -> Any:  # noqa: ANN401 - whatever was sent
        """Wait for one value.

        Raises:
            GoneError: There will be none.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return marshal.loads(self._read(length))  # noqa: S302 - both ends are this program

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def _read(self, length: int) -> bytes:
        content = b""
        while len(content) < length:
            try:
                part = self._end.recv(length - len(content))
            except OSError as error:
                raise GoneError from error
            if not part:
                raise GoneError
            content += part
        return content
