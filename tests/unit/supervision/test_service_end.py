"""How systemd ended the boot service, from its environment to the sentence that the next start tells."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration import state_dir
from orchestration.hostservice.service_end import ServiceEnd, note_service_end, parse_service_end, take_service_end

NOW = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("environ", "cause", "said"),
    [
        ({"SERVICE_RESULT": "watchdog", "EXIT_STATUS": "KILL"}, "SERVICE_WATCHDOG", "watchdog ended it"),
        ({"SERVICE_RESULT": "oom-kill", "EXIT_STATUS": "KILL"}, "SERVICE_OOM_KILL", "lack of memory (OOM kill)"),
        ({"SERVICE_RESULT": "signal", "EXIT_STATUS": "KILL"}, "SERVICE_SIGNAL", "killed from outside (SIGKILL)"),
        ({"SERVICE_RESULT": "core-dump", "EXIT_STATUS": "SEGV"}, "SERVICE_CORE_DUMP", "crashed (SIGSEGV)"),
        ({"SERVICE_RESULT": "timeout"}, "SERVICE_TIMEOUT", "in the time it was given"),
    ],
)
def test_an_end_by_systemd_is_named_once_by_the_next_start(
    tmp_path: Path, environ: dict[str, str], cause: str, said: str
) -> None:
    note_service_end(tmp_path, environ, now=NOW)
    end = take_service_end(tmp_path)
    assert end is not None
    assert end.cause == cause
    assert said in end.message
    assert "2026-11-18" in end.message
    assert end.next_action.endswith(".")
    assert take_service_end(tmp_path) is None


@pytest.mark.parametrize("result", ["", "success", "exit-code", "resources", "start-limit-hit", "of another century"])
def test_an_end_that_the_program_chose_is_not_written_down(tmp_path: Path, result: str) -> None:
    environ = {"SERVICE_RESULT": result, "EXIT_STATUS": "1"}
    assert parse_service_end(environ, now=NOW) is None
    note_service_end(tmp_path, environ, now=NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "[]", '{"result": "watchdog"}', '{"result": [], "exit_status": "", "at": ""}', '{"result": "x"}']
)
def test_a_damaged_record_tells_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / state_dir.SERVICE_END).write_text(content, encoding="utf-8")
    assert take_service_end(tmp_path) is None


def test_a_record_whose_time_is_none_is_told_without_it() -> None:
    message = ServiceEnd(result="watchdog", exit_status="", at="yesterday").message
    assert message.endswith("watchdog ended it.")
