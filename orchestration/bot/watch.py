"""Watches a bot that runs: its end is known at once (with its exit code, if it is our child); what it says is heard."""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from orchestration.bot.container_processes import speaks_for_container
from orchestration.bot.ending import Ending, build_ending
from orchestration.bot.members import read_connection
from orchestration.bot.notify import ListenRequest, NotifyReceiver, PeerCredentials, ask_to_listen, bind_again
from orchestration.bot.record import BotRecord, build_record_path
from orchestration.bot.state import BotState
from orchestration.bot.suspension import SuspensionWatch, describe_suspension
from orchestration.bot.up import speaks_for_bot
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.platform import platform
from orchestration.system.processes import is_running

_POLL_S = 1.0  # where nothing tells of the bot's end
_MOST_S = 60.0
# A bot that connects for a few seconds only is to be seen to do so.
_CONNECTION_LOOK_S = 1.0
_CONNECTION_SOON_S = 300.0


class BotWatch:
    """Watches one bot from a thread of its own, and listens on its `NOTIFY_SOCKET` once its starter does not any more.

    It listens in a second thread: where nothing reads, a client that waits for room (`sdnotify`, `sd_notify` itself)
    blocks the bot after some ten messages, so no look that takes long (an engine that does not answer) may delay it.

    Args:
        settings: The configuration.
        record: The bot.
        clock: Tells the time.
        on_change: Called from a thread when the bot has ended, when it may have been suspended or resumed, and when it
            says that it is hung.
        receiver: What listens to the bot already, where this process has started it. It is closed with the watch.
        yields: Whether a supervisor that wants to listen gets the socket, as from a monitor.
        has_connected: Whether it was seen before to hold a connection to the gateway; None if that is unknown.
        ending: How its end is known; None for the way that its record names.
    """

    def __init__(
        self,
        settings: Settings,
        record: BotRecord,
        *,
        clock: Clock,
        on_change: Callable[[], None],
        receiver: NotifyReceiver | None = None,
        yields: bool = False,
        has_connected: bool | None = None,
        ending: Ending | None = None,
    ) -> None:
        self.record = record
        self._settings = settings
        self._has_connected = has_connected
        self._started_s = clock.monotonic_s()
        self._ending = ending or build_ending(settings, record, clock=clock)
        self._clock = clock
        self._on_change = on_change
        is_elsewhere = settings.watched_state_dir is not None  # its socket is in another container, as its listener is
        path = None if is_elsewhere else record.notify_socket
        self._is_from_bot = _build_sender_check(settings, record)
        self._listener = Listener(path, record, state_dir=settings.state_dir, receiver=receiver, yields=yields)
        self._suspension = SuspensionWatch(settings, record, on_change=on_change)
        self._lock = threading.Lock()
        self._exit_code: int | None = None
        self._outside_stop = ""
        self._has_ended = False
        self._has_end_come = False
        self._ask_end, self._tell_end = os.pipe()
        self._threads = [
            platform().start_thread(work, name=name)
            for work, name in ((self._watch, "bot-watch"), (self._listen, "bot-listen"))
        ]

    def look(self) -> BotState:
        """What is known now. Looks at its connection, and whether it is suspended."""
        with self._lock:
            has_ended = self._has_ended
        is_connected = False if has_ended else self._look_at_connection()
        suspended = "" if has_ended else describe_suspension(self._settings, self.record)
        with self._lock:
            receiver = self._listener.receiver
            heard_s = receiver.watchdog_at_s if receiver is not None else None
            return BotState(
                is_running=not self._has_ended,
                key=f"{self.record.pid}:{self.record.birth}",
                exit_code=self._exit_code,
                outside_stop=self._outside_stop,
                status=receiver.status if receiver is not None else "",
                says_stopping=receiver.is_stopping if receiver is not None else False,
                watchdog_age_s=None if heard_s is None else self._clock.monotonic_s() - heard_s,
                watchdog_limit_s=None if receiver is None or heard_s is None else receiver.watchdog_limit_s,
                says_hung=self._says_hung(),
                is_connected=is_connected,
                has_connected=self._has_connected,
                suspended=suspended,
            )

    def is_gone(self) -> bool:
        """Whether the bot has ended, though it counts as running until it is known how: what it left is waited for."""
        with self._lock:
            is_gone = self._has_ended or self._has_end_come
        # The thread may not have come round to it yet. Of a container only the engine knows.
        has_process = not self.record.container and self._settings.watched_state_dir is None
        return is_gone or (has_process and not is_running(self.record.identity))

    def close(self) -> None:
        """Stop watching; the bot is not touched. Safe to call twice."""
        if self._tell_end >= 0:
            os.close(self._tell_end)
            self._tell_end = -1
            for thread in self._threads:
                thread.join()
            os.close(self._ask_end)
            self._listener.close()

    def _look_at_connection(self) -> bool | None:
        is_connected = read_connection(self._settings, self.record)
        with self._lock:
            if is_connected or (is_connected is False and self._has_connected is None):
                self._has_connected = is_connected
        return is_connected

    def _next_connection_look_s(self) -> float:
        return _MOST_S if self._has_connected else _next_look_s(self._clock.monotonic_s() - self._started_s)

    def _watch(self) -> None:
        timeout_s = connection_due_s = 0.0  # it may have ended before it was watched
        with self._ending.open() as ended, contextlib.closing(self._suspension):
            while True:
                if self._wait_for(ended, timeout_s):
                    return
                timeout_s = min(
                    _POLL_S if ended is None else _MOST_S,
                    self._next_connection_look_s(),
                    self._suspension.next_look_s,
                )
                now_s = self._clock.monotonic_s()
                if self._has_connected is not True and now_s >= connection_due_s:
                    self._look_at_connection()
                    connection_due_s = now_s + self._next_connection_look_s()
                self._suspension.look()
                if self._ending.has_come():
                    with self._lock:
                        self._has_end_come = True
                    exit_code, outside_stop = self._ending.read_exit_code(), self._ending.describe_outside_stop()
                    with self._lock:
                        # Once more: it may have said why between the last reading and its end.
                        self._listener.listen(
                            is_from_bot=self._is_from_bot, now_s=self._clock.monotonic_s(), may_hand_over=False
                        )
                        self._exit_code, self._outside_stop, self._has_ended = exit_code, outside_stop, True
                    self._on_change()
                    return

    def _listen(self) -> None:
        """Take in what the bot says as soon as it says it, until the watch is closed."""
        while True:
            with self._lock:
                self._listener.attend()
                listening = self._listener.fileno()
            if self._wait_for(listening, _POLL_S if listening is None else _MOST_S):
                return
            with self._lock:
                said_hung = self._says_hung()
                self._listener.listen(is_from_bot=self._is_from_bot, now_s=self._clock.monotonic_s())
                is_news = self._says_hung() and not said_hung
            if is_news:
                self._on_change()

    def _says_hung(self) -> bool:
        return self._listener.receiver is not None and self._listener.receiver.says_hung

    def _wait_for(self, descriptor: int | None, timeout_s: float) -> bool:
        """Wait until there is something to do; whether the watch is to end."""
        watched = [one for one in (self._ask_end, descriptor) if one is not None]
        return self._ask_end in platform().wait_readable(watched, timeout_s)


def _next_look_s(watched_s: float) -> float:
    """How long until the next look for a first connection: often at first, then as often as everything is looked at."""
    return _CONNECTION_LOOK_S if watched_s < _CONNECTION_SOON_S else _MOST_S


def _build_sender_check(settings: Settings, record: BotRecord) -> Callable[[PeerCredentials], bool]:
    if record.container:
        container_id = record.birth.partition(":")[0]
        return lambda sender: speaks_for_container(sender, container_id)
    marker = str(build_record_path(settings))
    return lambda sender: speaks_for_bot(sender.pid, record.pid, marker)


class Listener:
    """Listens on the bot's socket as soon as no process with a better claim does: asks for it, or makes a new one.

    Args:
        path: The socket that the bot was told of; None for one that was told of none.
        record: The bot.
        state_dir: Its state folder.
        receiver: What listens already; None if that is still to come about.
        yields: See `BotWatch`.

    Attributes:
        receiver: What listens, or listened last; None before.
    """

    def __init__(
        self,
        path: Path | None,
        record: BotRecord,
        *,
        state_dir: Path,
        receiver: NotifyReceiver | None,
        yields: bool,
    ) -> None:
        self._path = path
        self._state_dir = state_dir
        self._record = record
        self._yields = yields
        self._request: ListenRequest | None = None
        self.receiver = receiver
        if receiver is not None:
            receiver.yields = yields

    def attend(self) -> None:
        """Take the next step towards listening. Does not wait."""
        if self._path is None or (self.receiver is not None and self.receiver.is_listening):
            return
        if self._request is not None:
            try:
                taken = self._request.take(yields=self._yields)
            except BlockingIOError:
                return
            self._request.close()
            self._request = None
            if taken is not None:
                self.receiver = taken
                return
        with contextlib.suppress(OSError):  # too busy, or not ours to ask: asked again at the next step
            self._request = ask_to_listen(self._path, state_dir=self._state_dir)
            if self._request is None:
                self.receiver = self._bind() or self.receiver

    def fileno(self) -> int | None:
        """What becomes readable when there is something to do; None where nothing tells."""
        if self.receiver is not None and self.receiver.is_listening:
            return self.receiver.fileno()
        return self._request.fileno() if self._request is not None else None

    def listen(
        self, *, is_from_bot: Callable[[PeerCredentials], bool], now_s: float, may_hand_over: bool = True
    ) -> None:
        """Take in what was said; see `NotifyReceiver.receive`."""
        if self.receiver is not None and self.receiver.is_listening:
            self.receiver.receive(is_from_bot=is_from_bot, now_s=now_s, may_hand_over=may_hand_over)

    def close(self) -> None:
        """Stop listening, or waiting for it."""
        if self._request is not None:
            self._request.close()
        if self.receiver is not None:
            self.receiver.close()

    def _bind(self) -> NotifyReceiver | None:
        if self._path is None:
            return None
        is_contained = bool(self._record.container)
        user = None if is_contained else _read_owner(self._record.pid)
        return bind_again(
            self._path, state_dir=self._state_dir, user=user, for_container=is_contained, yields=self._yields
        )


def _read_owner(pid: int) -> int | None:
    """The user that a process runs as; None if it has ended, or this system does not show it."""
    try:
        return Path(f"{platform().proc_root}/{pid}").stat().st_uid
    except OSError:
        return None
