"""Sends alerts beside the sequence: a start-up is never delayed, and never broken, by the channels it reports to.

`send` stores the alert in the outbox, for each channel that is to have it, and returns. Each channel has a thread of
its own, which takes what waits for it, oldest first, and posts it (`sender`): a channel that hangs or is dead delays no
other one. A critical alert that no channel has taken within five minutes is queued for all of them again, dead ones
included: whatever is known of a channel may be out of date, and this one has to get through.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from orchestration.alerts.alert import Alert, Severity, clean_alert
from orchestration.alerts.channel import Channel, DeliveryLimits, DeliveryReport
from orchestration.alerts.heartbeat import Ping, PingQueue, heartbeat_problem
from orchestration.alerts.outbox import Outbox
from orchestration.alerts.posting import HttpReply
from orchestration.alerts.sender import ChannelSender
from orchestration.alerts.worker import LAST_MOMENT_S, Worker
from orchestration.redaction import Redactor
from orchestration.settings import Secret
from orchestration.system.clock import Clock

__all__ = ["Delivery", "DeliveryLimits", "DeliveryReport", "Outbox"]

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}


class Delivery:
    """Takes alerts and brings them to the channels. One for each run; for one thread besides its own.

    Args:
        channels: Where alerts go (`build_channels`); none: they are logged only. What is for one with a malformed
            address is kept until the address is corrected.
        heartbeat: The heartbeat's address.
        outbox: Where alerts wait, and what came of them is written down.
        clock: Time.
        redactor: Knows the secrets. Every text of an alert is made fit to be shown before it is logged, stored or sent.
        log: Where alerts, and what went wrong with them, are logged.
        limits: How long and how often.
    """

    def __init__(
        self,
        *,
        channels: Sequence[Channel],
        outbox: Outbox,
        clock: Clock,
        redactor: Redactor,
        log: logging.Logger,
        heartbeat: Secret | None = None,
        limits: DeliveryLimits | None = None,
    ) -> None:
        addresses = [] if heartbeat is None else [heartbeat.reveal()]
        self._redactor = redactor.including([*addresses, *(one for channel in channels for one in channel.secrets)])
        self._outbox = outbox
        self._clock = clock
        self._log = log
        self._limits = limits or DeliveryLimits()
        outbox.adopt_alerts([channel.id for channel in channels])
        self._senders = [
            ChannelSender(channel, outbox=outbox, clock=clock, redactor=self._redactor, log=log, limits=self._limits)
            for channel in channels
        ]
        self._pings: PingQueue | None = None
        if heartbeat is not None and heartbeat.reveal().strip() and heartbeat_problem(heartbeat) is None:
            self._pings = PingQueue(heartbeat, request=self._ping_request, clock=clock, log=log, limits=self._limits)
        self._pinger = Worker(
            "heartbeats",
            send_due=self._send_due_ping,
            on_crash=lambda _: None,
            clock=clock,
            log=log,
            limits=self._limits,
        )

    def send(self, alert: Alert, *, is_test: bool = False) -> None:
        """Log an alert, store it, and have it sent. Returns at once.

        Args:
            alert: The alert.
            is_test: Whether it is for every channel, however mild it is.
        """
        alert = clean_alert(alert, self._redactor)
        about = f"{alert.cause}: " if alert.cause and alert.cause not in alert.title else ""
        then = f" Next: {alert.next_action}" if alert.next_action else ""
        self._log.log(_LEVELS[alert.severity], "%s: %s%s%s", alert.title, about, alert.message, then)
        receivers = [one for one in self._senders if is_test or _is_for(alert, one.channel)]
        stored = self._outbox.add_alert(
            run_id=alert.run_id,
            severity=alert.severity.value,
            title=alert.title,
            body=alert.to_json(),
            at=alert.at,
            channels=[one.channel.id for one in receivers],
        )
        if stored is None:
            for one in receivers:
                one.keep(alert)
        self.resume_sending()

    def ping(self, kind: Ping, exit_code: int | None = None) -> None:
        """Send a heartbeat, if there is an address for it. Returns at once; it is never stored."""
        if self._pings is not None:
            self._pings.add(kind, exit_code)
            self._pinger.wake()

    def resume_sending(self) -> None:
        """Try again to send what waits: a new round of tries. A long-lived caller does this now and then."""
        self._repeat_untaken()
        for one in self._senders:
            one.resume()

    def forget_channel_problem(self) -> None:
        """Try channels again that are remembered as dead: the operator asks for it (`inv alert.test`).

        Each stays on record as dead until it takes an alert.
        """
        for one in self._senders:
            one.put_on_trial()

    def close(self, *, timeout_s: float = 10.0) -> DeliveryReport:
        """Give the workers at most `timeout_s` seconds more; what is not sent then stays in the outbox."""
        close_at_s = self._clock.monotonic_s() + max(0.0, timeout_s - LAST_MOMENT_S)
        workers = [self._pinger, *(one.worker for one in self._senders)]
        for worker in workers:
            worker.ask_to_end(close_at_s)
        for worker in workers:
            worker.join()
        end_s = self._clock.monotonic_s() + LAST_MOMENT_S
        for worker in workers:
            worker.join_last(max(0.0, end_s - self._clock.monotonic_s()))
        return _add_up(tuple(one.report() for one in self._senders))

    def _repeat_untaken(self) -> None:
        """A critical alert that no channel took in time is for all of them, dead or not (A0)."""
        until = self._clock.now() - timedelta(seconds=self._limits.repeat_after_s)
        channels = [one.channel.id for one in self._senders]
        taken = frozenset().union(*(one.taken for one in self._senders))
        repeated = self._outbox.repeat_untaken(Severity.CRITICAL.value, until=until, channels=channels, taken=taken)
        if repeated:
            self._log.warning(
                "%d critical alert(s) were not delivered in time; sent to every channel again", len(repeated)
            )
            for one in self._senders:
                one.repeat(repeated)

    def _send_due_ping(self) -> float | None:
        if self._pings is None:
            return None
        next_s = self._pings.next_try_s
        if next_s is not None and self._clock.monotonic_s() >= next_s:
            self._pings.send_first()
        return self._pings.next_try_s

    def _ping_request(self, address: str, document: None) -> HttpReply:
        with self._pinger.begin_try() as one_try:
            return one_try.send(address, document)


def _is_for(alert: Alert, channel: Channel) -> bool:
    """Whether a channel's level asks for an alert."""
    return alert.severity.rank >= channel.least.rank and not (alert.is_progress and channel.skips_progress)


def _add_up(reports: tuple[DeliveryReport, ...]) -> DeliveryReport:
    """One report about all channels."""
    named = len(reports) > 1
    problems = [f"{one.channel}: {one.problem}" if named else one.problem for one in reports if one.problem]
    return DeliveryReport(
        delivered=sum(one.delivered for one in reports),
        failed=sum(one.failed for one in reports),
        pending=sum(one.pending for one in reports),
        problem="; ".join(problems) or None,
        channels=reports,
    )
