"""The steps: deploy, rollback. Each one is a few lines here; what it does on the host stands in `host.py`."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.deploy.checkout import Checkout
from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Activated, Facts, Host
from orchestration.deploy.ready import check_host
from orchestration.deploy.release import (
    KEEP,
    Changes,
    Release,
    build_gateway_digest,
    build_name,
    find_changes,
    find_previous,
    find_release,
)
from orchestration.system.clock import Clock

if TYPE_CHECKING:
    from orchestration.deploy.connection import Held

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that has ended.

    Attributes:
        name: What it was.
        ok: Whether it came to what it should.
        duration_s: How long it took.
    """

    name: str
    ok: bool
    duration_s: float


@dataclass(kw_only=True)
class Outcome:
    """What came of one command on one host.

    Attributes:
        host: What the operator calls it.
        action: `deploy`, `rollback`, `provision`, `status`.
        ok: Whether it came to what was asked.
        result: A word: `deployed`, `nothing_new`, `would_deploy`, `went_back`, …
        release: The release in force at the end; empty if unknown or none.
        message: One sentence.
        next_action: What a person does next; empty for nothing.
        evidence: Lines that show the problem.
        steps: With their times, in order.
        changes: Lines: what changed, or would.
        gap_s: Seconds from the start's command until all was good.
        round_trips: Programs run on the host.
        document: What else there is for programs.
    """

    host: str
    action: str
    ok: bool = False
    result: str = "failed"
    release: str = ""
    message: str = ""
    next_action: str = ""
    evidence: tuple[str, ...] = ()
    steps: list[Step] = field(default_factory=list)
    changes: tuple[str, ...] = ()
    gap_s: float | None = None
    round_trips: int = 0
    document: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `deploy` was asked for.

    Attributes:
        dry_run: Only look and say.
        env: The settings to bring along; None to leave those there.
        wheels: An archive of packages; None to let the host ask its index.
        timeout_s: For how long the system may take until it is good.
        by: Who asks.
    """

    dry_run: bool = False
    env: bytes | None = None
    wheels: bytes | None = None
    timeout_s: float = 600.0
    by: str = ""


class Workflow:
    """The steps of one command on one host, timed and told as they end."""

    def __init__(self, host: Host, action: str, *, clock: Clock, on_step: Callable[[Step], None]) -> None:
        self.host = host
        self.clock = clock
        self.outcome = Outcome(host=host.name, action=action)
        self._tell = on_step
        self._held: Held | None = None
        host.on_step = lambda name, ok, duration_s: self._add(Step(name=name, ok=ok, duration_s=duration_s))

    def step(self, name: str, act: Callable[[], _Result]) -> _Result:
        """Perform one step.

        Raises:
            DeployError: The host's lock is no longer ours.
        """
        self.check_lock()
        began_s = self.clock.monotonic_s()
        ok = False
        try:
            result = act()
            ok = True
        finally:
            self._add(Step(name=name, ok=ok, duration_s=self.clock.monotonic_s() - began_s))
        return result

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """Whatever stops the steps becomes the outcome."""
        try:
            yield
        except DeployError as error:
            outcome = self.outcome
            outcome.ok, outcome.message = False, error.message
            outcome.next_action, outcome.evidence = error.next_action, error.evidence
        finally:
            self.outcome.round_trips = self.host.remote.round_trips

    @contextlib.contextmanager
    def locked(self, by: str) -> Iterator[None]:
        """Hold the host's lock; an activation that somebody left behind is waited for."""
        holder = {"by": by, "since": self.clock.now().isoformat(timespec="seconds"), "action": self.outcome.action}
        self._held = self.step("lock", lambda: self.host.lock(holder))
        try:
            yield
        finally:
            self._held.release()
            self._held = None

    def check_lock(self) -> None:
        """See that the lock, once taken, is still held: a computer that slept has lost it to whoever came next.

        Raises:
            DeployError: It is not.
        """
        if self._held is not None and not self._held.is_held:
            raise DeployError(
                "the host's lock was lost: nothing was heard from here for a minute",
                next_action="Deploy again. Nothing that runs was touched.",
            )

    def take(self, activated: Activated) -> None:
        """Make an activation's result the outcome's."""
        outcome = self.outcome
        outcome.release, outcome.gap_s = activated.current, activated.gap_s
        outcome.ok = activated.outcome == "good"
        outcome.message, outcome.next_action = activated.message, activated.next_action
        outcome.evidence = activated.evidence
        if not outcome.ok:
            outcome.result = activated.outcome
            outcome.message = f"{activated.message}; {_AFTERWARDS[activated.outcome].format(activated.current)}"

    def _add(self, step: Step) -> None:
        self.outcome.steps.append(step)
        self._tell(step)


_AFTERWARDS = {
    "kept": "nothing was touched, {} runs on",
    "went_back": "it went back to {}, which runs again",
    "went_back_not_good": "it went back to {}, WHICH IS NOT GOOD EITHER: look at the host now",
    "stopped": "there is no earlier release to go back to: the system is stopped, and does not start at boot",
}


def deploy(work: Workflow, checkout: Checkout, archive: Callable[[], bytes], options: Options) -> Outcome:
    """Bring the checkout's commit into force on one host. Never raises for what it meets.

    Args:
        work: The host, and who is told.
        checkout: What is deployed.
        archive: Makes its archive; called only if it is needed.
        options: How.
    """
    host, outcome = work.host, work.outcome
    with work.judged():
        work.step("connect", host.connect)
        facts = work.step("check", lambda: check_host(host.look(status=True), host, brings_env=options.env is not None))
        outcome.release = facts.current
        changes = find_changes(facts.files, checkout.files)
        outcome.changes = changes.lines
        if options.dry_run:
            outcome.ok = True
            is_new = _is_new(facts, checkout, options)
            outcome.result = "would_deploy" if is_new else "nothing_new"
            outcome.message = _describe_plan(facts, checkout, changes) if is_new else _describe_same(facts)
            return outcome
        if not _is_new(facts, checkout, options):
            outcome.ok, outcome.result, outcome.message = True, "nothing_new", _describe_same(facts)
            return outcome
        work.step("folders", host.ensure_folders) if not facts.releases else None
        with work.locked(options.by):
            _deploy_locked(work, checkout, archive, options)
    return outcome


def _deploy_locked(work: Workflow, checkout: Checkout, archive: Callable[[], bytes], options: Options) -> None:
    host, outcome = work.host, work.outcome
    facts = work.step("look again", lambda: _settle(work))
    for name in work.step("folders", host.ensure_folders):
        host.on_say(f"cleared away {name}, which an interrupted deploy had left")
    env_changed = options.env is not None and work.step("settings up", lambda: host.upload_env(options.env or b""))
    current = facts.release
    if current and current.verified and current.commit == checkout.commit:
        if facts.is_good and not env_changed:
            outcome.ok, outcome.result, outcome.message = True, "nothing_new", _describe_same(facts)
            return
        name = current.name  # the release is there: only the settings are new, or the system is down
    else:
        name = build_name(checkout.commit, work.clock.now())
        try:
            _make_release(work, name, checkout, archive, options)
        except DeployError as error:
            with contextlib.suppress(DeployError):  # the connection may be what broke
                host.discard(name)
                host.audit(
                    action="deploy",
                    by=options.by,
                    target=name,
                    commit=checkout.commit,
                    previous=facts.current,
                    outcome="not_made",
                    cause=error.message,
                )
            outcome.result = "not_made"
            raise
    work.check_lock()
    activated = host.activate(
        target=name,
        previous=facts.current if facts.release else "",
        gateway_changed=current is not None and current.gateway != build_gateway_digest(checkout.files),
        brings_env=env_changed,
        hold_timeout_s=options.timeout_s,
        keep=KEEP,
        action="deploy",
        by=options.by,
        commit=checkout.commit,
    )
    work.take(activated)
    if outcome.ok:
        outcome.result = "deployed"
        outcome.message = f"{name} runs ({checkout.subject})"


def _make_release(
    work: Workflow, name: str, checkout: Checkout, archive: Callable[[], bytes], options: Options
) -> None:
    host = work.host
    work.step("upload", lambda: host.upload_release(name, archive()))
    wheels = options.wheels
    if wheels is not None:
        work.step("wheels", lambda: host.upload_wheels(name, wheels))
    work.step("environment", lambda: host.build_environment(name, wheels=wheels is not None))
    release = Release(name=name, commit=checkout.commit, gateway=build_gateway_digest(checkout.files))
    work.step("seal", lambda: host.seal(release, files=checkout.files))


def rollback(work: Workflow, words: str, options: Options) -> Outcome:
    """Go back to the previous good release, or to the one that `words` name."""
    host, outcome = work.host, work.outcome
    with work.judged():
        work.step("connect", host.connect)
        work.step("check", lambda: check_host(host.look(), host, brings_env=False))
        with work.locked(options.by):
            facts = work.step("look again", lambda: _settle(work))
            outcome.release = facts.current
            target = find_release(facts.releases, words) if words else find_previous(facts.releases, facts.current)
            if target is None:
                known = ", ".join(one.name for one in facts.releases if one.complete) or "none"
                raise DeployError(
                    f"there is no release {words}" if words else "there is no earlier good release",
                    next_action=f"There are: {known}.",
                )
            if target.name == facts.current and words:
                host.on_say(f"{target.name} is in force already; it is started anew")
            work.check_lock()
            activated = host.activate(
                target=target.name,
                previous=facts.current if facts.release else "",
                gateway_changed=facts.release is not None and facts.release.gateway != target.gateway,
                brings_env=False,
                hold_timeout_s=options.timeout_s,
                keep=KEEP,
                action="rollback",
                by=options.by,
                commit=target.commit,
            )
            work.take(activated)
            if outcome.ok:
                outcome.result, outcome.message = "rolled_back", f"{target.name} runs"
    return outcome


def _settle(work: Workflow) -> Facts:
    """Look with the lock held; an activation whose deploy was cut off is waited for first."""
    facts = work.host.look(status=True)
    if facts.activation:
        work.host.on_say("a release is being put in force by a deploy that was cut off; waiting for its end")
        with contextlib.suppress(DeployError):
            work.host.follow()
        facts = work.host.look(status=True)
    return facts


def _is_new(facts: Facts, checkout: Checkout, options: Options) -> bool:
    """Whether there is anything to do, as far as can be told without the lock; settings are compared there."""
    current = facts.release
    same = current is not None and current.verified and current.commit == checkout.commit
    return not same or not facts.is_good or facts.activation or options.env is not None


def _describe_same(facts: Facts) -> str:
    return f"nothing new to deploy: {facts.current} runs, and all is well"


def _describe_plan(facts: Facts, checkout: Checkout, changes: Changes) -> str:
    gateway = "; the gateway's container would be made anew" if facts.current and changes.touches_gateway else ""
    before = f"in place of {facts.current}" if facts.current else "as the first release"
    return f"would deploy {checkout.commit[:10]} ({checkout.subject}) {before}: {len(changes.lines)} files{gateway}"


def build_json(outcome: Outcome, *, now: datetime) -> dict[str, Any]:
    """One host's part of the JSON document."""
    import dataclasses

    return {**dataclasses.asdict(outcome), "at": now.isoformat(timespec="seconds")}
