"""`docker/stack`: Docker Compose for the whole stack, with the settings read from `.env` by this program's own parser.

Compose has a parser of its own for `--env-file`, which expands `$`: of `TWS_PASSWORD=pa$w0rd#1` it makes `pa#1`, prints
`w0rd` in a warning, and the gateway then logs in with a wrong password again and again. So Compose is given no file:
every setting goes to it in the environment, which it takes as it is. Everything else is Compose's own: the arguments,
the output, the exit code.
"""

import os
import stat
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path

from orchestration.docker.engine import read_context_host
from orchestration.settings import PROJECT_DIR, expand_home, variables_by_field
from orchestration.settings.sources import find_env_file, look_up, read_env_file, read_environment
from orchestration.settings.variables import ENV_FILE
from orchestration.system.commands import SystemCommands

STACK_FILE = PROJECT_DIR / "docker" / "compose.yaml"
_DEFAULT_SOCKET = "/var/run/docker.sock"
# Options of `docker compose` itself that take a value in the next word.
_WITH_VALUE = frozenset(
    {"--ansi", "--env-file", "-f", "--file", "--parallel", "--profile", "--progress", "--project-directory", "-p",
     "--project-name"}
)  # fmt: skip
# Compose writes these between single quotes into the file of settings that bot and monitor read.
_QUOTED = ("DISCORD_WEBHOOK_URL", "ALERT_URLS", "DISCORD_MENTION", "HEARTBEAT_URL")
_USAGE_ERROR = 1
_CONTEXT_TIMEOUT_S = 5.0


class StackError(Exception):
    """Why Compose is not called; a sentence for people, without any value that may be a secret."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `docker compose` on the stack with these arguments, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    environ = read_environment()
    try:
        words = take_env_file(words, environ)
        environ |= build_environ(environ, PROJECT_DIR, find_context_host=_find_context_host)
    except StackError as error:
        sys.stderr.write(f"docker/stack: {error}\n")
        return _USAGE_ERROR
    command = build_argv(words)
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - no shell is wanted; signals must reach Compose itself
    except FileNotFoundError:
        sys.stderr.write("docker/stack: there is no `docker` program on PATH\n")
        return _USAGE_ERROR


def _find_context_host() -> str:
    return read_context_host(SystemCommands(), timeout_s=_CONTEXT_TIMEOUT_S)


def build_argv(words: Sequence[str]) -> tuple[str, ...]:
    """What is run: Compose on the stack's file, unless the arguments name another. Pure."""
    options = [words[index] for index in _find_options(words)]
    names_file = any(word in {"-f", "--file"} or word.startswith("--file=") for word in options)
    file = () if names_file else ("--file", str(STACK_FILE))
    return ("docker", "compose", "--env-file", os.devnull, *file, *words)


def take_env_file(words: Sequence[str], environ: MutableMapping[str, str]) -> list[str]:
    """Take `--env-file` out of the arguments: it names the file that this program reads, like `ENV_FILE`.

    Args:
        words: The arguments.
        environ: Gets `ENV_FILE`. A relative path is one from the present folder, as it is to Compose.

    Raises:
        StackError: It names no file, or there are several.
    """
    found: list[str] = []
    taken: set[int] = set()
    for index in _find_options(words):
        name, has_value, value = words[index].partition("=")
        if name != "--env-file":
            continue
        taken |= {index} if has_value else {index, index + 1}
        found += [value] if has_value else (words[index + 1 : index + 2] or [""])
    if len(found) > 1:
        raise StackError("--env-file is given more than once; one file holds all settings")
    if "" in found:
        raise StackError("--env-file names no file")
    if found:
        environ[ENV_FILE] = str(Path(expand_home(found[0])).absolute())
    return [word for index, word in enumerate(words) if index not in taken]


def build_environ(
    environ: Mapping[str, str], project_dir: Path, *, find_context_host: Callable[[], str] = str
) -> dict[str, str]:
    """What Compose is given beside the environment: every setting of the `.env` file, exactly as it stands there.

    Args:
        environ: The environment, which goes before the file.
        project_dir: Where `.env` is.
        find_context_host: Tells where the engine of the current Docker context is, where no variable says it.

    Raises:
        StackError: The file cannot be read, or a value cannot be handed on as it is.
    """
    problems: list[str] = []
    path = find_env_file(environ, project_dir)
    dotenv = read_env_file(path, problems) if path is not None else {}
    found = {name: value for name, value in dotenv.items() if name not in environ}
    layers = (("environment", environ), (".env", dotenv))
    for variable in variables_by_field().values():
        if variable.secret:  # it may stand in a file of its own
            text, _ = look_up(variable, layers, problems, project_dir=project_dir)
            if text:
                found[variable.name] = text
    problems += [
        f"{name}: a quote or a backslash in it cannot be handed on to a container"
        for name in _QUOTED
        if set(found.get(name, environ.get(name, ""))) & {"'", "\\"}
    ]
    if problems:
        raise StackError("; ".join(problems))
    known = {**environ, **found}
    if not known.get("DOCKER_HOST") and not known.get("DOCKER_SOCKET"):
        known["DOCKER_HOST"] = find_context_host()
    return found | _find_socket(known)


def _find_socket(environ: Mapping[str, str]) -> dict[str, str]:
    """The engine's socket, which the monitor needs, and the group that may use it."""
    host = environ.get("DOCKER_HOST", "")
    path = environ.get("DOCKER_SOCKET", "") or (
        host.removeprefix("unix://") if host.startswith("unix://") else _DEFAULT_SOCKET
    )
    found = {"DOCKER_SOCKET": path}
    try:
        status = Path(path).stat()
    except OSError:  # Docker Desktop keeps it in its own machine: there its group is root's
        return found
    if stat.S_ISSOCK(status.st_mode) and not environ.get("DOCKER_GID", ""):
        found["DOCKER_GID"] = str(status.st_gid)
    return found


def _find_options(words: Sequence[str]) -> list[int]:
    """Where the options of Compose itself stand: before its command, and without their values."""
    found: list[int] = []
    index = 0
    while index < len(words) and words[index].startswith("-"):
        found.append(index)
        index += 2 if words[index] in _WITH_VALUE else 1
    return found


if __name__ == "__main__":
    sys.exit(main())
