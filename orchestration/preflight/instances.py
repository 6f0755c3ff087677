"""The instances of this machine: which there are, which of them use one gateway, and whether they can.

Who uses a gateway signs up in `GATEWAY_SHARED_DIR`, whatever its checkout or state folder is. That says only where to
look: whether an instance is at work now is seen from its locks and its bot.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.bot.find import BotPresence, FoundBy, find_bot
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.history import GatewayUser
from orchestration.gateway.record import RECORD_NAME, GatewayRecord
from orchestration.gateway.runtime import FindUsers
from orchestration.gateway.shared_state import name_engine
from orchestration.settings import GatewayRuntime, Settings, find_env_file
from orchestration.settings.hosts import normalize_host
from orchestration.settings.sources import build_instance_file, read_env_file
from orchestration.settings.variables import known_names
from orchestration.state_dir import journal_path, read_fields, startup_lock_path, supervisor_lock_path
from orchestration.system.files import is_file_there, is_folder_there, read_regular, write_atomic
from orchestration.system.lock import read_lock_holder

_MAX_SIGN_BYTES = 64 * 1024
_READABLE = 0o644  # no secret; what root wrote under sudo its owner must be able to read
# A run of these takes an instance down: it uses the gateway no longer, though its lock is held.
_TAKES_DOWN = frozenset({"shutdown", "hold", "bot.stop", "gateway.down", "gateway.restart"})
_INSTANCE, _DEFAULT = "INSTANCE", "default"
_OF_ALL = frozenset({"STATE_DIR", "LOG_DIR", "GATEWAY_SHARED_DIR"})
AGREE = "Give them the same GATEWAY_CONTAINER_NAME, GATEWAY_PORT and TRADING_MODE, or a gateway each."


@dataclass(frozen=True, kw_only=True)
class Sign:
    """How one instance uses a gateway, as it signed up.

    Attributes:
        instance: Its name.
        state_dir: Its state folder, by its real path: this tells instances apart.
        project_dir: Its checkout.
        env_file: Its settings file; empty where it has none.
        runtime: Who runs the gateway.
        host: The host of the gateway's API.
        port: The port of the gateway's API.
        container: The gateway's container; empty where there is none, or its name is not known.
        engine: On which Docker engine (`shared_state.name_engine`).
        trading_mode: `paper` or `live`.
    """

    instance: str
    state_dir: str
    project_dir: str
    env_file: str
    runtime: str
    host: str
    port: int
    container: str
    engine: str
    trading_mode: str

    @property
    def shown(self) -> str:
        """The instance, for people."""
        return f"instance {self.instance} ({self.env_file or self.project_dir})"


def build_sign(settings: Settings, record: GatewayRecord | None = None) -> Sign:
    """How these settings use a gateway.

    Args:
        settings: The configuration.
        record: The gateway that is really used; else it is what the settings name.
    """
    runtime = record.runtime if record else settings.gateway_runtime
    # In a folder of the operator's the container is called what Compose calls it, unless a setting says otherwise.
    is_named = not settings.has_own_compose_folder or settings.is_set("GATEWAY_CONTAINER_NAME")
    container = settings.gateway_container_name if runtime is GatewayRuntime.DOCKER and is_named else ""
    env_file = find_env_file(settings.environ, settings.project_dir)
    return Sign(
        instance=settings.instance,
        state_dir=os.path.realpath(settings.state_dir),
        project_dir=str(settings.project_dir),
        env_file="" if env_file is None else os.path.realpath(env_file),
        runtime=runtime.value,
        host=record.host if record else settings.gateway_host,
        port=record.port if record else settings.gateway_port,
        container=record.container if record else container,
        engine=name_engine(settings),
        trading_mode=settings.trading_mode.value,
    )


def sign_up(settings: Settings, record: GatewayRecord) -> None:
    """Let the others know where to look before they touch this gateway.

    Raises:
        OSError: It could not be written.
    """
    sign = build_sign(settings, record)
    content = json.dumps(dataclasses.asdict(sign), indent=2).encode() + b"\n"
    path = _build_sign_path(settings, sign.state_dir)
    with contextlib.suppress(OSError):
        if read_regular(path, max_bytes=_MAX_SIGN_BYTES) == content:
            return
    write_atomic(path, content, mode=_READABLE)


def read_own_sign(settings: Settings) -> Sign | None:
    """How this state folder's instance signed up last."""
    return _read_sign(_build_sign_path(settings, os.path.realpath(settings.state_dir)))


def read_other_signs(settings: Settings) -> tuple[Sign, ...]:
    """Everybody else's, as far as their state folders are still there."""
    own = os.path.realpath(settings.state_dir)
    try:
        paths = sorted((settings.gateway_shared_dir / "instances").glob("*.json"))
    except OSError:
        return ()
    found = (_read_sign(path) for path in paths)
    return tuple(
        sign for sign in found if sign is not None and sign.state_dir != own and is_folder_there(Path(sign.state_dir))
    )


def build_find_users(settings: Settings) -> FindUsers:
    """What finds the other instances that use a gateway."""

    def find_users(record: GatewayRecord) -> tuple[GatewayUser, ...]:
        mine = build_sign(settings, record)
        own = find_bot(settings)
        users = (find_user(sign, own=own) for sign in read_other_signs(settings) if is_same_gateway(mine, sign))
        return tuple(user for user in users if user is not None)

    return find_users


def is_same_gateway(one: Sign, other: Sign) -> bool:
    """Whether two instances use one gateway: by its container, or by where its API is."""
    has_same_container = bool(one.container) and (one.container, one.engine) == (other.container, other.engine)
    return has_same_container or has_same_address(one, other)


def has_same_address(one: Sign, other: Sign) -> bool:
    """Whether two instances look for their gateways in the same place."""
    return one.port == other.port and normalize_host(one.host) == normalize_host(other.host)


def find_user(sign: Sign, *, own: BotPresence) -> GatewayUser | None:
    """What of an instance is at work now, or None if nothing is.

    Args:
        sign: Its sign.
        own: The look at the caller's own bot. Where a state folder was moved, the one left behind has a sign still, and
            the same command, folder and marker find that bot for it, too.
    """
    state_dir = Path(sign.state_dir)
    presence = find_bot(load_other(sign))
    if presence.is_found and not _is_own(presence, own):
        detail = f"the bot of instance {sign.instance}, {presence.who}"
        return GatewayUser(instance=sign.instance, detail=detail, has_bot=True)
    if presence.is_unknown:
        detail = f"perhaps the bot of instance {sign.instance}: {presence.detail}"
        return GatewayUser(instance=sign.instance, detail=detail, has_bot=True)
    for lock_path in (supervisor_lock_path, startup_lock_path):
        holder = read_lock_holder(lock_path(state_dir))
        if holder is not None and holder.purpose not in _TAKES_DOWN:
            return GatewayUser(instance=sign.instance, detail=f"instance {sign.instance}: {holder}", has_bot=False)
    return None


def _is_own(found: BotPresence, own: BotPresence) -> bool:
    """Whether a bot that no record of the other's names is the one that the caller's record names."""
    if not own.is_found or own.how is FoundBy.BY_COMMAND or found.how is not FoundBy.BY_COMMAND:
        return False
    return found.identity == own.identity


def load_other(sign: Sign) -> Settings:
    """The configuration of an instance that signed up, as far as its files say it; wrong values are defaults here."""
    environ = {_INSTANCE: sign.instance, "PATH": os.defpath}
    if sign.env_file:
        environ["ENV_FILE"] = sign.env_file
    settings = _load(environ, Path(sign.project_dir))
    return dataclasses.replace(settings, state_dir=Path(sign.state_dir))


def find_conflict(mine: Sign, other: Sign) -> str:
    """Why these two cannot both run; empty where they can."""
    if mine.state_dir == other.state_dir:
        return ""
    has_same_container = bool(mine.container) and (mine.container, mine.engine) == (other.container, other.engine)
    if has_same_container and not has_same_address(mine, other):
        return (
            f"instance {mine.instance} and {other.shown} use one container, {mine.container}, but look for it in two "
            f"places: {mine.host}:{mine.port} and {other.host}:{other.port}"
        )
    if not has_same_address(mine, other):
        return ""
    if mine.trading_mode != other.trading_mode:
        return (
            f"instance {mine.instance} is for {mine.trading_mode} trading and {other.shown} for {other.trading_mode} "
            f"trading, on one gateway at {mine.host}:{mine.port}"
        )
    runs_it = {sign.runtime for sign in (mine, other)} - {GatewayRuntime.EXTERNAL.value}
    containers = {sign.container for sign in (mine, other) if sign.container}
    if len(runs_it) > 1 or len(containers) > 1:
        names = " and ".join(sign.container or f"a {sign.runtime} gateway" for sign in (mine, other))
        return f"instance {mine.instance} and {other.shown} want {names} on one port, {mine.port}"
    return ""


def refuse_conflict(settings: Settings, record: GatewayRecord) -> None:
    """Another instance is at work with settings that contradict these: nothing is touched.

    Raises:
        StartupFailure: `CONFIG_INVALID`, naming both.
    """
    mine = build_sign(settings, record)
    for other in read_other_signs(settings):
        conflict = find_conflict(mine, other)
        user = find_user(other, own=find_bot(settings)) if conflict else None
        if user is not None:
            raise StartupFailure(
                FailureWord.CONFIG_INVALID,
                f"{conflict}; {user.detail} is at work",
                next_action=AGREE,
            )


def find_instances(environ: Mapping[str, str], project_dir: Path) -> tuple[Settings, ...]:
    """Every instance that is known in this checkout, sorted by name: by settings files, state folders and signs.

    Args:
        environ: The environment; which instance it names does not matter, but that one is among them.
        project_dir: The checkout.
    """
    mine = _load(environ, project_dir)
    # What this shell says of its own instance is not so for the others; where all of them live is.
    bare = {name: value for name, value in environ.items() if name in _OF_ALL or name not in known_names()}
    root = mine.state_dir if mine.instance == _DEFAULT else mine.state_dir.parent
    found = [mine] if environ.get(_INSTANCE) or environ.get("ENV_FILE") else []
    found += [_load({**bare, _INSTANCE: name}, project_dir) for name in _read_names(project_dir)]
    for sign in read_other_signs(dataclasses.replace(mine, state_dir=Path(os.devnull))):
        # One of an earlier release has its state here too, and a settings file that only it knows.
        if Path(sign.project_dir) == project_dir or Path(sign.state_dir).parent == root.resolve():
            found.append(load_other(dataclasses.replace(sign, project_dir=str(project_dir))))
    found += [_load({**bare, _INSTANCE: name}, project_dir) for name in _read_state_folders(root)]
    if is_file_there(project_dir / ".env") or _has_been_used(root):
        found.append(_load(bare, project_dir) if found and found[0] is mine else mine)
    if not found:
        found.append(mine)
    by_state = {os.path.realpath(settings.state_dir): settings for settings in reversed(found)}
    return tuple(sorted(by_state.values(), key=lambda one: (one.instance != _DEFAULT, one.instance)))


def _load(environ: Mapping[str, str], project_dir: Path) -> Settings:
    path = find_env_file(environ, project_dir)
    dotenv = read_env_file(path, []) if path is not None else {}
    return Settings.from_environ(environ, dotenv=dotenv, project_dir=project_dir, lenient=True)


def read_settings_files(project_dir: Path) -> tuple[tuple[Path, str], ...]:
    """The settings files in a checkout that name an instance, and which one."""
    paths = [project_dir / ".env", *sorted(project_dir.glob(".env.*"))]
    named = ((path, read_env_file(path, []).get(_INSTANCE, "").strip()) for path in paths if is_file_there(path))
    return tuple((path, instance) for path, instance in named if instance)


def _read_names(project_dir: Path) -> list[str]:
    """Instances that have a settings file of their own: `.env.NAME` that says `INSTANCE=NAME`."""
    files = read_settings_files(project_dir)
    return [instance for path, instance in files if build_instance_file(instance, project_dir) == path]


def _read_state_folders(root: Path) -> list[str]:
    try:
        return sorted(path.name for path in root.iterdir() if is_folder_there(path) and _has_been_used(path))
    except OSError:
        return []


def _has_been_used(state_dir: Path) -> bool:
    return is_file_there(journal_path(state_dir)) or is_file_there(state_dir / RECORD_NAME)


def _build_sign_path(settings: Settings, state_dir: str) -> Path:
    name = hashlib.sha256(state_dir.encode(errors="surrogateescape")).hexdigest()[:20]
    return settings.gateway_shared_dir / "instances" / f"{name}.json"


def _read_sign(path: Path) -> Sign | None:
    try:
        fields = read_fields(path)
        known: dict[str, Any] = {one.name: str(fields[one.name]) for one in dataclasses.fields(Sign)}
        return Sign(**{**known, "port": int(known["port"])})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
