"""What is written down about the bot, in `state/bot.json`, so that the next run finds it for certain.

A process cannot be recorded before it exists, and its launcher may be killed right after. So the file is written
twice: before the launch without the process, and right after it with it. In between the bot can be told by the marker
in its environment and by the log that its output goes to (`orchestration.bot.find`).

Beside it, `state/bot_workers.json` names the processes that were seen to belong to the recorded bot. They may cut every
tie to it later and outlive it (`orchestration.bot.members`).
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestration import state_dir
from orchestration.settings import Settings
from orchestration.state_dir import DamagedFile, StateFileError, describe_damage, read_fields, write_fields
from orchestration.system.processes import ProcessIdentity

RECORD_NAME = state_dir.BOT_RECORD
WORKERS_NAME = state_dir.BOT_WORKERS
# Names the record of the bot that a process belongs to. Whatever the bot starts inherits it.
RECORD_MARKER = "BOT_RECORD"
_MOST_WORKERS = 1000


class ReadyBy(StrEnum):
    """How the bot was found to be up. The values are part of the contract."""

    NOTIFY = "notify"
    GRACE = "grace"


@dataclass(frozen=True, kw_only=True)
class BotRecord:
    """A bot that is about to be launched, or was: what it was given, and which process it is once that exists.

    Attributes:
        instance: Whose bot it is.
        argv: Its whole argument list.
        workdir: Its working folder.
        log: The file that its output goes to; None for a container, whose output the engine keeps.
        gameplan: The plan it was given.
        strategy: What that plan chooses: `A`, `B` or `C`.
        gameplan_sha256: The hash of that plan's bytes.
        started_at: When it was launched, aware.
        run_id: The run that launched it.
        notify_socket: What it was given as `NOTIFY_SOCKET`; None where there are no such sockets.
        supervised: Whether a supervisor keeps it as its child.
        gateway_port: The port at which it reaches the gateway, as it was told; 0 if that was not written down.
        guarded: Whether that is the port of an order guard.
        denied_ports: The TCP ports that the kernel keeps it from connecting to.
        container: The name of its container; empty for a process.
        control_group: The control group of the service that launches it, where that is its own; empty elsewhere.
        process: The process that was launched, which leads its session and its process group; of a container its first
            process, as the engine's host numbers it, with the container's id and start. None before it exists.
        ready_by: How it was found to be up; None while it is not, or if its launcher ended before.
    """

    instance: str
    argv: tuple[str, ...]
    workdir: Path
    log: Path | None
    gameplan: Path
    strategy: str
    gameplan_sha256: str
    started_at: datetime
    run_id: str
    notify_socket: Path | None = None
    supervised: bool = False
    gateway_port: int = 0
    guarded: bool = False
    denied_ports: tuple[int, ...] = ()
    container: str = ""
    control_group: str = ""
    process: ProcessIdentity | None = None
    ready_by: ReadyBy | None = None

    @property
    def is_launched(self) -> bool:
        """Whether its process is known; False for a launch that was cut short."""
        return self.process is not None

    @property
    def identity(self) -> ProcessIdentity:
        """Exactly which process it is.

        Raises:
            LookupError: It is not launched.
        """
        if self.process is None:
            raise LookupError(f"the bot of run {self.run_id} was recorded before its launch: it has no process")
        return self.process

    @property
    def pid(self) -> int:
        """The process id; raises as `identity` does."""
        return self.identity.pid

    @property
    def birth(self) -> str:
        """What no other process with that id ever has; raises as `identity` does."""
        return self.identity.birth

    @property
    def log_hint(self) -> str:
        """Where the operator reads what it says: a file, or a command."""
        return f"`docker logs {self.container}`" if self.log is None else str(self.log)

    @property
    def who(self) -> str:
        """What people call it; raises as `identity` does."""
        return name_bot(self.pid, self.container)


def name_bot(pid: int, container: str) -> str:
    """What people call a bot: `process 4711`, or `container ibkr-bot`."""
    return f"container {container}" if container else f"process {pid}"


def build_record_path(settings: Settings) -> Path:
    """Where this instance's record is, by one name however the state folder was named (through a link, say)."""
    return Path(os.path.realpath(settings.state_dir)) / RECORD_NAME


def write_record(path: Path, record: BotRecord) -> None:
    """Write what is known of the bot, whole or not at all.

    Raises:
        OSError: It could not be written.
    """
    fields = dataclasses.asdict(record)
    process = fields.pop("process") or {"pid": None, "birth": None}
    fields |= {**process, "started_at": record.started_at.isoformat()}
    # All of it is ASCII: a file name that is no text is escaped, and read back as the bytes it was.
    write_fields(path, fields)


def read_record(path: Path) -> BotRecord | None:
    """What was written down last; of a launch that was cut short without a process. None if there is nothing.

    A file that is damaged reads as None too: the bot is then found by its marker. `find_record_damage` tells the two
    apart.
    """
    try:
        return _parse_record(read_fields(path))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def find_record_damage(path: Path) -> DamagedFile | None:
    """What is wrong with the record, if there is one and it cannot be used: then it is unknown what was recorded."""
    try:
        _parse_record(read_fields(path))
    except FileNotFoundError:
        return None
    except StateFileError as error:
        return describe_damage(error)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else f"it is no record of a bot ({error})"
        return describe_damage(StateFileError(path, why))
    return None


def _parse_record(fields: dict[str, Any]) -> BotRecord:
    process = None
    if fields["pid"] is not None:
        process = ProcessIdentity(pid=_read_pid(fields["pid"]), birth=str(fields["birth"]))
    return BotRecord(
        instance=str(fields["instance"]),
        argv=tuple(str(word) for word in fields["argv"]),
        workdir=Path(fields["workdir"]),
        log=_read_log(fields),
        gameplan=Path(fields["gameplan"]),
        strategy=str(fields["strategy"]),
        gameplan_sha256=str(fields["gameplan_sha256"]),
        started_at=datetime.fromisoformat(fields["started_at"]),
        run_id=str(fields["run_id"]),
        notify_socket=Path(fields["notify_socket"]) if fields["notify_socket"] else None,
        supervised=fields["supervised"] is True,
        gateway_port=int(fields.get("gateway_port") or 0),
        guarded=fields.get("guarded") is True,
        denied_ports=tuple(int(one) for one in fields.get("denied_ports") or ()),
        container=str(fields.get("container") or ""),
        control_group=str(fields.get("control_group") or ""),
        process=process,
        ready_by=ReadyBy(fields["ready_by"]) if process is not None and fields["ready_by"] else None,
    )


def remove_record(path: Path) -> None:
    """Forget the bot. No error if that cannot be: a dead bot's record does no harm."""
    for one in (path.with_name(WORKERS_NAME), path):
        with contextlib.suppress(OSError):
            one.unlink()


def write_workers(path: Path, record: BotRecord, workers: Sequence[ProcessIdentity]) -> None:
    """Write down which processes belong to a recorded bot besides its main one.

    Args:
        path: The record's path (`build_record_path`).
        record: The bot.
        workers: Those processes.

    Raises:
        OSError: It could not be written.
    """
    fields = {
        "pid": record.pid,
        "birth": record.birth,
        "workers": [dataclasses.asdict(one) for one in workers[:_MOST_WORKERS]],
    }
    write_fields(path.with_name(WORKERS_NAME), fields)


def read_workers(path: Path, record: BotRecord) -> tuple[ProcessIdentity, ...]:
    """What `write_workers` wrote about this very bot; none where there is nothing, or nothing that can be read."""
    try:
        fields = read_fields(path.with_name(WORKERS_NAME))
        if (fields["pid"], fields["birth"]) != (record.pid, record.birth):
            return ()
        return tuple(ProcessIdentity(pid=_read_pid(one["pid"]), birth=str(one["birth"])) for one in fields["workers"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


def _read_log(fields: dict[str, Any]) -> Path | None:
    if fields["log"] is None and fields.get("container"):
        return None
    return Path(fields["log"])


def _read_pid(value: object) -> int:
    # 0 and below mean whole groups of processes to the system's calls: never take one from a file.
    if not isinstance(value, int) or isinstance(value, bool) or value <= 1:
        raise ValueError("no process id")
    return value
