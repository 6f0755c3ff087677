"""The table of what a supervisor alerts about."""

from collections import Counter

from orchestration.supervision import IncidentKind
from orchestration.supervision.checks import CHECKS

_EVENTS = {
    IncidentKind.GATEWAY_RESTARTED,
    IncidentKind.WEEKLY_LOGIN,
    IncidentKind.CLOCK_JUMP,
    IncidentKind.BOT_FINISHED,
    IncidentKind.BOT_SWITCHED,
    IncidentKind.BOT_STOPPED,
    IncidentKind.SUPERVISION_ENDED,
}


def test_every_kind_that_is_no_event_has_one_row() -> None:
    """A second row of a kind would close what the first has opened."""
    assert Counter(check.kind for check in CHECKS) == Counter(set(IncidentKind) - _EVENTS)
