"""What each command says of a configuration that is wrong."""

import pytest

from tests.system import System

_WRONG = {"GATEWAY_RECOVERY": "alrt", "LOG_KEEP": "many"}


@pytest.mark.parametrize("command", ["preflight", "config"])
def test_what_shows_the_configuration_names_the_failure_word_to_people_and_programs(
    system: System, command: str
) -> None:
    shown = system.inv(command, environ=_WRONG)
    assert shown.code == 1
    text = " ".join(shown.out.split())  # the table folds its lines
    assert "CONFIG_INVALID" in text
    assert "GATEWAY_RECOVERY: 'alrt' must be `restart` or `alert`" in text
    assert "LOG_KEEP: 'many' must be a whole number" in text
    assert system.inv(command, "--json", environ=_WRONG).document["failure"] == "CONFIG_INVALID"


@pytest.mark.parametrize("command", [("startup", "--json"), ("preflight",), ("startup", "--dry-run")])
def test_wrong_values_and_files_that_are_not_there_stand_in_one_message(
    system: System, command: tuple[str, ...]
) -> None:
    missing = {"BOT_COMMAND": "/no/such/bot", "BOT_WORKDIR": "/no/such/folder", "GAMEPLAN_SCHEMA": "/no/such.json"}
    shown = system.inv(*command, environ=_WRONG | missing)
    assert shown.code == 1
    for name in (*_WRONG, *missing):
        assert f"{name}: " in shown.out
    if "--json" in command:
        assert shown.document["failure"] == "CONFIG_INVALID"
        assert shown.document["message"].startswith("5 wrong settings: ")


def test_a_watch_does_not_act_on_defaults_in_the_place_of_wrong_values(system: System) -> None:
    ended = system.inv("monitor", environ=_WRONG)
    assert ended.code == 1
    assert "CONFIG_INVALID: GATEWAY_RECOVERY: 'alrt'" in ended.err
    assert not (system.state / "monitor.lock").exists()


@pytest.mark.parametrize("command", ["shutdown", "bot.stop"])
def test_what_stops_the_system_works_and_names_the_wrong_values(system: System, command: str) -> None:
    ended = system.inv(command, environ=_WRONG)
    assert ended.code == 0, ended.err
    assert "warning: GATEWAY_RECOVERY: 'alrt' must be `restart` or `alert`" in ended.out + ended.err
    assert "LOG_KEEP: 'many'" in ended.out + ended.err
