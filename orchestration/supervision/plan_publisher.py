"""Publishes the gameplan in force in the lease's store, and fetches it at a take-over (LEASE_ETCD)."""

import logging
import threading
from collections.abc import Callable

from orchestration.lease import etcd
from orchestration.lease.etcd import Etcd, EtcdError
from orchestration.lease.published_plan import PublishedPlan
from orchestration.lease.term import Term, Times, name_content_key, name_keys
from orchestration.settings import Settings
from orchestration.system.clock import read_boottime_s


class PlanPublisher:
    """The plan in force, as this host knows it.

    `write` and `note_stored` are called by the thread that renews the lease, everything else by any thread.

    Args:
        settings: Which instance, which store.
        times: What follows from LEASE_TTL.
        log: The log.
    """

    def __init__(self, settings: Settings, times: Times, *, log: logging.Logger) -> None:
        self._settings = settings
        self._times = times
        self._log = log
        self._prefix = name_keys(settings.instance)
        self._store = Etcd(settings, timeout_s=times.publish_s)
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._stored: PublishedPlan | None = None
        self._waiting: tuple[PublishedPlan, bytes] | None = None
        self._has_warned = False

    @property
    def stored(self) -> PublishedPlan | None:
        """The plan in the store."""
        return self._stored

    @property
    def published(self) -> PublishedPlan | None:
        """The plan in the store, or the one that is to be written there next."""
        waiting = self._waiting
        return self._stored if waiting is None else waiting[0]

    def publish(self, plan: PublishedPlan, content: bytes) -> None:
        """Have it written with the next renewal that counts."""
        with self._lock:
            self._waiting, self._has_warned = (plan, content), False

    def forget(self) -> None:
        """The term is over: what was not written yet is not written any more."""
        with self._lock:
            self._waiting = None

    def note_stored(self, plan: PublishedPlan | None) -> None:
        """What a look at the store has shown."""
        self._stored = plan

    def write(self, term: Term, began_s: float) -> None:
        """Write what waits, as the holder of this term. Never raises, and never delays the next renewal.

        It takes no longer than a part of the pause that follows a renewal; what fails is tried after the next one.

        Args:
            term: The term; its key must still be there.
            began_s: When the renewal before it began, by the boot-time clock.
        """
        waiting = self._waiting
        if waiting is None or read_boottime_s() - began_s > self._times.publish_s:
            return
        plan, content = waiting
        key = name_content_key(self._prefix)
        try:
            answer = self._store.transact(
                [etcd.created_at(f"{self._prefix}holder", term.revision)],
                [
                    etcd.put(f"{self._prefix}plan", plan.write()),
                    etcd.put(key, content.decode()) if plan.has_content else etcd.delete(key),
                ],
            )
        except EtcdError as error:
            if not self._has_warned:
                self._has_warned = True
                self._log.warning("the gameplan in force could not be published yet: %s", error)
            return
        if answer.succeeded:
            self._log.info("published: %s", plan)
            with self._lock:
                self._stored = plan
                if self._waiting is waiting:
                    self._waiting = None

    def fetch(self, *, is_over: Callable[[], bool]) -> bytes | None:
        """The content in the store, not checked in any way; None where it is not to be had.

        Each member is asked in turn, for as long as a lease would live without its store.

        Args:
            is_over: Whether the lease is lost, so that nothing is started any more.
        """
        store = Etcd(self._settings, timeout_s=self._times.request_s)
        deadline_s = read_boottime_s() + self._times.fence_s
        try:
            while True:
                try:
                    content = store.read_one(name_content_key(self._prefix))
                except EtcdError as error:
                    self._log.warning("the gameplan in force could not be read: %s", error)
                else:
                    return None if content is None else content.encode()
                if read_boottime_s() >= deadline_s or is_over():
                    return None
                self._pause.wait(self._times.try_again_s)
        finally:
            store.close()

    def close(self) -> None:
        """Close the connections."""
        self._store.close()
