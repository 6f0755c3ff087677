"""The configuration: one frozen value, made once from the environment over `.env` over the defaults.

This room is the only reader of the environment. Every variable is declared once, in `variables.py`, with its kind,
default and help text; `.env.example`, the reference page and `inv config` are made from the same declarations, and
`Settings` has one typed field for each. All problems are collected and raised as one error.
"""

from orchestration.settings.kinds import Secret, expand_home, split_addresses
from orchestration.settings.market_calendar import CalendarRule, MarketCalendarSetting
from orchestration.settings.project import is_checkout
from orchestration.settings.settings import PACKAGE_DIR, PROJECT_DIR, Settings, build_wrong_settings
from orchestration.settings.sources import find_env_file
from orchestration.settings.variables import Effective, Variable, variables_by_field
from orchestration.settings.words import (
    BotArguments,
    BotRuntime,
    GameplanFreshness,
    GatewayHealthCheck,
    GatewayRecovery,
    GatewayRuntime,
    StandbyGateway,
    StartWithOpenOrders,
    StrategyCBot,
    TradingMode,
)

__all__ = [
    "PACKAGE_DIR",
    "PROJECT_DIR",
    "BotArguments",
    "BotRuntime",
    "CalendarRule",
    "Effective",
    "GameplanFreshness",
    "GatewayHealthCheck",
    "GatewayRecovery",
    "GatewayRuntime",
    "MarketCalendarSetting",
    "Secret",
    "Settings",
    "StandbyGateway",
    "StartWithOpenOrders",
    "StrategyCBot",
    "TradingMode",
    "Variable",
    "build_wrong_settings",
    "expand_home",
    "find_env_file",
    "is_checkout",
    "split_addresses",
    "variables_by_field",
]
