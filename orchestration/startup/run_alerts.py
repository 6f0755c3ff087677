"""What a run tells: alerts beside its steps, its beginning and its end, and the heartbeat."""

import socket
from datetime import datetime

from orchestration.alerts.alert import Alert, AlertContent, Severity
from orchestration.alerts.delivery import Delivery
from orchestration.alerts.heartbeat import Ping
from orchestration.errors import FailureWord, StartupFailure, is_benign
from orchestration.gateway.readiness import WaitEventKind
from orchestration.hostservice.advice import advise
from orchestration.lease.held import kept_lease
from orchestration.settings import Settings
from orchestration.startup.context import RunSpec
from orchestration.startup.report import Report, Result
from orchestration.system.clock import Clock

_WHOLE_STARTS = frozenset({"startup", "service"})
# What each try says while the second factor is not confirmed.
_TOLD_BY_EARLIER_TRY = frozenset(
    {"STARTUP_BEGUN", FailureWord.GATEWAY_SECOND_FACTOR, WaitEventKind.SECOND_FACTOR_NEEDED}
)
_NOTHING_TO_DO = "Nothing to do; `inv status` shows the present state."


def _describe_lease() -> str:
    lease = kept_lease()
    return "" if lease is None else f" with lease revision {lease.revision}, because {lease.reason}"


class RunAlerts:
    """Tells the operator what a run does. Returns at once, always.

    Args:
        delivery: Sends.
        settings: The configuration.
        spec: What the run is for.
        run_id: Its id.
        clock: Tells the time.
        simulated: Whether the gateway that the run is about is the built-in one, whatever the configuration says now.

    Attributes:
        step: The step that is being performed; empty before the first.
        is_next_try: Whether this is a boot service's next try at a login whose second factor is told once an hour, and
            was told by an earlier try.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        settings: Settings,
        spec: RunSpec,
        run_id: str,
        clock: Clock,
        simulated: bool,
    ) -> None:
        self._delivery = delivery
        self._simulated = simulated
        self._settings = settings
        self._spec = spec
        self._run_id = run_id
        self._clock = clock
        self._has_pinged_start = False
        self.step = ""
        self.is_next_try = False

    def tell(self, content: AlertContent) -> None:
        """Send one alert about the current step."""
        if self.is_next_try and content.cause in _TOLD_BY_EARLIER_TRY:
            return
        self._delivery.send(
            build_alert(
                content,
                self._settings,
                run_id=self._run_id,
                step=self.step or self._spec.kind,
                simulated=self._simulated,
                at=self._clock.now(),
            )
        )

    def tell_begin(self) -> None:
        """The run begins."""
        if self._spec.kind in _WHOLE_STARTS:
            self.tell(
                AlertContent(
                    severity=Severity.INFO,
                    title="Start-up begun",
                    message=f"Starting {self._settings.trading_mode} trading system{_describe_lease()}.",
                    cause="STARTUP_BEGUN",
                    next_action="Nothing to do: another alert says how it ended. Have the phone at hand for the login.",
                )
            )

    def ping_start(self) -> None:
        """The run is past everything that could refuse it: from now on it has an end that the heartbeat hears."""
        if self._spec.kind in _WHOLE_STARTS and not self._has_pinged_start:
            self._has_pinged_start = True
            self._delivery.ping(Ping.START)

    def tell_failure(self, failure: StartupFailure) -> None:
        """The run has failed."""
        stopped = is_benign(failure.word)
        self.tell(
            AlertContent(
                severity=Severity.WARNING if stopped else Severity.CRITICAL,
                title=f"Start-up {'stopped' if stopped else 'failed'}: {failure.word}",
                message=failure.message,
                cause=failure.word,
                next_action=failure.next_action,
                evidence=failure.evidence,
            )
        )

    def tell_end(self, report: Report) -> None:
        """The run has ended. A step that was run alone says nothing: the system is not up yet.

        The heartbeat hears of each end of a start that it heard of. A refused start (it runs already, it is held) is
        none: what was there before goes on as it did.
        """
        if not self._spec.starts:
            return
        has_bot = report.progress.bot is not None
        if report.failure is not None:
            if self._has_pinged_start or not is_benign(report.failure):
                self._delivery.ping(Ping.FAIL, exit_code=int(report.exit_code))
        elif self._has_pinged_start or has_bot:
            self._delivery.ping(Ping.SUCCESS, exit_code=int(report.exit_code))
        bot = report.progress.bot
        if report.failure is not None or bot is None or bot.is_finished:
            return  # a failure, and a bot that has finished, are reported by the process that saw it
        partial = report.result is Result.PARTIAL
        plan = report.progress.plan
        is_expected = not partial or (plan is not None and plan.is_information)  # yesterday's plan on a Sunday is
        self.tell(
            AlertContent(
                severity=Severity.INFO if is_expected else Severity.WARNING,
                title="Operational, on the emergency plan" if partial else "Operational",
                message=report.message,
                cause=report.fallback or "OPERATIONAL",
                next_action=report.next_action or "Nothing to do; `inv status` shows the system.",
            )
        )


def build_alert(
    content: AlertContent, settings: Settings, *, run_id: str, step: str, simulated: bool, at: datetime
) -> Alert:
    """The alert of this instance that says this; its texts name the commands of the installed service.

    Args:
        content: What it says. The delivery redacts it.
        settings: The instance, and how it was installed.
        run_id: The run it belongs to.
        step: The step of that run, or `supervision`.
        simulated: Whether the gateway that it is about is the built-in one.
        at: When it happened; aware.
    """
    return Alert(
        severity=content.severity,
        title=content.title,
        message=advise(content.message, settings),
        cause=content.cause,
        next_action=advise(content.next_action or _NOTHING_TO_DO, settings),
        evidence=content.evidence,
        incident=content.incident,
        host=socket.gethostname(),
        instance=settings.instance,
        run_id=run_id,
        step=step,
        simulated=simulated,
        at=at,
    )
