"""One look at the gateway's API: does the handshake complete, and what does it say?

A port that accepts proves nothing: Docker's proxy and the image's forwarder accept before a user is logged in. Ready
means that the server's version, the managed accounts and the next valid order id have all arrived. The look is made
with this program's own small codec (`orchestration.tws`): the client library costs 0.35 s and 30 MB to import. Errors
of the gateway arrive beside the handshake, some right after it (1100, farms), so the probe listens to a ready gateway
for a moment longer, during which the time request runs too.

Every look runs in a thread of its own with its own event loop, so that it may be called from any thread, also from
one whose event loop is running.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime

from orchestration.gateway.api_status import ApiCode, ApiState, ApiStatus, judge_full
from orchestration.gateway.connection import SETTLE_S, ApiConnection
from orchestration.gateway.holdings import MOST_ANSWERS, HoldingsReading, build_end_requests, build_requests
from orchestration.system.endpoint import Endpoint
from orchestration.system.platform import platform
from orchestration.system.sockets import count_connections

__all__ = ["CLIENT_IDS_TRIED", "ApiCode", "ApiState", "ApiStatus", "probe_api"]

CLIENT_IDS_TRIED = 10
_THREAD = "api-probe"
_TIME_ANSWER_S = 1.0  # a gateway that answers the handshake answers the time at once, or has lost its link
_HOLDINGS_S = 3.0  # a gateway with some hundred positions answers well within a second


def probe_api(
    endpoint: Endpoint,
    *,
    client_id: int,
    timeout_s: float,
    now: Callable[[], datetime],
    reads_holdings: bool = False,
) -> ApiStatus:
    """Look once, and leave. Never raises for anything that the network or the gateway does.

    Args:
        endpoint: Where the API is.
        client_id: The first client id to try; the next nine follow while the gateway says 326.
        timeout_s: The bound of the whole look, all client ids included.
        now: This host's clock, aware.
        reads_holdings: Whether to read what the broker holds, too.

    Returns:
        What was seen, after at most `timeout_s`. A ready gateway on this machine takes about 0.13 s.
    """
    seen: Future[ApiStatus] = Future()
    client_ids = range(client_id, client_id + CLIENT_IDS_TRIED)
    look_once = _Look(endpoint=endpoint, client_ids=client_ids, now=now, reads_holdings=reads_holdings)

    def look() -> None:
        try:
            seen.set_result(look_once.run(timeout_s))
        except BaseException as error:  # noqa: BLE001 - nothing is swallowed: the caller gets it
            seen.set_exception(error)

    # A daemon: an interrupted program need not wait for the look to end.
    has_ended = threading.Event()
    seen.add_done_callback(lambda _seen: has_ended.set())
    platform().start_thread(look, name=_THREAD)
    platform().wait(has_ended, None)
    return seen.result()


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One look, in a thread of its own.

    Attributes:
        endpoint: Where the API is.
        client_ids: The client ids to try, in this order.
        now: This host's clock, aware.
        reads_holdings: Whether to read what the broker holds, too. It is read while the look listens anyway.
    """

    endpoint: Endpoint
    client_ids: range
    now: Callable[[], datetime]
    reads_holdings: bool

    def run(self, timeout_s: float) -> ApiStatus:
        loop = platform().new_event_loop()
        try:
            return loop.run_until_complete(self._try_client_ids(loop.time() + timeout_s))
        finally:
            loop.close()

    async def _try_client_ids(self, deadline_s: float) -> ApiStatus:
        probe = ApiStatus(state=ApiState.SILENT)
        for client_id in self.client_ids:
            probe = await self._attempt(client_id, deadline_s)
            if probe.state is not ApiState.CLIENT_ID_IN_USE:
                break
        port = self.endpoint.port
        # Our own connection is gone by now: it is not counted.
        return judge_full(probe, count_connections(port), port=port) if probe.state is ApiState.CLOSED else probe

    async def _attempt(self, client_id: int, deadline_s: float) -> ApiStatus:
        """Connect with one client id, complete the handshake, listen for a moment, leave.

        Args:
            client_id: The client id to use.
            deadline_s: The instant, on the running loop's clock, by which it has been seen.
        """
        reading = HoldingsReading() if self.reads_holdings else None
        on_message = None if reading is None else reading.take
        connection = ApiConnection(self.endpoint, client_id, now=self.now, on_message=on_message)
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
