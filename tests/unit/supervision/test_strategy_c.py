"""Strategy C under supervision: the bot's order guard, and a system without a bot."""

from dataclasses import replace
from datetime import timedelta

from orchestration.bot.state import BotState
from orchestration.errors import FallbackWord
from orchestration.supervision import Action, IncidentKind, PlanObservation, Stage
from tests.unit.supervision import scene
from tests.unit.supervision.scene import BOT, WEDNESDAY, Watch, unusable, valid

CUT_OFF = {"bot": replace(BOT, guard_problem="has ended", is_connected=None)}
NO_BOT = BotState(is_running=False, exit_code=0, is_withheld=True)


def without_bot(**changes: object) -> dict[str, object]:
    """No bot, for the emergency plan is active; the plan file is missing unless it is changed."""
    plan = PlanObservation(
        date=WEDNESDAY,
        strategy="C",
        is_emergency=True,
        sha256="e" * 64,
        candidate=unusable(FallbackWord.GAMEPLAN_MISSING),
    )
    return {"bot": NO_BOT, "plan": replace(plan, **changes)}  # type: ignore[arg-type]  # the fields of a plan look


class TestOrderGuard:
    def test_one_that_ends_is_told_restarted_at_once_and_told_again_when_it_works(self) -> None:
        watch = Watch().go_on(60)
        watch.look(**CUT_OFF)
        assert watch.kinds(Stage.OPENED) == [IncidentKind.ORDER_GUARD_ENDED]
        assert watch.actions() == [Action.RESTART_ORDER_GUARD]
        watch.go_on(60)
        assert watch.kinds(Stage.OVER) == [IncidentKind.ORDER_GUARD_ENDED]

    def test_one_that_ends_again_and_again_is_restarted_three_times_an_hour_and_told_once(self) -> None:
        watch = Watch().go_on(3000, **CUT_OFF)
        assert watch.actions() == [Action.RESTART_ORDER_GUARD] * 3
        assert watch.kinds(Stage.OPENED) == [IncidentKind.ORDER_GUARD_ENDED]

    def test_a_monitor_tells_and_restarts_nothing(self) -> None:
        watch = Watch(rules=scene.MONITOR).go_on(60, **CUT_OFF)
        assert watch.kinds(Stage.OPENED) == [IncidentKind.ORDER_GUARD_ENDED]
        assert watch.actions() == []

    def test_a_bot_that_is_being_stopped_needs_none(self) -> None:
        watch = Watch().go_on(60, bot=replace(CUT_OFF["bot"], is_stopping=True))
        assert (watch.said, watch.actions()) == ([], [])

    def test_a_bot_that_is_restarted_anyway_gets_a_new_one_with_that(self) -> None:
        stale = PlanObservation(
            date=WEDNESDAY - timedelta(days=1),
            strategy="A",
            is_emergency=False,
            sha256="d" * 64,
            candidate=valid(WEDNESDAY),
        )
        watch = Watch()
        watch.look(plan=stale, **CUT_OFF)
        assert watch.actions() == [Action.RESTART_BOT_ON_NEW_PLAN]


class TestWithoutBot:
    def test_nothing_is_missed_and_nothing_is_done(self) -> None:
        watch = Watch().go_on(7200, **without_bot())
        assert (watch.said, watch.actions()) == ([], [])
        assert watch.last is not None
        assert watch.last.is_well
        assert "no bot runs on Strategy C" in watch.last.status_text

    def test_the_days_plan_starts_the_bot_once(self) -> None:
        watch = Watch().go_on(600, **without_bot()).go_on(600, **without_bot(candidate=valid(WEDNESDAY)))
        assert watch.actions() == [Action.RESTART_BOT_ON_NEW_PLAN]

    def test_the_days_plan_starts_it_where_dates_are_not_judged_too(self) -> None:
        watch = Watch(rules=replace(scene.RULES, judges_dates=False)).go_on(600, **without_bot())
        watch.go_on(600, **without_bot(candidate=valid(WEDNESDAY)))
        assert watch.actions() == [Action.RESTART_BOT_ON_NEW_PLAN]

    def test_a_plan_that_chooses_c_itself_is_done_for_its_day(self) -> None:
        chosen = {"is_emergency": False, "candidate": valid(WEDNESDAY, content="e", strategy="C")}
        watch = Watch().go_on(7200, **without_bot(**chosen))
        assert watch.actions() == []

    def test_a_gateway_that_is_lost_is_restarted_all_the_same(self) -> None:
        watch = Watch().go_on(60, **without_bot()).go_on(600, **without_bot(), **scene.DEAD)
        assert Action.RESTART_GATEWAY in watch.actions()
