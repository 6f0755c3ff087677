"""Reads the journal while others write it, and changes nothing.

A reader of a file in WAL mode normally makes two helper files beside it, which then belong to whoever looked: an
`inv status` as root would lock the operator out of the journal. So a reader here never makes them. Where the shared
memory file is there (somebody writes, or was killed), it is used read-only. Where it is not, nobody has the journal
open and the file itself is complete; it is then read as immutable. A writer that comes in that very moment writes to
its own log first, so what is read is at most a few milliseconds old.
"""

import contextlib
import sqlite3
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
from orchestration.system.files import refuse_special

_T = TypeVar("_T")

_BUSY_TIMEOUT_S = 2.0
_TRIES = 3  # a checkpoint may fall between opening and reading; the next look finds the file whole


class JournalReader:
    """The journal, to look at. Each question opens the file again, so that a reader may live long.

    A file that is missing, unreadable or corrupt answers like an empty one; `problem` then says so.

    Attributes:
        problem: Why the last question could not be answered, or None. A missing file is no problem.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem: str | None = None

    def read_runs(self, limit: int = 20) -> list[RunRecord]:
        """The newest runs, newest first."""
        return self._ask(lambda connection: fetch_runs(connection, limit), [])

    def read_last_run(self) -> RunRecord | None:
        """The newest run, or None if there is none."""
        runs = self.read_runs(1)
        return runs[0] if runs else None

    def read_run(self, run_id: str) -> RunRecord | None:
        """One run, or None if it is not there."""
        runs: list[RunRecord] = self._ask(lambda connection: fetch_runs(connection, 1, run_id=run_id), [])
        return runs[0] if runs else None

    def read_evidence(self, since: datetime) -> Evidence:
        """What a report is made of: all about the time since `since` (aware, UTC)."""
        return self._ask(lambda connection: fetch_evidence(connection, since), NO_EVIDENCE)

    def read_events(self, since: datetime | None, limit: int) -> list[ReportedEvent]:
        """The newest `limit` events since then (aware, UTC; None: all), oldest first, of whichever run or watcher."""
        return self._ask(lambda connection: list(fetch_events(connection, since, limit)), [])

    def read_pending_alerts(self) -> list[PendingAlert]:
        """What waits in the outbox, in the order of sending."""
        return self._ask(fetch_pending_alerts, [])

    def read_channel_problem(self, key: str) -> str | None:
        """Why the channel with this key is dead, or None."""
        return self._ask(lambda connection: fetch_channel_problem(connection, key), None)

    def _ask(self, question: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        self.problem = None
        for _ in range(_TRIES):
            try:
                # An empty file is one that a writer has just made and not filled yet.
                if not self._path.exists():
                    return otherwise
                refuse_special(self._path)
                if self._path.stat().st_size == 0:
                    return otherwise
                with contextlib.closing(self._connect()) as connection:
                    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                        return otherwise
                    answer = question(connection)
            # ValueError: a time or a word in the file that is none.
            except (sqlite3.Error, OSError, ValueError) as error:
                self.problem = f"the journal cannot be read: {error}"
            else:
                self.problem = None
                return answer
        return otherwise

    def _connect(self) -> sqlite3.Connection:
        has_shared_memory = Path(f"{self._path}-shm").exists()
        how = "mode=ro&readonly_shm=1" if has_shared_memory else "mode=ro&immutable=1"
        place = urllib.parse.quote(self._path.absolute().as_posix())
        place = place if place.startswith("/") else f"/{place}"  # a Windows drive: file:///C:/...
        return sqlite3.connect(f"file://{place}?{how}", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
