r"""The argument line of `wsl.exe` as the scheduled task holds it.

Three programs read this one line, each by its own rules:

1. Task Scheduler replaces `%NAME%` by variables and `$(Arg0)` by parameters, quotes or not. There is no escape for
   either, but no variable has a quotation mark in its name: a `%` or `$` that stands outside the quotes of its
   argument (`"100"%"PATH"%`) finds nothing to replace, and the quotes are gone when the next program has read them.
2. `wsl.exe` cuts its own options at blanks. Quotes mean nothing there, but for `--cd`, whose value ends at the next
   quotation mark. So a distribution's name cannot have a blank, and the project's folder is not handed to `--cd`: the
   wrapper finds its project by itself.
3. What follows `-e` is split by `CommandLineToArgvW`: backslashes are literal unless a quotation mark follows, and
   then two of them are one and `\"` is a quotation mark. Its first argument knows no escapes at all, so it is always
   a plain program, never a path that an operator chose.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

WSL_EXE = r"%SystemRoot%\System32\wsl.exe"
"""In full, and the same on 32 and 64 bit: the search path of a task is not the operator's."""

_SAFE = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
# Between quotes, with each of these outside of them, so that Task Scheduler sees no `%NAME%` and no `$(Arg0)`.
_REPLACED_BY_SCHEDULER = re.compile(r"([%$])")
_BACKSLASHES_BEFORE_QUOTE = re.compile(r'(\\*)"')
_TRAILING_BACKSLASHES = re.compile(r"(\\+)$")
# What `wsl.exe` does not accept after `-d`: it reads the value up to the next blank and removes no quotes.
_UNSPEAKABLE_NAME = re.compile(r'[\s"%$]|^-|^$')


def quote_argument(text: str) -> str:
    r"""One argument so that Task Scheduler changes nothing in it and `CommandLineToArgvW` gives it back.

    Not for the first argument after `-e`, and not for the options of `wsl.exe` itself: see this module's head.

    >>> quote_argument("/opt/my bot")
    '"/opt/my bot"'
    >>> quote_argument('say "hi"')
    '"say \\"hi\\""'
    """
    if _SAFE.fullmatch(text):
        return text
    pieces = _REPLACED_BY_SCHEDULER.split(text)
    quoted = [piece if index % 2 else _quote_piece(piece) for index, piece in enumerate(pieces) if piece]
    return "".join(quoted) or '""'


def _quote_piece(text: str) -> str:
    text = _BACKSLASHES_BEFORE_QUOTE.sub(r'\1\1\\"', text)
    return '"' + _TRAILING_BACKSLASHES.sub(r"\1\1", text) + '"'


def build_wsl_arguments(
    *,
    distribution: str,
    wrapper: PurePosixPath,
    environment: Sequence[tuple[str, str]] = (),
    arguments: Iterable[str] = ("--service",),
) -> str:
    """What stands after `wsl.exe`: the wrapper in the foreground, without a shell of the user's.

    `env` hands over the instance: a task's definition cannot set variables, and `WSLENV` forwards only those that the
    Windows side has. `bash` takes the wrapper as an argument, which may then hold any character, an equals sign
    included, and need not be executable (a project on a Windows drive has no such bit).

    Args:
        distribution: Its name, as `wsl.exe -l` shows it; check it with `is_wsl_argument` first.
        wrapper: `production-startup.sh`, absolute, inside the distribution.
        environment: Variables for it. Never a secret: every user of the machine can read a scheduled task.
        arguments: The wrapper's own.
    """
    command = ["bash", str(wrapper), *arguments]
    variables = [f"{name}={value}" for name, value in environment]
    line = " ".join(quote_argument(one) for one in (*variables, *command))
    return f"-d {distribution} --cd / -e /usr/bin/env {line}"


def is_wsl_argument(distribution: str) -> bool:
    """Whether `wsl.exe -d` can be given this name."""
    return not _UNSPEAKABLE_NAME.search(distribution)
