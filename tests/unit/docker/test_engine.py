"""Why Docker cannot be used: each reason told apart, each with how to fix it."""

from pathlib import Path

import pytest

from orchestration.docker.engine import (
    COMPOSE_VERSION_ARGV,
    VERSION_ARGV,
    EnginePlace,
    EngineProblem,
    is_engine_error,
    parse_place,
    parse_version,
    probe_engine,
    read_context_host,
)
from orchestration.system.commands import CommandNotFoundError, CommandResult, CommandTimedOutError
from tests.fakes.commands import Answer, FakeCommands


def failed(stderr: str) -> CommandResult:
    return CommandResult(argv=VERSION_ARGV, exit_code=1, stderr=stderr)


def said(text: str) -> CommandResult:
    return CommandResult(argv=VERSION_ARGV, exit_code=0, stdout=text + "\n")


SOCKET = "unix:///var/run/docker.sock"
DENIED = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
ROOTLESS = "unix:///run/user/1000/docker.sock"
DESKTOP = "unix:///home/ann/.docker/desktop/docker.sock"
CONTEXT = 'Failed to initialize: unable to resolve docker endpoint: context "office": context not found'


@pytest.mark.parametrize(
    ("engine", "compose", "problem", "advice"),
    [
        (CommandNotFoundError(VERSION_ARGV), None, EngineProblem.CLI_MISSING, "Install Docker"),
        (failed(DOWN), None, EngineProblem.ENGINE_DOWN, "systemctl start docker"),
        (failed(DOWN.replace(SOCKET, ROOTLESS)), None, EngineProblem.ENGINE_DOWN, "systemctl --user start docker"),
        (failed(DOWN.replace(SOCKET, DESKTOP)), None, EngineProblem.ENGINE_DOWN, "Start Docker Desktop"),
        (CommandTimedOutError(VERSION_ARGV, 5.0), None, EngineProblem.ENGINE_DOWN, "systemctl start docker"),
        (said(""), None, EngineProblem.ENGINE_DOWN, "systemctl start docker"),
        (failed(DENIED), None, EngineProblem.PERMISSION_DENIED, "usermod -aG docker"),
        (failed(DENIED.replace(SOCKET, ROOTLESS)), None, EngineProblem.PERMISSION_DENIED, "another user's rootless"),
        (failed(CONTEXT), None, EngineProblem.WRONG_CONTEXT, "docker context ls"),
        (failed("dial tcp: lookup rackmonut: no such host"), None, EngineProblem.WRONG_CONTEXT, "DOCKER_HOST"),
        (said("26.1.5"), failed("docker: 'compose' is not a docker command."), EngineProblem.COMPOSE_MISSING, "plugin"),
        (said("26.1.5"), said("2.17.3"), EngineProblem.COMPOSE_TOO_OLD, "2.20 or later"),
        (said("26.1.5"), said("nonsense"), EngineProblem.COMPOSE_TOO_OLD, "2.20 or later"),
    ],
)
def test_each_problem_is_told_apart_with_how_to_fix_it(
    engine: Answer, compose: Answer | None, problem: EngineProblem, advice: str
) -> None:
    commands = FakeCommands()
    commands.expect(VERSION_ARGV, engine)
    if compose is not None:
        commands.expect(COMPOSE_VERSION_ARGV, compose)
    found = probe_engine(commands, timeout_s=5.0)
    assert found.problem is problem
    assert found.detail
    assert advice in found.next_action


@pytest.mark.parametrize(("version", "is_fast"), [("26.1.5+dfsg1", True), ("25.0.0", True), ("24.0.9", False)])
def test_a_usable_engine_is_described(version: str, *, is_fast: bool) -> None:
    commands = FakeCommands()
    commands.expect(VERSION_ARGV, stdout=version + "\n")
    commands.expect(COMPOSE_VERSION_ARGV, stdout="v2.26.1-4\n")
    found = probe_engine(commands, timeout_s=5.0)
    assert found.problem is None
    assert (found.engine_version, found.compose_version) == (version, "2.26.1-4")
    assert found.supports_fast_health_checks is is_fast


def test_where_the_engine_of_the_current_context_is_is_asked_of_docker() -> None:
    argv = ("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    for answer, host in ((said(ROOTLESS), ROOTLESS), (failed(CONTEXT), ""), (CommandNotFoundError(argv), "")):
        commands = FakeCommands()
        commands.expect(argv, answer)
        assert read_context_host(commands, timeout_s=5.0) == host


def test_only_an_engine_that_may_still_come_is_waited_for() -> None:
    commands = FakeCommands()
    commands.expect(VERSION_ARGV, failed(DOWN))
    commands.expect(VERSION_ARGV, CommandNotFoundError(VERSION_ARGV))
    assert probe_engine(commands, timeout_s=5.0).is_waitable
    assert not probe_engine(commands, timeout_s=5.0).is_waitable


@pytest.mark.parametrize(
    ("text", "is_engine"),
    [
        (DOWN, True),
        (DENIED, True),
        (CONTEXT, True),
        ("error during connect: this error may indicate that the docker daemon is not running", True),
        ("Error response from daemon: No such container: ibkr-gateway", False),
        ("dial tcp 127.0.0.1:443: connect: connection refused", False),  # the registry's refusal, in a pull
    ],
)
def test_a_missing_engine_is_not_taken_for_a_refusal_and_the_reverse(text: str, *, is_engine: bool) -> None:
    assert is_engine_error(failed(text)) is is_engine


@pytest.mark.parametrize(("text", "version"), [("v2.26.1", (2, 26)), ("25.0", (25, 0)), ("dev", (0, 0))])
def test_versions_are_read(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("Debian GNU/Linux 13 (trixie)\nname=seccomp,profile=builtin", EnginePlace.HOST),
        ("Debian GNU/Linux 13 (trixie)\nname=seccomp,profile=builtin\nname=rootless", EnginePlace.ROOTLESS),
        ("Ubuntu 24.04.1 LTS\nname=apparmor\nname=rootless\nname=cgroupns", EnginePlace.ROOTLESS),
        ("Docker Desktop\nname=seccomp,profile=unconfined", EnginePlace.DESKTOP),
        ("Docker Desktop\r\n", EnginePlace.DESKTOP),
        ("", EnginePlace.HOST),
    ],
)
def test_an_engine_in_a_network_of_its_own_is_told_apart(said: str, place: EnginePlace) -> None:
    assert parse_place(said) is place


@pytest.mark.parametrize("complaint", [DENIED, DOWN])
def test_a_rootless_engine_of_this_user_is_pointed_to_where_the_systems_own_is_no_use(
    tmp_path: Path, complaint: str
) -> None:
    commands = FakeCommands()
    commands.expect(VERSION_ARGV, failed(complaint))
    assert "rootless" not in probe_engine(commands, timeout_s=5.0, run_dir=tmp_path).next_action
    (tmp_path / "docker.sock").touch()
    found = probe_engine(commands, timeout_s=5.0, run_dir=tmp_path)
    assert "`docker context use rootless`" in found.next_action
    assert str(tmp_path) in found.next_action
    commands.answers[VERSION_ARGV] = [failed(CONTEXT)]
    assert "use rootless" not in probe_engine(commands, timeout_s=5.0, run_dir=tmp_path).next_action
