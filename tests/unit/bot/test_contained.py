"""The bot as a container: what a look sees, whose it is, and what is put on top of the Compose file."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestration.bot.argv import build_bot_argv
from orchestration.bot.container import BotDocker, is_recorded
from orchestration.bot.docker_runtime import build_compose_environ, build_overlay, choose_user, has_bridge_address
from orchestration.bot.find import FoundBy, find_bot
from orchestration.bot.record import BotRecord, build_record_path, write_record
from orchestration.docker import container
from orchestration.docker.container import ContainerState
from orchestration.docker.engine import PLACE_ARGV, EnginePlace
from orchestration.settings import Settings
from orchestration.system.commands import CommandNotFoundError, CommandResult, CommandTimedOutError
from orchestration.system.endpoint import Endpoint
from tests.fakes.commands import FakeCommands

NAME = "ibkr-bot"
INSPECT = container.inspect_argv(NAME)
ADDRESS = Endpoint(host="ibkr-gateway", port=4004, network="ibkr-gateway_default")
NOW = datetime(2026, 11, 25, 14, 0, tzinfo=UTC)


def settings_in(folder: Path, **changes: str) -> Settings:
    return Settings.from_environ({"STATE_DIR": str(folder / "state"), "BOT_RUNTIME": "docker", **changes})


def raw(settings: Settings, *, labels: dict[str, str] | None = None, **state: Any) -> str:  # noqa: ANN401 - a JSON document's fields
    """What Engine 26.1 prints, without what is not read."""
    ours = {"zero-touch.bot-record": str(build_record_path(settings)), "zero-touch.run": "run-1"}
    described = {
        "Id": "c0ffee",
        "Name": f"/{NAME}",
        "State": {"Status": "running", "Pid": 4711, "ExitCode": 0, "StartedAt": "2026-11-25T14:00:01.5Z", **state},
        "Config": {"Labels": ours if labels is None else labels},
    }
    return json.dumps([described])


def launch_in(settings: Settings, **changes: Any) -> BotRecord:  # noqa: ANN401 - any field of a launch
    plan = settings.state_dir / "gameplans" / "2026-11-25_0123.json"
    values: dict[str, Any] = {
        "instance": "default",
        "argv": build_bot_argv(settings, ADDRESS, gameplan=plan),
        "workdir": settings.bot_compose_dir,
        "log": None,
        "gameplan": plan,
        "strategy": "A",
        "gameplan_sha256": "0" * 64,
        "started_at": NOW,
        "run_id": "run-1",
        "notify_socket": settings.state_dir / "notify" / "notify.sock",
        "container": NAME,
    }
    return BotRecord(**values | changes)


def look(settings: Settings, answer: str | None) -> FakeCommands:
    commands = FakeCommands()
    if answer is None:
        missing = CommandResult(argv=INSPECT, exit_code=1, stdout="[]", stderr=f"Error: No such container: {NAME}")
        commands.expect(INSPECT, missing)
    else:
        commands.expect(INSPECT, stdout=answer)
    assert settings.bot_container_name == NAME
    return commands


@pytest.mark.parametrize(
    ("word", "alive"),
    [("running", True), ("paused", True), ("restarting", True), ("created", False), ("exited", False), ("dead", False)],
)
def test_only_what_runs_or_may_run_on_counts_as_running(tmp_path: Path, word: str, *, alive: bool) -> None:
    settings = settings_in(tmp_path)
    (seen,) = container.parse_containers(raw(settings, Status=word))
    assert seen.state is ContainerState(word)
    assert seen.is_alive is alive
    assert (find_bot(settings, commands=look(settings, raw(settings, Status=word))).is_found) is alive


@pytest.mark.parametrize("text", ["", "[1]", '[{"Id": "x"}]', "null", '[{"State": null}]'])
def test_anything_else_is_not_taken_for_a_container(text: str) -> None:
    with pytest.raises(ValueError, match="unexpected"):
        container.parse_containers(text)


def test_the_container_of_the_record_is_the_bot(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    (seen,) = container.parse_containers(raw(settings))
    record = dataclasses.replace(launch_in(settings), process=seen.identity)
    write_record(build_record_path(settings), record)
    found = find_bot(settings, commands=look(settings, raw(settings)))
    assert found.is_found
    assert (found.how, found.record, found.container, found.pid) == (FoundBy.RECORDED, record, NAME, 4711)
    assert found.who == "container ibkr-bot"
    # A later start of the same container is not what was recorded.
    (later,) = container.parse_containers(raw(settings, StartedAt="2026-11-25T15:00:00Z"))
    assert is_recorded(seen, record)
    assert not is_recorded(later, record)


def test_a_launch_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_record(build_record_path(settings), launch_in(settings))
    found = find_bot(settings, commands=look(settings, raw(settings)))
    assert found.is_found
    assert found.record is not None
    assert (found.how, found.record.strategy, found.record.ready_by) == (FoundBy.RECORDED, "A", None)


@pytest.mark.parametrize(
    ("labels", "how"),
    [
        (None, FoundBy.MARKED),  # ours, its record lost
        ({}, FoundBy.BY_COMMAND),  # started by hand
        ({"zero-touch.bot-record": "/another/state/bot.json"}, None),  # another system's
    ],
)
def test_whose_a_container_is_stands_in_its_labels(
    tmp_path: Path, labels: dict[str, str] | None, how: FoundBy | None
) -> None:
    settings = settings_in(tmp_path)
    found = find_bot(settings, commands=look(settings, raw(settings, labels=labels)))
    assert found.how is how


def test_an_engine_that_does_not_answer_is_no_proof_that_no_bot_runs(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    commands = FakeCommands()
    commands.expect(INSPECT, CommandResult(argv=INSPECT, exit_code=1, stderr="Cannot connect to the Docker daemon"))
    presence = find_bot(settings, commands=commands)
    assert presence.is_unknown
    assert "Docker" in presence.detail


def test_the_engine_is_not_asked_for_a_bot_that_is_a_process(tmp_path: Path) -> None:
    commands = FakeCommands()
    assert not find_bot(Settings.from_environ({"STATE_DIR": str(tmp_path)}), commands=commands).is_found
    assert commands.calls == []


def test_a_container_is_looked_for_where_one_was_recorded_whatever_the_settings_say_now(tmp_path: Path) -> None:
    settings = Settings.from_environ({"STATE_DIR": str(tmp_path / "state")})
    write_record(build_record_path(settings), launch_in(settings_in(tmp_path)))
    assert find_bot(settings, commands=look(settings, raw(settings))).is_found


LOST_ID = "f" * 64


def label_argv(settings: Settings) -> tuple[str, ...]:
    return container.find_by_label_argv("zero-touch.bot-record", str(build_record_path(settings)))


def leave_overlay(settings: Settings) -> None:
    settings.state_dir.mkdir(parents=True)
    (settings.state_dir / "bot_compose.json").write_text("{}", encoding="utf-8")


def test_a_container_whose_record_is_lost_is_the_bot_whatever_the_settings_say_now(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, BOT_RUNTIME="process")
    leave_overlay(settings)
    commands = FakeCommands()
    commands.expect(label_argv(settings), stdout=f"{LOST_ID}\n")
    commands.expect(container.inspect_argv(LOST_ID), stdout=raw(settings, Status="paused"))
    found = find_bot(settings, commands=commands)
    assert found.is_found
    assert (found.container, found.how, found.record) == (NAME, FoundBy.MARKED, None)


def test_a_container_of_an_earlier_name_is_the_bot(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, BOT_CONTAINER_NAME="another-name")
    leave_overlay(settings)
    commands = FakeCommands()
    by_name = container.inspect_argv("another-name")
    commands.expect(by_name, CommandResult(argv=by_name, exit_code=1, stderr="Error: No such container: another-name"))
    commands.expect(label_argv(settings), stdout=f"{LOST_ID}\n")
    commands.expect(container.inspect_argv(LOST_ID), stdout=raw(settings))
    found = find_bot(settings, commands=commands)
    assert found.is_found
    assert found.container == NAME


def test_right_before_a_launch_the_engine_is_asked_though_nothing_here_has_to_do_with_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, BOT_RUNTIME="process", GATEWAY_RUNTIME="external")
    commands = FakeCommands()
    assert not find_bot(settings, commands=commands).is_found
    assert commands.calls == []
    commands.expect(label_argv(settings), stdout=f"{LOST_ID}\n")
    commands.expect(container.inspect_argv(LOST_ID), stdout=raw(settings))
    assert find_bot(settings, commands=commands, before_launch=True).is_found


@pytest.mark.parametrize(("is_suggested", "is_unknown"), [(False, False), (True, True)])
@pytest.mark.parametrize("trouble", ["no engine", "no program", "no answer"])
def test_no_engine_is_a_doubt_only_where_something_suggests_a_container(
    tmp_path: Path, trouble: str, *, is_suggested: bool, is_unknown: bool
) -> None:
    settings = settings_in(tmp_path, BOT_RUNTIME="process")
    if is_suggested:
        leave_overlay(settings)
    argv = label_argv(settings)
    answers: dict[str, CommandResult | Exception] = {
        "no engine": CommandResult(argv=argv, exit_code=1, stderr="Cannot connect to the Docker daemon"),
        "no program": CommandNotFoundError(argv),
        "no answer": CommandTimedOutError(argv, 2.0),
    }
    commands = FakeCommands()
    commands.expect(argv, answers[trouble])
    presence = find_bot(settings, commands=commands, before_launch=True)
    assert (presence.is_found, presence.is_unknown) == (False, is_unknown)


def test_a_name_that_is_the_beginning_of_an_id_is_not_the_bot(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    other = json.loads(raw(settings))
    other[0]["Name"] = "/somebody-else"
    assert BotDocker(settings, commands=look(settings, json.dumps(other))).probe() is None


def test_what_is_put_on_top_of_the_compose_file_says_everything_and_holds_no_secret(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path,
        BOT_PASS_ENV="DISCORD_WEBHOOK_URL",  # noqa: S106 - a variable's name
        DISCORD_WEBHOOK_URL="https://discord.test/api/webhooks/1/planted",
    )
    launch = launch_in(settings)
    overlay = build_overlay(settings, launch, ADDRESS)
    service = overlay["services"]["bot"]
    assert service["restart"] == "no"
    assert service["labels"] == {"zero-touch.bot-record": str(build_record_path(settings)), "zero-touch.run": "run-1"}
    assert service["command"][:4] == ["--gateway-host", "ibkr-gateway", "--gateway-port", "4004"]
    assert service["command"][4:6] == ["--gameplan", "/run/gameplan/2026-11-25_0123.json"]
    assert service["environment"]["GAMEPLAN_PATH"] == "/run/gameplan/2026-11-25_0123.json"
    assert service["environment"]["DISCORD_WEBHOOK_URL_FILE"] == "/run/secrets/discord_webhook_url"
    assert all(volume["read_only"] for volume in service["volumes"])
    assert overlay["networks"] == {"default": {"name": "ibkr-gateway_default", "external": True}}
    assert overlay["secrets"] == {"discord_webhook_url": {"environment": "DISCORD_WEBHOOK_URL"}}
    assert "planted" not in json.dumps(overlay)


def test_a_dollar_in_a_path_reaches_compose_as_one(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "a $HOME of its own")
    service = build_overlay(settings, launch_in(settings), ADDRESS)["services"]["bot"]
    assert "$$HOME" in service["volumes"][0]["source"]
    assert "$$HOME" in service["labels"]["zero-touch.bot-record"]


def test_arguments_are_appended_only_where_they_are_wanted(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, BOT_ARGUMENTS="none")
    overlay = build_overlay(settings, launch_in(settings), ADDRESS)
    assert "command" not in overlay["services"]["bot"]


def test_a_compose_folder_of_the_bots_own_is_given_only_what_is_set() -> None:
    assert build_compose_environ(Settings.from_environ({}), container="b1") == {"BOT_CONTAINER_NAME": "b1"}
    environ = {"BOT_IMAGE": "mine:1", "TWS_PASSWORD": "planted", "VNC_SERVER_PASSWORD": "planted", "BOT_PASS_ENV": ""}
    settings = Settings.from_environ(environ, dotenv={"BOT_MEMORY_LIMIT": "3g", "DISCORD_WEBHOOK_URL": "https://x/y"})
    assert build_compose_environ(settings, container="b1") == {
        "BOT_CONTAINER_NAME": "b1",
        "BOT_IMAGE": "mine:1",
        "BOT_MEMORY_LIMIT": "3g",
        "TWS_PASSWORD": "",
        "VNC_SERVER_PASSWORD": "",
    }


def test_a_secret_that_the_bot_is_to_have_is_handed_over_from_wherever_it_came() -> None:
    settings = Settings.from_environ({"BOT_PASS_ENV": "TWS_PASSWORD"}, dotenv={"TWS_PASSWORD": "planted"})
    assert build_compose_environ(settings, container="b1")["TWS_PASSWORD"] == "planted"  # noqa: S105 - planted


@pytest.mark.parametrize(
    ("place", "user", "expected"),
    [
        (EnginePlace.HOST, 1001, "1001:1002"),
        (EnginePlace.DESKTOP, 1001, "1001:1002"),
        (EnginePlace.ROOTLESS, 1001, "0:0"),  # every other number inside is somebody who cannot read our files
        (EnginePlace.HOST, 0, ""),
        (EnginePlace.ROOTLESS, 0, ""),
    ],
)
def test_the_container_runs_as_us_by_the_number_that_the_engine_has_for_us(
    place: EnginePlace, user: int, expected: str
) -> None:
    assert choose_user(place, user=user, group=1002) == expected


@pytest.mark.parametrize(
    ("info", "address", "expected"),
    [
        # Two engines on one host give their bridges the same numbers.
        ("Debian\nname=seccomp\nname=rootless", "127.0.0.1", False),
        ("Docker Desktop", "127.0.0.1", False),
        ("Debian", "", None),
    ],
)
def test_a_guard_cannot_listen_in_the_networks_of_an_engine_that_has_them_to_itself(
    tmp_path: Path, *, info: str, address: str, expected: bool | None
) -> None:
    commands = FakeCommands()
    commands.expect(PLACE_ARGV, stdout=info)
    network = ("docker", "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}} {{end}}", "bridge")
    commands.expect(network, stdout=f"{address}\n")
    assert has_bridge_address(settings_in(tmp_path), commands) is expected
