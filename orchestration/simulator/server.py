"""The stand-in itself: one process that logs in, opens the API port, and serves clients until it is asked to end.

The API's port is bound from the start (so that a port in use is found at once) but listens only after the login, like
the real gateway's. The forwarder, where one is asked for, listens from the start, accepts and closes at once until the
API answers behind it, like the real image's.
"""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from orchestration.simulator import answers
from orchestration.simulator.account import Holding, PlacedOrder, SimulatedAccount
from orchestration.simulator.broker import BrokerSession
from orchestration.simulator.dialects import REFUSED_EXIT_CODE, Controller
from orchestration.simulator.faults import ERROR_TEXTS, RESTORED_BY, ConnectionFault, ErrorFault, Faults
from orchestration.simulator.login import LoginLog, log_in, tell_session_taken
from orchestration.simulator.market import build_contracts
from orchestration.simulator.sockets import PortUnavailableError, bind, explain, find_reachable, show
from orchestration.tws import messages
from orchestration.tws.frames import LENGTH_BYTES, WireError, parse_fields, parse_length

MAX_CLIENTS = 32
GARBAGE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"  # as a length, `HTTP` is 1.2 GB
_FARMS_FINE = (2104, 2106, 2158)
_CLOSE_TIMEOUT_S = 1.0
_DIED = 1
_NEXT_ORDER_ID = 1
# What would change an order, an account or the gateway: told in the log, so that a test sees what arrived.
_ACTS = {
    str(int(number)): number.name.lower()
    for number in (
        messages.Request.PLACE_ORDER,
        messages.Request.CANCEL_ORDER,
        messages.Request.AUTO_OPEN_ORDERS,
        messages.Request.REPLACE_FA,
        messages.Request.EXERCISE_OPTIONS,
        messages.Request.GLOBAL_CANCEL,
    )
}


@dataclass(frozen=True, kw_only=True)
class SimulatorOptions:
    """How one run behaves.

    Attributes:
        host: Address of the API.
        port: Port of the API; 0 for any free one.
        accounts: Managed accounts, with commas between them.
        forwarder: Address of the forwarder, or None.
        faults: What goes wrong.
        second_factor_exits: End with the controller's exit code when the second factor is not confirmed, instead of
            starting over.
        holdings: Positions of the first account.
        orders: Its open orders.
        is_read_only: Whether the API refuses open and completed orders, as a real gateway set to be read-only does.
        controller: Whose texts its log has.
        settings_dir: Where it writes `launcher.log`; None for nowhere.
        gives_way: Whether its login gives way to an existing session of its user name.
    """

    host: str
    port: int
    accounts: str
    forwarder: tuple[str, int] | None = None
    faults: Faults = Faults()  # noqa: RUF009 - a frozen value
    second_factor_exits: bool = False
    holdings: tuple[Holding, ...] = ()
    orders: tuple[PlacedOrder, ...] = ()
    is_read_only: bool = False
    controller: Controller = Controller.IBC
    settings_dir: Path | None = None
    gives_way: bool = False


class Simulator:
    """One simulated gateway.

    Args:
        options: How it behaves.
        write: Takes one line of its log; must not raise.
    """

    def __init__(self, options: SimulatorOptions, *, write: Callable[[str], None]) -> None:
        self._options = options
        self._faults = options.faults
        self._accounts = options.faults.accounts if options.faults.accounts is not None else options.accounts
        self._held = _build_account(self._accounts, options)
        self._log = LoginLog(write, controller=options.controller, settings_dir=options.settings_dir)
        self._clients: set[int] = set()
        self._connected: dict[asyncio.StreamWriter, int] = {}  # with the version that each one speaks
        self._sessions: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._given: Counter[int] = Counter()
        self._opened_s = 0.0
        self._silent = False
        self._end_asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[int] | None = None
        self._api: asyncio.Server | None = None
        self._session: BrokerSession | None = None

    async def run(self) -> int:
        """Serve until `ask_to_end` or a fault ends it.

        Returns:
            The exit code: 0 when asked to end, 1 after a fault that ends the process, 87 after a second factor that
            was not confirmed (where that ends it).

        Raises:
            PortUnavailableError: Another program listens there, or the address is not this machine's.
        """
        loop = asyncio.get_running_loop()
        self._loop, self._ended = loop, loop.create_future()
        if self._end_asked:
            return 0
        with contextlib.ExitStack() as sockets:
            api_socket = sockets.enter_context(bind(self._options.host, self._options.port))
            self._address = api_socket.getsockname()[:2]
            self._log.simulator("IB Gateway stand-in: no broker, no market, and every order is refused")
            self._log.simulator(f"API port {show(self._address)}, closed until the login is over")
            forwarder = None
            if self._options.forwarder:
                forwarder_socket = sockets.enter_context(bind(*self._options.forwarder))
                forwarder = await asyncio.start_server(self._track(self._forward), sock=forwarder_socket)
                self._log.simulator(f"forwarder listening on {show(forwarder_socket.getsockname())}")
            if self._faults.dies_after_s is not None:
                loop.call_later(self._faults.dies_after_s, self._end, _DIED, "dies now, as requested")
            login = asyncio.create_task(self._log_in_and_open(api_socket))
            login.add_done_callback(self._end_if_failed)
            try:
                return await self._ended
            finally:
                login.cancel()
                if self._session is not None:
                    self._session.close()
                for server in (forwarder, self._api):
                    if server is not None:
                        server.close()
                await self._close_sessions()

    def ask_to_end(self, why: str) -> None:
        """Let `run` return 0 soon. For signal handlers: at any time, from any thread, more than once."""
        self._end_asked = True
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, 0, why)

    def ask_to_take_faults(self, faults: Faults) -> None:
        """Apply other faults from now on. For signal handlers.

        What belongs to a login (`slow_login`, `second_factor`, …) is of no effect until the next start.
        """
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take_faults, faults)

    def _take_faults(self, faults: Faults) -> None:
        self._log.simulator("other faults from now on")
        self._faults = faults
        self._given.clear()
        self._opened_s = asyncio.get_running_loop().time()  # `CODE:SECONDS` counts from here
        for writer, version in tuple(self._connected.items()):
            self._tell_state(writer, version)

    async def _log_in_and_open(self, api_socket: socket.socket) -> None:
        faults = self._faults
        gives_way = self._options.gives_way
        session = None if faults.broker is None else BrokerSession(faults.broker, gives_way=gives_way)
        self._session = session
        code = await log_in(self._log, faults, second_factor_exits=self._options.second_factor_exits, session=session)
        if code:
            why = "user or password are refused" if code == REFUSED_EXIT_CODE else "the second factor was not confirmed"
            self._end(code, f"ends: {why}")
            return
        if faults.unhealthy:
            self._log.simulator("the API port stays closed, as requested")
            return
        loop = asyncio.get_running_loop()
        try:
            self._api = await asyncio.start_server(self._track(self._serve), sock=api_socket, backlog=128)
        except OSError as error:
            raise PortUnavailableError(explain(self._address, error)) from error
        self._opened_s = loop.time()
        self._log.simulator(f"API listening on {show(self._address)}, account {self._accounts or '(none)'}")
        if faults.silent_after_s is not None:
            loop.call_later(faults.silent_after_s, self._fall_silent)
        if faults.session_taken_after_s:
            loop.call_later(faults.session_taken_after_s, self._lose_session)
        if session is not None:
            await session.wait_until_taken()
            self._lose_session()

    def _end_if_failed(self, login: asyncio.Task[None]) -> None:
        error = None if login.cancelled() else login.exception()  # noqa: LOG004 - a task's, not a logger's
        if error and self._ended and not self._ended.done():
            self._ended.set_exception(error)

    def _end(self, code: int, why: str) -> None:
        if self._ended and not self._ended.done():
            self._log.simulator(why)
            self._ended.set_result(code)

    def _fall_silent(self) -> None:
        self._log.simulator("the API falls silent, as requested")
        self._silent = True

    def _lose_session(self) -> None:
        tell_session_taken(self._log)
        if self._api:
            self._api.close()
        for writer in self._sessions.values():
            writer.close()

    async def _close_sessions(self) -> None:
        for writer in self._sessions.values():
            writer.close()
        if self._sessions:
            _, late = await asyncio.wait(tuple(self._sessions), timeout=_CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()

    def _track(self, serve: "_Serve") -> "_Serve":
        """Track the connected clients; close each connection cleanly; let no broken one end the program."""

        async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - a coroutine that runs has a task
            self._sessions[task] = writer
            try:
                await serve(reader, writer)
            except WireError as error:
                self._log.simulator(f"client dropped: {error}")
            except (OSError, asyncio.IncompleteReadError):
                pass  # the client is gone; that is how most sessions end
            finally:
                del self._sessions[task]
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        return tracked

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._address
        inner_reader, inner_writer = await asyncio.open_connection(find_reachable(host), port)
        try:
            await asyncio.wait(
                (asyncio.ensure_future(_pipe(reader, inner_writer)), asyncio.ensure_future(_pipe(inner_reader, writer)))
            )
        finally:
            inner_writer.close()
            with contextlib.suppress(OSError):
                await inner_writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from the first byte to the last."""
        fault = ConnectionFault.SILENT if self._silent else self._faults.connection
        if fault is ConnectionFault.CLOSES:
            return
        if fault in {ConnectionFault.SILENT, ConnectionFault.GARBAGE}:
            writer.write(GARBAGE if fault is ConnectionFault.GARBAGE else b"")
            await _drain_client(reader)
            return
        if await reader.readexactly(len(messages.API_PREFIX)) != messages.API_PREFIX:
            raise WireError("it does not speak the TWS API")
        version = answers.choose_version(messages.parse_hello(await _read_frame(reader)))
        time_text = f"{datetime.fromtimestamp(self._now_s(), UTC):%Y%m%d %H:%M:%S} UTC"
        greeting = messages.build_greeting(version, time_text)
        if fault is ConnectionFault.HALF_FRAME:
            writer.write(greeting[: len(greeting) // 2])
            await _drain_client(reader)
            return
        writer.write(greeting)
        client_id = messages.parse_start_api(parse_fields(await _read_frame(reader)))
        if fault is ConnectionFault.DIES:
            self._end(_DIED, "dies in the middle of a handshake, as requested")
            return
        if self._refuse(client_id, writer, version):
            await writer.drain()
            return
        self._clients.add(client_id)
        self._log.simulator(f"client {client_id} completes the handshake")
        self._connected[writer] = version
        try:
            await self._answer(reader, writer, client_id, version)
        finally:
            self._connected.pop(writer, None)
            self._clients.discard(client_id)

    def _refuse(self, client_id: int, writer: asyncio.StreamWriter, version: int) -> bool:
        refusal = next((fault for fault in self._faults.errors if fault.is_refusal and self._is_due(fault)), None)
        if refusal:
            self._given[refusal.code] += 1
            writer.write(messages.build_error(-1, refusal.code, ERROR_TEXTS[refusal.code], version=version))
            return True
        if client_id in self._clients:
            writer.write(messages.build_error(-1, 326, ERROR_TEXTS[326], version=version))
            return True
        if len(self._clients) >= MAX_CLIENTS:
            self._log.simulator(f"client {client_id} dropped: {MAX_CLIENTS} clients are connected")
            return True
        return False

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client_id: int, version: int
    ) -> None:
        writer.write(messages.build_handshake_end(self._accounts, _NEXT_ORDER_ID))
        self._tell_state(writer, version)
        data_type = 1
        while True:
            fields = parse_fields(await _read_frame(reader))
            if self._silent:
                continue
            if fields[0] in _ACTS:
                self._log.simulator(f"client {client_id} sends {_ACTS[fields[0]]}: refused")
            data_type = answers.read_data_type(fields) or data_type
            view = replace(self._view(version), client_id=client_id, data_type=data_type)
            writer.write(answers.build_answer(fields, view))
            await writer.drain()

    def _tell_state(self, writer: asyncio.StreamWriter, version: int) -> None:
        """The notices that follow a handshake: the state of the link and of the farms."""
        due = [fault for fault in self._faults.errors if not fault.is_refusal and self._is_due(fault)]
        broken = {RESTORED_BY[fault.code] for fault in due}
        for code in _FARMS_FINE:
            if code not in broken and 1102 not in broken:  # noqa: PLR2004 - no link, no farm
                writer.write(messages.build_error(-1, code, ERROR_TEXTS[code], version=version))
        loop = asyncio.get_running_loop()
        for fault in due:
            self._given[fault.code] += 1
            writer.write(messages.build_error(-1, fault.code, ERROR_TEXTS[fault.code], version=version))
            if fault.for_s is not None:
                loop.call_at(self._opened_s + fault.for_s, _tell_restored, writer, RESTORED_BY[fault.code], version)

    def _is_due(self, fault: ErrorFault) -> bool:
        if fault.for_s is not None and asyncio.get_running_loop().time() >= self._opened_s + fault.for_s:
            return False
        return fault.for_tries is None or self._given[fault.code] < fault.for_tries

    def _view(self, version: int) -> answers.View:
        return answers.View(
            accounts=self._accounts,
            next_order_id=_NEXT_ORDER_ID,
            time_s=self._now_s(),
            version=version,
            held=self._held,
            is_read_only=self._options.is_read_only,
            gives_half_answers=self._faults.half_answers,
        )

    def _now_s(self) -> float:
        return time.time() + self._faults.clock_skew_s


_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[object, object, None]]


def _tell_restored(writer: asyncio.StreamWriter, code: int, version: int) -> None:
    if not writer.is_closing():
        writer.write(messages.build_error(-1, code, ERROR_TEXTS[code], version=version))


def _build_account(accounts: str, options: SimulatorOptions) -> SimulatedAccount:
    contracts = {one.symbol: one for one in build_contracts(datetime.now(UTC).date())}
    return SimulatedAccount(
        account=accounts.partition(",")[0],
        positions=tuple((contracts[one.symbol], one.quantity) for one in options.holdings),
        orders=tuple((contracts[one.symbol], one) for one in options.orders),
    )


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(parse_length(await reader.readexactly(LENGTH_BYTES)))


async def _drain_client(reader: asyncio.StreamReader) -> None:
    """Read and forget until the client leaves."""
    while await reader.read(65536):
        pass


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
