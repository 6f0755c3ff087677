"""The scheduled task, registered from Windows itself: the project is a Windows folder, the system runs in WSL."""

import re
import sys
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pytest

from orchestration.errors import HostServiceError
from orchestration.hostservice.service import Scope, build_host_service
from orchestration.hostservice.task_scheduler import TaskScheduler
from orchestration.hostservice.windows import build_task_scheduler
from orchestration.hostservice.windows_host import WindowsSide, find_windows_host
from orchestration.settings import Settings
from tests.unit.hostservice.fake_windows import FakeWindows
from tests.unit.hostservice.windows_rules import run_as_windows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="this Windows is a fake one: its files are POSIX ones")

_TASK = "\\ZeroTouch\\zero-touch-startup"
_NATIVE32 = "C:\\Windows\\System32"
_INSIDE = "/mnt/c/my bot/docker/gateway/scripts/production-startup.sh"


def _native(tmp_path: Path, windows: FakeWindows, environ: dict[str, str] | None = None) -> TaskScheduler:
    settings = Settings.from_environ({}, project_dir=tmp_path)
    service = build_host_service(settings, scope=Scope.USER, user="ann", home=tmp_path)
    host = find_windows_host(windows, environ={}, project_dir=PureWindowsPath("C:\\my bot"), side=WindowsSide.WINDOWS)
    service = replace(service, environ=environ or {})
    return TaskScheduler(service=service, host=host, commands=windows, folder=tmp_path)


def test_the_same_task_is_registered_without_a_detour(tmp_path: Path) -> None:
    windows = FakeWindows(system32=_NATIVE32, files={_INSIDE})
    registrar = _native(tmp_path, windows, {"ENV_FILE": "D:\\conf\\second.env"})
    assert registrar.register(registrar.render())
    assert registrar.register(registrar.render()) == ()
    assert not [call for call in windows.calls if call[0] == "wslpath"]
    _, program = run_as_windows(registrar.task.argument_line, {})
    assert program == ["/usr/bin/env", "ENV_FILE=/mnt/d/conf/second.env", "bash", _INSIDE, "--service"]


def test_a_project_that_the_distribution_does_not_see_is_refused(tmp_path: Path) -> None:
    windows = FakeWindows(system32=_NATIVE32)
    registrar = _native(tmp_path, windows)
    with pytest.raises(HostServiceError, match=re.escape(_INSIDE)) as caught:
        registrar.register(registrar.render())
    assert "inside the distribution" in caught.value.next_action
    assert windows.changes == []


def test_a_running_system_is_not_pulled_away_from_under_its_bot(tmp_path: Path) -> None:
    windows = FakeWindows(system32=_NATIVE32, files={_INSIDE})
    registrar = _native(tmp_path, windows)
    registrar.register(registrar.render())
    registrar.start()
    with pytest.raises(HostServiceError) as caught:
        registrar.unregister()
    assert "inv shutdown --keep-gateway" in caught.value.next_action
    assert _TASK in windows.tasks
    windows.running.clear()
    assert registrar.unregister() == (f"removed {_TASK}",)


def test_with_several_distributions_the_registered_tasks_one_stays(tmp_path: Path) -> None:
    windows = FakeWindows(system32=_NATIVE32, distributions=("Ubuntu", "Debian"), files={_INSIDE})
    first = _native(tmp_path, replace(windows, distributions=("Debian",)))
    windows.tasks[_TASK] = first.render().content.decode("utf-16")
    settings = Settings.from_environ({"SystemRoot": "C:\\Windows"}, project_dir=tmp_path)
    again = build_task_scheduler(settings, commands=windows, side=WindowsSide.WINDOWS)
    assert again.host.distribution == "Debian"
    assert again.host.lacks == ()
    windows.tasks.clear()
    nothing = build_task_scheduler(settings, commands=windows, side=WindowsSide.WINDOWS)
    assert "several" in nothing.host.lacks[0].what
