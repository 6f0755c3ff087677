"""The catalogue of faults, and what is drawn from it."""

import pytest

from orchestration.soak.catalogue import CATALOGUE, Fault, FaultTarget
from orchestration.soak.channel import LoopbackChannel
from orchestration.soak.instance import Instance
from orchestration.soak.schedule import RECOVERIES, plan_faults
from orchestration.supervision import IncidentKind
from tests.campaign.draw import Instant, draw_case

PLANNED = plan_faults(hours=48, time_scale=480, seed=1)


def test_every_fault_has_its_row_and_both_harnesses_draw_from_the_same_ones() -> None:
    assert list(CATALOGUE) == list(Fault)
    assert {one.fault for one in PLANNED.faults} == set(RECOVERIES) < set(CATALOGUE)
    drawn = [draw_case(3, number, engine_share=0) for number in range(len(Fault))]
    assert {case.fault for case in drawn} == set(CATALOGUE)


def test_what_is_set_before_is_drawn_before_and_what_hits_the_program_while_it_runs() -> None:
    for case in (draw_case(5, number, engine_share=0) for number in range(10 * len(Fault))):
        traits = CATALOGUE[case.fault]
        assert not (traits.is_set_before and case.instant is not Instant.BEFORE), case
        assert not (traits.needs_program and case.instant is Instant.BEFORE), case


def test_each_incident_that_must_follow_is_one_that_a_supervisor_knows() -> None:
    causes = {cause for recovery in RECOVERIES.values() for cause in recovery.causes}
    assert causes <= {kind.value for kind in IncidentKind}


@pytest.mark.parametrize("fault", [fault for fault in Fault if not CATALOGUE[fault].is_set_before])
def test_a_fault_whose_target_is_not_there_is_not_counted_as_injected(
    fault: Fault, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("nothing")
    target = FaultTarget(Instance(folder, {"GATEWAY_PORT": "1"}), LoopbackChannel(), link_down_s=1.0)
    assert not CATALOGUE[fault].inject(target)
