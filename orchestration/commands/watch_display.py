"""The live view of a supervisor: a live view in a terminal; otherwise one line per message."""

import shutil
from collections import deque
from datetime import datetime
from typing import IO, TYPE_CHECKING, TextIO

from orchestration.presenter import build_console, fit_line
from orchestration.redaction import clean_line, mask_account
from orchestration.settings import Settings
from orchestration.supervision import Decision, Notice, Observation
from orchestration.supervision.context import WatchDisplay
from orchestration.system.clock import format_duration
from orchestration.system.streams import steady_stderr, steady_stdout

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_KEPT_NOTICES = 8
_REFRESHES_PER_SECOND = 1


def build(settings: Settings, *, as_json: bool = False, owns_bot: bool = True) -> WatchDisplay:
    """The view that fits where the output goes. Standard output is a program's alone where one asked for JSON."""
    stream = steady_stderr() if as_json else steady_stdout()
    return LiveWatch(stream, settings, owns_bot=owns_bot) if stream.isatty() else PlainWatch(stream)


class PlainWatch:
    """One line for each change of the status, and for each thing that is said."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._status = ""

    def look(self, observation: Observation, decision: Decision) -> None:
        """See `WatchDisplay.look`."""
        del observation
        if decision.status_text != self._status:
            self._status = decision.status_text
            self._line(decision.status_text)

    def tell(self, notice: Notice) -> None:
        """See `WatchDisplay.tell`."""
        print_notice(self._stream, notice)

    def close(self) -> None:
        """See `WatchDisplay.close`."""

    def _line(self, text: str) -> None:
        self._stream.write(clean_line(text) + "\n")
        self._stream.flush()


def print_notice(stream: IO[str], notice: Notice) -> None:
    """One line for a notice."""
    then = f" Next: {notice.next_action}" if notice.next_action else ""
    line = clean_line(f"{notice.severity}: {notice.title}: {notice.message}{then}")
    parts = fit_line(line, shutil.get_terminal_size().columns) if stream.isatty() else [line]
    stream.writelines(clean_line(part) + "\n" for part in parts)
    stream.flush()


class LiveWatch:
    """A table of what is so now, and the last things that were said."""

    def __init__(self, stream: TextIO, settings: Settings, *, owns_bot: bool = True) -> None:
        self._console = build_console(stream)
        self._settings = settings
        self._farewell = "stops the bot gracefully and ends the watch" if owns_bot else "ends the watch; the bot stays"
        self._live: Live | None = None
        self._is_closed = False
        self._looked: tuple[Observation, Decision] | None = None
        self._notices: deque[tuple[datetime, Notice]] = deque(maxlen=_KEPT_NOTICES)
        self._began = datetime.now().astimezone()

    def look(self, observation: Observation, decision: Decision) -> None:
        """See `WatchDisplay.look`."""
        from rich.live import Live

        self._is_closed = False
        self._looked = (observation, decision)
        if self._live is None:
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=_REFRESHES_PER_SECOND
            )
            self._live.start()

    def tell(self, notice: Notice) -> None:
        """See `WatchDisplay.tell`. What is said after the view was closed is a line below it."""
        if self._is_closed:
            print_notice(self._console.file, notice)
        else:
            self._notices.append((datetime.now().astimezone(), notice))

    def close(self) -> None:
        """See `WatchDisplay.close`. The next look opens it again."""
        self._is_closed = True
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> "RenderableType":
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False, expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        for name, text in self._rows():
            table.add_row(Text(name, "bold"), Text(clean_line(text)))
        parts: list[RenderableType] = [table]
        if self._notices:
            told = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False, expand=True)
            told.add_column(no_wrap=True)
            told.add_column(ratio=1, overflow="fold")
            for at, notice in self._notices:
                colour = {"info": "green", "warning": "yellow"}.get(notice.severity, "red")
                told.add_row(f"{at:%H:%M:%S}", Text(clean_line(f"{notice.title}: {notice.message}"), colour))
            parts.append(told)
        parts.append(Text(f"Ctrl-C {self._farewell}.", "dim"))
        return Group(*parts)

    def _rows(self) -> list[tuple[str, str]]:
        if self._looked is None:
            return []
        observation, decision = self._looked
        watched = format_duration((datetime.now().astimezone() - self._began).total_seconds())
        marked = " (SIMULATED)" if observation.gateway is not None and observation.gateway.is_simulated else ""
        api, bot, plan = observation.api, observation.bot, observation.plan
        accounts = ", ".join(mask_account(account) for account in api.accounts)
        latency = "" if api.latency_ms is None else f", latency {api.latency_ms:.0f} ms"
        gateway = "the engine does not answer" if observation.gateway is None else str(observation.gateway)
        state = str(api.state) if api.is_tried else "not connected"
        connected = f"connected: account {accounts}{latency}" if api.is_identified else state
        looked = observation.now.astimezone()
        return [
            ("system", f"instance {self._settings.instance}, watched for {watched}, last look {looked:%H:%M:%S}"),
            ("status", decision.status_text),
            ("gateway", f"{gateway}{marked}"),
            ("API", connected),
            ("bot", f"process {bot.key.partition(':')[0]}" if bot.is_running else "not running"),
            ("plan", f"strategy {plan.strategy} of {plan.date}" if plan.date else f"strategy {plan.strategy}"),
        ]
