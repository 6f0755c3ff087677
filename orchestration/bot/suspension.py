"""A bot that runs and does nothing: stopped by a signal, or paused in its container. Another program did that."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.bot.container import build_door
from orchestration.bot.record import BotRecord
from orchestration.docker.container import ContainerState
from orchestration.errors import StartupFailure
from orchestration.settings import Settings
from orchestration.state_dir import supervisor_lock_path
from orchestration.system.clock import SystemClock
from orchestration.system.lock import find_overdue_s
from orchestration.system.process_table import read_state
from orchestration.system.processes import is_running

if TYPE_CHECKING:
    from orchestration.system.commands import Following

_STOPPED, _TRACED = "T", "t"  # proc_pid_stat(5)
_PROCESS_LOOK_S = 1.0  # one line of /proc; nothing tells of a signal that was sent to another process
_SUBSCRIPTION_LOOK_S = 60.0


def describe_suspension(settings: Settings, record: BotRecord) -> str:
    """Why the bot does nothing, as the end of a sentence; empty where it works, has ended, or that is unknown."""
    if settings.watched_state_dir is not None:
        return _describe_elsewhere(settings, settings.watched_state_dir)
    if record.container:
        return _describe_container(settings, record)
    if not is_running(record.identity):
        return ""
    state = read_state(record.pid)
    if state == _STOPPED:
        return f"(process {record.pid}) is stopped by a signal (SIGSTOP)"
    return f"(process {record.pid}) is held by a debugger" if state == _TRACED else ""


def _describe_elsewhere(settings: Settings, watched: Path) -> str:
    silent_s = find_overdue_s(supervisor_lock_path(watched), now_s=SystemClock().now().timestamp())
    if silent_s is None:
        return ""
    return f"(container {settings.bot_container_name}) has given no sign of life for {silent_s:.0f} s, as if paused"


def _describe_container(settings: Settings, record: BotRecord) -> str:
    try:
        seen = build_door(settings, record).probe()
    except StartupFailure:
        return ""
    is_paused = seen is not None and seen.state is ContainerState.PAUSED and seen.identity.birth == record.birth
    return f"(container {record.container}) is paused" if is_paused else ""


class SuspensionWatch:
    """Tells that the bot may have been suspended, or may go on: by Docker's events, or by looking at its process.

    Args:
        settings: The configuration.
        record: The bot.
        on_change: Called with each change, from whichever thread sees it.
    """

    def __init__(self, settings: Settings, record: BotRecord, *, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._record = record
        self._on_change = on_change
        self._was = ""
        self._following: Following | None = None
        self._is_elsewhere = settings.watched_state_dir is not None

    @property
    def next_look_s(self) -> float:
        """In how many seconds to look again."""
        return _SUBSCRIPTION_LOOK_S if self._record.container or self._is_elsewhere else _PROCESS_LOOK_S

    def look(self) -> None:
        """Compare the process with what it was, or see that the container's events are still followed."""
        if self._is_elsewhere:
            return
        if self._record.container:
            self._subscribe()
            return
        now = describe_suspension(self._settings, self._record)
        if now != self._was:
            self._was = now
            self._on_change()

    def close(self) -> None:
        """Follow no longer. Safe to call twice."""
        if self._following is not None:
            self._following.close()

    def _subscribe(self) -> None:
        if self._following is not None and self._following.is_running:
            return
        self.close()
        with contextlib.suppress(StartupFailure):  # no docker program now: tried again at the next look
            door = build_door(self._settings, self._record)
            container_id = self._record.birth.partition(":")[0]
            self._following = door.follow_pauses(container_id, lambda _line: self._on_change())
