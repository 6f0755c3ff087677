"""What chance decides about a run. Pure: the same seed and number give the same run, on any machine."""

import random
from dataclasses import dataclass
from enum import StrEnum


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


class Fault(StrEnum):
    """What goes wrong."""

    NONE = "none"
    KILL_RUN = "SIGKILL the run"
    TERM_RUN = "SIGTERM the run"
    INT_RUN = "SIGINT the run"
    STOP_RUN = "SIGSTOP the run for a second"
    KILL_BOT = "SIGKILL the bot"
    STOP_BOT = "SIGSTOP the bot for a second"
    BOT_DIES = "bot dies at once"
    KILL_GATEWAY = "kill the gateway"
    STOP_GATEWAY = "stop the gateway"
    PAUSE_GATEWAY = "pause the gateway"
    CUT_NETWORK = "cut the gateway's network"
    FULL_STATE = "state disk full"
    FULL_LOGS = "log disk full"
    CLOCK_FORWARD = "clock a day ahead"
    CLOCK_BACK = "clock a day behind"
    GATEWAY_CLOCK = "gateway's clock 90 s off"
    PLAN_GARBAGE = "plan: garbage"
    PLAN_CUT = "plan: half written"
    PLAN_GONE = "plan: deleted"
    PLAN_OTHER = "plan: another valid one"
    PLAN_STALE = "plan: yesterday's"
    PLAN_PIPE = "plan: a pipe"
    JOURNAL_BYTES = "journal: bytes overwritten"
    JOURNAL_CUT = "journal: cut"
    BOT_RECORD = "bot record damaged"
    LOCK_FILE = "lock file damaged"
    GATEWAY_RECORD = "gateway record damaged"
    ATTEMPTS = "attempts damaged"
    EMERGENCY_PLAN = "emergency plan damaged"
    STATE_GONE = "state folder deleted"
    WEBHOOK_REFUSES = "webhook refuses"
    WEBHOOK_HANGS = "webhook hangs"
    WEBHOOK_500 = "webhook: 500"
    WEBHOOK_429 = "webhook: 429"
    WEBHOOK_404 = "webhook: 404"
    WRONG_ACCOUNT = "wrong account"
    WRONG_PASSWORD = "wrong password"  # noqa: S105 - a fault's name
    SECOND_FACTOR = "second factor never granted"
    API_GARBAGE = "API: garbage"
    API_SILENT_LATER = "API falls silent"
    LIVE = "live without the second switch"


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
# Those that are a setting of the gateway, the bot or the run: they can only be there from the beginning.
ONLY_BEFORE = frozenset(
    {
        Fault.BOT_DIES,
        Fault.GATEWAY_CLOCK,
        Fault.WRONG_ACCOUNT,
        Fault.WRONG_PASSWORD,
        Fault.SECOND_FACTOR,
        Fault.API_GARBAGE,
        Fault.API_SILENT_LATER,
        Fault.LIVE,
    }
)
NEEDS_PROCESS = frozenset({Fault.KILL_RUN, Fault.TERM_RUN, Fault.INT_RUN, Fault.STOP_RUN})
CLOCKS = frozenset({Fault.CLOCK_FORWARD, Fault.CLOCK_BACK})
DISKS = frozenset({Fault.FULL_STATE, Fault.FULL_LOGS})
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
    instants = [one for one in Instant if fault not in NEEDS_PROCESS or one is not Instant.BEFORE]
    instant = Instant.BEFORE if fault in ONLY_BEFORE else rng.choice(instants)
    is_engine = engine_share > 0 and number % engine_share == 0
    runtime = Runtime.DOCKER if is_engine else Runtime.SIMULATOR
    if not is_engine and fault in CLOCKS | {Fault.FULL_LOGS}:
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
