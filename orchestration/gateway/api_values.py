"""What one look at the gateway's API can see, as values; `orchestration.gateway.api` looks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.gateway.holdings import Holdings

MOST_CLIENTS = 32  # of one gateway, as the broker documents it
LINK_DOWN = frozenset({1100, 2110})
LINK_RESTORED = frozenset({1101, 1102})
FARM_BROKEN = frozenset({2103, 2105, 2157})
FARM_FINE = frozenset({2104, 2106, 2158})
NOTICES = FARM_FINE | {2107, 2108, 2119}  # they say nothing bad


class ApiOutcome(StrEnum):
    """How one look at the API ended."""

    READY = "ready"
    """The handshake completed."""
    REFUSED = "refused"
    """No connection: nothing listens there, or it cannot be reached."""
    CLOSED = "closed"
    """Accepted, then closed before the handshake ended (a forwarder before the login)."""
    SILENT = "silent"
    """Accepted, but no answer or not all of it in time."""
    GARBAGE = "garbage"
    """What answers does not speak this protocol."""
    CLIENT_ID_IN_USE = "client_id_in_use"
    """All ten client ids are in use."""
    FULL = "full"
    """Closed during the handshake, while as many clients are connected from this host as a gateway takes."""
    NOT_CONNECTED = "not_connected"
    """The gateway answered that it is not connected (502, 504 or the like), and gave no handshake."""
    DISCLAIMER = "disclaimer"
    """The paper trading disclaimer is not accepted yet (10141): not ready, but soon."""


@dataclass(frozen=True, kw_only=True)
class ApiCode:
    """A code that the gateway sent beside the handshake.

    Attributes:
        code: For example 1100.
        text: The gateway's own words.
    """

    code: int
    text: str


@dataclass(frozen=True, kw_only=True)
class ApiProbe:
    """What one look saw. What did not arrive is None or empty.

    Attributes:
        outcome: How it ended.
        server_version: The version of the protocol that the gateway chose.
        accounts: The managed accounts, without the empty ids that an advisor's list can end in.
        next_valid_id: The next valid order id.
        server_time: The gateway's clock, aware, UTC, in whole seconds (the wire has no more).
        skew_s: The gateway's clock minus this host's, in seconds, half the latency taken off. The wire's time is cut to
            whole seconds, so the true value lies in an interval of one second; this is its end nearer to zero, and 0.0
            where the interval contains zero. It never overstates.
        latency_ms: The round trip of one time request, in milliseconds.
        client_id: The client id of the last attempt.
        codes: What the gateway said beside the handshake, in order.
        detail: One sentence for a person.
        holdings: What the broker holds, where the look asked for it and the handshake completed.
    """

    outcome: ApiOutcome
    server_version: int | None = None
    accounts: tuple[str, ...] = ()
    next_valid_id: int | None = None
    server_time: datetime | None = None
    skew_s: float | None = None
    latency_ms: float | None = None
    client_id: int | None = None
    codes: tuple[ApiCode, ...] = ()
    detail: str = ""
    holdings: "Holdings | None" = None

    @property
    def is_ready(self) -> bool:
        """Whether the handshake completed. A ready gateway may still have lost its link: see `is_link_down`."""
        return self.outcome is ApiOutcome.READY

    @property
    def is_link_down(self) -> bool:
        """Whether the gateway said that its link to the broker is lost (1100, 2110), and not that it is back."""
        return is_link_down(self.codes)

    @property
    def broken_farms(self) -> tuple[ApiCode, ...]:
        """The data farms that are broken (2103, 2105, 2157) and not reported fine since: degraded, not down."""
        broken: dict[str, ApiCode] = {}
        for said in self.codes:
            farm = said.text.rpartition(":")[2]
            if said.code in FARM_BROKEN:
                broken[farm] = said
            elif said.code in FARM_FINE:
                broken.pop(farm, None)
        return tuple(broken.values())


def judge_full(probe: ApiProbe, clients: int | None, *, port: int) -> ApiProbe:
    """A gateway that hangs up because it has no room for one more client says so in no other way. Pure.

    Args:
        probe: What was seen.
        clients: How many connections lead to it from this host, the one of the look not among them; None if unknown.
        port: Its port.
    """
    if probe.outcome is not ApiOutcome.CLOSED or clients is None or clients < MOST_CLIENTS:
        return probe
    detail = f"port {port} accepts and hangs up: {clients} clients are connected, and a gateway takes {MOST_CLIENTS}"
    return replace(probe, outcome=ApiOutcome.FULL, detail=detail)


def is_link_down(codes: Iterable[ApiCode]) -> bool:
    """Whether the last word on the link to the broker is that it is lost."""
    down = False
    for said in codes:
        down = said.code in LINK_DOWN or (down and said.code not in LINK_RESTORED)
    return down
