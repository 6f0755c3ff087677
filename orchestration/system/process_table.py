"""The door for looking at processes that somebody else may have started: their arguments, folder, environment.

Only looks. What has ended while it was looked at reads as nothing; what may not be looked at raises `PermissionError`,
for "no" and "cannot tell" are different answers to "does it run?".
"""

import os
import sys
from pathlib import Path

import psutil

_PROC = Path("/proc")
_ON_LINUX: bool = sys.platform == "linux"


def read_pids() -> tuple[int, ...]:
    """Every process id in use now, in ascending order."""
    if _ON_LINUX:
        return tuple(sorted(int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit()))
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
        pairs = (item.partition("=") for item in _split(_read(pid, "environ")))
        return {name: value for name, sign, value in pairs if sign}
    try:
        return dict(psutil.Process(pid).environ())
    except psutil.AccessDenied as error:
        raise PermissionError(str(error)) from error
    except psutil.Error:
        return {}


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
    """The file a process's standard output goes to; None if that is no file, or cannot be told here."""
    try:
        return _read_link(pid, "fd/1") if _ON_LINUX else None
    except PermissionError:
        return None


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
        return os.getsid(pid)
    except OSError:
        return None


def read_ancestors(pid: int) -> frozenset[int]:
    """The process itself and everything above it."""
    line = {pid}
    above = read_parent_pid(pid)
    while above and above not in line:
        line.add(above)
        above = read_parent_pid(above)
    return frozenset(line)


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
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except PermissionError:
        raise
    except OSError:
        return b""  # ended: ENOENT before it was opened, ESRCH after


def _read_link(pid: int, name: str) -> Path | None:
    try:
        return Path(os.readlink(_PROC / str(pid) / name))  # noqa: PTH115 - Path.readlink is the same call
    except PermissionError:
        raise
    except OSError:
        return None


def _split(content: bytes) -> tuple[str, ...]:
    # Each item ends in a NUL, so the last one is followed by nothing. An empty argument in between counts.
    return tuple(os.fsdecode(item) for item in content.removesuffix(b"\0").split(b"\0")) if content else ()
