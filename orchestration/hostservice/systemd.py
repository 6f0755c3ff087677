"""systemd's part: look at the unit, and bring it to what it should be.

One `systemctl show` answers everything that a look needs, in some 10 ms. A unit that systemd does not know is no error
to it, so nothing here depends on an exit code of a look.
"""

import dataclasses
import difflib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from orchestration.docker.engine import EngineProblem, probe_engine
from orchestration.errors import Check, HostServiceError, StepStatus
from orchestration.hostservice.linux_host import CommandsAs, HostUser, LinuxHost
from orchestration.hostservice.service import HostService, HostServiceStatus, Rendered, Scope, ServicePlatform
from orchestration.hostservice.unit import SHELL, quote_word, render_unit, unit_problem
from orchestration.system.clock import Clock, wait_until
from orchestration.system.commands import CommandNotFoundError, CommandResult, Commands, CommandTimedOutError
from orchestration.system.files import write_atomic

_UNIT_MODE = 0o644
_LOOK_TIMEOUT_S = 10.0
_ACT_TIMEOUT_S = 60.0  # a daemon-reload on a small machine with many units
_STOP_MARGIN_S = 30.0  # beyond the unit's own stop time-out and the kill after it
_USER_MANAGER_WAIT_S = 30.0
_USER_MANAGER_LOOK_S = 0.2
_STAMP = "linger_enabled_by_install.json"
_PROPERTIES = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "StatusText",
    "NeedDaemonReload",
    "DropInPaths",
)


@dataclass(frozen=True, kw_only=True)
class SystemdRegistrar:
    """See `Registrar`.

    Attributes:
        service: What it is about.
        account: The user the service runs as.
        host: This host.
        commands: The door to `systemctl`.
        clock: For waiting until a user's service manager is up.
        state_dir: Where it is noted that linger was switched on here.
        own_folders: The folders that the system itself writes to.
    """

    service: HostService
    account: HostUser
    host: LinuxHost
    commands: Commands
    clock: Clock
    state_dir: Path
    own_folders: tuple[Path, ...]

    @property
    def target(self) -> ServicePlatform:
        """See `Registrar.target`."""
        return ServicePlatform.LINUX

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"{self.service.name}.service"

    @property
    def path(self) -> Path:
        """Where the unit lies when it is installed."""
        return self.folder / self.unit

    @property
    def folder(self) -> Path:
        """The folder of the units of this scope."""
        if self.service.scope is Scope.SYSTEM:
            return self.host.system_units
        return self.account.home / ".config/systemd/user"

    @property
    def start_command(self) -> str:
        """See `Registrar.start_command`."""
        return " ".join(self._systemctl("start", self.unit) if self._is_user else ("sudo", *self._start_argv))

    def in_other_scope(self) -> "SystemdRegistrar":
        """The same service, looked for in the other scope."""
        other = Scope.USER if self.service.scope is Scope.SYSTEM else Scope.SYSTEM
        return dataclasses.replace(self, service=dataclasses.replace(self.service, scope=other))

    def render(self) -> Rendered:
        """See `Registrar.render`."""
        return render_unit(self.service)

    def check_rendered(self, rendered: Rendered) -> tuple[Check, ...]:
        """See `Registrar.check_rendered`."""
        from orchestration.hostservice.systemd import check_unit

        return check_unit(rendered, scope=self.service.scope, commands=self.commands)

    def check_host(self) -> tuple[Check, ...]:
        """See `Registrar.check_host`."""
        from orchestration.hostservice.systemd import check_host

        return check_host(self)

    def read_installed(self) -> str | None:
        """The installed unit's text, or None."""
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    @property
    def is_own(self) -> bool:
        """Whether a unit is installed that starts this checkout: another one's may have the same name."""
        installed = self.read_installed()
        return installed is not None and quote_word(str(self.service.wrapper)) in installed

    def diff(self, rendered: Rendered) -> tuple[str, ...]:
        """See `Registrar.diff`."""
        installed = self.read_installed()
        wanted = rendered.content.decode()
        if installed == wanted:
            return ()
        lines = difflib.unified_diff(
            (installed or "").splitlines(),
            wanted.splitlines(),
            str(self.path) if installed is not None else "nothing installed",
            "as it should be",
            lineterm="",
            n=1,
        )
        return tuple(lines) or ("the end of the file differs",)

    def probe(self) -> HostServiceStatus:
        """See `Registrar.probe`."""
        installed = self.path.is_file()
        if not installed and not self.host.has_systemd:
            return HostServiceStatus(name=self.service.name, scope=self.service.scope, installed=False)
        try:
            shown = self._run("show", self.unit, f"--property={','.join(_PROPERTIES)}", timeout_s=_LOOK_TIMEOUT_S)
            found = parse_properties(shown.stdout) if shown.ok else {}
            problem = "" if shown.ok else (shown.last_lines(1) or ("systemctl does not answer",))[0]
        except (CommandNotFoundError, CommandTimedOutError) as error:
            found, problem = {}, str(error)
        return HostServiceStatus(
            name=self.service.name,
            scope=self.service.scope,
            installed=installed,
            enabled=installed and found.get("UnitFileState") == "enabled" and not self._lacks_linger,
            active=found.get("ActiveState") in {"active", "reloading"},
            state=f"{found['ActiveState']} ({found['SubState']})" if found.get("SubState") else "",
            status_text=found.get("StatusText", ""),
            differs=installed and self._differs(),
            detail="; ".join(_describe(found)),
            lacks=tuple(_lacks(found, problem, installed=installed, lacks_linger=self._lacks_linger)),
        )

    def register(self, rendered: Rendered) -> tuple[str, ...]:
        """See `Registrar.register`."""
        done: list[str] = []
        if self._lacks_linger:
            done.append(self._enable_linger())
        written = self.read_installed() != rendered.content.decode()
        if written:
            self._write(rendered.content)
            done.append(f"wrote {self.path}")
        found = parse_properties(self._act("show", self.unit, f"--property={','.join(_PROPERTIES)}").stdout)
        if written or found.get("NeedDaemonReload") == "yes":
            self._act("daemon-reload")
            done.append("systemd has read its units again")
        if found.get("UnitFileState") != "enabled":
            self._act("enable", self.unit)
            done.append(f"enabled {self.unit}")
        return tuple(done)

    def start(self) -> tuple[str, ...]:
        """See `Registrar.start`."""
        if self.probe().active:
            return ()
        self._run("reset-failed", self.unit, timeout_s=_ACT_TIMEOUT_S)  # a start by hand ends earlier failures' count
        self._act("start", "--no-block", self.unit)
        return (f"started {self.unit}",)

    def unregister(self) -> tuple[str, ...]:
        """See `Registrar.unregister`."""
        done: list[str] = []
        status = self.probe()
        if status.installed:
            self._refuse_others()
        if status.state and not status.state.startswith(("inactive", "failed")):
            self._act("stop", self.unit, timeout_s=self.service.stop_timeout_s + _STOP_MARGIN_S)
            done.append(f"stopped {self.unit}")
        if status.installed:
            self._act("disable", self.unit)
            try:
                self.path.unlink()
            except OSError as error:
                raise HostServiceError(
                    f"{self.path} cannot be removed ({error.strerror})",
                    next_action=f"sudo rm {_quote(self.path)}",
                ) from error
            done.append(f"disabled {self.unit} and removed {self.path}")
            self._act("daemon-reload")
            self._run("reset-failed", self.unit, timeout_s=_ACT_TIMEOUT_S)
        return (*done, *self._restore_linger())

    @property
    def _is_user(self) -> bool:
        return self.service.scope is Scope.USER

    @property
    def _lacks_linger(self) -> bool:
        return self._is_user and not self.host.lingers(self.account)

    @property
    def _start_argv(self) -> tuple[str, ...]:
        return self._systemctl("start", self.unit)

    @property
    def _environ(self) -> Mapping[str, str]:
        # After `su` or in a service there is no such variable, and systemctl would not find the user's manager.
        return {"XDG_RUNTIME_DIR": f"/run/user/{self.account.uid}"} if self._is_user else {}

    def _systemctl(self, *arguments: str) -> tuple[str, ...]:
        return ("systemctl", *(("--user",) if self._is_user else ()), *arguments)

    def _run(self, *arguments: str, timeout_s: float) -> CommandResult:
        return self.commands.run(self._systemctl(*arguments), timeout_s=timeout_s, environ=self._environ)

    def _act(self, *arguments: str, timeout_s: float = _ACT_TIMEOUT_S) -> CommandResult:
        try:
            result = self._run(*arguments, timeout_s=timeout_s)
        except (CommandNotFoundError, CommandTimedOutError) as error:
            raise HostServiceError(str(error), next_action="Look at `systemctl status` on this host.") from error
        if not result.ok:
            command = " ".join(result.argv)
            raise HostServiceError(
                f"`{command}` ended with {result.exit_code}",
                next_action=f"sudo {command}" if not self._is_user else command,
                evidence=result.last_lines(),
            )
        return result

    def _differs(self) -> bool:
        try:
            return self.read_installed() != self.render().content.decode()
        except ValueError:
            return True

    def _write(self, content: bytes) -> None:
        try:
            write_atomic(self.path, content, mode=_UNIT_MODE)
        except OSError as error:
            raise HostServiceError(
                f"{self.path} cannot be written ({error.strerror})", next_action=self._install_command
            ) from error

    def _refuse_others(self) -> None:
        if not self._is_user and not self.host.is_root:
            raise HostServiceError(f"removing {self.path} needs root", next_action="`sudo inv uninstall`")
        if self._is_user and self.host.caller.uid != self.account.uid:
            owner = self.account.name
            raise HostServiceError(
                f"the service is {owner}'s own: {self.path}", next_action=f"As {owner}, without sudo: `inv uninstall`"
            )

    @property
    def _install_command(self) -> str:
        switches = " --user" if self._is_user else ""
        return f"`{'' if self._is_user else 'sudo '}inv install --target=linux{switches}`"

    @property
    def _stamp(self) -> Path:
        return self.state_dir / _STAMP

    def _enable_linger(self) -> str:
        """Let this user's services start at boot, and wait until there is a manager to talk to."""
        argv = ("loginctl", "enable-linger", self.account.name)
        try:
            result = self.commands.run(argv, timeout_s=_ACT_TIMEOUT_S)
        except (CommandNotFoundError, CommandTimedOutError) as error:
            raise HostServiceError(str(error), next_action=f"sudo {' '.join(argv)}") from error
        if not result.ok:
            raise HostServiceError(
                f"services of {self.account.name} may not start without a log-in, and that could not be changed",
                next_action=f"sudo {' '.join(argv)}, then run this again",
                evidence=result.last_lines(),
            )
        write_atomic(self._stamp, json.dumps({"user": self.account.name}).encode())
        is_up = wait_until(
            lambda: self._run("show-environment", timeout_s=_LOOK_TIMEOUT_S).ok,
            timeout_s=_USER_MANAGER_WAIT_S,
            every_s=_USER_MANAGER_LOOK_S,
            clock=self.clock,
        )
        if not is_up:
            raise HostServiceError(
                f"the service manager of {self.account.name} does not come up",
                next_action=f"Look at `systemctl status user@{self.account.uid}`.",
            )
        return f"{self.account.name}'s services start at boot (linger)"

    def _restore_linger(self) -> tuple[str, ...]:
        """Switch linger off again, if it was switched on here and nothing else of this user's depends on it."""
        if not self._is_user or not self._stamp.is_file():
            return ()
        self._stamp.unlink()
        others = self.folder.glob("*.wants/*")
        if self._lacks_linger or any(others):
            return ()
        result = self.commands.run(("loginctl", "disable-linger", self.account.name), timeout_s=_ACT_TIMEOUT_S)
        return (f"{self.account.name}'s services no longer start at boot (linger)",) if result.ok else ()


def parse_properties(text: str) -> dict[str, str]:
    """What `systemctl show` printed, by name."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, separator, value in pairs if separator}


def _describe(found: Mapping[str, str]) -> list[str]:
    """Other remarks."""
    lines = []
    if found.get("ActiveState") == "failed":
        lines.append(f"failed: {found.get('Result', 'unknown')}")
    if found.get("DropInPaths"):
        lines.append(f"with {found['DropInPaths']}")
    if found.get("NeedDaemonReload") == "yes":
        lines.append("changed on disk since systemd read it")
    return lines


def _lacks(found: Mapping[str, str], problem: str, *, installed: bool, lacks_linger: bool) -> list[str]:
    if not installed:
        return []
    lacks = ["its user does not linger: it starts only when the user logs in"] if lacks_linger else []
    if problem:
        return [*lacks, problem]
    if found.get("LoadState") not in {"loaded", None}:
        lacks.append(f"systemd cannot use it: {found['LoadState']}")
    if found.get("UnitFileState") != "enabled":
        lacks.append("it is not enabled: it does not start at boot")
    return lacks


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
            # Where the user is not logged in there is no such folder yet, and without one it verifies no user's unit.
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
        return Check(
            name=name,
            status=StepStatus.FAIL,
            detail=f"a service of the machine needs root, and this is {host.caller.name}",
            fix="`sudo inv install --target=linux`, or without root, for a service of your own: "
            "`inv install --target=linux --user`.",
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
        sudo = "sudo " if other.service.scope is Scope.SYSTEM else ""  # a user's own is removed without it
        yield Check(
            name="other scope",
            status=StepStatus.FAIL,
            detail=f"the same service is installed in {other.service.scope} scope: {other.path}",
            fix=f"`{sudo}inv uninstall`",
        )


def _check_user(registrar: "SystemdRegistrar") -> Check:
    account = registrar.account
    quoted = _quote(registrar.service.project_dir)
    if account.uid == 0:
        return Check(
            name="user",
            status=StepStatus.WARN,
            detail="the project folder belongs to root, so the service and the bot run as root",
            fix=f"chown -R USER {quoted}, with USER in the group docker",
        )
    if account.name == str(account.uid):
        return Check(
            name="user",
            status=StepStatus.FAIL,
            detail=f"the project folder belongs to number {account.uid}, who is no user of this host",
            fix=f"chown -R USER {quoted}",
        )
    return Check(name="user", status=StepStatus.OK, detail=account.name)


def _check_files(registrar: "SystemdRegistrar", as_user: CommandsAs) -> Iterator[Check]:
    """May the user read, write and run what it must?"""
    service, user = registrar.service, registrar.account.name
    env_file = service.environ.get("ENV_FILE", f"{service.project_dir}/.env")
    if not _test(as_user, "-r", str(service.wrapper)):
        fix = f"chmod a+r {_quote(service.wrapper)}, and let {user} enter the folders above it"
        detail = f"{user} may not read {service.wrapper}"
        yield Check(name="start-up script", status=StepStatus.FAIL, detail=detail, fix=fix)
    if Path(env_file).exists() and not _test(as_user, "-r", env_file):
        quoted = _quote(env_file)
        fix = f"sudo chown {user} {quoted} && sudo chmod 600 {quoted}"
        yield Check(name=".env file", status=StepStatus.FAIL, detail=f"{user} may not read {env_file}", fix=fix)
    for folder in registrar.own_folders:
        present = folder.exists()
        nearest = folder if present else next(one for one in folder.parents if one.exists())
        # In system scope everything else is read-only for the service: what is missing there can never be made.
        inside = any(parent in service.writable for parent in folder.parents)
        if _test(as_user, "-w", str(nearest)) and (present or inside or service.scope is Scope.USER):
            continue
        detail = f"{user} may not write to {folder}" if present else f"{folder} is missing"
        quoted = _quote(folder)
        fix = f"chown {user} {quoted}" if present else f"install -d -o {user} -m 700 {quoted}"
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
        fix=f"cd {_quote(service.project_dir)} && python3 -m venv .venv && "
        ".venv/bin/pip install --require-hashes -r requirements.txt",
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


def _quote(path: PurePath | str) -> str:
    """A path as one word of a shell's line. Quoted where it need not be, too: the operator may change it."""
    escaped = str(path).replace("'", "'\\''")
    return f"'{escaped}'"
