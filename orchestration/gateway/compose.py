"""The gateway's one service in Compose: what its file is given, and what Compose's complaints mean. Pure.

The project's name is pinned to the container's, so that two instances with different containers never touch each
other's.
"""

from collections.abc import Sequence
from pathlib import Path

from orchestration.docker.compose import ServiceNames
from orchestration.settings import Settings, TradingMode

# The image forwards these ports of the container to the API's own, which listens on the container's loopback only.
_PAPER_FORWARDER, _LIVE_FORWARDER = 4004, 4003


def build_compose_environ(settings: Settings) -> dict[str, str]:
    """What the Compose file may refer to. The password goes this way, and never into an argument list."""
    live = settings.trading_mode is TradingMode.LIVE
    # With a lease, a dead host that boots must not log in by Docker's own policy.
    policy = {"GATEWAY_RESTART_POLICY": "no"} if settings.lease_etcd else {}
    return policy | {
        "GATEWAY_IMAGE": settings.gateway_image,
        "GATEWAY_CONTAINER_NAME": settings.gateway_container_name,
        "GATEWAY_PORT": str(settings.gateway_port),
        "GATEWAY_FORWARDER_PORT": str(_LIVE_FORWARDER if live else _PAPER_FORWARDER),
        "GATEWAY_STOP_GRACE": f"{settings.gateway_stop_grace_s:g}",
        "GATEWAY_MEMORY_LIMIT": settings.gateway_memory_limit,
        "TRADING_MODE": settings.trading_mode.value,
        "TWS_USERID": settings.tws_userid.reveal() if settings.tws_userid else "",
        # Set even if empty: Compose refuses a secret whose variable is unset.
        "TWS_PASSWORD": settings.tws_password.reveal() if settings.tws_password else "",
        "TIME_ZONE": settings.time_zone.key,
        "TWOFA_TIMEOUT_ACTION": settings.twofa_timeout_action,
        "AUTO_RESTART_TIME": settings.auto_restart_time,
        "SIMULATOR_FAULTS": settings.simulator_faults,
        "READ_ONLY_API": "yes" if settings.read_only_api else "no",
    }


def build_service_names(settings: Settings, files: Sequence[Path]) -> ServiceNames:
    """What operators know the gateway's container by."""
    return ServiceNames(
        prefix="GATEWAY",
        container=settings.gateway_container_name,
        image=settings.gateway_image,
        port=settings.gateway_port,
        directory_variable="DOCKER_COMPOSE_DIR",
        directory=settings.docker_compose_dir,
        file=files[0] if files else None,
    )
