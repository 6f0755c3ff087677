"""Whether a run or a boot service may begin: one run at a time, no bot beside a supervisor, no hold, tries left."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestration.bot.find import FoundBy, find_bot
from orchestration.bot.stop import describe_stopped
from orchestration.errors import ExitCode, FailureWord, StartupFailure
from orchestration.hold import read_hold
from orchestration.hostservice import attempts
from orchestration.lease.held import require_lease
from orchestration.settings import GatewayRuntime, Settings
from orchestration.state_dir import monitor_lock_path, startup_lock_path, supervisor_lock_path
from orchestration.system.clock import Clock, wait_until
from orchestration.system.lock import (
    HeldLock,
    LockHeldError,
    LockHolder,
    describe_irregular,
    hold_lock,
    read_lock_holder,
)
from orchestration.system.processes import ask_to_end, read_userspace_boot_id
from orchestration.system.stopped import Stopped

_CLEANUP_MARGIN_S = 20.0  # a run that is asked to end stops what it had half started
_LOCK_LOOK_S = 0.1


class InstanceLocks:
    """The locks that allow one run to start or restart anything: its own, and its supervisor's where it has one.

    Args:
        settings: Whose locks they are.
        supervisor_lock: The supervisor's lock that this process holds; None where it supervises nothing.
    """

    def __init__(self, settings: Settings, *, supervisor_lock: HeldLock | None = None) -> None:
        self._settings = settings
        self._supervisor_lock = supervisor_lock
        self._own: HeldLock | None = None
        self._held = ExitStack()

    @property
    def is_taken(self) -> bool:
        """Whether the run's own lock was taken, whatever became of it since."""
        return self._own is not None

    def take(self, *, purpose: str, since: datetime) -> None:
        """Take the run's own lock.

        Raises:
            StartupFailure: `ALREADY_STARTING`: another run holds it. `CONFIG_INVALID`: it cannot be opened.
        """
        path = startup_lock_path(self._settings.state_dir)
        try:
            held = hold_lock(path, purpose=purpose, since=since.isoformat(timespec="seconds"))
            self._own = self._held.enter_context(held)
        except LockHeldError as error:
            raise StartupFailure(
                FailureWord.ALREADY_STARTING,
                f"Another run of instance {self._settings.instance} is under way: {error.holder}.",
                next_action="Wait for it; `inv status` and `inv logs --of startup -f` show where it is.",
            ) from error
        except OSError as error:
            raise _build_lock_failure(path, str(error.strerror)) from error

    def require(self) -> None:
        """Look again, right before something is started or restarted.

        Raises:
            StartupFailure: `ALREADY_STARTING`: see `require_in_place`. `LEASED_ELSEWHERE` or `LEASE_UNAVAILABLE`: this
                process does not hold the instance's lease, where one is needed.
        """
        self.require_in_place()
        require_lease(self._settings)

    def require_in_place(self) -> None:
        """Look again at the locks alone.

        Raises:
            StartupFailure: `ALREADY_STARTING`: a lock was deleted, replaced or renamed since it was taken, and another
                run may hold its successor.
        """
        for lock in (self._supervisor_lock, self._own):
            if lock is not None and not lock.is_in_place():
                raise build_lost_lock_failure(lock.path)

    def release(self) -> None:
        """Let the next run begin."""
        self._held.close()


def build_lost_lock_failure(path: Path) -> StartupFailure:
    """What a run fails with whose lock no longer counts."""
    holder = read_lock_holder(path)
    now = "no process holds a new one" if holder is None else f"a new one is held by {holder}"
    return StartupFailure(
        FailureWord.ALREADY_STARTING,
        f"The lock {path} was deleted, replaced or renamed while this run held it ({now}), so another run may be at "
        "work: nothing is started or restarted.",
        next_action="Check with `inv status` what is running, then start again. Leave the files in STATE_DIR alone "
        "while it runs.",
    )


def _build_lock_failure(path: Path, why: str) -> StartupFailure:
    remedy = f"Let this user write to {path.parent} and to that file, or set STATE_DIR to another folder."
    if describe_irregular(path):
        remedy = f"Remove {path}, or move it away; a start makes it again."
    return StartupFailure(
        FailureWord.CONFIG_INVALID,
        f"STATE_DIR: the lock {path} cannot be opened ({why}).",
        next_action=remedy,
    )


_RUNNING = (supervisor_lock_path, monitor_lock_path, startup_lock_path)


def end_other_runs(
    settings: Settings,
    *,
    clock: Clock,
    on_progress: Callable[[str], None],
    locks: Sequence[Callable[[Path], Path]] = _RUNNING,
) -> tuple[Stopped, ...]:
    """Ask what is running to end, and wait until it has cleaned up. A stop by hand goes first.

    A supervisor that is asked stops its bot gracefully and ends with 0, so that no service manager starts it again.

    Args:
        settings: Whose runs they are.
        clock: Tells the time, and waits.
        on_progress: Told what is ended.
        locks: Where the locks are whose holders are asked, in this order.

    Returns:
        What ran before and has ended, the bot first: afterwards there is no trace that it ran. How the bot ended is not
        known here.
    """
    bot = find_bot(settings)
    looked_at = clock.now()
    ended = []
    for lock_path in locks:
        path = lock_path(settings.state_dir)
        holder = read_lock_holder(path)
        if holder is None or holder.pid is None:
            continue
        on_progress(f"ending what is at work: {holder}")
        if not ask_to_end(holder.pid) and read_lock_holder(path) is not None:
            on_progress(f"process {holder.pid} is another user's and cannot be asked to end")
            continue
        # It may be in the middle of a restart of the gateway's container, which it does not leave half done.
        in_docker = settings.gateway_runtime is GatewayRuntime.DOCKER
        longest_s = settings.bot_stop_timeout_s + (settings.gateway_stop_grace_s if in_docker else 0.0)
        timeout_s = longest_s + _CLEANUP_MARGIN_S
        if wait_until(lambda: read_lock_holder(path) is None, timeout_s=timeout_s, every_s=_LOCK_LOOK_S, clock=clock):  # noqa: B023 - called before the loop goes on
            ended.append(_describe_holder(holder, looked_at))
    if not bot.is_found or not ended or find_bot(settings).is_found:
        return tuple(ended)
    return (describe_stopped(bot, looked_at, in_time=None, by=f"the {ended[0].what} ({ended[0].who})"), *ended)


def end_supervisor(settings: Settings, *, clock: Clock, on_progress: Callable[[str], None]) -> tuple[Stopped, ...]:
    """Ask the running supervisor to stop its bot and to end, so that another one takes its place (`--replace`).

    Returns:
        What was stopped, the bot first.

    Raises:
        StartupFailure: `ALREADY_STARTING`: it has not ended, or may not be asked.
    """
    stopped = end_other_runs(settings, clock=clock, on_progress=on_progress, locks=(supervisor_lock_path,))
    holder = read_lock_holder(supervisor_lock_path(settings.state_dir))
    if holder is not None:
        raise StartupFailure(
            FailureWord.ALREADY_STARTING,
            f"The running supervisor was to be replaced and has not ended: {holder}.",
            next_action="End it as the user whose it is, with `inv shutdown --keep-gateway`; then start again.",
        )
    return stopped


def _describe_holder(holder: LockHolder, now: datetime) -> Stopped:
    stopped = Stopped(what=holder.purpose or "run", who=f"process {holder.pid}", pid=holder.pid)
    try:
        since = datetime.fromisoformat(holder.since)
        return dataclasses.replace(stopped, since=since, uptime_s=(now - since).total_seconds())
    except (ValueError, TypeError):  # no time, or one without a zone
        return stopped


def refuse_beside_supervisor(settings: Settings, *, supervises: bool, starts_bot: bool, replaces_bot: bool) -> None:
    """Refuse to start a bot beside a supervisor, which may be about to start one itself.

    Args:
        settings: Which instance.
        supervises: Whether the run is a supervisor's own.
        starts_bot: Whether the run starts the bot.
        replaces_bot: Whether it stops a running bot first.

    Raises:
        StartupFailure: `ALREADY_STARTING`: the run would. `CONFIG_INVALID`: it is a supervisor's, whose lock could
            not be taken, so that no other process would see it.
    """
    path = supervisor_lock_path(settings.state_dir)
    holder = read_lock_holder(path)
    if supervises:
        if holder is None:
            why = describe_irregular(path) or "no other process could see this supervisor"
            raise _build_lock_failure(path, why)
        return
    if not starts_bot:
        return
    if holder is None or (find_bot(settings).is_found and not replaces_bot):
        return  # with a bot, the check for it says so better
    raise StartupFailure(
        FailureWord.ALREADY_STARTING,
        f"A supervisor of this instance is at work, and starts the bot itself: {holder}.",
        next_action="`inv bot.restart` has it restart the bot on the day's plan; `inv shutdown` ends it.",
    )


@dataclass(frozen=True, kw_only=True)
class ServiceRefusal:
    """Why a boot service does not start anything.

    Attributes:
        word: The failure's word.
        message: One sentence.
        next_action: What the operator should do.
        exit_code: 0 where the operator meant it (a hold); 78 where trying again is of no use.
    """

    word: FailureWord
    message: str
    next_action: str
    exit_code: ExitCode = ExitCode.GIVE_UP


def find_refusal(settings: Settings, *, changes_nothing: bool = False) -> ServiceRefusal | None:
    """Why a boot service is not to try at all, or None: held down, given up, or the system runs already.

    Args:
        settings: Which instance.
        changes_nothing: Whether to leave the record of failed starts as it is: this only looks.
    """
    held = read_hold(settings.state_dir)
    if held is not None:
        return ServiceRefusal(
            word=FailureWord.HELD,
            message=f"The system is {held}.",
            next_action="If it may run again: `inv resume`, then `inv startup`.",
            exit_code=ExitCode.SUCCESS,
        )
    if read_lock_holder(supervisor_lock_path(settings.state_dir)) is not None:
        return build_second(settings)
    presence = find_bot(settings)
    if presence.how is FoundBy.BY_COMMAND:
        return ServiceRefusal(
            word=FailureWord.BOT_ALREADY_RUNNING,
            message=f"The bot runs already, started by hand: {presence.who}. It is left alone.",
            next_action="Stop it (`inv bot.stop`), then `inv startup`; or leave it alone.",
        )
    past = attempts.read(settings.state_dir)
    if not past.has_given_up:
        return None
    if not changes_nothing and attempts.begins_by_hand(settings, past, boot_id=read_userspace_boot_id()):
        attempts.clear(settings.state_dir)
        return None
    known = past.word in FailureWord.__members__
    return ServiceRefusal(
        word=FailureWord(past.word) if known else FailureWord.BOT_START_FAILED,
        message=f"The boot service has given up since {past.given_up_since}: {past.given_up}.",
        next_action="Fix the cause, then `inv startup`.",
    )


def build_second(settings: Settings) -> ServiceRefusal:
    """A supervisor is at work already."""
    found = find_bot(settings)
    running = "" if not found.is_found else f" Its bot is {found.who}."
    holder = read_lock_holder(supervisor_lock_path(settings.state_dir)) or "one that has just ended"
    return ServiceRefusal(
        word=FailureWord.BOT_ALREADY_RUNNING if found.is_found else FailureWord.ALREADY_STARTING,
        message=f"A supervisor of instance {settings.instance} is at work already: {holder}.{running}",
        next_action="`inv bot.restart` has it restart the bot on the day's plan; `inv shutdown` ends it.",
    )
