"""The five steps of a start-up. Each one converges: look, decide, act only if needed, look again.

A step gets the context it works at and what the run has made sure of so far, and returns what it is made sure of now.
It raises `StartupFailure` where it cannot go on, and knows nothing of the steps before and after it: what its safety
needs and no earlier step of this run has ensured, it ensures itself.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.bot.adopt import adopt_bot, why_not_adopted
from orchestration.bot.find import BotPresence, find_bot
from orchestration.bot.launch import BotRunning, LaunchRequest, launch_bot
from orchestration.bot.log import read_bot_lines
from orchestration.bot.order_guard import end_guard, has_no_bot
from orchestration.bot.stop import stop_bot
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, FallbackWord, StartupFailure, StepStatus
from orchestration.gateway.container import GatewayStatus, find_inner_address
from orchestration.gateway.holdings import describe_orders
from orchestration.gateway.record import read_record, write_record
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.wait import GatewayReady, check_ready_now, wait_until_ready
from orchestration.hold import refuse_if_held
from orchestration.preflight.engine import refuse_without_credentials
from orchestration.preflight.instances import build_find_users, refuse_conflict, sign_up
from orchestration.preflight.lease import refuse_policy
from orchestration.preflight.table import (
    BOT_CHECK,
    STATE_FILES_CHECK,
    Preflight,
    check_bot_absent,
    is_bot_cut_off,
    raise_first_failure,
    run_checks,
)
from orchestration.preflight.trial import check_trial, find_denied_ports, is_trial
from orchestration.redaction import mask_account
from orchestration.settings import BotRuntime, GatewayRuntime, StartWithOpenOrders
from orchestration.startup.context import StepContext, StepResult
from orchestration.startup.plan_in_force import JudgedPlan, judge_plan, publish_plan
from orchestration.startup.report import (
    Progress,
    describe_connection,
    describe_finish,
    describe_remedy,
    describe_running,
)
from orchestration.startup.wait_events import tell_event
from orchestration.system.endpoint import Endpoint

if TYPE_CHECKING:
    from orchestration.gameplan import ActivePlan

_LAST_WORDS_LINES = 15
SKEW_WARNING_S = 5.0  # SPEC G7
GATEWAY_VALIDATION_MAX_AGE_S = 30.0  # an old bot leaves within BOT_STOP_TIMEOUT, an image is pulled for minutes
_MAX_LAUNCHES = 3


def preflight(context: StepContext, progress: Progress) -> StepResult:
    """S: look at everything before anything is touched."""
    checks = run_checks(
        Preflight(
            settings=context.settings,
            runtime=context.runtime,
            commands=context.commands,
            clock=context.clock,
            holds_lock=True,
            replaces_bot=context.replaces_bot,
            adopts_bot=context.supervises,
            hands_over=not context.supervises,
            on_progress=context.show,
            alert_channels=context.alert_channels,
        )
    )
    for check in checks:
        context.log.info("check %s: %s: %s", check.name, check.status, check.detail)
    raise_first_failure(checks)
    if context.replaces_bot:
        progress = _stop_bot(context, progress, find_bot(context.settings))
    warnings = tuple(
        f"{check.name}: {check.detail}"
        for check in checks
        # A bot that was to be replaced has been: that it ran is no news at the end. Damaged files are told by the run.
        if check.status is StepStatus.WARN and check.name not in {BOT_CHECK, STATE_FILES_CHECK}
    )
    counted = f"{len(checks)} checks, {len(warnings)} warning{'' if len(warnings) == 1 else 's'}"
    return StepResult(
        progress=dataclasses.replace(progress, warnings=(*progress.warnings, *warnings)),
        detail=counted,
        status=StepStatus.WARN if warnings else StepStatus.OK,
    )


def gateway_up(context: StepContext, progress: Progress) -> StepResult:
    """G1, G2: make sure that the gateway runs; leave it alone if it does."""
    _leave_other_runtime(context)
    _sign_up(context)
    before = context.runtime.probe()
    refuse_without_credentials(context.settings, before)
    if before.state is not ContainerState.RUNNING and context.runtime.kind is not GatewayRuntime.EXTERNAL:
        context.tell(
            AlertContent(
                severity=Severity.INFO,
                title="Gateway starting",
                message=f"The gateway ({context.runtime.container_name or context.runtime.kind}) was {before}; "
                "starting it.",
                cause="GATEWAY_STARTING",
                next_action="Have the phone at hand: its login may ask for a second factor.",
                evidence=_read_last_words(context, before),
            )
        )
    started = context.runtime.ensure_started(on_progress=context.show)
    _record_runtime(context)
    refuse_policy(context.settings, context.commands)
    after = context.runtime.probe() if started else before
    name = context.runtime.container_name or f"the {context.runtime.kind} gateway"
    if context.runtime.kind is GatewayRuntime.EXTERNAL:
        detail = "the gateway is managed externally; left alone"
    elif started:
        detail = f"{name} was {before} and has been started"
    else:
        detail = f"{name} is {after.state}; left alone"
    return StepResult(progress=dataclasses.replace(progress, gateway_launched=started), detail=detail)


def _read_last_words(context: StepContext, status: GatewayStatus) -> tuple[str, ...]:
    """What a container that failed said last, before anything is done to it."""
    has_failed = status.state in {ContainerState.EXITED, ContainerState.DEAD} and bool(status.exit_code)
    if context.runtime.kind is not GatewayRuntime.DOCKER or not (has_failed or status.out_of_memory):
        return ()
    return context.runtime.read_log(since=status.log_since, lines=_LAST_WORDS_LINES)


def gateway_wait(context: StepContext, progress: Progress) -> StepResult:
    """G3 to G7: wait until the gateway is truly logged in, and is the one that was meant."""
    was_awaited = False

    def show_wait(elapsed_s: float, remaining_s: float, text: str) -> None:
        nonlocal was_awaited
        was_awaited = True
        context.show_wait(elapsed_s, remaining_s, text)

    gateway = wait_until_ready(
        context.runtime,
        context.settings,
        clock=context.clock,
        probe=context.probe,
        on_event=functools.partial(tell_event, context),
        on_progress=show_wait,
        requires_health_check=False if context.revalidates else None,
    )
    outcome = _judge_gateway(context, progress, gateway)
    return dataclasses.replace(outcome, progress=dataclasses.replace(outcome.progress, gateway_was_awaited=was_awaited))


def gameplan_check(context: StepContext, progress: Progress) -> StepResult:
    """P, C: activate today's valid plan, or the emergency plan. A bad plan is never a failure."""
    from orchestration.gameplan import activate_plan, fall_back_to_strategy_c, find_skew_problem

    judged = None
    problem = find_skew_problem(progress.gateway.skew_s if progress.gateway else None)
    if problem:
        plan = fall_back_to_strategy_c(context.settings, FallbackWord.CLOCK_SKEW, problem, clock=context.clock)
    else:
        judged = judge_plan(context)
        plan = activate_plan(judged.verdict, context.settings, clock=context.clock, run_id=context.run_id)
    publish_plan(context, plan, judged)
    warnings = tuple(f"gameplan: {warning}" for warning in plan.warnings)
    progress = dataclasses.replace(progress, plan=plan, warnings=(*progress.warnings, *warnings))
    if plan.fallback is None:
        return StepResult(
            progress=progress,
            detail=f"strategy {plan.strategy} for {plan.date}, from {plan.source}{_describe_origin(judged)}",
            status=StepStatus.WARN if warnings else StepStatus.OK,
        )
    _tell_fallback(context, progress, plan, plan.fallback)
    # The alert has its limits; the step's detail, which the journal and the log keep, names every problem.
    return StepResult(
        progress=progress, detail=f"Strategy C ({plan.fallback}): {plan.explanation}", status=StepStatus.WARN
    )


def _describe_origin(judged: JudgedPlan | None) -> str:
    taken_over = None if judged is None else judged.taken_over
    return "" if taken_over is None else f": the plan in force, {taken_over}"


def _tell_fallback(context: StepContext, progress: Progress, plan: "ActivePlan", word: FallbackWord) -> None:
    # Only a gateway that was validated in this run is asked: another one may not be the one that is meant.
    message = plan.message
    if progress.gateway is not None:
        message = f"{plan.message.rstrip('.')}. {context.describe_open()}"
    context.tell(
        AlertContent(
            severity=Severity.INFO if plan.is_information else Severity.WARNING,
            title="Strategy C: no trading",
            message=f"The emergency plan is active: {message}",
            cause=word,
            next_action=describe_remedy(word),
            evidence=plan.problems if len(plan.problems) > 1 else (),  # the message names the only one
        )
    )


def bot_start(context: StepContext, progress: Progress) -> StepResult:
    """B: start the bot on the active plan, and wait until it is up."""
    # Looked at again, right before the launch, whatever was found minutes ago.
    presence = find_bot(context.settings)
    if presence.is_found and (context.replaces_bot or is_bot_cut_off(context.settings, presence)):
        progress = _stop_bot(context, progress, presence)
        presence = find_bot(context.settings)
    raise_first_failure((check_bot_absent(presence, adopts_bot=context.supervises),))
    if progress.gateway is None:
        context.show("validating the gateway")
        _sign_up(context)
        gateway = check_ready_now(context.runtime, context.settings, clock=context.clock, probe=context.probe)
        progress = _judge_gateway(context, progress, gateway).progress
        # Not before: the record is all that later commands know of a gateway that an earlier run started.
        _record_validated_runtime(context)
    progress = ensure_current_plan(context, progress) if progress.plan else gameplan_check(context, progress).progress
    plan = progress.plan
    if plan is None or progress.gateway is None:  # both were made sure of above
        raise AssertionError("no bot without a validated gateway and an active plan")
    address = _locate_gateway(context)
    if presence.is_found:
        progress, adopted = _adopt_or_stop(context, progress, presence, plan, address)
        if adopted is not None:
            return StepResult(
                progress=dataclasses.replace(progress, bot=adopted),
                detail=f"{adopted.who}, strategy {plan.strategy}, adopted: it ran already, and nothing changed",
            )
    if not has_no_bot(context.settings, plan.strategy):
        progress = _judge_open_orders(context, progress)
    progress, bot = _launch(context, progress, address)
    if bot is None:
        return _note_withheld(context, progress)
    if bot.is_finished:
        return _note_finished(context, progress, bot)
    said = "said READY" if bot.ready_by == "notify" else f"stayed alive for {context.settings.bot_start_grace_s:g} s"
    strategy = bot.record.strategy
    context.tell(
        AlertContent(
            severity=Severity.INFO,
            title="Bot started",
            message=f"The bot runs as {describe_running(bot)} on strategy {strategy} and {said}.{_describe_guard(bot)}",
            cause="BOT_STARTED",
            next_action="Nothing to do; `inv logs --of bot -f` shows what it does.",
        )
    )
    return StepResult(
        progress=dataclasses.replace(progress, bot=bot),
        detail=f"{bot.who}, strategy {strategy}, {said}; {bot.program}; {describe_connection(bot.is_connected)}"
        + ("; your own bot (BOT_COMMAND), on trial" if is_trial(context.settings) else ""),
    )


def _judge_open_orders(context: StepContext, progress: Progress) -> Progress:
    """START_WITH_OPEN_ORDERS: say that orders were left over, or refuse to start. Unknown counts as open.

    Raises:
        StartupFailure: `OPEN_ORDERS`.
    """
    holdings = context.read_holdings()
    if holdings.orders == ():
        return progress
    orders = describe_orders(holdings, with_amounts=context.settings.show_amounts)
    if holdings.orders is None:
        found = f"Whether orders are open at the broker is {orders}"
        next_action = "Look at the orders in TWS or the broker's app; a read-only gateway (READ_ONLY_API) reports none."
    else:
        found = f"Orders are open at the broker that can still fill: {orders}"
        next_action = "Check whether each of them is still intended; cancel the others in TWS or the broker's app."
    if context.settings.start_with_open_orders is StartWithOpenOrders.REFUSE:
        raise StartupFailure(
            FailureWord.OPEN_ORDERS,
            f"{found}. START_WITH_OPEN_ORDERS is `refuse`, so no bot was started.",
            next_action=f"{next_action} Then `inv startup`.",
        )
    context.tell(
        AlertContent(
            severity=Severity.WARNING,
            title="Start with open orders",
            message=f"{found}. The bot is started all the same (START_WITH_OPEN_ORDERS=warn).",
            cause="OPEN_ORDERS",
            next_action=next_action,
        )
    )
    return dataclasses.replace(progress, warnings=(*progress.warnings, f"orders: {found[:1].lower()}{found[1:]}"))


def _describe_guard(bot: BotRunning) -> str:
    """What keeps a bot on Strategy C from ordering, for people."""
    if not bot.record.guarded:
        return ""
    is_confined = bool(bot.record.denied_ports) or bool(bot.record.container)
    past = "prevented" if is_confined else "detected, not prevented"
    return f" It is behind the order guard: it orders nothing, and going past it is {past}."


def _note_withheld(context: StepContext, progress: Progress) -> StepResult:
    """STRATEGY_C_BOT=none: the gateway is up, and there is no bot."""
    detail = "no bot: on Strategy C none is to run (STRATEGY_C_BOT=none)"
    context.tell(
        AlertContent(
            severity=Severity.INFO,
            title="No bot on Strategy C",
            message="The gateway is ready, and no bot is started on Strategy C (STRATEGY_C_BOT=none).",
            cause="STRATEGY_C_NO_BOT",
            next_action="Nothing to do: a supervisor starts the bot on the next valid trading plan."
            if context.supervises
            else "`inv startup` starts the bot once there is a trading plan.",
        )
    )
    return StepResult(progress=dataclasses.replace(progress, is_bot_withheld=True), detail=detail)


def _note_finished(context: StepContext, progress: Progress, bot: BotRunning) -> StepResult:
    """B4: it ended with exit code 0 and left nothing. That is odd for one that never talked to the gateway."""
    from orchestration.gameplan import load_calendar

    how = describe_finish(bot)
    is_odd = bot.has_connected is False and not load_calendar(context.settings).has_closed(context.clock.now())
    evidence = read_bot_lines(context.settings, bot.record, _LAST_WORDS_LINES) if is_odd else ()
    warning = f"bot: it {how}, and the market has not closed yet"
    if not context.supervises:  # else the supervisor says it
        context.tell(
            AlertContent(
                severity=Severity.WARNING if is_odd else Severity.INFO,
                title="Bot has finished",
                message=f"The bot ({bot.program}) {how}" + (", and the market has not closed yet." if is_odd else "."),
                cause="BOT_FINISHED",
                next_action=f"Read {bot.record.log_hint} for the reason; `inv startup` starts it again."
                if is_odd
                else "Nothing to do; `inv startup` starts it again.",
                evidence=evidence,
            )
        )
    return StepResult(
        progress=dataclasses.replace(
            progress,
            bot=bot,
            warnings=(*progress.warnings, *([warning] if is_odd else [])),
            evidence=evidence,
        ),
        detail=f"finished: the bot ({bot.program}) {how}",
        status=StepStatus.WARN if is_odd else StepStatus.OK,
    )


def _launch(context: StepContext, progress: Progress, address: Endpoint) -> tuple[Progress, BotRunning | None]:
    """Launch the bot on the active plan, or on Strategy C if that plan's day ends before the launch (P8).

    None where no bot is to run on Strategy C.
    """
    from orchestration.gameplan import GameplanError

    for _ in range(_MAX_LAUNCHES):
        plan = progress.plan
        if plan is None:
            raise AssertionError("no launch without an active plan")
        if has_no_bot(context.settings, plan.strategy):
            end_guard(context.settings)
            return progress, None
        try:
            bot = launch_bot(
                context.settings,
                LaunchRequest(
                    clock=context.clock,
                    run_id=context.run_id,
                    gateway=address,
                    denied_ports=find_denied_ports(context.settings),
                    gameplan=plan.path,
                    strategy=plan.strategy,
                    sha256=plan.sha256,
                    supervised=context.supervises,
                    require_locks=context.require_locks,
                    on_progress=context.show,
                    before_start=functools.partial(look_before_launch, context, progress, plan),
                ),
            )
        except GameplanError:
            progress = ensure_current_plan(context, progress)
        else:
            return progress, bot
    raise StartupFailure(
        FailureWord.STRATEGY_C_FAILED,
        f"the plan for the bot changed {_MAX_LAUNCHES} times right before the launch",
        next_action="Look at what else writes to the state folder, or sets this host's clock; then start again.",
    )


def look_before_launch(context: StepContext, progress: Progress, plan: "ActivePlan") -> None:
    """The last look: at the hold, the gateway and the plan, all of which were looked at before what took time.

    Raises:
        StartupFailure: `HELD`; a `GATEWAY_` word.
        GameplanError: The plan must not be given to the bot now.
    """
    from orchestration.gameplan import refuse_outdated

    refuse_if_held(context.settings.state_dir)
    raise_first_failure(tuple(check_trial(context.settings)))  # a real gateway may have come up meanwhile
    validated_s = progress.gateway_validated_s
    if validated_s is not None and context.clock.monotonic_s() - validated_s > GATEWAY_VALIDATION_MAX_AGE_S:
        context.show("validating the gateway once more, right before the launch")
        # Its API is what counts now: whether a health check has to pass was decided when it was validated.
        check_ready_now(
            context.runtime, context.settings, clock=context.clock, probe=context.probe, requires_health_check=False
        )
    refuse_outdated(
        plan, context.settings, clock=context.clock
    )  # last: midnight can pass during the look at the gateway


def ensure_current_plan(context: StepContext, progress: Progress) -> Progress:
    """The active plan, or Strategy C if it must not be given to the bot any more."""
    from orchestration.gameplan import GameplanError, fall_back_to_strategy_c, load_calendar, refuse_outdated

    plan = progress.plan
    if plan is None:
        return progress
    try:
        refuse_outdated(plan, context.settings, clock=context.clock)
    except GameplanError as error:
        is_expected = error.word is FallbackWord.GAMEPLAN_STALE and not load_calendar(context.settings).has_session(
            context.clock.now()
        )
        fallback = fall_back_to_strategy_c(
            context.settings,
            error.word,
            error.message,
            clock=context.clock,
            run_id=context.run_id,
            is_information=plan.is_information or is_expected,
        )
        publish_plan(context, fallback)
        if plan.fallback is None:
            context.show(f"Strategy C ({error.word}): {error.message}")
            _tell_fallback(context, progress, fallback, error.word)
        else:  # the emergency plan was written again: why it is active has been alerted
            fallback = dataclasses.replace(fallback, problems=plan.problems, warnings=plan.warnings)
        return dataclasses.replace(progress, plan=fallback)
    return progress


def _locate_gateway(context: StepContext) -> Endpoint:
    """Where the bot reaches the gateway: from within a container that is somewhere else."""
    settings = context.settings
    if settings.bot_runtime is BotRuntime.DOCKER and context.runtime.kind is GatewayRuntime.DOCKER:
        return find_inner_address(context.runtime.probe(), port=settings.gateway_port)
    return settings.gateway


def _adopt_or_stop(
    context: StepContext, progress: Progress, found: BotPresence, plan: "ActivePlan", address: Endpoint
) -> tuple[Progress, BotRunning | None]:
    """W4: keep the bot that runs if it is just the one that would be started; otherwise stop it gracefully."""
    reason = why_not_adopted(
        found,
        context.settings,
        gateway=address,
        gameplan=plan.path,
        strategy=plan.strategy,
        sha256=plan.sha256,
    )
    if reason is None and found.record is not None:
        context.require_locks()
        context.tell(
            AlertContent(
                severity=Severity.INFO,
                title="Bot adopted",
                message=f"The bot of an earlier run, {found.who}, runs on strategy {plan.strategy} and is kept.",
                cause="BOT_ADOPTED",
                next_action="Nothing to do; `inv logs --of bot -f` shows what it does.",
            )
        )
        return progress, adopt_bot(found.record, context.settings)
    context.show(f"the bot of an earlier run, {found.who}, is restarted: {reason}")
    return _stop_bot(context, progress, found), None


def _judge_gateway(context: StepContext, progress: Progress, gateway: GatewayReady) -> StepResult:
    warnings = list(gateway.warnings)
    if gateway.skew_s is None:
        warnings.append("the gateway did not report its time, so whether this host's clock is right is unknown")
    elif abs(gateway.skew_s) > SKEW_WARNING_S:
        warnings.append(f"the gateway's clock is {gateway.skew_s:+.0f} s from this host's; check the host's time")
    if warnings and context.settings.gateway_watched_by is None:
        context.tell(
            AlertContent(
                severity=Severity.WARNING,
                title="Gateway ready, with warnings",
                message="; ".join(warnings),
                cause="GATEWAY_WARNINGS",
                next_action="Look at each of them; the start continues.",
            )
        )
    accounts = ", ".join(mask_account(account) for account in gateway.accounts)
    latency = "" if gateway.latency_ms is None else f", latency {gateway.latency_ms:.0f} ms"
    return StepResult(
        progress=dataclasses.replace(
            progress,
            gateway=gateway,
            gateway_validated_s=context.clock.monotonic_s(),
            warnings=(*progress.warnings, *(f"gateway: {text}" for text in warnings)),
        ),
        detail=f"logged in: account {accounts}, server version {gateway.server_version}{latency}",
        status=StepStatus.WARN if warnings else StepStatus.OK,
    )


def _stop_bot(context: StepContext, progress: Progress, presence: BotPresence) -> Progress:
    """Stop the bot that was found; the report says which one that was, as it was found before."""
    if not presence.is_found:
        return progress
    context.require_locks()
    context.show(f"stopping the running bot ({presence.who})")
    stopped = stop_bot(
        context.settings, presence, timeout_s=context.settings.bot_stop_timeout_s, on_progress=context.show
    )
    context.log.info("%s", stopped)
    return dataclasses.replace(progress, stopped=(*progress.stopped, stopped))


def _leave_other_runtime(context: StepContext) -> None:
    """End a simulated gateway that this instance started before: it must not hold the real one's port."""
    record = read_record(context.settings.state_dir)
    if record is None or record.runtime is context.runtime.kind or record.runtime is not GatewayRuntime.SIMULATOR:
        return
    other = build_runtime(
        context.settings,
        commands=context.commands,
        clock=context.clock,
        record=record,
        find_users=build_find_users(context.settings),
    )
    if other.probe().state is ContainerState.RUNNING and not find_bot(context.settings).is_found:
        context.show("ending the simulated gateway of an earlier run")
        other.stop_unless_used(timeout_s=10.0, on_progress=context.show)


def _sign_up(context: StepContext) -> None:
    """Let the other instances see whose gateway this is too, before it is touched or relied on."""
    record = context.runtime.build_record()
    refuse_conflict(context.settings, record)
    try:
        sign_up(context.settings, record)
    except OSError as error:
        context.log.warning("GATEWAY_SHARED_DIR: %s cannot be written (%s)", context.settings.gateway_shared_dir, error)


def _record_validated_runtime(context: StepContext) -> None:
    """Record the gateway that was validated, unless it is the simulator that an earlier run started on that port."""
    record = read_record(context.settings.state_dir)
    settings = context.settings
    is_the_simulator = (
        record is not None
        and record.runtime is GatewayRuntime.SIMULATOR
        and (record.host, record.port) == (settings.gateway_host, settings.gateway_port)
    )
    if is_the_simulator and context.runtime.kind is GatewayRuntime.EXTERNAL:
        return
    _leave_other_runtime(context)
    _record_runtime(context)


def _record_runtime(context: StepContext) -> None:
    try:
        write_record(context.settings.state_dir, context.runtime.build_record())
    except OSError as error:
        # A full disk is judged where it matters: no plan can be activated on it.
        context.log.warning("the gateway's record could not be written: %s", error)
