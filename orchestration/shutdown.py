"""Stop the system gracefully, in bounded time: the bot first, then the gateway that this instance owns.

These steps act on what this instance started, as its records say, whatever the environment says now.
"""

import dataclasses
import functools
from collections.abc import Callable
from datetime import datetime

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.bot.find import find_bot
from orchestration.bot.notify import remove_private_folder
from orchestration.bot.order_guard import end_guard
from orchestration.bot.stop import stop_bot
from orchestration.docker.container import DOWN_STATES, ContainerState
from orchestration.errors import FailureWord, StartupFailure, State, StepStatus
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.history import GatewayUser
from orchestration.gateway.runtime import RestartKind, find_still_running
from orchestration.hold import describe_start
from orchestration.settings import GatewayRuntime
from orchestration.startup.context import Step, StepContext, StepResult
from orchestration.startup.report import Progress
from orchestration.state_dir import supervisor_lock_path
from orchestration.system.lock import read_lock_holder
from orchestration.system.stopped import Stopped

_MOST_BOTS = 10  # what starts them faster than they can be stopped must be stopped first


def _stop_the_bot(context: StepContext, progress: Progress, *, is_all: bool) -> StepResult:
    """Stop the bot, or the several that were started by hand; say of each what it was before it was stopped.

    Args:
        context: Dependencies and options.
        progress: Holds what was stopped already, with the supervisor that a stop by hand ends first.
        is_all: Whether nothing else is stopped after it: then what goes on running is said with it.
    """
    settings = context.settings
    presence = find_bot(settings)
    if presence.is_unknown:
        raise StartupFailure(
            FailureWord.BOT_ALREADY_RUNNING,
            f"Unknown whether the bot runs: {presence.detail}",
            next_action=presence.next_action,
        )
    stopped: list[Stopped] = []
    # One, as a rule; several where more were started by hand.
    while presence.is_found and len(stopped) < _MOST_BOTS:
        context.show(f"asking {presence.who} to end (at most {settings.bot_stop_timeout_s:g} s)")
        one = stop_bot(settings, presence, timeout_s=settings.bot_stop_timeout_s, on_progress=context.show)
        if not one.is_gone:
            break
        stopped.append(one)
        presence = find_bot(settings)
        progress = dataclasses.replace(progress, open_at_broker=context.describe_open())
        tell_bot_stopped(
            context.tell,
            one,
            starts_again=describe_start(settings.state_dir),
            still_running=find_still_running(context.runtime) if is_all else (),
            still_open=progress.open_at_broker,
        )
    if not presence.is_found:
        end_guard(settings)  # also one whose bot had ended before
        remove_private_folder(settings.state_dir)
    else:
        raise StartupFailure(
            FailureWord.INTERNAL_ERROR,
            f"The bot, {presence.who}, still runs after it was stopped.",
            next_action="Look at that process: it may be stuck, another user's, or started again by something else.",
        )
    progress = dataclasses.replace(
        progress,
        stopped=(*progress.stopped, *stopped),
        still_running=find_still_running(context.runtime) if is_all else (),
    )
    return StepResult(
        progress=progress,
        detail=_describe_stopped(progress),
        status=StepStatus.WARN if any(one.in_time is False for one in progress.stopped) else StepStatus.OK,
    )


def _describe_stopped(progress: Progress) -> str:
    said = [str(one) for one in progress.stopped]
    if not any(one.what == "bot" for one in progress.stopped):
        said.insert(0, "no bot was running")
    return "; ".join([*said, *_describe_rest(progress.still_running)])


def _describe_rest(still_running: tuple[str, ...]) -> list[str]:
    return [f"still running: {', '.join(still_running)}"] if still_running else []


def tell_bot_stopped(
    tell: Callable[[AlertContent], None],
    stopped: Stopped,
    *,
    starts_again: str,
    still_running: tuple[str, ...],
    still_open: str = "",
) -> None:
    """The alert about a bot that was stopped."""
    rest = f" Still running: {', '.join(still_running)}." if still_running else ""
    tell(
        AlertContent(
            severity=Severity.WARNING if stopped.in_time is False else Severity.INFO,
            title="Bot stopped",
            message=" ".join(part for part in (stopped.sentence + rest, still_open) if part),
            cause="BOT_STOPPED",
            next_action=f"Nothing to do if intended; {starts_again}. Open positions stay as they are.",
        )
    )


def _stop_to_restart(context: StepContext, progress: Progress) -> StepResult:
    """Stop the bot so that it can be started again: not where another run may be starting it."""
    context.require_locks()
    return _stop_the_bot(context, progress, is_all=False)


def _stop_the_gateway(context: StepContext, progress: Progress) -> StepResult:
    runtime = context.runtime
    if runtime.kind is GatewayRuntime.EXTERNAL:
        progress = dataclasses.replace(progress, still_running=find_still_running(runtime))
        return StepResult(
            progress=progress, detail="the gateway is managed externally; left alone", status=StepStatus.SKIP
        )
    before = runtime.probe()
    if before.state in DOWN_STATES:
        return StepResult(progress=progress, detail="the gateway was not running")
    name = _name_gateway(context)
    context.show(f"stopping {name}")
    looked_at = context.clock.now()
    # Read while it can be: a bot that was stopped a moment ago has had it read already.
    progress = dataclasses.replace(progress, open_at_broker=progress.open_at_broker or context.describe_open())
    left = runtime.stop_unless_used(timeout_s=context.settings.gateway_stop_grace_s, on_progress=context.show)
    if left.users:
        detail = f"{name} is left running, for it is in use: {_list_users(left.users)}"
        progress = dataclasses.replace(progress, still_running=(name,))
        return StepResult(progress=progress, detail=detail, status=StepStatus.SKIP)
    _make_sure_it_is_down(context)
    return _say_gateway_stopped(context, progress, before, looked_at, in_time=left.in_time)


def _say_gateway_stopped(
    context: StepContext,
    progress: Progress,
    before: GatewayStatus,
    looked_at: datetime,
    *,
    in_time: bool,
    under: str = "",
) -> StepResult:
    """What was stopped, as it was found before, in the report and in an alert."""
    since = before.started_at
    stopped = Stopped(
        what="gateway",
        who=context.runtime.container_name or context.runtime.kind.value,
        since=since,
        uptime_s=None if since is None else (looked_at - since).total_seconds(),
        in_time=in_time,
    )
    context.tell(
        AlertContent(
            severity=Severity.WARNING if under else Severity.INFO,
            title="Gateway stopped",
            message=" ".join(
                part
                for part in (
                    stopped.sentence,
                    f"It was stopped under {under}." if under else "",
                    progress.open_at_broker,
                )
                if part
            ),
            cause="GATEWAY_STOPPED",
            next_action="Nothing to do if intended; its next start may ask for a new login.",
        )
    )
    return StepResult(
        progress=dataclasses.replace(progress, stopped=(*progress.stopped, stopped)),
        detail=f"{stopped}" + (f": stopped, under {under}" if under else ""),
        status=StepStatus.WARN if under else StepStatus.OK,
    )


def _name_gateway(context: StepContext) -> str:
    return context.runtime.container_name or f"the {context.runtime.kind} gateway"


def _list_users(users: tuple[GatewayUser, ...]) -> str:
    return "; ".join(user.detail for user in users)


def _make_sure_it_is_down(context: StepContext) -> None:
    if context.runtime.probe().state is ContainerState.RUNNING:
        raise StartupFailure(
            FailureWord.INTERNAL_ERROR,
            f"{_name_gateway(context)} still runs after it was stopped.",
            next_action="Look at it with `inv logs --of gateway`; stop it by hand.",
        )


def _refuse_while_used(context: StepContext) -> None:
    """Refuse to stop a gateway that another instance's bot uses."""
    users = context.runtime.find_users()
    if users:
        has_bot = any(user.has_bot for user in users)
        raise StartupFailure(
            FailureWord.BOT_ALREADY_RUNNING if has_bot else FailureWord.ALREADY_STARTING,
            f"Other instances use this gateway: {_list_users(users)}.",
            next_action="Shut them down first (`INSTANCE=… inv shutdown`), or add --force to do it anyway.",
        )


def _refuse_external(context: StepContext) -> None:
    if context.runtime.kind is GatewayRuntime.EXTERNAL:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            "GATEWAY_RUNTIME is `external`: the gateway is managed externally, and this program never touches it.",
            next_action="Stop or restart it where it is run.",
        )


def _gateway_down(context: StepContext, progress: Progress) -> StepResult:
    _refuse_external(context)
    holder = read_lock_holder(supervisor_lock_path(context.settings.state_dir))
    if holder is not None:
        raise StartupFailure(
            FailureWord.ALREADY_STARTING,
            f"A supervisor watches this system and would bring the gateway back: {holder}.",
            next_action="`inv shutdown` stops it, the bot and the gateway gracefully.",
        )
    _refuse_while_used(context)
    return _stop_the_gateway(context, progress)


def _gateway_down_by_force(context: StepContext, progress: Progress) -> StepResult:
    _refuse_external(context)
    before = context.runtime.probe()
    if before.state in DOWN_STATES:
        return StepResult(progress=progress, detail="the gateway was not running")
    looked_at = context.clock.now()
    progress = dataclasses.replace(progress, open_at_broker=context.describe_open())
    users = context.runtime.find_users()
    in_time = context.runtime.stop(timeout_s=context.settings.gateway_stop_grace_s)
    _make_sure_it_is_down(context)
    under = _list_users(users)
    return _say_gateway_stopped(context, progress, before, looked_at, in_time=in_time, under=under)


def _gateway_restart(context: StepContext, progress: Progress) -> StepResult:
    _refuse_external(context)
    if context.runtime.probe().state is ContainerState.RUNNING:
        _refuse_while_used(context)
    return _gateway_restart_by_force(context, progress)


def _gateway_restart_by_force(context: StepContext, progress: Progress) -> StepResult:
    _refuse_external(context)
    name = _name_gateway(context)
    if context.runtime.probe().state is not ContainerState.RUNNING:
        context.runtime.lift_stop()
        context.runtime.ensure_started(on_progress=context.show)
        return StepResult(progress=progress, detail=f"{name} was not running and has been started")
    context.tell(
        AlertContent(
            severity=Severity.WARNING,
            title="Gateway restarted by hand",
            message=f"{name} is being restarted; it may ask for a new login.",
            cause="GATEWAY_RESTARTED",
            next_action="Have the phone at hand for the second factor.",
        )
    )
    context.show(f"restarting {name}")
    kind = context.runtime.restart(on_progress=context.show)
    how = "restarted itself, without a new login" if kind is RestartKind.SOFT else "restarted"
    return StepResult(progress=dataclasses.replace(progress, gateway_launched=True), detail=f"{name} {how}")


BOT_STOP = Step(name="bot.stop", state=State.INITIALIZING, act=functools.partial(_stop_the_bot, is_all=True))
BOT_STOP_FIRST = dataclasses.replace(BOT_STOP, act=_stop_to_restart)
GATEWAY_STOP = Step(name="gateway.stop", state=State.INITIALIZING, act=_stop_the_gateway)
GATEWAY_DOWN = Step(name="gateway.down", state=State.INITIALIZING, act=_gateway_down)
GATEWAY_RESTART = Step(name="gateway.restart", state=State.GATEWAY_STARTING, act=_gateway_restart)
GATEWAY_DOWN_BY_FORCE = Step(name="gateway.down", state=State.INITIALIZING, act=_gateway_down_by_force)
GATEWAY_RESTART_BY_FORCE = Step(name="gateway.restart", state=State.GATEWAY_STARTING, act=_gateway_restart_by_force)
