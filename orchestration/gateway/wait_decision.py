"""What a start does about what it sees of the gateway: wait, restart, or fail. Pure: no I/O, clock or sleep.

It restarts the gateway at most once: each restart is a login, which may send a push for the second factor, and a login
loop can lock the account.
"""

from dataclasses import dataclass
from enum import StrEnum

from orchestration.errors import FailureWord
from orchestration.gateway.container import Health
from orchestration.gateway.readiness import (
    CRASH_LOOP_STARTS,
    FAILURES_THAT_PROVE,
    GONE_GRACE_S,
    ProbeResult,
    ReadinessPolicy,
    ReadinessState,
    SecondFactorState,
    Sight,
    WaitEventKind,
    count_other_starts,
    extend_deadline,
    find_restart_time,
    is_gone_for,
    is_second_factor_open,
    take,
)


class WaitAction(StrEnum):
    """What a start is to do now."""

    WAIT = "wait"
    READY = "ready"
    RESTART = "restart"
    STOP_AND_FAIL = "stop_and_fail"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class WaitDecision:
    """What a start is to do now, and why.

    Attributes:
        action: What.
        sight: What the observation amounts to.
        seen: The observation, completed by an answer of the API that still counts.
        tell: What to tell the operator, in order.
        word: The failure's word, where the action is to fail.
    """

    action: WaitAction
    sight: Sight
    seen: ProbeResult
    tell: tuple[WaitEventKind, ...] = ()
    word: FailureWord | None = None


def decide(
    memory: ReadinessState, observation: ProbeResult, now_s: float, policy: ReadinessPolicy
) -> tuple[ReadinessState, WaitDecision]:
    """What a start does about an observation, and what to remember of it."""
    memory, observation, sight, tell = take(memory, observation, now_s, policy)
    action, word = _choose(memory, observation, sight, now_s, policy)
    if action is WaitAction.RESTART:
        tell = (*tell, WaitEventKind.RESTARTING)
    return memory, WaitDecision(action=action, sight=sight, seen=observation, tell=tell, word=word)


def _choose(
    memory: ReadinessState, observation: ProbeResult, sight: Sight, now_s: float, policy: ReadinessPolicy
) -> tuple[WaitAction, FailureWord | None]:
    """What a start does."""
    is_over = now_s >= extend_deadline(memory, policy, memory.deadline_s)
    match sight:
        case Sight.READY:
            return WaitAction.READY, None
        case Sight.REJECTED:
            return WaitAction.STOP_AND_FAIL, FailureWord.GATEWAY_LOGIN_FAILED
        case Sight.ENGINE_GONE:
            return (WaitAction.FAIL, FailureWord.DOCKER_UNAVAILABLE) if is_over else (WaitAction.WAIT, None)
        case _:
            pass
    due_s = find_restart_time(memory, observation, sight, policy, deadline_s=memory.deadline_s)
    may_restart = policy.may_restart and not memory.is_restarted and memory.second_factor is SecondFactorState.NOT_ASKED
    if may_restart and due_s is not None and now_s >= due_s:
        return WaitAction.RESTART, None
    # Where another monitor restarts (`GATEWAY_RECOVERY=alert`), one that is gone may come back in time.
    if is_over or (is_gone_for(memory, now_s, GONE_GRACE_S) and policy.may_restart):
        return _fail(memory, observation, sight, policy)
    return WaitAction.WAIT, None


def _fail(
    memory: ReadinessState, observation: ProbeResult, sight: Sight, policy: ReadinessPolicy
) -> tuple[WaitAction, FailureWord]:
    if sight is not Sight.LOGIN_IDLE and is_second_factor_open(observation.login, memory):
        return WaitAction.FAIL, FailureWord.GATEWAY_SECOND_FACTOR
    says_unhealthy = observation.status is not None and observation.status.health is Health.UNHEALTHY
    is_unhealthy = (
        says_unhealthy and policy.believes_health_check and sight is not Sight.LOGIN_IDLE
    ) or sight is Sight.HEALTH_CHECK_FAILING
    word = FailureWord.GATEWAY_UNHEALTHY if is_unhealthy else FailureWord.GATEWAY_TIMEOUT
    is_crashing = policy.may_restart and count_other_starts(memory, observation.status) >= CRASH_LOOP_STARTS
    # Failed logins that prove nothing are those of the broker's reset: they are no reason.
    is_failing_again = observation.login.failures_in_a_row >= FAILURES_THAT_PROVE and not memory.excused
    is_to_be_stopped = is_crashing or is_failing_again or sight is Sight.LOGIN_PAUSED
    return (WaitAction.STOP_AND_FAIL if is_to_be_stopped else WaitAction.FAIL), word
