"""The report as one HTML page that needs nothing else: no network, no script, no font, no picture file.

Every text is escaped by the template engine, and a policy in the page itself forbids whatever might be asked for.
"""

from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.reports.document import count_alerts
from orchestration.reports.drawing import draw_latency, draw_marks, draw_starts, draw_ticks, draw_timeline
from orchestration.reports.incidents import IncidentOutcome
from orchestration.reports.period_report import PeriodReport
from orchestration.reports.timeline import Availability, Timeline
from orchestration.reports.verdict import floor_percent
from orchestration.settings.week_time import describe_full_login

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates" / "report"
_MOST_ROWS = 200  # of incidents and of what else happened; the JSON has all of them
_PHASES = ("preflight", "gateway.up", "gateway.wait", "gameplan.check", "bot.start")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400

NOTHING = "n/a"
KNOWN_TEXT = {
    Availability.UP: "up",
    Availability.DOWN: "down",
    Availability.EXCUSED: "excused",
    Availability.ABSENT: "absent on purpose",
    Availability.UNKNOWN: "unknown",
}
_OUTCOME_TEXT = {
    IncidentOutcome.OVER: "over",
    IncidentOutcome.CLEARED_BY_START: "cleared by a new start",
    IncidentOutcome.OPEN: "open",
}


def open_templates(folder: Path) -> "Environment":
    """The templates of pages in a folder: every value is escaped, and one that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(report: PeriodReport, *, zone: tzinfo | None = None) -> str:
    """The page.

    Args:
        report: What it shows.
        zone: The time zone of its times; None for this host's own.
    """
    environment = open_templates(_TEMPLATES)
    since, until = report.since, report.until
    environment.filters |= {
        "moment": lambda moment: f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "minute": lambda moment: f"{moment.astimezone(zone):%d %b %H:%M}",
        "duration": describe_duration,
        "percent": describe_ratio,
        "words": lambda word: str(word).replace("_", " "),
    }
    incidents = tuple(reversed(report.incidents))
    return environment.get_template("report.html.j2").render(
        report=report,
        zone=f"{until.astimezone(zone):%Z (UTC%z)}",
        rows=(
            ("gateway", "Gateway", report.gateway, draw_timeline(report.gateway, since, until)),
            ("bot", "Bot", report.bot, draw_timeline(report.bot, since, until)),
        ),
        ticks=draw_ticks(since, until, zone),
        marks=draw_marks(report.incidents, since, until),
        bars=draw_starts(report.starts, _PHASES),
        phases=_PHASES,
        latency=draw_latency(report.latencies, since, until),
        incidents=incidents[:_MOST_ROWS],
        more_incidents=max(0, len(incidents) - _MOST_ROWS),
        full_login=describe_full_login(report.full_login_at, report.until),
        happenings=tuple(reversed(report.happenings))[:_MOST_ROWS],
        alerts=count_alerts(report.alerts),
        known=tuple(Availability),
        known_text=KNOWN_TEXT,
        outcome_text=_OUTCOME_TEXT,
        open_incidents=sum(one.outcome is IncidentOutcome.OPEN for one in incidents),
        describe=_describe_timeline,
    )


def _describe_timeline(name: str, timeline: Timeline) -> str:
    """The whole row in one sentence, for those who do not see it."""
    parts = [
        f"{describe_duration(seconds)} {KNOWN_TEXT[known]}"
        for known in (
            Availability.UP,
            Availability.DOWN,
            Availability.EXCUSED,
            Availability.ABSENT,
            Availability.UNKNOWN,
        )
        if (seconds := timeline.sum_s(known)) > 0
    ]
    return f"{name}: {', '.join(parts)}."


def describe_ratio(ratio: float | None) -> str:
    """A share in percent, never rounded up."""
    return NOTHING if ratio is None else f"{floor_percent(ratio):.2f} %"


def describe_duration(duration_s: float | None) -> str:
    """A duration for people, in its two largest units."""
    if duration_s is None:
        return NOTHING
    if 0 < duration_s < 10:  # noqa: PLR2004 - below that a tenth says something
        return f"{duration_s:.1f} s"
    whole_s = round(duration_s)
    if whole_s < _MINUTE_S:
        return f"{whole_s} s"
    if whole_s < _HOUR_S:
        return f"{whole_s // _MINUTE_S} min {whole_s % _MINUTE_S} s"
    if whole_s < _DAY_S:
        return f"{whole_s // _HOUR_S} h {whole_s % _HOUR_S // _MINUTE_S} min"
    return f"{whole_s // _DAY_S} d {whole_s % _DAY_S // _HOUR_S} h"
