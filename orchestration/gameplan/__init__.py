"""The day's gameplan: read safely, judged, put in force; or Strategy C in its place.

A bad plan is never a failure and never a crash. Whatever is on disk, `check_gameplan` returns a verdict, and
`put_in_force` turns the verdict into a file that the bot may be given: a copy of exactly the bytes that were judged, or
the emergency plan, which trades nothing. Only when even that cannot be written does the start-up fail.

- `reader`: bytes from disk and strict JSON from bytes
- `rules`: the schema, and what a schema cannot say
- `near_misses`: names of fields that look like a slip of a known one
- `extra_schema`: the operator's own schema, judged in a process that can be killed
- `freshness`: which dates are today's
- `check`: the verdict
- `strategy_c`: the emergency plan
- `in_force`: what the bot gets
- `sample`: a plan for `inv startup --simulate`
"""

from orchestration.gameplan.check import check_from_settings, check_gameplan, read_plan_for_bot
from orchestration.gameplan.extra_schema import schema_problem
from orchestration.gameplan.freshness import expected_dates, is_weekend
from orchestration.gameplan.in_force import GameplanInForce, fall_back, put_in_force, refuse_outdated
from orchestration.gameplan.rules import preload
from orchestration.gameplan.sample import write_sample_plan
from orchestration.gameplan.strategy_c import build_strategy_c
from orchestration.gameplan.verdict import GameplanError, GameplanVerdict

__all__ = [
    "GameplanError",
    "GameplanInForce",
    "GameplanVerdict",
    "build_strategy_c",
    "check_from_settings",
    "check_gameplan",
    "expected_dates",
    "fall_back",
    "is_weekend",
    "preload",
    "put_in_force",
    "read_plan_for_bot",
    "refuse_outdated",
    "schema_problem",
    "write_sample_plan",
]
