"""Releases as values."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestration.deploy.release import (
    Changes,
    Release,
    build_name,
    find_changes,
    find_previous,
    find_release,
    find_rollback_target,
    parse_tree,
)

COMMIT = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"


def test_a_name_tells_the_time_in_utc_and_the_commit_and_names_sort_by_time() -> None:
    noon = datetime(2026, 1, 5, 12, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert build_name(COMMIT, noon) == "20260105T170000Z_1a2b3c4d5e"
    assert build_name("f" * 40, noon) < build_name("0" * 40, noon + timedelta(seconds=1))


def test_a_commits_files_are_read_whatever_their_names_hold() -> None:
    text = f"100644 blob {'a' * 40}\ta b\tc\x00100755 blob {'b' * 40}\tdir/ü\n\x00"
    assert parse_tree(text) == {"a b\tc": f"100644 {'a' * 40}", "dir/ü\n": f"100755 {'b' * 40}"}
    assert parse_tree("") == {}


def test_changes_are_told_apart() -> None:
    found = find_changes({"same": "1", "old": "1", "gone": "1"}, {"same": "1", "old": "2", "new": "1"})
    assert found == Changes(added=("new",), changed=("old",), removed=("gone",))
    assert found.lines == ("D gone", "A new", "M old")
    assert find_changes({"a": "1"}, {"a": "1"}) == Changes()


@pytest.mark.parametrize(
    ("path", "touches"),
    [
        ("docker/gateway/docker-compose.yml", True),
        ("docker/gateway/new.env", True),
        ("docker/gateway/scripts/production-startup.sh", False),
        ("docker/bot/Dockerfile", False),
        ("orchestration/gateway/compose.py", False),
    ],
)
def test_only_what_the_container_is_made_from_touches_the_gateway(path: str, *, touches: bool) -> None:
    assert find_changes({path: "1"}, {path: "2"}).touches_gateway is touches
    assert find_changes({path: "1"}, {}).touches_gateway is touches
    assert find_changes({}, {path: "1"}).touches_gateway is touches


RELEASES = (
    Release(name="20260101T000000Z_aaaaaaa", commit="aaaaaaa1", verified=True),
    Release(name="20260102T000000Z_bbbbbbb", commit="bbbbbbb1", failed=True),
    Release(name="20260103T000000Z_ccccccc", commit="ccccccc1", verified=True),
    Release(name="20260104T000000Z_ddddddd", commit="ddddddd1", verified=True, complete=False),
    Release(name="20260105T000000Z_aaaaaaa", commit="aaaaaaa1", verified=True),
)


@pytest.mark.parametrize(
    ("current", "found"),
    [
        ("20260105T000000Z_aaaaaaa", "20260103T000000Z_ccccccc"),
        ("20260103T000000Z_ccccccc", "20260101T000000Z_aaaaaaa"),
        ("20260101T000000Z_aaaaaaa", None),
        ("", None),
    ],
)
def test_the_way_back_leads_to_the_newest_good_one_before(current: str, found: str | None) -> None:
    previous = find_previous(RELEASES, current)
    assert (previous.name if previous else None) == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("20260102T000000Z_bbbbbbb", "20260102T000000Z_bbbbbbb"),
        ("aaaa", "20260105T000000Z_aaaaaaa"),
        ("ddd", None),
        ("aaa", None),
        ("bbbb", "20260102T000000Z_bbbbbbb"),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_release_is_meant_by_its_name_or_the_beginning_of_its_commit(words: str, found: str | None) -> None:
    release = find_release(RELEASES, words)
    assert (release.name if release else None) == found


def test_a_beginning_that_two_commits_have_means_neither() -> None:
    other = Release(name="20260106T000000Z_aaaaaab", commit="aaaaaab1")
    assert find_release((*RELEASES, other), "aaaaaa") is None
    assert find_release((*RELEASES, other), "aaaaaab") is other


@pytest.mark.parametrize(
    ("current", "found"),
    [
        ("20260103T000000Z_ccccccc", "20260103T000000Z_ccccccc"),
        ("20260102T000000Z_bbbbbbb", "20260105T000000Z_aaaaaaa"),
        ("20260104T000000Z_ddddddd", ""),
        ("", ""),
    ],
)
def test_one_goes_back_to_the_current_release_if_that_was_found_good(current: str, found: str) -> None:
    assert find_rollback_target(RELEASES, current) == found


def test_the_time_of_a_name_is_utc() -> None:
    assert build_name(COMMIT, datetime(2026, 1, 5, 17, 0, tzinfo=UTC)).startswith("20260105T170000Z")
