import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.bot.record import BotRecord, ReadyBy, read_record, remove_record, write_record
from orchestration.system.processes import ProcessIdentity

_LAUNCH = BotRecord(
    instance="default",
    argv=("python", "bot.py", "--note", "naïve \udcff"),
    workdir=Path("/opt/my bot"),
    log=Path("/logs/bot_20261118_090000.log"),
    gameplan=Path("/state/plan.json"),
    strategy="A",
    gameplan_sha256="ab" * 32,
    started_at=datetime(2026, 11, 18, 14, 0, tzinfo=UTC),
    run_id="20261118-1",
    notify_socket=Path("/state/notify.sock"),
)
_RECORD = dataclasses.replace(_LAUNCH, process=ProcessIdentity(pid=4711, birth="boot:12345"))


@pytest.mark.parametrize(
    "record",
    [
        _LAUNCH,
        _RECORD,
        dataclasses.replace(_RECORD, ready_by=ReadyBy.NOTIFY),
        dataclasses.replace(_RECORD, notify_socket=None, supervised=True),
    ],
)
def test_what_was_written_is_read_back(tmp_path: Path, record: BotRecord) -> None:
    path = tmp_path / "state" / "bot.json"
    write_record(path, record)
    assert read_record(path) == record
    assert path.stat().st_mode & 0o077 == 0
    remove_record(path)
    remove_record(path)
    assert read_record(path) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pid", 0), ("pid", -1), ("pid", 1), ("pid", True), ("pid", "12"), ("pid", 1.5), ("argv", None),
        ("started_at", "yesterday"), ("ready_by", "luck"), ("workdir", 3), ("log", None),
    ],
)  # fmt: skip
def test_a_record_with_a_wrong_field_is_no_record(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "bot.json"
    write_record(path, _RECORD)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, field: value}))
    assert read_record(path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"7", b"\xff", b"{}", b"[" * 100_000])
def test_a_damaged_record_is_no_record(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bot.json"
    path.write_bytes(content)
    assert read_record(path) is None
