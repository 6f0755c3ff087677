from datetime import date

import pytest

from orchestration.bot.reference import describe_duty


@pytest.mark.parametrize(
    ("strategy", "planned", "expected"),
    [
        ("A", "2026-11-18", "strategy A on SPY, QQQ; this bot only watches and never sends an order"),
        ("B", "2026-11-19", "strategy B for 2026-11-19: nothing is traded before that day"),
        ("A", "2026-11-17", "strategy A was for 2026-11-17: out of date, no entries"),
        ("C", "2026-11-18", "strategy C: no entries; what is open may only be reduced or protected"),
        ("C", "2026-11-17", "strategy C: no entries; what is open may only be reduced or protected"),
    ],
)
def test_a_plan_allows_nothing_before_and_after_its_date_and_no_entries_on_c(
    strategy: str, planned: str, expected: str
) -> None:
    plan = {"strategy": strategy, "date": planned, "symbols": ["SPY", "QQQ"]}
    assert describe_duty(plan, date(2026, 11, 18)) == expected
