"""A login in a real container, known by the gateway's own `launcher.log` and by each controller's texts (G6, F10)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.launcher_log import LauncherPhase
from orchestration.gateway.wait import WaitEventKind
from tests.e2e.gateway_scene import GatewayScene, docker, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
_SHIPPED = Path(__file__).resolve().parents[2] / "docker" / "gateway" / "docker-compose.yml"
_NEVER = {"SIMULATOR_FAULTS": "second_factor", "GATEWAY_HEALTH_TIMEOUT": "2", "GATEWAY_TWOFA_TIMEOUT": "3"}


class LoginScene(GatewayScene):
    """A gateway whose container says what a certain controller would say."""

    def use_controller(self, controller: str) -> None:
        directory = self.folder / "compose"
        directory.mkdir()
        (directory / "docker-compose.yml").write_bytes(_SHIPPED.read_bytes())
        # Unhealthy long before the deadline: the moment at which one that cannot be read would be restarted.
        check = "{start_interval: 0.3s, start_period: 1s, interval: 0.3s, timeout: 20s, retries: 2}"
        environment = f"{{SIMULATOR_CONTROLLER: {controller}}}"
        (directory / "docker-compose.override.yml").write_text(
            f"services:\n  gateway:\n    environment: {environment}\n    healthcheck: {check}\n", encoding="utf-8"
        )
        self.environ["DOCKER_COMPOSE_DIR"] = str(directory)


@pytest.fixture
def login(simulator_image: str, tmp_path: Path) -> Iterator[LoginScene]:
    made = LoginScene.build(image=simulator_image, folder=tmp_path)
    assert isinstance(made, LoginScene)
    yield made
    made.remove()


@pytest.mark.parametrize("controller", ["none", "ibcontroller"])
def test_a_gateway_that_waits_for_a_phone_is_not_restarted_with_any_controller(
    login: LoginScene, controller: str
) -> None:
    login.use_controller(controller)
    login.environ |= _NEVER
    login.start()
    before = login.start_of()
    with pytest.raises(StartupFailure) as failed:
        login.wait()
    assert failed.value.word is FailureWord.GATEWAY_SECOND_FACTOR
    assert login.told() == [WaitEventKind.SECOND_FACTOR_NEEDED]
    assert login.start_of() == before
    assert login.runtime().probe().state is ContainerState.RUNNING


def test_a_second_factor_that_only_the_gateways_own_log_tells_of_leads_to_ready(login: LoginScene) -> None:
    login.use_controller("none")
    # Longer than the five seconds between two looks at the log.
    login.environ |= {"SIMULATOR_FAULTS": "second_factor=12", "GATEWAY_HEALTH_TIMEOUT": "60"}
    begun_at = datetime.now(UTC).replace(microsecond=0)
    login.start()
    before = login.start_of()
    login.wait()
    told = login.told()
    assert told.index(WaitEventKind.SECOND_FACTOR_NEEDED) < told.index(WaitEventKind.SECOND_FACTOR_GRANTED)
    assert WaitEventKind.RESTARTING not in told
    assert login.start_of() == before
    runtime = login.runtime()
    reading = runtime.read_launcher_log(runtime.probe())
    assert reading is not None
    assert reading.last_full_login_at is not None
    assert begun_at <= reading.last_full_login_at <= datetime.now(UTC)


def test_a_wrong_password_that_only_the_gateways_own_log_tells_of_stops_the_container(login: LoginScene) -> None:
    login.use_controller("none")
    login.environ["SIMULATOR_FAULTS"] = "wrong_password=60"
    login.start()
    with pytest.raises(StartupFailure) as failed:
        login.wait()
    assert failed.value.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert "launcher.log: rejected" in failed.value.message
    assert login.runtime().probe().state is ContainerState.EXITED


def test_a_settings_folder_in_the_users_home_that_nothing_is_mounted_at_is_read(login: LoginScene) -> None:
    login.run_foreign(
        options=("--publish", f"127.0.0.1:{login.port}:4004", "--env", "HOME=/tmp/home", "--env", "TZ=Asia/Kolkata",
                 "--env", "SIMULATOR_CONTROLLER=none", "--env", "SIMULATOR_FAULTS=second_factor"),
    )  # fmt: skip
    runtime = login.runtime()

    def phase() -> LauncherPhase | None:
        reading = runtime.read_launcher_log(runtime.probe())
        return None if reading is None else reading.phase

    wait_for("a challenge", lambda: phase() is LauncherPhase.SECOND_FACTOR)
    user = docker("exec", login.name, "id", "-u").strip()
    assert user == "1000"
    # A new start of the container: what the one before wrote says nothing any more, and the next challenge does.
    docker("exec", login.name, "sh", "-c", "cd /tmp/home/Jts && mv launcher.log launcher.20260101.log")
    assert phase() is LauncherPhase.SECOND_FACTOR, "rotated"
    docker("restart", "--time", "5", login.name)
    wait_for("a challenge of the new start", lambda: phase() is LauncherPhase.SECOND_FACTOR)
    docker("stop", "--time", "5", login.name)
    assert phase() is None
