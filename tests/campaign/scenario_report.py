"""A pytest plugin (`-p tests.campaign.scenario_report`): what came of each scenario's cases, as JSON lines.

What a start-up ended with is read from the journal's file of the case's own system, not from what the case asserts.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path

import pytest

REPORT_VARIABLE = "SCENARIO_REPORT"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write a line for a case that has ended, or was skipped."""
    report = yield
    names = [str(mark.args[0]) for mark in item.iter_markers("scenario")]
    path = os.environ.get(REPORT_VARIABLE, "")
    is_last_word = report.when == "call" or not report.passed
    if path and names and is_last_word:
        line = {
            "scenarios": names,
            "case": item.nodeid,
            "outcome": report.outcome,
            "duration_s": round(report.duration, 1),
            "ends": read_ends(item),
        }
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return report


def read_ends(item: pytest.Item) -> list[str]:
    """How the start-ups of a case ended, in order: exit code and word."""
    system = getattr(item, "funcargs", {}).get("system")
    if system is None:
        return []
    with contextlib.suppress(sqlite3.Error):
        address = f"file:{system.state / 'journal.sqlite3'}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as database:
            query = "SELECT exit_code, failure, fallback FROM runs WHERE kind IN ('startup', 'service') ORDER BY number"
            return [
                " ".join(part for part in ("killed" if code is None else str(code), failure or fallback or "") if part)
                for code, failure, fallback in database.execute(query)
            ]
    return []
