"""The kept connection over real sockets: with the simulator, its deaths and faults, and with strangers."""

import contextlib
import gc
import logging
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.kept_api import KeptApi
from orchestration.system.endpoint import Endpoint
from tests.integration.scripted_gateway import scripted_gateway, wait_for_the_end
from tests.integration.simulated_gateway import PATIENCE_S, SimulatedGateway, simulated_gateway

CLIENT_ID = 9990


class Watcher:
    """Takes note of what the kept connection shows at each change."""

    def __init__(self) -> None:
        self.api: KeptApi | None = None
        self.looks: list[ApiStatus] = []
        self._news = threading.Condition()

    def on_change(self) -> None:
        assert self.api
        with self._news:
            self.looks.append(self.api.read())
            self._news.notify_all()

    def wait_for(self, wanted: Callable[[ApiStatus], object]) -> ApiStatus:
        """The look that is as wanted; asked for at each change and, for what tells no change, each moment."""
        assert self.api
        deadline_s = time.monotonic() + PATIENCE_S
        with self._news:
            while not wanted(look := self.api.read()):
                assert time.monotonic() < deadline_s, f"never came; last: {look}"
                self._news.wait(0.05)
        return look

    def wait_for_state(self, state: ApiState) -> ApiStatus:
        return self.wait_for(lambda look: look.state is state)

    @property
    def states(self) -> list[ApiState]:
        """The states in their order, each change once."""
        found = [look.state for look in self.looks]
        return [state for before, state in zip([None, *found], found, strict=False) if state is not before]


@contextlib.contextmanager
def kept(
    port: int, *, interval_s: float = 60.0, timeout_s: float = PATIENCE_S, host: str = "127.0.0.1"
) -> Iterator[tuple[KeptApi, Watcher]]:
    watcher = Watcher()
    api = KeptApi(
        Endpoint(host=host, port=port),
        client_id=CLIENT_ID,
        timeout_s=timeout_s,
        interval_s=interval_s,
        now=lambda: datetime.now(UTC),
        monotonic_s=time.monotonic,
        on_change=watcher.on_change,
    )
    watcher.api = api
    api.start()
    try:
        yield api, watcher
    finally:
        api.close()


def frame(*fields: object) -> bytes:
    body = "".join(f"{field}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


VERSION = frame(178, "20261118 14:00:00 UTC")
HANDSHAKE_END = frame(15, 1, "DU1") + frame(9, 1, 5)
TIME = frame(49, 1, 1_800_000_000)


def code(number: int, text: str) -> bytes:
    return frame(4, 2, -1, number, text, "")


def shake_hands(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(VERSION)
    client.recv(4096)
    client.sendall(HANDSHAKE_END)


def count_open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0  # noqa: PTH208 - only how many


def test_a_ready_gateway_is_connected_and_tells_everything() -> None:
    with simulated_gateway() as gateway, kept(gateway.port) as (_, watcher):
        look = watcher.wait_for_state(ApiState.READY)
        assert (look.connections, look.accounts, look.server_version) == (1, ("DU1234567",), 178)
        assert look.latency_ms is not None
        assert look.latency_ms > 0
        assert look.skew_s == 0.0
        assert look.server_time is not None
        assert look.server_time.tzinfo is UTC
        assert look.last_answer_age_s is not None
        assert look.last_answer_age_s >= 0
        assert not look.is_link_down
        assert look.broken_farms == ()
        assert [said.code for said in look.codes] == [2104, 2106, 2158]
    assert watcher.states == [ApiState.CONNECTING, ApiState.READY, ApiState.IDLE]


def test_a_gateway_that_dies_is_lost_and_one_that_is_back_is_found_with_its_new_accounts() -> None:
    with simulated_gateway() as first, kept(first.port) as (api, watcher):
        port = first.port
        before = watcher.wait_for_state(ApiState.READY)
        first.process.kill()
        lost = watcher.wait_for(lambda look: look.state is not ApiState.READY)
        assert lost.state in {ApiState.CLOSED, ApiState.REFUSED}
        watcher.wait_for_state(ApiState.REFUSED)
        second = SimulatedGateway("--port", str(port), "--accounts", "DU7,DU8")
        try:
            second.wait_for_line("API listening on")
            api.look_now()
            after = watcher.wait_for_state(ApiState.READY)
        finally:
            api.close()
            second.close()
    assert (before.connections, before.accounts) == (1, ("DU1234567",))
    assert (after.connections, after.accounts) == (2, ("DU7", "DU8"))
    assert ApiState.CLOSED in watcher.states
    assert after.since_s > before.since_s


def test_it_finds_the_gateway_again_by_itself() -> None:
    with scripted_gateway(answer_once, answer_times) as port, kept(port) as (_, watcher):
        assert watcher.wait_for_state(ApiState.READY).connections == 2


def test_a_gateway_that_falls_silent_is_found_by_the_next_time_request_and_stays_silent() -> None:
    with (
        simulated_gateway(faults="silent_after=1") as gateway,
        kept(gateway.port, interval_s=0.1, timeout_s=0.5) as (_, watcher),
    ):
        gateway.wait_for_line("falls silent")
        first = watcher.wait_for_state(ApiState.SILENT)
        # It is tried again, and is as silent as before: no news.
        later = watcher.wait_for(lambda look: "before the handshake" in look.detail)
        assert later.since_s == first.since_s
        assert watcher.states.count(ApiState.SILENT) == 1
        assert watcher.states[-1] is ApiState.SILENT


def answer_once(client: socket.socket) -> None:
    """A gateway that closes once it has told the time."""
    shake_hands(client)
    client.recv(4096)
    client.sendall(TIME)


def answer_times(client: socket.socket) -> None:
    """A gateway in order."""
    shake_hands(client)
    while client.recv(4096):
        client.sendall(TIME)


def count_requests(asked: list[bytes]) -> Callable[[socket.socket], None]:
    """A gateway that answers each request with its time, and notes the request."""

    def serve(client: socket.socket) -> None:
        shake_hands(client)
        while request := client.recv(4096):
            asked.append(request)
            client.sendall(TIME)

    return serve


def test_time_requests_go_on_over_the_one_connection() -> None:
    asked: list[bytes] = []
    with scripted_gateway(count_requests(asked)) as port, kept(port, interval_s=0.02) as (_, watcher):
        watcher.wait_for(lambda _: len(asked) > 20)
        assert watcher.api
        assert watcher.api.read().connections == 1
    assert set(asked) == {frame(49, 1)}


def test_it_does_not_ask_before_the_interval_unless_it_is_told_to() -> None:
    asked: list[bytes] = []
    with scripted_gateway(count_requests(asked)) as port, kept(port, interval_s=3600) as (api, watcher):
        watcher.wait_for_state(ApiState.READY)
        assert len(asked) == 1
        api.look_now()
        watcher.wait_for(lambda _: len(asked) == 2)


@pytest.mark.parametrize("number", [1100, 2110])
def test_a_lost_link_is_connected_and_down(number: int) -> None:
    with simulated_gateway(faults=f"error={number}") as gateway, kept(gateway.port) as (_, watcher):
        down = watcher.wait_for(lambda look: look.is_link_down and look.state is ApiState.READY)
        assert down.link_down_since_s is not None
        assert "link" in down.detail
        assert down.connections == 1
        assert down.codes[-1].code == number


@pytest.mark.parametrize(("number", "farm"), [(2103, "usfarm"), (2105, "ushmds"), (2157, "secdefil")])
def test_a_broken_farm_is_named(number: int, farm: str) -> None:
    with simulated_gateway(faults=f"error={number}") as gateway, kept(gateway.port) as (_, watcher):
        look = watcher.wait_for(lambda look: look.state is ApiState.READY and look.broken_farms)
        assert look.broken_farms == (farm,)
        assert not look.is_link_down


def test_a_code_in_the_middle_of_nothing_is_told_at_once() -> None:
    lose = threading.Event()
    restore = threading.Event()

    def serve(client: socket.socket) -> None:
        shake_hands(client)
        client.recv(4096)
        client.sendall(TIME)
        assert lose.wait(PATIENCE_S)
        client.sendall(code(1100, "lost") + code(2103, "Market data farm connection is broken:usfarm.nj"))
        assert restore.wait(PATIENCE_S)
        client.sendall(code(2104, "Market data farm connection is OK:usfarm.nj") + code(1102, "restored"))
        wait_for_the_end(client)

    with scripted_gateway(serve) as port, kept(port, interval_s=3600) as (_, watcher):
        watcher.wait_for_state(ApiState.READY)
        lose.set()
        down = watcher.wait_for(lambda look: look.is_link_down and look.broken_farms)
        assert down.broken_farms == ("usfarm.nj",)
        restore.set()
        up = watcher.wait_for(lambda look: not look.is_link_down and not look.broken_farms)
        assert "link" in down.detail
        assert "link" not in up.detail


def test_without_its_link_a_gateway_that_tells_no_time_is_not_called_silent() -> None:
    asked: list[bytes] = []

    def serve(client: socket.socket) -> None:
        shake_hands(client)
        client.sendall(code(1100, "lost"))
        while request := client.recv(4096):
            asked.append(request)

    with scripted_gateway(serve) as port, kept(port, interval_s=0.05, timeout_s=0.2) as (_, watcher):
        watcher.wait_for(lambda _: len(asked) >= 4)
        assert watcher.api
        look = watcher.api.read()
        assert (look.state, look.connections, look.is_link_down) == (ApiState.READY, 1, True)
        assert look.last_answer_age_s is None
    assert ApiState.SILENT not in watcher.states


def test_a_link_that_is_still_down_on_the_next_connection_was_never_up() -> None:
    def lose_and_close(client: socket.socket) -> None:
        shake_hands(client)
        client.sendall(code(1100, "lost"))
        client.recv(4096)
        client.sendall(TIME)

    def still_lost(client: socket.socket) -> None:
        shake_hands(client)
        client.sendall(code(1100, "lost"))
        while client.recv(4096):
            client.sendall(TIME)

    with scripted_gateway(lose_and_close, still_lost) as port, kept(port) as (_, watcher):
        first = watcher.wait_for(lambda look: look.is_link_down)
        second = watcher.wait_for(lambda look: look.state is ApiState.READY and look.connections == 2)
        assert second.is_link_down
        assert second.link_down_since_s == first.link_down_since_s
    down = [look.is_link_down for look in watcher.looks]
    assert False not in down[down.index(True) :]


def test_a_link_that_the_next_connection_does_not_call_down_is_up() -> None:
    def lose_and_close(client: socket.socket) -> None:
        shake_hands(client)
        client.sendall(code(1100, "lost") + code(2105, "HMDS data farm connection is broken:ushmds"))
        client.recv(4096)
        client.sendall(TIME)

    with scripted_gateway(lose_and_close, answer_times) as port, kept(port) as (_, watcher):
        watcher.wait_for(lambda look: look.is_link_down and look.broken_farms)
        look = watcher.wait_for(lambda look: look.state is ApiState.READY and look.connections == 2)
        assert (look.is_link_down, look.link_down_since_s, look.broken_farms) == (False, None, ())


@pytest.mark.parametrize(
    ("faults", "state"),
    [
        ("accepts_closes", ApiState.CLOSED),
        ("accepts_silent", ApiState.SILENT),
        ("half_frame", ApiState.SILENT),
        ("garbage", ApiState.GARBAGE),
        ("error=326", ApiState.CLIENT_ID_IN_USE),
        ("error=502", ApiState.NOT_CONNECTED),
        ("error=504", ApiState.NOT_CONNECTED),
        ("error=10141", ApiState.DISCLAIMER),
    ],
)
def test_what_stands_in_the_way_is_told_by_its_name(faults: str, state: ApiState) -> None:
    timeout_s = 0.5 if state is ApiState.SILENT else PATIENCE_S
    with simulated_gateway(faults=faults) as gateway, kept(gateway.port, timeout_s=timeout_s) as (_, watcher):
        look = watcher.wait_for(lambda look: look.state not in {ApiState.IDLE, ApiState.CONNECTING})
        assert look.state is state
        assert look.connections == 0
        assert look.detail


def test_the_next_nine_client_ids_are_tried() -> None:
    with simulated_gateway(faults="error=326:9x") as gateway, kept(gateway.port) as (_, watcher):
        watcher.wait_for_state(ApiState.READY)
    assert ApiState.CLIENT_ID_IN_USE not in watcher.states


def test_a_second_one_takes_the_next_client_id_and_the_first_one_keeps_its_own() -> None:
    with simulated_gateway() as gateway, kept(gateway.port) as (_, first), kept(gateway.port) as (_, second):
        first.wait_for_state(ApiState.READY)
        second.wait_for_state(ApiState.READY)
        assert first.wait_for_state(ApiState.READY).connections == 1


def test_the_disclaimer_passes() -> None:
    with simulated_gateway(faults="error=10141:2x") as gateway, kept(gateway.port) as (_, watcher):
        watcher.wait_for_state(ApiState.READY)
    assert watcher.states[:3] == [ApiState.CONNECTING, ApiState.DISCLAIMER, ApiState.READY]


def test_a_gateway_that_drops_everybody_is_not_connected() -> None:
    def drop(client: socket.socket) -> None:
        shake_hands(client)
        client.recv(4096)
        client.sendall(TIME + code(1300, "The socket port has been reset and this connection is being dropped."))
        wait_for_the_end(client)

    with scripted_gateway(drop) as port, kept(port) as (_, watcher):
        assert "1300" in watcher.wait_for_state(ApiState.NOT_CONNECTED).detail


def noise(client: socket.socket) -> None:
    client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    wait_for_the_end(client)


def noise_later(client: socket.socket) -> None:
    shake_hands(client)
    client.recv(4096)
    client.sendall(TIME + b"\x7f\xff\xff\xff" + b"x" * 1_000_000)
    wait_for_the_end(client)


def flood(client: socket.socket) -> None:
    shake_hands(client)
    while True:
        client.sendall(code(2104, "Market data farm connection is OK:usfarm") * 50)


@pytest.mark.parametrize("serve", [noise, noise_later, flood])
def test_a_stranger_is_called_garbage_and_is_left(serve: Callable[[socket.socket], None]) -> None:
    with scripted_gateway(serve) as port, kept(port) as (_, watcher):
        look = watcher.wait_for_state(ApiState.GARBAGE)
        assert len(look.codes) <= 50


def test_unreadable_messages_between_good_ones_do_no_harm() -> None:
    def serve(client: socket.socket) -> None:
        shake_hands(client)
        client.sendall(frame("x", "y") + frame(4, 2, "not a number") + frame(9999) + frame(49, 1, "noon"))
        while client.recv(4096):
            client.sendall(TIME)

    with scripted_gateway(serve) as port, kept(port) as (_, watcher):
        watcher.wait_for_state(ApiState.READY)


def test_a_pause_disconnects_and_ends_with_a_new_connection() -> None:
    came: list[str] = []

    def serve(client: socket.socket) -> None:
        came.append("client")
        answer_times(client)
        came.append("left")

    with scripted_gateway(serve) as port, kept(port) as (api, watcher):
        watcher.wait_for_state(ApiState.READY)
        api.pause()
        watcher.wait_for_state(ApiState.PAUSED)
        watcher.wait_for(lambda _: came == ["client", "left"])
        api.look_now()
        api.pause()
        assert api.read().state is ApiState.PAUSED
        api.resume()
        assert watcher.wait_for_state(ApiState.READY).connections == 2
    assert watcher.states == [
        ApiState.CONNECTING,
        ApiState.READY,
        ApiState.PAUSED,
        ApiState.CONNECTING,
        ApiState.READY,
        ApiState.IDLE,
    ]


def test_a_pause_cuts_off_an_attempt_and_one_before_the_start_prevents_it() -> None:
    with scripted_gateway(wait_for_the_end) as port, kept(port) as (api, watcher):
        watcher.wait_for_state(ApiState.CONNECTING)
        api.pause()
        watcher.wait_for_state(ApiState.PAUSED)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        api = KeptApi(
            Endpoint(host="127.0.0.1", port=nobody.getsockname()[1]), client_id=1, timeout_s=1, interval_s=1,
            now=lambda: datetime.now(UTC), monotonic_s=time.monotonic, on_change=lambda: None,
        )  # fmt: skip
        api.pause()
        api.start()
        watcher.api = api
        watcher.wait_for_state(ApiState.PAUSED)
        api.close()
        assert api.read().state is ApiState.IDLE


@pytest.mark.parametrize("serve", [answer_times, wait_for_the_end, noise, shake_hands])
def test_it_leaves_nothing_behind_whenever_it_is_closed(serve: Callable[[socket.socket], None]) -> None:
    with scripted_gateway(serve) as port:
        with kept(port) as (_, watcher):
            watcher.wait_for(lambda look: look.state is not ApiState.IDLE)
        gc.collect()
        threads, files = threading.active_count(), count_open_files()
        for delay_s in (0.0, 0.001, 0.01, 0.05, 0.2):
            with kept(port):
                time.sleep(delay_s)
        gc.collect()
        assert threading.active_count() == threads
        # The server is in this process too, and may be a moment behind in closing its side.
        watcher.wait_for(lambda _: count_open_files() <= files)


def test_it_may_be_closed_from_its_own_thread_and_more_than_once() -> None:
    done = threading.Event()

    def on_change() -> None:
        if api.read().state is ApiState.READY:
            api.close()
            done.set()

    with simulated_gateway() as gateway:
        api = KeptApi(
            Endpoint(host="127.0.0.1", port=gateway.port), client_id=1, timeout_s=PATIENCE_S, interval_s=60,
            now=lambda: datetime.now(UTC), monotonic_s=time.monotonic, on_change=on_change,
        )  # fmt: skip
        api.start()
        assert done.wait(PATIENCE_S)
        api.close()
        api.close()
    assert api.read().state is ApiState.IDLE
    api.start()
    api.look_now()
    api.pause()
    api.resume()
    assert api.read().state is ApiState.IDLE


@pytest.mark.skipif(sys.platform == "win32", reason="no process is stopped there by a signal")
def test_a_gateway_that_hangs_is_silent_and_one_that_goes_on_is_found_again() -> None:
    with simulated_gateway() as gateway, kept(gateway.port, interval_s=0.2, timeout_s=1) as (_, watcher):
        watcher.wait_for_state(ApiState.READY)
        gateway.process.send_signal(signal.SIGSTOP)
        try:
            assert watcher.wait_for_state(ApiState.SILENT).connections >= 1
        finally:
            gateway.process.send_signal(signal.SIGCONT)
        again = watcher.wait_for(lambda look: look.state is ApiState.READY)
        assert again.connections > 1


@pytest.mark.parametrize("host", ["localhost", "no-such-host.invalid", "x" * 300, "", "::1"])
def test_no_host_name_makes_it_raise(host: str) -> None:
    with kept(1, host=host) as (_, watcher):
        assert watcher.wait_for_state(ApiState.REFUSED).detail


def test_an_unexpected_error_ends_an_attempt_and_not_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(str):
        """A host that surprises the library."""

        __slots__ = ()

        def encode(self, *_: object, **__: object) -> bytes:
            raise ZeroDivisionError

    with kept(1, host=Odd("odd")) as (api, watcher):
        look = watcher.wait_for_state(ApiState.GARBAGE)
        assert "ZeroDivisionError" in look.detail
        api.pause()
        watcher.wait_for_state(ApiState.PAUSED)
    assert "unexpectedly" in caplog.text


def test_the_library_says_nothing_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), scripted_gateway(noise, noise_later, answer_times) as port:
        with kept(port) as (api, watcher):
            watcher.wait_for_state(ApiState.GARBAGE)
            watcher.wait_for(lambda look: look.connections >= 1)
            api.look_now()
            watcher.wait_for_state(ApiState.READY)
        with kept(1) as (_, watcher):
            watcher.wait_for_state(ApiState.REFUSED)
    assert [record for record in caplog.records if record.name != "asyncio" or record.levelno > logging.DEBUG] == []


def test_any_thread_may_call_anything_at_any_time() -> None:
    with scripted_gateway(answer_once) as port, kept(port, interval_s=0.01) as (api, watcher):
        ends = threading.Event()
        calls: list[Callable[[], object]] = [api.look_now, api.pause, api.resume, api.read, api.start]

        def call(function: Callable[[], object]) -> None:
            while not ends.is_set():
                function()
                time.sleep(0.001)

        threads = [threading.Thread(target=call, args=(function,)) for function in calls]
        for thread in threads:
            thread.start()
        watcher.wait_for(lambda _: len(watcher.looks) > 50)
        ends.set()
        for thread in threads:
            thread.join()
        api.resume()
        watcher.wait_for(lambda look: look.state not in {ApiState.PAUSED, ApiState.CONNECTING})
    assert api.read().state is ApiState.IDLE
