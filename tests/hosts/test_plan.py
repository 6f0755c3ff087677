"""A new day's plan that reached one host only, with a real etcd: published, compared, and kept over a take-over."""

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from orchestration.commands import views
from orchestration.commands.status import read_status
from orchestration.commands.status_document import build_json
from orchestration.errors import StepStatus
from orchestration.gameplan import load_calendar
from orchestration.lease.etcd import Etcd
from orchestration.lease.held import drop, read_standing
from orchestration.lease.published_plan import MAX_CONTENT_BYTES, PlanState, PublishedPlan
from orchestration.lease.term import name_keys
from orchestration.preflight.lease import check_lease
from orchestration.settings import Settings
from orchestration.supervision.lease_keeper import Keeper
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from tests.hosts.store import Store, read_settings
from tests.system import build_plan, wait_until

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(120)]


def _wait(condition: Callable[[], object], what: str) -> object:
    return wait_until(condition, what, 40.0)


def _build(content: bytes, *, by: str, **changes: object) -> PublishedPlan:
    plan = json.loads(content)
    fields: dict[str, Any] = {
        "state": PlanState.ACTIVE,
        "host": by,
        "by": by,
        "at": SystemClock().now().isoformat(timespec="seconds"),
        "sha256": sha256(content).hexdigest(),
        "date": plan["date"],
        "strategy": plan["strategy"],
        "size": len(content),
        "name": "gameplan.json",
        "has_content": len(content) <= MAX_CONTENT_BYTES,
    }
    return PublishedPlan(**fields | changes)


def _write(settings: Settings, **changes: object) -> bytes:
    content = json.dumps(build_plan(**changes)).encode()
    assert settings.gameplan_path is not None
    settings.gameplan_path.write_bytes(content)
    return content


@pytest.fixture
def hosts(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> Iterator[tuple[Keeper, Keeper, Settings, Settings]]:
    """A host that leads, and one that stands by; each with a plan file of its own."""
    paths = {
        name: {"GAMEPLAN_PATH": str(tmp_path / name / "gameplan.json"), "MARKET_CALENDAR": "daily"}
        for name in ("a", "b")
    }
    ours, theirs = (read_settings(tmp_path, store, name, **paths[name]) for name in ("a", "b"))
    first = make("a", **paths["a"])
    _wait(lambda: first.may_start, "leader")
    second = make("b", **paths["b"])
    _wait(lambda: second.standing.holder == "a", "standby")
    yield first, second, ours, theirs
    drop()


def _read_published(settings: Settings) -> PublishedPlan | None:
    standing = read_standing(settings)
    return None if standing is None else PublishedPlan.read(standing.plan)


def test_a_standby_tells_that_the_leaders_plan_has_not_reached_it(
    hosts: tuple[Keeper, Keeper, Settings, Settings],
) -> None:
    first, _, ours, theirs = hosts
    content = _write(ours)
    first.publish_plan(_build(content, by="a"), content)
    _wait(lambda: _read_published(theirs), "published plan")

    status = read_status(theirs, commands=SystemCommands(), clock=SystemClock())
    assert build_json(status)["lease"]["plan"]["here"] == "missing"
    assert build_json(status)["lease"]["plan"]["sha256"] == sha256(content).hexdigest()
    assert "this host has no plan" in dict(views.build_status_rows(status))["  plan in force"]
    checks = {one.name: one for one in check_lease(theirs, SystemCommands(), clock=SystemClock())}
    assert checks["plan in force"].status is StepStatus.WARN

    _write(theirs, symbols=["SPY"])
    status = read_status(theirs, commands=SystemCommands(), clock=SystemClock())
    assert build_json(status)["lease"]["plan"]["here"] == "differs"

    _write(theirs)
    status = read_status(theirs, commands=SystemCommands(), clock=SystemClock())
    assert build_json(status)["lease"]["plan"]["here"] == "same"
    checks = {one.name: one for one in check_lease(theirs, SystemCommands(), clock=SystemClock())}
    assert checks["plan in force"].status is StepStatus.OK
    assert "plan in force" not in {one.name for one in check_lease(ours, SystemCommands(), clock=SystemClock())}


def test_the_content_travels_up_to_its_limit_and_no_look_at_the_store_carries_it(
    hosts: tuple[Keeper, Keeper, Settings, Settings],
) -> None:
    first, second, ours, _ = hosts
    content = json.dumps(build_plan(notes="é" * 50_000), ensure_ascii=False).encode()
    first.publish_plan(_build(content, by="a"), content)
    _wait(lambda: second.published_plan, "published plan")

    assert second.fetch_plan() == content
    store = Etcd(ours, timeout_s=2.0)
    rows = store.read(name_keys(ours.instance)).rows
    store.close()
    assert sum(len(row.value) for row in rows.values()) < 2000

    large = _build(content, by="a", has_content=False)
    first.publish_plan(large)
    _wait(lambda: second.published_plan == large, "plan that is too large")
    assert second.fetch_plan() is None


def test_what_a_host_publishes_that_has_lost_the_lease_reaches_the_store_no_more(
    hosts: tuple[Keeper, Keeper, Settings, Settings],
) -> None:
    first, second, ours, _ = hosts
    content = _write(ours)
    kept = _build(content, by="a")
    first.publish_plan(kept, content)
    _wait(lambda: second.published_plan == kept, "published plan")

    orders = Etcd(ours, timeout_s=2.0)
    prefix = name_keys(ours.instance)
    lost = first._plans  # noqa: SLF001 - as a thread that was frozen before the write, and wakes after another host leads
    term = first._term  # noqa: SLF001 - likewise
    assert term is not None
    first.release(is_clean=True)
    _wait(lambda: second.may_start, "take-over")
    lost.publish(_build(content, by="a", reason="late"), content)
    lost.write(term, began_s=float("inf"))

    stored = PublishedPlan.read(orders.read(prefix).rows[f"{prefix}plan"].value)
    orders.close()
    assert stored == kept
    assert second.published_plan == kept


def test_a_plan_that_a_standby_would_publish_is_not(hosts: tuple[Keeper, Keeper, Settings, Settings]) -> None:
    first, second, _, theirs = hosts
    content = _write(theirs)
    second.publish_plan(_build(content, by="b"), content)
    kept = _build(content, by="a")
    first.publish_plan(kept, content)
    _wait(lambda: second.published_plan == kept, "the leader's plan")
    first.release(is_clean=True)
    _wait(lambda: second.may_start, "take-over")
    assert second.published_plan == kept
    assert load_calendar(theirs).today(SystemClock().now()).isoformat() == kept.date
