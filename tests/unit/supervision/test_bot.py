"""What is said and done about the bot's process, the disk and the clock."""

from dataclasses import replace
from typing import Any

import pytest

from orchestration.alerts.alert import Severity
from orchestration.bot.state import BotState
from orchestration.supervision import Action, IncidentKind, Rules, Stage
from orchestration.supervision.rules import DISK_FINE_BYTES, DISK_LOW_BYTES
from tests.unit.supervision import scene
from tests.unit.supervision.scene import BOT, MONITOR, NIGHTLY, RESET, Watch, both, gone

_CUT_OFF: dict[str, Any] = {"bot": replace(BOT, is_connected=False)}
_SILENT: dict[str, Any] = {"bot": replace(BOT, watchdog_age_s=121.0, watchdog_limit_s=120.0)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (gone(exit_code=3), "ended with exit code 3"),
        (gone(exit_code=-9), "was ended by SIGKILL"),
        (gone(), "is gone"),
    ],
)
def test_an_unplanned_end_is_said_once_and_ends_the_supervisor_as_a_failure(changes: dict[str, Any], said: str) -> None:
    watch = Watch().go_on(60)
    watch.look(**changes)
    assert watch.kinds() == [IncidentKind.BOT_ENDED]
    assert said in watch.said[0][1].message
    assert watch.actions() == [Action.END_FAILED]
    watch.go_on(600, **changes)
    assert len(watch.said) == len(watch.done) == 1


@pytest.mark.parametrize("changes", [gone(exit_code=1), gone(exit_code=-15), gone()])
def test_what_the_bot_announced_makes_no_end_a_planned_one(changes: dict[str, Any]) -> None:
    watch = Watch().go_on(60, bot=replace(BOT, says_stopping=True))
    assert watch.last is not None
    assert "says that it is stopping" in watch.last.status_text
    watch.go_on(600, bot=replace(changes["bot"], says_stopping=True))
    assert watch.kinds() == [IncidentKind.BOT_ENDED]
    assert "had said that it is stopping" in watch.said[0][1].message
    assert watch.actions() == [Action.END_FAILED]


def test_a_bot_that_another_program_stopped_has_not_finished_though_it_ended_with_0() -> None:
    stopped = gone(exit_code=0)["bot"]
    watch = Watch().go_on(60).go_on(600, bot=replace(stopped, outside_stop="was stopped through the Docker engine"))
    assert watch.kinds() == [IncidentKind.BOT_ENDED]
    assert "was stopped through the Docker engine and ended with exit code 0" in watch.said[0][1].message
    assert watch.actions() == [Action.END_FAILED]


@pytest.mark.parametrize(
    ("never_connected", "is_before_close", "severity"),
    [
        (True, True, Severity.WARNING),
        (True, False, Severity.INFO),
        (False, True, Severity.INFO),
    ],
)
def test_a_bot_that_finished_before_the_close_without_a_connection_is_a_warning(
    severity: Severity, *, never_connected: bool, is_before_close: bool
) -> None:
    finished = replace(gone(exit_code=0)["bot"], has_connected=not never_connected)
    market = replace(scene.WELL.market, is_before_close=is_before_close)
    watch = Watch().go_on(60).go_on(60, bot=finished, market=market)
    (notice,) = [one for _, one in watch.said]
    assert (notice.kind, notice.severity) == (IncidentKind.BOT_FINISHED, severity)
    assert ("never held a connection" in notice.message) is (severity is Severity.WARNING)


_SUSPENDED: dict[str, Any] = {"bot": replace(BOT, suspended="(container ibkr-bot) is paused")}


def test_a_suspended_bot_is_said_once_and_its_going_on_too() -> None:
    watch = Watch().go_on(60).go_on(300, **_SUSPENDED).go_on(60)
    assert [(notice.kind, notice.stage) for _, notice in watch.said] == [
        (IncidentKind.BOT_SUSPENDED, Stage.OPENED),
        (IncidentKind.BOT_SUSPENDED, Stage.OVER),
    ]
    assert "(container ibkr-bot) is paused" in watch.said[0][1].message
    assert watch.actions() == []


def test_a_watched_bot_that_gives_no_sign_of_life_is_told_unless_it_goes_on_soon() -> None:
    rules = replace(scene.MONITOR, is_bot_elsewhere=True)
    assert Watch(rules=rules).go_on(60).go_on(100, **_SUSPENDED).go_on(600).said == []
    silent = Watch(rules=rules).go_on(60).go_on(600, **_SUSPENDED)
    assert [(at_s - 1060.0, notice.kind) for at_s, notice in silent.said] == [(120.0, IncidentKind.BOT_SUSPENDED)]


def test_a_pause_of_a_moment_is_nothing_and_one_that_this_program_stops_neither() -> None:
    assert Watch().go_on(60).go_on(4, **_SUSPENDED).go_on(600).said == []
    assert Watch().go_on(600, bot=replace(_SUSPENDED["bot"], is_stopping=True)).said == []


_NEVER: dict[str, Any] = {"bot": replace(BOT, is_connected=False, has_connected=False)}


def test_a_bot_that_never_connected_is_an_incident_only_after_the_time_that_was_set() -> None:
    assert Watch().go_on(7200, **_NEVER).said == []
    watch = Watch(rules=replace(scene.RULES, bot_connect_timeout_s=300.0)).go_on(299, **_NEVER)
    assert watch.said == []
    watch.go_on(1800, **_NEVER)
    assert watch.kinds(Stage.OPENED) == [IncidentKind.BOT_UNCONNECTED]
    assert "never held a connection" in watch.said[0][1].message
    assert watch.actions() == [Action.RESTART_BOT]
    assert watch.kinds(Stage.WORSE) == [IncidentKind.BOT_UNCONNECTED]


def test_a_bot_that_connects_in_time_is_no_incident() -> None:
    watch = Watch(rules=replace(scene.RULES, bot_connect_timeout_s=300.0)).go_on(200, **_NEVER).go_on(600)
    assert watch.said == []


def test_the_time_to_connect_counts_only_while_the_gateway_is_ready() -> None:
    watch = Watch(rules=replace(scene.RULES, bot_connect_timeout_s=300.0))
    watch.go_on(7200, **both(scene.PHONE, _NEVER))
    assert IncidentKind.BOT_UNCONNECTED not in watch.kinds()


def test_a_bot_that_announced_its_end_still_owes_its_watchdog() -> None:
    watch = Watch().go_on(60).go_on(600, bot=replace(_SILENT["bot"], says_stopping=True))
    assert watch.actions() == [Action.END_FAILED]


def test_a_monitor_says_that_the_bot_ended_and_that_another_one_runs() -> None:
    watch = Watch(rules=MONITOR).go_on(60).go_on(600, **gone(exit_code=1)).go_on(60, bot=replace(BOT, key="200:2"))
    assert [notice.stage for _, notice in watch.said] == [Stage.OPENED, Stage.OVER]
    assert watch.actions() == []


@pytest.mark.parametrize("changes", [gone(exit_code=1), gone(exit_code=-15), gone(exit_code=0), gone()])
def test_an_end_that_was_meant_is_nothing(changes: dict[str, Any]) -> None:
    watch = Watch().go_on(60).go_on(600, bot=replace(changes["bot"], is_stopping=True))
    assert watch.said == []
    assert watch.done == []


def test_a_bot_that_ended_with_0_has_finished_and_is_waited_with() -> None:
    watch = Watch().go_on(60).go_on(900, **gone(exit_code=0))
    assert watch.kinds() == [IncidentKind.BOT_FINISHED]
    assert watch.actions() == [Action.END_FINISHED_WAIT]
    assert watch.last is not None
    assert watch.last.is_well
    assert "has finished for 2026-11-18" in watch.last.status_text


def test_what_is_no_longer_known_of_a_finished_bot_is_no_unplanned_end() -> None:
    watch = Watch().go_on(60).go_on(60, **gone(exit_code=0)).go_on(600, bot=BotState(is_running=False))
    assert watch.kinds() == [IncidentKind.BOT_FINISHED]
    assert watch.actions() == [Action.END_FINISHED_WAIT]


def test_the_bot_after_a_finished_one_can_fail() -> None:
    watch = Watch().go_on(60, **gone(exit_code=0)).go_on(60, bot=replace(BOT, key="200:2"))
    watch.go_on(60, **gone(exit_code=1, key="200:2"))
    assert watch.actions() == [Action.END_FINISHED_WAIT, Action.END_FAILED]


def test_the_bot_after_a_finished_one_may_finish_before_the_first_look_at_it() -> None:
    watch = Watch().go_on(60).go_on(60, **gone(exit_code=0)).go_on(60, **gone(exit_code=0, key="200:2"))
    assert watch.kinds() == [IncidentKind.BOT_FINISHED] * 2
    assert watch.actions() == [Action.END_FINISHED_WAIT] * 2


@pytest.mark.parametrize("changes", [gone(exit_code=1, key="200:2"), gone(key="200:2")])
def test_the_bot_after_a_finished_one_may_fail_before_the_first_look_at_it(changes: dict[str, Any]) -> None:
    watch = Watch().go_on(60).go_on(60, **gone(exit_code=0)).go_on(60, **changes)
    assert watch.kinds() == [IncidentKind.BOT_FINISHED, IncidentKind.BOT_ENDED]
    assert watch.actions() == [Action.END_FINISHED_WAIT, Action.END_FAILED]


def test_a_missed_watchdog_is_said_and_ends_the_supervisor_as_a_failure() -> None:
    watch = Watch().go_on(60).go_on(600, **_SILENT)
    assert watch.kinds() == [IncidentKind.BOT_SILENT]
    assert watch.actions() == [Action.END_FAILED]


def test_a_bot_that_says_it_is_hung_is_told_and_ended_at_once() -> None:
    watch = Watch().go_on(60).go_on(60, bot=replace(BOT, says_hung=True, watchdog_age_s=1.0, watchdog_limit_s=120.0))
    assert watch.kinds() == [IncidentKind.BOT_SILENT]
    assert watch.actions() == [Action.END_FAILED]
    assert "WATCHDOG=trigger" in watch.said[0][1].message


@pytest.mark.parametrize(
    "bot",
    [
        replace(BOT, watchdog_age_s=120.0, watchdog_limit_s=120.0),
        replace(BOT, watchdog_age_s=None, watchdog_limit_s=120.0),
        replace(BOT, watchdog_age_s=9000.0, watchdog_limit_s=None),
        replace(BOT, watchdog_age_s=9000.0, watchdog_limit_s=120.0, is_stopping=True),
    ],
)
def test_a_watchdog_that_is_kept_or_not_promised_is_nothing(bot: BotState) -> None:
    assert Watch().go_on(600, bot=bot).said == []


def test_a_machine_that_slept_gives_its_bot_one_whole_limit() -> None:
    watch = Watch().go_on(60)
    watch.look(**_SILENT, wall_jump_s=7200.0)
    watch.at_s += 1
    watch.go_on(118, **_SILENT)
    assert watch.kinds() == [IncidentKind.CLOCK_JUMP]
    assert watch.go_on(62, **_SILENT).actions() == [Action.END_FAILED]


def test_a_bot_without_a_connection_a_minute_after_the_gateway_is_back_is_restarted_once() -> None:
    watch = Watch().go_on(60).go_on(90, **both(scene.SILENT, _CUT_OFF))
    watch.forget_said()
    back_s = watch.at_s
    watch.go_on(59, **_CUT_OFF)
    assert watch.actions() == []
    watch.go_on(900, **_CUT_OFF)
    assert watch.actions() == [Action.RESTART_BOT]
    assert watch.done[0][0] == back_s + 60.0
    assert watch.kinds(Stage.OPENED, Stage.WORSE) == [IncidentKind.BOT_UNCONNECTED] * 2
    assert watch.go_on(120).kinds(Stage.OVER)[-1] is IncidentKind.BOT_UNCONNECTED


def test_a_bot_that_connects_again_within_a_minute_is_left_alone() -> None:
    watch = Watch().go_on(59, **_CUT_OFF).go_on(60).go_on(59, **_CUT_OFF).go_on(600)
    assert watch.said == []
    assert watch.done == []


def test_a_bot_that_loses_its_connection_again_and_again_is_restarted_six_times_a_day() -> None:
    watch = Watch()
    for _ in range(8):
        watch.go_on(120, **_CUT_OFF).go_on(60)
        watch.at_s += 1800
    assert watch.actions() == [Action.RESTART_BOT] * 6
    assert watch.kinds(Stage.WORSE) == [IncidentKind.BOT_UNCONNECTED] * 2


@pytest.mark.parametrize("window", [RESET, NIGHTLY])
def test_a_bots_connection_is_judged_after_a_window_not_in_it(window: dict[str, Any]) -> None:
    watch = Watch().go_on(1200, **both(_CUT_OFF, window))
    assert watch.said == []
    watch.look(**_CUT_OFF)
    assert watch.actions() == [Action.RESTART_BOT]


@pytest.mark.parametrize(
    "changes",
    [
        scene.SILENT,
        scene.LINK_DOWN,
        scene.DEAD,
        scene.PHONE,
        scene.ENGINE_GONE,
        {"bot": replace(BOT, is_connected=None)},
        {"bot": replace(BOT, is_connected=False, is_stopping=True)},
    ],
)
def test_a_bot_is_not_blamed_for_what_it_cannot_help(changes: dict[str, Any]) -> None:
    watch = Watch().go_on(900, **{**_CUT_OFF, **changes})
    assert IncidentKind.BOT_UNCONNECTED not in watch.kinds()
    assert Action.RESTART_BOT not in watch.actions()


def test_a_bot_of_which_nothing_is_known_any_more_is_not_restarted() -> None:
    watch = Watch().go_on(100, **_CUT_OFF).go_on(60).go_on(100, **_CUT_OFF)
    assert watch.actions() == [Action.RESTART_BOT]
    assert watch.kinds(Stage.OPENED) == [IncidentKind.BOT_UNCONNECTED] * 2
    watch.go_on(1200, bot=replace(BOT, is_connected=None))
    assert watch.actions() == [Action.RESTART_BOT]
    assert watch.go_on(60, **_CUT_OFF).actions() == [Action.RESTART_BOT] * 2


def test_a_monitor_only_says_that_the_bot_is_silent() -> None:
    watch = (
        Watch(rules=MONITOR)
        .go_on(600, **_SILENT)
        .go_on(60, bot=replace(BOT, watchdog_age_s=1.0, watchdog_limit_s=120.0))
    )
    assert [notice.stage for _, notice in watch.said] == [Stage.OPENED, Stage.OVER]
    assert watch.done == []


def test_a_monitor_only_says_that_the_bot_is_not_connected() -> None:
    watch = Watch(rules=MONITOR).go_on(600, **_CUT_OFF)
    assert watch.kinds() == [IncidentKind.BOT_UNCONNECTED]
    assert watch.done == []


def test_a_disk_that_hovers_around_the_limit_is_said_once() -> None:
    watch = Watch()
    for free in (DISK_LOW_BYTES - 1, DISK_LOW_BYTES, DISK_LOW_BYTES - 1, DISK_FINE_BYTES - 1, DISK_LOW_BYTES - 1):
        watch.go_on(60, disk_free_bytes=free)
    assert watch.kinds() == [IncidentKind.DISK_LOW]
    assert watch.last is not None
    assert watch.last.is_well, "a warning does not stop the heartbeat"
    assert watch.go_on(60, disk_free_bytes=DISK_FINE_BYTES).kinds(Stage.OVER) == [IncidentKind.DISK_LOW]


def test_a_disk_just_above_the_limit_is_not_low() -> None:
    assert Watch().go_on(60, disk_free_bytes=DISK_LOW_BYTES).said == []


@pytest.mark.parametrize("jump_s", [3600.0, -30.0, 30.0])
def test_a_clock_that_jumps_is_said_once_for_each_jump(jump_s: float) -> None:
    watch = Watch().go_on(60)
    watch.look(wall_jump_s=jump_s)
    watch.go_on(600)
    assert watch.kinds() == [IncidentKind.CLOCK_JUMP]
    watch.look(wall_jump_s=jump_s)
    assert watch.kinds() == [IncidentKind.CLOCK_JUMP] * 2
    assert watch.said[0][1].incident != watch.said[1][1].incident


def test_a_clock_that_is_corrected_by_little_is_nothing() -> None:
    watch = Watch()
    watch.look(wall_jump_s=29.9)
    watch.look(wall_jump_s=-29.9)
    assert watch.said == []


def test_a_watched_bot_is_missed_only_when_its_container_does_not_bring_it_back() -> None:
    rules = replace(scene.MONITOR, is_bot_elsewhere=True)
    back = Watch(rules=rules).go_on(100, **scene.gone()).go_on(300)
    assert back.kinds() == []
    away = Watch(rules=rules).go_on(600, **scene.gone())
    assert [(at_s - 1000.0, notice.kind) for at_s, notice in away.said] == [(120.0, IncidentKind.BOT_ENDED)]
    assert "has not brought it back" in away.said[0][1].message


def test_of_two_programs_that_see_an_incident_one_alerts_about_it() -> None:
    bots, monitors = Rules(is_gateway_elsewhere=True), Rules(owns_bot=False, is_bot_elsewhere=True)
    told = {kind: (bots.alerts_about(kind), monitors.alerts_about(kind)) for kind in IncidentKind}
    # How a bot ended is its own supervisor's to say, that it stays away the monitor's; each one says its own end. Its
    # supervisor says that the bot is suspended, the monitor that both are.
    both_tell = {IncidentKind.BOT_ENDED, IncidentKind.BOT_SUSPENDED, IncidentKind.SUPERVISION_ENDED}
    assert {kind for kind, by in told.items() if by == (True, True)} == both_tell
    assert {kind for kind, by in told.items() if not any(by)} == set()
    assert all(Rules().alerts_about(kind) for kind in IncidentKind)
