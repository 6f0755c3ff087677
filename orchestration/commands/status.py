"""What is so right now: gateway, plan, bot, last run. Looks, never touches.

Several instances are looked at side by side, each gateway once, however many share it (`read_overview`).
"""

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestration.alerts.channels import (
    ChannelState,
    build_channels,
    describe_channel_problems,
    read_channel_states,
)
from orchestration.bot.find import BotPresence, find_bot, read_bot_state
from orchestration.bot.order_guard import NO_TRADING, GuardRecord, find_guard, has_no_bot, is_suspended
from orchestration.bot.record import BotRecord
from orchestration.bot.state import BotState
from orchestration.docker.container import ContainerState
from orchestration.errors import StartupFailure
from orchestration.gateway import api
from orchestration.gateway.api_status import ApiStatus
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.holdings import Holdings, build_unknown
from orchestration.gateway.login import NOTHING_READ, LoginPhase, combine_logins
from orchestration.gateway.record import locate_api, read_record
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.weekly_login import find_last_full_login
from orchestration.hold import Hold, read_hold
from orchestration.hostservice import attempts
from orchestration.hostservice.advice import HostCommands, read_host_commands
from orchestration.hostservice.attempts import Attempts
from orchestration.hostservice.registrars import read_service_status
from orchestration.hostservice.service import HostServiceStatus
from orchestration.journal import JournalReader, RunRecord
from orchestration.lease.held import Role, Standing, read_standing
from orchestration.settings import GameplanFreshness, Settings
from orchestration.settings.week_time import find_session_end
from orchestration.state_dir import (
    journal_path,
    monitor_lock_path,
    read_fields,
    startup_lock_path,
    supervisor_lock_path,
)
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands
from orchestration.system.endpoint import Endpoint
from orchestration.system.lock import LockHolder, read_lock_holder
from orchestration.system.platform import platform
from orchestration.system.process_table import read_state
from orchestration.system.signals import describe_exit

if TYPE_CHECKING:
    from orchestration.preflight.leader_plan import LeaderPlan

_SIDE_BY_SIDE = 8  # most of a look is waiting for programs of the host


class StatusCode(IntEnum):
    """The exit codes of `inv status` (the numbers of the LSB's `status`, as far as they go)."""

    RUNNING = 0
    DEGRADED = 1
    NOT_RUNNING = 3
    UNKNOWN = 4
    STANDBY = 5


@dataclass(frozen=True, kw_only=True)
class GatewayLook:
    """The gateway right now.

    Attributes:
        kind: Who runs it.
        container: Its container's name, or None.
        host: The host of its API.
        port: The port of its API.
        status: What its runtime says; None where that could not be asked.
        api: What its API says; None where it was not asked, because nothing runs that could answer.
        problem: What is not as it should be, or None.
        simulated: Whether it is the built-in one.
        sessions_ended_at: When IBKR last ended every session.
        full_login_at: When it was last seen to log in fully; None where that is unknown.
        login: How far its login has come, by its own `launcher.log`; unknown where that cannot be read.
    """

    kind: str
    container: str | None
    host: str
    port: int
    status: GatewayStatus | None
    api: ApiStatus | None
    problem: str | None
    simulated: bool
    sessions_ended_at: datetime
    full_login_at: datetime | None = None
    login: LoginPhase = LoginPhase.UNKNOWN

    @property
    def is_ready(self) -> bool:
        """Whether a bot can use it."""
        return self.problem is None


@dataclass(frozen=True, kw_only=True)
class PlanStatus:
    """The plan that the bot was given.

    Attributes:
        path: The active copy.
        strategy: `A`, `B` or `C`.
        date: The plan's date; empty where it cannot be read.
        sha256: Of the active copy's bytes.
        emergency_reason: Why it is the emergency plan, or None.
        problem: What is not as it should be, or None.
    """

    path: Path
    strategy: str
    date: str
    sha256: str
    emergency_reason: str | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything `inv status` shows."""

    instance: str
    gateway: GatewayLook
    plan: PlanStatus | None
    bot: BotPresence
    service: HostServiceStatus | None
    hold: Hold | None
    under_way: LockHolder | None
    last_run: RunRecord | None
    alert_problem: str | None
    alert_channels: tuple[ChannelState, ...]
    watcher: LockHolder | None
    attempts: Attempts
    commands: HostCommands
    bot_state: BotState
    journal_problem: str | None = None
    has_no_bot_on_c: bool = False
    guard: GuardRecord | None = None
    is_bot_elsewhere: bool = False
    shows_amounts: bool = False
    is_in_stack: bool = False
    is_watcher_suspended: bool = False
    lease: Standing | None = None
    leader_plan: "LeaderPlan | None" = None

    @property
    def holdings(self) -> Holdings:
        """What the broker holds; unknown where the gateway could not be asked."""
        asked = self.gateway.api
        if asked is not None and asked.holdings is not None:
            return asked.holdings
        return build_unknown(self.gateway.problem or "the gateway was not asked")

    @property
    def is_bot_watched(self) -> bool:
        """Whether the bot is supervised now: what its record says does not outlive a supervisor that was killed."""
        return self.bot.is_found and self.watcher is not None

    @property
    def code(self) -> StatusCode:
        """0: the bot runs and all it needs is well; 1: something is not; 3: no bot; 4: unknown; 5: standby."""
        if self.bot.is_unknown:
            return StatusCode.UNKNOWN
        if self.is_standby:
            return StatusCode.STANDBY
        if not self.bot.is_found and not self.is_finished_for_now and not self.is_bot_withheld:
            return StatusCode.NOT_RUNNING
        return StatusCode.RUNNING if not self.problems else StatusCode.DEGRADED

    @property
    def is_standby(self) -> bool:
        """Whether a supervisor is ready here, and another host leads or none does (LEASE_ETCD)."""
        is_supervised = self.watcher is not None and self.watcher.purpose == "supervisor"
        stands_by = self.lease is not None and self.lease.role is not Role.LEADING
        return stands_by and is_supervised and not self.bot.is_found and self.under_way is None

    @property
    def is_finished_for_now(self) -> bool:
        """Whether the bot has finished, and its supervisor starts it again on the next plan."""
        is_supervised = self.watcher is not None and self.watcher.purpose == "supervisor"
        # While a start is under way, the end that is known is an earlier bot's.
        return not self.bot.is_found and self.bot_state.is_finished and is_supervised and self.under_way is None

    @property
    def is_bot_withheld(self) -> bool:
        """Whether none runs on Strategy C because none is to, and its supervisor starts it on the next trading plan."""
        is_supervised = self.watcher is not None and self.watcher.purpose == "supervisor"
        is_settled = not self.bot.is_found and self.bot_state.ended_at is None and self.under_way is None
        return self.has_no_bot_on_c and is_supervised and is_settled and not self.bot.is_unknown

    @property
    def last_end(self) -> str:
        """How the last bot ended, as the end of a sentence that says that none runs; empty where that is unknown."""
        bot = self.bot_state
        if bot.ended_at is None or bot.exit_code is None:
            return ""
        how = "it has finished (exit code 0)" if bot.is_finished else f"it {describe_exit(bot.exit_code)}"
        return f": {how} at {bot.ended_at.astimezone():%Y-%m-%d %H:%M:%S}"

    @property
    def problems(self) -> tuple[str, ...]:
        """What the bot needs and is not as it should be."""
        plan = self.plan.problem if self.plan else None
        record = self.bot.record
        start = None
        if record is not None and record.ready_by is None and self.under_way is None:
            start = "its start was interrupted before it was seen to be up (`inv startup --replace` starts it again)"
        suspended = f"the bot {self.bot_state.suspended}" if self.bot_state.suspended else None
        left = None
        if self.bot.left_of_pid is not None:
            left = f"the bot's main process has ended; {self.bot.detail} (`inv bot.stop` ends it)"
        problems = (self.gateway.problem, plan, start, left, suspended, self._watcher_problem, self._guard_problem)
        return tuple(self.commands.apply(one) for one in problems if one)

    @property
    def _watcher_problem(self) -> str | None:
        if self.watcher is None or not self.is_watcher_suspended:
            return None
        return (
            f"{self.watcher} is stopped by a signal (SIGSTOP): it watches nothing, and a bot that reports to it may "
            f"wait for it (`kill -CONT {self.watcher.pid}`)"
        )

    @property
    def _guard_problem(self) -> str | None:
        record = self.bot.record
        if record is None or not record.guarded or self.is_bot_elsewhere:
            return None
        if self.guard is None or self.guard.port != record.gateway_port or is_suspended(self.guard):
            return "the bot's order guard does not work, so the bot is cut off from the gateway (`inv bot.restart`)"
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What else the operator must know; the exit code does not depend on it."""
        found = (
            self._describe_open(),
            self._describe_watch(),
            self._describe_lease(),
            self._describe_leader_plan(),
            self._describe_refusals(),
            f"the system is {self.hold}; `inv resume` ends that" if self.hold else None,
            self._describe_service(),
            f"at work now: {self.under_way}" if self.under_way else None,
        )
        return tuple(self.commands.apply(one) for one in found if one)

    def _describe_open(self) -> str | None:
        """What is open at the broker while nothing of this program looks after it."""
        if self.bot.is_unknown or self.bot.is_found:
            return None
        counts = ((len(self.holdings.positions or ()), "position"), (len(self.holdings.orders or ()), "order"))
        parts = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts if count]
        return f"open at the broker while no bot runs: {' and '.join(parts)}" if parts else None

    def _describe_watch(self) -> str | None:
        if not self.bot.is_found or self.is_bot_watched:
            return None
        was_watched = self.bot.record is not None and self.bot.record.supervised
        return "nothing watches the bot" + (": its supervisor has ended without stopping it" if was_watched else "")

    def _describe_lease(self) -> str | None:
        """What is wrong with the store; who leads stands in a row of its own."""
        if self.lease is None or self.watcher is None or not self.lease.problem or self.is_standby:
            return None  # a standby's sentence has it
        return f"the lease's store: {self.lease.problem}"

    def _describe_leader_plan(self) -> str | None:
        """That this host stands by without the plan that the leader's bot runs on."""
        plan = self.leader_plan
        if plan is None or not plan.comparison.needs_attention or not self.is_standby:
            return None
        return f"the leader's gameplan is not this host's: {plan}"

    def _describe_refusals(self) -> str | None:
        guard = self.guard
        if guard is None or not guard.refusals:
            return None
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(guard.refused.items()))
        refused = f"the order guard has refused {guard.refusals} requests of the bot ({kinds})"
        return f"{refused}, the last at {guard.last_refused_at}"

    def _describe_service(self) -> str | None:
        """That the boot service does not try any more, or tries again, which its plain state does not say."""
        if self.attempts.has_given_up:
            return (
                f"the boot service has given up since {self.attempts.given_up_since}: {self.attempts.given_up}; "
                "fix the cause, then `inv startup`"
            )
        if self.service is None:
            return None
        if "auto-restart" in self.service.state:
            return f"the boot service {self.service.name} has failed and is about to run again ({self.service.state})"
        if self.service.state.startswith("failed"):
            detail = f" ({self.service.detail})" if self.service.detail else ""
            return f"the boot service {self.service.name} has failed{detail} and does not run again by itself"
        return None


class LookAtGateway(Protocol):
    """One look at a gateway and its API."""

    def __call__(self, runtime: Runtime, endpoint: Endpoint, settings: Settings, clock: Clock) -> GatewayLook:
        """Look."""
        ...


def read_status(
    settings: Settings, *, commands: Commands, clock: Clock, look_at_gateway: LookAtGateway | None = None
) -> Status:
    """Look at everything, the slow parts in parallel."""
    record = read_record(settings.state_dir)
    runtime = build_runtime(settings, commands=commands, clock=clock, record=record)
    endpoint = locate_api(record, settings)
    with platform().new_executor(workers=3, name="status") as pool:
        service = pool.submit(read_service_status, settings, commands=commands, clock=clock)
        gateway = pool.submit(look_at_gateway or probe_gateway, runtime, endpoint, settings, clock)
        bot = find_bot(settings)
        journal = JournalReader(journal_path(settings.state_dir))
        last_run = journal.read_last_run()
        journal_problem = journal.problem
        commands_here = read_host_commands(settings)
        alert_channels = tuple(
            dataclasses.replace(one, problem=None if one.problem is None else commands_here.apply(one.problem))
            for one in read_channel_states(journal, build_channels(settings))
        )
        alert_problem = describe_channel_problems(alert_channels)
        gateway_look = gateway.result()
        watcher = read_lock_holder(supervisor_lock_path(settings.state_dir)) or read_lock_holder(
            monitor_lock_path(settings.state_dir)
        )
        standing = read_standing(settings) if settings.lease_etcd else None
        return Status(
            instance=settings.instance,
            gateway=gateway_look,
            plan=_look_at_plan(bot, settings, clock),
            bot=bot,
            bot_state=read_bot_state(settings, bot),
            has_no_bot_on_c=has_no_bot(settings, NO_TRADING),
            guard=find_guard(settings),
            is_bot_elsewhere=settings.watched_state_dir is not None,
            shows_amounts=settings.show_amounts,
            is_in_stack=settings.in_stack,
            service=service.result(),
            hold=read_hold(settings.state_dir),
            under_way=read_lock_holder(startup_lock_path(settings.state_dir)),
            last_run=last_run,
            journal_problem=journal_problem,
            alert_problem=None if alert_problem is None else commands_here.apply(alert_problem),
            alert_channels=alert_channels,
            watcher=watcher,
            is_watcher_suspended=watcher is not None and watcher.pid is not None and read_state(watcher.pid) == "T",
            attempts=attempts.read(settings.state_dir),
            lease=standing,
            leader_plan=_look_at_leader_plan(standing, settings, clock),
            commands=commands_here,
        )


def _look_at_leader_plan(standing: Standing | None, settings: Settings, clock: Clock) -> "LeaderPlan | None":
    """The plan in force beside this host's file; None where no host leads."""
    if standing is None or not standing.holder:
        return None
    from orchestration.lease.published_plan import PublishedPlan
    from orchestration.preflight.leader_plan import read_leader_plan

    return read_leader_plan(settings, PublishedPlan.read(standing.plan), clock=clock)


def describe(status: Status) -> str:
    """The status in one sentence."""
    if status.code is StatusCode.UNKNOWN:
        return f"Unknown whether the bot runs: {status.bot.detail}"
    notes = f" Note: {'; '.join(status.notes)}." if status.notes else ""
    if status.is_finished_for_now:
        problems = f", but: {'; '.join(status.problems)}" if status.problems else ""
        return f"The bot has finished; its supervisor starts it again on the next plan{problems}.{notes}"
    if status.is_bot_withheld:
        problems = f", but: {'; '.join(status.problems)}" if status.problems else ""
        return f"No bot runs on Strategy C (STRATEGY_C_BOT=none); its supervisor waits for a plan{problems}.{notes}"
    if not status.bot.is_found:
        none = f"Standby: {status.lease}" if status.is_standby else f"The bot does not run{status.last_end}"
        return f"{none}.{notes}"
    running = f"The bot runs as {status.bot.who}"
    strategy = f" on strategy {status.plan.strategy}" if status.plan else ""
    if status.problems:
        return f"{running}{strategy}, but: {'; '.join(status.problems)}.{notes}"
    return f"{running}{strategy}, and the gateway is ready.{notes}"


def probe_gateway(runtime: Runtime, endpoint: Endpoint, settings: Settings, clock: Clock) -> GatewayLook:
    """Look at a gateway and its API once."""
    container: GatewayStatus | None = None
    look = None
    login = NOTHING_READ
    try:
        container = runtime.probe()
        problem = _container_problem(container)
        launcher = runtime.read_launcher_log(container) if container.is_up else None
        login = NOTHING_READ if launcher is None else combine_logins(launcher, NOTHING_READ)
    except StartupFailure as failure:
        problem = failure.message
    if problem is None:
        look = api.probe_api(
            endpoint,
            client_id=settings.gateway_probe_client_id,
            timeout_s=settings.health_check_timeout_s,
            now=clock.now,
            reads_holdings=True,
        )
        problem = _api_problem(look)
    return GatewayLook(
        kind=str(runtime.kind),
        container=runtime.container_name,
        host=endpoint.host,
        port=endpoint.port,
        status=container,
        api=look,
        problem=problem,
        simulated=container.is_simulated if container else False,
        sessions_ended_at=find_session_end(clock.now()),
        full_login_at=find_last_full_login(container, login, is_api_up=look is not None and look.is_ready),
        login=login.phase,
    )


def _container_problem(container: GatewayStatus) -> str | None:
    name = container.name or "the gateway"
    if container.state not in {ContainerState.RUNNING, ContainerState.UNKNOWN}:
        return f"{name} is {container.state}"
    if container.health is Health.UNHEALTHY:
        return f"{name} is unhealthy"
    return None


def _api_problem(look: ApiStatus) -> str | None:
    if not look.is_ready:
        return f"the gateway's API is not ready: {look.detail}"
    if look.is_link_down:
        return "the gateway has no link to the broker"
    return None


def _look_at_plan(bot: BotPresence, settings: Settings, clock: Clock) -> PlanStatus | None:
    record = bot.record
    if record is None:
        return None
    try:
        plan = read_fields(record.gameplan, follow=True)
        date, reason = str(plan.get("date", "")), plan.get("emergency_reason")
    except (OSError, ValueError, AttributeError) as error:
        return _build_plan_look(record, date="", reason=None, problem=f"{record.gameplan} cannot be read ({error})")
    return _build_plan_look(record, date=date, reason=reason, problem=_plan_problem(record, date, settings, clock))


def _plan_problem(record: BotRecord, date: str, settings: Settings, clock: Clock) -> str | None:
    today = clock.now().astimezone(settings.market_timezone).date().isoformat()
    judges_dates = settings.gameplan_freshness is GameplanFreshness.TODAY
    # A plan for the next trading day is fine: no bot trades before its plan's date.
    if judges_dates and record.strategy != "C" and date < today:
        return f"the bot's plan is of {date}, and today is {today}"
    return None


def _build_plan_look(record: BotRecord, *, date: str, reason: str | None, problem: str | None) -> PlanStatus:
    return PlanStatus(
        path=record.gameplan,
        strategy=record.strategy,
        date=date,
        sha256=record.gameplan_sha256,
        emergency_reason=reason,
        problem=problem,
    )


class OneLookEach:
    """Probes each gateway once; later calls get the first result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looks: dict[tuple[str, str, Endpoint], Future[GatewayLook]] = {}

    def __call__(self, runtime: Runtime, endpoint: Endpoint, settings: Settings, clock: Clock) -> GatewayLook:
        """See `status.LookAtGateway`."""
        key = (str(runtime.kind), runtime.container_name or "", endpoint)
        with self._lock:
            is_first = key not in self._looks
            look = self._looks.setdefault(key, Future())
        if is_first:
            try:
                look.set_result(probe_gateway(runtime, endpoint, settings, clock))
            except BaseException as error:  # noqa: BLE001 - nothing is swallowed: everybody who waits gets it
                look.set_exception(error)
        return look.result()


def read_overview(instances: Sequence[Settings], *, commands: Commands, clock: Clock) -> tuple[Status, ...]:
    """The status of each instance, in their order."""
    look = OneLookEach()
    with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE, thread_name_prefix="overview") as pool:
        return tuple(
            pool.map(lambda one: read_status(one, commands=commands, clock=clock, look_at_gateway=look), instances)
        )
