"""One start-up at a time per instance: a lock that lives and dies with the process that holds it.

The lock is the operating system's, on an open file. A killed holder leaves the file behind and no lock.

The path is how two processes find the same file, so a lock only counts while the path still names the file that is held
(`HeldLock.is_in_place`): a file that was deleted, replaced or renamed can be held by one process while a second one
holds its successor. The holder of a lock looks again right before doing what only one may do. That look alone leaves a
gap: two can look one after the other, each at its own file, and then both act. `hold_folder` closes it. It is held
from the last look to the end of the act, and does not depend on the file: it is on the folder itself, and on the
folder's name.
"""

import contextlib
import errno
import hashlib
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestration.system.clock import SystemClock, describe_written_instant, wait_until
from orchestration.system.platform import platform

_TRIES = 4
_BETWEEN_TRIES_S = 0.02
_FOLDER_LOOK_S = 0.02
_LEAST_PROMISE_S = 1.0  # a write sets both times, to almost the same instant
_MAX_NOTE_BYTES = 4096
_NOTE_BEGINS = b'{"pid"'
_CREDENTIALS = struct.Struct("iII")  # unix(7), SO_PEERCRED: process, user, group
# No symbolic link is followed, and a FIFO does not keep us waiting for its other end.
_NO_SURPRISES = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


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
        return f"process {self.pid} ({self.purpose}, since {describe_written_instant(self.since)})"


class IrregularLockError(OSError):
    """Something else than a regular file stands where a lock should be; `strerror` says what."""


class LockHeldError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: Who.
    """

    def __init__(self, holder: LockHolder) -> None:
        super().__init__(holder)
        self.holder = holder

    def __str__(self) -> str:
        return f"held by {self.holder}"


class HeldLock:
    """A lock that this process holds.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    def is_in_place(self) -> bool:
        """Whether the path still names the file that is held. If not, it keeps no other process out."""
        return _is_named(self.path, self._handle)

    def promise_sign(self, *, within_s: float) -> None:
        """Give a sign of life, and promise the next one within so many seconds; see `find_overdue_s`.

        It is in the file's times: that needs no room on a disk, and can be read where the folder is only mounted.
        """
        if os.utime in os.supports_fd:
            now_s = platform().now().timestamp()
            with contextlib.suppress(OSError):
                os.utime(self._handle, (now_s, now_s + within_s))


@contextlib.contextmanager
def hold_lock(path: Path, *, purpose: str, since: str) -> Iterator[HeldLock]:
    """Hold the lock at `path` for the length of the block. Does not wait for a holder to finish.

    Raises:
        LockHeldError: Another process holds it.
        IrregularLockError: There is no regular file at `path`; a symbolic link is not followed.
        OSError: The file could not be opened, or lies on a file system that knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _take(path)
    try:
        # The note is for people; the lock does not depend on it (a full disk must not stop a start-up here).
        with contextlib.suppress(OSError):
            if _is_ours_to_write(handle):
                note = json.dumps({"pid": platform().own_pid(), "since": since, "purpose": purpose}).encode()
                os.ftruncate(handle, 0)
                os.pwrite(handle, note, 0) if hasattr(os, "pwrite") else os.write(handle, note)
        try:
            yield HeldLock(path, handle)
        finally:
            # The next holder must not be taken for this one before it has written its own note.
            with contextlib.suppress(OSError):
                if _is_ours_to_write(handle):
                    os.ftruncate(handle, 0)
            _unlock(handle)
    finally:
        os.close(handle)


def read_lock_holder(path: Path) -> LockHolder | None:
    """The current holder of the lock at `path`, or None. Changes nothing."""
    handle = _open_to_look(path)
    if handle is None:
        return None
    try:
        if _try_lock(handle, shared=True):  # two that only look do not take each other for a holder
            _unlock(handle)
            return None
        return _read_holder(handle)
    except OSError:  # a file system without locks: holding one fails with an error
        return None
    finally:
        os.close(handle)


def find_overdue_s(path: Path, *, now_s: float) -> float | None:
    """How long ago the holder of this lock gave its last sign of life, in seconds, where it promised another by now.

    A holder that is suspended, in a container that is paused for example, holds its lock and does nothing.

    Args:
        path: The lock.
        now_s: The time, in seconds since the epoch.

    Returns:
        The seconds; None where it promised nothing, or the sign is not due yet.
    """
    try:
        found = path.lstat()
    except OSError:
        return None
    # The times were set when the inode changed last.
    promised_s = found.st_mtime - found.st_ctime
    silent_s = now_s - found.st_ctime
    return silent_s if promised_s > _LEAST_PROMISE_S and silent_s > promised_s else None


@contextlib.contextmanager
def hold_folder(folder: Path, *, timeout_s: float) -> Iterator[None]:
    """Be the only one that holds this folder; waits for another holder up to `timeout_s` seconds.

    Two locks make one. The first is on the folder's own inode: it is the same one by whatever path, mount or link the
    folder is reached, and no file in it can be deleted or replaced to get around it. The second (Linux) is on the
    folder's resolved name, by a socket in the kernel's abstract name space: it holds when the folder itself has been
    renamed and another one made in its place. The kernel frees both with the process. A folder on a file system that
    cannot be locked has the second one only.

    Raises:
        LockHeldError: Another process has held it all that time.
        OSError: The folder could not be opened.
    """
    with contextlib.ExitStack() as held:
        is_held = wait_until(
            lambda: _try_folder(folder, held), timeout_s=timeout_s, every_s=_FOLDER_LOOK_S, clock=SystemClock()
        )
        if not is_held:
            raise LockHeldError(LockHolder())
        yield


def _take(path: Path) -> int:
    """Open and lock the file at `path`; the caller closes it."""
    for attempt in range(_TRIES):
        if attempt:
            platform().sleep(_BETWEEN_TRIES_S)
        handle = _open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            # A look at the lock (`read_lock_holder`) takes it for some microseconds: that is not a holder. And while
            # the lock was being taken, the file may have been replaced.
            is_held = _try_lock(handle) and _is_named(path, handle)
            holder = LockHolder() if is_held else _read_holder(handle)
        except BaseException:
            os.close(handle)
            raise
        if is_held:
            return handle
        os.close(handle)
    raise LockHeldError(holder)


def describe_irregular(path: Path) -> str:
    """What stands where a lock should be, for example `it is a symbolic link`; empty where nothing is wrong."""
    try:
        _refuse_irregular(path, path.lstat())
    except IrregularLockError as error:
        return str(error.strerror)
    except OSError:
        return ""
    return ""


def _open_regular(path: Path, flags: int) -> int:
    """Open a regular file, never anything else that may stand in its place.

    Raises:
        IrregularLockError: There is something else.
        OSError: It could not be opened.
    """
    with contextlib.suppress(FileNotFoundError):
        _refuse_irregular(path, path.lstat())  # opening a device may already do something
    try:
        handle = os.open(path, flags | _NO_SURPRISES, 0o600)  # not inheritable: no child keeps the lock alive
    except OSError as error:
        if error.errno == errno.ELOOP:  # it has just been put there
            raise IrregularLockError(errno.ELOOP, "it is a symbolic link", str(path)) from error
        raise
    try:
        _refuse_irregular(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _refuse_irregular(path: Path, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    if stat.S_ISLNK(found.st_mode):
        raise IrregularLockError(errno.ELOOP, "it is a symbolic link", str(path))
    if stat.S_ISDIR(found.st_mode):
        raise IrregularLockError(errno.EISDIR, "it is a folder", str(path))
    raise IrregularLockError(errno.EINVAL, "it is not a regular file", str(path))


def _open_to_look(path: Path) -> int | None:
    # For writing where that is possible, as locks over a network want it; a folder may be mounted to be read only.
    for flags in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return _open_regular(path, flags)
    return None


def _is_named(path: Path, handle: int) -> bool:
    """Whether this path names this open file, itself and not through a symbolic link."""
    if sys.platform == "win32":
        return True  # an open file can be neither deleted nor renamed there
    try:
        named = path.lstat()
    except OSError:
        return False
    held = os.fstat(handle)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _is_ours_to_write(handle: int) -> bool:
    """Whether the file holds a note, or nothing that could be another program's.

    A file with a second name (a hard link) may have been put here on purpose, and is kept unless it holds a note.
    """
    found = os.fstat(handle)
    if found.st_size > _MAX_NOTE_BYTES:
        return False
    return found.st_nlink <= 1 or found.st_size == 0 or _read_note(handle).startswith(_NOTE_BEGINS)


def _read_note(handle: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, _MAX_NOTE_BYTES, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, _MAX_NOTE_BYTES)


def _read_holder(handle: int) -> LockHolder:
    try:
        note = json.loads(_read_note(handle))
        pid = note["pid"]
        # The note may be damaged, and the process it names is sent signals: it must be one that has this file open.
        if not isinstance(pid, int) or pid <= 1 or not _may_have_open(pid, handle):
            return LockHolder()
        return LockHolder(pid=pid, since=str(note["since"]), purpose=str(note["purpose"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return LockHolder()


def _may_have_open(pid: int, handle: int) -> bool:
    """Whether a process has this file open, or that is unknown (another user's process, no Linux)."""
    folder = Path(f"{platform().proc_root}/{pid}/fd")
    if not Path(f"{platform().proc_root}/self/fd").is_dir():
        return True
    try:
        handles = list(folder.iterdir())
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    wanted = os.fstat(handle)
    for one in handles:
        with contextlib.suppress(OSError):
            found = one.stat()
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


def _try_folder(folder: Path, held: contextlib.ExitStack) -> bool:
    """Take both locks of a folder into `held`, or neither."""
    if sys.platform == "win32":
        return True  # a folder in which a file is open can be neither renamed nor replaced, nor that file
    with contextlib.ExitStack() as both:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        both.callback(os.close, handle)
        with contextlib.suppress(OSError):  # a file system without locks on folders
            if not _try_lock(handle):
                return False
        try:
            name = _take_name(folder)
        except BlockingIOError:
            return False
        if name is not None:
            both.callback(name.close)
        held.enter_context(both.pop_all())
    return True


def _take_name(folder: Path) -> socket.socket | None:
    """A socket that no other process can have while we have it; None where there are none, or a stranger has it.

    Raises:
        BlockingIOError: Another process of ours has it.
    """
    if sys.platform != "linux":
        return None
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    name = f"\0zero-touch-startup/{digest}"
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        taken.bind(name)
        taken.listen()
    except OSError as error:
        taken.close()
        if error.errno != errno.EADDRINUSE or _has_stranger(name, folder):
            return None
        raise BlockingIOError(errno.EAGAIN, "another process has the folder's name", str(folder)) from error
    return taken


def _has_stranger(name: str, folder: Path) -> bool:
    """Whether another user has taken this name, who could not hold the folder: that must not keep its owner out."""
    if sys.platform != "linux":
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(0.0)
        try:
            caller.connect(name)
            credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return False  # it has just been let go, or is not quite taken
    user_id = _CREDENTIALS.unpack(credentials)[1]
    return user_id not in {0, os.geteuid(), folder.stat().st_uid}


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
