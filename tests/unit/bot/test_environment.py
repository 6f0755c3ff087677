from pathlib import Path

from orchestration.bot.argv import build_bot_argv
from orchestration.bot.environment import build_bot_environ
from orchestration.settings import PROJECT_DIR, Settings
from orchestration.system.endpoint import Endpoint

_PLAN = Path("/state/plans/2026-11-18.json")
_SECRETS = {
    "TWS_USERID": "planted-user",
    "TWS_PASSWORD": "planted-password",
    "DISCORD_WEBHOOK_URL": "https://planted.example",
    "DISCORD_MENTION": "<@planted>",
    "HEARTBEAT_URL": "https://planted.example/ping",
}


def _environ(settings: Settings) -> dict[str, str]:
    return build_bot_environ(
        settings, Endpoint(host="gw", port=4004), gameplan=_PLAN, notify_socket=Path("/state/notify.sock")
    )


def _argv(settings: Settings) -> tuple[str, ...]:
    return build_bot_argv(settings, Endpoint(host="gw", port=4004), gameplan=_PLAN)


def test_the_four_arguments_are_appended() -> None:
    settings = Settings.from_environ({"BOT_COMMAND": "python 'my bot.py' --x", "BOT_LOG_LEVEL": "debug"})
    assert _argv(settings) == (
        "python", "my bot.py", "--x", "--gateway-host", "gw", "--gateway-port", "4004",
        "--gameplan", str(_PLAN), "--log-level", "DEBUG",
    )  # fmt: skip


def test_the_arguments_can_be_switched_off_and_are_then_in_the_environment_only() -> None:
    settings = Settings.from_environ({"BOT_COMMAND": "bot", "BOT_ARGUMENTS": "none"})
    assert _argv(settings) == ("bot",)
    environ = _environ(settings)
    assert (environ["GATEWAY_HOST"], environ["GATEWAY_PORT"]) == ("gw", "4004")
    assert (environ["GAMEPLAN_PATH"], environ["LOG_LEVEL"]) == (str(_PLAN), "INFO")


def test_the_environment_is_inherited_without_secrets_and_service_variables() -> None:
    service = {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "NOTIFY_SOCKET": "/run/x", "LISTEN_FDS": "1"}
    files = {"CREDENTIALS_DIRECTORY": "/run/credentials"}
    settings = Settings.from_environ({**_SECRETS, **service, **files, "PATH": "/bin", "MY_OWN": "kept"})
    environ = _environ(settings)
    assert "planted" not in " ".join(environ.values())
    assert environ["NOTIFY_SOCKET"] == "/state/notify.sock"
    assert not {"WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "CREDENTIALS_DIRECTORY"} & environ.keys()
    assert (environ["PATH"], environ["MY_OWN"]) == ("/bin", "kept")


def test_the_files_of_secrets_are_withheld_too(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("planted")
    settings = Settings.from_environ({"TWS_PASSWORD_FILE": str(tmp_path / "password")})
    assert "TWS_PASSWORD_FILE" not in _environ(settings)


def test_a_secret_that_the_bot_needs_is_passed_wherever_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("planted-in-a-file\n")
    settings = Settings.from_environ(
        {"BOT_PASS_ENV": "TWS_PASSWORD, DISCORD_WEBHOOK_URL HEARTBEAT_URL"},
        dotenv={**_SECRETS, "TWS_PASSWORD": "", "TWS_PASSWORD_FILE": str(tmp_path / "password")},
    )
    environ = _environ(settings)
    assert environ["TWS_PASSWORD"] == (tmp_path / "password").read_text().strip()
    assert environ["DISCORD_WEBHOOK_URL"] == _SECRETS["DISCORD_WEBHOOK_URL"]
    assert "TWS_USERID" not in environ


def test_a_secrets_file_that_is_passed_does_not_come_with_its_content(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("planted")
    file = str(tmp_path / "password")
    settings = Settings.from_environ({"BOT_PASS_ENV": "TWS_PASSWORD,TWS_PASSWORD_FILE", "TWS_PASSWORD_FILE": file})
    environ = _environ(settings)
    assert environ["TWS_PASSWORD_FILE"] == file
    assert "TWS_PASSWORD" not in environ


def test_the_bot_knows_its_instance_and_carries_the_marker_of_its_record(tmp_path: Path) -> None:
    settings = Settings.from_environ({"INSTANCE": "paper2", "STATE_DIR": str(tmp_path)})
    environ = _environ(settings)
    assert environ["INSTANCE"] == "paper2"
    assert environ["BOT_RECORD"] == str(tmp_path.resolve() / "paper2" / "bot.json")


def test_python_is_told_not_to_buffer_unless_that_is_set() -> None:
    assert _environ(Settings.from_environ({}))["PYTHONUNBUFFERED"] == "1"
    assert _environ(Settings.from_environ({"PYTHONUNBUFFERED": ""}))["PYTHONUNBUFFERED"] == ""


def test_the_built_in_bot_is_found_from_any_folder_and_other_bots_get_no_path_of_ours() -> None:
    assert _environ(Settings.from_environ({"PYTHONPATH": "/x"}))["PYTHONPATH"].split(":") == [str(PROJECT_DIR), "/x"]
    assert "PYTHONPATH" not in _environ(Settings.from_environ({"BOT_COMMAND": "python bot.py"}))


def test_a_client_id_is_handed_on_only_if_the_operator_chose_it() -> None:
    assert "BOT_CLIENT_ID" not in _environ(Settings.from_environ({"INSTANCE": "momentum"}))
    chosen = Settings.from_environ({}, dotenv={"BOT_CLIENT_ID": "7"})
    assert _environ(chosen)["BOT_CLIENT_ID"] == "7"
