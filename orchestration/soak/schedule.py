"""Which faults a soak run puts in, when, and how much time each may cost. Pure, and the same for the same seed.

What `--time-scale` means: the run lasts the given hours divided by it, and the faults follow each other as much more
quickly. No real process gets quicker, so the supervisor's own patience is only shortened tenfold at the most
(`SIMULATOR_TIME_SCALE`), and its spacing and bounds of restarts are respected here: what it refuses to do is not asked.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.gateway.history import DAY_S, RESTART_SPACING_S, RESTARTS_A_DAY
from orchestration.soak.catalogue import CATALOGUE, Fault

MOST_PATIENCE_SCALE = 10
LEAST_REAL_S = 20.0
_USUAL_GAP_S = 45 * 60.0  # about one fault in 45 minutes, before the time scale
_START_S = 6.0  # what the first start may take before the first fault
_SPARE_RESTARTS = 1  # for one that a fault causes beyond its own
# What a supervised system must recover from by itself: what a soak run draws from.
RECOVERIES = {fault: traits.recovery for fault, traits in CATALOGUE.items() if traits.recovery is not None}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A fault, and when it is put in: seconds after the run's beginning, on the real clock."""

    at_s: float
    fault: Fault


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A whole run.

    Attributes:
        hours: The hours that it stands for.
        time_scale: How many times faster the faults follow each other.
        seed: What it was picked with.
        faults: In order.
    """

    hours: float
    time_scale: float
    seed: int
    faults: tuple[Planned, ...]

    @property
    def real_s(self) -> float:
        """How long it really takes."""
        return self.hours * 3600.0 / self.time_scale

    @property
    def patience_scale(self) -> int:
        """How many times shorter the supervisor's patience is."""
        return choose_patience_scale(self.time_scale)

    def count(self, *faults: Fault) -> int:
        """How many of these there are."""
        return sum(one.fault in faults for one in self.faults)

    @property
    def gateway_down_s(self) -> float:
        """How long the gateway may be down for all of them."""
        return sum(
            cost_s(one.fault, self.patience_scale) for one in self.faults if RECOVERIES[one.fault].gateway_down_s
        )

    @property
    def bot_down_s(self) -> float:
        """How long the bot may be down or unwatched, for all of them."""
        return sum(RECOVERIES[one.fault].bot_down_s for one in self.faults)


def choose_patience_scale(time_scale: float) -> int:
    """How many times shorter a supervisor's patience is made."""
    return max(1, min(MOST_PATIENCE_SCALE, int(time_scale)))


def cost_s(fault: Fault, patience_scale: int) -> float:
    """How long a fault may take on the real clock until all is well again."""
    recovery = RECOVERIES[fault]
    return recovery.gateway_down_s / patience_scale + recovery.process_s


def plan_faults(*, hours: float, time_scale: float, seed: int) -> Schedule:
    """Pick the faults of a run.

    The kinds come equally often, as far as the supervisor's bounds allow: two restarts of the gateway are
    further apart than its spacing, and fewer in its day than its bound.

    Raises:
        ValueError: The run would be too short for anything. The text is for people.
    """
    real_s = hours * 3600.0 / time_scale
    if real_s < LEAST_REAL_S:
        raise ValueError(
            f"{hours:g} h at time scale {time_scale:g} are {real_s:.0f} s; a run takes at least {LEAST_REAL_S:g} s: "
            "more --hours, or a smaller --time-scale"
        )
    rng = random.Random(seed)  # noqa: S311 - the same seed must pick the same faults
    scale = choose_patience_scale(time_scale)
    gap_s = _USUAL_GAP_S / time_scale
    found: list[Planned] = []
    at_s = _START_S
    while True:
        allowed = [
            fault
            for fault in RECOVERIES
            if at_s + cost_s(fault, scale) < real_s and _may_restart(found, fault, at_s, scale)
        ]
        if not allowed:
            break
        # Those that came least often so far: what may seldom be done comes as soon as it may.
        times = Counter(one.fault for one in found)
        least = min(times[fault] for fault in allowed)
        fault = rng.choice([fault for fault in allowed if times[fault] == least])
        found.append(Planned(at_s=round(at_s, 2), fault=fault))
        at_s += max(cost_s(fault, scale), gap_s * rng.uniform(0.5, 1.5))
    return Schedule(hours=hours, time_scale=time_scale, seed=seed, faults=tuple(found))


def _may_restart(found: Sequence[Planned], fault: Fault, at_s: float, scale: int) -> bool:
    if not RECOVERIES[fault].restarts_gateway:
        return True
    # Counted from when the one before may have been answered, not from when it was put in.
    times_s = [one.at_s + cost_s(one.fault, scale) for one in found if RECOVERIES[one.fault].restarts_gateway]
    lately = [one for one in times_s if at_s - one < DAY_S / scale]
    is_spaced = not times_s or at_s - times_s[-1] >= RESTART_SPACING_S / scale
    return is_spaced and len(lately) < RESTARTS_A_DAY - _SPARE_RESTARTS
