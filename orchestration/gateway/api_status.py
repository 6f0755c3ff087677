"""What is known of the gateway's API, as one value. `api` looks once, `kept_api` keeps a connection; both return it."""

import re
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
_KINDS = (
    ("market data", {2103, 2104, 2108}),
    ("historical data", {2105, 2106, 2107}),
    ("security definitions", {2157, 2158, 2159}),
)
_FARM = re.compile(r"(?:[:]|demand\.)\s*([^\s:]+)\s*$")  # `… is broken:usfarm.nj`, `… available upon demand.ushmds`
NOTICES = FARM_FINE | {2107, 2108, 2119}  # they say nothing bad


class ApiState(StrEnum):
    """How things stand with the API: how one look ended, or the last thing that is certain about a kept connection."""

    IDLE = "idle"
    """A kept connection that is not started yet, or closed."""
    PAUSED = "paused"
    """No connection and no attempts, as asked for."""
    CONNECTING = "connecting"
    """The first attempt, at the start or after a pause, has not ended yet."""
    READY = "ready"
    """The handshake completed, and requests for the time are answered. The link to the broker may be down."""
    SILENT = "silent"
    """Accepted, but no answer or not all of it in time."""
    REFUSED = "refused"
    """No connection: nothing listens there, or it cannot be reached."""
    CLOSED = "closed"
    """Accepted, then closed by the other side (a forwarder before the login)."""
    GARBAGE = "garbage"
    """What answers does not speak this protocol."""
    OUTDATED = "outdated"
    """The gateway is too old for this program: it speaks an older version of the API, or says so itself (503, 506)."""
    CLIENT_ID_IN_USE = "client_id_in_use"
    """All ten client ids are in use."""
    FULL = "full"
    """Closed during the handshake, while as many clients are connected from this host as a gateway takes."""
    NOT_CONNECTED = "not_connected"
    """The gateway says that it is not connected (502, 504 or the like), or drops everybody (1300)."""
    DISCLAIMER = "disclaimer"
    """The paper trading disclaimer is not accepted yet (10141): not ready, but soon."""


_NOT_TRIED = frozenset({ApiState.IDLE, ApiState.PAUSED, ApiState.CONNECTING})


@dataclass(frozen=True, kw_only=True)
class ApiCode:
    """A code that the gateway sent beside the handshake.

    Attributes:
        code: For example 1100.
        text: The gateway's own words.
        at_s: When it came, on the monotonic clock; 0.0 for one look.
    """

    code: int
    text: str
    at_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ApiStatus:
    """What is known of the API, by one look or by a kept connection. What did not arrive is None or empty.

    Instants are on the monotonic clock that a kept connection was given; one look has none.

    Attributes:
        state: How things stand.
        since_s: Since when.
        connections: How many handshakes have completed; a new one may mean a new login.
        server_version: The version of the protocol that the gateway chose.
        accounts: The managed accounts of the last completed handshake, without the empty ids that an advisor's list
            can end in.
        next_valid_id: The next valid order id.
        server_time: The gateway's clock, aware, UTC, in whole seconds (the wire has no more).
        skew_s: The gateway's clock minus this host's, in seconds, half the latency taken off. The wire's time is cut to
            whole seconds, so the true value lies in an interval of one second; this is its end nearer to zero, and 0.0
            where the interval contains zero. It never overstates.
        latency_ms: The round trip of the last time request that was answered, in milliseconds.
        last_answer_age_s: How long ago that was; None: never, or one look.
        is_link_down: Whether the gateway has lost its link to the broker (1100, 2110, and no 1101 or 1102 since). As
            last heard: while not connected, it may be out of date. A ready gateway may still have lost its link.
        link_down_since_s: Since when; None where it is there, and for one look.
        broken_farms: Names of the data farms that are broken, sorted, as last heard: degraded, not down.
        client_id: The client id of the last attempt.
        codes: The last codes, oldest first.
        detail: One sentence for the operator.
        holdings: What the broker holds, where a look asked for it and the handshake completed.
    """

    state: ApiState
    since_s: float = 0.0
    connections: int = 0
    server_version: int | None = None
    accounts: tuple[str, ...] = ()
    next_valid_id: int | None = None
    server_time: datetime | None = None
    skew_s: float | None = None
    latency_ms: float | None = None
    last_answer_age_s: float | None = None
    is_link_down: bool = False
    link_down_since_s: float | None = None
    broken_farms: tuple[str, ...] = ()
    client_id: int | None = None
    codes: tuple[ApiCode, ...] = ()
    detail: str = ""
    holdings: "Holdings | None" = None

    @property
    def is_ready(self) -> bool:
        """Whether the handshake completed."""
        return self.state is ApiState.READY

    @property
    def is_tried(self) -> bool:
        """Whether a look, or an attempt to connect, has ended."""
        return self.state not in _NOT_TRIED

    @property
    def is_identified(self) -> bool:
        """Whether the API answers and has named its accounts: without them its owner is unknown."""
        return self.is_ready and bool(self.accounts)

    def hear(self, codes: tuple[ApiCode, ...]) -> "ApiStatus":
        """With what the codes of one look say of the link and the farms."""
        return replace(
            self,
            codes=codes,
            is_link_down=is_link_down(codes),
            broken_farms=tuple(sorted({parse_farm(said) for said in find_broken(codes)})),
        )


def judge_full(probe: ApiStatus, clients: int | None, *, port: int) -> ApiStatus:
    """A gateway that hangs up because it has no room for one more client says so in no other way. Pure.

    Args:
        probe: What was seen.
        clients: How many connections lead to it from this host, the one of the look not among them; None if unknown.
        port: Its port.
    """
    if probe.state is not ApiState.CLOSED or clients is None or clients < MOST_CLIENTS:
        return probe
    detail = f"port {port} accepts and hangs up: {clients} clients are connected, and a gateway takes {MOST_CLIENTS}"
    return replace(probe, state=ApiState.FULL, detail=detail)


def is_link_down(codes: Iterable[ApiCode]) -> bool:
    """Whether the last word on the link to the broker is that it is lost."""
    down = False
    for said in codes:
        down = said.code in LINK_DOWN or (down and said.code not in LINK_RESTORED)
    return down


def find_broken(codes: Iterable[ApiCode]) -> tuple[ApiCode, ...]:
    """What says that a data farm is broken (2103, 2105, 2157), and was not followed by word that it is fine."""
    broken: dict[str, ApiCode] = {}
    for said in codes:
        farm = said.text.rpartition(":")[2]
        if said.code in FARM_BROKEN:
            broken[farm] = said
        elif said.code in FARM_FINE:
            broken.pop(farm, None)
    return tuple(broken.values())


def parse_farm(said: ApiCode) -> str:
    """The farm that a code is about, or the kind of data where no farm is named."""
    if found := _FARM.search(said.text):
        return found[1]
    return next((kind for kind, codes in _KINDS if said.code in codes), str(said.code))
