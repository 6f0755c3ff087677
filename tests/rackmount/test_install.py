"""`inv install` and `inv uninstall` on a real systemd, with a stand-in for the program that the unit starts."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rackmount.host import GUEST, HOME, USER, Project, RackHost
from tests.rackmount.stand_in import STAND_IN

pytestmark = pytest.mark.rackmount

UNIT = "zero-touch-startup.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"


@pytest.fixture
def project(host: RackHost) -> Iterator[Project]:
    """A fresh checkout whose start-up script is the stand-in; nothing of it is left afterwards."""
    project = host.copy_project()
    project.use_stand_in(STAND_IN)
    yield project
    clean_up(project)


def clean_up(project: Project) -> None:
    host, user = project.host, project.user
    script = "cd ~/.config/systemd/user && systemctl --user stop $(ls | grep '^zero.*service$')"
    host.run(script, user=user, environ=host.user_environ(user), check=False)
    host.run("cd /etc/systemd/system && systemctl stop $(ls | grep '^zero.*service$')", check=False)
    host.run(f"rm -rf /etc/systemd/system/zero* /etc/systemd/system/*.wants/zero* /home/{user}/.config")
    host.run(f"loginctl disable-linger {user}; systemctl daemon-reload; systemctl reset-failed", check=False)
    host.run(["rm", "-rf", project.folder])


def installed_status(project: Project) -> Any:  # noqa: ANN401 - a JSON document
    return project.inv("status", "--json", check=False).document["service"]


def snapshot(host: RackHost) -> str:
    """Everything that an installation could leave behind."""
    units = "systemctl list-unit-files --no-legend | sort"
    files = f"find /etc/systemd /var/lib/systemd/linger {HOME}/.config -printf '%p %y %m %u %l\\n' 2>/dev/null | sort"
    return host.run(f"{units}; {files}").out


def test_a_boot_starts_the_system_without_another_command(host: RackHost, project: Project) -> None:
    done = project.inv("install", "--target=linux", sudo=True)
    assert "is installed and starts at boot" in done.out
    assert "sudo systemctl start" in done.out
    assert not host.exists(f"{project.folder}/seen.json"), "installing must not start it"
    host.reboot()
    host.wait_until(lambda: host.run(f"systemctl is-active {UNIT}", check=False).ok, "the unit is active")
    seen = json.loads(host.read(f"{project.folder}/seen.json"))
    assert seen["arguments"] == ["--service"]
    assert seen["folder"] == project.folder
    assert seen["uid"] == host.uid(USER)
    assert seen["environ"]["HOME"] == HOME
    service = installed_status(project)
    assert service["enabled"]
    assert service["active"]
    assert service["state"] == "active (running)"
    assert service["status_text"] == "the stand-in runs"
    assert service["differs"] is False
    assert service["lacks"] == []


def test_the_second_run_changes_nothing_and_says_so(host: RackHost, project: Project) -> None:
    assert project.inv("install", "--json", sudo=True).document["changed"] is True
    before = host.run(["stat", "--format=%i %Y %Z", UNIT_PATH]).out
    again = project.inv("install", "--json", sudo=True).document
    assert again["changed"] is False
    assert again["done"] == []
    assert again["exit_code"] == 0
    assert host.run(["stat", "--format=%i %Y %Z", UNIT_PATH]).out == before
    assert "nothing was changed" in project.inv("install", sudo=True).out


def test_a_dry_run_shows_what_would_be_written_and_changes_nothing(host: RackHost, project: Project) -> None:
    before = snapshot(host)
    shown = project.inv("install", "--dry-run", sudo=True)
    assert "+ExecStart=" in shown.out
    assert "would be installed" in shown.out
    assert snapshot(host) == before


def test_an_edited_unit_is_shown_and_repaired(host: RackHost, project: Project) -> None:
    project.inv("install", sudo=True)
    host.run(["sed", "-i", "s/^TimeoutStopSec=.*/TimeoutStopSec=7/", UNIT_PATH])
    service = installed_status(project)
    assert service["differs"] is True
    assert "changed on disk" in service["detail"]
    shown = project.inv("install", "--dry-run", sudo=True).out
    assert "-TimeoutStopSec=7" in shown
    assert host.read(UNIT_PATH).count("TimeoutStopSec=7") == 1
    repaired = project.inv("install", "--json", sudo=True).document
    assert repaired["changed"] is True
    assert installed_status(project)["differs"] is False
    assert host.show(UNIT, "TimeoutStopUSec")["TimeoutStopUSec"] == "3min 30s"


def test_a_drop_in_of_the_operators_own_is_told_and_left_alone(host: RackHost, project: Project) -> None:
    project.inv("install", sudo=True)
    folder = f"/etc/systemd/system/{UNIT}.d"
    host.run(["mkdir", "-p", folder])
    host.write(f"{folder}/own.conf", "[Service]\nEnvironment=OWN=1\n")
    host.run("systemctl daemon-reload")
    service = installed_status(project)
    assert service["differs"] is False
    assert "own.conf" in service["detail"]
    project.inv("uninstall", sudo=True)
    assert host.exists(f"{folder}/own.conf")


def test_a_unit_that_was_disabled_by_hand_is_enabled_again(host: RackHost, project: Project) -> None:
    project.inv("install", sudo=True)
    host.run(["systemctl", "disable", UNIT])
    service = installed_status(project)
    assert service["enabled"] is False
    assert any("not enabled" in lack for lack in service["lacks"])
    assert project.inv("install", "--json", sudo=True).document["changed"] is True
    assert installed_status(project)["enabled"] is True


def test_uninstalling_leaves_the_host_as_it_was_but_for_state_and_logs(host: RackHost, project: Project) -> None:
    before = snapshot(host)
    host.run("mkdir -p state logs && touch state/kept logs/kept", user=USER, cwd=project.folder)
    project.inv("install", "--start", sudo=True)
    host.wait_until(lambda: installed_status(project)["active"], "the unit is active")
    done = project.inv("uninstall", "--json", sudo=True).document
    assert done["changed"] is True
    assert done["service"] is None
    assert host.read(f"{project.folder}/stopped") == "in order"
    assert snapshot(host) == before
    assert host.exists(f"{project.folder}/state/kept")
    assert host.exists(f"{project.folder}/logs/kept")
    assert host.show(UNIT, "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}
    assert installed_status(project) is None
    again = project.inv("uninstall", "--json", sudo=True).document
    assert again["changed"] is False
    assert again["exit_code"] == 0


def test_a_user_needs_root_only_to_let_services_start_at_boot(host: RackHost, project: Project) -> None:
    refused = project.inv("install", "--user", check=False)
    if not refused.ok:  # a host without polkit: only root may switch linger on
        assert f"loginctl enable-linger {USER}" in refused.err
        host.run(["loginctl", "enable-linger", USER])
        project.inv("install", "--user")
    host.reboot()
    unit = f"{HOME}/.config/systemd/user/{UNIT}"
    assert "User=" not in host.read(unit)
    host.wait_until(lambda: installed_status(project)["active"], "the user's unit is active")
    service = installed_status(project)
    assert service["scope"] == "user"
    assert service["enabled"]
    assert project.inv("install", "--user", "--json").document["changed"] is False
    assert "docker" in host.run(["docker", "version"], user=USER).out.lower()
    assert project.inv("uninstall", "--json").document["changed"] is True
    assert not host.exists(unit)
    assert host.read(f"{project.folder}/stopped") == "in order"


def test_a_users_unit_that_is_not_started_at_boot_is_reported(host: RackHost, project: Project) -> None:
    host.run(["loginctl", "enable-linger", USER])
    project.inv("install", "--user")
    host.run(["loginctl", "disable-linger", USER])
    host.wait_until(lambda: not host.exists(f"/var/lib/systemd/linger/{USER}"), "linger is off")
    service = installed_status(project)
    assert service["enabled"] is False
    assert any("linger" in lack for lack in service["lacks"])


def test_one_instance_has_one_service(host: RackHost, project: Project) -> None:
    host.run(["loginctl", "enable-linger", USER])
    project.inv("install", "--user")
    refused = project.inv("install", "--json", sudo=True, check=False)
    assert refused.code == 1
    assert "user scope" in refused.document["problem"]
    assert not host.exists(UNIT_PATH)


def test_who_is_not_root_is_told_the_command(host: RackHost, project: Project) -> None:
    refused = project.inv("install", check=False)
    assert refused.code == 1
    assert "sudo" in refused.out
    assert not host.exists(UNIT_PATH)


def test_a_user_whom_docker_does_not_let_in_is_told_before_anything_is_written(host: RackHost) -> None:
    project = host.copy_project(f"/home/{GUEST}/zero-touch", user=GUEST)
    project.use_stand_in(STAND_IN)
    argv = [f"{project.folder}/.venv/bin/python", "-m", "invoke", "install", "--json"]
    refused = host.run(argv, cwd=project.folder, check=False)
    assert refused.code == 1
    assert refused.document["next_action"] == f"sudo usermod -aG docker {GUEST}"
    assert not host.exists(UNIT_PATH)
    clean_up(project)


ODD_NAMES = [
    "two words",
    "100%h of it",
    "it costs $HOME and ${USER} $$",
    'so "quoted"',
    "it's",
    "back\\slash",
    "Börse ñandú 株",
    "semi; colon # hash = &",
    "all 'of' \"it\" 50% $PATH \\n ü",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_with_an_odd_name_is_installed_and_started(host: RackHost, name: str) -> None:
    project = host.copy_project(f"{HOME}/{name}")
    project.use_stand_in(STAND_IN)
    project.write_env(STATE_DIR=f"'/srv/{name}/state'" if "'" not in name else "state")
    if "'" not in name:
        host.run(f"install -d -o {USER} -m 700 {shlex.quote(f'/srv/{name}/state')}")
    try:
        project.inv("install", "--start", "--json", sudo=True)
        host.wait_until(lambda: installed_status(project)["active"], f"the unit is active in {project.folder}")
        seen = json.loads(host.read(f"{project.folder}/seen.json"))
        assert seen["folder"] == project.folder
        assert seen["environ"]["PROJECT"] == project.folder
        assert project.inv("install", "--json", sudo=True).document["changed"] is False
        assert project.inv("uninstall", "--json", sudo=True).document["changed"] is True
    finally:
        clean_up(project)


def test_another_instance_has_a_service_of_its_own(host: RackHost, project: Project) -> None:
    env_file = f"{project.folder}/a 50% $file 'of' \"ours\".env"
    host.write(
        env_file,
        "LOG_KEEP=7\nTWS_PASSWORD=SwordFish99\nDISCORD_WEBHOOK_URL=https://discord.test/api/webhooks/1/SwordFish99\n",
        user=USER,
        mode="600",
    )
    environ = {"INSTANCE": "second.one", "ENV_FILE": env_file}
    argv = [f"{project.folder}/.venv/bin/python", "-m", "invoke", "install", "--start", "--json"]
    host.run(argv, cwd=project.folder, environ=environ)
    name = "zero-touch-startup-second.one.service"
    text = host.read(f"/etc/systemd/system/{name}")
    assert "SwordFish99" not in text
    host.wait_until(lambda: host.run(f"systemctl is-active {name}", check=False).ok, "the instance's unit is active")
    seen = json.loads(host.read(f"{project.folder}/seen.json"))["environ"]
    assert seen["INSTANCE"] == "second.one"
    assert seen["ENV_FILE"] == env_file
    assert installed_status(project) is None, "the default instance has none"


def restarts_after(host: RackHost, project: Project, code: int) -> dict[str, str]:
    """Let the program end with this code, and look what systemd makes of it."""
    project.inv("install", sudo=True)
    folder = f"/run/systemd/system/{UNIT}.d"
    host.run(["mkdir", "-p", folder])
    host.write(f"{folder}/quick.conf", "[Service]\nRestartSec=100ms\n")
    host.run("systemctl daemon-reload")
    host.write(f"{project.folder}/exit-code", str(code), user=USER)
    host.run(["systemctl", "start", UNIT], check=False)
    host.wait_until(
        lambda: host.show(UNIT, "ActiveState")["ActiveState"] in {"failed", "inactive"}, "systemd has had enough"
    )
    found = host.show(UNIT, "ActiveState", "NRestarts", "ExecMainStatus", "Result")
    host.run(["rm", "-rf", folder])
    return found


def test_exit_code_78_is_not_started_again(host: RackHost, project: Project) -> None:
    found = restarts_after(host, project, 78)
    assert found["ActiveState"] == "failed"
    assert found["ExecMainStatus"] == "78"
    assert found["NRestarts"] == "0"


@pytest.mark.parametrize("code", [1, 2])
def test_a_program_that_always_fails_is_started_a_bounded_number_of_times(
    host: RackHost, project: Project, code: int
) -> None:
    found = restarts_after(host, project, code)
    assert found["ActiveState"] == "failed"
    assert found["ExecMainStatus"] == str(code)
    assert 0 < int(found["NRestarts"]) <= 10


def test_a_program_that_hangs_is_ended_and_started_again(host: RackHost, project: Project) -> None:
    project.inv("install", sudo=True)
    folder = f"/run/systemd/system/{UNIT}.d"
    host.run(["mkdir", "-p", folder])
    host.write(f"{folder}/quick.conf", "[Service]\nRestartSec=100ms\nWatchdogSec=2\n")
    host.run(f"systemctl daemon-reload && systemctl start {UNIT}")
    first = host.show(UNIT, "MainPID")["MainPID"]
    host.run(["kill", "-STOP", first])
    host.wait_until(lambda: host.show(UNIT, "NRestarts")["NRestarts"] == "1", "the watchdog has fired")
    host.wait_until(lambda: host.show(UNIT, "ActiveState")["ActiveState"] == "active", "it runs again")
    assert host.show(UNIT, "MainPID")["MainPID"] != first
    host.run(["rm", "-rf", folder])


def test_inside_the_unit_docker_works_and_only_what_is_ours_can_be_written(host: RackHost, project: Project) -> None:
    tried = {
        "docker": "docker version && docker compose version",
        "libraries": "PROJECT/.venv/bin/python -c 'import numpy, ib_async, psutil; numpy.linalg.inv(numpy.eye(300))'",
        "own folders": "mkdir -p PROJECT/state && touch PROJECT/state/x /tmp/x /var/tmp/x ~/x",
        "shared memory": "python3 -c 'import multiprocessing as m; m.Value(\"i\"); m.Queue(); m.Pool(2).map(abs, [1])'",
        "boot id": "cat /proc/sys/kernel/random/boot_id /proc/1/stat",
        "names": "python3 -c 'import socket; socket.getaddrinfo(\"localhost\", 80)'",
    }
    refused = {
        "the system": "touch /etc/x",
        "other folders": "touch /srv/x",
        "root": "sudo -n true",
        "namespaces": "unshare --user true",
    }
    lines = [
        f"({command}) >/dev/null 2>>PROJECT/errors; echo '{name}' $?" for name, command in (tried | refused).items()
    ]
    script = (
        '#!/usr/bin/env bash\n[ "$1" = --service ] || exit 0\nsystemd-notify --ready\n{ '
        + "\n".join(lines)
        + "\n} >PROJECT/tried\nsleep infinity\n"
    )
    project.use_stand_in(script.replace("PROJECT", project.folder))
    host.run(["chmod", "a+rwx", "/srv"])
    project.inv("install", "--start", sudo=True)
    last = list(refused)[-1]
    host.wait_until(
        lambda: last in host.run(f"cat {project.folder}/tried", check=False).out, "everything has been tried"
    )
    codes = dict(line.rsplit(" ", 1) for line in host.read(f"{project.folder}/tried").splitlines())
    errors = host.read(f"{project.folder}/errors")
    assert {name for name in tried if codes[name] != "0"} == set(), errors
    assert {name for name in refused if codes[name] == "0"} == set(), errors
