"""The process table, read from a made `/proc`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.system.platform import Platform, platform, use_platform
from orchestration.system.process_table import read_table

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="reads /proc")

_STAT = "{pid} ({name}) S {parent} {group} {group} 0 -1 {flags} 0 0 0 0 1 2 0 0 20 0 1 0 300 0 0"
_OF_KERNEL = 0x00208040  # a kworker's flags on Linux 6.1
_OF_PROGRAM = 0x00400100


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[Path]:
    made, before = Platform(), platform()
    made.proc_root = str(tmp_path)
    use_platform(made)
    try:
        yield tmp_path
    finally:
        use_platform(before)


def _add(proc: Path, pid: int, name: str, *, parent: int, flags: int) -> None:
    (proc / str(pid)).mkdir()
    stat = _STAT.format(pid=pid, name=name, parent=parent, group=pid if parent != 2 else 0, flags=flags)
    (proc / str(pid) / "stat").write_text(f"{stat}\n", encoding="ascii")


def test_the_kernels_own_threads_are_no_programs(proc: Path) -> None:
    _add(proc, 1, "systemd", parent=0, flags=_OF_PROGRAM)
    _add(proc, 2, "kthreadd", parent=0, flags=_OF_KERNEL)
    _add(proc, 40, "kworker/0:1 (a) b", parent=2, flags=_OF_KERNEL)
    _add(proc, 300, "kworker/0:1", parent=1, flags=_OF_PROGRAM)
    assert sorted(read_table()) == [1, 300]
    assert read_table()[300].parent_pid == 1
