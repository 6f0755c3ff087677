"""The campaign over hosts: what is drawn, and what is told of it."""

import itertools

from tests.hosts.__main__ import tabulate
from tests.hosts.conduct import Result
from tests.hosts.draw import Fault, Kind, State, draw_case

_CELLS = len(Fault) * len(State)


def test_as_many_runs_as_there_are_pairs_let_each_fault_meet_each_state() -> None:
    cases = [draw_case(9, number, ttl_s=5.0) for number in range(_CELLS)]

    assert {(case.steps[0].fault, case.state) for case in cases} == set(itertools.product(Fault, State))
    assert {case.kind for case in cases} == set(Kind)
    assert all(case.steps[0].on_leader == (case.state is not State.STANDING_BY) for case in cases)


def test_a_disk_stands_still_only_where_hosts_have_disks_of_their_own() -> None:
    cases = [draw_case(9, number, ttl_s=5.0) for number in range(_CELLS)]

    for case in cases:
        assert (case.kind is Kind.DISKS) == any(step.fault is Fault.DISK for step in case.steps)


def test_the_same_seed_and_number_are_the_same_run() -> None:
    assert draw_case(3, 7, ttl_s=5.0) == draw_case(3, 7, ttl_s=5.0)


def test_the_table_counts_what_was_met_and_what_was_seen_to_take_effect() -> None:
    one = Result(0, is_apart=False, kind=Kind.PLAIN, met=[[Fault.CLOCK, State.HELD]], verified=[Fault.CLOCK])
    two = Result(1, is_apart=False, kind=Kind.PLAIN, met=[[Fault.CLOCK, State.HELD]])

    row = next(line for line in tabulate([one, two]) if line.startswith(Fault.CLOCK))

    assert row.split()[-2:] == ["2", "1"]
    assert row.split().count("2") == 2
