"""A bot that outlives its killed supervisor: adopted by a start that validates it, and else stopped and told of."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration import hold
from orchestration.hostservice import attempts
from orchestration.settings import Settings
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.watch_scene import begin, told
from tests.system import PATIENCE_S, PROJECT, SIGKILL, SIGTERM, SMALL_BOT, System, end_and_read, system_in, wait_until

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.timeout(180)]
STOP_LEFT_BEHIND = [sys.executable, "-m", "orchestration.startup", "--stop-left-behind"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"SIMULATOR_FAULTS": "accepts_silent", "GATEWAY_HEALTH_TIMEOUT": "2"}, "GATEWAY_TIMEOUT"),
        ({"SIMULATOR_FAULTS": "wrong_account"}, "GATEWAY_WRONG_ACCOUNT"),
        ({"SIMULATOR_FAULTS": "second_factor", "GATEWAY_TWOFA_TIMEOUT": "2"}, "GATEWAY_SECOND_FACTOR"),
        ({"GATEWAY_RUNTIME": "docker", "DOCKER_HOST": "unix:///no/engine.sock"}, "DOCKER_UNAVAILABLE"),
        ({"GATEWAY_HEALTH_TIMEOUT": "soon"}, "CONFIG_INVALID"),
        ({"BOT_WORKDIR": "/no/such/folder"}, "CONFIG_INVALID"),
    ],
)
def test_a_start_that_could_not_validate_leaves_no_bot_trading(
    watched: System, channel: LoopbackChannel, change: dict[str, str], word: str
) -> None:
    leave_a_bot(watched)
    assert watched.inv("gateway.down").code == 0
    watched.environ |= change
    ended = watched.startup("--foreground")
    assert (ended.code, ended.document["failure"]) == (1, word)
    assert watched.bots() == []
    said = [received.document for received in channel.received if received.title.endswith("Bot stopped")]
    assert len(said) == 1
    assert f"stopped gracefully: the start that would have adopted it failed ({word})" in json.dumps(said)


def leave_a_bot(system: System) -> int:
    """A bot that lives on after its supervisor was killed; returns its pid."""
    process = begin(system)
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    (bot,) = system.bots()
    return bot.pid


@pytest.mark.parametrize(("arguments", "code"), [("--foreground", 1), ("--service", 0)])
def test_a_bot_that_was_left_behind_does_not_outlive_a_hold(
    watched: System, channel: LoopbackChannel, arguments: str, code: int
) -> None:
    leave_a_bot(watched)
    hold.write_hold(watched.state, reason="new disk", now=datetime.now(UTC))  # and its own stop was cut short
    assert watched.startup(arguments).code == code
    assert watched.bots() == []
    assert told(channel).count("Bot stopped") == 1


def test_a_service_that_has_given_up_stops_what_its_supervisor_left_behind_and_nothing_else(watched: System) -> None:
    leave_a_bot(watched)
    settings = Settings.from_environ(watched.environ, project_dir=PROJECT)
    attempts.note_given_up(settings, "tried out", now=datetime.now(UTC))
    assert watched.startup("--service").code == 78
    assert watched.bots() == []
    assert watched.inv("bot.start").code == 0  # validated by a person's own command, to run without a supervisor
    before = sorted(watched.logs.iterdir())
    assert watched.startup("--service").code == 78
    assert len(watched.bots()) == 1
    assert sorted(watched.logs.iterdir()) == before


def test_a_bot_that_was_left_behind_gets_its_whole_time_to_leave(watched: System, channel: LoopbackChannel) -> None:
    slow = SMALL_BOT.replace("lambda *_: sys.exit(0)", "lambda *_: (time.sleep(7), sys.exit(0))")
    watched.use_small_bot("--ready", code=slow)
    leave_a_bot(watched)
    watched.environ["GATEWAY_HEALTH_TIMEOUT"] = "soon"
    assert watched.startup("--foreground").code == 1
    assert "stopped gracefully" in json.dumps([received.document for received in channel.received])


def test_what_a_service_left_behind_is_stopped_after_its_end_but_never_beside_a_run(watched: System) -> None:
    process = begin(watched)
    (bot,) = watched.bots()
    assert watched.run(STOP_LEFT_BEHIND).code == 0
    assert [one.pid for one in watched.bots()] == [bot.pid], "its supervisor is at work"
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    assert watched.run(STOP_LEFT_BEHIND).code == 0
    assert watched.bots() == []
    assert watched.startup().code == 0
    before = sorted(watched.logs.iterdir())
    assert watched.run(STOP_LEFT_BEHIND).code == 0
    assert len(watched.bots()) == 1, "no supervisor was to watch it"
    assert sorted(watched.logs.iterdir()) == before


def test_an_end_by_the_watchdog_is_told_by_the_next_start_and_by_no_other(
    watched: System, channel: LoopbackChannel
) -> None:
    # What systemd gives the command that it runs after the service's end.
    said_by_systemd = {"SERVICE_RESULT": "watchdog", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
    assert watched.run(STOP_LEFT_BEHIND, environ=said_by_systemd).code == 0
    first = watched.startup()
    (warning,) = [one for one in first.document["warnings"] if "watchdog" in one]
    assert "The boot service's last run" in warning
    assert told(channel).count("Boot service was ended by the system") == 1
    alert = next(one.document for one in channel.received if "ended by the system" in one.title)
    assert "SERVICE_WATCHDOG" in json.dumps(alert)
    assert "watchdog ended it" in watched.inv("history").out
    assert watched.inv("bot.stop").code == 0
    assert not [one for one in watched.startup().document["warnings"] if "watchdog" in one]


def test_a_shutdown_removes_the_sockets_folder_outside_of_the_state_folder_that_a_killed_supervisor_left(
    tmp_path: Path,
) -> None:
    with system_in(tmp_path / ("too-long-for-a-socket-" * 5)) as system:
        system.use_small_bot("--ready")
        system.use_plan()
        leave_a_bot(system)
        folder = Path(system.bots()[0].environ()["NOTIFY_SOCKET"]).parent
        assert folder.is_dir()
        assert not folder.is_relative_to(system.root)
        assert system.inv("shutdown").code == 0
        assert not folder.exists()


def test_a_start_that_is_ended_before_it_adopts_leaves_no_bot_trading(watched: System) -> None:
    process = begin(watched)
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    assert watched.inv("gateway.down").code == 0
    watched.environ["SIMULATOR_FAULTS"] = "slow_login=60"
    logs = len(watched.startup_log().split("step gateway.wait ("))
    again = watched.begin("--foreground")
    wait_until(lambda: len(watched.startup_log().split("step gateway.wait (")) > logs, "wait for the gateway")
    assert end_and_read(again, SIGTERM).document["failure"] == "INTERRUPTED"
    assert watched.bots() == []
