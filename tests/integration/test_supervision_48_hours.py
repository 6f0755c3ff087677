"""Two days in simulated time, with seeded random faults."""

import random
from collections import defaultdict
from itertools import pairwise

import pytest

from orchestration.docker.container import ContainerState
from orchestration.supervision import Action, IncidentKind, Notice, Stage
from tests.integration.supervised_world import (
    BEGIN,
    DUE,
    SupervisedWorld,
    WatchEvent,
    WatchFault,
    pick_faults,
    pick_plan_times,
)
from tests.thorough import choose_count

_DAYS_S = 48 * 3600.0
_SEEDS = choose_count(usual=1, thorough=12)
_CALM_S = 2 * 3600.0
_PLAN_KINDS = {IncidentKind.PLAN_MISSING, IncidentKind.PLAN_CHANGED, IncidentKind.PLAN_UNUSABLE}
# Each fault: how it is said, and after how many seconds at the latest.
_SAID = {
    WatchFault.ENGINE: (IncidentKind.ENGINE_GONE, 30.0),
    WatchFault.DEAD: (IncidentKind.GATEWAY_LOST, 0.0),
    WatchFault.PAUSED: (IncidentKind.GATEWAY_LOST, 0.0),
    WatchFault.SICK: (IncidentKind.GATEWAY_LOST, 0.0),
    WatchFault.SILENT: (IncidentKind.GATEWAY_LOST, 30.0),
    WatchFault.NO_IDS: (IncidentKind.GATEWAY_LOST, 30.0),
    WatchFault.PHONE: (IncidentKind.SECOND_FACTOR, 0.0),
    WatchFault.TAKEN: (IncidentKind.SESSION_TAKEN, 0.0),
    WatchFault.LINK: (IncidentKind.LINK_DOWN, 30.0),
    WatchFault.FARMS: (IncidentKind.FARMS_BROKEN, 400.0),
    WatchFault.UNCONNECTED: (IncidentKind.BOT_UNCONNECTED, 130.0),
    WatchFault.DISK: (IncidentKind.DISK_LOW, 0.0),
    WatchFault.JUMP: (IncidentKind.CLOCK_JUMP, 0.0),
    WatchFault.BAD_FILE: (IncidentKind.PLAN_UNUSABLE, 70.0),
    WatchFault.BOT_DIES: (IncidentKind.BOT_ENDED, 0.0),
    WatchFault.BOT_HANGS: (IncidentKind.BOT_SILENT, 60.0),
}


def _live(seed: int, *, apart_s: float | None) -> SupervisedWorld:
    rng = random.Random(seed)  # noqa: S311 - the same faults every time are what a seed is for
    faults = pick_faults(rng, until_s=_DAYS_S, apart_s=apart_s)
    return SupervisedWorld(happenings=faults, plan_times=pick_plan_times(rng)).run(_DAYS_S + _CALM_S)


def _by_incident(life: list[tuple[float, Notice]]) -> dict[str, list[tuple[float, Notice]]]:
    found = defaultdict(list)
    for at_s, notice in life:
        found[notice.incident].append((at_s, notice))
    return found


def _check_stages(world: SupervisedWorld) -> None:
    for life in world.lives:
        for name, said in _by_incident(life).items():
            stages = [notice.stage for _, notice in said]
            assert stages[0] in {Stage.OPENED, Stage.EVENT}, name
            for stage in (Stage.OPENED, Stage.EVENT, Stage.ACTED, Stage.WORSE, Stage.OVER):
                assert stages.count(stage) <= 1, (name, stages)
            assert Stage.OVER not in stages[:-1], "nothing is said of what is over"
            told = [at_s for at_s, notice in said if notice.stage in {Stage.OPENED, Stage.AGAIN}]
            assert all(after - before >= 3600.0 for before, after in pairwise(told)), name
            assert Stage.AGAIN not in stages or said[0][1].kind is IncidentKind.SECOND_FACTOR


def _check_restarts(world: SupervisedWorld) -> None:
    restarts = [(at_s, seen) for at_s, action, seen in world.done if action is Action.RESTART_GATEWAY]
    lives = len(world.lives)
    assert len(restarts) <= 12 + 6 * (lives - 1), "six a day, and a new supervisor counts from zero"
    for _, seen in restarts:
        assert seen.engine_reachable
        is_dead = seen.gateway is not None and seen.gateway.state is ContainerState.EXITED
        assert is_dead or not seen.in_window, "nothing is restarted in a window unless the container is dead"
    if lives == 1:
        assert all(after - before >= 900.0 for (before, _), (after, _) in pairwise(restarts))


def _check_end(world: SupervisedWorld) -> None:
    open_still = {one.kind for one in world.memory.log.incidents if one.is_told}
    assert open_still <= _PLAN_KINDS, "what has passed is over"
    assert world.breaches == []
    assert world.largest < 6000, "what is remembered does not grow"
    assert world.looks < 48 * 3600 / 4


@pytest.mark.parametrize("seed", range(_SEEDS))
def test_two_days_of_faults_all_over_each_other(seed: int) -> None:
    world = _live(seed, apart_s=None)
    _check_stages(world)
    _check_restarts(world)
    _check_end(world)


@pytest.mark.parametrize("seed", range(100, 100 + _SEEDS))
def test_two_days_of_one_fault_after_the_other_each_of_which_is_said_and_its_end_too(seed: int) -> None:
    world = _live(seed, apart_s=1800.0)
    _check_stages(world)
    _check_restarts(world)
    _check_end(world)
    said = [(at_s, notice) for life in world.lives for at_s, notice in life]
    for one in world.happenings:
        if one.fault in _SAID and not _is_near_window(one):
            _check_said(one, said)


def _is_near_window(one: WatchEvent) -> bool:
    """Whether a window of time, the change of the day or the hour of the plan lies near: other rules hold there."""
    begin, end = (BEGIN.hour * 3600.0 + at_s for at_s in (one.at_s - 120, one.end_s + 120))
    dues = [DUE.hour * 3600.0 + DUE.minute * 60 + day * 86400.0 for day in (1, 2)]
    nights = [(day * 86400.0 - 25 * 60, day * 86400.0 + 106 * 60) for day in (1, 2)]
    return any(begin <= due <= end for due in dues) or any(begin <= last and first <= end for first, last in nights)


def _check_said(one: WatchEvent, said: list[tuple[float, Notice]]) -> None:
    kind, within_s = _SAID[one.fault]
    opened = [
        (at_s, notice)
        for at_s, notice in said
        if notice.kind is kind and notice.stage in {Stage.OPENED, Stage.EVENT} and one.at_s <= at_s <= one.end_s + 120
    ]
    if one.lasts_s <= within_s:
        return  # may have passed before it was worth a word
    assert len(opened) == 1, (one, opened)
    assert opened[0][0] - one.at_s <= within_s, (one, opened)
    if one.fault not in {WatchFault.JUMP, WatchFault.BOT_DIES, WatchFault.BOT_HANGS, WatchFault.BAD_FILE}:
        incident = opened[0][1].incident
        over = [at_s for at_s, notice in said if notice.incident == incident and notice.stage is Stage.OVER]
        over = [at_s for at_s in over if one.at_s <= at_s <= one.end_s + 200]
        assert len(over) == 1, (one, over)
