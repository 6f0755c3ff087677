"""Two whole hosts with one login: a release comes to both in order, and each boots to its part."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rackmount.host import USER, RackHost, download_wheels, running_host
from tests.rackmount.site import BASE, SERVICE_USER, UNIT, Fabbed, Site
from tests.rackmount.store import Store, running_store

pytestmark = [pytest.mark.rackmount, pytest.mark.timeout(1500)]
_BOTH = "rack1,rack2"
_LEADS, _STANDS_BY = 0, 5
# What no trial sees and no host that stands by runs: only a start that leads fails.
_FAILS_WHERE_IT_LEADS = "\n\ndef bot_start(context: object, progress: object) -> object:\n    raise OSError('broken')\n"


@dataclass
class Pair:
    """Two hosts, the store between them, and the operator's machine."""

    site: Site
    hosts: dict[str, RackHost]
    store: Store

    def fab(self, *words: str, hosts: str = _BOTH) -> Fabbed:
        return self.site.fab(*words, "--json", hosts=hosts)

    def deploy(self, *words: str, hosts: str = _BOTH) -> Fabbed:
        return self.fab("deploy", "--timeout=120", f"--wheels={self.site.wheels}", *words, hosts=hosts)

    def status(self, name: str) -> int:
        """The exit code of `inv status` there."""
        argv = f"cd {BASE}/current && runuser -u {SERVICE_USER} -- .venv/bin/python -m invoke status"
        return self.hosts[name].run(argv, check=False, timeout_s=120).code

    def release(self, name: str) -> str:
        return self.hosts[name].run(f"readlink {BASE}/current", check=False).out.strip().rpartition("_")[2]

    def bots(self) -> list[str]:
        """On which hosts a bot runs."""
        found = []
        for name, host in self.hosts.items():
            pids = host.run(["pgrep", "-f", "orchestration.bot.reference"], check=False).out.split()
            found += [name] * len(pids)
        return found

    def find_parts(self) -> tuple[str, str]:
        """Who leads and who stands by, once one of each is so; exactly one bot runs then."""
        parts: dict[int, str] = {}

        def look() -> bool:
            parts.clear()
            parts.update({self.status(name): name for name in self.hosts})
            return set(parts) == {_LEADS, _STANDS_BY} and self.bots() == [parts[_LEADS]]

        self.hosts["rack1"].wait_until(look, "one leads and one stands by", timeout_s=180)
        return parts[_LEADS], parts[_STANDS_BY]


def outcomes(ended: Fabbed) -> dict[str, dict[str, Any]]:
    return {one["host"]: one for one in json.loads(ended.out)["hosts"]}


@pytest.fixture(scope="module")
def pair(rack_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("site")
    with contextlib.ExitStack() as ending:
        store = ending.enter_context(running_store(rack_image))
        hosts = {name: ending.enter_context(running_host(rack_image, name)) for name in ("rack1", "rack2")}
        site = Site(host=hosts["rack1"], folder=folder, wheels=download_wheels())
        site.set_up()
        plan = hosts["rack1"].read("/srv/plan.json")
        for host in hosts.values():
            host.authorize((folder / "key.pub").read_text())
            host.write("/srv/plan.json", plan)
        made = Pair(site, hosts, store)
        use_ssh(made)
        site.env_file.write_text(
            "GATEWAY_RUNTIME=simulator\nGAMEPLAN_PATH=/srv/plan.json\nMARKET_CALENDAR=daily\nMONITOR_INTERVAL=5\n"
            f"STRATEGY_C_BOT=trusted\nLEASE_ETCD={store.endpoint}\nLEASE_TTL=10\n"
        )
        provisioned = made.fab("provision")
        assert provisioned.code == 0, str(provisioned)
        first = made.deploy(f"--env-file={site.env_file}")
        assert first.code == 0, str(first)
        yield made


def use_ssh(pair: Pair) -> None:
    """The ports are others after each boot."""
    config, known = "", ""
    for name, host in pair.hosts.items():
        port = host.ssh_port
        known += "".join(f"[127.0.0.1]:{port} {' '.join(key.split()[:2])}\n" for key in host.read_host_keys())
        config += f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n"
    config += f"Host *\n  IdentityFile {pair.site.folder}/key\n  IdentitiesOnly yes\n"
    (pair.site.folder / "known_hosts").write_text(known)
    config += f"  UserKnownHostsFile {pair.site.folder}/known_hosts\n"
    Path(pair.site.folder / "config").write_text(config)


def test_a_release_is_validated_by_a_planned_fail_over_and_comes_to_both(pair: Pair) -> None:
    leader, standby = pair.find_parts()
    commit = pair.site.commit("a good one", **{"README.md": "\nMore.\n"})

    ended = pair.deploy()

    assert ended.code == 0, str(ended)
    found = outcomes(ended)
    assert "validated after a planned fail-over" in found[standby]["message"]
    assert "stands by" in found[leader]["message"]
    assert pair.find_parts() == (standby, leader)
    assert {pair.release(name) for name in pair.hosts} == {commit[:10]}


def test_a_release_that_fails_where_it_leads_goes_back_and_the_leader_keeps_its_own(pair: Pair) -> None:
    leader, standby = pair.find_parts()
    before = pair.release(leader)
    pair.site.commit("a bad one", **{"orchestration/startup/steps.py": _FAILS_WHERE_IT_LEADS})
    try:
        ended = pair.deploy()
    finally:
        pair.site.git("reset", "--hard", "--quiet", "HEAD~1")

    assert ended.code == 1, str(ended)
    found = outcomes(ended)
    assert (found[leader]["result"], found[standby]["result"]) == ("kept", "went_back"), str(ended)
    assert pair.find_parts() == (leader, standby)
    assert [pair.release(name) for name in pair.hosts] == [before, before]


def test_without_a_standby_that_is_ready_nothing_is_touched(pair: Pair) -> None:
    leader, standby = pair.find_parts()
    pair.site.commit("another one", **{"README.md": "\nAnd more.\n"})
    before = pair.release(leader)
    pair.hosts[standby].run(f"systemctl stop {UNIT}")
    try:
        ended = pair.deploy()
        bots = pair.bots()
    finally:
        pair.hosts[standby].run(f"systemctl start {UNIT}")

    assert ended.code == 1
    assert {one["message"][:28] for one in outcomes(ended).values()} == {"no standby is ready, so no p"}, str(ended)
    assert pair.release(leader) == before
    assert bots == [leader]


def test_a_rollback_takes_the_same_order(pair: Pair) -> None:
    leader, standby = pair.find_parts()
    before = pair.release(leader)

    ended = pair.fab("rollback", "--timeout=120")

    assert ended.code == 0, str(ended)
    assert "validated after a planned fail-over" in outcomes(ended)[standby]["message"]
    assert pair.find_parts() == (standby, leader)
    assert before not in {pair.release(name) for name in pair.hosts}


def test_a_host_that_loses_its_power_is_followed_and_boots_to_stand_by(pair: Pair) -> None:
    leader, standby = pair.find_parts()
    pair.hosts[leader].cut_power()
    pair.hosts[standby].wait_until(lambda: pair.status(standby) == _LEADS, "the other one leads", timeout_s=120)

    pair.hosts[leader].switch_on()
    use_ssh(pair)

    assert pair.find_parts() == (standby, leader)
