"""How the campaign over three hosts measures an overlap."""

import io

import pytest

from orchestration.presenter import PlainDisplay
from orchestration.startup.sequence import STEPS
from tests.hosts.draw import draw_case
from tests.hosts.observer import Life, measure_overlap_s, parse_told


@pytest.mark.parametrize("simulated", [True, False])
def test_the_begin_of_a_sequence_is_read_as_the_program_writes_it(*, simulated: bool) -> None:
    said = io.StringIO()
    for steps in (STEPS, STEPS[2:]):  # a restart of the bot is no begin
        PlainDisplay(said).begin(run_id="20261118_090000_af68", instance="default", simulated=simulated, steps=steps)
    assert parse_told(said.getvalue().encode()) == [None]


def test_bots_on_one_host_are_no_overlap_however_many_they_are() -> None:
    assert measure_overlap_s([Life(0, 1, 10.0, 20.0), Life(0, 2, 12.0, 30.0)], 40.0) == 0.0


def test_one_bot_after_the_other_is_no_overlap() -> None:
    assert measure_overlap_s([Life(0, 1, 10.0, 20.0), Life(1, 2, 20.0, None)], 40.0) == 0.0


def test_bots_on_two_hosts_overlap_for_as_long_as_both_have_a_process() -> None:
    lives = [Life(0, 1, 10.0, 20.0), Life(0, 2, 11.0, 22.0), Life(1, 3, 18.0, 19.0), Life(1, 4, 21.0, None)]
    assert measure_overlap_s(lives, 40.0) == 2.0


def test_a_bot_that_still_lives_counts_until_now() -> None:
    assert measure_overlap_s([Life(0, 1, 10.0), Life(2, 2, 15.0)], 16.5) == 1.5


def test_a_run_is_decided_by_seed_and_number() -> None:
    assert draw_case(3, 7, ttl_s=5.0) == draw_case(3, 7, ttl_s=5.0)
    assert len({draw_case(3, number, ttl_s=5.0).steps for number in range(20)}) == 20
