"""What must be so in the simulated world at every instant. Knows the world, and nothing of the code that runs in it.

`facts` follows the world, `telling` judges the alerts at the end, `answers` what the commands say that only look.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from tests.years.answers import Answers
from tests.years.clockwork import MARKET
from tests.years.facts import Episode, Facts
from tests.years.scenario import Happening, is_session
from tests.years.telling import Telling
from tests.years.world import Bot, Program, SentAlert, World

_LOOK_S = 30.0
_OLD_PLAN_GRACE_S = 120.0  # one look, a stop of the bot, and a validated restart
_SETTLE_S = 240.0  # a service that ended is started after 30 s, and its start takes a minute
_SECRETS = ("correct-horse", "webhooks/1/token")
_RESTART_WORDS = ("restarts itself", "session invalidated")
_EXPECTED_S = 60.0
_LINK_S = 890.0  # a lost link alone restarts nothing before 15 minutes
_EARLY_CLOSE = time(13, 0)
_OPEN, _CLOSE = time(9, 15), time(16, 0)


@dataclass(frozen=True, kw_only=True)
class Breach:
    """Something that must not be."""

    at_s: float
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.at_s:.0f} s: {self.rule}: {self.what}"


@dataclass
class Oracles:
    """Watches a world.

    Attributes:
        world: The world.
        faults: What was planned to happen in it.
        interval_s: How often the supervisor looks.
        breaches: What was seen.
        facts: What was so.
    """

    world: World
    faults: tuple[Happening, ...]
    interval_s: float = 60.0
    breaches: list[Breach] = field(default_factory=list)
    facts: Facts = field(init=False)
    _told: dict[str, float] = field(default_factory=dict)
    _wrong_since_s: float | None = None
    _restarts: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.world
        self.facts = Facts(world)
        world.on_launch.append(self._judge_launch)
        world.on_alert.append(self._judge_alert)
        world.on_step.append(self._judge_step)
        world.on_command.append(self._judge_command)
        world.clockwork.on_say.append(self._judge_cut)
        world.clockwork.after(_LOOK_S, self._look)
        Answers(world, self.facts, self.faults, self.report_at).begin()

    def report(self, rule: str, what: str) -> None:
        """Note a breach, each kind of one once in an hour."""
        self.report_at(self.world.clockwork.now_s, rule, what)

    def report_at(self, at_s: float, rule: str, what: str) -> None:
        """Note a breach of an earlier time."""
        key = f"{rule}: {what.partition('(')[0]}"
        if abs(at_s - self._told.get(key, float("-inf"))) > 3600.0:
            self._told[key] = at_s
            self.breaches.append(Breach(at_s=at_s, rule=rule, what=what))
            self.world.clockwork.say("oracle", f"BREACH at {at_s:.0f} s: {rule}: {what}")

    def judge_end(self) -> None:
        """The state files, and everything that was told: to be called once, at the end."""
        self.judge_files()
        now_s = self.world.clockwork.now_s
        Telling(self.facts, self.world.alerts, self.interval_s, now_s, self.report_at).judge()
        self.breaches.sort(key=lambda one: one.at_s)

    # The safety rules.

    def _judge_launch(self, bot: Bot, program: Program) -> None:
        world, facts, now_s = self.world, self.facts, self.facts.now_s
        if len(world.bots) > 1:
            self.report("one bot", f"{len(world.bots)} bots at once ({program.name})")
        if bot.strategy == "C":
            return
        today = world.clockwork.host_now.astimezone(MARKET).date()
        validated_s = program.connected_at_s
        down = facts.find("gateway unusable", now_s, now_s)
        is_down = bool(down) and down[-1].ended_s > now_s and now_s - down[-1].began_s > _LOOK_S
        is_clock_known = now_s - facts.steps[-1][0] > _OLD_PLAN_GRACE_S  # it has not been set during the start
        for so, rule, what in (
            (bot.plan_date != today, "plan of the day", f"launched on the plan of {bot.plan_date} on {today}"),
            (not is_session(today), "plan of the day", f"launched on {today}, on which the exchange is closed"),
            (not facts.find("plan in place", now_s - 60.0, now_s), "plan of the day", "launched on no released plan"),
            (validated_s is None or now_s - validated_s > 120.0, "gateway validated", "launched without a handshake"),
            (is_down, "gateway validated", "launched while the gateway is down"),
            (is_clock_known and abs(facts.find_offset_s(now_s)) > 60.0, "clock", "launched with a clock that is wrong"),
            (world.is_held(), "hold", "launched while held"),
        ):
            if so:
                self.report(rule, f"{what} (by {program.name})")

    def _judge_step(self) -> None:
        world = self.world
        if len(world.bots) > 1:
            self.report("one bot", f"{len(world.bots)} bots at once")
        if not world.bots:
            return
        now = world.clockwork.host_now.astimezone(MARKET)
        for bot in world.bots:
            if bot.strategy == "C" or bot.plan_date is None or bot.plan_date >= now.date():
                continue
            expired = datetime.combine(bot.plan_date + timedelta(days=1), time(), MARKET)
            since_s = max(self.facts.steps[-1][0], self.facts.now_s - (now - expired).total_seconds())
            service = world.service  # one that has just begun has to start first
            since_s = max(since_s, service.began_s if service is not None else since_s)
            if self.facts.now_s - since_s > _OLD_PLAN_GRACE_S + self.interval_s:
                self.report("plan of the day", f"the bot still runs on the plan of {bot.plan_date} (at {now})")

    def _judge_command(self, program: Program, verb: str) -> None:
        """A restart is for an incident, once, and never while a person or the broker is waited for."""
        facts, now_s = self.facts, self.world.clockwork.now_s
        if verb == "stop" and program.name == "service" and not self.world.is_held():
            self.report("the gateway is left up", "the supervisor stopped the gateway (nothing was refused)")
        if verb != "restart" or program.name != "service":
            return
        if self.world.gateway.awaits_phone:
            self.report("no restart while a person is waited for", "the gateway was restarted during a second factor")
        down = facts.find("gateway unusable", now_s, now_s)
        cut = [one for one in facts.find("link lost", now_s, now_s) if now_s - one.began_s >= _LINK_S]
        found = down or cut
        incident = found[-1] if found else Episode("", now_s)
        if not found:
            self.report("one restart per incident", "the gateway was restarted (it was usable)")
        elif incident.cause in _RESTART_WORDS and now_s - incident.began_s < _EXPECTED_S:
            self.report("one restart per incident", "the gateway was restarted (it was restarting itself)")
        elif any(incident.began_s <= one for one in self._restarts):
            self.report("one restart per incident", f"a second restart ({incident})")
        self._restarts.append(now_s)

    def _judge_alert(self, alert: SentAlert) -> None:
        text = f"{alert.title} {alert.message} {alert.fields}"
        if any(secret in text for secret in _SECRETS):
            self.report("no secret told", alert.title)

    # Liveness.

    def _look(self) -> None:
        clockwork = self.world.clockwork
        clockwork.after(_LOOK_S, self._look)
        wrong = self._find_what_is_missing()
        if not wrong:
            self._wrong_since_s = None
        elif self._wrong_since_s is None:
            self._wrong_since_s = clockwork.now_s
        elif clockwork.now_s - self._wrong_since_s > _SETTLE_S + self.interval_s:
            self.report("the system comes back", wrong)
        if not self.world.is_service_wanted:
            self._judge_rest()

    def _find_what_is_missing(self) -> str:
        """What should be up and is not, where nothing of the world stands in its way."""
        world, gateway, now_s = self.world, self.world.gateway, self.facts.now_s
        if not world.is_host_up or not world.is_service_wanted or world.is_held() or not gateway.is_engine_up:
            return ""
        if world.service is None:
            return "no service runs (nothing stands in its way)"
        local = world.clockwork.market_now
        is_usable = gateway.is_ready and not gateway.is_silent and abs(self.facts.find_offset_s(now_s)) <= 60.0
        is_open = is_session(local.date()) and _OPEN <= local.time() < _CLOSE and not self._is_half_day(local)
        is_asked = is_usable and is_open and local.date() not in world.finished_on
        has_bot = any(bot.plan_date == local.date() and bot.is_connected for bot in world.bots)
        if not is_asked or has_bot or not self.facts.find("plan in place", now_s, now_s):
            return ""
        return f"no bot on the plan of {local.date()} (all it needs is there)"

    def _judge_rest(self) -> None:
        """A service that does not run any more has said so."""
        if self.world.is_held():
            return  # it was meant
        unwanted = self.facts.find("service unwanted", self.facts.now_s, self.facts.now_s)
        if not unwanted or self.facts.now_s - unwanted[-1].began_s < 300.0 or self._is_channel_bad():
            return
        life_s = max((one.began_s for one in self.facts.lives if one.began_s <= unwanted[-1].began_s), default=0.0)
        words = ("Supervision ended", "Start-up failed", "Start-up stopped", "Given up", "Bot stopped", "in time")
        if not any(alert.at_s >= life_s and any(one in alert.title for one in words) for alert in self.world.alerts):
            self.report("the end of a service is told", "the service does not run any more (and nothing said so)")

    def _is_channel_bad(self) -> bool:
        now_s = self.facts.now_s
        return any(one.kind.startswith("channel") and one.at_s - 600.0 <= now_s <= one.at_s + one.lasts_s + 7200.0
                   for one in self.faults)  # fmt: skip

    def _is_half_day(self, local: datetime) -> bool:
        return local.time() >= _EARLY_CLOSE and not is_session(local.date() + timedelta(days=1))

    # State files.

    def _judge_cut(self, who: str, what: str) -> None:
        if who == "host" and ("ended with -" in what or what == "boots"):
            self.judge_files()

    def judge_files(self) -> None:
        """All state files are whole: to be called at any cut, and at the end."""
        folder = self.world.state_dir
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                self.report("state files whole", f"{path.name} ({error})")
        journal = folder / "journal.sqlite3"
        if journal.exists():
            with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as connection:
                found = connection.execute("PRAGMA quick_check").fetchone()[0]
            connection.close()
            if found != "ok":
                self.report("state files whole", f"journal ({found})")
