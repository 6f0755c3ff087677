"""Three instances on one simulated gateway: real processes, each with its own state, one gateway for all of them."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.system import SIGTERM, System, end_and_read, find_free_port, wait_until

if TYPE_CHECKING:
    import subprocess

NAMES = ("breakout", "meanrev", "momentum")


@dataclass
class Site:
    """Instances that share a gateway by its port, and whatever they agree by."""

    root: Path
    systems: dict[str, System]

    def __getitem__(self, name: str) -> System:
        return self.systems[name]

    def status(self, name: str) -> dict[str, object]:
        """What `inv status` says of one of them."""
        document = self[name].inv("status", "--json").document
        assert isinstance(document, dict)
        return document

    def gateways(self) -> list[psutil.Process]:
        """The simulated gateways that run for any of them."""
        found = []
        for system in self.systems.values():
            for process in system.processes():
                try:
                    if "orchestration.simulator" in process.cmdline():
                        found.append(process)
                except psutil.Error:
                    continue
        return found

    def restarts(self) -> list[dict[str, object]]:
        """The restarts that the instances have written down."""
        files = list((self.root / "shared" / "gateways").glob("*.json"))
        assert len(files) <= 1, "one gateway has one file"
        restarts = [json.loads(file.read_text(encoding="utf-8"))["restarts"] for file in files]
        return restarts[0] if restarts else []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    port = str(find_free_port())
    systems = {}
    for name in NAMES:
        system = System(tmp_path / name)
        system.environ |= {
            "INSTANCE": name,
            "GATEWAY_PORT": port,
            "GATEWAY_SHARED_DIR": str(tmp_path / "shared"),
            "MONITOR_INTERVAL": "1",
        }
        # The reference bot: it holds a connection with a client id of its own.
        system.use_plan()
        systems[name] = system
    site = Site(tmp_path, systems)
    try:
        yield site
    finally:
        for system in systems.values():
            system.close()


def _wait_until_supervised(process: "subprocess.Popen[str]", system: System) -> None:
    record = system.state / system.environ["INSTANCE"] / "bot.json"

    def is_up() -> bool:
        assert process.poll() is None, process.communicate()
        return record.exists() and json.loads(record.read_text(encoding="utf-8"))["ready_by"] is not None

    wait_until(is_up, "supervised bot")


def test_three_started_at_the_same_instant_share_one_gateway_until_the_last_one_is_shut_down(site: Site) -> None:
    starts = [site[name].begin() for name in NAMES]
    ended = [process.communicate(timeout=120) for process in starts]
    documents = [json.loads(out) for out, _ in ended]
    assert [process.returncode for process in starts] == [0, 0, 0], documents
    (gateway,) = site.gateways()
    details = [step["detail"] for document in documents for step in document["steps"] if step["name"] == "gateway.up"]
    assert sum("has been started" in detail for detail in details) == 1, details
    assert sum("left alone" in detail for detail in details) == 2, details
    pids = {document["bot"]["pid"] for document in documents}
    assert len(pids) == 3
    _check_that_all_are_shown(site, [0, 0, 0])

    for name, other in (("momentum", "meanrev"), ("meanrev", "breakout")):
        _check_that_a_shutdown_leaves_the_gateway(site, name, to=other)
        if name == "momentum":
            _check_that_all_are_shown(site, [0, 0, 3])
    _check_that_a_contrary_instance_is_refused(site, "meanrev", other="breakout")
    assert gateway.is_running()
    last = site["breakout"].inv("shutdown", "--json")
    assert last.code == 0, last
    wait_until(lambda: not site.gateways(), "end of the gateway")


def _check_that_all_are_shown(site: Site, codes: list[int]) -> None:
    """The worst one's exit code is that of the command; the last of `codes` is momentum's."""
    look = site["meanrev"].inv("status", "--all", "--json")
    assert [document["instance"] for document in look.document] == list(NAMES)
    assert [document["exit_code"] for document in look.document] == codes, look
    assert look.code == max(codes)
    if codes[-1] != 3:
        return
    assert look.document[0] == {**site.status("breakout"), "bot": look.document[0]["bot"]} | {
        "gateway": look.document[0]["gateway"],
        "service": look.document[0]["service"],
    }, "each one's document is that of `inv status`"
    shown = site["meanrev"].inv("status", "--all")
    assert shown.code == 3
    (row,) = [line for line in shown.out.splitlines() if line.startswith("momentum")]
    assert "not running" in row


def _check_that_a_shutdown_leaves_the_gateway(site: Site, name: str, *, to: str) -> None:
    ended = site[name].inv("shutdown", "--json")
    assert ended.code == 0, ended
    (step,) = [step for step in ended.document["steps"] if step["name"] == "gateway.stop"]
    assert step["status"] == "skip"
    assert f"the bot of instance {to}" in step["detail"]
    assert site.status(to)["exit_code"] == 0


def _check_that_a_contrary_instance_is_refused(site: Site, name: str, *, other: str) -> None:
    contrary = {"TRADING_MODE": "live", "ALLOW_LIVE_TRADING": "yes", "GATEWAY_ACCOUNT": "U7654321"}
    ended = site[name].startup(environ=contrary)
    assert ended.code == 1
    assert ended.document["failure"] == "CONFIG_INVALID"
    assert f"instance {name}" in ended.document["message"]
    assert f"instance {other}" in ended.document["message"]
    assert site.status(other)["exit_code"] == 0


def test_a_gateway_is_not_stopped_or_restarted_under_another_instances_bot_by_mistake(site: Site) -> None:
    assert site["momentum"].startup().code == 0
    assert site["meanrev"].startup().code == 0
    assert site["meanrev"].inv("bot.stop").code == 0
    (gateway,) = site.gateways()
    for command in ("gateway.down", "gateway.restart"):
        ended = site["meanrev"].inv(command, "--json")
        assert ended.code == 1
        assert ended.document["failure"] == "BOT_ALREADY_RUNNING"
        assert "the bot of instance momentum, process" in ended.document["message"]
        assert "--force" in ended.document["next_action"]
        assert gateway.is_running()
    held = site["meanrev"].inv("hold", "--reason", "holiday", "--json")
    assert held.code == 0, held
    assert gateway.is_running()
    forced = site["meanrev"].inv("gateway.restart", "--force", "--json")
    assert forced.code == 1, "the instance is held"
    assert site["meanrev"].inv("resume").code == 0
    forced = site["meanrev"].inv("gateway.restart", "--force", "--json")
    assert forced.code == 0, forced
    (other,) = site.gateways()
    assert other.pid != gateway.pid
    wait_until(lambda: site.status("momentum")["exit_code"] == 0, "bot on the gateway that was restarted")


def test_a_gateway_that_dies_is_restarted_once_in_all_and_every_bot_recovers(site: Site) -> None:
    supervised = {name: site[name].begin("--foreground") for name in NAMES}
    for name, process in supervised.items():
        _wait_until_supervised(process, site[name])
    (gateway,) = site.gateways()
    gateway.kill()
    wait_until(lambda: [one for one in site.gateways() if one.pid != gateway.pid], "new gateway")
    for name in NAMES:
        wait_until(lambda name=name: site.status(name)["exit_code"] == 0, f"recovery of {name}")  # type: ignore[misc]
    assert len(site.restarts()) == 1, site.restarts()
    assert len(site.gateways()) == 1
    said = {name: _read_events(site[name]) for name in NAMES}
    assert sum(events.count("Gateway restart attempted") for events in said.values()) == 1, "by the one that did it"
    for events in said.values():
        others = events.count("Gateway restarted by another instance") + events.count("Gateway not restarted")
        assert others + events.count("Gateway restart attempted") <= 1, "and by each of the others once at the most"
        assert "Gateway was restarted by something else" not in events
    assert all(process.poll() is None for process in supervised.values()), "every supervisor stays"
    for name in NAMES[:2]:
        assert end_and_read(supervised[name], SIGTERM).code == 0
    assert len(site.gateways()) == 1
    assert site.status("momentum")["exit_code"] == 0


def test_what_is_stopped_by_force_is_not_brought_back_by_the_others_supervisors(site: Site) -> None:
    momentum = site["momentum"].begin("--foreground")
    _wait_until_supervised(momentum, site["momentum"])
    assert site["meanrev"].startup().code == 0
    assert site["meanrev"].inv("bot.stop").code == 0
    down = site["meanrev"].inv("gateway.down", "--force", "--json")
    assert down.code == 0, down
    assert "stopped, under the bot of instance momentum" in down.document["steps"][0]["detail"]
    wait_until(lambda: "down on purpose" in _read_events(site["momentum"]), "notice of the other supervisor")
    assert site.gateways() == []
    assert momentum.poll() is None
    assert site["meanrev"].inv("gateway.up").code == 0
    wait_until(lambda: site.status("momentum")["exit_code"] == 0, "recovery of momentum")
    assert site.restarts() == []


def _read_events(system: System) -> str:
    """What the instance's supervisor has told."""
    (path,) = system.state.rglob("journal.sqlite3")
    with contextlib.closing(sqlite3.connect(path)) as journal:
        return "\n".join(str(row) for row in journal.execute("select * from events"))
