"""The commands of `inv` and `fab`, read from their own collections: tasks, flags, help; and their own parsers."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from invoke.collection import Collection
from invoke.exceptions import ParseError
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext
from invoke.parser.parser import Parser
from invoke.program import Program as Runner


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag of a task.

    Attributes:
        names: As they are typed, the long one first.
        default: What it is when it is not given; empty where that is nothing, or off.
        help: What it means.
    """

    names: tuple[str, ...]
    default: str
    help: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        name: As it is typed.
        summary: One line.
        details: What else is said of it; may be empty.
        lines: Both as `--help` shows them.
        flags: Its flags.
    """

    name: str
    summary: str
    details: str
    lines: tuple[str, ...]
    flags: tuple[Flag, ...]


class Program:
    """`inv` or `fab`.

    Args:
        name: As it is typed.
        runner: What parses its own options.
        namespace: Its tasks.

    Attributes:
        name: As it is typed.
        tasks: What it can do, by name.
    """

    def __init__(self, name: str, runner: Runner, namespace: Collection) -> None:
        self.name = name
        self.tasks = {task: _read_task(task, namespace[task]) for task in sorted(namespace.task_names)}
        self._runner = runner
        self._namespace = namespace

    def find_problem(self, words: Sequence[str]) -> str:
        """What the program's own parser says against these words; empty if nothing."""
        initial = ParserContext(args=[*self._runner.core_args(), *self._runner.task_args()])
        parser = Parser(contexts=self._namespace.to_contexts(), initial=initial, ignore_unknown=False)
        try:
            parser.parse_argv(list(words))
        except (ParseError, ValueError) as error:
            # A page may name a flag without its value.
            return "" if "needed value" in str(error) else str(error)
        return ""


@cache
def read_inv() -> Program:
    """The tasks of `tasks.py`."""
    import tasks

    return Program("inv", Runner(), tasks.namespace)


@cache
def read_fab() -> Program:
    """The tasks of `fabfile.py`."""
    from fabric.main import program

    import fabfile

    return Program("fab", program, fabfile.namespace)


def _read_task(name: str, task: Any) -> Task:  # noqa: ANN401 - Fabric's tasks have no types
    text = inspect.getdoc(task) or ""
    summary, _, details = text.partition("\n")
    flags = tuple(_read_flag(argument) for argument in task.get_arguments())
    return Task(
        name=name, summary=summary, details=" ".join(details.split()), lines=tuple(text.splitlines()), flags=flags
    )


def _read_flag(argument: Argument) -> Flag:
    names = sorted(argument.names, key=len, reverse=True)
    value = "" if argument.kind is bool else f" {names[0].upper().replace('-', '_')}"
    typed = tuple(f"--{name}{value}" if len(name) > 1 else f"-{name}" for name in names)
    default = "" if argument.default in {None, False} else str(argument.default)
    return Flag(names=typed, default=default, help=argument.help or "")
