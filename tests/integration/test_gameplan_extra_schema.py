"""P6: the operator's own schema, applied by a process of its own, whatever is in it."""

import json
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from orchestration.errors import FallbackWord
from orchestration.gameplan import (
    GameplanError,
    GameplanVerdict,
    PlanPolicy,
    activate_plan,
    check_gameplan,
    read_plan_for_bot,
    schema_problem,
)
from orchestration.gameplan.extra_schema import Judgement, apply_extra_schema, judge
from orchestration.settings import GameplanFreshness, Settings
from orchestration.system.commands import Commands, CommandTimedOutError, SystemCommands
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.programs import ProjectCommands
from tests.unit.gameplan.plans import NYSE, REMOVED, changed, load_plan, write_plan

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


def _judge(plan: Path, schema: Path, commands: Commands | None = None) -> GameplanVerdict:
    """Judge by a process of its own, which is a fork unless other commands are given: see `tests.programs`."""
    return check_gameplan(
        plan,
        clock=FakeClock(),
        policy=PlanPolicy(calendar=NYSE, freshness=GameplanFreshness.TODAY, extra_schema=schema),
        commands=commands or ProjectCommands(),
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
    refused = _judge(write_plan(tmp_path, load_plan()), schema, SystemCommands())
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
        SystemCommands(),
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


def test_what_both_schemas_find_is_listed_together(tmp_path: Path) -> None:
    schema = _write_schema(tmp_path, {"required": ["desk"], "properties": {"symbols": {"maxItems": 1}}})
    verdict = _judge(write_plan(tmp_path, changed({"bias": "up", "data_quarantin": True})), schema)

    assert [problem.split(":")[0] for problem in verdict.problems] == ["bias", "data_quarantin", "desk", "symbols"]


@pytest.mark.parametrize(
    ("schema", "exempt"),
    [
        ({"properties": {"note": {}}}, True),
        ({"required": ["note"]}, True),
        ({"patternProperties": {"^no": {}}}, True),
        ({"allOf": [{"anyOf": [{"properties": {"note": True}}]}]}, True),
        ({"if": {"required": ["bias"]}, "then": {"properties": {"note": {}}}}, True),
        ({"dependentSchemas": {"bias": {"properties": {"note": {}}}}}, True),
        ({"$ref": "#/$defs/p", "$defs": {"p": {"properties": {"note": {}}}}}, True),
        ({"$id": "https://desk.example/a", "$ref": "b", "$defs": {"p": {"$id": "b", "required": ["note"]}}}, True),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"note": {}}}, True),
        ({"properties": {"Note": {}}}, False),
        ({"properties": {"scorecard": {"properties": {"note": {}}}}}, False),
        ({"$defs": {"p": {"properties": {"note": {}}}}}, False),
        ({"additionalProperties": True}, False),
    ],
)
def test_a_name_that_the_further_schema_declares_is_no_slip(
    tmp_path: Path,
    schema: dict[str, object],
    exempt: bool,  # noqa: FBT001 - a column of the table
) -> None:
    verdict = _judge(write_plan(tmp_path, changed({"note": "of my own"})), _write_schema(tmp_path, schema))

    assert verdict.problems == (() if exempt else ("note: is not a known field; did you mean date?",))


def test_a_declared_name_is_the_operators_own_in_its_object_only(tmp_path: Path) -> None:
    part = {"properties": {"stale_field": {"type": "string"}, "data": {}}}
    schema = _write_schema(
        tmp_path,
        {
            "properties": {"data_quality": {"allOf": [{"$ref": "#/$defs/q"}]}},
            "patternProperties": {"^vix_": {"properties": {"treshold": {}}}},
            "$defs": {"q": part},
        },
    )
    plan = changed({"data_quality.stale_field": "x", "vix_gate.treshold": 1, "hard_limits.max_single_positions": 1})

    assert _judge(write_plan(tmp_path, plan), schema).problems == (
        "hard_limits.max_single_positions: is not a known limit; did you mean max_single_position?",
    )
    assert _judge(write_plan(tmp_path, changed({"data": 1})), schema).problems == (
        "data: is not a known field; did you mean date?",
    )


def test_a_bot_takes_the_checked_copy_with_a_declared_name_and_judges_any_other_file_itself(tmp_path: Path) -> None:
    schema = _write_schema(tmp_path, {"properties": {"note": {}}, "required": ["operator_id"]})
    plan = write_plan(tmp_path, changed({"note": "of my own"}))
    settings = Settings.from_environ({"STATE_DIR": str(tmp_path / "state")}, project_dir=tmp_path)
    copy = activate_plan(_judge(plan, schema), settings, clock=FakeClock()).path

    assert read_plan_for_bot(copy)["note"] == "of my own"
    assert read_plan_for_bot(plan, extra_schema=schema)["note"] == "of my own"
    with pytest.raises(GameplanError, match="did you mean date"):
        read_plan_for_bot(plan)
    copy.write_bytes(copy.read_bytes().replace(b"of my own", b"of others"))  # no longer what was checked
    with pytest.raises(GameplanError, match="did you mean date"):
        read_plan_for_bot(copy)
    with pytest.raises(GameplanError, match="operator_id: is missing"):
        read_plan_for_bot(write_plan(tmp_path, changed({"operator_id": REMOVED})), extra_schema=schema)


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
    judged = apply_extra_schema(path, plan, digest, commands=SystemCommands(), timeout_s=2)

    assert judged.problems == (f"GAMEPLAN_SCHEMA: applying {path} took longer than 2 s",)
    assert judged.is_schemas_own_fault


def test_a_plan_that_changes_while_it_is_judged_is_not_cleared(tmp_path: Path) -> None:
    schema, plan = _write_schema(tmp_path, {}), write_plan(tmp_path, load_plan())
    commands = FakeCommands()
    digest = "0" * 64
    commands.expect((sys.executable, "-m", "orchestration.gameplan.extra_schema", str(schema), str(plan), digest))

    assert judge(schema, plan, digest) == Judgement(problems=(f"{plan} changed while it was being judged",))
    assert apply_extra_schema(schema, plan, digest, commands=commands).problems == (
        f"GAMEPLAN_SCHEMA: {schema} could not be applied: no output",
    )
    commands.answers.clear()
    commands.expect(
        (sys.executable, "-m", "orchestration.gameplan.extra_schema", str(schema), str(plan), digest),
        CommandTimedOutError(("python",), 15),
    )
    assert "took longer" in apply_extra_schema(schema, plan, digest, commands=commands).problems[0]


def test_a_fresh_plan_is_not_read_again_because_of_the_schemas_own_fault(tmp_path: Path) -> None:
    schema = _write_schema(tmp_path, {"type": "strnig"})
    clock = FakeClock()
    plan = write_plan(tmp_path, load_plan(), written=clock.now())
    verdict = check_gameplan(
        plan, clock=clock, policy=PlanPolicy(calendar=NYSE, freshness=GameplanFreshness.TODAY, extra_schema=schema)
    )

    assert verdict.word is FallbackWord.GAMEPLAN_INVALID
    assert clock.waits_s == []
