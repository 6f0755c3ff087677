"""One look at the gateway's API: does the handshake complete, and what does it say?

A port that accepts proves nothing: Docker's proxy and the image's forwarder accept before anybody is logged in. Ready
means that the server's version, the managed accounts and the next valid order id have all arrived. The look is made
with this program's own small codec (`orchestration.tws`): the client library costs 0.35 s and 30 MB to import. Errors
of the gateway arrive beside the handshake, some right after it (1100, farms), so the probe listens to a ready gateway
for a moment longer, during which the time request runs too.

Every look runs in a thread of its own with its own event loop, so that it may be called from any thread, also from
one whose event loop is running.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime

from orchestration.gateway.api_status import ApiCode, ApiState, ApiStatus, judge_full
from orchestration.gateway.handshake import attempt
from orchestration.system.platform import platform
from orchestration.system.sockets import count_connections

__all__ = ["CLIENT_IDS_TRIED", "ApiCode", "ApiState", "ApiStatus", "probe_api"]

CLIENT_IDS_TRIED = 10
_THREAD = "api-probe"


def probe_api(
    host: str,
    port: int,
    *,
    client_id: int,
    timeout_s: float,
    now: Callable[[], datetime],
    reads_holdings: bool = False,
) -> ApiStatus:
    """Look once, and leave. Never raises for anything that the network or the gateway does.

    Args:
        host: Where the API is.
        port: Its port.
        client_id: The first client id to try; the next nine follow while the gateway says 326.
        timeout_s: The bound of the whole look, all client ids included.
        now: This host's clock, aware.
        reads_holdings: Whether to read what the broker holds, too.

    Returns:
        What was seen, after at most `timeout_s`. A ready gateway on this machine takes about 0.13 s.
    """
    seen: Future[ApiStatus] = Future()

    def look() -> None:
        try:
            seen.set_result(_look(host, port, client_id, timeout_s, now, reads_holdings=reads_holdings))
        except BaseException as error:  # noqa: BLE001 - nothing is swallowed: the caller gets it
            seen.set_exception(error)

    # A daemon: an interrupted program need not wait for the look to end.
    has_ended = threading.Event()
    seen.add_done_callback(lambda _seen: has_ended.set())
    platform().start_thread(look, name=_THREAD)
    platform().wait(has_ended, None)
    return seen.result()


def _look(
    host: str, port: int, client_id: int, timeout_s: float, now: Callable[[], datetime], *, reads_holdings: bool
) -> ApiStatus:
    loop = platform().new_event_loop()
    try:
        deadline_s = loop.time() + timeout_s
        looking = _try_client_ids(host, port, client_id, deadline_s, now, reads_holdings=reads_holdings)
        return loop.run_until_complete(looking)
    finally:
        loop.close()


async def _try_client_ids(
    host: str,
    port: int,
    first_id: int,
    deadline_s: float,
    now: Callable[[], datetime],
    *,
    reads_holdings: bool,
) -> ApiStatus:
    probe = ApiStatus(state=ApiState.SILENT)
    for client_id in range(first_id, first_id + CLIENT_IDS_TRIED):
        probe = await attempt(host, port, client_id, deadline_s=deadline_s, now=now, reads_holdings=reads_holdings)
        if probe.state is not ApiState.CLIENT_ID_IN_USE:
            break
    # Our own connection is gone by now: it is not counted.
    return judge_full(probe, count_connections(port), port=port) if probe.state is ApiState.CLOSED else probe
