"""Real servers of each alert protocol that fail as a seed says, and what they saw: a delivery is judged by that."""

import contextlib
import email
import email.policy
import json
import random
import socket
import socketserver
import struct
import threading
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

_HANG_S = 60.0
Body = dict[str, object] | str


class ChannelFault(StrEnum):
    """What a server does to one message."""

    NONE = "none"
    UNAVAILABLE = "unavailable"  # it says that it cannot take it now
    QUIET = "quiet"  # it asks for quiet for a moment
    REFUSED = "refused"  # it says that this message is not acceptable
    RESET = "reset"  # the connection is reset before anything was read
    DROPPED = "dropped"  # the message was read whole, and there is no answer
    HALF = "half"  # the answer breaks off before it says anything
    HANGS = "hangs"  # there is never an answer


UNSURE = frozenset({ChannelFault.DROPPED, ChannelFault.HALF, ChannelFault.HANGS})
_WEIGHTS = {
    ChannelFault.UNAVAILABLE: 24,
    ChannelFault.QUIET: 16,
    ChannelFault.REFUSED: 8,
    ChannelFault.RESET: 16,
    ChannelFault.DROPPED: 18,
    ChannelFault.HALF: 14,
    ChannelFault.HANGS: 3,
}


@dataclass(frozen=True)
class ChannelSeen:
    """One message that reached the server, or a connection that it reset.

    Attributes:
        fault: What it did to it.
        title: The alert's title; empty for a reset connection.
        may_be_repeat: Whether the message says that it may be a repeat.
    """

    fault: ChannelFault
    title: str = ""
    may_be_repeat: bool = False


def choose_faults(rng: random.Random, count: int) -> list[ChannelFault]:
    """So many faults, with successes between them. A refusal is not followed by another before a success."""
    found: list[ChannelFault] = []
    was_refused = False
    while sum(one is not ChannelFault.NONE for one in found) < count:
        fault = rng.choices([ChannelFault.NONE, *_WEIGHTS], [40, *_WEIGHTS.values()])[0]
        if fault is ChannelFault.REFUSED and was_refused:
            continue
        was_refused = fault is not ChannelFault.NONE and (was_refused or fault is ChannelFault.REFUSED)
        found.append(fault)
    return found


@dataclass
class FaultyServer:
    """A server of one protocol on loopback.

    Attributes:
        titles: What the titles of alerts look like, longest first.
        faults: What it does to the next messages; nothing more once they are used up.
        seen: What reached it, in order.
        port: Where it listens, also while it does not.
    """

    titles: list[str] = field(default_factory=list)
    faults: list[ChannelFault] = field(default_factory=list)
    seen: list[ChannelSeen] = field(default_factory=list)
    port: int = 0
    used: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> ChannelFault:
        """What to do to the next message."""
        with self.lock:
            fault = self.faults.pop(0) if self.faults else ChannelFault.NONE
            self.used += fault is not ChannelFault.NONE
            return fault

    def note(self, fault: ChannelFault, text: str) -> None:
        """Write down a message and what is done to it."""
        title = next((title for title in self.titles if title in text), "")
        with self.lock:
            self.seen.append(ChannelSeen(fault, title, "may be a repeat" in text.lower()))

    @contextlib.contextmanager
    def listening(self, handler: "type[Handler]") -> Iterator[None]:
        """Listen until the end of the block; before and after it a connection is refused."""
        bound = type("Bound", (handler,), {"server_state": self})

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """Print nothing: a client that leaves is what these tests are about."""

        with Server(("127.0.0.1", self.port), bound) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


class Handler(socketserver.StreamRequestHandler):
    server_state: FaultyServer

    def handle(self) -> None:
        fault = self.server_state.next_fault()
        with contextlib.suppress(OSError):
            if fault is ChannelFault.RESET:
                self.server_state.note(fault, "")
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            self.serve(fault)

    @abstractmethod
    def serve(self, fault: ChannelFault) -> None:
        """Take a message, and do this to it."""

    def end_silently(self, fault: ChannelFault, half: bytes) -> None:
        """End without a whole answer."""
        if fault is ChannelFault.HANGS:
            self.server_state.over.wait(_HANG_S)
        if fault is ChannelFault.HALF:
            self.wfile.write(half)
            self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


class HttpHandler(Handler):
    """HTTP with JSON, as Discord, webhooks, ntfy, Gotify and Mattermost speak it."""

    taken: ClassVar[tuple[int, Body]] = (200, {})

    def serve(self, fault: ChannelFault) -> None:
        """See the base class."""
        length = 0
        while (line := self.rfile.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "content-length":
                length = int(value)
        body = self.rfile.read(length).decode()
        self.server_state.note(fault, json.dumps(json.loads(body), ensure_ascii=False))
        if fault in UNSURE:
            self.end_silently(fault, b"HTTP/1.")
            return
        status, document, headers = self.answer(fault)
        content = (document if isinstance(document, str) else json.dumps(document)).encode()
        reason = BaseHTTPRequestHandler.responses.get(status, ("",))[0]
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(content)}", "Connection: close", *headers]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + content)

    def answer(self, fault: ChannelFault) -> tuple[int, Body, tuple[str, ...]]:
        """Status, document and headers."""
        if fault is ChannelFault.UNAVAILABLE:
            return 503, "", ()
        if fault is ChannelFault.QUIET:
            return 429, "", ("Retry-After: 0.1",)
        if fault is ChannelFault.REFUSED:
            return 400, {"message": "not acceptable"}, ()
        return (*self.taken, ())


class DiscordHandler(HttpHandler):
    """Discord's answers."""

    taken = (204, "")

    def answer(self, fault: ChannelFault) -> tuple[int, Body, tuple[str, ...]]:
        """See the base class."""
        if fault is ChannelFault.QUIET:
            return 429, {"message": "You are being rate limited.", "retry_after": 0.1, "global": False}, ()
        if fault is ChannelFault.REFUSED:
            return 400, {"message": "Invalid Form Body", "code": 50035}, ()
        return super().answer(fault)


class TelegramHandler(HttpHandler):
    """The answers of Telegram's Bot API."""

    taken = (200, {"ok": True, "result": {"message_id": 1, "chat": {"id": 1, "type": "private"}}})

    def answer(self, fault: ChannelFault) -> tuple[int, Body, tuple[str, ...]]:
        """See the base class."""
        if fault is ChannelFault.QUIET:
            text = "Too Many Requests: retry after 1"
            return 429, {"ok": False, "error_code": 429, "description": text, "parameters": {"retry_after": 0.1}}, ()
        if fault is ChannelFault.REFUSED:
            return 400, {"ok": False, "error_code": 400, "description": "Bad Request: message text is empty"}, ()
        return super().answer(fault)


class SlackHandler(HttpHandler):
    """The answers of Slack's incoming webhooks: `ok`, or a word that says why not."""

    taken = (200, "ok")

    def answer(self, fault: ChannelFault) -> tuple[int, Body, tuple[str, ...]]:
        """See the base class."""
        return (400, "invalid_payload", ()) if fault is ChannelFault.REFUSED else super().answer(fault)


class MailHandler(Handler):
    """SMTP, as far as a client needs it. Where in the conversation it fails is the seed's choice."""

    def serve(self, fault: ChannelFault) -> None:
        """See the base class."""
        answers = {
            ChannelFault.UNAVAILABLE: "451 later",
            ChannelFault.QUIET: "421 too busy",
            ChannelFault.REFUSED: "554 not acceptable",
        }
        self._say("220 mail.test ESMTP")
        while line := self.rfile.readline():
            verb = line.split()[0].decode().upper() if line.split() else ""
            if verb == "QUIT":
                self._say("221 bye")
                return
            if verb != "DATA":
                self._say("250 ok")
                continue
            self._say("354 go on")
            lines = []
            while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                lines.append(line)
            self.server_state.note(fault, _read_mail(b"".join(lines)))
            if fault in UNSURE:
                self.end_silently(fault, b"2")
                return
            self._say(answers.get(fault, "250 taken"))

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


def _read_mail(content: bytes) -> str:
    message = email.message_from_bytes(content, policy=email.policy.default)
    parts = [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"]
    return "\n".join([str(message["Subject"]), *map(str, parts)])
