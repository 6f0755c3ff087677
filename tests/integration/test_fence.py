"""The fence: the process that kills the bot at the deadline, whatever has become of its supervisor."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.supervision.fence import Fence, FenceError
from orchestration.system.clock import read_boottime_s
from orchestration.system.processes import ProcessIdentity, is_running, read_identity
from tests.integration.bot_scene import PROJECT, wait_until

_FAR_S = 600.0
_SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
# Starts a worker in a session of its own without an environment, names it, and ends.
_LEAVES_WORKER = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], env={}, start_new_session=True)
print(worker.pid, flush=True)
sys.stdin.readline()
"""
_SUPERVISOR = """
import os, subprocess, sys, time
from orchestration.supervision.fence import Fence
from orchestration.system.clock import read_boottime_s
from orchestration.system.processes import read_identity
deadline_s = read_boottime_s() + float(sys.argv[1])
fence = Fence.start(deadline_s, marker=sys.argv[2], environ=os.environ, on_change=lambda: None)
bot = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
fence.watch([read_identity(bot.pid)])
print(fence.pid, bot.pid, flush=True)
while not fence.has_fired:
    time.sleep(0.01)
print("saw it fire", flush=True)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts programs, which are killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def _start(*argv: str, environ: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        environ = {**os.environ, "PYTHONPATH": str(PROJECT)} if environ is None else environ
        process = subprocess.Popen(
            argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield _start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with process:
            pass  # waited for, and its pipes closed


@pytest.fixture
def arm() -> Iterator[Callable[..., Fence]]:
    """Starts fences in this process, the supervisor; they are killed after the test."""
    fences: list[Fence] = []

    def _arm(in_s: float, *, marker: str = "none", on_change: Callable[[], None] = lambda: None) -> Fence:
        fence = Fence.start(read_boottime_s() + in_s, marker=marker, environ=os.environ, on_change=on_change)
        fences.append(fence)
        return fence

    yield _arm
    for fence in fences:
        with contextlib.suppress(ProcessLookupError):
            os.kill(fence.pid, signal.SIGKILL)
        wait_until(lambda fence=fence: fence.has_ended, "the fence is collected")  # type: ignore[misc]  # mypy infers no lambda with a default


def identify(pid: int) -> ProcessIdentity:
    identity = read_identity(pid)
    assert identity is not None
    return identity


def test_a_bot_is_killed_at_the_deadline_while_its_supervisor_is_frozen(
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    supervisor = start(sys.executable, "-c", _SUPERVISOR, "2", "none")
    assert supervisor.stdout is not None
    bot = identify(int(supervisor.stdout.readline().split()[1]))

    supervisor.send_signal(signal.SIGSTOP)

    wait_until(lambda: not is_running(bot), "the bot is killed")
    supervisor.send_signal(signal.SIGCONT)
    assert supervisor.stdout.readline() == "saw it fire\n"


def test_a_bot_is_killed_at_the_deadline_after_its_supervisor_was_killed_and_the_fence_asked_to_end(
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    supervisor = start(sys.executable, "-c", _SUPERVISOR, "2", "none")
    assert supervisor.stdout is not None
    fence, bot = (identify(int(pid)) for pid in supervisor.stdout.readline().split())

    supervisor.kill()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(fence.pid, number)  # as a service manager or a terminal sends it to all
    assert is_running(bot)

    wait_until(lambda: not is_running(bot), "the bot is killed")
    wait_until(lambda: not is_running(fence), "the fence has ended")


def test_a_fence_whose_supervisor_has_died_leaves_the_bot_of_the_next_one_alone(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    marker = str(tmp_path / "bot.json")
    supervisor = start(sys.executable, "-c", _SUPERVISOR, "1", marker)
    assert supervisor.stdout is not None
    fence, bot = (identify(int(pid)) for pid in supervisor.stdout.readline().split())
    supervisor.kill()
    wait_until(lambda: not is_running(bot), "the bot is killed")

    next_bot = start(*_SLEEP, environ={"BOT_RECORD": marker})
    wait_until(lambda: not is_running(fence), "the fence has ended")

    assert next_bot.poll() is None


def test_what_a_bot_has_started_is_killed_with_it_and_nothing_else_is(
    arm: Callable[..., Fence], start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    marker = f"/somewhere/{os.getpid()}/bot.json"
    stranger = start(*_SLEEP, environ={"BOT_RECORD": f"{marker}.of-another-instance"})
    bot = start(sys.executable, "-S", "-c", _LEAVES_WORKER, environ={})
    fence = arm(_FAR_S, marker=marker)
    assert bot.stdout is not None
    assert bot.stdin is not None
    fence.watch([identify(bot.pid)])
    worker = identify(int(bot.stdout.readline()))
    unheard = identify(start(*_SLEEP, environ={"BOT_RECORD": marker}).pid)  # launched, and not yet told of
    shell = start("sh", "-c", "sleep 600 & echo $!; read word")
    fence.watch([identify(shell.pid)])
    assert shell.stdout is not None
    orphan = identify(int(shell.stdout.readline()))
    assert shell.stdin is not None
    shell.stdin.close()
    shell.wait()  # it ends; only the process group is left

    fence.fire()
    wait_until(lambda: fence.has_fired, "the fence has fired")

    for one in (worker, unheard, orphan):
        wait_until(lambda one=one: not is_running(one), f"process {one.pid} is killed")  # type: ignore[misc]  # mypy infers no lambda with a default
    assert bot.wait() == -signal.SIGKILL
    assert stranger.poll() is None
    assert fence.release()


def test_a_renewal_moves_the_deadline_and_an_older_one_does_not_bring_it_back(
    arm: Callable[..., Fence], start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    bot = start(*_SLEEP)
    fence = arm(1.0)
    fence.watch([identify(bot.pid)])
    old_s = read_boottime_s() + 0.5
    fence.renew(read_boottime_s() + _FAR_S)
    fence.renew(old_s)
    wait_until(lambda: read_boottime_s() > old_s + 1.0, "the old deadlines have passed")

    assert bot.poll() is None
    assert fence.is_alive()
    assert not fence.has_fired


def test_a_released_fence_ends_and_kills_nothing_but_not_while_the_bot_still_runs(
    arm: Callable[..., Fence], start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    ended = threading.Event()
    bot = start(*_SLEEP)
    fence = arm(_FAR_S, on_change=ended.set)
    fence.watch([identify(bot.pid)])

    assert not fence.release()
    assert fence.is_alive()
    bot.terminate()
    bot.wait()
    assert fence.release()

    assert ended.is_set()
    assert not fence.is_alive()


def test_a_supervisor_is_told_when_its_fence_has_died(arm: Callable[..., Fence]) -> None:
    told = threading.Event()
    fence = arm(_FAR_S, on_change=told.set)

    os.kill(fence.pid, signal.SIGKILL)

    assert told.wait(60)
    assert not fence.is_alive()
    with pytest.raises(FenceError, match="has ended"):
        fence.renew(read_boottime_s() + 2 * _FAR_S)


def test_a_fence_that_takes_no_commands_does_not_count_as_alive(arm: Callable[..., Fence]) -> None:
    fence = arm(_FAR_S)
    os.kill(fence.pid, signal.SIGSTOP)

    fence.renew(read_boottime_s() + 2 * _FAR_S)

    wait_until(lambda: not fence.is_alive(), "the missing confirmation is noticed")


def test_a_fence_whose_deadline_has_passed_at_its_start_fires_at_once(
    arm: Callable[..., Fence], start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    marker = str(tmp_path / "bot.json")
    bot = start(*_SLEEP, environ={"BOT_RECORD": marker})

    fence = arm(-1.0, marker=marker)

    assert bot.wait() == -signal.SIGKILL
    wait_until(lambda: fence.has_fired, "it says so")
