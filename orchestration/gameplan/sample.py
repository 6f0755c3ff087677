"""Valid plans to start from: for `inv startup --simulate`, and for a plan's author (`inv gameplan.new`)."""

from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.gameplan.calendar import MarketCalendar
from orchestration.gameplan.strategy_c import render_plan
from orchestration.system.clock import Clock
from orchestration.system.files import write_atomic


def write_sample_plan(path: Path, *, clock: Clock, market_timezone: ZoneInfo) -> Path:
    """Write a valid strategy A plan that is dated today, and return its path.

    Raises:
        OSError: It could not be written.
    """
    local = clock.now().astimezone(market_timezone)
    plan = _build_plan(local.date(), local) | {
        "alert_message": "Sample plan of the simulation: nothing is traded on it."
    }
    write_atomic(path, render_plan(plan))
    return path


def build_new_plan(
    strategy: str, plan_date: date | None, *, now: datetime, calendar: MarketCalendar
) -> dict[str, Any] | None:
    """A valid plan to start from, or None where a trading plan has no session on that date.

    Args:
        strategy: `A`, `B` or `C`.
        plan_date: Its date; by default today's session, or the next one where today's is over or there is none.
        now: An aware instant.
        calendar: The market's sessions.
    """
    if plan_date is None:
        plan_date = calendar.next_session(calendar.today(now)) if calendar.has_closed(now) else calendar.today(now)
    trades = strategy != "C"
    if plan_date is None or (trades and not calendar.is_session(plan_date)):
        return None
    plan = _build_plan(plan_date, now.astimezone(calendar.zone)) | {"strategy": strategy}
    if not trades:
        plan |= {"symbols": [], "position_size_multiplier": 0.0}
    return plan


def write_new_plan(path: Path, plan: dict[str, Any]) -> None:
    """Write a plan to a file that is not there yet.

    Raises:
        FileExistsError: It is there.
        OSError: It cannot be written.
    """
    with path.open("xb") as file:
        file.write(render_plan(plan))


def _build_plan(plan_date: date, local: datetime) -> dict[str, Any]:
    return {
        "date": plan_date.isoformat(),
        "session_id": f"sample_{local:%Y%m%d_%H%M%S}",
        "strategy": "A",
        "regime": "normal",
        "symbols": ["SPY", "QQQ"],
        "position_size_multiplier": 0.5,
        "vix_at_analysis": 16.4,
        "vix_source_verified": True,
        "bias": "neutral",
        "expected_behavior": "trending",
        "geo_risk": "low",
        "entry_window_start": "09:45",
        "entry_window_end": "15:30",
        "vix_gate": {"check_time": "09:40", "threshold": 25},
        "catalysts": [],
        "earnings_blackout": [],
        "hard_limits": {
            "max_daily_loss_pct": 0.02,
            "max_weekly_drawdown_pct": 0.05,
            "max_single_position": 0.25,
            "pdt_trades_remaining": 3,
            "force_close_at_dte": 1,
            "weekly_drawdown_governor_active": False,
            "max_intraday_pivots": 2,
        },
        "data_quality": {
            "quarantine_active": False,
            "stale_fields": [],
            "last_verified": local.isoformat(timespec="seconds"),
            "discrepancy_count": 0,
        },
    }
