"""What the operator's views cost: the live page, a crowd of clients at it, and `inv status` with positions."""

import contextlib
import dataclasses
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.cost import read_used
from benchmarks.deaths import begin_supervisor, end_supervisor, find_arrivals_s, find_bot, supervise
from benchmarks.figures import Claim, SceneResult, Series, claim_at_most
from benchmarks.idle import read_proportional_mb
from benchmarks.place import PROJECT, Place, inv, wait_for
from orchestration.soak.channel import LoopbackChannel, open_channel
from orchestration.soak.instance import find_free_port
from tests.crowd import Crowd, crowded

if TYPE_CHECKING:
    import psutil

_WINDOW_S, _QUICK_WINDOW_S = 300.0, 20.0
_SETTLED_AFTER_S = 20.0
_READ_EVERY_S = 15.0  # as the page reloads itself, and as Prometheus scrapes
_PATHS = ("/", "/healthz", "/metrics")
_PATIENCE_S = 30.0
_HOUR_S = 3600.0
_CLIENTS = 1000
_MOST_MEMORY_MB, _MOST_PROCESSOR_PERCENT, _MOST_RATIO = 10.0, 1.0, 1.3
_SYMBOLS, _ORDERS = ("SPY", "AAPL", "ES", "EUR"), 100
# The same command, which asks the gateway for everything but positions, orders and account values.
_WITHOUT_MONEY = """\
import sys
from orchestration.gateway import api
whole = api.probe_api
def probe_api(*arguments, reads_holdings=False, **options):
    return whole(*arguments, **options)
api.probe_api = probe_api
from invoke.main import program
program.run(["inv", "status"])
"""


def measure_page(place: Place, _: int, result: SceneResult) -> SceneResult:
    """Two idle supervisors over the same minutes, one with the page, read as a phone and a Prometheus read it."""
    window_s = _QUICK_WINDOW_S if place.is_quick else _WINDOW_S
    port = find_free_port()
    other = Place.build(place.root / "without", is_quick=place.is_quick)
    with contextlib.ExitStack() as stack:
        without = stack.enter_context(_supervisor(other))
        place.environ["STATUS_LISTEN"] = f"127.0.0.1:{port}"
        with_page = stack.enter_context(_supervisor(place))
        wait_for("the page", lambda: _read(port, "/healthz"))
        _read_for(_SETTLED_AFTER_S, ())
        unread_mb = read_proportional_mb(with_page.pid), read_proportional_mb(without.pid)
        unread = _measure(window_s, (with_page, without), ())
        _read(port, "/metrics")
        read = _measure(window_s, (with_page, without), (port,))
        read_mb = read_proportional_mb(with_page.pid), read_proportional_mb(without.pid)
    added_mb = max(unread_mb[0] - unread_mb[1], read_mb[0] - read_mb[1])
    series = (
        Series(label="memory that the page adds, it is not read", unit="MB", samples=(unread_mb[0] - unread_mb[1],)),
        Series(label="memory that the page adds, it is read", unit="MB", samples=(read_mb[0] - read_mb[1],)),
        Series(label="processor that the page adds, it is not read", unit="s/h", samples=(unread[0] - unread[1],)),
        Series(label="processor that the page adds, it is read", unit="s/h", samples=(read[0] - read[1],)),
        Series(label="processor of a supervisor without it", unit="s/h", samples=(unread[1], read[1])),
    )
    claims = (
        claim_at_most("memory that the page adds", added_mb, _MOST_MEMORY_MB, "MB"),
        claim_at_most(
            "processor that the page adds while it is not read, of one core",
            100 * (unread[0] - unread[1]) / _HOUR_S,
            _MOST_PROCESSOR_PERCENT,
            "%",
        ),
    )
    note = (
        f"two windows of {window_s:g} s; it is read every {_READ_EVERY_S:g} s at {', '.join(_PATHS)} in the second. "
        "Proportional memory; the bots and gateways are not counted"
    )
    return dataclasses.replace(result, series=series, claims=claims, notes=(note,))


def measure_crowd(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """From a bot's suspension and its death to the alert, with no client at the page and with a thousand clients."""
    port = find_free_port()
    place.environ.update(GATEWAY_RUNTIME="simulator", STATUS_LISTEN=f"127.0.0.1:{port}")
    quiet: list[float] = []
    crowd_took: list[float] = []
    turned_away: list[float] = []
    with open_channel() as channel:
        supervise(place, webhook=channel.address)
        try:
            for _ in range(runs):
                quiet.append(_kill_and_wait(place, channel, None)[0])
                took_s, closed = _kill_and_wait(place, channel, port)
                crowd_took.append(took_s)
                turned_away.append(closed)
        finally:
            place.run(inv("shutdown"), codes=(0, 1))
    series = (
        Series(label="the bot, SIGKILL → the alert, no client at the page", unit="s", samples=tuple(quiet)),
        Series(label=f"the same, {_CLIENTS:,} clients at the page", unit="s", samples=tuple(crowd_took)),
        Series(label="connections turned away meanwhile", unit="", samples=tuple(turned_away)),
    )
    claims = (claim_at_most(f"median with {_CLIENTS:,} clients", series[1].median, 1, "s"),)
    note = "clients that ask slowly, never read or talk rubbish, and come back as soon as they are turned away"
    return dataclasses.replace(result, series=series, claims=claims, notes=(note,))


def measure_status_with_money(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """`inv status` as it is, and the same command without positions, orders and account values, in turns."""
    held = [f"--position={symbol}=100" for symbol in _SYMBOLS]
    orders = [f"--order={number}:{number}:SELL:100:SPY:STP" for number in range(1, _ORDERS + 1)]
    (place.root / "without_money.py").write_text(_WITHOUT_MONEY, encoding="utf-8")
    without = (sys.executable, str(place.root / "without_money.py"))
    series: list[Series] = []
    claims: list[Claim] = []
    for what, holdings in (
        ("nothing held", ()),
        (f"{len(_SYMBOLS)} positions and {_ORDERS} orders", (*held, *orders)),
    ):
        whole: list[float] = []
        bare: list[float] = []
        with place.simulator(options=holdings):
            place.run(inv("startup"))
            for round_ in range(runs + 1):
                took_s = place.run(inv("status")), place.run(without, environ={"PYTHONPATH": str(PROJECT)})
                if round_:  # the first one fills the caches
                    whole.append(took_s[0])
                    bare.append(took_s[1])
            place.run(inv("bot.stop"))
        both = (
            Series(label=f"`inv status`, {what}", unit="s", samples=tuple(whole)),
            Series(label="the same without reading what is held", unit="s", samples=tuple(bare)),
        )
        ratio = both[0].median / both[1].median
        series += both
        claims.append(
            Claim(
                text=f"{both[0].label}, at most {_MOST_RATIO} times",
                found=f"{ratio:.2f} times",
                held=ratio <= _MOST_RATIO,
            )
        )
    return dataclasses.replace(result, series=tuple(series), claims=tuple(claims))


@contextlib.contextmanager
def _supervisor(place: Place) -> Iterator["psutil.Process"]:
    """A supervised reference bot on the built-in gateway; nothing happens to it."""
    import psutil

    place.environ["GATEWAY_RUNTIME"] = "simulator"
    supervise(place)
    for name in ("BOT_COMMAND", "BOT_WORKDIR"):
        place.environ.pop(name)
    process = begin_supervisor(place, "--service")
    try:
        yield psutil.Process(process.pid)
    finally:
        end_supervisor(place, process)
        place.run(inv("shutdown"), codes=(0, 1))


def _measure(
    window_s: float, processes: tuple["psutil.Process", "psutil.Process"], ports: tuple[int, ...]
) -> tuple[float, float]:
    """Processor seconds of each in an hour, by a window in which these ports' pages are read."""
    before = [read_used(process) for process in processes]
    begun_s = time.perf_counter()
    _read_for(window_s, ports)
    took_s = time.perf_counter() - begun_s
    used = [
        (sum(read_used(process)) - sum(since)) * _HOUR_S / took_s
        for process, since in zip(processes, before, strict=True)
    ]
    return used[0], used[1]


def _read_for(window_s: float, ports: tuple[int, ...]) -> None:
    end_s = time.monotonic() + window_s
    while (left_s := end_s - time.monotonic()) > 0:
        for port in ports:
            for path in _PATHS:
                _read(port, path)
        time.sleep(min(_READ_EVERY_S, left_s))


def _read(port: int, path: str) -> bytes:
    """What the page answers; nothing where nothing listens yet."""
    found = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        while data := client.recv(1 << 16):
            found += data
    return found


def _kill_and_wait(place: Place, channel: LoopbackChannel, crowd_at: int | None) -> tuple[float, int]:
    """From a bot's death to its alert, and how many clients were turned away until then."""
    process = begin_supervisor(place, "--service")
    try:
        with (
            contextlib.nullcontext(Crowd(port=0, size=0)) if crowd_at is None else crowded(crowd_at, _CLIENTS) as crowd
        ):
            wait_for("the crowd", lambda: crowd.turned_away >= crowd.size)
            time.sleep(1.5)
            channel.received.clear()
            killed_s = time.monotonic()
            find_bot(place, process).send_signal(signal.SIGKILL)
            arrived_s = wait_for("an alert", lambda: find_arrivals_s(channel, "Bot ended"))[0]
            return arrived_s - killed_s, crowd.turned_away
    finally:
        end_supervisor(place, process)
