"""Which operating system's part is meant, and how it is made from the settings."""

import dataclasses
import os
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from orchestration.errors import HostServiceError
from orchestration.hostservice.service import (
    HostService,
    HostServiceStatus,
    Registrar,
    Scope,
    ServicePlatform,
    build_host_service,
    read_service_settings,
)
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands

if TYPE_CHECKING:
    from orchestration.hostservice.windows import WindowsChoices


def choose_target(word: str) -> ServicePlatform:
    """The target that a word of the command line means: on Windows and in WSL `auto` is Windows.

    Raises:
        HostServiceError: It means none.
    """
    if word == "auto":
        from orchestration.hostservice.linux_host import is_wsl

        return ServicePlatform.WINDOWS if os.name == "nt" or is_wsl() else ServicePlatform.LINUX
    try:
        return ServicePlatform(word)
    except ValueError:
        raise HostServiceError(
            f"--target: {word!r} is no target", next_action="Allowed are linux, windows and auto."
        ) from None


def build_registrar(
    target: ServicePlatform,
    scope: Scope,
    settings: Settings,
    *,
    commands: Commands,
    clock: Clock,
    windows: "WindowsChoices | None" = None,
) -> Registrar:
    """The operating system's part for this project.

    Args:
        target: Whose boot.
        scope: The machine's service or one user's.
        settings: As this shell sees them; the service is made from what it will see itself.
        commands: The door to the operating system's own programs.
        clock: For what takes a moment.
        windows: What the operator said about a scheduled task. Its trigger says whose it is; the scope does not.

    Raises:
        HostServiceError: There is no such part here.
    """
    if target is ServicePlatform.WINDOWS:
        from orchestration.hostservice.windows import build_task_scheduler

        return build_task_scheduler(settings, commands=commands, choices=windows)
    from orchestration.hostservice.linux_host import read_linux_host, read_owner
    from orchestration.hostservice.systemd import SystemdRegistrar

    seen = read_service_settings(settings)
    host = read_linux_host()
    # Under sudo, a user's service is still that user's: to be told so is better than to look at root's.
    is_callers = os.name != "posix" or (scope is Scope.USER and not host.is_root)
    account = host.caller if is_callers else read_owner(seen.project_dir)
    service = build_host_service(seen, scope=scope, user=account.name, home=account.home)
    return SystemdRegistrar(
        service=service if os.name == "posix" else as_in_wsl(service),
        account=account,
        host=host,
        commands=commands,
        clock=clock,
        state_dir=seen.state_dir,
        own_folders=(seen.state_dir, seen.log_dir, seen.emergency_gameplan_path.parent),
    )


def as_in_wsl(service: HostService) -> HostService:
    r"""A service that was made on Windows, with its folders as Linux calls them: `C:\bot` is `/mnt/c/bot`."""
    from orchestration.hostservice.windows_host import to_wsl_path

    def translate(path: str | PurePath) -> PurePosixPath:
        windows = PureWindowsPath(path)
        return PurePosixPath(to_wsl_path(windows)) if windows.drive else PurePosixPath(windows.as_posix())

    environ = dict(service.environ)
    if "ENV_FILE" in environ:
        environ["ENV_FILE"] = str(translate(environ["ENV_FILE"]))
    return dataclasses.replace(
        service,
        home=translate(service.home),
        project_dir=translate(service.project_dir),
        wrapper=translate(service.wrapper),
        writable=tuple(translate(path) for path in service.writable),
        environ=environ,
    )


def build_registrars(
    target: ServicePlatform, settings: Settings, *, commands: Commands, clock: Clock
) -> tuple[Registrar, ...]:
    """One for each place where the service of this instance may be registered; the arguments are `build_registrar`'s.

    Raises:
        HostServiceError: There is no such part here.
    """
    scopes = (Scope.SYSTEM, Scope.USER) if target is ServicePlatform.LINUX else (Scope.SYSTEM,)
    return tuple(build_registrar(target, scope, settings, commands=commands, clock=clock) for scope in scopes)


def read_service_status(settings: Settings, *, commands: Commands, clock: Clock) -> HostServiceStatus | None:
    """What `inv status` shows: the registered service of this instance, or None. Changes nothing, raises nothing."""
    target = choose_target("auto")
    # In WSL both are possible, and the file of a unit is the quicker look.
    targets = (
        (ServicePlatform.LINUX, target) if os.name == "posix" and target is not ServicePlatform.LINUX else (target,)
    )
    for one in targets:
        try:
            registrars = build_registrars(one, settings, commands=commands, clock=clock)
        except (HostServiceError, OSError):
            continue
        for registrar in registrars:
            status = registrar.probe()
            if status.installed:
                return status
    return None
