"""How well it ran: up-time, starts, incidents, latency and a verdict, made from the journal's evidence. Pure.

`build_account` puts it all together; `document` makes the JSON of it, `page` the HTML. What nobody saw is unknown, and
never counts as up.
"""

from orchestration.uptime.account import Account, Injected, build_account
from orchestration.uptime.incidents import Incident, Outcome
from orchestration.uptime.timeline import Known, Segment, Timeline
from orchestration.uptime.verdict import Criterion, Limits, Verdict

__all__ = [
    "Account",
    "Criterion",
    "Incident",
    "Injected",
    "Known",
    "Limits",
    "Outcome",
    "Segment",
    "Timeline",
    "Verdict",
    "build_account",
]
