"""What one reads from the journal: frozen values, and the queries that make them."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

MOST_OF_A_RUN = 200  # of a run's alerts, and of its events: what is read at once

FULL_LOGIN_SEEN = "full_login_seen"  # the event in which a watcher notes the gateway's last full login


class AlertDelivery(StrEnum):
    """What became of an alert."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # the channel refused this one for good and took others
    LOGGED = "logged"  # there was no channel
    SUMMARISED = "summarised"  # an old one, told of in a summary


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step of a run.

    Attributes:
        name: As the task is named.
        state: The state's word.
        started_at: Wall-clock time, UTC.
        ended_at: None while it runs, or for ever if the run was killed in it.
        duration_s: Seconds by a clock that cannot jump.
        status: How it ended, a word of the runner's; None while it runs; `interrupted` if the run was killed in it.
        detail: One line for people.
    """

    name: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    duration_s: float | None
    status: str | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class AlertRecord:
    """One alert of a run.

    Attributes:
        at: When it happened, UTC.
        severity: The severity's word.
        title: What it says in a few words.
        delivery: What became of it.
        tries: How many times it was posted.
        delivered_at: When the channel took it.
        note: Why it is not delivered, for people.
    """

    at: datetime
    severity: str
    title: str
    delivery: AlertDelivery
    tries: int
    delivered_at: datetime | None
    note: str


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """Something else that happened in a run.

    Attributes:
        at: When, UTC.
        kind: A word.
        detail_json: A JSON document.
    """

    at: datetime
    kind: str
    detail_json: str

    @property
    def detail(self) -> dict[str, Any]:
        """The document's fields; none where it has none."""
        return parse_detail(self.detail_json)


def parse_detail(detail_json: str) -> dict[str, Any]:
    """The fields of an event's document; none where it is no object."""
    try:
        document = json.loads(detail_json)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        run_id: Its id.
        instance: The instance's name.
        kind: What it was, for example `startup`.
        simulated: Whether the gateway was the built-in one.
        pid: The process that ran it.
        started_at: Wall-clock time, UTC.
        ended_at: None while it runs, or if it was killed, at an unknown time.
        duration_s: Seconds by a clock that cannot jump.
        result: `success`, `partial` or `failure`; None while it runs.
        exit_code: Its exit code; None while it runs, or if it was killed.
        failure: The failure's word.
        fallback: The fallback's word.
        message: One sentence.
        steps: In order.
        alerts: In order; the newest `MOST_OF_A_RUN`.
        events: In order; the newest `MOST_OF_A_RUN`.
        omitted: How many older alerts and events there are beyond these.
    """

    run_id: str
    instance: str
    kind: str
    simulated: bool
    pid: int
    started_at: datetime
    ended_at: datetime | None
    duration_s: float | None
    result: str | None
    exit_code: int | None
    failure: str | None
    fallback: str | None
    message: str
    steps: tuple[StepRecord, ...] = ()
    alerts: tuple[AlertRecord, ...] = ()
    events: tuple[EventRecord, ...] = ()
    omitted: int = 0


@dataclass(frozen=True, kw_only=True)
class PendingAlert:
    """An alert that waits in the outbox.

    Attributes:
        id: Its number in the journal.
        run_id: The run it belongs to.
        body: The alert as JSON.
        at: When it happened, UTC.
        tries: How many times it was posted.
        is_unsure: Whether an earlier try was begun and its outcome is not known: it may have arrived.
        refused_by: The key of the channel that refused it, and has taken none since; empty where none did.
    """

    id: int
    run_id: str
    body: str
    at: datetime
    tries: int
    is_unsure: bool
    refused_by: str = ""


def fetch_runs(
    connection: sqlite3.Connection, limit: int, *, run_id: str | None = None, most: int = MOST_OF_A_RUN
) -> list[RunRecord]:
    """The newest `limit` runs, newest first; or the one with this id.

    Args:
        connection: The file.
        limit: How many runs.
        run_id: Which one; None for the newest.
        most: How many alerts, and how many events, of each: a run that is supervised for months has very many.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    columns = (
        "run_id, instance, kind, simulated, pid, started_at, ended_at, duration_s, result, exit_code, failure, "
        "fallback, message"
    )
    rows = connection.execute(
        f"SELECT {columns} FROM runs WHERE run_id = coalesce(?, run_id) ORDER BY number DESC LIMIT ?",  # noqa: S608 - constants
        (run_id, limit),
    ).fetchall()
    records: list[RunRecord] = []
    for row in rows:
        alerts, more_alerts = _fetch_alerts(connection, row[0], most)
        events, more_events = _fetch_events(connection, row[0], most)
        record = RunRecord(
            run_id=row[0],
            instance=row[1],
            kind=row[2],
            simulated=bool(row[3]),
            pid=row[4],
            started_at=datetime.fromisoformat(row[5]),
            ended_at=_instant(row[6]),
            duration_s=row[7],
            result=row[8],
            exit_code=row[9],
            failure=row[10],
            fallback=row[11],
            message=row[12],
            steps=_fetch_steps(connection, row[0]),
            alerts=alerts,
            events=events,
            omitted=more_alerts + more_events,
        )
        records.append(record)
    return records


def fetch_pending_alerts(
    connection: sqlite3.Connection, channel: str | None = None, *, boot_id: str = ""
) -> list[PendingAlert]:
    """What waits in the outbox, in the order of sending.

    Args:
        connection: The file.
        channel: What waits for this channel; None for what waits and no channel has taken yet.
        boot_id: This boot of the machine. What waits since an earlier one may have been sent: a power cut can take the
            last commits. Empty where nothing is to be said of that.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    birth = "(SELECT birth FROM runs WHERE runs.run_id = alerts.run_id)"
    columns = f"alerts.id, alerts.run_id, alerts.body, alerts.at, {birth}"
    if channel is None:
        rows = connection.execute(
            f"SELECT {columns}, tries, claimed_by, refused_by FROM alerts WHERE delivery = ? ORDER BY place, id",  # noqa: S608 - constants
            (AlertDelivery.PENDING.value,),
        ).fetchall()
    else:
        rows = connection.execute(
            f"SELECT {columns}, d.tries, d.claimed_by, d.refused_by FROM deliveries d JOIN alerts "  # noqa: S608 - constants
            "ON alerts.id = d.alert_id WHERE d.channel = ? AND d.delivery = ? ORDER BY alerts.place, alerts.id",
            (channel, AlertDelivery.PENDING.value),
        ).fetchall()
    return [
        PendingAlert(
            id=row[0],
            run_id=row[1],
            body=row[2],
            at=datetime.fromisoformat(row[3]),
            tries=row[5],
            is_unsure=row[6] is not None or _is_of_earlier_boot(row[4], boot_id),
            refused_by=row[7],
        )
        for row in rows
    ]


def _is_of_earlier_boot(birth: str | None, boot_id: str) -> bool:
    """Whether a process was of another boot of the machine; False where that is unknown, as off Linux."""
    return bool(birth and boot_id) and ":" in str(birth) and str(birth).rpartition(":")[0] != boot_id


def fetch_channel_problem(connection: sqlite3.Connection, key: str) -> str | None:
    """Why the channel with this key is dead, or None.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    row = connection.execute("SELECT problem FROM dead_channels WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def fetch_quiet_until(connection: sqlite3.Connection, key: str) -> datetime | None:
    """Until when the channel asked for quiet, or None.

    Raises:
        sqlite3.Error: The file cannot be read.
        ValueError: What stands there is no time.
    """
    row = connection.execute("SELECT until FROM quiet_channels WHERE key = ?", (key,)).fetchone()
    return None if row is None else datetime.fromisoformat(row[0])


def _fetch_steps(connection: sqlite3.Connection, run_id: str) -> tuple[StepRecord, ...]:
    rows = connection.execute(
        "SELECT name, state, started_at, ended_at, duration_s, status, detail FROM steps WHERE run_id = ? ORDER BY id",
        (run_id,),
    ).fetchall()
    return tuple(
        StepRecord(
            name=row[0],
            state=row[1],
            started_at=datetime.fromisoformat(row[2]),
            ended_at=_instant(row[3]),
            duration_s=row[4],
            status=row[5],
            detail=row[6],
        )
        for row in rows
    )


def _fetch_alerts(connection: sqlite3.Connection, run_id: str, most: int) -> tuple[tuple[AlertRecord, ...], int]:
    rows = connection.execute(
        "SELECT at, severity, title, delivery, tries, delivered_at, note FROM alerts WHERE run_id = ? "
        "ORDER BY id DESC LIMIT ?",
        (run_id, most),
    ).fetchall()
    alerts = tuple(
        AlertRecord(
            at=datetime.fromisoformat(row[0]),
            severity=row[1],
            title=row[2],
            delivery=AlertDelivery(row[3]),
            tries=row[4],
            delivered_at=_instant(row[5]),
            note=row[6],
        )
        for row in reversed(rows)
    )
    return alerts, _count_others(connection, "SELECT count(*) FROM alerts WHERE run_id = ?", run_id, rows, most)


def fetch_last_event(connection: sqlite3.Connection, kind: str) -> EventRecord | None:
    """The newest event of a kind, of whichever run; None if there is none.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    row = connection.execute(
        "SELECT at, kind, detail_json FROM events WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,)
    ).fetchone()
    return None if row is None else EventRecord(at=datetime.fromisoformat(row[0]), kind=row[1], detail_json=row[2])


def _fetch_events(connection: sqlite3.Connection, run_id: str, most: int) -> tuple[tuple[EventRecord, ...], int]:
    rows = connection.execute(
        "SELECT at, kind, detail_json FROM events WHERE run_id = ? ORDER BY id DESC LIMIT ?", (run_id, most)
    ).fetchall()
    events = tuple(
        EventRecord(at=datetime.fromisoformat(row[0]), kind=row[1], detail_json=row[2]) for row in reversed(rows)
    )
    return events, _count_others(connection, "SELECT count(*) FROM events WHERE run_id = ?", run_id, rows, most)


def _count_others(
    connection: sqlite3.Connection, question: str, run_id: str, rows: list[tuple[object, ...]], most: int
) -> int:
    """How many there are beyond these; counted only where there may be any."""
    if len(rows) < most or not most:
        return 0
    return int(connection.execute(question, (run_id,)).fetchone()[0]) - len(rows)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
