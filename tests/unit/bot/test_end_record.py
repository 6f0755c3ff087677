"""What is read back of a bot's end."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.bot.end_record import read_end, write_end
from orchestration.bot.state import BotState
from orchestration.system.processes import ProcessIdentity

AT = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
PROCESS = ProcessIdentity(pid=4711, birth="boot:12345")


@pytest.mark.parametrize(
    ("ended", "is_finished"),
    [
        (BotState(exit_code=0), True),
        (BotState(exit_code=0, outside_stop="was stopped through the Docker engine"), False),
        (BotState(exit_code=3), False),
        (BotState(exit_code=None), False),
    ],
)
def test_how_a_bot_ended_is_read_back_with_who_ended_it(tmp_path: Path, ended: BotState, *, is_finished: bool) -> None:
    write_end(tmp_path / "bot.json", PROCESS, ended, ended_at=AT)
    found = read_end(tmp_path / "bot.json", PROCESS)
    assert found is not None
    assert (found.exit_code, found.outside_stop, found.ended_at) == (ended.exit_code, ended.outside_stop, AT)
    assert found.is_finished is is_finished
    assert read_end(tmp_path / "bot.json", ProcessIdentity(pid=4711, birth="boot:9")) is None


@pytest.mark.parametrize(("code", "finished"), [(0, True), (0, False), (3, False), (None, False)])
def test_what_an_earlier_release_wrote_means_what_it_meant(tmp_path: Path, code: int | None, *, finished: bool) -> None:
    fields = {"pid": 4711, "birth": "boot:12345", "exit_code": code, "ended_at": AT.isoformat(), "finished": finished}
    (tmp_path / "bot_end.json").write_text(json.dumps(fields), encoding="utf-8")
    found = read_end(tmp_path / "bot.json", PROCESS)
    assert found is not None
    assert (found.exit_code, found.is_finished) == (code, finished)
