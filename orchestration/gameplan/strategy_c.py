"""Strategy C, the emergency plan: no entries; what is open may only be reduced or protected.

Every limit in it is zero, and a zero limit forbids: it never means "no limit". A bot that reads 0 as "unlimited" must
not be run with this program.
"""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.errors import FallbackWord


def build_strategy_c(now: datetime, market_timezone: ZoneInfo, word: FallbackWord) -> dict[str, Any]:
    """The emergency plan for today.

    Args:
        now: An aware instant.
        market_timezone: The zone that says what today is; `date` and `session_id` are in it.
        word: Why it is needed; stands in `emergency_reason`.
    """
    local = now.astimezone(market_timezone)
    return {
        "date": local.date().isoformat(),
        "session_id": f"emergency_{local:%Y%m%d_%H%M%S}",
        "regime": "crisis",
        "strategy": "C",
        "symbols": [],
        "position_size_multiplier": 0.0,
        "vix_at_analysis": 0.0,
        "vix_source_verified": False,
        "bias": "neutral",
        "expected_behavior": "mean_reverting",
        "key_levels": {},
        "catalysts": ["Emergency plan: no trading is authorised"],
        "geo_risk": "high",
        "alert_message": f"EMERGENCY PLAN active ({word}): no trading is authorised. An operator is needed.",
        "data_quality": {
            "quarantine_active": True,
            "stale_fields": ["all"],
            "last_verified": now.astimezone(UTC).isoformat(timespec="seconds"),
            "discrepancy_count": 0,
        },
        "hard_limits": {
            "max_daily_loss_pct": 0.0,
            "max_single_position": 0,
            "pdt_trades_remaining": 0,
            "force_close_at_dte": 1,
            "weekly_drawdown_governor_active": True,
            "max_intraday_pivots": 0,
        },
        "scorecard": {"trades": 0, "wins": 0, "losses": 0, "realized_pnl": 0.0},
        "emergency_reason": str(word),
    }


def render_plan(plan: dict[str, Any]) -> bytes:
    """A plan as the bytes of its file."""
    return (json.dumps(plan, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
