"""`inv startup --simulate`: the whole sequence on the built-in gateway, a sample plan and the reference bot."""

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
    "BOT_COMMAND",
    "BOT_WORKDIR",
    "BOT_ARGUMENTS",
    "BOT_PASS_ENV",
    "BOT_RUNTIME",
    "WATCHED_STATE_DIR",
    "ALLOW_LIVE_TRADING",
    "READ_ONLY_API",
)


def sample_plan_path(settings: Settings) -> Path:
    """Where the sample plan of an instance lies."""
    return settings.state_dir / _SAMPLE


def build_overrides(settings: Settings) -> dict[str, str]:
    """What `--simulate` sets over the environment and `.env`. Pure."""
    return dict.fromkeys(_UNSET, "") | {
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
