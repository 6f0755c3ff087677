"""P5 and C: what the bot gets."""

import dataclasses
import json
import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from orchestration.errors import FailureWord, FallbackWord, StartupFailure
from orchestration.gameplan import (
    activate_plan,
    build_calendar,
    build_strategy_c,
    check_from_settings,
    fall_back_to_strategy_c,
    read_plan_for_bot,
    write_sample_plan,
)
from orchestration.gameplan.rules import find_problems, is_quarantined
from orchestration.settings import Settings
from tests.fakes.clock import FakeClock
from tests.unit.gameplan.plans import NEW_YORK, changed, judge, load_plan, write_plan


def _settings(folder: Path) -> Settings:
    named = {"GAMEPLAN_PATH": str(folder / "plan.json"), "STATE_DIR": str(folder / "state")}
    return Settings.from_environ(named, project_dir=folder)


def test_the_bot_gets_a_copy_of_exactly_the_judged_bytes(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + json.dumps(load_plan(), indent=3).encode()
    path = write_plan(tmp_path, content)
    settings = _settings(tmp_path)
    verdict = check_from_settings(settings, clock=FakeClock())
    path.write_bytes(b"changed after the check")

    active = activate_plan(verdict, settings, clock=FakeClock())

    digest = sha256(content).hexdigest()
    assert active.path == tmp_path / "state" / "gameplans" / f"2026-11-18_{digest[:12]}.json"
    assert active.path.read_bytes() == content
    assert (active.source, active.sha256, active.fallback) == (path, digest, None)
    assert (active.strategy, active.date, active.trades) == ("A", "2026-11-18", True)


def test_a_later_check_leaves_the_copies_of_earlier_ones_alone(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    copies = []
    for plan in (load_plan(), load_plan("least"), load_plan()):
        write_plan(tmp_path, plan)
        copies.append(activate_plan(check_from_settings(settings, clock=FakeClock()), settings, clock=FakeClock()).path)
        inodes = [copy.stat().st_ino for copy in copies]

    assert copies[0] == copies[2] != copies[1]
    assert inodes[0] == inodes[2]
    assert json.loads(copies[1].read_bytes()) == load_plan("least")
    assert len(list((tmp_path / "state" / "gameplans").iterdir())) == 2


@pytest.mark.parametrize("kind", ["changed", "link", "truncated"])
def test_an_existing_copy_is_not_trusted_by_its_name(tmp_path: Path, kind: str) -> None:
    path = write_plan(tmp_path, load_plan())
    settings = _settings(tmp_path)
    verdict = check_from_settings(settings, clock=FakeClock())
    copy = activate_plan(verdict, settings, clock=FakeClock()).path
    if kind == "link":
        copy.unlink()
        copy.symlink_to(path)
    else:
        copy.write_bytes(b"" if kind == "truncated" else json.dumps(changed({"symbols": ["GME"]})).encode())

    assert activate_plan(verdict, settings, clock=FakeClock()).path == copy
    assert copy.read_bytes() == path.read_bytes()
    assert not copy.is_symlink()


def test_a_refused_plan_activates_strategy_c_and_keeps_its_problems(tmp_path: Path) -> None:
    write_plan(tmp_path, changed({"hard_limits.max_daily_loss_pct": 1.7}))
    settings = _settings(tmp_path)

    active = activate_plan(
        check_from_settings(settings, clock=FakeClock()), settings, clock=FakeClock(), run_id="run-7"
    )

    assert active.path == tmp_path / "state" / "emergency_gameplan.json"
    assert (active.source, active.strategy, active.trades) == (None, "C", False)
    assert active.fallback is FallbackWord.GAMEPLAN_INVALID
    assert active.problems == ("hard_limits.max_daily_loss_pct: 1.7 is greater than the maximum of 1",)
    assert active.sha256 == sha256(active.path.read_bytes()).hexdigest()
    written = read_plan_for_bot(active.path)
    assert (written["emergency_reason"], written["emergency_run_id"]) == ("GAMEPLAN_INVALID", "run-7")
    assert not (tmp_path / "state" / "gameplans").exists()


def test_a_weekends_stale_plan_stays_information(tmp_path: Path) -> None:
    write_plan(tmp_path, load_plan())
    clock = FakeClock(datetime(2026, 11, 21, 15, 0, tzinfo=UTC))
    settings = _settings(tmp_path)

    active = activate_plan(check_from_settings(settings, clock=clock), settings, clock=clock)

    assert (active.fallback, active.is_information) == (FallbackWord.GAMEPLAN_STALE, True)
    assert active.date == "2026-11-21"


def test_strategy_c_can_be_activated_over_a_valid_plan(tmp_path: Path) -> None:
    active = fall_back_to_strategy_c(_settings(tmp_path), FallbackWord.CLOCK_SKEW, "80 s apart", clock=FakeClock())

    assert (active.fallback, active.message, active.trades) == (FallbackWord.CLOCK_SKEW, "80 s apart", False)
    assert read_plan_for_bot(active.path)["emergency_reason"] == "CLOCK_SKEW"


def test_a_valid_plan_that_cannot_be_copied_is_not_given_to_the_bot(tmp_path: Path) -> None:
    path = write_plan(tmp_path, load_plan())
    settings = _settings(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "gameplans").write_bytes(b"a file where the folder should be")

    active = activate_plan(check_from_settings(settings, clock=FakeClock()), settings, clock=FakeClock())

    assert active.fallback is FallbackWord.GAMEPLAN_UNREADABLE
    assert f"{path} is valid, but could not be copied" in active.message
    assert (active.strategy, active.trades) == ("C", False)


def test_nowhere_to_write_is_strategy_c_failed(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file where the folder should be")
    settings = _settings(tmp_path)

    for plan in (load_plan(), b"{"):
        write_plan(tmp_path, plan)
        with pytest.raises(StartupFailure) as caught:
            activate_plan(check_from_settings(settings, clock=FakeClock()), settings, clock=FakeClock())
        assert caught.value.word is FailureWord.STRATEGY_C_FAILED
        assert str(tmp_path / "state" / "emergency_gameplan.json") in caught.value.message
        assert str(tmp_path / "plan.json") in caught.value.evidence[0]


def test_the_emergency_plan_never_overwrites_the_operators_plan(tmp_path: Path) -> None:
    path = write_plan(tmp_path, changed({"bias": "up"}))
    before = path.read_bytes()
    link = tmp_path / "emergency.json"
    link.symlink_to(path)
    settings = dataclasses.replace(_settings(tmp_path), emergency_gameplan_path=link)

    with pytest.raises(StartupFailure, match="name the same file"):
        activate_plan(check_from_settings(settings, clock=FakeClock()), settings, clock=FakeClock())

    assert path.read_bytes() == before


@pytest.mark.parametrize("word", list(FallbackWord))
def test_strategy_c_keeps_the_schema_and_trades_nothing(word: FallbackWord) -> None:
    plan = build_strategy_c(datetime(2026, 11, 19, 2, 3, 4, tzinfo=UTC), NEW_YORK, word)

    assert find_problems(plan) == ()
    assert is_quarantined(plan)
    assert plan["emergency_reason"] == word.value
    assert plan["date"] == "2026-11-18"  # the market's date, not that of UTC
    assert plan["session_id"] == "emergency_20261118_210304"
    assert plan["data_quality"]["last_verified"] == "2026-11-19T02:03:04+00:00"


def test_strategy_c_holds_the_specifications_values() -> None:
    plan = build_strategy_c(datetime(2026, 11, 18, 14, 0, tzinfo=UTC), NEW_YORK, FallbackWord.GAMEPLAN_MISSING)

    expected = {
        "regime": "crisis",
        "strategy": "C",
        "symbols": [],
        "position_size_multiplier": 0.0,
        "vix_at_analysis": 0.0,
        "vix_source_verified": False,
        "bias": "neutral",
        "expected_behavior": "mean_reverting",
        "key_levels": {},
        "geo_risk": "high",
        "hard_limits": {
            "max_daily_loss_pct": 0.0,
            "max_single_position": 0,
            "pdt_trades_remaining": 0,
            "force_close_at_dte": 1,
            "weekly_drawdown_governor_active": True,
            "max_intraday_pivots": 0,
        },
    }
    assert {name: plan[name] for name in expected} == expected
    assert len(plan["catalysts"]) == 1
    assert "no trading is authorised" in plan["catalysts"][0]
    assert "operator" in plan["alert_message"]
    assert set(plan["scorecard"].values()) == {0}


def test_the_sample_plan_is_valid_today_whatever_today_is(tmp_path: Path) -> None:
    for now in (datetime(2026, 11, 18, 3, 0, tzinfo=UTC), datetime(2026, 11, 21, 20, 0, tzinfo=UTC)):
        path = write_sample_plan(tmp_path / "sample" / "plan.json", clock=FakeClock(now), market_timezone=NEW_YORK)
        every_day = build_calendar("daily", zone=NEW_YORK)  # the calendar of a simulated run
        verdict = judge(path, now=now, calendar=every_day)
        assert verdict.is_valid, verdict.message
        assert (verdict.strategy, verdict.warnings) == ("A", ())


def test_files_in_the_state_folder_are_private(tmp_path: Path) -> None:
    write_plan(tmp_path, load_plan())
    settings = _settings(tmp_path)
    copy = activate_plan(check_from_settings(settings, clock=FakeClock()), settings, clock=FakeClock()).path

    if os.name == "posix":
        assert copy.stat().st_mode & 0o777 == 0o600
