"""The order guard between a real client library and the built-in gateway, over real sockets."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import ib_async
import pytest

from orchestration.gateway.book_reader import BookReader
from orchestration.gateway.order_guard import Refuse, Refused
from orchestration.gateway.order_guard_proxy import OrderGuardServer
from orchestration.system.endpoint import Endpoint
from orchestration.tws.frames import FrameReader, build_frame, parse_fields, wrap
from orchestration.tws.messages import ErrorMessage, build_hello, build_start_api, parse_message
from tests.integration.ib_client import connected
from tests.integration.simulated_gateway import PATIENCE_S, PROJECT, SimulatedGateway, simulated_gateway

HELD = (
    *("--position", "SPY=100", "--position", "AAPL=10"),
    *("--order", "7:1012:SELL:100:SPY:STP", "--order", "7:1013:BUY:5:AAPL:LMT"),
)
BOOK_CLIENT = 9970


@dataclass
class Guard:
    """A guard that runs in a thread of its own.

    Attributes:
        port: Where it listens.
        refused: What it refused.
        ended: Why it ended connections.
    """

    port: int = 0
    refused: list[Refuse] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


@contextlib.contextmanager
def order_guard(gateway_port: int, *, book_port: int | None = None) -> Iterator[Guard]:
    guard, is_open, stop = Guard(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        reader = BookReader(
            Endpoint(host="127.0.0.1", port=book_port or gateway_port),
            client_id=BOOK_CLIENT,
            now=lambda: datetime.now(UTC),
            timeout_s=PATIENCE_S,
        )
        server = OrderGuardServer(
            Endpoint(host="127.0.0.1", port=gateway_port),
            reader,
            on_refused=guard.refused.append,
            on_ended=guard.ended.append,
        )
        guard.port = await server.start("127.0.0.1", 0)
        is_open.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert is_open.wait(PATIENCE_S)
        yield guard
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()


def acts_of(gateway: SimulatedGateway) -> list[str]:
    """What reached the gateway that could change anything, in its own words."""
    return [line for line in gateway.lines if " sends " in line]


@pytest.mark.usefixtures("loop")
class TestWithIbAsync:
    def test_everything_is_read_through_it_as_without_it(self) -> None:
        with simulated_gateway(*HELD) as gateway, order_guard(gateway.port) as guard:
            with connected(guard.port, client_id=7) as (ib, _):
                assert {one.contract.symbol for one in ib.positions()} == {"SPY", "AAPL"}
                assert {trade.order.orderId for trade in ib.openTrades()} == {1012, 1013}
                assert ib.reqHistoricalData(
                    ib_async.Stock("SPY", "SMART", "USD"), "", "2 D", "1 hour", "TRADES", useRTH=True
                )
            assert guard.refused == []
            assert acts_of(gateway) == []

    def test_orders_changes_exercises_and_advisors_data_are_refused_and_reach_nothing(self) -> None:
        spy = ib_async.Stock("SPY", "SMART", "USD", conId=756733)
        with simulated_gateway(*HELD) as gateway, order_guard(gateway.port) as guard:
            with connected(guard.port, client_id=7) as (ib, errors):
                new = ib.placeOrder(spy, ib_async.MarketOrder("BUY", 1))
                what_if = ib.placeOrder(spy, ib_async.LimitOrder("BUY", 1, 1.0, whatIf=True))
                held_back = ib.placeOrder(spy, ib_async.LimitOrder("BUY", 1, 1.0, transmit=False))
                (live,) = (trade for trade in ib.openTrades() if trade.order.orderId == 1012)
                ib.placeOrder(live.contract, live.order)
                ib.exerciseOptions(spy, 1, 1, "DU1234567", 0)
                ib.reqGlobalCancel()  # type: ignore[no-untyped-call]  # the library's
                ib.replaceFA(1, "<x/>")
                ib.reqAutoOpenOrders(autoBind=True)
                ib.reqCurrentTime()
                assert new.orderStatus.status == "Cancelled"  # 201, as a broker's own refusal is understood
                assert not live.isDone()  # 321 leaves a live order alone
                codes = dict(errors)
                assert [codes[one.order.orderId] for one in (new, what_if, held_back)] == [201, 201, 201]
                assert codes[1012] == 321
            assert {one.what for one in guard.refused} == {
                Refused.NEW_ORDER, Refused.ORDER_CHANGE, Refused.EXERCISE, Refused.GLOBAL_CANCEL, Refused.OTHER,
            }  # fmt: skip
            assert acts_of(gateway) == []

    def test_a_stop_is_kept_and_an_entry_may_be_cancelled(self) -> None:
        with simulated_gateway(*HELD) as gateway, order_guard(gateway.port) as guard:
            with connected(guard.port, client_id=7) as (ib, errors):
                orders = {trade.order.orderId: trade.order for trade in ib.openTrades()}
                ib.cancelOrder(orders[1012])
                ib.cancelOrder(orders[1013])
                ib.reqCurrentTime()
                assert (1012, 321) in errors
            assert [(one.what, "1012" in one.detail) for one in guard.refused] == [(Refused.CANCEL, True)]
            assert [line.rpartition(" sends ")[2] for line in acts_of(gateway)] == ["cancel_order: refused"]

    def test_without_a_view_of_orders_and_positions_nothing_is_cancelled(self) -> None:
        with simulated_gateway(*HELD) as gateway, simulated_gateway("--read-only") as blind:
            with (
                order_guard(gateway.port, book_port=blind.port) as guard,
                connected(guard.port, client_id=7) as (ib, errors),
            ):
                for trade in ib.openTrades():
                    ib.cancelOrder(trade.order)
                ib.placeOrder(ib_async.Stock("SPY", "SMART", "USD"), ib_async.MarketOrder("BUY", 1))
                ib.reqCurrentTime()
                assert {code for _, code in errors if code < 1000} == {321}
                assert len(guard.refused) == 3
            assert acts_of(gateway) == []


def read_codes(client: socket.socket, *, until: int) -> list[tuple[int, int]]:
    """(request id, code) of every error, up to the one with this request id."""
    reader = FrameReader()
    found: list[tuple[int, int]] = []
    while True:
        data = client.recv(65536)
        assert data, f"the guard hung up after {found[-3:]}"
        for body in reader.feed(data):
            fields = parse_fields(body)
            if fields[0] == "4":
                said = parse_message(fields)
                assert isinstance(said, ErrorMessage)
                found.append((said.request_id, said.code))
                if said.request_id == until:
                    return found


@contextlib.contextmanager
def started(port: int, client_id: int = 7) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(build_hello() + build_start_api(client_id))
        yield client


@pytest.mark.parametrize(
    "sent",
    [
        b"63\x00",  # the handshake of the protocol before 2013
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        build_hello(201, 226),
        build_hello() + wrap(b"3\x001\x00"),
        build_hello() + build_start_api(7) + wrap(b"\0\0\0\xcb\x08\x01"),
        build_hello() + build_start_api(7) + b"\xff\xff\xff\xff",
        build_hello() + build_start_api(7) + build_start_api(8),
        build_hello() + build_start_api(7) + build_frame(999, 1),
    ],
)
def test_what_is_not_understood_ends_the_connection(sent: bytes) -> None:
    with simulated_gateway() as gateway, order_guard(gateway.port) as guard:
        with socket.create_connection(("127.0.0.1", guard.port), timeout=PATIENCE_S) as client:
            client.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(65536):
                    pass
        assert len(guard.ended) == 1
        assert acts_of(gateway) == []
        with started(guard.port) as client:  # and the next client is served
            client.sendall(build_frame(3, 1))
            assert read_codes(client, until=1)[-1] == (1, 201)


def test_a_gateway_that_goes_away_takes_the_clients_connection_with_it() -> None:
    with simulated_gateway() as gateway, order_guard(gateway.port) as guard, started(guard.port) as client:
        client.sendall(build_frame(3, 1))
        read_codes(client, until=1)
        gateway.process.terminate()
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass


def test_run_by_hand_it_says_what_it_refuses_and_ends_on_a_signal() -> None:
    module = "orchestration.gateway.order_guard_proxy"
    with simulated_gateway(*HELD) as gateway:
        asked = ["--gateway", f"127.0.0.1:{gateway.port}", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(
            [sys.executable, "-m", module, *asked], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().partition(":")[2].partition(",")[0])
            with started(port) as client:
                client.sendall(build_frame(4, 1, 1012, ""))
                read_codes(client, until=1012)
            assert process.stdout.readline() == "refused: cancel: order 1012 of client 7 (SELL 100 SPY STP)\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.communicate()
        assert acts_of(gateway) == []


@pytest.mark.parametrize("given", [["--listen", "4102"], ["--gateway", "host:x"], ["--client-id", "0"]])
def test_a_wrong_flag_is_refused_by_its_name(given: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.gateway.order_guard_proxy", *given],
        cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert given[0] in done.stderr
