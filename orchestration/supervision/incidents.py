"""Incidents: from "this is so now" to what is said about it. Pure.

Each look makes a `Finding` for each kind of trouble: bad, fine, or unknown now. `track` remembers since when and says
each thing once: when it has lasted longer than its grace time, again only where it must not be forgotten, and when it
is over. While a finding is muted (a window of time in which it is expected) nothing is said; the first look after the
window says it at once. There is at most one incident of a kind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Self

from orchestration.alerts.alert import Severity


class ToldBy(Enum):
    """Who tells of an incident where gateway and bot have supervisors of their own, so that one of the two does."""

    GATEWAY = "gateway"
    BOT = "bot"
    EACH = "each"


class IncidentKind(StrEnum):
    """What can be wrong, or has happened, and who tells of it. The values are stable words: the alert's cause."""

    told_by: ToldBy

    def __new__(cls, word: str, told_by: ToldBy) -> Self:
        """A word that knows who tells of it."""
        kind = str.__new__(cls, word)
        kind._value_ = word
        kind.told_by = told_by
        return kind

    ENGINE_GONE = ("engine_gone", ToldBy.GATEWAY)
    GATEWAY_LOST = ("gateway_lost", ToldBy.GATEWAY)
    LOGIN_REJECTED = ("login_rejected", ToldBy.GATEWAY)
    WRONG_ACCOUNT = ("wrong_account", ToldBy.GATEWAY)
    SECOND_FACTOR = ("second_factor", ToldBy.GATEWAY)
    SESSION_TAKEN = ("session_taken", ToldBy.GATEWAY)
    LINK_DOWN = ("link_down", ToldBy.GATEWAY)
    HEALTH_CHECK_FAILING = ("health_check_failing", ToldBy.GATEWAY)
    FARMS_BROKEN = ("farms_broken", ToldBy.GATEWAY)
    WEEKLY_LOGIN_MISSING = ("weekly_login_missing", ToldBy.GATEWAY)
    BOT_ENDED = ("bot_ended", ToldBy.EACH)
    BOT_SUSPENDED = ("bot_suspended", ToldBy.EACH)
    BOT_SILENT = ("bot_silent", ToldBy.BOT)
    BOT_UNCONNECTED = ("bot_unconnected", ToldBy.BOT)
    ORDER_GUARD_ENDED = ("order_guard_ended", ToldBy.BOT)
    DISK_LOW = ("disk_low", ToldBy.GATEWAY)
    PLAN_MISSING = ("plan_missing", ToldBy.BOT)
    PLAN_UNUSABLE = ("plan_unusable", ToldBy.BOT)
    PLAN_CHANGED = ("plan_changed", ToldBy.BOT)
    # Events: they happen, and are over.
    GATEWAY_RESTARTED = ("gateway_restarted", ToldBy.GATEWAY)
    WEEKLY_LOGIN = ("weekly_login", ToldBy.GATEWAY)
    CLOCK_JUMP = ("clock_jump", ToldBy.GATEWAY)
    BOT_FINISHED = ("bot_finished", ToldBy.BOT)
    BOT_SWITCHED = ("bot_switched", ToldBy.BOT)
    BOT_STOPPED = ("bot_stopped", ToldBy.BOT)
    SUPERVISION_ENDED = ("supervision_ended", ToldBy.EACH)


class Verdict(StrEnum):
    """What a look says about one kind of trouble."""

    BAD = "bad"
    FINE = "fine"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """Where in its incident something is said."""

    OPENED = "opened"
    ACTED = "acted"
    WORSE = "worse"
    AGAIN = "again"
    OVER = "over"
    EVENT = "event"


@dataclass(frozen=True, kw_only=True)
class NoticeText:
    """Something said: a few words, one or two sentences, and what the operator should do (may be empty)."""

    title: str
    message: str
    next_action: str = ""


NOTHING_SAID = NoticeText(title="", message="")


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to be told to the operator.

    Attributes:
        severity: How bad it is.
        kind: The stable word.
        stage: Where in its incident.
        title: What happened, in a few words.
        message: One or two sentences.
        next_action: What the operator should do; empty where nothing.
        incident: Which incident, for example `gateway_lost-3`; an event has one of its own.
    """

    severity: Severity
    kind: IncidentKind
    stage: Stage
    title: str
    message: str
    next_action: str = ""
    incident: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one look says about one kind of trouble.

    Attributes:
        kind: Which.
        verdict: Whether it is so.
        severity: How bad it is.
        words: What is said of it: that it is so, where it is bad; that it is over, where it is fine.
        key: What of that kind: another key is another incident.
        grace_s: How long it must have been so before it is said.
        hold_s: How long it must have been fine before it counts as over.
        is_muted: Whether it is expected now, and not said.
        repeat_s: After how long it is said again while it lasts; None for never.
    """

    kind: IncidentKind
    verdict: Verdict
    severity: Severity = Severity.INFO
    words: NoticeText = NOTHING_SAID
    key: str = ""
    grace_s: float = 0.0
    hold_s: float = 0.0
    is_muted: bool = False
    repeat_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that is wrong, or may turn out to be.

    Attributes:
        kind: What.
        key: What of that kind.
        number: Which one since the supervisor began; 0 until it was told.
        severity: How bad it is.
        title: What it is called, for the status.
        since_s: Since when it has been so.
        due_s: When it is to be told.
        told_s: When it was told, or told again; None before.
        fine_since_s: Since when it has looked fine again; None while it does not.
        acted_s: When something was done about it; None before.
        is_worse: Whether it was told that what was done did not help.
    """

    kind: IncidentKind
    key: str = ""
    number: int = 0
    severity: Severity = Severity.WARNING
    title: str = ""
    since_s: float
    due_s: float
    told_s: float | None = None
    fine_since_s: float | None = None
    acted_s: float | None = None
    is_worse: bool = False

    @property
    def is_told(self) -> bool:
        """Whether the operator knows of it."""
        return self.told_s is not None

    @property
    def id(self) -> str:
        """A name for people and records."""
        return f"{self.kind}-{self.number}"


@dataclass(frozen=True, kw_only=True)
class IncidentLog:
    """All incidents that are open, and how many there have been.

    Attributes:
        incidents: At most one of each kind.
        count: How many were told, events too.
    """

    incidents: tuple[Incident, ...] = ()
    count: int = 0

    def find(self, kind: IncidentKind) -> Incident | None:
        """The open incident of a kind, told or not."""
        return next((one for one in self.incidents if one.kind is kind), None)

    def is_told(self, *kinds: IncidentKind) -> bool:
        """Whether the operator knows of an open incident of one of these kinds."""
        return any(one.is_told and one.kind in kinds for one in self.incidents)

    def put(self, incident: Incident) -> "IncidentLog":
        """With this incident in the place of the one of its kind."""
        return replace(self, incidents=(*(one for one in self.incidents if one.kind is not incident.kind), incident))

    def drop(self, kind: IncidentKind) -> "IncidentLog":
        """Without the incident of this kind."""
        return replace(self, incidents=tuple(one for one in self.incidents if one.kind is not kind))


NOTHING_OPEN = IncidentLog()


def build_notice(log: IncidentLog, kind: IncidentKind, stage: Stage, severity: Severity, words: NoticeText) -> Notice:
    """A notice about the open incident of a kind, or about an event, which takes the last number given out."""
    incident = log.find(kind)
    return Notice(
        severity=severity,
        kind=kind,
        stage=stage,
        title=words.title,
        message=words.message,
        next_action=words.next_action,
        incident=incident.id if incident is not None and stage is not Stage.EVENT else f"{kind}-{log.count}",
    )


def tell_event(
    log: IncidentLog, kind: IncidentKind, severity: Severity, words: NoticeText
) -> tuple[IncidentLog, Notice]:
    """Say that something has happened."""
    log = replace(log, count=log.count + 1)
    return log, build_notice(log, kind, Stage.EVENT, severity, words)


def track(log: IncidentLog, findings: Iterable[Finding], at_s: float) -> tuple[IncidentLog, tuple[Notice, ...]]:
    """Take in the findings of one look: what is open now, and what is to be said."""
    notices: list[Notice] = []
    for finding in findings:
        log, said = _track_one(log, finding, at_s)
        notices += said
    return log, tuple(notices)


def _track_one(log: IncidentLog, finding: Finding, at_s: float) -> tuple[IncidentLog, Sequence[Notice]]:
    incident = log.find(finding.kind)
    if finding.verdict is Verdict.BAD:
        return _note_bad(log, incident, finding, at_s)
    if incident is None:
        return log, ()
    if not incident.is_told:
        return log.drop(finding.kind), ()
    if finding.verdict is Verdict.UNKNOWN:
        return log.put(replace(incident, fine_since_s=None)), ()
    fine_since_s = at_s if incident.fine_since_s is None else incident.fine_since_s
    if at_s - fine_since_s < finding.hold_s:
        return log.put(replace(incident, fine_since_s=fine_since_s)), ()
    notice = build_notice(log, finding.kind, Stage.OVER, Severity.INFO, finding.words)
    return log.drop(finding.kind), (notice,)


def _note_bad(
    log: IncidentLog, incident: Incident | None, finding: Finding, at_s: float
) -> tuple[IncidentLog, Sequence[Notice]]:
    if incident is None or incident.key != finding.key:
        incident = Incident(kind=finding.kind, key=finding.key, since_s=at_s, due_s=at_s + finding.grace_s)
    incident = replace(
        incident,
        severity=finding.severity,
        title=finding.words.title,
        due_s=min(incident.due_s, at_s + finding.grace_s),
        fine_since_s=None,
    )
    stage = None
    if incident.told_s is None:
        if not finding.is_muted and at_s >= incident.due_s:
            stage = Stage.OPENED
            log = replace(log, count=log.count + 1)
            incident = replace(incident, number=log.count)
    elif finding.repeat_s is not None and at_s - incident.told_s >= finding.repeat_s:
        stage = Stage.AGAIN
    if stage is None:
        return log.put(incident), ()
    log = log.put(replace(incident, told_s=at_s))
    return log, (build_notice(log, finding.kind, stage, finding.severity, finding.words),)
