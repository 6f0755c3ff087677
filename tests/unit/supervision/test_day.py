"""A new day's plan: early, in time, late, never, half written, changed."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from orchestration.alerts.alert import Severity
from orchestration.errors import FallbackWord
from orchestration.supervision import Action, IncidentKind, MarketLook, PlanCandidate, PlanObservation, Stage
from tests.unit.supervision import scene
from tests.unit.supervision.scene import (
    BOT,
    MONITOR,
    PLAN,
    RESET,
    RULES,
    WEDNESDAY,
    Watch,
    both,
    gone,
    unusable,
    valid,
)

THURSDAY, FRIDAY = WEDNESDAY + timedelta(days=1), WEDNESDAY + timedelta(days=2)
SATURDAY, MONDAY = WEDNESDAY + timedelta(days=3), WEDNESDAY + timedelta(days=5)
_NEW, _C, _STOP = Action.RESTART_BOT_ON_NEW_PLAN, Action.RESTART_BOT_ON_STRATEGY_C, Action.STOP_BOT
_STALE = unusable(FallbackWord.GAMEPLAN_STALE)
_MISSING = PlanCandidate(word=FallbackWord.GAMEPLAN_MISSING)
_INVALID = unusable(FallbackWord.GAMEPLAN_INVALID)
_QUARANTINED = unusable(FallbackWord.GAMEPLAN_QUARANTINED)
_NOT_YET = unusable(FallbackWord.GAMEPLAN_NOT_YET)
_EMERGENCY = PlanObservation(date=WEDNESDAY, strategy="C", is_emergency=True, sha256="c" * 64, candidate=_MISSING)
_CHOSEN_C = replace(PLAN, strategy="C")


def on(day: date, plan: PlanObservation, candidate: PlanCandidate, *, due: bool = True) -> dict[str, Any]:
    """A look on a day, with what the bot runs on and what the file holds."""
    return {
        "market": MarketLook(today=day, is_session=day.weekday() < 5, is_past_due=due),
        "plan": replace(plan, candidate=candidate),
    }


# What day it is, whether the plan is due, what the bot (of Wednesday) runs on, what the file holds; what is done.
_TABLE: list[tuple[date, bool, PlanObservation, PlanCandidate, list[Action]]] = [
    (WEDNESDAY, True, PLAN, scene.IN_FORCE, []),
    (WEDNESDAY, True, PLAN, _INVALID, []),
    (WEDNESDAY, True, PLAN, _QUARANTINED, []),
    (WEDNESDAY, True, PLAN, _MISSING, []),
    (WEDNESDAY, True, PLAN, valid(WEDNESDAY), []),
    (WEDNESDAY, True, PLAN, valid(THURSDAY), []),  # tomorrow's, put in place after the close
    (WEDNESDAY, False, PLAN, _NOT_YET, []),
    (THURSDAY, False, PLAN, _STALE, [_C]),  # it expired at midnight
    (THURSDAY, False, PLAN, _MISSING, [_C]),
    (THURSDAY, False, PLAN, valid(THURSDAY), [_NEW]),
    (THURSDAY, True, PLAN, valid(THURSDAY), [_NEW]),
    (THURSDAY, True, PLAN, valid(FRIDAY), [_C]),
    *[(THURSDAY, True, PLAN, one, [_C]) for one in (_STALE, _MISSING, _INVALID, _QUARANTINED, _NOT_YET)],
    (THURSDAY, True, _CHOSEN_C, _STALE, []),  # it trades nothing
    (THURSDAY, True, _CHOSEN_C, valid(THURSDAY), [_NEW]),
    (WEDNESDAY, True, _EMERGENCY, _MISSING, []),
    (WEDNESDAY, False, _EMERGENCY, valid(WEDNESDAY), [_NEW]),
    (WEDNESDAY, True, _EMERGENCY, valid(WEDNESDAY), [_NEW]),
    (WEDNESDAY, True, _EMERGENCY, valid(THURSDAY), []),
    (THURSDAY, True, _EMERGENCY, _MISSING, []),
    (THURSDAY, True, _EMERGENCY, valid(THURSDAY), [_NEW]),
    (SATURDAY, True, PLAN, _STALE, [_C]),
    (SATURDAY, True, PLAN, valid(MONDAY), [_C]),
    (SATURDAY, True, _CHOSEN_C, _STALE, []),
    (MONDAY, False, PLAN, valid(MONDAY), [_NEW]),
    (MONDAY, True, PLAN, _STALE, [_C]),
    (THURSDAY, True, replace(PLAN, date=None), _MISSING, []),  # it is unknown which day's it is
    (WEDNESDAY, True, replace(PLAN, date=THURSDAY), valid(THURSDAY, "a"), []),  # started the evening before
]


@pytest.mark.parametrize(("day", "due", "plan", "candidate", "actions"), _TABLE)
def test_on_each_day_the_bot_is_put_on_the_plan_it_needs_once(
    day: date, plan: PlanObservation, candidate: PlanCandidate, actions: list[Action], *, due: bool
) -> None:
    watch = Watch().go_on(300, **on(day, plan, candidate, due=due))
    assert watch.actions() == actions
    is_due = due and day.weekday() < 5
    is_event = actions == [_NEW] or (actions == [_C] and not is_due)
    assert watch.kinds(Stage.EVENT) == ([IncidentKind.BOT_SWITCHED] if is_event else [])
    is_c_without_plan = day == THURSDAY and plan.strategy == "C" and candidate.word is not None
    assert (IncidentKind.PLAN_MISSING in watch.kinds()) is (is_due and (_C in actions or is_c_without_plan))


def test_without_a_rule_about_dates_no_plan_is_ever_out_of_date() -> None:
    rules = replace(RULES, judges_dates=False)
    watch = Watch(rules=rules).go_on(300, **on(FRIDAY, PLAN, scene.IN_FORCE)).go_on(300, **on(FRIDAY, PLAN, _MISSING))
    assert watch.said == []
    assert watch.done == []
    watch.go_on(300, **on(FRIDAY, _EMERGENCY, valid(WEDNESDAY)))
    assert watch.actions() == [_NEW]
    assert f"A valid plan for {WEDNESDAY} is there" in watch.said[-1][1].message


def test_a_plan_that_is_late_takes_the_place_of_strategy_c() -> None:
    watch = Watch().go_on(300, **on(THURSDAY, PLAN, _STALE, due=False))
    on_c = replace(_EMERGENCY, date=THURSDAY)
    fresh = {"bot": replace(BOT, key="200:2")}
    watch.go_on(300, **both(on(THURSDAY, on_c, _STALE, due=False), fresh))
    assert [notice.severity for _, notice in watch.said] == [Severity.INFO]
    watch.go_on(3600, **both(on(THURSDAY, on_c, _STALE), fresh))
    watch.go_on(300, **both(on(THURSDAY, on_c, valid(THURSDAY)), fresh))
    plan = replace(PLAN, date=THURSDAY, sha256="b" * 64)
    watch.go_on(300, **both(on(THURSDAY, plan, valid(THURSDAY)), {"bot": replace(BOT, key="300:3")}))
    assert watch.actions() == [_C, _NEW]
    switched, missing = IncidentKind.BOT_SWITCHED, IncidentKind.PLAN_MISSING
    assert watch.kinds() == [switched, missing, switched, missing]
    assert watch.said[-1][1].stage is Stage.OVER


def test_a_plan_is_taken_once_the_clock_is_no_longer_in_doubt() -> None:
    on_c = replace(_EMERGENCY, date=THURSDAY)
    doubt = unusable(FallbackWord.CLOCK_SKEW, "b")
    watch = Watch().go_on(300, **on(THURSDAY, on_c, doubt, due=False))
    assert watch.actions() == []
    watch.go_on(300, **on(THURSDAY, on_c, valid(THURSDAY), due=False))
    assert watch.actions() == [_NEW]


def test_a_switch_that_found_the_clock_in_doubt_is_made_again_once_it_is_right() -> None:
    on_c = replace(_EMERGENCY, date=THURSDAY)
    watch = Watch().go_on(300, **on(THURSDAY, on_c, valid(THURSDAY), due=False))  # what it came to is still Strategy C
    watch.go_on(300, **on(THURSDAY, on_c, unusable(FallbackWord.CLOCK_SKEW, "b"), due=False))
    assert watch.actions() == [_NEW]
    watch.go_on(3600, **on(THURSDAY, on_c, valid(THURSDAY), due=False))
    assert watch.actions() == [_NEW, _NEW]


def test_a_plan_that_the_clock_keeps_from_being_traded_is_said_to_be_missing_for_that() -> None:
    on_c = replace(_EMERGENCY, date=THURSDAY)
    doubt = unusable(FallbackWord.CLOCK_SKEW, "b")
    watch = Watch().go_on(300, **on(THURSDAY, on_c, doubt, due=False)).go_on(300, **on(THURSDAY, on_c, doubt))
    (notice,) = [notice for _, notice in watch.said]
    assert "CLOCK_SKEW" in notice.message
    assert notice.next_action == "Set this host's clock right: the bot is restarted on the plan."


def test_a_bot_that_was_started_on_strategy_c_in_the_night_is_missed_a_plan_for_once_it_is_due() -> None:
    """Whoever started it at three o'clock expects the plan that is made before the open."""
    on_c = replace(_EMERGENCY, date=THURSDAY)
    watch = Watch().go_on(300, **on(THURSDAY, on_c, _MISSING, due=False))
    assert watch.said == []
    watch.go_on(3600, **on(THURSDAY, on_c, _MISSING))
    assert watch.kinds() == [IncidentKind.PLAN_MISSING]
    assert watch.actions() == []  # it trades nothing already
    plan = replace(PLAN, date=THURSDAY, sha256="b" * 64)
    watch.go_on(300, **both(on(THURSDAY, plan, valid(THURSDAY)), {"bot": replace(BOT, key="200:2")}))
    assert watch.said[-1][1].stage is Stage.OVER


@pytest.mark.parametrize("plan", [PLAN, _CHOSEN_C])
def test_a_bot_on_its_plan_for_the_day_waits_for_none(plan: PlanObservation) -> None:
    today = replace(plan, date=THURSDAY)
    watch = Watch().go_on(300, **on(THURSDAY, today, _MISSING, due=False)).go_on(300, **on(THURSDAY, today, _MISSING))
    assert IncidentKind.PLAN_MISSING not in watch.kinds()


def test_each_day_without_a_plan_is_said_once() -> None:
    watch = Watch()
    for day in (THURSDAY, FRIDAY, SATURDAY, MONDAY):
        watch.go_on(300, **on(day, replace(_EMERGENCY, date=WEDNESDAY), _STALE, due=False))
        watch.go_on(300, **on(day, replace(_EMERGENCY, date=WEDNESDAY), _STALE))
    assert watch.kinds() == [IncidentKind.PLAN_MISSING] * 3


def test_where_no_plan_is_configured_none_is_missed() -> None:
    none = PlanCandidate(word=FallbackWord.GAMEPLAN_NOT_CONFIGURED)
    assert Watch().go_on(600, **on(THURSDAY, _EMERGENCY, none)).said == []


def test_a_half_written_file_at_the_hour_is_looked_at_again() -> None:
    watch, on_c = Watch().go_on(60, **on(THURSDAY, PLAN, _STALE, due=False)), replace(_EMERGENCY, date=THURSDAY)
    for content in "123":
        broken = unusable(FallbackWord.GAMEPLAN_INVALID, content)
        watch.look(**on(THURSDAY, on_c, broken))
        watch.at_s += 4.0
    watch.go_on(60, **on(THURSDAY, on_c, valid(THURSDAY)))
    assert watch.actions() == [_C, _NEW]
    assert watch.kinds() == [IncidentKind.BOT_SWITCHED] * 2


def test_a_file_that_is_written_without_end_is_not_waited_for_without_end() -> None:
    watch, on_c = Watch().go_on(60, **on(THURSDAY, PLAN, _STALE, due=False)), replace(_EMERGENCY, date=THURSDAY)
    begin_s = watch.at_s
    for number in range(10):
        watch.look(**on(THURSDAY, on_c, unusable(FallbackWord.GAMEPLAN_INVALID, f"{number}")))
        watch.at_s += 2.0
    assert watch.actions() == [_C]
    (missing_s,) = (at_s for at_s, notice in watch.said if notice.kind is IncidentKind.PLAN_MISSING)
    assert missing_s - begin_s == 16.0


def test_a_file_that_is_broken_is_judged_after_five_seconds() -> None:
    watch = Watch().go_on(60).go_on(60, **on(WEDNESDAY, PLAN, _INVALID))
    assert watch.kinds() == [IncidentKind.PLAN_UNUSABLE]
    assert watch.said[0][0] == 1065.0
    assert watch.done == []


@pytest.mark.parametrize("candidate", [_INVALID, _QUARANTINED, unusable(FallbackWord.GAMEPLAN_UNREADABLE)])
def test_each_content_that_cannot_be_used_is_said_once_and_its_correction_too(candidate: PlanCandidate) -> None:
    watch = Watch().go_on(60).go_on(300, **on(WEDNESDAY, PLAN, candidate))
    watch.go_on(60, **on(WEDNESDAY, PLAN, replace(candidate, sha256="9" * 64)))
    watch.go_on(60)
    assert watch.kinds(Stage.OPENED) == [IncidentKind.PLAN_UNUSABLE] * 2
    assert watch.kinds(Stage.OVER) == [IncidentKind.PLAN_UNUSABLE]


@pytest.mark.parametrize(
    ("candidate", "title"),
    [(None, "Plan file is usable"), (_STALE, "Plan file is whole"), (_NOT_YET, "Plan file is whole")],
)
def test_a_plan_of_another_day_in_place_of_a_broken_one_is_not_called_usable(
    candidate: PlanCandidate | None, title: str
) -> None:
    watch = Watch().go_on(300, **on(WEDNESDAY, PLAN, _INVALID))
    watch.go_on(60, **({} if candidate is None else on(WEDNESDAY, PLAN, candidate)))
    assert [notice.title for _, notice in watch.said if notice.stage is Stage.OVER] == [title]


def test_a_file_that_was_broken_before_the_first_look_is_said_where_the_start_up_found_it_whole() -> None:
    assert Watch().go_on(60, **on(WEDNESDAY, PLAN, _INVALID)).kinds() == [IncidentKind.PLAN_UNUSABLE]


def test_what_the_start_up_has_refused_already_is_not_said_again_but_a_new_mistake_is() -> None:
    watch = Watch().go_on(300, **on(WEDNESDAY, _EMERGENCY, _INVALID))
    assert watch.said == []
    watch.go_on(60, **on(WEDNESDAY, _EMERGENCY, replace(_INVALID, sha256="9" * 64)))
    assert watch.kinds() == [IncidentKind.PLAN_UNUSABLE]


def test_a_changed_active_plan_is_alerted_only_once_for_each_content() -> None:
    watch = Watch().go_on(60).go_on(300, **on(WEDNESDAY, PLAN, valid(WEDNESDAY, "b")))
    watch.go_on(300, **on(WEDNESDAY, PLAN, valid(WEDNESDAY, "d"))).go_on(60)
    assert watch.kinds(Stage.OPENED) == [IncidentKind.PLAN_CHANGED] * 2
    assert watch.kinds(Stage.OVER) == [IncidentKind.PLAN_CHANGED]
    assert watch.done == []
    assert "inv bot.restart" in watch.said[0][1].next_action


@pytest.mark.parametrize("candidate", [valid(WEDNESDAY, "b"), _QUARANTINED, _INVALID])
def test_the_file_that_the_plan_of_another_host_was_preferred_to_is_no_news_until_it_changes(
    candidate: PlanCandidate,
) -> None:
    taken_over = replace(PLAN, passed_over=candidate.sha256)
    watch = Watch().go_on(300, **on(WEDNESDAY, taken_over, candidate))
    assert (watch.said, watch.done) == ([], [])
    watch.go_on(60, **on(WEDNESDAY, taken_over, replace(candidate, sha256="8" * 64)))
    assert len(watch.said) == 1


def test_tomorrows_plan_is_no_change_of_todays() -> None:
    watch = Watch().go_on(60)
    for candidate in (_NOT_YET, valid(THURSDAY), _MISSING):
        watch.go_on(60, **on(WEDNESDAY, PLAN, candidate))
    assert watch.said == []


def test_a_new_plan_waits_until_the_gateway_is_ready() -> None:
    new = on(THURSDAY, _CHOSEN_C, valid(THURSDAY), due=False)
    no_engine = {"engine_reachable": False, "gateway": None}
    for trouble in (scene.SILENT, scene.LINK_DOWN, scene.PHONE, scene.ENGINE_GONE, no_engine, RESET):
        watch = Watch().go_on(100, **both(new, trouble))
        assert {_NEW, _C, _STOP}.isdisjoint(watch.actions()), trouble
        assert watch.go_on(20, **new).actions()[-1] is _NEW


@pytest.mark.parametrize("candidate", [_STALE, valid(THURSDAY)])
def test_a_bot_is_stopped_that_could_trade_on_an_old_plan_as_soon_as_the_gateway_is_back(
    candidate: PlanCandidate,
) -> None:
    late = on(THURSDAY, PLAN, candidate)
    watch = Watch().go_on(60, **both(on(THURSDAY, PLAN, candidate, due=False), scene.SILENT))
    watch.go_on(40, **both(late, scene.SILENT))
    assert watch.actions() == [_STOP]
    stopped = gone(exit_code=0)
    watch.go_on(60, **both(late, stopped, scene.SILENT))
    watch.go_on(60, **both(late, stopped))
    watch_actions = [action for action in watch.actions() if action is not Action.RESTART_GATEWAY]
    assert watch_actions == [_STOP, _NEW if candidate.word is None else _C]
    assert IncidentKind.BOT_FINISHED not in watch.kinds()
    assert IncidentKind.BOT_ENDED not in watch.kinds()


def test_the_bot_after_one_that_was_stopped_for_its_plan_can_fail() -> None:
    late = on(THURSDAY, PLAN, _STALE)
    watch = Watch().go_on(20, **both(late, scene.SILENT)).go_on(20, **both(late, gone(exit_code=0)))
    assert watch.actions() == [_STOP, _C]
    on_c = on(THURSDAY, replace(_EMERGENCY, date=THURSDAY), _STALE)
    watch.go_on(20, **both(on_c, {"bot": replace(BOT, key="200:2")})).go_on(20, **both(on_c, gone(1, key="200:2")))
    assert watch.actions() == [_STOP, _C, Action.END_FAILED]


@pytest.mark.parametrize(
    ("day", "plan", "candidate"), [(THURSDAY, _CHOSEN_C, valid(THURSDAY)), (SATURDAY, _CHOSEN_C, _STALE)]
)
def test_a_bot_that_could_not_trade_is_not_stopped(day: date, plan: PlanObservation, candidate: PlanCandidate) -> None:
    assert Watch().go_on(60, **both(on(day, plan, candidate), scene.SILENT)).actions() == []


def test_a_bot_that_is_leaving_is_not_restarted() -> None:
    leaving = {"bot": replace(BOT, is_stopping=True)}
    assert Watch().go_on(60, **both(on(THURSDAY, PLAN, valid(THURSDAY)), leaving)).actions() == []


def test_in_a_window_at_the_hour_the_bot_is_put_on_strategy_c_all_the_same() -> None:
    assert Watch().go_on(60, **both(on(THURSDAY, PLAN, _STALE), RESET)).actions() == [_C]


def test_a_monitor_only_says_it() -> None:
    watch = Watch(rules=MONITOR).go_on(60, **on(THURSDAY, PLAN, _STALE)).go_on(60, **on(FRIDAY, PLAN, valid(FRIDAY)))
    assert watch.done == []
    assert watch.kinds() == [IncidentKind.PLAN_MISSING]


_DONE = Action.END_FINISHED_WAIT


@pytest.mark.parametrize(
    ("plan", "day", "candidate", "due", "actions"),
    [
        (PLAN, WEDNESDAY, scene.IN_FORCE, True, [_DONE]),
        (PLAN, WEDNESDAY, valid(WEDNESDAY, "d"), True, [_DONE]),  # done is done
        (PLAN, WEDNESDAY, valid(THURSDAY), True, [_DONE]),  # waits for its day
        (PLAN, THURSDAY, valid(THURSDAY), False, [_DONE, _NEW]),
        (PLAN, THURSDAY, _STALE, False, [_DONE]),
        (PLAN, THURSDAY, _STALE, True, [_DONE, _C]),
        (PLAN, SATURDAY, _STALE, True, [_DONE]),
        (PLAN, MONDAY, valid(MONDAY), True, [_DONE, _NEW]),
        (_EMERGENCY, WEDNESDAY, _MISSING, True, [_DONE]),
        (_EMERGENCY, WEDNESDAY, valid(WEDNESDAY), True, [_DONE, _NEW]),
    ],
)
def test_a_bot_that_has_finished_is_started_on_the_next_days_plan(
    plan: PlanObservation, day: date, candidate: PlanCandidate, actions: list[Action], *, due: bool
) -> None:
    ended = gone(exit_code=0)
    watch = (
        Watch()
        .go_on(60, **on(WEDNESDAY, plan, plan.candidate))
        .go_on(60, **both(on(WEDNESDAY, plan, plan.candidate), ended))
    )
    watch.go_on(300, **both(on(day, plan, candidate, due=due), ended))
    assert watch.actions() == actions


def test_a_bot_that_finishes_strategy_c_at_once_is_not_started_again_and_again() -> None:
    watch = Watch().go_on(60, **on(THURSDAY, PLAN, _STALE))
    on_c = replace(_EMERGENCY, date=THURSDAY)
    for number in range(5):
        watch.go_on(30, **both(on(THURSDAY, on_c, _STALE), {"bot": replace(BOT, key=f"{number}")}))
        watch.go_on(300, **both(on(THURSDAY, on_c, _STALE), gone(exit_code=0, key=f"{number}")))
    assert watch.actions().count(_C) == 1


def test_without_a_rule_about_dates_a_finished_bot_is_started_the_next_day() -> None:
    watch = Watch(rules=replace(RULES, judges_dates=False)).go_on(60).go_on(600, **gone(exit_code=0))
    assert watch.actions() == [_DONE]
    watch.go_on(600, **both(on(THURSDAY, PLAN, scene.IN_FORCE), gone(exit_code=0)))
    assert watch.actions() == [_DONE, _NEW]


@pytest.mark.parametrize("is_early", [True, False])
def test_a_good_day_sends_what_the_page_of_alerts_says(*, is_early: bool) -> None:
    """From Wednesday to Monday, 24 hours each: the plan comes before midnight, or with the morning."""
    watch, plan, bots = Watch(rules=replace(RULES, interval_s=900.0)), PLAN, iter(range(200, 300))
    counted: list[list[str]] = []
    for number, day in enumerate((THURSDAY, FRIDAY, SATURDAY, SATURDAY + timedelta(days=1), MONDAY)):
        watch.forget_said()
        is_open = day.weekday() < 5
        has_come = is_early and is_open
        for hours, due in ((6, False), (3, False), (15, True)):
            candidate = valid(day, "bcdef"[number]) if has_come else _STALE
            bot = {"bot": replace(BOT, key=f"{next(bots)}:1")}
            watch.go_on(60, **both(on(day, plan, candidate, due=due), bot))
            if Action.RESTART_BOT_ON_NEW_PLAN in watch.actions():
                plan = PlanObservation(
                    date=day, strategy="A", is_emergency=False, sha256="bcdef"[number] * 64, candidate=candidate
                )
            elif Action.RESTART_BOT_ON_STRATEGY_C in watch.actions():
                plan = replace(_EMERGENCY, date=day)
            watch.go_on(hours * 3600 / 2, **both(on(day, plan, candidate, due=due), bot))
            watch.go_on(600, **both(on(day, plan, candidate, due=due), bot, scene.NIGHTLY, RESET, scene.STARTING))
            watch.go_on(hours * 3600 / 2, **both(on(day, plan, candidate, due=due), bot))
            has_come = is_open
        counted.append([notice.title for _, notice in watch.said])
    expired, switched = "Trading plan has expired", "Bot switched to the day's plan"
    good = [switched] if is_early else [expired, switched]
    assert counted == [good, good, [expired], [], [switched]]
