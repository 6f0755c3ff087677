"""One connection to the gateway's API: open it, ask for the time, listen, leave.

`orchestration.gateway.handshake` looks once through one, `orchestration.gateway.kept_api` keeps one for as long as it
lasts; `orchestration.gateway.api` says why the library needs the help that it gets here.
"""

import asyncio
import contextlib
import logging
import struct
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from orchestration.gateway.api_values import NOTICES, ApiCode, ApiOutcome, ApiProbe, is_link_down

SETTLE_S = 0.12  # the notices that follow a handshake come within 0.01 s of it on one machine; ten times that
PROBE_THREAD = "api-probe"
KEPT_THREAD = "api-kept"
_CLOSE_S = 0.05
_MAX_TEXT = 1000  # the longest notice seen, a restored link with all its farms, has 300 characters
_MAX_FRAME_BYTES = 1 << 20  # the longest answer here, 50 accounts of an advisor, has 600 bytes
_MAX_FRAMES = 2000  # a handshake has about ten; a flood must not keep the processor busy past the time-out
_LENGTH = struct.Struct(">I")

_CLIENT_ID_IN_USE = 326
_DISCLAIMER = 10141
_NOT_CONNECTED = frozenset({502, 504, 1300})
_LIBRARY_LOGGERS = ("ib_async.client", "ib_async.Decoder", "eventkit.event")


class _OutsideOurThreads(logging.Filter):
    """Lets the library's records pass but for those of our connections: a bot in the same process keeps its log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.threadName not in {PROBE_THREAD, KEPT_THREAD}


_OUTSIDE_OUR_THREADS = _OutsideOurThreads()


def silence_library() -> None:
    """Keep the library's log quiet about the connections of our own threads."""
    for name in _LIBRARY_LOGGERS:
        logging.getLogger(name).addFilter(_OUTSIDE_OUR_THREADS)  # the same filter twice is once


class FrameGuard:
    """Cuts what a socket delivers into whole frames, and stops at what no gateway sends."""

    def __init__(self) -> None:
        self.problem = ""
        self._buffer = bytearray()
        self._frames = 0

    def allow_more(self) -> None:
        """Begin the count of messages anew: on a connection that lasts they add up without being a flood."""
        self._frames = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete now, each with its length before it."""
        self._buffer += data
        while not self.problem and len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            self._frames += 1
            if not 0 < length <= _MAX_FRAME_BYTES:
                self.problem = f"it announces a message of {length} bytes"
            elif self._frames > _MAX_FRAMES:
                self.problem = f"it sent more than {_MAX_FRAMES} messages unasked"
            elif len(self._buffer) < _LENGTH.size + length:
                self._frames -= 1
                return
            else:
                end = _LENGTH.size + length
                frame = bytes(self._buffer[:end])
                del self._buffer[:end]
                yield frame


class ApiConnection:
    """One connection with one client id. It is also the wrapper that the library's client reports to.

    It lives on one event loop, the one that runs where it is made.

    Args:
        host: Where the API is.
        port: Its port.
        client_id: The client id to use.
        now: This host's clock, aware.
        on_code: Called for each code that the gateway sends, on the loop; must not raise (the library would hide it).
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: int,
        *,
        now: Callable[[], datetime],
        on_code: Callable[[ApiCode], None] | None = None,
    ) -> None:
        import ib_async

        self._host, self._port = host, port
        self._client_id = client_id
        self._now = now
        self._on_code = on_code
        self._loop = asyncio.get_running_loop()
        self._codes: deque[ApiCode] = deque(maxlen=_MAX_FRAMES)
        self._server_version: int | None = None
        self._accounts: tuple[str, ...] | None = None
        self._next_valid_id: int | None = None
        self._asked_s = 0.0
        self._server_time: datetime | None = None
        self._skew_s: float | None = None
        self._latency_ms: float | None = None
        self._connecting: asyncio.Future[Any] | None = None
        self._verdict: asyncio.Future[tuple[ApiOutcome, str]] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._timed: asyncio.Future[None] = self._loop.create_future()
        self._guard = FrameGuard()
        make_client: Any = ib_async.Client  # its arguments have no types
        self._client: Any = make_client(self)
        # The client goes on listening to its own event; what the socket delivers goes through the guard first.
        connection = self._client.conn
        self._frames = connection.hasData
        self._frames.error_event += self._on_unreadable
        connection.hasData = type(self._frames)("hasData")
        connection.hasData += self._on_bytes
        connection.disconnected += self._on_gone

    async def open(self, *, until_s: float) -> bool:
        """Connect and complete the handshake; False when that did not come about by the given instant of the loop."""
        # No time-out of the library's: it would not end an attempt earlier than the deadline here.
        connecting = asyncio.ensure_future(self._client.connectAsync(self._host, self._port, self._client_id, 0))
        connecting.add_done_callback(_retrieve)
        self._connecting = connecting
        await self.wait_for(connecting, until_s=until_s)
        if self._verdict.done() or not connecting.done():
            return False
        if error := connecting.exception():
            self._conclude(*_judge_error(error, self._shown))
            return False
        return not self._gone.done()

    def ask_time(self) -> "asyncio.Future[None]":
        """Ask for the server's time; what is returned is done when the answer is there."""
        self._guard.allow_more()
        self._timed = self._loop.create_future()
        self._asked_s = self._loop.time()
        try:
            self._client.reqCurrentTime()
        except ConnectionError:
            # What came looked like a handshake to us and not to the library, which has hung up.
            self._conclude(ApiOutcome.GARBAGE, f"{self._shown} does not speak the TWS API: its handshake is none")
        return self._timed

    async def wait_for(self, *more: asyncio.Future[Any], until_s: float) -> None:
        """Return at the first of: a verdict, the connection's end, one of `more`, the given instant of the loop."""
        left_s = max(0.0, until_s - self._loop.time())
        waited: set[asyncio.Future[Any]] = {self._verdict, self._gone, *more}
        await asyncio.wait(waited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def leave(self) -> None:
        """Disconnect, whatever happened, and leave no socket and no task behind, even when this is cancelled."""
        connection = self._client.conn
        try:
            if self._connecting:
                self._connecting.cancel()
                await asyncio.wait({self._connecting})
            if connection.isConnected():
                with contextlib.suppress(OSError):  # the other side may have reset the connection this very moment
                    self._client.disconnect()
                await asyncio.wait({self._gone}, timeout=_CLOSE_S)
        finally:
            if connection.isConnected():
                connection.transport.abort()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next round
        await asyncio.sleep(0)

    def has_ended(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self._verdict.done() or self._gone.done()

    @property
    def seen(self) -> ApiProbe:
        """What was seen so far, judged."""
        outcome, detail = self._judge()
        return ApiProbe(
            outcome=outcome,
            server_version=self._server_version,
            accounts=self._accounts or (),
            next_valid_id=self._next_valid_id,
            server_time=self._server_time,
            skew_s=self._skew_s,
            latency_ms=self._latency_ms,
            client_id=self._client_id,
            codes=tuple(self._codes),
            detail=detail,
        )

    def _judge(self) -> tuple[ApiOutcome, str]:
        if self._verdict.done():
            return self._verdict.result()
        is_complete = self._server_version is not None and self._accounts and self._next_valid_id is not None
        bad = [said for said in self._codes if said.code not in NOTICES]
        if not is_complete and bad:
            return ApiOutcome.NOT_CONNECTED, f"the gateway at {self._shown} said {bad[-1].code}: {bad[-1].text}"
        if self._gone.done():
            return ApiOutcome.CLOSED, f"{self._shown} accepted the connection and closed it {self._describe_stage()}"
        if is_complete:
            return ApiOutcome.READY, self._describe_ready()
        if self._client.conn.isConnected():
            return (
                ApiOutcome.SILENT,
                f"{self._shown} accepted the connection and then said nothing {self._describe_stage()}",
            )
        return ApiOutcome.REFUSED, f"no connection to {self._shown} came about in time"

    def _describe_stage(self) -> str:
        if self._server_version is None:
            return "before the handshake began"
        if self._accounts and self._next_valid_id is not None:
            return "right after the handshake"
        missing = [
            *(["the managed accounts"] if self._accounts is None else []),
            *(["any account in its list of accounts"] if self._accounts == () else []),
            *(["the next valid order id"] if self._next_valid_id is None else []),
        ]
        return f"in the middle of the handshake, without {' and '.join(missing)}"

    def _describe_ready(self) -> str:
        said = f"the handshake with {self._shown} completed (server version {self._server_version})"
        if is_link_down(self._codes):
            return f"{said}, but the gateway has lost its link to the broker"
        return said if self._timed.done() else f"{said}, but a request for the time was not answered"

    @property
    def _shown(self) -> str:
        return f"{self._host}:{self._port}"

    def _conclude(self, outcome: ApiOutcome, detail: str) -> None:
        if not self._verdict.done():
            self._verdict.set_result((outcome, detail))

    # What the connection tells.

    def _on_bytes(self, data: bytes) -> None:
        for frame in self._guard.feed(data):
            if self._verdict.done():
                return
            self._frames.emit(frame)
        if self._guard.problem:
            self._conclude(ApiOutcome.GARBAGE, f"{self._shown} does not speak the TWS API: {self._guard.problem}")

    def _on_unreadable(self, _event: object, error: Exception) -> None:
        self._conclude(ApiOutcome.GARBAGE, f"{self._shown} does not speak the TWS API: unreadable message ({error})")

    def _on_gone(self, _message: str) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    # What the library's client and decoder call, by the names that they know.

    def connectAck(self) -> None:  # noqa: N802
        """The gateway has told its version."""
        self._server_version = self._client.serverVersion()

    def managedAccounts(self, accounts: str) -> None:  # noqa: N802
        """The list of accounts; an advisor's can end in a comma."""
        self._accounts = tuple(account.strip() for account in accounts.split(",") if account.strip())

    def nextValidId(self, order_id: int) -> None:  # noqa: N802
        """The last of the three things that make a handshake, in either order with the accounts."""
        self._next_valid_id = order_id

    def error(self, _request_id: int, code: int, text: str, _json: str = "") -> None:
        """An error or a notice."""
        said = ApiCode(code=code, text=text[:_MAX_TEXT])
        self._codes.append(said)
        if self._on_code:
            self._on_code(said)
        if code == _CLIENT_ID_IN_USE:
            last = self._client_id
            self._conclude(ApiOutcome.CLIENT_ID_IN_USE, f"the client ids up to {last} are in use at {self._shown}")
        elif code == _DISCLAIMER:
            self._conclude(ApiOutcome.DISCLAIMER, f"the gateway at {self._shown} is not ready yet: {text}")
        elif code in _NOT_CONNECTED:
            self._conclude(ApiOutcome.NOT_CONNECTED, f"the gateway at {self._shown} said {code}: {text}")

    def currentTime(self, epoch_s: int) -> None:  # noqa: N802
        """The gateway's clock."""
        if self._timed.done():
            return
        latency_s = self._loop.time() - self._asked_s
        self._latency_ms = latency_s * 1000
        with contextlib.suppress(OverflowError, ValueError, OSError):  # a time that no calendar knows
            self._server_time = datetime.fromtimestamp(epoch_s, UTC)
            self._skew_s = compute_skew_s(epoch_s, self._now().timestamp() - latency_s / 2)
        self._timed.set_result(None)

    def setEventsDone(self) -> None:  # noqa: N802
        """The client gave up: the connection ended, or the server's version is one that it does not speak."""
        if self._client.conn.isConnected():
            self._conclude(ApiOutcome.GARBAGE, f"{self._shown} speaks a version of the TWS API that is too old")

    def connectionClosed(self) -> None:  # noqa: N802
        """The connection ended after the handshake; `_on_gone` has seen it too."""


def _retrieve(connecting: "asyncio.Future[Any]") -> None:
    """Take note of how it ended, so that nobody is told of an error that nobody asked for."""
    if not connecting.cancelled():
        connecting.exception()


def compute_skew_s(server_epoch_s: int, host_epoch_s: float) -> float:
    """The least skew that whole seconds allow: see `ApiProbe.skew_s`."""
    least, most = server_epoch_s - host_epoch_s, server_epoch_s + 1 - host_epoch_s
    return least if least > 0 else min(most, 0.0)


def _judge_error(error: BaseException, shown: str) -> tuple[ApiOutcome, str]:
    """What the end of a connection attempt means that no connection came of."""
    if isinstance(error, ConnectionRefusedError):
        return ApiOutcome.REFUSED, f"nothing listens on {shown}"
    if isinstance(error, (OSError, ValueError, OverflowError)):  # unreachable; no such host name; no such port
        return ApiOutcome.REFUSED, f"{shown} cannot be reached: {error}"
    raise error
