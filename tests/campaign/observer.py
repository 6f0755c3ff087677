"""What is seen of a run from outside, and which of the safety rules it breaks. Never asks the program.

The rules are the five of the README; each violation begins with the number of its rule. Those that hold of any system
are judged with the criteria of the soak run (`orchestration.soak.safety`); the others are about one start.
"""

import contextlib
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.reports import Criterion
from orchestration.soak.catalogue import CATALOGUE
from orchestration.soak.safety import RULE_OF, SystemSeen, count_restarts, find_bugs, find_leaks, judge_safety
from tests.campaign.draw import SUPERVISED, Runtime, Way
from tests.campaign.world import PASSWORD, PULSE, World, docker
from tests.integration.alerts_scene import TOKEN

_LOOK_S = 0.2
_SECRETS = {"the password": PASSWORD, "the heartbeat's address": PULSE, "the webhook's token": TOKEN}
_TRADES = frozenset({"A", "B"})
_HANDSHAKE = re.compile(r"SIMULATED: client \d+ completes the handshake")
_OUR_TRACEBACK = re.compile(r"^  File .*orchestration", re.MULTILINE)
_SLACK_S = 0.05  # the gateway's log has milliseconds, and is written right before its last words are sent
_LONGEST_S = 100.0  # two waits, a second factor, a stop, ten seconds for alerts; on a machine that is busy
# What a boot service is refused for without a run: a trigger may repeat it without end (W3).
_LEAVES_NOTHING = frozenset({"HELD", "BOT_ALREADY_RUNNING", "ALREADY_STARTING"})
_NO_BOT_OF_OURS = frozenset({"BOT_ALREADY_RUNNING", "ALREADY_STARTING", "HELD"})


@dataclass
class EndedProcess:
    """One process of a run, after its end.

    Attributes:
        way: What it was asked for: no argument, `--foreground` or `--service`.
        code: Its exit code; negative for a signal.
        out: Standard output.
        err: Standard error.
        report: The JSON document it printed, if it printed one.
    """

    way: str
    code: int
    out: str
    err: str
    report: dict[str, Any] | None = None

    @property
    def failure(self) -> str:
        """The failure's word; empty without one."""
        return str((self.report or {}).get("failure") or "")


@dataclass
class RunSeen:
    """What was seen of one run.

    Attributes:
        begun_s: When it began, by the machine's own monotonic clock.
        begun_at: The same, by its wall clock, in seconds of the epoch.
        ended_s: When all of its processes had ended.
        ended: Its processes.
        argvs: All argument lists that the system's processes had.
        bots_left: The ledger's lines of the bots that live afterwards.
        is_faulty: Whether the fault was injected in it, or is in place.
        forced: Whether it had to be ended by force, for it did not end by itself.
    """

    begun_s: float = field(default_factory=time.monotonic)
    begun_at: float = field(default_factory=time.time)
    ended_s: float = 0.0
    ended: list[EndedProcess] = field(default_factory=list)
    argvs: set[str] = field(default_factory=set)
    bots_left: list[dict[str, object]] = field(default_factory=list)
    is_faulty: bool = True
    forced: bool = False

    @property
    def outcome(self) -> str:
        """The exit codes and words of its processes, for the table."""
        return ", ".join(
            " ".join(
                part for part in (str(one.code), one.failure or str((one.report or {}).get("fallback") or "")) if part
            )
            for one in self.ended
        )


@contextlib.contextmanager
def watching(world: World, seen: RunSeen) -> Iterator[None]:
    """Look at the process table again and again while the block runs."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            seen.argvs.update(_read_argvs(str(world.system.state)))

    thread = threading.Thread(target=look, name="observer")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def find_violations(world: World, seen: RunSeen) -> list[str]:
    """Everything about a run that breaks a rule."""
    found = list_unmet(judge_safety(_describe_outside(world, seen), must_have_bot=False))
    for check in _CHECKS:
        found += check(world, seen)
    return found


def list_unmet(criteria: Iterable[Criterion]) -> list[str]:
    """The criteria that are not met, each after the number of its rule."""
    return [f"{RULE_OF[one.name]}: {one.name}: {one.found}" for one in criteria if not one.is_met]


def _describe_outside(world: World, seen: RunSeen) -> SystemSeen:
    lines = [line for line in world.read_ledger() if _number(line["at_s"]) >= seen.begun_s]
    others = [line["others"] for line in lines if line["event"] == "beside"]
    texts = {
        "an argument list": "\n".join(seen.argvs),
        "an output": "\n".join(one.out + one.err for one in seen.ended),
        "an alert": "\n".join(json.dumps(one.document) for one in world.channel.received),
    }
    _, alerts, _ = read_journal(world.system.state / "journal.sqlite3")
    return SystemSeen(
        most_bots=max([len(seen.bots_left), *(1 + len(pids) for pids in others if isinstance(pids, list))]),
        most_restarts=count_restarts(world.system.logs),
        leaks=find_leaks(_SECRETS, (world.system.state, world.system.logs), texts),
        bugs=find_bugs(alerts),
    )


def read_living_bots(world: World) -> list[dict[str, object]]:
    """The ledger's lines of the bots that live now."""
    return [line for line in world.read_ledger() if line["event"] == "start" and _is_alive(line)]


def _check_bots(world: World, seen: RunSeen) -> Iterator[str]:
    """Rule 1: on which plan, and after which handshake."""
    handshakes = _read_handshakes(world)
    for line in world.read_ledger():
        at_s = _number(line["at_s"])
        if at_s < seen.begun_s:
            continue
        if line["event"] != "start" or line["strategy"] not in _TRADES:
            continue
        started_at = at_s - seen.begun_s + seen.begun_at
        if not any(seen.begun_at - _SLACK_S <= at <= started_at + _SLACK_S for at in handshakes):
            yield f"1: bot {line['pid']} trades, and no handshake of this run came before it"
        if line["date"] != datetime.now(ZoneInfo("America/New_York")).date().isoformat():
            yield f"1: bot {line['pid']} trades on the plan of {line['date']}"
        if line["sha256"] not in _valid_plans(world, seen.begun_s, at_s):
            yield f"1: bot {line['pid']} trades on bytes that were no valid plan in this run"


def _check_left_running(world: World, seen: RunSeen) -> Iterator[str]:
    """Rule 1: what is left running after a run that failed."""
    trading = [line for line in seen.bots_left if line["strategy"] in _TRADES]
    for one in seen.ended:
        if one.failure in _NO_BOT_OF_OURS or one.code < 0 or len(seen.ended) > 1:
            continue
        is_supervisor = one.way in SUPERVISED
        if trading and is_supervisor:
            yield f"1: supervisor ended with {one.code} {one.failure} and left bot {trading[0]['pid']} running"
        started = [line for line in trading if _number(line["at_s"]) > seen.begun_s]
        if started and one.failure:
            yield f"1: {one.failure}, and bot {started[0]['pid']} of this run still runs"
    # A supervisor that was started beside it may have adopted the bot, and have stopped it when it was asked to end.
    is_alone = not any(one.way in SUPERVISED for one in seen.ended)
    is_up = [one for one in seen.ended if one.code in {0, 2} and one.way == Way.STARTUP and is_alone]
    if is_up and not seen.bots_left and not (seen.is_faulty and CATALOGUE[world.case.fault].ends_bot):
        yield f"3: exit code {is_up[0].code}, and no bot runs"


def _check_ends(_world: World, seen: RunSeen) -> Iterator[str]:
    """Rule 3: exit codes, reports, and bounded time."""
    if seen.forced:
        yield "3: it did not end in bounded time"
    if seen.ended_s - seen.begun_s > _LONGEST_S:
        yield f"3: it took {seen.ended_s - seen.begun_s:.0f} s"
    for one in seen.ended:
        allowed = {Way.SERVICE: {0, 1, 78}, Way.FOREGROUND: {0, 1, 2}}.get(Way(one.way), {0, 1, 2})
        if one.code < 0 and (seen.is_faulty or not one.out):
            continue  # it was killed, or asked to end before it was far enough to begin a run
        if one.code not in allowed:
            yield f"3: exit code {one.code}: {one.err[-300:]}"
        if _OUR_TRACEBACK.search(one.err) or one.failure == "INTERNAL_ERROR":
            yield f"3: a bug: {(one.report or {}).get('message')} {one.err[-600:]}"
        if one.report is None and one.way == Way.STARTUP:
            yield f"3: no report: {one.out[-200:]} {one.err[-300:]}"
        report = one.report or {}
        if report.get("failure") and not (report.get("message") and report.get("next_action")):
            yield f"3: {report['failure']} without a message or what to do next"


def _check_journal(world: World, seen: RunSeen) -> Iterator[str]:
    """Rule 3: each failure is recorded, and alerted or kept to be."""
    is_hit = CATALOGUE[world.case.fault].hits_journal and seen.is_faulty
    runs, alerts, problem = read_journal(world.system.state / "journal.sqlite3")
    if problem and not is_hit:
        yield f"3: the journal: {problem}"
    told = [one.title for one in world.channel.received if "embeds" in one.document]
    for one in seen.ended:
        if one.report is None or is_hit:
            continue
        run_id = one.report.get("run_id")
        if run_id is None and one.way == Way.SERVICE and one.failure in _LEAVES_NOTHING:
            continue
        if run_id not in runs:
            yield f"3: run {run_id} is not in the journal"
        elif runs[run_id] is None:
            yield f"3: run {run_id} has no result in the journal"
        if one.failure and not any(one.failure in title for title in (*told, *alerts)):
            yield f"3: {one.failure} was neither told nor kept to be told: {told} {alerts}"


def _check_bystander(world: World, _seen: RunSeen) -> Iterator[str]:
    """What the system has nothing to do with must survive."""
    if world.bystander.poll() is not None:
        yield "0: a process that is not the system's was ended"


_Check = Callable[[World, RunSeen], Iterator[str]]
_CHECKS: tuple[_Check, ...] = (
    _check_bots,
    _check_left_running,
    _check_ends,
    _check_journal,
    _check_bystander,
)


def read_journal(path: Path) -> tuple[dict[str, str | None], list[str], str]:
    """The journal's runs with their results, the titles of its alerts, and what is wrong with it."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            problem = str(database.execute("PRAGMA integrity_check").fetchone()[0])
            runs = dict(database.execute("SELECT run_id, result FROM runs").fetchall())
            alerts = [title for (title,) in database.execute("SELECT title FROM alerts")]
    except sqlite3.Error as error:
        return {}, [], str(error)
    return runs, alerts, "" if problem == "ok" else problem


def parse_report(out: str) -> dict[str, Any] | None:
    """The one JSON document on standard output, or None."""
    with contextlib.suppress(ValueError):
        document = json.loads(out)
        return document if isinstance(document, dict) else None
    return None


def _valid_plans(world: World, since_s: float, until_s: float) -> set[str]:
    """The hashes of the valid plans that were in place at any moment of this span."""
    found = set()
    for number, (at_s, sha256) in enumerate(world.plans):
        replaced_s = world.plans[number + 1][0] if number + 1 < len(world.plans) else until_s
        if sha256 is not None and at_s <= until_s and replaced_s >= since_s:
            found.add(sha256)
    return found


def _read_handshakes(world: World) -> list[float]:
    """When a client completed the API's handshake, as the gateway itself wrote down; seconds of the epoch."""
    if world.case.runtime is Runtime.DOCKER:
        text = docker("logs", "--timestamps", world.container)
    elif world.case.runtime is Runtime.EXTERNAL:
        log = world.root / "external_gateway.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    else:
        logs = sorted(world.system.logs.glob("gateway_*.log"))
        text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)
    times = []
    for line in text.splitlines():
        if _HANDSHAKE.search(line):
            # `docker logs` puts its own time in front of the gateway's.
            own = line.partition("Z ")[2] if world.is_docker else line
            day, clock = own.split()[:2]
            whole, _, thousandths = clock.rpartition(":")
            moment = datetime.strptime(f"{day} {whole}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            times.append(moment.timestamp() + int(thousandths) / 1000)
    return times


def _is_alive(line: dict[str, object]) -> bool:
    try:
        fields = Path(f"/proc/{line['pid']}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and fields[19] == line["birth"]


def _read_argvs(state: str) -> set[str]:
    found = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - one name after the other, cheaply, many times
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if f"STATE_DIR={state}".encode() in Path(f"/proc/{name}/environ").read_bytes():
                found.add(Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def _number(value: object) -> float:
    return float(str(value))
