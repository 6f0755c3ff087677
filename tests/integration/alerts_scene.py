"""A real HTTP server in place of the channel, that answers as it is told, and a delivery to talk to it."""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from orchestration.alerts.alert import Alert, Severity
from orchestration.alerts.channel import Channel as AlertChannel
from orchestration.alerts.delivery import Delivery, DeliveryLimits, Outbox
from orchestration.alerts.discord import DiscordChannel
from orchestration.journal import Journal
from orchestration.redaction import Redactor
from orchestration.settings import Secret
from orchestration.system.clock import SystemClock

PATIENCE_S = 30.0
TOKEN = "planted-T0ken_9f8e7d6c5b4a"  # noqa: S105 - planted to be looked for
CLOCK = SystemClock()
LOG = logging.getLogger("tests.alerts")
QUICK = DeliveryLimits(
    connect_timeout_s=2.0,
    read_timeout_s=0.3,
    try_timeout_s=1.0,
    tries_per_round=3,
    backoff_s=0.01,
    other_sender_wait_s=0.01,
)

Behaviour = Callable[["Exchange"], None]


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    document: dict[str, Any]
    at_s: float

    @property
    def title(self) -> str:
        return str(self.document["embeds"][0]["title"])

    @property
    def footer(self) -> str:
        return str(self.document["embeds"][0]["footer"]["text"])


class Exchange(BaseHTTPRequestHandler):
    """One request and the means to answer it."""

    channel: "Channel"

    def do_POST(self) -> None:
        self._take()

    def do_GET(self) -> None:
        self._take()

    def _take(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.close_connection = True
        document = json.loads(content) if content else {}
        behaviour = self.channel.note(Received(self.command, self.path, document, time.monotonic()))
        with contextlib.suppress(OSError):
            behaviour(self)

    def log_message(self, *_: object) -> None:  # the base class prints to standard error
        pass


@dataclass
class Channel:
    """What the server was told to do and what it got. Behaviours are used up in order, then it answers 204."""

    port: int = 0
    script: list[Behaviour] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, received: Received) -> Behaviour:
        with self.lock:
            self.received.append(received)
            return self.script.pop(0) if self.script else answer(204)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/webhooks/42/{TOKEN}"

    @property
    def webhook(self) -> Secret:
        return Secret(self.address)

    @property
    def discord(self) -> DiscordChannel:
        return DiscordChannel(webhook=self.webhook)

    @property
    def titles(self) -> list[str]:
        return [one.title for one in self.received]


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.send_response(status)
        for name, value in (headers or {}).items():
            exchange.send_header(name, value)
        exchange.send_header("Content-Length", str(len(body)))
        exchange.end_headers()
        exchange.wfile.write(body)

    return behave


def hang(exchange: Exchange) -> None:
    """Never answer."""
    exchange.channel.over.wait(PATIENCE_S)


def close(exchange: Exchange) -> None:
    """Close without an answer."""
    exchange.connection.shutdown(socket.SHUT_RDWR)


def garbage(exchange: Exchange) -> None:
    """Answer with something that is not HTTP."""
    exchange.wfile.write(b"\x15\x03\x01 this is not HTTP\r\n\r\n")


def trickle(exchange: Exchange) -> None:
    """Send headers for ever, a byte at a time: no single wait of the client is ever long."""
    _trickle(exchange, b"HTTP/1.1 503 Service Unavailable\r\nX-Slow: ")


def trickle_after_success(exchange: Exchange) -> None:
    """The same, after a status that says that the message was taken."""
    _trickle(exchange, b"HTTP/1.1 204 No Content\r\nX-Slow: ")


def _trickle(exchange: Exchange, beginning: bytes) -> None:
    exchange.wfile.write(beginning)
    while not exchange.channel.over.wait(0.02):
        exchange.wfile.write(b"z")


@contextlib.contextmanager
def run_channel(*script: Behaviour) -> Iterator[Channel]:
    """A channel that does these things in order, then answers 204."""
    channel = Channel(script=list(script))

    class BoundExchange(Exchange):
        pass

    BoundExchange.channel = channel
    server = ThreadingHTTPServer(("127.0.0.1", 0), BoundExchange)
    server.daemon_threads = False
    channel.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield channel
    finally:
        channel.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    with Journal.open(folder / "journal.sqlite3", clock=CLOCK, log=LOG) as journal:
        yield journal


def make_alert(title: str = "Something", *, severity: Severity = Severity.INFO, **changes: Any) -> Alert:  # noqa: ANN401 - any field of an alert
    fields: dict[str, Any] = {
        "message": "It happened.",
        "host": "desk",
        "instance": "default",
        "run_id": "run-1",
        "step": "gateway.wait",
        "cause": "GATEWAY_TIMEOUT",
        "next_action": "Look at the gateway's log.",
        "at": CLOCK.now(),
        **changes,
    }
    return Alert(severity=severity, title=title, **fields)


def make_delivery(
    outbox: Outbox, webhook: Secret | None, *, limits: DeliveryLimits = QUICK, heartbeat: Secret | None = None
) -> Delivery:
    channels = () if webhook is None or not webhook.reveal() else (DiscordChannel(webhook=webhook),)
    return make_delivery_to(outbox, channels, limits=limits, heartbeat=heartbeat)


def make_delivery_to(
    outbox: Outbox,
    channels: Sequence[AlertChannel],
    *,
    limits: DeliveryLimits = QUICK,
    heartbeat: Secret | None = None,
) -> Delivery:
    return Delivery(
        channels=channels,
        heartbeat=heartbeat,
        outbox=outbox,
        clock=CLOCK,
        redactor=Redactor(),
        log=LOG,
        limits=limits,
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not so in {PATIENCE_S} s: {what}"
        time.sleep(0.01)
