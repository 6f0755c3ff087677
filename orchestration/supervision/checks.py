"""The table of what a supervisor alerts about: one row per kind of incident. Pure.

A row says when something is wrong, when it is right again, how long it may last before it is told, and what is said.
`incidents` follows the findings over time; `actions` decides what is done about them. To add an alert, add a word to
`IncidentKind` and a row to `CHECKS`, and describe it in docs/explanation/supervision.md.

What a look says about the gateway is judged by the machine that also waits for it at a start
(`orchestration.gateway.readiness`): it counts failed logins, excuses those of the broker's reset windows, remembers a
second factor, and knows that a health check lags. The rows only read its answer, the `Sight`.
"""

from orchestration.alerts.alert import Severity
from orchestration.bot.state import BotState
from orchestration.errors import FallbackWord
from orchestration.gateway import readiness
from orchestration.gateway.container import Health
from orchestration.gateway.history import StopReason, name_start
from orchestration.gateway.login import Refusal
from orchestration.gateway.messages import (
    CHOOSE_A_DEVICE,
    DEVICES,
    advise_by_answer,
    describe_health_check,
    describe_rejection,
    describe_sight,
)
from orchestration.gateway.readiness import DEAD_GRACE_S, SecondFactorState, Sight, is_gone_for, is_health_outdated
from orchestration.settings.week_time import describe_full_login
from orchestration.supervision import plan_rollover
from orchestration.supervision.incident_check import IncidentCheck, Situation
from orchestration.supervision.incidents import Finding, IncidentKind
from orchestration.supervision.observation import PlanCandidate
from orchestration.supervision.plan_rollover import Switch
from orchestration.supervision.rules import (
    API_GRACE_S,
    CONNECT_GRACE_S,
    DISK_FINE_BYTES,
    DISK_LOW_BYTES,
    ENGINE_GRACE_S,
    FARMS_GRACE_S,
    FARMS_HOLD_S,
    HEALTH_CHECK_GRACE_S,
    HOLD_S,
    LINK_GRACE_S,
    LOGIN_GRACE_S,
    SECOND_FACTOR_REPEAT_S,
    SUSPENDED_GRACE_S,
    WATCHED_BOT_GRACE_S,
    WEEKLY_LOGIN_REPEAT_S,
    Rules,
)
from orchestration.supervision.weekly_login import find_current_week
from orchestration.system.signals import describe_exit

_LOST = frozenset(
    {
        Sight.GONE,
        Sight.PAUSED,
        Sight.RESTARTING,
        Sight.LOGIN_PAUSED,
        Sight.LOGIN_IDLE,
        Sight.UNHEALTHY,
        Sight.STARTING,
        Sight.API_NOT_READY,
        Sight.CLIENT_IDS_IN_USE,
    }
)
_LOST_WITHOUT_GRACE = frozenset({Sight.GONE, Sight.PAUSED, Sight.RESTARTING, Sight.UNHEALTHY, Sight.LOGIN_IDLE})
READ_THE_BOT_LOG = "Read the bot's log: `inv logs --of bot`."
_GIB = 1024**3


def judge_all(situation: Situation) -> tuple[Finding, ...]:
    """What every row of the table says about a look, in the table's order."""
    return tuple(check.judge(situation) for check in CHECKS)


# The gateway.


def _describe_refusal(s: Situation) -> str:
    refused = describe_rejection(s.observation.login).message
    return f"{refused[0].upper()}{refused[1:]}. The gateway is stopped, for a login loop can lock the account."


def _has_failing_health_check(s: Situation) -> bool:
    status = s.observation.gateway
    return s.is_connected and status is not None and status.is_up and status.health is Health.UNHEALTHY


def _describe_health_check(s: Situation) -> str:
    check = describe_health_check(s.observation.gateway)
    return (
        f"The gateway's API works, but the container's own health check does not pass ({check}). Nothing is "
        "restarted for that."
    )


def _find_lost_grace(s: Situation) -> float:
    memory, at_s = s.memory.readiness_state, s.observation.at_s
    grace_s = 0.0 if s.sight in _LOST_WITHOUT_GRACE or s.was_started else API_GRACE_S
    if s.sight is not Sight.GONE and memory.second_factor is SecondFactorState.GRANTED and memory.granted_s is not None:
        grace_s = max(grace_s, memory.granted_s + LOGIN_GRACE_S - at_s)
    elif s.sight is Sight.UNHEALTHY and is_health_outdated(memory):
        grace_s = max(API_GRACE_S, (memory.login_moved_s or 0.0) + LOGIN_GRACE_S - at_s)
    if at_s < s.memory.grace_until_s:
        # It has its time to come up. One that has ended does not come up: only a moment for a restart of Docker's.
        grace_s = API_GRACE_S if s.sight is Sight.GONE else s.memory.grace_until_s - at_s
    return grace_s


def _is_lost_muted(s: Situation) -> bool:
    observation, stop = s.observation, s.observation.gateway_history.stop
    # Stopped because of the refusal: that is one incident, which has been told.
    if s.memory.log.is_told(IncidentKind.LOGIN_REJECTED) and stop and stop.reason is StopReason.LOGIN_REJECTED:
        return True
    if observation.in_restart_window:
        return not is_gone_for(s.memory.readiness_state, observation.at_s, DEAD_GRACE_S)
    return observation.in_reset_window and s.sight is not Sight.GONE


def _describe_lost(s: Situation) -> str:
    observation, stop = s.observation, s.observation.gateway_history.stop
    restart_s = readiness.find_restart_time(
        s.memory.readiness_state,
        observation.probe_result,
        s.sight,
        s.rules.readiness_policy,
        deadline_s=observation.at_s,
    )
    if stop is not None:
        then = f"It is down on purpose ({stop}), and stays down until it is started again."
    elif not s.rules.may_restart_gateway:
        then = "It is not restarted."
    elif restart_s is None:
        then = "It is not restarted, which would not help."
    else:
        then = "It is restarted once if it does not come back."
    seen = describe_sight(s.sight, observation.probe_result, port=s.rules.port)
    return f"The gateway is not usable: {seen}. {then}"


# The bot.


def has_ended_unplanned(bot: BotState) -> bool:
    """Whether it has ended, this program was not asked to stop it, and its exit code is not 0."""
    return not bot.is_running and not bot.is_stopping and not bot.is_finished


def is_unconnected(bot: BotState, rules: Rules) -> bool:
    """Whether it lost its connection to the gateway, or never had one and should (BOT_CONNECT_TIMEOUT)."""
    return bot.has_lost_connection or _is_late_to_connect(bot, rules)


def _is_late_to_connect(bot: BotState, rules: Rules) -> bool:
    return bot.never_connected and rules.bot_connect_timeout_s is not None


def _describe_end(s: Situation) -> str:
    bot = s.bot
    end = describe_exit(bot.exit_code) if bot.exit_code is not None else ""
    how = " and ".join(filter(None, (bot.outside_stop, end))) or "is gone"
    if bot.says_stopping:
        how += " after it had said that it is stopping"
    if s.rules.owns_bot:
        # Whether it is the last try is counted after this is told, and told by an alert of its own.
        then = " Where a boot service runs it, the whole sequence runs again, unless it has failed too often."
    elif s.rules.is_bot_elsewhere:
        then = f" Its container has not brought it back within {WATCHED_BOT_GRACE_S:.0f} s."
    else:
        then = ""
    return f"The bot {how}, and this program was not asked to stop it.{then}"


def _is_watchdog_late(s: Situation) -> bool:
    age_s, limit_s = s.bot.watchdog_age_s, s.bot.watchdog_limit_s
    return age_s is not None and limit_s is not None and age_s > limit_s


def _is_silent(s: Situation) -> bool:
    jumped_s, limit_s = s.memory.jumped_s, s.bot.watchdog_limit_s or 0.0
    # A machine that slept owes its bot one whole limit.
    has_slept = jumped_s is not None and s.observation.at_s - jumped_s < limit_s
    return s.is_bot_working and (s.bot.says_hung or (_is_watchdog_late(s) and not has_slept))


def _keeps_watchdog(s: Situation) -> bool:
    is_watched = s.bot.watchdog_age_s is not None and s.bot.watchdog_limit_s is not None
    return s.is_bot_working and is_watched and not s.bot.says_hung and not _is_watchdog_late(s)


def _describe_silence(s: Situation) -> str:
    then = " It is ended and restarted." if s.rules.owns_bot else ""
    if s.bot.says_hung:
        return f"The bot says that it is hung (WATCHDOG=trigger).{then}"
    return (
        f"The bot has not kept its watchdog for {s.bot.watchdog_age_s or 0:.0f} s "
        f"(limit {s.bot.watchdog_limit_s or 0:.0f} s).{then}"
    )


def _should_be_connected(s: Situation) -> bool:
    return s.is_bot_working and s.sight is Sight.READY


def _find_connect_grace(s: Situation) -> float:
    limit_s = s.rules.bot_connect_timeout_s
    return CONNECT_GRACE_S if limit_s is None or not s.bot.never_connected else limit_s


def _describe_unconnected(s: Situation) -> str:
    has_none = (
        "has never held a connection to it (BOT_CONNECT_TIMEOUT)."
        if _is_late_to_connect(s.bot, s.rules)
        else "holds no connection to it."
    )
    then = " It is restarted once." if s.rules.owns_bot else ""
    return f"The gateway has been ready for {_find_connect_grace(s):.0f} s, and the bot {has_none}{then}"


# The plan.

_UNUSABLE = frozenset(
    {FallbackWord.GAMEPLAN_INVALID, FallbackWord.GAMEPLAN_UNREADABLE, FallbackWord.GAMEPLAN_QUARANTINED}
)
_WHOLE = frozenset({FallbackWord.GAMEPLAN_STALE, FallbackWord.GAMEPLAN_NOT_YET})


def _is_plan_missing(s: Situation) -> bool:
    day, observation = s.memory.day, s.observation
    has_none = not plan_rollover.has_plan_for_today(observation, s.rules) and plan_rollover.is_settled(day, observation)
    # A bot that was put on Strategy C at midnight, or started on it in the night, waits for a plan; a start after the
    # plan was due has said itself that there is none.
    has_expired = day.switched == plan_rollover.build_switch_key(Switch.STRATEGY_C, observation)
    is_awaited = observation.plan.is_emergency and day.awaited_on == observation.market.today
    needs_one = plan_rollover.is_out_of_date(observation, s.rules) or has_expired or is_awaited
    is_wanted = s.candidate.word is not FallbackWord.GAMEPLAN_NOT_CONFIGURED
    return plan_rollover.is_due(observation, s.rules) and has_none and needs_one and is_wanted


def _has_plan_of_the_day(s: Situation) -> bool:
    plan = s.observation.plan
    is_out_of_date = plan_rollover.is_out_of_date(s.observation, s.rules)
    return plan.date is not None and not plan.is_emergency and not is_out_of_date


def _describe_missing_plan(s: Situation) -> str:
    then = (
        "The bot is restarted on Strategy C: no trading." if s.rules.owns_bot else "The bot runs on another day's plan."
    )
    today = s.observation.market.today
    return f"No valid plan for {today} by the time it is due ({_explain(s.candidate)}). {then}"


def _advise_on_missing_plan(s: Situation) -> str:
    is_in_doubt = s.candidate.word is FallbackWord.CLOCK_SKEW
    first = "Set this host's clock right" if is_in_doubt else "Put a valid plan for the day in place"
    if not s.rules.owns_bot:
        return f"{first}, then `inv startup --replace`."
    return f"{first}: the bot is restarted on {'the plan' if is_in_doubt else 'it'}."


def _is_plan_unusable(s: Situation) -> bool:
    day = s.memory.day
    is_new = s.candidate.key != day.known_bad
    is_new = is_new and not s.observation.plan.is_candidate_passed_over
    return s.candidate.word in _UNUSABLE and is_new and plan_rollover.is_settled(day, s.observation)


def _is_plan_changed(s: Situation) -> bool:
    plan, candidate = s.observation.plan, s.candidate
    is_other = bool(plan.sha256) and candidate.word is None and candidate.sha256 != plan.sha256
    is_same_day = candidate.date == plan.date or not s.rules.judges_dates
    return is_other and is_same_day and not plan.is_emergency and not plan.is_candidate_passed_over


def _describe_changed_plan(s: Situation) -> str:
    plan = s.observation.plan
    done = " The bot has finished for that day." if s.memory.day.finished_day is not None else ""
    return (
        f"The plan file of {plan.date} has changed (strategy {s.candidate.strategy}). The bot keeps the active plan "
        f"(strategy {plan.strategy}).{done}"
    )


def _explain(candidate: PlanCandidate) -> str:
    if candidate.word is None:
        return f"the file's plan is for {candidate.date}"
    return f"{candidate.word}: {candidate.message}".rstrip(".: ")


# The weekly login.


def _is_weekly_login_missing(s: Situation) -> bool:
    week = find_current_week(s.observation, s.rules)
    is_late = week is not None and s.observation.now >= week.proof_due_at
    return is_late and not _is_weekly_login_seen(s)


def _is_weekly_login_seen(s: Situation) -> bool:
    week = find_current_week(s.observation, s.rules)
    return week is not None and week.is_proved_by(s.memory.weekly.full_login_at)


def _name_week(s: Situation) -> str:
    week = find_current_week(s.observation, s.rules)
    return "" if week is None else week.session_ended_at.isoformat()


def _describe_weekly_login(s: Situation) -> str:
    return describe_full_login(s.memory.weekly.full_login_at, s.observation.now)


CHECKS: tuple[IncidentCheck, ...] = (
    IncidentCheck(
        kind=IncidentKind.ENGINE_GONE,
        severity=Severity.ERROR,
        is_bad=lambda s: not s.observation.engine_reachable,
        is_fine=lambda s: s.observation.engine_reachable,
        title="Docker does not answer",
        message="The Docker engine does not answer, so nothing is known of the gateway's container and nothing can be "
        "done about it.",
        next_action="Start Docker: `sudo systemctl start docker`, or Docker Desktop.",
        over_title="Docker answers again",
        over_message="The Docker engine answers again.",
        grace_s=ENGINE_GRACE_S,
        hold_s=HOLD_S,
    ),
    IncidentCheck(
        kind=IncidentKind.LOGIN_REJECTED,
        severity=Severity.CRITICAL,
        is_bad=lambda s: s.sight is Sight.REJECTED,
        is_fine=lambda s: s.is_connected,
        title=lambda s: (
            "Broker refuses user or password"
            if s.observation.login.refusal is Refusal.CREDENTIALS
            else "Broker refuses the login"
        ),
        message=_describe_refusal,
        next_action=lambda s: describe_rejection(s.observation.login).next_action,
        over_title="Login accepted",
        over_message="The gateway is logged in again.",
        # Started again with a password that is wrong too, it is another incident, and is stopped again.
        key=lambda s: "" if s.observation.gateway is None else name_start(s.observation.gateway),
    ),
    IncidentCheck(
        kind=IncidentKind.WRONG_ACCOUNT,
        severity=Severity.CRITICAL,
        is_bad=lambda s: s.is_connected and bool(s.observation.account_problem),
        is_fine=lambda s: s.is_connected,
        title="Gateway shows a wrong account",
        message=lambda s: f"After a login {s.observation.account_problem}. The bot must not run on this gateway.",
        next_action="Log in with the right user (TWS_USERID), or correct GATEWAY_ACCOUNT and TRADING_MODE, then "
        "`inv startup`.",
        over_title="Right account",
        over_message="The gateway shows the right account again.",
    ),
    IncidentCheck(
        kind=IncidentKind.SECOND_FACTOR,
        severity=Severity.CRITICAL,
        is_bad=lambda s: s.sight is Sight.SECOND_FACTOR,
        is_fine=lambda s: s.is_connected,
        title="Second factor needed",
        message=lambda s: (
            f"The gateway's login waits for the second factor{DEVICES if s.observation.login.needs_device else ''}. "
            "The wait has no limit; nothing is restarted in the meantime."
        ),
        next_action=lambda s: (
            CHOOSE_A_DEVICE
            if s.observation.login.needs_device
            else "Confirm it on the phone. If no push is there, `inv gateway.restart` sends a new one."
        ),
        over_title="Second factor confirmed",
        over_message="The gateway is logged in again.",
        repeat_s=SECOND_FACTOR_REPEAT_S,
    ),
    IncidentCheck(
        kind=IncidentKind.SESSION_TAKEN,
        severity=Severity.ERROR,
        is_bad=lambda s: s.sight is Sight.SESSION_TAKEN,
        is_fine=lambda s: s.is_connected,
        title="Session taken over elsewhere",
        message="The same user is logged in elsewhere, and that session was left in charge. The gateway is not "
        "restarted.",
        next_action="Log the other session out (TWS, the phone's app, the website), then `inv gateway.restart`.",
        over_title="Session is back",
        over_message="The gateway is logged in again.",
    ),
    IncidentCheck(
        kind=IncidentKind.GATEWAY_LOST,
        severity=Severity.ERROR,
        is_bad=lambda s: s.sight in _LOST,
        is_fine=lambda s: s.is_connected and not s.observation.account_problem,
        title=lambda s: "No login is under way" if s.sight is Sight.LOGIN_IDLE else "Gateway lost",
        message=_describe_lost,
        next_action=lambda s: (
            advise_by_answer(s.observation.probe_result.api, s.rules.port)
            or "Read the gateway's log: `inv logs --of gateway`."
        ),
        over_title="Gateway is back",
        over_message="The gateway's API answers again, with the right account.",
        grace_s=_find_lost_grace,
        hold_s=HOLD_S,
        is_muted=_is_lost_muted,
    ),
    IncidentCheck(
        kind=IncidentKind.LINK_DOWN,
        severity=Severity.ERROR,
        is_bad=lambda s: s.sight is Sight.LINK_DOWN,
        is_fine=lambda s: s.sight is Sight.READY,
        title="Gateway has no link to the broker",
        message="The gateway's API answers, but its link to the broker is lost (1100, 2110).",
        next_action="Nothing yet: it reconnects by itself, and is watched.",
        over_title="Link to the broker is back",
        over_message="The gateway has its link to the broker again.",
        grace_s=LINK_GRACE_S,
        hold_s=HOLD_S,
        is_muted=lambda s: s.observation.in_window,
    ),
    IncidentCheck(
        kind=IncidentKind.HEALTH_CHECK_FAILING,
        severity=Severity.WARNING,
        is_bad=lambda s: s.rules.believes_health_check and _has_failing_health_check(s),
        is_fine=lambda s: s.rules.believes_health_check and s.is_connected,
        title="Container's health check fails",
        message=_describe_health_check,
        next_action="Correct the check in the Compose file; set GATEWAY_HEALTH_CHECK=ignore if it can never pass.",
        over_title="Health check passes",
        over_message="The container's own health check passes again.",
        grace_s=HEALTH_CHECK_GRACE_S,
    ),
    IncidentCheck(
        kind=IncidentKind.FARMS_BROKEN,
        severity=Severity.WARNING,
        is_bad=lambda s: s.sight is Sight.READY and bool(s.observation.api.broken_farms),
        is_fine=lambda s: s.sight is Sight.READY,
        title="Data farms broken",
        message=lambda s: f"The gateway is up, but data farms are broken: {', '.join(s.observation.api.broken_farms)}.",
        next_action="Look at the broker's system status page.",
        over_title="Data farms are back",
        over_message="No data farm is broken any more.",
        grace_s=FARMS_GRACE_S,
        hold_s=FARMS_HOLD_S,
        is_muted=lambda s: s.observation.in_window,
    ),
    IncidentCheck(
        kind=IncidentKind.BOT_ENDED,
        severity=Severity.CRITICAL,
        is_bad=lambda s: has_ended_unplanned(s.bot),
        is_fine=lambda s: s.bot.is_running,
        title="Bot ended",
        message=_describe_end,
        next_action=lambda s: READ_THE_BOT_LOG if s.rules.owns_bot else f"{READ_THE_BOT_LOG} Then `inv startup`.",
        over_title="Bot runs again",
        over_message="The bot runs again.",
        key=lambda s: s.bot.key,
        # Its own supervisor has said how it ended, and is started again at once: only if it stays away is there more.
        grace_s=lambda s: WATCHED_BOT_GRACE_S if s.rules.is_bot_elsewhere else 0.0,
    ),
    IncidentCheck(
        kind=IncidentKind.BOT_SUSPENDED,
        severity=Severity.CRITICAL,
        is_bad=lambda s: s.is_bot_working and bool(s.bot.suspended),
        is_fine=lambda s: s.is_bot_working,
        title="Bot is suspended",
        message=lambda s: (
            f"The bot {s.bot.suspended}, and this program did not do that. It runs and does nothing: it neither trades "
            "nor manages what is open."
        ),
        next_action="Find out who suspended it and why. `docker unpause` or `kill -CONT` resumes it; "
        "`inv bot.restart` starts a fresh one.",
        over_title="Bot resumed",
        over_message="The bot is no longer suspended.",
        key=lambda s: s.bot.key,
        # From outside it is told by its silence, which it also keeps for a moment after the host was suspended.
        grace_s=lambda s: WATCHED_BOT_GRACE_S if s.rules.is_bot_elsewhere else SUSPENDED_GRACE_S,
    ),
    IncidentCheck(
        kind=IncidentKind.BOT_SILENT,
        severity=Severity.CRITICAL,
        is_bad=_is_silent,
        is_fine=_keeps_watchdog,
        title="Bot does not answer",
        message=_describe_silence,
        next_action=READ_THE_BOT_LOG,
        over_title="Bot answers again",
        over_message="The bot keeps its watchdog again.",
    ),
    IncidentCheck(
        kind=IncidentKind.BOT_UNCONNECTED,
        severity=Severity.ERROR,
        is_bad=lambda s: _should_be_connected(s) and is_unconnected(s.bot, s.rules),
        is_fine=lambda s: _should_be_connected(s) and bool(s.bot.is_connected),
        title="Bot is not connected to the gateway",
        message=_describe_unconnected,
        next_action=lambda s: (
            READ_THE_BOT_LOG if s.rules.owns_bot else f"{READ_THE_BOT_LOG} Then `inv startup --replace`."
        ),
        over_title="Bot is connected",
        over_message="The bot holds a connection to the gateway again.",
        key=lambda s: "never" if _is_late_to_connect(s.bot, s.rules) else "",
        grace_s=_find_connect_grace,
        is_muted=lambda s: s.observation.in_window,
    ),
    IncidentCheck(
        kind=IncidentKind.ORDER_GUARD_ENDED,
        severity=Severity.ERROR,
        is_bad=lambda s: s.is_bot_working and bool(s.bot.guard_problem),
        is_fine=lambda s: s.is_bot_working,
        title="Order guard does not work",
        message=lambda s: (
            f"The order guard {s.bot.guard_problem}. Until it works again, the bot on Strategy C is cut off from the "
            "gateway: it reads nothing and orders nothing."
            + (" It is restarted on the same port." if s.rules.owns_bot else "")
        ),
        next_action=lambda s: (
            "Read its log, `guard_*.log` in LOG_DIR, if it ends again; `inv bot.restart` starts bot and guard afresh."
            if s.rules.owns_bot
            else "`inv startup --replace` starts bot and guard afresh."
        ),
        over_title="Order guard works again",
        over_message="The order guard works again.",
        key=lambda s: s.bot.key,
    ),
    IncidentCheck(
        kind=IncidentKind.PLAN_MISSING,
        severity=Severity.ERROR,
        is_bad=_is_plan_missing,
        is_fine=_has_plan_of_the_day,
        title="No plan for today",
        message=_describe_missing_plan,
        next_action=_advise_on_missing_plan,
        over_title="Plan for today active",
        over_message=lambda s: f"The bot runs on the plan of {s.observation.plan.date}.",
        key=lambda s: s.observation.market.today.isoformat(),
    ),
    IncidentCheck(
        kind=IncidentKind.PLAN_UNUSABLE,
        severity=Severity.WARNING,
        is_bad=_is_plan_unusable,
        is_fine=lambda s: s.candidate.word is None or s.candidate.word in _WHOLE,
        title="Plan file is not usable",
        message=lambda s: (
            f"The plan file has changed and cannot be used: {_explain(s.candidate)}. The bot keeps its own plan."
        ),
        next_action="Correct it; `inv gameplan.check --path FILE` judges it.",
        over_title=lambda s: "Plan file is usable" if s.candidate.word is None else "Plan file is whole",
        over_message=lambda s: (
            "The plan file holds a plan that can be used again."
            if s.candidate.word is None
            else f"The plan file is whole, not for now: {_explain(s.candidate)}."
        ),
        key=lambda s: s.candidate.key,
    ),
    IncidentCheck(
        kind=IncidentKind.PLAN_CHANGED,
        severity=Severity.WARNING,
        is_bad=_is_plan_changed,
        is_fine=lambda s: s.candidate.word in _WHOLE or (s.candidate.word is None and bool(s.observation.plan.sha256)),
        title="Plan file changed during its day",
        message=_describe_changed_plan,
        next_action="If the change is to be taken: `inv bot.restart`.",
        over_title="Plan file and bot agree",
        over_message="The plan file no longer differs from the active plan for its day.",
        key=lambda s: s.candidate.key,
    ),
    IncidentCheck(
        kind=IncidentKind.DISK_LOW,
        severity=Severity.WARNING,
        is_bad=lambda s: s.observation.disk_free_bytes < DISK_LOW_BYTES,
        is_fine=lambda s: s.observation.disk_free_bytes >= DISK_FINE_BYTES,
        title="Disk nearly full",
        message=lambda s: f"Only {s.observation.disk_free_bytes / _GIB:.2f} GiB are free at the state folder.",
        next_action="Free some space: without it no plan can be activated.",
        over_title="Disk has room again",
        over_message=lambda s: f"{s.observation.disk_free_bytes / _GIB:.2f} GiB are free at the state folder.",
    ),
    IncidentCheck(
        kind=IncidentKind.WEEKLY_LOGIN_MISSING,
        severity=Severity.CRITICAL,
        is_bad=_is_weekly_login_missing,
        is_fine=_is_weekly_login_seen,
        title="Weekly login is missing",
        message=lambda s: f"{_describe_weekly_login(s)} Without it the gateway cannot trade this week.",
        next_action="Confirm the second factor if one is asked for. Otherwise restart the gateway's container with the "
        "phone at hand: `inv gateway.down --force`, then `inv gateway.up`.",
        over_title="Weekly login is there",
        over_message=_describe_weekly_login,
        key=_name_week,
        repeat_s=WEEKLY_LOGIN_REPEAT_S,
    ),
)
