"""The simulator against a client that is not ours: `ib_async`, with all that its `connect` asks for."""

import contextlib
import logging
import socket
from collections.abc import Iterator

import ib_async
import pytest

from tests.integration.ib_client import connected
from tests.integration.simulated_gateway import PATIENCE_S, SimulatedGateway, hand_shake, simulated_gateway

FARMS_FINE = {2104, 2106, 2158}


@pytest.fixture(scope="module")
def gateway() -> Iterator[SimulatedGateway]:
    with simulated_gateway() as running:
        yield running


@pytest.mark.usefixtures("loop")
class TestWithIbAsync:
    @pytest.mark.parametrize("client_id", [0, 1, 9990])
    def test_a_full_connect_ends_without_a_timeout_or_an_error(
        self, gateway: SimulatedGateway, client_id: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING), connected(gateway.port, client_id=client_id) as (ib, errors):
            assert ib.managedAccounts() == ["DU1234567"]
            assert ib.client.serverVersion() == 178
            assert {value.tag for value in ib.accountValues()} >= {"NetLiquidation", "BuyingPower"}
            assert ib.positions() == []
            assert ib.openTrades() == []
            assert ib.fills() == []
            assert {code for _, code in errors} == FARMS_FINE
        assert [record.message for record in caplog.records if record.name.startswith("ib_async")] == []

    def test_an_advisors_list_may_end_in_a_comma(self) -> None:
        with simulated_gateway("--accounts", "DF1,DU1,DU2,") as gateway, connected(gateway.port) as (ib, errors):
            assert ib.managedAccounts() == ["DF1", "DU1", "DU2"]
            assert {code for _, code in errors} == FARMS_FINE

    def test_no_order_is_accepted(self, gateway: SimulatedGateway) -> None:
        with connected(gateway.port) as (ib, errors):
            contract = ib_async.Stock("SPY", "SMART", "USD")
            orders = (ib_async.MarketOrder("BUY", 1), ib_async.LimitOrder("SELL", 1, 1.0))
            trades = [ib.placeOrder(contract, order) for order in orders]
            ib.reqCurrentTime()
            assert [(trade.order.orderId, 321) for trade in trades] == [
                error for error in errors if error[1] not in FARMS_FINE
            ]
            assert {trade.orderStatus.status for trade in trades} == {"ValidationError"}
            assert ib.reqAllOpenOrders() == []

    def test_positions_and_orders_on_demand_are_read_as_they_are(self) -> None:
        held = ("--position", "SPY=100", "--position", "ES=-2", "--order", "7:12:SELL:100:SPY:STP")
        with simulated_gateway(*held) as gateway, connected(gateway.port, client_id=7) as (ib, errors):
            assert {(one.contract.symbol, one.position) for one in ib.positions()} == {("SPY", 100), ("ES", -2)}
            (trade,) = ib.openTrades()
            assert (trade.order.orderId, trade.order.action, trade.order.orderType) == (12, "SELL", "STP")
            assert (trade.order.clientId, trade.orderStatus.status) == (7, "Submitted")
            assert {value.tag for value in ib.accountSummary()} >= {"NetLiquidation", "Cushion", "Leverage"}
            assert {code for _, code in errors} == FARMS_FINE

    def test_contracts_have_details_prices_and_bars(self, gateway: SimulatedGateway) -> None:
        with connected(gateway.port) as (ib, errors):
            contracts = (
                ib_async.Stock("SPY", "SMART", "USD"),
                ib_async.Stock("AAPL", "SMART", "USD"),
                ib_async.ContFuture("ES", "CME"),
                ib_async.Forex("EURUSD"),
            )
            assert [one.conId for one in ib.qualifyContracts(*contracts)] == [756733, 265598, 495512563, 12087792]
            ib.reqMarketDataType(3)
            (ticker,) = ib.reqTickers(contracts[0])
            assert ticker.bid < ticker.last < ticker.ask
            bars = ib.reqHistoricalData(contracts[0], "", "2 D", "1 hour", "TRADES", useRTH=True)
            assert len(bars) == 48
            assert {code for _, code in errors} == FARMS_FINE | {10167}

    def test_a_read_only_gateway_is_connected_to_as_one(self) -> None:
        with simulated_gateway("--read-only", "--position", "SPY=100") as gateway:
            ib = ib_async.IB()
            ib.connect("127.0.0.1", gateway.port, clientId=3, timeout=PATIENCE_S, readonly=True)
            try:
                assert [one.contract.symbol for one in ib.positions()] == ["SPY"]
                assert ib.openTrades() == []
            finally:
                ib.disconnect()
                ib.sleep(0.01)

    def test_there_is_no_order_to_cancel(self, gateway: SimulatedGateway) -> None:
        with connected(gateway.port) as (ib, errors):
            ib.cancelOrder(ib_async.Order(orderId=77))
            ib.reqCurrentTime()
            assert (77, 10147) in errors

    def test_what_a_bot_may_ask_for_is_answered_in_time(self, gateway: SimulatedGateway) -> None:
        contract = ib_async.Stock("SPY", "SMART", "USD")
        with connected(gateway.port) as (ib, errors):
            ib.RequestTimeout = PATIENCE_S
            assert [one.contract and one.contract.conId for one in ib.reqContractDetails(contract)] == [756733]
            assert ib.reqContractDetails(ib_async.Stock("NOSUCH", "SMART", "USD")) == []
            assert ib.reqHistoricalData(contract, "", "1 D", "1 min", "TRADES", useRTH=True)
            assert [one.contract and one.contract.symbol for one in ib.reqMatchingSymbols("APP") or []] == ["AAPL"]
            assert ib.reqMktDepthExchanges() == []
            assert ib.reqNewsProviders() == []
            assert ib.reqScannerParameters()
            assert ib.reqCompletedOrders(apiOnly=False) == []
            assert ib.reqExecutions() == []
            assert ib.reqPositions() == []
            assert {row.tag for row in ib.accountSummary()} >= {"NetLiquidation"}
            ib.reqPnL("DU1234567")
            ib.reqMktData(ib_async.Stock("SPY", "SMART", "USD", conId=756733))
            ib.reqCurrentTime()
            assert {code for _, code in errors} - FARMS_FINE == {200, 10089}

    def test_an_id_is_free_again_once_its_client_has_left(self, gateway: SimulatedGateway) -> None:
        for _ in range(3):
            with connected(gateway.port, client_id=44) as (ib, _):
                assert ib.isConnected()

    def test_an_id_in_use_is_refused_and_its_holder_stays(self, gateway: SimulatedGateway) -> None:
        with connected(gateway.port, client_id=45) as (holder, _):
            second = ib_async.IB()
            codes: list[int] = []
            second.errorEvent += lambda _id, code, *_: codes.append(code)
            with pytest.raises((ConnectionError, TimeoutError)):
                second.connect("127.0.0.1", gateway.port, clientId=45, timeout=1)
            assert codes == [326]
            assert holder.reqCurrentTime().tzinfo is not None

    def test_it_reports_a_lost_link_and_its_return(self) -> None:
        with simulated_gateway(faults="error=1100:1") as gateway, connected(gateway.port) as (ib, errors):
            while (-1, 1102) not in errors:
                assert ib.waitOnUpdate(timeout=PATIENCE_S)
            assert [code for _, code in errors] == [1100, 1102]


def test_thirty_two_clients_are_served_and_the_next_one_only_when_one_leaves() -> None:
    with simulated_gateway() as gateway, contextlib.ExitStack() as clients:
        first, _ = hand_shake(gateway.port, 0)
        for client_id in range(1, 32):
            client, received = hand_shake(gateway.port, client_id)
            clients.enter_context(client)
            assert b"DU1234567" in received
        refused, received = hand_shake(gateway.port, 32)
        refused.close()
        assert received == b""
        assert "32 clients are connected" in gateway.wait_for_line("client 32 dropped")
        first.close()
        for _ in range(100):  # the gateway hears of the end a moment later
            client, received = hand_shake(gateway.port, 32)
            clients.enter_context(client)
            if received:
                break
        assert b"DU1234567" in received


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"API\0\xff\xff\xff\xff",
        b"API\0\0\0\0\x04vABC",
        b"API\0\0\0\0\x09v179..200",
        b"API\0\0\0\0\x09v157..178\0\0\0\x02x\0",
    ],
)
def test_a_client_that_speaks_something_else_is_closed_and_the_next_one_is_served(
    gateway: SimulatedGateway, opening: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as client:
        client.sendall(opening)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass
    client, received = hand_shake(gateway.port, 1)
    client.close()
    assert received
