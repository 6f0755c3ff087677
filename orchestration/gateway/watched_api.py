"""The API of a gateway under watch: one kept connection; or a short look now and then, where many share the gateway.

A gateway takes 32 clients. With twenty instances on it the connections that their supervisors keep would leave no room
for their bots. So a connection is kept only while at most half of the room is taken; beyond that each supervisor
connects for a look once in an interval, and leaves. A loss is then found at the next look instead of at once, unless
the container's own events tell of it.
"""

from collections.abc import Callable
from dataclasses import replace

from orchestration.gateway.api_status import MOST_CLIENTS, ApiState, ApiStatus
from orchestration.gateway.kept_api import KeptApi
from orchestration.gateway.prober import Probe
from orchestration.settings import Settings
from orchestration.system.clock import Clock
from orchestration.system.sockets import count_connections

CROWDED_FROM = MOST_CLIENTS // 2
ROOM_BELOW = MOST_CLIENTS // 3  # not at once again crowded by those who come back
_LEAST_BETWEEN_S = 10.0

CountConnections = Callable[[int], int | None]


class WatchedApi:
    """What an observer knows of the API. Its methods are for one thread, but for `read`.

    Args:
        settings: The configuration.
        clock: Tells the time.
        on_change: Called, from another thread, when the kept connection is another one than before.
        probe: One look, `api.probe_api`.
        count: How many connections lead to a port.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        on_change: Callable[[], None],
        probe: Probe,
        count: CountConnections = count_connections,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._probe = probe
        self._count = count
        self._kept = KeptApi(
            settings.gateway,
            client_id=settings.gateway_probe_client_id,
            timeout_s=settings.health_check_timeout_s,
            interval_s=settings.monitor_interval_s,
            now=clock.now,
            monotonic_s=clock.monotonic_s,
            on_change=on_change,
        )
        self._is_paused = False
        self._visit: ApiStatus | None = None  # the last one; None while a connection is kept
        self._visited_s = float("-inf")

    def start(self) -> None:
        """Begin to connect."""
        self._kept.start()

    def close(self) -> None:
        """Disconnect and end, for good."""
        self._kept.close()

    def pause(self) -> None:
        """Make no attempts until `resume`: the gateway is known to be down."""
        self._is_paused = True
        self._kept.pause()

    def resume(self) -> None:
        """End a pause."""
        self._is_paused = False
        if self._visit is None:
            self._kept.resume()

    def look(self) -> ApiStatus:
        """How things stand now; connects for it where no connection is kept and a look is due."""
        clients = self._count(self._settings.gateway_port)
        if self._visit is None and clients is not None and clients > CROWDED_FROM:
            self._visit = self._kept.read()
            self._visited_s = float("-inf")
            self._kept.pause()
        elif self._visit is not None and clients is not None and clients < ROOM_BELOW:
            self._visit = None
            if not self._is_paused:
                self._kept.resume()
        if self._visit is not None and not self._is_paused:
            self._visit_if_due(self._visit)
        return self.read()

    def read(self) -> ApiStatus:
        """How things stood last. From any thread."""
        visit = self._visit
        if visit is None:
            return self._kept.read()
        if self._is_paused:
            return replace(visit, state=ApiState.PAUSED, detail="no connection is wanted now")
        age_s = max(0.0, self._clock.monotonic_s() - self._visited_s)
        return replace(visit, last_answer_age_s=age_s if visit.state is ApiState.READY else None)

    def _visit_if_due(self, before: ApiStatus) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._visited_s < min(_LEAST_BETWEEN_S, self._settings.monitor_interval_s / 2):
            return
        seen = self._probe(
            self._settings.gateway,
            client_id=self._settings.gateway_probe_client_id,
            timeout_s=self._settings.health_check_timeout_s,
            now=self._clock.now,
        )
        self._visited_s = self._clock.monotonic_s()
        self._visit = build_look(seen, before, at_s=self._visited_s)


def build_look(seen: ApiStatus, before: ApiStatus, *, at_s: float) -> ApiStatus:
    """What a short look says, in the words of a kept connection. Pure.

    Args:
        seen: The look.
        before: What was known before it; stands where this look says nothing.
        at_s: When it ended.
    """
    since_s = before.since_s if seen.state is before.state else at_s
    look = replace(before, state=seen.state, since_s=since_s, detail=f"looked: {seen.detail}")
    if not seen.is_ready:
        return look
    link_since_s = at_s if before.link_down_since_s is None else before.link_down_since_s
    return replace(
        look,
        connections=before.connections + 1,
        accounts=seen.accounts,
        server_version=seen.server_version,
        latency_ms=seen.latency_ms,
        server_time=seen.server_time,
        skew_s=seen.skew_s,
        is_link_down=seen.is_link_down,
        link_down_since_s=link_since_s if seen.is_link_down else None,
        broken_farms=seen.broken_farms,
    )
