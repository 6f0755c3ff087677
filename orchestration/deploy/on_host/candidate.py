"""A release on trial while the old one still runs: its settings, its code, its own preflight, its unit.

All that can be found bad here leaves the running system as it is. It also has the release's code read from the disk
before the bot is stopped, not after.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host.base import Layout, RefusedError, refuse, run
from orchestration.deploy.on_host.service import PYTHON, Place, check_settings, inv, read_place, read_unit

# Every module of the release but the programs among them, which would run. It shows where one cannot be loaded.
_LOAD = """
import importlib, pkgutil, sys, traceback
import orchestration
for found in pkgutil.walk_packages(orchestration.__path__, "orchestration."):
    if found.name.rpartition(".")[2] != "__main__":
        try:
            importlib.import_module(found.name)
        except BaseException as error:
            frames = [one for one in traceback.extract_tb(error.__traceback__) if "importlib" not in one.filename]
            said = [*traceback.format_list(frames[1:]), *traceback.format_exception_only(error)]
            sys.exit("".join(said) + f"while {found.name} was loaded")
"""
# The old release runs, of course, and with other settings if some come along; `_check_unit` sees that it is ours.
_TOLERATED = {"BOT_ALREADY_RUNNING", "ALREADY_STARTING"}
_TOLERATED_CHECK = "instance"
_TIMEOUT_S = 120


def check_candidate(layout: Layout, release: Path, user: str, *, previous: str, env_file: Path | None) -> Place:
    """See that a release can be put in force. Changes nothing.

    Args:
        layout: Where things lie.
        release: The release's folder.
        user: The service's user.
        previous: The name of the release in force; empty for none.
        env_file: The settings that come with it; None for those in force.

    Raises:
        RefusedError: It cannot.
    """
    place = check_settings(release, user, env_file=env_file)
    _check_unit(layout, place, user, previous=previous)
    _check_code(release, user)
    _check_preflight(release, user, env_file)
    return place


def _check_unit(layout: Layout, place: Place, user: str, *, previous: str) -> None:
    """One base folder, one instance, one unit: another's unit is never stopped or written over."""
    if previous:
        before = read_place(layout.release(previous), user).unit
        if before != place.unit:
            refuse(
                f"the settings change INSTANCE: {before} would run on beside {place.unit}",
                "Give the other instance a folder of its own (--base), or leave INSTANCE as it is.",
            )
    unit = read_unit(place.unit)
    folder = unit.get("WorkingDirectory", "")
    if unit.get("LoadState") == "loaded" and folder and Path(folder) != layout.current:
        refuse(
            f"{place.unit} is another system's: it runs in {folder}",
            "Set INSTANCE in the settings to another name, or `inv uninstall` there first.",
        )


def _check_code(release: Path, user: str) -> None:
    loaded = run((release / PYTHON, "-c", _LOAD), user=user, cwd=release, timeout_s=_TIMEOUT_S)
    if not loaded.ok:
        refuse("the release's code cannot be loaded", "Correct it, commit, and deploy again.", loaded.last_lines())


def _check_preflight(release: Path, user: str, env_file: Path | None) -> None:
    ended = inv(release, "preflight", "--json", user=user, env_file=env_file)
    try:
        checks = json.loads(ended.out)["checks"]
        failed = [one for one in checks if one["status"] == "fail" and not _is_tolerated(one)]
        lines = tuple(f"{one['name']}: {one['detail']} {one['fix'] or ''}".rstrip() for one in failed)
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"the release's preflight ended with {ended.code} and no result",
            next_action="Correct the code, commit, and deploy again.",
            evidence=ended.last_lines(),
        ) from error
    if failed:
        refuse("the release's own preflight says that it cannot start", "Mend what the lines name.", lines)


def _is_tolerated(check: Mapping[str, Any]) -> bool:
    return check["failure"] in _TOLERATED or check["name"] == _TOLERATED_CHECK
