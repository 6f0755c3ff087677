"""The simulator's ports: bound at once, so that one in use is found at once, and named for people."""

import socket
import sys


class PortUnavailableError(Exception):
    """An address cannot be listened on; the text says which one and why."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that has the address, and does not listen yet.

    Raises:
        PortUnavailableError: It cannot be had.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, number)
    except OSError as error:
        raise PortUnavailableError(explain((host, port), error)) from error
    try:
        if sys.platform != "win32":  # there the option means something else: to take a port from its owner
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise PortUnavailableError(explain((host, port), error)) from error
    return bound


def explain(address: tuple[str, int], error: OSError) -> str:
    """Why an address cannot be had."""
    return f"cannot listen on {show(address)}: {error.strerror or error}"


def show(address: tuple[str, int]) -> str:
    """An address for people."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def find_reachable(host: str) -> str:
    """The address at which one that stands for all of them can be reached."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
