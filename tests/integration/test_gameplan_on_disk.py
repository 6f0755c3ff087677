"""The gameplan against real disks: no permission, a full disk, a read-only folder, a writer at work."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from orchestration.errors import FailureWord, FallbackWord, StartupFailure
from orchestration.gameplan import (
    PlanPolicy,
    activate_plan,
    check_from_settings,
    check_gameplan,
    fall_back_to_strategy_c,
)
from orchestration.settings import PROJECT_DIR, GameplanFreshness, Settings
from orchestration.system.clock import SystemClock
from tests.fakes.clock import FakeClock
from tests.unit.gameplan.plans import NYSE, changed, load_plan, write_plan

_NOBODY = 65534
_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and mounts")


def _settings(plan: Path | None, state: Path) -> Settings:
    named = {"GAMEPLAN_PATH": str(plan) if plan else "", "STATE_DIR": str(state)}
    return Settings.from_environ(named, project_dir=state.parent)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, 64 KiB, that the test may fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root on Linux")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 512)
        except OSError:
            return


def _run_as_unprivileged(code: str, *arguments: str) -> dict[str, object]:
    """Run Python code without root's rights, and return the JSON object that it prints."""
    # The modules are imported first: the project may stand where no other user may look.
    program = f"""
import json, os, sys
sys.path.insert(0, {str(PROJECT_DIR)!r})
from pathlib import Path
from orchestration.errors import *
from orchestration.gameplan import *
from orchestration.settings import *
from tests.fakes.clock import FakeClock
from zoneinfo import ZoneInfo
import jsonschema
preload()
NYSE = build_calendar("NYSE", zone=ZoneInfo("America/New_York"))
NYSE.has_closed(FakeClock().now())  # imports what this user may not read
os.umask(0o022)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({_NOBODY}); os.setuid({_NOBODY})
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@_posix
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_plan_without_permission_is_unreadable(open_folder: Path, what: str) -> None:
    locked = open_folder / "locked"
    locked.mkdir()
    path = write_plan(locked, load_plan())
    (path if what == "file" else locked).chmod(0)
    try:
        answer = _run_as_unprivileged(
            "policy = PlanPolicy(calendar=NYSE, freshness=GameplanFreshness.TODAY)\n"
            "verdict = check_gameplan(Path(sys.argv[1]), policy, clock=FakeClock())\n"
            "print(json.dumps({'word': verdict.word, 'message': verdict.message}))",
            str(path),
        )
    finally:
        locked.chmod(0o755)

    assert answer == {"word": "GAMEPLAN_UNREADABLE", "message": f"{path} cannot be read: Permission denied"}


@_posix
def test_a_folder_that_may_not_be_written_is_strategy_c_failed(open_folder: Path) -> None:
    state = open_folder / "state"
    state.mkdir(mode=0o555)
    path = write_plan(open_folder, load_plan())
    path.chmod(0o644)
    answer = _run_as_unprivileged(
        """
settings = Settings.from_environ({"GAMEPLAN_PATH": sys.argv[1], "STATE_DIR": sys.argv[2]})
verdict = check_from_settings(settings, clock=FakeClock())
try:
    activate_plan(verdict, settings, clock=FakeClock())
except StartupFailure as failure:
    print(json.dumps({"judged": verdict.message, "word": failure.word, "message": failure.message}))
""",
        str(path),
        str(state),
    )

    assert answer["judged"] == f"{path}: strategy A for 2026-11-18"
    assert answer["word"] == FailureWord.STRATEGY_C_FAILED
    assert "Permission denied" in str(answer["message"])
    assert list(state.iterdir()) == []


@_posix
@pytest.mark.parametrize("is_valid", [True, False])
def test_a_full_disk_is_strategy_c_failed_and_leaves_no_half_file(
    tmp_path: Path, tiny_disk: Path, *, is_valid: bool
) -> None:
    plan = write_plan(tmp_path, load_plan() if is_valid else b"{")
    settings = _settings(plan, tiny_disk / "state")
    verdict = check_from_settings(settings, clock=FakeClock())
    _fill(tiny_disk)

    assert verdict.is_valid is is_valid
    with pytest.raises(StartupFailure) as caught:
        activate_plan(verdict, settings, clock=FakeClock())

    assert caught.value.word is FailureWord.STRATEGY_C_FAILED
    assert "No space left on device" in caught.value.message
    assert str(plan) in caught.value.evidence[0]
    assert [path for path in (tiny_disk / "state").rglob("*") if path.is_file()] == []


@_posix
def test_on_a_full_disk_an_older_emergency_plan_does_not_count(tiny_disk: Path) -> None:
    settings = _settings(None, tiny_disk / "state")
    before = fall_back_to_strategy_c(settings, FallbackWord.GAMEPLAN_MISSING, "of yesterday", clock=FakeClock())
    _fill(tiny_disk)
    clock = FakeClock()
    clock.jump(86400)

    with pytest.raises(StartupFailure, match="STRATEGY_C_FAILED"):
        fall_back_to_strategy_c(settings, FallbackWord.GAMEPLAN_STALE, "of today", clock=clock)

    assert sha256(before.path.read_bytes()).hexdigest() == before.sha256


@_posix
def test_a_valid_plan_on_a_full_disk_is_strategy_c_where_that_can_still_be_written(
    tmp_path: Path, tiny_disk: Path
) -> None:
    plan = write_plan(tmp_path, load_plan())
    named = {
        "GAMEPLAN_PATH": str(plan),
        "STATE_DIR": str(tiny_disk / "state"),
        "EMERGENCY_GAMEPLAN_PATH": str(tmp_path / "emergency.json"),
    }
    settings = Settings.from_environ(named, project_dir=tmp_path)
    verdict = check_from_settings(settings, clock=FakeClock())
    _fill(tiny_disk)

    active = activate_plan(verdict, settings, clock=FakeClock())

    assert verdict.is_valid
    assert active.fallback is FallbackWord.GAMEPLAN_UNREADABLE
    assert "No space left on device" in active.message
    assert (active.path, active.trades) == (tmp_path / "emergency.json", False)


@_posix
def test_a_read_only_disk_is_strategy_c_failed(tiny_disk: Path) -> None:
    settings = _settings(None, tiny_disk / "state")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)

    with pytest.raises(StartupFailure, match="Read-only file system") as caught:
        activate_plan(check_from_settings(settings, clock=FakeClock()), settings, clock=FakeClock())

    assert caught.value.word is FailureWord.STRATEGY_C_FAILED


def test_whatever_a_writer_does_meanwhile_the_judged_plan_is_one_that_was_written(tmp_path: Path) -> None:
    # A writer in place, without any care: two plans of very different length, one after the other, all the time.
    small = json.dumps(changed({"strategy": "B"}, "least")).encode()
    large = json.dumps(changed({"alert_message": "x" * 200_000})).encode()
    path = tmp_path / "plan.json"
    path.write_bytes(small)
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            for content in (large, small):
                with path.open("r+b") as file:
                    file.truncate(0)
                    for start in range(0, len(content), 50_000):
                        file.write(content[start : start + 50_000])
                        file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        verdicts = [
            check_gameplan(
                path,
                clock=FakeClock(),
                policy=PlanPolicy(calendar=NYSE, freshness=GameplanFreshness.TODAY),
            )
            for _ in range(200)
        ]
    finally:
        is_over.set()
        writer.join()

    assert {verdict.content for verdict in verdicts if verdict.is_valid} <= {small, large}
    refused = {verdict.word for verdict in verdicts if not verdict.is_valid}
    assert refused <= {FallbackWord.GAMEPLAN_INVALID, FallbackWord.GAMEPLAN_UNREADABLE}


def test_a_plan_that_is_being_written_right_now_is_waited_for_on_the_real_clock(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    content = json.dumps(load_plan()).encode()
    path.write_bytes(content[:100])

    class FinishingClock(SystemClock):
        """The real clock; the author finishes while the reader waits."""

        def sleep(self, duration_s: float) -> None:
            super().sleep(duration_s)
            path.write_bytes(content)

    verdict = check_gameplan(
        path, clock=FinishingClock(), policy=PlanPolicy(calendar=NYSE, freshness=GameplanFreshness.OFF)
    )

    assert verdict.is_valid, verdict.message
