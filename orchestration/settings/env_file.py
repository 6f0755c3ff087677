"""Changes a `.env` file line by line: what is not changed stays as it stands, comments included.

What is written is read back by the same parser that every command uses (python-dotenv's), so that a value with quotes,
`#`, `$` or a backslash arrives as it was given.
"""

import contextlib
import io
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.settings.kinds import WrongValueError, expand_home
from orchestration.settings.sources import (
    build_instance_file,
    parse_env,
    read_env_file,
    read_env_text,
    read_environment,
)
from orchestration.settings.variables import ENV_FILE, find_near_misses, known_names, variables_by_field
from orchestration.system.files import write_atomic
from orchestration.system.lock import LockHeldError, hold_folder

if TYPE_CHECKING:
    from dotenv.parser import Binding

_LOCK_TIMEOUT_S = 10.0
_NEEDS_NO_QUOTES = re.compile(r"[\w./:@%+,=~?&-]+(?: [\w./:@%+,=~?&-]+)*", re.ASCII)
# Up to the first thing that Compose's own parser reads otherwise: in single quotes, in double ones, without quotes.
_READ_OTHERWISE = {
    "'": re.compile(r"(?:[^'\\]|\\[^\\])*?\\\\"),
    '"': re.compile(r"""(?:[^"\\$]|\\[^$'0]|\$(?![${A-Za-z_]))*?(?:\\[$'0]|\$[${A-Za-z_])""", re.DOTALL),
    "": re.compile(r".*?\$[${A-Za-z_]"),
}
_COMMENT = re.compile(r"\s#")
_HEADER = "# Settings of the zero-touch start-up; .env.example explains every variable.\n"
_FILE = "_FILE"


class ChangedMeanwhileError(Exception):
    """The file is not written: it was changed while the changes to it were being decided. The message says what."""


@dataclass(frozen=True, kw_only=True)
class EnvFile:
    r"""The file that settings are written to.

    Attributes:
        path: Where it is, links followed.
        text: What it holds, its lines ended by `\n`; for a new one, a comment.
        existed: Whether it was there.
        line_end: How its lines end.
    """

    path: Path
    text: str
    existed: bool
    line_end: str = "\n"

    @property
    def values(self) -> dict[str, str]:
        """What it sets, empty values left out."""
        return {name: value for name, value in read_values(self.text).items() if value.strip()}

    def plan(self, given: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
        """Which names would be set to something else, and which would be removed."""
        changes = self._complete(given)
        now = self.values
        changed = [name for name, value in changes.items() if value is not None and now.get(name) != value]
        return changed, [name for name, value in changes.items() if value is None and name in now]

    def write(self, given: Mapping[str, str | None]) -> None:
        """Write it, for its owner's eyes only; a reader finds the old file or the new one.

        What has been changed in the file since it was opened stays, as long as it is something else.

        Args:
            given: The values to set; None removes one. Setting a secret removes its `_FILE`, and the reverse.

        Raises:
            ChangedMeanwhileError: One of these values was changed meanwhile, or the file cannot be read any more.
            OSError: It could not be written. The old file is as it was.
            ValueError: A value cannot be written into a `.env` file.
        """
        changes = self._complete(given)
        # Between the look and the replacement no other `inv init` writes. An editor may: it asks before it overwrites.
        with self._only_writer():
            present = self._read_again(changes)
            text = change_values(present.text, changes)
            if present.existed and text == present.text:
                self.path.chmod(0o600)
                return
            write_atomic(self.path, text.replace("\n", present.line_end).encode())
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # under sudo it stays readable for the project's owner
            owner = self.path.parent.stat()
            shutil.chown(self.path, owner.st_uid, owner.st_gid)

    @contextlib.contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Hold the file's folder.

        Raises:
            ChangedMeanwhileError: Another process holds it.
        """
        with contextlib.ExitStack() as held:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(hold_folder(self.path.parent, timeout_s=_LOCK_TIMEOUT_S))
            except LockHeldError:
                raise ChangedMeanwhileError("another program holds its folder") from None
            yield

    def _read_again(self, changes: Mapping[str, str | None]) -> "EnvFile":
        """The file as it is now.

        Raises:
            ChangedMeanwhileError: What is to be changed was changed meanwhile, or it cannot be read.
        """
        problems: list[str] = []
        present = _read(self.path, self.text if not self.existed else "", problems)
        if problems:
            raise ChangedMeanwhileError("; ".join(problems))
        before, now = self.values, present.values
        both = [
            name
            for name, value in changes.items()
            if now.get(name) != before.get(name) and (now.get(name) or None) != value
        ]
        if both:
            raise ChangedMeanwhileError(f"{', '.join(both)} was changed in it meanwhile by another program")
        return present

    def _complete(self, given: Mapping[str, str | None]) -> dict[str, str | None]:
        changes = dict(given)
        now = self.values
        for name, value in given.items():
            other = name.removesuffix(_FILE) if name.endswith(_FILE) else name + _FILE
            if value is not None and other in known_names() and other in now:
                changes.setdefault(other, None)
        return changes


def open_env_file(project_dir: Path, problems: list[str]) -> EnvFile:
    """The file that this process's environment names: ENV_FILE, else the instance's own, else `.env` of the project.

    Args:
        project_dir: The project's folder.
        problems: Gets a sentence for each reason why the file cannot be changed.
    """
    environ = read_environment()
    named, instance = environ.get(ENV_FILE, "").strip(), environ.get("INSTANCE", "").strip()
    own = build_instance_file(instance, project_dir)
    path = project_dir / Path(expand_home(named)) if named else own or project_dir / ".env"
    path = Path(os.path.realpath(path))
    return _read(path, _HEADER if own is None or named else f"{_HEADER}INSTANCE={instance}\n", problems)


def _read(path: Path, if_new: str, problems: list[str]) -> EnvFile:
    """The file; one that is not there begins with this text."""
    if not os.path.lexists(path):
        return EnvFile(path=path, text=if_new, existed=False)
    text = read_env_text(path, problems)
    if text is None:
        return EnvFile(path=path, text="", existed=True)
    parse_env(text, path, problems)
    line_end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    return EnvFile(path=path, text=text.replace("\r\n", "\n"), existed=True, line_end=line_end)


def read_answers(path: str, problems: list[str]) -> dict[str, str | None]:
    """The `NAME=value` lines of a file of answers, in the notation of a `.env` file; empty values answer nothing."""
    if not path.strip():
        problems.append("--answers: names no file")
        return {}
    found: list[str] = []
    answers = read_env_file(Path(expand_home(path)).absolute(), found)
    problems += [problem.replace(f"{ENV_FILE}: ", "--answers: ", 1) for problem in found]
    return {name: value for name, value in answers.items() if value.strip()}


def check_answers(given: Mapping[str, str | None]) -> list[str]:
    """One sentence for each name that is not a variable of this program, and each value that is not allowed."""
    variables = {variable.name: variable for variable in variables_by_field().values()}
    unknown = sorted(set(given) - (known_names() - {ENV_FILE}))
    near = {sentence.partition(" ")[0]: sentence for sentence in find_near_misses({}, dict.fromkeys(unknown, ""))}
    problems = [near.get(name, f"{name} is not a variable of this program") for name in unknown]
    for name, value in given.items():
        problems += [
            f"{name} and {name}{_FILE} are both answered; only one of them is allowed"
            for value_of_file in [given.get(name + _FILE)]
            if value is not None and value_of_file is not None
        ]
        variable = variables.get(name)
        if value is None or variable is None:
            continue
        try:
            variable.parse(value)
            render_value(value)
        except (WrongValueError, ValueError) as error:
            shown = "(a secret)" if variable.secret else repr(value)
            problems.append(f"{name}: {shown} {error}")
    return problems


def render_value(value: str) -> str:
    """A value as it stands after `NAME=`, in a notation that Compose reads alike where there is one.

    Raises:
        ValueError: No notation of a `.env` file brings it back exactly.
    """
    in_single, in_double = value.replace("'", "\\'"), value.replace("\\", "\\\\").replace('"', '\\"')
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    plain = [value] if _NEEDS_NO_QUOTES.fullmatch(value) else []
    notations = [*plain, f"'{in_single}'", f'"{in_double}"', f"'{escaped}'"]
    exact = [one for one in notations if [binding.value for binding in _parse(f"NAME={one}\n")] == [value]]
    if not exact:
        raise ValueError("cannot be written into a .env file")
    return next((one for one in exact if is_read_alike(one)), exact[-1])


def is_read_alike(written: str) -> bool:
    """Whether Compose's own parser (`docker compose --env-file`) reads what stands after `NAME=` as this program does.

    Compose expands `$NAME`, `${` and `$$` outside single quotes, and has other escapes. Pure.
    """
    text = written.strip()
    quote = text[:1] if text[:1] in {"'", '"'} else ""
    if not quote and text.startswith("#") and written[:1].isspace():
        return False  # a comment to this program, the value to Compose
    text = text[1:] if quote else _COMMENT.split(text, maxsplit=1)[0]
    return _READ_OTHERWISE[quote].match(text) is None


def find_read_otherwise(text: str, names: Collection[str]) -> dict[str, int]:
    """Which of these names Compose's own parser gives another value than this program, and at which line. Pure."""
    found: dict[str, int] = {}
    for binding in _parse(text):
        name = binding.key
        if name is None or name not in names or binding.error or binding.value is None:
            continue
        # The parser counts blank lines before a setting as a part of it.
        original = binding.original.string
        blank = original[: len(original) - len(original.lstrip())].count("\n")
        found.pop(name, None)  # the last line of a name counts
        if not is_read_alike(original.partition("=")[2]):
            found[name] = binding.original.line + blank
    return found


def read_values(text: str) -> dict[str, str]:
    """The values that a `.env` file's text sets; lines that say nothing are left out."""
    found = _parse(text)
    return {one.key: one.value for one in found if one.key is not None and one.value is not None and not one.error}


def change_values(text: str, changes: Mapping[str, str | None]) -> str:
    """The text with these values set, or, for None, their lines left out. Pure.

    A name that is set already keeps its place; where it is set more than once, the last one counts and is changed, and
    the others go. A name that is new is added at the end.

    Raises:
        ValueError: A value cannot be written into a `.env` file.
    """
    lines = {name: f"{name}={render_value(value)}\n" for name, value in changes.items() if value is not None}
    bindings = _parse(text)
    last = {one.key: number for number, one in enumerate(bindings) if one.key in changes and not one.error}
    kept: list[str] = []
    for number, binding in enumerate(bindings):
        name = binding.key
        if name not in last or binding.error:
            kept.append(binding.original.string)
        elif number == last[name] and name in lines:
            # The parser counts blank lines before a setting as a part of it.
            original = binding.original.string
            kept.append(original[: len(original) - len(original.lstrip())] + lines[name])
    written = "".join(kept)
    if written and not written.endswith("\n"):
        written += "\n"
    return written + "".join(line for name, line in lines.items() if name not in last)


def _parse(text: str) -> "list[Binding]":
    from dotenv.parser import parse_stream

    return list(parse_stream(io.StringIO(text)))
