"""A slice of the fault campaign: the same runs each time, and none of them may break a rule."""

import os
import sys
from pathlib import Path

import pytest

from orchestration.soak.catalogue import Fault
from tests.campaign.conduct import conduct
from tests.campaign.draw import Runtime, draw_case

SEED = 24
RUNS = 24

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="small disks and a cut network need root on Linux"
    ),
]


@pytest.mark.parametrize("number", range(RUNS))
def test_a_run_of_the_campaign_breaks_no_rule(simulator_image: str, tmp_path: Path, number: int) -> None:
    case = draw_case(SEED, number, engine_share=8)
    result = conduct(case, tmp_path / "a run", image=simulator_image)
    assert not result.problem, f"{case}: {result.problem}"
    assert not result.violations, f"{case}: {result}"


def test_all_faults_come_round_and_each_eighth_run_has_a_real_container() -> None:
    cases = [draw_case(SEED, number, engine_share=8) for number in range(len(Fault))]
    assert {case.fault for case in cases} == set(Fault)
    assert [case.number for case in cases if case.runtime is Runtime.DOCKER] == list(range(0, len(Fault), 8))
    assert cases == [draw_case(SEED, number, engine_share=8) for number in range(len(Fault))]
