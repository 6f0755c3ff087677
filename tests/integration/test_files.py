"""Files that are whole or not there at all, on real disks, with real kills."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.system.files import write_atomic

_PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_is_written_with_its_folders_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "plan.json"
    write_atomic(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomic(path, b"two", mode=0o644)
    assert path.read_bytes() == b"two"
    assert [one.name for one in path.parent.iterdir()] == ["plan.json"]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_a_file_is_private_unless_it_is_said_otherwise_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomic(tmp_path / "secret", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_reader_finds_the_old_file_or_the_new_one_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    size = 200_000
    write_atomic(path, b"0" * size)
    source = (
        "import itertools, sys\nfrom pathlib import Path\nfrom orchestration.system.files import write_atomic\n"
        "print('ready', flush=True)\n"
        "for turn in itertools.count():\n"
        f"    write_atomic(Path(sys.argv[1]), str(turn % 10).encode() * {size})\n"
    )
    whole: set[bytes] = set()
    for turn in range(12):
        argv = [sys.executable, "-c", source, str(path)]
        with subprocess.Popen(argv, cwd=_PROJECT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            deadline_s = time.monotonic() + 0.003 * turn  # not a proof of anything: a different instant each time
            while time.monotonic() < deadline_s:
                content = path.read_bytes()
                assert (len(content), len(set(content))) == (size, 1), "a reader found half a file"
            writer.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert (len(content), len(set(content))) == (size, 1), "the kill left half a file"
        whole.add(content)
    assert len(whole) > 1, "no writer ever got as far as writing"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "plan.json"
    write_atomic(path, b"old")
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"x" * 1_000_000)
    assert path.read_bytes() == b"old"
    assert [one.name for one in small_disk.iterdir()] == ["plan.json"]


def test_a_read_only_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "plan.json"
    write_atomic(path, b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "closed" / "plan.json"
    write_atomic(path, b"old")
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            write_atomic(path, b"new")
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == b"old"


def test_a_folder_in_the_place_of_the_file_is_an_error_that_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "plan.json" / "below").mkdir(parents=True)
    with pytest.raises(OSError, match=r"plan\.json"):
        write_atomic(tmp_path / "plan.json", b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]
