"""What the commands that read the journal cost when it is large: a million events against a thousand, in one run."""

import dataclasses
import json
import logging
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.figures import Claim, SceneResult, Series
from benchmarks.place import Place, inv
from orchestration.journal import Journal
from orchestration.system.clock import SystemClock

_SMALL, _LARGE, _LARGE_QUICK = 1_000, 1_000_000, 100_000
_DAYS = 365  # over which the events are spread: one each half a minute at the largest
_RUNS = 100
_KINDS = ("gateway_lost", "link_down", "farms_broken", "plan_changed")
_STAGES = ("opened", "over")
_MOST_RATIO = 2.0
_COMMANDS = (("status",), ("history",), ("history", "--json"), ("report",), ("report", "--since", "48h", "--json"))


def measure_scale(place: Place, runs: int, result: SceneResult) -> SceneResult:
    """Each command on the small journal and on the large one, in turns."""
    large = _LARGE_QUICK if place.is_quick else _LARGE
    states = {count: place.root / f"state_{count}" for count in (_SMALL, large)}
    for count, folder in states.items():
        write_journal(folder / "journal.sqlite3", events=count)
    series: list[Series] = []
    claims: list[Claim] = []
    for words in _COMMANDS:
        took: dict[int, list[float]] = {count: [] for count in states}
        for number in range(runs + 1):
            for count, folder in states.items():
                # 3: no bot runs here; 1: the verdict on such a year is "failed". Only how long it takes counts.
                seconds = place.run(inv(*words), environ={"STATE_DIR": str(folder)}, codes=(0, 1, 3))
                if number:  # the first fills the caches
                    took[count].append(seconds)
        name = f"`inv {' '.join(words)}`"
        both = [Series(label=f"{name}, {count:,} events", unit="s", samples=tuple(took[count])) for count in took]
        ratio = both[1].median / both[0].median
        series += both
        claims.append(
            Claim(
                text=f"{name}: at most {_MOST_RATIO:g} times as long with {large:,} events as with {_SMALL:,}",
                found=f"{ratio:.2f} times",
                held=ratio <= _MOST_RATIO,
            )
        )
    sizes = ", ".join(
        f"{count:,} events {(folder / 'journal.sqlite3').stat().st_size / 1e6:.1f} MB"
        for count, folder in states.items()
    )
    note = f"the journals: {sizes}; {_RUNS} runs over {_DAYS} days, the newest with a fifth of all events"
    return dataclasses.replace(result, series=tuple(series), claims=tuple(claims), notes=(note,))


def write_journal(path: Path, *, events: int) -> None:
    """A year's journal with so many events, as the journal itself lays it out; the rows go in by the thousand."""
    with Journal.open(path, clock=SystemClock(), log=logging.getLogger("benchmark")):
        pass
    end = datetime.now(UTC)
    begin = end - timedelta(days=_DAYS)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    run_ids = [f"run-{number:04}" for number in range(_RUNS)]
    connection.executemany(
        "INSERT INTO runs (run_id, instance, kind, simulated, pid, birth, started_at, ended_at, duration_s, result, "
        "exit_code) VALUES (?, 'default', 'service', 0, 1, '', ?, ?, 2.0, 'success', 0)",
        [
            (run_id, (begin + number * timedelta(days=_DAYS) / _RUNS).isoformat(),
             (begin + number * timedelta(days=_DAYS) / _RUNS + timedelta(seconds=2)).isoformat())
            for number, run_id in enumerate(run_ids)
        ],
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO events (run_id, at, kind, detail_json) VALUES (?, ?, ?, ?)",
        (
            (
                run_ids[-1] if number >= 0.8 * events else run_ids[int(number / events / 0.8 * (_RUNS - 1))],
                (begin + number * timedelta(days=_DAYS) / events).isoformat(),
                _KINDS[number // 2 % len(_KINDS)],
                json.dumps(
                    {
                        "stage": _STAGES[number % 2],
                        "incident": f"{_KINDS[number // 2 % len(_KINDS)]}-{number // 2}",
                        "severity": "warning",
                        "title": "Something happened",
                        "message": "One or two sentences about it, as long as they usually are in this place.",
                    }
                ),
            )
            for number in range(events)
        ),
    )
    connection.execute("COMMIT")
    connection.close()
