"""The specification's scenarios, each by name, on a real engine with the simulator's image in the container.

Those about a container's own states stand in `test_startup_docker`, the reboots in `tests/rackmount`.
`python -m tests.campaign --scenarios` runs all of them and writes what came of each into docs/reference/scenarios.md.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.soak.channel import close, hang
from tests.campaign.wall_clock import set_clock_ahead, use_settable_clock
from tests.e2e.docker_system import docker, name_of, start_of, state_of
from tests.integration.alerts_scene import Behaviour, LoopbackChannel, answer, run_channel
from tests.integration.test_bad_disks import small_disk
from tests.system import PATIENCE_S, SIGKILL, SIGTERM, System, day_from_today, end_and_read, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a file system needs root")
_DAY_S = 86_400

# A docker program that takes its time over some commands: the sequence then stays in a state for long enough.
SLOW_DOCKER = """#!/bin/sh
case " $* " in *"$SLOW_WORD"*) sleep 4;; esac
exec "{docker}" "$@"
"""
STATES = ("initializing", "gateway_starting", "gateway_waiting", "gameplan_loading", "bot_starting")
SIGNS = {
    "initializing": "step preflight (",
    "gateway_starting": "step gateway.up (",
    "gateway_waiting": "step gateway.wait (",
    "gameplan_loading": "step gameplan.check (",
    "bot_starting": "step bot.start (",
}


@pytest.fixture
def channel() -> Iterator[LoopbackChannel]:
    with run_channel() as made:
        yield made


def told(channel: LoopbackChannel) -> list[str]:
    alerts = [one for one in list(channel.received) if "embeds" in one.document]
    return [one.title.removeprefix("[SIMULATED] ") for one in alerts]


def wait_for_supervisor(system: System, process: "subprocess.Popen[str]") -> None:
    wait_until(lambda: list(system.logs.glob("supervisor_*.log")) or process.poll() is not None, "supervisor")


@pytest.mark.scenario("4")
def test_a_gateway_that_dies_after_the_hand_over_is_told_restarted_once_and_comes_back(
    system: System, channel: LoopbackChannel
) -> None:
    system.environ |= {"DISCORD_WEBHOOK_URL": channel.address, "MONITOR_INTERVAL": "2"}
    process = system.begin("--foreground")
    wait_for_supervisor(system, process)
    before = start_of(system)
    docker("kill", name_of(system))
    wait_until(lambda: "Gateway is back" in told(channel), f"recovery among {told(channel)}", 120.0)
    assert told(channel).count("Gateway lost") == 1
    assert told(channel).count("Gateway restart attempted") == 1
    assert start_of(system) != before
    assert len(system.bots()) == 1
    assert end_and_read(process, SIGTERM).code == 0


@pytest.mark.scenario("4")
def test_an_api_that_falls_silent_after_the_hand_over_ends_with_a_restart(
    system: System, channel: LoopbackChannel
) -> None:
    system.environ |= {
        "DISCORD_WEBHOOK_URL": channel.address,
        "MONITOR_INTERVAL": "2",
        "HEALTH_CHECK_TIMEOUT": "2",
        "SIMULATOR_FAULTS": "silent_after=8, first_start_only",
    }
    process = system.begin("--foreground")
    wait_for_supervisor(system, process)
    wait_until(lambda: "Gateway is back" in told(channel), f"recovery among {told(channel)}", 180.0)
    assert told(channel).count("Gateway restart attempted") == 1
    assert end_and_read(process, SIGTERM).code == 0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param("missing", "GAMEPLAN_MISSING", marks=pytest.mark.scenario("6")),
        pytest.param({"strategy": "Z"}, "GAMEPLAN_INVALID", marks=pytest.mark.scenario("7")),
        pytest.param("{", "GAMEPLAN_INVALID", marks=pytest.mark.scenario("7")),
        pytest.param({"data_quarantine": True}, "GAMEPLAN_QUARANTINED", marks=pytest.mark.scenario("8")),
        pytest.param(
            {"data_quality": {"quarantine_active": True}}, "GAMEPLAN_QUARANTINED", marks=pytest.mark.scenario("8")
        ),
        pytest.param(None, "GAMEPLAN_NOT_CONFIGURED", marks=pytest.mark.scenario("9")),
        pytest.param({"date": day_from_today(-7)}, "GAMEPLAN_STALE", marks=pytest.mark.scenario("7")),
    ],
)
def test_without_a_usable_plan_the_bot_runs_on_strategy_c_and_the_operator_is_told(
    system: System, channel: LoopbackChannel, change: dict[str, object] | str | None, word: str
) -> None:
    system.environ["DISCORD_WEBHOOK_URL"] = channel.address
    plan = system.use_plan(**(change if isinstance(change, dict) else {}))
    if change is None:
        del system.environ["GAMEPLAN_PATH"]
    elif change == "missing":
        plan.unlink()
    elif isinstance(change, str):
        plan.write_text(change, encoding="utf-8")
    started = system.startup()
    assert (started.code, started.document["fallback"]) == (2, word), started.err
    bot = system.bots()[0]
    assert json.loads(Path(bot.environ()["GAMEPLAN_PATH"]).read_text(encoding="utf-8"))["strategy"] == "C"
    alert = next(one.document for one in channel.received if one.title.endswith("Strategy C: no trading"))
    assert word in json.dumps(alert)


@pytest.mark.scenario("10")
def test_a_bot_that_dies_at_once_is_a_failure_and_nothing_of_it_stays(system: System, channel: LoopbackChannel) -> None:
    system.environ["DISCORD_WEBHOOK_URL"] = channel.address
    system.use_small_bot(code="import sys; print('cannot find my strategy file'); sys.exit(7)")
    started = system.startup()
    assert (started.code, started.document["failure"]) == (1, "BOT_START_FAILED"), started.err
    assert "cannot find my strategy file" in json.dumps(channel.received[-1].document)
    assert system.bots() == []
    assert state_of(system) == "running"  # logging in again could need the phone


@pytest.mark.scenario("11")
@pytest.mark.parametrize("is_by_hand", [False, True])
def test_a_bot_that_runs_already_is_named_and_left_alone(system: System, is_by_hand: bool) -> None:  # noqa: FBT001 - a parameter of a test
    with contextlib.ExitStack() as undo:
        if is_by_hand:
            system.environ["BOT_ARGUMENTS"] = "none"
            command = [sys.executable, str(system.root / "small_bot.py"), "--ready"]
            environ = {name: value for name, value in system.environ.items() if name != "GAMEPLAN_PATH"}
            by_hand = subprocess.Popen(command, cwd=system.root, env=environ, stdout=subprocess.DEVNULL)
            undo.callback(by_hand.wait)
            undo.callback(by_hand.kill)
            pid = by_hand.pid
        else:
            pid = system.startup().document["bot"]["pid"]
        again = system.startup()
        assert (again.code, again.document["failure"]) == (1, "BOT_ALREADY_RUNNING"), again.err
        assert str(pid) in again.document["message"]
        assert os.kill(pid, 0) is None  # type: ignore[func-returns-value]  # it still runs: no error


@pytest.mark.scenario("12")
def test_without_a_webhook_alerts_are_logged_and_the_start_is_not_changed(system: System) -> None:
    started = system.startup()
    assert started.code == 0, started.err
    assert "Bot started" in system.startup_log()
    assert any("alerts" in warning for warning in started.document["warnings"])


@pytest.mark.scenario("13")
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(hang, id="hangs"),
        # Less than what `shutdown` has at its end: it must not ask sooner than it was told to.
        pytest.param(answer(429, {"Retry-After": "4"}), id="429"),
        pytest.param(answer(500), id="500"),
        pytest.param(close, id="closes"),
        pytest.param(None, id="refuses"),
    ],
)
def test_a_webhook_that_does_not_work_changes_nothing_and_what_was_to_be_told_is_kept(
    system: System, channel: LoopbackChannel, behaviour: Behaviour | None
) -> None:
    if behaviour is not None:
        channel.script += [behaviour] * 100
    address = channel.address
    system.environ["DISCORD_WEBHOOK_URL"] = (
        address if behaviour is not None else address.replace(f":{channel.port}/", ":9/")
    )
    started = system.startup()
    assert started.code == 0, started.err
    assert len(system.bots()) == 1
    # Both of them in time: the steps were not held up, and no more than ten seconds were added at the end.
    channel.script.clear()
    channel.received.clear()
    system.environ["DISCORD_WEBHOOK_URL"] = address
    assert system.inv("shutdown").code == 0
    assert "Operational" in told(channel)


@pytest.mark.scenario("14")
def test_a_second_start_while_the_first_is_under_way_says_so_and_changes_nothing(system: System) -> None:
    system.environ["SIMULATOR_FAULTS"] = "slow_login=4"
    first = system.begin()
    system.wait_for_log(SIGNS["gateway_waiting"])
    second = system.startup()
    assert (second.code, second.document["failure"]) == (1, "ALREADY_STARTING"), second.err
    out, err = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, err
    assert json.loads(out)["failure"] is None
    assert len(system.bots()) == 1


@pytest.mark.scenario("15")
def test_with_gateway_and_bot_both_running_nothing_is_touched(system: System) -> None:
    assert system.startup().code == 0
    before, bot = start_of(system), system.bots()[0].pid
    again = system.startup()
    assert (again.code, again.document["failure"]) == (1, "BOT_ALREADY_RUNNING"), again.err
    assert start_of(system) == before
    assert [one.pid for one in system.bots()] == [bot]


@pytest.mark.scenario("15")
def test_of_two_at_the_same_instant_one_starts_the_bot_and_one_container_is_made(system: System) -> None:
    both = [system.begin() for _ in range(2)]
    ended = [(process.communicate(timeout=PATIENCE_S)[0], process.returncode) for process in both]
    assert sorted(code for _, code in ended) == [0, 1]
    assert {json.loads(out)["failure"] for out, _ in ended} <= {None, "ALREADY_STARTING", "BOT_ALREADY_RUNNING"}
    assert len(system.bots()) == 1
    assert len(docker("ps", "--all", "--quiet", "--filter", f"name=^/{name_of(system)}$").split()) == 1


@pytest.mark.scenario("16")
def test_a_gateway_that_is_ready_at_the_deadlines_last_look_is_a_success(system: System) -> None:
    # No health check and no line of the log wakes the wait when it becomes ready, and the next look would come long
    # after the deadline: only the last look, at the deadline itself, can find it ready.
    folder = system.root / "compose"
    folder.mkdir()
    shipped = Path(__file__).parents[2] / "docker/gateway/docker-compose.yml"
    (folder / "docker-compose.yml").write_bytes(shipped.read_bytes())
    override = "services:\n  gateway:\n    healthcheck: !reset null\n"
    (folder / "docker-compose.override.yml").write_text(override, encoding="utf-8")
    system.environ |= {
        "DOCKER_COMPOSE_DIR": str(folder),
        "SIMULATOR_FAULTS": "error=502:4",
        "GATEWAY_HEALTH_TIMEOUT": "8",
        "GATEWAY_HEALTH_RETRY_INTERVAL": "60",
    }
    started = system.startup()
    assert started.code == 0, started.err
    wait = next(step for step in started.document["steps"] if step["name"] == "gateway.wait")
    assert wait["duration_s"] >= 8
    assert started.document["gateway"]["restarted"] is False


@pytest.mark.scenario("17")
def test_a_gateway_that_is_killed_during_the_wait_is_started_again_once(system: System) -> None:
    system.environ["SIMULATOR_FAULTS"] = "slow_login=60, first_start_only"
    process = system.begin()
    wait_until(lambda: "Login attempt" in docker("logs", name_of(system)), "login")  # it knows then that it has started
    system.wait_for_log(SIGNS["gateway_waiting"])
    docker("kill", name_of(system))
    out, err = process.communicate(timeout=PATIENCE_S * 2)
    assert process.returncode == 0, err
    assert json.loads(out)["gateway"]["restarted"] is True
    assert system.startup_log().count("Gateway restart attempted") == 1


@pytest.mark.scenario("17")
def test_a_gateway_that_dies_again_and_again_is_a_failure_after_one_restart(system: System) -> None:
    system.environ |= {"SIMULATOR_FAULTS": "slow_login=60, dies_after=1", "GATEWAY_HEALTH_TIMEOUT": "8"}
    started = system.startup()
    assert started.code == 1, started.err
    assert started.document["failure"] in {"GATEWAY_TIMEOUT", "GATEWAY_UNHEALTHY"}
    assert system.startup_log().count("Gateway restart attempted") == 1
    assert system.bots() == []


def stay_in(system: System, state: str) -> None:
    """Make the sequence stay in this state for some seconds."""
    real = shutil.which("docker")
    folder = system.root / "bin"
    folder.mkdir()
    (folder / "docker").write_text(SLOW_DOCKER.format(docker=real), encoding="utf-8")
    (folder / "docker").chmod(0o755)
    system.environ |= {"PATH": f"{folder}{os.pathsep}{system.environ['PATH']}", "SLOW_WORD": "no such word"}
    if state == "initializing":
        system.environ["SLOW_WORD"] = " version "
    elif state == "gateway_starting":
        system.environ["SLOW_WORD"] = " up "
    elif state == "gateway_waiting":
        system.environ["SIMULATOR_FAULTS"] = "slow_login=5"
    elif state == "gameplan_loading":
        # An invalid file that is still being written is read again, for some seconds.
        system.use_plan().write_text("{", encoding="utf-8")
    else:
        system.use_small_bot()
        system.environ["BOT_START_GRACE"] = "60"


def begin_and_wait_for(system: System, state: str) -> "subprocess.Popen[str]":
    stay_in(system, state)
    process = system.begin()
    system.wait_for_log(SIGNS[state])
    if state == "bot_starting":
        wait_until(system.bots, "bot")
    assert process.poll() is None
    return process


def run_as_it_should(system: System) -> None:
    """Put right what made it stay."""
    system.environ |= {"SLOW_WORD": "no such word", "BOT_START_GRACE": "1"}
    system.use_plan()


@pytest.mark.scenario("SIGKILL")
@pytest.mark.parametrize("state", STATES)
def test_after_a_kill_in_any_state_the_next_run_converges_on_one_bot(system: System, state: str) -> None:
    process = begin_and_wait_for(system, state)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    before = system.bots()
    run_as_it_should(system)
    again = system.startup()
    if before:
        assert again.document["failure"] == "BOT_ALREADY_RUNNING"
    else:
        assert again.code == 0, again.err
    assert len(system.bots()) == 1
    runs = system.inv("history", "--json").document["runs"]
    assert runs[-1]["failure"] == "INTERRUPTED"
    assert all(run["result"] for run in runs)


@pytest.mark.scenario("SIGKILL")
def test_after_a_kill_of_the_supervisor_the_next_one_adopts_the_bot(system: System) -> None:
    process = system.begin("--foreground")
    wait_for_supervisor(system, process)
    bot = system.bots()[0].pid
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    seen = len(list(system.logs.glob("supervisor_*.log")))
    again = system.begin("--foreground")
    wait_until(lambda: len(list(system.logs.glob("supervisor_*.log"))) > seen or again.poll() is not None, "supervisor")
    assert [one.pid for one in system.bots()] == [bot]
    assert end_and_read(again, SIGTERM).code == 0
    assert system.bots() == []


@pytest.mark.scenario("SIGTERM")
@pytest.mark.parametrize("state", STATES)
def test_a_start_that_is_asked_to_end_in_any_state_leaves_no_bot_and_the_next_one_works(
    system: System, state: str
) -> None:
    process = begin_and_wait_for(system, state)
    ended = end_and_read(process, SIGTERM)
    assert (ended.code, ended.document["failure"]) == (1, "INTERRUPTED"), ended.err
    assert system.bots() == []
    run_as_it_should(system)
    again = system.startup()
    assert again.code == 0, again.err
    assert len(system.bots()) == 1


@pytest.mark.scenario("SIGTERM")
def test_a_supervisor_that_is_asked_to_end_stops_the_bot_and_leaves_the_gateway(system: System) -> None:
    process = system.begin("--foreground")
    wait_for_supervisor(system, process)
    assert end_and_read(process, SIGTERM).code == 0
    assert system.bots() == []
    assert state_of(system) == "running"


@needs_root
@pytest.mark.scenario("disk full")
@pytest.mark.parametrize("has_plan", [True, False])
def test_a_full_state_disk_is_a_failure_without_a_bot_and_is_told(
    system: System,
    channel: LoopbackChannel,
    has_plan: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    if not has_plan:
        del system.environ["GAMEPLAN_PATH"]
    with small_disk(system.state, free_bytes=0):
        system.environ["DISCORD_WEBHOOK_URL"] = channel.address
        started = system.startup()
        assert (started.code, started.document["failure"]) == (1, "STRATEGY_C_FAILED"), started.err
        assert [title for title in channel.titles if "STRATEGY_C_FAILED" in title]
        assert system.bots() == []
    again = system.startup()
    assert again.code == (0 if has_plan else 2), again.err


@needs_root
@pytest.mark.scenario("disk full")
def test_a_full_log_disk_stops_no_start(system: System) -> None:
    system.use_small_bot(code="import time; time.sleep(600)")
    with small_disk(system.logs, free_bytes=0):
        started = system.startup()
        assert started.code == 0, started.err
        assert len(system.bots()) == 1
        assert system.inv("shutdown").code == 0


@pytest.mark.scenario("clock jump")
@pytest.mark.parametrize(("ahead_s", "plan"), [(_DAY_S, "tomorrow's"), (-_DAY_S, "yesterday's"), (-_DAY_S, "today's")])
def test_a_host_whose_clock_is_wrong_by_a_day_trades_on_no_plan(system: System, ahead_s: int, plan: str) -> None:
    use_settable_clock(system)
    set_clock_ahead(system, ahead_s)
    system.use_plan(date=day_from_today({"tomorrow's": 1, "yesterday's": -1, "today's": 0}[plan]))
    started = system.startup()
    assert (started.code, started.document["fallback"]) == (2, "CLOCK_SKEW"), started.err
    assert started.document["gameplan"]["strategy"] == "C"


@pytest.mark.scenario("clock jump")
@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_a_clock_that_jumps_during_the_wait_moves_no_deadline(system: System, ahead_s: int) -> None:
    use_settable_clock(system)
    system.environ |= {"SIMULATOR_FAULTS": "slow_login=60", "GATEWAY_HEALTH_TIMEOUT": "6", "GATEWAY_RECOVERY": "alert"}
    process = system.begin()
    begun_s = time.monotonic()
    system.wait_for_log(SIGNS["gateway_waiting"])
    set_clock_ahead(system, ahead_s)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, err
    report = json.loads(out)
    assert report["failure"] == "GATEWAY_TIMEOUT"
    wait = next(step for step in report["steps"] if step["name"] == "gateway.wait")
    assert 6 <= wait["duration_s"] <= time.monotonic() - begun_s


@pytest.mark.scenario("clock jump")
def test_a_clock_that_jumps_under_the_supervisor_is_told_and_the_bot_stays_known(
    system: System, channel: LoopbackChannel
) -> None:
    use_settable_clock(system)
    system.environ |= {
        "DISCORD_WEBHOOK_URL": channel.address,
        "HEARTBEAT_URL": f"http://127.0.0.1:{channel.port}/ping/pulse",
        "MONITOR_INTERVAL": "2",
        "MARKET_TIMEZONE": find_zone_at_noon(),  # a step over midnight restarts the bot on the next day's plan
    }
    process = system.begin("--foreground")
    wait_for_supervisor(system, process)
    bot = system.bots()[0].pid
    pings = len(pings_of(channel))
    # Two more: at least one look is over that found all well.
    wait_until(lambda: len(pings_of(channel)) >= pings + 2, "heartbeats of a supervisor")
    set_clock_ahead(system, 3600)
    wait_until(lambda: [title for title in told(channel) if "lock" in title], f"alert among {told(channel)}")
    assert [one.pid for one in system.bots()] == [bot]
    assert system.inv("status", "--json").document["bot"]["pid"] == bot
    assert end_and_read(process, SIGTERM).code == 0


def find_zone_at_noon() -> str:
    """A time zone in which it is between 11:00 and 13:00 now."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}"  # POSIX counts the hours west of Greenwich


def pings_of(channel: LoopbackChannel) -> list[str]:
    return [one.path for one in channel.received if one.path.startswith("/ping/")]
