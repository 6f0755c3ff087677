"""The checks of an instance that several hosts carry (LEASE_ETCD): the cluster, the holder, and Docker's own policy."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestration.errors import Check, FailureWord, StartupFailure, StepStatus
from orchestration.lease.held import kept_lease
from orchestration.settings import BotRuntime, GatewayRuntime, Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError
from orchestration.system.files import is_file_there

if TYPE_CHECKING:
    from orchestration.lease.term import Seen

_NAME = "lease"
_LOOK_TIMEOUT_S = 10.0
_HARMLESS = frozenset({"", "no"})


def check_lease(settings: Settings, commands: Commands, *, clock: Clock) -> Iterator[Check]:
    """Whether the cluster works, who holds the lease and on which plan, and that Docker itself starts no container."""
    if not settings.lease_etcd or settings.simulated:
        return
    unreadable = [*_check_files(settings)]
    if unreadable:
        yield from unreadable
        seen = None
    else:
        cluster, seen = _check_cluster(settings)
        yield cluster
    if seen is not None and seen.holder is not None and seen.holder.host != settings.lease_host:
        yield _check_plan(settings, seen, clock)
    problem = find_policy_problem(settings, commands)
    if problem is not None:
        yield problem


def _check_files(settings: Settings) -> Iterator[Check]:
    """The files of the cluster's TLS that cannot be used, each by its variable; without them no member is reached."""
    for name, path in (
        ("LEASE_CA", settings.lease_ca),
        ("LEASE_CERT", settings.lease_cert),
        ("LEASE_KEY", settings.lease_key),
    ):
        if path is not None and not (is_file_there(path) and os.access(path, os.R_OK)):
            yield Check(
                name=_NAME,
                status=StepStatus.FAIL,
                detail=f"{name}: {path} is not a file that this user can read",
                fix=f"Correct {name}, or put the PEM file there.",
                failure=FailureWord.CONFIG_INVALID,
            )


def _check_plan(settings: Settings, seen: "Seen", clock: Clock) -> Check:
    """Whether this host has the plan that another host leads on: the new day's may have reached one host only."""
    from orchestration.preflight.leader_plan import read_leader_plan

    plan = read_leader_plan(settings, seen.plan, clock=clock)
    is_other = plan.comparison.needs_attention
    return Check(
        name="plan in force",
        status=StepStatus.WARN if is_other else StepStatus.OK,
        detail=str(plan),
        fix="Put the day's plan on each host that carries this instance." if is_other else "",
    )


def _check_cluster(settings: Settings) -> "tuple[Check, Seen | None]":
    """How the cluster is, and what it says; None where that does not count."""
    from orchestration.lease.etcd import EtcdError
    from orchestration.lease.orders import LeaseStore

    store = LeaseStore(settings)
    try:
        members = store.look_at_members()
        bad = [f"{one.endpoint}: {one.problem}" for one in members if one.problem]
        seen = store.read()
    except EtcdError as error:
        lease = kept_lease()
        if lease is not None and lease.revision and not lease.loss:
            # Each step that can lead to a trade looks again, and the fence ends the bot where no renewal comes through.
            return Check(
                name=_NAME,
                status=StepStatus.WARN,
                detail=f"this host holds the lease, but the etcd cluster gives no answer that counts: {error}",
                fix="Look at the etcd members: without renewals the lease is lost within seconds.",
            ), None
        return Check(
            name=_NAME,
            status=StepStatus.FAIL,
            detail=f"the etcd cluster gives no answer that counts: {error}",
            fix="Look at the etcd members and at LEASE_ETCD: more than half of them must run and reach each other.",
            failure=FailureWord.LEASE_UNAVAILABLE,
        ), None
    finally:
        store.close()
    leader = "no host leads" if seen.holder is None else f"{seen.holder.host} leads since {seen.holder.since}"
    held = f"; held on all hosts: {seen.hold}" if seen.hold else ""
    count = f"{len(members) - len(bad)} of {len(members)} members answer"
    if bad:
        return Check(
            name=_NAME,
            status=StepStatus.WARN,
            detail=f"{count}, {leader}{held}; {'; '.join(bad)}",
            fix="Bring the other members back: the next one that fails may end trading on all hosts.",
        ), seen
    return Check(name=_NAME, status=StepStatus.OK, detail=f"{count}, {leader}{held}"), seen


def find_policy_problem(settings: Settings, commands: Commands) -> Check | None:
    """The container that Docker itself would start again after a boot; None where there is none."""
    names = []
    if settings.gateway_runtime is GatewayRuntime.DOCKER:
        names.append(settings.gateway_container_name)
    if settings.bot_runtime is BotRuntime.DOCKER:
        names.append(settings.bot_container_name)
    for name in names:
        policy = _read_policy(name, commands)
        if policy not in _HARMLESS:
            return Check(
                name="restart policy",
                status=StepStatus.FAIL,
                detail=f"container {name} has the restart policy {policy!r}: Docker would start it at boot, "
                "though another host holds the lease",
                fix=f'docker update --restart=no {name} (and `restart: "no"` in a Compose file of your own)',
                failure=FailureWord.CONFIG_INVALID,
            )
    return None


def refuse_policy(settings: Settings, commands: Commands) -> None:
    """The same, right after a container was made.

    Raises:
        StartupFailure: `CONFIG_INVALID`, with the command to change it.
    """
    problem = find_policy_problem(settings, commands) if settings.lease_etcd and not settings.simulated else None
    if problem is not None:
        raise StartupFailure(FailureWord.CONFIG_INVALID, f"LEASE_ETCD: {problem.detail}.", next_action=problem.fix)


def _read_policy(name: str, commands: Commands) -> str:
    argv = ("docker", "container", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", name)
    try:
        result = commands.run(argv, timeout_s=_LOOK_TIMEOUT_S)
    except (CommandNotFoundError, CommandTimedOutError):
        return ""  # the engine's own check says so
    return result.stdout.strip() if result.ok else ""
