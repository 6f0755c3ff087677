"""The table of the readiness machine: every pair of state and sight, and the transitions between."""

from dataclasses import replace

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord
from orchestration.gateway.api_status import ApiState
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.login import NOTHING_READ, LoginPhase, LoginReading
from orchestration.gateway.readiness import (
    GONE_GRACE_S,
    UNHEALTHY_HANDSHAKE_INTERVAL_S,
    ApiWhileUnhealthy,
    ProbeResult,
    ReadinessPolicy,
    ReadinessState,
    SecondFactorState,
    Sight,
    WaitEventKind,
    begin,
    is_handshake_due,
    note_restarted,
    see,
)
from orchestration.gateway.wait_decision import WaitAction, WaitDecision, decide
from tests.fakes.gateway import FARMS_BROKEN, HEALTHY, LINK_DOWN, READY, RUNNING, STARTED, UNHEALTHY, api

POLICY = ReadinessPolicy(timeout_s=120.0, twofa_timeout_s=180.0, may_restart=True)
ALERT = replace(POLICY, may_restart=False)
LOGGED_IN = LoginReading(phase=LoginPhase.LOGGED_IN)
ASKED = LoginReading(phase=LoginPhase.SECOND_FACTOR, awaits_second_factor=True)
LOGGING_IN = LoginReading(phase=LoginPhase.LOGGING_IN)
LOCKED_OUT = LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=2, is_rejected=True, has_too_many_attempts=True)
TOO_MANY = LoginReading(phase=LoginPhase.FAILED, is_rejected=True, has_too_many_attempts=True)
PAUSED_FOR_2FA = LoginReading(phase=LoginPhase.SECOND_FACTOR, has_too_many_attempts=True, awaits_second_factor=True)
IDLE = LoginReading(phase=LoginPhase.IDLE)
TAKEN = LoginReading(phase=LoginPhase.SESSION_TAKEN)
REJECTED = LoginReading(phase=LoginPhase.FAILED, is_rejected=True)
FAILED_ONCE = LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=1)
FAILED_TWICE = replace(FAILED_ONCE, failures_in_a_row=2)

OBSERVATIONS = {
    Sight.ENGINE_GONE: ProbeResult(status=None),
    Sight.READY: ProbeResult(status=HEALTHY, api=READY),
    Sight.LINK_DOWN: ProbeResult(status=HEALTHY, api=LINK_DOWN),
    Sight.REJECTED: ProbeResult(status=RUNNING, login=REJECTED),
    Sight.GONE: ProbeResult(status=replace(RUNNING, state=ContainerState.EXITED)),
    Sight.PAUSED: ProbeResult(status=replace(RUNNING, state=ContainerState.PAUSED)),
    Sight.RESTARTING: ProbeResult(status=replace(RUNNING, state=ContainerState.RESTARTING)),
    Sight.SECOND_FACTOR: ProbeResult(status=RUNNING, login=ASKED),
    Sight.SESSION_TAKEN: ProbeResult(status=RUNNING, login=TAKEN),
    Sight.LOGIN_PAUSED: ProbeResult(status=RUNNING, login=LOCKED_OUT, in_reset_window=True),
    Sight.LOGIN_IDLE: ProbeResult(status=RUNNING, login=IDLE),
    Sight.HEALTH_CHECK_FAILING: ProbeResult(status=UNHEALTHY, api=READY),
    Sight.UNHEALTHY: ProbeResult(status=UNHEALTHY, api=api(ApiState.CLOSED)),
    Sight.STARTING: ProbeResult(status=RUNNING),
    Sight.CLIENT_IDS_IN_USE: ProbeResult(status=HEALTHY, api=api(ApiState.CLIENT_ID_IN_USE)),
    Sight.API_NOT_READY: ProbeResult(status=HEALTHY, api=api(ApiState.CLOSED)),
}

DEADLINE_S = 100.0
_MEMORY = ReadinessState(deadline_s=DEADLINE_S, start=RUNNING.start, gone_since_s=0.0)
STATES: dict[str, tuple[ReadinessState, ReadinessPolicy]] = {
    "first wait": (_MEMORY, POLICY),
    "restarted": (replace(_MEMORY, is_restarted=True), POLICY),
    "alert only": (_MEMORY, ALERT),
    "asked": (replace(_MEMORY, second_factor=SecondFactorState.PENDING, is_extended=True), POLICY),
    "granted": (replace(_MEMORY, second_factor=SecondFactorState.GRANTED, is_extended=True), POLICY),
}
_ENDS = {
    "wait": (WaitAction.WAIT, None),
    "ready": (WaitAction.READY, None),
    "restart": (WaitAction.RESTART, None),
    "halt": (WaitAction.STOP_AND_FAIL, FailureWord.GATEWAY_TIMEOUT),
    "stop": (WaitAction.STOP_AND_FAIL, FailureWord.GATEWAY_LOGIN_FAILED),
    "timeout": (WaitAction.FAIL, FailureWord.GATEWAY_TIMEOUT),
    "unhealthy": (WaitAction.FAIL, FailureWord.GATEWAY_UNHEALTHY),
    "2fa": (WaitAction.FAIL, FailureWord.GATEWAY_SECOND_FACTOR),
    "docker": (WaitAction.FAIL, FailureWord.DOCKER_UNAVAILABLE),
}

# Before the deadline / at it, for each state in the order above.
# One that is asked for a second factor is seen as that, whatever its container looks like meanwhile.
TABLE = """
ready                 ready/ready      ready/ready      ready/ready      ready/ready      ready/ready
rejected              stop/stop        stop/stop        stop/stop        stop/stop        stop/stop
engine_gone           wait/docker      wait/docker      wait/docker      wait/docker      wait/docker
link_down             wait/timeout     wait/timeout     wait/timeout     wait/wait        wait/timeout
gone                  restart/restart  timeout/timeout  wait/timeout     2fa/2fa          timeout/timeout
paused                restart/restart  wait/timeout     wait/timeout     wait/2fa         wait/timeout
restarting            wait/restart     wait/timeout     wait/timeout     wait/2fa         wait/timeout
second_factor         wait/wait        wait/wait        wait/wait        wait/2fa         wait/2fa
session_taken         wait/timeout     wait/timeout     wait/timeout     wait/2fa         wait/timeout
login_paused          wait/halt        wait/halt        wait/halt        wait/2fa         wait/halt
login_idle            restart/restart  wait/timeout     wait/timeout     restart/restart  wait/timeout
health_check_failing  wait/restart     wait/unhealthy   wait/unhealthy   wait/wait        wait/unhealthy
unhealthy             restart/restart  wait/unhealthy   wait/unhealthy   wait/2fa         wait/unhealthy
starting              wait/restart     wait/timeout     wait/timeout     wait/2fa         wait/timeout
client_ids_in_use     wait/timeout     wait/timeout     wait/timeout     wait/2fa         wait/timeout
api_not_ready         wait/restart     wait/timeout     wait/timeout     wait/2fa         wait/timeout
"""
_WAITS_FOR_A_PHONE = {
    Sight.PAUSED,
    Sight.RESTARTING,
    Sight.LOGIN_PAUSED,
    Sight.UNHEALTHY,
    Sight.STARTING,
    Sight.API_NOT_READY,
}
CASES = [
    pytest.param(state, Sight(row[0]), end, now_s, id=f"{state}, {row[0]}, at {now_s:g}")
    for row in (line.split() for line in TABLE.strip().splitlines())
    for state, cell in zip(STATES, row[1:], strict=True)
    for now_s, end in zip((DEADLINE_S - 1, DEADLINE_S), cell.split("/"), strict=True)
]


def run(
    memory: ReadinessState, *observations: ProbeResult, at_s: float = 1.0, policy: ReadinessPolicy = POLICY
) -> tuple[ReadinessState, WaitDecision]:
    """Feed observations, a second apart; the last decision."""
    decision = WaitDecision(action=WaitAction.WAIT, sight=Sight.STARTING, seen=ProbeResult(status=None))
    for number, observation in enumerate(observations):
        memory, decision = decide(memory, observation, at_s + number, policy)
    return memory, decision


@pytest.mark.parametrize(("state", "sight", "end", "now_s"), CASES)
def test_every_pair_of_state_and_sight_has_its_decision(state: str, sight: Sight, end: str, now_s: float) -> None:
    memory, policy = STATES[state]
    _, decision = decide(memory, OBSERVATIONS[sight], now_s, policy)
    is_open = memory.second_factor is SecondFactorState.PENDING
    assert decision.sight is (Sight.SECOND_FACTOR if is_open and sight in _WAITS_FOR_A_PHONE else sight)
    assert (decision.action, decision.word) == _ENDS[end]


def test_the_table_has_every_sight() -> None:
    assert {case.values[1] for case in CASES} == set(Sight) == set(OBSERVATIONS)


@pytest.mark.parametrize(
    ("status", "is_due"),
    [
        (None, False),
        (HEALTHY, True),
        (RUNNING, False),
        (UNHEALTHY, True),  # before it is restarted for that
        (replace(RUNNING, health=Health.NONE), True),
        (replace(HEALTHY, state=ContainerState.PAUSED), False),
        (replace(HEALTHY, state=ContainerState.EXITED), False),
        (GatewayStatus(state=ContainerState.UNKNOWN), True),
    ],
)
def test_the_handshake_is_tried_only_where_the_container_has_no_objection(
    status: GatewayStatus | None, *, is_due: bool
) -> None:
    assert is_handshake_due(status, NOTHING_READ, begin(0.0, POLICY), 1.0, POLICY) is is_due


def test_ready_exactly_at_the_deadline_is_ready() -> None:
    memory = begin(0.0, POLICY)
    _, decision = decide(memory, OBSERVATIONS[Sight.READY], POLICY.timeout_s, POLICY)
    assert decision.action is WaitAction.READY


def test_exactly_at_the_deadline_the_api_is_asked_once_more_though_it_was_asked_right_before() -> None:
    def is_due(asked_s: float, now_s: float) -> bool:
        answer = ApiWhileUnhealthy(at_s=asked_s, health=UNHEALTHY.health, api=api(ApiState.CLOSED))
        memory = replace(begin(0.0, POLICY), start=UNHEALTHY.start, answer=answer)
        return is_handshake_due(UNHEALTHY, NOTHING_READ, memory, now_s, POLICY)

    deadline_s = POLICY.timeout_s
    assert not is_due(deadline_s - 2.0, deadline_s - 1.0)
    assert is_due(deadline_s - 2.0, deadline_s)
    assert not is_due(deadline_s, deadline_s + 1.0)


def test_failures_of_earlier_starts_prove_nothing_before_this_one_has_failed_too() -> None:
    memory = replace(_MEMORY, failures_before=2)
    assert see(ProbeResult(status=RUNNING), memory, 1.0, POLICY) is Sight.STARTING
    assert see(ProbeResult(status=RUNNING, login=LOGGING_IN), memory, 1.0, POLICY) is Sight.STARTING
    assert see(ProbeResult(status=RUNNING, login=FAILED_ONCE), memory, 1.0, POLICY) is Sight.REJECTED


def test_an_answer_of_a_container_that_has_ended_is_not_ready() -> None:
    observation = ProbeResult(status=replace(HEALTHY, state=ContainerState.EXITED), api=READY)
    assert see(observation, begin(0.0, POLICY), 1.0, POLICY) is Sight.GONE


def test_a_ready_gateway_is_ready_whatever_its_log_says() -> None:
    for login in (ASKED, TAKEN, REJECTED, FAILED_TWICE):
        assert see(ProbeResult(status=HEALTHY, login=login, api=READY), begin(0.0, POLICY), 1.0, POLICY) is Sight.READY


def test_the_restart_gives_one_more_whole_wait_and_no_second_restart() -> None:
    memory, decision = run(begin(0.0, POLICY), OBSERVATIONS[Sight.STARTING], at_s=120.0)
    assert decision.action is WaitAction.RESTART
    assert decision.tell == (WaitEventKind.RESTARTING,)
    memory = note_restarted(memory, 130.0, POLICY)
    restarted = ProbeResult(status=replace(RUNNING, started_at=None))
    memory, decision = run(memory, restarted, at_s=249.9)
    assert decision.action is WaitAction.WAIT
    assert memory.other_restarts == 0, "our own restart is not one of Docker's"
    _, decision = run(memory, restarted, at_s=250.0)
    assert (decision.action, decision.word) == (WaitAction.FAIL, FailureWord.GATEWAY_TIMEOUT)


def test_starts_by_docker_neither_move_the_deadline_nor_count_as_ours() -> None:
    memory = begin(0.0, POLICY)
    for number in range(5):
        started = ProbeResult(status=replace(RUNNING, started_at=STARTED.replace(second=number)))
        memory, decision = decide(memory, started, 10.0 * number, POLICY)
        assert decision.action is WaitAction.WAIT
    assert memory.deadline_s == POLICY.timeout_s
    assert memory.other_restarts == 4
    assert not memory.is_restarted


def test_a_container_that_is_gone_for_a_moment_is_given_that_moment() -> None:
    gone = OBSERVATIONS[Sight.GONE]
    memory, decision = decide(begin(0.0, POLICY), gone, 10.0, POLICY)
    assert decision.action is WaitAction.WAIT
    memory, decision = decide(memory, gone, 10.0 + GONE_GRACE_S - 0.1, POLICY)
    assert decision.action is WaitAction.WAIT
    back, _ = decide(memory, OBSERVATIONS[Sight.STARTING], 11.95, POLICY)
    assert back.gone_since_s is None
    _, decision = decide(memory, gone, 10.0 + GONE_GRACE_S, POLICY)
    assert decision.action is WaitAction.RESTART


def test_a_second_factor_is_told_once_and_lengthens_the_wait_once() -> None:
    memory, decision = run(begin(0.0, POLICY), OBSERVATIONS[Sight.SECOND_FACTOR])
    assert decision.tell == (WaitEventKind.SECOND_FACTOR_NEEDED,)
    assert memory.deadline_s == POLICY.timeout_s + POLICY.twofa_timeout_s
    memory, decision = run(memory, OBSERVATIONS[Sight.SECOND_FACTOR])
    assert decision.tell == ()
    assert memory.deadline_s == POLICY.timeout_s + POLICY.twofa_timeout_s


def test_a_second_factor_seen_first_at_the_deadline_is_still_waited_for() -> None:
    _, decision = run(begin(0.0, POLICY), OBSERVATIONS[Sight.SECOND_FACTOR], at_s=120.0)
    assert decision.action is WaitAction.WAIT


def test_a_second_factor_that_is_granted_is_told_and_the_wait_goes_on() -> None:
    memory, decision = run(
        begin(0.0, POLICY), OBSERVATIONS[Sight.SECOND_FACTOR], ProbeResult(status=RUNNING, login=LOGGED_IN)
    )
    assert decision.tell == (WaitEventKind.SECOND_FACTOR_GRANTED, WaitEventKind.LOGIN_SEEN)
    assert decision.action is WaitAction.WAIT
    _, decision = run(memory, OBSERVATIONS[Sight.READY])
    assert decision.action is WaitAction.READY


def test_a_second_factor_stays_pending_while_the_container_starts_itself_again() -> None:
    restarted = replace(RUNNING, started_at=STARTED.replace(second=30))
    memory, decision = run(
        begin(0.0, POLICY),
        OBSERVATIONS[Sight.SECOND_FACTOR],
        OBSERVATIONS[Sight.RESTARTING],
        ProbeResult(status=restarted, login=LoginReading(phase=LoginPhase.LOGGING_IN)),
    )
    assert decision.tell == (WaitEventKind.CONTAINER_RESTARTED,)
    _, decision = run(memory, ProbeResult(status=restarted), at_s=300.0)
    assert decision.word is FailureWord.GATEWAY_SECOND_FACTOR


def test_one_failed_login_proves_nothing() -> None:
    _, decision = run(begin(0.0, POLICY), ProbeResult(status=RUNNING, login=FAILED_ONCE))
    assert decision.action is WaitAction.WAIT
    assert decision.tell == (WaitEventKind.LOGIN_FAILED_ONCE,)


def test_two_failed_logins_in_a_row_prove_a_wrong_password() -> None:
    _, decision = run(begin(0.0, POLICY), ProbeResult(status=RUNNING, login=FAILED_TWICE))
    assert decision.action is WaitAction.STOP_AND_FAIL


def test_failed_logins_while_the_broker_resets_its_servers_prove_nothing() -> None:
    observation = ProbeResult(status=RUNNING, login=FAILED_TWICE, in_reset_window=True)
    memory, decision = run(begin(0.0, POLICY), observation)
    assert decision.action is WaitAction.WAIT
    memory, decision = run(memory, replace(observation, in_reset_window=False))
    assert decision.action is WaitAction.WAIT, "what was seen in the window stays excused after it"
    more = LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=4)
    _, decision = run(memory, ProbeResult(status=RUNNING, login=more))
    assert decision.action is WaitAction.STOP_AND_FAIL


def test_the_brokers_plain_words_count_also_while_it_resets_its_servers() -> None:
    _, decision = run(begin(0.0, POLICY), ProbeResult(status=RUNNING, login=REJECTED, in_reset_window=True))
    assert decision.action is WaitAction.STOP_AND_FAIL


def test_one_failed_login_in_each_of_two_starts_in_a_row_proves_a_wrong_password() -> None:
    restarted = replace(RUNNING, started_at=STARTED.replace(second=30))
    _, decision = run(
        begin(0.0, POLICY),
        ProbeResult(status=RUNNING, login=FAILED_ONCE),
        ProbeResult(status=restarted),
        ProbeResult(status=restarted, login=FAILED_ONCE),
    )
    assert decision.action is WaitAction.STOP_AND_FAIL


def test_a_failure_before_a_login_that_got_further_does_not_count_with_one_after_it() -> None:
    restarted = replace(RUNNING, started_at=STARTED.replace(second=30))
    _, decision = run(
        begin(0.0, POLICY),
        ProbeResult(status=RUNNING, login=FAILED_ONCE),
        ProbeResult(status=RUNNING, login=LOGGED_IN),
        ProbeResult(status=restarted, login=FAILED_ONCE),
    )
    assert decision.action is WaitAction.WAIT


def test_failures_of_two_starts_with_a_login_that_succeeded_between_them_do_not_count_together() -> None:
    second, third = (replace(RUNNING, started_at=STARTED.replace(second=second)) for second in (20, 40))
    _, decision = run(
        begin(0.0, POLICY),
        ProbeResult(status=RUNNING, login=FAILED_ONCE),
        ProbeResult(status=second, login=LOGGED_IN),
        ProbeResult(status=third, login=FAILED_ONCE),
    )
    assert decision.action is WaitAction.WAIT


def test_one_failure_in_each_of_several_starts_is_excused_while_the_broker_resets_its_servers() -> None:
    starts = [replace(RUNNING, started_at=STARTED.replace(second=second)) for second in range(4)]
    _, decision = run(
        begin(0.0, POLICY),
        *(ProbeResult(status=start, login=FAILED_ONCE, in_reset_window=True) for start in starts),
    )
    assert decision.action is WaitAction.WAIT


def test_failures_before_and_after_our_own_restart_are_each_excused_while_the_broker_resets_its_servers() -> None:
    failed = ProbeResult(status=RUNNING, login=FAILED_ONCE, in_reset_window=True)
    memory, _ = run(begin(0.0, POLICY), failed)
    memory = note_restarted(memory, 10.0, POLICY)
    restarted = replace(failed, status=replace(RUNNING, started_at=STARTED.replace(second=30)))
    memory, decision = run(memory, restarted, at_s=11.0)
    assert decision.action is WaitAction.WAIT
    assert memory.excused == 2


def test_broken_farms_are_ready_with_a_warning() -> None:
    _, decision = run(begin(0.0, POLICY), ProbeResult(status=HEALTHY, api=FARMS_BROKEN))
    assert decision.action is WaitAction.READY
    assert decision.tell == (WaitEventKind.FARMS_BROKEN,)


@pytest.mark.parametrize(
    ("sight", "kind"),
    [
        (Sight.LINK_DOWN, WaitEventKind.LINK_DOWN),
        (Sight.SESSION_TAKEN, WaitEventKind.SESSION_TAKEN),
        (Sight.ENGINE_GONE, WaitEventKind.ENGINE_LOST),
    ],
)
def test_what_becomes_so_is_told_once_and_again_when_it_becomes_so_again(sight: Sight, kind: WaitEventKind) -> None:
    memory, decision = run(begin(0.0, POLICY), OBSERVATIONS[sight])
    assert decision.tell == (kind,)
    memory, decision = run(memory, OBSERVATIONS[sight])
    assert decision.tell == ()
    memory, _ = run(memory, OBSERVATIONS[Sight.API_NOT_READY])
    _, decision = run(memory, OBSERVATIONS[sight])
    assert decision.tell == (kind,)


@pytest.mark.parametrize("status", [HEALTHY, UNHEALTHY])
def test_a_gateway_that_is_too_old_is_not_restarted(status: GatewayStatus) -> None:
    seen = ProbeResult(status=status, api=api(ApiState.OUTDATED))
    memory, decision = run(_MEMORY, seen)
    assert decision.action is WaitAction.WAIT
    _, decision = run(memory, seen, at_s=DEADLINE_S)
    assert decision.action is WaitAction.FAIL


def test_a_failed_login_is_told_once_a_link_that_flaps_is_told_each_time() -> None:
    failed = ProbeResult(status=RUNNING, login=FAILED_ONCE)
    _, decision = run(begin(0.0, POLICY), failed, failed, failed)
    assert decision.tell == ()


def test_while_a_check_does_not_pass_the_api_is_asked_from_half_of_the_wait_on_each_ten_seconds() -> None:
    memory, asked = begin(0.0, POLICY), []
    for second in range(121):
        if is_handshake_due(RUNNING, NOTHING_READ, memory, float(second), POLICY):
            asked.append(second)
            memory, _ = decide(memory, ProbeResult(status=RUNNING, api=api(ApiState.CLOSED)), float(second), POLICY)
        else:
            memory, _ = decide(memory, ProbeResult(status=RUNNING), float(second), POLICY)
    assert asked == [60, 70, 80, 90, 100, 110, 120]


def test_once_the_login_is_said_to_be_complete_the_api_is_asked_at_once() -> None:
    memory, _ = run(begin(0.0, POLICY), ProbeResult(status=RUNNING, login=LOGGED_IN))
    assert is_handshake_due(RUNNING, LOGGED_IN, memory, 2.0, POLICY)
    memory, _ = run(memory, ProbeResult(status=RUNNING, login=LOGGED_IN, api=api(ApiState.CLOSED)), at_s=2.0)
    assert not is_handshake_due(RUNNING, LOGGED_IN, memory, 2.0 + UNHEALTHY_HANDSHAKE_INTERVAL_S - 0.1, POLICY)
    assert is_handshake_due(RUNNING, LOGGED_IN, memory, 2.0 + UNHEALTHY_HANDSHAKE_INTERVAL_S, POLICY)


def test_a_working_api_keeps_a_gateway_whose_check_fails_from_a_restart_until_the_deadline() -> None:
    memory = begin(0.0, POLICY)
    for second in range(120):
        is_due = is_handshake_due(UNHEALTHY, NOTHING_READ, memory, float(second), POLICY)
        observation = ProbeResult(status=UNHEALTHY, api=READY if is_due else None)
        memory, decision = decide(memory, observation, float(second), POLICY)
        assert (decision.action, decision.sight) == (WaitAction.WAIT, Sight.HEALTH_CHECK_FAILING), second
    memory, decision = decide(memory, ProbeResult(status=UNHEALTHY, api=READY), 120.0, POLICY)
    assert decision.action is WaitAction.RESTART
    memory = note_restarted(memory, 130.0, POLICY)
    _, decision = run(memory, ProbeResult(status=UNHEALTHY, api=READY), at_s=249.0)
    assert decision.action is WaitAction.WAIT
    _, decision = run(memory, ProbeResult(status=UNHEALTHY, api=READY), at_s=250.0)
    assert (decision.action, decision.word) == (WaitAction.FAIL, FailureWord.GATEWAY_UNHEALTHY)


def test_a_check_that_recovers_in_time_makes_the_gateway_ready() -> None:
    memory, decision = run(begin(0.0, POLICY), ProbeResult(status=UNHEALTHY, api=READY), at_s=119.0)
    assert decision.action is WaitAction.WAIT
    _, decision = run(memory, ProbeResult(status=HEALTHY, api=READY), at_s=120.0)
    assert decision.action is WaitAction.READY


def test_where_the_check_is_ignored_a_working_api_is_ready() -> None:
    ignoring = replace(POLICY, requires_health_check=False, believes_health_check=False)
    for status in (RUNNING, UNHEALTHY):
        assert is_handshake_due(status, NOTHING_READ, begin(0.0, ignoring), 1.0, ignoring)
        _, decision = run(begin(0.0, ignoring), ProbeResult(status=status, api=READY), policy=ignoring)
        assert decision.action is WaitAction.READY


def test_where_the_check_is_ignored_a_slow_login_is_waited_for_whatever_it_says() -> None:
    ignoring = replace(POLICY, requires_health_check=False, believes_health_check=False)
    sick = ProbeResult(status=UNHEALTHY, login=LOGGING_IN, api=api(ApiState.CLOSED))
    memory, decision = run(begin(0.0, ignoring), sick, policy=ignoring)
    assert (decision.action, decision.sight) == (WaitAction.WAIT, Sight.API_NOT_READY)
    memory, decision = run(memory, sick, at_s=120.0, policy=ignoring)
    assert decision.action is WaitAction.RESTART
    _, decision = run(note_restarted(memory, 130.0, ignoring), sick, at_s=250.0, policy=ignoring)
    assert decision.word is FailureWord.GATEWAY_TIMEOUT


@pytest.mark.parametrize("further", [LOGGING_IN, LOGGED_IN])
def test_a_login_that_got_further_than_the_failing_check_is_given_its_time(further: LoginReading) -> None:
    sick = ProbeResult(status=UNHEALTHY, api=api(ApiState.CLOSED))
    memory, decision = run(begin(0.0, ALERT), sick, policy=ALERT)
    assert decision.action is WaitAction.WAIT
    memory, decision = run(memory, replace(sick, login=further), at_s=10.0)
    assert decision.action is WaitAction.WAIT
    _, decision = run(memory, replace(sick, login=further), at_s=119.0)
    assert decision.action is WaitAction.WAIT
    _, decision = run(memory, replace(sick, login=further), at_s=120.0)
    assert decision.action is WaitAction.RESTART


@pytest.mark.parametrize("status", [RUNNING, HEALTHY, UNHEALTHY])
def test_a_login_that_was_completed_right_before_the_deadline_is_given_a_moment_once(status: GatewayStatus) -> None:
    slow = ProbeResult(status=status, login=LOGGING_IN, api=api(ApiState.CLOSED))
    memory, _ = run(begin(0.0, ALERT), slow, policy=ALERT)
    memory, _ = run(memory, replace(slow, login=LOGGED_IN), at_s=119.0, policy=ALERT)
    for at_s in (120.0, 148.0):
        memory, decision = run(memory, replace(slow, login=LOGGED_IN), at_s=at_s)
        assert decision.action is WaitAction.WAIT, at_s
    _, decision = run(memory, replace(slow, login=LOGGED_IN), at_s=149.0)
    assert decision.action is WaitAction.RESTART


def test_a_check_that_began_to_fail_after_the_login_is_believed_at_once() -> None:
    memory, _ = run(begin(0.0, POLICY), ProbeResult(status=RUNNING, login=LOGGED_IN))
    sick = ProbeResult(status=UNHEALTHY, login=LOGGED_IN, api=api(ApiState.SILENT))
    _, decision = run(memory, sick, at_s=60.0)
    assert decision.action is WaitAction.RESTART


def test_a_second_factor_that_is_confirmed_late_under_a_check_that_has_long_failed_restarts_nothing() -> None:
    policy = replace(POLICY, twofa_timeout_s=400.0)
    memory, asked = begin(0.0, policy), replace(OBSERVATIONS[Sight.SECOND_FACTOR], status=UNHEALTHY)
    closed = replace(asked, api=api(ApiState.CLOSED))
    for at_s, observation in (
        (5.0, OBSERVATIONS[Sight.SECOND_FACTOR]),
        (60.0, closed),
        (399.0, closed),
        (400.0, replace(closed, login=LOGGED_IN)),
        (405.0, replace(closed, login=LOGGED_IN, api=READY)),
        (519.0, replace(closed, login=LOGGED_IN, api=READY)),
    ):
        memory, decision = decide(memory, observation, at_s, policy)
        assert decision.action is WaitAction.WAIT, at_s
    _, decision = decide(memory, ProbeResult(status=HEALTHY, login=LOGGED_IN, api=READY), 520.0, policy)
    assert decision.action is WaitAction.READY


def test_a_check_gets_the_time_to_catch_up_with_an_api_that_works_since_an_instant() -> None:
    late = ProbeResult(status=UNHEALTHY, login=LOGGED_IN, api=READY)
    memory, _ = run(begin(0.0, POLICY), OBSERVATIONS[Sight.SECOND_FACTOR])
    memory, decision = run(memory, late, at_s=299.0)
    memory, decision = run(memory, late, at_s=300.0)
    assert decision.action is WaitAction.WAIT
    _, decision = run(memory, late, at_s=329.0)
    assert (decision.action, decision.word) == (WaitAction.FAIL, FailureWord.GATEWAY_UNHEALTHY)


def test_too_many_attempts_are_a_wrong_password_only_where_no_second_factor_went_unanswered() -> None:
    _, decision = run(begin(0.0, POLICY), ProbeResult(status=RUNNING, login=TOO_MANY))
    assert (decision.action, decision.word) == (WaitAction.STOP_AND_FAIL, FailureWord.GATEWAY_LOGIN_FAILED)
    unanswered = ProbeResult(status=RUNNING, login=PAUSED_FOR_2FA)
    memory, decision = run(begin(0.0, POLICY), unanswered)
    assert (decision.action, decision.sight) == (WaitAction.WAIT, Sight.SECOND_FACTOR)
    assert WaitEventKind.SECOND_FACTOR_NEEDED in decision.tell
    _, decision = run(memory, unanswered, at_s=300.0)
    assert (decision.action, decision.word) == (WaitAction.FAIL, FailureWord.GATEWAY_SECOND_FACTOR)


def test_too_many_attempts_on_the_start_after_an_unanswered_second_factor_are_about_that_one() -> None:
    restarted = replace(RUNNING, started_at=STARTED.replace(second=30))
    memory, decision = run(
        begin(0.0, POLICY), OBSERVATIONS[Sight.SECOND_FACTOR], ProbeResult(status=restarted, login=TOO_MANY)
    )
    assert (decision.action, decision.sight) == (WaitAction.WAIT, Sight.SECOND_FACTOR)
    for failed in (FAILED_ONCE, FAILED_TWICE):
        memory, decision = run(memory, ProbeResult(status=restarted, login=failed))
        assert decision.action is WaitAction.WAIT


def test_too_many_attempts_that_the_brokers_reset_explains_are_a_pause() -> None:
    failed = ProbeResult(status=RUNNING, login=FAILED_TWICE, in_reset_window=True)
    memory, _ = run(begin(0.0, POLICY), failed)
    paused = replace(failed, login=replace(FAILED_TWICE, is_rejected=True, has_too_many_attempts=True))
    memory, decision = run(memory, paused)
    assert (decision.action, decision.sight) == (WaitAction.WAIT, Sight.LOGIN_PAUSED)
    _, decision = run(memory, paused, at_s=120.0)
    assert (decision.action, decision.word) == (WaitAction.STOP_AND_FAIL, FailureWord.GATEWAY_TIMEOUT)


def test_a_container_that_crashes_again_and_again_is_stopped_when_the_wait_fails() -> None:
    memory, decision = begin(0.0, POLICY), None
    memory = replace(memory, is_restarted=True)
    for number in range(4):
        started = replace(RUNNING, started_at=STARTED.replace(second=number), restart_count=7 + number)
        memory, decision = decide(memory, ProbeResult(status=started), 10.0 * number, POLICY)
    _, decision = decide(memory, ProbeResult(status=started), 120.0, POLICY)
    assert (decision.action, decision.word) == (WaitAction.STOP_AND_FAIL, FailureWord.GATEWAY_TIMEOUT)
    _, decision = decide(memory, ProbeResult(status=started), 120.0, ALERT)
    assert decision.action is WaitAction.FAIL, "where another monitor restarts it, it is not ours to stop"


def test_a_gateway_that_is_merely_slow_is_left_to_finish_whatever_docker_did_to_it_before() -> None:
    slow = ProbeResult(status=replace(RUNNING, restart_count=9))
    memory, _ = run(replace(begin(0.0, POLICY), is_restarted=True), slow)
    _, decision = run(memory, slow, at_s=120.0)
    assert (decision.action, decision.word) == (WaitAction.FAIL, FailureWord.GATEWAY_TIMEOUT)
