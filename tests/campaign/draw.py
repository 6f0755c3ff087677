"""What chance decides about a run. Pure: the same seed and number give the same run, on any machine."""

import random
from dataclasses import dataclass
from enum import StrEnum

from orchestration.soak.catalogue import CATALOGUE, Fault


class Runtime(StrEnum):
    """Who runs the gateway."""

    SIMULATOR = "simulator"
    EXTERNAL = "external"
    DOCKER = "docker"


class Way(StrEnum):
    """How the system is started."""

    STARTUP = "startup"
    FOREGROUND = "--foreground"
    SERVICE = "--service"
    TWICE = "startup twice at once"
    BESIDE = "startup and --service at once"


class Start(StrEnum):
    """What is there before."""

    NOTHING = "nothing"
    GATEWAY_RUNS = "gateway runs"
    GATEWAY_STOPPED = "gateway stopped"
    GATEWAY_PAUSED = "gateway paused"
    GATEWAY_SILENT = "gateway silent"
    BOT_RUNS = "bot runs"
    BOT_ORPHANED = "bot of a killed supervisor"
    RUN_KILLED = "run killed while it waited"
    RECORD_LEFT = "record of a dead bot"
    ALERTS_WAIT = "alerts not sent yet"
    HELD = "held"


class Instant(StrEnum):
    """When it goes wrong: before the run, when a step begins, once the bot has started, or at a random time."""

    BEFORE = "before"
    PREFLIGHT = "preflight"
    GATEWAY_UP = "gateway.up"
    GATEWAY_WAIT = "gateway.wait"
    GAMEPLAN_CHECK = "gameplan.check"
    BOT_START = "bot.start"
    BOT_UP = "bot up"
    ANY = "any"


SUPERVISED = frozenset({Way.FOREGROUND, Way.SERVICE})
_PLANS = ("valid",) * 7 + ("none", "stale", "invalid", "quarantined", "chooses C")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run of the campaign.

    Attributes:
        seed: The campaign's seed.
        number: Which of its runs it is.
        runtime: Who runs the gateway.
        start: What is there before.
        way: How the system is started.
        plan: What plan the operator has put in place.
        fault: What goes wrong.
        instant: When.
        delay_s: How long after that instant, in seconds.
        chance: The seed of what is left to chance in the fault itself (which bytes, say).
    """

    seed: int
    number: int
    runtime: Runtime
    start: Start
    way: Way
    plan: str
    fault: Fault
    instant: Instant
    delay_s: float
    chance: int

    @property
    def repeat(self) -> str:
        """The command that repeats just this run."""
        return f"python -m tests.campaign --seed {self.seed} --only {self.number}"

    def __str__(self) -> str:
        return (
            f"run {self.number}: {self.runtime}, {self.start}, plan {self.plan}, {self.way}; "
            f"{self.fault} at {self.instant} +{self.delay_s:.2f} s"
        )


def draw_case(seed: int, number: int, *, engine_share: int) -> Case:
    """Decide everything about one run.

    Args:
        seed: The campaign's.
        number: Which run.
        engine_share: Each so manyth run has its gateway in a real container; 0 for none.
    """
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - a seeded choice of faults, not a secret
    # All faults come round before one comes again, in an order of this seed's own.
    round_, place = divmod(number, len(Fault))
    order = list(Fault)
    random.Random(f"{seed}:round {round_}").shuffle(order)  # noqa: S311 - likewise
    fault = order[place]
    traits = CATALOGUE[fault]
    instants = [one for one in Instant if not (traits.needs_program and one is Instant.BEFORE)]
    instant = Instant.BEFORE if traits.is_set_before else rng.choice(instants)
    is_engine = engine_share > 0 and number % engine_share == 0
    runtime = Runtime.DOCKER if is_engine else Runtime.SIMULATOR
    if not is_engine and (traits.needs_other_clock or fault is Fault.LOG_DISK_FULL):
        # The gateway must not share the clock that is shifted, nor the disk that its log is judged by.
        runtime = Runtime.EXTERNAL
    elif not is_engine and rng.random() < 0.1:
        runtime = Runtime.EXTERNAL
    return Case(
        seed=seed,
        number=number,
        runtime=runtime,
        start=rng.choice(list(Start)),
        way=rng.choice((Way.STARTUP, Way.STARTUP, Way.FOREGROUND, Way.FOREGROUND, Way.SERVICE, Way.TWICE, Way.BESIDE)),
        plan=rng.choice(_PLANS),
        fault=fault,
        instant=instant,
        delay_s=rng.uniform(0.0, 2.0) if instant is Instant.ANY else rng.choice((0.0, 0.0, 0.02, 0.1, 0.4)),
        chance=rng.randrange(2**32),
    )
