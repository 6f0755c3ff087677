"""The door for files: written whole or not at all, and read without ever blocking, whatever stands at the path."""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

_PRIVATE = 0o600
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a symbolic link"),
)


class UnfitFileError(OSError):
    """What stands at a path is not a regular file, or is larger than what is read there.

    `strerror` says so in words that follow "cannot be read:", as with every `OSError`.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(errno.EINVAL, problem, str(path))


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading. Never blocks, and never reaches a device.

    Args:
        path: The file.
        follow: Whether it may be a symbolic link.

    Raises:
        UnfitFileError: It is no regular file.
        OSError: It cannot be opened.
    """
    try:
        # Opening alone can act: a pipe blocks, a watchdog device starts to count. So look before opening, and look
        # again at what was really opened.
        _refuse_special(path, path.stat() if follow else path.lstat())
        flags = os.O_RDONLY if follow else os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)
        for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
            flags |= getattr(os, name, 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except ValueError as error:  # a null byte in the path
        raise OSError(errno.EINVAL, str(error), repr(str(path))) from None
    try:
        _refuse_special(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def refuse_special(path: Path) -> None:
    """Raise if something else than a regular file, or a link to one, stands at a path that another program will open.

    Raises:
        UnfitFileError: It does.
        OSError: It may not be looked at, or nothing is there.
    """
    _refuse_special(path, path.stat())


def read_regular(path: Path, *, max_bytes: int, follow: bool = True) -> bytes:
    """All of a regular file that is at most `max_bytes` long. Never blocks; takes no more memory than that.

    Raises:
        UnfitFileError: It is no regular file, or larger.
        OSError: It cannot be read.
    """
    with open_regular(path, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > max_bytes else file.read(max_bytes + 1)
        if size > max_bytes or len(content) > max_bytes:
            raise UnfitFileError(path, f"it is larger than {max_bytes // 1024} KiB")
        return content


def _refuse_special(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
        raise UnfitFileError(path, f"it is {kind}, not a regular file")


def write_atomic(path: Path, content: bytes, *, mode: int = _PRIVATE) -> None:
    """Put `content` at `path` so that a reader, or a machine that lost power, finds the old file or the new one.

    The bytes go to a temporary file in the same folder, are synced, and renamed over `path`; then the folder is
    synced. The parent folder is made if it is missing. A symbolic link is replaced, not followed; a folder, a pipe, a
    socket or a device is left alone: it was not meant to become a file.

    Raises:
        UnfitFileError: Something else than a file stands at the path.
        OSError: It could not be written (disk full, read-only, no permission). The old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    problem = find_replace_problem(path)
    if problem:
        raise UnfitFileError(path, problem)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the disk holds what any process has written to a file.

    Raises:
        OSError: There is no such file, or the disk failed.
    """
    with path.open("r+b") as opened:
        os.fsync(opened.fileno())


def find_replace_problem(path: Path) -> str:
    """Why `write_atomic` would refuse this path: something that is no file stands there. Empty if it would not."""
    try:
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode):
            _refuse_special(path, found)
    except UnfitFileError as error:
        return str(error.strerror)
    except OSError:
        return ""  # nothing is there, or it may not be looked at: writing will say so
    return ""


def is_there(path: Path) -> bool:
    """Whether this user sees something at `path`.

    `Path.exists`, `is_file` and `is_dir` raise where a folder on the way may not be entered, or a name is too long. A
    setting can name such a path; that is something to report, not to fail on.
    """
    return os.path.exists(path)  # noqa: PTH110 - see above


def is_file_there(path: Path) -> bool:
    """Whether this user sees a file at `path`; see `is_there`."""
    return os.path.isfile(path)  # noqa: PTH113 - see `is_there`


def is_folder_there(path: Path) -> bool:
    """Whether this user sees a folder at `path`; see `is_there`."""
    return os.path.isdir(path)  # noqa: PTH112 - see `is_there`


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open a folder for syncing, and journals its renames itself
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
