"""Keeps this host's part in the lease, from a thread of its own: no slow look of the supervisor delays a renewal.

The thread stands by, acquires, renews and notices the loss. What is started and stopped is the main thread's: it asks
`may_start`, `loss` and `handover`, and says `settle` or `release` once nothing of the bot and no login is left here.
The fence kills the bot at the deadline whether or not this process gets to run.
"""

import contextlib
import dataclasses
import logging
import secrets
import threading
from collections.abc import Callable, Iterable

from orchestration.bot.record import build_record_path
from orchestration.docker.engine import read_context_host
from orchestration.lease import etcd
from orchestration.lease.etcd import Etcd, EtcdError
from orchestration.lease.held import Role, Standing, fingerprint_login, read_standing, write_standing
from orchestration.lease.published_plan import PublishedPlan
from orchestration.lease.term import (
    Holder,
    LeaseState,
    Seen,
    Term,
    Times,
    explain_takeover,
    find_earliest_start_s,
    find_store_problem,
    is_renewed,
    name_keys,
    read_seen,
    remember,
    write_released,
)
from orchestration.settings import BotRuntime, Settings
from orchestration.supervision.fence import Fence, FenceError
from orchestration.supervision.plan_publisher import PlanPublisher
from orchestration.system.clock import Clock, read_boottime_s
from orchestration.system.commands import SystemCommands
from orchestration.system.platform import platform
from orchestration.system.processes import ProcessIdentity

_ENGINE_TIMEOUT_S = 10.0
_JOIN_TIMEOUT_S = 30.0


class Keeper:
    """This host's part in the lease. Its properties may be read from any thread.

    Args:
        settings: Which instance, which store.
        clock: Tells the time of day.
        log: The log.
        on_change: Called from another thread when the main thread should look; must not block.
    """

    def __init__(self, settings: Settings, *, clock: Clock, log: logging.Logger, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._times = Times(ttl_s=settings.lease_ttl_s)
        self._prefix = name_keys(settings.instance)
        self._store = Etcd(settings, timeout_s=self._times.request_s)
        before = read_standing(settings)
        self._memory = (
            LeaseState() if before is None else LeaseState(revision=before.seen_revision, cluster=before.cluster)
        )
        self._host_id = (before.host_id if before is not None else "") or secrets.token_hex(8)
        is_contained = settings.bot_runtime is BotRuntime.DOCKER
        asks_engine = is_contained and not settings.environ.get("DOCKER_HOST")
        self._engine_host = read_context_host(SystemCommands(), timeout_s=_ENGINE_TIMEOUT_S) if asks_engine else ""
        self._standing = Standing(role=Role.STANDBY, host=settings.lease_host, host_id=self._host_id)
        self._gateway = ""
        self._told_plan = "" if before is None else before.told_plan
        self._login = fingerprint_login(settings)
        self._namesake_since_s: float | None = None
        self._has_namesake = False
        self._leader: Holder | None = None
        self._is_held = False
        self._why = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_over = False
        self._term: Term | None = None
        self._fence: Fence | None = None
        self._loss = ""
        self._handover = ""
        self._may_acquire = False
        self._holds_back_until_s = 0.0
        self._holds_back_from_term = 0
        self._failover_seen = -1
        self._failed_in_a_row = 0
        self._owed: Term | None = None
        self._unheard: tuple[str, Term] | None = None
        self._told = ""
        self._plans = PlanPublisher(settings, self._times, log=log)
        self._thread = platform().start_thread(self._run, name="lease")

    @property
    def standing(self) -> Standing:
        """Where this host stands."""
        return self._standing

    @property
    def revision(self) -> int:
        """See `HeldLease.revision`."""
        term = self._term
        return 0 if term is None else term.revision

    @property
    def since(self) -> str:
        """When this host's term began, ISO 8601; empty without one."""
        term = self._term
        return "" if term is None else term.since

    @property
    def reason(self) -> str:
        """See `HeldLease.reason`."""
        term = self._term
        return "" if term is None else term.reason

    @property
    def leader(self) -> Holder | None:
        """The other host that holds the lease, as it was last seen; None where none does, or this one does."""
        return self._leader

    @property
    def is_led_elsewhere(self) -> bool:
        """Whether another host holds the lease; a term of this host's own former supervisor is not another host's."""
        leader = self._leader
        if leader is None:
            return False
        is_own = leader.host == self._settings.lease_host and leader.host_id in {"", self._host_id}
        return not is_own

    @property
    def is_held(self) -> bool:
        """Whether the instance was held on all hosts when the store was last seen."""
        return self._is_held

    @property
    def has_namesake(self) -> bool:
        """Whether another host has been seen that leads under this host's LEASE_HOST. This one never leads then."""
        return self._has_namesake

    @property
    def loss(self) -> str:
        """See `HeldLease.loss`. Looks at the clock: a process that was frozen learns it at once."""
        term, fence = self._term, self._fence
        if term is None:
            return self._loss
        if self._loss:
            return self._loss
        if fence is None or fence.has_fired or not fence.is_alive():
            return term.find_loss(read_boottime_s()) or "the process that would kill the bot in time does not work"
        return term.find_loss(read_boottime_s())

    @property
    def handover(self) -> str:
        """See `HeldLease.handover`."""
        return self._handover

    @property
    def may_start(self) -> bool:
        """Whether the lease is held, and the last holder's bot is certainly dead."""
        term = self._term
        return term is not None and not self.loss and read_boottime_s() >= term.starts_s

    @property
    def published_plan(self) -> PublishedPlan | None:
        """See `HeldLease.published_plan`."""
        return self._plans.published

    def publish_plan(self, plan: PublishedPlan, content: bytes = b"") -> None:
        """See `HeldLease.publish_plan`."""
        if self._term is not None:
            self._plans.publish(plan, content)
            self._wake.set()

    def fetch_plan(self) -> bytes | None:
        """See `HeldLease.fetch_plan`."""
        return self._plans.fetch(is_over=lambda: bool(self.loss))

    def allow(self) -> None:
        """Nothing of the bot runs here: the lease may be acquired."""
        if not self._may_acquire:  # it is said with each look: that adds no request to the store
            self._may_acquire = True
            self._wake.set()

    def note_gateway(self, text: str) -> None:
        """Say in `status` how the gateway of this hot standby is; empty for none."""
        self._gateway = text
        self._wake.set()

    @property
    def told_plan(self) -> str:
        """The difference of plans that was told last, also by an earlier supervisor of this host."""
        return self._told_plan

    def note_told_plan(self, difference: str) -> None:
        """Keep which difference of plans was told."""
        self._told_plan = difference
        self._wake.set()

    def watch(self, identities: Iterable[ProcessIdentity]) -> None:
        """See `HeldLease.watch`."""
        fence = self._fence
        if fence is not None:
            try:
                fence.watch(identities)
            except FenceError as error:
                self._log.error("%s", error)

    def release(self, *, is_clean: bool, why: str = "") -> None:
        """Give the lease up. The main thread says so after a graceful end.

        Args:
            is_clean: Whether nothing of the bot and no login is left here. The next holder then need not wait.
            why: Why, as the next holder tells it; by default what was asked for through the store.
        """
        with self._lock:
            term, fence = self._term, self._fence
            self._may_acquire = False
            if term is None:
                return
            # After a loss too: what the fence has killed is gone as certainly as what was stopped.
            may_say_so = is_clean and read_boottime_s() >= term.starts_s
            self._why = self._handover or why or self._loss
            if self._handover:
                self._holds_back_until_s = read_boottime_s() + self._times.takeover_s
                self._holds_back_from_term = term.revision
            self._term, self._fence, self._handover, self._loss = None, None, "", ""
        self._plans.forget()
        if fence is not None and not fence.release():
            self._log.error("the fence still sees processes of the bot; the lease is left to expire")
            self._stand(Role.STANDBY)
            return
        if not is_clean:
            self._stand(Role.STANDBY)
            return
        if not self._give_back(term, is_released=may_say_so):
            self._owed = term if may_say_so else None  # said as soon as the store answers again
            self._wake.set()
        self._stand(Role.STANDBY)

    def _give_back(self, term: Term, *, is_released: bool) -> bool:
        """Delete the key, at any member that answers. Returns whether it is done."""
        store = Etcd(self._settings, timeout_s=self._times.request_s)
        error: EtcdError | None = None
        try:
            for _ in self._settings.lease_etcd:
                try:
                    self._delete_holder(store, term, is_released=is_released)
                except EtcdError as problem:
                    error = problem  # the next member is asked
                else:
                    return True
        finally:
            store.close()
        self._log.warning("the lease could not be given back yet, and expires by itself: %s", error)
        return False

    def _delete_holder(self, store: Etcd, term: Term, *, is_released: bool) -> None:
        said = [etcd.put(f"{self._prefix}released", write_released(term.revision, self._why))] if is_released else []
        answer = store.transact(
            [etcd.created_at(f"{self._prefix}holder", term.revision)],
            [*said, etcd.delete(f"{self._prefix}holder")],
        )
        if answer.succeeded:
            with contextlib.suppress(EtcdError):
                store.revoke(term.lease)  # it holds no key any more

    def close(self) -> None:
        """End the thread. A lease that is still held is left to expire, and its fence with it."""
        self._is_over = True
        self._wake.set()
        self._thread.join(_JOIN_TIMEOUT_S)
        self._store.close()
        self._plans.close()

    def _run(self) -> None:
        while not self._is_over:
            self._wake.clear()
            term = self._term
            try:
                pause_s = self._stand_by() if term is None else self._renew(term)
                self._failed_in_a_row = 0
            except EtcdError as error:
                self._failed_in_a_row += 1
                members = len(self._settings.lease_etcd)
                pause_s = self._times.find_pause_s(self._failed_in_a_row, members=members, is_leading=term is not None)
                self._stand(self._standing.role, problem=str(error))
            except Exception as error:  # noqa: BLE001 - the thread's boundary: it must go on, or end the bot
                self._log.exception("the lease's thread failed")
                pause_s = self._times.renew_every_s
                self._lose(f"internal error: {type(error).__name__}: {error}")
            if self._term is not None and self.loss:
                self._lose(self.loss)
            self._wake.wait(pause_s)

    def _look(self) -> Seen:
        answer = self._store.read(self._prefix)
        return self._believe(read_seen(answer, self._prefix, at_s=read_boottime_s()))

    def _believe(self, seen: Seen) -> Seen:
        problem = find_store_problem(self._memory, seen)
        if problem:
            raise EtcdError(
                f"{problem}; make sure that no bot runs on any host, then remove STATE_DIR/lease.json there"
            )
        self._memory = remember(self._memory, seen)
        self._is_held = bool(seen.hold)
        self._plans.note_stored(seen.plan)
        return seen

    def _stand_by(self) -> float:
        seen = self._look()
        owed, self._owed = self._owed, None
        if owed is not None and seen.holder_revision == owed.revision:
            self._owed = owed  # until it is said
            self._delete_holder(self._store, owed, is_released=True)
            self._owed = None
            return 0.0
        unheard = self._take_up_unheard(seen)
        if unheard is not None and not self._is_over:
            return self._begin(unheard)
        self._look_for_namesake(seen)
        held_back = self._find_reason_to_hold_back(seen)
        may_acquire = self._may_acquire and not held_back and not self._has_namesake and not self._is_over
        if seen.holder is None and may_acquire:
            return self._acquire(seen)
        problem = f"held on all hosts: {seen.hold}" if seen.hold else ""
        self._stand(Role.STANDBY, seen=seen, problem=self._describe_namesake() or problem)
        return self._times.look_every_s

    def _look_for_namesake(self, seen: Seen) -> None:
        """Find another host of the same name: one that still leads when a former process of this host could not.

        A supervisor that was killed leaves its key behind until the lease expires. Its key has this host's own id, or,
        where STATE_DIR was emptied meanwhile, is gone after that time.
        """
        holder = seen.holder
        if holder is None or holder.host != self._settings.lease_host or holder.host_id in {"", self._host_id}:
            self._namesake_since_s = None
            return
        if self._namesake_since_s is None:
            self._namesake_since_s = seen.at_s
        longest_s = max(self._times.ttl_s, holder.ttl_s) + self._times.grant_s
        if seen.at_s - self._namesake_since_s > longest_s and not self._has_namesake:
            self._has_namesake = True
            self._log.error("%s", self._describe_namesake())
            self._on_change()

    def _describe_namesake(self) -> str:
        if not self._has_namesake:
            return ""
        return (
            f"another host leads as {self._settings.lease_host!r}, too: give each host a LEASE_HOST of its own and "
            "start this one again"
        )

    def _find_reason_to_hold_back(self, seen: Seen) -> str:
        if seen.hold:
            return "held"
        now_s = read_boottime_s()
        asked = seen.failover
        if self._failover_seen < 0:
            self._failover_seen = seen.revision if asked is None else asked.revision
        elif asked is not None and asked.revision > self._failover_seen:
            self._failover_seen = asked.revision
            if asked.to and asked.to != self._settings.lease_host:
                self._holds_back_until_s = now_s + self._times.takeover_s
                self._holds_back_from_term = seen.term_revision
        if now_s < self._holds_back_until_s:
            if seen.term_revision <= self._holds_back_from_term:
                return "another host is to take over"
            if seen.holder is None:
                self._holds_back_until_s = 0.0  # it did take over, and has ended: it did not come up there
        return ""

    def _acquire(self, seen: Seen) -> float:
        prefix, began_s = self._prefix, read_boottime_s()
        lease = self._store.grant(self._times.grant_s)
        since = self._clock.now().astimezone().isoformat(timespec="seconds")
        session = secrets.token_hex(8)  # of this try: it tells whether the one was done whose answer is missing
        me = Holder(host=self._settings.lease_host, session=session, since=since, ttl_s=self._times.ttl_s)
        reason = explain_takeover(seen)
        me = dataclasses.replace(me, reason=reason, host_id=self._host_id, login=self._login)
        term = Term(
            revision=0,
            lease=lease,
            since=since,
            renewed_s=began_s,
            starts_s=find_earliest_start_s(self._memory, seen, self._times),
            fence_s=self._times.fence_s,
            reason=reason,
        )
        self._unheard = (me.session, term)
        answer = self._store.transact(
            [
                etcd.created_at(f"{prefix}holder", 0),
                etcd.written_at(f"{prefix}term", seen.term_revision),
                etcd.written_at(f"{prefix}hold", 0),
            ],
            [etcd.put(f"{prefix}holder", me.write(), lease=lease), etcd.put(f"{prefix}term", me.write())],
        )
        self._unheard = None
        if not answer.succeeded:
            self._store.revoke(lease)
            return 0.0
        return self._begin(dataclasses.replace(term, revision=answer.revision))

    def _take_up_unheard(self, seen: Seen) -> Term | None:
        """The term that began by a request whose answer did not arrive; None where none did.

        It belongs to this host: no other one knows the name that was written. Its time counts from before that request.
        """
        unheard, self._unheard = self._unheard, None
        if unheard is None or seen.holder is None or seen.holder.session != unheard[0] or not self._may_acquire:
            return None
        term = dataclasses.replace(unheard[1], revision=seen.holder_revision)
        return None if term.find_loss(read_boottime_s()) else term

    def _begin(self, term: Term) -> float:
        self._memory = dataclasses.replace(
            self._memory, revision=max(self._memory.revision, term.revision), absent_since_s=None
        )
        is_contained = self._settings.bot_runtime is BotRuntime.DOCKER
        try:
            fence = Fence.start(
                term.deadline_s,
                marker=str(build_record_path(self._settings)),
                environ=self._settings.environ,
                container=self._settings.bot_container_name if is_contained else "",
                engine_host=self._engine_host,
                on_change=self._note_fence,
            )
        except FenceError as error:
            self._store.revoke(term.lease)
            raise EtcdError(f"the lease is not kept: {error}") from error
        with self._lock:
            self._loss, self._handover = "", ""
            self._fence, self._term = fence, term
        self._log.info("the lease is acquired: revision %d; %s", term.revision, term.reason)
        self._stand(Role.WAITING if read_boottime_s() < term.starts_s else Role.LEADING)
        self._on_change()
        return 0.0

    def _renew(self, term: Term) -> float:
        if self._loss:
            return self._times.renew_every_s  # until the main thread has ended what ran here
        began_s = read_boottime_s()
        loss = term.find_loss(began_s)
        if loss:
            self._lose(loss)
            return self._times.renew_every_s
        seen = self._ask_for_renewal(term)
        if seen is None:
            self._lose("the store says that the lease has ended, or has another holder")
            return self._times.renew_every_s
        if not self._move_deadline(term, began_s):
            return self._times.try_again_s
        self._note_requests(seen)
        self._plans.write(term, began_s)
        now_s = read_boottime_s()
        is_waiting = now_s < term.starts_s
        self._stand(Role.WAITING if is_waiting else Role.LEADING)
        if not is_waiting and not self.loss:
            self._on_change_once(f"leading {term.revision}")
        pause_s = max(0.0, began_s + self._times.renew_every_s - now_s)
        return min(pause_s, max(0.0, term.starts_s - now_s)) if is_waiting else pause_s

    def _ask_for_renewal(self, term: Term) -> Seen | None:
        """What the store showed where the renewal counts; None where the lease is certainly lost."""
        ttl_s = self._store.keep_alive(term.lease)
        answer = self._store.transact(
            [etcd.created_at(f"{self._prefix}holder", term.revision)], [etcd.get_all(self._prefix)]
        )
        if not answer.succeeded:
            return None
        seen = self._believe(read_seen(answer, self._prefix, at_s=read_boottime_s()))
        return seen if is_renewed(term, ttl_s=ttl_s, seen=seen) else None

    def _move_deadline(self, term: Term, began_s: float) -> bool:
        with self._lock:
            if self._term is not term or self._fence is None or self._loss:
                return False  # it was given up meanwhile
            renewed = dataclasses.replace(term, renewed_s=began_s)
            try:
                self._fence.renew(renewed.deadline_s)
            except FenceError as error:
                self._log.error("%s", error)
                return False
            self._term = renewed
            return True

    def _note_requests(self, seen: Seen) -> None:
        asked = seen.failover
        reason = ""
        if seen.hold:
            reason = f"the instance is held on all hosts: {seen.hold}"
        elif self._failover_seen < 0:
            self._failover_seen = seen.revision if asked is None else asked.revision
        elif asked is not None and asked.revision > self._failover_seen:
            self._failover_seen = asked.revision
            if asked.to != self._settings.lease_host:
                reason = f"a fail-over{f' to {asked.to}' if asked.to else ''} was asked for by {asked.by}"
        if reason and not self._handover:
            self._handover = reason
            self._log.info("%s", reason)
            self._on_change()

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._term is None or self._loss:
                return
            self._loss = why
            fence = self._fence
        if fence is not None:
            try:
                fence.fire()
            except FenceError:
                self._log.info("the fence has killed the bot")
        self._log.error("the lease is lost: %s", why)
        self._stand(Role.LOST, problem=why)
        self._on_change()

    def _note_fence(self) -> None:
        self._wake.set()
        self._on_change()

    def _on_change_once(self, what: str) -> None:
        if self._told != what:
            self._told = what
            self._on_change()

    def _stand(self, role: Role, *, seen: Seen | None = None, problem: str = "") -> None:
        term = self._term
        host = self._settings.lease_host
        before = self._standing
        holder, since, revision, reason = before.holder, before.since, before.revision, before.reason
        if term is not None:
            holder, since, revision, reason = host, term.since, term.revision, term.reason
            self._leader = None
        elif seen is not None:
            leader = seen.holder
            holder, revision = ("" if leader is None else leader.host), seen.holder_revision
            since, reason = ("", "") if leader is None else (leader.since, leader.reason)
            self._leader = leader
        elif role is Role.STANDBY and not problem:
            holder, since, revision, reason = "", "", 0, ""
            self._leader = None
        standing = Standing(
            role=role,
            host=host,
            holder=holder,
            since=since,
            revision=revision,
            problem=problem,
            seen_revision=self._memory.revision,
            cluster=self._memory.cluster,
            reason=reason,
            host_id=self._host_id,
            gateway=self._gateway if term is None else "",
            plan="" if self._plans.stored is None else self._plans.stored.write(),
            told_plan=self._told_plan,
        )
        if standing == self._standing:
            return
        is_news = (standing.role, standing.holder, standing.problem) != (
            self._standing.role,
            self._standing.holder,
            self._standing.problem,
        )
        self._standing = standing
        try:
            write_standing(self._settings, standing)
        except OSError as error:
            self._log.warning("lease.json could not be written: %s", error)
        if is_news:
            self._on_change()
