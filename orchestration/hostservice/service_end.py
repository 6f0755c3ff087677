"""How systemd ended the boot service's last run, where it was not the program's own doing (W9).

A program that hangs, or that the kernel kills, cannot say so itself. systemd knows, and tells the command that it runs
after each end (`ExecStopPost=`) in its environment: `SERVICE_RESULT`, `EXIT_CODE` and `EXIT_STATUS` (systemd.exec(5)).
That command writes it down; the next start tells it and forgets it.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from orchestration.state_dir import SERVICE_END, read_fields, write_fields
from orchestration.system.clock import describe_instant

# The other results are ends that the program has chosen and reported, or starts that never began (systemd.service(5)).
_HOW = {
    "watchdog": "did not respond within the unit's `WatchdogSec=`, so systemd's watchdog ended it",
    "oom-kill": "was stopped by systemd after the kernel had killed one of its processes for lack of memory (OOM kill)",
    "timeout": "did not start or stop in the time it was given, so systemd ended it",
    "signal": "was killed from outside (SIG{status})",
    "core-dump": "crashed (SIG{status})",
}
_NEXT = {
    "watchdog": "Nothing to do now: this start validates everything again. If it happens again, report it with what "
    "`inv logs --of supervisor` shows.",
    "oom-kill": "Give the host more memory, or the bot less to do; `journalctl -k --grep=oom` shows which process was "
    "killed.",
    "timeout": "Nothing to do now: this start validates everything again. `inv logs --of supervisor` shows what it was "
    "waiting for.",
}
_NEXT_OF_KILL = "Nothing to do if intended; otherwise `inv logs --of supervisor` shows what came before."


@dataclass(frozen=True, kw_only=True)
class ServiceEnd:
    """An end of the boot service that the program did not choose.

    Attributes:
        result: systemd's word for it (`SERVICE_RESULT`).
        exit_status: The main process's exit code, or its signal's name without `SIG`; empty where that is unknown.
        at: When, aware, ISO 8601.
    """

    result: str
    exit_status: str
    at: str

    @property
    def cause(self) -> str:
        """The stable word of the alert: `SERVICE_WATCHDOG`, `SERVICE_OOM_KILL`, ..."""
        return f"SERVICE_{self.result.replace('-', '_').upper()}"

    @property
    def message(self) -> str:
        """One sentence for people."""
        how = _HOW[self.result].format(status=self.exit_status or "?")
        with contextlib.suppress(ValueError):
            return f"The boot service's last run {how} at {describe_instant(datetime.fromisoformat(self.at))}."
        return f"The boot service's last run {how}."

    @property
    def next_action(self) -> str:
        """What the operator should do."""
        return _NEXT.get(self.result, _NEXT_OF_KILL)


def parse_service_end(environ: Mapping[str, str], *, now: datetime) -> ServiceEnd | None:
    """What systemd says of an end; None where it says nothing, or where the program has ended by itself. Pure."""
    result = environ.get("SERVICE_RESULT", "")
    if result not in _HOW:
        return None
    return ServiceEnd(result=result, exit_status=environ.get("EXIT_STATUS", ""), at=now.isoformat())


def note_service_end(state_dir: Path, environ: Mapping[str, str], *, now: datetime) -> None:
    """Write down how systemd ended the service. Nothing where the program has ended by itself; it cannot fail."""
    end = parse_service_end(environ, now=now)
    if end is not None:
        with contextlib.suppress(OSError):
            write_fields(state_dir / SERVICE_END, asdict(end))


def take_service_end(state_dir: Path) -> ServiceEnd | None:
    """What was written down since the last start, which is then forgotten; None if there is nothing to tell."""
    path = state_dir / SERVICE_END
    try:
        fields = read_fields(path)
        end = ServiceEnd(result=str(fields["result"]), exit_status=str(fields["exit_status"]), at=str(fields["at"]))
        path.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return end if end.result in _HOW else None
