"""One look through one connection: complete the handshake, listen for a moment, leave.

`orchestration.gateway.api` says why it is done this way.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from orchestration.gateway.api_status import ApiStatus
from orchestration.gateway.connection import SETTLE_S, ApiConnection
from orchestration.gateway.holdings import MOST_ANSWERS, HoldingsReading, build_end_requests, build_requests

_TIME_ANSWER_S = 1.0  # a gateway that answers the handshake answers the time at once, or has lost its link
_HOLDINGS_S = 3.0  # a gateway with some hundred positions answers well within a second


async def attempt(
    host: str,
    port: int,
    client_id: int,
    *,
    deadline_s: float,
    now: Callable[[], datetime],
    reads_holdings: bool = False,
) -> ApiStatus:
    """Connect with one client id, listen, leave.

    Args:
        host: Where the API is.
        port: Its port.
        client_id: The client id to use.
        deadline_s: The instant, on the running loop's clock, by which it has been seen.
        now: This host's clock, aware.
        reads_holdings: Whether to read what the broker holds, too. It is read while the look listens anyway.
    """
    reading = HoldingsReading() if reads_holdings else None
    connection = ApiConnection(host, port, client_id, now=now, on_message=None if reading is None else reading.take)
    try:
        if not await connection.open(until_s=deadline_s):
            return connection.seen
        if reading is None:
            await _settle(connection, deadline_s)
            return connection.seen
        for request in build_requests():
            connection.send(request, most_answers=MOST_ANSWERS)
        asked_s = asyncio.get_running_loop().time()
        await _settle(connection, deadline_s)
        if not reading.done.done() and not connection.seen.is_link_down:
            await connection.wait_for(reading.done, until_s=min(deadline_s, asked_s + _HOLDINGS_S))
        for request in build_end_requests():
            connection.send(request)
        return replace(connection.seen, holdings=reading.found)
    finally:
        await connection.leave()


async def _settle(connection: ApiConnection, deadline_s: float) -> None:
    """Ask for the time, and listen for what follows a handshake."""
    asked_s = asyncio.get_running_loop().time()
    timed = connection.ask_time()
    await connection.wait_for(until_s=min(deadline_s, asked_s + SETTLE_S))
    if not timed.done() and not connection.seen.is_link_down:
        await connection.wait_for(timed, until_s=min(deadline_s, asked_s + _TIME_ANSWER_S))
