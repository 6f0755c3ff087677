"""The pages lead somewhere, and can be found."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from orchestration import state_dir
from orchestration.errors import FailureWord, FallbackWord, State
from orchestration.supervision.incidents import IncidentKind
from tests.documentation.__main__ import PAGE
from tests.documentation.command_lines import Line, find_problem, list_pages, read_lines
from tests.documentation.documents import EXIT_CODES, FAB_EXIT_CODES, FAB_JSON_KEYS, JSON_KEYS, VARIANTS
from tests.documentation.page import render_page
from tests.documentation.programs import read_fab, read_inv

_PROJECT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)")
_ANCHOR = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)")


def _pages() -> list[Path]:
    return [
        *sorted(_PROJECT.glob("*.md")),
        *sorted((_PROJECT / "docs").rglob("*.md")),
        *sorted((_PROJECT / "benchmarks").glob("*.md")),
    ]


def _links(page: Path) -> Iterator[str]:
    yield from _LINK.findall(page.read_text(encoding="utf-8"))


def _name(page: Path) -> str:
    return str(page.relative_to(_PROJECT))


def test_every_link_leads_to_something_that_is_there() -> None:
    pages = _pages()
    assert len(pages) > 30
    assert [
        f"{_name(page)}: {link}" for page in pages for link in _links(page) if not (page.parent / link).exists()
    ] == []


@functools.cache
def _anchors(page: Path) -> set[str]:
    """What can be linked to: a heading's words in small letters, blanks as hyphens, all other signs left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def test_every_anchor_leads_to_a_heading() -> None:
    wrong = []
    for page in _pages():
        for name, anchor in _ANCHOR.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / name).resolve() if name else page
            if target.suffix == ".md" and anchor not in _anchors(target):
                wrong.append(f"{_name(page)}: {name}#{anchor}")
    assert wrong == []


def test_every_command_of_a_page_exists_with_its_flags() -> None:
    lines = [line for page in list_pages() for line in read_lines(page)]
    assert len(lines) > 200
    assert [f"{line}: {problem}" for line in lines if (problem := find_problem(line))] == []


def test_a_command_that_does_not_exist_is_seen() -> None:
    wrong = [
        "inv start-up",
        "inv startup --simulated",
        "inv status history --lines 3",
        "fab -H rackmount deploi",
        "fab -H rackmount deploy --wheel x",
        "python -m orchestration.starting",
        "python -m orchestration.startup --simulated",
        "python -m benchmarks --part everything --publich",
        "docker compose -f docker/composed.yaml up",
        "docker compose -f docker/compose.yaml upp",
        "docker compose -f docker/gateway/docker-compose.yml up bot",
        "docker build -f docker/bots/Dockerfile .",
        "docker exec ibkr-robot inv status",
        "docker exec ibkr-bot inv statuss",
        "pytest -m dockerr",
    ]
    assert [words for words in wrong if not find_problem(Line("a page", tuple(words.split())))] == []


def test_commands_are_found_wherever_a_page_shows_them(tmp_path: Path) -> None:
    shown = tmp_path / "page.md"
    shown.write_text(
        "Text `inv status` and `inv logs --of startup\\|bot [-f]`.\n\n```sh\ncd x && sudo -u ann .venv/bin/inv hold "
        "--reason \"…\"  # inv none\nssh rackmount 'cd y && inv resume'\n"
        "A=1 fab -H a deploy; docker compose ps\ndocker/stack up -d bot\n```\n\n"
        "    .venv/bin/python -m benchmarks --quick | tail\n",
        encoding="utf-8",
    )
    found = [" ".join(words) for words in (line.words for line in read_lines(shown))]
    assert sorted(found) == [
        "docker compose ps",
        "docker compose up -d bot",
        "fab -H a deploy",
        "inv hold --reason …",
        "inv logs --of startup|bot -f",
        "inv resume",
        "inv status",
        "python benchmarks --quick",
    ]


def test_the_page_of_commands_is_what_the_tasks_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(read_inv(), read_fab()), (
        "remake it with `python -m tests.documentation`"
    )


def test_what_is_added_to_the_tasks_is_of_tasks_that_exist() -> None:
    inv, fab = read_inv().tasks, read_fab().tasks
    assert EXIT_CODES.keys() == inv.keys()
    assert FAB_EXIT_CODES.keys() == fab.keys()
    for tasks, documents in ((inv, JSON_KEYS), (fab, FAB_JSON_KEYS)):
        reporting = {name for name, task in tasks.items() if any("--json" in flag.names for flag in task.flags)}
        assert documents.keys() == reporting
    assert {name for name, _ in VARIANTS} <= inv.keys()


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


def test_no_tasks_explanation_is_wider_than_a_terminal() -> None:
    too_wide = {
        f"{program.name} --help {task.name}": line
        for program in (read_inv(), read_fab())
        for task in program.tasks.values()
        for line in task.lines
        if len(line) > 78  # Invoke shows it as it stands, two columns in
    }
    assert too_wide == {}


def _read(name: str) -> str:
    return (_PROJECT / "docs" / name).read_text(encoding="utf-8")


def test_every_stable_word_has_its_row_on_the_page_that_says_what_to_do() -> None:
    words = _read("reference/words.md")
    assert [one.value for kind in (FailureWord, FallbackWord, State) for one in kind if f"`{one}`" not in words] == []
    incidents = _read("explanation/supervision.md")
    assert [one.value for one in IncidentKind if f"`{one}`" not in incidents] == []


def test_every_file_of_the_state_folder_is_on_the_page_that_says_who_writes_it() -> None:
    page = _read("explanation/architecture.md")
    names = {value for name, value in vars(state_dir).items() if name.isupper() and isinstance(value, str)}
    files = {name for name in names if "." in name}
    assert len(files) > 10
    assert [name for name in sorted(files) if f"`{name}`" not in page] == []
