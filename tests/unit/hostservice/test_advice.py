"""Advice names commands that work on the host it is given on."""

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from orchestration.hostservice.advice import (
    HostCommands,
    advise,
    build_host_commands,
    build_inv,
    find_registrar,
)
from orchestration.hostservice.linux_host import HostUser, LinuxHost
from orchestration.hostservice.service import Scope, build_host_service
from orchestration.hostservice.systemd import SystemdRegistrar
from orchestration.hostservice.windows import build_task_scheduler
from orchestration.hostservice.windows_host import WindowsSide
from orchestration.settings import Settings
from tests.fakes.clock import FakeClock
from tests.unit.hostservice.fake_systemd import FakeSystemd
from tests.unit.hostservice.fake_windows import FakeWindows

_OWN = str(Path(sys.prefix, "bin", "inv"))
_TEXTS = (
    "Fix the cause, then `inv startup`.",
    "If it may run again: `inv resume`, then `inv startup`.",
    "Put a plan in place, then `inv startup --replace`.",
    "Read `inv logs --of gateway`, then `inv gateway.restart` and `inv bot.start`.",
    "Try `inv startup --simulate`; nothing else changes: `docker ps`, inv startup.",
)


def _build_registrar(
    tmp_path: Path, scope: Scope, *, project: str = "project", instance: str = "default"
) -> SystemdRegistrar:
    folder = tmp_path / project
    folder.mkdir(exist_ok=True)
    settings = Settings.from_environ({"INSTANCE": instance}, project_dir=folder)
    account = HostUser(name="trader", uid=1000, home=tmp_path / "home")
    host = LinuxHost(caller=account, has_systemd=True, is_wsl=False, system_units=tmp_path / "units")
    units = tmp_path / "units" if scope is Scope.SYSTEM else account.home / ".config/systemd/user"
    units.mkdir(parents=True, exist_ok=True)
    return SystemdRegistrar(
        service=build_host_service(settings, scope=scope, user="trader", home=account.home),
        account=account,
        host=host,
        commands=FakeSystemd(folder=units, linger=tmp_path / "linger"),
        clock=FakeClock(),
        state_dir=settings.state_dir,
        own_folders=(),
    )


def test_with_a_lease_only_a_start_that_stays_with_the_bot_is_advised() -> None:
    here = build_host_commands("inv", None, root_inv="sudo inv", needs_supervisor=True)
    assert here.apply(_TEXTS[0]) == "Fix the cause, then `inv startup --foreground`."
    assert here.apply(_TEXTS[2]) == "Put a plan in place, then `inv startup --foreground --replace`."
    assert "`inv startup --simulate`" in here.apply(_TEXTS[4])


@pytest.mark.parametrize(
    ("scope", "instance", "start"),
    [
        (Scope.SYSTEM, "default", "sudo systemctl start zero-touch-startup.service"),
        (Scope.USER, "default", "systemctl --user start zero-touch-startup.service"),
        (Scope.SYSTEM, "momentum", "sudo systemctl start zero-touch-startup-momentum.service"),
    ],
)
def test_where_a_unit_is_installed_it_is_what_starts_again(
    tmp_path: Path, scope: Scope, instance: str, start: str
) -> None:
    registrar = _build_registrar(tmp_path, scope, instance=instance)
    here = build_host_commands("inv", registrar, root_inv="sudo inv")
    assert [here.apply(text) for text in _TEXTS] == [
        f"Fix the cause, then `{start}`.",
        f"If it may run again: `inv resume`, then `{start}`.",
        f"Put a plan in place, then `{start.replace(' start ', ' restart ')}`.",
        f"Read `inv logs --of gateway`, then `inv gateway.restart` and `{start}`.",
        "Try `inv startup --simulate`; nothing else changes: `docker ps`, inv startup.",
    ]


def test_where_nothing_is_installed_it_is_inv_with_what_makes_the_line_work() -> None:
    here = build_host_commands("cd /srv/bot && .venv/bin/inv", None, root_inv="cd /srv/bot && sudo .venv/bin/inv")
    assert here.apply(_TEXTS[1]) == (
        "If it may run again: `cd /srv/bot && .venv/bin/inv resume`, then `cd /srv/bot && .venv/bin/inv startup`."
    )
    assert here.apply(_TEXTS[2]).endswith("then `cd /srv/bot && .venv/bin/inv startup --replace`.")


def test_what_needs_root_names_sudo_with_the_variables_behind_it(tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/inv").touch()
    settings = Settings.from_environ({"INSTANCE": "second"}, project_dir=tmp_path)
    said = advise("`sudo inv install --target=linux`, or `inv install --user`.", settings)
    assert said.startswith(f"`cd {tmp_path} && sudo INSTANCE=second .venv/bin/inv install --target=linux`, or `")
    assert said.endswith("inv install --user`.")
    assert "sudo" not in said.rpartition(", or ")[2]
    assert advise(said, settings) == said


def test_where_a_scheduled_task_is_registered_it_is_run_though_it_had_given_up(tmp_path: Path) -> None:
    settings = Settings.from_environ({"WSL_DISTRO_NAME": "Ubuntu"}, project_dir=tmp_path)
    registrar = build_task_scheduler(settings, commands=FakeWindows(), choices=None, side=WindowsSide.WSL)
    here = build_host_commands("inv", registrar, root_inv="sudo inv")
    assert here.start == 'inv resume && schtasks.exe /Run /TN "\\ZeroTouch\\zero-touch-startup"'
    assert here.replace == "inv bot.restart"


def test_advice_that_was_given_once_stays_as_it_is(tmp_path: Path) -> None:
    for commands in (
        build_host_commands("cd /srv && .venv/bin/inv", None, root_inv="cd /srv && sudo .venv/bin/inv"),
        build_host_commands("INSTANCE=momentum inv", _build_registrar(tmp_path, Scope.SYSTEM), root_inv="sudo inv"),
    ):
        for text in _TEXTS:
            assert commands.apply(commands.apply(text)) == commands.apply(text)


def test_a_unit_of_another_checkout_is_not_this_ones(tmp_path: Path) -> None:
    ours, other = (_build_registrar(tmp_path, Scope.SYSTEM, project=name) for name in ("ours", "it's 100% other"))
    assert not ours.is_own
    ours.path.write_bytes(other.render().content)
    assert (ours.is_own, other.is_own) == (False, True)
    ours.path.write_bytes(ours.render().content)
    assert (ours.is_own, other.is_own) == (True, False)
    ours.path.unlink()
    ours.path.symlink_to("/dev/null")  # masked
    assert not ours.is_own


def test_inv_is_bare_only_where_the_shell_finds_this_environments_own(tmp_path: Path) -> None:
    settings = Settings.from_environ({}, project_dir=tmp_path / "my bot")
    assert build_inv(settings, on_path=_OWN) == "inv"
    assert build_inv(settings, on_path=None) == f"cd '{tmp_path / 'my bot'}' && {_OWN}"
    assert build_inv(settings, on_path="/usr/bin/inv") == f"cd '{tmp_path / 'my bot'}' && {_OWN}"
    (tmp_path / "my bot/.venv/bin").mkdir(parents=True)
    (tmp_path / "my bot/.venv/bin/inv").touch()
    assert build_inv(settings, on_path=None) == f"cd '{tmp_path / 'my bot'}' && .venv/bin/inv"


def test_another_instance_and_another_settings_file_are_named_in_the_line(tmp_path: Path) -> None:
    environ = {"INSTANCE": "momentum", "ENV_FILE": "my settings.env"}
    settings = Settings.from_environ(environ, project_dir=tmp_path)
    assert build_inv(settings, on_path=_OWN) == f"INSTANCE=momentum ENV_FILE='{tmp_path / 'my settings.env'}' inv"


def test_in_the_stack_containers_are_named(tmp_path: Path) -> None:
    settings = dataclasses.replace(
        Settings.from_environ({"BOT_CONTAINER_NAME": "bot-1"}, project_dir=tmp_path), in_stack=True
    )
    assert advise(_TEXTS[0], settings) == "Fix the cause, then `docker restart bot-1`."


def test_a_host_that_cannot_be_looked_at_gets_the_plain_command(tmp_path: Path) -> None:
    settings = Settings.from_environ({}, project_dir=tmp_path / "is not there")
    assert find_registrar(settings) is None
    assert "inv startup`" in advise("`inv startup`", settings)


def test_every_command_in_the_programs_advice_is_one_that_is_put_in_place_here() -> None:
    """A text that names `.venv/bin/inv` or leaves the quotes out would pass by what this host knows."""
    package = Path(__file__).resolve().parents[3] / "orchestration"
    quoted = re.compile(r"(?:next_action|fix)=f?\"([^\"]*)\"")
    here = HostCommands(inv="INV", root_inv="ROOT INV", start="START", replace="REPLACE")
    passed_by = [
        f"{path.name}: {text}"
        for path in package.rglob("*.py")
        if path.parent.name not in {"hostservice", "deploy", "on_host"}
        for text in quoted.findall(path.read_text(encoding="utf-8"))
        if re.search(r"(?<![\w/.-])inv (?:startup|bot\.start|resume|gateway)", here.apply(text))
    ]
    assert passed_by == []
