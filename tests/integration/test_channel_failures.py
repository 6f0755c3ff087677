"""Every alert protocol against a real server that fails as a seed says: nothing lost, nothing doubled, in order.

A few dozen failures with the README's command; a thousand for each protocol with `--hypothesis-profile=thorough`.
"""

import contextlib
import io
import json
import logging
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apprise
import pytest
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram

from orchestration.alerts.alert import Severity
from orchestration.alerts.apprise import build_apprise_channels
from orchestration.alerts.channel import Channel, DeliveryLimits
from orchestration.alerts.discord import DiscordChannel
from orchestration.journal import Journal
from orchestration.settings import Secret
from tests.integration.alerts_scene import TOKEN, make_alert, make_delivery_to, open_journal
from tests.integration.channel_failures import (
    UNSURE,
    ChannelFault,
    DiscordHandler,
    FaultyServer,
    Handler,
    HttpHandler,
    MailHandler,
    SlackHandler,
    TelegramHandler,
    choose_faults,
)
from tests.thorough import choose_count

# A server that answers is never late: a machine that stands still for a moment must not make a success unsure.
_LIMITS = DeliveryLimits(
    connect_timeout_s=3.0,
    read_timeout_s=2.0,
    try_timeout_s=3.0,
    tries_per_round=3,
    backoff_s=0.005,
    other_sender_wait_s=0.01,
)
_FAULTS_PER_SEED = 10
_ALERTS_PER_SEED = 8
_MOST_ROUNDS = 60
_PLAIN = TOKEN.replace("-", "").replace("_", "")
_SLACK = "TIiajkdnlazkcOXrIdevi7FQ"
_SECRETS = (TOKEN, _PLAIN, _SLACK)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One protocol: who answers, and the address for a port."""

    handler: type[Handler]
    address: Callable[[int], str]
    service: type | None = None  # its own address stands in the library, under this attribute
    attribute: str = ""
    path: str = ""


PROTOCOLS = {
    "discord": Protocol(
        handler=DiscordHandler, address=lambda port: f"http://127.0.0.1:{port}/api/webhooks/42/{TOKEN}"
    ),
    "webhook": Protocol(handler=HttpHandler, address=lambda port: f"json://127.0.0.1:{port}/hook/{TOKEN}"),
    "ntfy": Protocol(handler=HttpHandler, address=lambda port: f"ntfy://127.0.0.1:{port}/{TOKEN}"),
    "gotify": Protocol(handler=HttpHandler, address=lambda port: f"gotify://127.0.0.1:{port}/{TOKEN}"),
    "mattermost": Protocol(handler=HttpHandler, address=lambda port: f"mmost://127.0.0.1:{port}/{_PLAIN}"),
    "e-mail": Protocol(
        handler=MailHandler, address=lambda port: f"mailto://127.0.0.1:{port}?from=bot@example.com&to=me@example.com"
    ),
    "telegram": Protocol(
        handler=TelegramHandler,
        address=lambda _: f"tgram://123456789:{_PLAIN}/12315544/",
        service=NotifyTelegram,
        attribute="notify_url",
        path="/bot",
    ),
    "slack": Protocol(
        handler=SlackHandler,
        address=lambda _: f"slack://T1JJ3T3L2/A1BRTD4JD/{_SLACK}/#alerts",
        service=NotifySlack,
        attribute="webhook_url",
        path="/services",
    ),
}


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Apprise loads its 150 services at the first address: not within a try whose time counts."""
    assert apprise.Apprise.instantiate("json://localhost") is not None


def _open(address: str) -> Channel:
    if address.startswith("http"):
        return DiscordChannel(webhook=Secret(address))
    (channel,) = build_apprise_channels(Secret(address), Severity.INFO)
    return channel


def _fail_by_seed(protocol: Protocol, seed: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send alerts in several runs to a server that fails; judge what arrived. Returns how often it failed."""
    rng = random.Random(seed)  # noqa: S311 - a test's seed
    titles = [f"alert-{number}-{seed}." for number in range(_ALERTS_PER_SEED)]
    server = FaultyServer(titles=titles, faults=choose_faults(rng, _FAULTS_PER_SEED))
    with server.listening(protocol.handler):
        pass  # takes a port, which is known from here on
    if protocol.service is not None:
        monkeypatch.setattr(protocol.service, protocol.attribute, f"http://127.0.0.1:{server.port}{protocol.path}")
    channel = _open(protocol.address(server.port))
    refused_connections, unsent = 0, list(titles[:-1])
    with open_journal(folder) as journal:
        for _ in range(_MOST_ROUNDS):
            batch = [unsent.pop(0) for _ in range(min(len(unsent), rng.randint(0, 3)))]
            if rng.random() < 0.2:
                refused_connections += _run(journal, channel, batch)
            else:
                with server.listening(protocol.handler):
                    _run(journal, channel, batch)
            if not unsent and not (server.faults and journal.read_pending_alerts(channel.id)):
                break
        server.faults.clear()
        with server.listening(protocol.handler):
            _run(journal, channel, titles[-1:])  # what was refused has failed once this one was taken
        server.over.set()
        waiting = [one.body for one in journal.read_pending_alerts(channel.id)]
    outcomes = _read_outcomes(folder, channel)
    assert waiting == [], seed
    _judge(server, titles, outcomes, seed)
    return server.used + refused_connections


def _run(journal: Journal, channel: Channel, titles: list[str]) -> int:
    """One run of the program: older alerts first, then its own. Returns 1 if nothing could be sent."""
    delivery = make_delivery_to(journal, (channel,), limits=_LIMITS)
    delivery.resume_sending()
    for title in titles:
        delivery.send(make_alert(title))
    report = delivery.close(timeout_s=20.0)
    assert TOKEN not in str(report)
    return int("the connection was refused" in (report.problem or ""))


def _read_outcomes(folder: Path, channel: Channel) -> dict[str, str]:
    """What the journal says became of each alert."""
    question = "SELECT body, deliveries.delivery FROM deliveries JOIN alerts ON id = alert_id WHERE channel = ?"
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite3")) as connection:
        return {json.loads(body)["title"]: delivery for body, delivery in connection.execute(question, (channel.id,))}


def _judge(server: FaultyServer, titles: list[str], outcomes: dict[str, str], seed: str) -> None:
    """What the server saw is the truth."""
    told = (seed, server.seen, outcomes)
    assert sorted(outcomes) == sorted(titles), told
    was_reset = False
    unsure: set[str] = set()
    settled: set[str] = set()
    for seen in server.seen:
        if seen.fault is ChannelFault.RESET:
            was_reset = True  # only the server knows that it had read nothing
            continue
        assert seen.title in titles, told
        assert seen.title not in settled, ("sent again after it was taken or refused", told)
        assert seen.may_be_repeat or seen.title not in unsure, ("a possible repeat does not say so", told)
        assert not seen.may_be_repeat or seen.title in unsure or was_reset, ("says that it may be a repeat", told)
        if seen.fault in UNSURE:
            unsure.add(seen.title)
        if seen.fault in {ChannelFault.NONE, ChannelFault.REFUSED}:
            settled.add(seen.title)
    taken = [seen.title for seen in server.seen if seen.fault is ChannelFault.NONE]
    refused = {seen.title for seen in server.seen if seen.fault is ChannelFault.REFUSED}
    assert taken == [title for title in titles if title not in refused], ("lost, or out of order", told)
    assert {title for title, outcome in outcomes.items() if outcome == "failed"} == refused, told
    assert {title for title, outcome in outcomes.items() if outcome == "delivered"} == set(taken), told


@contextlib.contextmanager
def _capturing_logs() -> Iterator[io.StringIO]:
    """All that loggers hand on to the root's handlers. pytest's own handlers also hear loggers that hand on nothing."""
    captured = io.StringIO()
    handler, root = logging.StreamHandler(captured), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield captured
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_nothing_is_lost_doubled_or_out_of_order_and_no_secret_gets_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted, failures, number = choose_count(usual=12, thorough=1000), 0, 0
    with _capturing_logs() as captured:
        while failures < wanted:
            number += 1
            folder = tmp_path / str(number)
            folder.mkdir()
            failures += _fail_by_seed(PROTOCOLS[name], f"{name}-{number}", folder, monkeypatch)
            stored = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
            assert not [secret for secret in _SECRETS if secret.encode() in stored]
    shown = "\n".join((captured.getvalue(), *capfd.readouterr()))
    assert "they are kept and sent later" in shown
    assert not [secret for secret in _SECRETS if secret in shown]
