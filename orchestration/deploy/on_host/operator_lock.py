"""The operator's lock: while it stands, no deploy and no rollback begins. It stays until `fab unlock`."""

import contextlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host.base import Layout, read_json, refuse
from orchestration.system.files import write_atomic

_MODE = 0o640


def read_lock(layout: Layout) -> dict[str, Any]:
    """Who locked it, since when and why; empty where it is not locked.

    A file that cannot be read locks, too: it was put there for a reason.
    """
    if not layout.operator_lock.exists():
        return {}
    return read_json(layout.operator_lock) or {"by": "unknown", "since": "unknown", "message": "it cannot be read"}


def put_lock(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Lock it, unless it is locked already. As the service's user."""
    layout = Layout(Path(arguments["base"]))
    found = read_lock(layout)
    if found:
        refuse(
            f"it is locked already by {found.get('by')} since {found.get('since')}: {found.get('message')}",
            "Ask them, or take it away: fab -H HOST unlock",
        )
    since = datetime.now(tz=timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 - also on Python 3.10
    lock = {"by": str(arguments["by"]), "since": since, "message": str(arguments["message"])}
    write_atomic(layout.operator_lock, json.dumps(lock).encode() + b"\n", mode=_MODE)
    return {"lock": lock}


def remove_lock(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Take the lock away; says which one it was, empty for none. As the service's user."""
    layout = Layout(Path(arguments["base"]))
    found = read_lock(layout)
    with contextlib.suppress(FileNotFoundError):
        layout.operator_lock.unlink()
    return {"lock": found}
