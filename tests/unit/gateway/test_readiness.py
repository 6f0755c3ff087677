"""The table of the readiness machine: every pair of state and sight, and the transitions between."""

from dataclasses import replace

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord
from orchestration.gateway.api_values import ApiOutcome
from orchestration.gateway.container import GatewayStatus, Health, is_handshake_due
from orchestration.gateway.login import LoginPhase, LoginReading
from orchestration.gateway.readiness import (
    GONE_GRACE_S,
    Action,
    Decision,
    Memory,
    Observation,
    Rules,
    SecondFactor,
    Sight,
    WaitEventKind,
    begin,
    decide,
    note_restarted,
    see,
)
from tests.fakes.gateway import FARMS_BROKEN, HEALTHY, LINK_DOWN, READY, RUNNING, STARTED, UNHEALTHY, api

RULES = Rules(timeout_s=120.0, twofa_timeout_s=180.0, may_restart=True)
ALERT = replace(RULES, may_restart=False)
LOGGED_IN = LoginReading(phase=LoginPhase.LOGGED_IN)
ASKED = LoginReading(phase=LoginPhase.SECOND_FACTOR)
TAKEN = LoginReading(phase=LoginPhase.SESSION_TAKEN)
REJECTED = LoginReading(phase=LoginPhase.FAILED, is_rejected=True)
FAILED_ONCE = LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=1)
FAILED_TWICE = replace(FAILED_ONCE, failures_in_a_row=2)

OBSERVATIONS = {
    Sight.ENGINE_GONE: Observation(status=None),
    Sight.READY: Observation(status=HEALTHY, api=READY),
    Sight.LINK_DOWN: Observation(status=HEALTHY, api=LINK_DOWN),
    Sight.REJECTED: Observation(status=RUNNING, login=REJECTED),
    Sight.GONE: Observation(status=replace(RUNNING, state=ContainerState.EXITED)),
    Sight.PAUSED: Observation(status=replace(RUNNING, state=ContainerState.PAUSED)),
    Sight.RESTARTING: Observation(status=replace(RUNNING, state=ContainerState.RESTARTING)),
    Sight.SECOND_FACTOR: Observation(status=RUNNING, login=ASKED),
    Sight.SESSION_TAKEN: Observation(status=RUNNING, login=TAKEN),
    Sight.UNHEALTHY: Observation(status=UNHEALTHY),
    Sight.STARTING: Observation(status=RUNNING),
    Sight.CLIENT_IDS_IN_USE: Observation(status=HEALTHY, api=api(ApiOutcome.CLIENT_ID_IN_USE)),
    Sight.API_NOT_READY: Observation(status=HEALTHY, api=api(ApiOutcome.CLOSED)),
}

DEADLINE_S = 100.0
_MEMORY = Memory(deadline_s=DEADLINE_S, start=RUNNING.start, gone_since_s=0.0)
STATES: dict[str, tuple[Memory, Rules]] = {
    "first wait": (_MEMORY, RULES),
    "restarted": (replace(_MEMORY, is_restarted=True), RULES),
    "alert only": (_MEMORY, ALERT),
    "asked": (replace(_MEMORY, second_factor=SecondFactor.PENDING, is_extended=True), RULES),
    "granted": (replace(_MEMORY, second_factor=SecondFactor.GRANTED, is_extended=True), RULES),
}
_ENDS = {
    "wait": (Action.WAIT, None),
    "ready": (Action.READY, None),
    "restart": (Action.RESTART, None),
    "stop": (Action.STOP_AND_FAIL, FailureWord.GATEWAY_LOGIN_FAILED),
    "timeout": (Action.FAIL, FailureWord.GATEWAY_TIMEOUT),
    "unhealthy": (Action.FAIL, FailureWord.GATEWAY_UNHEALTHY),
    "2fa": (Action.FAIL, FailureWord.GATEWAY_SECOND_FACTOR),
    "docker": (Action.FAIL, FailureWord.DOCKER_UNAVAILABLE),
}

# Before the deadline / at it, for each state in the order above.
TABLE = """
ready               ready/ready      ready/ready      ready/ready      ready/ready      ready/ready
rejected            stop/stop        stop/stop        stop/stop        stop/stop        stop/stop
engine_gone         wait/docker      wait/docker      wait/docker      wait/docker      wait/docker
link_down           wait/timeout     wait/timeout     wait/timeout     wait/timeout     wait/timeout
gone                restart/restart  timeout/timeout  wait/timeout     2fa/2fa          timeout/timeout
paused              restart/restart  wait/timeout     wait/timeout     wait/2fa         wait/timeout
restarting          wait/restart     wait/timeout     wait/timeout     wait/2fa         wait/timeout
second_factor       wait/wait        wait/wait        wait/wait        wait/2fa         wait/2fa
session_taken       wait/timeout     wait/timeout     wait/timeout     wait/2fa         wait/timeout
unhealthy           restart/restart  wait/unhealthy   wait/unhealthy   wait/2fa         wait/unhealthy
starting            wait/restart     wait/timeout     wait/timeout     wait/2fa         wait/timeout
client_ids_in_use   wait/timeout     wait/timeout     wait/timeout     wait/2fa         wait/timeout
api_not_ready       wait/restart     wait/timeout     wait/timeout     wait/2fa         wait/timeout
"""
CASES = [
    pytest.param(state, Sight(row[0]), end, now_s, id=f"{state}, {row[0]}, at {now_s:g}")
    for row in (line.split() for line in TABLE.strip().splitlines())
    for state, cell in zip(STATES, row[1:], strict=True)
    for now_s, end in zip((DEADLINE_S - 1, DEADLINE_S), cell.split("/"), strict=True)
]


def run(memory: Memory, *observations: Observation, at_s: float = 1.0, rules: Rules = RULES) -> tuple[Memory, Decision]:
    """Feed observations, a second apart; the last decision."""
    decision = Decision(action=Action.WAIT, sight=Sight.STARTING)
    for number, observation in enumerate(observations):
        memory, decision = decide(memory, observation, at_s + number, rules)
    return memory, decision


@pytest.mark.parametrize(("state", "sight", "end", "now_s"), CASES)
def test_every_pair_of_state_and_sight_has_its_decision(state: str, sight: Sight, end: str, now_s: float) -> None:
    memory, rules = STATES[state]
    _, decision = decide(memory, OBSERVATIONS[sight], now_s, rules)
    assert decision.sight is sight
    assert (decision.action, decision.word) == _ENDS[end]


def test_the_table_has_every_sight() -> None:
    assert {case.values[1] for case in CASES} == set(Sight) == set(OBSERVATIONS)


@pytest.mark.parametrize(
    ("status", "is_due"),
    [
        (None, False),
        (HEALTHY, True),
        (RUNNING, False),
        (UNHEALTHY, False),
        (replace(RUNNING, health=Health.NONE), True),
        (replace(HEALTHY, state=ContainerState.PAUSED), False),
        (replace(HEALTHY, state=ContainerState.EXITED), False),
        (GatewayStatus(state=ContainerState.UNKNOWN), True),
    ],
)
def test_the_handshake_is_tried_only_where_the_container_has_no_objection(
    status: GatewayStatus | None, *, is_due: bool
) -> None:
    assert is_handshake_due(status) is is_due


def test_ready_exactly_at_the_deadline_is_ready() -> None:
    memory = begin(0.0, RULES)
    _, decision = decide(memory, OBSERVATIONS[Sight.READY], RULES.timeout_s, RULES)
    assert decision.action is Action.READY


def test_an_answer_of_a_container_that_has_ended_is_not_ready() -> None:
    observation = Observation(status=replace(HEALTHY, state=ContainerState.EXITED), api=READY)
    assert see(observation, begin(0.0, RULES)) is Sight.GONE


def test_a_ready_gateway_is_ready_whatever_its_log_says() -> None:
    for login in (ASKED, TAKEN, REJECTED, FAILED_TWICE):
        assert see(Observation(status=HEALTHY, login=login, api=READY), begin(0.0, RULES)) is Sight.READY


def test_the_restart_gives_one_more_whole_wait_and_no_second_restart() -> None:
    memory, decision = run(begin(0.0, RULES), OBSERVATIONS[Sight.STARTING], at_s=120.0)
    assert decision.action is Action.RESTART
    assert decision.tell == (WaitEventKind.RESTARTING,)
    memory = note_restarted(memory, 130.0, RULES)
    anew = Observation(status=replace(RUNNING, started_at=None))
    memory, decision = run(memory, anew, at_s=249.9)
    assert decision.action is Action.WAIT
    assert memory.other_restarts == 0, "our own restart is not one of Docker's"
    _, decision = run(memory, anew, at_s=250.0)
    assert (decision.action, decision.word) == (Action.FAIL, FailureWord.GATEWAY_TIMEOUT)


def test_starts_by_docker_neither_move_the_deadline_nor_count_as_ours() -> None:
    memory = begin(0.0, RULES)
    for number in range(5):
        started = Observation(status=replace(RUNNING, started_at=STARTED.replace(second=number)))
        memory, decision = decide(memory, started, 10.0 * number, RULES)
        assert decision.action is Action.WAIT
    assert memory.deadline_s == RULES.timeout_s
    assert memory.other_restarts == 4
    assert not memory.is_restarted


def test_a_container_that_is_gone_for_a_moment_is_given_that_moment() -> None:
    gone = OBSERVATIONS[Sight.GONE]
    memory, decision = decide(begin(0.0, RULES), gone, 10.0, RULES)
    assert decision.action is Action.WAIT
    memory, decision = decide(memory, gone, 10.0 + GONE_GRACE_S - 0.1, RULES)
    assert decision.action is Action.WAIT
    back, _ = decide(memory, OBSERVATIONS[Sight.STARTING], 11.95, RULES)
    assert back.gone_since_s is None
    _, decision = decide(memory, gone, 10.0 + GONE_GRACE_S, RULES)
    assert decision.action is Action.RESTART


def test_a_second_factor_is_told_once_and_lengthens_the_wait_once() -> None:
    memory, decision = run(begin(0.0, RULES), OBSERVATIONS[Sight.SECOND_FACTOR])
    assert decision.tell == (WaitEventKind.SECOND_FACTOR_NEEDED,)
    assert memory.deadline_s == RULES.timeout_s + RULES.twofa_timeout_s
    memory, decision = run(memory, OBSERVATIONS[Sight.SECOND_FACTOR])
    assert decision.tell == ()
    assert memory.deadline_s == RULES.timeout_s + RULES.twofa_timeout_s


def test_a_second_factor_seen_first_at_the_deadline_is_still_waited_for() -> None:
    _, decision = run(begin(0.0, RULES), OBSERVATIONS[Sight.SECOND_FACTOR], at_s=120.0)
    assert decision.action is Action.WAIT


def test_a_second_factor_that_is_granted_is_told_and_the_wait_goes_on() -> None:
    memory, decision = run(
        begin(0.0, RULES), OBSERVATIONS[Sight.SECOND_FACTOR], Observation(status=RUNNING, login=LOGGED_IN)
    )
    assert decision.tell == (WaitEventKind.SECOND_FACTOR_GRANTED, WaitEventKind.LOGIN_SEEN)
    assert decision.action is Action.WAIT
    _, decision = run(memory, OBSERVATIONS[Sight.READY])
    assert decision.action is Action.READY


def test_a_second_factor_stays_pending_while_the_container_starts_itself_again() -> None:
    anew = replace(RUNNING, started_at=STARTED.replace(second=30))
    memory, decision = run(
        begin(0.0, RULES),
        OBSERVATIONS[Sight.SECOND_FACTOR],
        OBSERVATIONS[Sight.RESTARTING],
        Observation(status=anew, login=LoginReading(phase=LoginPhase.LOGGING_IN)),
    )
    assert decision.tell == (WaitEventKind.CONTAINER_RESTARTED,)
    _, decision = run(memory, Observation(status=anew), at_s=300.0)
    assert decision.word is FailureWord.GATEWAY_SECOND_FACTOR


def test_one_failed_login_proves_nothing() -> None:
    _, decision = run(begin(0.0, RULES), Observation(status=RUNNING, login=FAILED_ONCE))
    assert decision.action is Action.WAIT
    assert decision.tell == (WaitEventKind.LOGIN_FAILED_ONCE,)


def test_two_failed_logins_in_a_row_prove_a_wrong_password() -> None:
    _, decision = run(begin(0.0, RULES), Observation(status=RUNNING, login=FAILED_TWICE))
    assert decision.action is Action.STOP_AND_FAIL


def test_failed_logins_while_the_broker_resets_its_servers_prove_nothing() -> None:
    observation = Observation(status=RUNNING, login=FAILED_TWICE, in_reset_window=True)
    memory, decision = run(begin(0.0, RULES), observation)
    assert decision.action is Action.WAIT
    memory, decision = run(memory, replace(observation, in_reset_window=False))
    assert decision.action is Action.WAIT, "what was seen in the window stays excused after it"
    more = LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=4)
    _, decision = run(memory, Observation(status=RUNNING, login=more))
    assert decision.action is Action.STOP_AND_FAIL


def test_the_brokers_plain_words_count_also_while_it_resets_its_servers() -> None:
    _, decision = run(begin(0.0, RULES), Observation(status=RUNNING, login=REJECTED, in_reset_window=True))
    assert decision.action is Action.STOP_AND_FAIL


def test_one_failed_login_in_each_of_two_starts_in_a_row_proves_a_wrong_password() -> None:
    anew = replace(RUNNING, started_at=STARTED.replace(second=30))
    _, decision = run(
        begin(0.0, RULES),
        Observation(status=RUNNING, login=FAILED_ONCE),
        Observation(status=anew),
        Observation(status=anew, login=FAILED_ONCE),
    )
    assert decision.action is Action.STOP_AND_FAIL


def test_a_failure_before_a_login_that_got_further_does_not_count_with_one_after_it() -> None:
    anew = replace(RUNNING, started_at=STARTED.replace(second=30))
    _, decision = run(
        begin(0.0, RULES),
        Observation(status=RUNNING, login=FAILED_ONCE),
        Observation(status=RUNNING, login=LOGGED_IN),
        Observation(status=anew, login=FAILED_ONCE),
    )
    assert decision.action is Action.WAIT


def test_failures_of_two_starts_with_a_login_that_succeeded_between_them_do_not_count_together() -> None:
    second, third = (replace(RUNNING, started_at=STARTED.replace(second=second)) for second in (20, 40))
    _, decision = run(
        begin(0.0, RULES),
        Observation(status=RUNNING, login=FAILED_ONCE),
        Observation(status=second, login=LOGGED_IN),
        Observation(status=third, login=FAILED_ONCE),
    )
    assert decision.action is Action.WAIT


def test_one_failure_in_each_of_several_starts_is_excused_while_the_broker_resets_its_servers() -> None:
    starts = [replace(RUNNING, started_at=STARTED.replace(second=second)) for second in range(4)]
    _, decision = run(
        begin(0.0, RULES),
        *(Observation(status=start, login=FAILED_ONCE, in_reset_window=True) for start in starts),
    )
    assert decision.action is Action.WAIT


def test_failures_before_and_after_our_own_restart_are_each_excused_while_the_broker_resets_its_servers() -> None:
    failed = Observation(status=RUNNING, login=FAILED_ONCE, in_reset_window=True)
    memory, _ = run(begin(0.0, RULES), failed)
    memory = note_restarted(memory, 10.0, RULES)
    anew = replace(failed, status=replace(RUNNING, started_at=STARTED.replace(second=30)))
    memory, decision = run(memory, anew, at_s=11.0)
    assert decision.action is Action.WAIT
    assert memory.excused == 2


def test_broken_farms_are_ready_with_a_warning() -> None:
    _, decision = run(begin(0.0, RULES), Observation(status=HEALTHY, api=FARMS_BROKEN))
    assert decision.action is Action.READY
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
    memory, decision = run(begin(0.0, RULES), OBSERVATIONS[sight])
    assert decision.tell == (kind,)
    memory, decision = run(memory, OBSERVATIONS[sight])
    assert decision.tell == ()
    memory, _ = run(memory, OBSERVATIONS[Sight.API_NOT_READY])
    _, decision = run(memory, OBSERVATIONS[sight])
    assert decision.tell == (kind,)


def test_a_failed_login_is_told_once_a_link_that_flaps_is_told_each_time() -> None:
    failed = Observation(status=RUNNING, login=FAILED_ONCE)
    _, decision = run(begin(0.0, RULES), failed, failed, failed)
    assert decision.tell == ()
