"""What this Linux host and its users are, read once: the facts that the checks of systemd's part judge.

Also the one way to try something as the user whom the service will run as.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.system.commands import CommandResult, Commands, Following, OnLine

_BOOTED = Path("/run/systemd/system")  # what sd_booted(3) looks at
_LINGER = Path("/var/lib/systemd/linger")
_NO_UID = -1


@dataclass(frozen=True, kw_only=True)
class HostUser:
    """A user of this host.

    Attributes:
        name: The login name; the number as text for a user without a name.
        uid: The number.
        home: The home folder.
    """

    name: str
    uid: int
    home: Path


@dataclass(frozen=True, kw_only=True)
class LinuxHost:
    """This host, as far as a boot service is concerned.

    Attributes:
        caller: Who runs this program.
        has_systemd: Whether systemd is pid 1.
        is_wsl: Whether this is a distribution inside WSL.
        system_units: Where the machine's own units lie.
        linger: Where systemd-logind keeps a file for each user whose services outlive the log-in.
    """

    caller: HostUser
    has_systemd: bool
    is_wsl: bool
    system_units: Path = Path("/etc/systemd/system")
    linger: Path = _LINGER

    @property
    def is_root(self) -> bool:
        """Whether the caller may do everything."""
        return self.caller.uid == 0

    def lingers(self, account: HostUser) -> bool:
        """Whether this user's services start at boot, without a log-in."""
        return (self.linger / account.name).exists()


def read_linux_host() -> LinuxHost:
    """Look at this host. On Windows it is one without systemd, for which a unit can be rendered and no more."""
    if os.name != "posix":
        import getpass

        name = getpass.getuser()
        return LinuxHost(
            caller=HostUser(name=name, uid=_NO_UID, home=Path("/home", name)), has_systemd=False, is_wsl=False
        )
    return LinuxHost(caller=read_user(os.geteuid()), has_systemd=_BOOTED.is_dir(), is_wsl=is_wsl())


def is_wsl() -> bool:
    """Whether this is a distribution inside WSL."""
    try:
        release = Path("/proc/sys/kernel/osrelease").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "microsoft" in release.lower()


def read_user(uid: int) -> HostUser:
    """The user with this number; one without an entry in the user database has no home folder but `/`."""
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return HostUser(name=str(uid), uid=uid, home=Path("/"))
    return HostUser(name=entry.pw_name, uid=uid, home=Path(entry.pw_dir))


def read_owner(folder: Path) -> HostUser:
    """The user to whom a folder belongs.

    Raises:
        OSError: It cannot be looked at.
    """
    return read_user(folder.stat().st_uid)


class CommandsAs:
    """`Commands` that run as another user, with the little environment that a service manager gives."""

    def __init__(self, commands: Commands, account: HostUser, *, caller: HostUser) -> None:
        self._commands = commands
        prefix = () if account.uid == caller.uid else ("runuser", "-u", account.name, "--")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        # systemd-run would be truer still, but there is none where nothing is booted yet (--output, a chroot).
        environ = (f"HOME={account.home}", f"USER={account.name}", f"PATH={path}")
        # env itself would take a program whose path holds `=` for one more variable.
        self._prefix = (*prefix, "env", "-i", *environ, "/bin/sh", "-c", 'exec "$@"', "sh")

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Commands.run`."""
        return self._commands.run(
            (*self._prefix, *argv), timeout_s=timeout_s, cwd=cwd or Path("/"), environ=environ, on_line=on_line
        )

    def follow(
        self, argv: Sequence[str], *, on_line: OnLine, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Following:
        """See `Commands.follow`."""
        return self._commands.follow((*self._prefix, *argv), on_line=on_line, cwd=cwd or Path("/"), environ=environ)
