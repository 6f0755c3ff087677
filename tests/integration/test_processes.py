"""The door for long-lived processes: real ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.system import process_table
from orchestration.system.processes import (
    LaunchedProcess,
    ProcessIdentity,
    collect_exit_code,
    end_process_tree,
    is_running,
    launch_detached,
    read_identity,
    read_uptime_s,
    read_userspace_boot_id,
)
from tests.integration.bot_scene import wait_until

_FOREVER = "import time; time.sleep(300)"


def _launch(folder: Path, code: str, **variables: str) -> LaunchedProcess:
    return launch_detached(
        [sys.executable, "-c", code], cwd=folder, environ={**os.environ, **variables}, output=folder / "out.log"
    )


def _read_pids(folder: Path, count: int) -> list[int]:
    log = folder / "out.log"
    wait_until(lambda: len(log.read_text().splitlines()) >= count, f"{count} pids are written")
    return [int(line) for line in log.read_text().splitlines()]


def test_a_detached_process_has_its_own_session_no_input_and_a_private_log(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == '', flush=True); " + _FOREVER
    process = _launch(tmp_path, code)
    try:
        wait_until(lambda: bool((tmp_path / "out.log").read_text()), "it has written")
        assert (tmp_path / "out.log").read_text() == "True True\n"
        assert (tmp_path / "out.log").stat().st_mode & 0o077 == 0
        assert is_running(process.identity)
    finally:
        assert end_process_tree(process.identity, timeout_s=30)
        process.disown()
    assert not is_running(process.identity)


def test_waiting_returns_as_soon_as_the_process_has_ended(tmp_path: Path) -> None:
    process = _launch(tmp_path, "")
    process.wait(timeout_s=600)
    assert process.poll_exit_code() == 0
    process.wait(timeout_s=600)


def test_the_exit_code_of_a_process_that_ended_right_before_it_was_left_behind_is_still_known(tmp_path: Path) -> None:
    process = _launch(tmp_path, "raise SystemExit(7)")
    wait_until(lambda: not is_running(process.identity), "it has ended, and its exit code was not asked for")
    process.disown()
    assert collect_exit_code(process.pid) == 7


def test_waiting_returns_as_soon_as_there_is_something_to_read(tmp_path: Path) -> None:
    process = _launch(tmp_path, _FOREVER)
    reading, writing = os.pipe()
    try:
        os.write(writing, b"x")
        process.wait(timeout_s=600, or_readable=reading)
        assert process.poll_exit_code() is None
    finally:
        os.close(reading)
        os.close(writing)
        end_process_tree(process.identity, timeout_s=0)
        process.disown()


def test_waiting_returns_after_its_time(tmp_path: Path) -> None:
    process = _launch(tmp_path, _FOREVER)
    try:
        started_s = time.monotonic()
        process.wait(timeout_s=0.2)
        assert time.monotonic() - started_s >= 0.2
        assert process.poll_exit_code() is None
    finally:
        end_process_tree(process.identity, timeout_s=0)
        process.disown()


def test_a_process_that_leaves_when_it_is_asked_was_in_time(tmp_path: Path) -> None:
    leave = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(1, flush=True)"
    process = _launch(tmp_path, f"{leave}; {_FOREVER}")
    _read_pids(tmp_path, 1)
    assert end_process_tree(process.identity, timeout_s=60)
    process.disown()


def test_everything_of_its_session_is_gone_after_an_end_by_force(tmp_path: Path) -> None:
    # The leader ignores SIGTERM; its child starts grandchildren without end, so one look at the session is not enough.
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
breed = "import subprocess, sys, time\\nwhile True: subprocess.Popen(['sleep', '300']); time.sleep(0.005)"
child = subprocess.Popen([sys.executable, "-c", breed])
print(child.pid, flush=True)
{_FOREVER}
"""
    process = _launch(tmp_path, code)
    _read_pids(tmp_path, 2)
    assert not end_process_tree(process.identity, timeout_s=0.3)
    process.disown()
    left = [
        pid for pid in process_table.read_pids()
        if process_table.read_session_id(pid) == process.pid and read_identity(pid) is not None
    ]  # fmt: skip
    assert left == []


def test_a_shells_child_is_asked_too_and_has_its_time_to_leave_in_order(tmp_path: Path) -> None:
    # The shell dies of the signal, and does not pass it on to the program that it waits for.
    code = (
        "import os, signal, sys, time\n"
        "def leave(*_):\n    time.sleep(0.3)\n    open('left', 'w').close()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\nprint(os.getpid(), flush=True)\ntime.sleep(300)"
    )
    (tmp_path / "bot.py").write_text(code)
    (tmp_path / "run.sh").write_text(f"{sys.executable} bot.py\necho over\n")
    process = launch_detached(["sh", "run.sh"], cwd=tmp_path, environ=os.environ, output=tmp_path / "out.log")
    (child,) = _read_pids(tmp_path, 1)
    assert child != process.pid
    assert end_process_tree(process.identity, timeout_s=60)
    process.disown()
    assert (tmp_path / "left").exists()
    assert read_identity(child) is None


def test_orphans_of_a_leader_that_has_ended_are_ended_too(tmp_path: Path) -> None:
    code = "import os, subprocess; print(subprocess.Popen(['sleep', '300']).pid, flush=True); os._exit(1)"
    process = _launch(tmp_path, code)
    (orphan,) = _read_pids(tmp_path, 1)
    wait_until(lambda: process.poll_exit_code() is not None, "the leader has ended")
    assert read_identity(orphan) is not None
    assert end_process_tree(process.identity, timeout_s=5)
    assert read_identity(orphan) is None


def test_a_process_that_does_not_run_is_not_asked_and_its_pids_new_owner_is_left_alone(tmp_path: Path) -> None:
    process = _launch(tmp_path, _FOREVER)
    try:
        boot, _, ticks = process.identity.birth.rpartition(":")
        predecessor = ProcessIdentity(pid=process.pid, birth=f"{boot}:{int(ticks) - 1}")
        assert not is_running(predecessor)
        assert read_uptime_s(predecessor) is None
        assert end_process_tree(predecessor, timeout_s=5)
        assert is_running(process.identity)
    finally:
        end_process_tree(process.identity, timeout_s=0)
        process.disown()


def test_uptime_counts_from_the_start_of_the_process(tmp_path: Path) -> None:
    before_s = time.monotonic()
    process = _launch(tmp_path, _FOREVER)
    try:
        uptime_s = read_uptime_s(process.identity)
        assert uptime_s is not None
        # The kernel counts starts in ticks of a hundredth of a second.
        assert -0.02 <= uptime_s <= time.monotonic() - before_s + 0.02
    finally:
        end_process_tree(process.identity, timeout_s=0)
        process.disown()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_identity_holds_nothing_that_a_clock_change_moves(tmp_path: Path) -> None:
    # A root of its own time cannot be had here; but the kernel's own figures are what it is made of, and no clock's.
    process = _launch(tmp_path, _FOREVER)
    try:
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert process.identity.birth == f"{boot}:{ticks}"
    finally:
        end_process_tree(process.identity, timeout_s=0)
        process.disown()


def test_a_process_whose_name_holds_blanks_and_parentheses_has_an_identity(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.write_text("#!/bin/sh\nsleep 300\n")
    program.chmod(0o755)
    process = launch_detached([str(program)], cwd=tmp_path, environ=os.environ, output=tmp_path / "out.log")
    try:
        assert process.identity.birth.rpartition(":")[2].isdigit()
        assert is_running(process.identity)
    finally:
        end_process_tree(process.identity, timeout_s=0)
        process.disown()


def test_the_table_shows_a_processs_arguments_folder_environment_and_output(tmp_path: Path) -> None:
    process = _launch(tmp_path, f"print(1, flush=True); {_FOREVER}", MARK="a=b", EMPTY="")
    try:
        _read_pids(tmp_path, 1)
        pid = process.pid
        assert pid in process_table.read_pids()
        assert process_table.read_argv(pid)[1] == "-c"
        assert process_table.read_cwd(pid) == tmp_path.resolve()
        environ = process_table.read_environ(pid)
        assert (environ["MARK"], environ["EMPTY"]) == ("a=b", "")
        assert process_table.has_variable(pid, "MARK", "a=b")
        assert process_table.has_variable(pid, "EMPTY", "")
        for name, value in (("MARK", "a="), ("MARK", "a=b "), ("ARK", "a=b"), ("MARK=a", "b"), ("OTHER", "")):
            assert not process_table.has_variable(pid, name, value), (name, value)
        assert process_table.read_standard_output(pid) == (tmp_path / "out.log").resolve()
        assert process_table.read_parent_pid(pid) == os.getpid()
        assert process_table.read_session_id(pid) == pid
        assert not process_table.is_in_a_container(pid)
    finally:
        end_process_tree(process.identity, timeout_s=0)
        process.disown()


def test_a_process_that_has_ended_reads_as_nothing() -> None:
    with subprocess.Popen(["true"]) as ended:
        wait_until(lambda: read_identity(ended.pid) is None, "it is a zombie")
        for pid in (ended.pid, 2**22 + 1):
            assert process_table.read_argv(pid) == ()
            assert process_table.read_environ(pid) == {}
            assert not process_table.has_variable(pid, "PATH", os.environ["PATH"])
            assert process_table.read_cwd(pid) is None
            assert process_table.read_standard_output(pid) is None
            assert not process_table.is_in_a_container(pid)


def test_a_process_in_a_namespace_of_its_own_is_in_a_container() -> None:
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "sleep", "300"]
    if subprocess.run([*unshare[:4], "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to make a process namespace")
    with subprocess.Popen(unshare, start_new_session=True) as outer:
        try:

            def inner() -> list[int]:
                return [pid for pid in process_table.read_pids() if process_table.read_parent_pid(pid) == outer.pid]

            wait_until(lambda: bool(inner()), "the inner process runs")
            assert process_table.is_in_a_container(inner()[0])
            assert not process_table.is_in_a_container(outer.pid)
        finally:
            os.killpg(outer.pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="process 1 is the service manager there")
def test_a_boot_is_told_by_process_1_where_the_boot_id_is_another_systems() -> None:
    manager = read_identity(1)
    assert manager is not None
    assert read_userspace_boot_id() == manager.birth
    assert read_userspace_boot_id().startswith(f"{process_table.read_boot_id()}:")


# A child of its own that the table at hand does not have yet, and one that was left to it: that one alone is collected.
_LOOK_WITH_AN_OLD_TABLE = """
import os, subprocess, sys
from orchestration.system import children
from orchestration.system.process_table import read_table
children.become_subreaper("me")
old = read_table()
own = children.start_child(lambda: subprocess.Popen(
    [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"], stdin=subprocess.PIPE, start_new_session=True))
assert children.read_adopted_pids("me", old) == ()
left = subprocess.run(
    ["sh", "-c", "setsid sleep 300 >/dev/null & echo $!"], stdout=subprocess.PIPE, text=True, start_new_session=True)
left_pid = int(left.stdout)
while not (found := children.read_adopted_pids("me", read_table())):
    pass
assert found == (left_pid,), (found, left_pid)
own.stdin.close()
os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
os.kill(left_pid, 9)
os.waitid(os.P_PID, left_pid, os.WEXITED | os.WNOWAIT)
assert children.read_adopted_pids("me", old) == ()
try:
    os.waitid(os.P_PID, left_pid, os.WEXITED | os.WNOHANG)
except ChildProcessError:
    print("collected,", own.wait())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers of Linux")
def test_what_was_left_to_this_process_is_collected_and_its_own_children_are_not() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LOOK_WITH_AN_OLD_TABLE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("collected, 7\n", "")
