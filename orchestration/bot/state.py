"""What is known of the bot at one moment. Pure: a look fills it in, and rules judge it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class BotState:
    """What is known of a bot now. A watcher fills in all of it; a single look, as for `inv status`, only a part.

    Attributes:
        is_running: Whether it runs.
        key: What tells this bot from one launched before or after it, for example its pid and birth.
        program: Which program it is, for people; empty where that is unknown.
        exit_code: Of one that has ended, negative for a signal; None while it runs, and where that is unknown.
        ended_at: When its end was seen, aware, as it was written down; None while it runs, and where it was not.
        outside_stop: How another program ended it, or what it left behind, where that is known, as the end of a
            sentence: `was stopped through the Docker engine`. Its end is then unplanned, whatever its exit code is.
        is_stopping: Whether this program was asked to stop it: its end is then planned, whatever the bot says.
        says_stopping: Whether it said that it is stopping (`STOPPING=1`).
        status: Its last `STATUS=`; empty if it sent none.
        watchdog_age_s: Seconds since its last `WATCHDOG=1`; None if it never sent one.
        watchdog_limit_s: After how many seconds of silence it counts as hung; None if that is not watched.
        says_hung: Whether it said that it is hung (`WATCHDOG=trigger`), and not that it lives since.
        is_connected: Whether it held a connection to the gateway at the last look; None if that is unknown.
        has_connected: Whether it held one at any look; None if that is unknown.
        suspended: Why it runs and does nothing, as the end of a sentence: `is paused`; empty otherwise.
        guard_problem: Why the order guard that it needs does not work, as the end of a sentence: `has ended`; empty
            where it works, and where none is needed.
        is_withheld: Whether there is none because none is to run on Strategy C (`STRATEGY_C_BOT=none`).
    """

    is_running: bool = False
    key: str = ""
    program: str = ""
    exit_code: int | None = None
    ended_at: datetime | None = None
    outside_stop: str = ""
    is_stopping: bool = False
    says_stopping: bool = False
    status: str = ""
    watchdog_age_s: float | None = None
    watchdog_limit_s: float | None = None
    says_hung: bool = False
    is_connected: bool | None = None
    has_connected: bool | None = None
    suspended: str = ""
    guard_problem: str = ""
    is_withheld: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether it ended by itself with 0: its work for the plan's date is done."""
        return not self.is_running and self.exit_code == 0 and not self.outside_stop

    @property
    def has_lost_connection(self) -> bool:
        """Whether it held a connection to the gateway and holds none now."""
        return bool(self.has_connected) and self.is_connected is False

    @property
    def never_connected(self) -> bool:
        """Whether it is known that it never held one: it may wait for the market to open."""
        return self.has_connected is False
