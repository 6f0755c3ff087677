"""The state folder: one careful reader and one writer for the small JSON files in it, and which of them are damaged.

Anything may stand in the place of such a file: a pipe, a folder, a device, a link to one, a gigabyte,
a thousand brackets. None of them may block a command, fill the memory, or end it with a traceback; each is reported by
its name, with what to do about it. A file that is missing is a fact of its own (`FileNotFoundError`): there is nothing
on record. One that is there and cannot be read means that what is on record is unknown.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.system.files import UnfitFileError, open_regular, read_regular, write_atomic

# Who writes each of them: the table in docs/explanation/architecture.md.
BOT_RECORD = "bot.json"
BOT_WORKERS = "bot_workers.json"
BOT_STOP = "bot_stop.json"
BOT_END = "bot_end.json"
ORDER_GUARD = "order_guard.json"
HOLD = "hold.json"
GATEWAY_RECORD = "gateway.json"
ATTEMPTS = "attempts.json"
SERVICE_END = "service_end.json"
LEASE = "lease.json"
JOURNAL = "journal.sqlite3"
STARTUP_LOCK = "startup.lock"
SUPERVISOR_LOCK = "supervisor.lock"
MONITOR_LOCK = "monitor.lock"
EMERGENCY_GAMEPLAN = "emergency_gameplan.json"

# Everything else that this program, or SQLite, makes in the folder: no instance may be called like any of them.
_OTHER_NAMES = (
    *("gameplans", "notify", "notify.sock", "report.html", "sample_gameplan.json", "bot_compose.json"),
    "linger_enabled_by_install.json",
)
_LOG_NAME = re.compile(r"[a-z]+_\d{8}_\d{6}.*\.log(\.\d+)?")


MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32  # a record needs three levels; Python's own limit differs between versions and is met as RecursionError

# Strings are matched whole so that brackets inside them do not count. The closing quote is optional and the repeat is
# possessive: an unterminated string is passed over once, and the time stays linear.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]+|\\.)*+"?|[\[\]{}]', re.DOTALL)


def journal_path(folder: Path) -> Path:
    """Where the journal of a state folder is."""
    return folder / JOURNAL


def attempts_path(folder: Path) -> Path:
    """Where the boot service counts its failed starts."""
    return folder / ATTEMPTS


def startup_lock_path(folder: Path) -> Path:
    """The lock that a run holds: one start-up at a time per instance."""
    return folder / STARTUP_LOCK


def supervisor_lock_path(folder: Path) -> Path:
    """The lock that a supervisor holds for as long as it lives."""
    return folder / SUPERVISOR_LOCK


def monitor_lock_path(folder: Path) -> Path:
    """The lock that `inv monitor` holds for as long as it lives."""
    return folder / MONITOR_LOCK


class StateFileError(ValueError):
    """A state file is there and cannot be used.

    Attributes:
        path: The file.
        problem: What is wrong with it, as a clause.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot be used: {self.problem}"


def read_fields(path: Path, *, follow: bool = False) -> dict[str, Any]:
    """The JSON object in a file. Never blocks; reads at most 1 MiB.

    Args:
        path: The file.
        follow: Whether it may be a symbolic link; none of the state files is.

    Raises:
        FileNotFoundError: There is no such file.
        StateFileError: There is something, and it is no such document, or may not be read.
    """
    try:
        content = read_regular(path, max_bytes=MAX_BYTES, follow=follow)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(str(path)) from None
    except OSError as error:
        raise StateFileError(path, error.strerror or type(error).__name__) from error
    try:
        text = content.decode("utf-8")
        if is_nested_deeper(text, MAX_DEPTH):
            raise StateFileError(path, f"it is nested deeper than {MAX_DEPTH} levels")
        fields = json.loads(text)
    except UnicodeDecodeError:
        raise StateFileError(path, "it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        problem = f"it is not JSON ({error.msg} at line {error.lineno})" if text.strip() else "it is empty"
        raise StateFileError(path, problem) from None
    except RecursionError:
        raise StateFileError(path, "it is nested too deep") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise StateFileError(path, f"it cannot be read as JSON ({error})") from None
    if not isinstance(fields, dict):
        raise StateFileError(path, "it is not a JSON object")
    return fields


def write_fields(path: Path, fields: Mapping[str, Any], *, mode: int = 0o600) -> None:
    """Write a state file, whole or not at all. All of it is ASCII: a file name that is no text is escaped.

    Raises:
        OSError: It could not be written; `UnfitFileError` where something else than a file stands at the path.
    """
    write_atomic(path, json.dumps(fields, indent=2, default=str).encode("ascii") + b"\n", mode=mode)


def is_nested_deeper(text: str, levels: int) -> bool:
    """Whether a JSON text has brackets within brackets deeper than so many levels. Takes linear time."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        character = text[match.start()]
        if character in "[{":
            depth += 1
            if depth > levels:
                return True
        elif character in "]}":
            depth -= 1
    return False


@dataclass(frozen=True, kw_only=True)
class DamagedFile:
    """A file of the state folder that cannot be used.

    Attributes:
        path: The file.
        problem: What is wrong with it, as a clause.
        effect: What that means for the system.
        next_action: What the operator should do.
    """

    path: Path
    problem: str
    effect: str
    next_action: str

    def __str__(self) -> str:
        return f"{self.path} cannot be used: {self.problem}; {self.effect}. {self.next_action}"


_MOVE_AWAY = "Move it away"
# What each file's damage means, and what is to be done. The first are read as JSON; of the others only the kind counts.
_EFFECTS: dict[str, tuple[str, str]] = {
    BOT_RECORD: (
        "unknown whether a bot runs, unless a process shows it",
        "Make sure that no bot runs, then move it away",
    ),
    BOT_WORKERS: ("workers that outlive the bot may not be found by it", _MOVE_AWAY),
    BOT_STOP: ("a planned end of the bot may be taken for an unplanned one", _MOVE_AWAY),
    BOT_END: ("unknown how the bot ended", _MOVE_AWAY),
    ORDER_GUARD: (
        "unknown whether the bot on Strategy C has an order guard; its next start makes one",
        _MOVE_AWAY,
    ),
    HOLD: ("the system counts as held", "If it may run again: `inv resume`, or move it away"),
    GATEWAY_RECORD: ("the gateway is taken to be what the settings name", _MOVE_AWAY),
    ATTEMPTS: ("earlier failed starts are not counted", _MOVE_AWAY),
    SERVICE_END: ("unknown how systemd ended the boot service's last run", _MOVE_AWAY),
    LEASE: ("an etcd cluster that was restored from a backup is not noticed", _MOVE_AWAY),
}
# What a record must have; its reader judges the rest.
_REQUIRED: dict[str, tuple[str, ...]] = {
    BOT_RECORD: ("instance", "argv", "workdir", "gameplan", "started_at", "run_id", "pid"),
    ORDER_GUARD: ("pid", "birth", "host", "port", "gateway_host", "gateway_port"),
    HOLD: ("by", "since", "reason"),
    GATEWAY_RECORD: ("runtime", "host", "port"),
    ATTEMPTS: ("failed_at", "given_up", "given_up_at"),
    SERVICE_END: ("result", "exit_status", "at"),
}
_KINDS: dict[str, tuple[str, str]] = {
    JOURNAL: ("no run is recorded, and alerts are not kept for later", _MOVE_AWAY),
    STARTUP_LOCK: ("no start-up can be kept apart from another one, so none begins", _MOVE_AWAY),
    SUPERVISOR_LOCK: ("no supervisor can be seen by others, so none begins", _MOVE_AWAY),
    MONITOR_LOCK: ("no monitor can be seen by others", _MOVE_AWAY),
}


def find_damaged_files(state_dir: Path) -> tuple[DamagedFile, ...]:
    """Every file of the state folder that is there and cannot be used. Changes nothing."""
    found = []
    for name, (effect, next_action) in (_EFFECTS | _KINDS).items():
        path = state_dir / name
        try:
            _look_at(path, is_json=name in _EFFECTS)
        except (FileNotFoundError, NotADirectoryError):
            continue  # where the folder itself is none, its own check says so
        except StateFileError as error:
            found.append(_describe(path, error.problem, effect, next_action))
        except OSError as error:
            found.append(_describe(path, error.strerror or type(error).__name__, effect, next_action))
    return tuple(found)


def describe_damage(error: StateFileError) -> DamagedFile:
    """What the damage of one file means, and what is to be done."""
    effect, next_action = (_EFFECTS | _KINDS)[error.path.name]
    return _describe(error.path, error.problem, effect, next_action)


def _describe(path: Path, problem: str, effect: str, next_action: str) -> DamagedFile:
    if problem == os.strerror(errno.EACCES):
        problem, next_action = "this user may not read it", "Run this as its owner, or as root"
        return DamagedFile(path=path, problem=problem, effect=effect, next_action=f"{next_action}.")
    return DamagedFile(path=path, problem=problem, effect=effect, next_action=f"{next_action}: {_name_command(path)}.")


def _name_command(path: Path) -> str:
    import shlex

    return f"`mv {shlex.quote(str(path))} {shlex.quote(str(path) + '.damaged')}`"


def _look_at(path: Path, *, is_json: bool) -> None:
    if is_json:
        fields = read_fields(path)
        missing = [name for name in _REQUIRED.get(path.name, ()) if name not in fields]
        if missing:
            raise StateFileError(path, f"it lacks {', '.join(missing)}")
    elif path.name == JOURNAL and path.is_file():
        # SQLite follows links: the journal may be kept in another place. It must not be opened here: closing any
        # descriptor of a file gives up all POSIX locks that this process has on it, also those of its open journal.
        # Another process then takes itself for the last one and deletes the log that this one goes on writing to:
        # https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    elif stat.S_ISREG(os.lstat(path).st_mode) and path.name != JOURNAL:
        open_regular(path, follow=False).close()
    else:
        raise UnfitFileError(path, "it is not a regular file")


def is_reserved_name(name: str) -> bool:
    """Whether a file of the state or log folder is called so, in any case: no instance's own folder could be."""
    folded = name.casefold()
    return (
        folded in {*_EFFECTS, *_KINDS, EMERGENCY_GAMEPLAN, *_OTHER_NAMES}
        or folded.startswith(JOURNAL)
        or folded.endswith((".lock", ".damaged", ".tmp"))
        or _LOG_NAME.fullmatch(folded) is not None
    )
