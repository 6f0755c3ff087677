"""The configuration as an operator, and a hostile one, may write it."""

import dataclasses
import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.time_windows import parse_windows
from orchestration.settings import Secret, Settings, TradingMode, Variable, find_env_file, kinds, variables_by_field
from orchestration.settings.kinds import split_command
from orchestration.settings.sources import leaves_instance_unknown, read_env_file
from orchestration.settings.week_time import WeekTime

_LIVE = {"TRADING_MODE": "live", "ALLOW_LIVE_TRADING": "yes", "GATEWAY_ACCOUNT": "U1234567"}
_PLANTED = "hunter2-planted-secret"


def _problems(environ: Mapping[str, str], *, dotenv: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(StartupFailure) as caught:
        Settings.from_environ(environ, dotenv=dotenv)
    assert caught.value.word is FailureWord.CONFIG_INVALID
    assert all(problem in str(caught.value) for problem in caught.value.evidence)
    return caught.value.evidence


def test_nothing_set_gives_a_paper_system_on_this_machine() -> None:
    settings = Settings.from_environ({})
    assert settings.trading_mode is TradingMode.PAPER
    assert (settings.gateway_host, settings.gateway_port) == ("127.0.0.1", 4002)
    assert settings.allow_live_trading is False
    assert settings.gateway_account == ()
    assert settings.gameplan_path is None
    assert settings.discord_webhook_url is None
    assert settings.bot_command == (sys.executable, "-m", "orchestration.bot.reference")
    assert settings.emergency_gameplan_path == settings.state_dir / "emergency_gameplan.json"
    assert settings.gateway_restart_window == "23:40-23:59 America/New_York"
    assert settings.warnings == ()
    assert {row.source for row in settings.sources} == {"default"}


def test_every_variable_has_a_typed_field_and_every_field_a_variable() -> None:
    beside = {"project_dir", "simulated", "sources", "warnings", "environ", "image_variables"}
    assert [one.name for one in dataclasses.fields(Settings) if one.name not in beside] == list(variables_by_field())


def test_every_default_is_a_value_its_own_kind_allows() -> None:
    for variable in variables_by_field().values():
        if variable.default:
            variable.parse(variable.default)


def test_the_environment_goes_before_the_file_and_a_switch_before_both() -> None:
    environ, dotenv = {"LOG_KEEP": "2", "INSTANCE": "two"}, {"LOG_KEEP": "3", "BOT_LOG_LEVEL": "debug"}
    settings = Settings.from_environ(environ, dotenv=dotenv, overrides={"INSTANCE": "one"})
    rows = {row.name: (row.value, row.source) for row in settings.sources}
    assert (settings.log_keep, settings.instance, settings.bot_log_level) == (2, "one", "DEBUG")
    assert rows["LOG_KEEP"] == ("2", "environment")
    assert rows["INSTANCE"] == ("one", "command line")
    assert rows["BOT_LOG_LEVEL"] == ("debug", ".env")


def test_an_empty_value_counts_as_unset_and_an_empty_switch_as_the_default() -> None:
    assert Settings.from_environ({"LOG_KEEP": "  "}, dotenv={"LOG_KEEP": "7"}).log_keep == 7
    assert Settings.from_environ({"LOG_KEEP": "7"}, overrides={"LOG_KEEP": ""}).log_keep == 30


_GOOD = [
    ("GATEWAY_PORT", "4002 ", "gateway_port", 4002),
    ("GATEWAY_PORT", "\t7497\n", "gateway_port", 7497),
    ("GATEWAY_HOST", "::1", "gateway_host", "::1"),
    ("GATEWAY_HOST", "gateway.internal", "gateway_host", "gateway.internal"),
    ("GATEWAY_HOST", "10.0.0.255", "gateway_host", "10.0.0.255"),
    ("GATEWAY_HOST", "2.my_host.example.", "gateway_host", "2.my_host.example."),
    ("ALLOW_LIVE_TRADING", "TRUE", "allow_live_trading", True),
    ("GATEWAY_RECOVERY", "Alert", "gateway_recovery", "alert"),
    ("GATEWAY_ACCOUNT", "DU1, DU2,", "gateway_account", ("DU1", "DU2")),
    ("BOT_COMMAND", "python 'my bot.py' --note \"a b\"", "bot_command", ("python", "my bot.py", "--note", "a b")),
    ("BOT_COMMAND", "bot # not a comment", "bot_command", ("bot", "#", "not", "a", "comment")),
    ("BOT_COMMAND", "bot $HOME `id`", "bot_command", ("bot", "$HOME", "`id`")),
    ("BOT_START_GRACE", ".5", "bot_start_grace_s", 0.5),
    ("TWOFA_TIMEOUT_ACTION", "EXIT", "twofa_timeout_action", "exit"),
    ("AUTO_RESTART_TIME", "1:05 am", "auto_restart_time", "01:05 AM"),
    ("GATEWAY_MEMORY_LIMIT", "512M", "gateway_memory_limit", "512M"),
    ("GATEWAY_IMAGE", "localhost:5000/a/b:v1", "gateway_image", "localhost:5000/a/b:v1"),
    ("GATEWAY_IMAGE", f"gateway@sha256:{'0' * 64}", "gateway_image", f"gateway@sha256:{'0' * 64}"),
    ("BROKER_RESET_WINDOWS", "06:25-07:45 Europe/Berlin", "broker_reset_windows", "06:25-07:45 Europe/Berlin"),
    ("BROKER_RESET_WINDOWS", "fri 23:00 - SAT 03:00  UTC", "broker_reset_windows", "fri 23:00 - SAT 03:00  UTC"),
    ("GATEWAY_RESTART_WINDOW", "23:50-00:10 UTC", "gateway_restart_window", "23:50-00:10 UTC"),
    ("GATEWAY_STOP_GRACE", "90", "gateway_stop_grace_s", 90.0),
    ("WEEKLY_LOGIN", "sun 8:05", "weekly_login", WeekTime(weekday=6, time=dt.time(8, 5))),
    ("WEEKLY_LOGIN_REMINDER", "2h", "weekly_login_reminder_s", 7200.0),
    ("WEEKLY_LOGIN_REMINDER", "90 m", "weekly_login_reminder_s", 5400.0),
    ("WEEKLY_LOGIN_REMINDER", "0", "weekly_login_reminder_s", 0.0),
    ("GAMEPLAN_DUE", "9:05", "gameplan_due", dt.time(9, 5)),
    ("BOT_PASS_ENV", "TWS_USERID HEARTBEAT_URL", "bot_pass_env", ("TWS_USERID", "HEARTBEAT_URL")),
]


@pytest.mark.parametrize(("name", "text", "field", "expected"), _GOOD)
def test_a_value_is_read_as_it_was_meant(name: str, text: str, field: str, expected: object) -> None:
    assert getattr(Settings.from_environ({name: text}), field) == expected


_BAD = [
    *[("GATEWAY_PORT", text) for text in ("0", "65536", "-1", "4002.0", "0x10", "4_002", "٤٠٠٢", "1e3", "4" * 400)],
    *[("GATEWAY_HEALTH_TIMEOUT", text) for text in ("nan", "inf", "-5", "0", "1e9", "1.2.3", ".", "5s", "1,5")],
    *[("INSTANCE", text) for text in ("../x", ".", "..", "a/b", "a b", "-x", "x" * 41, "é", "a\x00b")],
    *[("GATEWAY_HOST", text) for text in ("localhost:4002", "http://x", "a b", "-h", "[::1]", "::zz", "x" * 255)],
    *[
        ("GATEWAY_HOST", text)
        for text in ("999.1.1.1", "1.2.3", "127.0.0.01", "a..b", ".", "x" * 64, "a-.example", "1.")
    ],
    *[
        ("LEASE_ETCD", text)
        for text in ("http://a:0", "http://a:65536", "https://[::zz]:2379", "http://a:2379 http://b")
    ],
    *[("GATEWAY_CONTAINER_NAME", text) for text in ("a b", "^/?x$", "-x")],
    *[("ALLOW_LIVE_TRADING", text) for text in ("maybe", "2", "y")],
    *[("GATEWAY_RUNTIME", text) for text in ("dockr", "docker,external")],
    *[("GATEWAY_ACCOUNT", text) for text in (",", "DU-1", "U1;U2")],
    *[("BOT_COMMAND", text) for text in ("python 'open", '"', "''", "bot\x1b[2J")],
    *[("MARKET_TIMEZONE", text) for text in ("Mars", "../../etc/passwd", "America", "/etc/localtime", "New York")],
    *[("TWOFA_TIMEOUT_ACTION", text) for text in ("stop", "exit restart")],
    *[("GAMEPLAN_DUE", text) for text in ("9", "09:60", "24:00", "09:15 AM", "09:15:00", "0915")],
    *[("GATEWAY_STOP_GRACE", text) for text in ("0", "3601", "2m", "-1")],
    *[("WEEKLY_LOGIN", text) for text in ("18:00", "Sun", "Sunday 18:00", "Sun 24:00", "Sun 18:00 UTC", "So 18:00")],
    *[("WEEKLY_LOGIN_REMINDER", text) for text in ("2 hours", "-2h", "49h", "h", "1e3", "2h30m")],
    *[("STARTUP_MAX_ATTEMPTS", text) for text in ("0", "101", "three")],
    *[("AUTO_RESTART_TIME", text) for text in ("23:45", "13:00 PM", "0:10 AM", "11:60 PM", "midnight")],
    *[
        ("GATEWAY_RESTART_WINDOW", text)
        for text in ("23:40", "24:00-01:00 UTC", "23:40-23:59", "23:40-23:59 Mars", "9:00-9:30 UTC", "09:00-09:00 UTC")
    ],
    *[("BROKER_RESET_WINDOWS", text) for text in (";", "Fri 23:00-03:00 UTC", "00:15-01:45 UTC;", "Fry 1:00-2:00 UTC")],
    *[("GATEWAY_MEMORY_LIMIT", text) for text in ("0", "lots", "2t", "-1g", "1.5g", "2 g")],
    *[("GATEWAY_IMAGE", text) for text in ("a b", "-x", "Upper/Case", "x:", "http://x/y", "x@sha256:1", "$(id)")],
    *[("BOT_LOG_LEVEL", text) for text in ("LOUD", "10")],
    *[("GAMEPLAN_PATH", text) for text in ("\udcff", "a\nb")],
    *[("BOT_PASS_ENV", text) for text in ("1A", "A=B", "$A")],
    *[("TWS_PASSWORD", text) for text in ("a\nb", "a\udcffb", "a\x07b")],
]


@pytest.mark.parametrize(("name", "text"), _BAD)
def test_a_wrong_value_is_named_with_its_problem_and_what_is_allowed(name: str, text: str) -> None:
    (problem,) = _problems({name: text})
    assert problem.startswith(f"{name}: ")
    assert len(problem) < 300
    assert problem.isprintable(), "it is going to a terminal"
    said = problem.removeprefix(f"{name}: ")
    assert " must " in said or " holds " in said or " cannot be " in said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows makes up a home for everybody")
def test_the_home_of_an_unknown_user_is_a_wrong_path() -> None:
    (problem,) = _problems({"GAMEPLAN_PATH": "~nobody-of-this-name/plan.json"})
    assert "must be a path" in problem


_WINDOW_NAMES = {"BROKER_RESET_WINDOWS", "GATEWAY_RESTART_WINDOW"}


@pytest.mark.parametrize("text", [text for name, text, _, _ in _GOOD if name in _WINDOW_NAMES])
def test_a_window_that_is_taken_here_is_understood_where_it_is_used(text: str) -> None:
    assert len(parse_windows(text)) == 1


def test_the_default_windows_are_understood_where_they_are_used() -> None:
    settings = Settings.from_environ({})
    assert len(parse_windows(settings.broker_reset_windows)) == 2
    assert len(parse_windows(settings.gateway_restart_window)) == 1


def test_all_problems_come_in_one_message() -> None:
    problems = _problems({"GATEWAY_PORT": "x", "TRADING_MODE": "demo", "INSTANCE": "../x"}, dotenv={"LOG_KEEP": "0"})
    assert [problem.partition(":")[0] for problem in problems] == [
        "INSTANCE",
        "LOG_KEEP",
        "GATEWAY_PORT",
        "TRADING_MODE",
    ]
    assert "`paper` or `live`" in problems[3]
    assert "1 to 65535" in problems[2]


def test_a_mistyped_name_is_said_with_the_problem_that_it_causes() -> None:
    with pytest.raises(StartupFailure, match="did you mean ALLOW_LIVE_TRADING") as failed:
        Settings.from_environ({"TRADING_MODE": "live", "ALLOW_LIVE_TRADNG": "yes", "GATEWAY_ACCOUNT": "U1"})
    assert len(failed.value.evidence) == 1


_LIVE_PROBLEMS = [
    ({}, 0),
    ({"ALLOW_LIVE_TRADING": ""}, 1),
    ({"ALLOW_LIVE_TRADING": "no"}, 1),
    ({"GATEWAY_ACCOUNT": ""}, 1),
    ({"ALLOW_LIVE_TRADING": "", "GATEWAY_ACCOUNT": ""}, 2),
    ({"ALLOW_LIVE_TRADING": "perhaps"}, 1),
    ({"GATEWAY_ACCOUNT": "?"}, 1),
]


@pytest.mark.parametrize(("change", "count"), _LIVE_PROBLEMS)
def test_live_trading_needs_the_second_switch_and_the_account(change: dict[str, str], count: int) -> None:
    if count:
        assert len(_problems(_LIVE | change)) == count
    else:
        assert Settings.from_environ(_LIVE).gateway_port == 4001


def test_relative_paths_start_at_the_project_and_instances_have_folders_of_their_own(tmp_path: Path) -> None:
    environ = {"INSTANCE": "two", "GAMEPLAN_PATH": "plans/today.json", "LOG_DIR": str(tmp_path / "elsewhere")}
    settings = Settings.from_environ(environ, project_dir=tmp_path)
    assert settings.state_dir == tmp_path / "state" / "two"
    assert settings.log_dir == tmp_path / "elsewhere" / "two"
    assert settings.gameplan_path == tmp_path / "plans" / "today.json"
    assert settings.emergency_gameplan_path == tmp_path / "state" / "two" / "emergency_gameplan.json"
    assert settings.bot_workdir == tmp_path
    assert {row.name: row.value for row in settings.sources}["STATE_DIR"] == str(tmp_path / "state" / "two")


_WINDOWS_AROUND = [
    ("11:45 PM", "23:40-23:59"),
    ("11:59 PM", "23:54-00:13"),
    ("12:00 AM", "23:55-00:14"),
    ("12:30 PM", "12:25-12:44"),
    ("6:00 am", "05:55-06:14"),
]


@pytest.mark.parametrize(("restart", "window"), _WINDOWS_AROUND)
def test_the_gateways_own_restart_window_lies_around_its_restart(restart: str, window: str) -> None:
    settings = Settings.from_environ({"AUTO_RESTART_TIME": restart, "TIME_ZONE": "Europe/Berlin"})
    assert settings.gateway_restart_window == f"{window} Europe/Berlin"


_COMMANDS = [
    (r'"C:\My Bot\bot.exe" --fast', False, (r"C:\My Bot\bot.exe", "--fast")),
    (r"C:\bot\run.py 'a b'", False, (r"C:\bot\run.py", "a b")),
    (r"bot a\ b", True, ("bot", "a b")),
    ("bot 'it''s'", True, ("bot", "its")),
    ("bot ''", True, ("bot", "")),
]


@pytest.mark.parametrize(("text", "escapes", "words"), _COMMANDS)
def test_a_command_is_split_by_the_rules_of_its_system(text: str, escapes: bool, words: tuple[str, ...]) -> None:  # noqa: FBT001 - a row of the table
    assert split_command(text, backslash_escapes=escapes) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("~/bot --config ~/bot.toml", ("HOME/bot", "--config", "HOME/bot.toml")),
        ("python3\t~/bot\n~", ("python3", "HOME/bot", "HOME")),
        ("'~/bot' \"~/x\" \\~/y 'a ~/b' c~/d", ("~/bot", "~/x", "~/y", "a ~/b", "c~/d")),
        ("bot '' ~/x", ("bot", "", "HOME/x")),
        ("bot it\\'s ~/x --c=~/y", ("bot", "it's", "HOME/x", "--c=~/y")),
        ("~nobody-of-this-name/x", ("~nobody-of-this-name/x",)),
    ],
)
def test_a_home_in_a_command_is_expanded_where_a_shell_would(text: str, words: tuple[str, ...]) -> None:
    expected = tuple(word.replace("HOME", str(Path.home())) for word in words)
    assert split_command(text, backslash_escapes=True) == expected


@pytest.mark.parametrize("variable", [one for one in variables_by_field().values() if one.kind is kinds.PATH])
def test_a_home_in_every_path_is_expanded(variable: Variable) -> None:
    settings = Settings.from_environ({variable.name: "~/x"})
    assert getattr(settings, variable.field) == Path.home() / "x"


def test_lenient_reading_puts_defaults_in_place_and_says_so() -> None:
    environ = {"GATEWAY_PORT": "x", "STATE_DIR": "\udcff", "TRADING_MODE": "live", "BOT_COMMAND": "'"}
    settings = Settings.from_environ(environ, lenient=True)
    assert settings.state_dir.name == "state"
    assert len(settings.warnings) == 5
    assert settings.bot_command[0] == sys.executable


# --- names -----------------------------------------------------------------------------------------------------------

_NAMES = [
    ({"GATEWAY_PROT": "1"}, {}, "GATEWAY_PORT"),
    ({}, {"GATEWAY_PROT": "1"}, "GATEWAY_PORT"),
    ({}, {"gateway_port": "1"}, "GATEWAY_PORT"),
    ({"gateway_port": "1"}, {}, "GATEWAY_PORT"),
    ({}, {"Gameplan_Pth": "1"}, "GAMEPLAN_PATH"),
    ({"TWS_PASWORD": _PLANTED}, {}, "TWS_PASSWORD"),
    ({"DISCORD_WEBHOOK": _PLANTED}, {}, "DISCORD_WEBHOOK_URL"),
    ({"TWS_PASSWORD_FIEL": _PLANTED}, {}, "TWS_PASSWORD_FILE"),
    ({"ENV_FLIE": "x"}, {}, "ENV_FILE"),
]


@pytest.mark.parametrize(("environ", "dotenv", "meant"), _NAMES)
def test_a_mistyped_name_is_pointed_out_without_its_value(
    environ: dict[str, str], dotenv: dict[str, str], meant: str
) -> None:
    (warning,) = Settings.from_environ(environ, dotenv=dotenv).warnings
    assert warning.endswith(f"did you mean {meant}?")
    assert _PLANTED not in warning


def test_names_of_others_are_left_alone() -> None:
    others = ["PATH", "HOME", "LOG_LEVEL", "http_proxy", "COMPOSE_PROJECT_NAME", "DOCKER_HOST", "TZ", "JAVA_HEAP_SIZE"]
    others += ["gateway_prot", "MARKET_DATA_KEY", "TWS_PASSWORD_PAPER", "AUTO_LOGOFF_TIME", "VNC_SERVER_PASSWORD"]
    others += ["NOTIFY_SOCKET", "INVOCATION_ID", "TWOFA_EXIT_INTERVAL", "TWS_SETTINGS_PATH", "STATE_DIRECTORY"]
    others += [
        "ALLOW_BLIND_TRADING",
        "TWS_PASSWORD_PAPER_FILE",
        "TWS_ACCEPT_INCOMING",
        "TWOFA_DEVICE",
        "GATEWAY_OR_TWS",
    ]
    others += ["BYPASS_WARNING", "RELOGIN_AFTER_TWOFA_TIMEOUT", "VNC_SERVER_PASSWORD_FILE", "TWS_COLD_RESTART"]
    assert Settings.from_environ(dict.fromkeys(others, "x")).warnings == ()


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_never_shows_itself() -> None:
    environ = dict.fromkeys(("TWS_USERID", "TWS_PASSWORD", "DISCORD_WEBHOOK_URL", "HEARTBEAT_URL"), _PLANTED)
    settings = Settings.from_environ(environ)
    assert settings.secrets == (_PLANTED,) * 4
    assert _PLANTED not in repr(settings) + str(settings) + repr(settings.sources)
    secret = settings.tws_password
    assert secret is not None
    assert secret.reveal() == _PLANTED
    assert _PLANTED not in f"{secret} {secret!r}"
    assert (secret == Secret(_PLANTED), secret == Secret("other"), hash(secret) == hash(Secret(_PLANTED))) == (
        True,
        False,
        True,
    )


def test_blanks_that_are_quoted_belong_to_a_password_and_to_nothing_else() -> None:
    given = {"TWS_PASSWORD": " two words ", "TWS_USERID": " ann ", "DISCORD_WEBHOOK_URL": " https://x/y "}
    settings = Settings.from_environ({}, dotenv=given)
    assert settings.tws_password == Secret(" two words ")
    assert settings.tws_userid == Secret("ann")
    assert settings.discord_webhook_url == Secret("https://x/y")
    assert Settings.from_environ({}, dotenv={"TWS_PASSWORD": "  "}).tws_password is None


@pytest.mark.parametrize("content", [b"%s", b"%s\n", b"\xef\xbb\xbf%s\r\n", b"  %s  "])
def test_a_file_may_stand_for_a_secret(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "password").write_bytes(content % _PLANTED.encode())
    for named in (str(tmp_path / "password"), "password"):
        settings = Settings.from_environ({"TWS_PASSWORD_FILE": named}, project_dir=tmp_path)
        assert settings.tws_password == Secret(_PLANTED)
        assert {row.name: row for row in settings.sources}["TWS_PASSWORD"].source == "environment (TWS_PASSWORD_FILE)"


def test_a_file_stands_only_for_a_secret(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("4010")
    assert Settings.from_environ({"GATEWAY_PORT_FILE": str(tmp_path / "port")}).gateway_port == 4002


_SECRET_FILES = [
    (b"", "empty"),
    (b"\n \n", "empty"),
    (b"x" * 70000, "larger than 64 KiB"),
    (b"\xff\xfe\x00", "not UTF-8"),
    (b"two\nlines", "control characters"),
    (None, "no existing file"),
]


@pytest.mark.parametrize(("content", "said"), _SECRET_FILES)
def test_a_bad_secret_file_is_a_problem_that_shows_neither_path_nor_content(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / _PLANTED
    if content is not None:
        path.write_bytes(content)
    (problem,) = _problems({"TWS_PASSWORD_FILE": str(path)})
    assert problem.startswith("TWS_PASSWORD")
    assert said in problem
    assert _PLANTED not in problem


def test_a_folder_in_the_place_of_a_secret_file_is_a_problem(tmp_path: Path) -> None:
    assert "it is a folder, not a regular file" in _problems({"TWS_PASSWORD_FILE": str(tmp_path)})[0]


def test_a_secret_that_is_given_twice_in_one_place_is_a_problem_and_the_environment_goes_before_the_file() -> None:
    (problem,) = _problems({"TWS_PASSWORD": _PLANTED, "TWS_PASSWORD_FILE": "x"})
    assert "both set" in problem
    assert _PLANTED not in problem
    settings = Settings.from_environ({"TWS_PASSWORD": "a"}, dotenv={"TWS_PASSWORD_FILE": "nowhere"})
    assert settings.secrets == ("a",)


# --- the .env file ---------------------------------------------------------------------------------------------------

_ENV_FILES = [
    (b"GATEWAY_PORT=4010\n", {"GATEWAY_PORT": "4010"}),
    (b"\xef\xbb\xbfGATEWAY_PORT=4010\n", {"GATEWAY_PORT": "4010"}),
    (b"GATEWAY_PORT=4010\r\nLOG_KEEP=3\r\n", {"GATEWAY_PORT": "4010", "LOG_KEEP": "3"}),
    (b"export GATEWAY_PORT=4010", {"GATEWAY_PORT": "4010"}),
    (b"GATEWAY_PORT = '4010' # paper\n# LOG_KEEP=3\n\n", {"GATEWAY_PORT": "4010"}),
    (b'TWS_PASSWORD="a b#c"\n', {"TWS_PASSWORD": "a b#c"}),
    (b"TWS_PASSWORD=a#b$c${HOME}\n", {"TWS_PASSWORD": "a#b$c${HOME}"}),
    (b"TWS_PASSWORD='a\\b'\n", {"TWS_PASSWORD": "a\\b"}),
    ("BOT_WORKDIR=/srv/böt\n".encode(), {"BOT_WORKDIR": "/srv/böt"}),
    (b"GATEWAY_PORT=\nLOG_KEEP\n", {"GATEWAY_PORT": ""}),
    (b"", {}),
]


@pytest.mark.parametrize(("content", "expected"), _ENV_FILES)
def test_an_env_file_is_read_in_every_dialect_people_write(
    tmp_path: Path, content: bytes, expected: dict[str, str]
) -> None:
    (tmp_path / ".env").write_bytes(content)
    problems: list[str] = []
    assert read_env_file(tmp_path / ".env", problems) == expected
    assert problems == []


def test_a_line_that_says_nothing_is_a_problem_named_by_its_number_only(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        f"GATEWAY_PORT=4010\nTWS_PASSWORD {_PLANTED}\nTWS_USERID:{_PLANTED}\nX='{_PLANTED}\n"
    )
    problems: list[str] = []
    assert read_env_file(tmp_path / ".env", problems) == {"GATEWAY_PORT": "4010"}
    assert [f"line {number}" in problem for number, problem in zip((2, 3, 4), problems, strict=True)] == [True] * 3
    assert not any(_PLANTED in problem for problem in problems)


_NOT_ENV_FILES = [
    (b"\xff\xfeG\x00", "not UTF-8"),
    ("LOG_KEEP=3\n".encode("utf-16-le"), "null bytes"),
    (b"#" * 1024 * 1025, "larger"),
    (None, "not a file"),
]


@pytest.mark.parametrize(("content", "said"), _NOT_ENV_FILES)
def test_an_env_file_that_cannot_be_read_is_a_problem(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / ".env").write_bytes(content)
    problems: list[str] = []
    assert read_env_file(tmp_path / ".env", problems) == {}
    assert [said in problem for problem in problems] == [True]


_HALF_EDITED = [
    (b"LOG_KEEP=3\nTWS_USERID me\n", {}, False),
    (b"GATEWAY_PORT=4010\nBOT_COMMAND='python bot.py\nINSTANCE=momentum\n", {}, False),
    (b"INSTANCE momentum\n", {}, True),
    (b"export STATE_DIR:/srv/state\n", {}, True),
    (b"BOT_COMMAND='python\nINSTANCE=momentum\nTWS_USERID='me'\n", {}, True),  # the quote takes the next line in
    (b"BOT_COMMAND='python\nGATEWAY_PORT=4010\nTWS_USERID='me'\n", {}, False),
    (b"\xff\xfeG\x00", {}, True),
    (b"INSTANCE momentum\n", {"INSTANCE": "momentum"}, True),
    (b"INSTANCE momentum\n", {"INSTANCE": "momentum", "STATE_DIR": "state"}, False),
    (b"\xff\xfeG\x00", {"INSTANCE": "default", "STATE_DIR": "state"}, False),
]


@pytest.mark.parametrize(("content", "environ", "expected"), _HALF_EDITED)
def test_a_half_edited_file_leaves_the_instance_unknown_only_where_it_may_name_it(
    tmp_path: Path, content: bytes, environ: dict[str, str], *, expected: bool
) -> None:
    (tmp_path / ".env").write_bytes(content)
    problems: list[str] = []
    read_env_file(tmp_path / ".env", problems)
    assert problems
    assert leaves_instance_unknown(problems, environ) is expected


def test_a_variable_that_is_set_twice_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_KEEP=3\nOWN=1\n\nGATEWAY_PORT=4010\nLOG_KEEP=4\nOWN=2\n")
    settings = Settings.load(project_dir=tmp_path)
    assert settings.log_keep == 4
    assert settings.warnings == (f"LOG_KEEP is set in lines 1, 5 of {tmp_path / '.env'}; the last one counts",)


def test_blank_lines_before_a_wrong_one_count(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_KEEP=3\n\n\nTWS_USERID me\n")
    problems: list[str] = []
    read_env_file(tmp_path / ".env", problems)
    assert ["line 4 of" in problem for problem in problems] == [True]


def test_the_env_file_is_the_named_one_or_the_projects_own(tmp_path: Path) -> None:
    assert find_env_file({}, tmp_path) is None
    (tmp_path / ".env").touch()
    assert find_env_file({}, tmp_path) == tmp_path / ".env"
    assert find_env_file({"ENV_FILE": " other.env "}, tmp_path) == tmp_path / "other.env"
    assert find_env_file({"ENV_FILE": str(tmp_path / "x")}, Path("/nowhere")) == tmp_path / "x"


def test_loading_reads_the_process_environment_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*(one.name for one in variables_by_field().values()), "ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text("LOG_KEEP=3\nGATEWAY_PORT=4010\n")
    monkeypatch.setenv("LOG_KEEP", "4")
    settings = Settings.load(project_dir=tmp_path)
    assert (settings.log_keep, settings.gateway_port) == (4, 4010)
    monkeypatch.setenv("ENV_FILE", "missing.env")
    monkeypatch.setenv("LOG_KEEP", "x")
    with pytest.raises(StartupFailure) as caught:
        Settings.load(project_dir=tmp_path)
    assert [problem.partition(":")[0] for problem in caught.value.evidence] == ["ENV_FILE", "LOG_KEEP"]
