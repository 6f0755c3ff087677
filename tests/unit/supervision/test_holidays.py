"""Supervision over the exchange's own holidays, half days and weekends: no alarm too many, none too few (P4)."""

from dataclasses import replace
from datetime import date, datetime, time, timedelta

import pytest

from orchestration.errors import FallbackWord
from orchestration.gameplan.calendar import judge_date
from orchestration.supervision import IncidentKind, MarketLook, PlanCandidate, PlanObservation
from tests.unit.gameplan.plans import NEW_YORK, NYSE
from tests.unit.supervision.scene import PLAN, Watch, unusable, valid

_DUE = time(9, 15)
_MISSING = PlanCandidate(word=FallbackWord.GAMEPLAN_MISSING)
_WEEKS = [
    # Thanksgiving is a Thursday, and the day after it closes at 13:00.
    pytest.param(
        date(2026, 11, 24), 9, ["2026-11-24", "2026-11-25", "2026-11-27", "2026-11-30", "2026-12-01", "2026-12-02"],
        id="Thanksgiving 2026",
    ),
    # Christmas Eve closes at 13:00; Christmas is a Friday.
    pytest.param(date(2026, 12, 23), 7, ["2026-12-23", "2026-12-24", "2026-12-28", "2026-12-29"], id="Christmas 2026"),
    # Christmas is a Saturday, so Friday, Christmas Eve, is closed.
    pytest.param(date(2027, 12, 22), 6, ["2027-12-22", "2027-12-23", "2027-12-27"], id="Christmas 2027"),
    # Independence Day is a Sunday, so Monday is closed.
    pytest.param(date(2027, 7, 2), 5, ["2027-07-02", "2027-07-06"], id="Independence Day 2027"),
]  # fmt: skip


def look_at_market(now: datetime) -> MarketLook:
    return MarketLook(
        today=now.date(),
        is_session=NYSE.is_session(now.date()),
        is_past_due=now.time() >= _DUE,
        is_before_close=not NYSE.has_closed(now),
    )


def next_session(day: date) -> date:
    found = day if NYSE.is_session(day) else NYSE.next_session(day)
    assert found is not None
    return found


@pytest.mark.parametrize(("first", "days", "sessions"), _WEEKS)
def test_a_plan_is_missed_once_on_each_day_with_a_session_and_on_no_other(
    first: date, days: int, sessions: list[str]
) -> None:
    watch, missed = Watch(), []
    emergency = replace_plan(first - timedelta(days=1), is_emergency=True, candidate=_MISSING)
    for hour in range(24 * days):
        now = datetime.combine(first, time(0, 30), tzinfo=NEW_YORK) + timedelta(hours=hour)
        before = watch.kinds().count(IncidentKind.PLAN_MISSING)
        watch.go_on(120, market=look_at_market(now), plan=emergency)
        missed += [str(now.date())] * (watch.kinds().count(IncidentKind.PLAN_MISSING) - before)
    assert missed == sessions


@pytest.mark.parametrize(("first", "days", "sessions"), _WEEKS)
def test_a_plan_for_each_session_in_time_raises_no_alarm(first: date, days: int, sessions: list[str]) -> None:
    watch, traded = Watch(), set()
    for hour in range(24 * days):
        now = datetime.combine(first, time(0, 30), tzinfo=NEW_YORK) + timedelta(hours=hour)
        # The next one is there as soon as the session is over; the bot has had the present one since midnight.
        ahead = next_session(now.date() + timedelta(days=1)) if NYSE.has_closed(now) else next_session(now.date())
        word = judge_date(ahead, now, NYSE, trades=True)
        traded |= {str(now.date())} if word is None and ahead == now.date() else set()
        of_bot = now.date() if NYSE.is_session(now.date()) else ahead
        candidate = valid(ahead) if word is None else unusable(word)
        watch.go_on(120, market=look_at_market(now), plan=replace_plan(of_bot, candidate=candidate))
    assert IncidentKind.PLAN_MISSING not in watch.kinds()
    assert sorted(traded) == sessions


def replace_plan(day: date, *, candidate: PlanCandidate, is_emergency: bool = False) -> PlanObservation:
    """The bot's plan: one that trades on this day, or the emergency plan."""
    return replace(
        PLAN, date=day, strategy="C" if is_emergency else PLAN.strategy, is_emergency=is_emergency, candidate=candidate
    )
