"""`inv report` as a person and as a program meet it."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import SIGTERM, System, end_and_read, system_in, wait_until

pytestmark = pytest.mark.timeout(180)
_PLANTED = "https://discord.example/api/webhooks/1/Planted0Secret9"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with system_in(tmp_path) as made:
        made.use_small_bot("--ready")
        made.use_plan()
        made.environ["MONITOR_INTERVAL"] = "1"
        yield made


def test_a_watched_system_is_seen_up_and_what_was_before_is_unknown(system: System) -> None:
    process = system.begin("--foreground")
    wait_until(lambda: list(system.logs.glob("supervisor_*.log")) or process.poll() is not None, "supervisor")
    wait_until(
        lambda: system.inv("report", "--since", "1m", "--json").document["latency"]["count"] >= 2, "two round trips"
    )
    document = system.inv("report", "--since", "1h", "--json").document
    assert document["gateway"]["up_s"] > 0
    assert document["bot"]["up_s"] > 0
    assert document["gateway"]["segments"][0]["known"] == "unknown"
    assert document["starts"][0]["phases"][2]["name"] == "gateway.wait"
    assert document["verdict"]["passed"] is False  # most of that hour was not watched
    unmet = {one["name"] for one in document["verdict"]["criteria"] if not one["met"]}
    assert "watched" in unmet
    assert not {"told", "recovered", "known_ends", "validated", "one_bot"} & unmet
    end_and_read(process, SIGTERM)
    after = system.inv("report", "--json").document
    # It was stopped in order, which may have taken a few milliseconds only.
    assert ("absent", "stopped") in {(one["known"], one["word"]) for one in after["bot"]["segments"]}
    assert after["verdict"] is None


def test_without_a_verdict_it_ends_with_0_and_writes_a_page_and_a_verdict_is_the_exit_code(
    system: System, tmp_path: Path
) -> None:
    system.startup()
    page = tmp_path / "elsewhere" / "page.html"
    judged = system.inv("report", "--since", "2d", "--output", str(page))
    assert judged.code == 1
    assert "verdict: failed" in judged.out
    assert "Failed" in page.read_text(encoding="utf-8")
    assert not (system.state / "report.html").exists()

    ended = system.inv("report")
    assert ended.code == 0, ended.err
    assert "No verdict was asked for" in (system.state / "report.html").read_text(encoding="utf-8")
    assert "No verdict was asked for" in ended.out

    unwritten = system.inv("report", "--output", "/proc/page.html")
    assert unwritten.code == 1
    assert "cannot be written" in unwritten.err


def test_an_empty_journal_makes_a_report(system: System) -> None:
    assert system.inv("report", "--json").code == 0
    ended = system.inv("report", "--since", "48h", "--json")
    assert (ended.code, ended.document["verdict"]["passed"]) == (1, False)


@pytest.mark.parametrize("since", ["yesterday", "0h", "2999-01-01", "900d"])
def test_a_period_that_is_none_is_refused(system: System, since: str) -> None:
    ended = system.inv("report", "--since", since, "--json")
    assert ended.code == 1
    assert since in ended.document["message"]


def test_a_journal_that_cannot_be_read_is_said(system: System) -> None:
    system.state.mkdir(parents=True)
    (system.state / "journal.sqlite3").write_bytes(b"this is no database, and long enough to be seen as none" * 40)
    ended = system.inv("report", "--since", "1h", "--json")
    assert ended.code == 1
    assert "cannot be read" in ended.document["message"]


def test_secrets_and_accounts_are_masked_wherever_they_stand(system: System) -> None:
    system.environ["TWS_PASSWORD"] = "hunter2-and-more"  # noqa: S105 - planted to be looked for
    system.startup()
    detail = {
        "stage": "opened",
        "incident": "wrong_account-1",
        "severity": "critical",
        "title": "Account DU7654321",
        "message": f"hunter2-and-more {_PLANTED} U1234567",
    }
    with sqlite3.connect(system.state / "journal.sqlite3") as connection:
        run_id, at = connection.execute("SELECT run_id, started_at FROM runs").fetchone()
        connection.execute(
            "INSERT INTO events (run_id, at, kind, detail_json) VALUES (?, ?, 'wrong_account', ?)",
            (run_id, at, json.dumps(detail)),
        )
        connection.execute("UPDATE runs SET message = ?", (detail["message"],))
    connection.close()
    out = system.inv("report", "--since", "1h", "--json").out
    system.inv("report")
    page = (system.state / "report.html").read_text(encoding="utf-8")
    for text in (out, page):
        assert "DU****321" in text
        assert "U1****567" in text
        for planted in ("DU7654321", "U1234567", "hunter2-and-more", "Planted0Secret9"):
            assert planted not in text
