"""The built-in gateway as a process, waited for over a real socket: each way of not being ready, and of being ready."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from orchestration.commands.status import GatewayLook, probe_gateway
from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.api import probe_api
from orchestration.gateway.login import LoginPhase
from orchestration.gateway.record import read_record
from orchestration.gateway.runtime import Runtime
from orchestration.gateway.runtime_kinds import build_runtime
from orchestration.gateway.wait import GatewayReady, WaitEvent, WaitEventKind, check_ready_now, wait_until_ready
from orchestration.settings import Settings
from orchestration.system.clock import SystemClock
from orchestration.system.commands import SystemCommands
from orchestration.system.processes import ProcessIdentity, is_running
from tests.system import find_free_port, wait_until

FAR_FROM_NOW = f"{(time.gmtime().tm_hour + 12) % 24:02}:00-{(time.gmtime().tm_hour + 12) % 24:02}:30 UTC"


@dataclass
class Scene:
    """One instance on the built-in gateway, with a port of its own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    events: list[WaitEvent] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = find_free_port()
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        self.environ = inherited | {
            "GATEWAY_RUNTIME": "simulator",
            "GATEWAY_PORT": str(self.port),
            "STATE_DIR": str(self.folder / "state"),
            "LOG_DIR": str(self.folder / "logs"),
            "GATEWAY_SHARED_DIR": str(self.folder / "shared"),
            "GATEWAY_HEALTH_TIMEOUT": "30",
            "GATEWAY_HEALTH_RETRY_INTERVAL": "0.1",
            "BROKER_RESET_WINDOWS": FAR_FROM_NOW,
        }

    def settings(self) -> Settings:
        return Settings.from_environ(self.environ)

    def runtime(self) -> Runtime:
        return build_runtime(self.settings(), commands=SystemCommands(), clock=SystemClock())

    def start(self, faults: str = "", **environ: str) -> bool:
        self.environ |= {"SIMULATOR_FAULTS": faults, **environ}
        return self.runtime().ensure_started(on_progress=self.progress.append)

    def wait(self) -> GatewayReady:
        return wait_until_ready(
            self.runtime(),
            self.settings(),
            clock=SystemClock(),
            probe=probe_api,
            on_event=self.events.append,
            on_progress=lambda _elapsed_s, _left_s, text: self.progress.append(text),
        )

    def fail(self) -> StartupFailure:
        with pytest.raises(StartupFailure) as failed:
            self.wait()
        return failed.value

    def told(self) -> list[WaitEventKind]:
        return [event.kind for event in self.events]

    def identity(self) -> ProcessIdentity:
        record = read_record(self.settings().state_dir)
        assert record is not None
        assert record.pid is not None
        return ProcessIdentity(pid=record.pid, birth=record.birth)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.environ["GATEWAY_RUNTIME"] = "simulator"
    scene.runtime().stop(timeout_s=5.0)


@pytest.mark.skipif(os.name != "posix", reason="arguments of other processes")
@pytest.mark.parametrize("content", [None, b"{", b'{"runtime": "simulator", "host": "h", "port": 1, "pid": -1}'])
def test_a_simulator_whose_launcher_died_before_recording_it_is_found_by_its_arguments(
    scene: Scene, content: bytes | None
) -> None:
    scene.start()
    first = scene.identity()
    path = scene.settings().state_dir / "gateway.json"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert scene.runtime().probe().state is ContainerState.RUNNING
    assert not scene.start()
    assert any(f"process {first.pid}" in line for line in scene.progress)
    assert scene.runtime().stop(timeout_s=10.0)
    assert not is_running(first)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30.0
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_the_simulator_is_started_once_and_found_again(scene: Scene) -> None:
    assert scene.runtime().probe().state is ContainerState.MISSING
    assert scene.start()
    first = scene.identity()
    assert scene.wait().is_simulated
    assert not scene.start()
    assert scene.identity() == first
    assert check_ready_now(scene.runtime(), scene.settings(), clock=SystemClock(), probe=probe_api).accounts == (
        "DU1234567",
    )
    assert scene.runtime().stop(timeout_s=10.0)
    assert not is_running(first)
    assert scene.runtime().probe().state is ContainerState.EXITED


def test_a_simulator_on_another_port_than_configured_now_is_replaced(scene: Scene) -> None:
    scene.start()
    first = scene.identity()
    other = Scene(scene.folder)
    other.start()
    assert not is_running(first)
    other.wait()


def test_a_port_that_another_program_holds_is_named_with_its_holder(scene: Scene) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", scene.port))
        listener.listen()
        with pytest.raises(StartupFailure) as failed:
            scene.start()
    assert failed.value.word is FailureWord.GATEWAY_START_FAILED
    assert f"process {os.getpid()} ({psutil.Process().name()})" in failed.value.message
    assert any("cannot listen" in line for line in failed.value.evidence)


def test_a_fault_that_does_not_exist_is_a_failed_start(scene: Scene) -> None:
    with pytest.raises(StartupFailure) as failed:
        scene.start("no_such_fault")
    assert failed.value.word is FailureWord.GATEWAY_START_FAILED
    assert any("no_such_fault" in line for line in failed.value.evidence)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ("slow_login=60", "nothing answers on port"),
        ("accepts_silent", "the API is silent"),
        ("accepts_closes", "hangs up"),
        ("garbage", "not the gateway's API"),
        ("half_frame", "the API is silent"),
        ("error=502", "not connected"),
        ("error=504", "not connected"),
        ("error=10141", "disclaimer"),
        ("error=326", "client ids of the check are in use"),
        ("error=1100", "lost its link to the broker"),
        ("error=2110", "lost its link to the broker"),
        ("session_taken", "logged in elsewhere"),
    ],
)
def test_what_is_not_ready_is_never_taken_for_ready_and_has_its_own_words(
    scene: Scene, faults: str, words: str
) -> None:
    scene.start(faults, GATEWAY_RECOVERY="alert", GATEWAY_HEALTH_TIMEOUT="2", HEALTH_CHECK_TIMEOUT="1")
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert words in failure.message
    assert failure.next_action
    assert any("SIMULATED" in line or "IBC" in line for line in failure.evidence)


@pytest.mark.parametrize(
    "faults",
    ["slow_login=1.5", "error=10141:1", "error=326:5x", "error=502:3x", "error=1100:1.5", "error=2110:1"],
)
def test_what_becomes_ready_in_time_is_ready(scene: Scene, faults: str) -> None:
    scene.start(faults)
    assert scene.wait().accounts == ("DU1234567",)
    assert not scene.wait().restarted


@pytest.mark.parametrize("code", [2103, 2105, 2157])
def test_a_broken_farm_is_ready_with_a_warning(scene: Scene, code: int) -> None:
    scene.start(f"error={code}")
    (warning,) = scene.wait().warnings
    assert str(code) in warning
    assert scene.told()[-1] is WaitEventKind.FARMS_BROKEN


def test_a_second_factor_that_is_granted_leads_to_ready(scene: Scene) -> None:
    scene.start("second_factor=2", GATEWAY_HEALTH_TIMEOUT="1")
    scene.wait()
    assert scene.told()[:2] == [WaitEventKind.SECOND_FACTOR_NEEDED, WaitEventKind.SECOND_FACTOR_GRANTED]


def test_the_built_in_gateways_own_log_says_how_far_its_login_has_come(scene: Scene) -> None:
    scene.start("second_factor=never")

    def look() -> GatewayLook:
        settings = scene.settings()
        return probe_gateway(scene.runtime(), settings.gateway, settings, SystemClock())

    wait_until(lambda: look().login is LoginPhase.SECOND_FACTOR, "a challenge that launcher.log tells of")
    assert look().full_login_at is None
    scene.runtime().stop(timeout_s=5.0)
    assert look().login is LoginPhase.UNKNOWN
    scene.start()
    scene.wait()
    wait_until(lambda: look().login is LoginPhase.LOGGED_IN, "a login that launcher.log tells of")
    assert look().full_login_at is not None


def test_a_second_factor_that_is_not_granted_fails_without_a_restart(scene: Scene) -> None:
    scene.start("second_factor=never", GATEWAY_HEALTH_TIMEOUT="1", GATEWAY_TWOFA_TIMEOUT="1")
    before = scene.identity()
    assert scene.fail().word is FailureWord.GATEWAY_SECOND_FACTOR
    assert scene.identity() == before
    assert is_running(before)


def test_too_many_attempts_while_second_factors_go_unanswered_stop_nothing(scene: Scene) -> None:
    scene.start("second_factor=never:0.3:relogin", GATEWAY_HEALTH_TIMEOUT="2", GATEWAY_TWOFA_TIMEOUT="3")
    before = scene.identity()
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_SECOND_FACTOR
    assert any("Too many failed login attempts" in line for line in failure.evidence)
    assert scene.told() == [WaitEventKind.SECOND_FACTOR_NEEDED]
    assert scene.identity() == before
    assert is_running(before)
    with pytest.raises(StartupFailure) as looked:
        check_ready_now(scene.runtime(), scene.settings(), clock=SystemClock(), probe=probe_api)
    assert looked.value.word is FailureWord.GATEWAY_SECOND_FACTOR


def test_a_second_factor_that_is_granted_after_too_many_attempts_leads_to_ready(scene: Scene) -> None:
    scene.start("second_factor=4:0.3:relogin", GATEWAY_HEALTH_TIMEOUT="2", GATEWAY_TWOFA_TIMEOUT="30")
    before = scene.identity()
    assert not scene.wait().restarted
    assert scene.identity() == before


def test_a_wrong_password_stops_the_login_loop(scene: Scene) -> None:
    scene.start("wrong_password=0.3")
    before = scene.identity()
    assert scene.fail().word is FailureWord.GATEWAY_LOGIN_FAILED
    assert not is_running(before)


def test_one_failed_login_that_is_followed_by_nothing_stops_nothing(scene: Scene) -> None:
    scene.start("wrong_password=600", GATEWAY_HEALTH_TIMEOUT="1", GATEWAY_RECOVERY="alert")
    assert scene.fail().word is FailureWord.GATEWAY_TIMEOUT
    assert is_running(scene.identity())
    assert scene.told() == [WaitEventKind.LOGIN_FAILED_ONCE]


@pytest.mark.parametrize("faults", ["wrong_account", "accounts=DU1234567+U7654321"])
def test_the_wrong_account_is_refused(scene: Scene, faults: str) -> None:
    scene.start(faults)
    assert scene.fail().word is FailureWord.GATEWAY_WRONG_ACCOUNT


def test_a_simulator_that_dies_during_the_wait_is_started_again_once(scene: Scene) -> None:
    scene.start("slow_login=60,dies_after=0.5,first_start_only")
    before = scene.identity()
    assert scene.wait().restarted
    assert scene.identity() != before
    assert scene.told().count(WaitEventKind.RESTARTING) == 1


def test_a_silent_api_is_mended_by_the_one_restart(scene: Scene) -> None:
    scene.start("accepts_silent,first_start_only", GATEWAY_HEALTH_TIMEOUT="3", HEALTH_CHECK_TIMEOUT="1")
    assert scene.wait().restarted


def test_the_simulator_outlives_its_launcher_and_its_log_goes_on(scene: Scene) -> None:
    scene.start()
    record = read_record(scene.settings().state_dir)
    assert record is not None
    assert os.getsid(scene.identity().pid) == scene.identity().pid, "a session of its own"
    scene.wait()
    heard: list[str] = []
    following = scene.runtime().follow_log(heard.append)
    wait_for(lambda: any("API listening" in line for line in heard))
    assert scene.runtime().stop(timeout_s=10.0)
    wait_for(lambda: "API listening" not in heard[-1])
    following.close()
    assert not following.is_running


def test_an_external_gateway_is_found_when_it_comes_and_never_touched(scene: Scene) -> None:
    scene.environ |= {"GATEWAY_RUNTIME": "external"}
    late = Scene(scene.folder / "late")
    late.environ["GATEWAY_PORT"] = str(scene.port)
    timer = threading.Timer(1.0, late.start)
    timer.start()
    try:
        assert scene.wait().accounts == ("DU1234567",)
        for refused in (scene.runtime().restart, lambda: scene.runtime().stop(timeout_s=1.0)):
            with pytest.raises(StartupFailure) as failed:
                refused()
            assert failed.value.word is FailureWord.CONFIG_INVALID
    finally:
        timer.join()
        late.runtime().stop(timeout_s=5.0)
