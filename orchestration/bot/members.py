"""Everything that a bot is: the process that was launched, and all that it started. Only looks.

A worker that outlives the bot's main process may still trade, so it is the bot. No single sign ties it for certain: a
program may replace its title and wipe its environment with it, start a worker with an empty one, make a session of its
own, or fork twice. So all of these are looked at, and what one of them ties is the bot's, with all that it started:

- its session and process group. The bot was launched as the leader of a session (`launch_detached`), so its recorded
  process id is also their id;
- the marker `BOT_RECORD` in its environment, which names this instance's record;
- its output: standard output or standard error goes to the log that was recorded. Reading that log is nothing;
- without a record: its output goes to a bot log of this instance, and it works in the bot's folder;
- what was seen to belong to it before (`note_workers`), by process id and birth;
- what this process became the parent of, where it is the run that launched the bot (`orchestration.system.children`);
- its control group, where the launcher is a service of systemd: all that is in it and not the service's own.

We ourselves and what started us are never found. An id that another process has now, or that is of an earlier boot,
does not count.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from orchestration.bot.container_processes import is_in_container, read_container_pids
from orchestration.bot.order_guard import find_guard
from orchestration.bot.record import (
    RECORD_MARKER,
    BotRecord,
    build_record_path,
    read_workers,
    write_workers,
)
from orchestration.settings import Settings
from orchestration.state_dir import supervisor_lock_path
from orchestration.system.children import read_adopted_pids
from orchestration.system.clock import Clock
from orchestration.system.lock import read_lock_holder
from orchestration.system.platform import platform
from orchestration.system.process_table import (
    ProcessStat,
    has_variable,
    read_control_group,
    read_cwd,
    read_environ,
    read_table,
    read_user_ids,
    writes_to,
)
from orchestration.system.processes import ProcessIdentity, find_descendants, find_session_members
from orchestration.system.sockets import has_connection, holds_connection, is_network_connected

_LEFTOVER_TIMEOUT_S = 1.0  # for children that end right after their parent
_FIRST_LEFTOVER_LOOK_S = 0.05  # each further look takes twice as long to come: one is a look at every process
_BOT_LOG = re.compile(r"bot_\d{8}_\d{6}(_\d+)?\.log")
_SUDO_UID = "SUDO_UID"

_T = TypeVar("_T")
Table = Mapping[int, ProcessStat]


def find_members(
    settings: Settings, record: BotRecord | None, table: Table | None = None, *, of_this_launch: bool = False
) -> tuple[ProcessIdentity, ...]:
    """Everything of this instance's bot that runs, its main process included; what is responsible for it first.

    Args:
        settings: Whose bot it is.
        record: What was written down about it; None where there is nothing. A container's is of no use here.
        table: The process table, if it was read already.
        of_this_launch: Whether to leave out what only shows that it is a bot of this instance, of any launch.
    """
    table = read_table() if table is None else table
    ours = find_ancestors(platform().own_pid(), table)
    signs = _Signs(settings, None if record is not None and record.container else record, table)
    found = {one.pid: one for one in signs.find_recorded()}
    for pid, stat in table.items():
        if pid in ours or pid in found:
            continue
        if signs.is_of_launch(pid) or (not of_this_launch and signs.is_of_instance(pid)):
            found[pid] = _identify(stat)
    for one in tuple(found.values()):
        found |= {child.pid: child for child in find_descendants(one, table)}
    return sort_by_responsibility([one for pid, one in found.items() if pid not in ours], table)


def wait_for_leftovers(look: Callable[[], _T], *, clock: Clock) -> _T:
    """What is left of a bot that has ended, once its children that end right after it have had a moment to do so.

    Args:
        look: What is left now; false where nothing is.
        clock: Waits.
    """
    deadline_s = clock.monotonic_s() + _LEFTOVER_TIMEOUT_S
    wait_s = _FIRST_LEFTOVER_LOOK_S
    while (left := look()) and (left_s := deadline_s - clock.monotonic_s()) > 0:
        clock.sleep(min(wait_s, left_s))
        wait_s *= 2
    return left


def find_ancestors(pid: int, table: Table) -> frozenset[int]:
    """A process and everything above it. Pure."""
    line = {pid}
    while (stat := table.get(pid)) is not None and stat.parent_pid not in line | {0}:
        pid = stat.parent_pid
        line.add(pid)
    return frozenset(line)


def sort_by_responsibility(found: list[ProcessIdentity], table: Table) -> tuple[ProcessIdentity, ...]:
    """The one that is responsible for the others first. Pure.

    A bot's forked workers have its command and its marker. It is the one whose parent is none of them, leads a session,
    and is the oldest.
    """
    pids = {one.pid for one in found}

    def rank(one: ProcessIdentity) -> tuple[bool, bool, float, int]:
        stat = table[one.pid]
        return stat.parent_pid in pids, stat.session_id != one.pid, stat.started, one.pid

    return tuple(sorted(found, key=rank))


def read_candidate_users(settings: Settings) -> frozenset[int]:
    """The users whose processes may be this instance's bot.

    They are the state folder's owner, root, the caller (also through sudo) and the owner of the bot's folder. Empty
    where there are no such ids.
    """
    if os.name != "posix":
        return frozenset()
    users = {0, os.getuid(), os.geteuid()}
    sudo = settings.environ.get(_SUDO_UID, "")
    if sudo.isdecimal():
        users.add(int(sudo))
    for folder in (settings.state_dir, settings.bot_workdir):
        with contextlib.suppress(OSError):
            users.add(folder.stat().st_uid)
    return frozenset(users)


def is_candidate(pid: int, users: frozenset[int], settings: Settings) -> bool:
    """Whether a process may be this instance's bot at all, by its user or because it is connected to the gateway.

    A connection to the order guard counts as one to the gateway.
    """
    acts_as = read_user_ids(pid)
    if acts_as is None or acts_as & users:
        return True
    guard = find_guard(settings)
    ports = {settings.gateway_port} | ({guard.port} if guard is not None else set())
    return any(has_connection(pid, acts_as, port) for port in ports)


def note_workers(settings: Settings, record: BotRecord) -> None:
    """Write down what belongs to the bot now, so that it can be told later, whatever ties it cuts.

    Where it cannot be written (disk full) the other signs remain.
    """
    if record.container or os.name != "posix":
        return
    path = build_record_path(settings)
    members = [one for one in find_members(settings, record) if one.pid != record.pid]
    if set(members) != set(read_workers(path, record)):
        with contextlib.suppress(OSError):
            write_workers(path, record, members)


class _Signs:
    """What ties a process to one bot, read once for one look."""

    def __init__(self, settings: Settings, record: BotRecord | None, table: Table) -> None:
        self._settings = settings
        self._record = record
        self._table = table
        self._marker = str(build_record_path(settings))
        self._users = read_candidate_users(settings)
        self._log_dir = Path(os.path.realpath(settings.log_dir))
        self._workdir = Path(os.path.realpath(settings.bot_workdir))
        self._log = None if record is None or record.log is None else Path(os.path.realpath(record.log))
        self._adopted = read_adopted_pids(self._marker, table)

    def find_recorded(self) -> Iterator[ProcessIdentity]:
        """By ids that were written down, each one exact."""
        record = self._record
        if record is None or not record.is_launched:
            return
        for one in (record.identity, *read_workers(build_record_path(self._settings), record)):
            stat = self._table.get(one.pid)
            if stat is not None and stat.birth == one.birth:
                yield one
        yield from find_session_members(record.identity, self._table)
        yield from self._find_in_control_group(record)

    def is_of_launch(self, pid: int) -> bool:
        """By what only this one launch gave it."""
        return pid in self._adopted or (self._log is not None and writes_to(pid, lambda path: path == self._log))

    def is_of_instance(self, pid: int) -> bool:
        """By what each bot of this instance has."""
        return self._is_marked(pid) or self._is_logged_unrecorded(pid)

    def _is_marked(self, pid: int) -> bool:
        try:
            is_marked = has_variable(pid, RECORD_MARKER, self._marker)
        except PermissionError:
            return False  # another user's, so not launched by us
        return is_marked and is_candidate(pid, self._users, self._settings)

    def _is_logged_unrecorded(self, pid: int) -> bool:
        if self._record is not None or not writes_to(pid, self._is_a_bot_log):
            return False
        with contextlib.suppress(PermissionError):
            return read_cwd(pid) == self._workdir and read_environ(pid).get(RECORD_MARKER) in {None, self._marker}
        return False

    def _is_a_bot_log(self, path: Path) -> bool:
        return path.parent == self._log_dir and _BOT_LOG.fullmatch(path.name) is not None

    def _find_in_control_group(self, record: BotRecord) -> Iterator[ProcessIdentity]:
        """What is in the service's control group, without the service itself: its supervisor, and what that runs."""
        if not record.control_group:
            return
        holder = read_lock_holder(supervisor_lock_path(self._settings.state_dir))
        services = {platform().own_pid()} | ({holder.pid} if holder is not None and holder.pid is not None else set())
        for pid in tuple(services):
            if (stat := self._table.get(pid)) is not None:
                services |= {one.pid for one in find_descendants(_identify(stat), self._table)}
        for stat in self._table.values():
            if stat.pid not in services and read_control_group(stat.pid) == record.control_group:
                yield _identify(stat)


def _identify(stat: ProcessStat) -> ProcessIdentity:
    return ProcessIdentity(pid=stat.pid, birth=stat.birth)


def read_connection(settings: Settings, record: BotRecord) -> bool | None:
    """Whether the bot holds a connection to the gateway's API now; None if that is unknown.

    A bot that lives is not yet one that can trade. Any process of the bot counts. Looked for is an established
    connection to the port that the bot was told of, on whatever address; what cannot be seen from here is unknown, and
    never taken for "no".
    """
    if settings.watched_state_dir is not None:
        return None
    port = record.gateway_port or settings.gateway_port
    if record.container:
        return _read_of_container(record, port)
    return holds_connection([one.pid for one in find_members(settings, record)], port)


def _read_of_container(record: BotRecord, port: int) -> bool | None:
    container_id = record.birth.partition(":")[0]
    if not is_in_container(record.pid, container_id):
        return None  # of an engine whose processes have no numbers here
    found = holds_connection(read_container_pids(container_id), port)
    return is_network_connected(record.pid, port) if found is None else found
