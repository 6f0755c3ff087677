"""What the simulated parts do, compared with what the real ones do: one script, run against both.

The gateway's API by a client that is not ours and by the program's own look, the channel by the program's own request,
the process table by the program's own reader. The engine's contract needs an engine: `tests/e2e/test_years_engine.py`.
"""

import asyncio
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import ib_async
import pytest

from orchestration.alerts.posting import Cutoff, NotSentError, send_request
from orchestration.gateway.api import ApiStatus, probe_api
from orchestration.gateway.login_patterns import LAUNCHER_LOG, Event
from orchestration.soak.channel import Behaviour, answer, hang, open_channel
from orchestration.system import process_table
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from orchestration.system.platform import Platform, use_platform
from tests.integration.simulated_gateway import PATIENCE_S, simulated_gateway
from tests.years.clockwork import Clockwork, Trace
from tests.years.gateway import ApiClient, Gateway
from tests.years.processes import ProcessTable
from tests.years.simulate import BEGIN
from tests.years.world import build_world

pytestmark = [pytest.mark.years, pytest.mark.timeout(300)]  # of a machine that is busy with something else

_CLIENT_ID = 9990
_NOTICES = {2104, 2106, 2158}  # that data farms are fine: the simulated gateway of the years has none


class Bridge:
    """The gateway of the years behind a real port, so that a client that is not ours can speak to it."""

    def __init__(self, gateway: Gateway, clockwork: Clockwork) -> None:
        self._gateway = gateway
        self._clockwork = clockwork
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._count = 0
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._count += 1
                threading.Thread(target=self._serve, args=(self._count, connection), daemon=True).start()

    def _serve(self, number: int, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            lose = lambda: connection.shutdown(socket.SHUT_RDWR)  # noqa: E731 - one call
            with self._lock:
                self._gateway.accept(number, ApiClient(send=connection.sendall, lose=lose, who="client"))
                self._clockwork.now_s += 1.0
                self._clockwork.run_due()
            while select.select([connection], (), ())[0] and (data := connection.recv(65536)):
                with self._lock:
                    self._gateway.hear(number, data)
        with self._lock:
            self._gateway.leave(number)

    def close(self) -> None:
        self._listener.close()


def _build_gateway(ready: str) -> tuple[Gateway, Clockwork]:
    clockwork = Clockwork(datetime.now(UTC), seed=1, trace=Trace())
    gateway = Gateway(clockwork)
    gateway.start()
    until_s = {"login": 10.0}.get(ready, 60.0)
    while clockwork.next_s <= until_s:
        clockwork.now_s = clockwork.next_s
        clockwork.run_due()
    clockwork.wall_s = clockwork.true_s = clockwork.wall_s - clockwork.now_s  # the present
    if ready == "silent":
        gateway.hang()
    return gateway, clockwork


@contextlib.contextmanager
def _years_port(how: str = "ready") -> Iterator[int]:
    bridge = Bridge(*_build_gateway(how))
    try:
        yield bridge.port
    finally:
        bridge.close()


@contextlib.contextmanager
def _simulator_port(how: str = "ready") -> Iterator[int]:
    faults = {"login": "accepts_closes", "silent": "accepts_silent"}.get(how, "")
    with simulated_gateway(faults=faults) as gateway:
        yield gateway.port


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of this thread, which `ib_async` looks for."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


def _converse(port: int) -> Mapping[str, object]:
    """What a client that is not ours is answered to all that the program asks."""
    ib = ib_async.IB()
    codes: list[int] = []
    ib.errorEvent += lambda _request, code, *_: codes.append(code)
    ib.connect("127.0.0.1", port, _CLIENT_ID, timeout=PATIENCE_S, fetchFields=ib_async.StartupFetchNONE)
    try:
        return {
            "version": ib.client.serverVersion(),
            "accounts": ib.managedAccounts(),
            "next order": ib.client.getReqId() > 0,
            "is on time": abs((ib.reqCurrentTime() - datetime.now(UTC)).total_seconds()) < 60.0,
            "positions": ib.reqPositions(),
            "orders": ib.reqAllOpenOrders(),
            "summary ends": isinstance(ib.accountSummary(), list),
            "codes": set(codes) - _NOTICES,
        }
    finally:
        ib.disconnect()
        ib.sleep(0.01)


@pytest.mark.usefixtures("loop")
def test_a_client_that_is_not_ours_is_answered_alike_by_both_gateways() -> None:
    with _years_port() as years, _simulator_port() as simulator:
        assert _converse(years) == _converse(simulator)


@pytest.mark.parametrize("how", ["ready", "login", "silent"])
def test_the_programs_own_look_sees_the_same_of_both_gateways(how: str) -> None:
    def look(port: int) -> ApiStatus:
        now = SystemClock().now
        endpoint = Endpoint(host="127.0.0.1", port=port)
        return probe_api(endpoint, client_id=_CLIENT_ID, timeout_s=3.0, now=now, reads_holdings=True)

    with _years_port(how) as years, _simulator_port(how) as simulator:
        first, second = look(years), look(simulator)
    assert (first.state, first.is_ready, first.accounts, first.server_version, first.is_link_down) == (
        (second.state, second.is_ready, second.accounts, second.server_version, second.is_link_down)
    )
    assert [one.code for one in first.codes] == [one.code for one in second.codes if one.code not in _NOTICES]


def test_each_line_of_the_launchers_log_is_read_as_what_it_was_written_for() -> None:
    gateway, clockwork = _build_gateway("ready")
    gateway.restart_itself()
    while clockwork.next_s < clockwork.now_s + 300.0:
        clockwork.now_s = clockwork.next_s
        clockwork.run_due()
    text = gateway.run(("docker", "exec", "gateway", "sh"), {}, "test")[1]
    messages = [line.partition(" - ")[2].strip() for line in text.split("\n") if " INFO " in line]
    found = [next((one.event for one in LAUNCHER_LOG if one.text.match(message)), message) for message in messages]
    assert (
        found
        == [
            *(
                Event.RESTART,
                Event.ATTEMPT,
                Event.ROUND,
                Event.CHALLENGE,
                Event.COMPLETED,
                Event.LOGGED_IN,
            ),  # full login
            *(Event.RESTART, Event.AUTO_RESTART, Event.COMPLETED, Event.LOGGED_IN),  # with the saved session
            *found[10:],
        ]
    )
    assert len(found) in {10, 11}  # the last line may stand there twice


@dataclass(frozen=True, kw_only=True)
class Post:
    """One request: what the real channel does, and what the simulated one is told to."""

    real: Behaviour | None
    simulated: tuple[int | None, float | None, float]


_POSTS = {
    "taken": Post(real=answer(204), simulated=(204, None, 0.1)),
    "fails": Post(real=answer(500), simulated=(500, None, 0.1)),
    "asks for quiet": Post(real=answer(429, {"Retry-After": "7"}), simulated=(429, 7.0, 0.1)),
    "says nothing": Post(real=hang, simulated=(204, None, 45.0)),
    "is not there": Post(real=None, simulated=(None, None, 0.1)),
}


def _post(address: str) -> str:
    try:
        with Cutoff(3.0) as cutoff:
            reply = send_request(
                address,
                document={"embeds": [{"title": "t", "description": "d"}]},
                cutoff=cutoff,
                connect_timeout_s=1.0,
                read_timeout_s=1.0,
                clock=SystemClock(),
            )
    except NotSentError as error:
        return f"{error.reason}, {'unsure' if error.is_unsure else 'sure'}"
    return f"{reply.status}, wait {reply.retry_after_s}"


def test_a_request_ends_alike_on_the_real_network_and_the_simulated_one(tmp_path: Path) -> None:
    real = {}
    for name, one in _POSTS.items():
        with open_channel(*([one.real] if one.real else []), token="t") as channel:  # noqa: S106 - no secret
            address = channel.address
            if one.real is not None:
                real[name] = _post(address)
        if one.real is None:  # its port is closed now
            real[name] = _post(address)

    world = build_world(tmp_path / "w", seed=1, begin=BEGIN, trace=Trace())
    answers = iter(one.simulated for one in _POSTS.values())
    world.posts = lambda: next(answers)

    def work() -> int:
        print(json.dumps({name: _post("http://127.0.0.1:9/x") for name in _POSTS}), flush=True)
        return 0

    try:
        world.table.boot()
        world.spawn("posts", work)
        world.run(600.0)
        assert json.loads((world.root / "output.txt").read_text(encoding="utf-8")) == real
    finally:
        world.close()


class _Proc(Platform):
    def __init__(self, root: Path) -> None:
        self.proc_root = str(root)


def _describe(pid: int, output: Path) -> Mapping[str, object]:
    """All that the program reads of a process."""
    stat = process_table.read_stat(pid)
    return {
        "is there": stat is not None,
        "parent": stat is not None and stat.parent_pid == os.getpid(),
        "leads": stat is not None and stat.group_id == stat.session_id == pid,
        "in the table": pid in process_table.read_table(),
        "argv": process_table.read_argv(pid),
        "environ": process_table.read_environ(pid),
        "cwd": process_table.read_cwd(pid),
        "output": process_table.read_standard_output(pid),
        "writes": process_table.writes_to(pid, lambda path: path == output),
        "users": process_table.read_user_ids(pid),
    }


def test_a_process_reads_alike_from_the_kernels_table_and_the_simulated_one(tmp_path: Path) -> None:
    output = tmp_path / "out.log"
    argv = (sys.executable, "-c", "import sys; sys.stdin.read()", "a b")
    environ = {"NAME": "v=1", "EMPTY": ""}
    table = ProcessTable(tmp_path / "proc", Clockwork(BEGIN, seed=1, trace=Trace()))
    table.boot()
    simulated = table.start(
        argv,
        environ,
        parent_pid=os.getpid(),
        on_signal=lambda _number: None,
        control_group="/",
        cwd=str(tmp_path),
        output=str(output),
    )
    with output.open("wb") as file:
        real = subprocess.Popen(
            argv,
            env=environ,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=file,
            start_new_session=True,
        )
    told = []
    try:
        for pid, platform, end in (
            (real.pid, Platform(), lambda: real.communicate(timeout=PATIENCE_S)),
            (simulated.pid, _Proc(table.root), lambda: table.end(simulated, 0)),
        ):
            use_platform(platform)
            running = _describe(pid, output)
            end()
            told.append((running, _describe(pid, output)))
    finally:
        use_platform(Platform())
        real.kill()
        real.wait()
    assert told[0] == told[1]
    assert told[0][0]["argv"] == argv
