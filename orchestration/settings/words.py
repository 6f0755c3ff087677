"""The words that some variables take."""

from enum import StrEnum


class GatewayRuntime(StrEnum):
    """Who runs the gateway."""

    DOCKER = "docker"
    SIMULATOR = "simulator"
    EXTERNAL = "external"


class TradingMode(StrEnum):
    """Which kind of account the gateway logs in to."""

    PAPER = "paper"
    LIVE = "live"


class GatewayHealthCheck(StrEnum):
    """Whether the container's own health check must pass."""

    REQUIRE = "require"
    IGNORE = "ignore"


class GatewayRecovery(StrEnum):
    """What is done with a gateway that does not become ready."""

    RESTART = "restart"
    ALERT = "alert"


class GameplanFreshness(StrEnum):
    """Whether the plan must be today's."""

    TODAY = "today"
    OFF = "off"


class BotRuntime(StrEnum):
    """Who runs the bot."""

    PROCESS = "process"
    DOCKER = "docker"


class StrategyCBot(StrEnum):
    """What becomes of the bot on Strategy C."""

    GUARDED = "guarded"
    TRUSTED = "trusted"
    NONE = "none"


class StandbyGateway(StrEnum):
    """What a host that stands by does with its gateway."""

    COLD = "cold"
    HOT = "hot"


class StartWithOpenOrders(StrEnum):
    """What a start of the bot does where orders are open at the broker."""

    WARN = "warn"
    REFUSE = "refuse"


class BotArguments(StrEnum):
    """Whether the four arguments are appended to the bot's command."""

    APPEND = "append"
    NONE = "none"
