"""How `launcher.log` is read where the gateway keeps it. Read only, and bounded.

In a container through `docker exec`, as the image's own user: from `TWS_SETTINGS_PATH`, else from `Jts` in that user's
home. An image that runs a live and a paper gateway (`TRADING_MODE=both`) gives each a folder of its own. Only lines
that may matter leave the container, and nothing of them but phases, times and counts leaves this module. The built-in
gateway's own folder is read directly.
"""

import contextlib
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.gateway.launcher_log import LauncherReading, read_launcher_log
from orchestration.settings import TradingMode
from orchestration.system.files import open_regular

_NAME = "launcher.log"
_MOST_BYTES = 4 * 1024 * 1024  # of the present file: two days of a heartbeat each 20 s
_MOST_OLD_BYTES = 1024 * 1024
_MOST_LINES = 4000
_OLD_FILES = 8  # a week of daily files: the last full login may be that old

# What the lines that `login_patterns` reads have in them, for grep. Heartbeats would only fill the bounds.
_MATTERS = (
    "IB GATEWAY RESTART|Running in auto-restart|Started on |startTime=|socketOpenStart=|socketOpenEnd=|"
    "loginMessageReq=|runLoginWithUI|NS_AUTH_START|Received CHALLENGE|Authentication timeout|"
    "SPLASH Attempt|onAuthenticationCompleted|indicates wrong password|Authorization failed|"
    "Too many failed login attempts|new encrypted log"
)
# Arguments: the mode of trading, the pattern, and the bounds. A shell without grep hands on all lines.
_SCRIPT = f"""
settings=${{TWS_SETTINGS_PATH:-${{HOME:-/root}}/Jts}}
[ "${{TRADING_MODE:-}}" = both ] && [ -d "${{settings}}_$1" ] && settings=${{settings}}_$1
choose() {{ if command -v grep >/dev/null; then grep -aiE -- "$1"; else cat; fi; }}
date '+now %s %z'
matters=$2 most=$3 most_old=$4 lines=$5
set --
for file in "$settings"/launcher.[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9].log; do
    [ -f "$file" ] && [ -r "$file" ] && set -- "$@" "$file"
done
while [ $# -gt {_OLD_FILES} ]; do shift; done
for file do
    tail -c "$most_old" "$file" | head -c "$most_old" | choose "$matters" | tail -n "$lines"
    echo
done
file=$settings/{_NAME}
[ -f "$file" ] && [ -r "$file" ] || exit 0
tail -c "$most" "$file" | head -c "$most" | choose "$matters" | tail -n "$lines"
printf '\\nlast '
tail -c 65536 "$file" | choose '20[0-9][0-9]-[0-9][0-9]-[0-9][0-9] ' | tail -n 1
"""
_OLD_FILE = "launcher.[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9].log"
_NOW = re.compile(r"now (?P<epoch>\d{9,11}) (?P<sign>[+-])(?P<hours>\d{2})(?P<minutes>\d{2})$")


def read_argv(container_id: str, mode: TradingMode) -> tuple[str, ...]:
    """Print what matters of a container's `launcher.log`, for `parse_launcher_log`."""
    bounds = (str(_MOST_BYTES), str(_MOST_OLD_BYTES), str(_MOST_LINES))
    return ("docker", "exec", container_id, "sh", "-c", _SCRIPT, "sh", mode.value, _MATTERS, *bounds)


def parse_launcher_log(text: str, *, since: datetime | None, now: datetime) -> LauncherReading:
    """What `read_argv` printed.

    Args:
        text: All of it.
        since: When the container's latest start was, aware.
        now: This host's clock, aware; the container's own counts where it printed it.
    """
    lines = text.split("\n")
    found = _NOW.match(lines[0])
    offset = timedelta()
    if found is not None:
        now = datetime.fromtimestamp(int(found["epoch"]), UTC)
        offset = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"]))
        offset = -offset if found["sign"] == "-" else offset
    last = next((line.removeprefix("last ") for line in reversed(lines) if line.startswith("last ")), "")
    return read_launcher_log(lines[1:], now=now, offset=offset, since=since, last_line=last)


def read_settings_folder(folder: Path, *, since: datetime | None, now: datetime) -> LauncherReading:
    """What the gateway has written to a settings folder of this host. What cannot be read counts as not written.

    Args:
        folder: Its settings folder.
        since: When its latest start was, aware.
        now: This host's clock, aware.
    """
    old = sorted(folder.glob(_OLD_FILE))[-_OLD_FILES:]
    lines = [line for path in old for line in _read_end(path, _MOST_OLD_BYTES)]
    lines += _read_end(folder / _NAME, _MOST_BYTES)
    return read_launcher_log(lines, now=now, offset=now.astimezone().utcoffset(), since=since)


def _read_end(path: Path, most_bytes: int) -> list[str]:
    with contextlib.suppress(OSError), open_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
        return file.read(most_bytes).decode("utf-8", "replace").splitlines()
    return []
