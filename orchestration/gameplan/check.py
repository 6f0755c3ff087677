"""The judgement on a plan: readable, JSON, schema, further schema, quarantine, date, in this order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from orchestration.errors import FallbackWord
from orchestration.gameplan.calendar import MarketCalendar, describe_wrong_date, judge_date, load_calendar
from orchestration.gameplan.extra_schema import Judgement, apply_extra_schema
from orchestration.gameplan.reader import FileContent, parse_plan, read_content
from orchestration.gameplan.rules import find_problems, find_violations, find_warnings, is_quarantined
from orchestration.gameplan.verdict import GameplanError, GameplanVerdict
from orchestration.redaction import clean_line
from orchestration.settings import GameplanFreshness, Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands, SystemCommands

_STILL_BEING_WRITTEN_S = 5.0
_HASH_CHARACTERS = 12
_NO_FURTHER_SCHEMA = Judgement(problems=())
_PAUSES_S = (0.5, 1.0, 1.5)  # three more looks within the five seconds


@dataclass(frozen=True, kw_only=True)
class PlanPolicy:
    """What the settings say about a plan.

    Attributes:
        calendar: The market's sessions, which say what a plan may be dated.
        freshness: Whether the plan's date must be today's.
        extra_schema: A further schema that the plan must satisfy too.
    """

    calendar: MarketCalendar
    freshness: GameplanFreshness
    extra_schema: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The policy of a configuration."""
        return cls(
            calendar=load_calendar(settings),
            freshness=settings.gameplan_freshness,
            extra_schema=settings.gameplan_schema,
        )


def check_from_settings(settings: Settings, *, clock: Clock) -> GameplanVerdict:
    """Judge the configured plan. See `check_gameplan`."""
    return check_gameplan(settings.gameplan_path, PlanPolicy.from_settings(settings), clock=clock)


def hold_until_its_day(verdict: GameplanVerdict, settings: Settings, *, clock: Clock) -> GameplanVerdict:
    """The verdict for a supervised bot: it is put on a trading plan only when the plan's day has begun (P4).

    The supervisor does that at midnight, market time. A start by hand takes the next session's plan at once, for
    the bot would not be put on it later.
    """
    if verdict.date is None or verdict.strategy == "C" or not verdict.is_valid:
        return verdict
    if settings.gameplan_freshness is GameplanFreshness.OFF:
        return verdict
    today = load_calendar(settings).today(clock.now())
    if date.fromisoformat(verdict.date) <= today:
        return verdict
    return replace(
        verdict,
        word=FallbackWord.GAMEPLAN_NOT_YET,
        message=f"{verdict.path}: the plan is for {verdict.date}; the bot is put on it when that day begins in "
        f"{settings.market_timezone.key}",
        is_information=True,
    )


def check_gameplan(
    path: Path | None,
    policy: PlanPolicy,
    *,
    clock: Clock,
    commands: Commands | None = None,
    at: datetime | None = None,
) -> GameplanVerdict:
    """Judge a plan. Never raises and never hangs, whatever is on disk; changes nothing.

    An invalid file that was written less than 5 s ago, or that changed while it was read, is read again, up to three
    times: it may be half written.

    Args:
        path: The plan; None where none is configured.
        policy: What is asked of it.
        clock: The time, and the wait between two looks.
        commands: The door through which the further schema is applied; the real one by default.
        at: As of which aware instant the date is judged; now by default.
    """
    if path is None:
        return GameplanVerdict(
            word=FallbackWord.GAMEPLAN_NOT_CONFIGURED, message="no gameplan is configured (GAMEPLAN_PATH is not set)"
        )
    try:
        path = path.absolute()
        for pause_s in (*_PAUSES_S, None):
            verdict, may_be_half_written = _look(
                path, policy, clock=clock, commands=commands or SystemCommands(), at=at or clock.now()
            )
            if pause_s is None or not may_be_half_written:
                break
            clock.sleep(pause_s)
    except Exception as error:  # noqa: BLE001 - the specification's rule: any surprise while reading means Strategy C
        return GameplanVerdict(
            word=FallbackWord.GAMEPLAN_UNREADABLE,
            message=f"{path} could not be judged: {type(error).__name__}: {clean_line(str(error), limit=200)}",
            path=path,
        )
    return verdict


def _look(
    path: Path, policy: PlanPolicy, *, clock: Clock, commands: Commands, at: datetime
) -> tuple[GameplanVerdict, bool]:
    """One judgement, and whether the file may be half written."""
    try:
        file = read_content(path)
    except GameplanError as error:
        return GameplanVerdict(word=error.word, message=error.message, path=path), error.is_unsettled
    digest = sha256(file.content).hexdigest()
    is_schemas_fault = False
    try:
        plan = _parse(path, file.content)
        further = _NO_FURTHER_SCHEMA
        if policy.extra_schema is not None:
            further = apply_extra_schema(policy.extra_schema, path, digest, commands=commands)
            is_schemas_fault = further.is_schemas_own_fault
        _raise_if_any(path, _find_all_problems(plan, further))
    except GameplanError as error:
        verdict = GameplanVerdict(
            word=error.word,
            message=error.message,
            problems=error.problems,
            path=path,
            content=file.content,
            sha256=digest,
        )
        return verdict, _is_recent(file, clock) and not is_schemas_fault
    word, message = _judge_use(path, plan, policy, now=at)
    warnings = find_warnings(plan)
    if policy.freshness is GameplanFreshness.OFF:
        warnings += (f"the plan's date, {plan['date']}, is not checked (GAMEPLAN_FRESHNESS=off)",)
    is_for_another_day = word in {FallbackWord.GAMEPLAN_STALE, FallbackWord.GAMEPLAN_NOT_YET}
    verdict = GameplanVerdict(
        word=word,
        message=message,
        problems=() if word is None else (message.removeprefix(f"{path}: "),),
        warnings=warnings,
        is_information=is_for_another_day and not policy.calendar.has_session(at),
        path=path,
        content=file.content,
        sha256=digest,
        plan=plan,
    )
    return verdict, False


def _judge_use(
    path: Path, plan: Mapping[str, Any], policy: PlanPolicy, *, now: datetime
) -> tuple[FallbackWord | None, str]:
    """What stands against using a plan that keeps the schema, as a word and a sentence."""
    if is_quarantined(plan):
        named = [
            name
            for name, flag in (
                ("data_quality.quarantine_active", plan["data_quality"]["quarantine_active"]),
                ("data_quarantine", plan.get("data_quarantine")),
            )
            if flag is True
        ]
        return FallbackWord.GAMEPLAN_QUARANTINED, f"{path}: the plan is quarantined ({' and '.join(named)})"
    plan_date = date.fromisoformat(plan["date"])
    trades = plan["strategy"] != "C"
    calendar = policy.calendar
    is_date_free = policy.freshness is GameplanFreshness.OFF
    word = None if is_date_free else judge_date(plan_date, now, calendar, trades=trades)
    if word is None:
        return None, f"{path}: strategy {plan['strategy']} for {plan_date}"
    return word, f"{path}: {describe_wrong_date(plan_date, word, now, calendar, trades=trades)}"


def read_plan_for_bot(path: Path, *, extra_schema: Path | None = None) -> Mapping[str, Any]:
    """The plan that a bot was given: read as safely as the orchestrator reads it, and held against the rules again.

    The emergency plan passes. Freshness is not judged here. A copy made by the orchestrator, whose name holds the hash
    of its content, has been judged by the operator's own schema already; that schema may not be there where the bot
    runs, so what it declares is not asked for again.

    Args:
        path: The plan.
        extra_schema: `GAMEPLAN_SCHEMA`, for a plan that is passed to the bot by hand.

    Raises:
        GameplanError: It cannot be read, breaks a rule, or is quarantined and yet not strategy C.
    """
    content = read_content(path).content
    digest = sha256(content).hexdigest()
    plan = _parse(path, content)
    if path.name == name_copy(str(plan.get("date")), digest):
        _raise_if_any(path, find_violations(plan))
    else:
        further = _NO_FURTHER_SCHEMA
        if extra_schema is not None and not _is_emergency(plan):
            further = apply_extra_schema(extra_schema, path, digest, commands=SystemCommands())
        _raise_if_any(path, _find_all_problems(plan, further))
    if is_quarantined(plan) and plan["strategy"] != "C":
        raise GameplanError(FallbackWord.GAMEPLAN_QUARANTINED, f"{path}: the plan is quarantined")
    return plan


def name_copy(plan_date: str, digest: str) -> str:
    """The name of a checked copy: the plan's date, and enough of the hash of its bytes to be unique."""
    return f"{plan_date}_{digest[:_HASH_CHARACTERS]}.json"


def _is_emergency(plan: Mapping[str, Any]) -> bool:
    return plan.get("strategy") == "C" and "emergency_reason" in plan


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        return parse_plan(content)
    except ValueError as error:
        raise GameplanError(
            FallbackWord.GAMEPLAN_INVALID, f"{path} is not a valid gameplan: {error}", problems=(str(error),)
        ) from None


def _find_all_problems(plan: Mapping[str, Any], further: Judgement) -> tuple[str, ...]:
    """What is wrong with the plan by both schemas; that the operator's own cannot be used counts for a sound plan."""
    if further.is_schemas_own_fault:
        return find_problems(plan) or further.problems
    return find_problems(plan, declared=further.declared, further=further.problems)


def _raise_if_any(path: Path, problems: tuple[str, ...]) -> None:
    if problems:
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise GameplanError(
            FallbackWord.GAMEPLAN_INVALID, f"{path} is not a valid gameplan: {problems[0]}{others}", problems=problems
        )


def _is_recent(file: FileContent, clock: Clock) -> bool:
    """Written less than 5 s ago, or, where two clocks differ a little, less than 5 s from now."""
    return abs(clock.now().timestamp() - file.modified_s) < _STILL_BEING_WRITTEN_S
