"""The rules of a plan: the schema in `schema.json`, and what a schema cannot say.

`jsonschema` costs 0.14 s to import, so it is imported when the first plan is judged; `preload` does it earlier, while
something else is being waited for.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.gameplan.near_misses import Declared, find_near_misses
from orchestration.gameplan.reader import show, show_place
from orchestration.redaction import clean_line

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_SCHEMA = Path(__file__).with_name("schema.json")
_MAX_COLLECTED = 1000
_MAX_SHOWN = 50
_MAX_PROBLEM_CHARACTERS = 300
_HIGH_PERCENTAGE = 0.2  # 20 % in a day or a week is more often 0.2 % or 2 % mistyped than meant
_OWN_MESSAGE = "x-problem"

_TYPE_NAMES = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def preload() -> None:
    """Import what judging a plan needs and make its validator ready. Safe from any thread, cheap the second time."""
    _own_validator()


def find_problems(plan: object, *, declared: Declared | None = None, further: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every problem of a plan with its place; empty for a plan that keeps all rules.

    Args:
        plan: A parsed plan.
        declared: The names that the operator's own schema declares: they are no slips of ours.
        further: What that schema found.
    """
    problems = (*find_violations(plan), *find_near_misses(plan, declared), *further)
    return cap(tuple(dict.fromkeys(problems)))


def find_violations(plan: object) -> tuple[str, ...]:
    """What the schema alone says, whatever other names are in the plan."""
    return schema_problems(_own_validator(), plan)


def find_warnings(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """What a valid plan says that is allowed but worth a look."""
    limits = plan["hard_limits"]
    return tuple(
        f"hard_limits.{name}: {show(limits[name])} means {limits[name]:.0%}; percentages are fractions (0.02 is 2 %)"
        for name in ("max_daily_loss_pct", "max_weekly_drawdown_pct")
        if name in limits and limits[name] > _HIGH_PERCENTAGE
    )


def is_quarantined(plan: Mapping[str, Any]) -> bool:
    """Whether the plan's own author, or the check of its data, says that it must not be traded on."""
    return plan["data_quality"]["quarantine_active"] is True or plan.get("data_quarantine") is True


def cap(problems: tuple[str, ...]) -> tuple[str, ...]:
    """At most fifty problems, and one line that counts the others."""
    if len(problems) <= _MAX_SHOWN:
        return problems
    at_least = "at least " if len(problems) >= _MAX_COLLECTED else ""
    return (*problems[:_MAX_SHOWN], f"and {at_least}{len(problems) - _MAX_SHOWN} more")


@functools.cache
def _own_validator() -> "Validator":
    return build_validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def build_validator(schema: Any) -> "Validator":  # noqa: ANN401 - any JSON value, as jsonschema takes it
    """A validator that enforces formats, fetches nothing, and takes no quadratic time over `uniqueItems`.

    Raises:
        RuntimeError: This installation cannot check dates and times.
    """
    import jsonschema_specifications  # type: ignore[import-untyped] # it ships no types
    from jsonschema import Draft202012Validator, validators

    draft = validators.validator_for(schema, default=Draft202012Validator)
    kind: type[Validator] = validators.extend(draft, {"uniqueItems": _unique_items})  # type: ignore[no-untyped-call] # the stubs leave it out
    formats = draft.FORMAT_CHECKER
    if not {"date", "date-time"} <= set(Draft202012Validator.FORMAT_CHECKER.checkers):  # older drafts know no `date`
        # Without its helper library jsonschema would silently accept any text as a date.
        raise RuntimeError("this installation cannot check dates: jsonschema lacks rfc3339-validator")
    # With this registry an unknown `$ref` is an error; jsonschema's default would fetch it over the network.
    return kind(schema, format_checker=formats, registry=jsonschema_specifications.REGISTRY)


def schema_problems(validator: "Validator", plan: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON value
    """Every violation of one schema, each with its place, sorted by place, without repetitions.

    Raises:
        Exception: What `jsonschema` raises over a schema that it cannot apply (see `extra_schema`).
    """
    errors = sorted(islice(validator.iter_errors(plan), _MAX_COLLECTED), key=_by_place)
    return tuple(dict.fromkeys(line for error in errors for line in _lines(error)))


def _unique_items(
    _validator: "Validator", is_unique: object, instance: object, _schema: object
) -> Iterator["ValidationError"]:
    # jsonschema's own compares every pair once a list holds values that cannot be sorted: minutes for a large file.
    from jsonschema.exceptions import ValidationError

    if is_unique is not True or not isinstance(instance, list):
        return
    seen = set()
    for item in instance:
        key = _comparable(item)
        if key in seen:
            yield ValidationError(f"{show(item)} is in the list more than once")
            return
        seen.add(key)


def _comparable(value: object) -> object:
    """Equal for values that JSON Schema calls equal (1 and 1.0, but not 1 and true), and hashable."""
    if isinstance(value, list):
        return ("list", tuple(_comparable(item) for item in value))
    if isinstance(value, dict):
        return ("object", frozenset((name, _comparable(item)) for name, item in value.items()))
    return (isinstance(value, bool), value)


def _by_place(error: "ValidationError") -> tuple[tuple[int, int, str], ...]:
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in error.absolute_path)


def _lines(error: "ValidationError") -> Iterator[str]:
    parts = tuple(error.absolute_path)
    if error.validator == "required" and isinstance(error.instance, dict):
        required: Any = error.validator_value
        yield from (f"{show_place((*parts, name))}: is missing" for name in required if name not in error.instance)
        return
    text = f"{show_place(parts)}: {_describe(error)}"
    yield clean_line(text, limit=_MAX_PROBLEM_CHARACTERS)


def _describe(error: "ValidationError") -> str:
    value = show(error.instance)
    allowed: Any = error.validator_value
    own = error.schema.get(_OWN_MESSAGE) if isinstance(error.schema, dict) else None
    if isinstance(own, str) and error.validator != "type":
        return own if isinstance(error.instance, list | dict) else f"{value} {own}"
    describe: dict[str, Callable[[], str]] = {
        "type": lambda: f"{value} is not {_type_names(allowed)}",
        "enum": lambda: f"{value} is not one of {', '.join(show(one) for one in allowed)}",
        "const": lambda: f"{value} is not {show(allowed)}",
        "minimum": lambda: f"{value} is less than the minimum of {show(allowed)}",
        "maximum": lambda: f"{value} is greater than the maximum of {show(allowed)}",
        "maxLength": lambda: f"{value} is longer than {show(allowed)} characters",
        "minItems": lambda: f"has fewer than {show(allowed)} items",
        "format": lambda: f"{value} is not a {show(allowed)}",
        "pattern": lambda: f"{value} does not match {show(allowed)}",
    }
    if error.validator in describe:
        return describe[str(error.validator)]()
    # The message of another rule quotes the value in full: keep it on one short line.
    return clean_line(error.message, limit=_MAX_PROBLEM_CHARACTERS)


def _type_names(allowed: object) -> str:
    names = allowed if isinstance(allowed, list) else [allowed]
    return " or ".join(_TYPE_NAMES.get(str(name), str(name)) for name in names)
