"""The addresses of `ALERT_URLS` and the text of a message, as far as they can be judged without Apprise."""

import json
import urllib.parse
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestration.alerts.alert import Alert, Severity
from orchestration.alerts.apprise import build_apprise_channels, build_message
from orchestration.alerts.channels import NO_CHANNEL, build_channels, describe_channel_problems
from orchestration.redaction import Redactor
from orchestration.settings import Secret, Settings, split_addresses

_AT = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)
_TOKEN = "planted-T0ken_9f8e7d6c5b4a"  # noqa: S105 - planted to be looked for


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("", ()),
        (" \n ", ()),
        ("json://h/a", ("json://h/a",)),
        ("json://h/a ntfys://t/b", ("json://h/a", "ntfys://t/b")),
        ("json://h/a,ntfys://t/b", ("json://h/a", "ntfys://t/b")),
        ("json://h/a , ntfys://t/b,\n tgram://1:A/2\n", ("json://h/a", "ntfys://t/b", "tgram://1:A/2")),
        ("mailtos://u:p@h?to=a@h,b@h", ("mailtos://u:p@h?to=a@h,b@h",)),
        ("json://h/a;json://h/b", ("json://h/a;json://h/b",)),
    ],
)
def test_a_list_of_addresses_is_split_between_them_and_never_within_one(text: str, addresses: tuple[str, ...]) -> None:
    assert split_addresses(text) == addresses


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("jsons://example.com/hook", None),
        ("json://127.0.0.1:8080/hook", None),
        ("json://localhost/hook", None),
        ("json://[::1]:8080/hook", None),
        ("tgram://123456789:AAabc_def-ghi/12345", None),
        ("mailtos://user:pass%40word@example.com", None),
        ("slack://TokenA/TokenB/TokenC/#general", None),
        ("ntfy://topic", None),
        ("bark://host/key?level=timeSensitive", None),
        ("JSONS://example.com/hook", None),
        ("json://example.com/hook", "must be jsons:// (json:// is for loopback only"),
        ("form://10.0.0.5/hook", "must be forms://"),
        ("xml://example.com", "must be xmls://"),
        ("telegram://123/456", "is of a kind that Apprise does not know"),
        ("jsn://h/a", "did you mean json://?"),
        ("https://hooks.example.com/a", "a plain webhook is json:// or jsons://"),
        ("hooks.example.com/a", "is malformed: it must begin with a kind and ://"),
        ("jsons://h/a\x07", "is malformed: it holds a control character"),
        ("jsons://h/a?level=eror", "has a level that is none: it must be info, warning, error, critical"),
        ("jsons://h/a?level=", "has a level that is none"),
    ],
)
def test_an_address_is_judged_without_importing_anything(address: str, problem: str | None) -> None:
    (channel,) = build_apprise_channels(Secret(address), Severity.INFO)
    if problem is None:
        assert channel.problem is None
    else:
        assert problem in (channel.problem or "")
        assert (channel.problem or "").startswith("address no. 1 of ALERT_URLS ")


@pytest.mark.parametrize(
    ("address", "sent_to", "least"),
    [
        ("jsons://h/a", "jsons://h/a", Severity.WARNING),
        ("jsons://h/a?level=error", "jsons://h/a", Severity.ERROR),
        ("jsons://h/a?LEVEL=Critical&x=1", "jsons://h/a?x=1", Severity.CRITICAL),
        ("jsons://h/a?x=1&level=info", "jsons://h/a?x=1", Severity.INFO),
        ("jsons://h/a?x=1%26level%3Dinfo", "jsons://h/a?x=1%26level%3Dinfo", Severity.WARNING),
        ("bark://h/k?level=timeSensitive", "bark://h/k?level=timeSensitive", Severity.WARNING),
    ],
)
def test_the_level_of_one_address_goes_before_that_of_all(address: str, sent_to: str, least: Severity) -> None:
    (channel,) = build_apprise_channels(Secret(address), Severity.WARNING)
    assert (channel.address.reveal(), channel.least) == (sent_to, least)


def test_an_address_that_is_given_twice_is_one_channel() -> None:
    text = "jsons://h/a jsons://h/b jsons://h/a?level=error"
    assert [one.number for one in build_apprise_channels(Secret(text), Severity.INFO)] == [1, 2]


def _load(**environ: str) -> Settings:
    return Settings.from_environ(environ)


def test_the_configured_channels_are_named_without_their_addresses() -> None:
    settings = _load(
        DISCORD_WEBHOOK_URL=f"https://discord.com/api/webhooks/42/{_TOKEN}",
        ALERT_URLS=f"tgram://123456789:{_TOKEN}/77 mailtos://user:{_TOKEN}@example.com?level=critical",
        ALERT_LEVEL="warning",
    )
    channels = build_channels(settings)
    assert [one.name for one in channels] == ["Discord", "tgram (ALERT_URLS no. 1)", "mailtos (ALERT_URLS no. 2)"]
    assert [one.least for one in channels] == [Severity.WARNING, Severity.WARNING, Severity.CRITICAL]
    assert len({one.id for one in channels}) == 3
    shown = repr(channels) + repr([(one.id, one.name, one.key, one.problem, one.advice) for one in channels])
    assert _TOKEN not in shown
    assert "123456789" not in shown


def test_no_channel_is_a_problem_and_says_what_to_set() -> None:
    assert build_channels(_load()) == ()
    assert describe_channel_problems(()) == NO_CHANNEL
    assert "DISCORD_WEBHOOK_URL" in NO_CHANNEL
    assert "ALERT_URLS" in NO_CHANNEL


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("tgram://123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/98765", ["AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"]),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", ["TIiajkdnlazkcOXrIdevi7FQ", "A1BRTD4JD"]),
        ("pover://u5er1234key@t0kenOfTheApplication", ["u5er1234key", "t0kenOfTheApplication"]),
        ("mailtos://user:pa%24s-w0rd1@example.com", ["pa%24s-w0rd1", "pa$s-w0rd1"]),
        ("ntfys://my-l0ng-and-secret-topic", ["my-l0ng-and-secret-topic"]),
        (f"jsons://example.com:8443/hook/{_TOKEN}", [_TOKEN]),
    ],
)
def test_each_address_and_each_telling_part_of_it_is_redacted(address: str, parts: list[str]) -> None:
    settings = _load(ALERT_URLS=f"jsons://example.com/other,{address}\n ntfys://another")
    redactor = Redactor(settings.secrets)
    for secret in (address, *parts):
        for written in (secret, json.dumps(secret), urllib.parse.quote(secret, safe=""), repr(secret)):
            shown = redactor.text(f"before {written} after")
            assert all(part not in shown for part in (*parts, address)), written
            assert shown.startswith("before ")


def test_the_words_of_an_address_are_no_secrets() -> None:
    redactor = Redactor(_load(ALERT_URLS="ntfys://alerts jsons://example.com:8443/hook?level=error").secrets)
    text = "alerts of example.com: level error at the hook"
    assert redactor.text(text) == text


def _alert(**changes: Any) -> Alert:  # noqa: ANN401 - any field of an alert
    fields: dict[str, Any] = {
        "severity": Severity.ERROR,
        "title": "Gateway not ready",
        "message": "It did not answer.",
        "host": "desk",
        "instance": "default",
        "run_id": "run-1",
        "step": "gateway.wait",
        "cause": "GATEWAY_TIMEOUT",
        "next_action": "Look at its log.",
        "evidence": ("first line", "last line"),
        "at": _AT,
        **changes,
    }
    return Alert(**fields)


def test_a_message_says_everything_that_an_alert_says() -> None:
    title, body = build_message(_alert(), may_be_repeat=False)
    assert title == "ERROR: Gateway not ready"
    assert body == (
        "It did not answer.\n\nWhat to do next: Look at its log.\n\n"
        "Host: desk\nInstance: default\nRun: run-1\nStep: gateway.wait\nCause: GATEWAY_TIMEOUT\n"
        f"At: {_AT.astimezone():%Y-%m-%d %H:%M:%S %Z}\n\nEvidence:\nfirst line\nlast line"
    )


def test_a_message_is_marked_where_it_may_be_a_repeat_or_is_simulated() -> None:
    title, body = build_message(_alert(simulated=True), may_be_repeat=True)
    assert title.startswith("[SIMULATED] ERROR: ")
    assert "May be a repeat" in body


@pytest.mark.parametrize("field", ["title", "message", "next_action"])
@pytest.mark.parametrize("ping", ["@everyone", "@here", "@channel", "@all", "<@123>", "<!channel>", "<#C123>", "@HERE"])
def test_what_is_quoted_pings_no_one(ping: str, field: str) -> None:
    title, body = build_message(_alert(**{field: f"the bot said {ping} to all"}), may_be_repeat=False)
    assert ping not in title + body


@pytest.mark.parametrize("lines", [1, 40])
def test_a_long_message_keeps_what_to_do_and_the_last_evidence(lines: int) -> None:
    evidence = (*("x" * 500 for _ in range(lines)), "the last line")
    _, body = build_message(_alert(evidence=evidence, message="m" * 900), may_be_repeat=True)
    assert len(body) <= 3500
    assert "Look at its log." in body
    assert body.endswith("the last line")


def test_a_message_without_any_text_is_not_empty() -> None:
    title, body = build_message(_alert(title="\u200b", message="", next_action="", evidence=()), may_be_repeat=False)
    assert title == "ERROR: alert"
    assert body.startswith("(no details)")
