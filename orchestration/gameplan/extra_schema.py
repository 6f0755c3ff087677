"""The operator's own schema (`GAMEPLAN_SCHEMA`), which a plan must satisfy too.

A schema is a small program: a regular expression in it can take longer than the universe, references can multiply.
Nothing inside one Python process can stop that, so it is applied in a process of its own, which is killed when its time
is up. `python -m orchestration.gameplan.extra_schema SCHEMA PLAN SHA256` is that process.
"""

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.errors import FallbackWord
from orchestration.gameplan.reader import parse_plan, read_content
from orchestration.gameplan.rules import build_validator, cap, schema_problems
from orchestration.gameplan.verdict import GameplanError
from orchestration.settings import PROJECT_DIR
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError

if TYPE_CHECKING:
    from referencing import Resource
    from referencing._core import Resolver

_TIMEOUT_S = 15.0  # a plan takes milliseconds, the process 0.3 s; a busy machine at boot can be twenty times slower
_MAX_SHOWN = 200
_VARIABLE = "GAMEPLAN_SCHEMA"


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
    except Exception as error:  # noqa: BLE001 - a schema is a program of somebody else's; no list of what it raises ends
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


def extra_problems(
    schema_path: Path, plan_path: Path, plan_sha256: str, *, commands: Commands, timeout_s: float = _TIMEOUT_S
) -> tuple[str, ...]:
    """Every problem that the further schema finds, judged in a process of its own.

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
        return (f"{_VARIABLE}: applying {schema_path} took longer than {timeout_s:g} s",)
    except (CommandNotFoundError, OSError) as error:
        return (f"{_VARIABLE}: {schema_path} could not be applied: {_shorten(str(error))}",)
    try:
        problems = json.loads(result.stdout) if result.ok else None
    except ValueError:
        problems = None
    if not isinstance(problems, list):
        last = "; ".join(result.last_lines(1)) or "no output"
        return (f"{_VARIABLE}: {schema_path} could not be applied: {_shorten(last)}",)
    return tuple(str(problem) for problem in problems)


def is_schemas_own_fault(problems: tuple[str, ...]) -> bool:
    """Whether it was the further schema that could not be used: looking at the plan once more would not help."""
    return any(problem.startswith(f"{_VARIABLE}: ") for problem in problems)


def judge(schema_path: Path, plan_path: Path, plan_sha256: str) -> tuple[str, ...]:
    """What the process of its own does: every problem of the plan, or of the schema."""
    problem = schema_problem(schema_path)
    if problem is not None:
        return (problem,)
    try:
        content = read_content(plan_path).content
    except GameplanError as error:
        return (error.message,)
    if sha256(content).hexdigest() != plan_sha256:
        return (f"{plan_path} changed while it was being judged",)
    try:
        return cap(schema_problems(build_validator(read_schema(schema_path)), parse_plan(content)))
    except Exception as error:  # noqa: BLE001 - as above: whatever a schema raises means that the plan is not cleared
        return (f"{_VARIABLE}: {schema_path} could not be applied: {_shorten(repr(error))}",)


def _unknown_references(schema: dict[str, Any]) -> Iterator[str]:
    """Every `$ref` that leads out of the schema and of the JSON Schema drafts."""
    import jsonschema_specifications  # type: ignore[import-untyped] # it ships no types
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root: Resource[Any] = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry = jsonschema_specifications.REGISTRY.with_resource(root.id() or "", root)

    def walk(resource: "Resource[Any]", resolver: "Resolver[Any]") -> Iterator[str]:
        if isinstance(resource.contents, dict):
            for keyword in ("$ref", "$dynamicRef"):
                reference = resource.contents.get(keyword)
                if isinstance(reference, str):
                    try:
                        resolver.lookup(reference)
                    except Unresolvable:
                        yield reference
        for part in resource.subresources():
            yield from walk(part, resolver.in_subresource(part))

    yield from walk(root, registry.resolver_with_root(root))


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def _shorten(text: str) -> str:
    line = " ".join(text[: 2 * _MAX_SHOWN].split())
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}…"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(judge(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
