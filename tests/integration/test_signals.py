"""Signals are real here, and hit this very process: they interrupt only where that is safe."""

import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestration.system.signals import InterruptedBySignal, Interruption, Requests, ask_to_restart, let_outcome_stand

PATIENCE_S = 30.0
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_interrupts_where_it_may_and_only_once() -> None:
    with Interruption() as interruption:
        with pytest.raises(InterruptedBySignal) as interrupted, interruption.allowed():
            send(signal.SIGTERM)
        assert interrupted.value.signal_name == "SIGTERM"
        with interruption.allowed():
            send(signal.SIGINT)  # a clean-up is left alone


def test_a_signal_that_comes_elsewhere_is_kept_until_it_may_interrupt() -> None:
    with Interruption() as interruption:
        send(signal.SIGTERM)
        with pytest.raises(InterruptedBySignal), interruption.allowed():
            pytest.fail("not reached")


def test_a_signal_that_was_not_taken_goes_to_the_earlier_handler() -> None:
    with Requests() as requests:
        with Interruption():
            send(signal.SIGTERM)
        assert requests.ended_by == "SIGTERM"
        assert requests.wake.wait(PATIENCE_S)


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


def test_a_signal_that_comes_after_the_outcome_changes_nothing() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        let_outcome_stand()
        for number in before:
            send(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_import_is_not_interrupted_so_that_no_thread_waits_for_its_lock_without_end(tmp_path: Path) -> None:
    (tmp_path / "slowly_imported.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.3)\n", encoding="utf-8"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        with Interruption() as interruption, pytest.raises(InterruptedBySignal):
            _import_and_wait(interruption)
    finally:
        sys.path.remove(str(tmp_path))
        assert sys.modules.pop("slowly_imported", None) is not None


def _import_and_wait(interruption: Interruption) -> None:
    with interruption.allowed():
        importlib.import_module("slowly_imported")
        threading.Event().wait(PATIENCE_S)
        pytest.fail("nothing interrupted what came after the import")


def test_a_request_never_waits_for_the_loop_that_it_wakes() -> None:
    """The handler runs in the middle of whatever the loop does with the event, whose lock the loop may hold then."""
    script = """
import os, signal, subprocess, sys
from orchestration.system.signals import RESTART_SIGNAL, Requests
ask = "import os, sys" + chr(10) + "while True: os.kill(int(sys.argv[1]), int(sys.argv[2]))"
with Requests() as requests:
    asking = subprocess.Popen([sys.executable, "-c", ask, str(os.getpid()), str(int(getattr(signal, RESTART_SIGNAL)))])
    taken = 0
    while taken < 300:
        requests.wake.clear()
        taken += requests.take_restart()
        requests.wake.wait(0)
    asking.kill()
    asking.wait()
print("woken each time")
"""
    asked = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert asked.stdout == "woken each time\n", asked.stderr
