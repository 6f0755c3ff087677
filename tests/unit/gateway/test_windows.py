"""Windows of the day and the week."""

from datetime import UTC, datetime

import pytest

from orchestration.gateway.time_windows import is_in_any, parse_windows
from orchestration.settings import Settings

AMERICAS = "00:15-01:45 America/New_York; Fri 23:00-Sat 03:00 America/New_York"


@pytest.mark.parametrize(
    ("text", "instant", "is_in"),
    [
        (AMERICAS, "2026-11-18T05:14:59", False),  # 00:14:59 in New York
        (AMERICAS, "2026-11-18T05:15:00", True),
        (AMERICAS, "2026-11-18T06:44:59", True),
        (AMERICAS, "2026-11-18T06:45:00", False),
        (AMERICAS, "2026-11-21T03:59:00", False),  # Friday 22:59
        (AMERICAS, "2026-11-21T04:00:00", True),
        (AMERICAS, "2026-11-21T07:59:00", True),
        (AMERICAS, "2026-11-21T08:00:00", False),
        (AMERICAS, "2026-11-20T04:00:00", False),  # Thursday 23:00
        (AMERICAS, "2026-07-18T04:15:00", True),  # summer time: four hours
        ("23:40-00:10 UTC", "2026-11-18T23:45:00", True),
        ("23:40-00:10 UTC", "2026-11-18T00:09:00", True),
        ("23:40-00:10 UTC", "2026-11-18T12:00:00", False),
        ("Sun 23:00-Mon 01:00 UTC", "2026-11-22T23:30:00", True),
        ("Sun 23:00-Mon 01:00 UTC", "2026-11-23T00:30:00", True),
        ("Sun 23:00-Mon 01:00 UTC", "2026-11-23T01:00:00", False),
        ("", "2026-11-18T00:30:00", False),
        (" ; ", "2026-11-18T00:30:00", False),
    ],
)
def test_an_instant_lies_in_a_window_or_not(text: str, instant: str, *, is_in: bool) -> None:
    assert is_in_any(parse_windows(text), datetime.fromisoformat(instant).replace(tzinfo=UTC)) is is_in


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "not a window"),
        ("00:15-01:45", "not a window"),
        ("0:15-1:45 UTC", "not a window"),
        ("25:00-26:00 UTC", "not a time of day"),
        ("10:00-10:60 UTC", "not a time of day"),
        ("10:00-10:00 UTC", "same time"),
        ("Fri 23:00-03:00 UTC", "one side"),
        ("Fry 23:00-Sat 03:00 UTC", "not a day"),
        ("00:15-01:45 Mars/Olympus", "time zone"),
        ("00:15-01:45 ../../etc", "time zone"),
        (f"{AMERICAS}; 1", "'1' is not a window"),
    ],
)
def test_a_wrong_window_is_named_with_what_is_allowed(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_windows(text)


def test_the_defaults_are_windows() -> None:
    settings = Settings.from_environ({})
    assert len(parse_windows(settings.broker_reset_windows)) == 2
    assert len(parse_windows(settings.gateway_restart_window)) == 1
