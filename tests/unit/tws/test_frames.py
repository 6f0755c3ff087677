"""Frames of the TWS API, cut out of a stream of bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.tws.frames import FrameReader, WireError, build_frame, parse_fields, parse_length, wrap


def test_a_frame_is_its_length_and_its_fields() -> None:
    assert build_frame(9, 1, "x") == b"\0\0\0\x06" + b"9\x001\0x\0"


@pytest.mark.parametrize("prefix", [b"\0\0\0\0", b"HTTP", b"\xff\xff\xff\xff", b"\0\x10\0\x01"])
def test_a_length_that_no_message_has_is_refused(prefix: bytes) -> None:
    with pytest.raises(WireError, match=str(struct.unpack(">I", prefix)[0])):
        parse_length(prefix)


@pytest.mark.parametrize("body", [b"9\x001\x007\0", b"9\x001\x007"])
def test_the_last_field_may_end_without_its_nul(body: bytes) -> None:
    assert parse_fields(body) == ["9", "1", "7"]


def test_bytes_that_are_not_utf_8_are_shown_and_lose_nothing() -> None:
    assert parse_fields(b"a\xff\0b\0") == ["a\\xff", "b"]


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8), st.data())
def test_frames_come_out_whole_however_the_network_cuts_them(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(wrap(body) for body in bodies)
    reader, found = FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += list(reader.feed(stream[:size]))
        stream = stream[size:]
    assert found == bodies


@pytest.mark.parametrize("prefix", [b"HTTP", b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_an_absurd_length_ends_the_reading_after_the_frames_before_it(prefix: bytes) -> None:
    reader = FrameReader()
    bodies = reader.feed(wrap(b"fine") + prefix + wrap(b"never seen"))
    assert next(bodies) == b"fine"
    with pytest.raises(WireError):
        next(bodies)
    with pytest.raises(WireError):
        list(reader.feed(wrap(b"never seen")))
