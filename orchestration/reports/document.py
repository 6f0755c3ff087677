"""The report as one JSON document. Times are UTC, durations are numbers, what does not apply is null."""

from datetime import datetime
from typing import Any

from orchestration.journal import ReportedAlert, RunRecord
from orchestration.reports.incidents import ReportedIncident
from orchestration.reports.period_report import PeriodReport
from orchestration.reports.timeline import Availability, Timeline
from orchestration.reports.verdict import ReportVerdict
from orchestration.settings.week_time import find_session_end


def build_document(report: PeriodReport) -> dict[str, Any]:
    """Everything that the page shows, for a program."""
    return {
        "instance": report.instance,
        "simulated": report.simulated,
        "since": report.since.isoformat(),
        "until": report.until.isoformat(),
        "made_at": report.made_at.isoformat(),
        "is_cut": report.is_cut,
        "gateway": _build_timeline(report.gateway),
        "bot": _build_timeline(report.bot),
        "starts": [_build_start(run) for run in report.starts],
        "incidents": [_build_incident(one) for one in report.incidents],
        "happenings": [
            {"at": one.at.isoformat(), "kind": one.kind, "title": one.title, "message": one.message}
            for one in report.happenings
        ],
        "last_full_login": None
        if report.full_login_at is None
        else {
            "at": report.full_login_at.isoformat(),
            "sessions_ended_at": find_session_end(report.until).isoformat(),
            "is_newer": report.full_login_at >= find_session_end(report.until),
        },
        "alerts": count_alerts(report.alerts),
        "latency": {
            "count": report.latency.count if report.latency else 0,
            "least_ms": _rounded(report.latency.least_ms if report.latency else None),
            "typical_ms": _rounded(report.latency.typical_ms if report.latency else None),
            "most_ms": _rounded(report.latency.most_ms if report.latency else None),
            "samples": [
                {
                    "at": one.at.isoformat(),
                    "length_s": one.length_s,
                    "count": one.count,
                    "least_ms": _rounded(one.least_ms),
                    "mean_ms": _rounded(one.mean_ms),
                    "most_ms": _rounded(one.most_ms),
                }
                for one in report.latencies
            ],
        },
        "conditions": list(report.conditions),
        "injected": [
            {
                "at": one.at.isoformat(),
                "fault": one.fault,
                "about": one.about,
                "found": one.found,
                "met": one.is_met,
            }
            for one in report.injected
        ],
        "verdict": build_verdict(report.verdict),
    }


def build_verdict(verdict: ReportVerdict | None) -> dict[str, Any] | None:
    """Whether it passed, and by what."""
    if verdict is None:
        return None
    return {
        "passed": verdict.is_passed,
        "criteria": [
            {"name": one.name, "text": one.text, "found": one.found, "met": one.is_met} for one in verdict.criteria
        ],
    }


def count_alerts(alerts: tuple[ReportedAlert, ...]) -> dict[str, int]:
    """How many alerts there are, by what became of them."""
    found = {"all": len(alerts)}
    for alert in alerts:
        found[alert.delivery.value] = found.get(alert.delivery.value, 0) + 1
    return found


def _build_timeline(timeline: Timeline) -> dict[str, Any]:
    ratio, watched = timeline.up_ratio, timeline.watched_ratio
    return {
        "up_ratio": None if ratio is None else round(ratio, 6),
        "watched_ratio": None if watched is None else round(watched, 6),
        **{f"{known.value}_s": round(timeline.sum_s(known), 1) for known in Availability},
        "shut_down_s": round(timeline.off_s, 1),
        "segments": [
            {
                "begin": one.begin.isoformat(),
                "end": one.end.isoformat(),
                "known": one.known.value,
                "word": one.word,
            }
            for one in timeline.segments
        ],
    }


def _build_start(run: RunRecord) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "simulated": run.simulated,
        "started_at": run.started_at.isoformat(),
        "duration_s": run.duration_s,
        "result": run.result,
        "exit_code": run.exit_code,
        "failure": run.failure,
        "fallback": run.fallback,
        "message": run.message,
        "phases": [
            {"name": step.name, "status": step.status, "duration_s": step.duration_s, "detail": step.detail}
            for step in run.steps
        ],
    }


def _build_incident(incident: ReportedIncident) -> dict[str, Any]:
    alert = incident.alert
    return {
        "name": incident.name,
        "run_id": incident.run_id,
        "cause": incident.cause,
        "severity": incident.severity,
        "title": incident.title,
        "message": incident.message,
        "opened_at": _iso(incident.opened_at),
        "over_at": _iso(incident.over_at),
        "duration_s": _rounded(incident.duration_s),
        "outcome": incident.outcome.value,
        "actions": list(incident.actions),
        "alert": None
        if alert is None
        else {
            "at": alert.at.isoformat(),
            "delivery": alert.delivery.value,
            "delivered_at": _iso(alert.delivered_at),
            "note": alert.note,
            "count": alert.count,
        },
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
