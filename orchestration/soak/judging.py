"""The verdict on a soak run: the report's own criteria, with what the faults may cost, and an outsider's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestration.journal import AlertDelivery, ReportedAlert
from orchestration.reports import Criterion, Limits, PeriodReport, ReportVerdict
from orchestration.reports.page import describe_duration
from orchestration.soak.catalogue import Fault
from orchestration.soak.channel import Received
from orchestration.soak.safety import judge_safety
from orchestration.soak.schedule import RECOVERIES, Schedule
from orchestration.soak.trial import TrialResult

_USUAL = Limits()
_START_S = 5.0  # the first start, at the beginning of the period, when nothing is up yet
_SPARE_RESTARTS = 1
_LEAST_SEEN = 0.25  # of the run: it may last less than the minute that a report asks for


def build_limits(schedule: Schedule) -> Limits:
    """What a report may allow: the usual, and what the faults were meant to cost."""
    real_s = schedule.real_s
    restarts = sum(RECOVERIES[one.fault].restarts_gateway for one in schedule.faults)
    return Limits(
        gateway_up=max(0.0, _USUAL.gateway_up - (schedule.gateway_down_s + _START_S) / real_s),
        bot_up=max(0.0, _USUAL.bot_up - (schedule.bot_down_s + _START_S) / real_s),
        watched=max(0.0, _USUAL.watched - (schedule.bot_down_s + _START_S) / real_s),
        restarts_a_day=max(_USUAL.restarts_a_day, restarts + _SPARE_RESTARTS),
        least_evidence_s=min(_USUAL.least_evidence_s, _LEAST_SEEN * real_s),
        failures_an_hour=max(_USUAL.failures_an_hour, schedule.count(Fault.BOT_KILLED)),
    )


def judge_trial(
    report: PeriodReport, result: TrialResult, schedule: Schedule, taken: Sequence[Received]
) -> PeriodReport:
    """The report with the faults, the conditions, and the further criteria."""
    verdict = report.verdict or ReportVerdict(criteria=())
    # The end of the run stops the system, which is told too; the report covers the period until then.
    taken = [one for one in taken if not one.stamp or datetime.fromisoformat(one.stamp) <= result.ended_at]
    criteria = (
        *verdict.criteria,
        _judge_whole_run(result, schedule),
        _judge_faults(result, schedule),
        judge_channel(report.alerts, taken),
        *judge_safety(result.outside, must_have_bot=True),
    )
    return replace(
        report,
        verdict=ReportVerdict(criteria=criteria),
        injected=result.injected,
        conditions=(*report.conditions, *_describe(schedule)),
    )


def _describe(schedule: Schedule) -> tuple[str, ...]:
    scale = schedule.patience_scale
    patience = "as long as always" if scale == 1 else f"{scale} times shorter"
    run = (
        f"A soak run on the built-in gateway: {schedule.hours:g} h at time scale {schedule.time_scale:g}, which took "
        f"{describe_duration(schedule.real_s)}; seed {schedule.seed}. Faults follow each other "
        f"{schedule.time_scale:g} times faster than they otherwise would; the supervisor's patience was {patience}; "
        "processes, the network and the clock were as always."
    )
    cost = (
        f"{len(schedule.faults)} faults were planned. They may cost the gateway "
        f"{describe_duration(schedule.gateway_down_s)} and the bot {describe_duration(schedule.bot_down_s)}: by that "
        "the shares that are asked for are smaller than usual."
    )
    return run, cost


def _judge_whole_run(result: TrialResult, schedule: Schedule) -> Criterion:
    problem = result.given_up or (f"ended early by {result.interrupted_by}" if result.interrupted_by else "")
    return Criterion(
        name="whole_run",
        text=f"The run lasted for the whole {describe_duration(schedule.real_s)}.",
        found=problem or describe_duration((result.ended_at - result.began_at).total_seconds()),
        is_met=not problem,
    )


def _judge_faults(result: TrialResult, schedule: Schedule) -> Criterion:
    met = sum(one.is_met for one in result.injected)
    return Criterion(
        name="faults",
        text="Every planned fault was injected, alerted, over, and followed by recovery.",
        found=f"{met} of {len(schedule.faults)}",
        is_met=met == len(schedule.faults) and bool(schedule.faults),
    )


def judge_channel(alerts: Sequence[ReportedAlert], taken: Sequence[Received]) -> Criterion:
    """Whether the channel took just what the journal calls delivered, each once."""
    arrived = Counter(one.stamp for one in taken)
    delivered = {one.at.isoformat() for one in alerts if one.delivery is AlertDelivery.DELIVERED}
    undelivered = sum(one.delivery is not AlertDelivery.DELIVERED for one in alerts)
    never = len(delivered - set(arrived))
    twice = sum(count > 1 for count in arrived.values())
    unknown = len(set(arrived) - delivered)
    wrong = [
        f"{count} {what}"
        for count, what in (
            (undelivered, "not delivered"),
            (never, "called delivered that never arrived"),
            (twice, "arrived twice"),
            (unknown, "arrived that the journal does not know as delivered"),
        )
        if count
    ]
    return Criterion(
        name="channel",
        text="Every alert of the journal arrived at the channel, none of them twice, and nothing else did.",
        found=", ".join(wrong) or f"{len(taken)} of {len(alerts)}",
        is_met=not wrong,
    )
