"""What goes wrong in a run, and when: decided by the campaign's seed and the run's number alone."""

import random
from dataclasses import dataclass
from enum import StrEnum

_MOST_FAULTS = 3


class Fault(StrEnum):
    """What goes wrong."""

    KILL_SUPERVISOR = "kill -9 of the supervisor"
    KILL_BOT = "kill -9 of the bot"
    KILL_GATEWAY = "kill -9 of the gateway"
    POWER_LOSS = "power loss"
    STOP_SUPERVISOR = "SIGSTOP of the supervisor"
    STOP_ALL = "SIGSTOP of all but the fence and the store"
    FREEZE = "SIGSTOP of all, the fence too"
    CUT_BOTH = "network cut both ways"
    CUT_IN = "incoming network cut"
    CUT_OUT = "outgoing network cut"
    CUT_STORE = "store cut, broker in reach"
    DELAY = "store's answers delayed"
    CLOCK = "clock step"
    STORE_MINORITY = "two store members killed"
    STORE_RESTART = "store restarted"
    STORE_SLOW = "store stutters"


# Those that a lease can get wrong, more often.
_WEIGHTS = {
    Fault.STOP_SUPERVISOR: 4,
    Fault.STOP_ALL: 4,
    Fault.CUT_STORE: 3,
    Fault.CUT_IN: 2,
    Fault.CUT_OUT: 2,
    Fault.DELAY: 2,
    Fault.STORE_SLOW: 2,
    Fault.POWER_LOSS: 3,
    Fault.KILL_SUPERVISOR: 2,
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One fault.

    Attributes:
        at_s: Seconds after the first one.
        fault: What.
        on_leader: Whether on the host that runs the bot, else on another one.
        for_s: Seconds until it is over.
        size: A number from 0 to 1 for what the fault leaves open.
    """

    at_s: float
    fault: Fault
    on_leader: bool
    for_s: float
    size: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run.

    Attributes:
        seed: The campaign's.
        number: The run's.
        steps: What goes wrong, in order of time.
    """

    seed: int
    number: int
    steps: tuple[Step, ...]

    @property
    def is_apart(self) -> bool:
        """Whether the fence itself was frozen: then no process of that host could have acted."""
        return any(step.fault is Fault.FREEZE for step in self.steps)


def draw_case(seed: int, number: int, *, ttl_s: float) -> Case:
    """The run of this number. Pure."""
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - to be repeated
    kinds = list(Fault)
    weights = [_WEIGHTS.get(kind, 1) for kind in kinds]
    steps = [
        Step(
            at_s=0.0 if index == 0 else rng.uniform(0.0, 2.5 * ttl_s),
            fault=rng.choices(kinds, weights)[0],
            on_leader=rng.random() < 0.75,
            for_s=rng.uniform(0.5, 3 * ttl_s),
            size=rng.random(),
        )
        for index in range(rng.choices((1, 2, _MOST_FAULTS), (2, 2, 1))[0])
    ]
    return Case(seed=seed, number=number, steps=tuple(sorted(steps, key=lambda step: step.at_s)))
