"""What comes next, on the live page and in `/metrics`."""

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestration.commands.next_events import EventKind, describe_weekly_login, find_next_events
from orchestration.gameplan import MarketCalendar
from orchestration.settings import Settings

_NEW_YORK = ZoneInfo("America/New_York")
_FRIDAY = dt.datetime(2026, 11, 27, 18, 0, tzinfo=_NEW_YORK)
_SATURDAY = 5


def _settings(tmp_path: Path, **environ: str) -> Settings:
    return Settings.from_environ({"TIME_ZONE": "America/New_York", **environ}, project_dir=tmp_path)


def _calendar() -> MarketCalendar:
    return MarketCalendar(zone=_NEW_YORK, is_open_on=lambda day: day.weekday() < _SATURDAY)


def _find(settings: Settings, now: dt.datetime, full_login_at: dt.datetime | None = None) -> dict[EventKind, str]:
    found = find_next_events(settings, _calendar(), now=now, full_login_at=full_login_at)
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert all(one.at >= now for one in found)
    return {one.kind: f"{one.at.astimezone(_NEW_YORK):%a %d %H:%M}" for one in found}


def test_without_plan_and_weekly_login_only_the_brokers_end_of_sessions_comes(tmp_path: Path) -> None:
    assert _find(_settings(tmp_path), _FRIDAY) == {EventKind.SESSIONS_END: "Sun 29 01:00"}


def test_the_plan_is_due_on_the_next_session_and_today_until_its_hour(tmp_path: Path) -> None:
    settings = _settings(tmp_path, GAMEPLAN_PATH="plan.json")
    assert _find(settings, _FRIDAY)[EventKind.GAMEPLAN_DUE] == "Mon 30 09:15"
    assert _find(settings, _FRIDAY.replace(hour=9, minute=14))[EventKind.GAMEPLAN_DUE] == "Fri 27 09:15"
    assert _find(settings, _FRIDAY.replace(hour=9, minute=15))[EventKind.GAMEPLAN_DUE] == "Mon 30 09:15"


def test_a_login_that_is_not_proved_has_its_hour_and_its_proof(tmp_path: Path) -> None:
    settings = _settings(tmp_path, WEEKLY_LOGIN="Sun 18:00")
    sunday = dt.datetime(2026, 11, 29, 2, 0, tzinfo=_NEW_YORK)
    old = sunday - dt.timedelta(days=6)
    assert _find(settings, sunday, old) == {
        EventKind.WEEKLY_LOGIN: "Sun 29 18:00",
        EventKind.WEEKLY_LOGIN_PROOF: "Sun 29 20:00",
        EventKind.SESSIONS_END: "Sun 06 01:00",
    }
    assert EventKind.WEEKLY_LOGIN_PROOF not in _find(settings, sunday, sunday)


def test_where_the_weekly_login_stands_is_said_in_words(tmp_path: Path) -> None:
    sunday = dt.datetime(2026, 11, 29, 2, 0, tzinfo=_NEW_YORK)
    monday = sunday + dt.timedelta(days=1)
    old = sunday - dt.timedelta(days=6)
    settings = _settings(tmp_path, WEEKLY_LOGIN="Sun 18:00")
    said = [
        describe_weekly_login(settings, now=sunday, full_login_at=sunday),
        describe_weekly_login(settings, now=sunday, full_login_at=old),
        describe_weekly_login(settings, now=monday, full_login_at=old),
        describe_weekly_login(settings, now=sunday, full_login_at=None),
    ]
    assert [one.removeprefix("Sun 18:00 America/New_York; ") for one in said] == [
        "proved for this week",
        "NOT proved for this week yet",
        "NOT proved for this week",
        "unknown when the gateway last logged in fully",
    ]
    assert "only observed" in describe_weekly_login(_settings(tmp_path), now=sunday, full_login_at=None)
