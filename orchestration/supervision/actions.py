"""What is done about what was found. Pure.

The rules, in order:

* What a retry cannot fix ends everything, once: a refused password (the container is stopped, as a login loop can
  lock the account) and a wrong account (the bot must not be left running on it).
* A bot that has ended by itself, or keeps no watchdog, ends the supervisor as a failure; one that ended with 0 is done
  for its day, and waits for the next one.
* A gateway that is lost is restarted once in an incident, when a restart may help it (`readiness.find_restart_time`,
  the same for a start), and in the broker's reset windows only if the container is dead. A restart by another instance
  that uses it counts as that one; what was stopped on purpose is not brought back.
* An order guard that does not work is restarted, at most three times an hour.
* A bot is touched only while the gateway is ready, one thing at a time: first the day's plan, then its connection.
"""

from dataclasses import replace

from orchestration.alerts.alert import Severity
from orchestration.gateway.history import DAY_S, RESTART_SPACING_S, RESTARTS_A_DAY, GatewayRestart
from orchestration.gateway.readiness import DEAD_GRACE_S, Sight, find_restart_time, is_gone_for
from orchestration.supervision import weekly_login
from orchestration.supervision.checks import has_ended_unplanned, is_unconnected
from orchestration.supervision.decision import Action, Memory
from orchestration.supervision.incidents import (
    Incident,
    IncidentKind,
    Notice,
    NoticeText,
    Stage,
    build_notice,
    tell_event,
)
from orchestration.supervision.observation import Observation
from orchestration.supervision.plan_rollover import Switch, build_switch_key, choose_switch, must_not_trade
from orchestration.supervision.rules import GUARD_RESTARTS_AN_HOUR, HOUR_S, LINK_RESTART_AFTER_S, Rules


def choose(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules, told: tuple[Notice, ...]
) -> tuple[Memory, tuple[Action, ...], tuple[Notice, ...]]:
    """What is done. At most one thing at a time, but for the stop of a gateway before the end."""
    opened = {notice.kind for notice in told if notice.stage is Stage.OPENED}
    if IncidentKind.LOGIN_REJECTED in opened:
        stop = (Action.STOP_GATEWAY,) if rules.may_stop_gateway else ()
        return memory, (*stop, Action.END_78) if rules.owns_bot else stop, ()
    if IncidentKind.WRONG_ACCOUNT in opened:
        return memory, (Action.END_78,) if rules.owns_bot else (Action.STOP_BOT,), ()
    if has_ended_unplanned(observation.bot) and rules.owns_bot:
        ends = () if memory.is_bot_ended else (Action.END_FAILED,)
        return replace(memory, is_bot_ended=True), ends, ()
    if IncidentKind.BOT_SILENT in opened and rules.owns_bot:
        return memory, (Action.END_FAILED,), ()
    memory, action, said = _choose_gateway(memory, observation, sight, rules)
    if action or not rules.owns_bot or (observation.bot.is_stopping and not memory.is_bot_stopped):
        return memory, action, said
    memory, action, said_of_bot = _choose_bot(memory, observation, sight, rules)
    return memory, action, (*said, *said_of_bot)


def choose_guard_restart(
    memory: Memory, observation: Observation, rules: Rules, chosen: tuple[Action, ...]
) -> tuple[Memory, tuple[Action, ...]]:
    """Whether the order guard is restarted, besides what was chosen: not where the bot is ended or restarted anyway."""
    bot = observation.bot
    restarts_s = tuple(one for one in memory.guard_restarts_s if observation.at_s - one < HOUR_S)
    memory = replace(memory, guard_restarts_s=restarts_s)
    is_wanted = rules.owns_bot and bot.is_running and not bot.is_stopping and bool(bot.guard_problem)
    if not is_wanted or _TOUCH_BOT & set(chosen) or len(restarts_s) >= GUARD_RESTARTS_AN_HOUR:
        return memory, ()
    return replace(memory, guard_restarts_s=(*restarts_s, observation.at_s)), (Action.RESTART_ORDER_GUARD,)


_TOUCH_BOT = frozenset(Action) - {Action.RESTART_GATEWAY, Action.STOP_GATEWAY}
_RESTART_NEVER_HELPS = (IncidentKind.SESSION_TAKEN, IncidentKind.LOGIN_REJECTED, IncidentKind.WRONG_ACCOUNT)


def _choose_gateway(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[Memory, tuple[Action, ...], tuple[Notice, ...]]:
    at_s = observation.at_s
    memory = replace(memory, gateway_restarts_s=_of_last_day(memory.gateway_restarts_s, at_s))
    is_other_at_work = (
        at_s < memory.grace_until_s
        or find_others_restart(observation, rules) is not None
        or memory.log.is_told(*_RESTART_NEVER_HELPS)
    )
    if weekly_login.is_login_due(memory.weekly, observation, sight, rules, is_other_at_work=is_other_at_work):
        return _log_in(memory, observation)
    incident = find_restartable(memory, observation, sight, rules)
    if incident is None or not rules.may_restart_gateway or incident.acted_s is not None:
        return memory, (), ()
    other = find_others_restart(observation, rules)
    if other is not None:
        log = memory.log.put(replace(incident, acted_s=other.at_s))
        words = NoticeText(
            title="Gateway restarted by another instance", message=f"{incident.title}: {other}. It is waited for."
        )
        notice = build_notice(log, incident.kind, Stage.ACTED, Severity.INFO, words)
        return replace(memory, log=log), (), (notice,)
    if measure_patience(memory, observation, sight, rules, incident) > 0 or _is_gateway_spent(memory, observation):
        return memory, (), ()
    log = memory.log.put(replace(incident, acted_s=at_s))
    words = NoticeText(
        title="Gateway restart attempted",
        message=f"{incident.title}: the gateway is restarted, once.",
        next_action="Have the phone at hand: a new login may ask for the second factor.",
    )
    notice = build_notice(log, incident.kind, Stage.ACTED, Severity.WARNING, words)
    memory = replace(memory, log=log, awaits_restart=True, gateway_restarts_s=(*memory.gateway_restarts_s, at_s))
    return memory, (Action.RESTART_GATEWAY,), (notice,)


def _log_in(memory: Memory, observation: Observation) -> tuple[Memory, tuple[Action, ...], tuple[Notice, ...]]:
    """Begin the weekly login: a restart that keeps no session."""
    at_s = observation.at_s
    log, notice = tell_event(memory.log, IncidentKind.WEEKLY_LOGIN, Severity.WARNING, weekly_login.LOGIN_WORDS)
    memory = replace(
        memory,
        log=log,
        weekly=weekly_login.note_login(memory.weekly, at_s),
        awaits_restart=True,
        gateway_restarts_s=(*memory.gateway_restarts_s, at_s),
    )
    return memory, (Action.LOG_IN_GATEWAY,), (notice,)


def find_restartable(memory: Memory, observation: Observation, sight: Sight, rules: Rules) -> Incident | None:
    """The incident that a restart of the gateway may end; None where there is none, or it must not be restarted now."""
    if (
        memory.log.is_told(*_RESTART_NEVER_HELPS) or observation.gateway_history.stop is not None
    ):  # a stop that was meant
        return None
    kind = IncidentKind.LINK_DOWN if sight is Sight.LINK_DOWN else IncidentKind.GATEWAY_LOST
    incident = memory.log.find(kind)
    if incident is None or not incident.is_told or _find_due_s(memory, observation, sight, rules, incident) is None:
        return None
    if sight is Sight.GONE:
        is_allowed = not observation.in_restart_window or is_gone_for(
            memory.readiness_state, observation.at_s, DEAD_GRACE_S
        )
    else:
        is_allowed = not observation.in_window
    return incident if is_allowed else None


def measure_patience(memory: Memory, observation: Observation, sight: Sight, rules: Rules, incident: Incident) -> float:
    """For how many seconds more the gateway may come back by itself. Time in a window does not count."""
    due_s = _find_due_s(memory, observation, sight, rules, incident)
    return float("inf") if due_s is None else due_s - observation.at_s


def _find_due_s(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules, incident: Incident
) -> float | None:
    """When a restart is due: as for a start, with the incident's time for its deadline; a lost link has its own."""
    since_s = incident.since_s if memory.window_s is None else max(incident.since_s, memory.window_s)
    if sight is Sight.LINK_DOWN:
        return since_s + LINK_RESTART_AFTER_S
    deadline_s = since_s + rules.restart_after_s
    return find_restart_time(
        memory.readiness_state, observation.probe_result, sight, rules.readiness_policy, deadline_s=deadline_s
    )


def _of_last_day(times_s: tuple[float, ...], at_s: float) -> tuple[float, ...]:
    return tuple(one for one in times_s if at_s - one < DAY_S)


def find_others_restart(observation: Observation, rules: Rules) -> GatewayRestart | None:
    """Another instance's restart that the gateway still has time to come back from."""
    restarts = observation.gateway_history.restarts
    if restarts and observation.at_s - restarts[-1].at_s < rules.restart_after_s:
        return restarts[-1]
    return None


def _is_gateway_spent(memory: Memory, observation: Observation) -> bool:
    """The same for all instances that use the gateway: together they restart it no more often than one alone."""
    others_s = _of_last_day(tuple(one.at_s for one in observation.gateway_history.restarts), observation.at_s)
    return _is_spent(tuple(sorted((*memory.gateway_restarts_s, *others_s))), observation.at_s)


def _is_spent(times_s: tuple[float, ...], at_s: float) -> bool:
    """Whether there was a restart a short while ago, or there were too many today."""
    return bool(times_s) and (at_s - times_s[-1] < RESTART_SPACING_S or len(times_s) >= RESTARTS_A_DAY)


def _choose_bot(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[Memory, tuple[Action, ...], tuple[Notice, ...]]:
    at_s, bot = observation.at_s, observation.bot
    switch = choose_switch(memory.day, observation, rules)
    is_ready = sight is Sight.READY and observation.engine_reachable
    if must_not_trade(observation, rules) and bot.is_running and not is_ready:
        if memory.is_bot_stopped:
            return memory, (), ()
        # The gateway may come back at any moment, and the bot would trade on another day's plan.
        words = NoticeText(
            title="Bot stopped: its plan is another day's",
            message=f"The bot's plan is of {observation.plan.date}, and it cannot be restarted before the gateway "
            "is ready. It is stopped until then.",
        )
        log, notice = tell_event(memory.log, IncidentKind.BOT_SWITCHED, Severity.WARNING, words)
        return replace(memory, log=log, is_bot_stopped=True), (Action.STOP_BOT,), (notice,)
    is_due = observation.market.is_past_due and observation.market.is_session
    is_urgent = is_due or must_not_trade(observation, rules)
    if not is_ready or (observation.in_window and not is_urgent):
        return memory, (), ()
    if switch is not Switch.NONE:
        return _switch(memory, observation, switch)
    incident = memory.log.find(IncidentKind.BOT_UNCONNECTED)
    restarts_s = _of_last_day(memory.bot_restarts_s, at_s)
    memory = replace(memory, bot_restarts_s=restarts_s)
    if (
        incident is None
        or not incident.is_told
        or incident.acted_s is not None
        or not is_unconnected(bot, rules)
        or _is_spent(restarts_s, at_s)
    ):
        return memory, (), ()
    log = memory.log.put(replace(incident, acted_s=at_s))
    return replace(memory, log=log, bot_restarts_s=(*restarts_s, at_s)), (Action.RESTART_BOT,), ()


def _switch(
    memory: Memory, observation: Observation, switch: Switch
) -> tuple[Memory, tuple[Action, ...], tuple[Notice, ...]]:
    key = build_switch_key(switch, observation)
    memory = replace(memory, day=replace(memory.day, switched=key))
    plan, today = observation.plan, observation.market.today
    if switch is Switch.STRATEGY_C:
        if observation.market.is_session and observation.market.is_past_due:  # said as the plan that is missing
            return memory, (Action.RESTART_BOT_ON_STRATEGY_C,), ()
        words = NoticeText(
            title="Trading plan has expired",
            message=f"The plan of {plan.date} has expired, and there is none for {today} yet. The bot runs on Strategy "
            "C, which trades nothing, until a valid plan for the day is there.",
            next_action="Nothing to do if the next plan is still to come.",
        )
        log, notice = tell_event(memory.log, IncidentKind.BOT_SWITCHED, Severity.INFO, words)
        return replace(memory, log=log), (Action.RESTART_BOT_ON_STRATEGY_C,), (notice,)
    had = "Strategy C because it had no plan" if plan.is_emergency else f"the plan of {plan.date}"
    there = plan.candidate
    words = NoticeText(
        title="Bot switched to the day's plan",
        message=f"A valid plan for {there.date or today} is there (strategy {there.strategy}). The bot had {had}, and "
        f"is {'restarted' if observation.bot.is_running else 'started'} on it.",
    )
    log, notice = tell_event(memory.log, IncidentKind.BOT_SWITCHED, Severity.INFO, words)
    return replace(memory, log=log), (Action.RESTART_BOT_ON_NEW_PLAN,), (notice,)


def note_worse(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[Memory, tuple[Notice, ...]]:
    """Say once that what was done did not help, or that nothing is done any more."""
    notices: list[Notice] = []
    for incident, reason in _find_worse(memory, observation, sight, rules):
        log = memory.log.put(replace(incident, is_worse=True))
        words = NoticeText(
            title=f"{incident.title}: manual action required",
            message=reason,
            next_action="Read the logs (`inv logs --of gateway`, `inv logs --of bot`), then `inv bot.restart`.",
        )
        notices.append(build_notice(log, incident.kind, Stage.WORSE, Severity.CRITICAL, words))
        memory = replace(memory, log=log)
    return memory, tuple(notices)


def _find_worse(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[tuple[Incident, str], ...]:
    at_s = observation.at_s
    found: list[tuple[Incident, str]] = []
    incident = find_restartable(memory, observation, sight, rules)
    if incident is not None and rules.may_restart_gateway and not incident.is_worse:
        if incident.acted_s is not None:
            if at_s - incident.acted_s >= rules.restart_after_s:
                found.append((incident, "It was restarted once, and is still not usable. It is still watched."))
        elif measure_patience(memory, observation, sight, rules, incident) <= 0:
            found.append((incident, "It was restarted a short while ago already, and is not restarted again now."))
    bot = memory.log.find(IncidentKind.BOT_UNCONNECTED)
    is_still_so = sight is Sight.READY and observation.bot.is_running and is_unconnected(observation.bot, rules)
    if bot is not None and bot.is_told and not bot.is_worse and is_still_so and rules.owns_bot:
        if bot.acted_s is not None:
            # The restart itself takes a while, and the bot then has the same time again.
            if at_s - bot.acted_s >= 2 * rules.restart_after_s:
                found.append((bot, "The bot was restarted once, and still holds no connection. It is still watched."))
        elif _is_spent(memory.bot_restarts_s, at_s):
            found.append((bot, "The bot was restarted for that a short while ago, and is not restarted again now."))
    return tuple(found)
