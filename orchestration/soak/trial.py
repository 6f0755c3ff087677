"""The run: start the system, put the faults in one after the other, look from outside, end it, and see what is left."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from orchestration.journal import AlertDelivery
from orchestration.reports import Injected
from orchestration.soak.catalogue import Fault
from orchestration.soak.channel import LoopbackChannel
from orchestration.soak.faults import Injector
from orchestration.soak.instance import SupervisedInstance
from orchestration.soak.safety import SystemSeen, count_restarts, find_bugs, find_leaks
from orchestration.soak.schedule import Schedule
from orchestration.system.clock import Clock
from orchestration.system.signals import Requests

_TICK_S = 0.2
_COUNT_EVERY_S = 1.0  # a look at every process of the machine takes some hundredths of a second
_RESTART_AFTER_S = 1.0  # the unit's RestartSec is of this kind: not at once
_FIRST_START_S = 60.0
_LAST_ALERTS_S = 30.0
_MORE_STARTS = 3  # beyond those that the faults explain; then the trial is given up


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What came of a run.

    Attributes:
        began_at: When the system was first started.
        ended_at: When it was asked to end.
        injected: The faults, and what followed.
        outside: What was seen of the system from outside.
        starts: How often the supervisor was started.
        interrupted_by: The signal that ended the run early; empty where none did.
        given_up: Why the run was ended early, where it was.
    """

    began_at: datetime
    ended_at: datetime
    injected: tuple[Injected, ...]
    outside: SystemSeen
    starts: int
    interrupted_by: str
    given_up: str


class Trial:
    """One run. `run` returns when it is over, and the system has ended.

    Args:
        instance: The system.
        channel: Its alert channel.
        schedule: The faults.
        clock: Tells the time.
        requests: What signals ask for: the first one ends the run.
        say: Shows the progress.
    """

    def __init__(
        self,
        instance: SupervisedInstance,
        channel: LoopbackChannel,
        schedule: Schedule,
        *,
        clock: Clock,
        requests: Requests,
        say: Callable[[str], None],
    ) -> None:
        self._instance = instance
        self._channel = channel
        self._schedule = schedule
        self._clock = clock
        self._requests = requests
        self._say = say
        self._starts = 0
        self._ended_s: float | None = None
        self._counted_s = float("-inf")
        self._most_bots = 0
        self._argvs: set[str] = set()
        self._given_up = ""

    def run(self) -> TrialResult:
        """Run it, to its end or to the first signal. Whatever happens, nothing of it is left running."""
        began_at, began_s = self._clock.now(), self._clock.monotonic_s()
        injected: list[Injected] = []
        try:
            self._run_faults(began_at, began_s, injected)
            ended_at = self._clock.now()
        finally:
            self._instance.end()
        return TrialResult(
            began_at=began_at,
            ended_at=ended_at,
            injected=tuple(injected),
            outside=self._describe_outside(),
            starts=self._starts,
            interrupted_by=self._requests.ended_by,
            given_up=self._given_up,
        )

    def _describe_outside(self) -> SystemSeen:
        """What was seen of the system from outside, its end included."""
        instance, received = self._instance, self._channel.received
        texts = {
            "an argument list": "\n".join(self._argvs),
            "an alert": "\n".join(json.dumps(one.document) for one in received),
        }
        return SystemSeen(
            most_bots=self._most_bots,
            left=tuple(f"process {one.pid}" for one in instance.processes()),
            most_restarts=count_restarts(instance.logs),
            leaks=find_leaks({"the webhook's token": self._channel.token}, (instance.state, instance.logs), texts),
            bugs=find_bugs(one.title for one in received if one.stamp),
        )

    def _run_faults(self, began_at: datetime, began_s: float, injected: list[Injected]) -> None:
        injector = Injector(
            instance=self._instance,
            channel=self._channel,
            scale=self._schedule.patience_scale,
            clock=self._clock,
            until=self._until,
        )
        if not injector.wait_until_well(began_at, _FIRST_START_S):
            if not self._is_over:
                self._given_up = "the system did not come up"
            return
        self._say("the system is up")
        for number, planned in enumerate(self._schedule.faults, start=1):
            self._until_instant(began_s + planned.at_s)
            if self._is_over:
                return
            found = injector.inject(planned.fault)
            if self._requests.ended_by:
                return
            injected.append(found)
            sign = "as it should be" if found.is_met else "NOT AS IT SHOULD BE"
            self._say(f"{number} of {len(self._schedule.faults)}: {found.fault}: {found.found} ({sign})")
        self._until_instant(began_s + self._schedule.real_s)
        # The last alerts are on their way. Not more than that: what does not arrive now is a finding.
        self._until(self._has_nothing_pending, _LAST_ALERTS_S)

    @property
    def _is_over(self) -> bool:
        return bool(self._requests.ended_by or self._given_up)

    def _until_instant(self, at_s: float) -> None:
        self._until(lambda: self._clock.monotonic_s() >= at_s, max(0.0, at_s - self._clock.monotonic_s()) + _TICK_S)

    def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline_s = self._clock.monotonic_s() + timeout_s
        while not self._is_over:
            self._keep_going()
            if condition():
                return True
            if self._clock.monotonic_s() >= deadline_s:
                return False
            self._clock.wait(self._requests.wake, _TICK_S)
        return False

    def _keep_going(self) -> None:
        """What a service manager does, what a plan's author does, and a look from outside."""
        now_s = self._clock.monotonic_s()
        self._instance.renew_plan()
        if self._instance.is_watched:
            self._ended_s = None
        elif self._ended_s is None and self._starts:
            self._ended_s = now_s
        elif self._ended_s is None or now_s - self._ended_s >= _RESTART_AFTER_S:
            self._start()
        if now_s - self._counted_s >= _COUNT_EVERY_S:
            self._counted_s = now_s
            self._most_bots = max(self._most_bots, len(self._instance.bots()))
            self._argvs.update(self._instance.argvs())

    def _start(self) -> None:
        explained = 1 + self._schedule.count(Fault.BOT_KILLED, Fault.SUPERVISOR_KILLED)
        if self._starts >= explained + _MORE_STARTS:
            self._given_up = f"the supervisor ended {self._starts} times, which the faults do not explain"
            return
        self._instance.start()
        self._starts += 1
        self._ended_s = None

    def _has_nothing_pending(self) -> bool:
        alerts = self._instance.read_evidence(self._clock.now()).alerts
        return all(one.delivery is not AlertDelivery.PENDING for one in alerts)
