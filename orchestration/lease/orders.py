"""What an operator's commands read from the store of the lease, and ask of all hosts through it."""

import getpass
import json
import socket
from datetime import datetime

from orchestration.lease import etcd
from orchestration.lease.etcd import Etcd, Member
from orchestration.lease.term import Seen, Times, name_keys, read_seen
from orchestration.settings import Settings
from orchestration.system.clock import read_boottime_s


class LeaseStore:
    """The store as commands use it. Every method raises `EtcdError` where there is no usable answer."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = name_keys(settings.instance)
        self._tries = len(settings.lease_etcd)
        self._store = Etcd(settings, timeout_s=Times(ttl_s=settings.lease_ttl_s).request_s)

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def look_at_members(self) -> tuple[Member, ...]:
        """Every address of LEASE_ETCD, and what is wrong with it."""
        return self._store.look_at_members()

    def read(self) -> Seen:
        """Who holds the lease, and what was asked for."""
        for _ in range(self._tries - 1):
            try:
                return self._read()
            except etcd.EtcdError:
                continue  # the next member is asked
        return self._read()

    def ask_failover(self, to: str, *, now: datetime) -> int:
        """Ask the holder to hand over. Returns the revision of the store at which it was asked.

        Args:
            to: The host that is to lead; empty for any other one.
            now: The time.
        """
        self.read()  # so that a member that answers is the one that is written to
        wish = {"to": to, "by": _name_user(), "at": now.isoformat(timespec="seconds")}
        return self._store.transact([], [etcd.put(f"{self._prefix}failover", json.dumps(wish))]).revision

    def hold(self, text: str) -> None:
        """Hold the instance down on all hosts."""
        self.read()
        self._store.transact([], [etcd.put(f"{self._prefix}hold", text)])

    def resume(self) -> bool:
        """End the hold of all hosts. Returns whether there was one."""
        was_held = self.read().hold != ""
        self._store.transact([], [etcd.delete(f"{self._prefix}hold")])
        return was_held

    def _read(self) -> Seen:
        return read_seen(self._store.read(self._prefix), self._prefix, at_s=read_boottime_s())


def _name_user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this uid, as in some containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
