"""Which instances there are, which share a gateway, and which contradict each other."""

import dataclasses
from pathlib import Path

import pytest

from orchestration.gateway.record import GatewayRecord
from orchestration.preflight.instances import (
    Sign,
    build_sign,
    find_conflict,
    find_instances,
    is_same_gateway,
    load_other,
    read_other_signs,
    read_own_sign,
    sign_up,
)
from orchestration.settings import GatewayRuntime, Settings

MINE = Sign(
    instance="momentum",
    state_dir="/srv/state/momentum",
    project_dir="/srv",
    env_file="/srv/.env.momentum",
    runtime="docker",
    host="127.0.0.1",
    port=4002,
    container="ibkr-gateway",
    engine="",
    trading_mode="paper",
)
OTHER = dataclasses.replace(MINE, instance="meanrev", state_dir="/srv/state/meanrev", env_file="/srv/.env.meanrev")


def _change(**changes: object) -> Sign:
    return dataclasses.replace(OTHER, **changes)  # type: ignore[arg-type]  # the fields of a sign


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (OTHER, True),
        (_change(host="localhost"), True),
        (_change(host="LOCALHOST.", runtime="external", container=""), True),
        (_change(host="::1", runtime="external", container=""), True),
        (_change(host="127.1", runtime="external", container=""), True),
        (_change(host="0.0.0.0", runtime="external", container=""), True),  # noqa: S104 - nothing is bound
        (_change(host="127.example.org", runtime="external", container=""), False),
        (_change(port=4012), True),  # by its container: the contradiction is found by `find_conflict`
        (_change(port=4012, container="other"), False),
        (_change(port=4012, engine="lab"), False),
        (_change(runtime="external", container=""), True),
        (_change(runtime="external", container="", host="10.0.0.1"), False),
    ],
)
def test_a_gateway_is_known_by_its_container_or_its_address(other: Sign, is_same: bool) -> None:  # noqa: FBT001 - a table
    assert is_same_gateway(MINE, other) is is_same
    assert is_same_gateway(other, MINE) is is_same


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (OTHER, ""),
        (_change(state_dir=MINE.state_dir, port=4012), ""),  # it is the same instance, with new settings
        (_change(runtime="external", container=""), ""),
        (_change(port=4012, container="other"), ""),
        (_change(port=4012), "use one container, ibkr-gateway, but look for it in two places"),
        (_change(container="other"), "want ibkr-gateway and other on one port, 4002"),
        (_change(runtime="simulator", container=""), "want ibkr-gateway and a simulator gateway on one port"),
        (_change(trading_mode="live"), "is for paper trading"),
    ],
)
def test_a_contradiction_names_both_instances(other: Sign, says: str) -> None:
    conflict = find_conflict(MINE, other)
    if not says:
        assert conflict == ""
        return
    assert says in conflict
    assert "instance momentum" in conflict
    assert "instance meanrev (/srv/.env.meanrev)" in conflict


def _settings(folder: Path, **environ: str) -> Settings:
    return Settings.from_environ({"GATEWAY_SHARED_DIR": str(folder / "shared"), **environ}, project_dir=folder)


def _sign_up(folder: Path, **environ: str) -> Settings:
    settings = _settings(folder, **environ)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    sign_up(settings, GatewayRecord(runtime=GatewayRuntime.DOCKER, host="127.0.0.1", port=4002, container="c"))
    return settings


def test_who_has_signed_up_is_seen_by_the_others(tmp_path: Path) -> None:
    momentum, meanrev = _sign_up(tmp_path, INSTANCE="momentum"), _sign_up(tmp_path, INSTANCE="meanrev")
    assert [sign.instance for sign in read_other_signs(momentum)] == ["meanrev"]
    assert [sign.instance for sign in read_other_signs(meanrev)] == ["momentum"]
    own = read_own_sign(momentum)
    assert own is not None
    assert own.container == "c"


def test_whose_state_folder_is_gone_is_forgotten(tmp_path: Path) -> None:
    momentum, meanrev = _sign_up(tmp_path, INSTANCE="momentum"), _sign_up(tmp_path, INSTANCE="meanrev")
    meanrev.state_dir.rmdir()
    assert read_other_signs(momentum) == ()


def test_a_sign_that_cannot_be_understood_is_of_no_instance(tmp_path: Path) -> None:
    momentum = _sign_up(tmp_path, INSTANCE="momentum")
    (tmp_path / "shared" / "instances" / "broken.json").write_text("{", encoding="utf-8")
    assert read_other_signs(momentum) == ()


def test_another_instance_is_loaded_with_its_own_settings(tmp_path: Path) -> None:
    (tmp_path / "far.env").write_text("INSTANCE=far\nBOT_COMMAND=/opt/bot\n", encoding="utf-8")
    settings = _settings(tmp_path, INSTANCE="far", ENV_FILE=str(tmp_path / "far.env"), STATE_DIR=str(tmp_path / "s"))
    loaded = load_other(build_sign(settings))
    assert loaded.instance == "far"
    assert loaded.bot_command == ("/opt/bot",)
    assert str(loaded.state_dir) == str((tmp_path / "s" / "far").resolve()), "also where only the shell named it"


def test_instances_are_found_by_settings_files_state_folders_and_signs(tmp_path: Path) -> None:
    shared = f"GATEWAY_SHARED_DIR={tmp_path / 'shared'}\n"
    (tmp_path / ".env").write_text(shared, encoding="utf-8")
    (tmp_path / ".env.momentum").write_text(f"{shared}INSTANCE=momentum\nGATEWAY_PORT=4005\n", encoding="utf-8")
    (tmp_path / ".env.rackmount").write_text("GATEWAY_PORT=4009\n", encoding="utf-8")  # a host's, no instance's
    (tmp_path / ".env.example").write_text("#INSTANCE=default\n", encoding="utf-8")
    used = tmp_path / "state" / "meanrev"
    used.mkdir(parents=True)
    (used / "journal.sqlite3").touch()
    (tmp_path / "state" / "plans").mkdir()
    (tmp_path / "far.env").write_text("INSTANCE=far\n", encoding="utf-8")
    _sign_up(tmp_path, INSTANCE="far", ENV_FILE=str(tmp_path / "far.env"), STATE_DIR=str(tmp_path / "elsewhere"))
    found = find_instances({"PATH": "/bin"}, tmp_path)
    assert [settings.instance for settings in found] == ["default", "far", "meanrev", "momentum"]
    assert [settings.gateway_port for settings in found] == [4002, 4002, 4002, 4005]


def test_the_instance_that_the_shell_names_is_among_them(tmp_path: Path) -> None:
    environ = {"INSTANCE": "a", "GATEWAY_SHARED_DIR": str(tmp_path / "shared")}
    assert [settings.instance for settings in find_instances(environ, tmp_path)] == ["a"]
    assert [settings.instance for settings in find_instances({**environ, "INSTANCE": ""}, tmp_path)] == ["default"]


def test_without_a_common_settings_file_there_is_no_default_instance(tmp_path: Path) -> None:
    content = f"INSTANCE=momentum\nGATEWAY_SHARED_DIR={tmp_path / 'shared'}\n"
    (tmp_path / ".env.momentum").write_text(content, encoding="utf-8")
    environ = {"GATEWAY_SHARED_DIR": str(tmp_path / "shared")}
    assert [settings.instance for settings in find_instances(environ, tmp_path)] == ["momentum"]


def test_an_instance_of_an_earlier_release_is_found_with_its_own_settings_file(tmp_path: Path) -> None:
    old, new, shared = tmp_path / "releases" / "1", tmp_path / "releases" / "2", tmp_path / "shared"
    for folder in (old, new, shared / "state"):
        folder.mkdir(parents=True)
    for release in (old, new):
        (release / "state").symlink_to(shared / "state")
    (shared / ".env.momentum").write_text("INSTANCE=momentum\nGATEWAY_PORT=4005\n", encoding="utf-8")
    environ = {"GATEWAY_SHARED_DIR": str(tmp_path / "agreed")}
    named = {**environ, "INSTANCE": "momentum", "ENV_FILE": str(shared / ".env.momentum")}
    settings = Settings.from_environ(named, dotenv={"GATEWAY_PORT": "4005"}, project_dir=old)
    settings.state_dir.mkdir()
    (settings.state_dir / "journal.sqlite3").touch()
    sign_up(settings, GatewayRecord(runtime=GatewayRuntime.DOCKER, host="127.0.0.1", port=4005, container="c"))
    (found,) = find_instances(environ, new)
    assert (found.instance, found.gateway_port) == ("momentum", 4005)
    assert found.project_dir == new


def test_instances_on_one_folder_of_the_operators_do_not_contradict_each_other(tmp_path: Path) -> None:
    def read(name: str, folder: str, **environ: str) -> Settings:
        said = {"INSTANCE": name, "DOCKER_COMPOSE_DIR": str(tmp_path / folder), **environ}
        return Settings.from_environ(said, project_dir=tmp_path)

    found = GatewayRecord(
        runtime=GatewayRuntime.DOCKER, host="127.0.0.1", port=4002, container="algo-trader-ib-gateway-1"
    )
    running, other = build_sign(read("a", "ib"), found), build_sign(read("b", "ib"))
    assert is_same_gateway(running, other)
    assert find_conflict(other, running) == ""
    elsewhere = build_sign(read("c", "ib2", GATEWAY_PORT="4012"))
    assert not is_same_gateway(elsewhere, other)
    assert find_conflict(elsewhere, other) == ""
