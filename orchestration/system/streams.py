"""The door for standard output and error: what is said there may be lost, and never ends or stops a run.

A terminal that was closed, a pipe whose reader has left (`| head -1`), a stream closed from the start (`>&-`), a full
disk, an encoding that knows no arrow: none of them is a reason to leave a bot half-started, a run without its end in
the journal, or an exit code that means something else.
"""

import contextlib
import io
import os
import sys
from typing import TextIO


class SteadyStream(io.TextIOBase, TextIO):
    """A text stream that takes everything and never raises.

    After the first failure it writes nowhere. A failure other than a lost reader is reported once, on standard
    error.

    Attributes:
        is_lost: Whether it writes nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        self.is_lost = stream is None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the stubs
        """The encoding of what is beneath."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write it and send it on its way, or lose it. Returns how many characters were given."""
        if self._stream is None or self.is_lost:
            return len(text)
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode(self.encoding, errors="replace").decode(self.encoding))
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: closed
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back: `write` flushes."""

    def isatty(self) -> bool:
        """Whether a terminal is beneath."""
        if self._stream is None or self.is_lost:
            return False
        try:
            return self._stream.isatty()
        except ValueError:  # closed
            return False

    def fileno(self) -> int:
        """The file descriptor beneath.

        Raises:
            OSError: There is none.
        """
        if self._stream is None:
            raise io.UnsupportedOperation("there is no stream beneath")
        return self._stream.fileno()

    def _lose(self, error: OSError | ValueError) -> None:
        self.is_lost = True
        # What is still in Python's buffer would fail once more at exit, and turn the exit code into 120.
        with contextlib.suppress(OSError, ValueError):
            number = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError) and sys.stderr is not self._stream:
            steady_stderr().write(f"warning: standard output cannot be written ({error.strerror})\n")


_steady: dict[str, tuple[TextIO | None, SteadyStream]] = {}


def steady_stdout() -> SteadyStream:
    """Standard output, as it is now."""
    return _find("stdout", sys.stdout)


def steady_stderr() -> SteadyStream:
    """Standard error, as it is now."""
    return _find("stderr", sys.stderr)


def steady_prints() -> None:
    """Make what others print (Invoke's lists and help) as steady: `inv | head -1` is no error. For a whole program."""
    sys.stdout = steady_stdout()


def _find(name: str, stream: TextIO | None) -> SteadyStream:
    if isinstance(stream, SteadyStream):
        return stream
    if stream is None:
        _fill_closed_descriptors()
    known = _steady.get(name)
    if known is None or known[0] is not stream:
        known = _steady[name] = (stream, SteadyStream(stream))
    return known[1]


def _fill_closed_descriptors() -> None:
    """Let no file that is opened later become standard output: 0, 1 and 2 lead nowhere from now on."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error's
        os.set_inheritable(number, True)  # noqa: FBT003 - its only parameter
    os.close(number)
