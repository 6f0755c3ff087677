"""The unit as text: golden files for both scopes, and the quoting of each kind of directive."""

import dataclasses
import os
from pathlib import Path, PurePosixPath

import pytest

from orchestration.hostservice.registrars import as_in_wsl
from orchestration.hostservice.service import (
    HostService,
    Scope,
    build_host_service,
    build_name,
    find_lasting_folder,
    find_shell_only_settings,
    keep_outermost,
)
from orchestration.hostservice.unit import quote_word, render_unit, start_limit_interval_s, unit_problem
from orchestration.settings import Settings

_GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "systemd"

PLAIN = HostService(
    name="zero-touch-startup",
    description="Zero-touch start-up of the trading system",
    instance="default",
    scope=Scope.SYSTEM,
    user="trader",
    home=PurePosixPath("/home/trader"),
    project_dir=PurePosixPath("/opt/bot"),
    wrapper=PurePosixPath("/opt/bot/docker/gateway/scripts/production-startup.sh"),
    writable=(PurePosixPath("/home/trader"), PurePosixPath("/opt/bot")),
    stop_timeout_s=90,
    longest_start_s=1205,
    needs_docker=True,
)
ODD = dataclasses.replace(
    PLAIN,
    name="zero-touch-startup-second",
    description="Zero-touch start-up of the trading system (instance second)",
    instance="second",
    project_dir=PurePosixPath("""/srv/a 50% $HOME 'of' "it" b\\slash Börse"""),
    wrapper=PurePosixPath("""/srv/a 50% $HOME 'of' "it" b\\slash Börse/docker/gateway/scripts/production-startup.sh"""),
    environ={"INSTANCE": "second", "ENV_FILE": """/etc/a 50% $x "b".env"""},
    writable=(PurePosixPath("""/srv/a 50% $HOME 'of' "it" b\\slash Börse"""),),
    needs_docker=False,
)


@pytest.mark.parametrize(
    ("service", "name"),
    [
        (PLAIN, "system.service"),
        (dataclasses.replace(PLAIN, scope=Scope.USER), "user.service"),
        (ODD, "odd.service"),
    ],
)
def test_the_unit_is_the_golden_one(service: HostService, name: str) -> None:
    assert render_unit(service).content.decode() == (_GOLDEN / name).read_text(encoding="utf-8")


def test_a_unit_has_each_directive_in_its_section_and_ends_with_a_line_end() -> None:
    text = render_unit(PLAIN).content.decode()
    unit, service, install = (text.index(f"[{name}]") for name in ("Unit", "Service", "Install"))
    assert unit < text.index("StartLimitIntervalSec=") < service
    assert service < text.index("RestartPreventExitStatus=78") < install < text.index("WantedBy=multi-user.target\n")
    assert "SuccessExitStatus" not in text
    assert text.endswith("\n")


def test_a_users_unit_orders_on_nothing_that_its_manager_does_not_know() -> None:
    text = render_unit(dataclasses.replace(PLAIN, scope=Scope.USER)).content.decode()
    for absent in ("After=", "Wants=", "User=", "ProtectSystem", "CapabilityBoundingSet", "PrivateDevices"):
        assert absent not in text
    assert "WantedBy=default.target" in text


def test_after_each_end_the_unit_writes_down_how_it_ended_and_stops_a_bot_that_was_left_behind() -> None:
    units = {}
    for runtime in ("process", "docker"):
        said = {"BOT_RUNTIME": runtime, "GATEWAY_RUNTIME": "external", "GATEWAY_HOST": "10.0.0.9"}
        settings = Settings.from_environ({}, dotenv=said)
        service = build_host_service(settings, scope=Scope.SYSTEM, user="ann", home=Path("/home/ann"))
        units[runtime] = render_unit(service).content.decode()
    for unit in units.values():
        (line,) = [line for line in unit.splitlines() if line.startswith("ExecStopPost=")]
        assert line.startswith("ExecStopPost=-:/bin/bash ")
        assert line.endswith('/docker/gateway/scripts/production-startup.sh" --stop-left-behind')
    assert "After=docker.service" in units["docker"]
    assert "docker.service" not in units["process"]


def test_the_burst_fits_into_its_interval() -> None:
    interval_s = start_limit_interval_s(PLAIN)
    assert interval_s > 10 * (30 + PLAIN.longest_start_s)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("/opt/bot", '"/opt/bot"'),
        ("two words", '"two words"'),
        ("50%h", '"50%%h"'),
        ("$HOME", '"$HOME"'),
        ('"', r'"\""'),
        ("\\n", r'"\\n"'),
        ("it's", '"it\'s"'),
        ("Börse", '"Börse"'),
    ],
)
def test_a_word_is_quoted_so_that_systemd_reads_it_as_it_was(text: str, quoted: str) -> None:
    assert quote_word(text) == quoted


@pytest.mark.parametrize("folder", ["/opt/a\nb", "/opt/ b ", "/opt/b\\", "/opt/\udcff", "/opt/\tb"])
def test_a_folder_that_no_unit_can_name_is_refused(folder: str) -> None:
    service = dataclasses.replace(PLAIN, project_dir=PurePosixPath(folder))
    assert unit_problem(service) is not None
    with pytest.raises(ValueError, match=r"holds control|starts or ends"):
        render_unit(service)


def test_an_odd_name_alone_is_no_problem() -> None:
    assert unit_problem(ODD) is None


def test_each_instance_has_a_name_of_its_own() -> None:
    assert build_name("default") == "zero-touch-startup"
    assert build_name("second") == "zero-touch-startup-second"


def test_the_service_is_made_from_the_settings_and_holds_none_of_their_secrets() -> None:
    settings = Settings.from_environ(
        {"INSTANCE": "second", "ENV_FILE": "second.env"},
        dotenv={"BOT_STOP_TIMEOUT": "25", "GATEWAY_RUNTIME": "simulator", "TWS_PASSWORD": "hunter2-planted"},
        project_dir=Path("/opt/bot"),
    )
    service = build_host_service(settings, scope=Scope.SYSTEM, user="trader", home=Path("/home/trader"))
    assert service.environ == {"INSTANCE": "second", "ENV_FILE": str(Path("/opt/bot/second.env"))}
    assert service.stop_timeout_s == 55
    assert service.needs_docker is False
    assert service.arguments == ("--service",)
    assert "hunter2-planted" not in repr(service)
    assert "hunter2-planted" not in render_unit(service).content.decode()


@pytest.mark.parametrize(("runtime", "seconds"), [("docker", 60 + 45 + 30), ("simulator", 90), ("external", 90)])
def test_a_stop_may_take_as_long_as_bot_and_gateway_may_need(runtime: str, seconds: int) -> None:
    settings = Settings.from_environ({"GATEWAY_RUNTIME": runtime, "GATEWAY_STOP_GRACE": "45"})
    service = build_host_service(settings, scope=Scope.SYSTEM, user="trader", home=Path("/home/trader"))
    assert service.stop_timeout_s == seconds


def test_a_shared_folder_of_the_operators_choice_can_be_written_by_the_service() -> None:
    named = Settings.from_environ({}, dotenv={"GATEWAY_SHARED_DIR": "/var/lib/bots"}, project_dir=Path("/opt/bot"))
    service = build_host_service(named, scope=Scope.SYSTEM, user="ann", home=Path("/home/ann"))
    assert Path("/var/lib/bots") in service.writable
    usual = Settings.from_environ({}, project_dir=Path("/opt/bot"))
    service = build_host_service(usual, scope=Scope.SYSTEM, user="ann", home=Path("/home/ann"))
    assert service.writable == (Path("/home/ann"), Path("/opt/bot"))


def test_the_default_instance_needs_no_variables() -> None:
    settings = Settings.from_environ({}, project_dir=Path("/opt/bot"))
    service = build_host_service(settings, scope=Scope.USER, user="trader", home=Path("/home/trader"))
    assert service.environ == {}
    assert service.needs_docker is True


def test_only_the_outermost_folders_are_named() -> None:
    folders = tuple(PurePosixPath(one) for one in ("/opt/bot/state", "/opt/bot", "/opt/bot-2", "/home/a", "/opt/bot"))
    assert [str(one) for one in keep_outermost(folders)] == ["/home/a", "/opt/bot", "/opt/bot-2"]


def test_what_only_this_shell_knows_is_named() -> None:
    settings = Settings.from_environ({"LOG_KEEP": "5", "INSTANCE": "x", "GATEWAY_PORT": ""}, dotenv={"STATE_DIR": "s"})
    assert find_shell_only_settings(settings) == ("LOG_KEEP",)


def test_a_service_made_on_windows_names_its_folders_as_linux_does() -> None:
    service = dataclasses.replace(
        PLAIN,
        project_dir=PurePosixPath(r"C:\my bot"),
        wrapper=PurePosixPath(r"C:\my bot\docker\gateway\scripts\production-startup.sh"),
        writable=(PurePosixPath(r"C:\my bot"), PurePosixPath(r"D:\state")),
        environ={"ENV_FILE": r"C:\my bot\other.env"},
    )
    there = as_in_wsl(service)
    assert str(there.project_dir) == "/mnt/c/my bot"
    assert str(there.wrapper) == "/mnt/c/my bot/docker/gateway/scripts/production-startup.sh"
    assert [str(path) for path in there.writable] == ["/mnt/c/my bot", "/mnt/d/state"]
    assert there.environ == {"ENV_FILE": "/mnt/c/my bot/other.env"}
    assert str(there.home) == "/home/trader"


@pytest.mark.skipif(os.name == "nt", reason="releases are deployed to Linux")
def test_the_unit_of_a_deployed_release_names_what_stays_from_release_to_release(tmp_path: Path) -> None:
    units = []
    for name in ("first", "second"):
        release = tmp_path / "releases" / name
        release.mkdir(parents=True)
        for folder in ("state", "logs"):
            (tmp_path / "shared" / folder).mkdir(parents=True, exist_ok=True)
            (release / folder).symlink_to(tmp_path / "shared" / folder)
        (tmp_path / "current").unlink(missing_ok=True)
        (tmp_path / "current").symlink_to(f"releases/{name}")
        settings = Settings.from_environ({"ENV_FILE": "own.env"}, project_dir=release, lenient=True)
        service = build_host_service(settings, scope=Scope.SYSTEM, user="trader", home=tmp_path / "home")
        units.append(render_unit(service).content.decode())
        assert find_lasting_folder(release) == tmp_path / "current"
        assert service.environ["ENV_FILE"] == f"{tmp_path}/current/own.env"
        expected = {"home", "current", "shared/state", "shared/logs"}
        assert {str(PurePosixPath(path).relative_to(tmp_path)) for path in service.writable} == expected
    assert units[0] == units[1]
    assert str(tmp_path / "releases") not in units[0]


def test_a_checkout_is_named_by_its_own_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "releases" / "no-link-leads-here"):
        folder.mkdir(parents=True, exist_ok=True)
        assert find_lasting_folder(folder) == folder
