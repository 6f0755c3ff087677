"""What the bot is started with: the one place where its argument list is built. Pure."""

from pathlib import Path

from orchestration.settings import BotArguments, BotRuntime, Settings
from orchestration.system.endpoint import Endpoint

_PLAN_FOLDER = "/run/gameplan"


def build_bot_argv(settings: Settings, gateway: Endpoint, *, gameplan: Path) -> tuple[str, ...]:
    """The bot's whole argument list; of a container its image and the arguments of its entrypoint.

    Args:
        settings: Which command or image it is, and whether arguments are appended to it (`BOT_ARGUMENTS`).
        gateway: Where the bot reaches the gateway's API.
        gameplan: The plan's validated copy, on this host.
    """
    if settings.bot_runtime is BotRuntime.DOCKER:
        return (settings.bot_image, *_build_arguments(settings, gateway, locate_plan_in_container(gameplan)))
    return (*settings.bot_command, *_build_arguments(settings, gateway, str(gameplan)))


def locate_plan_in_container(gameplan: Path) -> str:
    """Where a bot's container finds its plan."""
    return f"{_PLAN_FOLDER}/{gameplan.name}"


def _build_arguments(settings: Settings, gateway: Endpoint, gameplan: str) -> tuple[str, ...]:
    if settings.bot_arguments is BotArguments.NONE:
        return ()
    return (
        *("--gateway-host", gateway.host),
        *("--gateway-port", str(gateway.port)),
        *("--gameplan", gameplan),
        *("--log-level", settings.bot_log_level),
    )
