"""`inv report`: how well it ran, from the journal, as a page for people or a document for programs."""

import re
from datetime import datetime, timedelta
from pathlib import Path

from orchestration import presenter as console
from orchestration.commands.views import load_settings_or_explain
from orchestration.errors import ExitCode
from orchestration.journal import Evidence, JournalReader
from orchestration.redaction import Redactor, clean_text, mask_account
from orchestration.reports import Limits, PeriodReport, build_period_report
from orchestration.settings import Settings, expand_home
from orchestration.state_dir import journal_path
from orchestration.system.clock import SystemClock
from orchestration.system.files import write_atomic
from orchestration.system.processes import ProcessIdentity, is_running

_USUAL_PERIOD = timedelta(days=7)
_PAGE_MODE = 0o644  # it holds no secret, and is made to be shown
_ACCOUNT = re.compile(r"\b(?:D[UFI]?|[UFI])\d{5,9}\b")


def report(*, since: str | None, output: str, as_json: bool) -> int:
    """Make the report. 0: made, and not failed; 1: failed, or not made."""
    from orchestration.reports.document import build_document
    from orchestration.reports.period_report import parse_since

    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    now = SystemClock().now().astimezone()
    try:
        begin = now - _USUAL_PERIOD if since is None else parse_since(since, now=now)
    except ValueError as error:
        return _refuse(str(error), settings, as_json=as_json)
    reader = JournalReader(journal_path(settings.state_dir))
    report = read_period_report(reader, settings, since=begin, until=now, limits=None if since is None else Limits())
    if reader.problem is not None:
        return _refuse(reader.problem, settings, as_json=as_json)
    if output or not as_json:
        path = Path(expand_home(output)).absolute() if output else settings.state_dir / "report.html"
        try:
            write_page(report, path)
        except OSError as error:
            return _refuse(f"the page {path} cannot be written: {error.strerror or error}", settings, as_json=as_json)
        console.warn(f"page: {path}")
    if as_json:
        console.print_json(build_document(report))
    else:
        show(report)
    return int(ExitCode.FAILURE if report.verdict is not None and not report.verdict.is_passed else ExitCode.SUCCESS)


def read_period_report(
    reader: JournalReader, settings: Settings, *, since: datetime, until: datetime, limits: Limits | None
) -> PeriodReport:
    """The report on a period of this instance, without secrets and with accounts masked.

    Args:
        reader: Its journal. `reader.problem` says afterwards whether it could be read.
        settings: The configuration.
        since: The beginning, aware.
        until: The end.
        limits: What a verdict allows; None for no verdict.
    """
    from datetime import UTC

    from orchestration.reports.period_report import clean_period_report

    evidence = reader.read_evidence(since.astimezone(UTC))
    report = build_period_report(
        evidence,
        instance=settings.instance,
        since=since,
        until=until,
        made_at=until,
        alive=_find_alive(evidence),
        limits=limits,
    )
    redactor = Redactor(settings.secrets)
    return clean_period_report(report, lambda text: mask_accounts(clean_text(text, redactor)))


def mask_accounts(text: str) -> str:
    """The text with everything in it masked that looks like an account id of the broker's."""
    return _ACCOUNT.sub(lambda found: mask_account(found[0]), text)


def write_page(report: PeriodReport, path: Path) -> None:
    """Write the page.

    Raises:
        OSError: It could not be written.
    """
    from orchestration.reports.page import render_page

    write_atomic(path, render_page(report).encode(), mode=_PAGE_MODE)


def show(report: PeriodReport) -> None:
    """The most important of it, in the terminal."""
    from orchestration.reports.page import describe_duration, describe_ratio
    from orchestration.reports.timeline import Availability

    rows = []
    for name, timeline in (("gateway", report.gateway), ("bot", report.bot)):
        down_s, unknown_s = timeline.sum_s(Availability.DOWN), timeline.sum_s(Availability.UNKNOWN)
        down, unknown = describe_duration(down_s), describe_duration(unknown_s)
        rows.append((name, f"up {describe_ratio(timeline.up_ratio)}, down {down}, not watched {unknown}"))
    failed = sum(run.result == "failure" for run in report.starts)
    still_open = sum(one.over_at is None for one in report.incidents)
    rows += [("starts", f"{len(report.starts)}, {failed} failed")]
    rows += [("incidents", f"{len(report.incidents)}, {still_open} open")]
    if report.latency is not None:
        typical_ms, most_ms = report.latency.typical_ms, report.latency.most_ms
        rows.append(("API latency", f"typical {typical_ms:.1f} ms, slowest {most_ms:.1f} ms"))
    console.print_table(("", ""), rows)
    if report.verdict is None:
        console.print_line("No verdict was asked for; `inv report --since 48h` makes one.")
        return
    console.print_table(
        ("", "criterion", "found"),
        [("met" if one.is_met else "NOT MET", one.text, one.found) for one in report.verdict.criteria],
    )
    console.print_line(f"verdict: {'passed' if report.verdict.is_passed else 'failed'}")


def _find_alive(evidence: Evidence) -> frozenset[str]:
    """The runs without an end whose process lives."""
    return frozenset(
        run.record.run_id
        for run in evidence.runs
        if run.record.result is None and run.birth and is_running(ProcessIdentity(pid=run.record.pid, birth=run.birth))
    )


def _refuse(problem: str, settings: Settings, *, as_json: bool) -> int:
    console.warn(problem)
    if as_json:
        console.print_json({"instance": settings.instance, "exit_code": int(ExitCode.FAILURE), "message": problem})
    return int(ExitCode.FAILURE)
