"""A supervisor of an instance that several hosts carry (LEASE_ETCD).

It stands by, leads while it holds the lease, and ends what ran here before the lease goes to another host.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestration import presenter as console
from orchestration.alerts.alert import AlertContent, Severity
from orchestration.bot.find import FoundBy, find_bot
from orchestration.bot.stop import stop_bot
from orchestration.errors import ExitCode, FailureWord, StartupFailure
from orchestration.gateway.record import read_record
from orchestration.gateway.runtime import find_still_running
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.lease.held import Role, Standing, drop, fingerprint_login, keep
from orchestration.logs import open_run_log
from orchestration.preflight.instances import build_find_users
from orchestration.redaction import redactor_for
from orchestration.settings import Settings, StandbyGateway
from orchestration.supervision.host_notifier import HostNotifier
from orchestration.supervision.lease_keeper import Keeper
from orchestration.supervision.standby_alerts import StandbyAlerts
from orchestration.supervision.standby_plan import StandbyPlan
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from orchestration.system.signals import Requests

if TYPE_CHECKING:
    from orchestration.supervision.standby_gateway import HotGateway

_LOG = logging.getLogger("orchestration.lease")
_LOOK_S = 1.0


def serve_with_lease(
    settings: Settings, clock: SystemClock, host: HostNotifier, requests: Requests, lead: Callable[[], int]
) -> int:
    """Stand by, lead, and stand by again, until a signal asks to end or what was led has ended.

    Args:
        settings: The configuration.
        clock: Tells the time.
        host: The host's service manager.
        requests: What signals ask for.
        lead: Starts the system, stays with it, and returns the exit code.

    Returns:
        The exit code.
    """
    run_id = f"lease_{clock.now():%Y%m%d_%H%M%S}"
    redactor = redactor_for(settings.secrets)
    with open_run_log(settings.log_dir, "lease", run_id=run_id, clock=clock, keep=settings.log_keep, redactor=redactor):

        def wake() -> None:
            requests.wake.set()  # whichever event the loop waits for now

        keeper = Keeper(settings, clock=clock, log=_LOG, on_change=wake)
        keep(keeper)
        alerts = StandbyAlerts(settings, clock)
        gateway = _build_hot_gateway(settings, clock, alerts, keeper)
        try:
            return _Participant(settings, keeper, clock, host, requests, alerts, gateway).serve(lead)
        finally:
            drop()
            if gateway is not None:
                gateway.close()
            keeper.close()


def _build_hot_gateway(
    settings: Settings, clock: SystemClock, alerts: StandbyAlerts, keeper: Keeper
) -> "HotGateway | None":
    if settings.standby_gateway is not StandbyGateway.HOT:
        return None
    from orchestration.supervision.standby_gateway import HotGateway

    return HotGateway(settings, clock=clock, log=_LOG, alerts=alerts, on_state=keeper.note_gateway)


class _Participant:
    """One host of those that carry the instance."""

    def __init__(  # noqa: PLR0917 - what one host takes part with
        self,
        settings: Settings,
        keeper: Keeper,
        clock: SystemClock,
        host: HostNotifier,
        requests: Requests,
        alerts: StandbyAlerts,
        gateway: "HotGateway | None",
    ) -> None:
        self._settings = settings
        self._keeper = keeper
        self._clock = clock
        self._host = host
        self._requests = requests
        self._alerts = alerts
        self._gateway = gateway
        self._login = fingerprint_login(settings)
        self._cold_because = ""
        self._has_told_namesake = False
        self._plan = StandbyPlan(
            settings, clock=clock, alerts=alerts, log=_LOG, told=keeper.told_plan, on_told=keeper.note_told_plan
        )

    def serve(self, lead: Callable[[], int]) -> int:
        while True:
            self._stand_by()
            if self._requests.ended_by != "":
                self._keeper.release(is_clean=self._end_all(), why=self._describe_end())
                return int(ExitCode.SUCCESS)
            self._let_gateway_go()
            code = lead()
            loss, handover = self._keeper.loss, self._keeper.handover
            _LOG.info("what was led has ended with %d%s", code, f": {loss or handover}" if loss or handover else "")
            why = self._describe_end() or f"what it ran has ended with {code}"
            self._keeper.release(is_clean=self._end_all(has_lost=bool(loss)), why=why)
            if not loss and not handover:
                return code
            if self._is_asked_to_end():
                return int(ExitCode.SUCCESS)

    def _is_asked_to_end(self) -> bool:
        return self._requests.ended_by != ""

    def _describe_end(self) -> str:
        asked = self._requests.ended_by
        return f"its supervisor was asked to end ({asked})" if asked else ""

    def _stand_by(self) -> None:
        """Wait until this host may start something, or is asked to end. Nothing of the bot runs here meanwhile."""
        said, is_clean, cleaned_s = "", False, float("-inf")
        led_by: tuple[str, int] | None = None
        while not self._is_asked_to_end() and not self._keeper.may_start:
            self._requests.wake.clear()
            now_s = self._clock.monotonic_s()
            if self._keeper.loss or self._keeper.handover:
                # It held the lease, but might not start anything yet: without this it would never stand by again.
                loss, revision = self._keeper.loss, self._keeper.revision
                self._keeper.release(is_clean=self._end_all(has_lost=bool(loss)))
                is_clean = False
                if loss:
                    self._tell_lost_before_start(loss, revision)
            standing = self._keeper.standing
            # A term of this host's own dead supervisor belongs to no other host: the gateway may keep its session.
            is_led_elsewhere = standing.role is Role.STANDBY and self._keeper.is_led_elsewhere
            keeps_gateway = self._keep_gateway(is_led_elsewhere=is_led_elsewhere)
            if not is_clean or (is_led_elsewhere and now_s - cleaned_s > self._settings.monitor_interval_s):
                cleaned_s = now_s
                # While no host leads, a gateway that is up is left alone: where this host leads again, it is used.
                is_clean = self._end_bot(self._settings.bot_stop_timeout_s) and (
                    keeps_gateway or not is_led_elsewhere or self._log_out_gateway()
                )
                if is_clean:
                    self._keeper.allow()
            led_by = self._tell_changes(self._keeper.standing, led_by)
            if is_led_elsewhere:
                self._plan.look(self._keeper.published_plan, leader=standing.holder, revision=standing.revision)
            text = str(self._keeper.standing)
            if text != said:
                said = text
                _LOG.info("%s", text)
                console.warn(text)
            self._host.say_ready(text)
            self._requests.take_restart()  # there is no bot to restart
            self._clock.wait(self._requests.wake, _LOOK_S)

    def _tell_lost_before_start(self, loss: str, revision: int) -> None:
        """The lease was lost while this host still waited for the last holder's bot to be dead: nothing ran here."""
        message = (
            f"This host has lost the lease of instance {self._settings.instance} (revision {revision}) before it "
            f"started anything: {loss}. It stands by again."
        )
        _LOG.error("%s", message)
        self._alerts.note("lease_lost", message, revision=revision)
        self._alerts.tell(
            AlertContent(
                severity=Severity.ERROR,
                title="Lease lost before the start",
                message=message,
                cause=FailureWord.LEASE_UNAVAILABLE,
                next_action="The host that acquires the lease starts by itself. Look at the etcd cluster; `inv status` "
                "on each host says who leads.",
            )
        )

    def _keep_gateway(self, *, is_led_elsewhere: bool) -> bool:
        """Whether this host's gateway may be up while another host leads; a hot one is kept up then."""
        if self._gateway is None:
            return False
        if not is_led_elsewhere:
            return True  # it is left as it is
        from orchestration.supervision.standby_gateway import find_reason_for_cold

        why = find_reason_for_cold(self._settings, self._keeper.leader, self._login)
        why = why or ("the instance is held on all hosts" if self._keeper.is_held else "")
        if why != self._cold_because:
            self._cold_because = why
            if why:
                _LOG.warning("the gateway is kept logged out: %s", why)
        if not why:
            self._gateway.keep_up()
            return True
        self._gateway.let_go()
        self._keeper.note_gateway(f"logged out: {why}")
        return False

    def _let_gateway_go(self) -> None:
        if self._gateway is not None and not self._gateway.let_go():
            _LOG.warning("the thread that kept the gateway up is still at it; the start waits for the gateway's lock")

    def _tell_changes(self, standing: Standing, led_by: tuple[str, int] | None) -> tuple[str, int] | None:
        """Write to the journal who leads, when that has changed."""
        if self._keeper.has_namesake and not self._has_told_namesake:
            self._has_told_namesake = True
            self._alerts.tell(
                AlertContent(
                    severity=Severity.CRITICAL,
                    title="LEASE_HOST is used twice",
                    message=f"This host does not take part in instance {self._settings.instance}: {standing.problem}.",
                    cause=FailureWord.CONFIG_INVALID,
                    next_action="Set LEASE_HOST to a name that no other host has, and start the service again.",
                )
            )
        if standing.role is not Role.STANDBY or not standing.holder or (standing.holder, standing.revision) == led_by:
            return led_by
        since = f" since {standing.since}" if standing.since else ""
        because = f", because {standing.reason}" if standing.reason else ""
        message = f"{standing.holder} leads{since} (lease revision {standing.revision}){because}; this host stands by"
        self._alerts.note("lease_seen", message, revision=standing.revision)
        return standing.holder, standing.revision

    def _end_all(self, *, has_lost: bool = False) -> bool:
        """End the bot, then log the gateway out with its full grace. Returns whether both are certainly gone."""
        self._let_gateway_go()
        is_bot_gone = self._end_bot(0.0 if has_lost else self._settings.bot_stop_timeout_s)
        return self._log_out_gateway() and is_bot_gone

    def _end_bot(self, timeout_s: float) -> bool:
        """End a bot of this instance that still runs here. Returns whether none does any more."""
        presence = find_bot(self._settings)
        if not presence.is_found:
            if presence.is_unknown:
                _LOG.error("unknown whether a bot runs here: %s", presence.detail)
            return not presence.is_unknown
        if presence.how is FoundBy.BY_COMMAND:
            _LOG.error("a bot that was started by hand runs here, without the lease: %s", presence.who)
            return False
        try:
            stopped = stop_bot(self._settings, presence, timeout_s=timeout_s, on_progress=self._host.say_status)
        except StartupFailure as failure:
            _LOG.error("the bot could not be stopped: %s", failure)
            return False
        _LOG.info("%s", stopped)
        return stopped.is_gone

    def _log_out_gateway(self) -> bool:
        """Stop this host's gateway with its full grace. Returns whether it is down."""
        settings = self._settings
        try:
            runtime = build_runtime(
                settings,
                commands=SystemCommands(),
                clock=self._clock,
                record=read_record(settings.state_dir),
                find_users=build_find_users(settings),
            )
            if not find_still_running(runtime):
                return True
            self._host.say_status("logging the gateway out")
            left = runtime.stop_unless_used(timeout_s=settings.gateway_stop_grace_s, on_progress=self._host.say_status)
            if left.users:
                _LOG.error("the gateway is left logged in: other instances of this host use it")
                return False
            is_down = not find_still_running(runtime)
        except (StartupFailure, OSError) as error:
            _LOG.error("the gateway could not be logged out: %s", error)
            return False
        _LOG.info("the gateway is %s", "logged out and down" if is_down else "still up after it was stopped")
        return is_down
