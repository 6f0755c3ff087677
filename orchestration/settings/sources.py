"""Where texts come from: the environment, the `.env` file, and files that hold one secret."""

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from orchestration.settings.image_variables import secret_names
from orchestration.settings.kinds import expand_home
from orchestration.settings.variables import ENV_FILE, Variable, known_names, variables_by_field
from orchestration.system.files import UnfitFileError, read_regular

_MAX_ENV_FILE_BYTES = 1024 * 1024
_MAX_SECRET_BYTES = 64 * 1024
_INSTANCE = "INSTANCE"
_STATE_DIR = "STATE_DIR"
_IS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", re.ASCII)
_NAMES_INSTANCE = re.compile(f"{_INSTANCE}|{_STATE_DIR}", re.IGNORECASE)
_MAY_NAME_INSTANCE = f", and may be what says {_INSTANCE} or {_STATE_DIR}"
_OTHER_LINE = re.compile(rf"{ENV_FILE}: line \d+ of (?!.*{_MAY_NAME_INSTANCE}$)", re.DOTALL)

Layers = Sequence[tuple[str, Mapping[str, str]]]


def read_environment() -> dict[str, str]:
    """A copy of this process's environment."""
    return dict(os.environ)


def find_env_file(environ: Mapping[str, str], project_dir: Path) -> Path | None:
    """The file that `ENV_FILE` names, else `.env.<INSTANCE>`, else `.env` in the project folder; None if none is there.

    A named file is returned even if it does not exist: reading it then says so.
    """
    named = environ.get(ENV_FILE, "").strip()
    if named:
        return project_dir / Path(expand_home(named))
    own = build_instance_file(environ.get(_INSTANCE, "").strip(), project_dir)
    path = own if own is not None and os.path.lexists(own) else project_dir / ".env"
    return path if os.path.lexists(path) else None


def build_instance_file(instance: str, project_dir: Path) -> Path | None:
    """Where the settings of an instance are looked for, or None: for `default`, and for what is no name."""
    if instance in {"", "default"} or not _IS_NAME.fullmatch(instance):
        return None
    return project_dir / f".env.{instance}"


def instance_file_problem(environ: Mapping[str, str], path: Path | None, dotenv: Mapping[str, str]) -> tuple[str, ...]:
    """What speaks against a file that was taken for an instance's own by its name: it must say so itself.

    A `.env.NAME` may be another thing, the settings for a host of that name for example.
    """
    if path is None or environ.get(ENV_FILE, "").strip() or path.name == ".env":
        return ()
    instance, said = environ.get(_INSTANCE, "").strip(), dotenv.get(_INSTANCE, "").strip()
    if said == instance:
        return ()
    why = f"says INSTANCE={said}" if said else "does not say INSTANCE"
    meant = f"{path} would be the settings of instance {instance}, but {why}"
    return (f"INSTANCE: {meant}; write INSTANCE={instance} into it, or name the right file in ENV_FILE",)


def read_env_file(path: Path, problems: list[str], warnings: list[str] | None = None) -> dict[str, str]:
    """What a `.env` file says: `NAME=value` lines, quotes, `export`, comments, with or without BOM, any line ends.

    `$` stays as it is: a password may hold one. A line that is none of these is a problem, named by its number only,
    for it may be half a secret. A name alone, without `=`, means nothing. Of a name that is set twice the last counts.

    Args:
        path: The file.
        problems: Gets a sentence for each thing that is wrong.
        warnings: Gets a sentence for each variable that is set more than once.
    """
    text = read_env_text(path, problems)
    return {} if text is None else parse_env(text, path, problems, warnings)


def read_env_text(path: Path, problems: list[str]) -> str | None:
    """The text of a `.env` file; None, and a problem more, where it cannot be read."""
    try:
        text = read_regular(path, max_bytes=_MAX_ENV_FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(f"{ENV_FILE}: {path} is not UTF-8 text")
    except FileNotFoundError:
        problems.append(f"{ENV_FILE}: {path} is not a file: it does not exist")
    except UnfitFileError as error:
        problems.append(f"{ENV_FILE}: {path} is not a file of settings: {error.strerror}")
    except OSError as error:
        problems.append(f"{ENV_FILE}: {path} cannot be read ({error.strerror})")
    else:
        if "\0" not in text:
            return text
        problems.append(f"{ENV_FILE}: {path} is not UTF-8 text: it holds null bytes, as UTF-16 does")
    return None


def parse_env(text: str, path: Path, problems: list[str], warnings: list[str] | None = None) -> dict[str, str]:
    """What the text of a `.env` file says. Pure; see `read_env_file`."""
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    set_in: dict[str, list[int]] = {}
    lines: list[int] = []
    doubtful: list[str] = []
    for binding in parse_stream(io.StringIO(text, newline=None)):
        original = binding.original.string
        blank = original[: len(original) - len(original.lstrip())].count(
            "\n"
        )  # the parser counts blank lines before it
        line = binding.original.line + blank
        is_mistyped = binding.value is None and binding.key is not None and not binding.key.isidentifier()
        if binding.error or is_mistyped:  # python-dotenv takes `NAME:value` for a long name
            lines.append(line)
            doubtful.append(original)
        elif binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
            set_in.setdefault(binding.key, []).append(line)
            doubtful += [original] if "\n" in binding.value else []  # a quote left open takes the lines after it in
    may_name = _MAY_NAME_INSTANCE if any(_NAMES_INSTANCE.search(one) for one in doubtful) else ""
    if warnings is not None:
        warnings += [
            f"{name} is set in lines {', '.join(map(str, places))} of {path}; the last one counts"
            for name, places in set_in.items()
            if len(places) > 1 and name in known_names()
        ]
    problems += [f"{ENV_FILE}: line {line} of {path} is not `NAME=value`{may_name}" for line in lines]
    return found


def leaves_instance_unknown(problems: Iterable[str], environ: Mapping[str, str]) -> bool:
    """Whether what is wrong with the settings leaves in doubt which instance is meant.

    A wrong line of the settings file does not, if it cannot be the one that names the instance; nothing in the file
    does where the environment says both which instance it is and where its state lies.
    """
    is_said = all(environ.get(name, "").strip() for name in (_INSTANCE, _STATE_DIR))
    return any(
        problem.startswith((_INSTANCE, _STATE_DIR))
        or (problem.startswith(ENV_FILE) and not is_said and not _OTHER_LINE.match(problem))
        for problem in problems
    )


def read_secret_texts(layers: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """What stands as a secret in these layers, right or wrong, but for what is in files."""
    return tuple(text for layer in layers for name in _list_secrets() if (text := layer.get(name, "").strip()))


@cache
def _list_secrets() -> tuple[str, ...]:
    return *(one.name for one in variables_by_field().values() if one.secret), *sorted(secret_names())


def look_up(variable: Variable, layers: Layers, problems: list[str], *, project_dir: Path) -> tuple[str, str]:
    """The variable's text and where it came from, the first layer that has it; an empty value counts as unset."""
    for source, layer in layers:
        given = layer.get(variable.name, "")
        text = given if variable.kind.exact and given.strip() else given.strip()
        file = layer.get(f"{variable.name}_FILE", "").strip() if variable.secret else ""
        if text and file:
            problems.append(f"{variable.name} and {variable.name}_FILE are both set; only one of them is allowed")
        if text:
            return text, source
        if file:
            return _read_secret_file(variable, file, problems, project_dir), f"{source} ({variable.name}_FILE)"
    return "", "default"


def _read_secret_file(variable: Variable, file: str, problems: list[str], project_dir: Path) -> str:
    # The path is not shown: a password put here by mistake would end up in every log.
    name = f"{variable.name}_FILE"
    try:
        path = project_dir / Path(expand_home(file))
        text = read_regular(path, max_bytes=_MAX_SECRET_BYTES).decode("utf-8-sig").strip()
    except (FileNotFoundError, NotADirectoryError):
        problems.append(f"{name}: names no existing file (what it says is not shown: it might be the secret)")
        return ""
    except UnfitFileError as error:
        problems.append(f"{name}: names no file that can be read: {error.strerror}")
        return ""
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problems.append(f"{name}: the file cannot be read ({reason})")
        return ""
    if not text:
        problems.append(f"{name}: the file is empty")
        return ""
    return text
