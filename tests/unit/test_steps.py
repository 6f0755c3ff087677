"""The steps with fakes at the doors: what they do, tell and refuse."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestration.alerts.alert import AlertContent
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, FallbackWord, StartupFailure, StepStatus
from orchestration.gameplan import (
    ActivePlan,
    GameplanError,
    activate_plan,
    check_from_settings,
    refuse_outdated,
)
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.failure import GatewaySnapshot
from orchestration.gateway.holdings import Holdings
from orchestration.gateway.record import GatewayRecord, read_record, write_record
from orchestration.gateway.wait import GatewayReady
from orchestration.hold import write_hold
from orchestration.settings import GatewayRuntime, Settings
from orchestration.startup import steps
from orchestration.startup.context import StepContext
from orchestration.startup.report import Progress
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.fakes.gateway import FARMS_BROKEN, HEALTHY, LINK_DOWN, READY, FakeProbe, FakeRuntime
from tests.unit.gameplan.plans import changed, write_plan

SEEN = GatewaySnapshot(
    runtime=GatewayRuntime.DOCKER,
    container="ibkr-gateway",
    state="running",
    health="healthy",
    login="logged_in",
    docker_restarts=0,
    restarted=False,
)
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
    start="",
    seen=SEEN,
)


@dataclass
class Told:
    """What the operator was told."""

    alerts: list[AlertContent] = field(default_factory=list)

    def __call__(self, content: AlertContent) -> None:
        self.alerts.append(content)

    @property
    def titles(self) -> list[str]:
        return [one.title for one in self.alerts]


Build = Callable[..., tuple[StepContext, Told]]
NOTHING_OPEN = Holdings(orders=(), positions=(), accounts=())


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(runtime: FakeRuntime, probe: FakeProbe | None = None, **environ: str) -> tuple[StepContext, Told]:
        told = Told()
        shared = str(tmp_path / "shared")  # not the one of the user who runs the tests
        values = {"PATH": "/usr/bin:/bin", "GATEWAY_SHARED_DIR": shared, **environ}
        settings = Settings.from_environ(values, project_dir=tmp_path)
        context = StepContext(
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
            read_holdings=lambda: NOTHING_OPEN,
        )
        return context, told

    return make


def test_a_running_gateway_is_left_alone_without_an_alert(build: Build) -> None:
    context, told = build(FakeRuntime(status=HEALTHY))
    outcome = steps.gateway_up(context, Progress())
    assert outcome.progress.gateway_launched is False
    assert told.alerts == []
    assert (context.settings.state_dir / "gateway.json").exists()


def test_a_stopped_gateway_is_started_and_the_operator_told(build: Build) -> None:
    runtime = FakeRuntime(status=GatewayStatus(state=ContainerState.EXITED, name="ibkr-gateway"))
    context, told = build(runtime)
    steps.gateway_up(context, Progress())
    assert told.titles == ["Gateway starting"]


def test_a_ready_gateway_is_validated_and_masked(build: Build) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY))
    outcome = steps.gateway_wait(context, Progress())
    assert outcome.progress.gateway is not None
    assert outcome.progress.gateway.accounts == ("DU1234567",)
    assert "DU1234567" not in outcome.detail
    assert outcome.status is StepStatus.OK


@pytest.mark.parametrize(("skew_s", "status"), [(4.9, StepStatus.OK), (-5.1, StepStatus.WARN), (61.0, StepStatus.WARN)])
def test_a_clock_over_five_seconds_off_is_a_warning(build: Build, skew_s: float, status: StepStatus) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY), FakeProbe([replace(READY, skew_s=skew_s)]))
    assert steps.gateway_wait(context, Progress()).status is status


def test_broken_farms_are_a_warning_and_no_reason_to_stop(build: Build) -> None:
    context, told = build(FakeRuntime(status=HEALTHY), FakeProbe([FARMS_BROKEN]))
    outcome = steps.gateway_wait(context, Progress())
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
    context, told = build(FakeRuntime(status=HEALTHY))
    outcome = steps.gameplan_check(context, Progress(gateway=replace(GATEWAY, skew_s=skew_s)))
    plan = outcome.progress.plan
    assert plan is not None
    assert (plan.strategy, plan.fallback) == ("C", fallback)
    assert told.titles == ["Strategy C: no trading"]
    assert told.alerts[0].cause == fallback


def test_bot_start_alone_looks_at_the_gateway_first_and_fails_if_it_is_not_ready(build: Build) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY), FakeProbe([LINK_DOWN]))
    with pytest.raises(StartupFailure) as failure:
        steps.bot_start(context, Progress())
    assert failure.value.word.startswith("GATEWAY_")


def test_bot_start_alone_does_not_start_a_gateway_that_is_down(build: Build) -> None:
    runtime = FakeRuntime(status=GatewayStatus(state=ContainerState.EXITED, name="ibkr-gateway"))
    context, _ = build(runtime)
    with pytest.raises(StartupFailure):
        steps.bot_start(context, Progress())
    assert (runtime.restarts, runtime.stops) == (0, 0)
    assert isinstance(runtime.status, GatewayStatus)
    assert runtime.status.state is ContainerState.EXITED


def test_a_wrong_account_gets_no_bot(build: Build) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY), FakeProbe([replace(READY, accounts=("U7654321",))]))
    with pytest.raises(StartupFailure) as failure:
        steps.bot_start(context, Progress())
    assert failure.value.word is FailureWord.GATEWAY_WRONG_ACCOUNT


def _activate_plan(context: StepContext, **changes: object) -> ActivePlan:
    path = write_plan(context.settings.project_dir, changed(changes))
    settings = replace(context.settings, gameplan_path=path)
    return activate_plan(check_from_settings(settings, clock=context.clock), settings, clock=context.clock)


def test_right_before_the_launch_nothing_is_refused_that_is_still_so(build: Build) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY))
    plan = _activate_plan(context)
    progress = Progress(gateway=GATEWAY, gateway_validated_s=context.clock.monotonic_s(), plan=plan)
    steps.look_before_launch(context, progress, plan)
    context.clock.sleep(60)
    steps.look_before_launch(context, progress, plan)  # the gateway is validated again, and is ready


def test_a_hold_that_was_set_meanwhile_stops_the_launch(build: Build) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY))
    plan = _activate_plan(context)
    write_hold(context.settings.state_dir, reason="stop", now=context.clock.now())
    with pytest.raises(StartupFailure) as failure:
        steps.look_before_launch(context, Progress(gateway=GATEWAY, plan=plan), plan)
    assert failure.value.word is FailureWord.HELD


@pytest.mark.parametrize(("passed_s", "is_refused"), [(29, False), (31, True)])
def test_a_gateway_that_was_validated_long_ago_is_validated_again(
    build: Build,
    passed_s: float,
    is_refused: bool,  # noqa: FBT001 - a column of the table
) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY), FakeProbe([LINK_DOWN]))
    plan = _activate_plan(context)
    progress = Progress(gateway=GATEWAY, gateway_validated_s=context.clock.monotonic_s(), plan=plan)
    context.clock.sleep(passed_s)
    with contextlib.ExitStack() as expected:
        if is_refused:
            failure = expected.enter_context(pytest.raises(StartupFailure, match="not ready"))
        steps.look_before_launch(context, progress, plan)
    if is_refused:
        assert failure.value.word.startswith("GATEWAY_")


@pytest.mark.parametrize(
    ("freshness", "passed_h", "word"),
    [
        ("today", 14.9, None),  # it is 09:00 in New York
        ("today", 15.0, FallbackWord.GAMEPLAN_STALE),
        ("today", -20.0, FallbackWord.GAMEPLAN_NOT_YET),  # the host's clock was set back
        ("off", 48.0, None),
    ],
)
def test_a_plan_whose_day_has_ended_before_the_launch_is_not_given_to_the_bot(
    build: Build, freshness: str, passed_h: float, word: FallbackWord | None
) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY), GAMEPLAN_FRESHNESS=freshness)
    plan = _activate_plan(context)
    assert isinstance(context.clock, FakeClock)
    context.clock.jump(passed_h * 3600)
    if word is None:
        refuse_outdated(plan, context.settings, clock=context.clock)
        return
    with pytest.raises(GameplanError, match="it is dated 2026-11-18") as refusal:
        refuse_outdated(plan, context.settings, clock=context.clock)
    assert refusal.value.word is word


def test_an_emergency_plan_is_written_again_on_a_new_day(build: Build) -> None:
    context, told = build(FakeRuntime(status=HEALTHY))
    before = steps.gameplan_check(context, Progress(gateway=GATEWAY)).progress
    assert steps.ensure_current_plan(context, before) is before
    context.clock.sleep(15 * 3600)
    after = steps.ensure_current_plan(context, before).plan
    assert before.plan is not None
    assert after is not None
    assert (before.plan.date, after.date) == ("2026-11-18", "2026-11-19")
    assert after.fallback is before.plan.fallback is FallbackWord.GAMEPLAN_NOT_CONFIGURED
    assert after.message == before.plan.message
    assert told.titles == ["Strategy C: no trading"], "that trading is off is told once"


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_copy_that_is_not_what_was_checked_is_not_given_to_the_bot(build: Build, damage: bytes | None) -> None:
    context, told = build(FakeRuntime(status=HEALTHY))
    plan = _activate_plan(context)
    if damage is None:
        plan.path.unlink()
    else:
        plan.path.write_bytes(damage)
    after = steps.ensure_current_plan(context, Progress(gateway=GATEWAY, plan=plan)).plan
    assert after is not None
    assert (after.strategy, after.fallback) == ("C", FallbackWord.GAMEPLAN_UNREADABLE)
    assert told.titles == ["Strategy C: no trading"]


def test_the_step_names_every_problem_of_a_refused_plan_once(build: Build, tmp_path: Path) -> None:
    context, _ = build(FakeRuntime(status=HEALTHY), GAMEPLAN_PATH=str(tmp_path / "plan.json"))
    write_plan(tmp_path, changed({"bias": "up", "Date": "x", "vix_gate.threshold": -1}))
    detail = steps.gameplan_check(context, Progress(gateway=GATEWAY)).detail
    for problem in ('bias: "up" is not one of', "Date: is not a known field", "vix_gate.threshold: -1 is less than"):
        assert detail.count(problem) == 1


def test_bot_start_alone_forgets_no_gateway_before_another_one_is_validated(build: Build) -> None:
    """G8: `status` and `shutdown` act on the gateway that this instance started; they know it by this record alone."""
    context, _ = build(FakeRuntime(status=GatewayStatus(state=ContainerState.MISSING)))
    simulator = GatewayRecord(runtime=GatewayRuntime.SIMULATOR, host="127.0.0.1", port=4002, simulated=True)
    write_record(context.settings.state_dir, simulator)
    with pytest.raises(StartupFailure):
        steps.bot_start(context, Progress())
    assert read_record(context.settings.state_dir) == simulator
