"""One start-up at a time per instance: a lock that lives and dies with the process that holds it.

The lock is the operating system's, on an open file. A killed holder leaves the file behind and no lock.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TRIES = 4
_BETWEEN_TRIES_S = 0.02


@dataclass(frozen=True, kw_only=True)
class LockHolder:
    """Who holds a lock, as far as the holder wrote it down.

    Attributes:
        pid: Its process id; None where the note could not be read.
        since: When it took the lock, ISO 8601.
        purpose: What it does with it, for example `startup`.
    """

    pid: int | None = None
    since: str = ""
    purpose: str = ""

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        return f"process {self.pid} ({self.purpose}, since {self.since})"


class LockHeldError(Exception):
    """Somebody else holds the lock.

    Attributes:
        holder: Who.
    """

    def __init__(self, holder: LockHolder) -> None:
        super().__init__(holder)
        self.holder = holder

    def __str__(self) -> str:
        return f"held by {self.holder}"


@contextlib.contextmanager
def hold_lock(path: Path, *, purpose: str, since: str) -> Iterator[None]:
    """Hold the lock at `path` for the length of the block. Does not wait for a holder to finish.

    Raises:
        LockHeldError: Another process holds it.
        OSError: The file could not be opened, or lies on a file system that knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # not inheritable: no child keeps the lock alive
    try:
        # A look at the lock (`read_lock_holder`) takes it for some microseconds: that is not a holder.
        for _ in range(_TRIES):
            if _try_lock(handle):
                break
            time.sleep(_BETWEEN_TRIES_S)
        else:
            raise LockHeldError(_read_holder(path))
        # The note is for people; the lock does not depend on it (a full disk must not stop a start-up here).
        with contextlib.suppress(OSError):
            note = json.dumps({"pid": os.getpid(), "since": since, "purpose": purpose}).encode()
            os.ftruncate(handle, 0)
            os.pwrite(handle, note, 0) if hasattr(os, "pwrite") else os.write(handle, note)
        try:
            yield
        finally:
            # The next holder must not be taken for this one before it has written its own note.
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
            _unlock(handle)
    finally:
        os.close(handle)


def read_lock_holder(path: Path) -> LockHolder | None:
    """Who holds the lock at `path` now, or None if nobody does. Changes nothing."""
    handle = _open_to_look(path)
    if handle is None:
        return None
    try:
        if _try_lock(handle, shared=True):  # two that only look do not take each other for a holder
            _unlock(handle)
            return None
        return _read_holder(path)
    except OSError:  # a file system without locks: whoever tries to hold one will be told
        return None
    finally:
        os.close(handle)


def _open_to_look(path: Path) -> int | None:
    # For writing where that is possible, as locks over a network want it; a folder may be mounted to be read only.
    for flags in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return os.open(path, flags)
    return None


def _read_holder(path: Path) -> LockHolder:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        pid = note["pid"]
        # The note may be damaged, and whoever it names is sent signals: it must be a process that has this file open.
        if not isinstance(pid, int) or pid <= 1 or not _may_have_open(pid, path):
            return LockHolder()
        return LockHolder(pid=pid, since=str(note["since"]), purpose=str(note["purpose"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return LockHolder()


def _may_have_open(pid: int, path: Path) -> bool:
    """Whether a process has this file open, or it cannot be told (another user's process, no Linux)."""
    folder = Path(f"/proc/{pid}/fd")
    if not Path("/proc/self/fd").is_dir():
        return True
    try:
        handles = list(folder.iterdir())
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    wanted = path.stat()
    for handle in handles:
        with contextlib.suppress(OSError):
            found = handle.stat()
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


if sys.platform == "win32":
    import msvcrt

    # Far beyond the note, which other processes must be able to read while the lock is held.
    _LOCKED_BYTE = 1 << 30

    def _try_lock(handle: int, *, shared: bool = False) -> bool:
        del shared  # Windows knows only exclusive ones here
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(handle: int, *, shared: bool = False) -> bool:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
