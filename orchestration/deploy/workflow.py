"""One command on one host: its steps with their times, the lock that it holds, and what came of it."""

import contextlib
import dataclasses
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.deploy.errors import DeployError
from orchestration.deploy.host import Activated, Host
from orchestration.system.clock import Clock

if TYPE_CHECKING:
    from orchestration.deploy.connection import HeldProgram

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class DeployStep:
    """One step that has ended.

    Attributes:
        name: What it was.
        ok: Whether it came to what it should.
        duration_s: How long it took.
    """

    name: str
    ok: bool
    duration_s: float


@dataclass(kw_only=True)
class Outcome:
    """What came of one command on one host.

    Attributes:
        host: What the operator calls it.
        action: `deploy`, `rollback`, `provision`, `status`.
        ok: Whether it came to what was asked.
        result: A word: `deployed`, `nothing_new`, `would_deploy`, `went_back`, …
        release: The current release at the end; empty if unknown or none.
        message: One sentence.
        next_action: What the operator should do next; empty for nothing.
        evidence: Lines that show the problem.
        steps: With their times, in order.
        changes: Lines: what changed, or would.
        replaces: The commit of the previously active release; empty if unknown or none.
        difference: Lines of a unified difference to that, for a dry run.
        gap_s: Seconds from the start's command until all was good.
        round_trips: Programs run on the host.
        document: What else there is for programs.
    """

    host: str
    action: str
    ok: bool = False
    result: str = "failed"
    release: str = ""
    message: str = ""
    next_action: str = ""
    evidence: tuple[str, ...] = ()
    steps: list[DeployStep] = field(default_factory=list)
    changes: tuple[str, ...] = ()
    replaces: str = ""
    difference: tuple[str, ...] = ()
    gap_s: float | None = None
    round_trips: int = 0
    document: dict[str, Any] | None = None

    def take_unexpected(self, error: Exception) -> None:
        """Turn an unexpected error into the outcome: one line, and where it came from."""
        place = traceback.extract_tb(error.__traceback__)[-1:]
        self.ok, self.message = False, f"unexpected {type(error).__name__}: {error}"
        self.next_action = "This is a fault of this program; please report these lines."
        self.evidence = tuple(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in place)


@dataclass(frozen=True, kw_only=True)
class DeployOptions:
    """What `deploy` was asked for.

    Attributes:
        dry_run: Only look and say.
        env: The settings to bring along; None to leave those there.
        wheels: An archive of packages; None to let the host ask its index.
        timeout_s: For how long the system may take until it is good.
        by: Who asks.
        keeps_settings: Whether a rollback leaves the settings as they are.
        discredits: Whether a rollback marks the release that it leaves as failed.
    """

    dry_run: bool = False
    env: bytes | None = None
    wheels: bytes | None = None
    timeout_s: float = 600.0
    by: str = ""
    keeps_settings: bool = False
    discredits: bool = False


class Workflow:
    """The steps of one command on one host, timed and reported as they end."""

    def __init__(
        self,
        host: Host,
        action: str,
        *,
        clock: Clock,
        on_step: Callable[[DeployStep], None],
        on_begin: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.host = host
        self.clock = clock
        self.outcome = Outcome(host=host.name, action=action)
        self._tell, self._tell_of_begin = on_step, on_begin
        self.under_way = False
        self._begun: list[str] = []  # the steps that have begun, in order
        self._interrupt_lock = threading.Lock()
        self._has_begun = self._is_interrupted = self._has_acted = False
        self.deploy_id = uuid.uuid4().hex  # by which the host knows, right before it acts, that the lock is still ours
        self._held: HeldProgram | None = None
        host.on_step = lambda name, ok, duration_s: self._add(DeployStep(name=name, ok=ok, duration_s=duration_s))

    def step(self, name: str, act: Callable[[], _Result]) -> _Result:
        """Perform one step.

        Raises:
            DeployError: The host's lock is no longer ours.
        """
        if self._is_interrupted and not self._has_acted:
            raise DeployError(_INTERRUPTED, next_action="")
        self.check_lock()
        self._begun.append(name)
        self._tell_of_begin(name)
        began_s = self.clock.monotonic_s()
        ok = False
        try:
            result = act()
            ok = True
        finally:
            self._add(DeployStep(name=name, ok=ok, duration_s=self.clock.monotonic_s() - began_s))
        return result

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """Whatever stops the steps becomes the outcome."""
        outcome = self.outcome
        self._has_begun = True
        try:
            yield
        except DeployError as error:
            self.take_refusal(error)
        except KeyboardInterrupt:
            self._take_interrupt()
            raise
        except Exception as error:  # noqa: BLE001 - one host's failure, whatever it is, does not stop the next
            outcome.take_unexpected(error)
        finally:
            self.outcome.round_trips = self.host.remote.round_trips

    def take_refusal(self, error: DeployError) -> None:
        """Make why it does not go on the outcome."""
        outcome, advise = self.outcome, self.host.advise
        outcome.ok, outcome.message = False, advise(error.message)
        outcome.next_action = advise(error.next_action)
        outcome.evidence = tuple(advise(line) for line in error.evidence)

    def begin_to_act(self) -> None:
        """From here on something on the host is changed.

        Raises:
            DeployError: Ctrl-C came before.
        """
        with self._interrupt_lock:
            if self._is_interrupted:
                raise DeployError(_INTERRUPTED, next_action="")
            self._has_acted = True

    def interrupt(self) -> bool:
        """Ctrl-C, from another thread: nothing begins any more, and the `inv` that runs there is asked to end.

        Returns:
            Whether something there was begun before.
        """
        with self._interrupt_lock:
            self._is_interrupted = True
        if self._has_acted:
            self.host.remote.interrupt()
        return self._has_acted

    def explain_interrupt(self) -> None:
        """Make what Ctrl-C did here the outcome, unless the host's own outcome is known."""
        outcome = self.outcome
        if outcome.ok or (outcome.message and not self._is_interrupted):
            return
        if outcome.message and self._has_acted:  # the host said itself what it did before it ended
            outcome.result = "interrupted"
            outcome.next_action = outcome.next_action or f"fab -H {outcome.host} status"
            return
        self._take_interrupt()

    def _take_interrupt(self) -> None:
        outcome = self.outcome
        if outcome.ok:  # its own part was done, and what comes after it was not: a hook, a planned fail-over
            outcome.message += "; interrupted here after that"
            return
        outcome.ok, outcome.result = False, "interrupted"
        outcome.next_action = f"fab -H {outcome.host} status"
        if self.under_way:
            why = "the host continues by itself, to the new release or back to the previous one"
        elif self._has_acted:
            why = "nothing was heard since of what had begun there, so it may be half done"
        elif outcome.action == "provision" and _PROVISION in self._begun:
            why = "what had begun there may still be going on"
            outcome.next_action = f"Wait a moment, then: fab -H {outcome.host} provision (it does what is missing)."
        else:
            why = "it had not answered yet" if outcome.action in _ONLY_LOOKS else "nothing that runs there was touched"
            outcome.next_action = ""
            outcome.result = "interrupted" if self._has_begun else _NOT_BEGUN
        outcome.message = f"{_INTERRUPTED if self._has_begun else _BEFORE_ITS_TURN}: {why}"

    @contextlib.contextmanager
    def locked(self, by: str) -> Iterator[None]:
        """Hold the host's lock; an activation left behind is waited for."""
        since = self.clock.now().isoformat(timespec="seconds")
        holder = {"by": by, "since": since, "action": self.outcome.action, "deploy_id": self.deploy_id}
        self._held = self.step("lock", lambda: self.host.lock(holder))
        try:
            yield
        finally:
            self._held.release()
            self._held = None

    def check_lock(self) -> None:
        """See that the lock, once taken, is still held: a computer that slept has lost it to the next holder.

        Raises:
            DeployError: It is not.
        """
        if self._held is not None and not self._held.is_held:
            raise DeployError(
                "the host's lock was lost: nothing was heard from here for a minute, or its file was removed there",
                next_action="Deploy again. Nothing that runs was touched.",
            )

    def take(self, activated: Activated) -> None:
        """Make an activation's result the outcome's."""
        outcome = self.outcome
        outcome.release, outcome.gap_s = activated.current, activated.gap_s
        outcome.ok = activated.outcome == "good"
        outcome.message, outcome.next_action = activated.message, activated.next_action
        outcome.evidence = activated.evidence
        if not outcome.ok:
            outcome.result = activated.outcome
            outcome.message = f"{activated.message}; {_describe_afterwards(activated)}"

    def _add(self, step: DeployStep) -> None:
        self.outcome.steps.append(step)
        self._tell(step)


_INTERRUPTED = "interrupted here"
_BEFORE_ITS_TURN = "interrupted before its turn"
_NOT_BEGUN = "not_begun"
_ONLY_LOOKS = {"status", "audit", "logs"}
_PROVISION = "provision"

_AFTERWARDS = {
    "kept": "nothing was touched, {} runs on",
    "went_back": "it went back to {}, which runs again",
    "went_back_not_good": "the rollback failed: {} is the current release, AND IT IS NOT HEALTHY: look at the host now",
    "stopped": "there is no earlier release to go back to: bot and gateway are stopped, and do not start at boot",
}


def _describe_afterwards(activated: Activated) -> str:
    if activated.outcome == "kept" and not activated.current:
        return "nothing was started"
    return _AFTERWARDS[activated.outcome].format(activated.current)


def build_not_begun(host: str, action: str) -> Outcome:
    """The outcome of a host whose turn had not come when Ctrl-C was pressed."""
    message = f"{_BEFORE_ITS_TURN}: nothing that runs there was touched"
    return Outcome(host=host, action=action, result=_NOT_BEGUN, message=message)


def build_json(outcome: Outcome, *, now: datetime) -> dict[str, Any]:
    """One host's part of the JSON document."""
    return {**dataclasses.asdict(outcome), "at": now.isoformat(timespec="seconds")}
