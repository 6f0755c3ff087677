"""The steps: deploy, rollback. Each one is a few lines here; what it does on the host stands in `host.py`."""

import contextlib
import dataclasses
from collections.abc import Callable

from orchestration.deploy.checkout import Checkout
from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Activated, Facts
from orchestration.deploy.ready import LEAST_FREE_BYTES_BACK, LEAST_FREE_BYTES_START, check_host, refuse_if_locked
from orchestration.deploy.release import (
    KEEP,
    ActivationRequest,
    Changes,
    Release,
    build_gateway_digest,
    build_name,
    find_changes,
    find_previous,
    find_release,
    find_rollback_target,
)
from orchestration.deploy.workflow import DeployOptions, Outcome, Workflow


def deploy(work: Workflow, checkout: Checkout, archive: Callable[[], bytes], options: DeployOptions) -> Outcome:
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
        outcome.changes, outcome.replaces = changes.lines, facts.release.commit if facts.release else ""
        if options.dry_run:
            outcome.ok = True
            has_new_env = options.env is not None and host.compare_env(options.env)
            is_new = has_new_env or _is_new(facts, checkout, dataclasses.replace(options, env=None))
            outcome.result = "would_deploy" if is_new else "nothing_new"
            outcome.message = (
                _describe_plan(facts, checkout, changes, has_new_env=has_new_env) if is_new else _describe_same(facts)
            )
            return outcome
        if not _is_new(facts, checkout, options):
            outcome.ok, outcome.result, outcome.message = True, "nothing_new", _describe_same(facts)
            return outcome
        refuse_if_locked(facts, host)
        work.step("folders", host.ensure_folders) if not facts.releases else None
        with work.locked(options.by):
            _deploy_locked(work, checkout, archive, options)
    return outcome


def _deploy_locked(work: Workflow, checkout: Checkout, archive: Callable[[], bytes], options: DeployOptions) -> None:
    host, outcome = work.host, work.outcome
    facts = refuse_if_locked(work.step("look again", lambda: _settle(work)), host)
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
    activated = _activate(
        work,
        ActivationRequest(
            target=name,
            previous=find_rollback_target(facts.releases, facts.current),
            gateway_changed=current is not None and current.gateway != build_gateway_digest(checkout.files),
            brings_env=env_changed,
            hold_timeout_s=options.timeout_s,
            keep=KEEP,
            least_free_bytes=LEAST_FREE_BYTES_START,
            deploy_id=work.deploy_id,
            action="deploy",
            by=options.by,
            commit=checkout.commit,
        ),
    )
    if outcome.ok:
        outcome.result = "deployed"
        outcome.message = f"{name} {_describe_good(activated)} ({checkout.subject})"


def _make_release(
    work: Workflow, name: str, checkout: Checkout, archive: Callable[[], bytes], options: DeployOptions
) -> None:
    host = work.host
    work.step("upload", lambda: host.upload_release(name, archive()))
    wheels = options.wheels
    if wheels is None:
        work.step("environment", lambda: host.build_environment(name, wheels=False))
    elif not work.step("environment", lambda: host.find_environment(name)):
        work.step("wheels", lambda: host.upload_wheels(name, wheels))
        work.step("packages", lambda: host.build_environment(name, wheels=True))
    release = Release(name=name, commit=checkout.commit, gateway=build_gateway_digest(checkout.files))
    work.step("seal", lambda: host.seal(release, files=checkout.files))


def _activate(work: Workflow, request: ActivationRequest) -> Activated:
    """Activate a release while the lock is still held, and take up what came of it."""
    work.check_lock()
    work.under_way = True
    activated = work.host.activate(request)
    work.take(activated)
    return activated


def rollback(work: Workflow, words: str, options: DeployOptions) -> Outcome:
    """Go back to the previous good release, or to the one that `words` name."""
    host, outcome = work.host, work.outcome
    with work.judged():
        work.step("connect", host.connect)
        work.step("check", lambda: check_host(host.look(), host, brings_env=False, least_free=LEAST_FREE_BYTES_BACK))
        with work.locked(options.by):
            facts = refuse_if_locked(work.step("look again", lambda: _settle(work)), host)
            outcome.release = facts.current
            target = find_release(facts.releases, words) if words else find_previous(facts.releases, facts.current)
            if target is None:
                known = ", ".join(one.name for one in facts.releases if one.complete) or "none"
                raise DeployError(
                    f"there is no release {words}" if words else "there is no earlier good release",
                    next_action=f"There are: {known}.",
                )
            if target.failed:
                host.on_say(f"{target.name} was tried before and was not found good")
            if target.name == facts.current and words:
                host.on_say(f"{target.name} is the current release already; it is restarted")
            activated = _activate(
                work,
                ActivationRequest(
                    target=target.name,
                    previous=find_rollback_target(facts.releases, facts.current),
                    gateway_changed=facts.release is not None and facts.release.gateway != target.gateway,
                    restores_env=not options.keeps_settings,
                    hold_timeout_s=options.timeout_s,
                    keep=KEEP,
                    least_free_bytes=LEAST_FREE_BYTES_BACK,
                    deploy_id=work.deploy_id,
                    discredited=facts.current if options.discredits else "",
                    action="rollback",
                    by=options.by,
                    commit=target.commit,
                ),
            )
            if outcome.ok:
                outcome.result = "rolled_back"
                outcome.message = f"{target.name} {_describe_good(activated)} {activated.settings}".rstrip()
    return outcome


def _describe_good(activated: Activated) -> str:
    return "stands by: it has started no bot on this host yet" if activated.stands_by else "runs"


def _settle(work: Workflow) -> Facts:
    """Look with the lock held; an activation whose deploy was cut off is waited for first."""
    facts = work.host.look(status=True)
    if facts.activation:
        work.host.on_say("a deploy that was cut off is still activating a release; waiting for its end")
        with contextlib.suppress(DeployError):
            work.host.follow()
        facts = work.host.look(status=True)
    return facts


def _is_new(facts: Facts, checkout: Checkout, options: DeployOptions) -> bool:
    """Whether there is anything to do, as far as can be told without the lock; settings are compared there."""
    current = facts.release
    same = current is not None and current.verified and current.commit == checkout.commit
    return not same or not facts.is_good or facts.activation or options.env is not None


def _describe_same(facts: Facts) -> str:
    return f"nothing new to deploy: {facts.current} is the current release. {facts.describe_system()}".rstrip()


def _describe_plan(facts: Facts, checkout: Checkout, changes: Changes, *, has_new_env: bool) -> str:
    count = f"{len(changes.lines)} file{'' if len(changes.lines) == 1 else 's'}"
    before = f"in place of {facts.current}" if facts.current else "as the first release"
    plan = f"would deploy {checkout.commit[:10]} ({checkout.subject}) {before}: {count}"
    also = (
        "new settings" if has_new_env else "",
        "a new environment, for the requirements differ" if "requirements.txt" in changes.paths else "",
        "the gateway's container recreated, which is a new login" if facts.current and changes.touches_gateway else "",
    )
    return "; ".join([plan, *(one for one in also if one)])
