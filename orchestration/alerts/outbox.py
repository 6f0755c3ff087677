"""What the delivery needs of a place where alerts wait. The journal is one; this room does not know it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol


class Waiting(Protocol):
    """An alert in the outbox."""

    @property
    def id(self) -> int:
        """Its number."""
        ...

    @property
    def body(self) -> str:
        """The alert as JSON."""
        ...

    @property
    def at(self) -> datetime:
        """When it happened."""
        ...

    @property
    def is_unsure(self) -> bool:
        """Whether an earlier try may have arrived."""
        ...

    @property
    def refused_by(self) -> str:
        """The key of the channel that refused it, and has taken none since; empty where none did."""
        ...


class Outbox(Protocol):
    """Where alerts wait. `orchestration.journal.Journal` is one; no method raises."""

    def add_alert(
        self, *, run_id: str, severity: str, title: str, body: str, at: datetime, is_for_sending: bool
    ) -> int | None:
        """Store one; its number, or None if it could not be stored."""
        ...

    def read_pending_alerts(self) -> Sequence[Waiting]:
        """What waits, in the order of sending."""
        ...

    def claim_alert(self, alert_id: int, claimant: str) -> None:
        """It is about to be posted."""
        ...

    def mark_delivered(self, alert_id: int) -> None:
        """The channel took it."""
        ...

    def mark_undelivered(self, alert_id: int, note: str, *, is_unsure: bool) -> None:
        """The try did not succeed; it waits."""
        ...

    def mark_failed(self, alert_id: int, note: str) -> None:
        """The channel will never take it."""
        ...

    def mark_refused(self, alert_id: int, key: str, note: str) -> None:
        """The channel refused it. It waits until it is known whether the alert or the channel is at fault."""
        ...

    def fail_refused(self, key: str) -> int:
        """The channel took another one: those that it had refused are at fault. Returns how many there were."""
        ...

    def forget_refusals(self, key: str) -> None:
        """The channel was at fault: what it refused is to be sent again."""
        ...

    def replace_by_summary(
        self, alert_ids: Sequence[int], *, run_id: str, severity: str, title: str, body: str, at: datetime
    ) -> bool:
        """Put one in the place of several."""
        ...

    def hold_sending(self) -> AbstractContextManager[bool]:
        """Be the only process that sends; False if another one is at it."""
        ...

    def read_channel_problem(self, key: str) -> str | None:
        """Why the channel is dead, or None."""
        ...

    def mark_channel_dead(self, key: str, problem: str) -> None:
        """Send nothing more to the channel."""
        ...

    def clear_channel(self, key: str) -> None:
        """Try the channel again."""
        ...

    def read_quiet_until(self, key: str) -> datetime | None:
        """Until when the channel asked for quiet, aware; None if it did not."""
        ...

    def mark_quiet(self, key: str, until: datetime) -> None:
        """The channel asked for quiet until then."""
        ...
