"""What a supervisor decides: pure logic, without I/O, clock or sleep.

`observation` holds what one look sees, `checks` is the table of what is alerted about, `machine.decide` turns a look
into what is said and what is done, `attempts` counts failed starts. docs/explanation/supervision.md has the table for
operators. The loop around it is `supervisor`.
"""

from orchestration.supervision.decision import Action, Decision, Memory
from orchestration.supervision.incidents import IncidentKind, Notice, Stage
from orchestration.supervision.machine import decide
from orchestration.supervision.observation import (
    ApiLook,
    BotLook,
    MarketLook,
    Observation,
    PlanCandidate,
    PlanLook,
    judge_accounts,
)
from orchestration.supervision.rules import Rules

__all__ = [
    "Action",
    "ApiLook",
    "BotLook",
    "Decision",
    "IncidentKind",
    "MarketLook",
    "Memory",
    "Notice",
    "Observation",
    "PlanCandidate",
    "PlanLook",
    "Rules",
    "Stage",
    "decide",
    "judge_accounts",
]
