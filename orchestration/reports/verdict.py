"""The verdict on a period: criteria, what each one allows, what was found, and whether it is met. Pure."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.journal import Evidence, ReportedRun, SpanRecord
from orchestration.reports.incidents import IncidentOutcome, ReportedIncident
from orchestration.reports.timeline import LEAST_EVIDENCE_S, Timeline

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_DONE = frozenset({"ok", "warn"})
_TOUCH = dt.timedelta(seconds=1)  # two watchers that hand over may both have looked within a second


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a verdict allows.

    Attributes:
        gateway_up: The least share of the counted time in which the gateway must be up.
        bot_up: The least share of the counted time in which the bot must be up.
        watched: The least share of the time that was watched.
        restarts_a_day: The most restarts of the gateway in 24 hours; the supervisor's own bound.
        failures_an_hour: The most failed starts and unplanned ends in an hour; the boot service's own bound.
        least_evidence_s: How much must have been seen, up or down, for a share to be judged.
    """

    gateway_up: float = 0.99
    bot_up: float = 0.99
    watched: float = 0.99
    restarts_a_day: int = 6
    failures_an_hour: int = 3
    least_evidence_s: float = LEAST_EVIDENCE_S


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing that must be so.

    Attributes:
        name: A stable word.
        text: What must be so, for people.
        found: What was found.
        is_met: Whether it is so.
    """

    name: str
    text: str
    found: str
    is_met: bool


@dataclass(frozen=True, kw_only=True)
class ReportVerdict:
    """Whether a period meets every criterion."""

    criteria: tuple[Criterion, ...]

    @property
    def is_passed(self) -> bool:
        """Whether all are met."""
        return all(one.is_met for one in self.criteria)


def judge(
    evidence: Evidence,
    *,
    gateway: Timeline,
    bot: Timeline,
    incidents: Sequence[ReportedIncident],
    alive: frozenset[str],
    since: datetime,
    limits: Limits,
) -> ReportVerdict:
    """Judge a period.

    Args:
        evidence: All about it.
        gateway: When the gateway was up.
        bot: When the bot was.
        incidents: What was wrong.
        alive: The runs whose process lives.
        since: The beginning of the period.
        limits: What is allowed.
    """
    return ReportVerdict(
        criteria=(
            _judge_watched(gateway, limits),
            _judge_up("gateway_up", "gateway", gateway, limits.gateway_up, limits),
            _judge_up("bot_up", "bot", bot, limits.bot_up, limits),
            _judge_alerted(incidents),
            _judge_recovered(incidents),
            _judge_known_ends(evidence.runs, alive, since),
            _judge_validated(evidence.runs),
            _judge_one_bot(evidence.spans),
            _judge_restarts(evidence, limits),
            _judge_failures(incidents, limits),
            _judge_whole(evidence),
        )
    )


def _judge_watched(timeline: Timeline, limits: Limits) -> Criterion:
    ratio = timeline.watched_ratio
    return Criterion(
        name="watched",
        text=f"The system was watched for at least {_percent(limits.watched)} of the time, shutdowns by hand excluded.",
        found="it was shut down all the time" if ratio is None else f"{_percent(ratio)}",
        is_met=ratio is not None and ratio >= limits.watched,
    )


def _judge_up(name: str, what: str, timeline: Timeline, least: float, limits: Limits) -> Criterion:
    ratio = timeline.measure_up(limits.least_evidence_s)
    return Criterion(
        name=name,
        text=f"The {what} was up for at least {_percent(least)} of the watched time, outside excused windows"
        + (" and the time after it had finished or was stopped on purpose." if what == "bot" else "."),
        found="too little was seen to say" if ratio is None else _percent(ratio),
        is_met=ratio is not None and ratio >= least,
    )


def _judge_alerted(incidents: Sequence[ReportedIncident]) -> Criterion:
    due = [one for one in incidents if one.can_be_alerted]
    untold = [one for one in due if not one.is_alerted]
    why = sorted({one.alert.delivery.value if one.alert is not None else "no alert" for one in untold})
    found = f"{len(due) - len(untold)} of {len(due)}" + (f" ({', '.join(why)})" if why else "")
    return Criterion(
        name="told",
        text="An alert about every incident was delivered.",
        found=found if due else "no incident",
        is_met=not untold,
    )


def _judge_recovered(incidents: Sequence[ReportedIncident]) -> Criterion:
    left = [one for one in incidents if one.is_grave and one.outcome is IncidentOutcome.OPEN]
    return Criterion(
        name="recovered",
        text="No incident of severity error or critical is unrecovered.",
        found=", ".join(one.cause for one in left) or "none",
        is_met=not left,
    )


def _judge_known_ends(runs: Sequence[ReportedRun], alive: frozenset[str], since: datetime) -> Criterion:
    """A run whose process is gone without a word is closed by the next start; one that was never closed is unknown."""
    left = [
        run.record.run_id
        for run in runs
        if run.record.result is None and run.record.run_id not in alive and run.record.started_at >= since
    ]
    return Criterion(
        name="known_ends",
        text="Every start and stop ended in a known state, or is still at work.",
        found=", ".join(left) or f"{len(runs)} of {len(runs)}",
        is_met=not left,
    )


def _judge_validated(runs: Sequence[ReportedRun]) -> Criterion:
    wrong = []
    started = 0
    for run in runs:
        steps = {step.name: step.status for step in run.record.steps}
        if steps.get("bot.start") not in _DONE:
            continue
        started += 1
        if any(steps.get(name, "ok") not in _DONE for name in ("gateway.wait", "gameplan.check")):
            wrong.append(run.record.run_id)
    return Criterion(
        name="validated",
        text="Every bot was started after gateway and plan were validated in the same run.",
        found=", ".join(wrong) or (f"{started} of {started}" if started else "none was started"),
        is_met=not wrong,
    )


def _judge_one_bot(spans: Sequence[SpanRecord]) -> Criterion:
    """Two watchers that saw different bots run at the same time."""
    running = sorted((one for one in spans if one.bot_key), key=lambda one: one.began_at)
    twice = False
    open_spans: list[SpanRecord] = []
    for span in running:
        open_spans = [one for one in open_spans if one.seen_until - _TOUCH > span.began_at]
        twice = twice or any(one.bot_key != span.bot_key and one.run_id != span.run_id for one in open_spans)
        open_spans.append(span)
    return Criterion(
        name="one_bot",
        text="Never two bots at once.",
        found="two different bots ran at the same time" if twice else "never seen",
        is_met=not twice,
    )


def _judge_restarts(evidence: Evidence, limits: Limits) -> Criterion:
    times = [event.at for event in evidence.events if event.kind in _RESTARTED and '"acted"' in event.detail_json]
    most = _count_most(times, _DAY)
    return Criterion(
        name="restarts",
        text=f"The gateway was restarted at most {limits.restarts_a_day} times in any 24 hours.",
        found=f"{most} at the most",
        is_met=most <= limits.restarts_a_day,
    )


_RESTARTED = frozenset({"gateway_lost", "link_down"})


def _judge_failures(incidents: Sequence[ReportedIncident], limits: Limits) -> Criterion:
    times = [one.opened_at for one in incidents if one.opened_at and (one.name.startswith("start-") or _ends(one))]
    most = _count_most(times, _HOUR)
    return Criterion(
        name="failures",
        text=f"At most {limits.failures_an_hour} failed starts and unplanned ends in any hour.",
        found=f"{most} at the most",
        is_met=most <= limits.failures_an_hour,
    )


def _ends(incident: ReportedIncident) -> bool:
    return incident.cause in {"bot_ended", "bot_silent"}


def _judge_whole(evidence: Evidence) -> Criterion:
    return Criterion(
        name="whole",
        text="The journal's evidence of the period was read whole.",
        found="there is more than is read at once" if evidence.is_cut else "all of it",
        is_met=not evidence.is_cut,
    )


def _count_most(times: Sequence[datetime], window: timedelta) -> int:
    """The most of these instants in any window of that length."""
    ordered = sorted(times)
    most, first = 0, 0
    for number, at in enumerate(ordered):
        while at - ordered[first] >= window:
            first += 1
        most = max(most, number - first + 1)
    return most


def floor_percent(ratio: float) -> float:
    """Two digits, never rounded up to a limit that is not reached."""
    return math.floor(ratio * 10000 + 1e-6) / 100  # the small part: 0.99 is a little less than 0.99 in binary


def _percent(ratio: float) -> str:
    return f"{floor_percent(ratio):g} %"
