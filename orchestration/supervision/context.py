"""The dependencies of a supervisor or a monitor: what it watches with, and what it may do."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestration.alerts.alert import AlertContent
from orchestration.alerts.delivery import Delivery
from orchestration.gateway.holdings import Holdings
from orchestration.gateway.runtime import Runtime
from orchestration.journal import Journal
from orchestration.settings import GatewayRuntime, Settings
from orchestration.startup.report import Report
from orchestration.startup.run_alerts import build_alert
from orchestration.supervision import Decision, Notice, Observation
from orchestration.supervision.host_notifier import HostNotifier
from orchestration.system.clock import Clock
from orchestration.system.lock import HeldLock


class WatchDisplay(Protocol):
    """What shows the watch to the operator."""

    def look(self, observation: Observation, decision: Decision) -> None:
        """One look, and what was decided."""
        ...

    def tell(self, notice: Notice) -> None:
        """Something was said to the operator."""
        ...

    def close(self) -> None:
        """The watch is over."""
        ...


Restart = Callable[[], Report]
"""Runs the validated part of the sequence again: gateway, plan, bot."""


@dataclass(frozen=True, kw_only=True)
class SupervisorContext:
    """Dependencies and options passed to a supervisor or a monitor.

    Attributes:
        settings: The configuration.
        runtime: Who runs the gateway.
        clock: Tells the time.
        journal: Where events are written down.
        delivery: Sends alerts.
        host: The host's service manager.
        display: What shows the watch.
        restart: Runs the validated sequence again; None for a monitor, which never touches the bot.
        run_id: The run that started the bot.
        log: The log.
        read_holdings: Reads what the broker holds, in bounded time.
        lock: The lock of this supervisor or monitor; None where it could not be taken.
    """

    settings: Settings
    runtime: Runtime
    clock: Clock
    journal: Journal
    delivery: Delivery
    host: HostNotifier
    display: WatchDisplay
    restart: Restart | None
    run_id: str
    log: logging.Logger
    read_holdings: Callable[[], Holdings]
    lock: HeldLock | None = None

    def send_alert(self, content: AlertContent) -> None:
        """Send an alert on every channel that takes one of its severity."""
        alert = build_alert(
            content,
            self.settings,
            run_id=self.run_id,
            step="supervision",
            simulated=self.runtime.kind is GatewayRuntime.SIMULATOR,
            at=self.clock.now(),
        )
        self.delivery.send(alert)
