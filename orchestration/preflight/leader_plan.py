"""Whether this host's plan file is the plan that the leader runs its bot on (LEASE_ETCD). Changes nothing."""

from dataclasses import dataclass

from orchestration.lease.published_plan import OwnPlan, PlanComparison, PublishedPlan, compare_plans, shorten_hash
from orchestration.settings import Settings
from orchestration.system.clock import Clock


@dataclass(frozen=True, kw_only=True)
class LeaderPlan:
    """The leader's plan beside this host's.

    Attributes:
        published: The leader's; None where it has not published one.
        own: This host's.
        comparison: How they compare.
    """

    published: PublishedPlan | None
    own: OwnPlan
    comparison: PlanComparison

    def __str__(self) -> str:
        if self.published is None:
            return self.comparison.sentence
        is_other = self.comparison.needs_attention and bool(self.own.sha256)
        own = f" ({self.own.date or 'no date'}, {shorten_hash(self.own.sha256)})" if is_other else ""
        return f"{self.published}; {self.comparison.sentence}{own}"


def read_leader_plan(settings: Settings, published: PublishedPlan | None, *, clock: Clock) -> LeaderPlan:
    """Compare this host's plan file with the leader's plan.

    Args:
        settings: The configuration.
        published: The leader's plan; None where it has not published one.
        clock: Tells the time.
    """
    from orchestration.gameplan import check_from_settings, hold_until_its_day

    verdict = hold_until_its_day(check_from_settings(settings, clock=clock), settings, clock=clock)
    own = OwnPlan(sha256=verdict.sha256 or "", date=verdict.date or "", is_usable=verdict.is_valid)
    return LeaderPlan(published=published, own=own, comparison=compare_plans(published, own))
