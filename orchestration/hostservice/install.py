"""`inv install` and `inv uninstall`: bring what is registered to what it should be, and then look whether it is so.

A registrar answers (`registrars.py` chooses it); nothing here knows an operating system.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import Check, HostServiceError, StepStatus
from orchestration.hostservice import attempts
from orchestration.hostservice.service import (
    HostServiceStatus,
    Registrar,
    Scope,
    ServicePlatform,
    find_shell_only_settings,
    read_service_settings,
)
from orchestration.settings import Settings
from orchestration.system.files import write_atomic

_FILE_MODE = 0o644


@dataclass(frozen=True, kw_only=True)
class InstallOutcome:
    """What came of `install` or `uninstall`.

    Attributes:
        command: `install` or `uninstall`.
        target: Whose boot it is about.
        name: The service's name.
        scope: The machine's service or one user's.
        changed: Whether anything was changed; with `--dry-run`, whether anything would be.
        dry_run: Whether it was only looked.
        done: What was done, a sentence each.
        difference: What was installed against what should be, as lines; empty if there was none.
        checks: What was checked beforehand.
        files: The files written to an `--output` folder.
        status: A last look; None where nothing was registered or removed.
        problem: Why it did not come to what was asked; empty if it did.
        next_action: What the operator should do next; empty for nothing.
        evidence: Lines that show the problem.
    """

    command: str
    target: ServicePlatform
    name: str
    scope: Scope
    changed: bool = False
    dry_run: bool = False
    done: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    files: tuple[Path, ...] = ()
    status: HostServiceStatus | None = None
    problem: str = ""
    next_action: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it is as it was asked for."""
        return not self.problem


def install(registrar: Registrar, settings: Settings, *, dry_run: bool, starts: bool) -> InstallOutcome:
    """Register the service and have it started at boot; change only what is not so.

    Args:
        registrar: The operating system's part.
        settings: As this shell sees them.
        dry_run: Only look and say.
        starts: Start it now, too.

    Raises:
        HostServiceError: The operating system refused.
    """
    service = registrar.service
    checks = (*registrar.check_host(), *_check_settings(settings))
    outcome = InstallOutcome(
        command="install",
        target=registrar.target,
        name=service.name,
        scope=service.scope,
        dry_run=dry_run,
        checks=checks,
    )
    rendered = registrar.render()
    checks = (*checks, *registrar.check_rendered(rendered))
    failed = [check for check in checks if check.status is StepStatus.FAIL]
    before = registrar.probe()
    difference = registrar.diff(rendered)
    due = bool(difference) or not before.installed or not before.enabled or (starts and not before.active)
    outcome = dataclasses.replace(outcome, checks=checks, difference=difference, status=before)
    if failed:
        problem = f"{service.name} cannot be installed: {failed[0].detail}"
        return dataclasses.replace(outcome, problem=problem, next_action=failed[0].fix)
    if dry_run:
        return dataclasses.replace(outcome, changed=due)
    done = registrar.register(rendered)
    if starts:
        # A start by hand, so what the program counted of failed starts is forgotten.
        attempts.clear(read_service_settings(settings).state_dir)
        done += registrar.start()
    after = registrar.probe()
    outcome = dataclasses.replace(outcome, changed=bool(done), done=done, status=after)
    if not after.installed or not after.enabled or after.differs:
        reason = "; ".join(after.lacks) or ("it is not there" if not after.installed else "it differs, or is disabled")
        return dataclasses.replace(outcome, problem=f"{service.name} is not registered as it should be: {reason}")
    next_action = "" if after.active else f"Reboot, or start it now: {registrar.start_command}"
    return dataclasses.replace(outcome, next_action=next_action)


def write_files(registrar: Registrar, folder: Path, *, dry_run: bool = False) -> InstallOutcome:
    """Write the file to a folder and register nothing; on any operating system. A dry run does not even write.

    Raises:
        HostServiceError: It cannot be made for this project's folder, or not be written.
    """
    try:
        rendered = registrar.render()
    except ValueError as error:
        raise HostServiceError(str(error), next_action="Move the project, or rename what is named there.") from error
    path = folder / rendered.file_name
    try:
        changed = not path.is_file() or path.read_bytes() != rendered.content
        if changed and not dry_run:
            write_atomic(path, rendered.content, mode=_FILE_MODE)
    except OSError as error:
        raise HostServiceError(
            f"{path} cannot be written ({error.strerror})", next_action="Choose another folder."
        ) from error
    return InstallOutcome(
        command="install",
        target=registrar.target,
        name=registrar.service.name,
        scope=registrar.service.scope,
        changed=changed,
        dry_run=dry_run,
        done=(f"wrote {path}",) if changed and not dry_run else (),
        checks=registrar.check_rendered(rendered),
        files=(path,),
    )


def _check_settings(settings: Settings) -> tuple[Check, ...]:
    """Does the service see what this shell sees?"""
    names = find_shell_only_settings(settings)
    if not names:
        return ()
    return (
        Check(
            name="settings",
            status=StepStatus.WARN,
            detail=f"only in this shell's environment, so not in the service's: {', '.join(names)}",
            fix="Put them into .env.",
        ),
    )


def uninstall(registrars: tuple[Registrar, ...]) -> InstallOutcome:
    """Stop, disable and remove the service wherever it is registered; state and logs stay.

    Raises:
        HostServiceError: The operating system refused.
    """
    done: tuple[str, ...] = ()
    for registrar in registrars:
        done += registrar.unregister()
    last = next((one for one in registrars if one.probe().installed), registrars[0])
    status = last.probe()
    return InstallOutcome(
        command="uninstall",
        target=last.target,
        name=last.service.name,
        scope=last.service.scope,
        changed=bool(done),
        done=done,
        status=status,
        problem=f"{last.service.name} is still registered" if status.installed else "",
    )
