"""The campaign's bot. It writes its own ledger: when it started, on which bytes, and who of its kind was alive then.

A line is written before the others are looked for: of two that start at the same instant at least one sees the other.
"""

import time

AT_S = time.monotonic()  # before anything else: this is the instant at which it counts as started

import hashlib  # noqa: E402 - the clock came first
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

LEDGER = Path(os.environ.get("CAMPAIGN_LEDGER", os.devnull))


def read_birth(pid: int) -> str:
    """The start ticks of a process that lives; empty otherwise."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def write(**fields: object) -> None:
    """Append one line, in one piece."""
    line = json.dumps({"pid": os.getpid(), "at_s": time.monotonic(), **fields}) + "\n"
    handle = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read_alive() -> list[int]:
    """The other bots of this ledger that live."""
    alive = []
    for line in LEDGER.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        is_other = one["event"] == "start" and one["pid"] != os.getpid()
        if is_other and one["birth"] == read_birth(one["pid"]) != "":
            alive.append(int(one["pid"]))
    return alive


def leave(_number: int, _frame: object) -> None:
    """Leave in order."""
    write(event="stop")
    sys.exit(0)


def main() -> int:
    """Run until SIGTERM, unless `CAMPAIGN_BOT` says otherwise."""
    content = Path(os.environ["GAMEPLAN_PATH"]).read_bytes()
    plan = json.loads(content)
    write(
        event="start",
        at_s=AT_S,
        birth=read_birth(os.getpid()),
        sha256=hashlib.sha256(content).hexdigest(),
        strategy=plan["strategy"],
        date=plan["date"],
    )
    others = read_alive()
    if others:
        write(event="beside", others=others)
    signal.signal(signal.SIGTERM, leave)
    behaviour, _, seconds = os.environ.get("CAMPAIGN_BOT", "").partition("=")
    if behaviour == "dies":
        sys.stdout.write("the strategy's file is gone\n")
        return 7
    if behaviour == "ready_after":
        time.sleep(float(seconds))
    if "NOTIFY_SOCKET" in os.environ:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
            try:
                talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
            except OSError:
                sys.stdout.write("nothing listens\n")
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
