"""The scheduled task made from the settings, and from what Windows and WSL say."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from orchestration.errors import HostServiceError
from orchestration.hostservice.schtasks import Schtasks
from orchestration.hostservice.service import Scope, build_host_service, build_name, read_service_settings
from orchestration.hostservice.task_fields import UnreadableTaskError, read_fields
from orchestration.hostservice.task_scheduler import TaskScheduler
from orchestration.hostservice.task_xml import TaskTrigger, build_task_path
from orchestration.hostservice.windows_host import WindowsHost, WindowsSide, find_side, find_windows_host
from orchestration.settings import Settings
from orchestration.system.commands import Commands

_DISTRIBUTION = re.compile(r"^-d (\S+) ")


@dataclass(frozen=True, kw_only=True)
class WindowsChoices:
    r"""What the operator said on the command line. What they did not say stays as it is registered, or is found out.

    Attributes:
        trigger: What starts the task; else the registered task's, else the user's logon.
        distribution: The WSL distribution; else this one, else the registered task's, else the only one there is.
        user: The Windows user, `DOMAIN\name` or a security identifier; else the present one.
    """

    trigger: TaskTrigger | None = None
    distribution: str = ""
    user: str = ""


def read_choices(trigger: str, distribution: str, user: str) -> WindowsChoices:
    """What stands on the command line; empty texts for what does not.

    Raises:
        HostServiceError: There is no such trigger.
    """
    try:
        chosen = TaskTrigger(trigger) if trigger else None
    except ValueError:
        raise HostServiceError(
            f"--trigger: {trigger!r} is no trigger", next_action="Allowed are logon and boot."
        ) from None
    return WindowsChoices(trigger=chosen, distribution=distribution.strip(), user=user.strip())


def build_task_scheduler(
    settings: Settings,
    *,
    commands: Commands,
    choices: WindowsChoices | None = None,
    side: WindowsSide | None = None,
) -> TaskScheduler:
    """Windows' part of the host service.

    Args:
        settings: As this shell sees them; the service is made from what it will see itself.
        commands: The door.
        choices: What the operator said.
        side: Where this program stands; found out by default.
    """
    said = choices or WindowsChoices()
    host = find_windows_host(
        commands,
        environ=settings.environ,
        project_dir=settings.project_dir,
        side=side or find_side(),
        distribution=said.distribution,
        user=said.user,
    )
    registered = _read_registered(commands, host, settings.instance)
    if not host.distribution and (match := _DISTRIBUTION.match(registered.get("Actions/Exec/Arguments", ""))):
        lacks = tuple(lack for lack in host.lacks if not lack.about_distribution)
        host = replace(host, distribution=match[1], lacks=lacks)
    at_boot = any(field.startswith("Triggers/BootTrigger") for field in registered)
    trigger = said.trigger or (TaskTrigger.BOOT if at_boot else TaskTrigger.LOGON)
    seen = read_service_settings(settings)
    service = build_host_service(
        seen,
        scope=Scope.SYSTEM if trigger is TaskTrigger.BOOT else Scope.USER,
        user=host.user_name or host.user_id,
        home=Path.home(),
    )
    return TaskScheduler(service=service, host=host, commands=commands, folder=seen.state_dir, trigger=trigger)


def _read_registered(commands: Commands, host: WindowsHost, instance: str) -> dict[str, str]:
    """The fields of the task that is registered; none if there is none, or if Windows does not answer."""
    if not host.system32:
        return {}
    try:
        definition = Schtasks(commands=commands, host=host).read_definition(build_task_path(build_name(instance)))
        return read_fields(definition) if definition is not None else {}
    except (HostServiceError, UnreadableTaskError):
        return {}  # the registrar's user gets the error
