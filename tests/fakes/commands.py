"""A strict stand-in for the command door: what was not foreseen fails the test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.system.commands import CommandResult, OnLine

Answer = CommandResult | Exception | Callable[[], CommandResult]


@dataclass
class FakeFollowing:
    """A followed program: the test feeds its lines.

    Attributes:
        argv: Program and arguments.
        on_line: Takes its lines.
        last_words: What it says at the moment in which it ends, which is that of the next look.
    """

    argv: tuple[str, ...]
    on_line: OnLine
    last_words: tuple[str, ...] = ()
    _is_running: bool = True

    @property
    def is_running(self) -> bool:
        if self.last_words:
            words, self.last_words, self._is_running = self.last_words, (), False
            self.say(*words)
        return self._is_running

    def say(self, *lines: str) -> None:
        for line in lines:
            self.on_line(line)

    def close(self) -> None:
        self._is_running = False


@dataclass
class FakeCommands:
    """`orchestration.system.commands.Commands` with prepared answers.

    Answers to the same argument list are used up in order; the last one stays. Every call is recorded.
    """

    answers: dict[tuple[str, ...], list[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    environs: list[Mapping[str, str]] = field(default_factory=list)
    followed: list[FakeFollowing] = field(default_factory=list)
    may_follow: set[tuple[str, ...]] = field(default_factory=set)

    def expect(
        self, argv: Sequence[str], answer: Answer | None = None, *, stdout: str = "", exit_code: int = 0
    ) -> None:
        """Prepare one more answer for an argument list; a plain success with `stdout` by default."""
        prepared = answer or CommandResult(argv=tuple(argv), exit_code=exit_code, stdout=stdout)
        self.answers.setdefault(tuple(argv), []).append(prepared)

    def expect_follow(self, argv: Sequence[str]) -> None:
        """Allow this program to be followed."""
        self.may_follow.add(tuple(argv))

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        assert timeout_s > 0, f"no time to run {argv}"
        assert cwd is None or cwd.is_absolute(), f"{cwd} depends on where the program was started"
        key = tuple(argv)
        self.calls.append(key)
        self.environs.append(dict(environ or {}))
        assert key in self.answers, f"unexpected command: {key}; expected one of {sorted(self.answers)}"
        queue = self.answers[key]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        result = answer() if callable(answer) else answer
        if on_line is not None:
            for line in (result.stdout + result.stderr).splitlines():
                on_line(line)
        return result

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> FakeFollowing:
        assert cwd is None or cwd.is_absolute()
        self.environs.append(dict(environ or {}))
        key = tuple(argv)
        assert key in self.may_follow, f"unexpected command to follow: {key}; expected one of {sorted(self.may_follow)}"
        following = FakeFollowing(argv=key, on_line=on_line)
        self.followed.append(following)
        return following
