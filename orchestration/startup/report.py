"""What a run came to, as values: steps, facts, the result. Shown, journalled and turned into an exit code elsewhere."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestration.errors import ExitCode, FailureWord, FallbackWord, StartupFailure, State, StepStatus
from orchestration.redaction import Redactor, clean_line, clean_lines, mask_account
from orchestration.system.stopped import Stopped

if TYPE_CHECKING:
    from orchestration.bot.launch import BotRunning
    from orchestration.gameplan import ActivePlan
    from orchestration.gateway.failure import GatewaySnapshot
    from orchestration.gateway.wait import GatewayReady


class Result(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILURE = "failure"


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One step of a run.

    Attributes:
        name: The task's name, for example `gateway.wait`.
        state: The state the run was in when it ended.
        status: How it ended; `skip` for a step that was not reached.
        started_at: When it began; None if it was not reached.
        duration_s: How long it took, in seconds; None if it was not reached.
        detail: One sentence.
    """

    name: str
    state: State
    status: StepStatus
    started_at: datetime | None = None
    duration_s: float | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What this run has made sure of so far. Each step returns a new one.

    Attributes:
        gateway: The gateway as it was validated in this run.
        gateway_validated_s: When that was, in seconds of the monotonic clock.
        gateway_was_awaited: Whether it was not ready at the first look, and became so.
        gateway_launched: Whether this run started the gateway.
        plan: The plan as it was activated in this run.
        bot: The bot as it was handed over in this run.
        is_bot_withheld: Whether no bot was started because none is to run on Strategy C (`STRATEGY_C_BOT=none`).
        warnings: What is not as it should be but stops nothing.
        evidence: Lines that show one of the warnings.
        stopped: What this run stopped, or had stopped.
        still_running: What goes on running after a run that stops something.
        open_at_broker: What was open at the broker when something was stopped, as a sentence; empty where nothing was.
    """

    gateway: "GatewayReady | None" = None
    gateway_validated_s: float | None = None
    gateway_was_awaited: bool = False
    gateway_launched: bool = False
    plan: "ActivePlan | None" = None
    bot: "BotRunning | None" = None
    is_bot_withheld: bool = False
    warnings: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    still_running: tuple[str, ...] = ()
    open_at_broker: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A finished run.

    Attributes:
        run_id: Unique id of the run; it starts with its date and time.
        instance: The instance's name.
        simulated: Whether the gateway that it was about is the built-in one.
        failure: Why it failed, or None.
        message: One sentence for people.
        next_action: What the operator should do next; empty where there is nothing to do.
        started_at: When it began.
        duration_s: How long it took, in seconds.
        steps: All five, in order.
        progress: What it made sure of.
        evidence: Lines that show a failure, redacted.
        log: The run's log file, or None where none could be written.
        gateway_seen: The gateway as it was seen last, where the run failed because of it; None otherwise.
    """

    run_id: str
    instance: str
    simulated: bool
    failure: FailureWord | None
    message: str
    next_action: str
    started_at: datetime
    duration_s: float
    steps: tuple[StepReport, ...]
    progress: Progress
    evidence: tuple[str, ...] = ()
    log: str | None = None
    gateway_seen: "GatewaySnapshot | None" = None

    @property
    def fallback(self) -> FallbackWord | None:
        """Why the emergency plan is active, or None."""
        return self.progress.plan.fallback if self.progress.plan else None

    @property
    def result(self) -> Result:
        """Success, partial success, or failure."""
        if self.failure is not None:
            return Result.FAILURE
        # Activating the emergency plan is a step's success; only a bot that runs on it makes a partial one.
        is_on_fallback = self.fallback is not None and self.progress.bot is not None
        if is_on_fallback or self.progress.is_bot_withheld:
            return Result.PARTIAL
        return Result.SUCCESS

    @property
    def exit_code(self) -> ExitCode:
        """What the shell is told."""
        return {
            Result.SUCCESS: ExitCode.SUCCESS,
            Result.PARTIAL: ExitCode.PARTIAL,
            Result.FAILURE: ExitCode.FAILURE,
        }[self.result]

    @property
    def state(self) -> State:
        """The state the run ended in."""
        return State.FAILURE if self.failure is not None else State.SUCCESS


def _read_seen(failure: StartupFailure | None) -> "GatewaySnapshot | None":
    """The gateway as it was seen when the run failed because of it."""
    if failure is None:
        return None
    from orchestration.gateway.failure import GatewayFailure

    return failure.seen if isinstance(failure, GatewayFailure) else None


def build_report(
    *,
    run_id: str,
    instance: str,
    simulated: bool,
    failure: StartupFailure | None,
    started_at: datetime,
    duration_s: float,
    steps: Sequence[tuple[str, State]],
    ended: Mapping[str, StepReport],
    progress: Progress,
    log: str | None,
    redactor: Redactor,
) -> Report:
    """Put a run's end together. Steps that were not reached are skipped; one that failed at its opening failed first.

    Args:
        run_id: The run.
        instance: Its instance.
        simulated: Whether its gateway is the built-in one.
        failure: Why it failed, or None.
        started_at: When it began.
        duration_s: How long it took, in seconds.
        steps: The names and states of all its steps, in order.
        ended: Those that were performed.
        progress: What it made sure of.
        log: Its log file.
        redactor: Knows the secrets; every text is made fit to be shown.
    """
    reports = {name: StepReport(name=name, state=state, status=StepStatus.SKIP) for name, state in steps}
    if failure is not None and not ended and steps:
        name, state = steps[0]
        reports[name] = StepReport(
            name=name,
            state=state,
            status=StepStatus.FAIL,
            started_at=started_at,
            duration_s=duration_s,
            detail=clean_line(failure.message, redactor),
        )
    report = Report(
        run_id=run_id,
        instance=instance,
        simulated=simulated,
        failure=failure.word if failure else None,
        message="",
        next_action="",
        started_at=started_at,
        duration_s=duration_s,
        steps=tuple((reports | dict(ended)).values()),
        progress=progress,
        evidence=clean_lines(failure.evidence if failure else progress.evidence, redactor),
        log=log,
        gateway_seen=_read_seen(failure),
    )
    message, next_action = (failure.message, failure.next_action) if failure else describe_success(report)
    return dataclasses.replace(
        report, message=clean_line(message, redactor), next_action=clean_line(next_action, redactor)
    )


def describe_success(report: Report) -> tuple[str, str]:
    """The message and the next action of a run that did not fail."""
    plan, bot = report.progress.plan, report.progress.bot
    if report.progress.is_bot_withheld:
        why = f" ({plan.fallback}): {plan.message}" if plan is not None and plan.fallback is not None else "."
        remedy = "" if plan is None or plan.fallback is None else describe_remedy(plan.fallback)
        return f"The gateway is ready; no bot runs on Strategy C (STRATEGY_C_BOT=none){why}", remedy
    if bot is None:
        done = [step for step in report.steps if step.status is not StepStatus.SKIP]
        said = "; ".join(f"{step.name}: {step.detail}" for step in done)
        still_open = report.progress.open_at_broker
        return f"{said}. {still_open}" if still_open else said, ""
    is_fallback = plan is not None and plan.fallback is not None
    if bot.is_finished:
        day = f" of {plan.date}" if plan else ""
        which = "the emergency plan" if is_fallback else f"the plan{day}"
        remedy = "" if plan is None or plan.fallback is None else describe_remedy(plan.fallback)
        return f"The bot has finished with {which}: it {describe_finish(bot)}.", remedy
    if plan is not None and plan.fallback is not None:
        runs = f"The bot runs as {describe_running(bot)} on Strategy C and trades nothing"
        return f"{runs} ({plan.fallback}): {plan.message}", describe_remedy(plan.fallback)
    strategy = plan.strategy if plan else "unknown"
    day = f" for {plan.date}" if plan else ""
    return f"The bot runs as {describe_running(bot)} on strategy {strategy}{day}.", ""


def describe_running(bot: "BotRunning") -> str:
    """Which process, which program, and whether it is connected to the gateway: that it lives does not say so."""
    return f"{bot.who} ({bot.program}; {describe_connection(bot.is_connected)})"


def describe_finish(bot: "BotRunning") -> str:
    """How a bot has finished, as the end of a sentence."""
    never = " and never held a connection to the gateway" if bot.has_connected is False else ""
    return f"ended by itself with exit code 0 after {bot.finished_after_s or 0:.1f} s{never}"


def describe_connection(is_connected: bool | None) -> str:  # noqa: FBT001 - the one thing that is described
    """Whether the bot is connected, for people."""
    if is_connected is None:
        return "connection to the gateway unknown"
    return "connected to the gateway" if is_connected else "no connection yet"


def describe_remedy(fallback: FallbackWord) -> str:
    """What the operator does to get from the emergency plan to the day's plan."""
    return {
        FallbackWord.GAMEPLAN_NOT_CONFIGURED: "Set GAMEPLAN_PATH to the day's plan, then `inv startup --replace`.",
        FallbackWord.CLOCK_SKEW: "Set this host's clock right (`timedatectl`; in WSL `sudo hwclock -s`), "
        "then `inv startup --replace`.",
        FallbackWord.GAMEPLAN_QUARANTINED: "Its author must clear the quarantine and write the plan again; "
        "then `inv startup --replace`.",
    }.get(fallback, "Put a valid plan for the day in place, then `inv startup --replace`.")


def build_json(report: Report, *, exit_code: int | None = None) -> dict[str, Any]:
    """The report as one JSON document (SPEC section 5). Paths are absolute; what does not apply is null.

    Args:
        report: The run's.
        exit_code: What the command ends with, where that is not the run's own (`--service`).
    """
    return {
        "run_id": report.run_id or None,
        "instance": report.instance,
        "result": report.result.value,
        "exit_code": int(report.exit_code) if exit_code is None else exit_code,
        "state": report.state.value,
        "failure": report.failure,
        "fallback": report.fallback,
        "message": report.message,
        "next_action": report.next_action or None,
        "started_at": report.started_at.isoformat(),
        "duration_s": round(report.duration_s, 3),
        "simulated": report.simulated,
        "steps": [
            {
                "name": step.name,
                "state": step.state.value,
                "status": step.status.value,
                "started_at": step.started_at.isoformat() if step.started_at else None,
                "duration_s": None if step.duration_s is None else round(step.duration_s, 3),
                "detail": step.detail or None,
            }
            for step in report.steps
        ],
        "gateway": build_gateway_json(report),
        "gameplan": build_gameplan_json(report.progress.plan),
        "bot": build_bot_json(report.progress.bot),
        "stopped": [build_stopped_json(one) for one in report.progress.stopped],
        "still_running": list(report.progress.still_running),
        "open_at_broker": report.progress.open_at_broker or None,
        "warnings": list(report.progress.warnings),
        "evidence": list(report.evidence),
        "log": report.log,
    }


def build_gateway_json(report: Report) -> dict[str, Any] | None:
    """The gateway as it was validated, or as it was seen last where that failed; accounts masked."""
    ready = report.progress.gateway
    seen = report.gateway_seen or (ready.seen if ready is not None else None)
    if seen is None:
        return None
    return {
        "validated": ready is not None and report.gateway_seen is None,
        "runtime": str(seen.runtime),
        "container": seen.container,
        "state": seen.state,
        "health": seen.health,
        "login": seen.login,
        "server_version": seen.server_version,
        "accounts": [mask_account(account) for account in seen.accounts],
        "latency_ms": None if seen.latency_ms is None else round(seen.latency_ms, 1),
        "restarted": seen.restarted,
        "docker_restarts": seen.docker_restarts,
        "clock_skew_s": None if seen.skew_s is None else round(seen.skew_s, 1),
    }


def build_gameplan_json(plan: "ActivePlan | None") -> dict[str, Any] | None:
    """The active plan."""
    if plan is None:
        return None
    return {
        "path": str(plan.path),
        "source": None if plan.source is None else str(plan.source),
        "strategy": plan.strategy,
        "date": plan.date,
        "sha256": plan.sha256,
        "fallback": plan.fallback,
        "problems": list(plan.problems),
    }


def build_stopped_json(stopped: Stopped) -> dict[str, Any]:
    """What was stopped; also the detail of its event in the journal."""
    return {
        "what": stopped.what,
        "who": stopped.who,
        "pid": stopped.pid,
        "since": None if stopped.since is None else stopped.since.isoformat(),
        "uptime_s": None if stopped.uptime_s is None else round(stopped.uptime_s, 1),
        "in_time": stopped.in_time,
        "by": stopped.by or None,
    }


def build_bot_json(bot: "BotRunning | None") -> dict[str, Any] | None:
    """The bot that was handed over."""
    if bot is None:
        return None
    return {
        "pid": bot.pid,
        "log": None if bot.log is None else str(bot.log),
        "ready_by": bot.ready_by,
        "program": bot.program,
        "gateway_connection": bot.is_connected,
        "finished": bot.is_finished,
        "container": bot.record.container or None,
    }
