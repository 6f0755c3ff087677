"""What a watcher writes down of a look."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.bot.state import BotState
from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.readiness import Sight
from orchestration.journal import Journal, JournalReader, SpanRecord
from orchestration.supervision import Decision, Observation
from orchestration.supervision.recorder import WatchRecorder, name_bot
from tests.fakes.clock import WEDNESDAY_MORNING, FakeClock
from tests.unit.supervision import scene

_QUIET = ApiStatus(state=ApiState.REFUSED, since_s=0.0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock) -> Iterator[Journal]:
    with Journal.open(tmp_path / "journal.sqlite3", clock=clock, log=logging.getLogger("tests")) as opened:
        yield opened


@pytest.fixture
def recorder(journal: Journal, clock: FakeClock) -> WatchRecorder:
    return WatchRecorder(journal, run_id="run-1", watcher="supervisor", interval_s=60.0, clock=clock)


def _spans(journal: Journal) -> tuple[SpanRecord, ...]:
    return JournalReader(journal.path).read_evidence(WEDNESDAY_MORNING).spans


def _look(
    recorder: WatchRecorder, observation: Observation = scene.WELL, sight: Sight = Sight.READY, kept: ApiStatus = _QUIET
) -> None:
    recorder.note(observation, Decision(next_look_s=60.0, sight=sight), kept)


@pytest.mark.parametrize(
    ("bot", "word"),
    [
        (BotState(is_running=True), "running"),
        (BotState(is_running=True, is_stopping=True), "running"),
        (BotState(is_running=False, is_stopping=True, exit_code=0), "stopped"),
        (BotState(is_running=False, exit_code=0), "finished"),
        (BotState(is_running=False, exit_code=3), "ended"),
        (BotState(is_running=False, exit_code=-9), "ended"),
    ],
)
def test_a_bots_end_is_planned_or_it_is_not(bot: BotState, word: str) -> None:
    assert name_bot(bot) == word


def test_an_engine_that_does_not_answer_takes_nothing_from_a_gateway_that_does(
    recorder: WatchRecorder, journal: Journal
) -> None:
    _look(recorder, replace(scene.WELL, engine_reachable=False, gateway=None), Sight.ENGINE_GONE)
    _look(recorder, replace(scene.WELL, engine_reachable=False, gateway=None, api=scene.REFUSED), Sight.ENGINE_GONE)
    assert [one.gateway for one in _spans(journal)] == ["ready", "engine_gone"]


def test_a_window_excuses(recorder: WatchRecorder, journal: Journal) -> None:
    _look(recorder, replace(scene.WELL, in_reset_window=True))
    _look(recorder, replace(scene.WELL, in_restart_window=True))
    assert [one.excuse for one in _spans(journal)] == ["broker_reset", "gateway_restart"]


def test_a_round_trip_is_written_down_once(recorder: WatchRecorder, journal: Journal, clock: FakeClock) -> None:
    kept = ApiStatus(state=ApiState.READY, since_s=0.0, latency_ms=4.0, last_answer_age_s=1.0)
    _look(recorder, kept=kept)
    clock.sleep(10)
    _look(recorder, kept=replace(kept, last_answer_age_s=11.0))  # the same answer, ten seconds older
    clock.sleep(10)
    _look(recorder, kept=replace(kept, last_answer_age_s=1.0, latency_ms=6.0))
    latencies = JournalReader(journal.path).read_evidence(WEDNESDAY_MORNING).latencies
    assert [(one.count, one.least_ms, one.most_ms) for one in latencies] == [(2, 4.0, 6.0)]


def test_a_bot_that_is_stopped_does_not_run_until_the_next_look(
    recorder: WatchRecorder, journal: Journal, clock: FakeClock
) -> None:
    _look(recorder)
    clock.sleep(30)
    recorder.note_bot_stopped()
    clock.sleep(40)
    recorder.end(exit_code=0, ended_by="SIGTERM")
    ended = [(one.bot, (one.seen_until - one.began_at).total_seconds()) for one in _spans(journal)]
    assert ended == [("running", 30), ("stopped", 40)]
    events = JournalReader(journal.path).read_evidence(WEDNESDAY_MORNING).events
    assert [one.kind for one in events] == ["watch_ended"]
