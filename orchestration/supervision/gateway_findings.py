"""What a look says about the gateway: engine, container, API, login, link, farms, accounts. Pure.

What a look amounts to is judged by the machine that also waits for the gateway at a start
(`orchestration.gateway.readiness`): it counts failed logins over the container's starts, excuses those of the broker's
reset windows, remembers a second factor that was asked for or confirmed, and knows that a health check lags. Here is
only what is said about it, and after how long.
"""

from dataclasses import replace

from orchestration.alerts.alert import Severity
from orchestration.gateway import readiness
from orchestration.gateway.container import Health
from orchestration.gateway.history import StopReason, name_start
from orchestration.gateway.login import Refusal
from orchestration.gateway.messages import CHOOSE_A_DEVICE, DEVICES, describe_rejection, describe_sight
from orchestration.gateway.readiness import DEAD_GRACE_S, SecondFactor, Sight, is_gone_for, is_health_outdated
from orchestration.supervision.incidents import Finding, IncidentKind, Verdict, Words
from orchestration.supervision.observation import Observation
from orchestration.supervision.rules import (
    API_GRACE_S,
    ENGINE_GRACE_S,
    FARMS_GRACE_S,
    FARMS_HOLD_S,
    HEALTH_CHECK_GRACE_S,
    HOLD_S,
    LINK_GRACE_S,
    LOGIN_GRACE_S,
    SECOND_FACTOR_REPEAT_S,
    Rules,
)

BEGIN = readiness.Memory(deadline_s=float("inf"))
CONNECTED = frozenset({Sight.READY, Sight.LINK_DOWN})
LOST = frozenset(
    {
        Sight.GONE,
        Sight.PAUSED,
        Sight.RESTARTING,
        Sight.LOGIN_PAUSED,
        Sight.LOGIN_IDLE,
        Sight.UNHEALTHY,
        Sight.STARTING,
        Sight.API_NOT_READY,
        Sight.CLIENT_IDS_IN_USE,
    }
)
SAID_AT_ONCE = frozenset({Sight.GONE, Sight.PAUSED, Sight.RESTARTING, Sight.UNHEALTHY, Sight.LOGIN_IDLE})
_READ_THE_LOG = "Read the gateway's log: `inv logs --of gateway`."
_WATCHED = "Nothing yet: it reconnects by itself, and is watched."


def see(memory: readiness.Memory, observation: Observation, rules: Rules) -> tuple[readiness.Memory, Sight]:
    """What the look amounts to, and what is remembered of it."""
    memory, _, sight, _ = readiness.take(memory, observation.readiness_look, observation.at_s, rules.readiness_rules)
    return memory, sight


def judge_gateway(
    memory: readiness.Memory,
    observation: Observation,
    sight: Sight,
    rules: Rules,
    *,
    was_started: bool,
    grace_until_s: float,
    is_refusal_told: bool = False,
) -> tuple[Finding, ...]:
    """Every kind of trouble with the gateway.

    Args:
        memory: What `see` remembers.
        observation: The look.
        sight: What `see` says.
        rules: What may be done.
        was_started: Whether the container has been started since the last look, not by us.
        grace_until_s: Until when our own restart explains that it is not ready.
        is_refusal_told: Whether the operator knows that the broker refuses user or password.
    """
    return (
        _judge_engine(observation),
        _judge_rejected(observation, sight),
        _judge_account(observation, sight),
        _judge_second_factor(observation, sight),
        _judge_session(sight),
        _judge_lost(
            memory,
            observation,
            sight,
            rules,
            was_started=was_started,
            grace_until_s=grace_until_s,
            is_refusal_told=is_refusal_told,
        ),
        _judge_link(observation, sight),
        _judge_health_check(observation, sight, rules),
        _judge_farms(observation, sight),
    )


def _judge_engine(observation: Observation) -> Finding:
    return Finding(
        kind=IncidentKind.ENGINE_GONE,
        verdict=Verdict.FINE if observation.engine_reachable else Verdict.BAD,
        severity=Severity.ERROR,
        words=Words(
            title="Docker does not answer",
            message="The Docker engine does not answer, so nothing is known of the gateway's container and nothing can "
            "be done about it.",
            next_action="Start Docker: `sudo systemctl start docker`, or Docker Desktop.",
        ),
        over=Words(title="Docker answers again", message="The Docker engine answers again."),
        grace_s=ENGINE_GRACE_S,
        hold_s=HOLD_S,
    )


def _judge_rejected(observation: Observation, sight: Sight) -> Finding:
    refused = describe_rejection(observation.login)
    return Finding(
        kind=IncidentKind.LOGIN_REJECTED,
        verdict=_verdict(is_bad=sight is Sight.REJECTED, is_fine=sight in CONNECTED),
        severity=Severity.CRITICAL,
        words=Words(
            title="Broker refuses user or password"
            if observation.login.refusal is Refusal.CREDENTIALS
            else "Broker refuses the login",
            message=f"{refused.message[0].upper()}{refused.message[1:]}. The gateway is stopped, for a login loop can "
            "lock the account.",
            next_action=refused.next_action,
        ),
        over=Words(title="Login accepted", message="The gateway is logged in again."),
        # Started again with a password that is wrong too, it is another incident, and is stopped again.
        key="" if observation.gateway is None else name_start(observation.gateway),
    )


def _judge_account(observation: Observation, sight: Sight) -> Finding:
    problem = observation.api.account_problem
    return Finding(
        kind=IncidentKind.WRONG_ACCOUNT,
        verdict=_verdict(is_bad=sight in CONNECTED and bool(problem), is_fine=sight in CONNECTED),
        severity=Severity.CRITICAL,
        words=Words(
            title="Gateway shows a wrong account",
            message=f"After a login {problem}. The bot must not run on this gateway.",
            next_action="Log in with the right user (TWS_USERID), or correct GATEWAY_ACCOUNT and TRADING_MODE, then "
            "`inv startup`.",
        ),
        over=Words(title="Right account", message="The gateway shows the right account again."),
    )


def _judge_second_factor(observation: Observation, sight: Sight) -> Finding:
    needs_device = observation.login.needs_device
    return Finding(
        kind=IncidentKind.SECOND_FACTOR,
        verdict=_verdict(is_bad=sight is Sight.SECOND_FACTOR, is_fine=sight in CONNECTED),
        severity=Severity.CRITICAL,
        words=Words(
            title="Second factor needed",
            message=f"The gateway's login waits for the second factor{DEVICES if needs_device else ''}. It is waited "
            "for without end; nothing is restarted meanwhile.",
            next_action=CHOOSE_A_DEVICE
            if needs_device
            else "Confirm it on the phone. If no push is there, `inv gateway.restart` sends a new one.",
        ),
        over=Words(title="Second factor confirmed", message="The gateway is logged in again."),
        repeat_s=SECOND_FACTOR_REPEAT_S,
    )


def _judge_session(sight: Sight) -> Finding:
    return Finding(
        kind=IncidentKind.SESSION_TAKEN,
        verdict=_verdict(is_bad=sight is Sight.SESSION_TAKEN, is_fine=sight in CONNECTED),
        severity=Severity.ERROR,
        words=Words(
            title="Session taken over elsewhere",
            message="The same user is logged in elsewhere, and that session was left in charge. The gateway is not "
            "restarted.",
            next_action="Log the other session out (TWS, the phone's app, the website), then `inv gateway.restart`.",
        ),
        over=Words(title="Session is back", message="The gateway is logged in again."),
    )


def _judge_lost(
    memory: readiness.Memory,
    observation: Observation,
    sight: Sight,
    rules: Rules,
    *,
    was_started: bool,
    grace_until_s: float,
    is_refusal_told: bool,
) -> Finding:
    grace_s = 0.0 if sight in SAID_AT_ONCE or was_started else API_GRACE_S
    if sight is not Sight.GONE and memory.second_factor is SecondFactor.GRANTED and memory.granted_s is not None:
        grace_s = max(grace_s, memory.granted_s + LOGIN_GRACE_S - observation.at_s)
    elif sight is Sight.UNHEALTHY and is_health_outdated(memory):
        grace_s = max(API_GRACE_S, (memory.login_moved_s or 0.0) + LOGIN_GRACE_S - observation.at_s)
    if observation.at_s < grace_until_s:
        # It has its time to come up. One that has ended does not come up: only a moment for a restart of Docker's.
        grace_s = API_GRACE_S if sight is Sight.GONE else grace_until_s - observation.at_s
    if observation.in_restart_window:
        is_muted = not is_gone_for(memory, observation.at_s, DEAD_GRACE_S)
    else:
        is_muted = observation.in_reset_window and sight is not Sight.GONE
    seen = describe_sight(sight, observation.readiness_look, port=rules.port)
    stop = observation.gateway_history.stop
    # Stopped because of the refusal: that is one incident, which has been told.
    is_muted = is_muted or (is_refusal_told and stop is not None and stop.reason is StopReason.LOGIN_REJECTED)
    restart_s = readiness.find_restart_time(
        memory, observation.readiness_look, sight, rules.readiness_rules, deadline_s=observation.at_s
    )
    if stop is not None:
        then = f"It is down on purpose ({stop}), and stays down until somebody starts it."
    elif not rules.may_restart_gateway:
        then = "It is not restarted."
    elif restart_s is None:
        then = "It is not restarted, which would not help."
    else:
        then = "It is restarted once if it does not come back."
    return Finding(
        kind=IncidentKind.GATEWAY_LOST,
        verdict=_verdict(is_bad=sight in LOST, is_fine=sight in CONNECTED and not observation.api.account_problem),
        severity=Severity.ERROR,
        words=Words(
            title="No login is under way" if sight is Sight.LOGIN_IDLE else "Gateway lost",
            message=f"The gateway is not usable: {seen}. {then}",
            next_action=_READ_THE_LOG,
        ),
        over=Words(title="Gateway is back", message="The gateway's API answers again, with the right account."),
        grace_s=grace_s,
        hold_s=HOLD_S,
        is_muted=is_muted,
    )


def _judge_link(observation: Observation, sight: Sight) -> Finding:
    return Finding(
        kind=IncidentKind.LINK_DOWN,
        verdict=_verdict(is_bad=sight is Sight.LINK_DOWN, is_fine=sight is Sight.READY),
        severity=Severity.ERROR,
        words=Words(
            title="Gateway has no link to the broker",
            message="The gateway's API answers, but its link to the broker is lost (1100, 2110).",
            next_action=_WATCHED,
        ),
        over=Words(title="Link to the broker is back", message="The gateway has its link to the broker again."),
        grace_s=LINK_GRACE_S,
        hold_s=HOLD_S,
        is_muted=observation.in_window,
    )


def _judge_health_check(observation: Observation, sight: Sight, rules: Rules) -> Finding:
    status = observation.gateway
    is_failing = status is not None and status.is_up and status.health is Health.UNHEALTHY
    verdict = _verdict(is_bad=sight in CONNECTED and is_failing, is_fine=sight in CONNECTED)
    check = status.health_log[-1] if status is not None and status.health_log else "its output is unknown"
    return Finding(
        kind=IncidentKind.HEALTH_CHECK_FAILING,
        verdict=verdict if rules.believes_health_check else Verdict.UNKNOWN,
        severity=Severity.WARNING,
        words=Words(
            title="Container's health check fails",
            message=f"The gateway's API works, but the container's own health check does not pass ({check}). Nothing "
            "is restarted for that.",
            next_action="Correct the check in the Compose file; set GATEWAY_HEALTH_CHECK=ignore if it can never pass.",
        ),
        over=Words(title="Health check passes", message="The container's own health check passes again."),
        grace_s=HEALTH_CHECK_GRACE_S,
    )


def _judge_farms(observation: Observation, sight: Sight) -> Finding:
    farms = ", ".join(observation.api.broken_farms)
    return Finding(
        kind=IncidentKind.FARMS_BROKEN,
        verdict=_verdict(is_bad=sight is Sight.READY and bool(farms), is_fine=sight is Sight.READY),
        severity=Severity.WARNING,
        words=Words(
            title="Data farms broken",
            message=f"The gateway is up, but data farms are broken: {farms}.",
            next_action="Look at the broker's system status page.",
        ),
        over=Words(title="Data farms are back", message="No data farm is broken any more."),
        grace_s=FARMS_GRACE_S,
        hold_s=FARMS_HOLD_S,
        is_muted=observation.in_window,
    )


def _verdict(*, is_bad: bool, is_fine: bool) -> Verdict:
    return Verdict.BAD if is_bad else Verdict.FINE if is_fine else Verdict.UNKNOWN


def note_own_restart(memory: readiness.Memory, observation: Observation, rules: Rules) -> readiness.Memory:
    """Our restart is done: the next start that is seen is ours."""
    memory = readiness.note_restarted(memory, observation.at_s, rules.readiness_rules)
    return replace(memory, deadline_s=float("inf"))
