"""The end of a log, and its new lines as they come: shown in part, redacted as a whole.

A window of a log begins somewhere, and a chunk of one ends somewhere: in the middle of a secret, if need be. So more is
read than is shown (`Redactor.margin`), and what begins before the window is not shown in part.
"""

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from orchestration.redaction.redactor import Redactor, own_redactor
from orchestration.redaction.text import LINE_LIMIT, finish_line
from orchestration.system.files import open_regular

_WINDOW_BYTES = 64 * 1024  # far more than twenty lines; a log may be huge, or one endless line
_LONGEST_LINE = 64 * 1024  # characters that are kept of a line that does not end


def read_last_lines(path: Path, count: int, redactor: Redactor | None = None) -> tuple[str, ...]:
    """The last lines of a file that may be huge or be written to, fit to be shown.

    No more than the last 64 KiB are shown. Blank lines at the end are left out, long lines are cut.

    Raises:
        OSError: It is no regular file, or cannot be read.
    """
    with open_regular(path) as file:
        return read_last_lines_of(file, count, redactor or own_redactor())


def read_last_lines_of(file: BinaryIO, count: int, redactor: Redactor) -> tuple[str, ...]:
    """The last lines of an open file, which is left at its end.

    Raises:
        OSError: It cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    begin = max(0, size - _WINDOW_BYTES - redactor.margin)
    file.seek(begin)
    content = file.read(size - begin)
    skipped = len(content[: redactor.margin].decode("utf-8", "replace")) if begin > 0 else 0
    text = redactor.text_from(content.decode("utf-8", "replace"), skipped)
    lines = text.rstrip().split("\n") if text.strip() else []
    return tuple(finish_line(line.rstrip(), limit=LINE_LIMIT) for line in lines[-count:]) if count > 0 else ()


class LineReader:
    """Puts chunks of a growing log together to lines, and makes each fit to be shown.

    A line without an end is shown in pieces; what may be the beginning of a secret is kept back until more has come.
    """

    def __init__(self, redactor: Redactor | None = None, *, limit: int = LINE_LIMIT) -> None:
        self._redactor = redactor or own_redactor()
        self._limit = limit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = ""
        self._shown = 0  # how much of what is kept has been shown

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take in what has come. Yields the lines that are whole now."""
        self._kept += self._decoder.decode(chunk)
        *whole, rest = self._kept.split("\n")
        for line in whole:
            yield self._show(line)
            self._shown = 0
        self._kept = rest
        while len(self._kept) - self._shown > _LONGEST_LINE + self._redactor.margin:
            yield self._show_part()

    def skip(self, chunk: bytes) -> None:
        """Take in what stands before the first chunk and is not to be shown."""
        self._kept += self._decoder.decode(chunk)
        self._shown = len(self._kept)

    def end(self) -> Iterator[str]:
        """Nothing more will come: yields what is left."""
        rest, self._kept = self._kept + self._decoder.decode(b"", final=True), ""
        if rest[self._shown :]:
            yield self._show(rest)
        self._shown = 0

    def _show(self, line: str) -> str:
        return finish_line(self._redactor.text_from(line, self._shown), limit=self._limit)

    def _show_part(self) -> str:
        """Show the next piece, but for its last `margin` characters, and forget what is too far back to matter."""
        margin = self._redactor.margin
        end = len(self._kept) - margin
        shown = self._redactor.text_between(self._kept, self._shown, end)
        keep_from = max(0, end - margin)
        self._kept = self._kept[keep_from:]
        self._shown = end - keep_from
        return finish_line(shown, limit=self._limit)


class FileTail:
    """The new lines of a log as they come, whatever becomes of the file: cut back, deleted, or replaced by another one.

    Args:
        path: The file.
        redactor: Knows the secrets; by default all that this process has loaded.
        last: How many of the lines that are there already are read first; None reads all.

    Raises:
        OSError: It is no regular file, or cannot be read.
    """

    def __init__(self, path: Path, redactor: Redactor | None = None, *, last: int | None = None) -> None:
        self._path = path
        self._redactor = redactor or own_redactor()
        self._reader = LineReader(self._redactor)
        self._file: BinaryIO | None = open_regular(path)
        self._first: tuple[str, ...] = ()
        if last is not None:
            try:
                self._first = read_last_lines_of(self._file, last, self._redactor)
                self._take_back_open_line()
            except BaseException:
                self._file.close()
                raise

    def read_new(self) -> Iterator[str]:
        """What has come since the last call. A file that is gone, or may not be read any more, says nothing new."""
        yield from self._first
        self._first = ()
        if self._file is not None:
            yield from self._read_on(self._file)
        yield from self._look_for_another()

    def close(self) -> None:
        """Stop. Safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_on(self, file: BinaryIO) -> Iterator[str]:
        try:
            if os.fstat(file.fileno()).st_size < file.tell():
                yield from self._reader.end()
                file.seek(0)
            while chunk := file.read(_WINDOW_BYTES):
                yield from self._reader.feed(chunk)
        except OSError:
            self.close()

    def _look_for_another(self) -> Iterator[str]:
        try:
            found = self._path.stat()
            if self._file is not None and os.path.samestat(found, os.fstat(self._file.fileno())):
                return
            other = open_regular(self._path)
        except OSError:
            return
        yield from self._reader.end()
        self.close()
        self._file = other
        yield from self._read_on(other)

    def _take_back_open_line(self) -> None:
        """A last line without its end is shown when it has one: half a line may be half a secret."""
        if self._file is None:
            return
        end = self._file.tell()
        begin = max(0, end - _WINDOW_BYTES)
        self._file.seek(begin)
        content = self._file.read(end - begin)
        if not content or content.endswith(b"\n"):
            return
        self._first = self._first[:-1]
        place = content.rfind(b"\n")
        if place >= 0 or begin == 0:
            self._file.seek(begin + place + 1)
            return
        # A line without an end: its newest piece is shown with what follows it.
        self._file.seek(max(0, end - 2 * self._redactor.margin))
        self._reader.skip(self._file.read(self._redactor.margin))
