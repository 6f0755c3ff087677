r"""Frames of the TWS API: a length (32 bits, unsigned, big endian) and that many bytes.

The bytes of a message are text fields, each ended by NUL. From server version 201 on, a frame starts with the message's
number as a raw 32-bit integer instead of a text field, and the rest may be protobuf; this program negotiates at most
version 178, where every field is text.
"""

import struct
from collections.abc import Iterator

# The longest message known, the account list of an advisor with 50 accounts, has 600 bytes; no client's request comes
# near a mebibyte. A larger number is not a length: the letters `HTTP` read as one are 1.2 GB.
MAX_FRAME_BYTES = 1 << 20

# The scanner's parameters, one message of about 2 MB, are the largest that a gateway sends to a client that asks.
MAX_RELAYED_FRAME_BYTES = 1 << 24

_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size


class WireError(Exception):
    """The other side does not speak this protocol. The text says what it sent instead."""


def build_frame(*fields: object) -> bytes:
    """One message of text fields, ready to be sent."""
    return wrap("".join(f"{field}\0" for field in fields).encode())


def wrap(body: bytes) -> bytes:
    """A body with its length before it."""
    return _LENGTH.pack(len(body)) + body


def parse_length(prefix: bytes, *, limit: int = MAX_FRAME_BYTES) -> int:
    """The number of bytes that follow a frame's first four.

    Raises:
        WireError: The number is 0, or above the limit.
    """
    (length,) = _LENGTH.unpack(prefix)
    if not 0 < length <= limit:
        raise WireError(f"it announces a message of {length} bytes")
    return int(length)


def parse_fields(body: bytes) -> list[str]:
    """The fields of a frame's body. Some clients leave out the NUL that ends the last field."""
    return body.decode("utf-8", errors="backslashreplace").removesuffix("\0").split("\0")


class FrameReader:
    """Cuts what a socket delivers, in pieces of any size, into the bodies of whole frames.

    Args:
        limit: The largest frame that is taken for one, in bytes.
    """

    def __init__(self, *, limit: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete now.

        Raises:
            WireError: What stands where a length should be is none. Nothing after it can be read.
        """
        self._buffer += data
        while len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + parse_length(bytes(self._buffer[:LENGTH_BYTES]), limit=self._limit)
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[LENGTH_BYTES:end])
            del self._buffer[:end]
            yield body
