"""The checks of preflight that are about other instances: settings files, state folders, gateways. Read-only."""

import os
from collections.abc import Iterator
from pathlib import Path

from orchestration.bot.find import BotPresence
from orchestration.errors import Check, FailureWord, StepStatus
from orchestration.gateway.api_status import MOST_CLIENTS
from orchestration.gateway.drift import IN_ENVIRONMENT
from orchestration.gateway.history import GatewayUser
from orchestration.preflight.instances import (
    AGREE,
    Sign,
    build_sign,
    find_conflict,
    find_instances,
    find_user,
    is_same_gateway,
    read_other_signs,
    read_own_sign,
    read_settings_files,
)
from orchestration.settings import GatewayRuntime, Settings
from orchestration.state_dir import supervisor_lock_path
from orchestration.system.files import is_folder_there, is_there
from orchestration.system.lock import read_lock_holder
from orchestration.system.platform import platform

_NAME = "other instances"
# What the container is made from: the instance that makes it makes it for all. Another trading mode is a contradiction.
_MADE_WITH = (
    *(name.lower() for name in IN_ENVIRONMENT if name != "TRADING_MODE"),
    *("tws_password", "gateway_image", "gateway_memory_limit", "docker_compose_dir"),
)


def check_instances(settings: Settings, presence: BotPresence, *, replaces_bot: bool = False) -> Iterator[Check]:
    """Is this instance the only one with its name and folder, and does it agree with those who share its gateway?"""
    mine = build_sign(settings)
    yield from _check_settings_file(settings, mine)
    yield from _check_owner(settings, mine, presence, replaces_bot=replaces_bot)
    loaded = [
        one for one in find_instances(settings.environ, settings.project_dir) if one.state_dir != settings.state_dir
    ]
    signs = {sign.state_dir: sign for sign in read_other_signs(settings)}
    of_now = {sign.state_dir: sign for sign in map(build_sign, loaded)}
    # Each look goes through all processes: only where the answer matters. A host may have known a hundred instances.
    at_stake = {sign.state_dir for sign in (*signs.values(), *of_now.values()) if is_same_gateway(mine, sign)}
    looked = {name: find_user(sign, own=presence) for name, sign in signs.items() if name in at_stake}
    users = {state_dir: user for state_dir, user in looked.items() if user is not None}
    # What is at work is what it signed up as; of the others the settings of now count.
    known = signs | {state_dir: sign for state_dir, sign in of_now.items() if state_dir not in users}
    known.pop(mine.state_dir, None)
    conflicts = [(other, conflict) for other in known.values() if (conflict := find_conflict(mine, other))]
    yield from (_build_conflict(conflict, users.get(other.state_dir)) for other, conflict in conflicts)
    sharers = [other for other in known.values() if is_same_gateway(mine, other) and not find_conflict(mine, other)]
    yield from _check_sharers(settings, mine, sharers, loaded)


def _check_settings_file(settings: Settings, mine: Sign) -> Iterator[Check]:
    path = Path(settings.environ.get("ENV_FILE", "").strip())
    named = path.name.removeprefix(".env.")
    if named not in {path.name, settings.instance} and settings.instance == "default":
        yield Check(
            name="instance",
            status=StepStatus.WARN,
            detail=f"{path.name} names no INSTANCE: state, lock and bot are those of every other file that names none",
            fix=f"If it is a system of its own, write INSTANCE={named} into it.",
        )
    twins = [
        str(path)
        for path, instance in read_settings_files(settings.project_dir)
        if instance == settings.instance and os.path.realpath(path) != mine.env_file
    ]
    if twins:
        yield Check(
            name="instance",
            status=StepStatus.WARN,
            detail=f"{', '.join(twins)} also says INSTANCE={settings.instance}: the same system, with other settings",
            fix="Give each system an INSTANCE of its own; take the line out of a file that is only a copy.",
        )


def _check_owner(settings: Settings, mine: Sign, presence: BotPresence, *, replaces_bot: bool) -> Iterator[Check]:
    """Was this state folder last used with another settings file, and does that system still run?"""
    last = read_own_sign(settings)
    if last is None or not last.env_file or not mine.env_file or last.env_file == mine.env_file:
        return
    holder = read_lock_holder(supervisor_lock_path(settings.state_dir))
    is_watched = holder is not None and holder.pid not in {None, platform().own_pid()}
    is_at_work = presence.is_found or is_watched
    how = "runs" if is_at_work else "was started last"
    yield Check(
        name="instance",
        status=StepStatus.FAIL if is_at_work and not replaces_bot else StepStatus.WARN,
        detail=f"INSTANCE: {settings.instance} {how} with {last.env_file}, and this is {mine.env_file}",
        fix="Give this one an INSTANCE of its own; if it is the same system, `inv shutdown` first.",
        failure=FailureWord.CONFIG_INVALID if is_at_work and not replaces_bot else None,
    )


def _build_conflict(conflict: str, user: GatewayUser | None) -> Check:
    return Check(
        name=_NAME,
        status=StepStatus.FAIL if user else StepStatus.WARN,
        detail=f"{conflict}; {user.detail} is at work" if user else f"{conflict}; they cannot run at the same time",
        fix=AGREE,
        failure=FailureWord.CONFIG_INVALID if user else None,
    )


def _check_sharers(settings: Settings, mine: Sign, sharers: list[Sign], loaded: list[Settings]) -> Iterator[Check]:
    if not sharers:
        return
    gateway = mine.container or f"the gateway at port {mine.port}"
    names = ", ".join(sorted(sign.instance for sign in sharers))
    if not _is_writable(settings.gateway_shared_dir):
        yield Check(
            name=_NAME,
            status=StepStatus.WARN,
            detail=f"{gateway} is shared with {names}, but GATEWAY_SHARED_DIR: {settings.gateway_shared_dir} cannot be "
            "written, so what the other instances do to it is unknown",
            fix="Let this user write there, or set GATEWAY_SHARED_DIR to one folder for all of them.",
        )
        return
    differing = _find_differing(settings, mine, loaded)
    if differing:
        yield Check(
            name=_NAME,
            status=StepStatus.WARN,
            detail=f"{gateway} is made by whichever instance starts first, and they differ: {'; '.join(differing)}",
            fix="Give all of them the same values.",
        )
    elif len(sharers) + 1 > MOST_CLIENTS - 2:
        yield Check(
            name=_NAME,
            status=StepStatus.WARN,
            detail=f"{gateway} is shared by {len(sharers) + 1} instances, and takes {MOST_CLIENTS} clients",
            fix="Give some of them a second gateway.",
        )
    else:
        yield Check(name=_NAME, status=StepStatus.OK, detail=f"{gateway} is shared with {names}")


def _find_differing(settings: Settings, mine: Sign, loaded: list[Settings]) -> list[str]:
    """Which settings of the container differ, by name only: some are secrets."""
    if settings.gateway_runtime is not GatewayRuntime.DOCKER:
        return []
    found = []
    for other in loaded:
        if build_sign(other).container == mine.container and is_same_gateway(mine, build_sign(other)):
            names = [name.upper() for name in _MADE_WITH if getattr(other, name) != getattr(settings, name)]
            found += [f"{', '.join(names)} of instance {other.instance}"] if names else []
    return found


def _is_writable(folder: Path) -> bool:
    while not is_there(folder) and folder != folder.parent:
        folder = folder.parent
    return is_folder_there(folder) and os.access(folder, os.W_OK | os.X_OK)
