"""The bot that an earlier run left behind, where nothing has ended it with its supervisor (SPEC W4).

The next supervised start adopts it, or stops it and starts it again. Where that start fails before it has come so far,
and where a boot service is not to try at all, the bot is stopped gracefully, also on Strategy C: no run has validated
what it trades on, and no process watches it. One that was started by hand is never touched.
"""

import logging
from collections.abc import Callable

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.bot.find import BotPresence, FoundBy, find_bot
from orchestration.bot.record import build_record_path, read_record
from orchestration.bot.stop import stop_bot
from orchestration.errors import FailureWord, StartupFailure, State, StepStatus
from orchestration.hold import read_hold
from orchestration.settings import GatewayRuntime, Settings
from orchestration.startup.context import RunSpec, Step, StepContext, StepResult
from orchestration.startup.report import Progress
from orchestration.state_dir import startup_lock_path, supervisor_lock_path
from orchestration.system.lock import read_lock_holder

_CLEANUP_STOP_TIMEOUT_S = 5.0
_BY_HAND = "Stop it by hand: `inv bot.stop`; then fix the cause and start again."


def is_left_behind(settings: Settings) -> bool:
    """Whether a bot runs, or may run, that a supervisor was to watch, and none is at work nor about to be.

    While the system is held down, whichever bot this program launched counts: it was to be stopped.
    """
    if settings.watched_state_dir is not None:
        return False
    if any(
        read_lock_holder(path(settings.state_dir)) is not None for path in (supervisor_lock_path, startup_lock_path)
    ):
        return False
    presence = find_bot(settings)
    if not presence.is_found:
        return is_in_doubt(settings, presence)
    record = presence.record
    was_watched = record is None or record.supervised or read_hold(settings.state_dir) is not None
    return presence.how is not FoundBy.BY_COMMAND and was_watched


def is_in_doubt(settings: Settings, presence: BotPresence) -> bool:
    """Whether a bot was recorded, and it is unknown whether it still runs: its engine does not answer, say."""
    return presence.is_unknown and read_record(build_record_path(settings)) is not None


def stop_left_behind(
    settings: Settings,
    found: BotPresence,
    *,
    why: str,
    tell: Callable[[AlertContent], None],
    show: Callable[[str], None],
    log: logging.Logger,
) -> bool:
    """Stop it gracefully, and say so; also where it could not be stopped. Returns whether nothing of it runs any more.

    Args:
        settings: Whose bot it is.
        found: The bot.
        why: Why it cannot stay, as the end of a sentence.
        tell: Sends the alert.
        show: Told what is waited for.
        log: The log.
    """
    try:
        stopped = stop_bot(settings, found, timeout_s=settings.bot_stop_timeout_s, on_progress=show)
        problem = "" if stopped.is_gone else "it still runs"
    except StartupFailure as failure:
        problem = failure.message
    if problem:
        log.error("the bot of an earlier run, %s, could not be stopped: %s", found.who, problem)
        tell(
            AlertContent(
                severity=Severity.CRITICAL,
                title="Bot left running, unsupervised",
                message=f"The bot of an earlier run, {found.who}, could not be stopped ({problem}), and {why}.",
                cause="BOT_UNWATCHED",
                next_action=_BY_HAND,
            )
        )
        return False
    log.info("the bot of an earlier run, %s, %s, for %s", found.who, stopped.how, why)
    tell(
        AlertContent(
            severity=Severity.WARNING,
            title="Bot stopped",
            message=f"The bot of an earlier run, {found.who}, {stopped.how}: {why}.",
            cause="BOT_UNWATCHED",
            next_action="Fix the cause, then start again. Look at its open positions: nothing trades now.",
        )
    )
    return True


def leave_nothing_unwatched(context: StepContext, failed: FailureWord) -> None:
    """After a run that failed: end its own bot, one that it would have adopted, and a simulator that is not in use.

    A bot that the run started is its own to stop. So is one that a supervising run would have adopted: the gateway or
    the plan that it trades on could not be validated, and no process would watch it. One started by hand never is.

    Args:
        context: The run's dependencies and options. The caller holds the instance's lock.
        failed: Why the run failed.
    """
    settings = context.settings
    presence = find_bot(settings)
    if not _are_locks_in_place(context):
        # Another run may be at work by now: what is not known to be this run's own is that run's.
        if presence.is_found and _is_of_run(context, presence):
            stop_bot(settings, presence, timeout_s=_CLEANUP_STOP_TIMEOUT_S, on_progress=context.show)
        return
    if presence.is_found:
        _stop_what_must_not_stay(context, presence, failed)
        presence = find_bot(settings)
    elif context.supervises and is_in_doubt(settings, presence):
        tell_doubt(presence, tell=context.tell, log=context.log)
    unused = not presence.is_found and not presence.is_unknown
    if unused and settings.gateway_runtime is GatewayRuntime.SIMULATOR:
        context.runtime.stop_unless_used(timeout_s=_CLEANUP_STOP_TIMEOUT_S, on_progress=context.show)


def _are_locks_in_place(context: StepContext) -> bool:
    try:
        context.require_locks()
    except StartupFailure:
        return False
    return True


def _is_of_run(context: StepContext, bot: BotPresence) -> bool:
    return bot.record is not None and bot.record.run_id == context.run_id


def _stop_what_must_not_stay(context: StepContext, bot: BotPresence, failed: FailureWord) -> None:
    if bot.how is FoundBy.BY_COMMAND or context.settings.watched_state_dir is not None:
        return
    if _is_of_run(context, bot):
        stop_bot(context.settings, bot, timeout_s=_CLEANUP_STOP_TIMEOUT_S, on_progress=context.show)
    elif context.supervises:
        stop_left_behind(
            context.settings,
            bot,
            why=f"the start that would have adopted it failed ({failed})",
            tell=context.tell,
            show=context.show,
            log=context.log,
        )


def tell_doubt(presence: BotPresence, *, tell: Callable[[AlertContent], None], log: logging.Logger) -> None:
    """Report that it is unknown whether the bot of an earlier run still runs."""
    log.error("unknown whether the bot of an earlier run still runs: %s", presence.detail)
    tell(
        AlertContent(
            severity=Severity.CRITICAL,
            title="Bot perhaps left running, unsupervised",
            message=f"Unknown whether the bot of an earlier run still runs: {presence.detail}",
            cause="BOT_UNWATCHED",
            next_action=_BY_HAND,
        )
    )


def _stop(context: StepContext, progress: Progress) -> StepResult:
    presence = find_bot(context.settings)
    if not presence.is_found:
        if is_in_doubt(context.settings, presence):
            tell_doubt(presence, tell=context.tell, log=context.log)
            return StepResult(progress=progress, detail=presence.detail, status=StepStatus.WARN)
        return StepResult(progress=progress, detail="no bot was left behind")
    is_gone = stop_left_behind(
        context.settings,
        presence,
        why="its supervisor has ended and none takes its place",
        tell=context.tell,
        show=context.show,
        log=context.log,
    )
    return StepResult(
        progress=progress,
        detail=f"the bot of an earlier run, {presence.who}, {'stopped' if is_gone else 'could not be stopped'}",
        status=StepStatus.WARN,
    )


STOP_LEFT_BEHIND = RunSpec(
    kind="bot.stop",
    steps=(Step(name="bot.stop", state=State.INITIALIZING, act=_stop),),
    respects_hold=False,
    follows_record=True,
)
