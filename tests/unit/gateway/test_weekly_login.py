"""When the weekly login is due, and what proves it: over two years, in several zones, with every change of a clock."""

import datetime as dt
import zoneinfo
from dataclasses import replace

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.login import LoginReading
from orchestration.gateway.weekly_login import find_last_full_login, find_week, has_cold_restart
from orchestration.settings import Settings
from orchestration.settings.week_time import find_session_end, parse_week_time
from tests.fakes.gateway import RUNNING

EASTERN = zoneinfo.ZoneInfo("America/New_York")
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOURS = tuple(BEGIN + dt.timedelta(hours=hours) for hours in range(2 * 366 * 24))


def test_every_session_ends_on_sunday_at_one_in_new_york_whatever_its_clock_does() -> None:
    """Judged hour by hour by the wall clock alone: the last hour that New York's clocks called Sunday 01:00."""
    last = None
    for hour in HOURS:
        local = hour.astimezone(EASTERN)
        if (local.weekday(), local.hour) == (6, 1):
            last = hour  # in November it comes twice, and the second one counts
        following = (hour + dt.timedelta(hours=1)).astimezone(EASTERN)
        is_repeated = (local.weekday(), local.hour, following.hour) == (6, 1, 1)
        if last is not None and not is_repeated:
            assert find_session_end(hour) == last, hour


@pytest.mark.parametrize(
    ("text", "zone", "after_end_s"),
    [
        ("Sun 18:00", "America/New_York", {16, 17, 18}),
        ("Sun 18:00", "Europe/Berlin", {11, 12}),
        ("Mon 06:00", "Asia/Tokyo", {15, 16}),
        ("Mon 06:00", "Australia/Sydney", {13, 14, 15}),
        ("Sat 21:00", "Pacific/Honolulu", {1, 2}),
        ("Sun 02:30", "America/New_York", {1, 2}),  # an hour that does not exist on one Sunday in March
        ("Sun 01:30", "America/New_York", {0}),  # and one that comes twice in November
    ],
)
def test_the_login_follows_the_end_of_all_sessions_in_every_week(text: str, zone: str, after_end_s: set[int]) -> None:
    hour, place = parse_week_time(text), zoneinfo.ZoneInfo(zone)
    found = set()
    for now in HOURS[::7]:
        week = find_week(hour, place, now)
        local = week.login_at.astimezone(place)
        assert week.session_ended_at <= now < week.session_ended_at + dt.timedelta(days=7, hours=1)
        assert local.weekday() == hour.weekday
        is_moved = (local.date(), local.time(), hour.time.hour) == (dt.date(2026, 3, 8), dt.time(3, 30), 2) or (
            local.date() == dt.date(2027, 3, 14) and hour.time.hour == 2
        )
        assert local.time() == hour.time or is_moved, "an hour that does not exist is an hour later"
        evening = week.session_ended_at.astimezone(EASTERN).replace(hour=20, minute=0, fold=0)
        assert week.proof_due_at == max(evening, week.login_at + dt.timedelta(hours=2))
        found.add(int((week.login_at - week.session_ended_at).total_seconds() // 3600))
    assert found <= after_end_s


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("Sun 00:30", "America/New_York"),
        ("Sat 18:00", "America/New_York"),
        ("Sun 05:30", "Europe/London"),  # Sunday 00:30 in New York
        ("Sun 12:00", "Asia/Tokyo"),  # Saturday evening in New York
        ("Sun 14:30", "Asia/Tokyo"),  # right in summer, too early in winter
        ("Sun 06:30", "Europe/Berlin"),  # right only where New York has changed its clock and Berlin has not
    ],
)
def test_an_hour_before_the_sessions_end_is_refused(text: str, zone: str) -> None:
    with pytest.raises(StartupFailure) as refused:
        Settings.from_environ({"WEEKLY_LOGIN": text, "TIME_ZONE": zone})
    assert refused.value.word is FailureWord.CONFIG_INVALID
    (problem,) = refused.value.evidence
    assert problem.startswith(f"WEEKLY_LOGIN: '{text}' ")
    assert "Sunday 01:00 US Eastern" in problem
    assert zone in problem


@pytest.mark.parametrize(
    ("text", "zone"),
    [("sun 18:00", "America/New_York"), ("Mon 7:05", "Asia/Tokyo"), ("Sun 07:00", "Europe/London")],
)
def test_an_hour_after_it_is_taken(text: str, zone: str) -> None:
    assert Settings.from_environ({"WEEKLY_LOGIN": text, "TIME_ZONE": zone}).weekly_login == parse_week_time(text)


def test_an_external_gateway_has_no_weekly_login_of_ours() -> None:
    with pytest.raises(StartupFailure, match="external"):
        Settings.from_environ({"WEEKLY_LOGIN": "Sun 18:00", "GATEWAY_RUNTIME": "external"})


def test_a_start_of_the_container_is_a_full_login_once_the_api_answers() -> None:
    started_at = RUNNING.started_at
    assert started_at is not None
    earlier, later = started_at - dt.timedelta(days=3), started_at + dt.timedelta(hours=1)
    ended = replace(RUNNING, state=ContainerState.EXITED)
    assert find_last_full_login(RUNNING, is_api_up=True) == started_at
    assert find_last_full_login(RUNNING, is_api_up=False) is None
    assert find_last_full_login(ended, is_api_up=True) is None
    assert find_last_full_login(None, is_api_up=True) is None
    within, before = LoginReading(last_full_login_at=later), LoginReading(last_full_login_at=earlier)
    assert find_last_full_login(RUNNING, within, is_api_up=True) == later
    assert find_last_full_login(RUNNING, before, is_api_up=False) == earlier
    assert find_last_full_login(RUNNING, before, is_api_up=True) == started_at
    # The gateway's own log says that the container's first process went on with the session of before.
    resumed = replace(before, is_auto_restart=True, last_restart_at=started_at + dt.timedelta(seconds=20))
    assert find_last_full_login(RUNNING, resumed, is_api_up=True) == earlier
    nightly = replace(resumed, last_restart_at=started_at + dt.timedelta(hours=9))
    assert find_last_full_login(RUNNING, nightly, is_api_up=True) == started_at


@pytest.mark.parametrize(("value", "has"), [("", False), (" ", False), ("20:00", True)])
def test_the_controllers_own_cold_restart_is_read_from_its_container(value: str, *, has: bool) -> None:
    assert has_cold_restart(replace(RUNNING, environ=(("TWS_COLD_RESTART", value),))) is has
    assert not has_cold_restart(RUNNING)
