"""The process that kills a bot whose host no longer holds the lease. `fence.Fence` starts it and speaks to it.

It must act while the supervisor is frozen, the disk does not answer and all processors are busy. So it is a program of
its own that uses only the standard library, imports everything before it confirms that it is armed, locks its memory,
and has its own timer on CLOCK_BOOTTIME, which also counts the time that a machine is suspended. It never asks whether
the lease still holds: it knows one deadline, and only a later one that arrives in time replaces it.

Standard input is a socket to the supervisor, with one command in a line: `deadline NANOSECONDS`, `process PID TICKS`
(a process of the bot and its start time in clock ticks since boot), `fire` (now), `release` (disarms once nothing of
the bot is left). Answers: `armed`, `confirmed
NANOSECONDS`, `fired NANOSECONDS`. The end of the socket disarms nothing: a supervisor that has died renews nothing.

Killed at the deadline, with SIGKILL and again and again until nothing of it is left:

- the processes it was told of, all in a session or process group that one of them leads, and their descendants, which
  it follows while it waits;
- what has the bot's marker in its environment, also what the supervisor had only just started. Looked for by children
  of this process, because to read the environment of a process can block while the disk does;
- a container: its first process and its control group where this user may, and in any case through the engine, which
  must then answer.

Exit codes: 0 released, 3 fired and nothing is left, 2 wrong usage.
"""

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import struct
import sys
import time

_COMMANDS = 0  # the descriptor
_ARGUMENTS = 4
_NS = 1_000_000_000
_FOLLOW_NS = _NS
_QUIET_NS = 2 * _NS  # after the supervisor's end and the bot's: what was just being started would appear within that
_SWEEP_MS = 20
_CALM_SWEEP_MS = 200
_SCANS_AT_ONCE = 4  # one that is blocked must not hold up the next one
_ENGINE_TIMEOUT_S = 1.0
_READ_BYTES = 65536
_MLOCK_NOW, _MLOCK_LATER = 1, 2  # mlockall(2)
_ENOUGH_TO_LOCK = 64 << 20  # `LimitMEMLOCK=` of the unit; it needs a quarter of that
_ABSOLUTE = 1
_FIRED = 3
_IGNORED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGTTIN", "SIGTTOU")


class Targets:
    """What is to be killed.

    Args:
        marker: `NAME=VALUE` in the environment of every process of the bot.
        container: The name of the bot's container; empty for none.
        engine: The path of the container engine's socket.
    """

    def __init__(self, marker: str, container: str, engine: str) -> None:
        self._marker = b"\0" + os.fsencode(marker) + b"\0" if marker else b""
        self._container = container
        self._engine = engine
        self._known: dict[int, int] = {}
        self._sessions: dict[int, int] = {}
        self._groups: set[str] = set()
        self._scans: set[int] = set()

    def add(self, pid: int, ticks: int) -> None:
        """Add a process of the bot."""
        stat = read_stat(pid)
        if stat is not None and stat[0] != ticks:
            return  # its number is another one's by now
        self._known[pid] = self._sessions[pid] = ticks
        group = find_container_group(pid)
        if group:
            self._groups.add(group)

    def follow(self) -> dict[int, int]:
        """Find what the known ones have started meanwhile. Returns all that live: process ids and start times."""
        table = {pid: stat for pid in list_pids() if (stat := read_stat(pid)) is not None}
        sessions = {stat[number] for stat in table.values() for number in (2, 3)}
        for pid, ticks in tuple(self._sessions.items()):
            # A number is not given out again while a session or group bears it, so one that is in use is still theirs.
            if pid not in sessions or (pid in table and table[pid][0] != ticks):
                del self._sessions[pid]
        found = {pid: ticks for pid, ticks in self._known.items() if pid in table and table[pid][0] == ticks}
        count = -1
        while count != len(found):
            count = len(found)
            for pid, (ticks, parent, group, session) in table.items():
                if pid not in found and (parent in found or group in self._sessions or session in self._sessions):
                    found[pid] = ticks
        found.pop(os.getpid(), None)
        self._known = found
        return found

    def kill(self) -> bool:
        """Kill all of them. Returns whether one was still there."""
        found = self.follow()
        for path in self._groups:
            write_file(path, b"1")
        for pid, ticks in found.items():
            kill(pid, ticks)
        return bool(found)

    def kill_unknown(self, *, until_ns: int | None) -> None:
        """Look for what has the marker, and kill it, and ask the engine: in a child, for either may block.

        Args:
            until_ns: What was started later is another supervisor's; None while our own one lives.
        """
        latest = None if until_ns is None else until_ns * os.sysconf("SC_CLK_TCK") // _NS
        while self._scans:
            try:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._scans.clear()
                break
            if not ended:
                break
            self._scans.discard(ended)
        if len(self._scans) >= _SCANS_AT_ONCE:
            return
        try:
            child = os.fork()
        except OSError:
            return
        if child:
            self._scans.add(child)
            return
        try:
            os.close(_COMMANDS)  # the supervisor takes its end for ours
            self._scan(latest)
        finally:
            os._exit(0)

    def _scan(self, latest: int | None) -> None:
        for pid in list_pids():
            stat = read_stat(pid)
            if stat is None or not self._marker or (latest is not None and stat[0] > latest):
                continue
            if self._marker in b"\0" + read_file(f"/proc/{pid}/environ"):
                self._known[pid] = stat[0]
                kill(pid, stat[0])
        self.kill()
        if self._container:
            ask_engine_to_kill(self._engine, self._container)


def main(arguments: list[str]) -> int:
    """Wait for the deadline, and kill; or until the bot is released."""
    if len(arguments) != _ARGUMENTS or not arguments[0].isdecimal():
        sys.stderr.write("usage: fence_process.py NANOSECONDS MARKER CONTAINER ENGINE_SOCKET\n")
        return 2
    deadline_ns = int(arguments[0])
    targets = Targets(*arguments[1:])
    prepare()
    timer = Timer()
    targets.kill()  # nothing is known yet: this loads what the killing needs
    poller = select.poll()
    poller.register(_COMMANDS, select.POLLIN)
    if timer.descriptor >= 0:
        poller.register(timer.descriptor, select.POLLIN)
    channel = CommandPipe()
    answer("armed")
    followed_ns = 0
    while (left_ns := deadline_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) > 0:
        timer.set(deadline_ns)
        poller.poll(min(left_ns // 1_000_000 + 1, _FOLLOW_NS // 1_000_000 if timer.descriptor >= 0 else _SWEEP_MS))
        for verb, numbers in channel.read(poller):
            if verb == "release" and not targets.follow():
                return 0
            if verb == "process":
                targets.add(*numbers)
            elif verb == "fire":
                return fire(targets, channel, poller)
            elif verb == "deadline":
                deadline_ns = max(deadline_ns, numbers[0])
                answer(f"confirmed {deadline_ns}")
        if (now_ns := time.clock_gettime_ns(time.CLOCK_BOOTTIME)) - followed_ns > _FOLLOW_NS and now_ns < deadline_ns:
            targets.follow()
            followed_ns = now_ns
    return fire(targets, channel, poller)


def fire(targets: Targets, channel: "CommandPipe", poller: select.poll) -> int:
    """Kill until nothing is left and the supervisor has ended, or says that it has seen to the rest."""
    last_seen_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    is_released = False
    targets.kill()
    answer(f"fired {last_seen_ns}")
    waiting = select.poll()  # not for the timer, which stays due
    while True:
        targets.kill_unknown(until_ns=channel.ended_ns)
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        is_any_left = targets.kill()
        last_seen_ns = now_ns if is_any_left else last_seen_ns
        is_calm = now_ns - last_seen_ns > _QUIET_NS
        for verb, numbers in channel.read(poller):
            is_released = is_released or verb == "release"
            if verb == "process":
                targets.add(*numbers)
        if (is_released and not is_any_left) or (channel.ended_ns is not None and is_calm):
            return _FIRED
        waiting.poll(_CALM_SWEEP_MS if is_calm else _SWEEP_MS)


class CommandPipe:
    """Commands from the supervisor.

    Attributes:
        ended_ns: When it was seen to have ended; None while it lives.
    """

    def __init__(self) -> None:
        self.ended_ns: int | None = None
        self._rest = b""
        os.set_blocking(_COMMANDS, False)

    def read(self, poller: select.poll) -> list[tuple[str, list[int]]]:
        """What has come; never waits."""
        if self.ended_ns is not None:
            return []
        has_ended = True
        try:
            while part := os.read(_COMMANDS, _READ_BYTES):
                self._rest += part
        except BlockingIOError:
            has_ended = False
        except OSError:
            pass
        if has_ended:
            self.ended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            poller.unregister(_COMMANDS)
        *lines, self._rest = self._rest.split(b"\n")
        words = [line.decode("ascii", "replace").split() for line in lines]
        return [(line[0], [int(number) for number in line[1:]]) for line in words if line]


def prepare() -> None:
    """Take everything that may delay the killing out of the way, as far as this user may."""
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.chdir("/")
    write_file("/proc/self/oom_score_adj", b"-1000")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    import resource  # not everywhere, and not yet armed

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    # Under a low limit memory that is locked in advance could not be allocated at all any more.
    is_enough = limit == resource.RLIM_INFINITY or limit >= _ENOUGH_TO_LOCK or os.geteuid() == 0
    libc = ctypes.CDLL(None)
    if not is_enough or libc.mlockall(_MLOCK_NOW | _MLOCK_LATER):
        libc.mlockall(_MLOCK_NOW)
    gc.collect()
    gc.freeze()
    gc.disable()


class Timer:
    """A timer on CLOCK_BOOTTIME.

    Attributes:
        descriptor: What becomes readable at the deadline; negative where the kernel has no such timers.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self.descriptor = int(self._libc.timerfd_create(time.CLOCK_BOOTTIME, os.O_NONBLOCK | os.O_CLOEXEC))

    def set(self, deadline_ns: int) -> None:
        """Let it become readable at the deadline."""
        if self.descriptor >= 0:
            when = struct.pack("@4l", 0, 0, deadline_ns // _NS, deadline_ns % _NS)
            self._libc.timerfd_settime(self.descriptor, _ABSOLUTE, when, None)


def answer(text: str) -> None:
    """Tell the supervisor; one that does not read, or has ended, is no reason to wait."""
    try:
        os.write(_COMMANDS, f"{text}\n".encode("ascii"))
    except OSError:
        return


def list_pids() -> list[int]:
    """Every process id in use."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - nothing to import or build


def read_stat(pid: int) -> tuple[int, int, int, int] | None:
    """Start time in ticks, parent, group and session of a process; None if it has ended."""
    content = read_file(f"/proc/{pid}/stat")
    if not content:
        return None
    fields = content[content.rindex(b")") + 2 :].split()
    if fields[0] in {b"Z", b"X"} and int(fields[17]) <= 1:
        return None
    return int(fields[19]), int(fields[1]), int(fields[2]), int(fields[3])


def find_container_group(pid: int) -> str:
    """The `cgroup.kill` of a container, whose first process this is; empty for any other process.

    Other groups are never killed as a whole: a bot that was started by hand is in one with the operator's shell.
    """
    for line in read_file(f"/proc/{pid}/status").split(b"\n"):
        if line.startswith(b"NSpid:") and (len(line.split()) < 3 or line.split()[-1] != b"1"):  # noqa: PLR2004 - a word and two ids
            return ""
    for line in read_file(f"/proc/{pid}/cgroup").split(b"\n"):
        path = os.fsdecode(line.partition(b"::")[2])
        if line.startswith(b"0::") and path.strip("/"):
            for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                if os.access(f"{mount}{path}/cgroup.kill", os.W_OK):
                    return f"{mount}{path}/cgroup.kill"
    return ""


def kill(pid: int, ticks: int) -> None:
    """Kill exactly this process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:  # a kernel before 5.3, or a filter that forbids it
        descriptor = -1
    try:
        stat = read_stat(pid)
        if stat is not None and stat[0] == ticks:
            if descriptor < 0:
                os.kill(pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def ask_engine_to_kill(path: str, name: str) -> None:
    """Ask the container engine, and do not wait long for it."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.settimeout(_ENGINE_TIMEOUT_S)
        try:
            engine.connect(path)
            engine.sendall(f"POST /containers/{name}/kill?signal=KILL HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
            engine.recv(1)
        except OSError:
            return


def read_file(path: str) -> bytes:
    """A file of the kernel's; empty where it cannot be read."""
    content = b""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return content
    try:
        while part := os.read(descriptor, _READ_BYTES):
            content += part
    except OSError:
        return b""  # it has ended meanwhile
    finally:
        os.close(descriptor)
    return content


def write_file(path: str, content: bytes) -> None:
    """Write to a file of the kernel's; where that is not allowed, nothing happens."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, content)
    except OSError:
        return
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
