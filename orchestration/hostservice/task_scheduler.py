r"""Task Scheduler's part: the task is rendered, registered with `schtasks.exe`, read back and compared.

From WSL the same program is called through the mounted drive, with the file's Windows path. Its answers are taken from
its XML, its exit codes and its numbers, never from its words, which are in the user's language.
"""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from orchestration.errors import Check, HostServiceError, StepStatus
from orchestration.hostservice.schtasks import Schtasks
from orchestration.hostservice.service import (
    TEMPLATES,
    WRAPPER,
    HostService,
    HostServiceStatus,
    Rendered,
    Scope,
    ServicePlatform,
)
from orchestration.hostservice.task_fields import (
    FieldDifference,
    UnreadableTaskError,
    compare_fields,
    read_fields,
)
from orchestration.hostservice.task_xml import (
    ScheduledTask,
    TaskTrigger,
    encode_task_xml,
    find_task_problems,
    find_xml_problems,
    render_task_xml,
)
from orchestration.hostservice.windows_host import (
    WSL_TIMEOUT_S,
    WindowsHost,
    WindowsSide,
    is_elevated,
    to_wsl_path,
)
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError
from orchestration.system.files import write_atomic

_READABLE_BY_WINDOWS = 0o644  # WSL's file server reads as the distribution's user; the file holds no secret
_SHUTDOWN_MARGIN_S = 60.0
_WHAT_MAY_HELP = {
    TaskTrigger.BOOT: "Run it as an administrator whose account may log on as a batch job, or use --trigger=logon.",
    TaskTrigger.LOGON: "Run it as the Windows user that the task is for; a policy may forbid scheduled tasks.",
}


@dataclass(frozen=True, kw_only=True)
class TaskScheduler:
    """A `Registrar` for Windows.

    Attributes:
        service: What it is about.
        host: What was found out about Windows.
        commands: The door.
        folder: Where the file lies while `schtasks.exe` reads it; the state folder.
        trigger: What starts the task.
        templates: The project's `templates` folder.
    """

    service: HostService
    host: WindowsHost
    commands: Commands
    folder: Path
    trigger: TaskTrigger = TaskTrigger.LOGON
    templates: Path = TEMPLATES

    @property
    def target(self) -> ServicePlatform:
        """Whose boot this is."""
        return ServicePlatform.WINDOWS

    @property
    def task(self) -> ScheduledTask:
        """The task as it should be."""
        return ScheduledTask(
            name=self.service.name,
            trigger=self.trigger,
            user_id=self.host.user_id,
            distribution=self.host.distribution,
            wrapper=self.host.project_dir / WRAPPER.as_posix(),
            environment=tuple(sorted(_inside_wsl(self.service.environ, self.host.side).items())),
            arguments=self.service.arguments,
        )

    @property
    def start_command(self) -> str:
        """The command that starts it now, on Windows or in WSL."""
        return f'schtasks.exe /Run /TN "{self.task.path}"'

    def render(self) -> Rendered:
        """The definition as it should be.

        Raises:
            HostServiceError: It cannot be made: something is not known, or cannot be written down.
        """
        problems = find_task_problems(self.task)
        if problems:
            here = self.host.side is not WindowsSide.ABSENT
            lacks = tuple((lack.what, lack.fix) for lack in self.host.lacks if here)
            what, fixes = zip(*(lacks or problems), strict=True)  # a lack is the reason, a problem what comes of it
            raise HostServiceError(
                f"the scheduled task cannot be made: {'; '.join(what)}", next_action=" ".join(fixes), evidence=what
            )
        text = render_task_xml(self.task, templates=self.templates)
        return Rendered(file_name=f"{self.service.name}.xml", content=encode_task_xml(text))

    def check_rendered(self, rendered: Rendered) -> tuple[Check, ...]:
        """Is the definition what Task Scheduler's schema asks for? On any operating system."""
        name, fix = "task definition", "Put templates/windows back as it was (`git status` shows changes)."
        problems = find_xml_problems(rendered.content)
        if not problems:
            made = Check(name=name, status=StepStatus.OK, detail=f"{self.trigger} trigger, UTF-16")
            guesses = (
                Check(name="Windows", status=StepStatus.WARN, detail=one.what, fix=one.fix) for one in self.host.assumed
            )
            return (made, *guesses)
        return tuple(Check(name=name, status=StepStatus.FAIL, detail=problem, fix=fix) for problem in problems)

    def check_host(self) -> tuple[Check, ...]:
        """Does this host have what registering and running the task needs?"""
        if self.host.lacks:
            return tuple(
                Check(name="Windows", status=StepStatus.FAIL, detail=lack.what, fix=lack.fix)
                for lack in self.host.lacks
            )
        found = f"{self.host.user_name or self.host.user_id}, distribution {self.host.distribution}"
        checks = [Check(name="Windows", status=StepStatus.OK, detail=found)]
        if self.host.side is WindowsSide.WINDOWS:
            checks.append(self._check_wrapper())
        if self.trigger is TaskTrigger.BOOT:
            checks.append(self._check_administrator())
        return tuple(checks)

    def _check_wrapper(self) -> Check:
        wrapper = str(self.task.wrapper)
        argv = [self.host.program("wsl.exe"), "-d", self.host.distribution, "--cd", "/", "-e", "test", "-f", wrapper]
        with contextlib.suppress(CommandNotFoundError, CommandTimedOutError):
            if self.commands.run(argv, timeout_s=WSL_TIMEOUT_S).ok:
                return Check(name="wrapper", status=StepStatus.OK, detail=wrapper)
        return Check(
            name="wrapper",
            status=StepStatus.FAIL,
            detail=f"the distribution {self.host.distribution} has no {wrapper}",
            fix="Run `.venv/bin/inv install --target=windows` inside the distribution, in the project's folder there.",
        )

    def _check_administrator(self) -> Check:
        name = "administrator"
        elevated = is_elevated(self.commands, self.host)
        if elevated:
            return Check(name=name, status=StepStatus.OK, detail="a boot trigger may be registered")
        return Check(
            name=name,
            status=StepStatus.FAIL if elevated is False else StepStatus.WARN,
            detail="a boot trigger needs an administrator",
            fix="Open the terminal with `Run as administrator`, then `wsl` and the same command; "
            "or use --trigger=logon.",
        )

    def probe(self) -> HostServiceStatus:
        """One look at what is registered. Changes nothing, raises nothing."""
        name = self.task.path
        scope = Scope.SYSTEM if self.trigger is TaskTrigger.BOOT else Scope.USER
        lacks = tuple(f"{lack.what}. {lack.fix}" for lack in self.host.lacks)
        if not self.host.system32:
            return HostServiceStatus(name=name, scope=scope, installed=False, lacks=lacks)
        try:
            installed = self._read_installed()
            if installed is None:
                return HostServiceStatus(name=name, scope=scope, installed=False, lacks=lacks)
            fields = read_fields(installed)
            differences = self._compare(installed, self.render())
            active = self._is_active()
        except (HostServiceError, UnreadableTaskError) as error:
            return HostServiceStatus(name=name, scope=scope, installed=False, detail=str(error), lacks=lacks)
        switches = [value for field, value in fields.items() if _is_switch(field)]
        enabled = all(value == "true" for value in switches)
        return HostServiceStatus(
            name=name,
            scope=scope,
            installed=True,
            enabled=enabled,
            active=active,
            state="running" if active else "ready" if enabled else "disabled",
            differs=bool(differences),
            detail=str(differences[0]) if differences else "",
            lacks=lacks,
        )

    def diff(self, rendered: Rendered) -> tuple[str, ...]:
        """What is registered against what should be; empty if there is no difference."""
        installed = self._read_installed() if self.host.system32 else None
        if installed is None:
            text = rendered.content.decode("utf-16")
            return (f"+ {self.task.path}", *(f"+ {line}" for line in text.splitlines()))
        return tuple(line for one in self._compare(installed, rendered) for line in _as_lines(one))

    def register(self, rendered: Rendered) -> tuple[str, ...]:
        """Register the task unless it is there as it should be; read it back and compare.

        Raises:
            HostServiceError: Windows refused it, or keeps something else than it was given.
        """
        self._require_ready(rendered)
        installed = self._read_installed()
        if installed is not None and not self._compare(installed, rendered):
            return ()
        file = self.folder / rendered.file_name
        write_atomic(file, rendered.content, mode=_READABLE_BY_WINDOWS)
        try:
            self._schtasks.create(self.task.path, file, refused=_WHAT_MAY_HELP[self.trigger])
        finally:
            with contextlib.suppress(OSError):
                file.unlink()
        stored = self._read_installed()
        differences = () if stored is None else self._compare(stored, rendered)
        if stored is None or differences:
            raise HostServiceError(
                f"{self.task.path} was accepted, and Windows now has "
                + ("no such task" if stored is None else "something else than it was given"),
                next_action="Look at the task in Task Scheduler (taskschd.msc); a policy may forbid or change it.",
                evidence=tuple(str(one) for one in differences),
            )
        return (f"{'registered' if installed is None else 'replaced'} {self.task.path}, read back and compared",)

    def start(self) -> tuple[str, ...]:
        """Start the task now, unless it runs.

        Raises:
            HostServiceError: It was refused.
        """
        if self._is_active():
            return ()
        self._schtasks.run(self.task.path)
        return (f"started {self.task.path}",)

    def unregister(self) -> tuple[str, ...]:
        """Stop what runs gracefully, then remove the task and nothing else.

        Raises:
            HostServiceError: It was refused.
        """
        if not self.host.system32 or self._read_installed() is None:
            return ()
        done = []
        if self._is_active():
            self._stop_gracefully()
            done.append("stopped the system gracefully")
        self._schtasks.delete(self.task.path)
        return (*done, f"removed {self.task.path}")

    def _stop_gracefully(self) -> None:
        # `schtasks /End` would end wsl.exe at once, and the bot with it.
        next_action = "In WSL, in the project's folder: `.venv/bin/inv shutdown --keep-gateway`; then again."
        if self.host.side is not WindowsSide.WSL:
            raise HostServiceError(f"{self.task.path} runs, and its bot is in WSL", next_action=next_action)
        try:
            result = self.commands.run(
                [sys.executable, "-m", "invoke", "shutdown", "--keep-gateway"],
                timeout_s=self.service.stop_timeout_s + _SHUTDOWN_MARGIN_S,
                cwd=Path(self.service.project_dir),
                environ=dict(self.service.environ),
            )
        except (CommandNotFoundError, CommandTimedOutError) as error:
            raise HostServiceError(f"the system could not be stopped: {error}", next_action=next_action) from error
        if not result.ok:
            raise HostServiceError(
                "the system could not be stopped", next_action=next_action, evidence=result.last_lines()
            )

    def _require_ready(self, rendered: Rendered) -> None:
        failed = [
            check for check in (*self.check_host(), *self.check_rendered(rendered)) if check.status is StepStatus.FAIL
        ]
        if failed:
            raise HostServiceError(
                f"{self.task.path} cannot be registered: {failed[0].detail}",
                next_action=failed[0].fix,
                evidence=tuple(check.detail for check in failed),
            )

    def _compare(self, installed: str, rendered: Rendered) -> tuple[FieldDifference, ...]:
        return compare_fields(installed, rendered.content.decode("utf-16"), accounts=self.host.accounts)

    def _read_installed(self) -> str | None:
        return self._schtasks.read_definition(self.task.path)

    def _is_active(self) -> bool:
        return self._schtasks.is_running(self.task.path)

    @property
    def _schtasks(self) -> Schtasks:
        return Schtasks(commands=self.commands, host=self.host)


def _is_switch(field: str) -> bool:
    return field == "Settings/Enabled" or (field.startswith("Triggers/") and field.endswith("/Enabled"))


def _as_lines(difference: FieldDifference) -> tuple[str, ...]:
    lines = []
    if difference.installed is not None:
        lines.append(f"- {difference.field}: {difference.installed}")
    if difference.wanted is not None:
        lines.append(f"+ {difference.field}: {difference.wanted}")
    return tuple(lines)


def _inside_wsl(environ: Mapping[str, str], side: WindowsSide) -> dict[str, str]:
    """The variables as the distribution has to see them: on Windows, `ENV_FILE` is a Windows path."""
    if side is not WindowsSide.WINDOWS or "ENV_FILE" not in environ:
        return dict(environ)
    return {**environ, "ENV_FILE": str(PurePosixPath(to_wsl_path(PureWindowsPath(environ["ENV_FILE"]))))}
