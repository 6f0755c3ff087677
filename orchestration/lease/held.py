"""What the rest of the program asks of the lease. Imports nothing that only a host with LEASE_ETCD needs."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import Settings
from orchestration.state_dir import LEASE, StateFileError, read_fields, write_fields
from orchestration.system.processes import ProcessIdentity

if TYPE_CHECKING:
    from orchestration.lease.published_plan import PublishedPlan

REVISION_VARIABLE = "LEASE_REVISION"
_FINGERPRINT_ROUNDS = 100_000
_FINGERPRINT_DIGITS = 16


class Role(StrEnum):
    """What a host is to its instance. The values are stable words."""

    LEADING = "leading"
    STANDBY = "standby"
    WAITING = "waiting"
    """It holds the lease, and waits until the bot of the last holder is certainly dead."""
    LOST = "lost"
    """It has lost the lease, and is stopping its bot and gateway."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where this host stands, as its supervisor last wrote it down (`STATE_DIR/lease.json`).

    Attributes:
        role: What it is.
        host: Its own LEASE_HOST.
        holder: Who holds the lease; empty where no host does, or that is unknown.
        since: Since when, ISO 8601.
        revision: The revision of the holder's term.
        problem: What is wrong with the store; empty where nothing is.
        seen_revision: The highest revision of the store that was seen.
        cluster: The id of the store's cluster.
        reason: Why the holder has the lease.
        host_id: Which host this is, whatever it is called: made up once for a STATE_DIR.
        gateway: How the gateway of a hot standby is (STANDBY_GATEWAY=hot); empty where there is none.
        plan: The gameplan in force, as the store has it (`published_plan`); empty where none is published.
        told_plan: The difference between that plan and this host's file that was told last; empty for none.
    """

    role: Role
    host: str
    holder: str = ""
    since: str = ""
    revision: int = 0
    problem: str = ""
    seen_revision: int = 0
    cluster: str = ""
    reason: str = ""
    host_id: str = ""
    gateway: str = ""
    plan: str = ""
    told_plan: str = ""

    def __str__(self) -> str:
        since = f" since {self.since}" if self.since else ""
        reason = f", because {self.reason}" if self.reason else ""
        problem = f"; the store: {self.problem}" if self.problem else ""
        match self.role:
            case Role.LEADING:
                return f"{self.host} leads{since} (lease revision {self.revision}){reason}{problem}"
            case Role.WAITING:
                return (
                    f"{self.host} has acquired the lease and waits until the last holder's bot is dead{reason}{problem}"
                )
            case Role.LOST:
                return f"{self.host} has lost the lease{problem}"
        leader = f"{self.holder} leads{since}{reason}" if self.holder else "no host leads"
        gateway = f"; its gateway: {self.gateway}" if self.gateway else ""
        return f"{self.host} stands by; {leader}{gateway}{problem}"


class HeldLease(Protocol):
    """A lease that this process keeps."""

    @property
    def revision(self) -> int:
        """The fencing number of the term; 0 without one."""
        ...

    @property
    def reason(self) -> str:
        """Why this host got it; empty without one."""
        ...

    @property
    def loss(self) -> str:
        """Why the lease is lost; empty while it is not."""
        ...

    @property
    def handover(self) -> str:
        """Why the lease is to be released gracefully; empty where it is not."""
        ...

    @property
    def published_plan(self) -> "PublishedPlan | None":
        """The gameplan in force, as the last leader published it; None where none is published."""
        ...

    def watch(self, identities: Iterable[ProcessIdentity]) -> None:
        """Tell the fence what belongs to the bot."""
        ...

    def publish_plan(self, plan: "PublishedPlan", content: bytes = b"") -> None:
        """Publish the gameplan in force, soon: with the next renewal that counts. Does nothing without a term."""
        ...

    def fetch_plan(self) -> bytes | None:
        """The content of the published plan, not checked in any way; None where it is not to be had."""
        ...


_KEPT: list[HeldLease] = []


def keep(lease: HeldLease) -> None:
    """From now on this process keeps a lease. One process never keeps two."""
    _KEPT[:] = [lease]


def drop() -> None:
    """It does not any more."""
    _KEPT.clear()


def kept_lease() -> HeldLease | None:
    """The lease that this process keeps, whether or not it holds it now."""
    return _KEPT[0] if _KEPT else None


def require_lease(settings: Settings) -> None:
    """Look again, right before something that can lead to a trade.

    Raises:
        StartupFailure: `LEASE_UNAVAILABLE`: the lease was lost. `LEASED_ELSEWHERE`: this process has none.
    """
    if not settings.lease_etcd or settings.simulated:
        return
    lease = kept_lease()
    if lease is None:
        raise build_refusal(settings)
    if lease.loss or not lease.revision:
        raise _build_unavailable(settings, lease.loss or "it was given up")


def name_cause(settings: Settings, failure: StartupFailure) -> StartupFailure:
    """What a run failed for: the loss of the lease where that came first, or else the failure as it is.

    The bot is killed at the lease's deadline; to a start that waits for the bot, it has died.
    """
    lease = kept_lease()
    if lease is None or not lease.loss or failure.word in {FailureWord.INTERRUPTED, FailureWord.LEASE_UNAVAILABLE}:
        return failure
    return _build_unavailable(settings, lease.loss, evidence=(str(failure), *failure.evidence))


def _build_unavailable(settings: Settings, why: str, *, evidence: tuple[str, ...] = ()) -> StartupFailure:
    return StartupFailure(
        FailureWord.LEASE_UNAVAILABLE,
        f"This host does not hold the lease of instance {settings.instance}: {why}.",
        next_action="Nothing to do while the store works again by itself: the host that acquires the lease "
        "starts. Otherwise look at the etcd cluster; `inv status` says who leads.",
        evidence=evidence,
    )


def build_refusal(settings: Settings) -> StartupFailure:
    """What a command fails with that is not the supervisor's and would start, restart or log in something."""
    standing = read_standing(settings)
    known = f": {standing}" if standing is not None else ""
    return StartupFailure(
        FailureWord.LEASED_ELSEWHERE,
        f"LEASE_ETCD is set, so only the supervisor that holds the lease of instance {settings.instance} may do "
        f"this{known}.",
        next_action="Run `inv startup --service` (or the boot service, or `--foreground`) on each host; "
        "`inv bot.restart` has the supervisor restart the bot. Commands by hand need LEASE_ETCD unset, on one host "
        "alone.",
    )


def refuse_by_hand(settings: Settings) -> None:
    """A start without a supervisor could not keep a lease.

    Raises:
        StartupFailure: `CONFIG_INVALID`: LEASE_ETCD is set.
    """
    if settings.lease_etcd and not settings.simulated and kept_lease() is None:
        raise StartupFailure(
            FailureWord.CONFIG_INVALID,
            "LEASE_ETCD: is set, and a start that does not stay with the bot cannot keep the lease.",
            next_action="Start with `inv startup --foreground`, or install the boot service (`inv install`); "
            "`--simulate` needs no lease.",
        )


def fingerprint_login(settings: Settings) -> str:
    """Tells user names of the broker apart without showing them; empty where this host's is not known."""
    if settings.tws_userid is None:
        return ""
    import hashlib

    salt = settings.instance.encode()
    user = settings.tws_userid.reveal().strip().lower().encode()
    return hashlib.pbkdf2_hmac("sha256", user, salt, _FINGERPRINT_ROUNDS).hex()[:_FINGERPRINT_DIGITS]


def read_standing(settings: Settings) -> Standing | None:
    """Where this host stands; None where that is not written down, or not to be read."""
    try:
        fields = read_fields(settings.state_dir / LEASE)
        known = {name: fields[name] for name in Standing.__dataclass_fields__ if name in fields}
        revision, seen = int(known.get("revision", 0)), int(known.get("seen_revision", 0))
        return Standing(**(known | {"role": Role(known["role"]), "revision": revision, "seen_revision": seen}))
    except (OSError, StateFileError, KeyError, TypeError, ValueError):
        return None


def write_standing(settings: Settings, standing: Standing) -> None:
    """Write down where this host stands.

    Raises:
        OSError: It could not be written.
    """
    write_fields(settings.state_dir / LEASE, asdict(standing))
