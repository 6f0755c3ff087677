"""What is so with the bot beside its running: its program, its connection, whether it is suspended, how it ended."""

from dataclasses import dataclass

from orchestration.bot.command_line import name_program
from orchestration.bot.end_record import BotEnd, read_end
from orchestration.bot.find import BotPresence
from orchestration.bot.members import read_connection
from orchestration.bot.record import BotRecord, build_record_path, read_record
from orchestration.bot.suspension import describe_suspension
from orchestration.settings import Settings
from orchestration.system.process_table import read_argv


@dataclass(frozen=True, kw_only=True)
class BotFacts:
    """What is known of the bot now.

    Attributes:
        program: Which program it is, for people; empty where that is unknown.
        is_connected: Whether it holds a connection to the gateway; None if that is unknown.
        suspended: Why it runs and does nothing, as the end of a sentence; empty otherwise.
        end: How the bot that was recorded last has ended; None while it runs, and where it is unknown.
    """

    program: str = ""
    is_connected: bool | None = None
    suspended: str = ""
    end: BotEnd | None = None

    @property
    def has_finished(self) -> bool:
        """Whether the bot that was recorded last ended by itself with 0: its work for the plan's date is done."""
        return self.end is not None and self.end.is_finished


NO_FACTS = BotFacts()


def read_bot_facts(settings: Settings, presence: BotPresence) -> BotFacts:
    """Look at the bot that was found, or at what is written down about the end of the last one."""
    found = presence.found
    if found is None:
        return NO_FACTS if presence.is_unknown else BotFacts(end=_read_last_end(settings))
    if found.record is None:
        # It was not launched by this program, so it is unknown which gateway address it was given.
        argv = () if found.container else _read_argv(found.pid)
        return BotFacts(program=name_program(argv) if argv else "")
    return BotFacts(
        program=name_program(found.record.argv),
        is_connected=read_connection(settings, found.record),
        suspended=describe_suspension(settings, found.record),
    )


def _read_last_end(settings: Settings) -> BotEnd | None:
    path = build_record_path(settings)
    if settings.watched_state_dir is not None:
        path = settings.watched_state_dir / path.name
    record = read_record(path)
    return read_end(path, record.identity) if isinstance(record, BotRecord) else None


def _read_argv(pid: int) -> tuple[str, ...]:
    try:
        return read_argv(pid)
    except PermissionError:
        return ()
