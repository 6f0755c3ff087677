"""One run, from its staging to its result: stage, start, inject, look, repair, start again, look, stop."""

import contextlib
import subprocess
import time
from pathlib import Path

from orchestration.soak.safety import SystemSeen, judge_safety
from tests.campaign import faults
from tests.campaign.draw import SUPERVISED, Case, Instant, Way
from tests.campaign.observer import (
    EndedProcess,
    RunSeen,
    find_violations,
    list_unmet,
    parse_report,
    read_journal,
    read_living_bots,
    watching,
)
from tests.campaign.result import CaseResult
from tests.campaign.wall_clock import NoSettableClockError
from tests.campaign.world import CannotStageError, World, world_of
from tests.system import PATIENCE_S

_COMES_UP_S = 8.0  # a start that waits for longer is ended while it waits
_SETTLE_S = 2.5  # how long a supervisor is left to meet what was done to it
_WATCHES_S = 60.0
_END_S = 110.0
_LOOK_S = 0.02
_ARGUMENTS: dict[Way, tuple[Way, ...]] = {
    Way.TWICE: (Way.STARTUP, Way.STARTUP),
    Way.BESIDE: (Way.STARTUP, Way.SERVICE),
}
_UP = frozenset({0, 2})


def conduct(case: Case, root: Path, *, image: str) -> CaseResult:
    """Conduct one run in a folder of its own."""
    begun_s = time.monotonic()
    try:
        with world_of(case, root, image=image) as world:
            try:
                world.enter_start()
                faults.prepare(world)
            except AssertionError as error:
                raise CannotStageError(str(error)) from error
            return _conduct(world, begun_s)
    except (CannotStageError, NoSettableClockError, subprocess.SubprocessError) as error:
        return CaseResult(case, problem=f"{type(error).__name__}: {error}", duration_s=time.monotonic() - begun_s)


def _conduct(world: World, begun_s: float) -> CaseResult:
    first, was_injected = _run_with_fault(world)
    violations = find_violations(world, first)
    faults.repair(world, told=[str((one.report or {}).get("next_action") or "") for one in first.ended])
    again = _run_again(world, first)
    violations += find_violations(world, again) + _check_convergence(world, again) + _check_shutdown(world)
    return CaseResult(
        world.case,
        outcome=first.outcome,
        again=again.outcome,
        was_injected=was_injected,
        violations=tuple(dict.fromkeys(violations)),
        duration_s=time.monotonic() - begun_s,
    )


def _run_with_fault(world: World) -> tuple[RunSeen, bool]:
    case = world.case
    seen = RunSeen()
    was_injected = case.instant is Instant.BEFORE and faults.inject(world, [])
    ways = _ARGUMENTS.get(case.way, (case.way,))
    with watching(world, seen):
        logs = len(list(world.system.logs.glob("startup_*.log")))
        watched = len(list(world.system.logs.glob("supervisor_*.log")))
        runs = [_begin(world, way) for way in ways]
        if case.instant is not Instant.BEFORE and _wait_for(world, runs, logs=logs):
            was_injected = faults.inject(world, runs)
        _let_settle(world, [run for run, way in zip(runs, ways, strict=True) if way in SUPERVISED], watched=watched)
        _collect(world, seen, runs, ways)
    return seen, was_injected


def _run_again(world: World, first: RunSeen) -> RunSeen:
    """The same again, now that all is well; where a boot service has failed, and may have given up, by hand."""
    way = world.case.way if world.case.way in SUPERVISED else Way.STARTUP
    if way is Way.SERVICE and any(one.code != 0 for one in first.ended):
        way = Way.FOREGROUND
    seen = RunSeen(is_faulty=False)
    with watching(world, seen):
        watched = len(list(world.system.logs.glob("supervisor_*.log")))
        run = _begin(world, way)
        if way in SUPERVISED:
            deadline_s = time.monotonic() + _WATCHES_S
            while run.poll() is None and time.monotonic() < deadline_s:
                if len(list(world.system.logs.glob("supervisor_*.log"))) > watched:
                    break
                time.sleep(_LOOK_S)
            seen.bots_left = read_living_bots(world)
            was_up = len(seen.bots_left) == 1 and run.poll() is None
            if run.poll() is None:
                run.terminate()
            _collect(world, seen, [run], (way,))
            if was_up and seen.bots_left:
                seen.forced = True
        else:
            _collect(world, seen, [run], (way,))
    return seen


def _check_convergence(world: World, again: RunSeen) -> list[str]:
    """Once the fault is gone, the next run brings the system up, or finds it up."""
    one = again.ended[0]
    found = []
    if one.failure == "BOT_ALREADY_RUNNING":
        if len(again.bots_left) != 1:
            found.append(f"3: BOT_ALREADY_RUNNING, and {len(again.bots_left)} bots run")
    elif one.code not in _UP or one.report is None:
        found.append(
            f"3: it does not come up again: {again.outcome}: {(one.report or {}).get('message') or one.err[-400:]}"
        )
    else:
        expected = _expected_code(world)
        code = one.report["exit_code"]
        if code != expected:
            found.append(f"3: it came up with {code} {one.report['fallback']}, not with {expected}")
    runs, _, _ = read_journal(world.system.state / "journal.sqlite3")
    if None in runs.values():
        found.append("3: a run that has ended has no result in the journal after the next one")
    return found


def _expected_code(world: World) -> int:
    return 0 if world.case.plan in {"valid", "chooses C"} else 2


def _check_shutdown(world: World) -> list[str]:
    """`inv shutdown` leaves nothing behind."""
    ended = world.system.inv("shutdown")
    left = world.system.processes()
    found = [] if ended.code == 0 else [f"3: shutdown ended with {ended.code}: {(ended.out + ended.err)[-400:]}"]
    after = SystemSeen(most_bots=0, left=tuple(f"process {one.pid}" for one in left))
    return found + list_unmet(judge_safety(after, must_have_bot=False))


def _begin(world: World, way: Way) -> "subprocess.Popen[str]":
    return world.system.begin(*([way.value] if way in SUPERVISED else []))


def _wait_for(world: World, runs: "list[subprocess.Popen[str]]", *, logs: int) -> bool:
    """Wait for the instant; False if the run ended before."""
    case = world.case
    begun_s = time.monotonic()
    bots = len(world.read_ledger())
    while any(run.poll() is None for run in runs) and time.monotonic() - begun_s < PATIENCE_S:
        if case.instant is Instant.ANY:
            is_there = True
        elif case.instant is Instant.BOT_UP:
            is_there = len(world.read_ledger()) > bots
        else:
            new = sorted(world.system.logs.glob("startup_*.log"))[logs:]
            is_there = any(
                f"step {case.instant} (" in path.read_text(encoding="utf-8", errors="replace") for path in new
            )
        if is_there:
            time.sleep(case.delay_s)
            return True
        time.sleep(_LOOK_S)
    return False


def _let_settle(world: World, supervisors: "list[subprocess.Popen[str]]", *, watched: int) -> None:
    """Leave supervisors the time to come up and to meet what was done to them; then ask them to end."""
    until_s = time.monotonic() + _COMES_UP_S
    is_up = False
    while time.monotonic() < until_s and any(run.poll() is None for run in supervisors):
        if not is_up and len(list(world.system.logs.glob("supervisor_*.log"))) > watched:
            is_up, until_s = True, time.monotonic() + _SETTLE_S
        time.sleep(_LOOK_S)
    for run in supervisors:
        if run.poll() is None:
            run.terminate()


def _collect(world: World, seen: RunSeen, runs: "list[subprocess.Popen[str]]", ways: tuple[Way, ...]) -> None:
    for run, way in zip(runs, ways, strict=True):
        try:
            out, err = run.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            seen.forced = True
            with contextlib.suppress(ProcessLookupError):
                run.kill()
            out, err = run.communicate()
        seen.ended.append(EndedProcess(way.value, run.returncode, out, err, parse_report(out)))
    seen.ended_s = time.monotonic()
    seen.bots_left = read_living_bots(world)
