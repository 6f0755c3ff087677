"""A host that stands by, against a real etcd: what it does when the lease comes and goes, and its hot gateway."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from orchestration.commands.standby import serve_with_lease
from orchestration.gateway.record import read_record
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.journal import JournalReader
from orchestration.lease.held import Role, Standing, read_standing
from orchestration.lease.orders import LeaseStore
from orchestration.settings import Settings
from orchestration.state_dir import journal_path
from orchestration.supervision.host_notifier import HostNotifier
from orchestration.supervision.lease_keeper import Keeper
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from orchestration.system.signals import Requests
from tests.hosts.store import Store, find_free_port, read_settings
from tests.system import PROJECT, wait_until

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(120)]


def _wait(condition: Callable[[], object], what: str) -> object:
    return wait_until(condition, what, 40.0)


class Participant:
    """One host's part in the lease, in a thread; what it leads is an event that the test sees."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests = Requests()
        self.leads = threading.Event()
        self.code: list[int] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.requests.ended_by = "the test"
        self.requests.wake.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        clock = SystemClock()
        host = HostNotifier({}, clock=clock, silence_s=60.0)
        self.code.append(serve_with_lease(self.settings, clock, host, self.requests, self._lead))

    def _lead(self) -> int:
        self.leads.set()
        while not self.requests.ended_by:
            self.requests.wake.wait(0.5)
        return 0

    @property
    def standing(self) -> Standing | None:
        """As `inv status` reads it."""
        return read_standing(self.settings)

    def is_(self, role: Role) -> bool:
        """Whether it has written down this role."""
        return self.standing is not None and self.standing.role is role

    def read_events(self) -> list[tuple[str, str]]:
        """What its journal has of the lease: kind and message."""
        journal = JournalReader(journal_path(self.settings.state_dir))
        return [(one.kind, str(one.detail.get("message"))) for one in journal.read_events(None, 100)]

    def read_alerts(self) -> list[str]:
        """The alerts that it has sent: none arrives, so they all wait."""
        journal = JournalReader(journal_path(self.settings.state_dir))
        return [one.body for one in journal.read_pending_alerts()]


def test_a_lease_that_is_lost_before_anything_started_is_told_and_taken_again(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("a")
    _wait(lambda: first.may_start, "leader")
    with Participant(read_settings(tmp_path, store, "b")) as second:
        _wait(lambda: second.standing is not None and second.standing.holder == "a", "standby")
        first.release(is_clean=False)
        first.close()  # it has died: the next holder waits until its bot is dead
        _wait(lambda: second.is_(Role.WAITING), "wait for the dead host's bot")
        store.stop()
        _wait(lambda: "lease_lost" in dict(second.read_events()), "event of the loss")
        store.start()
        _wait(second.leads.is_set, "host that leads")
        assert second.standing is not None
        assert "the lease of b expired" in second.standing.reason
        events = second.read_events()

    assert "before it started anything" in dict(events)["lease_lost"]
    assert any("Lease lost before the start" in text for text in second.read_alerts())


def test_a_standby_writes_down_who_leads_since_when_and_why(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("a")
    _wait(lambda: first.may_start, "leader")
    with Participant(read_settings(tmp_path, store, "b")) as second:
        _wait(lambda: second.standing is not None and second.standing.holder == "a", "standby")
        assert second.standing is not None
        assert "because no host led before" in str(second.standing)
        _wait(lambda: "lease_seen" in dict(second.read_events()), "event")
        first.release(is_clean=True, why="its supervisor was asked to end (SIGTERM)")
        _wait(second.leads.is_set, "host that leads")
        assert second.standing is not None
        assert second.standing.reason == "a released it: its supervisor was asked to end (SIGTERM)"
        assert first.standing.reason in {"", second.standing.reason}

    assert dict(second.read_events())["lease_seen"].startswith("a leads since 20")


def test_a_second_host_of_the_same_name_never_leads_and_says_so(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("a")
    _wait(lambda: first.may_start, "leader")
    (tmp_path / "other").mkdir()
    with Participant(read_settings(tmp_path / "other", store, "a")) as second:
        _wait(lambda: second.standing is not None and "LEASE_HOST" in second.standing.problem, "refusal")
        assert second.is_(Role.STANDBY)
        first.release(is_clean=True)
        first.close()
        _wait(lambda: second.standing is not None and not second.standing.holder, "store without a holder")
        third = make("c")
        _wait(lambda: third.may_start, "host of another name that leads")
        assert not second.leads.is_set()
    (alert,) = second.read_alerts()
    assert "LEASE_HOST is used twice" in alert


@pytest.fixture
def broker() -> Iterator[str]:
    """Where the broker's side of a login listens."""
    port = find_free_port()
    argv = [sys.executable, "-m", "orchestration.simulator.broker", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=PROJECT, text=True) as authority:
        assert authority.stdout is not None
        assert "listening" in authority.stdout.readline()
        yield f"127.0.0.1:{port}"
        authority.kill()


def _build_hot(broker: str, user: str) -> dict[str, str]:
    return {
        "STANDBY_GATEWAY": "hot",
        "TWS_USERID": user,
        "SIMULATOR_FAULTS": f"broker={broker}/{user}",
        "GATEWAY_PORT": str(find_free_port()),
        "MONITOR_INTERVAL": "1",
        "GATEWAY_HEALTH_RETRY_INTERVAL": "0.2",
        "GATEWAY_STOP_GRACE": "5",
    }


def _find_gateway(settings: Settings) -> str:
    """Its process, and since when; empty where there is none that runs."""
    runtime = build_runtime(
        settings, commands=SystemCommands(), clock=SystemClock(), record=read_record(settings.state_dir)
    )
    status = runtime.probe()
    return status.id if status.is_up else ""


def test_a_hot_standby_has_its_gateway_logged_in_and_takes_over_with_it(
    make: Callable[..., Keeper], store: Store, broker: str, tmp_path: Path
) -> None:
    first = make("a", TWS_USERID="trader")
    _wait(lambda: first.may_start, "leader")
    with Participant(read_settings(tmp_path, store, "b", **_build_hot(broker, "trader2"))) as second:
        _wait(lambda: second.standing is not None and second.standing.gateway == "logged in", "hot gateway")
        gateway = _find_gateway(second.settings)
        assert gateway
        first.release(is_clean=True)
        _wait(second.leads.is_set, "host that leads")
        assert _find_gateway(second.settings) == gateway
    assert _find_gateway(second.settings) == ""  # a host without a supervisor has nothing logged in


def test_a_hot_standby_of_the_leaders_own_user_name_stays_logged_out(
    make: Callable[..., Keeper], store: Store, broker: str, tmp_path: Path
) -> None:
    first = make("a", TWS_USERID="trader")
    _wait(lambda: first.may_start, "leader")
    with Participant(read_settings(tmp_path, store, "b", **_build_hot(broker, "Trader"))) as second:
        _wait(lambda: second.standing is not None and "same user name" in second.standing.gateway, "refusal")
        assert _find_gateway(second.settings) == ""


def test_a_hot_standby_gives_way_to_a_session_that_is_there_and_still_takes_over(
    make: Callable[..., Keeper], store: Store, broker: str, tmp_path: Path
) -> None:
    address, _, port = broker.rpartition(":")
    first = make("a", TWS_USERID="trader")
    _wait(lambda: first.may_start, "leader")
    with socket.create_connection((address, int(port))) as elsewhere:  # a person with the user name of this host
        elsewhere.sendall(b'{"user": "trader2", "is_primary": true, "token": ""}\n')
        assert elsewhere.recv(100).startswith(b"ok")
        hot = _build_hot(broker, "trader2") | {"GATEWAY_HEALTH_TIMEOUT": "3", "GATEWAY_RECOVERY": "alert"}
        with Participant(read_settings(tmp_path, store, "b", **hot)) as second:
            _wait(lambda: second.standing is not None and "not ready" in second.standing.gateway, "failure")
            elsewhere.settimeout(0.2)
            with pytest.raises(TimeoutError):
                elsewhere.recv(100)  # its session was not taken away
            first.release(is_clean=True)
            _wait(second.leads.is_set, "host that leads")


def test_a_hold_of_all_hosts_logs_a_hot_gateway_out(
    make: Callable[..., Keeper], store: Store, broker: str, tmp_path: Path
) -> None:
    first = make("a", TWS_USERID="trader")
    _wait(lambda: first.may_start, "leader")
    with Participant(read_settings(tmp_path, store, "b", **_build_hot(broker, "trader2"))) as second:
        _wait(lambda: second.standing is not None and second.standing.gateway == "logged in", "hot gateway")
        orders = LeaseStore(second.settings)
        orders.hold("held by ann")
        orders.close()
        _wait(lambda: _find_gateway(second.settings) == "", "gateway that is logged out")
