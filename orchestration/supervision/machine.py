"""The machine that decides what a supervisor says and does. Pure: no I/O, no clock, no sleep.

One look at everything goes in with what is remembered; what is to be said, what is to be done, a line for the status
and the time until the next look come out. What is wrong is found by the table in `checks`; when
it is said by `incidents`; what is done about it by `actions`. docs/explanation/supervision.md has the table.
"""

from dataclasses import replace

from orchestration.alerts.alert import Severity
from orchestration.gateway import readiness
from orchestration.gateway.container import Health
from orchestration.gateway.readiness import DEAD_GRACE_S, GONE_GRACE_S, Sight
from orchestration.supervision import weekly_login
from orchestration.supervision.actions import (
    choose,
    choose_guard_restart,
    find_others_restart,
    find_restartable,
    measure_patience,
    note_worse,
)
from orchestration.supervision.checks import READ_THE_BOT_LOG, judge_all
from orchestration.supervision.decision import Action, Decision, Memory
from orchestration.supervision.incident_check import Situation
from orchestration.supervision.incidents import Incident, IncidentKind, Notice, NoticeText, tell_event, track
from orchestration.supervision.observation import Observation
from orchestration.supervision.plan_rollover import note_finished, note_plan, note_running
from orchestration.supervision.rules import (
    CLOCK_JUMP_S,
    FAST_LOOK_S,
    LEAST_LOOK_S,
    SETTLE_S,
    Rules,
)

_EXPLAIN_A_START = (
    IncidentKind.GATEWAY_LOST,
    IncidentKind.SECOND_FACTOR,
    IncidentKind.SESSION_TAKEN,
    IncidentKind.LOGIN_REJECTED,
)


def decide(memory: Memory, observation: Observation, rules: Rules) -> tuple[Memory, Decision]:
    """What to say and to do about a look, and what to remember of it."""
    memory = _follow_bot(memory, observation)
    observation = _complete_bot(memory, observation)
    memory = _note_own_restart(memory, observation, rules)
    memory, notices = _note_clock(memory, observation)
    memory, sight, was_started = _see_gateway(memory, observation, rules)
    memory, finished = _note_bot(memory, observation, rules)
    notices += finished
    memory = replace(memory, day=note_plan(memory.day, observation))

    weekly, log, said_of_week = weekly_login.tell(memory.weekly, memory.log, observation, rules)
    memory, notices = replace(memory, weekly=weekly, log=log), (*notices, *said_of_week)
    situation = Situation(memory=memory, observation=observation, sight=sight, rules=rules, was_started=was_started)
    log, told = track(memory.log, judge_all(situation), observation.at_s)
    memory, notices = replace(memory, log=log), (*notices, *told)
    is_explained = (
        observation.in_restart_window
        or memory.log.is_told(*_EXPLAIN_A_START)
        or find_others_restart(observation, rules) is not None  # said when it was found
    )
    if was_started and situation.is_connected and not is_explained:
        memory, said = _tell_started(memory)
        notices = (*notices, said)

    memory, actions, said_of_actions = choose(memory, observation, sight, rules, told)
    memory, guard = choose_guard_restart(memory, observation, rules, actions)
    actions = (*actions, *guard)
    on_restart: Notice | None = None
    if Action.RESTART_GATEWAY in actions or Action.LOG_IN_GATEWAY in actions:
        (on_restart,), said_of_actions = said_of_actions, ()
    if finished:
        actions = (Action.END_FINISHED_WAIT, *actions)
    memory, worse = note_worse(memory, observation, sight, rules)
    return memory, Decision(
        notices=(*notices, *said_of_actions, *worse),
        actions=actions,
        on_restart=on_restart,
        status_text=_build_status(memory, observation, sight),
        next_look_s=_choose_next_look(memory, observation, sight, rules),
        is_well=not any(one.is_told and one.severity.rank >= Severity.ERROR.rank for one in memory.log.incidents),
        sight=sight,
    )


def _follow_bot(memory: Memory, observation: Observation) -> Memory:
    """What is remembered of one bot says nothing of the next one, which may have ended before the first look at it."""
    bot = observation.bot
    if not bot.key or not memory.bot_key or bot.key == memory.bot_key:
        return memory
    return replace(memory, bot_key=bot.key, is_bot_ended=False, is_bot_stopped=False, day=note_running(memory.day))


def _complete_bot(memory: Memory, observation: Observation) -> Observation:
    """A bot that we stopped, or that has finished, is gone as it should be, whatever is still known of its end."""
    bot = observation.bot
    if bot.is_running or not (memory.is_bot_stopped or memory.day.finished_day is not None):
        return observation
    return replace(
        observation,
        bot=replace(bot, is_stopping=bot.is_stopping or memory.is_bot_stopped, exit_code=0),
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
    seen = readiness.note_restarted(memory.readiness_state, observation.at_s, rules.readiness_policy)
    return replace(
        memory,
        log=replace(memory.log, incidents=acted),
        readiness_state=replace(seen, deadline_s=float("inf")),
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
    words = NoticeText(
        title="Clock jumped",
        message=f"The clock has moved by {observation.wall_jump_s:+.0f} s at once, as it does after a machine's sleep "
        "or when it is set. Gateway, bot and the plan's date are judged again.",
        next_action="Check the machine's power settings if it should not sleep.",
    )
    log, notice = tell_event(memory.log, IncidentKind.CLOCK_JUMP, Severity.WARNING, words)
    return replace(memory, log=log, jumped_s=observation.at_s), (notice,)


def _see_gateway(memory: Memory, observation: Observation, rules: Rules) -> tuple[Memory, Sight, bool]:
    before = memory.readiness_state
    readiness_state, _, sight, _ = readiness.take(
        before, observation.probe_result, observation.at_s, rules.readiness_policy
    )
    return (
        replace(memory, readiness_state=readiness_state),
        sight,
        readiness_state.other_restarts > before.other_restarts,
    )


def _tell_started(memory: Memory) -> tuple[Memory, Notice]:
    words = NoticeText(
        title="Gateway was restarted by something else",
        message="The gateway's container was ended and started again, not by this supervisor, and is ready.",
        next_action="If it was not restarted by hand, read the gateway's log: `inv logs --of gateway`.",
    )
    log, notice = tell_event(memory.log, IncidentKind.GATEWAY_RESTARTED, Severity.WARNING, words)
    return replace(memory, log=log), notice


def _note_bot(memory: Memory, observation: Observation, rules: Rules) -> tuple[Memory, tuple[Notice, ...]]:
    """Follow the bot from one process to the next, and say once that it has finished."""
    bot = observation.bot
    if bot.is_withheld:
        # As one that is done with its plan: the next trading plan starts it.
        if memory.day.finished_day is not None and memory.day.finished_plan == observation.plan.date:
            return memory, ()
        return replace(memory, is_bot_ended=True, day=note_finished(memory.day, observation)), ()
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
    # Before the close, a bot that ended without ever having talked to the gateway has hardly done its work.
    is_odd = bot.never_connected and observation.market.is_before_close
    never = " It never held a connection to the gateway, and the market has not closed yet." if is_odd else ""
    done = f"The bot ended by itself with 0: it is done with the plan of {observation.plan.date}."
    words = NoticeText(
        title="Bot has finished",
        message=f"{done}{never} {then}".strip(),
        next_action=f"{READ_THE_BOT_LOG} `inv bot.restart` starts it again." if is_odd else "",
    )
    severity = Severity.WARNING if is_odd else Severity.INFO
    log, notice = tell_event(memory.log, IncidentKind.BOT_FINISHED, severity, words)
    return replace(memory, log=log), (notice,)


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
        text = f"bot runs on {kind}" + (" and says that it is stopping" if bot.says_stopping else "")
    elif bot.is_withheld:
        text = "no bot runs on Strategy C (STRATEGY_C_BOT=none)"
    elif memory.day.finished_day is not None:
        text = f"bot has finished for {memory.day.finished_plan}, waiting for the next plan"
    else:
        text = "bot does not run"
    is_unasked = sight is Sight.STARTING and not observation.api.is_tried and not _is_health_starting(observation)
    parts = [text, "gateway not asked yet" if is_unasked else _PLAIN_SIGHT.get(sight, "gateway not ready")]
    titles = [one.title.lower() for one in memory.log.incidents if one.is_told]
    return "; ".join([*parts, *(title for title in titles if title not in parts)])


def _is_health_starting(observation: Observation) -> bool:
    return observation.gateway is not None and observation.gateway.health is Health.STARTING


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
    if memory.readiness_state.gone_since_s is not None:
        graces_s = (GONE_GRACE_S, DEAD_GRACE_S)
        waits_s += [memory.readiness_state.gone_since_s + grace_s - at_s for grace_s in graces_s]
    restartable = find_restartable(memory, observation, sight, rules)
    if restartable is not None:
        waits_s.append(measure_patience(memory, observation, sight, rules, restartable))
    if observation.plan.candidate.word is not None and at_s - memory.day.key_since_s < SETTLE_S:
        waits_s.append(SETTLE_S)
    if memory.awaits_restart:
        waits_s.append(LEAST_LOOK_S)
    return max(LEAST_LOOK_S, min(wait_s for wait_s in waits_s if wait_s > 0))
