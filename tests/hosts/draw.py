"""What goes wrong in a run, and when: decided by the campaign's seed and the run's number alone."""

import random
from dataclasses import dataclass
from enum import StrEnum

_MOST_FAULTS = 3
_HOT = 0.6
_SPLITS_PLAN = 0.4
_ON_LEADER = 0.75


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
    DISK = "disk stands still"


class State(StrEnum):
    """What the host does at the moment when the first fault strikes it."""

    STANDING_BY = "standing by"
    WAITING = "waiting"
    STARTING = "starting"
    TRADING = "trading"
    ON_C = "on C"
    HELD = "held"
    SHUTTING_DOWN = "shutting down"


class Kind(StrEnum):
    """How the hosts are set up."""

    PLAIN = "three hosts"
    TLS = "three hosts, TLS with client certificates"
    TWO = "two hosts, and a third one with a store's member alone; TLS"
    DISKS = "three hosts with disks of their own"
    HOT = "three hosts, each with a user name of its own; those that stand by keep their gateway up"


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
        on_leader: Whether on the host that leads, else on another one.
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
        kind: How the hosts are set up.
        state: What the first fault's host does then.
        steps: What goes wrong, in order of time.
        splits_plan: Whether the leader has got another plan than the others before that, and its bot runs on it.
    """

    seed: int
    number: int
    kind: Kind
    state: State
    steps: tuple[Step, ...]
    splits_plan: bool = False

    @property
    def is_apart(self) -> bool:
        """Whether the fence itself was frozen: then no process of that host could have acted."""
        return any(step.fault is Fault.FREEZE for step in self.steps)


def draw_case(seed: int, number: int, *, ttl_s: float) -> Case:
    """The run of this number. Pure.

    The first fault and the state that it meets go through all pairs of them, in an order that the seed decides. The
    rest is drawn.
    """
    cells = [(fault, state) for fault in Fault for state in State]
    random.Random(seed).shuffle(cells)  # noqa: S311 - to be repeated
    fault, state = cells[number % len(cells)]
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - to be repeated
    steps = [
        Step(
            at_s=0.0,
            fault=fault,
            on_leader=state is not State.STANDING_BY,
            for_s=rng.uniform(0.5, 3 * ttl_s),
            size=rng.random(),
        )
    ]
    kinds = [one for one in Fault if one is not Fault.DISK]
    weights = [_WEIGHTS.get(one, 1) for one in kinds]
    steps += [
        Step(
            at_s=rng.uniform(0.0, 2.5 * ttl_s),
            fault=rng.choices(kinds, weights)[0],
            on_leader=rng.random() < _ON_LEADER,
            for_s=rng.uniform(0.5, 3 * ttl_s),
            size=rng.random(),
        )
        for _ in range(rng.choices((0, 1, _MOST_FAULTS - 1), (3, 2, 1))[0])
    ]
    kind = Kind.DISKS if fault is Fault.DISK else rng.choice((Kind.PLAIN, Kind.TLS, Kind.TWO))
    # Drawn last, so that what a seed drew before there were hot standbys and split plans stays as it was.
    if kind is Kind.PLAIN and rng.random() < _HOT:
        kind = Kind.HOT
    has_other_day = state in {State.ON_C, State.HELD} or any(step.fault is Fault.CLOCK for step in steps)
    return Case(
        seed=seed,
        number=number,
        kind=kind,
        state=state,
        steps=tuple(sorted(steps, key=lambda step: step.at_s)),
        splits_plan=rng.random() < _SPLITS_PLAN and not has_other_day,
    )
