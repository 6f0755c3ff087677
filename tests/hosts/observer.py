"""One observer with one clock: on which host does a process of the bot live, and from when to when?

A bot that is stopped by a signal lives: it can be resumed. What is measured errs on the side of an overlap: a bot
begins with its process, before its program was even executed, and ends when it is first seen to have ended.
"""

import contextlib
import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_S = 0.02
_LOOKS = 15  # between fork and exec a process has its parent's environment
_TICKS = os.sysconf("SC_CLK_TCK")
_BEGIN = re.compile(rb"^run \S+ of instance \S+(?: \(SIMULATED\))?: preflight", re.MULTILINE)
_OUTCOME = re.compile(rb"^[A-Z][^\n]*\(exit code (\d)", re.MULTILINE)


@dataclass
class Life:
    """One process of a bot, in seconds since boot.

    Attributes:
        host: Which host it is on, from 0.
        pid: Its process id.
        begin_s: When it was started.
        end_s: When it was first seen to have ended; None while it lives.
        revision: The lease's revision in its environment; 0 if there is none.
        plan: The name of the plan's copy in its environment: the date, and the beginning of the hash.
    """

    host: int
    pid: int
    begin_s: float
    end_s: float | None = None
    revision: int = 0
    plan: str = ""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a supervisor has said of its sequence, and when it was read: within some hundredths of a second.

    Attributes:
        host: Which host it is on, from 0.
        at_s: When.
        code: The sequence's exit code; None where it has begun.
    """

    host: int
    at_s: float
    code: int | None = None


@dataclass
class _Log:
    path: Path
    offset: int = 0
    rest: bytes = b""

    def read_lines(self) -> bytes:
        """The whole lines that have come since the last look."""
        try:
            if self.path.stat().st_size <= self.offset:
                return b""
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = self.rest + file.read()
                self.offset = file.tell()
        except OSError:
            return b""
        lines, _, self.rest = content.rpartition(b"\n")
        return lines


@dataclass
class _Seen:
    ticks: int
    looks: int = 0
    life: Life | None = None


@dataclass
class Observer:
    """Observes from `start` to `stop`.

    Attributes:
        roots: Each host's folder, which its bot's marker is in.
        lives: What it has seen.
        told: What the supervisors have said, in order.
    """

    roots: list[Path]
    lives: list[Life] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    most_gap_s: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _seen: dict[int, _Seen] = field(default_factory=dict)
    _thread: threading.Thread | None = None
    _logs: list[_Log] = field(default_factory=list)

    def start(self) -> None:
        self._logs = [_Log(root / "supervisor.log") for root in self.roots]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def find_hosts(self) -> set[int]:
        """The hosts on which a bot lives now."""
        return {one.host for one in tuple(self.lives) if one.end_s is None}

    def _run(self) -> None:
        last_s = now_s()
        while not self._ended.wait(_EVERY_S):
            self._look()
            self.most_gap_s = max(self.most_gap_s, now_s() - last_s)
            last_s = now_s()

    def find_last(self, host: int) -> Told | None:
        """What this host's supervisor has said last of its sequence."""
        return next((one for one in reversed(tuple(self.told)) if one.host == host), None)

    def _listen(self) -> None:
        for host, log in enumerate(self._logs):
            lines = log.read_lines()
            self.told += [Told(host=host, at_s=now_s(), code=code) for code in parse_told(lines)]

    def _look(self) -> None:
        self._listen()
        at_s = now_s()
        pids = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208 - fifty times a second
        for pid in self._seen.keys() - pids:
            self._end(self._seen.pop(pid), at_s)
        for pid in pids:
            seen = self._seen.get(pid)
            if seen is not None and seen.life is None and seen.looks >= _LOOKS:
                continue
            ticks = _read_ticks(pid)
            if seen is not None and ticks != seen.ticks:
                self._end(self._seen.pop(pid), at_s)
                seen = None
            if ticks is None:
                continue
            seen = self._seen.setdefault(pid, _Seen(ticks))
            if seen.life is None:
                seen.looks += 1
                seen.life = self._identify(pid, ticks)

    def _identify(self, pid: int, ticks: int) -> Life | None:
        with contextlib.suppress(OSError):
            content = Path(f"/proc/{pid}/environ").read_bytes()
            environ = dict(one.partition(b"=")[::2] for one in content.split(b"\0"))
            marker = os.fsdecode(environ.get(b"BOT_RECORD", b""))
            for host, root in enumerate(self.roots):
                if marker and Path(marker).is_relative_to(root):
                    revision = environ.get(b"LEASE_REVISION", b"0")
                    plan = Path(os.fsdecode(environ.get(b"GAMEPLAN_PATH", b""))).name
                    self.lives.append(Life(host, pid, ticks / _TICKS, revision=int(revision or b"0"), plan=plan))
                    return self.lives[-1]
        return None

    @staticmethod
    def _end(seen: _Seen, at_s: float) -> None:
        if seen.life is not None and seen.life.end_s is None:
            seen.life.end_s = at_s


def parse_told(lines: bytes) -> list[int | None]:
    """What a supervisor has said of its sequences, in order: None for each that has begun, an exit code for its end."""
    found: list[tuple[int, int | None]] = [(one.start(), None) for one in _BEGIN.finditer(lines)]
    found += [(one.start(), int(one[1])) for one in _OUTCOME.finditer(lines)]
    return [code for _, code in sorted(found, key=lambda one: one[0])]


def now_s() -> float:
    """Seconds since boot: what the kernel gives a process's start in."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def measure_overlap_s(lives: list[Life], until_s: float) -> float:
    """For how long bots lived on two hosts or more. Pure."""
    edges = sorted(
        edge
        for one in lives
        for edge in ((one.begin_s, 1, one.host), (until_s if one.end_s is None else one.end_s, 0, one.host))
    )
    count: dict[int, int] = {}
    overlap_s, last_s = 0.0, 0.0
    for at_s, begins, host in edges:
        if sum(number > 0 for number in count.values()) > 1:
            overlap_s += at_s - last_s
        count[host] = count.get(host, 0) + (1 if begins else -1)
        last_s = at_s
    return overlap_s


def _read_ticks(pid: int) -> int | None:
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = content[content.rindex(b")") + 2 :].split()
    return None if fields[0] in {b"Z", b"X"} and int(fields[17]) <= 1 else int(fields[19])
