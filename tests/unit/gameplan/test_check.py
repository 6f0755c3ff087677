"""P2 and P4: the order of judgement, quarantine, and whose day it is."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orchestration.errors import FallbackWord
from orchestration.gameplan import GameplanError, build_calendar, expected_dates, read_plan_for_bot
from orchestration.settings import GameplanFreshness
from tests.fakes.clock import FakeClock
from tests.unit.gameplan.plans import NEW_YORK, NYSE, changed, judge, load_plan, write_plan

_STALE, _NOT_YET = FallbackWord.GAMEPLAN_STALE, FallbackWord.GAMEPLAN_NOT_YET
_NO_SESSION = FallbackWord.GAMEPLAN_NO_SESSION


def _new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-18T00:00:00", ["2026-11-18"]),
        ("2026-11-18T15:59:59.999999", ["2026-11-18"]),
        ("2026-11-18T16:00:00", ["2026-11-18", "2026-11-19"]),
        ("2026-11-18T23:59:59", ["2026-11-18", "2026-11-19"]),
        ("2026-11-20T15:59:00", ["2026-11-20"]),  # a Friday
        ("2026-11-20T16:00:00", ["2026-11-20", "2026-11-23"]),
        ("2026-11-21T08:00:00", ["2026-11-23"]),  # Saturday
        ("2026-11-22T23:00:00", ["2026-11-23"]),  # Sunday
        ("2026-11-23T00:00:00", ["2026-11-23"]),
        ("2026-12-31T17:00:00", ["2026-12-31", "2027-01-04"]),  # New Year's Day is a Friday
        ("2028-02-28T17:00:00", ["2028-02-28", "2028-02-29"]),
        ("2026-03-08T02:30:00", ["2026-03-09"]),  # the hour that summer time leaves out
        ("2026-11-01T01:30:00", ["2026-11-02"]),  # the hour that comes twice
    ],
)
def test_today_counts_and_after_the_close_or_at_a_weekend_the_next_weekday_too(now: str, expected: list[str]) -> None:
    assert expected_dates(_new_york(now), NYSE, trades=True) == {date.fromisoformat(one) for one in expected}


@pytest.mark.parametrize(
    ("now", "passed"),
    [
        (datetime(2026, 3, 6, 20, 59, tzinfo=UTC), False),  # 15:59 in winter
        (datetime(2026, 3, 6, 21, 0, tzinfo=UTC), True),
        (datetime(2026, 3, 9, 19, 59, tzinfo=UTC), False),  # 15:59 in summer
        (datetime(2026, 3, 9, 20, 0, tzinfo=UTC), True),
    ],
)
def test_the_close_follows_summer_time(now: datetime, *, passed: bool) -> None:
    assert (len(expected_dates(now, NYSE, trades=True)) == 2) is passed


def test_today_is_the_markets_and_not_the_hosts() -> None:
    instant = datetime(2026, 11, 18, 3, 0, tzinfo=UTC)

    assert expected_dates(instant, NYSE, trades=True) == {
        date(2026, 11, 17),
        date(2026, 11, 18),
    }  # 22:00 the evening before
    assert expected_dates(instant, build_calendar("none", zone=ZoneInfo("Asia/Tokyo")), trades=True) == {
        date(2026, 11, 18)
    }


@pytest.mark.parametrize(
    ("now", "plan_date", "word", "is_information"),
    [
        ("2026-11-18T09:00:00", "2026-11-18", None, False),
        ("2026-11-18T09:00:00", "2026-11-17", _STALE, False),
        ("2026-11-18T09:00:00", "2026-11-19", _NOT_YET, False),
        ("2026-11-18T09:00:00", "0001-01-01", _STALE, False),
        ("2026-11-18T09:00:00", "9999-12-31", _NOT_YET, False),
        ("2026-11-18T16:00:00", "2026-11-19", None, False),
        ("2026-11-18T16:00:00", "2026-11-18", None, False),
        ("2026-11-18T16:00:00", "2026-11-20", _NOT_YET, False),
        ("2026-11-20T10:00:00", "2026-11-23", _NOT_YET, False),
        ("2026-11-20T18:00:00", "2026-11-23", None, False),
        ("2026-11-20T18:00:00", "2026-11-21", _NO_SESSION, False),  # nothing trades on a Saturday
        ("2026-11-21T10:00:00", "2026-11-20", _STALE, True),
        ("2026-11-21T10:00:00", "2026-11-23", None, False),
        ("2026-11-21T10:00:00", "2026-11-24", _NOT_YET, True),
        ("2026-11-22T10:00:00", "2026-11-22", _NO_SESSION, False),
        ("2026-11-26T10:00:00", "2026-11-25", _STALE, True),  # Thanksgiving
        ("2026-11-26T10:00:00", "2026-11-26", _NO_SESSION, False),
        ("2026-11-26T10:00:00", "2026-11-27", None, False),
        ("2026-12-24T12:59:59", "2026-12-28", _NOT_YET, False),  # a half day
        ("2026-12-24T13:00:00", "2026-12-28", None, False),
    ],
)
def test_a_plan_of_another_day_is_stale_or_not_yet_and_at_a_weekend_that_is_information(
    tmp_path: Path, now: str, plan_date: str, word: FallbackWord | None, *, is_information: bool
) -> None:
    verdict = judge(write_plan(tmp_path, changed({"date": plan_date})), now=_new_york(now))

    assert (verdict.word, verdict.is_information) == (word, is_information)
    assert verdict.is_valid is (word is None)
    assert plan_date in verdict.message


def test_freshness_can_be_switched_off_with_a_warning(tmp_path: Path) -> None:
    verdict = judge(write_plan(tmp_path, changed({"date": "2020-01-02"})), freshness=GameplanFreshness.OFF)

    assert verdict.is_valid
    assert verdict.warnings == ("the plan's date, 2020-01-02, is not checked (GAMEPLAN_FRESHNESS=off)",)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data_quality.quarantine_active": True}, "(data_quality.quarantine_active)"),
        ({"data_quarantine": True}, "(data_quarantine)"),
        (
            {"data_quality.quarantine_active": True, "data_quarantine": True},
            "(data_quality.quarantine_active and data_quarantine)",
        ),
        ({"data_quarantine": True, "date": "2026-11-17"}, "(data_quarantine)"),  # before freshness
    ],
)
def test_either_flag_quarantines_a_plan(tmp_path: Path, changes: Mapping[str, object], named: str) -> None:
    path = write_plan(tmp_path, changed(changes))

    for freshness in GameplanFreshness:
        verdict = judge(path, freshness=freshness)
        assert verdict.word is FallbackWord.GAMEPLAN_QUARANTINED
        assert verdict.message == f"{path}: the plan is quarantined {named}"
        assert not verdict.is_valid


def test_an_invalid_plan_in_quarantine_is_reported_as_invalid(tmp_path: Path) -> None:
    verdict = judge(write_plan(tmp_path, changed({"data_quarantine": True, "bias": "up"})))

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID
    assert len(verdict.problems) == 1


def test_a_valid_plan_says_what_it_is(tmp_path: Path) -> None:
    path = write_plan(tmp_path, load_plan("least"))
    verdict = judge(path)

    assert verdict.message == f"{path}: strategy B for 2026-11-18"
    assert (verdict.word, verdict.problems, verdict.warnings) == (None, (), ())
    assert (verdict.strategy, verdict.date, verdict.plan) == ("B", "2026-11-18", load_plan("least"))


def test_a_valid_plan_that_chooses_c_is_valid(tmp_path: Path) -> None:
    path = write_plan(tmp_path, changed({"strategy": "C", "symbols": [], "position_size_multiplier": 0}))

    assert judge(path).is_valid
    assert judge(path).strategy == "C"


def test_a_surprise_while_judging_is_a_verdict(tmp_path: Path) -> None:
    class BrokenClock(FakeClock):
        def now(self) -> datetime:
            raise LookupError("the clock broke")

    verdict = judge(write_plan(tmp_path, load_plan()), clock=BrokenClock())

    assert verdict.word is FallbackWord.GAMEPLAN_UNREADABLE
    assert "LookupError: the clock broke" in verdict.message


def test_a_bot_reads_its_plan_as_strictly_as_the_orchestrator(tmp_path: Path) -> None:
    assert read_plan_for_bot(write_plan(tmp_path, load_plan())) == load_plan()
    for plan, word in (
        (changed({"bias": "up"}), FallbackWord.GAMEPLAN_INVALID),
        (json.dumps(load_plan()).replace("0.02", "NaN"), FallbackWord.GAMEPLAN_INVALID),
        (changed({"data_quarantine": True}), FallbackWord.GAMEPLAN_QUARANTINED),
    ):
        with pytest.raises(GameplanError) as caught:
            read_plan_for_bot(write_plan(tmp_path, plan))
        assert caught.value.word is word
    with pytest.raises(GameplanError, match="does not exist"):
        read_plan_for_bot(tmp_path / "nothing.json")
