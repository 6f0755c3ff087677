"""The login as the real image's controller logs it, line by line, so that the same reading of a log serves both.

The controller's lines look like `2026-11-18 09:00:01:123 IBC: Login attempt: 1`; its starting script's like
`IBC returned exit status 87`. Lines that begin with `SIMULATED` after the time are this program's own.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from orchestration.simulator.faults import Faults, SecondFactor

SECOND_FACTOR_EXIT_STATUS = 87  # the controller's 1111, modulo 256
_TOO_MANY_AFTER = 3
_TOO_MANY = "Too many failed login attempts. Please wait 53 seconds before attempting to re-login again."
_RESTART_PAUSE_S = 0.5  # between two sessions of the controller; also keeps `never:0` from spinning


class Log:
    """Writes the gateway's log.

    Args:
        write: Takes one line without its end; must not raise.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def controller(self, text: str) -> None:
        """A line of the login's controller."""
        self._write(f"{_timestamp()} IBC: {text}")

    def script(self, text: str) -> None:
        """A line of the script that starts the controller; it has no time."""
        self._write(text)

    def simulator(self, text: str) -> None:
        """A line of this program's own."""
        self._write(f"{_timestamp()} SIMULATED: {text}")


async def log_in(log: Log, faults: Faults, *, second_factor_exits: bool) -> int:
    """Go through the login; return when it is over.

    Never returns while a fault keeps the login from ending: cancel it.

    Returns:
        0: logged in. 87: the second factor was not confirmed, and `second_factor_exits`.
    """
    started_s = asyncio.get_running_loop().time()
    attempt = 1
    while True:
        if attempt == 1:
            log.controller("Starting session: will exit if login dialog is not displayed within 60 seconds")
            log.simulator("this login reaches no broker and uses no password")
        log.controller(f"Login attempt: {attempt}")
        if faults.wrong_password_interval_s is not None:
            await _fail_for_ever(log, faults.wrong_password_interval_s)
        await asyncio.sleep(faults.slow_login_s)
        if faults.session_taken_after_s == 0:
            await _meet_other_session(log)
        if faults.second_factor is None or await _is_confirmed(log, faults.second_factor, started_s):
            break
        if faults.second_factor.logs_in_again:
            # As the controller does with RELOGIN_AFTER_TWOFA_TIMEOUT=yes: the broker counts these attempts, too.
            attempt += 1
            if attempt >= _TOO_MANY_AFTER:
                log.controller(_TOO_MANY)
            await asyncio.sleep(_RESTART_PAUSE_S)
            continue
        log.controller("Exiting with exit code=1111")
        log.script(f"IBC returned exit status {SECOND_FACTOR_EXIT_STATUS}")
        if second_factor_exits:
            return SECOND_FACTOR_EXIT_STATUS
        await asyncio.sleep(_RESTART_PAUSE_S)
    log.controller("Login has completed")
    log.controller("Configuration tasks completed")
    return 0


def tell_session_taken(log: Log) -> None:
    """What the controller logs when the same user logs in somewhere else."""
    log.controller("detected dialog entitled: Existing session detected; event=Opened")
    log.controller("User must choose whether to continue with this session")


async def _fail_for_ever(log: Log, interval_s: float) -> None:
    attempt = 1
    while True:
        log.controller("detected dialog entitled: Login failed; event=Opened")
        log.controller("Login failed")
        if attempt >= _TOO_MANY_AFTER:
            log.controller(_TOO_MANY)
        await asyncio.sleep(max(0.05, interval_s))
        attempt += 1
        log.controller(f"Login attempt: {attempt}")


async def _meet_other_session(log: Log) -> None:
    tell_session_taken(log)
    await asyncio.get_running_loop().create_future()


async def _is_confirmed(log: Log, fault: SecondFactor, started_s: float) -> bool:
    """Wait with one dialog; False when it timed out."""
    log.controller("detected dialog entitled: Second Factor Authentication; event=Opened")
    log.controller("Second Factor Authentication initiated")
    wait_s = fault.dialog_timeout_s
    confirmed = False
    if fault.granted_after_s is not None:
        left_s = max(0.0, started_s + fault.granted_after_s - asyncio.get_running_loop().time())
        confirmed = left_s <= wait_s
        wait_s = min(left_s, wait_s)
    await asyncio.sleep(wait_s)
    log.controller("detected dialog entitled: Second Factor Authentication; event=Closed")
    return confirmed


def _timestamp() -> str:
    now = datetime.now(UTC)
    return f"{now:%Y-%m-%d %H:%M:%S}:{now.microsecond // 1000:03d}"
