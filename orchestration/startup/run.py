"""One run: opened, performed step by step, closed. The one place where exceptions become a report.

A run holds the instance's lock from its opening to its end, writes one log and one journal entry, and sends its alerts
beside the steps. Whatever happens, it ends in a report.
"""

import contextlib
import dataclasses
import logging
import secrets
import traceback
from collections.abc import Callable
from pathlib import Path

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.alerts.channels import build_channels, read_channel_states
from orchestration.alerts.delivery import Delivery
from orchestration.bot.record import build_record_path
from orchestration.bot.record import read_record as read_bot_record
from orchestration.bot.watched_bot import refuse_to_touch
from orchestration.errors import FailureWord, StartupFailure, StepStatus
from orchestration.gateway.api import probe_api
from orchestration.gateway.book_reader import read_holdings
from orchestration.gateway.record import locate_api, read_record
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.hold import read_hold, refuse_if_held
from orchestration.hostservice.advice import advise
from orchestration.hostservice.service_end import take_service_end
from orchestration.journal import Journal
from orchestration.lease.held import kept_lease, name_cause, refuse_by_hand, require_lease
from orchestration.logs import open_run_log, prune_logs
from orchestration.preflight.instances import build_find_users
from orchestration.redaction import Redactor, clean_line
from orchestration.settings import GatewayRuntime, Settings
from orchestration.startup.admission import InstanceLocks, end_other_runs, refuse_beside_supervisor
from orchestration.startup.configuration import is_instance_unknown
from orchestration.startup.context import Display, RunSpec, Step, StepContext
from orchestration.startup.orphan import leave_nothing_unwatched
from orchestration.startup.report import Progress, Report, StepReport, build_report, build_stopped_json
from orchestration.startup.run_alerts import RunAlerts
from orchestration.state_dir import find_damaged_files, journal_path
from orchestration.system.children import become_subreaper
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands
from orchestration.system.platform import platform
from orchestration.system.signals import InterruptedBySignal, Interruption
from orchestration.system.stopped import Stopped

_FLUSH_TIMEOUT_S = 10.0  # SPEC A2: at most this much more at exit
_HAND_ON_TIMEOUT_S = 2.0
_SECOND_FACTOR_TOLD = "second_factor_told"
_TELL_AGAIN_S = 3600.0  # as often as under supervision (SPEC W2)


class Run:
    """A run under way. Made by `open_run`; `perform` its steps, then `close` it.

    Attributes:
        run_id: Its id.
        failed: Whether it has failed.
        settings: The configuration that it runs on.
    """

    def __init__(
        self,
        settings: Settings,
        spec: RunSpec,
        *,
        commands: Commands,
        clock: Clock,
        display: Display,
    ) -> None:
        self.settings = self._settings = settings
        self._spec = spec
        self._commands = commands
        self._clock = clock
        self._display = display
        self._started_at = clock.now()
        self._started_s = clock.monotonic_s()
        self.run_id = f"{self._started_at.astimezone():%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
        self._redactor = Redactor(settings.secrets)
        # Preflight tells a start of its settings' warnings; what only stops something has no other place for them.
        self._progress = Progress(
            warnings=(
                *(str(one) for one in find_damaged_files(settings.state_dir)),
                *(() if spec.starts else settings.warnings),
            )
        )
        self._reports: dict[str, StepReport] = {}
        self._failure: StartupFailure | None = None
        self._current: Step | None = None
        self._locks = InstanceLocks(settings, supervisor_lock=spec.supervisor_lock)
        self._held = contextlib.ExitStack()
        self._interruption = Interruption()
        self._open()

    @property
    def failed(self) -> bool:
        """Whether it has failed; no further step is performed then."""
        return self._failure is not None

    def perform(self, step: Step) -> None:
        """Perform one step, unless the run has failed. Never raises for what the step meets."""
        if self.failed:
            return
        started_at, started_s = self._clock.now(), self._clock.monotonic_s()
        self._current = step
        self._teller.step = step.name
        if step.name != "preflight":
            self._teller.ping_start()
        self._display.begin_step(step)
        self._log.info("step %s (%s)", step.name, step.state)
        row = self._journal.start_step(self.run_id, step.name, step.state)
        detail, status = "", StepStatus.FAIL

        def act() -> None:
            nonlocal detail, status
            outcome = step.act(self._context, self._progress)
            self._write_down_stopped(outcome.progress)
            self._progress = outcome.progress
            detail, status = outcome.detail, outcome.status

        self._catch_failures(act)
        if self._failure is not None:
            detail = self._failure.message
        report = StepReport(
            name=step.name,
            state=step.state if self._failure is not None else step.ends_in or step.state,
            status=status,
            started_at=started_at,
            duration_s=self._clock.monotonic_s() - started_s,
            detail=clean_line(detail, self._redactor),
        )
        self._reports[step.name] = report
        self._journal.end_step(row, report.status, report.detail, state=report.state)
        # Why it failed was logged a moment ago.
        detail = "" if self._failure is not None else f": {report.detail}"
        self._log.info("step %s: %s (%s) after %.3f s%s", step.name, status, report.state, report.duration_s, detail)
        self._display.end_step(report)

    def close(self) -> Report:
        """End the run: tidy up after a failure, write it down, tell everybody, let go of everything."""
        if self._failure is not None:
            self._tidy_up()
        report = self._build_report()
        self._journal.end_run(
            self.run_id,
            report.result,
            int(report.exit_code),
            failure=report.failure,
            fallback=report.fallback,
            message=report.message,
        )
        said = "" if report.failure else f": {report.message}"
        self._log.info("result %s, exit code %d%s", report.result, report.exit_code, said)
        self._teller.tell_end(report)
        # Alerts may take some seconds more; the next start need not wait for them.
        self._locks.release()
        self._display.end(report)
        self._held.close()
        return report

    def _open(self) -> None:
        settings = self._settings
        if self._spec.starts:
            become_subreaper(str(build_record_path(settings)))  # for what a bot leaves behind
        self._held.enter_context(self._interruption)
        self._log = logging.getLogger("orchestration.startup.run")
        prefix = "startup" if self._spec.starts else "shutdown"
        run_log = open_run_log(
            settings.log_dir,
            prefix,
            run_id=self.run_id,
            clock=self._clock,
            keep=settings.log_keep,
            redactor=self._redactor,
        )
        self._held.callback(run_log.close)
        prune_logs(settings.log_dir, prefix="bot", keep=settings.log_keep, spare=_bot_logs_in_use(settings))
        self._log_path = run_log.path
        self._journal = Journal.open(
            journal_path(settings.state_dir), clock=self._clock, log=self._log, redactor=self._redactor
        )
        self._held.callback(self._journal.close)
        self._journal.mark_interrupted_runs()
        is_next_try = self._is_next_try()
        # Followed where the spec says so: what is told of a simulated system is marked, whatever the settings say.
        record = read_record(settings.state_dir) if self._spec.follows_record else None
        kind = record.runtime if record is not None else settings.gateway_runtime
        self._is_simulated = kind is GatewayRuntime.SIMULATOR
        self._journal.start_run(
            self.run_id,
            instance=settings.instance,
            kind=self._spec.kind,
            simulated=self._is_simulated,
            pid=platform().own_pid(),
        )
        lease = kept_lease()
        if lease is not None and self._spec.supervises and self._spec.kind != "restart":
            text = (
                f"this host holds the lease of instance {settings.instance}: revision {lease.revision}; {lease.reason}"
            )
            self._journal.add_event(self.run_id, "lease_acquired", {"revision": lease.revision, "message": text})
        self._delivery = Delivery(
            channels=build_channels(settings),
            heartbeat=settings.heartbeat_url,
            outbox=self._journal,
            clock=self._clock,
            redactor=self._redactor,
            log=logging.getLogger("orchestration.alerts"),
        )
        require = self._locks.require if self._spec.may_start else self._locks.require_in_place
        runtime = build_runtime(
            settings,
            commands=self._commands,
            clock=self._clock,
            record=record,
            find_users=build_find_users(settings),
            require_locks=require,
        )
        self._teller = RunAlerts(
            self._delivery,
            settings=settings,
            spec=self._spec,
            run_id=self.run_id,
            clock=self._clock,
            simulated=self._is_simulated,
        )
        self._teller.is_next_try = is_next_try
        self._held.callback(self._flush)
        self._display.begin(
            run_id=self.run_id, instance=settings.instance, simulated=self._is_simulated, steps=self._spec.steps
        )
        self._log.info("instance %s, command %s", settings.instance, self._spec.kind)
        for warning in dict.fromkeys((*settings.warnings, *self._progress.warnings)):
            self._log.warning("%s", warning)
        self._context = StepContext(
            settings=settings,
            clock=self._clock,
            commands=self._commands,
            runtime=runtime,
            probe=probe_api,
            run_id=self.run_id,
            tell=self._teller.tell,
            show=self._show,
            show_wait=self._show_wait,
            log=self._log,
            replaces_bot=self._spec.replaces_bot,
            supervises=self._spec.supervises,
            revalidates=self._spec.revalidates,
            alert_channels=read_channel_states(self._journal, build_channels(settings)),
            require_locks=require,
            read_holdings=lambda: read_holdings(settings, self._clock, locate_api(record, settings)),
        )
        self._note_stopped(self._spec.stopped)
        self._catch_failures(self._go_first)

    def _go_first(self) -> None:
        """Be the only run; refuse if the configuration is wrong, another run is under way, or the system is held."""
        settings = self._settings
        if self._spec.refusal is not None:
            raise self._spec.refusal
        refuse_to_touch(settings)  # before the watcher here is asked to end
        if self._spec.starts:
            self._locks.require_in_place()  # its supervisor's
            spec = self._spec
            if spec.needs_lease:
                if spec.starts_bot:
                    refuse_by_hand(settings)
                require_lease(settings)
            refuse_beside_supervisor(
                settings, supervises=spec.supervises, starts_bot=spec.starts_bot, replaces_bot=spec.replaces_bot
            )
            self._take_lock()
            if self._spec.respects_hold:
                refuse_if_held(settings.state_dir)
            self._teller.tell_begin()
            self._tell_service_end()
        else:
            self._note_stopped(end_other_runs(settings, clock=self._clock, on_progress=self._show))
            self._take_lock()

    def _tell_service_end(self) -> None:
        """Say it where systemd ended the boot service's last run: that run could not."""
        end = take_service_end(self._settings.state_dir)
        if end is None:
            return
        self._progress = dataclasses.replace(self._progress, warnings=(*self._progress.warnings, end.message))
        self._log.warning("%s", end.message)
        self._journal.add_event(self.run_id, "service_ended", {**dataclasses.asdict(end), "message": end.message})
        self._teller.tell(
            AlertContent(
                severity=Severity.ERROR,
                title="Boot service was ended by the system",
                message=end.message,
                cause=end.cause,
                next_action=end.next_action,
            )
        )

    def _note_stopped(self, stopped: tuple[Stopped, ...]) -> None:
        """What ran and was stopped; how a supervisor's bot ended has its supervisor written down."""
        for one in stopped:
            said = self._journal.read_last_event(f"{one.what}_stopped") if one.in_time is None else None
            known = one
            if said is not None and said.detail.get("pid") == one.pid:
                known = dataclasses.replace(one, in_time=said.detail.get("in_time"))
            self._progress = dataclasses.replace(self._progress, stopped=(*self._progress.stopped, known))

    def _write_down_stopped(self, progress: Progress) -> None:
        """What a step stopped: an event each, so that the history says it."""
        for one in progress.stopped[len(self._progress.stopped) :]:
            self._journal.add_event(
                self.run_id, f"{one.what}_stopped", {**build_stopped_json(one), "message": str(one)}
            )

    def _is_next_try(self) -> bool:
        """Whether a boot service tries again within an hour of telling that a second factor was not confirmed.

        systemd starts it again without end, for such a failure is not counted.
        """
        last = self._journal.read_last_run()
        if self._spec.kind != "service" or last is None or last.kind != "service":
            return False
        told = self._journal.read_last_event(_SECOND_FACTOR_TOLD)
        if last.failure != FailureWord.GATEWAY_SECOND_FACTOR or told is None:
            return False
        return abs((self._started_at - told.at).total_seconds()) < _TELL_AGAIN_S

    def _take_lock(self) -> None:
        self._locks.take(purpose=self._spec.kind, since=self._started_at)

    def _catch_failures(self, work: Callable[[], None], *, is_interruptible: bool = True) -> None:
        """The boundary: whatever comes out of a piece of work becomes the run's failure.

        Not a context manager: a signal that came before interrupts at its entry, and none can leave its block out.
        """
        try:
            with self._interruption.allowed() if is_interruptible else contextlib.nullcontext():
                work()
        except StartupFailure as failure:
            self._fail(failure)
        except InterruptedBySignal as interrupted:
            by, next_action = self._explain_interrupt()
            step = self._current.name if self._current else "opening"
            self._fail(
                StartupFailure(
                    FailureWord.INTERRUPTED,
                    f"{interrupted.signal_name} arrived during {step}{by}.",
                    next_action=next_action,
                )
            )
        except Exception as error:  # noqa: BLE001 - the one boundary: a bug must still end in a known state and an alert
            self._log.error("internal error\n%s", traceback.format_exc())
            self._fail(
                StartupFailure(
                    FailureWord.INTERNAL_ERROR,
                    f"{type(error).__name__}: {error}",
                    next_action=f"Report it with the log{f' {self._log_path}' if self._log_path else ''}.",
                )
            )

    def _explain_interrupt(self) -> tuple[str, str]:
        """Which other run asked this one to end, as the end of a sentence, and what to do next."""
        other = self._journal.read_last_run()
        is_asked = other is not None and other.run_id != self.run_id and other.result is None
        by = f", sent by the {other.kind} of process {other.pid}" if other is not None and is_asked else ""
        hold = read_hold(self._settings.state_dir) if self._spec.starts else None
        if hold is not None:
            return f"{by}; the system is {hold}", "If it may run again: `inv resume`, then `inv startup`."
        if other is not None and is_asked and not self._spec.starts:
            return by, f"The {other.kind} goes on with it; `inv status` shows what runs."
        return by, self._describe_what_is_left()

    def _describe_what_is_left(self) -> str:
        step = self._current.name if self._current is not None else ""
        if not self._spec.starts or step == "bot.stop":
            still = "What was asked to end may still be ending, and the rest was not touched"
            return f"{still}: `inv status` shows what runs, `inv {self._spec.kind}` goes on."
        if step and self._settings.gateway_runtime is GatewayRuntime.DOCKER:
            return "No bot is left behind; the gateway's container is left as it is (`inv gateway.down` stops it)."
        return "Nothing half-started is left behind; `inv startup` starts over."

    def _fail(self, failure: StartupFailure) -> None:
        if self._failure is not None:  # tidying up met another one: the first is the cause
            self._log.error("while tidying up: %s: %s", failure.word, failure.message)
            return
        if self._spec.needs_lease:
            failure = name_cause(self._settings, failure)
        self._failure = failure
        if failure.word is FailureWord.GATEWAY_SECOND_FACTOR and not self._teller.is_next_try:
            self._journal.add_event(self.run_id, _SECOND_FACTOR_TOLD)
        self._log.error("%s: %s", failure.word, failure.message)
        for line in failure.evidence:
            self._log.error("  %s", line)
        self._teller.tell_failure(failure)

    def _tidy_up(self) -> None:
        """Leave nothing half-started: no bot that is not validated, no simulated gateway that is not in use."""
        if not self._spec.starts or (self._current is None and not self._would_have_adopted()):
            return  # nothing was started, and what runs is not this run's
        self._catch_failures(self._leave_nothing_unwatched, is_interruptible=False)

    def _leave_nothing_unwatched(self) -> None:
        if not self._locks.is_taken:
            self._take_lock()
        leave_nothing_unwatched(self._context, self._failure.word if self._failure else FailureWord.INTERNAL_ERROR)

    def _would_have_adopted(self) -> bool:
        """Whether a supervising run that could not even begin is the one to look after the bot of an earlier one.

        Not while another run is at work, and not where a wrong setting leaves in doubt whose bot it would be.
        """
        failure = self._failure
        if failure is None or not self._spec.supervises or failure.word is FailureWord.ALREADY_STARTING:
            return False
        return not is_instance_unknown(failure)

    def _build_report(self) -> Report:
        report = build_report(
            run_id=self.run_id,
            instance=self._settings.instance,
            simulated=self._is_simulated,
            failure=self._failure,
            started_at=self._started_at,
            duration_s=self._clock.monotonic_s() - self._started_s,
            steps=tuple((step.name, step.state) for step in self._spec.steps),
            ended=self._reports,
            progress=self._progress,
            log=str(self._log_path) if self._log_path else None,
            redactor=self._redactor,
        )
        return dataclasses.replace(
            report,
            message=advise(report.message, self.settings),
            next_action=advise(report.next_action, self.settings),
        )

    def _show_wait(self, elapsed_s: float, remaining_s: float, text: str) -> None:
        if self._spec.needs_lease:
            require_lease(self._settings)  # a wait for the gateway ends with the lease
        self._display.show_wait(elapsed_s, remaining_s, text)

    def _show(self, text: str) -> None:
        text = clean_line(text, self._redactor)
        self._log.debug("%s", text)
        self._display.show(text)

    def _flush(self) -> None:
        if self._spec.supervises and self._failure is None:
            # A signal is the supervisor's to read, and so are the alerts that are not sent yet.
            self._delivery.close(timeout_s=_HAND_ON_TIMEOUT_S)
            return
        self._interruption.renew(keeps_pending=self._spec.supervises)
        # Interrupted here, the outcome stands; what is not sent yet goes with the next run.
        try:
            with self._interruption.allowed():
                self._delivery.close(timeout_s=_FLUSH_TIMEOUT_S)
        except InterruptedBySignal as interrupted:
            if self._spec.supervises:  # it may stand by after this (LEASE_ETCD), and must hear of it
                self._interruption.hand_on(interrupted)


def _bot_logs_in_use(settings: Settings) -> tuple[Path, ...]:
    """The log of the bot that was launched last: it may still be written, or be wanted after a crash."""
    record = read_bot_record(build_record_path(settings))
    return () if record is None or record.log is None else (record.log,)
