"""The order guard as a server: clients connect to it as to the gateway, and `order_guard` decides what passes.

Each client gets a connection of its own to the gateway. What the gateway says is handed on as it is; what the client
says goes through `order_guard.judge`, frame by frame, in order. Everything that is not understood ends that client's
connection, so nothing passes unread. One further connection, the guard's own, reads orders and positions when an order
or a cancellation is to be judged.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from orchestration.gateway.api_status import MOST_CLIENTS
from orchestration.gateway.book_reader import BOOK_CLIENT_ID, BookReader, BookUnknownError
from orchestration.gateway.order_guard import (
    Book,
    NeedsBook,
    Pass,
    Refuse,
    Refused,
    cut_versions,
    judge,
    judge_with_book,
)
from orchestration.redaction import clean_line
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from orchestration.system.streams import steady_stdout
from orchestration.tws import messages
from orchestration.tws.frames import (
    LENGTH_BYTES,
    MAX_RELAYED_FRAME_BYTES,
    WireError,
    parse_fields,
    parse_length,
    wrap,
)

_HANDSHAKE_TIMEOUT_S = 30.0  # a client that opens a connection and says nothing must not hold it for ever
_CONNECT_TIMEOUT_S = 10.0
_BOOK_TIMEOUT_S = 5.0
_PORTS = 65536
# More than a gateway takes; the rest is turned away, so that no bot's connections use up this process's descriptors.
_MOST_SESSIONS = 2 * MOST_CLIENTS
_LEAST_BETWEEN_BOOKS_S = 1.0  # for new orders: whether an id is live does not change faster than a client can learn it


class OrderGuardServer:
    """Serves clients until it is closed.

    Args:
        upstream: The gateway.
        book_reader: Reads what the broker holds.
        on_refused: Called for each refusal; must not raise or block.
        on_ended: Called with the reason when a client's connection is ended for what it sent, or for want of room; must
            not raise or block.
        with_amounts: Whether refusals may name an order's quantity (`SHOW_AMOUNTS`).
    """

    def __init__(
        self,
        upstream: Endpoint,
        book_reader: BookReader,
        *,
        on_refused: Callable[[Refuse], None],
        on_ended: Callable[[str], None],
        with_amounts: bool = False,
    ) -> None:
        self._upstream = upstream
        self._book_reader = book_reader
        self._book_lock = asyncio.Lock()
        self._last_book: tuple[float, Book] | None = None
        self._on_refused = on_refused
        self._on_ended = on_ended
        self._with_amounts = with_amounts
        self._sessions: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.refusals: Counter[Refused] = Counter()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which is another one where `port` is 0.

        Raises:
            OSError: The address cannot be bound.
        """
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for session in tuple(self._sessions):
            session.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions)
        await self._book_reader.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None  # noqa: S101 - a coroutine that runs has a task
        if len(self._sessions) >= _MOST_SESSIONS:
            self._on_ended(f"{_MOST_SESSIONS} clients are connected already")
            await _close(writer)
            return
        self._sessions.add(session)
        try:
            await self._relay(reader, writer)
        except WireError as error:
            self._on_ended(str(error))
        except (OSError, EOFError, TimeoutError):
            pass  # one of the two sides has left, or never spoke: both connections end
        except asyncio.CancelledError:
            pass  # `close` ends every session
        finally:
            self._sessions.discard(session)
            await _close(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
            for expected in messages.API_PREFIX:
                # Byte by byte: a client of before 2013 opens with fewer bytes, and waits for an answer.
                if (await reader.readexactly(1))[0] != expected:
                    raise WireError("the client does not open with the handshake of the TWS API")
            versions = cut_versions(messages.parse_hello(await _read_frame(reader)))
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            gateway_reader, gateway_writer = await asyncio.open_connection(self._upstream.host, self._upstream.port)
        try:
            gateway_writer.write(messages.build_hello(versions.oldest, versions.newest))
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
                greeting = await _read_frame(gateway_reader)
                version = messages.parse_greeting(parse_fields(greeting)).version
                if not versions.oldest <= version <= versions.newest:
                    raise WireError(f"the gateway chose version {version}, which was not offered")
                writer.write(wrap(greeting))
                start = await _read_frame(reader)
                client_id = messages.parse_start_api(parse_fields(start))
                # Built again, not forwarded: its optional capabilities are not for the guard to let through.
                gateway_writer.write(messages.build_start_api(client_id))
            back = asyncio.ensure_future(_hand_on(gateway_reader, writer))
            forth = asyncio.ensure_future(
                self._guard(reader, gateway_writer, writer, client_id=client_id, version=version)
            )
            try:
                done, _ = await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
            finally:
                for one in (back, forth):
                    one.cancel()
                await asyncio.wait({back, forth})
        finally:
            await _close(gateway_writer)

    async def _guard(
        self,
        reader: asyncio.StreamReader,
        gateway_writer: asyncio.StreamWriter,
        client_writer: asyncio.StreamWriter,
        *,
        client_id: int,
        version: int,
    ) -> None:
        """Judge what the client says, frame by frame."""
        while True:
            verdict = judge(await _read_frame(reader), client_id=client_id, version=version)
            if isinstance(verdict, NeedsBook):
                book = await self._read_book(verdict)
                verdict = judge_with_book(
                    verdict, book, client_id=client_id, version=version, with_amounts=self._with_amounts
                )
            if isinstance(verdict, Pass):
                gateway_writer.write(verdict.frame)
                await gateway_writer.drain()
            else:
                self.refusals[verdict.what] += 1
                self._on_refused(verdict)
                client_writer.write(verdict.frame)
                await client_writer.drain()

    async def read_book(self) -> Book:
        """What the broker holds now.

        Raises:
            BookUnknownError: It could not be read.
        """
        async with self._book_lock:
            return await self._book_reader.read()

    async def _read_book(self, asked: NeedsBook) -> Book | None:
        """What the broker holds, read after the client asked; None where it cannot be read."""
        async with self._book_lock:
            if asked.request is messages.Request.PLACE_ORDER and self._last_book is not None:
                read_at_s, book = self._last_book
                if asyncio.get_running_loop().time() - read_at_s < _LEAST_BETWEEN_BOOKS_S:
                    return book
            try:
                book = await self._book_reader.read()
            except BookUnknownError as error:
                logging.getLogger(__name__).warning("orders and positions are unknown: %s", error)
                self._last_book = None
                return None
            self._last_book = (asyncio.get_running_loop().time(), book)
            return book


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(parse_length(await reader.readexactly(LENGTH_BYTES)))


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what the gateway says, in whole frames: a refusal may have to stand between two of them."""
    while True:
        prefix = await reader.readexactly(LENGTH_BYTES)
        length = parse_length(prefix, limit=MAX_RELAYED_FRAME_BYTES)
        writer.write(prefix + await reader.readexactly(length))
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m orchestration.gateway.order_guard_proxy`: run a guard by hand, until a signal ends it."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestration.gateway.order_guard_proxy",
        description="Serve the TWS API of a gateway: clients read everything and order nothing.",
    )
    parser.add_argument("--gateway", type=_parse_address, default=Endpoint(host="127.0.0.1", port=4002),
                        metavar="HOST:PORT", help="the gateway's API (default: 127.0.0.1:4002)")  # fmt: skip
    parser.add_argument("--listen", type=_parse_address, default=Endpoint(host="127.0.0.1", port=4102),
                        metavar="HOST:PORT", help="where clients connect (default: 127.0.0.1:4102)")  # fmt: skip
    parser.add_argument("--client-id", type=int, default=BOOK_CLIENT_ID, metavar="ID",
                        help="for the guard's own connection, and the next nine (default: %(default)s)")  # fmt: skip
    given = parser.parse_args(arguments)
    if given.client_id < 1:
        parser.error("--client-id: must be 1 or more: client 0 would bind orders that were placed by hand")
    try:
        return asyncio.run(_serve_until_signal(given.gateway, given.listen, given.client_id))
    except OSError as error:
        _write(f"cannot listen on {given.listen}: {error.strerror}")
        return 1


async def _serve_until_signal(gateway: Endpoint, listen: Endpoint, client_id: int) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    loop = asyncio.get_running_loop()
    reader = BookReader(gateway, client_id=client_id, now=SystemClock().now, timeout_s=_BOOK_TIMEOUT_S)
    server = OrderGuardServer(
        gateway,
        reader,
        on_refused=lambda refusal: _write(f"refused: {refusal.what}: {refusal.detail}"),
        on_ended=lambda why: _write(f"a client's connection was ended: {why}"),
        with_amounts=True,  # for the person who started it, in their own terminal
    )
    port = await server.start(listen.host, listen.port)
    _write(f"listening on {listen.host}:{port}, in front of {gateway}")
    await stop.wait()
    await server.close()
    return 0


def _parse_address(text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) >= _PORTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return Endpoint(host=host.strip("[]"), port=int(port))


def _write(text: str) -> None:
    steady_stdout().write(clean_line(text) + "\n")


if __name__ == "__main__":
    sys.exit(main())
