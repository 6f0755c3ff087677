"""P1 and the table of fields: what is allowed, what is not, and how a problem reads."""

from pathlib import Path

import pytest

from orchestration.errors import FallbackWord
from orchestration.gameplan.near_misses import Place, is_within, known_names, near_miss
from orchestration.gameplan.rules import find_problems
from tests.unit.gameplan.plans import REMOVED, changed, judge, load_plan, write_plan

_LIMITS = "hard_limits."
_QUALITY = "data_quality."


@pytest.mark.parametrize("name", ["full", "least"])
def test_the_fixture_plans_keep_every_rule(name: str) -> None:
    assert find_problems(load_plan(name)) == ()


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("date", REMOVED, "date: is missing"),
        ("date", "2026-02-30", 'date: "2026-02-30" is not a real date written YYYY-MM-DD'),
        ("date", "2026-11-18\n", 'date: "2026-11-18\\n" is not a real date written YYYY-MM-DD'),
        ("date", "20261118", 'date: "20261118" is not a real date written YYYY-MM-DD'),
        ("date", "2026-W47-3", 'date: "2026-W47-3" is not a real date written YYYY-MM-DD'),
        ("date", "٢٠٢٦-11-18", 'date: "٢٠٢٦-11-18" is not a real date written YYYY-MM-DD'),
        ("date", 20261118, "date: 20261118 is not a text"),
        ("date", None, "date: null is not a text"),
        ("strategy", REMOVED, "strategy: is missing"),
        ("strategy", "D", 'strategy: "D" is not one of "A", "B", "C"'),
        ("strategy", "a", 'strategy: "a" is not one of "A", "B", "C"'),
        ("strategy", ["A"], 'strategy: a list is not one of "A", "B", "C"'),
        ("regime", REMOVED, "regime: is missing"),
        (
            "regime",
            "calm",
            'regime: "calm" is not one of "complacency", "normal", "elevated", "high_volatility", "crisis", "unknown"',
        ),
        ("symbols", REMOVED, "symbols: is missing"),
        ("symbols", [], "symbols: is empty, but strategies A and B need at least one symbol"),
        ("symbols", "SPY", 'symbols: "SPY" is not a list'),
        ("symbols", ["SPY", "QQQ", "SPY"], 'symbols: "SPY" is in the list more than once'),
        ("symbols", ["SPY", 5], "symbols[1]: 5 is not a text"),
        ("hard_limits", REMOVED, "hard_limits: is missing"),
        ("hard_limits", [], "hard_limits: [] is not an object"),
        (_LIMITS + "max_daily_loss_pct", REMOVED, "hard_limits.max_daily_loss_pct: is missing"),
        (
            _LIMITS + "max_daily_loss_pct",
            1.7,
            "hard_limits.max_daily_loss_pct: 1.7 is greater than the maximum of 1",
        ),
        (_LIMITS + "max_daily_loss_pct", -0.1, "hard_limits.max_daily_loss_pct: -0.1 is less than the minimum of 0"),
        (_LIMITS + "max_daily_loss_pct", True, "hard_limits.max_daily_loss_pct: true is not a number"),
        (_LIMITS + "max_daily_loss_pct", "0.02", 'hard_limits.max_daily_loss_pct: "0.02" is not a number'),
        (_LIMITS + "pdt_trades_remaining", REMOVED, "hard_limits.pdt_trades_remaining: is missing"),
        (_LIMITS + "pdt_trades_remaining", True, "hard_limits.pdt_trades_remaining: true is not a whole number"),
        (_LIMITS + "pdt_trades_remaining", 1.5, "hard_limits.pdt_trades_remaining: 1.5 is not a whole number"),
        (_LIMITS + "pdt_trades_remaining", -1, "hard_limits.pdt_trades_remaining: -1 is less than the minimum of 0"),
        (
            _LIMITS + "weekly_drawdown_governor_active",
            REMOVED,
            "hard_limits.weekly_drawdown_governor_active: is missing",
        ),
        (
            _LIMITS + "weekly_drawdown_governor_active",
            1,
            "hard_limits.weekly_drawdown_governor_active: 1 is not true or false",
        ),
        (_LIMITS + "max_intraday_pivots", REMOVED, "hard_limits.max_intraday_pivots: is missing"),
        (_LIMITS + "max_intraday_pivots", None, "hard_limits.max_intraday_pivots: null is not a whole number"),
        (_LIMITS + "max_single_position", -1, "hard_limits.max_single_position: -1 is less than the minimum of 0"),
        (_LIMITS + "force_close_at_dte", 0.5, "hard_limits.force_close_at_dte: 0.5 is not a whole number"),
        (
            _LIMITS + "max_weekly_drawdown_pct",
            5,
            "hard_limits.max_weekly_drawdown_pct: 5 is greater than the maximum of 1",
        ),
        (
            _LIMITS + "max_daily_los_pct",
            0.02,
            "hard_limits.max_daily_los_pct: is not a known limit; did you mean max_daily_loss_pct?",
        ),
        ("data_quality", REMOVED, "data_quality: is missing"),
        (_QUALITY + "quarantine_active", REMOVED, "data_quality.quarantine_active: is missing"),
        (_QUALITY + "quarantine_active", "no", 'data_quality.quarantine_active: "no" is not true or false'),
        (_QUALITY + "stale_fields", ["vix", 3], "data_quality.stale_fields[1]: 3 is not a text"),
        (
            _QUALITY + "last_verified",
            "2026-11-18 09:00",
            (
                'data_quality.last_verified: "2026-11-18 09:00" is not a date and time with its offset, for example '
                "2026-11-18T09:00:00-05:00"
            ),
        ),
        (_QUALITY + "discrepancy_count", -1, "data_quality.discrepancy_count: -1 is less than the minimum of 0"),
        ("session_id", 7, "session_id: 7 is not a text"),
        ("operator_id", None, "operator_id: null is not a text"),
        ("data_quarantine", "true", 'data_quarantine: "true" is not true or false'),
        ("position_size_multiplier", 1.01, "position_size_multiplier: 1.01 is greater than the maximum of 1"),
        ("vix_at_analysis", -0.5, "vix_at_analysis: -0.5 is less than the minimum of 0"),
        ("vix_at_analysis", "18", 'vix_at_analysis: "18" is not a number or null'),
        ("vix_source_verified", 0, "vix_source_verified: 0 is not true or false"),
        ("bias", "up", 'bias: "up" is not one of "bullish", "bearish", "neutral"'),
        (
            "expected_behavior",
            "flat",
            'expected_behavior: "flat" is not one of "trending", "mean_reverting", "cash_preservation"',
        ),
        ("geo_risk", "none", 'geo_risk: "none" is not one of "low", "medium", "high"'),
        ("key_levels", ["x"], "key_levels: a list is not an object"),
        ("catalysts", "CPI", 'catalysts: "CPI" is not a list'),
        ("earnings_blackout", [None], "earnings_blackout[0]: null is not a text"),
        ("entry_window_start", "9:45", 'entry_window_start: "9:45" is not a time of day written HH:MM'),
        ("entry_window_end", "24:00", 'entry_window_end: "24:00" is not a time of day written HH:MM'),
        ("entry_window_end", "15:30\n", 'entry_window_end: "15:30\\n" is not a time of day written HH:MM'),
        ("vix_gate", {"check_time": "09:40"}, "vix_gate.threshold: is missing"),
        ("vix_gate.threshold", -1, "vix_gate.threshold: -1 is less than the minimum of 0"),
        ("vix_gate.check_time", "09:60", 'vix_gate.check_time: "09:60" is not a time of day written HH:MM'),
        ("alert_message", [], "alert_message: [] is not a text"),
        ("scorecard", 1, "scorecard: 1 is not an object"),
        ("strategy_parameters", None, "strategy_parameters: null is not an object"),
    ],
)
def test_a_wrong_field_is_one_problem_that_names_its_place(
    tmp_path: Path, place: str, value: object, problem: str
) -> None:
    verdict = judge(write_plan(tmp_path, changed({place: value})))

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID
    assert verdict.problems == (problem,)
    assert problem in verdict.message
    assert str(tmp_path / "plan.json") in verdict.message
    assert (verdict.is_valid, verdict.plan, verdict.strategy) == (False, None, None)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("hard_limits.pdt_trades_remaining", 1.0),  # JSON knows one kind of number: 1.0 is a whole one
        ("hard_limits.max_daily_loss_pct", 0),
        ("hard_limits.max_daily_loss_pct", 1),
        ("hard_limits.max_single_position", 1e9),
        ("hard_limits.max_weekly_loss_pct", 0.1),  # a name of the author's own
        ("data_quality.last_verified", None),
        ("data_quality.last_verified", "2026-11-18T13:55:00.123Z"),
        ("vix_at_analysis", None),
        ("position_size_multiplier", 0),
        ("symbols", ["BRK B", "BRK.B", "BF-B", "EUR/USD", "/ES", "$SPX", ".SPX", "^VIX", "ES=F", "AAPL_US", "0700.HK"]),
        ("entry_window_start", "00:00"),
        ("entry_window_end", "23:59"),
        ("anything_else", {"at": ["all"]}),
    ],
)
def test_what_the_rules_allow_passes(place: str, value: object) -> None:
    assert find_problems(changed({place: value})) == ()


@pytest.mark.parametrize(
    "ticker", ["", " SPY", "SPY ", "BRK  B", "SPY\n", "SPY;QQQ", "S" * 33, "SPÝ", "-SPY", "A\u0000"]
)
def test_a_text_that_is_no_ticker_is_a_problem(ticker: str) -> None:
    problems = find_problems(changed({"symbols": [ticker]}))

    assert problems
    assert all(problem.startswith("symbols[0]: ") for problem in problems)


def test_strategy_c_needs_no_symbols_and_no_size() -> None:
    assert find_problems(changed({"strategy": "C", "symbols": [], "position_size_multiplier": 0})) == ()
    assert find_problems(changed({"strategy": "C", "position_size_multiplier": 0.5})) == (
        "position_size_multiplier: 0.5 is more than 0, which makes no sense with strategy C",
    )


def test_every_problem_is_listed_in_the_order_of_the_places() -> None:
    plan = changed({"strategy": "X", "hard_limits.max_daily_loss_pct": 2, "date": REMOVED, "bias": 1})

    assert [problem.split(":")[0] for problem in find_problems(plan)] == [
        "date",
        "bias",
        "hard_limits.max_daily_loss_pct",
        "strategy",
    ]


def test_hundreds_of_problems_become_fifty_and_a_count() -> None:
    problems = find_problems(changed({"symbols": [f"bad;{number}" for number in range(200)]}))

    assert len(problems) == 51
    assert problems[-1] == "and 150 more"
    assert problems[10].startswith("symbols[10]: ")


def test_a_long_value_and_a_hostile_name_are_shown_short_and_on_one_line() -> None:
    problems = find_problems(changed({"alert_message": REMOVED, "bias": "x" * 5000, "strategy": "\x1b[31m\nred"}))

    assert all(len(problem) < 320 and problem.isprintable() for problem in problems), problems


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_daily_los_pct", "max_daily_loss_pct"),
        ("max_dialy_loss_pct", "max_daily_loss_pct"),
        ("max_daily_loss", "max_daily_loss_pct"),
        ("max_daily_loss_percent", "max_daily_loss_pct"),
        ("Max_Daily_Loss_Pct", "max_daily_loss_pct"),
        ("maxDailyLossPct", "max_daily_loss_pct"),
        ("max-daily-loss-pct", "max_daily_loss_pct"),
        ("maxdailylosspct", "max_daily_loss_pct"),
        ("daily_max_loss_pct", "max_daily_loss_pct"),
        ("max_day_loss_pct", "max_daily_loss_pct"),
        ("pdt_trade_remaining", "pdt_trades_remaining"),
        ("pdt_trades_remain", "pdt_trades_remaining"),
        ("max_single_positions", "max_single_position"),
        ("max_single_pos", "max_single_position"),
        ("force_close_dte", "force_close_at_dte"),
        ("max_intraday_pivot", "max_intraday_pivots"),
        ("weekly_drawdown_governor", "weekly_drawdown_governor_active"),
        ("max_weekly_drawdown", "max_weekly_drawdown_pct"),
        ("max_weekly_draw_down_pct", "max_weekly_drawdown_pct"),
        (" max_single_position ", "max_single_position"),
        ("max_single_position", None),
        ("max_weekly_loss_pct", None),
        ("max_monthly_drawdown_pct", None),
        ("max_daily_drawdown_pct", None),
        ("max_daily_loss_usd", None),
        ("max_daily_profit_pct", None),
        ("max_daily_trades", None),
        ("max_open_positions", None),
        ("max_position", None),
        ("max_single_position_pct", None),
        ("max_single_position_usd", None),
        ("max_single_order", None),
        ("max_trade_loss_pct", None),
        ("max_yearly_drawdown_pct", None),
        ("min_daily_loss_pct", "max_daily_loss_pct"),
        ("warn_daily_loss_pct", None),
        ("daily_drawdown_governor_active", None),
        ("force_close_at_time", None),
        ("force_open_at_dte", None),
        ("max_intraday_trades", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_a_slip_of_a_limits_name_is_told_from_a_name_of_ones_own(name: str, meant: str | None) -> None:
    assert near_miss(name) == meant


_TOP: Place = ()
_GATE: Place = ("vix_gate",)
_DATA: Place = ("data_quality",)


@pytest.mark.parametrize(
    ("place", "name", "meant"),
    [
        (_TOP, "data_quarantin", "data_quarantine"),
        (_TOP, "data_quarantined", "data_quarantine"),
        (_TOP, "postion_size_multiplier", "position_size_multiplier"),
        (_TOP, "PositionSizeMultiplier", "position_size_multiplier"),
        (_TOP, "Date", "date"),
        (_TOP, "dates", "date"),
        (_TOP, "daet", "date"),
        (_TOP, "strategyy", "strategy"),
        (_TOP, "hard-limits", "hard_limits"),
        (_TOP, "hardLimits", "hard_limits"),
        (_TOP, "HARD LIMITS", "hard_limits"),
        (_TOP, "hard.limit", "hard_limits"),
        (_TOP, "data quality", "data_quality"),
        (_TOP, "vixGate", "vix_gate"),
        (_TOP, "expected_behaviour", "expected_behavior"),
        (_TOP, "scorecards", "scorecard"),
        (_TOP, "key_level", "key_levels"),
        (_TOP, "d\u0430te", "date"),  # a Cyrillic letter
        (_TOP, "da\u200bte", "date"),  # a zero-width space
        (_TOP, "\uff44\uff41\uff54\uff45", "date"),  # wide letters
        (_DATA, "quarantine_activ", "quarantine_active"),
        (_DATA, "quarantineActive", "quarantine_active"),
        (_DATA, "quarantine-activ", "quarantine_active"),
        (_DATA, "stale_field", "stale_fields"),
        (_GATE, "treshold", "threshold"),
        (_GATE, "Check-Time", "check_time"),
        (_TOP, "quarantine_active", None),  # of another object
        (_DATA, "data_quarantine", None),
        (_GATE, "date", None),
        (_TOP, "universe", None),
        (_TOP, "comment", None),
        (_TOP, "desk_note", None),
        (_TOP, "max_daily_loss", None),
        (_TOP, "entry_window", None),
        (_DATA, "sources", None),
        (_TOP, "", None),
    ],
)
def test_a_slip_of_a_fields_name_is_told_from_a_name_of_ones_own(place: Place, name: str, meant: str | None) -> None:
    assert near_miss(name, place) == meant


def test_every_object_with_named_fields_is_looked_at_and_the_free_ones_are_not() -> None:
    assert set(known_names()) == {(), ("hard_limits",), ("data_quality",), ("vix_gate",)}
    free = {"Date": 1, "regimes": {"data_quarantin": True}}

    assert find_problems(changed({"key_levels": free, "scorecard": free, "strategy_parameters": free})) == ()
    assert find_problems(changed({"of_my_own": free})) == ()


def test_no_known_name_is_taken_for_a_slip_of_another() -> None:
    for place, names in known_names().items():
        assert [name for name in names if near_miss(name, place)] == []


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("data_quarantin", True, "data_quarantin: is not a known field; did you mean data_quarantine?"),
        ("data_quality.quarantine_activ", True, "data_quality.quarantine_activ: is not a known field; did you mean "),
        ("postion_size_multiplier", 0.1, "postion_size_multiplier: is not a known field; did you mean position_size_"),
        ("vix_gate.treshold", 30, "vix_gate.treshold: is not a known field; did you mean threshold?"),
        ("Date", "2026-11-18", "Date: is not a known field; did you mean date?"),
        ("hard limits", {}, '["hard limits"]: is not a known field; did you mean hard_limits?'),
    ],
)
def test_a_slip_makes_the_plan_invalid_beside_the_right_name_too(
    tmp_path: Path, place: str, value: object, problem: str
) -> None:
    verdict = judge(write_plan(tmp_path, changed({place: value})))

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID
    assert len(verdict.problems) == 1
    assert verdict.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("date", "date", 0),
        ("date", "dates", 1),
        ("date", "dat", 1),
        ("date", "daet", 2),
        ("date", "note", 2),
        ("date", "mode", 3),
        ("", "ab", 2),
        ("", "abc", 3),
        ("threshold", "treshhold", 2),
        ("threshold", "hresholdt", 2),
        ("threshold", "tershhold", 3),
        ("abcdef", "defabc", 6),
    ],
)
def test_the_distance_counts_insertions_deletions_and_replacements(one: str, other: str, distance: int) -> None:
    for most in range(4):
        assert is_within(one, other, most) is (distance <= most)
        assert is_within(other, one, most) is (distance <= most)


def test_a_high_percentage_passes_with_a_warning(tmp_path: Path) -> None:
    verdict = judge(write_plan(tmp_path, changed({"hard_limits.max_daily_loss_pct": 0.5})))

    assert verdict.is_valid
    assert verdict.warnings == (
        "hard_limits.max_daily_loss_pct: 0.5 means 50%; percentages are fractions (0.02 is 2 %)",
    )


def test_exactly_a_fifth_passes_without_a_warning(tmp_path: Path) -> None:
    assert judge(write_plan(tmp_path, changed({"hard_limits.max_daily_loss_pct": 0.2}))).warnings == ()


def test_a_huge_list_of_mixed_values_is_judged_in_linear_time() -> None:
    values = [item for number in range(20_000) for item in (number, str(number), [number], {"n": number})]

    assert find_problems(changed({"symbols": [*values, [7]]}))[-1] == "and at least 950 more"


def test_a_flood_of_names_is_compared_in_linear_time() -> None:
    assert find_problems(changed({f"alert_mess{number:06}": 0 for number in range(10_000)})) == ()
    assert find_problems(changed({f"dat{number:x}": 0 for number in range(5_000)}))[-1] == "and 896 more"


def test_a_flood_of_limits_is_refused_without_comparing_all_their_names() -> None:
    flood = {f"max_daily_loss_pct_{number}": 0 for number in range(30_000)}
    problems = find_problems(changed({"hard_limits": {**load_plan()["hard_limits"], **flood}}))

    assert problems == ("hard_limits: has more than 200 fields",)


@pytest.mark.parametrize(
    ("place", "value", "meant"),
    [
        ("quarantine_active", True, "data_quality.quarantine_active"),
        ("quarantine_active", False, "data_quality.quarantine_active"),
        ("quarantineActiv", True, "data_quality.quarantine_active"),
        ("hard_limits.quarantine_active", True, "data_quality.quarantine_active"),
        ("vix_gate.quarantine_active", True, "data_quality.quarantine_active"),
        ("data_quality.data_quarantine", True, "data_quarantine"),
        ("data_quality.Data-Quarantin", True, "data_quarantine"),
        ("hard_limits.data_quarantine", True, "data_quarantine"),
        ("max_single_position", 0, "hard_limits.max_single_position"),
        ("maxDailyLossPct", 0, "hard_limits.max_daily_loss_pct"),
        ("data_quality.force_close_at_dte", 1, "hard_limits.force_close_at_dte"),
        ("vix_gate.max_weekly_drawdown_pct", 0, "hard_limits.max_weekly_drawdown_pct"),
        ("hard_limits.position_size_multiplier", 0, "position_size_multiplier"),
        ("hard_limits.entry_window_end", "10:00", "entry_window_end"),
        ("data_quality.earnings_blackout", ["SPY"], "earnings_blackout"),
        ("hard_limits.vix_gate", {"check_time": "09:00", "threshold": 1}, "vix_gate"),
        ("quarantine", True, "data_quality.quarantine_active"),
        ("quarantined", "Yes", "data_quality.quarantine_active"),
        ("is_quarantined", 1, "data_quality.quarantine_active"),
        ("data_quality.quarantine", True, "data_quality.quarantine_active"),
        ("hard_limits.underQuarentine", True, "data_quality.quarantine_active"),
        ("quality", {"quarantine_active": True}, "data_quality.quarantine_active"),
        ("meta", {"flags": {"data_quarantine": "true"}}, "data_quarantine"),
        ("hard_limits.data_quality", {"quarantine_active": True}, "data_quality.quarantine_active"),
    ],
)
def test_a_field_that_restricts_trading_is_invalid_where_it_has_no_effect(
    place: str, value: object, meant: str
) -> None:
    problems = find_problems(changed({place: value}))

    assert len(problems) == 1
    assert meant in problems[0]
    assert problems[0].startswith(place)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("quarantine_reason", "the VIX is two days old"),
        ("data_quality.quarantined_feeds", []),
        ("quarantined", False),
        ("data_quality.quarantine", None),
        ("threshold", 30),
        ("hard_limits.date", "2026-11-18"),
        ("sources", [{"name": "vix", "quarantine_active": True}]),  # of one source, as the list says
        ("sources", {"quarantine_active": False}),
        ("scorecard", {"quarantine_active": True}),
        ("key_levels", {"SPY": {"data_quarantine": True}}),
        ("limits_by_symbol", {"SPY": {"max_single_position": 5}}),
    ],
)
def test_a_name_of_ones_own_that_resembles_one_elsewhere_is_allowed(place: str, value: object) -> None:
    assert find_problems(changed({place: value})) == ()


def test_a_misplaced_name_that_the_operators_schema_declares_is_the_operators() -> None:
    plan = changed({"quarantine_active": True})

    assert find_problems(plan, declared={(): ("quarantine_active",)}) == ()
