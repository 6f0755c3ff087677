"""The campaign's result as a page: what was run, what came of it, and which rules were broken. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestration.soak.catalogue import CATALOGUE, Fault
from tests.campaign.draw import Runtime, Start, Way
from tests.campaign.result import CaseResult

_HEAD = """\
# The fault campaign

Seeded runs on real processes, each in an isolated instance. Each run begins in some initial state, a fault is injected
at some instant, and then the system is started again without the fault. An observer that never asks the program judges
both starts by the five safety rules of the README, with the [criteria of the soak run](soak.md#the-verdict): it reads
what the bots themselves wrote down, the gateway's own log, the process table, the database file, and what arrived at
the alert channel. The command below generates this page; the code is in `tests/campaign`.
"""

_OUTCOMES = """\
## Outcomes

Exit codes with their failure or fallback words, and how often; a comma separates two processes. A negative code is
a signal that the campaign sent before the program had begun a run, or one that cannot be caught.
"""


def render_page(results: Sequence[CaseResult], *, command: str, machine: str) -> str:
    """The page, in Markdown."""
    staged = [one for one in results if not one.problem]
    injected = sum(one.was_injected for one in staged)
    broken = [one for one in staged if one.violations]
    commits = " and ".join(f"{name} ({count} runs)" for name, count in Counter(one.commit for one in results).items())
    durations = sorted(one.duration_s for one in staged) or [0.0]
    counted = (
        f"Commit {commits}. {machine}. {len(results)} runs, {injected} of which lasted until their fault was injected, "
        f"{len(results) - len(staged)} of which could not be staged. "
        f"A run took {durations[len(durations) // 2]:.1f} s (median), {durations[-1]:.1f} s at most."
    )
    parts = [
        _HEAD,
        f"    {command}\n",
        f"{counted}\n",
        f"**Runs that broke a rule: {len(broken)}.**\n",
        _list_violations(broken),
        "## How it was started, and who ran the gateway\n",
        _table("way", list(Way), list(Runtime), [(one.case.way, one.case.runtime) for one in staged]),
        "## Faults and initial states\n",
        "The numbers are runs.\n",
        _table("fault", list(Fault), list(Start), [(one.case.fault, one.case.start) for one in staged]),
        _OUTCOMES,
        _render_outcomes(staged),
    ]
    return "\n".join(part for part in parts if part)


def _table(head: str, rows: Sequence[str], columns: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    counts = Counter(pairs)
    lines = [f"| {head} | {' | '.join(columns)} | all |", "|---" * (len(columns) + 2) + "|"]
    for row in rows:
        cells = [counts[row, column] for column in columns]
        lines.append(f"| {row} | {' | '.join(str(cell or '') for cell in cells)} | {sum(cells)} |")
    return "\n".join(lines) + "\n"


def _render_outcomes(results: Sequence[CaseResult]) -> str:
    lines = ["| fault | the run | the next one, without the fault |", "|---|---|---|"]
    for fault in Fault:
        mine = [one for one in results if one.case.fault is fault]
        outcomes, next_ones = _count(one.outcome for one in mine), _count(one.again for one in mine)
        lines.append(f"| {fault}: {CATALOGUE[fault].about} | {outcomes} | {next_ones} |")
    return "\n".join(lines) + "\n"


def _count(outcomes: Iterable[str]) -> str:
    return "; ".join(f"{outcome} ×{count}" for outcome, count in Counter(outcomes).most_common())  # noqa: RUF001 - times


def _list_violations(broken: Sequence[CaseResult]) -> str:
    lines = []
    for one in broken:
        lines += [f"- {one.case}: {one.outcome}; then {one.again}"]
        lines += [f"  - rule {text}" for text in one.violations] + [f"  - `{one.case.repeat}`"]
    return "\n".join(lines) + "\n" if lines else ""
