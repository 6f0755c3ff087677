"""A strict stand-in for the door to a host: what was not foreseen fails the test."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestration.deploy.connection import RemoteResult
from orchestration.deploy.errors import DeployError

Answer = Mapping[str, Any] | DeployError


@dataclass
class FakeHeld:
    """A held program."""

    is_held: bool = True

    def release(self) -> None:
        self.is_held = False


@dataclass
class FakeRemote:
    """`orchestration.deploy.connection.Remote` with prepared answers for the commands that run on the host.

    Answers to the same command are used up in order; the last one stays. Every call is recorded.
    `on_inv` takes the words of an `inv` there, and gives its exit code and its output.
    """

    name: str = "rackmount"
    user: str = "ann"
    answers: dict[str, list[list[Answer]]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    argvs: list[tuple[str, ...]] = field(default_factory=list)
    locked_by: str = ""
    held: FakeHeld | None = None
    opening: DeployError | None = None
    dies_with: str = ""
    dies_with_code: int = 1
    loses_lock_at: str = ""
    on_inv: Callable[..., tuple[int, str]] | None = None
    is_interrupted: bool = False

    def expect(self, command: str, *documents: Answer) -> None:
        """Prepare one more answer: the lines it says, as documents, the last one its result."""
        self.answers.setdefault(command, []).append(list(documents))

    @property
    def commands(self) -> list[str]:
        return [command for command, _ in self.calls]

    @property
    def round_trips(self) -> int:
        return len(self.argvs)

    def open(self) -> None:
        if self.opening is not None:
            raise self.opening

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None, on_line: Callable[[str], None], timeout_s: float
    ) -> RemoteResult:
        assert timeout_s > 0, f"no time to run {argv}"
        self.argvs.append(tuple(argv))
        if self.dies_with:
            return RemoteResult(code=self.dies_with_code, out="", err=self.dies_with)
        if "deploy-inv" in argv:
            assert self.on_inv is not None, f"unexpected: {argv}"
            words = argv[argv.index("deploy-inv") + 2 :]
            self.calls.append(("inv", {"words": list(words)}))
            code, said = self.on_inv(*words)
            return RemoteResult(code=code, out=said, err="")
        assert stdin is not None, f"an input that stays open for {argv}"
        length = int(argv[-1])
        arguments = json.loads(stdin[:length])["arguments"]
        command = arguments.pop("command")
        assert command in self.answers, f"unexpected command: {command}; expected one of {sorted(self.answers)}"
        self.calls.append((command, arguments))
        if command == self.loses_lock_at and self.held is not None:
            self.held.is_held = False
        self.uploads[command] = stdin[length:]
        queue = self.answers[command]
        for answer in queue.pop(0) if len(queue) > 1 else queue[0]:
            if isinstance(answer, DeployError):
                raise answer
            on_line(json.dumps(answer))
        return RemoteResult(code=0, out="", err="")

    def interrupt(self) -> None:
        self.is_interrupted = True

    def hold(self, argv: Sequence[str], *, until: str) -> tuple[str, FakeHeld | None]:
        self.argvs.append(tuple(argv))
        if self.locked_by:
            return self.locked_by, None
        self.held = FakeHeld()
        return until, self.held
