"""The system under trial: real processes in a temporary folder, with ports of their own, beside every other one."""

import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil

from orchestration.gameplan import write_sample_plan
from orchestration.gateway.record import read_record
from orchestration.journal import Evidence, JournalReader
from orchestration.settings import PROJECT_DIR
from orchestration.soak.schedule import Schedule
from orchestration.state_dir import JOURNAL as JOURNAL_FILE
from orchestration.system.clock import Clock
from orchestration.system.processes import LaunchedProcess, ProcessIdentity, end_process_tree, launch_detached

MARKET = ZoneInfo("America/New_York")
_INHERITED = (
    "PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"
)  # fmt: skip
_INTERVAL_S, _READY_S, _LOOK_S, _STOP_S = 60.0, 120.0, 5.0, 60.0  # the settings' own defaults
_LEAST_INTERVAL_S, _LEAST_READY_S, _LEAST_LOOK_S, _LEAST_STOP_S = 2.0, 12.0, 2.0, 10.0  # what processes need
_END_TIMEOUT_S = 30.0


class SoakInstance:
    """The system.

    Args:
        root: Its folder, which is there.
        environ: The environment of the process that runs the trial; only what a process needs is taken from it.
        schedule: The run.
        webhook: The channel's address.
        clock: Tells the time.

    Attributes:
        name: The instance's name.
        state: Its state folder.
        environ: What its processes get.
    """

    def __init__(
        self, root: Path, environ: Mapping[str, str], schedule: Schedule, *, webhook: str, clock: Clock
    ) -> None:
        # A name that no other run has: a bot that was started by hand is known by its instance's name.
        self.name = f"soak-{secrets.token_hex(3)}"
        self.root = root
        self.state = root / "state" / self.name
        self._clock = clock
        self._plan_path = root / "gameplan.json"
        self._faults_path = root / "faults"
        self._plan_day = ""
        self._supervisor: LaunchedProcess | None = None
        scale = schedule.patience_scale
        far = self._far_window()
        self.environ = {name: environ[name] for name in _INHERITED if name in environ} | {
            "INSTANCE": self.name,
            "ENV_FILE": str(root / ".env.soak"),
            "STATE_DIR": str(root / "state"),
            "LOG_DIR": str(root / "logs"),
            "GATEWAY_SHARED_DIR": str(root / "shared"),
            "GATEWAY_RUNTIME": "simulator",
            "GATEWAY_PORT": str(find_free_port()),
            "GAMEPLAN_PATH": str(self._plan_path),
            "MARKET_CALENDAR": "daily",
            "DISCORD_WEBHOOK_URL": webhook,
            "SIMULATOR_FAULTS": f"@{self._faults_path}",
            "SIMULATOR_TIME_SCALE": str(scale),
            "MONITOR_INTERVAL": f"{max(_LEAST_INTERVAL_S, _INTERVAL_S / scale):g}",
            "GATEWAY_HEALTH_TIMEOUT": f"{max(_LEAST_READY_S, _READY_S / scale):g}",
            "HEALTH_CHECK_TIMEOUT": f"{max(_LEAST_LOOK_S, _LOOK_S / scale):g}",
            "BOT_STOP_TIMEOUT": f"{max(_LEAST_STOP_S, _STOP_S / scale):g}",
            # Windows in which silence would be right are put to the other side of the day.
            "BROKER_RESET_WINDOWS": far,
            "GATEWAY_RESTART_WINDOW": far,
            "LOG_KEEP": "1000",
        }
        env_file = root / ".env.soak"
        env_file.touch(mode=0o600)
        env_file.write_text(f"INSTANCE={self.name}\n", encoding="utf-8")
        self.renew_plan()

    def renew_plan(self) -> None:
        """Put the day's plan in place when the market's day has changed."""
        day = f"{self._clock.now().astimezone(MARKET):%Y-%m-%d}"
        if day != self._plan_day:
            write_sample_plan(self._plan_path, clock=self._clock, market_timezone=MARKET)
            self._plan_day = day

    @property
    def interval_s(self) -> float:
        """How often its supervisor looks."""
        return float(self.environ["MONITOR_INTERVAL"])

    # What is done to it.

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

    def kill_supervisor(self) -> bool:
        """SIGKILL for the supervisor."""
        return self._supervisor is not None and _send(self._supervisor.identity.pid, "SIGKILL")

    def kill_bot(self) -> bool:
        """SIGKILL for the bot."""
        return all([_send(one.pid, "SIGKILL") for one in self.find_bots()] or [False])

    def signal_gateway(self, name: str) -> bool:
        """A signal for the gateway's process."""
        record = read_record(self.state)
        return record is not None and record.pid is not None and _send(record.pid, name)

    def set_faults(self, text: str) -> None:
        """What the gateway's next start, or the gateway at SIGHUP, goes by."""
        self._faults_path.write_text(text, encoding="utf-8")

    def break_plan(self) -> bytes:
        """Cut the plan file in half; returns what it was."""
        content = self._plan_path.read_bytes()
        self._plan_path.write_bytes(content[: len(content) // 2])
        return content

    def restore_plan(self, content: bytes) -> None:
        """Put the plan back."""
        self._plan_path.write_bytes(content)

    # What is seen of it.

    def read_evidence(self, since: datetime) -> Evidence:
        """What its journal says."""
        return JournalReader(self.state / JOURNAL_FILE).read_evidence(since.astimezone(UTC))

    def find_processes(self) -> list[psutil.Process]:
        """Every process that belongs to it, however it was started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_ours = process.environ().get("STATE_DIR") == self.environ["STATE_DIR"]
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def find_bots(self) -> list[psutil.Process]:
        """Its bots: there must never be two."""
        found = []
        for process in self.find_processes():
            with contextlib.suppress(psutil.Error):
                if "orchestration.bot.reference" in process.cmdline():
                    found.append(process)
        return found

    # Its end.

    def end(self) -> None:
        """End it gracefully: the supervisor stops the bot; then the gateway and everything left, finally by force."""
        if self._supervisor is not None and self.is_watched:
            self.signal_gateway("SIGCONT")
            end_process_tree(self._supervisor.identity, timeout_s=_END_TIMEOUT_S)
            self._supervisor.poll_exit_code()
        record = read_record(self.state)
        if record is not None and record.pid is not None:
            end_process_tree(ProcessIdentity(pid=record.pid, birth=record.birth), timeout_s=_LEAST_STOP_S)
        for process in self.find_processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _far_window(self) -> str:
        far = self._clock.now() + timedelta(hours=12)
        return f"{far:%H:%M}-{far + timedelta(minutes=1):%H:%M} UTC"


def find_free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _send(pid: int, name: str) -> bool:
    try:
        os.kill(pid, getattr(signal, name))
    except (ProcessLookupError, PermissionError):
        return False
    return True
