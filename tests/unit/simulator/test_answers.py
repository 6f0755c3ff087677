"""What the built-in gateway answers, without a socket."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.simulator import answers
from orchestration.simulator.answers import View
from orchestration.tws.frames import WireError
from orchestration.tws.messages import Request, VersionRange

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
    return split(answers.build_answer([str(field) for field in fields], VIEW))


@pytest.mark.parametrize(
    ("offered", "version"),
    [((157, 178), 178), ((100, 178), 178), ((157, 999), 178), ((160, 160), 160), ((100, 170), 170)],
)
def test_the_newest_version_in_common_is_spoken(offered: tuple[int, int], version: int) -> None:
    assert answers.choose_version(VersionRange(oldest=offered[0], newest=offered[1])) == version


@pytest.mark.parametrize("offered", [(179, 200), (100, 156)])
def test_a_client_without_a_version_in_common_is_refused(offered: tuple[int, int]) -> None:
    with pytest.raises(WireError, match="157 to 178"):
        answers.choose_version(VersionRange(oldest=offered[0], newest=offered[1]))


@pytest.mark.parametrize(("version", "fields"), [(157, 5), (165, 5), (166, 6), (178, 6)])
def test_a_refusal_has_the_fields_of_the_version_that_was_agreed_on(version: int, fields: int) -> None:
    view = View(accounts="DU1", next_order_id=1, time_s=0, version=version)
    for request in (["3", "21"], ["4", "1", "23"], ["999", "1"], ["x"]):
        ((*found,),) = split(answers.build_answer(request, view))
        assert len(found) == fields


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
    split(answers.build_answer(fields, View(accounts=accounts, next_order_id=1, time_s=0)))


@given(st.sampled_from(sorted(Request)), st.lists(st.text(max_size=8) | st.integers().map(str), max_size=8))
def test_no_known_request_with_odd_fields_breaks_the_gateway(request: Request, fields: list[str]) -> None:
    for message in split(answers.build_answer([str(int(request)), *fields], VIEW)):
        assert message[0].isdigit()
