"""What the built-in gateway answers, without a socket."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.simulator import answers
from orchestration.simulator.account import SUMMARY, HoldingError, SimulatedAccount, parse_holding, parse_order
from orchestration.simulator.answers import View
from orchestration.simulator.market import build_contracts
from orchestration.tws.frames import WireError
from orchestration.tws.messages import Request, VersionRange

# Of a plain order and of a stock, as `ibapi` 9.81 reads them.
_ORDER_FIELDS_OF_157 = 120
_DETAILS_FIELDS_OF_157 = 41

TIME_S = 1_800_000_000.9
CONTRACTS = {one.symbol: one for one in build_contracts(datetime.fromtimestamp(TIME_S, UTC).date())}
STOP = parse_order("7:12:SELL:100:SPY:STP")
ENTRY = parse_order("8:13:BUY:50:AAPL:LMT:12")
HELD = SimulatedAccount(
    account="DU1",
    positions=((CONTRACTS["SPY"], 100), (CONTRACTS["ES"], -2)),
    orders=((CONTRACTS["SPY"], STOP), (CONTRACTS["AAPL"], ENTRY)),
)
VIEW = View(accounts="DU1,DU2,", next_order_id=7, time_s=TIME_S, client_id=7, held=HELD)
SPY = ("0", "SPY", "STK", "", "", "", "", "SMART", "", "USD", "", "", "", 0, 0)
NO_CONTRACT = ("0", "NOSUCH", "STK", "", "", "", "", "SMART", "", "USD", "", "")


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
        ((Request.MARKET_DATA, 11, 24, *SPY), "24", "10089"),
        ((Request.MARKET_DATA, 11, 24, *NO_CONTRACT), "24", "200"),
        ((Request.CONTRACT_DETAILS, 8, 25, *NO_CONTRACT), "25", "200"),
        ((Request.HISTORICAL_DATA, 26, *NO_CONTRACT, 0, "", "1 day", "2 D"), "26", "200"),
        ((Request.HEAD_TIMESTAMP, 26, *NO_CONTRACT, 0, 1, "TRADES", 1), "26", "200"),
        ((Request.TICK_BY_TICK, 27, ""), "27", "10189"),
        ((Request.FA, 1, 1), "-1", "321"),
        ((Request.REPLACE_FA, 1, 1, "<x/>", 28), "28", "321"),
        ((Request.CANCEL_ORDER, 1, 12, ""), "12", "321"),
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


def test_a_position_of_a_model_ends_with_the_models_name() -> None:
    first, *_ = ask(Request.POSITIONS_MULTI, 1, 13, "DU1", "")
    assert first[:6] == ["71", "1", "13", "DU1", "756733", "SPY"]
    assert first[-3:] == ["100", "600.0", ""]


def test_every_tag_of_the_summary_is_answered_and_the_ledger_in_each_currency() -> None:
    rows = ask(Request.ACCOUNT_SUMMARY, 1, 12, "All", ",".join([*SUMMARY, "$LEDGER:ALL"]))
    first = [row for row in rows[:-1] if row[3] == "DU1"]
    assert {row[4] for row in first} >= set(SUMMARY)
    assert {row[6] for row in first if row[4] == "CashBalance"} == {"BASE", "USD"}


def test_orders_are_told_to_the_client_that_placed_them_and_all_of_them_to_a_client_that_asks_for_all() -> None:
    own, every = ask(Request.OPEN_ORDERS, 1), ask(Request.ALL_OPEN_ORDERS, 1)
    assert [(row[1], row[24]) for row in own if row[0] == "5"] == [("12", "7")]
    assert [(row[1], row[24]) for row in every if row[0] == "5"] == [("12", "7"), ("13", "8")]
    assert [row[7] for row in every if row[0] == "3"] == ["0", "12"]


@pytest.mark.parametrize("version", [157, 158, 160, 162, 163, 164, 170, 177, 178])
def test_a_version_adds_its_fields_to_orders_and_details(version: int) -> None:
    view = View(accounts="DU1", next_order_id=1, time_s=TIME_S, version=version, client_id=7, held=HELD)
    order = split(answers.build_answer([str(int(Request.ALL_OPEN_ORDERS)), "1"], view))[0]
    details = split(answers.build_answer([str(one) for one in (9, 8, 25, *SPY)], view))[0]
    added = sum(fields for since, fields in ((158, 1), (160, 1), (162, 1), (170, 5), (177, -1)) if version >= since)
    assert len(order) == _ORDER_FIELDS_OF_157 + added
    assert len(details) == _DETAILS_FIELDS_OF_157 + (1 if version >= 163 else 0)


def test_a_read_only_gateway_refuses_what_shows_orders() -> None:
    view = View(accounts="DU1", next_order_id=1, time_s=TIME_S, held=HELD, is_read_only=True)
    for request in (["5", "1"], ["16", "1"], ["99", "0"]):
        ((kind, _, _, code, *_),) = split(answers.build_answer(request, view))
        assert (kind, code) == ("4", "321")
    assert split(answers.build_answer(["61", "1"], view))[-1] == ["62", "1"]


def test_delayed_data_follows_the_kind_that_was_asked_for() -> None:
    view = View(accounts="DU1", next_order_id=1, time_s=TIME_S, data_type=3)
    rows = split(answers.build_answer([str(one) for one in (1, 11, 24, *SPY)], view))
    assert rows[0][:4] == ["4", "2", "24", "10167"]
    assert {row[3] for row in rows if row[0] == "1"} == {"66", "67", "68", "75"}
    assert answers.read_data_type(["59", "1", "3"]) == 3
    assert answers.read_data_type(["59", "1", "7"]) is None


def test_bars_cover_the_time_that_was_asked_for() -> None:
    ((_, request_id, _, _, count, *values),) = ask(Request.HISTORICAL_DATA, 26, *SPY[:12], 0, "", "1 hour", "2 D",
                                                  1, "TRADES", 2, 0, "")  # fmt: skip
    assert (request_id, count) == ("26", "48")
    assert len(values) == 48 * 8
    starts = [int(start) for start in values[::8]]
    assert starts == sorted(starts)


@pytest.mark.parametrize("text", ["", "SPY", "SPY=x", "spy=1", "NOSUCH=1"])
def test_a_position_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(HoldingError, match=r"position|contract"):
        parse_holding(text)


@pytest.mark.parametrize("text", ["", "7:12:HOLD:1:SPY:LMT", "7:12:BUY:1:NOSUCH:LMT", "7:12:BUY:1:SPY:LMT:x"])
def test_an_order_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(HoldingError, match=r"order|contract"):
        parse_order(text)
