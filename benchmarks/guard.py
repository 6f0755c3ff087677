"""What the order guard adds to a request on Strategy C: round trips through it and beside it, in turns."""

import contextlib
import dataclasses
import socket
import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks.figures import SceneResult, Series, claim_at_most
from benchmarks.place import PROJECT, Place, SceneFailedError, read_listening_since, wait_for
from orchestration.bot.order_guard import end_guard, ensure_guard
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from orchestration.tws.frames import FrameReader, build_frame, parse_fields
from orchestration.tws.messages import Request, build_hello, build_start_api

_HOST = "127.0.0.1"
_TRIPS, _QUICK_TRIPS = 1000, 100
_WARM_UP = 50
_TIMEOUT_S = 10.0
_MOST_MEDIAN_MS, _MOST_WORST_MS = 1.0, 5.0
_TIME = build_frame(int(Request.CURRENT_TIME), 1)
_ORDER = build_frame(int(Request.PLACE_ORDER), 5, "0", "SPY", "STK")
_TIME_ANSWER, _ERROR = "49", "4"


def measure_guard(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """Each run: so many requests for the time directly and through the guard, one after the other; then orders."""
    trips = _QUICK_TRIPS if place.is_quick else _TRIPS
    settings = Settings.from_environ(place.environ, project_dir=PROJECT)
    gateway = Endpoint(host=_HOST, port=place.port)
    direct: list[float] = []
    guarded: list[float] = []
    refused: list[float] = []
    with place.simulator() as log:
        wait_for("the simulator's API", lambda: read_listening_since(log))
        guard = ensure_guard(settings, gateway, run_id="benchmark", clock=SystemClock())
        try:
            with _connected(place.port, client_id=1) as ask_directly, _connected(guard.port, client_id=2) as ask_guard:
                for ask in (ask_directly, ask_guard):
                    for _ in range(_WARM_UP):
                        ask(_TIME, _TIME_ANSWER)
                for _ in range(runs * trips):
                    direct.append(ask_directly(_TIME, _TIME_ANSWER))
                    guarded.append(ask_guard(_TIME, _TIME_ANSWER))
                refused = [ask_guard(_ORDER, _ERROR) for _ in range(trips)]
        finally:
            end_guard(settings)
    added = tuple(through - beside for through, beside in zip(guarded, direct, strict=True))
    series = (
        Series(label="a request and its answer, directly", unit="ms", samples=tuple(direct)),
        Series(label="the same through the order guard", unit="ms", samples=tuple(guarded)),
        Series(label="what the guard adds", unit="ms", samples=added),
        Series(label="an order and its refusal", unit="ms", samples=tuple(refused)),
    )
    ratio = series[1].median / series[0].median
    note = (
        f"99 % of the requests take at most {_find_percentile(direct):.2f} ms directly and "
        f"{_find_percentile(guarded):.2f} ms through the guard, of the orders {_find_percentile(refused):.2f} ms; the "
        f"medians of the first two are as 1 to {ratio:.1f}. On a plan that trades there is no guard, so it adds nothing"
    )
    claims = (
        claim_at_most("added, median", series[2].median, _MOST_MEDIAN_MS, "ms"),
        claim_at_most("added, 99 %", _find_percentile(added), _MOST_WORST_MS, "ms"),
    )
    return dataclasses.replace(result, series=series, claims=claims, notes=(note,))


def _find_percentile(samples: tuple[float, ...] | list[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[-1]


@contextlib.contextmanager
def _connected(port: int, *, client_id: int) -> Iterator[Callable[[bytes, str], float]]:
    """A client of the API; gives what sends a request and waits for its answer, in milliseconds."""
    reader = FrameReader()
    with socket.create_connection((_HOST, port), timeout=_TIMEOUT_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask(request: bytes, answer: str) -> float:
            begun_s = time.perf_counter()
            client.sendall(request)
            while True:
                data = client.recv(1 << 16)
                if not data:
                    raise SceneFailedError("the connection to the API ended")
                if any(parse_fields(body)[0] == answer for body in reader.feed(data)):
                    return (time.perf_counter() - begun_s) * 1000

        client.sendall(build_hello() + build_start_api(client_id))
        ask(_TIME, _TIME_ANSWER)
        yield ask
