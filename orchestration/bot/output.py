"""What a bot said, wherever that is kept: in its log, or with the engine for a container."""

from orchestration.bot.container import build_door
from orchestration.bot.log import read_last_lines
from orchestration.bot.record import BotLaunch
from orchestration.redaction import redactor_for
from orchestration.settings import Settings


def read_bot_lines(settings: Settings, record: BotLaunch, count: int) -> tuple[str, ...]:
    """The last lines of a bot's output; empty where they cannot be read."""
    if record.container:
        return build_door(settings, record).read_log(lines=count)
    return () if record.log is None else read_last_lines(record.log, count, redactor_for(settings.secrets))
