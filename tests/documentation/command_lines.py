"""The command lines that the pages show, and what is wrong with them: a task, a flag or a file that does not exist."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from tests.documentation.programs import Program, read_fab, read_inv
from tests.system import PROJECT

# A fenced block, with the word behind its fence; then lines that are code by their indentation; then `code` in a line.
_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4,}(\S.*)$", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMENT = re.compile(r"^\s*#( ?.*)$", re.MULTILINE)
_OTHER_LANGUAGES = frozenset({"json", "mermaid", "ini", "python", "dockerfile", "toml", "yaml"})

_ENDS = frozenset({"|", "||", "&&", "&", ";", ">", "2>", ">>"})
_IN_FRONT = re.compile(r"^(?:sudo|env|exec|flock|time|\$|[A-Z_]+=.*)$")
_ELLIPSIS = frozenset({"…", "..."})
_COMPOSE_COMMANDS = frozenset(
    {"build", "config", "down", "exec", "kill", "logs", "ps", "pull", "restart", "rm", "run", "start", "stop", "up"}
    | {"version"}
)
_COMPOSE_VALUES = frozenset({"-f", "--file", "--env-file", "-p", "--project-name"})
_DOCKER_BUILD_PATHS = frozenset({"-f", "--file"})


@dataclass(frozen=True)
class Line:
    """A command as it stands in a page.

    Attributes:
        page: Where.
        words: The command's words, the program first.
    """

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def list_pages() -> list[Path]:
    """Every file whose commands a reader may type."""
    documents = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), PROJECT / "benchmarks/README.md"]
    commented = [
        PROJECT / ".env.example",
        *(PROJECT / "docker").rglob("*.y*ml"),
        *(PROJECT / "docker").rglob("Dockerfile"),
    ]
    return sorted([*documents, *commented])


def read_lines(page: Path) -> list[Line]:
    """The command lines of a page."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".md":
        text = "\n".join(_COMMENT.findall(text))
    name = str(page.relative_to(PROJECT)) if page.is_relative_to(PROJECT) else page.name
    return [Line(name, words) for code in _read_code(text) for words in _split_commands(code)]


def _read_code(text: str) -> Iterator[str]:
    for language, block in _FENCED.findall(text):
        if language not in _OTHER_LANGUAGES:
            yield from re.sub(r"\\\n\s*", " ", block).splitlines()
    text = _FENCED.sub("", text)
    yield from _INDENTED.findall(text)
    for span in _SPAN.findall(_INDENTED.sub("", text)):
        yield " ".join(span.replace(r"\|", "|").split())


def _split_commands(code: str) -> Iterator[tuple[str, ...]]:
    """The commands of one line that can be checked. `[-f]` is taken for `-f`; what follows an `…` is not there."""
    try:
        words = shlex.split(re.sub(r"\[(-[^\]]*)\]", r"\1", code), comments=True)
    except ValueError:
        return  # no shell would read it: prose, or a piece of something
    command: list[str] = []
    for word in [*words, ";"]:
        bare = word.rstrip(";")
        is_left_out = bare in _ELLIPSIS and not (command and command[-1].startswith("-"))
        if bare and bare not in _ENDS and not is_left_out:
            command.append(bare)
        if word in _ENDS or word != bare:
            found = _recognise(command)
            if found:
                yield found
            command = []
    for word in words:  # a command for another machine's shell is one word of ours
        if " " in word and re.search(r"\b(inv|fab|docker) ", word):
            yield from _split_commands(word)


def _recognise(words: list[str]) -> tuple[str, ...]:
    """The command without what stands in front of it; nothing if it is none of ours."""
    while words and _IN_FRONT.match(words[0]):
        is_as_other = words[0] == "sudo" and words[1:2] == ["-u"]
        words = words[3:] if is_as_other else words[1:]
    if not words:
        return ()
    program = words[0].rsplit("/", 1)[-1]
    if program in {"inv", "fab"} and len(words) > 1:
        return (program, *words[1:])
    if program in {"python", "python3"} and "-m" in words[:-1][:3]:
        return ("python", *words[words.index("-m") + 1 :])
    if (
        words[0].endswith("docker/stack") and len(words) > 1
    ):  # Compose on the whole stack, unless it is told another file
        return ("docker", "compose", *words[1:])
    if program == "docker" and len(words) > 2:
        return ("docker", *words[1:])
    return ("pytest", *words[1:]) if program == "pytest" else ()


def find_problem(line: Line) -> str:
    """What is wrong with a command line; empty if nothing is seen."""
    return _find_problem(line.words)


@cache
def _find_problem(line: tuple[str, ...]) -> str:
    """The same of its words alone: most commands stand in several pages, and a parser takes its time."""
    program, *words = line
    if program == "inv":
        return _check_with(read_inv(), words)
    if program == "fab":
        return _check_with(read_fab(), words)
    if program == "python":
        return _check_module(words)
    if program == "pytest":
        return _check_marks(words)
    if words[0] == "compose":
        return _check_compose(words[1:])
    return _check_docker(words)


def _check_with(program: Program, words: list[str]) -> str:
    # A number stands where the page has a word for one.
    numbers = {"N": "1", "S": "1"}
    return program.find_problem([numbers.get(word, word) for word in words])


def _check_module(words: list[str]) -> str:
    module, *rest = words
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        return f"there is no module {module}"
    if not found.origin.startswith(str(PROJECT)) or "site-packages" in found.origin:
        return ""
    home = Path(found.origin)
    sources = home.parent.glob("*.py") if home.name == "__init__.py" else [home]
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    flags = [word.partition("=")[0] for word in rest if re.match(r"--\w", word)]
    unknown = [flag for flag in flags if f'"{flag}"' not in text]
    return f"{module} has no {', '.join(unknown)}" if unknown else ""


def _check_marks(words: list[str]) -> str:
    known = re.findall(r'^  "(\w+)', (PROJECT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    asked = [after for word, after in pairwise(words) if word == "-m"]
    unknown = [
        word for marks in asked for word in re.findall(r"\w+", marks) if word not in {*known, "not", "or", "and"}
    ]
    return f"there is no marker {', '.join(unknown)}" if unknown else ""


def _check_compose(words: list[str]) -> str:
    files: list[str] = []
    while words and words[0].startswith("-"):
        if words[0] in _COMPOSE_VALUES and len(words) > 1:
            files += [words[1]] if words[0] in {"-f", "--file"} else []
            words = words[1:]
        words = words[1:]
    missing = [file for file in files if not (PROJECT / file).is_file()]
    if missing:
        return f"there is no {', '.join(missing)}"
    if not words:
        return ""
    command, *rest = words
    if command not in _COMPOSE_COMMANDS:
        return f"Compose has no command {command}"
    named = [word for word in rest if re.fullmatch(r"[a-z][a-z-]*", word)]
    if command in {"run", "exec"}:
        named = named[:1]
    services = {service for file in files for service in read_services(PROJECT / file)} or read_all_services()
    unknown = [word for word in named if word not in services]
    return f"there is no service {', '.join(unknown)}" if unknown else ""


def _check_docker(words: list[str]) -> str:
    command, *rest = words
    if command == "build":
        paths = [after for word, after in pairwise(rest) if word in _DOCKER_BUILD_PATHS]
        missing = [path for path in paths if not (PROJECT / path).is_file()]
        return f"there is no {', '.join(missing)}" if missing else ""
    if command not in {"exec", "logs"}:
        return ""
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in {"--tail", "-n", "-u", "--user"} else rest[1:]
    if not rest or rest[0] not in read_container_names():
        return f"no container of ours is named {' '.join(rest[:1])}"
    return _check_with(read_inv(), rest[2:]) if rest[1:2] == ["inv"] else ""


def read_services(file: Path) -> set[str]:
    """The services of a Compose file, and of those that it includes."""
    text = file.read_text(encoding="utf-8")
    included = [word.strip() for match in re.findall(r"path: \[?([^\]\n]+)", text) for word in match.split(",")]
    block = re.search(r"^services:\n((?:(?: .*|#.*|)\n)*)", text, re.MULTILINE)
    mine = set(re.findall(r"^  ([\w-]+):", block[1], re.MULTILINE)) if block else set()
    return mine.union(*(read_services(file.parent / name) for name in included))


@cache
def read_all_services() -> set[str]:
    """The services of all our Compose files together."""
    return read_services(PROJECT / "docker/compose.yaml")


@cache
def read_container_names() -> set[str]:
    """What our containers are called by default."""
    files = (PROJECT / "docker").rglob("*.y*ml")
    return {
        name for file in files for name in re.findall(r"container_name: \$\{\w+:-([\w-]+)\}", file.read_text("utf-8"))
    }
