"""What the bot gets: a copy of exactly the bytes that were judged, or Strategy C."""

import os
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path

from orchestration.errors import FailureWord, FallbackWord, StartupFailure
from orchestration.gameplan.calendar import describe_wrong_date, judge_date, load_calendar
from orchestration.gameplan.check import name_copy, read_plan_for_bot
from orchestration.gameplan.reader import read_content
from orchestration.gameplan.strategy_c import build_strategy_c, render_plan
from orchestration.gameplan.verdict import GameplanError, GameplanVerdict
from orchestration.settings import GameplanFreshness, Settings
from orchestration.system.clock import Clock
from orchestration.system.files import find_replace_problem, is_folder_there, is_there, write_atomic

_COPIES = "gameplans"


@dataclass(frozen=True, kw_only=True)
class ActivePlan:
    """The plan that the bot is given.

    Attributes:
        path: The file for the bot, absolute. A copy of a valid plan is never written again.
        source: What it was copied from; None for the emergency plan.
        strategy: `A`, `B` or `C`.
        date: `YYYY-MM-DD`.
        sha256: Of the file's bytes, in hexadecimal.
        fallback: Why the emergency plan is active; None where the configured plan is.
        message: One sentence: which plan, or which file was refused and why.
        problems: Every problem of the refused plan, with its place.
        warnings: What is allowed but worth a look.
        is_information: The fallback is expected (out of date at a weekend) and no reason for a warning.
    """

    path: Path
    source: Path | None
    strategy: str
    date: str
    sha256: str
    fallback: FallbackWord | None = None
    message: str = ""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_information: bool = False

    @property
    def explanation(self) -> str:
        """The message, and every problem that it does not name itself."""
        return "; ".join((self.message, *(problem for problem in self.problems if problem not in self.message)))

    @property
    def trades(self) -> bool:
        """Whether this plan allows entries."""
        return self.fallback is None and self.strategy in {"A", "B"}


def activate_plan(verdict: GameplanVerdict, settings: Settings, *, clock: Clock, run_id: str = "") -> ActivePlan:
    """Make the file that the bot may be given.

    A valid plan is copied to `gameplans/DATE_HASH.json` in the state folder, where it stays for the audit trail. One
    that cannot be copied is not given to the bot: the original may change at any time.

    Args:
        verdict: The judgement of this run.
        settings: Where to write.
        clock: Today, for the emergency plan.
        run_id: Recorded in an emergency plan.

    Raises:
        StartupFailure: `STRATEGY_C_FAILED`: not even the emergency plan could be written.
    """
    if not verdict.is_valid:
        word = verdict.word or FallbackWord.GAMEPLAN_UNREADABLE
        return _activate_strategy_c(settings, word, verdict.message, clock=clock, run_id=run_id, verdict=verdict)
    try:
        copy = _ensure_copy(verdict, _locate_copy(verdict, settings))
    except (OSError, GameplanError) as error:
        message = f"{verdict.path} is valid, but could not be copied to the state folder: {_reason(error)}"
        return _activate_strategy_c(settings, FallbackWord.GAMEPLAN_UNREADABLE, message, clock=clock, run_id=run_id)
    return ActivePlan(
        path=copy,
        source=verdict.path,
        strategy=str(verdict.strategy),
        date=str(verdict.date),
        sha256=str(verdict.sha256),
        message=verdict.message,
        warnings=verdict.warnings,
    )


def find_copy_problem(verdict: GameplanVerdict, settings: Settings) -> str:
    """Why a valid plan could not be copied for the bot, as far as a look shows it; empty if nothing is in the way."""
    copy = _locate_copy(verdict, settings)
    if _holds(copy, verdict.content or b""):
        return ""
    folder = copy.parent
    if is_there(folder) and not is_folder_there(folder):
        return f"{folder} is not a folder"
    if is_there(folder) and not os.access(folder, os.W_OK | os.X_OK):
        return f"this user may not write to {folder}"
    problem = find_replace_problem(copy)
    return f"{copy} cannot be written: {problem}" if problem else ""


def fall_back_to_strategy_c(
    settings: Settings,
    word: FallbackWord,
    message: str,
    *,
    clock: Clock,
    run_id: str = "",
    is_information: bool = False,
) -> ActivePlan:
    """Activate Strategy C, whatever the configured plan says.

    Args:
        settings: Where to write.
        word: Why.
        message: One sentence that says so.
        clock: Today, for the emergency plan.
        run_id: Recorded in it.
        is_information: Whether it is expected, and no reason for a warning.

    Raises:
        StartupFailure: `STRATEGY_C_FAILED`.
    """
    plan = _activate_strategy_c(settings, word, message, clock=clock, run_id=run_id)
    return replace(plan, is_information=is_information)


def refuse_outdated(plan: ActivePlan, settings: Settings, *, clock: Clock) -> None:
    """Look again, right before the launch, at what may have changed since the plan was activated.

    An old bot can take long to leave, an image long to be pulled, and midnight can pass meanwhile. The bytes are looked
    at too: the bot must get those that were checked.

    Raises:
        GameplanError: It must not be given to the bot now, and why. For an emergency plan: it must be written again.
    """
    now = clock.now()
    plan_date = date.fromisoformat(plan.date)
    calendar = load_calendar(settings)
    if plan.fallback is not None:
        today = calendar.today(now)
        if plan_date != today:
            raise GameplanError(plan.fallback, plan.message)
    elif settings.gameplan_freshness is not GameplanFreshness.OFF:
        word = judge_date(plan_date, now, calendar, trades=plan.trades)
        if word is not None:
            reason = describe_wrong_date(plan_date, word, now, calendar, trades=plan.trades)
            raise GameplanError(
                word,
                f"{plan.source}: {reason}; the date was right when the plan "
                "was checked, and has changed before the bot could be started",
            )
    try:
        content = read_content(plan.path).content
    except GameplanError as error:
        raise GameplanError(plan.fallback or FallbackWord.GAMEPLAN_UNREADABLE, error.message) from error
    if sha256(content).hexdigest() != plan.sha256:
        raise GameplanError(
            plan.fallback or FallbackWord.GAMEPLAN_UNREADABLE,
            f"{plan.path} has changed since it was written for the bot",
        )


def _locate_copy(verdict: GameplanVerdict, settings: Settings) -> Path:
    return settings.state_dir.absolute() / _COPIES / name_copy(str(verdict.date), str(verdict.sha256))


def _ensure_copy(verdict: GameplanVerdict, copy: Path) -> Path:
    content = verdict.content or b""
    if sha256(content).hexdigest() != verdict.sha256:
        raise GameplanError(FallbackWord.GAMEPLAN_UNREADABLE, f"the bytes of {verdict.path} are not those judged")
    if not _holds(copy, content):
        _write_and_read_back(copy, content)
    return copy


def _write_and_read_back(path: Path, content: bytes) -> None:
    write_atomic(path, content)
    if not _holds(path, content):
        raise GameplanError(FallbackWord.GAMEPLAN_UNREADABLE, f"{path} does not hold what was written to it")


def _holds(path: Path, content: bytes) -> bool:
    """Whether a regular file of its own (not a link to something that may change) holds exactly these bytes."""
    try:
        return not path.is_symlink() and read_content(path).content == content
    except (OSError, GameplanError):
        return False


def _activate_strategy_c(
    settings: Settings,
    word: FallbackWord,
    message: str,
    *,
    clock: Clock,
    run_id: str = "",
    verdict: GameplanVerdict | None = None,
) -> ActivePlan:
    path = settings.emergency_gameplan_path.absolute()
    plan = build_strategy_c(clock.now(), settings.market_timezone, word)
    if run_id:
        plan["emergency_run_id"] = run_id
    content = render_plan(plan)
    try:
        _refuse_to_overwrite(path, settings.gameplan_path)
        _write_and_read_back(path, content)
        read_plan_for_bot(path)  # it counts only as it stands on disk, and only if a bot would accept it
    except (OSError, GameplanError) as error:
        raise StartupFailure(
            FailureWord.STRATEGY_C_FAILED,
            f"the emergency plan could not be written to {path}: {_reason(error)}",
            next_action=f"Free space on the disk, make {path.parent} writable for this user, or set "
            "EMERGENCY_GAMEPLAN_PATH to a file of its own in another folder; then start again.",
            evidence=(f"it was needed because of {word}: {message}",),
        ) from error
    return ActivePlan(
        path=path,
        source=None,
        strategy="C",
        date=plan["date"],
        sha256=sha256(content).hexdigest(),
        fallback=word,
        message=message,
        problems=() if verdict is None else verdict.problems,
        warnings=() if verdict is None else verdict.warnings,
        is_information=verdict is not None and verdict.is_information,
    )


def _refuse_to_overwrite(emergency: Path, plan: Path | None) -> None:
    if plan is not None and os.path.realpath(emergency) == os.path.realpath(plan):
        raise GameplanError(
            FallbackWord.GAMEPLAN_UNREADABLE, "EMERGENCY_GAMEPLAN_PATH and GAMEPLAN_PATH name the same file"
        )


def _reason(error: OSError | GameplanError) -> str:
    return error.message if isinstance(error, GameplanError) else error.strerror or str(error)
