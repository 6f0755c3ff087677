"""A bot that ends with exit code 0 has finished, at any time; one that only lives is not called ready."""

import json
import os
from pathlib import Path

import psutil
import pytest

from orchestration.bot.end_record import read_end
from orchestration.bot.find import find_bot
from orchestration.bot.record import build_record_path
from orchestration.errors import FailureWord, StartupFailure
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.bot_scene import build_scene, launch
from tests.integration.watch_scene import begin, told, wait_for
from tests.system import PATIENCE_S, SIGTERM, System, build_plan, end_and_read, wait_until

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.timeout(180)]

# Ends with 0 once FILE `end` is there, after a connection to the gateway if its first argument says so.
BOT = """
import os, socket, sys, time
here = os.path.dirname(os.path.abspath(__file__))
kept = []
if "--ready" in sys.argv:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
        talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
print("begun", flush=True)
while True:
    if "--connect" in sys.argv and not kept:
        kept.append(socket.create_connection((os.environ["GATEWAY_HOST"], int(os.environ["GATEWAY_PORT"]))))
        print("connected", flush=True)
        time.sleep(0.6)
    if "--short" in sys.argv or os.path.exists(os.path.join(here, "end")):
        print("market is closed today", flush=True)
        sys.exit(0)
    time.sleep(0.02)
"""


def use_bot(system: System, *arguments: str) -> None:
    system.use_small_bot(*arguments, code=BOT)
    system.environ |= {"BOT_ARGUMENTS": "none", "BOT_START_GRACE": "5"}


def always_open(system: System) -> None:
    """A market that is open now and closes at midnight, whatever day and hour it is."""
    system.environ |= {"MARKET_CALENDAR": "daily"}


def bot_of(system: System) -> dict[str, object]:
    return dict(system.inv("status", "--json").document["bot"])


def test_a_bot_that_ends_with_0_in_the_first_seconds_is_a_success_by_hand(
    watched: System, channel: LoopbackChannel
) -> None:
    use_bot(watched, "--short", "--connect")
    started = watched.startup()
    assert (started.code, started.document["result"]) == (0, "success"), started.err
    bot = started.document["bot"]
    assert (bot["finished"], bot["ready_by"], bot["program"]) == (True, None, "small_bot.py")
    assert "finished" in started.document["message"]
    assert watched.bots() == []
    status = watched.inv("status", "--json")
    assert status.code == 3
    assert (status.document["bot"]["finished"], status.document["bot"]["running"]) == (True, False)
    assert "it has finished (exit code 0)" in status.document["message"]
    assert told(channel).count("Bot has finished") == 1
    assert "Operational" not in told(channel)
    again = watched.startup()
    assert again.code == 0, "nothing of the first one is in the way"


def test_on_the_emergency_plan_it_is_a_partial_success(watched: System) -> None:
    use_bot(watched, "--short", "--connect")
    del watched.environ["GAMEPLAN_PATH"]
    started = watched.startup()
    assert (started.code, started.document["result"], started.document["bot"]["finished"]) == (2, "partial", True)


def test_one_that_never_connected_before_the_close_is_a_warning_with_its_last_lines(
    watched: System, channel: LoopbackChannel
) -> None:
    always_open(watched)
    use_bot(watched, "--short")
    started = watched.startup()
    assert started.code == 0, started.err
    assert any("never held a connection" in line for line in started.document["warnings"])
    assert started.document["evidence"][-1] == "market is closed today"
    alert = json.dumps(next(one.document for one in channel.received if "Bot has finished" in one.title))
    assert "market is closed today" in alert


@pytest.mark.parametrize(
    ("arguments", "has_plan"),
    [(("--short",), False), (("--short", "--connect"), True), (("--ready", "--short", "--connect"), True)],
)
def test_under_a_supervisor_it_is_waited_for_and_no_attempt_is_counted(
    watched: System, channel: LoopbackChannel, arguments: tuple[str, ...], *, has_plan: bool
) -> None:
    use_bot(watched, *arguments)
    if not has_plan:
        del watched.environ["GAMEPLAN_PATH"]
    process = begin(watched, "--service")
    wait_for(channel, "Bot has finished")
    assert process.poll() is None
    assert told(channel).count("Bot has finished") == 1
    assert "Order guard does not work" not in told(channel), "that of the emergency plan ends with its bot"
    status = watched.inv("status", "--json")
    assert (status.code, status.document["bot"]["finished"]) == (0, True), status.out
    assert not (watched.state / "attempts.json").exists()
    assert end_and_read(process, SIGTERM).code == 0
    assert watched.inv("status").code == 3


# Its worker has neither its session nor its environment.
LEAVES_A_WORKER = """
import os, socket, subprocess, sys, time
silent = subprocess.DEVNULL
subprocess.Popen(["sleep", "3600"], env={}, start_new_session=True, stdin=silent, stdout=silent, stderr=silent)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
    talk.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "end")):
    time.sleep(0.02)
"""


def test_a_supervised_bot_that_leaves_a_worker_behind_has_not_finished(
    watched: System, channel: LoopbackChannel
) -> None:
    watched.use_small_bot(code=LEAVES_A_WORKER)
    process = begin(watched)
    bot = psutil.Process(int(str(bot_of(watched)["pid"])))
    (worker,) = bot.children()
    (watched.root / "end").touch()

    wait_for(channel, "Bot ended")

    assert process.wait(timeout=PATIENCE_S) == 1
    assert not worker.is_running()
    assert "Bot has finished" not in told(channel)
    alert = json.dumps(next(one.document for one in channel.received if "Bot ended" in one.title))
    assert f"left behind what it had started (process {worker.pid})" in alert


def test_a_finished_bot_is_started_on_the_next_plan_and_may_finish_again_at_once(
    watched: System, channel: LoopbackChannel
) -> None:
    always_open(watched)
    use_bot(watched, "--short", "--connect")
    plan = watched.root / "gameplan.json"
    plan.unlink()
    process = begin(watched, "--service")
    wait_for(channel, "Bot has finished")
    plan.write_text(json.dumps(build_plan()), encoding="utf-8")
    wait_until(lambda: told(channel).count("Bot has finished") == 2, "end of the second bot")
    assert process.poll() is None
    assert end_and_read(process, SIGTERM).code == 0


def test_a_bot_that_leaves_a_daemon_behind_has_not_finished(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--spawn-daemon", "--exit-after", "0.1")
    with pytest.raises(StartupFailure) as failed:
        launch(settings)
    assert failed.value.word is FailureWord.BOT_START_FAILED
    assert "left behind" in failed.value.message
    assert not find_bot(settings).is_found


def test_a_child_that_ends_right_after_its_parent_is_no_daemon(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, command="sh -c '(sleep 0.3)& exit 0'", BOT_ARGUMENTS="none")
    bot = launch(settings)
    assert bot.is_finished
    assert not find_bot(settings).is_found
    end = read_end(build_record_path(settings), bot.record.identity)
    assert end is not None
    assert (end.exit_code, end.is_finished) == (0, True)


@pytest.mark.parametrize("grace", ["0.1", "30"])
def test_the_start_grace_makes_no_difference_to_what_an_exit_code_of_0_means(
    watched: System, channel: LoopbackChannel, grace: str
) -> None:
    use_bot(watched, "--connect")
    watched.environ["BOT_START_GRACE"] = grace
    process = watched.begin("--service")
    wait_until(watched.bots, "bot")
    (watched.root / "end").touch()
    wait_for(channel, "Bot has finished")
    assert process.poll() is None
    assert end_and_read(process, SIGTERM).code == 0


@pytest.mark.parametrize(
    "line", ["error: unrecognized arguments: --gateway-host x", "Error: No such option: --gameplan"]
)
def test_a_program_that_does_not_know_our_arguments_is_told_of_the_switch(tmp_path: Path, line: str) -> None:
    settings = build_scene(tmp_path, "--print", line, "--exit-after", "0", "--exit-code", "2")
    with pytest.raises(StartupFailure) as failed:
        launch(settings)
    assert "BOT_ARGUMENTS=none" in failed.value.next_action


def test_a_program_that_fails_for_another_reason_is_not(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--print", "no licence for --gameplan", "--exit-after", "0", "--exit-code", "2")
    with pytest.raises(StartupFailure) as failed:
        launch(settings)
    assert "BOT_ARGUMENTS" not in failed.value.next_action


def test_a_report_and_the_status_say_what_proved_the_bot_and_that_it_is_not_connected(watched: System) -> None:
    watched.environ["BOT_START_GRACE"] = "1"
    watched.use_small_bot()
    started = watched.startup()
    assert started.code == 0
    bot = started.document["bot"]
    assert (bot["ready_by"], bot["program"], bot["gateway_connection"]) == ("grace", "small_bot.py", False)
    assert "no connection yet" in started.document["message"]
    status = watched.inv("status", "--json").document["bot"]
    assert (status["ready"], status["gateway_connection"], status["program"]) == (False, False, "small_bot.py")
    shown = watched.inv("status").out
    row = next(line for line in shown.splitlines() if "no connection yet" in line)
    assert "ready" not in row.lower()


def test_a_worker_that_holds_the_connection_counts_and_a_connection_elsewhere_does_not(watched: System) -> None:
    code = """
import os, socket, subprocess, sys, time
if len(sys.argv) > 1:
    held = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    open(sys.argv[3], "w").close()
    time.sleep(600)
other = socket.create_server(("127.0.0.1", 0))
elsewhere = socket.create_connection(other.getsockname())
here = os.path.dirname(os.path.abspath(__file__))
while not os.path.exists(os.path.join(here, "connect")):
    time.sleep(0.02)
# A session and an environment of its own: the worker cuts every tie but its parent.
subprocess.Popen([sys.executable, __file__, os.environ["GATEWAY_HOST"], os.environ["GATEWAY_PORT"],
                  os.path.join(here, "connected")], env={}, start_new_session=True)
time.sleep(600)
"""
    watched.use_small_bot(code=code)
    watched.environ |= {"BOT_ARGUMENTS": "none", "BOT_START_GRACE": "1"}
    assert watched.startup().document["bot"]["gateway_connection"] is False
    (watched.root / "connect").touch()
    wait_until((watched.root / "connected").exists, "connection")
    assert bot_of(watched)["gateway_connection"] is True
    assert watched.inv("shutdown").code == 0


def test_a_bot_that_never_connects_is_an_incident_only_where_a_time_is_set(
    watched: System, channel: LoopbackChannel
) -> None:
    watched.environ |= {"BOT_CONNECT_TIMEOUT": "1", "MONITOR_INTERVAL": "1"}
    process = begin(watched)
    wait_for(channel, "Bot is not connected to the gateway")
    alert = json.dumps(next(one.document for one in channel.received if "not connected" in one.title))
    assert "has never held a connection" in alert
    assert end_and_read(process, SIGTERM).code == 0


def test_a_bot_that_was_stopped_by_a_signal_is_an_incident_and_shown(watched: System, channel: LoopbackChannel) -> None:
    watched.environ["MONITOR_INTERVAL"] = "3600"  # it is seen at once, not at the next look
    process = begin(watched)
    bot = watched.bots()[0]
    bot.suspend()
    try:
        status = watched.inv("status", "--json")
        assert status.code == 1
        assert "SIGSTOP" in str(status.document["bot"]["suspended"])
        assert any("SIGSTOP" in problem for problem in status.document["problems"])
        wait_for(channel, "Bot is suspended")
    finally:
        bot.resume()
    wait_for(channel, "Bot resumed")
    assert watched.inv("status").code == 0
    assert end_and_read(process, SIGTERM).code == 0


def test_a_suspended_bot_is_stopped_gracefully(watched: System) -> None:
    watched.environ["BOT_STOP_TIMEOUT"] = "30"
    assert watched.startup().code == 0
    watched.bots()[0].suspend()
    stopped = watched.inv("bot.stop", "--json")
    assert stopped.code == 0, stopped.err
    assert [one["in_time"] for one in stopped.document["stopped"] if one["what"] == "bot"] == [True]
    assert watched.bots() == []


def test_an_earlier_bots_end_is_not_that_of_a_start_that_is_under_way(system: System) -> None:
    system.use_small_bot(code="")
    system.use_plan()
    assert system.startup().code == 0
    assert system.inv("shutdown").code == 0
    system.environ["SIMULATOR_FAULTS"] = "slow_login=300"
    system.begin("--foreground")
    wait_until(
        lambda: system.startup_log().count("step gateway.wait (gateway_waiting)") == 2, "the second start's wait"
    )
    status = system.inv("status", "--json")
    assert status.document["under_way"] is not None
    assert status.code == 3, "no bot of this start runs, or has finished"
