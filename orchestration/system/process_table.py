"""The door for looking at processes that others may have started: their arguments, folder, environment.

Only looks. What has ended while it was looked at reads as nothing; what may not be looked at raises `PermissionError`,
for "no" and "unknown" are different answers to "does it run?".

On Linux the main thread of a process may end while other threads work on. The kernel then shows the process in state
`Z`, like one that has ended and was not collected yet, and its arguments, environment, folder and open files read as
empty. It is alive: it has more than one thread, and all of this can be read from a thread that still works.
"""

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestration.system.platform import platform

_BOOT_ID = "sys/kernel/random/boot_id"
_READ_BYTES = 65536
_STAT_BYTES = 4096
_ON_LINUX: bool = sys.platform == "linux"
_DELETED = " (deleted)"  # what the kernel appends to the name of a file that has none any more
_OUTPUTS = (1, 2)
_SERVICE_MANAGER = 1
# proc(5) numbers the fields of /proc/PID/stat from 1; `_STATE` is the first one after the command's name.
_STATE, _PARENT, _GROUP, _SESSION, _FLAGS, _THREADS, _START_TICKS = 3, 4, 5, 6, 9, 20, 22
_PF_KTHREAD = 0x00200000  # the kernel's include/linux/sched.h


@dataclass(frozen=True, kw_only=True)
class ProcessStat:
    """What the process table says about one living process.

    Attributes:
        pid: Its process id.
        birth: See `processes.ProcessIdentity.birth`.
        started: When it was started, in units that only compare with those of other processes of this boot: clock
            ticks since boot on Linux, seconds elsewhere.
        parent_pid: The process that it belongs to now.
        group_id: Its process group; 0 where there are none.
        session_id: Its session; 0 where there are none.
    """

    pid: int
    birth: str
    started: float
    parent_pid: int
    group_id: int = 0
    session_id: int = 0


def read_stat(pid: int) -> ProcessStat | None:
    """What the table says about a process; None if it has ended (also where it was not collected yet)."""
    return _read_stat_on_linux(pid) if _ON_LINUX else _read_stat_elsewhere(pid)


def read_state(pid: int) -> str:
    """The state of a process as proc_pid_stat(5) names it (`S`, `T`, …); empty if it has ended, or elsewhere."""
    fields = _read_stat_fields(pid) if _ON_LINUX else None
    return fields[0] if fields else ""


def read_birth_of_child(pid: int) -> str:
    """The `ProcessStat.birth` of our own child, also of one that has ended and was not collected yet; else empty."""
    if _ON_LINUX:
        fields = _read_stat_fields(pid)
        return "" if fields is None else _build_birth(fields)
    stat = read_stat(pid)
    return "" if stat is None else stat.birth


def read_children(parent_pid: int) -> tuple[dict[int, ProcessStat], frozenset[int]]:
    """The living children of a process by their id, and those that have ended and that it has not collected yet.

    Only on Linux; there are none elsewhere.
    """
    living, ended = {}, set()
    for pid in read_pids() if _ON_LINUX else ():
        fields = _read_stat_fields(pid)
        if fields is None or int(fields[_PARENT - _STATE]) != parent_pid:
            continue
        stat = _build_stat(pid, fields)
        if stat is None:
            ended.add(pid)
        else:
            living[pid] = stat
    return living, frozenset(ended)


def is_child(pid: int, parent_pid: int) -> bool:
    """Whether a process is a child of that one, also if it has ended and was not collected yet. Only on Linux."""
    fields = _read_stat_fields(pid)
    return fields is not None and int(fields[_PARENT - _STATE]) == parent_pid


def read_table() -> dict[int, ProcessStat]:
    """Every living process by its id, without the kernel's own threads.

    Those are no programs, and there are hundreds of them: nothing more needs to be asked about each.
    """
    stats = (_read_program_stat(pid) if _ON_LINUX else read_stat(pid) for pid in read_pids())
    return {stat.pid: stat for stat in stats if stat is not None}


def _read_program_stat(pid: int) -> ProcessStat | None:
    fields = _read_stat_fields(pid)
    if fields is None or int(fields[_FLAGS - _STATE]) & _PF_KTHREAD:
        return None
    return _build_stat(pid, fields)


def read_boot_id() -> str:
    """Identifies this boot of the machine; the same for all processes."""
    return _read_boot_id() if _ON_LINUX else f"{psutil.boot_time():.0f}"


def read_userspace_boot_id() -> str:
    """Identifies this boot of the service manager.

    A container that is a whole system (LXC, systemd-nspawn) has its host's boot id, which outlives a reboot of the
    container: its process 1 is another one after each.
    """
    manager = read_stat(_SERVICE_MANAGER) if _ON_LINUX else None
    return read_boot_id() if manager is None else manager.birth


@functools.cache
def _read_boot_id() -> str:
    try:
        return (Path(platform().proc_root) / _BOOT_ID).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _read_stat_on_linux(pid: int) -> ProcessStat | None:
    fields = _read_stat_fields(pid)
    return None if fields is None else _build_stat(pid, fields)


def _build_stat(pid: int, fields: list[str]) -> ProcessStat | None:
    """What the fields say; None for a process that has ended."""
    if fields[0] in {"Z", "X"} and int(fields[_THREADS - _STATE]) <= 1:
        return None
    return ProcessStat(
        pid=pid,
        birth=_build_birth(fields),
        started=int(fields[_START_TICKS - _STATE]),
        parent_pid=int(fields[_PARENT - _STATE]),
        group_id=int(fields[_GROUP - _STATE]),
        session_id=int(fields[_SESSION - _STATE]),
    )


def _read_stat_fields(pid: int) -> list[str] | None:
    """What stands in /proc/PID/stat, from the state on."""
    try:
        descriptor = os.open(f"{platform().proc_root}/{pid}/stat", os.O_RDONLY)
        try:
            content = os.read(descriptor, _STAT_BYTES)  # one line, which the kernel gives in one piece
        finally:
            os.close(descriptor)
    except OSError:
        return None
    # The command's name, in parentheses, may itself hold blanks and parentheses: fields count from the last one.
    return content[content.rindex(b")") + 2 :].decode("ascii").split()


def _build_birth(fields: list[str]) -> str:
    return f"{_read_boot_id()}:{fields[_START_TICKS - _STATE]}"


def _read_stat_elsewhere(pid: int) -> ProcessStat | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        started = process.create_time()
        stat = ProcessStat(pid=pid, birth=f"{started:.2f}", started=started, parent_pid=process.ppid())
    except psutil.Error:
        return None
    if sys.platform == "win32":
        return stat
    try:
        return dataclasses.replace(stat, group_id=os.getpgid(pid), session_id=os.getsid(pid))
    except OSError:
        return None


def read_pids() -> tuple[int, ...]:
    """Every process id in use now, in ascending order."""
    if _ON_LINUX:
        return tuple(sorted(int(entry.name) for entry in os.scandir(platform().proc_root) if entry.name.isdigit()))
    return tuple(sorted(psutil.pids()))


def read_argv(pid: int) -> tuple[str, ...]:
    """A process's argument list; empty for one that has ended and for the kernel's own.

    Raises:
        PermissionError: It may not be looked at.
    """
    if _ON_LINUX:
        return _split(_read(pid, "cmdline"))
    try:
        return tuple(psutil.Process(pid).cmdline())
    except psutil.AccessDenied as error:
        raise PermissionError(str(error)) from error
    except psutil.Error:
        return ()


def read_environ(pid: int) -> dict[str, str]:
    """A process's environment as it was at its start; empty for one that has ended.

    Raises:
        PermissionError: It may not be looked at: another user's process.
    """
    if _ON_LINUX:
        return _parse_environ(_read(pid, "environ"))
    try:
        return dict(psutil.Process(pid).environ())
    except psutil.AccessDenied as error:
        raise PermissionError(str(error)) from error
    except psutil.Error:
        return {}


def has_variable(pid: int, name: str, value: str) -> bool:
    """Whether a process has this variable with this value in the environment of its start; false once it has ended.

    Cheap for the many that have not: meant to be asked of every process.

    Raises:
        PermissionError: It may not be looked at: another user's process.
    """
    if not _ON_LINUX:
        return read_environ(pid).get(name) == value
    content = _read(pid, "environ")
    return os.fsencode(f"{name}={value}") in content and _parse_environ(content).get(name) == value


def read_cwd(pid: int) -> Path | None:
    """A process's working folder, links resolved; None for one that has ended.

    Raises:
        PermissionError: It may not be looked at: another user's process.
    """
    if _ON_LINUX:
        return _read_link(pid, "cwd")
    try:
        return Path(os.path.realpath(psutil.Process(pid).cwd()))
    except psutil.AccessDenied as error:
        raise PermissionError(str(error)) from error
    except psutil.Error:
        return None


def read_standard_output(pid: int) -> Path | None:
    """The file a process's standard output goes to; None if that is no file, or is unknown here."""
    try:
        return _read_link(pid, "fd/1") if _ON_LINUX else None
    except PermissionError:
        return None


def writes_to(pid: int, is_meant: Callable[[Path], bool]) -> bool:
    """Whether a process's standard output or standard error goes to a certain file.

    A descriptor that is open for reading only does not count. False where that is unknown: the process has ended or may
    not be looked at, or this is no Linux.

    Args:
        pid: The process.
        is_meant: Whether that is the file; asked with its last name, also after it was deleted.
    """
    if not _ON_LINUX:
        return False
    for descriptor in _OUTPUTS:
        with contextlib.suppress(PermissionError):
            target = _read_link_text(pid, f"fd/{descriptor}")
            if target is None or not target.startswith("/"):
                continue
            if is_meant(Path(target.removesuffix(_DELETED))) and _is_open_for_writing(pid, descriptor):
                return True
    return False


def read_user_ids(pid: int) -> frozenset[int] | None:
    """The users that a process acts as (real, effective, saved); None if it has ended or there are no such ids."""
    if not _ON_LINUX:
        return None
    for line in _read_content(pid, "status").split(b"\n"):
        if line.startswith(b"Uid:"):
            return frozenset(int(word) for word in line.split()[1:4])
    return None


def read_user_name(pid: int) -> str:
    """The user whose process it is, by name where there is one; empty if it has ended."""
    try:
        return psutil.Process(pid).username()
    except psutil.Error:
        return ""


def read_control_group(pid: int) -> str:
    """The control group of a process as systemd names it, `/system.slice/NAME.service`; empty if there is none."""
    if not _ON_LINUX:
        return ""
    groups = {}
    for line in _read_content(pid, "cgroup").split(b"\n"):
        hierarchy, _, rest = os.fsdecode(line).partition(":")
        controllers, _, path = rest.partition(":")
        groups[controllers if hierarchy != "0" else ""] = path
    # With the older hierarchies beside the unified one, systemd keeps its own tree under its name.
    return groups.get("name=systemd") or groups.get("") or ""


def read_parent_pid(pid: int) -> int | None:
    """The process that a process belongs to now; None if it has ended."""
    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return None


def read_session_id(pid: int) -> int | None:
    """The session a process is in, which is the pid of its leader; None if it has ended or there are no sessions."""
    if sys.platform == "win32":
        return None
    try:
        return platform().read_session_id(pid)
    except OSError:
        return None


def is_in_a_container(pid: int) -> bool:
    """Whether a process has a pid of its own in some inner process namespace, as those in containers have."""
    if not _ON_LINUX:
        return False
    try:
        for line in _read(pid, "status").split(b"\n"):
            if line.startswith(b"NSpid:"):
                return len(line.split()) > 2  # noqa: PLR2004 - the word itself and one pid: ours
    except PermissionError:
        pass
    return False


def _read(pid: int, name: str) -> bytes:
    content = _read_content(pid, name)
    if content:
        return content
    thread = _find_working_thread(pid)
    return b"" if thread is None else _read_content(pid, f"task/{thread}/{name}")


def _read_content(pid: int, name: str) -> bytes:
    try:
        return _read_file(f"{platform().proc_root}/{pid}/{name}")
    except PermissionError:
        raise
    except OSError:
        return b""  # ended: ENOENT before it was opened, ESRCH after


def _read_file(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(descriptor, _READ_BYTES):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _read_link(pid: int, name: str) -> Path | None:
    target = _read_link_text(pid, name)
    return None if target is None else Path(target)


def _read_link_text(pid: int, name: str) -> str | None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return _read_one_link(pid, name)
    thread = _find_working_thread(pid)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return None if thread is None else _read_one_link(pid, f"task/{thread}/{name}")
    return None


def _read_one_link(pid: int, name: str) -> str | None:
    try:
        return os.readlink(f"{platform().proc_root}/{pid}/{name}")  # noqa: PTH115 - a `Path` for each costs more than reading it
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        raise
    except OSError:
        return None


def _find_working_thread(pid: int) -> int | None:
    """A thread that works on in a process whose main thread has ended; None for every other process."""
    fields = _read_stat_fields(pid)
    if fields is None or fields[0] != "Z":
        return None
    try:
        threads = [
            int(entry.name) for entry in os.scandir(f"{platform().proc_root}/{pid}/task") if entry.name != str(pid)
        ]
        return max(threads, default=None)
    except (OSError, ValueError):
        return None


def _is_open_for_writing(pid: int, descriptor: int) -> bool:
    for line in _read(pid, f"fdinfo/{descriptor}").split(b"\n"):
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def _parse_environ(content: bytes) -> dict[str, str]:
    pairs = (item.partition("=") for item in _split(content))
    return {name: value for name, sign, value in pairs if sign}


def _split(content: bytes) -> tuple[str, ...]:
    # Each item ends in a NUL, so the last one is followed by nothing. An empty argument in between counts.
    return tuple(os.fsdecode(item) for item in content.removesuffix(b"\0").split(b"\0")) if content else ()
