"""What people see of a command on hosts: its steps as they end, a table for each host, one for all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestration import console
from orchestration.bot.record import name_bot
from orchestration.deploy.release import Release
from orchestration.deploy.workflow import Outcome, Step

_MOST_CHANGES = 40  # of a deploy; a dry run shows all of them


def describe_release(release: Release, *, current: str) -> str:
    """A release in one line; the one in force is marked."""
    if not release.complete:
        state = "half-made"
    else:
        state = "good" if release.verified else "failed" if release.failed else "never found good"
    return f"{'*' if release.name == current else ' '} {release.name} ({state})"


def describe_system(document: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What `inv status --json` of a host says, in a few lines; nothing for what an older release does not tell."""
    if not document:
        return ()
    gateway, plan = document.get("gateway") or {}, document.get("gameplan") or {}
    bot, service = document.get("bot") or {}, document.get("service") or {}
    simulated = "SIMULATED, " if gateway.get("simulated") else ""
    accounts = ", ".join(gateway.get("accounts") or ()) or "no account seen"
    api, up_s = gateway.get("api") or "not asked", bot.get("uptime_s")
    who = name_bot(bot.get("pid") or 0, bot.get("container") or "")
    rows = (
        ("gateway", f"{simulated}{gateway.get('state')}, API {api}, {accounts}" if gateway else ""),
        ("gameplan", f"strategy {plan.get('strategy')} of {plan.get('date')}" if plan.get("strategy") else ""),
        ("bot", f"{who}, up {console.describe_duration(up_s)}" if bot.get("running") else "not running"),
        ("service", f"{service.get('name')}, {service.get('state')}" if service else ""),
        *(("problem", str(problem)) for problem in document.get("problems") or ()),
    )
    return tuple(f"  {name:<9} {text}" for name, text in rows if text)


def tell(host: str) -> Callable[[Step], None]:
    """Who tells of each step of a host as it ends."""
    return lambda step: console.warn(
        f"[{host}] {step.name:<13} {'ok' if step.ok else 'FAILED'}, {step.duration_s:.1f} s"
    )


def tell_of_begin(host: str) -> Callable[[str], None]:
    """Who tells, in a terminal, which step of a host is at work."""
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
    """Why it did not come to what was asked, what shows it, and what a person does next."""
    console.warn(f"{outcome.host}: {outcome.message}")
    for line in outcome.evidence:
        console.warn(f"  | {line}")
    if outcome.next_action:
        console.warn(f"  {outcome.next_action}")


def _choose_changes(outcome: Outcome) -> Sequence[str]:
    """The files of a first release are all of them, and say nothing."""
    if outcome.action != "deploy":
        return outcome.changes
    if not outcome.replaces:
        return ()
    if outcome.result == "would_deploy" or len(outcome.changes) <= _MOST_CHANGES:
        return outcome.changes
    return (*outcome.changes[:_MOST_CHANGES], f"… and {len(outcome.changes) - _MOST_CHANGES} files more")
