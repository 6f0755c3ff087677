"""Injects one fault into the system and waits for its consequences: incident, alert, end of the incident, recovery."""

import functools
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestration.journal import Evidence
from orchestration.reports import IncidentOutcome, Injected
from orchestration.reports.incidents import find_incidents
from orchestration.soak.channel import Channel
from orchestration.soak.instance import SupervisedInstance, cut_in_half
from orchestration.soak.schedule import NATURES, Fault, cost_s
from orchestration.system.clock import Clock

_PATIENCE = 2.0  # so many times what a fault should cost is waited for; what takes longer is a finding
_LEAST_PATIENCE_S = 30.0
_GRANTED_S = 1.5
_LINK_DOWN_S, _LINK_DOWN_MARGIN_S = 40.0, 3.0


class Until(Protocol):
    """Waits for something while the trial goes on: the supervisor is started again where it ended."""

    def __call__(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it came about in time."""
        ...


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
    channel: Channel
    scale: int
    clock: Clock
    until: Until

    def inject(self, fault: Fault) -> Injected:
        """Put it in, wait for what follows, and take it away."""
        begun_at, begun_s = self.clock.now(), self.clock.monotonic_s()
        nature = NATURES[fault]
        problem = self._inject_and_wait(fault, begun_at)
        took_s = self.clock.monotonic_s() - begun_s
        followed = ", ".join(nature.causes) or "the watch resumed"
        return Injected(
            at=begun_at,
            fault=fault.value,
            about=nature.about,
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
        plan: bytes | None = None
        try:
            match fault:
                case Fault.GATEWAY_KILLED:
                    is_done = instance.signal_gateway(signal.SIGKILL)
                case Fault.GATEWAY_SILENT:
                    is_done = instance.signal_gateway(signal.SIGSTOP)
                case Fault.SECOND_FACTOR:
                    instance.set_faults(f"second_factor={_GRANTED_S}")
                    is_done = instance.signal_gateway(signal.SIGKILL)
                case Fault.LINK_DOWN | Fault.WEBHOOK_DOWN:
                    self.channel.is_down = fault is Fault.WEBHOOK_DOWN
                    down_s = _LINK_DOWN_S / self.scale + _LINK_DOWN_MARGIN_S
                    instance.set_faults(f"error=1100:{down_s:g}")
                    is_done = instance.signal_gateway(signal.SIGHUP)
                case Fault.BOT_KILLED:
                    is_done = instance.signal_bots(signal.SIGKILL)
                case Fault.SUPERVISOR_KILLED:
                    is_done = instance.kill_supervisor()
                case Fault.PLAN_BROKEN:
                    plan, is_done = cut_in_half(instance.plan_path), True
            if not is_done:
                return "it could not be put in: the process was not there"
            return self._wait_for(fault, begun_at, patience_s, plan)
        finally:
            instance.set_faults("")
            self.channel.is_down = False
            if plan is not None:
                instance.plan_path.write_bytes(plan)

    def _wait_for(self, fault: Fault, begun_at: datetime, patience_s: float, plan: bytes | None) -> str:
        causes = NATURES[fault].causes
        for cause in causes:
            if not self.until(functools.partial(self._has_opened, cause, begun_at), patience_s):
                return f"no incident {cause} within {patience_s:.0f} s"
        if plan is not None:
            self.instance.plan_path.write_bytes(plan)
        for cause in causes:
            if not self.until(functools.partial(self._is_over, cause, begun_at), patience_s):
                return f"{cause} was not over within {patience_s:.0f} s"
        if fault is Fault.WEBHOOK_DOWN:
            if not self.channel.refused:
                return "no alert was tried while the channel was out of order"
            self.channel.is_down = False
            if not self.until(lambda: self._is_told(begun_at), patience_s):
                return f"an alert was not delivered within {patience_s:.0f} s after the channel was back"
        if not self.wait_until_well(begun_at, patience_s):
            return f"not well again within {patience_s:.0f} s"
        return ""

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


def is_well(evidence: Evidence, since: datetime) -> bool:
    """Whether what was seen last, after `since`, is a gateway that is ready and a bot that runs."""
    if not evidence.spans:
        return False
    last = max(evidence.spans, key=lambda span: (span.seen_until, span.began_at))
    return last.seen_until > since and (last.gateway, last.bot) == ("ready", "running")
