"""The day's gameplan: read safely, judged, put in force; or Strategy C in its place.

A bad plan is never a failure and never a crash. Whatever is on disk, `check_gameplan` returns a verdict, and
`put_in_force` turns the verdict into a file that the bot may be given: a copy of exactly the bytes that were judged, or
the emergency plan, which trades nothing. Only when even that cannot be written does the start-up fail.

- `reader`: bytes from disk and strict JSON from bytes
- `rules`: the schema, and what a schema cannot say
- `near_misses`: names of fields that look like a slip of a known one
- `extra_schema`: the operator's own schema, judged in a process that can be killed
- `calendar`: which days are sessions of the market, and when they close
- `freshness`: which dates a plan may bear now
- `check`: the verdict
- `strategy_c`: the emergency plan
- `in_force`: what the bot gets
- `sample`: plans to start from, for `inv startup --simulate` and `inv gameplan.new`
"""

from orchestration.gameplan.calendar import MarketCalendar, build_calendar, load_calendar
from orchestration.gameplan.check import check_from_settings, check_gameplan, hold_until_its_day, read_plan_for_bot
from orchestration.gameplan.extra_schema import schema_problem
from orchestration.gameplan.freshness import expected_dates
from orchestration.gameplan.in_force import GameplanInForce, fall_back, put_in_force, refuse_outdated
from orchestration.gameplan.rules import preload
from orchestration.gameplan.sample import build_new_plan, write_new_plan, write_sample_plan
from orchestration.gameplan.strategy_c import build_strategy_c
from orchestration.gameplan.verdict import GameplanError, GameplanVerdict

__all__ = [
    "GameplanError",
    "GameplanInForce",
    "GameplanVerdict",
    "MarketCalendar",
    "build_calendar",
    "build_new_plan",
    "build_strategy_c",
    "check_from_settings",
    "check_gameplan",
    "expected_dates",
    "fall_back",
    "hold_until_its_day",
    "load_calendar",
    "preload",
    "put_in_force",
    "read_plan_for_bot",
    "refuse_outdated",
    "schema_problem",
    "write_new_plan",
    "write_sample_plan",
]
