"""The pages lead somewhere, and can be found."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)")


def _pages() -> list[Path]:
    return [*sorted(_PROJECT.glob("*.md")), *sorted((_PROJECT / "docs").rglob("*.md"))]


def _links(page: Path) -> Iterator[str]:
    yield from _LINK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(_PROJECT)))
def test_every_link_leads_to_something_that_is_there(page: Path) -> None:
    assert [link for link in _links(page) if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index_of_the_documentation() -> None:
    index = _PROJECT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in _links(index)}
    missing = [page for page in (_PROJECT / "docs").rglob("*.md") if page != index and page.resolve() not in linked]
    assert [str(page.relative_to(_PROJECT)) for page in missing] == []


def test_the_decisions_are_numbered_without_gaps_and_say_whether_they_hold() -> None:
    decisions = sorted((_PROJECT / "docs" / "adr").glob("*.md"))
    assert [int(page.name[:4]) for page in decisions] == list(range(1, len(decisions) + 1))
    for page in decisions:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith(f"# {int(page.name[:4])}. "), page.name
        assert re.match(r"(Accepted|Replaced by \[\d+\])", lines[2]), page.name
