"""The lock of an instance, held by real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration.system.commands import SystemCommands
from orchestration.system.lock import LockHeldError, hold_lock, read_lock_holder
from orchestration.system.processes import launch_detached

_PROJECT = Path(__file__).resolve().parents[2]
_DEADLINE_S = 30.0
_NOW = "2026-11-18T14:00:00+00:00"

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

    def __init__(self, path: Path) -> None:
        argv = [sys.executable, "-c", _HOLD, str(path)]
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
def _taker(path: Path) -> Iterator[_Taker]:
    taker = _Taker(path)
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
def test_a_damaged_note_names_nobody(tmp_path: Path, pid: object) -> None:
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
