"""What the fakes promise and the real doors keep: the same tests against both."""

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, timedelta

import pytest

from orchestration.system.clock import Clock, SystemClock
from orchestration.system.commands import (
    CommandNotFoundError,
    CommandResult,
    Commands,
    CommandTimedOutError,
    Following,
    OnLine,
    SystemCommands,
)
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands

_DEADLINE_S = 30.0

# --- the clock -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["real", "fake"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return SystemClock() if request.param == "real" else FakeClock()


def _set_later(clock: Clock, signal: threading.Event) -> None:
    if isinstance(clock, FakeClock):
        clock.plan(0.05, signal.set)
    else:
        timer = threading.Timer(0.05, signal.set)
        timer.daemon = True
        timer.start()


def test_now_is_an_aware_time_in_utc(clock: Clock) -> None:
    assert clock.now().tzinfo is UTC


def test_sleeping_moves_both_times_on_by_at_least_as_much(clock: Clock) -> None:
    before, before_s = clock.now(), clock.monotonic_s()
    clock.sleep(0.05)
    assert clock.monotonic_s() - before_s >= 0.05 - 1e-6
    assert clock.now() - before >= timedelta(seconds=0.04)


@pytest.mark.parametrize("duration_s", [0.0, -1.0])
def test_sleeping_for_no_time_or_less_returns(clock: Clock, duration_s: float) -> None:
    before_s = clock.monotonic_s()
    clock.sleep(duration_s)
    assert clock.monotonic_s() >= before_s


def test_waiting_for_a_signal_that_is_set_returns_at_once_even_with_no_time(clock: Clock) -> None:
    signal = threading.Event()
    signal.set()
    before_s = clock.monotonic_s()
    assert clock.wait(signal, 3600.0) is True
    assert clock.wait(signal, 0.0) is True
    assert clock.wait(signal, -1.0) is True
    assert clock.monotonic_s() - before_s < 3600.0


def test_waiting_for_a_signal_that_never_comes_takes_the_whole_time_out(clock: Clock) -> None:
    before_s = clock.monotonic_s()
    assert clock.wait(threading.Event(), 0.05) is False
    assert clock.monotonic_s() - before_s >= 0.05 - 1e-3
    assert clock.wait(threading.Event(), -1.0) is False


def test_waiting_ends_when_the_signal_comes(clock: Clock) -> None:
    signal = threading.Event()
    _set_later(clock, signal)
    before_s = clock.monotonic_s()
    assert clock.wait(signal, 3600.0) is True
    assert clock.monotonic_s() - before_s < 3600.0


# --- commands --------------------------------------------------------------------------------------------------------

_ANSWER = (sys.executable, "-c", "import sys; print('one'); print('two'); sys.stderr.write('bad\\n'); sys.exit(3)")
_HANG = (sys.executable, "-uc", "import time; print('still here'); time.sleep(600)")
_MISSING = ("no-such-program-anywhere", "--version")
_FOLLOW = (sys.executable, "-uc", "import time; print('first'); print('second'); time.sleep(600)")


class _Scene(ABC):
    """A door and a world behind it in which these four programs do what they do."""

    commands: Commands

    @abstractmethod
    def follow(self, on_line: OnLine, awaited: Callable[[], bool]) -> Following:
        """Follow `_FOLLOW` until it is seen."""


class _RealScene(_Scene):
    def __init__(self) -> None:
        self.commands = SystemCommands()

    def follow(self, on_line: OnLine, awaited: Callable[[], bool]) -> Following:
        following = self.commands.follow(_FOLLOW, on_line=on_line)
        deadline_s = time.monotonic() + _DEADLINE_S
        while not awaited() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return following


class _FakeScene(_Scene):
    def __init__(self) -> None:
        self._fake = FakeCommands()
        self._fake.expect(_ANSWER, CommandResult(argv=_ANSWER, exit_code=3, stdout="one\ntwo\n", stderr="bad\n"))
        self._fake.expect(_HANG, CommandTimedOutError(_HANG, 2.0, ("still here",)))
        self._fake.expect(_MISSING, CommandNotFoundError(_MISSING))
        self._fake.expect_follow(_FOLLOW)
        self.commands = self._fake

    def follow(self, on_line: OnLine, awaited: Callable[[], bool]) -> Following:
        del awaited
        following = self._fake.follow(_FOLLOW, on_line=on_line)
        following.say("first", "second")
        return following


@pytest.fixture(params=[_RealScene, _FakeScene], ids=["real", "fake"])
def scene(request: pytest.FixtureRequest) -> _Scene:
    made: _Scene = request.param()
    return made


def test_a_result_carries_what_was_run_what_it_said_and_how_it_ended(scene: _Scene) -> None:
    result = scene.commands.run(list(_ANSWER), timeout_s=_DEADLINE_S)
    assert (result.argv, result.exit_code, result.ok) == (_ANSWER, 3, False)
    assert (result.stdout, result.stderr) == ("one\ntwo\n", "bad\n")
    assert result.last_lines(2) == ("two", "bad")


def test_every_line_of_both_streams_is_handed_on_without_its_end(scene: _Scene) -> None:
    lines: list[str] = []
    scene.commands.run(_ANSWER, timeout_s=_DEADLINE_S, on_line=lines.append)
    assert sorted(lines) == ["bad", "one", "two"]
    assert lines.index("one") < lines.index("two")


def test_a_program_that_does_not_end_is_a_time_out_with_its_last_lines(scene: _Scene) -> None:
    with pytest.raises(CommandTimedOutError) as caught:
        scene.commands.run(_HANG, timeout_s=2.0)
    assert (caught.value.argv, caught.value.timeout_s, caught.value.last_lines) == (_HANG, 2.0, ("still here",))


def test_a_program_that_is_not_there_is_an_error_of_its_own(scene: _Scene) -> None:
    with pytest.raises(CommandNotFoundError) as caught:
        scene.commands.run(_MISSING, timeout_s=1.0)
    assert caught.value.argv == _MISSING


def test_a_followed_program_runs_hands_on_lines_and_can_be_closed_twice(scene: _Scene) -> None:
    lines: list[str] = []
    following = scene.follow(lines.append, lambda: len(lines) == 2)
    running_before = following.is_running
    following.close()
    following.close()
    assert (running_before, following.is_running) == (True, False)
    assert lines == ["first", "second"]
