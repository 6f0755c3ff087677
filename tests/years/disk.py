"""What a power cut leaves of the journal: SQLite's commits reach the disk when it syncs, which is at a checkpoint.

With `synchronous=NORMAL` the frames that the write-ahead log has got since the last checkpoint may be lost, from any
one on, and the first of them may be torn. What a checkpoint has copied was synced before, in log and database.
"""

import random
import struct
from pathlib import Path

# https://www.sqlite.org/walformat.html: the log's header and a frame's, and where the index has both counts of frames.
_WAL_HEADER, _FRAME_HEADER = 32, 24
_PAGE_SIZE_AT, _MOST_FRAME_AT, _BACKFILLED_AT = 14, 16, 96


def lose_unsynced_frames(journal: Path, chance: random.Random) -> tuple[int, int]:
    """Cut the write-ahead log of a journal that no process has open, as a power cut may.

    Args:
        journal: The database.
        chance: Draws how much is lost; drawn from once, however much there is.

    Returns:
        How many frames are left, of how many.
    """
    share = chance.random()
    log, index = journal.with_name(f"{journal.name}-wal"), journal.with_name(f"{journal.name}-shm")
    try:
        header = index.read_bytes()[: _BACKFILLED_AT + 4]
        size = log.stat().st_size
    except FileNotFoundError:
        return 0, 0
    if len(header) < _BACKFILLED_AT + 4 or size < _WAL_HEADER:
        return 0, 0
    (page_size,) = struct.unpack_from("=H", header, _PAGE_SIZE_AT)
    (most,) = struct.unpack_from("=I", header, _MOST_FRAME_AT)
    (backfilled,) = struct.unpack_from("=I", header, _BACKFILLED_AT)
    frame_size = _FRAME_HEADER + page_size
    left = (most - backfilled) * share
    whole = backfilled + int(left)
    torn = int((left - int(left)) * frame_size)
    with log.open("r+b") as file:
        file.truncate(min(size, _WAL_HEADER + whole * frame_size + torn))
    return whole, most
