"""What a test leaves behind can be sent from xdist's worker, whatever its text."""

import os
from typing import Any

import pytest
from execnet.gateway_base import dumps


def _send(report: pytest.TestReport, config: pytest.Config) -> dict[str, Any]:
    data: dict[str, Any] = config.hook.pytest_report_to_serializable(config=config, report=report)
    dumps(data)  # what xdist does with it, and fails at text that is not UTF-8
    return data


def test_captured_text_that_is_no_unicode_can_be_sent(pytestconfig: pytest.Config) -> None:
    broken = os.fsdecode(b"\xff\xfe")
    report = pytest.TestReport(
        nodeid="a test",
        location=("a file", 1, "a test"),
        keywords={broken: 1},
        outcome="failed",
        longrepr=f"assert {broken!s}",
        when="call",
        sections=[("Captured log call", f"file {broken}, line ä")],
        user_properties=[("name", broken)],
    )
    data = _send(report, pytestconfig)
    assert data["sections"] == [("Captured log call", "file \\udcff\\udcfe, line ä")]
    assert data["longrepr"] == "assert \\udcff\\udcfe"
    assert data["outcome"] == "failed"
