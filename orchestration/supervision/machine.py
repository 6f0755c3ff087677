"""The machine that decides what a supervisor says and does. Pure: no I/O, no clock, no sleep.

One look at everything goes in with what is remembered; what is to be said, what is to be done, a line for the status
and the time until the next look come out. What is wrong is found by `gateway_findings`, `bot_findings` and `day`; when
it is said by `incidents`; what is done about it here. The rules, in order:

* What only a person can mend ends everything, once: a refused password (the container is stopped, for a login loop can
  lock the account) and a wrong account (the bot must not be left running on it).
* A bot that has ended by itself, or keeps no watchdog, ends the supervisor as a failure; one that ended with 0 is done
  for its day, and waits for the next one.
* A gateway that is lost is restarted once in an incident; never while a second factor is waited for, never for a
  session that was taken over, and in the broker's reset windows only if the container is dead.
* A bot is touched only while the gateway is ready, one thing at a time: first the day's plan, then its connection.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from orchestration.alerts.alert import Severity
from orchestration.gateway import readiness
from orchestration.gateway.readiness import Sight
from orchestration.supervision import gateway_findings as gateway
from orchestration.supervision.bot_findings import has_ended_unplanned, judge_bot, judge_disk
from orchestration.supervision.day import (
    NO_DAY,
    DayMemory,
    Switch,
    build_switch_key,
    choose_switch,
    judge_plan,
    must_not_trade,
    note_candidate,
    note_finished,
    note_running,
)
from orchestration.supervision.incidents import (
    NOTHING_OPEN,
    Incident,
    IncidentKind,
    Log,
    Notice,
    Stage,
    Words,
    build_notice,
    tell_event,
    track,
)
from orchestration.supervision.observation import Observation
from orchestration.supervision.rules import (
    CLOCK_JUMP_S,
    DAY_S,
    FAST_LOOK_S,
    GONE_GRACE_S,
    GONE_IN_WINDOW_GRACE_S,
    LEAST_LOOK_S,
    LINK_RESTART_AFTER_S,
    RESTART_SPACING_S,
    RESTARTS_A_DAY,
    SETTLE_S,
    Rules,
)


class Action(StrEnum):
    """What is to be done."""

    RESTART_GATEWAY = "restart_gateway"
    STOP_GATEWAY = "stop_gateway"
    RESTART_BOT = "restart_bot"
    """Stop the bot in order and run the whole validated sequence for it again."""
    RESTART_BOT_ON_NEW_PLAN = "restart_bot_on_new_plan"
    """The same, or the start of a bot that has finished; the day's plan is there."""
    RESTART_BOT_ON_STRATEGY_C = "restart_bot_on_strategy_c"
    """The same; there is no plan for the day."""
    STOP_BOT = "stop_bot"
    """Stop the bot in order and watch on: it is started again later."""
    END_FINISHED_WAIT = "end_finished_wait"
    """The bot has finished with 0: stay, and wait for the next day's plan."""
    END_FAILED = "end_failed"
    """End with 1: the host's service manager runs the whole sequence again."""
    END_78 = "end_78"
    """Stop the bot in order and end with 78: only a person can help."""


BOT_ACTIONS = frozenset({Action.RESTART_BOT, Action.RESTART_BOT_ON_NEW_PLAN, Action.RESTART_BOT_ON_STRATEGY_C})


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered from look to look. It does not grow.

    Attributes:
        log: The incidents that are open.
        eyes: What is remembered of the gateway's container and login.
        day: What is remembered of plans.
        bot_key: The bot of the last look.
        is_bot_ended: Whether it was said of this bot that it has ended.
        is_bot_stopped: Whether we have stopped it until it may run again.
        window_s: When a window of time was seen last in which a lost gateway is expected; None if never.
        jumped_s: When the clock jumped last; None if it never did.
        gateway_restarts_s: When we restarted the gateway in the last day.
        bot_restarts_s: When we restarted the bot for want of a connection in the last day.
        awaits_restart: Whether a restart of the gateway was decided at the last look.
        grace_until_s: Until when our own restart explains that the gateway is not ready.
    """

    log: Log = NOTHING_OPEN
    eyes: readiness.Memory = gateway.BEGIN
    day: DayMemory = NO_DAY
    bot_key: str = ""
    is_bot_ended: bool = False
    is_bot_stopped: bool = False
    window_s: float | None = None
    jumped_s: float | None = None
    gateway_restarts_s: tuple[float, ...] = ()
    bot_restarts_s: tuple[float, ...] = ()
    awaits_restart: bool = False
    grace_until_s: float = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be said and done now.

    Attributes:
        notices: What is to be told to the operator, in order.
        actions: What is to be done, in order, after it was told.
        status_text: One line for the service's status.
        next_look_s: After how many seconds to look again, if no event comes before.
        is_well: Whether nothing is wrong that a person should know of: then the heartbeat may be sent.
        sight: What the look amounts to for the gateway.
    """

    notices: tuple[Notice, ...] = ()
    actions: tuple[Action, ...] = ()
    status_text: str = ""
    next_look_s: float
    is_well: bool = True
    sight: Sight


def decide(memory: Memory, observation: Observation, rules: Rules) -> tuple[Memory, Decision]:
    """What to say and to do about a look, and what to remember of it."""
    observation = _complete_bot(memory, observation)
    memory = _note_own_restart(memory, observation, rules)
    memory, notices = _note_clock(memory, observation)
    memory, sight, was_started = _see_gateway(memory, observation, rules)
    memory, finished = _note_bot(memory, observation, rules)
    notices += finished
    memory = replace(memory, day=note_candidate(memory.day, observation))

    findings = (
        *gateway.judge_gateway(
            memory.eyes, observation, sight, rules, was_started=was_started, grace_until_s=memory.grace_until_s
        ),
        *judge_bot(observation, sight, rules, jumped_s=memory.jumped_s),
        *judge_plan(memory.day, observation, rules),
        judge_disk(observation),
    )
    log, told = track(memory.log, findings, observation.at_s)
    memory, notices = replace(memory, log=log), (*notices, *told)
    if was_started and sight in gateway.CONNECTED and not observation.in_restart_window:
        memory, said = _tell_started(memory)
        notices = (*notices, said)

    memory, actions, said_of_actions = _choose(memory, observation, sight, rules, told)
    if finished:
        actions = (Action.END_FINISHED_WAIT, *actions)
    memory, worse = _note_worse(memory, observation, sight, rules)
    return memory, Decision(
        notices=(*notices, *said_of_actions, *worse),
        actions=actions,
        status_text=_build_status(memory, observation, sight),
        next_look_s=_choose_next_look(memory, observation, sight, rules),
        is_well=not any(one.is_told and one.severity.rank >= Severity.ERROR.rank for one in memory.log.incidents),
        sight=sight,
    )


def _complete_bot(memory: Memory, observation: Observation) -> Observation:
    """A bot that we stopped, or that has finished, is gone as it should be, whatever is still known of its end."""
    bot = observation.bot
    if bot.is_running or not (memory.is_bot_stopped or memory.day.finished_day is not None):
        return observation
    return replace(
        observation,
        bot=replace(bot, is_stopping=bot.is_stopping or memory.is_bot_stopped, exit_code=0, signal_name=""),
    )


def _note_own_restart(memory: Memory, observation: Observation, rules: Rules) -> Memory:
    """The first look after our restart of the gateway: it is done, and its time to become ready begins."""
    if not memory.awaits_restart:
        return memory
    memory = replace(memory, awaits_restart=False)
    if not observation.engine_reachable:
        # It cannot have come about: it does not count.
        incidents = tuple(replace(one, acted_s=None) if _is_about_gateway(one) else one for one in memory.log.incidents)
        log = replace(memory.log, incidents=incidents)
        return replace(memory, log=log, gateway_restarts_s=memory.gateway_restarts_s[:-1])
    acted = tuple(
        replace(one, acted_s=observation.at_s) if _is_about_gateway(one) and one.acted_s is not None else one
        for one in memory.log.incidents
    )
    return replace(
        memory,
        log=replace(memory.log, incidents=acted),
        eyes=gateway.note_own_restart(memory.eyes, observation, rules),
        gateway_restarts_s=(*memory.gateway_restarts_s[:-1], observation.at_s),
        grace_until_s=observation.at_s + rules.restart_after_s,
    )


def _is_about_gateway(incident: Incident) -> bool:
    return incident.kind in {IncidentKind.GATEWAY_LOST, IncidentKind.LINK_DOWN}


def _note_clock(memory: Memory, observation: Observation) -> tuple[Memory, tuple[Notice, ...]]:
    if observation.in_window:
        memory = replace(memory, window_s=observation.at_s)
    if abs(observation.wall_jump_s) < CLOCK_JUMP_S:
        return memory, ()
    words = Words(
        title="Clock jumped",
        message=f"The clock has moved by {observation.wall_jump_s:+.0f} s at once, as it does after a machine's sleep "
        "or when it is set. Gateway, bot and the plan's date are judged anew.",
        next_action="Check the machine's power settings if it should not sleep.",
    )
    log, notice = tell_event(memory.log, IncidentKind.CLOCK_JUMP, Severity.WARNING, words)
    return replace(memory, log=log, jumped_s=observation.at_s), (notice,)


def _see_gateway(memory: Memory, observation: Observation, rules: Rules) -> tuple[Memory, Sight, bool]:
    before = memory.eyes
    eyes, sight = gateway.see(before, observation, rules)
    return replace(memory, eyes=eyes), sight, eyes.other_restarts > before.other_restarts


def _tell_started(memory: Memory) -> tuple[Memory, Notice]:
    words = Words(
        title="Gateway was started anew",
        message="The gateway's container was ended and started again, not by this supervisor, and is ready.",
        next_action="Read the gateway's log if nobody did that by hand: `inv logs --of gateway`.",
    )
    log, notice = tell_event(memory.log, IncidentKind.GATEWAY_RESTARTED, Severity.WARNING, words)
    return replace(memory, log=log), notice


def _note_bot(memory: Memory, observation: Observation, rules: Rules) -> tuple[Memory, tuple[Notice, ...]]:
    """Follow the bot from one process to the next, and say once that it has finished."""
    bot = observation.bot
    if bot.is_running:
        if bot.key == memory.bot_key and not memory.is_bot_ended:
            return memory, ()
        return replace(
            memory, bot_key=bot.key, is_bot_ended=False, is_bot_stopped=False, day=note_running(memory.day)
        ), ()
    if bot.is_stopping or memory.is_bot_ended or not bot.is_finished:
        return memory, ()
    memory = replace(memory, bot_key=bot.key, is_bot_ended=True, day=note_finished(memory.day, observation))
    then = "It is started again on the next day's plan." if rules.owns_bot else ""
    words = Words(
        title="Bot has finished",
        message=f"The bot ended by itself with 0: it is done with the plan of {observation.plan.date}. {then}".strip(),
    )
    log, notice = tell_event(memory.log, IncidentKind.BOT_FINISHED, Severity.INFO, words)
    return replace(memory, log=log), (notice,)


def _choose(
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
    return _choose_bot(memory, observation, sight, rules)


_RESTART_NEVER_MENDS = (IncidentKind.SESSION_TAKEN, IncidentKind.LOGIN_REJECTED, IncidentKind.WRONG_ACCOUNT)


def _choose_gateway(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[Memory, tuple[Action, ...], tuple[Notice, ...]]:
    at_s = observation.at_s
    memory = replace(memory, gateway_restarts_s=_of_last_day(memory.gateway_restarts_s, at_s))
    incident = find_restartable(memory, observation, sight)
    if incident is None or not rules.may_restart_gateway or incident.acted_s is not None:
        return memory, (), ()
    if not is_restart_due(memory, observation, sight, rules, incident) or _is_spent(memory.gateway_restarts_s, at_s):
        return memory, (), ()
    log = memory.log.put(replace(incident, acted_s=at_s))
    words = Words(
        title="Gateway restart attempted",
        message=f"{incident.title}: the gateway is restarted, once.",
        next_action="Have the phone at hand: a new login may ask for the second factor.",
    )
    notice = build_notice(log, incident.kind, Stage.ACTED, Severity.WARNING, words)
    memory = replace(memory, log=log, awaits_restart=True, gateway_restarts_s=(*memory.gateway_restarts_s, at_s))
    return memory, (Action.RESTART_GATEWAY,), (notice,)


def find_restartable(memory: Memory, observation: Observation, sight: Sight) -> Incident | None:
    """The incident that a restart of the gateway may end; None where there is none, or it must not be restarted now."""
    if memory.log.is_told(*_RESTART_NEVER_MENDS) or sight is Sight.CLIENT_IDS_IN_USE:
        return None
    kind = IncidentKind.LINK_DOWN if sight is Sight.LINK_DOWN else IncidentKind.GATEWAY_LOST
    if sight not in gateway.LOST and sight is not Sight.LINK_DOWN:
        return None
    if sight is Sight.GONE:
        is_allowed = not observation.in_restart_window or gateway.is_gone_for(
            memory.eyes, observation.at_s, GONE_IN_WINDOW_GRACE_S
        )
    else:
        is_allowed = not observation.in_window
    incident = memory.log.find(kind)
    return incident if is_allowed and incident is not None and incident.is_told else None


def is_restart_due(memory: Memory, observation: Observation, sight: Sight, rules: Rules, incident: Incident) -> bool:
    """Whether the gateway has had its time to come back by itself. Time in a window does not count."""
    at_s = observation.at_s
    if sight is Sight.GONE:
        return gateway.is_gone_for(memory.eyes, at_s, GONE_GRACE_S)
    if sight in {Sight.PAUSED, Sight.UNHEALTHY}:
        return True
    since_s = incident.since_s if memory.window_s is None else max(incident.since_s, memory.window_s)
    return at_s - since_s >= (LINK_RESTART_AFTER_S if sight is Sight.LINK_DOWN else rules.restart_after_s)


def _of_last_day(times_s: tuple[float, ...], at_s: float) -> tuple[float, ...]:
    return tuple(one for one in times_s if at_s - one < DAY_S)


def _is_spent(times_s: tuple[float, ...], at_s: float) -> bool:
    """Whether there was a restart a short while ago, or there were too many today."""
    return bool(times_s) and (at_s - times_s[-1] < RESTART_SPACING_S or len(times_s) >= RESTARTS_A_DAY)


def _choose_bot(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[Memory, tuple[Action, ...], tuple[Notice, ...]]:
    at_s, bot = observation.at_s, observation.bot
    switch = choose_switch(memory.day, observation, rules)
    is_ready = sight is Sight.READY and observation.engine_reachable
    if must_not_trade(memory.day, observation, rules) and bot.is_running and not is_ready:
        if memory.is_bot_stopped:
            return memory, (), ()
        # The gateway may come back at any moment, and the bot would trade on another day's plan.
        words = Words(
            title="Bot stopped: its plan is another day's",
            message=f"The bot's plan is of {observation.plan.date}, and it cannot be started anew before the gateway "
            "is ready. It is stopped until then.",
        )
        log, notice = tell_event(memory.log, IncidentKind.BOT_SWITCHED, Severity.WARNING, words)
        return replace(memory, log=log, is_bot_stopped=True), (Action.STOP_BOT,), (notice,)
    is_urgent = observation.market.is_past_due and observation.market.is_weekday
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
        or not bot.is_running
        or bot.has_gateway_connection is not False
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
    if switch is Switch.STRATEGY_C:  # said as the plan that is missing
        return memory, (Action.RESTART_BOT_ON_STRATEGY_C,), ()
    plan, today = observation.plan, observation.market.today
    had = "Strategy C for want of a plan" if plan.is_emergency else f"the plan of {plan.date}"
    words = Words(
        title="Bot goes on the day's plan",
        message=f"A valid plan for {today} is there (strategy {observation.plan.candidate.strategy}). The bot had "
        f"{had}, and is {'restarted' if observation.bot.is_running else 'started'} on it.",
    )
    log, notice = tell_event(memory.log, IncidentKind.BOT_SWITCHED, Severity.INFO, words)
    return replace(memory, log=log), (Action.RESTART_BOT_ON_NEW_PLAN,), (notice,)


def _note_worse(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[Memory, tuple[Notice, ...]]:
    """Say once that what was done did not help, or that nothing is done any more."""
    notices: list[Notice] = []
    for incident, reason in _find_worse(memory, observation, sight, rules):
        log = memory.log.put(replace(incident, is_worse=True))
        words = Words(
            title=f"{incident.title}: a person is needed",
            message=reason,
            next_action="Read the logs (`inv logs --of gateway`, `inv logs --of bot`), then `inv startup --replace`.",
        )
        notices.append(build_notice(log, incident.kind, Stage.WORSE, Severity.CRITICAL, words))
        memory = replace(memory, log=log)
    return memory, tuple(notices)


def _find_worse(
    memory: Memory, observation: Observation, sight: Sight, rules: Rules
) -> tuple[tuple[Incident, str], ...]:
    at_s = observation.at_s
    found: list[tuple[Incident, str]] = []
    incident = find_restartable(memory, observation, sight)
    if incident is not None and rules.may_restart_gateway and not incident.is_worse and not memory.awaits_restart:
        if incident.acted_s is not None:
            if at_s - incident.acted_s >= rules.restart_after_s:
                found.append((incident, "It was restarted once, and is still not usable. It is watched on."))
        elif is_restart_due(memory, observation, sight, rules, incident) and len(memory.gateway_restarts_s) > 0:
            found.append((incident, "It was restarted a short while ago already, and is not restarted again now."))
    bot = memory.log.find(IncidentKind.BOT_UNCONNECTED)
    is_still_so = (
        sight is Sight.READY and observation.bot.is_running and observation.bot.has_gateway_connection is False
    )
    if bot is not None and bot.is_told and not bot.is_worse and is_still_so and rules.owns_bot:
        if bot.acted_s is not None:
            # The restart itself takes a while, and the bot then has the same time again.
            if at_s - bot.acted_s >= 2 * rules.restart_after_s:
                found.append((bot, "The bot was restarted once, and still holds no connection. It is watched on."))
        elif _is_spent(memory.bot_restarts_s, at_s):
            found.append((bot, "The bot was restarted for that a short while ago, and is not restarted again now."))
    return tuple(found)


_PLAIN_SIGHT = {
    Sight.READY: "gateway ready",
    Sight.LINK_DOWN: "gateway without link to the broker",
    Sight.SECOND_FACTOR: "waiting for the second factor",
    Sight.ENGINE_GONE: "Docker does not answer",
    Sight.SESSION_TAKEN: "session taken over elsewhere",
    Sight.REJECTED: "broker refuses user or password",
}


def _build_status(memory: Memory, observation: Observation, sight: Sight) -> str:
    plan, bot = observation.plan, observation.bot
    if bot.is_running:
        kind = "Strategy C (emergency)" if plan.is_emergency else f"strategy {plan.strategy} of {plan.date}"
        text = f"bot runs on {kind}"
    elif memory.day.finished_day is not None:
        text = f"bot has finished for {memory.day.finished_plan}, waiting for the next plan"
    else:
        text = "bot does not run"
    parts = [text, _PLAIN_SIGHT.get(sight, "gateway not ready")]
    titles = [one.title.lower() for one in memory.log.incidents if one.is_told]
    return "; ".join([*parts, *(title for title in titles if title not in parts)])


def _choose_next_look(memory: Memory, observation: Observation, sight: Sight, rules: Rules) -> float:
    """Until the next thing can become due, at most the interval."""
    at_s = observation.at_s
    waits_s = [rules.interval_s]
    for incident in memory.log.incidents:
        if not incident.is_told:
            waits_s.append(max(incident.due_s - at_s, 0.0) if incident.due_s > at_s else FAST_LOOK_S)
        elif incident.fine_since_s is not None:
            waits_s.append(FAST_LOOK_S)
    if sight is not Sight.READY:
        waits_s.append(FAST_LOOK_S)
    if memory.eyes.gone_since_s is not None:
        waits_s += [GONE_GRACE_S - (at_s - memory.eyes.gone_since_s)] if _is_in_gone_grace(memory, at_s) else []
    if observation.plan.candidate.word is not None and at_s - memory.day.key_since_s < SETTLE_S:
        waits_s.append(SETTLE_S)
    if memory.awaits_restart:
        waits_s.append(LEAST_LOOK_S)
    return max(LEAST_LOOK_S, min(waits_s))


def _is_in_gone_grace(memory: Memory, at_s: float) -> bool:
    return memory.eyes.gone_since_s is not None and at_s - memory.eyes.gone_since_s < GONE_GRACE_S
