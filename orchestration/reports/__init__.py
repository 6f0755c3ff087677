"""How well it ran: uptime, starts, incidents, latency and a verdict, made from the journal's evidence. Pure.

`build_period_report` puts it all together; `document` makes the JSON of it, `page` the HTML. Unobserved time is
unknown, and never counts as up.
"""

from orchestration.reports.incidents import IncidentOutcome, ReportedIncident
from orchestration.reports.period_report import Injected, PeriodReport, build_period_report
from orchestration.reports.timeline import Availability, Segment, Timeline
from orchestration.reports.verdict import Criterion, Limits, ReportVerdict

__all__ = [
    "Availability",
    "Criterion",
    "IncidentOutcome",
    "Injected",
    "Limits",
    "PeriodReport",
    "ReportVerdict",
    "ReportedIncident",
    "Segment",
    "Timeline",
    "build_period_report",
]
