"""The gateway's container, with a real engine and the simulator's image in place of the vendor's (SPEC G1-G6, K1)."""

import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.docker.compose import ComposeTarget, up_argv
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.compose import build_compose_environ
from orchestration.gateway.container import Health
from orchestration.gateway.readiness import WaitEventKind
from tests.e2e.gateway_scene import PASSWORD, GatewayScene, docker, shown, wait_for
from tests.runtime_contract import check_following, check_restarting, check_starting, check_stopping

pytestmark = pytest.mark.docker
PROJECT = Path(__file__).resolve().parents[2]


def test_a_missing_container_is_made_and_becomes_ready(scene: GatewayScene) -> None:
    assert scene.runtime().probe().state is ContainerState.MISSING
    assert scene.start()
    ready = scene.wait()
    assert ready.accounts == ("DU1234567",)
    assert ready.server_version == 178
    assert ready.container == scene.name
    assert ready.is_simulated
    assert not ready.restarted
    assert scene.runtime().probe().health is Health.HEALTHY


def test_a_running_healthy_container_is_left_alone(scene: GatewayScene) -> None:
    scene.start()
    scene.wait()
    before = scene.start_of()
    assert not scene.start()
    scene.wait()
    assert scene.start_of() == before


def test_a_container_that_was_only_created_is_started(scene: GatewayScene) -> None:
    scene.start()
    docker("rm", "--force", scene.name)
    file = PROJECT / "docker" / "gateway" / "docker-compose.yml"
    subprocess.run(
        ["docker", "compose", "-p", scene.name, "-f", str(file), "create"],
        env={**scene.settings().environ, "PATH": "/usr/bin:/bin", **build_compose_environ(scene.settings())},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert scene.runtime().probe().state is ContainerState.CREATED
    assert scene.start()
    scene.wait()


def test_a_stopped_container_is_started_and_takes_a_corrected_password(scene: GatewayScene) -> None:
    scene.start(TWS_PASSWORD="mistyped-password")  # noqa: S106 - planted
    scene.wait()
    assert _read_secret(scene) == "mistyped-password"
    docker("stop", "--time", "5", scene.name)
    assert scene.runtime().probe().state is ContainerState.EXITED
    assert scene.start()
    scene.wait()
    assert _read_secret(scene) == PASSWORD


def test_a_paused_container_runs_on(scene: GatewayScene) -> None:
    scene.start()
    scene.wait()
    before = scene.start_of()
    docker("pause", scene.name)
    assert scene.start()
    scene.wait()
    assert scene.start_of() == before


def test_a_container_that_compose_did_not_make_is_started_as_it_is(scene: GatewayScene) -> None:
    scene.run_foreign(options=("--publish", f"127.0.0.1:{scene.port}:4004", "--entrypoint", "python3"))
    docker("rm", "--force", scene.name)
    docker("create", "--name", scene.name, "--publish", f"127.0.0.1:{scene.port}:4004", scene.image)
    container_id = scene.inspect()["Id"]
    assert scene.start()
    scene.wait()
    assert scene.inspect()["Id"] == container_id
    docker("stop", "--time", "5", scene.name)
    assert scene.start()
    scene.wait()
    assert scene.inspect()["Id"] == container_id


def test_another_container_whose_name_contains_the_gateways_changes_nothing(scene: GatewayScene) -> None:
    other = f"{scene.name}-monitor"
    scene.run_foreign(name=other)
    before = docker("container", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", other)
    assert scene.runtime().probe().state is ContainerState.MISSING
    assert scene.start()
    scene.wait()
    scene.runtime().restart()
    scene.wait()
    assert scene.runtime().stop(timeout_s=10)
    assert docker("container", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", other) == before


def test_two_instances_with_their_own_container_names_do_not_touch_each_other(
    scene: GatewayScene, tmp_path: Path
) -> None:
    scene.start()
    scene.wait()
    before = scene.start_of()
    other = GatewayScene.build(image=scene.image, folder=tmp_path / "other")
    try:
        other.start()
        other.wait()
    finally:
        other.remove()
    assert scene.start_of() == before


def test_an_unhealthy_container_is_restarted_once_and_then_given_up(scene: GatewayScene) -> None:
    scene.be_impatient()
    scene.environ |= {"SIMULATOR_FAULTS": "unhealthy", "GATEWAY_HEALTH_TIMEOUT": "30"}
    scene.start()
    wait_for("unhealthy", lambda: scene.runtime().probe().health is Health.UNHEALTHY)
    first = scene.start_of()
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert failed.value.word is FailureWord.GATEWAY_UNHEALTHY
    assert scene.told().count(WaitEventKind.RESTARTING) == 1
    assert scene.start_of()[0] == first[0]
    assert scene.start_of()[1] != first[1]
    # With whatever code: on a machine that stood still for a while it is the engine that ended the check.
    assert "health check ended with " in shown(failed.value), failed.value.evidence
    assert "also after one restart" in failed.value.message


def test_where_another_monitor_restarts_an_unhealthy_container_is_not_restarted(scene: GatewayScene) -> None:
    scene.be_impatient()
    scene.environ |= {
        "SIMULATOR_FAULTS": "unhealthy",
        "GATEWAY_HEALTH_TIMEOUT": "4",
        "GATEWAY_RECOVERY": "alert",
    }
    scene.start()
    before = scene.start_of()
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert failed.value.word is FailureWord.GATEWAY_UNHEALTHY
    assert scene.start_of() == before


def test_a_crash_looping_container_is_named_as_such_with_its_last_lines(scene: GatewayScene) -> None:
    scene.environ |= {"SIMULATOR_FAULTS": "dies_after=0.2", "GATEWAY_HEALTH_TIMEOUT": "4"}
    scene.start()
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert failed.value.word is FailureWord.GATEWAY_TIMEOUT
    assert "crashes again and again" in failed.value.message
    assert "SIMULATED" in shown(failed.value)
    assert WaitEventKind.CONTAINER_RESTARTED in scene.told()


def test_a_container_that_is_killed_during_the_wait_is_started_again_once(scene: GatewayScene) -> None:
    scene.environ["SIMULATOR_FAULTS"] = "slow_login=4"
    scene.start()
    threading.Timer(1.0, lambda: docker("stop", "--time", "1", scene.name)).start()
    ready = scene.wait()
    assert ready.restarted
    assert scene.told().count(WaitEventKind.RESTARTING) == 1


def test_a_container_that_is_removed_during_the_wait_is_made_again_once(scene: GatewayScene) -> None:
    scene.environ["SIMULATOR_FAULTS"] = "slow_login=3"
    scene.start()
    threading.Timer(0.5, lambda: docker("rm", "--force", scene.name)).start()
    assert scene.wait().restarted


def test_a_second_factor_that_is_granted_is_told_at_once_and_leads_to_ready(scene: GatewayScene) -> None:
    scene.environ |= {"SIMULATOR_FAULTS": "second_factor=3", "GATEWAY_HEALTH_TIMEOUT": "2"}
    scene.start()
    before = scene.start_of()
    scene.wait()
    assert scene.told()[0] is WaitEventKind.SECOND_FACTOR_NEEDED
    assert WaitEventKind.SECOND_FACTOR_GRANTED in scene.told()
    assert WaitEventKind.RESTARTING not in scene.told()
    assert scene.start_of() == before


def test_a_second_factor_that_is_not_granted_fails_without_a_restart(scene: GatewayScene) -> None:
    scene.environ |= {
        "SIMULATOR_FAULTS": "second_factor=never",
        "GATEWAY_HEALTH_TIMEOUT": "1.5",
        "GATEWAY_TWOFA_TIMEOUT": "1.5",
    }
    scene.start()
    before = scene.start_of()
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert failed.value.word is FailureWord.GATEWAY_SECOND_FACTOR
    assert scene.told() == [WaitEventKind.SECOND_FACTOR_NEEDED]
    assert scene.start_of() == before
    assert scene.runtime().probe().state is ContainerState.RUNNING


def test_a_container_that_ends_without_a_second_factor_is_not_restarted_by_us(scene: GatewayScene) -> None:
    scene.environ |= {
        "SIMULATOR_FAULTS": "second_factor=never:0.5",
        "TWOFA_TIMEOUT_ACTION": "exit",
        "GATEWAY_HEALTH_TIMEOUT": "2",
        "GATEWAY_TWOFA_TIMEOUT": "2",
    }
    scene.start()
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert failed.value.word is FailureWord.GATEWAY_SECOND_FACTOR
    assert WaitEventKind.RESTARTING not in scene.told()


def test_a_wrong_password_stops_the_container_for_good(scene: GatewayScene) -> None:
    scene.environ |= {"SIMULATOR_FAULTS": "wrong_password=0.5", "BROKER_RESET_WINDOWS": _far_from_now()}
    scene.start()
    with pytest.raises(StartupFailure) as failed:
        scene.wait()
    assert failed.value.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert "it was stopped" in failed.value.message
    assert any("Login failed" in line or "Too many" in line for line in failed.value.evidence)
    status = scene.runtime().probe()
    assert status.state is ContainerState.EXITED
    assert scene.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert scene.inspect()["RestartCount"] == 0


def test_a_slow_login_is_waited_for(scene: GatewayScene) -> None:
    scene.environ["SIMULATOR_FAULTS"] = "slow_login=2"
    scene.start()
    scene.wait()
    assert any("login is under way" in text for text in scene.progress)


def test_a_log_line_of_an_earlier_start_counts_for_nothing(scene: GatewayScene) -> None:
    scene.environ |= {"SIMULATOR_FAULTS": "second_factor=1", "GATEWAY_TWOFA_TIMEOUT": "20"}
    scene.start()
    scene.wait()
    scene.events.clear()
    # The same container, started again: its log still holds the old lines.
    docker("restart", "--time", "1", scene.name)
    since = scene.runtime().probe().log_since

    def count_sessions(**of: datetime | None) -> int:
        return sum("Starting session" in line for line in scene.runtime().read_log(lines=200, **of))

    wait_for("the second session in the log", lambda: count_sessions() == 2)
    assert count_sessions(since=since) == 1
    scene.wait()
    assert scene.told()[0] is WaitEventKind.SECOND_FACTOR_NEEDED


def test_the_secret_is_readable_by_the_images_own_user_and_shown_by_nothing(scene: GatewayScene) -> None:
    scene.start()
    scene.wait()
    assert docker("exec", scene.name, "id", "-u").strip() == "1000"
    assert _read_secret(scene) == PASSWORD
    assert PASSWORD not in docker("container", "inspect", scene.name)
    assert PASSWORD not in docker("logs", scene.name)
    docker("restart", "--time", "1", scene.name)
    scene.wait()
    assert _read_secret(scene) == PASSWORD
    docker("exec", scene.name, "bash", "-c", "mkdir -p $TWS_SETTINGS_PATH && touch $TWS_SETTINGS_PATH/jts.ini")


def test_the_port_is_published_on_loopback_only(scene: GatewayScene) -> None:
    scene.start()
    bindings = scene.inspect()["HostConfig"]["PortBindings"]
    assert bindings == {"4004/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(scene.port)}]}
    assert scene.inspect()["HostConfig"]["Memory"] == 2 * 1024**3
    assert scene.inspect()["HostConfig"]["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"}


def test_a_port_in_use_is_named_with_composes_own_words_and_the_next_start_mends_it(scene: GatewayScene) -> None:
    blocker = f"{scene.name}-blocker"
    scene.run_foreign(name=blocker, options=("--publish", f"127.0.0.1:{scene.port}:4004"))
    with pytest.raises(StartupFailure) as failed:
        scene.start()
    assert failed.value.word is FailureWord.GATEWAY_START_FAILED
    assert f"Another program holds port {scene.port}" in failed.value.next_action
    assert any("port is already allocated" in line for line in failed.value.evidence)
    docker("rm", "--force", blocker)
    assert scene.start()
    scene.wait()


def test_an_image_that_cannot_be_fetched_is_named(scene: GatewayScene) -> None:
    with pytest.raises(StartupFailure) as failed:
        scene.start(GATEWAY_IMAGE="127.0.0.1:1/nobody/ib-gateway:none")
    assert failed.value.word is FailureWord.GATEWAY_START_FAILED
    assert "GATEWAY_IMAGE" in failed.value.next_action
    assert PASSWORD not in shown(failed.value)


def test_a_broken_compose_file_is_named(scene: GatewayScene, tmp_path: Path) -> None:
    directory = tmp_path / "broken"
    directory.mkdir()
    (directory / "compose.yml").write_text("services:\n  gateway:\n   imagee: x\n", encoding="utf-8")
    with pytest.raises(StartupFailure) as failed:
        scene.start(DOCKER_COMPOSE_DIR=str(directory))
    assert failed.value.word is FailureWord.GATEWAY_START_FAILED
    assert "compose.yml" in failed.value.next_action


def test_a_container_known_only_by_its_compose_labels_is_found(scene: GatewayScene, tmp_path: Path) -> None:
    directory = tmp_path / "unnamed"
    directory.mkdir()
    (directory / "compose.yml").write_text(
        "services:\n  gateway:\n    image: ${GATEWAY_IMAGE}\n    ports: ['127.0.0.1:${GATEWAY_PORT}:4004']\n",
        encoding="utf-8",
    )
    scene.environ["DOCKER_COMPOSE_DIR"] = str(directory)
    assert scene.start()
    status = scene.runtime().probe()
    assert status.name == f"{scene.name}-gateway-1"
    scene.wait()
    assert not scene.start()
    scene.runtime().stop(timeout_s=5)


def test_the_compose_file_is_valid_with_nothing_but_the_example_environment(engine: None, tmp_path: Path) -> None:
    del engine
    (tmp_path / ".env").write_bytes((PROJECT / ".env.example").read_bytes())
    (tmp_path / "docker-compose.yml").write_bytes((PROJECT / "docker/gateway/docker-compose.yml").read_bytes())
    checked = subprocess.run(
        ["docker", "compose", "config"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert not checked.stderr.strip()
    assert "ghcr.io/gnzsnz/ib-gateway:stable" in checked.stdout
    assert "target: 4004" in checked.stdout


def test_the_runtimes_contract_is_kept(scene: GatewayScene) -> None:
    # A container that has only just begun does not take SIGTERM yet: Docker then waits for the whole grace.
    scene.environ["GATEWAY_STOP_GRACE"] = "10"
    check_starting(scene.runtime())
    check_restarting(scene.runtime())
    check_following(scene.runtime(), lambda: None)
    scene.wait()
    check_stopping(scene.runtime())


def test_a_person_can_start_it_by_hand_with_the_environment_file_alone(scene: GatewayScene) -> None:
    file = scene.folder / "by-hand.env"
    lines = {
        "GATEWAY_CONTAINER_NAME": scene.name,
        "GATEWAY_IMAGE": scene.image,
        "GATEWAY_PORT": scene.port,
        "TWS_PASSWORD": PASSWORD,
    }
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
    subprocess.run(
        ["docker", "compose", "--env-file", str(file), "-f", "docker/gateway/docker-compose.yml", "up", "-d"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(scene.folder)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert not scene.start(), "it is this program's own container then, and runs"
    scene.wait()
    assert _read_secret(scene) == PASSWORD


def test_an_interrupted_recreation_is_mended_by_the_next_start(scene: GatewayScene) -> None:
    scene.start()
    docker("stop", "-t", "5", scene.name)
    # What Compose leaves behind if it is killed between making the new container and removing the old one.
    broken = scene.settings()
    environ = {**build_compose_environ(broken), "PATH": "/usr/bin:/bin", "HOME": str(scene.folder)}
    del environ["TWS_PASSWORD"]
    target = ComposeTarget(
        files=(PROJECT / "docker/gateway/docker-compose.yml",), project=scene.name, service="gateway"
    )
    failed = subprocess.run(up_argv(target), env=environ, capture_output=True, timeout=60, check=False)
    assert failed.returncode
    assert len(_names_like(scene)) == 2
    assert scene.start()
    scene.wait()
    assert _names_like(scene) == [scene.name]


def _names_like(scene: GatewayScene) -> list[str]:
    return docker("ps", "-a", "--filter", f"name={scene.name}", "--format", "{{.Names}}").split()


def _far_from_now() -> str:
    """A reset window of the broker that does not come while this test runs."""
    hour = (datetime.now(UTC).hour + 12) % 24
    return f"{hour:02}:00-{hour:02}:30 UTC"


def _read_secret(scene: GatewayScene) -> str:
    return docker("exec", scene.name, "cat", "/run/secrets/tws_password").strip()
