"""What is written down about a bot's end: that this program was asked to stop it, and how it ended.

`state/bot_stop.json` is written before the bot is asked to leave, so that a watcher of the bot knows of it when the
bot ends: it alone makes an end a planned one. What the bot itself says (`STOPPING=1`), a signal from elsewhere, or
a record that is missing, plans nothing. `state/bot_end.json` is written by the process that saw the end.

Both name the process, or the start of the container, that they are about: they say nothing about any other bot.
"""

import contextlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration import state_dir
from orchestration.bot.state import BotState
from orchestration.state_dir import read_fields, write_fields
from orchestration.system.clock import Clock
from orchestration.system.platform import platform
from orchestration.system.processes import ProcessIdentity

STOP_NAME = state_dir.BOT_STOP
END_NAME = state_dir.BOT_END
_UNKNOWN_STOP = "was ended by something else, or left processes behind"
_MARGIN_S = 60.0  # for what the engine or the system needs beyond the time that the bot has


def note_stop_request(record_path: Path, identity: ProcessIdentity, *, timeout_s: float, clock: Clock) -> None:
    """Write down that this bot is asked to leave now. No error if that cannot be: the bot is stopped all the same.

    Args:
        record_path: The bot's record (`build_record_path`).
        identity: Exactly which process, or start of a container.
        timeout_s: Seconds that it has to leave. Somewhat later the request counts no more: its maker must have
            ended before the bot was asked.
        clock: Tells the time.
    """
    request = {
        **_identify(identity),
        "requested_by": platform().own_pid(),
        "requested_at": clock.now().isoformat(),
        "valid_until_s": clock.monotonic_s() + timeout_s + _MARGIN_S,
    }
    _write(record_path.with_name(STOP_NAME), request)


def is_stop_requested(record_path: Path, identity: ProcessIdentity, *, clock: Clock) -> bool:
    """Whether this program was asked to stop exactly this bot, and may still be about it."""
    request = _read(record_path.with_name(STOP_NAME), identity)
    try:
        return clock.monotonic_s() <= float(request["valid_until_s"])
    except (KeyError, TypeError, ValueError):
        return False


def write_end(record_path: Path, identity: ProcessIdentity, ended: BotState, *, ended_at: datetime) -> None:
    """Write down how this bot ended, and when that was seen. No error if that cannot be."""
    fields = {
        **_identify(identity),
        "exit_code": ended.exit_code,
        "ended_at": ended_at.isoformat(),
        "finished": ended.is_finished,
        "outside_stop": ended.outside_stop,
    }
    _write(record_path.with_name(END_NAME), fields)


def read_end(record_path: Path, identity: ProcessIdentity) -> BotState | None:
    """How this bot ended, as it was written down; None where it was not."""
    fields = _read(record_path.with_name(END_NAME), identity)
    try:
        code = fields["exit_code"]
        # Earlier releases wrote down that it had not finished, not why.
        unfinished = "" if fields["finished"] is True or code != 0 else _UNKNOWN_STOP
        return BotState(
            exit_code=None if code is None else int(code),
            ended_at=datetime.fromisoformat(fields["ended_at"]),
            outside_stop=str(fields.get("outside_stop") or unfinished),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _identify(identity: ProcessIdentity) -> dict[str, Any]:
    return {"pid": identity.pid, "birth": identity.birth}


def _write(path: Path, fields: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        write_fields(path, fields)


def _read(path: Path, identity: ProcessIdentity) -> Mapping[str, Any]:
    """The file's fields, if they are about this bot; none where it is missing, damaged, or no regular file."""
    try:
        fields = read_fields(path)
        return fields if {**fields, **_identify(identity)} == fields else {}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
