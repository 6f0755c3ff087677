"""Faults that are put into a simulator that runs: it reads its file again when it is told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.gateway.api import probe_api
from orchestration.system.clock import SystemClock
from orchestration.system.endpoint import Endpoint
from tests.system import PROJECT, find_free_port, wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGHUP")


class Running:
    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        self.faults = folder / "faults"
        self.log = folder / "log"
        argv = ["-m", "orchestration.simulator", "--port", str(self.port), "--faults", f"@{self.faults}"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen([sys.executable, *argv], cwd=PROJECT, stdout=output, stderr=output)
        wait_until(lambda: "API listening" in self.text(), "simulator")

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def change(self, faults: str) -> None:
        before = self.text().count("faults")
        self.faults.write_text(faults, encoding="utf-8")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.text().count("faults") > before, "a word about it")

    def codes(self) -> set[int]:
        probe = probe_api(Endpoint(host="127.0.0.1", port=self.port), client_id=7, timeout_s=5.0, now=SystemClock().now)
        return {one.code for one in probe.codes}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    simulator = Running(tmp_path)
    yield simulator
    simulator.process.kill()
    simulator.process.wait()


def test_a_link_is_lost_and_found_while_it_runs(running: Running) -> None:
    assert 1100 not in running.codes()
    running.change("error=1100")
    assert 1100 in running.codes()
    running.change("")
    assert 1100 not in running.codes()


def test_a_mistake_in_the_file_changes_nothing(running: Running) -> None:
    running.change("error=1100")
    running.change("error=banana")
    assert "the faults stay as they are" in running.text()
    assert 1100 in running.codes()
