"""Room on the disks and in memory, looked at right before something that runs is stopped."""

import os
from pathlib import Path

from orchestration.deploy.on_host.base import refuse

# A start writes its log, its journal and a record; systemd and Docker write theirs.
_ELSEWHERE = ("/tmp", "/var/lib")  # noqa: S108 - looked at, not written to
_LEAST_ELSEWHERE_BYTES = 16 * 1024**2
_LEAST_FILES = 100
_LEAST_MEMORY_BYTES = 96 * 1024**2  # one program of Python more, beside what the old system gives back
_MIB = 1024**2


def check_room(folders: tuple[Path, ...], *, least_free_bytes: int) -> None:
    """See that a start would find room. A disk can fill up while a release is made and tried.

    Args:
        folders: The folders that the system writes to.
        least_free_bytes: What must be free there.

    Raises:
        RefusedError: There is not enough; the lines name all that is short.
    """
    lacks = [lack for folder in folders if (lack := _find_lack(folder, least_free_bytes))]
    lacks += [lack for name in _ELSEWHERE if (lack := _find_lack(Path(name), _LEAST_ELSEWHERE_BYTES))]
    free = read_available_memory()
    if free is not None and is_memory_short(free):
        lacks.append(f"only {free // _MIB} MiB of memory are available; {_LEAST_MEMORY_BYTES // _MIB} are needed")
    if lacks:
        refuse(
            f"there is no room for a start: {lacks[0]}",
            "Make room there (`df -h`, `df -i`, `free -m`), then deploy again.",
            tuple(dict.fromkeys(lacks)),
        )


def _find_lack(folder: Path, least_bytes: int) -> str:
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < least_bytes:
        return f"only {free // _MIB} MiB of disk are free for {folder}; {least_bytes // _MIB} are needed"
    if found.f_files and found.f_favail < _LEAST_FILES:
        return f"the disk of {folder} has no room for more files ({found.f_favail} left)"
    return ""


def is_memory_short(available_bytes: int) -> bool:
    """Whether so much memory is too little for a start."""
    return available_bytes < _LEAST_MEMORY_BYTES


def read_available_memory() -> int | None:
    """Bytes of memory that programs can still have; None where the kernel does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    words = fields.get("MemAvailable", [])
    return int(words[0]) * 1024 if words and words[0].isdigit() else None
