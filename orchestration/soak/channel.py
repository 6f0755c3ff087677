"""An alert channel on loopback: a real HTTP server that records what it received and answers as it is told."""

import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from orchestration.settings import Secret
from orchestration.system.clock import SystemClock

_CLOCK = SystemClock()
_POLL_S = 0.01
_LARGEST_BYTES = 1 << 20

Behaviour = Callable[["Exchange"], None]


@dataclass(frozen=True)
class Received:
    """One request that the channel received.

    Attributes:
        method: GET or POST.
        path: Its path.
        document: Its JSON document; empty without a body.
        at_s: When, on the monotonic clock.
    """

    method: str
    path: str
    document: dict[str, Any]
    at_s: float

    @property
    def title(self) -> str:
        """The alert's title."""
        return str(self.document["embeds"][0]["title"])

    @property
    def footer(self) -> str:
        """The alert's footer."""
        return str(self.document["embeds"][0]["footer"]["text"])

    @property
    def stamp(self) -> str:
        """When the alert's event happened, in ISO 8601; empty for a request that is no alert."""
        with contextlib.suppress(LookupError, TypeError):
            return str(self.document["embeds"][0]["timestamp"])
        return ""


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Behaviour:
    """A behaviour that answers with this status."""

    def behave(exchange: "Exchange") -> None:
        exchange.send_response(status)
        for name, value in (headers or {}).items():
            exchange.send_header(name, value)
        exchange.send_header("Content-Length", str(len(body)))
        exchange.end_headers()
        exchange.wfile.write(body)

    return behave


def hang(exchange: "Exchange") -> None:
    """Do not answer until the channel ends."""
    exchange.channel.over.wait()


def close(exchange: "Exchange") -> None:
    """Close the connection without an answer."""
    exchange.connection.shutdown(socket.SHUT_RDWR)


ACCEPT, BAD_REQUEST, UNAVAILABLE = answer(204), answer(400), answer(503)


@dataclass
class LoopbackChannel:
    """What the server received, and how it answers.

    Attributes:
        port: Where it listens.
        token: The secret part of its address.
        script: Behaviours that are used up in order; after them it answers 204.
        is_down: Whether it answers 503 and records nothing.
        refused: How many requests it answered with 503 while it was down.
        received: The requests, in order.
        over: Set when the server ends: a behaviour that hangs waits for it.
    """

    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(16))  # stands nowhere else, since it is masked
    script: list[Behaviour] = field(default_factory=list)
    is_down: bool = False
    refused: int = 0
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        """Its address, in the form of a Discord webhook."""
        return f"http://127.0.0.1:{self.port}/api/webhooks/42/{self.token}"

    @property
    def webhook(self) -> Secret:
        """Its address, as a setting."""
        return Secret(self.address)

    @property
    def titles(self) -> list[str]:
        """The titles of the alerts it received."""
        return [one.title for one in self.received]

    def take(self, method: str, path: str, content: bytes) -> Behaviour:
        """Record one request, and return how to answer it."""
        with self.lock:
            if self.is_down:
                self.refused += 1
                return UNAVAILABLE
            try:
                document = json.loads(content) if content else {}
            except ValueError:
                return BAD_REQUEST
            self.received.append(Received(method, path, document, _CLOCK.monotonic_s()))
            return self.script.pop(0) if self.script else ACCEPT


class Exchange(BaseHTTPRequestHandler):
    """One request, and the means to answer it."""

    channel: LoopbackChannel

    def do_POST(self) -> None:
        """Take an alert."""
        length = int(self.headers.get("Content-Length") or 0)
        behaviour = self.channel.take(self.command, self.path, self.rfile.read(min(length, _LARGEST_BYTES)))
        self.close_connection = True
        with contextlib.suppress(OSError):
            behaviour(self)

    def do_GET(self) -> None:
        """Take a heartbeat."""
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Print nothing: the base class would print every request."""


@contextlib.contextmanager
def open_channel(*script: Behaviour, token: str = "") -> Iterator[LoopbackChannel]:
    """A channel on a free port, until the end of the block.

    Args:
        script: How it answers the first requests; then it answers 204.
        token: The secret part of its address; a random one by default.

    Raises:
        OSError: No port is free.
    """
    channel = LoopbackChannel(script=list(script))
    channel.token = token or channel.token
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundExchange", (Exchange,), {"channel": channel}))
    server.daemon_threads = False
    channel.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, name="channel")
    thread.start()
    try:
        yield channel
    finally:
        channel.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
