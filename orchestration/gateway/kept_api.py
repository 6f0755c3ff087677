"""One connection to the gateway's API, kept for as long as it is supervised.

A look each minute would find a lost gateway up to a minute late, and hear no code that comes between two looks. So
supervision keeps one connection: its end is known at once, the gateway tells by itself when its link to the broker or
a data farm breaks, and a request for the time each minute proves that the API still answers (a gateway is known to
hang with its port open).

The connection lives in a thread of its own. Nothing here raises for anything that the network or the gateway does:
every way in which a connection can fail is a state, after which it is tried again, for ever, with growing waits.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from orchestration.gateway.api_status import ApiCode, ApiState, ApiStatus, judge_full
from orchestration.gateway.connection import KEPT_THREAD, SETTLE_S, ApiConnection
from orchestration.gateway.link_state import LinkState
from orchestration.system.endpoint import Endpoint
from orchestration.system.platform import StartedThread, platform
from orchestration.system.sockets import count_connections

CLIENT_IDS_TRIED = 10  # SPEC G6
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 15.0  # a gateway that is back is found within this, and its log gets four lines a minute
_LEAST_WAIT_S = 0.25  # between two attempts, however often one is asked for
_LEAST_ASK_S = 0.05  # between two time requests: a gateway drops a client that sends over 50 a second
_CLOSE_EXTRA_S = 5.0  # beyond the time-out: for a slow machine


def compute_next_wait_s(wait_s: float, *, lasted_s: float) -> float:
    """How long to wait before the next attempt.

    Args:
        wait_s: The wait before the attempt that has just ended; 0.0 for the first one.
        lasted_s: How long its connection was up; 0.0 if none came about. One that soon ends again and again
            counts as a failure, so that it is not sought each second for ever.
    """
    if wait_s == 0.0 or lasted_s >= LONGEST_WAIT_S:
        return FIRST_WAIT_S
    return min(2 * wait_s, LONGEST_WAIT_S)


class KeptApi:
    """The kept connection. Every method may be called from any thread, at any time, and returns at once (but `close`).

    Args:
        endpoint: Where the API is.
        client_id: The first client id to try; the next nine follow while the gateway says 326.
        timeout_s: For a handshake, and for the answer to a time request.
        interval_s: Between two time requests.
        now: This host's clock, aware.
        monotonic_s: The clock of all instants in a `ApiStatus`.
        on_change: Called whenever the state, the number of completed handshakes, the link or the set of broken farms
            is another one; in this connection's own thread, without a lock held, so that it may call `read`. It should
            only wake a thread, and must not raise.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        client_id: int,
        timeout_s: float,
        interval_s: float,
        now: Callable[[], datetime],
        monotonic_s: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._client_id = client_id
        self._timeout_s, self._interval_s = timeout_s, interval_s
        self._now, self._monotonic_s = now, monotonic_s
        self._on_change = on_change
        self._lock = threading.Lock()
        # Behind the lock: what callers read, and what they ask for.
        self._look = ApiStatus(state=ApiState.IDLE, since_s=monotonic_s())
        self._heard = LinkState()
        self._answered_s: float | None = None
        self._is_paused = False
        self._is_closing = False
        self._thread: StartedThread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # The thread's own.
        self._keeping: asyncio.Task[float] | None = None
        self._nudge: asyncio.Future[None]

    def start(self) -> None:
        """Begin to connect. A second call, or one after `close`, does nothing."""
        with self._lock:
            if self._thread or self._is_closing:
                return
            # A daemon: a program that is killed by an error of its own need not wait for it.
            self._thread = platform().start_thread(self._run, name=KEPT_THREAD)

    def close(self) -> None:
        """Disconnect and end, for good; returns when that is done, or after the time-out if it hangs."""
        with self._lock:
            self._is_closing = True
            thread = self._thread
        self._call(self._interrupt)
        if thread and thread is not threading.current_thread():
            thread.join(self._timeout_s + _CLOSE_EXTRA_S)

    def look_now(self) -> None:
        """Ask for the time at once, or try to connect at once: something may have happened to the gateway."""
        self._call(self._wake)

    def pause(self) -> None:
        """Disconnect, and make no attempts until `resume`: the gateway is known to be down or about to restart."""
        with self._lock:
            self._is_paused = True
        self._call(self._interrupt)

    def resume(self) -> None:
        """End a pause: try to connect at once."""
        with self._lock:
            self._is_paused = False
        self._call(self._wake)

    def read(self) -> ApiStatus:
        """How things stand now."""
        with self._lock:
            age_s = None if self._answered_s is None else max(0.0, self._monotonic_s() - self._answered_s)
            return replace(self._look, last_answer_age_s=age_s)

    def _call(self, function: Callable[[], None]) -> None:
        """Let the thread do something soon, if it runs."""
        with self._lock:
            # Its loop is taken away, under the lock, before it is closed.
            if self._loop:
                self._loop.call_soon_threadsafe(function)

    # All below runs in the thread.

    def _run(self) -> None:
        loop = platform().new_event_loop()
        try:
            loop.run_until_complete(self._keep_trying(loop))
        finally:
            with self._lock:
                self._loop = None
            loop.close()
            self._change_state(ApiState.IDLE, "the connection is closed")

    async def _keep_trying(self, loop: asyncio.AbstractEventLoop) -> None:
        self._nudge = loop.create_future()
        with self._lock:
            self._loop = loop
        wait_s = 0.0
        while not self._is_closing:
            if self._is_paused:
                self._change_state(ApiState.PAUSED, "no connection is wanted now")
                wait_s = 0.0
                await self._until_nudged(None)
                continue
            if self.read().state in {ApiState.IDLE, ApiState.PAUSED}:
                self._change_state(ApiState.CONNECTING, f"connecting to {self._shown}")
            self._keeping = loop.create_task(self._connect_and_hold())
            await asyncio.wait({self._keeping})
            if self._keeping.cancelled():
                continue
            wait_s = compute_next_wait_s(wait_s, lasted_s=self._judge_end(self._keeping))
            ended_s = loop.time()
            await self._until_nudged(wait_s)
            await asyncio.sleep(ended_s + _LEAST_WAIT_S - loop.time())
        await asyncio.sleep(0)  # a connection that was left in haste closes its socket in the loop's next round
        await asyncio.sleep(0)

    def _judge_end(self, kept: "asyncio.Task[float]") -> float:
        """How long the connection was up."""
        error = kept.exception()
        if error is None:
            return kept.result()
        # The boundary of "for ever": an unforeseen error of the system ends one connection, not the watch.
        logging.getLogger(__name__).error("the kept connection ended unexpectedly", exc_info=error)
        self._change_state(ApiState.GARBAGE, f"the connection ended unexpectedly: {error!r}")
        return 0.0

    async def _connect_and_hold(self) -> float:
        """Connect with the first client id that is free, hold the connection until it ends, and say why it did.

        Returns:
            How long it was up, in seconds.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._timeout_s
        for client_id in range(self._client_id, self._client_id + CLIENT_IDS_TRIED):
            connection = ApiConnection(self._endpoint, client_id, now=self._now, on_code=self._hear)
            self._begin_account()
            try:
                if await connection.open(until_s=deadline_s):
                    return await self._hold(connection)
                seen = connection.seen
            finally:
                await connection.leave()
            if seen.state is not ApiState.CLIENT_ID_IN_USE:
                break
        if seen.state is ApiState.CLOSED:
            port = self._endpoint.port
            seen = judge_full(seen, count_connections(port), port=port)
        self._tell_end(seen)
        return 0.0

    async def _hold(self, connection: ApiConnection) -> float:
        """Ask for the time again and again, for as long as the connection is up."""
        loop = asyncio.get_running_loop()
        self._note_handshake(connection.seen)
        began_s: float | None = None
        while await self._is_in_order(connection, is_new=began_s is None):
            began_s = loop.time() if began_s is None else began_s
            self._settle_account()
            settled_s = loop.time()
            await connection.wait_for(until_s=settled_s + min(_LEAST_ASK_S, self._interval_s))
            await connection.wait_for(self._nudge, until_s=settled_s + self._interval_s)
            self._renew_nudge()
        return 0.0 if began_s is None else loop.time() - began_s

    async def _is_in_order(self, connection: ApiConnection, *, is_new: bool) -> bool:
        """Ask for the time; if that shows that the connection is lost, say how."""
        if not connection.has_ended():
            asked_s = asyncio.get_running_loop().time()
            timed = connection.ask_time()
            await connection.wait_for(timed, until_s=asked_s + self._timeout_s)
            if is_new and timed.done():
                # What the gateway has to tell about its link and farms follows the handshake within this.
                await connection.wait_for(until_s=asked_s + SETTLE_S)
            if timed.done():
                self._note_answer(connection.seen)
            elif not self._heard.is_link_down_here and not connection.has_ended():
                unanswered = f"did not answer a request for the time in {self._timeout_s:g} s"
                self._change_state(ApiState.SILENT, f"{self._shown} {unanswered}")
                return False
            # Without its link to the broker a gateway may have no time to tell: not silent, but link down.
        if connection.has_ended():
            seen = connection.seen
            is_plain = seen.state is ApiState.CLOSED
            self._tell_end(replace(seen, detail=f"{self._shown} closed the connection") if is_plain else seen)
            return False
        return True

    # Being woken.

    def _wake(self) -> None:
        if not self._nudge.done():
            self._nudge.set_result(None)

    def _interrupt(self) -> None:
        self._wake()
        if self._keeping and not self._keeping.cancelling() and (self._is_paused or self._is_closing):
            self._keeping.cancel()

    def _renew_nudge(self) -> None:
        if self._nudge.done():
            self._nudge = self._nudge.get_loop().create_future()

    async def _until_nudged(self, timeout_s: float | None) -> None:
        await asyncio.wait({self._nudge}, timeout=timeout_s)
        self._renew_nudge()

    # Telling.

    @property
    def _shown(self) -> str:
        return str(self._endpoint)

    def _hear(self, said: ApiCode) -> None:
        # Told from the loop: the rest of what has arrived is read first.
        self._heard = self._heard.hear(said, self._monotonic_s())
        asyncio.get_running_loop().call_soon(self._tell_heard)

    def _tell_heard(self) -> None:
        if self._look.state is ApiState.READY:
            self._tell_connected()
        else:
            self._publish(self._look)

    def _begin_account(self) -> None:
        self._heard = self._heard.begin()

    def _settle_account(self) -> None:
        self._heard = self._heard.settle()
        self._tell_connected()

    def _tell_connected(self) -> None:
        link = ", but the gateway has lost its link to the broker" if self._heard.is_link_down_here else ""
        self._change_state(ApiState.READY, f"connected (server version {self._look.server_version}){link}")

    def _note_handshake(self, seen: ApiStatus) -> None:
        self._publish(
            replace(
                self._look,
                connections=self._look.connections + 1,
                accounts=seen.accounts,
                server_version=seen.server_version,
            )
        )

    def _note_answer(self, seen: ApiStatus) -> None:
        with self._lock:
            self._answered_s = self._monotonic_s()
            self._look = replace(
                self._look, latency_ms=seen.latency_ms, server_time=seen.server_time, skew_s=seen.skew_s
            )

    def _tell_end(self, seen: ApiStatus) -> None:
        # Judged complete in the very moment in which its end is known.
        self._change_state(ApiState.CLOSED if seen.is_ready else seen.state, seen.detail)

    def _change_state(self, state: ApiState, detail: str) -> None:
        since_s = self._look.since_s if state is self._look.state else self._monotonic_s()
        self._publish(replace(self._look, state=state, since_s=since_s, detail=detail))

    def _publish(self, look: ApiStatus) -> None:
        """Show this look, with what was heard, and tell if it is worth telling."""
        heard = self._heard
        look = replace(
            look,
            is_link_down=heard.link_down_since_s is not None,
            link_down_since_s=heard.link_down_since_s,
            broken_farms=heard.broken_farms,
            codes=heard.codes,
        )
        with self._lock:
            before, self._look = self._look, look
        if _essence(before) != _essence(look):
            self._on_change()


def _essence(look: ApiStatus) -> tuple[object, ...]:
    return look.state, look.connections, look.is_link_down, look.broken_farms
