"""The order guard as a process of the system: started with a bot on Strategy C, it lives as long as that bot does.

It serves the bot (`gateway.order_guard_proxy`), writes down what it refuses, alerts the operator of the first refusal,
and ends a bot that connects past it. It needs no watcher for that: it goes on after a hand-over. Once its bot and its
launcher are gone, it ends by itself.

`bot.order_guard` starts and ends it; `python -m orchestration.gateway.order_guard_proxy` is the same proxy, by hand.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.alerts.alert import Alert, Severity
from orchestration.bot.container_processes import is_in_container
from orchestration.bot.members import find_members
from orchestration.bot.order_guard import GuardRecord, list_gateway_ports, write_guard
from orchestration.bot.record import BotRecord, build_record_path, read_record
from orchestration.bot.stop import end_members
from orchestration.gateway.book_reader import BOOK_CLIENT_ID, BookReader, BookUnknownError
from orchestration.gateway.holdings import name_orders, name_positions, summarize_book
from orchestration.gateway.order_guard import Refuse, Refused
from orchestration.gateway.order_guard_proxy import OrderGuardServer
from orchestration.redaction import Redactor, clean_line
from orchestration.settings import Settings
from orchestration.state_dir import journal_path
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from orchestration.system.processes import ProcessIdentity, is_running, kill_processes, read_identity
from orchestration.system.sockets import find_sockets_to, read_socket_inodes
from orchestration.system.streams import steady_stdout

if TYPE_CHECKING:
    from orchestration.alerts.delivery import Delivery
    from orchestration.journal import Journal

_BOOK_TIMEOUT_S = 5.0
_LOOK_S = 0.1
_LOOKS_PER_CHORE = 10  # the record, and whether the bot is still there
_BOTLESS_S = 5.0
_FLUSH_TIMEOUT_S = 2.0
_MOST_LINES = 1000  # of one kind: a bot that tries again and again must not fill the disk
_CANCELS = frozenset({Refused.CANCEL, Refused.GLOBAL_CANCEL})


class GuardProcess:
    """One guard, from its start to its end.

    Args:
        settings: The configuration, with this instance's own folders.
        given: The command line.
    """

    def __init__(self, settings: Settings, given: argparse.Namespace) -> None:
        self._settings = settings
        self._given = given
        self._clock = SystemClock()
        self._path = Path(given.record)
        self._record: GuardRecord | None = None
        self._saved: GuardRecord | None = None
        self._launcher = read_identity(given.launcher)
        self._has_seen_bot = False
        self._last_needed_s = self._clock.monotonic_s()
        self._harmless: frozenset[int] = frozenset()
        self._alerted: set[bool] = set()
        self._lines: Counter[str] = Counter()
        self._teller = ThreadPoolExecutor(max_workers=1, thread_name_prefix="alerts")
        self._alerts = _Alerts(settings, run_id=given.run_id, simulated=given.simulated)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal comes, or this guard is not needed any more. Returns the exit code."""
        given, loop = self._given, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._stop.set))
        if self._launcher is None:
            return 1  # it was killed, and no process would know of this guard
        gateway = Endpoint(host=given.gateway_host, port=given.gateway_port)
        reader = BookReader(
            gateway,
            client_id=BOOK_CLIENT_ID,
            now=self._clock.now,
            timeout_s=_BOOK_TIMEOUT_S,
        )
        server = OrderGuardServer(
            gateway,
            reader,
            on_refused=self._note_refused,
            on_ended=lambda why: self._write_some("a client's connection was ended", why),
            with_amounts=self._settings.show_amounts,
        )
        try:
            port = await self._listen(server)
            self._note_started(port)
        except OSError as error:
            self._write(f"the order guard cannot begin: {error.strerror or error}")
            return 1
        book = asyncio.ensure_future(self._note_book(server))
        try:
            await self._watch()
        finally:
            book.cancel()
            await server.close()
            self._save()
            self._teller.submit(self._alerts.close)
            self._teller.shutdown()
        return 0

    async def _listen(self, server: OrderGuardServer) -> int:
        last = OSError("no port was given")
        for port in self._given.ports:
            try:
                return await server.start(self._given.listen, port)
            except OSError as error:
                last = error
        raise last

    def _note_started(self, port: int) -> None:
        identity = read_identity(os.getpid())
        given = self._given
        self._record = GuardRecord(
            pid=os.getpid(),
            birth="" if identity is None else identity.birth,
            host=given.listen,
            port=port,
            gateway_host=given.gateway_host,
            gateway_port=given.gateway_port,
            started_at=self._clock.now().isoformat(timespec="seconds"),
            log=given.log,
        )
        write_guard(self._path, self._record)
        self._write(f"listening on {given.listen}:{port}, in front of {given.gateway_host}:{given.gateway_port}")

    async def _note_book(self, server: OrderGuardServer) -> None:
        """What is open at the broker when Strategy C begins."""
        try:
            book = await server.read_book()
        except BookUnknownError as error:
            self._write(f"orders and positions are unknown: {error}")
            return
        if self._record is not None:
            found = summarize_book(book)
            self._record = dataclasses.replace(
                self._record, open_orders=name_orders(found), open_positions=name_positions(found)
            )
            self._save()

    async def _watch(self) -> None:
        looks = 0
        while not self._stop.is_set():
            if looks % _LOOKS_PER_CHORE == 0:
                self._save()
                self._harmless = frozenset()  # whose a connection is may be seen later than the connection
                if not self._is_needed():
                    self._write("neither the bot nor its launcher runs any more: the order guard ends")
                    return
            await self._end_bot_past_guard()
            looks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _LOOK_S)

    def _is_needed(self) -> bool:
        bot = self._read_bot()
        has_bot = bot is not None and self._is_alive(bot)
        self._has_seen_bot = self._has_seen_bot or has_bot
        is_awaited = not self._has_seen_bot and self._launcher is not None and is_running(self._launcher)
        if has_bot or is_awaited:
            self._last_needed_s = self._clock.monotonic_s()
        return self._clock.monotonic_s() - self._last_needed_s < _BOTLESS_S

    def _is_alive(self, bot: BotRecord) -> bool:
        if bot.is_launched and bot.container:
            return is_in_container(bot.pid, bot.birth.partition(":")[0]) is True
        return (bot.is_launched and is_running(bot.identity)) or bool(find_members(self._settings, bot))

    def _read_bot(self) -> BotRecord | None:
        """The bot that was told of this guard, or None."""
        bot = read_record(build_record_path(self._settings))
        is_ours = bot is not None and bot.guarded and self._record is not None and bot.gateway_port == self._record.port
        return bot if is_ours else None

    async def _end_bot_past_guard(self) -> None:
        """End the bot if it is connected to a gateway's port itself."""
        if self._record is None:
            return
        ports = list_gateway_ports(self._given.gateway_port, but=self._record.port)
        found = find_sockets_to(ports)
        self._harmless &= found
        if found <= self._harmless:
            return
        bot = self._read_bot()
        if bot is None or bot.container:
            return
        members = find_members(self._settings, bot)
        past = [one for one in members if _read_sockets(one.pid) & found]
        if not past:
            self._harmless |= found
            return
        pids = ", ".join(str(one.pid) for one in past)
        self._write(f"the bot (process {pids}) is connected to a gateway's port, past the order guard: it is ended")
        await asyncio.to_thread(self._kill, members, bot)
        self._record = dataclasses.replace(self._record, stopped_bots=self._record.stopped_bots + 1)
        self._tell(
            Severity.CRITICAL,
            "Bot connected past the order guard",
            f"On Strategy C the bot (process {pids}) connected to a gateway's port itself instead of to the order "
            "guard, so it could have placed orders. It was killed.",
            cause="ORDER_GUARD_BYPASSED",
            next_action="Look at the account's orders and positions. Let the bot connect where GATEWAY_HOST and "
            "GATEWAY_PORT say, or set STRATEGY_C_BOT=none.",
        )

    def _kill(self, members: Sequence[ProcessIdentity], bot: BotRecord) -> None:
        kill_processes(members)  # not asked first: what it does when it is asked to end may be an order
        end_members(self._settings, bot)

    def _note_refused(self, refusal: Refuse) -> None:
        record = self._record
        if record is not None:
            refused = {**record.refused, refusal.what.value: record.refused.get(refusal.what.value, 0) + 1}
            now = self._clock.now().isoformat(timespec="seconds")
            self._record = dataclasses.replace(record, refused=refused, last_refused_at=now)
        self._write_some("refused", f"{refusal.what}: {refusal.detail}")
        is_cancel = refusal.what in _CANCELS
        if is_cancel in self._alerted:
            return
        self._alerted.add(is_cancel)
        effect = (
            "The order stays live: it may protect an open position."
            if is_cancel
            else "Nothing of it reached the broker."
        )
        self._tell(
            Severity.WARNING,
            "Cancellation refused on Strategy C" if is_cancel else "Order refused on Strategy C",
            f"The bot asked for something that Strategy C does not allow: {refusal.detail}. {effect} Further refusals "
            "are counted, not alerted.",
            cause="ORDER_REFUSED",
            next_action="`inv status` counts them. A bot that obeys its plan sends no orders on Strategy C.",
        )

    def _tell(self, severity: Severity, title: str, message: str, *, cause: str, next_action: str) -> None:
        with contextlib.suppress(RuntimeError):  # it is ending
            self._teller.submit(
                self._alerts.tell, severity, title=title, message=message, cause=cause, next_action=next_action
            )

    def _save(self) -> None:
        """Write the record where it differs from what was written, or is gone."""
        record = self._record
        if record is None:
            return
        if record == self._saved and self._path.exists():
            return
        with contextlib.suppress(OSError):  # a full disk does not end the guard
            write_guard(self._path, record)
            self._saved = record

    def _write_some(self, kind: str, text: str) -> None:
        """Write a line of a kind of which there may be any number; the rest of them is left out."""
        self._lines[kind] += 1
        if self._lines[kind] < _MOST_LINES:
            self._write(f"{kind}: {text}")
        elif self._lines[kind] == _MOST_LINES:
            self._write(f"{kind}: {text}; further lines of this kind are left out")

    def _write(self, text: str) -> None:
        steady_stdout().write(f"{self._clock.now().isoformat(timespec='seconds')} {clean_line(text)}\n")


class _Alerts:
    """Sends this guard's alerts. Its methods are for one thread."""

    def __init__(self, settings: Settings, *, run_id: str, simulated: bool) -> None:
        self._settings = settings
        self._run_id = run_id
        self._simulated = simulated
        self._clock = SystemClock()
        self._held = contextlib.ExitStack()
        self._opened: tuple[Journal, Delivery] | None = None

    def tell(self, severity: Severity, *, title: str, message: str, cause: str, next_action: str) -> None:
        """Send one alert, and write it into the journal."""
        settings = self._settings
        self._opened = self._opened or self._open()
        journal, delivery = self._opened
        journal.add_event(self._run_id, cause.lower(), {"severity": severity, "title": title, "message": message})
        delivery.send(
            Alert(
                severity=severity,
                title=title,
                message=message,
                host=socket.gethostname(),
                instance=settings.instance,
                run_id=self._run_id,
                step="order guard",
                cause=cause,
                next_action=next_action,
                simulated=self._simulated,
                at=self._clock.now(),
            )
        )

    def close(self) -> None:
        """Send what can be sent now; the rest stays in the outbox for the next run."""
        if self._opened is not None:
            self._opened[1].close(timeout_s=_FLUSH_TIMEOUT_S)
        self._held.close()

    def _open(self) -> "tuple[Journal, Delivery]":
        from orchestration.alerts.channels import build_channels
        from orchestration.alerts.delivery import Delivery
        from orchestration.journal import Journal

        settings, log = self._settings, logging.getLogger("orchestration.alerts")
        redactor = Redactor(settings.secrets)
        journal = self._held.enter_context(
            Journal.open(journal_path(settings.state_dir), clock=self._clock, log=log, redactor=redactor)
        )
        delivery = Delivery(
            channels=build_channels(settings),
            outbox=journal,
            clock=self._clock,
            redactor=redactor,
            log=log,
        )
        return journal, delivery


def _read_sockets(pid: int) -> frozenset[int]:
    try:
        return read_socket_inodes(pid)
    except OSError:
        return frozenset()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a guard. Returns 0 after a graceful end, 1 where it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.supervision.guard_process")
    parser.add_argument("--record", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--ports", required=True, type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--gateway-host", required=True)
    parser.add_argument("--gateway-port", required=True, type=int)
    parser.add_argument("--log-dir", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--launcher", required=True, type=int)
    parser.add_argument("--simulated", action="store_true", help="mark alerts so")
    given = parser.parse_args(arguments)
    settings = Settings.load(lenient=True, overrides={"INSTANCE": given.instance, "WATCHED_STATE_DIR": ""})
    # What the environment says now may not be what it said to the start.
    settings = dataclasses.replace(settings, state_dir=Path(given.record).parent, log_dir=Path(given.log_dir))
    return asyncio.run(GuardProcess(settings, given).run())


if __name__ == "__main__":
    sys.exit(main())
