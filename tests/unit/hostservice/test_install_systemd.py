"""Installing, looking and uninstalling on a systemd behind a fake door."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.errors import HostServiceError, StepStatus
from orchestration.hostservice.install import InstallOutcome, install, uninstall, write_files
from orchestration.hostservice.linux_host import HostUser, LinuxHost
from orchestration.hostservice.service import Scope, build_host_service
from orchestration.hostservice.systemd import SystemdRegistrar, parse_properties
from orchestration.settings import Settings
from tests.fakes.clock import FakeClock
from tests.unit.hostservice.fake_systemd import FakeSystemd

ROOT = HostUser(name="root", uid=0, home=Path("/root"))
UNIT = "zero-touch-startup.service"


@dataclasses.dataclass(kw_only=True)
class Scene:
    """A host, a project on it, and a systemd that does as it is told."""

    registrar: SystemdRegistrar
    systemd: FakeSystemd
    settings: Settings

    def install(self, *, dry_run: bool = False, starts: bool = False) -> InstallOutcome:
        return install(self.registrar, self.settings, dry_run=dry_run, starts=starts)

    def failed(self, outcome: InstallOutcome) -> list[str]:
        return [check.name for check in outcome.checks if check.status is StepStatus.FAIL]

    def on(self, **changes: object) -> "Scene":
        host = dataclasses.replace(self.registrar.host, **changes)  # type: ignore[arg-type] # names of its fields
        return dataclasses.replace(self, registrar=dataclasses.replace(self.registrar, host=host))


Build = Callable[..., Scene]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(
        scope: Scope = Scope.SYSTEM, *, caller: HostUser | None = None, environ: dict[str, str] | None = None
    ) -> Scene:
        project = tmp_path / "project"
        (project / "state").mkdir(parents=True, exist_ok=True)
        (tmp_path / "linger").mkdir(exist_ok=True)
        (tmp_path / "units").mkdir(exist_ok=True)
        trader = HostUser(name="trader", uid=1000, home=tmp_path / "home")
        settings = Settings.from_environ(environ or {}, project_dir=project)
        host = LinuxHost(
            caller=caller or (ROOT if scope is Scope.SYSTEM else trader),
            has_systemd=True,
            is_wsl=False,
            system_units=tmp_path / "units",
            linger=tmp_path / "linger",
        )
        units = tmp_path / "units" if scope is Scope.SYSTEM else tmp_path / "home/.config/systemd/user"
        systemd = FakeSystemd(folder=units, linger=tmp_path / "linger")
        registrar = SystemdRegistrar(
            service=build_host_service(settings, scope=scope, user="trader", home=trader.home),
            account=trader,
            host=host,
            commands=systemd,
            clock=FakeClock(),
            state_dir=settings.state_dir,
            own_folders=(settings.state_dir, settings.log_dir),
        )
        return Scene(registrar=registrar, systemd=systemd, settings=settings)

    return make


def test_installing_writes_reloads_enables_and_says_how_to_start(build: Build) -> None:
    scene = build()
    outcome = scene.install()
    assert outcome.ok
    assert outcome.changed
    assert scene.systemd.changes == [("systemctl", "daemon-reload"), ("systemctl", "enable", UNIT)]
    assert outcome.next_action == f"Reboot, or start it now: sudo systemctl start {UNIT}"
    assert outcome.status is not None
    assert (outcome.status.installed, outcome.status.enabled, outcome.status.differs) == (True, True, False)
    assert scene.registrar.path.stat().st_mode & 0o777 == 0o644


def test_the_second_run_changes_nothing(build: Build) -> None:
    scene = build()
    scene.install()
    scene.systemd.changes.clear()
    outcome = scene.install()
    assert outcome.ok
    assert not outcome.changed
    assert outcome.difference == ()
    assert scene.systemd.changes == []


def test_a_dry_run_changes_nothing_and_says_what_is_due(build: Build) -> None:
    scene = build()
    outcome = scene.install(dry_run=True)
    assert outcome.ok
    assert outcome.changed
    assert "+[Service]" in outcome.difference
    assert scene.systemd.changes == []
    assert not scene.registrar.path.exists()
    scene.install()
    assert not scene.install(dry_run=True).changed


def test_an_edited_unit_is_drift_and_is_mended(build: Build) -> None:
    scene = build()
    scene.install()
    text = scene.registrar.path.read_text(encoding="utf-8")
    scene.registrar.path.write_text(text.replace("RestartSec=30", "RestartSec=1"), encoding="utf-8")
    status = scene.registrar.probe()
    assert status.differs
    assert "changed on disk" in status.detail
    outcome = scene.install()
    assert "-RestartSec=1" in outcome.difference
    assert "+RestartSec=30" in outcome.difference
    assert outcome.changed
    assert not scene.registrar.probe().differs


def test_a_changed_line_end_is_drift_too(build: Build) -> None:
    scene = build()
    scene.install()
    scene.registrar.path.write_text(scene.registrar.path.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
    assert scene.install(dry_run=True).difference == ("the end of the file differs",)


def test_a_unit_that_was_disabled_is_enabled_again(build: Build) -> None:
    scene = build()
    scene.install()
    scene.systemd.enabled = False
    assert scene.registrar.probe().lacks == ("it is not enabled: it does not start at boot",)
    outcome = scene.install()
    assert outcome.done == (f"enabled {UNIT}",)


def test_starting_it_is_asked_for_and_does_not_wait_for_the_bot(build: Build) -> None:
    scene = build()
    assert ("systemctl", "start", "--no-block", UNIT) not in [*scene.install().done, *scene.systemd.changes]
    outcome = scene.install(starts=True)
    assert outcome.done == (f"started {UNIT}",)
    assert outcome.next_action == ""
    assert scene.install(starts=True).changed is False


def test_uninstalling_stops_disables_removes_and_does_no_more(build: Build) -> None:
    scene = build()
    scene.install(starts=True)
    kept = scene.settings.state_dir / "kept"
    kept.touch()
    scene.systemd.changes.clear()
    outcome = uninstall((scene.registrar, scene.registrar.in_other_scope()))
    assert outcome.ok
    assert outcome.changed
    assert [words[1] for words in scene.systemd.changes] == ["stop", "disable", "daemon-reload"]
    assert not scene.registrar.path.exists()
    assert kept.exists()
    again = uninstall((scene.registrar, scene.registrar.in_other_scope()))
    assert again.ok
    assert not again.changed


def test_uninstalling_needs_root_for_the_machines_service(build: Build) -> None:
    scene = build()
    scene.install()
    guest = scene.on(caller=HostUser(name="guest", uid=1001, home=Path("/home/guest")))
    with pytest.raises(HostServiceError) as caught:
        uninstall((guest.registrar,))
    assert "sudo" in caught.value.next_action
    assert scene.registrar.path.exists()


def test_under_sudo_a_users_own_service_is_left_to_that_user(build: Build) -> None:
    scene = build(Scope.USER)
    scene.install()
    sudo = scene.on(caller=ROOT)
    with pytest.raises(HostServiceError) as caught:
        uninstall((sudo.registrar,))
    assert "without sudo" in caught.value.next_action
    assert scene.registrar.path.exists()
    assert sudo.failed(sudo.install()) == ["rights"]


def test_starting_it_by_hand_forgets_the_failures_that_were_counted(build: Build) -> None:
    scene = build()
    record = scene.settings.state_dir / "attempts.json"
    record.write_text("{}", encoding="utf-8")
    scene.install()
    assert record.exists()
    scene.install(starts=True)
    assert not record.exists()


def test_a_user_gets_linger_and_loses_it_again_with_the_service(build: Build) -> None:
    scene = build(Scope.USER)
    outcome = scene.install()
    assert outcome.ok, outcome.problem
    assert scene.systemd.changes[0] == ("loginctl", "enable-linger", "trader")
    assert {"XDG_RUNTIME_DIR": "/run/user/1000"} in scene.systemd.environs
    assert outcome.next_action.endswith(f"systemctl --user start {UNIT}")
    uninstall((scene.registrar,))
    assert scene.systemd.changes[-1] == ("loginctl", "disable-linger", "trader")
    assert list(scene.settings.state_dir.iterdir()) == []


def test_linger_that_was_there_before_stays(build: Build) -> None:
    scene = build(Scope.USER)
    (scene.registrar.host.linger / "trader").touch()
    scene.install()
    uninstall((scene.registrar,))
    assert not [words for words in scene.systemd.changes if words[0] == "loginctl"]


def test_linger_stays_while_another_service_of_the_user_needs_it(build: Build) -> None:
    scene = build(Scope.USER)
    scene.install()
    wants = scene.registrar.folder / "default.target.wants"
    wants.mkdir()
    (wants / "other.service").touch()
    uninstall((scene.registrar,))
    assert (scene.registrar.host.linger / "trader").exists()


def test_linger_that_is_refused_is_told_with_the_command(build: Build) -> None:
    scene = build(Scope.USER)
    scene.systemd.failing["loginctl", "enable-linger"] = "Could not enable linger: Access denied"
    with pytest.raises(HostServiceError) as caught:
        scene.install()
    assert caught.value.next_action.startswith("sudo loginctl enable-linger trader")
    assert "Access denied" in caught.value.evidence[0]
    assert not scene.registrar.path.exists()


def test_a_users_unit_without_linger_is_not_started_at_boot(build: Build) -> None:
    scene = build(Scope.USER)
    scene.install()
    (scene.registrar.host.linger / "trader").unlink()
    status = scene.registrar.probe()
    assert not status.enabled
    assert "linger" in status.lacks[0]


def test_what_systemd_refuses_is_told_with_its_words(build: Build) -> None:
    scene = build()
    scene.systemd.failing["systemctl", "enable"] = "Failed to enable unit: no"
    with pytest.raises(HostServiceError) as caught:
        scene.install()
    assert caught.value.next_action == f"sudo systemctl enable {UNIT}"
    assert caught.value.evidence == ("Failed to enable unit: no",)


def refuse_wrapper(scene: Scene) -> Scene:
    scene.systemd.refused_to_user.add(("-r", str(scene.registrar.service.wrapper)))
    return scene


def refuse_state(scene: Scene) -> Scene:
    scene.systemd.refused_to_user.add(("-w", str(scene.settings.state_dir)))
    return scene


def break_program(scene: Scene) -> Scene:
    scene.systemd.program_says = "production-startup: python lacks packages: rich"
    return scene


def close_docker(scene: Scene) -> Scene:
    scene.systemd.docker_says = "permission denied while trying to connect to the docker API"
    return scene


def break_unit(scene: Scene) -> Scene:
    scene.systemd.verify_says = "zero-touch-startup.service:9: Unknown key name 'Foo' in section 'Service', ignoring."
    return scene


def not_root(scene: Scene) -> Scene:
    return scene.on(caller=scene.registrar.account)


def not_booted(scene: Scene) -> Scene:
    return scene.on(has_systemd=False)


def in_wsl_without_systemd(scene: Scene) -> Scene:
    return scene.on(has_systemd=False, is_wsl=True)


def nobody(scene: Scene) -> Scene:
    account = dataclasses.replace(scene.registrar.account, name="1000")
    return dataclasses.replace(scene, registrar=dataclasses.replace(scene.registrar, account=account))


def in_both_scopes(scene: Scene) -> Scene:
    other = scene.registrar.in_other_scope().path
    other.parent.mkdir(parents=True)
    other.touch()
    return scene


@pytest.mark.parametrize(
    ("spoil", "name", "fix"),
    [
        (not_booted, "systemd", "inv install --output"),
        (in_wsl_without_systemd, "systemd", "--target=windows"),
        (not_root, "rights", "sudo"),
        (in_both_scopes, "other scope", "inv uninstall"),
        (nobody, "user", "chown"),
        (refuse_wrapper, "start-up script", "chmod"),
        (refuse_state, "folders", "sudo chown trader"),
        (break_program, "program", "pip install"),
        (close_docker, "Docker", "sudo usermod -aG docker trader"),
        (break_unit, "unit file", "Report it"),
    ],
)
def test_each_lack_stops_the_installation_and_names_how_to_fix_it(
    build: Build, spoil: Callable[[Scene], Scene], name: str, fix: str
) -> None:
    scene = spoil(build())
    outcome = scene.install()
    assert not outcome.ok
    assert scene.failed(outcome) == [name]
    assert fix in outcome.next_action
    assert scene.systemd.changes == []
    assert not scene.registrar.path.exists()


def test_docker_that_is_only_down_now_is_a_warning(build: Build) -> None:
    scene = build()
    scene.systemd.docker_says = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    outcome = scene.install()
    assert outcome.ok
    assert [check.name for check in outcome.checks if check.status is StepStatus.WARN] == ["Docker"]


def test_a_gateway_without_docker_asks_docker_nothing(build: Build) -> None:
    scene = build(environ={"GATEWAY_RUNTIME": "simulator"})
    scene.install()
    assert not [words for words in scene.systemd.calls if "docker" in words]


def test_what_only_the_installing_shell_knows_is_a_warning(build: Build) -> None:
    scene = build(environ={"LOG_KEEP": "3"})
    outcome = scene.install()
    assert any("LOG_KEEP" in check.detail for check in outcome.checks if check.status is StepStatus.WARN)


def test_a_folder_outside_that_is_missing_is_named_because_the_service_cannot_make_it(
    build: Build, tmp_path: Path
) -> None:
    scene = build()
    outside = tmp_path / "elsewhere" / "state"
    registrar = dataclasses.replace(scene.registrar, own_folders=(outside,))
    outcome = install(registrar, scene.settings, dry_run=True, starts=False)
    assert outcome.next_action == f"sudo install -d -o trader -m 700 '{outside}'"


def test_a_verifier_that_cannot_verify_is_no_failure(build: Build) -> None:
    scene = build()
    scene.systemd.verify_says = "systemd-analyze: unrecognized option '--recursive-errors=one'"
    assert scene.install().ok
    scene.systemd.missing.add("systemd-analyze")
    assert scene.install().ok


def test_without_systemd_the_file_can_still_be_written(build: Build, tmp_path: Path) -> None:
    scene = not_booted(build())
    assert write_files(scene.registrar, tmp_path / "out", dry_run=True).changed
    assert not (tmp_path / "out").exists()
    outcome = write_files(scene.registrar, tmp_path / "out")
    assert outcome.ok
    assert outcome.changed
    assert (tmp_path / "out" / UNIT).read_bytes() == scene.registrar.render().content
    assert scene.systemd.changes == []
    assert not write_files(scene.registrar, tmp_path / "out").changed


def test_a_look_where_there_is_no_systemd_raises_nothing(build: Build) -> None:
    scene = build()
    scene.install()
    scene.systemd.missing.add("systemctl")
    status = scene.registrar.probe()
    assert status.installed
    assert not status.enabled
    assert status.lacks == ("systemctl: program not found or not executable",)


def test_what_systemd_shows_is_read_by_name() -> None:
    text = "ActiveState=active\nStatusText=a = b\nDropInPaths=\nnonsense\n"
    assert parse_properties(text) == {"ActiveState": "active", "StatusText": "a = b", "DropInPaths": ""}
