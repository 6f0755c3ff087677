"""`docker` for a system whose wall clock a test sets: the engine's own times are shown on that clock.

The engine cannot be given another clock. So this program stands before the real one in PATH: the times that the engine
stamps are shifted by what the clock was set to when they were stamped, and times that are given to it are shifted back.

    python engine_clock.py REAL_DOCKER HISTORY ARGUMENT...

HISTORY has a line `REAL_TIME AHEAD_S` for each setting of the clock, oldest first.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

_INSTANT = re.compile(r"\b(20\d{2}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d+)?Z")


def read_history(path: Path) -> list[tuple[float, float]]:
    """When the clock was set, in real time, and how far ahead."""
    pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [(float(at), float(ahead_s)) for at, ahead_s in pairs]


def show(text: str, history: list[tuple[float, float]]) -> str:
    """The text with the engine's times on the system's clock."""
    return _INSTANT.sub(lambda found: _shift(found, lambda at_s: _ahead_at(at_s, history)), text)


def take_back(text: str, history: list[tuple[float, float]]) -> str:
    """The text with times of the system's clock as the engine's."""
    return _INSTANT.sub(lambda found: _shift(found, lambda at_s: -_ahead_of(at_s, history)), text)


def _shift(found: "re.Match[str]", by_s: Callable[[float], float]) -> str:
    at = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    moved = at + timedelta(seconds=by_s(at.timestamp()))
    return f"{moved:%Y-%m-%dT%H:%M:%S}{found[2] or ''}Z"


def _ahead_at(real_s: float, history: list[tuple[float, float]]) -> float:
    return next((ahead_s for at_s, ahead_s in reversed(history) if at_s <= real_s + 1), 0.0)


def _ahead_of(shown_s: float, history: list[tuple[float, float]]) -> float:
    return next((ahead_s for at_s, ahead_s in reversed(history) if shown_s - ahead_s >= at_s - 1), 0.0)


def main() -> int:
    """Run the real one."""
    docker, history, *arguments = sys.argv[1], read_history(Path(sys.argv[2])), *sys.argv[3:]
    argv = [docker, *(take_back(argument, history) for argument in arguments)]
    if "inspect" not in arguments and "--timestamps" not in arguments:
        os.execv(docker, argv)  # noqa: S606 - a test's own program and arguments
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    sys.stdout.write(show(ended.stdout, history))
    sys.stderr.write(show(ended.stderr, history))
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
