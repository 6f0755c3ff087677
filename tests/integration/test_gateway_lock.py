"""The lock of a gateway between two instances: who waits, for how long, and what comes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.history import StopReason
from orchestration.gateway.shared_runtime import SharedRuntime
from orchestration.gateway.shared_state import GatewayBusy, SharedGatewayState
from orchestration.settings import Settings
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import RUNNING, FakeRuntime


def _shared_state(folder: Path, instance: str, clock: FakeClock, *, pull_s: int = 10) -> SharedGatewayState:
    settings = Settings.from_environ(
        {"INSTANCE": instance, "GATEWAY_SHARED_DIR": str(folder / "shared"), "DOCKER_PULL_TIMEOUT": str(pull_s)},
        project_dir=folder,
    )
    return SharedGatewayState(settings, "port-4002", clock=clock)


def test_one_that_waits_says_for_whom_and_gives_up_in_the_end(tmp_path: Path) -> None:
    clock, told = FakeClock(), list[str]()
    with _shared_state(tmp_path, "momentum", clock).hold("start", told.append):
        begun_s = clock.monotonic_s()
        with pytest.raises(GatewayBusy, match="start of the gateway by instance momentum"):  # noqa: SIM117 - not this one
            with _shared_state(tmp_path, "meanrev", clock).hold("start", told.append, patience_s=30.0):
                raise AssertionError("two at once")
    assert clock.monotonic_s() - begun_s == pytest.approx(30.0, abs=1.0)
    assert len(told) == 1
    assert "start of the gateway by instance momentum" in told[0]


def test_it_waits_for_as_long_as_any_act_may_take(tmp_path: Path) -> None:
    assert _shared_state(tmp_path, "meanrev", FakeClock(), pull_s=1000).patience_s == pytest.approx(1100.0)
    # The soft restart's 60 s, then the grace of 120 s, and a margin.
    assert 280.0 <= _shared_state(tmp_path, "meanrev", FakeClock(), pull_s=10).patience_s <= 600.0


def test_a_supervisor_does_not_wait_long_for_another_one_that_is_at_work(tmp_path: Path) -> None:
    clock, gateway = FakeClock(), FakeRuntime(status=RUNNING)
    mine = SharedRuntime(gateway, _shared_state(tmp_path, "meanrev", clock), clock=clock, find_users=lambda _: ())
    with _shared_state(tmp_path, "momentum", clock).hold("restart", lambda _: None):
        begun_s = clock.monotonic_s()
        spared = mine.restart_lost(
            gateway.probe().start, yields=False, on_restart=lambda: None, on_progress=lambda _: None
        )
        with pytest.raises(GatewayBusy):
            mine.stop(timeout_s=1.0, reason=StopReason.LOGIN_REJECTED)
    assert spared is not None
    assert spared.is_restarted
    assert "instance momentum" in spared.why
    assert clock.monotonic_s() - begun_s == pytest.approx(40.0, abs=2.0)
    assert (gateway.restarts, gateway.stops) == (0, 0)


def test_a_gateway_is_not_restarted_once_its_lock_names_another_file(tmp_path: Path) -> None:
    clock, gateway = FakeClock(), FakeRuntime(status=RUNNING)
    mine = SharedRuntime(gateway, _shared_state(tmp_path, "meanrev", clock), clock=clock, find_users=lambda _: ())
    lock = tmp_path / "shared" / "gateways" / "port-4002.lock"

    def about_to_restart() -> None:
        lock.unlink()
        lock.touch()

    with pytest.raises(StartupFailure) as refused:
        mine.restart_lost(gateway.probe().start, yields=False, on_restart=about_to_restart, on_progress=lambda _: None)
    assert refused.value.word is FailureWord.ALREADY_STARTING
    assert str(lock) in refused.value.message
    assert gateway.restarts == 0


def test_a_run_whose_own_locks_no_longer_count_neither_starts_nor_restarts_a_gateway(tmp_path: Path) -> None:
    stopped = replace(RUNNING, state=ContainerState.EXITED)
    clock, gateway = FakeClock(), FakeRuntime(status=stopped)

    def refuse() -> None:
        raise StartupFailure(FailureWord.ALREADY_STARTING, "the lock is gone", next_action="")

    mine = SharedRuntime(
        gateway, _shared_state(tmp_path, "meanrev", clock), clock=clock, find_users=lambda _: (), require_locks=refuse
    )
    with pytest.raises(StartupFailure, match="the lock is gone"):
        mine.ensure_started(on_progress=lambda _: None)
    with pytest.raises(StartupFailure, match="the lock is gone"):
        mine.restart()
    assert gateway.restarts == 0
    assert gateway.status is stopped
    assert mine.stop(timeout_s=1.0)
