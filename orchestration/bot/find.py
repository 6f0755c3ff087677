"""Does this instance's bot run, and which process is it? Only looks.

Asked in this order, each answer exact before the next one is tried:

1. The recorded process, by pid and birth. A pid that somebody else has now is not it; a clock change alters nothing.
2. The marker: every bot is launched with `BOT_RECORD=<path of this instance's record>` in its environment, and all that
   it starts inherits it. This finds a bot whose record was lost, and what a dead bot left behind: a double-forked
   daemon, or workers that outlive it. They count as the bot running, for they may trade.
3. A launch that was cut short: a record without a pid, and a process whose output goes to that launch's log. Between
   fork and exec a process has neither the marker nor the command yet, but it already has that log; and before that, it
   still holds its launcher's lock.
4. With `BOT_RUNTIME=docker`, or where the record says so, the container (`orchestration.bot.contained`).
5. The configured command, for a bot that was started by hand: together with its working folder and the `INSTANCE` in
   its environment (none means `default`).

We ourselves and what started us are never found by 2, 3 and 5, and neither is anything inside a container.
"""

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from orchestration.bot.command_line import is_same_command
from orchestration.bot.contained import BotDocker, build_door, is_contained, is_recorded
from orchestration.bot.elsewhere import read_age_s, read_watched_record
from orchestration.bot.record import (
    RECORD_MARKER,
    BotLaunch,
    BotRecord,
    build_record_path,
    complete_launch,
    is_record_hidden,
    name_bot,
    read_record,
)
from orchestration.errors import StartupFailure
from orchestration.settings import Settings
from orchestration.system.commands import Commands
from orchestration.system.process_table import (
    is_in_a_container,
    read_ancestors,
    read_argv,
    read_cwd,
    read_environ,
    read_parent_pid,
    read_pids,
    read_session_id,
    read_standard_output,
)
from orchestration.system.processes import ProcessIdentity, is_running, read_identity, read_uptime_s

DEFAULT_INSTANCE = "default"


class FoundBy(StrEnum):
    """How a bot was told from every other process."""

    RECORDED = "recorded"
    MARKED = "marked"
    BY_COMMAND = "by_command"


@dataclass(frozen=True, kw_only=True)
class FoundBot:
    """This instance's bot.

    Attributes:
        identity: Exactly which process it is.
        uptime_s: How long it has run, in seconds.
        how: How it was found.
        record: What was written down about it at its launch; None if it was not launched by this program. Its pid is
            another one where only what the recorded process left behind still runs.
        container: The name of its container; empty for a process.
    """

    identity: ProcessIdentity
    uptime_s: float
    how: FoundBy
    record: BotRecord | None = None
    container: str = ""

    @property
    def pid(self) -> int:
        """Its process id; of a container the first one's, as the engine's host numbers it."""
        return self.identity.pid

    @property
    def who(self) -> str:
        """What people call it."""
        return name_bot(self.pid, self.container)


@dataclass(frozen=True, kw_only=True)
class BotPresence:
    """What one look found.

    Attributes:
        found: The bot, or None.
        is_unknown: Whether it cannot be told: nothing was found, but a process with the bot's command may not be
            looked at.
        detail: One sentence for people.
    """

    found: FoundBot | None = None
    is_unknown: bool = False
    detail: str = ""


def find_bot(settings: Settings, *, commands: Commands | None = None) -> BotPresence:
    """Look for this instance's bot. Changes nothing, waits for nothing."""
    if settings.watched_state_dir is not None:
        return _find_elsewhere(settings)
    path = build_record_path(settings)
    record = read_record(path)
    if isinstance(record, BotRecord) and not record.container and is_running(record.identity):
        return _present(record.identity, FoundBy.RECORDED, record, "as it was recorded at its launch")
    look = _look_around(settings, path, record)
    if look.marked:
        return _present_marked(look.marked, None if record is not None and record.container else record)
    if is_contained(settings, record):
        contained = _find_contained(build_door(settings, record, commands=commands), record)
        if contained.found is not None or contained.is_unknown:
            return contained
    return _judge_by_command(look, path)


def _judge_by_command(look: "_Look", path: Path) -> BotPresence:
    if look.by_command:
        detail = "started by hand: same command, folder and instance"
        return _present(look.by_command[0], FoundBy.BY_COMMAND, None, detail)
    if look.unknown:
        return BotPresence(
            is_unknown=True,
            detail=f"the bot's command runs as {_list_pids(look.unknown)}, which may not be looked at more closely",
        )
    if is_record_hidden(path):
        return BotPresence(is_unknown=True, detail=f"{path}, where it would be recorded, may not be read by this user")
    return BotPresence(detail="not running")


def _find_elsewhere(settings: Settings) -> BotPresence:
    record = read_watched_record(settings)
    if record is None:
        return BotPresence(detail=f"no supervisor is at work in {settings.watched_state_dir}, or it has no bot")
    found = FoundBot(
        identity=record.identity,
        uptime_s=read_age_s(record),
        how=FoundBy.RECORDED,
        record=record,
        container=record.container,
    )
    return BotPresence(found=found, detail="by its supervisor's lock, in another container")


def _find_contained(door: BotDocker, record: BotLaunch | None) -> BotPresence:
    try:
        seen = door.probe()
    except StartupFailure as failure:
        return BotPresence(is_unknown=True, detail=f"container {door.name} cannot be looked at: {failure.message}")
    if seen is None or not seen.is_alive or door.is_anothers(seen):
        return BotPresence(detail="not running")
    how, known, detail = FoundBy.BY_COMMAND, None, f"container {seen.name}, which this program did not start"
    if isinstance(record, BotRecord) and is_recorded(seen, record):
        how, known, detail = FoundBy.RECORDED, record, "as it was recorded at its launch"
    elif record is not None and door.is_ours(seen) and record.run_id == seen.run_id:
        # Its launch was cut short, or Docker has started it again since: what it was given is known.
        how, known, detail = FoundBy.RECORDED, complete_launch(record, seen.identity), "its launch was cut short"
    elif door.is_ours(seen):
        how, detail = FoundBy.MARKED, "by its container's labels; its record is lost"
    started_at = seen.started_at or datetime.now(UTC)
    uptime_s = max(0.0, (datetime.now(UTC) - started_at).total_seconds())
    found = FoundBot(identity=seen.identity, uptime_s=uptime_s, how=how, record=known, container=seen.name)
    return BotPresence(found=found, detail=detail)


def _present_marked(marked: tuple[ProcessIdentity, ...], record: BotLaunch | None) -> BotPresence:
    if isinstance(record, BotRecord):
        detail = f"the bot's own process {record.pid} has ended, but what it started still runs: {_list_pids(marked)}"
        return _present(marked[0], FoundBy.MARKED, record, detail)
    if record is not None:
        completed = complete_launch(record, marked[0])
        return _present(marked[0], FoundBy.RECORDED, completed, "its launch was recorded, and cut short")
    return _present(marked[0], FoundBy.MARKED, None, "by the marker in its environment; its record is lost")


def find_marked_processes(path: Path, *, log: Path | None = None) -> tuple[ProcessIdentity, ...]:
    """Everything that a bot with this record started and that still runs, the bot itself included.

    Args:
        path: The record's path (`build_record_path`).
        log: Also what writes to this log: a process that is not yet far enough to carry the marker.
    """
    ours = read_ancestors(os.getpid())
    return _identify([pid for pid in read_pids() if pid not in ours and _is_marked(pid, path, log)])


def _is_marked(pid: int, path: Path, log: Path | None) -> bool:
    try:
        if read_environ(pid).get(RECORD_MARKER) == str(path):
            return True
    except PermissionError:
        return False  # another user's, so not launched by us
    return log is not None and read_standard_output(pid) == log


@dataclass(frozen=True, kw_only=True)
class _Look:
    marked: tuple[ProcessIdentity, ...]
    by_command: tuple[ProcessIdentity, ...]
    unknown: tuple[ProcessIdentity, ...]


def _look_around(settings: Settings, path: Path, record: BotLaunch | None) -> _Look:
    """One pass over all processes."""
    ours = read_ancestors(os.getpid())
    cut_short = record.log if record is not None and not isinstance(record, BotRecord) else None
    marked, by_command, unknown = [], [], []
    workdir = Path(os.path.realpath(settings.bot_workdir))
    search_path = settings.environ.get("PATH", os.defpath)
    for pid in read_pids():
        if pid in ours:
            continue
        if _is_marked(pid, path, cut_short):
            marked.append(pid)
            continue
        with contextlib.suppress(PermissionError):  # hidden altogether: nothing to compare
            argv = read_argv(pid)
            if not argv or not is_same_command(settings.bot_command, argv, workdir=workdir, search_path=search_path):
                continue
            if is_in_a_container(pid):
                continue
            try:
                if _is_this_instance(pid, settings.instance, workdir):
                    by_command.append(pid)
            except PermissionError:
                unknown.append(pid)
    return _Look(marked=_identify(marked), by_command=_identify(by_command), unknown=_identify(unknown))


def _is_this_instance(pid: int, instance: str, workdir: Path) -> bool:
    return read_cwd(pid) == workdir and (read_environ(pid).get("INSTANCE") or DEFAULT_INSTANCE) == instance


def _identify(pids: list[int]) -> tuple[ProcessIdentity, ...]:
    """Those that still run, the one that is responsible for the others first.

    A bot's forked workers have its command and its marker. It is the one whose parent is none of them, leads a session,
    and is the oldest.
    """
    known = set(pids)
    found = [identity for pid in pids if (identity := read_identity(pid)) is not None]
    return tuple(
        sorted(
            found,
            key=lambda one: (
                read_parent_pid(one.pid) in known,
                read_session_id(one.pid) != one.pid,
                -(read_uptime_s(one) or 0.0),
                one.pid,
            ),
        )
    )


def _present(identity: ProcessIdentity, how: FoundBy, record: BotRecord | None, detail: str) -> BotPresence:
    found = FoundBot(identity=identity, uptime_s=read_uptime_s(identity) or 0.0, how=how, record=record)
    return BotPresence(found=found, detail=detail)


def _list_pids(identities: tuple[ProcessIdentity, ...]) -> str:
    shown = ", ".join(str(one.pid) for one in identities[:5])
    return f"process{'es' if len(identities) > 1 else ''} {shown}{' and more' if len(identities) > 5 else ''}"  # noqa: PLR2004
