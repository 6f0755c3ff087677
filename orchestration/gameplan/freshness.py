"""Whether a plan's date is right now.

A trading plan counts on its own date, if that is a session of the market. Once today's session is over, and on a day
without one, the plan of the next session counts too: it is written and put in place the evening before. A plan that
chooses Strategy C counts on its date whether the market is open or not.
"""

from datetime import date, datetime

from orchestration.errors import FallbackWord
from orchestration.gameplan.calendar import MarketCalendar


def expected_dates(now: datetime, calendar: MarketCalendar, *, trades: bool) -> frozenset[date]:
    """The dates that a plan may bear now; empty for a trading plan where the market has no session within a year.

    Args:
        now: An aware instant.
        calendar: The market's sessions.
        trades: Whether the plan allows trading.
    """
    today = calendar.today(now)
    dates = {today} if calendar.is_session(today) or not trades else set[date]()
    following = calendar.next_session(today) if calendar.has_closed(now) else None
    return frozenset(dates if following is None else {*dates, following})


def judge_date(plan_date: date, now: datetime, calendar: MarketCalendar, *, trades: bool) -> FallbackWord | None:
    """None for a plan whose date is right, else why it is not.

    `GAMEPLAN_NO_SESSION`: a trading plan for a day on which the market is closed. `GAMEPLAN_STALE`: its date has
    passed. `GAMEPLAN_NOT_YET`: its date is still to come.
    """
    if trades and not calendar.is_session(plan_date):
        return FallbackWord.GAMEPLAN_NO_SESSION
    if plan_date in expected_dates(now, calendar, trades=trades):
        return None
    return FallbackWord.GAMEPLAN_STALE if plan_date < calendar.today(now) else FallbackWord.GAMEPLAN_NOT_YET


def describe_wrong_date(
    plan_date: date, word: FallbackWord, now: datetime, calendar: MarketCalendar, *, trades: bool
) -> str:
    """What is wrong with a date that `judge_date` refused, in one clause."""
    dates = sorted(expected_dates(now, calendar, trades=trades))
    expected = " or ".join(str(one) for one in dates) if dates else "none: the market has no session within a year"
    relation = {
        FallbackWord.GAMEPLAN_NO_SESSION: "is for a day on which the market is closed",
        FallbackWord.GAMEPLAN_STALE: "is out of date",
    }.get(word, "is for a later day")
    return f"the plan {relation}: it is dated {plan_date}, expected is {expected} ({calendar.zone.key})"
