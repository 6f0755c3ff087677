"""When two command lines start the same program: the bot as it is configured, and a process that an operator started.

The words of one and the same bot differ. An interpreter has many names (`python`, `python3.11`, `.venv/bin/python`)
and takes flags of its own (`-u`, `-X dev`). A script that is run by its `#!` line shows up behind its interpreter.
`env` and `nohup` vanish. What must agree is what is run (a module, a script by its resolved path, a program) and then
every configured argument, in order, from the first; more may follow. So an editor, a search or a `tail` that merely has
the bot's name among its arguments never agrees: it runs another program.
"""

import os
import re
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_REFERENCE_BOT = "orchestration.bot.reference"
_PYTHON = re.compile(r"(?:python|pythonw|pypy)(?:\d+(?:\.\d+)*)?t?(?:\.exe)?", re.IGNORECASE)
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})
# Flags that take the next word as their value where it does not stand right behind them: `python --help`, sh(1).
_PYTHON_VALUED = "XW"
_SHELL_VALUED = "oO"


class Interpreter(StrEnum):
    """Who reads a script."""

    PYTHON = "python"
    SHELL = "shell"


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What a command line runs.

    Attributes:
        interpreter: Who reads it, or None: a program that is run by itself, or a script by its `#!` line.
        module: The module, for `python -m`.
        program: The script or program as it is written, for everything else; empty for `-c` and for no program at all.
        arguments: Everything after it.
    """

    interpreter: Interpreter | None = None
    module: str = ""
    program: str = ""
    arguments: tuple[str, ...] = ()


def parse_invocation(argv: tuple[str, ...]) -> Invocation:
    """Tell what runs from an argument list. Pure."""
    words = _without_launchers(argv)
    if not words:
        return Invocation()
    name = os.path.basename(words[0].replace("\\", "/"))  # noqa: PTH119 - a word, of either system, not a path here
    if _PYTHON.fullmatch(name):
        return _parse_python(words[1:])
    # A login shell's name starts with a hyphen.
    if name.removeprefix("-").removesuffix(".exe") in _SHELLS:
        return _parse_shell(words)
    return Invocation(program=words[0], arguments=words[1:])


def is_reference_bot(command: tuple[str, ...]) -> bool:
    """Whether a configured command starts the reference bot, which is part of this program. Pure."""
    return _REFERENCE_BOT in command


def name_program(argv: tuple[str, ...]) -> str:
    """What people call the program of an argument list, without its folder and its arguments. Pure."""
    invocation = parse_invocation(argv)
    if invocation.module == _REFERENCE_BOT:
        return "the built-in reference bot"
    program = invocation.module or invocation.program or (argv[0] if argv else "")
    return os.path.basename(program.replace("\\", "/")) or program  # noqa: PTH119 - a word, not a path here


def is_same_command(configured: tuple[str, ...], running: tuple[str, ...], *, workdir: Path, search_path: str) -> bool:
    """Whether a process's argument list is the configured command, with more arguments or without.

    Args:
        configured: The command as it is configured.
        running: The process's argument list.
        workdir: The folder that both run in, which relative paths start from.
        search_path: The `PATH` that programs are looked up in.
    """
    ours, theirs = parse_invocation(configured), parse_invocation(running)
    if theirs.arguments[: len(ours.arguments)] != ours.arguments:
        return False
    if ours.module or theirs.module:
        return ours.module == theirs.module and ours.interpreter is theirs.interpreter
    if not ours.program or not theirs.program:
        # `python -c …` or `sh -c …`: the text itself is the program, and only the very same words are the same.
        return bool(configured) and running[: len(configured)] == configured
    interpreters = {ours.interpreter, theirs.interpreter} - {None}
    if len(interpreters) > 1:
        return False
    if _resolve(ours, workdir, search_path) == _resolve(theirs, workdir, search_path):
        return True
    # `node bot.js` is the same bot under another node. Without an argument only the very same file is.
    is_plain = not interpreters and bool(ours.arguments)
    return is_plain and Path(ours.program).name == Path(theirs.program).name


def _resolve(invocation: Invocation, workdir: Path, search_path: str) -> str:
    """The file that runs, as one name however it is written."""
    program = invocation.program
    if invocation.interpreter is None and not _has_folder(program):
        # Resolved by hand: `which` alone would take a program of that name in our own folder on Windows.
        program = shutil.which(program, path=search_path) or program
        if not _has_folder(program):
            return program
    path = workdir / program
    try:
        return os.path.realpath(path)
    except OSError:
        # `/proc/self/fd/6 init` is what a container's start looks like for an instant: such a link ends while it is
        # read. What has no name any more is not the bot.
        return str(path)


def _has_folder(program: str) -> bool:
    return "/" in program or os.sep in program


def _without_launchers(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out `env NAME=value …`, `nohup` and `nice`: they become the program that they start."""
    words = list(argv)
    while words and os.path.basename(words[0]) in {"env", "nohup", "nice"}:  # noqa: PTH119 - a word, not a path
        is_env = os.path.basename(words.pop(0)) == "env"  # noqa: PTH119
        while words and (words[0].startswith("-") or (is_env and "=" in words[0])):
            takes_value = words.pop(0) in {"-n", "-u", "-C", "--adjustment", "--unset", "--chdir"}
            if takes_value and words:
                words.pop(0)
    return tuple(words)


def _parse_python(words: tuple[str, ...]) -> Invocation:
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            if word == "--check-hash-based-pycs" and rest:
                rest.pop(0)
            continue
        # Flags stand together (`-uBm`); the first one that takes a value takes what is left of the word, or the next.
        valued = re.search(f"[mc{_PYTHON_VALUED}]", word[1:])
        if valued is None:
            continue
        value = word[1 + valued.end() :] or (rest.pop(0) if rest else "")
        if valued.group() == "m":
            return Invocation(interpreter=Interpreter.PYTHON, module=value, arguments=tuple(rest))
        if valued.group() == "c":
            return Invocation(interpreter=Interpreter.PYTHON)
    return _with_script(Interpreter.PYTHON, rest)


def _parse_shell(words: tuple[str, ...]) -> Invocation:
    rest = list(words[1:])
    while rest and rest[0].startswith(("-", "+")) and rest[0] not in {"-", "--"}:
        flags = rest.pop(0)
        if flags.startswith("--"):
            continue
        if "c" in flags:
            return Invocation(interpreter=Interpreter.SHELL)
        if flags[-1] in _SHELL_VALUED and rest:
            rest.pop(0)
    if rest and rest[0] == "--":
        rest.pop(0)
    return _with_script(Interpreter.SHELL, rest)


def _with_script(interpreter: Interpreter, rest: list[str]) -> Invocation:
    script = rest[0] if rest and rest[0] != "-" else ""
    return Invocation(interpreter=interpreter, program=script, arguments=tuple(rest[1:]))
