"""What runs on the host, as far as folders alone tell."""

import json
import stat
from pathlib import Path

import pytest

from orchestration.deploy.on_host.activate import read_audit
from orchestration.deploy.on_host.base import RELEASE_FILE, VERIFIED_FILE, Layout, RefusedError
from orchestration.deploy.on_host.boot_guard import BootGuard, render_program, render_unit
from orchestration.deploy.on_host.look import read_releases
from orchestration.deploy.on_host.operator_lock import put_lock, read_lock, remove_lock
from orchestration.deploy.on_host.prepare import ensure_folders, prune
from orchestration.deploy.on_host.release_settings import (
    SETTINGS_FILE,
    adopt_interrupted,
    describe_settings,
    find_changed_names,
    restore_settings,
    save_settings,
    stage_settings,
)
from orchestration.deploy.on_host.room import check_room
from orchestration.system.files import write_atomic

NAMES = [f"2026010{number}T000000Z_abcdef0" for number in range(1, 9)]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Eight releases that share two environments; the last one is current."""
    layout = Layout(tmp_path)
    ensure_folders({"base": str(tmp_path)})
    for number, name in enumerate(NAMES):
        environment = layout.environments / ("old" if number < 3 else "new")
        environment.mkdir(exist_ok=True)
        (environment / ".environment.json").write_text("{}")
        layout.release(name).mkdir()
        (layout.release(name) / ".venv").symlink_to(environment)
        (layout.release(name) / RELEASE_FILE).write_text(json.dumps({"name": name, "commit": "abcdef0"}))
    layout.current.symlink_to(f"releases/{NAMES[-1]}")
    return layout


def test_the_newest_releases_stay_with_the_environments_they_use(layout: Layout) -> None:
    assert prune(layout, keep=5) == NAMES[:3]
    assert [one["name"] for one in read_releases(layout)] == NAMES[3:]
    assert [folder.name for folder in layout.environments.iterdir()] == ["new"]
    assert prune(layout, keep=5) == []


def test_the_current_release_stays_however_old_it_is(layout: Layout) -> None:
    layout.current.unlink()
    layout.current.symlink_to(f"releases/{NAMES[0]}")
    prune(layout, keep=5)
    assert [one["name"] for one in read_releases(layout)] == [NAMES[0], *NAMES[4:]]
    assert {folder.name for folder in layout.environments.iterdir()} == {"old", "new"}


def test_tries_that_failed_do_not_push_out_the_way_back(layout: Layout) -> None:
    for name in (NAMES[0], NAMES[-1]):
        (layout.release(name) / VERIFIED_FILE).touch()
    prune(layout, keep=3)
    assert [one["name"] for one in read_releases(layout)] == [NAMES[0], *NAMES[-2:]]


def test_the_guard_stands_ready_for_the_next_boot_until_it_stands_down(layout: Layout, tmp_path: Path) -> None:
    units, state = tmp_path / "units", tmp_path / "state of ours"
    units.mkdir()
    guard = BootGuard(layout, "trader", NAMES[0], {"by": "ann's 100 %"}, unit_folder=units, state_folder=state)
    guard.arm("zero-touch-startup.service")
    guard.arm("zero-touch-startup.service")
    assert guard.unit.read_text() == render_unit(guard.program, before="zero-touch-startup.service")
    assert guard.wanted.resolve() == guard.unit
    assert guard.program.read_text() == render_program(guard)
    assert stat.S_IMODE(guard.program.stat().st_mode) == 0o755
    guard.disarm()
    guard.disarm()
    assert [path for path in units.rglob("*") if not path.is_dir()] == []
    assert list(state.iterdir()) == []


def test_no_trial_begins_without_a_way_back(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    guard = BootGuard(layout, "trader", NAMES[0], {}, unit_folder=tmp_path, state_folder=tmp_path / "file")
    with pytest.raises(RefusedError, match="way back"):
        guard.arm("zero-touch-startup.service")


def test_what_an_interrupted_deploy_left_is_cleared_away_and_nothing_else(layout: Layout) -> None:
    layout.release("20260109T000000Z_abcdef0").mkdir()
    (layout.environments / "half").mkdir()
    layout.env_new.write_text("TWS_PASSWORD=planted")
    (layout.shared / "state" / "journal.db").write_text("kept")
    assert ensure_folders({"base": str(layout.base)}) == {"cleared": ["20260109T000000Z_abcdef0"]}
    assert [one["name"] for one in read_releases(layout)] == NAMES
    assert {folder.name for folder in layout.environments.iterdir()} == {"old", "new"}
    assert not layout.env_new.exists()
    assert (layout.shared / "state" / "journal.db").read_text() == "kept"


def test_a_secret_file_is_for_its_owner_alone_and_whole(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("old")
    path.chmod(0o644)
    write_atomic(path, b"new", mode=0o600)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)
    assert [one.name for one in tmp_path.iterdir()] == [".env"]


def test_the_current_release_is_read_from_the_link(layout: Layout, tmp_path: Path) -> None:
    assert layout.read_current() == NAMES[-1]
    assert Layout(tmp_path / "nowhere").read_current() == ""


def test_a_start_without_room_is_refused_with_all_that_is_short(tmp_path: Path) -> None:
    check_room((tmp_path, tmp_path / "not" / "there"), least_free_bytes=1)
    with pytest.raises(RefusedError, match="there is no room for a start: only") as caught:
        check_room((tmp_path, tmp_path / "not" / "there"), least_free_bytes=1024**6)
    assert len(caught.value.evidence) == 1
    assert str(tmp_path) in caught.value.evidence[0]


def test_the_operators_lock_says_who_and_why_and_goes_only_when_it_is_taken_away(layout: Layout) -> None:
    asked = {"base": str(layout.base), "by": "ann@desk", "message": "earnings week"}
    assert read_lock(layout) == {}
    lock = put_lock(asked)["lock"]
    assert (lock["by"], lock["message"]) == ("ann@desk", "earnings week")
    assert read_lock(layout) == lock
    with pytest.raises(RefusedError, match=r"locked already by ann@desk since .*: earnings week"):
        put_lock({**asked, "by": "ben@desk", "message": "mine"})
    assert remove_lock(asked) == {"lock": lock}
    assert remove_lock(asked) == {"lock": {}}
    assert read_lock(layout) == {}


def test_an_operators_lock_that_cannot_be_read_locks_too(layout: Layout) -> None:
    layout.operator_lock.write_text("half a docu")
    assert read_lock(layout)["by"] == "unknown"


def test_the_audit_trail_is_read_from_its_end_without_what_is_no_record(layout: Layout) -> None:
    asked = {"base": str(layout.base), "lines": 2}
    assert read_audit(asked) == {"lines": []}
    layout.audit.write_text('{"action": "a"}\n{"action": "b"}\n{"action": "c"}\n[1]\n')
    assert read_audit(asked) == {"lines": [{"action": "c"}]}
    assert [one["action"] for one in read_audit({**asked, "lines": 9})["lines"]] == ["a", "b", "c"]


def test_a_release_gets_back_the_settings_that_it_last_ran_with(layout: Layout) -> None:
    older, current = NAMES[0], NAMES[-1]
    layout.env.write_text("A=1\nTWS_PASSWORD=old\n")
    save_settings(layout, older)
    assert stat.S_IMODE((layout.release(older) / SETTINGS_FILE).stat().st_mode) == 0o600
    layout.env.write_text("A=1\nTWS_PASSWORD=new\nB=2\n")
    said = describe_settings(layout, older)
    assert "B, TWS_PASSWORD" in said
    assert "old" not in said
    stage_settings(layout, older)
    assert layout.env_new.read_text() == "A=1\nTWS_PASSWORD=old\n"
    assert "TWS_PASSWORD=new" in layout.env.read_text()  # until the switch
    restore_settings(layout, older)
    assert layout.env.read_text() == "A=1\nTWS_PASSWORD=old\n"
    stage_settings(layout, older)
    assert not layout.env_new.exists()  # nothing differs
    assert describe_settings(layout, current) == ""


def test_settings_that_are_not_known_are_left_and_said(layout: Layout) -> None:
    layout.env.write_text("A=1\n")
    assert "not known" in describe_settings(layout, NAMES[0])
    stage_settings(layout, NAMES[0])
    restore_settings(layout, NAMES[0])
    assert not layout.env_new.exists()
    assert layout.env.read_text() == "A=1\n"


def test_what_an_interrupted_trial_replaced_belongs_to_the_release_before_it(layout: Layout) -> None:
    assert not adopt_interrupted(layout, NAMES[0])
    layout.env_previous.write_text("A=1\n")
    assert adopt_interrupted(layout, NAMES[0])
    assert (layout.release(NAMES[0]) / SETTINGS_FILE).read_text() == "A=1\n"
    layout.env_previous.write_text("A=1\n")
    assert not adopt_interrupted(layout, "")
    assert not layout.env_previous.exists()


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ("A=1\nB=2\n", "B=3\nexport C = 4\n# D=5\n", ["A", "B", "C"]),
        ("K='a\nPIECE=secret\nb'\n", "K='a\nPIECE=other\nb'\nL=1\n", ["K", "L"]),
        ('K="a', 'K="b\nPIECE=secret', ["K"]),
        ("A='1'\n", "A='1'\n", []),
    ],
)
def test_only_names_of_variables_are_said(before: str, after: str, names: list[str]) -> None:
    assert find_changed_names(before, after) == names


def test_a_power_cut_during_a_trial_brings_back_the_settings_too(layout: Layout) -> None:
    program = render_program(BootGuard(layout, "trader", NAMES[0], {}))
    own = str(layout.release(NAMES[0]) / SETTINGS_FILE)
    assert program.index(str(layout.env_previous)) < program.index(own) < program.index(str(layout.link_new))
