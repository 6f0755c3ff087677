"""What was so in the simulated world, and when: what the oracles compare the program with.

It reads the world's own parts, never the program and nothing that the program has written down.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from tests.years.clockwork import MARKET
from tests.years.world import Bot, Program, World

FOREVER_S = float("inf")
_LOW_BYTES = 500 * 1024 * 1024
_DUE = time(9, 15)


@dataclass
class Episode:
    """Something that is so for a while.

    Attributes:
        kind: What.
        began_s: Since when.
        ended_s: Until when; infinity while it lasts.
        cause: What began it, where that is known.
    """

    kind: str
    began_s: float
    ended_s: float = FOREVER_S
    cause: str = ""

    def overlaps(self, since_s: float, until_s: float) -> bool:
        """Whether it was so at any instant of a stretch."""
        return self.began_s <= until_s and self.ended_s >= since_s

    def __str__(self) -> str:
        until = "now" if self.ended_s == FOREVER_S else f"{self.ended_s:.0f}"
        return f"{self.kind}{f' ({self.cause})' if self.cause else ''} {self.began_s:.0f}-{until}"


@dataclass(frozen=True, kw_only=True)
class BotEnd:
    """A bot's end.

    Attributes:
        at_s: When.
        code: Its exit code.
        is_asked: Whether somebody had sent it a signal, systemd included.
    """

    at_s: float
    code: int
    is_asked: bool


@dataclass
class Facts:
    """Follows a world.

    Attributes:
        world: The world.
        episodes: What was so for a while, by kind, in order.
        bot_ends: The ends of bots.
        launches: When a bot was launched, by which program, and on which plan.
        restarts: When the boot service restarted the gateway's container.
        container_starts: When the gateway's container was started, and by whom.
        steps: When the host's clock was set, and by how many seconds.
        lives: The boot service's processes: an episode each; the cause is the exit code.
        programs: All other programs: an episode each; the cause is the name.
        heard: What the world's parts have said: when, who, what.
    """

    world: World
    episodes: dict[str, list[Episode]] = field(default_factory=dict)
    bot_ends: list[BotEnd] = field(default_factory=list)
    launches: list[tuple[float, str, Bot]] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    container_starts: list[float] = field(default_factory=list)
    steps: list[tuple[float, float]] = field(default_factory=list)
    lives: list[Episode] = field(default_factory=list)
    programs: list[Episode] = field(default_factory=list)
    heard: list[tuple[float, str, str]] = field(default_factory=list)
    _open: dict[str, Episode] = field(default_factory=dict)
    _cause: str = ""
    _plan_seen: tuple[int, int] = (0, 0)
    _plan: tuple[date | None, bool] = (None, False)
    _wall_s: float = 0.0
    _has_link: bool = True
    _bots: list[Bot] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.world
        self._wall_s = world.clockwork.wall_s
        self.steps.append((0.0, 0.0))
        world.on_launch.append(self._note_launch)
        world.on_command.append(self._note_command)
        world.on_step.append(self.look)
        world.clockwork.on_say.append(self._hear)

    # What may be asked.

    @property
    def now_s(self) -> float:
        """Virtual time."""
        return self.world.clockwork.now_s

    def find(self, kind: str, since_s: float, until_s: float) -> list[Episode]:
        """The episodes of a kind that touch a stretch of time."""
        return [one for one in self.episodes.get(kind, ()) if one.overlaps(since_s, until_s)]

    def find_life(self, at_s: float) -> Episode | None:
        """The boot service's process of an instant."""
        return next((one for one in reversed(self.lives) if one.began_s <= at_s <= one.ended_s), None)

    def has_heard(self, who: str, words: Iterable[str], since_s: float, until_s: float) -> bool:
        """Whether a part of the world has said something in a stretch of time."""
        wanted = tuple(words)
        for at_s, speaker, what in reversed(self.heard):
            if at_s < since_s:
                return False
            if at_s <= until_s and speaker == who and any(word in what for word in wanted):
                return True
        return False

    def find_virtual_s(self, stamp: datetime, at_most_s: float) -> float:
        """When the host's clock showed a time: the latest instant not after `at_most_s`."""
        base_s = stamp.astimezone(UTC).timestamp()
        wall_s, found = self.world.clockwork.true_s, None
        for number, (since_s, step_s) in enumerate(self.steps):
            wall_s += step_s
            until_s = self.steps[number + 1][0] if number + 1 < len(self.steps) else FOREVER_S
            at_s = base_s - wall_s
            if since_s - 0.5 <= at_s <= min(until_s, at_most_s) + 0.5:
                found = at_s
        return at_most_s if found is None else found

    def find_offset_s(self, at_s: float) -> float:
        """By how many seconds the host's clock was wrong."""
        return sum(step_s for since_s, step_s in self.steps if since_s <= at_s)

    def find_host_day(self, at_s: float) -> date:
        """Which day it was at the exchange, by the host's clock."""
        clockwork = self.world.clockwork
        wall_s = clockwork.true_s + at_s + self.find_offset_s(at_s)
        return datetime.fromtimestamp(wall_s, UTC).astimezone(MARKET).date()

    def find_market_time(self, at_s: float) -> datetime:
        """The true time at the exchange."""
        return (datetime.fromtimestamp(self.world.clockwork.true_s + at_s, UTC)).astimezone(MARKET)

    # How it is followed.

    def look(self) -> None:
        """See what is so now."""
        world, gateway = self.world, self.world.gateway
        self._note_clock()
        self._read_plan()
        if not gateway.is_ready:
            self._has_link = True
        bots = [bot for bot in world.bots if bot.strategy != "C"]
        is_usable = gateway.is_ready and not gateway.is_silent
        today = world.clockwork.host_now.astimezone(MARKET).date()
        plan_date, is_valid = self._plan
        is_good = is_valid and plan_date == today
        self._set("engine away", so=not gateway.is_engine_up)
        self._set("gateway unusable", so=not is_usable, cause=self._cause)
        self._set("challenge", so=gateway.awaits_phone)
        self._set("link lost", so=is_usable and not self._has_link)
        self._set("unhealthy", so=is_usable and gateway.health == "unhealthy")
        self._set("disk low", so=world.free_bytes < _LOW_BYTES)
        self._set("plan in place", so=is_good, cause=today.isoformat())
        self._set("plan unusable", so=plan_date is not None and not is_valid)
        self._set("host down", so=not world.is_host_up)
        self._set("held", so=world.is_held())
        self._set("bot", so=bool(bots))
        self._set("bot on the day's plan", so=any(bot.plan_date == today for bot in bots))
        self._set("bot unconnected", so=is_usable and bool(bots) and not any(bot.is_connected for bot in bots))
        self._set("service unwanted", so=not world.is_service_wanted)
        self._follow_service()
        self._follow_bots()

    def _set(self, kind: str, *, so: bool, cause: str = "") -> None:
        now = self._open.get(kind)
        if now is not None and so and cause and kind == "plan in place" and now.cause != cause:
            now.ended_s = self.now_s  # another day's plan is another episode
            now = None
        if now is None and so:
            now = Episode(kind, self.now_s, cause=cause)
            self._open[kind] = now
            self.episodes.setdefault(kind, []).append(now)
        elif now is not None and not so:
            now.ended_s = self.now_s
            del self._open[kind]

    def _note_clock(self) -> None:
        wall_s = self.world.clockwork.wall_s
        if wall_s != self._wall_s:
            self.steps.append((self.now_s, wall_s - self._wall_s))
            self._wall_s = wall_s

    def _read_plan(self) -> None:
        path = self.world.plan_path
        try:
            found = path.stat()
        except OSError:
            self._plan = (None, False)
            return
        seen = (found.st_ino, found.st_mtime_ns)
        if seen == self._plan_seen:
            return
        self._plan_seen = seen
        try:
            plan = json.loads(path.read_text(encoding="utf-8"))
            day = date.fromisoformat(plan["date"])
        except (OSError, ValueError, KeyError):
            self._plan = (date.min, False)
            return
        is_quarantined = plan.get("data_quarantine") or plan["data_quality"]["quarantine_active"]
        self._plan = (day, plan.get("strategy") in {"A", "B"} and not is_quarantined)

    def _follow_service(self) -> None:
        service = self.world.service
        last = self.lives[-1] if self.lives else None
        if last is not None and last.ended_s == FOREVER_S and (service is None or service.began_s != last.began_s):
            last.ended_s = self.now_s
        if service is not None and (last is None or last.began_s != service.began_s):
            self.lives.append(Episode("service", service.began_s))

    def _follow_bots(self) -> None:
        for bot in self._bots:
            if bot.process.exit_code is not None:
                is_killed = self.has_heard("systemd", ("kills the bot",), self.now_s - 0.5, self.now_s)
                is_lost = self.has_heard("host", ("loses power",), self.now_s - 0.5, self.now_s)
                is_asked = bot.asked_at_s is not None or is_killed or is_lost
                self.bot_ends.append(BotEnd(at_s=self.now_s, code=bot.process.exit_code, is_asked=is_asked))
        self._bots = list(self.world.bots)

    def _note_launch(self, bot: Bot, program: Program) -> None:
        self.launches.append((self.now_s, program.name, bot))
        self._bots.append(bot)

    def _note_command(self, program: Program, verb: str) -> None:
        if verb == "restart" and program.name == "service":
            self.restarts.append(self.now_s)

    def _hear(self, who: str, what: str) -> None:
        self.heard.append((self.now_s, who, what))
        if who == "gateway":
            self._hear_gateway(what)
        elif who == "host" and what.startswith("starts "):
            self.programs.append(Episode("program", self.now_s, cause=what.removeprefix("starts ")))
        elif who == "host" and " ended with " in what:
            name = what.partition(" ended with ")[0]
            for one in reversed(self.programs):
                if one.cause == name and one.ended_s == FOREVER_S:
                    one.ended_s = self.now_s
                    break

    def _hear_gateway(self, what: str) -> None:
        is_planned = what in {"restarts itself", "session invalidated"} and self._cause != "session invalidated"
        if is_planned or what.startswith(("container ended", "API silent", "engine stopped")):
            self._cause = what
        elif what == "API open":
            self._cause = ""
        elif what == "container started":
            self.container_starts.append(self.now_s)
        elif what == "says 1100":
            self._has_link = False
        elif what in {"says 1101", "says 1102"}:
            self._has_link = True


Predicate = Callable[[Facts, float, float], bool]


def is_session_time(local: datetime) -> bool:
    """Whether a plan of the day is due, and the exchange has not closed."""
    return _DUE <= local.time() < time(16, 0)


def next_midnight(local: datetime) -> datetime:
    """The end of a day at the exchange."""
    return datetime.combine(local.date() + timedelta(days=1), time(), MARKET)
