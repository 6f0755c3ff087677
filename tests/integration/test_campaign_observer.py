"""The campaign's observer sees what breaks a rule: each of these worlds is made to break one."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.soak.catalogue import Fault
from tests.campaign.draw import Case, Instant, Runtime, Start, Way
from tests.campaign.observer import EndedProcess, RunSeen, find_violations, read_living_bots
from tests.campaign.world import PASSWORD, World, world_of
from tests.system import is_port_free, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign is conducted on Linux")

CASE = Case(
    seed=1,
    number=0,
    runtime=Runtime.EXTERNAL,
    start=Start.NOTHING,
    way=Way.STARTUP,
    plan="valid",
    fault=Fault.NONE,
    instant=Instant.BEFORE,
    delay_s=0.0,
    chance=0,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with a gateway that runs and a system that has just been started, and did nothing wrong."""
    with world_of(CASE, tmp_path / "a world", image="") as made:
        made.enter_start()
        yield made


@contextlib.contextmanager
def bot_on(world: World, plan: Path) -> Iterator[int]:
    """A bot that is started by hand, past every check."""
    environ = {**world.system.environ, "GAMEPLAN_PATH": str(plan)}
    before = len(world.read_ledger())
    process = subprocess.Popen([sys.executable, str(Path(__file__).parents[1] / "campaign/ledger_bot.py")], env=environ)
    try:
        wait_until(lambda: len(world.read_ledger()) > before, "bot's first line")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def run_well(world: World) -> RunSeen:
    """A start-up by the book, as it was seen."""
    seen = RunSeen()
    ended = world.system.startup()
    seen.ended.append(EndedProcess(Way.STARTUP.value, ended.code, ended.out, ended.err, ended.document))
    seen.ended_s = seen.begun_s + 1
    seen.bots_left = read_living_bots(world)
    return seen


def test_a_run_by_the_book_breaks_no_rule(world: World) -> None:
    assert find_violations(world, run_well(world)) == []


def test_two_bots_at_a_time_are_seen(world: World) -> None:
    seen = run_well(world)
    with bot_on(world, Path(seen.ended[0].report["gameplan"]["path"]) if seen.ended[0].report else Path()):
        wait_until(lambda: any(line["event"] == "beside" for line in world.read_ledger()), "second bot's look around")
        seen.bots_left = read_living_bots(world)
    found = find_violations(world, seen)
    assert [one for one in found if one.startswith("2: ")] == ["2: one_bot_outside: 2 at the most"]


def test_a_bot_that_trades_without_a_handshake_of_this_run_is_seen(world: World) -> None:
    seen = RunSeen()
    with bot_on(world, world.root / "gameplan.json"):
        found = find_violations(world, seen)
    assert [one for one in found if "no handshake" in one]


@pytest.mark.parametrize(
    ("change", "word"), [({"date": "2020-01-02"}, "plan of 2020"), ({"symbols": ["X"]}, "no valid")]
)
def test_a_bot_on_another_plan_than_the_valid_one_of_today_is_seen(
    world: World, change: dict[str, object], word: str
) -> None:
    plan = world.root / "another.json"
    content = json.loads((world.root / "gameplan.json").read_text(encoding="utf-8"))
    plan.write_text(json.dumps(content | change), encoding="utf-8")
    seen = RunSeen()
    with bot_on(world, plan):
        found = find_violations(world, seen)
    assert [one for one in found if word in one]


def test_a_bot_that_a_failed_supervisor_leaves_is_seen(world: World) -> None:
    seen = run_well(world)
    report = {**(seen.ended[0].report or {}), "failure": "GATEWAY_TIMEOUT"}
    seen.ended = [dataclasses.replace(seen.ended[0], way=Way.FOREGROUND.value, code=1, report=report)]
    found = find_violations(world, seen)
    assert [one for one in found if "left bot" in one]
    assert [one for one in found if "neither told nor kept" in one]


@pytest.mark.parametrize("place", ["log", "output", "arguments"])
def test_a_secret_is_seen_wherever_it_is(world: World, place: str) -> None:
    seen = run_well(world)
    if place == "log":
        (world.system.logs / "startup_x.log").write_text(f"password {PASSWORD}", encoding="utf-8")
    elif place == "output":
        seen.ended[0].err += PASSWORD
    else:
        seen.argvs.add(f"bot --password {PASSWORD}")
    assert [one for one in find_violations(world, seen) if one.startswith("4: ")]


@pytest.mark.parametrize("what", ["code", "no bot", "time", "journal", "bystander", "restarts"])
def test_an_end_that_is_not_a_known_one_is_seen(world: World, what: str) -> None:
    seen = run_well(world)
    rule = "3: "
    if what == "code":
        seen.ended[0].code = 5
    elif what == "no bot":
        seen.bots_left = []
    elif what == "time":
        seen.ended_s = seen.begun_s + 1000
    elif what == "journal":
        os.truncate(world.system.state / "journal.sqlite3", 100)
    elif what == "restarts":
        (world.system.logs / "startup_x.log").write_text("Gateway restart attempted\n" * 2, encoding="utf-8")
    else:
        world.bystander.kill()
        world.bystander.wait()
        rule = "0: "
    assert [one for one in find_violations(world, seen) if one.startswith(rule)]


def test_the_gateway_of_a_world_is_one_that_the_observer_can_follow(world: World) -> None:
    assert not is_port_free(world.system.port)
