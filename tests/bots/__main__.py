"""`python -m tests.bots NAME...`: follow the recipes of these bots; without a name, all of them."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bots.recipe import Recipe, read_connecting, read_recipes
from tests.integration.alerts_scene import run_channel
from tests.integration.watch_scene import told
from tests.system import PROJECT, System, build_plan, wait_until

_CONSTRAINTS = PROJECT / ".ci/constraints"
_INSTALL_TIMEOUT_S = 1800
_PATIENCE_S = 120.0
_SHOWN_OF_LOG = 5000
# Bots that look once and end, here as soon as they have: whatever the market does on the day of the test.
_RUN_ONCE = frozenset({"thetagang"})
_REFUSED_ALERT = "Order refused on Strategy C"


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """What makes a recipe's bot place one order.

    Attributes:
        file: The bot's own file, in its home.
        old: What stands there.
        new: What is to stand there.
        at_gateway: What its log says of the built-in gateway's refusal (every order is refused there, with 321).
        at_guard: What its log says of the guard's (201).
    """

    file: str
    old: str
    new: str
    at_gateway: str
    at_guard: str


_LOOP = "while ib.sleep(5)"
_STRATEGIES = 'strategies = ["wheel"]'
_ORDERINGS = {
    "ib_async": Ordering(
        file="bots/ib_async/trader.py",
        old=_LOOP,
        new=f"""\
from ib_async import LimitOrder

trade = ib.placeOrder(spy, LimitOrder("BUY", 1, 1.0))
while not any(entry.errorCode for entry in trade.log):
    ib.sleep(0.05)
print("ORDER", [entry.errorCode for entry in trade.log if entry.errorCode], flush=True)
{_LOOP}""",
        at_gateway="ORDER [321]",
        at_guard="ORDER [201]",
    ),
    # It buys stock for the cash that it does not need.
    "thetagang": Ordering(
        file="bots/thetagang/thetagang.toml",
        old=_STRATEGIES,
        new='strategies = ["wheel", "cash_management"]\n\n[strategies.cash_management]\nenabled = true\n'
        'cash_fund = "AAPL"',
        at_gateway="1 rejected or unfilled order",
        at_guard="1 rejected or unfilled order",
    ),
}
# Where a script that follows `docs/how-to/connect-your-bot.md` says that it is ready: right before this.
_READY_BEFORE = {"ib_async": _LOOP}
# What tests set for bots of their own is the recipe's business here.
_OF_RECIPE = ("BOT_WORKDIR", "BOT_START_GRACE", "BOT_STOP_TIMEOUT")


class Trial:
    """One bot on one system, in a home of its own."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self._recipe = recipe
        self._home = root / "home"
        self._home.mkdir()
        self._system = System(root / "system", kind=subprocess.Popen)
        for name in _OF_RECIPE:
            del self._system.environ[name]
        self._system.environ |= {"HOME": str(self._home), "WHEN_CLOSED": "continue", "MONITOR_INTERVAL": "1"}
        self._system.environ |= {"LUMIBOT_HIDE_BOTSPOT_TIP": "1"}
        self._began_s = time.monotonic()
        self._installed_s = 0.0

    def run(self) -> None:
        """Install it, then each of the ways in turn."""
        self._say(self._recipe.describe())
        self._install()
        self._installed_s = time.monotonic() - self._began_s
        self._say("installed")
        try:
            self._start_on_trading_plan()
            self._start_on_strategy_c()
            self._supervise()
            if self._recipe.name in _ORDERINGS:
                self._order(_ORDERINGS[self._recipe.name])
            if self._recipe.name in _READY_BEFORE:
                self._connect(_READY_BEFORE[self._recipe.name])
        except BaseException:
            print(self._system.startup_log()[-_SHOWN_OF_LOG:])  # noqa: T201
            raise
        finally:
            self._system.close()

    def _run_installer(self, command: str) -> None:
        """Run it in the project's folder; the bot keeps its own versions, whatever else comes into its environment."""
        pins = _CONSTRAINTS / f"{self._recipe.name}.txt"
        environ = {**os.environ, "HOME": str(self._home), "PIP_CONSTRAINT": str(pins), "PIP_QUIET": "1"}
        subprocess.run(["bash", "-c", command], check=True, cwd=PROJECT, env=environ, timeout=_INSTALL_TIMEOUT_S)

    def _install(self) -> None:
        for command in self._recipe.commands:
            self._run_installer(command)
        for name, content in self._recipe.files.items():
            (self._home / name.removeprefix("~/")).write_text(content, encoding="utf-8")
        (self._system.root / "settings.env").write_text(self._recipe.settings, encoding="utf-8")

    def _start_on_trading_plan(self) -> None:
        started = self._inv("startup", "--simulate", "--json", code=0)
        expect(started["gameplan"]["strategy"], "A")
        self._see_it_work(started)
        self._say(f"on a trading plan: {started['message']}")
        self._stop()

    def _start_on_strategy_c(self) -> None:
        started = self._inv("startup", "--json", code=2)
        expect(started["fallback"], "GAMEPLAN_NOT_CONFIGURED")
        self._see_it_work(started)
        self._say(f"on Strategy C: {started['message']}")
        self._stop()

    def _order(self, ordering: Ordering) -> None:
        """The same bot, and one order: it reaches the gateway on a trading plan, and on Strategy C the guard."""
        file = self._home / ordering.file
        file.write_text(file.read_text(encoding="utf-8").replace(ordering.old, ordering.new), encoding="utf-8")
        with run_channel() as channel:
            # A bot that takes the refusal for its end ends early: it has come up before.
            self._system.environ |= {"DISCORD_WEBHOOK_URL": channel.address, "BOT_START_GRACE": "1"}
            before = self._count_orders()
            self._inv("startup", "--simulate", "--json", code=0)
            self._wait_for_word(ordering.at_gateway)
            expect(self._count_orders() - before, 1)
            self._stop()
            self._say("its order reaches the gateway on a trading plan")
            before = self._count_orders()
            self._inv("startup", "--json", code=2)
            self._wait_for_word(ordering.at_guard)
            wait_until(lambda: _REFUSED_ALERT in told(channel), _REFUSED_ALERT, timeout_s=_PATIENCE_S)
            self._stop()
            expect(self._count_orders() - before, 0)
            self._say("its order on Strategy C is refused and alerted, and reaches nothing")

    def _connect(self, ready_before: str) -> None:
        """The same bot with the lines of the general how-to: it refuses the wrong moment, and says when it is ready."""
        connecting = read_connecting()
        home = self._home / "bots" / self._recipe.name
        install = connecting.install.replace("/srv/trader", shlex.quote(str(home))) + " sdnotify"
        self._run_installer(install)
        file = home / "trader.py"
        indent = ready_before[: len(ready_before) - len(ready_before.lstrip())]
        ready = textwrap.indent(connecting.ready, indent)
        script = file.read_text(encoding="utf-8").replace(ready_before, ready + ready_before)
        file.write_text(f"{connecting.check}\n{script}", encoding="utf-8")
        self._refuse_wrong_moment(file)
        self._system.environ.pop("BOT_START_GRACE", None)  # nothing but its own word
        started = self._inv("startup", "--simulate", "--json", code=0)
        expect(started["bot"]["ready_by"], "notify")
        self._wait_until_connected()
        self._stop()
        self._say("connected by the how-to: it refuses the wrong moment, and is up by its own word")

    def _refuse_wrong_moment(self, file: Path) -> None:
        """Started by hand while no gateway runs: it says so, names a command that works, and ends with 1."""
        plan = self._system.root / "plan.json"
        plan.write_text(json.dumps(build_plan(strategy="C", symbols=[])), encoding="utf-8")
        environ = {name: value for name, value in self._system.environ.items() if name != "PYTHONPATH"}
        ended = subprocess.run(
            [file.parent / ".venv/bin/python", file.name, "--gameplan", str(plan)],
            cwd=file.parent, env=environ, capture_output=True, text=True, check=False, timeout=_PATIENCE_S,
        )  # fmt: skip
        expect(ended.returncode, 1, ended.stdout + ended.stderr)
        told = next(line for line in ended.stderr.splitlines() if line.startswith("This bot must not run now."))
        commands = re.findall(r"`([^`]+)`", told)
        expect(len(commands), 2, told)
        looked = subprocess.run(
            ["bash", "-c", commands[0]], cwd="/", env=environ, capture_output=True, text=True, check=False, timeout=60
        )
        expect(looked.returncode, 3, commands[0] + looked.stdout + looked.stderr)  # `inv status`: nothing runs

    def _count_orders(self) -> int:
        """How many orders have reached a built-in gateway, in its own words."""
        logs = self._system.logs.glob("gateway_*.log")
        return sum(path.read_text(encoding="utf-8").count(" sends place_order") for path in logs)

    def _wait_for_word(self, word: str) -> None:
        def has_said() -> bool:
            logs = sorted(self._system.logs.glob("bot_*.log"))
            return word in logs[-1].read_text(encoding="utf-8")

        wait_until(has_said, f"a bot that says {word}", timeout_s=_PATIENCE_S)

    def _see_it_work(self, started: dict[str, Any]) -> None:
        """It is the bot of the recipe, and it gets to the gateway; one that runs once has then ended with 0."""
        expect(started["bot"]["program"], self._recipe.program)
        if self._recipe.name in _RUN_ONCE:
            wait_until(lambda: not self._read_bot()["running"], "the bot's end", timeout_s=_PATIENCE_S)
            log = Path(started["bot"]["log"]).read_text(encoding="utf-8")
            expect([text for text in ("Connected to IB Gateway", "ThetaGang is done") if text not in log], [], log)
            return
        self._wait_until_connected()

    def _stop(self) -> None:
        stopped = self._inv("shutdown", "--json", code=0)
        expect(self._system.processes(), [], str(stopped))

    def _supervise(self) -> None:
        """A supervisor keeps it, or waits for the next plan once it has finished; then all of it is stopped."""
        begun_s = time.monotonic()
        supervisor = self._system.begin("--simulate", "--foreground")
        if self._recipe.name in _RUN_ONCE:
            wait_until(self._waits_for_next_plan, "supervisor of a finished bot", timeout_s=_PATIENCE_S)
        else:
            self._wait_until_connected()
            expect(self._system.inv("status").code, 0)
        self._say("supervised: finished" if self._recipe.name in _RUN_ONCE else "supervised: connected")
        took_s = self._installed_s + time.monotonic() - begun_s
        commands = len(self._recipe.commands) + 1
        self._say(f"from an empty folder over `pip install` to a supervised bot: {took_s:.0f} s, {commands} commands")
        self._inv("shutdown", "--json", code=0)
        out, err = supervisor.communicate(timeout=_PATIENCE_S)
        expect(supervisor.returncode, 0, out + err)
        expect(self._system.inv("history", "--json").out.count('"bot_ended"'), 0)
        expect(self._system.inv("status").code, 3)
        self._say("its end under the supervisor is understood")

    def _wait_until_connected(self) -> None:
        def is_connected() -> bool:
            bot = self._read_bot()
            return bool(bot["ready"] and bot["gateway_connection"])

        wait_until(is_connected, "a bot that is up and connected", timeout_s=_PATIENCE_S)

    def _waits_for_next_plan(self) -> bool:
        """Whether the bot has finished, and its supervisor counts that as good."""
        status = self._system.inv("status", "--json")
        return status.code == 0 and bool(status.document["bot"]["finished"])

    def _read_bot(self) -> dict[str, Any]:
        bot: dict[str, Any] = self._system.inv("status", "--json").document["bot"]
        return bot

    def _inv(self, *arguments: str, code: int) -> dict[str, Any]:
        ended = self._system.inv(*arguments, timeout_s=_PATIENCE_S)
        expect(ended.code, code, ended.err + ended.out)
        document: dict[str, Any] = ended.document
        return document

    def _say(self, text: str) -> None:
        print(f"[{self._recipe.name} {time.monotonic() - self._began_s:5.1f} s] {text}", flush=True)  # noqa: T201


def expect(found: object, wanted: object, told: str = "") -> None:
    """End the trial where something is not as it should be."""
    if found != wanted:
        raise SystemExit(f"found {found!r}, expected {wanted!r}\n{told}")


def main(names: list[str]) -> None:
    recipes = read_recipes()
    for name in names or recipes:
        with tempfile.TemporaryDirectory(prefix=f"bot-{name}-") as root:
            Trial(recipes[name], Path(root)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
