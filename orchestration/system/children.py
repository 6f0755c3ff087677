"""The door for children: which processes this one started itself, and which ones it became the parent of.

A daemon that forks twice, makes a session of its own and drops its environment has cut every tie to its parent.
Linux still hands it to its nearest living ancestor that asked for that (a subreaper), instead of to the init process.
"""

import collections
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from orchestration.system.platform import platform

if TYPE_CHECKING:
    from orchestration.system.process_table import ProcessStat


class HasPid(Protocol):
    """A child process, as far as it matters here."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...


_ChildT = TypeVar("_ChildT", bound=HasPid)
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_SESSIONS_KEPT = 4096

_guard = threading.Lock()
_own: set[int] = set()
# Of programs that have ended, too: what one of them left running is no stranger either.
_own_sessions: collections.deque[int] = collections.deque(maxlen=_SESSIONS_KEPT)
_adopts_for: set[str] = set()


def start_child(start: Callable[[], _ChildT]) -> _ChildT:
    """Start a child of this process, in a session of its own, so that it is known to be our own.

    Args:
        start: Starts it, and returns once its program was executed.
    """
    with _guard:
        child = start()
        _own.add(child.pid)
        _own_sessions.append(child.pid)
    return child


def become_subreaper(owner: str) -> None:
    """From now on become the parent of what our children leave behind.

    It holds for the rest of this process's life, and is not inherited. Elsewhere than on Linux, or where it is not
    permitted, nothing changes.

    Args:
        owner: What those children belong to, for `read_adopted_pids`.
    """
    if sys.platform != "linux" or owner in _adopts_for or platform().is_simulated:
        return
    import ctypes

    from orchestration.system.process_table import read_children

    with _guard, contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
            # What this process has for children now came with it (a shell's, that became this program).
            _own.update(read_children(os.getpid())[0])
            _adopts_for.add(owner)


def read_adopted_pids(owner: str, table: "Mapping[int, ProcessStat]") -> tuple[int, ...]:
    """The living children of this process that neither it nor a program that it ran has started.

    Those that have ended are collected. Empty unless this process became a subreaper for this owner.

    Args:
        owner: As for `become_subreaper`.
        table: The process table, as it was read for this look.
    """
    if sys.platform != "linux" or owner not in _adopts_for:
        return ()
    from orchestration.system.process_table import is_child, read_children

    with _guard:
        if _has_ended_children():  # the table does not have those
            children, ended = read_children(os.getpid())
        else:
            children = {pid: stat for pid, stat in table.items() if stat.parent_pid == os.getpid()}
            ended = frozenset()
        # One of our own that ends now stays: whoever started it collects it.
        _own.intersection_update([pid for pid in _own if pid in children or is_child(pid, os.getpid())])
        own_sessions = {os.getsid(0), *_own_sessions}
        for pid in ended - _own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return tuple(
            sorted(pid for pid, stat in children.items() if pid not in _own and stat.session_id not in own_sessions)
        )


def _has_ended_children() -> bool:
    """Whether a child of this process has ended and was not collected yet. Collects none."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False
