"""One log file for each run, that no other run has, without secrets, and never in the way of a start-up.

A file's name holds the local time, for people; a number follows where two runs begin in the same second. While a run
writes to its log it holds a lock on it, so that no other run's pruning takes it away (Windows refuses that anyway).
"""

import contextlib
import io
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from orchestration.redaction import CleaningFormatter, Redactor
from orchestration.system.clock import Clock
from orchestration.system.platform import platform

PACKAGE_LOGGER = "orchestration"
LINE_FORMAT = "%(asctime)s %(levelname)-8s %(message)s"
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
_SAME_SECOND = 10_000  # names tried for one second


class _LogFileHandler(logging.StreamHandler[TextIO]):
    """Writes lines to an open file. Where that stops working (disk full), it says so once, on standard error."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._is_broken = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name in the base class
        """See `logging.Handler.handleError`, which would print the record unredacted."""
        error = sys.exc_info()[1]
        if not self._is_broken:
            self._is_broken = True
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(
                    f"warning: the log cannot be written ({_reason(error)}); line {record.lineno} is lost\n"
                )


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """The log of one run. A context manager; `close` when the run is over.

    Attributes:
        path: The file, absolute; None if none could be had, and standard error stands for it.
        logger: The package's logger, to which it is attached.
        handler: What writes it.
        problem: Why there is no file; None if there is one.
    """

    path: Path | None
    logger: logging.Logger
    handler: logging.Handler
    problem: str | None = None
    previous_level: int = logging.NOTSET

    def __enter__(self) -> "RunLog":  # noqa: PYI034 - a frozen value has no subclasses
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach it from the logger and close the file. A second time does nothing."""
        if self.handler not in self.logger.handlers:
            return
        self.logger.removeHandler(self.handler)
        self.logger.setLevel(self.previous_level)
        self.handler.close()
        if self.path is not None and isinstance(self.handler, logging.StreamHandler):
            with contextlib.suppress(OSError):
                self.handler.stream.close()


def open_run_log(log_dir: Path, prefix: str, *, run_id: str, clock: Clock, keep: int, redactor: Redactor) -> RunLog:
    """Make this run's log file, attach it to the package's logger, and prune older ones. Never fails.

    Args:
        log_dir: The folder; made if it is missing.
        prefix: The kind of log.
        run_id: Stands in the first line.
        clock: For the name.
        keep: How many logs of this kind are kept, this one included.
        redactor: Knows the secrets. Each record becomes one line, fit to be shown.

    Returns:
        The log. Where no file can be had, it writes to standard error, with a warning.
    """
    logger = logging.getLogger(PACKAGE_LOGGER)
    previous_level = logger.level
    problem: str | None = None
    path: Path | None = None
    handler: logging.Handler
    try:
        path, stream = _create(log_dir, prefix, clock)
        handler = _LogFileHandler(stream)
    except OSError as error:
        problem = f"no log file in {log_dir}: {_reason(error)}"
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleaningFormatter(redactor, LINE_FORMAT, datefmt=_TIME_FORMAT))
    handler.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    run_log = RunLog(path=path, logger=logger, handler=handler, problem=problem, previous_level=previous_level)
    if problem is not None:
        logger.warning("%s; the run continues, its lines are only here", problem)
    logger.info("Run %s begins (process %s)", run_id, platform().own_pid())
    if path is not None:
        prune_logs(log_dir, prefix=prefix, keep=keep, spare=[path])
    return run_log


def cut_back(path: Path, *, limit_bytes: int) -> bool:
    """Cut a log that its writer keeps open: what it holds becomes `NAME.1`, and it is emptied. Returns whether it did.

    Lines that are written between the copy and the cut are lost. A disk that cannot hold the copy gets only the cut.
    """
    try:
        if path.stat().st_size <= limit_bytes:
            return False
        try:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        except OSError:
            path.with_name(f"{path.name}.1").unlink(missing_ok=True)
        os.truncate(path, 0)
    except OSError:
        return False
    return True


def prune_logs(log_dir: Path, *, prefix: str, keep: int, spare: Iterable[Path] = ()) -> None:
    """Delete the oldest logs of a kind until `keep` are left. Those in use stay; what cannot be deleted stays too."""
    spared = {path.absolute() for path in spare}
    logs = sorted(_find_logs(log_dir, prefix), key=_age_key, reverse=True)
    for path in logs[keep:]:
        if path.absolute() not in spared and not _is_in_use(path):
            with contextlib.suppress(OSError):
                path.unlink()


def _create(log_dir: Path, prefix: str, clock: Clock) -> tuple[Path, TextIO]:
    log_dir = log_dir.absolute()
    log_dir.mkdir(parents=True, exist_ok=True)
    stem = f"{prefix}_{clock.now().astimezone():%Y%m%d_%H%M%S}"
    for number in range(1, _SAME_SECOND):
        path = log_dir / (f"{stem}.log" if number == 1 else f"{stem}_{number}.log")
        with contextlib.suppress(FileExistsError):
            # Not inheritable: a bot that was started must not keep this file, or its lock, alive.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            _lock(handle)
            raw = os.fdopen(handle, "wb")
            return path, io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    raise FileExistsError("too many logs with the same second in their names")


def _find_logs(log_dir: Path, prefix: str) -> Iterator[Path]:
    pattern = re.compile(rf"{re.escape(prefix)}_\d{{8}}_\d{{6}}(?:_\d+)?\.log")
    with contextlib.suppress(OSError):
        for path in log_dir.iterdir():
            if pattern.fullmatch(path.name):
                yield path


def _age_key(path: Path) -> tuple[int, str]:
    """By the last line written, not by the name: local time goes back once a year."""
    try:
        return path.lstat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name


def _reason(error: BaseException | None) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


if sys.platform == "win32":

    def _lock(handle: int) -> None:
        """Nothing to do: Windows does not delete a file that is open."""

    def _is_in_use(path: Path) -> bool:  # noqa: ARG001 - the same signature on both systems
        return False

else:
    import fcntl

    def _lock(handle: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)  # waits only for a pruner's glance

    def _is_in_use(path: Path) -> bool:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False  # whatever it is, no log is written through it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False
