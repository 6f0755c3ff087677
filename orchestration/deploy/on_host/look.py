"""One look at the host: everything a deploy has to know before it begins. Changes nothing."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host.base import (
    FAILED_FILE,
    RELEASE_FILE,
    VERIFIED_FILE,
    Layout,
    read_json,
    run,
)
from orchestration.deploy.on_host.operator_lock import read_lock
from orchestration.deploy.on_host.room import read_available_memory
from orchestration.deploy.on_host.service import is_activation_under_way, read_place, read_status

_DOCKER_TIMEOUT_S = 20


def look(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """See `Facts` in `host.py` for what each key means.

    Args:
        arguments: `base`, `user`; `status` if the system itself is to be asked too.
    """
    layout, user = Layout(Path(arguments["base"])), str(arguments["user"])
    found: dict[str, Any] = {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "has_venv": _has_venv(),
        "has_systemd": Path("/run/systemd/system").is_dir(),
        "user": _read_user(user),
        "docker": "",
        "docker_problem": "",
        "free_bytes": _read_free_bytes(layout.base),
        "available_memory_bytes": read_available_memory(),
        "base_owner": _read_owner(layout.base),
        "current": layout.read_current(),
        "releases": read_releases(layout),
        "env_mode": _read_mode(layout.env),
        "activation": is_activation_under_way(),
        "hold": {},
        "locked": read_lock(layout),
        "status": None,
    }
    if found["user"]:
        shown = run(("docker", "version", "--format", "{{.Server.Version}}"), user=user, timeout_s=_DOCKER_TIMEOUT_S)
        found["docker" if shown.ok else "docker_problem"] = (
            shown.out.strip() if shown.ok else " ".join(shown.last_lines(1))
        )
    if found["current"] and found["user"]:
        found["files"] = read_json(layout.current / RELEASE_FILE).get("files", {})
        document = None
        if arguments.get("status"):
            found["status"] = read_status(layout, user)
            document = found["status"]["document"]
        if document is None or "hold" not in document:
            found["hold"] = read_json(read_place(layout.current, user).state_dir / "hold.json")
        else:
            found["hold"] = document["hold"] or {}
    return found


def read_releases(layout: Layout) -> list[dict[str, Any]]:
    """What lies in the folder of the releases, whole or not, the oldest first."""
    found = []
    for folder in sorted(layout.releases.iterdir()) if layout.releases.is_dir() else []:
        record = read_json(folder / RELEASE_FILE)
        found.append(
            {
                "name": folder.name,
                "commit": record.get("commit", ""),
                "gateway": record.get("gateway", ""),
                "complete": bool(record),
                "verified": (folder / VERIFIED_FILE).is_file(),
                "failed": (folder / FAILED_FILE).is_file(),
            }
        )
    return found


def _has_venv() -> bool:
    try:
        import ensurepip
        import venv
    except ImportError:
        return False
    return bool(ensurepip.version() and venv)


def _read_user(name: str) -> dict[str, Any]:
    import grp
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return {}
    groups = [grp.getgrgid(number).gr_name for number in os.getgrouplist(name, entry.pw_gid)]
    return {"uid": entry.pw_uid, "home": entry.pw_dir, "groups": groups}


def _read_owner(folder: Path) -> str:
    import pwd

    try:
        return pwd.getpwuid(folder.stat().st_uid).pw_name
    except (OSError, KeyError):
        return ""


def _read_mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return None


def _read_free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
