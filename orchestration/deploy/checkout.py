"""The tree that is deployed: what git says of it, and its archive."""

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestration.deploy.errors import DeployError
from orchestration.deploy.release import parse_tree
from orchestration.system.commands import CommandNotFoundError, CommandResult, Commands, CommandTimedOutError

_GIT_TIMEOUT_S = 120
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A committed tree.

    Attributes:
        folder: Where it lies.
        commit: Its whole commit id.
        subject: The commit's first line.
        files: Its files; see `release.Files`.
    """

    folder: Path
    commit: str
    subject: str
    files: dict[str, str]


def read_checkout(folder: Path, commands: Commands) -> Checkout:
    """What is to be deployed: the last commit, if nothing lies beside it.

    Raises:
        DeployError: The tree is not committed, or is no checkout.
    """
    lines = _git(folder, commands, "status", "--porcelain=v1", "--untracked-files=normal").stdout.splitlines()
    if lines:
        more = (f"… and {len(lines) - _SHOWN} more",) if len(lines) > _SHOWN else ()
        raise DeployError(
            "the tree is not committed, and a release is made from a commit",
            next_action="Commit it (git add, git commit), put it aside (git stash -u), or ignore it (.gitignore).",
            evidence=(*lines[:_SHOWN], *more),
        )
    commit, _, subject = _git(folder, commands, "log", "-1", "--format=%H %s").stdout.strip().partition(" ")
    files = parse_tree(_git(folder, commands, "ls-tree", "-r", "-z", commit).stdout)
    return Checkout(folder=folder, commit=commit, subject=subject, files=files)


def read_difference(checkout: Checkout, commit: str, commands: Commands) -> tuple[str, ...]:
    """What changes from an earlier commit to this one, as a unified difference; empty if it is not known here."""
    try:
        shown = _git(checkout.folder, commands, "diff", "--no-color", "--no-ext-diff", commit, checkout.commit)
    except DeployError:
        return ()
    return tuple(shown.stdout.splitlines())


def build_archive(checkout: Checkout, commands: Commands) -> bytes:
    """The commit's files as a compressed tar archive.

    Raises:
        DeployError: git could not make it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "release.tar")
        _git(checkout.folder, commands, "archive", "--format=tar", f"--output={path}", checkout.commit)
        return gzip.compress(path.read_bytes(), compresslevel=6)


def build_wheel_archive(folder: Path) -> bytes:
    """The wheels of a folder as a tar archive, for a host that reaches no package index.

    Raises:
        DeployError: There are none.
    """
    import io
    import tarfile

    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if not wheels:
        raise DeployError(
            f"there are no wheels in {folder}",
            next_action="pip download --only-binary=:all: --require-hashes -r requirements.txt --dest DIR",
        )
    buffer = io.BytesIO()
    # Wheels are compressed already.
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for wheel in wheels:
            archive.add(wheel, arcname=wheel.name)
    return buffer.getvalue()


def _git(folder: Path, commands: Commands, *words: str) -> CommandResult:
    try:
        ended = commands.run(("git", "-C", str(folder), *words), timeout_s=_GIT_TIMEOUT_S)
    except (CommandNotFoundError, CommandTimedOutError) as error:
        raise DeployError(str(error), next_action="Install git; a release is made from a commit.") from error
    if not ended.ok:
        raise DeployError(
            f"git {words[0]} failed in {folder}",
            next_action="Deploy from a git checkout with at least one commit.",
            evidence=ended.last_lines(),
        )
    return ended
