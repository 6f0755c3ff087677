"""A login that waits for the operator's phone, or for the broker, under supervision and in a real container (G6)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docker_system import docker_system_in, name_of, start_of
from tests.e2e.gateway_scene import docker
from tests.e2e.images import build_vendor_image
from tests.integration.alerts_scene import Channel, run_channel
from tests.integration.watch_scene import begin, told
from tests.system import SIGTERM, System, end_and_read, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]
_SHIPPED = Path(__file__).resolve().parents[2] / "docker" / "gateway" / "docker-compose.yml"
_PATIENCE_S = 120.0
# Far longer than everything after which a gateway that waits for nobody would be restarted.
_HEARTBEATS = 20


@pytest.fixture(scope="session")
def vendor_image(simulator_image: str) -> Iterator[str]:
    """The vendor-like image of this run."""
    tag = build_vendor_image(f"{simulator_image}-login", base=simulator_image)
    yield tag
    docker("image", "rm", "--force", tag, check=False)


@pytest.fixture
def channel() -> Iterator[Channel]:
    with run_channel() as made:
        yield made


@pytest.fixture
def system(vendor_image: str, tmp_path: Path, channel: Channel) -> Iterator[System]:
    with docker_system_in(tmp_path / "a system", image=vendor_image) as made:
        made.environ |= {
            "DISCORD_WEBHOOK_URL": channel.address,
            "MONITOR_INTERVAL": "1",
            "GATEWAY_HEALTH_TIMEOUT": "6",
            "GATEWAY_TWOFA_TIMEOUT": "300",
            "HEALTH_CHECK_TIMEOUT": "3",
        }
        yield made


class Phone:
    """The operator's phone, and what the container knows of it."""

    def __init__(self, system: System, *, texts: str) -> None:
        self._system = system
        folder = system.root / "compose"
        folder.mkdir()
        (folder / "docker-compose.yml").write_bytes(_SHIPPED.read_bytes())
        # Unhealthy within seconds: what a gateway that waits for nobody would be restarted for.
        check = "{start_interval: 0.5s, start_period: 1s, interval: 1s, timeout: 20s, retries: 2}"
        self._inside = folder / "phone"
        self._inside.mkdir()
        self._inside.chmod(0o755)
        (folder / "docker-compose.override.yml").write_text(
            f"services:\n  gateway:\n    environment: {{VENDOR_TEXTS: {texts}, VENDOR_PHONE: /phone/answer}}\n"
            f"    volumes: ['{self._inside}:/phone:ro']\n    healthcheck: {check}\n",
            encoding="utf-8",
        )
        system.environ["DOCKER_COMPOSE_DIR"] = str(folder)

    def answer(self, word: str) -> None:
        """What becomes of the pushes from now on: `confirm`, `wait` or `ignore`."""
        new = self._inside / "new"
        new.write_text(word, encoding="utf-8")
        new.chmod(0o644)
        new.replace(self._inside / "answer")

    def count(self, name: str) -> int:
        """How many lines a file of the gateway's settings has."""
        command = f"cat $TWS_SETTINGS_PATH/{name} 2>/dev/null || true"
        return docker("exec", name_of(self._system), "sh", "-c", command).count("\n")

    def wait_for(self, name: str, more: int) -> None:
        wanted = self.count(name) + more
        wait_until(lambda: self.count(name) >= wanted, f"{more} more {name}", _PATIENCE_S)


def wait_for(channel: Channel, title: str) -> None:
    wait_until(lambda: title in told(channel), f"alert {title!r} among {told(channel)}", _PATIENCE_S)


@pytest.mark.parametrize(("start", "texts"), [("--foreground", "none"), ("--service", "ibcontroller")])
def test_a_start_that_waits_for_the_phone_restarts_nothing_and_tells_it_once(
    system: System, channel: Channel, start: str, texts: str
) -> None:
    phone = Phone(system, texts=texts)
    phone.answer("wait")
    process = system.begin(start)
    wait_for(channel, "Second factor needed")
    before = start_of(system)
    phone.wait_for("heartbeats", _HEARTBEATS)
    assert start_of(system) == before
    assert phone.count("pushes") == 1
    assert not system.bots()
    phone.answer("confirm")
    wait_until(lambda: list(system.logs.glob("supervisor_*.log")), "a supervisor", _PATIENCE_S)
    assert len(system.bots()) == 1
    assert start_of(system) == before
    assert told(channel).count("Second factor needed") == 1
    assert "Gateway restart attempted" not in told(channel)
    assert end_and_read(process, SIGTERM).code == 0


@pytest.mark.parametrize(("start", "texts"), [("--foreground", "ibcontroller"), ("--service", "none")])
def test_under_supervision_neither_an_unanswered_push_nor_the_brokers_pause_restarts_anything(
    system: System, channel: Channel, start: str, texts: str
) -> None:
    phone = Phone(system, texts=texts)
    phone.answer("confirm")
    process = begin(system, start)
    wait_until(lambda: len(system.bots()) == 1, "a bot", _PATIENCE_S)
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
