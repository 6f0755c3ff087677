"""The lease against a real etcd: two participants of one machine, without their supervisors."""

import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.errors import FailureWord, StartupFailure, StepStatus
from orchestration.lease.etcd import Etcd, EtcdError, delete
from orchestration.lease.held import Role, drop, keep, read_standing, require_lease
from orchestration.lease.orders import LeaseStore
from orchestration.lease.term import name_keys
from orchestration.preflight.lease import check_lease
from orchestration.settings import Settings
from orchestration.supervision.lease_keeper import Keeper
from orchestration.system.clock import SystemClock, read_boottime_s
from orchestration.system.commands import SystemCommands
from orchestration.system.processes import read_identity
from tests.hosts.hosts import SUPERVISOR, build_environ
from tests.hosts.store import FENCE_S, TTL_S, Store, build_lease_environ, read_settings
from tests.system import PATIENCE_S, PROJECT, wait_until

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(120)]
_FIRST_REVISION = 2  # of what is written first to an empty store


def _wait(condition: Callable[[], object]) -> bool:
    return bool(wait_until(condition, "the lease", 30.0))


def _sees(keeper: Keeper, holder: str) -> bool:
    return keeper.standing.holder == holder


def test_a_released_lease_is_taken_at_once_and_its_number_grows(make: Callable[..., Keeper]) -> None:
    first = make("a")
    assert _wait(lambda: first.may_start)
    second = make("b")
    assert _wait(lambda: second.standing.holder == "a")
    assert second.standing.role is Role.STANDBY
    assert not second.may_start

    revision = first.revision
    first.release(is_clean=True)
    released_s = read_boottime_s()
    assert _wait(lambda: second.may_start)
    assert read_boottime_s() - released_s < FENCE_S + 2  # no host waited for a bot that is known to be gone
    assert second.revision > revision


def test_a_release_that_the_store_did_not_hear_is_said_again_when_it_answers(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("a")
    assert _wait(lambda: first.may_start)
    second = make("b")
    assert _wait(lambda: second.standing.holder == "a")
    term = first.revision
    store.stop()
    first.release(is_clean=True)
    store.start()
    assert _wait(lambda: second.revision)
    orders = LeaseStore(read_settings(tmp_path, store, "a"))
    try:
        # What makes the next holder begin at once, in place of a lease that expires.
        assert term < orders.read().released_revision < second.revision
    finally:
        orders.close()


def test_a_lost_term_is_released_too_once_its_host_is_clean_and_the_store_answers(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("a")
    assert _wait(lambda: first.may_start)
    second = make("b")
    assert _wait(lambda: second.standing.holder == "a")
    term = first.revision
    store.stop()
    assert _wait(lambda: first.loss)
    first.release(is_clean=True)
    store.start()
    assert _wait(lambda: second.revision)
    orders = LeaseStore(read_settings(tmp_path, store, "a"))
    try:
        assert term < orders.read().released_revision < second.revision
    finally:
        orders.close()


def test_an_acquisition_whose_answer_was_lost_is_taken_up(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    with _losing_the_first_answer(store, "/v3/kv/txn") as (address, lost):
        keeper = make("a", LEASE_ETCD=address)
        assert _wait(lambda: keeper.may_start)
        assert lost == ["/v3/kv/txn"]
    orders = LeaseStore(read_settings(tmp_path, store, "a"))
    try:
        seen = orders.read()
        # One term: the key was not left to expire, and made again.
        assert seen.term_revision == seen.holder_revision == keeper.revision == _FIRST_REVISION
    finally:
        orders.close()


@pytest.mark.parametrize("path", ["/v3/lease/grant", "/v3/lease/keepalive"])
def test_a_term_and_a_renewal_count_from_before_their_request(
    make: Callable[..., Keeper], store: Store, path: str
) -> None:
    arrived, released = threading.Event(), threading.Event()

    def hold(asked: str) -> None:
        if asked == path and not released.is_set():
            arrived.set()
            released.wait(PATIENCE_S)

    with _passing_on(store, hold) as address:
        keeper = make("a", LEASE_ETCD=address, LEASE_TTL="60")  # no request of it times out meanwhile
        assert arrived.wait(PATIENCE_S)
        before = keeper._term  # noqa: SLF001 - the instant that the fence's deadline is counted from
        asked_s = read_boottime_s()
        released.set()

        def read_renewed_s() -> float | None:
            term = keeper._term  # noqa: SLF001 - likewise
            return None if term is None or term == before else term.renewed_s

        renewed_s = wait_until(read_renewed_s, "term", PATIENCE_S)
        assert renewed_s is not None
        assert renewed_s < asked_s


@contextlib.contextmanager
def _passing_on(store: Store, hold: Callable[[str], None]) -> Iterator[str]:
    """A way to the store on which each request is held up by a function of its path. Yields its address."""

    class Way(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hold(self.path)
            with urllib.request.urlopen(store.address + self.path, body, timeout=10) as answer:  # noqa: S310 - ours
                content = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):  # it waits no longer
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Way) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _losing_the_first_answer(store: Store, path: str) -> Iterator[tuple[str, list[str]]]:
    """A way to the store that loses the first answer to this path. Yields its address, and what was lost."""
    lost: list[str] = []

    class Way(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with urllib.request.urlopen(store.address + self.path, body, timeout=10) as answer:  # noqa: S310 - ours
                content = answer.read()
            if self.path == path and not lost:
                lost.append(path)
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Way) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", lost
        finally:
            server.shutdown()
            thread.join()


def test_a_host_that_loses_the_lease_before_it_may_start_stands_by_again_and_leads_later(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("b")
    assert _wait(lambda: first.may_start)
    folder = tmp_path / "host"
    folder.mkdir()
    host = build_environ(folder, [store.address], TTL_S, "a", Path(os.devnull))
    del host["LD_PRELOAD"]
    settings = Settings.from_environ(host)
    with subprocess.Popen([*SUPERVISOR], cwd=PROJECT, env=host, stdin=subprocess.DEVNULL) as supervisor:
        try:
            assert _wait(lambda: _is(settings, Role.STANDBY, holder="b"))
            first.release(is_clean=False)
            assert _wait(lambda: _is(settings, Role.WAITING))
            store.stop()
            assert _wait(lambda: not _is(settings, Role.WAITING))
            store.start()
            assert _wait(lambda: _is(settings, Role.LEADING))
        finally:
            supervisor.terminate()


def _is(settings: Settings, role: Role, *, holder: str = "") -> bool:
    standing = read_standing(settings)
    return standing is not None and standing.role is role and (not holder or standing.holder == holder)


def test_an_unclean_end_makes_the_next_holder_wait_until_the_bot_is_dead(make: Callable[..., Keeper]) -> None:
    first = make("a")
    assert _wait(lambda: first.may_start)
    second = make("b")
    assert _wait(lambda: second.standing.holder == "a")
    first.release(is_clean=False)  # the lease is left to expire
    assert _wait(lambda: second.standing.role is Role.WAITING)
    seen_s = read_boottime_s()
    assert _wait(lambda: second.may_start)
    assert read_boottime_s() - seen_s > FENCE_S


def test_a_store_that_is_away_ends_the_term_by_the_holders_own_clock(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    holder = make("a")
    settings = read_settings(tmp_path, store, "a")
    keep(holder)
    try:
        assert _wait(lambda: holder.may_start)
        require_lease(settings)
        store.stop()
        assert _wait(lambda: holder.loss)
        with pytest.raises(StartupFailure) as refused:
            require_lease(settings)
        assert refused.value.word is FailureWord.LEASE_UNAVAILABLE
        assert not holder.may_start
    finally:
        drop()


def test_a_lease_that_the_store_has_ended_kills_the_bot_at_once_and_not_only_at_its_deadline(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    holder = make("a", LEASE_TTL="250")  # the deadline is further away than this test waits
    assert _wait(lambda: holder.may_start)
    settings = read_settings(tmp_path, store, "a")
    ways = Etcd(settings, timeout_s=5.0)
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) as bot:
        try:
            identity = read_identity(bot.pid)
            assert identity is not None
            holder.watch([identity])
            ways.transact([], [delete(f"{name_keys(settings.instance)}holder")])
            holder.note_gateway("")  # has it look at the store now
            assert _wait(lambda: holder.loss)
            assert bot.wait(PATIENCE_S) == -signal.SIGKILL
        finally:
            bot.kill()
            ways.close()


def test_a_start_of_the_holder_outlives_a_moment_without_the_store(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    holder = make("a")
    settings = read_settings(tmp_path, store, "a")
    assert _wait(lambda: holder.may_start)
    store.stop()
    elsewhere = list(check_lease(settings, SystemCommands(), clock=SystemClock()))
    keep(holder)
    try:
        here = list(check_lease(settings, SystemCommands(), clock=SystemClock()))
        assert not holder.loss
        assert [one.status for one in here] == [StepStatus.WARN]
        assert [one.status for one in elsewhere] == [StepStatus.FAIL]
        assert _wait(lambda: holder.loss)
        assert [one.status for one in check_lease(settings, SystemCommands(), clock=SystemClock())] == [StepStatus.FAIL]
    finally:
        drop()


def test_a_failover_and_a_hold_are_asked_of_the_holder_through_the_store(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("a")
    assert _wait(lambda: first.may_start)
    second, third = make("b"), make("c")
    for one in (second, third):
        assert _wait(functools.partial(_sees, one, "a"))
    orders = LeaseStore(read_settings(tmp_path, store, "a"))
    try:
        orders.ask_failover("c", now=SystemClock().now())
        assert _wait(lambda: "to c" in first.handover)
        first.release(is_clean=True)
        first.allow()
        assert _wait(lambda: third.may_start)
        assert second.standing.holder != "b"

        orders.hold("held by ann")
        assert _wait(lambda: "held by ann" in third.handover)
        third.release(is_clean=True)
        third.allow()
        assert _wait(lambda: "held by ann" in second.standing.problem)
        assert orders.read().holder is None
        assert orders.resume()
        assert _wait(lambda: any(one.may_start for one in (first, second, third)))
    finally:
        orders.close()


def test_a_planned_fail_over_says_as_json_who_leads_then(
    make: Callable[..., Keeper], store: Store, tmp_path: Path
) -> None:
    first = make("a")
    assert _wait(lambda: first.may_start)
    second = make("b")
    assert _wait(functools.partial(_sees, second, "a"))
    environ = os.environ | build_lease_environ(tmp_path, store, "a")

    def fail_over(to: str) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "invoke", "failover", f"--to={to}", "--json"]
        return subprocess.Popen(argv, cwd=PROJECT, env=environ, stdout=subprocess.PIPE, text=True)

    def read(command: "subprocess.Popen[str]") -> tuple[int, dict[str, object]]:
        said, _ = command.communicate(timeout=PATIENCE_S)
        return command.returncode, json.loads(said)

    already = {"holder_before": "a", "holder": "a", "revision": first.revision, "result": "success", "next_action": ""}
    assert read(fail_over("a")) == (0, {"instance": "default", "message": "a leads already.", **already})
    command = fail_over("b")
    assert _wait(lambda: "to b" in first.handover)
    first.release(is_clean=True)
    first.allow()
    code, document = read(command)
    assert (code, document["result"], document["holder_before"], document["holder"]) == (0, "success", "a", "b")
    assert document["revision"] == second.revision


def test_a_store_that_has_gone_back_is_refused(make: Callable[..., Keeper], store: Store, tmp_path: Path) -> None:
    first = make("a")
    assert _wait(lambda: first.may_start)
    first.release(is_clean=True)
    first.close()
    standing = read_standing(read_settings(tmp_path, store, "a"))
    assert standing is not None
    assert standing.seen_revision > 0
    store.stop()
    shutil.rmtree(store.folder)
    store.start()  # as one that was restored from before

    again = make("a")
    assert _wait(lambda: again.standing.problem)
    assert _wait(lambda: "gone back" in again.standing.problem)
    assert not again.may_start


def test_a_member_that_is_away_is_said_by_name(store: Store, tmp_path: Path) -> None:
    settings = read_settings(tmp_path, store, "a")
    store.stop()
    orders = LeaseStore(settings)
    try:
        with pytest.raises(EtcdError, match=str(store.port)):
            orders.read()
    finally:
        orders.close()
