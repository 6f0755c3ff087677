"""Plans for the tests: valid ones from tests/fixtures/gameplans, and changed ones."""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from orchestration.gameplan import GameplanVerdict, MarketCalendar, PlanPolicy, build_calendar, check_gameplan
from orchestration.settings import GameplanFreshness
from tests.fakes.clock import WEDNESDAY_MORNING, FakeClock

FIXTURES: Final = Path(__file__).resolve().parents[2] / "fixtures" / "gameplans"
NEW_YORK: Final = ZoneInfo("America/New_York")
NYSE: Final = build_calendar("NYSE", zone=NEW_YORK)
_LONG_AGO = datetime(2026, 11, 18, 1, 0, tzinfo=NEW_YORK)


class _Removed:
    """Stands for a field that is taken out."""


REMOVED: Final = _Removed()


def load_plan(name: str = "full") -> dict[str, Any]:
    """One of the valid plans, dated 2026-11-18."""
    plan: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return plan


def changed(changes: Mapping[str, object], name: str = "full") -> dict[str, Any]:
    """A valid plan with fields set, or removed, by dotted name."""
    plan = load_plan(name)
    for place, value in changes.items():
        *parents, last = place.split(".")
        target = plan
        for parent in parents:
            target = target[parent]
        if value is REMOVED:
            del target[last]
        else:
            target[last] = value
    return plan


def write_plan(folder: Path, plan: object, *, written: datetime = _LONG_AGO) -> Path:
    """Write a plan (an object, a text or bytes) and set the time of its writing; by default well in the past."""
    path = folder / "plan.json"
    content = plan if isinstance(plan, bytes) else (plan if isinstance(plan, str) else json.dumps(plan)).encode()
    path.write_bytes(content)
    os.utime(path, (written.timestamp(), written.timestamp()))
    return path


def judge(
    path: Path | None,
    *,
    now: datetime = WEDNESDAY_MORNING,
    clock: FakeClock | None = None,
    freshness: GameplanFreshness = GameplanFreshness.TODAY,
    calendar: MarketCalendar = NYSE,
) -> GameplanVerdict:
    """`check_gameplan` in New York on a Wednesday morning, without a further schema."""
    return check_gameplan(
        path, clock=clock or FakeClock(now), policy=PlanPolicy(calendar=calendar, freshness=freshness)
    )
