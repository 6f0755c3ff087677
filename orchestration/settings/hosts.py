"""Which host a name or an address means.

Nothing here asks a name server: a name that only a name server knows is another host.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterable

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_loopback(host: str, *, takes_shorthand: bool = True) -> bool:
    """Whether a name or an address is loopback, however it is written: `LOCALHOST.`, `[::1]`, `::ffff:127.0.0.1`. Pure.

    A name is no address: `127.example.org` may be anywhere.

    Args:
        host: The name or address.
        takes_shorthand: Whether `127.1` and the like count: not every program takes them for an address.
    """
    address = parse_address(host, takes_shorthand=takes_shorthand)
    return _normalize_name(host) == "localhost" if address is None else address.is_loopback


def reaches_itself(host: str) -> bool:
    """Whether a client that connects there reaches its own machine or container. Pure."""
    address = parse_address(host)
    return is_loopback(host) or (address is not None and address.is_unspecified)


def is_this_host(host: str, *, read_own: Callable[[], Iterable[str]] | None = None) -> bool:
    """Whether a name or an address is this machine: its loopback, one of its own addresses, or its own name.

    Args:
        host: The name or address.
        read_own: Tells this machine's addresses and names; by default those of the operating system.
    """
    return reaches_itself(host) or _canonize(host) in {_canonize(one) for one in (read_own or read_own_names)()}


def normalize_host(host: str, *, read_own: Callable[[], Iterable[str]] | None = None) -> str:
    """One spelling for each host, so that two can be compared; empty for this machine."""
    return "" if is_this_host(host, read_own=read_own) else _canonize(host)


def parse_address(host: str, *, takes_shorthand: bool = True) -> _Address | None:
    """The address that a text is, in any notation that a connection takes; None for a name. Pure."""
    text = host.strip().removeprefix("[").removesuffix("]")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return mapped or address
    # `127.1`, `0x7f000001` and the like: clients accept them. The system's own reader also takes what follows a
    # blank.
    with contextlib.suppress(OSError, ValueError):
        if takes_shorthand and text.isascii() and not any(one.isspace() for one in text):
            return ipaddress.IPv4Address(socket.inet_aton(text))
    return None


def read_own_names() -> tuple[str, ...]:
    """This machine's own addresses and its own name, from the operating system."""
    import psutil

    addresses = [
        one.address.partition("%")[0]
        for found in psutil.net_if_addrs().values()
        for one in found
        if one.family in {socket.AF_INET, socket.AF_INET6}
    ]
    return (*addresses, socket.gethostname())


def _canonize(host: str) -> str:
    address = parse_address(host)
    return _normalize_name(host) if address is None else str(address)


def _normalize_name(host: str) -> str:
    return host.strip().lower().removesuffix(".")
