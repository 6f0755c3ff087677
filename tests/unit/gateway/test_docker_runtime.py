"""What the Docker runtime does in each state of the container, without an engine."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestration.docker import compose, container, engine
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway import drift, soft_restart
from orchestration.gateway.compose import build_compose_environ
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.docker_runtime import (
    DockerRuntime,
    StartAction,
    can_make_one,
    choose_action,
    needs_compose,
    needs_credentials,
)
from orchestration.gateway.runtime import RestartKind
from orchestration.settings import Settings
from orchestration.system.commands import CommandNotFoundError, CommandResult, CommandTimedOutError
from tests.fakes.clock import FakeClock
from tests.fakes.commands import Answer, FakeCommands
from tests.unit.gateway.test_container import raw

NAME = "ibkr-gateway"
INSPECT = container.inspect_argv(NAME)
BY_LABELS = container.find_by_labels_argv(project=NAME, service="gateway")
IMAGE = "ghcr.io/gnzsnz/ib-gateway:stable"
PASSWORD = "planted-password"  # noqa: S105 - planted, looked for in everything that is shown
DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.mark.parametrize(
    ("state", "ours", "foreign"),
    [
        (ContainerState.MISSING, StartAction.UP, StartAction.UP),
        (ContainerState.CREATED, StartAction.UP, StartAction.START),
        (ContainerState.EXITED, StartAction.UP, StartAction.START),
        (ContainerState.DEAD, StartAction.REMOVE_AND_UP, StartAction.START),
        (ContainerState.PAUSED, StartAction.UNPAUSE, StartAction.UNPAUSE),
        (ContainerState.RUNNING, StartAction.NOTHING, StartAction.NOTHING),
        (ContainerState.RESTARTING, StartAction.NOTHING, StartAction.NOTHING),
        (ContainerState.UNKNOWN, StartAction.NOTHING, StartAction.NOTHING),
    ],
)
def test_each_state_has_its_action(state: ContainerState, ours: StartAction, foreign: StartAction) -> None:
    assert choose_action(GatewayStatus(state=state, compose_project=NAME), project=NAME) is ours
    if state is not ContainerState.MISSING:
        assert choose_action(GatewayStatus(state=state, compose_project="other"), project=NAME) is foreign
        assert choose_action(GatewayStatus(state=state), project=NAME) is foreign


@pytest.mark.parametrize("state", [ContainerState.CREATED, ContainerState.EXITED])
def test_a_stopped_container_is_started_as_it_is_where_a_new_one_could_not_log_in(state: ContainerState) -> None:
    status = GatewayStatus(state=state, compose_project=NAME)
    assert choose_action(status, project=NAME, can_make=False) is StartAction.START


@pytest.mark.parametrize(
    ("environ", "can"),
    [
        ({}, False),
        ({"TWS_USERID": "ann"}, False),
        ({"TWS_USERID": "ann", "TWS_PASSWORD": "x"}, True),
        ({"GATEWAY_IMAGE": "zero-touch/simulator"}, True),
    ],
)
def test_only_the_vendors_image_needs_a_login_to_be_made(environ: dict[str, str], *, can: bool) -> None:
    assert can_make_one(Settings.from_environ(environ)) is can


@pytest.mark.parametrize(
    ("environ", "state", "needs"),
    [
        ({}, ContainerState.MISSING, True),
        ({}, ContainerState.EXITED, False),
        ({}, ContainerState.DEAD, True),
        ({}, ContainerState.RUNNING, False),
        ({}, ContainerState.PAUSED, False),
        ({"GATEWAY_IMAGE": "zero-touch/simulator"}, ContainerState.MISSING, False),
        ({"GATEWAY_RUNTIME": "external"}, ContainerState.MISSING, False),
        ({"GATEWAY_RUNTIME": "simulator"}, ContainerState.MISSING, False),
    ],
)
def test_credentials_matter_only_where_a_container_of_the_vendors_image_must_be_made(
    environ: dict[str, str], state: ContainerState, *, needs: bool
) -> None:
    assert needs_credentials(Settings.from_environ(environ), GatewayStatus(state=state, compose_project=NAME)) is needs


@pytest.mark.parametrize(
    ("environ", "state", "project", "needs"),
    [
        ({}, ContainerState.MISSING, NAME, True),
        ({}, ContainerState.DEAD, NAME, True),
        ({}, ContainerState.EXITED, NAME, False),
        ({"GATEWAY_IMAGE": "zero-touch/simulator"}, ContainerState.EXITED, NAME, True),
        ({"GATEWAY_IMAGE": "zero-touch/simulator"}, ContainerState.EXITED, "somebody-elses", False),
        ({"GATEWAY_IMAGE": "zero-touch/simulator"}, ContainerState.RUNNING, NAME, False),
        ({"GATEWAY_IMAGE": "zero-touch/simulator"}, ContainerState.PAUSED, NAME, False),
        ({"GATEWAY_RUNTIME": "external"}, ContainerState.MISSING, NAME, False),
        ({"GATEWAY_RUNTIME": "simulator"}, ContainerState.MISSING, NAME, False),
    ],
)
def test_compose_is_needed_only_where_a_container_must_be_made(
    environ: dict[str, str], state: ContainerState, project: str, *, needs: bool
) -> None:
    status = GatewayStatus(state=state, compose_project=project)
    assert needs_compose(Settings.from_environ(environ), status) is needs


@dataclass
class Scene:
    """A Docker runtime on strict fake commands, with a Compose file of its own."""

    folder: Path
    commands: FakeCommands = field(default_factory=FakeCommands)
    clock: FakeClock = field(default_factory=FakeClock)
    progress: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = self.folder / "docker" / "gateway" / "compose.yml"
        self.file.parent.mkdir(parents=True)
        self.file.touch()
        self.target = compose.ComposeTarget(files=(self.file,), project=NAME, service="gateway")
        self.settings = Settings.from_environ(
            {
                "LOG_DIR": str(self.folder / "logs"),
                "TWS_USERID": "ann",
                "TWS_PASSWORD": PASSWORD,
            },
            project_dir=self.folder,
        )
        self.runtime = DockerRuntime(self.settings, commands=self.commands, clock=self.clock)

    def expect_states(self, *states: str | None, **changes: Any) -> None:  # noqa: ANN401 - a JSON document's fields
        for state in states:
            if state is None:
                missing = CommandResult(
                    argv=INSPECT, exit_code=1, stdout="[]\n", stderr=f"Error: No such container: {NAME}\n"
                )
                self.commands.expect(INSPECT, missing)
                self.commands.expect(BY_LABELS, stdout="")
            else:
                self.commands.expect(INSPECT, stdout=json.dumps([raw(Status=state) | changes]))

    def expect_compose(self, *, image: Answer | None = None, up: Answer | None = None) -> None:
        if BY_LABELS not in self.commands.answers:  # looked for beside a container that does not run
            self.commands.expect(BY_LABELS, stdout="f7ee363fb71b\n")
        described = json.dumps({"services": {"gateway": {"image": IMAGE}}})
        self.commands.expect(compose.config_argv(self.target), stdout=described)
        self.commands.expect(container.image_exists_argv(IMAGE), image, stdout="sha256:1")
        self.commands.expect(compose.up_argv(self.target), up)

    def expect_last_log(self, *lines: str) -> None:
        argv = container.logs_argv(NAME, lines=1000, timestamps=True)
        stamped = "".join(f"2026-11-21T03:00:0{number}.5Z {line}\n" for number, line in enumerate(lines))
        self.commands.expect(argv, stdout=stamped)

    def kept_logs(self) -> list[str]:
        return [path.read_text(encoding="utf-8") for path in self.settings.log_dir.glob("container_*.log")]

    def start(self) -> bool:
        return self.runtime.ensure_started(on_progress=self.progress.append)

    def fail_to_start(self) -> StartupFailure:
        with pytest.raises(StartupFailure) as failed:
            self.start()
        return failed.value

    def ran(self, argv: Sequence[str]) -> bool:
        return tuple(argv) in self.commands.calls


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def failing(argv: Sequence[str], *lines: str) -> CommandResult:
    return CommandResult(argv=tuple(argv), exit_code=1, stderr="\n".join(lines))


@pytest.mark.parametrize("state", ["running", "restarting"])
def test_a_container_that_runs_is_only_looked_at(scene: Scene, state: str) -> None:
    scene.expect_states(state)
    assert not scene.start()
    assert scene.commands.calls == [INSPECT]


@pytest.mark.parametrize("state", [None, "created", "exited"])
def test_a_container_that_does_not_run_is_made_by_compose(scene: Scene, state: str | None) -> None:
    scene.expect_states(state, "running")
    scene.expect_last_log()
    scene.expect_compose()
    assert scene.start()
    assert scene.ran(compose.up_argv(scene.target))
    environ = scene.commands.environs[scene.commands.calls.index(compose.up_argv(scene.target))]
    assert environ["TWS_PASSWORD"] == PASSWORD, "the password goes by the environment"
    assert not any(PASSWORD in word for call in scene.commands.calls for word in call)


def made_with(password: str | None = PASSWORD, **changes: str) -> dict[str, Any]:
    """What the shipped Compose file makes of the settings, with these changes."""
    environ = build_compose_environ(Settings.from_environ({"TWS_USERID": "ann"}))
    names = {name: environ[name] for name in drift.IN_ENVIRONMENT} | changes
    secret = {} if password is None else {"TWS_PASSWORD_FILE": "/run/secrets/tws_password"}
    labels = {"com.docker.compose.project": NAME, "com.docker.compose.service": "gateway"}
    return {
        "Config": {
            "Image": IMAGE,
            "Labels": labels,
            "Env": [f"{name}={value}" for name, value in (names | secret).items()],
        },
        "HostConfig": {
            "Memory": 2 * 1024**3,
            "PortBindings": {"4004/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4002"}]},
        },
    }


def archive(content: str) -> str:
    """What `docker cp` prints for a file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("tws_password")
        member.size = len(content.encode())
        tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue().decode()


SECRET = container.copy_out_argv("f7ee363fb71b", "/run/secrets/tws_password")


@pytest.mark.parametrize("state", ["created", "exited"])
@pytest.mark.parametrize(
    ("content", "recreates"),
    [(PASSWORD, False), (PASSWORD + "\n", False), ("mistyped", True), ("", True), (None, True)],
)
def test_one_that_has_ended_is_made_anew_only_where_something_has_changed(
    scene: Scene, state: str, content: str | None, *, recreates: bool
) -> None:
    scene.expect_states(state, "running", "running", **made_with())
    scene.expect_last_log("IBC: Login has completed", f"java.lang.OutOfMemoryError {PASSWORD}")
    scene.expect_compose()
    scene.commands.expect(compose.up_argv(scene.target, recreates=False))
    copied = failing(SECRET, "Could not find the file") if content is None else None
    scene.commands.expect(SECRET, copied, stdout=archive(content or ""))
    assert scene.start()
    assert scene.ran(compose.up_argv(scene.target, recreates=recreates))
    assert not scene.ran(compose.up_argv(scene.target, recreates=not recreates))
    assert scene.kept_logs() == [], "it is the same container, and has its log"


@pytest.mark.parametrize(("content", "recreates"), [("", False), ("of an earlier day", True)])
def test_one_that_was_made_without_a_password_is_started_as_it_is_without_one(
    scene: Scene, content: str, *, recreates: bool
) -> None:
    settings = Settings.from_environ({"GATEWAY_IMAGE": "zero-touch/simulator"}, project_dir=scene.folder)
    scene.runtime = DockerRuntime(settings, commands=scene.commands, clock=scene.clock)
    scene.expect_states("exited", "running", "running", **made_with())
    scene.expect_last_log()
    scene.expect_compose()
    scene.commands.expect(compose.up_argv(scene.target, recreates=False))
    scene.commands.expect(SECRET, stdout=archive(content))
    assert scene.start()
    assert scene.ran(compose.up_argv(scene.target, recreates=recreates))


def test_what_one_that_is_made_anew_has_said_last_is_kept_without_secrets(scene: Scene) -> None:
    scene.expect_states("exited", **made_with())
    scene.expect_states("running", "running", **made_with() | {"Id": "0" * 64})
    scene.expect_last_log("IBC: Login has completed", f"java.lang.OutOfMemoryError {PASSWORD}")
    scene.expect_compose()
    scene.commands.expect(SECRET, stdout=archive("mistyped"))
    assert scene.start()
    (kept,) = scene.kept_logs()
    assert kept.splitlines()[1:] == ["IBC: Login has completed", "java.lang.OutOfMemoryError ********"]
    assert any("container_" in line for line in scene.progress)


def found_drift(scene: Scene, **changes: Any) -> list[str]:  # noqa: ANN401 - a JSON document's fields
    scene.expect_states("running", **changes)
    return [str(one) for one in scene.runtime.find_drift(scene.runtime.probe())]


def _shipped(scene: Scene, **environ: str) -> Scene:
    scene.settings = Settings.from_environ({"TWS_USERID": "ann", "TWS_PASSWORD": PASSWORD, **environ})
    scene.runtime = DockerRuntime(scene.settings, commands=scene.commands, clock=scene.clock)
    return scene


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"READ_ONLY_API": "yes"}, ["READ_ONLY_API"]),
        ({"READ_ONLY_API": "false"}, []),
        ({"TIME_ZONE": "Europe/Zurich", "AUTO_RESTART_TIME": "10:00 PM"}, ["TIME_ZONE", "AUTO_RESTART_TIME"]),
        ({"TWOFA_TIMEOUT_ACTION": "exit"}, ["TWOFA_TIMEOUT_ACTION"]),
        ({"TRADING_MODE": "live", "ALLOW_LIVE_TRADING": "yes", "GATEWAY_ACCOUNT": "U1"}, ["TRADING_MODE"]),
        ({"GATEWAY_PORT": "4010"}, ["GATEWAY_PORT"]),
        ({"GATEWAY_MEMORY_LIMIT": "3g"}, ["GATEWAY_MEMORY_LIMIT"]),
        ({"GATEWAY_MEMORY_LIMIT": "2048m"}, []),
        ({"GATEWAY_IMAGE": "ghcr.io/gnzsnz/ib-gateway:10.37"}, ["GATEWAY_IMAGE"]),
        ({"TWS_USERID": "bob"}, ["TWS_USERID"]),
        ({"TWS_PASSWORD": "corrected"}, ["TWS_PASSWORD"]),
    ],
)
def test_each_setting_that_differs_from_what_the_container_was_made_with_is_named(
    scene: Scene, environ: dict[str, str], names: list[str]
) -> None:
    _shipped(scene, **environ)
    scene.commands.expect(SECRET, stdout=archive(PASSWORD))
    found = found_drift(scene, **made_with())
    if "TRADING_MODE" in environ:  # whose port is another one
        names = [*names, "GATEWAY_PORT"]
    assert [one.split()[0] for one in found] == names
    shown = " ".join(found)
    for secret in (PASSWORD, "corrected", "bob", "ann"):
        assert secret not in shown.split()


def test_a_default_is_no_drift_of_a_container_made_by_another_program(scene: Scene) -> None:
    foreign = made_with(password=None, READ_ONLY_API="yes", TIME_ZONE="Europe/Zurich")
    foreign["Config"]["Labels"] = {}
    assert found_drift(_shipped(scene), **foreign) == []
    found = found_drift(_shipped(scene, READ_ONLY_API="no"), **foreign)
    assert found == ["READ_ONLY_API is no, and the container has yes"]


@pytest.mark.parametrize(
    ("environ", "state", "is_read_only"),
    [
        (["READ_ONLY_API=yes"], "running", True),
        (["READ_ONLY_API=TRUE"], "running", True),
        (["READ_ONLY_API=no"], "running", False),
        (["READ_ONLY_API="], "running", None),
        ([], "running", None),
        (["READ_ONLY_API=yes"], None, None),
    ],
)
def test_whether_it_refuses_orders_is_read_from_the_container(
    scene: Scene, environ: list[str], state: str | None, *, is_read_only: bool | None
) -> None:
    scene.expect_states(state, Config={"Image": "x", "Labels": {}, "Env": environ})
    assert drift.read_read_only(scene.runtime.probe()) is is_read_only


def test_what_an_interrupted_recreation_left_behind_is_removed_first(scene: Scene) -> None:
    scene.expect_states("exited", "running")
    scene.expect_last_log()
    scene.commands.expect(BY_LABELS, stdout="0123456789ab\nf7ee363fb71b\n")
    scene.expect_compose()
    leftover = container.remove_stopped_argv("0123456789ab")
    scene.commands.expect(leftover)
    assert scene.start()
    assert scene.commands.calls.index(leftover) < scene.commands.calls.index(compose.up_argv(scene.target))
    assert not scene.ran(container.remove_stopped_argv("f7ee363fb71b")), "the gateway's own is for Compose"


def test_a_dead_container_is_removed_first(scene: Scene) -> None:
    scene.expect_states("dead", "running")
    scene.expect_compose()
    scene.expect_last_log(f"the end of it {PASSWORD}")
    scene.commands.expect(container.remove_argv("f7ee363fb71b"))
    assert scene.start()
    (kept,) = scene.kept_logs()
    assert "the end of it ********" in kept
    calls = scene.commands.calls
    assert calls.index(container.remove_argv("f7ee363fb71b")) < calls.index(compose.up_argv(scene.target))


def test_a_paused_container_is_let_run_on(scene: Scene) -> None:
    scene.expect_states("paused", "running")
    scene.commands.expect(container.unpause_argv("f7ee363fb71b"))
    assert scene.start()


def test_a_container_that_compose_did_not_make_is_started_as_it_is(scene: Scene) -> None:
    foreign = {"Config": {"Image": "x", "Labels": {}}}
    scene.expect_states("exited", **foreign)
    scene.expect_states("running", **foreign)
    scene.commands.expect(container.start_argv("f7ee363fb71b"))
    assert scene.start()


def test_a_container_whose_id_begins_with_the_name_is_not_the_gateway(scene: Scene) -> None:
    # `docker container inspect cafe` also answers for the container whose id begins with "cafe".
    scene.commands.expect(INSPECT, stdout=json.dumps([raw() | {"Name": "/somebody-else"}]))
    scene.commands.expect(BY_LABELS, stdout="")
    assert scene.runtime.probe().state is ContainerState.MISSING


def test_a_container_without_the_name_is_found_by_its_labels(scene: Scene) -> None:
    scene.expect_states(None)
    scene.commands.answers[BY_LABELS].clear()
    scene.commands.expect(BY_LABELS, stdout="abc123\n")
    scene.commands.expect(container.inspect_argv("abc123"), stdout=json.dumps([raw() | {"Name": "/project-gateway-1"}]))
    assert scene.runtime.probe().name == "project-gateway-1"
    argv = container.logs_argv("project-gateway-1", lines=5, timestamps=True)
    scene.commands.expect(argv, stdout="2026-11-21T03:00:01.5Z hello\n")
    assert scene.runtime.read_log(lines=5) == ("hello",)


def test_a_missing_image_is_fetched_first_and_its_progress_shown(scene: Scene) -> None:
    scene.expect_states(None, "running")
    scene.expect_compose(image=failing(("docker",), "Error: No such image"))
    scene.commands.expect(compose.pull_argv(scene.target), stdout=" gateway Pulling\n")
    assert scene.start()
    assert " gateway Pulling" in scene.progress


@pytest.mark.parametrize(
    ("complaint", "advice"),
    [
        ("Bind for 127.0.0.1:4002 failed: port is already allocated", "Another program holds port 4002"),
        ('The container name "/ibkr-gateway" is already in use by container "1"', "is called ibkr-gateway"),
    ],
)
def test_composes_last_lines_are_the_evidence(scene: Scene, complaint: str, advice: str) -> None:
    scene.expect_states(None)
    scene.expect_compose(up=failing(("docker",), "Container ibkr-gateway  Creating", f"{complaint} {PASSWORD}"))
    failure = scene.fail_to_start()
    assert failure.word is FailureWord.GATEWAY_START_FAILED
    assert advice in failure.next_action
    assert failure.evidence == ("Container ibkr-gateway  Creating", f"{complaint} ********")


def test_a_compose_file_that_is_not_valid_is_named(scene: Scene) -> None:
    scene.expect_states(None)
    scene.commands.expect(compose.config_argv(scene.target), failing(("docker",), "yaml: line 3: mapping values"))
    failure = scene.fail_to_start()
    assert failure.word is FailureWord.GATEWAY_START_FAILED
    assert "compose.yml" in failure.next_action


def test_a_service_that_is_not_in_the_file_is_named(scene: Scene) -> None:
    scene.expect_states(None)
    scene.commands.expect(compose.config_argv(scene.target), stdout='{"services": {}}')
    assert "GATEWAY_SERVICE" in scene.fail_to_start().next_action


def test_a_folder_without_a_compose_file_is_named(scene: Scene) -> None:
    scene.file.unlink()
    scene.expect_states(None)
    assert "DOCKER_COMPOSE_DIR" in scene.fail_to_start().next_action


def test_an_image_that_cannot_be_fetched_is_named(scene: Scene) -> None:
    scene.expect_states(None)
    scene.expect_compose(image=failing(("docker",), "Error: No such image"))
    scene.commands.expect(compose.pull_argv(scene.target), failing(("docker",), "dial tcp: connection refused"))
    failure = scene.fail_to_start()
    assert failure.word is FailureWord.GATEWAY_START_FAILED
    assert "GATEWAY_IMAGE" in failure.next_action


def test_a_fetch_that_takes_too_long_is_ended(scene: Scene) -> None:
    scene.expect_states(None)
    scene.expect_compose(image=failing(("docker",), "Error: No such image"))
    argv = compose.pull_argv(scene.target)
    scene.commands.expect(argv, CommandTimedOutError(argv, 600.0, ("gateway Pulling",)))
    failure = scene.fail_to_start()
    assert failure.message == "`docker compose pull` did not end within 600 s"
    assert failure.evidence == ("gateway Pulling",)


def test_a_container_that_ends_at_once_is_a_failed_start_with_its_last_lines(scene: Scene) -> None:
    scene.expect_states(None)
    scene.expect_compose()
    scene.commands.expect(INSPECT, stdout=json.dumps([raw(Status="exited", ExitCode=1, Error="exec failed")]))
    logs = container.logs_argv(NAME, lines=15, timestamps=True)
    scene.commands.expect(logs, stdout="2026-11-21T03:00:01.5Z both passwords are set\n")
    failure = scene.fail_to_start()
    assert failure.word is FailureWord.GATEWAY_START_FAILED
    assert "exited with code 1 now: exec failed" in failure.message
    assert failure.evidence == ("both passwords are set",)


@pytest.mark.parametrize(
    "answer",
    [
        CommandResult(argv=INSPECT, exit_code=1, stderr=DOWN),
        CommandResult(argv=INSPECT, exit_code=1, stderr="unexpected EOF"),
        CommandResult(argv=INSPECT, exit_code=0, stdout="nonsense"),
        CommandTimedOutError(INSPECT, 5.0),
        CommandNotFoundError(INSPECT),
    ],
)
def test_an_engine_that_does_not_answer_is_never_taken_for_a_missing_container(scene: Scene, answer: Answer) -> None:
    scene.commands.expect(INSPECT, answer)
    with pytest.raises(StartupFailure) as failed:
        scene.runtime.probe()
    assert failed.value.word is FailureWord.DOCKER_UNAVAILABLE
    assert failed.value.next_action


def test_an_engine_that_is_starting_is_waited_for(scene: Scene) -> None:
    down = CommandResult(argv=engine.VERSION_ARGV, exit_code=1, stderr=DOWN)
    for _ in range(3):
        scene.commands.expect(engine.VERSION_ARGV, down)
    scene.commands.expect(engine.VERSION_ARGV, stdout="26.1.5")
    scene.commands.expect(engine.COMPOSE_VERSION_ARGV, stdout="2.26.1")
    assert scene.runtime.wait_for_engine(60.0, scene.progress.append).problem is None
    assert scene.clock.waits_s == [1.0, 1.0, 1.0]
    assert len(scene.progress) == 3


@pytest.mark.parametrize(("timeout_s", "looks"), [(0.0, 1), (2.5, 4)])
def test_an_engine_that_does_not_come_is_a_failure_at_the_deadline(scene: Scene, timeout_s: float, looks: int) -> None:
    scene.commands.expect(engine.VERSION_ARGV, CommandResult(argv=engine.VERSION_ARGV, exit_code=1, stderr=DOWN))
    with pytest.raises(StartupFailure) as failed:
        scene.runtime.wait_for_engine(timeout_s, scene.progress.append)
    assert failed.value.word is FailureWord.DOCKER_UNAVAILABLE
    assert len(scene.commands.calls) == looks


def test_a_missing_docker_program_is_not_waited_for(scene: Scene) -> None:
    scene.commands.expect(engine.VERSION_ARGV, CommandNotFoundError(engine.VERSION_ARGV))
    with pytest.raises(StartupFailure):
        scene.runtime.wait_for_engine(60.0, scene.progress.append)
    assert scene.clock.waits_s == []


RESTART = container.restart_argv("f7ee363fb71b", timeout_s=120.0)
PORTS = soft_restart.Ports(command=7462, api=4002)
ASK = soft_restart.ask_argv("f7ee363fb71b", PORTS)
LOOK = soft_restart.look_argv("f7ee363fb71b", PORTS)
NO_COMMAND_PORT = CommandResult(argv=ASK, exit_code=3)
STOP = container.stop_argv("f7ee363fb71b", timeout_s=10.0)
UNPAUSE = container.unpause_argv("f7ee363fb71b")


def prepare_nothing(_scene: Scene) -> None:
    return


@pytest.mark.parametrize(
    ("state", "prepare", "changes"),
    [
        ("running", prepare_nothing, [RESTART]),
        ("exited", prepare_nothing, [RESTART]),
        ("restarting", prepare_nothing, [RESTART]),
        ("paused", prepare_nothing, [UNPAUSE, RESTART]),
        (None, Scene.expect_compose, ["up"]),
        ("created", Scene.expect_compose, ["up"]),
    ],
)
def test_a_restart_makes_it_run_from_every_state(
    scene: Scene, state: str | None, prepare: Callable[[Scene], None], changes: list[Any]
) -> None:
    scene.expect_states(state)
    prepare(scene)
    scene.commands.expect(ASK, NO_COMMAND_PORT)
    scene.commands.expect(RESTART)
    scene.commands.expect(UNPAUSE)
    scene.runtime.restart()
    expected = [compose.up_argv(scene.target) if change == "up" else change for change in changes]
    acting = {RESTART, UNPAUSE, compose.up_argv(scene.target)}
    assert [call for call in scene.commands.calls if call in acting] == expected


def test_a_restart_that_the_engine_refuses_is_a_failed_start(scene: Scene) -> None:
    scene.expect_states("running")
    scene.commands.expect(ASK, NO_COMMAND_PORT)
    scene.commands.expect(RESTART, failing(RESTART, "Error response from daemon: OCI runtime create failed"))
    with pytest.raises(StartupFailure) as failed:
        scene.runtime.restart()
    assert failed.value.word is FailureWord.GATEWAY_START_FAILED
    assert "OCI runtime create failed" in failed.value.evidence[0]


OPEN, DOWN_NOW = "api open\nrestarts 1\n", "api closed\nrestarts 1\n"
ACCEPTED = "said OK Restart in progress\n"


def restart_commands(scene: Scene) -> list[tuple[str, ...]]:
    return [call for call in scene.commands.calls if call in {ASK, RESTART}]


def test_a_gateway_that_restarts_itself_keeps_its_session(scene: Scene) -> None:
    scene.clock.jump(4 * 86400.0)  # the container was started on the 21st
    scene.expect_states("running")
    scene.commands.expect(ASK, stdout=OPEN + ACCEPTED)
    scene.commands.expect(LOOK, stdout=OPEN)
    scene.commands.expect(LOOK, stdout=OPEN)
    scene.commands.expect(LOOK, stdout=DOWN_NOW)
    before = scene.runtime.probe()
    assert scene.runtime.restart(on_progress=scene.progress.append) is RestartKind.SOFT
    assert restart_commands(scene) == [ASK]
    after = scene.runtime.probe()
    assert after.start != before.start, "what was seen of the process before says nothing of the new one"
    assert after.log_since == after.restarted_at, "its login is read from there on"


@pytest.mark.parametrize(
    ("answer", "looks", "waited_s"),
    [
        (OPEN + ACCEPTED, OPEN, 60),  # it said yes, and did nothing
        (OPEN, OPEN, 60),  # it took the command and said nothing
        (OPEN + "said OK RESTART at 07:15 AM\n", OPEN, 120),  # IBC: at the next full minute
        (DOWN_NOW + ACCEPTED, DOWN_NOW, 60),  # its API was down before, and it has not started again
        (OPEN + "said INFO restarting\nsaid ERROR RESTART already in progress\n", OPEN, 0),
        ("", OPEN, 0),  # nothing that can be understood
    ],
)
def test_where_nothing_comes_of_it_the_container_is_restarted_once(
    scene: Scene, answer: str, looks: str, waited_s: float
) -> None:
    scene.expect_states("running")
    scene.commands.expect(ASK, stdout=answer)
    scene.commands.expect(LOOK, stdout=looks)
    scene.commands.expect(RESTART)
    began_s = scene.clock.monotonic_s()
    assert scene.runtime.restart() is RestartKind.FULL
    assert restart_commands(scene) == [ASK, RESTART]
    assert scene.clock.monotonic_s() - began_s == waited_s


def test_a_request_to_end_does_not_wait_for_a_soft_restart(scene: Scene) -> None:
    scene.expect_states("running")
    scene.commands.expect(ASK, stdout=OPEN + ACCEPTED)
    scene.commands.expect(LOOK, stdout=OPEN)

    def leave(text: str) -> None:
        if "has not begun" in text:
            raise StartupFailure(FailureWord.INTERRUPTED, "asked to end", next_action="")

    began_s = scene.clock.monotonic_s()
    with pytest.raises(StartupFailure, match="asked to end"):
        scene.runtime.restart(on_progress=leave)
    assert scene.clock.monotonic_s() - began_s <= 15
    assert restart_commands(scene) == [ASK]


@pytest.mark.parametrize("code", [1, 3, 126, 127])
def test_without_a_controller_to_ask_the_container_is_restarted_at_once(scene: Scene, code: int) -> None:
    scene.expect_states("running")
    scene.commands.expect(ASK, CommandResult(argv=ASK, exit_code=code))
    scene.commands.expect(RESTART)
    assert scene.runtime.restart() is RestartKind.FULL
    assert scene.clock.waits_s == []


def test_a_command_that_hangs_in_the_container_is_followed_by_its_restart(scene: Scene) -> None:
    scene.expect_states("running")
    scene.commands.expect(ASK, CommandTimedOutError(ASK, 20.0))
    scene.commands.expect(RESTART)
    assert scene.runtime.restart() is RestartKind.FULL


def test_a_full_login_is_never_asked_for_gently(scene: Scene) -> None:
    scene.expect_states("running")
    scene.commands.expect(RESTART)
    assert scene.runtime.restart(is_gentle=False) is RestartKind.FULL
    assert restart_commands(scene) == [RESTART]


def test_a_controller_that_ends_its_container_has_restarted_it(scene: Scene) -> None:
    """The restart policy brings the container back: no second restart by us."""
    scene.expect_states("running")
    scene.commands.expect(ASK, stdout=OPEN + ACCEPTED)
    scene.commands.expect(LOOK, stdout=OPEN)
    scene.commands.expect(INSPECT, stdout=json.dumps([raw(StartedAt="2026-11-21T04:00:00Z")]))
    assert scene.runtime.restart() is RestartKind.FULL
    assert restart_commands(scene) == [ASK]


@pytest.mark.parametrize(("setting", "seconds"), [("", "120"), ("90", "90"), ("45.4", "45")])
def test_the_grace_of_a_restart_is_the_configured_one(tmp_path: Path, setting: str, seconds: str) -> None:
    environ = {"DOCKER_COMPOSE_DIR": str(tmp_path)} | ({"GATEWAY_STOP_GRACE": setting} if setting else {})
    commands = FakeCommands()
    commands.expect(INSPECT, stdout=json.dumps([raw()]))
    argv = ("docker", "restart", "-t", seconds, "f7ee363fb71b")
    commands.expect(argv)
    DockerRuntime(Settings.from_environ(environ), commands=commands, clock=FakeClock()).restart(is_gentle=False)
    assert commands.calls[-1] == argv


@pytest.mark.parametrize(("code", "in_time"), [(0, True), (143, True), (137, False)])
def test_a_stop_says_whether_force_was_needed(scene: Scene, code: int, *, in_time: bool) -> None:
    scene.expect_states("running")
    scene.commands.expect(STOP)
    scene.commands.expect(INSPECT, stdout=json.dumps([raw(Status="exited", ExitCode=code)]))
    assert scene.runtime.stop(timeout_s=10.0) is in_time


@pytest.mark.parametrize("state", [None, "created", "dead"])
def test_stopping_what_does_not_run_does_nothing(scene: Scene, state: str | None) -> None:
    scene.expect_states(state)
    assert scene.runtime.stop(timeout_s=10.0)
    assert STOP not in scene.commands.calls


def test_what_is_followed_is_handed_on_without_secrets(scene: Scene) -> None:
    heard: list[str] = []
    argv = container.logs_argv(NAME, lines=2000, follow=True)
    scene.commands.expect_follow(argv)
    scene.runtime.follow_log(heard.append)
    scene.commands.followed[0].say("IBC: Login attempt: 1", f"oops {PASSWORD}")
    assert heard == ["IBC: Login attempt: 1", "oops ********"]
    changes: list[str] = []
    scene.commands.expect_follow(container.events_argv(NAME, since_s=5))
    following = scene.runtime.watch(lambda: changes.append("changed"))
    scene.commands.followed[1].say("health_status: healthy")
    following.close()
    assert changes == ["changed"]
    assert not scene.commands.followed[1].is_running


def test_a_log_that_cannot_be_read_is_empty(scene: Scene) -> None:
    argv = container.logs_argv(NAME, lines=5, timestamps=True)
    scene.commands.expect(argv, failing(argv, "No such container"))
    scene.commands.expect(argv, failing(argv, DOWN))
    assert scene.runtime.read_log(lines=5) == ()
    assert scene.runtime.read_log(lines=5) == ()
