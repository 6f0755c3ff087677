"""The market's sessions, held to what `exchange_calendars` says (recorded by `tests/clients/market_calendar.py`)."""

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orchestration.errors import FallbackWord, StartupFailure
from orchestration.gameplan.calendar import MarketCalendar, build_calendar, expected_dates, judge_date, load_calendar
from orchestration.settings import Settings
from tests.unit.gameplan.plans import NEW_YORK, NYSE

_RECORDINGS = Path(__file__).parents[2] / "fixtures" / "calendars"
_TIMES = (time(0, 0), time(9, 15), time(12, 59, 59), time(13, 0), time(16, 0), time(23, 59, 59))


def read_oracle(exchange: str) -> dict[str, Any]:
    oracle: dict[str, Any] = json.loads((_RECORDINGS / f"{exchange}.json").read_text(encoding="utf-8"))
    return oracle


def days_of(oracle: dict[str, Any]) -> list[date]:
    first, last = date.fromisoformat(oracle["first"]), date.fromisoformat(oracle["last"])
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


@pytest.mark.parametrize(("exchange", "market"), [("XNYS", "NYSE"), ("XNYS", "XNYS"), ("XLON", "XLON")])
def test_each_day_of_two_years_is_a_session_or_not_as_the_exchange_says(exchange: str, market: str) -> None:
    oracle = read_oracle(exchange)
    calendar = build_calendar(market, zone=NEW_YORK)
    wrong = [str(day) for day in days_of(oracle) if calendar.is_session(day) is not (str(day) in oracle["closes"])]
    assert wrong == []


def test_a_plan_of_each_day_at_six_times_of_each_day_is_judged_as_the_exchange_would() -> None:
    oracle = read_oracle("XNYS")
    closes = {date.fromisoformat(day): time.fromisoformat(close) for day, close in oracle["closes"].items()}
    sessions = sorted(closes)
    last_with_next = sessions[-2]
    wrong = []
    for day in days_of(oracle):
        if day > last_with_next:
            break
        following = next(session for session in sessions if session > day)
        for at in _TIMES:
            now = datetime.combine(day, at, tzinfo=NEW_YORK)
            expected = {day} if day in closes else set()
            if day not in closes or at >= closes[day]:
                expected.add(following)
            if expected_dates(now, NYSE, trades=True) != expected:
                wrong.append(str(now))
            for other in (-3, -1, 0, 1, 3):
                plan_date = day + timedelta(days=other)
                if plan_date not in closes:
                    word: FallbackWord | None = FallbackWord.GAMEPLAN_NO_SESSION
                elif plan_date in expected:
                    word = None
                else:
                    word = FallbackWord.GAMEPLAN_STALE if other < 0 else FallbackWord.GAMEPLAN_NOT_YET
                if plan_date >= sessions[0] and judge_date(plan_date, now, NYSE, trades=True) is not word:
                    wrong.append(f"{plan_date} at {now}")
    assert wrong == []


@pytest.mark.parametrize(
    ("now", "plan_date", "word"),
    [
        ("2026-11-26T10:00:00", "2026-11-26", None),  # Thanksgiving: a plan for no trading counts on its date
        ("2026-11-26T10:00:00", "2026-11-27", None),  # and the next session's, as with any plan
        ("2026-11-26T10:00:00", "2026-11-28", FallbackWord.GAMEPLAN_NOT_YET),
        ("2026-11-28T10:00:00", "2026-11-27", FallbackWord.GAMEPLAN_STALE),
    ],
)
def test_a_plan_that_chooses_no_trading_counts_on_its_date_whether_the_market_is_open_or_not(
    now: str, plan_date: str, word: FallbackWord | None
) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=NEW_YORK)
    assert judge_date(date.fromisoformat(plan_date), instant, NYSE, trades=False) is word


def test_a_calendar_of_weekdays_or_of_every_day_closes_at_midnight_or_when_it_is_told_to() -> None:
    friday_evening = datetime(2026, 11, 27, 23, 59, tzinfo=NEW_YORK)
    for market, sunday in (("none", False), ("daily", True)):
        calendar = build_calendar(market, zone=NEW_YORK)
        assert calendar.is_session(date(2026, 11, 26))
        assert calendar.is_session(date(2026, 11, 29)) is sunday
        assert not calendar.has_closed(friday_evening)
        assert build_calendar(market, zone=NEW_YORK, market_close=time(17)).has_closed(friday_evening)


def test_a_half_day_closes_early_whatever_the_regular_close_is_said_to_be() -> None:
    late = build_calendar("NYSE", zone=NEW_YORK, market_close=time(17))
    early = build_calendar("NYSE", zone=NEW_YORK, market_close=time(12))
    for calendar, at, has_closed in ((late, time(13), True), (late, time(12, 59), False), (early, time(12), True)):
        assert calendar.has_closed(datetime.combine(date(2026, 12, 24), at, tzinfo=NEW_YORK)) is has_closed
    assert not late.has_closed(datetime(2026, 12, 23, 16, 59, tzinfo=NEW_YORK))


def test_the_day_is_the_markets_and_not_the_hosts() -> None:
    instant = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)  # still Thanksgiving in New York
    assert not NYSE.has_session(instant)
    assert build_calendar("NYSE", zone=ZoneInfo("UTC")).has_session(instant)


def load(tmp_path: Path, **environ: str) -> MarketCalendar:
    return load_calendar(Settings.from_environ({"STATE_DIR": str(tmp_path / "state"), **environ}, project_dir=tmp_path))


def test_a_file_of_closed_dates_is_taken_out_of_the_exchanges_or_of_the_weekdays(tmp_path: Path) -> None:
    file = tmp_path / "closed dates"
    file.write_text("\ufeff# mourning\n2026-12-02 # a Wednesday\n\n2026-12-25\n", encoding="utf-8")
    for value in (f"NYSE,{file}", f"nyse , {file}", str(file), f"none,{file}"):
        calendar = load(tmp_path, MARKET_CALENDAR=value)
        assert not calendar.is_session(date(2026, 12, 2))
        assert calendar.next_session(date(2026, 12, 1)) == date(2026, 12, 3)


def test_a_file_that_closes_every_day_leaves_no_session_to_wait_for(tmp_path: Path) -> None:
    file = tmp_path / "closed"
    first = date(2026, 1, 1)
    file.write_text("".join(f"{first + timedelta(days=number)}\n" for number in range(900)))
    calendar = load(tmp_path, MARKET_CALENDAR=str(file))
    assert calendar.next_session(date(2026, 6, 1)) is None
    assert expected_dates(datetime(2026, 6, 1, tzinfo=NEW_YORK), calendar, trades=True) == frozenset()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("NASDAQ", "does not name an exchange"),
        ("NYSE,", "absolute path"),
        ("NYSE,closed.txt", "absolute path"),
        ("NYSE,{folder}/none", "does not exist"),
        ("{folder}", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("{folder}/wrong", "line 2: '24.12.2026'"),
        ("{folder}/binary", "not UTF-8"),
    ],
)
def test_a_calendar_that_cannot_be_used_is_refused_by_what_is_wrong_with_it(
    tmp_path: Path, value: str, says: str
) -> None:
    (tmp_path / "wrong").write_text("2026-12-24\n24.12.2026\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    with pytest.raises(StartupFailure) as failed:
        load(tmp_path, MARKET_CALENDAR=value.format(folder=tmp_path))
    (problem,) = failed.value.evidence
    assert problem.startswith("MARKET_CALENDAR")
    assert says in problem
