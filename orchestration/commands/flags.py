"""What a command line gives and Invoke would misread: numbers, and flags that mean another thing than they seem to."""

import difflib
import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn, Protocol

_JSON = re.compile(r"--json|-[a-z]*j[a-z]*")


class Tasks(Protocol):
    """A namespace of tasks, as far as it is needed here."""

    @property
    def task_names(self) -> Mapping[str, object]:
        """The tasks' names."""
        ...

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - Invoke's task
        """One of them."""
        ...


def refuse(message: str) -> NoReturn:
    """End the program because of its command line: the message on standard error, with `--json` a document as well.

    Args:
        message: What is wrong with it and what is allowed, in one line.

    Raises:
        SystemExit: Always; the exit code is 1.
    """
    print_refusal(message)
    raise SystemExit(message)


def print_refusal(message: str) -> None:
    """Print the document of a refused command line, if that line asks for one: a program reads nothing else."""
    if asks_for_json(sys.argv[1:]):
        from orchestration.presenter import print_json

        print_json({"exit_code": 1, "message": message})


def asks_for_json(words: Sequence[str]) -> bool:
    """Whether `--json` stands among these words, or its short form, alone or among other short flags. Pure."""
    return any(_JSON.fullmatch(word) for word in words)


def read_count(flag: str, text: str, *, least: int = 1) -> int:
    """A whole number that is not negative.

    Args:
        flag: The flag's name as it is typed, for the message.
        text: What was given with it.
        least: The least that is allowed, 0 or more.

    Raises:
        SystemExit: It is none; with a message that names flag, text and what is allowed, which makes the exit code 1.
    """
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        refuse(f"{flag}: {text!r} is not a whole number of {least} or more")
    return int(text)


def read_number(flag: str, text: str) -> float:
    """A number that is finite.

    Args:
        flag: The flag's name as it is typed, for the message.
        text: What was given with it.

    Raises:
        SystemExit: It is none; with a message that names flag and text, which makes the exit code 1.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        refuse(f"{flag}: {text!r} is not a number")
    return number


def refuse_to_act(example: str, namespace: Tasks, *, is_dry: bool) -> None:
    """Refuse to act where something else was meant.

    That is `help` beside the task, or a flag of Invoke's own taken for `--dry-run`: `--dry`, or `-d`, its `--debug`.

    Args:
        example: The command that says what would be done.
        namespace: The tasks.
        is_dry: Whether Invoke runs with its own `--dry`, which would keep nothing of this from happening.

    Raises:
        SystemExit: With a message, which makes the exit code 1.
    """
    if is_dry:
        refuse(f"Invoke's own --dry cannot keep this task from acting; see `{example}`")
    if "help" in find_tasks(sys.argv, namespace):
        refuse("`help` beside other commands explains them: nothing was done. `inv --help NAME` explains one")
    own = {
        name: frozenset(short for one in namespace[name].get_arguments() for short in one.names)
        for name in namespace.task_names
    }
    if is_short_debug(sys.argv, own):
        refuse(
            "-d is Invoke's own --debug here, not --dry-run: nothing was done. "
            f"`{example}` says what would be done; `--debug` before the task debugs Invoke"
        )


def find_tasks(argv: Sequence[str], namespace: Tasks) -> tuple[str, ...]:
    """The tasks that a command line names, in its order; a flag's value is none. Pure.

    Args:
        argv: The command line.
        namespace: The tasks.
    """
    found: list[str] = []
    with_value: Collection[str] = ()
    is_value = False
    for word in argv[1:]:
        if is_value:
            is_value = False
        elif word.startswith("-"):
            is_value = word.lstrip("-") in with_value
        elif word in namespace.task_names:
            found.append(word)
            arguments = namespace[word].get_arguments()
            with_value = {name.replace("_", "-") for one in arguments if one.takes_value for name in one.names}
    return tuple(found)


def is_short_debug(argv: Sequence[str], own: Mapping[str, Collection[str]]) -> bool:
    """Whether a `-d`, alone or among other short flags, is none of a task's own, so that Invoke takes it for its own.

    Pure.

    Args:
        argv: The command line.
        own: Every task, and its own flags.
    """
    flags: Collection[str] = ()
    for word in argv[1:]:
        if word in own:
            flags = own[word]
        elif word.startswith("-") and not word.startswith("--") and "d" in word.partition("=")[0] and "d" not in flags:
            return True
    return False


def explain_word(word: str, command: str | None, flags: Mapping[str, Collection[str]]) -> str:
    """What to say of a word that is neither a command nor a flag of the command before it. Pure.

    Args:
        word: The word.
        command: The command before it; None if it is the first.
        flags: Every command, and its flags.
    """
    own = [flag for flag in flags.get(command or "", ()) if flag.startswith("--")]
    if command and word.startswith("-"):
        near = difflib.get_close_matches(word.partition("=")[0], own, n=1)
        meant = f"; did you mean {near[0]}?" if near else f", only {_join(own)}." if own else " and takes no flags."
        return f"`inv {command}` has no {word}{meant} `inv --help {command}` explains it."
    if command and f"--{word}" in own:
        near = [f"{command} --{word}"]
    elif f"{command}.{word}" in flags:
        near = [f"{command}.{word}"]
    else:
        near = [name for name in flags if name.startswith(f"{word}.")] or difflib.get_close_matches(word, flags, n=1)
    if near or not own:
        meant = f"; did you mean {_join([f'`inv {name}`' for name in near], ' or ')}?" if near else "."
        return f"{word!r} is no command{meant} `inv` lists the commands."
    return f"{word!r} is no command, and after `inv {command}` come only its flags: {_join(own)}."


def _join(names: Sequence[str], last: str = " and ") -> str:
    return ", ".join(names[:-1]) + last + names[-1] if len(names) > 1 else "".join(names)
