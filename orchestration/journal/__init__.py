"""The journal: one SQLite file in the state folder that says what every run did.

* `Journal` writes it (and is the outbox that `alerts` sends from); nothing it does ever fails a start-up;
* `JournalReader` reads it while others write, and changes nothing, not even on a read-only file system;
* `Evidence` is what a report is made of;
* `Sighting` is what a watcher notes at each look;
* `RunRecord`, `StepRecord`, `AlertRecord`, `EventRecord` are what one reads.
"""

from orchestration.journal.evidence import (
    Evidence,
    LatencyRecord,
    ReportedAlert,
    ReportedEvent,
    ReportedRun,
    SpanRecord,
)
from orchestration.journal.journal import Journal
from orchestration.journal.reading import JournalReader
from orchestration.journal.records import (
    FULL_LOGIN_SEEN,
    AlertDelivery,
    AlertRecord,
    EventRecord,
    PendingAlert,
    RunRecord,
    StepRecord,
)
from orchestration.journal.watchstore import Sighting

__all__ = [
    "FULL_LOGIN_SEEN",
    "AlertDelivery",
    "AlertRecord",
    "EventRecord",
    "Evidence",
    "Journal",
    "JournalReader",
    "LatencyRecord",
    "PendingAlert",
    "ReportedAlert",
    "ReportedEvent",
    "ReportedRun",
    "RunRecord",
    "Sighting",
    "SpanRecord",
    "StepRecord",
]
