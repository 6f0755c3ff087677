"""Reads the journal while others write it, and changes nothing.

A reader of a file in WAL mode normally makes two helper files beside it, which then belong to the user who looked: an
`inv status` as root would lock the operator out of the journal. So a reader here never makes them. Where the shared
memory file is there (a process writes, or was killed), it is used read-only. Where it is not, no process has the
journal open and the file itself is complete; it is then read as immutable. A writer that comes in that very moment
writes to its own log first, so what is read is at most a few milliseconds old.

A writer that was killed between its log's header and the first entry leaves shared memory that does not fit the log.
SQLite then tries again for ten seconds, in a loop that nothing can interrupt, and who only reads cannot repair it. It
does so, too, while a writer is stopped that was repairing the log. Without an entry in the log the file itself is
complete, and is read as above; else a reader waits a moment and then says that the journal cannot be read now.
"""

import concurrent.futures
import contextlib
import sqlite3
import threading
import urllib.parse
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from orchestration.journal.evidence import NO_EVIDENCE, Evidence, ReportedEvent, fetch_events, fetch_evidence
from orchestration.journal.records import (
    PendingAlert,
    RunRecord,
    fetch_channel_problem,
    fetch_pending_alerts,
    fetch_runs,
)
from orchestration.system.clock import SystemClock
from orchestration.system.files import refuse_special
from orchestration.system.platform import platform

_T = TypeVar("_T")

_OPEN_TIMEOUT_S = 0.8  # an operator waits; a live writer is in the way for milliseconds
_BUSY_TIMEOUT_S = 0.5
_STUCK_S = 5.0
# The log's header, an entry's header and the smallest page there is: https://sqlite.org/fileformat2.html#walformat
_LEAST_LOG_BYTES = 32 + 24 + 512
_TRIES = 3  # a checkpoint may fall between opening and reading; the next look finds the file whole


class JournalReader:
    """The journal, to look at. Each question opens the file again, so that a reader may live long.

    A file that is missing, unreadable or corrupt answers like an empty one; `problem` then says so.

    Attributes:
        problem: Why the last question could not be answered, or None. A missing file is no problem.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = SystemClock()
        self._stuck_until_s = float("-inf")
        self.problem: str | None = None

    def read_runs(self, limit: int = 20) -> list[RunRecord]:
        """The newest runs, newest first."""
        return self._ask(lambda connection: fetch_runs(connection, limit), [])

    def read_last_run(self) -> RunRecord | None:
        """The newest run, or None if there is none."""
        runs = self.read_runs(1)
        return runs[0] if runs else None

    def read_evidence(self, since: datetime) -> Evidence:
        """What a report is made of: all about the time since `since` (aware, UTC)."""
        return self._ask(lambda connection: fetch_evidence(connection, since), NO_EVIDENCE)

    def read_events(self, since: datetime | None, limit: int) -> list[ReportedEvent]:
        """The newest `limit` events since then (aware, UTC; None: all), oldest first, of whichever run or watcher."""
        return self._ask(lambda connection: list(fetch_events(connection, since, limit)), [])

    def read_pending_alerts(self, channel: str | None = None) -> list[PendingAlert]:
        """What waits for a channel (None: what no channel has taken yet), in the order of sending."""
        return self._ask(lambda connection: fetch_pending_alerts(connection, channel), [])

    def read_channel_problem(self, key: str) -> str | None:
        """Why the channel with this key is dead, or None."""
        return self._ask(lambda connection: fetch_channel_problem(connection, key), None)

    def _ask(self, question: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        if self._clock.monotonic_s() < self._stuck_until_s:
            return otherwise  # `problem` says why; the next question of the same command would only wait once more
        self.problem = None
        for _ in range(_TRIES):
            try:
                if not self._has_content():
                    return otherwise
                with contextlib.closing(self._open()) as connection:
                    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                        return otherwise
                    answer = question(connection)
            except TimeoutError:
                self._stuck_until_s = self._clock.monotonic_s() + _STUCK_S
                self.problem = (
                    "the journal cannot be read now: its last writer was killed or stopped in the middle of a change; "
                    "the next start repairs it, unless a stopped process still holds it"
                )
                return otherwise
            # ValueError: a time or a word in the file that is none.
            except (sqlite3.Error, OSError, ValueError) as error:
                self.problem = f"the journal cannot be read: {error}"
            else:
                self.problem = None
                return answer
        return otherwise

    def _has_content(self) -> bool:
        """Whether there is a journal. An empty file is one that a writer has just made and not filled yet."""
        if not self._path.exists():
            return False
        refuse_special(self._path)
        return self._path.stat().st_size > 0

    def _open(self) -> sqlite3.Connection:
        """A connection that sees the journal as it is now, whatever is written from here on.

        Raises:
            TimeoutError: That has not come about in time. The thread that tries goes on until SQLite gives up.
        """
        opening: concurrent.futures.Future[sqlite3.Connection] = concurrent.futures.Future()

        def work() -> None:
            try:
                opening.set_result(self._connect())
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
                opening.set_exception(error)

        has_ended = threading.Event()
        opening.add_done_callback(lambda _opening: has_ended.set())
        platform().start_thread(work, name="journal-reader")
        platform().wait(has_ended, _OPEN_TIMEOUT_S)
        try:
            return opening.result(0)
        except TimeoutError:
            opening.add_done_callback(_close_unused)
            raise

    def _connect(self) -> sqlite3.Connection:
        place = urllib.parse.quote(self._path.absolute().as_posix())
        place = place if place.startswith("/") else f"/{place}"  # a Windows drive: file:///C:/...
        how = "mode=ro&readonly_shm=1" if self._has_log() else "mode=ro&immutable=1"
        connection = sqlite3.connect(
            f"file://{place}?{how}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,  # one thread after the other
        )
        try:
            connection.execute("BEGIN")
            connection.execute("PRAGMA user_version")  # the first look: from now on nothing is waited for
        except BaseException:
            connection.close()
            raise
        return connection

    def _has_log(self) -> bool:
        """Whether there may be something in the log that is not in the file."""
        with contextlib.suppress(FileNotFoundError):
            may_have_entries = Path(f"{self._path}-wal").stat().st_size >= _LEAST_LOG_BYTES
            return may_have_entries and Path(f"{self._path}-shm").exists()
        return False


def _close_unused(opening: "concurrent.futures.Future[sqlite3.Connection]") -> None:
    if opening.exception() is None:
        opening.result().close()
