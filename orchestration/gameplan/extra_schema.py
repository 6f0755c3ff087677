"""The operator's own schema (`GAMEPLAN_SCHEMA`), which a plan must satisfy too.

A schema is a small program: a regular expression in it can take longer than the universe, references can multiply.
Nothing inside one Python process can stop that, so it is applied in a process of its own, which is killed when its time
is up. `python -m orchestration.gameplan.extra_schema SCHEMA PLAN SHA256` is that process.

What it declares is the operator's own: a name that this schema knows is not taken for a slip of one of ours.
"""

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.errors import FallbackWord
from orchestration.gameplan.near_misses import Declared, Place, known_names
from orchestration.gameplan.reader import parse_plan, read_content
from orchestration.gameplan.rules import build_validator, cap, schema_problems
from orchestration.gameplan.verdict import GameplanError
from orchestration.redaction import clean_line
from orchestration.settings import PROJECT_DIR, Settings
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError

if TYPE_CHECKING:
    from referencing import Resource
    from referencing._core import Resolver

    _Part = tuple[Any, Resolver[Any]]  # a schema, and what follows the references in it

_TIMEOUT_S = 15.0  # a plan takes milliseconds, the process 0.3 s; a busy machine at boot can be twenty times slower
_MAX_SHOWN = 200
_VARIABLE = "GAMEPLAN_SCHEMA"
# The keywords whose schemas judge the same object as the one that they stand in.
_SAME_OBJECT_LISTS = ("allOf", "anyOf", "oneOf")
_SAME_OBJECT = ("if", "then", "else")
_REFERENCES = ("$ref", "$dynamicRef")
_SAME_OBJECT_MAPS = ("dependentSchemas", "dependencies")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the further schema says of a plan.

    Attributes:
        problems: Every problem of the plan, or why the schema could not be applied.
        declared: The names in the plan that the schema declares, by the place of their object.
    """

    problems: tuple[str, ...]
    declared: Declared = field(default_factory=dict)

    @property
    def is_schemas_own_fault(self) -> bool:
        """Whether it was the schema that could not be used: looking at the plan once more would not help."""
        return any(problem.startswith(f"{_VARIABLE}: ") for problem in self.problems)


def schema_problem(path: Path | None) -> str | None:
    """What is wrong with the further schema itself; None where it can be used or none is configured."""
    if path is None:
        return None
    try:
        schema = read_schema(path)
        from jsonschema.exceptions import SchemaError

        try:
            validator = build_validator(schema)
            type(validator).check_schema(schema)
        except SchemaError as error:
            place = "".join(f"[{part!r}]" for part in error.absolute_path)
            return f"{_VARIABLE}: {path} is not a valid JSON Schema{_at(place)}: {_shorten(error.message)}"
        unknown = next(_unknown_references(schema), None)
    except GameplanError as error:
        return f"{_VARIABLE}: {error.message}"
    except Exception as error:  # noqa: BLE001 - a schema is a foreign program; what it may raise is not known
        return f"{_VARIABLE}: {path} cannot be used: {_shorten(repr(error))}"
    if unknown is not None:
        return f"{_VARIABLE}: {path} refers to {_shorten(unknown)}, which is not in it (nothing is fetched)"
    return None


def read_schema(path: Path) -> dict[str, Any]:
    """The schema, read as carefully as a plan.

    Raises:
        GameplanError: It is missing, unreadable or not a JSON object.
    """
    content = read_content(path).content
    try:
        return parse_plan(content)
    except ValueError as error:
        raise GameplanError(FallbackWord.GAMEPLAN_INVALID, f"{path}: {error}") from None


def apply_extra_schema(
    schema_path: Path, plan_path: Path, plan_sha256: str, *, commands: Commands, timeout_s: float = _TIMEOUT_S
) -> Judgement:
    """Judge a plan by the further schema, in a process of its own.

    Args:
        schema_path: `GAMEPLAN_SCHEMA`.
        plan_path: The plan on disk.
        plan_sha256: What it must be: a file that changed meanwhile is a problem.
        commands: The door for running it.
        timeout_s: Seconds until it is killed; the plan is not cleared then.
    """
    argv = (sys.executable, "-m", __name__, str(schema_path), str(plan_path), plan_sha256)
    try:
        result = commands.run(argv, timeout_s=timeout_s, cwd=PROJECT_DIR)
    except CommandTimedOutError:
        return Judgement(problems=(f"{_VARIABLE}: applying {schema_path} took longer than {timeout_s:g} s",))
    except (CommandNotFoundError, OSError) as error:
        return Judgement(problems=(f"{_VARIABLE}: {schema_path} could not be applied: {_shorten(str(error))}",))
    try:
        judgement = _parse_judgement(result.stdout) if result.ok else None
    except (ValueError, KeyError, TypeError):
        judgement = None
    if judgement is None:
        last = "; ".join(result.last_lines(1)) or "no output"
        return Judgement(problems=(f"{_VARIABLE}: {schema_path} could not be applied: {_shorten(last)}",))
    return judgement


def judge(schema_path: Path, plan_path: Path, plan_sha256: str) -> Judgement:
    """What the process of its own does."""
    problem = schema_problem(schema_path)
    if problem is not None:
        return Judgement(problems=(problem,))
    try:
        content = read_content(plan_path).content
    except GameplanError as error:
        return Judgement(problems=(error.message,))
    if sha256(content).hexdigest() != plan_sha256:
        return Judgement(problems=(f"{plan_path} changed while it was being judged",))
    try:
        schema, plan = read_schema(schema_path), parse_plan(content)
        return Judgement(
            problems=cap(schema_problems(build_validator(schema), plan)), declared=find_declared(schema, plan)
        )
    except Exception as error:  # noqa: BLE001 - as above: whatever a schema raises means that the plan is not cleared
        return Judgement(problems=(f"{_VARIABLE}: {schema_path} could not be applied: {_shorten(repr(error))}",))


def find_declared(schema: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[Place, tuple[str, ...]]:
    """Which names in the plan's objects the schema declares: by `properties`, `patternProperties` or `required`.

    Raises:
        Exception: What `referencing` raises over a reference that it cannot follow, `re` over a pattern.
    """
    _, resolver = _open_schema(schema)
    found: dict[Place, tuple[str, ...]] = {}
    for place in known_names():
        target: Any = plan
        parts: list[_Part] = [(schema, resolver)]
        for step in place:
            target = target.get(step) if isinstance(target, dict) else None
            parts = [inner for part in _same_object(parts) for inner in _parts_for(part, step)]
        if isinstance(target, dict):
            same = list(_same_object(parts))
            found[place] = tuple(name for name in target if any(_declares(part, name) for part, _ in same))
    return found


def _render_judgement(judgement: Judgement) -> str:
    declared = [[list(place), list(names)] for place, names in judgement.declared.items()]
    return json.dumps({"problems": judgement.problems, "declared": declared})


def _parse_judgement(text: str) -> Judgement:
    found = json.loads(text)
    return Judgement(
        problems=tuple(str(problem) for problem in found["problems"]),
        declared={tuple(place): frozenset(names) for place, names in found["declared"]},
    )


def _open_schema(schema: Mapping[str, Any]) -> "tuple[Resource[Any], Resolver[Any]]":
    """The schema, and what follows its references: into itself and the JSON Schema drafts, nowhere else."""
    import jsonschema_specifications  # type: ignore[import-untyped] # it ships no types
    from referencing import Resource
    from referencing.jsonschema import DRAFT202012

    root: Resource[Any] = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry = jsonschema_specifications.REGISTRY.with_resource(root.id() or "", root)
    return root, registry.resolver_with_root(root)


def _same_object(parts: Iterable["_Part"]) -> Iterator["_Part"]:
    """These schemas and every schema in them that judges the same object, each one once: references can be circular."""
    from referencing.jsonschema import DRAFT202012

    waiting, seen = list(parts), set[int]()
    while waiting:
        schema, resolver = waiting.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        if "$id" in schema:  # references in it are relative to it
            resolver = resolver.in_subresource(DRAFT202012.create_resource(schema))
        yield schema, resolver
        inner = [one for keyword in _SAME_OBJECT_LISTS for one in _values(schema.get(keyword))]
        inner += [one for keyword in _SAME_OBJECT_MAPS for one in _values(schema.get(keyword))]
        inner += [schema.get(keyword) for keyword in _SAME_OBJECT]
        waiting += [(one, resolver) for one in inner]
        for keyword in _REFERENCES:
            if isinstance(schema.get(keyword), str):
                resolved = resolver.lookup(schema[keyword])
                waiting.append((resolved.contents, resolved.resolver))


def _parts_for(part: "_Part", name: str) -> Iterator["_Part"]:
    """The schemas that judge the value of one field."""
    schema, resolver = part
    properties = schema.get("properties")
    if isinstance(properties, dict) and name in properties:
        yield properties[name], resolver
    for pattern, one in _items(schema.get("patternProperties")):
        if re.search(pattern, name):
            yield one, resolver


def _declares(schema: Mapping[str, Any], name: str) -> bool:
    return (
        name in _keys(schema.get("properties"))
        or name in _values(schema.get("required"))
        or any(re.search(pattern, name) for pattern, _ in _items(schema.get("patternProperties")))
    )


def _unknown_references(schema: Mapping[str, Any]) -> Iterator[str]:
    """Every `$ref` that leads out of the schema and of the JSON Schema drafts."""
    from referencing.exceptions import Unresolvable

    def walk(resource: "Resource[Any]", resolver: "Resolver[Any]") -> Iterator[str]:
        if isinstance(resource.contents, dict):
            for keyword in _REFERENCES:
                reference = resource.contents.get(keyword)
                if isinstance(reference, str):
                    try:
                        resolver.lookup(reference)
                    except Unresolvable:
                        yield reference
        for part in resource.subresources():
            yield from walk(part, resolver.in_subresource(part))

    yield from walk(*_open_schema(schema))


def _keys(value: object) -> Collection[str]:
    return value.keys() if isinstance(value, dict) else ()


def _items(value: object) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _values(value: object) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def _shorten(text: str) -> str:
    return clean_line(text, limit=_MAX_SHOWN)


if __name__ == "__main__":
    Settings.load(lenient=True)  # so that this process, too, knows what it must not show
    sys.stdout.write(_render_judgement(judge(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
