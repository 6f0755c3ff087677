"""Which gameplan a host that leads starts its bot on, where several hosts carry the instance (LEASE_ETCD).

A new day's plan may have reached one host only. The plan in force stays in force over a take-over: the leader publishes
it in the lease's store, and a host that takes over prefers it to a file of its own with another content. It is judged
there like any file, and only a plan for the current date is taken over.
"""

import dataclasses
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.alerts.alert import AlertContent, Severity
from orchestration.errors import FallbackWord
from orchestration.lease.held import HeldLease, kept_lease
from orchestration.settings import GameplanFreshness, Settings
from orchestration.startup.context import StepContext
from orchestration.system.clock import Clock
from orchestration.system.files import write_atomic

if TYPE_CHECKING:
    from orchestration.gameplan import ActivePlan, GameplanVerdict
    from orchestration.lease.published_plan import PublishedPlan


@dataclass(frozen=True, kw_only=True)
class JudgedPlan:
    """What the plan file of this host, or the plan in force, was judged to be.

    Attributes:
        verdict: The judgement.
        own_sha256: The hash of this host's own file; empty where it could not be read.
        taken_over: The plan that was published by another host and is preferred to the own file; None for the own file.
    """

    verdict: "GameplanVerdict"
    own_sha256: str = ""
    taken_over: "PublishedPlan | None" = None


def judge_plan(context: StepContext) -> JudgedPlan:
    """Judge this host's plan file, or the plan in force that it takes over. Never fails: a bad plan is no failure."""
    from orchestration.gameplan import check_from_settings, hold_until_its_day

    settings, clock = context.settings, context.clock
    own = check_from_settings(settings, clock=clock)
    if context.supervises:
        own = hold_until_its_day(own, settings, clock=clock)
    judged = JudgedPlan(verdict=own, own_sha256=own.sha256 or "")
    lease = kept_lease()
    return judged if lease is None else _prefer_plan_in_force(context, lease, judged)


def _prefer_plan_in_force(context: StepContext, lease: HeldLease, judged: JudgedPlan) -> JudgedPlan:
    from orchestration.gameplan import load_calendar
    from orchestration.lease.published_plan import PlanChoice, choose_plan

    settings, own, published = context.settings, judged.verdict, lease.published_plan
    today = load_calendar(settings).today(context.clock.now()).isoformat()
    if published is None or published.date != today:
        return judged
    choice = choose_plan(published, judged.own_sha256, host=settings.lease_host)
    if choice is PlanChoice.NEITHER:
        message = f"{own.path}: the plan was withdrawn on {published.by}: {published.reason}"
        refused = dataclasses.replace(own, word=FallbackWord.GAMEPLAN_QUARANTINED, message=message, problems=())
        return dataclasses.replace(judged, verdict=refused)
    if choice is PlanChoice.OWN_FILE:
        return judged
    verdict, problem = _fetch(settings, lease, published, clock=context.clock)
    if verdict is None:
        context.tell(
            AlertContent(
                severity=Severity.WARNING,
                title="Plan in force is not taken over",
                message=f"The plan that was in force, {published}, is not used: {problem}. This host goes by its own "
                f"file: {own.message}.",
                cause="PLAN_NOT_TAKEN_OVER",
                next_action="Put the day's plan on each host; `inv status` of a standby shows a difference.",
            )
        )
        return judged
    if published.by != settings.lease_host:
        context.tell(
            AlertContent(
                severity=Severity.WARNING,
                title="Plan of another host taken over",
                message=f"The bot is started on the plan that was in force: {published}. This host's own file is not "
                f"that plan, and is left as it is: {own.message}.",
                cause="PLAN_TAKEN_OVER",
                next_action="Put the day's plan on each host. A file that changes on this host from now on counts "
                "again, after `inv bot.restart`.",
            )
        )
    return dataclasses.replace(judged, verdict=verdict, taken_over=published)


def _fetch(
    settings: Settings, lease: HeldLease, published: "PublishedPlan", *, clock: Clock
) -> "tuple[GameplanVerdict | None, str]":
    """The judgement on the plan in force; or None, and why it cannot be used."""
    from orchestration.gameplan import PlanPolicy, check_gameplan, hold_until_its_day
    from orchestration.lease.published_plan import shorten_hash

    if settings.gameplan_path is None:
        return None, "GAMEPLAN_PATH is not set, so this host's bot is to run on Strategy C"
    if settings.gameplan_freshness is GameplanFreshness.OFF:
        return None, "GAMEPLAN_FRESHNESS is off, so a plan's date does not say whether it is in force"
    # Not under the name of a checked copy: that is trusted to have been judged.
    path = settings.state_dir.absolute() / "gameplans" / f"received_{shorten_hash(published.sha256)}.json"
    if not _holds(path, published.sha256):  # it does where this host's bot is started again
        problem = _receive(path, lease, published)
        if problem:
            return None, problem
    verdict = check_gameplan(path, PlanPolicy.from_settings(settings), clock=clock)
    verdict = hold_until_its_day(verdict, settings, clock=clock)
    return (verdict, "") if verdict.is_valid else (None, verdict.message)


def _receive(path: Path, lease: HeldLease, published: "PublishedPlan") -> str:
    """Fetch the content of the plan in force into this file. Returns why it is not there; empty where it is."""
    from orchestration.lease.published_plan import MAX_CONTENT_BYTES

    if not published.has_content:
        return f"it has {published.size} bytes, and at most {MAX_CONTENT_BYTES} are kept in the store"
    content = lease.fetch_plan()
    if content is None:
        return "its content cannot be read from the store"
    if sha256(content).hexdigest() != published.sha256:
        return "the content in the store is not that of the published plan"
    try:
        write_atomic(path, content)
    except OSError as error:
        return f"{path} cannot be written: {error.strerror or error}"
    return ""


def _holds(path: Path, digest: str) -> bool:
    from orchestration.gameplan import GameplanError, read_content

    try:
        return sha256(read_content(path).content).hexdigest() == digest
    except GameplanError:
        return False


def publish_plan(context: StepContext, plan: "ActivePlan", judged: JudgedPlan | None = None) -> None:
    """Publish the plan that was activated; where Strategy C is active in its place, that there is none, or withdraw it.

    Args:
        context: The step's.
        plan: The plan that the bot is given.
        judged: The judgement that it comes from; None where it comes from none.
    """
    lease = kept_lease()
    if lease is None:
        return
    settings, before = context.settings, lease.published_plan
    if plan.fallback is None:
        _publish_active(settings, lease, plan, judged, at=_now(context.clock))
    elif plan.fallback is FallbackWord.GAMEPLAN_QUARANTINED and judged is not None and judged.verdict.date:
        withdraw_plan(settings, lease, plan_date=judged.verdict.date, clock=context.clock)
    elif before is None or not _is_withdrawn_for_now(before, context):
        _publish_none(settings, lease, str(plan.fallback), at=_now(context.clock))


def withdraw_plan(settings: Settings, lease: HeldLease, *, plan_date: str, clock: Clock) -> None:
    """The leader's plan file is quarantined: no other host may start a bot on the plan that was active.

    Args:
        settings: The configuration.
        lease: The lease.
        plan_date: The date of the quarantined plan, `YYYY-MM-DD`.
        clock: Tells the time.
    """
    from orchestration.lease.published_plan import PlanState

    before = lease.published_plan
    if before is None or before.date != plan_date:
        _publish_none(settings, lease, str(FallbackWord.GAMEPLAN_QUARANTINED), at=_now(clock))
    elif before.state is PlanState.ACTIVE:
        lease.publish_plan(before.withdraw("its file is quarantined", by=settings.lease_host, at=_now(clock)))


def reinstate_plan(settings: Settings, lease: HeldLease, *, path: Path, clock: Clock) -> None:
    """The plan file of this host, which leads, is again the plan that its bot runs on, and not quarantined any more.

    Args:
        settings: The configuration.
        lease: The lease.
        path: The copy that the bot was given.
        clock: Tells the time.
    """
    from orchestration.gameplan import GameplanError, read_content
    from orchestration.lease.published_plan import PlanState

    before = lease.published_plan
    if before is None or before.state is not PlanState.WITHDRAWN or before.by != settings.lease_host:
        return
    try:
        content = read_content(path).content
    except GameplanError:
        return
    if sha256(content).hexdigest() == before.sha256:
        lease.publish_plan(before.reinstate(at=_now(clock)), content)


def _is_withdrawn_for_now(before: "PublishedPlan", context: StepContext) -> bool:
    """Whether a plan is withdrawn that would still be valid: it stays so, whatever else is wrong with a file now."""
    from orchestration.gameplan import load_calendar
    from orchestration.lease.published_plan import PlanState

    today = load_calendar(context.settings).today(context.clock.now()).isoformat()
    return before.state is PlanState.WITHDRAWN and before.date >= today


def _publish_none(settings: Settings, lease: HeldLease, reason: str, *, at: str) -> None:
    from orchestration.lease.published_plan import PlanState, PublishedPlan

    host = settings.lease_host
    _publish(lease, PublishedPlan(state=PlanState.NONE, host=host, by=host, at=at, reason=reason))


def _publish_active(
    settings: Settings, lease: HeldLease, plan: "ActivePlan", judged: JudgedPlan | None, *, at: str
) -> None:
    from orchestration.gameplan import GameplanError, read_content
    from orchestration.lease.published_plan import MAX_CONTENT_BYTES, PlanState, PublishedPlan

    taken_over = None if judged is None else judged.taken_over
    try:
        content = read_content(plan.path).content
    except GameplanError:
        return  # the bot is not started on it, either: it is read again right before the launch
    record = PublishedPlan(
        state=PlanState.ACTIVE,
        host=settings.lease_host if taken_over is None else taken_over.host,
        by=settings.lease_host,
        at=at,
        sha256=plan.sha256,
        date=plan.date,
        strategy=plan.strategy,
        size=len(content),
        name=(plan.source or plan.path).name if taken_over is None else taken_over.name,
        has_content=len(content) <= MAX_CONTENT_BYTES,
        passed_over=None if taken_over is None or judged is None else judged.own_sha256,
    )
    _publish(lease, record, content)


def _publish(lease: HeldLease, record: "PublishedPlan", content: bytes = b"") -> None:
    before = lease.published_plan
    if before is None or dataclasses.replace(before, at=record.at) != record:
        lease.publish_plan(record, content)


def _now(clock: Clock) -> str:
    return clock.now().astimezone().isoformat(timespec="seconds")
