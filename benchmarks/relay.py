"""A relay between a client and a host's sshd: it counts how often the conversation turned, and the bytes.

What goes over the line is encrypted, so this is what can be seen of two different programs alike: each time the client
speaks after the host has spoken, one round trip more has begun. On a line with a round trip of 50 ms that is about
50 ms each.
"""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

_PIECE = 1 << 18


@dataclass(kw_only=True)
class Relay:
    """One relay, on loopback.

    Attributes:
        port: Where it listens.
        connections: How many there were.
        turns: How often the client spoke after the host had.
        up_bytes: What the client sent.
    """

    port: int = 0
    connections: int = 0
    turns: int = 0
    up_bytes: int = 0

    def read(self) -> tuple[int, int, int]:
        """Connections, turns and bytes so far."""
        return self.connections, self.turns, self.up_bytes

    @classmethod
    @contextlib.contextmanager
    def running(cls, target_port: int) -> Iterator[Self]:
        """A relay to a port of this machine."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            relay = cls(port=int(listener.getsockname()[1]))

            def listen() -> None:
                while True:
                    try:
                        client, _ = listener.accept()
                    except OSError:
                        return  # closed: it is not needed any more
                    relay.connections += 1
                    threading.Thread(target=relay.pass_on, args=(client, target_port), daemon=True).start()

            threading.Thread(target=listen, name="relay", daemon=True).start()
            try:
                yield relay
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)

    def pass_on(self, client: socket.socket, target_port: int) -> None:
        """Pass everything on, both ways, until one side has ended."""
        with client, socket.create_connection(("127.0.0.1", target_port)) as host, selectors.DefaultSelector() as both:
            for side in (client, host):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            both.register(client, selectors.EVENT_READ, host)
            both.register(host, selectors.EVENT_READ, client)
            host_spoke = True  # the first word is a round trip, too
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in both.select():
                        came_from, goes_to = key.fileobj, key.data
                        if not isinstance(came_from, socket.socket):
                            continue
                        piece = came_from.recv(_PIECE)
                        if not piece:
                            return
                        goes_to.sendall(piece)
                        if came_from is client:
                            self.turns += host_spoke
                            self.up_bytes += len(piece)
                        host_spoke = came_from is host
