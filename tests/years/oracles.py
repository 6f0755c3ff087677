"""What must be so in the simulated world at every instant. Knows the world, and nothing of the code that runs in it."""

import json
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from itertools import pairwise

from tests.years.clockwork import MARKET
from tests.years.scenario import KINDS, Happening, is_session
from tests.years.world import Bot, Program, SentAlert, World

_LOOK_S = 300.0
_STATUS_EVERY_S = 17 * 3600.0
_OLD_PLAN_GRACE_S = 240.0  # one look, a stop of the bot, and a validated restart
_SETTLE_S = 45 * 60.0
_SECRETS = ("correct-horse", "webhooks/1/token")
# What begins, and what says that it is over; of a boot service's own supervisor.
_ENDS = {
    "Docker does not answer": {"Docker answers again"},
    "Second factor needed": {"Second factor confirmed"},
    "Gateway lost": {"Gateway is back"},
    "Gateway has no link to the broker": {"Link to the broker is back"},
    "Container's health check fails": {"Health check passes"},
    "Bot is not connected to the gateway": {"Bot is connected"},
    "No plan for today": {"Plan for today active"},
    "Plan file is not usable": {"Plan file is usable", "Plan file is whole"},
    "Disk nearly full": {"Disk has room again"},
}
_BEGINS = {over: title for title, overs in _ENDS.items() for over in overs}
# What may be told again while it lasts, and after how many seconds.
_AGAIN_S = {"Second factor needed": 3500.0, "No plan for today": 12 * 3600.0}
_QUIET_S = 2 * 3600.0
# What must be told of a fault that comes alone, and within how many seconds beside one interval.
_EXPECTED: dict[str, tuple[set[str], float]] = {
    "gateway_dies": ({"Gateway lost", "Second factor needed", "No login is under way"}, 120.0),
    "gateway_hangs": ({"Gateway lost"}, 300.0),
    "engine_away": ({"Docker does not answer", "Gateway lost", "Second factor needed"}, 300.0),
    "bot_crashes": ({"Bot ended"}, 60.0),
    "bot_finishes": ({"Bot has finished"}, 60.0),
    "service_killed": ({"Boot service was ended by the system", "Start-up begun"}, 120.0),
    "power_cut": ({"Start-up begun"}, 3 * 3600.0 + 120.0),
    "clock_ahead": ({"Clock jumped"}, 120.0),
    "clock_behind": ({"Clock jumped"}, 120.0),
    "bot_restart_asked": ({"Bot started", "Operational", "No bot on Strategy C", "Strategy C: no trading"}, 120.0),
    "startup_by_hand": ({"Start-up stopped: BOT_ALREADY_RUNNING", "Start-up stopped: ALREADY_STARTING"}, 60.0),
    "hold": ({"Bot stopped", "Gateway stopped", "Supervision ended"}, 120.0),
    "disk_full": ({"Disk nearly full"}, 120.0),
}
_EARLY_CLOSE = time(13, 0)
_OPEN, _CLOSE = time(9, 15), time(16, 0)


def _show_status() -> int:
    from orchestration.commands import views

    return views.status(as_json=True)


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
    """

    world: World
    faults: tuple[Happening, ...]
    interval_s: float = 60.0
    breaches: list[Breach] = field(default_factory=list)
    _restarts: list[float] = field(default_factory=list)
    _told: dict[str, float] = field(default_factory=dict)
    _unhealthy_until_s: float = 3600.0
    _wrong_since_s: float | None = None
    _open: dict[str, float] = field(default_factory=dict)
    _life_began_s: float = 0.0

    def __post_init__(self) -> None:
        world = self.world
        world.on_launch.append(self._judge_launch)
        world.on_alert.append(self._judge_alert)
        world.on_step.append(self._judge_step)
        world.on_command.append(self._judge_command)
        world.clockwork.after(_LOOK_S, self._look)
        world.clockwork.after(_STATUS_EVERY_S, self._ask_status)
        for one in self.faults:
            if one.kind in _EXPECTED:
                world.clockwork.after(one.at_s, lambda one=one: self._expect(one))  # type: ignore[misc]

    def report(self, rule: str, what: str) -> None:
        """Note a breach, each kind of one once in an hour."""
        key = f"{rule}: {what.partition('(')[0]}"
        if self.world.clockwork.now_s - self._told.get(key, float("-inf")) > 3600.0:
            self._told[key] = self.world.clockwork.now_s
            self.breaches.append(Breach(at_s=self.world.clockwork.now_s, rule=rule, what=what))
            self.world.clockwork.say("oracle", f"BREACH {rule}: {what}")

    # The safety rules.

    def _judge_launch(self, bot: Bot, program: Program) -> None:
        world = self.world
        if len(world.bots) > 1:
            self.report("one bot", f"{len(world.bots)} bots at once ({program.name})")
        if bot.strategy == "C":
            return
        today = world.clockwork.host_now.astimezone(MARKET).date()
        if bot.plan_date != today:
            self.report("plan of the day", f"launched on the plan of {bot.plan_date} on {today} (by {program.name})")
        validated_s = program.connected_at_s
        if validated_s is None or world.clockwork.now_s - validated_s > 120.0:
            self.report("gateway validated", f"launched without a handshake in this run (by {program.name})")
        if world.is_held():
            self.report("hold", f"launched while held (by {program.name})")

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
            grace_s = _OLD_PLAN_GRACE_S + self.interval_s
            if (now - expired).total_seconds() > grace_s and not self._has_clock_fault(grace_s):
                self.report("plan of the day", f"the bot still runs on the plan of {bot.plan_date} (at {now})")

    def _judge_command(self, program: Program, verb: str) -> None:
        gateway, now_s = self.world.gateway, self.world.clockwork.now_s
        if verb != "restart" or program.name != "service":
            return
        if gateway.awaits_phone:
            self.report("no restart while a person is waited for", "the gateway was restarted during a second factor")
        self._restarts.append(now_s)
        recent = [one for one in self._restarts if now_s - one < 1800.0]
        incidents = 1 + sum(now_s - 1800.0 <= one.at_s <= now_s for one in self.faults)
        if len(recent) > incidents:
            self.report("one restart per incident", f"{len(recent)} restarts for at most {incidents} incidents")

    # What is told.

    def _judge_alert(self, alert: SentAlert) -> None:
        text = f"{alert.title} {alert.message} {alert.fields}"
        if any(secret in text for secret in _SECRETS):
            self.report("no secret told", alert.title)
        self._judge_order(alert)
        if alert.severity in {"warning", "critical"} and not self._has_cause(alert):
            self.report("no false alarm", f"{alert.title} ({alert.message[:120]})")

    def _judge_order(self, alert: SentAlert) -> None:
        """Each incident is told once, and its end once, by each supervisor."""
        service = self.world.service
        if service is None:
            return
        if service.began_s > self._life_began_s:
            self._open.clear()
            self._life_began_s = service.began_s
        is_late = self._is_channel_bad(alert.at_s)  # what is told now may have been so hours ago
        if alert.title in _ENDS:
            since_s = self._open.get(alert.title)
            least_s = _AGAIN_S.get(alert.title, float("inf"))
            if since_s is not None and not is_late and alert.at_s - since_s < least_s:
                self.report("told once", f"{alert.title} (told {alert.at_s - since_s:.0f} s before, and not over)")
            self._open[alert.title] = alert.at_s
        elif alert.title in _BEGINS and self._open.pop(_BEGINS[alert.title], None) is None and not is_late:
            self.report("no end without a beginning", alert.title)

    def _expect(self, one: Happening) -> None:
        """See that a fault that comes alone is told."""
        world = self.world
        if world.service is None or world.service.began_s > one.at_s - 600.0 or not self._is_alone(one):
            return
        if one.kind.startswith("bot_") and not world.bots and one.kind != "bot_restart_asked":
            return
        titles, within_s = _EXPECTED[one.kind]
        within_s += self.interval_s + (one.lasts_s if one.kind == "power_cut" else 0.0)
        if one.lasts_s and one.lasts_s < within_s and one.kind in {"engine_away", "disk_full"}:
            return
        is_lost = one.kind in {"gateway_dies", "gateway_hangs"}
        if is_lost and (not world.gateway.is_ready or self._is_night(one.at_s, within_s)):
            return
        if one.kind.startswith("clock") and one.lasts_s < 300.0:
            return
        count = len(world.alerts)

        def judge() -> None:
            told = {alert.title for alert in world.alerts[count:]}
            if not told & titles:
                self.report("each incident is told", f"{one.kind} (nothing of {sorted(titles)} in {within_s:.0f} s)")

        world.clockwork.after(within_s, judge)

    def _is_alone(self, one: Happening) -> bool:
        return not any(
            other is not one and other.at_s - 3600.0 < one.at_s < other.at_s + other.lasts_s + _QUIET_S
            for other in self.faults
            if not other.kind.startswith("plan_")
        )

    def _is_night(self, at_s: float, within_s: float) -> bool:
        """Whether it is, or soon will be, a time at which losses are expected: restarts and the broker's resets."""
        begin = self.world.clockwork.market_now
        end = begin + timedelta(seconds=within_s)
        del at_s
        is_weekend = (begin.weekday() == 4 and end.hour >= 22) or (begin.weekday() == 5 and begin.hour < 4)
        return begin.hour < 2 or begin.hour == 23 or end.hour in {0, 23} or is_weekend

    def _is_channel_bad(self, now_s: float) -> bool:
        return any(
            one.kind.startswith("channel") and one.at_s <= now_s <= one.at_s + one.lasts_s + 3 * 3600.0
            for one in self.faults
        )

    def _has_cause(self, alert: SentAlert) -> bool:
        """Whether anything was wrong, or the gateway was on its way, shortly before."""
        now_s = alert.at_s
        gateway = self.world.gateway
        if now_s < self._unhealthy_until_s or gateway.is_silent or now_s - gateway.was_wrong_s < _QUIET_S:
            return True
        local = self.world.clockwork.market_now
        if any(word in alert.title for word in ("Second factor", "Weekly login")):
            return self.world.gateway.had_challenge_s + 3 * 3600.0 > now_s
        if any(self._lasts(one, now_s) for one in self.faults):
            return True
        return ("plan" in alert.title.lower() or "Strategy C" in alert.title) and not self._is_plan_in_place(local)

    def _lasts(self, one: Happening, now_s: float) -> bool:
        return one.at_s <= now_s <= one.at_s + max(one.lasts_s, KINDS[one.kind].least_s) + 2 * 3600.0

    def _is_plan_in_place(self, local: datetime) -> bool:
        try:
            plan = json.loads(self.world.plan_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        is_good = plan.get("strategy") != "Z" and not plan.get("data_quarantine")
        return is_good and plan.get("date") == local.date().isoformat()

    # Liveness.

    def _look(self) -> None:
        world, clockwork = self.world, self.world.clockwork
        clockwork.after(_LOOK_S, self._look)
        local = clockwork.market_now
        if not is_session(local.date()) or not _OPEN <= local.time() < _CLOSE:
            self._wrong_since_s = None
            return
        is_excused = (
            any(self._lasts(one, clockwork.now_s) for one in self.faults)
            or not self._is_plan_in_place(local)
            or not world.gateway.is_ready
            or self._is_half_day(local)
            or world.is_held()
            or local.date() in world.finished_on
        )
        bots = [bot for bot in world.bots if bot.plan_date == local.date() and bot.is_connected]
        if bots or is_excused:
            self._wrong_since_s = None
            return
        if self._wrong_since_s is None:
            self._wrong_since_s = clockwork.now_s
        if clockwork.now_s - self._wrong_since_s > _SETTLE_S:
            runs = "a service runs" if world.service is not None else "no service runs"
            self.report("every session day is traded", f"no bot on the plan of {local.date()} ({runs})")

    # What `inv status` says.

    def _ask_status(self) -> None:
        """Ask `inv status --json` now and then, and compare it with the world."""
        world = self.world
        world.clockwork.after(_STATUS_EVERY_S, self._ask_status)
        if not world.is_host_up or not world.gateway.is_engine_up:
            return
        path, known = world.root / "status.json", self._describe_world()
        path.unlink(missing_ok=True)

        def compare(code: int) -> None:
            if self._describe_world() != known:
                return
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                self.report("status agrees", f"no document, exit code {code} ({error})")
                return
            found = (said["bot"]["pid"], said["gateway"]["ready"], said["hold"] is not None)
            if found != known:
                self.report("status agrees", f"pid, ready, held: {found} is said, {known} is so")

        world.spawn("status", _show_status, output="status.json", on_end=compare)

    def _describe_world(self) -> tuple[int | None, bool, bool]:
        world = self.world
        pids = [bot.process.pid for bot in world.bots]
        return pids[0] if pids else None, world.gateway.is_ready and not world.gateway.is_silent, world.is_held()

    def _is_half_day(self, local: datetime) -> bool:
        return local.time() >= _EARLY_CLOSE and not is_session(local.date() + timedelta(days=1))

    def _has_clock_fault(self, grace_s: float) -> bool:
        now_s = self.world.clockwork.now_s
        return any(
            one.kind.startswith("clock") and one.at_s <= now_s <= one.at_s + 3600.0 + grace_s for one in self.faults
        )

    # State files.

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

    def judge_twins(self) -> None:
        """No incident's alert was taken twice within seconds: called at the end."""
        alerts = [one for one in self.world.alerts if one.severity == "critical"]
        for before, after in pairwise(alerts):
            is_same = (before.title, before.message) == (after.title, after.message)
            if is_same and after.at_s - before.at_s < 60.0 and "may be a repeat" not in after.footer:
                self.report("told once", f"{after.title} (twice within {after.at_s - before.at_s:.0f} s)")
