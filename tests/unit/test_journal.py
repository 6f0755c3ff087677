"""What the journal keeps of a run."""

import contextlib
import logging
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from orchestration.errors import FailureWord, FallbackWord, State
from orchestration.journal import AlertDelivery, Journal, JournalReader
from orchestration.journal.journal import RUNS_KEPT
from orchestration.redaction import Redactor
from tests.fakes.clock import WEDNESDAY_MORNING, FakeClock

_LOG = logging.getLogger("tests.journal")


def _open(folder: Path, clock: FakeClock | None = None) -> Journal:
    return Journal.open(
        folder / "journal.sqlite3", clock=clock or FakeClock(), log=_LOG, redactor=Redactor(["hunter2"])
    )


def _start(journal: Journal, run_id: str = "run-1") -> None:
    journal.start_run(run_id, instance="default", kind="startup", simulated=True, pid=os.getpid())


def test_a_run_is_read_back_as_it_was(tmp_path: Path) -> None:
    clock = FakeClock()
    with _open(tmp_path, clock) as journal:
        _start(journal)
        step = journal.start_step("run-1", "preflight", State.INITIALIZING)
        clock.sleep(1.5)
        clock.jump(-3600)  # the wall clock is set back; durations do not notice
        journal.end_step(step, "ok", "all fine")
        journal.start_step("run-1", "gateway.up", State.GATEWAY_STARTING)
        journal.add_event("run-1", "restart", {"tries": 1})
        journal.add_alert(
            run_id="run-1", severity="info", title="t", body="{}", at=WEDNESDAY_MORNING, channels=["discord"]
        )
        clock.sleep(2)
        journal.end_run("run-1", "partial", 2, None, FallbackWord.GAMEPLAN_STALE, "on the emergency plan")
        run = journal.read_last_run()
    assert run is not None
    assert (run.run_id, run.instance, run.kind, run.simulated, run.pid) == (
        "run-1",
        "default",
        "startup",
        True,
        os.getpid(),
    )
    assert run.started_at == WEDNESDAY_MORNING
    assert run.duration_s == 3.5
    assert (run.result, run.exit_code, run.failure, run.fallback) == ("partial", 2, None, "GAMEPLAN_STALE")
    assert run.message == "on the emergency plan"
    assert [(one.name, one.state, one.status, one.duration_s, one.detail) for one in run.steps] == [
        ("preflight", "initializing", "ok", 1.5, "all fine"),
        ("gateway.up", "gateway_starting", "interrupted", None, ""),
    ]
    assert [(one.kind, one.detail_json) for one in run.events] == [("restart", '{"tries": 1}')]
    assert [(one.title, one.delivery) for one in run.alerts] == [("t", AlertDelivery.PENDING)]
    assert JournalReader(tmp_path / "journal.sqlite3").read_last_run() == run


def test_runs_come_newest_first_and_no_more_than_asked_for(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        for number in range(5):
            _start(journal, f"run-{number}")
        assert [one.run_id for one in journal.read_runs(3)] == ["run-4", "run-3", "run-2"]


def test_no_secret_is_written(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        _start(journal)
        journal.end_step(journal.start_step("run-1", "preflight", "x"), "failed", "login with hunter2 failed")
        journal.add_event("run-1", "login", {"password": "hunter2"})
        journal.add_alert(
            run_id="run-1",
            severity="info",
            title="hunter2",
            body="{}",
            at=WEDNESDAY_MORNING,
            channels=["discord"],
        )
        journal.end_run("run-1", "failure", 1, FailureWord.GATEWAY_LOGIN_FAILED, None, "hunter2")
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"login with" in content
    assert b"hunter2" not in content


def test_a_secret_that_is_a_common_word_leaves_stable_words_alone(tmp_path: Path) -> None:
    redactor = Redactor(["default", "success", "preflight", "info"])
    with Journal.open(tmp_path / "journal.sqlite3", clock=FakeClock(), log=_LOG, redactor=redactor) as journal:
        _start(journal)
        journal.end_step(journal.start_step("run-1", "preflight", "initializing"), "success", "preflight is done")
        journal.end_run("run-1", "success", 0)
        run = journal.read_last_run()
    assert run is not None
    assert (run.instance, run.result) == ("default", "success")
    assert [(one.name, one.status, one.detail) for one in run.steps] == [("preflight", "success", "******** is done")]


def test_text_that_is_no_unicode_is_kept_as_well_as_it_can_be(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        _start(journal)
        journal.end_run("run-1", "failure", 1, None, None, os.fsdecode(b"bad \xff\x00 byte"))
        run = journal.read_last_run()
    assert run is not None
    assert run.message == r"bad \udcff\x00 byte"


def test_the_file_is_private(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        _start(journal)
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir() if path.suffix != ".lock"} == {0}


def test_a_closed_journal_answers_as_an_empty_one(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    _start(journal)
    journal.close()
    journal.close()
    _start(journal, "run-2")
    assert journal.start_step("run-2", "preflight", "initializing") == 0
    journal.end_step(0, "ok")
    assert journal.read_runs() == []
    assert journal.read_pending_alerts() == []
    assert journal.mark_interrupted_runs() == []
    assert not journal.is_usable


def test_a_journal_that_cannot_be_made_says_so_once_and_keeps_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with _open(tmp_path / "state") as journal:
        _start(journal)
        journal.end_run("run-1", "success", 0)
        assert journal.read_last_run() is None
        assert journal.problem is not None
        with journal.hold_sending("discord") as may_send:
            assert may_send
    assert len(caplog.records) == 1


def test_a_step_number_of_a_lost_step_is_ignored(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        journal.end_step(0, "ok")
        journal.end_step(12345, "ok")
        assert journal.problem is None


def test_the_oldest_ended_runs_are_forgotten_but_not_what_waits_to_be_sent(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        _start(journal, "open")
        for number in range(3):
            run_id = f"old-{number}"
            _start(journal, run_id)
            journal.start_step(run_id, "preflight", "initializing")
            for channels in (["discord"], []):
                journal.add_alert(
                    run_id=run_id,
                    severity="info",
                    title="t",
                    body="{}",
                    at=WEDNESDAY_MORNING,
                    channels=channels,
                )
            journal.end_run(run_id, "success", 0)
        for number in range(RUNS_KEPT):
            _start(journal, f"new-{number}")
        kept = {one.run_id for one in journal.read_runs(RUNS_KEPT * 2)}
        assert "open" in kept
        assert not kept & {"old-0", "old-1", "old-2"}
        assert len(kept) == RUNS_KEPT + 1
        assert len(journal.read_pending_alerts()) == 3


def test_a_summary_takes_the_place_of_its_oldest_alert(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        numbers = [
            journal.add_alert(
                run_id="r", severity="info", title=title, body=title, at=WEDNESDAY_MORNING, channels=["discord"]
            )
            for title in "abcd"
        ]
        assert journal.replace_by_summary(
            [one for one in numbers[1:3] if one is not None],
            channel="discord",
            run_id="r",
            severity="info",
            title="sum",
            body="sum",
            at=WEDNESDAY_MORNING,
        )
        assert [one.body for one in journal.read_pending_alerts()] == ["a", "sum", "d"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names its boots for certain")
def test_what_waits_since_an_earlier_boot_may_have_been_sent(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        for run_id in ("run-1", "run-2"):
            _start(journal, run_id)
            journal.add_alert(
                run_id=run_id, severity="info", title="t", body="{}", at=WEDNESDAY_MORNING, channels=["discord"]
            )
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as database, database:
        database.execute("UPDATE runs SET birth = 'another-boot:1234' WHERE run_id = 'run-1'")
    with _open(tmp_path) as journal:
        assert [one.is_unsure for one in journal.read_pending_alerts("discord")] == [True, False]
        assert [one.is_unsure for one in journal.read_pending_alerts()] == [True, False]


def test_a_claim_without_an_outcome_leaves_doubt(tmp_path: Path) -> None:
    with _open(tmp_path) as journal:
        number = journal.add_alert(
            run_id="r", severity="info", title="t", body="{}", at=WEDNESDAY_MORNING, channels=["discord"]
        )
        assert number is not None
        journal.claim_alert(number, "discord", "process 1")
        assert journal.read_pending_alerts()[0].is_unsure
        journal.mark_undelivered(number, "discord", "refused", is_unsure=False)
        assert not journal.read_pending_alerts()[0].is_unsure
        journal.claim_alert(number, "discord", "process 1")
        journal.mark_undelivered(number, "discord", "no answer", is_unsure=True)
        waiting = journal.read_pending_alerts()[0]
        assert (waiting.is_unsure, waiting.tries) == (True, 2)
        journal.mark_delivered(number, "discord")
        assert journal.read_pending_alerts() == []
