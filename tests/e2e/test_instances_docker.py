"""Two instances on one container of a real engine: started once, restarted once, and left to the one that uses it."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.docker_system import docker, name_of, start_of, state_of
from tests.system import SIGTERM, System, end_and_read, find_free_port, wait_until

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def pair(simulator_image: str, tmp_path: Path) -> Iterator[tuple[System, System]]:
    """Instances with settings files, state and bots of their own, and one container, gone afterwards."""
    name, port = f"zt-{uuid.uuid4().hex[:10]}", str(find_free_port())
    systems = []
    for instance in ("meanrev", "momentum"):
        system = System(tmp_path / instance)
        system.environ |= {
            "INSTANCE": instance,
            "GATEWAY_RUNTIME": "docker",
            "GATEWAY_CONTAINER_NAME": name,
            "GATEWAY_IMAGE": simulator_image,
            "GATEWAY_PORT": port,
            "GATEWAY_SHARED_DIR": str(tmp_path / "shared"),
            "GATEWAY_HEALTH_TIMEOUT": "60",
            "MONITOR_INTERVAL": "2",
            "TWS_USERID": "ann",
            "TWS_PASSWORD": "s3cret-of-ann",
        }
        system.use_plan()
        systems.append(system)
    try:
        yield systems[0], systems[1]
    finally:
        for system in systems:
            system.close()
        docker("rm", "--force", "--volumes", name)
        docker("volume", "rm", "--force", f"{name}_settings")
        docker("network", "rm", f"{name}_default")


def _restarts(system: System) -> list[dict[str, str]]:
    (ledger,) = Path(system.environ["GATEWAY_SHARED_DIR"]).glob("gateways/*.json")
    found: list[dict[str, str]] = json.loads(ledger.read_text(encoding="utf-8"))["restarts"]
    return found


def _wait_until_watched(process: "subprocess.Popen[str]", system: System) -> None:
    def is_watched() -> bool:
        assert process.poll() is None, process.communicate()
        return any(system.logs.rglob("supervisor_*.log"))

    wait_until(is_watched, "watch", timeout_s=120.0)


def test_two_that_start_at_the_same_instant_make_one_container(pair: tuple[System, System]) -> None:
    begun = [system.begin() for system in pair]
    ended = [process.communicate(timeout=200) for process in begun]
    documents = [json.loads(out) for out, _ in ended]
    assert [process.returncode for process in begun] == [0, 0], ended
    details = [step["detail"] for document in documents for step in document["steps"] if step["name"] == "gateway.up"]
    assert sorted("has been started" in detail for detail in details) == [False, True], details
    assert len({document["bot"]["pid"] for document in documents}) == 2
    first, second = pair
    begin = start_of(first)
    left = first.inv("shutdown", "--json")
    assert left.code == 0, left
    assert "the bot of instance momentum" in left.document["steps"][-1]["detail"]
    refused = first.inv("gateway.restart", "--json")
    assert (refused.code, refused.document["failure"]) == (1, "BOT_ALREADY_RUNNING")
    assert start_of(first) == begin
    assert second.inv("status").code == 0
    assert second.inv("shutdown").code == 0
    assert state_of(second) == "exited"


def test_two_supervisors_restart_a_container_that_died_once(pair: tuple[System, System]) -> None:
    watched = []
    for system in pair:
        process = system.begin("--foreground")
        _wait_until_watched(process, system)
        watched.append(process)
    begin = start_of(pair[0])
    # A stop by hand: the engine's own restart policy leaves it alone, so it is for the supervisors to bring it back.
    docker("stop", "-t", "1", name_of(pair[0]))
    wait_until(lambda: start_of(pair[0]) != begin and state_of(pair[0]) == "running", "new start", timeout_s=60.0)
    for system in pair:
        wait_until(lambda system=system: system.inv("status").code == 0, "recovery", timeout_s=120.0)  # type: ignore[misc]
    assert len(_restarts(pair[0])) == 1
    assert all(process.poll() is None for process in watched)
    for process in watched:
        assert end_and_read(process, SIGTERM).code == 0


def test_a_password_that_the_broker_refuses_is_tried_by_one_instance_only(pair: tuple[System, System]) -> None:
    first, second = pair
    faults = {"SIMULATOR_FAULTS": "wrong_password"}
    failed = first.startup(environ=faults)
    assert failed.document["failure"] == "GATEWAY_LOGIN_FAILED", failed
    begin = start_of(first)
    refused = second.startup(environ=faults)
    assert refused.document["failure"] == "GATEWAY_LOGIN_FAILED"
    assert "instance meanrev stopped it" in refused.document["message"]
    assert start_of(first) == begin, "another start would have been another login"
    assert first.startup(environ=faults).document["failure"] == "GATEWAY_LOGIN_FAILED"
    assert start_of(first) != begin, "who found it may try again"
