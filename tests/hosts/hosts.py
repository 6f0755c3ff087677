"""One host: an etcd member, and a supervisor that is started again when it ends, as a service manager does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestration.soak.instance import Instance
from tests.hosts.certificates import Files, make_authority, make_certificate
from tests.hosts.disk import Disk, disk
from tests.hosts.draw import Kind
from tests.hosts.network import Cut, Space, network
from tests.hosts.observer import Observer
from tests.system import PROJECT, build_plan, wait_until

BOT = Path(__file__).with_name("tiny_bot.py")
CLOCK = PROJECT / "tests" / "campaign" / "wall_clock.c"
SUPERVISOR = (sys.executable, "-m", "orchestration.startup", "--service")
GATEWAY_PORT = 4002
BROKER_PORT = 4009
CLOCK_VARIABLE = "CAMPAIGN_CLOCK"
FIRST_PROXY_PORT = 2391
_RESTART_S = 1.0
_TIMES = {
    "GATEWAY_HEALTH_TIMEOUT": "20",
    "GATEWAY_HEALTH_RETRY_INTERVAL": "0.2",
    "GATEWAY_STOP_GRACE": "5",
    "BOT_START_GRACE": "2",
    "BOT_STOP_TIMEOUT": "4",
    "MONITOR_INTERVAL": "1",
    "STARTUP_MAX_ATTEMPTS": "100",  # a run may end a bot several times
    "STRATEGY_C_BOT": "trusted",
}
_FENCE = "fence_process.py"


@dataclass
class Host:
    """One of them.

    Attributes:
        number: From 0.
        space: Its network.
        root: Its folder.
        environ: Its supervisor's environment.
        argv: Its supervisor's program.
        peers: The store's members, as etcd wants them named.
        addresses: The members' addresses, its own first.
        files: Its certificate and key, and the authority's; None without TLS.
        disk: Its own disk; None where its folder is the machine's.
        is_up: Whether its supervisor is to run.
    """

    number: int
    space: Space
    root: Path
    environ: dict[str, str]
    argv: tuple[str, ...]
    peers: str
    addresses: list[str]
    files: Files | None = None
    disk: Disk | None = None
    is_up: bool = False
    store: "subprocess.Popen[bytes] | None" = None
    supervisor: "subprocess.Popen[bytes] | None" = None
    proxy: "subprocess.Popen[bytes] | None" = None
    restarted: list[int | None] = field(default_factory=list)

    def start_store(self) -> None:
        """Start the etcd member, with the data that it has."""
        address, scheme = self.space.address, "http" if self.files is None else "https"
        argv = [
            *(*self.space.inside, "etcd", "--name", f"h{self.number}", "--data-dir", str(self.root / "etcd")),
            *("--listen-client-urls", f"{scheme}://{address}:2379,{scheme}://127.0.0.1:2379"),
            *(
                "--advertise-client-urls",
                f"{scheme}://{address}:2379",
                "--listen-peer-urls",
                f"{scheme}://{address}:2380",
            ),
            *("--initial-advertise-peer-urls", f"{scheme}://{address}:2380", "--initial-cluster", self.peers),
            *("--pre-vote", "--logger", "zap", "--log-level", "error"),
        ]
        if self.files is not None:
            for prefix in ("", "peer-"):
                argv += [f"--{prefix}cert-file", str(self.files.cert), f"--{prefix}key-file", str(self.files.key)]
                argv += [f"--{prefix}trusted-ca-file", str(self.files.ca), f"--{prefix}client-cert-auth"]
        with (self.root / "etcd.log").open("ab") as log:
            self.store = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def start_supervisor(self) -> None:
        """Start it; `tend` starts it again from now on."""
        self.is_up = True
        with (self.root / "supervisor.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [*self.space.inside, *self.argv],
                cwd=PROJECT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def metrics(self) -> str:
        """Where its member tells what it has done; without TLS."""
        return "http://127.0.0.1:2379/metrics"

    def stop_store(self) -> None:
        """Kill the etcd member."""
        if self.store is not None:
            self.store.kill()
            self.store.wait()

    def start_proxy(self) -> None:
        """Start what stands between the supervisor and all members, and can be slow."""
        self.set_delay(0.0)
        routes = [f"{FIRST_PROXY_PORT + index}={address}:2379" for index, address in enumerate(self.addresses)]
        argv = [sys.executable, "-m", "tests.hosts.delay_proxy", str(self.root / "delay"), *routes]
        with (self.root / "proxy.log").open("ab") as log:
            self.proxy = subprocess.Popen(
                [*self.space.inside, *argv], cwd=PROJECT, stdout=log, stderr=log, start_new_session=True
            )

    def set_delay(self, delay_s: float) -> None:
        """How late the store's answers and the requests to it come, each."""
        new = self.root / "delay.new"
        new.write_text(f"{delay_s}\n", encoding="utf-8")
        new.replace(self.root / "delay")

    def find_gateways(self) -> list[int]:
        """Its gateways' processes."""
        return self._find(lambda argv: "orchestration.simulator" in argv)

    def tend(self) -> None:
        """Start again what has ended, as a service manager does."""
        if self.is_up and self.supervisor is not None and self.supervisor.poll() is not None:
            self.restarted.append(self.supervisor.returncode)
            self.start_supervisor()

    def find(self, *, with_store: bool, with_fence: bool) -> list[int]:
        """Its processes."""

        def is_meant(argv: list[str]) -> bool:
            is_store = argv[:1] == ["etcd"] or "tests.hosts.delay_proxy" in argv
            is_fence = any(one.endswith(_FENCE) for one in argv)
            return (with_store or not is_store) and (with_fence or not is_fence)

        return self._find(is_meant)

    def _find(self, is_meant: Callable[[list[str]], bool]) -> list[int]:
        found = []
        for pid in self.space.list_pids():
            with contextlib.suppress(psutil.Error):
                if is_meant(psutil.Process(pid).cmdline()):
                    found.append(pid)
        return found

    def die(self) -> None:
        """The host loses its power: all of it ends at one instant, the fence and the store too, without a packet."""
        self.is_up = False
        self.space.cut(Cut.BOTH)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            self.send(number, self.find(with_store=True, with_fence=True))
        for one in (self.supervisor, self.store, self.proxy):
            if one is not None:
                one.wait()

    def boot(self) -> None:
        """The host gets its power back."""
        self.space.heal()
        self.start_store()
        self.start_proxy()
        self.start_supervisor()

    @staticmethod
    def send(number: int, pids: list[int]) -> None:
        """A signal to these processes."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def set_clock_ahead(self, by_s: int) -> None:
        """Step the wall clock of its supervisor, its gateway and its bot."""
        new = self.root / "clock.new"
        new.write_text(f"{by_s}\n", encoding="utf-8")
        new.replace(self.root / "clock")


@dataclass
class Scene:
    """The hosts, the broker and the observer.

    Attributes:
        hosts: Those with a supervisor.
        stores: All hosts; each has a store's member.
        observer: What sees the bots.
        ttl_s: The lease's.
        bridge: Where the broker is.
        broker_log: What the broker writes.
        kind: How the hosts are set up.
        is_held: Whether the instance is held on all hosts.
        commands: An operator's commands that are under way.
    """

    hosts: list[Host]
    stores: list[Host]
    observer: Observer
    ttl_s: float
    bridge: Space
    broker_log: Path
    kind: Kind = Kind.PLAIN
    is_held: bool = False
    commands: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def tend(self) -> None:
        """A service manager for all, until `stop`."""
        while not self._ended.wait(_RESTART_S):
            for host in self.hosts:
                host.tend()

    def stop(self) -> None:
        """No more restarts."""
        self._ended.set()


@contextlib.contextmanager
def scene(number: int, root: Path, *, ttl_s: float, kind: Kind = Kind.PLAIN) -> Iterator[Scene]:
    """Three hosts that work, with a bot on one of them."""
    library = root / "wall_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(CLOCK)], check=True, timeout=60)
    hosts = 2 if kind is Kind.TWO else 3
    authority = make_authority(root) if kind in {Kind.TLS, Kind.TWO} else None
    scheme = "http" if authority is None else "https"
    with contextlib.ExitStack() as disks, network(number, 3) as (bridge, spaces), contextlib.ExitStack() as ending:
        peers = ",".join(f"h{index}={scheme}://{space.address}:2380" for index, space in enumerate(spaces))
        addresses = [space.address for space in spaces]
        endpoints = [f"{scheme}://127.0.0.1:{FIRST_PROXY_PORT + index}" for index in range(len(spaces))]
        all_hosts = []
        for index, space in enumerate(spaces):
            folder = root / f"host{index}"
            folder.mkdir()
            own_disk = disks.enter_context(disk(folder)) if kind is Kind.DISKS else None
            environ = build_environ(folder, endpoints, ttl_s, f"host{index}", library)
            user = f"trader{index}" if kind is Kind.HOT else "trader"
            environ["SIMULATOR_FAULTS"] = f"broker={bridge.address}:{BROKER_PORT}/{user}"
            if kind is Kind.HOT:
                environ |= {"STANDBY_GATEWAY": "hot", "TWS_USERID": user}
            host = Host(index, space, folder, environ, SUPERVISOR, peers, addresses[index:] + addresses[:index])
            host.disk = own_disk
            if authority is not None:
                host.files = make_certificate(authority, root, name=f"host{index}", address=space.address)
                environ |= {"LEASE_CA": str(host.files.ca), "LEASE_CERT": str(host.files.cert)}
                environ["LEASE_KEY"] = str(host.files.key)
            host.set_clock_ahead(0)
            all_hosts.append(host)
        with (root / "broker.log").open("ab") as log:
            listen = f"{bridge.address}:{BROKER_PORT}"
            argv = [sys.executable, "-m", "orchestration.simulator.broker", "--listen", listen]
            broker = subprocess.Popen([*bridge.inside, *argv], cwd=PROJECT, stdout=log, stderr=log)
        ending.callback(broker.wait)
        ending.callback(broker.kill)
        observer = Observer([host.root for host in all_hosts])
        observer.start()
        ending.callback(observer.stop)
        made = Scene(all_hosts[:hosts], all_hosts, observer, ttl_s, bridge, root / "broker.log", kind)
        for host in all_hosts:
            ending.callback(host.die)
        ending.callback(made.stop)
        for host in all_hosts:
            host.start_store()
            host.start_proxy()
        for host in made.hosts:
            host.start_supervisor()
        threading.Thread(target=made.tend, daemon=True).start()
        wait_until(observer.find_hosts, "bot on any host")
        yield made


def build_environ(folder: Path, endpoints: list[str], ttl_s: float, name: str, library: Path) -> dict[str, str]:
    """What a supervisor is told: folders of its own, the same plan as the others, and times that a run has."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPYCACHEPREFIX") if key in os.environ}
    plan = folder / "gameplan.json"
    plan.write_text(json.dumps(build_plan()), encoding="utf-8")
    return {
        **inherited,
        **Instance(folder).isolate(),
        **_TIMES,
        "GATEWAY_PORT": str(GATEWAY_PORT),
        "GAMEPLAN_PATH": str(plan),
        "BOT_COMMAND": f"'{sys.executable}' -S '{BOT}'",
        "BOT_WORKDIR": str(folder),
        "LEASE_ETCD": ",".join(endpoints),
        "LEASE_TTL": f"{ttl_s:g}",
        "LEASE_HOST": name,
        "LD_PRELOAD": str(library),
        CLOCK_VARIABLE: str(folder / "clock"),
    }
