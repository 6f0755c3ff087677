"""Which gameplan is in force, as the leader publishes it in the store, and what another host makes of it. Pure.

The record is small and travels with every look at the store. The plan's content, up to `MAX_CONTENT_BYTES`, stands
under a key of its own that is read at a take-over only. Nothing is trusted because it comes from the store: the content
must have the record's hash, and is then judged like a file.
"""

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any

from orchestration.redaction import clean_line

MAX_CONTENT_BYTES = 256 * 1024  # etcd takes requests of 1.5 MiB; a plan has a few KiB
_HASH = re.compile(r"[0-9a-f]{64}")
_HASH_CHARACTERS = 12
_HOST_CHARACTERS = 255
_NAME_CHARACTERS = 80
_REASON_CHARACTERS = 200
_STRATEGIES = frozenset({"A", "B", "C"})


class PlanState(StrEnum):
    """What the leader's plan is. The values are stable words."""

    ACTIVE = "active"
    """The bot runs, or is about to run, on it."""
    WITHDRAWN = "withdrawn"
    """It was active, and its file has been quarantined on the leader since."""
    NONE = "none"
    """The leader is on Strategy C because it has no usable plan."""


class PlanComparison(StrEnum):
    """How a host's plan file compares with the leader's active plan. The values are stable words."""

    UNKNOWN = "unknown"
    SAME = "same"
    DIFFERS = "differs"
    OLDER = "older"
    NEWER = "newer"
    UNUSABLE = "unusable"
    MISSING = "missing"
    WITHDRAWN = "withdrawn"
    ONLY_HERE = "only_here"
    NO_PLAN = "no_plan"

    @property
    def needs_attention(self) -> bool:
        """Whether a plan has reached one host only, or was withdrawn on one only. A newer plan waits for its day."""
        return self not in {PlanComparison.UNKNOWN, PlanComparison.SAME, PlanComparison.NEWER, PlanComparison.NO_PLAN}

    @property
    def sentence(self) -> str:
        """The same for people."""
        return {
            PlanComparison.UNKNOWN: "the leader has not published its plan",
            PlanComparison.SAME: "this host has the same plan",
            PlanComparison.DIFFERS: "this host has another plan for the same day",
            PlanComparison.OLDER: "this host's plan is older",
            PlanComparison.NEWER: "this host's plan is for a later day",
            PlanComparison.UNUSABLE: "this host's plan cannot be used",
            PlanComparison.MISSING: "this host has no plan",
            PlanComparison.WITHDRAWN: "this host still has the withdrawn plan",
            PlanComparison.ONLY_HERE: "this host alone has a plan that could be used now",
            PlanComparison.NO_PLAN: "this host has none that could be used now, either",
        }[self]


class PlanChoice(StrEnum):
    """Which plan a host that leads goes by."""

    OWN_FILE = "own_file"
    PUBLISHED = "published"
    NEITHER = "neither"


@dataclass(frozen=True, kw_only=True)
class PublishedPlan:
    """The leader's plan, as it stands in the store.

    Attributes:
        state: What it is.
        host: The host whose file it was.
        by: The host that published it last. It differs from `host` after a take-over with this plan.
        at: When, ISO 8601.
        sha256: Of the file's bytes, in hexadecimal; empty without a plan.
        date: The plan's date, `YYYY-MM-DD`; empty without one.
        strategy: `A`, `B` or `C`; empty without one.
        size: The file's size in bytes.
        name: The file's name.
        has_content: Whether the content stands in the store, too: False for a plan larger than `MAX_CONTENT_BYTES`.
        passed_over: The hash of the file on `by` that this plan was preferred to, an empty text where there was none;
            None where the plan is that file itself.
        reason: Why there is none, or why it was withdrawn.
    """

    state: PlanState
    host: str
    by: str
    at: str
    sha256: str = ""
    date: str = ""
    strategy: str = ""
    size: int = 0
    name: str = ""
    has_content: bool = False
    passed_over: str | None = None
    reason: str = ""

    def write(self) -> str:
        """As the store keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "PublishedPlan | None":
        """What the store has; None for what no leader of this program has written. Texts are fit to be shown."""
        try:
            fields: dict[str, Any] = json.loads(text)
            plan = cls(
                state=PlanState(fields["state"]),
                host=_read_host(fields["host"]),
                by=_read_host(fields["by"]),
                at=_clean_name(fields["at"]),
                sha256=str(fields["sha256"]),
                date=str(fields["date"]),
                strategy=str(fields["strategy"]),
                size=int(fields["size"]),
                name=_clean_name(fields["name"]),
                has_content=fields["has_content"] is True,
                passed_over=None if fields["passed_over"] is None else str(fields["passed_over"]),
                reason=clean_line(str(fields["reason"]), limit=_REASON_CHARACTERS),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        return plan if plan._is_sound() else None

    def _is_sound(self) -> bool:
        if self.passed_over and not _HASH.fullmatch(self.passed_over):
            return False
        if self.state is PlanState.NONE:
            return not (self.sha256 or self.date or self.strategy or self.has_content)
        try:
            date.fromisoformat(self.date)
        except ValueError:
            return False
        return bool(_HASH.fullmatch(self.sha256)) and self.strategy in _STRATEGIES and self.size >= 0

    def withdraw(self, reason: str, *, by: str, at: str) -> "PublishedPlan":
        """The same plan, after its file was quarantined on the host that leads."""
        return replace(self, state=PlanState.WITHDRAWN, by=by, at=at, has_content=False, reason=reason)

    def reinstate(self, *, at: str) -> "PublishedPlan":
        """The same plan, after its file is not quarantined any more."""
        has_content = self.size <= MAX_CONTENT_BYTES
        return replace(self, state=PlanState.ACTIVE, at=at, has_content=has_content, reason="")

    def __str__(self) -> str:
        match self.state:
            case PlanState.NONE:
                return f"no plan: {self.by} is on Strategy C" + (f" ({self.reason})" if self.reason else "")
            case PlanState.WITHDRAWN:
                return f"{self._describe_content()}, withdrawn on {self.by} ({self.reason})"
        return self._describe_content()

    def _describe_content(self) -> str:
        return f"{self.name} of {self.host}: strategy {self.strategy} for {self.date} ({shorten_hash(self.sha256)})"


@dataclass(frozen=True, kw_only=True)
class OwnPlan:
    """The plan file of this host.

    Attributes:
        sha256: Of its bytes; empty where there is none that can be read.
        date: Its date; empty where it has none that can be read.
        is_usable: Whether a bot could be started on it now.
    """

    sha256: str
    date: str
    is_usable: bool


def shorten_hash(sha256: str) -> str:
    """Enough of a hash to tell plans apart; the copies in STATE_DIR/gameplans have it in their name."""
    return sha256[:_HASH_CHARACTERS]


def compare_plans(published: PublishedPlan | None, own: OwnPlan) -> PlanComparison:
    """How this host's plan file compares with the leader's plan.

    Args:
        published: The leader's; None where it has not published one.
        own: This host's.
    """
    if published is None:
        return PlanComparison.UNKNOWN
    if published.state is PlanState.ACTIVE:
        return _compare_with_active(published, own)
    if published.sha256 and published.sha256 == own.sha256:
        return PlanComparison.WITHDRAWN
    return PlanComparison.ONLY_HERE if own.is_usable else PlanComparison.NO_PLAN


def _compare_with_active(published: PublishedPlan, own: OwnPlan) -> PlanComparison:
    if published.sha256 == own.sha256:
        return PlanComparison.SAME
    if not own.sha256:
        return PlanComparison.MISSING
    if own.date and own.date != published.date:
        return PlanComparison.NEWER if own.date > published.date else PlanComparison.OLDER
    return PlanComparison.DIFFERS if own.is_usable else PlanComparison.UNUSABLE


def choose_plan(published: PublishedPlan | None, own_sha256: str, *, host: str) -> PlanChoice:
    """Which plan the host that leads goes by, before the published one was fetched and judged.

    The plan in force stays in force over a take-over. On the host that published it last, a file whose content has
    changed since then was put there on purpose, and counts as on a host alone.

    Args:
        published: The plan of the last leader, which may be this host; None where none is published.
        own_sha256: The hash of this host's plan file; empty where there is none that can be read.
        host: This host's LEASE_HOST.
    """
    if published is None or published.state is PlanState.NONE:
        return PlanChoice.OWN_FILE
    if published.state is PlanState.WITHDRAWN:
        return PlanChoice.NEITHER if is_withdrawn(published, own_sha256, host=host) else PlanChoice.OWN_FILE
    if published.sha256 == own_sha256:
        return PlanChoice.OWN_FILE
    if published.by == host and published.passed_over != own_sha256:
        return PlanChoice.OWN_FILE
    return PlanChoice.PUBLISHED


def is_withdrawn(published: PublishedPlan, own_sha256: str, *, host: str) -> bool:
    """Whether this host's plan file is the plan that another host has withdrawn."""
    is_same = published.sha256 == own_sha256 and published.by != host
    return is_same and published.state is PlanState.WITHDRAWN


def _read_host(value: object) -> str:
    """A LEASE_HOST. It is compared, so it is taken as it is, or not at all."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _HOST_CHARACTERS:
        raise ValueError
    return value


def _clean_name(value: object) -> str:
    return clean_line(str(value), limit=_NAME_CHARACTERS)
