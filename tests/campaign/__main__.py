"""`python -m tests.campaign`: conduct the fault campaign, or every named scenario; `--publish` writes the page.

Exit code 1 if a rule was broken, a run could not be staged, or a scenario has no case or a failed one.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.campaign import scenarios
from tests.campaign.conduct import conduct
from tests.campaign.draw import Case, Runtime, draw_case
from tests.campaign.page import render_page
from tests.campaign.result import CaseResult
from tests.e2e.images import build_simulator_image
from tests.system import PROJECT

PAGE = PROJECT / "docs/reference/campaign.md"
ENGINE_SHARE = 8  # each so manyth run has its gateway in a real container
_JOBS = 3  # most of a run is waiting


def main() -> int:
    """Conduct what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--seed", type=int, default=1, help="decides every run (default: 1)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this run alone")
    parser.add_argument("--jobs", type=int, default=_JOBS, help=f"how many at the same time (default: {_JOBS})")
    parser.add_argument("--no-engine", action="store_true", help="leave out the runs that need a Docker Engine")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write each run there as it ends; go on from there")
    parser.add_argument("--scenarios", action="store_true", help="run every named scenario instead")
    parser.add_argument("--no-host", action="store_true", help="leave out the scenarios that reboot a whole host")
    parser.add_argument("--publish", action="store_true", help="write the result into docs/reference")
    given = parser.parse_args()
    if given.publish and (given.only is not None or given.no_engine):
        parser.error("--publish takes a whole campaign: leave --only and --no-engine out")
    if given.scenarios:
        if given.publish and given.no_host:
            parser.error("--publish takes every scenario: leave --no-host out")
        return scenarios.run(
            commit=describe_commit(),
            machine=describe_machine(),
            publishes=given.publish,
            has_host=not given.no_host,
            keep=given.keep,
        )

    numbers = range(given.runs) if given.only is None else [given.only]
    cases = [draw_case(given.seed, number, engine_share=ENGINE_SHARE) for number in numbers]
    if given.no_engine:
        cases = [case for case in cases if case.runtime is not Runtime.DOCKER]
    machine = describe_machine()
    results = read_kept(given.keep, cases)
    done = {one.case.number for one in results}
    results += conduct_all([one for one in cases if one.number not in done], jobs=given.jobs, keep=given.keep)
    results.sort(key=lambda one: one.case.number)
    if given.publish:
        command = f"python -m tests.campaign --runs {given.runs} --seed {given.seed} --publish"
        PAGE.write_text(render_page(results, command=command, machine=machine), encoding="utf-8")
    broken = sum(bool(one.violations) for one in results)
    unstaged = sum(bool(one.problem) for one in results)
    say(f"{len(results)} runs, {broken} broke a rule, {unstaged} could not be staged")
    return 1 if broken or unstaged else 0


def read_kept(path: Path | None, cases: list[Case]) -> list[CaseResult]:
    """The results of those of these runs that an earlier, interrupted campaign has kept."""
    if path is None or not path.exists():
        return []
    by_number = {(case.seed, case.number): case for case in cases}
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        case = by_number.get((fields.pop("seed"), fields.pop("number")))
        if case is not None:
            kept.append(CaseResult(case, **{**fields, "violations": tuple(fields["violations"])}))
    return kept


def keep_result(path: Path, result: CaseResult) -> None:
    """Write one run down, so that a campaign that is interrupted can go on."""
    fields = {name: value for name, value in vars(result).items() if name != "case"}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"seed": result.case.seed, "number": result.case.number, **fields}) + "\n")


def conduct_all(cases: list[Case], *, jobs: int, keep: Path | None) -> list[CaseResult]:
    """Conduct these runs, some at the same time; show each as it ends."""
    results = []
    commit = describe_commit()
    with (
        _image_for(cases) as image,
        tempfile.TemporaryDirectory(prefix="campaign-") as folder,
        ThreadPoolExecutor(jobs) as pool,
    ):
        pending = [pool.submit(conduct, case, Path(folder) / f"run {case.number}", image=image) for case in cases]
        for done in as_completed(pending):
            results.append(dataclasses.replace(done.result(), commit=commit))
            if keep is not None:
                keep_result(keep, results[-1])
            say(render_result(results[-1]))
    return results


@contextmanager
def _image_for(cases: list[Case]) -> Iterator[str]:
    """The simulator's image, if any of these runs needs it."""
    if not any(case.runtime is Runtime.DOCKER for case in cases):
        yield ""
        return
    tag = f"zero-touch-test/simulator:{uuid.uuid4().hex[:12]}"
    yield build_simulator_image(tag)
    subprocess.run(["docker", "image", "rm", "--force", tag], check=False, capture_output=True, timeout=60)


def render_result(result: CaseResult) -> str:
    """One run in a line; each violation in one more, with the command that repeats the run."""
    mark = "BROKEN" if result.violations else "NOT STAGED" if result.problem else "ok"
    met = "" if result.was_injected else " (not met)"
    outcomes = f"{result.outcome}; then {result.again}"
    lines = [f"{mark} {result.case}{met} -> {outcomes} [{result.duration_s:.1f} s] {result.problem}"]
    lines += [f"    rule {one}" for one in result.violations]
    if result.violations or result.problem:
        lines.append(f"    again: {result.case.repeat}")
    return "\n".join(lines)


def describe_machine() -> str:
    """The machine's size, its load, and the date, in one line."""
    load = f", load {os.getloadavg()[0]:.1f} before it" if hasattr(os, "getloadavg") else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} processors, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}{load}"
    )


def describe_commit() -> str:
    """The commit that is tested, and whether the tree differs from it."""
    argv = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def say(text: str) -> None:
    """Show a line now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
