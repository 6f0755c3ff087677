"""What a supervisor does about a gateway that other instances use and look after too."""

from datetime import UTC, datetime

from orchestration.alerts.alert import Severity
from orchestration.gateway.history import GatewayHistory, GatewayRestart, GatewayStop, StopReason
from orchestration.supervision import Action, IncidentKind
from orchestration.supervision.incidents import Stage
from tests.unit.supervision.scene import DEAD, LINK_DOWN, SICK, STARTING, Watch, start_number

AT = datetime(2026, 11, 18, 15, 0, tzinfo=UTC)


def _restarted(at_s: float) -> GatewayHistory:
    return GatewayHistory(
        restarts=(GatewayRestart(by="momentum", owner="/srv/state/momentum", at=AT, at_s=at_s, start="c0ffee@"),)
    )


def _stopped(reason: StopReason) -> GatewayHistory:
    stop = GatewayStop(by="momentum", owner="/srv/state/momentum", at=AT, reason=reason, start="c0ffee@")
    return GatewayHistory(stop=stop)


def test_a_restart_by_another_instance_is_the_one_of_this_incident() -> None:
    watch = Watch()
    watch.go_on(1.0, **DEAD)
    history = _restarted(watch.at_s)
    watch.go_on(30.0, **DEAD, gateway_history=history).go_on(60.0, **STARTING, gateway_history=history)
    assert watch.actions() == []
    (acted,) = [notice for _, notice in watch.said if notice.stage is Stage.ACTED]
    assert "instance momentum restarted it" in acted.message
    assert acted.severity is Severity.INFO
    watch.go_on(60.0, gateway_history=history)
    assert watch.kinds(Stage.OVER) == [IncidentKind.GATEWAY_LOST]
    assert watch.kinds(Stage.WORSE) == []


def test_a_restart_is_told_only_when_it_is_certain_which_instance_does_it() -> None:
    decision = Watch().look(**SICK)
    assert decision.actions == (Action.RESTART_GATEWAY,)
    assert [notice.stage for notice in decision.notices] == [Stage.OPENED]
    assert decision.on_restart is not None
    assert decision.on_restart.title == "Gateway restart attempted"


def test_the_start_after_another_instances_restart_is_not_reported_twice() -> None:
    watch = Watch().go_on(60.0, **LINK_DOWN)
    history = _restarted(watch.at_s)
    watch.go_on(60.0, **start_number(5), gateway_history=history).go_on(
        600.0, **start_number(5), gateway_history=history
    )
    assert IncidentKind.GATEWAY_RESTARTED not in watch.kinds()


def test_it_counts_too_where_this_supervisor_saw_the_loss_only_afterwards() -> None:
    watch = Watch()
    history = _restarted(watch.at_s - 1.0)
    watch.go_on(60.0, **DEAD, gateway_history=history)
    assert watch.actions() == []


def test_a_restart_that_did_not_help_is_not_tried_again_by_the_next_instance() -> None:
    watch = Watch()
    history = _restarted(watch.at_s)
    watch.go_on(600.0, **DEAD, gateway_history=history)
    assert watch.actions() == []
    assert watch.kinds(Stage.WORSE) == [IncidentKind.GATEWAY_LOST]


def test_soon_after_another_instances_restart_the_gateway_is_not_restarted_again() -> None:
    watch = Watch()
    history = _restarted(watch.at_s - 600.0)
    watch.go_on(200.0, **DEAD, gateway_history=history)
    assert watch.actions() == []
    assert watch.kinds(Stage.WORSE) == [IncidentKind.GATEWAY_LOST]


def test_long_after_another_instances_restart_it_is() -> None:
    watch = Watch()
    history = _restarted(watch.at_s - 1000.0)
    watch.go_on(10.0, **DEAD, gateway_history=history)
    assert watch.actions() == [Action.RESTART_GATEWAY]


def test_what_another_instance_stopped_for_a_rejected_password_is_not_brought_back() -> None:
    watch = Watch()
    watch.go_on(7200.0, **DEAD, gateway_history=_stopped(StopReason.LOGIN_REJECTED))
    assert watch.actions() == []
    (opened,) = [notice for _, notice in watch.said if notice.stage is Stage.OPENED]
    assert opened.kind is IncidentKind.GATEWAY_LOST
    assert "instance momentum stopped it" in opened.message
    assert "refuses user or password" in opened.message


def test_what_a_person_stopped_is_not_brought_back_either() -> None:
    watch = Watch()
    watch.go_on(7200.0, **DEAD, gateway_history=_stopped(StopReason.ASKED))
    assert watch.actions() == []
    watch.go_on(600.0, **DEAD)
    assert watch.actions() == [Action.RESTART_GATEWAY], (
        "when nothing holds it down any more, it is a loss like any other"
    )
