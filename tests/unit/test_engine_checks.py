"""What preflight says about what the gateway's container was made with."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import Check, StepStatus
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.drift import Drift
from orchestration.preflight.engine import check_engine, check_read_only
from orchestration.settings import GatewayRuntime, Settings
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.fakes.gateway import HEALTHY, FakeRuntime
from tests.unit.gameplan.plans import changed, write_plan

OURS = replace(HEALTHY, compose_project="ibkr-gateway")
STOPPED = replace(OURS, state=ContainerState.EXITED)


def _settings(folder: Path, strategy: str = "A", **environ: str) -> Settings:
    changes = {"strategy": strategy} if strategy != "C" else {"strategy": "C", "position_size_multiplier": 0}
    plan = write_plan(folder, changed(changes))
    login = {"TWS_USERID": "ann", "TWS_PASSWORD": "planted"}
    return Settings.from_environ({"GAMEPLAN_PATH": str(plan), "STATE_DIR": str(folder), **login, **environ})


def _check(settings: Settings, status: GatewayStatus, *drift: Drift) -> list[Check]:
    runtime = FakeRuntime(status=status, drift=drift)
    checks = check_engine(settings, runtime, commands=FakeCommands(), clock=FakeClock(), on_progress=lambda _: None)
    return [check for check in checks if check.name in {"drift", "read-only gateway"}]


def test_drift_is_named_with_what_applies_it(tmp_path: Path) -> None:
    drift = Drift(name="READ_ONLY_API", actual="no", wanted="yes"), Drift(name="TWS_PASSWORD")
    (check,) = _check(_settings(tmp_path), OURS, *drift)
    assert check.status is StepStatus.WARN
    assert "READ_ONLY_API is yes, and the container has no; TWS_PASSWORD differs" in check.detail
    assert "not in effect" in check.detail
    assert "`inv startup`" in check.fix
    assert "new login" in check.fix


def test_a_container_that_is_made_anew_anyway_has_no_drift(tmp_path: Path) -> None:
    assert _check(_settings(tmp_path), STOPPED, Drift(name="READ_ONLY_API", actual="no", wanted="yes")) == []


def test_a_container_made_by_another_program_must_be_removed_first(tmp_path: Path) -> None:
    foreign = replace(HEALTHY, compose_project="their-own", name="theirs")
    (check,) = _check(_settings(tmp_path), foreign, Drift(name="READ_ONLY_API", actual="no", wanted="yes"))
    assert "`docker rm theirs`" in check.fix


@pytest.mark.parametrize(
    ("status", "made_with", "setting", "said"),
    [
        (OURS, "no", "yes", ""),
        (OURS, "yes", "no", "container was made with READ_ONLY_API=yes"),
        (OURS, "yes", "yes", "container was made with READ_ONLY_API=yes"),
        (OURS, "", "yes", ""),
        (STOPPED, "no", "yes", "READ_ONLY_API is on"),
        (STOPPED, "yes", "no", ""),
        (GatewayStatus(state=ContainerState.MISSING), "", "yes", "READ_ONLY_API is on"),
    ],
)
def test_whether_orders_pass_is_said_of_the_container_and_not_of_the_settings(
    tmp_path: Path, status: GatewayStatus, made_with: str, setting: str, said: str
) -> None:
    status = replace(status, environ=(("READ_ONLY_API", made_with),))
    found = _check(_settings(tmp_path, READ_ONLY_API=setting), status)
    assert [said in check.detail and "no order will pass" in check.detail for check in found] == [True] * bool(said)


def test_a_plan_that_trades_nothing_needs_no_orders(tmp_path: Path) -> None:
    status = replace(OURS, environ=(("READ_ONLY_API", "yes"),))
    assert _check(_settings(tmp_path, "C"), status) == []


@pytest.mark.parametrize("runtime", list(GatewayRuntime))
def test_what_is_not_known_of_a_gateway_is_not_said(tmp_path: Path, runtime: GatewayRuntime) -> None:
    settings = _settings(tmp_path, READ_ONLY_API="yes", GATEWAY_RUNTIME=runtime.value)
    found = [check.detail for check in check_read_only(settings, None, clock=FakeClock())]
    assert not any("no order will pass" in detail for detail in found)
    assert any("unknown here" in detail for detail in found) is (runtime is GatewayRuntime.EXTERNAL)
