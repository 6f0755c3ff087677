"""The tree that is deployed: what git says of it, and its archive."""

import gzip
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestration.deploy.errors import DeployError
from orchestration.deploy.release import parse_tree
from orchestration.system.commands import CommandNotFoundError, CommandResult, Commands, CommandTimedOutError

_GIT_TIMEOUT_S = 120
_SHOWN = 10
_SUBMODULE = "160000"  # git's mode of another repository's commit


@dataclass(frozen=True, kw_only=True)
class Submodule:
    """Another repository's commit within the tree.

    Attributes:
        path: Its place in the tree.
        folder: Where it is checked out.
        commit: The commit that the tree names.
    """

    path: str
    folder: Path
    commit: str


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A committed tree.

    Attributes:
        folder: Where it lies.
        commit: Its whole commit id.
        subject: The commit's first line.
        files: Its files, those of submodules included; see `release.Files`.
        submodules: Its submodules, and theirs.
    """

    folder: Path
    commit: str
    subject: str
    files: dict[str, str]
    submodules: tuple[Submodule, ...] = ()


def read_checkout(folder: Path, commands: Commands, *, revision: str = "") -> Checkout:
    """What is to be deployed: the last commit, if nothing lies beside it; or a revision that is named.

    Args:
        folder: The checkout.
        commands: Runs git.
        revision: A commit, tag or branch; what lies in the folder beside it does not matter then.

    Raises:
        DeployError: The tree is not committed, or is no checkout, there is no such revision, or a submodule is not
            checked out.
    """
    commit = _find_commit(folder, commands, revision) if revision else _read_last_commit(folder, commands)
    subject = _git(folder, commands, "log", "-1", "--format=%s", commit).stdout.strip()
    files = parse_tree(_git(folder, commands, "ls-tree", "-r", "-z", commit).stdout)
    submodules = tuple(_find_submodules(folder, files, commands))
    for submodule in submodules:
        listed = parse_tree(_git(submodule.folder, commands, "ls-tree", "-r", "-z", submodule.commit).stdout)
        files |= {f"{submodule.path}/{path}": facts for path, facts in listed.items()}
    return Checkout(folder=folder, commit=commit, subject=subject, files=files, submodules=submodules)


def _read_last_commit(folder: Path, commands: Commands) -> str:
    """The last commit.

    Raises:
        DeployError: Something in the tree is not committed.
    """
    status = ("status", "--porcelain=v1", "--untracked-files=normal", "--ignore-submodules=none")
    lines = _git(folder, commands, *status).stdout.splitlines()
    if lines:
        more = (f"… and {len(lines) - _SHOWN} more",) if len(lines) > _SHOWN else ()
        raise DeployError(
            "the tree is not committed, and a release is made from a commit",
            next_action="Commit it (git add, git commit), put it aside (git stash -u), or ignore it (.gitignore).",
            evidence=(*lines[:_SHOWN], *more),
        )
    return _git(folder, commands, "log", "-1", "--format=%H").stdout.strip()


def _find_commit(folder: Path, commands: Commands, revision: str) -> str:
    """The whole id of the commit that a revision names.

    Raises:
        DeployError: There is none.
    """
    try:
        named = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return _git(folder, commands, *named).stdout.strip()
    except DeployError:
        raise DeployError(
            f"--revision: {revision!r} is no commit of {folder}",
            next_action="Name a commit, a tag or a branch that is here; `git fetch --tags` brings those of the remote.",
        ) from None


def _find_submodules(
    folder: Path, files: dict[str, str], commands: Commands, *, prefix: str = ""
) -> Iterator[Submodule]:
    """The submodules that a list of files names, and theirs.

    Raises:
        DeployError: One is not checked out here, or has not the commit that is named.
    """
    for path, facts in sorted(files.items()):
        mode, _, commit = facts.partition(" ")
        if mode != _SUBMODULE:
            continue
        inner, whole = folder / path, f"{prefix}{path}"
        # Without a `.git` of its own, git would answer for the repository around it.
        if not (inner / ".git").exists() or not _has_commit(inner, commit, commands):
            raise DeployError(
                f"the submodule {whole} is not checked out at {commit[:10]}, and would be an empty folder on the host",
                next_action="git submodule update --init --recursive",
            )
        yield Submodule(path=whole, folder=inner, commit=commit)
        listed = parse_tree(_git(inner, commands, "ls-tree", "-r", "-z", commit).stdout)
        yield from _find_submodules(inner, listed, commands, prefix=f"{whole}/")


def _has_commit(folder: Path, commit: str, commands: Commands) -> bool:
    try:
        _git(folder, commands, "cat-file", "-e", f"{commit}^{{commit}}")
    except DeployError:
        return False
    return True


def read_difference(checkout: Checkout, commit: str, commands: Commands) -> tuple[str, ...]:
    """What changes from an earlier commit to this one, as a unified difference; empty if it is not known here."""
    try:
        switches = ("--no-color", "--no-ext-diff", "--submodule=diff")
        shown = _git(checkout.folder, commands, "diff", *switches, commit, checkout.commit)
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
        for submodule in checkout.submodules:  # which git's archive leaves empty
            part = Path(folder, "submodule.tar")
            switches = ("--format=tar", f"--output={part}", f"--prefix={submodule.path}/")
            _git(submodule.folder, commands, "archive", *switches, submodule.commit)
            _append(path, part)
        return gzip.compress(path.read_bytes(), compresslevel=6)


def _append(path: Path, part: Path) -> None:
    """Add what one tar archive holds to another one."""
    with tarfile.open(path, "a") as whole, tarfile.open(part) as added:
        for member in added:
            whole.addfile(member, added.extractfile(member) if member.isreg() else None)


def build_wheel_archive(folder: Path) -> bytes:
    """The wheels of a folder as a tar archive, for a host that reaches no package index.

    Raises:
        DeployError: There are none.
    """
    import io

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
