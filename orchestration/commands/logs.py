"""`inv logs`: the newest log of start-ups, the bot, the gateway, supervisors or stops, wherever each is kept."""

import contextlib
import fnmatch
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestration import presenter as console
from orchestration.bot.container import BotDocker, build_door, is_contained
from orchestration.bot.record import build_record_path
from orchestration.bot.record import read_record as read_bot_record
from orchestration.commands.views import load_settings_or_explain
from orchestration.errors import ExitCode, StartupFailure
from orchestration.gateway.record import read_record
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.redaction import FileTail, Redactor, read_last_lines, redactor_for
from orchestration.settings import GatewayRuntime, Settings
from orchestration.state_dir import startup_lock_path
from orchestration.system.clock import SystemClock
from orchestration.system.commands import Following, SystemCommands
from orchestration.system.files import open_regular
from orchestration.system.lock import read_lock_holder

_KINDS = ("startup", "bot", "gateway", "supervisor", "shutdown")
_FOLLOW_LOOK_S = 0.25
_LONGEST_FIRST_LINE = 4096
_NEWEST_LOGS = 50  # looked through for the one of the run that is under way


def logs(of: str, *, follow: bool, lines: int) -> int:
    """`inv logs --of startup|bot|gateway|supervisor|shutdown [-f]`."""
    if of not in _KINDS:
        console.warn(f"--of: {of!r} is not a log; allowed are {', '.join(_KINDS[:-1])} and {_KINDS[-1]}")
        return int(ExitCode.FAILURE)
    settings = load_settings_or_explain(as_json=False)
    if settings is None:
        return int(ExitCode.FAILURE)
    if of == "gateway":
        return _show_gateway_log(settings, follow=follow, lines=lines)
    if of == "bot" and (door := _find_contained_bot(settings)) is not None:
        return _show_log_of(door.read_log(lines=lines), door.follow_log if follow else None, "the bot")
    return _show_newest_file(settings, of, follow=follow, lines=lines)


def _show_newest_file(settings: Settings, of: str, *, follow: bool, lines: int) -> int:
    try:
        found = sorted(_find_logs(settings.log_dir, of))
    except FileNotFoundError:
        found = []
    except OSError as error:
        console.warn(
            f"the logs in {settings.log_dir} cannot be read: {error.strerror}; "
            "run this as the user of the boot service, or as root"
        )
        return int(ExitCode.FAILURE)
    if not found:
        console.warn(f"there is no log of {of} in {settings.log_dir}")
        return int(ExitCode.FAILURE)
    paths = [path for _, path in found]
    path = (_find_log_under_way(settings, paths) if of == "startup" else None) or paths[-1]
    console.warn(f"==> {path}")
    redactor = redactor_for(settings.secrets)
    try:
        if follow:
            _follow_file(path, redactor, lines=lines)
            return int(ExitCode.SUCCESS)
        for line in read_last_lines(path, lines, redactor):
            console.print_line(line)
    except OSError as error:
        why = error.strerror or type(error).__name__
        console.warn(f"{path} cannot be read: {why}; run this as the user who wrote it, or as root")
        return int(ExitCode.FAILURE)
    return int(ExitCode.SUCCESS)


def _find_logs(folder: Path, of: str) -> Iterator[tuple[tuple[float, str], Path]]:
    """The logs of a kind, each with its age. `Path.glob` would take a folder that may not be read for an empty one.

    Raises:
        OSError: The folder cannot be read.
    """
    for name in os.listdir(folder):  # noqa: PTH208 - `iterdir` opens nothing before its first value is asked for
        if fnmatch.fnmatchcase(name, f"{of}_*.log"):
            with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                yield (os.lstat(folder / name).st_mtime, name), folder / name


def _find_log_under_way(settings: Settings, found: list[Path]) -> Path | None:
    """The log of the run that is under way: one that was refused meanwhile has a newer log."""
    holder = read_lock_holder(startup_lock_path(settings.state_dir))
    if holder is None or holder.pid is None:
        return None
    for path in reversed(found[-_NEWEST_LOGS:]):
        with contextlib.suppress(OSError), open_regular(path) as file:
            if (
                file.readline(_LONGEST_FIRST_LINE)
                .decode("utf-8", "replace")
                .rstrip()
                .endswith(f"(process {holder.pid})")
            ):
                return path
    return None


def _find_contained_bot(settings: Settings) -> BotDocker | None:
    record = read_bot_record(build_record_path(settings))
    return build_door(settings, record) if is_contained(settings, record) else None


def _show_gateway_log(settings: Settings, *, follow: bool, lines: int) -> int:
    record = read_record(settings.state_dir)
    runtime = build_runtime(settings, commands=SystemCommands(), clock=SystemClock(), record=record)
    if runtime.kind is GatewayRuntime.EXTERNAL:
        console.warn("this gateway is managed externally: its log is where it runs")
        return int(ExitCode.FAILURE)
    return _show_log_of(runtime.read_log(lines=lines), runtime.follow_log if follow else None, "the gateway")


def _show_log_of(said: Sequence[str], follow: Callable[[Callable[[str], None]], Following] | None, whose: str) -> int:
    """A log that Docker, or another program, hands out."""
    try:
        for line in said:
            console.print_line(line)
        if follow is None:
            if not said:
                console.warn(f"there is no log of {whose}; `inv status` says how it is")
            return int(ExitCode.SUCCESS if said else ExitCode.FAILURE)
        with contextlib.suppress(KeyboardInterrupt), contextlib.closing(follow(_print_now)) as following:
            while following.is_running and console.has_reader():
                SystemClock().sleep(_FOLLOW_LOOK_S)
    except StartupFailure as failure:
        console.warn(f"{failure.message} {failure.next_action}")
        return int(ExitCode.FAILURE)
    return int(ExitCode.SUCCESS)


def _print_now(line: str) -> None:
    console.print_line(line)


def _follow_file(path: Path, redactor: Redactor, *, lines: int) -> None:
    """Show a log's last lines and then its new ones, until Ctrl-C or until its reader is gone.

    Raises:
        OSError: It cannot be read.
    """
    clock = SystemClock()
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(FileTail(path, redactor, last=lines)) as tail:
        while console.has_reader():
            for line in tail.read_new():
                console.print_line(line)
            clock.sleep(_FOLLOW_LOOK_S)
