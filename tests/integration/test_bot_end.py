"""The end of a bot: planned only if this program was asked to stop it, whatever it said and whatever was deleted."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.watch_scene import begin, told, wait_for
from tests.system import PATIENCE_S, SIGTERM, System, end_and_read, wait_until
from tests.thorough import choose_count

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.timeout(180)]

# Says READY; once the file `say` is there, its first argument (+ is a new line); ends once the file `end` is there.
BOT = """
import os, signal, socket, sys, time
words, code = sys.argv[1].replace("+", "\\n"), int(sys.argv[2])
if "--mute" not in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
        talk.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
say("READY=1")
here = os.path.dirname(os.path.abspath(__file__))
said = False
while True:
    print("alive", flush=True)
    if not said and os.path.exists(os.path.join(here, "say")):
        say(words)
        said = True
        print("said", words, flush=True)
    if os.path.exists(os.path.join(here, "end")):
        print("the last line", flush=True)
        sys.exit(code)
    time.sleep(0.02)
"""


def use_bot(system: System, words: str, code: int, *more: str) -> None:
    system.use_small_bot(f"'{words}'", str(code), *more, code=BOT)
    system.environ["BOT_ARGUMENTS"] = "none"


def bot_log(system: System) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(system.logs.glob("bot_*.log")))


def begin_monitor(system: System) -> "subprocess.Popen[str]":
    """Begin a monitor, and wait until it listens to the bot."""
    monitor = system.begin_module("invoke", "monitor")

    def is_listened_to() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            return client.connect_ex(str(system.state / "notify.sock")) == 0

    wait_until(is_listened_to, "monitor that listens")
    return monitor


@pytest.mark.parametrize("code", [1, 5])
def test_a_bot_that_announced_its_end_and_failed_is_alerted_with_code_and_last_lines(
    watched: System, channel: LoopbackChannel, code: int
) -> None:
    use_bot(watched, "STOPPING=1", code)
    process = begin(watched)
    (watched.root / "say").touch()
    wait_until(lambda: "said STOPPING=1" in bot_log(watched), "announcement")
    (watched.root / "end").touch()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    wait_for(channel, "Bot ended")
    alert = json.dumps(next(one.document for one in channel.received if "Bot ended" in one.title))
    assert f"exit code {code}" in alert
    assert "the last line" in alert


def _by_signal(system: System) -> None:
    system.bots()[0].terminate()


def _by_its_end(system: System) -> None:
    (system.root / "end").touch()


@pytest.mark.parametrize("end", [_by_signal, _by_its_end])
@pytest.mark.parametrize("is_record_lost", [False, True])
def test_an_end_that_this_program_was_not_asked_for_is_unplanned_though_the_bot_announced_it(
    watched: System, channel: LoopbackChannel, end: Callable[[System], None], *, is_record_lost: bool
) -> None:
    use_bot(watched, "STOPPING=1+STATUS=leaving", 3, "--mute")  # SIGTERM ends it as it ends any program
    process = begin(watched)
    (watched.root / "say").touch()
    wait_until(lambda: "said STOPPING=1" in bot_log(watched), "announcement")
    if is_record_lost:
        (watched.state / "bot.json").unlink()
    end(watched)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    wait_for(channel, "Bot ended")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("WATCHDOG=trigger", "WATCHDOG=trigger"),
        ("WATCHDOG_USEC=1000", "has not kept its watchdog"),  # said once, and no WATCHDOG=1 within the millisecond
    ],
)
def test_a_bot_that_says_it_is_hung_is_ended_and_told(
    watched: System, channel: LoopbackChannel, words: str, reason: str
) -> None:
    use_bot(watched, words, 0)
    process = begin(watched)
    (watched.root / "say").touch()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    wait_for(channel, "Bot does not answer")
    alert = json.dumps(next(one.document for one in channel.received if "Bot does not answer" in one.title))
    assert reason in alert
    assert watched.bots() == []


def test_a_bot_that_announced_its_end_and_hangs_is_watched_on(watched: System) -> None:
    use_bot(watched, "STOPPING=1", 0)
    process = begin(watched)
    (watched.root / "say").touch()
    log = watched.logs
    wait_until(
        lambda: "says that it is stopping" in "".join(path.read_text() for path in log.glob("supervisor_*.log")), "news"
    )
    assert process.poll() is None
    assert end_and_read(process, SIGTERM).code == 0


def test_a_monitor_tells_a_stop_that_was_asked_for_from_one_that_was_not(
    watched: System, channel: LoopbackChannel
) -> None:
    use_bot(watched, "STATUS=x", 0, "--mute")
    assert watched.startup().code == 0
    monitor = begin_monitor(watched)
    assert watched.inv("bot.stop").code == 0
    if monitor.poll() is None:
        assert end_and_read(monitor, SIGTERM).code == 0
    assert "Bot ended" not in told(channel)
    assert watched.startup().code == 0
    monitor = begin_monitor(watched)
    watched.bots()[0].terminate()
    wait_for(channel, "Bot ended")
    assert end_and_read(monitor, SIGTERM).code == 0


def test_a_stop_request_for_another_bot_plans_nothing(watched: System, channel: LoopbackChannel) -> None:
    use_bot(watched, "STATUS=x", 0, "--mute")
    assert watched.startup().code == 0
    assert watched.inv("bot.stop").code == 0
    request = (watched.state / "bot_stop.json").read_bytes()
    process = begin(watched)
    (watched.state / "bot_stop.json").write_bytes(request)
    watched.bots()[0].terminate()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    wait_for(channel, "Bot ended")


_OBSTACLES = ("fifo", "garbage", "folder", "endless")


@pytest.mark.parametrize("kind", _OBSTACLES[: choose_count(usual=2, thorough=4)])
def test_whatever_lies_where_a_stop_request_would_be_the_watch_goes_on(
    watched: System, channel: LoopbackChannel, kind: str
) -> None:
    path = watched.state / "bot_stop.json"
    process = begin(watched)
    make_obstacle(path, kind)
    watched.bots()[0].kill()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    wait_for(channel, "Bot ended")


def make_obstacle(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "garbage":
        path.write_text("[" * 5000, encoding="utf-8")
    else:
        path.symlink_to("/dev/zero")
