"""What the journal keeps of a watch: spans without unseen gaps, latencies that do not grow for ever."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.journal import Evidence, Journal, JournalReader, Sighting
from orchestration.journal.watchstore import MINUTES_KEPT, WATCH_KEPT
from tests.fakes.clock import WEDNESDAY_MORNING, FakeClock

_LOG = logging.getLogger("tests.journal")
_GAP_S = 185.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock) -> Iterator[Journal]:
    with Journal.open(tmp_path / "journal.sqlite3", clock=clock, log=_LOG) as opened:
        yield opened


def _see(journal: Journal, **changes: Any) -> None:  # noqa: ANN401 - any field of a sighting
    fields = {"run_id": "run-1", "watcher": "supervisor", "gateway": "ready", "bot": "running", **changes}
    journal.note_sighting(Sighting(**fields), most_gap_s=_GAP_S)


def _read(journal: Journal, before: timedelta = timedelta(hours=1)) -> Evidence:
    return JournalReader(journal.path).read_evidence(WEDNESDAY_MORNING - before)


def _spans(journal: Journal) -> list[tuple[str, str, float, float]]:
    """Gateway, bot, begin and end in seconds since the beginning."""
    return [
        (
            one.gateway,
            one.bot,
            (one.began_at - WEDNESDAY_MORNING).total_seconds(),
            (one.seen_until - WEDNESDAY_MORNING).total_seconds(),
        )
        for one in _read(journal).spans
    ]


def test_looks_that_see_the_same_are_one_span(journal: Journal, clock: FakeClock) -> None:
    for _ in range(100):
        _see(journal)
        clock.sleep(60)
    assert _spans(journal) == [("ready", "running", 0, 99 * 60)]


def test_a_change_ends_a_span_and_begins_the_next(journal: Journal, clock: FakeClock) -> None:
    _see(journal)
    clock.sleep(60)
    _see(journal, gateway="gone")
    clock.sleep(10)
    _see(journal)
    assert _spans(journal) == [("ready", "running", 0, 60), ("gone", "running", 60, 70), ("ready", "running", 70, 70)]


def test_time_without_a_look_belongs_to_no_span(journal: Journal, clock: FakeClock) -> None:
    _see(journal)
    clock.sleep(_GAP_S + 1)
    _see(journal)
    assert _spans(journal) == [("ready", "running", 0, 0), ("ready", "running", _GAP_S + 1, _GAP_S + 1)]


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_clock_that_jumped_stretches_no_span(journal: Journal, clock: FakeClock, jump_s: float) -> None:
    _see(journal)
    clock.sleep(60)
    _see(journal)
    clock.jump(jump_s)
    clock.sleep(60)
    _see(journal)
    assert sorted(_spans(journal)) == sorted(
        [("ready", "running", 0, 60), ("ready", "running", 120 + jump_s, 120 + jump_s)]
    )


def test_another_bot_is_another_span(journal: Journal, clock: FakeClock) -> None:
    _see(journal, bot_key="1:a")
    clock.sleep(1)
    _see(journal, bot_key="2:b")
    assert [one.bot_key for one in _read(journal).spans] == ["1:a", "2:b"]


def test_latencies_are_kept_by_the_minute(journal: Journal, clock: FakeClock) -> None:
    for latency_ms in (4.0, 2.0, None, 9.0):
        _see(journal, latency_ms=latency_ms)
        clock.sleep(15)
    _see(journal, latency_ms=1.0)
    kept = [(one.count, one.least_ms, one.mean_ms, one.most_ms) for one in _read(journal).latencies]
    assert kept == [(3, 2.0, 5.0, 9.0), (1, 1.0, 1.0, 1.0)]


def test_after_two_weeks_minutes_become_hours(journal: Journal, clock: FakeClock) -> None:
    for latency_ms in (1.0, 2.0, 6.0):
        _see(journal, latency_ms=latency_ms)
        clock.sleep(60)
    clock.sleep((MINUTES_KEPT + timedelta(hours=2)).total_seconds())
    _see(journal, latency_ms=7.0)
    kept = [(one.length_s, one.count, one.least_ms, one.mean_ms, one.most_ms) for one in _read(journal).latencies]
    assert kept == [(3600, 3, 1.0, 3.0, 6.0), (60, 1, 7.0, 7.0, 7.0)]
    clock.sleep(7 * 3600)
    _see(journal)  # thinned again: the hour stays as it is
    assert _read(journal).latencies[0].count == 3


def test_what_is_very_old_is_forgotten(journal: Journal, clock: FakeClock) -> None:
    _see(journal, latency_ms=1.0)
    journal.add_event("run-1", "gateway_lost")
    clock.sleep((WATCH_KEPT + timedelta(hours=1)).total_seconds())
    _see(journal)
    evidence = _read(journal)
    assert (len(evidence.spans), evidence.events, evidence.latencies) == (1, (), ())


def test_a_file_of_an_older_version_has_no_evidence(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "journal.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    reader = JournalReader(path)
    assert reader.read_evidence(WEDNESDAY_MORNING) == Evidence()
    assert reader.problem is None


def test_an_alert_knows_its_incident_even_beside_one_that_cannot_be_read(journal: Journal) -> None:
    for body in ('{"cause": "gateway_lost", "incident": "gateway_lost-1"}', "not JSON"):
        journal.add_alert(
            run_id="run-1", severity="error", title="t", body=body, at=WEDNESDAY_MORNING, channels=["discord"]
        )
    alerts = _read(journal).alerts
    assert [(one.cause, one.incident, one.is_summary) for one in alerts] == [
        ("gateway_lost", "gateway_lost-1", False),
        ("", "", False),
    ]


def test_of_a_run_with_very_many_events_the_newest_are_read(journal: Journal, clock: FakeClock) -> None:
    journal.start_run("run-1", instance="default", kind="service", simulated=False, pid=1)
    for number in range(205):
        journal.add_event("run-1", "x", {"number": number})
        clock.sleep(1)
    run = journal.read_last_run()
    assert run is not None
    assert (len(run.events), run.events[-1].detail_json, run.omitted) == (200, '{"number": 204}', 5)
