"""The door for long-lived processes: launch them detached, identify them reliably, end them gracefully.

A pid alone proves nothing: it is used again. A creation time in wall-clock terms proves little: on Linux psutil
computes it from the boot time, which moves when the clock is set. On Linux a process is therefore known by its pid, its
start time in clock ticks since boot, and the boot's own id; elsewhere by its pid and its creation time.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestration.system.children import start_child
from orchestration.system.landlock import run_confined
from orchestration.system.platform import ChildProcess, platform
from orchestration.system.process_table import (
    ProcessStat,
    read_birth_of_child,
    read_boot_id,
    read_stat,
    read_table,
    read_userspace_boot_id,
)

__all__ = [
    "LaunchedProcess",
    "ProcessIdentity",
    "ask_to_end",
    "collect_exit_code",
    "end_process_tree",
    "end_processes",
    "find_descendants",
    "find_session_members",
    "is_running",
    "kill_processes",
    "launch_connected",
    "launch_detached",
    "open_end_descriptor",
    "read_boot_id",
    "read_identity",
    "read_uptime_s",
    "read_userspace_boot_id",
]

_POLL_S = 0.02
_ON_LINUX: bool = sys.platform == "linux"


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """A process that cannot be mistaken for another one.

    Attributes:
        pid: Its process id.
        birth: An opaque word that no other process with this pid ever has.
    """

    pid: int
    birth: str


class LaunchedProcess:
    """A process that this one launched and may leave behind.

    Attributes:
        identity: Who it is.
    """

    def __init__(self, process: ChildProcess, identity: ProcessIdentity) -> None:
        self._process = process
        self.identity = identity

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.identity.pid

    def poll_exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it runs."""
        return self._process.poll()

    def wait(self, *, timeout_s: float, or_readable: int | None = None) -> None:
        """Return as soon as it has ended, or there is something to read, or `timeout_s` seconds have passed.

        Args:
            timeout_s: Seconds to wait at most.
            or_readable: The descriptor of a socket that is waited for too.
        """
        if sys.platform == "win32":
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=max(0.0, timeout_s))
            return
        deadline_s = platform().monotonic_s() + timeout_s
        with open_end_descriptor(self._process.pid) as pidfd:
            watched = [one for one in (or_readable, pidfd) if one is not None]
            while self._process.poll() is None and (left_s := deadline_s - platform().monotonic_s()) > 0:
                # Without a descriptor that tells of its end, its end has to be looked for.
                if platform().wait_readable(watched, left_s if pidfd is not None else min(left_s, _POLL_S)):
                    return

    def disown(self) -> None:
        """Stop waiting for it: it may outlive us, and nothing warns about it.

        It is not asked whether it has ended: the answer would be the only one, and take its exit code from the
        caller that watches it next (`collect_exit_code`).
        """
        if self._process.returncode is None:
            self._process.returncode = 0


def launch_detached(
    argv: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    output: Path,
    denied_ports: Collection[int] = (),
) -> LaunchedProcess:
    """Start a program in a session of its own: no terminal, standard input closed, both outputs appended to a file.

    Nothing of it depends on this process, which may end at any time.

    Args:
        argv: Program and arguments.
        cwd: Working folder.
        environ: Its whole environment.
        output: The file for its output; made with mode 600 if it is missing.
        denied_ports: TCP ports that it, and all that it starts, can never connect to. Needs `landlock.can_deny_ports`.

    Raises:
        LandlockError: The kernel refused to deny the ports; nothing was started.
        OSError: It could not be started, or the file not opened.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if sys.platform == "win32":
            process = platform().start_detached(argv, cwd=cwd, environ=environ, output=handle)
        else:

            def start() -> ChildProcess:
                return platform().start_detached(argv, cwd=cwd, environ=environ, output=handle)

            confined = bool(denied_ports) and not platform().is_simulated
            process = run_confined(denied_ports, lambda: start_child(start)) if confined else start_child(start)
    finally:
        os.close(handle)
    birth = read_birth_of_child(process.pid) or "ended"
    return LaunchedProcess(process, ProcessIdentity(pid=process.pid, birth=birth))


def launch_connected(argv: Sequence[str], *, environ: Mapping[str, str]) -> tuple[LaunchedProcess, socket.socket]:
    """Start a program in a session of its own, whose standard input and output are a socket to this process.

    It survives this process, and sees its end as the end of that socket. Its standard error is ours.

    Args:
        argv: Program and arguments.
        environ: Its whole environment.

    Raises:
        OSError: It could not be started.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = start_child(
                lambda: subprocess.Popen(
                    list(argv),
                    cwd="/",
                    env=dict(environ),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    start_new_session=True,
                )
            )
    except BaseException:
        ours.close()
        raise
    birth = read_birth_of_child(process.pid) or "ended"
    return LaunchedProcess(process, ProcessIdentity(pid=process.pid, birth=birth)), ours


@contextlib.contextmanager
def open_end_descriptor(pid: int) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends, or None where the system has none."""
    descriptor = platform().open_end_descriptor(pid)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def read_identity(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now, or None.

    What has ended and was not collected yet does not count. A process whose main thread has ended while other threads
    work is alive.
    """
    stat = read_stat(pid)
    return None if stat is None else ProcessIdentity(pid=pid, birth=stat.birth)


def is_running(identity: ProcessIdentity) -> bool:
    """Whether exactly this process still runs."""
    return read_identity(identity.pid) == identity


def read_uptime_s(identity: ProcessIdentity) -> float | None:
    """Seconds since the process started, by a clock that cannot be set, or None if it has ended."""
    if not is_running(identity):
        return None
    if _ON_LINUX:
        ticks = int(identity.birth.rpartition(":")[2])
        return max(0.0, platform().boottime_s() - ticks / os.sysconf("SC_CLK_TCK"))
    try:
        return max(0.0, time.time() - psutil.Process(identity.pid).create_time())
    except psutil.Error:
        return None


def collect_exit_code(pid: int) -> int | None:
    """The exit code (negative: a signal) of an ended child; None if it runs, or is not our child."""
    if sys.platform == "win32":
        return None
    try:
        return platform().collect_exit_code(pid)
    except ChildProcessError:
        return None


def ask_to_end(pid: int) -> bool:
    """Send SIGTERM, or what comes nearest to it on this system. Returns whether it could be sent.

    A process that is gone, or another user's, is no error.
    """
    return _send(pid, signal.SIGTERM)


def resume(pid: int) -> None:
    """Let a process that was stopped by a signal go on: it would not see a request to end. No error, as above."""
    if sys.platform != "win32":
        _send(pid, signal.SIGCONT)


def end_process_tree(identity: ProcessIdentity, *, timeout_s: float, known: Sequence[ProcessIdentity] = ()) -> bool:
    """Ask a process to end, and everything it started; after `timeout_s` seconds end them by force.

    The process alone is asked first (SIGTERM), for it may want to end its own children gracefully. What is left of its
    session and process group (where it leads one) and of its children once it has ended is asked next: a shell that
    started the real program dies of the signal and does not pass it on. What still runs when the time is over is
    killed.

    Args:
        identity: The process.
        timeout_s: Seconds that all of them together have to end by themselves.
        known: What else belongs to it, as far as the caller knows.

    Returns:
        Whether all of them ended by themselves in time (True also if nothing of them was running).
    """
    deadline_s = platform().monotonic_s() + timeout_s
    children = [*known, *find_descendants(identity, read_table())]
    if is_running(identity):
        _send(identity.pid, signal.SIGTERM)
        _wait_until_gone([identity], deadline_s)
        children += find_descendants(identity, read_table())
    survivors = _read_survivors(identity, children)
    if not is_running(identity) and survivors and platform().monotonic_s() < deadline_s:
        for survivor in survivors:
            _send(survivor.pid, signal.SIGTERM)
        _wait_until_gone(survivors, deadline_s)
        survivors = _read_survivors(identity, survivors)
    in_time = not is_running(identity) and not survivors
    _kill_until_gone(lambda: [identity, *_read_survivors(identity, survivors)])
    return in_time


def end_processes(identities: Sequence[ProcessIdentity], *, timeout_s: float) -> bool:
    """Ask processes to end, all at once, and after `timeout_s` seconds end them and what they started by force.

    Returns:
        Whether all of them ended by themselves in time.
    """
    deadline_s = platform().monotonic_s() + timeout_s
    running = [one for one in identities if is_running(one)]
    for one in running:
        _send(one.pid, signal.SIGTERM)
    _wait_until_gone(running, deadline_s)
    in_time = not any(is_running(one) for one in running)

    def read_left() -> list[ProcessIdentity]:
        table = read_table()
        return [*running, *(child for one in running for child in find_descendants(one, table))]

    _kill_until_gone(read_left)
    return in_time


def kill_processes(identities: Sequence[ProcessIdentity]) -> None:
    """Kill these processes without asking them, and wait until they are gone."""
    _kill_until_gone(lambda: [one for one in identities if is_running(one)])


def _kill_until_gone(read_left: Callable[[], list[ProcessIdentity]]) -> None:
    """Kill until a look finds none: a process may have started another one between the look and the kill.

    Bounded, for what cannot be killed (another user's, or stuck in the kernel) must not hold us for ever.
    """
    give_up_s = platform().monotonic_s() + _GONE_TIMEOUT_S
    while left := [one for one in read_left() if is_running(one)]:
        for one in left:
            _send(one.pid, _KILL)
        _wait_until_gone(left, min(give_up_s, platform().monotonic_s() + _KILL_ROUND_S))
        if platform().monotonic_s() >= give_up_s:
            break


_KILL = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL
_GONE_TIMEOUT_S = 5.0
_KILL_ROUND_S = 0.5


def find_descendants(identity: ProcessIdentity, table: Mapping[int, ProcessStat]) -> list[ProcessIdentity]:
    """What a living process started, and what that started, as far as the table still shows it. Pure."""
    stat = table.get(identity.pid)
    if stat is None or stat.birth != identity.birth:
        return []
    children: dict[int, list[ProcessStat]] = {}
    for one in table.values():
        children.setdefault(one.parent_pid, []).append(one)
    found: dict[int, ProcessIdentity] = {}
    parents = [identity.pid]
    while parents:
        for child in children.get(parents.pop(), []):
            if child.pid not in found and child.pid != identity.pid:
                found[child.pid] = ProcessIdentity(pid=child.pid, birth=child.birth)
                parents.append(child.pid)
    return list(found.values())


def find_session_members(leader: ProcessIdentity, table: Mapping[int, ProcessStat]) -> list[ProcessIdentity]:
    """What runs in the session or the process group that a process leads, or led until it ended; itself left out.

    An id is not used again while a session or a group is named by it. So if another process has the leader's pid now,
    or the machine was booted since, there are no members; and no process is one that was started before the leader.
    """
    owner = table.get(leader.pid)
    if sys.platform == "win32" or (owner is not None and owner.birth != leader.birth):
        return []
    first = 0.0
    if _ON_LINUX:
        boot_id, _, ticks = leader.birth.rpartition(":")
        if boot_id != read_boot_id() or not ticks.isdigit():
            return []
        first = int(ticks)
    return [
        ProcessIdentity(pid=stat.pid, birth=stat.birth)
        for stat in table.values()
        if leader.pid in {stat.session_id, stat.group_id} and stat.started >= first and stat.pid != leader.pid
    ]


def _wait_until_gone(identities: Sequence[ProcessIdentity], deadline_s: float) -> None:
    while any(is_running(one) for one in identities) and platform().monotonic_s() < deadline_s:
        for one in identities:
            _reap(one.pid)
        platform().sleep(_POLL_S)


def _read_survivors(leader: ProcessIdentity, known: Sequence[ProcessIdentity]) -> list[ProcessIdentity]:
    """Who of its session and group, and of those already known, still runs; the leader and ourselves left out."""
    members = {*find_session_members(leader, read_table()), *known}
    return [one for one in members if one.pid not in {leader.pid, platform().own_pid()} and is_running(one)]


def _send(pid: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        platform().send_signal(pid, number)
        return True
    return False


def _reap(pid: int) -> None:
    """Collect the exit code if it is our own child: a zombie is kept by its parent only."""
    if sys.platform != "win32":
        with contextlib.suppress(ChildProcessError):
            platform().collect_exit_code(pid)
