"""The bot's end of the `NOTIFY_SOCKET`: send a message to the listener, if there is one."""

import contextlib
import socket
import sys
from collections.abc import Mapping

NOTIFY_SOCKET = "NOTIFY_SOCKET"
WATCHDOG_USEC = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"


class Notifier:
    """Speaks systemd's sd_notify protocol. Where no socket was given, or no process listens any more, it says nothing.

    Args:
        environ: Holds `NOTIFY_SOCKET`.
        patience_s: How long a word may wait for a listener that is busy; seconds. By default it is dropped at once.
    """

    def __init__(self, environ: Mapping[str, str], *, patience_s: float = 0.0) -> None:
        self._patience_s = patience_s
        address = environ.get(NOTIFY_SOCKET, "")
        # `@` stands for the NUL that an abstract socket's name starts with.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def say(self, **words: str) -> None:
        """Send one datagram, for example `say(READY="1", STATUS="connected")`. Never raises."""
        if not self._address or sys.platform == "win32":
            return
        datagram = "\n".join(f"{name}={' '.join(value.split())}" for name, value in words.items())
        # Gone after the hand-over, or full: neither is this program's trouble.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(self._patience_s)
            client.sendto(datagram.encode(), self._address)


def read_watchdog_interval_s(environ: Mapping[str, str], *, pid: int) -> float | None:
    """How often `WATCHDOG=1` is to be said: half of what the watchdog allows, as its makers advise; None if unasked.

    Args:
        environ: The environment.
        pid: This process: a request to another one is none.
    """
    allowed, meant = environ.get(WATCHDOG_USEC, ""), environ.get(WATCHDOG_PID, "")
    if not allowed.isascii() or not allowed.isdigit() or int(allowed) == 0 or meant not in {"", str(pid)}:
        return None
    return int(allowed) / 1_000_000 / 2
