"""Does this instance's bot run, and which process is it? Only looks.

Asked in this order, each answer exact before the next one is tried:

1. The recorded process, by pid and birth. A pid that another process has now is not it; no clock change matters.
2. What ties a process to the bot besides that (`orchestration.bot.members`). This finds a bot whose record was lost,
   and what a dead bot left behind: a double-forked daemon, or workers that outlive it. They count as the bot running,
   for they may trade.
3. A launch that was cut short: a record without a pid, and a process whose output goes to that launch's log. Between
   fork and exec a process has neither the marker nor the command yet, but it already has that log; and before that, it
   still holds its launcher's lock.
4. The container (`orchestration.bot.container`): by its name with `BOT_RUNTIME=docker`, or where the record says so; by
   its labels whatever the settings and the record say. Where nothing suggests that the bot is a container, an engine
   that is missing or does not answer is no reason for doubt, and it is only asked where the gateway is its business.
5. The configured command, for a bot that was started by hand: together with its working folder and the `INSTANCE` in
   its environment (none means `default`).

By 2, 3 and 5 we ourselves and what started us are never found, and by 5 nothing inside a container. Whose process may
be the bot at all is limited to certain users (`members.read_candidate_users`): another user's process with the same
command is a look-alike, which is told of and never counts.
"""

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestration.bot.command_line import is_same_command, name_program
from orchestration.bot.container import (
    BotDocker,
    build_door,
    is_contained,
    is_recorded,
    may_be_contained_unrecorded,
)
from orchestration.bot.end_record import read_end
from orchestration.bot.members import (
    Table,
    find_ancestors,
    find_members,
    is_candidate,
    read_candidate_users,
    read_connection,
    sort_by_responsibility,
)
from orchestration.bot.record import (
    BotRecord,
    build_record_path,
    find_record_damage,
    name_bot,
    read_record,
)
from orchestration.bot.state import BotState
from orchestration.bot.suspension import describe_suspension
from orchestration.bot.watched_bot import read_age_s, read_watched_record
from orchestration.docker.container import Container
from orchestration.errors import StartupFailure
from orchestration.settings import GatewayRuntime, Settings
from orchestration.system.commands import Commands
from orchestration.system.files import is_there
from orchestration.system.platform import platform
from orchestration.system.process_table import (
    is_in_a_container,
    read_argv,
    read_cwd,
    read_environ,
    read_table,
    read_user_name,
)
from orchestration.system.processes import ProcessIdentity, is_running, read_uptime_s

DEFAULT_INSTANCE = "default"


class FoundBy(StrEnum):
    """How a bot was told from every other process."""

    RECORDED = "recorded"
    MARKED = "marked"
    BY_COMMAND = "by_command"


@dataclass(frozen=True, kw_only=True)
class LookAlike:
    """A process of a user who has nothing to do with this instance, with the bot's command.

    Attributes:
        pid: Its process id.
        user: Whose it is.
    """

    pid: int
    user: str


@dataclass(frozen=True, kw_only=True)
class BotPresence:
    """Whether this instance's bot runs, and which process it is, by one look.

    Attributes:
        process: Exactly which process it is; None if none was found.
        uptime_s: How long it has run, in seconds.
        how: How it was found; None if none was.
        record: What was written down about it at its launch; None if it was not launched by this program. Its pid is
            another one where only what the recorded process left behind still runs.
        container: The name of its container; empty for a process.
        left_of_pid: The recorded main process, where that has ended and this is what is left of the bot; else None.
        is_unknown: Whether it is unknown if there is one: nothing was found, but a process that may be it may not be
            looked at.
        detail: One sentence for people.
        next_action: What to do where it is unknown.
        look_alikes: What has the bot's command and is none of ours.
    """

    process: ProcessIdentity | None = None
    uptime_s: float = 0.0
    how: FoundBy | None = None
    record: BotRecord | None = None
    container: str = ""
    left_of_pid: int | None = None
    is_unknown: bool = False
    detail: str = ""
    next_action: str = "Look at that process as its owner; end it if it is this instance's bot."
    look_alikes: tuple[LookAlike, ...] = ()

    @property
    def is_found(self) -> bool:
        """Whether it runs. False where that is unknown, too."""
        return self.process is not None

    @property
    def identity(self) -> ProcessIdentity:
        """Exactly which process it is.

        Raises:
            LookupError: None was found.
        """
        if self.process is None:
            raise LookupError(f"no bot was found: {self.detail}")
        return self.process

    @property
    def pid(self) -> int:
        """Its process id, of a container the first one's, as the engine's host numbers it; raises as `identity`."""
        return self.identity.pid

    @property
    def who(self) -> str:
        """What people call it; raises as `identity`."""
        name = name_bot(self.pid, self.container)
        return name if self.left_of_pid is None else f"{name} (what is left of process {self.left_of_pid})"


def find_bot(settings: Settings, *, commands: Commands | None = None, before_launch: bool = False) -> BotPresence:
    """Look for this instance's bot. Changes nothing, waits for nothing.

    Args:
        settings: Whose bot it is.
        commands: The door for programs; the real one by default.
        before_launch: Whether a bot is about to be launched: the engine is then asked for a container of this instance
            even if nothing here has to do with Docker.
    """
    if settings.watched_state_dir is not None:
        return _find_elsewhere(settings)
    path = build_record_path(settings)
    record = read_record(path)
    if record is not None and record.is_launched and not record.container and is_running(record.identity):
        return _present(record.identity, FoundBy.RECORDED, record, "as it was recorded at its launch")
    table = read_table()
    members = find_members(settings, record, table)
    if members:
        return _present_members(members, None if record is not None and record.container else record)
    contained = _find_contained(settings, record, commands, before_launch=before_launch)
    if contained.is_found or contained.is_unknown:
        return contained
    return _judge_by_command(_look_by_command(settings, table), path)


_NOT_RUNNING = BotPresence(detail="not running")
_JOURNAL = "journal.sqlite3"  # every run makes it
_UNSUGGESTED_TIMEOUT_S = 2.0  # an engine that hangs must not hold up those who do not use it for their bot


def _judge_by_command(look: "_BotCandidates", path: Path) -> BotPresence:
    if look.by_command:
        detail = "started by hand: same command, folder and instance"
        return _present(look.by_command[0], FoundBy.BY_COMMAND, None, detail)
    if look.unknown:
        return BotPresence(
            is_unknown=True,
            detail=f"the bot's command runs as {_list_pids(look.unknown)}, which may not be looked at more closely",
        )
    damage = find_record_damage(path)
    if damage is not None:
        return BotPresence(
            is_unknown=True,
            detail=f"its record, {damage.path}, cannot be used: {damage.problem}",
            next_action=damage.next_action,
        )
    return BotPresence(detail="not running", look_alikes=look.look_alikes)


def _find_elsewhere(settings: Settings) -> BotPresence:
    record = read_watched_record(settings)
    if record is None:
        return BotPresence(detail=f"no supervisor is at work in {settings.watched_state_dir}, or it has no bot")
    return BotPresence(
        process=record.identity,
        uptime_s=read_age_s(record),
        how=FoundBy.RECORDED,
        record=record,
        container=record.container,
        detail="by its supervisor's lock, in another container",
    )


def _find_contained(
    settings: Settings, record: BotRecord | None, commands: Commands | None, *, before_launch: bool
) -> BotPresence:
    """Look for the container: by its name where it has one, then for whichever container this instance made."""
    is_named = is_contained(settings, record)
    is_suggested = is_named or may_be_contained_unrecorded(settings)
    if not (is_suggested or before_launch or _is_engine_asked_anyway(settings)):
        return _NOT_RUNNING
    if is_named:
        door = build_door(settings, record, commands=commands)
    else:
        door = BotDocker(settings, commands=commands, read_timeout_s=0.0 if is_suggested else _UNSUGGESTED_TIMEOUT_S)
    try:
        seen = door.probe() if is_named else None
        if seen is not None and seen.is_alive and not door.is_anothers(seen):
            return _present_container(door, seen, record)
        is_enough = is_named and not before_launch and not may_be_contained_unrecorded(settings)
        labelled = () if is_enough else door.find_labelled()
    except StartupFailure as failure:
        if not is_suggested:
            return _NOT_RUNNING  # no engine: and no container of ours, as far as is known
        return BotPresence(is_unknown=True, detail=f"container {door.name} cannot be looked at: {failure.message}")
    return _present_container(door, labelled[0], record) if labelled else _NOT_RUNNING


def _is_engine_asked_anyway(settings: Settings) -> bool:
    """Whether the gateway is a container, and this instance has ever run."""
    return settings.gateway_runtime is GatewayRuntime.DOCKER and is_there(settings.state_dir / _JOURNAL)


def _present_container(door: BotDocker, seen: Container, record: BotRecord | None) -> BotPresence:
    how, known, detail = FoundBy.BY_COMMAND, None, f"container {seen.name}, which this program did not start"
    if is_recorded(seen, record):
        how, known, detail = FoundBy.RECORDED, record, "as it was recorded at its launch"
    elif record is not None and door.is_ours(seen) and door.is_of_run(seen, record.run_id):
        # Its launch was cut short, or Docker has started it again since: what it was given is known.
        known = dataclasses.replace(record, process=seen.identity, ready_by=None)
        how, detail = FoundBy.RECORDED, "its launch was cut short"
    elif door.is_ours(seen):
        how, detail = FoundBy.MARKED, "by its container's labels; its record is lost"
    started_at = seen.started_at or platform().now()
    uptime_s = max(0.0, (platform().now() - started_at).total_seconds())
    return BotPresence(
        process=seen.identity, uptime_s=uptime_s, how=how, record=known, container=seen.name, detail=detail
    )


def _present_members(members: tuple[ProcessIdentity, ...], record: BotRecord | None) -> BotPresence:
    if record is not None and record.is_launched:
        detail = f"what is left of process {record.pid}: {_list_pids(members)}"
        return _present(members[0], FoundBy.MARKED, record, detail, left_of_pid=record.pid)
    if record is not None:
        completed = dataclasses.replace(record, process=members[0])
        return _present(members[0], FoundBy.RECORDED, completed, "its launch was recorded, and cut short")
    return _present(members[0], FoundBy.MARKED, None, "by what it inherited from its launch; its record is lost")


@dataclass(frozen=True, kw_only=True)
class _BotCandidates:
    by_command: tuple[ProcessIdentity, ...]
    unknown: tuple[ProcessIdentity, ...]
    look_alikes: tuple[LookAlike, ...]


def _look_by_command(settings: Settings, table: Table) -> _BotCandidates:
    """One pass over all processes."""
    ours = find_ancestors(platform().own_pid(), table)
    users = read_candidate_users(settings)
    by_command, unknown, look_alikes = [], [], []
    workdir = Path(os.path.realpath(settings.bot_workdir))
    search_path = settings.environ.get("PATH", os.defpath)
    for pid in table.keys() - ours:
        with contextlib.suppress(PermissionError):  # hidden altogether: nothing to compare
            argv = read_argv(pid)
            if not argv or not is_same_command(settings.bot_command, argv, workdir=workdir, search_path=search_path):
                continue
            if is_in_a_container(pid):
                continue
            identity = ProcessIdentity(pid=pid, birth=table[pid].birth)
            may_be_ours = is_candidate(pid, users, settings)
            try:
                is_same = _is_this_instance(pid, settings.instance, workdir)
            except PermissionError:
                is_same = None
            if not may_be_ours and is_same is not False:
                look_alikes.append(LookAlike(pid=pid, user=read_user_name(pid)))
            elif is_same is None:
                unknown.append(identity)
            elif is_same:
                by_command.append(identity)
    return _BotCandidates(
        by_command=sort_by_responsibility(by_command, table),
        unknown=sort_by_responsibility(unknown, table),
        look_alikes=tuple(sorted(look_alikes, key=lambda one: one.pid)),
    )


def _is_this_instance(pid: int, instance: str, workdir: Path) -> bool:
    return read_cwd(pid) == workdir and (read_environ(pid).get("INSTANCE") or DEFAULT_INSTANCE) == instance


def _present(
    identity: ProcessIdentity,
    how: FoundBy,
    record: BotRecord | None,
    detail: str,
    *,
    left_of_pid: int | None = None,
) -> BotPresence:
    uptime_s = read_uptime_s(identity) or 0.0
    return BotPresence(
        process=identity, uptime_s=uptime_s, how=how, record=record, left_of_pid=left_of_pid, detail=detail
    )


def _list_pids(identities: tuple[ProcessIdentity, ...]) -> str:
    shown = ", ".join(str(one.pid) for one in identities[:5])
    return f"process{'es' if len(identities) > 1 else ''} {shown}{' and more' if len(identities) > 5 else ''}"  # noqa: PLR2004


def read_bot_state(settings: Settings, presence: BotPresence) -> BotState:
    """Look at the bot that was found, or at what is written down about the end of the last one."""
    if not presence.is_found:
        return BotState() if presence.is_unknown else _read_last_end(settings)
    if presence.record is None:
        # It was not launched by this program, so it is unknown which gateway address it was given.
        argv = () if presence.container else _read_argv_if_allowed(presence.pid)
        return BotState(is_running=True, program=name_program(argv) if argv else "")
    return BotState(
        is_running=True,
        program=name_program(presence.record.argv),
        is_connected=read_connection(settings, presence.record),
        suspended=describe_suspension(settings, presence.record),
    )


def _read_last_end(settings: Settings) -> BotState:
    path = build_record_path(settings)
    if settings.watched_state_dir is not None:
        path = settings.watched_state_dir / path.name
    record = read_record(path)
    end = read_end(path, record.identity) if record is not None and record.is_launched else None
    return end or BotState()


def _read_argv_if_allowed(pid: int) -> tuple[str, ...]:
    try:
        return read_argv(pid)
    except PermissionError:
        return ()
