"""A crowd at an HTTP server: many real connections that ask slowly, never read, or talk rubbish, and come back."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

_SAID = (b"GET / HT", b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00\xff\n\n")
_LOOK_S = 0.05
_BACKLOG_S = 0.01  # a server that has just turned one away is not asked again at once


@dataclass
class Crowd:
    """Clients of one server, all of them in one thread.

    Attributes:
        port: The server's port, on this machine.
        size: How many connections are kept open, or opened again.
        opened: How many connections were made so far.
        turned_away: How many of them the server has closed.
    """

    port: int
    size: int
    opened: int = 0
    turned_away: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Come, and come back, until `leave`."""
        said = cycle(_SAID)
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            clients = 0
            while not self._over.is_set():
                while clients < self.size and not self._over.is_set():
                    client = socket.socket()
                    client.setblocking(False)  # noqa: FBT003 - the standard library's own
                    client.connect_ex(("127.0.0.1", self.port))
                    selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, next(said))
                    stack.callback(client.close)
                    clients += 1
                    self.opened += 1
                for key, events in selector.select(_LOOK_S):
                    clients -= self._serve(selector, key, events)
                time.sleep(_BACKLOG_S)

    def _serve(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int) -> bool:
        """Say what this one says, once; whether the server has closed its connection."""
        client = key.fileobj
        assert isinstance(client, socket.socket)
        try:
            if events & selectors.EVENT_WRITE:
                client.send(key.data)
                selector.modify(client, selectors.EVENT_READ, b"")
                return False
            if client.recv(64):
                selector.modify(client, selectors.EVENT_READ, b"")
                return False
        except OSError:
            pass  # turned away as well
        selector.unregister(client)
        client.close()
        self.turned_away += 1
        return True

    def leave(self) -> None:
        """End it."""
        self._over.set()


@contextlib.contextmanager
def crowded(port: int, size: int = 1000) -> Iterator[Crowd]:
    """A crowd at this port while the block runs."""
    crowd = Crowd(port=port, size=size)
    thread = threading.Thread(target=crowd.run, daemon=True)
    thread.start()
    try:
        yield crowd
    finally:
        crowd.leave()
        thread.join()
