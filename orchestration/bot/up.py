"""When a bot that was started counts as up: it said `READY=1`, or stayed alive for `BOT_START_GRACE`."""

import os
import signal
from collections.abc import Callable
from typing import Protocol

from orchestration.bot.notify import NotifyReceiver, Sender
from orchestration.bot.record import RECORD_MARKER, ReadyBy
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.process_table import read_environ, read_session_id
from orchestration.system.processes import read_identity

_EVIDENCE_LINES = 20


class Started(Protocol):
    """A bot that was just started: a process, or a container."""

    @property
    def log_hint(self) -> str:
        """Where a person reads what it said: a file, or a command."""
        ...

    def poll_exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it runs."""
        ...

    def wait(self, *, timeout_s: float, or_readable: int | None = None) -> None:
        """Return as soon as it has ended, or there is something to read, or `timeout_s` seconds have passed."""
        ...

    def is_heard(self, sender: Sender) -> bool:
        """Whether this sender of a notification speaks for it."""
        ...

    def read_last_lines(self, count: int) -> tuple[str, ...]:
        """The last lines of what it said."""
        ...


def wait_until_up(
    settings: Settings,
    started: Started,
    *,
    receiver: NotifyReceiver | None,
    clock: Clock,
    on_progress: Callable[[str], None] | None,
) -> ReadyBy:
    """Wait for the first of: it said so, it stayed alive long enough, it ended.

    Raises:
        StartupFailure: `BOT_START_FAILED`: it ended.
    """
    started_s = clock.monotonic_s()
    status = ""
    while True:
        # What was said is read before it is asked whether it lives: READY as its last word is no readiness.
        if receiver is not None:
            receiver.receive(is_from_bot=started.is_heard, now_s=clock.monotonic_s())
            if receiver.status != status and on_progress is not None:
                on_progress(f"the bot says: {receiver.status}")
            status = receiver.status
        passed_s = clock.monotonic_s() - started_s
        exit_code = started.poll_exit_code()
        if exit_code is not None:
            raise _explain_early_end(settings, started, exit_code, passed_s, receiver)
        if receiver is not None and receiver.is_ready:
            return ReadyBy.NOTIFY
        if passed_s >= settings.bot_start_grace_s:
            return ReadyBy.GRACE
        started.wait(
            timeout_s=settings.bot_start_grace_s - passed_s,
            or_readable=receiver.fileno() if receiver is not None else None,
        )


def speaks_for_bot(sender_pid: int, bot_pid: int, marker: str) -> bool:
    """Whether a sender is the bot, one of its session, or carries its marker; one that has ended is believed."""
    if sender_pid == bot_pid or read_session_id(sender_pid) in {bot_pid, None}:
        return True
    try:
        return read_environ(sender_pid).get(RECORD_MARKER) == marker or read_identity(sender_pid) is None
    except PermissionError:
        return False


def _explain_early_end(
    settings: Settings, started: Started, exit_code: int, passed_s: float, receiver: NotifyReceiver | None
) -> StartupFailure:
    parts = [f"The bot {describe_end(exit_code)} after {passed_s:.1f} s, before it was up."]
    if exit_code == 0:
        parts.append(
            f"It is expected to stay: up means that it says READY or still runs after {settings.bot_start_grace_s:g} s."
        )
    if receiver is not None and receiver.is_ready:
        parts.append("It had said READY.")
    if receiver is not None and receiver.status:
        parts.append(f"Its last status: {receiver.status}.")
    if receiver is not None and receiver.error_number is not None:
        parts.append(f"It gave as the reason: {os.strerror(receiver.error_number)}.")
    return StartupFailure(
        FailureWord.BOT_START_FAILED,
        " ".join(parts),
        next_action=f"Read {started.log_hint}, mend what it says, then start again.",
        evidence=started.read_last_lines(_EVIDENCE_LINES),
    )


def describe_end(exit_code: int) -> str:
    """How a process ended, as the end of a sentence: `ended with exit code 3`, `was ended by SIGSEGV`."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
