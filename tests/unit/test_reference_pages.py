"""Code, `.env.example` and the reference page say the same."""

import re
import shutil
from pathlib import Path

import pytest

from orchestration.settings import PROJECT_DIR, Settings, variables_by_field
from orchestration.settings.reference_page import build_files, write_files
from orchestration.settings.sources import read_env_file


@pytest.mark.parametrize("name", build_files())
def test_the_file_in_the_project_is_what_the_declarations_say(name: str) -> None:
    assert (PROJECT_DIR / name).read_text(encoding="utf-8") == build_files()[name], (
        "remake it with `python -m orchestration.settings.reference_page`"
    )


@pytest.mark.parametrize("name", build_files())
def test_every_variable_stands_in_the_file_exactly_once(name: str) -> None:
    text = build_files()[name]
    for variable in variables_by_field().values():
        assert len(re.findall(rf"^(?:#|\| `){variable.name}(?:=|`)", text, re.MULTILINE)) == 1, variable.name


def test_the_example_changes_nothing_when_it_is_copied(tmp_path: Path) -> None:
    problems: list[str] = []
    shutil.copy(PROJECT_DIR / ".env.example", tmp_path / ".env")
    assert read_env_file(tmp_path / ".env", problems) == {}
    assert problems == []


def test_every_default_in_the_example_is_the_default_when_it_is_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=[A-Z_]+=)", "", build_files()[".env.example"], flags=re.MULTILINE)
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    problems: list[str] = []
    found = read_env_file(tmp_path / ".env", problems)
    assert sorted(found) == sorted(variable.name for variable in variables_by_field().values())
    assert problems == []
    plain, uncommented = Settings.from_environ({}), Settings.from_environ({}, dotenv=found)
    assert uncommented.warnings == ()
    for field in variables_by_field():
        assert getattr(uncommented, field) == getattr(plain, field), field


def test_the_files_can_be_remade_anywhere(tmp_path: Path) -> None:
    write_files(tmp_path)
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in build_files()} == build_files()


def test_no_line_is_too_wide_to_be_read_in_a_terminal() -> None:
    assert max(len(line) for line in build_files()[".env.example"].splitlines()) <= 110
