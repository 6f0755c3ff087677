"""The started order guard against what other people's clients send, generated orders, and floods."""

import contextlib
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.bot.order_guard import read_guard
from orchestration.gateway.order_guard import PASSED
from orchestration.tws.frames import FrameReader, build_frame, parse_fields, wrap
from orchestration.tws.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    ErrorMessage,
    Request,
    build_hello,
    build_start_api,
    parse_message,
)
from tests.clients.table import Asked, read_asked
from tests.integration.guard_scene import GuardScene, started_guard
from tests.integration.simulated_gateway import PATIENCE_S
from tests.system import is_port_free, wait_until
from tests.thorough import choose_count

CLIENT = 7
LIVE = 1012
HELD = ("--position", "SPY=100", "--order", f"{CLIENT}:{LIVE}:SELL:100:SPY:STP")
ASKED = read_asked()
CLIENTS = sorted({one.client for one in ASKED})
TIME = int(Request.CURRENT_TIME)

# What moves money, risk or configuration, by the official client's `message.py`: place, cancel, log level, auto-bind,
# replace FA, exercise, global cancel, verification, display group, and (10.51) the gateway's configuration.
ACTS = frozenset({3, 4, 14, 15, 19, 21, 58, 65, 66, 69, 72, 73, 109})
PROTOBUF = 200  # from server version 201 a message's id is a raw integer, and of a protobuf message 200 + id
ORDERS_A_CLIENT = 50
MOST_LINES = 1000  # of one kind in the guard's log
SOON_S = 15.0  # half of what a client has for its handshake
MOST_TAKEN = 256 << 20
MOST_GROWTH = 32 << 20  # the buffers of some clients, and what the interpreter keeps of them


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardScene]:
    with started_guard(tmp_path_factory.mktemp("guard"), *HELD) as scene:
        yield scene


class Client:
    """A client made by hand, of any version."""

    def __init__(self, port: int, *, version: int = NEWEST_VERSION, client_id: int = CLIENT) -> None:
        # The gateway may not have noticed yet that the last client with this id has gone.
        wait_until(lambda: self._connect(port, version, client_id), f"client id {client_id} is free")

    def _connect(self, port: int, version: int, client_id: int) -> bool:
        self._reader = FrameReader()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(build_hello(version, version) + build_start_api(client_id))
        try:
            self.read_answers()
        except AssertionError as error:
            self.socket.close()
            if "'326'" not in str(error):
                raise
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_answers(self, *, extra_times: int = 0) -> list[list[str]]:
        """All that came until now: the time is asked for, and its answer comes last."""
        self.send(build_frame(TIME, 1))
        found: list[list[str]] = []
        left = 1 + extra_times
        while left:
            data = self.socket.recv(1 << 16)
            assert data, f"the guard hung up after {found[-3:]}"
            for body in self._reader.feed(data):
                found.append(parse_fields(body))
                left -= found[-1][0] == str(TIME)
        return found[:-1]

    def read_to_end(self) -> None:
        """Read until the other side ends the connection."""
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(1 << 16):
                pass


def read_codes(answers: list[list[str]]) -> Counter[tuple[int, int]]:
    """How often each code came about each request id."""
    said = [parse_message(fields) for fields in answers if fields[0] == "4"]
    return Counter((one.request_id, one.code) for one in said if isinstance(one, ErrorMessage))


def assert_nothing_came_through(scene: GuardScene) -> None:
    numbers = {body.partition(b"\0")[0] for body in scene.tap.read_messages()}
    assert all(number.isdigit() for number in numbers), numbers
    assert {int(number) for number in numbers} & ACTS == set()
    assert scene.acts == []


@pytest.mark.parametrize("name", CLIENTS)
def test_each_request_of_a_client_is_answered_as_without_the_guard_or_refused(scene: GuardScene, name: str) -> None:
    asked = [one for one in ASKED if one.client == name and one.sent]
    wrong = {}
    with Client(scene.port, version=asked[0].version) as client:
        client.send(build_frame(int(Request.MARKET_DATA_TYPE), 1, 3))
        for one in asked:
            client.send(b"".join(map(wrap, one.sent)))
            answers = client.read_answers(extra_times=one.number == TIME)
            found = list(dict.fromkeys(fields[0] for fields in answers))
            if found != find_due(one):
                wrong[one.method] = (found, find_due(one))
    assert wrong == {}
    assert {one.number for one in asked} >= {3, 4, 15, 19, 21, 58}
    assert_nothing_came_through(scene)


def find_due(one: Asked) -> list[str]:
    """The numbers of the messages that answer a recorded request behind the guard."""
    return list(one.received) if one.number in PASSED else ["4"]


RECORDED = [parse_fields(body) for one in ASKED for body in one.sent if one.number == Request.PLACE_ORDER]
IDS = st.one_of(st.integers(-1, 2000), st.just(LIVE), st.integers(-(2**31), 2**31 - 1))
FIELDS = st.one_of(
    st.sampled_from(RECORDED).map(lambda fields: fields[2:]),
    st.lists(st.sampled_from(["", "0", "1", "-1", "SPY", "BUY", "SELL", "1.5", "1e400", "é", "9" * 30]), max_size=90),
)
ORDERS = st.tuples(IDS, FIELDS)
# What no text message begins with: a raw id with a body in protobuf, an id that is not a plain number, or nothing.
FOREIGN = st.one_of(
    st.builds(
        lambda number, body: number.to_bytes(4, "big") + body,
        st.sampled_from(sorted(ACTS | {one + PROTOBUF for one in ACTS})),
        st.binary(max_size=200),
    ),
    st.sampled_from([b"+3\x005\x00", b"03\x005\x00", b"203\x005\x00", b"3 \x005\x00", b"109\x001\x00", b"\x00", b""]),
)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # a hundred orders of ninety fields may be one
@settings(
    max_examples=choose_count(usual=4, thorough=10_000 // ORDERS_A_CLIENT),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    orders=st.lists(ORDERS, min_size=ORDERS_A_CLIENT, max_size=ORDERS_A_CLIENT),
    foreign=FOREIGN,
    version=st.integers(OLDEST_VERSION, NEWEST_VERSION),
    piece=st.integers(1, 5000),
)
def test_no_order_comes_through_in_either_framing(
    scene: GuardScene, orders: list[tuple[int, list[str]]], foreign: bytes, version: int, piece: int
) -> None:
    frames = b"".join(build_frame(3, order_id, *fields) for order_id, fields in orders)
    with Client(scene.port, version=version) as client:
        for at in range(0, len(frames), piece):  # frames arrive cut anywhere, and many at a time
            client.send(frames[at : at + piece])
        told = read_codes(client.read_answers())
        due = Counter((order_id, 321 if order_id == LIVE else 201) for order_id, _ in orders)
        assert told == due
        client.send(wrap(foreign) + frames)
        client.read_to_end()
    assert_nothing_came_through(scene)


def test_each_act_on_a_live_order_is_refused_and_counted(scene: GuardScene) -> None:
    before = Counter((read_guard(scene.settings) or scene.guard).refused)
    with Client(scene.port) as client:
        client.send(build_frame(3, LIVE, "0", "SPY") + build_frame(4, 1, LIVE, "") + build_frame(58, 1, "", ""))
        client.send(build_frame(21, 2, 77, "0") + build_frame(15, 1, 1) + build_frame(19, 1, 1, "<x/>", 78))
        told = read_codes(client.read_answers())
    assert told == {(LIVE, 321): 2, (-1, 321): 3, (77, 321): 1}
    added = Counter({"order_change": 1, "cancel": 1, "global_cancel": 1, "exercise": 1, "other": 2})

    def has_counted() -> bool:
        record = read_guard(scene.settings)
        return record is not None and Counter(record.refused) >= before + added

    wait_until(has_counted, "count of what was refused")
    assert_nothing_came_through(scene)


class TestFloods:
    def test_clients_that_send_and_never_read_are_held_back_and_others_are_served(self, scene: GuardScene) -> None:
        flood = build_frame(3, 5, *["x" * 100] * 10) * 1000
        before = scene.process.memory_info().rss
        with contextlib.ExitStack() as held, Client(scene.port, client_id=30) as other:
            clients = [held.enter_context(Client(scene.port, client_id=20 + number)) for number in range(3)]
            places, since_moved = [0] * len(clients), 0
            while since_moved < 30:  # until the guard takes no more from any of them, for thirty orders of another
                since_moved += 1
                for number, client in enumerate(clients):
                    client.socket.setblocking(False)  # noqa: FBT003 - the standard library's
                    with contextlib.suppress(BlockingIOError):
                        places[number] += client.socket.send(flood[places[number] % len(flood) :])
                        since_moved = 0
                other.send(build_frame(3, 6, "0"))
                assert read_codes(other.read_answers()) == {(6, 201): 1}
                assert sum(places) < MOST_TAKEN, "the guard takes everything and keeps it"
            assert scene.process.memory_info().rss - before < MOST_GROWTH
        assert_nothing_came_through(scene)

    @pytest.mark.parametrize("half", [b"", b"AP", b"API\0\0\0", b"API\0" + b"\0\0\0\x09v157"])
    def test_clients_that_stop_within_the_handshake_hold_up_no_other_client(
        self, scene: GuardScene, half: bytes
    ) -> None:
        with contextlib.ExitStack() as held:
            for _ in range(20):
                silent = held.enter_context(socket.create_connection(("127.0.0.1", scene.port), timeout=PATIENCE_S))
                silent.sendall(half)
            with Client(scene.port) as client:
                client.send(build_frame(3, 6, "0"))
                assert read_codes(client.read_answers()) == {(6, 201): 1}

    def test_half_an_order_never_arrives_and_holds_up_no_other_client(self, scene: GuardScene) -> None:
        order = build_frame(3, 5, *["x"] * 80)
        with Client(scene.port, client_id=20) as half:
            half.send(order[:-1])
            with Client(scene.port) as client:
                client.send(order)
                assert read_codes(client.read_answers()) == {(5, 201): 1}
        assert_nothing_came_through(scene)

    def test_of_more_clients_than_a_gateway_takes_the_rest_is_turned_away(self, scene: GuardScene) -> None:
        with contextlib.ExitStack() as held:
            clients = [
                held.enter_context(socket.create_connection(("127.0.0.1", scene.port), timeout=PATIENCE_S))
                for _ in range(300)
            ]
            wait_until(lambda: count_ended(clients) >= 200, "end of most connections", timeout_s=SOON_S)
            assert scene.process.num_fds() < 200
        log = Path(scene.guard.log).read_text(encoding="utf-8")  # long, and still bounded
        assert "64 clients are connected already" in log
        assert log.count("refused:") <= MOST_LINES
        with Client(scene.port) as client:  # room again
            client.send(build_frame(3, 6, "0"))
            assert read_codes(client.read_answers()) == {(6, 201): 1}

    def test_what_a_frozen_guard_was_sent_comes_to_nothing(self, scene: GuardScene) -> None:
        with Client(scene.port) as client:
            os.kill(scene.guard.pid, signal.SIGSTOP)
            try:
                client.send(build_frame(3, 5, "0") * 100)
                with socket.create_connection(("127.0.0.1", scene.port), timeout=PATIENCE_S) as late:
                    late.sendall(build_hello() + build_start_api(8) + build_frame(3, 9, "0"))
                    assert_nothing_came_through(scene)
            finally:
                os.kill(scene.guard.pid, signal.SIGCONT)
            assert read_codes(client.read_answers()) == {(5, 201): 100}
        assert_nothing_came_through(scene)


def test_a_killed_guard_takes_its_clients_connections_with_it(tmp_path: Path) -> None:
    with started_guard(tmp_path, *HELD) as scene:
        with Client(scene.port) as client:
            client.send(build_frame(3, 5, "0") * 1000)
            process = scene.process
            process.kill()
            client.read_to_end()
            process.wait(PATIENCE_S)
        assert is_port_free(scene.port)
        assert_nothing_came_through(scene)


def count_ended(clients: list[socket.socket]) -> int:
    """How many of these connections the other side has ended."""
    ended = 0
    for client in clients:
        client.setblocking(False)  # noqa: FBT003 - the standard library's
        with contextlib.suppress(BlockingIOError):
            try:
                ended += not client.recv(1)
            except ConnectionResetError:
                ended += 1
    return ended
