"""`python -m tests.years.mutants`: does a year notice that the program was broken on purpose?

Each mutant is one replacement of text in a copy of the tree: a condition dropped, a comparison turned, a sync left out.
The copy lives through the scenarios of `tests.years.dense`, and through drawn seeds, until an oracle objects.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.years.dense import SCENARIOS
from tests.years.scenario import write_faults

PROJECT = Path(__file__).resolve().parents[2]
_YEAR_DAYS = 365.25
_LONGEST_S = 900.0
_SEED_DAYS = 12.0


@dataclass(frozen=True)
class Mutant:
    """One way to break the program: `old` stands exactly once in `path`, and becomes `new`."""

    name: str
    path: str
    old: str
    new: str


def _in_supervision(name: str, module: str, old: str, new: str) -> Mutant:
    return Mutant(name, f"orchestration/supervision/{module}.py", old, new)


MUTANTS = (
    # Supervision.
    _in_supervision(
        "a switch is made again and again",
        "plan_rollover",
        "return Switch.NONE if build_switch_key(switch, observation) == memory.switched else switch",
        "return switch",
    ),
    _in_supervision(
        "a plan's validity is ignored in the roll-over",
        "plan_rollover",
        "return candidate.word is None and is_of_today",
        "return is_of_today",
    ),
    _in_supervision(
        "a plan is never due",
        "plan_rollover",
        "return rules.judges_dates and market.is_session and market.is_past_due",
        "return False",
    ),
    _in_supervision(
        "an expired plan may be traded on",
        "plan_rollover",
        "return is_out_of_date(observation, rules) and plan.strategy != _NO_TRADING and not plan.is_emergency",
        "return False",
    ),
    _in_supervision(
        "today's plan counts as expired",
        "plan_rollover",
        "plan.date < observation.market.today",
        "plan.date <= observation.market.today",
    ),
    _in_supervision(
        "over at the first fine look", "incidents", "if at_s - fine_since_s < finding.hold_s:", "if False:"
    ),
    _in_supervision(
        "told without its grace",
        "incidents",
        "if not finding.is_muted and at_s >= incident.due_s:",
        "if not finding.is_muted:",
    ),
    _in_supervision(
        "told though it is expected",
        "incidents",
        "if not finding.is_muted and at_s >= incident.due_s:",
        "if at_s >= incident.due_s:",
    ),
    _in_supervision(
        "told again at each look",
        "incidents",
        "elif finding.repeat_s is not None and at_s - incident.told_s >= finding.repeat_s:",
        "elif finding.repeat_s is not None:",
    ),
    _in_supervision(
        "the end of an incident is not told",
        "incidents",
        "return log.drop(finding.kind), (notice,)",
        "return log.drop(finding.kind), ()",
    ),
    _in_supervision(
        "room on the disk is never noticed",
        "checks",
        "is_fine=lambda s: s.observation.disk_free_bytes >= DISK_FINE_BYTES,",
        "is_fine=lambda s: False,",
    ),
    _in_supervision(
        "a full disk is told late",
        "checks",
        "is_bad=lambda s: s.observation.disk_free_bytes < DISK_LOW_BYTES,",
        "is_bad=lambda s: s.observation.disk_free_bytes < 1,",
    ),
    _in_supervision(
        "the gateway is restarted again in one incident",
        "actions",
        "if incident is None or not rules.may_restart_gateway or incident.acted_s is not None:",
        "if incident is None or not rules.may_restart_gateway:",
    ),
    _in_supervision(
        "no restart is spent",
        "actions",
        "return bool(times_s) and (at_s - times_s[-1] < RESTART_SPACING_S or len(times_s) >= RESTARTS_A_DAY)",
        "return False",
    ),
    _in_supervision(
        "no patience with the gateway",
        "actions",
        "if measure_patience(memory, observation, sight, rules, incident) > 0 or _is_gateway_spent(",
        "if _is_gateway_spent(",
    ),
    _in_supervision(
        "a lost link is restarted at once", "rules", "LINK_RESTART_AFTER_S = 900.0", "LINK_RESTART_AFTER_S = 60.0"
    ),
    _in_supervision(
        "the bot is touched while the gateway is down",
        "actions",
        "if not is_ready or (observation.in_window and not is_urgent):",
        "if observation.in_window and not is_urgent:",
    ),
    _in_supervision(
        "a clock step is not noticed",
        "machine",
        "if abs(observation.wall_jump_s) < CLOCK_JUMP_S:",
        "if abs(observation.wall_jump_s) < 100 * CLOCK_JUMP_S:",
    ),
    _in_supervision(
        "a finished bot is told at each look",
        "machine",
        "if bot.is_stopping or memory.is_bot_ended or not bot.is_finished:",
        "if bot.is_stopping or not bot.is_finished:",
    ),
    _in_supervision(
        "a bot that ended is not an end",
        "checks",
        "return not bot.is_running and not bot.is_stopping and not bot.is_finished",
        "return False",
    ),
    # Readiness.
    Mutant(
        "no window is a window",
        "orchestration/gateway/time_windows.py",
        "return any(window.contains(instant) for window in windows)",
        "return False",
    ),
    Mutant(
        "a second factor is not seen",
        "orchestration/gateway/readiness.py",
        "if login.phase is LoginPhase.SECOND_FACTOR:\n        return Sight.SECOND_FACTOR",
        "if login.phase is LoginPhase.SECOND_FACTOR:\n        return Sight.STARTING",
    ),
    Mutant(
        "a pending second factor is forgotten between two pushes",
        "orchestration/gateway/readiness.py",
        "return login.awaits_second_factor or memory.second_factor is SecondFactorState.PENDING",
        "return login.awaits_second_factor",
    ),
    Mutant(
        "ready without a handshake",
        "orchestration/gateway/readiness.py",
        "if api is not None and api.is_ready and (",
        "if api is not None and (",
    ),
    Mutant(
        "the second factor gets no time of its own",
        "orchestration/gateway/readiness.py",
        "extends = is_asked and not memory.is_extended",
        "extends = False",
    ),
    Mutant(
        "a start restarts during the second factor",
        "orchestration/gateway/wait_decision.py",
        " and memory.second_factor is SecondFactorState.NOT_ASKED",
        "",
    ),
    Mutant(
        "the deadline is turned round",
        "orchestration/gateway/wait_decision.py",
        "is_over = now_s >= extend_deadline(",
        "is_over = now_s < extend_deadline(",
    ),
    Mutant(
        "a link that is down is not seen",
        "orchestration/gateway/readiness.py",
        "if api.is_link_down:",
        "if False:",
    ),
    # Delivery.
    Mutant(
        "a delivered alert is not written down",
        "orchestration/alerts/sender.py",
        "            self._outbox.mark_delivered(waiting.id, self._id)\n",
        "",
    ),
    Mutant(
        "no second try of a delivery",
        "orchestration/alerts/sender.py",
        "if self._failures >= self._limits.tries_per_round:",
        "if self._failures >= 1:",
    ),
    Mutant(
        "what failed counts as delivered",
        "orchestration/alerts/sender.py",
        "if verdict is AnswerKind.DELIVERED:\n            self._settle(waiting.id)",
        "if verdict is not AnswerKind.POISON:\n            self._settle(waiting.id)",
    ),
    Mutant(
        "a wish for quiet is ignored",
        "orchestration/alerts/sender.py",
        "        if until is None:\n            return False\n        left_s",
        "        if until is None or until:\n            return False\n        left_s",
    ),
    Mutant(
        "a summary drops what it sums up",
        "orchestration/alerts/backlog.py",
        "evidence=tuple(lines[-40:]),",
        "evidence=(),",
    ),
    # Admission and state.
    Mutant(
        "a hold is ignored",
        "orchestration/hold.py",
        "    if hold is not None:\n        raise",
        "    if False:\n        raise",
    ),
    Mutant(
        "a hold does not keep the boot service down",
        "orchestration/startup/admission.py",
        "    if held is not None:\n        return ServiceRefusal(",
        "    if False:\n        return ServiceRefusal(",
    ),
    Mutant("a resume leaves the hold", "orchestration/hold.py", "            path.unlink()\n", "            pass\n"),
    Mutant(
        "a second bot is not looked for",
        "orchestration/preflight/table.py",
        "failure=None if replaces_bot else FailureWord.BOT_ALREADY_RUNNING,",
        "failure=None,",
    ),
    Mutant(
        "what is left of a bot is not seen",
        "orchestration/bot/find.py",
        "    if members:\n        return _present",
        "    if False:\n        return _present",
    ),
    Mutant(
        "a recorded bot is not seen",
        "orchestration/bot/find.py",
        "not record.container and is_running(record.identity):",
        "not record.container and not is_running(record.identity):",
    ),
    Mutant(
        "a lost lock counts",
        "orchestration/startup/admission.py",
        "if lock is not None and not lock.is_in_place():",
        "if False:",
    ),
    Mutant(
        "no last look before the launch",
        "orchestration/startup/steps.py",
        "    refuse_if_held(context.settings.state_dir)\n",
        "",
    ),
    Mutant(
        "a failed start is tried for ever",
        "orchestration/hostservice/attempts.py",
        "elif len(failed_at) >= most:",
        "elif False:",
    ),
    Mutant(
        "a phone that nobody looked at counts as a failure",
        "orchestration/hostservice/attempts.py",
        "        FailureWord.GATEWAY_SECOND_FACTOR,\n    }",
        "    }",
    ),
    Mutant(
        "a plan of another day is fresh",
        "orchestration/gameplan/calendar.py",
        "if plan_date in expected_dates(now, calendar, trades=trades):",
        "if plan_date or expected_dates(now, calendar, trades=trades):",
    ),
    Mutant(
        "a holiday is a session",
        "orchestration/gameplan/calendar.py",
        "if trades and not calendar.is_session(plan_date):",
        "if False:",
    ),
    Mutant(
        "a state file is not synced",
        "orchestration/system/files.py",
        "            os.fsync(file.fileno())\n",
        "",
    ),
    Mutant(
        "a state file is written in place",
        "orchestration/system/files.py",
        "        temporary.replace(path)\n",
        "        path.write_bytes(b'')\n        os.open(path, os.O_RDONLY)\n        temporary.replace(path)\n",
    ),
)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: by which run it was caught, and by which rule; empty where it survived."""

    mutant: str
    caught_by: str
    rule: str
    took_s: float


def copy_tree(target: Path) -> None:
    """Copy what a simulation needs."""
    skip = shutil.ignore_patterns("__pycache__", ".git", ".venv", "state", "logs", "*.pyc")
    for name in ("orchestration", "tests", "docker"):
        shutil.copytree(PROJECT / name, target / name, ignore=skip, symlinks=True)
    shutil.copy(PROJECT / "pyproject.toml", target / "pyproject.toml")


def apply(mutant: Mutant, tree: Path) -> None:
    """Break a copy.

    Raises:
        ValueError: The text does not stand there exactly once: the table is out of date.
    """
    path = tree / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: found {text.count(mutant.old)} times in {mutant.path}, must be once")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def _list_runs(tree: Path, seeds: Sequence[int]) -> Iterator[tuple[str, list[str]]]:
    for one in SCENARIOS:
        faults = tree / f"{one.name}.json"
        write_faults(faults, one.faults)
        years = ["--years", f"{one.days / _YEAR_DAYS:.6f}", "--begin", one.begin.isoformat()]
        yield one.name, ["--seed", "1", *years, "--interval", "120", "--faults", str(faults)]
    for seed in seeds:
        years = ["--years", f"{_SEED_DAYS / _YEAR_DAYS:.6f}"]
        yield f"seed {seed}", ["--seed", str(seed), *years, "--interval", "300", "--every-days", "0.4"]


def judge_by_years(mutant: Mutant | None, seeds: Sequence[int]) -> Verdict:
    """Let a broken copy (or the program as it is) live; stops at the first run that objects."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        if mutant is not None:
            apply(mutant, tree)
        name = "none" if mutant is None else mutant.name
        for run, arguments in _list_runs(tree, seeds):
            try:
                ended = subprocess.run(
                    [sys.executable, "-m", "tests.years", *arguments],
                    cwd=tree,
                    env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree)},
                    capture_output=True,
                    text=True,
                    timeout=_LONGEST_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Verdict(name, run, "it never ends", time.monotonic() - began_s)
            if ended.returncode != 0:
                lines = [line.strip() for line in ended.stdout.splitlines()[1:]] or ended.stderr.splitlines()[-1:]
                return Verdict(name, run, lines[0] if lines else "it ended with an error", time.monotonic() - began_s)
    return Verdict(name, "", "", time.monotonic() - began_s)


def judge_by_unit_tests(mutant: Mutant) -> Verdict:
    """Whether the unit tests fail with it."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for name in subprocess.run(
            ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.split("\n"):  # fmt: skip
            if name and (PROJECT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / name, tree / name)
        apply(mutant, tree)
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/unit", "-q", "-x", "-n", "2", "-p", "no:cacheprovider"],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    caught = ended.returncode != 0
    return Verdict(
        mutant.name, "unit tests" if caught else "", failed[0][:150] if failed else "", time.monotonic() - began_s
    )


def main() -> int:
    """Run it; 1 where the program as it is was objected to, or nothing was judged."""
    parser = argparse.ArgumentParser(prog="python -m tests.years.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="drawn seeds, after the scenarios")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--unit", action="store_true", help="judge by the unit tests instead")
    arguments = parser.parse_args()
    chosen = [one for one in MUTANTS if arguments.only in one.name]
    if not chosen:
        print(f"no mutant is called like {arguments.only!r}")
        return 1
    if not arguments.unit and not arguments.only:
        whole = judge_by_years(None, arguments.seeds)
        if whole.rule:
            print(f"the program as it is: {whole.caught_by}: {whole.rule}")
            return 1
    caught = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        judge = judge_by_unit_tests if arguments.unit else lambda one: judge_by_years(one, arguments.seeds)
        for verdict in pool.map(judge, chosen):
            caught += bool(verdict.caught_by)
            how = f"caught by {verdict.caught_by}: {verdict.rule[:110]}" if verdict.caught_by else "SURVIVED"
            print(f"{verdict.mutant}: {how} ({verdict.took_s:.0f} s)", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return 0


if __name__ == "__main__":
    sys.exit(main())
