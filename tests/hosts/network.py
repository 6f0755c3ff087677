"""Hosts as network namespaces on a bridge, whose connections can be cut in either direction.

The bridge is in a namespace of its own: one in the machine's would pass the machine's own packet filter.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_STORE_PORTS = "2379:2380"


class Cut(StrEnum):
    """Which packets of a host are dropped."""

    BOTH = "both"
    IN = "in"
    OUT = "out"
    STORE = "store"  # those to and from other hosts' stores alone: the broker can still be reached


def run(*argv: str) -> str:
    """Run a command that must succeed. Returns its output."""
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {ended.stderr.strip()}")
    return ended.stdout


@dataclass(frozen=True)
class Space:
    """One network namespace.

    Attributes:
        name: Its name.
        address: Its address on the bridge.
    """

    name: str
    address: str

    @property
    def inside(self) -> tuple[str, ...]:
        """What runs a command in it. Not `ip netns exec`, which mounts /sys anew."""
        return ("nsenter", f"--net={self._path}")

    @property
    def _path(self) -> Path:
        return Path("/run/netns") / self.name

    def list_pids(self) -> list[int]:
        """Every process in it."""
        inode = self._path.stat().st_ino
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and (folder / "ns/net").stat().st_ino == inode:
                    found.append(int(folder.name))
        return found

    def cut(self, what: Cut) -> None:
        """Drop these packets from now on."""
        port = ("-p", "tcp", "-m", "multiport", "--ports", _STORE_PORTS) if what is Cut.STORE else ()
        for chain, flag, kinds in (("INPUT", "-i", {Cut.BOTH, Cut.IN}), ("OUTPUT", "-o", {Cut.BOTH, Cut.OUT})):
            if what in kinds | {Cut.STORE}:
                run(*self.inside, "iptables", "-w", "-A", chain, flag, "eth0", *port, "-j", "DROP")

    def heal(self) -> None:
        """Drop none."""
        run(*self.inside, "iptables", "-w", "-F")

    def count_dropped(self) -> dict[str, int]:
        """How many packets the rules of `cut` have dropped until now, by chain; a chain without a rule is left out."""
        listed = run(*self.inside, "iptables", "-w", "-S", "-v").splitlines()
        found: dict[str, int] = {}
        for line in listed:
            words = line.split()
            if words[:1] == ["-A"] and words[-1] == "DROP":
                found[words[1]] = found.get(words[1], 0) + int(words[words.index("-c") + 1])
        return found

    def can_connect(self, address: str, port: int, *, timeout_s: float = 1.0) -> bool:
        """Whether a TCP connection from here is taken there."""
        program = f"import socket; socket.create_connection(({address!r}, {port}), {timeout_s}).close()"
        argv = [*self.inside, sys.executable, "-I", "-S", "-c", program]
        return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0


@contextlib.contextmanager
def network(number: int, hosts: int) -> Iterator[tuple[Space, list[Space]]]:
    """A bridge, where the broker is, and hosts on it; all gone at the end, with every process in them."""
    prefix = f"zt{os.getpid()}n{number}"
    bridge = Space(f"{prefix}b", f"10.99.{number}.254")
    spaces = [Space(f"{prefix}h{index + 1}", f"10.99.{number}.{index + 1}") for index in range(hosts)]
    try:
        for space in (bridge, *spaces):
            run("ip", "netns", "add", space.name)
            run("ip", "-n", space.name, "link", "set", "lo", "up")
        run("ip", "-n", bridge.name, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", bridge.name, "addr", "add", f"{bridge.address}/24", "dev", "br0")
        run("ip", "-n", bridge.name, "link", "set", "br0", "up")
        for index, space in enumerate(spaces):
            peer = f"h{index + 1}"
            run(
                *("ip", "-n", bridge.name, "link", "add", peer, "type", "veth"),
                *("peer", "name", "eth0", "netns", space.name),
            )
            run("ip", "-n", bridge.name, "link", "set", peer, "master", "br0", "up")
            run("ip", "-n", space.name, "addr", "add", f"{space.address}/24", "dev", "eth0")
            run("ip", "-n", space.name, "link", "set", "eth0", "up")
        yield bridge, spaces
    finally:
        for space in (*spaces, bridge):
            with contextlib.suppress(OSError):
                for pid in space.list_pids():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
            subprocess.run(("ip", "netns", "del", space.name), capture_output=True, timeout=60, check=False)
