"""Thousands of generated and mutated plans: no crash, no hang, and never a plan that trades on what is not allowed.

The oracle below is written by hand from the specification's table and shares nothing with the room but the words.
"""

import datetime as dt
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestration.errors import FallbackWord
from orchestration.gameplan import GameplanVerdict, PlanPolicy, activate_plan, check_gameplan
from orchestration.settings import GameplanFreshness, Settings
from tests.fakes.clock import FakeClock
from tests.thorough import choose_count
from tests.unit.gameplan.plans import NYSE, load_plan, write_plan

# For each of the three generators, besides 1,700 from a table.
_EXAMPLES: Final = choose_count(usual=32, thorough=1000)
_VALUE_STEP: Final = choose_count(usual=10, thorough=1)
_PLANS: Final = (load_plan("full"), load_plan("least"))
_TODAY: Final = "2026-11-18"
_many = hypothesis.settings(
    max_examples=_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

# ---------------------------------------------------------------- the oracle

Test = Callable[[Any], bool]


def _is_number(value: Any) -> bool:  # noqa: ANN401 - any JSON value, here and below
    return type(value) in (int, float) and math.isfinite(value)


def _is_count(value: Any) -> bool:  # noqa: ANN401
    return _is_number(value) and value >= 0 and value == int(value)


def _is_fraction(value: Any) -> bool:  # noqa: ANN401
    return _is_number(value) and 0 <= value <= 1


def _is_boolean(value: Any) -> bool:  # noqa: ANN401
    return type(value) is bool


def _is_texts(value: Any) -> bool:  # noqa: ANN401
    return type(value) is list and all(type(one) is str for one in value)


def _is_time(value: Any) -> bool:  # noqa: ANN401
    if type(value) is not str or len(value) != 5 or value[2] != ":" or not value.isascii():
        return False
    hours, minutes = value[:2], value[3:]
    return hours.isdigit() and minutes.isdigit() and int(hours) < 24 and int(minutes) < 60


def _is_tickers(value: Any) -> bool:  # noqa: ANN401
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789^$./=:_- ")
    return (
        _is_texts(value)
        and len(set(value)) == len(value)
        and all(0 < len(one) <= 32 and set(one) <= allowed and one == " ".join(one.split()) for one in value)
        and all(one[0] not in "=:_-" for one in value)
    )


def _one_of(*words: str) -> Test:
    return lambda value: type(value) is str and value in words


def _or_null(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _object(required: dict[str, Test], optional: dict[str, Test]) -> Test:
    def test(value: Any) -> bool:  # noqa: ANN401
        return (
            type(value) is dict
            and all(name in value and check(value[name]) for name, check in required.items())
            and all(check(value[name]) for name, check in optional.items() if name in value)
        )

    return test


def _is_at_least_0(value: Any) -> bool:  # noqa: ANN401
    return _is_number(value) and value >= 0


def _is_date(value: Any) -> bool:  # noqa: ANN401
    try:
        return type(value) is str and dt.datetime.strptime(value, "%Y-%m-%d").strftime("%Y-%m-%d") == value  # noqa: DTZ007 - a date without a time
    except ValueError:
        return False


def _is_instant(value: Any) -> bool:  # noqa: ANN401
    # Python's own reader takes more than RFC 3339 allows ("08:55:000", "24:00"), so the shape is checked first.
    shape = r"\d{4}-\d\d-\d\dT(?!24)\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    try:
        return (
            type(value) is str
            and re.fullmatch(shape, value, re.ASCII) is not None
            and dt.datetime.fromisoformat(value).tzinfo is not None
        )
    except ValueError:
        return False


_is_plan = _object(
    {
        "date": _is_date,
        "strategy": _one_of("A", "B", "C"),
        "regime": _one_of("complacency", "normal", "elevated", "high_volatility", "crisis", "unknown"),
        "symbols": _is_tickers,
        "hard_limits": _object(
            {
                "max_daily_loss_pct": _is_fraction,
                "pdt_trades_remaining": _is_count,
                "weekly_drawdown_governor_active": _is_boolean,
                "max_intraday_pivots": _is_count,
            },
            {
                "max_single_position": _is_at_least_0,
                "force_close_at_dte": _is_count,
                "max_weekly_drawdown_pct": _is_fraction,
            },
        ),
        "data_quality": _object(
            {"quarantine_active": _is_boolean},
            {"stale_fields": _is_texts, "last_verified": _or_null(_is_instant), "discrepancy_count": _is_count},
        ),
    },
    {
        "session_id": lambda value: type(value) is str,
        "operator_id": lambda value: type(value) is str,
        "data_quarantine": _is_boolean,
        "position_size_multiplier": _is_fraction,
        "vix_at_analysis": _or_null(_is_at_least_0),
        "vix_source_verified": _is_boolean,
        "bias": _one_of("bullish", "bearish", "neutral"),
        "expected_behavior": _one_of("trending", "mean_reverting", "cash_preservation"),
        "geo_risk": _one_of("low", "medium", "high"),
        "key_levels": lambda value: type(value) is dict,
        "catalysts": _is_texts,
        "earnings_blackout": _is_texts,
        "entry_window_start": _is_time,
        "entry_window_end": _is_time,
        "vix_gate": _object({"check_time": _is_time, "threshold": _is_at_least_0}, {}),
        "alert_message": lambda value: type(value) is str,
        "scorecard": lambda value: type(value) is dict,
        "strategy_parameters": lambda value: type(value) is dict,
    },
)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _refuse(name: str) -> None:
    raise ValueError(name)


def _fitting_a_double(text: str) -> int:
    try:
        float(int(text))
        return int(text)
    except OverflowError:
        raise ValueError(text) from None


def _parse_or_none(content: bytes) -> Any:  # noqa: ANN401
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
        plan = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse, parse_int=_fitting_a_double
        )
        json.dumps(plan, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except ValueError:
        return None
    return plan


def _may_trade(content: bytes) -> bool:
    """Whether the specification lets these bytes be traded on today."""
    plan = _parse_or_none(content)
    return (
        _is_plan(plan)
        and plan["strategy"] in ("A", "B")
        and len(plan["symbols"]) > 0
        and plan["date"] == _TODAY
        and plan["data_quality"]["quarantine_active"] is False
        and plan.get("data_quarantine") is not True
        and not _has_slip(plan)
    )


def _distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for line, character in enumerate(one, start=1):
        new = [line]
        for column, other_character in enumerate(other):
            new.append(min(row[column + 1] + 1, new[column] + 1, row[column] + (character != other_character)))
        row = new
    return row[-1]


def _fold(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "").replace(".", "")


def _named_objects(plan: Any) -> Iterator[tuple[dict[str, Any], set[str]]]:  # noqa: ANN401
    if isinstance(plan, dict):
        yield plan, set(_PLANS[0]) - {"desk_note"}
        for part in ("hard_limits", "data_quality", "vix_gate"):
            if isinstance(plan.get(part), dict):
                yield plan[part], set(_PLANS[0][part])


def _has_slip(plan: Any) -> bool:  # noqa: ANN401
    """Whether a name is one or two edits from a known one of its object, or the same in other case and separators."""
    return any(
        _distance(name, one) <= 2 or _fold(name) == _fold(one)
        for found, known in _named_objects(plan)
        for name in set(found) - known
        for one in known
    )


def _has_own_names(content: bytes) -> bool:
    """Whether a name is not in the table: it may be another kind of slip, which the oracle cannot tell."""
    return any(not set(found) <= known for found, known in _named_objects(_parse_or_none(content)))


# ---------------------------------------------------------------- what is thrown

_texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "A", "B", "C", "SPY", "09:30", "24:00", "2026-11-18", "2026-02-30", "crisis", "true", "NaN"]),
    st.from_regex(re.compile(r"[0-9]{2}:[0-9]{2}\n?"), fullmatch=True),
)
_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([0, 1, -1, 2, 0.5, 1.0, 1.5, -0.0, 10**18, 10**400]),
        st.floats(),  # NaN and the infinities too: Python writes them, the reader must refuse them
        _texts,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_texts, inner, max_size=4)),
    max_leaves=8,
)
# What fits one field and is wrong in another: most of what it takes to break one rule and keep all others.
_LIKELY_VALUES: Final[tuple[object, ...]] = (
    *(True, False, None, 0, 1, -1, 0.3, 1.0, 1.5, 1.7, 20, 10**18, 10**400, math.nan, math.inf),
    *("", "A", "B", "C", "a", "crisis", "calm", "bullish", "trending", "low", "09:30", "9:30", "24:00", "09:30\n"),
    *(_TODAY, "2026-11-17", "2026-11-19", "2026-02-30", "2026-11-18T09:00:00Z", "2026-11-18T25:00:00Z"),
    *([], [""], ["SPY"], ["SPY", "SPY"], ["SPY", 1], ["SPY "], {}, {"check_time": "09:30", "threshold": -1}),
)


@st.composite
def _changed_plans(draw: st.DrawFn) -> bytes:
    """A valid plan with one to four fields set, added or removed, at the top or one level down; mostly one."""
    plan = json.loads(json.dumps(draw(st.sampled_from(_PLANS))))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        part = draw(st.sampled_from(["", "", "hard_limits", "data_quality", "vix_gate", "scorecard"]))
        known = sorted(_PLANS[0][part] if part else _PLANS[0])
        target = plan.get(part) if part else plan
        if not isinstance(target, dict):
            target = plan
        name = draw(st.sampled_from(known)) if draw(st.integers(0, 9)) else draw(_texts)
        if draw(st.integers(0, 9)):
            target[name] = draw(st.sampled_from(_LIKELY_VALUES) if draw(st.integers(0, 2)) else _values)
        else:
            target.pop(name, None)
    return json.dumps(plan, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def _damaged_plans(draw: st.DrawFn) -> bytes:
    """The bytes of a valid plan, cut, doubled, overwritten or inserted into, as a broken copy or a slip would."""
    content = json.dumps(draw(st.sampled_from(_PLANS)), indent=draw(st.sampled_from([None, 2]))).encode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.one_of(st.integers(start, len(content)), st.just(min(len(content), start + 1))))
        piece = draw(
            st.one_of(
                st.binary(max_size=4),
                st.just(content[start:end] * 2),
                st.sampled_from(
                    [b"", b"0", b"9", b"-", b"e9", b"e999", b"NaN", b"null", b"true", b",", b'"', b"[", b"}"]
                ),
            )
        )
        content = content[:start] + piece + content[end:]
    return content


@pytest.fixture(scope="module")
def folder() -> Any:  # noqa: ANN401
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _judge(folder: Path, content: bytes) -> GameplanVerdict:
    clock = FakeClock()
    verdict = check_gameplan(
        write_plan(folder, content),
        clock=clock,
        policy=PlanPolicy(calendar=NYSE, freshness=GameplanFreshness.TODAY),
    )
    assert clock.waits_s == []
    assert "could not be judged" not in verdict.message, verdict.message  # the net for surprises was never needed
    assert verdict.message.isprintable()
    assert verdict.is_valid is (verdict.word is None)
    assert bool(verdict.problems) is not verdict.is_valid
    assert len(verdict.problems) <= 51
    return verdict


def _check_against_the_oracle(folder: Path, content: bytes) -> None:
    verdict = _judge(folder, content)
    settings = Settings.from_environ(
        {"GAMEPLAN_PATH": str(folder / "plan.json"), "STATE_DIR": str(folder / "state")}, project_dir=folder
    )
    active = activate_plan(verdict, settings, clock=FakeClock())

    if active.trades:
        assert _may_trade(content), verdict
        assert active.path.read_bytes() == content
    elif verdict.strategy != "C" and not _has_own_names(content):
        assert not _may_trade(content), verdict
    if verdict.strategy == "C" and verdict.is_valid and verdict.plan is not None:
        assert verdict.plan.get("position_size_multiplier", 0) == 0


@_many
@given(content=_changed_plans())
def test_a_plan_with_changed_fields_trades_exactly_if_it_may(folder: Path, content: bytes) -> None:
    _check_against_the_oracle(folder, content)


@_many
@given(content=_damaged_plans())
def test_a_plan_with_damaged_bytes_trades_exactly_if_it_may(folder: Path, content: bytes) -> None:
    _check_against_the_oracle(folder, content)


@_many
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text().map(lambda text: text.encode()),
        _values.map(lambda value: json.dumps(value).encode()),
    )
)
def test_what_was_never_a_plan_never_trades(folder: Path, content: bytes) -> None:
    assert not _judge(folder, content).is_valid


@pytest.mark.parametrize("plan", _PLANS)
def test_the_oracle_lets_the_unchanged_plans_trade(folder: Path, plan: dict[str, Any]) -> None:
    content = json.dumps(plan).encode()

    assert _may_trade(content)
    _check_against_the_oracle(folder, content)


@pytest.mark.parametrize("part", ["", "hard_limits", "data_quality", "vix_gate"])
def test_every_likely_value_in_every_field_trades_exactly_if_it_may(folder: Path, part: str) -> None:
    traded = set()
    for number, name in enumerate(_PLANS[0][part] if part else _PLANS[0]):
        for value in _LIKELY_VALUES[number % _VALUE_STEP :: _VALUE_STEP]:
            plan = load_plan("full")
            (plan[part] if part else plan)[name] = value
            content = json.dumps(plan).encode()
            _check_against_the_oracle(folder, content)
            traded.add(_may_trade(content))

    assert traded == {True, False}


@st.composite
def _plans_with_a_slip(draw: st.DrawFn) -> tuple[bytes, str]:
    """A valid plan with one more name, or one name changed: a known one with one or two edits, or spelt otherwise."""
    plan = json.loads(json.dumps(_PLANS[0]))
    found, known = draw(st.sampled_from(list(_named_objects(plan))))
    meant = draw(st.sampled_from(sorted(known)))
    name = meant
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 2))):
            at = draw(st.integers(0, len(name)))
            gone = draw(st.integers(0, 1))
            come = draw(st.text(st.characters(codec="utf-8"), min_size=1 - gone, max_size=1))
            name = name[:at] + come + name[at + gone :]
    else:
        separator = draw(st.sampled_from(["", "-", " ", ".", "_", "__"]))
        spell = draw(st.sampled_from([str.upper, str.title, str.lower, str.swapcase]))
        name = spell(meant).replace("_", separator)
    hypothesis.assume(name not in known)
    found[name] = found[meant]
    if draw(st.booleans()):
        del found[meant]
    return json.dumps(plan).encode(), name


@_many
@given(slip=_plans_with_a_slip())
def test_a_mistyped_name_at_any_level_is_never_traded_on(folder: Path, slip: tuple[bytes, str]) -> None:
    content, name = slip
    verdict = _judge(folder, content)

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID, name
    assert any("did you mean " in problem for problem in verdict.problems), (name, verdict.problems)
