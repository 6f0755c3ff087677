"""What an alert is: a value that says what happened, where, and what the operator should do next."""

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestration.redaction import Redactor, clean_line, clean_lines, clean_text

# What is kept of the evidence. A phone shows about ten lines; the log has all of them.
_EVIDENCE_LINES = 40
_EVIDENCE_LINE_LENGTH = 500
# Causes of alerts that something is on its way; another alert says how it ended.
_PROGRESS = frozenset({"STARTUP_BEGUN", "GATEWAY_STARTING", "BOT_STARTED"})
OUTCOME_LEVEL = "outcome"  # of a channel: as `info`, without progress
_TEXT_LENGTH = 8000  # twice the longest text that Discord takes: nothing that could be shown is lost


class Severity(StrEnum):
    """How bad it is. The order of the members is the order of badness."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the mildest."""
        return list(Severity).index(self)


def parse_level(word: str) -> tuple[Severity, bool]:
    """What a channel is sent by its level.

    Args:
        word: A severity, or `outcome`.

    Returns:
        The mildest severity, and whether alerts on progress are left out.

    Raises:
        ValueError: It is neither.
    """
    return (Severity.INFO, True) if word == OUTCOME_LEVEL else (Severity(word), False)


@dataclass(frozen=True, kw_only=True)
class AlertContent:
    """What an alert says, whichever run, step and host it comes from.

    Attributes:
        severity: How bad it is.
        title: What happened, in a few words.
        message: One or two sentences.
        cause: The stable word (failure or fallback), or empty.
        next_action: What the operator should do; empty where nothing is to be done.
        evidence: Lines that show it, the most important ones last.
        incident: The incident that it is about, named within its run; empty where there is none.
    """

    severity: Severity
    title: str
    message: str
    cause: str = ""
    next_action: str = ""
    evidence: tuple[str, ...] = ()
    incident: str = ""


@dataclass(frozen=True, kw_only=True)
class Alert(AlertContent):
    """One message to the operator: what it says, and where it comes from.

    Attributes:
        host: The machine.
        instance: The instance's name.
        run_id: The run it belongs to.
        step: The step, as its task is named; empty where there is none.
        simulated: Whether the gateway is the built-in one.
        at: When it happened; aware.
    """

    host: str
    instance: str
    run_id: str
    step: str = ""
    simulated: bool = False
    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("an alert's time needs a time zone")

    @property
    def is_progress(self) -> bool:
        """Whether it says only that a start is on its way."""
        return self.severity is Severity.INFO and self.cause in _PROGRESS

    def to_json(self) -> str:
        """One line of JSON, for the outbox. `Alert.from_json` reads it."""
        return json.dumps({**dataclasses.asdict(self), "at": self.at.isoformat()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Alert":
        """The alert that `to_json` wrote. Fields that a later version added are ignored.

        Raises:
            ValueError: It is no such text.
        """
        try:
            fields = json.loads(text)
            known = {one.name for one in dataclasses.fields(cls)}
            values = {name: value for name, value in fields.items() if name in known}
            values["severity"] = Severity(values["severity"])
            values["at"] = datetime.fromisoformat(values["at"])
            values["evidence"] = tuple(str(line) for line in values.get("evidence", ()))
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a stored alert: {type(error).__name__}") from None


def clean_alert(alert: Alert, redactor: Redactor) -> Alert:
    """The same alert, fit to be shown, each text cut to a length that is worth storing."""

    def short(text: str) -> str:
        return clean_line(text, redactor, limit=_TEXT_LENGTH)

    return dataclasses.replace(
        alert,
        title=short(alert.title),
        message=clean_text(alert.message, redactor, limit=_TEXT_LENGTH),
        host=short(alert.host),
        instance=short(alert.instance),
        run_id=short(alert.run_id),
        step=short(alert.step),
        cause=short(alert.cause),
        incident=short(alert.incident),
        next_action=short(alert.next_action),
        evidence=clean_lines(alert.evidence, redactor, limit=_EVIDENCE_LINE_LENGTH)[-_EVIDENCE_LINES:],
    )
