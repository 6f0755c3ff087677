"""The machine that decides when the gateway is ready. Pure: no I/O, no clock, no sleep.

Observations and the time go in, a decision comes out. What one observation amounts to is its `Sight`; what is
remembered from look to look is `Memory`; `decide` is the table of the two. docs/explanation/readiness.md draws it. The
rules, in order:

* Ready is an API handshake that completed on the latest start, the link to the broker up; also in the very last look.
* A rejected password stops the container: a login loop can lock the account.
* A second factor is waited for, once `twofa_timeout_s` longer, and nothing is restarted, which would send a new push.
* A container that is gone, paused or unhealthy is restarted at once; anything else not ready, at the deadline. Once in
  a run, all in all. Docker's own restarts neither count as ours nor move the deadline.
* Restarting mends no session that was taken over, no lost link to the broker, no lack of client ids or of room: none is
  done.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord
from orchestration.gateway.api_values import ApiOutcome, ApiProbe
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.login import NOTHING_READ, LoginPhase, LoginReading

_FAILURES_THAT_PROVE = 2
GONE_GRACE_S = 2.0  # somebody else's `docker restart` shows it as exited for some tenths of a second


class Sight(StrEnum):
    """What one observation amounts to."""

    ENGINE_GONE = "engine_gone"
    READY = "ready"
    LINK_DOWN = "link_down"
    REJECTED = "rejected"
    GONE = "gone"
    PAUSED = "paused"
    RESTARTING = "restarting"
    SECOND_FACTOR = "second_factor"
    SESSION_TAKEN = "session_taken"
    UNHEALTHY = "unhealthy"
    STARTING = "starting"
    CLIENT_IDS_IN_USE = "client_ids_in_use"
    API_NOT_READY = "api_not_ready"


class Action(StrEnum):
    """What is to be done."""

    WAIT = "wait"
    READY = "ready"
    RESTART = "restart"
    STOP_AND_FAIL = "stop_and_fail"
    FAIL = "fail"


class WaitEventKind(StrEnum):
    """What is worth telling the operator while waiting; told when it becomes so."""

    SECOND_FACTOR_NEEDED = "second_factor_needed"
    SECOND_FACTOR_GRANTED = "second_factor_granted"
    LOGIN_SEEN = "login_seen"
    LOGIN_FAILED_ONCE = "login_failed_once"
    SESSION_TAKEN = "session_taken"
    LINK_DOWN = "link_down"
    FARMS_BROKEN = "farms_broken"
    CONTAINER_RESTARTED = "container_restarted"
    ENGINE_LOST = "engine_lost"
    RESTARTING = "restarting"
    RESTART_SPARED = "restart_spared"


class SecondFactor(StrEnum):
    """Where the second factor of this run is."""

    NOT_ASKED = "not_asked"
    PENDING = "pending"
    GRANTED = "granted"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the settings say about waiting.

    Attributes:
        timeout_s: Seconds from the begin, and again from our restart, to the deadline.
        twofa_timeout_s: Seconds more, once, when a second factor is asked for.
        may_restart: Whether a restart is ours to do.
    """

    timeout_s: float
    twofa_timeout_s: float
    may_restart: bool


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look.

    Attributes:
        status: The container or process; None if the engine did not answer.
        login: What its log says.
        api: What the API said, on this same start; None if it was not asked.
        in_reset_window: Whether the broker resets its servers now: a failed login then proves nothing.
    """

    status: GatewayStatus | None
    login: LoginReading = NOTHING_READ
    api: ApiProbe | None = None
    in_reset_window: bool = False


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered.

    Attributes:
        deadline_s: Monotonic seconds at which the present wait ends.
        start: The start of the container that was seen last; None before the first look.
        is_extended: Whether the second factor has lengthened the wait.
        is_restarted: Whether we have restarted the gateway.
        second_factor: Where the second factor is.
        gone_since_s: Since when the container has been seen gone; None while it is there.
        other_restarts: Starts of the container that were not ours, since the wait began.
        failures_before: Failed logins of earlier starts, with no success since.
        excused: Failed logins that were seen while the broker was resetting its servers.
        last_login: What the log said last, about `start`.
        told: What has been told and is still so.
    """

    deadline_s: float
    start: tuple[str, datetime | None] | None = None
    is_extended: bool = False
    is_restarted: bool = False
    second_factor: SecondFactor = SecondFactor.NOT_ASKED
    gone_since_s: float | None = None
    other_restarts: int = 0
    failures_before: int = 0
    excused: int = 0
    last_login: LoginReading = NOTHING_READ
    told: frozenset[WaitEventKind] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be done now.

    Attributes:
        action: What.
        sight: What the observation amounts to.
        tell: What to tell the operator, in order.
        word: The failure's word, where the action is to fail.
    """

    action: Action
    sight: Sight
    tell: tuple[WaitEventKind, ...] = ()
    word: FailureWord | None = None


def begin(now_s: float, rules: Rules) -> Memory:
    """Start to wait."""
    return Memory(deadline_s=now_s + rules.timeout_s)


def note_restarted(memory: Memory, now_s: float, rules: Rules) -> Memory:
    """Our restart is done: wait once more, and take the next start that is seen for ours."""
    return replace(
        memory,
        deadline_s=now_s + rules.timeout_s,
        is_restarted=True,
        start=None,
        gone_since_s=None,
        failures_before=memory.failures_before + memory.last_login.failures_in_a_row,
        last_login=NOTHING_READ,
        told=memory.told - {WaitEventKind.LINK_DOWN, WaitEventKind.LOGIN_SEEN},
    )


def see(observation: Observation, memory: Memory) -> Sight:
    """What an observation amounts to."""
    status, login, api = observation.status, observation.login, observation.api
    if status is None:
        return Sight.ENGINE_GONE
    if api is not None and api.is_ready and (status.is_up or status.state is ContainerState.UNKNOWN):
        return Sight.LINK_DOWN if api.is_link_down else Sight.READY
    if _is_rejected(login, memory):
        return Sight.REJECTED
    return _SIGHT_OF_STATE.get(status.state) or _see_running(status, login, api)


_NO_ROOM = frozenset({ApiOutcome.CLIENT_ID_IN_USE, ApiOutcome.FULL})
_SIGHT_OF_STATE = {
    ContainerState.MISSING: Sight.GONE,
    ContainerState.CREATED: Sight.GONE,
    ContainerState.EXITED: Sight.GONE,
    ContainerState.DEAD: Sight.GONE,
    ContainerState.PAUSED: Sight.PAUSED,
    ContainerState.RESTARTING: Sight.RESTARTING,
}


def _see_running(status: GatewayStatus, login: LoginReading, api: ApiProbe | None) -> Sight:
    if login.phase is LoginPhase.SECOND_FACTOR:
        return Sight.SECOND_FACTOR
    if login.phase is LoginPhase.SESSION_TAKEN:
        return Sight.SESSION_TAKEN
    if status.health is Health.UNHEALTHY:
        return Sight.UNHEALTHY
    if api is None:
        return Sight.STARTING
    return Sight.CLIENT_IDS_IN_USE if api.outcome in _NO_ROOM else Sight.API_NOT_READY


def _is_rejected(login: LoginReading, memory: Memory) -> bool:
    failures = memory.failures_before + login.failures_in_a_row - memory.excused
    return (
        login.is_rejected
        or login.unrecognized_in_a_row >= _FAILURES_THAT_PROVE
        or (login.failures_in_a_row > 0 and failures >= _FAILURES_THAT_PROVE)
    )


def decide(memory: Memory, observation: Observation, now_s: float, rules: Rules) -> tuple[Memory, Decision]:
    """What to do about an observation, and what to remember of it."""
    memory = _note_start(memory, observation)
    memory = _note_login(memory, observation)
    sight = see(observation, memory)
    gone_since_s = None if sight is not Sight.GONE else now_s if memory.gone_since_s is None else memory.gone_since_s
    memory = replace(memory, gone_since_s=gone_since_s)
    memory, tell = _note_sight(memory, observation, sight, rules)
    action, word = _choose(memory, observation, sight, now_s, rules)
    if action is Action.RESTART:
        tell = (*tell, WaitEventKind.RESTARTING)
    return memory, Decision(action=action, sight=sight, tell=tell, word=word)


def _note_start(memory: Memory, observation: Observation) -> Memory:
    """Note a start that is not the one seen last: what its predecessor said no longer counts."""
    status = observation.status
    if status is None or status.start == memory.start:
        return memory
    if memory.start is None:
        return replace(memory, start=status.start)
    return replace(
        memory,
        start=status.start,
        other_restarts=memory.other_restarts + 1,
        failures_before=memory.failures_before + memory.last_login.failures_in_a_row,
        last_login=NOTHING_READ,
        told=memory.told - {WaitEventKind.LINK_DOWN, WaitEventKind.LOGIN_SEEN},
    )


def _note_login(memory: Memory, observation: Observation) -> Memory:
    login = observation.login
    if login.phase in {LoginPhase.SECOND_FACTOR, LoginPhase.LOGGED_IN}:
        return replace(memory, last_login=login, failures_before=0, excused=0)
    new_failures = max(0, login.failures_in_a_row - memory.last_login.failures_in_a_row)
    excused = memory.excused + (new_failures if observation.in_reset_window else 0)
    return replace(memory, last_login=login, excused=excused)


def _note_sight(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[Memory, tuple[WaitEventKind, ...]]:
    """Remember what has become so, and tell what is new."""
    is_asked = sight is Sight.SECOND_FACTOR
    was_asked = memory.second_factor is SecondFactor.PENDING
    login = observation.login
    is_granted = was_asked and (sight in {Sight.READY, Sight.LINK_DOWN} or login.phase is LoginPhase.LOGGED_IN)
    now_so = {
        WaitEventKind.CONTAINER_RESTARTED: memory.other_restarts > 0,
        WaitEventKind.SECOND_FACTOR_NEEDED: is_asked or (was_asked and not is_granted),
        WaitEventKind.SECOND_FACTOR_GRANTED: is_granted
        or (memory.second_factor is SecondFactor.GRANTED and not is_asked),
        WaitEventKind.LOGIN_SEEN: login.phase is LoginPhase.LOGGED_IN,
        WaitEventKind.LOGIN_FAILED_ONCE: login.failures_in_a_row > 0 and sight is not Sight.REJECTED,
        WaitEventKind.SESSION_TAKEN: sight is Sight.SESSION_TAKEN,
        WaitEventKind.LINK_DOWN: sight is Sight.LINK_DOWN,
        WaitEventKind.FARMS_BROKEN: observation.api is not None and bool(observation.api.broken_farms),
        WaitEventKind.ENGINE_LOST: sight is Sight.ENGINE_GONE,
    }
    tell = tuple(kind for kind, is_so in now_so.items() if is_so and kind not in memory.told)
    second_factor = memory.second_factor
    if is_asked:
        second_factor = SecondFactor.PENDING
    elif is_granted:
        second_factor = SecondFactor.GRANTED
    extends = is_asked and not memory.is_extended
    return (
        replace(
            memory,
            second_factor=second_factor,
            is_extended=memory.is_extended or extends,
            deadline_s=memory.deadline_s + (rules.twofa_timeout_s if extends else 0.0),
            told=frozenset(kind for kind, is_so in now_so.items() if is_so),
        ),
        tell,
    )


_NEVER_MENDED_BY_RESTART = frozenset({Sight.SESSION_TAKEN, Sight.LINK_DOWN, Sight.CLIENT_IDS_IN_USE})
_RESTARTED_AT_ONCE = frozenset({Sight.PAUSED, Sight.UNHEALTHY})


def _choose(
    memory: Memory, observation: Observation, sight: Sight, now_s: float, rules: Rules
) -> tuple[Action, FailureWord | None]:
    """The table."""
    is_over = now_s >= memory.deadline_s
    match sight:
        case Sight.READY:
            return Action.READY, None
        case Sight.REJECTED:
            return Action.STOP_AND_FAIL, FailureWord.GATEWAY_LOGIN_FAILED
        case Sight.ENGINE_GONE:
            return (Action.FAIL, FailureWord.DOCKER_UNAVAILABLE) if is_over else (Action.WAIT, None)
        case _:
            pass
    may_restart = (
        rules.may_restart
        and not memory.is_restarted
        # One that was confirmed must not be asked for again because of us.
        and memory.second_factor is SecondFactor.NOT_ASKED
        and sight not in _NEVER_MENDED_BY_RESTART
    )
    is_gone = memory.gone_since_s is not None and now_s - memory.gone_since_s >= GONE_GRACE_S
    if may_restart and (is_over or is_gone or sight in _RESTARTED_AT_ONCE):
        return Action.RESTART, None
    # Where another monitor restarts (`GATEWAY_RECOVERY=alert`), one that is gone may come back in time.
    if is_over or (is_gone and rules.may_restart):
        return Action.FAIL, _name_failure(memory, observation)
    return Action.WAIT, None


def _name_failure(memory: Memory, observation: Observation) -> FailureWord:
    if memory.second_factor is SecondFactor.PENDING:
        return FailureWord.GATEWAY_SECOND_FACTOR
    is_unhealthy = observation.status is not None and observation.status.health is Health.UNHEALTHY
    return FailureWord.GATEWAY_UNHEALTHY if is_unhealthy else FailureWord.GATEWAY_TIMEOUT
