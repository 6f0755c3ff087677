"""What one look of a supervisor sees, as values; `orchestration.supervision.supervisor` looks."""

import datetime as dt
from dataclasses import dataclass, field, replace

from orchestration.bot.state import BotState
from orchestration.errors import FallbackWord, StartupFailure
from orchestration.gateway import readiness
from orchestration.gateway.account_check import validate_accounts
from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.history import NO_HISTORY, GatewayHistory
from orchestration.gateway.login import NOTHING_READ, LoginReading
from orchestration.settings import Settings

NOT_TRIED = ApiStatus(state=ApiState.IDLE)


@dataclass(frozen=True, kw_only=True)
class PlanCandidate:
    """What the configured plan file would be if the bot were started now.

    Attributes:
        word: Why it may not be used; None for a plan that is valid now.
        message: One sentence about that.
        sha256: Of its bytes; None where they could not be read.
        date: Its date, where it satisfies the schema.
        strategy: `A`, `B` or `C`, where it satisfies the schema.
    """

    word: FallbackWord | None
    message: str = ""
    sha256: str | None = None
    date: dt.date | None = None
    strategy: str = ""

    @property
    def key(self) -> str:
        """What tells this content from another one."""
        return f"{self.word or 'valid'}:{self.sha256 or ''}"


@dataclass(frozen=True, kw_only=True)
class PlanObservation:
    """The plan that the bot runs on, or ran on last, and the one that it could run on.

    Attributes:
        date: Its date; None where it is unknown: then it is not judged.
        strategy: `A`, `B` or `C`.
        is_emergency: Whether it is Strategy C for want of a valid plan.
        sha256: Of its bytes.
        candidate: What the configured file holds now.
        passed_over: The hash of the file that the bot's plan, another host's, was preferred to at a take-over; empty
            where there was no such file, None where there was no such take-over (LEASE_ETCD).
    """

    date: dt.date | None
    strategy: str
    is_emergency: bool
    sha256: str
    candidate: PlanCandidate
    passed_over: str | None = None

    @property
    def is_candidate_passed_over(self) -> bool:
        """Whether the file is still the one that the bot's plan was preferred to, which was told then."""
        return (self.candidate.sha256 or "") == self.passed_over


@dataclass(frozen=True, kw_only=True)
class MarketLook:
    """What day it is for the market.

    Attributes:
        today: The date in `MARKET_TIMEZONE`.
        is_session: Whether the market is open on it (`MARKET_CALENDAR`).
        is_past_due: Whether `GAMEPLAN_DUE` has passed today.
        is_before_close: Whether today's session is not over yet; False on a day without one.
    """

    today: dt.date
    is_session: bool
    is_past_due: bool
    is_before_close: bool = False


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look at everything.

    Attributes:
        at_s: Monotonic seconds.
        now: Wall-clock time, aware.
        wall_jump_s: How far the wall clock moved against the monotonic one since the last look.
        engine_reachable: Whether the Docker engine answered; always true where there is no engine to be asked.
        gateway: The gateway's container or process; None if the engine did not answer.
        api: Its API.
        account_problem: Why the accounts that the API names may not be traded (`judge_accounts`); empty where they may.
        login: What the log of its latest start says.
        bot: The bot.
        plan: Its plan.
        market: The market's day.
        disk_free_bytes: Free space at the state folder.
        gateway_history: What the other instances that use the gateway have done to it, and the stop that holds it down.
        in_reset_window: Whether the broker is resetting its servers now (`BROKER_RESET_WINDOWS`).
        in_restart_window: Whether the gateway restarts itself about now (`GATEWAY_RESTART_WINDOW`).
        full_login_at: When the gateway was last seen to log in fully; None where that is unknown now.
    """

    at_s: float
    now: dt.datetime
    wall_jump_s: float = 0.0
    engine_reachable: bool = True
    gateway: GatewayStatus | None
    api: ApiStatus = NOT_TRIED
    account_problem: str = ""
    login: LoginReading = field(default=NOTHING_READ)
    bot: BotState
    plan: PlanObservation
    market: MarketLook
    disk_free_bytes: int
    gateway_history: GatewayHistory = NO_HISTORY
    in_reset_window: bool = False
    in_restart_window: bool = False
    full_login_at: dt.datetime | None = None

    @property
    def probe_result(self) -> readiness.ProbeResult:
        """The part of the look by which readiness is judged, as a start sees it."""
        api = self.api if self.api.is_tried else None
        if api is not None and api.is_ready and not api.is_identified:
            api = replace(api, state=ApiState.SILENT)
        return readiness.ProbeResult(
            status=self.gateway if self.engine_reachable else None,
            login=self.login,
            api=api,
            in_reset_window=self.in_reset_window,
        )

    @property
    def in_window(self) -> bool:
        """Whether a gateway that is not ready is expected now."""
        return self.in_reset_window or self.in_restart_window


def judge_accounts(accounts: tuple[str, ...], settings: Settings, *, is_simulated: bool = False) -> str:
    """Why these accounts may not be traded, as one sentence; empty where they may."""
    try:
        validate_accounts(accounts, settings, is_simulated=is_simulated)
    except StartupFailure as failure:
        return failure.message
    return ""
