"""A lease that this process keeps, and a store in which its plan is published."""

from collections.abc import Iterable

from orchestration.lease.published_plan import MAX_CONTENT_BYTES, PublishedPlan
from orchestration.system.processes import ProcessIdentity


class FakeLease:
    """See `orchestration.lease.held.HeldLease`. It refuses a publication that the real store would not keep.

    Args:
        loss: Why it is lost; empty while it is held.
        plan: The plan in the store.
        content: Its content there; None where there is none.
    """

    def __init__(self, *, loss: str = "", plan: PublishedPlan | None = None, content: bytes | None = None) -> None:
        self.loss = loss
        self.plan = plan
        self.content = content
        self.publications: list[PublishedPlan] = []
        self.watched: list[ProcessIdentity] = []

    @property
    def revision(self) -> int:
        return 7

    @property
    def reason(self) -> str:
        return "no host led before"

    @property
    def handover(self) -> str:
        return ""

    @property
    def published_plan(self) -> PublishedPlan | None:
        return self.plan

    def watch(self, identities: Iterable[ProcessIdentity]) -> None:
        self.watched = list(identities)

    def publish_plan(self, plan: PublishedPlan, content: bytes = b"") -> None:
        assert PublishedPlan.read(plan.write()) == plan
        assert len(content) <= MAX_CONTENT_BYTES or not plan.has_content
        self.plan = plan
        self.content = content if plan.has_content else None
        self.publications.append(plan)

    def fetch_plan(self) -> bytes | None:
        return self.content
