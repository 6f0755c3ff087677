"""A bot that runs and does nothing: stopped by a signal, or paused in its container. Somebody else did that."""

from orchestration.bot.container import build_door
from orchestration.bot.record import BotRecord
from orchestration.docker.container import ContainerState
from orchestration.errors import StartupFailure
from orchestration.settings import Settings
from orchestration.system.process_table import read_state
from orchestration.system.processes import is_running

_STOPPED, _TRACED = "T", "t"  # proc_pid_stat(5)


def describe_suspension(settings: Settings, record: BotRecord) -> str:
    """Why the bot does nothing, as the end of a sentence; empty where it works, has ended, or that is unknown."""
    if settings.watched_state_dir is not None:
        return ""
    if record.container:
        return _describe_container(settings, record)
    if not is_running(record.identity):
        return ""
    state = read_state(record.pid)
    if state == _STOPPED:
        return f"(process {record.pid}) is stopped by a signal (SIGSTOP)"
    return f"(process {record.pid}) is held by a debugger" if state == _TRACED else ""


def _describe_container(settings: Settings, record: BotRecord) -> str:
    try:
        seen = build_door(settings, record).probe()
    except StartupFailure:
        return ""
    is_paused = seen is not None and seen.state is ContainerState.PAUSED and seen.identity.birth == record.birth
    return f"(container {record.container}) is paused" if is_paused else ""
