"""Which days are sessions of the market, when they close, and whether a plan's date is right now.

A trading plan counts on its own date, if that is a session of the market. Once today's session is over, and on a day
without one, the plan of the next session counts too: it is written and put in place the evening before. A plan that
chooses Strategy C counts on its date whether the market is open or not.

The days come from the `holidays` package, which knows the holidays and half days of some forty exchanges and no closing
times; `exchange_calendars`, which knows both and needs pandas, is the oracle in the tests. The package is imported when
the first calendar is asked for a day (0.03 s).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.errors import FallbackWord
from orchestration.settings import CalendarRule, Settings
from orchestration.settings.market_calendar import is_new_york

# Regular trading on the New York exchanges ends at 16:00, on half days at 13:00 New York time (nyse.com, "Holidays and
# trading hours").
_NEW_YORK_CLOSE = time(16, 0)
_NEW_YORK_HALF_DAY_CLOSE = time(13, 0)
_SATURDAY = 5
_SEARCH_DAYS = 366  # no exchange is closed for longer

SKEW_LIMIT_S = 60.0  # SPEC G7: beyond it "today" is in doubt


@dataclass(frozen=True, kw_only=True)
class MarketCalendar:
    """The sessions of a market.

    Attributes:
        zone: Its time zone, which says what today is.
        regular_close: When sessions close; None for midnight.
        half_day_close: When half days close; None: as every session.
        is_open_on: Whether the market is open on a day, as far as the exchange says.
        is_half_day: Whether a session is a half day.
        closed: Further days on which it is closed, from the operator's file.
    """

    zone: ZoneInfo
    regular_close: time | None = None
    half_day_close: time | None = None
    is_open_on: Callable[[date], bool]
    is_half_day: Callable[[date], bool] = field(default=lambda _day: False)
    closed: frozenset[date] = frozenset()

    def is_session(self, day: date) -> bool:
        """Whether the market is open on a day."""
        return day not in self.closed and self.is_open_on(day)

    def next_session(self, after: date) -> date | None:
        """The first session after a day; None if there is none within a year (a file may close every day)."""
        days = (after + timedelta(days=number) for number in range(1, _SEARCH_DAYS + 1))
        return next((day for day in days if self.is_session(day)), None)

    def today(self, now: datetime) -> date:
        """The market's date at an aware instant."""
        return now.astimezone(self.zone).date()

    def has_session(self, now: datetime) -> bool:
        """Whether today is a session, be it over or not."""
        return self.is_session(self.today(now))

    def has_closed(self, now: datetime) -> bool:
        """Whether today's session is over; also where today has none."""
        local = now.astimezone(self.zone)
        if not self.is_session(local.date()):
            return True
        close = self.regular_close
        if self.half_day_close is not None and self.is_half_day(local.date()):
            close = self.half_day_close if close is None else min(close, self.half_day_close)
        return close is not None and local.time() >= close


def load_calendar(settings: Settings) -> MarketCalendar:
    """The calendar of `MARKET_CALENDAR`."""
    setting = settings.market_calendar
    return build_calendar(
        setting.market, zone=settings.market_timezone, market_close=settings.market_close, closed=setting.closed
    )


def build_calendar(
    market: str, *, zone: ZoneInfo, market_close: time | None = None, closed: frozenset[date] = frozenset()
) -> MarketCalendar:
    """The calendar of a market.

    Args:
        market: An exchange of the `holidays` package, `none` for every weekday, or `daily` for every day.
        zone: The time zone that says what today is.
        market_close: When sessions close; None: 16:00 for the New York exchanges, midnight for others.
        closed: Further days on which it is closed.
    """
    if market == CalendarRule.DAILY:
        return MarketCalendar(zone=zone, regular_close=market_close, closed=closed, is_open_on=lambda _day: True)
    if market == CalendarRule.WEEKDAYS:
        return MarketCalendar(
            zone=zone, regular_close=market_close, closed=closed, is_open_on=lambda day: day.weekday() < _SATURDAY
        )
    closes_as_new_york = is_new_york(market)
    return MarketCalendar(
        zone=zone,
        regular_close=market_close or (_NEW_YORK_CLOSE if closes_as_new_york else None),
        half_day_close=_NEW_YORK_HALF_DAY_CLOSE if closes_as_new_york else None,
        is_open_on=lambda day: bool(_load_days(market).is_working_day(day)),
        is_half_day=(lambda day: day in _load_half_days(market)) if closes_as_new_york else lambda _day: False,
        closed=closed,
    )


@functools.cache
def _load_days(market: str) -> Any:  # noqa: ANN401 - the package's own class, which is imported here alone
    import holidays

    return holidays.financial_holidays(market)


@functools.cache
def _load_half_days(market: str) -> Any:  # noqa: ANN401 - the package's own class
    import holidays
    from holidays.constants import HALF_DAY

    return holidays.financial_holidays(market, categories=(HALF_DAY,))


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


def find_skew_problem(skew_s: float | None) -> str:
    """Why no date can be trusted now; empty where this host's clock is right enough, or that is unknown.

    Args:
        skew_s: The gateway's clock minus this host's, in seconds; None if not known.
    """
    if skew_s is None or abs(skew_s) <= SKEW_LIMIT_S:
        return ""
    clocks = f"The gateway's clock is {skew_s:+.0f} s from this host's (limit {SKEW_LIMIT_S:.0f} s)"
    return f"{clocks}, so the date is in doubt."
