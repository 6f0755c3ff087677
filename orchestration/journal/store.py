"""Opens the journal's file for writing, and lets nothing that goes wrong with it reach the caller.

WAL mode: a writer never stops a reader, and a process killed between any two instructions leaves a file that the next
one opens as of the last commit. `synchronous=NORMAL`: a commit is handed to the operating system at once (so a kill
loses nothing) but is forced to the disk only at checkpoints, and where an alert was delivered; a power cut may lose the
last commits, never the file. The disk is not waited for in the middle of a start-up.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

from orchestration.journal.schema import VERSION, migrate, read_version
from orchestration.redaction import Redactor, clean_text
from orchestration.system.clock import Clock, wait_until
from orchestration.system.files import refuse_special, sync_file
from orchestration.system.lock import LockHeldError, hold_lock

_T = TypeVar("_T")

_BUSY_TIMEOUT_S = 2.0  # another writer holds the file for milliseconds; this long only if it is stopped or stuck
_BUSY_AGAIN_MS = 50
_SET_UP_TIMEOUT_S = 5.0  # for twenty processes that make a new file at the same instant
_SET_UP_RETRY_S = 0.05
_CHECKED_BYTES = 32 * 1024 * 1024  # larger files are opened without reading all of them first (some 100 ms)
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class _CorruptError(Exception):
    """The file is no database any more."""


class Store:
    """One connection, shared by the threads of a process. Use `open`; a context manager.

    Attributes:
        path: The file.
        problem: Why the journal is not kept, or was not at some moment; None while all is well.
    """

    def __init__(
        self,
        connection: sqlite3.Connection | None,
        *,
        path: Path,
        clock: Clock,
        log: logging.Logger,
        redactor: Redactor | None = None,
        problem: str | None = None,
    ) -> None:
        self.path = path
        self.problem = problem
        self._connection = connection
        self._clock = clock
        self._log = log
        self._redactor = redactor
        self._lock = threading.RLock()
        self._told: set[int] = set()
        self._started_s: dict[str | int, float] = {}  # of what is open: runs by id, steps by number

    @classmethod
    def open(cls, path: Path, *, clock: Clock, log: logging.Logger, redactor: Redactor | None = None) -> Self:
        """Open the journal for writing, made if it is missing. Never fails.

        A corrupt file is moved aside, with a warning, and a new one begun. Where no file can be had (disk full,
        read-only, no permission), the journal keeps nothing and says so once; every method then answers as if the
        journal were empty.

        Args:
            path: The file. Its folder is made.
            clock: For the times in it.
            log: For what goes wrong.
            redactor: Knows the secrets, by default all that this process has loaded. Every text for people that is
                written is made fit to be shown; stable words stay as they are.
        """
        problem: str | None = None
        connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = _open_or_replace(path, clock, log)
        except (OSError, sqlite3.Error, LockHeldError) as error:
            problem = f"the journal cannot be kept: {error}"
            log.warning("%s (%s); the run continues without it", problem, path)
        return cls(connection, path=path, clock=clock, log=log, redactor=redactor, problem=problem)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. What is asked afterwards is answered as by an empty journal."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None

    @property
    def is_usable(self) -> bool:
        """Whether there is a file that is written to."""
        return self._connection is not None

    def _write(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Do `work` in one transaction: all of it is in the file afterwards, or nothing (the answer: `otherwise`)."""
        with self._lock:
            if self._connection is None:
                return otherwise
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                answer = work(self._connection)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._give_up(self._connection, error)
                return otherwise
            except BaseException:
                # A signal's exception may arrive between any two lines; the transaction must not stay open.
                self._roll_back()
                raise
            return answer

    def _read(self, question: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        with self._lock:
            if self._connection is None:
                return otherwise
            try:
                return question(self._connection)
            except (sqlite3.Error, ValueError) as error:
                self._tell(error)
                return otherwise

    def _give_up(self, connection: sqlite3.Connection, error: sqlite3.Error) -> None:
        self._roll_back()
        if _code(error) == sqlite3.SQLITE_BUSY:
            # A process that holds the file this long is stuck: a start-up waits for that once, not at every fact.
            with contextlib.suppress(sqlite3.Error):
                connection.execute(f"PRAGMA busy_timeout = {_BUSY_AGAIN_MS}")
        self._tell(error)

    def _sync(self) -> None:
        """Have the disk hold all that was committed so far, by any process. Blocks no other thread meanwhile.

        SQLite's own way, `synchronous=FULL` for one transaction, would hold the file's lock while the disk is waited
        for. SQLite locks nothing on its log, so another descriptor of it, when closed, releases no lock.
        """
        if self.is_usable:
            with contextlib.suppress(OSError):  # no log: not in WAL mode, where each commit is synced
                sync_file(self.path.with_name(f"{self.path.name}-wal"))

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _tell(self, error: Exception) -> None:
        """Warn once for each kind of trouble: a full disk would otherwise fill the log's disk as well."""
        kind = _code(error)
        self.problem = f"the journal cannot be kept: {error}"
        if kind not in self._told:
            self._told.add(kind)
            self._log.warning("%s (%s); the run continues without it", self.problem, self.path)

    def _text(self, text: str) -> str:
        """A text for people, as it may be stored."""
        return clean_text(str(text), self._redactor)

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _code(error: Exception) -> int:
    """SQLite's own code without its details, or -1: errors of Python's side (a closed connection) have none."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def storable(text: str) -> str:
    """The text without lone surrogates, which SQLite refuses. Enough for stable words, which programs rely on."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def _open_or_replace(path: Path, clock: Clock, log: logging.Logger) -> sqlite3.Connection:
    with contextlib.suppress(_CorruptError):
        connection = _connect(path)
        if connection is not None:
            return connection
    # New, older, or corrupt: one process sets it up, and the others then find it done.
    with contextlib.ExitStack() as stack:
        _take_set_up_lock(stack, path, clock)
        try:
            connection = _connect(path, set_up=True)
        except _CorruptError as error:
            aside = _move_aside(path, clock.now())
            log.warning("The journal was damaged (%s); it was moved to %s and a new one begun", error, aside.name)
            connection = _connect(path, set_up=True)
    if connection is None:
        raise sqlite3.OperationalError("it cannot be set up")
    return connection


def _connect(path: Path, *, set_up: bool = False) -> sqlite3.Connection | None:
    """A connection to a file that is ready; None if it has to be set up first and `set_up` is not given."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    refuse_special(path)
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        version = read_version(connection)
        if version < VERSION and not set_up:
            connection.close()
            return None
        if version < VERSION:
            # Where the file system cannot do it (some network ones), the file stays in the classic mode, and works.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection)
        if path.stat().st_size <= _CHECKED_BYTES:
            _check(connection)
    except sqlite3.Error as error:
        connection.close()
        if _code(error) in _CORRUPT:
            raise _CorruptError(str(error)) from None
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise _CorruptError(answer)


def _take_set_up_lock(stack: contextlib.ExitStack, path: Path, clock: Clock) -> None:
    lock = path.with_name(f"{path.name}.lock")
    refusal: LockHeldError | None = None

    def take() -> bool:
        nonlocal refusal
        try:
            stack.enter_context(hold_lock(lock, purpose="setting up the journal", since=clock.now().isoformat()))
        except LockHeldError as error:
            refusal = error
            return False
        return True

    if not wait_until(take, timeout_s=_SET_UP_TIMEOUT_S, every_s=_SET_UP_RETRY_S, clock=clock) and refusal is not None:
        raise refusal


def _move_aside(path: Path, now: datetime) -> Path:
    """Rename the file and its helpers so that nothing is lost. A name that is taken gets a number."""
    stem = f"{path.name}.corrupt-{now:%Y%m%d_%H%M%S}"
    aside = path.with_name(stem)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{stem}_{number}")
    # The log first: a new file beside an old log would be a mixture of both.
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(Path(f"{aside}{suffix}"))
    return aside
