"""The machine that says when the gateway is ready, and when a restart may help it. Pure: no I/O, no clock, no sleep.

A start and a supervisor feed the same machine with the same observation. What one observation amounts to is its
`Sight`; what is remembered from look to look is `ReadinessState`; from when on a restart may help is
`find_restart_time`. What a start does about it is in `wait_decision`: it waits up to a deadline, restarts once, and
fails. What a supervisor does about it is in `orchestration.supervision`. docs/explanation/readiness.md draws it. The
policy, in order:

* Ready is an API handshake that completed on the latest start, the link to the broker up, and a container that does not
  say otherwise; also in the very last look.
* A rejected password stops the container: a login loop can lock the account.
* A second factor is waited for, once `twofa_timeout_s` longer, and nothing is restarted, which would send a new push.
* A container that is gone, paused or unhealthy is restarted at once; anything else not ready, at the deadline. Once in
  a run, all in all. Docker's own restarts neither count as ours nor move the deadline.
* A health check lags behind what it checks. While the API completes its handshake, or after a login that got further
  than when the check began to fail, it restarts nothing before the deadline.
* Where a challenge or a pause is over and no attempt follows, it is restarted at once, and what was asked for
  before is no longer waited for.
* A restart helps against no session that was taken over, no lost link to the broker, no lack of client ids or of room,
  no pause that the broker asked for: none is done.
* A container that crashed, or failed to log in, again and again is stopped when the wait fails: endless attempts can
  lock the account.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from orchestration.docker.container import ContainerState
from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.login import LOGIN_IDLE_AFTER_S, NOTHING_READ, LoginPhase, LoginReading

FAILURES_THAT_PROVE = 2
CRASH_LOOP_STARTS = 2
GONE_GRACE_S = 2.0  # another program's `docker restart` shows it as exited for some tenths of a second
DEAD_GRACE_S = 60.0  # Docker's restart policy backs off up to so long; a container dead for longer does not come back
UNHEALTHY_HANDSHAKE_INTERVAL_S = 10.0  # SPEC G3: each try is a line in the gateway's log, which is evidence
_AFTER_LOGIN_MOST_S = 30.0  # the API opens seconds after the login, and the shipped health check runs each 15 s
_AFTER_LOGIN_SHARE = 0.25  # and never more than this part of the whole wait


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
    LOGIN_PAUSED = "login_paused"
    LOGIN_IDLE = "login_idle"
    """A challenge or a pause is over, and no attempt has followed."""
    HEALTH_CHECK_FAILING = "health_check_failing"
    """The API completes its handshake, and the container's own check does not pass."""
    UNHEALTHY = "unhealthy"
    STARTING = "starting"
    CLIENT_IDS_IN_USE = "client_ids_in_use"
    API_NOT_READY = "api_not_ready"


class WaitEventKind(StrEnum):
    """What is worth telling the operator while waiting; told when it becomes so."""

    SECOND_FACTOR_NEEDED = "second_factor_needed"
    SECOND_FACTOR_GRANTED = "second_factor_granted"
    LOGIN_SEEN = "login_seen"
    LOGIN_FAILED_ONCE = "login_failed_once"
    LOGIN_IDLE = "login_idle"
    SESSION_TAKEN = "session_taken"
    LINK_DOWN = "link_down"
    FARMS_BROKEN = "farms_broken"
    HEALTH_CHECK_FAILING = "health_check_failing"
    CONTAINER_RESTARTED = "container_restarted"
    ENGINE_LOST = "engine_lost"
    RESTARTING = "restarting"
    RESTART_SPARED = "restart_spared"


class SecondFactorState(StrEnum):
    """Where the second factor of this run is."""

    NOT_ASKED = "not_asked"
    PENDING = "pending"
    GRANTED = "granted"


@dataclass(frozen=True, kw_only=True)
class ReadinessPolicy:
    """What the settings say about waiting.

    Attributes:
        timeout_s: Seconds from the begin, and again from our restart, to the deadline.
        twofa_timeout_s: Seconds more, once, when a second factor is asked for.
        may_restart: Whether a restart is ours to do.
        requires_health_check: Whether the container's own health check must pass, too. A supervisor does not require
            it: for it a failing check is a warning while the API works.
        believes_health_check: Whether a failing check says anything about a gateway whose API does not answer: not
            with `GATEWAY_HEALTH_CHECK=ignore`, which is for one that can never pass.
    """

    timeout_s: float
    twofa_timeout_s: float
    may_restart: bool
    requires_health_check: bool = True
    believes_health_check: bool = True


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """One look.

    Attributes:
        status: The container or process; None if the engine did not answer.
        login: What its log says.
        api: What the API said, on this same start; None if it was not asked now.
        in_reset_window: Whether the broker resets its servers now: a failed login then proves nothing.
    """

    status: GatewayStatus | None
    login: LoginReading = NOTHING_READ
    api: ApiStatus | None = None
    in_reset_window: bool = False


@dataclass(frozen=True, kw_only=True)
class ApiWhileUnhealthy:
    """What the API said while the container's health check did not pass.

    Attributes:
        at_s: When.
        health: What the check said then.
        api: The look.
    """

    at_s: float
    health: Health
    api: ApiStatus


@dataclass(frozen=True, kw_only=True)
class ReadinessState:
    """What is remembered.

    Attributes:
        deadline_s: Monotonic seconds at which the present wait ends.
        began_s: When the present wait began.
        start: The start of the container that was seen last; None before the first look.
        is_extended: Whether the second factor has lengthened the wait.
        is_restarted: Whether we have restarted the gateway.
        second_factor: Where the second factor is.
        granted_s: When the second factor was last seen to be confirmed; None before.
        gone_since_s: Since when the container has been seen gone; None while it is there.
        unhealthy_since_s: Since when this start's health check has failed; None while it does not.
        login_moved_s: When this start's login was last seen to get further; None while it was not.
        logged_in_s: When this start's login was last seen to be complete; None while it was not.
        attempt_due_s: When the controller's next attempt to log in is due; None where none is awaited.
        answer: What the API said when it was last asked, and when, while the health check did not pass.
        other_restarts: Starts of the container that were not ours, since the wait began.
        first_restart_count: How often Docker had restarted the container when it was first seen; None before.
        failures_before: Failed logins of earlier starts, with no success since.
        excused: Failed logins that were seen while the broker was resetting its servers.
        last_login: What the log said last, about `start`.
        told: What has been told and is still so.
    """

    deadline_s: float
    began_s: float = float("-inf")
    start: tuple[str, datetime | None] | None = None
    is_extended: bool = False
    is_restarted: bool = False
    second_factor: SecondFactorState = SecondFactorState.NOT_ASKED
    granted_s: float | None = None
    gone_since_s: float | None = None
    unhealthy_since_s: float | None = None
    login_moved_s: float | None = None
    logged_in_s: float | None = None
    attempt_due_s: float | None = None
    answer: "ApiWhileUnhealthy | None" = None
    other_restarts: int = 0
    first_restart_count: int | None = None
    failures_before: int = 0
    excused: int = 0
    last_login: LoginReading = NOTHING_READ
    told: frozenset[WaitEventKind] = frozenset()


def begin(now_s: float, policy: ReadinessPolicy) -> ReadinessState:
    """Start to wait."""
    return ReadinessState(began_s=now_s, deadline_s=now_s + policy.timeout_s)


def note_restarted(memory: ReadinessState, now_s: float, policy: ReadinessPolicy) -> ReadinessState:
    """Our restart is done: wait once more, and take the next start that is seen for ours."""
    return replace(
        _forget_start(memory), began_s=now_s, deadline_s=now_s + policy.timeout_s, is_restarted=True, start=None
    )


def _forget_start(memory: ReadinessState) -> ReadinessState:
    """What was seen of one start of the container says nothing of the next one, but for how its logins failed."""
    return replace(
        memory,
        gone_since_s=None,
        unhealthy_since_s=None,
        login_moved_s=None,
        logged_in_s=None,
        attempt_due_s=None,
        answer=None,
        failures_before=memory.failures_before + memory.last_login.failures_in_a_row,
        last_login=NOTHING_READ,
        told=memory.told - {WaitEventKind.LINK_DOWN, WaitEventKind.LOGIN_SEEN},
    )


def is_handshake_due(
    status: GatewayStatus | None, login: LoginReading, memory: ReadinessState, now_s: float, policy: ReadinessPolicy
) -> bool:
    """Whether the API is worth asking now: the container has no objection, or it is time to ask it all the same.

    While a health check does not pass, a try would only fill the gateway's log, which is evidence. So it is asked then
    only from half of the wait on, once the login is said to be complete, or where the check fails; every 10 s.
    """
    if status is None or status.state not in {ContainerState.RUNNING, ContainerState.UNKNOWN}:
        return False
    answer = memory.answer if memory.start == status.start else None
    deadline_s = extend_deadline(memory, policy, memory.deadline_s)
    is_last_look = now_s >= deadline_s and (answer is None or answer.at_s < deadline_s)
    if _has_no_objection(status, policy) or is_last_look:
        return True
    is_new_failure = status.health is Health.UNHEALTHY and (answer is None or answer.health is not Health.UNHEALTHY)
    if is_new_failure:
        return True
    is_half_over = now_s >= memory.began_s + (memory.deadline_s - memory.began_s) / 2
    if not (is_half_over or status.health is Health.UNHEALTHY or login.phase is LoginPhase.LOGGED_IN):
        return False
    return answer is None or now_s - answer.at_s >= UNHEALTHY_HANDSHAKE_INTERVAL_S


def _has_no_objection(status: GatewayStatus, policy: ReadinessPolicy) -> bool:
    return status.health in {Health.HEALTHY, Health.NONE} or not policy.requires_health_check


def see(observation: ProbeResult, memory: ReadinessState, now_s: float, policy: ReadinessPolicy) -> Sight:
    """What an observation amounts to."""
    status, login, api = observation.status, observation.login, observation.api
    if api is not None and api.is_ready and (status is None or status.is_up or status.state is ContainerState.UNKNOWN):
        if api.is_link_down:
            return Sight.LINK_DOWN
        is_failing = status is not None and not _has_no_objection(status, policy)
        return Sight.HEALTH_CHECK_FAILING if is_failing else Sight.READY
    if status is None:
        return Sight.ENGINE_GONE
    return Sight.REJECTED if _is_rejected(login, memory) else _see_not_ready(status, observation, memory, now_s, policy)


def _see_not_ready(
    status: GatewayStatus, observation: ProbeResult, memory: ReadinessState, now_s: float, policy: ReadinessPolicy
) -> Sight:
    login, api = observation.login, observation.api
    sight = _SIGHT_OF_STATE.get(status.state) or _see_running(status, login, api, policy)
    if login.phase is LoginPhase.SESSION_TAKEN and sight in {Sight.GONE, Sight.RESTARTING}:
        return Sight.SESSION_TAKEN  # its controller ended it, so that the other session proceeds
    if status.is_up and is_login_idle(login, memory, now_s):
        return Sight.LOGIN_IDLE
    if sight not in _EXPLAINED_BY_SECOND_FACTOR or not is_second_factor_open(login, memory):
        return sight
    # A login that waits for a phone goes through several starts; only one that stays dead is no longer waited for.
    is_dead = sight is Sight.GONE and is_gone_for(memory, now_s, DEAD_GRACE_S)
    return sight if is_dead else Sight.SECOND_FACTOR


_NO_ROOM = frozenset({ApiState.CLIENT_ID_IN_USE, ApiState.FULL})
_SIGHT_OF_STATE = {
    ContainerState.MISSING: Sight.GONE,
    ContainerState.CREATED: Sight.GONE,
    ContainerState.EXITED: Sight.GONE,
    ContainerState.DEAD: Sight.GONE,
    ContainerState.PAUSED: Sight.PAUSED,
    ContainerState.RESTARTING: Sight.RESTARTING,
}
_EXPLAINED_BY_SECOND_FACTOR = frozenset(
    {
        Sight.GONE,
        Sight.PAUSED,
        Sight.RESTARTING,
        Sight.LOGIN_PAUSED,
        Sight.UNHEALTHY,
        Sight.STARTING,
        Sight.API_NOT_READY,
    }
)


def _see_running(status: GatewayStatus, login: LoginReading, api: ApiStatus | None, policy: ReadinessPolicy) -> Sight:
    if login.phase is LoginPhase.SECOND_FACTOR:
        return Sight.SECOND_FACTOR
    if login.phase is LoginPhase.SESSION_TAKEN:
        return Sight.SESSION_TAKEN
    if login.phase is LoginPhase.PAUSED or (login.phase is LoginPhase.FAILED and login.has_too_many_attempts):
        return Sight.LOGIN_PAUSED
    if status.health is Health.UNHEALTHY and policy.believes_health_check:
        return Sight.UNHEALTHY
    if api is None:
        return Sight.STARTING
    return Sight.CLIENT_IDS_IN_USE if api.state in _NO_ROOM else Sight.API_NOT_READY


def is_login_idle(login: LoginReading, memory: ReadinessState, now_s: float) -> bool:
    """Whether a challenge or a pause is over for so long that no attempt is to be expected."""
    due_s = memory.attempt_due_s
    return login.phase is LoginPhase.IDLE or (due_s is not None and now_s - due_s > LOGIN_IDLE_AFTER_S)


def is_second_factor_open(login: LoginReading, memory: ReadinessState) -> bool:
    """Whether a second factor was asked for, on this start or an earlier one, and no login has completed since."""
    if login.phase is LoginPhase.LOGGED_IN:
        return False
    return login.awaits_second_factor or memory.second_factor is SecondFactorState.PENDING


def is_gone_for(memory: ReadinessState, now_s: float, least_s: float) -> bool:
    """Whether the container has been dead for so long."""
    return memory.gone_since_s is not None and now_s - memory.gone_since_s >= least_s


def _is_rejected(login: LoginReading, memory: ReadinessState) -> bool:
    """Whether user or password are wrong, judged by the last line and by what came before it."""
    is_said_plainly = login.is_rejected and not login.has_too_many_attempts
    if is_said_plainly or login.unrecognized_in_a_row >= FAILURES_THAT_PROVE:
        return True
    if is_second_factor_open(login, memory):
        return False  # the password was accepted: it is second factors that went unanswered
    failures = memory.failures_before + login.failures_in_a_row - memory.excused
    if login.has_too_many_attempts:
        # The broker has counted more than the log of this start shows, unless all of it was its own reset.
        return failures > 0 or not memory.excused
    return login.failures_in_a_row > 0 and failures >= FAILURES_THAT_PROVE


def find_restart_time(
    memory: ReadinessState, observation: ProbeResult, sight: Sight, policy: ReadinessPolicy, *, deadline_s: float
) -> float | None:
    """From when on a restart may help this gateway, on the machine's clock; None where it does not help.

    This is the one rule for a start and for a supervisor. Both restart less often than it allows: a start once in a run
    and never after a second factor was asked for, a supervisor once in an incident and not in a window of time.

    Args:
        memory: What is remembered.
        observation: The look.
        sight: What `see` says of it.
        policy: What the settings say.
        deadline_s: Until when the gateway may become ready by itself.
    """
    deadline_s = extend_deadline(memory, policy, deadline_s)
    match sight:
        case Sight.GONE:
            since_s = memory.gone_since_s
            return deadline_s if since_s is None else since_s + GONE_GRACE_S
        case Sight.PAUSED | Sight.LOGIN_IDLE:
            due_s = float("-inf")
        case Sight.UNHEALTHY:
            is_outdated = is_health_outdated(memory) or observation.api is None
            due_s = deadline_s if is_outdated else float("-inf")
        case Sight.RESTARTING | Sight.STARTING | Sight.API_NOT_READY | Sight.HEALTH_CHECK_FAILING:
            due_s = deadline_s
        case _:
            return None
    is_too_old = observation.api is not None and observation.api.state is ApiState.OUTDATED
    if is_too_old and sight in {Sight.API_NOT_READY, Sight.UNHEALTHY}:
        return None  # the same program would start again
    if memory.second_factor is SecondFactorState.GRANTED and memory.granted_s is not None:
        # One that was confirmed must not be asked for again because of us: the API follows it.
        return max(due_s, deadline_s, memory.granted_s + policy.timeout_s)
    return due_s


def is_health_outdated(memory: ReadinessState) -> bool:
    """Whether the login got further after the health check began to fail: the check has not caught up yet."""
    since_s, moved_s = memory.unhealthy_since_s, memory.login_moved_s
    return since_s is not None and moved_s is not None and moved_s > since_s


def extend_deadline(memory: ReadinessState, policy: ReadinessPolicy, deadline_s: float) -> float:
    """The deadline, a little later where the login was completed right before it: API and health check follow it."""
    after_login_s = min(_AFTER_LOGIN_MOST_S, policy.timeout_s * _AFTER_LOGIN_SHARE)
    logins_s = (at_s for at_s in (memory.granted_s, memory.logged_in_s) if at_s is not None)
    # Never more than once: a container that logs in and crashes again and again comes to an end, too.
    return max((deadline_s, *(min(at_s, deadline_s) + after_login_s for at_s in logins_s)))


def take(
    memory: ReadinessState, observation: ProbeResult, now_s: float, policy: ReadinessPolicy
) -> tuple[ReadinessState, ProbeResult, Sight, tuple[WaitEventKind, ...]]:
    """Take in an observation.

    Returns:
        What to remember of it; the observation, completed by an answer of the API that still counts; what it amounts
        to; and what is new about that.
    """
    memory = _note_start(memory, observation)
    memory = _note_container(memory, observation, now_s)
    memory, observation = _note_answer(memory, observation, now_s, policy)
    memory = _note_login(memory, observation, now_s)
    sight = see(observation, memory, now_s, policy)
    memory, tell = _note_sight(memory, observation, sight, now_s, policy)
    return memory, observation, sight, tell


def _note_start(memory: ReadinessState, observation: ProbeResult) -> ReadinessState:
    """Note a start that is not the one seen last: what its predecessor said no longer counts."""
    status = observation.status
    if status is None:
        return memory
    if memory.first_restart_count is None or status.restart_count < memory.first_restart_count:
        memory = replace(memory, first_restart_count=status.restart_count)
    if status.start == memory.start:
        return memory
    if memory.start is None:
        return replace(memory, start=status.start)
    gone_since_s = memory.gone_since_s
    memory = replace(_forget_start(memory), gone_since_s=gone_since_s)
    return replace(memory, start=status.start, other_restarts=memory.other_restarts + 1)


def _note_container(memory: ReadinessState, observation: ProbeResult, now_s: float) -> ReadinessState:
    """Note since when it has been gone, or its health check has failed."""
    status = observation.status
    if status is None:
        return replace(memory, gone_since_s=None)
    is_gone = _SIGHT_OF_STATE.get(status.state) is Sight.GONE
    is_unhealthy = status.is_up and status.health is Health.UNHEALTHY
    return replace(
        memory,
        gone_since_s=_keep_since(memory.gone_since_s, now_s) if is_gone else None,
        unhealthy_since_s=_keep_since(memory.unhealthy_since_s, now_s) if is_unhealthy else None,
    )


def _keep_since(since_s: float | None, now_s: float) -> float:
    return now_s if since_s is None else since_s


def _note_answer(
    memory: ReadinessState, observation: ProbeResult, now_s: float, policy: ReadinessPolicy
) -> tuple[ReadinessState, ProbeResult]:
    """Between two handshakes with a container whose check does not pass, the last answer stands."""
    status = observation.status
    if status is None or not status.is_up or _has_no_objection(status, policy):
        return replace(memory, answer=None), observation
    if observation.api is not None:
        return replace(
            memory, answer=ApiWhileUnhealthy(at_s=now_s, health=status.health, api=observation.api)
        ), observation
    if memory.answer is None:
        return memory, observation
    return memory, replace(observation, api=memory.answer.api)


_FURTHER = frozenset({LoginPhase.LOGGING_IN, LoginPhase.SECOND_FACTOR, LoginPhase.LOGGED_IN})


def _note_login(memory: ReadinessState, observation: ProbeResult, now_s: float) -> ReadinessState:
    login = observation.login
    if login.attempt_due_s is None:
        memory = replace(memory, attempt_due_s=None)
    elif memory.attempt_due_s is None or login.waits != memory.last_login.waits:
        memory = replace(memory, attempt_due_s=now_s + login.attempt_due_s)
    if login.phase is not memory.last_login.phase and login.phase in _FURTHER:
        logged_in_s = now_s if login.phase is LoginPhase.LOGGED_IN else memory.logged_in_s
        memory = replace(memory, login_moved_s=now_s, logged_in_s=logged_in_s)
    if login.awaits_second_factor or login.phase in {LoginPhase.SECOND_FACTOR, LoginPhase.LOGGED_IN}:
        return replace(memory, last_login=login, failures_before=0, excused=0)
    new_failures = max(0, login.failures_in_a_row - memory.last_login.failures_in_a_row)
    excused = memory.excused + (new_failures if observation.in_reset_window else 0)
    return replace(memory, last_login=login, excused=excused)


_API_IS_UP = frozenset({Sight.READY, Sight.LINK_DOWN, Sight.HEALTH_CHECK_FAILING})


def _note_sight(
    memory: ReadinessState, observation: ProbeResult, sight: Sight, now_s: float, policy: ReadinessPolicy
) -> tuple[ReadinessState, tuple[WaitEventKind, ...]]:
    """Remember what has become so, and tell what is new."""
    is_asked = sight is Sight.SECOND_FACTOR
    was_asked = memory.second_factor is SecondFactorState.PENDING
    login = observation.login
    is_granted = was_asked and (sight in _API_IS_UP or login.phase is LoginPhase.LOGGED_IN)
    is_asked = is_asked and not is_granted
    was_asked = was_asked and sight is not Sight.LOGIN_IDLE  # what was asked for is over, and is not asked for again
    now_so = {
        WaitEventKind.CONTAINER_RESTARTED: memory.other_restarts > 0,
        WaitEventKind.SECOND_FACTOR_NEEDED: is_asked or (was_asked and not is_granted),
        WaitEventKind.SECOND_FACTOR_GRANTED: is_granted
        or (memory.second_factor is SecondFactorState.GRANTED and not is_asked),
        WaitEventKind.LOGIN_SEEN: login.phase is LoginPhase.LOGGED_IN,
        WaitEventKind.LOGIN_FAILED_ONCE: login.failures_in_a_row > 0 and sight is not Sight.REJECTED,
        WaitEventKind.LOGIN_IDLE: sight is Sight.LOGIN_IDLE,
        WaitEventKind.SESSION_TAKEN: sight is Sight.SESSION_TAKEN,
        WaitEventKind.LINK_DOWN: sight is Sight.LINK_DOWN,
        WaitEventKind.FARMS_BROKEN: observation.api is not None and bool(observation.api.broken_farms),
        WaitEventKind.HEALTH_CHECK_FAILING: sight is Sight.HEALTH_CHECK_FAILING,
        WaitEventKind.ENGINE_LOST: sight is Sight.ENGINE_GONE,
    }
    tell = tuple(kind for kind, is_so in now_so.items() if is_so and kind not in memory.told)
    extends = is_asked and not memory.is_extended
    if is_asked:
        memory = replace(memory, second_factor=SecondFactorState.PENDING)
    elif is_granted:
        memory = replace(memory, second_factor=SecondFactorState.GRANTED, granted_s=now_s)
    is_over = sight is Sight.LOGIN_IDLE and memory.second_factor is SecondFactorState.PENDING
    if sight is Sight.READY or is_over:  # the login is over: the next one may ask again
        memory = replace(memory, second_factor=SecondFactorState.NOT_ASKED)
    return (
        replace(
            memory,
            is_extended=memory.is_extended or extends,
            deadline_s=memory.deadline_s + (policy.twofa_timeout_s if extends else 0.0),
            told=frozenset(kind for kind, is_so in now_so.items() if is_so),
        ),
        tell,
    )


def count_other_starts(memory: ReadinessState, status: GatewayStatus | None) -> int:
    """How often the container was started by another program, most often by Docker, since it was first looked at."""
    by_docker = 0 if status is None else status.restart_count - (memory.first_restart_count or 0)
    return max(memory.other_restarts, by_docker)
