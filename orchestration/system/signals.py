"""The door for signals: the first one that asks us to end becomes an exception, where one may be raised."""

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Self

from orchestration.system.platform import platform

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows has the first two only
_NAME_OF = {getattr(signal, name): name for name in _NAMES if hasattr(signal, name)}
RESTART_SIGNAL = "SIGUSR1"


def _set_handlers(names: Sequence[str], handler: Callable[[int, FrameType | None], None]) -> Mapping[int, object]:
    """Set a handler for those of these signals that this system has; returns what handled them before."""
    numbers = [getattr(signal, name, None) for name in names]
    return {number: signal.signal(number, handler) for number in numbers if number is not None}


class InterruptedBySignal(BaseException):
    """SIGTERM, SIGINT or SIGHUP arrived. Not an `Exception`, so that no boundary mistakes it for a bug.

    Attributes:
        signal_name: For example `SIGTERM`.
    """

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name


_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"
_AGAIN_S = 0.01


def _is_in_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_SYSTEM:
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    def send() -> None:
        time.sleep(_AGAIN_S)
        if sys.platform == "win32":
            signal.raise_signal(number)
        else:
            # To the main thread itself: what it waits for in the kernel is then interrupted too.
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    _thread.start_new_thread(send, ())  # of `threading`, a signal handler may start none: see `Requests`


class Interruption:
    """While entered, the first SIGTERM, SIGINT or SIGHUP raises `InterruptedBySignal` inside `allowed()`.

    One that arrives outside of it is kept until `allowed()` is entered the next time. Once one has been raised, further
    ones are ignored: the clean-up after the first must not be interrupted by the second. `renew` lets one more
    through. Outside the main thread it does nothing: Python hands signals to the main thread only.

    An import is never interrupted: it would leave the module's lock taken, and a thread that imports the same module
    would wait for it without end, and the program's end for that thread. The signal comes again a moment later.
    """

    def __init__(self) -> None:
        self._is_allowed = False
        self._is_spent = False
        self._pending: int | None = None
        self._before: Mapping[int, object] = {}

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """A signal may interrupt this block.

        Raises:
            InterruptedBySignal: One arrived, now or since the last block.
        """
        self._is_allowed = True
        try:
            if self._pending is not None:
                self._raise(self._pending)
            yield
        finally:
            self._is_allowed = False

    def renew(self, *, keeps_pending: bool = False) -> None:
        """One more signal may interrupt; what came so far is forgotten, or kept for the next block."""
        if not keeps_pending:
            self._pending = None
        self._is_spent = False

    def hand_on(self, interrupted: InterruptedBySignal) -> None:
        """Leave a signal that was raised to the previous handler, which gets it when this is left."""
        self._pending = getattr(signal, interrupted.signal_name)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # A handler of Python's, never SIG_IGN: the programs that we start would inherit that.
            self._before = _set_handlers(_NAMES, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what `signal.signal` returned, it takes back
        outer = before.get(self._pending) if self._pending is not None else None
        if callable(outer):
            outer(self._pending, None)  # it came too late for us: the previous handler gets it

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._is_spent:
            return
        if self._is_allowed and _is_in_import(frame):
            _send_again(number)
            return
        if self._is_allowed:
            self._raise(number)
        self._pending = number

    def _raise(self, number: int) -> None:
        self._is_spent = True
        self._pending = None
        raise InterruptedBySignal(signal.Signals(number).name)


def let_outcome_stand() -> None:
    """From now on no signal that asks for something changes anything: this process has done its work and will end now.

    The exit code is then the outcome's, however late a signal comes. Call it when no program is started any more, for
    one would inherit this. A handler of Python's would not do: the interpreter takes it away before it has ended.
    """
    if threading.current_thread() is threading.main_thread():
        for name in (*_NAMES, RESTART_SIGNAL):
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, signal.SIG_IGN)


def ask_to_restart(pid: int) -> bool:
    """Ask the supervisor with this pid to restart its bot. False if it cannot be asked."""
    number = getattr(signal, RESTART_SIGNAL, None)
    if number is None:
        return False
    try:
        platform().send_signal(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Requests:
    """While entered, signals are requests that a loop reads when it comes round: end, or restart the bot.

    SIGTERM, SIGINT and SIGHUP ask to end; SIGUSR1 (where there is one) asks for the bot's restart. Nothing is raised.

    Attributes:
        wake: Set soon after each request, so that its waiter looks.
        ended_by: The name of the signal that asked to end; empty before.
    """

    def __init__(self) -> None:
        self.wake = threading.Event()
        self._wants_restart = False
        self._before: Mapping[int, object] = {}
        self.ended_by = ""

    def take_restart(self) -> bool:
        """Whether a restart of the bot was asked for since the last time."""
        wanted, self._wants_restart = self._wants_restart, False
        return wanted

    def __enter__(self) -> Self:
        self._before = _set_handlers((*_NAMES, RESTART_SIGNAL), self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # the outcome stands
                signal.signal(number, handler)  # type: ignore[arg-type]  # what `signal.signal` returned, it takes back
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        # What was asked already returns at once: a handler is interrupted by the next signal itself, and a flood of
        # them would end in too deep a recursion.
        if number == getattr(signal, RESTART_SIGNAL, None):
            if self._wants_restart:
                return
            self._wants_restart = True
        elif self.ended_by:
            return
        else:
            self.ended_by = _NAME_OF.get(number, "a signal")
        # Never from here: this may have interrupted the loop while it holds the event's lock, and would wait for it
        # without end. Nor with `threading.Thread`, whose start takes locks, too. Where no thread can be started, the
        # loop comes round by itself.
        with contextlib.suppress(RuntimeError):
            _thread.start_new_thread(self.wake.set, ())


def describe_exit(exit_code: int) -> str:
    """How a process ended, as the end of a sentence: `ended with exit code 3`, or `was ended by SIGSEGV` for -11."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
