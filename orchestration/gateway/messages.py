"""What is said to the operator about a gateway that is not ready: what was seen, and what to do about it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord
from orchestration.gateway.api_status import MOST_CLIENTS, ApiState, ApiStatus, find_broken
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.login import LoginPhase, LoginReading, Refusal
from orchestration.gateway.login_patterns import explain_exit_code
from orchestration.gateway.readiness import (
    CRASH_LOOP_STARTS,
    ProbeResult,
    ReadinessState,
    Sight,
    WaitEventKind,
    count_other_starts,
)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Something said.

    Attributes:
        message: One sentence: what was found.
        next_action: One sentence: what the operator should do; empty if nothing.
    """

    message: str
    next_action: str = ""


_START_IT = "Start the gateway: `inv gateway.up`; `inv startup` runs the whole sequence."
_READ_THE_LOG = "Read the gateway's log: `inv logs --of gateway`."


def describe_sight(sight: Sight, observation: ProbeResult, *, port: int) -> str:
    """What was seen last, as the end of a sentence that says the gateway is not ready."""
    status, login = observation.status, observation.login
    text = _PLAIN_SIGHTS.get(sight, "")
    if sight is Sight.REJECTED:
        text = describe_rejection(login).message
    elif sight is Sight.GONE:
        text = _describe_gone(status)
    elif sight is Sight.SECOND_FACTOR and login.needs_device:
        text = _DEVICE_NEEDED
    elif sight is Sight.STARTING:
        text += _describe_login(login.phase)
    elif sight is Sight.HEALTH_CHECK_FAILING:
        text += f" ({describe_health_check(status)})"
    elif sight is Sight.API_NOT_READY:
        text = _describe_api(observation, port)
    elif sight is Sight.CLIENT_IDS_IN_USE and _is_full(observation):
        text = f"the gateway runs and is full: it takes {MOST_CLIENTS} clients, and as many are connected"
    if status is not None and status.published_ports and port not in status.published_ports:
        published = ", ".join(str(one) for one in status.published_ports)
        text += f"; the container publishes port {published}, not GATEWAY_PORT {port}"
    return text


_PLAIN_SIGHTS: Mapping[Sight, str] = {
    Sight.ENGINE_GONE: "the Docker engine does not answer",
    Sight.READY: "the gateway is ready",
    Sight.LINK_DOWN: "the API answers, but the gateway has lost its link to the broker",
    Sight.PAUSED: "the container is paused",
    Sight.RESTARTING: "the container ends again and again, and Docker is about to start it once more",
    Sight.SECOND_FACTOR: "the login waits for the second factor on the phone",
    Sight.SESSION_TAKEN: "the same user is logged in elsewhere, and that session was left in charge",
    Sight.LOGIN_PAUSED: "the broker does not take the login now, and the gateway pauses before the next attempt",
    Sight.LOGIN_IDLE: "no login is under way: the last attempt is over, and no other one has followed",
    Sight.HEALTH_CHECK_FAILING: "the API works, but the container's own health check does not pass",
    Sight.UNHEALTHY: "the container says that it is unhealthy",
    Sight.STARTING: "the container runs and is not healthy yet",
    Sight.CLIENT_IDS_IN_USE: "the gateway runs, but all ten API client ids of the check are in use",
}


DEVICES = ", and several devices could give it: none of them was chosen by its right name"
_DEVICE_NEEDED = f"the gateway's login waits for the second factor{DEVICES}"
CHOOSE_A_DEVICE = (
    "Set TWOFA_DEVICE to the device's name as IBKR's dialog lists it, then `inv gateway.restart` and `inv startup`."
)


def describe_rejection(login: LoginReading) -> Explanation:
    """Why the broker refuses the login, as the end of a sentence, and what to do about it."""
    match login.refusal:
        case Refusal.VERSION:
            return Explanation(
                message=f"the broker no longer accepts this version of the gateway ({login.evidence})",
                next_action="Pull a newer image (GATEWAY_IMAGE) and make the container again, then `inv startup`.",
            )
        case Refusal.OTHER:
            return Explanation(
                message=f"the broker refuses the login, and not for the password ({login.evidence})",
                next_action="Log in on the broker's website to see why, then `inv startup`.",
            )
        case _:
            return Explanation(
                message=f"the broker refuses user or password ({login.evidence})",
                next_action="Correct TWS_USERID and TWS_PASSWORD (try them on the broker's website first: too many "
                "tries lock the account), then `inv startup`.",
            )


def _describe_gone(status: GatewayStatus | None) -> str:
    if status is None or not status.id:
        return "there is no container"
    why = explain_exit_code(status.exit_code or 0)
    return f"the container is {status}" + (f" ({why})" if why else "")


_PASSED = re.compile(r"health check ended with 0(?!\d)")


def describe_health_check(status: GatewayStatus | None) -> str:
    """What the container's own health check said last."""
    if status is None or not status.health_log:
        return "it has said nothing yet"
    # One that has passed and counts for nothing yet, as while the container is paused.
    return "the last one passed" if _PASSED.match(status.health_log[-1]) else status.health_log[-1]


def _is_full(observation: ProbeResult) -> bool:
    return observation.api is not None and observation.api.state is ApiState.FULL


def _describe_login(phase: LoginPhase) -> str:
    return {
        LoginPhase.LOGGING_IN: ", the login is under way",
        LoginPhase.LOGGED_IN: ", though its log says that it is logged in",
        LoginPhase.FAILED: ", and a login failed",
    }.get(phase, "")


def _describe_api(observation: ProbeResult, port: int) -> str:
    api = observation.api
    if api is None:
        return "the API was not asked yet"
    text = {
        ApiState.REFUSED: f"nothing answers on port {port}",
        ApiState.CLOSED: f"port {port} accepts and hangs up at once, as it does before the login",
        ApiState.SILENT: f"port {port} accepts, but the API is silent",
        ApiState.GARBAGE: f"what answers on port {port} is not the gateway's API",
        ApiState.OUTDATED: f"the gateway is too old for this program ({api.detail})",
        ApiState.NOT_CONNECTED: "the API answers that it is not connected",
        ApiState.DISCLAIMER: "the paper trading disclaimer is not accepted yet",
    }.get(api.state, "the API is not ready")
    return text + _describe_login(observation.login.phase)


def describe_failure(
    word: FailureWord, sight: Sight, observation: ProbeResult, memory: ReadinessState, *, waited_s: float, port: int
) -> Explanation:
    """What is said when the wait has failed."""
    seen = describe_sight(sight, observation, port=port)
    tail = ", also after one restart" if memory.is_restarted else ""
    status = observation.status
    starts = count_other_starts(memory, status)
    if starts >= CRASH_LOOP_STARTS:
        tail += f"; the container crashes again and again (Docker has started it {starts} more times)"
    if status is not None and status.out_of_memory:
        tail += "; it was ended for lack of memory (GATEWAY_MEMORY_LIMIT)"
    match word:
        case FailureWord.GATEWAY_SECOND_FACTOR:
            message = f"the second factor was not confirmed within {waited_s:.0f} s{tail}"
            if observation.login.needs_device:
                return Explanation(message=f"{_DEVICE_NEEDED}{tail}", next_action=CHOOSE_A_DEVICE)
        case FailureWord.GATEWAY_LOGIN_FAILED:
            return describe_rejection(observation.login)
        case FailureWord.DOCKER_UNAVAILABLE:
            message = f"the Docker engine has not answered for the last part of a wait of {waited_s:.0f} s"
        case _:
            message = f"the gateway is not ready after {waited_s:.0f} s{tail}: {seen}"
    return Explanation(message=message, next_action=_FAILURE_ADVICE.get(word) or _advise(sight, observation, port))


def _advise(sight: Sight, observation: ProbeResult, port: int) -> str:
    status, api = observation.status, observation.api
    if sight is Sight.CLIENT_IDS_IN_USE and _is_full(observation):
        return (
            f"End clients that are not needed (`ss -tp 'dport = :{port}'` lists them), or give some a second gateway."
        )
    if sight in _SIGHT_ADVICE:
        return _SIGHT_ADVICE[sight]
    if status is not None and status.published_ports and port not in status.published_ports:
        return (
            f"Set GATEWAY_PORT to the published port, or let the container be recreated: `docker rm -f {status.name}`."
            if status.name
            else "Set GATEWAY_PORT to the published port."
        )
    if advice := advise_by_answer(api, port):
        return advice
    if status is not None and status.state is ContainerState.UNKNOWN:
        return (
            f"Look at the gateway where it runs: is it logged in, and is its API open for this host on port {port}? "
            "GATEWAY_HOST and GATEWAY_PORT say where it is looked for."
        )
    is_missing = status is not None and status.state is ContainerState.MISSING  # it has no log
    return _START_IT if is_missing else _READ_THE_LOG


def advise_by_answer(api: ApiStatus | None, port: int) -> str:
    """What to do about a gateway that is not ready where the API's own answer says it; empty where it does not."""
    if api is None:
        return ""
    match api.state:
        case ApiState.OUTDATED:
            return (
                "Update the gateway: pull a newer image (GATEWAY_IMAGE) and make the container again, or install a "
                "newer IB Gateway or TWS where it runs."
            )
        case ApiState.GARBAGE:
            return f"Find out what listens on port {port} (`ss -ltnp`), and correct GATEWAY_HOST or GATEWAY_PORT."
        case ApiState.NOT_CONNECTED:
            return next((_CODE_ADVICE[one.code] for one in reversed(api.codes) if one.code in _CODE_ADVICE), "")
        case _:
            return ""


# By the code with which a gateway refuses the handshake; 1300 carries the new port in its own text.
_CODE_ADVICE: Mapping[int, str] = {
    502: "Let API clients in (\"Enable ActiveX and Socket Clients\" in the gateway's or TWS's API settings), and check "
    "that GATEWAY_PORT is the port that stands there.",
    504: "Look at the gateway's log (`inv logs --of gateway`): it runs and is not connected to the broker, as before a "
    "login.",
    1300: "The API's port was changed in the gateway's settings: set GATEWAY_PORT to the new one, or change it back.",
}
_FAILURE_ADVICE: Mapping[FailureWord, str] = {
    FailureWord.GATEWAY_SECOND_FACTOR: "Have the phone at hand, then start again: `inv gateway.restart`, "
    "`inv startup`; a new push is sent then.",
    FailureWord.DOCKER_UNAVAILABLE: "Start Docker: `sudo systemctl start docker`, or Docker Desktop.",
}
_SIGHT_ADVICE: Mapping[Sight, str] = {
    Sight.LINK_DOWN: "Check this machine's connection and the broker's system status page; the gateway "
    "reconnects by itself; then `inv startup`.",
    Sight.SESSION_TAKEN: "Log the other session out (TWS, the phone's app, the website), then "
    "`inv gateway.restart` and `inv startup`.",
    Sight.CLIENT_IDS_IN_USE: "Set GATEWAY_PROBE_CLIENT_ID to ids that no other client uses.",
    Sight.LOGIN_PAUSED: "Wait until the pause is over (the gateway's log says how long), then `inv startup`; check "
    "TWS_USERID and TWS_PASSWORD first.",
    Sight.LOGIN_IDLE: "Read the gateway's log (`inv logs --of gateway`) to see why its controller gave up, have the "
    "phone at hand, then `inv gateway.restart` and `inv startup`.",
    Sight.HEALTH_CHECK_FAILING: "Correct the health check in the Compose file (`docker inspect` shows its output), or "
    "set GATEWAY_HEALTH_CHECK=ignore if it can never pass.",
    Sight.PAUSED: "The container was paused: `docker unpause` resumes it.",
}


def describe_event(
    kind: WaitEventKind, observation: ProbeResult, memory: ReadinessState, *, twofa_timeout_s: float
) -> Explanation:
    """What is told to the operator while waiting."""
    match kind:
        case WaitEventKind.SECOND_FACTOR_NEEDED:
            confirm = f"Confirm it on the phone now; it is waited for {twofa_timeout_s:.0f} s longer."
            needs_device = observation.login.needs_device
            return Explanation(
                message=_DEVICE_NEEDED if needs_device else "the gateway's login waits for the second factor",
                next_action=CHOOSE_A_DEVICE if needs_device else confirm,
            )
        case WaitEventKind.SESSION_TAKEN:
            return Explanation(
                message="the same user is logged in elsewhere, and that session was left in charge",
                next_action=_SIGHT_ADVICE[Sight.SESSION_TAKEN],
            )
        case WaitEventKind.LINK_DOWN:
            return Explanation(
                message="the gateway has lost its link to the broker",
                next_action="Nothing yet: it reconnects by itself, and is waited for.",
            )
        case WaitEventKind.FARMS_BROKEN:
            return Explanation(message=f"the gateway is up, but data farms are broken: {list_farms(observation)}")
        case WaitEventKind.CONTAINER_RESTARTED:
            status = observation.status
            times = f", {status.restart_count} times so far" if status is not None and status.restart_count else ""
            return Explanation(
                message=f"the container ended and was started again, not by this program{times}",
                next_action=_READ_THE_LOG if memory.other_restarts >= CRASH_LOOP_STARTS else "",
            )
        case _:
            return Explanation(message=_PLAIN_EVENTS[kind])


_PLAIN_EVENTS: Mapping[WaitEventKind, str] = {
    WaitEventKind.SECOND_FACTOR_GRANTED: "the second factor was confirmed",
    WaitEventKind.LOGIN_SEEN: "the gateway's log says that the login is complete",
    WaitEventKind.LOGIN_FAILED_ONCE: "a login failed; one failure proves nothing yet, the gateway tries again",
    WaitEventKind.LOGIN_IDLE: "no login is under way: the last attempt is over, and no other one has followed",
    WaitEventKind.HEALTH_CHECK_FAILING: "the gateway's API works; its container's health check does not pass yet",
    WaitEventKind.ENGINE_LOST: "the Docker engine does not answer; waiting for it",
    WaitEventKind.RESTARTING: "the gateway is not ready and is restarted, once",
}


def list_farms(observation: ProbeResult) -> str:
    """The broken data farms, in the gateway's own words."""
    broken = find_broken(observation.api.codes) if observation.api is not None else ()
    return "; ".join(f"{said.code} {said.text}" for said in broken)
