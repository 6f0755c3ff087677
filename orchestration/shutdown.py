"""Taking the system down, in order and bounded: the bot first, then the gateway that this instance owns.

These steps act on what this instance started, as its records say, whatever the environment says now.
"""

import dataclasses

from orchestration.alerts.alert import Severity
from orchestration.bot.find import find_bot
from orchestration.bot.stop import stop_bot
from orchestration.desk import Desk, Outcome
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure, State
from orchestration.gateway.acts import GatewayUser
from orchestration.mission import Step
from orchestration.preflight import SUPERVISOR_LOCK_FILE
from orchestration.report import Progress, StepStatus, format_duration
from orchestration.settings import GatewayRuntime
from orchestration.system.lock import read_lock_holder

_MOST_BOTS = 10  # whoever starts them faster than they can be stopped must be stopped first
_GATEWAY_STOP_TIMEOUT_S = 30.0  # Docker's own default is 10 s; the gateway's Java program takes longer to say goodbye


def _stop_the_bot(desk: Desk, progress: Progress) -> Outcome:
    presence = find_bot(desk.settings)
    if presence.is_unknown:
        raise StartupFailure(
            FailureWord.BOT_ALREADY_RUNNING,
            f"It cannot be told whether the bot runs: {presence.detail}",
            next_action="Look at that process as its owner; end it if it is this instance's bot.",
        )
    stopped: list[str] = []
    all_in_time = True
    # One, as a rule; several where somebody started more by hand.
    while presence.found is not None and len(stopped) < _MOST_BOTS:
        who, uptime = presence.found.who, format_duration(presence.found.uptime_s)
        desk.show(f"asking {who} to end (at most {desk.settings.bot_stop_timeout_s:g} s)")
        outcome = stop_bot(
            desk.settings, presence.found, timeout_s=desk.settings.bot_stop_timeout_s, on_progress=desk.show
        )
        if not outcome.is_gone:
            break
        how = "left in order" if outcome.in_time else "did not leave in time and was killed"
        desk.tell(
            Severity.INFO if outcome.in_time else Severity.WARNING,
            "Bot stopped",
            f"The bot, {who}, {how} after {uptime}.",
            cause="BOT_STOPPED",
            next_action="Nothing to do.",
        )
        stopped.append(f"{who} {how}")
        all_in_time = all_in_time and outcome.in_time
        presence = find_bot(desk.settings)
    if presence.found is not None:
        raise StartupFailure(
            FailureWord.INTERNAL_ERROR,
            f"The bot, {presence.found.who}, still runs after it was stopped.",
            next_action="Look at that process: it may be stuck, another user's, or started anew by something else.",
        )
    return Outcome(
        progress=progress,
        detail="; ".join(stopped) or "no bot was running",
        status=StepStatus.OK if all_in_time else StepStatus.WARN,
    )


def _stop_the_gateway(desk: Desk, progress: Progress) -> Outcome:
    runtime = desk.runtime
    if runtime.kind is GatewayRuntime.EXTERNAL:
        return Outcome(progress=progress, detail="somebody else runs the gateway; left alone", status=StepStatus.SKIP)
    if runtime.probe().state in {ContainerState.MISSING, ContainerState.EXITED, ContainerState.CREATED}:
        return Outcome(progress=progress, detail="the gateway was not running")
    name = _name_gateway(desk)
    desk.show(f"stopping {name}")
    left = runtime.stop_unless_used(timeout_s=_GATEWAY_STOP_TIMEOUT_S, on_progress=desk.show)
    if left.users:
        detail = f"{name} is left running, for it is in use: {_list_users(left.users)}"
        return Outcome(progress=progress, detail=detail, status=StepStatus.SKIP)
    _make_sure_it_is_down(desk)
    return Outcome(progress=progress, detail=f"{name} stopped" + ("" if left.in_time else " (by force)"))


def _name_gateway(desk: Desk) -> str:
    return desk.runtime.container_name or f"the {desk.runtime.kind} gateway"


def _list_users(users: tuple[GatewayUser, ...]) -> str:
    return "; ".join(user.detail for user in users)


def _make_sure_it_is_down(desk: Desk) -> None:
    if desk.runtime.probe().state is ContainerState.RUNNING:
        raise StartupFailure(
            FailureWord.INTERNAL_ERROR,
            f"{_name_gateway(desk)} still runs after it was stopped.",
            next_action="Look at it with `inv logs --of gateway`; stop it by hand.",
        )


def _refuse_while_used(desk: Desk) -> None:
    """Nobody pulls a gateway away under another instance's bot by mistake."""
    users = desk.runtime.find_users()
    if users:
        has_bot = any(user.has_bot for user in users)
        raise StartupFailure(
            FailureWord.BOT_ALREADY_RUNNING if has_bot else FailureWord.ALREADY_STARTING,
            f"Other instances use this gateway: {_list_users(users)}.",
            next_action="Shut them down first (`INSTANCE=… inv shutdown`), or add --force if it is meant all the same.",
        )


def _refuse_external(desk: Desk) -> None:
    if desk.runtime.kind is GatewayRuntime.EXTERNAL:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            "GATEWAY_RUNTIME is `external`: somebody else runs the gateway, and this program never touches it.",
            next_action="Stop or restart it where it is run.",
        )


def _gateway_down(desk: Desk, progress: Progress) -> Outcome:
    _refuse_external(desk)
    holder = read_lock_holder(desk.settings.state_dir / SUPERVISOR_LOCK_FILE)
    if holder is not None:
        raise StartupFailure(
            FailureWord.ALREADY_STARTING,
            f"A supervisor watches this system and would bring the gateway back: {holder}.",
            next_action="`inv shutdown` ends it, the bot and the gateway, in order.",
        )
    _refuse_while_used(desk)
    return _stop_the_gateway(desk, progress)


def _gateway_down_by_force(desk: Desk, progress: Progress) -> Outcome:
    _refuse_external(desk)
    if desk.runtime.probe().state in {ContainerState.MISSING, ContainerState.EXITED, ContainerState.CREATED}:
        return Outcome(progress=progress, detail="the gateway was not running")
    users = desk.runtime.find_users()
    in_time = desk.runtime.stop(timeout_s=_GATEWAY_STOP_TIMEOUT_S)
    _make_sure_it_is_down(desk)
    under = f", under {_list_users(users)}" if users else ""
    return Outcome(
        progress=progress,
        detail=f"{_name_gateway(desk)} stopped{under}" + ("" if in_time else " (by force)"),
        status=StepStatus.WARN if users else StepStatus.OK,
    )


def _gateway_restart(desk: Desk, progress: Progress) -> Outcome:
    _refuse_external(desk)
    if desk.runtime.probe().state is ContainerState.RUNNING:
        _refuse_while_used(desk)
    return _gateway_restart_by_force(desk, progress)


def _gateway_restart_by_force(desk: Desk, progress: Progress) -> Outcome:
    _refuse_external(desk)
    name = _name_gateway(desk)
    if desk.runtime.probe().state is not ContainerState.RUNNING:
        desk.runtime.lift_stop()
        desk.runtime.ensure_started(on_progress=desk.show)
        return Outcome(progress=progress, detail=f"{name} was not running and has been started")
    desk.tell(
        Severity.WARNING,
        "Gateway restarted by hand",
        f"{name} is being restarted; it may ask for a new login.",
        cause="GATEWAY_RESTARTED",
        next_action="Have the phone at hand for the second factor.",
    )
    desk.show(f"restarting {name}")
    desk.runtime.restart()
    return Outcome(progress=dataclasses.replace(progress, gateway_launched=True), detail=f"{name} restarted")


BOT_STOP = Step(name="bot.stop", state=State.INITIALIZING, act=_stop_the_bot)
GATEWAY_STOP = Step(name="gateway.stop", state=State.INITIALIZING, act=_stop_the_gateway)
GATEWAY_DOWN = Step(name="gateway.down", state=State.INITIALIZING, act=_gateway_down)
GATEWAY_RESTART = Step(name="gateway.restart", state=State.GATEWAY_STARTING, act=_gateway_restart)
GATEWAY_DOWN_BY_FORCE = Step(name="gateway.down", state=State.INITIALIZING, act=_gateway_down_by_force)
GATEWAY_RESTART_BY_FORCE = Step(name="gateway.restart", state=State.GATEWAY_STARTING, act=_gateway_restart_by_force)
