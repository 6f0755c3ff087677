"""The door to Task Scheduler: `schtasks.exe`, from Windows or from WSL.

It prints in the console's code page and in the user's language, and ends with 1 for every kind of refusal. What is
taken from it: exit codes, XML, and one number.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import HostServiceError
from orchestration.hostservice.task_fields import UnreadableTaskError, find_definition
from orchestration.hostservice.windows_host import TIMEOUT_S, WindowsHost, WindowsSide
from orchestration.system.commands import CommandNotFoundError, CommandResult, Commands, CommandTimedOutError

# SCHED_S_TASK_RUNNING (0x41301), in the column of the last result of `/Query /V /FO CSV`: a number in every language.
_RUNNING, _LAST_RESULT_COLUMN = "267009", 6
_TRY_BY_HAND = "Look at the task in Task Scheduler (taskschd.msc)."


@dataclass(frozen=True, kw_only=True)
class Schtasks:
    """What this project asks of `schtasks.exe`.

    Attributes:
        commands: The door.
        host: Where it is.
    """

    commands: Commands
    host: WindowsHost

    def read_definition(self, task: str) -> str | None:
        """The registered definition; None if there is none, or none that this user may read.

        Raises:
            HostServiceError: `schtasks.exe` cannot be run, or does not print a definition.
        """
        result = self._run("/Query", "/TN", task, "/XML")
        if not result.ok:
            return None  # it says why in words only
        try:
            return find_definition(result.stdout)
        except UnreadableTaskError as error:
            raise HostServiceError(
                f"{task} is registered and cannot be read: {error}",
                next_action=_TRY_BY_HAND,
                evidence=result.last_lines(),
            ) from error

    def is_running(self, task: str) -> bool:
        """Whether it runs now.

        Raises:
            HostServiceError: `schtasks.exe` cannot be run.
        """
        result = self._run("/Query", "/TN", task, "/V", "/FO", "CSV", "/NH")
        rows = csv.reader(line for line in result.stdout.replace("\0", "").splitlines() if line.strip())
        return result.ok and any(row[_LAST_RESULT_COLUMN : _LAST_RESULT_COLUMN + 1] == [_RUNNING] for row in rows)

    def create(self, task: str, file: Path, *, refused: str) -> None:
        """Register a definition, in the place of the one that is there.

        Args:
            task: Its full name.
            file: The definition, on a disk that Windows can read.
            refused: What to try if Windows refuses it.

        Raises:
            HostServiceError: It was refused.
        """
        self._do("/Create", "/TN", task, "/XML", self._to_windows(file), "/F", task=task, next_action=refused)

    def run(self, task: str) -> None:
        """Start it.

        Raises:
            HostServiceError: It was refused.
        """
        self._do("/Run", "/TN", task, task=task, next_action=_TRY_BY_HAND)

    def delete(self, task: str) -> None:
        """Remove it. What runs goes on.

        Raises:
            HostServiceError: It was refused.
        """
        self._do("/Delete", "/TN", task, "/F", task=task, next_action="Run it as the user who registered the task.")

    def _do(self, *arguments: str, task: str, next_action: str) -> None:
        result = self._run(*arguments)
        if not result.ok:
            raise HostServiceError(
                f"schtasks.exe {arguments[0]} of {task} failed with exit code {result.exit_code}",
                next_action=next_action,
                evidence=result.last_lines(),
            )

    def _to_windows(self, file: Path) -> str:
        if self.host.side is WindowsSide.WINDOWS:
            return str(file)
        result = self._call(["wslpath", "-w", str(file)])
        path = result.stdout.strip("\r\n")
        if not result.ok or not path:
            raise HostServiceError(
                f"Windows has no path to {file}",
                next_action="Put STATE_DIR on a disk that Windows can read.",
                evidence=result.last_lines(),
            )
        return path

    def _run(self, *arguments: str) -> CommandResult:
        return self._call([self.host.program("schtasks.exe"), *arguments])

    def _call(self, argv: Sequence[str]) -> CommandResult:
        try:
            return self.commands.run(argv, timeout_s=TIMEOUT_S)
        except (CommandNotFoundError, CommandTimedOutError) as error:
            raise HostServiceError(
                str(error), next_action="Let WSL run Windows programs ([interop] in /etc/wsl.conf), then try again."
            ) from error
