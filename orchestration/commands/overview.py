"""Every instance at one glance: all looked at side by side, each gateway once, however many share it."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from orchestration.commands.status import GatewayLook, Status, probe_gateway, read_status
from orchestration.gateway.runtime import Runtime
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.commands import Commands

_SIDE_BY_SIDE = 8  # most of a look is waiting for programs of the host


class OneLookEach:
    """Probes each gateway once; later calls get the first result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looks: dict[tuple[str, str, str, int], Future[GatewayLook]] = {}

    def __call__(self, runtime: Runtime, host: str, port: int, settings: Settings, clock: Clock) -> GatewayLook:
        """See `status.LookAtGateway`."""
        key = (str(runtime.kind), runtime.container_name or "", host, port)
        with self._lock:
            is_first = key not in self._looks
            look = self._looks.setdefault(key, Future())
        if is_first:
            try:
                look.set_result(probe_gateway(runtime, host, port, settings, clock))
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
