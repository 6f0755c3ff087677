"""Strategy C enforced: what reaches the gateway of bots that order all the same, started as users start them."""

import contextlib
import dataclasses
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestration.bot.order_guard import end_guard, ensure_guard
from orchestration.bot.record import BotRecord, build_record_path, write_record
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from orchestration.system.landlock import can_deny_ports
from orchestration.system.processes import launch_detached
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.bot_scene import build_scene
from tests.integration.simulated_gateway import simulated_gateway
from tests.integration.watch_scene import begin, told, wait_for
from tests.system import SIGTERM, System, end_and_read, is_port_free, wait_until

needs_landlock = pytest.mark.skipif(not can_deny_ports(), reason="needs Landlock network rules (Linux 6.7)")

# Obeys no plan: buys as soon as it is connected, and again each time that its file `again` appears. A guard that cannot
# read what the broker holds in time refuses with 321, which ib_async takes for a warning: the order is sent once more.
# The built-in gateway itself refuses every order so.
TRADER = """
import contextlib, json, os, signal, socket, sys, time
import ib_async
with open(os.environ["GAMEPLAN_PATH"]) as plan:
    is_guarded = json.load(plan)["strategy"] == "C"
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
port = int(sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].isdigit() else os.environ["GATEWAY_PORT"])
with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
    talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])  # on a slow machine it was handed over before it has imported
spy = ib_async.Stock("SPY", "SMART", "USD", conId=756733)
while True:
    ib = ib_async.IB()
    try:
        ib.connect("127.0.0.1", port, clientId=31, timeout=10)
        while True:
            trade = ib.placeOrder(spy, ib_async.LimitOrder("BUY", 1, 1.0))
            while not trade.isDone() and trade.orderStatus.status != "ValidationError":
                ib.sleep(0.02)
            print("ORDER", port, trade.orderStatus.status, flush=True)
            if not trade.isDone() and is_guarded:
                continue
            while not os.path.exists("again"):
                ib.sleep(0.05)
            os.unlink("again")
    except Exception as error:
        print("FAILED", port, type(error).__name__, flush=True)
    finally:
        ib.disconnect()
    time.sleep(0.1)
"""
PASSWORD = "correct-horse-7!"  # noqa: S105 - not one that is used


def bot_log(system: System) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(system.logs.glob("bot_*.log")))


def orders_at_gateway(system: System) -> list[str]:
    """What reached the simulated gateway that could change anything, in its own words."""
    logs = sorted(system.logs.glob("gateway_*.log"))
    return [line for path in logs for line in path.read_text(encoding="utf-8").splitlines() if " sends " in line]


def guard_record(system: System) -> dict[str, Any]:
    path = system.state / "order_guard.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def guards(system: System) -> list[psutil.Process]:
    found = []
    for process in system.processes():
        with contextlib.suppress(psutil.Error):
            if "orchestration.supervision.guard_process" in process.cmdline():
                found.append(process)
    return found


def wait_for_guard_after(system: System, old: psutil.Process) -> None:
    wait_until(lambda: not old.is_running() and guards(system) and guard_record(system), "new guard")


def wait_for_bot(system: System, text: str, *, times: int = 1) -> None:
    wait_until(lambda: bot_log(system).count(text) >= times, f"bot that says {text!r}")


class TestOnStrategyC:
    def test_no_order_reaches_the_gateway_whatever_becomes_of_the_guard(
        self, system: System, channel: LoopbackChannel
    ) -> None:
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        system.environ |= {"TWS_USERID": "trader77", "TWS_PASSWORD": PASSWORD, "VNC_SERVER_PASSWORD": PASSWORD}
        system.environ["HEARTBEAT_URL"] = f"http://127.0.0.1:9/{PASSWORD}"
        system.use_small_bot(code=TRADER)
        started = system.startup()
        assert started.code == 2, started.err
        assert [one.pid for one in system.processes() if PASSWORD in str(one.environ())] == []
        wait_for_bot(system, "Cancelled")  # 201, as ib_async understands it
        (system.root / "again").touch()
        wait_for_bot(system, "Cancelled", times=2)
        wait_until(lambda: guard_record(system)["refused"].get("new_order") == 2, "count of refusals")
        refusals = sum(guard_record(system)["refused"].values())
        wait_for(channel, "Order refused on Strategy C")
        bot = json.loads((system.state / "bot.json").read_text(encoding="utf-8"))
        (running,) = system.bots()
        assert running.environ()["GATEWAY_PORT"] == str(guard_record(system)["port"]) == str(bot["gateway_port"])
        status = system.inv("status", "--json")
        assert (status.code, status.document["order_guard"]["refusals"]) == (0, refusals), status.out
        assert status.document["bot"]["gateway_connection"] is True
        told_of_c = next(one.document for one in channel.received if "Strategy C: no trading" in one.title)
        assert "orders that can still fill: 0; positions: 0." in json.dumps(told_of_c)

        (guard,) = guards(system)
        guard.send_signal(signal.SIGSTOP)
        (system.root / "again").touch()
        wait_until(lambda: not (system.root / "again").exists(), "bot that tries again")
        guard.kill()
        wait_for_bot(system, "FAILED")
        assert system.inv("status").code == 1
        assert orders_at_gateway(system) == []
        assert [one for one in told(channel) if "refused" in one] == ["Order refused on Strategy C"]
        (cut_off,) = system.bots()
        again = system.startup()  # no supervisor restarts the guard: a start replaces bot and guard
        assert again.code == 2, again.err
        (replacement,) = system.bots()
        assert replacement != cut_off
        assert len(guards(system)) == 1
        assert replacement.environ()["GATEWAY_PORT"] == str(guard_record(system)["port"])
        assert system.startup().code == 1, "with a guard that works the bot runs already"
        assert orders_at_gateway(system) == []
        assert system.inv("shutdown").code == 0
        assert system.processes() == []
        assert not (system.state / "order_guard.json").exists()

    @needs_landlock
    def test_a_port_written_into_the_bot_leads_nowhere_and_the_guard_ends_with_its_bot(self, system: System) -> None:
        system.use_small_bot(str(system.port), code=TRADER)
        assert system.startup().code == 2
        wait_for_bot(system, "FAILED", times=2)
        assert "ORDER" not in bot_log(system)
        assert orders_at_gateway(system) == []
        port = guard_record(system)["port"]
        (bot,) = system.bots()
        bot.kill()
        wait_until(lambda: not guards(system), "end of the guard")
        assert is_port_free(port)

    def test_a_bot_that_the_kernel_does_not_confine_is_killed_when_it_connects_past_the_guard(
        self, tmp_path: Path
    ) -> None:
        settings = build_scene(tmp_path, STRATEGY_C_BOT="guarded")
        with simulated_gateway() as gateway:
            guard = ensure_guard(
                settings, Endpoint(host="127.0.0.1", port=gateway.port), run_id="run-1", clock=SystemClock()
            )
            try:
                connect = f"s = socket.create_connection(('127.0.0.1', {gateway.port}))"
                code = f"import socket, time; {connect}; time.sleep(300)"
                bot = launch_detached(
                    [sys.executable, "-c", code], cwd=tmp_path, environ=os.environ, output=tmp_path / "logs" / "out"
                )
                launch = BotRecord(
                    instance="default",
                    argv=(sys.executable, "-c", code),
                    workdir=tmp_path,
                    log=tmp_path / "logs" / "out",
                    gameplan=tmp_path / "plan.json",
                    strategy="C",
                    gameplan_sha256="0" * 64,
                    started_at=datetime.now(UTC),
                    run_id="run-1",
                    gateway_port=guard.port,
                    guarded=True,
                )
                write_record(build_record_path(settings), dataclasses.replace(launch, process=bot.identity))
                wait_until(lambda: bot.poll_exit_code() is not None, "end of the bot")
                assert bot.poll_exit_code() == -signal.SIGKILL
                wait_until(lambda: "ORDER_GUARD_BYPASSED" in Path(guard.log).read_text(encoding="utf-8"), "alert")
            finally:
                end_guard(settings)


class TestSupervised:
    def test_the_bot_goes_from_c_to_a_trading_plan_and_back(self, system: System) -> None:
        path = system.use_plan()
        plan = path.read_text(encoding="utf-8")
        path.unlink()
        system.environ["MONITOR_INTERVAL"] = "1"
        system.use_small_bot(code=TRADER)
        supervisor = begin(system)
        wait_for_bot(system, "Cancelled")
        assert orders_at_gateway(system) == []

        path.write_text(plan, encoding="utf-8")
        wait_until(lambda: orders_at_gateway(system), "order at the gateway, on the trading plan")
        (bot,) = system.bots()
        assert bot.environ()["GATEWAY_PORT"] == str(system.port)
        assert guards(system) == []
        sent = len(orders_at_gateway(system))

        path.unlink()
        assert system.inv("bot.restart").code == 0
        wait_until(lambda: guards(system) and len(system.bots()) == 1 and system.bots() != [bot], "bot behind a guard")
        wait_for_bot(system, "Cancelled", times=2)
        assert len(orders_at_gateway(system)) == sent
        assert end_and_read(supervisor, SIGTERM).code == 0
        assert guards(system) == []

    def test_a_guard_that_ends_is_told_and_restarted_on_its_port(
        self, watched: System, channel: LoopbackChannel
    ) -> None:
        del watched.environ["GAMEPLAN_PATH"]
        watched.use_small_bot(code=TRADER)
        supervisor = begin(watched)
        wait_for_bot(watched, "Cancelled")
        first = guard_record(watched)
        (old,) = guards(watched)
        old.kill()
        wait_for_guard_after(watched, old)
        assert guard_record(watched)["port"] == first["port"]
        wait_for(channel, "Order guard does not work")
        wait_for(channel, "Order guard works again")
        orders = bot_log(watched).count("Cancelled")
        (watched.root / "again").touch()
        wait_for_bot(watched, "Cancelled", times=orders + 1)
        assert orders_at_gateway(watched) == []
        assert end_and_read(supervisor, SIGTERM).code == 0
        assert guards(watched) == []

    def test_a_bot_on_c_is_adopted_only_while_its_guard_is_there(self, system: System) -> None:
        system.use_small_bot("--ready")
        first = begin(system)
        wait_until(lambda: system.bots() and guards(system), "bot and guard")
        (bot,) = system.bots()
        first.kill()
        first.wait()
        second = begin(system)
        assert system.bots() == [bot]
        second.kill()
        second.wait()
        for guard in guards(system):
            guard.kill()
        third = begin(system)
        wait_until(lambda: system.bots() and system.bots() != [bot] and guards(system), "another bot and its guard")
        assert end_and_read(third, SIGTERM).code == 0
        assert (system.bots(), guards(system)) == ([], [])


class TestWithoutABotOnC:
    def test_the_gateway_is_up_and_the_code_is_two(self, system: System) -> None:
        system.environ["STRATEGY_C_BOT"] = "none"
        system.use_small_bot("--ready")
        started = system.startup()
        assert (started.code, started.document["bot"]) == (2, None), started.err
        assert (system.bots(), guards(system)) == ([], [])
        assert not is_port_free(system.port)

    def test_a_supervisor_stays_is_well_and_starts_the_bot_on_the_days_plan(self, watched: System) -> None:
        path = watched.use_plan()
        plan = path.read_text(encoding="utf-8")
        path.unlink()
        watched.environ["STRATEGY_C_BOT"] = "none"
        supervisor = begin(watched)
        status = watched.inv("status", "--json")
        assert (status.code, status.document["bot"]["running"]) == (0, False), status.out
        assert supervisor.poll() is None
        path.write_text(plan, encoding="utf-8")
        wait_until(watched.bots, "bot on the day's plan")
        assert guards(watched) == []
        assert end_and_read(supervisor, SIGTERM).code == 0


class TestTrusted:
    def test_the_bot_reaches_the_gateway_itself(self, system: System) -> None:
        system.environ["STRATEGY_C_BOT"] = "trusted"
        system.use_small_bot(code=TRADER)
        assert system.startup().code == 2
        wait_until(lambda: orders_at_gateway(system), "order at the gateway")
        assert guard_record(system) == {}


def test_a_guard_that_cannot_start_fails_the_start_and_leaves_no_bot(system: System) -> None:
    system.use_small_bot("--ready")
    (system.state / "order_guard.json").mkdir(parents=True)
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "STRATEGY_C_FAILED"), started.err
    assert system.bots() == []
