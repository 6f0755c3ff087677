r"""The Windows around this program: seen from inside WSL, from Windows itself, or not there at all.

Windows programs print in the console's code page and in the user's language. So nothing here reads words: security
identifiers, numbers and exit codes are the same everywhere.
"""

import csv
import getpass
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from orchestration.system.commands import CommandNotFoundError, CommandResult, Commands, CommandTimedOutError

TIMEOUT_S = 30.0
WSL_TIMEOUT_S = 90.0  # a distribution that sleeps has to be started first
_OSRELEASE = Path("/proc/sys/kernel/osrelease")
_WSL_SHARES = ("\\\\wsl.localhost\\", "\\\\wsl$\\")
# The distributions that Docker Desktop makes for itself; nothing else runs in them.
_DOCKERS_OWN = frozenset({"docker-desktop", "docker-desktop-data"})
_HIGH_INTEGRITY = "S-1-16-12288"  # a program that an administrator started as one
_SYSTEM_INTEGRITY = "S-1-16-16384"


class WindowsSide(StrEnum):
    """Where this program stands."""

    WSL = "wsl"
    WINDOWS = "windows"
    ABSENT = "absent"
    """No Windows here: a definition can be rendered, not registered."""


@dataclass(frozen=True, kw_only=True)
class MissingRequirement:
    """What could not be found out or is missing.

    Attributes:
        what: One sentence part: what is missing.
        fix: The command or setting that fixes it.
        about_distribution: Whether it is the distribution that is not known.
    """

    what: str
    fix: str
    about_distribution: bool = False


@dataclass(frozen=True, kw_only=True)
class WindowsHost:
    r"""What was found out about Windows. What could not be found out is empty, and `lacks` says why.

    Attributes:
        side: Where this program stands.
        system32: The folder of Windows' own programs, as this side calls it (`/mnt/c/Windows/System32`).
        user_name: The Windows user, `DOMAIN\name`; letters outside ASCII may be lost.
        user_sid: Their security identifier, which loses nothing.
        distribution: The WSL distribution that the task is to start.
        project_dir: The project's folder inside that distribution.
        lacks: What is missing to register a task.
        assumed: Placeholders for what was not named, where there is no Windows to ask: good enough for a file
            to inspect.
    """

    side: WindowsSide
    system32: str = ""
    user_name: str = ""
    user_sid: str = ""
    distribution: str = ""
    project_dir: PurePosixPath
    lacks: tuple[MissingRequirement, ...] = ()
    assumed: tuple[MissingRequirement, ...] = ()

    @property
    def user_id(self) -> str:
        """How a task names the user: by what no code page can spoil, where it is known."""
        return self.user_sid or self.user_name

    @property
    def accounts(self) -> tuple[str, ...]:
        """Every name that Windows may show for this one user."""
        return tuple(one for one in (self.user_sid, self.user_name) if one)

    def program(self, name: str) -> str:
        """The full path of one of Windows' own programs, for the door."""
        separator = "/" if self.side is WindowsSide.WSL else "\\"
        return f"{self.system32}{separator}{name}"


def find_side(platform: str = sys.platform, osrelease: Path = _OSRELEASE) -> WindowsSide:
    """Where this program stands. `sudo` drops WSL's variables, so the kernel is asked."""
    if platform == "win32":
        return WindowsSide.WINDOWS
    try:
        inside_wsl = "microsoft" in osrelease.read_text(encoding="ascii", errors="replace").lower()
    except OSError:
        inside_wsl = False
    return WindowsSide.WSL if inside_wsl else WindowsSide.ABSENT


def find_windows_host(
    commands: Commands,
    *,
    environ: Mapping[str, str],
    project_dir: PurePath,
    side: WindowsSide,
    distribution: str = "",
    user: str = "",
) -> WindowsHost:
    r"""Ask Windows and WSL what a scheduled task has to know. Changes nothing, raises nothing.

    Args:
        commands: The door.
        environ: The environment as it was.
        project_dir: The project's folder, as this side calls it.
        side: Where this program stands (`find_side`).
        distribution: The distribution, where the operator names it.
        user: The Windows user, where the operator names it: `DOMAIN\name` or a security identifier.
    """
    if side is WindowsSide.WSL:
        host = _look_from_wsl(commands, environ, PurePosixPath(project_dir), distribution)
    elif side is WindowsSide.WINDOWS:
        host = _look_from_windows(commands, environ, PureWindowsPath(project_dir), distribution)
    else:
        host = _look_from_elsewhere(PurePosixPath(project_dir), distribution)
    if user:
        is_sid = user.upper().startswith("S-1-")
        return replace(host, user_name="" if is_sid else user, user_sid=user if is_sid else "")
    if side is WindowsSide.ABSENT:
        name = _name_of_this_user()
        assumed = MissingRequirement(what=f"the Windows user is assumed to be {name!r}", fix=_NO_USER.fix)
        return replace(host, user_name=name, lacks=(*host.lacks, _NO_USER), assumed=(*host.assumed, assumed))
    name, sid = _ask_for_user(commands, host)
    lacks = host.lacks if sid else (*host.lacks, _NO_USER)
    return replace(host, user_name=name, user_sid=sid, lacks=lacks)


_USUAL_DISTRIBUTION = "Ubuntu"  # what `wsl --install` installs
_NO_USER = MissingRequirement(what="the Windows user is not known", fix=r"Name it with --windows-user, as DOMAIN\name.")
_NO_WINDOWS = MissingRequirement(
    what="Windows is not here", fix="Run it inside WSL or on Windows; --output writes the file anywhere."
)
_NO_PROGRAMS = MissingRequirement(
    what="Windows' own programs cannot be reached from this distribution",
    fix="Let WSL mount drive C: and run Windows programs ([automount] and [interop] in /etc/wsl.conf), then "
    "`wsl.exe --shutdown` on Windows.",
)
_NO_NAME = MissingRequirement(
    what="the WSL distribution is not known",
    fix="Name it with --distribution (`wsl.exe -l -q` lists them).",
    about_distribution=True,
)
_NO_DISTRIBUTION = MissingRequirement(
    what="there is no WSL distribution, and the system runs in one", fix="wsl --install -d Ubuntu, then again."
)


def _look_from_elsewhere(project_dir: PurePosixPath, distribution: str) -> WindowsHost:
    lacks = (_NO_WINDOWS,) if distribution else (_NO_WINDOWS, _NO_NAME)
    assumed = MissingRequirement(
        what=f"the WSL distribution is assumed to be {_USUAL_DISTRIBUTION!r}", fix=_NO_NAME.fix
    )
    return WindowsHost(
        side=WindowsSide.ABSENT,
        distribution=distribution or _USUAL_DISTRIBUTION,
        project_dir=project_dir,
        lacks=lacks,
        assumed=() if distribution else (assumed,),
    )


def _name_of_this_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return "user"


def _look_from_wsl(
    commands: Commands, environ: Mapping[str, str], project_dir: PurePosixPath, distribution: str
) -> WindowsHost:
    system32 = _first_line(_run(commands, ["wslpath", "-u", "C:\\Windows\\System32"])).rstrip("/")
    distribution = distribution or environ.get("WSL_DISTRO_NAME", "").strip()
    if not distribution:  # under sudo, which drops that variable: the name of the distribution's own share holds it
        distribution = distribution_of_share(_first_line(_run(commands, ["wslpath", "-w", "/"])))
    return WindowsHost(
        side=WindowsSide.WSL,
        system32=system32,
        distribution=distribution,
        project_dir=project_dir,
        lacks=(*(() if system32 else (_NO_PROGRAMS,)), *(() if distribution else (_NO_NAME,))),
    )


def _look_from_windows(
    commands: Commands, environ: Mapping[str, str], project_dir: PureWindowsPath, distribution: str
) -> WindowsHost:
    by_name = {name.upper(): value.strip() for name, value in environ.items()}
    system32 = str(PureWindowsPath(by_name.get("SYSTEMROOT") or r"C:\Windows", "System32"))
    host = WindowsHost(
        side=WindowsSide.WINDOWS,
        system32=system32,
        distribution=distribution or distribution_of_share(str(project_dir)),
        project_dir=to_wsl_path(project_dir),
    )
    if host.distribution:
        return host
    printed = _run(commands, [host.program("wsl.exe"), "-l", "-q"], timeout_s=WSL_TIMEOUT_S)
    found = parse_distributions(printed.stdout if printed is not None and printed.ok else "")
    if not found:
        return replace(host, lacks=(_NO_DISTRIBUTION,))
    if len(found) > 1:
        several = replace(_NO_NAME, what=f"there are several WSL distributions: {', '.join(found)}")
        return replace(host, lacks=(several,))
    return replace(host, distribution=found[0])


def _ask_for_user(commands: Commands, host: WindowsHost) -> tuple[str, str]:
    if not host.system32:
        return "", ""
    result = _run(commands, [host.program("whoami.exe"), "/user", "/fo", "csv", "/nh"])
    return parse_whoami(result.stdout if result is not None and result.ok else "")


def is_elevated(commands: Commands, host: WindowsHost) -> bool | None:
    """Whether Windows programs that we start are an administrator's; None if Windows does not say."""
    result = _run(commands, [host.program("whoami.exe"), "/groups", "/fo", "csv", "/nh"])
    if result is None or not result.ok:
        return None
    groups = {cell for row in _read_csv(result.stdout) for cell in row}
    return bool(groups & {_HIGH_INTEGRITY, _SYSTEM_INTEGRITY})


def parse_whoami(printed: str) -> tuple[str, str]:
    """Name and security identifier from `whoami /user /fo csv /nh`; empty texts if there are none."""
    for row in _read_csv(printed):
        if len(row) == 2 and row[1].startswith("S-1-"):  # noqa: PLR2004 - name, identifier
            return row[0], row[1]
    return "", ""


def parse_distributions(printed: str) -> tuple[str, ...]:
    """The names that `wsl.exe -l -q` prints, without Docker Desktop's own; it prints UTF-16 unless told otherwise."""
    lines = (line.strip(" \r\n\ufeff\ufffd") for line in printed.replace("\0", "").splitlines())
    return tuple(line for line in lines if line and line not in _DOCKERS_OWN)


def distribution_of_share(path: str) -> str:
    r"""The distribution in `\\wsl.localhost\Ubuntu\home\ann`, or an empty text."""
    for share in _WSL_SHARES:
        if path.casefold().startswith(share):
            return path[len(share) :].partition("\\")[0]
    return ""


def to_wsl_path(path: PureWindowsPath) -> PurePosixPath:
    r"""A Windows path as the distribution sees it: `C:\bots` is `/mnt/c/bots` unless WSL was told to mount elsewhere.

    A path in the distribution's own share (`\\wsl.localhost\Ubuntu\home\ann`) is the path behind its name.
    """
    parts = path.parts[1:]
    if distribution_of_share(str(path)):
        return PurePosixPath("/", *parts)
    return PurePosixPath("/mnt", path.drive.rstrip(":").lower(), *parts)


def _read_csv(printed: str) -> list[list[str]]:
    lines = [line for line in printed.replace("\0", "").splitlines() if line.strip()]
    return list(csv.reader(lines))


def _first_line(result: CommandResult | None) -> str:
    lines = result.stdout.splitlines() if result is not None and result.ok else []
    return lines[0].rstrip("\r") if lines else ""


def _run(commands: Commands, argv: list[str], *, timeout_s: float = TIMEOUT_S) -> CommandResult | None:
    try:
        return commands.run(argv, timeout_s=timeout_s)
    except (CommandNotFoundError, CommandTimedOutError):
        return None
