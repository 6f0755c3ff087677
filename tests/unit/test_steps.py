"""The steps with fakes at the doors: what they do, tell and refuse."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestration import steps
from orchestration.alerts.alert import Severity
from orchestration.desk import Desk
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, FallbackWord, StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.wait import GatewayReady
from orchestration.report import Progress, StepStatus
from orchestration.settings import GatewayRuntime, Settings
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.fakes.gateway import FARMS_BROKEN, HEALTHY, LINK_DOWN, READY, FakeProbe, FakeRuntime

GATEWAY = GatewayReady(
    runtime=GatewayRuntime.DOCKER,
    container="ibkr-gateway",
    server_version=178,
    accounts=("DU1234567",),
    latency_ms=2.0,
    skew_s=0.0,
    server_time=None,
    restarted=False,
    warnings=(),
    container_started_at=None,
    is_simulated=False,
)


@dataclass
class Told:
    """What the operator was told."""

    alerts: list[tuple[Severity, str, str]] = field(default_factory=list)

    def __call__(
        self,
        severity: Severity,
        title: str,
        message: str,
        *,
        cause: str = "",
        next_action: str = "",
        evidence: tuple[str, ...] = (),
    ) -> None:
        del next_action, evidence
        self.alerts.append((severity, title, f"{cause} {message}"))

    @property
    def titles(self) -> list[str]:
        return [title for _, title, _ in self.alerts]


Build = Callable[..., tuple[Desk, Told]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(runtime: FakeRuntime, probe: FakeProbe | None = None, **environ: str) -> tuple[Desk, Told]:
        told = Told()
        shared = str(tmp_path / "shared")  # not the one of whoever runs the tests
        values = {"PATH": "/usr/bin:/bin", "GATEWAY_SHARED_DIR": shared, **environ}
        settings = Settings.from_environ(values, project_dir=tmp_path)
        desk = Desk(
            settings=settings,
            clock=FakeClock(),
            commands=FakeCommands(),
            runtime=runtime,
            probe=probe or FakeProbe([READY]),
            run_id="run",
            tell=told,
            show=lambda _: None,
            show_wait=lambda *_: None,
            log=logging.getLogger("tests.steps"),
        )
        return desk, told

    return make


def test_a_running_gateway_is_left_alone_and_nobody_is_told(build: Build) -> None:
    desk, told = build(FakeRuntime(status=HEALTHY))
    outcome = steps.gateway_up(desk, Progress())
    assert outcome.progress.gateway_launched is False
    assert told.alerts == []
    assert (desk.settings.state_dir / "gateway.json").exists()


def test_a_stopped_gateway_is_started_and_the_operator_told(build: Build) -> None:
    runtime = FakeRuntime(status=GatewayStatus(state=ContainerState.EXITED, name="ibkr-gateway"))
    desk, told = build(runtime)
    steps.gateway_up(desk, Progress())
    assert told.titles == ["Gateway starting"]


def test_a_ready_gateway_is_validated_and_masked(build: Build) -> None:
    desk, _ = build(FakeRuntime(status=HEALTHY))
    outcome = steps.gateway_wait(desk, Progress())
    assert outcome.progress.gateway is not None
    assert outcome.progress.gateway.accounts == ("DU1234567",)
    assert "DU1234567" not in outcome.detail
    assert outcome.status is StepStatus.OK


@pytest.mark.parametrize(("skew_s", "status"), [(4.9, StepStatus.OK), (-5.1, StepStatus.WARN), (61.0, StepStatus.WARN)])
def test_a_clock_over_five_seconds_off_is_a_warning(build: Build, skew_s: float, status: StepStatus) -> None:
    desk, _ = build(FakeRuntime(status=HEALTHY), FakeProbe([replace(READY, skew_s=skew_s)]))
    assert steps.gateway_wait(desk, Progress()).status is status


def test_broken_farms_are_a_warning_and_no_reason_to_stop(build: Build) -> None:
    desk, told = build(FakeRuntime(status=HEALTHY), FakeProbe([FARMS_BROKEN]))
    outcome = steps.gateway_wait(desk, Progress())
    assert outcome.status is StepStatus.WARN
    assert told.alerts


@pytest.mark.parametrize(
    ("skew_s", "fallback"),
    [
        (60.0, FallbackWord.GAMEPLAN_NOT_CONFIGURED),
        (60.1, FallbackWord.CLOCK_SKEW),
        (-3600.0, FallbackWord.CLOCK_SKEW),
    ],
)
def test_a_clock_over_a_minute_off_leads_to_strategy_c_whatever_the_plan(
    build: Build, skew_s: float, fallback: FallbackWord
) -> None:
    desk, told = build(FakeRuntime(status=HEALTHY))
    outcome = steps.gameplan_check(desk, Progress(gateway=replace(GATEWAY, skew_s=skew_s)))
    plan = outcome.progress.plan
    assert plan is not None
    assert (plan.strategy, plan.fallback) == ("C", fallback)
    assert told.titles == ["Strategy C: no trading"]
    assert fallback in told.alerts[0][2]


def test_bot_start_alone_looks_at_the_gateway_first_and_fails_if_it_is_not_ready(build: Build) -> None:
    desk, _ = build(FakeRuntime(status=HEALTHY), FakeProbe([LINK_DOWN]))
    with pytest.raises(StartupFailure) as failure:
        steps.bot_start(desk, Progress())
    assert failure.value.word.startswith("GATEWAY_")


def test_bot_start_alone_does_not_start_a_gateway_that_is_down(build: Build) -> None:
    runtime = FakeRuntime(status=GatewayStatus(state=ContainerState.EXITED, name="ibkr-gateway"))
    desk, _ = build(runtime)
    with pytest.raises(StartupFailure):
        steps.bot_start(desk, Progress())
    assert (runtime.restarts, runtime.stops) == (0, 0)
    assert isinstance(runtime.status, GatewayStatus)
    assert runtime.status.state is ContainerState.EXITED


def test_a_wrong_account_gets_no_bot(build: Build) -> None:
    desk, _ = build(FakeRuntime(status=HEALTHY), FakeProbe([replace(READY, accounts=("U7654321",))]))
    with pytest.raises(StartupFailure) as failure:
        steps.bot_start(desk, Progress())
    assert failure.value.word is FailureWord.GATEWAY_WRONG_ACCOUNT
