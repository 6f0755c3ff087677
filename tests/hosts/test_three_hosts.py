"""Three hosts with one login and TLS: five runs of the campaign (`python -m tests.hosts` conducts a hundred)."""

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.hosts.__main__ import TTL_S
from tests.hosts.conduct import conduct
from tests.hosts.draw import Kind, draw_case
from tests.hosts.hosts import Scene, scene
from tests.hosts.observer import measure_overlap_s, now_s
from tests.system import wait_until

_SEED = 1
_NUMBERS = (5, 6, 47, 90, 101)  # in the last one a plan had reached the leader alone
_PROGRAMS = ("etcd", "openssl", "ip", "iptables", "nsenter", "cc")


def _what_is_missing() -> str:
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if os.geteuid() != 0:
        return "network namespaces need root"
    return f"there is no {' and no '.join(missing)}" if missing else ""


pytestmark = [pytest.mark.hosts, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    missing = _what_is_missing()
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must have what it needs: {missing}", pytrace=False)
    if missing:
        pytest.skip(missing)
    with scene(99, tmp_path_factory.mktemp("hosts"), ttl_s=TTL_S, kind=Kind.TLS) as made:
        yield made


def test_a_bot_never_runs_on_two_hosts_and_always_runs_again(hosts: Scene) -> None:
    results = [conduct(hosts, draw_case(_SEED, number, ttl_s=TTL_S)) for number in _NUMBERS]

    assert [(one.told, one.broken) for one in results if one.broken] == []


def test_two_bots_are_seen_where_a_whole_host_is_frozen_and_the_fence_ends_the_old_one_when_it_wakes(
    hosts: Scene,
) -> None:
    (leader,) = wait_until(hosts.observer.find_hosts, "bot on any host")
    frozen = hosts.hosts[leader].find(with_store=True, with_fence=True)
    hosts.hosts[leader].send(signal.SIGSTOP, frozen)
    wait_until(lambda: len(hosts.observer.find_hosts()) > 1, "bot on a second host")

    hosts.hosts[leader].send(signal.SIGCONT, frozen)

    wait_until(lambda: hosts.observer.find_hosts() and leader not in hosts.observer.find_hosts(), "the new bot alone")
    assert measure_overlap_s(hosts.observer.lives, now_s()) > 0.0
