"""The outbox: alerts on their way to the channel, in the journal's file. `alerts.delivery.Outbox` describes it."""

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Sequence
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
from orchestration.system.processes import read_boot_id

# The row of an alert as its deliveries make it. Taken by one channel, it has reached the operator.
_DRAW_TOGETHER = """
UPDATE alerts SET (delivery, delivered_at, note, claimed_by, refused_by, tries) = (
    SELECT delivery, delivered_at, note, claimed_by, refused_by,
        (SELECT sum(tries) FROM deliveries WHERE alert_id = alerts.id)
    FROM deliveries WHERE alert_id = alerts.id
    ORDER BY CASE delivery WHEN 'delivered' THEN 0 WHEN 'pending' THEN 1 WHEN 'summarised' THEN 2 ELSE 3 END,
        delivered_at, channel = 'discord' DESC, channel
    LIMIT 1
) WHERE id = ?
"""


class OutboxStore(Store):
    """The outbox's part of the journal."""

    def add_alert(  # noqa: D417 - the texts say what they are
        self, *, run_id: str, severity: str, title: str, body: str, at: datetime, channels: Sequence[str]
    ) -> int | None:
        """Store an alert, committed when this returns.

        Args:
            body: The alert as JSON, redacted field by field: to redact the document as one text could break it.
            channels: The ids of the channels that it is to be sent to. None: it is then only a record.

        Returns:
            Its number, or None if it could not be stored.
        """
        delivery = AlertDelivery.PENDING if channels else AlertDelivery.LOGGED

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
            for channel in channels:
                _add_delivery(connection, cursor.lastrowid, channel)
            return cursor.lastrowid

        return self._write(work, None)

    def adopt_alerts(self, channels: Sequence[str]) -> None:
        """Have these channels send what waits for none of them: for an address that was changed, for example.

        Also takes over what an older release, which knows one channel, has done to the file in the meantime.
        """

        def work(connection: sqlite3.Connection) -> None:
            # An alert's own row is drawn from its deliveries. Where no delivery accounts for it, the older release did.
            connection.execute(
                "UPDATE deliveries SET delivery = (SELECT delivery FROM alerts WHERE id = alert_id) WHERE delivery = ? "
                "AND channel = 'discord' AND EXISTS (SELECT 1 FROM alerts WHERE id = alert_id AND alerts.delivery <> ? "
                "AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.alert_id = id AND d.delivery = alerts.delivery))",
                (AlertDelivery.PENDING.value, AlertDelivery.PENDING.value),
            )
            rows = connection.execute(
                "SELECT id, channel FROM alerts LEFT JOIN deliveries ON alert_id = id WHERE alerts.delivery = ?",
                (AlertDelivery.PENDING.value,),
            ).fetchall()
            provided = {alert_id for alert_id, channel in rows if channel in channels}
            for alert_id in {alert_id for alert_id, _ in rows} - provided:
                for channel in channels:
                    _add_delivery(connection, alert_id, channel)

        if channels:
            self._write(work, None)

    def repeat_untaken(
        self, severity: str, *, until: datetime, channels: Sequence[str], taken: Collection[int] = ()
    ) -> list[int]:
        """Queue alerts that no channel has taken for all of these channels again; once for each alert.

        Args:
            severity: The severity's word.
            until: Alerts from before this instant (aware).
            channels: The channels' ids; none: nothing is done.
            taken: The numbers of alerts that a channel has taken although it could not be written down.

        Returns:
            Their numbers.
        """

        def work(connection: sqlite3.Connection) -> list[int]:
            rows = connection.execute(
                "SELECT id, at FROM alerts WHERE severity = ? AND delivery IN (?, ?) AND repeated_at IS NULL",
                (severity, AlertDelivery.PENDING.value, AlertDelivery.FAILED.value),
            ).fetchall()
            untaken: list[int] = [
                alert_id for alert_id, at in rows if datetime.fromisoformat(at) <= until and alert_id not in taken
            ]
            for alert_id in untaken:
                connection.execute("UPDATE alerts SET repeated_at = ? WHERE id = ?", (self._now(), alert_id))
                for channel in channels:
                    _add_delivery(connection, alert_id, channel)
                    connection.execute(
                        "UPDATE deliveries SET delivery = ?, refused_by = '' WHERE alert_id = ? AND channel = ?",
                        (AlertDelivery.PENDING.value, alert_id, channel),
                    )
                connection.execute(_DRAW_TOGETHER, (alert_id,))
            return untaken

        # Asked each minute by a supervisor: a look first, for the file need not be written to for a "no".
        if not channels or not self._read(lambda connection: _has_untaken(connection, severity), otherwise=False):
            return []
        return self._write(work, [])

    def read_pending_alerts(self, channel: str | None = None) -> list[PendingAlert]:
        """What waits for a channel (None: what no channel has taken yet), in the order of sending."""
        boot_id = read_boot_id()
        return self._read(lambda connection: fetch_pending_alerts(connection, channel, boot_id=boot_id), [])

    def claim_alert(self, alert_id: int, channel: str, claimant: str) -> None:
        """Say, before it is posted, who posts it: a claim that is found later means a try whose outcome is unknown."""
        self._change(alert_id, channel, "claimed_by = ?, tries = tries + 1", claimant)

    def mark_delivered(self, alert_id: int, channel: str) -> None:
        """The channel took it, which survives a power cut from here on.

        Without that the alert would be sent again after one, or be said not to have been sent.
        """
        self._change(
            alert_id,
            channel,
            "delivery = ?, claimed_by = NULL, delivered_at = ?, note = ''",
            AlertDelivery.DELIVERED.value,
            self._now(),
        )
        self._sync()

    def mark_undelivered(self, alert_id: int, channel: str, note: str, *, is_unsure: bool) -> None:
        """A try did not succeed; it waits for the next one.

        Args:
            alert_id: Its number.
            channel: The channel's id.
            note: Why.
            is_unsure: Whether it may have arrived all the same. The claim then stays.
        """
        self._change(
            alert_id, channel, "note = ?, claimed_by = CASE WHEN ? THEN claimed_by END", self._text(note), is_unsure
        )

    def mark_failed(self, alert_id: int, channel: str, note: str) -> None:
        """The channel will never take this one."""
        self._change(
            alert_id,
            channel,
            "delivery = ?, claimed_by = NULL, note = ?",
            AlertDelivery.FAILED.value,
            self._text(note),
        )

    def mark_refused(self, alert_id: int, channel: str, key: str, note: str) -> None:
        """The channel, at the address with this key, refused it; it waits until it is known which one is at fault."""
        self._change(alert_id, channel, "refused_by = ?, claimed_by = NULL, note = ?", key, self._text(note))

    def fail_refused(self, channel: str, key: str) -> int:
        """The channel took another one: those that it had refused are at fault. Returns their number."""
        return self._change_refused(channel, key, "delivery = 'failed'")

    def forget_refusals(self, channel: str, key: str) -> None:
        """What the channel refused at the address with this key is to be sent again."""
        self._change_refused(channel, key, "refused_by = ''")

    def replace_by_summary(  # noqa: D417 - the texts say what they are
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
        """For one channel, put one alert in the place of several, in one transaction.

        Args:
            alert_ids: The ones it summarises; at least one.
            channel: The channel's id.

        Returns:
            Whether it was done.
        """

        def work(connection: sqlite3.Connection) -> bool:
            places = [
                connection.execute("SELECT place FROM alerts WHERE id = ?", (one,)).fetchone()[0] for one in alert_ids
            ]
            for one in alert_ids:
                connection.execute(
                    "UPDATE deliveries SET delivery = ?, claimed_by = NULL WHERE alert_id = ? AND channel = ?",
                    (AlertDelivery.SUMMARISED.value, one, channel),
                )
                connection.execute(_DRAW_TOGETHER, (one,))
            cursor = connection.execute(
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
            _add_delivery(connection, cursor.lastrowid, channel)
            return True

        return self._write(work, otherwise=False)

    def _change(self, alert_id: int, channel: str, assignments: str, *values: object) -> None:
        """Change the delivery of one alert to one channel, and what the alert's row says of it."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                f"UPDATE deliveries SET {assignments} WHERE alert_id = ? AND channel = ?",  # noqa: S608 - constants
                (*values, alert_id, channel),
            )
            connection.execute(_DRAW_TOGETHER, (alert_id,))

        self._write(work, None)

    def _change_refused(self, channel: str, key: str, assignment: str) -> int:
        """Change the deliveries that wait because the channel refused them. Returns their number."""

        def work(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                "SELECT alert_id FROM deliveries WHERE channel = ? AND delivery = ? AND refused_by = ?",
                (channel, AlertDelivery.PENDING.value, key),
            ).fetchall()
            for (alert_id,) in rows:
                connection.execute(
                    f"UPDATE deliveries SET {assignment} WHERE alert_id = ? AND channel = ?",  # noqa: S608 - constants
                    (alert_id, channel),
                )
                connection.execute(_DRAW_TOGETHER, (alert_id,))
            return len(rows)

        return self._write(work, 0)

    @contextlib.contextmanager
    def hold_sending(self, channel: str) -> Iterator[bool]:
        """Be the only process that sends to a channel, for the block. Yields False if another one is at it.

        The lock is the operating system's, so it dies with its process. Where it cannot be had at all (read-only
        folder), the answer is True: better twice than never.
        """
        with contextlib.ExitStack() as stack:
            try:
                if self.is_usable:
                    lock = self.path.with_name(_lock_name(self.path.name, channel))
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


def _add_delivery(connection: sqlite3.Connection, alert_id: int | None, channel: str) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO deliveries (alert_id, channel, delivery) VALUES (?, ?, ?)",
        (alert_id, storable(channel), AlertDelivery.PENDING.value),
    )


def _has_untaken(connection: sqlite3.Connection, severity: str) -> bool:
    question = "SELECT 1 FROM alerts WHERE severity = ? AND delivery IN (?, ?) AND repeated_at IS NULL LIMIT 1"
    row = (severity, AlertDelivery.PENDING.value, AlertDelivery.FAILED.value)
    return connection.execute(question, row).fetchone() is not None


def _lock_name(journal: str, channel: str) -> str:
    """The first channel's lock keeps its name: an older release may run beside this one."""
    return f"{journal}.sending.lock" if channel == "discord" else f"{journal}.sending-{channel}.lock"
