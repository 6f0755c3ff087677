"""Stop the bot gracefully, in bounded time, with everything it started."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.bot.container import BotDocker, was_killed
from orchestration.bot.end_record import note_stop_request
from orchestration.bot.find import BotPresence
from orchestration.bot.members import find_members
from orchestration.bot.order_guard import end_guard
from orchestration.bot.record import BotRecord, build_record_path, read_record, remove_record
from orchestration.bot.watched_bot import refuse_to_touch
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.processes import ProcessIdentity, end_process_tree, end_processes, is_running, resume
from orchestration.system.stopped import Stopped

OnProgress = Callable[[str], None]


def stop_bot(
    settings: Settings, found: BotPresence, *, timeout_s: float, on_progress: OnProgress | None = None
) -> Stopped:
    """Ask the bot to leave, and after `timeout_s` seconds end it and everything it started by force.

    The bot is asked first (SIGTERM); once it has ended, everything else that belongs to it (`members`). Where its main
    process has ended before, all of them are asked at once. What still runs when the time is over is killed. Once
    nothing of it runs, its order guard is ended, and the record removed.

    Args:
        settings: Whose bot it is.
        found: What `find_bot` found. Where that is no bot, only a dead one's record and order guard are removed.
        timeout_s: Seconds that it has to end by itself (`BOT_STOP_TIMEOUT`).
        on_progress: Told what is waited for.

    Returns:
        How it ended, with what it was before it was stopped.

    Raises:
        StartupFailure: It is a container, and the engine could not stop it.
    """
    path = build_record_path(settings)
    if not found.is_found:
        end_guard(settings)
        remove_record(path)
        return Stopped(what="bot", who="of an earlier run", was_running=False)
    looked_at = SystemClock().now()
    refuse_to_touch(settings)
    asked = found.identity if found.record is None else found.record.identity
    note_stop_request(path, asked, timeout_s=timeout_s, clock=SystemClock())
    if found.container:
        return _stop_container(settings, found, looked_at, timeout_s=timeout_s, on_progress=on_progress)
    was_running = is_running(found.identity)
    if on_progress is not None and was_running:
        on_progress(f"waiting up to {timeout_s:g} s for process {found.pid} to leave")
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + timeout_s
    record = read_record(path)
    known = find_members(settings, record)
    in_time = True
    for one in {found.identity, *known}:
        resume(one.pid)
    if found.left_of_pid is None:
        in_time = end_process_tree(found.identity, timeout_s=timeout_s, known=known)
    left = end_members(settings, record, timeout_s=max(0.0, deadline_s - clock.monotonic_s()))
    in_time = in_time and left.in_time
    is_gone = not any(is_running(one) for one in (found.identity, *known, *left.members))
    if is_gone:
        end_guard(settings)
        remove_record(path)
    stopped = describe_stopped(found, looked_at, in_time=in_time)
    return dataclasses.replace(stopped, is_gone=is_gone, was_running=was_running)


def describe_stopped(found: BotPresence, looked_at: datetime, *, in_time: bool | None, by: str = "") -> Stopped:
    """What is said of a bot that was stopped.

    Args:
        found: As it was found before.
        looked_at: When that was, aware.
        in_time: See `Stopped.in_time`.
        by: See `Stopped.by`.
    """
    return Stopped(
        what="bot",
        who=found.who,
        pid=found.pid,
        since=looked_at - timedelta(seconds=found.uptime_s),
        uptime_s=found.uptime_s,
        in_time=in_time,
        by=by,
    )


def _stop_container(
    settings: Settings, found: BotPresence, looked_at: datetime, *, timeout_s: float, on_progress: OnProgress | None
) -> Stopped:
    """The container stays, stopped, and its output with it, until the next start."""
    door = BotDocker(settings, name=found.container)
    seen = door.probe()
    was_running = seen is not None and seen.is_alive
    if seen is not None and was_running:
        if on_progress is not None:
            on_progress(f"waiting up to {timeout_s:g} s for {found.who} to leave")
        seen = door.stop(seen, timeout_s=timeout_s)
    is_gone = seen is None or not seen.is_alive
    if is_gone:
        end_guard(settings)
        remove_record(build_record_path(settings))
    stopped = describe_stopped(found, looked_at, in_time=not was_killed(seen))
    return dataclasses.replace(stopped, is_gone=is_gone, was_running=was_running)


@dataclass(frozen=True, kw_only=True)
class MembersEnded:
    """What `end_members` did.

    Attributes:
        members: Which processes were ended.
        in_time: Whether all of them ended by themselves in time.
    """

    members: tuple[ProcessIdentity, ...]
    in_time: bool


def end_members(
    settings: Settings, record: BotRecord | None, *, timeout_s: float = 0.0, of_this_launch: bool = False
) -> MembersEnded:
    """End everything of this instance's bot that still runs, whatever session it went into.

    Args:
        settings: Whose bot it is.
        record: What was written down about it; None where there is nothing.
        timeout_s: Seconds that all of them together have to end by themselves.
        of_this_launch: See `find_members`.
    """
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + timeout_s
    ended: list[ProcessIdentity] = []
    in_time = True
    # A process that dies may just have started another one: look again until there is none. Bounded, for what cannot
    # be killed (it sits in the kernel) must not hold us for ever.
    for _ in range(_ROUNDS):
        members = find_members(settings, record, of_this_launch=of_this_launch)
        if not members:
            break
        in_time = end_processes(members, timeout_s=max(0.0, deadline_s - clock.monotonic_s())) and in_time
        ended += members
    return MembersEnded(members=tuple(ended), in_time=in_time)


_ROUNDS = 5
