"""Brings alerts to one channel, beside the others: what is known of the channel, its tries and its delivery records.

* Between the claim and the mark `delivered` stands the post itself. A process killed there leaves a claim; the next
  sender that finds it sends the alert again, marked as a possible repeat: at least once, and twice only where the
  outcome is unknown.
* A lock of the operating system is held around each post, so that two processes that share an outbox neither send the
  same alert twice nor overtake each other. It is never held while waiting.
* Nothing retries for ever: after `tries_per_round` failures in a row the rest stays in the outbox until there is a new
  alert, `resume` is called, or the next run comes.
* An alert that is refused (400, 413 and the like) waits until it is known what is at fault. If the channel takes the
  next one, the alert is; it has failed. If the channel refuses that one too, the channel is: it is dead, both are kept,
  and nothing more is tried until the operator has a test alert sent. What is known of the channel stands in the outbox,
  for a run has often no more than one alert to send.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from orchestration.alerts.alert import Alert
from orchestration.alerts.backlog import fold_backlog
from orchestration.alerts.channel import (
    AnswerKind,
    Channel,
    DeliveryLimits,
    DeliveryReport,
    SendResult,
    channel_problem,
)
from orchestration.alerts.outbox import Outbox, Waiting
from orchestration.alerts.posting import NotSentError
from orchestration.alerts.worker import Worker
from orchestration.redaction import Redactor, clean_line
from orchestration.system.clock import Clock, describe_time_of_day
from orchestration.system.platform import platform

_TOO_MANY = 429
_SAID_LENGTH = 220  # of what the channel says about a refusal


class ChannelSender:
    """Sends what the outbox holds for one channel, oldest first. For one thread besides its own.

    Args:
        channel: Where to.
        outbox: Where alerts wait, and what came of them is written down.
        clock: Time.
        redactor: Knows the secrets, this channel's included.
        log: For what goes wrong.
        limits: How long and how often.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        outbox: Outbox,
        clock: Clock,
        redactor: Redactor,
        log: logging.Logger,
        limits: DeliveryLimits,
    ) -> None:
        self.channel = self._channel = channel
        self._id = channel.id
        self._key = channel.key
        self._is_usable = channel.problem is None
        self._outbox = outbox
        self._clock = clock
        self._redactor = redactor
        self._log = log
        self._limits = limits
        self.worker = Worker(
            "alerts", send_due=self._send_due, on_crash=self._note_crash, clock=clock, log=log, limits=limits
        )

        self._lock = threading.Lock()
        self._unsaved: deque[Alert] = deque()  # the outbox could not take these
        self._unsaved_refused: list[Alert] = []  # of these, what the channel refused

        # The worker's own.
        self._done: set[int] = set()  # settled here, whatever the outbox could store
        self.taken: set[int] = set()  # of these, what the channel took
        self._refused: set[int] = set()  # refused here, whatever the outbox could store
        self._problem = channel_problem(outbox, channel)
        self._is_dead = self._is_usable and self._problem is not None
        self._is_death_recorded = self._is_dead
        self._is_on_trial = False  # dead, and tried all the same
        self._has_work = False
        self._failures = 0
        self._next_alert_s = 0.0
        self._asked_until_s = 0.0  # the channel itself asked for quiet until then
        self._delivered = 0
        self._failed = 0

    def keep(self, alert: Alert) -> None:
        """Keep one in memory that the outbox could not take, to be sent all the same."""
        if self._is_usable:
            with self._lock:
                self._unsaved.append(alert)

    def resume(self) -> None:
        """Try again to send what waits: a new round of tries."""
        if not self._is_usable:
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
            self.worker.wake()

    def put_on_trial(self) -> None:
        """Try the channel again although it is remembered as dead. It stays so on record until it takes an alert."""
        if self._is_usable:
            self._outbox.forget_refusals(self._id, self._key)
            self._refused.clear()
            self._is_on_trial = True
            self._is_dead = False
            self._problem = None

    def repeat(self, alert_ids: Sequence[int]) -> None:
        """These were queued again although some channels had failed to take them: try each of them once more."""
        self._done.difference_update(alert_ids)
        self._refused.difference_update(alert_ids)
        if self._is_dead:
            self.put_on_trial()

    def report(self) -> DeliveryReport:
        """What became of the alerts so far."""
        return DeliveryReport(
            channel=self._channel.name,
            delivered=self._delivered,
            failed=self._failed,
            pending=len(self._read_waiting()) + len(self._unsaved) + len(self._unsaved_refused),
            problem=self._problem,
        )

    def _note_crash(self, reason: str) -> None:
        self._problem = reason

    def _send_due(self) -> float | None:
        """Send one alert if one is due. The instant of the next try, or None if nothing is left to be tried."""
        if self._may_send() and self._clock.monotonic_s() >= self._next_alert_s:
            self._send_one_alert()
        return self._next_alert_s if self._may_send() else None

    def _may_send(self) -> bool:
        return self._has_work and not self._is_dead

    def _send_one_alert(self) -> None:
        with self._outbox.hold_sending(self._id) as may_send:
            if not may_send:
                self._next_alert_s = self._clock.monotonic_s() + self._limits.other_sender_wait_s
                return
            if self._must_be_quiet():
                return
            with self._lock:
                self._has_work = False  # before looking: an alert that comes now sets it again
            waiting = self._read_untried()
            if fold_backlog(self._outbox, waiting, channel=self._id, now=self._clock.now(), limits=self._limits):
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
            return False  # it is over, or the clock was set back: no more than the cap was ever written down
        self._next_alert_s = self._asked_until_s = self._clock.monotonic_s() + left_s
        self._problem = (
            f"alerts wait: the channel answered {_TOO_MANY} and asked for quiet until {describe_time_of_day(until)}"
        )
        return True

    def _read_waiting(self) -> list[Waiting]:
        return [one for one in self._outbox.read_pending_alerts(self._id) if one.id not in self._done]

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
            self._outbox.mark_failed(waiting.id, self._id, str(error))
            return
        self._outbox.claim_alert(waiting.id, self._id, f"process {platform().own_pid()}")
        try:
            answer = self._post(alert, may_be_repeat=waiting.is_unsure)
        except NotSentError as error:
            self._outbox.mark_undelivered(
                waiting.id, self._id, error.reason, is_unsure=error.is_unsure or waiting.is_unsure
            )
            self._fail_try(error.reason, None)
            return
        verdict, note = self._weigh(answer)
        if verdict is AnswerKind.DELIVERED:
            self._settle(waiting.id)
            self.taken.add(waiting.id)
            self._outbox.mark_delivered(waiting.id, self._id)
            self._delivered += 1
            self._find_alive()
        elif verdict is AnswerKind.POISON:
            self._refused.add(waiting.id)
            self._outbox.mark_refused(waiting.id, self._id, self._key, note)
            self._judge_refusals(note)
        else:
            self._outbox.mark_undelivered(waiting.id, self._id, note, is_unsure=answer.is_unsure or waiting.is_unsure)

    def _send_unsaved(self, alert: Alert) -> None:
        try:
            answer = self._post(alert, may_be_repeat=False)
        except NotSentError as error:
            self._fail_try(error.reason, None)
            return
        verdict, note = self._weigh(answer)
        if verdict is AnswerKind.DELIVERED:
            with self._lock:
                self._unsaved.popleft()
            self._delivered += 1
            self._find_alive()
        elif verdict is AnswerKind.POISON:
            with self._lock:
                self._unsaved_refused.append(self._unsaved.popleft())
            self._judge_refusals(note)

    def _find_alive(self) -> None:
        """The channel took an alert: it is not dead, and whatever it refused before that is itself at fault."""
        refused = {one.id for one in self._read_waiting() if self._is_refused(one)}
        self._done |= refused
        self._outbox.fail_refused(self._id, self._key)
        with self._lock:
            refused_count = len(refused) + len(self._unsaved_refused)
            self._unsaved_refused.clear()
        self._refused.clear()
        self._failed += refused_count
        if refused_count:
            self._log.warning("%s refused %d alert(s) for good and takes the others", self._channel.name, refused_count)
        if self._is_on_trial:
            self._is_on_trial = False
            self._outbox.clear_channel(self._key)

    def _judge_refusals(self, note: str) -> None:
        """An alert was refused: a channel that refuses different ones in a row is at fault itself."""
        refused_count = sum(self._is_refused(one) for one in self._read_waiting()) + len(self._unsaved_refused)
        if refused_count < self._limits.refusals:
            self._problem = f"{note}; the alert is kept"
            self._log.warning("%s refused an alert (%s); it is kept, and the others go on", self._channel.name, note)
            return
        hint = f" ({self._channel.hint})" if self._channel.hint else ""
        self._find_dead(
            f"the alert channel is dead: it refused {refused_count} different alerts in a row, last time {note}; "
            f"{self._channel.advice}{hint}"
        )

    def _find_dead(self, problem: str) -> None:
        """Nothing more is sent to the channel. What waits is kept, what it refused included."""
        self._is_dead = True
        self._problem = problem
        self._outbox.mark_channel_dead(self._key, problem)
        self._is_death_recorded = self._outbox.read_channel_problem(self._key) is not None
        self._log.error("Alerts no longer reach %s: %s", self._channel.name, problem)

    def _settle(self, alert_id: int) -> None:
        """It is not to be sent again by this process, even if the outbox cannot write that down (a full disk)."""
        self._done.add(alert_id)

    def _weigh(self, answer: SendResult) -> tuple[AnswerKind, str]:
        """Draw the consequences of an answer for the channel; the verdict and a note for the alert."""
        note = f"the channel {clean_line(answer.said, self._redactor, limit=_SAID_LENGTH)}"
        if answer.verdict is AnswerKind.DELIVERED:
            self._failures = 0
            self._problem = None
        elif answer.verdict is AnswerKind.DEAD:
            code = clean_line(answer.code or answer.said, self._redactor, limit=_SAID_LENGTH)
            channel = self._channel
            self._find_dead(f"the alert channel is dead ({code}): {channel.likely_fault}; {channel.advice}")
        elif answer.verdict is AnswerKind.RETRY:
            self._fail_try(note, answer.retry_after_s)
        return answer.verdict, note

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
            self._log.warning(
                "Alerts could not be sent to %s (%s); they are kept and sent later", self._channel.name, reason
            )

    def _post(self, alert: Alert, *, may_be_repeat: bool) -> SendResult:
        self._channel.prepare()
        with self.worker.begin_try() as one_try:
            return self._channel.post(alert, one_try, may_be_repeat=may_be_repeat)
