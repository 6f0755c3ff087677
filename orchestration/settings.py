"""The configuration: one frozen value, made once from the environment over `.env` over the defaults.

This module is the only reader of the environment. Every variable is one field of `Settings`, declared with its name,
default, parser and help text; `.env.example`, the reference page and `inv config` are made from the same declarations.
All problems are collected and raised as one error.
"""

import dataclasses
import difflib
import os
import re
import shlex
import sys
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestration.errors import FailureWord, StartupFailure

PROJECT_DIR = Path(__file__).resolve().parent.parent

_METADATA = "variable"
_NEAR_MISS_RATIO = 0.84  # `GATEWAY_PROT` against `GATEWAY_PORT` is 0.92; `BOT_COMMAND` against `BOT_ARGUMENTS` 0.58


class GatewayRuntime(StrEnum):
    """Who runs the gateway."""

    DOCKER = "docker"
    SIMULATOR = "simulator"
    EXTERNAL = "external"


class TradingMode(StrEnum):
    """Which kind of account the gateway logs in to."""

    PAPER = "paper"
    LIVE = "live"


class GatewayRecovery(StrEnum):
    """What is done with a gateway that does not become ready."""

    RESTART = "restart"
    ALERT = "alert"


class GameplanFreshness(StrEnum):
    """Whether the plan must be today's."""

    TODAY = "today"
    OFF = "off"


class BotArguments(StrEnum):
    """Whether the four arguments are appended to the bot's command."""

    APPEND = "append"
    NONE = "none"


class Secret:
    """A value that never shows itself by accident. `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('********')"

    def __str__(self) -> str:
        return "********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class _WrongValueError(ValueError):
    """What is wrong with a value and what is allowed, without the variable's name."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One environment variable as the contract names it.

    Attributes:
        name: The variable.
        default: What it is when unset, as text; None where unset has a meaning of its own or depends on others.
        parse: Text to value; raises `_WrongValueError`.
        help: One line for `.env.example` and the reference.
        allowed: What is allowed, for people.
        secret: Whether its value is masked everywhere, and `NAME_FILE` may stand for it.
        group: The heading it stands under.
        shown_default: The default as the reference shows it, where it is not just `default`.
    """

    name: str
    default: str | None
    parse: Callable[[str], Any]
    help: str
    allowed: str
    secret: bool = False
    group: str = ""
    shown_default: str = ""


@dataclass(frozen=True, kw_only=True)
class Effective:
    """One row of `inv config`.

    Attributes:
        name: The variable.
        value: Its effective value as text, masked if it is a secret; empty for unset.
        source: `environment`, `.env`, `default`, or a switch of the command line.
    """

    name: str
    value: str
    source: str


def _text(value: str) -> str:
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
        raise _WrongValueError("must start with a letter or digit and hold only letters, digits, `_`, `.` and `-`")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9:._-]+", value):
        raise _WrongValueError("must be a host name or an address, without port or scheme")
    return value


def _boolean(value: str) -> bool:
    lowered = value.lower()
    if lowered in {"yes", "true", "1", "on"}:
        return True
    if lowered in {"no", "false", "0", "off"}:
        return False
    raise _WrongValueError("must be `yes` or `no`")


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", value) or not least <= int(value) <= most:
            raise _WrongValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return parse


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            seconds = float(value) if re.fullmatch(r"[0-9.]+", value) else None
        except ValueError:
            seconds = None
        if seconds is None or not least <= seconds <= most:
            raise _WrongValueError(f"must be a number of seconds from {least:g} to {most:g}")
        return seconds

    return parse


def _one_of(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    def parse(value: str) -> StrEnum:
        try:
            return kind(value.lower())
        except ValueError:
            words = [f"`{one}`" for one in kind]
            raise _WrongValueError(f"must be {', '.join(words[:-1])} or {words[-1]}") from None

    return parse


def _words(value: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", value) if word)


def _accounts(value: str) -> tuple[str, ...]:
    accounts = _words(value)
    if not accounts or not all(re.fullmatch(r"[A-Za-z0-9]+", account) for account in accounts):
        raise _WrongValueError("must be one account id or several with commas between them")
    return accounts


def _variable_names(value: str) -> tuple[str, ...]:
    names = _words(value)
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names):
        raise _WrongValueError("must be names of variables with commas between them")
    return names


def _command(value: str) -> tuple[str, ...]:
    try:
        # Windows paths hold backslashes, which the POSIX rules would eat.
        words = tuple(shlex.split(value, posix=sys.platform != "win32"))
    except ValueError as error:
        raise _WrongValueError(f"cannot be split into words ({error}); quote it as for a shell") from None
    if not words:
        raise _WrongValueError("must name a program")
    return words


def _time_zone(value: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise _WrongValueError("must be a time zone of the tz database, for example `America/New_York`") from None


def _log_level(value: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if value.upper() not in levels:
        raise _WrongValueError(f"must be one of {', '.join(levels)}")
    return value.upper()


def _web_address(value: str) -> Secret:
    # A malformed alert address is a warning (S5), never a reason not to start: it is judged where it is used.
    return Secret(value)


def _path(value: str) -> Path:
    if "\0" in value:
        raise _WrongValueError("must be a path")
    return Path(value).expanduser()


def _variable(
    name: str,
    default: str | None,
    parse: Callable[[str], Any],
    text: str,
    *,
    allowed: str,
    secret: bool = False,
    group: str = "",
    shown_default: str = "",
) -> Any:  # noqa: ANN401 - a dataclass field stands for the value it will hold, as in `dataclasses.field`
    variable = Variable(
        name=name,
        default=default,
        parse=parse,
        help=text,
        allowed=allowed,
        secret=secret,
        group=group,
        shown_default=shown_default,
    )
    return dataclasses.field(metadata={_METADATA: variable})


_TIME = "seconds"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the program was told. Paths are absolute; relative ones were taken from the project folder."""

    instance: str = _variable(
        "INSTANCE",
        "default",
        _name,
        "Name of this system; each instance has its own lock, state, logs, journal and bot",
        allowed="letters, digits, `_`, `.`, `-`",
        group="This instance",
    )
    state_dir: Path = _variable(
        "STATE_DIR",
        "state",
        _path,
        "Folder for the lock, the journal, plans in force; instances other than `default` use a subfolder",
        allowed="a path",
        group="This instance",
    )
    log_dir: Path = _variable(
        "LOG_DIR",
        "logs",
        _path,
        "Folder for the logs of start-ups and bots; instances other than `default` use a subfolder",
        allowed="a path",
        group="This instance",
    )
    log_keep: int = _variable(
        "LOG_KEEP",
        "30",
        _integer(1, 10000),
        "How many logs of each kind are kept",
        allowed="1 to 10000",
        group="This instance",
    )
    gateway_runtime: GatewayRuntime = _variable(
        "GATEWAY_RUNTIME",
        "docker",
        _one_of(GatewayRuntime),
        "Who runs the gateway: a container, the built-in simulator, or somebody else",
        allowed="`docker`, `simulator`, `external`",
        group="Gateway",
    )
    gateway_host: str = _variable(
        "GATEWAY_HOST", "127.0.0.1", _host, "Where the gateway's API is reached", allowed="a host", group="Gateway"
    )
    gateway_port: int = _variable(
        "GATEWAY_PORT",
        None,
        _integer(1, 65535),
        "The API port on this host",
        allowed="1 to 65535",
        group="Gateway",
        shown_default="4002 (4001 in live mode)",
    )
    trading_mode: TradingMode = _variable(
        "TRADING_MODE",
        "paper",
        _one_of(TradingMode),
        "The kind of account; live also needs ALLOW_LIVE_TRADING=yes and GATEWAY_ACCOUNT",
        allowed="`paper`, `live`",
        group="Gateway",
    )
    allow_live_trading: bool = _variable(
        "ALLOW_LIVE_TRADING",
        "no",
        _boolean,
        "The second, explicit switch for live trading",
        allowed="`yes`, `no`",
        group="Gateway",
    )
    gateway_account: tuple[str, ...] = _variable(
        "GATEWAY_ACCOUNT",
        "",
        _accounts,
        "The account, or accounts with commas, that the gateway may show and no other; required in live mode",
        allowed="account ids",
        group="Gateway",
        shown_default="unset",
    )
    gateway_recovery: GatewayRecovery = _variable(
        "GATEWAY_RECOVERY",
        "restart",
        _one_of(GatewayRecovery),
        "Restart a gateway that is not ready, once; or only alert, where another monitor does that",
        allowed="`restart`, `alert`",
        group="Gateway",
    )
    gateway_container_name: str = _variable(
        "GATEWAY_CONTAINER_NAME",
        "ibkr-gateway",
        _name,
        "Exact name of the gateway's container, and the name of its Compose project",
        allowed="a container name",
        group="Gateway",
    )
    gateway_service: str = _variable(
        "GATEWAY_SERVICE",
        "gateway",
        _name,
        "The service in the Compose file",
        allowed="a Compose service name",
        group="Gateway",
    )
    docker_compose_dir: Path = _variable(
        "DOCKER_COMPOSE_DIR",
        "docker/gateway",
        _path,
        "Folder of the gateway's Compose file",
        allowed="a path",
        group="Gateway",
    )
    docker_start_timeout_s: float = _variable(
        "DOCKER_START_TIMEOUT",
        "0",
        _seconds(0, 3600),
        "How long to wait for the Docker engine to answer",
        allowed=_TIME,
        group="Gateway",
        shown_default="0 (180 with --service)",
    )
    docker_pull_timeout_s: float = _variable(
        "DOCKER_PULL_TIMEOUT",
        "600",
        _seconds(1, 86400),
        "How long pulling a missing image may take",
        allowed=_TIME,
        group="Gateway",
    )
    gateway_health_timeout_s: float = _variable(
        "GATEWAY_HEALTH_TIMEOUT",
        "120",
        _seconds(0.1, 86400),
        "How long the gateway may take to become ready",
        allowed=_TIME,
        group="Gateway",
    )
    gateway_health_retry_interval_s: float = _variable(
        "GATEWAY_HEALTH_RETRY_INTERVAL",
        "0.5",
        _seconds(0.05, 3600),
        "How often it is looked at meanwhile",
        allowed=_TIME,
        group="Gateway",
    )
    health_check_timeout_s: float = _variable(
        "HEALTH_CHECK_TIMEOUT",
        "5",
        _seconds(0.1, 3600),
        "How long one look (one API handshake, one docker command) may take",
        allowed=_TIME,
        group="Gateway",
    )
    gateway_twofa_timeout_s: float = _variable(
        "GATEWAY_TWOFA_TIMEOUT",
        "180",
        _seconds(0, 86400),
        "Extra wait once a second factor is asked for",
        allowed=_TIME,
        group="Gateway",
    )
    gateway_probe_client_id: int = _variable(
        "GATEWAY_PROBE_CLIENT_ID",
        "9990",
        _integer(1, 2_000_000_000),
        "API client id of the readiness check; the next nine are tried if it is in use",
        allowed="1 to 2000000000",
        group="Gateway",
    )
    broker_reset_windows: str = _variable(
        "BROKER_RESET_WINDOWS",
        "00:15-01:45 America/New_York; Fri 23:00-Sat 03:00 America/New_York",
        _text,
        "When the broker resets its servers: a lone failed login then proves nothing",
        allowed="windows with `;` between them: `HH:MM-HH:MM ZONE` daily, or `Fri HH:MM-Sat HH:MM ZONE`",
        group="Gateway",
    )
    gateway_restart_window: str = _variable(
        "GATEWAY_RESTART_WINDOW",
        None,
        _text,
        "When the gateway restarts itself each night",
        allowed="`HH:MM-HH:MM ZONE`",
        group="Gateway",
        shown_default="23:40-23:59 in TIME_ZONE",
    )
    simulator_faults: str = _variable(
        "SIMULATOR_FAULTS",
        "",
        _text,
        "Faults of the built-in gateway, to see what they look like (docs/reference/simulator.md)",
        allowed="for example `slow_login=20`",
        group="Gateway",
        shown_default="unset",
    )
    gateway_image: str = _variable(
        "GATEWAY_IMAGE",
        "ghcr.io/gnzsnz/ib-gateway:stable",
        _text,
        "The image of the gateway's container",
        allowed="an image reference",
        group="Gateway's container",
    )
    tws_userid: Secret | None = _variable(
        "TWS_USERID",
        "",
        Secret,
        "The broker's user name",
        allowed="text",
        secret=True,
        group="Gateway's container",
        shown_default="unset",
    )
    tws_password: Secret | None = _variable(
        "TWS_PASSWORD",
        "",
        Secret,
        "The broker's password; TWS_PASSWORD_FILE may name a file instead",
        allowed="text",
        secret=True,
        group="Gateway's container",
        shown_default="unset",
    )
    time_zone: zoneinfo.ZoneInfo = _variable(
        "TIME_ZONE",
        "America/New_York",
        _time_zone,
        "The gateway's clock (it keeps the one of its first start in its settings volume)",
        allowed="a tz database name",
        group="Gateway's container",
    )
    twofa_timeout_action: str = _variable(
        "TWOFA_TIMEOUT_ACTION",
        "restart",
        _text,
        "What the gateway's controller does when nobody confirms the second factor",
        allowed="`exit`, `restart`",
        group="Gateway's container",
    )
    auto_restart_time: str = _variable(
        "AUTO_RESTART_TIME",
        "11:45 PM",
        _text,
        "When the gateway restarts itself each night, in TIME_ZONE",
        allowed="`HH:MM AM` or `HH:MM PM`",
        group="Gateway's container",
    )
    read_only_api: bool = _variable(
        "READ_ONLY_API",
        "no",
        _boolean,
        "Refuse every order at the gateway",
        allowed="`yes`, `no`",
        group="Gateway's container",
    )
    gateway_memory_limit: str = _variable(
        "GATEWAY_MEMORY_LIMIT",
        "2g",
        _text,
        "Memory limit of the container",
        allowed="a Compose byte value",
        group="Gateway's container",
    )
    gameplan_path: Path | None = _variable(
        "GAMEPLAN_PATH",
        "",
        _path,
        "The day's plan; without one the bot starts on Strategy C, which trades nothing",
        allowed="a path",
        group="Gameplan",
        shown_default="unset",
    )
    emergency_gameplan_path: Path = _variable(
        "EMERGENCY_GAMEPLAN_PATH",
        None,
        _path,
        "Where Strategy C is written",
        allowed="a path",
        group="Gameplan",
        shown_default="state/emergency_gameplan.json",
    )
    gameplan_schema: Path | None = _variable(
        "GAMEPLAN_SCHEMA",
        "",
        _path,
        "A further JSON Schema that the plan must satisfy too",
        allowed="a path",
        group="Gameplan",
        shown_default="unset",
    )
    gameplan_freshness: GameplanFreshness = _variable(
        "GAMEPLAN_FRESHNESS",
        "today",
        _one_of(GameplanFreshness),
        "Whether the plan's date must be today's",
        allowed="`today`, `off`",
        group="Gameplan",
    )
    market_timezone: zoneinfo.ZoneInfo = _variable(
        "MARKET_TIMEZONE",
        "America/New_York",
        _time_zone,
        "The time zone that says what today is",
        allowed="a tz database name",
        group="Gameplan",
    )
    bot_command: tuple[str, ...] = _variable(
        "BOT_COMMAND",
        "",
        _command,
        "The bot's program and arguments, quoted as for a shell (no shell runs it)",
        allowed="a command line",
        group="Bot",
        shown_default="the built-in reference bot",
    )
    bot_workdir: Path = _variable(
        "BOT_WORKDIR",
        "",
        _path,
        "The bot's working folder",
        allowed="a path",
        group="Bot",
        shown_default="the project folder",
    )
    bot_arguments: BotArguments = _variable(
        "BOT_ARGUMENTS",
        "append",
        _one_of(BotArguments),
        "Append --gateway-host, --gateway-port, --gameplan and --log-level to the command (they are always in the "
        "environment as GATEWAY_HOST, GATEWAY_PORT, GAMEPLAN_PATH and LOG_LEVEL)",
        allowed="`append`, `none`",
        group="Bot",
    )
    bot_log_level: str = _variable(
        "BOT_LOG_LEVEL",
        "INFO",
        _log_level,
        "The level the bot is given",
        allowed="`DEBUG` to `CRITICAL`",
        group="Bot",
    )
    bot_start_grace_s: float = _variable(
        "BOT_START_GRACE",
        "5",
        _seconds(0.1, 3600),
        "How long a bot that says nothing must stay alive to count as up",
        allowed=_TIME,
        group="Bot",
    )
    bot_stop_timeout_s: float = _variable(
        "BOT_STOP_TIMEOUT",
        "60",
        _seconds(0, 3600),
        "How long the bot has to leave in order before it is killed",
        allowed=_TIME,
        group="Bot",
    )
    bot_pass_env: tuple[str, ...] = _variable(
        "BOT_PASS_ENV",
        "",
        _variable_names,
        "Those of this program's own secrets that the bot needs too",
        allowed="names with commas",
        group="Bot",
        shown_default="unset",
    )
    bot_log_max_mb: int = _variable(
        "BOT_LOG_MAX_MB",
        "100",
        _integer(1, 1_000_000),
        "Size from which the bot's log is cut back",
        allowed="megabytes",
        group="Bot",
    )
    discord_webhook_url: Secret | None = _variable(
        "DISCORD_WEBHOOK_URL",
        "",
        _web_address,
        "Where alerts go; without it they are only logged",
        allowed="an https address (http only to loopback)",
        secret=True,
        group="Alerts",
        shown_default="unset",
    )
    discord_mention: Secret | None = _variable(
        "DISCORD_MENTION",
        "",
        Secret,
        "Whom a critical alert mentions",
        allowed="`<@USER>`, `<@&ROLE>`, `@here` or `@everyone`",
        secret=True,
        group="Alerts",
        shown_default="unset",
    )
    heartbeat_url: Secret | None = _variable(
        "HEARTBEAT_URL",
        "",
        _web_address,
        "A healthchecks.io style address: pinged at start, success and failure",
        allowed="an https address (http only to loopback)",
        secret=True,
        group="Alerts",
        shown_default="unset",
    )
    project_dir: Path = dataclasses.field(default=PROJECT_DIR)
    simulated: bool = dataclasses.field(default=False)
    sources: tuple[Effective, ...] = dataclasses.field(default=(), repr=False)
    warnings: tuple[str, ...] = dataclasses.field(default=())
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret's text, for redaction. Never shown, never logged."""
        found = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(value.reveal() for value in found if isinstance(value, Secret) and value.reveal())

    @classmethod
    def load(
        cls, *, project_dir: Path = PROJECT_DIR, overrides: Mapping[str, str] | None = None, simulated: bool = False
    ) -> "Settings":
        """Read the process's environment and the `.env` file.

        Raises:
            StartupFailure: `CONFIG_INVALID`, with every problem as evidence.
        """
        environ = dict(os.environ)
        return cls.from_environ(
            environ,
            dotenv=_read_dotenv(environ, project_dir),
            project_dir=project_dir,
            overrides=overrides or {},
            simulated=simulated,
        )

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str],
        *,
        dotenv: Mapping[str, str] | None = None,
        project_dir: Path = PROJECT_DIR,
        overrides: Mapping[str, str] | None = None,
        simulated: bool = False,
    ) -> "Settings":
        """Make the settings from mappings. Pure, but for reading `NAME_FILE` secrets.

        Args:
            environ: The environment.
            dotenv: What the `.env` file says; the environment goes before it.
            project_dir: What relative paths are relative to.
            overrides: What switches of the command line say; they go before everything.
            simulated: Whether the run is `--simulate`d.

        Raises:
            StartupFailure: `CONFIG_INVALID`, with every problem as evidence.
        """
        layers = (
            ("command line", overrides or {}),
            ("environment", environ),
            (".env", dotenv or {}),
        )
        problems: list[str] = []
        values: dict[str, Any] = {}
        sources: list[Effective] = []
        for field, variable in variables_by_field().items():
            text, source = _look_up(variable, layers, problems)
            given = bool(text)
            if not given:
                text = variable.default or ""
            values[field] = _parse(variable, text, problems) if text else _EMPTY.get(field)
            shown = "********" if variable.secret and text else text
            sources.append(Effective(name=variable.name, value=shown, source=source if given else "default"))
        _complete(values, problems, project_dir=project_dir, simulated=simulated)
        if problems:
            raise StartupFailure(
                FailureWord.CONFIG_INVALID,
                f"{len(problems)} wrong setting{'s' if len(problems) > 1 else ''}: " + "; ".join(problems),
                next_action="Correct it in the environment or in .env; `inv config` shows what is in force.",
                evidence=tuple(problems),
            )
        return cls(
            **values,
            project_dir=project_dir,
            simulated=simulated,
            sources=_with_computed(sources, values),
            warnings=_find_near_misses({**dict(dotenv or {}), **environ}),
            environ=dict(environ),
        )


def variables_by_field() -> dict[str, Variable]:
    """Every declared variable by the name of its field in `Settings`, in the order of declaration."""
    return {
        field.name: field.metadata[_METADATA] for field in dataclasses.fields(Settings) if _METADATA in field.metadata
    }


_EMPTY: dict[str, Any] = {"gateway_account": (), "bot_pass_env": (), "simulator_faults": "", "bot_command": ()}
_LIVE_PORT, _PAPER_PORT = 4001, 4002
_ENV_FILE = "ENV_FILE"
_MAX_SECRET_BYTES = 65536


def _look_up(
    variable: Variable, layers: tuple[tuple[str, Mapping[str, str]], ...], problems: list[str]
) -> tuple[str, str]:
    """The variable's text and where it came from; an empty value counts as unset."""
    for source, layer in layers:
        text = layer.get(variable.name, "").strip()
        file = layer.get(f"{variable.name}_FILE", "").strip() if variable.secret else ""
        if text and file:
            problems.append(f"{variable.name} and {variable.name}_FILE are both set; only one of them is allowed")
        if text:
            return text, source
        if file:
            return _read_secret_file(variable, file, problems), f"{source} ({variable.name}_FILE)"
    return "", "default"


def _read_secret_file(variable: Variable, file: str, problems: list[str]) -> str:
    path = Path(file).expanduser()
    path = path if path.is_absolute() else PROJECT_DIR / path
    try:
        if not path.is_file():
            problems.append(f"{variable.name}_FILE: {path} is not a file")
            return ""
        content = path.read_bytes()[:_MAX_SECRET_BYTES].decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problems.append(f"{variable.name}_FILE: {path} cannot be read ({reason})")
        return ""
    if not content:
        problems.append(f"{variable.name}_FILE: {path} is empty")
    return content


def _parse(variable: Variable, text: str, problems: list[str]) -> object:
    try:
        value: object = variable.parse(text)
    except _WrongValueError as error:
        shown = "(a secret)" if variable.secret else repr(text)
        problems.append(f"{variable.name}: {shown} {error}")
        return None
    return value


def _complete(values: dict[str, Any], problems: list[str], *, project_dir: Path, simulated: bool) -> None:
    """Fill in what depends on several variables, make paths absolute, and check what belongs together."""
    for field in ("state_dir", "log_dir", "docker_compose_dir", "gameplan_path", "gameplan_schema"):
        if values[field] is not None:
            values[field] = project_dir / values[field]
    values["bot_workdir"] = project_dir / (values["bot_workdir"] or "")
    if values["instance"] not in {None, "default"}:
        for field in ("state_dir", "log_dir"):
            values[field] = values[field] and values[field] / values["instance"]
    emergency = values["emergency_gameplan_path"]
    if emergency is None and values["state_dir"] is not None:
        emergency = values["state_dir"] / "emergency_gameplan.json"
    values["emergency_gameplan_path"] = emergency and project_dir / emergency
    if not values["bot_command"]:
        values["bot_command"] = (sys.executable, "-m", "orchestration.bot.reference")
    _complete_gateway(values, problems, live=values["trading_mode"] is TradingMode.LIVE and not simulated)


def _complete_gateway(values: dict[str, Any], problems: list[str], *, live: bool) -> None:
    if values["gateway_port"] is None:
        values["gateway_port"] = _LIVE_PORT if live else _PAPER_PORT
    if values["gateway_restart_window"] is None and values["time_zone"] is not None:
        values["gateway_restart_window"] = f"23:40-23:59 {values['time_zone'].key}"
    if live:
        if values["allow_live_trading"] is False:
            problems.append("TRADING_MODE: 'live' also needs ALLOW_LIVE_TRADING=yes")
        if values["gateway_account"] == ():
            problems.append("GATEWAY_ACCOUNT: unset, and live mode requires the account that may be traded")


def _with_computed(sources: list[Effective], values: Mapping[str, Any]) -> tuple[Effective, ...]:
    """The rows of `inv config`, with the values that were computed from others."""
    fields = {variable.name: field for field, variable in variables_by_field().items()}
    rows = []
    for row in sources:
        value = values[fields[row.name]]
        if isinstance(value, Path):
            rows.append(dataclasses.replace(row, value=str(value)))
        elif row.name == "BOT_COMMAND":
            rows.append(dataclasses.replace(row, value=shlex.join(value)))
        elif not row.value and value not in (None, ()):
            rows.append(dataclasses.replace(row, value=str(value)))
        else:
            rows.append(row)
    return tuple(rows)


def _find_near_misses(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = {variable.name for variable in variables_by_field().values()}
    known |= {f"{variable.name}_FILE" for variable in variables_by_field().values() if variable.secret}
    known |= {_ENV_FILE}
    warnings = []
    for name in sorted(environ):
        if name in known or name.upper() != name:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR_MISS_RATIO)
        if near:
            warnings.append(f"{name} is not a variable of this program; did you mean {near[0]}?")
    return tuple(warnings)


def _read_dotenv(environ: Mapping[str, str], project_dir: Path) -> dict[str, str]:
    named = environ.get(_ENV_FILE, "").strip()
    path = project_dir / (Path(named).expanduser() if named else ".env")
    if not path.is_file():
        if named:
            raise StartupFailure(
                FailureWord.CONFIG_INVALID,
                f"ENV_FILE: {path} is not a file",
                next_action="Name an existing file in ENV_FILE, or unset it to use .env in the project folder.",
                evidence=(f"ENV_FILE: {path} is not a file",),
            )
        return {}
    import dotenv

    try:
        parsed = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            f"{path} cannot be read: {error}",
            next_action="Make it a UTF-8 text file that this user may read.",
            evidence=(f"{path}: {error}",),
        ) from error
    return {name: value for name, value in parsed.items() if value is not None}
