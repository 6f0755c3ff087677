"""The commands that only look: status, history, logs, config. One function each, which returns an exit code."""

import dataclasses
from datetime import UTC
from typing import TYPE_CHECKING

from orchestration import presenter as console
from orchestration.bot.record import ReadyBy
from orchestration.commands import flags
from orchestration.errors import ExitCode, FailureWord, StartupFailure
from orchestration.redaction import mask_account
from orchestration.settings import PROJECT_DIR, Settings
from orchestration.startup.configuration import load_settings, load_settings_of_what_runs
from orchestration.startup.report import describe_connection
from orchestration.state_dir import journal_path
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from orchestration.commands.status import GatewayLook, Status
    from orchestration.gateway.api import ApiStatus
    from orchestration.hostservice.service import HostServiceStatus
    from orchestration.journal import JournalReader, ReportedEvent, RunRecord

_USUAL_RUNS, _MOST_RUNS = 20, 10_000
_MOST_EVENTS = 100  # of supervision, in `inv history`; a report has all of them


def version(*, as_json: bool) -> int:
    """`inv version`: this program's own, and what it runs on."""
    import platform

    own = read_version()
    if as_json:
        console.print_json({"version": own, "python": platform.python_version(), "project_dir": str(PROJECT_DIR)})
    else:
        console.print_line(f"zero-touch-startup {own} (Python {platform.python_version()}, {PROJECT_DIR})")
    return int(ExitCode.SUCCESS)


def read_version() -> str:
    """This program's version."""
    import orchestration

    return orchestration.__version__


def config(*, as_json: bool) -> int:
    """`inv config`: the values in effect, where each came from, secrets masked. 1 where some are wrong."""
    problems: tuple[str, ...] = ()
    word: FailureWord | None = None
    try:
        settings = load_settings()
    except StartupFailure as failure:
        # What is wrong is just what one comes here to see: the values shown are then the defaults in their place.
        problems, word, settings = failure.evidence, failure.word, Settings.load(lenient=True)
    console.warn_of_damage(settings.state_dir)
    warnings = [warning for warning in settings.warnings if warning not in problems]
    if as_json:
        console.print_json(
            {
                "instance": settings.instance,
                "failure": word,
                "values": {row.name: {"value": row.value or None, "source": row.source} for row in settings.sources},
                "problems": list(problems),
                "warnings": warnings,
            }
        )
    else:
        console.print_table(
            ("variable", "value", "from"), [(row.name, row.value or "(unset)", row.source) for row in settings.sources]
        )
        for problem in problems:
            console.print_line(f"{word}: {problem}")
        for warning in warnings:
            console.print_line(f"warning: {warning}")
    return int(ExitCode.FAILURE if problems else ExitCode.SUCCESS)


def status(*, as_json: bool) -> int:
    """`inv status`: 0 all well; 1 the bot runs, something is not well; 3 it does not run; 4 unknown."""
    from orchestration.commands import status as look

    settings = load_settings_or_explain(as_json=as_json, exit_code=look.StatusCode.UNKNOWN)
    if settings is None:
        return int(look.StatusCode.UNKNOWN)
    found = look.read_status(settings, commands=SystemCommands(), clock=SystemClock())
    if as_json:
        from orchestration.commands.status_document import build_json

        console.print_json(build_json(found))
    else:
        console.print_table(("", ""), build_status_rows(found))
        console.print_line(look.describe(found))
    return int(found.code)


def status_of_all(*, as_json: bool) -> int:
    """`inv status --all`: every instance of this checkout; the exit code is the worst of theirs."""
    from orchestration.commands.status import read_overview
    from orchestration.commands.status_document import build_json
    from orchestration.preflight.instances import find_instances
    from orchestration.settings import PROJECT_DIR
    from orchestration.settings.sources import read_environment

    instances = find_instances(read_environment(), PROJECT_DIR)
    for settings in instances:
        for warning in settings.warnings:
            console.warn(f"warning: instance {settings.instance}: {warning}")
    found = read_overview(instances, commands=SystemCommands(), clock=SystemClock())
    if as_json:
        console.print_json([build_json(one) for one in found])
    else:
        headings = ("instance", "bot", "gateway", "gameplan", "service", "code", "problem")
        console.print_table(headings, [build_overview_row(one) for one in found])
    return max(int(one.code) for one in found)


def build_overview_row(found: "Status") -> tuple[str, ...]:
    """One instance in one line."""
    gateway, plan, service = found.gateway, found.plan, found.service
    where = f"{gateway.container or gateway.kind}:{gateway.port}"
    strategy = "" if plan is None else f"{plan.strategy} of {plan.date}" if plan.date else plan.strategy
    return (
        found.instance,
        describe_bot(found),
        where if gateway.is_ready else f"{where} NOT READY",
        strategy,
        "" if service is None else service.state or service.name,
        str(int(found.code)),
        "; ".join((*found.problems, *found.notes)),
    )


def build_status_rows(found: "Status") -> list[tuple[str, str]]:
    """The rows of the status table."""
    bot, plan, last = found.bot, found.plan, found.last_run
    rows = [("instance", found.instance), *_build_gateway_rows(found.gateway), *_build_money_rows(found)]
    rows.append(("bot", describe_bot(found)))
    record = bot.record
    rows.append(("  program", found.bot_state.program))
    if record is not None:
        rows.append(("  log", record.log_hint))
    if plan is not None:
        reason = f", emergency plan: {plan.emergency_reason}" if plan.emergency_reason else ""
        rows.append(("gameplan", f"strategy {plan.strategy} of {plan.date}{reason}"))
        rows.append(("  problem", plan.problem or ""))
    if found.guard is not None:
        refused = f"{found.guard.refusals} requests refused"
        rows.append(("order guard", f"process {found.guard.pid}, {found.guard.host}:{found.guard.port}, {refused}"))
    rows += _build_service_rows(found.service, is_in_stack=found.is_in_stack)
    if found.attempts.has_given_up:
        rows.append(("  gave up", f"since {found.attempts.given_up_since}: {found.attempts.given_up}"))
    rows.append(("lease", str(found.lease or "")))
    rows.append(("  plan in force", str(found.leader_plan or "")))
    rows.append(("hold", str(found.hold or "")))
    rows.append(("under way", str(found.under_way or "")))
    rows.append(("alerts", _describe_alerts(found)))
    if last is not None:
        outcome = last.result or "not ended"
        word = f" ({last.failure or last.fallback})" if last.failure or last.fallback else ""
        rows.append(("last run", f"{last.kind} of {console.describe_moment(last.started_at)}: {outcome}{word}"))
    elif found.journal_problem is not None:
        rows.append(("last run", f"unknown: {found.journal_problem}"))
    return [row for row in rows if row[1]]


def _build_gateway_rows(gateway: "GatewayLook") -> list[tuple[str, str]]:
    marked = "SIMULATED, " if gateway.simulated else ""
    where = f"{marked}{gateway.kind}" + (f", container {gateway.container}" if gateway.container else "")
    rows = [("gateway", f"{where}, {gateway.host}:{gateway.port}")]
    if gateway.status is not None:
        health = "" if gateway.status.health == "none" else f", {gateway.status.health}"
        rows.append(("  state", f"{gateway.status.state}{health}"))
    if gateway.api is not None:
        rows.append(("  API", describe_api(gateway.api)))
    if gateway.login != "unknown":
        rows.append(("  login", str(gateway.login).replace("_", " ")))
    if gateway.full_login_at is not None:
        relation = "newer" if gateway.full_login_at >= gateway.sessions_ended_at else "OLDER"
        at = console.describe_moment(gateway.full_login_at)
        rows.append(("  full login", f"{at}, {relation} than the end of all sessions on Sunday 01:00 US Eastern"))
    rows.append(("  problem", gateway.problem or ""))
    return rows


def _build_money_rows(found: "Status") -> list[tuple[str, str]]:
    """What the broker holds: one row where nothing is known of it, and why; else a row for each part."""
    from orchestration.gateway.holdings import describe_margin, describe_orders, describe_positions

    holdings, with_amounts = found.holdings, found.shows_amounts
    if found.gateway.api is None or found.gateway.api.holdings is None:
        return [("positions", "unknown: the gateway cannot be asked")]
    return [
        ("positions", describe_positions(holdings, with_amounts=with_amounts)),
        ("open orders", describe_orders(holdings, with_amounts=with_amounts)),
        ("margin", describe_margin(holdings, with_amounts=with_amounts)),
    ]


def _build_service_rows(service: "HostServiceStatus | None", *, is_in_stack: bool) -> list[tuple[str, str]]:
    if service is None and is_in_stack:
        return [("service", "none here: Docker starts this container again unless it was stopped by hand")]
    if service is None:
        return [("service", "none installed: nothing starts the system at boot")]
    enabled = "starts at boot" if service.enabled else "does not start at boot"
    rows = [("service", f"{service.name} ({service.scope} scope), {enabled}, {service.state or 'state unknown'}")]
    rows.append(("  says", service.status_text))
    rows += [("  problem", lack) for lack in service.lacks]
    if service.differs:
        rows.append(("  differs", "from what `inv install` would write; `inv install --dry-run` shows how"))
    rows.append(("  note", service.detail))
    return rows


def describe_api(look: "ApiStatus") -> str:
    """What the API said, in one line."""
    if not look.is_ready:
        return f"{look.state}: {look.detail}"
    accounts = ", ".join(mask_account(account) for account in look.accounts)
    latency = "" if look.latency_ms is None else f", latency {look.latency_ms:.0f} ms"
    return f"ready: account {accounts}, server version {look.server_version}{latency}"


def describe_bot(found: "Status") -> str:
    """The bot in one line."""
    if found.bot.is_unknown:
        return f"unknown: {found.bot.detail}"
    bot = found.bot
    if found.is_finished_for_now:
        return "finished, waits for the next plan"
    if found.is_bot_withheld:
        return "none on Strategy C (STRATEGY_C_BOT=none), waits for the next trading plan"
    if not bot.is_found:
        return f"not running{found.last_end}"
    record = bot.record
    not_up = ", starting" if found.under_way else ", never seen to come up"
    said = {ReadyBy.NOTIFY: ", said READY", ReadyBy.GRACE: ", alive", None: not_up}
    ready = "" if record is None else f"{said[record.ready_by]}, {describe_connection(found.bot_state.is_connected)}"
    if found.bot_state.suspended:
        # Which process it is has been said.
        ready += f", {found.bot_state.suspended.partition(') ')[2] or found.bot_state.suspended}"
    watched = "supervised" if found.is_bot_watched else "unsupervised: nothing watches it"
    return f"{bot.who}, up {console.describe_duration(bot.uptime_s)}{ready}, {watched}"


def history(*, limit: int | None, since: str | None, as_json: bool) -> int:
    """`inv history`: the runs of this instance, the newest first.

    Args:
        limit: How many runs; None: the usual number, or with `since` all of them.
        since: Only what began since then, as `inv report` reads it.
        as_json: Whether to print one JSON document.
    """
    from orchestration.journal import JournalReader

    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    begin = None if since is None else _read_since(since)
    journal = JournalReader(journal_path(settings.state_dir))
    runs = journal.read_runs(limit or (_USUAL_RUNS if begin is None else _MOST_RUNS))
    runs = [run for run in runs if begin is None or run.started_at >= begin]
    events = [] if journal.problem else _read_supervision(journal, runs, begin)
    if journal.problem:
        console.warn(journal.problem)
    if as_json:
        console.print_json(
            {
                "instance": settings.instance,
                "problem": journal.problem,
                "runs": [dataclasses.asdict(run) for run in runs],
                "supervision": [_build_event_json(event) for event in events],
            }
        )
        return int(ExitCode.FAILURE if journal.problem else ExitCode.SUCCESS)
    if journal.problem:
        return int(ExitCode.FAILURE)
    if not runs and not events:
        console.print_line("no runs yet" if begin is None else f"nothing since {console.describe_moment(begin)}")
        return int(ExitCode.SUCCESS)
    rows: list[tuple[datetime, tuple[str, ...]]] = [(event.at, _build_event_row(event)) for event in events]
    for run in runs:
        word = run.failure or run.fallback or ""
        waiting = sum(alert.delivery == "pending" for alert in run.alerts)
        alerts = f"{len(run.alerts)}" + (f" ({waiting} not sent yet)" if waiting else "")
        row = (
            console.describe_moment(run.started_at),
            run.kind,
            f"{run.result or 'not ended'} {word}".strip(),
            "" if run.exit_code is None else str(run.exit_code),
            "" if run.duration_s is None else f"{run.duration_s:.1f} s",
            alerts,
            run.message or "",
        )
        rows.append((run.started_at, row))
    rows.sort(key=lambda row: row[0], reverse=True)
    console.print_table(("started", "command", "result", "code", "took", "alerts", ""), [row for _, row in rows])
    return int(ExitCode.SUCCESS)


def _read_since(text: str) -> "datetime":
    """The beginning of a period, in UTC.

    Raises:
        SystemExit: It is none; with a message that says what is allowed.
    """
    from orchestration.reports.period_report import parse_since

    clock = SystemClock()
    try:
        return parse_since(text, now=clock.now().astimezone()).astimezone(UTC)
    except ValueError as error:
        flags.refuse(str(error))


def _read_supervision(
    journal: "JournalReader", runs: "Sequence[RunRecord]", since: "datetime | None"
) -> "list[ReportedEvent]":
    """What watchers wrote down since then, or since the oldest of the runs shown: incidents, what was done, ends."""
    since = since or min((run.started_at for run in runs), default=None)
    return [event for event in journal.read_events(since, _MOST_EVENTS) if build_event_text(event)[0]]


_LEASE_EVENTS = {
    "lease_acquired": "lease acquired",
    "lease_lost": "lease lost",
    "lease_released": "lease handed over",
    "lease_seen": "another host leads",
    "plan_differs": "leader's plan differs",
    "plan_agrees": "leader's plan agrees",
}


def build_event_text(event: "ReportedEvent") -> tuple[str, str]:
    """What happened in a word or two, and in a sentence; nothing for what is not about supervision."""
    detail = event.detail
    if event.kind == "watch_began":
        return "began", f"process {detail.get('pid')} watches"
    if event.kind == "watch_ended":
        ended_by = f" ({detail['ended_by']})" if detail.get("ended_by") else ""
        return "ended", f"with exit code {detail.get('exit_code')}{ended_by}"
    if event.kind == "service_ended":
        return "ended by the system", str(detail.get("message", ""))
    if event.kind in _LEASE_EVENTS:
        return _LEASE_EVENTS[event.kind], str(detail.get("message", ""))
    title = str(detail.get("title", "")) if detail.get("incident") else ""
    return title, str(detail.get("message", ""))


def _build_event_row(event: "ReportedEvent") -> tuple[str, ...]:
    title, message = build_event_text(event)
    watcher = str(event.detail.get("watcher", "supervision"))
    return (console.describe_moment(event.at), watcher, title, "", "", "", message)


def _build_event_json(event: "ReportedEvent") -> dict[str, object]:
    title, message = build_event_text(event)
    return {
        "at": event.at.isoformat(),
        "run_id": event.run_id,
        "kind": event.kind,
        "stage": event.detail.get("stage"),
        "title": title,
        "message": message,
    }


def load_settings_or_explain(
    *, as_json: bool, of_what_runs: bool = True, exit_code: int = ExitCode.FAILURE
) -> Settings | None:
    """The configuration, or None after its problems were shown.

    Args:
        as_json: Whether a program asked: then the problems are a document too.
        of_what_runs: Whether only what runs already is looked at or stopped; a wrong setting is then only a warning.
        exit_code: What the command ends with where they are wrong.
    """
    try:
        settings = load_settings_of_what_runs() if of_what_runs else load_settings()
        console.warn_of_damage(settings.state_dir)
    except StartupFailure as failure:
        problems = failure.evidence or (failure.message,)
        for problem in problems:
            console.warn(f"{failure.word}: {problem}")
        console.warn(f"next: {failure.next_action}")
        if as_json:
            console.print_json(
                {
                    "exit_code": int(exit_code),
                    "failure": failure.word,
                    "message": failure.message,
                    "problems": list(problems),
                    "next_action": failure.next_action,
                }
            )
        return None
    for warning in settings.warnings:
        console.warn(f"warning: {warning}")
    return settings


def _describe_alerts(found: "Status") -> str:
    """What is wrong with alerts; where there are several channels, how each of them is."""
    if len(found.alert_channels) <= 1:
        return found.alert_problem or ""
    return "; ".join(
        f"{one.name}: {one.problem or 'ok'}" + (f" ({one.waiting} not sent yet)" if one.waiting else "")
        for one in found.alert_channels
    )
