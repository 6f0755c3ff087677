"""A system of real processes in a folder of its own, with a port of its own; and the one that `inv soak` supervises.

The test suite's `System` and the fault campaign are built on `Instance` too.
"""

import atexit
import contextlib
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil

from orchestration.gameplan import write_sample_plan
from orchestration.journal import Evidence, JournalReader
from orchestration.settings import PROJECT_DIR
from orchestration.state_dir import journal_path
from orchestration.system.clock import Clock
from orchestration.system.process_table import has_variable, read_pids
from orchestration.system.processes import LaunchedProcess, end_process_tree, launch_detached

MARKET = ZoneInfo("America/New_York")
_INHERITED = (
    "PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"
)  # fmt: skip
_INTERVAL_S, _READY_S, _LOOK_S, _STOP_S = 60.0, 120.0, 5.0, 60.0  # the settings' own defaults
_LEAST_INTERVAL_S, _LEAST_READY_S, _LEAST_LOOK_S, _LEAST_STOP_S = 2.0, 12.0, 2.0, 10.0  # what processes need
_END_TIMEOUT_S = 30.0
# Below the ports that the kernel gives to sockets without one (from 32768 on by default), so that neither a listener on
# port 0 nor an outgoing connection takes a port before the system listens on it.
_FIRST_PORT, _END_OF_PORTS = 10_000, 32_768
_claims = contextlib.ExitStack()
atexit.register(_claims.close)


@dataclass
class Instance:
    """A system of real processes, isolated from every other one.

    Attributes:
        root: The folder that everything of it is in.
        environ: The environment of its processes.
    """

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """What its `STATE_DIR` is."""
        return self.root / "state"

    @property
    def logs(self) -> Path:
        """What its `LOG_DIR` is."""
        return self.root / "logs"

    @property
    def plan_path(self) -> Path:
        """Where its operator's plan is put."""
        return self.root / "gameplan.json"

    @property
    def port(self) -> int:
        """Where its gateway's API is."""
        return int(self.environ["GATEWAY_PORT"])

    def isolate(self) -> dict[str, str]:
        """Make the folder, and return the variables that keep the system in it and independent of day and hour."""
        self.root.mkdir(parents=True, exist_ok=True)
        env_file = self.root / "settings.env"
        env_file.touch(mode=0o600)
        window = window_far_from_now()
        return {
            "STATE_DIR": str(self.state),
            "LOG_DIR": str(self.logs),
            "GATEWAY_SHARED_DIR": str(self.root / "shared"),
            "ENV_FILE": str(env_file),
            "GATEWAY_PORT": str(find_free_port()),
            "GATEWAY_RUNTIME": "simulator",
            "MARKET_CALENDAR": "daily",
            "BROKER_RESET_WINDOWS": window,
            "GATEWAY_RESTART_WINDOW": window,
        }

    # What is seen of it, in the process table alone.

    def processes(self) -> list[psutil.Process]:
        """Everything that still runs of it: whatever has its state folder in its environment."""
        found = []
        for pid in read_pids():
            with contextlib.suppress(PermissionError, psutil.Error):
                if has_variable(pid, "STATE_DIR", str(self.state)):
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def bots(self) -> list[psutil.Process]:
        """Its bots: processes that were given a plan and a record, without what they started."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if "GAMEPLAN_PATH" in process.environ() and "BOT_RECORD" in process.environ():
                    found.append(process)
        pids = {process.pid for process in found}
        return [process for process in found if process.ppid() not in pids]

    def argvs(self) -> set[str]:
        """The argument lists of its processes, each as one text."""
        found = set()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found.add(" ".join(process.cmdline()))
        return found

    def gateway_pid(self) -> int | None:
        """The built-in gateway's process; None where there is none."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if "orchestration.simulator" in process.cmdline():
                    return process.pid
        return None

    # What is done to it.

    def signal_gateway(self, number: int) -> bool:
        """Send the gateway's process a signal; returns whether there was one."""
        pid = self.gateway_pid()
        return pid is not None and send_signal(pid, number)

    def signal_bots(self, number: int) -> bool:
        """Send its bots a signal; returns whether there was one."""
        return sum(send_signal(one.pid, number) for one in self.bots()) > 0

    def kill_all(self) -> None:
        """End whatever is left of it, by force."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()


class SupervisedInstance(Instance):
    """The system of a soak run: supervised, on the built-in gateway, with the reference bot.

    Args:
        root: Its folder, which is there.
        environ: The environment of the process that runs the trial; only what a process needs is taken from it.
        patience_scale: How many times shorter its supervisor's patience is.
        webhook: The channel's address.
        clock: Tells the time.

    Attributes:
        name: The instance's name.
    """

    def __init__(
        self, root: Path, environ: Mapping[str, str], *, patience_scale: int, webhook: str, clock: Clock
    ) -> None:
        super().__init__(root)
        # A name that no other run has: a bot that was started by hand is known by its instance's name.
        self.name = f"soak-{secrets.token_hex(3)}"
        self._clock = clock
        self._faults_path = root / "faults"
        self._plan_day = ""
        self._supervisor: LaunchedProcess | None = None
        scale = patience_scale
        self.environ = {
            **{name: environ[name] for name in _INHERITED if name in environ},
            **self.isolate(),
            "INSTANCE": self.name,
            "GAMEPLAN_PATH": str(self.plan_path),
            "DISCORD_WEBHOOK_URL": webhook,
            "SIMULATOR_FAULTS": f"@{self._faults_path}",
            "SIMULATOR_TIME_SCALE": str(scale),
            "MONITOR_INTERVAL": f"{max(_LEAST_INTERVAL_S, _INTERVAL_S / scale):g}",
            "GATEWAY_HEALTH_TIMEOUT": f"{max(_LEAST_READY_S, _READY_S / scale):g}",
            "HEALTH_CHECK_TIMEOUT": f"{max(_LEAST_LOOK_S, _LOOK_S / scale):g}",
            "BOT_STOP_TIMEOUT": f"{max(_LEAST_STOP_S, _STOP_S / scale):g}",
            "LOG_KEEP": "1000",
        }
        Path(self.environ["ENV_FILE"]).write_text(f"INSTANCE={self.name}\n", encoding="utf-8")
        self.renew_plan()

    @property
    def journal(self) -> JournalReader:
        """Its journal."""
        return JournalReader(journal_path(self.state / self.name))

    def renew_plan(self) -> None:
        """Put the day's plan in place when the market's day has changed."""
        day = f"{self._clock.now().astimezone(MARKET):%Y-%m-%d}"
        if day != self._plan_day:
            write_sample_plan(self.plan_path, clock=self._clock, market_timezone=MARKET)
            self._plan_day = day

    @property
    def is_watched(self) -> bool:
        """Whether its supervisor runs."""
        return self._supervisor is not None and self._supervisor.poll_exit_code() is None

    def start(self) -> None:
        """Start the supervisor, as a service manager does."""
        argv = [sys.executable, "-m", "orchestration.startup", "--foreground"]
        self._supervisor = launch_detached(
            argv, cwd=PROJECT_DIR, environ=self.environ, output=self.root / "supervisor_output.log"
        )

    def signal_supervisor(self, number: int) -> bool:
        """Send the supervisor a signal; returns whether there was one."""
        return self._supervisor is not None and send_signal(self._supervisor.identity.pid, number)

    def set_faults(self, text: str) -> None:
        """What the gateway's next start, or the gateway at SIGHUP, goes by."""
        self._faults_path.write_text(text, encoding="utf-8")

    def read_evidence(self, since: datetime) -> Evidence:
        """What its journal says."""
        return self.journal.read_evidence(since.astimezone(UTC))

    def end(self) -> None:
        """End it gracefully: the supervisor stops the bot; then the gateway and everything left, finally by force."""
        if self._supervisor is not None and self.is_watched:
            self.signal_gateway(signal.SIGCONT)
            end_process_tree(self._supervisor.identity, timeout_s=_END_TIMEOUT_S)
            self._supervisor.poll_exit_code()
        self.signal_gateway(signal.SIGTERM)
        psutil.wait_procs(self.processes(), timeout=_LEAST_STOP_S)
        self.kill_all()


def window_far_from_now() -> str:
    """A minute of the day in which a window may be, twelve hours from now: none in which silence would be expected."""
    far = datetime.now(UTC) + timedelta(hours=12)
    return f"{far:%H:%M}-{far + timedelta(minutes=1):%H:%M} UTC"


def find_free_port() -> int:
    """A port that nothing listens on, kept for this process until it ends.

    On Linux a name in the kernel's list of Unix sockets keeps other processes of ours from choosing it too.
    """
    while True:
        port = random.randrange(_FIRST_PORT, _END_OF_PORTS)  # noqa: S311 - no secret
        claim = socket.socket(socket.AF_UNIX if sys.platform == "linux" else socket.AF_INET)
        try:
            if sys.platform == "linux":
                claim.bind(f"\0zero-touch/test-port/{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.enter_context(claim)
        return port


def cut_in_half(path: Path) -> bytes:
    """Cut a file in half, as a writer that died would leave it; returns what it was."""
    content = path.read_bytes()
    os.truncate(path, len(content) // 2)
    return content


def send_signal(pid: int, number: int) -> bool:
    """Send a process a signal; returns whether it was there."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
