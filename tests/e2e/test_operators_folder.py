"""The operator's own Compose folder: what arrives in the container is what `docker compose up -d` by hand gives."""

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestration.docker.cli import DockerCli
from orchestration.docker.container import ContainerState
from orchestration.errors import Check, FailureWord, StartupFailure, StepStatus
from orchestration.gateway.compose_folder import ComposeFolder, FolderReading
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.preflight.compose_folder import check_compose, read_own_folder
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from tests import vendor_folder
from tests.e2e.gateway_scene import docker
from tests.e2e.images import build_from_recipe
from tests.system import System, find_free_port
from tests.vendor_folder import SERVICE, all_names, render_compose, render_env, value_for, write_folder

pytestmark = pytest.mark.docker
PLANTED = "planted-here"


@dataclass
class OwnFolder:
    """A user's folder with a project name and ports of its own."""

    folder: Path
    image: str
    project: str
    port: int
    root: Path

    @classmethod
    @contextlib.contextmanager
    def made_in(cls, root: Path, *, image: str) -> Iterator["OwnFolder"]:
        own = cls(root / "ib", image, f"algo-{uuid.uuid4().hex[:8]}", find_free_port(), root)
        own.write()
        try:
            yield own
        finally:
            subprocess.run(
                ["docker", "compose", "--project-name", own.project, "down", "--volumes", "--timeout", "0"],
                capture_output=True,
                timeout=60,
                check=False,
            )

    def write(self, *, extra: str = "", env: str | None = None) -> None:
        ports = (f"127.0.0.1:{self.port}:4004",)
        compose = render_compose(image=self.image, project=self.project, ports=ports, extra=extra)
        write_folder(self.folder, compose=compose, env=env)

    def settings(self, *, dotenv: Mapping[str, str] | None = None, **changes: str) -> Settings:
        environ = {
            "DOCKER_COMPOSE_DIR": str(self.folder),
            "GATEWAY_SERVICE": SERVICE,
            "GATEWAY_PORT": str(self.port),
            "STATE_DIR": str(self.root / "state"),
            "LOG_DIR": str(self.root / "logs"),
            "GATEWAY_SHARED_DIR": str(self.root / "shared"),
            "HEALTH_CHECK_TIMEOUT": "20",
            **changes,
        }
        return Settings.from_environ(environ, dotenv=dotenv)

    def runtime(self, *, dotenv: Mapping[str, str] | None = None, **changes: str) -> Runtime:
        settings = self.settings(dotenv=dotenv, **changes)
        return build_runtime(settings, commands=SystemCommands(), clock=SystemClock())

    def read(self, *, dotenv: Mapping[str, str] | None = None, **changes: str) -> FolderReading:
        settings = self.settings(dotenv=dotenv, **changes)
        door = DockerCli(
            SystemCommands(), read_timeout_s=20, secrets=(), start_failure=FailureWord.GATEWAY_START_FAILED
        )
        return ComposeFolder(settings, door, directory=self.folder, service=SERVICE).read()

    def start(self, *, dotenv: Mapping[str, str] | None = None, **changes: str) -> bool:
        return self.runtime(dotenv=dotenv, **changes).ensure_started(on_progress=lambda _: None)

    def checks(self, *, dotenv: Mapping[str, str] | None = None, **changes: str) -> list[Check]:
        settings = self.settings(dotenv=dotenv, **changes)
        runtime = build_runtime(settings, commands=SystemCommands(), clock=SystemClock())
        reading = read_own_folder(settings, commands=SystemCommands())
        return list(check_compose(settings, reading, is_made_now=True, status=runtime.probe()))

    def by_hand(self, *words: str, **environ: str) -> str:
        """`docker compose` as a person types it in the folder; its output."""
        ended = subprocess.run(
            ["docker", "compose", *words],
            cwd=self.folder,
            env={**os.environ, "PWD": str(self.folder), **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def environ_by_hand(self, **environ: str) -> dict[str, str]:
        services = json.loads(self.by_hand("config", "--format", "json", **environ))["services"]
        return {name: value.replace("$$", "$") for name, value in services[SERVICE]["environment"].items()}

    def inspect(self) -> dict[str, object]:
        (found,) = json.loads(docker("container", "inspect", f"{self.project}-{SERVICE}-1"))
        return {
            "environment": sorted(found["Config"]["Env"]),
            "ports": found["HostConfig"]["PortBindings"],
            "restart": found["HostConfig"]["RestartPolicy"],
            "mounts": sorted((one["Type"], one.get("Name") or one["Source"]) for one in found["Mounts"]),
            "networks": sorted(found["NetworkSettings"]["Networks"]),
            "labels": {
                name: found["Config"]["Labels"][f"com.docker.compose.{name}"]
                for name in ("project", "service", "config-hash", "project.working_dir", "project.config_files")
            },
            "secrets": found["HostConfig"]["Binds"],
        }


@pytest.fixture
def own(tmp_path: Path, simulator_image: str) -> Iterator[OwnFolder]:
    with OwnFolder.made_in(tmp_path, image=simulator_image) as made:
        yield made


def test_the_container_is_the_one_that_compose_makes_by_hand(own: OwnFolder) -> None:
    own.write(extra="    volumes:\n      - ${PWD}/jts:/mnt/jts\n      - kept:/mnt/kept\nvolumes:\n  kept:\n")
    own.by_hand("up", "-d")
    by_hand = own.inspect()
    docker("rm", "--force", f"{own.project}-{SERVICE}-1")
    assert own.start()
    assert own.inspect() == by_hand
    environ = by_hand["environment"]
    assert isinstance(environ, list)
    assert {"READ_ONLY_API=no", "TIME_ZONE=Europe/Zurich", "AUTO_RESTART_TIME=11:59 PM"} <= set(environ)


def test_a_container_that_was_made_by_hand_is_found_and_left_alone(own: OwnFolder) -> None:
    own.by_hand("up", "-d")
    before = own.runtime().probe()
    assert before.state is ContainerState.RUNNING
    assert not own.start()
    docker("stop", "-t", "0", before.name)
    assert own.start()
    assert own.runtime().probe().id == before.id, "nothing has changed, so nothing is recreated"
    assert own.runtime().find_drift(own.runtime().probe()) == ()


def test_every_variable_of_the_folder_arrives_as_by_hand(own: OwnFolder) -> None:
    for name in all_names():
        changes = {"TWS_PASSWORD": ""} if name == "TWS_PASSWORD_FILE" else {}
        own.write(env=render_env(**changes, **{name: value_for(name)}))
        service = own.read().service
        assert service is not None
        assert dict(service.environ) == own.environ_by_hand(), name


def test_every_variable_that_is_set_for_this_program_arrives_as_if_it_were_set_by_hand(own: OwnFolder) -> None:
    secret = own.root / "secret"
    secret.write_text("from a file", encoding="utf-8")
    for name in all_names():
        value = str(secret) if name == "TWS_PASSWORD_FILE" else value_for(name)
        by_hand = {"TWS_PASSWORD": "from a file"} if name == "TWS_PASSWORD_FILE" else {name: value}
        service = own.read(dotenv={name: value}).service
        assert service is not None
        assert dict(service.environ) == own.environ_by_hand(**by_hand), name


@pytest.mark.parametrize("password", ["pa$w0rd#1", 'it\'s $$ {x} \\ "q" %', " spaced "])
def test_a_password_arrives_exactly(own: OwnFolder, password: str) -> None:
    reading = own.read(TWS_PASSWORD=password)
    assert reading.service is not None
    assert reading.service.environ["TWS_PASSWORD"] == password
    assert own.start(TWS_PASSWORD=password)
    environ = own.inspect()["environment"]
    assert isinstance(environ, list)
    assert f"TWS_PASSWORD={password}" in environ


def test_a_service_under_profiles_is_started(own: OwnFolder) -> None:
    own.write(extra="    profiles: [trading]\n")
    assert own.start()
    assert own.runtime().probe().is_up
    assert all(check.status is not StepStatus.FAIL for check in own.checks())


_OF_ITS_OWN = """\
    secrets: [login]
secrets:
  login:
    file: ./login.txt
"""


def test_a_password_file_of_the_folders_is_never_joined_by_a_password(own: OwnFolder) -> None:
    (own.folder / "login.txt").write_text("the real one", encoding="utf-8")
    own.write(extra=_OF_ITS_OWN, env=render_env(TWS_PASSWORD=""))
    compose = own.folder / "docker-compose.yml"
    text = compose.read_text(encoding="utf-8")
    compose.write_text(
        text.replace("    environment:\n", "    environment:\n      TWS_PASSWORD_FILE: /run/secrets/login\n")
    )
    assert own.start(TWS_PASSWORD=PLANTED)
    environ = own.inspect()["environment"]
    assert isinstance(environ, list)
    assert "TWS_PASSWORD_FILE=/run/secrets/login" in environ
    assert PLANTED not in str(environ)
    (dropped,) = [check for check in own.checks(TWS_PASSWORD=PLANTED) if "TWS_PASSWORD:" in check.detail]
    assert dropped.status is StepStatus.WARN


@pytest.mark.parametrize(
    "env",
    [
        {"TRADING_MODE": "live"},
        {"TRADING_MODE": "both"},
        {"TRADING_MODE": "LIVE"},
        {"TWS_PASSWORD_PAPER": "x", "TRADING_MODE": "both"},
    ],
)
@pytest.mark.parametrize("switches", [{}, {"ALLOW_LIVE_TRADING": "yes"}], ids=["no switch", "one switch"])
def test_a_folder_in_live_mode_starts_nothing_without_both_switches(
    own: OwnFolder, env: dict[str, str], switches: dict[str, str]
) -> None:
    own.write(env=render_env(**env))
    with pytest.raises(StartupFailure) as failed:
        own.start(dotenv=switches)
    assert failed.value.word is FailureWord.CONFIG_INVALID
    assert own.runtime().probe().state is ContainerState.MISSING
    (check,) = [check for check in own.checks(dotenv=switches) if check.status is StepStatus.FAIL]
    assert check.failure is FailureWord.CONFIG_INVALID


def test_a_stopped_container_in_live_mode_is_not_started_again(own: OwnFolder) -> None:
    own.write(env=render_env(TRADING_MODE="live"))
    own.by_hand("up", "-d")
    docker("stop", "-t", "0", f"{own.project}-{SERVICE}-1")
    with pytest.raises(StartupFailure) as failed:
        own.start()
    assert failed.value.word is FailureWord.CONFIG_INVALID
    assert own.runtime().probe().state is ContainerState.EXITED


def test_an_image_that_is_in_live_mode_by_itself_is_refused(own: OwnFolder, tmp_path: Path) -> None:
    tag = f"{own.project}:live"
    build_from_recipe(tag, f"FROM {own.image}\nENV TRADING_MODE=live\n", tmp_path / "image")
    try:
        text = f"name: {own.project}\nservices:\n  {SERVICE}:\n    image: {tag}\n"
        write_folder(own.folder, compose=text, env="")
        (own.folder / ".env").unlink(missing_ok=True)
        with pytest.raises(StartupFailure) as failed:
            own.start()
        assert failed.value.word is FailureWord.CONFIG_INVALID
        assert own.runtime().probe().state is ContainerState.MISSING
    finally:
        docker("rmi", tag, check=False)


def test_the_vendors_files_as_published_pass_preflight(own: OwnFolder) -> None:
    write_folder(own.folder, compose=vendor_folder.render_compose(project=own.project))
    found = own.checks(GATEWAY_PORT="")
    assert [(check.name, check.status) for check in found] == [("Compose file", StepStatus.OK)]


def test_a_system_on_the_users_folder_needs_two_settings_and_no_login_of_its_own(
    own: OwnFolder, system: System
) -> None:
    vendors = f"{own.project}/ib-gateway:stable"  # known as the vendor's by its name, so that a login is asked for
    docker("tag", own.image, vendors)
    set_aside = {
        name: system.environ.pop(name)
        for name in ("GATEWAY_CONTAINER_NAME", "GATEWAY_IMAGE", "TWS_USERID", "TWS_PASSWORD")
    }
    own.port, own.image = system.port, vendors
    own.write(env=render_env(TWS_PASSWORD=PLANTED))
    system.environ |= {"DOCKER_COMPOSE_DIR": str(own.folder), "GATEWAY_SERVICE": SERVICE}
    container = f"{own.project}-{SERVICE}-1"
    try:
        looked = system.inv("preflight", "--json")
        assert looked.code == 0, looked.out
        own.write(env=render_env(TRADING_MODE="both"))
        refused = system.startup()
        assert (refused.code, refused.document["failure"]) == (1, "CONFIG_INVALID")
        assert "TRADING_MODE=both" in refused.document["message"]
        assert not docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={own.project}")
        own.write(env=render_env(TWS_PASSWORD=PLANTED))
        started = system.startup()
        assert started.code == 0, started.err
        assert started.document["gateway"]["container"] == container
        assert PLANTED not in started.out + started.err
        environ = own.inspect()["environment"]
        assert isinstance(environ, list)
        assert {f"TWS_PASSWORD={PLANTED}", "READ_ONLY_API=no", "TIME_ZONE=Europe/Zurich"} <= set(environ)
        assert system.inv("status", "--json").code == 0
        assert system.inv("shutdown").code == 0
        assert docker("inspect", "--format", "{{.State.Status}}", container).strip() == "exited"
    finally:
        system.environ |= set_aside
        docker("rm", "--force", container, check=False)
        docker("rmi", vendors, check=False)
