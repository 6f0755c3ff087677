"""What reaches the operator's phone, and what never does, when the whole sequence runs."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.soak.channel import hang
from tests.integration.alerts_scene import TOKEN, LoopbackChannel, answer, run_channel
from tests.system import SIGINT, System, end_and_read, wait_until

PASSWORD = "pl4nted-Passw0rd"  # noqa: S105 - planted to be looked for
PULSE = "pl4nted-pulse-77"


@pytest.fixture
def channel() -> Iterator[LoopbackChannel]:
    with run_channel() as made:
        yield made


@pytest.fixture
def alerted(system: System, channel: LoopbackChannel) -> System:
    """A system whose alerts arrive at the channel."""
    system.use_small_bot("--ready")
    system.environ["DISCORD_WEBHOOK_URL"] = channel.address
    return system


def test_a_good_start_tells_its_story_in_order_or_its_outcome_alone_and_each_alert_its_cause(
    alerted: System, channel: LoopbackChannel
) -> None:
    alerted.use_plan()
    with run_channel() as brief:
        alerted.environ["ALERT_URLS"] = f"json://127.0.0.1:{brief.port}/hook?level=outcome"
        assert alerted.startup().code == 0
    assert [one.document["title"] for one in brief.received] == ["[SIMULATED] INFO: Operational"]
    assert channel.titles == [
        "[SIMULATED] Start-up begun",
        "[SIMULATED] Gateway starting",
        "[SIMULATED] Bot started",
        "[SIMULATED] Operational",
    ]
    del alerted.environ["ALERT_URLS"]
    assert alerted.inv("alert.test").code == 0
    assert alerted.inv("shutdown").code == 0
    assert len(channel.received) == 7
    for received in channel.received:
        fields = {one["name"]: one["value"] for one in received.document["embeds"][0]["fields"]}
        assert {"Host", "Instance", "Cause", "What to do next"} <= fields.keys(), received.title


def test_strategy_c_says_why(alerted: System, channel: LoopbackChannel) -> None:
    plan = alerted.use_plan(strategy="Z")
    assert alerted.startup().code == 2
    told = next(one.document for one in channel.received if "Strategy C" in one.title)
    assert "GAMEPLAN_INVALID" in json.dumps(told)
    assert plan.name in json.dumps(told)


def test_a_wrong_configuration_is_alerted_too(alerted: System, channel: LoopbackChannel) -> None:
    alerted.environ["GATEWAY_PORT"] = "none"
    assert alerted.startup().code == 1
    assert [title for title in channel.titles if "CONFIG_INVALID" in title]


def test_a_failure_carries_the_bots_last_lines(alerted: System, channel: LoopbackChannel) -> None:
    alerted.use_small_bot(code="import sys; print('strategy file is gone @everyone'); sys.exit(3)")
    alerted.use_plan()
    assert alerted.startup().code == 1
    told = channel.received[-1].document
    assert "strategy file is gone" in json.dumps(told)
    assert told["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize("behaviour", [answer(500), answer(429, {"Retry-After": "1000"}), hang])
def test_a_channel_that_does_not_work_changes_nothing_for_the_start(
    alerted: System, channel: LoopbackChannel, behaviour: object
) -> None:
    channel.script += [behaviour] * 50  # type: ignore[list-item]  # each of them is a behaviour
    alerted.use_plan()
    assert alerted.startup().code == 0
    assert len(alerted.bots()) == 1


def test_what_could_not_be_sent_is_sent_by_the_next_run_once_and_in_order(
    alerted: System, channel: LoopbackChannel
) -> None:
    alerted.use_plan()
    address = alerted.environ["DISCORD_WEBHOOK_URL"]
    alerted.environ["DISCORD_WEBHOOK_URL"] = re.sub(r":\d+/", ":9/", address)  # nothing listens there
    assert alerted.startup().code == 0
    assert channel.received == []
    alerted.environ["DISCORD_WEBHOOK_URL"] = address
    assert alerted.inv("shutdown").code == 0
    titles = [title.removeprefix("[SIMULATED] ") for title in channel.titles]
    assert titles[:4] == ["Start-up begun", "Gateway starting", "Bot started", "Operational"]
    assert titles.count("Operational") == 1
    assert "Bot stopped" in titles


def test_the_heartbeat_says_start_and_the_outcome(alerted: System, channel: LoopbackChannel) -> None:
    alerted.environ["HEARTBEAT_URL"] = f"http://127.0.0.1:{channel.port}/ping/{PULSE}"
    alerted.use_plan()
    assert alerted.startup().code == 0
    pings = [one.path for one in channel.received if one.path.startswith("/ping/")]
    assert pings[0] == f"/ping/{PULSE}/start"
    assert len(pings) == 2
    alerted.inv("shutdown")
    alerted.use_small_bot(code="raise SystemExit(3)")
    assert alerted.startup().code == 1
    assert [one.path for one in channel.received if one.path.startswith("/ping/")][-1] == f"/ping/{PULSE}/1"


def test_no_start_that_the_heartbeat_heard_of_is_without_its_end(alerted: System, channel: LoopbackChannel) -> None:
    alerted.environ["HEARTBEAT_URL"] = f"http://127.0.0.1:{channel.port}/ping/{PULSE}"
    alerted.use_plan()

    def read_pings() -> list[str]:
        pings = [one.path for one in channel.received if one.path.startswith("/ping/")]
        channel.received.clear()
        return [ping.removeprefix(f"/ping/{PULSE}") for ping in pings]

    assert alerted.inv("hold", "--json").code == 0
    read_pings()
    assert alerted.startup().document["failure"] == "HELD"
    assert read_pings() == []
    alerted.inv("resume")

    # Started while another one is under way, then interrupted in the middle of the wait.
    waiting = alerted.begin(environ={"SIMULATOR_FAULTS": "slow_login=60"})
    alerted.wait_for_log("step gateway.wait")
    assert alerted.startup().document["failure"] == "ALREADY_STARTING"
    interrupted = end_and_read(waiting, SIGINT)
    assert interrupted.document["failure"] == "INTERRUPTED"
    assert read_pings() == ["/start", "/1"]

    assert alerted.startup().code == 0
    assert read_pings() == ["/start", ""]
    assert alerted.startup().document["failure"] == "BOT_ALREADY_RUNNING"
    assert read_pings() == []
    alerted.inv("shutdown")
    alerted.environ["GATEWAY_PORT"] = "none"
    assert alerted.startup().document["failure"] == "CONFIG_INVALID"
    assert read_pings() == ["/1"]


def test_no_secret_is_in_any_log_alert_document_journal_or_argument_list(
    alerted: System, channel: LoopbackChannel
) -> None:
    alerted.environ |= {
        "TWS_PASSWORD": PASSWORD,
        "HEARTBEAT_URL": f"http://127.0.0.1:{channel.port}/ping/{PULSE}",
    }
    # The bot itself tries to tell: what it prints ends up in evidence, log and alert.
    prints = f"print('I know {PASSWORD} and {channel.address}', flush=True); raise SystemExit(1)"
    alerted.use_small_bot(code=prints)
    alerted.use_plan()
    ended = alerted.startup()
    said = [ended.out, ended.err]
    alerted.use_small_bot("--ready")
    alerted.environ["SIMULATOR_FAULTS"] = "slow_login=2"
    process = alerted.begin()
    wait_until(alerted.processes, "process")
    arguments = _all_argument_lists()
    said += list(process.communicate(timeout=60))
    arguments += _all_argument_lists()
    for command in ("status", "history", "config", "preflight"):
        shown = alerted.inv(command, "--json")
        said += [shown.out, shown.err]
    bot = alerted.bots()[0]
    environ = "".join(f"{name}={value}\n" for name, value in bot.environ().items())
    secrets = (PASSWORD, TOKEN, PULSE)
    for secret in secrets:
        assert secret not in "".join(said)
        assert secret not in arguments
        assert secret not in environ
        assert secret not in json.dumps([one.document for one in channel.received])
        assert _files_with(alerted.state, secret) == []
        written = [path for path in _files_with(alerted.logs, secret) if not path.name.startswith("bot_")]
        assert written == []  # the bot's own log is the bot's own affair


def test_alert_test_says_whether_it_arrived(alerted: System, channel: LoopbackChannel) -> None:
    assert alerted.inv("alert.test").code == 0
    assert channel.titles == ["Test alert"]
    channel.script.append(answer(404))
    gone = alerted.inv("alert.test", "--json")
    assert gone.code == 1
    assert gone.document["delivered"] is False
    assert TOKEN not in gone.out
    checks = alerted.inv("preflight", "--json").document["checks"]
    assert next(check for check in checks if check["name"] == "alerts")["status"] == "warn"


def test_every_channel_is_shown_by_its_name_and_never_by_its_address(alerted: System, channel: LoopbackChannel) -> None:
    further = "planted-further-T0ken_5c4b3a"
    with run_channel(answer(404)) as dead, run_channel() as mail:
        alerted.environ["ALERT_URLS"] = (
            f"json://127.0.0.1:{dead.port}/hook/{further} json://127.0.0.1:{mail.port}/{further}?level=critical"
        )
        tried = alerted.inv("alert.test", "--json")
        assert tried.code == 1
        assert [one["delivered"] for one in tried.document["channels"]] == [True, False, True]
        alerted.use_plan()
        assert alerted.startup().code == 0
        told = alerted.inv("status", "--json").document["alerts"]["channels"]
        checks = [one for one in alerted.inv("preflight", "--json").document["checks"] if one["name"] == "alerts"]
        shown = [alerted.inv(*words).out for words in (("status",), ("preflight",), ("config",), ("history",))]
        so_far = len(channel.received)
        assert alerted.inv("shutdown").code == 0
    assert [one["name"] for one in told] == ["Discord", "json (ALERT_URLS no. 1)", "json (ALERT_URLS no. 2)"]
    assert ["HTTP 404" in (one["problem"] or "") for one in told] == [False, True, False]
    assert told[1]["waiting"] == so_far
    assert [one["status"] for one in checks] == ["ok", "warn", "ok"]
    assert (len(dead.received), len(mail.received)) == (1, 1)
    assert all(further not in text for text in [tried.out, *shown])
    assert _files_with(alerted.logs, further) == _files_with(alerted.state, further) == []


def test_a_channel_that_refuses_everything_is_shown_and_keeps_what_it_was_sent(
    alerted: System, channel: LoopbackChannel
) -> None:
    body = b'{"message": "Webhooks posted to forum channels must have a thread_id", "code": 220001}'
    channel.script += [answer(400, body=body)] * 50
    alerted.use_plan()
    tried = alerted.inv("alert.test", "--json")
    assert tried.document["problem"] == (
        "the channel answered 400: Webhooks posted to forum channels must have a thread_id (code 220001); "
        "the alert is kept"
    )
    assert alerted.startup().code == 0
    assert len(channel.received) == 2
    checks = alerted.inv("preflight", "--json").document["checks"]
    told = [
        next(check for check in checks if check["name"] == "alerts")["detail"],
        alerted.inv("status", "--json").document["alerts"]["problem"],
    ]
    assert all("is dead" in text and "must have a thread_id (code 220001)" in text for text in told)
    channel.script.clear()
    assert alerted.inv("alert.test").code == 0
    titles = [title.removeprefix("[SIMULATED] ") for title in channel.titles[2:]]
    assert titles == ["Test alert", "Start-up begun", "Gateway starting", "Bot started", "Operational", "Test alert"]
    assert alerted.inv("status", "--json").document["alerts"]["problem"] is None


def _all_argument_lists() -> str:
    return subprocess.run(["ps", "-axww", "-o", "args"], capture_output=True, text=True, check=True).stdout


def _files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
