"""The unit before a real `systemd-analyze`, and `inv install` as a person types it, where systemd is not process 1."""

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from orchestration.errors import StepStatus
from orchestration.hostservice.service import HostService, Scope
from orchestration.hostservice.systemd import check_unit
from orchestration.hostservice.unit import render_unit
from orchestration.system.commands import SystemCommands
from tests.system import System

_HIGHEST_EXPOSURE = 2.0  # measured with systemd 252; 257 counts 1.8
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
without_systemd = pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd has booted this machine")

ODD_NAMES = ("plain", "two words", "50% of it", "$HOME ${USER}", 'a "quoted" one', "it's", "back\\slash", "Börse 株")


def _service(folder: Path, scope: Scope = Scope.SYSTEM) -> HostService:
    wrapper = folder / "docker/gateway/scripts/production-startup.sh"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text("#!/usr/bin/env bash\n", encoding="utf-8")
    return HostService(
        name="zero-touch-startup",
        description="Zero-touch start-up of the trading system",
        instance="default",
        scope=scope,
        user="root",
        home=PurePosixPath("/root"),
        project_dir=folder,
        wrapper=wrapper,
        environ={"ENV_FILE": str(folder / "a 50% $b.env")},
        writable=(folder,),
        stop_timeout_s=90,
        longest_start_s=1205,
        needs_docker=True,
    )


@needs_analyze
@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("name", ODD_NAMES)
def test_systemd_finds_nothing_wrong_with_the_unit_of_an_odd_folder(tmp_path: Path, name: str, scope: Scope) -> None:
    (check,) = check_unit(render_unit(_service(tmp_path / name, scope)), scope=scope, commands=SystemCommands())
    assert check.status is not StepStatus.FAIL, check.detail


@needs_analyze
def test_what_systemd_does_not_know_is_found(tmp_path: Path) -> None:
    rendered = render_unit(_service(tmp_path / "project"))
    spoiled = dataclasses.replace(rendered, content=rendered.content.replace(b"RestartSec=", b"RestartSecs="))
    (check,) = check_unit(spoiled, scope=Scope.SYSTEM, commands=SystemCommands())
    if check.status is StepStatus.SKIP:
        pytest.skip(check.detail)
    assert check.status is StepStatus.FAIL
    assert "RestartSecs" in check.detail
    assert str(tmp_path) not in check.detail.replace(str(tmp_path / "project"), "")


@needs_analyze
def test_the_unit_is_hardened_as_far_as_docker_allows(tmp_path: Path) -> None:
    path = tmp_path / "zero-touch-startup.service"
    path.write_bytes(render_unit(_service(tmp_path / "project")).content)
    # root weighs more than the rest together; the service runs as a user who is not.
    path.write_text(path.read_text(encoding="utf-8").replace("User=root", "User=trader"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LANG": "C.UTF-8"},
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze gives no figure: {done.stderr.strip()}")
    assert float(found[1]) <= _HIGHEST_EXPOSURE


@without_systemd
def test_without_systemd_nothing_is_installed_and_it_is_said(tmp_path: Path) -> None:
    ended = System(tmp_path / "system").inv("install", "--target=linux", "--json")
    assert ended.code == 1
    assert "process 1" in ended.document["problem"]
    assert ended.document["changed"] is False
    assert "--output" in ended.document["next_action"]


def test_the_file_is_written_anywhere_and_a_second_time_nothing_changes(tmp_path: Path) -> None:
    system, folder = System(tmp_path / "system"), tmp_path / "out put"
    first = system.inv("install", "--target=linux", f"--output={folder}", "--json")
    assert first.code == 0, first.err
    (path,) = (Path(name) for name in first.document["files"])
    assert path.parent == folder
    assert "ExecStart=" in path.read_text(encoding="utf-8")
    assert first.document["changed"] is True
    assert first.document["service"] is None
    again = system.inv("install", "--target=linux", f"--output={folder}", "--json")
    assert again.document["changed"] is False


def test_a_target_that_is_none_is_refused_with_the_allowed_ones(tmp_path: Path) -> None:
    ended = System(tmp_path / "system").inv("install", "--target=solaris")
    assert ended.code == 1
    assert "linux, windows and auto" in ended.err


@without_systemd
def test_uninstalling_where_nothing_is_installed_is_no_failure(tmp_path: Path) -> None:
    ended = System(tmp_path / "system").inv("uninstall", "--target=linux", "--json")
    assert ended.code == 0
    assert ended.document["changed"] is False


@without_systemd
def test_status_says_that_no_service_is_installed(tmp_path: Path) -> None:
    system = System(tmp_path / "system")
    assert system.inv("status", "--json").document["service"] is None
    assert "nothing starts the system at boot" in system.inv("status").out
