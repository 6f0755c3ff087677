"""The campaign's judgement and pages: what breaks a rule is said, and a scenario without a case is a failure."""

import dataclasses

from tests.campaign.catalogue import SCENARIOS
from tests.campaign.draw import draw_case
from tests.campaign.page import render_page
from tests.campaign.result import CaseResult
from tests.campaign.scenarios import find_problems
from tests.campaign.scenarios import render_page as render_scenarios

GOOD = CaseResult(
    draw_case(1, 3, engine_share=0), outcome="0", again="0", was_injected=True, duration_s=2.0, commit="abc"
)


def test_the_page_counts_runs_and_names_what_broke_a_rule_with_the_command_that_repeats_it() -> None:
    bad = dataclasses.replace(GOOD, violations=("2: two bots",))
    page = render_page([GOOD, bad], command="the command", machine="a machine")
    assert "    the command\n" in page
    assert "abc (2 runs)" in page
    assert "**Runs that broke a rule: 1.**" in page
    assert "rule 2: two bots" in page
    assert "python -m tests.campaign --seed 1 --only 3" in page


def test_a_scenario_without_a_case_and_a_case_that_did_not_pass_are_problems() -> None:
    cases: list[dict[str, object]] = [
        {
            "scenarios": [name],
            "case": f"tests/x.py::test_{number}",
            "outcome": "passed",
            "ends": ["0"],
            "duration_s": 1.0,
        }
        for number, name in enumerate(SCENARIOS)
    ]
    assert find_problems(cases) == []
    cases[0]["outcome"] = "skipped"
    missing = cases.pop()
    assert len(find_problems(cases)) == 2
    page = render_scenarios(cases, commit="abc", machine="a machine")
    assert "**missing**" in page
    assert f"{missing['case']}" not in page
