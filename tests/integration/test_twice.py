"""Run twice, at the same moment, killed and interrupted in every state: never two bots, and always a known end."""

import json
import random
import subprocess
import time

import pytest

from tests.integration.alerts_scene import run_channel
from tests.system import PATIENCE_S, SIGINT, SIGKILL, SIGTERM, SMALL_BOT, System, end_and_read, is_port_free, wait_until
from tests.thorough import choose_count

# How to make the sequence stay in a state, and what its log says then.
SLOW = {
    "gateway_waiting": ("slow_login=60", "step gateway.wait"),
    "gameplan_loading": ("", "step gameplan.check"),
    "bot_starting": ("", "step bot.start"),
}


def prepare(system: System, state: str) -> str:
    """Make the sequence stay in this state; returns what the log says when it is there."""
    faults, sign = SLOW[state]
    system.environ["SIMULATOR_FAULTS"] = faults
    system.use_small_bot()
    if state == "gameplan_loading":
        # An invalid file that is still being written is read again, for some seconds.
        (system.use_plan()).write_text("{", encoding="utf-8")
    if state == "bot_starting":
        system.environ["BOT_START_GRACE"] = "60"
    return sign


def test_twenty_at_the_same_instant_start_exactly_one_bot(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    running = [system.begin() for _ in range(20)]
    ended = [(process.communicate(timeout=PATIENCE_S)[0], process.returncode) for process in running]
    assert sorted(code for _, code in ended) == [0] + [1] * 19
    assert len(system.bots()) == 1
    reports = [json.loads(out) for out, _ in ended]
    assert {report["failure"] for report in reports} <= {None, "ALREADY_STARTING", "BOT_ALREADY_RUNNING"}
    assert len({report["log"] for report in reports}) == 20
    assert len(system.inv("history", "--json").document["runs"]) == 20


# Each state with one of them first; in CI with the other one, too.
_INTERRUPTIONS = [
    *zip(SLOW, (SIGTERM, SIGINT, SIGTERM), strict=True),
    *zip(SLOW, (SIGINT, SIGTERM, SIGINT), strict=True),
]


@pytest.mark.parametrize(("state", "number"), _INTERRUPTIONS[: choose_count(usual=3, thorough=6)])
def test_a_signal_in_any_state_leaves_nothing_half_started(system: System, state: str, number: int) -> None:
    sign = prepare(system, state)
    process = system.begin()
    system.wait_for_log(sign)
    if state == "bot_starting":
        wait_until(system.bots, "bot")
    ended = end_and_read(process, number)
    assert ended.code == 1, ended.err
    assert ended.document["failure"] == "INTERRUPTED"
    assert system.processes() == []
    assert is_port_free(system.port)
    last = system.inv("history", "--json").document["runs"][0]
    assert (last["result"], last["failure"], last["exit_code"]) == ("failure", "INTERRUPTED", 1)


def test_a_start_that_somebody_else_holds_down_says_by_whom_and_what_would_end_it(system: System) -> None:
    sign = prepare(system, "gateway_waiting")
    process = system.begin()
    system.wait_for_log(sign)
    assert system.inv("hold", "--reason=new disk").code == 0
    out, err = process.communicate(timeout=PATIENCE_S)
    report = json.loads(out)
    assert (process.returncode, report["failure"]) == (1, "INTERRUPTED"), err
    assert report["message"].startswith("SIGTERM arrived during gateway.wait, sent by the hold of process ")
    assert "; the system is held by " in report["message"]
    assert "new disk" in report["message"]
    assert "inv resume" in report["next_action"]


def test_of_two_shutdowns_the_first_says_that_the_other_goes_on_with_it(system: System) -> None:
    system.use_plan()
    asked = system.root / "asked"
    stubborn = "signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[2], 'w').close())"
    code = SMALL_BOT.replace("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))", stubborn)
    system.use_small_bot("--ready", f"'{asked}'", code=code)
    assert system.startup().code == 0
    first = system.begin_module("invoke", "shutdown", "--json")
    wait_until(asked.exists, "SIGTERM for the bot")
    second = system.inv("shutdown", "--json", environ={"BOT_STOP_TIMEOUT": "1"})
    out, err = first.communicate(timeout=PATIENCE_S)
    report = json.loads(out)
    assert (first.returncode, report["failure"]) == (1, "INTERRUPTED"), err
    assert report["message"].startswith("SIGTERM arrived during bot.stop, sent by the shutdown of process ")
    assert report["next_action"].startswith("The shutdown goes on with it; ")
    assert second.code == 0
    assert system.processes() == []


@pytest.mark.parametrize("state", list(SLOW))
def test_after_a_kill_in_any_state_the_next_run_converges_on_one_bot(system: System, state: str) -> None:
    sign = prepare(system, state)
    process = system.begin()
    system.wait_for_log(sign)
    if state == "bot_starting":
        wait_until(system.bots, "bot")
    end_and_read_killed(process)
    before = system.bots()

    system.environ |= {"SIMULATOR_FAULTS": "", "BOT_START_GRACE": "1"}
    if state == "gateway_waiting":
        assert system.inv("gateway.down").code == 0  # the simulated gateway would log in after a minute
    system.use_plan()
    again = system.startup()
    if before:
        assert again.document["failure"] == "BOT_ALREADY_RUNNING"
    else:
        assert again.code == 0, again.err
    assert len(system.bots()) == 1
    runs = system.inv("history", "--json").document["runs"]
    assert runs[-1]["failure"] == "INTERRUPTED"


def test_kills_at_random_instants_never_leave_two_bots_or_a_broken_journal(system: System) -> None:
    seed = 20261121
    chance = random.Random(seed)  # noqa: S311 - a seeded choice of instants, not a secret
    system.use_small_bot("--ready")
    system.use_plan()
    for _ in range(12):
        process = system.begin()
        time.sleep(chance.uniform(0.05, 0.9))  # any instant will do: it is the kill that is tested
        end_and_read_killed(process)
        assert len(system.bots()) <= 1, seed
    system.startup()
    assert len(system.bots()) == 1
    runs = system.inv("history", "--json").document["runs"]
    assert all(run["result"] is not None for run in runs)


def test_shutdown_ends_a_start_that_is_under_way(system: System) -> None:
    system.kind = subprocess.Popen
    system.use_small_bot("--ready")
    system.environ["SIMULATOR_FAULTS"] = "slow_login=60"
    process = system.begin()
    system.wait_for_log("step gateway.wait")
    assert system.inv("shutdown").code == 0
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert json.loads(out)["failure"] == "INTERRUPTED"
    assert system.processes() == []


def end_and_read_killed(process: subprocess.Popen[str]) -> None:
    """Kill it and collect it."""
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)


def test_a_start_by_hand_beside_a_supervisor_is_refused_recorded_and_alerted(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    first = system.begin("--foreground")
    wait_until(system.bots, "bot")
    system.wait_for_log("bot.start")
    (bot,) = system.bots()
    with run_channel() as channel:
        second = system.startup("--foreground", environ={"DISCORD_WEBHOOK_URL": channel.address})
        assert second.code == 1, second.err
        assert second.document["failure"] == "BOT_ALREADY_RUNNING"
        assert "supervisor" in second.document["message"]
        assert [title for title in channel.titles if "BOT_ALREADY_RUNNING" in title]
    assert system.bots() == [bot]
    assert system.inv("history", "--json").document["runs"][0]["failure"] == "BOT_ALREADY_RUNNING"
    assert system.inv("shutdown").code == 0
    assert first.wait(timeout=PATIENCE_S) == 0


def test_an_own_bot_is_no_other_instances_because_its_state_folder_was_moved(system: System) -> None:
    system.use_plan()
    old = {"STATE_DIR": str(system.root / "state-before")}
    assert system.startup(environ=old).code == 0
    assert system.inv("shutdown", environ=old).code == 0
    assert system.startup().code == 0
    restarted = system.inv("gateway.restart", "--json")
    assert restarted.code == 0, restarted.err
