"""An operator's own Compose folder: what is handed over, what is refused, and what is done there, without an engine."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestration.docker import compose, container, engine
from orchestration.docker.compose import ComposeTarget, PublishedPort, ServiceConfig
from orchestration.docker.container import ContainerState
from orchestration.errors import Check, FailureWord, StartupFailure, StepStatus
from orchestration.gateway.compose_folder import (
    FolderReading,
    build_handed_over,
    find_missing_login,
    find_open_ports,
    refuse_contradictions,
)
from orchestration.gateway.container import MISSING
from orchestration.gateway.docker_runtime import DockerRuntime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.preflight.compose_folder import check_compose, read_own_folder
from orchestration.preflight.engine import check_engine
from orchestration.settings import Settings
from orchestration.settings.image_variables import IMAGE_VARIABLES
from orchestration.settings.variables import variables_by_field
from orchestration.system.commands import CommandResult
from tests.fakes.clock import FakeClock
from tests.fakes.commands import FakeCommands
from tests.unit.gameplan.plans import changed, write_plan
from tests.unit.gateway.test_container import raw
from tests.vendor_folder import IN_ENV_FILE, IN_SERVICE, SERVICE, all_names, render_env, write_folder

PROJECT = "algo-trader"
NAME = f"{PROJECT}-{SERVICE}-1"
IMAGE = "ghcr.io/gnzsnz/ib-gateway:latest"
PASSWORD = "planted-password"  # noqa: S105 - planted, looked for in everything that is shown
LIVE = {"TRADING_MODE": "live", "ALLOW_LIVE_TRADING": "yes", "GATEWAY_ACCOUNT": "U1234567"}


def test_every_variable_of_the_vendors_files_can_be_given() -> None:
    ours = {variable.name for variable in variables_by_field().values()} | {"TWS_PASSWORD_FILE"}
    assert set(all_names()) <= ours | IMAGE_VARIABLES.keys()


def test_a_variable_that_is_not_set_is_not_handed_over() -> None:
    assert build_handed_over(Settings.from_environ({}), IN_ENV_FILE) == {}


def test_a_variable_that_is_set_is_handed_over_from_every_source() -> None:
    settings = Settings.from_environ(
        {"TIME_ZONE": "Asia/Tokyo", "TWOFA_DEVICE": "IB Key", "TZ": "UTC"},
        dotenv={
            "READ_ONLY_API": "yes",
            "VNC_SERVER_PASSWORD": "seen",
            "TWS_COLD_RESTART": " 18:00 ",
            "TZ": "Asia/Tokyo",
        },
        overrides={"GATEWAY_PORT": "4010"},
    )
    assert build_handed_over(settings, {}) == {
        "TIME_ZONE": "Asia/Tokyo",
        "READ_ONLY_API": "yes",
        "GATEWAY_PORT": "4010",
        "TWOFA_DEVICE": "IB Key",
        "VNC_SERVER_PASSWORD": "seen",
        "TWS_COLD_RESTART": " 18:00 ",
        "TZ": "Asia/Tokyo",
    }


def test_a_password_from_a_file_here_is_handed_over_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(PASSWORD, encoding="utf-8")
    settings = Settings.from_environ({"TWS_PASSWORD_FILE": str(tmp_path / "secret")})
    assert build_handed_over(settings, IN_ENV_FILE) == {"TWS_PASSWORD": PASSWORD}


def test_the_ports_of_live_mode_go_with_it_unless_the_folder_says_otherwise() -> None:
    handed = build_handed_over(Settings.from_environ(LIVE), {"GATEWAY_PORT": "7496"})
    assert handed == {"TRADING_MODE": "live", "GATEWAY_FORWARDER_PORT": "4003"}


def test_further_secrets_of_the_image_are_secrets() -> None:
    settings = Settings.from_environ({}, dotenv={"VNC_SERVER_PASSWORD": PASSWORD, "SSH_PASSPHRASE": "another-one"})
    assert {PASSWORD, "another-one"} <= set(settings.secrets)
    assert PASSWORD not in repr(settings) + repr(settings.sources)


@pytest.mark.parametrize(
    ("environ", "image", "missing"),
    [
        ({}, IMAGE, ("TWS_USERID", "TWS_PASSWORD")),
        ({"TWS_USERID": "ann", "TWS_PASSWORD": ""}, IMAGE, ("TWS_PASSWORD",)),
        ({"TWS_USERID": "ann", "TWS_PASSWORD_FILE": "/run/x"}, IMAGE, ()),
        ({"IBC_USERID": "ann", "IBC_PASSWORD_FILE": "/run/x"}, IMAGE, ()),
        ({"CUSTOM_CONFIG": "yes"}, IMAGE, ()),
        ({}, "their/own:1", ()),
    ],
)
def test_a_login_that_is_missing_in_the_folder_is_found(
    environ: dict[str, str], image: str, missing: tuple[str, ...]
) -> None:
    assert find_missing_login(ServiceConfig(image=image, is_built=False, environ=environ)) == missing


@pytest.mark.parametrize("name", ["TWS_PASSWORD", "TWS_PASSWORD_PAPER", "VNC_SERVER_PASSWORD", "SSH_PASSPHRASE"])
def test_a_secret_in_both_forms_is_refused(name: str, tmp_path: Path) -> None:
    environ = {name: PASSWORD, f"{name}_FILE": "/run/secrets/x"}
    with pytest.raises(StartupFailure) as failed:
        refuse_contradictions(ServiceConfig(image=IMAGE, is_built=False, environ=environ), directory=tmp_path)
    assert failed.value.word is FailureWord.CONFIG_INVALID
    assert PASSWORD not in failed.value.message + failed.value.next_action


@dataclass
class Folder:
    """The vendor's folder, a runtime on it, and Compose's answers."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    commands: FakeCommands = field(default_factory=FakeCommands)
    image: str = IMAGE
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write_folder(self.folder)
        self.target = ComposeTarget(files=(), project=PROJECT, service=SERVICE, is_as_by_hand=True)
        self.up_argv = compose.up_argv(self.target, recreates=False)

    def expect_config(self, environ: Mapping[str, str | None] = IN_ENV_FILE, **service: Any) -> None:  # noqa: ANN401 - a JSON document's fields
        ports = [{"host_ip": "127.0.0.1", "published": "4002", "target": 4004}]
        described = {"image": self.image, "build": {}, "environment": dict(environ), "ports": ports, **service}
        text = json.dumps({"name": PROJECT, "services": {SERVICE: described, "vpn": {}}, **self.more})
        self.commands.expect(compose.config_argv(self.target), stdout=text)

    def answer_config(self, environ: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        """Let Compose put what it is given into the service's environment."""
        argv = compose.config_argv(self.target)

        def answer() -> CommandResult:
            service = {"image": self.image, "environment": dict(environ(self.commands.environs[-1]))}
            text = json.dumps({"name": PROJECT, "services": {SERVICE: service}})
            return CommandResult(argv=argv, exit_code=0, stdout=text)

        self.commands.expect(argv, answer)

    def expect_states(self, *states: str | None, **changes: Any) -> None:  # noqa: ANN401 - a JSON document's fields
        labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": SERVICE}
        inspect = container.inspect_argv(NAME)
        for state in states:
            if state is None:
                gone = CommandResult(
                    argv=inspect, exit_code=1, stdout="[]\n", stderr=f"Error: No such container: {NAME}"
                )
                self.commands.expect(inspect, gone)
                for project in (PROJECT, "ibkr-gateway"):
                    self.commands.expect(container.find_by_labels_argv(project=project, service=SERVICE), stdout="")
            else:
                described = (
                    raw(Status=state) | {"Name": f"/{NAME}", "Config": {"Image": IMAGE, "Labels": labels}} | changes
                )
                self.commands.expect(inspect, stdout=json.dumps([described]))

    def expect_start(self) -> None:
        self.commands.expect(container.image_exists_argv(self.image), stdout="sha256:1")
        self.commands.expect(container.image_environ_argv(self.image), stdout="[]")
        self.commands.expect(container.find_by_labels_argv(project=PROJECT, service=SERVICE), stdout="")
        self.commands.expect(self.up_argv)

    def settings(self) -> Settings:
        return Settings.from_environ(
            {
                "DOCKER_COMPOSE_DIR": str(self.folder),
                "GATEWAY_SERVICE": SERVICE,
                "LOG_DIR": str(self.folder / "logs"),
                **self.environ,
            }
        )

    def runtime(self) -> DockerRuntime:
        return DockerRuntime(self.settings(), commands=self.commands, clock=FakeClock())

    def start(self) -> bool:
        return self.runtime().ensure_started(on_progress=lambda _: None)

    def checks(self, *, is_made_now: bool = True) -> list[Check]:
        status, reading = self.runtime().probe(), read_own_folder(self.settings(), commands=self.commands)
        return list(check_compose(self.settings(), reading, is_made_now=is_made_now, status=status))

    def handed(self) -> Mapping[str, str]:
        return self.commands.environs[self.commands.calls.index(self.up_argv)]


@pytest.fixture
def own(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "ib")


def test_compose_is_called_there_as_by_hand(own: Folder) -> None:
    own.expect_config()
    own.expect_states(None, "running")
    own.expect_start()
    assert own.start()
    assert own.handed() == {"PWD": str(own.folder)}, "nothing was set, so nothing is handed over"
    record = own.runtime().build_record()
    assert (record.container, record.project, record.service) == (NAME, PROJECT, SERVICE), "known before any look"


def test_compose_fills_in_the_secrets_of_the_environment_which_programs_do_not_inherit(own: Folder) -> None:
    own.environ |= {"DISCORD_WEBHOOK_URL": "https://discord.example/7", "TWS_PASSWORD": PASSWORD}
    own.expect_config()
    own.expect_states(None, "running")
    own.expect_start()
    assert own.start()
    assert own.handed() == {"PWD": str(own.folder), **own.environ}


def test_a_container_that_compose_made_by_hand_is_known_by_its_labels(own: Folder) -> None:
    own.expect_config()
    own.expect_states("running")
    assert own.runtime().probe().state is ContainerState.RUNNING
    assert not own.start()


def test_an_earlier_versions_container_is_found_by_its_own_project(own: Folder) -> None:
    own.expect_config()
    own.expect_states(None)
    older = container.find_by_labels_argv(project="ibkr-gateway", service=SERVICE)
    own.commands.answers[older].clear()
    own.commands.expect(older, stdout="abc123\n")
    own.commands.expect(container.inspect_argv("abc123"), stdout=json.dumps([raw() | {"Name": "/ibkr-gateway-x-1"}]))
    assert own.runtime().probe().name == "ibkr-gateway-x-1"


def test_a_service_with_a_file_of_its_own_gets_no_password(own: Folder) -> None:
    own.environ["TWS_PASSWORD"] = PASSWORD
    from_file = {"TWS_USERID": "ann", "TWS_PASSWORD_FILE": "/run/secrets/theirs"}
    own.answer_config(lambda handed: {**from_file, "TWS_PASSWORD": handed.get("TWS_PASSWORD", "")})
    own.expect_states(None, "running")
    own.expect_start()
    assert own.start()
    assert own.handed()["TWS_PASSWORD"] == ""


@pytest.mark.parametrize("here", ["TWS_PASSWORD_PAPER", "VNC_SERVER_PASSWORD", "SSH_PASSPHRASE"])
@pytest.mark.parametrize("form", ["", "_FILE"])
def test_of_a_secret_the_form_that_is_set_here_replaces_the_folders_other_one(
    own: Folder, here: str, form: str
) -> None:
    other = here if form else f"{here}_FILE"
    own.environ[here + form] = "set-here"
    of_folder = {"TWS_USERID": "ann", "TWS_PASSWORD": "x", other: "of-the-folder"}
    own.answer_config(lambda handed: {**of_folder, **handed})
    own.expect_states(None, "running")
    own.expect_start()
    assert own.start()
    assert own.handed()[here + form] == "set-here"
    assert own.handed()[other] == ""


def test_a_secret_of_the_folder_that_is_made_of_the_password_gets_it(own: Folder) -> None:
    own.environ["TWS_PASSWORD"] = PASSWORD
    own.more = {"secrets": {"login": {"environment": "TWS_PASSWORD"}}}
    environ: dict[str, str | None] = {"TWS_USERID": "ann", "TWS_PASSWORD_FILE": "/run/secrets/login"}
    own.expect_config(environ, secrets=[{"source": "login"}])
    own.expect_states(None, "running")
    own.expect_start()
    own.up_argv = compose.up_argv(own.target, recreates=True)
    own.commands.expect(own.up_argv)
    assert own.start()
    assert own.handed()["TWS_PASSWORD"] == PASSWORD


_UNSAFE = [
    {"TRADING_MODE": "live"},
    {"TRADING_MODE": "both"},
    {"TRADING_MODE": " Live "},
    {"TRADING_MODE": "paper", "DUAL_MODE": "yes"},
    {"IBC_TRADING_MODE": "live"},
    {"TWS_PASSWORD_FILE": "/run/secrets/x"},
    {"VNC_SERVER_PASSWORD_FILE": "/run/secrets/x"},
]


@pytest.mark.parametrize(
    ("environ", "state"),
    [*((one, None) for one in [*_UNSAFE, {"TWS_USERID": ""}]), *((one, "exited") for one in _UNSAFE)],
)
def test_what_must_not_be_made_is_refused_before_anything_is_started(
    own: Folder, environ: dict[str, str], state: str | None
) -> None:
    own.expect_config({**IN_ENV_FILE, **environ})
    own.expect_states(state)
    own.commands.expect(container.logs_argv(NAME, lines=1000, timestamps=True), stdout="")
    own.commands.expect(container.find_by_labels_argv(project=PROJECT, service=SERVICE), stdout="")
    with pytest.raises(StartupFailure) as failed:
        own.start()
    assert failed.value.word is FailureWord.CONFIG_INVALID
    assert failed.value.next_action
    assert own.up_argv not in own.commands.calls
    (check,) = [check for check in own.checks() if check.status is StepStatus.FAIL]
    assert check.failure is FailureWord.CONFIG_INVALID
    assert check.fix


@pytest.mark.parametrize("mode", ["live", "both"])
def test_both_switches_allow_it(own: Folder, mode: str) -> None:
    own.environ |= LIVE
    own.expect_config({**IN_ENV_FILE, "TRADING_MODE": mode})
    own.expect_states(None, "running")
    own.expect_start()
    assert own.start()


def test_a_mode_of_the_images_own_counts_where_the_service_sets_none(own: Folder) -> None:
    own.expect_config({"TWS_USERID": "ann", "TWS_PASSWORD": "x"})
    own.expect_states(None)
    own.expect_start()
    own.commands.answers[container.image_environ_argv(IMAGE)].clear()
    own.commands.expect(container.image_environ_argv(IMAGE), stdout='["PATH=/bin", "TRADING_MODE=live"]')
    with pytest.raises(StartupFailure) as failed:
        own.start()
    assert failed.value.word is FailureWord.CONFIG_INVALID
    assert own.up_argv not in own.commands.calls


@pytest.mark.parametrize(("state", "verb"), [("exited", "start"), ("paused", "unpause")])
def test_a_container_in_live_mode_is_not_let_run_again(own: Folder, state: str, verb: str) -> None:
    own.expect_config({"TWS_USERID": "", "TWS_PASSWORD": ""})  # a new one could not log in: this one would be started
    config = {"Image": IMAGE, "Labels": {"com.docker.compose.project": PROJECT}, "Env": ["TRADING_MODE=live"]}
    own.expect_states(state, Config=config)
    with pytest.raises(StartupFailure) as failed:
        own.start()
    assert failed.value.word is FailureWord.CONFIG_INVALID
    assert not any(verb in call for call in own.commands.calls)


def _found(own: Folder, name: str, status: StepStatus = StepStatus.WARN) -> list[str]:
    return [f"{check.detail} {check.fix}" for check in own.checks() if check.name == name and check.status is status]


def test_a_service_that_is_not_there_is_named_with_those_that_are(own: Folder) -> None:
    own.environ["GATEWAY_SERVICE"] = "gateway"
    own.expect_config()
    own.commands.expect(container.inspect_argv("ibkr-gateway"), stdout="[]")
    own.commands.expect(container.find_by_labels_argv(project="ibkr-gateway", service="gateway"), stdout="")
    (found,) = _found(own, "Compose file", StepStatus.FAIL)
    assert f"no service gateway; it has {SERVICE}, vpn" in found
    assert "Set GATEWAY_SERVICE" in found


def test_a_folder_without_a_compose_file_is_named(own: Folder) -> None:
    (own.folder / "docker-compose.yml").unlink()
    own.commands.expect(container.inspect_argv("ibkr-gateway"), stdout="[]")
    own.commands.expect(container.find_by_labels_argv(project="ibkr-gateway", service=SERVICE), stdout="")
    (found,) = _found(own, "Compose file", StepStatus.FAIL)
    assert "Set DOCKER_COMPOSE_DIR" in found


def test_a_file_that_compose_refuses_is_shown_in_its_words_and_without_pieces_of_a_password(own: Folder) -> None:
    own.commands.expect(
        compose.config_argv(own.target),
        CommandResult(
            argv=(),
            exit_code=15,
            stderr='level=warning msg="The \\"w0rd\\" variable is not set. Defaulting to a blank string."\n'
            "yaml: line 3: mapping values are not allowed\n",
        ),
    )
    own.commands.expect(container.inspect_argv("ibkr-gateway"), stdout="[]")
    own.commands.expect(container.find_by_labels_argv(project="ibkr-gateway", service=SERVICE), stdout="")
    (check,) = own.checks()
    assert check.status is StepStatus.FAIL
    assert "w0rd" not in repr(check)


def test_each_variable_that_goes_before_the_folders_own_is_named(own: Folder) -> None:
    own.environ |= {"TIME_ZONE": "Asia/Tokyo", "READ_ONLY_API": "no", "TWS_PASSWORD": PASSWORD}
    own.expect_config({**IN_ENV_FILE, "TIME_ZONE": "Asia/Tokyo", "TWS_PASSWORD": PASSWORD})
    own.expect_states(None)
    (found,) = _found(own, "Compose folder")
    assert "TIME_ZONE (Asia/Tokyo instead of Europe/Zurich)" in found
    assert "TWS_PASSWORD" in found
    assert PASSWORD not in found
    assert "myTwsPassword" not in found
    assert "READ_ONLY_API" not in found, "it is the same in both"


@pytest.mark.parametrize(
    "name", [name for name in all_names() if name not in IN_SERVICE and name != "TWS_PASSWORD_FILE"]
)
def test_a_variable_that_the_service_does_not_take_is_named(own: Folder, name: str) -> None:
    dotenv = {name: "x"}
    own.expect_config()
    own.expect_states(None)
    settings = Settings.from_environ({"DOCKER_COMPOSE_DIR": str(own.folder), "GATEWAY_SERVICE": SERVICE}, dotenv=dotenv)
    status = own.runtime().probe()
    checks = check_compose(settings, read_own_folder(settings, commands=own.commands), is_made_now=True, status=status)
    dropped = [check for check in checks if check.detail.startswith(f"{name}: set for this program")]
    assert len(dropped) == 1
    assert f"{name}: ${{{name}:-}}" in dropped[0].fix


def test_how_long_a_stop_may_take_is_this_programs_own_and_not_missed_in_the_service(own: Folder) -> None:
    own.environ |= {"GATEWAY_STOP_GRACE": "30"}
    own.expect_config()
    own.expect_states(None)
    assert [detail for detail in _found(own, "Compose folder") if "GATEWAY_STOP_GRACE" in detail] == []


@pytest.mark.parametrize("host_ip", ["", "0.0.0.0", "::"])  # noqa: S104 - looked for
def test_a_port_that_is_open_to_every_network_is_named_with_the_line_that_closes_it(own: Folder, host_ip: str) -> None:
    own.expect_config(ports=[{"host_ip": host_ip, "published": "4002", "target": 4004}])
    own.expect_states(None)
    (found,) = _found(own, "published ports")
    assert '"127.0.0.1:4002:4004"' in found


def test_a_port_that_leads_elsewhere_is_named(own: Folder) -> None:
    own.expect_config(ports=[{"host_ip": "127.0.0.1", "published": "7497", "target": 4004}])
    own.expect_states(None)
    (found,) = _found(own, "published ports")
    assert "7497" in found
    assert "Set GATEWAY_PORT" in found


def test_a_dollar_that_compose_expands_is_named_without_the_value(own: Folder) -> None:
    (own.folder / ".env").write_text(render_env(TWS_PASSWORD="pa$w0rd"), encoding="utf-8")  # noqa: S106 - planted
    own.expect_config({**IN_ENV_FILE, "TWS_PASSWORD": "pa"})
    own.expect_states(None)
    (found,) = _found(own, "Compose folder")
    assert "TWS_PASSWORD" in found
    assert "single quotes" in found
    assert "w0rd" not in found


def test_a_folder_in_order_is_one_line(own: Folder) -> None:
    own.expect_config()
    own.expect_states(None)
    assert [(check.name, check.status) for check in own.checks()] == [("Compose file", StepStatus.OK)]


def test_a_variable_that_the_shipped_file_does_not_pass_on_is_named() -> None:
    settings = Settings.from_environ({"SSH_TUNNEL": "yes", "TWOFA_DEVICE": "IB Key"})
    checks = list(check_compose(settings, None, is_made_now=False, status=MISSING))
    assert [check.detail.partition(":")[0] for check in checks] == ["SSH_TUNNEL"]


def test_the_shipped_file_passes_on_what_the_table_says() -> None:
    text = (Path(__file__).resolve().parents[3] / "docker" / "gateway" / "docker-compose.yml").read_text(
        encoding="utf-8"
    )
    passed = {name for name in IMAGE_VARIABLES if f"{name}: ${{{name}:-" in text}
    assert passed == {name for name, variable in IMAGE_VARIABLES.items() if variable.is_in_shipped_file}


@pytest.mark.parametrize(("of_folder", "says"), [("yes", True), ("no", False), ("", False)])
def test_whether_orders_will_pass_is_what_the_folder_makes_and_not_our_default(
    own: Folder, of_folder: str, *, says: bool
) -> None:
    own.environ["GAMEPLAN_PATH"] = str(write_plan(own.folder, changed({"strategy": "A"})))
    own.expect_config({**IN_ENV_FILE, "READ_ONLY_API": of_folder})
    own.expect_states(None)
    own.commands.expect(engine.VERSION_ARGV, stdout="26.1.5")
    own.commands.expect(engine.COMPOSE_VERSION_ARGV, stdout="2.26.1")
    clock, settings = FakeClock(), own.settings()
    runtime = build_runtime(settings, commands=own.commands, clock=clock)
    checks = check_engine(settings, runtime, commands=own.commands, clock=clock, on_progress=lambda _: None)
    assert any("no order will pass" in check.detail for check in checks) is says


@pytest.mark.parametrize(
    ("compose_text", "env", "service", "is_named_here"),
    [
        ("services: {}\n", "", {}, True),
        ("name: theirs\nservices: {}\n", "", {}, False),
        ("services: {}\n", "COMPOSE_PROJECT_NAME=theirs\n", {}, False),
        ("services: {}\n", "COMPOSE_FILE=docker-compose.yml:named.yml\n", {}, False),
        ("services: {}\n", "COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=docker-compose.yml,named.yml\n", {}, False),
        ("services: {}\n", "COMPOSE_FILE=docker-compose.yml:gone.yml\n", {}, True),
        ("services: {}\n", "", {"container_name": "mine"}, False),
    ],
)
def test_a_container_name_that_is_set_here_names_a_project_that_the_folder_leaves_unnamed(
    own: Folder, compose_text: str, env: str, service: dict[str, str], *, is_named_here: bool
) -> None:
    write_folder(own.folder, compose=compose_text, env=render_env() + env)
    (own.folder / "named.yml").write_text("name: theirs\nservices: {}\n", encoding="utf-8")
    own.environ["GATEWAY_CONTAINER_NAME"] = "mine"
    own.expect_config(IN_ENV_FILE, **service)
    reading = read_own_folder(own.settings(), commands=own.commands)
    assert isinstance(reading, FolderReading)
    assert reading.handed.get("COMPOSE_PROJECT_NAME") == ("mine" if is_named_here else None)


def test_a_port_that_docker_chooses_is_named_by_where_it_leads() -> None:
    ports = (
        PublishedPort(host_ip="", published="", target=4004),
        PublishedPort(host_ip="0.0.0.0", published="4001", target=4003),  # noqa: S104 - what a Compose file says
        PublishedPort(host_ip="127.0.0.1", published="4002", target=4004),
    )
    assert find_open_ports(ServiceConfig(image="x", is_built=False, ports=ports)) == ("4004", "4001:4003")
