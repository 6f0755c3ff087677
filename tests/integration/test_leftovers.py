"""What is left of a bot whose main process was killed, as the commands see it: shown, refused, ended, never doubled."""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestration.system.processes import read_identity
from tests.integration.watch_scene import begin
from tests.system import PATIENCE_S, SIGKILL, System, wait_until

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.timeout(180)]
BOT = Path(__file__).parents[1] / "fixtures" / "bots" / "bot.py"


def use_bot(system: System, *arguments: str) -> None:
    words = [sys.executable, str(BOT), *arguments, "--notify", "READY=1"]
    system.environ |= {"BOT_COMMAND": " ".join(f"'{word}'" for word in words), "BOT_WORKDIR": str(system.root)}


def read_said(system: System) -> list[int]:
    """The workers that the bots said they had started."""
    logs = "".join(log.read_text(encoding="utf-8") for log in sorted(system.logs.glob("bot_*.log")))
    return [int(line.split()[1]) for line in logs.splitlines() if line.startswith("CHILD ")]


def read_workers(system: System) -> list[int]:
    """Those of them that still run."""
    return [pid for pid in read_said(system) if read_identity(pid) is not None]


def kill_main_process(system: System) -> int:
    pid = int(system.inv("status", "--json").document["bot"]["pid"])
    os.kill(pid, SIGKILL)
    wait_until(lambda: read_identity(pid) is None, "death of the main process")
    return pid


@pytest.mark.parametrize("kind", ["bare", "session", "silent", "daemon"])
def test_what_is_left_of_a_bot_is_shown_refused_and_ended_by_shutdown(system: System, kind: str) -> None:
    use_bot(system, "--retitle", "--worker", kind)
    if kind != "daemon":  # that one is on Strategy C, behind an order guard
        system.use_plan()
    assert system.startup().document["bot"] is not None
    main = kill_main_process(system)
    (worker,) = read_workers(system)
    shown = system.inv("status", "--json")
    assert shown.code == 1
    assert (shown.document["bot"]["running"], shown.document["bot"]["pid"]) == (True, worker)
    assert shown.document["bot"]["left_of_pid"] == main
    assert f"what is left of process {main}" in system.inv("status").out
    again = system.startup()
    assert (again.code, again.document["failure"]) == (1, "BOT_ALREADY_RUNNING")
    assert f"what is left of process {main}" in again.document["message"]
    assert read_workers(system) == [worker]
    down = system.inv("shutdown")
    assert down.code == 0, down.err
    assert f"what is left of process {main}" in down.out
    assert read_workers(system) == []
    assert system.inv("status").code == 3


@pytest.mark.parametrize("arguments", [("bot.stop",), ("bot.restart",)])
def test_what_is_left_of_a_bot_is_ended_before_anything_else_starts(system: System, arguments: tuple[str, ...]) -> None:
    use_bot(system, "--worker", "session")
    system.use_plan()
    assert system.startup().document["bot"] is not None
    kill_main_process(system)
    (worker,) = read_workers(system)
    assert system.inv(*arguments).code in {0, 2}
    assert worker not in read_workers(system)
    assert len(read_workers(system)) == (arguments == ("bot.restart",))


@pytest.mark.parametrize("flag", ["--replace", "--foreground"])
def test_a_start_that_may_end_what_is_left_does_so_first(system: System, flag: str) -> None:
    use_bot(system, "--worker", "session")
    if flag == "--replace":
        system.use_plan()
    assert system.startup().document["bot"] is not None
    kill_main_process(system)
    (worker,) = read_workers(system)
    process = system.begin(flag)
    wait_until(lambda: len(found := read_workers(system)) == 1 and found != [worker], "a new bot, and only that")
    assert system.inv("shutdown").code == 0
    process.communicate(timeout=PATIENCE_S)
    assert read_workers(system) == []


def test_a_start_that_fails_leaves_no_worker_that_has_cut_its_ties(system: System) -> None:
    kinds = ("bare", "session", "silent", "daemon", "fork")
    workers = [word for kind in kinds for word in ("--worker", kind)]
    use_bot(system, "--retitle", *workers, "--exit-after", "0.5", "--exit-code", "3")
    system.use_plan()
    system.environ["BOT_COMMAND"] = system.environ["BOT_COMMAND"].replace("READY=1", "STATUS=not yet")
    system.environ["BOT_START_GRACE"] = "30"
    failed = system.startup()
    assert failed.document["failure"] == "BOT_START_FAILED", failed.err
    assert len(read_said(system)) == len(kinds)
    assert read_workers(system) == []


def test_a_daemon_that_a_supervised_bot_started_late_ends_with_it(watched: System) -> None:
    trigger = watched.root / "go"
    use_bot(watched, "--daemon-when", str(trigger))
    process = begin(watched)
    trigger.touch()
    wait_until(lambda: read_workers(watched), "the daemon")
    assert psutil.Process(read_workers(watched)[0]).ppid() == process.pid
    kill_main_process(watched)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert read_workers(watched) == []


def test_a_daemon_is_known_after_its_supervisor_was_killed_too(watched: System) -> None:
    trigger = watched.root / "go"
    use_bot(watched, "--daemon-when", str(trigger))
    process = begin(watched)
    trigger.touch()
    wait_until(lambda: read_workers(watched), "the daemon")
    (worker,) = read_workers(watched)
    wait_until(lambda: str(worker) in _read(watched.state / "bot_workers.json"), "a look of the supervisor")
    process.send_signal(SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    kill_main_process(watched)
    assert watched.inv("status", "--json").document["bot"]["pid"] == worker
    assert watched.inv("shutdown").code == 0
    assert read_workers(watched) == []


@pytest.fixture
def control_group() -> Iterator[Path]:
    """A control group as systemd makes one for a service."""
    for root in (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        made = root / f"zero-touch-test-{secrets.token_hex(4)}.service"
        with contextlib.suppress(OSError):
            made.mkdir()
            (made / "cgroup.procs").read_text(encoding="ascii")
            break
    else:
        pytest.skip("no control group can be made here")
    yield made
    wait_until(lambda: not (made / "cgroup.procs").read_text(encoding="ascii"), "an empty control group")
    made.rmdir()


def test_a_daemon_is_known_by_the_control_group_of_the_service_that_started_the_bot(
    system: System, control_group: Path
) -> None:
    trigger = system.root / "go"
    use_bot(system, "--daemon-when", str(trigger))
    system.use_plan()
    enter = f"echo $$ >'{control_group}/cgroup.procs' && SYSTEMD_EXEC_PID=$$ exec \"$@\""
    started = system.run(["sh", "-c", enter, "sh", sys.executable, "-m", "orchestration.startup", "--json"])
    assert started.document["bot"] is not None
    with subprocess.Popen(["sh", "-c", f"echo $$ >'{control_group}/cgroup.procs'; exec sleep 300"]) as bystander:
        trigger.touch()
        wait_until(lambda: read_workers(system), "the daemon")
        (worker,) = read_workers(system)
        kill_main_process(system)
        found = system.inv("status", "--json").document["bot"]
        assert str(worker) in found["detail"]
        assert found["left_of_pid"] is not None
        assert system.inv("shutdown").code == 0
        assert read_workers(system) == []
        assert bystander.wait(timeout=PATIENCE_S) != 0, "all of the service's control group is the bot's"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
