"""The watch after the hand-over: looks at everything, lets the pure machine judge, and does what it decides.

It lives as long as the bot does. It is told of a container's, a connection's and the bot's end by events; once a minute
it looks anyway. What is judged, and how, stands in `orchestration.supervision`; this loop only carries it out.
"""

import logging
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.alerts.heartbeat import Ping
from orchestration.bot.end_record import write_end
from orchestration.bot.find import find_bot
from orchestration.bot.log import read_bot_lines
from orchestration.bot.members import find_members, note_workers
from orchestration.bot.order_guard import LOOPBACK, end_guard, ensure_guard, read_guard
from orchestration.bot.record import build_record_path
from orchestration.bot.stop import end_members, stop_bot
from orchestration.errors import ExitCode, FailureWord, FallbackWord, StartupFailure
from orchestration.gateway.history import StopReason
from orchestration.gateway.holdings import describe_open
from orchestration.gateway.readiness import Sight
from orchestration.gateway.runtime import Start, find_still_running
from orchestration.hold import describe_start
from orchestration.hostservice.advice import advise
from orchestration.lease.held import kept_lease
from orchestration.logs import cut_back
from orchestration.settings import GatewayRuntime
from orchestration.startup.admission import build_lost_lock_failure
from orchestration.startup.plan_in_force import reinstate_plan, withdraw_plan
from orchestration.startup.report import Progress, build_stopped_json
from orchestration.state_dir import startup_lock_path
from orchestration.supervision import Action, Decision, IncidentKind, Memory, Notice, Observation, Rules, Stage, decide
from orchestration.supervision.context import SupervisorContext
from orchestration.supervision.lease_loss import end_without_lease
from orchestration.supervision.observe import Observer, WithheldPlan
from orchestration.supervision.recorder import WatchRecorder
from orchestration.system.lock import HeldLock, LockHeldError, hold_lock, read_lock_holder
from orchestration.system.platform import platform
from orchestration.system.signals import Requests
from orchestration.system.stopped import Stopped

_EVIDENCE_LINES = 20
_BYTES_PER_MB = 1_000_000
# A gateway that was started together with its monitor: a login may take that long, and it was never seen ready before.
_FIRST_LOGIN_GRACE_S = 600.0


def _find_withheld_plan(progress: Progress) -> WithheldPlan | None:
    """The plan on which a run has started no bot, because none is to run on Strategy C; None where that is not so."""
    plan = progress.plan
    if plan is None or not progress.is_bot_withheld:
        return None
    return WithheldPlan(date=date.fromisoformat(plan.date), is_emergency=plan.fallback is not None, sha256=plan.sha256)


class Supervisor:
    """Watches one system until it is told to end, or the system has ended. `run` returns the exit code.

    Args:
        context: What it works with.
        requests: What signals ask for.
        progress: What the start made sure of; nothing for a monitor, which finds its bot itself.
    """

    def __init__(self, context: SupervisorContext, requests: Requests, progress: Progress) -> None:
        bot = progress.bot
        self._context = context
        self._validated = progress.gateway
        self._requests = requests
        self._record = bot.record if bot is not None else None
        self._withheld = _find_withheld_plan(progress)
        self._receiver = bot.receiver if bot is not None else None
        self._has_connected = bot.has_connected if bot is not None else None
        self._ended_key = ""
        self._announced_key = ""
        self._fenced_key = ""
        self._memory = Memory()
        self._rules = Rules.from_settings(context.settings, owns_bot=context.restart is not None)
        self._awaits_first_login: bool | None = None
        self._pinged_s = float("-inf")
        self._gateway_start: Start | None = None
        self._watcher = "monitor" if context.restart is None else "supervisor"
        interval_s = context.settings.monitor_interval_s
        self._recorder = WatchRecorder(
            context.journal, run_id=context.run_id, watcher=self._watcher, interval_s=interval_s, clock=context.clock
        )

    def run(self) -> int:
        """Watch. Returns 0 after a graceful end, 1 after an unplanned one, 78 where manual action is required."""
        self._recorder.begin(pid=platform().own_pid())
        try:
            code = int(self._watch())
        except Exception as error:  # noqa: BLE001 - the watch's boundary: a mistake of ours must not leave a bot unwatched
            code = int(self._end_after_mistake(error))
        self._recorder.end(exit_code=code, ended_by=self._requests.ended_by)
        return code

    def _watch(self) -> ExitCode:
        context = self._context
        with Observer(context.settings, context.runtime, clock=context.clock, validated=self._validated) as observer:
            self._requests.wake = observer.wake
            if self._record is not None:
                observer.watch_bot(self._record, self._receiver, has_connected=self._has_connected)
            elif self._withheld is not None:
                observer.watch_without_bot(self._withheld)
            while True:
                # Cleared before the look: what happens during it is looked at next.
                observer.wake.clear()
                code = self._run_cycle(observer)
                if code is not None:
                    return code

    def _run_cycle(self, observer: Observer) -> ExitCode | None:
        context, requests = self._context, self._requests
        context.host.is_alive()
        if context.lock is not None:
            context.lock.promise_sign(within_s=self._recorder.most_gap_s)
        code = self._judge_end(observer)
        if code is not None:
            return code
        self._follow_record(observer)
        observation = observer.look()
        # What came during the look came perhaps together with the bot's end, which is then no news.
        code = self._judge_end(observer)
        if code is not None:
            return code
        self._watch_by_fence(observation)
        self._follow_plan_file(observation)
        self._note_announcement(observation)
        self._note_bot_end(observation)
        self._gateway_start = None if observation.gateway is None else observation.gateway.start
        self._memory, decision = self._decide(observation)
        for notice in decision.notices:
            self._tell(notice)
        context.host.say_status(decision.status_text)
        context.display.look(observation, decision)
        self._recorder.note(observation, decision, observer.read_kept())
        self._recorder.note_full_login(self._memory.weekly.full_login_at)
        self._do_chores(observation, decision)
        actions = decision.actions
        if requests.take_restart() and Action.RESTART_BOT not in actions:
            actions = (*actions, Action.RESTART_BOT)
        for action in actions:
            code = self._act(action, observer, decision)
            if code is not None:
                return code
        if not actions and not requests.ended_by:
            context.clock.wait(observer.wake, decision.next_look_s)
        return None

    def _note_announcement(self, observation: Observation) -> None:
        """Log once that the bot has said that it is stopping. That is news; it does not make its end a planned one."""
        bot = observation.bot
        if bot.says_stopping and not bot.is_stopping and bot.is_running and bot.key != self._announced_key:
            self._announced_key = bot.key
            self._context.log.info("the bot says that it is stopping (STOPPING=1); this program did not ask it to")

    def _note_bot_end(self, observation: Observation) -> None:
        """Write down how the bot ended, once, for a later request of its status."""
        bot = observation.bot
        if self._record is None or self._context.restart is None or bot.key == self._ended_key:
            return
        if bot.is_running or bot.is_stopping:
            return
        self._ended_key = bot.key
        path = build_record_path(self._context.settings)
        write_end(path, self._record.identity, bot, ended_at=self._context.clock.now())

    def _decide(self, observation: Observation) -> tuple[Memory, Decision]:
        """Judge a look. On the built-in gateway, time may be told to pass faster for it: every patience is shorter."""
        scale = self._context.settings.simulator_time_scale
        if self._awaits_first_login is None:
            grace_s = self._find_first_grace_s(observation) * scale
            self._awaits_first_login = grace_s > 0
            if self._awaits_first_login:
                self._memory = replace(self._memory, grace_until_s=observation.at_s * scale + grace_s)
        memory, decision = decide(self._memory, replace(observation, at_s=observation.at_s * scale), self._rules)
        if self._awaits_first_login and decision.sight is Sight.READY:
            self._awaits_first_login = False
            memory = replace(memory, grace_until_s=float("-inf"))  # what is lost from now on is lost
        return memory, replace(decision, next_look_s=decision.next_look_s / scale)

    def _find_first_grace_s(self, observation: Observation) -> float:
        """For how long a monitor that has just begun waits for a gateway that has just been started.

        A supervisor has seen its gateway ready at the start; a monitor begins beside one that may still log in.
        """
        status = observation.gateway
        is_monitor = self._context.restart is None
        if not is_monitor or status is None or not status.is_up or status.started_at is None:
            return 0.0
        age_s = (self._context.clock.now() - status.started_at).total_seconds()
        return max(0.0, _FIRST_LOGIN_GRACE_S - age_s)

    def _act(self, action: Action, observer: Observer, decision: Decision) -> ExitCode | None:
        self._context.log.info("action: %s", action)
        code = self._judge_post(observer)
        if code is not None:
            return code
        match action:
            case Action.RESTART_GATEWAY:
                self._restart_gateway(decision.on_restart)
            case Action.LOG_IN_GATEWAY:
                self._restart_gateway(decision.on_restart, is_gentle=False)
            case Action.STOP_GATEWAY:
                self._stop_gateway()
            case Action.RESTART_ORDER_GUARD:
                self._restart_order_guard()
            case Action.STOP_BOT:
                self._stop_bot(observer, stays=True)
            case Action.END_FINISHED_WAIT:
                pass  # stay: the machine says when it is time for the next plan
            case Action.END_FAILED:
                self._stop_bot(observer)
                end_members(self._context.settings, self._record)
                end_guard(self._context.settings)
                return ExitCode.FAILURE
            case Action.END_78:
                self._stop_bot(observer)
                return ExitCode.GIVE_UP
            case _:
                return self._restart_bot(observer)
        return None

    def _restart_bot(self, observer: Observer) -> ExitCode | None:
        """Stop the bot gracefully and run the validated sequence again."""
        restart = self._context.restart
        if restart is None:
            return None
        stopped = self._stop_bot(observer, stays=True)
        report = restart()
        if report.failure is FailureWord.INTERRUPTED:
            self._context.host.say_stopping("asked to end during a restart of the bot")
            self._context.display.close()
            self._say_what_was_stopped(stopped, self._requests.ended_by or "a signal")
            return ExitCode.SUCCESS
        bot = report.progress.bot
        withheld = _find_withheld_plan(report.progress)
        if withheld is not None:
            self._record = None
            observer.watch_without_bot(withheld)
            return None
        if bot is None:
            return ExitCode.FAILURE
        self._record = bot.record
        if not bot.is_finished:
            self._recorder.note_bot_started(self._record)
        observer.watch_bot(self._record, bot.receiver, has_connected=bot.has_connected)
        return None

    def _stop_gracefully(self, observer: Observer, signal_name: str) -> ExitCode:
        self._context.log.info("%s: stopping as asked", signal_name)
        stopped = None
        if self._context.restart is not None:
            self._context.host.say_stopping("stopping the bot")
            stopped = self._stop_bot(observer)
        self._context.display.close()
        self._say_what_was_stopped(stopped, signal_name)
        return ExitCode.SUCCESS

    def _say_what_was_stopped(self, stopped: Stopped | None, signal_name: str) -> None:
        """The last words of a graceful end: what was stopped, as it was found before, and what goes on running."""
        context = self._context
        owns_bot = context.restart is not None
        running = list(find_still_running(context.runtime))
        left = find_bot(context.settings)
        # An external gateway is left alone by a shutdown, too.
        can_stop_more = left.is_found or (bool(running) and context.runtime.kind is not GatewayRuntime.EXTERNAL)
        if left.is_found:
            running.insert(0, f"the bot ({left.who}), which nothing watches now")
        rest = f" Still running: {', '.join(running)}." if running else ""
        asked = "Ctrl-C" if signal_name == "SIGINT" else signal_name
        bot = "" if left.is_found else "No bot was running."
        if stopped is not None:
            bot = stopped.sentence
        starts_again = describe_start(context.settings.state_dir) if owns_bot else "`inv monitor` starts again"
        is_bad = owns_bot and (left.is_found or (stopped is not None and stopped.in_time is False))
        self._tell(
            Notice(
                severity=Severity.WARNING if is_bad else Severity.INFO,
                kind=IncidentKind.SUPERVISION_ENDED if stopped is None else IncidentKind.BOT_STOPPED,
                stage=Stage.EVENT,
                title="Supervision ended" if stopped is None else "Bot stopped",
                message=f"The {self._watcher} was asked to end ({asked}). {bot}".rstrip() + rest,
                next_action=f"Nothing to do if intended; {starts_again}."
                + (" `inv shutdown` also stops what still runs." if can_stop_more else ""),
                incident=f"{self._watcher}_ended",
            ),
            facts={} if stopped is None else build_stopped_json(stopped),
        )

    def _judge_end(self, observer: Observer) -> ExitCode | None:
        """End where that is asked for, or where this process may supervise no more."""
        if self._requests.ended_by and not self._has_lost_lease():
            return self._stop_gracefully(observer, self._requests.ended_by)
        return self._judge_post(observer)

    def _judge_post(self, observer: Observer) -> ExitCode | None:
        code = self._judge_lease(observer)
        if code is None and self._has_lost_lock():
            return self._end_without_lock(observer)
        return code

    def _has_lost_lease(self) -> bool:
        lease = kept_lease()
        return lease is not None and bool(lease.loss)

    def _judge_lease(self, observer: Observer) -> ExitCode | None:
        """End where the lease is lost, or is to be given to another host; what was led is stopped then."""
        lease = kept_lease()
        if lease is None or self._context.restart is None:
            return None
        if lease.loss:
            observer.expect_end()
            self._recorder.note_bot_stopped()
            end_without_lease(self._context, lease, self._record)
            return ExitCode.FAILURE
        if lease.handover:
            self._context.log.info("%s: stopping", lease.handover)
            stopped = self._stop_bot(observer, stays=True)
            self._context.journal.add_event(
                self._context.run_id, "lease_released", {"revision": lease.revision, "message": lease.handover}
            )
            self._context.display.close()
            self._say_what_was_stopped(stopped, lease.handover)
            return ExitCode.SUCCESS
        return None

    def _watch_by_fence(self, observation: Observation) -> None:
        """Tell the fence of the bot's processes, once for each bot and then with the chores."""
        lease = kept_lease()
        if lease is None or self._record is None or not observation.bot.is_running:
            return
        is_due = observation.at_s - self._pinged_s >= self._context.settings.monitor_interval_s
        if is_due or self._fenced_key != observation.bot.key:
            self._fenced_key = observation.bot.key
            lease.watch(find_members(self._context.settings, self._record))

    def _follow_plan_file(self, observation: Observation) -> None:
        """Withdraw the published plan while its file is quarantined: the bot keeps it, no other host starts on it."""
        lease, record, plan = kept_lease(), self._record, observation.plan
        if lease is None or record is None or self._context.restart is None:
            return
        candidate = plan.candidate
        is_quarantined = candidate.word is FallbackWord.GAMEPLAN_QUARANTINED and candidate.date == plan.date
        if is_quarantined and not plan.is_emergency and not plan.is_candidate_passed_over:
            withdraw_plan(self._context.settings, lease, plan_date=str(plan.date), clock=self._context.clock)
        elif candidate.word is None and candidate.sha256 == plan.sha256:
            reinstate_plan(self._context.settings, lease, path=record.gameplan, clock=self._context.clock)

    def _has_lost_lock(self) -> bool:
        """Whether another supervisor could be at work by now, because our lock was deleted, replaced or renamed."""
        return self._context.lock is not None and not self._context.lock.is_in_place()

    def _end_without_lock(self, observer: Observer) -> ExitCode:
        """End: no process can see this supervisor any more, and it must not start or restart anything.

        The bot is stopped, unless a new supervisor is at work, whose it is then. The service manager runs everything
        again, with a lock that counts.
        """
        context = self._context
        path = context.lock.path if context.lock is not None else Path()
        holder = read_lock_holder(path)
        stops_bot = context.restart is not None and holder is None
        what = "the bot is stopped" if stops_bot else "the bot is left as it is"
        taken = "" if holder is None else f", and {holder} holds a new one"
        message = f"The lock {path} was deleted, replaced or renamed{taken}. This watch ends; {what}."
        context.log.error("%s", message)
        context.send_alert(
            AlertContent(
                severity=Severity.CRITICAL,
                title="Supervision ended: its lock is gone",
                message=message,
                cause=FailureWord.ALREADY_STARTING,
                next_action="A boot service starts again by itself; otherwise start again by hand. Leave the files in "
                "STATE_DIR alone while the system runs.",
            )
        )
        if stops_bot:
            self._stop_bot(observer)
        return ExitCode.FAILURE

    def _end_after_mistake(self, error: Exception) -> ExitCode:
        """Say it, stop the bot gracefully, and end as a failure: the service manager runs everything again."""
        context = self._context
        context.log.error("internal error\n%s", traceback.format_exc())
        context.send_alert(
            AlertContent(
                severity=Severity.CRITICAL,
                title="Supervision failed",
                message=f"{type(error).__name__}: {error}",
                cause=FailureWord.INTERNAL_ERROR,
                next_action="Report it with the supervisor's log; the bot has been stopped unless this was a monitor.",
            )
        )
        if context.restart is not None:
            self._stop_bot(None)
        return ExitCode.FAILURE

    def _stop_bot(self, observer: Observer | None, *, stays: bool = False) -> Stopped | None:
        """Stop the bot. Returns what was stopped, as it was found before; None if there was none or it still runs.

        Args:
            observer: What watches it.
            stays: Whether this supervisor goes on without it. The service manager must then not be told that the
                service stops: it would ignore a later request to stop, and kill everything when the time for it is up.
        """
        context = self._context
        if observer is not None:
            observer.expect_end()
        presence = find_bot(context.settings)
        if not presence.is_found:
            if not presence.is_unknown and context.restart is not None:
                end_guard(context.settings)
            return None
        self._recorder.note_bot_stopped()
        try:
            stopped = stop_bot(
                context.settings,
                presence,
                timeout_s=context.settings.bot_stop_timeout_s,
                on_progress=context.host.say_status if stays else context.host.say_stopping,
            )
        except StartupFailure as failure:
            # Of a container: no engine, no container; one that outlives its engine is found by the next start.
            context.log.error("the bot could not be stopped: %s", failure)  # noqa: TRY400 - no mistake of ours
            return None
        context.log.info("%s", stopped)
        return stopped if stopped.is_gone else None

    def _restart_gateway(self, notice: Notice | None, *, is_gentle: bool = True) -> None:
        """Restart it, unless another instance has just done so. The alert says who did, and comes from one of them."""
        context = self._context
        try:
            with hold_lock(
                startup_lock_path(context.settings.state_dir),
                purpose="gateway restart",
                since=context.clock.now().isoformat(timespec="seconds"),
            ) as held:
                context.host.say_status("restarting the gateway")
                spared = context.runtime.restart_lost(
                    self._gateway_start,
                    yields=False,
                    on_restart=lambda: self._begin_restart(held, notice),
                    on_progress=self._note_progress,
                    is_gentle=is_gentle,
                )
                if spared is not None:
                    self._tell_no_restart(notice, spared.why, Severity.INFO)
        except LockHeldError as error:
            self._tell_no_restart(notice, f"another run of this instance is at work ({error.holder})", Severity.INFO)
        except (StartupFailure, OSError) as error:
            if self._requests.ended_by:
                context.log.info("the restart of the gateway was given up: %s", error)
                return
            self._tell_no_restart(notice, f"that failed ({error})", Severity.ERROR)

    def _note_progress(self, text: str) -> None:
        """Log how a restart of the gateway gets on. A supervisor that is asked to end waits for it no longer."""
        self._context.host.is_alive()
        self._context.log.info("%s", text)
        if self._requests.ended_by:
            raise StartupFailure(
                FailureWord.INTERRUPTED, f"{self._requests.ended_by} came while it was waited for", next_action=""
            )

    def _begin_restart(self, held: HeldLock, notice: Notice | None) -> None:
        if not held.is_in_place():
            raise build_lost_lock_failure(held.path)
        self._context.log.info("the gateway is restarted")
        if notice is not None:
            self._tell(notice)

    def _tell_no_restart(self, notice: Notice | None, why: str, severity: Severity) -> None:
        self._context.log.log(logging.ERROR if severity is Severity.ERROR else logging.INFO, "not restarted: %s", why)
        if notice is not None:
            self._tell(
                replace(
                    notice,
                    severity=severity,
                    title="Gateway not restarted",
                    message=f"The gateway was due to be restarted, but {why}.",
                )
            )

    def _restart_order_guard(self) -> None:
        """Start it again where the bot expects it: the bot has no other way to the gateway."""
        context, record = self._context, self._record
        if record is None:
            return
        old = read_guard(context.settings)
        try:
            ensure_guard(
                context.settings,
                context.settings.gateway,
                run_id=context.run_id,
                clock=context.clock,
                host=LOOPBACK if old is None else old.host,
                port=record.gateway_port,
            )
        except StartupFailure as failure:
            context.log.error("the order guard could not be restarted: %s", failure)  # noqa: TRY400 - the next look judges it

    def _stop_gateway(self) -> None:
        try:
            timeout_s = self._context.settings.gateway_stop_grace_s
            self._context.runtime.stop(timeout_s=timeout_s, reason=StopReason.LOGIN_REJECTED)
        except StartupFailure as error:
            self._context.log.error("the gateway could not be stopped: %s", error)  # noqa: TRY400 - the next look judges it

    def _follow_record(self, observer: Observer) -> None:
        """A monitor watches whichever bot its instance has."""
        if self._context.restart is not None:
            return
        record = find_bot(self._context.settings).record
        if record is not None and record != self._record:
            self._record = record
            observer.watch_bot(record, yields_socket=True)

    def _do_chores(self, observation: Observation, decision: Decision) -> None:
        """What is due each minute: the heartbeat while all is well, alerts that wait, a log that grows."""
        context = self._context
        if observation.at_s - self._pinged_s < context.settings.monitor_interval_s:
            return
        self._pinged_s = observation.at_s
        if decision.is_well:
            context.delivery.ping(Ping.SUCCESS, exit_code=0)
        context.delivery.resume_sending()
        if self._record is not None and context.restart is not None:
            note_workers(context.settings, self._record)
        if self._record is not None and self._record.log is not None:
            limit_bytes = context.settings.bot_log_max_mb * _BYTES_PER_MB
            if cut_back(self._record.log, limit_bytes=limit_bytes):
                context.log.info("the bot's log was cut back: %s", self._record.log)

    def _tell(self, notice: Notice, *, facts: Mapping[str, Any] | None = None) -> None:
        context = self._context
        notice = replace(
            notice,
            message=advise(notice.message, context.settings),
            next_action=advise(notice.next_action, context.settings),
        )
        evidence: tuple[str, ...] = ()
        is_about_end = notice.kind in {IncidentKind.BOT_ENDED, IncidentKind.BOT_FINISHED}
        if (is_about_end and notice.stage is not Stage.OVER) or notice.kind is IncidentKind.BOT_STOPPED:
            # Nothing looks after it any more: the alert must say what is open at the broker.
            still_open = describe_open(context.read_holdings(), with_amounts=context.settings.show_amounts)
            notice = replace(notice, message=f"{notice.message} {still_open}")
        if is_about_end and notice.severity.rank > Severity.INFO.rank and self._record is not None:
            evidence = read_bot_lines(context.settings, self._record, _EVIDENCE_LINES)
        detail = {
            "stage": notice.stage,
            "incident": notice.incident,
            "severity": notice.severity,
            "title": notice.title,
            "message": notice.message,
            **(facts or {}),
        }
        context.journal.add_event(context.run_id, notice.kind, detail)
        context.display.tell(notice)
        if not self._rules.alerts_about(notice.kind):
            return
        context.send_alert(
            AlertContent(
                severity=notice.severity,
                title=notice.title,
                message=notice.message,
                cause=notice.kind,
                next_action=notice.next_action,
                evidence=evidence,
                incident=notice.incident,
            )
        )
