"""Launching the bot: real processes, real sockets, real signals."""

import functools
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from orchestration.bot.find import BotPresence, FoundBy, find_bot
from orchestration.bot.launch import LaunchRequest, launch_bot
from orchestration.bot.record import ReadyBy, build_record_path, read_record
from orchestration.bot.stop import stop_bot
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from orchestration.system.processes import is_running, read_identity
from orchestration.system.signals import InterruptedBySignal
from tests.integration.bot_scene import PROJECT, build_scene, launch, read_children, read_log, wait_until
from tests.system import wait_until as wait_for


def _stop(settings: Settings) -> None:
    outcome = stop_bot(settings, find_bot(settings), timeout_s=30.0)
    assert outcome.is_gone


def test_a_bot_that_says_ready_is_handed_over_at_once(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "READY=1\\nSTATUS=all set", BOT_START_GRACE="3600")
    said: list[str] = []
    bot = launch(settings, said.append)
    try:
        assert bot.ready_by is ReadyBy.NOTIFY
        assert bot.status_text == "all set"
        assert "the bot says: all set" in said
        found = find_bot(settings)
        assert found.is_found
        assert (found.pid, found.how) == (bot.pid, FoundBy.RECORDED)
        assert found.record == bot.record == read_record(build_record_path(settings))
        assert bot.record.notify_socket is not None
        assert not bot.record.notify_socket.exists(), "nothing listens any more"
    finally:
        _stop(settings)
    assert not find_bot(settings).is_found
    assert read_record(build_record_path(settings)) is None
    assert "stopping gracefully" in read_log(settings)


def test_a_bot_that_says_nothing_is_up_after_the_grace(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, BOT_START_GRACE="0.5")
    bot = launch(settings)
    try:
        assert bot.ready_by is ReadyBy.GRACE
        assert is_running(bot.record.identity)
    finally:
        _stop(settings)


def test_what_is_found_right_before_the_start_stops_the_launch_and_leaves_nothing(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--print", "it began")

    def refuse() -> None:
        assert build_record_path(settings).exists(), "all else is done by then"
        raise StartupFailure(FailureWord.HELD, "stop", next_action="")

    with pytest.raises(StartupFailure, match="stop"):
        launch(settings, before_start=refuse)
    assert not find_bot(settings).is_found
    assert read_record(build_record_path(settings)) is None
    assert "it began" not in read_log(settings)


def test_a_bot_that_crashes_at_once_fails_the_start_with_its_exit_code_and_its_last_lines(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--print-lines", "30", "--print", "no such account", "--exit-after", "0",
                           "--exit-code", "3")  # fmt: skip
    with pytest.raises(StartupFailure) as caught:
        launch(settings)
    assert caught.value.word is FailureWord.BOT_START_FAILED
    assert "exit code 3" in caught.value.message
    assert len(caught.value.evidence) == 20
    assert caught.value.evidence[-1] == "line 29"
    assert caught.value.evidence[0] == "line 10"
    assert read_record(build_record_path(settings)) is None
    assert not find_bot(settings).is_found


def test_a_crash_shortly_before_the_grace_is_over_is_a_failed_start(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--exit-after", "0.9", "--exit-code", "1", BOT_START_GRACE="3")
    with pytest.raises(StartupFailure, match="exit code 1"):
        launch(settings)


def test_a_bot_that_a_signal_ends_is_described_by_the_signal(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "STATUS=reading the plan\\nERRNO=2", "--exit-after", "0.1",
                           "--die-by-signal", "11")  # fmt: skip
    with pytest.raises(StartupFailure, match="SIGSEGV") as caught:
        launch(settings)
    assert "reading the plan" in caught.value.message
    assert "No such file" in caught.value.message


def test_stopping_is_no_readiness(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "STOPPING=1", "--exit-after", "0.1", "--exit-code", "4")
    with pytest.raises(StartupFailure, match="exit code 4"):
        launch(settings)


def test_a_failed_start_leaves_no_process_of_the_bot_behind_whatever_session_it_is_in(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--spawn", "--spawn-daemon", "--exit-after", "0", "--exit-code", "1")
    with pytest.raises(StartupFailure):
        launch(settings)
    children = read_children(settings)
    assert len(children) == 2
    assert [pid for pid in children if read_identity(pid) is not None] == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/nonexistent/bot", "was not found"),
        ("./not-executable", "may not be used"),
        ("./no-program", "is no program"),
    ],
)
def test_a_command_that_cannot_be_started_is_a_failed_start(tmp_path: Path, command: str, expected: str) -> None:
    settings = build_scene(tmp_path, command=command)
    (settings.bot_workdir / "not-executable").write_text("#!/bin/sh\n")
    (settings.bot_workdir / "no-program").write_text("\0\1\2")
    (settings.bot_workdir / "no-program").chmod(0o755)
    with pytest.raises(StartupFailure, match=expected) as caught:
        launch(settings)
    assert caught.value.word is FailureWord.BOT_START_FAILED
    assert read_record(build_record_path(settings)) is None


def test_a_state_folder_that_cannot_be_written_fails_the_start_before_there_is_a_bot(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, STATE_DIR=str(tmp_path / "file" / "state"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartupFailure, match="cannot be written"):
        launch(settings)
    assert read_log(settings) == ""


def test_the_bot_hears_what_it_is_to_know_and_none_of_our_secrets(tmp_path: Path) -> None:
    secrets = {"TWS_PASSWORD": "planted-1", "DISCORD_WEBHOOK_URL": "https://planted-2", "HEARTBEAT_URL": "planted-3"}
    service = {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "NOTIFY_SOCKET": "/run/systemd/notify"}
    own = {"MY_OWN": "kept", "INSTANCE": "paper"}
    settings = build_scene(tmp_path, "--show-environ", "--notify", "READY=1", **secrets, **service, **own)
    launch(settings)
    _stop(settings)
    log = read_log(settings)
    assert "planted" not in log
    assert "ENV WATCHDOG_" not in log
    for line in ("GATEWAY_HOST=127.0.0.1", "GATEWAY_PORT=4002", "LOG_LEVEL=INFO", "INSTANCE=paper", "MY_OWN=kept",
                 f"GAMEPLAN_PATH={settings.state_dir / 'plan.json'}", f"PWD={settings.bot_workdir}",
                 f"NOTIFY_SOCKET={settings.state_dir / 'notify.sock'}"):  # fmt: skip
        assert f"ENV {line}\n" in log


def test_two_bots_launched_in_one_second_have_a_log_each(tmp_path: Path) -> None:
    class Stopped(SystemClock):
        def now(self) -> datetime:
            return moment

    moment = SystemClock().now()
    settings = build_scene(tmp_path, "--notify", "READY=1")
    logs = []
    for _ in range(2):
        bot = launch_bot(
            settings,
            LaunchRequest(
                clock=Stopped(),
                run_id="r",
                gateway=Endpoint(host="h", port=1),
                gameplan=tmp_path / "plan",
                strategy="C",
                sha256="",
            ),
        )
        assert bot.log is not None
        logs.append(bot.log)
        _stop(settings)
    assert logs[0] != logs[1]
    assert all("stopping gracefully" in log.read_text() for log in logs)


def test_an_interrupted_launch_ends_the_bot_and_forgets_it(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "STATUS=starting", "--spawn-daemon")

    def interrupt(said: str) -> None:
        if "starting" in said:
            wait_until(lambda: bool(read_children(settings)), "the bot has a child")
            raise InterruptedBySignal("SIGTERM")

    with pytest.raises(InterruptedBySignal):
        launch(settings, interrupt)
    assert not find_bot(settings).is_found
    assert read_record(build_record_path(settings)) is None
    assert "stopping gracefully" in read_log(settings)
    assert [pid for pid in read_children(settings) if read_identity(pid) is not None] == []


def test_no_second_bot_is_launched(tmp_path: Path) -> None:
    settings = build_scene(tmp_path, "--notify", "READY=1")
    bot = launch(settings)
    try:
        with pytest.raises(StartupFailure) as caught:
            launch(settings)
        assert caught.value.word is FailureWord.BOT_ALREADY_RUNNING
        assert str(bot.pid) in caught.value.message
        assert read_record(build_record_path(settings)) == bot.record
        assert is_running(bot.record.identity)
    finally:
        _stop(settings)


_LAUNCHER = """
import sys
from pathlib import Path
from tests.integration.bot_scene import build_scene, launch
launch(build_scene(Path(sys.argv[1]), *sys.argv[2:]))
"""


_INTERRUPTIBLE_LAUNCHER = """
import signal, sys
from pathlib import Path
from orchestration.system.signals import InterruptedBySignal
from tests.integration.bot_scene import build_scene, launch
def stop(number, frame):
    raise InterruptedBySignal(signal.Signals(number).name)
scene = build_scene(Path(sys.argv[1]), *sys.argv[2:])
signal.signal(signal.SIGTERM, stop)
print("armed", flush=True)
try:
    launch(scene)
except InterruptedBySignal:
    sys.exit(3)
"""


def test_a_sigterm_at_any_instant_of_the_launch_leaves_nothing_of_the_bot(tmp_path: Path) -> None:
    for number in range(10):
        folder = tmp_path / str(number)
        argv = [sys.executable, "-c", _INTERRUPTIBLE_LAUNCHER, str(folder), "--spawn", "--spawn-daemon"]
        with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE) as launcher:
            assert launcher.stdout is not None
            launcher.stdout.readline()
            time.sleep(0.008 * number)
            launcher.terminate()
            assert launcher.wait(timeout=60) == 3
        settings = build_scene(folder)
        assert not find_bot(settings).is_found
        assert read_record(build_record_path(settings)) is None
        assert [pid for pid in read_children(settings) if read_identity(pid) is not None] == []


def _start_launcher(*words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", _LAUNCHER, *words], cwd=PROJECT, start_new_session=True)


def test_the_bot_lives_on_and_writes_megabytes_after_its_launcher_has_gone(tmp_path: Path) -> None:
    trigger = tmp_path / "write"
    words = ("--notify", "READY=1", "--write-when", str(trigger))
    with _start_launcher(str(tmp_path), *words) as launcher:
        assert launcher.wait(timeout=60) == 0
    settings = build_scene(tmp_path, *words)
    found = find_bot(settings)
    assert found.is_found
    try:
        trigger.touch()
        wait_until(Path(f"{trigger}.done").exists, "the bot has written")
        assert is_running(found.identity)
        assert found.record is not None
        assert found.record.log is not None
        assert found.record.log.stat().st_size >= 4096 * 1024
    finally:
        _stop(settings)
    assert not is_running(found.identity)


def test_a_bot_whose_launcher_dies_before_it_is_recorded_is_found(tmp_path: Path) -> None:
    # The bot's first act is to kill its launcher, which has not yet written down who the bot is.
    command = "sh -c 'kill -9 $PPID; exec sleep 300'"
    code = (
        "import sys; from pathlib import Path; from tests.integration.bot_scene import build_scene, launch\n"
        f"launch(build_scene(Path(sys.argv[1]), command={command!r}, BOT_ARGUMENTS='none'))"
    )
    unrecorded = 0
    for number in range(5):
        folder = tmp_path / str(number)
        launcher = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=PROJECT, check=False, timeout=60)
        assert launcher.returncode == -9
        settings = build_scene(folder, command=command, BOT_ARGUMENTS="none")
        record = read_record(build_record_path(settings))
        unrecorded += record is None or not record.is_launched
        found = find_bot(settings)
        assert found.is_found
        assert found.how is FoundBy.RECORDED
        assert found.record is not None
        assert found.record.pid == found.pid
        _stop(settings)
        assert not is_running(found.identity)
    assert unrecorded, "the launcher was always quicker: nothing was shown"


def _agree_on_the_bot(settings: Settings, folder: Path) -> tuple[BotPresence, list[int]] | None:
    """What was found, and what runs; None where they differ, as for the instant between a bot's fork and its exec."""
    found = find_bot(settings)
    named = subprocess.run(["pgrep", "-f", f"{folder}/state/plan.json"], capture_output=True, text=True, check=False)
    running = [int(pid) for pid in named.stdout.split() if read_identity(int(pid)) is not None]
    return (found, running) if ([found.pid] if found.is_found else []) == running else None


def test_a_launcher_that_is_killed_at_any_instant_leaves_no_bot_that_cannot_be_found(tmp_path: Path) -> None:
    outcomes: set[tuple[bool, bool]] = set()
    for number in range(14):
        folder = tmp_path / str(number)
        # From before the launch to after the hand-over: the launcher needs about 0.2 s to get as far as the launch.
        with _start_launcher(str(folder), "--notify", "READY=1") as launcher:
            record = folder / "state" / "bot.json"
            if number % 2:
                wait_until(lambda record=record: record.exists(), "the launch is recorded")  # type: ignore[misc]
            time.sleep(0.0015 * (number // 2))
            launcher.kill()
            launcher.wait()
        settings = build_scene(folder, "--notify", "READY=1")
        agreed = wait_for(functools.partial(_agree_on_the_bot, settings, folder), "a bot that runs, and is found")
        assert agreed is not None
        found, running = agreed
        written = read_record(record)
        outcomes.add((found.is_found, written is not None and written.is_launched))
        _stop(settings)
        assert [pid for pid in running if read_identity(pid) is not None] == []
    assert any(was_running for was_running, _ in outcomes), outcomes
