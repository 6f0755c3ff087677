"""What a power cut leaves of the state folder: what a program has not synced may be lost.

The journal: SQLite's commits reach the disk when its log is synced, which is at a checkpoint, and where the program
asks for it. With `synchronous=NORMAL` the frames that the log has got since then may be lost, from any one on, and the
first of them may be torn. What a checkpoint has copied was synced before, in log and database.

Other files: one that was replaced is the old one or the new one until its folder is synced, and a new one whose content
was not synced may be cut at any length.
"""

import os
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path

# https://www.sqlite.org/walformat.html: the log's header and a frame's, and where the index has the log's salt and both
# counts of frames.
_WAL_HEADER, _FRAME_HEADER = 32, 24
_PAGE_SIZE_AT, _MOST_FRAME_AT, _SALT_AT, _BACKFILLED_AT = 14, 16, 32, 96
_STATE_FILES = "*.json"


@dataclass
class Disk:
    """Follows what is synced, and loses the rest.

    Attributes:
        journal: The database; its folder is the state folder.
    """

    journal: Path
    _salt: bytes = b""
    _synced_frames: int = 0
    _synced_files: set[tuple[int, int, int]] = field(default_factory=set)
    _durable: dict[str, bytes] = field(default_factory=dict)

    def note_sync(self, path: Path) -> None:
        """A program has synced a file or a folder."""
        if path == self.journal.with_name(f"{self.journal.name}-wal"):
            index = _read_index(self.journal)
            if index is not None:
                self._salt, self._synced_frames = index.salt, index.most
        elif path == self.journal.parent:
            self._durable = {one.name: one.read_bytes() for one in path.glob(_STATE_FILES)}
        elif path.exists():
            self._synced_files.add(_identify(path))

    def lose(self, chance: random.Random) -> str:
        """Lose what a power cut may, of a folder in which no process has a file open; what happened, in words."""
        left, most = self._lose_frames(chance)
        said = f"keeps {left} of {most} frames of the journal's log"
        folder = self.journal.parent
        there = {one.name: one for one in folder.glob(_STATE_FILES)} if folder.is_dir() else {}
        for name in sorted(there.keys() | self._durable.keys()):
            share, path = chance.random(), folder / name
            if name in there and _identify(path) not in self._synced_files:
                content = path.read_bytes()
                if content != self._durable.get(name):
                    path.write_bytes(content[: int(len(content) * share)])
                    said += f"; of {name} what was not synced is cut"
            elif share < 0.5 and (path.read_bytes() if name in there else None) != self._durable.get(name):
                if name in self._durable:
                    path.write_bytes(self._durable[name])
                else:
                    path.unlink()
                said += f"; {name} is as before its last change"
        self._synced_files = {_identify(one) for one in folder.glob(_STATE_FILES)} if folder.is_dir() else set()
        self._durable = {one.name: one.read_bytes() for one in folder.glob(_STATE_FILES)} if folder.is_dir() else {}
        return said

    def _lose_frames(self, chance: random.Random) -> tuple[int, int]:
        index = _read_index(self.journal)
        synced = self._synced_frames if index is not None and index.salt == self._salt else 0
        return lose_unsynced_frames(self.journal, chance, synced=synced)


@dataclass(frozen=True)
class _Index:
    """What the index of the log says of it."""

    page_size: int
    most: int
    backfilled: int
    salt: bytes


def _read_index(journal: Path) -> _Index | None:
    try:
        header = journal.with_name(f"{journal.name}-shm").read_bytes()[: _BACKFILLED_AT + 4]
    except FileNotFoundError:
        return None
    if len(header) < _BACKFILLED_AT + 4:
        return None
    (page_size,) = struct.unpack_from("=H", header, _PAGE_SIZE_AT)
    (most,) = struct.unpack_from("=I", header, _MOST_FRAME_AT)
    (backfilled,) = struct.unpack_from("=I", header, _BACKFILLED_AT)
    return _Index(page_size, most, backfilled, header[_SALT_AT : _SALT_AT + 8])


def _identify(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def lose_unsynced_frames(journal: Path, chance: random.Random, *, synced: int = 0) -> tuple[int, int]:
    """Cut the write-ahead log of a journal that no process has open, as a power cut may.

    Args:
        journal: The database.
        chance: Draws how much is lost; drawn from once, however much there is.
        synced: How many frames the disk holds for certain, beside those that a checkpoint has copied.

    Returns:
        How many frames are left, of how many.
    """
    share = chance.random()
    log = journal.with_name(f"{journal.name}-wal")
    index = _read_index(journal)
    if index is None or not log.exists() or log.stat().st_size < _WAL_HEADER:
        return 0, 0
    frame_size = _FRAME_HEADER + index.page_size
    kept = max(index.backfilled, synced)
    left = (index.most - kept) * share
    whole = kept + int(left)
    torn = int((left - int(left)) * frame_size)
    os.truncate(log, min(log.stat().st_size, _WAL_HEADER + whole * frame_size + torn))
    return whole, index.most
