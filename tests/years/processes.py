"""The simulated process table: a folder that looks like `/proc`, and what sends signals and collects exit codes."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.years.clockwork import Clockwork

FIRST_PID = 5_000_000  # beyond what a kernel gives: none of them is ever a real one
_TICKS = 100
_TCP_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


@dataclass
class SimProcess:
    """A process of the simulated host.

    Attributes:
        pid: Its process id.
        parent_pid: Its parent.
        argv: Its argument list.
        environ: Its environment.
        on_signal: Called with each signal that is sent to it, SIGKILL included.
        control_group: Where systemd put it.
        exit_code: How it ended; None while it runs.
        is_collected: Whether its parent has asked for that.
    """

    pid: int
    parent_pid: int
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    on_signal: Callable[[int], None]
    control_group: str
    started_s: float
    exit_code: int | None = None
    is_collected: bool = False
    sockets: dict[int, int] = field(default_factory=dict)


class ProcessTable:
    """See the module."""

    def __init__(self, root: Path, clockwork: Clockwork) -> None:
        self.root = root
        self._clockwork = clockwork
        self._next_pid = FIRST_PID
        self._next_inode = 1000
        self.living: dict[int, SimProcess] = {}
        self.ended: dict[int, SimProcess] = {}
        self.on_end: list[Callable[[SimProcess], None]] = []
        self.boots = 0

    def boot(self) -> None:
        """The host has started: there is nothing but process 1."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.living.clear()
        self.ended.clear()
        self.boots += 1
        boot_id = self.root / "sys/kernel/random/boot_id"
        boot_id.parent.mkdir(parents=True)
        boot_id.write_text(f"00000000-0000-0000-0000-{self.boots:012d}\n", encoding="utf-8")
        (self.root / "self/net").mkdir(parents=True)
        self._write_table("self")
        self._next_pid += 1000
        self._add_folder(
            SimProcess(1, 0, ("/sbin/init",), {}, lambda _number: None, "/init.scope", 0.0), cwd="/", output=""
        )

    def start(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        parent_pid: int,
        on_signal: Callable[[int], None],
        control_group: str,
        cwd: str,
        output: str = "",
    ) -> SimProcess:
        """Start a process."""
        self._next_pid += 1
        process = SimProcess(
            self._next_pid, parent_pid, tuple(argv), dict(environ), on_signal, control_group, self._clockwork.now_s
        )
        self.living[process.pid] = process
        self._add_folder(process, cwd=cwd, output=output)
        return process

    def end(self, process: SimProcess, exit_code: int) -> None:
        """A process has ended."""
        if process.exit_code is not None:
            return
        process.exit_code = exit_code
        del self.living[process.pid]
        self.ended[process.pid] = process
        shutil.rmtree(self.root / str(process.pid), ignore_errors=True)
        self._write_table("self")
        for told in self.on_end:
            told(process)

    def send(self, pid: int, number: int) -> bool:
        """Send a signal; whether there is such a process."""
        process = self.living.get(pid)
        if process is None:
            return False
        process.on_signal(number)
        return True

    def connect(self, process: SimProcess, port: int) -> int:
        """A process connects to a port of this host."""
        self._next_inode += 1
        process.sockets[self._next_inode] = port
        (self.root / str(process.pid) / "fd" / str(self._next_inode)).symlink_to(f"socket:[{self._next_inode}]")
        self._write_table(str(process.pid))
        self._write_table("self")
        return self._next_inode

    def disconnect(self, process: SimProcess) -> None:
        """It has lost its connections."""
        for inode in process.sockets:
            (self.root / str(process.pid) / "fd" / str(inode)).unlink(missing_ok=True)
        process.sockets.clear()
        if process.exit_code is None:
            self._write_table(str(process.pid))
        self._write_table("self")

    def _add_folder(self, process: SimProcess, *, cwd: str, output: str) -> None:
        folder = self.root / str(process.pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fdinfo").mkdir()
        (folder / "net").mkdir()
        user = f"\t{os.getuid()}"
        ticks = int(process.started_s * _TICKS) + 1
        fields = ["S", process.parent_pid, process.pid, process.pid, *[0] * 13, 1, 0, ticks, *[0] * 10]
        texts = {
            "stat": f"{process.pid} (simulated) {' '.join(str(one) for one in fields)}\n",
            "cmdline": "".join(f"{one}\0" for one in process.argv),
            "environ": "".join(f"{name}={value}\0" for name, value in process.environ.items()),
            "status": f"Name:\tsimulated\nUid:{4 * user}\nNSpid:\t1\n",
            "cgroup": f"0::{process.control_group}\n",
            "fdinfo/1": "flags:\t0102001\n",
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "cwd").symlink_to(cwd)
        if output:
            (folder / "fd/1").symlink_to(output)
        self._write_table(str(process.pid))

    def _write_table(self, folder: str) -> None:
        rows = [
            f"   0: 0100007F:C000 0100007F:{port:04X} 01 00000000:00000000 00:00000000 00000000 "
            f"{os.getuid():5d}        0 {inode} 1 0 20 4 30 10 -1\n"
            for process in self.living.values()
            for inode, port in process.sockets.items()
        ]
        (self.root / folder / "net/tcp").write_text(_TCP_HEAD + "".join(rows), encoding="utf-8")
        (self.root / folder / "net/tcp6").write_text(_TCP_HEAD, encoding="utf-8")
