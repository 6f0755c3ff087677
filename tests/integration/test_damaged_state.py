"""Whatever stands in the place of a state file: each command names it, ends soon, and no second bot comes of it."""

import json
import os
import socket
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration import state_dir
from orchestration.state_dir import StateFileError, find_damaged_files, read_fields
from orchestration.system.files import UnfitFileError, write_atomic
from tests.system import System, wait_until
from tests.thorough import choose_count

Damage = Callable[[Path], object]
_SOON_S = 20.0  # a command that blocks would do so for ever
_GIGABYTE = 1 << 30

_JSON_FILES = (
    *(state_dir.BOT_RECORD, state_dir.BOT_WORKERS, state_dir.BOT_STOP, state_dir.BOT_END, state_dir.HOLD),
    *(state_dir.GATEWAY_RECORD, state_dir.ATTEMPTS, state_dir.SERVICE_END),
)
_OTHER_FILES = (state_dir.JOURNAL, state_dir.STARTUP_LOCK, state_dir.SUPERVISOR_LOCK, state_dir.MONITOR_LOCK)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def _make_folder(path: Path) -> None:
    path.mkdir()
    (path / "another-users").touch()


def _make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, _GIGABYTE)


_SPECIAL: dict[str, Damage] = {
    "pipe": os.mkfifo,
    "folder": _make_folder,
    "socket": _make_socket,
    "link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "link to nowhere": lambda path: path.symlink_to(path.with_name("nowhere") / "at" / "all"),
}
_CONTENT: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(os.urandom(64) + b"\xff\xfe{"),
    "half a document": lambda path: path.write_text('{"pid": 12'),
    "another document": lambda path: path.write_text("[1, 2]"),
    "a thousand brackets": lambda path: path.write_text("[" * 100_000),
    "deep, and whole": lambda path: path.write_text('{"a":' * 900 + "1" + "}" * 900),
    "endless number": lambda path: path.write_text('{"pid": ' + "9" * 10_000 + "}"),
    "a gigabyte of nothing": _make_sparse,
}


@pytest.mark.parametrize("damage", (_SPECIAL | _CONTENT).values(), ids=_SPECIAL | _CONTENT)
def test_the_reader_says_what_is_wrong_and_takes_little_memory(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / state_dir.GATEWAY_RECORD
    damage(path)
    tracemalloc.start()
    try:
        with pytest.raises(StateFileError) as caught:
            read_fields(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert peak < 16 << 20
    assert [one.path for one in find_damaged_files(tmp_path)] == [path]


def test_a_record_that_lacks_something_is_damaged_and_a_missing_one_is_not(tmp_path: Path) -> None:
    assert find_damaged_files(tmp_path) == ()
    (tmp_path / state_dir.HOLD).write_text('{"by": "ann"}')
    (found,) = find_damaged_files(tmp_path)
    assert "it lacks since, reason" in str(found)
    assert "inv resume" in found.next_action
    # A state folder that is a file is one problem, and not one of each file in it.
    assert find_damaged_files(tmp_path / state_dir.HOLD) == ()


@pytest.mark.parametrize("make", [_SPECIAL["pipe"], _SPECIAL["folder"], _SPECIAL["socket"]])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, make: Damage) -> None:
    make(tmp_path / "x")
    before = (tmp_path / "x").lstat()
    with pytest.raises(UnfitFileError):
        write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").lstat().st_ino == before.st_ino
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_never_replaced_or_written_to(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    with pytest.raises(UnfitFileError, match="a device"):
        write_atomic(tmp_path / "null", b"new")
    with pytest.raises(StateFileError, match="a device"):
        read_fields(tmp_path / "null")


_COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("history",),
    ("report", "--since=1h"),
    ("logs",),
    ("preflight",),
    ("preflight", "--json"),
    ("config",),
    ("gateway.down",),
    ("bot.stop",),
    ("shutdown",),
    ("install", "--target=linux", "--output=units"),
    ("startup",),
    ("hold", "--reason=because"),
    ("resume",),
)


def _damage(folder: Path, names: tuple[str, ...], damage: Damage) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        damage(folder / name)


_WORST = ("pipe", "garbage", "link to an endless device", "folder", "a gigabyte of nothing")


@pytest.mark.parametrize("damage", _WORST[: choose_count(usual=3, thorough=5)])
def test_every_command_names_each_damaged_file_and_ends_without_a_traceback(system: System, damage: str) -> None:
    system.use_small_bot("--ready")
    names = (*_JSON_FILES, *_OTHER_FILES) if damage in _SPECIAL else _JSON_FILES
    _damage(system.state, names, (_SPECIAL | _CONTENT)[damage])
    wrong: list[object] = []
    # With its lock in place a monitor goes on for ever.
    for command in (*_COMMANDS, *([("monitor",)] if damage in _SPECIAL else [])):
        assert find_damaged_files(system.state), "a command has put everything right, and nothing is tested any more"
        arguments = [one.replace("units", str(system.root / "units")) for one in command]
        ended = system.inv(*arguments, timeout_s=_SOON_S)
        said = ended.out + ended.err
        if "Traceback" in said or "INTERNAL_ERROR" in said or ended.code not in {0, 1, 3, 4}:
            wrong.append((command, ended))
        after = [one.path for one in find_damaged_files(system.state)]  # a start by hand forgets earlier attempts, say
        wrong += [(command, path.name, ended) for path in after if str(path) not in said]
        if "--json" in command:
            json.loads(ended.out)
    assert wrong == []
    assert system.bots() == []


_BOT_DAMAGE = {name: (_SPECIAL | _CONTENT)[name] for name in ("pipe", "folder", "link to an endless device", "garbage")}


@pytest.mark.parametrize("damage", _BOT_DAMAGE.values(), ids=_BOT_DAMAGE)
def test_no_second_bot_comes_of_a_damaged_record(system: System, damage: Damage) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    assert system.startup().code == 0
    (bot,) = system.bots()
    record = system.state / state_dir.BOT_RECORD
    record.unlink()
    damage(record)
    ended = system.startup()
    assert ended.code == 1
    assert "BOT_ALREADY_RUNNING" in ended.out
    assert str(bot.pid) in ended.out
    assert system.bots() == [bot]
    assert f"process {bot.pid}" in system.inv("status").out
    # And none that was never recorded: without any sign of a bot it is unknown, and says what to do.
    assert system.inv("bot.stop").code in {0, 1}
    wait_until(lambda: not bot.is_running(), "the bot has ended")
    if os.path.lexists(record):
        status = system.inv("status")
        assert status.code == 4
        assert str(record) in status.out
        ended = system.startup()
        assert ended.code == 1
        assert f"mv {record}" in ended.out.replace("'", "")
        assert system.bots() == []


_NO_FILE = {name: _SPECIAL[name] for name in ("pipe", "folder", "socket")}


@pytest.mark.parametrize("make", _NO_FILE.values(), ids=_NO_FILE)
def test_strategy_c_replaces_nothing_that_is_no_file(system: System, make: Damage) -> None:
    system.use_small_bot("--ready")
    place = system.root / "emergency"
    make(place)
    system.environ["EMERGENCY_GAMEPLAN_PATH"] = str(place)
    before = place.lstat()
    ended = system.startup()
    assert (ended.code, ended.document["failure"]) == (1, "CONFIG_INVALID")
    assert "EMERGENCY_GAMEPLAN_PATH" in ended.document["message"]
    assert "not a regular file" in ended.document["message"]
    assert place.lstat().st_ino == before.st_ino
    assert system.bots() == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices")
def test_strategy_c_replaces_no_device_and_a_link_to_one_is_not_followed(system: System) -> None:
    system.use_small_bot("--ready")
    device = system.root / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    ended = system.startup(environ={"EMERGENCY_GAMEPLAN_PATH": str(device)})
    assert (ended.code, ended.document["failure"]) == (1, "CONFIG_INVALID")
    assert stat.S_ISCHR(device.lstat().st_mode)
    link = system.root / "link"
    link.symlink_to(device)
    ended = system.startup(environ={"EMERGENCY_GAMEPLAN_PATH": str(link)})
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert (ended.code, ended.document["gameplan"]["strategy"]) == (2, "C")
    assert link.is_file()


@pytest.mark.parametrize("damage", ["pipe", "folder", "link to an endless device", "a gigabyte of nothing"])
@pytest.mark.parametrize("names", [("ENV_FILE",), ("GAMEPLAN_SCHEMA",), ("TWS_PASSWORD_FILE", "MARKET_CALENDAR")])
def test_a_setting_that_names_no_readable_file_is_told_at_once(
    system: System, names: tuple[str, ...], damage: str
) -> None:
    place = system.root / "named"
    (_SPECIAL | _CONTENT)[damage](place)
    ended = system.inv("preflight", "--json", environ=dict.fromkeys(names, str(place)), timeout_s=_SOON_S)
    assert ended.code == 1
    details = " ".join(check["detail"] for check in ended.document["checks"] if check["status"] == "fail")
    assert [name for name in names if name not in details] == []
    assert "Traceback" not in ended.err


def test_a_bot_that_runs_is_stopped_with_an_env_file_that_is_being_edited(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    assert system.startup().code == 0
    env_file = Path(system.environ["ENV_FILE"])

    env_file.write_text("INSTANCE=default\n", encoding="utf-16")
    refused = system.inv("shutdown", "--json")
    assert (refused.code, refused.document["failure"]) == (1, "CONFIG_INVALID")
    assert f"{env_file} is not UTF-8 text" in refused.document["message"]
    assert "INSTANCE=default STATE_DIR=state inv shutdown" in refused.document["next_action"]
    assert len(system.bots()) == 1

    env_file.write_text("LOG_KEEP=3\nTWS_USERID me\nBOT_STOP_TIMEOUT='30\n")
    ended = system.inv("hold", "--json")
    assert ended.code == 0
    assert f"warning: ENV_FILE: line 2 of {env_file} is not `NAME=value`" in ended.err
    assert f"warning: ENV_FILE: line 3 of {env_file} is not `NAME=value`" in ended.err
    assert system.bots() == []


@pytest.mark.parametrize("name", ["startup.lock", "Journal.SQLite3", "journal.sqlite3-wal", "GAMEPLANS", "bot.json"])
def test_an_instance_cannot_be_called_like_a_file_of_the_state_folder(system: System, name: str) -> None:
    ended = system.startup(environ={"INSTANCE": name})
    assert (ended.code, ended.document["failure"]) == (1, "CONFIG_INVALID")
    assert f"INSTANCE: '{name}' is the name of a file" in ended.document["message"]


def test_whatever_a_run_leaves_in_its_folders_is_a_name_that_no_instance_may_have(system: System) -> None:
    system.use_small_bot("--ready")
    system.use_plan()
    assert system.startup().code == 0
    assert system.inv("shutdown").code == 0
    assert system.inv("report", "--since=1h").code in {0, 1}
    left = [path.name for folder in (system.state, system.logs) for path in folder.iterdir()]
    assert "journal.sqlite3" in left
    assert [name for name in left if not state_dir.is_reserved_name(name)] == []


def test_the_status_says_that_the_last_run_is_unknown_where_the_journal_cannot_be_read(system: System) -> None:
    system.state.mkdir()
    (system.state / state_dir.JOURNAL).write_bytes(b"no database at all" * 100)
    assert "unknown: the journal cannot be read" in system.inv("status").out
    document = system.inv("status", "--json").document
    assert document["last_run"] is None
    assert "cannot be read" in document["journal"]["problem"]


@pytest.mark.parametrize("zone", ["XXX99999999", "XXX24", "<+99>-99"])
def test_a_time_zone_out_of_range_is_one_clear_line(system: System, zone: str) -> None:
    for command in (("status",), ("history",), ("logs",), ("config",), ("preflight",), ("startup",)):
        ended = system.inv(*command, environ={"TZ": zone})
        said = ended.out + ended.err
        assert "Traceback" not in said, (command, said)
        assert f"TZ: '{zone}'" in said or command == ("logs",), (command, said)
    assert system.startup(environ={"TZ": zone}).document["failure"] == "CONFIG_INVALID"
    assert system.bots() == []
