"""A monitor beside a system in another container: it sees the bot by its supervisor's lock, and touches nothing."""

import dataclasses
import json
from pathlib import Path

import pytest

from orchestration.bot.find import find_bot
from orchestration.bot.record import RECORD_NAME, BotRecord, write_record
from orchestration.bot.stop import stop_bot
from orchestration.bot.watched_bot import read_watched_record
from orchestration.errors import FailureWord, StartupFailure
from orchestration.settings import Settings
from orchestration.system.lock import hold_lock
from orchestration.system.processes import ProcessIdentity
from tests.integration.bot_scene import NOW
from tests.system import SIGTERM, System, end_and_read, wait_until

RECORD = BotRecord(
    instance="default",
    argv=("bot",),
    workdir=Path("/"),
    log=Path("/var/lib/zero-touch/logs/bot.log"),
    gameplan=Path("/var/lib/zero-touch/state/gameplans/2026-11-25_0123.json"),
    strategy="A",
    gameplan_sha256="0" * 64,
    started_at=NOW,
    run_id="run-1",
    process=ProcessIdentity(pid=4_000_000, birth="elsewhere:1"),  # of another container: no such process here
)


def watch(folder: Path) -> Settings:
    (folder / "watched" / "gameplans").mkdir(parents=True)
    write_record(folder / "watched" / RECORD_NAME, RECORD)
    return Settings.from_environ(
        {"STATE_DIR": str(folder / "state"), "WATCHED_STATE_DIR": str(folder / "watched")}, project_dir=folder
    )


def test_the_bot_runs_while_its_supervisor_holds_its_lock(tmp_path: Path) -> None:
    settings = watch(tmp_path)
    assert not find_bot(settings).is_found
    with hold_lock(tmp_path / "watched" / "supervisor.lock", purpose="supervisor", since="now"):
        found = find_bot(settings)
        assert found.is_found
        assert found.record == RECORD
    assert not find_bot(settings).is_found


def test_its_plan_is_read_where_the_folder_is_mounted(tmp_path: Path) -> None:
    settings = watch(tmp_path)
    mounted = tmp_path / "watched" / "gameplans" / RECORD.gameplan.name
    mounted.write_text("{}", encoding="utf-8")
    with hold_lock(tmp_path / "watched" / "supervisor.lock", purpose="supervisor", since="now"):
        assert read_watched_record(settings) == dataclasses.replace(RECORD, gameplan=mounted)


def test_it_cannot_be_stopped_from_there(tmp_path: Path) -> None:
    settings = watch(tmp_path)
    with hold_lock(tmp_path / "watched" / "supervisor.lock", purpose="supervisor", since="now"):
        found = find_bot(settings)
    with pytest.raises(StartupFailure) as refused:
        stop_bot(settings, found, timeout_s=1.0)
    assert refused.value.word is FailureWord.CONFIG_INVALID


@pytest.mark.parametrize("command", [["shutdown"], ["hold"], ["bot.stop"], ["startup"], ["bot.start"]])
def test_every_command_that_would_act_is_refused_and_the_watch_goes_on(
    system: System, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "watched").mkdir()
    system.environ["WATCHED_STATE_DIR"] = str(tmp_path / "watched")
    monitor = system.begin_module("invoke", "monitor")
    wait_until(lambda: (system.state / "monitor.lock").exists() and _holder(system), "watch")
    ended = system.inv(*command)
    assert ended.code == 1, ended.err
    assert "WATCHED_STATE_DIR" in ended.out + ended.err
    assert not (system.state / "hold.json").exists()
    assert monitor.poll() is None
    assert end_and_read(monitor, SIGTERM).code == 0


def _holder(system: System) -> bool:
    note = (system.state / "monitor.lock").read_text(encoding="utf-8")
    return bool(note) and json.loads(note)["purpose"] == "monitor"
