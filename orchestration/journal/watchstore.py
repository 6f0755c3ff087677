"""What a watcher saw, look by look, kept so that it does not grow with the number of looks.

A *span* is a stretch of time in which a watcher saw no change: gateway, bot and excuse stayed as they were. A look that
sees the same moves the span's end; one that sees something else ends it there and begins the next. Time in which no
watcher looked belongs to no span: where a look comes too late, or the clock was moved, the last span stays where it was
seen last, and the gap stays a gap. It must not be read as up.

Latencies of the gateway's API are kept as least, sum, most and count of each minute, and after two weeks of each hour.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.journal.store import Store, storable

MINUTES_KEPT = timedelta(days=14)  # then hours: 20,160 rows of minutes at the most
WATCH_KEPT = timedelta(days=400)  # 9,600 rows of hours; spans and events as old are forgotten too
MINUTE_S = 60
HOUR_S = 3600
_MOVED_CLOCK_S = 5.0  # the clocks differ by more between two looks: the wall clock was set, or the host slept
_THIN_EVERY_S = 6 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What one look of a watcher saw.

    Attributes:
        run_id: The run that the watcher belongs to.
        watcher: `supervisor` or `monitor`.
        gateway: A word for the gateway.
        bot: A word for the bot.
        bot_key: Identifies the bot; empty where there is none.
        excuse: Why a gateway that is not ready is expected now; empty where it is not.
        latency_ms: A round trip to the gateway's API that was measured since the last look; None for none.
    """

    run_id: str
    watcher: str
    gateway: str
    bot: str
    bot_key: str = ""
    excuse: str = ""
    latency_ms: float | None = None

    @property
    def state(self) -> tuple[str, ...]:
        """What makes a span: while it is equal, nothing has changed."""
        return self.run_id, self.watcher, self.gateway, self.bot, self.bot_key, self.excuse


@dataclass(frozen=True, kw_only=True)
class _OpenSpan:
    id: int
    state: tuple[str, ...]
    seen_at: datetime
    seen_s: float


class WatchStore(Store):
    """The watcher's part of the journal."""

    _span: _OpenSpan | None = None
    _thinned_s: float | None = None

    def note_sighting(self, sighting: Sighting, *, most_gap_s: float) -> None:
        """Write down what a look saw.

        Args:
            sighting: What it saw.
            most_gap_s: A look that comes later than this after the one before says nothing of the time between.
        """
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        before = self._span
        follows = before is not None and _follows(before, now, now_s, most_gap_s)
        is_thinned = self._thinned_s is None or now_s - self._thinned_s >= _THIN_EVERY_S

        def work(connection: sqlite3.Connection) -> int:
            if before is not None and follows:
                connection.execute("UPDATE spans SET seen_until = ? WHERE id = ?", (now.isoformat(), before.id))
            span_id = before.id if before is not None and follows and before.state == sighting.state else 0
            if not span_id:
                texts = [storable(text) for text in sighting.state]
                cursor = connection.execute(
                    "INSERT INTO spans (run_id, watcher, gateway, bot, bot_key, excuse, began_at, seen_until) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*texts, now.isoformat(), now.isoformat()),
                )
                span_id = cursor.lastrowid or 0
            if sighting.latency_ms is not None:
                _add_latency(connection, now, sighting.latency_ms)
            if is_thinned:
                thin(connection, now)
            return span_id

        span_id = self._write(work, 0)
        if span_id:
            self._thinned_s = now_s if is_thinned else self._thinned_s
            self._span = _OpenSpan(id=span_id, state=sighting.state, seen_at=now, seen_s=now_s)


def _follows(before: _OpenSpan, now: datetime, now_s: float, most_gap_s: float) -> bool:
    gap_s = now_s - before.seen_s
    wall_gap_s = (now - before.seen_at).total_seconds()
    return gap_s <= most_gap_s and abs(wall_gap_s - gap_s) <= _MOVED_CLOCK_S


def _add_latency(connection: sqlite3.Connection, now: datetime, latency_ms: float) -> None:
    minute = now.replace(second=0, microsecond=0).isoformat()
    connection.execute(
        "INSERT INTO latencies (length_s, at, count, least_ms, sum_ms, most_ms) VALUES (?, ?, 1, ?, ?, ?) "
        "ON CONFLICT (length_s, at) DO UPDATE SET count = count + 1, sum_ms = sum_ms + excluded.sum_ms, "
        "least_ms = min(least_ms, excluded.least_ms), most_ms = max(most_ms, excluded.most_ms)",
        (MINUTE_S, minute, latency_ms, latency_ms, latency_ms),
    )


def thin(connection: sqlite3.Connection, now: datetime) -> None:
    """Put old minutes together into hours, and forget what is very old.

    Raises:
        sqlite3.Error: The file cannot be written.
    """
    # A whole hour, so that each hour is put together once, from all its minutes.
    border = (now - MINUTES_KEPT).replace(minute=0, second=0, microsecond=0).isoformat()
    connection.execute(
        "INSERT OR REPLACE INTO latencies (length_s, at, count, least_ms, sum_ms, most_ms) "
        "SELECT ?, substr(at, 1, 13) || ':00:00+00:00', sum(count), min(least_ms), sum(sum_ms), max(most_ms) "
        "FROM latencies WHERE length_s = ? AND at < ? GROUP BY substr(at, 1, 13)",
        (HOUR_S, MINUTE_S, border),
    )
    connection.execute("DELETE FROM latencies WHERE length_s = ? AND at < ?", (MINUTE_S, border))
    oldest = (now - WATCH_KEPT).isoformat()
    connection.execute("DELETE FROM latencies WHERE at < ?", (oldest,))
    connection.execute("DELETE FROM spans WHERE seen_until < ?", (oldest,))
    connection.execute("DELETE FROM events WHERE at < ?", (oldest,))
