"""What a run is for, and what each of its steps is given and returns."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestration.alerts.alert import AlertContent
from orchestration.alerts.channels import ChannelState
from orchestration.errors import StartupFailure, State, StepStatus
from orchestration.gateway.holdings import Holdings, describe_open
from orchestration.gateway.prober import Probe
from orchestration.gateway.runtime import Runtime
from orchestration.settings import Settings
from orchestration.startup.report import Progress, Report, StepReport
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands
from orchestration.system.lock import HeldLock
from orchestration.system.stopped import Stopped


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """Dependencies and options passed to each start-up step.

    Attributes:
        settings: The configuration.
        clock: The door for time.
        commands: The door for programs.
        runtime: Who runs the gateway.
        probe: One look at the gateway's API.
        run_id: The run's id.
        tell: Sends one alert about the current step. Returns at once.
        show: Shows the operator what is being done now.
        show_wait: Shows a wait: elapsed and remaining seconds, and what is waited for.
        log: The run's log.
        read_holdings: Reads what the broker holds, in bounded time.
        replaces_bot: Whether a running bot is to be stopped gracefully first.
        supervises: Whether this process stays with the bot; then a recorded one is adopted.
        revalidates: Whether a supervisor has the gateway that it watches validated again (`RunSpec.revalidates`).
        alert_channels: What is known of each alert channel.
        require_locks: Raises `ALREADY_STARTING` where the run's locks no longer count. Called right before anything is
            started or restarted, or stopped in order to be started again.
    """

    settings: Settings
    clock: Clock
    commands: Commands
    runtime: Runtime
    probe: Probe
    run_id: str
    tell: Callable[[AlertContent], None]
    show: Callable[[str], None]
    show_wait: Callable[[float, float, str], None]
    log: logging.Logger
    read_holdings: Callable[[], Holdings]
    replaces_bot: bool = False
    supervises: bool = False
    revalidates: bool = False
    alert_channels: tuple[ChannelState, ...] = ()
    require_locks: Callable[[], None] = lambda: None

    def describe_open(self) -> str:
        """What is open at the broker now, as a sentence for people."""
        return describe_open(self.read_holdings(), with_amounts=self.settings.show_amounts)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of a step.

    Attributes:
        progress: What the run has made sure of now.
        detail: One sentence for people.
        status: ok, or warn where something is not as it should be.
    """

    progress: Progress
    detail: str
    status: StepStatus = StepStatus.OK


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


_STARTS_NOTHING = frozenset({"preflight", "gameplan.check", "gateway.down", "bot.stop"})
# It waits; the gateway that it may restart is another matter (`RunSpec.may_start`).
_NEEDS_NO_LEASE = _STARTS_NOTHING | {"gateway.wait"}


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a run is for, and how it is opened.

    Attributes:
        kind: The command, for example `startup`; it stands in the journal and in the lock's note.
        steps: Its steps, in order.
        starts: Whether it refuses while another run is under way, as what brings something up does. Otherwise it goes
            first: it ends the other run.
        respects_hold: Whether it refuses while the system is held down.
        follows_record: Whether it acts on the gateway that this instance started, whatever the environment says now.
        replaces_bot: Whether a running bot is to be stopped gracefully first.
        supervises: Whether this process stays with the bot. It then adopts the bot that this instance recorded, or
            stops it and starts it again.
        revalidates: Whether a supervisor runs it on a gateway that it watches. A health check that fails while the API
            works is then a warning, as it is to the supervisor.
        simulate: Whether it runs on the built-in gateway and a sample plan.
        service: Whether a boot service starts it.
        refusal: Why it is over before its first step; None where it may begin.
        supervisor_lock: The supervisor's lock that this process holds; None where it supervises nothing.
        stopped: What was stopped to make way for it.
    """

    kind: str
    steps: tuple[Step, ...]
    starts: bool = True
    respects_hold: bool = True
    follows_record: bool = False
    replaces_bot: bool = False
    supervises: bool = False
    revalidates: bool = False
    simulate: bool = False
    service: bool = False
    refusal: StartupFailure | None = None
    supervisor_lock: HeldLock | None = None
    stopped: tuple[Stopped, ...] = ()

    @property
    def starts_bot(self) -> bool:
        """Whether one of its steps starts the bot."""
        return any(step.name == "bot.start" for step in self.steps)

    @property
    def may_start(self) -> bool:
        """Whether one of its steps may start or restart something; a stop needs no lease."""
        return self.starts and any(step.name not in _STARTS_NOTHING for step in self.steps)

    @property
    def needs_lease(self) -> bool:
        """Whether it can lead to a trade, so that only the host with the instance's lease may do it (LEASE_ETCD)."""
        return self.starts and any(step.name not in _NEEDS_NO_LEASE for step in self.steps)


class Display(Protocol):
    """What shows a run to the operator."""

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
