"""The watch after the hand-over, with real processes, real deaths and a real HTTP server in place of the channel."""

import json
import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from tests import programs
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.watch_scene import begin, told, wait_for
from tests.system import (
    PATIENCE_S,
    PROJECT,
    SIGKILL,
    SIGTERM,
    System,
    build_plan,
    end_and_read,
    is_port_free,
    wait_until,
)

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.timeout(180)]


def strategy_of(system: System) -> str:
    """What the bot runs on; empty while none does."""
    plan = system.inv("status", "--json").document["gameplan"]
    return str(plan["strategy"]) if plan is not None else ""


def pid_of_gateway(system: System) -> int:
    return int(json.loads((system.state / "gateway.json").read_text(encoding="utf-8"))["pid"])


def test_it_stays_with_the_bot_and_leaves_in_order(watched: System) -> None:
    watched.kind = subprocess.Popen
    process = begin(watched)
    bot = watched.bots()[0]
    assert watched.inv("status", "--json").document["bot"]["supervised"] is True
    ended = end_and_read(process, SIGTERM)
    assert ended.code == 0, ended.err
    assert ended.document["result"] == "success", "one document on standard output, and nothing else"
    assert not psutil.pid_exists(bot.pid) or not bot.is_running()
    assert watched.bots() == []


def test_a_supervisor_that_is_suspended_is_said(watched: System) -> None:
    process = begin(watched)
    wait_until(lambda: watched.inv("status").code == 0, "system that is well")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        found = watched.inv("status", "--json")
        assert found.code == 1
        said = next(one for one in found.document["problems"] if "SIGSTOP" in one)
        assert said.startswith(f"process {process.pid} (supervisor")
        assert f"kill -CONT {process.pid}" in said
    finally:
        os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: watched.inv("status").code == 0, "system that is well again")
    assert end_and_read(process, SIGTERM).code == 0


def test_the_watch_begins_with_what_the_start_has_validated(watched: System) -> None:
    process = watched.begin_module("orchestration.startup", "--foreground")
    assert process.stdout is not None
    status = next(line for line in process.stdout if line.startswith("bot runs on"))
    assert "gateway ready" in status
    assert end_and_read(process, SIGTERM).code == 0


def test_the_watch_begins_so_too_with_an_external_gateway(watched: System) -> None:
    # The simulator of another start stands for that gateway: nothing is known of it but its API.
    assert watched.inv("gateway.up", "gateway.wait").code == 0
    environ = {"GATEWAY_RUNTIME": "external", "STATE_DIR": str(watched.root / "another state")}
    process = watched.begin_module("orchestration.startup", "--foreground", environ=environ)
    assert process.stdout is not None
    try:
        status = next((line for line in process.stdout if line.startswith("bot runs on")), "")
    finally:
        end_and_read(process, SIGTERM)
    assert "gateway ready" in status


def test_the_bots_death_ends_it_with_one_and_an_alert_with_the_last_lines(
    watched: System, channel: LoopbackChannel
) -> None:
    process = begin(watched)
    watched.bots()[0].kill()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    wait_for(channel, "Bot ended")
    alert = next(one.document for one in channel.received if "Bot ended" in one.title)
    assert "SIGKILL" in json.dumps(alert)
    assert "alive" in json.dumps(alert)


def test_a_lost_gateway_is_told_restarted_once_and_its_recovery_told(watched: System, channel: LoopbackChannel) -> None:
    process = begin(watched)
    lost = pid_of_gateway(watched)
    psutil.Process(lost).kill()
    wait_for(channel, "Gateway lost")
    wait_for(channel, "Gateway is back")
    assert told(channel).count("Gateway lost") == 1
    assert told(channel).count("Gateway restart attempted") == 1
    assert pid_of_gateway(watched) != lost
    assert len(watched.bots()) == 1
    assert end_and_read(process, SIGTERM).code == 0


def test_second_factors_that_go_unanswered_again_and_again_end_nothing(
    watched: System, channel: LoopbackChannel
) -> None:
    faults = watched.root / "faults"
    faults.touch()
    watched.environ["SIMULATOR_FAULTS"] = f"@{faults}"
    process = begin(watched)
    bot = watched.bots()[0].pid
    faults.write_text("second_factor=6:0.3:relogin", encoding="utf-8")
    psutil.Process(pid_of_gateway(watched)).kill()
    wait_for(channel, "Second factor needed")
    weekly = pid_of_gateway(watched)
    wait_for(channel, "Second factor confirmed")
    assert pid_of_gateway(watched) == weekly, "no restart while the operator looks for the phone, nor right after"
    assert told(channel).count("Gateway restart attempted") == 1, "the one that made this login"
    assert [one.pid for one in watched.bots()] == [bot]
    assert end_and_read(process, SIGTERM).code == 0


def test_the_watch_goes_on_when_its_output_is_not_read(watched: System, channel: LoopbackChannel) -> None:
    process = begin(watched)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    psutil.Process(pid_of_gateway(watched)).kill()
    wait_for(channel, "Gateway is back")
    process.send_signal(SIGTERM)
    assert process.wait(timeout=PATIENCE_S) == 0


def test_a_lost_gateway_is_left_alone_where_another_program_restarts_it(
    watched: System, channel: LoopbackChannel
) -> None:
    watched.environ["GATEWAY_RECOVERY"] = "alert"
    process = begin(watched)
    psutil.Process(pid_of_gateway(watched)).kill()
    wait_for(channel, "Gateway lost")
    assert end_and_read(process, SIGTERM).code == 0
    assert "Gateway restart attempted" not in told(channel)
    assert is_port_free(watched.port)


def test_shutdown_tells_the_supervisor_that_it_is_meant(watched: System, channel: LoopbackChannel) -> None:
    process = begin(watched)
    assert watched.inv("shutdown").code == 0
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert watched.processes() == []
    assert "Bot ended" not in told(channel)
    assert "Gateway lost" not in told(channel)


def test_bot_stop_ends_the_supervisor_and_keeps_the_gateway(watched: System) -> None:
    process = begin(watched)
    assert watched.inv("bot.stop").code == 0
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert watched.bots() == []
    assert not is_port_free(watched.port)


def test_after_a_kill_of_the_supervisor_the_next_one_adopts_its_bot(watched: System) -> None:
    process = begin(watched)
    bot = watched.bots()[0].pid
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    assert [one.pid for one in watched.bots()] == [bot]
    assert watched.inv("status", "--json").document["bot"]["supervised"] is False, "nothing watches it now"
    again = begin(watched)
    assert [one.pid for one in watched.bots()] == [bot]
    assert watched.inv("status", "--json").document["bot"]["supervised"] is True
    assert end_and_read(again, SIGTERM).code == 0
    assert watched.bots() == []


def test_replace_ends_a_supervisor_gracefully_and_takes_its_place(watched: System, channel: LoopbackChannel) -> None:
    first = begin(watched)
    bot = watched.bots()[0].pid
    second = begin(watched, "--foreground", "--replace")
    first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0
    assert second.poll() is None
    (other,) = watched.bots()
    assert other.pid != bot
    assert "Bot stopped" in told(channel)
    assert "Bot ended" not in told(channel)
    ended = end_and_read(second, SIGTERM)
    assert ended.code == 0, ended.err
    assert ended.document["stopped"][0]["pid"] == bot
    assert watched.bots() == []


def test_replace_leaves_a_supervisor_alone_where_the_new_one_could_not_even_begin(watched: System) -> None:
    first = begin(watched)
    bot = watched.bots()[0].pid
    ended = watched.startup("--foreground", "--replace", environ={"GATEWAY_HEALTH_TIMEOUT": "soon"})
    assert (ended.code, ended.document["failure"]) == (1, "CONFIG_INVALID")
    without = watched.startup("--foreground")
    assert (without.code, without.document["failure"]) == (1, "BOT_ALREADY_RUNNING")
    assert [one.pid for one in watched.bots()] == [bot]
    assert first.poll() is None
    assert end_and_read(first, SIGTERM).code == 0


def test_a_bot_on_another_plan_is_not_adopted_but_started_anew(watched: System) -> None:
    process = begin(watched)
    bot = watched.bots()[0].pid
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    watched.use_plan(symbols=["IWM"])
    again = begin(watched)
    assert [one.pid for one in watched.bots()] != [bot]
    assert len(watched.bots()) == 1
    assert end_and_read(again, SIGTERM).code == 0


def test_with_json_standard_output_is_one_document_though_the_watch_goes_on(watched: System) -> None:
    process = begin(watched, "--foreground")
    wait_until(lambda: watched.inv("status", "--json").document["bot"]["supervised"], "supervisor")
    psutil.Process(pid_of_gateway(watched)).kill()
    wait_until(lambda: "Gateway lost" in _supervisor_log(watched), "loss of the gateway")
    ended = end_and_read(process, SIGTERM)
    assert ended.document["exit_code"] == 0
    assert "Gateway lost" in ended.err


def _supervisor_log(system: System) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in system.logs.glob("supervisor_*.log"))


@pytest.mark.parametrize("content", [b"\0\0\0", b'{"runtime": "simulator", "host": "h", "port": 1, "log": "a\\u0000"}'])
def test_a_damaged_record_of_the_gateway_ends_no_supervisor(watched: System, content: bytes) -> None:
    process = watched.begin("--foreground")
    watched.wait_for_log("step bot.start")
    (watched.state / "gateway.json").write_bytes(content)
    wait_until(lambda: _supervisor_log(watched) or process.poll() is not None, "supervisor")
    assert watched.bots()
    assert end_and_read(process, SIGTERM).code == 0
    assert "internal error" not in _supervisor_log(watched)


def test_a_bot_started_by_hand_is_not_adopted(watched: System) -> None:
    watched.environ["BOT_ARGUMENTS"] = "none"
    command = [sys.executable, str(watched.root / "small_bot.py"), "--ready"]
    by_hand = subprocess.Popen(command, cwd=watched.root, env=watched.environ, stdout=subprocess.DEVNULL)
    try:
        ended = watched.startup("--foreground")
        assert (ended.code, ended.document["failure"]) == (1, "BOT_ALREADY_RUNNING")
        before = sorted(watched.logs.iterdir())
        assert watched.startup("--service").code == 78  # a repeating trigger must leave nothing behind
        assert sorted(watched.logs.iterdir()) == before
        assert by_hand.poll() is None
    finally:
        by_hand.kill()
        by_hand.wait()


def test_a_valid_plan_that_arrives_later_takes_the_bot_from_strategy_c(
    watched: System, channel: LoopbackChannel
) -> None:
    plan = watched.root / "gameplan.json"
    plan.unlink()
    process = begin(watched)
    assert strategy_of(watched) == "C"
    plan.write_text(json.dumps(build_plan()), encoding="utf-8")
    wait_until(lambda: strategy_of(watched) == "A", "strategy A")
    assert len(watched.bots()) == 1
    assert end_and_read(process, SIGTERM).code == 0
    assert told(channel).count("Strategy C: no trading") == 1


def test_a_change_of_the_active_plan_only_alerts_until_it_is_asked_for(
    watched: System, channel: LoopbackChannel
) -> None:
    process = begin(watched)
    bot = watched.bots()[0].pid
    before = len(channel.received)
    watched.use_plan(symbols=["IWM"])
    wait_until(lambda: len(channel.received) > before, "alert about the plan")
    assert [one.pid for one in watched.bots()] == [bot]
    assert watched.inv("bot.restart").code == 0
    wait_until(lambda: [one.pid for one in watched.bots()] not in ([bot], []), "new bot")
    assert len(watched.bots()) == 1
    assert end_and_read(process, SIGTERM).code == 0


def test_a_bot_that_ends_with_zero_is_finished_and_no_alarm(watched: System, channel: LoopbackChannel) -> None:
    process = begin(watched)
    watched.bots()[0].terminate()  # the small bot leaves with 0 when it is asked to
    wait_for(channel, "Bot has finished")
    assert process.poll() is None
    assert "Bot ended" not in told(channel)
    refused = watched.startup()
    assert refused.document["failure"] == "ALREADY_STARTING"
    assert end_and_read(process, SIGTERM).code == 0


def test_three_failures_in_the_window_end_the_tries_until_a_start_by_hand(
    watched: System, channel: LoopbackChannel
) -> None:
    watched.use_small_bot(code="raise SystemExit(9)")
    codes = [watched.startup("--service").code for _ in range(3)]
    assert codes == [1, 1, 78]
    wait_for(channel, "Given up: no further try")
    given_up = json.dumps(next(one.document for one in channel.received if "Given up" in one.title))
    assert "[SIMULATED] Given up" in given_up
    assert watched.inv("history", "--json").document["runs"][0]["run_id"] in given_up
    logs, alerts = len(list(watched.logs.iterdir())), len(channel.received)
    assert watched.startup("--service").code == 78
    assert (len(list(watched.logs.iterdir())), len(channel.received)) == (logs, alerts)
    assert watched.startup().code == 1  # by hand: clears the count
    assert watched.startup("--service").code == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"SIMULATOR_FAULTS": "wrong_account"}, "GATEWAY_WRONG_ACCOUNT"),
        ({"SIMULATOR_FAULTS": "wrong_password", "GATEWAY_HEALTH_TIMEOUT": "40"}, "GATEWAY_LOGIN_FAILED"),
        ({"GATEWAY_PORT": "none"}, "CONFIG_INVALID"),
    ],
)
def test_what_only_a_person_can_mend_is_not_tried_again(watched: System, change: dict[str, str], word: str) -> None:
    ended = watched.run(
        [sys.executable, "-m", "orchestration.startup", "--json", "--service"], environ=change, timeout_s=90
    )
    assert ended.code == 78, ended.err
    assert ended.document["failure"] == word


@pytest.mark.parametrize(("arguments", "code"), [(["--service"], 78), ([], 1)])
def test_a_signal_that_comes_after_the_outcome_does_not_change_the_exit_code(
    watched: System, arguments: list[str], code: int
) -> None:
    process = watched.begin(*arguments, environ={"GATEWAY_PORT": "none"})
    assert process.stdout is not None
    while process.stdout.readline() not in {"}\n", ""}:
        pass  # the report is printed once all is decided
    while process.poll() is None:
        process.send_signal(SIGTERM)
    assert process.returncode == code


def test_a_held_service_ends_at_once_and_leaves_nothing_behind(watched: System) -> None:
    assert watched.inv("hold", "--reason", "new disk").code == 0
    before = sorted(watched.logs.iterdir())
    assert watched.startup("--service").code == 0
    assert sorted(watched.logs.iterdir()) == before


def test_the_host_is_told_of_every_state_and_of_readiness(watched: System) -> None:
    path = str(watched.root / "host.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host:
        host.bind(path)
        host.settimeout(PATIENCE_S)
        watched.environ |= {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"}
        process = watched.begin("--foreground")
        heard = ""
        while "WATCHDOG=1" not in heard.partition("READY=1")[2]:
            heard += host.recv(4096).decode() + "\n"
        before_ready = heard.partition("READY=1")[0]
        for word in ("initializing", "gateway_starting", "gateway_waiting", "gameplan_loading", "bot_starting"):
            assert f"STATUS={word}" in before_ready
        assert "EXTEND_TIMEOUT_USEC=" in before_ready
        environ = watched.bots()[0].environ()
        assert "WATCHDOG_USEC" not in environ
        assert environ["NOTIFY_SOCKET"] != path
        ended = end_and_read(process, SIGTERM)
        assert ended.code == 0


def test_a_monitor_watches_a_bot_that_it_never_touches(watched: System, channel: LoopbackChannel) -> None:
    assert watched.startup().code == 0
    bot = watched.bots()[0].pid
    monitor = programs.Popen(
        [sys.executable, "-m", "invoke", "monitor"],
        cwd=PROJECT,
        env=watched.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watched.started.append(monitor)
    wait_until(lambda: list(watched.logs.glob("monitor_*.log")), "monitor")
    psutil.Process(pid_of_gateway(watched)).kill()
    wait_for(channel, "Gateway lost")
    assert [one.pid for one in watched.bots()] == [bot]
    assert end_and_read(monitor, SIGTERM).code == 0
    assert [one.pid for one in watched.bots()] == [bot]
