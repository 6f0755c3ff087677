"""The whole sequence on a real engine: every state a container can be in, and a known end for each."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.docker_system import docker, name_of, start_of, state_of
from tests.system import PATIENCE_S, SIGKILL, SIGTERM, System, end_and_read, is_port_free

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


@pytest.mark.scenario("1")
def test_a_missing_container_is_made_and_a_healthy_one_is_left_alone(system: System) -> None:
    first = system.startup()
    assert first.code == 0, first.err
    assert first.document["gateway"]["container"] == name_of(system)
    begun = start_of(system)
    again = system.startup("--replace")
    assert again.code == 0, again.err
    assert start_of(system) == begun
    status = system.inv("status", "--json")
    assert (status.code, status.document["gateway"]["health"]) == (0, "healthy")
    assert system.inv("shutdown", "--keep-gateway").code == 0
    assert state_of(system) == "running"
    assert system.inv("shutdown").code == 0
    assert state_of(system) == "exited"
    assert is_port_free(system.port)
    assert system.processes() == []


@pytest.mark.scenario("2")
@pytest.mark.parametrize(("action", "code"), [("stop", 0), ("pause", 0), ("kill", 0)])
def test_a_container_that_does_not_run_is_brought_back(system: System, action: str, code: int) -> None:
    assert system.inv("gateway.up", "gateway.wait").code == 0
    docker(action, name_of(system))
    assert system.startup().code == code
    assert state_of(system) == "running"


def test_a_container_whose_name_contains_the_gateways_changes_nothing(system: System, simulator_image: str) -> None:
    other = f"{name_of(system)}-monitor"
    docker("run", "--detach", "--name", other, simulator_image)
    try:
        assert system.startup().code == 0
        assert docker("inspect", "--format", "{{.State.Status}}", other) == "running"
        assert system.inv("shutdown").code == 0
        assert docker("inspect", "--format", "{{.State.Status}}", other) == "running"
    finally:
        docker("rm", "--force", other)


@pytest.mark.scenario("3")
def test_an_unhealthy_gateway_is_restarted_once_and_then_said_to_be_so(system: System) -> None:
    # With a start period of five minutes no check fails in time, so the container is given a hasty one.
    folder = system.root / "compose"
    folder.mkdir()
    shipped = (Path(__file__).parents[2] / "docker/gateway/docker-compose.yml").read_text(encoding="utf-8")
    hasty = shipped.replace("start_period: 300s", "start_period: 1s").replace("interval: 15s", "interval: 1s")
    (folder / "docker-compose.yml").write_text(hasty, encoding="utf-8")
    system.environ |= {
        "DOCKER_COMPOSE_DIR": str(folder),
        "SIMULATOR_FAULTS": "unhealthy",
        "GATEWAY_HEALTH_TIMEOUT": "20",  # a container that is called unhealthy is not waited for any longer
    }
    started = system.startup()
    assert started.code == 1, started.err
    assert started.document["failure"] == "GATEWAY_UNHEALTHY"
    assert started.document["evidence"]
    assert system.startup_log().count("Gateway restart attempted") == 1
    assert "Gateway restart attempted: " in started.err  # and not in the log only
    assert "    | health check ended with " in started.err
    assert system.bots() == []


def test_a_wrong_password_stops_the_container_so_that_it_stays_stopped(system: System) -> None:
    system.environ["SIMULATOR_FAULTS"] = "wrong_password"
    started = system.startup()
    assert started.code == 1, started.err
    assert started.document["failure"] == "GATEWAY_LOGIN_FAILED"
    assert state_of(system) == "exited"
    # The corrected one is what the next start uses.
    system.environ |= {"SIMULATOR_FAULTS": "", "TWS_PASSWORD": "the-right-one"}
    assert system.startup().code == 0
    assert docker("exec", name_of(system), "cat", "/run/secrets/tws_password") == "the-right-one"
    assert "the-right-one" not in docker("inspect", name_of(system))


def test_a_second_factor_that_is_granted_late_is_waited_for(system: System) -> None:
    system.environ |= {
        "SIMULATOR_FAULTS": "second_factor=6",
        "GATEWAY_HEALTH_TIMEOUT": "3",
        "GATEWAY_TWOFA_TIMEOUT": "60",
    }
    started = system.startup()
    assert started.code == 0, started.err
    assert "Second factor needed" in system.startup_log()
    assert started.document["gateway"]["restarted"] is False


def test_a_folder_without_a_compose_file_is_found_before_anything_is_touched(system: System) -> None:
    wrong = {"DOCKER_COMPOSE_DIR": str(system.root / "no-such-folder")}
    started = system.startup(environ=wrong)
    assert started.code == 1
    assert started.document["failure"] == "CONFIG_INVALID"
    assert started.document["steps"][0]["status"] == "fail"
    assert "DOCKER_COMPOSE_DIR" in started.document["message"]
    assert system.inv("gateway.up").code == 0
    assert system.startup(environ=wrong).code == 0  # a container that runs needs no such file


def test_an_image_that_cannot_be_had_fails_with_composes_own_words(system: System) -> None:
    system.environ["GATEWAY_IMAGE"] = "zero-touch-test/no-such-image:1"
    started = system.startup()
    assert started.code == 1
    assert started.document["failure"] == "GATEWAY_START_FAILED"
    assert "no-such-image" in started.document["message"]
    assert any("Error" in line for line in started.document["evidence"])


@pytest.mark.scenario("5")
def test_an_engine_that_is_down_is_reported_with_how_to_fix_it(system: System) -> None:
    system.environ["DOCKER_HOST"] = f"unix://{system.root}/nobody.sock"
    started = system.startup()
    assert started.code == 1
    assert started.document["failure"] == "DOCKER_UNAVAILABLE"
    assert started.document["next_action"]
    checks = system.inv("preflight", "--json").document["checks"]
    assert next(check for check in checks if check["name"] == "Docker engine")["status"] == "fail"


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL])
@pytest.mark.parametrize("sign", ["step gateway.up", "step gateway.wait"])
def test_an_interrupted_start_leaves_the_container_to_the_next_one(system: System, sign: str, number: int) -> None:
    system.environ["SIMULATOR_FAULTS"] = "slow_login=3"
    process = system.begin()
    system.wait_for_log(sign)
    if number == SIGTERM:
        ended = end_and_read(process, number)
        assert (ended.code, ended.document["failure"]) == (1, "INTERRUPTED")
    else:
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    assert system.bots() == []
    again = system.startup()
    assert again.code == 0, again.err
    assert len(system.bots()) == 1


def test_the_simulated_gateway_of_an_earlier_run_makes_way_for_the_container(system: System) -> None:
    assert system.inv("startup", "--simulate").code == 0
    assert system.inv("bot.stop").code == 0
    started = system.startup()
    assert started.code == 0, started.err
    assert started.document["gateway"]["runtime"] == "docker"


def test_status_and_shutdown_act_on_what_was_started_whatever_the_environment_says_later(system: System) -> None:
    assert system.startup().code == 0
    other = {"GATEWAY_RUNTIME": "external", "GATEWAY_CONTAINER_NAME": "somebody-elses"}
    status = system.inv("status", "--json", environ=other)
    assert status.document["gateway"]["container"] == name_of(system)
    assert system.inv("shutdown", environ=other).code == 0
    assert state_of(system) == "exited"


def test_the_shipped_compose_file_is_valid_with_nothing_but_the_example_settings(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    example = tmp_path / ".env"
    example.write_text((project / ".env.example").read_text(encoding="utf-8"), encoding="utf-8")
    ended = subprocess.run(
        f"docker compose --file docker/gateway/docker-compose.yml --env-file {example} config --format json".split(),
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    service = json.loads(ended.stdout)["services"]["gateway"]
    assert service["image"] == "ghcr.io/gnzsnz/ib-gateway:stable"
    assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}
