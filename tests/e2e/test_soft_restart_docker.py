"""What a restart costs the operator's phone, on an image that counts logins and pushes (G5)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.gateway.runtime import RestartKind
from orchestration.gateway.wait import WaitEventKind
from tests.e2e.docker_system import docker_system_in, name_of, start_of
from tests.e2e.gateway_scene import GatewayScene, docker
from tests.integration.alerts_scene import run_channel
from tests.integration.watch_scene import begin, told
from tests.system import SIGTERM, end_and_read, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]
_SHIPPED = Path(__file__).resolve().parents[2] / "docker" / "gateway" / "docker-compose.yml"
_HANGS_AT_FIRST = "accepts_silent,first_start_only"


def write_compose(directory: Path, commands: str, *, logout_s: float = 2.0) -> None:
    """The shipped file, for a controller that takes commands, or does not."""
    directory.mkdir()
    (directory / "docker-compose.yml").write_bytes(_SHIPPED.read_bytes())
    environment = f'{{VENDOR_COMMANDS: "{commands}", VENDOR_LOGOUT: "{logout_s:g}"}}'
    (directory / "docker-compose.override.yml").write_text(
        f"services:\n  gateway:\n    environment: {environment}\n", encoding="utf-8"
    )


def count_lines(container: str, name: str) -> int:
    """How many lines a file of the gateway's settings has."""
    return docker("exec", container, "sh", "-c", f"cat $TWS_SETTINGS_PATH/{name} 2>/dev/null || true").count("\n")


class VendorScene(GatewayScene):
    """A gateway whose controller takes commands, or does not."""

    def use_commands(self, word: str, *, logout_s: float = 2.0) -> None:
        directory = self.folder / "compose"
        write_compose(directory, word, logout_s=logout_s)
        self.environ["DOCKER_COMPOSE_DIR"] = str(directory)

    def count(self, name: str) -> int:
        return count_lines(self.name, name)


@pytest.fixture
def vendor(vendor_image: str, tmp_path: Path) -> Iterator[VendorScene]:
    made = VendorScene.build(image=vendor_image, folder=tmp_path)
    assert isinstance(made, VendorScene)
    yield made
    made.remove()


def test_a_gateway_that_hangs_is_restarted_without_a_push(vendor: VendorScene) -> None:
    vendor.use_commands("answer")
    vendor.environ |= {"SIMULATOR_FAULTS": _HANGS_AT_FIRST, "GATEWAY_HEALTH_TIMEOUT": "15"}
    vendor.start()
    before = vendor.start_of()
    ready = vendor.wait()
    assert ready.restarted
    assert vendor.told().count(WaitEventKind.RESTARTING) == 1
    assert vendor.start_of() == before, "the container was left alone"
    assert vendor.count("pushes") == 1, "the one of the first start"

    assert vendor.runtime().restart() is RestartKind.SOFT  # what `inv gateway.restart` does
    vendor.wait()
    assert vendor.start_of() == before
    assert vendor.count("pushes") == 1


@pytest.mark.parametrize("commands", ["off", "ignore"])
def test_where_the_controller_does_nothing_the_container_is_restarted_once(vendor: VendorScene, commands: str) -> None:
    # A logout that takes longer than the 30 s of old: within the grace it comes to its end.
    vendor.use_commands(commands, logout_s=35 if commands == "off" else 2)
    vendor.environ |= {"SIMULATOR_FAULTS": _HANGS_AT_FIRST, "GATEWAY_HEALTH_TIMEOUT": "15"}
    vendor.start()
    before = vendor.start_of()
    assert vendor.wait().restarted
    assert vendor.told().count(WaitEventKind.RESTARTING) == 1
    assert vendor.start_of()[1] != before[1]
    assert vendor.count("pushes") == 2, "one new login, for one restart"
    assert vendor.count("logouts") == 1, "it was not killed on the way"


def test_a_full_login_is_a_login_also_where_the_controller_answers(vendor: VendorScene) -> None:
    vendor.use_commands("answer")
    vendor.start()
    vendor.wait()
    assert vendor.runtime().restart(is_gentle=False) is RestartKind.FULL
    vendor.wait()
    assert vendor.count("pushes") == 2


def test_under_supervision_a_silent_gateway_is_restarted_without_a_push(vendor_image: str, tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    write_compose(folder, "answer")
    with run_channel() as channel, docker_system_in(tmp_path / "a system", image=vendor_image) as system:
        system.environ |= {
            "DOCKER_COMPOSE_DIR": str(folder),
            "DISCORD_WEBHOOK_URL": channel.address,
            "MONITOR_INTERVAL": "2",
            "GATEWAY_HEALTH_TIMEOUT": "30",
            "HEALTH_CHECK_TIMEOUT": "2",
            "SIMULATOR_FAULTS": "silent_after=15, first_start_only",
        }
        process = begin(system)
        before = start_of(system)
        wait_until(lambda: "Gateway is back" in told(channel), f"recovery among {told(channel)}", 180.0)
        assert told(channel).count("Gateway restart attempted") == 1
        assert start_of(system) == before, "the container was left alone"
        assert count_lines(name_of(system), "pushes") == 1
        assert len(system.bots()) == 1

        by_hand = system.inv("gateway.restart", "--force", "--json")
        assert by_hand.code == 0, by_hand.err
        assert "restarted itself, without a new login" in by_hand.out
        assert count_lines(name_of(system), "pushes") == 1
        assert start_of(system) == before
        assert end_and_read(process, SIGTERM).code == 0
