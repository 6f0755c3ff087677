"""The journal of runs: what was done, when, and how it ended. Written as it happens, one commit for each fact."""

import json
import sqlite3
from typing import Any

from orchestration.errors import FailureWord
from orchestration.journal.outbox import OutboxStore
from orchestration.journal.records import AlertDelivery, EventRecord, RunRecord, fetch_last_event, fetch_runs
from orchestration.journal.store import storable
from orchestration.journal.watchstore import WatchStore
from orchestration.system.processes import ProcessIdentity, is_running, read_identity

RUNS_KEPT = 1000  # about four years of trading days; the file stays at a few megabytes
INTERRUPTED = "interrupted"


class Journal(OutboxStore, WatchStore):
    """The journal, for writing. `Journal.open(path, clock=…, log=…)`; a context manager, for several threads.

    No method raises: what cannot be written is said once in the log, and the run goes on.
    """

    def start_run(self, run_id: str, *, instance: str, kind: str, simulated: bool, pid: int) -> None:
        """Begin a run. Ended ones beyond the newest `RUNS_KEPT` are forgotten, but for alerts still to be sent."""
        identity = read_identity(pid)
        birth = identity.birth if identity is not None else ""
        self._started_s[run_id] = self._clock.monotonic_s()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO runs (run_id, instance, kind, simulated, pid, birth, started_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (storable(run_id), storable(instance), storable(kind), simulated, pid, birth, self._now()),
            )
            _forget_old_runs(connection)

        self._write(work, None)

    def start_step(self, run_id: str, name: str, state: str) -> int:
        """Begin a step. Returns its number for `end_step`; 0 if it could not be written."""

        def work(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO steps (run_id, name, state, started_at) VALUES (?, ?, ?, ?)",
                (storable(run_id), storable(name), storable(state), self._now()),
            )
            return cursor.lastrowid or 0

        step_id = self._write(work, 0)
        self._started_s[step_id] = self._clock.monotonic_s()
        return step_id

    def end_step(self, step_id: int, status: str, detail: str = "", *, state: str | None = None) -> None:
        """End a step.

        Args:
            step_id: From `start_step`; 0 is ignored.
            status: The runner's word for how it ended.
            detail: One line for people.
            state: The state's word that it ended in; None for the one that it began in.
        """
        duration_s = self._passed_s(step_id)
        if step_id == 0:
            return
        self._write(
            lambda connection: connection.execute(
                "UPDATE steps SET ended_at = ?, duration_s = ?, status = ?, detail = ?, state = COALESCE(?, state) "
                "WHERE id = ?",
                (self._now(), duration_s, storable(status), self._text(detail), state, step_id),
            ),
            None,
        )

    def end_run(  # noqa: PLR0917 - the six facts of an end, in the order of the report
        self,
        run_id: str,
        result: str,
        exit_code: int,
        failure: str | None = None,
        fallback: str | None = None,
        message: str = "",
    ) -> None:
        """End a run: `success`, `partial` or `failure`, the exit code, and why. Closes open steps too."""
        duration_s = self._passed_s(run_id)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE runs SET ended_at = ?, duration_s = ?, result = ?, exit_code = ?, failure = ?, fallback = ?, "
                "message = ? WHERE run_id = ?",
                (
                    self._now(),
                    duration_s,
                    storable(result),
                    int(exit_code),
                    None if failure is None else storable(failure),
                    None if fallback is None else storable(fallback),
                    self._text(message),
                    storable(run_id),
                ),
            )
            _close_open_steps(connection, storable(run_id))

        self._write(work, None)

    def add_event(self, run_id: str, kind: str, detail_json: str | dict[str, Any] = "{}") -> None:
        """Note something else that happened: a word, and a JSON document (or what becomes one)."""
        detail = json.dumps(self._document(_parse(detail_json)), default=str)
        self._write(
            lambda connection: connection.execute(
                "INSERT INTO events (run_id, at, kind, detail_json) VALUES (?, ?, ?, ?)",
                (storable(run_id), self._now(), storable(kind), storable(detail)),
            ),
            None,
        )

    def read_last_event(self, kind: str) -> EventRecord | None:
        """The newest event of a kind, of whichever run; None if there is none."""
        return self._read(lambda connection: fetch_last_event(connection, kind), None)

    def mark_interrupted_runs(self) -> list[str]:
        """Close the runs whose process is gone without a word (killed, power cut), so that the history is true.

        Their end stays unknown: it was not observed.

        Returns:
            Their ids.
        """
        open_runs: list[tuple[str, int, str]] = self._read(
            lambda connection: connection.execute(
                "SELECT run_id, pid, birth FROM runs WHERE result IS NULL ORDER BY number"
            ).fetchall(),
            [],
        )
        gone = [
            (run_id, pid)
            for run_id, pid, birth in open_runs
            if not birth or not is_running(ProcessIdentity(pid=pid, birth=birth))
        ]

        def work(connection: sqlite3.Connection) -> list[str]:
            for run_id, pid in gone:
                connection.execute(
                    "UPDATE runs SET result = 'failure', failure = ?, message = ? WHERE run_id = ? AND result IS NULL",
                    (
                        FailureWord.INTERRUPTED.value,
                        f"its process {pid} was ended from outside before it could say how far it came",
                        run_id,
                    ),
                )
                _close_open_steps(connection, run_id)
            return [run_id for run_id, _ in gone]

        return self._write(work, []) if gone else []

    def read_runs(self, limit: int = 20) -> list[RunRecord]:
        """The newest runs, newest first."""
        return self._read(lambda connection: fetch_runs(connection, limit), [])

    def read_last_run(self) -> RunRecord | None:
        """The newest run, or None if there is none."""
        runs = self.read_runs(1)
        return runs[0] if runs else None

    def _document(self, value: Any) -> Any:  # noqa: ANN401 - a JSON document has no narrower type
        """The document with each text in it redacted: as one text, a mask might break it."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {str(key): self._document(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._document(one) for one in value]
        return value if value is None or isinstance(value, bool | int | float) else self._text(str(value))

    def _passed_s(self, key: str | int) -> float | None:
        started_s = self._started_s.pop(key, None)
        return None if started_s is None else round(self._clock.monotonic_s() - started_s, 3)


def _parse(detail_json: str | dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON document has no narrower type
    if not isinstance(detail_json, str):
        return detail_json
    try:
        return json.loads(detail_json)
    except ValueError:
        return detail_json  # becomes a JSON text


def _close_open_steps(connection: sqlite3.Connection, run_id: str) -> None:
    connection.execute("UPDATE steps SET status = ? WHERE run_id = ? AND status IS NULL", (INTERRUPTED, run_id))


def _forget_old_runs(connection: sqlite3.Connection) -> None:
    row = connection.execute("SELECT number FROM runs ORDER BY number DESC LIMIT 1 OFFSET ?", (RUNS_KEPT,)).fetchone()
    if row is None:
        return
    old = "SELECT run_id FROM runs WHERE number <= ? AND result IS NOT NULL"
    connection.execute(f"DELETE FROM steps WHERE run_id IN ({old})", row)  # noqa: S608 - a constant
    connection.execute(f"DELETE FROM events WHERE run_id IN ({old})", row)  # noqa: S608 - a constant
    connection.execute(
        f"DELETE FROM alerts WHERE delivery <> ? AND run_id IN ({old})",  # noqa: S608 - a constant
        (AlertDelivery.PENDING.value, *row),
    )
    connection.execute("DELETE FROM deliveries WHERE alert_id NOT IN (SELECT id FROM alerts)")
    connection.execute("DELETE FROM runs WHERE number <= ? AND result IS NOT NULL", row)
