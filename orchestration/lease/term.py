"""Who may run the instance, and until when. Pure.

The store holds, for each instance: `holder` (bound to a lease: gone when it expires), `term` (written together with
the holder, never deleted: its revision is the term's), `released` (written when a holder has stopped gracefully
and has nothing running any more), `plan` (which gameplan is in force, see `published_plan`), and what operators ask
for: `hold` and `failover`. The plan's content stands behind all of them, under a key that a look does not read.

All instants are seconds of the boot-time clock, which no operator and no time server can set and which counts the time
in which the machine is suspended.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestration.lease.etcd import StoreResult
from orchestration.lease.published_plan import PublishedPlan

_FENCE_SHARE = 0.6
_TAKEOVER_MARGIN_S = 2.0
_TAKEOVER_SLACK_S = 5.0
_REQUEST_SHARE = 0.2
_LOOK_SHARE = 0.1
_LONGEST_LOOK_S = 1.0
_TRY_AGAIN_SHARE = 0.04
_PUBLISH_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Times:
    """What follows from LEASE_TTL.

    Attributes:
        ttl_s: LEASE_TTL.
    """

    ttl_s: float

    @property
    def grant_s(self) -> int:
        """What the store is asked for: whole seconds, never less."""
        return math.ceil(self.ttl_s)

    @property
    def fence_s(self) -> float:
        """How long after the begin of a renewal that counted the bot may run."""
        return _FENCE_SHARE * self.ttl_s

    @property
    def request_s(self) -> float:
        """How long one request may take."""
        return _REQUEST_SHARE * self.ttl_s

    @property
    def renew_every_s(self) -> float:
        """How often the holder renews."""
        return _REQUEST_SHARE * self.ttl_s

    @property
    def publish_s(self) -> float:
        """How long a renewal, and then the publication of a plan, may take: together no more than the pause."""
        return _PUBLISH_SHARE * self.ttl_s

    @property
    def try_again_s(self) -> float:
        """How soon after a renewal that failed the next one is tried."""
        return _TRY_AGAIN_SHARE * self.ttl_s

    @property
    def takeover_s(self) -> float:
        """Within how long another host has begun after a holder's end."""
        return 2 * self.ttl_s + _TAKEOVER_SLACK_S

    @property
    def look_every_s(self) -> float:
        """How often a standby looks."""
        return min(_LONGEST_LOOK_S, _LOOK_SHARE * self.ttl_s)

    def find_pause_s(self, failed: int, *, members: int, is_leading: bool) -> float:
        """How long to wait after a request that failed; the next one goes to the next member.

        A standby goes through all members without its pause between looks: it would add up to what a take-over takes.

        Args:
            failed: How many requests in a row have failed, this one included.
            members: How many addresses LEASE_ETCD has.
            is_leading: Whether a renewal failed, and not a standby's look.
        """
        return self.try_again_s if is_leading or failed % members else self.look_every_s


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds, or last held, the lease, as it wrote itself down.

    Attributes:
        host: Its LEASE_HOST.
        session: A random name of its term.
        since: When it acquired the lease, ISO 8601.
        ttl_s: Its LEASE_TTL.
        reason: Why the lease came to it.
        host_id: Which host that is, whatever it is called; empty where an earlier release wrote it.
        login: A fingerprint of the user name that its gateway logs in with; empty where that is not known.
    """

    host: str
    session: str
    since: str
    ttl_s: float
    reason: str = ""
    host_id: str = ""
    login: str = ""

    def write(self) -> str:
        """As the store keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Holder":
        """What the store has; what cannot be read has a name that says so, and a TTL of a quarter of an hour."""
        try:
            fields: dict[str, Any] = json.loads(text)
            return cls(
                host=str(fields["host"]),
                session=str(fields["session"]),
                since=str(fields["since"]),
                ttl_s=float(fields["ttl_s"]),
                reason=str(fields.get("reason", "")),
                host_id=str(fields.get("host_id", "")),
                login=str(fields.get("login", "")),
            )
        except (ValueError, KeyError, TypeError):
            return cls(host="unknown", session="", since="", ttl_s=900.0)


@dataclass(frozen=True, kw_only=True)
class FailoverRequest:
    """What `inv failover` asked for.

    Attributes:
        to: The host that is to lead; empty for any other one.
        by: Who asked.
        at: When, ISO 8601.
        revision: The store's revision at which it was asked.
    """

    to: str
    by: str
    at: str
    revision: int = 0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One look at the store.

    Attributes:
        at_s: When the answer had arrived.
        revision: The store's revision.
        cluster: The cluster's id.
        holder: Who holds the lease; None where no host does.
        holder_revision: The revision of its term; 0 where no host holds the lease.
        term_revision: The revision of the last term that began; 0 where none ever did.
        last: Who had that term.
        released_revision: When a term was last released gracefully; 0 where none ever was.
        released_why: Why it was; empty where that was not written.
        hold: The hold of all hosts, as it was written; empty where there is none.
        failover: The last fail-over that was asked for.
        plan: The gameplan in force, as the last leader published it; None where none is, or it cannot be read.
    """

    at_s: float
    revision: int
    cluster: str
    holder: Holder | None = None
    holder_revision: int = 0
    term_revision: int = 0
    last: Holder | None = None
    released_revision: int = 0
    released_why: str = ""
    hold: str = ""
    failover: FailoverRequest | None = None
    plan: PublishedPlan | None = None


@dataclass(frozen=True, kw_only=True)
class LeaseState:
    """What a host remembers of the store.

    Attributes:
        revision: The highest revision seen; kept across restarts.
        cluster: The cluster's id; empty before the first answer; kept across restarts.
        absent_since_s: Since when the lease is seen to have no holder; None while it has one.
        absent_term: The revision of the term that had ended then.
    """

    revision: int = 0
    cluster: str = ""
    absent_since_s: float | None = None
    absent_term: int = 0


def name_keys(instance: str) -> str:
    """The prefix of an instance's keys."""
    return f"/zero-touch-startup/{instance}/"


def name_content_key(prefix: str) -> str:
    """The key of the content of the plan in force. It sorts behind the keys that a look reads (`etcd.get_all`)."""
    return f"{prefix}~plan"


def read_seen(answer: StoreResult, prefix: str, *, at_s: float) -> Seen:
    """What a read of all keys with the prefix shows."""
    rows = answer.rows
    holder, term = rows.get(f"{prefix}holder"), rows.get(f"{prefix}term")
    released, hold = rows.get(f"{prefix}released"), rows.get(f"{prefix}hold")
    failover, plan = rows.get(f"{prefix}failover"), rows.get(f"{prefix}plan")
    return Seen(
        at_s=at_s,
        revision=answer.revision,
        cluster=answer.cluster,
        holder=None if holder is None else Holder.read(holder.value),
        holder_revision=0 if holder is None else holder.create_revision,
        term_revision=0 if term is None else term.mod_revision,
        last=None if term is None else Holder.read(term.value),
        released_revision=0 if released is None else released.mod_revision,
        released_why="" if released is None else _read_why(released.value),
        hold="" if hold is None else hold.value or "held",
        failover=None if failover is None else _read_failover(failover.value, failover.mod_revision),
        plan=None if plan is None else PublishedPlan.read(plan.value),
    )


def write_released(revision: int, why: str) -> str:
    """What a holder writes that has stopped gracefully and has nothing running any more."""
    return json.dumps({"term": revision, "why": why})


def _read_why(text: str) -> str:
    try:
        fields: Any = json.loads(text)
    except ValueError:
        return ""
    return str(fields.get("why", "")) if isinstance(fields, dict) else ""  # an earlier release wrote a number


def is_released(seen: Seen) -> bool:
    """Whether the last holder ended its term gracefully, with nothing running any more."""
    return seen.released_revision > seen.term_revision


def explain_takeover(seen: Seen) -> str:
    """Why a host that acquires the lease now gets it."""
    if seen.term_revision == 0 or seen.last is None:
        return "no host led before"
    if is_released(seen):
        return f"{seen.last.host} released it" + (f": {seen.released_why}" if seen.released_why else "")
    return f"the lease of {seen.last.host} expired: its host or supervisor died, was cut off or stood still"


def _read_failover(text: str, revision: int) -> FailoverRequest | None:
    try:
        fields: dict[str, Any] = json.loads(text)
        return FailoverRequest(to=str(fields["to"]), by=str(fields["by"]), at=str(fields["at"]), revision=revision)
    except (ValueError, KeyError, TypeError):
        return None


def find_store_problem(memory: LeaseState, seen: Seen) -> str:
    """Why this store is not to be believed; empty where it is.

    A store that was restored from a backup, or another one, does not know what was promised since.
    """
    if memory.cluster and seen.cluster != memory.cluster:
        return f"it is another cluster ({seen.cluster}) than the one seen before ({memory.cluster})"
    if seen.revision < memory.revision:
        return f"it has gone back to revision {seen.revision}; {memory.revision} was seen before (a restored backup?)"
    return ""


def remember(memory: LeaseState, seen: Seen) -> LeaseState:
    """What is remembered after a look at a store that is believed."""
    memory = replace(memory, revision=max(memory.revision, seen.revision), cluster=seen.cluster)
    if seen.holder is not None:
        return replace(memory, absent_since_s=None, absent_term=0)
    if memory.absent_since_s is None or memory.absent_term != seen.term_revision:
        return replace(memory, absent_since_s=seen.at_s, absent_term=seen.term_revision)
    return memory


def find_earliest_start_s(memory: LeaseState, seen: Seen, times: Times) -> float:
    """From when on a host that acquires the lease now may start anything.

    The last holder's bot is dead by then: it counted its last renewal from before the instant at which the key was
    seen to be gone, whether or not the store dropped the lease too early. A holder that has released it gracefully
    had nothing running any more.
    """
    if seen.term_revision == 0 or is_released(seen) or memory.absent_since_s is None:
        return 0.0
    ttl_s = max(times.ttl_s, seen.last.ttl_s if seen.last is not None else 0.0)
    return memory.absent_since_s + _FENCE_SHARE * ttl_s + _TAKEOVER_MARGIN_S


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term that this host has.

    Attributes:
        revision: Its fencing number: strictly growing over all terms of all hosts.
        lease: The store's lease.
        since: When it was acquired, ISO 8601.
        reason: Why this host got it.
        renewed_s: When the last renewal that counted began.
        starts_s: From when on something may be started.
        fence_s: How long after a renewal's begin the bot may run.
    """

    revision: int
    lease: int
    since: str
    renewed_s: float
    starts_s: float
    fence_s: float
    reason: str = ""

    @property
    def deadline_s(self) -> float:
        """When everything of the bot is dead."""
        return self.renewed_s + self.fence_s

    def find_loss(self, at_s: float) -> str:
        """Why it is over by this host's own clock; empty while it is not."""
        if at_s < self.deadline_s:
            return ""
        return f"no renewal of the lease has counted for {at_s - self.renewed_s:.1f} s"


def is_renewed(term: Term, *, ttl_s: int, seen: Seen) -> bool:
    """Whether a renewal counts: the lease lives, and the key is still the one that this term created."""
    return ttl_s > 0 and seen.holder_revision == term.revision
