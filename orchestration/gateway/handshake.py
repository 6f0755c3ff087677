"""One look through one connection: complete the handshake, listen for a moment, leave.

`orchestration.gateway.api` says why it is done this way.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from orchestration.gateway.api_values import ApiProbe
from orchestration.gateway.connection import SETTLE_S, ApiConnection

_TIME_ANSWER_S = 1.0  # a gateway that answers the handshake answers the time at once, or has lost its link


async def attempt(host: str, port: int, client_id: int, *, deadline_s: float, now: Callable[[], datetime]) -> ApiProbe:
    """Connect with one client id, listen, leave.

    Args:
        host: Where the API is.
        port: Its port.
        client_id: The client id to use.
        deadline_s: The instant, on the running loop's clock, by which it has been seen.
        now: This host's clock, aware.
    """
    connection = ApiConnection(host, port, client_id, now=now)
    try:
        if await connection.open(until_s=deadline_s):
            await _settle(connection, deadline_s)
        return connection.seen
    finally:
        await connection.leave()


async def _settle(connection: ApiConnection, deadline_s: float) -> None:
    """Ask for the time, and listen for what follows a handshake."""
    asked_s = asyncio.get_running_loop().time()
    timed = connection.ask_time()
    await connection.wait_for(until_s=min(deadline_s, asked_s + SETTLE_S))
    if not timed.done() and not connection.seen.is_link_down:
        await connection.wait_for(timed, until_s=min(deadline_s, asked_s + _TIME_ANSWER_S))
