"""Real supervisors of two hosts on one machine, and a real etcd."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from orchestration.bot.record import BotRecord, build_record_path, read_record
from orchestration.commands.status import Status, StatusCode, read_status
from orchestration.commands.status_document import build_json
from orchestration.errors import FailureWord, FallbackWord
from orchestration.journal import JournalReader, RunRecord
from orchestration.lease.held import Role, read_standing
from orchestration.lease.published_plan import PublishedPlan
from orchestration.settings import Settings
from orchestration.state_dir import journal_path
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from tests.hosts.hosts import SUPERVISOR, build_environ
from tests.hosts.store import TTL_S, Store, find_free_port
from tests.system import PROJECT, build_plan, wait_until

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240)]
_PATIENCE_S = 60.0


class Host:
    """One of two, on the same machine."""

    def __init__(self, folder: Path, store: Store, name: str, **further: str) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        environ = build_environ(self.folder, [store.address], TTL_S, name, Path("/unused"))
        unheard = {"DISCORD_WEBHOOK_URL": "http://127.0.0.1:9/api/webhooks/1/not-served"}
        self.environ = environ | unheard | {"GATEWAY_PORT": str(find_free_port())} | further
        del self.environ["LD_PRELOAD"]
        self.settings = Settings.from_environ(self.environ)
        self.supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "supervisor.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                SUPERVISOR, cwd=PROJECT, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        """Ask it to end; the lease is released."""
        if self.supervisor is not None:
            self.supervisor.send_signal(signal.SIGTERM)
            self.supervisor.wait(_PATIENCE_S)
            self.supervisor = None

    def put(self, **changes: object) -> str:
        """Put a plan on this host. Returns its hash."""
        content = json.dumps(build_plan(**changes)).encode()
        new = self.folder / "gameplan.new"
        new.write_bytes(content)
        new.replace(self.folder / "gameplan.json")
        return sha256(content).hexdigest()

    @property
    def role(self) -> Role | None:
        standing = read_standing(self.settings)
        return None if standing is None else standing.role

    @property
    def published(self) -> PublishedPlan | None:
        standing = read_standing(self.settings)
        return None if standing is None else PublishedPlan.read(standing.plan)

    @property
    def bot(self) -> BotRecord | None:
        """What was written down of its bot."""
        return read_record(build_record_path(self.settings))

    @property
    def bots_plan(self) -> str:
        """The hash of the plan that its bot was started on; empty where it has none."""
        return "" if self.bot is None else self.bot.gameplan_sha256

    def read_alerts(self) -> str:
        """The alerts that it has sent: none arrives, so they all wait."""
        journal = JournalReader(journal_path(self.settings.state_dir))
        return "\n".join(one.body for one in journal.read_pending_alerts())

    def compare(self) -> str:
        """How `inv status` compares its plan file with the leader's plan."""
        return str(build_json(self.read_status())["lease"]["plan"]["here"])

    def read_status(self) -> Status:
        """What `inv status` looks at."""
        return read_status(self.settings, commands=SystemCommands(), clock=SystemClock())


@pytest.fixture
def pair(tmp_path: Path, store: Store) -> Iterator[tuple[Host, Host]]:
    first, second = Host(tmp_path, store, "a"), Host(tmp_path, store, "b")
    yield first, second
    for host in (first, second):
        host.stop()


def test_the_plan_that_reached_one_host_only_is_told_kept_over_a_take_over_and_withdrawn_everywhere(
    pair: tuple[Host, Host],
) -> None:
    first, second = pair
    kept = first.put(symbols=["SPY"])
    other = second.put(symbols=["QQQ"])
    first.start()
    wait_until(lambda: first.bots_plan == kept, "bot on the first host", _PATIENCE_S)
    second.start()
    wait_until(lambda: "The leader's plan is not this host's" in _read(second), "alert of the standby", _PATIENCE_S)

    assert second.read_status().code is StatusCode.STANDBY
    first.stop()
    wait_until(lambda: second.bots_plan, "bot on the second host", _PATIENCE_S)
    assert second.bots_plan == kept != other
    assert "Plan of another host taken over" in second.read_alerts()
    assert "Plan file changed" not in second.read_alerts()

    first.start()
    wait_until(lambda: first.role is Role.STANDBY and first.published is not None, "standby", _PATIENCE_S)
    second.put(symbols=["SPY"], data_quality={"quarantine_active": True})
    wait_until(lambda: first.published is not None and first.published.state == "withdrawn", "withdrawal", _PATIENCE_S)
    assert first.compare() == "withdrawn"

    second.stop()
    wait_until(lambda: first.role is Role.LEADING, "take-over", _PATIENCE_S)
    wait_until(lambda: FallbackWord.GAMEPLAN_QUARANTINED in first.read_alerts(), "Strategy C", _PATIENCE_S)
    wait_until(lambda: first.bots_plan not in {"", kept}, "bot on Strategy C", _PATIENCE_S)
    assert "Bot switched to the day's plan" not in first.read_alerts()


def _read(host: Host) -> str:
    with contextlib.suppress(OSError):
        return host.read_alerts()
    return ""


def test_a_bot_is_told_the_number_of_the_term_and_the_fence_that_ends_its_start_is_the_cause_that_is_told(
    tmp_path: Path, store: Store
) -> None:
    never_ready = f"'{sys.executable}' -S -c 'import time; time.sleep(600)'"
    host = Host(tmp_path, store, "a", BOT_COMMAND=never_ready, BOT_START_GRACE="60")
    host.put()
    by_hand = subprocess.run(SUPERVISOR[:-1], check=False, cwd=PROJECT, env=host.environ, capture_output=True)
    assert b"CONFIG_INVALID: LEASE_ETCD" in by_hand.stdout + by_hand.stderr
    host.start()
    try:
        wait_until(lambda: host.bot is not None and host.bot.process, "bot that is being started", _PATIENCE_S)
        standing = read_standing(host.settings)
        assert host.bot is not None
        assert standing is not None
        assert psutil.Process(host.bot.pid).environ()["LEASE_REVISION"] == str(standing.revision)

        store.stop()

        def read_last() -> RunRecord | None:
            return JournalReader(journal_path(host.settings.state_dir)).read_last_run()

        run = wait_until(lambda: (last := read_last()) is not None and last.failure and last, "end", _PATIENCE_S)
        assert isinstance(run, RunRecord)
        assert run.failure == FailureWord.LEASE_UNAVAILABLE
    finally:
        host.stop()
