"""A system in simulated time, to which things happen; a supervisor watches it and its actions have effects."""

import random
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from orchestration.bot.state import BotState
from orchestration.errors import FallbackWord
from orchestration.gateway.time_windows import is_in_any, parse_windows
from orchestration.settings import Settings
from orchestration.supervision import (
    Action,
    Decision,
    MarketLook,
    Memory,
    Notice,
    Observation,
    PlanCandidate,
    PlanObservation,
    Rules,
    decide,
)
from tests.fakes.gateway import RUNNING
from tests.unit.supervision import scene
from tests.unit.supervision.scene import unusable, valid

SETTINGS = Settings.from_environ({})
_RESETS = parse_windows(SETTINGS.broker_reset_windows)
_NIGHTLY = parse_windows(SETTINGS.gateway_restart_window)
MARKET = SETTINGS.market_timezone
BEGIN = datetime(2026, 11, 17, 12, 0, tzinfo=MARKET)  # a Tuesday
LOGIN_S = 40.0  # from the container's start to its API
DUE = SETTINGS.gameplan_due


class WatchFault(StrEnum):
    """What can happen to a system. The ones that a restart repairs last until one is made, or until their end."""

    ENGINE = "engine"
    DEAD = "dead"
    PAUSED = "paused"
    SICK = "sick"
    SILENT = "silent"
    NO_IDS = "no_ids"
    PHONE = "phone"
    TAKEN = "taken"
    LINK = "link"
    FARMS = "farms"
    UNCONNECTED = "unconnected"
    DISK = "disk"
    JUMP = "jump"
    STARTED = "started"
    BAD_FILE = "bad_file"
    BOT_DIES = "bot_dies"
    BOT_HANGS = "bot_hangs"


_ENDS_IT = frozenset({WatchFault.BOT_DIES, WatchFault.BOT_HANGS})
MENDED_BY_GATEWAY = frozenset({WatchFault.DEAD, WatchFault.PAUSED, WatchFault.SICK, WatchFault.SILENT})
_LOOKS: dict[WatchFault, dict[str, Any]] = {
    WatchFault.FARMS: scene.FARMS,
    WatchFault.LINK: scene.LINK_DOWN,
    WatchFault.NO_IDS: scene.NO_IDS,
    WatchFault.SILENT: scene.SILENT,
    WatchFault.SICK: scene.SICK,
    WatchFault.PAUSED: scene.PAUSED,
    WatchFault.TAKEN: scene.TAKEN,
    WatchFault.PHONE: scene.PHONE,
    WatchFault.DEAD: scene.DEAD,
    WatchFault.ENGINE: scene.ENGINE_GONE,
}


@dataclass(frozen=True, kw_only=True)
class WatchEvent:
    """One fault: when it begins and how long it lasts if nothing repairs it."""

    fault: WatchFault
    at_s: float
    lasts_s: float

    @property
    def end_s(self) -> float:
        return self.at_s + self.lasts_s


@dataclass
class SupervisedWorld:
    """The system, and what its supervisor has said and done.

    Attributes:
        happenings: What happens to it.
        plan_times: When each day's plan is put in place, market time; a day without one gets none.
        repaired: What a restart has ended before its time.
        ready_s: When the gateway is ready after its last start.
        starts: How often its container was started.
        bot: Which bot it is, 0 while none runs.
        plan: What the bot runs on.
        memory: The supervisor's.
        lives: What each supervisor has said, and when.
        done: What was done, when, and on which look.
        looks: How often it has looked.
        largest: How large what it remembers has been.
        breaches: When the bot stood there with another day's plan.
    """

    happenings: tuple[WatchEvent, ...]
    plan_times: dict[date, time]
    rules: Rules = scene.RULES
    at_s: float = 0.0
    repaired: set[WatchEvent] = field(default_factory=set)
    ready_s: float = 0.0
    starts: int = 1
    bot: int = 1
    bots: int = 1
    plan: PlanObservation = field(default=scene.PLAN)
    memory: Memory = field(default_factory=Memory)
    lives: list[list[tuple[float, Notice]]] = field(default_factory=lambda: [[]])
    done: list[tuple[float, Action, Observation]] = field(default_factory=list)
    looks: int = 0
    largest: int = 0
    breaches: list[str] = field(default_factory=list)
    _jumped: set[WatchEvent] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._launch()

    @property
    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.at_s)

    def active(self) -> set[WatchFault]:
        """What is wrong now."""
        return {one.fault for one in self.happenings if one.at_s <= self.at_s < one.end_s and one not in self.repaired}

    def candidate(self) -> PlanCandidate:
        """What the plan file holds now: the latest day's plan that was put in place."""
        if WatchFault.BAD_FILE in self.active():
            return unusable(FallbackWord.GAMEPLAN_INVALID, "e")
        today = self.now.date()
        written = [day for day, at in self.plan_times.items() if datetime.combine(day, at, MARKET) <= self.now]
        if not written:
            return PlanCandidate(word=FallbackWord.GAMEPLAN_MISSING)
        latest = max(written)
        content = f"{latest.day % 10}"
        return valid(latest, content, "A") if latest >= today else unusable(FallbackWord.GAMEPLAN_STALE, content)

    def look(self) -> Observation:
        """See everything."""
        active = self.active()
        seen: dict[str, Any] = dict(scene.start_number(self.starts))
        if self.at_s < self.ready_s:
            seen = {**scene.STARTING, "gateway": replace(RUNNING, started_at=seen["gateway"].started_at)}
        for fault, changes in _LOOKS.items():
            if fault in active:
                seen |= {
                    name: replace(value, started_at=seen["gateway"].started_at)
                    if name == "gateway" and value is not None and seen.get("gateway") is not None
                    else value
                    for name, value in changes.items()
                }
        jumps = [one for one in self.happenings if one.fault is WatchFault.JUMP and one.at_s <= self.at_s]
        new_jumps = [one for one in jumps if one not in self._jumped]
        self._jumped.update(new_jumps)
        is_up = self.at_s >= self.ready_s and not active & (
            set(_LOOKS) - {WatchFault.FARMS, WatchFault.LINK, WatchFault.NO_IDS}
        )
        local = self.now
        return replace(
            scene.WELL,
            at_s=self.at_s,
            now=local,
            wall_jump_s=3600.0 if new_jumps else 0.0,
            bot=self._look_at_bot(active, is_up=is_up),
            plan=replace(self.plan, candidate=self.candidate()),
            market=MarketLook(today=local.date(), is_session=local.weekday() < 5, is_past_due=local.time() >= DUE),
            disk_free_bytes=10**6 if WatchFault.DISK in active else 10**11,
            in_reset_window=is_in_any(_RESETS, local),
            in_restart_window=is_in_any(_NIGHTLY, local),
            **seen,
        )

    def _look_at_bot(self, active: set[WatchFault], *, is_up: bool) -> BotState:
        key = f"{self.bots}"
        if not self.bot:
            return BotState(is_running=False, key=key, exit_code=0, is_stopping=True)
        if WatchFault.BOT_DIES in active:
            return BotState(is_running=False, key=key, exit_code=3)
        return BotState(
            is_running=True,
            key=key,
            watchdog_age_s=500.0 if WatchFault.BOT_HANGS in active else 10.0,
            watchdog_limit_s=120.0,
            is_connected=is_up and WatchFault.UNCONNECTED not in active,
            has_connected=True,
        )

    def run(self, for_s: float) -> "SupervisedWorld":
        """Live until `for_s` seconds have passed."""
        ends = sorted({at for one in self.happenings for at in (one.at_s, one.end_s)})
        while self.at_s < for_s:
            observation = self.look()
            self.memory, decision = decide(self.memory, observation, self.rules)
            self._note(observation, decision)
            wake_s = next((at for at in ends if at > self.at_s), for_s)
            step_s = decision.next_look_s
            for action in decision.actions:
                self._act(action)
            # Docker's events and a bot's end wake the supervisor at once.
            self.at_s = min(self.at_s + step_s, wake_s)
        return self

    def _note(self, observation: Observation, decision: Decision) -> None:
        self.looks += 1
        if self.looks % 50 == 0:
            self.largest = max(self.largest, len(repr(self.memory)))
        on_restart = () if decision.on_restart is None else (decision.on_restart,)
        self.lives[-1] += [(self.at_s, notice) for notice in (*decision.notices, *on_restart)]
        self.done += [(self.at_s, action, observation) for action in decision.actions]
        market, plan = observation.market, observation.plan
        opens = datetime.combine(market.today, DUE, MARKET) + timedelta(seconds=self.rules.interval_s + 20)
        is_old = plan.date is not None and plan.date < market.today
        trades_old = observation.bot.is_running and plan.strategy != "C" and is_old and not decision.actions
        if market.is_session and self.now >= opens and trades_old:
            self.breaches.append(f"{self.now}: the bot has the plan of {plan.date}")

    def _act(self, action: Action) -> None:
        if action is Action.RESTART_GATEWAY:
            self._mend(MENDED_BY_GATEWAY)
            self.starts += 1
            self.at_s += 12.0
            self.ready_s = self.at_s + LOGIN_S
        elif action is Action.STOP_BOT:
            self.bot = 0
        elif action in {Action.RESTART_BOT, Action.RESTART_BOT_ON_NEW_PLAN, Action.RESTART_BOT_ON_STRATEGY_C}:
            self.at_s += 8.0
            self._mend({WatchFault.UNCONNECTED})
            self._launch()
        elif action is Action.END_FAILED:
            # The host's service manager starts it all again, once the gateway is ready.
            self.at_s += 30.0
            self._mend(set(WatchFault))
            self._launch()
            self.memory = Memory()
            self.lives.append([])

    def _launch(self) -> None:
        self.bots += 1
        self.bot = self.bots
        candidate = self.candidate()
        if candidate.word is None and candidate.date == self.now.date():
            self.plan = replace(
                self.plan, date=candidate.date, strategy="A", is_emergency=False, sha256=candidate.sha256 or ""
            )
        else:
            self.plan = replace(self.plan, date=self.now.date(), strategy="C", is_emergency=True, sha256="c" * 64)

    def _mend(self, faults: set[WatchFault] | frozenset[WatchFault]) -> None:
        self.repaired |= {one for one in self.happenings if one.fault in faults and one.at_s <= self.at_s}


def pick_faults(rng: random.Random, *, until_s: float, apart_s: float | None) -> tuple[WatchEvent, ...]:
    """Random faults: one after the other with `apart_s` of calm between them, or, for None, all over each other."""
    found = []
    at_s = rng.uniform(100.0, 2000.0)
    while at_s < until_s:
        # A bot's end ends the supervisor, and so much else with it that nothing would overlap for long.
        fault = rng.choice([one for one in WatchFault if apart_s is not None or one not in _ENDS_IT])
        lasts_s = rng.choice((5.0, 30.0, 90.0, 400.0, 1500.0, 4000.0, 9000.0))
        found.append(WatchEvent(fault=fault, at_s=at_s, lasts_s=min(lasts_s, until_s - at_s)))
        at_s += rng.expovariate(1 / 1500.0) if apart_s is None else found[-1].lasts_s + apart_s
    return tuple(found)


def pick_plan_times(rng: random.Random) -> dict[date, time]:
    """Each day's plan: the evening before is not modelled; early, in time, late or never."""
    times = {}
    for number in range(4):
        day = (BEGIN + timedelta(days=number)).date()
        choice = rng.choice(("night", "early", "in time", "late", "never"))
        if choice != "never":
            hour = {"night": 0, "early": 5, "in time": 8, "late": 11}[choice]
            times[day] = time(hour, rng.randrange(60))
    return times
