"""The foundation of what runs on the host: where things lie, running programs, and saying what was found.

Lines of JSON go to standard output: `say` for display, `step` for a step that has ended, `result` or `refused` last.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from orchestration.system.files import read_regular

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RELEASE_FILE = ".release.json"  # written last: a folder without it is no release
VERIFIED_FILE = ".verified"  # it ran, and was found good
FAILED_FILE = ".failed"  # it was tried, and was not
SENT: dict[str, Any] = {}  # what was sent here: the sources, the loader, the arguments
_MAX_RECORD_BYTES = 4 * 1024 * 1024


class RefusedError(Exception):
    """It cannot continue; manual action is required.

    Attributes:
        message: One sentence: what was found.
        next_action: What the operator should do next.
        evidence: Lines that show it.
    """

    def __init__(self, message: str, *, next_action: str = "", evidence: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.next_action = next_action
        self.evidence = tuple(evidence)


@dataclass(frozen=True)
class Ended:
    """A program that has ended.

    Attributes:
        argv: What was run.
        code: Its exit code; 127 if there is no such program, 124 if it took too long and was killed.
        out: Its standard output.
        err: Its standard error.
    """

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0

    def last_lines(self, count: int = 12) -> tuple[str, ...]:
        """The last lines it wrote, without empty ones."""
        lines = [line.rstrip() for line in f"{self.out}\n{self.err}".splitlines()]
        return tuple([line for line in lines if line][-count:])


@dataclass(frozen=True)
class Layout:
    """Where things lie under the base folder."""

    base: Path

    @property
    def releases(self) -> Path:
        """One folder for each release."""
        return self.base / "releases"

    @property
    def environments(self) -> Path:
        """Python environments: releases with the same requirements share one."""
        return self.base / "environments"

    @property
    def shared(self) -> Path:
        """What outlives the releases."""
        return self.base / "shared"

    @property
    def current(self) -> Path:
        """The link to the current release."""
        return self.base / "current"

    @property
    def link_new(self) -> Path:
        """The next link, until it is renamed over the current one."""
        return self.base / ".current.new"

    @property
    def env(self) -> Path:
        """The settings, with the secrets."""
        return self.shared / ".env"

    @property
    def env_new(self) -> Path:
        """Settings that came with a deploy and are not active yet."""
        return self.shared / ".env.new"

    @property
    def env_previous(self) -> Path:
        """The settings before these, until these are found good."""
        return self.shared / ".env.previous"

    @property
    def lock(self) -> Path:
        """What a deploy holds; see `LOCK` in `host.py`."""
        return self.shared / ".deploy.lock"

    @property
    def operator_lock(self) -> Path:
        """There while the operator has locked the host; see `operator_lock.py`."""
        return self.shared / ".deploy.locked"

    @property
    def audit(self) -> Path:
        """A line for each deploy."""
        return self.shared / "deploys.log"

    def release(self, name: str) -> Path:
        """The folder of a release."""
        return self.releases / name

    def read_current(self) -> str:
        """The name of the current release, or an empty string."""
        try:
            return Path(os.readlink(self.current)).name  # noqa: PTH115 - the text of the link is what is meant
        except OSError:
            return ""


def say(text: str) -> None:
    """Progress, for display."""
    print_line({"say": text})


def print_line(document: Mapping[str, Any]) -> None:
    """One line of JSON on standard output, at once."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def run(
    argv: Sequence[str | Path],
    *,
    user: str = "",
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    timeout_s: float = 60,
) -> Ended:
    """Run a program to its end with a small environment.

    Args:
        argv: Program and arguments.
        user: Run it as this user; as the caller by default.
        cwd: Working folder.
        environ: More variables.
        stdin: A file number to read from.
        timeout_s: Seconds until it is killed.
    """
    import pwd

    words = [str(word) for word in argv]
    account = pwd.getpwuid(os.geteuid())
    if user and user != account.pw_name:
        account = pwd.getpwnam(user)
        words = ["runuser", "-u", user, "--", *words]
    # Its own home, not the caller's: pip, for one, would find a cache that it may not write, and use none.
    home, name = account.pw_dir, account.pw_name
    env = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "USER": name, "LOGNAME": name, **(environ or {})}
    try:
        done = subprocess.run(
            words, cwd=cwd or "/", env=env, stdin=stdin, capture_output=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        return Ended(tuple(words), 127, "", f"{error.filename}: not found")
    except subprocess.TimeoutExpired as error:
        out = (error.stdout or b"").decode(errors="replace")
        return Ended(tuple(words), 124, out, f"no end after {timeout_s:g} s")
    return Ended(
        tuple(words), done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def become(user: str) -> None:
    """Go on as this user; files made from here on are its own, and nothing of other users is touched."""
    import pwd

    entry = pwd.getpwnam(user)
    if os.geteuid() != entry.pw_uid:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    os.umask(0o022)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is none, or none that can be understood.

    The folder is the service's user's, and root reads: no pipe there makes it wait, and no link is followed.
    """
    try:
        found = json.loads(read_regular(path, max_bytes=_MAX_RECORD_BYTES, follow=False))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def refuse(message: str, next_action: str = "", evidence: Sequence[str] = ()) -> NoReturn:
    """Stop here.

    Raises:
        RefusedError: Always.
    """
    raise RefusedError(message, next_action=next_action, evidence=evidence)


def as_refusal(error: RefusedError | OSError) -> RefusedError:
    """The same as a refusal, for display."""
    if isinstance(error, RefusedError):
        return error
    return RefusedError(str(error), next_action="Look at the host: is its disk full, or read-only?")
