"""When a supervisor keeps a connection to the gateway's API, and when it only visits."""

from dataclasses import dataclass, field, replace

import pytest

from orchestration.gateway.api_status import MOST_CLIENTS, ApiCode, ApiState, ApiStatus, judge_full
from orchestration.gateway.watched_api import CROWDED_FROM, ROOM_BELOW, WatchedApi, build_look
from orchestration.settings import Settings
from orchestration.system.sockets import count_in_table
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import FARMS_BROKEN, LINK_DOWN, READY, FakeProbe, api

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:C350 0100007F:0FA2 01 00000000:00000000 00:00000000 00000000     0        0 112 1
   2: 0100007F:0FA2 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 113 1
   3: 0100007F:C351 0100007F:0FA2 06 00000000:00000000 00:00000000 00000000     0        0 114 1
   4: 0100007F:C352 0100007F:0FA3 01 00000000:00000000 00:00000000 00000000     0        0 115 1
"""


@dataclass
class Scene:
    """A watched API with fakes behind it; its kept connection is never started."""

    clients: int | None = 0
    probe: FakeProbe = field(default_factory=FakeProbe)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.watched = WatchedApi(
            Settings.from_environ({}),
            clock=self.clock,
            on_change=lambda: None,
            probe=self.probe,
            count=lambda _: self.clients,
        )

    def look(self, clients: int | None = None) -> ApiStatus:
        self.clients = self.clients if clients is None else clients
        return self.watched.look()


def test_a_connection_is_kept_while_there_is_room() -> None:
    scene = Scene()
    for clients in range(CROWDED_FROM + 1):
        assert scene.look(clients).state is ApiState.IDLE, "as the kept connection has it"
    assert scene.probe.calls == 0


def test_on_a_crowded_gateway_it_only_visits() -> None:
    scene = Scene()
    look = scene.look(CROWDED_FROM + 1)
    assert scene.probe.calls == 1
    assert look.state is ApiState.READY
    assert look.accounts == ("DU1234567",)
    assert look.last_answer_age_s == 0.0
    scene.clock.sleep(5.0)
    assert scene.look().last_answer_age_s == 5.0
    assert scene.probe.calls == 1, "not at every look"
    scene.clock.sleep(55.0)
    scene.look()
    assert scene.probe.calls == 2


def test_it_comes_back_when_there_is_room_again_and_not_before() -> None:
    scene = Scene()
    scene.look(CROWDED_FROM + 1)
    scene.clock.sleep(60.0)
    scene.look(ROOM_BELOW)
    assert scene.probe.calls == 2, "between the two limits everything stays as it is"
    scene.clock.sleep(60.0)
    scene.look(ROOM_BELOW - 1)
    assert scene.probe.calls == 2
    assert scene.look().state is ApiState.IDLE


def test_where_connections_cannot_be_counted_one_is_kept() -> None:
    scene = Scene(clients=None)
    scene.watched.look()
    assert scene.probe.calls == 0


def test_a_gateway_that_is_down_is_not_visited() -> None:
    scene = Scene()
    scene.look(CROWDED_FROM + 1)
    scene.watched.pause()
    scene.clock.sleep(600.0)
    assert scene.look().state is ApiState.PAUSED
    assert scene.probe.calls == 1
    scene.watched.resume()
    assert scene.look().state is ApiState.READY
    assert scene.probe.calls == 2


@pytest.mark.parametrize("outcome", [outcome for outcome in ApiState if outcome is not ApiState.READY])
def test_every_end_of_a_visit_is_a_state(outcome: ApiState) -> None:
    scene = Scene(probe=FakeProbe([READY, api(outcome)]))
    scene.look(CROWDED_FROM + 1)
    scene.clock.sleep(60.0)
    look = scene.look()
    assert look.state is not ApiState.READY
    assert look.last_answer_age_s is None
    assert look.accounts == ("DU1234567",), "what is known stands"


def test_link_and_farms_are_those_of_the_visit() -> None:
    before = ApiStatus(state=ApiState.READY, since_s=1.0)
    down = build_look(LINK_DOWN, before, at_s=5.0)
    assert (down.is_link_down, down.link_down_since_s) == (True, 5.0)
    still = build_look(LINK_DOWN, down, at_s=65.0)
    assert still.link_down_since_s == 5.0, "what lasts keeps the instant at which it began"
    assert build_look(READY, still, at_s=125.0).link_down_since_s is None
    assert build_look(FARMS_BROKEN, before, at_s=5.0).broken_farms == ("usfarm",)


@pytest.mark.parametrize(
    ("outcome", "clients", "is_full"),
    [
        (ApiState.CLOSED, MOST_CLIENTS, True),
        (ApiState.CLOSED, MOST_CLIENTS - 1, False),
        (ApiState.CLOSED, None, False),
        (ApiState.SILENT, MOST_CLIENTS, False),
        (ApiState.READY, MOST_CLIENTS + 8, False),
    ],
)
def test_a_gateway_that_hangs_up_is_full_when_as_many_are_connected_as_it_takes(
    outcome: ApiState, clients: int | None, *, is_full: bool
) -> None:
    probe = replace(api(outcome), codes=(ApiCode(code=2104, text="fine"),))
    judged = judge_full(probe, clients, port=4002)
    assert (judged.state is ApiState.FULL) is is_full
    assert judged.codes == probe.codes
    assert not is_full or "32 clients" in judged.detail


def test_connections_are_counted_at_their_own_end_and_only_established_ones() -> None:
    assert count_in_table(TABLE.splitlines(), 4002) == 1
    assert count_in_table(TABLE.splitlines(), 4003) == 1
    assert count_in_table(TABLE.splitlines(), 50000) == 1
    assert count_in_table(["", "broken"], 4002) == 0
