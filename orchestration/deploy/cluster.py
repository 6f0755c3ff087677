"""Hosts that carry one instance (LEASE_ETCD): in which order a release comes to them, and what makes it good.

A host that stands by starts nothing, so a release that was only activated there has shown nothing. The order is:
all that stand by, then a planned fail-over to one of them, which validates the release with a real start while the host
that led still has the release before it, and then the host that led. Where the start fails, the instance goes back to
the host that led, and the releases of the others go back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Facts
from orchestration.deploy.workflow import Workflow
from orchestration.system.clock import Clock, wait_until

_LEADING, _STANDBY = "leading", "standby"
_LOOK_S = 2.0
_FAILOVER_TIMEOUT_S = 900.0
_UNTOUCHED = {"nothing_new", "would_deploy"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A host's part in an instance.

    Attributes:
        instance: The instance's name.
        host: Its LEASE_HOST.
        role: `leading`, `standby`, `waiting` or `lost`; empty where its supervisor does not run.
        holder: Who leads, as it knows; empty for none.
        is_good: Whether it leads with a bot, or stands by.
        message: What `inv status` there says.
    """

    instance: str
    host: str
    role: str
    holder: str
    is_good: bool
    message: str


def read_part(facts: Facts) -> Part | None:
    """A host's part; None for one whose instance has no lease, or on which nothing runs yet."""
    document: Mapping[str, Any] = (facts.status or {}).get("document") or {}
    lease: Mapping[str, Any] = document.get("lease") or {}
    if not lease:
        return None
    return Part(
        instance=str(document.get("instance", "")),
        host=str(lease.get("host") or ""),
        role=str(lease.get("role") or ""),
        holder=str(lease.get("holder") or ""),
        is_good=facts.is_good,
        message=facts.describe_system(),
    )


@dataclass(frozen=True, kw_only=True)
class Order:
    """In which order the hosts of an instance are changed; indices into what was given.

    Attributes:
        standbys: First these.
        leader: Then this one, after a planned fail-over to the first of those.
    """

    standbys: tuple[int, ...]
    leader: int


def find_order(parts: Sequence[Part]) -> Order | None:
    """The order for the hosts of one instance; None where no order is needed, for no host of it leads. Pure.

    Raises:
        DeployError: No host is ready to take over.
    """
    leaders = [index for index, part in enumerate(parts) if part.role == _LEADING]
    if len(leaders) != 1 or len(parts) == 1:
        return None
    leader = leaders[0]
    others = tuple(index for index in range(len(parts)) if index != leader)
    not_ready = [parts[index] for index in others if not (parts[index].role == _STANDBY and parts[index].is_good)]
    if not_ready:
        raise build_refusal([f"{part.host}: {part.message}" for part in not_ready])
    return Order(standbys=others, leader=leader)


def build_refusal(not_ready: Sequence[str]) -> DeployError:
    """Why the hosts of an instance are not touched.

    Args:
        not_ready: The hosts that could not take over, with what is wrong.
    """
    return DeployError(
        "no standby is ready, so no planned fail-over is possible; nothing was touched",
        next_action="Repair that host first: a deploy to it alone may do that. A deploy to the host that leads alone "
        "stops its bot until it has started again, or another host has taken over.",
        evidence=tuple(not_ready),
    )


def fail_over(leader: Workflow, to: Part, *, word: str = "fail-over") -> None:
    """Have another host take over, as `inv failover` on the host that leads does.

    Raises:
        DeployError: It has not taken over.
    """
    said: list[str] = []
    host = leader.host
    leader.begin_to_act()
    code = leader.step(
        word,
        lambda: host.run_inv("failover", f"--to={to.host}", on_line=said.append, timeout_s=_FAILOVER_TIMEOUT_S),
    )
    if code:
        raise DeployError(
            f"the planned fail-over to {to.host} failed",
            next_action=f"fab -H {host.name} status",
            evidence=tuple(said[-5:]),
        )


def wait_until_leads(work: Workflow, *, timeout_s: float, clock: Clock) -> None:
    """Wait until the host leads with a bot that its validated sequence has started.

    Raises:
        DeployError: It does not within the time, or another host leads.
    """
    seen: list[Facts] = []

    def is_decided() -> bool:
        seen.append(work.host.look(status=True))
        # What it says of itself may be a moment old, so that another one leads counts if it is seen twice.
        return _leads(seen[-1]) or (len(seen) > 1 and all(_is_led_elsewhere(one) for one in seen[-2:]))

    def wait() -> None:
        wait_until(is_decided, timeout_s=timeout_s, every_s=_LOOK_S, clock=clock)
        if not _leads(seen[-1]):
            raise DeployError(
                f"{work.host.name} did not come up after the fail-over: {seen[-1].describe_system()}",
                next_action=f"fab -H {work.host.name} logs",
            )

    work.step("validated", wait)


def _leads(facts: Facts) -> bool:
    return (facts.status or {}).get("code") == 0


def _is_led_elsewhere(facts: Facts) -> bool:
    part = read_part(facts)
    return part is not None and part.role == _STANDBY and part.holder not in {"", part.host}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One host's turn.

    Attributes:
        work: Its workflow.
        part: Its part.
        commit: That of its release before its turn; empty if unknown or none.
        act: The deploy or rollback of this host. Never raises; what came of it stands in the workflow's outcome.
        undo: Activate the release again that it had before, and mark the one that it has as failed. As above.
    """

    work: Workflow
    part: Part
    commit: str
    act: Callable[[], None]
    undo: Callable[[], None]

    @property
    def is_changed(self) -> bool:
        """Whether the host has another release, or was restarted."""
        return self.work.outcome.ok and self.work.outcome.result not in _UNTOUCHED


def perform_in_order(turns: Sequence[Turn], order: Order, *, timeout_s: float, clock: Clock) -> None:
    """Change the hosts of one instance in their order. What came of each stands in its outcome; never raises.

    Args:
        turns: The hosts.
        order: See `find_order`.
        timeout_s: For how long the start after the fail-over may take.
        clock: Tells the time.
    """
    leader, standbys = turns[order.leader], [turns[index] for index in order.standbys]
    changed: list[Turn] = []
    for turn in standbys:
        turn.act()
        if not turn.work.outcome.ok:
            why = f"{turn.work.host.name} did not take the release"
            _take_back(changed, why)
            _leave(leader, why)
            return
        changed += [turn] if turn.is_changed else []
    first = (changed or standbys)[0]
    if not changed and leader.commit == first.commit:
        leader.act()  # there is nothing to validate
        return
    with first.work.judged():
        fail_over(leader.work, first.part)
        wait_until_leads(first.work, timeout_s=timeout_s, clock=clock)
        first.work.outcome.message += "; it leads now, validated after a planned fail-over"
    if first.work.outcome.ok:
        leader.act()
    else:
        _go_back(leader, first, changed, timeout_s=timeout_s, clock=clock)


def _go_back(leader: Turn, first: Turn, changed: Sequence[Turn], *, timeout_s: float, clock: Clock) -> None:
    """The start on the first host failed: the host that led leads again, with the release that it still has."""
    why = f"{first.work.host.name} did not come up with it"
    with leader.work.judged():
        part = read_part(leader.work.host.look(status=True))
        if part is not None and part.holder == first.part.host:
            fail_over(first.work, leader.part, word="fail-over back")
        wait_until_leads(leader.work, timeout_s=timeout_s, clock=clock)
    _take_back(changed, why)
    _leave(leader, why)


def _take_back(changed: Sequence[Turn], why: str) -> None:
    for turn in changed:
        outcome = turn.work.outcome
        evidence, advice = outcome.evidence, outcome.next_action
        failed = outcome.message if not outcome.ok else why
        turn.undo()
        outcome.result = "went_back" if outcome.ok else "went_back_not_good"
        outcome.message = f"{failed}; it went back: {outcome.message}" if outcome.ok else f"{failed}; {outcome.message}"
        if outcome.ok:
            outcome.evidence, outcome.next_action = evidence, advice
        outcome.ok = False


def _leave(leader: Turn, why: str) -> None:
    outcome = leader.work.outcome
    if not outcome.message:
        outcome.result, outcome.message = "kept", f"{why}; the release here is the one before, and was not touched"
        outcome.next_action = "The other host's outcome says why; correct it, and deploy again."
