"""All instances at one glance."""

from dataclasses import replace
from pathlib import Path

from orchestration.commands.status import OneLookEach
from orchestration.docker.container import ContainerState
from orchestration.settings import Settings
from orchestration.system.endpoint import Endpoint
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import RUNNING, FakeRuntime

GONE = replace(RUNNING, state=ContainerState.EXITED)


def test_a_gateway_is_looked_at_once_however_many_share_it(tmp_path: Path) -> None:
    look, runtime, settings = OneLookEach(), FakeRuntime(status=GONE), Settings.from_environ({}, project_dir=tmp_path)
    seen = [look(runtime, settings.gateway, settings, FakeClock()) for _ in range(20)]
    assert runtime.looks == 1
    assert {one.problem for one in seen} == {"ibkr-gateway is exited"}


def test_two_gateways_are_looked_at_each(tmp_path: Path) -> None:
    look, settings = OneLookEach(), Settings.from_environ({}, project_dir=tmp_path)
    one, other = FakeRuntime(status=GONE), FakeRuntime(status=GONE, container_name="other")
    look(one, settings.gateway, settings, FakeClock())
    look(other, settings.gateway, settings, FakeClock())
    look(other, Endpoint(host="127.0.0.1", port=4012), settings, FakeClock())
    assert (one.looks, other.looks) == (1, 2)
