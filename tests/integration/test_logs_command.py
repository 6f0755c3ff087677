"""`inv logs`: what may not be read is told, and a followed log may be cut back, replaced or deleted."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_hidden_paths import hidden, inv, needs_permissions
from tests.system import SIGINT, System, end_and_read

if TYPE_CHECKING:
    import subprocess

_NAME = "bot_20261128_090000.log"


def _write_log(system: System, content: str = "one\ntwo\nthree\n", name: str = _NAME) -> Path:
    system.logs.mkdir(parents=True, exist_ok=True)
    path = system.logs / name
    path.write_text(content, encoding="utf-8")
    return path


@needs_permissions
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("of", ["bot", "startup"])
def test_a_log_that_may_not_be_read_ends_with_1_and_says_so(system: System, of: str, follow: bool) -> None:  # noqa: FBT001 - a case
    path = _write_log(system, name=f"{of}_20261128_090000.log")
    path.chmod(0)
    ended = inv(system, "logs", f"--of={of}", *(["-f"] if follow else []))
    assert ended.code == 1
    assert f"{path} cannot be read: Permission denied" in ended.err
    assert "Traceback" not in ended.err


@needs_permissions
@pytest.mark.parametrize("follow", [False, True])
def test_a_folder_of_logs_that_may_not_be_read_ends_with_1_and_says_so(system: System, follow: bool) -> None:  # noqa: FBT001 - a case
    _write_log(system)
    with hidden(system.logs):
        ended = inv(system, "logs", "--of=bot", *(["-f"] if follow else []))
    assert ended.code == 1
    assert f"the logs in {system.logs} cannot be read: Permission denied" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("follow", [False, True])
def test_a_log_that_is_no_file_ends_with_1_and_says_so(system: System, follow: bool) -> None:  # noqa: FBT001 - a case
    system.logs.mkdir(parents=True)
    os.mkfifo(system.logs / _NAME)
    ended = system.inv("logs", "--of=bot", *(["-f"] if follow else []), timeout_s=20)
    assert ended.code == 1
    assert "it is a pipe, not a regular file" in ended.err


@pytest.mark.parametrize("of", ["startup", "supervisor", "shutdown"])
def test_the_newest_log_of_each_kind_is_shown(system: System, of: str) -> None:
    for stamp, text in (("20261127_090000", "the one before\n"), ("20261128_090000", "the newest\n")):
        path = _write_log(system, text, name=f"{of}_{stamp}.log")
        os.utime(path, (0, int(stamp[6:8])))
    ended = system.inv("logs", f"--of={of}")
    assert (ended.code, ended.out) == (0, "the newest\n"), ended.err


def test_a_kind_that_is_none_is_named_with_those_that_are(system: System) -> None:
    ended = system.inv("logs", "--of=bots")
    assert ended.code == 1
    assert "'bots' is not a log; allowed are startup, bot, gateway, supervisor and shutdown" in ended.err


def test_no_log_at_all_ends_with_1(system: System) -> None:
    for follow in ([], ["-f"]):
        ended = system.inv("logs", "--of=bot", *follow)
        assert ended.code == 1
        assert "there is no log of bot" in ended.err


class _Followed:
    """`inv logs --of bot -f`, and what it has printed so far."""

    def __init__(self, system: System) -> None:
        self.process: subprocess.Popen[str] = system.begin_module("invoke", "logs", "--of=bot", "-f")
        self.lines: list[str] = []
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._came:
                self.lines.append(line.rstrip("\n"))
                self._came.notify_all()

    def wait_for(self, line: str) -> None:
        with self._came:
            assert self._came.wait_for(lambda: line in self.lines, timeout=30), (line, self.lines)


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_followed_log_goes_on_when_it_is_cut_back_replaced_or_deleted(system: System) -> None:
    system.environ["TWS_PASSWORD"] = "hunter2-and-more"  # noqa: S105 - planted
    path = _write_log(system)
    followed = _Followed(system)
    followed.wait_for("three")
    _append(path, "the password is hunter2-")
    _append(path, "and-more, said the bot\x1b[2J\n")
    followed.wait_for("the password is ********, said the bot")
    os.truncate(path, 0)
    _append(path, "after the cut\n")
    followed.wait_for("after the cut")
    path.unlink()
    path.write_text("another file\n", encoding="utf-8")
    followed.wait_for("another file")
    path.unlink()
    path.mkdir()
    path.rmdir()
    _write_log(system, "and one more\n")
    followed.wait_for("and one more")
    ended = end_and_read(followed.process, SIGINT)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert not [line for line in followed.lines if "hunter2" in line or "\x1b" in line]
