"""One HTTP request, bounded in every direction, that keeps its address to itself.

The address is a secret (A3), and the HTTP library is generous with it: in exception texts, in the debug lines of its
logger, in chained tracebacks. So no exception of the library leaves this module, only `NotSentError` with a reason
made here; and while a request runs, what the library logs in that thread is dropped.

The library's time-outs are for each wait on the socket: a server that sends one byte a second is never late. So each
request also has a deadline of its own, after which the socket is shut down under it.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from orchestration.settings.hosts import is_loopback
from orchestration.system.clock import Clock
from orchestration.system.platform import platform

if TYPE_CHECKING:
    import requests

_ANSWER_BYTES = 16 * 1024  # an answer that says why has some hundred bytes; nothing else of an answer is read
_LIBRARY_LOGGERS = ("urllib3", "requests", "charset_normalizer")
_TOO_MANY = 429


@dataclass(frozen=True, kw_only=True)
class HttpReply:
    """What the other side answered.

    Attributes:
        status: The HTTP status.
        retry_after_s: How long it asked to wait, or None.
        reason: Why it refused, in its own words; empty if it gave none. Foreign text: not redacted, not cleaned.
    """

    status: int
    retry_after_s: float | None = None
    reason: str = ""


class NotSentError(Exception):
    """There was no answer.

    Attributes:
        reason: Why, without the address.
        is_unsure: Whether the request may have arrived all the same.
    """

    def __init__(self, reason: str, *, is_unsure: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_unsure = is_unsure


class Cutoff:
    """Ends one request from outside: at its deadline, or when the program leaves. A context manager."""

    def __init__(self, bound_s: float) -> None:
        self.bound_s = max(0.0, bound_s)
        self._timer = threading.Timer(self.bound_s, self.cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.is_cut = False
        self.was_connected = False

    def __enter__(self) -> Self:
        if platform().network is None:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def watch(self, connected: socket.socket) -> None:
        """Take note of the request's connection, through a handle of our own: TLS takes the other one away."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = connected.dup()
            self.was_connected = True
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """Shut the connection down: its waiting reader gets an error at once."""
        with self._lock:
            self.is_cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, kw_only=True)
class Try:
    """The limits of one try to reach a channel.

    Attributes:
        cutoff: Its deadline, entered by the caller.
        connect_timeout_s: For a connection.
        read_timeout_s: For each wait on the answer.
        clock: Time.
    """

    cutoff: Cutoff
    connect_timeout_s: float
    read_timeout_s: float
    clock: Clock

    def send(self, address: str, document: dict[str, Any] | None) -> HttpReply:
        """Send one request (`send_request`).

        Raises:
            NotSentError: There was no answer.
        """
        return send_request(
            address,
            document=document,
            cutoff=self.cutoff,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.read_timeout_s,
            clock=self.clock,
        )


def send_request(
    address: str,
    *,
    document: dict[str, Any] | None,
    cutoff: Cutoff,
    connect_timeout_s: float,
    read_timeout_s: float,
    clock: Clock,
) -> HttpReply:
    """Send one request and return the answer's status. `POST` with a JSON document, or `GET` without one.

    Redirects are not followed: they would carry the message to an address that was not configured.

    Args:
        address: Where to. Checked already (`address_problem`).
        document: What to post.
        cutoff: The deadline, entered by the caller.
        connect_timeout_s: For the connection.
        read_timeout_s: For each wait on the answer.
        clock: For an answer that names a date.

    Raises:
        NotSentError: There was no answer.
    """
    if (network := platform().network) is not None:
        timeout_s = min(cutoff.bound_s, connect_timeout_s + read_timeout_s)
        try:
            status, wait_s = network.request(address, document, timeout_s=timeout_s, is_cut=lambda: cutoff.is_cut)
        except OSError as error:
            cutoff.was_connected = isinstance(error, TimeoutError)  # this door connects before it can be late
            raise _explain(error, cutoff) from None
        return HttpReply(status=status, retry_after_s=wait_s)
    known = _library_errors()
    try:
        with _quiet_library(), _open_session(address, cutoff) as session:
            response = session.request(
                "GET" if document is None else "POST",
                address,
                data=None if document is None else json.dumps(document).encode(),
                headers=None if document is None else {"Content-Type": "application/json"},
                timeout=(connect_timeout_s, read_timeout_s),
                allow_redirects=False,
                stream=True,
                auth=_no_auth,
            )
            with contextlib.closing(response):
                return _read_reply(response, clock)
    except known as error:
        explained = _explain(error, cutoff)
    # Outside the handler: the library's exception, which holds the address, is not chained to ours.
    raise explained


def _explain(error: BaseException, cutoff: Cutoff) -> NotSentError:
    """Why there was no answer, without the library's own words."""
    reason, is_certain = _describe(error)
    if cutoff.is_cut:
        reason = "no complete answer in time"
    elif not cutoff.was_connected and reason == _REASONS["TimeoutError"][0]:
        reason = "no connection in time"
    return NotSentError(reason, is_unsure=cutoff.was_connected and not is_certain)


def _library_errors() -> tuple[type[Exception], ...]:
    import requests
    import urllib3.exceptions

    return (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


def _no_auth(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    """Keeps the library from looking for a password in `~/.netrc`."""
    return request


@contextlib.contextmanager
def _open_session(address: str, cutoff: Cutoff) -> Iterator["requests.Session"]:
    import requests

    with requests.Session() as session:
        # Through a proxy where the environment names one, but never for this machine itself.
        session.trust_env = not is_loopback(urllib.parse.urlsplit(address).hostname or "")
        session.headers.update({"User-Agent": "zero-touch-startup", "Accept-Encoding": "identity"})
        _mount_watched(session, cutoff)
        yield session


def _mount_watched(session: "requests.Session", cutoff: Cutoff) -> None:
    import requests.adapters

    class WatchedAdapter(requests.adapters.HTTPAdapter):
        """Lets the cutoff see each connection as soon as there is one, before TLS."""

        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the library's own signature, passed on whole
            pool = super().get_connection_with_tls_context(*args, **kwargs)

            class WatchedConnection(pool.ConnectionCls):  # type: ignore[name-defined,misc] # the class is known at run time only
                def _new_conn(self) -> socket.socket:
                    connected: socket.socket = super()._new_conn()
                    cutoff.watch(connected)
                    return connected

            pool.ConnectionCls = WatchedConnection  # type: ignore[attr-defined] # the stubs do not know this hook
            return pool

    session.mount("http://", WatchedAdapter())
    session.mount("https://", WatchedAdapter())


@dataclass
class Recorded:
    """What became of the requests that a library made on our behalf.

    Attributes:
        replies: The answers, in order.
        error: Why the last request had none; None if it had one.
        forbidden: Why a request was not made at all; None if none was.
    """

    replies: list[HttpReply] = field(default_factory=list)
    error: NotSentError | None = None
    forbidden: str | None = None


class _Recording(threading.local):
    """Of this thread: the try that its requests belong to."""

    one_try: Try | None = None
    recorded: Recorded | None = None


_recording = _Recording()


@contextlib.contextmanager
def record_requests(one_try: Try) -> Iterator[Recorded]:
    """Hold what a library sends with `requests.post` in this thread to our own rules, and note the answers.

    The rules: the try's deadline and time-outs, `https` or loopback, no redirects, no password from `~/.netrc`.
    """
    _substitute_session()
    recorded = Recorded()
    _recording.one_try, _recording.recorded = one_try, recorded
    try:
        with _quiet_library():
            yield recorded
    finally:
        _recording.one_try = _recording.recorded = None


def _substitute_session() -> None:
    """Have `requests.post` use a session that knows of `record_requests`; other threads see no difference."""
    import requests.sessions

    if getattr(requests.sessions.Session, "is_recorded", False):
        return

    class RecordedSession(requests.sessions.Session):
        is_recorded = True

        def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the library's own signature
            one_try, recorded = _recording.one_try, _recording.recorded
            if one_try is None or recorded is None:
                return super().request(method, url, *args, **kwargs)
            parts = urllib.parse.urlsplit(url if isinstance(url, str) else "")
            is_local = is_loopback(parts.hostname or "")
            if parts.scheme != "https" and not is_local:
                recorded.forbidden = "would be sent without TLS (only https, or http to loopback)"
                raise requests.exceptions.InvalidSchema(recorded.forbidden)
            _mount_watched(self, one_try.cutoff)
            self.trust_env = not is_local
            self.auth = self.auth or _no_auth
            kwargs |= {"allow_redirects": False, "timeout": (one_try.connect_timeout_s, one_try.read_timeout_s)}
            try:
                response = super().request(method, url, *args, **kwargs)
            except _library_errors() as error:
                recorded.error = _explain(error, one_try.cutoff)
                raise
            recorded.error = None
            content = (response.content or b"")[:_ANSWER_BYTES]
            wait_s = None
            if response.status_code == _TOO_MANY:
                wait_s = read_wait_s(response.headers, content, one_try.clock)
            reason = read_reason(content) if response.status_code // 100 == 4 else ""  # noqa: PLR2004 - what is refused
            recorded.replies.append(HttpReply(status=response.status_code, retry_after_s=wait_s, reason=reason))
            return response

    requests.sessions.Session = RecordedSession  # type: ignore[misc] # the one place where the library looks it up


def _read_reply(response: "requests.Response", clock: Clock) -> HttpReply:
    """The status, and of a refusal what the body says. A body that breaks off takes nothing from the status."""
    status = response.status_code
    if status // 100 != 4:  # noqa: PLR2004 - the class of what is refused; the status says all about the others
        return HttpReply(status=status)
    content = b""
    with contextlib.suppress(*_library_errors()):
        content = response.raw.read(_ANSWER_BYTES)
    if status == _TOO_MANY:
        return HttpReply(status=status, retry_after_s=read_wait_s(response.headers, content, clock))
    return HttpReply(status=status, reason=read_reason(content))


def read_wait_s(headers: Mapping[str, str], content: bytes, clock: Clock) -> float | None:
    """How long a 429 asks to wait, in seconds; None if it does not say.

    `X-RateLimit-Reset-After` comes first: it is in seconds in every version of Discord's API. But it is about one
    route's bucket, so for a limit that is global or shared with others it says nothing.
    """
    document = _read_document(content)
    is_global = "X-RateLimit-Global" in headers or document.get("global") is True
    is_wider = is_global or headers.get("X-RateLimit-Scope", "").lower() in {"global", "shared"}
    for header in ("Retry-After",) if is_wider else ("X-RateLimit-Reset-After", "Retry-After"):
        if (wait_s := parse_wait_s(headers.get(header), clock)) is not None:
            return wait_s
    parameters = document.get("parameters")  # Telegram's
    wait = document.get("retry_after", parameters.get("retry_after") if isinstance(parameters, dict) else None)
    return parse_wait_s(str(wait), clock)


def read_reason(content: bytes) -> str:
    """Why a request was refused: the `message` of a JSON document with its code, or a line of text; else empty.

    Args:
        content: The body. One that fills the buffer may break off in the middle of a secret; nothing of it is used.
    """
    if len(content) >= _ANSWER_BYTES:
        return ""
    document = _read_document(content)
    for name in ("message", "error", "detail", "description"):
        if isinstance(found := document.get(name), str) and found.strip():
            code = document.get("code")
            return f"{found.strip()} (code {code})" if isinstance(code, int) and code else found.strip()
    text = content.decode("utf-8", "replace").strip()
    # A page, or a document of another shape, is not readable in one line.
    return "" if text[:1] in {"<", "{", "["} else text.partition("\n")[0]


def _read_document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def parse_wait_s(text: str | None, clock: Clock) -> float | None:
    """Seconds from a header: a number, or a date as HTTP allows it. None if it is neither, or not in the future."""
    if text is None:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(text) - clock.now()).total_seconds()
        except (ValueError, TypeError):
            return None
    return wait_s if 0 <= wait_s < float("inf") else None


# By the class's name, so that the HTTP library need not be imported to say it. True: certainly nothing arrived.
_REASONS = {
    "SSLCertVerificationError": ("the server's TLS certificate was not accepted", True),
    "SSLError": ("the TLS connection failed", True),
    "gaierror": ("the host's name was not found", True),
    "ConnectionRefusedError": ("the connection was refused", True),
    "ProxyError": ("the proxy did not answer", True),
    "InvalidProxyURL": ("the proxy's address is malformed", True),
    "TimeoutError": ("no answer in time", False),
    "ConnectTimeout": ("no connection in time", True),
    "ReadTimeout": ("no answer in time", False),
    "ConnectionResetError": ("the connection was reset", False),
    "RemoteDisconnected": ("the connection was closed without an answer", False),
    "InvalidURL": ("the address is malformed", True),
    "MissingSchema": ("the address is malformed", True),
    "LocationParseError": ("the address is malformed", True),
    "UnicodeError": ("the address is malformed", True),
}


def _describe(error: BaseException) -> tuple[str, bool]:
    """Why there was no answer, in our own words, and whether it is certain that nothing arrived.

    The library's own texts are never used: they name the address.
    """
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    for one in reversed(links):  # the root cause says most
        for kind in type(one).__mro__:
            if kind.__name__ in _REASONS:
                return _REASONS[kind.__name__]
        if isinstance(one, OSError) and type(one) in {OSError, BrokenPipeError, ConnectionAbortedError} and one.errno:
            return os.strerror(one.errno).lower(), False
    return f"the connection broke ({type(links[-1]).__name__})", False


_sending = threading.local()


def _is_not_ours(record: logging.LogRecord) -> bool:  # noqa: ARG001 - the signature of a filter
    return not getattr(_sending, "is_active", False)


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Drop what the HTTP library logs in this thread: its debug lines name host and path.

    A filter works only on the logger that makes the record, so each one gets it; other threads log as before.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARY_LOGGERS:
            logging.getLogger(name).addFilter(_is_not_ours)  # the same filter twice is once
    _sending.is_active = True
    try:
        yield
    finally:
        _sending.is_active = False
