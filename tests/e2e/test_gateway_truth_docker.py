"""The gateway as its container is, on a real engine: what its health check, its log and its making say."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.container import Health
from orchestration.gateway.failure import GatewayFailure
from orchestration.gateway.wait import WaitEventKind
from tests.e2e.docker_system import docker as run_docker
from tests.e2e.docker_system import name_of, start_of, state_of
from tests.e2e.gateway_scene import PASSWORD, GatewayScene, docker, shown, wait_for
from tests.integration.alerts_scene import LoopbackChannel, run_channel
from tests.system import SIGTERM, System, end_and_read, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
_NO_SUCH_PROGRAM = '["CMD", "nc", "-z", "127.0.0.1", "4002"]'
# Unhealthy after two bad looks, half a second apart; the check passes while its file is there.
_SWITCHED = '["CMD", "test", "-e", "/faults/well"]'
_SHIPPED = Path(__file__).resolve().parents[2] / "docker" / "gateway" / "docker-compose.yml"


def use_check(folder: Path, check: str, *, faults: Path | None = None) -> str:
    """A Compose folder with the shipped file and another, impatient health check; and a folder of the host's in it."""
    folder.mkdir()
    (folder / "docker-compose.yml").write_bytes(_SHIPPED.read_bytes())
    lines = [
        "services:",
        "  gateway:",
        f"    healthcheck: {{test: {check}, start_interval: 0.3s, start_period: 1s, interval: 0.5s, retries: 2}}",
        *([f"    volumes: ['{faults}:/faults:ro']"] if faults is not None else []),
    ]
    (folder / "docker-compose.override.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


@contextlib.contextmanager
def supervised(system: System, channel: LoopbackChannel, **environ: str) -> Iterator[None]:
    """A supervisor that looks often; ended in order."""
    system.environ |= {"DISCORD_WEBHOOK_URL": channel.address, "MONITOR_INTERVAL": "2", **environ}
    process = system.begin("--foreground")
    wait_until(lambda: list(system.logs.glob("supervisor_*.log")) or process.poll() is not None, "supervisor")
    yield
    assert end_and_read(process, SIGTERM).code == 0


@pytest.fixture
def channel() -> Iterator[LoopbackChannel]:
    with run_channel() as made:
        yield made


def told(channel: LoopbackChannel) -> list[str]:
    return [title.removeprefix("[SIMULATED] ") for title in channel.titles]


def checks_of(system: System) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(system.inv("preflight", "--json").out)["checks"]}


# F14, G4


def test_a_check_that_can_never_pass_restarts_a_working_gateway_at_the_deadline_only(scene: GatewayScene) -> None:
    scene.environ |= {
        "DOCKER_COMPOSE_DIR": use_check(scene.folder / "compose", _NO_SUCH_PROGRAM),
        "GATEWAY_HEALTH_TIMEOUT": "8",
    }
    scene.start()
    wait_for("unhealthy", lambda: scene.runtime().probe().health is Health.UNHEALTHY)
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert failed.value.word is FailureWord.GATEWAY_UNHEALTHY
    assert "nc" in shown(failed.value)
    assert "GATEWAY_HEALTH_CHECK=ignore" in failed.value.next_action
    assert scene.told().count(WaitEventKind.RESTARTING) == 1
    assert WaitEventKind.HEALTH_CHECK_FAILING in scene.told()[: scene.told().index(WaitEventKind.RESTARTING)]
    assert isinstance(failed.value, GatewayFailure)
    assert (failed.value.seen.health, failed.value.seen.accounts) == ("unhealthy", ("DU1234567",))
    assert scene.runtime().probe().is_up, "it works, and is left to it"


def test_a_check_that_is_ignored_delays_nothing(scene: GatewayScene) -> None:
    scene.environ |= {
        "DOCKER_COMPOSE_DIR": use_check(scene.folder / "compose", _NO_SUCH_PROGRAM),
        "GATEWAY_HEALTH_CHECK": "ignore",
    }
    scene.start()
    before = scene.start_of()
    assert not scene.wait().restarted
    assert scene.start_of() == before


def test_a_check_that_recovers_after_the_login_is_waited_for(scene: GatewayScene) -> None:
    faults = scene.folder / "faults"
    faults.mkdir()
    scene.environ["DOCKER_COMPOSE_DIR"] = use_check(scene.folder / "compose", _SWITCHED, faults=faults)
    scene.start()
    wait_for("unhealthy", lambda: scene.runtime().probe().health is Health.UNHEALTHY)
    before = scene.start_of()
    ready = scene.wait(
        on_event=lambda event: (faults / "well").touch() if event.kind is WaitEventKind.HEALTH_CHECK_FAILING else None
    )
    assert not ready.restarted
    assert scene.start_of() == before


def test_under_supervision_a_failing_check_restarts_nothing_while_the_api_works(
    system: System, channel: LoopbackChannel
) -> None:
    faults = system.root / "faults"
    faults.mkdir()
    (faults / "well").touch()
    compose = use_check(system.root / "compose", _SWITCHED, faults=faults)
    with supervised(system, channel, DOCKER_COMPOSE_DIR=compose):
        before, bot = start_of(system), system.bots()[0].pid
        (faults / "well").unlink()
        wait_until(
            lambda: run_docker("inspect", "--format", "{{.State.Health.Status}}", name_of(system)) == "unhealthy",
            "an unhealthy container",
        )
        # Also where the bot is started again, for which the gateway is validated once more.
        assert system.inv("bot.restart").code == 0
        wait_until(lambda: [one.pid for one in system.bots()] not in ([bot], []), "another bot")
        assert start_of(system) == before
        assert "Gateway restart attempted" not in told(channel)


# F12


def test_a_second_factor_confirmed_late_under_a_stale_check_restarts_nothing(
    system: System, channel: LoopbackChannel
) -> None:
    faults = system.root / "faults"
    faults.mkdir()
    (faults / "well").touch()
    (faults / "now").touch()
    environ = {
        "DOCKER_COMPOSE_DIR": use_check(system.root / "compose", _SWITCHED, faults=faults),
        "SIMULATOR_FAULTS": "@/faults/now",
    }
    with supervised(system, channel, **environ):
        # The weekly login, as the gateway's own restart brings it about.
        (faults / "now").write_text("second_factor=8", encoding="utf-8")
        (faults / "well").unlink()
        run_docker("restart", "--time", "1", name_of(system))
        weekly = start_of(system)
        wait_until(lambda: "Second factor needed" in told(channel), f"alert among {told(channel)}")
        wait_until(lambda: "Second factor confirmed" in told(channel), f"alert among {told(channel)}")
        assert run_docker("inspect", "--format", "{{.State.Health.Status}}", name_of(system)) == "unhealthy"
        assert start_of(system) == weekly
        assert "Gateway restart attempted" not in told(channel)
        assert len(system.bots()) == 1


# F46


@pytest.mark.parametrize("login", [{}, {"TWS_USERID": "", "TWS_PASSWORD": ""}])
def test_one_that_has_ended_is_started_again_as_it_is_and_keeps_its_log(
    scene: GatewayScene, login: dict[str, str]
) -> None:
    scene.environ |= login
    scene.start()
    scene.wait()
    docker("exec", scene.name, "bash", "-c", "echo the end of it > /proc/1/fd/1")
    docker("kill", scene.name)
    before = scene.start_of()
    assert scene.runtime().probe().state is ContainerState.EXITED
    assert scene.start()
    scene.wait()
    assert scene.start_of()[0] == before[0]
    assert "the end of it" in docker("logs", scene.name)
    assert list((scene.folder / "logs").glob("container_*")) == []


def test_what_is_made_anew_because_a_setting_changed_leaves_its_last_lines(scene: GatewayScene) -> None:
    scene.start()
    scene.wait()
    docker("exec", scene.name, "bash", "-c", f"echo the end of it {PASSWORD} > /proc/1/fd/1")
    docker("kill", scene.name)
    before = scene.start_of()
    scene.environ["READ_ONLY_API"] = "yes"
    assert scene.start()
    scene.wait()
    assert scene.start_of()[0] != before[0]
    (kept,) = (scene.folder / "logs").glob("container_*.log")
    assert "the end of it ********" in kept.read_text(encoding="utf-8")
    assert any(str(kept) in line for line in scene.progress)


def test_a_gateway_that_crashes_again_and_again_is_stopped_when_the_start_fails(scene: GatewayScene) -> None:
    scene.environ |= {"SIMULATOR_FAULTS": "dies_after=0.2", "GATEWAY_HEALTH_TIMEOUT": "4"}
    scene.start()
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert "it was stopped" in failed.value.message
    assert scene.runtime().probe().state is ContainerState.EXITED


# F18


def test_what_is_said_of_a_running_gateway_is_what_its_container_was_made_with(system: System) -> None:
    assert system.startup().code == 0
    begun = start_of(system)
    assert "drift" not in checks_of(system)
    system.environ |= {"READ_ONLY_API": "yes", "TWS_PASSWORD": "another-secret", "TIME_ZONE": "Europe/Zurich"}
    found = checks_of(system)
    assert found["drift"]["status"] == "warn"
    for name in ("READ_ONLY_API", "TWS_PASSWORD", "TIME_ZONE"):
        assert name in found["drift"]["detail"]
    for secret in ("another-secret", "s3cret-of-ann"):
        assert secret not in json.dumps(found)
    assert "read-only gateway" not in found, "the container takes orders, whatever .env says"
    again = system.startup("--replace")
    assert again.code == 0, again.err
    assert any(warning.startswith("drift: ") for warning in again.document["warnings"])
    assert start_of(system) == begun, "a gateway that is logged in is not restarted for drift"
    assert system.inv("shutdown").code == 0
    assert state_of(system) == "exited"
    applied = system.startup()
    assert applied.code == 0, applied.err
    found = checks_of(system)
    assert "drift" not in found
    assert "no order will pass" in found["read-only gateway"]["detail"]
