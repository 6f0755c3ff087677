"""What the delivery needs of a place where alerts wait. The journal is one; this room does not know it."""

from collections.abc import Collection, Sequence
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
        self, *, run_id: str, severity: str, title: str, body: str, at: datetime, channels: Sequence[str]
    ) -> int | None:
        """Store one for these channels; its number, or None if it could not be stored."""
        ...

    def adopt_alerts(self, channels: Sequence[str]) -> None:
        """Have these channels send what waits for none of them."""
        ...

    def repeat_untaken(
        self, severity: str, *, until: datetime, channels: Sequence[str], taken: Collection[int] = ()
    ) -> Sequence[int]:
        """Queue alerts from before `until` that no channel has taken for all of these again, once; which ones."""
        ...

    def read_pending_alerts(self, channel: str | None = None) -> Sequence[Waiting]:
        """What waits for the channel, in the order of sending."""
        ...

    def claim_alert(self, alert_id: int, channel: str, claimant: str) -> None:
        """It is about to be posted."""
        ...

    def mark_delivered(self, alert_id: int, channel: str) -> None:
        """The channel took it."""
        ...

    def mark_undelivered(self, alert_id: int, channel: str, note: str, *, is_unsure: bool) -> None:
        """The try did not succeed; it waits."""
        ...

    def mark_failed(self, alert_id: int, channel: str, note: str) -> None:
        """The channel will never take it."""
        ...

    def mark_refused(self, alert_id: int, channel: str, key: str, note: str) -> None:
        """The channel refused it. It waits until it is known whether the alert or the channel is at fault."""
        ...

    def fail_refused(self, channel: str, key: str) -> int:
        """The channel took another one: those that it had refused are at fault. Returns how many there were."""
        ...

    def forget_refusals(self, channel: str, key: str) -> None:
        """The channel was at fault: what it refused is to be sent again."""
        ...

    def replace_by_summary(
        self,
        alert_ids: Sequence[int],
        *,
        channel: str,
        run_id: str,
        severity: str,
        title: str,
        body: str,
        at: datetime,
    ) -> bool:
        """For one channel, put one in the place of several."""
        ...

    def hold_sending(self, channel: str) -> AbstractContextManager[bool]:
        """Be the only process that sends to the channel; False if another one is at it."""
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
