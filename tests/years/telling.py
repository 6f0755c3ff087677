"""Whether what was told was so, and whether what was so was told. Judged at the end, from the world's facts alone.

Each alert is matched to the one happening of the world that explains it: an episode that was under way when the alert
says it was decided, or an event just before. What explains nothing is a false alarm, what is explained twice was told
twice, and a happening that explains no alert, though somebody watched, was kept silent.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time

from tests.years.clockwork import DAY_S
from tests.years.facts import FOREVER_S, Episode, Facts
from tests.years.scenario import is_session
from tests.years.world import SentAlert

_LOOK_S = 30.0  # a look begins that long before its finding is decided, at most: two probes of a silent API
_EXPECTED_CAUSES = ("restarts itself", "session invalidated")
_EXPECTED_S = 60.0  # what the nightly restart takes at most
_LOSSES = ("Gateway lost", "Second factor needed", "Docker does not answer", "No login is under way")
_HEALTH_S = 55.0
_LINK_RESTART_S = 900.0


@dataclass(frozen=True)
class Told:
    """An alert that was taken, or that a summary of late ones names, and when it was decided."""

    at_s: float
    title: str
    alert: SentAlert


Key = tuple[object, ...]


@dataclass(frozen=True)
class Rule:
    """What explains alerts of a title: the key of the happening, or None; and after how long it may be told again."""

    explain: Callable[["Telling", float], Key | None]
    again_s: float = FOREVER_S
    is_each_life: bool = True


def _during(kind: str, *, after_s: float = 0.0) -> Callable[["Telling", float], Key | None]:
    """An episode that was so when it was told, and had been for some time."""

    def explain(telling: "Telling", at_s: float) -> Key | None:
        for one in reversed(telling.facts.find(kind, at_s - _LOOK_S, at_s + 0.5)):
            if at_s - one.began_s >= after_s:
                return (kind, one.began_s)
        return None

    return explain


def _explain_lost(telling: "Telling", at_s: float) -> Key | None:
    for one in reversed(telling.facts.find("gateway unusable", at_s - _LOOK_S, at_s + 0.5)):
        is_clock_wrong = abs(telling.facts.find_offset_s(at_s)) > 60.0  # it does not know that it is night
        if one.cause not in _EXPECTED_CAUSES or at_s - one.began_s >= _EXPECTED_S or is_clock_wrong:
            return ("gateway unusable", one.began_s)
    return None


def _explain_idle(telling: "Telling", at_s: float) -> Key | None:
    """No login is under way: nothing was asked of the phone for a while, though the container runs."""
    if telling.facts.find("challenge", at_s - 60.0, at_s):
        return None
    return _explain_lost(telling, at_s)


def _explain_second_factor(telling: "Telling", at_s: float) -> Key | None:
    if not telling.facts.find("challenge", at_s - _LOOK_S, at_s + 0.5):
        return None
    found = telling.facts.find("gateway unusable", at_s - _LOOK_S, at_s + 0.5)
    return ("challenge", found[-1].began_s) if found else None


def _explain_no_plan(telling: "Telling", at_s: float) -> Key | None:
    facts = telling.facts
    day, local = facts.find_host_day(at_s), facts.find_market_time(at_s)
    is_clock_right = abs(facts.find_offset_s(at_s)) < 1.0
    if not is_session(day) or (is_clock_right and local.time() < telling.due):
        return None
    if telling.lasts("plan in place", at_s - _LOOK_S, at_s) and is_clock_right:
        return None
    return ("no plan", day)


def _explain_strategy_c(telling: "Telling", at_s: float) -> Key | None:
    facts = telling.facts
    is_clock_right = abs(facts.find_offset_s(at_s)) < 5.0
    if telling.lasts("plan in place", at_s - _LOOK_S, at_s) and is_clock_right:
        return None
    return ("strategy C", at_s)


def _explain_wrong_clock(telling: "Telling", at_s: float) -> Key | None:
    return ("wrong clock", at_s) if abs(telling.facts.find_offset_s(at_s)) > 5.0 else None


def _explain_bot_end(*, is_finished: bool) -> Callable[["Telling", float], Key | None]:
    def explain(telling: "Telling", at_s: float) -> Key | None:
        for one in reversed(telling.facts.bot_ends):
            if at_s - telling.interval_s - _LOOK_S <= one.at_s <= at_s + 0.5 and not one.is_asked:
                return ("bot end", one.at_s) if (one.code == 0) == is_finished else None
        return None

    return explain


def _explain_clock(telling: "Telling", at_s: float) -> Key | None:
    for since_s, step_s in reversed(telling.facts.steps):
        if at_s - telling.interval_s - _LOOK_S <= since_s <= at_s + 0.5 and abs(step_s) >= 29.0:
            return ("clock", since_s)
    return None


def _explain_restart(telling: "Telling", at_s: float) -> Key | None:
    found = [one for one in telling.facts.restarts if at_s - 5.0 <= one <= at_s + 60.0]
    return ("restart", found[0]) if found else None


def _explain_other_restart(telling: "Telling", at_s: float) -> Key | None:
    facts = telling.facts
    for one in reversed(facts.container_starts):
        if at_s - 600.0 <= one <= at_s and not any(0.0 <= one - own <= 30.0 for own in facts.restarts):
            return ("container start", one)
    return None


def _explain_service_end(telling: "Telling", at_s: float) -> Key | None:
    """The process before the present one was killed, or lost its power."""
    for end_s, who, what in reversed(telling.facts.heard):  # a life may be too short for `facts.lives`
        if who == "host" and end_s < at_s - 1.0 and (what == "loses power" or what.startswith("service ended with ")):
            was_killed = what == "loses power" or what.startswith("service ended with -")
            return ("life's end", end_s) if was_killed else None
    return None


def _explain_begin(telling: "Telling", at_s: float) -> Key | None:
    found = [one for one in telling.facts.programs if at_s - 60.0 <= one.began_s <= at_s + 0.5]
    found = [one for one in found if one.cause in {"service", "startup"}]
    return ("program", found[-1].began_s) if found else None


def _explain_launch(telling: "Telling", at_s: float) -> Key | None:
    found = [one for one, _, _ in telling.facts.launches if at_s - 60.0 <= one <= at_s + 0.5]
    return ("launch", found[-1]) if found else None


def _explain_expiry(telling: "Telling", at_s: float) -> Key | None:
    today = telling.facts.find_host_day(at_s)
    for launched_s, _, bot in reversed(telling.facts.launches):
        if launched_s <= at_s and bot.plan_date is not None:
            return ("expiry", today, launched_s) if bot.plan_date < today else None
    return None


def _explain_switch(telling: "Telling", at_s: float) -> Key | None:
    found = telling.facts.find("plan in place", at_s - _LOOK_S, at_s + 0.5)
    if not found:
        return None
    last_end_s = max((one.at_s for one in telling.facts.bot_ends if one.at_s <= at_s), default=0.0)
    return ("switch", found[-1].began_s, last_end_s)


def _explain_compose(telling: "Telling", at_s: float) -> Key | None:
    for who in ("service", "startup", "bot.restart"):
        if telling.facts.has_heard(who, ("docker compose up",), at_s - 5.0, at_s + 30.0):
            return ("compose", at_s)
    return None


def _explain_operator(*names: str) -> Callable[["Telling", float], Key | None]:
    def explain(telling: "Telling", at_s: float) -> Key | None:
        for one in reversed(telling.facts.programs):
            if one.cause in names and one.overlaps(at_s - 90.0, at_s + 0.5):
                return ("operator", one.began_s)
        return None

    return explain


def _explain_worse(telling: "Telling", at_s: float) -> Key | None:
    """Manual action is required: what was wrong still is, and had been restarted."""
    facts = telling.facts
    is_restarted = any(at_s - DAY_S <= one <= at_s for one in facts.restarts) or len(facts.launches) > 1
    for kind in ("gateway unusable", "link lost", "bot unconnected"):
        found = facts.find(kind, at_s - _LOOK_S, at_s + 0.5)
        if found and is_restarted:
            return ("worse", kind, found[-1].began_s)
    return None


def _explain_late(telling: "Telling", at_s: float) -> Key | None:
    bad = telling.facts.has_heard("channel", ("answers",), at_s - 12 * 3600.0, at_s)
    return ("late", at_s) if bad else None


def _explain_taken(telling: "Telling", at_s: float) -> Key | None:
    others = [one for one in telling.facts.programs if one.overlaps(at_s - _LOOK_S, at_s)]
    is_taken = len(others) > 1 or bool(telling.facts.find("bot", at_s - _LOOK_S, at_s))
    return ("taken", at_s) if is_taken else None


RULES: dict[str, Rule] = {
    "Docker does not answer": Rule(_during("engine away")),
    "Gateway lost": Rule(_explain_lost),
    "No login is under way": Rule(_explain_idle),
    "Second factor needed": Rule(_explain_second_factor, again_s=3500.0),
    "Gateway has no link to the broker": Rule(_during("link lost")),
    "Container's health check fails": Rule(_during("unhealthy", after_s=_HEALTH_S)),
    "Disk nearly full": Rule(_during("disk low")),
    "Plan file is not usable": Rule(_during("plan unusable")),
    "Bot is not connected to the gateway": Rule(_during("bot unconnected", after_s=_HEALTH_S)),
    "No plan for today": Rule(_explain_no_plan),
    "Gateway ready, with warnings": Rule(_explain_wrong_clock),
    "Strategy C: no trading": Rule(_explain_strategy_c),
    "No bot on Strategy C": Rule(_explain_strategy_c),
    "Operational, on the emergency plan": Rule(_explain_strategy_c),
    "Bot ended": Rule(_explain_bot_end(is_finished=False), is_each_life=False),
    "Bot has finished": Rule(_explain_bot_end(is_finished=True), is_each_life=False),
    "Clock jumped": Rule(_explain_clock),
    "Gateway restart attempted": Rule(_explain_restart, is_each_life=False),
    "Gateway was restarted by something else": Rule(_explain_other_restart),
    "Boot service was ended by the system": Rule(_explain_service_end, is_each_life=False),
    "Start-up begun": Rule(_explain_begin, is_each_life=False),
    "Bot started": Rule(_explain_launch, is_each_life=False),
    "Operational": Rule(_explain_launch, is_each_life=False),
    "Trading plan has expired": Rule(_explain_expiry),
    "Bot stopped: its plan is another day's": Rule(_explain_expiry),
    "Bot switched to the day's plan": Rule(_explain_switch),
    "Gateway starting": Rule(_explain_compose),
    "Bot stopped": Rule(_explain_operator("hold", "shutdown"), is_each_life=False),
    "Gateway stopped": Rule(_explain_operator("hold", "shutdown"), is_each_life=False),
    "Supervision ended": Rule(_explain_operator("hold", "shutdown"), is_each_life=False),
    "Start-up failed: GATEWAY_SECOND_FACTOR": Rule(_explain_second_factor),
    "Start-up failed: GATEWAY_TIMEOUT": Rule(_explain_lost),
    "Start-up failed: GATEWAY_UNHEALTHY": Rule(_explain_lost),
    "Start-up failed: GATEWAY_START_FAILED": Rule(_during("engine away")),
    "Start-up failed: DOCKER_UNAVAILABLE": Rule(_during("engine away")),
    "Start-up stopped: HELD": Rule(_during("held")),
    "Start-up stopped: BOT_ALREADY_RUNNING": Rule(_explain_taken),
    "Start-up stopped: ALREADY_STARTING": Rule(_explain_taken),
}

# What says that it is over: what began, and the episode that must not be under way any more.
ENDS: dict[str, tuple[tuple[str, ...], str]] = {
    "Docker answers again": (("Docker does not answer",), "engine away"),
    "Second factor confirmed": (("Second factor needed",), "gateway unusable"),
    "Gateway is back": (("Gateway lost", "No login is under way"), "gateway unusable"),
    "Link to the broker is back": (("Gateway has no link to the broker",), "link lost"),
    "Health check passes": (("Container's health check fails",), "unhealthy"),
    "Bot is connected": (("Bot is not connected to the gateway",), "bot unconnected"),
    "Plan for today active": (("No plan for today",), ""),
    "Plan file is usable": (("Plan file is not usable",), "plan unusable"),
    "Plan file is whole": (("Plan file is not usable",), "plan unusable"),
    "Disk has room again": (("Disk nearly full",), "disk low"),
}


@dataclass
class Telling:
    """Judges what was told.

    Attributes:
        facts: What was so.
        alerts: What the channel took, in order.
        interval_s: How often the supervisor looks.
        until_s: When the simulation ended.
        report: Told of each breach: when, which rule, what.
        due: From when on a plan of the day is missed.
    """

    facts: Facts
    alerts: list[SentAlert]
    interval_s: float
    until_s: float
    report: Callable[[float, str, str], None]
    due: time = time(9, 15)
    _told: list[Told] = field(default_factory=list)
    _late: list[tuple[float, str]] = field(default_factory=list)

    def judge(self) -> None:
        """Everything."""
        self._told = sorted(self._decode(), key=lambda one: one.at_s)
        for told in self._told:
            if told.title.endswith("sent in time"):
                self._late.append((told.alert.at_s, f"{told.alert.message} {told.alert.fields}"))
        self._judge_causes()
        self._judge_ends()
        self._judge_silence()

    def lasts(self, kind: str, since_s: float, until_s: float) -> bool:
        """Whether something was so for all of a stretch of time."""
        return any(one.began_s <= since_s and one.ended_s >= until_s for one in self.facts.episodes.get(kind, ()))

    def _decode(self) -> Iterator[Told]:
        seen: set[tuple[str, str, str]] = set()
        for alert in self.alerts:
            key = (alert.title, alert.stamp, alert.message)
            if key in seen and "may be a repeat" in alert.footer:
                continue
            if key in seen:
                self.report(alert.at_s, "told once", f"{alert.title} (the very same alert was taken twice)")
            seen.add(key)
            at_s = self.facts.find_virtual_s(datetime.fromisoformat(alert.stamp), alert.at_s)
            yield Told(at_s, alert.title, alert)

    # What was told was so.

    def _judge_causes(self) -> None:
        explained: dict[tuple[object, ...], float] = {}
        for told in self._told:
            title = told.title
            if title.endswith("sent in time"):
                self._judge_summary(told)
            if title in ENDS or title.endswith("sent in time"):
                continue
            rule = RULES.get(title)
            if rule is None and title.endswith(": manual action required"):
                rule = Rule(_explain_worse)
            if rule is None:
                self.report(told.at_s, "no false alarm", f"{title} (nothing of this world: {told.alert.message[:200]})")
                continue
            key = rule.explain(self, told.at_s)
            if key is None:
                self.report(told.at_s, "no false alarm", f"{title} ({told.alert.message[:160]})")
                continue
            life = self.facts.find_life(told.at_s)
            whole = (title, *key, life.began_s if life is not None and rule.is_each_life else None)
            before_s = explained.get(whole)
            if before_s is not None and told.at_s - before_s < rule.again_s:
                self.report(told.at_s, "told once", f"{title} (and {told.at_s - before_s:.0f} s before: {key})")
            explained[whole] = told.at_s

    def _judge_summary(self, told: Told) -> None:
        """What is said not to have been sent was not; where that may be, the channel or a power cut was the reason."""
        is_unsure = "may not" in told.title
        is_cut = self.facts.has_heard("host", ("loses power",), told.at_s - DAY_S, told.at_s)
        if _explain_late(self, told.at_s) is None and not (is_unsure and is_cut):
            self.report(told.at_s, "no false alarm", f"{told.title} (the channel had worked)")
        text = f"{told.alert.message} {told.alert.fields}"
        for one in self._told if not is_unsure else ():
            stamp = datetime.fromisoformat(one.alert.stamp).astimezone()
            if one.alert.at_s < told.alert.at_s and re.search(
                f"{stamp:%Y-%m-%d %H:%M} UTC [a-z]+: {re.escape(one.title)}", text
            ):
                self.report(told.at_s, "no false alarm", f"{told.title} (but {one.title} was)")

    def _judge_ends(self) -> None:
        begun: dict[str, float] = {}
        titles = {begin: over for over, (begins, _) in ENDS.items() for begin in begins}
        life_s = -1.0
        for told in self._told:
            life = self.facts.find_life(told.at_s)
            if life is not None and life.began_s != life_s:
                begun, life_s = {}, life.began_s
            if told.title in titles:
                begun[told.title] = told.at_s
            if told.title not in ENDS:
                continue
            begins, kind = ENDS[told.title]
            since_s = max((begun.pop(one) for one in begins if one in begun), default=None)
            if since_s is None and not self._is_late(told.at_s):
                self.report(told.at_s, "no end without a beginning", told.title)
            if kind and self.lasts(kind, told.at_s - _LOOK_S, told.at_s):
                self.report(told.at_s, "no false end", f"{told.title} ({kind} lasts)")

    def _is_late(self, at_s: float) -> bool:
        """Whether a summary of late alerts may hold what is missing."""
        return any(late_s >= at_s - 12 * 3600.0 for late_s, _ in self._late)

    # What was so was told.

    def _judge_silence(self) -> None:
        interval_s = self.interval_s
        for kind, titles, least_s in (
            ("engine away", ("Docker does not answer",), interval_s + 60.0),
            ("link lost", ("Gateway has no link to the broker",), interval_s + 30.0),
            ("disk low", ("Disk nearly full",), interval_s + 60.0),
            ("unhealthy", ("Container's health check fails",), interval_s + 120.0),
            ("bot unconnected", ("Bot is not connected to the gateway",), interval_s + 150.0),
        ):
            for one in self.facts.episodes.get(kind, ()):
                is_muted = kind in {"link lost", "bot unconnected"} and self._is_night(one.began_s, least_s)
                if not is_muted:
                    self._require(one, titles, least_s)
        for one in self.facts.episodes.get("gateway unusable", ()):
            if not self._is_night(one.began_s, 180.0) and one.cause and one.cause not in _EXPECTED_CAUSES:
                self._require(one, _LOSSES, interval_s + 180.0)
        for one in self.facts.episodes.get("challenge", ()):
            begun = self.facts.find("gateway unusable", one.began_s, one.began_s)
            since_s = begun[0].began_s if begun else one.began_s
            self._require(one, ("Second factor needed",), interval_s + 60.0, since_s=since_s)
        self._judge_silent_ends()
        self._judge_silent_events()
        self._judge_silent_days()

    def _require(self, one: Episode, titles: tuple[str, ...], within_s: float, *, since_s: float | None = None) -> None:
        """An episode that lasts long enough, under one supervisor, is told."""
        until_s = one.began_s + within_s
        if one.ended_s < until_s or not self._is_watched(one.began_s, until_s):
            return
        if not self._is_told(titles, one.began_s - 1.0 if since_s is None else since_s - 1.0, until_s):
            self.report(until_s, "each incident is told", f"{one.kind} (nothing of {', '.join(titles)}; {one})")

    def _is_watched(self, since_s: float, until_s: float) -> bool:
        """Whether one supervisor, past its start, saw all of a stretch, and nobody held the system or set the clock."""
        if until_s > self.until_s:
            return False
        life = self.facts.find_life(since_s)
        is_whole = life is not None and life.ended_s >= until_s and since_s - life.began_s >= 0.0
        if life is None or not is_whole or not self._has_started(life, since_s):
            return False
        names = {"hold", "shutdown", "bot.restart", "startup", "resume"}
        is_operated = any(one.cause in names and one.overlaps(since_s - 60.0, until_s) for one in self.facts.programs)
        is_set = any(since_s - 60.0 <= at_s <= until_s for at_s, _ in self.facts.steps[1:])
        return not is_operated and not is_set and not self.facts.find("held", since_s, until_s)

    def _has_started(self, life: Episode, at_s: float) -> bool:
        """Whether a supervisor's start was over: it had brought the gateway up, a minute before."""
        up = [one for one in self._usable(life.began_s, at_s) if one[1] - one[0] >= 90.0 + self.interval_s]
        return bool(up)

    def _usable(self, since_s: float, until_s: float) -> Iterator[tuple[float, float]]:
        at_s = since_s
        for one in self.facts.find("gateway unusable", since_s, until_s):
            if one.began_s > at_s:
                yield at_s, one.began_s
            at_s = max(at_s, one.ended_s)
        if at_s < until_s:
            yield at_s, until_s

    def _is_told(self, titles: tuple[str, ...], since_s: float, until_s: float) -> bool:
        if any(one.title in titles and since_s <= one.at_s <= until_s for one in self._told):
            return True
        return any(late_s >= since_s and any(one in text for one in titles) for late_s, text in self._late)

    def _is_night(self, at_s: float, within_s: float) -> bool:
        """Whether losses are expected: the restart of the night, and the broker's resets."""
        begin, end = self.facts.find_market_time(at_s), self.facts.find_market_time(at_s + within_s)
        is_weekend = (begin.weekday() == 4 and end.hour >= 22) or (begin.weekday() == 5 and begin.hour < 4)
        return begin.hour < 2 or begin.hour == 23 or end.hour in {0, 23} or is_weekend

    def _judge_silent_ends(self) -> None:
        """What was told, and is over, is told to be over."""
        within_s = self.interval_s + 120.0
        for over, (begins, kind) in ENDS.items():
            if not kind or over == "Plan file is whole":
                continue
            overs: tuple[str, ...] = (over, "Plan file is whole") if kind == "plan unusable" else (over,)
            for told in [one for one in self._told if one.title in begins]:
                found = self.facts.find(kind, told.at_s - _LOOK_S, told.at_s + 0.5)
                end_s = found[-1].ended_s if found else FOREVER_S
                stays = not self.facts.find(kind, end_s + 0.1, end_s + within_s)
                life = self.facts.find_life(told.at_s)
                is_same = life is not None and life.ended_s >= end_s + within_s
                is_ready = not self.facts.find("gateway unusable", end_s + 0.1, end_s + within_s)
                if not (stays and is_same and is_ready) or not self._is_watched(end_s, end_s + within_s):
                    continue
                if not self._is_told(overs, told.at_s, end_s + within_s):
                    self.report(end_s + within_s, "each end is told", f"{told.title} (nothing of {over}; {found[-1]})")

    def _judge_silent_events(self) -> None:
        facts = self.facts
        for end in facts.bot_ends:
            if not end.is_asked and self._is_watched(end.at_s - 1.0, end.at_s):
                title = "Bot has finished" if end.code == 0 else "Bot ended"
                if not self._is_told((title,), end.at_s - 1.0, end.at_s + 60.0):
                    self.report(end.at_s + 60.0, "each incident is told", f"{title} (not told: {end})")
        for before, after in zip(facts.lives, facts.lives[1:], strict=False):
            killed = facts.has_heard("host", ("service ended with -9",), before.ended_s - 1.0, before.ended_s + 1.0)
            is_long = after.ended_s - after.began_s > 60.0 and after.began_s - before.ended_s < 120.0
            killed = killed and not facts.has_heard(
                "host", ("loses power",), before.ended_s - 1.0, before.ended_s + 1.0
            )
            if killed and is_long and after.began_s + 300.0 < self.until_s:
                self._require_event("Boot service was ended by the system", after.began_s, 60.0)
        for since_s, step_s in facts.steps[1:]:
            until_s = since_s + self.interval_s + 60.0
            others = [one for one, _ in facts.steps if since_s - 3600.0 < one <= until_s]
            life = facts.find_life(since_s)
            is_seen = life is not None and life.ended_s > until_s and self._has_started(life, since_s)
            is_free = not any(one.overlaps(since_s - 60.0, until_s) for one in facts.programs if one.cause != "service")
            if abs(step_s) >= 60.0 and len(others) == 1 and is_seen and is_free and until_s < self.until_s:
                self._require_event("Clock jumped", since_s, until_s - since_s)

    def _require_event(self, title: str, since_s: float, within_s: float) -> None:
        if not self._is_told((title,), since_s - 1.0, since_s + within_s):
            self.report(since_s + within_s, "each incident is told", f"{title} (not told)")

    def _judge_silent_days(self) -> None:
        """A session day without a plan by the time it is due is told, and an old plan's end."""
        facts = self.facts
        begin = facts.find_market_time(0.0)
        for number in range(int(self.until_s / DAY_S) + 1):
            day = facts.find_market_time(number * DAY_S).date()
            due = datetime.combine(day, self.due, begin.tzinfo)
            due_s = due.timestamp() - begin.timestamp()  # the clocks may change in between
            until_s = due_s + self.interval_s + 120.0
            is_open = is_session(day) and due_s > 0 and self._is_watched(due_s - 60.0, until_s)
            if not is_open or facts.find("plan in place", due_s - 60.0, until_s):
                continue
            if facts.find("gateway unusable", due_s - 60.0, until_s) or abs(facts.find_offset_s(due_s)) > 1.0:
                continue
            midnight_s = due_s - self.due.hour * 3600.0 - self.due.minute * 60.0
            life = facts.find_life(due_s)
            begun_s = due_s - 600.0 - self.interval_s  # a start that may have ended after the hour said so itself
            is_restarted = any(
                one.cause == "bot.restart" and begun_s <= one.began_s <= until_s for one in facts.programs
            )
            if is_restarted or (life is not None and life.began_s >= begun_s):
                continue
            if not self._is_told(("No plan for today",), midnight_s, until_s):
                self.report(until_s, "each incident is told", f"No plan for today (not told on {day})")
