"""The dependencies and options passed to each start-up step, and the result that it returns."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestration.alerts.alert import Severity
from orchestration.alerts.channels import ChannelState
from orchestration.errors import StepStatus
from orchestration.gateway.holdings import Holdings, describe_open
from orchestration.gateway.prober import Probe
from orchestration.gateway.runtime import Runtime
from orchestration.settings import Settings
from orchestration.startup.report import Progress
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands


class Tell(Protocol):
    """Sends one alert about the current step. Returns at once."""

    def __call__(
        self,
        severity: Severity,
        title: str,
        message: str,
        *,
        cause: str,
        next_action: str,
        evidence: tuple[str, ...] = (),
    ) -> None:
        """Send it."""
        ...


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
        tell: Sends an alert.
        show: Shows a person what is being done now.
        show_wait: Shows a wait: elapsed and remaining seconds, and what is waited for.
        log: The run's log.
        read_holdings: Reads what the broker holds, in bounded time.
        replaces_bot: Whether a running bot is to be stopped in order first.
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
    tell: Tell
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
