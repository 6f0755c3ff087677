"""Which dates a plan may bear now.

"Today" is the market's: the date in `MARKET_TIMEZONE`. After the close, and at a weekend, the plan of the next trading
day is written and put in place, so the next weekday counts too. Exchange holidays are not known here: on a holiday the
day's own plan is accepted, and it is the plan's author who writes strategy C for it.
"""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from orchestration.errors import FallbackWord

_CLOSE = time(16, 0)  # regular trading in US equities ends at 16:00 New York time; the specification's figure
_SATURDAY = 5


def expected_dates(now: datetime, market_timezone: ZoneInfo) -> frozenset[date]:
    """The dates that count as today's.

    Args:
        now: An aware instant.
        market_timezone: The zone that says what today is.

    Returns:
        Today, and from 16:00 on or at a weekend also the next weekday.
    """
    local = now.astimezone(market_timezone)
    today = local.date()
    if today.weekday() < _SATURDAY and local.time() < _CLOSE:
        return frozenset({today})
    following = today + timedelta(days=1)
    while following.weekday() >= _SATURDAY:
        following += timedelta(days=1)
    return frozenset({today, following})


def judge_date(plan_date: date, now: datetime, market_timezone: ZoneInfo) -> FallbackWord | None:
    """None for a fresh plan, else `GAMEPLAN_STALE` (earlier than today) or `GAMEPLAN_NOT_YET` (later than today)."""
    expected = expected_dates(now, market_timezone)
    if plan_date in expected:
        return None
    return FallbackWord.GAMEPLAN_STALE if plan_date < min(expected) else FallbackWord.GAMEPLAN_NOT_YET


def describe_wrong_date(plan_date: date, word: FallbackWord, now: datetime, market_timezone: ZoneInfo) -> str:
    """What is wrong with a date that `judge_date` refused, in one clause."""
    expected = " or ".join(str(one) for one in sorted(expected_dates(now, market_timezone)))
    relation = "is out of date" if word is FallbackWord.GAMEPLAN_STALE else "is for a later day"
    return f"the plan {relation}: it is dated {plan_date}, expected is {expected} ({market_timezone.key})"


def is_weekend(now: datetime, market_timezone: ZoneInfo) -> bool:
    """Whether today is a Saturday or a Sunday in the market's time zone."""
    return now.astimezone(market_timezone).weekday() >= _SATURDAY
