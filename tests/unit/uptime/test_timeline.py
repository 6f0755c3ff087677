"""What was up: from what was seen, and never from what was not."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.journal import ReportedRun, RunRecord, SpanRecord, StepRecord
from orchestration.reports.timeline import (
    OFF,
    Availability,
    Segment,
    Timeline,
    build_bot_timeline,
    build_gateway_timeline,
)

BEGIN = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)
END = BEGIN + timedelta(seconds=1000)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def span(begin_s: float, end_s: float, gateway: str = "ready", bot: str = "running", **changes: str) -> SpanRecord:
    fields = {"run_id": "run-1", "watcher": "supervisor", "bot_key": "", "excuse": "", **changes}
    return SpanRecord(began_at=at(begin_s), seen_until=at(end_s), gateway=gateway, bot=bot, **fields)


def run(
    begin_s: float, end_s: float | None, *, kind: str = "startup", result: str | None = "success", **steps: float
) -> ReportedRun:
    """A run whose steps begin when the one before ended; each ends at the second that is given."""
    records, started_s = [], begin_s
    for name, ended_s in steps.items():
        records.append(
            StepRecord(
                name=name.replace("_", "."),
                state="",
                started_at=at(started_s),
                ended_at=at(ended_s),
                duration_s=ended_s - started_s,
                status="ok",
                detail="",
            )
        )
        started_s = ended_s
    record = RunRecord(
        run_id=f"run-{begin_s}",
        instance="default",
        kind=kind,
        simulated=False,
        pid=1,
        started_at=at(begin_s),
        ended_at=None if end_s is None else at(end_s),
        duration_s=None,
        result=result,
        exit_code=0,
        failure=None if result != "failure" else "GATEWAY_TIMEOUT",
        fallback=None,
        message="",
        steps=tuple(records),
    )
    return ReportedRun(record=record, birth="b")


def shown(timeline: Timeline) -> list[tuple[str, float, float]]:
    return [
        (one.known.value, (one.begin - BEGIN).total_seconds(), (one.end - BEGIN).total_seconds())
        for one in timeline.segments
    ]


def gateway(*spans: SpanRecord, runs: tuple[ReportedRun, ...] = ()) -> Timeline:
    return build_gateway_timeline(spans, runs, BEGIN, END)


def bot(*spans: SpanRecord, runs: tuple[ReportedRun, ...] = ()) -> Timeline:
    return build_bot_timeline(spans, runs, BEGIN, END)


def test_without_any_evidence_all_is_unknown_and_nothing_is_up() -> None:
    timeline = gateway()
    assert shown(timeline) == [("unknown", 0, 1000)]
    assert timeline.up_ratio is None
    assert timeline.watched_ratio == 0


def test_between_two_spans_it_is_unknown() -> None:
    assert shown(gateway(span(0, 300), span(400, 1000))) == [("up", 0, 300), ("unknown", 300, 400), ("up", 400, 1000)]


def test_what_reaches_beyond_the_period_is_cut() -> None:
    assert shown(gateway(span(-500, 2000))) == [("up", 0, 1000)]


def test_of_two_watchers_the_one_who_saw_worse_counts() -> None:
    monitor = span(0, 1000, watcher="monitor", run_id="monitor")
    seen = gateway(monitor, span(200, 300, "gone"))
    assert shown(seen) == [("up", 0, 200), ("down", 200, 300), ("up", 300, 1000)]


@pytest.mark.parametrize("word", ["engine_gone", "link_down", "gone", "second_factor", "starting", "api_not_ready"])
def test_a_gateway_that_is_not_ready_is_down(word: str) -> None:
    assert shown(gateway(span(0, 1000, word))) == [("down", 0, 1000)]


def test_in_a_window_a_gateway_that_is_not_ready_is_excused_and_one_that_is_ready_is_up() -> None:
    seen = gateway(span(0, 500, "gone", excuse="broker_reset"), span(500, 1000, excuse="broker_reset"))
    assert shown(seen) == [("excused", 0, 500), ("up", 500, 1000)]
    assert seen.up_ratio == 1


@pytest.mark.parametrize(
    ("word", "known"), [("running", "up"), ("ended", "down"), ("stopped", "absent"), ("finished", "absent")]
)
def test_a_bot_is_down_only_where_its_end_was_not_meant(word: str, known: str) -> None:
    assert shown(bot(span(0, 1000, bot=word))) == [(known, 0, 1000)]


def test_a_start_says_what_it_made_sure_of_until_its_own_end_and_no_longer() -> None:
    start = run(100, 160, gateway_up=110, gateway_wait=150, bot_start=155)
    assert shown(gateway(runs=(start,))) == [
        ("unknown", 0, 100),
        ("down", 100, 150),
        ("up", 150, 160),
        ("unknown", 160, 1000),
    ]
    assert shown(bot(runs=(start,))) == [
        ("unknown", 0, 150),
        ("down", 150, 155),
        ("up", 155, 160),
        ("unknown", 160, 1000),
    ]


def test_a_start_that_failed_makes_sure_of_nothing() -> None:
    start = run(100, 160, result="failure", gateway_up=110, gateway_wait=150)
    assert Availability.UP not in {one.known for one in gateway(runs=(start,)).segments}


def test_what_a_watcher_saw_goes_before_what_a_step_says() -> None:
    step_by_hand = run(400, 405, kind="gateway.wait", gateway_wait=404)
    assert shown(gateway(span(0, 1000), runs=(step_by_hand,))) == [("up", 0, 1000)]


def test_after_a_shutdown_by_hand_no_watch_is_expected_until_the_next_start() -> None:
    runs = (run(500, 510, kind="shutdown", bot_stop=505), run(800, 801, gateway_wait=800.5, bot_start=801))
    timeline = gateway(span(0, 500), span(801, 1000), runs=runs)
    assert [one.word for one in timeline.segments if one.known is Availability.UNKNOWN] == ["nobody_watched", OFF]
    assert timeline.off_s == 290
    assert timeline.watched_ratio == pytest.approx(700 / 710)
    assert timeline.sum_s(Availability.UP) <= 700


def test_the_segments_have_no_gaps() -> None:
    timeline = gateway(span(10, 20), span(15, 40, "gone"), span(300, 310), runs=(run(100, 160, gateway_wait=150),))
    assert timeline.segments[0].begin == BEGIN
    assert timeline.segments[-1].end == END
    pairs = zip(timeline.segments, timeline.segments[1:], strict=False)
    assert all(one.end == two.begin for one, two in pairs)


@pytest.mark.parametrize(("up_s", "down_s", "ratio"), [(0.05, 10.0, None), (0.0, 59.0, None), (54.0, 6.0, 0.9)])
def test_a_share_of_hardly_any_time_is_none(up_s: float, down_s: float, ratio: float | None) -> None:
    """The first report, seconds after the first start: what was seen is its start, and one look."""
    middle, end = BEGIN + timedelta(seconds=down_s), BEGIN + timedelta(seconds=down_s + up_s)
    segments = (
        Segment(begin=BEGIN, end=middle, known=Availability.DOWN, word="starting"),
        Segment(begin=middle, end=end, known=Availability.UP, word="ready"),
    )
    assert Timeline(segments=segments).up_ratio == ratio
