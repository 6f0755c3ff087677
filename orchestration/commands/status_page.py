"""The live page of a supervisor and of `inv monitor`: `/`, `/healthz` and `/metrics`. To read only: it acts on nothing.

It looks as `inv status` does, in threads of its own and at most once in `_FRESH_S`, however many clients ask. One that
asks slowly, never reads or comes a thousand times delays neither the watch nor, for long, the others.
"""

import contextlib
import hmac
import http.server
import io
import ipaddress
import logging
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from orchestration.commands.next_events import NextEvent, describe_weekly_login, find_next_events
from orchestration.commands.status import Status, StatusCode, read_status
from orchestration.commands.status_metrics import CONTENT_TYPE, count, render_metrics
from orchestration.commands.views import build_event_text, build_status_rows, read_version
from orchestration.gameplan import MarketCalendar, load_calendar
from orchestration.journal import JournalReader
from orchestration.presenter import describe_moment
from orchestration.redaction import clean_line, redactor_for
from orchestration.reports.page import open_templates
from orchestration.settings import Settings
from orchestration.settings.hosts import is_loopback
from orchestration.state_dir import journal_path
from orchestration.system.clock import Clock
from orchestration.system.commands import SystemCommands

if TYPE_CHECKING:
    from orchestration.journal import Evidence, ReportedEvent

_LOG = logging.getLogger("orchestration.status_page")
_TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates" / "status"
_FRESH_S = 5.0
_REFRESH_S = 15
_REQUEST_TIMEOUT_S = 10.0  # for a whole request, its answer included
_MOST_CLIENTS = 16  # at the same time; one more is turned away at once
_MOST_EVENTS = 20
_WELL = frozenset({StatusCode.RUNNING, StatusCode.STANDBY})
_COOKIE = "zero_touch_token"
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """What a client gets."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class _StatusLook:
    status: Status
    evidence: "Evidence"
    next_events: tuple[NextEvent, ...]
    at: datetime
    at_s: float


class StatusSource:
    """The status, looked at again when it is asked for and older than `_FRESH_S`.

    Args:
        settings: The configuration.
        clock: Tells the time.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._began = clock.now()
        self._calendar: MarketCalendar | None = None  # read when the first client asks: its package is large
        self._lock = threading.Lock()
        self._look: _StatusLook | None = None

    def read(self) -> _StatusLook:
        """The newest look; who comes while one is made waits for it."""
        with self._lock:
            look = self._look
            if look is None or self._clock.monotonic_s() - look.at_s >= _FRESH_S:
                status = read_status(self._settings, commands=SystemCommands(), clock=self._clock)
                evidence = JournalReader(journal_path(self._settings.state_dir)).read_evidence(self._began)
                now = self._clock.now()
                self._calendar = self._calendar or load_calendar(self._settings)
                look = _StatusLook(
                    status=status,
                    evidence=evidence,
                    next_events=find_next_events(
                        self._settings, self._calendar, now=now, full_login_at=status.gateway.full_login_at
                    ),
                    at=now,
                    at_s=self._clock.monotonic_s(),
                )
                self._look = look
            return look

    def build_answer(self, path: str) -> HttpResponse:
        """What stands at a path."""
        if path == "/healthz":
            return _build_health(self.read().status)
        if path == "/metrics":
            look = self.read()
            counts = count(look.evidence, self._began)
            body = render_metrics(
                look.status, counts, version=read_version(), now=look.at, next_events=look.next_events
            )
            return HttpResponse(status=HTTPStatus.OK, content_type=CONTENT_TYPE, body=body)
        if path == "/":
            return HttpResponse(
                status=HTTPStatus.OK, content_type="text/html; charset=utf-8", body=self._render(self.read()).encode()
            )
        return _build_text(HTTPStatus.NOT_FOUND, "Here are /, /healthz and /metrics.")

    def _render(self, look: _StatusLook) -> str:
        redactor = redactor_for(self._settings.secrets)
        rows = [(name.strip(), clean_line(value, redactor)) for name, value in build_status_rows(look.status)]
        gateway = look.status.gateway
        weekly = describe_weekly_login(self._settings, now=look.at, full_login_at=gateway.full_login_at)
        rows.append(("weekly login", clean_line(weekly, redactor)))
        events = [
            (describe_moment(event.at), *(clean_line(text, redactor) for text in _describe_event(event)))
            for event in reversed(look.evidence.events)
            if build_event_text(event)[0]
        ]
        return (
            open_templates(_TEMPLATES)
            .get_template("status.html.j2")
            .render(
                status=look.status,
                headline=clean_line(_name_state(look.status), redactor),
                is_well=look.status.code in _WELL,
                problems=[clean_line(one, redactor) for one in look.status.problems],
                notes=[clean_line(one, redactor) for one in look.status.notes],
                rows=rows,
                events=events[:_MOST_EVENTS],
                next_events=[(describe_moment(one.at), one.text) for one in look.next_events],
                refresh_s=_REFRESH_S,
                at=describe_moment(look.at),
                version=read_version(),
            )
        )


def _describe_event(event: "ReportedEvent") -> tuple[str, str]:
    title, message = build_event_text(event)
    return (f"Supervision {title}" if event.kind.startswith("watch_") else title), message


def _name_state(status: Status) -> str:
    if status.is_finished_for_now:
        return "Finished for today"
    if status.hold is not None and status.code is StatusCode.NOT_RUNNING:
        return "Held down"
    strategy = f" on strategy {status.plan.strategy}" if status.plan else ""
    names = {
        StatusCode.RUNNING: f"Running{strategy}",
        StatusCode.DEGRADED: f"Running{strategy}, needs attention",
        StatusCode.NOT_RUNNING: "Bot not running",
        StatusCode.UNKNOWN: "Unknown whether the bot runs",
        StatusCode.STANDBY: "Standby",
    }
    return names[status.code]


def _build_health(status: Status) -> HttpResponse:
    if status.code in _WELL:
        return _build_text(HTTPStatus.OK, "ok")
    reasons = status.problems or status.notes or (_name_state(status),)
    return _build_text(HTTPStatus.SERVICE_UNAVAILABLE, f"{_name_state(status)}: {'; '.join(reasons)}")


def _build_text(status: HTTPStatus, text: str) -> HttpResponse:
    return HttpResponse(status=status, content_type="text/plain; charset=utf-8", body=f"{clean_line(text)}\n".encode())


@dataclass(frozen=True, kw_only=True)
class _Access:
    """Who may read."""

    token: str
    host: str

    def admits(self, given: str) -> bool:
        """Whether this is the token, or none is needed."""
        return not self.token or hmac.compare_digest(given.encode(), self.token.encode())

    def knows(self, named: str) -> bool:
        """Whether a request's `Host` may mean this server. Else a page elsewhere could read it by a name of its own."""
        name = urllib.parse.urlsplit(f"//{named}").hostname or ""
        return bool(self.token) or is_loopback(name) or name == self.host.lower()


class _RequestReader(io.RawIOBase):
    """A client's bytes, until the request's deadline."""

    def __init__(self, client: socket.socket, left_s: Callable[[], float]) -> None:
        self._client = client
        self._left_s = left_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        self._client.settimeout(self._left_s())
        return self._client.recv_into(buffer)


class _Handler(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "zero-touch", ""
    source: ClassVar[StatusSource]
    access: ClassVar[_Access]
    clock: ClassVar[Clock]

    def setup(self) -> None:
        super().setup()
        deadline_s = self.clock.monotonic_s() + _REQUEST_TIMEOUT_S

        def left_s() -> float:
            left = deadline_s - self.clock.monotonic_s()
            if left <= 0:
                raise TimeoutError
            return left

        self.rfile = io.BufferedReader(_RequestReader(self.connection, left_s))

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def _answer(self, *, has_body: bool) -> None:
        parts = urllib.parse.urlsplit(self.path)
        answer = self._refuse(parts) or self._build(parts)
        self.connection.settimeout(_REQUEST_TIMEOUT_S)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in (*_HEADERS, *answer.headers):
            self.send_header(name, value)
        self.end_headers()
        if has_body:
            self.wfile.write(answer.body)

    def _refuse(self, parts: urllib.parse.SplitResult) -> HttpResponse | None:
        """Why this client is told nothing, or None; and where it goes on without the token in the address."""
        if not self.access.knows(self.headers.get("Host", "")):
            return _build_text(HTTPStatus.FORBIDDEN, "This name is not this server's.")
        in_address = urllib.parse.parse_qs(parts.query).get("token", [""])[0]
        if in_address and self.access.admits(in_address) and parts.path == "/":
            # A browser keeps the token, and neither the address bar nor the history shows it any more.
            cookie = f"{_COOKIE}={urllib.parse.quote(in_address)}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000"
            answer = _build_text(HTTPStatus.SEE_OTHER, "Go on at /.")
            return HttpResponse(
                status=answer.status,
                content_type=answer.content_type,
                body=answer.body,
                headers=(("Location", "/"), ("Set-Cookie", cookie)),
            )
        if any(self.access.admits(given) for given in (in_address, self._read_bearer(), self._read_cookie())):
            return None
        answer = _build_text(HTTPStatus.UNAUTHORIZED, "STATUS_TOKEN is needed: as a bearer token, or /?token=TOKEN.")
        return HttpResponse(
            status=answer.status,
            content_type=answer.content_type,
            body=answer.body,
            headers=(("WWW-Authenticate", "Bearer"),),
        )

    def _read_bearer(self) -> str:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        return given.strip() if scheme.lower() == "bearer" else ""

    def _read_cookie(self) -> str:
        pairs = (one.strip().partition("=") for one in self.headers.get("Cookie", "").split(";"))
        return next((urllib.parse.unquote(value) for name, _, value in pairs if name == _COOKIE), "")

    def _build(self, parts: urllib.parse.SplitResult) -> HttpResponse:
        try:
            return self.source.build_answer(parts.path)
        except Exception as error:  # noqa: BLE001 - the page's boundary: a mistake of ours must reach neither the watch nor a client
            _LOG.exception("The live page failed")
            return _build_text(HTTPStatus.INTERNAL_SERVER_ERROR, f"The status cannot be shown: {type(error).__name__}.")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nothing is written for a request: an address may hold the token."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        if isinstance(_parse_ip(address[0]), ipaddress.IPv6Address):
            self.address_family = socket.AF_INET6
        self._places = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """A client that left or was too slow is no news."""


def _parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host)
    return None


@contextlib.contextmanager
def serving_status(settings: Settings, clock: Clock, warn: Callable[[str], None]) -> Iterator[None]:
    """Serve the page while the block runs, if STATUS_LISTEN says where.

    A port that is taken, or an address that is not this host's, is a warning: the watch goes on without the page.
    """
    listen = settings.status_listen
    if listen is None:
        yield
        return
    token = settings.status_token.reveal() if settings.status_token is not None else ""
    if not token and not is_loopback(listen.host):
        warn("STATUS_TOKEN is not set: the live page is not served, for others than this host could read it")
        yield
        return
    handler = type(
        "Handler",
        (_Handler,),
        {
            "source": StatusSource(settings, clock),
            "access": _Access(token=token, host=listen.host),
            "clock": clock,
        },
    )
    try:
        server = _Server((listen.host, listen.port), handler)
    except OSError as error:
        warn(f"STATUS_LISTEN: {listen} cannot be used ({error.strerror}); there is no live page")
        yield
        return
    thread = threading.Thread(target=server.serve_forever, name="status-page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
