"""A login that waits for the operator's phone, or for the broker, under supervision and in a real container (G6)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docker_system import docker_system_in, name_of, start_of
from tests.e2e.gateway_scene import docker
from tests.e2e.phone import PATIENCE_S, Phone, wait_for
from tests.integration.alerts_scene import LoopbackChannel, run_channel
from tests.integration.watch_scene import begin, told
from tests.system import SIGTERM, System, end_and_read, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]
_TIMEOUT_S = 25  # enough for a start without a wait on a slow machine
# One a second: longer than the time after which a gateway that waits for no process would be restarted.
_HEARTBEATS = _TIMEOUT_S + 10


@pytest.fixture
def channel() -> Iterator[LoopbackChannel]:
    with run_channel() as made:
        yield made


@pytest.fixture
def system(vendor_image: str, tmp_path: Path, channel: LoopbackChannel) -> Iterator[System]:
    with docker_system_in(tmp_path / "a system", image=vendor_image) as made:
        made.environ |= {
            "DISCORD_WEBHOOK_URL": channel.address,
            "MONITOR_INTERVAL": "1",
            "GATEWAY_HEALTH_TIMEOUT": str(_TIMEOUT_S),
            "GATEWAY_TWOFA_TIMEOUT": "300",
            "HEALTH_CHECK_TIMEOUT": "3",
        }
        yield made


def test_a_start_that_waits_for_the_phone_restarts_nothing_and_tells_it_once(
    system: System, channel: LoopbackChannel
) -> None:
    phone = Phone(system, texts="ibcontroller")
    phone.answer("wait")
    process = system.begin("--service")
    wait_for(channel, "Second factor needed")
    before = start_of(system)
    phone.wait_for("heartbeats", _HEARTBEATS)
    assert start_of(system) == before
    assert phone.count("pushes") == 1
    assert not system.bots()
    phone.answer("confirm")
    wait_until(lambda: list(system.logs.glob("supervisor_*.log")), "a supervisor", PATIENCE_S)
    assert len(system.bots()) == 1
    assert start_of(system) == before
    assert told(channel).count("Second factor needed") == 1
    assert "Gateway restart attempted" not in told(channel)
    assert end_and_read(process, SIGTERM).code == 0


@pytest.mark.parametrize(("start", "texts"), [("--foreground", "ibcontroller"), ("--service", "none")])
def test_under_supervision_neither_an_unanswered_push_nor_the_brokers_pause_restarts_anything(
    system: System, channel: LoopbackChannel, start: str, texts: str
) -> None:
    phone = Phone(system, texts=texts)
    phone.answer("confirm")
    process = begin(system, start)
    wait_until(lambda: len(system.bots()) == 1, "a bot", PATIENCE_S)
    pushes = phone.count("pushes")

    phone.answer("ignore")
    docker("restart", "--time", "10", name_of(system))  # as a host's other tools do; the session is lost
    before = start_of(system)
    wait_for(channel, "Second factor needed")
    phone.wait_for("pauses", 2)
    phone.answer("wait")
    phone.wait_for("heartbeats", _HEARTBEATS)
    assert start_of(system) == before
    assert told(channel).count("Second factor needed") == 1
    assert "Second factor confirmed" not in told(channel)

    phone.answer("confirm")
    wait_for(channel, "Second factor confirmed")
    assert start_of(system) == before
    assert phone.count("pushes") >= pushes + 3
    assert "Gateway restart attempted" not in told(channel)
    titles = told(channel)
    assert [title for title in titles if "factor" in title] == ["Second factor needed", "Second factor confirmed"]
    # That the container went down may have been seen by itself, before it was known what its new start waits for.
    assert titles.count("Gateway lost") <= 1
    assert len(system.bots()) == 1
    assert end_and_read(process, SIGTERM).code == 0
