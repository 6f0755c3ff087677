"""What a kept connection to the gateway's API knows, as values; `orchestration.gateway.kept_api` keeps it.

The gateway tells the state of its link to the broker and of its data farms in codes, and only when it changes or when
a client connects. `Heard` is the pure account of them: codes go in, what is down or broken comes out.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from orchestration.gateway.api_values import FARM_BROKEN, FARM_FINE, LINK_DOWN, LINK_RESTORED, ApiCode

CODES_KEPT = 50
_FARMS_KEPT = 100  # the broker has about thirty
_FARM_IDLE = frozenset({2107, 2108, 2159})  # not used now, there on demand: not broken
_KINDS = (
    ("market data", {2103, 2104, 2108}),
    ("historical data", {2105, 2106, 2107}),
    ("security definitions", {2157, 2158, 2159}),
)
_FARM = re.compile(r"(?:[:]|demand\.)\s*([^\s:]+)\s*$")  # `… is broken:usfarm.nj`, `… available upon demand.ushmds`
_FARMS_CONNECTED = re.compile(r"following farms are connected: ([^:]*?)\.?(?: The following farms|\s*$)", re.IGNORECASE)


class KeptState(StrEnum):
    """How things stand with the connection: the last thing that is certain about it, until the next one is."""

    IDLE = "idle"
    """Not started yet, or closed."""
    PAUSED = "paused"
    """No connection and no attempts, as asked for."""
    CONNECTING = "connecting"
    """The first attempt, at the start or after a pause, has not ended yet."""
    CONNECTED = "connected"
    """The handshake completed and requests for the time are answered. Its link to the broker may be down."""
    SILENT = "silent"
    """Accepted, but it does not answer in time."""
    REFUSED = "refused"
    """No connection: nothing listens there, or it cannot be reached."""
    CLOSED = "closed"
    """Closed by the other side, during the handshake or later."""
    GARBAGE = "garbage"
    """What answers does not speak this protocol."""
    CLIENT_ID_IN_USE = "client_id_in_use"
    """All ten client ids are in use."""
    FULL = "full"
    """The gateway takes no further client."""
    NOT_CONNECTED = "not_connected"
    """The gateway says that it is not connected (502, 504), or drops everybody (1300)."""
    DISCLAIMER = "disclaimer"
    """The paper trading disclaimer is not accepted yet (10141)."""


@dataclass(frozen=True, kw_only=True)
class KeptCode:
    """A code that the gateway sent.

    Attributes:
        code: For example 1100.
        text: The gateway's own words.
        at_s: When it came, on the monotonic clock.
    """

    code: int
    text: str
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the gateway has said, of all connections so far.

    A new connection begins a new account (`begin`), for the gateway tells again what is down; until that account is
    complete (`settle`), what was known before stands too. So a connection that is lost and found again makes nothing
    recover that is still broken, and what lasts keeps the instant at which it began.

    Attributes:
        codes: The last `CODES_KEPT`, oldest first.
        link_down_since_s: When the link to the broker was lost, on the monotonic clock; None: it is there.
        broken_farms: The farms that are broken, by name (by kind of data where the gateway names none), sorted.
        is_link_down_here: Whether the present connection said that the link is down.
        broken_farms_here: Which farms the present connection said are broken.
    """

    codes: tuple[KeptCode, ...] = ()
    link_down_since_s: float | None = None
    broken_farms: tuple[str, ...] = ()
    is_link_down_here: bool = False
    broken_farms_here: frozenset[str] = field(default_factory=frozenset)

    def begin(self) -> "Heard":
        """A new connection."""
        return replace(self, is_link_down_here=False, broken_farms_here=frozenset())

    def hear(self, said: ApiCode, at_s: float) -> "Heard":
        """One code, at the given instant of the monotonic clock."""
        codes = (*self.codes, KeptCode(code=said.code, text=said.text, at_s=at_s))[-CODES_KEPT:]
        heard = replace(self, codes=codes)
        if said.code in LINK_DOWN:
            since_s = at_s if self.link_down_since_s is None else self.link_down_since_s
            return replace(heard, is_link_down_here=True, link_down_since_s=since_s)
        if said.code in LINK_RESTORED:
            fine = parse_farms_connected(said.text)
            heard = replace(heard, is_link_down_here=False, link_down_since_s=None)
            return _without_farms(heard, set(self.broken_farms) if fine is None else fine)
        if said.code in FARM_BROKEN:
            return _with_farm(heard, parse_farm(said))
        if said.code in FARM_FINE | _FARM_IDLE:
            return _without_farms(heard, {parse_farm(said)})
        return heard

    def settle(self) -> "Heard":
        """The present connection has told all that it has to tell: only that stands."""
        return replace(
            self,
            link_down_since_s=self.link_down_since_s if self.is_link_down_here else None,
            broken_farms=tuple(sorted(self.broken_farms_here)),
        )


def _with_farm(heard: Heard, farm: str) -> Heard:
    if len(heard.broken_farms) >= _FARMS_KEPT:
        return heard
    return replace(
        heard,
        broken_farms=tuple(sorted({*heard.broken_farms, farm})),
        broken_farms_here=heard.broken_farms_here | {farm},
    )


def _without_farms(heard: Heard, fine: set[str]) -> Heard:
    return replace(
        heard,
        broken_farms=tuple(farm for farm in heard.broken_farms if farm not in fine),
        broken_farms_here=heard.broken_farms_here - fine,
    )


def parse_farm(said: ApiCode) -> str:
    """The farm that a code is about, or the kind of data where no farm is named."""
    if found := _FARM.search(said.text):
        return found[1]
    return next((kind for kind, codes in _KINDS if said.code in codes), str(said.code))


def parse_farms_connected(text: str) -> set[str] | None:
    """Which farms are fine, as the text of a restored link (1101, 1102) has it; None: all of them.

    Farms that it calls "not connected" may merely be idle, so nothing is read from that.
    """
    if "all data farms are connected" in text.lower():
        return None
    found = _FARMS_CONNECTED.search(text)
    return {farm.strip() for farm in found[1].split(";") if farm.strip()} if found else set()


@dataclass(frozen=True, kw_only=True)
class KeptLook:
    """How things stand at one instant. Instants are on the monotonic clock that the connection was given.

    Attributes:
        state: How things stand with the connection.
        since_s: Since when.
        connections: How many handshakes have completed; a new one may mean a new login.
        accounts: The managed accounts of the last completed handshake.
        server_version: Its version of the protocol.
        latency_ms: Round trip of the last time request that was answered, in milliseconds.
        server_time: What the gateway's clock said then, aware, UTC, whole seconds.
        skew_s: That clock minus this host's, in seconds: see `ApiProbe.skew_s`.
        last_answer_age_s: How long ago that was; None: never.
        is_link_down: Whether the gateway has lost its link to the broker (1100, 2110, and no 1101 or 1102 since). As
            last heard: while not connected, it may be out of date.
        link_down_since_s: Since when, or None.
        broken_farms: Names of the data farms that are broken, sorted; as last heard.
        codes: The last codes, oldest first.
        detail: One sentence for a person.
    """

    state: KeptState
    since_s: float
    connections: int = 0
    accounts: tuple[str, ...] = ()
    server_version: int | None = None
    latency_ms: float | None = None
    server_time: datetime | None = None
    skew_s: float | None = None
    last_answer_age_s: float | None = None
    is_link_down: bool = False
    link_down_since_s: float | None = None
    broken_farms: tuple[str, ...] = ()
    codes: tuple[KeptCode, ...] = ()
    detail: str = ""
