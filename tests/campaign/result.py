"""What came of one run of the campaign."""

from dataclasses import dataclass

from tests.campaign.draw import Case


@dataclass(frozen=True)
class CaseResult:
    """What came of one run of the campaign.

    Attributes:
        case: The run.
        outcome: How the faulty run ended: exit codes and words.
        again: How the next one, without the fault, ended.
        was_injected: Whether the run lived to meet its fault.
        violations: Which rules were broken; empty for a good run.
        problem: Why the run says nothing, if it could not be staged.
        duration_s: How long it all took.
        commit: What was tested.
    """

    case: Case
    outcome: str = ""
    again: str = ""
    was_injected: bool = False
    violations: tuple[str, ...] = ()
    problem: str = ""
    duration_s: float = 0.0
    commit: str = ""
