"""The heartbeat: addresses that a healthchecks.io-style service watches, so that silence is an alarm too.

Documented by healthchecks.io: the address itself is success, `/start` a beginning, `/fail` a failure, and `/N` an exit
status from 0 to 255, of which every one but 0 is a failure. Compatible services take the same forms.

Others (Uptime Kuma, Cronitor) name the state in the query of an address that is only ever pushed to, for example
`?status=up`. A suffix would make another address of it, and pushing "up" for a failure would be a lie: such an address
is used as it stands, for success only. Its silence is the alarm.
"""

import logging
import threading
import urllib.parse
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from orchestration.alerts.channel import AnswerKind, DeliveryLimits, judge_status
from orchestration.alerts.discord import address_problem
from orchestration.alerts.posting import HttpReply, NotSentError
from orchestration.settings import Secret
from orchestration.system.clock import Clock

_MOST_EXIT_STATUS = 255
_STATE_NAMES = frozenset({"status", "state"})  # of the query: Uptime Kuma's and Cronitor's
_PUSH_PATH = "/api/push/"  # Uptime Kuma's; without a query it means "up"


class Ping(StrEnum):
    """What a heartbeat says."""

    START = "start"
    SUCCESS = "success"
    FAIL = "fail"


def build_ping_address(base: str, kind: Ping, *, exit_code: int | None = None) -> str:
    """The address that says `kind`. A failure carries its exit code where it has one from 1 to 255.

    An address that is only pushed to (`is_push_only`) is returned as it stands.
    """
    if is_push_only(base):
        return base.strip()
    parts = urllib.parse.urlsplit(base.strip())
    suffix = ""
    if kind is Ping.START:
        suffix = "/start"
    elif kind is Ping.FAIL:
        has_code = exit_code is not None and 0 < exit_code <= _MOST_EXIT_STATUS
        suffix = f"/{exit_code}" if has_code else "/fail"
    path = parts.path.rstrip("/") + suffix if suffix else parts.path
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def is_push_only(base: str) -> bool:
    """Whether the address itself says that all is well, so that it can say nothing else."""
    parts = urllib.parse.urlsplit(base.strip())
    names = {name.lower() for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)}
    return bool(names & _STATE_NAMES) or _PUSH_PATH in parts.path


def heartbeat_problem(url: Secret | None) -> str | None:
    """Why no heartbeat can be sent to this address, or None if it may work or is not set. Never contains it."""
    if url is None or not url.reveal().strip():
        return None
    problem = address_problem(url.reveal())
    return None if problem is None else f"HEARTBEAT_URL {problem}"


@dataclass
class _Job:
    kind: Ping
    exit_code: int | None
    tries: int = 0


class PingQueue:
    """Heartbeats on their way, in order. They are worth nothing later, so they live in memory only.

    Args:
        heartbeat: The address.
        request: Sends one request (address, no document); raises `NotSentError`.
        clock: Time.
        log: Told of the kind of a heartbeat that was given up, never of its address.
        limits: How often.
    """

    def __init__(
        self,
        heartbeat: Secret,
        *,
        request: Callable[[str, None], HttpReply],
        clock: Clock,
        log: logging.Logger,
        limits: DeliveryLimits,
    ) -> None:
        self._heartbeat = heartbeat
        self._request = request
        self._clock = clock
        self._log = log
        self._limits = limits
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._next_try_s = 0.0

    @property
    def next_try_s(self) -> float | None:
        """When the first one may be tried, by the monotonic clock; None if nothing waits."""
        return self._next_try_s if self._jobs else None

    def add(self, kind: Ping, exit_code: int | None) -> None:
        """Queue one, unless it is one that the address cannot say."""
        if kind is not Ping.SUCCESS and is_push_only(self._heartbeat.reveal()):
            return
        with self._lock:
            self._jobs.append(_Job(kind=kind, exit_code=exit_code))

    def send_first(self) -> None:
        """Try the first one. One that fails is given up after `ping_tries`, or at once if a newer one waits.

        What happened last is what the watching service must hear.
        """
        job = self._jobs[0]
        job.tries += 1
        reason = self._try(job)
        is_last = job.tries >= self._limits.ping_tries or len(self._jobs) > 1
        if reason is not None and is_last:
            self._log.warning("The heartbeat `%s` could not be sent (%s)", job.kind, reason)
        if reason is None or is_last:
            with self._lock:
                self._jobs.popleft()
            self._next_try_s = 0.0
        else:
            wait_s = self._limits.backoff_s * 2 ** (job.tries - 1)
            self._next_try_s = self._clock.monotonic_s() + min(wait_s, self._limits.wait_cap_s)

    def _try(self, job: _Job) -> str | None:
        """One try; None if it arrived, else why not."""
        address = build_ping_address(self._heartbeat.reveal(), job.kind, exit_code=job.exit_code)
        try:
            reply = self._request(address, None)
        except NotSentError as error:
            return error.reason
        return None if judge_status(reply.status) is AnswerKind.DELIVERED else f"the answer was {reply.status}"
