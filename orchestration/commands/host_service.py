"""`inv install` and `inv uninstall`: one function each, which shows what came of it and returns an exit code."""

import dataclasses
from pathlib import Path

from orchestration import presenter as console
from orchestration.commands.views import load_settings_or_explain
from orchestration.errors import ExitCode, HostServiceError
from orchestration.hostservice.advice import advise
from orchestration.hostservice.install import InstallOutcome, install, uninstall, write_files
from orchestration.hostservice.registrars import build_registrar, build_registrars, choose_target
from orchestration.hostservice.service import Scope, build_name, build_status_json
from orchestration.hostservice.windows import read_choices
from orchestration.settings import Settings, expand_home
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """What `install` was asked for.

    Attributes:
        target: `linux`, `windows` or `auto`.
        user: A service of one user's own, not of the machine.
        dry_run: Only look and say.
        output: Write the file to this folder and register nothing; empty to register.
        starts: Start it now, too.
        as_json: One JSON document on standard output.
        trigger: Windows: `logon` or `boot`; empty to keep what is registered, else `logon`.
        distribution: Windows: the WSL distribution; empty to find it out.
        windows_user: Windows: whom the task runs as; empty for the present user.
    """

    target: str = "auto"
    user: bool = False
    dry_run: bool = False
    output: str | None = None
    starts: bool = False
    as_json: bool = False
    trigger: str = ""
    distribution: str = ""
    windows_user: str = ""


def run_install(options: InstallOptions) -> int:
    """`inv install`. 0: it is registered as it should be (or written, or would be); 1: it is not."""
    settings = load_settings_or_explain(as_json=options.as_json, of_what_runs=False)
    if settings is None:
        return int(ExitCode.FAILURE)
    commands, clock = SystemCommands(), SystemClock()
    try:
        scope = Scope.USER if options.user else Scope.SYSTEM
        registrar = build_registrar(
            choose_target(options.target),
            scope,
            settings,
            commands=commands,
            clock=clock,
            windows=read_choices(options.trigger, options.distribution, options.windows_user),
        )
        if options.output is not None:
            outcome = write_files(registrar, _read_folder(options.output), dry_run=options.dry_run)
        else:
            outcome = install(registrar, settings, dry_run=options.dry_run, starts=options.starts)
    except HostServiceError as error:
        return _show_error(error, settings, command="install", as_json=options.as_json)
    return _show(outcome, settings, as_json=options.as_json)


def _read_folder(output: str) -> Path:
    if not output.strip():  # a script's unset variable: that must not register anything
        raise HostServiceError("--output: no folder is named", next_action="Name one, or leave --output out.")
    return Path(expand_home(output)).absolute()


def run_uninstall(*, target: str, as_json: bool) -> int:
    """`inv uninstall`. 0: nothing is registered any more; 1: something is."""
    settings = load_settings_or_explain(as_json=as_json)
    if settings is None:
        return int(ExitCode.FAILURE)
    try:
        found = build_registrars(choose_target(target), settings, commands=SystemCommands(), clock=SystemClock())
        outcome = uninstall(found)
    except HostServiceError as error:
        return _show_error(error, settings, command="uninstall", as_json=as_json)
    return _show(outcome, settings, as_json=as_json)


def _show(outcome: InstallOutcome, settings: Settings, *, as_json: bool) -> int:
    outcome = dataclasses.replace(
        outcome,
        checks=tuple(
            dataclasses.replace(one, detail=advise(one.detail, settings), fix=advise(one.fix, settings))
            for one in outcome.checks
        ),
        problem=advise(outcome.problem, settings),
        next_action=advise(outcome.next_action, settings),
    )
    code = ExitCode.SUCCESS if outcome.ok else ExitCode.FAILURE
    if as_json:
        console.print_json(_build_json(outcome, settings.instance, code))
        return int(code)
    if outcome.checks:
        console.print_check_table(outcome.checks)
    for line in outcome.difference:
        console.print_line(f"  {line}")
    for line in outcome.done:
        console.print_line(f"{line}.")
    for line in outcome.evidence:
        console.warn(f"  | {line}")
    console.print_line(describe(outcome))
    if outcome.next_action:
        console.print_line(f"next: {outcome.next_action}")
    return int(code)


def describe(outcome: InstallOutcome) -> str:
    """The outcome in one sentence."""
    if outcome.problem:
        return f"FAILURE: {outcome.problem}"
    if outcome.command == "uninstall":
        removed = f"{outcome.name} is removed. State and logs are where they were."
        return removed if outcome.changed else f"Nothing of {outcome.name} was installed; nothing was changed."
    if outcome.files:
        would = "would be written" if outcome.changed else "is as it should be"
        return f"{outcome.files[0]} {would if outcome.dry_run else 'is written'}; nothing was registered."
    if outcome.dry_run:
        return f"{outcome.name} would be installed." if outcome.changed else f"{outcome.name} is as it should be."
    if outcome.changed:
        return f"{outcome.name} is installed and starts at boot."
    return f"{outcome.name} was installed already, as it should be; nothing was changed."


def _show_error(error: HostServiceError, settings: Settings, *, command: str, as_json: bool) -> int:
    message, next_action = advise(error.message, settings), advise(error.next_action, settings)
    if as_json:
        document = {
            "command": command,
            "instance": settings.instance,
            "name": build_name(settings.instance),
            "exit_code": int(ExitCode.FAILURE),
            "changed": None,
            "problem": message,
            "next_action": next_action,
            "evidence": list(error.evidence),
        }
        console.print_json(document)
    for line in error.evidence:
        console.warn(f"  | {line}")
    console.warn(f"FAILURE: {message}")
    console.warn(f"next: {next_action}")
    return int(ExitCode.FAILURE)


def _build_json(outcome: InstallOutcome, instance: str, code: ExitCode) -> dict[str, object]:
    return {
        "command": outcome.command,
        "instance": instance,
        "target": outcome.target.value,
        "name": outcome.name,
        "scope": outcome.scope.value,
        "exit_code": int(code),
        "changed": outcome.changed,
        "dry_run": outcome.dry_run,
        "done": list(outcome.done),
        "difference": list(outcome.difference),
        "checks": [
            {"name": check.name, "status": check.status.value, "detail": check.detail, "fix": check.fix or None}
            for check in outcome.checks
        ],
        "files": [str(path) for path in outcome.files],
        "service": build_status_json(outcome.status),
        "problem": outcome.problem or None,
        "next_action": outcome.next_action or None,
        "evidence": list(outcome.evidence),
    }
