"""The bot's log: a new file for each bot, and the last lines of what it wrote, in a file or with the engine."""

import errno
import os
from datetime import datetime
from pathlib import Path

from orchestration import redaction
from orchestration.bot.container import build_door
from orchestration.bot.record import BotRecord
from orchestration.redaction import Redactor, redactor_for
from orchestration.settings import Settings


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


def read_last_lines(path: Path, count: int, redactor: Redactor | None = None) -> tuple[str, ...]:
    """The last lines of a file that may be huge or be written to, fit to be shown; empty if it cannot be read."""
    try:
        return redaction.read_last_lines(path, count, redactor)
    except OSError:
        return ()


def read_bot_lines(settings: Settings, record: BotRecord, count: int) -> tuple[str, ...]:
    """The last lines of a bot's output; empty where they cannot be read."""
    if record.container:
        return build_door(settings, record).read_log(lines=count)
    return () if record.log is None else read_last_lines(record.log, count, redactor_for(settings.secrets))
