"""`python -m tests.hosts.figures`: what a standby costs, what goes over the wire, and a take-over beside keepalived's.

Needs what the campaign needs, and keepalived. The figures of Docker Swarm are not measured again: they are those of an
earlier measurement with two engines.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.hosts import keepalived
from tests.hosts.conduct import LOSSES, conduct
from tests.hosts.draw import Case, Fault, Kind, State, Step
from tests.hosts.hosts import FIRST_PROXY_PORT, Host, Scene, scene
from tests.hosts.network import network, run
from tests.hosts.states import find_leader
from tests.system import wait_until

_HOUR_S = 3600.0
_STORE_PORTS = f"{FIRST_PROXY_PORT}:{FIRST_PROXY_PORT + 2}"
_SCENE, _KEEPALIVED_SCENE = 70, 80
_CUT_S = 20.0
_METHODS = ("LeaseKeepAlive", "Txn", "Range")
_HANDLED = re.compile(r'grpc_server_msg_received_total{.*grpc_method="(LeaseKeepAlive|Txn|Range)".*} (\S+)')
_SWARM = "Docker Swarm (measured earlier, two runs): second task after 17 and 19 s, two for 27 and 30 s"


def main() -> int:
    """Measure it all."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.figures", description=__doc__)
    parser.add_argument("--window", type=float, default=60.0, help="seconds of observation (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="take-overs of each kind (default: %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, scene(_SCENE, Path(folder), ttl_s=15.0) as hosts:
        for line in measure_cost(hosts, given.window):
            say(line)
    for line in measure_take_over(given.runs):
        say(line)
    for line in measure_keepalived(given.runs):
        say(line)
    say(_SWARM)
    return 0


def measure_cost(hosts: Scene, window_s: float) -> list[str]:
    """Processor, memory and requests with LEASE_TTL=15, of the host that leads and of those that stand by."""
    leader = find_leader(hosts)
    wait_until(lambda: hosts.observer.find_last(leader.number), "validated sequence")
    for host in hosts.hosts:
        for side in ("--dports", "--sports"):
            # Without a target: only counted. Between the supervisor and the proxy that stands for the three members.
            ports = ("-p", "tcp", "-m", "multiport", side, _STORE_PORTS)
            run(*host.space.inside, "iptables", "-w", "-A", "OUTPUT", "-o", "lo", *ports)
    before = {host.number: (_read_processes(host), _count_bytes(host)) for host in hosts.hosts}
    asked = _count_requests(hosts)
    began_s = time.monotonic()
    time.sleep(window_s)
    took_s = time.monotonic() - began_s
    asked = _count_requests(hosts) - asked
    lines = []
    for host in hosts.hosts:
        name = "leads" if host is leader else "stands by"
        processes, sent = before[host.number]
        for kind, (used_s, memory) in _read_processes(host).items():
            share = 100 * (used_s - processes.get(kind, (used_s, 0))[0]) / took_s
            lines.append(
                f"host {host.number} {name}, {kind}: {share:.2f} % of a processor, {memory / 1e6:.0f} MB (PSS)"
            )
        rate = (_count_bytes(host) - sent) / took_s * _HOUR_S
        lines.append(f"host {host.number} {name}: {rate / 1e6:.1f} MB an hour to and from the store")
    lines += [f"the store, {method}: {asked[method] / took_s * _HOUR_S:.0f} an hour, all hosts" for method in _METHODS]
    return lines


def _read_processes(host: Host) -> dict[str, tuple[float, int]]:
    """Processor seconds and memory of the supervisor and the fence."""
    found: dict[str, tuple[float, int]] = {}
    for pid in host.space.list_pids():
        process = psutil.Process(pid)
        argv = process.cmdline()
        kind = (
            "fence"
            if any(one.endswith("fence_process.py") for one in argv)
            else "supervisor"
            if "orchestration.startup" in argv
            else ""
        )
        if kind:
            times = process.cpu_times()
            found[kind] = (times.user + times.system, process.memory_full_info().pss)
    return found


def _count_bytes(host: Host) -> int:
    listed = run(*host.space.inside, "iptables", "-w", "-S", "-v").splitlines()
    return sum(int(words[words.index("-c") + 2]) for words in map(str.split, listed) if _STORE_PORTS in words)


def _count_requests(hosts: Scene) -> "Counter[str]":
    counted: Counter[str] = Counter()
    for host in hosts.stores:
        program = f"import urllib.request; print(urllib.request.urlopen({host.metrics!r}, timeout=9).read().decode())"
        for line in run(*host.space.inside, sys.executable, "-I", "-S", "-c", program).splitlines():
            found = _HANDLED.match(line)
            if found is not None:
                counted[found[1]] += int(float(found[2]))
    return counted


def measure_take_over(runs: int) -> list[str]:
    """The holder's power fails; with LEASE_TTL=5, as in the campaign."""
    begun, away = [], []
    step = Step(at_s=0.0, fault=Fault.POWER_LOSS, on_leader=True, for_s=16.0, size=0.0)
    assert step.fault in LOSSES
    with tempfile.TemporaryDirectory() as folder, scene(_SCENE + 1, Path(folder), ttl_s=5.0) as hosts:
        for number in range(runs):
            case = Case(seed=0, number=number, kind=Kind.PLAIN, state=State.TRADING, steps=(step,))
            result = conduct(hosts, case)
            begun += [result.begun_s] if result.begun_s is not None else []
            away += [result.away_s] if result.away_s is not None else []
            if result.broken:
                return [f"run {number} broke a rule: {result.broken}"]
    sequence = f"the next sequence began after {_describe(begun)}"
    return [f"a lease of 5 s, power loss: {sequence}, its bot after {_describe(away)}, two bots for 0 s"]


def measure_keepalived(runs: int) -> list[str]:
    """The same hosts with a plain keepalived script, whose master is cut off for a while."""
    found = []
    for number in range(runs):
        with tempfile.TemporaryDirectory(dir="/root") as folder, network(_KEEPALIVED_SCENE + number, 2) as (_, spaces):
            found.append(keepalived.cut_master_off(Path(folder), spaces, _CUT_S))
    away, overlap = zip(*found, strict=True)
    return [f"keepalived, cut off for {_CUT_S:g} s: second bot after {_describe(away)}, two for {_describe(overlap)}"]


def _describe(values: "list[float] | tuple[float, ...]") -> str:
    return f"{min(values):.1f} to {max(values):.1f} s (median {statistics.median(values):.1f})"


def say(text: str) -> None:
    """A line of output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
