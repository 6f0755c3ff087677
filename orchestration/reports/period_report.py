"""The report on a period: its bounds as they were typed, and everything that it shows, cleaned. Pure."""

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestration.journal import Evidence, LatencyRecord, ReportedAlert, RunRecord
from orchestration.reports.incidents import (
    Happening,
    ReportedIncident,
    find_full_login,
    find_happenings,
    find_incidents,
)
from orchestration.reports.timeline import Timeline, build_bot_timeline, build_gateway_timeline
from orchestration.reports.verdict import Limits, ReportVerdict, judge

_STARTS = frozenset({"startup", "service", "restart"})
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=400)  # what the journal keeps
ALLOWED = "48h, 7d, 2w, 90m, or a beginning such as 2026-11-20 or 2026-11-20T09:00 (this host's time)"


@dataclass(frozen=True, kw_only=True)
class LatencySummary:
    """Round trips to the gateway's API.

    Attributes:
        count: How many.
        least_ms: The quickest.
        typical_ms: The median of the minutes' (or hours') means.
        most_ms: The slowest.
    """

    count: int
    least_ms: float
    typical_ms: float
    most_ms: float


@dataclass(frozen=True, kw_only=True)
class Injected:
    """A fault that a soak run put into the system.

    Attributes:
        at: When.
        fault: Its name.
        about: What was done, for people.
        found: What the system made of it.
        is_met: Whether that is what it should have made of it.
    """

    at: datetime
    fault: str
    about: str
    found: str
    is_met: bool


@dataclass(frozen=True, kw_only=True)
class PeriodReport:
    """What is known of a period.

    Attributes:
        instance: The instance's name.
        since: Its beginning.
        until: Its end.
        made_at: When this was put together.
        simulated: Whether the gateway of its runs was the built-in one.
        gateway: When the gateway was up.
        bot: When the bot was.
        starts: What started a bot, or was to; oldest first.
        incidents: What was wrong.
        happenings: What else happened.
        alerts: The alerts of the period.
        latencies: Round trips, by the minute or hour.
        latency: The same in one line; None where there are none.
        verdict: The judgement, where one was asked for.
        is_cut: Whether there is more than was read.
        conditions: What a reader must know of how the period came about, such as a soak run's time scale.
        injected: The faults of a soak run.
        full_login_at: The gateway's last full login that a watcher had seen by the end of the period; None if none.
    """

    instance: str
    since: datetime
    until: datetime
    made_at: datetime
    simulated: bool
    gateway: Timeline
    bot: Timeline
    starts: tuple[RunRecord, ...]
    incidents: tuple[ReportedIncident, ...]
    happenings: tuple[Happening, ...]
    alerts: tuple[ReportedAlert, ...]
    latencies: tuple[LatencyRecord, ...]
    latency: LatencySummary | None
    verdict: ReportVerdict | None
    is_cut: bool
    conditions: tuple[str, ...] = ()
    injected: tuple[Injected, ...] = ()
    full_login_at: datetime | None = None


def build_period_report(
    evidence: Evidence,
    *,
    instance: str,
    since: datetime,
    until: datetime,
    made_at: datetime,
    alive: frozenset[str] = frozenset(),
    limits: Limits | None,
) -> PeriodReport:
    """Put it together.

    Args:
        evidence: All about the period.
        instance: The instance's name.
        since: The beginning of the period.
        until: Its end.
        made_at: Now.
        alive: The runs whose process lives.
        limits: What the verdict allows; None for no verdict.
    """
    gateway = build_gateway_timeline(evidence.spans, evidence.runs, since, until)
    bot = build_bot_timeline(evidence.spans, evidence.runs, since, until)
    incidents = find_incidents(evidence, since, until)
    runs = [run.record for run in evidence.runs if since <= run.record.started_at <= until]
    latencies = tuple(one for one in evidence.latencies if one.at <= until)
    verdict = None
    if limits is not None:
        verdict = judge(
            evidence, gateway=gateway, bot=bot, incidents=incidents, alive=alive, since=since, limits=limits
        )
    return PeriodReport(
        instance=instance,
        since=since,
        until=until,
        made_at=made_at,
        simulated=bool(evidence.runs) and evidence.runs[-1].record.simulated,
        gateway=gateway,
        bot=bot,
        starts=tuple(run for run in runs if _is_start(run)),
        incidents=incidents,
        happenings=find_happenings(evidence, since, until),
        full_login_at=find_full_login(evidence, until),
        alerts=tuple(one for one in evidence.alerts if since <= one.at <= until),
        latencies=latencies,
        latency=_summarise(latencies),
        verdict=verdict,
        is_cut=evidence.is_cut,
    )


def _is_start(run: RunRecord) -> bool:
    return run.kind in _STARTS or any(step.name == "bot.start" for step in run.steps)


def _summarise(latencies: Sequence[LatencyRecord]) -> LatencySummary | None:
    if not latencies:
        return None
    return LatencySummary(
        count=sum(one.count for one in latencies),
        least_ms=min(one.least_ms for one in latencies),
        typical_ms=statistics.median(one.mean_ms for one in latencies),
        most_ms=max(one.most_ms for one in latencies),
    )


def clean_period_report(report: PeriodReport, clean: Callable[[str], str]) -> PeriodReport:
    """The same with `clean` applied to every text that is not a stable word."""
    return replace(
        report,
        starts=tuple(_clean_run(run, clean) for run in report.starts),
        incidents=tuple(_clean_incident(one, clean) for one in report.incidents),
        happenings=tuple(replace(one, title=clean(one.title), message=clean(one.message)) for one in report.happenings),
    )


def _clean_run(run: RunRecord, clean: Callable[[str], str]) -> RunRecord:
    steps = tuple(replace(step, detail=clean(step.detail)) for step in run.steps)
    return replace(run, message=clean(run.message), steps=steps)


def _clean_incident(incident: ReportedIncident, clean: Callable[[str], str]) -> ReportedIncident:
    return replace(
        incident,
        title=clean(incident.title),
        message=clean(incident.message),
        actions=tuple(clean(one) for one in incident.actions),
        alert=None if incident.alert is None else replace(incident.alert, note=clean(incident.alert.note)),
    )


def parse_since(text: str, *, now: datetime) -> datetime:
    """The beginning of the period.

    Args:
        text: A length before now, or an instant; one without a time zone is in `now`'s.
        now: The end of the period, aware.

    Raises:
        ValueError: It is neither, not before now, or further back than the journal reaches. The text is for people.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([mhdw])", text.strip())
    if found:
        length = float(found[1]) * _UNITS[found[2]]
        if not length:
            raise ValueError(f"--since {text}: a period needs a length; allowed are {ALLOWED}")
        begin = now - length if length <= _LONGEST else None
    else:
        try:
            begin = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(f"--since {text}: allowed are {ALLOWED}") from None
        begin = begin if begin.tzinfo is not None else begin.replace(tzinfo=now.tzinfo)
        if begin >= now:
            raise ValueError(f"--since {text}: it is not in the past")
    if begin is None or now - begin > _LONGEST:
        raise ValueError(f"--since {text}: the journal reaches back {_LONGEST.days} days at the most")
    return begin
