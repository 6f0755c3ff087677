"""What the broker holds for this login, read over the API without binding any order."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from orchestration.gateway.api import probe_api
from orchestration.gateway.api_status import ApiState
from orchestration.gateway.connection import ApiConnection
from orchestration.gateway.holdings import MOST_ANSWERS, BookParts, Holdings, build_unknown
from orchestration.gateway.order_guard import Book
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.endpoint import Endpoint
from orchestration.tws import messages

BOOK_CLIENT_ID = 9970  # below the probe's ten; the next nine are tried too
_READ_ONLY = 321
_CLIENT_IDS_TRIED = 10
_READ = frozenset({messages.Response.OPEN_ORDER, messages.Response.ORDER_STATUS, messages.Response.POSITION})


def read_holdings(settings: Settings, clock: Clock, endpoint: Endpoint) -> Holdings:
    """What the broker holds now, read over a connection of its own; what cannot be read in time is unknown."""
    probe = probe_api(
        endpoint,
        client_id=BOOK_CLIENT_ID,
        timeout_s=settings.health_check_timeout_s,
        now=clock.now,
        reads_holdings=True,
    )
    return probe.holdings if probe.holdings is not None else build_unknown(probe.detail or str(probe.state))


class BookUnknownError(Exception):
    """What the broker holds could not be read. The text says why; another try may succeed."""


class BookReader:
    """Reads the book again and again over one connection, which is opened when it is first needed.

    Its methods are for one event loop, and one at a time.

    Args:
        endpoint: Where the gateway's API is.
        client_id: The first client id to try; the next nine follow while the gateway says 326. Never 0, which binds.
        now: This host's clock, aware.
        timeout_s: For one reading, the connection included.
    """

    def __init__(self, endpoint: Endpoint, *, client_id: int, now: Callable[[], datetime], timeout_s: float) -> None:
        self._endpoint = endpoint
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
        connection.send(messages.build_all_open_orders_request(), most_answers=MOST_ANSWERS)
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
            connection = ApiConnection(self._endpoint, client_id, now=self._now, on_message=self._take)
            if await connection.open(until_s=deadline_s):
                self._connection = connection
                return connection
            seen = connection.seen
            await connection.leave()
            detail = seen.detail
            if seen.state is not ApiState.CLIENT_ID_IN_USE:
                break
        raise BookUnknownError(detail)

    def _take(self, message: messages.Message) -> None:
        if self._reading is not None:
            self._reading.take(message)


class _Reading:
    """One answer to both requests, as it comes in."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Book] = asyncio.get_running_loop().create_future()
        self._parts = BookParts()
        self._has_orders = self._has_positions = False

    def take(self, message: messages.Message) -> None:
        match message:
            case messages.OpenOrder() | messages.OrderStatus() | messages.Position():
                self._parts.take(message)
            case messages.OpenOrdersEnd():
                self._has_orders = True
            case messages.PositionsEnd():
                self._has_positions = True
            case messages.ErrorMessage(code=code, text=text) if code == _READ_ONLY:
                if not self.done.done():
                    self.done.set_exception(BookUnknownError(f"the gateway does not report its orders: {text}"))
            case messages.UnreadableMessage(number=number) if number in _READ and not self.done.done():
                # Without it the book would be wrong, not merely old.
                self.done.set_exception(BookUnknownError("part of the gateway's answer could not be read"))
            case _:
                pass
        if self._has_orders and self._has_positions and not self.done.done():
            self.done.set_result(self._parts.book)
