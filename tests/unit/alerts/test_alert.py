"""An alert survives its way through the outbox, and carries nothing that it should not."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestration.alerts.alert import Alert, Severity, clean_alert
from orchestration.alerts.backlog import build_summary, choose_backlog
from orchestration.alerts.channel import AnswerKind, channel_key, judge_status
from orchestration.alerts.heartbeat import Ping, build_ping_address, heartbeat_problem, is_push_only
from orchestration.alerts.posting import parse_wait_s, read_reason, read_wait_s
from orchestration.journal import PendingAlert
from orchestration.redaction import Redactor
from orchestration.settings import Secret
from tests.fakes.clock import WEDNESDAY_MORNING, FakeClock


def _alert(title: str = "Something", **changes: Any) -> Alert:  # noqa: ANN401 - any field of an alert
    fields: dict[str, Any] = {
        "severity": Severity.WARNING,
        "message": "m",
        "host": "h",
        "instance": "i",
        "run_id": "r",
        "at": WEDNESDAY_MORNING,
        **changes,
    }
    return Alert(title=title, **fields)


def _waiting(number: int, alert: Alert) -> PendingAlert:
    return PendingAlert(id=number, run_id="r", body=alert.to_json(), at=alert.at, tries=0, is_unsure=False)


def test_an_alert_comes_back_from_its_stored_form() -> None:
    alert = _alert(step="s", cause="C", next_action="n", evidence=("a", "ü😀"), simulated=True)
    assert Alert.from_json(alert.to_json()) == alert


def test_a_stored_alert_of_a_later_version_is_understood() -> None:
    text = _alert().to_json().replace("{", '{"mood": "fine", ', 1)
    assert Alert.from_json(text) == _alert()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"severity": "info"}', '"x"', "1"])
def test_what_is_no_stored_alert_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the contract; the text is for people
        Alert.from_json(text)


def test_an_alert_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        _alert(at=datetime(2026, 1, 1))  # noqa: DTZ001 - what is to be refused


def test_every_text_of_an_alert_is_redacted_before_it_is_cut() -> None:
    secret = "hunter2-" + "x" * 100
    alert = _alert(
        "a" * 7990 + secret,
        message=secret,
        host=secret,
        instance=secret,
        run_id=secret,
        step=secret,
        cause=secret,
        next_action=secret,
        evidence=("y" * 490 + secret, f"one\n{secret}"),
    )
    assert "hunter2" not in clean_alert(alert, Redactor([secret])).to_json()


def test_only_the_last_lines_of_endless_evidence_are_kept() -> None:
    alert = clean_alert(_alert(evidence=("\n".join(f"line {number}" for number in range(900)),)), Redactor())
    assert alert.evidence[-1] == "line 899"
    assert len(alert.evidence) == 40


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, AnswerKind.DELIVERED),
        (204, AnswerKind.DELIVERED),
        (301, AnswerKind.RETRY),
        (307, AnswerKind.RETRY),
        (400, AnswerKind.POISON),
        (401, AnswerKind.DEAD),
        (403, AnswerKind.DEAD),
        (404, AnswerKind.DEAD),
        (405, AnswerKind.POISON),
        (408, AnswerKind.RETRY),
        (413, AnswerKind.POISON),
        (429, AnswerKind.RETRY),
        (500, AnswerKind.RETRY),
        (502, AnswerKind.RETRY),
        (599, AnswerKind.RETRY),
    ],
)
def test_each_status_has_its_meaning(status: int, verdict: AnswerKind) -> None:
    assert judge_status(status) is verdict


def test_a_channel_is_remembered_without_its_address() -> None:
    key = channel_key(Secret("https://h/hook/token"))
    assert "token" not in key
    assert key == channel_key(Secret(" https://h/hook/token\n"))
    assert key != channel_key(Secret("https://h/hook/tokeN"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3.0),
        ("0.65", 0.65),
        ("0", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 18 Nov 2026 14:00:30 GMT", 30.0),
        ("Wed, 18 Nov 2026 13:00:30 GMT", None),
        ("Wed, 99 Nov 2026 14:00:30 GMT", None),
    ],
)
def test_a_wait_is_read_from_a_number_or_a_date(text: str | None, expected: float | None) -> None:
    assert parse_wait_s(text, FakeClock()) == expected


@pytest.mark.parametrize(
    ("headers", "content", "expected"),
    [
        ({"Retry-After": "7"}, b"", 7.0),
        ({"X-RateLimit-Reset-After": "0.5", "Retry-After": "7"}, b"", 0.5),
        ({"X-RateLimit-Reset-After": "0.5", "Retry-After": "7", "X-RateLimit-Global": "true"}, b"", 7.0),
        ({"X-RateLimit-Reset-After": "0.5", "Retry-After": "7", "X-RateLimit-Scope": "shared"}, b"", 7.0),
        ({"X-RateLimit-Reset-After": "0.5", "Retry-After": "7", "X-RateLimit-Scope": "user"}, b"", 0.5),
        ({"X-RateLimit-Reset-After": "0.5"}, b'{"global": true, "retry_after": 64.57}', 64.57),
        ({}, b'{"retry_after": 3}', 3.0),
        ({}, b"error code: 1015", None),
        ({}, b"[" * 9000, None),
    ],
)
def test_a_limit_that_is_global_outweighs_the_one_of_the_route(
    headers: dict[str, str], content: bytes, expected: float | None
) -> None:
    assert read_wait_s(headers, content, FakeClock()) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b'{"message": "Webhooks posted to forum channels need a thread", "code": 220001}',
            "Webhooks posted to forum channels need a thread (code 220001)",
        ),
        (b'{"message": "Not now", "code": 0}', "Not now"),
        (b'{"error": "too large"}', "too large"),
        (b"invalid_payload", "invalid_payload"),
        (b"no_text\r\nsecond line", "no_text\r"),
        (b"<html><h1>405 Not Allowed</h1></html>", ""),
        (b'{"embeds": ["0"]}', ""),
        (b"[1]", ""),
        (b"", ""),
        (b"x" * 20_000, ""),
    ],
)
def test_the_reason_of_a_refusal_is_read_from_a_document_or_a_line(content: bytes, reason: str) -> None:
    assert read_reason(content) == reason


@pytest.mark.parametrize(
    ("base", "kind", "exit_code", "address"),
    [
        ("https://hc-ping.com/uuid", Ping.START, None, "https://hc-ping.com/uuid/start"),
        ("https://hc-ping.com/uuid", Ping.SUCCESS, 0, "https://hc-ping.com/uuid"),
        ("https://hc-ping.com/uuid", Ping.FAIL, 1, "https://hc-ping.com/uuid/1"),
        ("https://hc-ping.com/uuid", Ping.FAIL, 255, "https://hc-ping.com/uuid/255"),
        ("https://hc-ping.com/uuid", Ping.FAIL, None, "https://hc-ping.com/uuid/fail"),
        ("https://hc-ping.com/uuid", Ping.FAIL, 0, "https://hc-ping.com/uuid/fail"),
        ("https://hc-ping.com/uuid", Ping.FAIL, 256, "https://hc-ping.com/uuid/fail"),
        ("https://hc-ping.com/uuid", Ping.FAIL, -9, "https://hc-ping.com/uuid/fail"),
        ("https://hc-ping.com/uuid/", Ping.START, None, "https://hc-ping.com/uuid/start"),
        ("https://hc-ping.com/key/slug?create=1", Ping.FAIL, 1, "https://hc-ping.com/key/slug/1?create=1"),
    ],
)
def test_a_heartbeat_has_the_documented_address(base: str, kind: Ping, exit_code: int | None, address: str) -> None:
    assert build_ping_address(base, kind, exit_code=exit_code) == address


@pytest.mark.parametrize(
    ("address", "is_push"),
    [
        ("https://kuma.example/api/push/abc?status=up&msg=OK&ping=", True),
        ("https://kuma.example/api/push/abc", True),
        ("https://kuma.example/base/api/push/abc?STATUS=up", True),
        ("https://cronitor.link/p/key/job?state=complete", True),
        ("https://h.example/beat?status", True),
        ("https://hc-ping.com/uuid", False),
        ("https://hc-ping.com/key/slug?create=1", False),
        ("https://h.example/beat?substatus=1", False),
    ],
)
def test_an_address_that_is_only_pushed_to_is_used_as_it_stands(address: str, *, is_push: bool) -> None:
    assert is_push_only(address) is is_push
    as_it_stands = [build_ping_address(f" {address}\n", kind, exit_code=1) == address for kind in Ping]
    assert all(as_it_stands) is is_push


def test_a_heartbeat_is_judged_like_a_webhook_but_may_be_missing() -> None:
    assert heartbeat_problem(None) is None
    assert heartbeat_problem(Secret("https://hc-ping.com/uuid")) is None
    assert (heartbeat_problem(Secret("http://hc-ping.com/uuid")) or "").startswith("HEARTBEAT_URL must")


@pytest.mark.parametrize(
    ("ages_h", "count", "chosen"),
    [
        ([], 20, []),
        ([1, 1], 20, []),
        ([7, 1], 20, [0]),
        ([7, 1, 8], 20, [0, 2]),
        ([1] * 8, 8, []),
        ([1] * 9, 8, [0, 1, 2, 3]),
        ([30] * 5, 2, [0, 1, 2, 3, 4]),
        ([-3], 20, []),  # the clock was set back
    ],
)
def test_old_alerts_and_too_many_alerts_make_a_backlog(ages_h: list[float], count: int, chosen: list[int]) -> None:
    waiting = [
        _waiting(number, _alert(at=WEDNESDAY_MORNING - timedelta(hours=age))) for number, age in enumerate(ages_h)
    ]
    backlog = choose_backlog(waiting, now=WEDNESDAY_MORNING, age_s=6 * 3600, count=count)
    assert [one.id for one in backlog] == chosen


def test_a_summary_tells_how_many_what_and_the_worst() -> None:
    alerts = [_alert("a"), _alert("b", severity=Severity.CRITICAL, cause="GATEWAY_TIMEOUT"), _alert("c")]
    summary = build_summary([_waiting(number, one) for number, one in enumerate(alerts)], now=WEDNESDAY_MORNING)
    assert summary is not None
    assert summary.title == "3 earlier alerts could not be sent in time"
    assert summary.severity is Severity.CRITICAL
    assert summary.evidence[1] == "2026-11-18 14:00 UTC critical: b (GATEWAY_TIMEOUT)"


def test_a_summary_of_a_summary_counts_all_of_them() -> None:
    first = build_summary([_waiting(number, _alert(f"t{number}")) for number in range(3)], now=WEDNESDAY_MORNING)
    assert first is not None
    again = build_summary([_waiting(9, first), _waiting(10, _alert("t3"))], now=WEDNESDAY_MORNING)
    assert again is not None
    assert again.title == "4 earlier alerts could not be sent in time"
    assert [line.rpartition(" ")[2] for line in again.evidence] == ["t0", "t1", "t2", "t3"]


def test_a_summary_of_alerts_that_may_have_arrived_does_not_say_that_they_could_not_be_sent() -> None:
    waiting = [_waiting(1, _alert("a")), dataclasses.replace(_waiting(2, _alert("b")), is_unsure=True)]
    summary = build_summary(waiting, now=WEDNESDAY_MORNING)
    assert summary is not None
    assert summary.title == "2 earlier alerts may not have been sent in time"
    again = build_summary([_waiting(3, summary), _waiting(4, _alert("c"))], now=WEDNESDAY_MORNING)
    assert again is not None
    assert again.title == "3 earlier alerts may not have been sent in time"


def test_a_backlog_that_cannot_be_read_has_no_summary() -> None:
    broken = PendingAlert(id=1, run_id="r", body="{", at=datetime(2026, 1, 1, tzinfo=UTC), tries=0, is_unsure=False)
    assert build_summary([broken], now=WEDNESDAY_MORNING) is None
