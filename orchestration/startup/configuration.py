"""The configuration that a command works with. Apart from the sequence: a command that only looks loads little.

`inv startup --simulate` runs the whole sequence on the built-in gateway and a sample plan: with the operator's own bot
where BOT_COMMAND is set (`preflight.trial` keeps that from a real gateway), else with the reference bot.
"""

from pathlib import Path

from orchestration.errors import StartupFailure
from orchestration.settings import CalendarRule, Settings
from orchestration.settings.sources import leaves_instance_unknown, read_environment
from orchestration.system.clock import Clock

_NAME_THE_INSTANCE = (
    " To inspect or stop what is running before that, name the instance in front of the command, for example "
    "`INSTANCE=default STATE_DIR=state inv shutdown`."
)
_SERVICE_DOCKER_TIMEOUT_S = "180"  # Docker Desktop needs up to minutes after logon
_SAMPLE = "sample_gameplan.json"
# Empty stands for "not set": what the operator configured for the real system must not leak into a simulated run.
_UNSET = (
    "GATEWAY_ACCOUNT",
    "GATEWAY_HOST",
    "GAMEPLAN_SCHEMA",
    "GAMEPLAN_FRESHNESS",
    "MARKET_CLOSE",
    "BOT_RUNTIME",
    "WATCHED_STATE_DIR",
    "ALLOW_LIVE_TRADING",
    "READ_ONLY_API",
)
# How the operator's own bot is started. The reference bot does not need it.
_OF_OWN_BOT = ("BOT_COMMAND", "BOT_WORKDIR", "BOT_ARGUMENTS", "BOT_PASS_ENV")


def load_settings_of_what_runs() -> Settings:
    """The configuration for commands that look at, or stop, what runs already.

    A wrong setting must not make a system that runs impossible to stop: it is only a warning here, unless it leaves in
    doubt which instance is meant.

    Raises:
        StartupFailure: `CONFIG_INVALID`: it does.
    """
    try:
        return Settings.load()
    except StartupFailure as failure:
        if not is_instance_unknown(failure):
            return Settings.load(lenient=True)
        raise StartupFailure(
            failure.word,
            failure.message,
            next_action=failure.next_action + _NAME_THE_INSTANCE,
            evidence=failure.evidence,
        ) from failure


def is_instance_unknown(failure: StartupFailure) -> bool:
    """Whether what is wrong with the configuration leaves in doubt which instance is meant."""
    return leaves_instance_unknown(failure.evidence, read_environment())


def load_settings(*, simulate: bool = False, service: bool = False, lenient: bool = False) -> Settings:
    """The configuration; for `--simulate` with the built-in gateway and a sample plan of today.

    Args:
        simulate: Whether the built-in gateway, a sample plan and the reference bot are used.
        service: Whether a boot service starts it: Docker is then waited for, unless the operator said how long.
        lenient: Whether defaults take the place of wrong values, for a report about what is wrong.

    Raises:
        StartupFailure: `CONFIG_INVALID`; never where `lenient`.
    """
    overrides: dict[str, str] = {}
    if simulate:
        overrides |= build_overrides(Settings.load(lenient=True))
    if service and any(
        row.name == "DOCKER_START_TIMEOUT" and row.source == "default" for row in Settings.load(lenient=True).sources
    ):
        overrides["DOCKER_START_TIMEOUT"] = _SERVICE_DOCKER_TIMEOUT_S
    return Settings.load(overrides=overrides, simulated=simulate, lenient=lenient)


def sample_plan_path(settings: Settings) -> Path:
    """Where the sample plan of an instance lies."""
    return settings.state_dir / _SAMPLE


def build_overrides(settings: Settings) -> dict[str, str]:
    """What `--simulate` sets over the environment and `.env`. Pure."""
    has_own_bot = any(row.name == "BOT_COMMAND" and row.source != "default" for row in settings.sources)
    return dict.fromkeys(_UNSET if has_own_bot else (*_UNSET, *_OF_OWN_BOT), "") | {
        "GATEWAY_RUNTIME": "simulator",
        "TRADING_MODE": "paper",
        "GAMEPLAN_PATH": str(sample_plan_path(settings)),
        "MARKET_CALENDAR": CalendarRule.DAILY,  # it is to be tried on a Sunday, too
    }


def ensure_sample_plan(settings: Settings, *, clock: Clock) -> None:
    """Write a sample plan of today.

    Raises:
        OSError: It could not be written; the start-up will then say so and fall back to Strategy C.
    """
    from orchestration.gameplan import write_sample_plan

    write_sample_plan(sample_plan_path(settings), clock=clock, market_timezone=settings.market_timezone)
