"""One connection to the gateway's API: open it, ask for the time, listen, leave.

`orchestration.gateway.api` looks once through one, `orchestration.gateway.kept_api` keeps one for as long as it
lasts. What is sent and received is built and read by `orchestration.tws`.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from orchestration.gateway.api_status import NOTICES, ApiCode, ApiState, ApiStatus, is_link_down
from orchestration.system.endpoint import Endpoint
from orchestration.tws import messages
from orchestration.tws.frames import FrameReader, WireError, parse_fields

SETTLE_S = 0.12  # the notices that follow a handshake come within 0.01 s of it on one machine; ten times that
KEPT_THREAD = "api-kept"
_CLOSE_S = 0.05
_MAX_TEXT = 1000  # the longest notice seen, a restored link with all its farms, has 300 characters
_MAX_FRAMES = 2000  # a handshake has about ten; a flood must not keep the processor busy past the time-out

_CLIENT_ID_IN_USE = 326
_DISCLAIMER = 10141
_NOT_CONNECTED = frozenset({502, 504, 1300})
_OUTDATED = frozenset({503, 506})


class ApiConnection(asyncio.Protocol):
    """One connection with one client id.

    It lives on one event loop, the one that runs where it is made.

    Args:
        host: Where the API is.
        port: Its port.
        client_id: The client id to use.
        now: This host's clock, aware.
        on_code: Called for each code that the gateway sends, on the loop; must not raise.
        on_message: Called for each message that the gateway sends, on the loop; must not raise.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client_id: int,
        *,
        now: Callable[[], datetime],
        on_code: Callable[[ApiCode], None] | None = None,
        on_message: Callable[[messages.Message], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._client_id = client_id
        self._now = now
        self._on_code = on_code
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._frames = FrameReader()
        self._unasked = 0  # messages since the last request
        self._most_frames = _MAX_FRAMES
        self._codes: deque[ApiCode] = deque(maxlen=_MAX_FRAMES)
        self._server_version: int | None = None
        self._accounts: tuple[str, ...] | None = None
        self._next_valid_id: int | None = None
        self._asked_s = 0.0
        self._server_time: datetime | None = None
        self._skew_s: float | None = None
        self._latency_ms: float | None = None
        self._connecting: asyncio.Future[Any] | None = None
        self._verdict: asyncio.Future[tuple[ApiState, str]] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._complete: asyncio.Future[None] = self._loop.create_future()
        self._timed: asyncio.Future[None] = self._loop.create_future()

    async def open(self, *, until_s: float) -> bool:
        """Connect and complete the handshake; False when that did not come about by the given instant of the loop."""
        endpoint = self._endpoint
        connecting = asyncio.ensure_future(self._loop.create_connection(lambda: self, endpoint.host, endpoint.port))
        connecting.add_done_callback(_retrieve)
        self._connecting = connecting
        await self.wait_for(connecting, until_s=until_s)
        if self._verdict.done() or not connecting.done():
            return False
        if error := connecting.exception():
            self._conclude(*_judge_error(error, self._shown))
            return False
        await self.wait_for(self._complete, until_s=until_s)
        return self._complete.done() and not self.has_ended()

    def ask_time(self) -> "asyncio.Future[None]":
        """Ask for the server's time; what is returned is done when the answer is there."""
        self._timed = self._loop.create_future()
        self._asked_s = self._loop.time()
        self.send(messages.build_time_request())
        return self._timed

    def send(self, request: bytes, *, most_answers: int = 0) -> None:
        """Send a request; nothing happens where the connection has ended.

        Args:
            request: The frame.
            most_answers: How many messages may answer it, where that is more than a few.
        """
        self._most_frames = max(self._most_frames, most_answers)
        self._unasked = 0  # on a connection that lasts, messages add up without being a flood
        if self._transport is not None:
            self._transport.write(request)

    async def wait_for(self, *more: asyncio.Future[Any], until_s: float) -> None:
        """Return at the first of: a verdict, the connection's end, one of `more`, the given instant of the loop."""
        left_s = max(0.0, until_s - self._loop.time())
        waited: set[asyncio.Future[Any]] = {self._verdict, self._gone, *more}
        await asyncio.wait(waited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def leave(self) -> None:
        """Disconnect, whatever happened, and leave no socket and no task behind, even when this is cancelled."""
        try:
            if self._connecting:
                self._connecting.cancel()
                await asyncio.wait({self._connecting})
            if self._transport is not None:
                with contextlib.suppress(OSError):  # the other side may have reset the connection this very moment
                    self._transport.write_eof()
                self._transport.close()
                await asyncio.wait({self._gone}, timeout=_CLOSE_S)
        finally:
            if self._transport is not None:
                self._transport.abort()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next round
        await asyncio.sleep(0)

    def has_ended(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self._verdict.done() or self._gone.done()

    @property
    def seen(self) -> ApiStatus:
        """What was seen so far, judged."""
        state, detail = self._judge()
        return ApiStatus(
            state=state,
            server_version=self._server_version,
            accounts=self._accounts or (),
            next_valid_id=self._next_valid_id,
            server_time=self._server_time,
            skew_s=self._skew_s,
            latency_ms=self._latency_ms,
            client_id=self._client_id,
            detail=detail,
        ).hear(tuple(self._codes))

    def _judge(self) -> tuple[ApiState, str]:
        if self._verdict.done():
            return self._verdict.result()
        is_complete = self._complete.done()
        bad = [said for said in self._codes if said.code not in NOTICES]
        if not is_complete and bad:
            return ApiState.NOT_CONNECTED, f"the gateway at {self._shown} said {bad[-1].code}: {bad[-1].text}"
        if self._gone.done():
            return ApiState.CLOSED, f"{self._shown} accepted the connection and closed it {self._describe_stage()}"
        if is_complete:
            return ApiState.READY, self._describe_ready()
        if self._transport is not None:
            return (
                ApiState.SILENT,
                f"{self._shown} accepted the connection and then said nothing {self._describe_stage()}",
            )
        return ApiState.REFUSED, f"no connection to {self._shown} came about in time"

    def _describe_stage(self) -> str:
        if self._server_version is None:
            return "before the handshake began"
        if self._complete.done():
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
        return str(self._endpoint)

    def _conclude(self, outcome: ApiState, detail: str) -> None:
        if not self._verdict.done():
            self._verdict.set_result((outcome, detail))

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port has accepted: say which versions are spoken here."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a stream connection gets
        self._transport = transport
        transport.write(messages.build_hello())

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection has ended, from either side."""
        self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Read what came, up to the first thing that settles the outcome."""
        try:
            for body in self._frames.feed(data):
                if self._verdict.done():
                    return
                self._count_unasked()
                self._read(body)
        except WireError as error:
            self._conclude(ApiState.GARBAGE, f"{self._shown} does not speak the TWS API: {error}")

    def _count_unasked(self) -> None:
        self._unasked += 1
        if self._unasked > self._most_frames:
            raise WireError(f"it sent more than {self._most_frames} messages unasked")

    # What a message tells.

    def _read(self, body: bytes) -> None:
        fields = parse_fields(body)
        if self._server_version is None and len(fields) == 2:  # noqa: PLR2004 - a greeting is version and time
            self._start_api(messages.parse_greeting(fields))
            return
        try:
            message = messages.parse_message(fields)
        except WireError:
            # Once logged in, a message that cannot be read says nothing of whether the gateway works.
            if not self._complete.done():
                raise
            message = messages.name_unreadable(fields)
        if self._on_message:
            self._on_message(message)
        self._take(message)
        is_complete = self._server_version is not None and self._accounts and self._next_valid_id is not None
        if is_complete and not self._complete.done():
            self._complete.set_result(None)

    def _take(self, message: messages.Message) -> None:
        match message:
            case messages.ErrorMessage() as said:
                self._take_code(ApiCode(code=said.code, text=said.text[:_MAX_TEXT]))
            case messages.ManagedAccounts(accounts=accounts):
                self._accounts = accounts
            case messages.NextValidId(order_id=order_id):
                self._next_valid_id = order_id
            case messages.CurrentTime(epoch_s=epoch_s):
                self._take_time(epoch_s)
            case _ if self._server_version is None:
                raise WireError("its first message is not a version and a time")
            case _:
                pass

    def _start_api(self, greeting: messages.Greeting) -> None:
        if greeting.version < messages.OLDEST_VERSION:
            needed = f"this program needs {messages.OLDEST_VERSION} or newer"
            self._conclude(
                ApiState.OUTDATED,
                f"the gateway at {self._shown} speaks version {greeting.version} of the TWS API, and {needed}",
            )
            return
        if greeting.version > messages.NEWEST_VERSION:
            raise WireError(f"it chose version {greeting.version}, which was not offered")
        self._server_version = greeting.version
        if self._transport is not None:
            self._transport.write(messages.build_start_api(self._client_id))

    def _take_code(self, said: ApiCode) -> None:
        self._codes.append(said)
        if self._on_code:
            self._on_code(said)
        if said.code == _CLIENT_ID_IN_USE:
            last = self._client_id
            self._conclude(ApiState.CLIENT_ID_IN_USE, f"the client ids up to {last} are in use at {self._shown}")
        elif said.code == _DISCLAIMER:
            self._conclude(ApiState.DISCLAIMER, f"the gateway at {self._shown} is not ready yet: {said.text}")
        elif said.code in _OUTDATED:
            self._conclude(ApiState.OUTDATED, f"the gateway at {self._shown} said {said.code}: {said.text}")
        elif said.code in _NOT_CONNECTED:
            self._conclude(ApiState.NOT_CONNECTED, f"the gateway at {self._shown} said {said.code}: {said.text}")

    def _take_time(self, epoch_s: int) -> None:
        if self._timed.done():
            return
        latency_s = self._loop.time() - self._asked_s
        self._latency_ms = latency_s * 1000
        with contextlib.suppress(OverflowError, ValueError, OSError):  # a time that no calendar knows
            self._server_time = datetime.fromtimestamp(epoch_s, UTC)
            self._skew_s = compute_skew_s(epoch_s, self._now().timestamp() - latency_s / 2)
        self._timed.set_result(None)


def _retrieve(connecting: "asyncio.Future[Any]") -> None:
    """Take note of how it ended, so that an error that no caller asked for is not reported."""
    if not connecting.cancelled():
        connecting.exception()


def compute_skew_s(server_epoch_s: int, host_epoch_s: float) -> float:
    """The least skew that whole seconds allow: see `ApiStatus.skew_s`."""
    least, most = server_epoch_s - host_epoch_s, server_epoch_s + 1 - host_epoch_s
    return least if least > 0 else min(most, 0.0)


def _judge_error(error: BaseException, shown: str) -> tuple[ApiState, str]:
    """What the end of a connection attempt means that no connection came of."""
    if isinstance(error, ConnectionRefusedError):
        return ApiState.REFUSED, f"nothing listens on {shown}"
    if isinstance(error, (OSError, ValueError, OverflowError)):  # unreachable; no such host name; no such port
        return ApiState.REFUSED, f"{shown} cannot be reached: {error}"
    raise error
