"""What follows from an instance's name: its settings file and its API client ids."""

from pathlib import Path

import pytest

from orchestration.errors import StartupFailure
from orchestration.settings import Settings, find_env_file
from orchestration.settings.settings import derive_client_ids
from orchestration.settings.sources import instance_file_problem, read_env_file


def _read(environ: dict[str, str], folder: Path) -> tuple[str, tuple[str, ...]]:
    """The name of the file that is read, and what speaks against it."""
    path = find_env_file(environ, folder)
    dotenv = read_env_file(path, []) if path is not None else {}
    return path.name if path is not None else "", instance_file_problem(environ, path, dotenv)


def test_an_instance_has_a_settings_file_of_its_own_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_PORT=4002\n", encoding="utf-8")
    (tmp_path / ".env.momentum").write_text("INSTANCE=momentum\n", encoding="utf-8")
    assert _read({"INSTANCE": "momentum"}, tmp_path) == (".env.momentum", ())
    assert _read({"INSTANCE": "meanrev"}, tmp_path) == (".env", ()), "it has none of its own"
    assert _read({}, tmp_path) == (".env", ())
    assert _read({"INSTANCE": "default"}, tmp_path) == (".env", ())


def test_a_named_file_goes_before_the_one_of_the_instance(tmp_path: Path) -> None:
    (tmp_path / ".env.momentum").write_text("INSTANCE=momentum\n", encoding="utf-8")
    (tmp_path / "other.env").write_text("", encoding="utf-8")
    assert _read({"INSTANCE": "momentum", "ENV_FILE": "other.env"}, tmp_path) == ("other.env", ())


@pytest.mark.parametrize("content", ["", "GATEWAY_PORT=4002\n", "INSTANCE=\n", "INSTANCE=default\n"])
def test_a_file_that_has_the_name_of_an_instance_must_say_that_it_is_its(content: str, tmp_path: Path) -> None:
    (tmp_path / ".env.rackmount").write_text(content, encoding="utf-8")
    name, problem = _read({"INSTANCE": "rackmount"}, tmp_path)
    assert name == ".env.rackmount"
    assert len(problem) == 1
    assert "INSTANCE=rackmount" in problem[0]


def test_an_instance_with_a_name_that_is_none_takes_no_file(tmp_path: Path) -> None:
    assert _read({"INSTANCE": "../secrets"}, tmp_path) == ("", ())


@pytest.mark.parametrize("name", ["momentum", "a", "mean-rev.2", "x" * 40])
def test_each_instance_has_client_ids_of_its_own(name: str) -> None:
    settings = Settings.from_environ({"INSTANCE": name})
    probe, bot = settings.gateway_probe_client_id, settings.bot_client_id
    assert (probe, bot) == derive_client_ids(name)
    assert bot == probe + 10, "ten are tried of each"
    assert 20_000 <= probe < 2_000_000_000 - 20


def test_twenty_instances_have_twenty_ranges() -> None:
    ranges = {derive_client_ids(f"bot-{number}") for number in range(20)}
    assert len(ranges) == 20


def test_the_default_instance_keeps_the_ids_that_it_always_had() -> None:
    settings = Settings.from_environ({})
    assert (settings.gateway_probe_client_id, settings.bot_client_id) == (9990, 1)


def test_client_ids_can_be_chosen() -> None:
    settings = Settings.from_environ({"INSTANCE": "a", "GATEWAY_PROBE_CLIENT_ID": "77", "BOT_CLIENT_ID": "0"})
    assert (settings.gateway_probe_client_id, settings.bot_client_id) == (77, 0)
    with pytest.raises(StartupFailure):
        Settings.from_environ({"BOT_CLIENT_ID": "-1"})


def test_all_instances_of_a_checkout_agree_in_one_folder_for_every_user(tmp_path: Path) -> None:
    folders = {
        Settings.from_environ(environ, project_dir=tmp_path).gateway_shared_dir
        for environ in ({}, {"INSTANCE": "a"}, {"INSTANCE": "b", "STATE_DIR": "/elsewhere"}, {"HOME": "/root/sudo"})
    }
    assert len(folders) == 1
    assert folders.pop().parts[-3:] == (".local", "state", "zero-touch-startup")
    named = Settings.from_environ({"GATEWAY_SHARED_DIR": "shared"}, project_dir=tmp_path)
    assert named.gateway_shared_dir == tmp_path / "shared"
