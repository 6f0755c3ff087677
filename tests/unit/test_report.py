from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.bot.launch import BotRunning
from orchestration.bot.record import BotRecord, ReadyBy
from orchestration.errors import ExitCode, FailureWord, FallbackWord, State
from orchestration.gameplan import ActivePlan
from orchestration.startup.report import Progress, Report, Result, build_json, describe_remedy, describe_success
from orchestration.system.clock import format_duration
from orchestration.system.processes import ProcessIdentity

NOW = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)
PLAN = ActivePlan(
    path=Path("/state/gameplans/2026-11-18_abc.json"),
    source=Path("/plans/today.json"),
    strategy="A",
    date="2026-11-18",
    sha256="abc",
    fallback=None,
    message="valid",
    problems=(),
    warnings=(),
    is_information=False,
)
EMERGENCY = replace(
    PLAN, strategy="C", source=None, fallback=FallbackWord.GAMEPLAN_STALE, message="It is of yesterday."
)
RECORD = BotRecord(
    process=ProcessIdentity(pid=42, birth="b"),
    instance="default",
    argv=("bot",),
    workdir=Path("/bot"),
    log=Path("/logs/bot.log"),
    gameplan=PLAN.path,
    strategy="A",
    gameplan_sha256="abc",
    started_at=NOW,
    run_id="r",
    notify_socket=None,
    ready_by=ReadyBy.NOTIFY,
)
BOT = BotRunning(ready_by=ReadyBy.NOTIFY, status_text="", watchdog_at_s=None, record=RECORD)
REPORT = Report(
    run_id="20261118_090000_beef",
    instance="default",
    simulated=False,
    failure=None,
    message="",
    next_action="",
    started_at=NOW,
    duration_s=1.5,
    steps=(),
    progress=Progress(plan=PLAN, bot=BOT),
)


@pytest.mark.parametrize(
    ("report", "result", "code", "state"),
    [
        (REPORT, Result.SUCCESS, ExitCode.SUCCESS, State.SUCCESS),
        (replace(REPORT, progress=Progress(plan=EMERGENCY, bot=BOT)), Result.PARTIAL, ExitCode.PARTIAL, State.SUCCESS),
        # Activating the emergency plan is a success of that step alone: no bot runs on it yet.
        (replace(REPORT, progress=Progress(plan=EMERGENCY)), Result.SUCCESS, ExitCode.SUCCESS, State.SUCCESS),
        (replace(REPORT, failure=FailureWord.INTERRUPTED), Result.FAILURE, ExitCode.FAILURE, State.FAILURE),
        (
            replace(REPORT, failure=FailureWord.BOT_START_FAILED, progress=Progress(plan=EMERGENCY)),
            Result.FAILURE,
            ExitCode.FAILURE,
            State.FAILURE,
        ),
    ],
)
def test_the_outcome_follows_from_what_was_made_sure_of(
    report: Report, result: Result, code: ExitCode, state: State
) -> None:
    assert (report.result, report.exit_code, report.state) == (result, code, state)
    document = build_json(report)
    assert (document["result"], document["exit_code"], document["state"]) == (result, code, state)


def test_a_partial_success_says_why_and_what_to_do() -> None:
    message, next_action = describe_success(replace(REPORT, progress=Progress(plan=EMERGENCY, bot=BOT)))
    assert "GAMEPLAN_STALE" in message
    assert "It is of yesterday." in message
    assert "--replace" in next_action


@pytest.mark.parametrize(
    ("fallback", "said"),
    [
        (FallbackWord.CLOCK_SKEW, "clock"),
        (FallbackWord.GAMEPLAN_NOT_CONFIGURED, "GAMEPLAN_PATH"),
        (FallbackWord.GAMEPLAN_QUARANTINED, "quarantine"),
        (FallbackWord.GAMEPLAN_MISSING, "valid plan"),
    ],
)
def test_the_remedy_for_the_emergency_plan_depends_on_why_it_is_active(fallback: FallbackWord, said: str) -> None:
    assert said in describe_remedy(fallback)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (None, "an unknown time"),
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3723, "1 h 2 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(duration_s: float | None, text: str) -> None:
    assert format_duration(duration_s) == text


def test_what_does_not_apply_is_null() -> None:
    document = build_json(replace(REPORT, progress=Progress(), failure=FailureWord.HELD))
    assert [document[name] for name in ("gateway", "gameplan", "bot", "fallback")] == [None] * 4
