"""Incidents: cause, alert, what was done, recovery. From the watch's notices and from starts that failed. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestration.errors import is_benign
from orchestration.journal import FULL_LOGIN_SEEN, AlertDelivery, Evidence, ReportedAlert, ReportedEvent, RunRecord

_GRAVE = frozenset({"error", "critical"})
_UP = frozenset({"success", "partial"})
WATCH_LOST = "watch_lost"


class IncidentOutcome(StrEnum):
    """How an incident ended."""

    OVER = "over"
    """The watch saw that it was over."""
    CLEARED_BY_START = "started_anew"
    """Its watch ended with it, and a later start made sure of everything again."""
    OPEN = "open"
    """Its end was not observed."""


@dataclass(frozen=True, kw_only=True)
class IncidentAlert:
    """The alert about an incident.

    Attributes:
        at: When it was written.
        delivery: What became of it, in the journal's word.
        delivered_at: When the channel took it, or the summary that covers it; None while it did not.
        note: Why it was not delivered.
        count: How many alerts there were about the incident, its end included.
    """

    at: datetime
    delivery: AlertDelivery
    delivered_at: datetime | None
    note: str
    count: int


@dataclass(frozen=True, kw_only=True)
class ReportedIncident:
    """Something that was wrong.

    Attributes:
        name: Its name, unique within its run.
        run_id: The run that it belongs to.
        cause: The stable word.
        title: What it is in a few words.
        message: One or two sentences.
        severity: The severity's word.
        opened_at: When it was alerted; None if that was before what is read.
        over_at: When it was over; None if that was not observed.
        outcome: How it ended.
        actions: What was done about it, in order.
        alert: The alert about it; None where there is none.
        can_be_alerted: Whether anything was left to alert about it.
    """

    name: str
    run_id: str
    cause: str
    title: str
    message: str
    severity: str
    opened_at: datetime | None
    over_at: datetime | None
    outcome: IncidentOutcome
    actions: tuple[str, ...] = ()
    alert: IncidentAlert | None = None
    can_be_alerted: bool = True

    @property
    def is_grave(self) -> bool:
        """Whether the operator had to know."""
        return self.severity in _GRAVE

    @property
    def is_alerted(self) -> bool:
        """Whether an alert about it reached the channel."""
        return self.alert is not None and self.alert.delivered_at is not None

    @property
    def duration_s(self) -> float | None:
        """From its opening to its end."""
        if self.opened_at is None or self.over_at is None:
            return None
        return max(0.0, (self.over_at - self.opened_at).total_seconds())


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something that happened and is no incident: a clock that jumped, a bot that has finished."""

    at: datetime
    kind: str
    title: str
    message: str


def find_incidents(evidence: Evidence, since: datetime, until: datetime) -> tuple[ReportedIncident, ...]:
    """All that were open at some instant of the period, in order of their beginning."""
    ends = _find_watch_ends(evidence)
    ups = [run.record for run in evidence.runs if _brought_up(run.record)]
    found = [
        *_read_watched(evidence, ends, ups),
        *_read_failed_starts(evidence, ups),
        *_read_lost_watches(evidence, ends),
    ]
    in_period = [
        one
        for one in found
        if (one.over_at is None or one.over_at >= since) and (one.opened_at is None or one.opened_at <= until)
    ]
    return tuple(sorted(in_period, key=lambda one: one.opened_at or since))


def find_happenings(evidence: Evidence, since: datetime, until: datetime) -> tuple[Happening, ...]:
    """What happened, and is over."""
    return tuple(
        Happening(at=event.at, kind=event.kind, title=detail["title"], message=detail["message"])
        for event, detail in _read_notices(one for one in evidence.events if '"event"' in one.detail_json)
        if detail["stage"] == "event" and since <= event.at <= until
    )


def find_full_login(evidence: Evidence, until: datetime) -> datetime | None:
    """The gateway's last full login that a watcher had seen by an instant."""
    for event in reversed(evidence.events):
        if event.kind != FULL_LOGIN_SEEN or event.at > until:
            continue
        try:
            at = datetime.fromisoformat(str(_read_detail(event).get("at")))
        except ValueError:
            continue
        if at.tzinfo is not None:
            return at
    return None


def _brought_up(run: RunRecord) -> bool:
    started = any(step.name == "bot.start" and step.status in {"ok", "warn"} for step in run.steps)
    return run.result in _UP and started and run.ended_at is not None


def _read_notices(events: Iterable[ReportedEvent]) -> Iterable[tuple[ReportedEvent, dict[str, str]]]:
    """The notices among the events, with what they say."""
    for event in events:
        detail = _read_detail(event)
        if "stage" in detail and "incident" in detail:
            names = ("stage", "incident", "severity", "title", "message")
            yield event, {name: str(detail.get(name, "")) for name in names}


def _read_detail(event: ReportedEvent) -> dict[str, Any]:
    try:
        detail = json.loads(event.detail_json)
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}


def _read_watched(
    evidence: Evidence, ends: Mapping[str, datetime], ups: Sequence[RunRecord]
) -> Iterable[ReportedIncident]:
    alerts = _group_alerts(evidence.alerts)
    notices: dict[tuple[str, str], list[tuple[ReportedEvent, dict[str, str]]]] = {}
    for event, detail in _read_notices(evidence.events):
        if detail["stage"] != "event":
            notices.setdefault((event.run_id, detail["incident"]), []).append((event, detail))
    for (run_id, name), said in notices.items():
        opened = next((event for event, detail in said if detail["stage"] == "opened"), None)
        over = next((event for event, detail in said if detail["stage"] == "over"), None)
        first, words = next(((one, two) for one, two in said if two["stage"] == "opened"), said[0])
        over_at, outcome = (
            (over.at, IncidentOutcome.OVER) if over is not None else _find_new_start(run_id, first.at, ends, ups)
        )
        yield ReportedIncident(
            name=name,
            run_id=run_id,
            cause=first.kind,
            title=words["title"],
            message=words["message"],
            severity=words["severity"],
            opened_at=None if opened is None else opened.at,
            over_at=over_at,
            outcome=outcome,
            actions=tuple(detail["title"] for _, detail in said if detail["stage"] in {"acted", "worse"}),
            alert=_build_alert(alerts.get((run_id, name), ()), evidence.alerts),
        )


def _find_new_start(
    run_id: str, opened_at: datetime, ends: Mapping[str, datetime], ups: Sequence[RunRecord]
) -> tuple[datetime | None, IncidentOutcome]:
    """Whether its watch has ended, and a start since then made sure of everything again."""
    if run_id not in ends:
        return None, IncidentOutcome.OPEN
    later = [run.ended_at for run in ups if run.ended_at is not None and run.started_at >= opened_at]
    return (min(later), IncidentOutcome.CLEARED_BY_START) if later else (None, IncidentOutcome.OPEN)


def _read_failed_starts(evidence: Evidence, ups: Sequence[RunRecord]) -> Iterable[ReportedIncident]:
    for reported in evidence.runs:
        run = reported.record
        if run.failure is None or is_benign(run.failure):
            continue
        opened_at = run.ended_at or run.started_at
        later = [one.ended_at for one in ups if one.ended_at is not None and one.started_at >= run.started_at]
        alerts = [one for one in evidence.alerts if one.run_id == run.run_id and one.cause == run.failure]
        yield ReportedIncident(
            name=f"start-{run.run_id}",
            run_id=run.run_id,
            cause=run.failure,
            title=f"`{run.kind}` failed",
            message=run.message,
            severity="critical",
            opened_at=opened_at,
            over_at=min(later, default=None),
            outcome=IncidentOutcome.CLEARED_BY_START if later else IncidentOutcome.OPEN,
            alert=_build_alert(alerts, evidence.alerts),
        )


def _find_watch_ends(evidence: Evidence) -> dict[str, datetime]:
    """When each watch ended; one that said nothing has ended when its instance's next one of the kind began."""
    ends: dict[str, datetime] = {}
    open_watches: dict[str, str] = {}
    for event in evidence.events:
        if event.kind not in {"watch_began", "watch_ended"}:
            continue
        watcher = str(_read_detail(event).get("watcher", ""))
        if not watcher:
            continue
        if event.kind == "watch_ended":
            ends[event.run_id] = event.at
            open_watches.pop(watcher, None)
            continue
        lost = open_watches.get(watcher)
        if lost is not None:
            ends.setdefault(lost, event.at)
        open_watches[watcher] = event.run_id
    return ends


def _read_lost_watches(evidence: Evidence, ends: Mapping[str, datetime]) -> Iterable[ReportedIncident]:
    """Watches that ended without a word: killed, or their machine lost its power."""
    said = {event.run_id for event in evidence.events if event.kind == "watch_ended"}
    last_seen: dict[str, datetime] = {}
    for span in evidence.spans:
        last_seen[span.run_id] = max(span.seen_until, last_seen.get(span.run_id, span.seen_until))
    for run_id, at in ends.items():
        if run_id in said:
            continue
        yield ReportedIncident(
            name=f"{WATCH_LOST}-{run_id}",
            run_id=run_id,
            cause=WATCH_LOST,
            title="Watch lost",
            message="The watcher was ended from outside and could not say so: killed, or its machine went down.",
            severity="warning",
            opened_at=last_seen.get(run_id, at),
            over_at=at,
            outcome=IncidentOutcome.CLEARED_BY_START,
            can_be_alerted=False,
        )


def _group_alerts(alerts: Iterable[ReportedAlert]) -> dict[tuple[str, str], list[ReportedAlert]]:
    found: dict[tuple[str, str], list[ReportedAlert]] = {}
    for alert in alerts:
        if alert.incident:
            found.setdefault((alert.run_id, alert.incident), []).append(alert)
    return found


def _build_alert(about: Sequence[ReportedAlert], alerts: Sequence[ReportedAlert]) -> IncidentAlert | None:
    """What became of the first alert about something."""
    if not about:
        return None
    first = about[0]
    delivered_at = first.delivered_at
    if first.delivery is AlertDelivery.SUMMARISED:
        later = [one.delivered_at for one in alerts if one.is_summary and one.at >= first.at and one.delivered_at]
        delivered_at = min(later, default=None)
    return IncidentAlert(
        at=first.at, delivery=first.delivery, delivered_at=delivered_at, note=first.note, count=len(about)
    )
