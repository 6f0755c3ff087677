"""The fakes are strict: what a test did not foresee fails it."""

import threading
from pathlib import Path

import pytest

from orchestration.system.commands import CommandNotFoundError, CommandResult
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands


def test_an_unforeseen_command_fails_and_names_those_that_were_foreseen() -> None:
    commands = FakeCommands()
    commands.expect(["docker", "version"], stdout="26")
    with pytest.raises(AssertionError, match=r"unexpected command.*'info'.*'version'"):
        commands.run(["docker", "info"], timeout_s=1)
    with pytest.raises(AssertionError, match="unexpected command to follow"):
        commands.follow(["docker", "version"], on_line=print)


def test_a_command_without_time_or_from_nowhere_in_particular_fails() -> None:
    commands = FakeCommands()
    commands.expect(["docker", "version"])
    with pytest.raises(AssertionError, match="no time"):
        commands.run(["docker", "version"], timeout_s=0)
    with pytest.raises(AssertionError, match="depends on where"):
        commands.run(["docker", "version"], timeout_s=1, cwd=Path("docker"))


def test_answers_are_used_up_in_order_and_the_last_one_stays() -> None:
    commands = FakeCommands()
    argv = ("docker", "info")
    commands.expect(argv, CommandNotFoundError(argv))
    commands.expect(argv, lambda: CommandResult(argv=argv, exit_code=1))
    commands.expect(argv, stdout="up")
    with pytest.raises(CommandNotFoundError):
        commands.run(argv, timeout_s=1)
    said = [commands.run(argv, timeout_s=1, environ={"A": "b"}) for _ in range(3)]
    assert [(one.exit_code, one.stdout) for one in said] == [(1, ""), (0, "up"), (0, "up")]
    assert commands.calls == [argv] * 4
    assert commands.environs == [{}, {"A": "b"}, {"A": "b"}, {"A": "b"}]


def test_the_clock_stands_still_without_a_wait() -> None:
    clock = FakeClock()
    before, before_s = clock.now(), clock.monotonic_s()
    assert (clock.now(), clock.monotonic_s()) == (before, before_s)
    clock.sleep(2.5)
    assert ((clock.now() - before).total_seconds(), clock.monotonic_s() - before_s) == (2.5, 2.5)
    clock.jump(-3600)
    assert ((clock.now() - before).total_seconds(), clock.monotonic_s() - before_s) == (2.5 - 3600, 2.5)
    assert clock.waits_s == [2.5]


def test_what_was_planned_happens_on_the_way_in_its_order_even_if_it_was_planned_by_a_happening() -> None:
    clock = FakeClock()
    start_s = clock.monotonic_s()
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.monotonic_s() - start_s))

    def first() -> None:
        note("first")
        clock.plan(1, lambda: note("planned late"))

    clock.plan(3, lambda: note("third"))
    clock.plan(1, first)
    clock.plan(9, lambda: note("never"))
    clock.sleep(5)
    assert seen == [("first", 1), ("planned late", 2), ("third", 3)]
    assert clock.monotonic_s() - start_s == 5


def test_a_wait_stops_at_the_happening_that_sets_the_signal() -> None:
    clock = FakeClock()
    signal = threading.Event()
    start_s = clock.monotonic_s()
    clock.plan(2, signal.set)
    clock.plan(3, lambda: pytest.fail("the wait went on"))
    assert clock.wait(signal, 10) is True
    assert clock.monotonic_s() - start_s == 2
