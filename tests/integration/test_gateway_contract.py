"""The fake runtime and the built-in one keep the same contract; tests/e2e holds the Docker runtime to it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.docker.container import ContainerState
from orchestration.gateway.runtime import Runtime
from tests.fakes.gateway import RUNNING, FakeRuntime
from tests.integration.test_gateway_simulated import Scene
from tests.runtime_contract import check_following, check_restarting, check_starting, check_stopping

Pair = tuple[Runtime, Callable[[], None]]


@pytest.fixture(params=["fake", "simulator"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """A runtime whose gateway does not run, and a way to have it say something."""
    if request.param == "fake":
        fake = FakeRuntime(status=replace(RUNNING, state=ContainerState.EXITED))
        yield fake, lambda: fake.say("IBC: Login attempt: 1")
        return
    runtime = Scene(tmp_path).runtime()
    yield runtime, lambda: None
    runtime.stop(timeout_s=5.0)


def test_a_start_converges(pair: Pair) -> None:
    check_starting(pair[0])


def test_a_restart_is_a_new_start(pair: Pair) -> None:
    check_restarting(pair[0])


def test_a_stop_stops_and_a_start_starts_again(pair: Pair) -> None:
    check_stopping(pair[0])


def test_a_log_is_handed_on_and_a_follower_ends(pair: Pair) -> None:
    check_following(*pair)
