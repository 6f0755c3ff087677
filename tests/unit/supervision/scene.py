"""One look at a system that is well, and a supervisor that is fed with changes of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from orchestration.bot.state import BotState
from orchestration.docker.container import ContainerState
from orchestration.errors import FallbackWord
from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.login import LoginPhase, LoginReading
from orchestration.supervision import (
    Action,
    Decision,
    IncidentKind,
    MarketLook,
    Memory,
    Notice,
    Observation,
    PlanCandidate,
    PlanObservation,
    Rules,
    Stage,
    decide,
)
from orchestration.supervision.observation import NOT_TRIED
from tests.fakes.gateway import HEALTHY, RUNNING, UNHEALTHY

WEDNESDAY = date(2026, 11, 18)
NOON = datetime(2026, 11, 18, 17, 0, tzinfo=UTC)
RULES = Rules()
MONITOR = replace(RULES, owns_bot=False)
ALERT_ONLY = replace(RULES, may_restart_gateway=False)

CONNECTED = ApiStatus(state=ApiState.READY, accounts=("DU1234567",), latency_ms=2.0, connections=1)
REFUSED = ApiStatus(state=ApiState.REFUSED)
BOT = BotState(is_running=True, key="100:1", is_connected=True, has_connected=True)
IN_FORCE = PlanCandidate(word=None, sha256="a" * 64, date=WEDNESDAY, strategy="A")
PLAN = PlanObservation(date=WEDNESDAY, strategy="A", is_emergency=False, sha256="a" * 64, candidate=IN_FORCE)
WELL = Observation(
    at_s=0.0,
    now=NOON,
    gateway=HEALTHY,
    api=CONNECTED,
    bot=BOT,
    plan=PLAN,
    market=MarketLook(today=WEDNESDAY, is_session=True, is_past_due=True),
    disk_free_bytes=50 * 1024**3,
)

# What is changed in `WELL` for the gateway to be seen like this.
ENGINE_GONE: dict[str, Any] = {"engine_reachable": False, "gateway": None, "api": REFUSED}
DEAD: dict[str, Any] = {"gateway": replace(RUNNING, state=ContainerState.EXITED), "api": NOT_TRIED}
PAUSED: dict[str, Any] = {"gateway": replace(RUNNING, state=ContainerState.PAUSED), "api": NOT_TRIED}
RESTARTING: dict[str, Any] = {"gateway": replace(RUNNING, state=ContainerState.RESTARTING), "api": NOT_TRIED}
FAILING_CHECK: dict[str, Any] = {"gateway": UNHEALTHY}
SICK: dict[str, Any] = {"gateway": UNHEALTHY, "api": REFUSED}
STARTING: dict[str, Any] = {"gateway": RUNNING, "api": NOT_TRIED}
SILENT: dict[str, Any] = {"api": ApiStatus(state=ApiState.SILENT)}
NO_IDS: dict[str, Any] = {"api": ApiStatus(state=ApiState.CLIENT_ID_IN_USE)}
REFUSED_FOR_A_MOMENT: dict[str, Any] = {"api": REFUSED}
LINK_DOWN: dict[str, Any] = {"api": replace(CONNECTED, is_link_down=True)}
FARMS: dict[str, Any] = {"api": replace(CONNECTED, broken_farms=("usfarm",))}
WRONG_ACCOUNT: dict[str, Any] = {"api": replace(CONNECTED, accounts=("U1",)), "account_problem": "it shows U1"}
PHONE: dict[str, Any] = {
    "gateway": RUNNING,
    "api": ApiStatus(state=ApiState.CLOSED),
    "login": LoginReading(phase=LoginPhase.SECOND_FACTOR, awaits_second_factor=True),
}
TAKEN: dict[str, Any] = {**PHONE, "login": LoginReading(phase=LoginPhase.SESSION_TAKEN)}
LOCKED_OUT: dict[str, Any] = {
    **PHONE,
    "login": LoginReading(phase=LoginPhase.FAILED, failures_in_a_row=2, is_rejected=True, has_too_many_attempts=True),
    "in_reset_window": True,
}
IDLE: dict[str, Any] = {**PHONE, "login": LoginReading(phase=LoginPhase.IDLE)}
REJECTED: dict[str, Any] = {**PHONE, "login": LoginReading(phase=LoginPhase.FAILED, is_rejected=True)}
RESET: dict[str, Any] = {"in_reset_window": True}
NIGHTLY: dict[str, Any] = {"in_restart_window": True}


def gone(exit_code: int | None = None, key: str = BOT.key) -> dict[str, Any]:
    """The bot has ended."""
    return {"bot": BotState(is_running=False, key=key, exit_code=exit_code)}


def unusable(word: FallbackWord, content: str = "f") -> PlanCandidate:
    """A plan file that is not valid now."""
    return PlanCandidate(word=word, message="so it is", sha256=content * 64)


def valid(day: date, content: str = "b", strategy: str = "B") -> PlanCandidate:
    """A plan file that is valid now."""
    return PlanCandidate(word=None, sha256=content * 64, date=day, strategy=strategy)


def start_number(number: int) -> dict[str, Any]:
    """A healthy container, started for the so-many-th time."""
    assert HEALTHY.started_at is not None
    return {"gateway": replace(HEALTHY, started_at=HEALTHY.started_at + timedelta(minutes=number))}


@dataclass
class Watch:
    """A supervisor's memory, its clock, and all that it has said and done.

    Attributes:
        rules: What it may do.
        at_s: The time.
        memory: What it remembers.
        said: Every notice, with its time.
        done: Every action, with its time.
        last: The last decision.
    """

    rules: Rules = RULES
    at_s: float = 1000.0
    memory: Memory = field(default_factory=Memory)
    said: list[tuple[float, Notice]] = field(default_factory=list)
    done: list[tuple[float, Action]] = field(default_factory=list)
    last: Decision | None = None

    def look(self, **changes: Any) -> Decision:  # noqa: ANN401 - the fields of an observation
        """One look now."""
        observation = replace(WELL, at_s=self.at_s, now=NOON + timedelta(seconds=self.at_s), **changes)
        self.memory, self.last = decide(self.memory, observation, self.rules)
        # No other instance is at work on the gateway here, so each restart comes about.
        on_restart = () if self.last.on_restart is None else (self.last.on_restart,)
        self.said += [(self.at_s, notice) for notice in (*self.last.notices, *on_restart)]
        self.done += [(self.at_s, action) for action in self.last.actions]
        return self.last

    def go_on(self, for_s: float, **changes: Any) -> "Watch":  # noqa: ANN401 - likewise
        """Look now, and whenever the machine wants to, until `for_s` seconds from now."""
        end_s = self.at_s + for_s
        while self.at_s < end_s:
            decision = self.look(**changes)
            assert 0 < decision.next_look_s <= self.rules.interval_s
            self.at_s = min(end_s, self.at_s + decision.next_look_s)
        return self

    def kinds(self, *stages: Stage) -> list[IncidentKind]:
        """What was said so far, at these stages or at any."""
        return [notice.kind for _, notice in self.said if not stages or notice.stage in stages]

    def actions(self) -> list[Action]:
        """What was done so far."""
        return [action for _, action in self.done]

    def forget_said(self) -> None:
        """Begin a new account."""
        self.said.clear()
        self.done.clear()


def both(*changes: dict[str, Any]) -> dict[str, Any]:
    """Several changes at once; the last one wins."""
    return {name: value for one in changes for name, value in one.items()}


def texts(notices: Iterable[Notice]) -> list[str]:
    """Everything in them that a person reads."""
    return [text for one in notices for text in (one.title, one.message, one.next_action)]
