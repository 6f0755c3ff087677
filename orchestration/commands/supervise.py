"""`--foreground`, `--service` and `inv monitor`: the start-up, and then the watch.

With `--service` (what boot services pass) failed starts and unplanned ends are counted, and what a retry cannot fix is
not tried again: exit code 78 tells the service manager so.
"""

import contextlib
import dataclasses
import functools
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestration import presenter as console
from orchestration.alerts.alert import Alert, Severity
from orchestration.alerts.channels import build_channels
from orchestration.alerts.delivery import Delivery
from orchestration.bot.find import find_bot
from orchestration.bot.record import build_record_path, remove_record
from orchestration.commands import watch_display
from orchestration.commands.views import load_settings_or_explain
from orchestration.errors import ExitCode, FailureWord, StartupFailure
from orchestration.gateway.api import probe_api
from orchestration.gateway.book_reader import read_holdings
from orchestration.gateway.record import locate_api, read_record
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.soft_restart import measure_longest_restart_s
from orchestration.hold import refuse_if_held
from orchestration.hostservice import attempts
from orchestration.hostservice.advice import advise
from orchestration.hostservice.service_end import note_service_end
from orchestration.journal import Journal, JournalReader
from orchestration.lease.held import kept_lease
from orchestration.logs import open_run_log
from orchestration.preflight.instances import build_find_users
from orchestration.redaction import Redactor
from orchestration.settings import GatewayRuntime, Settings
from orchestration.startup.admission import InstanceLocks, ServiceRefusal, build_second, end_supervisor, find_refusal
from orchestration.startup.configuration import load_settings, load_settings_of_what_runs
from orchestration.startup.context import RunSpec
from orchestration.startup.orphan import STOP_LEFT_BEHIND, is_left_behind
from orchestration.startup.report import Progress, Report, build_json, build_report
from orchestration.startup.run import Run
from orchestration.startup.sequence import (
    STEPS,
    StartupOptions,
    execute_run,
    perform_run,
)
from orchestration.state_dir import journal_path, monitor_lock_path, supervisor_lock_path
from orchestration.supervision.context import Restart, SupervisorContext
from orchestration.supervision.host_notifier import HostNotifier, NotifyingDisplay
from orchestration.supervision.supervisor import Supervisor
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from orchestration.system.lock import HeldLock, LockHeldError, hold_lock
from orchestration.system.signals import Requests, let_outcome_stand
from orchestration.system.stopped import Stopped


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Session:
    """What a process that stays has opened before it starts or watches anything.

    Attributes:
        options: What it was asked for.
        clock: Tells the time.
        host: The host's service manager.
        requests: What signals ask for.
        lock: The lock of this supervisor or monitor; None where it could not be taken.
    """

    options: StartupOptions
    clock: SystemClock
    host: HostNotifier
    requests: Requests
    lock: HeldLock | None


# The longest step without a sign of life: fetching an image, beyond its own time-out.
_SILENCE_MARGIN_S = 120.0
_FLUSH_TIMEOUT_S = 10.0
_STOPS = frozenset({"shutdown", "hold", "bot.stop"})  # the kinds of runs by which a person ends another one


def serve(options: StartupOptions) -> int:
    """Start the system, stay with it, and return the exit code."""
    lenient = Settings.load(lenient=True)
    # In the stack Docker would start this program again each minute: it stays, and waits for a reason to try again.
    waits = options.service and _stays_given_up(lenient)
    clock = SystemClock()
    stopped: tuple[Stopped, ...] = ()
    if options.service and not waits:
        refusal = find_refusal(lenient)
        if refusal is not None:
            return _end_refused(options, lenient, refusal, clock)
    with contextlib.ExitStack() as held:
        try:
            lock = _take_watch_lock(held, lenient, supervisor_lock_path(lenient.state_dir), "supervisor", clock)
        except LockHeldError:
            if options.service:
                return _end_refused(options, lenient, build_second(lenient), clock)
            if not options.replace:
                return _refuse_second(options, lenient)
            try:
                lock, stopped = _take_over(held, options, clock)
            except StartupFailure as failure:
                return _refuse(options, failure)
        except OSError:
            # The run refuses for the same reason (`refuse_beside_supervisor`): only it can record and alert that.
            lock = None
        host = held.enter_context(_host(lenient, clock))
        requests = held.enter_context(Requests())
        held.enter_context(_live_page(lenient, clock))
        if waits:
            code = _wait_given_up(lenient, clock, requests)
        else:
            session = _Session(options=options, clock=clock, host=host, requests=requests, lock=lock)
            code = _lead_in_turn(session, functools.partial(_serve, session, stopped))
            if code == ExitCode.GIVE_UP and _stays_given_up(lenient):
                code = _wait_given_up(lenient, clock, requests)
        let_outcome_stand()
        return code


def _lead_in_turn(session: _Session, lead: Callable[[], int]) -> int:
    """Lead at once; of several hosts that carry the instance (LEASE_ETCD), only while this one holds the lease."""
    leased = _find_leased(session)
    if leased is None:
        return lead()
    from orchestration.commands.standby import serve_with_lease

    return serve_with_lease(leased, session.clock, session.host, session.requests, lead)


def _note_interrupted(report: Report, requests: Requests) -> None:
    """A signal that a run took is also the one that ends the standby, which must not begin again."""
    if kept_lease() is not None and report.failure is FailureWord.INTERRUPTED:
        requests.ended_by = requests.ended_by or "a signal"


def _find_leased(session: _Session) -> Settings | None:
    """The configuration of an instance that needs a lease; None for others, and where the start fails anyway."""
    if session.options.simulate or session.lock is None:
        return None
    try:
        settings = load_settings(service=session.options.service)
    except StartupFailure:
        return None
    return settings if settings.lease_etcd else None


def _has_given_up_lease(report: Report | None = None) -> bool:
    """Whether the lease was lost or is to be handed over: an end for that reason is not counted as a failed try."""
    lease = kept_lease()
    if lease is None:
        return False
    is_about_lease = report is not None and report.failure is FailureWord.LEASE_UNAVAILABLE
    return bool(lease.loss or lease.handover) or is_about_lease


def _stays_given_up(settings: Settings) -> bool:
    """Whether this is a container of the stack, and has given up."""
    return settings.in_stack and attempts.read(settings.state_dir).has_given_up


def _wait_given_up(settings: Settings, clock: SystemClock, requests: Requests) -> int:
    """Stay without a bot until there is a reason to try again; then the count is cleared, and Docker restarts this.

    A reason is a gateway that was away and is ready again, or the operator: restarting or recreating the container
    stops this program first.
    """
    past = attempts.read(settings.state_dir)
    console.warn(
        f"No more tries since {past.given_up_since}: {past.given_up}. This container waits until the gateway has been "
        f"away and is ready again, or until `docker restart {settings.bot_container_name}`."
    )
    if not find_bot(settings).is_found:
        remove_record(build_record_path(settings))  # the bot that has ended must not be taken for one that runs
    was_away = False
    while not requests.ended_by:
        is_ready = probe_api(
            settings.gateway,
            client_id=settings.gateway_probe_client_id,
            timeout_s=settings.health_check_timeout_s,
            now=clock.now,
        ).is_ready
        if is_ready and was_away:
            console.warn("The gateway is ready again: the whole sequence is run again.")
            break
        was_away = was_away or not is_ready
        clock.wait(requests.wake, settings.monitor_interval_s)
    attempts.clear(settings.state_dir)
    return int(ExitCode.SUCCESS if requests.ended_by else ExitCode.FAILURE)


def _end_refused(options: StartupOptions, settings: Settings, refusal: ServiceRefusal, clock: SystemClock) -> int:
    """A boot service that starts nothing: shown, and nothing is left behind.

    Again and again on Windows, where a trigger repeats: no log, no run, no alert.
    """
    message, next_action = advise(refusal.message, settings), advise(refusal.next_action, settings)
    console.warn(f"{message} Next: {next_action}")
    with _host(settings, clock) as host:
        if refusal.exit_code is ExitCode.SUCCESS:
            # A service of type notify that ends before it is ready has failed, whatever its exit code.
            host.say_ready(message)
            host.say_stopping(message)
        if options.as_json:
            report = build_report(
                run_id="",  # there is no run
                instance=settings.instance,
                simulated=options.simulate,
                failure=StartupFailure(refusal.word, message, next_action=next_action),
                started_at=clock.now(),
                duration_s=0.0,
                steps=tuple((step.name, step.state) for step in STEPS),
                ended={},
                progress=Progress(),
                log=None,
                redactor=Redactor(settings.secrets),
            )
            console.print_json(build_json(report, exit_code=int(refusal.exit_code)))
        end_what_is_left(as_json=options.as_json)
    return int(refusal.exit_code)


def _take_over(
    held: contextlib.ExitStack, options: StartupOptions, clock: SystemClock
) -> tuple[HeldLock, tuple[Stopped, ...]]:
    """Take the place of the running supervisor, which stops its bot gracefully first (`--foreground --replace`).

    What runs is left alone where this start could not even begin: it would be stopped for nothing.

    Returns:
        The supervisor's lock, and what was stopped.

    Raises:
        StartupFailure: `CONFIG_INVALID`, `HELD`; `ALREADY_STARTING`: it has not ended, or yet another one runs.
    """
    settings = load_settings(simulate=options.simulate)
    refuse_if_held(settings.state_dir)
    stopped = end_supervisor(settings, clock=clock, on_progress=console.warn)
    try:
        return _take_watch_lock(held, settings, supervisor_lock_path(settings.state_dir), "supervisor", clock), stopped
    except LockHeldError as error:
        second = build_second(settings)
        raise StartupFailure(second.word, second.message, next_action=second.next_action) from error


def _refuse_second(options: StartupOptions, settings: Settings) -> int:
    """The operator's start beside a supervisor: recorded, shown and alerted like any other that is refused."""
    second = build_second(settings)
    return _refuse(options, StartupFailure(second.word, second.message, next_action=second.next_action))


def _refuse(options: StartupOptions, refusal: StartupFailure) -> int:
    """A start by hand that does not begin: recorded, shown and alerted like any other that is refused."""
    spec = RunSpec(kind="startup", steps=STEPS, simulate=options.simulate, refusal=refusal)
    report = execute_run(spec, console.build_display(as_json=options.as_json))
    let_outcome_stand()
    if options.as_json:
        console.print_json(build_json(report))
    return int(report.exit_code)


def end_what_is_left(*, as_json: bool = False) -> int:
    """Stop the bot that a supervisor left behind, where nothing else has: what the unit calls after the service's end.

    Where systemd ended the service, that is written down for the next start. Where there is no such bot, or a run is at
    work, nothing else is done, and nothing is left behind: no log, run or alert.

    Args:
        as_json: Whether standard output belongs to another document.

    Returns:
        The exit code.
    """
    try:
        settings = load_settings_of_what_runs()
    except StartupFailure as doubt:
        console.warn(str(doubt))  # whose bot it would be is unknown
        return int(ExitCode.FAILURE)
    note_service_end(settings.state_dir, settings.environ, now=SystemClock().now())
    if not is_left_behind(settings):
        return int(ExitCode.SUCCESS)
    run = Run(
        settings,
        STOP_LEFT_BEHIND,
        commands=SystemCommands(),
        clock=SystemClock(),
        display=console.build_display(as_json=as_json),
    )
    for step in STOP_LEFT_BEHIND.steps:
        run.perform(step)
    return int(run.close().exit_code)


def monitor() -> int:
    """`inv monitor`: the watch alone, for a bot that was started elsewhere. Never touches the bot."""
    # It acts on what it sees: with a default in the place of a wrong value it would restart the wrong gateway.
    settings = load_settings_or_explain(as_json=False, of_what_runs=False)
    if settings is None:
        return int(ExitCode.FAILURE)
    clock = SystemClock()
    with contextlib.ExitStack() as held:
        try:
            lock = _take_watch_lock(held, settings, monitor_lock_path(settings.state_dir), "monitor", clock)
        except LockHeldError:
            return int(ExitCode.FAILURE)
        except OSError as error:
            console.warn(f"STATE_DIR: {monitor_lock_path(settings.state_dir)} cannot be opened ({error.strerror}).")
            return int(ExitCode.FAILURE)
        host = held.enter_context(_host(settings, clock))
        requests = held.enter_context(Requests())
        held.enter_context(_live_page(settings, clock))
        host.say_ready("watching")
        session = _Session(options=StartupOptions(), clock=clock, host=host, requests=requests, lock=lock)
        return _watch(session, settings, restart=None, report=None)


def _serve(session: _Session, stopped: tuple[Stopped, ...]) -> int:
    options, clock, host = session.options, session.clock, session.host
    display = NotifyingDisplay(console.build_display(as_json=options.as_json), host)
    spec = RunSpec(
        kind="service" if options.service else "startup",
        steps=STEPS,
        replaces_bot=options.replace,
        supervises=True,
        simulate=options.simulate,
        service=options.service,
        supervisor_lock=session.lock,
        stopped=stopped,
    )
    report, settings = perform_run(spec, display)
    if settings.gateway_watched_by is not None and report.progress.gateway_was_awaited:
        attempts.clear(settings.state_dir)  # what failed for want of a gateway says nothing about the next try
    _note_interrupted(report, session.requests)
    if report.progress.bot is None and not report.progress.is_bot_withheld:
        code = _judge_failed_start(options, report, clock, host)
        if options.as_json:
            console.print_json(build_json(report, exit_code=code))
        return code
    if options.as_json:
        console.print_json(build_json(report))
    host.say_ready(report.message)

    failed: list[FailureWord] = []

    def restart() -> Report:
        again = dataclasses.replace(
            spec, kind="restart", steps=STEPS[2:], replaces_bot=False, revalidates=True, stopped=()
        )
        report = execute_run(again, display)
        if report.failure is not None:
            failed.append(report.failure)
        _note_interrupted(report, session.requests)
        return report

    code = _watch(session, settings, restart=restart, report=report)
    if not options.service:
        return int(ExitCode.FAILURE) if code == ExitCode.GIVE_UP else code
    return _judge_end(settings, code, failed, clock, report)


def _judge_end(settings: Settings, code: int, failed: Sequence[FailureWord], clock: SystemClock, report: Report) -> int:
    """What a boot service ends with after its watch, and whether it is tried again.

    Args:
        settings: The configuration.
        code: What the watch ended with.
        failed: Why restarts of the bot failed; the last one ended the watch.
        clock: Tells the time.
        report: The start's.
    """
    if _has_given_up_lease():
        return code
    if code == ExitCode.GIVE_UP:
        attempts.note_given_up(settings, "manual action required; the last alert says why", now=clock.now())
    elif code == ExitCode.FAILURE:
        if failed and failed[-1] is FailureWord.HELD:
            return int(ExitCode.SUCCESS)
        if failed:
            outcome = attempts.note_failed_start(settings, failed[-1], now=clock.now())
        else:
            outcome = attempts.note_unplanned_end(settings, now=clock.now())
        return _give_up(settings, outcome, clock, report) or code
    return code


def _watch(session: _Session, settings: Settings, *, restart: Restart | None, report: Report | None) -> int:
    """Open what a supervisor needs, and let it run."""
    clock, as_json = session.clock, session.options.as_json
    log = logging.getLogger("orchestration.supervision.supervisor")
    redactor = Redactor(settings.secrets)
    run_id = report.run_id if report is not None else f"monitor_{clock.now():%Y%m%d_%H%M%S}"
    with (
        open_run_log(
            settings.log_dir,
            "supervisor" if restart is not None else "monitor",
            run_id=run_id,
            clock=clock,
            keep=settings.log_keep,
            redactor=redactor,
        ),
        Journal.open(journal_path(settings.state_dir), clock=clock, log=log, redactor=redactor) as journal,
        contextlib.closing(watch_display.build(settings, as_json=as_json, owns_bot=restart is not None)) as display,
    ):
        delivery = _build_delivery(settings, journal, clock, redactor)
        try:
            record = read_record(settings.state_dir)
            context = SupervisorContext(
                settings=settings,
                runtime=build_runtime(
                    settings,
                    commands=SystemCommands(),
                    clock=clock,
                    record=record,
                    find_users=build_find_users(settings),
                    require_locks=InstanceLocks(settings, supervisor_lock=session.lock).require,
                ),
                clock=clock,
                journal=journal,
                delivery=delivery,
                host=session.host,
                display=display,
                restart=restart,
                run_id=run_id,
                log=log,
                read_holdings=lambda: read_holdings(settings, clock, locate_api(record, settings)),
                lock=session.lock,
            )
            return Supervisor(context, session.requests, report.progress if report is not None else Progress()).run()
        finally:
            delivery.close(timeout_s=_FLUSH_TIMEOUT_S)


def _build_delivery(settings: Settings, journal: Journal, clock: SystemClock, redactor: Redactor) -> Delivery:
    return Delivery(
        channels=build_channels(settings),
        heartbeat=settings.heartbeat_url,
        outbox=journal,
        clock=clock,
        redactor=redactor,
        log=logging.getLogger("orchestration.alerts"),
    )


def _is_ended_by_a_stop(report: Report) -> bool:
    """Whether a stop by hand ended this start: whatever runs `--foreground` is not to start it again."""
    if report.failure is not FailureWord.INTERRUPTED:
        return False
    other = JournalReader(journal_path(Settings.load(lenient=True).state_dir)).read_last_run()
    return other is not None and other.run_id != report.run_id and other.result is None and other.kind in _STOPS


def _judge_failed_start(options: StartupOptions, report: Report, clock: SystemClock, host: HostNotifier) -> int:
    """The exit code of a start that failed, and with `--service` whether it is tried again."""
    if _has_given_up_lease(report):
        return int(report.exit_code)
    if not options.service:
        return int(ExitCode.SUCCESS if _is_ended_by_a_stop(report) else report.exit_code)
    if report.failure is FailureWord.HELD:
        host.say_ready(report.message)  # see `_end_refused`
        host.say_stopping(report.message)
    if report.failure in {FailureWord.INTERRUPTED, FailureWord.HELD}:
        return int(ExitCode.SUCCESS)  # the operator meant it: a graceful end, and not counted
    settings = Settings.load(lenient=True)
    outcome = attempts.note_failed_start(settings, report.failure, now=clock.now())
    return _give_up(settings, outcome, clock, report) or int(report.exit_code)


def _take_watch_lock(
    held: contextlib.ExitStack, settings: Settings, path: Path, purpose: str, clock: SystemClock
) -> HeldLock:
    """Be the only one of this instance that does this.

    Raises:
        LockHeldError: Another process is; that has been said.
        OSError: The lock cannot be opened.
    """
    since = clock.now().isoformat(timespec="seconds")
    try:
        return held.enter_context(hold_lock(path, purpose=purpose, since=since))
    except LockHeldError as error:
        console.warn(f"A {purpose} of instance {settings.instance} is at work already: {error.holder}.")
        raise


@contextlib.contextmanager
def _host(settings: Settings, clock: SystemClock) -> Iterator[HostNotifier]:
    longest_s = max(settings.docker_pull_timeout_s, measure_longest_restart_s(settings.gateway_stop_grace_s))
    silence_s = longest_s + _SILENCE_MARGIN_S
    with contextlib.closing(HostNotifier(settings.environ, clock=clock, silence_s=silence_s)) as host:
        yield host


@contextlib.contextmanager
def _live_page(settings: Settings, clock: SystemClock) -> Iterator[None]:
    """Serve the live page, where one is wanted; the others do not load what it needs."""
    if settings.status_listen is None:
        yield
        return
    from orchestration.commands.status_page import serving_status

    with serving_status(settings, clock, console.warn):
        yield


def _give_up(settings: Settings, outcome: attempts.CountedFailure, clock: SystemClock, report: Report) -> int | None:
    """78 if there is to be no further try, which is said once; None if there is."""
    if not outcome.gives_up:
        return None
    if outcome.is_news:
        log = logging.getLogger("orchestration.supervision.supervisor")
        redactor = Redactor(settings.secrets)
        with Journal.open(journal_path(settings.state_dir), clock=clock, log=log, redactor=redactor) as journal:
            delivery = _build_delivery(settings, journal, clock, redactor)
            delivery.send(
                Alert(
                    severity=Severity.CRITICAL,
                    title="Given up: no further try",
                    message=f"The {'container' if settings.in_stack else 'boot service'} does not try again: "
                    f"{outcome.reason}.",
                    host=socket.gethostname(),
                    instance=settings.instance,
                    run_id=report.run_id,
                    step="supervision",
                    cause="GIVEN_UP",
                    simulated=report.simulated or settings.gateway_runtime is GatewayRuntime.SIMULATOR,
                    next_action=advise("Fix the cause, then `inv startup`.", settings),
                    at=clock.now(),
                )
            )
            delivery.close(timeout_s=_FLUSH_TIMEOUT_S)
    return int(ExitCode.GIVE_UP)
