"""Every variable, declared once: a table that reads like the reference page, for that page is made from it."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.settings import kinds
from orchestration.settings.image_variables import IMAGE_VARIABLES
from orchestration.settings.kinds import Kind, one_of, seconds, whole_number
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

_NEAR_MISS_RATIO = 0.84  # `GATEWAY_PROT` against `GATEWAY_PORT` is 0.92; `BOT_COMMAND` against `BOT_ARGUMENTS` 0.58
ENV_FILE = "ENV_FILE"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One environment variable as the contract names it.

    Attributes:
        field: Its field in `Settings`.
        name: The variable.
        default: What it is when unset, as text; empty where unset has a meaning of its own or depends on others.
        kind: What values it takes.
        help: One line for `.env.example` and the reference.
        group: The heading it stands under.
        shown_default: The default as people read it.
    """

    field: str
    name: str
    default: str
    kind: Kind
    help: str
    group: str
    shown_default: str

    @property
    def allowed(self) -> str:
        """What is allowed, for people."""
        return self.kind.allowed

    @property
    def secret(self) -> bool:
        """Whether its value is masked everywhere, and `NAME_FILE` may stand for it."""
        return self.kind in (kinds.SECRET, kinds.PASSWORD, kinds.WEB_ADDRESS, kinds.ADDRESSES, kinds.MENTION)

    def parse(self, text: str) -> Any:  # noqa: ANN401 - a table of variables has no narrower type; `Settings` has
        """Text to value.

        Raises:
            WrongValueError: It is not allowed.
        """
        return self.kind.parse(text)


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


_Row = tuple[str, Kind, str | tuple[str, str], str]

# Each row: the field in `Settings`, the kind, the default, the help text. The variable's name is the field's in
# capitals, without `_s`. A default in parentheses is (what is parsed, what people are shown).
_UNSET = ("", "unset")
# fmt: off
_TABLE: dict[str, tuple[_Row, ...]] = {
    "This instance": (
        ("instance", kinds.INSTANCE, "default",
         "Name of this system; each instance has its own lock, state, logs, journal and bot"),
        ("state_dir", kinds.PATH, "state",
         "Folder for the lock, the journal and active plans; instances other than `default` use a subfolder"),
        ("log_dir", kinds.PATH, "logs",
         "Folder for the logs of start-ups and bots; instances other than `default` use a subfolder"),
        ("log_keep", whole_number(1, 10000), "30",
         "How many logs of each kind are kept"),
        ("gateway_shared_dir", kinds.PATH, ("", "~/.local/state/zero-touch-startup of the project folder's owner"),
         "Folder in which this machine's instances agree on the gateways that they share; the same for all of them"),
    ),
    "Gateway": (
        ("gateway_runtime", one_of(GatewayRuntime), "docker",
         "Who runs the gateway: a container, the built-in simulator, or an external operator"),
        ("gateway_host", kinds.HOST, "127.0.0.1",
         "Where the gateway's API is reached"),
        ("gateway_port", whole_number(1, 65535), ("", "4002 (4001 in live mode)"),
         "The API port on this host"),
        ("trading_mode", one_of(TradingMode), "paper",
         "The kind of account; live also needs ALLOW_LIVE_TRADING=yes and GATEWAY_ACCOUNT"),
        ("allow_live_trading", kinds.SWITCH, "no",
         "The second, explicit switch for live trading"),
        ("gateway_account", kinds.ACCOUNTS, _UNSET,
         "The account, or accounts with commas, that the gateway may show and no other; required in live mode"),
        ("gateway_recovery", one_of(GatewayRecovery), "restart",
         "Restart a gateway that is not ready, once; or only alert, where another monitor does that"),
        ("gateway_health_check", one_of(GatewayHealthCheck), "require",
         "Whether the container's own health check must pass, too; `ignore` is for a check that can never pass"),
        ("gateway_stop_grace_s", seconds(1, 3600), "120",
         "How long the gateway's container has to log out and end before it is killed, at a stop or restart"),
        ("gateway_container_name", kinds.NAME, "ibkr-gateway",
         "Exact name of the gateway's container, and the name of its Compose project"),
        ("gateway_service", kinds.NAME, "gateway",
         "The service in the Compose file"),
        ("docker_compose_dir", kinds.PATH, "docker/gateway",
         "Folder of the gateway's Compose file"),
        ("docker_start_timeout_s", seconds(0, 3600), ("0", "0 (180 with --service)"),
         "How long to wait for the Docker engine to answer"),
        ("docker_pull_timeout_s", seconds(1, 86400), "600",
         "How long pulling a missing image may take"),
        ("gateway_health_timeout_s", seconds(0.1, 86400), "120",
         "How long the gateway may take to become ready"),
        ("gateway_health_retry_interval_s", seconds(0.05, 3600), "0.5",
         "How often it is looked at meanwhile"),
        ("health_check_timeout_s", seconds(0.1, 3600), "5",
         "How long one look (one API handshake, one docker command) may take"),
        ("gateway_twofa_timeout_s", seconds(0, 86400), "180",
         "Extra wait once a second factor is asked for"),
        ("gateway_probe_client_id", whole_number(1, 2_000_000_000), ("", "9990 (other instances: one of their own)"),
         "API client id of the readiness check; the next nine are tried if it is in use"),
        ("broker_reset_windows", kinds.WINDOWS, "00:15-01:45 America/New_York; Fri 23:00-Sat 03:00 America/New_York",
         "When the broker resets its servers: a lone failed login then proves nothing"),
        ("gateway_restart_window", kinds.WINDOW, ("", "from 5 minutes before AUTO_RESTART_TIME to 14 after it"),
         "When the gateway restarts itself each night"),
        ("simulator_faults", kinds.TEXT, _UNSET,
         "Faults of the built-in gateway, to see what they look like (docs/reference/simulator.md)"),
        ("simulator_time_scale", whole_number(1, 10), "1",
         "How many times shorter a supervisor's patience is, for `inv soak`; only with the built-in gateway"),
    ),
    "Gateway's container": (
        ("gateway_image", kinds.IMAGE, "ghcr.io/gnzsnz/ib-gateway:stable",
         "The image of the gateway's container"),
        ("tws_userid", kinds.SECRET, _UNSET,
         "The broker's user name"),
        ("tws_password", kinds.PASSWORD, _UNSET,
         "The broker's password; TWS_PASSWORD_FILE may name a file instead"),
        ("time_zone", kinds.TIME_ZONE, "America/New_York",
         "The gateway's clock (it keeps the one of its first start in its settings volume)"),
        ("twofa_timeout_action", kinds.word_of("exit", "restart", fold=str.lower), "restart",
         "What the gateway's controller does when the second factor is not confirmed"),
        ("auto_restart_time", kinds.CLOCK_TIME, "11:45 PM",
         "When the gateway restarts itself each night, in TIME_ZONE"),
        ("weekly_login", kinds.WEEK_TIME, _UNSET,
         "The hour of the week, in TIME_ZONE, of the full login that IBKR asks for after Sunday 01:00 US Eastern"),
        ("weekly_login_reminder_s", kinds.DURATION, "2h",
         "How long before WEEKLY_LOGIN the operator is reminded to have the phone at hand; 0 for no reminder"),
        ("read_only_api", kinds.SWITCH, "no",
         "Refuse every order at the gateway"),
        ("gateway_memory_limit", kinds.MEMORY, "2g",
         "Memory limit of the container"),
    ),
    "Gameplan": (
        ("gameplan_path", kinds.PATH, _UNSET,
         "The day's plan; without one the bot starts on Strategy C, which trades nothing"),
        ("emergency_gameplan_path", kinds.PATH, ("", "state/emergency_gameplan.json"),
         "Where Strategy C is written"),
        ("gameplan_schema", kinds.PATH, _UNSET,
         "A further JSON Schema that the plan must satisfy too"),
        ("gameplan_freshness", one_of(GameplanFreshness), "today",
         "Whether the plan's date must be today's"),
        ("market_timezone", kinds.TIME_ZONE, "America/New_York",
         "The time zone that says what today is"),
        ("market_calendar", kinds.MARKET_CALENDAR, "NYSE",
         "On which days the market is open: an exchange, `none` (weekdays) or `daily`, and a file of closed dates"),
        ("market_close", kinds.DAY_TIME, ("", "by calendar: 16:00 and 13:00 for NYSE, midnight for others"),
         "When sessions close in MARKET_TIMEZONE: from then on the next session's plan counts"),
    ),
    "Bot": (
        ("bot_runtime", one_of(BotRuntime), "process",
         "Who runs the bot: a process of this host, or the container of the service in BOT_COMPOSE_DIR"),
        ("bot_command", kinds.COMMAND, ("", "the built-in reference bot"),
         "The bot's program and arguments, quoted as for a shell (no shell runs it)"),
        ("bot_workdir", kinds.PATH, ("", "the project folder"),
         "The bot's working folder"),
        ("bot_arguments", one_of(BotArguments), "append",
         "Append --gateway-host, --gateway-port, --gameplan, --log-level (the environment says the same either way)"),
        ("strategy_c_bot", one_of(StrategyCBot), "guarded",
         "On Strategy C: the bot behind the order guard, which passes no order; trusted to obey its plan; or no bot"),
        ("start_with_open_orders", one_of(StartWithOpenOrders), "warn",
         "Orders that can still fill at the broker: warn and start the bot, or refuse; unknown counts as open"),
        ("bot_client_id", whole_number(0, 2_000_000_000), ("", "1 (other instances: one of their own)"),
         "API client id for the bot: in its environment if set; the reference bot tries the next nine if it is in use"),
        ("bot_log_level", kinds.LOG_LEVEL, "INFO",
         "The level the bot is given"),
        ("bot_start_grace_s", seconds(0.1, 3600), "5",
         "How long a bot that says nothing must stay alive to count as up"),
        ("bot_connect_timeout_s", seconds(1, 86400), _UNSET,
         "Under supervision: after how long a bot that never connected to a ready gateway is an incident"),
        ("bot_stop_timeout_s", seconds(0, 3600), "60",
         "How long the bot has to stop gracefully before it is killed"),
        ("bot_pass_env", kinds.VARIABLES, _UNSET,
         "Those of this program's own secrets that the bot needs too"),
        ("bot_log_max_mb", whole_number(1, 1_000_000), "100",
         "Size in megabytes from which the bot's log is cut back"),
    ),
    "Bot's container": (
        ("bot_container_name", kinds.NAME, ("", "`ibkr-bot`, and `-<instance>` for instances other than `default`"),
         "With BOT_RUNTIME=docker: exact name of the bot's container, and the name of its Compose project"),
        ("bot_service", kinds.NAME, "bot",
         "The service in the Compose file"),
        ("bot_compose_dir", kinds.PATH, "docker/bot",
         "Folder of the bot's Compose file"),
        ("bot_image", kinds.IMAGE, "zero-touch/bot:latest",
         "The image of the bot's container; its entrypoint is the bot, which takes the place of BOT_COMMAND"),
        ("bot_memory_limit", kinds.MEMORY, "1g",
         "Memory limit of the container"),
    ),
    "Supervision": (
        ("monitor_interval_s", seconds(1, 3600), "60",
         "How often a supervisor looks at everything; Docker's events and the bot's end are seen at once"),
        ("gameplan_due", kinds.DAY_TIME, "09:15",
         "When, on session days in MARKET_TIMEZONE, a missing plan for the day is alerted"),
        ("watched_state_dir", kinds.PATH, _UNSET,
         "For `inv monitor` in a container: the state folder of the system that it watches, mounted there"),
        ("gateway_watched_by", kinds.NAME, _UNSET,
         "Set in the stack: the container that watches the gateway and alerts about it, so that this program does not"),
        ("in_stack", kinds.SWITCH, "no",
         "Set in the stack's containers: advice then names commands that work from outside them"),
        ("startup_max_attempts", whole_number(1, 100), "3",
         "How many failed starts and unplanned ends within STARTUP_ATTEMPT_WINDOW end a boot service's tries"),
        ("startup_attempt_window_s", seconds(1, 86400), "3600",
         "How long a failed start or an unplanned end counts"),
    ),
    "Alerts": (
        ("discord_webhook_url", kinds.WEB_ADDRESS, _UNSET,
         "Where alerts go; without it they are only logged"),
        ("alert_urls", kinds.ADDRESSES, _UNSET,
         "Further alert channels: Apprise addresses (ntfys://…, tgram://…), `level=` in the query for one's own level"),
        ("alert_level", kinds.ALERT_LEVEL, "info",
         "The mildest alerts that are sent; `outcome` is `info` without progress: a good start is one message"),
        ("show_amounts", kinds.SWITCH, "no",
         "Show quantities and values in status, live page and alerts; `no` shows counts, symbols and the cushion"),
        ("discord_mention", kinds.MENTION, _UNSET,
         "Whom a critical alert mentions"),
        ("heartbeat_url", kinds.WEB_ADDRESS, _UNSET,
         "A healthchecks.io style address: pinged at start, success and failure"),
    ),
    "Several hosts": (
        ("lease_etcd", kinds.ETCD_ENDPOINTS, _UNSET,
         "Addresses of an etcd v3 cluster that decides which of several hosts runs this instance (Linux only)"),
        ("lease_ttl_s", seconds(3, 600), "15",
         "How long a host that died keeps the lease; the bot of a host that cannot renew it is killed after 0.6 of it"),
        ("standby_gateway", one_of(StandbyGateway), "cold",
         "The gateway of a host that stands by: `cold` keeps it logged out; `hot` keeps it up, under an own user name"),
        ("lease_host", kinds.NAME, ("", "the host's name"),
         "This host's name in the lease; no two hosts may have the same"),
        ("lease_ca", kinds.PATH, _UNSET,
         "The certificate authority of the cluster's https addresses, a PEM file"),
        ("lease_cert", kinds.PATH, _UNSET,
         "This host's client certificate for the cluster, a PEM file; needs LEASE_KEY"),
        ("lease_key", kinds.PATH, _UNSET,
         "The private key of LEASE_CERT, a PEM file"),
        ("lease_user", kinds.TEXT, _UNSET,
         "The cluster's user name, where it asks for one; needs LEASE_PASSWORD"),
        ("lease_password", kinds.PASSWORD, _UNSET,
         "The password of LEASE_USER; LEASE_PASSWORD_FILE may name a file instead"),
    ),
    "Live page": (
        ("status_listen", kinds.LISTEN, _UNSET,
         "Where a supervisor and `inv monitor` serve a page, /healthz and /metrics, to read only"),
        ("status_token", kinds.SECRET, _UNSET,
         "What a reader of the live page must give; required where STATUS_LISTEN is not this host's loopback"),
    ),
}
# fmt: on


def _read_table() -> Iterator[Variable]:
    for group, rows in _TABLE.items():
        for field, kind, default, text in rows:
            parsed, shown = (default, default) if isinstance(default, str) else default
            name = field.removesuffix("_s").upper()
            yield Variable(
                field=field, name=name, default=parsed, kind=kind, help=text, group=group, shown_default=shown
            )


_BY_FIELD = {variable.field: variable for variable in _read_table()}


def variables_by_field() -> dict[str, Variable]:
    """Every declared variable by the name of its field in `Settings`, in the order of declaration."""
    return dict(_BY_FIELD)


def known_names() -> frozenset[str]:
    """Every name the program reads: the variables, `NAME_FILE` of the secrets, and `ENV_FILE`."""
    names = {variable.name for variable in _BY_FIELD.values()}
    return frozenset(names | {f"{one.name}_FILE" for one in _BY_FIELD.values() if one.secret} | {ENV_FILE})


def find_near_misses(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each name that looks like a mistyped one of ours. Only names are shown, never values.

    The environment is shared by all programs, and lower-case names in it are not ours unless they spell one of ours;
    the `.env` file is ours alone.
    """
    known = known_names()
    warnings = []
    for name in sorted({*environ, *dotenv} - known - IMAGE_VARIABLES.keys()):
        upper = name.upper()
        if name != upper and name not in dotenv and upper not in known:
            continue
        near = difflib.get_close_matches(upper, known, n=1, cutoff=_NEAR_MISS_RATIO)
        # `CONTAINER_NAME` in the environment is a word of its own, not a mistyped `BOT_CONTAINER_NAME`.
        if near and (name in dotenv or not near[0].endswith(f"_{upper}")):
            warnings.append(f"{name} is not a variable of this program; did you mean {near[0]}?")
    return tuple(warnings)
