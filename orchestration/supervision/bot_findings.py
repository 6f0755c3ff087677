"""What a look says about the bot's process, and about the host it runs on. Pure."""

from orchestration.alerts.alert import Severity
from orchestration.gateway.readiness import Sight
from orchestration.supervision.incidents import Finding, IncidentKind, Verdict, Words
from orchestration.supervision.observation import BotLook, Observation
from orchestration.supervision.rules import (
    CONNECT_GRACE_S,
    DISK_FINE_BYTES,
    DISK_LOW_BYTES,
    SUSPENDED_GRACE_S,
    WATCHED_BOT_GRACE_S,
    Rules,
)

READ_THE_LOG = "Read the bot's log: `inv logs --of bot`."
_GIB = 1024**3


def judge_bot(observation: Observation, sight: Sight, rules: Rules, *, jumped_s: float | None) -> tuple[Finding, ...]:
    """Every kind of trouble with the bot.

    Args:
        observation: The look.
        sight: What it says about the gateway.
        rules: What may be done.
        jumped_s: When the clock last jumped, as it does after sleep; None if it never did.
    """
    return (
        _judge_end(observation.bot, rules),
        _judge_suspension(observation.bot),
        _judge_watchdog(observation, rules, jumped_s),
        _judge_connection(observation, sight, rules),
        _judge_order_guard(observation.bot, rules),
    )


def has_ended_unplanned(bot: BotLook) -> bool:
    """Whether it has ended, this program was not asked to stop it, and its exit code is not 0."""
    return not bot.is_running and not bot.is_stopping and not bot.is_finished


def is_unconnected(bot: BotLook, rules: Rules) -> bool:
    """Whether it lost its connection to the gateway, or never had one and should (BOT_CONNECT_TIMEOUT)."""
    return bot.has_gateway_connection is False or (bot.never_connected and rules.bot_connect_timeout_s is not None)


def _judge_end(bot: BotLook, rules: Rules) -> Finding:
    if bot.outside_stop:
        code = f" and ended with exit code {bot.exit_code}" if bot.exit_code is not None else ""
        how = f"{bot.outside_stop}{code}"
    elif bot.signal_name:
        how = f"was ended by {bot.signal_name}"
    elif bot.exit_code is not None:
        how = f"ended with exit code {bot.exit_code}"
    else:
        how = "is gone"
    if bot.says_stopping:
        how += " after it had said that it is stopping"
    if rules.owns_bot:
        # Whether it is the last try is counted after this is told, and told by an alert of its own.
        then = " Where a boot service runs it, the whole sequence runs again, unless it has failed too often."
    elif rules.is_bot_elsewhere:
        then = f" Its container has not brought it back within {WATCHED_BOT_GRACE_S:.0f} s."
    else:
        then = ""
    return Finding(
        kind=IncidentKind.BOT_ENDED,
        verdict=Verdict.FINE if bot.is_running else Verdict.BAD if has_ended_unplanned(bot) else Verdict.UNKNOWN,
        severity=Severity.CRITICAL,
        words=Words(
            title="Bot ended",
            message=f"The bot {how}, and this program was not asked to stop it.{then}",
            next_action=READ_THE_LOG if rules.owns_bot else f"{READ_THE_LOG} Then `inv startup`.",
        ),
        over=Words(title="Bot runs again", message="The bot runs again."),
        key=bot.key,
        # Its own supervisor has said how it ended, and is started again at once: only if it stays away is there more.
        grace_s=WATCHED_BOT_GRACE_S if rules.is_bot_elsewhere else 0.0,
    )


def _judge_suspension(bot: BotLook) -> Finding:
    verdict = Verdict.UNKNOWN
    if bot.is_running and not bot.is_stopping:
        verdict = Verdict.BAD if bot.suspended else Verdict.FINE
    return Finding(
        kind=IncidentKind.BOT_SUSPENDED,
        verdict=verdict,
        severity=Severity.CRITICAL,
        words=Words(
            title="Bot is suspended",
            message=f"The bot {bot.suspended}, and this program did not do that. It runs and does nothing: it neither "
            "trades nor looks after what is open.",
            next_action="Find out who suspended it and why. `docker unpause` or `kill -CONT` resumes it; "
            "`inv bot.restart` starts a fresh one.",
        ),
        over=Words(title="Bot resumed", message="The bot is no longer suspended."),
        key=bot.key,
        grace_s=SUSPENDED_GRACE_S,
    )


def _judge_watchdog(observation: Observation, rules: Rules, jumped_s: float | None) -> Finding:
    bot = observation.bot
    age_s, limit_s = bot.watchdog_age_s, bot.watchdog_limit_s
    verdict = Verdict.UNKNOWN
    if bot.is_running and not bot.is_stopping and age_s is not None and limit_s is not None:
        verdict = Verdict.BAD if age_s > limit_s else Verdict.FINE
        # A machine that slept owes its bot one whole limit.
        if verdict is Verdict.BAD and jumped_s is not None and observation.at_s - jumped_s < limit_s:
            verdict = Verdict.UNKNOWN
    then = " It is ended and restarted." if rules.owns_bot else ""
    return Finding(
        kind=IncidentKind.BOT_SILENT,
        verdict=verdict,
        severity=Severity.CRITICAL,
        words=Words(
            title="Bot does not answer",
            message=f"The bot has not kept its watchdog for {age_s or 0:.0f} s (limit {limit_s or 0:.0f} s).{then}",
            next_action=READ_THE_LOG,
        ),
        over=Words(title="Bot answers again", message="The bot keeps its watchdog again."),
    )


def _judge_connection(observation: Observation, sight: Sight, rules: Rules) -> Finding:
    bot = observation.bot
    verdict = Verdict.UNKNOWN
    is_late = bot.never_connected and rules.bot_connect_timeout_s is not None
    grace_s = rules.bot_connect_timeout_s if is_late and rules.bot_connect_timeout_s is not None else CONNECT_GRACE_S
    if bot.is_running and not bot.is_stopping and sight is Sight.READY:
        if bot.has_gateway_connection is not None:
            verdict = Verdict.FINE if bot.has_gateway_connection else Verdict.BAD
        elif is_late:
            verdict = Verdict.BAD
    then = " It is restarted once." if rules.owns_bot else ""
    return Finding(
        kind=IncidentKind.BOT_UNCONNECTED,
        verdict=verdict,
        severity=Severity.ERROR,
        words=Words(
            title="Bot is not connected to the gateway",
            message=f"The gateway has been ready for {grace_s:.0f} s, and the bot "
            + ("has never held a connection to it (BOT_CONNECT_TIMEOUT)." if is_late else "holds no connection to it.")
            + then,
            next_action=READ_THE_LOG if rules.owns_bot else f"{READ_THE_LOG} Then `inv startup --replace`.",
        ),
        over=Words(title="Bot is connected", message="The bot holds a connection to the gateway again."),
        key="never" if is_late else "",
        grace_s=grace_s,
        is_muted=observation.in_window,
    )


def _judge_order_guard(bot: BotLook, rules: Rules) -> Finding:
    verdict = Verdict.UNKNOWN
    if bot.is_running and not bot.is_stopping:
        verdict = Verdict.BAD if bot.guard_problem else Verdict.FINE
    then = " It is restarted on the same port." if rules.owns_bot else ""
    return Finding(
        kind=IncidentKind.ORDER_GUARD_ENDED,
        verdict=verdict,
        severity=Severity.ERROR,
        words=Words(
            title="Order guard does not work",
            message=f"The order guard {bot.guard_problem}. Until it works again, the bot on Strategy C is cut off from "
            f"the gateway: it reads nothing and orders nothing.{then}",
            next_action="Read its log, `guard_*.log` in LOG_DIR, if it ends again; `inv bot.restart` starts bot and "
            "guard afresh."
            if rules.owns_bot
            else "`inv startup --replace` starts bot and guard afresh.",
        ),
        over=Words(title="Order guard works again", message="The order guard works again."),
        key=bot.key,
    )


def judge_disk(observation: Observation) -> Finding:
    """Whether there is room for plans, journal and logs."""
    free = observation.disk_free_bytes
    return Finding(
        kind=IncidentKind.DISK_LOW,
        verdict=Verdict.BAD if free < DISK_LOW_BYTES else Verdict.FINE if free >= DISK_FINE_BYTES else Verdict.UNKNOWN,
        severity=Severity.WARNING,
        words=Words(
            title="Disk nearly full",
            message=f"Only {free / _GIB:.2f} GiB are free at the state folder.",
            next_action="Free some space: without it no plan can be activated.",
        ),
        over=Words(title="Disk has room again", message=f"{free / _GIB:.2f} GiB are free at the state folder."),
    )
