"""A new day: on which plan the bot is to run now. Pure.

A bot must never trade one day on another day's plan. When a valid plan for the current date is there and the bot's is
out of date, or the emergency one, the bot is restarted onto it. A trading plan that has expired gives way to Strategy C
at midnight. That no plan has come is alerted at `GAMEPLAN_DUE` on days on which the market is open. A plan that is in
force for its day is never changed under a running bot: a change of the file is only told.

A file that is not valid may be half written. It counts only once it has stayed the same for some seconds.
"""

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from orchestration.errors import FallbackWord
from orchestration.supervision.observation import Observation
from orchestration.supervision.rules import SETTLE_MOST_S, SETTLE_S, Rules

_NO_TRADING = "C"


class Switch(StrEnum):
    """What the bot is to be put on."""

    NONE = "none"
    NEW_PLAN = "new_plan"
    STRATEGY_C = "strategy_c"


@dataclass(frozen=True, kw_only=True)
class DayMemory:
    """What is remembered of plans.

    Attributes:
        key: Which content the file had at the last look; empty before the first.
        key_since_s: Since when.
        unsettled_since_s: Since when one content that is not valid has followed another.
        known_bad: The content that the start-up itself has refused and told.
        switched: What the bot was last put on by us: a plan's hash, or Strategy C and the day.
        finished_plan: The date of the plan that the bot has finished with 0; None while it has not.
        finished_day: The market's date at which it did.
        finished_emergency: Whether that plan was the emergency one.
        awaited_on: The session day on which a bot on the emergency plan was seen before a plan was due.
    """

    key: str = ""
    key_since_s: float = 0.0
    unsettled_since_s: float = 0.0
    known_bad: str = ""
    switched: str = ""
    finished_plan: date | None = None
    finished_day: date | None = None
    finished_emergency: bool = False
    awaited_on: date | None = None


NO_DAY = DayMemory()


def note_plan(memory: DayMemory, observation: Observation) -> DayMemory:
    """Remember which content the file has, and since when; and whether the bot waits for a plan that is not due yet."""
    market = observation.market
    if observation.plan.is_emergency and market.is_session and not market.is_past_due:
        memory = replace(memory, awaited_on=market.today)
    return _note_candidate(memory, observation)


def _note_candidate(memory: DayMemory, observation: Observation) -> DayMemory:
    plan, at_s = observation.plan, observation.at_s
    key = plan.candidate.key
    if key == memory.key:
        return memory
    was_settled = not memory.key or is_valid_key(memory.key) or at_s - memory.key_since_s >= SETTLE_S
    is_first = not memory.key
    # The clock may have been found wrong only by the start that was to put the bot on this plan.
    was_in_doubt = memory.key.startswith(f"{FallbackWord.CLOCK_SKEW}:")
    is_open_again = was_in_doubt and memory.switched.startswith(f"{Switch.NEW_PLAN}:")
    return replace(
        memory,
        key=key,
        key_since_s=at_s,
        switched="" if is_open_again else memory.switched,
        unsettled_since_s=at_s if was_settled else memory.unsettled_since_s,
        known_bad=key if is_first and plan.is_emergency else "",
    )


def is_valid_key(key: str) -> bool:
    """Whether this content was valid when it was looked at."""
    return key.startswith("valid:")


def is_settled(memory: DayMemory, observation: Observation) -> bool:
    """Whether the content counts: it is valid, or has stayed the same for long enough."""
    at_s = observation.at_s
    return (
        observation.plan.candidate.word is None
        or at_s - memory.key_since_s >= SETTLE_S
        or at_s - memory.unsettled_since_s >= SETTLE_MOST_S
    )


def is_out_of_date(observation: Observation, rules: Rules) -> bool:
    """Whether the bot's plan is of an earlier day."""
    plan = observation.plan
    return rules.judges_dates and plan.date is not None and plan.date < observation.market.today


def has_plan_for_today(observation: Observation, rules: Rules) -> bool:
    """Whether the file holds a valid plan for the current date (a plan that is early waits for its day)."""
    candidate = observation.plan.candidate
    is_of_today = candidate.date == observation.market.today or not rules.judges_dates
    return candidate.word is None and is_of_today


def note_finished(memory: DayMemory, observation: Observation) -> DayMemory:
    """The bot has ended with 0: it is done with its plan."""
    plan, today = observation.plan, observation.market.today
    return replace(
        memory,
        finished_plan=plan.date or today,
        finished_day=today,
        finished_emergency=plan.is_emergency,
    )


def note_running(memory: DayMemory) -> DayMemory:
    """A bot runs."""
    return replace(memory, finished_plan=None, finished_day=None, finished_emergency=False)


def choose_switch(memory: DayMemory, observation: Observation, rules: Rules) -> Switch:
    """What the bot, running or finished, is to be put on now."""
    plan, market = observation.plan, observation.market
    if has_plan_for_today(observation, rules):
        wants = (
            _is_open_for(memory, observation, rules)
            if memory.finished_day is not None
            else plan.is_emergency or is_out_of_date(observation, rules)
        )
        return _unless_done(memory, Switch.NEW_PLAN, observation) if wants else Switch.NONE
    if memory.finished_day is not None:
        if not is_due(observation, rules) or not is_settled(memory, observation):
            return Switch.NONE
        is_done = memory.finished_plan is not None and memory.finished_plan >= market.today
        return Switch.NONE if is_done else _unless_done(memory, Switch.STRATEGY_C, observation)
    if must_not_trade(observation, rules):
        return _unless_done(memory, Switch.STRATEGY_C, observation)
    return Switch.NONE


def is_due(observation: Observation, rules: Rules) -> bool:
    """Whether a plan for today should be there by now."""
    market = observation.market
    return rules.judges_dates and market.is_session and market.is_past_due


def _is_open_for(memory: DayMemory, observation: Observation, rules: Rules) -> bool:
    """Whether a finished bot has something to do on today's plan."""
    today = observation.market.today
    if observation.bot.is_withheld and memory.finished_emergency:
        return True
    if not rules.judges_dates:
        return memory.finished_day is not None and memory.finished_day < today
    if memory.finished_emergency:
        return True
    return memory.finished_plan is not None and memory.finished_plan < today


def _unless_done(memory: DayMemory, switch: Switch, observation: Observation) -> Switch:
    return Switch.NONE if build_switch_key(switch, observation) == memory.switched else switch


def build_switch_key(switch: Switch, observation: Observation) -> str:
    """What tells this switch from another one: each is made once."""
    today = observation.market.today.isoformat()
    content = observation.plan.candidate.sha256 if switch is Switch.NEW_PLAN else ""
    return f"{switch}:{today}:{content or ''}"


def must_not_trade(observation: Observation, rules: Rules) -> bool:
    """Whether the running bot's plan is an earlier day's and allows trading."""
    plan = observation.plan
    return is_out_of_date(observation, rules) and plan.strategy != _NO_TRADING and not plan.is_emergency
