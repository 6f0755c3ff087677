"""What a report is made of: everything in the journal about a stretch of time, bounded, by index."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.journal.records import AlertDelivery, EventRecord, RunRecord, fetch_runs

MOST_ROWS = 10_000  # of events, alerts and spans: 48 hours with something new every 17 seconds
_BEFORE = timedelta(days=14)  # an incident that is open at the beginning was told of in these days before
_MOST_BEFORE = 1_000  # of what lies before the period
_ANY_LATER = "9999"  # sorts behind every time
_HOUR_S = 3600  # the longest stretch that latencies are kept for
_FIRST_VERSION = 2  # of the file: an older one has no spans


@dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """A run, and who ran it.

    Attributes:
        record: The run with its steps; its alerts and events are with the others.
        birth: Distinguishes its process from a later one with the same pid.
    """

    record: RunRecord
    birth: str


@dataclass(frozen=True, kw_only=True)
class ReportedAlert:
    """An alert, with what it is about.

    Attributes:
        number: Its number in the journal; larger is later.
        run_id: The run that it belongs to.
        at: When it happened, UTC.
        severity: The severity's word.
        title: What it says in a few words.
        cause: The stable word; empty where there is none.
        incident: The incident, named within its run; empty where there is none.
        delivery: What became of it.
        delivered_at: When the channel took it.
        tries: How many times it was posted.
        note: Why it is not delivered.
        is_summary: Whether it summarises others that could not be sent in time.
    """

    number: int
    run_id: str
    at: datetime
    severity: str
    title: str
    cause: str
    incident: str
    delivery: AlertDelivery
    delivered_at: datetime | None
    tries: int
    note: str
    is_summary: bool


@dataclass(frozen=True, kw_only=True)
class ReportedEvent(EventRecord):
    """An event, and the run that it belongs to."""

    run_id: str


@dataclass(frozen=True, kw_only=True)
class SpanRecord:
    """A stretch of time in which a watcher saw no change. `watchstore.Sighting` says what its words are."""

    run_id: str
    watcher: str
    began_at: datetime
    seen_until: datetime
    gateway: str
    bot: str
    bot_key: str
    excuse: str


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """Round trips to the gateway's API in a minute or an hour.

    Attributes:
        at: Its beginning.
        length_s: 60 or 3600.
        count: How many.
        least_ms: The quickest.
        mean_ms: Their mean.
        most_ms: The slowest.
    """

    at: datetime
    length_s: int
    count: int
    least_ms: float
    mean_ms: float
    most_ms: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the journal holds about the time since an instant.

    Attributes:
        runs: The runs that began since, and the last one before; oldest first.
        spans: The spans that reach into it; oldest first.
        events: Events, the newest of the two weeks before it too; oldest first.
        alerts: Alerts, the newest of the two weeks before it too; oldest first.
        latencies: Oldest first.
        is_cut: Whether there is more than is read at once (`MOST_ROWS`); the newest are here.
    """

    runs: tuple[ReportedRun, ...] = ()
    spans: tuple[SpanRecord, ...] = ()
    events: tuple[ReportedEvent, ...] = ()
    alerts: tuple[ReportedAlert, ...] = ()
    latencies: tuple[LatencyRecord, ...] = ()
    is_cut: bool = False


NO_EVIDENCE = Evidence()


def fetch_evidence(connection: sqlite3.Connection, since: datetime) -> Evidence:
    """All about the time since `since` (aware, UTC).

    Raises:
        sqlite3.Error: The file cannot be read.
        ValueError: A time or a word in it is none.
    """
    if int(connection.execute("PRAGMA user_version").fetchone()[0]) < _FIRST_VERSION:
        return NO_EVIDENCE
    begin, before, end = since.isoformat(), (since - _BEFORE).isoformat(), _ANY_LATER
    spans = _fetch_spans(connection, begin)
    events = _fetch_events(connection, begin, end, MOST_ROWS)
    alerts = _fetch_alerts(connection, begin, end, MOST_ROWS)
    return Evidence(
        runs=_fetch_runs(connection, begin),
        spans=spans,
        events=_fetch_events(connection, before, begin, _MOST_BEFORE) + events,
        alerts=_fetch_alerts(connection, before, begin, _MOST_BEFORE) + alerts,
        latencies=_fetch_latencies(connection, since),
        is_cut=MOST_ROWS in {len(spans), len(events), len(alerts)},
    )


def _fetch_runs(connection: sqlite3.Connection, begin: str) -> tuple[ReportedRun, ...]:
    rows: list[tuple[str, str]] = connection.execute(
        "SELECT run_id, birth FROM runs WHERE started_at >= ? "
        "OR number = (SELECT number FROM runs WHERE started_at < ? ORDER BY started_at DESC LIMIT 1) ORDER BY number",
        (begin, begin),
    ).fetchall()
    return tuple(
        ReportedRun(record=record, birth=birth)
        for run_id, birth in rows
        for record in fetch_runs(connection, 1, run_id=run_id, most=0)
    )


def _fetch_spans(connection: sqlite3.Connection, begin: str) -> tuple[SpanRecord, ...]:
    rows = connection.execute(
        "SELECT run_id, watcher, began_at, seen_until, gateway, bot, bot_key, excuse FROM spans "
        "WHERE seen_until >= ? ORDER BY seen_until DESC LIMIT ?",
        (begin, MOST_ROWS),
    ).fetchall()
    return tuple(
        SpanRecord(
            run_id=row[0],
            watcher=row[1],
            began_at=datetime.fromisoformat(row[2]),
            seen_until=datetime.fromisoformat(row[3]),
            gateway=row[4],
            bot=row[5],
            bot_key=row[6],
            excuse=row[7],
        )
        for row in reversed(rows)
    )


def fetch_events(connection: sqlite3.Connection, since: datetime | None, most: int) -> tuple[ReportedEvent, ...]:
    """The newest events since then, oldest first.

    Raises:
        sqlite3.Error: The file cannot be read.
        ValueError: A time in it is none.
    """
    return _fetch_events(connection, "" if since is None else since.isoformat(), _ANY_LATER, most)


def _fetch_events(connection: sqlite3.Connection, begin: str, end: str, most: int) -> tuple[ReportedEvent, ...]:
    rows = connection.execute(
        "SELECT run_id, at, kind, detail_json FROM events WHERE at >= ? AND at < ? ORDER BY at DESC, id DESC LIMIT ?",
        (begin, end, most),
    ).fetchall()
    return tuple(
        ReportedEvent(run_id=row[0], at=datetime.fromisoformat(row[1]), kind=row[2], detail_json=row[3])
        for row in reversed(rows)
    )


def _fetch_alerts(connection: sqlite3.Connection, begin: str, end: str, most: int) -> tuple[ReportedAlert, ...]:
    rows = connection.execute(
        "SELECT id, run_id, at, severity, title, "
        "CASE WHEN json_valid(body) THEN coalesce(json_extract(body, '$.cause'), '') ELSE '' END, "
        "CASE WHEN json_valid(body) THEN coalesce(json_extract(body, '$.incident'), '') ELSE '' END, "
        "delivery, delivered_at, tries, note, place <> id FROM alerts WHERE at >= ? AND at < ? "
        "ORDER BY at DESC, id DESC LIMIT ?",
        (begin, end, most),
    ).fetchall()
    return tuple(
        ReportedAlert(
            number=row[0],
            run_id=row[1],
            at=datetime.fromisoformat(row[2]),
            severity=row[3],
            title=row[4],
            cause=str(row[5]),
            incident=str(row[6]),
            delivery=AlertDelivery(row[7]),
            delivered_at=None if row[8] is None else datetime.fromisoformat(row[8]),
            tries=row[9],
            note=row[10],
            is_summary=bool(row[11]),
        )
        for row in reversed(rows)
    )


def _fetch_latencies(connection: sqlite3.Connection, since: datetime) -> tuple[LatencyRecord, ...]:
    # An hour's row may have begun before the period: it would speak of a time that is not asked for, and is left out.
    rows = connection.execute(
        "SELECT at, length_s, count, least_ms, sum_ms, most_ms FROM latencies WHERE length_s <= ? AND at >= ? "
        "ORDER BY at, length_s",
        (_HOUR_S, since.replace(second=0, microsecond=0).isoformat()),
    ).fetchall()
    return tuple(
        LatencyRecord(
            at=datetime.fromisoformat(row[0]),
            length_s=row[1],
            count=row[2],
            least_ms=row[3],
            mean_ms=row[4] / row[2],
            most_ms=row[5],
        )
        for row in rows
    )
