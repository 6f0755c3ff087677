"""Watches a bot that runs: its end is known at once (with its exit code, if it is our child); what it says is heard."""

import os
import selectors
import threading
from collections.abc import Callable
from dataclasses import dataclass

from orchestration.bot.ending import build_ending
from orchestration.bot.notify import NotifyReceiver, open_notify_receiver
from orchestration.bot.record import BotRecord, build_record_path
from orchestration.bot.up import speaks_for_bot
from orchestration.settings import Settings
from orchestration.system.clock import Clock

_POLL_S = 1.0  # where nothing tells of the bot's end
_MOST_S = 60.0


@dataclass(frozen=True, kw_only=True)
class BotSight:
    """What is known of a bot now.

    Attributes:
        is_running: Whether its process runs.
        exit_code: Its exit code, negative for a signal; None while it runs, or if nobody knows it.
        status: Its last `STATUS=`; empty if it sent none.
        is_stopping: Whether it said `STOPPING=1`.
        watchdog_age_s: Seconds since its last `WATCHDOG=1`; None if it never sent one.
    """

    is_running: bool
    exit_code: int | None
    status: str
    is_stopping: bool
    watchdog_age_s: float | None


class BotWatch:
    """Watches one bot from a thread of its own, and listens on its `NOTIFY_SOCKET` in its starter's place.

    Args:
        settings: The configuration.
        record: The bot.
        clock: Tells the time.
        on_change: Called from the thread when the bot has ended.
    """

    def __init__(self, settings: Settings, record: BotRecord, *, clock: Clock, on_change: Callable[[], None]) -> None:
        self.record = record
        self._ending = build_ending(settings, record)
        self._clock = clock
        self._on_change = on_change
        self._marker = str(build_record_path(settings))
        self._receiver: NotifyReceiver | None = open_notify_receiver(
            settings.state_dir, for_container=bool(record.container)
        )
        self._lock = threading.Lock()
        self._exit_code: int | None = None
        self._has_ended = False
        self._ask_end, self._tell_end = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="bot-watch", daemon=True)
        self._thread.start()

    def look(self) -> BotSight:
        """What is known now."""
        with self._lock:
            receiver = self._receiver
            heard_s = receiver.watchdog_at_s if receiver is not None else None
            return BotSight(
                is_running=not self._has_ended,
                exit_code=self._exit_code,
                status=receiver.status if receiver is not None else "",
                is_stopping=receiver.is_stopping if receiver is not None else False,
                watchdog_age_s=None if heard_s is None else self._clock.monotonic_s() - heard_s,
            )

    def close(self) -> None:
        """Stop watching; the bot is not touched. Safe to call twice."""
        if self._tell_end >= 0:
            os.close(self._tell_end)
            self._tell_end = -1
            self._thread.join()
            os.close(self._ask_end)
            if self._receiver is not None:
                self._receiver.close()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector, self._ending.open() as ended:
            selector.register(self._ask_end, selectors.EVENT_READ)
            if self._receiver is not None:
                selector.register(self._receiver.fileno(), selectors.EVENT_READ)
            if ended is not None:
                selector.register(ended, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(_POLL_S if ended is None else _MOST_S)}
                if self._ask_end in ready:
                    return
                self._listen()
                if self._ending.has_come():
                    with self._lock:
                        self._exit_code = self._ending.read_exit_code()
                        self._has_ended = True
                    self._on_change()
                    return

    def _listen(self) -> None:
        if self._receiver is not None:
            with self._lock:
                self._receiver.receive(
                    is_from_bot=lambda pid: (
                        bool(self.record.container) or speaks_for_bot(pid, self.record.pid, self._marker)
                    ),
                    now_s=self._clock.monotonic_s(),
                )
