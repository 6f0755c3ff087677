"""How often a boot service may fail."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.errors import FailureWord
from orchestration.hostservice import attempts
from orchestration.hostservice.attempts import NONE, Attempts, CountedFailure, count_failure
from orchestration.settings import Settings
from orchestration.state_dir import attempts_path

_NOW = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)
_COUNTED = (FailureWord.GATEWAY_TIMEOUT, FailureWord.BOT_START_FAILED, FailureWord.DOCKER_UNAVAILABLE, None)


def count(*failures: tuple[float, FailureWord | None], begin: Attempts = NONE) -> tuple[Attempts, CountedFailure]:
    """Count failures at these minutes; what is on record and what follows from the last one."""
    record, outcome = begin, CountedFailure(gives_up=False)
    for minute, word in failures:
        now = _NOW + timedelta(minutes=minute)
        record, outcome = count_failure(record, word, now=now, most=3, window_s=3600.0)
    return record, outcome


@pytest.mark.parametrize("word", _COUNTED)
def test_the_third_failure_within_the_hour_ends_the_tries_and_is_said_once(word: FailureWord | None) -> None:
    record, outcome = count((0, word), (20, word))
    assert not outcome.gives_up
    assert outcome.failures == 2
    record, outcome = count((59, word), begin=record)
    assert outcome.gives_up
    assert outcome.is_news
    assert "3 failures within 60 minutes" in outcome.reason
    assert record.has_given_up
    _, again = count((61, word), begin=record)
    assert (again.gives_up, again.is_news, again.reason) == (True, False, outcome.reason)
    _, much_later = count((10_000, word), begin=record)
    assert much_later.gives_up, "only a start by hand begins again"


def test_failures_that_lie_an_hour_apart_never_end_it() -> None:
    record, outcome = count(*((minute, None) for minute in range(0, 6000, 30)))
    assert not outcome.gives_up
    assert len(record.failed_at) == 2
    _, outcome = count((5971, None), begin=record)
    assert outcome.gives_up


def test_a_failure_counts_for_exactly_the_window() -> None:
    assert not count((0, None), (30, None), (60, None))[1].gives_up
    assert count((0, None), (30, None), (59.99, None))[1].gives_up


@pytest.mark.parametrize(
    "word", [FailureWord.CONFIG_INVALID, FailureWord.GATEWAY_LOGIN_FAILED, FailureWord.GATEWAY_WRONG_ACCOUNT]
)
def test_what_only_a_person_can_mend_ends_it_at_once(word: FailureWord) -> None:
    _, outcome = count((0, word))
    assert outcome.gives_up
    assert outcome.is_news
    assert word in outcome.reason


@pytest.mark.parametrize(
    "word",
    [
        FailureWord.HELD,
        FailureWord.ALREADY_STARTING,
        FailureWord.BOT_ALREADY_RUNNING,
        FailureWord.INTERRUPTED,
        FailureWord.GATEWAY_SECOND_FACTOR,
    ],
)
def test_an_intended_end_and_an_unconfirmed_second_factor_do_not_count(word: FailureWord) -> None:
    record, outcome = count(*((minute, word) for minute in range(20)))
    assert not outcome.gives_up
    assert record == NONE


def test_a_clock_that_was_set_back_neither_keeps_failures_for_ever_nor_forgets_them() -> None:
    record, _ = count((600, None), (601, None))
    record, outcome = count((0, FailureWord.HELD), begin=record)
    assert outcome.failures == 2
    assert not count((61, None), begin=record)[1].gives_up
    assert count((30, None), begin=record)[1].gives_up


def test_a_clock_that_was_set_forward_forgets_what_then_lies_long_ago() -> None:
    record, _ = count((0, None), (1, None))
    assert count((100_000, None), begin=record)[1].failures == 1


def _settings(folder: Path) -> Settings:
    return Settings.from_environ({"STATE_DIR": str(folder)})


def test_the_record_outlives_the_process_and_a_start_by_hand_clears_it(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    for minute in (0, 1):
        now = _NOW + timedelta(minutes=minute)
        assert not attempts.note_failed_start(settings, FailureWord.GATEWAY_TIMEOUT, now=now).gives_up
    outcome = attempts.note_unplanned_end(settings, now=_NOW + timedelta(minutes=2))
    assert outcome.gives_up
    assert attempts.read(tmp_path).given_up == outcome.reason
    assert attempts.clear(tmp_path)
    assert attempts.read(tmp_path) == NONE
    assert not attempts.clear(tmp_path)
    assert not attempts.note_unplanned_end(settings, now=_NOW).gives_up


def test_the_settings_say_how_many_and_how_long(tmp_path: Path) -> None:
    settings = Settings.from_environ(
        {"STATE_DIR": str(tmp_path), "STARTUP_MAX_ATTEMPTS": "2", "STARTUP_ATTEMPT_WINDOW": "60"}
    )
    ends = [attempts.note_unplanned_end(settings, now=_NOW + timedelta(seconds=at_s)).gives_up for at_s in (0, 61, 90)]
    assert ends == [False, False, True]


def test_a_failure_without_a_word_counts_as_one(tmp_path: Path) -> None:
    assert attempts.note_failed_start(_settings(tmp_path), None, now=_NOW).failures == 1


def test_what_was_found_while_it_ran_is_said_once(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    assert attempts.note_given_up(settings, "a wrong account", now=_NOW).is_news
    again = attempts.note_given_up(settings, "another reason", now=_NOW)
    assert (again.gives_up, again.is_news, again.reason) == (True, False, "a wrong account")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"failed_at": 7, "given_up": "", "given_up_at": ""}', b"[" * 100_000,
     b'{"failed_at": ["yesterday"], "given_up": "", "given_up_at": ""}',
     b'{"failed_at": ["2026-11-18T14:00:00"], "given_up": "", "given_up_at": ""}'],
)  # fmt: skip
def test_a_damaged_record_is_none(tmp_path: Path, content: bytes) -> None:
    attempts_path(tmp_path).write_bytes(content)
    assert attempts.read(tmp_path) == NONE
    assert not attempts.note_unplanned_end(_settings(tmp_path), now=_NOW).gives_up


def test_failures_that_cannot_be_counted_end_the_tries(tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file")
    outcome = attempts.note_unplanned_end(_settings(in_the_way), now=_NOW)
    assert outcome.gives_up
    assert outcome.is_news
    assert "cannot be counted" in outcome.reason
