"""Where another container reaches the gateway: its own name and inner port, in a network that both are in. Pure."""

from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.container import GatewayStatus
from orchestration.system.endpoint import Endpoint

# In these a container has no name that another one could look up.
_NAMELESS = frozenset({"bridge", "host", "none"})


def find_inner_address(status: GatewayStatus, *, port: int) -> Endpoint:
    """The address of a gateway that runs as a container.

    Args:
        status: Its container.
        port: The host's port that leads to its API (`GATEWAY_PORT`).

    Raises:
        StartupFailure: `BOT_START_FAILED`: no container can reach it.
    """
    named = [name for name in status.networks if name not in _NAMELESS]
    # Its Compose project's own one, where there are several: another may be its way out to the broker alone.
    default = f"{status.compose_project}_default"
    network = default if default in named else next(iter(named), None)
    inner = next((inner for outer, inner in status.inner_ports if outer == port), None)
    if network is None or inner is None:
        lack = "is in no network of its own" if network is None else f"publishes nothing at port {port}"
        raise StartupFailure(
            FailureWord.BOT_START_FAILED,
            f"A bot in a container cannot reach the gateway: container {status.name or 'of the gateway'} {lack}.",
            next_action="Make it with docker/gateway/docker-compose.yml, or set BOT_RUNTIME=process.",
        )
    return Endpoint(host=status.name, port=inner, network=network)
