"""Several channels beside each other: each has its own delivery record, and what is wrong with one is no other's."""

import dataclasses
import sqlite3
from datetime import timedelta
from pathlib import Path

from orchestration.alerts.alert import Severity
from orchestration.alerts.channel import channel_problem
from orchestration.alerts.channels import read_channel_states
from orchestration.alerts.discord import DiscordChannel
from orchestration.journal import AlertDelivery, JournalReader
from orchestration.journal.schema import MIGRATIONS
from orchestration.soak.channel import hang
from tests.integration.alerts_scene import (
    CLOCK,
    QUICK,
    TOKEN,
    LoopbackChannel,
    answer,
    make_alert,
    make_delivery_to,
    open_journal,
    run_channel,
    wait_until,
)


def _as(name: str, channel: LoopbackChannel, *, least: Severity = Severity.INFO) -> DiscordChannel:
    return DiscordChannel(webhook=channel.webhook, id=name, name=name, least=least)


def test_a_dead_channel_stops_no_other_one_and_keeps_what_waits_for_it(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(*[answer(404)] * 9) as dead, run_channel() as alive:
        channels = (_as("one", dead), _as("two", alive))
        delivery = make_delivery_to(journal, channels)
        delivery.send(make_alert("first"))
        wait_until(lambda: len(dead.received) == 1 and len(alive.received) == 1, "both were asked")
        delivery.send(make_alert("second"))
        delivery.send(make_alert("third"))
        report = delivery.close()
        states = read_channel_states(journal, channels)
    assert len(dead.received) == 1
    assert alive.titles == ["first", "second", "third"]
    assert [(one.channel, one.delivered, one.pending) for one in report.channels] == [("one", 0, 3), ("two", 3, 0)]
    assert [(one.name, one.waiting, one.problem is None) for one in states] == [("one", 3, False), ("two", 0, True)]
    assert "one: the alert channel is dead (HTTP 404)" in (report.problem or "")
    assert TOKEN not in (report.problem or "")


def test_a_channel_that_hangs_delays_no_other_one(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(*[hang] * 9) as stuck, run_channel() as alive:
        limits = dataclasses.replace(QUICK, read_timeout_s=60.0, try_timeout_s=60.0)
        delivery = make_delivery_to(journal, (_as("one", stuck), _as("two", alive)), limits=limits)
        for number in range(5):
            delivery.send(make_alert(f"alert {number}"))
        wait_until(lambda: len(alive.received) == 5, "the other channel has all of them")
        wait_until(lambda: len(stuck.received) == 1, "the first one still has its first request")
        report = delivery.close(timeout_s=0.5)
        assert [one.is_unsure for one in journal.read_pending_alerts("one")] == [True, False, False, False, False]
    assert [one.pending for one in report.channels] == [5, 0]


def test_each_channel_is_sent_what_its_level_asks_for(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel() as every, run_channel() as worst:
        delivery = make_delivery_to(journal, (_as("one", every), _as("two", worst, least=Severity.ERROR)))
        for severity in Severity:
            delivery.send(make_alert(severity.value, severity=severity))
        delivery.send(make_alert("test"), is_test=True)
        delivery.close()
    assert every.titles == ["info", "warning", "error", "critical", "test"]
    assert worst.titles == ["error", "critical", "test"]


def test_a_channel_for_outcomes_is_sent_no_progress_and_everything_else(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel() as channel:
        outcome = dataclasses.replace(_as("one", channel), skips_progress=True)
        delivery = make_delivery_to(journal, (outcome,))
        for cause in ("STARTUP_BEGUN", "GATEWAY_STARTING", "BOT_STARTED", "OPERATIONAL", "SHUTDOWN"):
            delivery.send(make_alert(cause, cause=cause))
        delivery.send(make_alert("late", severity=Severity.WARNING, cause="GATEWAY_STARTING"))
        delivery.send(make_alert("test", cause="STARTUP_BEGUN"), is_test=True)
        delivery.close()
    assert channel.titles == ["OPERATIONAL", "SHUTDOWN", "late", "test"]


def test_what_no_channel_asks_for_is_only_logged(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel() as channel:
        delivery = make_delivery_to(journal, (_as("one", channel, least=Severity.CRITICAL),))
        delivery.send(make_alert("mild"))
        assert delivery.close().pending == 0
        assert journal.read_pending_alerts() == []
    assert channel.received == []


def _read_deliveries(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "journal.sqlite3") as connection:
        return connection.execute("SELECT channel, delivery FROM deliveries ORDER BY alert_id, channel").fetchall()


def test_a_critical_alert_that_no_channel_took_in_time_goes_to_all_of_them_again(tmp_path: Path) -> None:
    limits = dataclasses.replace(QUICK, repeat_after_s=300.0)
    with (
        open_journal(tmp_path) as journal,
        run_channel(answer(404)) as first,
        run_channel(answer(403)) as second,
    ):
        channels = (_as("one", first), _as("two", second, least=Severity.CRITICAL))
        delivery = make_delivery_to(journal, channels, limits=limits)
        early = CLOCK.now() - timedelta(seconds=290)
        delivery.send(make_alert("not yet", severity=Severity.CRITICAL, at=early))
        wait_until(lambda: all(channel_problem(journal, one) for one in channels), "both are dead")
        delivery.resume_sending()
        delivery.close()
        assert (len(first.received), len(second.received)) == (1, 1)  # five minutes have not passed

        with sqlite3.connect(journal.path) as connection:
            connection.execute("UPDATE alerts SET at = ?", ((early - timedelta(seconds=20)).isoformat(),))
        later = make_delivery_to(journal, channels, limits=limits)
        later.resume_sending()
        later.resume_sending()
        later.close()
        assert [channel_problem(journal, one) for one in channels] == [None, None]
    assert first.titles == second.titles == ["not yet", "not yet"]
    assert _read_deliveries(tmp_path) == [("one", "delivered"), ("two", "delivered")]


def test_a_critical_alert_is_repeated_once_and_only_if_no_channel_took_it(tmp_path: Path) -> None:
    limits = dataclasses.replace(QUICK, repeat_after_s=0.0)
    with open_journal(tmp_path) as journal, run_channel(*[answer(404)] * 99) as dead, run_channel() as alive:
        delivery = make_delivery_to(journal, (_as("one", dead),), limits=limits)
        delivery.send(make_alert("nobody", severity=Severity.CRITICAL))
        for _ in range(5):
            delivery.resume_sending()
        delivery.close()
        asked = len(dead.received)
        assert asked <= 2

        both = make_delivery_to(journal, (_as("one", dead), _as("two", alive)), limits=limits)
        both.send(make_alert("taken", severity=Severity.CRITICAL))
        wait_until(lambda: "taken" in alive.titles, "the other channel took it")
        wait_until(lambda: not journal.read_pending_alerts("two"), "which is written down")
        for _ in range(5):
            both.resume_sending()
        both.close()
    assert len(dead.received) <= asked + 1  # while no channel had taken it; once one had, no more
    assert alive.titles.count("taken") == 1


def test_a_changed_address_takes_over_what_waited_for_the_old_one(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(*[answer(404)] * 9) as old, run_channel() as new:
        before = make_delivery_to(journal, (_as("old", old),))
        before.send(make_alert("first"))
        before.send(make_alert("second"))
        before.close()
        after = make_delivery_to(journal, (_as("new", new),))
        after.resume_sending()
        after.close()
    assert new.titles == ["first", "second"]


def test_a_channel_that_is_added_gets_no_old_alerts_that_others_have_or_wait_for(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(answer(204), answer(404)) as first, run_channel() as added:
        before = make_delivery_to(journal, (_as("one", first),))
        before.send(make_alert("delivered"))
        wait_until(lambda: not journal.read_pending_alerts(), "the first one")
        before.send(make_alert("waits"))
        before.close()
        after = make_delivery_to(journal, (_as("one", first), _as("two", added)))
        after.send(make_alert("new"))
        after.close()
    assert added.titles == ["new"]


def test_what_waited_in_an_older_journal_is_sent_and_an_older_release_may_go_on_with_a_newer_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite3"
    with sqlite3.connect(path) as connection:
        for version in range(3):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
        connection.execute("PRAGMA user_version = 3")
        _add_as_an_older_release(connection, "from before")
    with run_channel() as channel:
        webhook = DiscordChannel(webhook=channel.webhook)
        with open_journal(tmp_path) as journal:
            first = make_delivery_to(journal, (webhook,))
            first.resume_sending()
            wait_until(lambda: not journal.read_pending_alerts(), "the one from before")
            first.close()  # it would send the next one, too
            journal.add_alert(
                run_id="r",
                severity="info",
                title="taken",
                body=make_alert("taken").to_json(),
                at=CLOCK.now(),
                channels=["discord"],
            )
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE alerts SET delivery = 'delivered' WHERE title = 'taken'")
            _add_as_an_older_release(connection, "from between")
        with open_journal(tmp_path) as journal:
            second = make_delivery_to(journal, (webhook,))
            second.resume_sending()
            second.close()
    assert channel.titles == ["from before", "from between"]  # and not `taken`, which the older release has sent


def _add_as_an_older_release(connection: sqlite3.Connection, title: str) -> None:
    alert = make_alert(title)
    cursor = connection.execute(
        "INSERT INTO alerts (run_id, at, severity, title, body, delivery) VALUES ('r', ?, 'info', ?, ?, 'pending')",
        (alert.at.isoformat(), title, alert.to_json()),
    )
    connection.execute("UPDATE alerts SET place = id WHERE id = ?", (cursor.lastrowid,))


def test_an_alert_is_recorded_as_delivered_as_soon_as_one_channel_took_it(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, run_channel(*[answer(404)] * 9) as dead, run_channel() as alive:
        journal.start_run("run-1", instance="default", kind="startup", simulated=True, pid=1)
        delivery = make_delivery_to(journal, (_as("one", dead), _as("two", alive)))
        delivery.send(make_alert("told"))
        delivery.close()
        run = JournalReader(journal.path).read_last_run()
    assert run is not None
    (record,) = run.alerts
    assert record.delivery is AlertDelivery.DELIVERED
    assert record.tries == 2
    assert record.delivered_at is not None
