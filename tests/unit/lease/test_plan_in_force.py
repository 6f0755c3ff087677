"""Which plan a host that leads starts its bot on, and what it publishes for the others (LEASE_ETCD)."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.errors import FallbackWord
from orchestration.gameplan import ActivePlan
from orchestration.gateway.holdings import Holdings
from orchestration.lease.held import drop, keep
from orchestration.lease.published_plan import MAX_CONTENT_BYTES, PlanState, PublishedPlan
from orchestration.settings import Settings
from orchestration.startup import steps
from orchestration.startup.context import StepContext
from orchestration.startup.plan_in_force import withdraw_plan
from orchestration.startup.report import Progress
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.fakes.gateway import HEALTHY, READY, FakeProbe, FakeRuntime
from tests.fakes.lease import FakeLease
from tests.unit.gameplan.plans import changed, load_plan, write_plan
from tests.unit.test_steps import GATEWAY

_OWN = json.dumps(load_plan()).encode()
_OTHER = json.dumps(changed({"strategy": "B"})).encode()
_LARGE = json.dumps(changed({"notes": "x" * MAX_CONTENT_BYTES})).encode()


class Host:
    """A host that holds the lease, with the plan file that it has."""

    def __init__(self, folder: Path, lease: FakeLease, name: str = "h2", **environ: str) -> None:
        self.folder = folder
        self.lease = lease
        self.told: list[AlertContent] = []
        variables = {
            "LEASE_ETCD": "http://192.0.2.1:2379",
            "LEASE_HOST": name,
            "GATEWAY_RUNTIME": "simulator",
            "GAMEPLAN_PATH": str(folder / "plan.json"),
            "GATEWAY_SHARED_DIR": str(folder / "shared"),
            "STATE_DIR": str(folder / "state"),
            "PATH": "/usr/bin:/bin",
        }
        self.settings = Settings.from_environ(variables | environ, project_dir=folder)
        self.clock = FakeClock()

    def activate(self, *, skew_s: float = 0.0) -> ActivePlan:
        """Go through the step, and return the plan that the bot would get."""
        context = StepContext(
            settings=self.settings,
            clock=self.clock,
            commands=FakeCommands(),
            runtime=FakeRuntime(HEALTHY),
            probe=FakeProbe([READY]),
            run_id="run",
            tell=self.told.append,
            show=lambda _: None,
            show_wait=lambda *_: None,
            log=logging.getLogger("tests"),
            read_holdings=lambda: Holdings(orders=(), positions=(), accounts=()),
            supervises=True,
        )
        gateway = dataclasses.replace(GATEWAY, skew_s=skew_s)
        result = steps.gameplan_check(context, Progress(gateway=gateway))
        assert result.progress.plan is not None
        return result.progress.plan

    def put(self, plan: object) -> None:
        """Put a plan file on this host."""
        write_plan(self.folder, plan)

    @property
    def titles(self) -> list[str]:
        return [one.title for one in self.told]


Make = Callable[..., Host]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    def make_one(
        *, plan: PublishedPlan | None = None, content: bytes | None = None, own: object = None, **environ: str
    ) -> Host:
        lease = FakeLease(plan=plan, content=content)
        keep(lease)
        host = Host(tmp_path, lease, **environ)
        if own is not None:
            host.put(own)
        return host

    yield make_one
    drop()


def _published(content: bytes = _OTHER, **changes: object) -> PublishedPlan:
    plan = PublishedPlan(
        state=PlanState.ACTIVE,
        host="h1",
        by="h1",
        at="2026-11-18T09:00:00-05:00",
        sha256=sha256(content).hexdigest(),
        date="2026-11-18",
        strategy="B",
        size=len(content),
        name="day.json",
        has_content=len(content) <= MAX_CONTENT_BYTES,
    )
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]  # any field


def test_a_leader_publishes_the_plan_that_its_bot_gets(make: Make) -> None:
    host = make(own=_OWN)
    plan = host.activate()

    (published,) = host.lease.publications
    assert (published.state, published.sha256, published.host, published.by) == ("active", plan.sha256, "h2", "h2")
    assert (published.name, published.size, published.date) == ("plan.json", len(_OWN), "2026-11-18")
    assert host.lease.content == _OWN
    host.activate()
    assert host.lease.publications == [published]  # a restart of the bot on the same plan is no news


def test_of_a_plan_that_is_too_large_only_the_hash_is_published(make: Make) -> None:
    host = make(own=_LARGE)
    host.activate()

    (published,) = host.lease.publications
    assert (published.sha256, published.has_content) == (sha256(_LARGE).hexdigest(), False)
    assert host.lease.content is None


@pytest.mark.parametrize("own", [_OWN, b"{", json.dumps(changed({"date": "2026-11-17"})), None])
def test_the_plan_in_force_is_taken_over_whatever_file_this_host_has(make: Make, own: object) -> None:
    host = make(plan=_published(), content=_OTHER, own=own)
    plan = host.activate()

    assert (plan.fallback, plan.sha256) == (None, sha256(_OTHER).hexdigest())
    assert plan.path.read_bytes() == _OTHER
    (told,) = host.told
    assert (told.severity, told.title) == (Severity.WARNING, "Plan of another host taken over")
    assert "day.json of h1" in told.message
    (published,) = host.lease.publications
    assert (published.host, published.by) == ("h1", "h2")
    assert published.passed_over is not None

    host.told.clear()
    assert host.activate().sha256 == plan.sha256  # its bot is restarted
    assert host.told == []
    corrected = json.dumps(changed({"symbols": ["SPY"]})).encode()
    host.put(corrected)  # on purpose
    assert host.activate().sha256 == sha256(corrected).hexdigest()


def test_a_host_that_has_the_plan_in_force_goes_by_its_own_file(make: Make) -> None:
    host = make(plan=_published(_OWN), own=_OWN)
    plan = host.activate()
    assert (plan.source, plan.fallback) == (host.folder / "plan.json", None)
    assert host.told == []


@pytest.mark.parametrize(
    ("plan", "content", "why"),
    [
        (_published(_LARGE), None, "at most 262144 are kept"),
        (_published(), None, "cannot be read from the store"),
        (_published(), _OWN, "not that of the published plan"),
        (_published(b"{}"), b"{}", "is not a valid gameplan"),
        (
            _published(json.dumps(changed({"data_quality.quarantine_active": True})).encode()),
            json.dumps(changed({"data_quality.quarantine_active": True})).encode(),
            "quarantined",
        ),
        (
            _published(json.dumps(changed({"date": "2026-11-17"})).encode()),  # the record claims today
            json.dumps(changed({"date": "2026-11-17"})).encode(),
            "out of date",
        ),
    ],
)
def test_a_plan_that_does_not_hold_what_its_record_says_is_not_trusted(
    make: Make, plan: PublishedPlan, content: bytes | None, why: str
) -> None:
    host = make(plan=plan, content=content, own=_OWN)

    assert host.activate().sha256 == sha256(_OWN).hexdigest()
    (told,) = host.told
    assert (told.severity, told.title) == (Severity.WARNING, "Plan in force is not taken over")
    assert why in told.message
    assert host.lease.publications[-1].sha256 == sha256(_OWN).hexdigest()


def test_without_checked_dates_no_plan_travels(make: Make) -> None:
    host = make(plan=_published(), content=_OTHER, own=_OWN, GAMEPLAN_FRESHNESS="off")
    assert host.activate().sha256 == sha256(_OWN).hexdigest()
    assert host.titles == ["Plan in force is not taken over"]


def test_a_host_without_a_configured_plan_stays_on_strategy_c(make: Make) -> None:
    host = make(plan=_published(), content=_OTHER, GAMEPLAN_PATH="")
    assert host.activate().fallback is FallbackWord.GAMEPLAN_NOT_CONFIGURED
    assert host.titles == ["Plan in force is not taken over", "Strategy C: no trading"]


def test_a_bot_that_is_started_again_needs_the_store_no_more(make: Make) -> None:
    host = make(plan=_published(), content=_OTHER, own=_OWN)
    plan = host.activate()
    host.lease.content = None
    assert host.activate() == plan
    (host.folder / f"state/gameplans/received_{plan.sha256[:12]}.json").write_bytes(_OWN)
    assert host.activate().sha256 == sha256(_OWN).hexdigest()


@pytest.mark.parametrize("date", ["2026-11-17", "2026-11-19"])
def test_another_days_plan_is_not_taken_over_and_that_is_no_news(make: Make, date: str) -> None:
    content = json.dumps(changed({"date": date})).encode()
    host = make(plan=_published(content, date=date), content=content, own=_OWN)
    assert host.activate().sha256 == sha256(_OWN).hexdigest()
    assert host.told == []


def test_a_leader_without_a_usable_plan_publishes_none_and_undoes_no_other_hosts_strategy_c(make: Make) -> None:
    leader = make()
    assert leader.activate().fallback is FallbackWord.GAMEPLAN_MISSING
    (published,) = leader.lease.publications
    assert (published.state, published.reason) == ("none", "GAMEPLAN_MISSING")

    follower = make(plan=published, name="h3")
    assert follower.activate().fallback is FallbackWord.GAMEPLAN_MISSING
    skewed = make(plan=_published(_OWN), content=_OWN, own=_OWN)
    assert skewed.activate(skew_s=120.0).fallback is FallbackWord.CLOCK_SKEW
    assert skewed.lease.publications[-1].state is PlanState.NONE


def test_a_plan_that_chooses_strategy_c_is_a_plan_and_travels(make: Make) -> None:
    content = json.dumps(
        changed({"strategy": "C", "position_size_multiplier": 0, "hard_limits.max_intraday_pivots": 0})
    ).encode()
    host = make(plan=_published(content, strategy="C"), content=content, own=_OWN)
    plan = host.activate()
    assert (plan.fallback, plan.strategy) == (None, "C")


def test_a_plan_that_was_quarantined_on_the_leader_starts_no_bot_on_another_host(make: Make) -> None:
    leader = make(own=_OWN, name="h1")
    leader.activate()
    leader.put(json.dumps(changed({"data_quality.quarantine_active": True})))
    assert leader.activate().fallback is FallbackWord.GAMEPLAN_QUARANTINED
    withdrawn = leader.lease.published_plan
    assert withdrawn is not None
    assert (withdrawn.state, withdrawn.sha256) == ("withdrawn", sha256(_OWN).hexdigest())
    assert leader.lease.content is None

    other = make(plan=withdrawn, own=_OWN)
    plan = other.activate()
    assert plan.fallback is FallbackWord.GAMEPLAN_QUARANTINED
    assert "withdrawn on h1" in plan.message
    assert other.lease.publications == []  # it stays withdrawn for a third host
    other.put(_OTHER)
    assert other.activate().fallback is None  # a corrected plan


def test_a_withdrawn_plan_stays_withdrawn_when_its_file_is_removed_and_is_back_when_it_is_cleared(make: Make) -> None:
    leader = make(own=_OWN, name="h1")
    leader.activate()
    withdraw_plan(leader.settings, leader.lease, plan_date="2026-11-18", clock=leader.clock)
    (leader.folder / "plan.json").unlink()
    assert leader.activate().fallback is FallbackWord.GAMEPLAN_MISSING
    leader.put(_OWN)
    assert leader.activate().fallback is None
    assert [one.state for one in leader.lease.publications] == ["active", "withdrawn", "active"]


def test_a_plan_of_the_store_is_never_stored_under_the_name_of_a_checked_copy(make: Make) -> None:
    invalid = json.dumps(changed({"hard_limits.max_daily_loss_pct": 7})).encode()
    host = make(plan=_published(invalid), content=invalid)
    assert host.activate().fallback is FallbackWord.GAMEPLAN_MISSING
    names = [path.name for path in (host.folder / "state/gameplans").iterdir()]
    assert names == [f"received_{sha256(invalid).hexdigest()[:12]}.json"]
