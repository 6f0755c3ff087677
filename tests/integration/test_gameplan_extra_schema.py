"""P6: the operator's own schema, applied by a process of its own, whatever is in it."""

import json
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from orchestration.errors import FallbackWord
from orchestration.gameplan import GameplanVerdict, check_gameplan, schema_problem
from orchestration.gameplan.extra_schema import extra_problems, judge
from orchestration.settings import GameplanFreshness
from orchestration.system.commands import CommandTimedOutError, SystemCommands
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.unit.gameplan.plans import NEW_YORK, changed, load_plan, write_plan

# Each level uses the next one twice: 2^40 visits for one small plan.
_DOUBLING = {
    "$ref": "#/$defs/d0",
    "$defs": {
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)},
        "d40": {"type": "object"},
    },
}


def _write_schema(folder: Path, schema: object) -> Path:
    path = folder / "own.schema.json"
    path.write_text(schema if isinstance(schema, str) else json.dumps(schema), encoding="utf-8")
    return path


def _judge(plan: Path, schema: Path) -> GameplanVerdict:
    return check_gameplan(
        plan, clock=FakeClock(), market_timezone=NEW_YORK, freshness=GameplanFreshness.TODAY, extra_schema=schema
    )


def test_a_plan_must_satisfy_the_further_schema_too(tmp_path: Path) -> None:
    schema = _write_schema(
        tmp_path,
        {
            "required": ["desk", "operator_id"],
            "properties": {
                "operator_id": {"pattern": "^ops-"},
                "symbols": {"maxItems": 2},
                "desk": {"format": "date"},
                "hard_limits": {"properties": {"max_daily_loss_pct": {"multipleOf": 0.01, "maximum": 0.01}}},
            },
        },
    )
    refused = _judge(write_plan(tmp_path, load_plan()), schema)
    passed = _judge(
        write_plan(
            tmp_path,
            changed(
                {
                    "operator_id": "ops-1",
                    "desk": "2026-11-18",
                    "symbols": ["SPY"],
                    "hard_limits.max_daily_loss_pct": 0.01,
                }
            ),
        ),
        schema,
    )

    assert refused.word is FallbackWord.GAMEPLAN_INVALID
    assert [problem.split(":")[0] for problem in refused.problems] == [
        "desk",
        "hard_limits.max_daily_loss_pct",
        "operator_id",
        "symbols",
    ]
    assert passed.is_valid, passed.message


def test_a_plan_that_breaks_the_own_rules_is_told_so_first(tmp_path: Path) -> None:
    verdict = _judge(write_plan(tmp_path, changed({"bias": "up"})), tmp_path / "no.schema.json")

    assert verdict.problems == ('bias: "up" is not one of "bullish", "bearish", "neutral"',)


@pytest.mark.parametrize(
    ("schema", "cause"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ({"type": "strnig"}, "is not a valid JSON Schema at ['type']"),
        ({"properties": {"date": {"pattern": "("}}}, "is not a valid JSON Schema"),
        ({"$ref": "https://example.invalid/other.json"}, "which is not in it (nothing is fetched)"),
        ({"properties": {"date": {"$ref": "other.json#/x"}}}, "refers to other.json#/x"),
        ({"$ref": "#/$defs/nothing"}, "refers to #/$defs/nothing"),
        ({"$ref": "#"}, "cannot be used"),
        ({"properties": {"date": {"pattern": "a{99999999999}"}}}, ""),
    ],
)
def test_a_schema_that_cannot_be_used_clears_no_plan(tmp_path: Path, schema: object, cause: str) -> None:
    path = _write_schema(tmp_path, schema)
    verdict = _judge(write_plan(tmp_path, load_plan()), path)

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID
    assert str(path) in verdict.message
    if schema != {"$ref": "#"}:  # a circle shows itself only when it is walked
        problem = schema_problem(path)
        assert problem is not None
        assert cause in problem
        assert problem in verdict.problems


def test_a_schema_that_is_not_there_clears_no_plan(tmp_path: Path) -> None:
    path = tmp_path / "no.schema.json"

    assert schema_problem(path) == f"GAMEPLAN_SCHEMA: {path} does not exist"
    assert _judge(write_plan(tmp_path, load_plan()), path).problems == (f"GAMEPLAN_SCHEMA: {path} does not exist",)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "http://json-schema.org/draft-07/schema#", "required": ["date"]},
        {"$schema": "http://json-schema.org/draft-06/schema#", "required": ["date"]},
        {"$schema": "http://json-schema.org/draft-04/schema#", "required": ["date"]},
        {"$ref": "#/$defs/p", "$defs": {"p": {"type": "object"}}},
        {"$id": "https://desk.example/plan", "$ref": "https://desk.example/part", "$defs": {"p": {"$id": "part"}}},
    ],
)
def test_schemas_that_are_fine(tmp_path: Path, schema: object) -> None:
    path = _write_schema(tmp_path, schema)

    assert schema_problem(path) is None
    assert schema_problem(None) is None
    assert _judge(write_plan(tmp_path, load_plan()), path).is_valid


@pytest.mark.parametrize("schema", [{"properties": {"operator_id": {"pattern": "^(a+)+$"}}}, _DOUBLING])
def test_a_schema_that_never_ends_is_ended(tmp_path: Path, schema: object) -> None:
    path = _write_schema(tmp_path, schema)
    plan = write_plan(tmp_path, changed({"operator_id": "a" * 64 + "!"}))
    digest = sha256(plan.read_bytes()).hexdigest()

    assert schema_problem(path) is None
    assert extra_problems(path, plan, digest, commands=SystemCommands(), timeout_s=2) == (
        f"GAMEPLAN_SCHEMA: applying {path} took longer than 2 s",
    )


def test_a_plan_that_changes_while_it_is_judged_is_not_cleared(tmp_path: Path) -> None:
    schema, plan = _write_schema(tmp_path, {}), write_plan(tmp_path, load_plan())
    commands = FakeCommands()
    digest = "0" * 64
    commands.expect((sys.executable, "-m", "orchestration.gameplan.extra_schema", str(schema), str(plan), digest))

    assert judge(schema, plan, digest) == (f"{plan} changed while it was being judged",)
    assert extra_problems(schema, plan, digest, commands=commands) == (
        f"GAMEPLAN_SCHEMA: {schema} could not be applied: no output",
    )
    commands.answers.clear()
    commands.expect(
        (sys.executable, "-m", "orchestration.gameplan.extra_schema", str(schema), str(plan), digest),
        CommandTimedOutError(("python",), 15),
    )
    assert "took longer" in extra_problems(schema, plan, digest, commands=commands)[0]


def test_a_fresh_plan_is_not_read_again_because_of_the_schemas_own_fault(tmp_path: Path) -> None:
    schema = _write_schema(tmp_path, {"type": "strnig"})
    clock = FakeClock()
    plan = write_plan(tmp_path, load_plan(), written=clock.now())
    verdict = check_gameplan(
        plan, clock=clock, market_timezone=NEW_YORK, freshness=GameplanFreshness.TODAY, extra_schema=schema
    )

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID
    assert clock.waits_s == []
