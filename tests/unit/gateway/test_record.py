"""The record of a run's gateway."""

import json
from pathlib import Path

import pytest

from orchestration.gateway.record import RECORD_NAME, GatewayRecord, read_record, remove_record, write_record
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.settings import GatewayRuntime, Settings
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands

RECORD = GatewayRecord(runtime=GatewayRuntime.SIMULATOR, host="127.0.0.1", port=4002, pid=7, birth="b", simulated=True)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    remove_record(tmp_path)
    remove_record(tmp_path)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"runtime": "moon", "host": "", "port": 1}', "\xff", "[" * 100_000]
)
def test_a_record_that_cannot_be_understood_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD_NAME).write_text(text, encoding="latin-1")
    assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 1},
        {"pid": -1},
        {"pid": "7"},
        {"port": 0},
        {"port": 70000},
        {"log": 5},
        {"container": "a\0b"},
        {"host": []},
    ],
)
def test_a_record_with_an_impossible_value_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    write_record(tmp_path, RECORD)
    path = tmp_path / RECORD_NAME
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    assert read_record(tmp_path) is None


def test_a_record_of_a_later_version_is_still_understood(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text('{"runtime": "docker", "host": "h", "port": 1, "colour": "blue"}', "utf-8")
    assert read_record(tmp_path) == GatewayRecord(runtime=GatewayRuntime.DOCKER, host="h", port=1)


@pytest.mark.parametrize("kind", list(GatewayRuntime))
def test_the_recorded_runtime_goes_before_the_configured_one(tmp_path: Path, kind: GatewayRuntime) -> None:
    settings = Settings.from_environ({"STATE_DIR": str(tmp_path), "GATEWAY_RUNTIME": "docker"})
    record = GatewayRecord(runtime=kind, host="127.0.0.1", port=4002, container="other-gateway", project="other")
    runtime = build_runtime(settings, commands=FakeCommands(), clock=FakeClock(), record=record)
    assert runtime.kind is kind
    assert runtime.container_name == ("other-gateway" if kind is GatewayRuntime.DOCKER else None)
    assert runtime.can_control is (kind is not GatewayRuntime.EXTERNAL)
