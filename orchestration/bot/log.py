"""The bot's log: a new file for each bot, and the last lines of one that may be huge."""

import errno
import os
from datetime import datetime
from pathlib import Path

_TAIL_BYTES = 64 * 1024  # far more than twenty lines; a log may be huge, or one endless line
_MAX_LINE_CHARACTERS = 2000


def create_log(folder: Path, now: datetime) -> Path:
    """Make the bot's log, which no other bot's ever is.

    Raises:
        OSError: It could not be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The name under which /proc shows it, whatever link leads there: a launch that is cut short is told by it.
    stem = Path(os.path.realpath(folder)) / f"bot_{now.astimezone():%Y%m%d_%H%M%S}"
    for number in range(1, 1000):
        path = stem.with_name(f"{stem.name}{f'_{number}' if number > 1 else ''}.log")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            continue
        return path
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(stem))


def read_last_lines(path: Path, count: int) -> tuple[str, ...]:
    """The last lines of a file that may be huge or be written to; empty if it cannot be read.

    Reads no more than the last 64 KiB. Blank lines at the end are left out, long lines are cut.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            content = file.read(_TAIL_BYTES)
    except OSError:
        return ()
    lines = content.decode("utf-8", "replace").rstrip().splitlines()
    return tuple(line.rstrip()[:_MAX_LINE_CHARACTERS] for line in lines[-count:]) if count > 0 else ()
