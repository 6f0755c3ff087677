"""Which plan is in force on several hosts: the record in the store, and what is decided by it."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.lease.published_plan import (
    MAX_CONTENT_BYTES,
    OwnPlan,
    PlanChoice,
    PlanComparison,
    PlanState,
    PublishedPlan,
    choose_plan,
    compare_plans,
)
from orchestration.preflight.leader_plan import LeaderPlan
from orchestration.supervision.standby_plan import build_difference_key, describe_remedy

_THERE, _HERE = "a" * 64, "b" * 64
_ACTIVE = PublishedPlan(
    state=PlanState.ACTIVE,
    host="h1",
    by="h1",
    at="2026-11-18T09:00:00-05:00",
    sha256=_THERE,
    date="2026-11-18",
    strategy="A",
    size=700,
    name="plan.json",
    has_content=True,
)
_WITHDRAWN = _ACTIVE.withdraw("its file is quarantined", by="h1", at="2026-11-18T10:00:00-05:00")
_NONE = PublishedPlan(state=PlanState.NONE, host="h1", by="h1", at="2026-11-18", reason="GAMEPLAN_MISSING")
_TAKEN_OVER = dataclasses.replace(_ACTIVE, by="h2", passed_over=_HERE)


def _own(sha256: str = _HERE, date: str = "2026-11-18", *, is_usable: bool = True) -> OwnPlan:
    return OwnPlan(sha256=sha256, date=date, is_usable=is_usable)


@pytest.mark.parametrize("plan", [_ACTIVE, _WITHDRAWN, _NONE, _TAKEN_OVER])
def test_a_record_is_read_as_it_was_written(plan: PublishedPlan) -> None:
    assert PublishedPlan.read(plan.write()) == plan


@pytest.mark.parametrize(
    ("published", "own", "found"),
    [
        (None, _own(), PlanComparison.UNKNOWN),
        (None, _own("", "", is_usable=False), PlanComparison.UNKNOWN),
        (_ACTIVE, _own(_THERE), PlanComparison.SAME),
        (_ACTIVE, _own(_THERE, is_usable=False), PlanComparison.SAME),  # the leader's is as old as this host's
        (_ACTIVE, _own(), PlanComparison.DIFFERS),
        (_ACTIVE, _own(is_usable=False), PlanComparison.UNUSABLE),  # quarantined here, say
        (_ACTIVE, _own(date="", is_usable=False), PlanComparison.UNUSABLE),
        (_ACTIVE, _own("", "", is_usable=False), PlanComparison.MISSING),
        (_ACTIVE, _own(date="2026-11-17", is_usable=False), PlanComparison.OLDER),
        (_ACTIVE, _own(date="2026-11-19", is_usable=False), PlanComparison.NEWER),
        (_WITHDRAWN, _own(_THERE), PlanComparison.WITHDRAWN),
        (_WITHDRAWN, _own(), PlanComparison.ONLY_HERE),
        (_WITHDRAWN, _own(is_usable=False), PlanComparison.NO_PLAN),
        (_NONE, _own(), PlanComparison.ONLY_HERE),
        (_NONE, _own(is_usable=False), PlanComparison.NO_PLAN),
        (_NONE, _own("", "", is_usable=False), PlanComparison.NO_PLAN),
    ],
)
def test_a_host_knows_how_its_plan_compares_with_the_leaders(
    published: PublishedPlan | None, own: OwnPlan, found: PlanComparison
) -> None:
    assert compare_plans(published, own) is found


def test_only_what_has_not_reached_both_hosts_needs_attention_and_the_next_days_plan_waits_for_its_day() -> None:
    quiet = {one for one in PlanComparison if not one.needs_attention}
    assert quiet == {PlanComparison.UNKNOWN, PlanComparison.SAME, PlanComparison.NEWER, PlanComparison.NO_PLAN}
    assert len({one.sentence for one in PlanComparison}) == len(PlanComparison)


@pytest.mark.parametrize(
    ("published", "own_sha256", "host", "chosen"),
    [
        (None, _HERE, "h2", PlanChoice.OWN_FILE),
        (_NONE, _HERE, "h2", PlanChoice.OWN_FILE),  # Strategy C is not undone by a plan that travels: there is none
        (_NONE, "", "h2", PlanChoice.OWN_FILE),
        (_ACTIVE, _THERE, "h2", PlanChoice.OWN_FILE),
        (_ACTIVE, _HERE, "h2", PlanChoice.PUBLISHED),
        (_ACTIVE, "", "h2", PlanChoice.PUBLISHED),
        # The host that published it: its own file counts, as on a host alone.
        (_ACTIVE, _HERE, "h1", PlanChoice.OWN_FILE),
        (_ACTIVE, "", "h1", PlanChoice.OWN_FILE),
        # The host that took it over: its file counts once its content has changed.
        (_TAKEN_OVER, _HERE, "h2", PlanChoice.PUBLISHED),
        (_TAKEN_OVER, "c" * 64, "h2", PlanChoice.OWN_FILE),
        (_TAKEN_OVER, "", "h2", PlanChoice.OWN_FILE),
        (dataclasses.replace(_TAKEN_OVER, passed_over=""), "", "h2", PlanChoice.PUBLISHED),
        (_TAKEN_OVER, _HERE, "h3", PlanChoice.PUBLISHED),
        (_TAKEN_OVER, "c" * 64, "h1", PlanChoice.PUBLISHED),
        # Quarantined on the leader: not started on another host, and judged again on the leader.
        (_WITHDRAWN, _THERE, "h2", PlanChoice.NEITHER),
        (_WITHDRAWN, _THERE, "h1", PlanChoice.OWN_FILE),
        (_WITHDRAWN, _HERE, "h2", PlanChoice.OWN_FILE),
        (_WITHDRAWN, "", "h2", PlanChoice.OWN_FILE),
    ],
)
def test_the_plan_in_force_stays_in_force_over_a_take_over(
    published: PublishedPlan | None, own_sha256: str, host: str, chosen: PlanChoice
) -> None:
    assert choose_plan(published, own_sha256, host=host) is chosen


def test_a_plan_that_was_withdrawn_by_mistake_is_the_same_again() -> None:
    assert _WITHDRAWN.reinstate(at=_ACTIVE.at) == _ACTIVE
    large = dataclasses.replace(_ACTIVE, size=MAX_CONTENT_BYTES + 1, has_content=False)
    assert large.withdraw("x", by="h1", at="").reinstate(at=_ACTIVE.at) == large


@pytest.mark.parametrize(
    ("published", "own", "remedy"),
    [
        (_ACTIVE, _own(), "continues with the leader's plan"),
        (dataclasses.replace(_ACTIVE, has_content=False), _own(), "too large"),
        (_WITHDRAWN, _own(_THERE), "the plan that replaces it"),
        (_NONE, _own(), "inv failover --to=h2"),
    ],
)
def test_each_difference_has_a_remedy_and_is_told_apart_from_the_others(
    published: PublishedPlan, own: OwnPlan, remedy: str
) -> None:
    plan = LeaderPlan(published=published, own=own, comparison=compare_plans(published, own))
    assert remedy in describe_remedy(plan, leader="h1", host="h2")
    key = build_difference_key(plan)
    assert key
    changed = LeaderPlan(published=published, own=dataclasses.replace(own, sha256="d" * 64), comparison=plan.comparison)
    assert build_difference_key(changed) != key
    none = LeaderPlan(published=None, own=own, comparison=PlanComparison.UNKNOWN)
    assert build_difference_key(none) == build_difference_key(
        dataclasses.replace(plan, comparison=PlanComparison.NEWER)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "in force"},
        {"host": "h\r\n1"},
        {"by": "\x1b[2J"},
        {"by": 7},
        {"host": "h" * 300},
        {"sha256": ""},
        {"sha256": "A" * 64},
        {"sha256": "../../etc/passwd"},
        {"date": "18.11.2026"},
        {"date": ""},
        {"strategy": "D"},
        {"size": -1},
        {"size": "many"},
        {"size": float("inf")},
        {"passed_over": "x"},
        {"state": "none"},  # none, and yet a hash
    ],
)
def test_a_record_that_no_leader_writes_is_none(changes: dict[str, object]) -> None:
    assert PublishedPlan.read(json.dumps(json.loads(_ACTIVE.write()) | changes)) is None


@pytest.mark.parametrize("missing", [one.name for one in dataclasses.fields(PublishedPlan)])
def test_a_record_without_one_of_its_fields_is_none(missing: str) -> None:
    fields = json.loads(_ACTIVE.write())
    del fields[missing]
    assert PublishedPlan.read(json.dumps(fields)) is None


def test_texts_of_a_record_are_fit_to_be_shown() -> None:
    foreign = json.loads(_ACTIVE.write()) | {"name": "\x1b[2J\nplan", "reason": "x" * 5000}
    plan = PublishedPlan.read(json.dumps(foreign))
    assert plan is not None
    assert all(character.isprintable() for character in str(plan) + plan.reason)
    assert len(plan.reason) < 300


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


_records = st.fixed_dictionaries(dict.fromkeys(json.loads(_ACTIVE.write()), _json))


@given(st.text() | _json.map(json.dumps) | _records.map(json.dumps))
def test_whatever_stands_in_the_store_is_a_sound_record_or_none(text: str) -> None:
    plan = PublishedPlan.read(text)
    assert plan is None or PublishedPlan.read(plan.write()) is not None
