"""The channel: its limits, what its answers mean, and whether it is known to be dead."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from orchestration.alerts.discord import webhook_problem
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


@dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What became of the alerts.

    Attributes:
        delivered: How many this delivery brought to the channel (older ones included).
        failed: How many the channel refused for good, while it took others.
        pending: How many still wait; the next run sends them.
        problem: Why they wait, for people; None if nothing went wrong last.
    """

    delivered: int
    failed: int
    pending: int
    problem: str | None


class Verdict(StrEnum):
    """What an HTTP status means for an alert."""

    DELIVERED = "delivered"
    RETRY = "retry"
    POISON = "poison"  # this alert is not taken; the others may be. Several in a row: the channel is dead
    DEAD = "dead"  # nothing will ever be taken at this address


def judge_status(status: int) -> Verdict:
    """What to do after this answer.

    A redirect (a hotel's or a proxy's log-in page, for example) is retried, not followed.
    """
    if status // 100 == 2:  # noqa: PLR2004 - the class of success
        return Verdict.DELIVERED
    if status in {401, 403, 404, 410}:
        return Verdict.DEAD
    if status // 100 == 4 and status not in {407, 408, 425, 429}:  # noqa: PLR2004 - the class of our own mistakes
        return Verdict.POISON
    return Verdict.RETRY


class ChannelProblems(Protocol):
    """The part of the journal, or of its reader, that knows dead channels."""

    def read_channel_problem(self, key: str) -> str | None:
        """Why the channel is dead, or None."""
        ...


def channel_key(webhook: Secret) -> str:
    """What a channel is remembered by: a hash of its address, so that a changed address is tried again."""
    return hashlib.sha256(webhook.reveal().strip().encode()).hexdigest()


def channel_problem(journal: ChannelProblems, webhook: Secret | None) -> str | None:
    """Why alerts do not reach the operator: not set, malformed, or known to be dead; None if they should."""
    problem = webhook_problem(webhook)
    if problem is not None or webhook is None:
        return problem
    return journal.read_channel_problem(channel_key(webhook))
