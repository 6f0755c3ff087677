"""What a channel is, whatever its kind: how it is asked to take an alert, what its answers mean, and its limits.

To add a kind of channel: one module with a class that has what `Channel` asks for, and one row in
`orchestration.alerts.channels`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from orchestration.alerts.alert import Alert, Severity
from orchestration.alerts.posting import HttpReply, Try
from orchestration.settings import Secret


@dataclass(frozen=True, kw_only=True)
class DeliveryLimits:
    """How long, how often, how much. The defaults are meant for a channel on the public internet.

    Attributes:
        connect_timeout_s: For a connection. Just over one retransmission of TCP's first packet (3 s).
        read_timeout_s: For each wait on the answer. Discord answers within a second.
        try_timeout_s: For a whole try, whatever trickles in.
        tries_per_round: Failed tries in a row before the rest is left in the outbox.
        backoff_s: The wait after the first failed try; it doubles with each further one.
        wait_cap_s: The longest wait between two tries of our own.
        quiet_cap_s: The longest wait that a 429 is granted: a broken header must not silence the channel for ever.
        refusals: So many different alerts refused in a row, and the channel is dead: the fault is not the alerts'.
        ping_tries: Tries for one heartbeat.
        other_sender_wait_s: How long to wait for another process that sends.
        backlog_age_s: Alerts older than this become one summary. After six hours a market session is over.
        backlog_count: More alerts than this waiting become one summary, but for the newest five.
        repeat_after_s: A critical alert that no channel took within this time is queued for all of them again (A0).
    """

    connect_timeout_s: float = 3.05
    read_timeout_s: float = 5.0
    try_timeout_s: float = 8.0
    tries_per_round: int = 5
    backoff_s: float = 1.0
    wait_cap_s: float = 60.0
    quiet_cap_s: float = 3600.0
    refusals: int = 2
    ping_tries: int = 3
    other_sender_wait_s: float = 0.25
    backlog_age_s: float = 6 * 3600.0
    backlog_count: int = 20
    repeat_after_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What became of the alerts.

    Attributes:
        channel: Which channel this is about; empty where it is about all of them.
        delivered: How many this delivery brought to the channel (older ones included).
        failed: How many the channel refused for good, while it took others.
        pending: How many still wait; the next run sends them.
        problem: Why they wait, for people; None if nothing went wrong last.
        channels: Of a report about all of them: one for each.
    """

    channel: str = ""
    delivered: int
    failed: int
    pending: int
    problem: str | None
    channels: "tuple[DeliveryReport, ...]" = ()


class AnswerKind(StrEnum):
    """What an answer means for an alert."""

    DELIVERED = "delivered"
    RETRY = "retry"
    POISON = "poison"  # this alert is not taken; the others may be. Several in a row: the channel is dead
    DEAD = "dead"  # nothing will ever be taken at this address


def judge_status(status: int) -> AnswerKind:
    """What to do after this answer.

    A redirect (a hotel's or a proxy's log-in page, for example) is retried, not followed.
    """
    if status // 100 == 2:  # noqa: PLR2004 - the class of success
        return AnswerKind.DELIVERED
    if status in {401, 403, 404, 410}:
        return AnswerKind.DEAD
    if status // 100 == 4 and status not in {407, 408, 425, 429}:  # noqa: PLR2004 - the class of our own mistakes
        return AnswerKind.POISON
    return AnswerKind.RETRY


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """What a channel said to one alert.

    Attributes:
        verdict: What it means.
        said: Why it was not taken, for a sentence that begins with "the channel": `answered 503`, for example. Foreign
            text in it is not redacted yet.
        code: The status alone, for the sentence that the channel is dead; empty where there is none.
        retry_after_s: How long it asked to wait, or None.
        is_unsure: Of one that was not delivered: whether it, or a part of it, may have arrived.
    """

    verdict: AnswerKind
    said: str = ""
    code: str = ""
    retry_after_s: float | None = None
    is_unsure: bool = False


def read_answer(reply: HttpReply) -> SendResult:
    """The answer that an HTTP reply is."""
    about = f": {reply.reason}" if reply.reason else ""
    return SendResult(
        verdict=judge_status(reply.status),
        said=f"answered {reply.status}{about}",
        code=f"HTTP {reply.status}{about}",
        retry_after_s=reply.retry_after_s,
    )


class Channel(Protocol):
    """One place that alerts are sent to. An instance is used by one thread at a time."""

    @property
    def id(self) -> str:
        """What its delivery records are kept under; fit for a file's name, and no secret."""
        ...

    @property
    def name(self) -> str:
        """What it is called in front of people, without its address."""
        ...

    @property
    def key(self) -> str:
        """A hash of its address (`channel_key`), so that what is known of it is forgotten when the address changes."""
        ...

    @property
    def setting(self) -> str:
        """The variable that its address stands in."""
        ...

    @property
    def least(self) -> Severity:
        """The mildest alerts that it is sent."""
        ...

    @property
    def skips_progress(self) -> bool:
        """Whether it is not sent what only says that a start is on its way (`outcome`)."""
        ...

    @property
    def problem(self) -> str | None:
        """Why no alert can be sent to the address as it is written, or None. Never contains the address."""
        ...

    @property
    def secrets(self) -> Sequence[str]:
        """What must not be shown."""
        ...

    @property
    def likely_fault(self) -> str:
        """What is most likely wrong where it answers that nothing will ever be taken."""
        ...

    @property
    def advice(self) -> str:
        """What to do where the channel is dead, for the second half of a sentence."""
        ...

    @property
    def hint(self) -> str:
        """What else may explain that it refuses everything, in brackets after the advice; or empty."""
        ...

    def prepare(self) -> None:
        """Load what `post` needs. Called before each try: what it takes does not count towards the try's deadline."""
        ...

    def post(self, alert: Alert, one_try: Try, *, may_be_repeat: bool) -> SendResult:
        """Send one alert.

        Args:
            alert: What to say. Redacted already.
            one_try: The deadline and the limits.
            may_be_repeat: Whether an earlier try may have arrived after all; the message then says so.

        Raises:
            NotSentError: There was no answer.
        """
        ...


class ChannelProblems(Protocol):
    """The part of the journal, or of its reader, that knows dead channels."""

    def read_channel_problem(self, key: str) -> str | None:
        """Why the channel is dead, or None."""
        ...


def channel_key(address: Secret) -> str:
    """What a channel is remembered by: a hash of its address, so that a changed address is tried again."""
    return hashlib.sha256(address.reveal().strip().encode()).hexdigest()


def channel_problem(journal: ChannelProblems, channel: Channel) -> str | None:
    """Why alerts do not reach the operator this way: malformed, or known to be dead; None if they should."""
    return channel.problem or journal.read_channel_problem(channel.key)
