"""Alerts and journal events of a host that stands by, which has no run, and so no journal or delivery, of its own."""

import logging

from orchestration.alerts.alert import AlertContent
from orchestration.alerts.channels import build_channels
from orchestration.alerts.delivery import Delivery
from orchestration.journal import Journal
from orchestration.redaction import Redactor
from orchestration.settings import GatewayRuntime, Settings
from orchestration.startup.run_alerts import build_alert
from orchestration.state_dir import journal_path
from orchestration.system.clock import Clock

_SEND_TIMEOUT_S = 5.0


class StandbyAlerts:
    """Writes to the journal, and sends alerts. Its methods may be called from any thread.

    What cannot be sent within 5 s stays in the outbox for the next run.

    Args:
        settings: Which instance, and where alerts go.
        clock: Tells the time.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._redactor = Redactor(settings.secrets)
        self._log = logging.getLogger("orchestration.alerts")

    def note(self, kind: str, message: str, *, revision: int = 0) -> None:
        """Write an event to the journal."""
        with self._open() as journal:
            journal.add_event("", kind, {"revision": revision, "message": message})

    def tell(self, content: AlertContent) -> None:
        """Send an alert."""
        settings = self._settings
        alert = build_alert(
            content,
            settings,
            run_id="",
            step="supervision",
            simulated=settings.gateway_runtime is GatewayRuntime.SIMULATOR,
            at=self._clock.now(),
        )
        with self._open() as journal:
            delivery = Delivery(
                channels=build_channels(settings),
                heartbeat=None,
                outbox=journal,
                clock=self._clock,
                redactor=self._redactor,
                log=self._log,
            )
            delivery.send(alert)
            delivery.close(timeout_s=_SEND_TIMEOUT_S)

    def _open(self) -> Journal:
        path = journal_path(self._settings.state_dir)
        return Journal.open(path, clock=self._clock, log=self._log, redactor=self._redactor)
