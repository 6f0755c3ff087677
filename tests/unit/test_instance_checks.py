"""What preflight says about other instances."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.bot.find import BotPresence, FoundBy
from orchestration.errors import Check, FailureWord, StepStatus
from orchestration.gateway.record import GatewayRecord
from orchestration.preflight.instances import sign_up
from orchestration.preflight.other_instances import check_instances
from orchestration.settings import GatewayRuntime, Settings, find_env_file
from orchestration.settings.sources import read_env_file
from orchestration.system.lock import hold_lock
from orchestration.system.platform import Platform, platform, use_platform
from orchestration.system.processes import ProcessIdentity

NOBODY = BotPresence(detail="not running")
RUNNING = BotPresence(process=ProcessIdentity(pid=7, birth="b"), uptime_s=1.0, how=FoundBy.RECORDED)
Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Reads the settings as a shell with these variables would."""

    def read(**environ: str) -> Settings:
        said = {"GATEWAY_SHARED_DIR": str(tmp_path / "shared"), **environ}
        path = find_env_file(said, tmp_path)
        dotenv = read_env_file(path, []) if path is not None else {}
        return Settings.from_environ(said, dotenv=dotenv, project_dir=tmp_path)

    return read


def _write(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _check(settings: Settings, presence: BotPresence = NOBODY, *, replaces_bot: bool = False) -> list[Check]:
    return list(check_instances(settings, presence, replaces_bot=replaces_bot))


def _record(container: str = "ibkr-gateway", port: int = 4002) -> GatewayRecord:
    return GatewayRecord(runtime=GatewayRuntime.DOCKER, host="127.0.0.1", port=port, container=container)


def test_one_instance_alone_is_told_nothing(load: Load, tmp_path: Path) -> None:
    _write(tmp_path, ".env", "GATEWAY_PORT=4002")
    _write(tmp_path, ".env.rackmount", "GATEWAY_PORT=4002")
    assert _check(load()) == []


def test_those_who_share_a_gateway_are_named(load: Load, tmp_path: Path) -> None:
    for name in ("meanrev", "momentum"):
        _write(tmp_path, f".env.{name}", f"INSTANCE={name}")
    (check,) = _check(load(INSTANCE="momentum"))
    assert check.status is StepStatus.OK
    assert check.detail == "ibkr-gateway is shared with meanrev"


def test_settings_of_the_container_that_differ_are_named_but_not_shown(load: Load, tmp_path: Path) -> None:
    _write(tmp_path, ".env.meanrev", "INSTANCE=meanrev", "TWS_USERID=planted-user", "READ_ONLY_API=yes")
    _write(tmp_path, ".env.momentum", "INSTANCE=momentum")
    (check,) = _check(load(INSTANCE="momentum"))
    assert check.status is StepStatus.WARN
    assert "TWS_USERID, READ_ONLY_API of instance meanrev" in check.detail
    assert "planted-user" not in check.detail


def test_a_contradiction_is_a_warning_while_the_other_one_is_down(load: Load, tmp_path: Path) -> None:
    _write(tmp_path, ".env.meanrev", "INSTANCE=meanrev", "GATEWAY_PORT=4012")
    _write(tmp_path, ".env.momentum", "INSTANCE=momentum")
    (check,) = _check(load(INSTANCE="momentum"))
    assert check.status is StepStatus.WARN
    assert "instance momentum and instance meanrev" in check.detail


def test_what_this_shell_says_of_its_own_instance_is_not_so_for_the_others(load: Load, tmp_path: Path) -> None:
    _write(tmp_path, ".env.meanrev", "INSTANCE=meanrev")
    _write(tmp_path, ".env.momentum", "INSTANCE=momentum")
    (check,) = _check(load(INSTANCE="momentum", GATEWAY_PORT="4012"))
    assert "127.0.0.1:4012 and 127.0.0.1:4002" in check.detail


def test_a_contradiction_to_one_that_is_at_work_stops_the_start(load: Load) -> None:
    meanrev = load(INSTANCE="meanrev")
    meanrev.state_dir.mkdir(parents=True)
    sign_up(meanrev, _record(port=4012))
    with hold_lock(meanrev.state_dir / "supervisor.lock", purpose="supervisor", since="now"):
        (check,) = _check(load(INSTANCE="momentum"))
    assert check.status is StepStatus.FAIL
    assert check.failure is FailureWord.CONFIG_INVALID
    assert f"process {os.getpid()} (supervisor" in check.detail


class _CountingPlatform(Platform):
    """A host without processes, which counts how often its process table is read."""

    reads = 0

    @property
    def proc_root(self) -> str:  # type: ignore[override]  # an attribute that counts who reads it
        self.reads += 1
        return "/nonexistent"


def test_an_instance_with_a_gateway_of_its_own_costs_no_look_through_the_processes(load: Load) -> None:
    mine, made, before = load(INSTANCE="momentum"), _CountingPlatform(), platform()
    use_platform(made)
    try:
        assert _check(mine) == []
        alone = made.reads
        for number in range(20):
            other = load(INSTANCE=f"old{number}")
            other.state_dir.mkdir(parents=True)
            sign_up(other, replace(_record(port=5000 + number), runtime=GatewayRuntime.EXTERNAL, container=""))
            lines = (f"INSTANCE=old{number}", f"GATEWAY_PORT={5000 + number}", "GATEWAY_RUNTIME=external")
            _write(other.project_dir, f".env.old{number}", *lines)
        made.reads = 0
        assert _check(mine) == []
        assert made.reads == alone
    finally:
        use_platform(before)


@pytest.mark.parametrize(
    ("presence", "replaces_bot", "status"),
    [
        (RUNNING, False, StepStatus.FAIL),
        (RUNNING, True, StepStatus.WARN),
        (NOBODY, False, StepStatus.WARN),
    ],
)
def test_one_instance_with_two_settings_files_is_told(
    load: Load, tmp_path: Path, presence: BotPresence, *, replaces_bot: bool, status: StepStatus
) -> None:
    for name in ("momentum.env", "meanrev.env"):
        _write(tmp_path, name, "GATEWAY_PORT=4002")
    first = load(ENV_FILE=str(tmp_path / "momentum.env"))
    first.state_dir.mkdir(parents=True)
    sign_up(first, _record())
    assert _check(first, presence) == [], "the one that it belongs to"
    (check,) = _check(load(ENV_FILE=str(tmp_path / "meanrev.env")), presence, replaces_bot=replaces_bot)
    assert check.status is status
    assert "momentum.env" in check.detail
    assert "INSTANCE of its own" in check.fix


def test_a_file_with_the_name_of_an_instance_and_without_its_instance_is_told(load: Load, tmp_path: Path) -> None:
    _write(tmp_path, ".env.momentum", "GATEWAY_PORT=4002")
    (check,) = _check(load(ENV_FILE=".env.momentum"))
    assert check.status is StepStatus.WARN
    assert "INSTANCE=momentum" in check.fix


def test_two_files_that_name_one_instance_are_told(load: Load, tmp_path: Path) -> None:
    _write(tmp_path, ".env.momentum", "INSTANCE=momentum")
    _write(tmp_path, ".env.copy", "INSTANCE=momentum")
    (check,) = _check(load(INSTANCE="momentum"))
    assert check.status is StepStatus.WARN
    assert ".env.copy" in check.detail


def test_a_shared_folder_that_cannot_be_written_is_told_where_a_gateway_is_shared(load: Load, tmp_path: Path) -> None:
    for name in ("meanrev", "momentum"):
        _write(tmp_path, f".env.{name}", f"INSTANCE={name}")
    (tmp_path / "no_folder").touch()
    (check,) = _check(load(INSTANCE="momentum", GATEWAY_SHARED_DIR=str(tmp_path / "no_folder" / "shared")))
    assert check.status is StepStatus.WARN
    assert "GATEWAY_SHARED_DIR" in check.detail


def test_more_instances_than_a_gateway_has_room_for_are_told(load: Load, tmp_path: Path) -> None:
    for number in range(31):
        _write(tmp_path, f".env.bot{number}", f"INSTANCE=bot{number}")
    (check,) = _check(load(INSTANCE="bot0"))
    assert check.status is StepStatus.WARN
    assert "shared by 31 instances" in check.detail
