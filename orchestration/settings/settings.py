"""`Settings`: one typed field for each variable, and what follows from several of them together."""

import contextlib
import dataclasses
import datetime as dt
import os
import re
import shlex
import socket
import sys
import zlib
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.errors import FailureWord, StartupFailure
from orchestration.redaction import protect, redact_start
from orchestration.settings.child_environ import list_secret_names
from orchestration.settings.hosts import is_loopback, reaches_itself
from orchestration.settings.image_variables import GivenVariable, find_given, secret_names
from orchestration.settings.kinds import Secret, WrongValueError, split_addresses
from orchestration.settings.market_calendar import MarketCalendarSetting
from orchestration.settings.project import find_project_dir
from orchestration.settings.sources import (
    find_env_file,
    instance_file_problem,
    look_up,
    read_env_file,
    read_environment,
    read_secret_texts,
)
from orchestration.settings.variables import Effective, Variable, find_near_misses, variables_by_field
from orchestration.settings.week_time import WeekTime, find_week_time_problem
from orchestration.settings.words import (
    BotArguments,
    BotRuntime,
    GameplanFreshness,
    GatewayHealthCheck,
    GatewayRecovery,
    GatewayRuntime,
    StandbyGateway,
    StartWithOpenOrders,
    StrategyCBot,
    TradingMode,
)
from orchestration.system.clock import ensure_local_time
from orchestration.system.commands import withhold
from orchestration.system.endpoint import Endpoint

PACKAGE_DIR = Path(__file__).resolve().parents[1]
PROJECT_DIR = find_project_dir(PACKAGE_DIR)
SHIPPED_COMPOSE_DIR = Path("docker", "gateway")

_LIVE_PORT, _PAPER_PORT = 4001, 4002
_DEFAULT_INSTANCE = "default"
_PROBE_CLIENT_ID, _BOT_CLIENT_ID = 9990, 1
# Other instances: ten ids for the look and ten for the bot, far from what people choose by hand.
_FIRST_OWN_CLIENT_ID, _OWN_CLIENT_IDS, _OWN_RANGES = 20_000, 20, 100_000
_SHOWN_CHARACTERS = 60
# What a variable without a value is, where that is not None.
_EMPTY: dict[str, Any] = {
    "gateway_account": (),
    "bot_pass_env": (),
    "simulator_faults": "",
    "bot_command": (),
    "lease_etcd": (),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The program's configuration. Paths are absolute; relative ones were taken from the project folder.

    Each field's meaning stands in the table of `variables.py`. Fields that end in `_s` are seconds. Beside them:

    Attributes:
        project_dir: The folder that holds `tasks.py`.
        simulated: Whether the run is `--simulate`d.
        sources: The rows of `inv config`, secrets masked.
        warnings: Sentences about names that look mistyped, and, when read leniently, about wrong values.
        environ: The environment as it was, without what `.env` says.
        image_variables: Further variables of the vendor's image that are set. They may hold secrets.
    """

    instance: str
    state_dir: Path
    log_dir: Path
    log_keep: int
    gateway_shared_dir: Path

    gateway_runtime: GatewayRuntime
    gateway_host: str
    gateway_port: int
    trading_mode: TradingMode
    allow_live_trading: bool
    gateway_account: tuple[str, ...]
    gateway_recovery: GatewayRecovery
    gateway_health_check: GatewayHealthCheck
    gateway_stop_grace_s: float
    gateway_container_name: str
    gateway_service: str
    docker_compose_dir: Path
    docker_start_timeout_s: float
    docker_pull_timeout_s: float
    gateway_health_timeout_s: float
    gateway_health_retry_interval_s: float
    health_check_timeout_s: float
    gateway_twofa_timeout_s: float
    gateway_probe_client_id: int
    broker_reset_windows: str
    gateway_restart_window: str
    simulator_faults: str
    simulator_time_scale: int

    gateway_image: str
    tws_userid: Secret | None
    tws_password: Secret | None
    time_zone: zoneinfo.ZoneInfo
    twofa_timeout_action: str
    auto_restart_time: str
    weekly_login: WeekTime | None
    weekly_login_reminder_s: float
    read_only_api: bool
    gateway_memory_limit: str

    gameplan_path: Path | None
    emergency_gameplan_path: Path
    gameplan_schema: Path | None
    gameplan_freshness: GameplanFreshness
    market_timezone: zoneinfo.ZoneInfo
    market_calendar: MarketCalendarSetting
    market_close: dt.time | None

    bot_runtime: BotRuntime
    bot_command: tuple[str, ...]
    bot_workdir: Path
    bot_arguments: BotArguments
    strategy_c_bot: StrategyCBot
    start_with_open_orders: StartWithOpenOrders
    bot_client_id: int
    bot_log_level: str
    bot_start_grace_s: float
    bot_connect_timeout_s: float | None
    bot_stop_timeout_s: float
    bot_pass_env: tuple[str, ...]
    bot_log_max_mb: int
    bot_container_name: str
    bot_service: str
    bot_compose_dir: Path
    bot_image: str
    bot_memory_limit: str

    monitor_interval_s: float
    gameplan_due: dt.time
    watched_state_dir: Path | None
    gateway_watched_by: str | None
    in_stack: bool
    startup_max_attempts: int
    startup_attempt_window_s: float

    discord_webhook_url: Secret | None
    alert_urls: Secret | None
    alert_level: str
    show_amounts: bool
    discord_mention: Secret | None
    heartbeat_url: Secret | None

    lease_etcd: tuple[str, ...]
    lease_ttl_s: float
    standby_gateway: StandbyGateway
    lease_host: str
    lease_ca: Path | None
    lease_cert: Path | None
    lease_key: Path | None
    lease_user: str | None
    lease_password: Secret | None

    status_listen: Endpoint | None
    status_token: Secret | None

    project_dir: Path = PROJECT_DIR
    simulated: bool = False
    sources: tuple[Effective, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    image_variables: tuple[GivenVariable, ...] = ()

    @property
    def gateway(self) -> Endpoint:
        """Where the gateway's API is reached from this host (GATEWAY_HOST, GATEWAY_PORT)."""
        return Endpoint(host=self.gateway_host, port=self.gateway_port)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret's text, for redaction. Never shown, never logged."""
        found = (getattr(self, one.name) for one in dataclasses.fields(self))
        ours = [value.reveal() for value in found if isinstance(value, Secret) and value.reveal()]
        if self.alert_urls is not None:
            ours += split_addresses(self.alert_urls.reveal())
        return tuple(ours) + tuple(one.value for one in self.image_variables if one.name in secret_names())

    @property
    def has_own_compose_folder(self) -> bool:
        """Whether DOCKER_COMPOSE_DIR names a folder of the operator's, and not the one that comes with this program."""
        return os.path.normpath(self.docker_compose_dir) != os.path.normpath(self.project_dir / SHIPPED_COMPOSE_DIR)

    def is_set(self, name: str) -> bool:
        """Whether this variable is set: in the environment, in `.env` or by a switch."""
        return any(row.name == name and row.source != "default" for row in self.sources)

    @classmethod
    def load(
        cls,
        *,
        project_dir: Path = PROJECT_DIR,
        overrides: Mapping[str, str] | None = None,
        simulated: bool = False,
        lenient: bool = False,
    ) -> "Settings":
        """Read the process's environment and the `.env` file. The arguments are those of `from_environ`.

        Raises:
            StartupFailure: `CONFIG_INVALID`, with every problem as evidence.
        """
        wrong_zone = ensure_local_time()
        environ = read_environment()
        withhold(list_secret_names())
        problems: list[str] = [] if wrong_zone is None else [wrong_zone]
        path = find_env_file(environ, project_dir)
        notes: list[str] = []
        dotenv = read_env_file(path, problems, notes) if path is not None else {}
        problems += instance_file_problem(environ, path, dotenv)
        protect(read_secret_texts((environ, dotenv)))  # before anything of them can be told, wrong ones included
        settings = cls.from_environ(
            environ,
            dotenv=dotenv,
            project_dir=project_dir,
            overrides=overrides,
            simulated=simulated,
            lenient=lenient,
            problems=problems,
            notes=notes,
        )
        protect(settings.secrets)
        return settings

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str],
        *,
        dotenv: Mapping[str, str] | None = None,
        project_dir: Path = PROJECT_DIR,
        overrides: Mapping[str, str] | None = None,
        simulated: bool = False,
        lenient: bool = False,
        problems: Iterable[str] = (),
        notes: Iterable[str] = (),
    ) -> "Settings":
        """Make the settings from mappings. Pure, but for reading `NAME_FILE` secrets.

        Args:
            environ: The environment.
            dotenv: What the `.env` file says; the environment goes before it.
            project_dir: What relative paths are relative to.
            overrides: What switches of the command line say; they go before everything, and an empty one puts the
                default in effect whatever the environment says.
            simulated: Whether the run is `--simulate`d.
            lenient: Put the default in the place of a wrong value and say so in `warnings`, where a report about the
                system matters more than a configuration without mistakes. Never for a start.
            problems: What was already found wrong while the mappings were read.
            notes: What was found there that is no mistake; it becomes a warning.

        Raises:
            StartupFailure: `CONFIG_INVALID`, with every problem as evidence.
        """
        layers = (("environment", environ), (".env", dotenv or {}))
        found = list(problems)
        values: dict[str, Any] = {}
        sources: list[Effective] = []
        for name, variable in variables_by_field().items():
            if overrides is not None and variable.name in overrides:
                text, source = overrides[variable.name].strip(), "command line"
            else:
                text, source = look_up(variable, layers, found, project_dir=project_dir)
            source = source if text else "default"
            values[name] = _parse(variable, text or variable.default, found)
            shown = "********" if variable.secret and text else text or variable.default
            sources.append(Effective(name=variable.name, value=shown, source=source))
        _make_absolute(values, project_dir)
        _complete(values, found)
        near_misses = find_near_misses(environ, dotenv or {})
        given = _add_session_action(find_given(layers), values, found)
        if found and not lenient:
            raise build_wrong_settings(found, near_misses)
        return cls(
            **values,
            project_dir=project_dir,
            simulated=simulated,
            sources=(*_with_computed(sources, values), *(_show_given(one) for one in given)),
            warnings=(*found, *near_misses, *notes),
            environ=dict(environ),
            image_variables=given,
        )


def build_wrong_settings(problems: Sequence[str], near_misses: Iterable[str]) -> StartupFailure:
    """The failure that names every wrong setting, and the mistyped names, which are often why another one is wrong."""
    return StartupFailure(
        FailureWord.CONFIG_INVALID,
        f"{len(problems)} wrong setting{'s' if len(problems) > 1 else ''}: " + "; ".join((*problems, *near_misses)),
        next_action="Correct it in the environment or in .env; `inv config` shows the settings in effect.",
        evidence=tuple(problems),
    )


def _add_session_action(
    given: tuple[GivenVariable, ...], values: dict[str, Any], problems: list[str]
) -> tuple[GivenVariable, ...]:
    """With a hot standby, the gateway gives way to another session of its user name, and never takes one away."""
    name = "EXISTING_SESSION_DETECTED_ACTION"
    if not values["lease_etcd"] or values["standby_gateway"] is not StandbyGateway.HOT:
        return given
    for one in given:
        if one.name == name:
            if one.value.strip().lower() != "secondary":
                problems.append(f"{name}: {one.value!r}; with STANDBY_GATEWAY=hot it must be unset, or `secondary`")
            return given
    return (*given, GivenVariable(name=name, value="secondary", source="STANDBY_GATEWAY=hot"))


def _show_given(given: GivenVariable) -> Effective:
    value = "********" if given.name in secret_names() else given.value
    return Effective(name=given.name, value=value, source=given.source)


def _parse(variable: Variable, text: str, problems: list[str]) -> object:
    """The value of a text; the default's, and one problem more, if it is wrong."""
    if text:
        try:
            return variable.parse(text)
        except WrongValueError as error:
            shown = "(a secret)" if variable.secret else _quote(text)
            problems.append(f"{variable.name}: {shown} {error}")
            if variable.default:
                return variable.parse(variable.default)
    return _EMPTY.get(variable.field)


def _quote(text: str) -> str:
    text = redact_start(text, limit=_SHOWN_CHARACTERS)
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…")


def _make_absolute(values: dict[str, Any], project_dir: Path) -> None:
    for name in ("state_dir", "log_dir"):
        values[name] = project_dir / values[name]
        if values["instance"] != _DEFAULT_INSTANCE:
            values[name] /= values["instance"]
    shared = values["gateway_shared_dir"] or _find_home(project_dir) / ".local" / "state" / "zero-touch-startup"
    values["gateway_shared_dir"] = project_dir / shared
    for name in (
        "docker_compose_dir",
        "bot_compose_dir",
        "gameplan_path",
        "gameplan_schema",
        "watched_state_dir",
        "lease_ca",
        "lease_cert",
        "lease_key",
    ):
        values[name] = values[name] and project_dir / values[name]
    values["bot_workdir"] = project_dir / (values["bot_workdir"] or "")
    emergency = values["emergency_gameplan_path"] or values["state_dir"] / "emergency_gameplan.json"
    values["emergency_gameplan_path"] = project_dir / emergency


def _find_home(project_dir: Path) -> Path:
    """The home of the project folder's owner, whom its boot service runs as: under sudo, too, it is the same folder."""
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(OSError, KeyError):
            return Path(pwd.getpwuid(project_dir.stat().st_uid).pw_dir)
    with contextlib.suppress(RuntimeError):
        return Path.home()
    return project_dir


def _complete(values: dict[str, Any], problems: list[str]) -> None:
    """Fill in what depends on several variables, and check what belongs together."""
    live = values["trading_mode"] is TradingMode.LIVE
    values["gateway_port"] = values["gateway_port"] or (_LIVE_PORT if live else _PAPER_PORT)
    probe_id, bot_id = derive_client_ids(values["instance"])
    values["gateway_probe_client_id"] = values["gateway_probe_client_id"] or probe_id
    values["bot_client_id"] = bot_id if values["bot_client_id"] is None else values["bot_client_id"]
    values["gateway_restart_window"] = values["gateway_restart_window"] or _window_around(
        values["auto_restart_time"], values["time_zone"]
    )
    values["bot_command"] = values["bot_command"] or (sys.executable, "-m", "orchestration.bot.reference")
    if values["simulator_time_scale"] != 1 and values["gateway_runtime"] is not GatewayRuntime.SIMULATOR:
        problems.append("SIMULATOR_TIME_SCALE: only GATEWAY_RUNTIME=simulator may have one")
    suffix = "" if values["instance"] == "default" else f"-{values['instance']}"
    values["bot_container_name"] = values["bot_container_name"] or f"ibkr-bot{suffix}"
    wrong = {problem.partition(":")[0] for problem in problems}
    if live and not values["allow_live_trading"] and "ALLOW_LIVE_TRADING" not in wrong:
        problems.append("TRADING_MODE: 'live' also needs ALLOW_LIVE_TRADING=yes")
    if live and not values["gateway_account"] and "GATEWAY_ACCOUNT" not in wrong:
        problems.append("GATEWAY_ACCOUNT: unset, and live mode requires the account that may be traded")
    _check_weekly_login(values, problems)
    # From within a container this host's loopback is the container's own.
    is_elsewhere = values["gateway_runtime"] is not GatewayRuntime.DOCKER and reaches_itself(values["gateway_host"])
    if values["bot_runtime"] is BotRuntime.DOCKER and is_elsewhere:
        problems.append(
            f"BOT_RUNTIME: 'docker', but no container reaches a gateway at {values['gateway_host']}; "
            "it must be GATEWAY_RUNTIME=docker, or a GATEWAY_HOST that is not this host's loopback"
        )
    _check_live_page(values, problems)
    _check_lease(values, problems)


def _check_lease(values: dict[str, Any], problems: list[str]) -> None:
    endpoints: tuple[str, ...] = values["lease_etcd"]
    values["lease_host"] = values["lease_host"] or socket.gethostname()
    if not endpoints:
        return
    if (values["lease_cert"] is None) != (values["lease_key"] is None):
        problems.append("LEASE_CERT: a client certificate needs LEASE_KEY, and the other way round")
    if (values["lease_user"] is None) != (values["lease_password"] is None):
        problems.append("LEASE_USER: a user name needs LEASE_PASSWORD, and the other way round")
    if values["standby_gateway"] is StandbyGateway.HOT and values["tws_userid"] is None:
        problems.append(
            "STANDBY_GATEWAY: 'hot' needs a user name of this host's own in TWS_USERID: by it hosts that log in with "
            "the same one are noticed"
        )
    if sys.platform != "linux":
        problems.append("LEASE_ETCD: only a Linux host can take part: nothing could kill the bot of a frozen one")
    if values["gateway_runtime"] is GatewayRuntime.EXTERNAL:
        problems.append(
            "LEASE_ETCD: must be unset with GATEWAY_RUNTIME=external: a host that loses the lease could not log that "
            "gateway out"
        )
    if len({one.partition(":")[0] for one in endpoints}) > 1:
        problems.append("LEASE_ETCD: either all addresses begin with https:// or none does")
    if values["lease_ca"] is not None and not endpoints[0].startswith("https:"):
        problems.append("LEASE_CA: only for addresses that begin with https://")


def _check_live_page(values: dict[str, Any], problems: list[str]) -> None:
    listen, token = values["status_listen"], values["status_token"]
    if listen is not None and not is_loopback(listen.host) and token is None:
        problems.append(f"STATUS_TOKEN: unset, and required where STATUS_LISTEN={listen.host} is not loopback")


def _check_weekly_login(values: dict[str, Any], problems: list[str]) -> None:
    hour: WeekTime | None = values["weekly_login"]
    if hour is None:
        return
    if values["gateway_runtime"] is GatewayRuntime.EXTERNAL:
        problem = "must be unset with GATEWAY_RUNTIME=external: another program logs that gateway in"
    else:
        problem = find_week_time_problem(hour, values["time_zone"])
    if problem:
        problems.append(f"WEEKLY_LOGIN: '{hour}' {problem}")
        values["weekly_login"] = None


def derive_client_ids(instance: str) -> tuple[int, int]:
    """The first API client id of an instance's look at the gateway, and that of its bot. Pure.

    Each instance has a range of its own, so that those who share a gateway do not take each other's ids. Two names fall
    on one range once in a hundred thousand; then the next free id of the ten is used.
    """
    if instance == _DEFAULT_INSTANCE:
        return _PROBE_CLIENT_ID, _BOT_CLIENT_ID
    first = _FIRST_OWN_CLIENT_ID + zlib.crc32(instance.encode()) % _OWN_RANGES * _OWN_CLIENT_IDS
    return first, first + _OWN_CLIENT_IDS // 2


_RESTART_BEFORE_MIN, _RESTART_AFTER_MIN = 5, 14  # around 23:45 that is 23:40 to 23:59


def _window_around(restart: str, zone: zoneinfo.ZoneInfo) -> str:
    """The gateway's nightly restart as a window: `11:45 PM` gives `23:40-23:59` and the zone."""
    hour, minute, half = re.split("[: ]", restart)
    at_min = (int(hour) % 12 + (12 if half == "PM" else 0)) * 60 + int(minute)
    first, last = ((at_min + offset) % 1440 for offset in (-_RESTART_BEFORE_MIN, _RESTART_AFTER_MIN))
    return f"{first // 60:02d}:{first % 60:02d}-{last // 60:02d}:{last % 60:02d} {zone.key}"


def _with_computed(sources: list[Effective], values: Mapping[str, Any]) -> tuple[Effective, ...]:
    """The rows of `inv config`, with the values that were computed from others."""
    rows = []
    for row, (name, variable) in zip(sources, variables_by_field().items(), strict=True):
        value = values[name]
        if variable.secret or value in (None, ()):
            rows.append(row)
        elif name == "bot_command":
            rows.append(dataclasses.replace(row, value=shlex.join(value)))
        elif isinstance(value, Path) or not row.value:
            rows.append(dataclasses.replace(row, value=str(value)))
        else:
            rows.append(row)
    return tuple(rows)
