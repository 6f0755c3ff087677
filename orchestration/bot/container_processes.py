"""The processes of the bot's container, as this host's kernel shows them.

Not every engine runs on this host's kernel in a way that shows them here (Docker Desktop does not): then they have no
process id here, and nothing can be said about one.
"""

import os
import sys
from pathlib import Path

from orchestration.bot.notify import PeerCredentials
from orchestration.system.process_table import read_pids

_PROC = Path("/proc")


def is_in_container(pid: int, container_id: str) -> bool | None:
    """Whether a process belongs to a container, by its control group; None if it has ended or cannot be seen here.

    The engine names the control group after the container, whatever the group's version and driver are.
    """
    if pid <= 0 or not container_id:
        return None
    try:
        groups = (_PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return any(container_id in line.rpartition(":")[2] for line in groups.splitlines())


def read_container_pids(container_id: str) -> tuple[int, ...]:
    """The processes of a container; none where they cannot be seen here."""
    return tuple(pid for pid in read_pids() if is_in_container(pid, container_id))


def speaks_for_container(sender: PeerCredentials, container_id: str) -> bool:
    """Whether the sender of a notification is a process of this container.

    Of a sender that has ended already, or has no process id here, only the user is known. Where we are an ordinary
    user, the container runs as this user, and no other user can reach its socket: such a sender is believed. Where
    we are root, the container's user is any user's number on this host: such a sender is not.
    """
    inside = is_in_container(sender.pid, container_id)
    if inside is not None:
        return inside
    return sys.platform != "win32" and os.geteuid() != 0 and sender.uid == os.geteuid()
