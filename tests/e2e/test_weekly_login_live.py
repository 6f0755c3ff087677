"""One Sunday of a supervised system, live: real processes on a clock that is set from hour to hour (G9)."""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.gateway.weekly_login import find_week
from orchestration.journal import FULL_LOGIN_SEEN, JournalReader
from orchestration.settings.week_time import US_EASTERN, parse_week_time
from tests.campaign.wall_clock import set_clock_ahead, use_settable_clock
from tests.integration.alerts_scene import LoopbackChannel, run_channel
from tests.integration.watch_scene import begin, told, wait_for
from tests.system import SIGTERM, System, end_and_read, system_in, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
HOUR = dt.timedelta(hours=1)
# A Sunday that lies ahead: a certificate or a log of the day before disturbs nothing.
WEEK = find_week(parse_week_time("Sun 18:00"), US_EASTERN, dt.datetime.now(dt.UTC) + dt.timedelta(days=14))


@pytest.fixture
def channel() -> Iterator[LoopbackChannel]:
    with run_channel() as made:
        yield made


@pytest.fixture
def system(tmp_path: Path, channel: LoopbackChannel) -> Iterator[System]:
    with system_in(tmp_path / "a system") as made:
        made.use_small_bot("--ready")
        made.environ |= {
            "DISCORD_WEBHOOK_URL": channel.address,
            "MONITOR_INTERVAL": "2",
            "GATEWAY_HEALTH_TIMEOUT": "30",
            "WEEKLY_LOGIN": "Sun 18:00",
            "SIMULATOR_FAULTS": f"@{made.root / 'faults'}",
        }
        use_settable_clock(made)
        yield made


def set_to(system: System, at: dt.datetime) -> None:
    set_clock_ahead(system, round(at.timestamp() - time.time()) + 1)


def logins_seen(system: System) -> int:
    events = JournalReader(system.state / "journal.sqlite3").read_events(None, 1000)
    return len([one for one in events if one.kind == FULL_LOGIN_SEEN])


def count(channel: LoopbackChannel, title: str) -> Callable[[], int]:
    return lambda: told(channel).count(title)


def test_one_sunday_is_a_reminder_a_login_and_its_proof(system: System, channel: LoopbackChannel) -> None:
    set_to(system, WEEK.session_ended_at - 5 * HOUR)  # Saturday evening
    process = begin(system)
    wait_until(lambda: logins_seen(system) == 1, "the login of Saturday")
    set_to(system, WEEK.login_at - 2 * HOUR)
    wait_for(channel, "Weekly login ahead")
    assert "Weekly login begins" not in told(channel)
    set_to(system, WEEK.login_at)
    wait_for(channel, "Weekly login begins")
    wait_for(channel, "Weekly login done")
    wait_until(lambda: logins_seen(system) == 2, "the login of Sunday")
    jumps = count(channel, "Clock jumped")
    before = jumps()
    set_to(system, WEEK.proof_due_at + HOUR)
    wait_until(lambda: jumps() > before, "a look at Sunday evening")
    assert "Weekly login is missing" not in told(channel)
    assert [title for title in told(channel) if title.startswith("Weekly")] == [
        "Weekly login ahead",
        "Weekly login begins",
        "Weekly login done",
    ]
    assert len(system.bots()) == 1
    assert end_and_read(process, SIGTERM).code == 0


def test_a_sunday_without_a_confirmation_is_alarmed_and_nothing_is_restarted_again(
    system: System, channel: LoopbackChannel
) -> None:
    set_to(system, WEEK.session_ended_at - 5 * HOUR)
    process = begin(system)
    wait_until(lambda: logins_seen(system) == 1, "the login of Saturday")
    (system.root / "faults").write_text("second_factor=never", encoding="utf-8")
    set_to(system, WEEK.login_at)
    wait_for(channel, "Second factor needed")
    assert "Weekly login is missing" not in told(channel)
    set_to(system, WEEK.proof_due_at)
    wait_for(channel, "Weekly login is missing")
    assert told(channel).count("Weekly login begins") == 1
    assert "Gateway restart attempted" not in told(channel)
    assert end_and_read(process, SIGTERM).code == 0
