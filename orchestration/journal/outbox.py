"""The outbox: alerts on their way to the channel, in the journal's file. `alerts.delivery.Outbox` describes it."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime

from orchestration.journal.records import (
    AlertDelivery,
    PendingAlert,
    fetch_channel_problem,
    fetch_pending_alerts,
    fetch_quiet_until,
)
from orchestration.journal.store import Store, storable
from orchestration.system.lock import LockHeldError, hold_lock


class OutboxStore(Store):
    """The outbox's part of the journal."""

    def add_alert(  # noqa: D417 - the texts say what they are
        self, *, run_id: str, severity: str, title: str, body: str, at: datetime, is_for_sending: bool
    ) -> int | None:
        """Store an alert, committed when this returns.

        Args:
            body: The alert as JSON, redacted field by field: to redact the document as one text could break it.
            is_for_sending: False if there is no channel: it is then only a record.

        Returns:
            Its number, or None if it could not be stored.
        """
        delivery = AlertDelivery.PENDING if is_for_sending else AlertDelivery.LOGGED

        def work(connection: sqlite3.Connection) -> int | None:
            cursor = connection.execute(
                "INSERT INTO alerts (run_id, at, severity, title, body, delivery) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    storable(run_id),
                    at.isoformat(),
                    storable(severity),
                    self._text(title),
                    storable(body),
                    delivery.value,
                ),
            )
            connection.execute("UPDATE alerts SET place = id WHERE id = ?", (cursor.lastrowid,))
            return cursor.lastrowid

        return self._write(work, None)

    def read_pending_alerts(self) -> list[PendingAlert]:
        """What waits, in the order of sending."""
        return self._read(fetch_pending_alerts, [])

    def claim_alert(self, alert_id: int, claimant: str) -> None:
        """Say, before it is posted, who posts it: a claim that is found later means a try whose outcome is unknown."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE alerts SET claimed_by = ?, tries = tries + 1 WHERE id = ?", (claimant, alert_id)
            ),
            None,
        )

    def mark_delivered(self, alert_id: int) -> None:
        """The channel took it."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE alerts SET delivery = ?, claimed_by = NULL, delivered_at = ?, note = '' WHERE id = ?",
                (AlertDelivery.DELIVERED.value, self._now(), alert_id),
            ),
            None,
        )

    def mark_undelivered(self, alert_id: int, note: str, *, is_unsure: bool) -> None:
        """A try did not succeed; it waits for the next one.

        Args:
            alert_id: Its number.
            note: Why.
            is_unsure: Whether it may have arrived all the same. The claim then stays.
        """
        self._write(
            lambda connection: connection.execute(
                "UPDATE alerts SET note = ?, claimed_by = CASE WHEN ? THEN claimed_by END WHERE id = ?",
                (self._text(note), is_unsure, alert_id),
            ),
            None,
        )

    def mark_failed(self, alert_id: int, note: str) -> None:
        """The channel will never take this one."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE alerts SET delivery = ?, claimed_by = NULL, note = ? WHERE id = ?",
                (AlertDelivery.FAILED.value, self._text(note), alert_id),
            ),
            None,
        )

    def mark_refused(self, alert_id: int, key: str, note: str) -> None:
        """The channel with this key refused it; it waits until it is known which of the two is at fault."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE alerts SET refused_by = ?, claimed_by = NULL, note = ? WHERE id = ?",
                (key, self._text(note), alert_id),
            ),
            None,
        )

    def fail_refused(self, key: str) -> int:
        """The channel with this key took another one: those that it had refused are at fault. Returns their number."""

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE alerts SET delivery = ? WHERE delivery = ? AND refused_by = ?",
                (AlertDelivery.FAILED.value, AlertDelivery.PENDING.value, key),
            ).rowcount

        return self._write(work, 0)

    def forget_refusals(self, key: str) -> None:
        """What the channel with this key refused is to be sent again."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE alerts SET refused_by = '' WHERE delivery = ? AND refused_by = ?",
                (AlertDelivery.PENDING.value, key),
            ),
            None,
        )

    def replace_by_summary(  # noqa: D417 - the texts say what they are
        self, alert_ids: Sequence[int], *, run_id: str, severity: str, title: str, body: str, at: datetime
    ) -> bool:
        """Put one alert in the place of several, in one transaction.

        Args:
            alert_ids: The ones it tells of; at least one.

        Returns:
            Whether it was done.
        """

        def work(connection: sqlite3.Connection) -> bool:
            places = [
                connection.execute("SELECT place FROM alerts WHERE id = ?", (one,)).fetchone()[0] for one in alert_ids
            ]
            for one in alert_ids:
                connection.execute(
                    "UPDATE alerts SET delivery = ?, claimed_by = NULL WHERE id = ?",
                    (AlertDelivery.SUMMARISED.value, one),
                )
            connection.execute(
                "INSERT INTO alerts (place, run_id, at, severity, title, body, delivery) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    min(places),
                    storable(run_id),
                    at.isoformat(),
                    storable(severity),
                    self._text(title),
                    storable(body),
                    AlertDelivery.PENDING.value,
                ),
            )
            return True

        return self._write(work, otherwise=False)

    @contextlib.contextmanager
    def hold_sending(self) -> Iterator[bool]:
        """Be the only process that sends, for the length of the block. Yields False if another one is at it.

        The lock is the operating system's, so it dies with its process. Where it cannot be had at all (read-only
        folder), the answer is True: better twice than never.
        """
        with contextlib.ExitStack() as stack:
            try:
                if self.is_usable:
                    lock = self.path.with_name(f"{self.path.name}.sending.lock")
                    stack.enter_context(hold_lock(lock, purpose="sending alerts", since=self._now()))
            except LockHeldError:
                yield False
                return
            except OSError as error:
                self._log.warning("No lock for sending alerts (%s)", error.strerror)
            yield True

    def read_channel_problem(self, key: str) -> str | None:
        """Why the channel with this key is dead, or None."""
        return self._read(lambda connection: fetch_channel_problem(connection, key), None)

    def mark_channel_dead(self, key: str, problem: str) -> None:
        """Remember that nothing more is to be sent to the channel with this key."""
        self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO dead_channels (key, problem, at) VALUES (?, ?, ?)",
                (key, self._text(problem), self._now()),
            ),
            None,
        )

    def clear_channel(self, key: str) -> None:
        """The channel with this key is to be tried again."""
        self._write(
            lambda connection: connection.execute("DELETE FROM dead_channels WHERE key = ?", (key,)),
            None,
        )

    def read_quiet_until(self, key: str) -> datetime | None:
        """Until when the channel with this key asked for quiet, aware; None if it did not."""
        return self._read(lambda connection: fetch_quiet_until(connection, key), None)

    def mark_quiet(self, key: str, until: datetime) -> None:
        """The channel with this key asked for quiet until then: the next process must know it too."""
        self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO quiet_channels (key, until) VALUES (?, ?)", (key, until.isoformat())
            ),
            None,
        )
