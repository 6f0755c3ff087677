"""The address of the channel reaches nothing but the channel: not logs at any level, exceptions, records or reports."""

import contextlib
import io
import logging
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.alerts.alert import Severity
from orchestration.alerts.channel import channel_problem
from orchestration.alerts.discord import DiscordChannel, webhook_problem
from orchestration.alerts.heartbeat import Ping
from orchestration.alerts.posting import Cutoff, NotSentError, send_request
from orchestration.journal import Journal, PendingAlert
from orchestration.settings import Secret
from orchestration.soak.channel import close, hang
from tests.integration.alerts_scene import (
    CLOCK,
    LOG,
    TOKEN,
    Behaviour,
    answer,
    garbage,
    make_alert,
    make_delivery,
    open_journal,
    run_channel,
    trickle,
)

_HEART = "planted-heart-0a1b2c3d4e5f"


@contextlib.contextmanager
def _everything_logged() -> Iterator[io.StringIO]:
    """All that any logger says at any level, with tracebacks, from all threads."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(pathname)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def _assert_clean(*texts: str) -> None:
    for text in texts:
        for secret in (TOKEN, _HEART):
            place = text.find(secret)
            assert place < 0, f"a secret got out: …{text[max(0, place - 200) : place + 60]}…"


def _assert_folder_clean(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _assert_clean(path.read_bytes().decode("utf-8", "replace"))


_FAULTS = {
    "refused": None,
    "hangs": hang,
    "trickles": trickle,
    "closes": close,
    "is not HTTP": garbage,
    "dead": answer(404),
    "broken": answer(500),
    "refuses the alert": answer(400),
    "refuses it with its address": answer(
        400, body=f'{{"message": "no hook http://x/api/webhooks/42/{TOKEN}"}}'.encode()
    ),
    "refuses it in a long line": answer(400, body=b"y" * 190 + TOKEN.encode()),
    "refuses it without an end": answer(400, body=(b"z" * 100 + TOKEN.encode()) * 200),
    "redirects": answer(302, {"Location": f"http://127.0.0.1:1/api/webhooks/42/{TOKEN}"}),
    "rate-limits": answer(429, {"Retry-After": "0.01"}),
    "takes it": answer(204),
}


@pytest.mark.parametrize("fault", _FAULTS.values(), ids=_FAULTS)
def test_no_fault_of_the_channel_prints_its_address(
    tmp_path: Path, fault: Behaviour | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        _everything_logged() as logged,
        run_channel(*[fault or close] * 20) as channel,
        open_journal(tmp_path) as journal,
    ):
        port = channel.port
        if fault is None:
            with socket.create_server(("127.0.0.1", 0)) as reserved:
                port = reserved.getsockname()[1]
        webhook = Secret(f"http://127.0.0.1:{port}/api/webhooks/42/{TOKEN}")
        heartbeat = Secret(f"http://127.0.0.1:{port}/ping/{_HEART}")
        delivery = make_delivery(journal, webhook, heartbeat=heartbeat)
        delivery.ping(Ping.START)
        delivery.send(
            make_alert(
                f"about {webhook.reveal()}",
                severity=Severity.CRITICAL,
                message=f"the bot said {TOKEN}",
                evidence=(f"GET {heartbeat.reveal()}", f"token={TOKEN}"),
                next_action=f"open {webhook.reveal()}?wait=true",
            )
        )
        report = delivery.close()
        shown = channel_problem(journal, DiscordChannel(webhook=webhook)) or ""
        posted = repr([one.document for one in channel.received])
    _assert_clean(logged.getvalue(), repr(report), shown, posted, repr(delivery), repr(vars(delivery)))
    _assert_clean(*capfd.readouterr())
    _assert_folder_clean(tmp_path)
    assert "about" in logged.getvalue()


@contextlib.contextmanager
def _plain_server() -> Iterator[int]:
    """Speaks no TLS: answers whatever comes with a line of plain text."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connected, _ = server.accept()
                    with connected:
                        connected.settimeout(5)
                        connected.recv(4096)
                        connected.sendall(b"I do not speak that\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join()


_ADDRESSES = {
    "refused": "http://127.0.0.1:1/{}",
    "no TLS there": "https://127.0.0.1:{port}/{}",
    "a port that is none": "http://127.0.0.1:99999999/{}",
    "a host that is none": "http://127.0.0.1..a b/{}",
    "a label too long": "http://" + "a" * 70 + "/{}",
    "no host": "http:///{}",
    "another scheme": "gopher://127.0.0.1/{}",
    "no scheme": "127.0.0.1/{}",
    "half an IPv6 address": "http://[::1/{}",
    "a line break": "http://127.0.0.1:1/\n{}",
}


@pytest.mark.parametrize("template", _ADDRESSES.values(), ids=_ADDRESSES)
def test_no_exception_of_the_http_library_gets_out(template: str) -> None:
    with _everything_logged() as logged, _plain_server() as port, Cutoff(5) as cutoff:
        address = template.replace("{port}", str(port)).replace("{}", f"api/webhooks/42/{TOKEN}")
        with pytest.raises(NotSentError) as caught:
            send_request(address, document={}, cutoff=cutoff, connect_timeout_s=1, read_timeout_s=1, clock=CLOCK)
    error = caught.value
    told = "".join(traceback.format_exception(error))
    assert error.__cause__ is None
    assert error.__context__ is None
    _assert_clean(told, repr(error), str(error), logged.getvalue())
    assert not error.is_unsure


def test_a_certificate_that_is_not_trusted_prints_nothing(tmp_path: Path) -> None:
    """A server of our own with a certificate of our own, which no authority signed."""
    import ssl
    import subprocess

    argv = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made = subprocess.run(
        ["openssl", *argv, "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("needs the openssl program")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connected, _ = server.accept()
            with connected, contextlib.suppress(OSError):
                context.wrap_socket(connected, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"https://127.0.0.1:{server.getsockname()[1]}/api/webhooks/42/{TOKEN}"
        with _everything_logged() as logged, Cutoff(10) as cutoff, pytest.raises(NotSentError) as caught:
            send_request(address, document={}, cutoff=cutoff, connect_timeout_s=5, read_timeout_s=5, clock=CLOCK)
        thread.join()
    assert caught.value.reason == "the server's TLS certificate was not accepted"
    _assert_clean("".join(traceback.format_exception(caught.value)), logged.getvalue())


@pytest.mark.parametrize(
    "address",
    [
        f"http://discord.com/api/webhooks/42/{TOKEN}",
        f"https://discord.com/{TOKEN}",
        f"ftp://127.0.0.1/{TOKEN}",
        f"https://127.0.0.1:port/{TOKEN}",
        f"https://[::1/{TOKEN}",
        f"{TOKEN}",
        f"https://127.0.0.1/ {TOKEN}",
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_it(address: str) -> None:
    problem = webhook_problem(Secret(address))
    assert problem is not None
    _assert_clean(problem)


def test_the_library_of_other_threads_logs_as_before(tmp_path: Path) -> None:
    with _everything_logged() as logged, run_channel() as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert())
        delivery.close()
        assert "urllib3.connectionpool" in sys.modules
        logging.getLogger("urllib3.connectionpool").debug("another library's line")
    assert "another library's line" in logged.getvalue()


def test_a_server_that_stretches_the_tls_handshake_is_cut_off() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connected, _ = server.accept()
            with connected, contextlib.suppress(OSError):
                connected.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB, which never ends
                while not over.wait(0.02):
                    connected.sendall(b"\x02")

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"https://127.0.0.1:{server.getsockname()[1]}/api/webhooks/42/{TOKEN}"
        with _everything_logged() as logged, Cutoff(0.4) as cutoff, pytest.raises(NotSentError) as caught:
            send_request(address, document={}, cutoff=cutoff, connect_timeout_s=600, read_timeout_s=600, clock=CLOCK)
        over.set()
        thread.join()
    assert caught.value.reason == "no complete answer in time"
    _assert_clean("".join(traceback.format_exception(caught.value)), logged.getvalue())


class _BrokenJournal(Journal):
    """Has a mistake in it, whose text holds what it should not."""

    def read_pending_alerts(self, channel: str | None = None) -> list[PendingAlert]:
        if threading.current_thread().name == "alerts":
            raise RuntimeError(f"unexpected {TOKEN}")
        return super().read_pending_alerts(channel)


def test_a_mistake_in_the_sender_is_told_without_its_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        _everything_logged() as logged,
        _BrokenJournal.open(tmp_path / "journal.sqlite3", clock=CLOCK, log=LOG) as journal,
    ):
        delivery = make_delivery(journal, Secret(f"http://127.0.0.1:1/hook/{TOKEN}"))
        delivery.send(make_alert("one"))
        report = delivery.close()
    assert report.pending == 1
    assert report.problem == "sending stopped (RuntimeError)"
    _assert_clean(logged.getvalue(), *capfd.readouterr())
