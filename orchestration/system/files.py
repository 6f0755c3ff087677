"""The door for files that must be whole or not there at all."""

import contextlib
import os
import tempfile
from pathlib import Path

_PRIVATE = 0o600


def write_atomic(path: Path, content: bytes, *, mode: int = _PRIVATE) -> None:
    """Put `content` at `path` so that a reader, or a machine that lost power, finds the old file or the new one.

    The bytes go to a temporary file in the same folder, are synced, and renamed over `path`; then the folder is
    synced. The parent folder is made if it is missing.

    Raises:
        OSError: It could not be written (disk full, read-only, no permission). The old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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


def is_there(path: Path) -> bool:
    """Whether this user sees something at `path`.

    `Path.exists`, `is_file` and `is_dir` raise where a folder on the way may not be entered, or a name is too long. A
    setting can name such a path; that is something to tell, not to fail on.
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
