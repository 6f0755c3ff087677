"""A few days in which what can be simulated goes wrong at the moment that tests a rule hardest.

Drawn faults come a day or two apart, and a year of them meets a rule's edge seldom. These meet each within minutes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from tests.years.scenario import Happening

_HOUR_S = 3600.0
_MINUTE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A stretch of time.

    Attributes:
        name: What it is called.
        begin: When it begins.
        days: How long it is.
        faults: What goes wrong.
    """

    name: str
    begin: datetime
    days: float
    faults: tuple[Happening, ...]


def _make(kind: str, hours: float, lasts_s: float = 0.0) -> Happening:
    return Happening(kind=kind, at_s=round(hours * _HOUR_S, 1), lasts_s=lasts_s)


# Times are hours after 08:00 in New York.
_GATEWAY = Dense(
    name="gateway",
    begin=datetime(2026, 11, 18, 13, 0, tzinfo=UTC),  # a Wednesday
    days=1.08,  # until Thursday, 10:00
    faults=(
        _make("gateway_hangs", 2.0),
        _make("link_lost", 3.0, 600.0),
        _make("gateway_hangs", 3.5),
        _make("engine_away", 4.5, 900.0),
        _make("link_lost", 5.5, 1500.0),
        _make("channel_429", 6.5, 600.0),
        _make("gateway_dies", 6.51),
        _make("phone_forgotten", 7.5, 2 * _HOUR_S),
        _make("gateway_dies", 7.6),
        _make("bot_crashes", 9.75),
        _make("channel_slow", 10.0, 900.0),
        _make("gateway_hangs", 10.02),
        _make("service_killed", 11.0),
        _make("channel_away", 12.0, 1500.0),
        _make("gateway_dies", 12.05),
        _make("power_cut", 15.8, 1200.0),  # over midnight: the bot's plan expires meanwhile
        _make("gateway_dies", 16.7),  # in the broker's reset window
        _make("plan_absent", 18.0, 1.0),
    ),
)
_OPERATOR = Dense(
    name="operator",
    begin=datetime(2026, 11, 18, 13, 0, tzinfo=UTC),
    days=1.08,
    faults=(
        _make("startup_by_hand", 2.0),
        _make("bot_restart_asked", 3.0),
        _make("hold", 4.0, 1800.0),
        _make("startup_by_hand", 4.25),
        _make("disk_full", 5.0, 1800.0),
        _make("clock_ahead", 6.0, 120.0),
        _make("bot_crashes", 7.5),
        _make("startup_by_hand", 7.5),
        _make("bot_finishes", 7.8),
        _make("service_killed_at_door", 9.0, 4.0),
        _make("service_killed_at_door", 10.0, 6.0),
        _make("hold", 11.0, 1800.0),
        _make("power_cut", 11.1, 300.0),
        _make("clock_behind", 12.5, 7200.0),
        _make("plan_invalid", 18.0, 1.0),
        _make("power_cut", 25.0, 60.0),
    ),
)
_WEEKEND = Dense(
    name="weekend",
    begin=datetime(2026, 11, 28, 17, 0, tzinfo=UTC),  # Saturday, noon in New York
    days=1.95,  # until Monday, 10:50
    faults=(
        _make("phone_forgotten", 12.0, 3 * _HOUR_S),  # times are hours after noon here
        _make("service_killed", 14.5),
        _make("gateway_dies", 34.8),
        _make("plan_old", 37.0, 1.0),
    ),
)
_HOLIDAY = Dense(
    name="holiday",
    begin=datetime(2026, 11, 25, 13, 0, tzinfo=UTC),  # the day before Thanksgiving
    days=2.15,  # until Friday, 11:30
    faults=(
        _make("bot_finishes", 3.0),
        _make("gateway_hangs", 15.3),
        _make("phone_forgotten", 15.2, 1800.0),
        _make("service_killed", 26.0),
        _make("plan_quarantined", 42.0, 1.0),
        _make("bot_restart_asked", 49.8),
    ),
)
SCENARIOS = (_GATEWAY, _OPERATOR, _WEEKEND, _HOLIDAY)
