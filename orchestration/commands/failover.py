"""`inv failover`, and the hold of all hosts: what is asked of an instance that several hosts carry (LEASE_ETCD)."""

from typing import TYPE_CHECKING

from orchestration import presenter as console
from orchestration.commands.views import load_settings_or_explain
from orchestration.errors import ExitCode
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock, wait_until

if TYPE_CHECKING:
    from orchestration.lease.orders import LeaseStore

_LOOK_S = 0.5
_MARGIN_S = 10.0


def fail_over(to: str) -> int:
    """`inv failover`: have the holder stop its bot gracefully, log its gateway out, and another host take over.

    Args:
        to: The host that is to lead; empty for any other one.

    Returns:
        0 once another host has the lease; 1 where that does not come about.
    """
    from orchestration.lease.etcd import EtcdError
    from orchestration.lease.orders import LeaseStore

    settings = load_settings_or_explain(as_json=False)
    if settings is None:
        return int(ExitCode.FAILURE)
    if not settings.lease_etcd:
        console.warn("LEASE_ETCD is not set: this instance has one host, and nothing to fail over to.")
        return int(ExitCode.FAILURE)
    store = LeaseStore(settings)
    try:
        problem = _fail_over(settings, store, to)
    except EtcdError as error:
        problem = f"The etcd cluster gives no answer that counts: {error}"
    finally:
        store.close()
    if problem:
        console.warn(problem)
    return int(ExitCode.FAILURE if problem else ExitCode.SUCCESS)


def _fail_over(settings: Settings, store: "LeaseStore", to: str) -> str:
    """Ask, and wait for what comes of it. Returns why nothing did; empty where another host has the lease."""
    from orchestration.lease.etcd import EtcdError
    from orchestration.lease.term import Seen, Times

    clock, before = SystemClock(), store.read()
    holder = before.holder
    if before.hold:
        return f"The instance is held: {before.hold}."
    if holder is None:
        return "No host holds the lease now."
    if to == holder.host:
        console.print_line(f"{to} leads already.")
        return ""
    store.ask_failover(to, now=clock.now())
    console.print_line(f"Asked {holder.host} to hand over{f' to {to}' if to else ''}.")

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
        return f"No host has taken over within {timeout_s:g} s; `inv status` on each host says why."
    console.print_line(f"{after.holder.host} has the lease (revision {after.holder_revision}) and starts, validated.")
    if after.holder.host == holder.host or (to and after.holder.host != to):
        return f"That is not {to or 'another host'}: is its supervisor running? `inv status` there says why."
    return ""


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
        return f"the hold of all hosts may still stand in the lease's store: {error}"
    finally:
        store.close()
    return ""
