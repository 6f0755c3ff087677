"""Task Scheduler's part against a Windows that answers like the real one, in German and out of order."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from orchestration.errors import HostServiceError, StepStatus
from orchestration.hostservice.install import install
from orchestration.hostservice.service import Registrar, Scope, ServicePlatform
from orchestration.hostservice.task_scheduler import TaskScheduler
from orchestration.hostservice.task_xml import TaskTrigger
from orchestration.hostservice.windows import WindowsChoices, build_task_scheduler, read_choices
from orchestration.hostservice.windows_host import WindowsSide
from orchestration.settings import Settings
from orchestration.system.commands import CommandResult, Commands, CommandTimedOutError
from tests.unit.hostservice.fake_windows import SID, SYSTEM32, FakeWindows, NoWindows
from tests.unit.hostservice.windows_rules import run_as_windows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the projects of these tests lie inside WSL")

_TASK = "\\ZeroTouch\\zero-touch-startup"


@dataclass
class Scene:
    """A project in WSL, its settings, and Windows around it."""

    windows: FakeWindows
    settings: Settings

    def registrar(self, choices: WindowsChoices | None = None) -> TaskScheduler:
        return build_task_scheduler(self.settings, commands=self.windows, choices=choices, side=WindowsSide.WSL)

    def install(self, choices: WindowsChoices | None = None) -> tuple[str, ...]:
        registrar = self.registrar(choices)
        return registrar.register(registrar.render())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    settings = Settings.from_environ({"WSL_DISTRO_NAME": "Ubuntu"}, project_dir=tmp_path / "my bot")
    return Scene(windows=FakeWindows(), settings=settings)


_BOOT = WindowsChoices(trigger=TaskTrigger.BOOT)


def test_it_is_a_registrar(scene: Scene) -> None:
    registrar: Registrar = scene.registrar()
    assert registrar.target is ServicePlatform.WINDOWS
    assert registrar.start_command == f'schtasks.exe /Run /TN "{_TASK}"'


def test_from_wsl_user_distribution_and_folder_are_found_out(scene: Scene) -> None:
    host = scene.registrar().host
    assert (host.system32, host.distribution, host.user_sid) == (SYSTEM32, "Ubuntu", SID)
    assert host.user_name == "DESKTOP\\ann o'neil"
    assert host.project_dir == PurePosixPath(scene.settings.project_dir)
    assert host.lacks == ()
    assert scene.registrar().task.user_id == SID


def test_under_sudo_the_distribution_is_found_in_its_shares_name(scene: Scene) -> None:
    scene.settings = Settings.from_environ({}, project_dir=scene.settings.project_dir)
    assert scene.registrar().host.distribution == "Ubuntu"


def test_a_task_is_registered_read_back_and_running_it_again_changes_nothing(scene: Scene) -> None:
    first = scene.install()
    assert len(first) == 1
    assert first[0].startswith("registered")
    assert scene.windows.changes == ["/Create"]
    assert scene.install() == ()
    assert scene.windows.changes == ["/Create"]
    assert scene.registrar().diff(scene.registrar().render()) == ()


def test_the_file_is_handed_over_by_its_windows_path_and_is_gone_afterwards(scene: Scene) -> None:
    scene.install()
    create = next(call for call in scene.windows.calls if "/Create" in call)
    assert create[0] == f"{SYSTEM32}/schtasks.exe"
    assert create[5].startswith("\\\\wsl.localhost\\Ubuntu\\")
    assert list(scene.settings.state_dir.iterdir()) == []


def test_before_it_is_there_the_difference_is_all_of_it(scene: Scene) -> None:
    registrar = scene.registrar()
    lines = registrar.diff(registrar.render())
    assert lines[0] == f"+ {_TASK}"
    assert all(line.startswith("+ ") for line in lines)
    assert any("wsl.exe" in line for line in lines)
    assert scene.windows.changes == []


def test_a_change_by_hand_is_shown_and_put_right(scene: Scene) -> None:
    scene.install()
    scene.windows.tasks[_TASK] = scene.windows.tasks[_TASK].replace("<Priority>5<", "<Priority>7<")
    registrar = scene.registrar()
    assert registrar.diff(registrar.render()) == ("- Settings/Priority: 7", "+ Settings/Priority: 5")
    status = registrar.probe()
    assert status.differs
    assert "Settings/Priority" in status.detail
    assert scene.install() == (f"replaced {_TASK}, read back and compared",)
    assert not scene.registrar().probe().differs


def test_what_windows_does_not_keep_as_it_was_given_is_an_error(scene: Scene) -> None:
    scene.windows.change = lambda text: text.replace("<StopIfGoingOnBatteries>false", "<StopIfGoingOnBatteries>true")
    with pytest.raises(HostServiceError, match="something else") as caught:
        scene.install()
    assert any("StopIfGoingOnBatteries" in line for line in caught.value.evidence)


def test_a_boot_trigger_is_refused_before_it_is_tried_without_an_administrator(scene: Scene) -> None:
    with pytest.raises(HostServiceError, match="administrator") as caught:
        scene.install(_BOOT)
    assert "administrator" in caught.value.next_action
    assert scene.windows.changes == []


def test_an_administrator_registers_a_boot_trigger_and_it_stays_one(scene: Scene) -> None:
    scene.windows.elevated = True
    scene.install(_BOOT)
    assert "<BootTrigger>" in scene.windows.tasks[_TASK]
    scene.windows.elevated = False
    registrar = scene.registrar()
    assert registrar.trigger is TaskTrigger.BOOT
    assert registrar.service.scope is Scope.SYSTEM
    assert registrar.diff(registrar.render()) == ()
    assert not registrar.probe().differs


def test_another_trigger_replaces_the_registered_one(scene: Scene) -> None:
    scene.windows.elevated = True
    scene.install(_BOOT)
    scene.install(WindowsChoices(trigger=TaskTrigger.LOGON))
    assert "<BootTrigger" not in scene.windows.tasks[_TASK]
    assert scene.registrar().probe().scope is Scope.USER


def test_what_windows_says_when_it_refuses_is_handed_on_in_its_own_language(scene: Scene) -> None:
    registrar = scene.registrar()
    rendered = registrar.render()
    broken = replace(rendered, content=rendered.content.replace("2004".encode("utf-16-le"), "1999".encode("utf-16-le")))
    with pytest.raises(HostServiceError) as caught:
        registrar.register(broken)
    assert "1999" in caught.value.message
    scene.windows.refuses = True
    with pytest.raises(HostServiceError, match="exit code 1") as caught:
        registrar.register(rendered)
    assert "Zugriff verweigert" in "\n".join(caught.value.evidence)
    assert list(scene.settings.state_dir.iterdir()) == []


def test_a_look_finds_nothing_installed_enabled_and_running(scene: Scene) -> None:
    status = scene.registrar().probe()
    assert (status.name, status.installed, status.enabled, status.active) == (_TASK, False, False, False)
    scene.install()
    status = scene.registrar().probe()
    assert (status.installed, status.enabled, status.active, status.differs) == (True, True, False, False)
    scene.windows.running.add(_TASK)
    assert scene.registrar().probe().active
    assert scene.registrar().probe().state == "running"


@pytest.mark.parametrize("part", ["Settings", "LogonTrigger", "TimeTrigger"])
def test_a_disabled_task_or_trigger_does_not_count_as_enabled(scene: Scene, part: str) -> None:
    scene.install()
    start, opening, rest = scene.windows.tasks[_TASK].partition(f"<{part}>")
    scene.windows.tasks[_TASK] = start + opening + rest.replace("<Enabled>true", "<Enabled>false", 1)
    status = scene.registrar().probe()
    assert (status.installed, status.enabled, status.differs) == (True, False, True)


def test_it_is_started_once(scene: Scene) -> None:
    scene.install()
    assert scene.registrar().start() == (f"started {_TASK}",)
    assert scene.registrar().start() == ()
    assert scene.windows.changes == ["/Create", "/Run"]


def test_a_task_that_does_not_run_is_removed_and_nothing_else(scene: Scene) -> None:
    scene.install()
    scene.windows.tasks["\\ZeroTouch\\zero-touch-startup-second"] = "<Task/>"
    assert scene.registrar().unregister() == (f"removed {_TASK}",)
    assert list(scene.windows.tasks) == ["\\ZeroTouch\\zero-touch-startup-second"]
    assert scene.registrar().unregister() == ()


def test_a_running_system_is_stopped_in_order_before_its_task_is_removed(scene: Scene) -> None:
    scene.install()
    scene.registrar().start()
    assert scene.registrar().unregister() == ("stopped the system gracefully", f"removed {_TASK}")
    stop = next(index for index, call in enumerate(scene.windows.calls) if "shutdown" in call)
    delete = next(index for index, call in enumerate(scene.windows.calls) if "/Delete" in call)
    assert stop < delete
    assert not any("/End" in call for call in scene.windows.calls)


def test_another_instance_has_a_task_of_its_own_and_is_told_its_name(tmp_path: Path) -> None:
    environ = {"WSL_DISTRO_NAME": "Ubuntu", "INSTANCE": "second", "ENV_FILE": "conf/my second.env"}
    scene = Scene(windows=FakeWindows(), settings=Settings.from_environ(environ, project_dir=tmp_path))
    scene.install()
    (name,) = scene.windows.tasks
    assert name == "\\ZeroTouch\\zero-touch-startup-second"
    _, program = run_as_windows(scene.registrar().task.argument_line, {})
    assert program == [
        "/usr/bin/env",
        f"ENV_FILE={tmp_path / 'conf' / 'my second.env'}",
        "INSTANCE=second",
        "bash",
        str(tmp_path / "docker/gateway/scripts/production-startup.sh"),
        "--service",
    ]


def test_no_secret_reaches_the_definition(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TWS_PASSWORD=s3cret\nHEARTBEAT_URL=https://hc.example/s3cret\n", encoding="utf-8")
    environ = {"WSL_DISTRO_NAME": "Ubuntu", "DISCORD_WEBHOOK_URL": "https://d.example/s3cret", "TWS_USERID": "s3cret"}
    scene = Scene(windows=FakeWindows(), settings=Settings.from_environ(environ, project_dir=tmp_path))
    assert "s3cret" not in scene.registrar().render().content.decode("utf-16")
    scene.install()
    assert not [call for call in scene.windows.calls if "s3cret" in "".join(call)]


@pytest.mark.parametrize("user", ["PC\\Jürgen Müßig", "DOMÄNE\\交易", "PC\\o'neil & <sons>"])
def test_a_user_whose_name_the_code_page_spoils_is_known_by_the_security_identifier(scene: Scene, user: str) -> None:
    scene.windows.user = user
    scene.install()
    assert user not in scene.windows.tasks[_TASK]
    assert not scene.registrar().probe().differs


def test_a_user_that_the_operator_names_is_taken(scene: Scene) -> None:
    assert scene.registrar(WindowsChoices(user="CORP\\ann & co")).task.user_id == "CORP\\ann & co"
    assert scene.registrar(WindowsChoices(user="S-1-5-21-9")).task.user_id == "S-1-5-21-9"


def test_where_windows_programs_cannot_be_reached_everything_says_so(scene: Scene) -> None:
    registrar = build_task_scheduler(scene.settings, commands=NoWindows(), side=WindowsSide.WSL)
    assert {check.status for check in registrar.check_host()} == {StepStatus.FAIL}
    assert any("[interop]" in check.fix for check in registrar.check_host())
    status = registrar.probe()
    assert not status.installed
    assert status.lacks
    assert registrar.unregister() == ()
    with pytest.raises(HostServiceError, match="cannot be reached"):
        registrar.render()


def test_a_registered_task_that_cannot_be_read_is_said_to_be_there(scene: Scene) -> None:
    scene.install()
    scene.windows.tasks[_TASK] = "nonsense"
    assert "cannot be read" in scene.registrar().probe().detail
    with pytest.raises(HostServiceError, match="cannot be read") as caught:
        scene.install()
    assert "nonsense" in "".join(caught.value.evidence)


def test_a_state_folder_that_windows_cannot_read_is_named(scene: Scene) -> None:
    scene.windows.reachable = False
    with pytest.raises(HostServiceError, match="Windows has no path") as caught:
        scene.install()
    assert "STATE_DIR" in caught.value.next_action
    assert list(scene.settings.state_dir.iterdir()) == []


def test_a_system_that_does_not_stop_keeps_its_task(scene: Scene) -> None:
    scene.install()
    scene.registrar().start()
    scene.windows.stops = False
    with pytest.raises(HostServiceError, match="could not be stopped") as caught:
        scene.registrar().unregister()
    assert "inv shutdown" in caught.value.next_action
    assert _TASK in scene.windows.tasks


def test_a_scheduler_that_hangs_is_a_failure_with_advice_and_a_look_survives_it(scene: Scene) -> None:
    registrar = scene.registrar()
    hanging = replace(registrar, commands=_Hanging())
    assert "no end after" in hanging.probe().detail
    with pytest.raises(HostServiceError) as caught:
        hanging.start()
    assert caught.value.next_action


@dataclass
class _Hanging(NoWindows):
    def run(self, argv: object, *, timeout_s: float, **_: object) -> CommandResult:
        assert isinstance(argv, list | tuple)
        raise CommandTimedOutError(argv, timeout_s)


def test_on_linux_a_definition_is_rendered_for_whom_and_where_it_is_told(tmp_path: Path) -> None:
    nowhere: Commands = NoWindows()
    settings = Settings.from_environ({}, project_dir=tmp_path)
    choices = WindowsChoices(distribution="Ubuntu", user="PC\\ann")
    registrar = build_task_scheduler(settings, commands=nowhere, choices=choices, side=WindowsSide.ABSENT)
    rendered = registrar.render()
    assert rendered.file_name == "zero-touch-startup.xml"
    assert {check.status for check in registrar.check_rendered(rendered)} == {StepStatus.OK}
    assert {check.status for check in registrar.check_host()} == {StepStatus.FAIL}


def test_on_linux_an_option_that_is_not_given_is_assumed_and_said_and_never_registered(tmp_path: Path) -> None:
    settings = Settings.from_environ({}, project_dir=tmp_path)
    registrar = build_task_scheduler(settings, commands=NoWindows(), side=WindowsSide.ABSENT)
    rendered = registrar.render()
    assert "-d Ubuntu " in rendered.content.decode("utf-16")
    said = [check for check in registrar.check_rendered(rendered) if check.status is StepStatus.WARN]
    assert "--distribution" in said[0].fix
    assert "--windows-user" in said[1].fix
    assert {check.status for check in registrar.check_host()} == {StepStatus.FAIL}
    outcome = install(registrar, settings, dry_run=False, starts=False)
    assert not outcome.ok
    assert "Windows is not here" in outcome.problem


def test_the_command_lines_words_are_read_and_a_wrong_trigger_is_named() -> None:
    assert read_choices("", "", "") == WindowsChoices()
    assert read_choices("boot", " Ubuntu ", "PC\\ann") == WindowsChoices(
        trigger=TaskTrigger.BOOT, distribution="Ubuntu", user="PC\\ann"
    )
    with pytest.raises(HostServiceError, match="--trigger"):
        read_choices("login", "", "")
