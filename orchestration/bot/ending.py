"""How a bot's end is known at once: a process's by a descriptor of the kernel, a container's by `docker wait`."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from orchestration.bot.container import build_door
from orchestration.bot.end_record import read_end
from orchestration.bot.members import find_members, wait_for_leftovers
from orchestration.bot.record import BotRecord, build_record_path
from orchestration.bot.watched_bot import ElsewhereEnding
from orchestration.errors import StartupFailure
from orchestration.settings import Settings
from orchestration.system.clock import Clock, SystemClock
from orchestration.system.processes import collect_exit_code, is_running, open_end_descriptor

if TYPE_CHECKING:
    from orchestration.docker.container import Container
    from orchestration.system.commands import Commands, Following


_MOST_SHOWN = 5


class Ending(Protocol):
    """The end of one bot."""

    def open(self) -> contextlib.AbstractContextManager[int | None]:
        """A descriptor that becomes readable when it may have come; None where there is none and it has to be asked."""
        ...

    def has_come(self) -> bool:
        """Whether the bot has ended. False while that is unknown."""
        ...

    def read_exit_code(self) -> int | None:
        """The exit code of a bot that has ended (negative: a signal), or None if it is unknown."""
        ...

    def describe_outside_stop(self) -> str:
        """Why an end with exit code 0 does not mean that the bot has finished, as the end of a sentence; else empty.

        A bot that another program asks to leave may end with 0 (only a container's engine tells that), and so may one
        that leaves behind processes of its own.
        """
        ...


def build_ending(settings: Settings, record: BotRecord, *, clock: Clock) -> Ending:
    """The end of this bot."""
    if settings.watched_state_dir is not None:
        return ElsewhereEnding(settings, record)
    return ContainerEnding(settings, record, clock=clock) if record.container else ProcessEnding(settings, record)


class ProcessEnding:
    """See `Ending`: of a process."""

    def __init__(self, settings: Settings, record: BotRecord) -> None:
        self._settings = settings
        self._record = record
        self._identity = record.identity
        self._record_path = build_record_path(settings)
        self._exit_code: int | None = None

    def open(self) -> contextlib.AbstractContextManager[int | None]:
        """See `Ending.open`."""
        return open_end_descriptor(self._identity.pid)

    def has_come(self) -> bool:
        """See `Ending.has_come`."""
        return not is_running(self._identity)

    def read_exit_code(self) -> int | None:
        """See `Ending.read_exit_code`. Of our own child, and of one whose end its starter has written down."""
        code = collect_exit_code(self._identity.pid)
        if code is None:
            end = read_end(self._record_path, self._identity)
            code = end.exit_code if end is not None else None
        self._exit_code = code
        return code

    def describe_outside_stop(self) -> str:
        """See `Ending.describe_outside_stop`. Who sends a signal to a process is not known, what it left behind is."""
        if self._exit_code != 0:
            return ""
        left = wait_for_leftovers(
            lambda: find_members(self._settings, self._record, of_this_launch=True), clock=SystemClock()
        )
        pids = ", ".join(str(one.pid) for one in left[:_MOST_SHOWN])
        return f"left behind what it had started (process {pids})" if left else ""


class ContainerEnding:
    """See `Ending`: of a container.

    `docker wait` tells of it at once. It also ends when the engine goes away, which says nothing about the container:
    then the engine is asked at every look, and while it does not answer the bot counts as running.
    """

    def __init__(
        self, settings: Settings, record: BotRecord, *, clock: Clock, commands: "Commands | None" = None
    ) -> None:
        self._door = build_door(settings, record, commands=commands)
        self._clock = clock
        self._birth = record.birth
        self._container_id = record.birth.partition(":")[0]
        self._following: Following | None = None
        self._was_engine_lost = False
        self._last: Container | None = None
        self._has_come = False
        # The follower's thread may outlive the descriptors: it must not write to one that has another owner by then.
        self._guard = threading.Lock()
        self._pipe: tuple[int, int] | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[int | None]:
        """See `Ending.open`."""
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        self._pipe = (readable, writable)
        self._follow()
        try:
            yield readable
        finally:
            if self._following is not None:
                self._following.close()
            with self._guard:
                self._pipe = None
            os.close(readable)
            os.close(writable)

    def has_come(self) -> bool:
        """See `Ending.has_come`."""
        # In this order: once it does not run any more, all that it said has been handed on.
        is_following = self._following is not None and self._following.is_running
        is_told = self._take_word()
        if self._has_come or (is_following and not is_told):
            return self._has_come
        if not is_told and self._following is not None:
            self._was_engine_lost = True  # `docker wait` ended without a word
        try:
            seen = self._door.probe()
        except StartupFailure:
            self._was_engine_lost = True
            return False
        if seen is None or not seen.is_alive or seen.identity.birth != self._birth:
            self._last, self._has_come = seen, True
        else:
            self._was_engine_lost = False
            if self._following is None or not self._following.is_running:
                self._follow()
        return self._has_come

    def read_exit_code(self) -> int | None:
        """See `Ending.read_exit_code`."""
        seen = self._last
        return seen.exit_code if seen is not None and seen.identity.birth == self._birth else None

    def describe_outside_stop(self) -> str:
        """See `Ending.describe_outside_stop`."""
        seen = self._last
        if seen is None:
            return "was removed"
        if seen.identity.birth != self._birth:
            return "was started again"
        was_told = self._door.was_told_to_end(seen, now=self._clock.now())
        if was_told:
            return "was stopped through the Docker engine"
        if was_told is None or self._was_engine_lost:
            return "ended while the Docker engine was away"
        return ""

    def _follow(self) -> None:
        with contextlib.suppress(StartupFailure):  # no docker program now: it is asked at every look
            self._following = self._door.follow_end(self._container_id, lambda _line: self._tell())

    def _tell(self) -> None:
        with self._guard:
            if self._pipe is not None:
                os.write(self._pipe[1], b".")

    def _take_word(self) -> bool:
        if self._pipe is None:
            return False
        try:
            return bool(os.read(self._pipe[0], 4096))
        except BlockingIOError:
            return False
