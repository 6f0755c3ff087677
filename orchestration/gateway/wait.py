"""The wait until the gateway is ready: the loop that feeds the pure `readiness` and does what `wait_decision` says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway import messages as words
from orchestration.gateway import readiness
from orchestration.gateway.account_check import validate_accounts
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.failure import GatewayFailure, GatewaySnapshot
from orchestration.gateway.history import StopReason, name_start
from orchestration.gateway.launcher_log import LauncherReading
from orchestration.gateway.login import NOTHING_READ, LoginReading, combine_logins, read_login
from orchestration.gateway.prober import GatewayProber, Probe
from orchestration.gateway.readiness import ProbeResult, ReadinessPolicy, ReadinessState, Sight, WaitEventKind
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.time_windows import Window, parse_windows
from orchestration.gateway.wait_decision import WaitAction, WaitDecision, decide
from orchestration.redaction import clean_line, clean_lines, redactor_for
from orchestration.settings import GatewayHealthCheck, GatewayRecovery, GatewayRuntime, Settings
from orchestration.system.clock import Clock

__all__ = ["GatewayReady", "WaitEvent", "WaitEventKind", "check_ready_now", "wait_until_ready"]

_TICK_S = 1.0  # how often the operator sees the seconds move; costs nothing
_EVIDENCE_LINES = 15
_HOW_TO_RESTART_A_USED_ONE = (
    "Look whether it works for the others (`inv status --all`); if it does not, `inv gateway.restart --force`."
)
_TOLD_BY_LOG = frozenset(
    {
        WaitEventKind.SECOND_FACTOR_NEEDED,
        WaitEventKind.SECOND_FACTOR_GRANTED,
        WaitEventKind.LOGIN_SEEN,
        WaitEventKind.LOGIN_FAILED_ONCE,
        WaitEventKind.LOGIN_IDLE,
        WaitEventKind.SESSION_TAKEN,
    }
)


@dataclass(frozen=True, kw_only=True)
class WaitEvent:
    """Something worth telling the operator while waiting.

    Attributes:
        kind: What.
        message: One sentence: what was found.
        next_action: One sentence: what the operator should do; empty if nothing.
        evidence: Lines that show it, without secrets.
    """

    kind: WaitEventKind
    message: str
    next_action: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GatewayReady:
    """A gateway that has proved itself through its API, with the right account.

    Attributes:
        runtime: Who runs it.
        container: The container's name; None where there is none.
        server_version: The API's version.
        accounts: The accounts it named, unmasked; no empty ids.
        latency_ms: How long the API took to answer, in milliseconds; None if not measured.
        skew_s: The gateway's clock minus this host's, in seconds; None if not known.
        server_time: The gateway's clock, aware; None if not known.
        restarted: Whether this wait restarted it.
        warnings: What is not as it should be, yet no reason to fail (broken data farms).
        container_started_at: When its latest start was; None if not known.
        is_simulated: Whether it is the built-in simulator.
        start: Which start of it that was (`history.name_start`).
        seen: The gateway as it was seen then.
    """

    runtime: GatewayRuntime
    container: str | None
    server_version: int | None
    accounts: tuple[str, ...]
    latency_ms: float | None
    skew_s: float | None
    server_time: datetime | None
    restarted: bool
    warnings: tuple[str, ...]
    container_started_at: datetime | None
    is_simulated: bool
    start: str
    seen: GatewaySnapshot


OnEvent = Callable[[WaitEvent], None]
OnProgress = Callable[[float, float, str], None]


def wait_until_ready(
    runtime: Runtime,
    settings: Settings,
    *,
    clock: Clock,
    probe: Probe,
    on_event: OnEvent,
    on_progress: OnProgress,
    requires_health_check: bool | None = None,
) -> GatewayReady:
    """Wait until the gateway is ready and its accounts are the right ones; restart it once if that may help.

    Args:
        runtime: Who runs the gateway.
        settings: The configuration.
        clock: The clock; its `wait` is what a signal interrupts.
        probe: One look at the API, `api.probe_api`.
        on_event: Told what an operator should know at once; must be quick.
        on_progress: Told elapsed seconds, seconds left, and what is being waited for, about once a second.
        requires_health_check: Whether the container's own health check must pass; None for what the settings say.

    Raises:
        StartupFailure: One of the `GATEWAY_` words, or `DOCKER_UNAVAILABLE`; with the evidence. Manual action needed.
    """
    windows = _parse_reset_windows(settings)
    with GatewayProber(runtime, settings, clock=clock, probe=probe, windows=windows) as prober:
        policy = _build_policy(runtime, settings, requires_health_check=requires_health_check)
        return _Wait(
            runtime, settings, policy, clock=clock, prober=prober, on_event=on_event, on_progress=on_progress
        ).run()


def check_ready_now(
    runtime: Runtime, settings: Settings, *, clock: Clock, probe: Probe, requires_health_check: bool | None = None
) -> GatewayReady:
    """Look once: the gateway is ready now, with the right accounts, or this fails at once. Changes nothing.

    Args:
        runtime: Who runs the gateway.
        settings: The configuration.
        clock: The clock.
        probe: One look at the API, `api.probe_api`.
        requires_health_check: As for `wait_until_ready`.

    Raises:
        StartupFailure: One of the `GATEWAY_` words, or `DOCKER_UNAVAILABLE`.
    """
    windows = _parse_reset_windows(settings)
    status = runtime.probe()
    # No restart, no extension: the machine is asked what a wait that ends now would end with.
    policy = _build_policy(runtime, settings, requires_health_check=requires_health_check)
    policy = replace(policy, timeout_s=0.0, twofa_timeout_s=0.0, may_restart=False)
    memory = ReadinessState(deadline_s=float("-inf"))
    api = None
    if readiness.is_handshake_due(status, NOTHING_READ, memory, 0.0, policy):
        api = probe(
            settings.gateway,
            client_id=settings.gateway_probe_client_id,
            timeout_s=settings.health_check_timeout_s,
            now=clock.now,
        )
    observation = ProbeResult(status=status, api=api)
    sight = readiness.see(observation, memory, 0.0, policy)
    if sight is Sight.READY:
        return _build_ready(runtime, settings, observation, memory)
    log = runtime.read_log(since=status.log_since, lines=200)
    launcher = runtime.read_launcher_log(status) or LauncherReading()
    observation = replace(
        observation,
        login=combine_logins(launcher, read_login(log), exit_code=None if status.is_up else status.exit_code),
        in_reset_window=any(window.contains(clock.now()) for window in windows),
    )
    _, decision = decide(memory, observation, 0.0, policy)
    said = words.describe_sight(decision.sight, observation, port=settings.gateway_port)
    failure = words.describe_failure(
        decision.word or FailureWord.GATEWAY_TIMEOUT,
        decision.sight,
        observation,
        memory,
        waited_s=0.0,
        port=settings.gateway_port,
    )
    not_ready = StartupFailure(
        decision.word or FailureWord.GATEWAY_TIMEOUT,
        f"the gateway is not ready: {said}",
        next_action=failure.next_action,
        evidence=clean_lines((*status.health_log[-1:], *log[-_EVIDENCE_LINES:]), redactor_for(settings.secrets)),
    )
    raise GatewayFailure(not_ready, _build_seen(runtime, observation, memory))


def _build_policy(runtime: Runtime, settings: Settings, *, requires_health_check: bool | None) -> ReadinessPolicy:
    believes_health_check = settings.gateway_health_check is GatewayHealthCheck.REQUIRE
    if requires_health_check is None:
        requires_health_check = believes_health_check
    return ReadinessPolicy(
        timeout_s=settings.gateway_health_timeout_s,
        twofa_timeout_s=settings.gateway_twofa_timeout_s,
        may_restart=runtime.can_control and settings.gateway_recovery is GatewayRecovery.RESTART,
        requires_health_check=requires_health_check and believes_health_check,
        believes_health_check=believes_health_check,
    )


class _Wait:
    """One wait. It lives for one call of `wait_until_ready`."""

    def __init__(
        self,
        runtime: Runtime,
        settings: Settings,
        policy: ReadinessPolicy,
        *,
        clock: Clock,
        prober: GatewayProber,
        on_event: OnEvent,
        on_progress: OnProgress,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._clock = clock
        self._prober = prober
        self._on_event = on_event
        self._on_progress = on_progress
        self._policy = policy
        self._spared = ""
        self._begun_s = clock.monotonic_s()
        self._memory = readiness.begin(self._begun_s, self._policy)

    def run(self) -> GatewayReady:
        fresh = True
        while True:
            self._prober.wake.clear()
            # The look counts for the time at which it began: one that began before the deadline is not the last.
            now_s = self._clock.monotonic_s()
            observation = self._prober.look(
                left_s=self._find_deadline_s() - now_s, fresh=fresh, is_handshake_due=self._is_handshake_due
            )
            self._memory, decision = decide(self._memory, observation, now_s, self._policy)
            observation = decision.seen
            self._tell(decision, observation)
            match decision.action:
                case WaitAction.READY:
                    return _build_ready(self._runtime, self._settings, observation, self._memory)
                case WaitAction.RESTART:
                    self._restart(decision, observation)
                case WaitAction.STOP_AND_FAIL | WaitAction.FAIL:
                    raise self._fail(decision, observation)
                case WaitAction.WAIT:
                    self._pause(decision.sight, observation)
            fresh = decision.sight in {Sight.GONE, Sight.ENGINE_GONE, Sight.PAUSED}

    def _find_deadline_s(self) -> float:
        return readiness.extend_deadline(self._memory, self._policy, self._memory.deadline_s)

    def _is_handshake_due(self, status: GatewayStatus | None, login: LoginReading) -> bool:
        return readiness.is_handshake_due(status, login, self._memory, self._clock.monotonic_s(), self._policy)

    def _tell(self, decision: WaitDecision, observation: ProbeResult) -> None:
        for kind in decision.tell:
            if kind is not WaitEventKind.RESTARTING:  # told when it is certain that it is done, and not by another one
                self._on_event(self._build_event(kind, decision, observation))

    def _build_event(self, kind: WaitEventKind, decision: WaitDecision, observation: ProbeResult) -> WaitEvent:
        said = words.describe_event(
            kind, observation, self._memory, twofa_timeout_s=self._settings.gateway_twofa_timeout_s
        )
        message = said.message
        evidence: tuple[str, ...] = (observation.login.evidence,) if kind in _TOLD_BY_LOG else ()
        if kind is WaitEventKind.RESTARTING:
            message += ": " + words.describe_sight(decision.sight, observation, port=self._settings.gateway_port)
            evidence = self._prober.read_evidence(_EVIDENCE_LINES)
        return WaitEvent(kind=kind, message=message, next_action=said.next_action, evidence=self._redact(evidence))

    def _pause(self, sight: Sight, observation: ProbeResult) -> None:
        now_s = self._clock.monotonic_s()
        left_s = max(0.0, self._find_deadline_s() - now_s)
        text = words.describe_sight(sight, observation, port=self._settings.gateway_port)
        self._on_progress(now_s - self._begun_s, left_s, text)
        # What no event reports is asked at the interval that the settings name.
        asks = observation.api is not None or not self._runtime.has_events
        tick_s = self._settings.gateway_health_retry_interval_s if asks else _TICK_S
        self._clock.wait(self._prober.wake, min(tick_s, left_s))

    def _restart(self, decision: WaitDecision, observation: ProbeResult) -> None:
        event = self._build_event(WaitEventKind.RESTARTING, decision, observation)
        spared = self._runtime.restart_lost(
            None if observation.status is None else observation.status.start,
            yields=True,
            on_restart=lambda: self._on_event(event),
            on_progress=lambda text: self._on_progress(self._clock.monotonic_s() - self._begun_s, 0.0, text),
        )
        if spared is not None:
            self._on_event(
                WaitEvent(kind=WaitEventKind.RESTART_SPARED, message=f"the gateway is not ready; {spared.why}")
            )
        self._prober.forget()
        if spared is not None and not spared.is_restarted:
            # It may still become ready in time; otherwise this wait fails without having touched it.
            self._policy = replace(self._policy, may_restart=False)
            self._spared = f"; {spared.why}"
            return
        self._memory = readiness.note_restarted(self._memory, self._clock.monotonic_s(), self._policy)

    def _fail(self, decision: WaitDecision, observation: ProbeResult) -> StartupFailure:
        word = decision.word or FailureWord.GATEWAY_TIMEOUT
        evidence = self._redact(self._prober.read_evidence(_EVIDENCE_LINES))
        said = words.describe_failure(
            word,
            decision.sight,
            observation,
            self._memory,
            waited_s=self._clock.monotonic_s() - self._begun_s,
            port=self._settings.gateway_port,
        )
        message = said.message + self._spared
        if decision.action is WaitAction.STOP_AND_FAIL:
            message += self._stop(word)
        next_action = _HOW_TO_RESTART_A_USED_ONE if self._spared else said.next_action
        failure = StartupFailure(
            word, clean_line(message, redactor_for(self._settings.secrets)), next_action=next_action, evidence=evidence
        )
        return GatewayFailure(failure, _build_seen(self._runtime, observation, self._memory))

    def _stop(self, word: FailureWord) -> str:
        """Stop a gateway whose attempts would go on without end; what became of it, for the failure's message."""
        if not self._runtime.can_control:
            return "; it is not ours to stop: stop it before the account is locked"
        is_rejected = word is FailureWord.GATEWAY_LOGIN_FAILED
        users = [] if is_rejected else [user.detail for user in self._runtime.find_users() if user.has_bot]
        if users:
            return f"; it was not stopped, for it is in use ({'; '.join(users)})"
        reason = StopReason.LOGIN_REJECTED if is_rejected else StopReason.FAILING
        try:
            self._runtime.stop(timeout_s=self._settings.gateway_stop_grace_s, reason=reason)
        except StartupFailure as failure:
            return f"; it could NOT be stopped ({failure.message}): stop it by hand before the account is locked"
        return "; it was stopped, so that the account is not locked"

    def _redact(self, lines: Sequence[str]) -> tuple[str, ...]:
        return clean_lines([line for line in lines if line], redactor_for(self._settings.secrets))


def _build_ready(
    runtime: Runtime, settings: Settings, observation: ProbeResult, memory: ReadinessState
) -> GatewayReady:
    status, api = observation.status, observation.api
    if api is None or status is None:
        raise AssertionError("ready without an answer")  # the machine cannot decide so
    seen = _build_seen(runtime, observation, memory)
    try:
        accounts = validate_accounts(api.accounts, settings, is_simulated=settings.simulated)
    except StartupFailure as failure:
        raise GatewayFailure(failure, seen) from failure
    farms = words.list_farms(observation)
    warnings = [f"data farms are broken: {farms}"] if farms else []
    if status.health is Health.UNHEALTHY and settings.gateway_health_check is GatewayHealthCheck.REQUIRE:
        warnings.append(f"the container's own health check fails ({words.describe_health_check(status)})")
    return GatewayReady(
        runtime=runtime.kind,
        container=runtime.container_name,
        server_version=api.server_version,
        accounts=accounts,
        latency_ms=api.latency_ms,
        skew_s=api.skew_s,
        server_time=api.server_time,
        restarted=memory.is_restarted,
        warnings=tuple(warnings),
        container_started_at=status.started_at,
        is_simulated=status.is_simulated,
        start=name_start(status),
        seen=seen,
    )


def _build_seen(runtime: Runtime, observation: ProbeResult, memory: ReadinessState) -> GatewaySnapshot:
    return GatewaySnapshot.from_look(observation, memory, runtime=runtime.kind, container=runtime.container_name)


def _parse_reset_windows(settings: Settings) -> tuple[Window, ...]:
    try:
        return parse_windows(settings.broker_reset_windows)
    except ValueError as error:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            f"BROKER_RESET_WINDOWS: {error}",
            next_action="Correct it in the environment or in .env.",
        ) from error
