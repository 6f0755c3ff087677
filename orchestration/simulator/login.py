"""The login as a real controller logs it, line by line, so that the same reading of a log serves both.

Which controller's texts these are is chosen (`dialects`); the gateway's own `launcher.log` is written beside them.
Lines that begin with `SIMULATED` after the time are this program's own.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from orchestration.simulator.broker import BrokerSession
from orchestration.simulator.dialects import (
    HEARTBEAT,
    REFUSED_EXIT_CODE,
    SECOND_FACTOR_EXIT_CODES,
    Controller,
    Moment,
    render_controller,
    render_launcher,
    render_launcher_line,
)
from orchestration.simulator.faults import Faults, SecondFactorFault

_TOO_MANY_AFTER = 3
_RESTART_PAUSE_S = 0.5  # between two sessions of the controller; also keeps `never:0` from spinning
_HEARTBEAT_S = 20.0  # the gateway's own, while a challenge is pending


class LoginLog:
    """Writes the gateway's log, and its `launcher.log`.

    Args:
        write: Takes one line of the log without its end; must not raise.
        controller: Whose texts it has.
        settings_dir: Where `launcher.log` is written; None for nowhere. One that cannot be written is no trouble.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        controller: Controller = Controller.IBC,
        settings_dir: Path | None = None,
    ) -> None:
        self._write = write
        self.dialect = controller
        self._launcher = None if settings_dir is None else settings_dir / "launcher.log"

    def tell(self, moment: Moment, *, attempt: int = 1, has_second_factor: bool = False) -> None:
        """What the controller and the gateway say about a moment of the login."""
        now = datetime.now(UTC)
        for line in render_controller(self.dialect, moment, now=now, attempt=attempt):
            self._write(line)
        self._append(render_launcher(moment, now=now, has_second_factor=has_second_factor))

    def beat(self) -> None:
        """The gateway waits for a second factor, and writes so to its own log."""
        self._append((render_launcher_line(HEARTBEAT, now=datetime.now(UTC)),))

    def script(self, text: str) -> None:
        """A line of the script that starts IBC; it has no time."""
        if self.dialect is Controller.IBC:
            self._write(text)

    def simulator(self, text: str) -> None:
        """A line of this program's own."""
        self._write(f"{_timestamp()} SIMULATED: {text}")

    def _append(self, lines: tuple[str, ...]) -> None:
        if self._launcher is None or not lines:
            return
        with contextlib.suppress(OSError):
            self._launcher.parent.mkdir(parents=True, exist_ok=True)
            with self._launcher.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))


async def log_in(
    log: LoginLog, faults: Faults, *, second_factor_exits: bool, session: BrokerSession | None = None
) -> int:
    """Go through the login; return when it is over.

    Never returns while a fault keeps the login from ending: cancel it.

    Returns:
        0: logged in. Else the controller's exit code: the second factor was not confirmed, and `second_factor_exits`;
        or user or password are refused, and the controller ends for that.
    """
    started_s = asyncio.get_running_loop().time()
    attempt = 1
    while True:
        if attempt == 1:
            log.tell(Moment.STARTING)
            log.simulator("this login reaches no broker and uses no password")
        log.tell(Moment.ATTEMPT, attempt=attempt)
        if faults.wrong_password_interval_s is not None:
            return await _fail(log, faults.wrong_password_interval_s)
        log.tell(Moment.ROUND)
        await asyncio.sleep(faults.slow_login_s)
        if faults.session_taken_after_s == 0 or (session is not None and not await session.begin()):
            await _meet_other_session(log)
        if faults.second_factor is None or await _is_confirmed(log, faults.second_factor, started_s):
            break
        if faults.second_factor.logs_in_again:
            # As the controller does with RELOGIN_AFTER_TWOFA_TIMEOUT=yes: the broker counts these attempts, too.
            attempt += 1
            log.tell(Moment.TRIES_AGAIN)
            if attempt >= _TOO_MANY_AFTER:
                log.tell(Moment.TOO_MANY)
            await asyncio.sleep(_RESTART_PAUSE_S)
            continue
        log.tell(Moment.TIMED_OUT)
        code = SECOND_FACTOR_EXIT_CODES[log.dialect]
        log.script(f"IBC returned exit status {code}")
        if second_factor_exits:
            return code
        log.tell(Moment.RELAUNCHES)
        await asyncio.sleep(_RESTART_PAUSE_S)
    log.tell(Moment.COMPLETED, has_second_factor=faults.second_factor is not None)
    return 0


def tell_session_taken(log: LoginLog) -> None:
    """What the controller says when a login elsewhere takes the session with the same user."""
    log.tell(Moment.SESSION_TAKEN)


async def _fail(log: LoginLog, interval_s: float) -> int:
    attempt = 1
    while True:
        # IBC says the same of a refused password and of a server that hung up: the first failure leaves it open.
        if log.dialect is Controller.IBC and attempt == 1:
            log.tell(Moment.HUNG_UP)
        else:
            log.tell(Moment.ROUND)
            log.tell(Moment.REFUSED)
        if log.dialect is Controller.IBCONTROLLER:
            await asyncio.sleep(max(0.05, interval_s))
            return REFUSED_EXIT_CODE
        if attempt >= _TOO_MANY_AFTER:
            log.tell(Moment.TOO_MANY)
        await asyncio.sleep(max(0.05, interval_s))
        attempt += 1
        log.tell(Moment.ATTEMPT, attempt=attempt)


async def _meet_other_session(log: LoginLog) -> None:
    tell_session_taken(log)
    await asyncio.get_running_loop().create_future()


async def _is_confirmed(log: LoginLog, fault: SecondFactorFault, started_s: float) -> bool:
    """Wait with one dialog; False when it timed out."""
    log.tell(Moment.SECOND_FACTOR)
    wait_s = fault.dialog_timeout_s
    confirmed = False
    if fault.granted_after_s is not None:
        left_s = max(0.0, started_s + fault.granted_after_s - asyncio.get_running_loop().time())
        confirmed = left_s <= wait_s
        wait_s = min(left_s, wait_s)
    while wait_s > _HEARTBEAT_S:
        await asyncio.sleep(_HEARTBEAT_S)
        wait_s -= _HEARTBEAT_S
        log.beat()
    await asyncio.sleep(wait_s)
    log.tell(Moment.DIALOG_CLOSED)
    if confirmed:
        log.tell(Moment.CONFIRMED)
    return confirmed


def _timestamp() -> str:
    now = datetime.now(UTC)
    return f"{now:%Y-%m-%d %H:%M:%S}:{now.microsecond // 1000:03d}"
