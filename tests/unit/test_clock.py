"""The one way to wait for something that has to be looked for."""

from collections.abc import Callable

import pytest

from orchestration.system.clock import wait_until
from tests.fakes.clock import FakeClock


def _true_at(clock: FakeClock, at_s: float) -> Callable[[], bool]:
    begin_s = clock.monotonic_s()
    return lambda: clock.monotonic_s() - begin_s >= at_s


def test_what_is_so_already_is_not_waited_for() -> None:
    clock = FakeClock()
    assert wait_until(lambda: "found", timeout_s=10.0, every_s=1.0, clock=clock) == "found"
    assert clock.waits_s == []


@pytest.mark.parametrize("timeout_s", [0.0, -5.0])
def test_without_any_time_there_is_one_look(timeout_s: float) -> None:
    clock = FakeClock()
    looks: list[None] = []
    assert not wait_until(lambda: looks.append(None), timeout_s=timeout_s, every_s=1.0, clock=clock)
    assert len(looks) == 1
    assert clock.waits_s == []


def test_it_ends_with_the_first_look_that_finds_it() -> None:
    clock = FakeClock()
    assert wait_until(_true_at(clock, 3.0), timeout_s=10.0, every_s=1.0, clock=clock)
    assert clock.waits_s == [1.0, 1.0, 1.0]


def test_the_last_look_is_at_the_very_end_and_never_later() -> None:
    clock = FakeClock()
    assert wait_until(_true_at(clock, 2.5), timeout_s=2.5, every_s=1.0, clock=clock)
    assert clock.waits_s == [1.0, 1.0, 0.5]


def test_what_does_not_come_true_in_time_is_returned_as_it_was_found_last() -> None:
    clock = FakeClock()
    found = iter(["", "", "", ""])
    assert wait_until(lambda: next(found), timeout_s=3.0, every_s=1.0, clock=clock) == ""
    assert clock.waits_s == [1.0, 1.0, 1.0]


def test_what_a_look_raises_ends_the_wait() -> None:
    clock = FakeClock()

    def look() -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        wait_until(look, timeout_s=3.0, every_s=1.0, clock=clock)
    assert clock.waits_s == []
