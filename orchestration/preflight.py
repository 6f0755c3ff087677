"""The table of checks before anything is touched. Read-only: it can be run at any time.

A failed check stops a start-up and carries the command or setting that mends it; a warning stops nothing.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from orchestration import settings as configuration
from orchestration.alerts.discord import webhook_problem
from orchestration.bot.find import BotPresence, find_bot
from orchestration.bot.launch import command_problem
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.docker_runtime import needs_credentials
from orchestration.gateway.runtime import Runtime
from orchestration.hold import refuse_if_held
from orchestration.report import StepStatus
from orchestration.settings import GatewayRuntime, Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import CommandNotFoundError, Commands, CommandTimedOutError
from orchestration.system.lock import read_lock_holder

LOCK_FILE = "startup.lock"
_LOW_DISK_BYTES = 500 * 1024 * 1024  # some days of bot logs (BOT_LOG_MAX_MB) and an image layer
_CLOCK_CHECK_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the table.

    Attributes:
        name: What was looked at.
        status: ok, warn, fail or skip.
        detail: What was found.
        fix: The command or setting that mends it; empty where nothing is to be mended.
        failure: The word a start-up fails with, for a failed check.
    """

    name: str
    status: StepStatus
    detail: str
    fix: str = ""
    failure: FailureWord | None = None


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What the checks need.

    Attributes:
        settings: The configuration.
        runtime: Who runs the gateway.
        commands: The door for programs.
        clock: The door for time.
        holds_lock: Whether this process holds the instance's lock itself.
        hands_over: Whether the bot is to live on without us (then WSL may end it).
        replaces_bot: Whether a running bot is to be stopped first, which makes it no failure.
        on_progress: Told what is being waited for.
        dead_channel: What the journal knows against the alert channel, or None.
    """

    settings: Settings
    runtime: Runtime
    commands: Commands
    clock: Clock
    holds_lock: bool = False
    hands_over: bool = True
    replaces_bot: bool = False
    on_progress: Callable[[str], None] = lambda _: None
    dead_channel: str | None = None


def run_checks(preflight: Preflight) -> tuple[Check, ...]:
    """Look at everything. Changes nothing; never raises for what it finds.

    The engine is asked in parallel with the rest: its command line takes a tenth of a second.
    """
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="preflight") as pool:
        engine = pool.submit(lambda: tuple(_check_engine(preflight)))
        clock_sync = pool.submit(_check_clock, preflight)
        rows = [
            Check(name="configuration", status=StepStatus.OK, detail=_describe_mode(preflight.settings)),
            *_check_names(preflight.settings),
            _check_hold(preflight.settings),
            _check_lock(preflight),
            check_bot_absent(find_bot(preflight.settings), replaces_bot=preflight.replaces_bot),
            _check_bot_command(preflight.settings),
            _check_state_folder(preflight.settings),
            *_check_gameplan(preflight),
            _check_alerts(preflight),
            _check_env_file(preflight.settings),
            _check_disk(preflight.settings),
            *_check_wsl(preflight),
        ]
        return (*rows[:1], *engine.result(), *rows[1:], clock_sync.result())


def build_config_failure(failure: StartupFailure) -> tuple[Check, ...]:
    """The table where not even the configuration could be read: one row for each problem."""
    return tuple(
        Check(
            name="configuration",
            status=StepStatus.FAIL,
            detail=problem,
            fix=failure.next_action,
            failure=failure.word,
        )
        for problem in failure.evidence or (failure.message,)
    )


def raise_first_failure(checks: tuple[Check, ...]) -> None:
    """Turn failed checks into the failure of the run: the first one's word, every one's text.

    Raises:
        StartupFailure: At least one check failed.
    """
    failed = [check for check in checks if check.status is StepStatus.FAIL]
    if not failed:
        return
    # All configuration problems stand in one message; what else failed is evidence.
    word = failed[0].failure or FailureWord.CONFIG_INVALID
    same = [check for check in failed if check.failure is word]
    raise StartupFailure(
        word,
        "; ".join(check.detail for check in same),
        next_action=same[0].fix,
        evidence=tuple(f"{check.name}: {check.detail}" for check in failed) if len(failed) > 1 else (),
    )


def check_bot_absent(presence: BotPresence, *, replaces_bot: bool = False) -> Check:
    """S3: is this instance's bot running already?"""
    if presence.found is not None:
        return Check(
            name="bot not running",
            status=StepStatus.WARN if replaces_bot else StepStatus.FAIL,
            detail=f"The bot of this instance runs already: pid {presence.found.pid}, for "
            f"{format_duration(presence.found.uptime_s)} ({presence.detail}).",
            fix="Leave it alone, or `inv bot.stop`, or `inv startup --replace`.",
            failure=None if replaces_bot else FailureWord.BOT_ALREADY_RUNNING,
        )
    if presence.is_unknown:
        return Check(
            name="bot not running",
            status=StepStatus.FAIL,
            detail=f"It cannot be told whether the bot runs already: {presence.detail}",
            fix="Look at that process as its owner; end it if it is this instance's bot.",
            failure=FailureWord.BOT_ALREADY_RUNNING,
        )
    return Check(name="bot not running", status=StepStatus.OK, detail="no bot of this instance runs")


def format_duration(duration_s: float | None) -> str:
    """Seconds for people: `42 s`, `5 min 3 s`, `3 h 12 min`, `2 d 4 h`."""
    if duration_s is None:
        return "an unknown time"
    minute, hour, day = 60, 3600, 86400
    seconds = int(duration_s)
    if seconds < minute:
        return f"{seconds} s"
    if seconds < hour:
        return f"{seconds // minute} min {seconds % minute} s"
    if seconds < day:
        return f"{seconds // hour} h {seconds % hour // minute} min"
    return f"{seconds // day} d {seconds % day // hour} h"


def _describe_mode(settings: Settings) -> str:
    where = f"{settings.gateway_host}:{settings.gateway_port}"
    marked = " (SIMULATED)" if settings.gateway_runtime is GatewayRuntime.SIMULATOR else ""
    return f"{settings.trading_mode} trading, {settings.gateway_runtime} gateway at {where}{marked}"


def _check_names(settings: Settings) -> Iterator[Check]:
    for warning in settings.warnings:
        yield Check(name="names of variables", status=StepStatus.WARN, detail=warning, fix="Correct the name.")


def _check_hold(settings: Settings) -> Check:
    try:
        refuse_if_held(settings.state_dir)
    except StartupFailure as held:
        return Check(
            name="not held", status=StepStatus.FAIL, detail=held.message, fix=held.next_action, failure=held.word
        )
    return Check(name="not held", status=StepStatus.OK, detail="nobody holds the system down")


def _check_lock(preflight: Preflight) -> Check:
    if preflight.holds_lock:
        return Check(name="one start-up", status=StepStatus.OK, detail="this run holds the instance's lock")
    holder = read_lock_holder(preflight.settings.state_dir / LOCK_FILE)
    if holder is None:
        return Check(name="one start-up", status=StepStatus.OK, detail="no other start-up is under way")
    return Check(
        name="one start-up",
        status=StepStatus.FAIL,
        detail=f"Another run of this instance is under way: {holder}.",
        fix="Wait for it; `inv status` and `inv logs --of startup -f` show where it is.",
        failure=FailureWord.ALREADY_STARTING,
    )


def _check_bot_command(settings: Settings) -> Check:
    problem = command_problem(settings)
    if problem:
        return Check(
            name="bot's program",
            status=StepStatus.FAIL,
            detail=problem,
            fix="Correct BOT_COMMAND or BOT_WORKDIR.",
            failure=FailureWord.CONFIG_INVALID,
        )
    return Check(name="bot's program", status=StepStatus.OK, detail=" ".join(settings.bot_command))


def _check_engine(preflight: Preflight) -> Iterator[Check]:
    settings = preflight.settings
    if settings.gateway_runtime is not GatewayRuntime.DOCKER:
        yield Check(name="Docker engine", status=StepStatus.SKIP, detail=f"not used ({settings.gateway_runtime})")
        return
    engine = preflight.runtime.wait_for_engine(settings.docker_start_timeout_s, preflight.on_progress)
    if engine.problem is not None:
        yield Check(
            name="Docker engine",
            status=StepStatus.FAIL,
            detail=engine.detail,
            fix=engine.next_action,
            failure=FailureWord.DOCKER_UNAVAILABLE,
        )
        return
    versions = f"engine {engine.engine_version}, Compose {engine.compose_version}"
    if engine.supports_fast_health_checks:
        yield Check(name="Docker engine", status=StepStatus.OK, detail=versions)
    else:
        yield Check(
            name="Docker engine",
            status=StepStatus.WARN,
            detail=f"{versions}: too old for fast health checks; ready is seen up to 30 s late",
            fix="Upgrade Docker to 25 or newer.",
        )
    try:
        lacks = needs_credentials(settings, preflight.runtime.probe())
    except StartupFailure as failure:
        yield Check(
            name="credentials",
            status=StepStatus.FAIL,
            detail=failure.message,
            fix=failure.next_action,
            failure=failure.word,
        )
        return
    if lacks:
        yield Check(
            name="credentials",
            status=StepStatus.FAIL,
            detail="TWS_USERID and TWS_PASSWORD: unset, and the gateway's container must be created with them.",
            fix="Set TWS_USERID and TWS_PASSWORD (or TWS_PASSWORD_FILE) in .env; `inv startup --simulate` needs none.",
            failure=FailureWord.CONFIG_INVALID,
        )


def _check_state_folder(settings: Settings) -> Check:
    folder = settings.state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Check(name="state folder", status=StepStatus.OK, detail=str(settings.state_dir))
    return Check(
        name="state folder",
        status=StepStatus.FAIL,
        detail=f"STATE_DIR: {settings.state_dir} cannot be written by this user.",
        fix=f"Make {folder} a folder that this user may write to, or set STATE_DIR to another one.",
        failure=FailureWord.CONFIG_INVALID,
    )


def _check_gameplan(preflight: Preflight) -> Iterator[Check]:
    settings = preflight.settings
    if settings.gameplan_schema is not None:
        from orchestration.gameplan import schema_problem

        problem = schema_problem(settings.gameplan_schema)
        if problem:
            yield Check(
                name="own schema",
                status=StepStatus.FAIL,
                detail=f"GAMEPLAN_SCHEMA: {problem}",
                fix="Correct the file or the variable.",
                failure=FailureWord.CONFIG_INVALID,
            )
    if settings.gameplan_path is None:
        yield Check(
            name="gameplan",
            status=StepStatus.WARN,
            detail="no plan is configured: the bot will start on Strategy C and trade nothing",
            fix="Set GAMEPLAN_PATH to the day's plan.",
        )
        return
    if settings.read_only_api:
        from orchestration.gameplan import check_from_settings

        verdict = check_from_settings(settings, clock=preflight.clock)
        if verdict.is_valid and verdict.strategy != "C":
            yield Check(
                name="gameplan",
                status=StepStatus.WARN,
                detail=f"READ_ONLY_API is on, and the plan trades (strategy {verdict.strategy}): no order will pass",
                fix="Set READ_ONLY_API=no, or use a plan with strategy C.",
            )
            return
    exists = settings.gameplan_path.exists()
    yield Check(
        name="gameplan",
        status=StepStatus.OK if exists else StepStatus.WARN,
        detail=str(settings.gameplan_path) + ("" if exists else " does not exist (yet): it would be Strategy C"),
        fix="" if exists else "Write the plan, then `inv gameplan.check --path FILE`.",
    )


def _check_alerts(preflight: Preflight) -> Check:
    problem = webhook_problem(preflight.settings.discord_webhook_url) or preflight.dead_channel
    if problem:
        return Check(
            name="alert channel",
            status=StepStatus.WARN,
            detail=problem,
            fix="Set DISCORD_WEBHOOK_URL, then `inv alert.test`.",
        )
    return Check(name="alert channel", status=StepStatus.OK, detail="configured; `inv alert.test` tries it")


def _check_env_file(settings: Settings) -> Check:
    path = configuration.find_env_file(settings.environ, settings.project_dir)
    if path is None or not path.exists():
        return Check(name=".env file", status=StepStatus.SKIP, detail="there is none")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return Check(
            name=".env file",
            status=StepStatus.WARN,
            detail=f"{path} can be read by other users, and secrets live there",
            fix=f"chmod 600 '{path}'",
        )
    return Check(name=".env file", status=StepStatus.OK, detail=str(path))


def _check_disk(settings: Settings) -> Check:
    folder = settings.state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free < _LOW_DISK_BYTES:
        return Check(name="disk", status=StepStatus.WARN, detail=f"only {text}", fix="Free some space.")
    return Check(name="disk", status=StepStatus.OK, detail=text)


def _check_wsl(preflight: Preflight) -> Iterator[Check]:
    release = Path("/proc/sys/kernel/osrelease")
    try:
        inside_wsl = "microsoft" in release.read_text(encoding="ascii", errors="replace").lower()
    except OSError:
        return
    if inside_wsl and preflight.hands_over:
        yield Check(
            name="WSL",
            status=StepStatus.WARN,
            detail="an idle WSL distribution is ended, and a detached bot with it",
            fix="Keep a terminal of this distribution open.",
        )


def _check_clock(preflight: Preflight) -> Check:
    """Is the host's clock synchronised? The gateway's own time is compared later, over its API."""
    name = "clock"
    try:
        result = preflight.commands.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"], timeout_s=_CLOCK_CHECK_TIMEOUT_S
        )
    except (CommandNotFoundError, CommandTimedOutError):
        return Check(name=name, status=StepStatus.SKIP, detail="this host cannot say whether it is synchronised")
    answer = result.stdout.strip()
    if not result.ok or answer not in {"yes", "no"}:
        return Check(name=name, status=StepStatus.SKIP, detail="this host cannot say whether it is synchronised")
    if answer == "no":
        return Check(
            name=name,
            status=StepStatus.WARN,
            detail="the host's clock is not synchronised; over 60 s of skew lead to Strategy C",
            fix="sudo timedatectl set-ntp true",
        )
    return Check(name=name, status=StepStatus.OK, detail="synchronised")
