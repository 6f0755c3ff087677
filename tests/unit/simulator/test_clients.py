"""The built-in gateway's answers to every request of other people's clients, as these sent and understood them (D5)."""

from datetime import UTC, datetime

import pytest

from orchestration.simulator import answers
from orchestration.simulator.account import SimulatedAccount, parse_order
from orchestration.simulator.answers import View
from orchestration.simulator.market import build_contracts
from orchestration.tws.frames import FrameReader, parse_fields
from orchestration.tws.messages import Request
from tests.clients.table import PAGE, Asked, build_page, build_rows, read_asked

_ASKED = read_asked()
_CLIENTS = sorted({one.client for one in _ASKED})
_TIME_S = 1_800_000_000.0
_SPY = build_contracts(datetime.fromtimestamp(_TIME_S, UTC).date())[0]
# What the recording gateway held, and what the clients had asked for by then (their requests come by name).
_HELD = SimulatedAccount(
    account="DU1234567", positions=((_SPY, 100),), orders=((_SPY, parse_order("7:12:SELL:100:SPY:STP")),)
)
_DELAYED = 3
# Ends and settings, to which nothing is due.
_OBEYED = {number for number in Request if number.name.startswith("CANCEL_") and number is not Request.CANCEL_ORDER} | {
    *(Request.MARKET_DATA_TYPE, Request.SET_SERVER_LOG_LEVEL, Request.AUTO_OPEN_ORDERS, Request.NEWS_BULLETINS),
    *(Request.UPDATE_DISPLAY_GROUP, Request.UNSUBSCRIBE_FROM_GROUP_EVENTS),
}
# One library's own name for what the official client calls otherwise, and calls that it makes of one answer.
_SAME = {"priceSizeTick": "tickPrice"}
_NOT_EVERYWHERE = frozenset({"historicalDataEnd", "tickReqParams"})


def answer(one: Asked) -> list[str]:
    """The numbers of the messages that answer a recorded request now, each once, in order."""
    view = View(
        accounts="DU1234567",
        next_order_id=1,
        time_s=_TIME_S,
        version=one.version,
        client_id=7,
        held=_HELD,
        data_type=_DELAYED,
    )
    frames = [answers.build_answer(parse_fields(body), view) for body in one.sent]
    return list(dict.fromkeys(parse_fields(body)[0] for body in FrameReader().feed(b"".join(frames))))


@pytest.mark.parametrize("client", _CLIENTS)
def test_every_request_of_a_client_gets_the_answer_that_it_understood(client: str) -> None:
    wrong = {one.method: answer(one) for one in _ASKED if one.client == client and answer(one) != list(one.received)}
    assert wrong == {}


@pytest.mark.parametrize("client", _CLIENTS)
def test_only_ends_and_settings_are_obeyed_without_a_word(client: str) -> None:
    silent = {one.number for one in _ASKED if one.client == client and one.sent and not one.heard}
    assert silent <= _OBEYED


def test_all_clients_understand_an_answer_in_the_same_way() -> None:
    differing = {}
    for name, row in build_rows(_ASKED).items():
        heard = {frozenset(_SAME.get(one, one) for one in asked.heard) - _NOT_EVERYWHERE for asked in row if asked.sent}
        if len(heard) > 1:
            differing[name] = heard
    assert differing == {}


def test_no_number_of_the_protocol_is_left_out() -> None:
    assert set(Request) - {one.number for one in _ASKED} == {Request.START_API}


def test_the_page_is_that_of_the_recordings_and_has_no_empty_cell() -> None:
    page = build_page(_ASKED)
    assert PAGE.read_text(encoding="utf-8") == page, "run `python -m tests.clients`"
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    assert len(rows) > len(Request)
    assert {len(row) for row in rows} == {3 + len(_CLIENTS)}
    assert all(cell.strip() for row in rows for cell in row)
