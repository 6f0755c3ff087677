"""When a bot that was started counts as up: it said `READY=1`, or stayed alive for `BOT_START_GRACE`.

A bot that ends by itself with exit code 0 and leaves no process behind has finished, before it was up or after.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestration.bot.command_line import name_program
from orchestration.bot.members import wait_for_leftovers
from orchestration.bot.notify import NotifyReceiver, PeerCredentials
from orchestration.bot.record import RECORD_MARKER, BotRecord, ReadyBy
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import BotArguments, Settings
from orchestration.system.clock import Clock
from orchestration.system.process_table import read_environ, read_session_id
from orchestration.system.processes import read_identity
from orchestration.system.signals import describe_exit

_EVIDENCE_LINES = 20
_CONNECTION_LOOK_S = 0.25  # a look costs a few milliseconds
_USAGE_CODES = frozenset({2, 64})
_APPENDED = re.compile(r"--(?:gateway-host|gateway-port|gameplan|log-level)\b")
_COMPLAINS = re.compile(
    r"(?:unrecogni[sz]ed|unknown|no such|invalid|unexpected|illegal|bad|undefined)"
    r"\s+(?:\w+\s+)?(?:option|argument|flag)"
    r"|unexpected extra argument|flag provided but not defined|too many arguments",
    re.IGNORECASE,
)


class Started(Protocol):
    """A bot that was just started: a process, or a container."""

    @property
    def record(self) -> BotRecord:
        """What was written down about it."""
        ...

    @property
    def log_hint(self) -> str:
        """Where the operator reads what it said: a file, or a command."""
        ...

    def poll_exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it runs."""
        ...

    def wait(self, *, timeout_s: float, or_readable: int | None = None) -> None:
        """Return as soon as it has ended, or there is something to read, or `timeout_s` seconds have passed."""
        ...

    def is_heard(self, sender: PeerCredentials) -> bool:
        """Whether this sender of a notification speaks for it."""
        ...

    def read_last_lines(self, count: int) -> tuple[str, ...]:
        """The last lines of what it said."""
        ...

    def read_connection(self) -> bool | None:
        """Whether it holds a connection to the gateway now; None if that is unknown."""
        ...

    def describe_leftover(self) -> str:
        """What of it still runs after its main process has ended, or who ended it; empty where it is just over."""
        ...


@dataclass(frozen=True, kw_only=True)
class BotRunning:
    """A bot that is up, or has finished already.

    Attributes:
        ready_by: How it was found to be up; None for one that has finished before.
        status_text: Its last `STATUS=`; empty if it sent none.
        watchdog_at_s: When its last `WATCHDOG=1` came, in seconds of the monotonic clock, or None.
        record: What was written down about it.
        is_connected: Whether it held a connection to the gateway at the end of the start; None if that is unknown.
        has_connected: Whether it was seen to hold one at any time; None if that is unknown.
        finished_after_s: After how many seconds it ended with exit code 0 and left no process; None for one that runs.
        receiver: What listens to it, for the caller that stays with it and closes it; None after a hand-over.
    """

    ready_by: ReadyBy | None
    status_text: str
    watchdog_at_s: float | None
    record: BotRecord
    is_connected: bool | None = None
    has_connected: bool | None = None
    finished_after_s: float | None = None
    receiver: NotifyReceiver | None = field(default=None, compare=False, repr=False)

    @property
    def pid(self) -> int:
        """Its process id; of a container the first one's, as the engine's host numbers it."""
        return self.record.pid

    @property
    def log(self) -> Path | None:
        """Where its output goes; None for a container, whose output the engine keeps."""
        return self.record.log

    @property
    def is_finished(self) -> bool:
        """Whether it has ended by itself with exit code 0: its work for the plan's date is done."""
        return self.finished_after_s is not None

    @property
    def program(self) -> str:
        """Which program it is, for people; of a container its image."""
        return name_program(self.record.argv)

    @property
    def who(self) -> str:
        """What people call it."""
        return self.record.who


def wait_until_up(
    settings: Settings,
    started: Started,
    *,
    receiver: NotifyReceiver | None,
    clock: Clock,
    on_progress: Callable[[str], None],
) -> BotRunning:
    """Wait for the first of: it said so, it stayed alive long enough, it ended.

    An end with exit code 0 that leaves nothing behind means the same at any time, be it before `BOT_START_GRACE` or
    after: its work for the plan's date is done.

    Raises:
        StartupFailure: `BOT_START_FAILED`: it ended otherwise.
    """
    started_s = clock.monotonic_s()
    status = ""
    connection = _ConnectionLooks(started)
    while True:
        # What was said is read before it is asked whether it lives: READY as its last word is no readiness.
        if receiver is not None:
            _read_what_was_said(receiver, started, clock)
            if receiver.status != status:
                on_progress(f"the bot says: {receiver.status}")
            status = receiver.status
        is_ready = receiver is not None and receiver.is_ready
        connection.look()
        passed_s = clock.monotonic_s() - started_s
        exit_code = started.poll_exit_code()
        if exit_code is not None:
            if receiver is not None:  # and once more: it may have said why between the first reading and its end
                _read_what_was_said(receiver, started, clock)
            leftover = wait_for_leftovers(started.describe_leftover, clock=clock) if exit_code == 0 else ""
            if exit_code != 0 or leftover:
                raise _explain_early_end(
                    settings, started, exit_code, passed_s=passed_s, receiver=receiver, leftover=leftover
                )
            ready_by = ReadyBy.NOTIFY if is_ready else None
            return connection.build_running(receiver, ready_by, finished_after_s=passed_s)
        if is_ready:
            return connection.build_running(receiver, ReadyBy.NOTIFY)
        if passed_s >= settings.bot_start_grace_s:
            return connection.build_running(receiver, ReadyBy.GRACE)
        left_s = settings.bot_start_grace_s - passed_s
        started.wait(
            timeout_s=left_s if connection.has_connected else min(left_s, _CONNECTION_LOOK_S),
            or_readable=receiver.fileno() if receiver is not None else None,
        )


def _read_what_was_said(receiver: NotifyReceiver, started: Started, clock: Clock) -> None:
    receiver.receive(is_from_bot=started.is_heard, now_s=clock.monotonic_s())


class _ConnectionLooks:
    """Whether the bot was seen to hold a connection. A short one may be missed: it is looked for now and then."""

    def __init__(self, started: Started) -> None:
        self._started = started
        self._is_connected: bool | None = None
        self.has_connected: bool | None = None

    def look(self) -> None:
        self._is_connected = self._started.read_connection()
        if self.has_connected is not True:
            self.has_connected = self._is_connected if self._is_connected is not None else self.has_connected

    def build_running(
        self,
        receiver: NotifyReceiver | None,
        ready_by: ReadyBy | None,
        *,
        finished_after_s: float | None = None,
    ) -> BotRunning:
        return BotRunning(
            ready_by=ready_by,
            status_text=receiver.status if receiver is not None else "",
            watchdog_at_s=receiver.watchdog_at_s if receiver is not None else None,
            record=dataclasses.replace(self._started.record, ready_by=ready_by),
            is_connected=self._is_connected if finished_after_s is None else False,
            has_connected=self.has_connected,
            finished_after_s=finished_after_s,
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
    settings: Settings,
    started: Started,
    exit_code: int,
    *,
    passed_s: float,
    receiver: NotifyReceiver | None,
    leftover: str,
) -> StartupFailure:
    parts = [f"The bot {describe_exit(exit_code)} after {passed_s:.1f} s, before it was up."]
    if leftover:
        parts.append(f"{leftover}.")
    if receiver is not None and receiver.is_ready:
        parts.append("It had said READY.")
    if receiver is not None and receiver.status:
        parts.append(f"Its last status: {receiver.status}.")
    if receiver is not None and receiver.error_number is not None:
        parts.append(f"It gave as the reason: {os.strerror(receiver.error_number)}.")
    evidence = started.read_last_lines(_EVIDENCE_LINES)
    next_action = f"Read {started.log_hint}, fix what it says, then start again."
    if settings.bot_arguments is BotArguments.APPEND and rejects_arguments(exit_code, evidence):
        next_action = (
            "If the program does not know the arguments that are appended to BOT_COMMAND (--gateway-host, "
            "--gateway-port, --gameplan, --log-level), set BOT_ARGUMENTS=none: the environment says the same. "
        ) + next_action
    return StartupFailure(FailureWord.BOT_START_FAILED, " ".join(parts), next_action=next_action, evidence=evidence)


def rejects_arguments(exit_code: int, output: Sequence[str]) -> bool:
    """Whether a program seems to have ended because it does not know the arguments that are appended. Pure.

    Args:
        exit_code: Its exit code. Programs end with 2 (argparse, click, getopt) or 64 (sysexits.h) for wrong usage; with
            other codes only what it said counts.
        output: Its last lines.
    """
    text = "\n".join(output)
    if _COMPLAINS.search(text) and _APPENDED.search(text):
        return exit_code != 0
    return exit_code in _USAGE_CODES and bool(_COMPLAINS.search(text))
