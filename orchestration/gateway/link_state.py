"""The API's link to the broker and its data farms, as the gateway reports them over all connections. Pure.

The gateway tells the state of its link to the broker and of its data farms in codes, and only when it changes or when
a client connects. `LinkState` is the pure account of them: codes go in, what is down or broken comes out.
"""

import re
from dataclasses import dataclass, field, replace

from orchestration.gateway.api_status import FARM_BROKEN, FARM_FINE, LINK_DOWN, LINK_RESTORED, ApiCode, parse_farm

CODES_KEPT = 50
_FARMS_KEPT = 100  # the broker has about thirty
_FARM_IDLE = frozenset({2107, 2108, 2159})  # not used now, there on demand: not broken
_FARMS_CONNECTED = re.compile(r"following farms are connected: ([^:]*?)\.?(?: The following farms|\s*$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class LinkState:
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

    codes: tuple[ApiCode, ...] = ()
    link_down_since_s: float | None = None
    broken_farms: tuple[str, ...] = ()
    is_link_down_here: bool = False
    broken_farms_here: frozenset[str] = field(default_factory=frozenset)

    def begin(self) -> "LinkState":
        """A new connection."""
        return replace(self, is_link_down_here=False, broken_farms_here=frozenset())

    def hear(self, said: ApiCode, at_s: float) -> "LinkState":
        """One code, at the given instant of the monotonic clock."""
        codes = (*self.codes, ApiCode(code=said.code, text=said.text, at_s=at_s))[-CODES_KEPT:]
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

    def settle(self) -> "LinkState":
        """The present connection has told all that it has to tell: only that stands."""
        return replace(
            self,
            link_down_since_s=self.link_down_since_s if self.is_link_down_here else None,
            broken_farms=tuple(sorted(self.broken_farms_here)),
        )


def _with_farm(heard: LinkState, farm: str) -> LinkState:
    if len(heard.broken_farms) >= _FARMS_KEPT:
        return heard
    return replace(
        heard,
        broken_farms=tuple(sorted({*heard.broken_farms, farm})),
        broken_farms_here=heard.broken_farms_here | {farm},
    )


def _without_farms(heard: LinkState, fine: set[str]) -> LinkState:
    return replace(
        heard,
        broken_farms=tuple(farm for farm in heard.broken_farms if farm not in fine),
        broken_farms_here=heard.broken_farms_here - fine,
    )


def parse_farms_connected(text: str) -> set[str] | None:
    """Which farms are fine, as the text of a restored link (1101, 1102) has it; None: all of them.

    Farms that it calls "not connected" may merely be idle, so nothing is read from that.
    """
    if "all data farms are connected" in text.lower():
        return None
    found = _FARMS_CONNECTED.search(text)
    return {farm.strip() for farm in found[1].split(";") if farm.strip()} if found else set()
