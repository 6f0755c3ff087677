"""The observer: puts together one observation of everything that supervision judges. Looks, never touches."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestration.bot.end_record import is_stop_requested, read_end
from orchestration.bot.notify import NotifyReceiver
from orchestration.bot.order_guard import NO_TRADING, GuardWatch, find_guard, is_suspended
from orchestration.bot.record import RECORD_NAME, BotRecord, build_record_path
from orchestration.bot.state import BotState
from orchestration.bot.watch import BotWatch
from orchestration.docker.container import ContainerState
from orchestration.errors import FallbackWord
from orchestration.gameplan import check_from_settings, find_skew_problem, load_calendar
from orchestration.gateway.api import probe_api
from orchestration.gateway.api_status import ApiState, ApiStatus
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.history import name_start
from orchestration.gateway.prober import GatewayProber
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.time_windows import is_in_any, parse_windows
from orchestration.gateway.wait import GatewayReady
from orchestration.gateway.watched_api import WatchedApi
from orchestration.gateway.weekly_login import find_last_full_login
from orchestration.lease.held import kept_lease
from orchestration.settings import Settings
from orchestration.state_dir import read_fields
from orchestration.supervision.observation import (
    MarketLook,
    Observation,
    PlanCandidate,
    PlanObservation,
    judge_accounts,
)
from orchestration.system.clock import Clock
from orchestration.system.platform import platform

if TYPE_CHECKING:
    import threading


@dataclass(frozen=True, kw_only=True)
class WithheldPlan:
    """The plan on which no bot runs (`STRATEGY_C_BOT=none`).

    Attributes:
        date: Its date.
        is_emergency: Whether it is the emergency plan.
        sha256: Of its bytes.
    """

    date: date
    is_emergency: bool
    sha256: str


class Observer:
    """Looks at the gateway, its API, the bot, its plan, the disk and the clock. Use as a context.

    Args:
        settings: The configuration.
        runtime: Who runs the gateway.
        clock: Tells the time.
        validated: The gateway as the start has just validated it: it stands until the kept connection knows more.

    Attributes:
        wake: Set when something may have changed. The thread that waits on it clears it.
    """

    def __init__(
        self, settings: Settings, runtime: Runtime, *, clock: Clock, validated: GatewayReady | None = None
    ) -> None:
        self._settings = settings
        self._validated = validated
        self._clock = clock
        self._runtime = runtime
        self._prober = GatewayProber(runtime, settings, clock=clock, probe=probe_api, windows=())
        self.wake: threading.Event = self._prober.wake
        self._watched = WatchedApi(settings, clock=clock, on_change=self.wake.set, probe=probe_api)
        self._bot: BotWatch | None = None
        elsewhere = settings.watched_state_dir
        self._record_path = build_record_path(settings) if elsewhere is None else elsewhere / RECORD_NAME
        self._is_ending_bot = False
        self._guard_watch: GuardWatch | None = None
        self._withheld: WithheldPlan | None = None
        self._calendar = load_calendar(settings)
        self._reset_windows = parse_windows(settings.broker_reset_windows)
        self._restart_windows = parse_windows(settings.gateway_restart_window)
        self._wall_offset_s = self._read_wall_offset_s()
        self._candidate: PlanCandidate | None = None
        self._candidate_stamp: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        self._prober.__enter__()
        self._watched.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave_bot()
        self._watched.close()
        self._prober.__exit__(*exception)

    def watch_bot(
        self,
        record: BotRecord,
        receiver: NotifyReceiver | None = None,
        *,
        yields_socket: bool = False,
        has_connected: bool | None = None,
    ) -> None:
        """From now on this is the bot.

        Args:
            record: The bot.
            receiver: What listens to it already.
            yields_socket: Whether its supervisor may take its `NOTIFY_SOCKET` over.
            has_connected: Whether it was seen before to hold a connection to the gateway; None if that is unknown.
        """
        self.leave_bot()
        self._is_ending_bot = False
        self._withheld = None
        self._bot = BotWatch(
            self._settings,
            record,
            clock=self._clock,
            on_change=self.wake.set,
            receiver=receiver,
            yields=yields_socket,
            has_connected=has_connected,
        )
        if record.guarded and self._settings.watched_state_dir is None:
            self._guard_watch = GuardWatch(self._settings, on_change=self.wake.set)

    def watch_without_bot(self, plan: WithheldPlan) -> None:
        """From now on there is no bot, and none is missed."""
        self.leave_bot()
        self._bot = None
        self._is_ending_bot = False
        self._withheld = plan

    def leave_bot(self) -> None:
        """Stop watching the bot; the bot itself is not touched."""
        if self._guard_watch is not None:
            self._guard_watch.close()
            self._guard_watch = None
        if self._bot is not None:
            self._bot.close()

    def expect_end(self) -> None:
        """The bot is about to be stopped: its end is meant."""
        self._is_ending_bot = True

    def look(self) -> Observation:
        """Look at everything once."""
        now_s = self._clock.monotonic_s()
        sight = self._prober.look(left_s=float("inf"))  # the API is asked by the kept connection
        status = sight.status
        if status is not None and not status.is_up and status.state is not ContainerState.UNKNOWN:
            self._watched.pause()  # nothing could answer; attempts would only fill the log of the next start
        else:
            self._watched.resume()
        offset_s = self._read_wall_offset_s()
        jump_s, self._wall_offset_s = offset_s - self._wall_offset_s, offset_s
        now = self._clock.now()
        kept = self._watched.look()
        api = self._choose_api(kept, status)
        # What the start has validated has been judged.
        is_judged = api is not kept or not api.is_ready
        is_simulated = status is not None and status.is_simulated
        full_login_at = find_last_full_login(status, sight.login, is_api_up=api.is_identified)
        return Observation(
            at_s=now_s,
            now=now,
            wall_jump_s=jump_s,
            engine_reachable=status is not None,
            gateway=status,
            api=api,
            account_problem=""
            if is_judged
            else judge_accounts(api.accounts, self._settings, is_simulated=is_simulated),
            login=sight.login,
            bot=self._look_at_bot(),
            plan=self._look_at_plan(now, skew_s=api.skew_s),
            market=self._look_at_market(now),
            disk_free_bytes=_free_bytes(self._settings.state_dir),
            gateway_history=self._runtime.read_history(status),
            in_reset_window=is_in_any(self._reset_windows, now),
            in_restart_window=is_in_any(self._restart_windows, now),
            full_login_at=full_login_at,
        )

    def read_kept(self) -> ApiStatus:
        """The kept connection as it is now, for the live view."""
        return self._watched.read()

    def _read_wall_offset_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic_s()

    def _choose_api(self, kept: ApiStatus, status: GatewayStatus | None) -> ApiStatus:
        """The kept connection; before its first attempt has ended, what the start has validated."""
        validated = self._find_validated(kept, status)
        if validated is None:
            return kept
        return ApiStatus(
            state=ApiState.READY,
            accounts=validated.accounts,
            latency_ms=validated.latency_ms,
            skew_s=validated.skew_s,
        )

    def _find_validated(self, kept: ApiStatus, status: GatewayStatus | None) -> GatewayReady | None:
        """What the start has validated, while the first attempt to connect lasts and the gateway is the same start."""
        if kept.state not in {ApiState.IDLE, ApiState.CONNECTING}:
            self._validated = None
        validated = self._validated
        if validated is None or status is None or name_start(status) != validated.start:
            return None
        # Of a gateway that another program runs nothing is known but its API.
        return validated if status.is_up or status.state is ContainerState.UNKNOWN else None

    def _look_at_bot(self) -> BotState:
        if self._withheld is not None:
            return BotState(is_running=False, is_withheld=True, exit_code=0)
        if self._bot is None:
            return BotState(is_running=False, is_stopping=True)  # none was ever there: its absence is no surprise
        seen, record = self._bot.look(), self._bot.record
        problem = self._find_guard_problem(record) if seen.is_running else ""
        return replace(
            seen,
            is_stopping=self._is_ending_bot or self._is_stop_requested(record),
            # Asked last: the guard ends with its bot.
            guard_problem="" if problem and self._bot.is_gone() else problem,
        )

    def _find_guard_problem(self, record: BotRecord) -> str:
        """Why the order guard that this bot needs does not work; of a system in another container, that is unknown."""
        if not record.guarded or self._settings.watched_state_dir is not None:
            return ""
        guard = find_guard(self._settings)
        if guard is None or guard.port != record.gateway_port:
            return "has ended"
        return "is stopped by a signal (SIGSTOP)" if is_suspended(guard) else ""

    def _is_stop_requested(self, record: BotRecord) -> bool:
        """Whether another command of this program was asked to stop the bot (`inv bot.stop` beside a monitor, say).

        Of a system in another container, an end that its own supervisor has seen is that one's to tell, too.
        """
        if is_stop_requested(self._record_path, record.identity, clock=self._clock):
            return True
        is_elsewhere = self._settings.watched_state_dir is not None
        return is_elsewhere and read_end(self._record_path, record.identity) is not None

    def _look_at_plan(self, now: datetime, *, skew_s: float | None) -> PlanObservation:
        withheld, candidate = self._withheld, self._refuse_withdrawn(self._look_at_candidate(now))
        problem = find_skew_problem(skew_s)
        if problem and candidate.word is None:  # a start would not use it now
            candidate = replace(candidate, word=FallbackWord.CLOCK_SKEW, message=problem)
        if withheld is not None:
            return PlanObservation(
                date=withheld.date,
                strategy=NO_TRADING,
                is_emergency=withheld.is_emergency,
                sha256=withheld.sha256,
                candidate=candidate,
            )
        record = self._bot.record if self._bot is not None else None
        return PlanObservation(
            date=None if record is None else _read_plan_date(record.gameplan),
            strategy="" if record is None else record.strategy,
            is_emergency=record is not None and record.gameplan == self._settings.emergency_gameplan_path,
            sha256="" if record is None else record.gameplan_sha256,
            candidate=candidate,
            passed_over=_read_passed_over(record),
        )

    def _look_at_candidate(self, now: datetime) -> PlanCandidate:
        """What the plan file would be; judged again when the file, or the hour, has changed."""
        path = self._settings.gameplan_path
        local = now.astimezone(self._settings.market_timezone)
        stamp: tuple[object, ...] = (local.date(), local.hour)
        try:
            if path is not None:
                found = path.stat()
                stamp = (*stamp, found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError as error:
            stamp = (*stamp, error.errno)
        if self._candidate is None or stamp != self._candidate_stamp:
            verdict = check_from_settings(self._settings, clock=self._clock)
            self._candidate = PlanCandidate(
                word=verdict.word,
                message=verdict.message,
                sha256=verdict.sha256,
                date=None if verdict.date is None else date.fromisoformat(verdict.date),
                strategy=verdict.strategy or "",
            )
            self._candidate_stamp = stamp
        return self._candidate

    def _refuse_withdrawn(self, candidate: PlanCandidate) -> PlanCandidate:
        """The same, but a plan that another host has withdrawn may not be used here, either (LEASE_ETCD)."""
        lease = kept_lease()
        published = None if lease is None else lease.published_plan
        if published is None:
            return candidate
        from orchestration.lease.published_plan import is_withdrawn

        if not is_withdrawn(published, candidate.sha256 or "", host=self._settings.lease_host):
            return candidate
        return replace(
            candidate,
            word=FallbackWord.GAMEPLAN_QUARANTINED,
            message=f"the plan was withdrawn on {published.by}: {published.reason}",
        )

    def _look_at_market(self, now: datetime) -> MarketLook:
        local = now.astimezone(self._settings.market_timezone)
        return MarketLook(
            today=local.date(),
            is_session=self._calendar.is_session(local.date()),
            is_past_due=local.time() >= self._settings.gameplan_due,
            is_before_close=not self._calendar.has_closed(now),
        )


def _read_passed_over(record: BotRecord | None) -> str | None:
    lease = kept_lease()
    published = None if lease is None else lease.published_plan
    if record is None or published is None or published.sha256 != record.gameplan_sha256:
        return None
    return published.passed_over


def _read_plan_date(path: Path) -> date | None:
    try:
        return date.fromisoformat(read_fields(path, follow=True)["date"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _free_bytes(folder: Path) -> int:
    try:
        return platform().read_free_bytes(folder)
    except OSError:
        return 0
