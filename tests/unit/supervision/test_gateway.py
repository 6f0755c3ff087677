"""What is said and done about the gateway: every sight, alone, in a window of time, and after one another."""

from dataclasses import replace
from typing import Any

import pytest

from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.history import GatewayHistory, GatewayStop, StopReason
from orchestration.gateway.login import LoginPhase, LoginReading
from orchestration.gateway.readiness import Sight
from orchestration.supervision import Action, IncidentKind, Rules, Stage
from tests.fakes.gateway import HEALTHY, RUNNING, UNHEALTHY
from tests.unit.supervision import scene
from tests.unit.supervision.scene import ALERT_ONLY, CONNECTED, MONITOR, NIGHTLY, RESET, Watch, both, start_number

_NEVER = None
_LOST = IncidentKind.GATEWAY_LOST
_HOUR_S = 3600.0

# The look, its sight, the incident; after how many seconds it is said, and after how many the gateway is restarted:
# on an ordinary day, in the broker's reset window, in the gateway's own restart window.
_TABLE: list[tuple[dict[str, Any], Sight, IncidentKind, list[tuple[float | None, float | None]]]] = [
    (scene.ENGINE_GONE, Sight.ENGINE_GONE, IncidentKind.ENGINE_GONE, [(15, _NEVER), (15, _NEVER), (15, _NEVER)]),
    (scene.DEAD, Sight.GONE, _LOST, [(0, 2), (0, 2), (60, 60)]),
    (scene.PAUSED, Sight.PAUSED, _LOST, [(0, 0), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.SICK, Sight.UNHEALTHY, _LOST, [(0, 0), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.RESTARTING, Sight.RESTARTING, _LOST, [(0, 120), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.STARTING, Sight.STARTING, _LOST, [(15, 120), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.SILENT, Sight.API_NOT_READY, _LOST, [(15, 120), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.NO_IDS, Sight.CLIENT_IDS_IN_USE, _LOST, [(15, _NEVER), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.LINK_DOWN, Sight.LINK_DOWN, IncidentKind.LINK_DOWN, [(10, 900), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    # Only after failures that the broker's reset explains.
    (scene.LOCKED_OUT, Sight.LOGIN_PAUSED, _LOST, [(_NEVER, _NEVER), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.IDLE, Sight.LOGIN_IDLE, _LOST, [(0, 0), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (
        scene.FAILING_CHECK,
        Sight.READY,
        IncidentKind.HEALTH_CHECK_FAILING,
        [(60, _NEVER), (60, _NEVER), (60, _NEVER)],
    ),
    (scene.FARMS, Sight.READY, IncidentKind.FARMS_BROKEN, [(300, _NEVER), (_NEVER, _NEVER), (_NEVER, _NEVER)]),
    (scene.PHONE, Sight.SECOND_FACTOR, IncidentKind.SECOND_FACTOR, [(0, _NEVER), (0, _NEVER), (0, _NEVER)]),
    (scene.TAKEN, Sight.SESSION_TAKEN, IncidentKind.SESSION_TAKEN, [(0, _NEVER), (0, _NEVER), (0, _NEVER)]),
    (scene.REJECTED, Sight.REJECTED, IncidentKind.LOGIN_REJECTED, [(0, _NEVER), (0, _NEVER), (0, _NEVER)]),
    (scene.WRONG_ACCOUNT, Sight.READY, IncidentKind.WRONG_ACCOUNT, [(0, _NEVER), (0, _NEVER), (0, _NEVER)]),
]
_CASES = [
    pytest.param(changes, sight, kind, window, said_s, restart_s, id=f"{sight} {kind} {name}")
    for changes, sight, kind, times in _TABLE
    for (name, window), (said_s, restart_s) in zip(
        (("by day", {}), ("in a reset", RESET), ("at night", NIGHTLY)), times, strict=True
    )
]


def _first(found: list[float]) -> float | None:
    return found[0] - 1000.0 if found else None


@pytest.mark.parametrize(("changes", "sight", "kind", "window", "said_s", "restart_s"), _CASES)
def test_each_sight_is_said_and_acted_on_at_its_time_and_once(  # noqa: PLR0917 - the columns of the table
    changes: dict[str, Any],
    sight: Sight,
    kind: IncidentKind,
    window: dict[str, Any],
    said_s: float | None,
    restart_s: float | None,
) -> None:
    watch = Watch().go_on(1000, **both(changes, window))
    assert watch.last is not None
    assert watch.last.sight is sight
    assert _first([at_s for at_s, notice in watch.said if notice.kind is kind]) == said_s
    assert _first([at_s for at_s, action in watch.done if action is Action.RESTART_GATEWAY]) == restart_s
    assert watch.kinds(Stage.OPENED) == [] if said_s is None else [kind]
    assert watch.actions().count(Action.RESTART_GATEWAY) <= 1


def test_every_sight_is_in_the_table() -> None:
    # A supervisor requires no health check: while the API works a failing one is a warning.
    assert {sight for _, sight, _, _ in _TABLE} == set(Sight) - {Sight.HEALTH_CHECK_FAILING}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [pytest.param(changes, kind, id=kind) for changes, _, kind, times in _TABLE if times[0][0] is not _NEVER],
)
def test_each_incident_ends_in_a_message_when_its_cause_goes(changes: dict[str, Any], kind: IncidentKind) -> None:
    watch = Watch(rules=MONITOR).go_on(400, **changes).go_on(200)
    assert watch.kinds(Stage.OVER) == [kind]
    assert watch.memory.log.incidents == ()
    assert [notice.stage is Stage.OVER for _, notice in watch.said][-1]
    watch.forget_said()
    assert watch.go_on(400, **changes).kinds(Stage.OPENED) == [kind], "the next one is another incident"


@pytest.mark.parametrize("changes", [scene.SILENT, scene.LINK_DOWN, scene.SICK, scene.STARTING])
@pytest.mark.parametrize("window", [RESET, NIGHTLY])
def test_a_window_ends_with_a_hard_check_that_alarms_at_once(changes: dict[str, Any], window: dict[str, Any]) -> None:
    watch = Watch().go_on(1800, **both(changes, window))
    assert watch.said == []
    assert watch.last is not None
    assert watch.last.is_well, "what is expected does not stop the heartbeat"
    left_s = watch.at_s
    watch.look(**changes)
    assert len(watch.kinds(Stage.OPENED)) == 1
    assert watch.said[0][0] == left_s
    assert watch.last is not None
    assert not watch.last.is_well


@pytest.mark.parametrize(("changes", "after_s"), [(scene.SILENT, 120.0), (scene.LINK_DOWN, 900.0)])
def test_time_in_a_window_does_not_count_towards_a_restart(changes: dict[str, Any], after_s: float) -> None:
    watch = Watch().go_on(1800, **both(changes, RESET))
    left_s = watch.at_s
    watch.go_on(1200, **changes)
    (at_s,) = [at_s for at_s, action in watch.done if action is Action.RESTART_GATEWAY]
    assert after_s - 10 <= at_s - left_s <= after_s


def test_what_passes_within_a_window_is_never_said() -> None:
    watch = Watch().go_on(900, **both(scene.SILENT, NIGHTLY)).go_on(120, **NIGHTLY).go_on(120)
    assert watch.said == []


def test_trouble_that_was_known_before_a_window_is_not_said_again_in_it_but_its_end_is() -> None:
    watch = Watch(rules=ALERT_ONLY).go_on(60, **scene.SILENT).go_on(600, **both(scene.SILENT, RESET)).go_on(60, **RESET)
    assert [notice.stage for _, notice in watch.said] == [Stage.OPENED, Stage.OVER]


def test_trouble_that_turns_worse_within_its_grace_time_is_said_at_once() -> None:
    watch = Watch().go_on(5, **scene.SILENT)
    watch.look(**scene.DEAD)
    assert watch.kinds() == [IncidentKind.GATEWAY_LOST]


@pytest.mark.parametrize("window", [RESET, NIGHTLY])
def test_a_window_that_begins_holds_back_the_restart_of_what_was_said_before(window: dict[str, Any]) -> None:
    watch = Watch().go_on(60, **scene.SILENT).go_on(1200, **both(scene.SILENT, window))
    assert watch.actions() == []


@pytest.mark.parametrize("changes", [scene.DEAD, scene.SICK, scene.SILENT, scene.LINK_DOWN])
def test_alert_only_restarts_nothing(changes: dict[str, Any]) -> None:
    watch = Watch(rules=ALERT_ONLY).go_on(1000, **changes)
    assert watch.actions() == []
    assert len(watch.said) == 1


def test_a_restart_that_does_not_help_is_said_to_need_a_person_once_and_watched_on() -> None:
    watch = Watch().go_on(900, **scene.SILENT)
    assert [notice.stage for _, notice in watch.said] == [Stage.OPENED, Stage.ACTED, Stage.WORSE]
    assert watch.actions() == [Action.RESTART_GATEWAY]
    acted_s, worse_s = (at_s for at_s, notice in watch.said if notice.stage is not Stage.OPENED)
    assert 120.0 <= worse_s - acted_s <= 140.0
    assert watch.go_on(60).kinds(Stage.OVER) == [IncidentKind.GATEWAY_LOST]


def test_a_restart_that_takes_long_gives_the_gateway_its_whole_time_afterwards() -> None:
    watch = Watch()
    watch.look(**scene.SICK)
    watch.at_s += 100.0
    back_s = watch.at_s
    watch.go_on(300, **scene.SICK)
    ((at_s, _),) = [one for one in watch.said if one[1].stage is Stage.WORSE]
    assert 120.0 <= at_s - back_s <= 130.0


def test_what_a_container_that_has_ended_said_of_its_accounts_proves_nothing() -> None:
    watch = Watch().go_on(60, **both(scene.WRONG_ACCOUNT, {"gateway": scene.DEAD["gateway"]}))
    assert IncidentKind.WRONG_ACCOUNT not in watch.kinds()


def test_a_gateway_that_is_lost_again_right_after_a_restart_is_not_restarted_again_at_once() -> None:
    watch = Watch().go_on(30, **scene.SICK).go_on(60)
    watch.forget_said()
    watch.go_on(600, **scene.SICK)
    assert watch.actions() == []
    assert watch.kinds(Stage.OPENED) == watch.kinds(Stage.WORSE) == [IncidentKind.GATEWAY_LOST]
    assert watch.go_on(600, **scene.SICK).actions() == [Action.RESTART_GATEWAY], "later it is"


def test_a_gateway_that_breaks_again_and_again_is_restarted_six_times_a_day() -> None:
    watch = Watch()
    for _ in range(8):
        watch.go_on(20, **scene.SICK).go_on(20)
        watch.at_s += 1800
    assert watch.actions().count(Action.RESTART_GATEWAY) == 6
    assert watch.kinds(Stage.WORSE) == [IncidentKind.GATEWAY_LOST] * 2
    watch.at_s += 24 * _HOUR_S
    watch.forget_said()
    assert watch.go_on(20, **scene.SICK).actions() == [Action.RESTART_GATEWAY]


def test_a_restart_that_the_engine_did_not_take_does_not_count() -> None:
    watch = Watch()
    watch.look(**scene.SICK)
    watch.at_s += 12.0
    assert watch.actions() == [Action.RESTART_GATEWAY]
    watch.go_on(120, **scene.ENGINE_GONE)
    assert watch.memory.gateway_restarts_s == ()
    watch.go_on(30, **scene.SICK)
    assert watch.actions() == [Action.RESTART_GATEWAY] * 2
    assert IncidentKind.GATEWAY_LOST not in watch.kinds(Stage.OVER, Stage.WORSE), "all that time it was lost"


def test_the_start_that_follows_our_own_restart_of_a_gateway_without_link_is_no_news() -> None:
    watch = Watch().go_on(905, **scene.LINK_DOWN)
    assert watch.actions() == [Action.RESTART_GATEWAY]
    started = start_number(5)
    watch.go_on(100, **both(started, {"api": ApiStatus(state=ApiState.CLOSED)})).go_on(60, **started)
    assert watch.kinds() == [IncidentKind.LINK_DOWN] * 3
    assert watch.kinds(Stage.OVER) == [IncidentKind.LINK_DOWN]


def test_our_own_restart_that_is_over_at_once_is_no_start_by_another_program() -> None:
    watch = Watch().go_on(900, **scene.LINK_DOWN)
    watch.look(**scene.LINK_DOWN)
    assert watch.actions() == [Action.RESTART_GATEWAY]
    watch.at_s += 12.0
    watch.go_on(60, **start_number(5))
    assert watch.kinds() == [IncidentKind.LINK_DOWN] * 3


def test_a_window_that_begins_holds_back_a_restart_that_had_to_wait() -> None:
    watch = Watch().go_on(30, **scene.SICK).go_on(60).go_on(60, **scene.SICK).go_on(1200, **both(scene.SICK, RESET))
    assert watch.actions() == [Action.RESTART_GATEWAY]
    assert watch.go_on(30, **scene.SICK).actions() == [Action.RESTART_GATEWAY] * 2


def test_a_start_by_another_program_is_reported_even_if_it_was_over_before_the_look() -> None:
    watch = Watch().go_on(60).go_on(60, **start_number(5))
    assert watch.kinds(Stage.EVENT) == [IncidentKind.GATEWAY_RESTARTED]
    assert watch.go_on(600, **start_number(5)).kinds() == [IncidentKind.GATEWAY_RESTARTED]


def test_a_start_by_another_program_is_reported_at_once_where_the_gateway_is_not_ready_yet() -> None:
    watch = Watch().go_on(60)
    watch.look(**both(start_number(5), {"api": ApiStatus(state=ApiState.CLOSED)}))
    assert watch.kinds(Stage.OPENED) == [IncidentKind.GATEWAY_LOST]


def test_the_nightly_restart_of_the_container_is_no_news() -> None:
    watch = Watch().go_on(60).go_on(60, **both(start_number(5), NIGHTLY)).go_on(60, **start_number(5))
    assert watch.said == []


def test_our_own_restart_is_no_start_by_another_program() -> None:
    watch = Watch().go_on(30, **scene.SICK).go_on(60, **start_number(5))
    assert IncidentKind.GATEWAY_RESTARTED not in watch.kinds()


def test_a_second_factor_is_said_again_each_hour_and_waited_for_without_end() -> None:
    watch = Watch().go_on(3.5 * _HOUR_S, **scene.PHONE)
    assert watch.kinds(Stage.AGAIN) == [IncidentKind.SECOND_FACTOR] * 3
    assert len(watch.said) == 4
    assert watch.actions() == []
    assert watch.go_on(60).kinds(Stage.OVER) == [IncidentKind.SECOND_FACTOR]


@pytest.mark.parametrize("changes", [scene.STARTING, scene.RESTARTING, scene.SICK, scene.SILENT])
def test_a_login_that_waits_for_a_phone_may_go_through_other_states(changes: dict[str, Any]) -> None:
    watch = Watch().go_on(600, **scene.PHONE).go_on(600, **changes).go_on(600, **scene.PHONE)
    assert watch.kinds() == [IncidentKind.SECOND_FACTOR]
    assert watch.actions() == []


@pytest.mark.parametrize("waited_s", [100.0, 400.0, 3000.0])
def test_a_second_factor_confirmed_late_under_a_stale_check_restarts_nothing(waited_s: float) -> None:
    stale = {"gateway": UNHEALTHY}
    watch = Watch().go_on(60, **scene.PHONE).go_on(waited_s - 60, **both(scene.PHONE, stale))
    confirmed = both(scene.SICK, {"login": LoginReading(phase=LoginPhase.LOGGED_IN)})
    watch.go_on(20, **confirmed).go_on(40, **both(confirmed, {"api": CONNECTED})).go_on(200)
    assert watch.actions() == []
    assert set(watch.kinds()) == {IncidentKind.SECOND_FACTOR}, "it was not lost: it was being logged in"


def test_a_confirmed_second_factor_without_an_api_is_restarted_only_after_the_whole_wait() -> None:
    watch = Watch().go_on(60, **scene.PHONE)
    confirmed = both(scene.SICK, {"login": LoginReading(phase=LoginPhase.LOGGED_IN)})
    watch.go_on(600, **confirmed)
    ((at_s, action),) = watch.done
    assert action is Action.RESTART_GATEWAY
    assert 120.0 <= at_s - 1060.0 <= 190.0


@pytest.mark.parametrize("phase", [LoginPhase.LOGGING_IN, LoginPhase.LOGGED_IN])
def test_a_login_that_gets_further_under_a_stale_check_is_given_its_time(phase: LoginPhase) -> None:
    watch = Watch(rules=ALERT_ONLY).go_on(30, **scene.SICK)
    watch.rules = scene.RULES
    watch.go_on(80, **both(scene.SICK, {"login": LoginReading(phase=phase)}))
    assert watch.actions() == []


def test_a_second_factor_of_last_week_protects_nothing() -> None:
    watch = Watch().go_on(60, **scene.PHONE).go_on(600).go_on(10, **scene.SICK)
    assert watch.actions() == [Action.RESTART_GATEWAY]


def test_too_many_attempts_while_second_factors_went_unanswered_need_the_phone_and_no_new_password() -> None:
    too_many = LoginReading(phase=LoginPhase.SECOND_FACTOR, has_too_many_attempts=True, awaits_second_factor=True)
    watch = Watch().go_on(60, **scene.PHONE).go_on(600, **both(scene.PHONE, {"login": too_many}))
    assert watch.actions() == []
    assert watch.kinds() == [IncidentKind.SECOND_FACTOR]


def test_a_pause_after_failures_of_the_brokers_reset_is_said_after_it_and_restarts_nothing() -> None:
    watch = Watch().go_on(600, **scene.LOCKED_OUT).go_on(600, **both(scene.LOCKED_OUT, {"in_reset_window": False}))
    assert watch.kinds() == [_LOST]
    assert watch.actions() == []
    assert "would not help" in watch.said[0][1].message


def test_an_ignored_health_check_is_no_warning() -> None:
    watch = Watch(rules=Rules(believes_health_check=False)).go_on(600, **scene.FAILING_CHECK)
    assert watch.said == []
    watch.go_on(100, **scene.SICK)
    assert watch.actions() == [], "nor a reason to restart at once"
    assert watch.go_on(60, **scene.SICK).actions() == [Action.RESTART_GATEWAY]


def test_a_container_that_stays_dead_no_longer_waits_for_a_phone() -> None:
    watch = Watch().go_on(600, **scene.PHONE).go_on(50, **scene.DEAD)
    assert watch.actions() == []
    assert watch.go_on(60, **scene.DEAD).actions() == [Action.RESTART_GATEWAY]


def test_a_session_that_was_taken_over_is_not_taken_back_by_a_restart() -> None:
    watch = Watch().go_on(60, **scene.TAKEN).go_on(600, **scene.DEAD)
    assert watch.actions() == []
    assert watch.kinds(Stage.OPENED) == [IncidentKind.SESSION_TAKEN, IncidentKind.GATEWAY_LOST]


@pytest.mark.parametrize(
    ("changes", "rules", "actions"),
    [
        (scene.REJECTED, scene.RULES, [Action.STOP_GATEWAY, Action.END_78]),
        (scene.REJECTED, ALERT_ONLY, [Action.STOP_GATEWAY, Action.END_78]),
        (scene.REJECTED, MONITOR, [Action.STOP_GATEWAY]),
        (scene.REJECTED, Rules(may_stop_gateway=False, may_restart_gateway=False), [Action.END_78]),
        (scene.WRONG_ACCOUNT, scene.RULES, [Action.END_78]),
        (scene.WRONG_ACCOUNT, MONITOR, [Action.STOP_BOT]),
    ],
)
def test_what_only_a_person_can_mend_ends_it_once(changes: dict[str, Any], rules: Rules, actions: list[Action]) -> None:
    watch = Watch(rules=rules).go_on(300, **changes)
    assert watch.actions() == actions
    assert len(watch.said) == 1


def test_a_rejected_gateway_that_was_stopped_is_not_started_by_a_monitor() -> None:
    watch = Watch(rules=MONITOR).go_on(60, **scene.REJECTED).go_on(300, **scene.DEAD)
    assert watch.actions() == [Action.STOP_GATEWAY]


def test_one_failed_login_in_the_night_proves_nothing_and_two_do() -> None:
    once = LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=1)
    watch = Watch().go_on(60, **both(scene.SILENT, {"login": once}))
    assert Action.STOP_GATEWAY not in watch.actions()
    watch.go_on(60, **both(scene.SILENT, {"login": replace(once, failures_in_a_row=2)}))
    assert watch.actions()[-2:] == [Action.STOP_GATEWAY, Action.END_78]


def test_failed_logins_while_the_broker_resets_its_servers_prove_nothing() -> None:
    failed = {"login": LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=2)}
    watch = Watch().go_on(600, **both(scene.SILENT, failed, RESET)).go_on(60, **both(scene.SILENT, failed))
    assert watch.kinds() == [IncidentKind.GATEWAY_LOST]


@pytest.mark.parametrize("logins", [2, 3])
def test_the_accounts_are_judged_after_each_login(logins: int) -> None:
    watch = Watch().go_on(600).go_on(120, **scene.SILENT)
    watch.go_on(60, api=replace(CONNECTED, connections=logins, accounts=("U7",)), account_problem="it shows U7")
    assert watch.actions()[-1] is Action.END_78
    assert IncidentKind.GATEWAY_LOST not in watch.kinds(Stage.OVER), "a wrong gateway is not the gateway that is back"


def test_a_connection_that_has_not_named_its_accounts_is_not_ready() -> None:
    watch = Watch()
    assert watch.look(api=ApiStatus(state=ApiState.READY)).sight is Sight.API_NOT_READY


def test_a_gateway_that_answers_is_ready_while_the_engine_does_not() -> None:
    watch = Watch().go_on(600, engine_reachable=False, gateway=None)
    assert watch.kinds() == [IncidentKind.ENGINE_GONE]
    assert watch.last is not None
    assert watch.last.sight is Sight.READY


def test_a_gateway_that_was_lost_with_the_engine_is_judged_once_the_engine_is_back() -> None:
    watch = Watch().go_on(600, **scene.ENGINE_GONE)
    assert watch.kinds() == [IncidentKind.ENGINE_GONE]
    watch.go_on(30, **scene.DEAD)
    assert watch.kinds(Stage.OPENED) == [IncidentKind.ENGINE_GONE, IncidentKind.GATEWAY_LOST]
    assert watch.actions() == [Action.RESTART_GATEWAY]


@pytest.mark.parametrize(
    "changes",
    [both(scene.SILENT, {"gateway": HEALTHY}), scene.LINK_DOWN, scene.ENGINE_GONE, scene.FARMS],
)
def test_what_passes_within_its_grace_time_is_not_said(changes: dict[str, Any]) -> None:
    watch = Watch().go_on(9, **changes).go_on(60).go_on(9, **changes).go_on(60)
    assert watch.said == []


def test_trouble_that_comes_and_goes_within_seconds_is_one_incident() -> None:
    watch = Watch(rules=ALERT_ONLY).go_on(30, **scene.SILENT)
    for _ in range(20):
        watch.go_on(5).go_on(5, **scene.SILENT)
    assert len(watch.said) == 1
    assert watch.go_on(30).kinds(Stage.OVER) == [IncidentKind.GATEWAY_LOST]


def test_what_is_said_names_what_was_seen_and_what_to_do() -> None:
    watch = Watch().go_on(1, **scene.DEAD)
    ((_, notice),) = watch.said
    assert "the container is exited" in notice.message
    assert notice.next_action
    assert notice.incident == "gateway_lost-1"
    assert watch.last is not None
    assert "gateway lost" in watch.last.status_text


def test_a_gateway_that_is_too_old_is_told_with_what_to_do_and_not_restarted() -> None:
    watch = Watch().go_on(600, gateway=HEALTHY, api=ApiStatus(state=ApiState.OUTDATED, detail="it said 503"))
    ((_, notice),) = watch.said
    assert "too old for this program (it said 503)" in notice.message
    assert "would not help" in notice.message
    assert "GATEWAY_IMAGE" in notice.next_action
    assert Action.RESTART_GATEWAY not in watch.actions()


@pytest.mark.parametrize("sight", [changes for changes, _, _, _ in _TABLE])
def test_every_message_is_whole_sentences(sight: dict[str, Any]) -> None:
    watch = Watch(rules=MONITOR).go_on(2000, **sight).go_on(200)
    for text in scene.texts(notice for _, notice in watch.said):
        assert "None" not in text
        assert text == text.strip()
        assert ".." not in text


def test_a_monitor_stops_a_second_wrong_password_too_and_says_each_once() -> None:
    refused = IncidentKind.LOGIN_REJECTED
    watch = Watch(rules=MONITOR).go_on(60, **scene.REJECTED)
    stop = GatewayStop(by="a", owner="/s", at=scene.NOON, reason=StopReason.LOGIN_REJECTED, start="c0ffee@")
    watch.go_on(600, **scene.DEAD, gateway_history=GatewayHistory(stop=stop))
    assert watch.kinds() == [refused], "it is down because of the refusal, which has been said"

    again = replace(RUNNING, id="another", started_at=scene.NOON)
    watch.go_on(60, **{**scene.REJECTED, "gateway": again})
    assert watch.kinds(Stage.OPENED) == [refused, refused]
    assert watch.actions() == [Action.STOP_GATEWAY] * 2

    watch.go_on(60)
    assert watch.kinds(Stage.OVER) == [refused]


def test_an_intended_stop_is_reported_as_one() -> None:
    stop = GatewayStop(by="a", owner="/s", at=scene.NOON, reason=StopReason.ASKED, start="c0ffee@")
    watch = Watch(rules=MONITOR).go_on(60, **scene.DEAD, gateway_history=GatewayHistory(stop=stop))
    assert watch.kinds() == [_LOST]


def test_a_gateway_that_ends_while_it_was_given_time_to_come_up_is_told_soon() -> None:
    watch = Watch()
    watch.memory = replace(watch.memory, grace_until_s=watch.at_s + 600)
    watch.go_on(5, **scene.SILENT)
    assert watch.kinds() == []
    watch.go_on(20, **scene.DEAD)
    assert IncidentKind.GATEWAY_LOST in watch.kinds()
