"""The schema, its reference page and the code say the same."""

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from orchestration.errors import FallbackWord
from orchestration.gameplan import preload
from orchestration.gameplan.rules import find_problems
from orchestration.settings import PROJECT_DIR

_PAGE = (PROJECT_DIR / "docs" / "reference" / "gameplan.md").read_text(encoding="utf-8")


def _schema() -> dict[str, Any]:
    path = Path(PROJECT_DIR, "orchestration", "gameplan", "schema.json")
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(_schema())
    preload()


def test_the_page_names_every_field_and_every_word() -> None:
    fields = _schema()["properties"]
    names = {*fields, *fields["hard_limits"]["properties"], *fields["data_quality"]["properties"], *FallbackWord}

    assert {name for name in names if f"`{name}`" not in _PAGE} == set()


def test_the_pages_example_is_a_valid_plan() -> None:
    example = re.search(r"```json\n(.*?)```", _PAGE, re.DOTALL)

    assert example is not None
    assert find_problems(json.loads(example[1])) == ()
