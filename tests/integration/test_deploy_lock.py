"""The lock of a deploy, with real processes: it counts only while its path still names the file that is held."""

import json
import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.deploy.host import LOCK
from orchestration.deploy.on_host.activate import check_lock
from orchestration.deploy.on_host.base import Layout, RefusedError, become, read_json, run

HOLDER = {"by": "ann", "since": "2026-01-05T10:00:00+00:00", "action": "deploy", "deploy_id": "ours"}
_DEADLINE_S = 30


class Taker:
    """One deploy that wants the lock."""

    def __init__(self, path: Path, **holder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", LOCK, str(path), json.dumps(HOLDER | holder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def end(self) -> int:
        """Say nothing more, as a connection that is gone; returns the exit code."""
        self.process.communicate(timeout=_DEADLINE_S)
        return self.process.returncode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return Layout(tmp_path).lock


@pytest.fixture
def first(path: Path) -> Iterator[Taker]:
    taker = Taker(path)
    assert taker.said == "locked"
    yield taker
    taker.process.kill()
    taker.end()


def test_one_deploy_at_a_time_and_the_refusal_names_the_holder(path: Path, first: Taker) -> None:
    second = Taker(path)
    assert (json.loads(second.said), second.end()) == (HOLDER, 75)
    assert first.end() == 0
    assert path.read_text() == ""
    third = Taker(path, by="bob")
    assert third.said == "locked"
    assert third.end() == 0


def delete(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def replace_by_a_file(path: Path) -> None:
    path.with_name("other").touch()
    path.with_name("other").rename(path)


def replace_by_a_link(path: Path) -> None:
    path.rename(path.with_name("renamed"))
    path.symlink_to("renamed")


@pytest.mark.parametrize("change", [delete, rename, replace_by_a_file, replace_by_a_link])
def test_holding_a_file_that_the_path_no_longer_names_holds_no_lock(
    path: Path, first: Taker, change: Callable[[Path], None]
) -> None:
    layout = Layout(path.parent.parent)
    check_lock(layout, "ours")
    change(path)
    with pytest.raises(RefusedError, match="lock was lost"):
        check_lock(layout, "ours")
    # Its input stays open: what ends it is the path.
    assert first.process.wait(_DEADLINE_S) == 0


def test_a_lock_that_was_taken_over_is_not_ours(path: Path, first: Taker) -> None:
    path.unlink()
    second = Taker(path, deploy_id="theirs")
    assert second.said == "locked"
    with pytest.raises(RefusedError, match="lock was lost"):
        check_lock(Layout(path.parent.parent), "ours")
    assert first.process.wait(_DEADLINE_S) == 0
    assert json.loads(path.read_text())["deploy_id"] == "theirs"
    second.end()


def make_link(path: Path) -> None:
    path.with_name("target").write_text("kept")
    path.symlink_to("target")


def make_broken_link(path: Path) -> None:
    path.symlink_to("target")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_link, make_broken_link, make_pipe, make_folder])
def test_what_is_no_file_is_never_locked_nor_followed_nor_waited_for(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    taker = Taker(path)
    assert str(path) in json.loads(taker.said)["problem"]
    assert taker.end() == 1
    target = path.with_name("target")
    assert not target.exists() or target.read_text() == "kept"


def test_a_record_that_is_a_pipe_a_link_or_rubbish_reads_as_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "rubbish").write_bytes(b"\xff{")
    (tmp_path / "deep").write_text("[" * 100_000)
    (tmp_path / "list").write_text("[]")
    (tmp_path / "good").write_text('{"a": 1}')
    (tmp_path / "link").symlink_to("good")
    read: list[object] = []
    names = ("pipe", "rubbish", "deep", "list", "link", "not-there", "good")
    thread = threading.Thread(target=lambda: read.extend(read_json(tmp_path / name) for name in names), daemon=True)
    thread.start()
    thread.join(_DEADLINE_S)
    assert read == [{}, {}, {}, {}, {}, {}, {"a": 1}]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_runs_as_the_services_user_has_that_users_home() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        become("nobody")
        os.write(writing, run(("env",)).out.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0
    account = pwd.getpwnam("nobody")
    assert f"HOME={account.pw_dir}" in said
    assert f"USER={account.pw_name}" in said
