"""The door for signals: the first one that asks us to end becomes an exception in the main thread."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from orchestration.errors import InterruptedBySignal

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows has the first two only


class Interruption:
    """While entered, SIGTERM, SIGINT and SIGHUP raise `InterruptedBySignal` once; further ones are ignored.

    Whoever tidies up after the first signal must not be interrupted by the second. `ignore` says that nothing may be
    interrupted from now on, `allow` that one signal may again. Outside the main thread it does nothing: Python hands
    signals to the main thread only.
    """

    def __init__(self) -> None:
        self._is_ignored = False
        self._before: dict[int, object] = {}

    def ignore(self) -> None:
        """From now on signals are ignored."""
        self._is_ignored = True

    def allow(self) -> None:
        """From now on one signal raises."""
        self._is_ignored = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = getattr(signal, name, None)
                if number is not None:
                    # A handler of Python's, never SIG_IGN: the programs that we start would inherit that.
                    self._before[number] = signal.signal(number, self._raise_once)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what `signal.signal` returned, it takes back
        self._before.clear()

    def _raise_once(self, number: int, _: FrameType | None) -> None:
        if not self._is_ignored:
            self._is_ignored = True
            raise InterruptedBySignal(signal.Signals(number).name)
