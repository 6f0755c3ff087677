"""Making a bare Debian or Ubuntu server ready: packages, Docker Engine and Compose, the service's user, the folders.

Each part looks first and changes only what is not so. With `dry_run` it only says.
"""

import functools
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestration.deploy.on_host.base import Ended, Layout, refuse, run

_APT_TIMEOUT_S = 1800
_WAIT_FOR_LOCK = "--option=DPkg::Lock::Timeout=600"
_PACKAGES = {"python3": "python3", "python3-venv": "", "ca-certificates": "", "tar": "tar", "sudo": "sudo"}
# Debian's and Ubuntu's own engine; one from elsewhere is left as it is. Whichever Compose the release has.
_ENGINE = "docker.io"
_COMPOSE = ("docker-compose-v2", "docker-compose-plugin", "docker-compose")
_OLDEST_COMPOSE = 2


def provision(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the host to where it can be deployed to.

    Args:
        arguments: `base`, `user`, `dry_run`.

    Returns:
        `changes`: what was done, or would be, a sentence each.
    """
    dry_run = bool(arguments["dry_run"])
    changes: list[str] = []

    def change(what: str, act: Callable[[], object]) -> None:
        changes.append(what)
        if not dry_run:
            act()

    packages = _find_missing_packages()
    if packages:
        change(f"install packages: {', '.join(packages)}", lambda: _install(packages))
    if not dry_run or shutil.which("docker"):
        _provision_engine(change)
    _provision_user(str(arguments["user"]), change)
    _provision_folders(Layout(Path(arguments["base"])), str(arguments["user"]), change)
    return {"changes": changes}


def _find_missing_packages() -> list[str]:
    if shutil.which("apt-get") is None:
        refuse("this host has no apt-get", "Provisioning knows Debian and Ubuntu; make other hosts ready by hand.")
    missing = [name for name in _PACKAGES if not _has_package(name)]
    if shutil.which("docker") is None:
        missing.append(_ENGINE)
        # Debian keeps the program apart from the engine.
        missing += ["docker-cli"] if _has_candidate("docker-cli") else []
    if not _has_compose():
        missing.append(_choose_compose())
    return missing


def _has_package(name: str) -> bool:
    shown = run(("dpkg-query", "--show", "--showformat=${db:Status-Status}", name))
    return shown.ok and shown.out.strip() == "installed"


def _has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    shown = run(("docker", "compose", "version", "--short"))
    return shown.ok and shown.out.strip().lstrip("v").split(".")[0].isdigit()


def _choose_compose() -> str:
    for name in _COMPOSE:
        version = _read_candidate(name)
        # `docker-compose` was the old Python program before version 2.
        if version and (name != "docker-compose" or int(version.split(".")[0] or 0) >= _OLDEST_COMPOSE):
            return name
    return _COMPOSE[0]  # apt-get's own message then says what is missing


def _has_candidate(name: str) -> bool:
    return bool(_read_candidate(name))


def _read_candidate(name: str) -> str:
    for line in run(("apt-cache", "policy", name)).out.splitlines():
        label, _, value = line.strip().partition(": ")
        if label == "Candidate" and value != "(none)":
            digits = value.rpartition(":")[2]
            return digits if digits[:1].isdigit() else ""
    return ""


def _install(packages: list[str]) -> None:
    # Ubuntu's needrestart would restart services of its own choice after an installation.
    environ = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    run(("apt-get", "-q", "update"), environ=environ, timeout_s=_APT_TIMEOUT_S)
    # A new server installs updates by itself, and holds the lock meanwhile.
    argv = ("apt-get", "-q", "install", "-y", "--no-install-recommends", _WAIT_FOR_LOCK, *packages)
    ended = run(argv, environ=environ, timeout_s=_APT_TIMEOUT_S)
    if not ended.ok:
        refuse("the packages could not be installed", "Look at the lines; then provision again.", ended.last_lines())


def _provision_engine(change: Callable[[str, Callable[[], object]], None]) -> None:
    if not run(("systemctl", "is-enabled", "docker.service")).ok:
        change("start Docker at boot", lambda: run(("systemctl", "enable", "docker.service")))
    if not run(("systemctl", "is-active", "docker.service")).ok:
        change("start Docker", lambda: run(("systemctl", "start", "docker.service"), timeout_s=120))


def _provision_user(user: str, change: Callable[[str, Callable[[], object]], None]) -> None:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        argv = ("useradd", "--system", "--user-group", "--create-home", "--shell", "/usr/sbin/nologin", user)
        change(f"make the user {user}", lambda: _must(run(argv)))
    if not _is_in_group(user, "docker"):
        change(f"put {user} into the group docker", lambda: _must(run(("usermod", "-aG", "docker", user))))


def _is_in_group(user: str, group: str) -> bool:
    import grp

    try:
        return user in grp.getgrnam(group).gr_mem
    except KeyError:
        return False


def _provision_folders(layout: Layout, user: str, change: Callable[[str, Callable[[], object]], None]) -> None:
    def own(folder: Path, mode: int) -> None:
        if folder.is_symlink():  # root would give away what it leads to
            refuse(f"{folder} is a symbolic link", "Put a folder there, or name another --base.")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        shutil.chown(folder, user, user)

    for folder, mode in ((layout.base, 0o755), (layout.releases, 0o755), (layout.shared, 0o750)):
        if not _is_owned(folder, user, mode):
            change(f"make the folder {folder}, {user}'s", functools.partial(own, folder, mode))


def _is_owned(folder: Path, user: str, mode: int) -> bool:
    import pwd

    try:
        found = os.lstat(folder)
        return found.st_uid == pwd.getpwnam(user).pw_uid and found.st_mode & 0o777 == mode
    except (OSError, KeyError):
        return False


def _must(ended: Ended) -> None:
    if not ended.ok:
        refuse(f"`{' '.join(ended.argv)}` ended with {ended.code}", "", ended.last_lines())
