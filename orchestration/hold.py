"""`inv hold` and `inv resume`: the system stays down, across reboots, until it is resumed."""

import contextlib
import getpass
import socket
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from orchestration.errors import FailureWord, StartupFailure
from orchestration.state_dir import HOLD, StateFileError, read_fields, write_fields
from orchestration.system.clock import describe_written_instant

_FILE = HOLD
_UNKNOWN = "an unknown time"


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Who holds the system down, since when and why.

    Attributes:
        by: User and host, for example `ann@rackmount`.
        since: When, ISO 8601.
        reason: Why, as the operator put it; may be empty.
    """

    by: str
    since: str
    reason: str

    def __str__(self) -> str:
        return f"held by {self.by} since {describe_written_instant(self.since)}" + (
            f": {self.reason}" if self.reason else ""
        )


def read_hold(state_dir: Path) -> Hold | None:
    """The hold in effect, or None. An unreadable file counts as a hold: it was put there for a reason."""
    path = state_dir / _FILE
    try:
        note = read_fields(path)
        return Hold(by=str(note["by"]), since=str(note["since"]), reason=str(note["reason"]))
    except FileNotFoundError:
        return None
    except StateFileError as error:
        return Hold(by="unknown", since=_UNKNOWN, reason=str(error))
    except KeyError as error:
        return Hold(by="unknown", since=_UNKNOWN, reason=f"{path} cannot be used: it lacks {error}")


def describe_start(state_dir: Path) -> str:
    """What starts the system again, as a clause for advice: while it is held, the hold has to end first."""
    return f"{'after `inv resume`, ' if read_hold(state_dir) is not None else ''}`inv startup` starts again"


def write_hold(state_dir: Path, *, reason: str, now: datetime) -> Hold:
    """Hold the system down from now on. One in effect already is replaced only if this one gives a reason.

    Raises:
        OSError: It could not be written.
    """
    before = read_hold(state_dir)
    if before is not None and before.reason and before.since != _UNKNOWN and not reason.strip():
        return before  # who holds it, since when and why, stays visible
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this uid, as in some containers
        user = "unknown"
    hold = Hold(by=f"{user}@{socket.gethostname()}", since=now.isoformat(timespec="seconds"), reason=reason.strip())
    write_fields(state_dir / _FILE, asdict(hold))
    return hold


def clear_hold(state_dir: Path) -> Hold | None:
    """End the hold. Returns the one that was in effect, or None.

    Raises:
        OSError: It could not be removed.
    """
    hold = read_hold(state_dir)
    path = state_dir / _FILE
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    return hold


def refuse_if_held(state_dir: Path) -> None:
    """Raise if the system is held down.

    Raises:
        StartupFailure: `HELD`, with who, since when and why.
    """
    hold = read_hold(state_dir)
    if hold is not None:
        raise StartupFailure(
            FailureWord.HELD,
            f"The system is {hold}.",
            next_action="If it may run again: `inv resume`, then `inv startup`.",
        )
