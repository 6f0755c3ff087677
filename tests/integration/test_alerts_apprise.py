"""Channels that Apprise sends to: real servers that refuse, hang, break off and ask for quiet; a real mail server."""

import contextlib
import dataclasses
import io
import logging
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apprise
import pytest

from orchestration.alerts.alert import Severity
from orchestration.alerts.apprise import KINDS, AppriseChannel, build_apprise_channels
from orchestration.alerts.channel import Channel, channel_problem
from orchestration.alerts.channels import read_channel_states
from orchestration.alerts.discord import DiscordChannel
from orchestration.journal import JournalReader
from orchestration.settings import Secret
from orchestration.soak.channel import close, hang
from tests.integration.alerts_scene import (
    PATIENCE_S,
    QUICK,
    TOKEN,
    Behaviour,
    LoopbackChannel,
    Received,
    answer,
    garbage,
    make_alert,
    make_delivery_to,
    open_journal,
    run_channel,
    trickle,
    wait_until,
)

_FORMS: dict[str, Callable[[LoopbackChannel], str]] = {
    "json": lambda channel: f"json://127.0.0.1:{channel.port}/hook/{TOKEN}",
    "ntfy": lambda channel: f"ntfy://127.0.0.1:{channel.port}/{TOKEN}",
    "gotify": lambda channel: f"gotify://127.0.0.1:{channel.port}/{TOKEN}",
    "mmost": lambda channel: f"mmost://127.0.0.1:{channel.port}/{TOKEN.replace('-', '').replace('_', '')}",
}


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Apprise loads its 150 services at the first address: not within a try whose time counts."""
    assert apprise.Apprise.instantiate("json://localhost") is not None


def _open(addresses: str, level: Severity = Severity.INFO) -> tuple[AppriseChannel, ...]:
    return tuple(build_apprise_channels(Secret(addresses), level))


def _titles(channel: LoopbackChannel, *titles: str) -> list[str]:
    """Which of these titles each request names, in order of arrival."""
    return [next(title for title in titles if title in repr(one.document)) for one in channel.received]


def _mentions_repeat(received: Received) -> bool:
    return "May be a repeat" in repr(received.document)


@pytest.mark.parametrize("kind", _FORMS)
def test_what_is_not_taken_at_first_arrives_once_and_in_order(kind: str, tmp_path: Path) -> None:
    taken = [answer(200, body=b"{}")] * 3  # some of these services say 200 and nothing else to what they take
    with open_journal(tmp_path) as journal, run_channel(answer(500), answer(503), *taken) as server:
        delivery = make_delivery_to(journal, _open(_FORMS[kind](server)))
        for title in ("alpha", "beta", "gamma"):
            delivery.send(make_alert(title))
        report = delivery.close()
        assert journal.read_pending_alerts() == []
    assert _titles(server, "alpha", "beta", "gamma") == ["alpha", "alpha", "alpha", "beta", "gamma"]
    assert (report.delivered, report.problem) == (3, None)


@pytest.mark.parametrize("kind", _FORMS)
@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_address_that_is_no_longer_valid_is_a_dead_channel(status: int, kind: str, tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(*[answer(status)] * 9) as server:
        channels = _open(_FORMS[kind](server))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        wait_until(lambda: channel_problem(journal, channels[0]) is not None, "the channel is found dead")
        delivery.send(make_alert("beta"))
        report = delivery.close()
        (state,) = read_channel_states(JournalReader(journal.path), channels)
    assert len(server.received) == 1
    assert report.pending == state.waiting == 2
    assert state.name == f"{kind} (ALERT_URLS no. 1)"
    assert f"HTTP {status}" in (state.problem or "")
    assert "correct address no. 1 of ALERT_URLS" in (state.problem or "")
    assert TOKEN not in (state.problem or "")


def test_a_channel_that_refuses_two_different_alerts_is_dead_and_says_why(tmp_path: Path) -> None:
    refusal = answer(400, body=b'{"error": "no such topic"}')
    with open_journal(tmp_path) as journal, run_channel(refusal, refusal, refusal) as server:
        channels = _open(_FORMS["ntfy"](server))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        delivery.send(make_alert("beta"))
        delivery.close()
        problem = channel_problem(journal, channels[0]) or ""
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("gamma"))
        assert delivery.close().pending == 3
    assert len(server.received) == 2
    assert "refused 2 different alerts" in problem
    assert "no such topic" in problem


def test_an_alert_that_alone_is_refused_fails_and_the_others_go_on(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(answer(413)) as server:
        channels = _open(_FORMS["json"](server))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        delivery.send(make_alert("beta"))
        report = delivery.close()
        assert channel_problem(journal, channels[0]) is None
    assert (report.delivered, report.failed, report.pending) == (1, 1, 0)


def test_a_success_that_the_service_means_as_a_refusal_is_one(tmp_path: Path) -> None:
    # To Mattermost only 200 is a success; others say in the body of their 200 that they refuse.
    with open_journal(tmp_path) as journal, run_channel(*[answer(204)] * 9) as server:
        channels = _open(_FORMS["mmost"](server))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        delivery.send(make_alert("beta"))
        assert delivery.close().pending == 2
        assert "refused 2 different alerts" in (channel_problem(journal, channels[0]) or "")
    assert _titles(server, "alpha", "beta") == ["alpha", "beta"]


def test_what_some_receivers_of_one_address_took_says_that_it_may_be_a_repeat(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(answer(200, body=b"{}"), answer(500)) as server:
        server.script += [answer(200, body=b"{}")] * 9
        delivery = make_delivery_to(journal, _open(f"ntfy://127.0.0.1:{server.port}/one/two"))
        delivery.send(make_alert("alpha"))
        assert delivery.close().delivered == 1
    topics = [one.document["topic"] for one in server.received]
    assert sorted(topics) == ["one", "one", "two", "two"]  # in whatever order
    assert [_mentions_repeat(one) for one in server.received] == [False, False, True, True]


def test_quiet_that_a_channel_asks_for_is_kept_by_the_next_process_too(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(answer(429, {"Retry-After": "600"})) as server:
        channels = _open(_FORMS["ntfy"](server))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        wait_until(lambda: journal.read_quiet_until(channels[0].key) is not None, "the answer is written down")
        delivery.close(timeout_s=0.3)
        again = make_delivery_to(journal, channels)
        again.send(make_alert("beta"))
        report = again.close(timeout_s=0.5)
    assert len(server.received) == 1
    assert "asked for quiet until" in (report.problem or "")


def test_a_short_quiet_is_waited_for(tmp_path: Path) -> None:
    body = b'{"ok": false, "error_code": 429, "parameters": {"retry_after": 0.2}}'  # Telegram's
    with open_journal(tmp_path) as journal, run_channel(answer(429, body=body)) as server:
        delivery = make_delivery_to(journal, _open(_FORMS["json"](server)))
        delivery.send(make_alert("alpha"))
        assert delivery.close().delivered == 1
    assert server.received[1].at_s - server.received[0].at_s >= 0.2


def test_a_lost_answer_is_sent_again_and_says_that_it_may_be_a_repeat(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(hang) as server:
        delivery = make_delivery_to(journal, _open(_FORMS["json"](server)))
        delivery.send(make_alert("alpha"))
        report = delivery.close()
    assert report.delivered == 1
    assert [_mentions_repeat(one) for one in server.received] == [False, True]


@pytest.mark.parametrize("behaviour", [close, garbage, trickle], ids=["drops", "is no HTTP", "never ends"])
def test_a_connection_that_breaks_or_never_ends_is_tried_again(behaviour: Behaviour, tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(behaviour) as server:
        delivery = make_delivery_to(journal, _open(_FORMS["json"](server)))
        delivery.send(make_alert("alpha"))
        assert delivery.close().delivered == 1
    assert len(server.received) == 2


def test_what_no_channel_took_waits_and_comes_with_the_next_run(tmp_path: Path) -> None:
    with run_channel() as server:
        address = _FORMS["json"](server)
    with open_journal(tmp_path) as journal:
        delivery = make_delivery_to(journal, _open(address))
        delivery.send(make_alert("alpha"))
        report = delivery.close()
        assert report.pending == 1
        assert report.problem == "alerts wait: the connection was refused"
        (waiting,) = journal.read_pending_alerts()
        assert not waiting.is_unsure


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with run_channel() as elsewhere, open_journal(tmp_path) as journal:
        away = answer(302, {"Location": f"http://127.0.0.1:{elsewhere.port}/away"})
        with run_channel(*[away] * 3) as server:
            delivery = make_delivery_to(journal, _open(_FORMS["json"](server)))
            delivery.send(make_alert("alpha"))
            assert delivery.close().pending == 1
    assert elsewhere.received == []


def test_a_hanging_channel_of_apprise_delays_neither_discord_nor_the_end(tmp_path: Path) -> None:
    limits = dataclasses.replace(QUICK, read_timeout_s=60.0, try_timeout_s=60.0)
    with open_journal(tmp_path) as journal, run_channel(*[hang] * 9) as stuck, run_channel() as alive:
        channels: list[Channel] = [DiscordChannel(webhook=alive.webhook), *_open(_FORMS["json"](stuck))]
        delivery = make_delivery_to(journal, channels, limits=limits)
        delivery.send(make_alert("alpha"))
        delivery.send(make_alert("beta"))
        wait_until(lambda: alive.titles == ["alpha", "beta"], "Discord has both")
        wait_until(lambda: len(stuck.received) == 1, "the other one has its first request")
        report = delivery.close(timeout_s=0.5)
    assert [(one.channel, one.pending) for one in report.channels] == [("Discord", 0), ("json (ALERT_URLS no. 1)", 2)]


def test_levels_of_one_address_and_of_all(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel() as all_of_it, run_channel() as worst:
        addresses = f"{_FORMS['json'](all_of_it)}?level=info, {_FORMS['json'](worst)}\n"
        channels = _open(addresses, Severity.ERROR)
        delivery = make_delivery_to(journal, channels)
        for severity in Severity:
            delivery.send(make_alert(f"<{severity}>", severity=severity))
        delivery.close()
    names = [f"<{severity}>" for severity in Severity]
    assert [one.least for one in channels] == [Severity.INFO, Severity.ERROR]
    assert len(all_of_it.received) == 4
    assert len(worst.received) == 2
    assert all("level" not in one.path for one in all_of_it.received)
    assert [one.path for one in worst.received] == [f"/hook/{TOKEN}"] * len(names[2:])


def test_nothing_shows_the_address(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(1)
    with (
        open_journal(tmp_path) as journal,
        run_channel(answer(500, body=TOKEN.encode()), answer(400, body=f"no {TOKEN}".encode()), close) as server,
    ):
        channels = _open(_FORMS["json"](server))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert(f"about {server.address}", evidence=(f"token {TOKEN}", channels[0].address.reveal())))
        delivery.send(make_alert("beta"))
        report = delivery.close()
        states = read_channel_states(journal, channels)
        posted = repr([one.document for one in server.received])
    root.removeHandler(handler)
    root.setLevel(before)
    assert "about" in logged.getvalue()
    shown = "".join((logged.getvalue(), repr(report), repr(states), repr(channels), posted, *capfd.readouterr()))
    assert TOKEN not in shown
    assert all(TOKEN.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_http_beyond_this_machine_is_not_sent(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        channels = _open("gotify://alerts.example.com/planted-T0ken_9f8e7d6c5b4a")
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        delivery.close()
        assert "would be sent without TLS" in (channel_problem(journal, channels[0]) or "")


def test_an_address_that_only_apprise_can_judge_is_found_when_it_is_used(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        channels = _open("tgram://")
        assert channel_problem(journal, channels[0]) is None
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        delivery.close()
        assert "no address that Apprise accepts" in (channel_problem(journal, channels[0]) or "")


def test_the_kinds_are_those_of_the_installed_apprise() -> None:
    script = "from apprise.manager_plugins import NotificationManager as M; print(*M().schemas())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) == KINDS


def test_apprise_is_imported_only_when_an_alert_is_sent_to_it(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from tests.integration.alerts_scene import make_alert, make_delivery_to, open_journal, run_channel
from orchestration.alerts.apprise import build_apprise_channels
from orchestration.alerts.alert import Severity
from orchestration.settings import Secret
with open_journal(Path({str(tmp_path)!r})) as journal, run_channel() as server:
    channels = tuple(build_apprise_channels(Secret(f"json://127.0.0.1:{{server.port}}/x"), Severity.WARNING))
    delivery = make_delivery_to(journal, channels)
    delivery.send(make_alert("mild"))
    print("apprise" in sys.modules)
    delivery.send(make_alert("bad", severity=Severity.ERROR))
    delivery.close()
    print("apprise" in sys.modules, len(server.received))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\nTrue 1\n"


@dataclass
class MailServer:
    """What a mail server was told to answer, by the verb that it answers, and the messages that it took."""

    port: int = 0
    answers: dict[str, list[str]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class _Mail(socketserver.StreamRequestHandler):
    """The few verbs of SMTP that a client needs."""

    mail: MailServer

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._say("greeting", "220 mail.test ESMTP")
            while line := self.rfile.readline():
                verb = line.split()[0].decode().upper() if line.split() else ""
                if verb == "DATA":
                    self._take()
                else:
                    self._say(verb, "221 bye" if verb == "QUIT" else "250 ok")
                    if verb == "QUIT":
                        return

    def _take(self) -> None:
        self._say("DATA", "354 go on")
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line.decode("utf-8", "replace"))
        if self._say("END", "250 taken").startswith("250"):
            self.mail.messages.append("".join(lines))

    def _say(self, verb: str, usual: str) -> str:
        queue = self.mail.answers.get(verb) or [usual]
        text = queue.pop(0) if len(queue) > 1 or verb in self.mail.answers else queue[0]
        if text == "hang":
            self.mail.over.wait(PATIENCE_S)
        if text == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
        self.wfile.write(text.encode() + b"\r\n")
        return text


@contextlib.contextmanager
def _run_mail(**answers: list[str]) -> Iterator[MailServer]:
    mail = MailServer(answers={verb: list(texts) for verb, texts in answers.items()})

    class BoundMail(_Mail):
        pass

    BoundMail.mail = mail
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), BoundMail) as server:
        mail.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield mail
        finally:
            mail.over.set()
            server.shutdown()
            thread.join()


def _mail_address(mail: MailServer) -> str:
    return f"mailto://127.0.0.1:{mail.port}?from=bot@example.com&to=me@example.com"


def test_an_alert_arrives_by_mail_in_order(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, _run_mail() as mail:
        delivery = make_delivery_to(journal, _open(_mail_address(mail)))
        delivery.send(make_alert("alpha", severity=Severity.CRITICAL))
        delivery.send(make_alert("beta"))
        assert delivery.close().delivered == 2
    assert ["alpha" in mail.messages[0], "beta" in mail.messages[1]] == [True, True]
    assert len(mail.messages) == 2


@pytest.mark.parametrize("verb", ["greeting", "MAIL", "RCPT", "END"])
def test_a_mail_server_that_is_busy_or_breaks_off_gets_it_later_and_once(verb: str, tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, _run_mail(**{verb: ["451 later", "drop"]}) as mail:
        delivery = make_delivery_to(journal, _open(_mail_address(mail)))
        delivery.send(make_alert("alpha"))
        report = delivery.close()
    assert (report.delivered, report.pending) == (1, 0)
    assert len(mail.messages) == 1


def test_a_mail_server_that_hangs_is_left_and_tried_again(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, _run_mail(RCPT=["hang"]) as mail:
        limits = dataclasses.replace(QUICK, connect_timeout_s=0.3)
        delivery = make_delivery_to(journal, _open(_mail_address(mail)), limits=limits)
        delivery.send(make_alert("alpha"))
        assert delivery.close().delivered == 1
    assert len(mail.messages) == 1


def test_a_mail_server_that_refuses_the_receiver_twice_is_a_dead_channel(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, _run_mail(RCPT=["550 no such user"] * 9) as mail:
        channels = _open(_mail_address(mail))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        delivery.send(make_alert("beta"))
        assert delivery.close().pending == 2
        problem = channel_problem(journal, channels[0]) or ""
    assert "answered 550" in problem


def test_a_mail_account_is_not_sent_without_tls(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        channels = _open("mailto://user:planted-T0ken@mail.example.com")
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("alpha"))
        delivery.close()
        assert "use mailtos://" in (channel_problem(journal, channels[0]) or "")
