"""What a boot service, a supervisor and a simulated system say of themselves: one document, the right code and mark."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from orchestration.hostservice import attempts
from orchestration.state_dir import attempts_path
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.watch_scene import begin, told
from tests.system import PATIENCE_S, SIGTERM, System, end_and_read, wait_until

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.timeout(180)]


def _use_failing_bot(system: System) -> None:
    system.use_small_bot(code="raise SystemExit(3)")


def test_a_held_service_ends_with_zero_ready_and_with_one_document(watched: System, tmp_path: Path) -> None:
    watched.inv("hold", "--reason", "new disk")
    logs = sorted(path.name for path in watched.logs.iterdir())
    address = str(tmp_path / "host.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host:
        host.bind(address)
        host.settimeout(PATIENCE_S)
        ended = watched.startup("--service", environ={"NOTIFY_SOCKET": address})
        said = [host.recv(4096).decode().splitlines() for _ in range(2)]
    assert ended.code == 0
    document = ended.document
    assert (document["result"], document["failure"], document["exit_code"]) == ("failure", "HELD", 0)
    assert document["run_id"] is None
    assert "new disk" in document["message"]
    assert "inv resume`, then `" in document["next_action"]
    assert "READY=1" in said[0], "a service of type notify that ends before it is ready has failed"
    assert "STOPPING=1" in said[1]
    assert sorted(path.name for path in watched.logs.iterdir()) == logs
    assert watched.bots() == []


def test_a_restart_of_the_bot_does_not_tell_the_service_manager_that_the_service_stops(
    watched: System, tmp_path: Path
) -> None:
    """systemd would take it for stopping: it would ignore a later `systemctl stop`, and kill it when its time is up."""
    said: list[str] = []

    def listen() -> None:
        while not said or said[-1] != "END":
            said.extend(host.recv(4096).decode().splitlines())

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host:
        host.bind(str(tmp_path / "host.sock"))
        listener = threading.Thread(target=listen)
        listener.start()
        watched.environ["NOTIFY_SOCKET"] = host.getsockname()
        supervisor = begin(watched)
        (bot,) = watched.bots()
        assert watched.inv("bot.restart").code == 0
        wait_until(lambda: watched.bots() and bot not in watched.bots(), "another bot")
        before = tuple(said)
        ended = end_and_read(supervisor, SIGTERM)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"END", host.getsockname())
        listener.join(PATIENCE_S)
    assert ended.code == 0
    assert "READY=1" in before
    assert "STOPPING=1" not in before
    assert "STOPPING=1" in said


def test_a_hold_during_the_start_of_a_service_ends_it_with_zero(watched: System) -> None:
    watched.environ["SIMULATOR_FAULTS"] = "slow_login=3"
    starting = watched.begin("--service")
    watched.wait_for_log("step gateway.wait")
    (watched.state / "hold.json").write_text('{"by": "ann@desk", "since": "2026-11-28T08:00:00", "reason": "disk"}')
    out, err = starting.communicate(timeout=PATIENCE_S)
    assert starting.returncode == 0, err
    document = json.loads(out)
    assert (document["result"], document["failure"], document["exit_code"]) == ("failure", "HELD", 0)
    assert not attempts.read(watched.state).failed_at


def test_a_service_beside_a_supervisor_says_so_in_one_document(watched: System) -> None:
    first = begin(watched)
    ended = watched.startup("--service")
    assert ended.code == 78
    document = ended.document
    assert (document["result"], document["failure"], document["exit_code"]) == ("failure", "BOT_ALREADY_RUNNING", 78)
    assert str(first.pid) in document["message"]
    assert end_and_read(first, SIGTERM).code == 0


def test_a_service_that_gives_up_says_so_in_status_and_in_its_document(
    watched: System, channel: LoopbackChannel
) -> None:
    _use_failing_bot(watched)
    watched.environ["STARTUP_MAX_ATTEMPTS"] = "2"
    codes = [watched.startup("--service") for _ in range(3)]
    assert [one.code for one in codes] == [1, 78, 78]
    assert [one.document["exit_code"] for one in codes] == [1, 78, 78]
    assert [one.document["failure"] for one in codes] == ["BOT_START_FAILED"] * 3
    assert "has given up since" in codes[2].document["message"]
    assert told(channel).count("Given up: no further try") == 1

    shown = watched.inv("status", "--json")
    assert shown.code == 3
    assert "2 failures within 60 minutes" in shown.document["given_up"]["reason"]
    assert "the boot service has given up since" in shown.document["message"]
    assert "2 failures within 60 minutes" in watched.inv("status").out
    assert "has given up" in watched.inv("status", "--all").out

    resumed = watched.inv("resume")
    assert "The boot service, which had given up, may try again." in resumed.out
    assert watched.inv("status", "--json").document["given_up"] is None


def test_a_person_who_starts_the_given_up_service_again_in_the_same_boot_gets_what_they_ask_for(
    watched: System, tmp_path: Path
) -> None:
    """What systemd starts a second time in a boot, after 78, is what a person asked for: `systemctl start`."""
    _use_failing_bot(watched)
    watched.environ |= {"STARTUP_MAX_ATTEMPTS": "1"}
    systemd = {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    assert watched.startup("--service", environ=systemd).code == 78
    # In the next boot, the service is started once by itself: refused. By hand: it tries.
    record = attempts_path(watched.state)
    record.write_text(json.dumps({**json.loads(record.read_text()), "boot_id": "the boot before"}))
    assert "has given up since" in watched.startup("--service", environ=systemd).document["message"]
    tried = watched.startup("--service", environ=systemd).document
    assert "has given up since" not in tried["message"]
    # A trigger that repeats has no notify socket, and is never taken for a person.
    assert "has given up since" in watched.startup("--service").document["message"]
    assert "has given up since" in watched.startup("--service").document["message"]


def test_replace_beside_a_supervisor_has_it_restart_its_bot(watched: System) -> None:
    supervisor = begin(watched)
    before = watched.bots()[0].pid
    replaced = watched.startup("--replace")
    assert replaced.code == 0, replaced.err
    (bot,) = watched.bots()
    assert bot.pid != before
    document = replaced.document
    assert (document["result"], document["failure"], document["bot"]["pid"]) == ("success", None, bot.pid)
    assert [step["status"] for step in document["steps"]] == ["ok"] * 3
    assert supervisor.poll() is None
    assert watched.inv("status", "--json").document["bot"]["supervised"] is True

    _use_failing_bot_in_place(watched)
    failed = watched.startup("--replace")
    assert failed.code == 1
    assert failed.document["failure"] == "BOT_START_FAILED"
    assert supervisor.wait(timeout=PATIENCE_S) == 1


def _use_failing_bot_in_place(system: System) -> None:
    """The same command, another program: the supervisor has the configuration of its start."""
    (system.root / "small_bot.py").write_text("raise SystemExit(3)", encoding="utf-8")


@pytest.mark.parametrize("supervised", [True, False])
def test_everything_told_of_a_simulated_system_is_marked(
    watched: System, channel: LoopbackChannel, *, supervised: bool
) -> None:
    """`--simulate` is not repeated by the commands that come after it."""
    del watched.environ["GATEWAY_RUNTIME"]
    watched.environ["PATH"] = str(watched.root)  # no Docker is asked for what follows the record
    if supervised:
        begin(watched, "--simulate", "--foreground")
        wait_until(watched.bots, "the bot")
    else:
        assert watched.startup("--simulate").code == 0
        assert watched.inv("bot.restart").code == 0
        assert sum("Bot started" in title for title in channel.titles) == 2
    assert watched.inv("shutdown").code == 0
    assert sum("Bot stopped" in title for title in channel.titles) == (1 if supervised else 2)
    assert [title for title in channel.titles if not title.startswith("[SIMULATED] ")] == []
