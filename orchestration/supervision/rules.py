"""What a supervisor may do, and after how long it says or does something."""

import zoneinfo
from dataclasses import dataclass
from typing import Self

from orchestration.gateway import readiness
from orchestration.settings import GameplanFreshness, GatewayHealthCheck, GatewayRecovery, GatewayRuntime, Settings
from orchestration.settings.week_time import US_EASTERN, WeekTime
from orchestration.supervision.incidents import IncidentKind, ToldBy

LOGIN_GRACE_S = 60.0  # from a login that is complete to its API: the controller sets the gateway up in between
HEALTH_CHECK_GRACE_S = 60.0  # a check that failed during a long login passes again at its next run
API_GRACE_S = 15.0  # one answer that is late, on a busy machine, is no loss
ENGINE_GRACE_S = 15.0  # an upgrade of Docker restarts its daemon
LINK_GRACE_S = 10.0  # 1100 and 1102 often follow each other within seconds
LINK_RESTART_AFTER_S = 900.0  # SPEC W2: 1100 or 2110 alone restarts nothing before 15 minutes
FARMS_GRACE_S = 300.0  # farms go and come with the broker's own maintenance
SECOND_FACTOR_REPEAT_S = 3600.0  # SPEC W2: said again each hour
WEEKLY_LOGIN_REPEAT_S = 3600.0  # SPEC G9: each hour
SUSPENDED_GRACE_S = 5.0  # `docker commit` pauses a container for a moment
CONNECT_GRACE_S = 60.0  # SPEC W2: so long after the gateway is back the bot must hold a connection
HOLD_S = 10.0  # how long it must be fine before it is said to be over
FARMS_HOLD_S = 60.0
CLOCK_JUMP_S = 30.0  # no time synchronisation steps so far while it works
DISK_LOW_BYTES = 500 * 1024 * 1024  # the figure of preflight
DISK_FINE_BYTES = 600 * 1024 * 1024
SETTLE_S = 5.0  # SPEC P3: a file written less than 5 s ago may be half written
SETTLE_MOST_S = 15.0  # and is looked at three times
GUARD_RESTARTS_AN_HOUR = 3  # one that ends again and again needs the operator; the bot stays cut off from the gateway
HOUR_S = 3600.0
WATCHED_BOT_GRACE_S = 120.0  # a bot's container that ends is started again, and validates everything again, within this
FAST_LOOK_S = 10.0  # how often it is looked at while something is wrong
LEAST_LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the settings say about supervision.

    Attributes:
        interval_s: How often everything is looked at.
        restart_after_s: How long a running gateway may take to become ready before it is restarted, and again after.
        may_restart_gateway: Whether a restart of the gateway is ours to do.
        may_stop_gateway: Whether the gateway is ours to stop.
        owns_bot: Whether the bot is ours: to restart, and to end with. A monitor only watches it.
        is_gateway_elsewhere: Whether another program looks after the gateway and alerts about it.
        is_bot_elsewhere: Whether the bot's own supervisor is another program, which alerts about bot and plan.
        believes_health_check: Whether the container's own health check says anything (`GATEWAY_HEALTH_CHECK`).
        judges_dates: Whether a plan must be of the day.
        port: Where the gateway's API is, for what is said.
        bot_connect_timeout_s: How long a bot may run without ever having connected to the gateway while that is ready;
            None: as long as it likes.
        weekly_login: When the gateway is to log in fully each week; None where that is only observed.
        weekly_login_zone: Whose hour that is.
        weekly_login_reminder_s: How long before the operator is reminded.
    """

    interval_s: float = 60.0
    restart_after_s: float = 120.0
    may_restart_gateway: bool = True
    may_stop_gateway: bool = True
    owns_bot: bool = True
    is_gateway_elsewhere: bool = False
    is_bot_elsewhere: bool = False
    believes_health_check: bool = True
    judges_dates: bool = True
    port: int = 4002
    bot_connect_timeout_s: float | None = None
    weekly_login: WeekTime | None = None
    weekly_login_zone: zoneinfo.ZoneInfo = US_EASTERN
    weekly_login_reminder_s: float = 7200.0

    @property
    def readiness_policy(self) -> readiness.ReadinessPolicy:
        """What these rules are to the machine that also serves a start."""
        return readiness.ReadinessPolicy(
            timeout_s=self.restart_after_s,
            twofa_timeout_s=0.0,
            may_restart=self.may_restart_gateway,
            requires_health_check=False,
            believes_health_check=self.believes_health_check,
        )

    def alerts_about(self, kind: IncidentKind) -> bool:
        """Whether this kind is for this program to tell: of two that see an incident, one alerts."""
        if kind.told_by is ToldBy.GATEWAY:
            return not self.is_gateway_elsewhere
        return not (self.is_bot_elsewhere and kind.told_by is ToldBy.BOT)

    @classmethod
    def from_settings(cls, settings: Settings, *, owns_bot: bool = True, may_restart: bool = True) -> Self:
        """What the settings say.

        Args:
            settings: The configuration.
            owns_bot: False for a monitor.
            may_restart: False where the command line says that nothing is to be restarted.
        """
        is_ours = settings.gateway_runtime is not GatewayRuntime.EXTERNAL
        return cls(
            interval_s=settings.monitor_interval_s * settings.simulator_time_scale,
            restart_after_s=settings.gateway_health_timeout_s * settings.simulator_time_scale,
            may_restart_gateway=is_ours and may_restart and settings.gateway_recovery is GatewayRecovery.RESTART,
            may_stop_gateway=is_ours,
            owns_bot=owns_bot,
            is_gateway_elsewhere=settings.gateway_watched_by is not None,
            is_bot_elsewhere=settings.watched_state_dir is not None,
            believes_health_check=settings.gateway_health_check is GatewayHealthCheck.REQUIRE,
            judges_dates=settings.gameplan_freshness is GameplanFreshness.TODAY,
            port=settings.gateway_port,
            weekly_login=settings.weekly_login,
            weekly_login_zone=settings.time_zone,
            weekly_login_reminder_s=settings.weekly_login_reminder_s,
            bot_connect_timeout_s=None
            if settings.bot_connect_timeout_s is None
            else settings.bot_connect_timeout_s * settings.simulator_time_scale,
        )
