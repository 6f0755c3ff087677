"""`inv startup --dry-run`: what would be done, step by step, from what is there now. Changes nothing."""

from dataclasses import dataclass

from orchestration.alerts.channels import build_channels, read_channel_states
from orchestration.bot.find import find_bot
from orchestration.bot.program import describe_program
from orchestration.docker.container import ContainerState
from orchestration.errors import Check, ExitCode, FallbackWord, StartupFailure, StepStatus
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.journal import JournalReader
from orchestration.preflight.table import Preflight, build_config_failure, run_checks
from orchestration.settings import BotRuntime, GatewayRuntime, Settings
from orchestration.state_dir import JOURNAL
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands


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
    """

    instance: str
    steps: tuple[PlannedStep, ...]
    expected_exit_code: ExitCode
    problems: tuple[str, ...] = ()


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


def plan_startup(settings: Settings | StartupFailure, *, replaces_bot: bool, supervises: bool = False) -> DryRun:
    """Look, and say what each step would do. Never raises for what it finds.

    Args:
        settings: The configuration, or what is wrong with it.
        replaces_bot: Whether a running bot is to be stopped first.
        supervises: Whether the start stays with the bot; then it adopts the one that this instance recorded.
    """
    if isinstance(settings, StartupFailure):
        return _stopped("", build_config_failure(settings))
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
            alert_channels=read_channel_states(JournalReader(settings.state_dir / JOURNAL), build_channels(settings)),
        )
    )
    if any(check.status is StepStatus.FAIL for check in checks):
        return _stopped(settings.instance, checks)
    warned = sum(check.status is StepStatus.WARN for check in checks)
    plan = _plan_gameplan(settings, clock)
    where = str(settings.gateway)
    steps = (
        PlannedStep(name="preflight", would=f"pass: {len(checks)} checks, {warned} warned"),
        PlannedStep(name="gateway.up", would=_plan_up(runtime, runtime.probe())),
        PlannedStep(
            name="gateway.wait",
            would=f"wait up to {settings.gateway_health_timeout_s:g} s for an API handshake at {where} "
            f"and check that the account is a {settings.trading_mode} one",
        ),
        PlannedStep(name="gameplan.check", would=plan.would),
        PlannedStep(
            name="bot.start",
            would=f"{_plan_running_bot(settings, replaces_bot=replaces_bot)}start {_name_bot(settings)} "
            f"on strategy {plan.strategy}",
        ),
    )
    return DryRun(
        instance=settings.instance,
        steps=steps,
        expected_exit_code=ExitCode.PARTIAL if plan.fallback is not None else ExitCode.SUCCESS,
    )


def _stopped(instance: str, checks: tuple[Check, ...]) -> DryRun:
    failed = tuple(check for check in checks if check.status is StepStatus.FAIL)
    return DryRun(
        instance=instance,
        steps=(PlannedStep(name="preflight", would=f"fail with {failed[0].failure}, and stop there"),),
        expected_exit_code=ExitCode.FAILURE,
        problems=tuple(f"{check.name}: {check.detail} {check.fix}".rstrip() for check in failed),
    )


def _plan_up(runtime: Runtime, status: GatewayStatus) -> str:
    if runtime.kind is GatewayRuntime.SIMULATOR and status.state is not ContainerState.RUNNING:
        return "start the built-in SIMULATED gateway"
    name = runtime.container_name or f"the {runtime.kind} gateway"
    health = "" if status.health is Health.NONE else f" and is {status.health}"
    return _UP[status.state].format(name=name, health=health)


def _plan_running_bot(settings: Settings, *, replaces_bot: bool) -> str:
    found = find_bot(settings).found
    if found is None:
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


def _plan_gameplan(settings: Settings, clock: SystemClock) -> _PlannedGameplan:
    if settings.simulated:
        return _PlannedGameplan(strategy="A", fallback=None, would="activate a sample plan for today")
    from orchestration.gameplan import check_from_settings

    verdict = check_from_settings(settings, clock=clock)
    if verdict.is_valid:
        would = f"activate {verdict.path}: strategy {verdict.strategy} of {verdict.date}"
        return _PlannedGameplan(strategy=str(verdict.strategy), fallback=None, would=would)
    would = f"fall back to Strategy C ({verdict.word}): {verdict.message}"
    return _PlannedGameplan(strategy="C", fallback=verdict.word, would=would)
