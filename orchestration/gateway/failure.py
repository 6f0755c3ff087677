"""What is known of a gateway that could not be validated: it travels with the failure into the report."""

from dataclasses import dataclass
from typing import Self

from orchestration.errors import StartupFailure
from orchestration.gateway.readiness import ProbeResult, ReadinessState, count_other_starts
from orchestration.settings import GatewayRuntime


@dataclass(frozen=True, kw_only=True)
class GatewaySnapshot:
    """The gateway as it was seen last.

    Attributes:
        runtime: Who runs it.
        container: The container's name; None where there is none.
        state: Whether and how the container or process runs; None if the engine did not answer.
        health: What its health check says; None if the engine did not answer.
        login: How far the login has come, by the gateway's log.
        docker_restarts: How often another program, most often Docker, has started it again meanwhile.
        restarted: Whether this run restarted it.
        server_version: The API's version; None if it was not told.
        accounts: The accounts that the API named, unmasked.
        latency_ms: The API's latency in milliseconds; None if not measured.
        skew_s: The gateway's clock minus this host's, in seconds; None if not known.
    """

    runtime: GatewayRuntime
    container: str | None
    state: str | None
    health: str | None
    login: str
    docker_restarts: int
    restarted: bool
    server_version: int | None = None
    accounts: tuple[str, ...] = ()
    latency_ms: float | None = None
    skew_s: float | None = None

    @classmethod
    def from_look(
        cls, observation: ProbeResult, memory: ReadinessState, *, runtime: GatewayRuntime, container: str | None
    ) -> Self:
        """What the last look of a wait, and what the wait remembers, say."""
        status, api = observation.status, observation.api
        return cls(
            runtime=runtime,
            container=container,
            state=None if status is None else status.state.value,
            health=None if status is None else status.health.value,
            login=observation.login.phase.value,
            docker_restarts=count_other_starts(memory, status),
            restarted=memory.is_restarted,
            server_version=None if api is None else api.server_version,
            accounts=() if api is None else api.accounts,
            latency_ms=None if api is None else api.latency_ms,
            skew_s=None if api is None else api.skew_s,
        )


class GatewayFailure(StartupFailure):
    """A gateway that did not become ready, or is not the one that was meant.

    Attributes:
        seen: The gateway as it was seen last.
    """

    def __init__(self, failure: StartupFailure, seen: GatewaySnapshot) -> None:
        super().__init__(failure.word, failure.message, next_action=failure.next_action, evidence=failure.evidence)
        self.seen = seen
