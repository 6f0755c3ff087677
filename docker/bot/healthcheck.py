"""Says whether what runs in this container is well, by its exit code.

    healthcheck.py            0 if something here holds a connection to the gateway (GATEWAY_PORT), else 1
    healthcheck.py LOCKFILE   0 if this lock is held, else 1

Runs on the standard library alone, several times a minute.
"""

import fcntl
import os
import sys
from pathlib import Path

_ESTABLISHED = "01"


def find_connection(port: int) -> str:
    """Look at the kernel's own tables: asking the gateway itself would take one of its 32 clients each time."""
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        lines = path.read_text(encoding="ascii").splitlines()[1:] if path.exists() else []
        for line in lines:
            _, _, remote, state, *_ = line.split()
            if state == _ESTABLISHED and int(remote.rpartition(":")[2], 16) == port:
                return f"connected to the gateway's port {port}"
    return ""


def find_holder(path: Path) -> str:
    """Try to take the lock: a file's existence proves nothing."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"{path.name} is held"
    except OSError:
        return ""
    return ""


def main() -> int:
    """Look once, and say what was seen."""
    if len(sys.argv) > 1:
        well, else_said = find_holder(Path(sys.argv[1])), f"{sys.argv[1]} is not held"
    else:
        port = int(os.environ.get("GATEWAY_PORT", "4004"))
        well, else_said = find_connection(port), f"no connection to the gateway's port {port}"
    sys.stdout.write(f"{well or else_said}\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
