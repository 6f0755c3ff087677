"""What the broker holds for this login, read over the API without binding any order."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from orchestration.gateway.api_values import ApiOutcome
from orchestration.gateway.connection import PROBE_THREAD, ApiConnection
from orchestration.gateway.order_guard import Book
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.tws import messages

BOOK_CLIENT_ID = 9970  # below the probe's ten; the next nine are tried too
_READ_ONLY = 321
_CLIENT_IDS_TRIED = 10


_MOST_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class OpenAtBroker:
    """What is open at the broker, without amounts.

    Attributes:
        orders: The orders that can still fill, a phrase each, at most 20.
        positions: The symbols of the open positions, likewise.
        order_count: How many orders there are.
        position_count: How many positions.
    """

    orders: tuple[str, ...]
    positions: tuple[str, ...]
    order_count: int
    position_count: int

    def __str__(self) -> str:
        orders = f" ({', '.join(self.orders)})" if self.orders else ""
        positions = f" ({', '.join(self.positions)})" if self.positions else ""
        return (
            f"Open at the broker: orders that can still fill: {self.order_count}{orders}; "
            f"positions: {self.position_count}{positions}."
        )


def summarize_book(book: Book) -> OpenAtBroker:
    """What of a book is open. Pure."""
    orders = book.open_orders
    symbols = [one.symbol for one in book.positions if one.quantity != 0]
    return OpenAtBroker(
        orders=tuple(f"{one.action} {one.symbol} {one.order_type}" for one in orders[:_MOST_SHOWN]),
        positions=tuple(symbols[:_MOST_SHOWN]),
        order_count=len(orders),
        position_count=len(symbols),
    )


def read_open_at_broker(settings: Settings, clock: Clock) -> OpenAtBroker | None:
    """What is open at the broker now, read over a connection of its own; None where that cannot be read in time."""

    async def read() -> Book:
        reader = BookReader(
            settings.gateway_host,
            settings.gateway_port,
            client_id=BOOK_CLIENT_ID,
            now=clock.now,
            timeout_s=settings.health_check_timeout_s,
        )
        try:
            return await reader.read()
        finally:
            await reader.close()

    found: Future[OpenAtBroker | None] = Future()

    def work() -> None:
        try:
            found.set_result(summarize_book(asyncio.run(read())))
        except (BookUnknownError, OSError):
            found.set_result(None)
        except BaseException as error:  # noqa: BLE001 - nothing is swallowed: the caller gets it
            found.set_exception(error)

    # Not in the caller's thread: what a signal raises there would be lost in the event loop.
    threading.Thread(target=work, name=PROBE_THREAD, daemon=True).start()
    return found.result()


class BookUnknownError(Exception):
    """What the broker holds could not be read. The text says why; another try may succeed."""


class BookReader:
    """Reads the book again and again over one connection, which is opened when it is first needed.

    Its methods are for one event loop, and one at a time.

    Args:
        host: Where the gateway's API is.
        port: Its port.
        client_id: The first client id to try; the next nine follow while the gateway says 326. Never 0, which binds.
        now: This host's clock, aware.
        timeout_s: For one reading, the connection included.
    """

    def __init__(self, host: str, port: int, *, client_id: int, now: Callable[[], datetime], timeout_s: float) -> None:
        self._host, self._port = host, port
        self._client_id = client_id
        self._now = now
        self._timeout_s = timeout_s
        self._connection: ApiConnection | None = None
        self._reading: _Reading | None = None

    async def read(self) -> Book:
        """What the broker holds now.

        Raises:
            BookUnknownError: No connection came about, the gateway does not tell it (a read-only one refuses), or the
                answers were not complete in time.
        """
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        connection = await self._connect(deadline_s)
        reading = self._reading = _Reading()
        connection.send(messages.build_all_open_orders_request())
        connection.send(messages.build_positions_request())
        await connection.wait_for(reading.done, until_s=deadline_s)
        connection.send(messages.build_positions_end_request())
        self._reading = None
        if not reading.done.done():
            raise BookUnknownError("the gateway did not report orders and positions in time")
        return reading.done.result()

    async def close(self) -> None:
        """Leave the gateway."""
        if self._connection is not None:
            await self._connection.leave()
            self._connection = None

    async def _connect(self, deadline_s: float) -> ApiConnection:
        if self._connection is not None and not self._connection.has_ended():
            return self._connection
        await self.close()
        detail = ""
        for client_id in range(self._client_id, self._client_id + _CLIENT_IDS_TRIED):
            connection = ApiConnection(self._host, self._port, client_id, now=self._now, on_message=self._take)
            if await connection.open(until_s=deadline_s):
                self._connection = connection
                return connection
            seen = connection.seen
            await connection.leave()
            detail = seen.detail
            if seen.outcome is not ApiOutcome.CLIENT_ID_IN_USE:
                break
        raise BookUnknownError(detail)

    def _take(self, message: messages.Message) -> None:
        if self._reading is not None:
            self._reading.take(message)


class _Reading:
    """One answer to both requests, as it comes in."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Book] = asyncio.get_running_loop().create_future()
        self._orders: list[messages.OpenOrder] = []
        self._statuses: list[messages.OrderStatus] = []
        self._positions: list[messages.Position] = []
        self._has_orders = self._has_positions = False

    def take(self, message: messages.Message) -> None:
        match message:
            case messages.OpenOrder():
                self._orders.append(message)
            case messages.OrderStatus():
                self._statuses.append(message)
            case messages.Position():
                self._positions.append(message)
            case messages.OpenOrdersEnd():
                self._has_orders = True
            case messages.PositionsEnd():
                self._has_positions = True
            case messages.ErrorMessage(code=code, text=text) if code == _READ_ONLY:
                if not self.done.done():
                    self.done.set_exception(BookUnknownError(f"the gateway does not report its orders: {text}"))
            case _:
                pass
        if self._has_orders and self._has_positions and not self.done.done():
            self.done.set_result(
                Book(orders=tuple(self._orders), statuses=tuple(self._statuses), positions=tuple(self._positions))
            )
