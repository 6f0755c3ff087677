"""Incidents, their alerts and recoveries, and the verdict, from a journal."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.journal import FULL_LOGIN_SEEN, AlertDelivery, Evidence, JournalReader, ReportedEvent
from orchestration.reports import IncidentOutcome, Limits, PeriodReport, build_period_report
from orchestration.reports.document import build_document
from orchestration.reports.period_report import clean_period_report, parse_since
from orchestration.reports.verdict import floor_percent
from orchestration.settings.week_time import find_session_end
from tests.report_scene import BEGIN, END, HOSTILE
from tests.unit.uptime.test_timeline import run, span


@pytest.fixture(scope="module")
def evidence(story: Path) -> Evidence:
    reader = JournalReader(story)
    found = reader.read_evidence(BEGIN)
    assert reader.problem is None
    return found


def judge(evidence: Evidence, limits: Limits | None = None) -> PeriodReport:
    return build_period_report(
        evidence,
        instance="default",
        since=BEGIN,
        until=END,
        made_at=END,
        limits=limits or Limits(),
    )


def unmet(report: PeriodReport) -> list[str]:
    assert report.verdict is not None
    return [one.name for one in report.verdict.criteria if not one.is_met]


def test_two_good_days_pass(evidence: Evidence) -> None:
    report = judge(evidence)
    assert unmet(report) == []
    assert report.verdict is not None
    assert report.verdict.is_passed


def test_each_incident_has_its_cause_its_alert_and_its_recovery(evidence: Evidence) -> None:
    found = [(one.cause, one.outcome, one.is_alerted, bool(one.duration_s)) for one in judge(evidence).incidents]
    assert found == [
        ("gateway_lost", IncidentOutcome.OVER, True, True),
        ("bot_ended", IncidentOutcome.CLEARED_BY_START, True, True),
        ("disk_low", IncidentOutcome.OVER, True, True),
        ("gateway_lost", IncidentOutcome.OVER, True, True),
    ]
    lost = judge(evidence).incidents[0]
    assert lost.actions == ("Gateway restart attempted",)
    assert lost.alert is not None
    assert lost.alert.count == 3


def _with_delivery(delivery: AlertDelivery, *, summary: bool = False) -> Callable[[Evidence], Evidence]:
    def change(evidence: Evidence) -> Evidence:
        alerts = tuple(
            replace(one, delivery=delivery, delivered_at=None) if one.incident else one for one in evidence.alerts
        )
        if summary:
            alerts += (replace(evidence.alerts[-1], incident="", is_summary=True, at=END, delivered_at=END),)
        return replace(evidence, alerts=alerts)

    return change


def _without(kind: str, stage: str) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(
        evidence,
        events=tuple(one for one in evidence.events if not (one.kind == kind and f'"{stage}"' in one.detail_json)),
    )


def _failing_starts(evidence: Evidence) -> Evidence:
    first = evidence.runs[0]
    failed = [
        replace(
            first,
            record=replace(
                first.record,
                run_id=f"failed-{number}",
                result="failure",
                failure="GATEWAY_TIMEOUT",
                started_at=BEGIN + timedelta(minutes=number),
                ended_at=BEGIN + timedelta(minutes=number + 1),
            ),
        )
        for number in range(4)
    ]
    return replace(evidence, runs=(*failed, *evidence.runs))


def _unvalidated(evidence: Evidence) -> Evidence:
    first, *others = evidence.runs
    steps = tuple(replace(one, status="fail") if one.name == "gateway.wait" else one for one in first.record.steps)
    return replace(evidence, runs=(replace(first, record=replace(first.record, steps=steps)), *others))


def _two_bots(evidence: Evidence) -> Evidence:
    other = replace(evidence.spans[0], run_id="another", bot_key="2:b")
    return replace(evidence, spans=(*evidence.spans, other))


def _seven_restarts(evidence: Evidence) -> Evidence:
    acted = next(one for one in evidence.events if '"acted"' in one.detail_json)
    return replace(
        evidence,
        events=(*evidence.events, *(replace(acted, at=acted.at + timedelta(hours=one)) for one in range(7))),
    )


def _open_run(evidence: Evidence) -> Evidence:
    last = evidence.runs[-1]
    return replace(evidence, runs=(*evidence.runs[:-1], replace(last, record=replace(last.record, result=None))))


def _gateway_down(evidence: Evidence) -> Evidence:
    longest = max(evidence.spans, key=lambda one: one.seen_until - one.began_at)
    return replace(
        evidence, spans=tuple(replace(one, gateway="gone") if one is longest else one for one in evidence.spans)
    )


def _bot_down(evidence: Evidence) -> Evidence:
    longest = max(evidence.spans, key=lambda one: one.seen_until - one.began_at)
    return replace(
        evidence, spans=tuple(replace(one, bot="ended") if one is longest else one for one in evidence.spans)
    )


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (_with_delivery(AlertDelivery.PENDING), ["told"]),
        (_with_delivery(AlertDelivery.LOGGED), ["told"]),
        (_with_delivery(AlertDelivery.FAILED), ["told"]),
        (_with_delivery(AlertDelivery.SUMMARISED), ["told"]),
        (_with_delivery(AlertDelivery.SUMMARISED, summary=True), []),
        (lambda evidence: replace(evidence, alerts=()), ["told"]),
        (_without("gateway_lost", "over"), ["recovered"]),
        (_without("disk_low", "over"), []),
        (_failing_starts, ["told", "failures"]),
        (_unvalidated, ["validated"]),
        (_two_bots, ["one_bot"]),
        (_seven_restarts, ["restarts"]),
        (_open_run, ["recovered", "known_ends"]),
        (_gateway_down, ["gateway_up"]),
        (_bot_down, ["bot_up"]),
        (lambda evidence: replace(evidence, is_cut=True), ["whole"]),
        (lambda _: Evidence(), ["watched", "gateway_up", "bot_up"]),
    ],
)
def test_each_criterion_fails_for_its_own_reason(
    evidence: Evidence, change: Callable[[Evidence], Evidence], names: list[str]
) -> None:
    assert unmet(judge(change(evidence))) == names


def test_unwatched_time_fails_the_usual_limits(evidence: Evidence) -> None:
    wide = replace(
        evidence,
        spans=tuple(one for one in evidence.spans if one.began_at > BEGIN + timedelta(hours=12)),
    )
    assert "watched" in unmet(judge(wide, Limits()))


def test_a_run_without_an_end_whose_process_lives_is_at_work(evidence: Evidence) -> None:
    report = build_period_report(
        _open_run(evidence),
        instance="default",
        since=BEGIN,
        until=END,
        made_at=END,
        alive=frozenset({evidence.runs[-1].record.run_id}),
        limits=Limits(),
    )
    assert "known_ends" not in unmet(report)


def test_a_watch_that_was_killed_is_an_incident_without_an_alert(evidence: Evidence) -> None:
    killed = replace(
        evidence,
        events=tuple(one for one in evidence.events if one.kind != "watch_ended"),
    )
    lost = [one for one in judge(killed).incidents if one.cause == "watch_lost"]
    assert [(one.can_be_alerted, one.outcome) for one in lost] == [(False, IncidentOutcome.CLEARED_BY_START)]
    assert "told" not in unmet(judge(killed))


def test_an_event_that_cannot_be_read_is_passed_over(evidence: Evidence) -> None:
    odd = [
        ReportedEvent(run_id="x", at=BEGIN, kind=kind, detail_json=text)
        for kind in ("gateway_lost", "watch_began")
        for text in ("not JSON", "[]", '"text"', "{}")
    ]
    assert len(judge(replace(evidence, events=(*odd, *evidence.events))).incidents) == 4


@pytest.mark.parametrize(
    ("logins", "newer"),
    [
        ([], None),
        ([BEGIN - timedelta(days=1)], True),
        ([BEGIN - timedelta(days=30), BEGIN - timedelta(days=20)], False),
    ],
)
def test_the_last_full_login_is_reported_and_whether_it_is_newer_than_sunday(
    evidence: Evidence, logins: list[datetime], *, newer: bool | None
) -> None:
    events = [
        ReportedEvent(
            run_id="x", at=BEGIN + timedelta(minutes=number), kind=FULL_LOGIN_SEEN, detail_json=json.dumps({"at": text})
        )
        for number, text in enumerate([*(at.isoformat() for at in logins), "no time", "2026-11-18T10:00:00"])
    ]
    document = build_document(judge(replace(evidence, events=(*evidence.events, *events))))
    found = document["last_full_login"]
    assert (None if found is None else found["is_newer"]) is newer
    if found is not None:
        assert datetime.fromisoformat(found["at"]) == logins[-1]
        assert datetime.fromisoformat(found["sessions_ended_at"]) == find_session_end(END)


def test_a_failed_start_is_over_when_a_later_one_succeeds() -> None:
    runs = (
        run(0, 100, result="failure", gateway_wait=100),
        run(200, 230, gateway_wait=220, bot_start=230),
    )
    begin = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)
    report = build_period_report(
        Evidence(runs=runs, spans=(span(230, 1000),)),
        instance="default",
        since=begin,
        until=begin + timedelta(seconds=1000),
        made_at=END,
        limits=None,
    )
    assert [(one.cause, one.outcome, one.duration_s) for one in report.incidents] == [
        ("GATEWAY_TIMEOUT", IncidentOutcome.CLEARED_BY_START, 130)
    ]
    assert report.verdict is None


def test_texts_are_cleaned_and_words_are_not(evidence: Evidence) -> None:
    report = clean_period_report(
        judge(evidence), lambda text: text.replace(HOSTILE, "***").replace("gateway_lost", "?")
    )
    document = build_document(report)
    assert document["incidents"][0]["message"].endswith("***")
    assert document["incidents"][0]["cause"] == "gateway_lost"
    assert HOSTILE not in str(document)


def test_a_share_is_never_rounded_up() -> None:
    assert [floor_percent(ratio) for ratio in (0.99, 0.98999999, 1.0, 0.0)] == [99.0, 98.99, 100.0, 0.0]


@pytest.mark.parametrize(
    ("text", "hours"),
    [("48h", 48), ("7d", 168), ("2w", 336), ("90m", 1.5), ("2026-11-20", 8), ("2026-11-20T07:00", 1)],
)
def test_a_period_is_a_length_or_a_beginning(text: str, hours: float) -> None:
    assert END - parse_since(text, now=END) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "48", "h", "0h", "-3h", "tomorrow", "2027-01-01", "9999d", "2020-01-01", "5y"])
def test_a_period_that_is_none_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="--since"):
        parse_since(text, now=END)


def test_the_journal_of_two_days_is_small(story: Path) -> None:
    assert story.stat().st_size < 1_000_000
