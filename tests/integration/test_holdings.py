"""Positions, open orders and margin, read from a gateway: in the status, in the alerts, and at a start."""

import asyncio
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from orchestration.gateway.api import probe_api
from orchestration.gateway.book_reader import BOOK_CLIENT_ID
from orchestration.gateway.holdings import Holdings, HoldingsReading, name_orders, name_positions
from orchestration.system.endpoint import Endpoint
from orchestration.tws.frames import WireError
from orchestration.tws.messages import OpenOrdersEnd, PositionsEnd, name_unreadable, parse_message
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.ib_client import connected
from tests.integration.simulated_gateway import PATIENCE_S, simulated_gateway
from tests.integration.watch_scene import begin, told, wait_for
from tests.system import System, wait_until

HELD = (
    *("--position", "SPY=100", "--position", "AAPL=-10"),
    *("--order", "7:1012:SELL:100:SPY:STP", "--order", "0:0:BUY:5:AAPL:LMT"),
)
OPEN = "Open at the broker: orders that can still fill: 2 (SELL SPY STP, BUY AAPL LMT); positions: 2 (SPY, AAPL)."


def read(port: int) -> Holdings:
    found = probe_api(
        Endpoint(host="127.0.0.1", port=port),
        client_id=BOOK_CLIENT_ID,
        timeout_s=PATIENCE_S,
        now=lambda: datetime.now(UTC),
        reads_holdings=True,
    )
    assert found.is_ready, found.detail
    assert found.holdings is not None
    return found.holdings


@pytest.mark.usefixtures("loop")
def test_it_reads_what_a_foreign_client_reads_and_binds_nothing() -> None:
    with simulated_gateway(*HELD) as gateway:
        found = read(gateway.port)
        with connected(gateway.port, client_id=7) as (ib, _):
            trades = {(one.order.action, one.contract.symbol, one.order.orderType) for one in ib.reqAllOpenOrders()}
            held = {(one.contract.symbol, one.position) for one in ib.positions()}
            values = {one.tag: one.value for one in ib.accountSummary()}
        assert {tuple(name.split()) for name in name_orders(found)} == trades
        assert {(one.symbol, float(one.quantity)) for one in found.positions or ()} == held
        (account,) = found.accounts or ()
        assert (float(account.net_liquidation or 0), float(account.cushion or 0)) == (
            float(values["NetLiquidation"]),
            float(values["Cushion"]),
        )
        assert [line for line in gateway.lines if " sends " in line] == []


def test_a_read_only_gateway_tells_positions_and_says_that_it_tells_no_orders() -> None:
    with simulated_gateway(*HELD, "--read-only") as gateway:
        found = read(gateway.port)
    assert found.orders is None
    assert "read-only" in found.orders_problem
    assert name_positions(found) == ("SPY", "AAPL")
    assert found.accounts


def test_an_answer_that_never_ends_is_unknown_in_bounded_time() -> None:
    with simulated_gateway(*HELD, faults="half_answers") as gateway:
        found = read(gateway.port)
    assert (found.orders, found.positions, found.accounts) == (None, None, None)
    assert found.problems == ("the gateway did not report it in time",)


def test_a_position_that_cannot_be_read_makes_the_count_unknown_and_leaves_the_rest() -> None:
    async def take() -> Holdings:
        reading = HoldingsReading()
        fields = ["61", "3", "DU1234567", "no number"]
        with pytest.raises(WireError):
            parse_message(fields)
        for message in (name_unreadable(fields), PositionsEnd(), OpenOrdersEnd()):
            reading.take(message)
        return reading.found

    found = asyncio.run(take())
    assert (found.positions, found.orders) == (None, ())
    assert "could not be read" in found.positions_problem


def test_two_hundred_positions_and_a_thousand_orders_are_read() -> None:
    positions = [word for _ in range(200) for word in ("--position", "SPY=1")]
    orders = [word for number in range(1100) for word in ("--order", f"7:{number + 1}:BUY:1:SPY:LMT")]
    with simulated_gateway(*positions, *orders) as gateway:
        found = read(gateway.port)
    assert (len(found.positions or ()), len(found.orders or ())) == (200, 1100)


@pytest.fixture
def held(system: System) -> Iterator[System]:
    """A system on an external gateway, with orders and positions at the broker."""
    system.use_small_bot("--ready")
    system.use_plan()
    with simulated_gateway(*HELD) as gateway:
        system.environ |= {"GATEWAY_RUNTIME": "external", "GATEWAY_PORT": str(gateway.port)}
        yield system
        system.inv("shutdown")


def test_status_shows_counts_and_symbols_and_amounts_only_where_they_are_asked_for(held: System) -> None:
    shown = held.inv("status", "--json").document["money"]
    assert (shown["position_count"], shown["open_order_count"]) == (2, 2)
    assert shown["positions"][0] | {"average_cost": None} == {
        "account": "DU****567",
        "symbol": "SPY",
        "type": "STK",
        "quantity": None,
        "average_cost": None,
    }
    assert shown["accounts"] == [
        {"account": "DU****567", "net_liquidation": None, "currency": "USD", "margin_cushion": 1.0}
    ]
    table = held.inv("status").out
    assert "2 (SPY, AAPL)" in table
    assert "1,000,000" not in table
    open_hand = {"SHOW_AMOUNTS": "yes"}
    shown = held.inv("status", "--json", environ=open_hand).document["money"]
    assert [one["quantity"] for one in shown["positions"]] == [100, -10]
    assert shown["accounts"][0]["net_liquidation"] == 1_000_000
    assert "net liquidation 1,000,000.00 USD" in " ".join(held.inv("status", environ=open_hand).out.split())


def test_status_without_a_connection_says_unknown_and_never_zero(system: System) -> None:
    system.environ |= {"GATEWAY_RUNTIME": "external"}
    shown = system.inv("status", "--json").document["money"]
    assert (shown["positions"], shown["position_count"], shown["open_orders"], shown["accounts"]) == (None,) * 4
    assert shown["problems"]["open_orders"]


def test_a_start_with_open_orders_warns_or_refuses_as_it_is_told(held: System) -> None:
    refused = held.startup(environ={"START_WITH_OPEN_ORDERS": "refuse"})
    assert (refused.code, refused.document["failure"]) == (1, "OPEN_ORDERS")
    assert "2 (SELL SPY STP, BUY AAPL LMT)" in refused.document["message"]
    assert held.bots() == []
    started = held.startup()
    assert started.code == 0, started.err
    assert [one for one in started.document["warnings"] if "2 (SELL SPY STP, BUY AAPL LMT)" in one]


def test_orders_that_cannot_be_read_count_as_open(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    with simulated_gateway("--read-only") as gateway:
        system.environ |= {"GATEWAY_RUNTIME": "external", "GATEWAY_PORT": str(gateway.port)}
        refused = system.startup(environ={"START_WITH_OPEN_ORDERS": "refuse"})
        assert (refused.code, refused.document["failure"]) == (1, "OPEN_ORDERS")
        assert "read-only" in refused.document["message"]
        started = system.startup()
        assert started.code == 0, started.err
        assert [one for one in started.document["warnings"] if "unknown" in one]
        assert system.inv("shutdown").code == 0


def _describe(channel: LoopbackChannel, title: str) -> str:
    return next(json.dumps(one.document) for one in channel.received if one.title.endswith(title))


def test_a_bot_killed_with_orders_open_is_alerted_with_what_is_open(held: System, channel: LoopbackChannel) -> None:
    held.environ["DISCORD_WEBHOOK_URL"] = channel.address
    begin(held)
    wait_until(held.bots, "bot")
    held.bots()[0].send_signal(signal.SIGKILL)
    wait_for(channel, "Bot ended")
    assert OPEN in _describe(channel, "Bot ended")
    assert "DU1234567" not in json.dumps([one.document for one in channel.received])


def test_a_shutdown_says_what_stays_open(held: System, channel: LoopbackChannel) -> None:
    held.environ["DISCORD_WEBHOOK_URL"] = channel.address
    assert held.startup().code == 0
    ended = held.inv("shutdown", "--json")
    assert ended.code == 0
    assert ended.document["open_at_broker"] == OPEN
    assert OPEN in ended.document["message"]
    assert OPEN in ended.err.splitlines()  # what people see
    wait_until(lambda: "Bot stopped" in told(channel), "alert")
    assert OPEN in _describe(channel, "Bot stopped")
