"""The reference bot: keeps every rule that a bot is asked to keep, and never sends an order.

    python -m orchestration.bot.reference --gateway-host 127.0.0.1 --gateway-port 4002 --gameplan FILE --log-level INFO

What is not given as an argument is taken from the environment (`GATEWAY_HOST`, `GATEWAY_PORT`, `GAMEPLAN_PATH`,
`LOG_LEVEL`). It is the bot that runs until there is a real one, and an example of how a real one behaves:

- its plan is read first, and without a valid one it does not start;
- it says `READY=1` once it is connected, `STATUS=` when something changes, `WATCHDOG=1` as it lives;
- a gateway that goes away, or falls silent, is connected to again, with pauses that grow, for as long as it takes;
- a gateway that was never there ends it: it is started only after the gateway was validated;
- on SIGTERM or Ctrl-C it says `STOPPING=1`, disconnects and ends with 0.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.bot.notifier import Notifier, read_watchdog_interval_s
from orchestration.errors import StartupFailure
from orchestration.gameplan import GameplanError, read_plan_for_bot
from orchestration.settings import Settings
from orchestration.system.clock import Clock, SystemClock

if TYPE_CHECKING:
    from ib_async import IB

_LOG = logging.getLogger("reference-bot")
_CLIENT_ID_IN_USE = 326
_CLIENT_IDS_TRIED = 10
_ATTEMPT_TIMEOUT_S = 10.0  # a handshake on the same host takes 0.1 s
_SHORTEST_ATTEMPT_S = 1.0
_ANSWER_TIMEOUT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the bot was told to do.

    Attributes:
        host: Where the gateway's API is.
        port: Its port.
        client_id: The first client id to try.
        plan: The day's plan.
        heartbeat_s: Seconds between two lines in the log.
        watchdog_s: Seconds between two `WATCHDOG=1`.
        connect_timeout_s: Seconds until it gives up a gateway that was never there.
        settings: Where the market's time zone is.
    """

    host: str
    port: int
    client_id: int
    plan: Mapping[str, Any]
    heartbeat_s: float
    watchdog_s: float
    connect_timeout_s: float
    settings: Settings


def describe_duty(plan: Mapping[str, Any], today: date) -> str:
    """What a plan allows on a given day, in one line. Pure.

    Args:
        plan: A valid plan.
        today: The date where the market is.
    """
    planned = date.fromisoformat(plan["date"])
    if plan["strategy"] == "C":
        return "strategy C: no entries; what is open may only be reduced or protected"
    if planned > today:
        return f"strategy {plan['strategy']} for {planned}: nothing is traded before that day"
    if planned < today:
        return f"strategy {plan['strategy']} was for {planned}: out of date, no entries"
    symbols = ", ".join(plan["symbols"])
    return f"strategy {plan['strategy']} on {symbols}; this bot only watches and never sends an order"


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop.

    Returns:
        0 when told to stop; 1 for a wrong configuration, a plan that is not valid, or a gateway that was never there.
    """
    options = _build_parser().parse_args(argv)
    try:
        settings = Settings.load()
        level = options.log_level or settings.environ.get("LOG_LEVEL") or settings.bot_log_level
        logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
        # The library tells every message of a connection at INFO.
        logging.getLogger("ib_async").setLevel(logging.DEBUG if level.upper() == "DEBUG" else logging.CRITICAL)
        gameplan = options.gameplan or settings.gameplan_path
        if gameplan is None:
            print("no plan was given: --gameplan FILE, or GAMEPLAN_PATH", file=sys.stderr)  # noqa: T201
            return 1
        plan = read_plan_for_bot(gameplan)
    except (StartupFailure, GameplanError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 1
    orders = Orders(
        host=options.gateway_host or settings.gateway_host,
        port=options.gateway_port or settings.gateway_port,
        client_id=settings.bot_client_id if options.client_id is None else options.client_id,
        plan=plan,
        heartbeat_s=options.heartbeat_interval,
        watchdog_s=read_watchdog_interval_s(settings.environ, pid=os.getpid()) or options.heartbeat_interval,
        connect_timeout_s=options.connect_timeout,
        settings=settings,
    )
    return asyncio.run(_ReferenceBot(orders, Notifier(settings.environ), SystemClock()).run())


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestration.bot.reference",
        usage="%(prog)s [options]",
        description="A bot that keeps every rule and never trades.",
    )
    parser.add_argument("--gateway-host", help="where the gateway's API is (GATEWAY_HOST)")
    parser.add_argument("--gateway-port", type=int, help="its port (GATEWAY_PORT)")
    parser.add_argument("--gameplan", type=Path, help="the day's plan (GAMEPLAN_PATH)")
    parser.add_argument("--log-level", help="DEBUG to CRITICAL (LOG_LEVEL)")
    parser.add_argument("--client-id", type=int, help="client id; the next nine if it is in use (BOT_CLIENT_ID)")
    parser.add_argument("--heartbeat-interval", type=float, default=30.0, help="seconds between heartbeats (30)")
    parser.add_argument("--connect-timeout", type=float, default=30.0, help="seconds for the first connection (30)")
    return parser


class _ReferenceBot:
    def __init__(self, orders: Orders, notifier: Notifier, clock: Clock) -> None:
        self._orders = orders
        self._notifier = notifier
        self._clock = clock
        self._stopping = asyncio.Event()
        self._was_connected = False

    async def run(self) -> int:
        self._listen_for_signals()
        _LOG.info("process %d; %s", os.getpid(), self._describe_duty())
        pause_s = _FIRST_PAUSE_S
        give_up_s = self._clock.monotonic_s() + self._orders.connect_timeout_s
        watchdog = asyncio.create_task(self._keep_watchdog())
        try:
            while not self._stopping.is_set():
                # Kept beside what it stands for: one connection, from its first byte to its last.
                connection = _Connection()
                if await self._connect(connection, until_s=give_up_s):
                    pause_s = _FIRST_PAUSE_S
                    await self._stay(connection)
                await connection.close()
                if self._stopping.is_set():
                    break
                if not self._was_connected and self._clock.monotonic_s() >= give_up_s:
                    _LOG.error("no gateway at %s:%d; giving up", self._orders.host, self._orders.port)
                    return 1
                self._notifier.say(STATUS=f"waiting for the gateway at {self._orders.host}:{self._orders.port}")
                _LOG.warning("trying again in %g s", pause_s)
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        finally:
            self._notifier.say(STOPPING="1", STATUS="leaving")
            watchdog.cancel()
        _LOG.info("asked to stop; stopping gracefully, no order was ever sent")
        return 0

    def _listen_for_signals(self) -> None:
        def stop(*_: object) -> None:
            loop.call_soon_threadsafe(self._stopping.set)

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    def _describe_duty(self) -> str:
        today = self._clock.now().astimezone(self._orders.settings.market_timezone).date()
        return describe_duty(self._orders.plan, today)

    async def _pause(self, duration_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), duration_s)

    async def _keep_watchdog(self) -> None:
        while True:
            self._notifier.say(WATCHDOG="1")
            await asyncio.sleep(self._orders.watchdog_s)

    async def _connect(self, connection: "_Connection", *, until_s: float) -> bool:
        """Connect with the first free client id. Returns whether it is connected."""
        timeout_s = _ATTEMPT_TIMEOUT_S
        if not self._was_connected:  # one silent gateway must not make the whole wait longer
            timeout_s = min(timeout_s, max(_SHORTEST_ATTEMPT_S, until_s - self._clock.monotonic_s()))
        for client_id in range(self._orders.client_id, self._orders.client_id + _CLIENT_IDS_TRIED):
            problem = await connection.open(
                self._orders.host, self._orders.port, client_id, timeout_s=timeout_s, stop=self._stopping
            )
            if problem is None:
                _LOG.info("connected to %s:%d as client %d", self._orders.host, self._orders.port, client_id)
                self._was_connected = True
                return True
            if self._stopping.is_set():
                return False
            if not connection.is_client_id_in_use:
                _LOG.warning("no connection to %s:%d: %s", self._orders.host, self._orders.port, problem)
                return False
            _LOG.info("client id %d is in use", client_id)
            await connection.close()
        _LOG.warning("%d client ids in a row are in use", _CLIENT_IDS_TRIED)
        return False

    async def _stay(self, connection: "_Connection") -> None:
        """Be ready, until the connection ends or a stop is asked for."""
        duty = ""
        while not self._stopping.is_set():
            if (now := self._describe_duty()) != duty:  # midnight may change it
                duty = now
                self._notifier.say(READY="1", STATUS=f"connected; {duty}")
                _LOG.info("ready; %s", duty)
            await connection.wait_for_end(self._orders.heartbeat_s, stop=self._stopping)
            if self._stopping.is_set():
                return
            problem = await connection.find_problem()
            if problem:
                _LOG.warning("the gateway is gone: %s", problem)
                return
            _LOG.info("heartbeat: connected, %d open positions; %s", connection.position_count, duty)


class _Connection:
    """One connection to the gateway, and how it ended."""

    def __init__(self) -> None:
        self._ib: IB | None = None
        self._ended = asyncio.Event()
        self.is_client_id_in_use = False

    @property
    def position_count(self) -> int:
        return len(self._ib.positions()) if self._ib is not None else 0

    async def open(self, host: str, port: int, client_id: int, *, timeout_s: float, stop: asyncio.Event) -> str | None:
        """Connect. Returns None, or why that was not possible."""
        from ib_async import IB, StartupFetchNONE

        self._ended = asyncio.Event()
        self.is_client_id_in_use = False
        self._ib = IB()
        self._ib.errorEvent += self._on_error
        self._ib.client.conn.disconnected += self._on_end
        connecting = asyncio.ensure_future(
            self._ib.connectAsync(host, port, client_id, timeout=timeout_s, readonly=True, fetchFields=StartupFetchNONE)
        )
        # The library waits out its time-out, once for each of its steps, even when the other side closes.
        watches = [asyncio.ensure_future(event.wait()) for event in (self._ended, stop)]
        try:
            await asyncio.wait({connecting, *watches}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                return "it closed the connection" if self._ended.is_set() else "no answer in time"
            await connecting
        except (OSError, TimeoutError) as error:
            return str(error) or "no answer in time"
        else:
            return None
        finally:
            for one in (*watches, connecting):
                one.cancel()
            await asyncio.gather(*watches, connecting, return_exceptions=True)

    async def wait_for_end(self, timeout_s: float, *, stop: asyncio.Event) -> None:
        """Return when the connection ends, when `stop` is set, or after `timeout_s` seconds."""
        watches = [asyncio.ensure_future(event.wait()) for event in (self._ended, stop)]
        await asyncio.wait(watches, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for one in watches:
            one.cancel()

    async def find_problem(self) -> str | None:
        """Whether the gateway still answers: None if it does, else what is wrong."""
        if self._ib is None or self._ended.is_set() or not self._ib.isConnected():
            return "it closed the connection"
        try:
            await asyncio.wait_for(self._ib.reqCurrentTimeAsync(), _ANSWER_TIMEOUT_S)
        except TimeoutError:
            return f"no answer within {_ANSWER_TIMEOUT_S:g} s"
        except OSError as error:
            return str(error)
        return None

    async def close(self) -> None:
        """Disconnect. Safe to call at any time."""
        if self._ib is None:
            return
        with contextlib.suppress(OSError):
            self._ib.disconnect()
        # Its goodbye goes out with the loop's next rounds.
        with contextlib.suppress(TimeoutError):
            if self._ib.client.conn.transport is not None:
                await asyncio.wait_for(self._ended.wait(), 1.0)

    def _on_error(self, request: int, code: int, text: str, contract: object) -> None:  # noqa: ARG002 - the library's
        if code == _CLIENT_ID_IN_USE:
            self.is_client_id_in_use = True
        _LOG.info("the gateway says %d: %s", code, text)

    def _on_end(self, message: str) -> None:  # noqa: ARG002 - the library's
        self._ended.set()


if __name__ == "__main__":
    sys.exit(main())
