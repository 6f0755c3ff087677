"""One Sunday of a supervised system on a real container: the reminder, the login, its proof, the alarm (G9)."""

import datetime as dt
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestration.gateway.weekly_login import find_week
from orchestration.journal import FULL_LOGIN_SEEN, JournalReader
from orchestration.settings.week_time import US_EASTERN, parse_week_time
from tests.campaign.wall_clock import set_clock_ahead, use_settable_clock
from tests.e2e.docker_system import docker_system_in, start_of
from tests.e2e.phone import PATIENCE_S, Phone, wait_for
from tests.integration.alerts_scene import LoopbackChannel, run_channel
from tests.integration.watch_scene import begin, told
from tests.system import SIGTERM, System, end_and_read, wait_until

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]
HOUR = dt.timedelta(hours=1)
# A Sunday that lies ahead: a certificate or a log of the day before disturbs nothing.
WEEK = find_week(parse_week_time("Sun 18:00"), US_EASTERN, dt.datetime.now(dt.UTC) + dt.timedelta(days=14))


class Sunday:
    """A system on a container, and the clock that both are on."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._history = system.root / "clock.history"
        use_settable_clock(system)
        library = system.root / "wall_clock.so"
        shutil.copy(system.environ["LD_PRELOAD"], library)
        self._put_clock_before_docker()
        self.phone = Phone(
            system,
            environ={"LD_PRELOAD": "/clock/wall_clock.so", "CAMPAIGN_CLOCK": "/clock/clock"},
            mounts={system.root: "/clock"},
        )

    def _put_clock_before_docker(self) -> None:
        docker = shutil.which("docker")
        assert docker is not None
        folder = self.system.root / "bin"
        folder.mkdir()
        program = Path(__file__).with_name("engine_clock.py")
        words = shlex.join([sys.executable, str(program), docker, str(self._history)])
        (folder / "docker").write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        (folder / "docker").chmod(0o755)
        self.system.environ["PATH"] = f"{folder}:{self.system.environ['PATH']}"

    def set_to(self, at: dt.datetime) -> None:
        now_s = time.time()
        ahead_s = round(at.timestamp() - now_s) + 1
        with self._history.open("a", encoding="utf-8") as file:
            file.write(f"{now_s} {ahead_s}\n")
        set_clock_ahead(self.system, ahead_s)

    def logins_seen(self) -> int:
        events = JournalReader(self.system.state / "journal.sqlite3").read_events(None, 1000)
        return len([one for one in events if one.kind == FULL_LOGIN_SEEN])

    def wait_for_first_login(self) -> None:
        try:
            wait_until(lambda: self.logins_seen() >= 1, "the login of Saturday", PATIENCE_S)
        except AssertionError as error:
            log = "".join(
                path.read_text(encoding="utf-8")[-4000:] for path in self.system.logs.glob("supervisor_*.log")
            )
            status = self.system.inv("status", "--json").out
            raise AssertionError(f"{error}; clock: {self._history.read_text()!r}; {status}\n{log}") from None

    def begin_on_saturday(self) -> "subprocess.Popen[str]":
        self.phone.answer("confirm")
        self.set_to(WEEK.session_ended_at - 5 * HOUR)
        process = begin(self.system)
        if process.poll() is not None:
            raise AssertionError(f"the start has failed: {process.communicate()}")
        return process


@pytest.fixture
def channel() -> Iterator[LoopbackChannel]:
    with run_channel() as made:
        yield made


@pytest.fixture
def sunday(vendor_image: str, tmp_path: Path, channel: LoopbackChannel) -> Iterator[Sunday]:
    with docker_system_in(tmp_path / "a system", image=vendor_image) as made:
        made.environ |= {
            "DISCORD_WEBHOOK_URL": channel.address,
            "MONITOR_INTERVAL": "2",
            "GATEWAY_HEALTH_TIMEOUT": "60",
            "HEALTH_CHECK_TIMEOUT": "5",
            "WEEKLY_LOGIN": "Sun 18:00",
        }
        yield Sunday(made)


def weekly(channel: LoopbackChannel) -> list[str]:
    return [title for title in told(channel) if title.startswith("Weekly")]


def test_one_sunday_is_a_reminder_one_push_and_its_proof(sunday: Sunday, channel: LoopbackChannel) -> None:
    process = sunday.begin_on_saturday()
    sunday.wait_for_first_login()
    sunday.set_to(WEEK.login_at - 2 * HOUR)
    wait_for(channel, "Weekly login ahead")
    assert sunday.phone.count("pushes") == 1
    sunday.set_to(WEEK.login_at)
    wait_for(channel, "Weekly login done")
    assert sunday.phone.count("pushes") == 2
    before = start_of(sunday.system)
    jumps = told(channel).count("Clock jumped")
    sunday.set_to(WEEK.proof_due_at + HOUR)
    wait_until(lambda: told(channel).count("Clock jumped") > jumps, "a look at Sunday evening", PATIENCE_S)
    assert weekly(channel) == ["Weekly login ahead", "Weekly login begins", "Weekly login done"]
    assert start_of(sunday.system) == before
    assert sunday.phone.count("pushes") == 2
    assert len(sunday.system.bots()) == 1
    assert end_and_read(process, SIGTERM).code == 0


def test_a_push_that_is_not_confirmed_by_sunday_evening_is_alarmed_until_it_is(
    sunday: Sunday, channel: LoopbackChannel
) -> None:
    process = sunday.begin_on_saturday()
    sunday.wait_for_first_login()
    sunday.phone.answer("wait")
    sunday.set_to(WEEK.login_at)
    wait_for(channel, "Second factor needed")
    before = start_of(sunday.system)
    assert "Weekly login is missing" not in told(channel)
    sunday.set_to(WEEK.proof_due_at)
    wait_for(channel, "Weekly login is missing")
    assert start_of(sunday.system) == before
    assert sunday.phone.count("pushes") == 2
    sunday.phone.answer("confirm")
    wait_for(channel, "Weekly login is there")
    assert weekly(channel).count("Weekly login begins") == 1
    assert start_of(sunday.system) == before
    assert "Gateway restart attempted" not in told(channel)
    assert end_and_read(process, SIGTERM).code == 0
