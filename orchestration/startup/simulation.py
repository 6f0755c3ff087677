"""`inv startup --simulate`: the whole sequence on the built-in gateway and a sample plan.

It runs the operator's own bot where BOT_COMMAND is set (`preflight.trial` keeps that from a real gateway), else the
reference bot.
"""

from pathlib import Path

from orchestration.settings import CalendarRule, Settings
from orchestration.system.clock import Clock

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
