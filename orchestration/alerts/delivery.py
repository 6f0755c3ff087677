"""Sends alerts beside the sequence: a start-up is never delayed, and never broken, by the channel it reports to.

`send` stores the alert in the outbox and returns. A daemon thread takes what waits there, oldest first, and posts it.

* Between the claim and the mark `delivered` stands the post itself. A process killed there leaves a claim; whoever
  finds it sends the alert again, marked as a possible repeat: at least once, and twice only where nobody can know.
* A lock of the operating system is held around each post, so that two processes that share an outbox neither send the
  same alert twice nor overtake each other. It is never held while waiting.
* Nothing retries for ever: after `tries_per_round` failures in a row the rest stays in the outbox until there is a new
  alert, `resume_sending` is called, or the next run comes.
* An alert that is refused (400, 413 and the like) waits until it is known what is at fault. If the channel takes the
  next one, the alert is; it has failed. If the channel refuses that one too, the channel is: it is dead, both are kept,
  and nothing more is tried until the operator has a test alert sent. What is known of the channel stands in the outbox,
  for a run has often no more than one alert to send.
"""

import contextlib
import logging
import os
import threading
from collections import deque
from datetime import timedelta

from orchestration.alerts.alert import Alert, Severity, clean_alert
from orchestration.alerts.backlog import fold_backlog
from orchestration.alerts.channel import (
    ChannelProblems,
    DeliveryLimits,
    DeliveryReport,
    Verdict,
    channel_key,
    channel_problem,
    judge_status,
)
from orchestration.alerts.discord import build_payload, build_post_address, webhook_problem
from orchestration.alerts.heartbeat import Ping, PingQueue, heartbeat_problem
from orchestration.alerts.outbox import Outbox, Waiting
from orchestration.alerts.posting import Cutoff, NotSentError, Reply, send_request
from orchestration.redaction import Redactor, clean_line
from orchestration.settings import Secret
from orchestration.system.clock import Clock, describe_time_of_day

__all__ = ["ChannelProblems", "Delivery", "DeliveryLimits", "DeliveryReport", "Outbox", "channel_problem"]

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}
_IDLE_S = 3600.0  # how long the worker sleeps between looks when nothing is due; every `send` wakes it
_TOO_MANY = 429
_REASON_LENGTH = 200  # of what the channel says about a refusal
_NEW_ADDRESS = "set DISCORD_WEBHOOK_URL to a new one, then run `inv alert.test`"
_LAST_MOMENT_S = 0.2  # of the time to close: for a request that was cut off to be written down


class Delivery:
    """Takes alerts and brings them to the channel. One for each run; for one thread besides its own.

    Args:
        webhook: The channel's address; None or an unusable one: alerts are logged only.
        mention: Whom critical alerts ping (`DISCORD_MENTION`).
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
        webhook: Secret | None,
        outbox: Outbox,
        clock: Clock,
        redactor: Redactor,
        log: logging.Logger,
        mention: Secret | None = None,
        heartbeat: Secret | None = None,
        limits: DeliveryLimits | None = None,
    ) -> None:
        self._redactor = redactor.including(one.reveal() for one in (webhook, heartbeat) if one is not None)
        self._webhook = webhook if webhook_problem(webhook) is None else None
        self._key = "" if self._webhook is None else channel_key(self._webhook)
        self._mention = mention
        self._keeps_for_later = webhook is not None and bool(webhook.reveal().strip())
        self._outbox = outbox
        self._clock = clock
        self._log = log
        self._limits = limits or DeliveryLimits()
        self._pings: PingQueue | None = None
        if heartbeat is not None and heartbeat.reveal().strip() and heartbeat_problem(heartbeat) is None:
            self._pings = PingQueue(heartbeat, request=self._request, clock=clock, log=log, limits=self._limits)

        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._unsaved: deque[Alert] = deque()  # the outbox could not take these
        self._unsaved_refused: list[Alert] = []  # of these, what the channel refused
        self._cutoff: Cutoff | None = None
        self._close_at_s: float | None = None

        # The worker's own.
        self._done: set[int] = set()  # settled here, whatever the outbox could write down
        self._refused: set[int] = set()  # refused here, likewise
        self._problem = channel_problem(outbox, webhook)
        self._is_dead = self._webhook is not None and self._problem is not None
        self._is_death_recorded = self._is_dead
        self._is_on_trial = False  # dead, and tried all the same: the operator asked for it
        self._has_work = False
        self._failures = 0
        self._next_alert_s = 0.0
        self._asked_until_s = 0.0  # the channel itself asked for quiet until then
        self._delivered = 0
        self._failed = 0

    def send(self, alert: Alert) -> None:
        """Log an alert, store it, and have it sent. Returns at once."""
        alert = clean_alert(alert, self._redactor)
        about = f"{alert.cause}: " if alert.cause and alert.cause not in alert.title else ""
        then = f" Next: {alert.next_action}" if alert.next_action else ""
        self._log.log(_LEVELS[alert.severity], "%s: %s%s%s", alert.title, about, alert.message, then)
        stored = self._outbox.add_alert(
            run_id=alert.run_id,
            severity=alert.severity.value,
            title=alert.title,
            body=alert.to_json(),
            at=alert.at,
            is_for_sending=self._keeps_for_later,
        )
        if self._webhook is None:
            return
        if stored is None:
            with self._lock:
                self._unsaved.append(alert)
        self.resume_sending()

    def ping(self, kind: Ping, exit_code: int | None = None) -> None:
        """Send a heartbeat, if there is an address for it. Returns at once; it is never stored."""
        if self._pings is not None:
            self._pings.add(kind, exit_code)
            self._start_worker()

    def resume_sending(self) -> None:
        """Try again to send what waits: a new round of tries. A long-lived caller does this now and then."""
        if self._webhook is None:
            return
        if self._is_dead and self._is_death_recorded and self._outbox.read_channel_problem(self._key) is None:
            # Another process has found it alive: `inv alert.test`, run beside a supervisor.
            with self._lock:
                self._unsaved.extendleft(reversed(self._unsaved_refused))
                self._unsaved_refused.clear()
            self._refused.clear()
            self._problem = None
            self._is_dead = False
        if not self._is_dead:
            with self._lock:
                self._has_work = True
                self._failures = 0
                self._next_alert_s = self._asked_until_s
            self._start_worker()

    def forget_channel_problem(self) -> None:
        """Try a channel again that is remembered as dead: the operator asks for it (`inv alert.test`).

        It stays on record as dead until it takes an alert.
        """
        if self._webhook is not None:
            self._outbox.forget_refusals(self._key)
            self._is_on_trial = True
            self._is_dead = False
            self._problem = None

    def close(self, *, timeout_s: float = 10.0) -> DeliveryReport:
        """Give the worker at most `timeout_s` seconds more; what is not sent then stays in the outbox."""
        self._close_at_s = self._clock.monotonic_s() + max(0.0, timeout_s - _LAST_MOMENT_S)
        self._wake.set()
        if self._thread is not None:
            self._thread.join(max(0.0, timeout_s - _LAST_MOMENT_S))
            with self._lock:
                cutoff = self._cutoff
            if cutoff is not None:
                cutoff.cut()
            self._thread.join(_LAST_MOMENT_S)
        return DeliveryReport(
            delivered=self._delivered,
            failed=self._failed,
            pending=len(self._read_waiting()) + len(self._unsaved) + len(self._unsaved_refused),
            problem=self._problem,
        )

    def _start_worker(self) -> None:
        if self._close_at_s is not None:
            return
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="alerts", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._log.warning("No thread for sending alerts; they wait for the next run")
                return
            self._thread = thread
        self._wake.set()

    def _work(self) -> None:
        try:
            while not self._is_over(self._send_what_is_due()):
                pass
        # The boundary of this thread. The interpreter would print the traceback of whatever gets here, and the text of
        # an HTTP library's exception may hold the address; so only its kind is told.
        except Exception as error:  # noqa: BLE001 - see above
            self._problem = f"sending stopped ({type(error).__name__})"
            self._log.error("Sending alerts stopped unexpectedly (%s)", type(error).__name__)

    def _is_over(self, next_s: float | None) -> bool:
        """Wait until something is due; True if nothing more can be done before the end."""
        now_s = self._clock.monotonic_s()
        close_at_s = self._close_at_s
        if close_at_s is not None and (next_s is None or next_s >= close_at_s):
            return True
        self._clock.wait(self._wake, _IDLE_S if next_s is None else next_s - now_s)
        self._wake.clear()
        return False

    def _send_what_is_due(self) -> float | None:
        """Send until nothing is due. The instant of the next try, or None if nothing is left to be tried."""
        while True:
            now_s = self._clock.monotonic_s()
            if self._close_at_s is not None and now_s >= self._close_at_s:
                return None
            has_alerts = self._has_work and not self._is_dead
            next_ping_s = self._pings.next_try_s if self._pings is not None else None
            if self._pings is not None and next_ping_s is not None and now_s >= next_ping_s:
                self._pings.send_first()
            elif has_alerts and now_s >= self._next_alert_s:
                self._send_one_alert()
            else:
                due_s = [] if next_ping_s is None else [next_ping_s]
                due_s += [self._next_alert_s] if has_alerts else []
                return min(due_s, default=None)

    def _send_one_alert(self) -> None:
        with self._outbox.hold_sending() as may_send:
            if not may_send:
                self._next_alert_s = self._clock.monotonic_s() + self._limits.other_sender_wait_s
                return
            if self._must_be_quiet():
                return
            with self._lock:
                self._has_work = False  # before looking: an alert that comes now sets it again
            waiting = self._read_untried()
            if fold_backlog(self._outbox, waiting, now=self._clock.now(), limits=self._limits):
                waiting = self._read_untried()
            if waiting:
                self._has_work = True
                # On trial, the newest one is the test alert: after a refusal it tells whether the channel is at fault.
                self._send_stored(waiting[-1 if self._is_on_trial and self._refused else 0])
            elif self._unsaved:
                self._has_work = True
                self._send_unsaved(self._unsaved[0])

    def _must_be_quiet(self) -> bool:
        """Whether the channel asked this process or another one for quiet. The next try then waits for its end."""
        until = self._outbox.read_quiet_until(self._key)
        if until is None:
            return False
        left_s = (until - self._clock.now()).total_seconds()
        if not 0 < left_s <= self._limits.quiet_cap_s:
            return False  # it is over, or the clock was set back: nobody wrote down more than the cap
        self._next_alert_s = self._asked_until_s = self._clock.monotonic_s() + left_s
        self._problem = (
            f"alerts wait: the channel answered {_TOO_MANY} and asked for quiet until {describe_time_of_day(until)}"
        )
        return True

    def _read_waiting(self) -> list[Waiting]:
        return [one for one in self._outbox.read_pending_alerts() if one.id not in self._done]

    def _read_untried(self) -> list[Waiting]:
        """What waits, but for what the channel has refused since it took one last."""
        return [one for one in self._read_waiting() if not self._is_refused(one)]

    def _is_refused(self, waiting: Waiting) -> bool:
        return waiting.refused_by == self._key or waiting.id in self._refused

    def _send_stored(self, waiting: Waiting) -> None:
        try:
            alert = Alert.from_json(waiting.body)
        except ValueError as error:
            self._settle(waiting.id)
            self._outbox.mark_failed(waiting.id, str(error))
            return
        self._outbox.claim_alert(waiting.id, f"process {os.getpid()}")
        try:
            reply = self._post(alert, may_be_repeat=waiting.is_unsure)
        except NotSentError as error:
            self._outbox.mark_undelivered(waiting.id, error.reason, is_unsure=error.is_unsure or waiting.is_unsure)
            self._fail_try(error.reason, None)
            return
        verdict, note = self._weigh(reply)
        if verdict is Verdict.DELIVERED:
            self._settle(waiting.id)
            self._outbox.mark_delivered(waiting.id)
            self._delivered += 1
            self._find_alive()
        elif verdict is Verdict.POISON:
            self._refused.add(waiting.id)
            self._outbox.mark_refused(waiting.id, self._key, note)
            self._judge_refusals(note)
        else:
            self._outbox.mark_undelivered(waiting.id, note, is_unsure=waiting.is_unsure)

    def _send_unsaved(self, alert: Alert) -> None:
        try:
            reply = self._post(alert, may_be_repeat=False)
        except NotSentError as error:
            self._fail_try(error.reason, None)
            return
        verdict, note = self._weigh(reply)
        if verdict is Verdict.DELIVERED:
            with self._lock:
                self._unsaved.popleft()
            self._delivered += 1
            self._find_alive()
        elif verdict is Verdict.POISON:
            with self._lock:
                self._unsaved_refused.append(self._unsaved.popleft())
            self._judge_refusals(note)

    def _find_alive(self) -> None:
        """The channel took an alert: it is not dead, and whatever it refused before that is itself at fault."""
        refused = {one.id for one in self._read_waiting() if self._is_refused(one)}
        self._done |= refused
        self._outbox.fail_refused(self._key)
        with self._lock:
            refused_count = len(refused) + len(self._unsaved_refused)
            self._unsaved_refused.clear()
        self._refused.clear()
        self._failed += refused_count
        if refused_count:
            self._log.warning("The channel refused %d alert(s) for good and takes the others", refused_count)
        if self._is_on_trial:
            self._is_on_trial = False
            self._outbox.clear_channel(self._key)

    def _judge_refusals(self, note: str) -> None:
        """An alert was refused: a channel that refuses different ones in a row is at fault itself."""
        refused_count = sum(self._is_refused(one) for one in self._read_waiting()) + len(self._unsaved_refused)
        if refused_count < self._limits.refusals:
            self._problem = f"{note}; the alert is kept"
            self._log.warning("An alert was refused (%s); it is kept, and the others go on", note)
            return
        self._find_dead(
            f"the alert channel is dead: it refused {refused_count} different alerts in a row, last time {note}; "
            f"{_NEW_ADDRESS} (one of a text channel: a forum's takes no plain message)"
        )

    def _find_dead(self, problem: str) -> None:
        """Nothing more is sent to the channel. What waits is kept, what it refused included."""
        self._is_dead = True
        self._problem = problem
        self._outbox.mark_channel_dead(self._key, problem)
        self._is_death_recorded = self._outbox.read_channel_problem(self._key) is not None
        self._log.error("Alerts no longer reach anybody: %s", problem)

    def _settle(self, alert_id: int) -> None:
        """It is not to be sent again by this process, even if the outbox cannot write that down (a full disk)."""
        self._done.add(alert_id)

    def _weigh(self, reply: Reply) -> tuple[Verdict, str]:
        """Draw the consequences of an answer for the channel; the verdict and a note for the alert."""
        verdict = judge_status(reply.status)
        reason = clean_line(reply.reason, self._redactor, limit=_REASON_LENGTH)
        note = f"the channel answered {reply.status}" + (f": {reason}" if reason else "")
        if verdict is Verdict.DELIVERED:
            self._failures = 0
            self._problem = None
        elif verdict is Verdict.DEAD:
            said = f"HTTP {reply.status}" + (f": {reason}" if reason else "")
            self._find_dead(
                f"the alert channel is dead ({said}): the webhook was deleted or its address is wrong; {_NEW_ADDRESS}"
            )
        elif verdict is Verdict.RETRY:
            self._fail_try(note, reply.retry_after_s)
        return verdict, note

    def _fail_try(self, reason: str, retry_after_s: float | None) -> None:
        self._failures += 1
        self._problem = f"alerts wait: {reason}"
        wait_s = self._limits.backoff_s * 2 ** (self._failures - 1) if retry_after_s is None else retry_after_s
        cap_s = self._limits.wait_cap_s if retry_after_s is None else self._limits.quiet_cap_s
        self._next_alert_s = self._clock.monotonic_s() + min(wait_s, cap_s)
        if retry_after_s is not None:
            self._asked_until_s = self._next_alert_s
            # Written down: the next process, or one that runs beside this one, must not ask sooner.
            self._outbox.mark_quiet(self._key, self._clock.now() + timedelta(seconds=min(wait_s, cap_s)))
        if self._failures >= self._limits.tries_per_round:
            self._has_work = False
            self._log.warning("Alerts could not be sent (%s); they are kept and sent later", reason)

    def _post(self, alert: Alert, *, may_be_repeat: bool) -> Reply:
        if self._webhook is None:
            raise NotSentError("there is no channel", is_unsure=False)
        mention = self._mention.reveal() if self._mention is not None else None
        payload = build_payload(alert, mention=mention, may_be_repeat=may_be_repeat)
        return self._request(build_post_address(self._webhook.reveal()), payload)

    def _request(self, address: str, document: dict[str, object] | None) -> Reply:
        limits = self._limits
        bound_s = limits.try_timeout_s
        if self._close_at_s is not None:
            bound_s = min(bound_s, self._close_at_s - self._clock.monotonic_s())
        with contextlib.ExitStack() as stack:
            cutoff = stack.enter_context(Cutoff(bound_s))
            with self._lock:
                self._cutoff = cutoff
            stack.callback(self._forget_cutoff)
            return send_request(
                address,
                document=document,
                cutoff=cutoff,
                connect_timeout_s=limits.connect_timeout_s,
                read_timeout_s=limits.read_timeout_s,
                clock=self._clock,
            )

    def _forget_cutoff(self) -> None:
        with self._lock:
            self._cutoff = None
