"""Which runtime runs the gateway: the one that the settings name, or that a run recorded."""

from collections.abc import Callable

from orchestration.gateway.docker_runtime import DockerRuntime
from orchestration.gateway.external_runtime import ExternalRuntime
from orchestration.gateway.record import GatewayRecord
from orchestration.gateway.runtime import FindUsers, OwnRuntime, Runtime, find_no_users, require_no_locks
from orchestration.gateway.shared_runtime import SharedRuntime
from orchestration.gateway.shared_state import SharedGatewayState, name_container, name_port
from orchestration.gateway.simulator_runtime import SimulatorRuntime
from orchestration.settings import GatewayRuntime, Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands


def build_runtime(
    settings: Settings,
    *,
    commands: Commands,
    clock: Clock,
    record: GatewayRecord | None = None,
    find_users: FindUsers = find_no_users,
    require_locks: Callable[[], None] = require_no_locks,
) -> Runtime:
    """The runtime that the settings name, or the one that a run recorded.

    Args:
        settings: The configuration.
        commands: The door for programs.
        clock: The clock.
        record: What an earlier run of this instance used; it goes before the settings.
        find_users: Who else uses a gateway now; a caller that may restart or stop one must give it.
        require_locks: Raises `ALREADY_STARTING` where the caller's locks no longer count; a caller that may start or
            restart a gateway must give it.
    """
    kind = record.runtime if record is not None else settings.gateway_runtime
    if kind is GatewayRuntime.EXTERNAL:
        return ExternalRuntime(settings, record=record)
    own: OwnRuntime
    if kind is GatewayRuntime.SIMULATOR:
        port = settings.gateway_port if record is None else record.port
        shared_state = SharedGatewayState(settings, name_port(port), clock=clock)
        own = SimulatorRuntime(settings, clock=clock, record=record, shared_state=shared_state, find_users=find_users)
    else:
        own = DockerRuntime(settings, commands=commands, clock=clock, record=record)
        shared_state = SharedGatewayState(settings, name_container(settings, own.build_record().container), clock=clock)
    return SharedRuntime(own, shared_state, clock=clock, find_users=find_users, require_locks=require_locks)
