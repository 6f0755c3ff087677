"""The probe over real sockets: against every fault of the simulator, and against servers that send anything at all."""

import asyncio
import contextlib
import gc
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestration.gateway.api import ApiState, ApiStatus, probe_api
from orchestration.gateway.api_status import find_broken
from orchestration.system.endpoint import Endpoint
from tests.integration.scripted_gateway import scripted_gateway, wait_for_the_end
from tests.integration.simulated_gateway import PATIENCE_S, PROJECT, hand_shake, simulated_gateway

CLIENT_ID = 9990


def look(port: int, *, timeout_s: float = PATIENCE_S, host: str = "127.0.0.1") -> ApiStatus:
    return probe_api(
        Endpoint(host=host, port=port), client_id=CLIENT_ID, timeout_s=timeout_s, now=lambda: datetime.now(UTC)
    )


def look_until(port: int, outcome: ApiState) -> ApiStatus:
    """Look again and again until the gateway has come to something."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (probe := look(port)).state is not outcome and time.monotonic() < deadline_s:
        pass
    return probe


def frame(*fields: object) -> bytes:
    body = "".join(f"{field}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


VERSION = frame(178, "20261118 14:00:00 UTC")
ACCOUNTS = frame(15, 1, "DU1")
NEXT_ID = frame(9, 1, 5)
TIME = frame(49, 1, 1_800_000_000)


def test_a_ready_gateway_tells_everything() -> None:
    with simulated_gateway() as gateway:
        probe = look(gateway.port)
    assert probe.state is ApiState.READY
    assert probe.is_ready
    assert (probe.server_version, probe.accounts, probe.next_valid_id) == (178, ("DU1234567",), 1)
    assert probe.client_id == CLIENT_ID
    assert probe.server_time is not None
    assert probe.server_time.tzinfo is UTC
    assert probe.skew_s == 0.0
    assert probe.latency_ms is not None
    assert probe.latency_ms > 0
    assert not probe.is_link_down
    assert probe.broken_farms == ()
    assert "completed" in probe.detail


@pytest.mark.parametrize(
    ("faults", "outcome", "says"),
    [
        ("accepts_closes", ApiState.CLOSED, "closed it before the handshake"),
        ("garbage", ApiState.GARBAGE, "does not speak"),
        ("dies_mid_handshake", ApiState.CLOSED, "in the middle of the handshake"),
        ("error=326", ApiState.CLIENT_ID_IN_USE, "9999"),
        ("error=502", ApiState.NOT_CONNECTED, "502"),
        ("error=503", ApiState.OUTDATED, "503: The TWS is out of date"),
        ("error=504", ApiState.NOT_CONNECTED, "Not connected"),
        ("error=506", ApiState.OUTDATED, "506"),
        ("error=10141", ApiState.DISCLAIMER, "disclaimer"),
    ],
)
def test_a_fault_that_answers_is_told_by_its_name_long_before_the_time_out(
    faults: str, outcome: ApiState, says: str
) -> None:
    with simulated_gateway(faults=faults) as gateway:
        began_s = time.monotonic()
        probe = look(gateway.port, timeout_s=600)
        assert time.monotonic() - began_s < PATIENCE_S
    assert probe.state is outcome
    assert says in probe.detail
    assert not probe.is_ready
    assert probe.accounts == ()


@pytest.mark.parametrize("faults", ["accepts_silent", "half_frame", "silent_after=0", "accounts="])
def test_a_fault_that_keeps_silent_is_told_at_the_time_out(faults: str) -> None:
    with simulated_gateway(faults=faults) as gateway:
        if faults.startswith("silent"):
            gateway.wait_for_line("falls silent")
        probe = look(gateway.port, timeout_s=0.3)
    assert probe.state is ApiState.SILENT
    assert not probe.is_ready


@pytest.mark.parametrize("faults", ["unhealthy", "slow_login=60"])
def test_a_port_without_a_listener_is_refused(faults: str) -> None:
    with simulated_gateway(faults=faults, is_open=False) as gateway:
        probe = look(gateway.port)
    assert probe.state is ApiState.REFUSED
    assert "nothing listens" in probe.detail


def test_a_forwarder_before_the_login_is_closed_and_after_it_is_ready() -> None:
    with simulated_gateway("--forwarder", "127.0.0.1:0", faults="slow_login=1", is_open=False) as gateway:
        assert look(gateway.forwarder_port).state is ApiState.CLOSED
        gateway.wait_for_line("API listening on")
        assert look(gateway.forwarder_port).state is ApiState.READY


def test_a_gateway_without_room_for_one_more_client_is_full() -> None:
    with simulated_gateway() as gateway, contextlib.ExitStack() as clients:
        for client_id in range(32):
            client, _ = hand_shake(gateway.port, client_id)
            clients.enter_context(client)
        probe = look(gateway.port)
        assert probe.state is ApiState.FULL
        assert "32 clients are connected" in probe.detail
        client.close()
        assert look_until(gateway.port, ApiState.READY).is_ready


def test_the_next_nine_client_ids_are_tried() -> None:
    with simulated_gateway(faults="error=326:9x") as gateway:
        probe = look(gateway.port)
        assert probe.state is ApiState.READY
        assert probe.client_id == CLIENT_ID + 9
        assert look(gateway.port).client_id == CLIENT_ID


def test_the_disclaimer_passes() -> None:
    with simulated_gateway(faults="error=10141:2x") as gateway:
        assert [look(gateway.port).state for _ in range(3)] == [
            ApiState.DISCLAIMER,
            ApiState.DISCLAIMER,
            ApiState.READY,
        ]
    with simulated_gateway(faults="error=10141:0.5") as gateway:
        assert look_until(gateway.port, ApiState.READY).is_ready


@pytest.mark.parametrize("code", [1100, 2110])
def test_a_lost_link_is_ready_and_down(code: int) -> None:
    with simulated_gateway(faults=f"error={code}") as gateway:
        probe = look(gateway.port)
    assert probe.is_ready
    assert probe.is_link_down
    assert "lost its link" in probe.detail


@pytest.mark.parametrize("code", [2103, 2105, 2157])
def test_a_broken_farm_is_ready_and_degraded(code: int) -> None:
    with simulated_gateway(faults=f"error={code}") as gateway:
        probe = look(gateway.port)
    assert probe.is_ready
    assert not probe.is_link_down
    assert [said.code for said in find_broken(probe.codes)] == [code]


@pytest.mark.parametrize("skew_s", [90.0, -90.0, 7.0])
def test_a_clock_that_is_off_is_measured(skew_s: float) -> None:
    with simulated_gateway(faults=f"clock_skew={skew_s}") as gateway:
        probe = look(gateway.port)
    assert probe.skew_s is not None
    assert abs(skew_s) - 2 < abs(probe.skew_s) <= abs(skew_s) + 0.01
    assert probe.skew_s * skew_s > 0


def test_the_accounts_are_told_without_the_empty_ones() -> None:
    with simulated_gateway(faults="wrong_account") as gateway:
        assert look(gateway.port).accounts == ("U7654321",)
    with simulated_gateway("--accounts", "DF1,,DU1,") as gateway:
        assert look(gateway.port).accounts == ("DF1", "DU1")


def test_a_hundred_looks_use_up_no_client_id_no_socket_and_no_thread() -> None:
    with simulated_gateway() as gateway:
        look(gateway.port)
        gc.collect()
        threads = threading.active_count()
        files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0  # noqa: PTH208 - only how many
        with contextlib.ExitStack() as together:
            pool = [threading.Thread(target=look, args=(gateway.port,)) for _ in range(8)]
            for thread in pool:
                together.callback(thread.join)
                thread.start()
        for _ in range(40):
            assert look(gateway.port).client_id == CLIENT_ID
        gc.collect()
        assert threading.active_count() == threads
        if sys.platform == "linux":
            assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208


def test_it_may_be_called_where_a_loop_runs_and_leaves_that_loop_alone() -> None:
    async def main(port: int) -> ApiStatus:
        probe = look(port)
        await asyncio.sleep(0)
        return probe

    with simulated_gateway() as gateway:
        assert asyncio.run(main(gateway.port)).is_ready


@pytest.mark.parametrize("host", ["localhost", "no-such-host.invalid", "x" * 300, "", "::1"])
def test_no_host_name_makes_it_raise(host: str) -> None:
    assert isinstance(look(1, host=host, timeout_s=5).state, ApiState)


@pytest.mark.parametrize("first", [ACCOUNTS + NEXT_ID, NEXT_ID + ACCOUNTS])
def test_the_handshake_may_end_in_either_order_with_notices_between(first: bytes) -> None:
    notices = frame(4, 2, -1, 2104, "fine:x", "")

    def serve(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(VERSION)
        client.recv(4096)
        for piece in (first[: len(first) // 2], first[len(first) // 2 :]):
            client.sendall(piece)
        client.sendall(notices)
        client.recv(4096)
        client.sendall(TIME)
        wait_for_the_end(client)

    with scripted_gateway(serve) as port:
        probe = look(port)
    assert probe.is_ready
    assert probe.server_time == datetime.fromtimestamp(1_800_000_000, UTC)


def test_a_gateway_that_closes_right_after_the_handshake_is_not_ready() -> None:
    def serve(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(VERSION)
        client.recv(4096)
        client.sendall(ACCOUNTS + NEXT_ID)

    with scripted_gateway(serve) as port:
        probe = look(port)
    assert probe.state is ApiState.CLOSED
    assert "right after the handshake" in probe.detail


def test_a_gateway_that_never_tells_the_time_is_ready_without_one() -> None:
    def serve(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(VERSION)
        client.recv(4096)
        client.sendall(ACCOUNTS + NEXT_ID)
        wait_for_the_end(client)

    with scripted_gateway(serve) as port:
        probe = look(port)
    assert probe.is_ready
    assert (probe.server_time, probe.skew_s, probe.latency_ms) == (None, None, None)
    assert "was not answered" in probe.detail


def test_a_notice_that_comes_a_moment_after_the_handshake_is_heard() -> None:
    def serve(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(VERSION)
        client.recv(4096)
        client.sendall(ACCOUNTS + NEXT_ID)
        client.recv(4096)
        client.sendall(TIME)
        time.sleep(0.02)
        client.sendall(frame(4, 2, -1, 1100, "lost", ""))
        wait_for_the_end(client)

    with scripted_gateway(serve) as port:
        # A busy machine may be late once, but not each time.
        assert any(look(port).is_link_down for _ in range(10))


@pytest.mark.skipif(sys.platform != "linux", reason="how a full queue looks differs elsewhere")
def test_a_port_that_does_not_even_accept_is_refused_at_the_time_out() -> None:
    with socket.socket() as server, contextlib.ExitStack() as queue:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - the socket's own signature
            waiting.connect_ex(server.getsockname())
        probe = look(server.getsockname()[1], timeout_s=0.3)
    assert probe.state is ApiState.REFUSED
    assert "in time" in probe.detail


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        (b"", ApiState.CLOSED),
        (b"\0\0\0\0" * 9, ApiState.GARBAGE),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ApiState.GARBAGE),
        (b"\x7f\xff\xff\xff" + b"x" * 1_000_000, ApiState.GARBAGE),
        (frame("hello"), ApiState.GARBAGE),
        (frame("hello", "world"), ApiState.GARBAGE),
        (frame(100, "an old one"), ApiState.OUTDATED),
        (frame("1" * 5000, "x"), ApiState.GARBAGE),
        (VERSION[:-4], ApiState.CLOSED),
        (VERSION, ApiState.CLOSED),
        (VERSION + ACCOUNTS, ApiState.CLOSED),
        (VERSION + frame(9, 1), ApiState.GARBAGE),
        (VERSION + frame("x"), ApiState.GARBAGE),
        (VERSION + frame(4, 2, -1, 1100, "lost", ""), ApiState.NOT_CONNECTED),
        (VERSION + frame(49, 1, 10**30), ApiState.CLOSED),
        (VERSION + frame(2, 1) * 200_000, ApiState.GARBAGE),
    ],
)
def test_what_a_stranger_sends_before_it_closes_is_judged(sent: bytes, outcome: ApiState) -> None:
    def serve(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        wait_for_the_end(client)

    with scripted_gateway(serve) as port:
        assert look(port).state is outcome


def drip(client: socket.socket) -> None:
    """A message of a sane size that never ends."""
    client.sendall(struct.pack(">I", 100_000))
    while True:
        client.sendall(b"1")
        time.sleep(0.005)


def chatter(client: socket.socket) -> None:
    """A completed handshake, and then notices without end."""
    client.sendall(VERSION + ACCOUNTS + NEXT_ID)
    while True:
        client.sendall(frame(4, 2, -1, 2104, "fine:usfarm", "") * 50)


def deaf(client: socket.socket) -> None:
    """A version, and not one byte read or sent any more."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.sendall(VERSION)
    time.sleep(1)


def reset(client: socket.socket) -> None:
    """A reset instead of an orderly end."""
    client.recv(4096)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("serve", "outcome"),
    [
        (drip, ApiState.SILENT),
        (chatter, ApiState.GARBAGE),
        (deaf, ApiState.SILENT),
        (reset, ApiState.CLOSED),
    ],
)
def test_a_server_that_never_comes_to_an_end_is_left(serve: Callable[[socket.socket], None], outcome: ApiState) -> None:
    with scripted_gateway(serve) as port:
        assert look(port, timeout_s=0.5).state is outcome


def pieces() -> st.SearchStrategy[bytes]:
    """Bytes of every kind: noise, frames of noise, and the real messages, whole, cut or with a byte changed."""
    fields = st.lists(st.sampled_from(["", "1", "2", "4", "9", "15", "49", "-1", "326", "1100", "DU1", "é", "9" * 40]))
    real = st.sampled_from([VERSION, ACCOUNTS, NEXT_ID, TIME, frame(4, 2, -1, 1100, "x", ""), frame(15, 1, ",")])
    changed = st.builds(lambda data, at, byte: data[: at % len(data)] + byte + data[at % len(data) + 1 :],
                        real, st.integers(0, 60), st.binary(min_size=1, max_size=1))  # fmt: skip
    cut = st.builds(lambda data, end: data[:end], real, st.integers(0, 30))
    return st.one_of(st.binary(max_size=300), fields.map(lambda found: frame(*found)), real, changed, cut)


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(stream=st.lists(pieces(), max_size=8), is_handshake_real=st.booleans(), closes=st.booleans())
@example(
    stream=[b"\x00\x00\x00\x0615\x00\x00\x01\x00", b"\x00\x00\x00\x069\x00\x0000\x00"],
    is_handshake_real=False,
    closes=False,
)
def test_nothing_that_a_server_sends_makes_it_raise_or_hang(
    *, stream: list[bytes], is_handshake_real: bool, closes: bool
) -> None:
    def serve(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(b"".join([VERSION, *stream] if is_handshake_real else stream))
        if not closes:
            wait_for_the_end(client)

    with scripted_gateway(serve) as port:
        began_s = time.monotonic()
        probe = look(port, timeout_s=0.2)
        took_s = time.monotonic() - began_s
    assert isinstance(probe.state, ApiState)
    assert probe.detail
    assert took_s < 10  # a busy machine may be slow; a hang is for ever
    if probe.is_ready:
        assert probe.server_version is not None
        assert probe.next_valid_id is not None
        assert probe.accounts


def test_it_prints_nothing_and_imports_no_client_library() -> None:
    with simulated_gateway(faults="garbage") as gateway:
        script = (
            "import sys\nfrom orchestration.gateway.api import probe_api\nfrom datetime import datetime, UTC\n"
            "from orchestration.system.endpoint import Endpoint\n"
            f"for port in ({gateway.port}, 1):\n"
            "    endpoint = Endpoint(host='127.0.0.1', port=port)\n"
            "    probe_api(endpoint, client_id=1, timeout_s=5, now=lambda: datetime.now(UTC))\n"
            "sys.exit(sorted({'ib_async', 'numpy', 'eventkit'} & set(sys.modules)) or None)\n"
        )
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", script],
            cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S, check=True,
        )  # fmt: skip
        assert done.stdout + done.stderr == ""
