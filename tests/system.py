"""A whole system in a folder of its own: run its commands as a person would, and see what is left of it."""

import contextlib
import fcntl
import functools
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from orchestration.bot.notify import remove_private_folder
from orchestration.soak.instance import Instance, find_free_port, window_far_from_now
from tests import programs

__all__ = ["find_free_port", "window_far_from_now"]  # handed on

PROJECT = programs.PROJECT
PATIENCE_S = 60.0
_START_PATIENCE_S = 100.0  # a start may wait for a gateway, restart it and wait again; a test has 120 s
_LOCK = "zero-touch-simulated-tests.lock"
_T = TypeVar("_T")

# A bot of ten lines: writes down its environment's plan, says READY if it is asked to, and works until SIGTERM.
SMALL_BOT = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("small bot", sys.argv[1:], flush=True)
if "--ready" in sys.argv and "NOTIFY_SOCKET" in os.environ:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
        talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    print("alive", time.time(), flush=True)
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - a JSON document
        """Its JSON document; fails unless standard output is exactly one."""
        return json.loads(self.out)


@dataclass
class System(Instance):
    """One instance whose commands a test runs.

    Attributes:
        started: What was begun and not waited for.
        kind: How its commands are started: as forks of a loaded program, or with `subprocess.Popen` for real.
    """

    started: list["subprocess.Popen[str]"] = field(default_factory=list)
    kind: type["subprocess.Popen[str]"] = programs.Popen
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)
    _has_project_folder: bool = False

    def __post_init__(self) -> None:
        self.environ = {
            **programs.read_handed_on(),
            **self.isolate(),
            # A folder of its own tells its bot from that of every other test that runs at the same time.
            "BOT_WORKDIR": str(self.root),
            "BOT_START_GRACE": "1",
            "BOT_STOP_TIMEOUT": "10",
            "GATEWAY_HEALTH_TIMEOUT": "30",
        }

    def use_small_bot(self, *arguments: str, code: str = SMALL_BOT) -> Path:
        """Run this instead of the reference bot."""
        script = self.root / "small_bot.py"
        script.write_text(code, encoding="utf-8")
        self.environ["BOT_COMMAND"] = " ".join([f"'{sys.executable}'", f"'{script}'", *arguments])
        self.environ["BOT_WORKDIR"] = str(self.root)
        return script

    def use_plan(self, **changes: object) -> Path:
        """Put a valid plan of today in place, with these changes."""
        self.plan_path.write_text(json.dumps(build_plan(**changes)), encoding="utf-8")
        self.environ["GAMEPLAN_PATH"] = str(self.plan_path)
        return self.plan_path

    def reserve_project_folder(self) -> None:
        """Wait until no other test's reference bot runs in the project's folder, and be the only one until the end.

        There `--simulate` puts it: two of them, of one instance, are one bot too many, as they should be.
        """
        if "BOT_COMMAND" not in self.environ and not self._has_project_folder:
            lock = self._held.enter_context((Path(tempfile.gettempdir()) / _LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._has_project_folder = True

    def inv(self, *arguments: str, timeout_s: float = PATIENCE_S, environ: Mapping[str, str] | None = None) -> Ended:
        """Run `inv` in the project's folder."""
        return self.run([sys.executable, "-m", "invoke", *arguments], timeout_s=timeout_s, environ=environ)

    def startup(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
        """Run `python -m orchestration.startup --json`."""
        argv = [sys.executable, "-m", "orchestration.startup", "--json", *arguments]
        return self.run(argv, timeout_s=_START_PATIENCE_S, environ=environ)

    def run(self, argv: list[str], *, timeout_s: float = PATIENCE_S, environ: Mapping[str, str] | None = None) -> Ended:
        if "--simulate" in argv:
            self.reserve_project_folder()
        ended = programs.run(argv, env={**self.environ, **(environ or {})}, timeout=timeout_s, kind=self.kind)
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def begin(self, *arguments: str, environ: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Begin `python -m orchestration.startup --json` and do not wait for it."""
        return self.begin_module("orchestration.startup", "--json", *arguments, environ=environ)

    def begin_module(
        self, module: str, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Begin `python -m MODULE` in the project's folder and do not wait for it."""
        if "--simulate" in arguments:
            self.reserve_project_folder()
        process = self.kind(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT,
            env={**self.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def startup_log(self) -> str:
        """What all logs of start-ups say."""
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self.logs.glob("startup_*.log")))

    def wait_for_log(self, text: str) -> None:
        """Wait until a log of a start-up says this; fails with what it says instead."""
        try:
            wait_until(lambda: text in self.startup_log(), f"a log that says {text!r}")
        except AssertionError as error:
            error.add_note(self.startup_log() or "there is no log of a start-up")
            raise

    def close(self) -> None:
        """End everything by force."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.kill_all()
        # Those of sockets whose listeners were killed just now.
        for state in (self.state, self.state / self.environ.get("INSTANCE", "")):
            with contextlib.suppress(AssertionError):
                wait_until(functools.partial(remove_private_folder, state), "end of a listener", 5.0)
        self._held.close()


def build_plan(**changes: object) -> dict[str, object]:
    """A valid plan of today that trades."""
    today = datetime.now(ZoneInfo("America/New_York")).date()
    plan: dict[str, object] = {
        "date": today.isoformat(),
        "strategy": "A",
        "regime": "normal",
        "symbols": ["SPY", "QQQ"],
        "hard_limits": {
            "max_daily_loss_pct": 0.02,
            "pdt_trades_remaining": 2,
            "weekly_drawdown_governor_active": False,
            "max_intraday_pivots": 1,
        },
        "data_quality": {"quarantine_active": False},
    }
    return plan | changes


def day_from_today(days: int) -> str:
    """A date relative to today in New York."""
    return (datetime.now(ZoneInfo("America/New_York")).date() + timedelta(days=days)).isoformat()


def is_port_free(port: int) -> bool:
    """Whether nothing listens on this port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(condition: Callable[[], _T], what: str, timeout_s: float = PATIENCE_S) -> _T:
    """Wait for a condition, with a generous deadline, and return what it returned."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {timeout_s:g} s")


@contextlib.contextmanager
def system_in(root: Path) -> Iterator[System]:
    """A system that leaves nothing behind, whatever a test did to it."""
    system = System(root)
    try:
        yield system
    finally:
        system.close()


def end_and_read(process: "subprocess.Popen[str]", number: int) -> Ended:
    """Send a signal, and wait for the end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    return Ended(process.returncode, out, err)


SIGKILL, SIGTERM, SIGINT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
