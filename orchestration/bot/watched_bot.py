"""The bot of a watched system: it runs in another container, whose state folder is mounted here (WATCHED_STATE_DIR).

Its process has another number here, or none. What can be told from a file is that its supervisor is at work: it holds
its lock for as long as it lives, and it lives as long as the bot does. So the bot counts as running while that lock is
held and a bot is recorded. (A supervisor whose bot has finished its day holds the lock too, and has no record.)
"""

import contextlib
import dataclasses
from datetime import UTC, datetime

from orchestration.bot.end_record import read_end
from orchestration.bot.record import RECORD_NAME, BotRecord, read_record
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import Settings
from orchestration.state_dir import supervisor_lock_path
from orchestration.system.files import is_file_there
from orchestration.system.lock import read_lock_holder


def read_watched_record(settings: Settings) -> BotRecord | None:
    """The bot of the watched system, or None if its supervisor is not at work, or has none."""
    folder = settings.watched_state_dir
    if folder is None or read_lock_holder(supervisor_lock_path(folder)) is None:
        return None
    record = read_record(folder / RECORD_NAME)
    if record is None or not record.is_launched:
        return None
    # It was written down where that folder has another name.
    here = (folder / "gameplans" / record.gameplan.name, folder / record.gameplan.name)
    plan = next((path for path in here if is_file_there(path)), record.gameplan)
    return dataclasses.replace(record, gameplan=plan)


def refuse_to_touch(settings: Settings) -> None:
    """Nothing is started or stopped where another container's system is only watched.

    Raises:
        StartupFailure: `CONFIG_INVALID`: this is such a place.
    """
    if settings.watched_state_dir is not None:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            "WATCHED_STATE_DIR is set: what runs in another container is only watched from here.",
            next_action=f"Start or stop it where it runs: `docker stop {settings.bot_container_name}`.",
        )


def read_age_s(record: BotRecord) -> float:
    """Seconds since it was launched."""
    return max(0.0, (datetime.now(UTC) - record.started_at).total_seconds())


class ElsewhereEnding:
    """See `ending.Ending`: nothing tells of it, so the lock is looked at."""

    def __init__(self, settings: Settings, record: BotRecord) -> None:
        self._settings = settings
        self._birth = record.birth
        self._identity = record.identity

    def open(self) -> contextlib.AbstractContextManager[int | None]:
        """See `Ending.open`."""
        return contextlib.nullcontext(None)

    def has_come(self) -> bool:
        """See `Ending.has_come`."""
        record = read_watched_record(self._settings)
        return record is None or record.birth != self._birth

    def read_exit_code(self) -> int | None:
        """See `Ending.read_exit_code`. What its supervisor has written down."""
        folder = self._settings.watched_state_dir
        end = None if folder is None else read_end(folder / RECORD_NAME, self._identity)
        return end.exit_code if end is not None else None

    def describe_outside_stop(self) -> str:
        """See `Ending.describe_outside_stop`. It is its supervisor that could know."""
        return ""
