"""The journal's tables, and how an older file becomes a newer one.

Migrations only ever add: a table, or a column with a default. So a program that was rolled back can go on with a file
that a newer release has migrated.
"""

import sqlite3

# One entry for each version; the file's `user_version` says how many were applied.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            run_id TEXT NOT NULL UNIQUE,
            instance TEXT NOT NULL,
            kind TEXT NOT NULL,
            simulated INTEGER NOT NULL,
            pid INTEGER NOT NULL,
            birth TEXT NOT NULL,
            started_at TEXT NOT NULL,
            ended_at TEXT,
            duration_s REAL,
            result TEXT,
            exit_code INTEGER,
            failure TEXT,
            fallback TEXT,
            message TEXT NOT NULL DEFAULT ''
        )""",
        """CREATE TABLE steps (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            run_id TEXT NOT NULL,
            name TEXT NOT NULL,
            state TEXT NOT NULL,
            started_at TEXT NOT NULL,
            ended_at TEXT,
            duration_s REAL,
            status TEXT,
            detail TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX steps_of_run ON steps (run_id)",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            run_id TEXT NOT NULL,
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            detail_json TEXT NOT NULL
        )""",
        "CREATE INDEX events_of_run ON events (run_id)",
        # `place` is the order of sending: the id, except for a summary, which takes the place of its oldest alert.
        """CREATE TABLE alerts (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            place INTEGER NOT NULL DEFAULT 0,
            run_id TEXT NOT NULL,
            at TEXT NOT NULL,
            severity TEXT NOT NULL,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            delivery TEXT NOT NULL,
            tries INTEGER NOT NULL DEFAULT 0,
            claimed_by TEXT,
            delivered_at TEXT,
            note TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX alerts_of_run ON alerts (run_id)",
        "CREATE INDEX alerts_by_delivery ON alerts (delivery, place)",
        "CREATE TABLE dead_channels (key TEXT PRIMARY KEY, problem TEXT NOT NULL, at TEXT NOT NULL)",
    ),
    (
        # One row for each stretch of time in which a watcher saw no change: see `watchstore`.
        """CREATE TABLE spans (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            run_id TEXT NOT NULL,
            watcher TEXT NOT NULL,
            began_at TEXT NOT NULL,
            seen_until TEXT NOT NULL,
            gateway TEXT NOT NULL,
            bot TEXT NOT NULL,
            bot_key TEXT NOT NULL,
            excuse TEXT NOT NULL
        )""",
        "CREATE INDEX spans_by_end ON spans (seen_until)",
        """CREATE TABLE latencies (
            length_s INTEGER NOT NULL,
            at TEXT NOT NULL,
            count INTEGER NOT NULL,
            least_ms REAL NOT NULL,
            sum_ms REAL NOT NULL,
            most_ms REAL NOT NULL,
            PRIMARY KEY (length_s, at)
        ) WITHOUT ROWID""",
        "CREATE INDEX runs_by_time ON runs (started_at)",
        "CREATE INDEX events_by_time ON events (at)",
        "CREATE INDEX alerts_by_time ON alerts (at)",
    ),
    (
        # The key of the channel that refused an alert while it waits; and until when a channel asked for quiet.
        "ALTER TABLE alerts ADD COLUMN refused_by TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE quiet_channels (key TEXT PRIMARY KEY, until TEXT NOT NULL)",
    ),
    (
        # One row for each channel that an alert is for. What `alerts` says of the delivery is drawn from these rows, so
        # that an older release, which knows one channel, can go on with the file.
        """CREATE TABLE deliveries (
            alert_id INTEGER NOT NULL,
            channel TEXT NOT NULL,
            delivery TEXT NOT NULL,
            tries INTEGER NOT NULL DEFAULT 0,
            claimed_by TEXT,
            delivered_at TEXT,
            note TEXT NOT NULL DEFAULT '',
            refused_by TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (alert_id, channel)
        ) WITHOUT ROWID""",
        "CREATE INDEX deliveries_by_channel ON deliveries (channel, delivery)",
        """INSERT INTO deliveries (alert_id, channel, delivery, tries, claimed_by, note, refused_by)
            SELECT id, 'discord', delivery, tries, claimed_by, note, refused_by FROM alerts
            WHERE delivery = 'pending'""",
        # When a critical alert that no channel had taken was queued for all of them again.
        "ALTER TABLE alerts ADD COLUMN repeated_at TEXT",
    ),
)
VERSION = len(MIGRATIONS)


def read_version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has seen.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what the file has not seen yet, all of it or nothing.

    Raises:
        sqlite3.Error: It cannot be written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(read_version(connection), VERSION):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
