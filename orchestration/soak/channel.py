"""The alert channel of a soak run: a server on loopback that writes down what it took, and can be out of order."""

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_POLL_S = 0.05
_LARGEST_BYTES = 1 << 20
_TAKEN, _OUT_OF_ORDER, _WRONG = 204, 503, 400


@dataclass(frozen=True, kw_only=True)
class ReceivedAlert:
    """An alert that the channel took.

    Attributes:
        stamp: When it happened, as the message says.
        title: What it says.
    """

    stamp: str
    title: str


@dataclass
class Channel:
    """What the server took. `is_down` lets it answer 503, and take nothing.

    Attributes:
        port: Where it listens.
        is_down: Whether it is out of order.
        refused: How many tries it refused while it was.
        taken: What it took, in order.
    """

    port: int = 0
    is_down: bool = False
    refused: int = 0
    taken: list[ReceivedAlert] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = field(default_factory=lambda: secrets.token_hex(16))  # no word that stands anywhere else: it is masked

    @property
    def address(self) -> str:
        """What the system is told."""
        return f"http://127.0.0.1:{self.port}/api/webhooks/1/{self.token}"

    def take(self, content: bytes) -> int:
        """Take one message; returns the status to answer with."""
        with self.lock:
            if self.is_down:
                self.refused += 1
                return _OUT_OF_ORDER
            try:
                embed: Any = json.loads(content)["embeds"][0]
                self.taken.append(ReceivedAlert(stamp=str(embed["timestamp"]), title=str(embed["title"])))
            except (ValueError, KeyError, IndexError, TypeError):
                return _WRONG
            return _TAKEN


@contextlib.contextmanager
def open_channel() -> Iterator[Channel]:
    """A channel on a free port, until the end of the block.

    Raises:
        OSError: There is no port.
    """
    channel = Channel()

    class Exchange(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status = channel.take(self.rfile.read(min(length, _LARGEST_BYTES)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: the base class would print every request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    channel.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, name="channel")
    thread.start()
    try:
        yield channel
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
