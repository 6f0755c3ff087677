"""What a run is for, and who shows it: values and a protocol, without any doing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestration.errors import State
from orchestration.startup.context import StepContext, StepResult
from orchestration.startup.report import Progress, Report, StepReport


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a start-up.

    Attributes:
        name: Its task's name.
        state: The state the run is in while it is performed.
        ends_in: The state the run is in after it, where it has one of its own.
        act: What it does.
    """

    name: str
    state: State
    ends_in: State | None = None
    act: Callable[[StepContext, Progress], StepResult]


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a run is for.

    Attributes:
        kind: The command, for example `startup`; it stands in the journal and in the lock's note.
        steps: Its steps, in order.
        starts: Whether it refuses while another run is under way, as what brings something up does. Otherwise it goes
            first: it ends the other run.
        respects_hold: Whether it refuses while the system is held down.
        follows_record: Whether it acts on the gateway that this instance started, whatever the environment says now.
        replaces_bot: Whether a running bot is to be stopped in order first.
        supervises: Whether this process stays with the bot. It then adopts the bot that this instance recorded, or
            stops it and starts it again.
        revalidates: Whether a supervisor runs it on a gateway that it watches. A health check that fails while the API
            works is then a warning, as it is to the supervisor.
    """

    kind: str
    steps: tuple[Step, ...]
    starts: bool = True
    respects_hold: bool = True
    follows_record: bool = False
    replaces_bot: bool = False
    supervises: bool = False
    revalidates: bool = False


class Display(Protocol):
    """What shows a run to a person."""

    def begin(self, *, run_id: str, instance: str, simulated: bool, steps: tuple[Step, ...]) -> None:
        """The run begins."""
        ...

    def begin_step(self, step: Step) -> None:
        """A step begins."""
        ...

    def show(self, text: str) -> None:
        """What is being done now."""
        ...

    def show_wait(self, elapsed_s: float, remaining_s: float, text: str) -> None:
        """What is being waited for, since when and for how much longer, in seconds."""
        ...

    def end_step(self, step: StepReport) -> None:
        """A step has ended."""
        ...

    def end(self, report: Report) -> None:
        """The run has ended."""
        ...
