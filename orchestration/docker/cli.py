"""The door to Docker's command line: commands that look, commands that change something, and what their failures mean.

A look that fails because no engine answers is `DOCKER_UNAVAILABLE`; looking again may help. A change is made once and
never tried again.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from orchestration.docker import container, engine
from orchestration.docker.engine import EngineProbe, EngineProblem
from orchestration.errors import FailureWord, StartupFailure
from orchestration.redaction import LINE_LIMIT, clean_line, clean_lines, redactor_for
from orchestration.system.clock import Clock
from orchestration.system.commands import (
    CommandNotFoundError,
    CommandResult,
    Commands,
    CommandTimedOutError,
    Following,
)

CHANGE_TIMEOUT_S = 120.0  # making and starting one container; the image is there by then


_T = TypeVar("_T")
_BETWEEN_ENGINE_LOOKS_S = 1.0
_EVIDENCE_LINES = 10


class DockerCli:
    """Runs docker commands.

    Args:
        commands: The door for programs.
        read_timeout_s: Seconds that a look may take.
        secrets: What must not be shown of their output.
        start_failure: The word for a container that could not be started or stopped.
    """

    def __init__(
        self, commands: Commands, *, read_timeout_s: float, secrets: Sequence[str], start_failure: FailureWord
    ) -> None:
        self._commands = commands
        self._read_timeout_s = read_timeout_s
        self._redactor = redactor_for(tuple(secrets))
        self._start_failure = start_failure

    def protect(self, secrets: Sequence[str]) -> None:
        """From now on these are not shown either: a container, or a folder's `.env`, may hold secrets of its own."""
        self._redactor = self._redactor.including(secret for secret in secrets if secret.strip())

    def probe_engine(self) -> EngineProbe:
        """Look at the engine and Compose. Raises nothing."""
        return engine.probe_engine(self._commands, timeout_s=self._read_timeout_s)

    def inspect(self, reference: str, parse: Callable[[str], tuple[_T, ...]]) -> tuple[_T, ...]:
        """Look at one container by name or id; nothing if there is none.

        Args:
            reference: Its name, or its id. The engine also takes the beginning of an id, so a name that looks like one
                needs a look at the name that comes back.
            parse: Reads what the engine prints.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        result = self.look(container.inspect_argv(reference))
        if not result.ok:
            # Any other complaint (an engine that is going down) must not be taken for "there is none".
            if "no such container" in (result.stderr + result.stdout).lower():
                return ()
            raise build_engine_failure(describe(result))
        try:
            return parse(result.stdout)
        except ValueError as error:
            raise build_engine_failure(engine.describe_problem(EngineProblem.ENGINE_DOWN, str(error))) from error

    def wait_for_engine(self, timeout_s: float, *, clock: Clock, on_progress: Callable[[str], None]) -> EngineProbe:
        """Wait up to `timeout_s` seconds for the engine; one look at least.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`: not there in time, or for a reason that waiting does not fix.
        """
        deadline_s = clock.monotonic_s() + timeout_s
        while True:
            found = self.probe_engine()
            if found.problem is None:
                return found
            left_s = deadline_s - clock.monotonic_s()
            if left_s <= 0 or not found.is_waitable:
                raise build_engine_failure(found)
            on_progress(f"waiting for the Docker engine, {left_s:.0f} s left: {found.detail}")
            clock.sleep(min(_BETWEEN_ENGINE_LOOKS_S, left_s))

    def find_ids(self, *, project: str, service: str) -> tuple[str, ...]:
        """The ids of all containers of this Compose service, stopped ones too, newest first.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        found = self.look(container.find_by_labels_argv(project=project, service=service))
        if not found.ok:
            raise build_engine_failure(describe(found))
        return tuple(found.stdout.split())

    def find_ids_by_label(self, name: str, value: str) -> tuple[str, ...]:
        """The ids of the running containers (paused ones too) that bear a label with this very value.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        found = self.look(container.find_by_label_argv(name, value))
        if not found.ok:
            raise build_engine_failure(describe(found))
        return tuple(found.stdout.split())

    def look(self, argv: Sequence[str]) -> CommandResult:
        """Run a command that only looks.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        try:
            result = self._commands.run(argv, timeout_s=self._read_timeout_s)
        except CommandNotFoundError as error:
            raise _cli_missing() from error
        except CommandTimedOutError as error:
            detail = f"the Docker engine did not answer within {self._read_timeout_s:g} s"
            raise build_engine_failure(engine.describe_problem(EngineProblem.ENGINE_DOWN, detail)) from error
        _raise_if_engine_failed(result)
        return result

    def change(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = CHANGE_TIMEOUT_S,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Run a command that changes something, once. What it complains of is for the caller to judge.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`; that of a failed start: it did not end in time.
        """
        try:
            result = self._commands.run(argv, timeout_s=timeout_s, cwd=cwd, environ=environ, on_line=on_line)
        except CommandNotFoundError as error:
            raise _cli_missing() from error
        except CommandTimedOutError as error:
            raise self.build_start_failure(
                f"`{_shorten(argv)}` did not end within {timeout_s:g} s",
                evidence=self.clean_lines(error.last_lines, last=_EVIDENCE_LINES),
                next_action="Look at `docker ps -a` and at the connection, then try again.",
            ) from error
        _raise_if_engine_failed(result)
        return result

    def follow(self, argv: Sequence[str], on_line: Callable[[str], None]) -> Following:
        """Start a command that goes on, and hand on its lines.

        Raises:
            StartupFailure: `DOCKER_UNAVAILABLE`.
        """
        try:
            return self._commands.follow(argv, on_line=on_line)
        except CommandNotFoundError as error:
            raise _cli_missing() from error

    def build_start_failure(
        self, message: str, *, evidence: Sequence[str] = (), next_action: str = ""
    ) -> StartupFailure:
        """The failure of a start, without secrets."""
        return StartupFailure(
            self._start_failure,
            clean_line(message, self._redactor),
            next_action=next_action or "Read Docker's own words; `docker ps -a` shows the container.",
            evidence=self.clean_lines(evidence),
        )

    def clean_lines(self, lines: Sequence[str] | str, *, last: int | None = None) -> tuple[str, ...]:
        """Lines of a container or of Docker itself, fit to be shown; only the `last` ones, if that is given."""
        return clean_lines(lines, self._redactor, last=last)

    def clean_line(self, line: str) -> str:
        """One such line."""
        return clean_line(line, self._redactor, limit=LINE_LIMIT)


def build_engine_failure(found: EngineProbe) -> StartupFailure:
    """A `DOCKER_UNAVAILABLE` that says what was found."""
    return StartupFailure(
        FailureWord.DOCKER_UNAVAILABLE, f"Docker cannot be used: {found.detail}", next_action=found.next_action
    )


def describe(result: CommandResult) -> EngineProbe:
    """What a failed look says about the engine."""
    lines = clean_lines(result.output, last=1)
    return engine.describe_problem(engine.classify_engine_error(result), lines[0] if lines else "no words")


def _raise_if_engine_failed(result: CommandResult) -> None:
    if engine.is_engine_error(result):
        raise build_engine_failure(describe(result))


def _cli_missing() -> StartupFailure:
    detail = "there is no `docker` program on PATH"
    return build_engine_failure(engine.describe_problem(EngineProblem.CLI_MISSING, detail))


def _shorten(argv: Sequence[str]) -> str:
    """Program and verb, without the options between them."""
    verbs = [word for word in argv[1:] if word in {"up", "pull", "config", "start", "stop", "restart", "rm", "unpause"}]
    return " ".join([argv[0], *(["compose"] if "compose" in argv else []), *verbs[:1]])
