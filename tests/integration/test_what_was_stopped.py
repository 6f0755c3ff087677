"""What is stopped is said by what was found before it was stopped: on the screen, in JSON, the journal and an alert."""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestration.journal import JournalReader
from tests.integration.alerts_scene import LoopbackChannel
from tests.integration.simulated_gateway import simulated_gateway
from tests.integration.watch_scene import begin, told, wait_for
from tests.system import PATIENCE_S, SIGINT, SIGKILL, SIGTERM, System, end_and_read, wait_until

_COMMANDS = (("shutdown",), ("bot.stop",), ("hold", "--reason", "maintenance"))


def _find_alert(channel: LoopbackChannel, title: str) -> str:
    found = [one.document["embeds"][0] for one in channel.received if one.title.endswith(title)]
    assert len(found) == 1, told(channel)
    return json.dumps(found[0])


def _read_stopped(document: Any, what: str) -> dict[str, Any]:  # noqa: ANN401 - a JSON document
    found: list[dict[str, Any]] = [one for one in document["stopped"] if one["what"] == what]
    assert len(found) == 1, document["stopped"]
    return found[0]


def _read_events(system: System, kind: str) -> list[dict[str, Any]]:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    evidence = JournalReader(system.state / "journal.sqlite3").read_evidence(an_hour_ago)
    return [json.loads(event.detail_json) for event in evidence.events if event.kind == kind]


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize("supervised", [True, False])
def test_which_bot_was_stopped_is_said_everywhere(
    watched: System, channel: LoopbackChannel, command: tuple[str, ...], *, supervised: bool
) -> None:
    supervisor = begin(watched) if supervised else None
    if supervisor is None:
        assert watched.startup().code == 0
    pid = watched.bots()[0].pid
    begun = datetime.fromtimestamp(watched.bots()[0].create_time()).astimezone()

    ended = watched.inv(*command, "--json")

    assert ended.code == 0
    assert watched.bots() == []
    bot = _read_stopped(ended.document, "bot")
    assert (bot["pid"], bot["who"], bot["in_time"]) == (pid, f"process {pid}", True)
    assert abs((datetime.fromisoformat(bot["since"]) - begun).total_seconds()) <= 2
    by = f"the supervisor (process {supervisor.pid})" if supervisor else None
    assert bot["by"] == by
    shown = f"the bot, process {pid} (since {begun:%Y-%m-%d %H}"
    assert shown in ended.document["message"]
    assert "was stopped gracefully" in ended.document["message"]
    assert "no bot was running" not in ended.document["message"]
    keeps_gateway = command == ("bot.stop",)
    assert ended.document["still_running"] == (["the simulator gateway"] if keeps_gateway else [])
    assert [one["what"] for one in ended.document["stopped"] if one["what"] == "gateway"] == (
        [] if keeps_gateway else ["gateway"]
    )

    alert = _find_alert(channel, "Bot stopped")
    assert f"bot, process {pid} (since" in alert
    assert ("inv resume`, `" in alert) is (command[0] == "hold"), "what is held is not started before that"
    if keeps_gateway or supervised:
        assert "Still running: the simulator gateway" in alert
    assert told(channel).count("Gateway stopped") == (0 if keeps_gateway else 1)
    events = _read_events(watched, "bot_stopped")
    assert [(one["pid"], one["in_time"]) for one in events] == [(pid, True)]
    history = watched.inv("history").out
    assert f"process {pid}" in history
    if supervisor is not None:
        assert supervisor.wait(timeout=PATIENCE_S) == 0
        assert _read_stopped(ended.document, "supervisor")["pid"] == supervisor.pid


def test_a_bot_that_had_to_be_killed_by_its_supervisor_is_said_to_have_been_killed(
    watched: System, channel: LoopbackChannel
) -> None:
    watched.environ["BOT_STOP_TIMEOUT"] = "1"
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    )
    watched.use_small_bot(code=code)
    begin(watched)
    pid = watched.bots()[0].pid
    ended = watched.inv("shutdown", "--json")
    assert _read_stopped(ended.document, "bot")["in_time"] is False
    assert "was killed by the supervisor" in ended.document["message"]
    assert f"process {pid}" in ended.document["message"]
    assert "was killed" in _find_alert(channel, "Bot stopped")


def test_history_shows_what_a_supervisor_saw_did_and_how_it_ended(watched: System) -> None:
    process = begin(watched)
    watched.bots()[0].kill()
    assert process.wait(timeout=PATIENCE_S) == 1
    monitor = watched.begin_module("invoke", "monitor")
    wait_until(lambda: len(_read_events(watched, "watch_began")) == 2, "the monitor's watch")
    assert end_and_read(monitor, SIGTERM).code == 0
    shown = watched.inv("history").out.splitlines()
    words = [line.split()[3:6] for line in shown if " supervis" in line or " monitor " in line]
    assert ["supervision", "Bot", "ended"] in words
    ends = [" ".join(line.split()[3:]) for line in shown if "with exit code" in line]
    assert ends == ["monitor ended with exit code 0 (SIGTERM)", "supervisor ended with exit code 1"]
    times = [line[:19] for line in shown[1:]]
    assert times == sorted(times, reverse=True)
    told_of = watched.inv("history", "--json").document["supervision"]
    assert [one["kind"] for one in told_of if one["kind"].startswith(("bot_ended", "watch"))] == [
        "watch_began",
        "bot_ended",
        "watch_ended",
        "watch_began",
        "watch_ended",
    ]


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_the_last_words_of_a_supervised_start_name_what_was_stopped_and_what_goes_on(
    watched: System, channel: LoopbackChannel, number: int
) -> None:
    process = begin(watched)
    pid = watched.bots()[0].pid
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    json.loads(out)  # one document, whatever was said after it
    last = err.strip().splitlines()[-1]
    assert f"The bot, process {pid} (since " in last
    assert "was stopped gracefully" in last
    assert "Still running: the simulator gateway" in last
    assert "No bot was running" not in last
    assert last.endswith("inv shutdown` also stops what still runs.")
    alert = _find_alert(channel, "Bot stopped")
    assert f"process {pid}" in alert
    assert ("Ctrl-C" if number == SIGINT else "SIGTERM") in alert
    assert [one["pid"] for one in _read_events(watched, "bot_stopped")] == [pid]


@pytest.mark.parametrize("command", [("startup", "--replace"), ("bot.restart",)])
def test_a_bot_that_was_replaced_is_said_too(watched: System, command: tuple[str, ...]) -> None:
    assert watched.startup().code == 0
    pid = watched.bots()[0].pid
    ended = watched.inv(*command, "--json")
    assert ended.code == 0
    assert _read_stopped(ended.document, "bot")["pid"] == pid
    assert ended.document["bot"]["pid"] != pid
    assert [one["pid"] for one in _read_events(watched, "bot_stopped")] == [pid]


@pytest.mark.parametrize(("flags", "code"), [((), 1), (("--foreground",), 0)])
def test_a_start_that_a_shutdown_ends_is_said_too(system: System, flags: tuple[str, ...], code: int) -> None:
    system.environ["SIMULATOR_FAULTS"] = "slow_login=60"
    starting = system.begin(*flags)
    system.wait_for_log("step gateway.wait")
    ended = system.inv("shutdown", "--json")
    assert starting.wait(timeout=PATIENCE_S) == code, "what stays with the bot ends with 0: nothing starts it again"
    assert _read_stopped(ended.document, "supervisor" if flags else "startup")["pid"] == starting.pid
    assert "no bot was running" in ended.document["message"]


def test_a_monitor_that_ends_says_what_nothing_watches_now(watched: System, channel: LoopbackChannel) -> None:
    assert watched.startup().code == 0
    pid = watched.bots()[0].pid
    monitor = watched.begin_module("invoke", "monitor")
    wait_until(lambda: list(watched.logs.glob("monitor_*.log")), "the monitor")
    wait_until(lambda: _read_events(watched, "watch_began"), "the watch")
    monitor.send_signal(SIGINT)
    out, _ = monitor.communicate(timeout=PATIENCE_S)
    assert f"Still running: the bot (process {pid}), which nothing watches now, the simulator gateway." in out
    wait_for(channel, "Supervision ended")
    ended = next(one for one in channel.received if "Supervision ended" in one.title)
    assert "inv monitor` starts again" in json.dumps(ended.document)
    assert len(watched.bots()) == 1


def test_an_external_gateway_is_nothing_that_a_shutdown_would_stop(watched: System, channel: LoopbackChannel) -> None:
    with simulated_gateway() as gateway:
        watched.environ |= {"GATEWAY_RUNTIME": "external", "GATEWAY_PORT": str(gateway.port)}
        process = begin(watched)
        assert end_and_read(process, SIGTERM).code == 0
    told_of_end = _find_alert(channel, "Bot stopped")
    assert "which is managed externally" in told_of_end
    assert "inv shutdown" not in told_of_end


def test_nothing_is_said_to_have_been_stopped_where_nothing_ran(watched: System, channel: LoopbackChannel) -> None:
    supervisor = begin(watched)
    os.kill(supervisor.pid, SIGKILL)
    supervisor.wait(timeout=PATIENCE_S)
    for bot in watched.bots():
        bot.kill()
    wait_until(lambda: not watched.bots(), "the end of the bot")
    watched.inv("gateway.down")
    channel.received.clear()
    ended = watched.inv("shutdown", "--json")
    assert (ended.code, ended.document["stopped"], ended.document["still_running"]) == (0, [], [])
    assert "no bot was running" in ended.document["message"]
    assert channel.received == []
