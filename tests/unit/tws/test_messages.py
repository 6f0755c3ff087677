"""The handshake and the messages, held to what other people's clients sent and understood (`tests/clients`)."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.tws import messages
from orchestration.tws.frames import FrameReader, WireError, parse_fields, wrap
from orchestration.tws.messages import CurrentTime, ErrorMessage, Greeting, ManagedAccounts, Message, NextValidId

_RECORDINGS = sorted((Path(__file__).parents[2] / "fixtures" / "tws").glob("*.json"))
_OFFERED = {
    "ib_async-2.1.0": (157, 178),
    "ibapi-9.81.1": (100, 157),
    "ibapi-10.50.2": (100, 226),
    "ibapi-10.51.1": (100, 226),
    "stoqey-ib-1.6.10": (100, 193),
}


def read_recording(path: Path) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for side in ("sent", "received"):
        recording[side] = recording[side].encode("latin-1")
    return recording


def read_messages(stream: bytes) -> tuple[Greeting, list[Message]]:
    greeting, *rest = (parse_fields(body) for body in FrameReader().feed(stream))
    return messages.parse_greeting(greeting), [messages.parse_message(fields) for fields in rest]


def test_every_client_has_a_recording() -> None:
    assert [path.stem for path in _RECORDINGS] == sorted(_OFFERED)


@pytest.mark.parametrize("path", _RECORDINGS, ids=lambda path: path.stem)
def test_what_a_client_sent_is_read_as_it_meant_it(path: Path) -> None:
    recording = read_recording(path)
    assert recording["sent"].startswith(messages.API_PREFIX)
    hello, start, ask = FrameReader().feed(recording["sent"].removeprefix(messages.API_PREFIX))
    offered = messages.parse_hello(hello)
    assert (offered.oldest, offered.newest) == _OFFERED[path.stem]
    assert messages.parse_start_api(parse_fields(start)) == recording["client_id"]
    assert wrap(ask) == messages.build_time_request()


@pytest.mark.parametrize("path", _RECORDINGS, ids=lambda path: path.stem)
def test_what_a_client_understood_is_read_the_same_here(path: Path) -> None:
    recording = read_recording(path)
    reported = recording["reported"]
    greeting, read = read_messages(recording["received"])
    assert greeting.version == reported["server_version"]
    assert NextValidId(order_id=reported["next_valid_id"]) in read
    assert CurrentTime(epoch_s=reported["time"]) in read
    assert ManagedAccounts(accounts=(reported["accounts"],)) in read
    errors = [one for one in read if isinstance(one, ErrorMessage)]
    assert [error.code for error in errors] == [2104, 2106, 2158]
    # `@stoqey/ib` passes notices on as another event; the other clients report them, and with the same words.
    for said, error in zip(reported["errors"], errors, strict=bool(reported["errors"])):
        assert {error.request_id, error.code, error.text} <= set(said)


def test_this_program_sends_what_ib_async_sends() -> None:
    (path,) = (one for one in _RECORDINGS if one.stem.startswith("ib_async"))
    recording = read_recording(path)
    ours = messages.build_hello() + messages.build_start_api(recording["client_id"]) + messages.build_time_request()
    assert ours == recording["sent"]


@pytest.mark.parametrize(("version", "fields"), [(157, 5), (165, 5), (166, 6), (178, 6)])
def test_an_error_has_the_fields_of_its_version(version: int, fields: int) -> None:
    (body,) = FrameReader().feed(messages.build_error(-1, 326, "no", version=version))
    assert len(parse_fields(body)) == fields
    assert messages.parse_message(parse_fields(body)) == ErrorMessage(request_id=-1, code=326, text="no")


@pytest.mark.parametrize(
    ("hello", "versions"),
    [
        (b"v157..178", (157, 178)),
        (b"v160", (160, 160)),
        (b"v157..178\0", (157, 178)),
        (b"v157..178 +PACEAPI", (157, 178)),
    ],
)
def test_a_hello_names_the_versions_that_are_spoken(hello: bytes, versions: tuple[int, int]) -> None:
    offered = messages.parse_hello(hello)
    assert (offered.oldest, offered.newest) == versions


@pytest.mark.parametrize("hello", [b"", b"v", b"157..178", b"vx..y", b"\xff\xfe", b"GET /"])
def test_a_hello_without_versions_is_refused(hello: bytes) -> None:
    with pytest.raises(WireError, match="range of versions"):
        messages.parse_hello(hello)


@pytest.mark.parametrize("fields", [["71", "2", "9990", ""], ["71", "2", "9990"]])
def test_the_message_that_starts_the_api_names_the_client(fields: list[str]) -> None:
    assert messages.parse_start_api(fields) == 9990


@pytest.mark.parametrize("fields", [[""], ["71"], ["71", "2", "x"], ["49", "1"], ["71", "2", "1" * 5000]])
def test_any_other_second_message_is_refused(fields: list[str]) -> None:
    with pytest.raises(WireError):
        messages.parse_start_api(fields)


def test_a_handshake_ends_with_the_accounts_and_the_next_id() -> None:
    bodies = FrameReader().feed(messages.build_handshake_end("DU1,,DU2,", 7))
    assert [messages.parse_message(parse_fields(body)) for body in bodies] == [
        ManagedAccounts(accounts=("DU1", "DU2")),
        NextValidId(order_id=7),
    ]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["x"], "where a number should"),
        ([""], "where a number should"),
        (["9", "1"], "only 2 fields"),
        (["9", "1", "seven"], "where a number should"),
        (["49", "1", "1" * 50], "where a number should"),
        (["4", "2", "-1", "1100"], "only 4 fields"),
    ],
)
def test_a_message_with_parts_missing_is_refused_by_what_is_wrong_with_it(fields: list[str], says: str) -> None:
    with pytest.raises(WireError, match=says):
        messages.parse_message(fields)


@given(st.binary(max_size=60))
def test_nothing_that_arrives_raises_anything_else_than_a_wire_error(body: bytes) -> None:
    fields = parse_fields(body)
    for parse in (messages.parse_greeting, messages.parse_message, messages.parse_start_api):
        with contextlib.suppress(WireError):
            parse(fields)
    with contextlib.suppress(WireError):
        messages.parse_hello(body)
