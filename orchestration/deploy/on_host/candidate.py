"""A release on trial while the old one still runs: its settings, its code, its own preflight, its unit.

All that can be found bad here leaves the running system as it is. It also has the release's code read from the disk
before the bot is stopped, not after.
"""

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host.base import Ended, Layout, RefusedError, refuse, run
from orchestration.deploy.on_host.bot_trial import check_bot
from orchestration.deploy.on_host.service import Place, check_settings, inv, read_place, read_unit, release_python

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
# What a preflight finds while this instance's own system runs on; see `_find_foreign`.
_OWN_SYSTEM = {"BOT_ALREADY_RUNNING", "ALREADY_STARTING"}
_OWN_SYSTEM_CHECK = "instance"
_BY_COMMAND = "by_command"  # as `inv status` has it: by its command line alone
_AT_WORK = {"active", "activating", "reloading", "deactivating"}
_TIMEOUT_S = 120


def check_candidate(layout: Layout, release: Path, user: str, *, previous: str, env_file: Path | None) -> Place:
    """Check that a release can be activated. Stops nothing, and changes nothing but to make missing folders.

    Args:
        layout: Where things lie.
        release: The release's folder.
        user: The service's user.
        previous: The name of the current release; empty for none.
        env_file: The settings that come with it; None for the current ones.

    Raises:
        RefusedError: It cannot.
    """
    place = check_settings(release, user, env_file=env_file)
    _check_unit(layout, place, user, previous=previous)
    _ensure_folders(place, user)
    _check_code(release, user)
    check_bot(release, user, env_file=env_file)
    _check_preflight(place, release, user, env_file)
    if previous:
        _check_bot_of(layout.release(previous), place, user)
    _check_install(release, env_file)
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
            "Set INSTANCE in the settings to another name, or first remove the other one, there: "
            f"cd {shlex.quote(folder)} && sudo .venv/bin/inv uninstall",
        )


def _check_code(release: Path, user: str) -> None:
    loaded = run((release_python(release), "-c", _LOAD), user=user, cwd=release, timeout_s=_TIMEOUT_S)
    if not loaded.ok:
        refuse("the release's code cannot be loaded", "Correct it, commit, and deploy again.", loaded.last_lines())


def _ensure_folders(place: Place, user: str) -> None:
    """Make the instance's folders: the service cannot, for what is not there when it starts is read-only for it."""
    for folder in place.folders:
        made = run(("mkdir", "--parents", "--mode=700", folder), user=user)
        if not made.ok:
            refuse(
                f"{user} cannot make the folder {folder}",
                f"There: sudo install -d -o {user} -m 700 {shlex.quote(str(folder))}; or name another folder for it.",
                made.last_lines(),
            )


def _check_preflight(place: Place, release: Path, user: str, env_file: Path | None) -> None:
    ended = inv(release, "preflight", "--json", user=user, env_file=env_file)
    try:
        checks = json.loads(ended.out)["checks"]
        failed = [one for one in checks if one["status"] == "fail"]
        own = [one for one in failed if one["failure"] in _OWN_SYSTEM or one["name"] == _OWN_SYSTEM_CHECK]
        lines = [_describe(one) for one in failed if one not in own]
        words = {one["failure"] for one in own}
        if own and (foreign := _find_foreign(place, words, release, user, env_file)):
            lines += [*map(_describe, own), foreign]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"the release's preflight ended with {ended.code} and no result",
            next_action="Correct the code, commit, and deploy again.",
            evidence=ended.last_lines(),
        ) from error
    if lines:
        refuse("the release's own preflight says that it cannot start", "Correct what the lines name.", tuple(lines))


def _describe(check: Mapping[str, Any]) -> str:
    return f"{check['name']}: {check['detail']} {check['fix'] or ''}".rstrip()


def _find_foreign(place: Place, words: set[str], release: Path, user: str, env_file: Path | None) -> str:
    """Why what runs is not this instance's own system, which the switch stops or adopts; empty if it is.

    Its own is what its unit runs, and a bot that this program launched for this instance and that has no supervisor:
    the new release's service restarts that one. Everything else would go on, and keep the release from starting.

    Args:
        place: Where this instance's system lives.
        words: The failure words of preflight.
        release: The release's folder.
        user: The service's user.
        env_file: The settings that come with it; None for the current ones.
    """
    is_at_work = read_unit(place.unit).get("ActiveState") in _AT_WORK
    if "ALREADY_STARTING" in words and not is_at_work:
        return f"{place.unit} does not run, so another start is under way: wait for it, or `inv shutdown` there"
    bot = _read_bot(release, user, env_file)
    if bot["running"] is None:
        return f"it is unknown whether that is this instance's bot: {bot['detail']}"
    if bot["running"] and bot["supervised"] and not is_at_work:
        return f"{place.unit} does not run, and another supervisor watches the bot: `inv shutdown` there first"
    return _find_bot_by_hand(place, bot)


def _find_bot_by_hand(place: Place, bot: Mapping[str, Any]) -> str:
    if bot["running"] and bot["found_by"] == _BY_COMMAND and not _is_in_unit(int(bot["pid"]), place.unit):
        return f"the bot (process {bot['pid']}) was started by hand: `inv bot.stop` there first"
    return ""


def _read_bot(release: Path, user: str, env_file: Path | None = None) -> dict[str, Any]:
    return dict(json.loads(inv(release, "status", "--json", user=user, env_file=env_file).out)["bot"])


def _check_bot_of(previous: Path, place: Place, user: str) -> None:
    """See that no bot was started by hand in the old release's folder: the new one would not recognise it."""
    try:
        found = _find_bot_by_hand(place, _read_bot(previous, user))
    except (ValueError, KeyError, TypeError):
        return  # the current release may be what is broken
    if found:
        refuse(found, "A deploy stops only what its own boot service runs.")


def _is_in_unit(pid: int, unit: str) -> bool:
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True  # it has ended since
    return any(unit in line.rpartition(":")[2].split("/") for line in groups)


def _check_install(release: Path, env_file: Path | None) -> None:
    """Whatever would keep the boot service from being installed is found here, and not after the switch."""
    ended = inv(release, "install", "--target=linux", "--dry-run", "--json", env_file=env_file, timeout_s=_TIMEOUT_S)
    refuse_failed_install(ended)


def refuse_failed_install(ended: Ended) -> None:
    """Hand on why `inv install --json` failed, and what it says must be done.

    Raises:
        RefusedError: It did.
    """
    if ended.ok:
        return
    problem, action, evidence = "", "", ended.last_lines()
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads(ended.out)
        problem, action, evidence = found["problem"], found["next_action"], tuple(found.get("evidence", ()))
    refuse(
        f"the boot service cannot be installed: {problem or 'see the lines'}", action or "Look at the lines.", evidence
    )
