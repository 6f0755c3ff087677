"""Each run has a log of its own, whatever the folder is like."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.logs import PACKAGE_LOGGER, RunLog, open_run_log, prune_logs
from orchestration.redaction import Redactor
from tests.fakes.clock import FakeClock

_LOG = logging.getLogger(f"{PACKAGE_LOGGER}.somewhere")


@pytest.fixture(autouse=True)
def _same_zone() -> Iterator[None]:
    handlers = list(logging.getLogger(PACKAGE_LOGGER).handlers)
    yield
    assert logging.getLogger(PACKAGE_LOGGER).handlers == handlers, "a log was left attached"


def _open(folder: Path, *, keep: int = 30, run_id: str = "run-1") -> RunLog:
    return open_run_log(folder, "startup", run_id=run_id, clock=FakeClock(), keep=keep, redactor=Redactor(["hunter2"]))


def _make_logs(folder: Path, count: int, prefix: str = "startup") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        path = folder / f"{prefix}_20260101_0000{number:02}.log"
        path.write_text("x")
        os.utime(path, (1_000_000 + number, 1_000_000 + number))
        made.append(path)
    return made


def test_a_log_is_made_with_its_folder_and_holds_the_run_with_times_and_levels(tmp_path: Path) -> None:
    with _open(tmp_path / "deep" / "logs") as log:
        assert log.path is not None
        assert log.path.is_absolute()
        _LOG.warning("the password is %s", "hunter2")
        content = log.path.read_text()
    now = FakeClock().now().astimezone()
    assert log.path.name == f"startup_{now:%Y%m%d_%H%M%S}.log"
    assert " INFO     Run run-1 begins" in content
    assert " WARNING  the password is ********\n" in content
    assert all(line[:4].isdigit() for line in content.splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_log_is_private(tmp_path: Path) -> None:
    with _open(tmp_path) as log:
        assert log.path is not None
        assert log.path.stat().st_mode & 0o777 == 0o600


def test_twenty_logs_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    logs = [_open(tmp_path, run_id=f"run-{number}") for number in range(20)]
    try:
        assert len({log.path for log in logs}) == 20
        for log in logs:
            assert log.path is not None
            assert log.path.exists()
    finally:
        for log in logs:
            log.close()


def test_after_closing_nothing_more_is_written(tmp_path: Path) -> None:
    log = _open(tmp_path)
    log.close()
    log.close()
    _LOG.warning("too late")
    assert log.path is not None
    assert "too late" not in log.path.read_text()


def test_a_traceback_in_the_log_is_redacted(tmp_path: Path) -> None:
    with _open(tmp_path) as log:
        try:
            raise ValueError("hunter2")  # noqa: TRY301 - the traceback is what is tested
        except ValueError:
            _LOG.exception("it broke")
        assert log.path is not None
        content = log.path.read_text()
    assert "Traceback" in content
    assert "hunter2" not in content


def test_text_that_is_no_unicode_does_not_stop_the_log(tmp_path: Path) -> None:
    with _open(tmp_path) as log:
        _LOG.warning("file %s", os.fsdecode(b"\xff\xfe"))
        _LOG.warning("next")
        assert log.path is not None
        assert "next" in log.path.read_text()


@pytest.mark.parametrize("obstacle", ["a file", "missing permission"])
def test_where_no_log_can_be_made_the_lines_go_to_standard_error(
    tmp_path: Path, obstacle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    if obstacle == "a file":
        folder.write_text("not a folder")
    else:
        folder = Path("/proc/no-such-place/logs")
    with _open(folder) as log:
        assert log.path is None
        assert log.problem is not None
        _LOG.error("the password is hunter2")
    told = capsys.readouterr().err
    assert "no log file in" in told
    assert "the password is ********" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _open(tmp_path)
    assert isinstance(log.handler, logging.StreamHandler)
    whole = log.handler.stream
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as full:  # noqa: PTH123 - a device, as a log's stream
        log.handler.stream = full
        for _ in range(5):
            _LOG.error("hunter2 is lost")
        log.handler.stream = whole
        with pytest.raises(OSError, match="No space"):
            full.close()
    log.close()
    told = capsys.readouterr().err
    assert told.count("the log cannot be written (No space left on device)") == 1
    assert "hunter2" not in told


def test_old_logs_of_the_same_kind_are_pruned(tmp_path: Path) -> None:
    old = _make_logs(tmp_path, 10)
    bots = _make_logs(tmp_path, 3, prefix="bot")
    other = tmp_path / "startup_notes.log"
    other.write_text("mine")
    with _open(tmp_path, keep=4) as log:
        assert log.path is not None
        left = set(tmp_path.iterdir())
        assert left == {*old[-3:], *bots, other, log.path}


def test_logs_that_are_spared_or_in_use_stay(tmp_path: Path) -> None:
    old = _make_logs(tmp_path, 6)
    running = _open(tmp_path, run_id="other")
    try:
        assert running.path is not None
        os.utime(running.path, (1, 1))
        prune_logs(tmp_path, prefix="startup", keep=1, spare=[old[0]])
        assert set(tmp_path.iterdir()) == {old[0], old[5], running.path}
    finally:
        running.close()
    prune_logs(tmp_path, prefix="startup", keep=1, spare=[])
    assert set(tmp_path.iterdir()) == {old[5]}


def test_what_cannot_be_deleted_stays_and_stops_nothing(tmp_path: Path) -> None:
    _make_logs(tmp_path, 3)
    folder = tmp_path / "startup_20250101_000000.log"
    folder.mkdir()
    (folder / "x").write_text("x")
    prune_logs(tmp_path, prefix="startup", keep=1, spare=[])
    assert folder.is_dir()
    prune_logs(tmp_path / "nowhere", prefix="startup", keep=1, spare=[])
