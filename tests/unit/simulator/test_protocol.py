"""The wire protocol from the gateway's side, without a socket."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.simulator import protocol
from orchestration.simulator.protocol import ProtocolError, Request, View

VIEW = View(accounts="DU1,DU2,", next_order_id=7, time_s=1_800_000_000.9)


def split(data: bytes) -> list[list[str]]:
    """The messages in a stream; fails where the stream is not whole frames."""
    messages = []
    while data:
        (length,) = struct.unpack(">I", data[:4])
        body, data = data[4 : 4 + length], data[4 + length :]
        assert len(body) == length
        assert body.endswith(b"\0")
        messages.append(body.decode().split("\0")[:-1])
    return messages


def ask(*fields: object) -> list[list[str]]:
    return split(protocol.build_answer([str(field) for field in fields], VIEW))


def test_a_frame_is_its_length_and_its_fields() -> None:
    assert protocol.build_frame(9, 1, "x") == b"\0\0\0\x06" + b"9\x001\0x\0"


def test_an_error_carries_the_empty_field_that_its_version_asks_for() -> None:
    assert split(protocol.build_error(-1, 326, "no")) == [["4", "2", "-1", "326", "no", ""]]


@pytest.mark.parametrize(
    ("hello", "version"),
    [
        (b"v157..178", 178),
        (b"v100..178", 178),
        (b"v157..999", 178),
        (b"v160", 160),
        (b"v157..178\0", 178),
        (b"v157..178 +PACEAPI", 178),
        (b"v100..170", 170),
    ],
)
def test_the_newest_version_in_common_is_spoken(hello: bytes, version: int) -> None:
    assert protocol.parse_hello(hello) == version


@pytest.mark.parametrize("hello", [b"", b"v", b"157..178", b"v179..200", b"v100..156", b"vx..y", b"\xff\xfe", b"GET /"])
def test_a_client_without_a_version_in_common_is_refused(hello: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse_hello(hello)


@pytest.mark.parametrize("prefix", [b"\0\0\0\0", b"HTTP", b"\xff\xff\xff\xff", b"\0\x10\0\x01"])
def test_a_frame_of_an_absurd_size_is_refused_before_it_is_read(prefix: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse_length(prefix)


@pytest.mark.parametrize("fields", [["71", "2", "9990", ""], ["71", "2", "9990"]])
def test_the_message_that_starts_the_api_names_the_client(fields: list[str]) -> None:
    assert protocol.parse_start(fields) == 9990


@pytest.mark.parametrize("fields", [[""], ["71"], ["71", "2", "x"], ["49", "1"], ["71", "2", "1" * 5000]])
def test_any_other_second_message_is_refused(fields: list[str]) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse_start(fields)


def test_a_handshake_ends_with_the_accounts_as_they_are_and_the_next_id() -> None:
    assert split(protocol.build_handshake_end(VIEW)) == [["15", "1", "DU1,DU2,"], ["9", "1", "7"]]


@pytest.mark.parametrize(
    ("request_fields", "last_message"),
    [
        ((Request.OPEN_ORDERS, 1), ["53", "1"]),
        ((Request.ALL_OPEN_ORDERS, 1), ["53", "1"]),
        ((Request.ACCOUNT_UPDATES, 2, 1, "DU1"), ["54", "1", "DU1"]),
        ((Request.EXECUTIONS, 3, 11, 0, "", "", "", "", "", ""), ["55", "1", "11"]),
        ((Request.IDS, 1, 1), ["9", "1", "7"]),
        ((Request.MANAGED_ACCOUNTS, 1), ["15", "1", "DU1,DU2,"]),
        ((Request.CURRENT_TIME, 1), ["49", "1", "1800000000"]),
        ((Request.POSITIONS, 1), ["62", "1"]),
        ((Request.ACCOUNT_SUMMARY, 1, 12, "All", "NetLiquidation"), ["64", "1", "12"]),
        ((Request.POSITIONS_MULTI, 1, 13, "DU1", ""), ["72", "1", "13"]),
        ((Request.ACCOUNT_UPDATES_MULTI, 1, 14, "DU2", "", 0), ["74", "1", "14"]),
        ((Request.COMPLETED_ORDERS, 0), ["102"]),
    ],
)
def test_every_request_of_a_start_is_answered_to_its_end(
    request_fields: tuple[object, ...], last_message: list[str]
) -> None:
    assert ask(*request_fields)[-1] == last_message


@pytest.mark.parametrize(
    ("request_fields", "request_id", "code"),
    [
        ((Request.PLACE_ORDER, 21, *[""] * 90), "21", "321"),
        ((Request.EXERCISE_OPTIONS, 2, 22, ""), "22", "321"),
        ((Request.GLOBAL_CANCEL, 1), "-1", "321"),
        ((Request.CANCEL_ORDER, 1, 23, ""), "23", "10147"),
        ((Request.MARKET_DATA, 11, 24, ""), "24", "354"),
        ((Request.CONTRACT_DETAILS, 8, 25, ""), "25", "200"),
        ((Request.HISTORICAL_DATA, 26, ""), "26", "162"),
        ((Request.TICK_BY_TICK, 27, ""), "27", "354"),
        ((999, 1), "-1", "505"),
        (("not a number",), "-1", "320"),
        ((Request.PLACE_ORDER,), "-1", "320"),
        ((Request.PLACE_ORDER, "x"), "-1", "320"),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_gateways_code(
    request_fields: tuple[object, ...], request_id: str, code: str
) -> None:
    ((kind, _, found_id, found_code, text, _),) = ask(*request_fields)
    assert (kind, found_id, found_code) == ("4", request_id, code)
    assert text


def test_the_end_of_a_subscription_is_obeyed_without_a_word() -> None:
    assert ask(Request.ACCOUNT_UPDATES, 2, 0, "DU1") == []
    assert ask(64, 1) == []


def test_a_summary_has_the_tags_asked_for_of_every_real_account() -> None:
    rows = ask(Request.ACCOUNT_SUMMARY, 1, 12, "All", "NetLiquidation,BuyingPower")
    assert {(row[3], row[4]) for row in rows[:-1]} == {
        (account, tag) for account in ("DU1", "DU2") for tag in ("NetLiquidation", "BuyingPower")
    }


@given(st.lists(st.text(max_size=20) | st.integers(-5, 200).map(str), max_size=12), st.sampled_from(["", "DU1", ","]))
def test_no_request_whatsoever_breaks_the_gateway(fields: list[str], accounts: str) -> None:
    split(protocol.build_answer(fields, View(accounts=accounts, next_order_id=1, time_s=0)))


@given(st.sampled_from(sorted(Request)), st.lists(st.text(max_size=8) | st.integers().map(str), max_size=8))
def test_no_known_request_with_odd_fields_breaks_the_gateway(request: Request, fields: list[str]) -> None:
    for message in split(protocol.build_answer([str(int(request)), *fields], VIEW)):
        assert message[0].isdigit()


@given(st.binary(max_size=60))
def test_no_opening_whatsoever_breaks_the_gateway(body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert protocol.OLDEST_VERSION <= protocol.parse_hello(body) <= protocol.SERVER_VERSION
    with contextlib.suppress(ProtocolError):
        assert isinstance(protocol.parse_start(protocol.parse_fields(body)), int)
