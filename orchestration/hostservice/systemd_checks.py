"""What a unit and a host need before systemd can start the system at boot; each lack with the command that mends it.

`systemd-analyze verify` looks at the unit's words only: not at the user, not at folders, not at whether Docker lets
that user in. Those are tried here as that user, with the little environment that systemd gives.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.docker.engine import EngineProblem, probe_engine
from orchestration.hostservice.linux_host import CommandsAs
from orchestration.hostservice.service import HostService, Rendered, Scope
from orchestration.hostservice.unit import SHELL, unit_problem
from orchestration.preflight.host import Check
from orchestration.startup.report import StepStatus
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError

if TYPE_CHECKING:
    from orchestration.hostservice.systemd import SystemdRegistrar

_VERIFY_TIMEOUT_S = 30.0
_TRY_TIMEOUT_S = 10.0
_PROGRAM_TIMEOUT_S = 60.0  # the first start of a new environment compiles everything
_CANNOT = ("unrecognized option", "Failed to initialize manager")  # systemd before 250; a sandbox that forbids it


def check_unit(rendered: Rendered, *, scope: Scope, commands: Commands) -> tuple[Check, ...]:
    """`systemd-analyze verify`, where there is one that can report errors."""
    name = "unit file"
    switches = ("--user",) if scope is Scope.USER else ()
    with tempfile.TemporaryDirectory(prefix="zero-touch-") as folder:
        path = Path(folder) / rendered.file_name
        path.write_bytes(rendered.content)
        argv = ("systemd-analyze", *switches, "--recursive-errors=one", "verify", str(path))
        try:
            # Where nobody is logged in there is no such folder yet, and without one it verifies no user's unit.
            result = commands.run(argv, timeout_s=_VERIFY_TIMEOUT_S, environ={"XDG_RUNTIME_DIR": folder})
        except (CommandNotFoundError, CommandTimedOutError) as error:
            return (Check(name=name, status=StepStatus.SKIP, detail=f"not verified: {error}"),)
    if result.ok:
        return (Check(name=name, status=StepStatus.OK, detail="systemd-analyze finds nothing wrong"),)
    lines = [line.replace(f"{folder}/", "") for line in result.last_lines()]
    if any(words in line for line in lines for words in _CANNOT):
        detail = f"not verified: {lines[-1]}"
        return (Check(name=name, status=StepStatus.SKIP, detail=detail),)
    return (
        Check(
            name=name,
            status=StepStatus.FAIL,
            detail="; ".join(lines) or f"systemd-analyze verify ended with {result.exit_code}",
            fix="Report it: the template should never make such a unit.",
        ),
    )


def check_host(registrar: "SystemdRegistrar") -> tuple[Check, ...]:
    """Everything that the service needs of this host."""
    return tuple(_check_host(registrar))


def _check_host(registrar: "SystemdRegistrar") -> Iterator[Check]:
    host, service = registrar.host, registrar.service
    yield _check_systemd(registrar)
    yield _check_rights(registrar)
    yield from _check_other_scope(registrar)
    yield _check_user(registrar)
    problem = unit_problem(service)
    if problem is not None:
        fix = "Move the project to a folder with a plainer name."
        yield Check(name="folders", status=StepStatus.FAIL, detail=problem, fix=fix)
        return
    if registrar.account.uid != host.caller.uid and not host.is_root:
        detail = f"only root can try what {service.user} may do"
        yield Check(name="as the service's user", status=StepStatus.SKIP, detail=detail)
        return
    as_user = CommandsAs(registrar.commands, registrar.account, caller=host.caller)
    try:
        yield from _check_files(registrar, as_user)
        yield _check_program(service, as_user)
        if service.needs_docker:
            yield _check_docker(service, as_user)
    except (CommandNotFoundError, CommandTimedOutError) as error:
        yield Check(name="as the service's user", status=StepStatus.WARN, detail=str(error))


def _check_systemd(registrar: "SystemdRegistrar") -> Check:
    name = "systemd"
    if registrar.host.has_systemd:
        if registrar.host.is_wsl:
            detail = "this is WSL: an idle distribution is ended, whatever systemd runs in it"
            fix = "Use `inv install --target=windows`: the scheduled task keeps the distribution up."
            return Check(name=name, status=StepStatus.WARN, detail=detail, fix=fix)
        return Check(name=name, status=StepStatus.OK, detail="runs as process 1")
    fix = "Run this on a host that systemd has booted, or write the file only: `inv install --output DIR`."
    if registrar.host.is_wsl:
        fix = "Use `inv install --target=windows`; or set systemd=true under [boot] in /etc/wsl.conf, `wsl --shutdown`."
    return Check(name=name, status=StepStatus.FAIL, detail="systemd is not process 1 of this host", fix=fix)


def _check_rights(registrar: "SystemdRegistrar") -> Check:
    name, host, account = "rights", registrar.host, registrar.account
    if registrar.service.scope is Scope.SYSTEM:
        if host.is_root:
            return Check(name=name, status=StepStatus.OK, detail=f"root may write to {host.system_units}")
        project = registrar.service.project_dir
        return Check(
            name=name,
            status=StepStatus.FAIL,
            detail=f"a service of the machine needs root, and this is {host.caller.name}",
            fix=f"sudo '{project}/.venv/bin/inv' install --target=linux    (or --user, for a service of your own)",
        )
    if host.is_root:
        detail = "a service of a user's own is installed by that user"
        return Check(name=name, status=StepStatus.FAIL, detail=detail, fix="Leave out sudo, or leave out --user.")
    detail = (
        "its services start at boot" if host.lingers(account) else "its services will be let start at boot (linger)"
    )
    return Check(name=name, status=StepStatus.OK, detail=f"{account.name}: {detail}")


def _check_other_scope(registrar: "SystemdRegistrar") -> Iterator[Check]:
    """Two services for one instance would start it twice at boot."""
    other = registrar.in_other_scope()
    if other.path.exists():
        sudo = "sudo " if other.service.scope is Scope.SYSTEM else ""
        yield Check(
            name="other scope",
            status=StepStatus.FAIL,
            detail=f"the same service is installed in {other.service.scope} scope: {other.path}",
            fix=f"{sudo}.venv/bin/inv uninstall",
        )


def _check_user(registrar: "SystemdRegistrar") -> Check:
    account = registrar.account
    if account.uid == 0:
        return Check(
            name="user",
            status=StepStatus.WARN,
            detail="the project folder belongs to root, so the service and the bot run as root",
            fix=f"chown -R USER '{registrar.service.project_dir}', with USER in the group docker",
        )
    if account.name == str(account.uid):
        return Check(
            name="user",
            status=StepStatus.FAIL,
            detail=f"the project folder belongs to number {account.uid}, who is no user of this host",
            fix=f"chown -R USER '{registrar.service.project_dir}'",
        )
    return Check(name="user", status=StepStatus.OK, detail=account.name)


def _check_files(registrar: "SystemdRegistrar", as_user: CommandsAs) -> Iterator[Check]:
    """May the user read, write and run what it must?"""
    service, user = registrar.service, registrar.account.name
    env_file = service.environ.get("ENV_FILE", f"{service.project_dir}/.env")
    if not _test(as_user, "-r", str(service.wrapper)):
        fix = f"chmod a+r '{service.wrapper}', and let {user} enter the folders above it"
        detail = f"{user} may not read {service.wrapper}"
        yield Check(name="start-up script", status=StepStatus.FAIL, detail=detail, fix=fix)
    if Path(env_file).exists() and not _test(as_user, "-r", env_file):
        fix = f"chown {user} '{env_file}' && chmod 600 '{env_file}'"
        yield Check(name=".env file", status=StepStatus.FAIL, detail=f"{user} may not read {env_file}", fix=fix)
    for folder in registrar.own_folders:
        present = folder.exists()
        nearest = folder if present else next(one for one in folder.parents if one.exists())
        # In system scope everything else is read-only for the service: what is missing there can never be made.
        inside = any(parent in service.writable for parent in folder.parents)
        if _test(as_user, "-w", str(nearest)) and (present or inside or service.scope is Scope.USER):
            continue
        detail = f"{user} may not write to {folder}" if present else f"{folder} is missing"
        fix = f"chown {user} '{folder}'" if present else f"install -d -o {user} -m 700 '{folder}'"
        yield Check(name="folders", status=StepStatus.FAIL, detail=detail, fix=f"sudo {fix}")


def _check_program(service: HostService, as_user: CommandsAs) -> Check:
    """Does the start-up script find its Python and its packages, as the service will call it?"""
    name = "program"
    result = as_user.run((SHELL, str(service.wrapper), "--help"), timeout_s=_PROGRAM_TIMEOUT_S)
    if result.ok:
        return Check(name=name, status=StepStatus.OK, detail=f"starts as {service.user}")
    return Check(
        name=name,
        status=StepStatus.FAIL,
        detail="; ".join(result.last_lines(3)) or f"{service.wrapper} --help ended with {result.exit_code}",
        fix="python3 -m venv .venv && .venv/bin/pip install --require-hashes -r requirements.txt",
    )


def _check_docker(service: HostService, as_user: CommandsAs) -> Check:
    name = "Docker"
    probe = probe_engine(as_user, timeout_s=_TRY_TIMEOUT_S)
    if probe.problem is None:
        return Check(name=name, status=StepStatus.OK, detail=f"{service.user} may use it: {probe.detail}")
    # An engine that is only down now is what the service waits for at boot.
    status = StepStatus.WARN if probe.problem is EngineProblem.ENGINE_DOWN else StepStatus.FAIL
    fix = probe.next_action
    if probe.problem is EngineProblem.PERMISSION_DENIED:
        fix = f"sudo usermod -aG docker {service.user}"
    return Check(name=name, status=status, detail=probe.detail, fix=fix)


def _test(as_user: CommandsAs, switch: str, path: str) -> bool:
    return as_user.run(("test", switch, path), timeout_s=_TRY_TIMEOUT_S).ok
