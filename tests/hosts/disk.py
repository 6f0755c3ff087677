"""Disks of the hosts' own, which can be made to stand still: a small file system each, frozen by the kernel."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.network import run

_SIZE = "160M"


@dataclass
class Disk:
    """A file system of one host.

    Attributes:
        folder: Where it is mounted.
    """

    folder: Path

    def freeze(self) -> None:
        """From now on a writer there waits."""
        run("fsfreeze", "--freeze", str(self.folder))

    def thaw(self) -> None:
        """Let them go on."""
        run("fsfreeze", "--unfreeze", str(self.folder))

    def thaw_if_frozen(self) -> None:
        """The same, whether or not it stood still."""
        subprocess.run(("fsfreeze", "--unfreeze", str(self.folder)), capture_output=True, timeout=60, check=False)

    def start_write(self) -> "subprocess.Popen[bytes]":
        """Write a byte there, in a process that ends once it is on the disk."""
        argv = ["dd", "if=/dev/zero", f"of={self.folder}/probe", "bs=1", "count=1", "conv=fsync"]
        return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Mount a disk there; gone afterwards."""
    image = folder.with_suffix(".disk")
    run("truncate", "--size", _SIZE, str(image))
    run("mkfs.ext4", "-q", "-F", str(image))
    run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield Disk(folder)
    finally:
        subprocess.run(("fsfreeze", "--unfreeze", str(folder)), capture_output=True, timeout=60, check=False)
        run("umount", "--lazy", str(folder))
        image.unlink()
