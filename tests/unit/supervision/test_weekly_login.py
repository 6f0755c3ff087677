"""The weekly login over a year of Sundays: the reminder, one login, its proof, and an alarm where there is none."""

import datetime as dt
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orchestration.gateway.history import GatewayHistory, GatewayRestart, GatewayStop, StopReason, name_start
from orchestration.gateway.weekly_login import find_last_full_login
from orchestration.settings.week_time import WeekTime, parse_week_time
from orchestration.supervision import Action, IncidentKind, Notice, Stage
from tests.fakes.gateway import HEALTHY
from tests.unit.supervision import scene
from tests.unit.supervision.scene import NOON, RULES, Watch

EASTERN = zoneinfo.ZoneInfo("America/New_York")
FIRST_SATURDAY = dt.datetime(2026, 2, 28, 22, 0, tzinfo=EASTERN)
STEP, FINE_STEP = dt.timedelta(minutes=30), dt.timedelta(seconds=20)
HOUR = dt.timedelta(hours=1)
SUNDAY_EVENING = parse_week_time("Sun 18:00")


@dataclass
class World:
    """A gateway, its operator's phone, and a supervisor that looks at them.

    Attributes:
        hour: `WEEKLY_LOGIN`; None if it is unset.
        zone: Whose hour that is.
        answers_after: After how long the operator confirms a login's second factor; None for never.
        sends_push: Whether a login gets as far as its push.
        happens: What else is so at an instant.
        started_at: The container's latest start.
        now: The time.
    """

    hour: WeekTime | None = SUNDAY_EVENING
    zone: zoneinfo.ZoneInfo = EASTERN
    answers_after: dt.timedelta | None = dt.timedelta(minutes=1)
    sends_push: bool = True
    happens: Callable[[dt.datetime], dict[str, Any]] = lambda _: {}
    started_at: dt.datetime = FIRST_SATURDAY - dt.timedelta(days=3)
    now: dt.datetime = FIRST_SATURDAY
    logins: list[dt.datetime] = field(default_factory=list)
    restarts: list[dt.datetime] = field(default_factory=list)
    said: list[tuple[dt.datetime, Notice]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules = replace(RULES, weekly_login=self.hour, weekly_login_zone=self.zone)
        self.watch = Watch(rules=rules)
        self.now = self.now.astimezone(dt.UTC)  # time that passes, not what a clock shows

    def run(self, until: dt.datetime) -> "World":
        while self.now < until:
            self._look()
            is_busy = bool(self.logins) and self.now - self.logins[-1] < dt.timedelta(minutes=4)
            self.now += FINE_STEP if is_busy else STEP - (self.now - FIRST_SATURDAY) % STEP
        return self

    def _look(self) -> None:
        changes = self._see() | self.happens(self.now)
        self.watch.at_s = (self.now - NOON).total_seconds()
        self.watch.forget_said()
        api: Any = changes.get("api", scene.CONNECTED)
        full_login_at = find_last_full_login(changes.get("gateway", HEALTHY), is_api_up=api.is_identified)
        decision = self.watch.look(**({"full_login_at": full_login_at} | changes))
        self.said += [(self.now, notice) for _, notice in self.watch.said]
        for action in decision.actions:
            if action is Action.LOG_IN_GATEWAY:
                self.logins.append(self.now)
                self.started_at = self.now
            elif action is Action.RESTART_GATEWAY:
                self.restarts.append(self.now)
                self.started_at = self.now

    def _see(self) -> dict[str, Any]:
        gateway = replace(HEALTHY, started_at=self.started_at.astimezone(dt.UTC))
        weekday, time = self._local().weekday(), self._local().time()
        seen: dict[str, Any] = {
            "gateway": gateway,
            "in_restart_window": dt.time(23, 40) <= time < dt.time(23, 59),
            "market": replace(scene.WELL.market, is_session=weekday < 5, is_past_due=False),
        }
        is_logging_in = self.logins and (self.answers_after is None or self.now < self.started_at + self.answers_after)
        if not is_logging_in:
            return seen
        return seen | ((scene.PHONE if self.sends_push else scene.STARTING) | {"gateway": gateway})

    def _local(self) -> dt.datetime:
        return self.now.astimezone(EASTERN)

    def told(self, kind: IncidentKind, *stages: Stage) -> list[dt.datetime]:
        return [at for at, notice in self.said if notice.kind is kind and (not stages or notice.stage in stages)]

    def titles(self) -> list[str]:
        """What was said of weekly logins."""
        kinds = {IncidentKind.WEEKLY_LOGIN, IncidentKind.WEEKLY_LOGIN_MISSING}
        return [notice.title for _, notice in self.said if notice.kind in kinds]


def weekend(number: int = 0) -> dt.datetime:
    """Monday noon after the so-many-th Saturday."""
    return (FIRST_SATURDAY + dt.timedelta(days=7 * number + 2)).replace(hour=12)


def at(text: str, day: int = 1) -> dt.datetime:
    """A time of day in New York, on the first Sunday (day 1 of March)."""
    hour, minute = text.split(":")
    return dt.datetime(2026, 3, day, int(hour), int(minute), tzinfo=EASTERN)


# The weeks around each change of New York's and of Berlin's clocks.
SPRING, AUTUMN = range(6), range(33, 38)


@pytest.mark.parametrize(
    ("text", "zone", "weeks"),
    [
        ("Sun 18:00", "America/New_York", range(53)),
        ("Sun 18:00", "Europe/Berlin", SPRING),
        ("Sun 18:00", "Europe/Berlin", AUTUMN),
        ("Mon 06:00", "Asia/Tokyo", SPRING),
        ("Mon 06:00", "Asia/Tokyo", AUTUMN),
    ],
)
def test_a_year_of_sundays_is_one_reminder_one_login_and_one_proof_each(
    text: str, zone: str, weeks: Sequence[int]
) -> None:
    hour, place = parse_week_time(text), zoneinfo.ZoneInfo(zone)
    world = World(hour=hour, zone=place, started_at=FIRST_SATURDAY + dt.timedelta(days=7 * weeks[0] - 3))
    for number in weeks:
        world.now = (FIRST_SATURDAY + dt.timedelta(days=7 * number)).astimezone(dt.UTC)
        world.run(weekend(number))
        login = world.logins[-1].astimezone(place)
        assert (login.weekday(), login.time()) == (hour.weekday, hour.time), "the wall clock's hour, whatever it did"
        assert world.titles() == ["Weekly login ahead", "Weekly login begins", "Weekly login done"], login
        (ahead, begins, done) = world.told(IncidentKind.WEEKLY_LOGIN)
        assert begins - ahead == 2 * HOUR
        assert done - begins < dt.timedelta(minutes=3)
        assert any("newer than Sunday 01:00 US Eastern" in notice.message for _, notice in world.said)
        world.said.clear()
    assert len(world.logins) == len(weeks)
    assert world.restarts == []


def test_an_unanswered_login_is_waited_for_and_alarmed_each_hour_until_it_is_confirmed() -> None:
    world = World(answers_after=14 * HOUR).run(weekend())
    assert world.logins == [at("18:00")]
    assert world.restarts == [], "a restart would send another push"
    assert world.told(IncidentKind.SECOND_FACTOR, Stage.OPENED) == [at("18:00") + FINE_STEP]
    alarms = world.told(IncidentKind.WEEKLY_LOGIN_MISSING, Stage.OPENED, Stage.AGAIN)
    assert alarms == [at("20:00") + hours * HOUR for hours in range(12)]
    assert world.told(IncidentKind.WEEKLY_LOGIN_MISSING, Stage.OVER) == [at("08:00", day=2)]


def test_a_login_whose_push_is_never_sent_is_alarmed_too() -> None:
    world = World(answers_after=None, sends_push=False).run(weekend())
    assert world.logins == [at("18:00")]
    assert len(world.restarts) <= 1, "the one restart of the gateway that is lost"
    alarms = world.told(IncidentKind.WEEKLY_LOGIN_MISSING, Stage.OPENED, Stage.AGAIN)
    assert alarms == [at("20:00") + hours * HOUR for hours in range(16)]
    assert IncidentKind.GATEWAY_LOST in {notice.kind for _, notice in world.said}


def test_a_login_at_the_hour_of_the_nightly_restart_waits_for_its_end() -> None:
    world = World(hour=parse_week_time("Sun 23:45")).run(weekend())
    assert world.logins == [at("00:00", day=2)]
    assert world.told(IncidentKind.WEEKLY_LOGIN_MISSING) == []


def test_the_controllers_own_cold_restart_is_only_observed() -> None:
    gateway = replace(HEALTHY, environ=(("TWS_COLD_RESTART", "19:00"),), started_at=FIRST_SATURDAY)

    def controller(now: dt.datetime) -> dict[str, Any]:
        return {"gateway": gateway if now < at("19:00") else replace(gateway, started_at=at("19:00"))}

    world = World(happens=controller).run(weekend())
    assert world.logins == []
    assert world.titles() == ["Weekly login done"]

    world = World(happens=lambda _: {"gateway": gateway}).run(weekend())
    assert world.logins == []
    assert len(world.told(IncidentKind.WEEKLY_LOGIN_MISSING)) == 16, "each hour until noon"


def test_without_weekly_login_nothing_is_said_or_done() -> None:
    world = World(hour=None).run(weekend())
    assert world.said == []
    assert world.logins == []


def test_a_login_that_the_operator_has_made_on_that_sunday_is_enough() -> None:
    world = World(
        happens=lambda now: {"gateway": replace(HEALTHY, started_at=at("10:00"))} if now >= at("10:00") else {}
    )
    assert world.run(weekend()).logins == []
    assert world.titles() == ["Weekly login done"]


@pytest.mark.parametrize(("begins", "logins"), [("18:30", [at("18:30")]), ("19:50", [at("19:50")]), ("20:30", [])])
def test_a_supervisor_that_begins_late_makes_up_for_it_within_two_hours(begins: str, logins: list[dt.datetime]) -> None:
    world = World(now=at(begins)).run(weekend())
    assert world.logins == logins
    alarms = world.told(IncidentKind.WEEKLY_LOGIN_MISSING, Stage.OPENED)
    assert alarms == ([] if logins else [at("20:30")])


def _stopped(now: dt.datetime) -> GatewayHistory:
    stop = GatewayStop(by="a", owner="/a", at=now, reason=StopReason.ASKED, start=name_start(HEALTHY))
    return GatewayHistory(stop=stop)


def _restarted(now: dt.datetime) -> GatewayHistory:
    at_s = (now - NOON).total_seconds()
    return GatewayHistory(restarts=(GatewayRestart(by="a", owner="/a", at=now, at_s=at_s, start="x", is_soft=True),))


@pytest.mark.parametrize(
    "happening",
    [
        lambda _: scene.ENGINE_GONE,
        lambda _: scene.PHONE,
        lambda _: scene.TAKEN,
        lambda _: scene.RESTARTING,
        lambda _: scene.RESET,
        lambda now: {"gateway_history": _stopped(now)},
        lambda now: {"gateway_history": _restarted(now)},
    ],
)
def test_a_login_waits_for_whatever_forbids_it_to_be_over(
    happening: Callable[[dt.datetime], dict[str, Any]],
) -> None:
    trouble = happening

    def happens(now: dt.datetime) -> dict[str, Any]:
        return trouble(now) if at("17:59") < now < at("18:30") else {}

    world = World(happens=happens).run(weekend())
    # A gateway that is lost for so long has its own restart, which is a full login, too.
    (login,) = (*world.logins, *world.restarts)
    assert at("18:00") < login <= at("19:00")
    assert world.restarts or login >= at("18:30")
    assert world.told(IncidentKind.WEEKLY_LOGIN_MISSING) == []


def test_a_gateway_that_is_away_for_a_moment_has_not_lost_its_login() -> None:
    def happens(now: dt.datetime) -> dict[str, Any]:
        return scene.REFUSED_FOR_A_MOMENT if at("22:00") <= now < at("22:30") else {}

    world = World(happens=happens).run(weekend())
    assert world.titles().count("Weekly login done") == 1
    assert world.told(IncidentKind.WEEKLY_LOGIN_MISSING) == []


def test_where_restarts_are_not_ours_the_login_is_asked_for_by_the_alarm_alone() -> None:
    world = World()
    world.watch.rules = replace(world.watch.rules, may_restart_gateway=False)
    world.run(weekend())
    assert world.logins == []
    (ahead,) = [notice.message for _, notice in world.said if notice.title == "Weekly login ahead"]
    assert "not for this program to begin" in ahead
    assert world.told(IncidentKind.WEEKLY_LOGIN_MISSING, Stage.OPENED) == [at("20:00")]
