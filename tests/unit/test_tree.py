"""The files of the project: none holds half of a merge, and none that a page names is missing."""

import fnmatch
import functools
import re
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]

# The separator between the sides is left out: a line of equal signs may underline a heading.
_CONFLICT = re.compile(rb"(?:<{7}|>{7}|\|{7})(?: |$)")
_PATH = re.compile(r"(?<![\w./-])[\w.-]+(?:/[\w.*-]+)+(?![\w/])")
# What pages name that each checkout makes for itself.
_MADE_BY_THE_READER = {"docker/gameplan"}


@functools.cache
def _list_ignored() -> list[str]:
    lines = (_PROJECT / ".gitignore").read_text(encoding="utf-8").split()
    return [*(line.strip("/") for line in lines if not line.startswith("!")), ".git"]


def _is_ignored(path: Path) -> bool:
    return path.name != ".env.example" and any(fnmatch.fnmatch(path.name, ignored) for ignored in _list_ignored())


def _list_files(folder: Path = _PROJECT) -> list[Path]:
    """Every file but what Git ignores. (A unit test may not ask Git, which is a process.)"""
    found = []
    for path in sorted(folder.iterdir()):
        if _is_ignored(path) or path.is_symlink():
            continue
        found += _list_files(path) if path.is_dir() else [path]
    return found


def _find_conflicts(content: bytes) -> list[str]:
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    return [f"line {number}" for number, line in enumerate(lines, 1) if _CONFLICT.match(line)]


def test_no_file_holds_the_markers_of_a_merge_conflict() -> None:
    found = [
        f"{path.relative_to(_PROJECT)}, {line}" for path in _list_files() for line in _find_conflicts(path.read_bytes())
    ]
    assert not found


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_each_marker_of_a_conflict_is_seen(newline: bytes) -> None:
    lines = [b"1. one", b"<" * 7 + b" ours", b"2. two", b"|" * 7, b"=" * 7, b"2. three", b">" * 7 + b" theirs", b""]
    assert _find_conflicts(newline.join(lines)) == ["line 2", "line 4", "line 7"]
    harmless = [b"A heading", b"=" * 9, b"text " + b"<" * 7 + b" text", b"<" * 8, b""]
    assert _find_conflicts(newline.join(harmless)) == []


def _find_missing_files(text: str, folder: Path) -> list[str]:
    """The paths in a text that begin with a file or folder of the project and lead nowhere.

    What Git ignores is not of the project: once a program has run here, it has left a state folder and logs.
    """
    tops = {path.name for path in _PROJECT.iterdir() if not _is_ignored(path)}
    missing = []
    for found in _PATH.findall(text):
        path = found.rstrip(".")
        if path.split("/")[0] not in tops or path in _MADE_BY_THE_READER or (folder / path).exists():
            continue
        if not any(_PROJECT.glob(path)):
            missing.append(path)
    return missing


def test_no_page_names_a_file_that_is_not_there() -> None:
    pages = [path for path in _list_files() if path.suffix in {".md", ".yml", ".yaml", ".example"}]
    assert len(pages) > 40
    found = {
        str(page.relative_to(_PROJECT)): missing
        for page in pages
        # What stands about an earlier version stays as it was.
        if page.name != "CHANGELOG.md"
        and (missing := _find_missing_files(page.read_text(encoding="utf-8"), page.parent))
    }
    assert found == {}


def test_a_file_that_is_not_there_is_seen() -> None:
    text = (
        "See `tests/unit/test_tree.py`, `docs/no-such-page.md`. Or tests/x.py. Not https://a.b/tests/y or /opt/docs/z."
    )
    assert _find_missing_files(text, _PROJECT) == ["docs/no-such-page.md", "tests/x.py"]
    assert _find_missing_files("`docs/adr/*.md`, `orchestration/no_*.py`, `docs/adr/`", _PROJECT) == [
        "orchestration/no_*.py"
    ]
