"""Every named scenario, run on a real engine, and the table of what came of it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.campaign.catalogue import SCENARIOS
from tests.campaign.scenario_report import REPORT_VARIABLE
from tests.e2e.images import PROJECT

_ON_HOST = "tests/rackmount/"
PAGE = PROJECT / "docs/reference/scenarios.md"
_HEAD = """\
# The scenarios

Each scenario that the specification wants tested end to end, with its cases and what came of them. The cases run on a
real Docker Engine with the simulator's image in the gateway's container; the reboots on a whole host. This page is
written by the command below, which fails where a scenario has no case, or a case did not pass.

    python -m tests.campaign --scenarios --publish

"Ended with" names the exit codes of the case's start-ups, in order, with their failure or fallback words, as the
journal has them; `killed` was killed. A case whose state folder is gone, or on another host, has none.
"""


def run(*, commit: str, machine: str, publishes: bool, has_host: bool, keep: Path | None) -> int:
    """Run all cases, show the table, and return the exit code.

    Args:
        commit: What is tested.
        machine: Where.
        publishes: Whether the page is written.
        has_host: Whether the cases that reboot a whole host are run too.
        keep: Where each case's outcome is written as it ends. The half that is there already is not run again: the
            cases in containers, or those on a whole host.
    """
    with tempfile.TemporaryDirectory(prefix="scenarios-") as folder:
        path = keep.resolve() if keep is not None else Path(folder) / "report.jsonl"
        kept = [str(case["case"]).startswith(_ON_HOST) for case in read_cases(path)]
        for marker in ("docker", "rackmount") if has_host else ("docker",):
            if (marker == "rackmount") in kept:
                continue
            argv = [sys.executable, "-m", "pytest", "-q", "-p", "tests.campaign.scenario_report"]
            environ = {**os.environ, REPORT_VARIABLE: str(path)}
            subprocess.run([*argv, "-m", f"scenario and {marker}"], cwd=PROJECT, env=environ, check=False)
        cases = read_cases(path)
    page = render_page(cases, commit=commit, machine=machine)
    sys.stdout.write(page)
    if publishes:
        PAGE.write_text(page, encoding="utf-8")
    problems = find_problems(cases)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def read_cases(path: Path) -> list[dict[str, object]]:
    """What the plugin has written down; nothing where it has written nothing."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def find_problems(cases: list[dict[str, object]]) -> list[str]:
    """Which scenarios have no case, and which cases did not pass."""
    covered = {str(name) for case in cases for name in _names(case)}
    found = [f"scenario {name} ({text}) has no case" for name, text in SCENARIOS.items() if name not in covered]
    found += [f"{name} is no scenario" for name in sorted(covered - SCENARIOS.keys())]
    return found + [f"{case['case']}: {case['outcome']}" for case in cases if case["outcome"] != "passed"]


def render_page(cases: list[dict[str, object]], *, commit: str, machine: str) -> str:
    """The page, in Markdown. Pure."""
    passed = sum(case["outcome"] == "passed" for case in cases)
    lines = [
        _HEAD,
        f"Commit {commit}. {machine}. {passed} of {len(cases)} cases passed.",
        "",
        "| scenario | case | outcome | ended with | time |",
        "|---|---|---|---|---|",
    ]
    for name, text in SCENARIOS.items():
        mine = [case for case in cases if name in _names(case)]
        for case in mine:
            test = str(case["case"]).rpartition("::")[2].removeprefix("test_").replace("_", " ")
            ends = case["ends"]
            ended = "; ".join(str(one) for one in ends) if isinstance(ends, list) else ""
            lines.append(f"| {name} {text} | {test} | {case['outcome']} | {ended} | {case['duration_s']} s |")
        if not mine:
            lines.append(f"| {name} {text} | none | **missing** | | |")
    return "\n".join(lines) + "\n"


def _names(case: dict[str, object]) -> list[object]:
    names = case["scenarios"]
    return names if isinstance(names, list) else []
