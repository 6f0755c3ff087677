"""What is posted for an alert always fits Discord, pings no one by accident, and says what is to be said."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.alerts.alert import Alert, Severity
from orchestration.alerts.discord import (
    CONTENT_LIMIT,
    DESCRIPTION_LIMIT,
    EMBED_LIMIT,
    FIELD_NAME_LIMIT,
    FIELD_VALUE_LIMIT,
    FIELDS_LIMIT,
    TITLE_LIMIT,
    build_payload,
    build_post_address,
    clean,
    cut,
    length,
    mention_problem,
    webhook_problem,
)
from orchestration.settings import Secret

_AT = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)


def _alert(**changes: Any) -> Alert:  # noqa: ANN401 - any field of an alert
    fields: dict[str, Any] = {
        "severity": Severity.ERROR,
        "title": "The gateway is not ready",
        "message": "It did not answer in 120 s.",
        "host": "rackmount",
        "instance": "default",
        "run_id": "20261118_140000-1234",
        "step": "gateway.wait",
        "cause": "GATEWAY_TIMEOUT",
        "next_action": "Look at `inv logs --of gateway`.",
        "evidence": ("line one", "line two"),
        "at": _AT,
        **changes,
    }
    return Alert(**fields)


def _embed(alert: Alert, mention: str | None = None) -> dict[str, Any]:
    embeds = build_payload(alert, mention=mention)["embeds"]
    assert len(embeds) == 1
    embed: dict[str, Any] = embeds[0]
    return embed


def _fields(alert: Alert) -> dict[str, str]:
    return {one["name"]: one["value"] for one in _embed(alert)["fields"]}


def test_an_alert_names_host_instance_run_step_cause_and_what_to_do() -> None:
    assert _fields(_alert()) == {
        "Host": "`rackmount`",
        "Instance": "`default`",
        "Run": "`20261118_140000-1234`",
        "Step": "`gateway.wait`",
        "Cause": "`GATEWAY_TIMEOUT`",
        "What to do next": "Look at `inv logs --of gateway`.",
        "Evidence": "```\nline one\nline two\n```",
    }
    embed = _embed(_alert())
    assert embed["title"] == "The gateway is not ready"
    assert embed["description"] == "It did not answer in 120 s."
    assert embed["timestamp"] == "2026-11-18T14:00:00+00:00"


@pytest.mark.parametrize(
    ("severity", "colour"),
    [
        (Severity.INFO, 0x3498DB),
        (Severity.WARNING, 0xF1C40F),
        (Severity.ERROR, 0xE74C3C),
        (Severity.CRITICAL, 0x992D22),
    ],
)
def test_each_severity_has_its_colour(severity: Severity, colour: int) -> None:
    assert _embed(_alert(severity=severity))["color"] == colour


@pytest.mark.parametrize(
    ("mention", "content", "allowed"),
    [
        ("<@1234567890123456>", "<@1234567890123456>", {"parse": [], "users": ["1234567890123456"]}),
        ("<@!77>", "<@77>", {"parse": [], "users": ["77"]}),
        ("1234567890123456", "<@1234567890123456>", {"parse": [], "users": ["1234567890123456"]}),
        ("<@&55>", "<@&55>", {"parse": [], "roles": ["55"]}),
        (" @here ", "@here", {"parse": ["everyone"]}),
        ("@everyone", "@everyone", {"parse": ["everyone"]}),
    ],
)
def test_only_a_critical_alert_mentions_and_only_whom_it_should(
    mention: str, content: str, allowed: dict[str, Any]
) -> None:
    payload = build_payload(_alert(severity=Severity.CRITICAL), mention=mention)
    assert payload["content"] == content
    assert payload["allowed_mentions"] == allowed
    for severity in (Severity.INFO, Severity.WARNING, Severity.ERROR):
        payload = build_payload(_alert(severity=severity), mention=mention)
        assert "content" not in payload
        assert payload["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize("mention", ["", "bob", "<@bob>", "@channel", "<@1> @everyone", "12"])
def test_a_mention_that_is_none_is_left_out_and_said(mention: str) -> None:
    payload = build_payload(_alert(severity=Severity.CRITICAL), mention=mention)
    assert "content" not in payload
    assert payload["allowed_mentions"] == {"parse": []}
    problem = mention_problem(Secret(mention))
    assert problem is not None
    assert "bob" not in problem


def test_mentions_in_quoted_text_ping_no_one() -> None:
    alert = _alert(severity=Severity.CRITICAL, title="@everyone", message="<@1> @here", evidence=("@everyone <@&2>",))
    payload = build_payload(alert, mention="<@7>")
    assert payload["content"] == "<@7>"
    assert payload["allowed_mentions"] == {"parse": [], "users": ["7"]}
    assert build_payload(alert)["allowed_mentions"] == {"parse": []}


def test_a_simulated_alert_is_marked() -> None:
    embed = _embed(_alert(simulated=True))
    assert embed["title"].startswith("[SIMULATED] ")
    assert "SIMULATED" not in _embed(_alert())["title"]


@pytest.mark.parametrize(
    "line",
    ["```", "a ``` b", "``\u200b`", "`\u2060``", "````", "``\x00`", "\u202e```", "`` `"],
)
def test_evidence_cannot_end_its_code_block(line: str) -> None:
    block = _fields(_alert(evidence=("first", line, "@everyone [x](http://y)")))["Evidence"]
    assert block.startswith("```\n")
    assert block.endswith("\n```")
    assert "`" not in block[3:-3]


def test_a_message_cannot_open_a_code_block_or_hide_a_link() -> None:
    description = _embed(_alert(message="``` [click me](http://evil.example)"))["description"]
    assert "```" not in description
    assert "](" not in description


@pytest.mark.parametrize("nothing", ["", " ", "\n\t", "\u200b\u200d", "\x1b[31m\x1b[0m", "\ufeff"])
def test_empty_texts_are_left_out_or_replaced(nothing: str) -> None:
    alert = _alert(
        title=nothing, message=nothing, step=nothing, cause=nothing, next_action=nothing, evidence=(nothing,)
    )
    embed = _embed(alert)
    assert embed["title"] == "error"
    assert embed["description"] == "(no details)"
    assert [one["name"] for one in embed["fields"]] == ["Host", "Instance", "Run"]


def test_the_last_lines_of_long_evidence_are_shown() -> None:
    block = _fields(_alert(evidence=tuple(f"line {number}" for number in range(500))))["Evidence"]
    assert "line 499\n```" in block
    assert "line 0\n" not in block
    assert length(block) <= FIELD_VALUE_LIMIT


def test_one_very_long_line_of_evidence_is_cut() -> None:
    block = _fields(_alert(evidence=("x" * 5000,)))["Evidence"]
    assert 1000 < length(block) <= FIELD_VALUE_LIMIT
    assert block.endswith("…\n```")


def test_terminal_colours_disappear() -> None:
    assert clean("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text") == "red text"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("😀😀", 4, "😀😀"), ("😀😀", 3, "😀…"), ("😀😀", 2, "…"), ("", 1, "")],
)
def test_texts_are_cut_by_units_and_never_in_the_middle_of_a_character(text: str, limit: int, expected: str) -> None:
    assert cut(text, limit) == expected


_TEXTS = st.one_of(
    st.text(alphabet=st.characters(), max_size=40),  # lone surrogates included
    st.sampled_from(
        ["", " ", "`" * 3000, "x" * 9000, "😀" * 5000, "a\n" * 3000, "\u200b" * 5000, "[" * 50 + "](" * 900]
    ),
)


@given(
    _TEXTS,
    _TEXTS,
    _TEXTS,
    _TEXTS,
    st.lists(_TEXTS, max_size=6),
    st.sampled_from(list(Severity)),
    st.booleans(),
)
def test_whatever_an_alert_says_discord_would_take_it(  # noqa: PLR0917 - hypothesis passes by position
    title: str,
    message: str,
    short: str,
    next_action: str,
    evidence: list[str],
    severity: Severity,
    simulated: bool,  # noqa: FBT001 - given by hypothesis
) -> None:
    alert = _alert(
        severity=severity,
        title=title,
        message=message,
        host=short,
        instance=short,
        run_id=short,
        step=short,
        cause=short,
        next_action=next_action,
        evidence=tuple(evidence),
        simulated=simulated,
    )
    payload = build_payload(alert, mention="@here", may_be_repeat=True)
    json.dumps(payload, ensure_ascii=False).encode("utf-8")  # no lone surrogate is left
    embed = payload["embeds"][0]
    assert length(payload.get("content", "")) <= CONTENT_LIMIT
    assert 0 < length(embed["title"]) <= TITLE_LIMIT
    assert 0 < length(embed["description"]) <= DESCRIPTION_LIMIT
    assert len(embed["fields"]) <= FIELDS_LIMIT
    total = length(embed["title"]) + length(embed["description"]) + length(embed["footer"]["text"])
    for one in embed["fields"]:
        assert 0 < length(one["name"]) <= FIELD_NAME_LIMIT
        assert 0 < length(one["value"]) <= FIELD_VALUE_LIMIT
        assert one["value"].strip()
        total += length(one["name"]) + length(one["value"])
    assert total <= EMBED_LIMIT


@pytest.mark.parametrize(
    "address",
    [
        "https://discord.com/api/webhooks/123/abc-DEF_1",
        "https://discord.com/api/v10/webhooks/123/abc-DEF_1",
        "https://canary.discord.com/api/webhooks/123/abc-DEF_1/",
        "https://discordapp.com/api/webhooks/123/abc-DEF_1?thread_id=5",
        "https://alerts.example.org/hook/abc",
        "http://127.0.0.1:8080/api/webhooks/1/x",
        "http://localhost/x",
        "http://[::1]:9/x",
        "http://127.9.9.9/x",
    ],
)
def test_a_usable_webhook_has_no_problem(address: str) -> None:
    assert webhook_problem(Secret(address)) is None


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("", "no alert channel"),
        ("  ", "no alert channel"),
        ("http://discord.com/api/webhooks/123/abc", "https"),
        ("http://10.0.0.5/x", "https"),
        ("https://hooks.slack.com/services/T0/B0/abc", "Slack"),
        ("http://0.0.0.0/x", "https"),
        ("http://localhost.evil.example/x", "https"),
        ("http://127.0.0.1@evil.example/x", "password"),
        ("http://127.0.0.1\\@evil.example/x", "malformed"),
        ("http://127.1/x", "https"),
        ("https://", "malformed"),
        ("https:///x", "malformed"),
        ("discord.com/api/webhooks/123/abc", "malformed"),
        ("ftp://127.0.0.1/x", "malformed"),
        ("https://[::1/x", "malformed"),
        ("https://host:port/x", "malformed"),
        ("https://host:99999/x", "malformed"),
        ("https://host/a b", "malformed"),
        ("https://host/a\nb", "malformed"),
        ("https://höst/x", "malformed"),
        ('"https://discord.com/api/webhooks/123/abc"', "malformed"),
        ("https://discord.com/channels/1/2", "webhook's address"),
        ("https://discord.com/api/webhooks/123", "webhook's address"),
        ("https://alerts.example.org", "webhook's address"),
    ],
)
def test_an_unusable_webhook_says_why(address: str, part: str) -> None:
    problem = webhook_problem(Secret(address))
    assert problem is not None
    assert part in problem


def test_no_webhook_at_all_is_a_problem_too() -> None:
    assert (webhook_problem(None) or "").startswith("no alert channel")


@pytest.mark.parametrize(
    ("address", "posted"),
    [
        ("https://discord.com/api/webhooks/1/t", "https://discord.com/api/webhooks/1/t?wait=true"),
        (
            "https://discord.com/api/webhooks/1/t?wait=false&thread_id=5",
            "https://discord.com/api/webhooks/1/t?thread_id=5&wait=true",
        ),
        ("https://discord.com/api/webhooks/1/t/slack", "https://discord.com/api/webhooks/1/t?wait=true"),
        ("https://discord.com/api/v10/webhooks/1/t/github/", "https://discord.com/api/v10/webhooks/1/t?wait=true"),
        ("https://discord.com/api/webhooks/1/slack", "https://discord.com/api/webhooks/1/slack?wait=true"),
        ("https://alerts.example.org/hook/abc/slack", "https://alerts.example.org/hook/abc/slack"),
        ("https://alerts.example.org/hook/abc?x=1", "https://alerts.example.org/hook/abc?x=1"),
        (" http://127.0.0.1:80/api/webhooks/1/t\n", "http://127.0.0.1:80/api/webhooks/1/t"),
    ],
)
def test_discord_is_asked_to_answer_when_the_message_is_stored(address: str, posted: str) -> None:
    assert build_post_address(address) == posted
