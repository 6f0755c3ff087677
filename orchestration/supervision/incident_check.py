"""A row of the table of what a supervisor alerts about, and what its predicates read. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestration.alerts.alert import Severity
from orchestration.bot.state import BotState
from orchestration.gateway.readiness import Sight
from orchestration.supervision.decision import Memory
from orchestration.supervision.incidents import Finding, IncidentKind, NoticeText, Verdict
from orchestration.supervision.observation import Observation, PlanCandidate
from orchestration.supervision.rules import Rules

_CONNECTED = frozenset({Sight.READY, Sight.LINK_DOWN})


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the rows of the table read.

    Attributes:
        memory: What is remembered, this look's readiness included.
        observation: The look.
        sight: What the look amounts to for the gateway.
        rules: What may be done.
        was_started: Whether the gateway's container has been started since the last look, not by us.
    """

    memory: Memory
    observation: Observation
    sight: Sight
    rules: Rules
    was_started: bool = False

    @property
    def bot(self) -> BotState:
        """The bot's process."""
        return self.observation.bot

    @property
    def candidate(self) -> PlanCandidate:
        """The configured plan file."""
        return self.observation.plan.candidate

    @property
    def is_connected(self) -> bool:
        """Whether the gateway's API answers."""
        return self.sight in _CONNECTED

    @property
    def is_bot_working(self) -> bool:
        """Whether the bot runs and is not being stopped."""
        return self.bot.is_running and not self.bot.is_stopping


# What a row holds: a constant, or what computes it from the situation.
Text = str | Callable[[Situation], str]
Seconds = float | Callable[[Situation], float]


@dataclass(frozen=True, kw_only=True)
class IncidentCheck:
    """One row: a kind of incident.

    Where neither `is_bad` nor `is_fine` holds, nothing is known now, and an open incident stays open.

    Attributes:
        kind: The stable word.
        severity: How bad it is.
        is_bad: Whether it is wrong now.
        is_fine: Whether it is right now. Asked only where `is_bad` does not hold.
        title: The alert's title.
        message: The alert's one or two sentences.
        next_action: What the operator should do.
        over_title: The title of the message that it is over.
        over_message: The message that it is over.
        key: What of that kind: another key is another incident.
        grace_s: How long it must have been wrong before it is told.
        hold_s: How long it must have been right before it counts as over.
        is_muted: Whether it is expected now, and not told.
        repeat_s: After how long it is told again while it lasts; None for never.
    """

    kind: IncidentKind
    severity: Severity
    is_bad: Callable[[Situation], bool]
    is_fine: Callable[[Situation], bool]
    title: Text
    message: Text
    next_action: Text
    over_title: Text
    over_message: Text
    key: Text = ""
    grace_s: Seconds = 0.0
    hold_s: float = 0.0
    is_muted: Callable[[Situation], bool] = lambda _: False
    repeat_s: float | None = None

    def judge(self, situation: Situation) -> Finding:
        """What this row says about a look."""

        def say(text: Text) -> str:
            return text if isinstance(text, str) else text(situation)

        if self.is_bad(situation):
            verdict = Verdict.BAD
            words = NoticeText(title=say(self.title), message=say(self.message), next_action=say(self.next_action))
        elif self.is_fine(situation):
            verdict = Verdict.FINE
            words = NoticeText(title=say(self.over_title), message=say(self.over_message))
        else:
            return Finding(kind=self.kind, verdict=Verdict.UNKNOWN)
        return Finding(
            kind=self.kind,
            verdict=verdict,
            severity=self.severity,
            words=words,
            key=say(self.key),
            grace_s=self.grace_s(situation) if callable(self.grace_s) else self.grace_s,
            hold_s=self.hold_s,
            is_muted=self.is_muted(situation),
            repeat_s=self.repeat_s,
        )
