"""Signals are real here, and hit this very process: they interrupt only where that is safe."""

import os
import signal

import pytest

from orchestration.errors import InterruptedBySignal
from orchestration.system.signals import Interruption, Requests, ask_to_restart

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_interrupts_where_it_may_and_only_once() -> None:
    with Interruption() as interruption:
        with pytest.raises(InterruptedBySignal) as interrupted, interruption.allowed():
            send(signal.SIGTERM)
        assert interrupted.value.signal_name == "SIGTERM"
        with interruption.allowed():
            send(signal.SIGINT)  # whoever tidies up is left alone


def test_a_signal_that_comes_elsewhere_is_kept_until_it_may_interrupt() -> None:
    with Interruption() as interruption:
        send(signal.SIGTERM)
        with pytest.raises(InterruptedBySignal), interruption.allowed():
            pytest.fail("not reached")


def test_a_signal_that_nobody_took_goes_to_whoever_was_asked_before() -> None:
    with Requests() as requests:
        with Interruption():
            send(signal.SIGTERM)
        assert requests.ended_by == "SIGTERM"
        assert requests.wake.is_set()


def test_one_more_signal_may_interrupt_after_a_renewal() -> None:
    with Interruption() as interruption:
        with pytest.raises(InterruptedBySignal), interruption.allowed():
            send(signal.SIGTERM)
        interruption.renew()
        with pytest.raises(InterruptedBySignal), interruption.allowed():
            send(signal.SIGINT)


def test_a_request_to_restart_is_taken_once_and_ends_nothing() -> None:
    with Requests() as requests:
        assert ask_to_restart(os.getpid())
        assert requests.take_restart()
        assert not requests.take_restart()
        assert requests.ended_by == ""


def test_what_was_there_before_is_there_again_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Interruption(), Requests():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
