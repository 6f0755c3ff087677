"""`/metrics` of the live page: the status as Prometheus reads it. No account and no secret is in it.

States are gauges (1 or 0, absent where unknown), ages and latencies are in seconds, counters count since the page's
server began: Prometheus takes a smaller value for a restart.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from orchestration.journal import AlertDelivery
from orchestration.supervision.incidents import IncidentKind, Stage

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from orchestration.commands.next_events import NextEvent
    from orchestration.commands.status import Status
    from orchestration.gateway.holdings import Holdings
    from orchestration.journal import Evidence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "zero_touch_"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the journal has counted since the server began.

    Attributes:
        events: Supervision's events by kind and stage.
        alerts: Alerts by what became of them.
        runs: Ended runs by kind and result.
    """

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)


def count(evidence: "Evidence", since: datetime) -> Counts:
    """Count what happened since an instant."""
    return Counts(
        events=Counter(
            (event.kind, str(event.detail.get("stage", "")))
            for event in evidence.events
            if event.at >= since and event.detail.get("incident")
        ),
        # What still waits may yet be delivered: `alerts_waiting` has it. A counter never goes down.
        alerts=Counter(
            str(alert.delivery)
            for alert in evidence.alerts
            if alert.at >= since and alert.delivery is not AlertDelivery.PENDING
        ),
        runs=Counter(
            (run.record.kind, run.record.result)
            for run in evidence.runs
            if run.record.started_at >= since and run.record.result
        ),
    )


def render_metrics(
    status: "Status", counts: Counts, *, version: str, now: datetime, next_events: Sequence["NextEvent"] = ()
) -> bytes:
    """The text that Prometheus scrapes."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> Iterator["Metric"]:
            yield from _gauges(status, version=version, now=now)
            yield from _money(status.holdings)
            yield from _logins(status, now=now, next_events=next_events)
            yield from _counters(counts)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _gauges(status: "Status", *, version: str, now: datetime) -> Iterator["Metric"]:
    gateway, bot, plan = status.gateway, status.bot, status.plan
    yield _gauge("build_info", "The program's version.", [({"version": version}, 1)])
    yield _gauge("status_code", "What `inv status` would end with.", [({}, int(status.code))])
    yield _gauge("gateway_ready", "Whether a bot can use the gateway.", [({}, gateway.is_ready)])
    if gateway.api is not None and gateway.api.latency_ms is not None:
        latency_s = gateway.api.latency_ms / 1000
        yield _gauge("gateway_api_latency_seconds", "Round trip to the gateway's API.", [({}, latency_s)])
    if not bot.is_unknown:
        yield _gauge("bot_running", "Whether the bot runs.", [({}, bot.is_found)])
    yield _gauge("bot_supervised", "Whether a supervisor or a monitor watches the bot.", [({}, status.is_bot_watched)])
    if bot.is_found:
        yield _gauge("bot_uptime_seconds", "How long the bot has run.", [({}, bot.uptime_s)])
    if status.bot_state.is_connected is not None:
        help_text = "Whether the bot holds a connection to the gateway."
        yield _gauge("bot_connected", help_text, [({}, status.bot_state.is_connected)])
    if plan is not None:
        labels = {"strategy": plan.strategy, "date": plan.date, "fallback": plan.emergency_reason or ""}
        yield _gauge("gameplan_info", "The plan that the bot was given.", [(labels, 1)])
    if status.lease is not None:
        yield _gauge("lease_leading", "Whether this host leads its instance.", [({}, status.lease.role == "leading")])
        yield _gauge("lease_revision", "The revision of the leader's term.", [({}, status.lease.revision)])
    yield _gauge("held", "Whether an operator holds the system down.", [({}, status.hold is not None)])
    yield _gauge("given_up", "Whether the boot service tries no more.", [({}, status.attempts.has_given_up)])
    if status.alert_channels:
        working = [({"channel": one.name}, one.problem is None) for one in status.alert_channels]
        waiting = [({"channel": one.name}, one.waiting) for one in status.alert_channels]
        yield _gauge("alert_channel_working", "Whether alerts should reach the operator this way.", working)
        yield _gauge("alerts_waiting", "How many alerts wait for the channel.", waiting)
    if status.last_run is not None:
        age_s = max(0.0, (now - status.last_run.started_at).total_seconds())
        yield _gauge("last_run_age_seconds", "How long ago the last run began.", [({}, age_s)])


def _money(holdings: "Holdings") -> Iterator["Metric"]:
    """Counts, and a ratio that does not say how much there is; absent where unknown."""
    if holdings.positions is not None:
        yield _gauge("positions", "How many positions are open at the broker.", [({}, len(holdings.positions))])
    if holdings.orders is not None:
        help_text = "How many orders of all clients can still fill."
        yield _gauge("open_orders", help_text, [({}, len(holdings.orders))])
    cushions = [one.cushion for one in holdings.accounts or () if one.cushion is not None]
    if cushions:
        help_text = "Excess liquidity as a fraction of the net liquidation; the smallest of all accounts."
        yield _gauge("margin_cushion_ratio", help_text, [({}, float(min(cushions)))])


def _logins(status: "Status", *, now: datetime, next_events: Sequence["NextEvent"]) -> Iterator["Metric"]:
    gateway = status.gateway
    if gateway.full_login_at is not None:
        age_s = max(0.0, (now - gateway.full_login_at).total_seconds())
        yield _gauge("full_login_age_seconds", "How long ago the gateway last logged in fully.", [({}, age_s)])
        help_text = "Whether that login is newer than the last Sunday 01:00 US Eastern, when IBKR ended every session."
        is_newer = gateway.full_login_at >= gateway.sessions_ended_at
        yield _gauge("full_login_is_current", help_text, [({}, is_newer)])
    if next_events:
        samples = [({"event": str(one.kind)}, one.at.timestamp()) for one in next_events]
        yield _gauge("next_event_timestamp_seconds", "When something comes by the calendar.", samples)


def _counters(counts: Counts) -> Iterator["Metric"]:
    from prometheus_client.core import CounterMetricFamily

    events = CounterMetricFamily(
        _PREFIX + "supervision_events",
        "Incidents of supervision: opened, acted on (a restart), over.",
        labels=["kind", "stage"],
    )
    # From 0 on: where a series begins with 1, Prometheus sees no increase.
    expected = {(str(kind), str(stage)) for kind in IncidentKind for stage in (Stage.OPENED, Stage.ACTED, Stage.OVER)}
    for kind, stage in sorted(expected | counts.events.keys()):
        events.add_metric([kind, stage], counts.events[kind, stage])
    alerts = CounterMetricFamily(_PREFIX + "alerts", "Alerts by what became of them.", labels=["delivery"])
    for delivery in AlertDelivery:
        if delivery is not AlertDelivery.PENDING:
            alerts.add_metric([delivery], counts.alerts[delivery])
    runs = CounterMetricFamily(_PREFIX + "runs", "Ended runs.", labels=["kind", "result"])
    for (kind, result), number in sorted(counts.runs.items()):
        runs.add_metric([kind, result], number)
    yield from (events, alerts, runs)


def _gauge(name: str, help_text: str, samples: Iterable[tuple[dict[str, str], float]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    samples = list(samples)
    family = GaugeMetricFamily(_PREFIX + name, help_text, labels=list(samples[0][0]))
    for labels, value in samples:
        family.add_metric(list(labels.values()), float(value))
    return family
