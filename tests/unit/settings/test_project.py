"""Which checkout a copy of the package belongs to, by what pip recorded."""

import json
from pathlib import Path

import pytest

from orchestration.settings.project import find_project_dir


def _make_checkout(folder: Path) -> Path:
    (folder / "orchestration").mkdir(parents=True)
    (folder / "orchestration/__init__.py").touch()
    (folder / "tasks.py").touch()
    return folder


def _find(tmp_path: Path, direct_url: str | None) -> Path:
    site_packages = tmp_path / "site-packages"
    record = site_packages / "zero_touch_startup-0.1.0.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: zero-touch-startup\nVersion: 0.1.0\n")
    if direct_url is not None:
        (record / "direct_url.json").write_text(direct_url)
    return find_project_dir(site_packages / "orchestration")


def _describe(folder: Path) -> str:
    return json.dumps({"url": folder.as_uri(), "dir_info": {}})


def test_a_checkouts_own_package_belongs_to_it(tmp_path: Path) -> None:
    checkout = _make_checkout(tmp_path / "project")
    assert find_project_dir(checkout / "orchestration") == checkout


def test_an_installed_copy_belongs_to_the_checkout_it_came_from(tmp_path: Path) -> None:
    checkout = _make_checkout(tmp_path / "50 % mine/ö")
    assert _find(tmp_path, _describe(checkout)) == checkout


def test_a_release_that_was_removed_gives_way_to_the_current_one(tmp_path: Path) -> None:
    newer = _make_checkout(tmp_path / "releases/2")
    (tmp_path / "current").symlink_to(newer)
    assert _find(tmp_path, _describe(tmp_path / "releases/1")) == newer


@pytest.mark.parametrize(
    "direct_url",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        '{"url": 1}',
        '{"url": "file:///nowhere/project", "dir_info": {}}',
        '{"url": "https://example.org/zero_touch_startup.whl", "archive_info": {}}',
        '{"url": "file:///", "dir_info": {}}',
    ],
)
def test_a_copy_from_elsewhere_belongs_to_no_checkout(tmp_path: Path, direct_url: str | None) -> None:
    assert _find(tmp_path, direct_url) == tmp_path / "site-packages"
