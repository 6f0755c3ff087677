"""The baseline: a start-up as such scripts are usually written. Runs alone: `python benchmarks/classic.py --help`.

It asks Docker for the container's health every 5 s (or connects to the port every 5 s where there is no container),
checks the port by connecting, reads the plan and looks for a few fields, launches the bot, sleeps 5 s, and takes the
bot for up if it still runs. It has no lock, journal, alert or handshake, and imports nothing but the standard library:
whatever it takes longer is its waiting alone.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 5.0
PROOF_OF_LIFE_S = 5.0
_TIMEOUT_S = 300.0
_CONNECT_TIMEOUT_S = 5.0
_FIELDS = ("date", "strategy", "regime", "symbols", "hard_limits", "data_quality")


def main() -> int:
    """Start everything; 0 if the bot runs."""
    parser = argparse.ArgumentParser(description="The classic start-up: poll, connect, launch, sleep, hope.")
    parser.add_argument("--container", help="wait for this container's health; without it, for the port alone")
    parser.add_argument("--port", type=int, required=True, help="where the gateway's API is on this machine")
    parser.add_argument("--gameplan", type=Path, required=True, help="the day's plan")
    parser.add_argument("--log", type=Path, required=True, help="where the bot's output goes")
    parser.add_argument("bot", nargs="+", help="the bot's command")
    given = parser.parse_args()

    deadline_s = time.monotonic() + _TIMEOUT_S
    while not ((given.container is None or is_healthy(given.container)) and accepts(given.port)):
        if time.monotonic() > deadline_s:
            print("the gateway is not ready", file=sys.stderr)
            return 1
        time.sleep(POLL_S)

    plan = json.loads(given.gameplan.read_text(encoding="utf-8"))
    if any(name not in plan for name in _FIELDS):
        print("the gameplan lacks a field", file=sys.stderr)
        return 1

    with given.log.open("wb") as log:
        bot = subprocess.Popen(
            given.bot, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    time.sleep(PROOF_OF_LIFE_S)
    return 0 if bot.poll() is None else 1


def is_healthy(container: str) -> bool:
    """Whether Docker calls the container healthy."""
    argv = ["docker", "inspect", "--format", "{{.State.Health.Status}}", container]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    return ended.stdout.strip() == "healthy"


def accepts(port: int) -> bool:
    """Whether a process accepts connections there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
