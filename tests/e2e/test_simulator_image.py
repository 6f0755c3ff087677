"""The simulator's image on a real engine: built, run as a user without rights, and asked through a published port."""

import asyncio
import os
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import ib_async
import pytest

from orchestration.gateway.api import ApiState, probe_api
from orchestration.system.endpoint import Endpoint
from tests.integration.simulated_gateway import PATIENCE_S, PROJECT

pytestmark = pytest.mark.docker


def docker(*arguments: str, is_checked: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 or not is_checked, done.stderr
    return done.stdout.strip() + done.stderr.strip()


@pytest.fixture(scope="module")
def image(simulator_image: str) -> str:
    return simulator_image


@pytest.fixture
def name() -> Iterator[str]:
    name = f"simulator-under-test-{uuid.uuid4().hex[:8]}"
    yield name
    docker("rm", "-f", name, is_checked=False)


def run(name: str, image: str, *options: str, port: int = 4004, is_lasting: bool = True) -> int:
    """Start a container; the port on this host's loopback that leads to its forwarder (0: it does not last)."""
    docker("run", "-d", "--name", name, "-p", f"127.0.0.1::{port}", *options, image)
    return 0 if not is_lasting else int(docker("port", name, str(port)).rpartition(":")[2])


def wait_for_health(name: str, port: int) -> None:
    """What the compose file's health check does, until it succeeds."""
    docker("exec", name, "bash", "-c", f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done")


def look(port: int) -> ApiState:
    return probe_api(
        Endpoint(host="127.0.0.1", port=port), client_id=9990, timeout_s=5, now=lambda: datetime.now(UTC)
    ).state


async def connect_fully(port: int) -> list[str]:
    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=PATIENCE_S, raiseSyncErrors=True)
    accounts = ib.managedAccounts()
    ib.disconnect()
    await asyncio.sleep(0.01)  # the transport closes its socket in the loop's next round
    return accounts


def test_it_closes_before_the_login_and_serves_a_full_connect_after_it(image: str, name: str) -> None:
    port = run(name, image, "-e", "SIMULATOR_FAULTS=slow_login=3, clock_skew=30")
    assert look(port) is ApiState.CLOSED
    wait_for_health(name, 4002)
    assert look(port) is ApiState.READY
    assert asyncio.run(connect_fully(port)) == ["DU1234567"]
    assert docker("exec", name, "id", "-u") == "1000"
    docker("stop", "-t", "20", name)
    assert docker("inspect", "-f", "{{.State.ExitCode}}", name) == "0"
    assert "ends on SIGTERM" in docker("logs", name)


def test_live_mode_has_the_vendors_live_ports(image: str, name: str) -> None:
    port = run(name, image, "-e", "TRADING_MODE=live", port=4003)
    wait_for_health(name, 4001)
    probe = probe_api(Endpoint(host="127.0.0.1", port=port), client_id=1, timeout_s=5, now=lambda: datetime.now(UTC))
    assert probe.accounts == ("U1234567",)


def test_a_restart_ends_the_faults_of_the_first_start(image: str, name: str) -> None:
    port = run(name, image, "-e", "SIMULATOR_FAULTS=unhealthy,first_start_only")
    wait_for_health(name, 4004)  # it runs: a signal to a first process that has just begun is lost
    assert look(port) is ApiState.CLOSED
    docker("restart", "-t", "20", name)
    wait_for_health(name, 4002)
    assert look(int(docker("port", name, "4004").rpartition(":")[2])) is ApiState.READY


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_secret_that_its_user_cannot_read_ends_it(
    image: str, name: str, tmp_path: Path, *, is_readable: bool
) -> None:
    if not is_readable and os.getuid() == 1000:
        pytest.skip("the user of these tests is the image's user: it can read its own files")
    secret = tmp_path / "password"
    secret.write_text("pa55-w0rd-of-nobody", encoding="utf-8")
    secret.chmod(0o644 if is_readable else 0o600)
    mount = ["-v", f"{secret}:/run/secrets/tws_password:ro", "-e", "TWS_PASSWORD_FILE=/run/secrets/tws_password"]
    run(name, image, *mount, is_lasting=is_readable)
    if is_readable:
        wait_for_health(name, 4002)
        docker("stop", "-t", "20", name)
    assert docker("wait", name) == ("0" if is_readable else "1")
    told = docker("logs", name)
    assert ("Credentials: read" if is_readable else "cannot be read") in told
    assert "pa55" not in told
