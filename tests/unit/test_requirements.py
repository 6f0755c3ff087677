"""The pinned requirements belong to what `pyproject.toml` declares, and name no place to get them from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

_PROJECT = Path(__file__).resolve().parents[2]
_FILES = ("requirements.txt", "requirements-dev.txt")
_PIN = re.compile(r"^([a-z0-9-]+)==(\S+?)(?: ; .*)? \\$", re.MULTILINE)


def _pins(name: str) -> dict[str, set[Version]]:
    pins: dict[str, set[Version]] = {}
    for package, version in _PIN.findall((_PROJECT / name).read_text(encoding="utf-8")):
        pins.setdefault(package, set()).add(Version(version))
    return pins


def _declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((_PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize(("name", "extras"), [("requirements.txt", ()), ("requirements-dev.txt", ("dev",))])
def test_every_declared_dependency_is_pinned_within_its_range(name: str, extras: tuple[str, ...]) -> None:
    pins = _pins(name)
    for requirement in _declared(*extras):
        versions = pins.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement} is missing: remake the file (CONTRIBUTING.md)"
        assert all(version in requirement.specifier for version in versions), f"{requirement}: {versions}"


@pytest.mark.parametrize("name", _FILES)
def test_every_pin_has_hashes_and_no_line_says_where_files_come_from(name: str) -> None:
    text = (_PROJECT / name).read_text(encoding="utf-8")
    pinned = re.findall(r"^[a-z0-9].*$(?:\n {4}--hash=sha256:[0-9a-f]{64}(?: \\)?$)+", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 0
    assert not re.search(r"https?:|file:|@ |^-|^\s+/", text, re.MULTILINE)


def test_what_runs_and_what_tests_it_are_the_same_versions() -> None:
    runs, tests = (_pins(name) for name in _FILES)
    assert {package: tests.get(package) for package in runs} == runs
