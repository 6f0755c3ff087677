"""What a host that stands by tells of the plan in force: that its own plan file is another one (LEASE_ETCD)."""

import logging
from collections.abc import Callable

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.lease.published_plan import PlanComparison, PublishedPlan
from orchestration.preflight.leader_plan import LeaderPlan, read_leader_plan
from orchestration.settings import Settings
from orchestration.supervision.standby_alerts import StandbyAlerts
from orchestration.system.clock import Clock


class StandbyPlan:
    """Compares this host's plan file with the leader's plan every MONITOR_INTERVAL; alerts once for each difference.

    A difference counts once two looks have seen it: the day's plan reaches the hosts one after the other.

    Args:
        settings: The configuration.
        clock: Tells the time.
        alerts: Tells the operator.
        log: The log.
        told: The difference that an earlier supervisor of this host has told; empty for none.
        on_told: Keeps the difference that was told, for a later supervisor of this host.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        alerts: StandbyAlerts,
        log: logging.Logger,
        told: str,
        on_told: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._alerts = alerts
        self._log = log
        self._told = told
        self._on_told = on_told
        self._seen = ""
        self._looked_s = float("-inf")

    def look(self, published: PublishedPlan | None, *, leader: str, revision: int) -> None:
        """Look, where it is due.

        Args:
            published: The plan that the leader has published; None where it has not.
            leader: The host that leads.
            revision: Of its lease.
        """
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < self._settings.monitor_interval_s:
            return
        self._looked_s = now_s
        plan = read_leader_plan(self._settings, published, clock=self._clock)
        difference = build_difference_key(plan)
        was_seen, self._seen = difference == self._seen, difference
        if difference == self._told or (difference and not was_seen):
            return
        self._told = difference
        self._on_told(difference)
        if difference:
            self._tell(plan, leader=leader, revision=revision)
        else:
            self._log.info("%s", plan)
            self._alerts.note("plan_agrees", str(plan), revision=revision)

    def _tell(self, plan: LeaderPlan, *, leader: str, revision: int) -> None:
        message = f"{leader} leads on another plan than this host, which stands by, has: {plan}."
        self._log.warning("%s", message)
        self._alerts.note("plan_differs", message, revision=revision)
        self._alerts.tell(
            AlertContent(
                severity=Severity.WARNING,
                title="The leader's plan is not this host's",
                message=message,
                cause="PLAN_DIFFERS",
                next_action=describe_remedy(plan, leader=leader, host=self._settings.lease_host),
            )
        )


def build_difference_key(plan: LeaderPlan) -> str:
    """What tells one difference from another one; empty where there is none that matters."""
    published = plan.published
    if published is None or not plan.comparison.needs_attention:
        return ""
    return f"{plan.comparison}:{published.state}:{published.sha256}:{plan.own.sha256}"


def describe_remedy(plan: LeaderPlan, *, leader: str, host: str) -> str:
    """What the operator does about it."""
    published = plan.published
    if plan.comparison is PlanComparison.ONLY_HERE:
        return f"Put the day's plan on {leader}, too: its bot is restarted onto it. Or `inv failover --to={host}`."
    if plan.comparison is PlanComparison.WITHDRAWN:
        return "Put the plan that replaces it on each host; this host starts no bot on the withdrawn one."
    if published is not None and not published.has_content:
        return "Put the leader's plan on this host: it is too large to be kept in the store, so it is not taken over."
    return "Put the leader's plan on this host. If it takes over before that, it continues with the leader's plan."
