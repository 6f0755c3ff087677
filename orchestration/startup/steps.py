"""The five steps of a start-up. Each one converges: look, decide, act only if needed, look again.

A step gets the desk it works at and what the run has made sure of so far, and returns what it is made sure of now.
It raises `StartupFailure` where it cannot go on, and knows nothing of the steps before and after it: what its safety
needs and nobody has made sure of in this run, it makes sure of itself.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

from orchestration.alerts.alert import Severity
from orchestration.bot.adopt import adopt_bot, why_not_adopted
from orchestration.bot.find import FoundBot, find_bot
from orchestration.bot.launch import BotRunning, launch_bot
from orchestration.bot.order_guard import end_guard, has_no_bot
from orchestration.bot.output import read_bot_lines
from orchestration.bot.stop import stop_bot
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, FallbackWord, StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.inside import InnerAddress, find_inner_address
from orchestration.gateway.record import read_record, write_record
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.wait import GatewayReady, WaitEvent, WaitEventKind, check_ready_now, wait_until_ready
from orchestration.hold import refuse_if_held
from orchestration.preflight.engine import refuse_without_credentials
from orchestration.preflight.instances import build_find_users, refuse_conflict, sign_up
from orchestration.preflight.table import (
    BOT_CHECK,
    STATE_FILES_CHECK,
    Preflight,
    check_bot_absent,
    raise_first_failure,
    run_checks,
)
from orchestration.preflight.trial import check_trial, find_denied_ports, is_trial
from orchestration.redaction import mask_account
from orchestration.settings import BotRuntime, GatewayRuntime
from orchestration.startup.context import Desk, Outcome
from orchestration.startup.report import (
    Progress,
    StepStatus,
    build_stopped_bot,
    describe_connection,
    describe_finish,
    describe_remedy,
    describe_running,
)

if TYPE_CHECKING:
    from orchestration.gameplan import ActivePlan

_LAST_WORDS_LINES = 15
SKEW_WARNING_S = 5.0  # SPEC G7
SKEW_LIMIT_S = 60.0  # SPEC G7: beyond it "today" is in doubt
GATEWAY_VALIDATION_MAX_AGE_S = 30.0  # an old bot leaves within BOT_STOP_TIMEOUT, an image is pulled for minutes
_MAX_LAUNCHES = 3


def preflight(desk: Desk, progress: Progress) -> Outcome:
    """S: look at everything before anything is touched."""
    checks = run_checks(
        Preflight(
            settings=desk.settings,
            runtime=desk.runtime,
            commands=desk.commands,
            clock=desk.clock,
            holds_lock=True,
            replaces_bot=desk.replaces_bot,
            adopts_bot=desk.supervises,
            hands_over=not desk.supervises,
            on_progress=desk.show,
            alert_channels=desk.alert_channels,
        )
    )
    for check in checks:
        desk.log.info("check %s: %s: %s", check.name, check.status, check.detail)
    raise_first_failure(checks)
    if desk.replaces_bot:
        progress = _stop_running_bot(desk, progress)
    warnings = tuple(
        f"{check.name}: {check.detail}"
        for check in checks
        # A bot that was to be replaced has been: that it ran is no news at the end. Damaged files are told by the run.
        if check.status is StepStatus.WARN and check.name not in {BOT_CHECK, STATE_FILES_CHECK}
    )
    counted = f"{len(checks)} checks, {len(warnings)} warning{'' if len(warnings) == 1 else 's'}"
    return Outcome(
        progress=dataclasses.replace(progress, warnings=(*progress.warnings, *warnings)),
        detail=counted,
        status=StepStatus.WARN if warnings else StepStatus.OK,
    )


def gateway_up(desk: Desk, progress: Progress) -> Outcome:
    """G1, G2: make sure that the gateway runs; leave it alone if it does."""
    _leave_other_runtime(desk)
    _sign_up(desk)
    before = desk.runtime.probe()
    refuse_without_credentials(desk.settings, before)
    if before.state is not ContainerState.RUNNING and desk.runtime.kind is not GatewayRuntime.EXTERNAL:
        desk.tell(
            Severity.INFO,
            "Gateway starting",
            f"The gateway ({desk.runtime.container_name or desk.runtime.kind}) was {before}; starting it.",
            cause="GATEWAY_STARTING",
            next_action="Have the phone at hand: its login may ask for a second factor.",
            evidence=_read_last_words(desk, before),
        )
    started = desk.runtime.ensure_started(on_progress=desk.show)
    _record_runtime(desk)
    after = desk.runtime.probe()
    name = desk.runtime.container_name or f"the {desk.runtime.kind} gateway"
    if desk.runtime.kind is GatewayRuntime.EXTERNAL:
        detail = "the gateway is managed externally; left alone"
    elif started:
        detail = f"{name} was {before} and has been started"
    else:
        detail = f"{name} is {after.state}; left alone"
    return Outcome(progress=dataclasses.replace(progress, gateway_launched=started), detail=detail)


def _read_last_words(desk: Desk, status: GatewayStatus) -> tuple[str, ...]:
    """What a container that failed said last, before anything is done to it."""
    has_failed = status.state in {ContainerState.EXITED, ContainerState.DEAD} and bool(status.exit_code)
    if desk.runtime.kind is not GatewayRuntime.DOCKER or not (has_failed or status.out_of_memory):
        return ()
    return desk.runtime.read_log(since=status.log_since, lines=_LAST_WORDS_LINES)


def gateway_wait(desk: Desk, progress: Progress) -> Outcome:
    """G3 to G7: wait until the gateway is truly logged in, and is the one that was meant."""
    was_awaited = False

    def show_wait(elapsed_s: float, remaining_s: float, text: str) -> None:
        nonlocal was_awaited
        was_awaited = True
        desk.show_wait(elapsed_s, remaining_s, text)

    gateway = wait_until_ready(
        desk.runtime,
        desk.settings,
        clock=desk.clock,
        probe=desk.probe,
        on_event=lambda event: _tell_event(desk, event),
        on_progress=show_wait,
        requires_health_check=False if desk.revalidates else None,
    )
    outcome = _judge_gateway(desk, progress, gateway)
    return dataclasses.replace(outcome, progress=dataclasses.replace(outcome.progress, gateway_was_awaited=was_awaited))


def gameplan_check(desk: Desk, progress: Progress) -> Outcome:
    """P, C: activate today's valid plan, or the emergency plan. A bad plan is never a failure."""
    from orchestration.gameplan import activate_plan, check_from_settings, fall_back_to_strategy_c, hold_until_its_day

    skew_s = progress.gateway.skew_s if progress.gateway else None
    if skew_s is not None and abs(skew_s) > SKEW_LIMIT_S:
        plan = fall_back_to_strategy_c(
            desk.settings,
            FallbackWord.CLOCK_SKEW,
            f"The gateway's clock is {skew_s:+.0f} s from this host's (limit {SKEW_LIMIT_S:.0f} s), "
            "so the date is in doubt.",
            clock=desk.clock,
        )
    else:
        verdict = check_from_settings(desk.settings, clock=desk.clock)
        if desk.supervises:
            verdict = hold_until_its_day(verdict, desk.settings, clock=desk.clock)
        plan = activate_plan(verdict, desk.settings, clock=desk.clock, run_id=desk.run_id)
    warnings = tuple(f"gameplan: {warning}" for warning in plan.warnings)
    progress = dataclasses.replace(progress, plan=plan, warnings=(*progress.warnings, *warnings))
    if plan.fallback is None:
        return Outcome(
            progress=progress,
            detail=f"strategy {plan.strategy} for {plan.date}, from {plan.source}",
            status=StepStatus.WARN if warnings else StepStatus.OK,
        )
    _tell_fallback(desk, progress, plan, plan.fallback)
    # The alert has its limits; the step's detail, which the journal and the log keep, names every problem.
    return Outcome(
        progress=progress, detail=f"Strategy C ({plan.fallback}): {plan.explanation}", status=StepStatus.WARN
    )


def _tell_fallback(desk: Desk, progress: Progress, plan: "ActivePlan", word: FallbackWord) -> None:
    # Only a gateway that was validated in this run is asked: another one may not be the one that is meant.
    found = desk.read_open() if progress.gateway is not None else None
    message = plan.message if found is None else f"{plan.message.rstrip('.')}. {found}"
    desk.tell(
        Severity.INFO if plan.is_information else Severity.WARNING,
        "Strategy C: no trading",
        f"The emergency plan is active: {message}",
        cause=word,
        next_action=describe_remedy(word),
        evidence=plan.problems if len(plan.problems) > 1 else (),  # the message names the only one
    )


def bot_start(desk: Desk, progress: Progress) -> Outcome:
    """B: start the bot on the active plan, and wait until it is up."""
    if desk.replaces_bot:
        progress = _stop_running_bot(desk, progress)
    # Looked at again, right before the launch, whatever was found minutes ago.
    presence = find_bot(desk.settings)
    raise_first_failure((check_bot_absent(presence, adopts_bot=desk.supervises),))
    if progress.gateway is None:
        desk.show("validating the gateway")
        _sign_up(desk)
        _record_runtime(desk)
        gateway = check_ready_now(desk.runtime, desk.settings, clock=desk.clock, probe=desk.probe)
        progress = _judge_gateway(desk, progress, gateway).progress
    progress = ensure_current_plan(desk, progress) if progress.plan else gameplan_check(desk, progress).progress
    plan = progress.plan
    if plan is None or progress.gateway is None:  # both were made sure of above
        raise AssertionError("no bot without a validated gateway and an active plan")
    address = _locate_gateway(desk)
    if presence.found is not None:
        progress, adopted = _adopt_or_stop(desk, progress, presence.found, plan, address)
        if adopted is not None:
            return Outcome(
                progress=dataclasses.replace(progress, bot=adopted),
                detail=f"{adopted.who}, strategy {plan.strategy}, adopted: it ran already, and nothing changed",
            )
    progress, bot = _launch(desk, progress, address)
    if bot is None:
        return _note_withheld(desk, progress)
    if bot.is_finished:
        return _note_finished(desk, progress, bot)
    said = "said READY" if bot.ready_by == "notify" else f"stayed alive for {desk.settings.bot_start_grace_s:g} s"
    strategy = bot.record.strategy
    desk.tell(
        Severity.INFO,
        "Bot started",
        f"The bot runs as {describe_running(bot)} on strategy {strategy} and {said}.{_describe_guard(bot)}",
        cause="BOT_STARTED",
        next_action="Nothing to do; `inv logs --of bot -f` shows what it does.",
    )
    return Outcome(
        progress=dataclasses.replace(progress, bot=bot),
        detail=f"{bot.who}, strategy {strategy}, {said}; {bot.program}; {describe_connection(bot.is_connected)}"
        + ("; your own bot (BOT_COMMAND), on trial" if is_trial(desk.settings) else ""),
    )


def _describe_guard(bot: BotRunning) -> str:
    """What keeps a bot on Strategy C from ordering, for people."""
    if not bot.record.guarded:
        return ""
    is_confined = bool(bot.record.denied_ports) or bool(bot.record.container)
    past = "prevented" if is_confined else "detected, not prevented"
    return f" It is behind the order guard: it orders nothing, and going past it is {past}."


def _note_withheld(desk: Desk, progress: Progress) -> Outcome:
    """STRATEGY_C_BOT=none: the gateway is up, and there is no bot."""
    detail = "no bot: on Strategy C none is to run (STRATEGY_C_BOT=none)"
    desk.tell(
        Severity.INFO,
        "No bot on Strategy C",
        "The gateway is ready, and no bot is started on Strategy C (STRATEGY_C_BOT=none).",
        cause="STRATEGY_C_NO_BOT",
        next_action="Nothing to do: a supervisor starts the bot on the next valid trading plan."
        if desk.supervises
        else "`inv startup` starts the bot once there is a trading plan.",
    )
    return Outcome(progress=dataclasses.replace(progress, is_bot_withheld=True), detail=detail)


def _note_finished(desk: Desk, progress: Progress, bot: BotRunning) -> Outcome:
    """B4: it ended with exit code 0 and left nothing. That is odd for one that never talked to the gateway."""
    from orchestration.gameplan import load_calendar

    how = describe_finish(bot)
    is_odd = bot.has_connected is False and not load_calendar(desk.settings).has_closed(desk.clock.now())
    evidence = read_bot_lines(desk.settings, bot.record, _LAST_WORDS_LINES) if is_odd else ()
    warning = f"bot: it {how}, and the market has not closed yet"
    if not desk.supervises:  # else the supervisor says it
        desk.tell(
            Severity.WARNING if is_odd else Severity.INFO,
            "Bot has finished",
            f"The bot ({bot.program}) {how}" + (", and the market has not closed yet." if is_odd else "."),
            cause="BOT_FINISHED",
            next_action=f"Read {bot.record.log_hint} for the reason; `inv startup` starts it again."
            if is_odd
            else "Nothing to do; `inv startup` starts it again.",
            evidence=evidence,
        )
    return Outcome(
        progress=dataclasses.replace(
            progress,
            bot=bot,
            warnings=(*progress.warnings, *([warning] if is_odd else [])),
            evidence=evidence,
        ),
        detail=f"finished: the bot ({bot.program}) {how}",
        status=StepStatus.WARN if is_odd else StepStatus.OK,
    )


def _launch(desk: Desk, progress: Progress, address: InnerAddress) -> tuple[Progress, BotRunning | None]:
    """Launch the bot on the active plan, or on Strategy C if that plan's day ends before the launch (P8).

    None where no bot is to run on Strategy C.
    """
    from orchestration.gameplan import GameplanError

    for _ in range(_MAX_LAUNCHES):
        plan = progress.plan
        if plan is None:
            raise AssertionError("no launch without an active plan")
        if has_no_bot(desk.settings, plan.strategy):
            end_guard(desk.settings)
            return progress, None
        try:
            bot = launch_bot(
                desk.settings,
                clock=desk.clock,
                run_id=desk.run_id,
                gateway_host=address.host,
                gateway_port=address.port,
                gateway_network=address.network,
                denied_ports=find_denied_ports(desk.settings),
                gameplan=plan.path,
                strategy=plan.strategy,
                sha256=plan.sha256,
                supervised=desk.supervises,
                require_locks=desk.require_locks,
                on_progress=desk.show,
                before_start=functools.partial(look_before_launch, desk, progress, plan),
            )
        except GameplanError:
            progress = ensure_current_plan(desk, progress)
        else:
            return progress, bot
    raise StartupFailure(
        FailureWord.STRATEGY_C_FAILED,
        f"the plan for the bot changed {_MAX_LAUNCHES} times right before the launch",
        next_action="Look at what else writes to the state folder, or sets this host's clock; then start again.",
    )


def look_before_launch(desk: Desk, progress: Progress, plan: "ActivePlan") -> None:
    """The last look: at the hold, the gateway and the plan, all of which were looked at before what took time.

    Raises:
        StartupFailure: `HELD`; a `GATEWAY_` word.
        GameplanError: The plan must not be given to the bot now.
    """
    from orchestration.gameplan import refuse_outdated

    refuse_if_held(desk.settings.state_dir)
    raise_first_failure(tuple(check_trial(desk.settings)))  # a real gateway may have come up meanwhile
    validated_s = progress.gateway_validated_s
    if validated_s is not None and desk.clock.monotonic_s() - validated_s > GATEWAY_VALIDATION_MAX_AGE_S:
        desk.show("validating the gateway once more, right before the launch")
        # Its API is what counts now: whether a health check has to pass was decided when it was validated.
        check_ready_now(desk.runtime, desk.settings, clock=desk.clock, probe=desk.probe, requires_health_check=False)
    refuse_outdated(plan, desk.settings, clock=desk.clock)  # last: midnight can pass during the look at the gateway


def ensure_current_plan(desk: Desk, progress: Progress) -> Progress:
    """The active plan, or Strategy C if it must not be given to the bot any more."""
    from orchestration.gameplan import GameplanError, fall_back_to_strategy_c, load_calendar, refuse_outdated

    plan = progress.plan
    if plan is None:
        return progress
    try:
        refuse_outdated(plan, desk.settings, clock=desk.clock)
    except GameplanError as error:
        is_expected = error.word is FallbackWord.GAMEPLAN_STALE and not load_calendar(desk.settings).has_session(
            desk.clock.now()
        )
        fallback = fall_back_to_strategy_c(
            desk.settings,
            error.word,
            error.message,
            clock=desk.clock,
            run_id=desk.run_id,
            is_information=plan.is_information or is_expected,
        )
        if plan.fallback is None:
            desk.show(f"Strategy C ({error.word}): {error.message}")
            _tell_fallback(desk, progress, fallback, error.word)
        else:  # the emergency plan was written again: why it is active has been alerted
            fallback = dataclasses.replace(fallback, problems=plan.problems, warnings=plan.warnings)
        return dataclasses.replace(progress, plan=fallback)
    return progress


def _locate_gateway(desk: Desk) -> InnerAddress:
    """Where the bot reaches the gateway: from within a container that is somewhere else."""
    settings = desk.settings
    if settings.bot_runtime is BotRuntime.DOCKER and desk.runtime.kind is GatewayRuntime.DOCKER:
        return find_inner_address(desk.runtime.probe(), port=settings.gateway_port)
    return InnerAddress(host=settings.gateway_host, port=settings.gateway_port, network="")


def _adopt_or_stop(
    desk: Desk, progress: Progress, found: FoundBot, plan: "ActivePlan", address: InnerAddress
) -> tuple[Progress, BotRunning | None]:
    """W4: keep the bot that runs if it is just the one that would be started; otherwise stop it in order."""
    reason = why_not_adopted(
        found,
        desk.settings,
        gateway_host=address.host,
        gateway_port=address.port,
        gateway_network=address.network,
        gameplan=plan.path,
        strategy=plan.strategy,
        sha256=plan.sha256,
    )
    if reason is None and found.record is not None:
        desk.require_locks()
        desk.tell(
            Severity.INFO,
            "Bot adopted",
            f"The bot of an earlier run, {found.who}, runs on strategy {plan.strategy} and is kept.",
            cause="BOT_ADOPTED",
            next_action="Nothing to do; `inv logs --of bot -f` shows what it does.",
        )
        return progress, adopt_bot(found.record, desk.settings)
    desk.show(f"the bot of an earlier run, {found.who}, is restarted: {reason}")
    return _stop_running_bot(desk, progress), None


def _judge_gateway(desk: Desk, progress: Progress, gateway: GatewayReady) -> Outcome:
    warnings = list(gateway.warnings)
    if gateway.skew_s is None:
        warnings.append("the gateway did not report its time, so whether this host's clock is right is unknown")
    elif abs(gateway.skew_s) > SKEW_WARNING_S:
        warnings.append(f"the gateway's clock is {gateway.skew_s:+.0f} s from this host's; check the host's time")
    if warnings and desk.settings.gateway_watched_by is None:
        desk.tell(
            Severity.WARNING,
            "Gateway ready, with warnings",
            "; ".join(warnings),
            cause="GATEWAY_WARNINGS",
            next_action="Look at each of them; the start continues.",
        )
    accounts = ", ".join(mask_account(account) for account in gateway.accounts)
    latency = "" if gateway.latency_ms is None else f", latency {gateway.latency_ms:.0f} ms"
    return Outcome(
        progress=dataclasses.replace(
            progress,
            gateway=gateway,
            gateway_validated_s=desk.clock.monotonic_s(),
            warnings=(*progress.warnings, *(f"gateway: {text}" for text in warnings)),
        ),
        detail=f"logged in: account {accounts}, server version {gateway.server_version}{latency}",
        status=StepStatus.WARN if warnings else StepStatus.OK,
    )


_EVENT_SEVERITY = {
    WaitEventKind.SECOND_FACTOR_NEEDED: Severity.CRITICAL,  # somebody must take a phone in hand now
    WaitEventKind.SESSION_TAKEN: Severity.ERROR,
    WaitEventKind.LOGIN_IDLE: Severity.WARNING,
    WaitEventKind.RESTARTING: Severity.WARNING,
    WaitEventKind.LINK_DOWN: Severity.WARNING,
    WaitEventKind.FARMS_BROKEN: Severity.WARNING,
}

_EVENT_TITLE = {
    WaitEventKind.SECOND_FACTOR_NEEDED: "Second factor needed",
    WaitEventKind.SESSION_TAKEN: "Session taken over elsewhere",
    WaitEventKind.LOGIN_IDLE: "No login is under way",
    WaitEventKind.RESTARTING: "Gateway restart attempted",
    WaitEventKind.LINK_DOWN: "Gateway has no link to the broker",
    WaitEventKind.FARMS_BROKEN: "Data farms broken",
}


def _tell_event(desk: Desk, event: WaitEvent) -> None:
    desk.log.info("%s: %s", event.kind, event.message)
    severity = _EVENT_SEVERITY.get(event.kind)
    if severity is None:
        desk.show(event.message)
        return
    for line in event.evidence:
        desk.show(f"| {line}")
    desk.show(f"{_EVENT_TITLE[event.kind]}: {event.message}")
    if desk.settings.gateway_watched_by is not None:
        return  # who watches the gateway alerts about it
    desk.tell(
        severity,
        _EVENT_TITLE[event.kind],
        event.message,
        cause=event.kind,
        next_action=event.next_action
        or "Nothing to do yet: the start keeps waiting, and another alert says how it ended.",
        evidence=event.evidence,
    )


def _stop_running_bot(desk: Desk, progress: Progress) -> Progress:
    """Stop the bot that runs; the report says which one that was, as it was found before."""
    presence = find_bot(desk.settings)
    if presence.found is None:
        return progress
    desk.require_locks()
    looked_at = desk.clock.now()
    desk.show(f"stopping the running bot ({presence.found.who})")
    outcome = stop_bot(desk.settings, presence.found, timeout_s=desk.settings.bot_stop_timeout_s, on_progress=desk.show)
    stopped = build_stopped_bot(presence.found, looked_at, in_time=outcome.in_time)
    desk.log.info("%s", stopped)
    return dataclasses.replace(progress, stopped=(*progress.stopped, stopped))


def _leave_other_runtime(desk: Desk) -> None:
    """End a simulated gateway that this instance started before: it must not hold the real one's port."""
    record = read_record(desk.settings.state_dir)
    if record is None or record.runtime is desk.runtime.kind or record.runtime is not GatewayRuntime.SIMULATOR:
        return
    other = build_runtime(
        desk.settings,
        commands=desk.commands,
        clock=desk.clock,
        record=record,
        find_users=build_find_users(desk.settings),
    )
    if other.probe().state is ContainerState.RUNNING and find_bot(desk.settings).found is None:
        desk.show("ending the simulated gateway of an earlier run")
        other.stop_unless_used(timeout_s=10.0, on_progress=desk.show)


def _sign_up(desk: Desk) -> None:
    """Let the other instances see whose gateway this is too, before it is touched or relied on."""
    record = desk.runtime.build_record()
    refuse_conflict(desk.settings, record)
    try:
        sign_up(desk.settings, record)
    except OSError as error:
        desk.log.warning("GATEWAY_SHARED_DIR: %s cannot be written (%s)", desk.settings.gateway_shared_dir, error)


def _record_runtime(desk: Desk) -> None:
    try:
        write_record(desk.settings.state_dir, desk.runtime.build_record())
    except OSError as error:
        # A full disk is judged where it matters: no plan can be activated on it.
        desk.log.warning("the gateway's record could not be written: %s", error)
