"""Misbehaviours of an alert channel, and a delivery to talk to it."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from orchestration.alerts.alert import Alert, Severity
from orchestration.alerts.channel import Channel
from orchestration.alerts.delivery import Delivery, DeliveryLimits, Outbox
from orchestration.alerts.discord import DiscordChannel
from orchestration.journal import Journal
from orchestration.redaction import Redactor
from orchestration.settings import Secret
from orchestration.soak.channel import Behaviour, Exchange, LoopbackChannel, Received, answer, open_channel
from orchestration.system.clock import SystemClock

__all__ = ["Behaviour", "Exchange", "LoopbackChannel", "Received", "answer"]  # handed on from the channel

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


def run_channel(*script: Behaviour) -> AbstractContextManager[LoopbackChannel]:
    """A channel that does these things in order, then answers 204; its address holds the planted token."""
    return open_channel(*script, token=TOKEN)


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
    channels: Sequence[Channel],
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
