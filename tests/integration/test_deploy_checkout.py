"""What a release is made from: a real repository, with submodules, as `git archive` alone would leave them empty."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from orchestration.deploy.checkout import build_archive, read_checkout, read_difference
from orchestration.deploy.errors import DeployError
from orchestration.system.commands import SystemCommands

COMMANDS = SystemCommands()
GIT = (
    *("git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"),
    *("-c", "protocol.file.allow=always"),
)


def git(folder: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one more")
    return git(folder, "rev-parse", "HEAD")


def make_repository(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    commit(folder, **files)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a submodule that has one itself."""
    inner = make_repository(tmp_path / "inner", deep="deep")
    outer = make_repository(tmp_path / "outer", bot="first")
    git(outer, "submodule", "--quiet", "add", str(inner), "libs/in ner")
    commit(outer)
    tree = make_repository(tmp_path / "tree", tasks="tasks")
    git(tree, "submodule", "--quiet", "add", str(outer), "bots/mine")
    git(tree, "submodule", "--quiet", "update", "--init", "--recursive")
    commit(tree)
    return tree


def unpack(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return {one.name: file.read() for one in found if (file := found.extractfile(one)) is not None}


def test_submodules_come_along_however_deep(tree: Path) -> None:
    checkout = read_checkout(tree, COMMANDS)
    files = unpack(build_archive(checkout, COMMANDS))
    assert files["bots/mine/bot"] == b"first"
    assert files["bots/mine/libs/in ner/deep"] == b"deep"
    assert set(files) <= set(checkout.files)


def test_the_commit_that_the_tree_names_comes_along_and_its_difference_is_shown(tree: Path, tmp_path: Path) -> None:
    before = read_checkout(tree, COMMANDS)
    new = commit(tmp_path / "outer", bot="second")
    git(tree / "bots/mine", "fetch", "--quiet")
    git(tree / "bots/mine", "checkout", "--quiet", new)
    with pytest.raises(DeployError, match="not committed"):
        read_checkout(tree, COMMANDS)
    commit(tree)
    checkout = read_checkout(tree, COMMANDS)
    assert unpack(build_archive(checkout, COMMANDS))["bots/mine/bot"] == b"second"
    assert "+second" in read_difference(checkout, before.commit, COMMANDS)


@pytest.mark.parametrize("words", [("deinit", "--force", "bots/mine"), ("deinit", "--all", "--force")])
def test_a_submodule_that_is_not_checked_out_is_refused_with_the_command_that_fetches_it(
    tree: Path, words: tuple[str, ...]
) -> None:
    git(tree, "submodule", "--quiet", *words)
    with pytest.raises(DeployError, match=r"the submodule bots/mine is not checked out") as caught:
        read_checkout(tree, COMMANDS)
    assert caught.value.next_action == "git submodule update --init --recursive"


def test_a_clone_without_its_submodules_is_refused(tree: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(tree), str(clone))
    with pytest.raises(DeployError, match="would be an empty folder"):
        read_checkout(clone, COMMANDS)
    git(clone, "submodule", "--quiet", "update", "--init")
    with pytest.raises(DeployError, match="bots/mine/libs/in ner is not checked out"):
        read_checkout(clone, COMMANDS)


def test_uncommitted_work_in_a_submodule_is_refused_whatever_git_is_told_to_ignore(tree: Path) -> None:
    git(tree, "config", "submodule.bots/mine.ignore", "all")
    (tree / "bots/mine/bot").write_text("not committed")
    with pytest.raises(DeployError, match="not committed"):
        read_checkout(tree, COMMANDS)


def test_a_revision_is_deployed_as_it_is_whatever_lies_in_the_folder(tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    git(tree, "tag", "good", first)
    second = commit(tree, tasks="changed")
    (tree / "tasks").write_text("not committed")
    for revision in ("good", first[:10], "HEAD~1"):
        checkout = read_checkout(tree, COMMANDS, revision=revision)
        assert checkout.commit == first
        assert unpack(build_archive(checkout, COMMANDS))["tasks"] == b"tasks"
    assert read_checkout(tree, COMMANDS, revision=second).subject == "one more"
    with pytest.raises(DeployError, match="not committed"):
        read_checkout(tree, COMMANDS)


@pytest.mark.parametrize("revision", ["no-such", "--all", "HEAD:tasks", "HEAD..HEAD"])
def test_what_is_no_revision_is_refused_by_name(tree: Path, revision: str) -> None:
    with pytest.raises(DeployError, match="--revision") as caught:
        read_checkout(tree, COMMANDS, revision=revision)
    assert revision in caught.value.message
