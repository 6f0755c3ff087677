"""What `inv status`, `inv history` and `inv report` answer at moments of the simulated world, compared with it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.years.facts import Facts
from tests.years.scenario import Happening
from tests.years.world import World

_EVERY_S = 17 * 3600.0
_REPORT_EVERY_S = 71 * 3600.0
_AFTER_FAULT_S = (20.0, 200.0)
_SLACK_S = 180.0


def _show_status() -> int:
    from orchestration.commands import views

    return views.status(as_json=True)


def _show_history() -> int:
    from orchestration.commands import views

    return views.history(limit=50, since=None, as_json=True)


def _show_report() -> int:
    from orchestration.commands import report

    return report.report(since="3d", output="", as_json=True)


@dataclass
class Answers:
    """Asks and compares.

    Attributes:
        world: The world.
        facts: What was so in it.
        faults: What is planned to happen: status is asked shortly after each.
        report: Told of each breach.
    """

    world: World
    facts: Facts
    faults: tuple[Happening, ...]
    report: Callable[[float, str, str], None]
    _asked: int = 0

    def begin(self) -> None:
        """Plan when to ask."""
        after = self.world.clockwork.after
        after(_EVERY_S, self._ask_again)
        after(_REPORT_EVERY_S, self._ask_for_report)
        for number, one in enumerate(self.faults):
            if not one.kind.startswith("plan_"):
                after(one.at_s + _AFTER_FAULT_S[number % 2], self._ask)

    def _ask_again(self) -> None:
        self.world.clockwork.after(_EVERY_S, self._ask_again)
        self._ask()

    def _ask(self) -> None:
        self._run("status", _show_status, self._compare_status)

    def _ask_for_report(self) -> None:
        self.world.clockwork.after(_REPORT_EVERY_S, self._ask_for_report)
        self._run("history", _show_history, self._compare_history)
        self.world.clockwork.after(60.0, lambda: self._run("report", _show_report, self._compare_report))

    def _run(self, name: str, work: Callable[[], int], compare: Callable[[Any, int, Any], None]) -> None:
        world = self.world
        if not world.is_host_up:
            return
        self._asked += 1
        output, known = f"{name}-{self._asked}.json", self._describe_world()
        path = world.root / output

        def judge(code: int) -> None:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            path.unlink(missing_ok=True)
            if self._describe_world() != known or code < 0:
                return
            try:
                said = json.loads(text)
            except ValueError as error:
                self._tell(f"{name} agrees", f"no document, exit code {code} ({error})")
                return
            compare(said, code, known)

        world.spawn(name, work, output=output, on_end=judge)

    def _tell(self, rule: str, what: str) -> None:
        self.report(self.world.clockwork.now_s, rule, what)

    def _describe_world(self) -> tuple[object, ...]:
        world = self.world
        bot = world.bots[0] if world.bots else None
        gateway = world.gateway
        is_ready = gateway.is_engine_up and gateway.is_ready and not gateway.is_silent
        state = gateway.state if gateway.is_engine_up else None
        plan = (str(bot.plan_date), bot.strategy) if bot is not None else None
        return bot.process.pid if bot else None, is_ready, world.is_held(), state, plan, world.service is not None

    def _compare_status(self, said: Any, code: int, known: tuple[object, ...]) -> None:  # noqa: ANN401 - a document
        pid, is_ready, is_held, state, plan, is_served = known
        found = (said["bot"]["pid"], said["gateway"]["ready"], said["hold"] is not None)
        if found != (pid, is_ready, is_held):
            self._tell("status agrees", f"pid, ready, held: {found} is said, {(pid, is_ready, is_held)} is so")
        if said["gateway"]["state"] != (state or None):
            self._tell("status agrees", f"container: {said['gateway']['state']} is said, {state} is so")
        if plan is not None and said["gameplan"] is not None:
            active = (said["gameplan"]["date"], said["gameplan"]["strategy"])
            if active != plan:
                self._tell("status agrees", f"plan: {active} is said, {plan} is so")
        if said["exit_code"] != code:
            self._tell("status agrees", f"exit code {said['exit_code']} is said, {code} is so")
        if code == 0 and (not is_ready or is_held or not is_served):
            self._tell("status agrees", "all is well, it says (it is not)")
        if code == 0 and pid is None and self._is_due_to_trade():
            self._tell("status agrees", "all is well, it says (no bot runs on a day with a plan)")
        if code != 0 and not said["problems"] and not is_held and pid is not None:
            self._tell("status agrees", f"exit code {code} (no problem is named)")
        if code == 3 and pid is not None:
            self._tell("status agrees", f"exit code 3, no bot runs (pid {pid})")

    def _is_due_to_trade(self) -> bool:
        """Whether plan and time have been right for minutes, on a day whose bot has not finished."""
        now_s, world = self.facts.now_s, self.world
        found = self.facts.find("plan in place", now_s, now_s)
        is_clock_right = abs(self.facts.find_offset_s(now_s)) <= 60.0
        since_s = max([0.0, *(one.began_s for one in found[-1:]), *(at_s for at_s, _ in self.facts.steps[1:])])
        is_settled = bool(found) and is_clock_right and now_s - since_s > 900.0
        return is_settled and world.clockwork.market_now.date() not in world.finished_on

    def _compare_history(self, said: Any, code: int, known: tuple[object, ...]) -> None:  # noqa: ANN401 - a document
        del known
        if code != 0:
            self._tell("history agrees", f"exit code {code}")
        kinds = {"service": "service", "startup": "startup"}
        runs = [one for one in said["runs"] if one["kind"] in kinds]
        begun = [one.began_s for one in self.facts.programs if one.cause in kinds]
        # A run writes itself down once it has begun; one that was killed at once may not have.
        if len(runs) < 50 and len(runs) > len(begun):
            self._tell("history agrees", f"{len(runs)} starts are said, {len(begun)} were made")

    def _compare_report(self, said: Any, code: int, known: tuple[object, ...]) -> None:  # noqa: ANN401 - a document
        """The time that a bot ran and the gateway was usable, as far as it was watched."""
        del code, known
        until_s = self.facts.now_s
        since_s = max(0.0, until_s - 3 * 86400.0)
        if any(since_s <= at_s for at_s, _ in self.facts.steps[1:]):
            return  # its times are the host's clock's
        for name, kind, is_inverse in (("bot", "bot", False), ("gateway", "gateway unusable", True)):
            so_s = sum(
                min(one.ended_s, until_s) - max(one.began_s, since_s) for one in self.facts.find(kind, since_s, until_s)
            )
            so_s = until_s - since_s - so_s if is_inverse else so_s
            unknown_s = sum(value for key, value in said[name].items() if key in {"unknown_s", "unwatched_s"})
            is_said_s = said[name]["up_s"]
            changes = len(self.facts.find(kind, since_s, until_s)) + len(self.faults)
            slack_s = _SLACK_S + 60.0 * changes + unknown_s
            if abs(is_said_s - so_s) > slack_s:
                self._tell("report agrees", f"{name} up for {is_said_s:.0f} s is said, {so_s:.0f} s are so")
