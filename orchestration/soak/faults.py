"""Injects one fault into the system and waits for its consequences: incident, alert, end of the incident, recovery."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from orchestration.journal import Evidence
from orchestration.reports import IncidentOutcome, Injected
from orchestration.reports.incidents import find_incidents
from orchestration.soak.catalogue import CATALOGUE, Fault, FaultTarget
from orchestration.soak.channel import LoopbackChannel
from orchestration.soak.instance import SupervisedInstance
from orchestration.soak.schedule import RECOVERIES, cost_s
from orchestration.system.clock import Clock

_PATIENCE = 2.0  # so many times what a fault should cost is waited for; what takes longer is a finding
_LEAST_PATIENCE_S = 30.0
_LINK_DOWN_S, _LINK_DOWN_MARGIN_S = 40.0, 3.0


class Until(Protocol):
    """Waits for something while the trial goes on: the supervisor is started again where it ended."""

    def __call__(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it came about in time."""
        ...


class SupervisedTarget(FaultTarget):
    """The system of a soak run, as what faults are put into.

    Args:
        instance: The system.
        channel: Its alert channel.
        link_down_s: For how long the gateway loses its link to the broker.
    """

    def __init__(self, instance: SupervisedInstance, channel: LoopbackChannel, *, link_down_s: float) -> None:
        super().__init__(instance, channel, link_down_s=link_down_s)
        self._supervised = instance

    def signal_program(self, number: int) -> bool:
        """See `FaultTarget.signal_program`: the supervisor is meant."""
        return self._supervised.signal_supervisor(number)

    def set_gateway_faults(self, text: str) -> bool:
        """See `FaultTarget.set_gateway_faults`."""
        self._supervised.set_faults(text)
        return True


@dataclass(frozen=True, kw_only=True)
class Injector:
    """Puts faults in.

    Attributes:
        instance: The system.
        channel: Its alert channel.
        scale: How many times shorter the supervisor's patience is.
        clock: Tells the time.
        until: Waits.
    """

    instance: SupervisedInstance
    channel: LoopbackChannel
    scale: int
    clock: Clock
    until: Until

    def inject(self, fault: Fault) -> Injected:
        """Put it in, wait for what follows, and take it away."""
        begun_at, begun_s = self.clock.now(), self.clock.monotonic_s()
        problem = self._inject_and_wait(fault, begun_at)
        took_s = self.clock.monotonic_s() - begun_s
        followed = ", ".join(RECOVERIES[fault].causes) or "the watch resumed"
        return Injected(
            at=begun_at,
            fault=fault.value,
            about=CATALOGUE[fault].about,
            found=problem or f"{followed}; all was well again after {took_s:.1f} s",
            is_met=not problem,
        )

    def wait_until_well(self, since: datetime, timeout_s: float) -> bool:
        """Whether gateway and bot are seen up, after `since`."""
        return self.until(lambda: is_well(self._read(since), since), timeout_s)

    def _inject_and_wait(self, fault: Fault, begun_at: datetime) -> str:
        """Empty if all came as it must, else what did not."""
        patience_s = max(_LEAST_PATIENCE_S, _PATIENCE * cost_s(fault, self.scale))
        instance = self.instance
        broken = plan = instance.plan_path.read_bytes()
        try:
            if not CATALOGUE[fault].inject(self._target):
                return "it could not be put in: the process was not there"
            broken = instance.plan_path.read_bytes()
            repair_plan = functools.partial(_repair_plan, instance.plan_path, plan, broken)
            return self._wait_for(fault, begun_at, patience_s, repair_plan)
        finally:
            instance.set_faults("")
            self.channel.is_down = False
            _repair_plan(instance.plan_path, plan, broken)

    def _wait_for(self, fault: Fault, begun_at: datetime, patience_s: float, repair_plan: Callable[[], None]) -> str:
        causes = RECOVERIES[fault].causes
        for cause in causes:
            if not self.until(functools.partial(self._has_opened, cause, begun_at), patience_s):
                return f"no incident {cause} within {patience_s:.0f} s"
        repair_plan()
        for cause in causes:
            if not self.until(functools.partial(self._is_over, cause, begun_at), patience_s):
                return f"{cause} was not over within {patience_s:.0f} s"
        if fault is Fault.WEBHOOK_DOWN:
            if not self.channel.refused:
                return "no alert was tried while the channel was down"
            self.channel.is_down = False
            if not self.until(lambda: self._is_told(begun_at), patience_s):
                return f"an alert was not delivered within {patience_s:.0f} s after the channel was back"
        if not self.wait_until_well(begun_at, patience_s):
            return f"not well again within {patience_s:.0f} s"
        return ""

    @property
    def _target(self) -> SupervisedTarget:
        link_down_s = _LINK_DOWN_S / self.scale + _LINK_DOWN_MARGIN_S
        return SupervisedTarget(self.instance, self.channel, link_down_s=link_down_s)

    def _read(self, since: datetime) -> Evidence:
        return self.instance.read_evidence(since)

    def _has_opened(self, cause: str, begun_at: datetime) -> bool:
        return any(
            one.cause == cause and one.opened_at is not None and one.opened_at >= begun_at
            for one in find_incidents(self._read(begun_at), begun_at, self.clock.now())
        )

    def _is_over(self, cause: str, begun_at: datetime) -> bool:
        found = find_incidents(self._read(begun_at), begun_at, self.clock.now())
        return all(one.outcome is not IncidentOutcome.OPEN for one in found if one.cause == cause)

    def _is_told(self, begun_at: datetime) -> bool:
        found = find_incidents(self._read(begun_at), begun_at, self.clock.now())
        return all(one.is_alerted for one in found if one.can_be_alerted)


def _repair_plan(path: Path, plan: bytes, broken: bytes) -> None:
    """Write the plan as it was before the fault, unless the fault left it alone or the day's next one is there."""
    if broken != plan and path.read_bytes() == broken:
        path.write_bytes(plan)


def is_well(evidence: Evidence, since: datetime) -> bool:
    """Whether what was seen last, after `since`, is a gateway that is ready and a bot that runs."""
    if not evidence.spans:
        return False
    last = max(evidence.spans, key=lambda span: (span.seen_until, span.began_at))
    return last.seen_until > since and (last.gateway, last.bot) == ("ready", "running")
