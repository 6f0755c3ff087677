"""The commands behind the tasks: one function each, which shows something and returns an exit code."""

import dataclasses
from datetime import MAXYEAR, MINYEAR, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration import presenter as console
from orchestration.commands.views import load_settings_or_explain
from orchestration.errors import ExitCode, FailureWord, StartupFailure, State, StepStatus
from orchestration.hostservice.advice import advise
from orchestration.settings import Settings, expand_home
from orchestration.startup.configuration import load_settings
from orchestration.startup.context import RunSpec, Step
from orchestration.startup.report import Progress, Report, StepReport, build_json
from orchestration.startup.sequence import STEPS, execute_run, open_run
from orchestration.state_dir import journal_path
from orchestration.system.clock import SystemClock, wait_until
from orchestration.system.commands import SystemCommands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.alerts.channel import DeliveryReport
    from orchestration.errors import Check
    from orchestration.journal import RunRecord, StepRecord
    from orchestration.startup.run import Run

_TEST_ALERT_TIMEOUT_S = 15.0
_RESTART_LOOK_S = 0.2
_STATUSES = frozenset(one.value for one in StepStatus)
_RESTART_MARGIN_S = 60.0


class StepLine:
    """The steps named on one command line: one run, opened by the first that acts and closed by the last.

    Attributes:
        names: The steps' names, in the order in which they were typed.
    """

    def __init__(self, names: tuple[str, ...], *, as_json: bool) -> None:
        self.names = names
        self._steps = tuple(step for name in names for step in STEPS if step.name == name)
        self._done = 0
        self._run: Run | None = None
        self._as_json = as_json

    def perform(self, name: str) -> int:
        """Perform the next step; returns the exit code that the program must end with now, 0 to go on."""
        if self._run is None:
            spec = RunSpec(kind=" ".join(self.names) if self.names != _ALL else "startup", steps=self._steps)
            self._run = open_run(spec, console.build_display(as_json=self._as_json))
        self._run.perform(next(step for step in self._steps if step.name == name))
        self._done += 1
        if not self._run.failed and self._done < len(self._steps):
            return 0
        report = self._run.close()
        if self._as_json:
            console.print_json(build_json(report))
        return int(report.exit_code)


_ALL = tuple(step.name for step in STEPS)


def preflight(*, as_json: bool) -> int:
    """`inv preflight`: the table of checks. Changes nothing."""
    instance, checks = run_preflight()
    console.print_checks(checks, as_json=as_json, instance=instance)
    return int(ExitCode.FAILURE if console.has_failed(checks) else ExitCode.SUCCESS)


def run_preflight() -> "tuple[str, Sequence[Check]]":
    """The instance, empty if the configuration is wrong, and what each check found; progress on standard error."""
    from orchestration.alerts.channels import build_channels, read_channel_states
    from orchestration.gateway.runtime_kinds import build_runtime
    from orchestration.journal import JournalReader
    from orchestration.preflight.table import Preflight, build_config_failure, name_missing_files, run_checks

    instance = ""
    try:
        settings = load_settings()
        instance = settings.instance
        commands, clock = SystemCommands(), SystemClock()
        journal = JournalReader(journal_path(settings.state_dir))
        alert_channels = read_channel_states(journal, build_channels(settings))
        checks = run_checks(
            Preflight(
                settings=settings,
                runtime=build_runtime(settings, commands=commands, clock=clock),
                commands=commands,
                clock=clock,
                on_progress=console.warn,
                alert_channels=alert_channels,
            )
        )
    except StartupFailure as failure:
        lenient = Settings.load(lenient=True)
        checks = build_config_failure(name_missing_files(failure, lenient), warnings=lenient.warnings)
    return instance, checks


def check_gameplan_file(path: str, *, at: str | None = None, as_json: bool) -> int:
    """`inv gameplan.check --path FILE`: only judge, as of now or of an instant. 0 valid, 1 not."""
    from orchestration.gameplan import PlanPolicy, check_gameplan

    settings = load_settings_or_explain(as_json=as_json, of_what_runs=False)
    if settings is None:
        return int(ExitCode.FAILURE)
    if not path.strip():
        return refuse("--path: names no file", "Name the plan's file.", as_json=as_json)
    instant = None if at is None else _parse_instant(at)
    if at is not None and instant is None:
        return refuse(
            f"--at: {at[:40]!r} is not an instant with its offset from UTC",
            "Write it like 2026-11-27T09:15:00-05:00, or with Z for UTC.",
            as_json=as_json,
        )
    verdict = check_gameplan(
        Path(expand_home(path)).absolute(), PlanPolicy.from_settings(settings), clock=SystemClock(), at=instant
    )
    if as_json:
        console.print_json(
            {
                "valid": verdict.is_valid,
                "word": verdict.word,
                "message": verdict.message,
                "path": str(verdict.path),
                "strategy": verdict.strategy,
                "date": verdict.date,
                "sha256": verdict.sha256,
                "problems": list(verdict.problems),
                "warnings": list(verdict.warnings),
            }
        )
    else:
        console.print_line(f"{'valid' if verdict.is_valid else verdict.word}: {verdict.message}")
        for problem in verdict.problems:
            console.print_line(f"  {problem}")
        for warning in verdict.warnings:
            console.print_line(f"  warning: {warning}")
    return int(ExitCode.SUCCESS if verdict.is_valid else ExitCode.FAILURE)


def _parse_instant(text: str) -> datetime | None:
    """An aware instant; None for anything else, the ends of the calendar included, which cannot be reckoned with."""
    try:
        instant = datetime.fromisoformat(text.strip().upper())
    except ValueError:
        return None
    is_usable = instant.tzinfo is not None and MINYEAR + 1 < instant.year < MAXYEAR - 1
    return instant if is_usable else None


def write_new_gameplan(*, strategy: str, plan_date: str | None, path: str | None, as_json: bool) -> int:
    """`inv gameplan.new`: a valid plan to start from. Never overwrites. 0 written, 1 not."""
    from orchestration.gameplan import write_new_plan

    settings = load_settings_or_explain(as_json=as_json, of_what_runs=False)
    if settings is None:
        return int(ExitCode.FAILURE)
    try:
        plan = _build_new_plan(strategy, plan_date, settings)
    except ValueError as error:
        problem, remedy = error.args
        return refuse(problem, remedy, as_json=as_json)
    target = Path(expand_home(path)) if path else Path(f"gameplan_{plan['date']}.json")
    try:
        write_new_plan(target, plan)
    except FileExistsError:
        return refuse(f"{target} is there already", "Name another file with --path, or remove it.", as_json=as_json)
    except OSError as error:
        return refuse(f"{target} cannot be written: {error.strerror}", "Name another file.", as_json=as_json)
    if as_json:
        console.print_json({"path": str(target.absolute()), "strategy": plan["strategy"], "date": plan["date"]})
    else:
        console.print_line(f"{target.absolute()}: strategy {plan['strategy']} for {plan['date']}")
        console.print_line(f"edit it, then `inv gameplan.check --path {target}`")
    return int(ExitCode.SUCCESS)


def _build_new_plan(strategy: str, plan_date: str | None, settings: Settings) -> dict[str, Any]:
    """The plan that was asked for.

    Raises:
        ValueError: A flag's value is wrong; with the problem and how to fix it.
    """
    from orchestration.gameplan import build_new_plan, load_calendar

    try:
        chosen = None if plan_date is None else date.fromisoformat(plan_date)
    except ValueError:
        raise ValueError(f"--date: {plan_date!r} is not a date", "Write it like 2026-11-27.") from None
    wanted = strategy.strip().upper()
    if wanted not in {"A", "B", "C"}:
        raise ValueError(f"--strategy: {strategy[:40]!r} is none", "It must be A, B or C.")
    plan = build_new_plan(wanted, chosen, now=SystemClock().now(), calendar=load_calendar(settings))
    if plan is None:
        day = "every day of the next year" if chosen is None else str(chosen)
        raise ValueError(
            f"--date: the market is closed on {day}",
            "Choose a day on which it is open (MARKET_CALENDAR), or strategy C.",
        )
    return plan


def run_steps(
    kind: str,
    steps: tuple[Step, ...],
    *,
    as_json: bool,
    starts: bool = False,
    follows: bool = True,
    respects_hold: bool = True,
) -> int:
    """Run other steps than the start-up's five: what takes something down, or restarts it."""
    spec = RunSpec(kind=kind, steps=steps, starts=starts, follows_record=follows, respects_hold=respects_hold)
    report = execute_run(spec, console.build_display(as_json=as_json))
    if as_json:
        console.print_json(build_json(report))
    return int(report.exit_code)


def restart_bot(*, as_json: bool) -> int:
    """`inv bot.restart`: validate again and restart the bot; a supervisor does it where there is one."""
    from orchestration.shutdown import BOT_STOP_FIRST
    from orchestration.state_dir import supervisor_lock_path
    from orchestration.system.lock import read_lock_holder
    from orchestration.system.signals import ask_to_restart

    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    holder = read_lock_holder(supervisor_lock_path(settings.state_dir))
    if holder is None or holder.pid is None or _stands_by(settings):
        return run_steps("bot.restart", (BOT_STOP_FIRST, *STEPS[2:]), as_json=as_json, starts=True)
    if not ask_to_restart(holder.pid):
        return refuse(
            f"the supervisor, {holder}, could not be asked: it belongs to another user or has just ended",
            advise("Look at `inv status`, and do it as the user whose supervisor it is.", settings),
            as_json=as_json,
        )
    answer = advise(f"Asked {holder} to restart the bot; `inv status` and `inv logs --of bot -f` show it.", settings)
    if as_json:
        console.print_json({"instance": settings.instance, "asked": holder.pid, "message": answer})
    else:
        console.print_line(answer)
    return int(ExitCode.SUCCESS)


def _stands_by(settings: Settings) -> bool:
    """Whether the supervisor here has no bot to restart, because another host leads (LEASE_ETCD)."""
    if not settings.lease_etcd:
        return False
    from orchestration.lease.held import Role, read_standing

    standing = read_standing(settings)
    return standing is not None and standing.role is Role.STANDBY


def replace_through_supervisor(*, as_json: bool) -> int | None:
    """`inv startup --replace` beside a supervisor, which has it do what was asked: restart its bot, validated.

    Waits for the outcome and returns its exit code; None where no supervisor is at work that could be asked.
    """
    from orchestration.journal import JournalReader
    from orchestration.state_dir import supervisor_lock_path
    from orchestration.system.lock import read_lock_holder
    from orchestration.system.signals import ask_to_restart

    settings = Settings.load(lenient=True)
    clock = SystemClock()
    holder = read_lock_holder(supervisor_lock_path(settings.state_dir))
    asked_at = clock.now()
    if holder is None or holder.pid is None or _stands_by(settings) or not ask_to_restart(holder.pid):
        return None
    console.warn(f"A supervisor watches this system, {holder}: it restarts the bot and keeps watching.")
    journal = JournalReader(journal_path(settings.state_dir))
    run: RunRecord | None = None

    def is_settled() -> bool:
        nonlocal run
        is_at_work = read_lock_holder(supervisor_lock_path(settings.state_dir)) is not None
        newer = [one for one in journal.read_runs(5) if one.kind == "restart" and one.started_at >= asked_at]
        run = next((one for one in newer if one.result is not None), None)
        return run is not None or not is_at_work

    timeout_s = settings.bot_stop_timeout_s + _longest_start_s(settings)
    wait_until(is_settled, timeout_s=timeout_s, every_s=_RESTART_LOOK_S, clock=clock)
    if run is None:
        message = f"The supervisor, {holder}, was asked to restart the bot and has not said that it did."
        return _show_asked(settings, message, ExitCode.FAILURE, None, as_json=as_json)
    return _show_asked(settings, run.message, ExitCode(run.exit_code or 0), run, as_json=as_json)


def _longest_start_s(settings: Settings) -> float:
    """Seconds that the validated part of the sequence may take, and some to spare."""
    from orchestration.gateway.soft_restart import measure_longest_restart_s

    waits_s = 2 * settings.gateway_health_timeout_s + settings.gateway_twofa_timeout_s
    waits_s += measure_longest_restart_s(settings.gateway_stop_grace_s)
    return waits_s + settings.bot_start_grace_s + _RESTART_MARGIN_S


def _show_asked(settings: Settings, message: str, code: ExitCode, run: "RunRecord | None", *, as_json: bool) -> int:
    """The outcome of a restart that the supervisor performed, in the shape of a start's report."""
    next_action = "" if code is not ExitCode.FAILURE else advise("Look at `inv status` and `inv history`.", settings)
    if not as_json:
        console.print_line(message)
        if next_action:
            console.print_line(f"next: {next_action}")
        return int(code)
    from orchestration.bot.find import find_bot

    is_known = run is not None and run.failure in FailureWord.__members__
    word = FailureWord(run.failure) if run is not None and run.failure is not None and is_known else None
    if run is None:
        word = FailureWord.INTERNAL_ERROR
    report = Report(
        run_id="" if run is None else run.run_id,
        instance=settings.instance,
        simulated=run is not None and run.simulated,
        failure=word,
        message=message,
        next_action=next_action,
        started_at=SystemClock().now() if run is None else run.started_at,
        duration_s=0.0 if run is None else run.duration_s or 0.0,
        steps=() if run is None else tuple(_build_step(step) for step in run.steps),
        progress=Progress(),
    )
    record = find_bot(settings).record
    document = build_json(report, exit_code=int(code))
    if run is not None:
        document |= {"result": run.result, "fallback": run.fallback}
    if record is not None:
        document["bot"] = {
            "pid": record.pid,
            "log": None if record.log is None else str(record.log),
            "ready_by": record.ready_by,
            "container": record.container or None,
        }
    console.print_json(document)
    return int(code)


def _build_step(step: "StepRecord") -> StepReport:
    return StepReport(
        name=step.name,
        state=State(step.state),
        # One that was killed in it has a word of the journal's own.
        status=StepStatus(step.status) if step.status in _STATUSES else StepStatus.FAIL,
        started_at=step.started_at,
        duration_s=step.duration_s,
        detail=step.detail,
    )


def refuse(message: str, next_action: str, *, as_json: bool) -> int:
    """Say why a command did not do what it was asked for: in words, or in a JSON document."""
    console.warn(message)
    console.warn(f"next: {next_action}")
    if as_json:
        console.print_json({"exit_code": int(ExitCode.FAILURE), "message": message, "next_action": next_action})
    return int(ExitCode.FAILURE)


def hold(reason: str, *, as_json: bool) -> int:
    """`inv hold`: say that the system stays down, then take it down."""
    from orchestration.bot.watched_bot import refuse_to_touch
    from orchestration.commands.failover import hold_everywhere
    from orchestration.hold import write_hold
    from orchestration.shutdown import BOT_STOP_FIRST, GATEWAY_STOP

    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    try:
        refuse_to_touch(settings)
        held = write_hold(settings.state_dir, reason=reason, now=SystemClock().now())
    except StartupFailure as failure:
        return refuse(failure.message, failure.next_action, as_json=as_json)
    except OSError as error:
        return refuse(
            f"the hold could not be written to {settings.state_dir}: {error.strerror}; nothing was stopped",
            advise("Fix that, or stop the system without a hold: `inv shutdown`.", settings),
            as_json=as_json,
        )
    (console.warn if as_json else console.print_line)(advise(f"The system is {held}. `inv resume` ends it.", settings))
    # Before anything is stopped here: another host must not take over what is given up.
    problem = hold_everywhere(settings, str(held))
    if problem:
        console.warn(problem)
    code = run_steps("hold", (BOT_STOP_FIRST, GATEWAY_STOP), as_json=as_json)
    return code or int(ExitCode.FAILURE if problem else ExitCode.SUCCESS)


def resume(*, as_json: bool) -> int:
    """`inv resume`: the system may be started again, also by a boot service that gave up; this starts nothing."""
    from orchestration.commands.failover import resume_everywhere
    from orchestration.hold import clear_hold
    from orchestration.hostservice import attempts

    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    try:
        held = clear_hold(settings.state_dir)
        gave_up = attempts.read(settings.state_dir).has_given_up
        attempts.clear(settings.state_dir)
    except OSError as error:
        return refuse(
            f"the hold in {settings.state_dir} could not be removed: {error.strerror}",
            "Do it as the user who wrote it.",
            as_json=as_json,
        )
    problem = resume_everywhere(settings)
    if problem:
        console.warn(problem)
    if as_json:
        console.print_json(
            {"instance": settings.instance, "was_held": None if held is None else dataclasses.asdict(held)}
        )
    else:
        was = f"It was {held}." if held else "The system was not held."
        again = " The boot service, which had given up, may try again." if gave_up else ""
        then = " `inv startup` starts it." if held or gave_up else ""
        console.print_line(advise(f"{was}{again}{then}", settings))
    return int(ExitCode.FAILURE if problem else ExitCode.SUCCESS)


def test_alert(*, as_json: bool) -> int:
    """`inv alert.test`: send one alert and say what became of it. 0 delivered, 1 not."""
    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    outcome = send_test_alert(settings)
    problem = describe_test_alert(outcome)
    if as_json:
        channels = [{"name": name, "delivered": why is None, "problem": why} for name, why in outcome if name]
        console.print_json(
            {"instance": settings.instance, "delivered": problem is None, "problem": problem, "channels": channels}
        )
    elif problem is None:
        where = f" to {', '.join(name for name, _ in outcome)}" if len(outcome) > 1 else ""
        console.print_line(f"The test alert was delivered{where}.")
    else:
        reached = [name for name, why in outcome if why is None]
        console.warn(f"The test alert was not delivered: {problem}")
        if reached:
            console.print_line(f"It was delivered to {', '.join(reached)}.")
    return int(ExitCode.SUCCESS if problem is None else ExitCode.FAILURE)


def describe_test_alert(outcome: "Sequence[tuple[str, str | None]]") -> str | None:
    """Why a test alert did not arrive everywhere; None if it did."""
    return "; ".join(f"{name}: {why}" if len(outcome) > 1 else why for name, why in outcome if why) or None


def send_test_alert(settings: Settings) -> tuple[tuple[str, str | None], ...]:
    """Send it to every channel. Each one's name, and why it did not arrive there, or None."""
    import logging
    import socket

    from orchestration.alerts.alert import Alert, Severity
    from orchestration.alerts.channels import NO_CHANNEL, build_channels
    from orchestration.alerts.delivery import Delivery
    from orchestration.journal import Journal
    from orchestration.redaction import Redactor

    channels = build_channels(settings)
    if not channels:
        return (("", NO_CHANNEL),)
    if all(one.problem for one in channels):
        return tuple((one.name, one.problem) for one in channels)
    clock, log = SystemClock(), logging.getLogger("orchestration.alerts")
    redactor = Redactor(settings.secrets)
    with Journal.open(journal_path(settings.state_dir), clock=clock, log=log, redactor=redactor) as journal:
        delivery = Delivery(
            channels=channels,
            heartbeat=None,
            outbox=journal,
            clock=clock,
            redactor=redactor,
            log=log,
        )
        delivery.forget_channel_problem()
        delivery.send(
            Alert(
                severity=Severity.INFO,
                title="Test alert",
                message="If you can read this, alerts of this instance reach you.",
                host=socket.gethostname(),
                instance=settings.instance,
                run_id="",
                step="alert.test",
                cause="ALERT_TEST",
                next_action="Nothing to do.",
                at=clock.now(),
            ),
            is_test=True,
        )
        report = delivery.close(timeout_s=_TEST_ALERT_TIMEOUT_S)
    return tuple((one.channel, _describe_test(one)) for one in report.channels)


def _describe_test(report: "DeliveryReport") -> str | None:
    """Why the test alert did not reach a channel, or None."""
    if report.pending or report.failed or not report.delivered:
        return report.problem or "it waits while another process sends what came before it"
    return None
