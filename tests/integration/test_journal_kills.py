"""The journal over real files, kills, full disks and several processes."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestration.journal import Journal, JournalReader
from orchestration.state_dir import find_damaged_files
from tests.integration.alerts_scene import CLOCK, LOG, open_journal, wait_until

_PROJECT = Path(__file__).resolve().parents[2]

_WRITER = """
import logging, os, sys
from pathlib import Path
from orchestration.journal import Journal
from orchestration.system.clock import SystemClock
path, name, count, stays = sys.argv[1:]
with Journal.open(Path(path), clock=SystemClock(), log=logging.getLogger("writer")) as journal:
    for number in range(int(count)):
        run = f"{name}-{number}"
        journal.start_run(run, instance="default", kind="startup", simulated=False, pid=os.getpid())
        for step in ("preflight", "gateway.up", "gateway.wait"):
            journal.end_step(journal.start_step(run, step, "initializing"), "ok", "x" * 200)
        journal.add_event(run, "note", {"number": number})
        journal.end_run(run, "success", 0)
        print(number, flush=True)
    print("problem", journal.problem, flush=True)
    if stays == "stays":
        sys.stdin.read()
"""


def _start_writer(path: Path, name: str, count: int, *, stays: bool = False) -> "subprocess.Popen[str]":
    """Begin a writer of so many runs, which keeps the journal open after them if it `stays`."""
    argv = [sys.executable, "-c", _WRITER, str(path), name, str(count), "stays" if stays else "leaves"]
    return subprocess.Popen(
        argv, cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _check(path: Path) -> None:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


@pytest.mark.parametrize("after", [1, 2, 7, 19, 40])
def test_a_killed_writer_loses_nothing_that_it_had_written(tmp_path: Path, after: int) -> None:
    path = tmp_path / "journal.sqlite3"
    writer = _start_writer(path, "killed", 100_000)
    assert writer.stdout is not None
    for _ in range(after):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)

    reader = JournalReader(path)
    seen = reader.read_runs(1000)
    assert reader.problem is None
    with open_journal(tmp_path) as journal:
        assert journal.is_usable
        runs = journal.read_runs(1000)
        assert [one.run_id for one in runs] == [one.run_id for one in seen]
        ended = [one for one in runs if one.result == "success"]
        assert len(ended) >= after
        assert all(len(one.steps) == 3 and len(one.events) == 1 for one in ended)
        assert len(runs) - len(ended) <= 1
        interrupted = journal.mark_interrupted_runs()
        assert len(interrupted) == len(runs) - len(ended)
        assert all(one.result is not None for one in journal.read_runs(1000))
    assert list(tmp_path.glob("*corrupt*")) == []
    _check(path)


def test_a_journal_survives_kills_at_any_point_of_its_making(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    for delay_s in (0.0, 0.1, 0.15, 0.2, 0.25, 0.3):
        writer = _start_writer(path, f"k{delay_s}", 100_000)
        time.sleep(delay_s)  # not proof of anything: only to hit different instants
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=60)
        with open_journal(tmp_path) as journal:
            assert journal.is_usable
    assert list(tmp_path.glob("*corrupt*")) == []
    _check(path)


def test_twenty_processes_make_one_new_journal_at_the_same_instant(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    writers = [_start_writer(path, f"w{number}", 3) for number in range(20)]
    for writer in writers:
        out, err = writer.communicate(timeout=100)
        assert out.endswith("problem None\n"), (out, err)
    assert len(JournalReader(path).read_runs(1000)) == 60
    _check(path)


def test_a_reader_sees_whole_runs_while_a_writer_writes(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    writer = _start_writer(path, "busy", 300)
    reader = JournalReader(path)
    most = 0
    while writer.poll() is None:
        runs = reader.read_runs(1000)
        assert reader.problem is None
        assert all(len(one.steps) == 3 for one in runs if one.result is not None)
        assert len(runs) >= most
        most = len(runs)
    writer.communicate(timeout=60)
    assert len(reader.read_runs(1000)) == 300


def test_a_look_at_the_state_folder_leaves_the_journal_that_this_process_has_open_to_it(tmp_path: Path) -> None:
    """What is written after it is read by others, though another writer came and went in between."""
    path = tmp_path / "journal.sqlite3"
    with open_journal(tmp_path) as journal:
        journal.start_run("before", instance="default", kind="startup", simulated=False, pid=os.getpid())
        assert find_damaged_files(tmp_path) == ()
        out, err = _start_writer(path, "other", 1).communicate(timeout=60)
        assert out.endswith("problem None\n"), (out, err)
        journal.start_run("after", instance="default", kind="startup", simulated=False, pid=os.getpid())
        assert journal.problem is None
        assert {one.run_id for one in JournalReader(path).read_runs()} == {"before", "other-0", "after"}
    _check(path)
    assert {one.run_id for one in JournalReader(path).read_runs()} == {"before", "other-0", "after"}


def test_reading_creates_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    assert JournalReader(path).read_runs() == []
    assert JournalReader(path).problem is None
    assert list(tmp_path.iterdir()) == []
    assert JournalReader(tmp_path / "nowhere" / "journal.sqlite3").read_last_run() is None
    assert list(tmp_path.iterdir()) == []
    with open_journal(tmp_path) as journal:
        journal.start_run("one", instance="default", kind="startup", simulated=False, pid=os.getpid())
    before = {one.name: (one.stat().st_mtime_ns, one.stat().st_size) for one in tmp_path.iterdir()}
    last = JournalReader(path).read_last_run()
    assert last is not None
    assert last.run_id == "one"
    assert {one.name: (one.stat().st_mtime_ns, one.stat().st_size) for one in tmp_path.iterdir()} == before


_KILLED_IN_ITS_LOG = """
import resource, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("SELECT count(*) FROM runs").fetchone()  # makes the log, empty, and the shared memory
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
connection.execute("CREATE TABLE extra (one)")  # two pages
"""


def _leave_log(folder: Path, size: int) -> JournalReader:
    """What a writer leaves that is killed when its log has exactly this size. One run is in the journal."""
    path = folder / "journal.sqlite3"
    with open_journal(folder) as journal:
        journal.start_run("one", instance="default", kind="startup", simulated=False, pid=os.getpid())
    argv = [sys.executable, "-c", _KILLED_IN_ITS_LOG, str(path), str(size)]
    assert subprocess.run(argv, timeout=60, check=False).returncode == -signal.SIGXFSZ
    assert Path(f"{path}-wal").stat().st_size == size
    return JournalReader(path)


@pytest.mark.skipif(sys.platform != "linux", reason="a limit that kills the writer at that very instruction")
@pytest.mark.timeout(20)  # SQLite itself gives up after 30 s
@pytest.mark.parametrize("size", [32, 56, 32 + 24 + 4096], ids=["header", "entry's header", "first of two entries"])
def test_what_a_writer_left_that_was_killed_before_its_first_entry_is_read(tmp_path: Path, size: int) -> None:
    reader = _leave_log(tmp_path, size)
    last = reader.read_last_run()
    assert reader.problem is None
    assert last is not None
    assert last.run_id == "one"


# The locks that a writer holds while it repairs the log: https://sqlite.org/walformat.html#wal_locks
_STOPPED_IN_A_REPAIR = """
import fcntl, sys
shared = open(sys.argv[1] + "-shm", "r+b")
fcntl.lockf(shared, fcntl.LOCK_EX, 8, 120)
fcntl.lockf(shared, fcntl.LOCK_SH, 1, 128)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
@pytest.mark.timeout(20)  # SQLite itself gives up after 30 s
def test_a_journal_whose_writer_is_stopped_is_unknown_to_a_reader_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    writer = _start_writer(path, "r", 100_000)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)
    reader = JournalReader(path)
    argv = [sys.executable, "-c", _STOPPED_IN_A_REPAIR, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stopped:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == b"held\n"
        assert reader.read_last_run() is None
        assert "cannot be read now" in (reader.problem or "")
        assert reader.read_pending_alerts() == []
        assert "cannot be read now" in (reader.problem or "")
        stopped.communicate(timeout=60)
    with open_journal(tmp_path) as journal:
        assert journal.read_last_run() is not None
    assert JournalReader(path).read_last_run() is not None


_READ_AS_NOBODY = """
import os, sys
from pathlib import Path
import orchestration.journal, orchestration.journal.reading
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
reader = orchestration.journal.JournalReader(Path(sys.argv[1]))
print([one.run_id for one in reader.read_runs()], reader.problem)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("state", ["closed", "killed"])
def test_a_journal_in_a_read_only_folder_can_be_read(state: str) -> None:
    import tempfile

    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        path = folder / "journal.sqlite3"
        if state == "killed":
            # Not in the middle of a change: that one a reader cannot repair, and says so.
            writer = _start_writer(path, "r", 1, stays=True)
            assert writer.stdout is not None
            assert writer.stdout.readline() == "0\n"
            assert writer.stdout.readline() == "problem None\n"
            writer.send_signal(signal.SIGKILL)
            writer.communicate(timeout=60)
            assert Path(f"{path}-wal").stat().st_size > 0
        else:
            with open_journal(folder) as journal:
                journal.start_run("r-0", instance="default", kind="startup", simulated=False, pid=os.getpid())
        for one in folder.iterdir():
            one.chmod(0o444)
        folder.chmod(0o555)
        argv = [sys.executable, "-c", _READ_AS_NOBODY, str(path)]
        done = subprocess.run(argv, cwd=_PROJECT, capture_output=True, text=True, timeout=60, check=True)
        assert "'r-0'" in done.stdout
        assert done.stdout.endswith(" None\n")
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("damage", ["not a database", "torn", "half"])
def test_a_corrupt_journal_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.sqlite3"
    with open_journal(tmp_path) as journal:
        for number in range(60):
            journal.start_run(f"old-{number}", instance="default", kind="startup", simulated=False, pid=os.getpid())
            journal.end_step(journal.start_step(f"old-{number}", "preflight", "initializing"), "ok", "y" * 500)
    content = path.read_bytes()
    page = 4096
    broken = {
        "not a database": b"this is not a database, whatever its name says\n" * 200,
        "torn": content[: page * 2] + os.urandom(page * 3) + content[page * 5 :],
        "half": content[: len(content) // 2],
    }[damage]
    path.write_bytes(broken)
    with open_journal(tmp_path) as journal:
        assert journal.is_usable
        journal.start_run("new", instance="default", kind="startup", simulated=False, pid=os.getpid())
        assert [one.run_id for one in journal.read_runs()] == ["new"]
    aside = list(tmp_path.glob("journal.sqlite3.corrupt-*"))
    assert [one.read_bytes() for one in aside] == [broken]
    assert "damaged" in caplog.text


def test_a_reader_says_that_a_journal_is_corrupt_and_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"nonsense" * 1000)
    reader = JournalReader(path)
    assert reader.read_runs() == []
    assert reader.problem is not None
    assert [one.name for one in tmp_path.iterdir()] == ["journal.sqlite3"]


def test_processes_that_find_a_corrupt_journal_together_begin_one_new_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"nonsense" * 1000)
    writers = [_start_writer(path, f"w{number}", 2) for number in range(8)]
    for writer in writers:
        assert writer.communicate(timeout=100)[0].endswith("problem None\n")
    assert len(JournalReader(path).read_runs(100)) == 16
    assert len(list(tmp_path.glob("*corrupt*"))) == 1


_ON_A_FULL_DISK = """
import logging, os, resource, sys
from pathlib import Path
from orchestration.journal import Journal
from orchestration.system.clock import SystemClock
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
path = Path(sys.argv[1])
if sys.argv[2] == "from the start":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
with Journal.open(path, clock=SystemClock(), log=logging.getLogger("journal")) as journal:
    journal.start_run("before", instance="default", kind="startup", simulated=False, pid=os.getpid())
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    step = journal.start_step("before", "preflight", "initializing")
    journal.end_step(step, "ok")
    assert journal.add_alert(run_id="before", severity="info", title="t", body="{}",
                             at=SystemClock().now(), channels=["discord"]) is None
    journal.end_run("before", "success", 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.start_run("after", instance="default", kind="startup", simulated=False, pid=os.getpid())
    print([one.run_id for one in journal.read_runs()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
@pytest.mark.parametrize(("since", "kept"), [("from the start", "[]"), ("later", "['after', 'before']")])
def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path: Path, since: str, kept: str) -> None:
    argv = [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path / "journal.sqlite3"), since]
    done = subprocess.run(argv, cwd=_PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == kept
    assert len([line for line in lines if line.startswith("WARNING the journal cannot be kept")]) == 1


def test_threads_share_a_journal(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.start_run("r", instance="default", kind="startup", simulated=False, pid=os.getpid())

        def write(name: str) -> None:
            for number in range(50):
                journal.add_event("r", name, {"number": number})

        threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        run = journal.read_last_run()
        assert run is not None
        assert len(run.events) == 200
        assert journal.problem is None


def test_a_journal_of_a_newer_release_is_written_on(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        path = journal.path
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'fine'")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with open_journal(tmp_path) as journal:
        journal.start_run("r", instance="default", kind="startup", simulated=False, pid=os.getpid())
        assert journal.problem is None
        assert journal.read_last_run() is not None
    assert list(tmp_path.glob("*corrupt*")) == []


def test_a_file_that_another_program_holds_delays_a_start_only_briefly(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        other = sqlite3.connect(journal.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal.start_run("r", instance="default", kind="startup", simulated=False, pid=os.getpid())
        assert journal.read_runs() == []
        assert journal.problem is not None
        other.execute("ROLLBACK")
        other.close()
        journal.start_run("r", instance="default", kind="startup", simulated=False, pid=os.getpid())
        assert len(journal.read_runs()) == 1


def test_runs_of_processes_that_still_run_are_not_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with open_journal(tmp_path) as journal:
            journal.start_run("alive", instance="default", kind="startup", simulated=False, pid=other.pid)
            journal.start_step("alive", "gateway.wait", "gateway_waiting")
            journal.start_run("mine", instance="default", kind="startup", simulated=False, pid=os.getpid())
            assert journal.mark_interrupted_runs() == []
        other.kill()
        other.wait(timeout=30)
        with Journal.open(path, clock=CLOCK, log=LOG) as journal:
            wait_until(lambda: journal.mark_interrupted_runs() == ["alive"], "the killed one is noticed")
            (run,) = [one for one in journal.read_runs() if one.run_id == "alive"]
            assert (run.result, run.failure, run.exit_code, run.ended_at) == ("failure", "INTERRUPTED", None, None)
            assert [one.status for one in run.steps] == ["interrupted"]


def test_only_one_holder_sends_at_a_time(tmp_path: Path) -> None:
    with open_journal(tmp_path) as first, open_journal(tmp_path) as second:
        with first.hold_sending("discord") as may_send:
            assert may_send
            with second.hold_sending("discord") as also:
                assert not also
        with second.hold_sending("discord") as now:
            assert now
