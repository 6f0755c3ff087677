from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.errors import FailureWord, StartupFailure
from orchestration.hold import clear_hold, read_hold, refuse_if_held, write_hold

NOW = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)


def test_a_hold_stays_until_it_is_cleared(tmp_path: Path) -> None:
    assert read_hold(tmp_path) is None
    refuse_if_held(tmp_path)
    write_hold(tmp_path, reason=" new disk ", now=NOW)
    with pytest.raises(StartupFailure) as held:
        refuse_if_held(tmp_path)
    assert held.value.word is FailureWord.HELD
    assert "new disk" in held.value.message
    assert "2026-11-18T14:00:00" in held.value.message
    assert "inv resume" in held.value.next_action
    cleared = clear_hold(tmp_path)
    assert cleared is not None
    assert cleared.reason == "new disk"
    refuse_if_held(tmp_path)
    assert clear_hold(tmp_path) is None


def test_a_hold_without_a_reason_leaves_the_reason_of_the_one_before(tmp_path: Path) -> None:
    first = write_hold(tmp_path, reason="new disk", now=NOW)
    assert write_hold(tmp_path, reason="", now=NOW + timedelta(hours=1)) == first
    assert read_hold(tmp_path) == first
    assert write_hold(tmp_path, reason="old disk", now=NOW + timedelta(hours=1)).reason == "old disk"
    (tmp_path / "hold.json").write_bytes(b"{")
    assert write_hold(tmp_path, reason="", now=NOW).reason == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"by": 1}', b"\xff\xfe"])
def test_a_hold_that_cannot_be_understood_still_holds(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hold.json").write_bytes(content)
    with pytest.raises(StartupFailure):
        refuse_if_held(tmp_path)
