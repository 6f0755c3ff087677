"""The table of checks before anything is touched. Read-only: it can be run at any time.

A failed check stops a start-up and carries the command or setting that fixes it; a warning stops nothing.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestration.alerts.channels import NO_CHANNEL, ChannelState
from orchestration.alerts.discord import mention_problem
from orchestration.alerts.heartbeat import heartbeat_problem
from orchestration.bot.docker_runtime import NO_ADDRESS, has_bridge_address
from orchestration.bot.find import BotPresence, FoundBy, find_bot
from orchestration.bot.order_guard import is_guard_missing
from orchestration.bot.program import command_problem, describe_program, find_command_problems
from orchestration.errors import GAMEPLAN_CHECK, Check, FailureWord, StartupFailure, StepStatus, build_failed_check
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.time_windows import parse_windows
from orchestration.hold import refuse_if_held
from orchestration.hostservice.advice import advise
from orchestration.preflight.engine import check_engine
from orchestration.preflight.host import (
    check_clock,
    check_disk,
    check_env_file,
    check_env_notation,
    check_log_folder,
    check_state_folder,
    check_wsl,
)
from orchestration.preflight.lease import check_lease
from orchestration.settings import BotRuntime, GatewayRuntime, Settings, StrategyCBot, build_wrong_settings
from orchestration.state_dir import find_damaged_files, startup_lock_path, supervisor_lock_path
from orchestration.system.clock import Clock, format_duration
from orchestration.system.commands import Commands
from orchestration.system.files import find_replace_problem, is_there
from orchestration.system.landlock import can_deny_ports
from orchestration.system.lock import describe_irregular, read_lock_holder
from orchestration.system.platform import platform

BOT_CHECK = "bot not running"
STATE_FILES_CHECK = "state files"
STRATEGY_C_CHECK = "Strategy C"
UNKNOWN = "unknown"
_MOST_SHOWN = 5
_SHORT_TOKEN = 16  # characters


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
        adopts_bot: Whether a recorded bot may be adopted, which makes it no failure either.
        on_progress: Told what is being waited for.
        alert_channels: What is known of each alert channel.
    """

    settings: Settings
    runtime: Runtime
    commands: Commands
    clock: Clock
    holds_lock: bool = False
    hands_over: bool = True
    replaces_bot: bool = False
    adopts_bot: bool = False
    on_progress: Callable[[str], None] = lambda _: None
    alert_channels: tuple[ChannelState, ...] = ()


def run_checks(preflight: Preflight) -> tuple[Check, ...]:
    """Look at everything. Changes nothing; never raises for what it finds.

    The engine is asked in parallel with the rest: its command line takes a tenth of a second.
    """
    from orchestration.preflight.other_instances import check_instances  # which knows the names of the locks from here
    from orchestration.preflight.trial import check_trial

    presence = find_bot(preflight.settings)
    with platform().new_executor(workers=2, name="preflight") as pool:
        engine = pool.submit(_check_engine, preflight)
        if preflight.settings.bot_runtime is BotRuntime.DOCKER:
            engine.result()  # the bot is looked for in it: not before it answers, or will not
        clock_sync = pool.submit(check_clock, preflight.commands)
        rows = [
            Check(name="configuration", status=StepStatus.OK, detail=_describe_mode(preflight.settings)),
            *_check_names(preflight.settings),
            *_check_windows(preflight.settings),
            *_check_token(preflight.settings),
            _check_hold(preflight.settings),
            *check_lease(preflight.settings, preflight.commands, clock=preflight.clock),
            _check_lock(preflight),
            check_bot_absent(
                presence,
                replaces_bot=preflight.replaces_bot,
                adopts_bot=preflight.adopts_bot,
                is_cut_off=is_bot_cut_off(preflight.settings, presence),
            ),
            *check_look_alikes(presence),
            *check_instances(preflight.settings, presence, replaces_bot=preflight.replaces_bot),
            _check_bot_command(preflight.settings),
            *check_trial(preflight.settings),
            check_state_folder(preflight.settings),
            check_log_folder(preflight.settings),
            *_check_state_files(preflight.settings),
            *_check_own_schema(preflight.settings),
            *_check_gameplan(preflight.settings),
            check_strategy_c(
                preflight.settings, can_deny=can_deny_ports(), can_listen=_can_listen(preflight, engine.result())
            ),
            *_check_alerts(preflight),
            check_env_file(preflight.settings),
            *check_env_notation(preflight.settings),
            check_disk(preflight.settings),
            *check_wsl(hands_over=preflight.hands_over),
        ]
        checks = (*rows[:1], *engine.result(), *rows[1:], clock_sync.result())
    return tuple(
        dataclasses.replace(
            check, detail=advise(check.detail, preflight.settings), fix=advise(check.fix, preflight.settings)
        )
        for check in checks
    )


def _check_engine(preflight: Preflight) -> tuple[Check, ...]:
    return tuple(
        check_engine(
            preflight.settings,
            preflight.runtime,
            commands=preflight.commands,
            clock=preflight.clock,
            on_progress=preflight.on_progress,
        )
    )


def build_config_failure(failure: StartupFailure, *, warnings: tuple[str, ...] = ()) -> tuple[Check, ...]:
    """The table where not even the configuration could be read: one row for each problem, and for each warning."""
    problems = failure.evidence or (failure.message,)
    names = tuple(
        Check(name="names of variables", status=StepStatus.WARN, detail=warning, fix="Correct the name.")
        for warning in warnings
        if warning not in problems
    )
    return names + tuple(
        Check(
            name="configuration",
            status=StepStatus.FAIL,
            detail=problem,
            fix=failure.next_action,
            failure=failure.word,
        )
        for problem in problems
    )


def name_missing_files(failure: StartupFailure, lenient: Settings) -> StartupFailure:
    """The same failure of the configuration, and what the right ones of its settings name that is not there (S1).

    Args:
        failure: What is wrong with the values.
        lenient: The configuration with the defaults in the place of wrong values.
    """
    if failure.word is not FailureWord.CONFIG_INVALID:
        return failure
    missing = [*find_command_problems(lenient), *(check.detail for check in _check_own_schema(lenient))]
    if not missing:
        return failure
    near_misses = [warning for warning in lenient.warnings if warning not in failure.evidence]
    return build_wrong_settings((*(failure.evidence or (failure.message,)), *missing), near_misses)


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


def is_bot_cut_off(settings: Settings, presence: BotPresence) -> bool:
    """Whether the running bot is on Strategy C, its order guard does not work, and no supervisor restarts the guard.

    Such a bot reaches nothing, and nothing gives it its guard back, so a start puts another one in its place.
    """
    record = presence.record
    return (
        record is not None
        and record.guarded
        and read_lock_holder(supervisor_lock_path(settings.state_dir)) is None
        and is_guard_missing(settings, port=record.gateway_port)
    )


def check_bot_absent(
    presence: BotPresence, *, replaces_bot: bool = False, adopts_bot: bool = False, is_cut_off: bool = False
) -> Check:
    """S3: is this instance's bot running already? One that is cut off from the gateway is replaced: no failure."""
    if adopts_bot and presence.is_found and presence.how is not FoundBy.BY_COMMAND:
        return Check(
            name=BOT_CHECK,
            status=StepStatus.OK,
            detail=f"the bot of an earlier run, {presence.who}, is adopted if nothing has changed",
            found_by=presence.how or "",
        )
    if presence.is_found and is_cut_off:
        return Check(
            name=BOT_CHECK,
            status=StepStatus.WARN,
            detail=f"The bot of this instance runs already: {_describe_who(presence)}. Its order guard does not "
            "work, so it is cut off from the gateway; a start replaces it.",
            fix="`inv startup` starts bot and order guard afresh.",
            found_by=presence.how or "",
        )
    if presence.is_found:
        return Check(
            name=BOT_CHECK,
            status=StepStatus.WARN if replaces_bot else StepStatus.FAIL,
            detail=f"The bot of this instance runs already: {_describe_who(presence)}, for "
            f"{format_duration(presence.uptime_s)} ({presence.detail}).",
            fix="Leave it alone, or `inv bot.restart`, or `inv bot.stop`, or (unwatched) `inv startup --replace`.",
            failure=None if replaces_bot else FailureWord.BOT_ALREADY_RUNNING,
            found_by=presence.how or "",
        )
    if presence.is_unknown:
        return Check(
            name=BOT_CHECK,
            status=StepStatus.FAIL,
            detail=f"It is unknown whether the bot runs already: {presence.detail}",
            fix=presence.next_action,
            failure=FailureWord.BOT_ALREADY_RUNNING,
            found_by=UNKNOWN,
        )
    return Check(name=BOT_CHECK, status=StepStatus.OK, detail="no bot of this instance runs")


def check_look_alikes(presence: BotPresence) -> Iterator[Check]:
    """S3: another user's process with the bot's command is none of this instance's, and is only told of."""
    if presence.look_alikes:
        names = ", ".join(f"process {one.pid} of user {one.user}" for one in presence.look_alikes[:_MOST_SHOWN])
        more = " and more" if len(presence.look_alikes) > _MOST_SHOWN else ""
        yield Check(
            name="other users' processes",
            status=StepStatus.WARN,
            detail=f"{names}{more}: the bot's command, but another user's, so it does not count as this bot",
            fix="If it is this instance's bot all the same, end it as that user before the start.",
        )


def _describe_who(found: BotPresence) -> str:
    return found.who if found.container else f"pid {found.pid}"


def _describe_mode(settings: Settings) -> str:
    where = str(settings.gateway)
    marked = " (SIMULATED)" if settings.gateway_runtime is GatewayRuntime.SIMULATOR else ""
    return f"{settings.trading_mode} trading, {settings.gateway_runtime} gateway at {where}{marked}"


def _check_names(settings: Settings) -> Iterator[Check]:
    for warning in settings.warnings:
        yield Check(name="names of variables", status=StepStatus.WARN, detail=warning, fix="Correct the name.")


def _check_windows(settings: Settings) -> Iterator[Check]:
    for name, text in (
        ("BROKER_RESET_WINDOWS", settings.broker_reset_windows),
        ("GATEWAY_RESTART_WINDOW", settings.gateway_restart_window),
    ):
        try:
            parse_windows(text)
        except ValueError as error:
            yield Check(
                name="windows of time",
                status=StepStatus.FAIL,
                detail=f"{name}: {error}",
                fix=f"Correct {name}; docs/reference/configuration.md shows the form.",
                failure=FailureWord.CONFIG_INVALID,
            )


def _check_token(settings: Settings) -> Iterator[Check]:
    token = settings.status_token
    if token is not None and len(token.reveal()) < _SHORT_TOKEN:
        yield Check(
            name="live page",
            status=StepStatus.WARN,
            detail=f"STATUS_TOKEN has fewer than {_SHORT_TOKEN} characters: anyone who reaches the port could guess it",
            fix="Set a longer one, for example what `openssl rand -hex 16` prints.",
        )


def _check_hold(settings: Settings) -> Check:
    try:
        refuse_if_held(settings.state_dir)
    except StartupFailure as held:
        return build_failed_check("not held", held)
    return Check(name="not held", status=StepStatus.OK, detail="the system is not held")


def _check_lock(preflight: Preflight) -> Check:
    for lock_path in (startup_lock_path, supervisor_lock_path):
        path = lock_path(preflight.settings.state_dir)
        if problem := describe_irregular(path):
            return Check(
                name="one start-up",
                status=StepStatus.FAIL,
                detail=f"STATE_DIR: the lock {path} cannot be opened ({problem}).",
                fix=f"Remove {path}, or move it away; a start makes it again.",
                failure=FailureWord.CONFIG_INVALID,
            )
    if preflight.holds_lock:
        return Check(name="one start-up", status=StepStatus.OK, detail="this run holds the instance's lock")
    holder = read_lock_holder(startup_lock_path(preflight.settings.state_dir))
    if holder is None:
        return Check(name="one start-up", status=StepStatus.OK, detail="no other start-up is under way")
    return Check(
        name="one start-up",
        status=StepStatus.FAIL,
        detail=f"Another run of this instance is under way: {holder}.",
        fix="Wait for it; `inv status` and `inv logs --of startup -f` show where it is.",
        failure=FailureWord.ALREADY_STARTING,
    )


def _check_state_files(settings: Settings) -> Iterator[Check]:
    for damaged in find_damaged_files(settings.state_dir):
        yield Check(
            name=STATE_FILES_CHECK,
            status=StepStatus.WARN,
            detail=f"{damaged.path} cannot be used: {damaged.problem}; {damaged.effect}",
            fix=damaged.next_action,
        )
    problem = find_replace_problem(settings.emergency_gameplan_path)
    if problem:
        yield Check(
            name="emergency plan",
            status=StepStatus.FAIL,
            detail=f"EMERGENCY_GAMEPLAN_PATH: {settings.emergency_gameplan_path} cannot be written: {problem}",
            fix="Name a file of its own in EMERGENCY_GAMEPLAN_PATH, or leave it unset.",
            failure=FailureWord.CONFIG_INVALID,
        )


def _check_bot_command(settings: Settings) -> Check:
    problem = command_problem(settings)
    if problem:
        return Check(
            name="bot's program",
            status=StepStatus.FAIL,
            detail=problem,
            fix="Correct BOT_COMPOSE_DIR."
            if settings.bot_runtime is BotRuntime.DOCKER
            else "Correct BOT_COMMAND or BOT_WORKDIR.",
            failure=FailureWord.CONFIG_INVALID,
        )
    return Check(name="bot's program", status=StepStatus.OK, detail=describe_program(settings))


def _check_own_schema(settings: Settings) -> Iterator[Check]:
    if settings.gameplan_schema is not None:
        from orchestration.gameplan import schema_problem

        problem = schema_problem(settings.gameplan_schema)
        if problem:
            yield Check(
                name="own schema",
                status=StepStatus.FAIL,
                detail=problem,
                fix="Correct the file or the variable.",
                failure=FailureWord.CONFIG_INVALID,
            )


def _check_gameplan(settings: Settings) -> Iterator[Check]:
    if settings.gameplan_path == settings.emergency_gameplan_path:
        yield Check(
            name=GAMEPLAN_CHECK,
            status=StepStatus.FAIL,
            detail="GAMEPLAN_PATH: is the same file as EMERGENCY_GAMEPLAN_PATH, which would be written over it",
            fix="Give the day's plan a file of its own.",
            failure=FailureWord.CONFIG_INVALID,
        )
    if settings.gameplan_path is None:
        yield Check(
            name=GAMEPLAN_CHECK,
            status=StepStatus.WARN,
            detail="no plan is configured: the bot will start on Strategy C and trade nothing",
            fix="Set GAMEPLAN_PATH to the day's plan.",
        )
        return
    exists = is_there(settings.gameplan_path)
    yield Check(
        name=GAMEPLAN_CHECK,
        status=StepStatus.OK if exists else StepStatus.WARN,
        detail=str(settings.gameplan_path) + ("" if exists else " does not exist (yet): it would be Strategy C"),
        fix="" if exists else "Write the plan, then `inv gameplan.check --path FILE`.",
    )


def _can_listen(preflight: Preflight, engine: tuple[Check, ...]) -> bool:
    """Whether an order guard can listen where the bot's container reaches it, as far as that is known."""
    settings = preflight.settings
    is_asked = settings.bot_runtime is BotRuntime.DOCKER and settings.strategy_c_bot is StrategyCBot.GUARDED
    if not is_asked or any(check.status is StepStatus.FAIL for check in engine):
        return True
    try:
        return has_bridge_address(settings, preflight.commands) is not False
    except StartupFailure:
        return True  # the engine went away meanwhile, which the start will say


def check_strategy_c(settings: Settings, *, can_deny: bool, can_listen: bool = True) -> Check:
    """Section 2 C: what keeps a bot on Strategy C from ordering. Pure.

    Args:
        settings: The configuration.
        can_deny: Whether this kernel can deny ports to a process.
        can_listen: Whether the guard of a bot in a container can listen where that container reaches it.
    """
    if settings.strategy_c_bot is StrategyCBot.NONE:
        return Check(
            name=STRATEGY_C_CHECK, status=StepStatus.OK, detail="no bot runs on Strategy C (STRATEGY_C_BOT=none)"
        )
    if settings.strategy_c_bot is StrategyCBot.TRUSTED:
        return Check(
            name=STRATEGY_C_CHECK,
            status=StepStatus.WARN,
            detail="the bot is trusted to obey its plan: nothing keeps it from ordering (STRATEGY_C_BOT=trusted)",
            fix="Unset STRATEGY_C_BOT to have it behind the order guard.",
        )
    if settings.bot_runtime is BotRuntime.DOCKER and not can_listen:
        return Check(
            name=STRATEGY_C_CHECK,
            status=StepStatus.WARN,
            detail="the bot's container cannot be put behind the order guard, so no bot is started on Strategy C "
            f"(STRATEGY_C_FAILED): Docker's networks have no address on this host, for {NO_ADDRESS}",
            fix="Set STRATEGY_C_BOT=none (no bot on Strategy C), or run the bot as a process (BOT_RUNTIME=process).",
        )
    if settings.bot_runtime is BotRuntime.DOCKER:
        detail = "the bot's container is behind the order guard, in a network that the gateway is not in"
        return Check(name=STRATEGY_C_CHECK, status=StepStatus.OK, detail=detail)
    if can_deny:
        detail = "the bot is behind the order guard; a bot that connects past it is prevented (Landlock)"
        return Check(name=STRATEGY_C_CHECK, status=StepStatus.OK, detail=detail)
    return Check(
        name=STRATEGY_C_CHECK,
        status=StepStatus.WARN,
        detail="the bot is behind the order guard; a bot that connects past it is detected, not prevented",
        fix="A kernel with Landlock's network rules (Linux 6.7 or later) prevents it; so does BOT_RUNTIME=docker.",
    )


def _check_alerts(preflight: Preflight) -> Iterator[Check]:
    settings = preflight.settings
    if not preflight.alert_channels:
        fix = "Set DISCORD_WEBHOOK_URL or ALERT_URLS, then `inv alert.test`."
        yield Check(name="alerts", status=StepStatus.WARN, detail=NO_CHANNEL, fix=fix)
    for channel in preflight.alert_channels:
        name = f"{channel.name}: " if len(preflight.alert_channels) > 1 else ""
        yield Check(
            name="alerts",
            status=StepStatus.WARN if channel.problem else StepStatus.OK,
            detail=name + (channel.problem or "configured; `inv alert.test` tries it"),
            fix=f"Correct {channel.setting}, then `inv alert.test`." if channel.problem else "",
        )
    for name, problem in (
        ("DISCORD_MENTION", mention_problem(settings.discord_mention)),
        ("HEARTBEAT_URL", heartbeat_problem(settings.heartbeat_url)),
    ):
        if problem:
            yield Check(name="alerts", status=StepStatus.WARN, detail=problem, fix=f"Correct {name}.")
