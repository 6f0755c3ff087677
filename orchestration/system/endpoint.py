"""Where something is reached, as one value."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a server listens, or a client reaches it.

    Attributes:
        host: An address or a name: from within a container another container's own name.
        port: The port there.
        network: The Docker network in which that is so; empty for this host's own, or any that a container reaches.
    """

    host: str
    port: int
    network: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
