"""What ran and was stopped, as a value: one for a bot, a gateway and a process of this program."""

from dataclasses import dataclass
from datetime import datetime

from orchestration.system.clock import describe_instant, format_duration


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Something that ran and was stopped, as it was found before it was stopped.

    Attributes:
        what: `bot`, `gateway`, or the purpose of a process of this program: `supervisor`, `monitor`, `startup`.
        who: What people call it, for example `process 4711`.
        pid: Its process id; None for a gateway.
        since: When it was started, aware; None where that is unknown.
        uptime_s: How long it had run, in seconds; None where that is unknown.
        in_time: Whether it stopped by itself within its time. False: it was killed; None: unknown.
        is_gone: Whether nothing of it runs any more. False where it could not be ended, for example another user's.
        was_running: Whether it still ran when it was asked to end. False: there was nothing left to stop.
        by: Who stopped it where that was not this command, for example `its supervisor (process 99)`; else empty.
    """

    what: str
    who: str
    pid: int | None = None
    since: datetime | None = None
    uptime_s: float | None = None
    in_time: bool | None = True
    is_gone: bool = True
    was_running: bool = True
    by: str = ""

    @property
    def how(self) -> str:
        """How it ended, as the end of a sentence."""
        if not self.is_gone:
            return "still runs, although it was stopped"
        by = f" by {self.by}" if self.by else ""
        if self.in_time is None:
            return f"was stopped{by}"
        return f"was stopped gracefully{by}" if self.in_time else f"did not stop in time and was killed{by}"

    def __str__(self) -> str:
        since = ""
        if self.since is not None:
            since = f" (since {describe_instant(self.since)}, up {format_duration(self.uptime_s)})"
        return f"the {self.what}, {self.who}{since}, {self.how}"

    @property
    def sentence(self) -> str:
        """The same as a sentence of its own."""
        return f"T{str(self)[1:]}."
