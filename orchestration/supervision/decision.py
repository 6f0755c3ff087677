"""What a supervisor may decide, and what it remembers from look to look: values."""

from dataclasses import dataclass
from enum import StrEnum

from orchestration.gateway import readiness
from orchestration.gateway.readiness import Sight
from orchestration.supervision.incidents import NOTHING_OPEN, IncidentLog, Notice
from orchestration.supervision.plan_rollover import NO_DAY, DayMemory
from orchestration.supervision.weekly_login import NO_WEEK, WeeklyMemory

# A start gives up at its deadline; supervision goes on.
_NO_DEADLINE = readiness.ReadinessState(deadline_s=float("inf"))


class Action(StrEnum):
    """What is to be done."""

    RESTART_GATEWAY = "restart_gateway"
    LOG_IN_GATEWAY = "log_in_gateway"
    """Restart the gateway so that it logs in fully: the weekly login."""
    STOP_GATEWAY = "stop_gateway"
    RESTART_ORDER_GUARD = "restart_order_guard"
    """Start the order guard of a bot on Strategy C again, on the same port."""
    RESTART_BOT = "restart_bot"
    """Stop the bot gracefully and run the whole validated sequence for it again."""
    RESTART_BOT_ON_NEW_PLAN = "restart_bot_on_new_plan"
    """The same, or the start of a bot that has finished; the day's plan is there."""
    RESTART_BOT_ON_STRATEGY_C = "restart_bot_on_strategy_c"
    """The same; there is no plan for the day."""
    STOP_BOT = "stop_bot"
    """Stop the bot gracefully and watch on: it is started again later."""
    END_FINISHED_WAIT = "end_finished_wait"
    """The bot has finished with 0: stay, and wait for the next day's plan."""
    END_FAILED = "end_failed"
    """End with 1: the host's service manager runs the whole sequence again."""
    END_78 = "end_78"
    """Stop the bot gracefully and end with 78: manual action is required."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered from look to look. It does not grow.

    Attributes:
        log: The incidents that are open.
        readiness_state: What is remembered of the gateway's container and login.
        day: What is remembered of plans.
        bot_key: The bot of the last look.
        is_bot_ended: Whether it was said of this bot that it has ended.
        is_bot_stopped: Whether we have stopped it until it may run again.
        window_s: When a window of time was seen last in which a lost gateway is expected; None if never.
        jumped_s: When the clock jumped last; None if it never did.
        gateway_restarts_s: When we restarted the gateway in the last day.
        bot_restarts_s: When we restarted the bot for want of a connection in the last day.
        guard_restarts_s: When we restarted the order guard in the last hour.
        awaits_restart: Whether a restart of the gateway was decided at the last look.
        grace_until_s: Until when our own restart explains that the gateway is not ready.
        weekly: What is remembered of weekly logins.
    """

    log: IncidentLog = NOTHING_OPEN
    readiness_state: readiness.ReadinessState = _NO_DEADLINE
    day: DayMemory = NO_DAY
    bot_key: str = ""
    is_bot_ended: bool = False
    is_bot_stopped: bool = False
    window_s: float | None = None
    jumped_s: float | None = None
    gateway_restarts_s: tuple[float, ...] = ()
    bot_restarts_s: tuple[float, ...] = ()
    guard_restarts_s: tuple[float, ...] = ()
    awaits_restart: bool = False
    grace_until_s: float = float("-inf")
    weekly: WeeklyMemory = NO_WEEK


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be said and done now.

    Attributes:
        notices: What is to be told to the operator, in order.
        actions: What is to be done, in order, after it was told.
        on_restart: What is to be told when the gateway's restart is certain: of several supervisors that decide on it,
            one does it.
        status_text: One line for the service's status.
        next_look_s: After how many seconds to look again, if no event comes before.
        is_well: Whether nothing is wrong that the operator should know of: then the heartbeat may be sent.
        sight: What the look amounts to for the gateway.
    """

    notices: tuple[Notice, ...] = ()
    actions: tuple[Action, ...] = ()
    on_restart: Notice | None = None
    status_text: str = ""
    next_look_s: float
    is_well: bool = True
    sight: Sight
