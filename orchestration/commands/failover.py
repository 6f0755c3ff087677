"""`inv failover`, and the hold of all hosts: what is asked of an instance that several hosts carry (LEASE_ETCD)."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration import presenter as console
from orchestration.commands.views import load_settings_or_explain
from orchestration.errors import ExitCode
from orchestration.hostservice.advice import advise
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock, wait_until

if TYPE_CHECKING:
    from orchestration.lease.orders import LeaseStore

_LOOK_S = 0.5
_MARGIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class FailoverResult:
    """What came of a planned fail-over.

    Attributes:
        holder_before: Who led when it was asked for; empty for none.
        holder: Who leads now; empty where that is unknown, or none does.
        revision: Of that host's lease; 0 where it is unknown.
        message: What was done, or why it was not.
        next_action: What to do, where it failed.
        is_done: Whether the host that was meant leads.
    """

    holder_before: str = ""
    holder: str = ""
    revision: int = 0
    message: str
    next_action: str = ""
    is_done: bool = False


def fail_over(to: str, *, as_json: bool) -> int:
    """`inv failover`: have the holder stop its bot gracefully, log its gateway out, and another host take over.

    Args:
        to: The host that is to lead; empty for any other one.
        as_json: Print one JSON document.

    Returns:
        0 once another host has the lease; 1 where that does not come about.
    """
    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    done = _ask_store(settings, to, say=console.warn if as_json else console.print_line)
    if as_json:
        document = dataclasses.asdict(done)
        result = "success" if document.pop("is_done") else "failure"
        console.print_json({"instance": settings.instance, "result": result, **document})
    else:
        lines = " ".join(part for part in (done.message, done.next_action) if part)
        (console.print_line if done.is_done else console.warn)(lines)
    return int(ExitCode.SUCCESS if done.is_done else ExitCode.FAILURE)


def _ask_store(settings: Settings, to: str, *, say: Callable[[str], None]) -> FailoverResult:
    from orchestration.lease.etcd import EtcdError
    from orchestration.lease.orders import LeaseStore

    if not settings.lease_etcd:
        return FailoverResult(message="LEASE_ETCD is not set: this instance has one host, and nothing to fail over to.")
    store = LeaseStore(settings)
    try:
        return _fail_over(settings, store, to, say=say)
    except EtcdError as error:
        return FailoverResult(
            message=f"The etcd cluster gives no answer that counts: {error}",
            next_action=advise("`inv preflight` shows what is wrong with it.", settings),
        )
    finally:
        store.close()


def _fail_over(settings: Settings, store: "LeaseStore", to: str, *, say: Callable[[str], None]) -> FailoverResult:
    """Ask, and wait for what comes of it."""
    from orchestration.lease.etcd import EtcdError
    from orchestration.lease.term import Seen, Times

    clock, before = SystemClock(), store.read()
    holder = before.holder
    if before.hold:
        return FailoverResult(
            holder_before=holder.host if holder else "",
            message=f"The instance is held: {before.hold}.",
            next_action=advise("`inv resume` ends the hold.", settings),
        )
    if holder is None:
        return FailoverResult(
            message="No host holds the lease now.", next_action=advise("`inv status` on each host says why.", settings)
        )
    now = FailoverResult(holder_before=holder.host, holder=holder.host, revision=before.holder_revision, message="")
    if to == holder.host:
        return dataclasses.replace(now, message=f"{to} leads already.", is_done=True)
    store.ask_failover(to, now=clock.now())
    say(f"Asked {holder.host} to hand over{f' to {to}' if to else ''}.")

    def look() -> Seen | None:
        try:
            seen = store.read()
        except EtcdError:
            return None
        return seen if seen.holder is not None and seen.holder_revision > before.holder_revision else None

    takeover_s = 2 * Times(ttl_s=settings.lease_ttl_s).takeover_s
    timeout_s = settings.bot_stop_timeout_s + settings.gateway_stop_grace_s + takeover_s + _MARGIN_S
    after = wait_until(look, timeout_s=timeout_s, every_s=_LOOK_S, clock=clock)
    if after is None or after.holder is None:
        return dataclasses.replace(
            now,
            holder="",
            revision=0,
            message=f"No host has taken over within {timeout_s:g} s.",
            next_action=advise("`inv status` on each host says why.", settings),
        )
    leads = after.holder.host
    now = dataclasses.replace(
        now,
        holder=leads,
        revision=after.holder_revision,
        message=f"{leads} has the lease (revision {after.holder_revision}) and starts, validated.",
    )
    if leads == holder.host or (to and leads != to):
        return dataclasses.replace(
            now,
            message=f"{now.message} That is not {to or 'another host'}.",
            next_action=advise(f"Is the supervisor of {to or 'another host'} running? `inv status` there.", settings),
        )
    return dataclasses.replace(now, is_done=True)


def hold_everywhere(settings: Settings, text: str) -> str:
    """Hold the instance down on all hosts. Returns why that is not so; empty where it is, or there is one host."""
    if not settings.lease_etcd:
        return ""
    from orchestration.lease.etcd import EtcdError
    from orchestration.lease.orders import LeaseStore

    store = LeaseStore(settings)
    try:
        store.hold(text)
    except EtcdError as error:
        return f"the hold is in effect on this host only, for it could not be written to the lease's store: {error}"
    finally:
        store.close()
    return ""


def resume_everywhere(settings: Settings) -> str:
    """End the hold of all hosts. Returns why that is not so; empty where it is."""
    if not settings.lease_etcd:
        return ""
    from orchestration.lease.etcd import EtcdError
    from orchestration.lease.orders import LeaseStore

    store = LeaseStore(settings)
    try:
        store.resume()
    except EtcdError as error:
        return f"the hold of all hosts may still be in the lease's store: {error}"
    finally:
        store.close()
    return ""
