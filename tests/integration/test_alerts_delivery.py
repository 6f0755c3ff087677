"""Alerts over real sockets, with a real outbox."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.alerts.alert import Severity
from orchestration.alerts.channel import channel_key, channel_problem
from orchestration.alerts.discord import DiscordChannel
from orchestration.alerts.heartbeat import Ping
from orchestration.journal import AlertDelivery, JournalReader
from orchestration.settings import Secret
from orchestration.soak.channel import close, hang
from tests.integration.alerts_scene import (
    CLOCK,
    QUICK,
    TOKEN,
    Behaviour,
    Exchange,
    answer,
    garbage,
    make_alert,
    make_delivery,
    open_journal,
    run_channel,
    trickle,
    trickle_after_success,
    wait_until,
)

_PROJECT = Path(__file__).resolve().parents[2]


def test_alerts_arrive_once_and_in_order(tmp_path: Path) -> None:
    with run_channel() as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        for number in range(5):
            delivery.send(make_alert(f"alert {number}"))
        report = delivery.close()
        assert channel.titles == [f"alert {number}" for number in range(5)]
        assert (report.delivered, report.pending, report.problem) == (5, 0, None)
        assert journal.read_pending_alerts() == []


def test_sending_never_waits_for_the_channel(tmp_path: Path) -> None:
    with run_channel(hang) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        for number in range(5):
            delivery.send(make_alert(f"alert {number}"))
        # The first one cannot have been answered, and all five are already safe on disk.
        assert len(JournalReader(journal.path).read_pending_alerts()) == 5
        delivery.close(timeout_s=0.5)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Retry-After": "0.4"}, b""),
        ({"X-RateLimit-Reset-After": "0.4", "Retry-After": "400"}, b""),
        ({}, b'{"message": "slow down", "retry_after": 0.4, "global": false}'),
    ],
)
def test_a_rate_limit_is_waited_out(tmp_path: Path, headers: dict[str, str], body: bytes) -> None:
    with run_channel(answer(429, headers, body)) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        report = delivery.close()
        assert channel.titles == ["one", "one"]
        assert channel.received[1].at_s - channel.received[0].at_s >= 0.4
        assert report.delivered == 1


def test_a_new_alert_does_not_shorten_the_quiet_that_the_channel_asked_for(tmp_path: Path) -> None:
    with run_channel(answer(429, {"Retry-After": "0.4"})) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        wait_until(lambda: len(channel.received) == 1, "the first try")
        wait_until(lambda: journal.read_pending_alerts()[0].tries == 1, "the answer")
        delivery.send(make_alert("two"))
        delivery.close()
        assert channel.titles == ["one", "one", "two"]
        assert channel.received[1].at_s - channel.received[0].at_s >= 0.39


def test_a_rate_limit_longer_than_the_time_to_close_leaves_the_alert_for_the_next_run(tmp_path: Path) -> None:
    with run_channel(answer(429, {"Retry-After": "59"})) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        report = delivery.close(timeout_s=20)
        assert (report.delivered, report.pending) == (0, 1)
        assert report.problem == "alerts wait: the channel answered 429"
        assert len(channel.received) == 1


@pytest.mark.parametrize("fault", [answer(500), answer(503), answer(408), close, garbage, hang, trickle])
def test_a_fault_that_may_pass_is_tried_again(tmp_path: Path, fault: Behaviour) -> None:
    with run_channel(fault) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        delivery.send(make_alert("two"))
        report = delivery.close()
        assert channel.titles == ["one", "one", "two"]
        assert (report.delivered, report.failed, report.pending) == (2, 0, 0)


def test_a_success_whose_answer_never_ends_is_a_success(tmp_path: Path) -> None:
    with run_channel(trickle_after_success) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        assert delivery.close().delivered == 1
        assert channel.titles == ["one"]


@pytest.mark.parametrize(
    ("fault", "is_unsure"), [(answer(500), False), (answer(429), False), (hang, True), (close, True)]
)
def test_a_second_try_says_so_where_the_first_one_may_have_arrived(
    tmp_path: Path, fault: Behaviour, *, is_unsure: bool
) -> None:
    with run_channel(fault) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        delivery.close()
        assert [("may be a repeat" in one.footer) for one in channel.received] == [False, is_unsure]


@pytest.mark.parametrize("fault", [answer(500), hang, trickle, close])
def test_a_channel_that_never_recovers_is_left_after_some_tries(tmp_path: Path, fault: Behaviour) -> None:
    with run_channel(*[fault] * 50) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        report = delivery.close(timeout_s=20)
        assert len(channel.received) == QUICK.tries_per_round
        assert (report.delivered, report.pending) == (0, 1)
        assert report.problem is not None


def test_closing_ends_a_try_that_hangs(tmp_path: Path) -> None:
    patient = dataclasses.replace(QUICK, read_timeout_s=600.0, try_timeout_s=600.0)
    with run_channel(hang) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook, limits=patient)
        delivery.send(make_alert("one"))
        wait_until(lambda: len(channel.received) == 1, "the try")
        report = delivery.close(timeout_s=0.5)
        assert (report.delivered, report.pending) == (0, 1)
        wait_until(lambda: journal.read_pending_alerts()[0].is_unsure, "the outcome is written down")
        assert not [one for one in threading.enumerate() if one.name == "alerts"]


def test_what_could_not_be_sent_is_sent_first_by_the_next_run_once_and_in_order(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        refusing = Secret(f"http://127.0.0.1:{reserved.getsockname()[1]}/api/webhooks/42/{TOKEN}")
    with open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, refusing)
        for number in range(3):
            delivery.send(make_alert(f"old {number}"))
        report = delivery.close()
        assert (report.delivered, report.pending) == (0, 3)
        assert report.problem == "alerts wait: the connection was refused"
    with run_channel() as channel:
        for title in ("new", "newer"):
            with open_journal(tmp_path) as journal:
                delivery = make_delivery(journal, channel.webhook)
                delivery.send(make_alert(title))
                assert delivery.close().pending == 0
        assert channel.titles == ["old 0", "old 1", "old 2", "new", "newer"]
        assert not [one for one in channel.received if "may be a repeat" in one.footer]


def test_resuming_sends_what_waits_without_a_new_alert(tmp_path: Path) -> None:
    with run_channel(*[answer(500)] * 3) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        wait_until(lambda: not channel.script, "the round of tries")
        wait_until(lambda: "500" in _notes(journal.path)[0], "the note")
        delivery.resume_sending()
        wait_until(lambda: not journal.read_pending_alerts(), "the delivery")
        assert delivery.close().delivered == 1


def _notes(path: Path) -> list[str]:
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT note FROM alerts ORDER BY id")]
    finally:
        connection.close()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_alert_that_is_refused_for_good_does_not_block_the_others(tmp_path: Path, status: int) -> None:
    with run_channel(answer(204), answer(status)) as channel, open_journal(tmp_path) as journal:
        journal.start_run("run-1", instance="default", kind="startup", simulated=False, pid=os.getpid())
        delivery = make_delivery(journal, channel.webhook)
        for title in ("first", "poison", "last"):
            delivery.send(make_alert(title))
        report = delivery.close()
        assert channel.titles == ["first", "poison", "last"]
        assert (report.delivered, report.failed, report.pending) == (2, 1, 0)
        run = journal.read_last_run()
        assert run is not None
        assert [one.delivery for one in run.alerts] == [
            AlertDelivery.DELIVERED,
            AlertDelivery.FAILED,
            AlertDelivery.DELIVERED,
        ]


_FORUM = b'{"message": "Webhooks posted to forum channels must have a thread_name or thread_id", "code": 220001}'


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            400,
            _FORUM,
            "answered 400: Webhooks posted to forum channels must have a thread_name or thread_id (code 220001)",
        ),
        (400, b"invalid_payload", "answered 400: invalid_payload"),
        (405, b"<html>Method Not Allowed</html>", "answered 405;"),
        (413, b"", "answered 413;"),
        (422, b"", "answered 422;"),
    ],
)
def test_a_channel_that_refuses_different_alerts_in_a_row_is_dead_and_every_alert_is_kept(
    tmp_path: Path, status: int, body: bytes, reason: str
) -> None:
    refuse = answer(status, body=body)
    with run_channel(*[refuse] * 20) as channel:
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            for number in range(4):
                delivery.send(make_alert(f"alert {number}"))
            report = delivery.close()
            assert channel.titles == ["alert 0", "alert 1"]
            assert (report.delivered, report.failed, report.pending) == (0, 0, 4)
            assert report.problem is not None
            assert report.problem.startswith("the alert channel is dead")
            assert reason in report.problem
        shown = channel_problem(JournalReader(tmp_path / "journal.sqlite3"), DiscordChannel(webhook=channel.webhook))
        assert shown == report.problem
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("alert 4"))
            delivery.resume_sending()
            assert delivery.close().pending == 5
        assert len(channel.received) == 2
    with run_channel() as repaired, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, repaired.webhook)
        delivery.resume_sending()
        assert delivery.close().delivered == 5
        assert repaired.titles == [f"alert {number}" for number in range(5)]


def test_refusals_add_up_over_processes_that_have_one_alert_each(tmp_path: Path) -> None:
    with run_channel(*[answer(400)] * 9) as channel:
        problems = []
        for number in range(3):
            with open_journal(tmp_path) as journal:
                delivery = make_delivery(journal, channel.webhook)
                delivery.send(make_alert(f"alert {number}"))
                report = delivery.close()
                assert (report.failed, report.pending) == (0, number + 1)
                problems.append(report.problem or "")
        assert channel.titles == ["alert 0", "alert 1"]
        assert problems[0] == "the channel answered 400; the alert is kept"
        assert all("dead" in problem for problem in problems[1:])


def test_a_refused_alert_has_failed_once_the_channel_takes_another_one(tmp_path: Path) -> None:
    with run_channel(answer(400)) as channel:
        for title in ("bad", "good", "better"):
            with open_journal(tmp_path) as journal:
                delivery = make_delivery(journal, channel.webhook)
                delivery.send(make_alert(title))
                report = delivery.close()
                assert channel_problem(journal, DiscordChannel(webhook=channel.webhook)) is None
        assert channel.titles == ["bad", "good", "better"]
        assert report.pending == 0
        assert "the channel answered 400" in _notes(tmp_path / "journal.sqlite3")[0]


def test_refusals_with_a_success_between_them_do_not_add_up(tmp_path: Path) -> None:
    script = [answer(400), answer(204)] * 4
    with run_channel(*script) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        for number in range(8):
            delivery.send(make_alert(f"alert {number}"))
        report = delivery.close()
        assert (report.delivered, report.failed, report.pending) == (4, 4, 0)
        assert channel_problem(journal, DiscordChannel(webhook=channel.webhook)) is None


def test_a_channel_that_refused_everything_is_alive_again_once_a_test_alert_is_taken(tmp_path: Path) -> None:
    with run_channel(*[answer(400)] * 4) as channel:
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            for title in ("one", "two", "three"):
                delivery.send(make_alert(title))
            delivery.close()
        with open_journal(tmp_path) as journal:  # in vain
            delivery = make_delivery(journal, channel.webhook)
            delivery.forget_channel_problem()
            delivery.send(make_alert("test 1"))
            assert "dead" in (delivery.close().problem or "")
            assert channel_problem(journal, DiscordChannel(webhook=channel.webhook)) is not None
        assert channel.titles == ["one", "two", "one", "test 1"]
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.forget_channel_problem()
            delivery.send(make_alert("test 2"))
            report = delivery.close()
            assert (report.delivered, report.pending, report.problem) == (5, 0, None)
            assert channel_problem(journal, DiscordChannel(webhook=channel.webhook)) is None
        assert channel.titles[4:] == ["one", "two", "three", "test 1", "test 2"]


def test_two_bad_alerts_do_not_keep_a_test_alert_from_the_channel(tmp_path: Path) -> None:
    with run_channel(*[answer(400)] * 3) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        for title in ("bad", "worse"):
            delivery.send(make_alert(title))
        assert "dead" in (delivery.close().problem or "")
        delivery = make_delivery(journal, channel.webhook)
        delivery.forget_channel_problem()
        delivery.send(make_alert("test"))
        report = delivery.close()
        assert channel.titles == ["bad", "worse", "bad", "test", "worse"]
        assert (report.delivered, report.failed, report.pending) == (2, 1, 0)


@pytest.mark.parametrize("refusal", [answer(404), answer(400)])
def test_a_process_that_runs_on_learns_that_another_one_found_the_channel_alive(
    tmp_path: Path, refusal: Behaviour
) -> None:
    with run_channel(*[refusal] * 2) as channel, open_journal(tmp_path) as journal:
        supervisor = make_delivery(journal, channel.webhook)
        supervisor.send(make_alert("one"))
        supervisor.send(make_alert("two"))
        wait_until(
            lambda: channel_problem(journal, DiscordChannel(webhook=channel.webhook)) is not None,
            "the channel is found dead",
        )
        channel.script.clear()
        supervisor.resume_sending()
        with open_journal(tmp_path) as other:
            delivery = make_delivery(other, channel.webhook)
            delivery.forget_channel_problem()
            delivery.send(make_alert("test"))
            assert delivery.close().problem is None
        supervisor.resume_sending()
        supervisor.send(make_alert("three"))
        assert supervisor.close().problem is None
        assert channel.titles[-4:] == ["one", "two", "test", "three"]


def test_a_channel_that_refuses_everything_is_dead_where_no_journal_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").mkdir()  # a folder in its place
    with run_channel(*[answer(400)] * 9) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, channel.webhook)
        for number in range(4):
            delivery.send(make_alert(f"alert {number}"))
        wait_until(lambda: len(channel.received) == 2, "the two refusals")
        delivery.resume_sending()
        report = delivery.close()
        assert len(channel.received) == 2
        assert report.pending == 4
        assert "dead" in (report.problem or "")


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "600"},
        {"X-RateLimit-Reset-After": "600.25"},
        {"X-RateLimit-Global": "true", "X-RateLimit-Reset-After": "0.01", "Retry-After": "600"},
    ],
)
def test_the_quiet_that_the_channel_asked_for_is_kept_by_the_next_process(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    with run_channel(answer(429, headers)) as channel:
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("one"))
            assert delivery.close().pending == 1
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("two"))
            delivery.resume_sending()
            report = delivery.close()
            assert report.pending == 2
            assert "asked for quiet until" in (report.problem or "")
        assert channel.titles == ["one"]


def test_the_quiet_that_another_process_was_asked_for_is_kept_beside_it_and_ends(tmp_path: Path) -> None:
    with run_channel(answer(204), answer(429, {"Retry-After": "0.6"})) as channel, open_journal(tmp_path) as journal:
        long_lived = make_delivery(journal, channel.webhook)
        long_lived.send(make_alert("one"))
        wait_until(lambda: not journal.read_pending_alerts(), "the first one")
        with open_journal(tmp_path) as other:
            delivery = make_delivery(other, channel.webhook)
            delivery.send(make_alert("two"))
            wait_until(lambda: len(channel.received) == 2, "the rate limit")
            delivery.close(timeout_s=0.4)
        long_lived.send(make_alert("three"))
        assert long_lived.close().pending == 0
        assert channel.titles == ["one", "two", "two", "three"]
        assert channel.received[2].at_s - channel.received[1].at_s >= 0.59


def test_a_quiet_that_lies_in_another_year_does_not_silence_the_channel_for_ever(tmp_path: Path) -> None:
    with run_channel() as channel, open_journal(tmp_path) as journal:
        journal.mark_quiet(channel_key(channel.webhook), CLOCK.now() + timedelta(days=400))  # the clock was set back
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        assert delivery.close().delivered == 1


def test_an_unreadable_alert_in_the_outbox_does_not_block_the_others(tmp_path: Path) -> None:
    with run_channel() as channel, open_journal(tmp_path) as journal:
        for body in ("{", "[]", '{"severity": "loud"}', json.dumps({"severity": "info"})):
            journal.add_alert(run_id="r", severity="info", title="t", body=body, at=CLOCK.now(), channels=["discord"])
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("good"))
        assert delivery.close().pending == 0
        assert channel.titles == ["good"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_dead_channel_is_tried_no_more_until_its_address_changes(tmp_path: Path, status: int) -> None:
    with run_channel(answer(status)) as channel, run_channel() as repaired:
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("one"))
            delivery.send(make_alert("two"))
            report = delivery.close()
            assert report.pending == 2
            assert report.problem is not None
            assert str(status) in report.problem
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("three"))
            assert delivery.close().pending == 3
        assert channel.titles == ["one"]

        reader = JournalReader(tmp_path / "journal.sqlite3")
        problem = channel_problem(reader, DiscordChannel(webhook=channel.webhook))
        assert problem is not None
        assert TOKEN not in problem
        assert channel_problem(reader, DiscordChannel(webhook=repaired.webhook)) is None

        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, repaired.webhook)
            delivery.resume_sending()
            assert delivery.close().delivered == 3
        assert repaired.titles == ["one", "two", "three"]


def test_a_dead_channel_is_tried_again_when_the_operator_asks(tmp_path: Path) -> None:
    with run_channel(answer(404)) as channel:
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("one"))
            delivery.close()
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.forget_channel_problem()
            delivery.send(make_alert("two"))
            assert delivery.close().problem is None
            assert channel_problem(journal, DiscordChannel(webhook=channel.webhook)) is None
        assert channel.titles == ["one", "one", "two"]


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with run_channel() as elsewhere:
        redirect = answer(307, {"Location": elsewhere.address})
        with run_channel(*[redirect] * 9) as channel, open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("one"))
            assert delivery.close().pending == 1
        assert elsewhere.received == []


def test_loopback_is_never_reached_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_channel() as proxy, run_channel() as channel, open_journal(tmp_path) as journal:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        delivery.close()
        assert channel.titles == ["one"]
        assert proxy.received == []


def test_an_old_backlog_becomes_one_summary_that_comes_first(tmp_path: Path) -> None:
    yesterday = CLOCK.now() - timedelta(hours=20)
    with run_channel() as channel, open_journal(tmp_path) as journal:
        for number in range(3):
            alert = make_alert(f"old {number}", severity=Severity.ERROR, at=yesterday)
            journal.add_alert(
                run_id="r", severity="error", title=alert.title, body=alert.to_json(), at=alert.at, channels=["discord"]
            )
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("new"))
        assert delivery.close().pending == 0
        assert channel.titles == ["3 earlier alerts could not be sent in time", "new"]
        evidence = channel.received[0].document["embeds"][0]["fields"][-1]["value"]
        assert all(f"old {number}" in evidence for number in range(3))


def test_too_many_waiting_alerts_become_one_summary_and_the_newest(tmp_path: Path) -> None:
    with run_channel() as channel, open_journal(tmp_path) as journal:
        for number in range(40):
            alert = make_alert(f"alert {number}")
            journal.add_alert(
                run_id="r", severity="info", title=alert.title, body=alert.to_json(), at=alert.at, channels=["discord"]
            )
        delivery = make_delivery(journal, channel.webhook)
        delivery.resume_sending()
        assert delivery.close().pending == 0
        assert channel.titles == [
            "35 earlier alerts could not be sent in time",
            *[f"alert {number}" for number in range(35, 40)],
        ]


def test_without_a_webhook_alerts_are_records_only(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.start_run("run-1", instance="default", kind="startup", simulated=False, pid=os.getpid())
        delivery = make_delivery(journal, None)
        delivery.send(make_alert("one"))
        assert delivery.close().pending == 0
        run = journal.read_last_run()
        assert run is not None
        assert [one.delivery for one in run.alerts] == [AlertDelivery.LOGGED]


def test_a_malformed_webhook_keeps_alerts_for_the_repaired_one(tmp_path: Path) -> None:
    with run_channel() as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, Secret("http://discord.com/api/webhooks/1/x"))
        delivery.send(make_alert("one"))
        report = delivery.close()
        assert report.pending == 1
        assert report.problem is not None
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("two"))
        delivery.close()
        assert channel.titles == ["one", "two"]


def test_alerts_are_sent_where_no_journal_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").mkdir()  # a folder in its place
    with run_channel(answer(500)) as channel, open_journal(tmp_path) as journal:
        assert not journal.is_usable
        delivery = make_delivery(journal, channel.webhook)
        delivery.send(make_alert("one"))
        delivery.send(make_alert("two"))
        report = delivery.close()
        assert channel.titles == ["one", "one", "two"]
        assert (report.delivered, report.pending) == (2, 0)


def test_heartbeats_arrive_in_order_and_carry_the_exit_code(tmp_path: Path) -> None:
    with run_channel() as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, None, heartbeat=Secret(f"http://127.0.0.1:{channel.port}/ping/uuid-1"))
        delivery.ping(Ping.START)
        delivery.ping(Ping.FAIL, 1)
        delivery.ping(Ping.FAIL)
        delivery.ping(Ping.SUCCESS)
        delivery.close()
        paths = [one.path for one in channel.received]
        assert paths == ["/ping/uuid-1/start", "/ping/uuid-1/1", "/ping/uuid-1/fail", "/ping/uuid-1"]


def test_an_address_that_can_only_say_up_hears_of_successes_only(tmp_path: Path) -> None:
    with run_channel() as channel, open_journal(tmp_path) as journal:
        push = f"http://127.0.0.1:{channel.port}/api/push/abc?status=up&msg=OK&ping="
        delivery = make_delivery(journal, None, heartbeat=Secret(push))
        for kind in (Ping.START, Ping.SUCCESS, Ping.FAIL, Ping.START, Ping.SUCCESS):
            delivery.ping(kind, 1)
        delivery.close()
        assert [one.path for one in channel.received] == ["/api/push/abc?status=up&msg=OK&ping="] * 2


def test_a_heartbeat_is_given_up_after_some_tries(tmp_path: Path) -> None:
    with run_channel(*[answer(500)] * 9) as channel, open_journal(tmp_path) as journal:
        delivery = make_delivery(journal, None, heartbeat=Secret(f"http://127.0.0.1:{channel.port}/uuid"))
        delivery.ping(Ping.START)
        delivery.close()
        assert [one.path for one in channel.received] == ["/uuid/start"] * QUICK.ping_tries


def test_a_heartbeat_that_fails_makes_way_for_a_newer_one(tmp_path: Path) -> None:
    newer = threading.Event()

    def fail_once_there_is_a_newer_one(exchange: Exchange) -> None:
        newer.wait(10)
        answer(500)(exchange)

    patient = dataclasses.replace(QUICK, read_timeout_s=20.0, try_timeout_s=20.0)
    with run_channel(fail_once_there_is_a_newer_one) as channel, open_journal(tmp_path) as journal:
        watcher = Secret(f"http://127.0.0.1:{channel.port}/uuid")
        delivery = make_delivery(journal, None, heartbeat=watcher, limits=patient)
        delivery.ping(Ping.START)
        delivery.ping(Ping.FAIL, 1)
        newer.set()
        delivery.close()
        assert [one.path for one in channel.received] == ["/uuid/start", "/uuid/1"]


def test_a_channel_that_asked_for_quiet_does_not_hold_up_heartbeats(tmp_path: Path) -> None:
    with (
        run_channel(answer(429, {"Retry-After": "59"})) as channel,
        run_channel() as watcher,
        open_journal(tmp_path) as journal,
    ):
        delivery = make_delivery(journal, channel.webhook, heartbeat=Secret(f"http://127.0.0.1:{watcher.port}/uuid"))
        delivery.send(make_alert("one"))
        wait_until(lambda: bool(channel.received), "the alert's try")
        delivery.ping(Ping.SUCCESS)
        wait_until(lambda: bool(watcher.received), "the heartbeat")
        delivery.close(timeout_s=1)


# The webhook comes by the environment: another test may look for it in the argument lists of this very machine.
_SENDER = """
import logging, os, sys
from pathlib import Path
from orchestration.settings import Secret
from tests.integration.alerts_scene import make_alert, make_delivery, open_journal
folder, name, count, timeout_s = sys.argv[1:]
webhook = os.environ["WEBHOOK"]
with open_journal(Path(folder)) as journal:
    delivery = make_delivery(journal, Secret(webhook))
    for number in range(int(count)):
        delivery.send(make_alert(f"{name} {number}"))
    report = delivery.close(timeout_s=float(timeout_s))
    print(report.pending, "requests" in sys.modules)
"""


def _start_sender(folder: Path, webhook: str, name: str, count: int, timeout_s: float = 60) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", _SENDER, str(folder), name, str(count), str(timeout_s)]
    environ = {**os.environ, "WEBHOOK": webhook}
    return subprocess.Popen(argv, cwd=_PROJECT, env=environ, stdout=subprocess.PIPE, text=True)


def test_processes_that_share_an_outbox_send_each_alert_once_and_in_order(tmp_path: Path) -> None:
    with run_channel() as channel:
        senders = [_start_sender(tmp_path, channel.address, name, 6) for name in ("a", "b", "c")]
        for sender in senders:
            assert sender.communicate(timeout=90)[0].startswith("0 ")
        assert sorted(channel.titles) == sorted(f"{name} {number}" for name in "abc" for number in range(6))
        for name in "abc":
            own = [title for title in channel.titles if title.startswith(name)]
            assert own == [f"{name} {number}" for number in range(6)]


def test_an_alert_whose_sender_is_killed_in_the_post_is_sent_again_and_says_so(tmp_path: Path) -> None:
    with run_channel(answer(204), hang) as channel:
        sender = _start_sender(tmp_path, channel.address, "killed", 3)
        wait_until(lambda: len(channel.received) == 2, "the second post")
        sender.send_signal(signal.SIGKILL)
        sender.communicate(timeout=60)
        with open_journal(tmp_path) as journal:
            delivery = make_delivery(journal, channel.webhook)
            delivery.send(make_alert("after"))
            assert delivery.close().pending == 0
        assert channel.titles == ["killed 0", "killed 1", "killed 1", "killed 2", "after"]
        assert ["may be a repeat" in one.footer for one in channel.received] == [False, False, True, False, False]


def test_the_http_library_is_not_loaded_where_nothing_is_sent(tmp_path: Path) -> None:
    sender = _start_sender(tmp_path, "", "logged", 2)
    assert sender.communicate(timeout=60)[0] == "0 False\n"


_ON_A_FULL_DISK = """
import os, resource, sys
from pathlib import Path
from orchestration.settings import Secret
from tests.integration.alerts_scene import make_alert, make_delivery, open_journal
folder, webhook = sys.argv[1], os.environ["WEBHOOK"]
with open_journal(Path(folder)) as journal:
    delivery = make_delivery(journal, Secret(webhook))
    size = Path(f"{journal.path}-wal").stat().st_size
    journal.add_alert(run_id="r", severity="info", title="stored", body=make_alert("stored").to_json(),
                      at=make_alert().at, channels=["discord"])
    full = Path(f"{journal.path}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))  # from here on nothing more fits
    delivery.send(make_alert("from memory"))
    report = delivery.close()
    print(report.delivered, journal.problem is not None)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_on_a_full_disk_each_alert_is_still_sent_once(tmp_path: Path) -> None:
    with run_channel() as channel:
        argv = [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path)]
        environ = {**os.environ, "WEBHOOK": channel.address}
        done = subprocess.run(argv, cwd=_PROJECT, env=environ, capture_output=True, text=True, timeout=60, check=True)
        assert channel.titles == ["stored", "from memory"]
        assert done.stdout == "2 True\n"
