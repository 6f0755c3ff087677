"""`inv startup --dry-run`: what would be done, step by step, from what is there now. Changes nothing."""

import dataclasses
from dataclasses import dataclass

from orchestration.alerts.channels import build_channels, read_channel_states
from orchestration.bot.find import find_bot
from orchestration.bot.order_guard import has_no_bot
from orchestration.bot.program import describe_program
from orchestration.docker.container import ContainerState
from orchestration.errors import (
    Check,
    ExitCode,
    FailureWord,
    FallbackWord,
    StartupFailure,
    StepStatus,
    build_failed_check,
)
from orchestration.gateway.api import probe_api
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.wait import check_ready_now
from orchestration.hold import refuse_if_held
from orchestration.hostservice.advice import advise
from orchestration.hostservice.attempts import count_failure
from orchestration.hostservice.attempts import read as read_attempts
from orchestration.journal import JournalReader
from orchestration.lease.held import refuse_by_hand
from orchestration.preflight.table import Preflight, build_config_failure, run_checks
from orchestration.settings import BotRuntime, GatewayRuntime, Settings
from orchestration.startup.admission import refuse_beside_supervisor
from orchestration.state_dir import journal_path
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from orchestration.system.sockets import is_accepting


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What one step would do.

    Attributes:
        name: The step.
        would: One sentence.
    """

    name: str
    would: str


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a start-up would do now.

    Attributes:
        instance: The instance's name; empty where the configuration is wrong.
        steps: What each step would do; those after a certain failure are left out.
        expected_exit_code: What `startup` would end with, as far as it is known from here.
        problems: What would stop it.
        warnings: What would stop nothing and is worth a look, damaged files of the state folder among it.
    """

    instance: str
    steps: tuple[PlannedStep, ...]
    expected_exit_code: ExitCode
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


_UP = {
    ContainerState.MISSING: "create and start {name}",
    ContainerState.CREATED: "start {name}",
    ContainerState.EXITED: "start {name}",
    ContainerState.PAUSED: "unpause {name}",
    ContainerState.RESTARTING: "leave {name} to Docker, which is restarting it",
    ContainerState.DEAD: "remove the dead {name} and create it again",
    ContainerState.RUNNING: "leave {name} alone: it runs{health}",
    ContainerState.UNKNOWN: "leave the gateway alone: it is managed externally",
}


def plan_startup(
    settings: Settings | StartupFailure, *, replaces_bot: bool, supervises: bool = False, is_service: bool = False
) -> DryRun:
    """Look, and say what each step would do. Never raises for what it finds.

    Args:
        settings: The configuration, or what is wrong with it.
        replaces_bot: Whether a running bot is to be stopped first.
        supervises: Whether the start stays with the bot; then it adopts the one that this instance recorded.
        is_service: Whether a boot service starts: what trying again does not fix ends with another exit code then.
    """
    if isinstance(settings, StartupFailure):
        lenient = Settings.load(lenient=True)
        return _stop(lenient, build_config_failure(settings), is_service=is_service, instance="")
    try:
        if not supervises:  # a supervisor takes lock and lease itself; whether it can is among the checks
            refuse_by_hand(settings)
            refuse_beside_supervisor(settings, supervises=False, starts_bot=True, replaces_bot=replaces_bot)
        refuse_if_held(settings.state_dir)
    except StartupFailure as failure:
        return refuse(settings, failure, is_service=is_service)
    commands, clock = SystemCommands(), SystemClock()
    runtime = build_runtime(settings, commands=commands, clock=clock)
    checks = run_checks(
        Preflight(
            settings=settings,
            runtime=runtime,
            commands=commands,
            clock=clock,
            replaces_bot=replaces_bot,
            adopts_bot=supervises,
            hands_over=not supervises,
            alert_channels=read_channel_states(
                JournalReader(journal_path(settings.state_dir)), build_channels(settings)
            ),
        )
    )
    if any(check.status is StepStatus.FAIL for check in checks):
        return _stop(settings, checks, is_service=is_service)
    plan = _plan_gameplan(settings, clock, supervises=supervises)
    is_withheld = has_no_bot(settings, plan.strategy)
    status = runtime.probe()
    certain, not_yet = _look_at_gateway(settings, runtime, status, clock)
    needs_lease = bool(settings.lease_etcd) and not settings.simulated
    steps = (
        PlannedStep(
            name="preflight",
            would=f"pass: {len(checks)} checks, {len(_list_warnings(checks))} warned"
            + ("; the rest once this host holds the lease (LEASE_ETCD), until then stand by" if needs_lease else ""),
        ),
        PlannedStep(name="gateway.up", would=_plan_up(runtime, status)),
        PlannedStep(
            name="gateway.wait", would=_plan_wait(settings) + (f"; not ready now: {not_yet}" if not_yet else "")
        ),
        PlannedStep(name="gameplan.check", would=plan.would),
        PlannedStep(
            name="bot.start",
            would=f"{_plan_running_bot(settings, replaces_bot=replaces_bot)}"
            + (
                "start no bot: none is to run on Strategy C (STRATEGY_C_BOT=none)"
                if is_withheld
                else f"start {_name_bot(settings)} on strategy {plan.strategy}"
            ),
        ),
    )
    planned = DryRun(
        instance=settings.instance,
        steps=steps,
        expected_exit_code=ExitCode.PARTIAL if plan.fallback is not None or is_withheld else ExitCode.SUCCESS,
        warnings=_list_warnings(checks),
    )
    return planned if certain is None else _fail_in(planned, certain, settings, is_service=is_service)


def refuse(
    settings: Settings, failure: StartupFailure, *, exit_code: ExitCode | None = None, is_service: bool = False
) -> DryRun:
    """The plan of a start that does not begin.

    Args:
        settings: Which instance.
        failure: Why it does not.
        exit_code: What it ends with; by default what the failure means for such a start.
        is_service: Whether a boot service starts.
    """
    check = build_failed_check("start-up", failure)
    planned = _stop(settings, (check,), is_service=is_service)
    return planned if exit_code is None else dataclasses.replace(planned, expected_exit_code=exit_code)


def _stop(settings: Settings, checks: tuple[Check, ...], *, is_service: bool, instance: str | None = None) -> DryRun:
    failed = tuple(check for check in checks if check.status is StepStatus.FAIL)
    return DryRun(
        instance=settings.instance if instance is None else instance,
        steps=(PlannedStep(name="preflight", would=f"fail with {failed[0].failure}, and stop there"),),
        expected_exit_code=_judge_failure(settings, failed[0].failure, is_service=is_service),
        problems=tuple(
            _describe(check.name, advise(check.detail, settings), advise(check.fix, settings)) for check in failed
        ),
        warnings=_list_warnings(checks),
    )


def _fail_in(planned: DryRun, failure: StartupFailure, settings: Settings, *, is_service: bool) -> DryRun:
    """The plan of a start that gets as far as the gateway, and no further."""
    name = "gateway.up" if failure.word is FailureWord.GATEWAY_START_FAILED else "gateway.wait"
    done = [step.name for step in planned.steps].index(name)
    step = planned.steps[done]
    return dataclasses.replace(
        planned,
        steps=(*planned.steps[:done], PlannedStep(name=step.name, would=f"{step.would}; fail with {failure.word}")),
        expected_exit_code=_judge_failure(settings, failure.word, is_service=is_service),
        problems=(_describe(step.name, failure.message, advise(failure.next_action, settings)),),
    )


def _judge_failure(settings: Settings, word: FailureWord | None, *, is_service: bool) -> ExitCode:
    """What a failed start ends with: for a boot service, what counting it would come to."""
    if not is_service:
        return ExitCode.FAILURE
    if word is FailureWord.HELD:
        return ExitCode.SUCCESS
    _, outcome = count_failure(
        read_attempts(settings.state_dir),
        word or FailureWord.INTERNAL_ERROR,
        now=SystemClock().now(),
        most=settings.startup_max_attempts,
        window_s=settings.startup_attempt_window_s,
    )
    return ExitCode.GIVE_UP if outcome.gives_up else ExitCode.FAILURE


def _list_warnings(checks: tuple[Check, ...]) -> tuple[str, ...]:
    return tuple(_describe(check.name, check.detail, check.fix) for check in checks if check.status is StepStatus.WARN)


def _describe(name: str, found: str, fix: str) -> str:
    """What was found, and how to fix it, as two sentences."""
    end = "" if not fix or found.endswith((".", "!", "?")) else "."
    return f"{name}: {found}{end} {fix}".rstrip()


def _plan_wait(settings: Settings) -> str:
    return (
        f"wait up to {settings.gateway_health_timeout_s:g} s for an API handshake at {settings.gateway} "
        f"and check that the account is a {settings.trading_mode} one"
    )


def _look_at_gateway(
    settings: Settings, runtime: Runtime, status: GatewayStatus, clock: SystemClock
) -> tuple[StartupFailure | None, str]:
    """How the gateway is now, as far as that tells what becomes of the start.

    A gateway that this program starts, or that is still logging in, may become ready. One that is ready shows its
    accounts now, and nothing here brings up one that another program runs.

    Returns:
        What it would certainly fail with, or None; and why it is not ready now, where it runs and that is so.
    """
    is_external = runtime.kind is GatewayRuntime.EXTERNAL
    if not is_external and status.state is not ContainerState.RUNNING:
        if runtime.kind is GatewayRuntime.SIMULATOR and is_accepting(settings.gateway_host, settings.gateway_port):
            message = f"Another program listens on port {settings.gateway_port}, so the simulator cannot."
            next_action = "End that program, or set GATEWAY_PORT to a free port."
            return StartupFailure(FailureWord.GATEWAY_START_FAILED, message, next_action=next_action), ""
        return None, ""
    try:
        check_ready_now(runtime, settings, clock=clock, probe=probe_api)
    except StartupFailure as failure:
        if failure.word is FailureWord.GATEWAY_WRONG_ACCOUNT:
            return failure, ""
        if is_external and not is_accepting(settings.gateway_host, settings.gateway_port):
            message = (
                f"Nothing answers at {settings.gateway}; its operator has to start it, at the latest "
                f"{settings.gateway_health_timeout_s:g} s after the start-up has begun."
            )
            return StartupFailure(FailureWord.GATEWAY_TIMEOUT, message, next_action=failure.next_action), ""
        return None, failure.message
    return None, ""


def _plan_up(runtime: Runtime, status: GatewayStatus) -> str:
    if runtime.kind is GatewayRuntime.SIMULATOR and status.state is not ContainerState.RUNNING:
        return "start the built-in SIMULATED gateway"
    name = runtime.container_name or f"the {runtime.kind} gateway"
    health = "" if status.health is Health.NONE else f" and is {status.health}"
    return _UP[status.state].format(name=name, health=health)


def _plan_running_bot(settings: Settings, *, replaces_bot: bool) -> str:
    found = find_bot(settings)
    if not found.is_found:
        return ""
    if replaces_bot:
        return f"stop {found.who} gracefully, then "
    return f"keep {found.who} if nothing has changed; else stop it and "


def _name_bot(settings: Settings) -> str:
    program = describe_program(settings)
    return program if settings.bot_runtime is BotRuntime.DOCKER else f"`{program}` in {settings.bot_workdir}"


@dataclass(frozen=True, kw_only=True)
class _PlannedGameplan:
    """Which plan would be activated.

    Attributes:
        strategy: Its strategy.
        fallback: Why it would be the emergency plan, or None.
        would: One sentence.
    """

    strategy: str
    fallback: FallbackWord | None
    would: str


def _plan_gameplan(settings: Settings, clock: SystemClock, *, supervises: bool) -> _PlannedGameplan:
    if settings.simulated:
        return _PlannedGameplan(strategy="A", fallback=None, would="activate a sample plan for today")
    from orchestration.gameplan import check_from_settings, find_copy_problem, hold_until_its_day

    verdict = check_from_settings(settings, clock=clock)
    if supervises:
        verdict = hold_until_its_day(verdict, settings, clock=clock)
    problem = find_copy_problem(verdict, settings) if verdict.is_valid else ""
    if problem:
        word = FallbackWord.GAMEPLAN_UNREADABLE
        would = f"fall back to Strategy C ({word}): {verdict.path} is valid, but could not be copied: {problem}"
        return _PlannedGameplan(strategy="C", fallback=word, would=would)
    if verdict.is_valid:
        would = f"activate {verdict.path}: strategy {verdict.strategy} of {verdict.date}"
        if settings.lease_etcd:
            would += "; at a take-over the plan in force, where the last leader has published another one for the day"
        return _PlannedGameplan(strategy=str(verdict.strategy), fallback=None, would=would)
    would = f"fall back to Strategy C ({verdict.word}): {verdict.message}"
    return _PlannedGameplan(strategy="C", fallback=verdict.word, would=would)
