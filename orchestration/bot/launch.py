"""Launch the bot: what it is given, how it is started, and when it counts as up.

Up is what said `READY=1`, or stayed alive for `BOT_START_GRACE`. What ends before that, with whatever exit code, is a
failed start, and nothing of it is left behind. The bot is recorded before its process exists
(`orchestration.bot.record`), so that a kill of this process at any instant leaves no bot that the next run cannot find.

The caller holds the instance's lock. That no bot runs is looked at here once more, right before the launch.
"""

import dataclasses
import errno
import os
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestration.bot.environment import build_bot_argv, build_bot_environ
from orchestration.bot.find import find_bot
from orchestration.bot.log import create_log, read_last_lines
from orchestration.bot.notify import NotifyReceiver, open_notify_receiver
from orchestration.bot.program import command_problem
from orchestration.bot.record import (
    RECORD_MARKER,
    BotLaunch,
    BotRecord,
    ReadyBy,
    build_record_path,
    complete_launch,
    remove_record,
    write_record,
)
from orchestration.bot.stop import end_marked_processes
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.process_table import read_environ, read_session_id
from orchestration.system.processes import LaunchedProcess, end_process_tree, launch_detached, read_identity

__all__ = [
    "BotRunning",
    "build_bot_argv",
    "build_bot_environ",
    "command_problem",
    "describe_end",
    "launch_bot",
    "read_last_lines",
]

OnProgress = Callable[[str], None]

_EVIDENCE_LINES = 20
# An interrupted start ends within this, whatever the bot does: who interrupts (systemd, a person) waits for it.
_INTERRUPTED_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class BotRunning:
    """A bot that is up.

    Attributes:
        pid: Its process id.
        log: Where its output goes.
        ready_by: How it was found to be up.
        status_text: Its last `STATUS=`; empty if it sent none.
        watchdog_at_s: When its last `WATCHDOG=1` came, in seconds of the monotonic clock, or None.
        record: What was written down about it.
    """

    pid: int
    log: Path
    ready_by: ReadyBy
    status_text: str
    watchdog_at_s: float | None
    record: BotRecord


def launch_bot(
    settings: Settings,
    *,
    clock: Clock,
    run_id: str,
    gateway_host: str,
    gateway_port: int,
    gameplan: Path,
    strategy: str,
    sha256: str,
    supervised: bool = False,
    on_progress: OnProgress | None = None,
) -> BotRunning:
    """Start the bot detached, and return once it is up.

    Args:
        settings: What it is, and how it is started.
        clock: Tells the time.
        run_id: The run that starts it.
        gateway_host: Where it is to reach the gateway's API.
        gateway_port: Likewise.
        gameplan: The validated copy of the plan, by absolute path.
        strategy: What that plan chooses.
        sha256: The hash of that plan's bytes.
        supervised: Whether this process stays with it.
        on_progress: Told what is waited for, and what the bot says of itself.

    Raises:
        StartupFailure: `BOT_START_FAILED`, with the exit code or the signal and the last lines of its output;
            `BOT_ALREADY_RUNNING`, if a bot runs or it cannot be told.
    """
    _refuse_second_bot(settings)
    receiver = open_notify_receiver(settings.state_dir)
    try:
        environ = build_bot_environ(
            settings,
            gateway_host=gateway_host,
            gateway_port=gateway_port,
            gameplan=gameplan,
            notify_socket=receiver.path if receiver is not None else None,
        )
        argv = build_bot_argv(settings, gateway_host=gateway_host, gateway_port=gateway_port, gameplan=gameplan)
        now = clock.now()
        try:
            launch = BotLaunch(
                instance=settings.instance,
                argv=argv,
                workdir=settings.bot_workdir,
                log=create_log(settings.log_dir, now),
                gameplan=gameplan,
                strategy=strategy,
                gameplan_sha256=sha256,
                started_at=now,
                run_id=run_id,
                notify_socket=receiver.path if receiver is not None else None,
                supervised=supervised,
            )
        except OSError as error:
            raise _cannot_write("The bot's log", settings.log_dir, error) from error
        try:
            return _launch_recorded(settings, launch, environ, receiver=receiver, clock=clock, on_progress=on_progress)
        except BaseException:
            _leave_nothing(settings, launch)
            raise
    finally:
        if receiver is not None:
            receiver.close()


def _refuse_second_bot(settings: Settings) -> None:
    presence = find_bot(settings)  # a few milliseconds; whoever asked earlier may have waited for a gateway since
    if presence.found is None and not presence.is_unknown:
        return
    who = f"process {presence.found.pid}" if presence.found is not None else "it cannot be told"
    raise StartupFailure(
        FailureWord.BOT_ALREADY_RUNNING,
        f"No second bot is started: a bot of this instance runs already ({who}: {presence.detail}).",
        next_action="Leave it alone, or stop it with `inv bot.stop`.",
    )


def _launch_recorded(
    settings: Settings,
    launch: BotLaunch,
    environ: dict[str, str],
    *,
    receiver: NotifyReceiver | None,
    clock: Clock,
    on_progress: OnProgress | None,
) -> BotRunning:
    _write_record(settings, launch)
    try:
        process = launch_detached(launch.argv, cwd=launch.workdir, environ=environ, output=launch.log)
    except OSError as error:
        raise _explain_no_start(settings, launch, error) from error
    try:
        record = complete_launch(launch, process.identity)
        _write_record(settings, record)
        if on_progress is not None:
            grace = f"{settings.bot_start_grace_s:g} s"
            on_progress(f"process {process.pid} started; up when it says READY, or after {grace}")
        ready_by = _wait_until_up(
            settings, process, launch.log, receiver=receiver, clock=clock, on_progress=on_progress
        )
        record = dataclasses.replace(record, ready_by=ready_by)
        _write_record(settings, record)
    except StartupFailure:
        end_process_tree(process.identity, timeout_s=0.0)
        raise
    except BaseException:
        # Interrupted: it may leave in order. If a second signal cuts this short, `_leave_nothing` kills what is left.
        timeout_s = min(settings.bot_stop_timeout_s, _INTERRUPTED_STOP_TIMEOUT_S)
        end_process_tree(process.identity, timeout_s=timeout_s)
        raise
    finally:
        process.disown()
    return BotRunning(
        pid=process.pid,
        log=launch.log,
        ready_by=ready_by,
        status_text=receiver.status if receiver is not None else "",
        watchdog_at_s=receiver.watchdog_at_s if receiver is not None else None,
        record=record,
    )


def _write_record(settings: Settings, record: BotLaunch) -> None:
    path = build_record_path(settings)
    try:
        write_record(path, record)
    except OSError as error:
        raise _cannot_write("The bot's record", path, error) from error


def _wait_until_up(
    settings: Settings,
    process: LaunchedProcess,
    log: Path,
    *,
    receiver: NotifyReceiver | None,
    clock: Clock,
    on_progress: OnProgress | None,
) -> ReadyBy:
    """Wait for the first of: it said so, it stayed alive long enough, it ended.

    Raises:
        StartupFailure: It ended.
    """
    started_s = clock.monotonic_s()
    marker = str(build_record_path(settings))
    status = ""
    while True:
        # What was said is read before it is asked whether it lives: READY as its last word is no readiness.
        if receiver is not None:
            receiver.receive(
                is_from_bot=lambda pid: speaks_for_bot(pid, process.pid, marker), now_s=clock.monotonic_s()
            )
            if receiver.status != status and on_progress is not None:
                on_progress(f"the bot says: {receiver.status}")
            status = receiver.status
        passed_s = clock.monotonic_s() - started_s
        exit_code = process.poll_exit_code()
        if exit_code is not None:
            raise _explain_early_end(settings, log, exit_code, passed_s, receiver)
        if receiver is not None and receiver.is_ready:
            return ReadyBy.NOTIFY
        if passed_s >= settings.bot_start_grace_s:
            return ReadyBy.GRACE
        process.wait(
            timeout_s=settings.bot_start_grace_s - passed_s,
            or_readable=receiver.fileno() if receiver is not None else None,
        )


def speaks_for_bot(sender_pid: int, bot_pid: int, marker: str) -> bool:
    """Whether a sender is the bot, one of its session, or carries its marker; one that has ended is believed."""
    if sender_pid == bot_pid or read_session_id(sender_pid) in {bot_pid, None}:
        return True
    try:
        return read_environ(sender_pid).get(RECORD_MARKER) == marker or read_identity(sender_pid) is None
    except PermissionError:
        return False


def _leave_nothing(settings: Settings, launch: BotLaunch) -> None:
    """After a failed or interrupted start: no process of it, and no record."""
    end_marked_processes(settings, log=launch.log)
    remove_record(build_record_path(settings))


def _explain_early_end(
    settings: Settings, log: Path, exit_code: int, passed_s: float, receiver: NotifyReceiver | None
) -> StartupFailure:
    parts = [f"The bot {describe_end(exit_code)} after {passed_s:.1f} s, before it was up."]
    if exit_code == 0:
        parts.append(
            f"It is expected to stay: up means that it says READY or still runs after {settings.bot_start_grace_s:g} s."
        )
    if receiver is not None and receiver.is_ready:
        parts.append("It had said READY.")
    if receiver is not None and receiver.status:
        parts.append(f"Its last status: {receiver.status}.")
    if receiver is not None and receiver.error_number is not None:
        parts.append(f"It gave as the reason: {os.strerror(receiver.error_number)}.")
    return StartupFailure(
        FailureWord.BOT_START_FAILED,
        " ".join(parts),
        next_action=f"Read {log}, mend what it says, then start again.",
        evidence=read_last_lines(log, _EVIDENCE_LINES),
    )


def describe_end(exit_code: int) -> str:
    """How a process ended, as the end of a sentence: `ended with exit code 3`, `was ended by SIGSEGV`."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"


def _explain_no_start(settings: Settings, launch: BotLaunch, error: OSError) -> StartupFailure:
    reason = {
        errno.ENOENT: f"{launch.argv[0]} was not found, or its interpreter or {launch.workdir} does not exist",
        errno.EACCES: f"{launch.argv[0]} or {launch.workdir} may not be used by this user",
        errno.ENOEXEC: f"{launch.argv[0]} is no program; a script needs a first line such as #!/usr/bin/env python3",
    }.get(error.errno or 0, error.strerror or str(error))
    return StartupFailure(
        FailureWord.BOT_START_FAILED,
        f"The bot could not be started: {reason}.",
        next_action=f"Correct BOT_COMMAND (now: {shlex.join(settings.bot_command)}) or BOT_WORKDIR.",
    )


def _cannot_write(what: str, path: Path, error: OSError) -> StartupFailure:
    return StartupFailure(
        FailureWord.BOT_START_FAILED,
        f"{what} cannot be written to {path}: {error.strerror or error}.",
        next_action="Free disk space or mend the folder's permissions, then start again.",
    )
