"""Launch the bot: what it is given, how it is started, and when it counts as up.

Up is what said `READY=1`, or stayed alive for `BOT_START_GRACE`. What ends before that is a failed start, and nothing
of it is left behind; but a bot that ends with exit code 0 and leaves nothing has finished. The bot is recorded before
its process exists (`orchestration.bot.record`), so that a kill of this process at any instant leaves no bot that the
next run cannot find.

The caller holds the instance's lock. Right before the launch it is looked at once more that the lock still counts and
that no bot runs. From that look until the bot is recorded, the state folder itself is held (`lock.hold_folder`): so two
runs, each with a lock of its own because one was deleted under the other, come one after the other, and the second one
finds the first one's bot.
"""

import contextlib
import dataclasses
import errno
import functools
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestration.bot.argv import build_bot_argv
from orchestration.bot.container import forget_container
from orchestration.bot.docker_runtime import (
    StartedContainer,
    end_container,
    ensure_guarded_network,
    launch_container,
)
from orchestration.bot.end_record import write_end
from orchestration.bot.environment import build_bot_environ
from orchestration.bot.find import find_bot
from orchestration.bot.log import create_log, read_last_lines
from orchestration.bot.members import find_members, note_workers, read_connection
from orchestration.bot.notify import NotifyReceiver, PeerCredentials, open_notify_receiver
from orchestration.bot.order_guard import (
    LOOPBACK,
    GuardRecord,
    build_failure,
    end_guard,
    ensure_guard,
    is_guarded,
    list_gateway_ports,
)
from orchestration.bot.program import command_problem
from orchestration.bot.record import (
    BotRecord,
    build_record_path,
    name_bot,
    read_record,
    remove_record,
    write_record,
)
from orchestration.bot.state import BotState
from orchestration.bot.stop import end_members
from orchestration.bot.up import BotRunning, Started, speaks_for_bot, wait_until_up
from orchestration.bot.watched_bot import refuse_to_touch
from orchestration.errors import FailureWord, StartupFailure
from orchestration.redaction import redactor_for
from orchestration.settings import BotRuntime, Settings
from orchestration.system.clock import Clock
from orchestration.system.endpoint import Endpoint
from orchestration.system.landlock import LandlockError, can_deny_ports
from orchestration.system.lock import LockHeldError, hold_folder
from orchestration.system.platform import platform
from orchestration.system.process_table import read_control_group
from orchestration.system.processes import LaunchedProcess, end_process_tree, is_running, launch_detached

__all__ = [
    "BotRunning",
    "LaunchRequest",
    "command_problem",
    "launch_bot",
]

OnProgress = Callable[[str], None]

# An interrupted start ends within this, whatever the bot does: who interrupts (systemd, the operator) waits for it.
_INTERRUPTED_STOP_TIMEOUT_S = 10.0
_MOST_SHOWN = 5
# Another run holds the folder for a few milliseconds, unless it is stuck or makes a container.
_FOLDER_TIMEOUT_S = 10.0


def _show_nothing(_text: str) -> None:
    """Show no progress."""


def _check_nothing() -> None:
    """Nothing else has to hold."""


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """What a bot is to be started with, and what its launch relies on.

    Attributes:
        clock: Tells the time.
        run_id: The run that starts it.
        gateway: Where it is to reach the gateway's API.
        gameplan: The validated copy of the plan, by absolute path.
        strategy: What that plan chooses.
        sha256: The hash of that plan's bytes.
        denied_ports: TCP ports that a bot's process must not be able to connect to; the kernel must know how.
        supervised: Whether this process stays with it.
        require_locks: Raises `ALREADY_STARTING` where the caller's locks no longer count.
        on_progress: Told what is waited for, and what the bot says of itself.
        before_start: Looks again at what the launch relies on. Called when everything else is done (an image may have
            been pulled for minutes), right before the process or the container is made; what it raises stops the
            launch, and nothing is left of it.
    """

    clock: Clock
    run_id: str
    gateway: Endpoint
    gameplan: Path
    strategy: str
    sha256: str
    denied_ports: Collection[int] = ()
    supervised: bool = False
    require_locks: Callable[[], None] = _check_nothing
    on_progress: OnProgress = _show_nothing
    before_start: Callable[[], None] = _check_nothing


def launch_bot(settings: Settings, request: LaunchRequest) -> BotRunning:
    """Start the bot, a process or a container that lives on without us, and return once it is up.

    On Strategy C it is started behind an order guard, by any command (`STRATEGY_C_BOT`).

    Raises:
        StartupFailure: `STRATEGY_C_FAILED`, if the order guard that it needs does not run; `BOT_START_FAILED`, with the
            exit code or the signal and the last lines of its output;
            `BOT_ALREADY_RUNNING`, if a bot runs or that is unknown; `ALREADY_STARTING`, if another run is launching one
            or the caller's locks no longer count.
    """
    refuse_to_touch(settings)
    return _Launch(settings, request).perform()


class _Launch:
    """One launch: what it has opened and started so far, and so has to close or end where it fails."""

    def __init__(self, settings: Settings, request: LaunchRequest) -> None:
        self._settings = settings
        self._request = request
        self._is_contained = settings.bot_runtime is BotRuntime.DOCKER
        self._now = request.clock.now()
        self._state_folder = contextlib.ExitStack()
        self._receiver: NotifyReceiver | None = None
        self._guard: GuardRecord | None = None

    def perform(self) -> BotRunning:
        settings, request = self._settings, self._request
        running: BotRunning | None = None
        with self._state_folder:
            _hold_state_folder(settings, self._state_folder)
            request.require_locks()
            _refuse_second_bot(settings)
            self._receiver = open_notify_receiver(settings.state_dir, for_container=self._is_contained)
            try:
                address = self._ensure_guard()
                running = self._start(self._build_record(address), address)
                keeps_listening = request.supervised and not running.is_finished
                return dataclasses.replace(running, receiver=self._receiver) if keeps_listening else running
            finally:
                self._state_folder.close()
                self._close(lives_on=running is not None and not running.is_finished)

    def _close(self, *, lives_on: bool) -> None:
        if self._guard is not None and not lives_on:
            end_guard(self._settings, only=self._guard)
        if self._receiver is not None and not (self._request.supervised and lives_on):
            self._receiver.close()

    def _ensure_guard(self) -> Endpoint:
        """Where the bot reaches the gateway: at the order guard, where it needs one; it runs then, and no other."""
        settings, request = self._settings, self._request
        if not is_guarded(settings, request.strategy):
            end_guard(settings)
            return request.gateway
        network = ensure_guarded_network(settings) if self._is_contained else None
        self._guard = ensure_guard(
            settings,
            settings.gateway if self._is_contained else request.gateway,
            run_id=request.run_id,
            clock=request.clock,
            host=LOOPBACK if network is None else network.host,
        )
        name = "" if network is None else network.name
        return Endpoint(host=self._guard.host, port=self._guard.port, network=name)

    def _build_record(self, address: Endpoint) -> BotRecord:
        settings, request = self._settings, self._request
        return BotRecord(
            instance=settings.instance,
            argv=build_bot_argv(settings, address, gameplan=request.gameplan),
            workdir=settings.bot_compose_dir if self._is_contained else settings.bot_workdir,
            log=None if self._is_contained else _create_log(settings, self._now),
            gameplan=request.gameplan,
            strategy=request.strategy,
            gameplan_sha256=request.sha256,
            started_at=self._now,
            run_id=request.run_id,
            notify_socket=self._receiver.path if self._receiver is not None else None,
            supervised=request.supervised,
            gateway_port=address.port,
            guarded=self._guard is not None,
            denied_ports=() if self._is_contained else _list_denied_ports(self._guard, request.denied_ports),
            container=settings.bot_container_name if self._is_contained else "",
            control_group=_read_own_control_group(settings),
        )

    def _start(self, record: BotRecord, address: Endpoint) -> BotRunning:
        try:
            return (self._start_container if self._is_contained else self._start_process)(record, address)
        except BaseException:
            _leave_nothing(self._settings, record, self._request.require_locks)
            raise

    def _look_again(self) -> None:
        """The last look, right before the process or the container is made."""
        self._request.before_start()
        if self._guard is not None and not is_running(self._guard.identity):
            raise build_failure("it ended before the bot was started")
        self._request.require_locks()

    def _start_process(self, record: BotRecord, address: Endpoint) -> BotRunning:
        settings = self._settings
        if record.log is None:  # a process always has one
            raise AssertionError("a process writes to a log of its own")
        environ = build_bot_environ(settings, address, gameplan=record.gameplan, notify_socket=record.notify_socket)
        _write_record(settings, record)
        self._look_again()
        try:
            process = launch_detached(
                record.argv, cwd=record.workdir, environ=environ, output=record.log, denied_ports=record.denied_ports
            )
        except LandlockError as error:
            raise _explain_no_confinement(record, error) from error
        except OSError as error:
            raise _explain_no_start(settings, record, error) from error
        started = StartedProcess(settings, process, dataclasses.replace(record, process=process.identity), record.log)
        try:
            _write_record(settings, started.record)
            forget_container(settings)
            self._state_folder.close()
            return self._wait_until_up(started)
        except StartupFailure:
            end_process_tree(process.identity, timeout_s=0.0)
            process.poll_exit_code()
            raise
        except BaseException:
            # Interrupted: it may end gracefully. If a second signal cuts this short, `_leave_nothing` kills what is
            # left.
            timeout_s = min(settings.bot_stop_timeout_s, _INTERRUPTED_STOP_TIMEOUT_S)
            end_process_tree(process.identity, timeout_s=timeout_s)
            process.poll_exit_code()
            raise
        finally:
            process.disown()

    def _start_container(self, record: BotRecord, address: Endpoint) -> BotRunning:
        settings, request = self._settings, self._request
        try:
            record = launch_container(
                settings,
                record,
                address,
                clock=request.clock,
                write_record=functools.partial(_write_record, settings),
                on_progress=request.on_progress,
                before_start=self._look_again,
            )
            self._state_folder.close()
            with StartedContainer(settings, record, clock=request.clock) as started:
                return self._wait_until_up(started)
        except OSError as error:
            raise _cannot_write("What the bot's container needs", settings.state_dir, error) from error

    def _wait_until_up(self, started: Started) -> BotRunning:
        settings, request = self._settings, self._request
        request.on_progress(
            f"{started.record.who} started; up when it says READY, or after {settings.bot_start_grace_s:g} s"
        )
        bot = wait_until_up(
            settings, started, receiver=self._receiver, clock=request.clock, on_progress=request.on_progress
        )
        _write_record(settings, bot.record)
        if bot.is_finished:
            ended_at = request.clock.now()
            write_end(build_record_path(settings), started.record.identity, BotState(exit_code=0), ended_at=ended_at)
        else:
            note_workers(settings, bot.record)
        return bot


def _list_denied_ports(guard: GuardRecord | None, others: Collection[int]) -> tuple[int, ...]:
    """What the bot's process must not connect to: the caller's ports, and behind a guard the gateway's.

    Those of the gateway only where the kernel can see to that; elsewhere the guard looks.
    """
    if guard is None:
        return tuple(sorted(others))
    behind = list_gateway_ports(guard.gateway_port, but=guard.port) if can_deny_ports() else frozenset()
    return tuple(sorted({*others, *behind} - {guard.port}))


def _hold_state_folder(settings: Settings, launching: contextlib.ExitStack) -> None:
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        launching.enter_context(hold_folder(settings.state_dir, timeout_s=_FOLDER_TIMEOUT_S))
    except LockHeldError as error:
        raise StartupFailure(
            FailureWord.ALREADY_STARTING,
            f"No bot is started: another run of this instance has been launching one for {_FOLDER_TIMEOUT_S:g} s.",
            next_action="Look at `inv status`; end that run if it is stuck, then start again.",
        ) from error
    except OSError as error:
        raise _cannot_write("The bot's record", settings.state_dir, error) from error


def _read_own_control_group(settings: Settings) -> str:
    """The control group that systemd made for this very program as a service; empty where it did not."""
    is_service = settings.environ.get("SYSTEMD_EXEC_PID") == str(platform().own_pid())
    return read_control_group(platform().own_pid()) if is_service else ""


def _refuse_second_bot(settings: Settings) -> None:
    presence = find_bot(
        settings, before_launch=True
    )  # a few milliseconds; an earlier caller may have waited for a gateway since
    if not presence.is_found and not presence.is_unknown:
        return
    who = f"{name_bot(presence.pid, presence.container)}: " if presence.is_found else "perhaps: "
    raise StartupFailure(
        FailureWord.BOT_ALREADY_RUNNING,
        f"No second bot is started: a bot of this instance runs already ({who}{presence.detail}).",
        next_action=presence.next_action if presence.is_unknown else "Leave it alone, or stop it with `inv bot.stop`.",
    )


class StartedProcess:
    """See `Started`: a process of this host."""

    def __init__(self, settings: Settings, process: LaunchedProcess, record: BotRecord, log: Path) -> None:
        self._settings = settings
        self._process = process
        self._marker = str(build_record_path(settings))
        self._log = log
        self.record = record
        self.log_hint = str(log)

    def poll_exit_code(self) -> int | None:
        """See `Started.poll_exit_code`."""
        return self._process.poll_exit_code()

    def wait(self, *, timeout_s: float, or_readable: int | None = None) -> None:
        """See `Started.wait`."""
        self._process.wait(timeout_s=timeout_s, or_readable=or_readable)

    def is_heard(self, sender: PeerCredentials) -> bool:
        """See `Started.is_heard`."""
        return speaks_for_bot(sender.pid, self._process.pid, self._marker)

    def read_last_lines(self, count: int) -> tuple[str, ...]:
        """See `Started.read_last_lines`."""
        return read_last_lines(self._log, count, redactor_for(self._settings.secrets))

    def read_connection(self) -> bool | None:
        """See `Started.read_connection`."""
        return read_connection(self._settings, self.record)

    def describe_leftover(self) -> str:
        """See `Started.describe_leftover`."""
        left = find_members(self._settings, self.record)
        pids = ", ".join(str(one.pid) for one in left[:_MOST_SHOWN])
        return f"It left behind what it had started (process {pids}): a bot must stay in the foreground" if left else ""


def _create_log(settings: Settings, now: datetime) -> Path:
    try:
        return create_log(settings.log_dir, now)
    except OSError as error:
        raise _cannot_write("The bot's log", settings.log_dir, error) from error


def _write_record(settings: Settings, record: BotRecord) -> None:
    path = build_record_path(settings)
    try:
        write_record(path, record)
    except OSError as error:
        raise _cannot_write("The bot's record", path, error) from error


def _leave_nothing(settings: Settings, launch: BotRecord, require_locks: Callable[[], None]) -> None:
    """After a failed or interrupted start: no process of it, and no record.

    Where our locks no longer count, another run may have launched a bot since: what is that run's is left alone.
    """
    path = build_record_path(settings)
    record = read_record(path)
    is_ours = record is None or record.run_id == launch.run_id
    if launch.container:
        end_container(settings, launch, timeout_s=min(settings.bot_stop_timeout_s, _INTERRUPTED_STOP_TIMEOUT_S))
    else:
        counts = is_ours and _are_in_place(require_locks)
        end_members(settings, record if record is not None and is_ours else launch, of_this_launch=not counts)
    if is_ours:
        remove_record(path)


def _are_in_place(require_locks: Callable[[], None]) -> bool:
    try:
        require_locks()
    except StartupFailure:
        return False
    return True


def _explain_no_start(settings: Settings, launch: BotRecord, error: OSError) -> StartupFailure:
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


def _explain_no_confinement(launch: BotRecord, error: LandlockError) -> StartupFailure:
    if launch.guarded:
        return build_failure(f"the kernel does not confine the bot: {error.strerror or error}")
    named = ", ".join(str(port) for port in launch.denied_ports)
    return StartupFailure(
        FailureWord.BOT_START_FAILED,
        f"The bot was not started: the kernel did not deny it the ports {named} ({error.strerror or error}).",
        next_action="Find out why Landlock, which this kernel has, was refused: `dmesg | grep -i landlock`.",
    )


def _cannot_write(what: str, path: Path, error: OSError) -> StartupFailure:
    return StartupFailure(
        FailureWord.BOT_START_FAILED,
        f"{what} cannot be written to {path}: {error.strerror or error}.",
        next_action="Free disk space or fix the folder's permissions, then start again.",
    )
