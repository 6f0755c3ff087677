"""What people see of a command on hosts: its steps as they end, a table for each host, one for all of them."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration import presenter as console
from orchestration.deploy.host import Facts
from orchestration.deploy.release import Release
from orchestration.deploy.workflow import DeployStep, Outcome
from orchestration.errors import FailureWord

_FAB = re.compile(r"(?<![\w/.-])fab (?=-H )")
_PROJECT = Path(__file__).resolve().parents[2]
_NEXT = "next: "
_BESIDE = (" ", _NEXT, "log: ", "bot's log: ", "warning: ")
_MOST_CHANGES = 40  # of a deploy; a dry run shows all of them


def describe_release(release: Release, *, current: str) -> str:
    """A release in one line; the current one is marked."""
    if not release.complete:
        state = "half-made"
    else:
        state = "good" if release.verified else "failed" if release.failed else "never found good"
    return f"{'*' if release.name == current else ' '} {release.name} ({state})"


def describe_audit_line(line: Mapping[str, Any]) -> str:
    """A line of the audit trail: when, who from where, what, and what came of it."""
    whence = f" from {line['address']}" if line.get("address") else ""
    target = f" {line['target']}" if line.get("target") else ""
    cause = f" ({line['cause']})" if line.get("cause") else ""
    return f"{line.get('at')}  {line.get('by')}{whence}  {line.get('action')}{target}: {line.get('outcome')}{cause}"


def describe_status(outcome: Outcome, facts: Facts, said: Sequence[str]) -> None:
    """Make what a look at a host found the outcome of `fab status`. Nothing that `inv status` there says is left out.

    Args:
        outcome: Filled in: as good as `inv status` says it is.
        facts: What was found.
        said: The lines of `inv status`; empty where only its document is wanted.
    """
    outcome.release = facts.current
    rows = tuple(describe_release(one, current=facts.current) for one in facts.releases)
    if not facts.current or facts.status is None:
        outcome.result, outcome.message = "not_deployed", facts.describe_system() or "nothing is deployed"
        outcome.next_action = "" if facts.activation else f"fab -H {outcome.host} deploy"
        outcome.changes = rows
        return
    outcome.ok, outcome.result = facts.is_good, f"status_{facts.status['code']}"
    outcome.document, outcome.message = facts.status["document"], facts.describe_system()
    outcome.changes = (*rows, *(f"  {line}" for line in said))


def choose_message(said: Sequence[str], *, is_good: bool) -> tuple[str, str]:
    """Of what an `inv` has said, the line that says what came of it, and the advice; empty where there is none.

    Args:
        said: Its lines, of both outputs.
        is_good: Whether it ended with 0.
    """
    lines = [line for line in said if line.strip() and not line.startswith(_BESIDE)]
    failed = (line for line in lines if line.partition(": ")[0] in FailureWord.__members__)
    message = next(iter(lines) if is_good else failed, lines[-1] if lines else "")
    return message, next((line.removeprefix(_NEXT) for line in said if line.startswith(_NEXT)), "")


def tell(host: str) -> Callable[[DeployStep], None]:
    """Reports each step of a host as it ends."""
    return lambda step: console.warn(
        f"[{host}] {step.name:<13} {'ok' if step.ok else 'FAILED'}, {step.duration_s:.1f} s"
    )


def tell_of_begin(host: str) -> Callable[[str], None]:
    """Shows, in a terminal, which step of a host is running."""
    return lambda name: console.warn_of_now(f"[{host}] {name} …")


def say(host: str) -> Callable[[str], None]:
    """Who passes on what a host says meanwhile."""
    return lambda text: console.warn(f"[{host}]   {text:<14}")  # no shorter than what it takes the place of


def show(outcome: Outcome) -> None:
    """One host's outcome."""
    for line in outcome.difference:
        console.print_line(line)
    for line in _choose_changes(outcome):
        console.print_line(f"  {line}")
    if outcome.steps:
        rows = [(one.name, "ok" if one.ok else "FAILED", f"{one.duration_s:.1f} s") for one in outcome.steps]
        total = sum(one.duration_s for one in outcome.steps)
        rows.append(("altogether", "", f"{total:.1f} s"))
        console.print_table((f"{outcome.action} {outcome.host}", "", "took"), rows)
    if outcome.ok:
        console.print_line(f"{outcome.host}: {outcome.message}")
    else:
        explain(outcome)


def show_all(outcomes: Sequence[Outcome]) -> None:
    """Several hosts' outcomes, a line each."""
    if len(outcomes) > 1:
        rows = [(one.host, "ok" if one.ok else "FAILED", one.result, one.message) for one in outcomes]
        console.print_table(("host", "", "result", ""), rows)


def explain(outcome: Outcome) -> None:
    """Why the command failed, the evidence, and what to do next."""
    console.warn(f"{outcome.host}: {outcome.message}")
    for line in outcome.evidence:
        console.warn(f"  | {line}")
    if outcome.next_action:
        console.warn(f"  {name_fab(outcome.next_action, on_path=shutil.which('fab'))}")


def name_fab(text: str, *, on_path: str | None) -> str:
    """The text with `fab` as it works here: with its path from the project's folder, where a shell would not find it.

    Args:
        text: Advice.
        on_path: What the shell finds for `fab`, or None.
    """
    program = Path(sys.prefix, "Scripts" if os.name == "nt" else "bin", "fab")
    if on_path is not None and os.path.realpath(on_path) == os.path.realpath(program):
        return text
    usual = Path(".venv", program.parent.name, "fab")
    where = str(usual) if (_PROJECT / usual).exists() else shlex.quote(str(program))
    return _FAB.sub(lambda _: f"cd {shlex.quote(str(_PROJECT))} && {where} ", text)


def _choose_changes(outcome: Outcome) -> Sequence[str]:
    """The files of a first release are all of them, and say nothing."""
    if outcome.action != "deploy":
        return outcome.changes
    if not outcome.replaces:
        return ()
    if outcome.result == "would_deploy" or len(outcome.changes) <= _MOST_CHANGES:
        return outcome.changes
    return (*outcome.changes[:_MOST_CHANGES], f"… and {len(outcome.changes) - _MOST_CHANGES} files more")
