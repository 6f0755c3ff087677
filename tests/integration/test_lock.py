"""The lock of an instance, held by real processes."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration.system.commands import SystemCommands
from orchestration.system.lock import (
    IrregularLockError,
    LockHeldError,
    find_overdue_s,
    hold_folder,
    hold_lock,
    read_lock_holder,
)
from orchestration.system.processes import launch_detached

_PROJECT = Path(__file__).resolve().parents[2]
_DEADLINE_S = 30.0
_NOW = "2026-11-18T14:00:00+00:00"


def _delete(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("", encoding="utf-8")
    other.replace(path)


def _rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def _link(path: Path) -> None:
    """The very same file, behind a symbolic link."""
    path.rename(path.with_name("renamed"))
    path.symlink_to(path.with_name("renamed"))


def _replace_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("folder before"))
    path.parent.mkdir()


def _delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


_TAMPERINGS = [_delete, _replace, _rename, _link, _replace_folder, _delete_folder]


def _put_fifo(path: Path) -> None:
    os.mkfifo(path)


def _put_folder(path: Path) -> None:
    path.mkdir()


def _put_device(path: Path) -> None:
    path.symlink_to("/dev/null")


def _put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _put_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


_HOLD = """
import sys
from pathlib import Path
from orchestration.system.lock import LockHeldError, hold_lock
print("ready", flush=True)
sys.stdin.readline()
try:
    with hold_lock(Path(sys.argv[1]), purpose="startup", since="then"):
        print("held", flush=True)
        sys.stdin.readline()
except LockHeldError as error:
    print(error, flush=True)
"""


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)


class _Taker:
    """Another process that takes the lock when it is told to, and lets it go when it is told to again."""

    def __init__(self, path: Path, code: str = _HOLD) -> None:
        argv = [sys.executable, "-c", code, str(path)]
        self.process = subprocess.Popen(
            argv, cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert self.listen() == "ready"

    def listen(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def take(self) -> str:
        self.tell()
        return self.listen()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def _taker(path: Path, code: str = _HOLD) -> Iterator[_Taker]:
    taker = _Taker(path, code)
    try:
        yield taker
    finally:
        taker.end()


def test_a_lock_is_free_held_and_free_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "startup.lock"
    assert read_lock_holder(path) is None
    with hold_lock(path, purpose="startup", since=_NOW):
        holder = read_lock_holder(path)
        assert holder is not None
        assert (holder.purpose, holder.since) == ("startup", _NOW)
    assert read_lock_holder(path) is None
    with hold_lock(path, purpose="startup", since=_NOW):
        pass


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "startup.lock"
    with _taker(path) as taker:
        assert taker.take() == "held"
        with pytest.raises(LockHeldError) as caught, hold_lock(path, purpose="startup", since=_NOW):
            pytest.fail("two hold it")
        assert caught.value.holder.pid == taker.process.pid
        assert str(caught.value) == f"held by process {taker.process.pid} (startup, since then)"
        assert read_lock_holder(path) == caught.value.holder


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "startup.lock"
    with _taker(path) as taker:
        assert taker.take() == "held"
    assert read_lock_holder(path) is None
    with hold_lock(path, purpose="startup", since=_NOW):
        pass


def test_of_twenty_at_the_same_instant_exactly_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "startup.lock"
    takers = [_Taker(path) for _ in range(20)]
    try:
        for taker in takers:
            taker.tell()
        said = [taker.listen() for taker in takers]
        assert said.count("held") == 1
        assert all(line == "held" or line.startswith("held by ") for line in said)
        winner = takers[said.index("held")]
        holder = read_lock_holder(path)
        assert holder is not None
        assert holder.pid == winner.process.pid
    finally:
        for taker in takers:
            taker.end()


def test_those_who_only_look_never_keep_a_taker_out_nor_take_each_other_for_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "startup.lock"
    path.touch()
    stop = threading.Event()
    mistaken: list[object] = []
    busy = threading.Event()

    looks: list[None] = []

    def look() -> None:
        while not stop.is_set():
            looks.append(None)
            if (holder := read_lock_holder(path)) is not None and not busy.is_set():
                mistaken.append(holder)
            stop.wait(0.0005)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        _wait_until(lambda: len(looks) > 300)
        assert mistaken == []
        busy.set()
        for _ in range(200):
            with hold_lock(path, purpose="startup", since=_NOW):
                pass
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


@pytest.mark.skipif(sys.platform == "win32", reason="a detached child is another matter there")
def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "startup.lock"
    sleeper = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    lines: list[str] = []
    with hold_lock(path, purpose="startup", since=_NOW):
        launched = launch_detached(sleeper, cwd=tmp_path, environ={}, output=tmp_path / "bot.log")
        following = SystemCommands().follow(sleeper, on_line=lines.append)
        _wait_until(lambda: lines == ["up"] and (tmp_path / "bot.log").read_text() == "up\n")
    try:
        assert launched.poll_exit_code() is None
        assert following.is_running
        assert read_lock_holder(path) is None
        with hold_lock(path, purpose="startup", since=_NOW):
            pass
    finally:
        following.close()
        os.kill(launched.pid, signal.SIGKILL)
        _wait_until(lambda: launched.poll_exit_code() is not None)


@pytest.mark.parametrize("note", [b"", b"{", b'{"pid": "x"}', b"[]", b"\xff", b'{"pid": 1}', b"null"])
def test_a_note_that_cannot_be_read_still_means_held(tmp_path: Path, note: bytes) -> None:
    path = tmp_path / "startup.lock"
    with _taker(path) as taker:
        assert taker.take() == "held"
        path.write_bytes(note)
        assert str(read_lock_holder(path)) == "another process"


def test_a_place_where_no_file_can_be_made_is_an_error_and_not_a_holder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), hold_lock(tmp_path / "file" / "startup.lock", purpose="x", since=_NOW):
        pytest.fail("nothing holds it")
    assert read_lock_holder(tmp_path / "file" / "startup.lock") is None


def test_a_failure_inside_the_block_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "startup.lock"
    with pytest.raises(ZeroDivisionError), hold_lock(path, purpose="startup", since=_NOW):
        raise ZeroDivisionError
    assert read_lock_holder(path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="open files of other processes")
@pytest.mark.parametrize("pid", ["BYSTANDER", 1, 0, -1, 2**70, "7", None, True])
def test_a_damaged_note_names_no_holder(tmp_path: Path, pid: object) -> None:
    path = tmp_path / "startup.lock"
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            with hold_lock(path, purpose="startup", since=_NOW):
                note = {"pid": bystander.pid if pid == "BYSTANDER" else pid, "since": _NOW, "purpose": "startup"}
                path.write_text(json.dumps(note), encoding="utf-8")
                holder = read_lock_holder(path)
                assert holder is not None
                assert holder.pid is None
        finally:
            bystander.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be renamed there")
@pytest.mark.parametrize("tamper", _TAMPERINGS)
def test_a_lock_whose_path_names_another_file_no_longer_counts(tmp_path: Path, tamper: Callable[[Path], None]) -> None:
    path = tmp_path / "folder" / "startup.lock"
    with hold_lock(path, purpose="startup", since=_NOW) as held:
        assert held.is_in_place()
        tamper(path)
        assert not held.is_in_place()
        assert read_lock_holder(path) is None, "a look does not see it"
    if not path.is_symlink():
        with hold_lock(path, purpose="startup", since=_NOW) as held:
            assert held.is_in_place()


@pytest.mark.skipif(sys.platform == "win32", reason="kinds of POSIX files")
@pytest.mark.parametrize("put", [_put_fifo, _put_folder, _put_device, _put_socket, _put_dangling_link])
def test_what_is_no_regular_file_is_no_lock_and_is_told_of_at_once(tmp_path: Path, put: Callable[[Path], None]) -> None:
    path = tmp_path / "startup.lock"
    put(path)
    with pytest.raises(IrregularLockError) as refused, hold_lock(path, purpose="startup", since=_NOW):
        pytest.fail("it is held")
    assert refused.value.filename == str(path)
    assert refused.value.strerror in {"it is a symbolic link", "it is a folder", "it is not a regular file"}
    assert read_lock_holder(path) is None
    assert not path.with_name("nothing").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_no_other_file_is_emptied_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("years of work", encoding="utf-8")
    path = tmp_path / "startup.lock"
    path.symlink_to(precious)
    with pytest.raises(IrregularLockError), hold_lock(path, purpose="startup", since=_NOW):
        pytest.fail("it is held")
    path.unlink()
    path.hardlink_to(precious)
    with hold_lock(path, purpose="startup", since=_NOW) as held:
        assert held.is_in_place()
        assert precious.read_text(encoding="utf-8") == "years of work"
    assert precious.read_text(encoding="utf-8") == "years of work"


_HOLD_FOLDER = """
import sys
from pathlib import Path
from orchestration.system.lock import LockHeldError, hold_folder
print("ready", flush=True)
sys.stdin.readline()
try:
    with hold_folder(Path(sys.argv[1]), timeout_s=0):
        print("held", flush=True)
        sys.stdin.readline()
except LockHeldError as error:
    print(error, flush=True)
"""


def _hold_now(folder: Path) -> bool:
    try:
        with hold_folder(folder, timeout_s=0):
            return True
    except LockHeldError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the second lock of a folder is Linux's")
@pytest.mark.parametrize("change", ["nothing", "a link to it", "its lock is gone", "it is renamed", "it is replaced"])
def test_a_folder_is_held_once_whatever_becomes_of_it_or_of_what_is_in_it(tmp_path: Path, change: str) -> None:
    folder = asked = tmp_path / "state"
    folder.mkdir()
    (folder / "startup.lock").touch()
    with _taker(folder, _HOLD_FOLDER) as taker:
        assert taker.take() == "held"
        if change == "a link to it":
            asked = tmp_path / "link"
            asked.symlink_to(folder)
        elif change == "its lock is gone":
            (folder / "startup.lock").unlink()
        elif change == "it is renamed":
            asked = folder.rename(tmp_path / "elsewhere")
        elif change == "it is replaced":
            folder.rename(tmp_path / "elsewhere")
            folder.mkdir()
        assert not _hold_now(asked)
        taker.process.kill()
        taker.process.wait()
        assert _hold_now(asked), "the kernel has freed it"
    with pytest.raises(FileNotFoundError), hold_folder(tmp_path / "no such folder", timeout_s=0):
        pytest.fail("there is none")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can start another user's process")
def test_another_user_cannot_keep_a_folder_from_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    squat = (
        "import os, socket, sys\ns = socket.socket(socket.AF_UNIX)\nos.setuid(65534)\n"
        f"s.bind('\\0zero-touch-startup/{name}')\ns.listen()\nprint('taken', flush=True)\nsys.stdin.readline()\n"
    )
    with subprocess.Popen([sys.executable, "-c", squat], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        try:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"taken\n"
            assert _hold_now(folder)
        finally:
            stranger.kill()


def test_a_holder_that_gives_no_more_sign_of_life_is_known_by_its_own_promise(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.lock"
    assert find_overdue_s(path, now_s=time.time()) is None
    with hold_lock(path, purpose="supervisor", since=_NOW) as lock:
        assert find_overdue_s(path, now_s=time.time() + 1e6) is None, "it has promised nothing"
        lock.promise_sign(within_s=500)
        now_s = time.time()
        assert find_overdue_s(path, now_s=now_s + 400) is None
        overdue_s = find_overdue_s(path, now_s=now_s + 1000)
        assert overdue_s is not None
        assert overdue_s >= 999
        lock.promise_sign(within_s=5000)
        assert find_overdue_s(path, now_s=now_s + 1000) is None
        assert read_lock_holder(path) is not None, "it is still the lock"
        assert lock.is_in_place()
    with hold_lock(path, purpose="startup", since=_NOW):
        assert find_overdue_s(path, now_s=time.time() + 1e6) is None, "the next holder has promised nothing"
