r"""How Windows and WSL read a scheduled task's argument line: their published rules, written down a second time.

The rules of `CommandLineToArgvW` are from its reference page; how `wsl.exe` cuts its own options is from its source,
which is public; that Task Scheduler replaces `%NAME%` and `$(Arg0)` is from the pages on `ExecAction` and on the
task's parameters.
"""

import re
from collections.abc import Mapping

_BLANKS = " \t"


def expand_as_task_scheduler(line: str, variables: Mapping[str, str]) -> str:
    """What Task Scheduler makes of the text in `Arguments` before it starts the program."""
    line = re.sub(r"\$\(Arg(\d+)\)", "", line, flags=re.IGNORECASE)  # a task started by its trigger has no parameters
    known = {name.upper(): value for name, value in variables.items()}
    result, rest = "", line
    while "%" in rest:
        before, _, rest = rest.partition("%")
        name, closing, after = rest.partition("%")
        if closing and name.upper() in known:
            result, rest = result + before + known[name.upper()], after
        else:
            result += before + "%"  # the second one may begin a name of its own
    return result + rest


def split_as_command_line_to_argv(line: str) -> list[str]:
    """`CommandLineToArgvW`: the first argument without escapes, the others with them."""
    if line.startswith('"'):
        first, _, rest = line[1:].partition('"')
    else:
        cut = min((line.find(blank) for blank in _BLANKS if blank in line), default=len(line))
        first, rest = line[:cut], line[cut:]
    return [first, *_split_further(rest)]


def _split_further(line: str) -> list[str]:
    found: list[str] = []
    index, size = 0, len(line)
    while True:
        while index < size and line[index] in _BLANKS:
            index += 1
        if index >= size:
            return found
        argument, quoted = "", False
        while index < size and (quoted or line[index] not in _BLANKS):
            backslashes = 0
            while index < size and line[index] == "\\":
                backslashes, index = backslashes + 1, index + 1
            if index < size and line[index] == '"':
                argument += "\\" * (backslashes // 2)
                if backslashes % 2:
                    argument += '"'
                elif quoted and line[index + 1 : index + 2] == '"':
                    argument, index = argument + '"', index + 1  # two in quotes are one, and the quotes stay open
                else:
                    quoted = not quoted
                index += 1
                continue
            argument += "\\" * backslashes
            if index < size and (quoted or line[index] not in _BLANKS):
                argument, index = argument + line[index], index + 1
        found.append(argument)


def read_as_wsl(line: str) -> tuple[dict[str, str], list[str]]:
    """The options of `wsl.exe` (`-d`, `--cd`) and the program it is to run without a shell."""
    options: dict[str, str] = {}
    rest = line.lstrip(_BLANKS)
    while True:
        option, rest = _cut(rest)
        if option == "-e":
            return options, split_as_command_line_to_argv(rest)
        assert option in {"-d", "--cd"}, f"wsl.exe would not know {option!r} in {line!r}"
        if option == "--cd" and rest.startswith('"') and '"' in rest[1:]:
            value, _, rest = rest[1:].partition('"')
            options[option], rest = value, rest.lstrip(_BLANKS)
        else:
            options[option], rest = _cut(rest)


def _cut(line: str) -> tuple[str, str]:
    match = re.match(r"[^ \t]*", line)
    assert match
    return match[0], line[match.end() :].lstrip(_BLANKS)


def run_as_windows(line: str, variables: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What WSL is asked to run when Task Scheduler starts `wsl.exe` with this line."""
    return read_as_wsl(expand_as_task_scheduler(line, variables))
