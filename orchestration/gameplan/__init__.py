"""The day's gameplan: read safely, judged, activated; or Strategy C in its place.

A bad plan is never a failure and never a crash. Whatever is on disk, `check_gameplan` returns a verdict, and
`activate_plan` turns the verdict into a file that the bot may be given: a copy of exactly the bytes that were checked,
or the emergency plan, which trades nothing. The start-up fails only if even that cannot be written.

- `reader`: bytes from disk and strict JSON from bytes
- `rules`: the schema, and what a schema cannot say
- `near_misses`: names of fields that look like a slip of a known one
- `extra_schema`: the operator's own schema, judged in a process that can be killed
- `calendar`: which days are sessions of the market, and when they close
- `check`: the verdict
- `strategy_c`: the emergency plan
- `activation`: what the bot gets
- `sample`: plans to start from, for `inv startup --simulate` and `inv gameplan.new`
"""

from orchestration.gameplan.activation import (
    ActivePlan,
    activate_plan,
    fall_back_to_strategy_c,
    find_copy_problem,
    refuse_outdated,
)
from orchestration.gameplan.calendar import (
    MarketCalendar,
    build_calendar,
    expected_dates,
    find_skew_problem,
    load_calendar,
)
from orchestration.gameplan.check import (
    PlanPolicy,
    check_from_settings,
    check_gameplan,
    hold_until_its_day,
    read_plan_for_bot,
)
from orchestration.gameplan.extra_schema import schema_problem
from orchestration.gameplan.reader import read_content
from orchestration.gameplan.rules import preload
from orchestration.gameplan.sample import build_new_plan, write_new_plan, write_sample_plan
from orchestration.gameplan.strategy_c import build_strategy_c
from orchestration.gameplan.verdict import GameplanError, GameplanVerdict

__all__ = [
    "ActivePlan",
    "GameplanError",
    "GameplanVerdict",
    "MarketCalendar",
    "PlanPolicy",
    "activate_plan",
    "build_calendar",
    "build_new_plan",
    "build_strategy_c",
    "check_from_settings",
    "check_gameplan",
    "expected_dates",
    "fall_back_to_strategy_c",
    "find_copy_problem",
    "find_skew_problem",
    "hold_until_its_day",
    "load_calendar",
    "preload",
    "read_content",
    "read_plan_for_bot",
    "refuse_outdated",
    "schema_problem",
    "write_new_plan",
    "write_sample_plan",
]
