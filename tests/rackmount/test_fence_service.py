"""The fence of a service under a real systemd, in its control group: it kills in time, and is never left behind."""

import json
import logging
import shutil
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tests.rackmount.host import USER, Project, RackHost
from tests.rackmount.store import Store, running_store
from tests.system import build_plan

pytestmark = pytest.mark.rackmount

UNIT = "zero-touch-startup.service"
_LOG = logging.getLogger(__name__)
_FENCE = "supervision/fence_process.py"
_TTL_S = 10
_MEMLOCK = 64 * 1024 * 1024
# Stops the supervisor, reads the fence's timer, and waits for the end of the bot.
_STOP_AND_WATCH = """
import json, os, signal, sys, time
main, fence, *bots = map(int, sys.argv[1:])
os.kill(main, signal.SIGSTOP)
left_s = None
for name in os.listdir(f"/proc/{fence}/fdinfo"):
    for line in open(f"/proc/{fence}/fdinfo/{name}"):
        if line.startswith("it_value:"):
            seconds, nanoseconds = line.partition(":")[2].strip(" ()\\n").split(",")
            left_s = int(seconds) + int(nanoseconds) / 1e9
began_s = time.monotonic()
def state(pid):
    try:
        text = open(f"/proc/{pid}/stat").read()
    except OSError:
        return "gone"
    return text.rpartition(")")[2].split()[0]
while any(state(bot) not in ("gone", "Z") for bot in bots) and time.monotonic() < began_s + 60:
    time.sleep(0.002)
print(json.dumps({"left_s": left_s, "took_s": time.monotonic() - began_s, "main": state(main)}))
"""


@pytest.fixture(scope="module")
def store(rack_image: str) -> Iterator[Store]:
    assert shutil.which("etcd"), "apt install etcd-server"
    with running_store(rack_image) as store:
        yield store


@pytest.fixture(scope="module")
def project(host: RackHost, store: Store) -> Project:
    """A checkout whose service holds the lease."""
    project = host.copy_project()
    today = datetime.now(ZoneInfo("America/New_York")).date().isoformat()
    host.write(f"{project.folder}/plan.json", json.dumps(build_plan(date=today)), user=USER)
    project.write_env(
        GATEWAY_RUNTIME="simulator",
        GAMEPLAN_PATH=f"{project.folder}/plan.json",
        MARKET_CALENDAR="daily",
        MONITOR_INTERVAL=5,
        STRATEGY_C_BOT="trusted",
        LEASE_ETCD=store.endpoint,
        LEASE_TTL=_TTL_S,
    )
    project.inv("install", sudo=True)
    return project


@pytest.fixture(autouse=True)
def well(project: Project) -> None:
    """Each test begins with a bot that runs, and one fence."""
    project.host.run(
        f"rm -f {project.folder}/state/attempts.json; systemctl reset-failed; systemctl start {UNIT}", timeout_s=240
    )
    wait_until_well(project)


def pids(project: Project, words: str) -> list[int]:
    return [int(pid) for pid in project.host.run(["pgrep", "-f", words], check=False).out.split()]


def fences(project: Project) -> list[int]:
    return pids(project, _FENCE)


def bots(project: Project) -> list[int]:
    return pids(project, "orchestration.bot.reference")


def main_pid(project: Project) -> int:
    return int(project.host.show(UNIT, "MainPID")["MainPID"])


def is_well(project: Project) -> bool:
    return project.inv("status", check=False).ok and len(bots(project)) == len(fences(project)) == 1


def wait_until_well(project: Project) -> None:
    project.host.wait_until(lambda: is_well(project), "one bot and one fence", timeout_s=180)


def wait_until_gone(project: Project) -> None:
    project.host.wait_until(lambda: bots(project) == fences(project) == [], "neither bot nor fence", timeout_s=60)


def test_it_is_in_the_services_control_group_and_locks_its_memory_where_the_kernel_lets_the_service(
    project: Project,
) -> None:
    (fence,) = fences(project)
    asked = project.host.show(UNIT, "LimitMEMLOCK")["LimitMEMLOCK"]
    status = project.host.read(f"/proc/{fence}/status")
    limits = project.host.read(f"/proc/{fence}/limits")
    in_force = next(line for line in limits.splitlines() if line.startswith("Max locked memory")).split()[-3]
    locked_kb = int(next(line for line in status.splitlines() if line.startswith("VmLck:")).split()[1])

    assert int(asked) == _MEMLOCK
    assert project.host.read(f"/proc/{fence}/cgroup").strip().endswith(UNIT)
    assert f"Uid:\t{project.host.uid(USER)}\t" in status
    # Without CAP_SYS_RESOURCE, as in some containers, no limit can be raised: systemd leaves it as it is, silently.
    may_raise = project.host.run(f"prlimit --memlock={_MEMLOCK}:{_MEMLOCK} true", check=False).ok
    assert (int(in_force) == _MEMLOCK, locked_kb > 0) == (may_raise, may_raise)


def test_a_stopped_supervisors_bot_is_dead_while_the_lease_still_stands(project: Project, store: Store) -> None:
    before, (fence,), running = main_pid(project), fences(project), bots(project)
    seen = project.host.run(
        ["python3", "-c", _STOP_AND_WATCH, *map(str, (before, fence, *running))], timeout_s=90
    ).document
    keys = store.read_keys()
    project.host.run(f"kill -CONT {before}")

    _LOG.info("the bot was dead %.3f s after the deadline", seen["took_s"] - seen["left_s"])
    assert seen["main"] == "T"
    assert seen["took_s"] >= seen["left_s"] > 0, "it was killed before its deadline"
    assert "holder" in keys, "the store let the lease go before the bot was dead"
    wait_until_well(project)


def test_a_restart_leaves_one_fence(project: Project) -> None:
    before, old = main_pid(project), fences(project)
    project.host.run(f"systemctl restart {UNIT}", timeout_s=240)
    wait_until_well(project)

    assert main_pid(project) != before
    assert fences(project) != old


def test_a_stop_leaves_nothing_and_gives_the_lease_back(project: Project, store: Store) -> None:
    project.host.run(f"systemctl stop {UNIT}", timeout_s=240)

    assert (bots(project), fences(project), pids(project, "orchestration.simulator")) == ([], [], [])
    keys = store.read_keys()
    assert "released" in keys
    assert "holder" not in keys


def test_what_a_killed_supervisor_leaves_is_killed_with_its_control_group(project: Project) -> None:
    running = bots(project)
    project.host.run(f"kill -KILL {main_pid(project)}")

    project.host.wait_until(lambda: set(bots(project)).isdisjoint(running), "the end of the bot", timeout_s=30)
    wait_until_well(project)  # systemd starts it again after its delay


def test_without_its_fence_the_supervisor_ends_the_bot_and_starts_again_with_a_new_one(project: Project) -> None:
    (fence,), running = fences(project), bots(project)
    project.host.run(f"kill -KILL {fence}")

    project.host.wait_until(lambda: set(bots(project)).isdisjoint(running), "the end of the bot", timeout_s=30)
    wait_until_well(project)
    assert fences(project) != [fence]


def test_a_stop_of_a_stopped_supervisor_leaves_nothing(project: Project) -> None:
    project.host.run(f"kill -STOP {main_pid(project)}; systemctl stop {UNIT}", timeout_s=300)

    wait_until_gone(project)
