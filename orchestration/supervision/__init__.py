"""What a supervisor decides: pure logic, without I/O, clock or sleep.

`observation` holds what one look sees, `checks` is the table of what is alerted about, `machine.decide` turns a look
into what is said and what is done. docs/explanation/supervision.md has the table for operators. The loop around it is
`supervisor`; `inv startup --foreground` and `--service` (`orchestration.commands.supervise`) run that.

The names load when they are first asked for: the order guard's process and the commands that read one file of this
folder do without the rest.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.supervision.decision import Action, Decision, Memory
    from orchestration.supervision.incidents import IncidentKind, Notice, Stage
    from orchestration.supervision.machine import decide
    from orchestration.supervision.observation import (
        MarketLook,
        Observation,
        PlanCandidate,
        PlanObservation,
        judge_accounts,
    )
    from orchestration.supervision.rules import Rules

__all__ = [
    "Action",
    "Decision",
    "IncidentKind",
    "MarketLook",
    "Memory",
    "Notice",
    "Observation",
    "PlanCandidate",
    "PlanObservation",
    "Rules",
    "Stage",
    "decide",
    "judge_accounts",
]

_MODULES = {
    "Action": "decision",
    "Decision": "decision",
    "IncidentKind": "incidents",
    "MarketLook": "observation",
    "Memory": "decision",
    "Notice": "incidents",
    "Observation": "observation",
    "PlanCandidate": "observation",
    "PlanObservation": "observation",
    "Rules": "rules",
    "Stage": "incidents",
    "decide": "machine",
    "judge_accounts": "observation",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
