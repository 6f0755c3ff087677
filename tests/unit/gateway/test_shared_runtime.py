"""Two instances on one gateway: who acts, who finds that it was done, and what neither undoes."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.history import RESTART_SPACING_S, GatewayUser, Spared, StopReason
from orchestration.gateway.record import GatewayRecord
from orchestration.gateway.runtime import RestartKind, Runtime, Start
from orchestration.gateway.shared_runtime import SharedRuntime
from orchestration.gateway.shared_state import SharedGatewayState, name_container, name_engine
from orchestration.settings import GatewayRuntime, Settings
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import RUNNING, FakeRuntime

MOMENTUM_BOT = GatewayUser(instance="momentum", detail="the bot of instance momentum, process 7", has_bot=True)
MOMENTUM_RUN = replace(MOMENTUM_BOT, detail="instance momentum: process 8", has_bot=False)


@dataclass
class Scene:
    """One gateway, and the instances `meanrev` and `momentum` that use it."""

    folder: Path
    gateway: FakeRuntime
    clock: FakeClock

    def shared_state(self, instance: str) -> SharedGatewayState:
        settings = Settings.from_environ(
            {"INSTANCE": instance, "GATEWAY_SHARED_DIR": str(self.folder / "shared")}, project_dir=self.folder
        )
        return SharedGatewayState(settings, "container-ibkr-gateway", clock=self.clock)

    def of(self, instance: str, *users: GatewayUser) -> Runtime:
        return SharedRuntime(self.gateway, self.shared_state(instance), clock=self.clock, find_users=lambda _: users)

    def restart_lost(self, runtime: Runtime, *, yields: bool = False) -> Spared | None:
        """Restart for the start that is seen now."""
        return _restart(runtime, runtime.probe().start, yields=yields)


def _restart(runtime: Runtime, about: Start, *, yields: bool = False) -> Spared | None:
    told: list[str] = []
    spared = runtime.restart_lost(
        about,
        yields=yields,
        on_restart=lambda: told.append("restart"),
        on_progress=told.append,
    )
    assert told == ([] if spared else ["restart"]), "told exactly when it is done"
    return spared


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, FakeRuntime(status=RUNNING), FakeClock())


def test_the_second_finds_a_newer_start_and_leaves_it_alone(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    about = meanrev.probe().start
    assert _restart(meanrev, about) is None
    spared = _restart(momentum, about)
    assert spared is not None
    assert spared.is_restarted
    assert "instance meanrev restarted it" in spared.why
    assert scene.gateway.restarts == 1


def test_a_start_by_another_program_is_left_alone_too(scene: Scene) -> None:
    meanrev = scene.of("meanrev")
    about = meanrev.probe().start
    scene.gateway.start_anew()
    spared = _restart(meanrev, about)
    assert spared is not None
    assert spared.is_restarted
    assert scene.gateway.restarts == 0


def test_a_soft_restart_counts_although_the_container_runs_on(scene: Scene) -> None:
    """Its start is the same as before, as it is for a restart whose maker was killed in the act."""
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    scene.gateway.restarts_as = RestartKind.SOFT
    assert scene.restart_lost(meanrev) is None
    spared = scene.restart_lost(momentum)
    assert spared is not None
    assert "instance meanrev restarted it" in spared.why
    assert momentum.read_history(scene.gateway.probe()).restarts[0].by == "meanrev"
    assert scene.gateway.restarts == 1


def test_together_they_restart_no_more_often_than_one_alone(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    assert scene.restart_lost(meanrev) is None
    scene.clock.sleep(RESTART_SPACING_S - 1)
    assert scene.restart_lost(momentum) is not None
    scene.clock.sleep(1)
    assert scene.restart_lost(momentum) is None
    assert scene.gateway.restarts == 2


def test_a_restart_that_did_not_come_about_delays_no_instance(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    engine_gone = StartupFailure(FailureWord.DOCKER_UNAVAILABLE, "down", next_action="start it")

    def fail() -> None:
        scene.gateway.after_restart = lambda: None
        raise engine_gone

    scene.gateway.after_restart = fail
    with pytest.raises(StartupFailure):
        scene.restart_lost(meanrev)
    assert scene.restart_lost(momentum) is None


def test_a_start_does_not_restart_a_gateway_under_another_instances_bot(scene: Scene) -> None:
    newcomer = scene.of("meanrev", MOMENTUM_BOT)
    spared = scene.restart_lost(newcomer, yields=True)
    assert spared is not None
    assert not spared.is_restarted
    assert "process 7" in spared.why
    assert scene.gateway.restarts == 0


@pytest.mark.parametrize(
    ("users", "state", "yields"),
    [
        ((MOMENTUM_RUN,), ContainerState.RUNNING, True),  # it has no bot yet
        ((MOMENTUM_BOT,), ContainerState.EXITED, True),  # no bot works on a dead gateway
        ((MOMENTUM_BOT,), ContainerState.RUNNING, False),  # a supervisor repairs what all of them need
    ],
)
def test_a_gateway_that_serves_no_bot_is_restarted(
    scene: Scene, users: tuple[GatewayUser, ...], state: ContainerState, *, yields: bool
) -> None:
    scene.gateway.status = replace(RUNNING, state=state)
    assert scene.restart_lost(scene.of("meanrev", *users), yields=yields) is None
    assert scene.gateway.restarts == 1


def test_the_last_one_stops_the_gateway(scene: Scene) -> None:
    left = scene.of("meanrev", MOMENTUM_RUN).stop_unless_used(timeout_s=1.0, on_progress=_ignore)
    assert left.users == (MOMENTUM_RUN,)
    assert scene.gateway.stops == 0
    left = scene.of("momentum").stop_unless_used(timeout_s=1.0, on_progress=_ignore)
    assert left.users == ()
    assert left.in_time
    assert scene.gateway.stops == 1


def test_a_stop_on_purpose_holds_it_down_until_a_person_starts_it(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    meanrev.stop(timeout_s=1.0)
    stop = momentum.read_history(momentum.probe()).stop
    assert stop is not None
    assert (stop.by, stop.reason) == ("meanrev", StopReason.ASKED)
    with pytest.raises(StartupFailure, match="instance meanrev stopped it"):
        scene.restart_lost(momentum)
    assert momentum.ensure_started(on_progress=_ignore), "a start is what a person does"
    assert momentum.read_history(momentum.probe()).stop is None
    scene.gateway.status = replace(RUNNING, state=ContainerState.EXITED)
    assert momentum.read_history(momentum.probe()).stop is None, "it has ended by itself since"


def test_a_gateway_that_was_started_by_hand_has_outlived_the_stop(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    meanrev.stop(timeout_s=1.0)
    scene.gateway.start_anew()
    assert momentum.read_history(momentum.probe()).stop is None
    assert isinstance(scene.gateway.status, type(RUNNING))
    scene.gateway.status = replace(scene.gateway.status, state=ContainerState.EXITED)
    assert momentum.read_history(momentum.probe()).stop is None, "that start is not the one that was stopped"
    assert scene.restart_lost(momentum) is None


def test_a_container_that_was_stopped_and_removed_is_still_down_on_purpose(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    meanrev.stop(timeout_s=1.0)
    scene.gateway.status = replace(RUNNING, state=ContainerState.MISSING, id="", started_at=None)
    assert momentum.read_history(momentum.probe()).stop is not None


def test_a_rejected_password_is_tried_again_only_by_who_found_it(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    meanrev.stop(timeout_s=1.0, reason=StopReason.LOGIN_REJECTED)
    momentum.stop(timeout_s=1.0, reason=StopReason.LOGIN_REJECTED)  # it saw the same, a moment later
    with pytest.raises(StartupFailure) as refused:
        momentum.ensure_started(on_progress=_ignore)
    assert refused.value.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert "start instance meanrev first" in refused.value.next_action
    with pytest.raises(StartupFailure) as refused:
        scene.restart_lost(momentum)
    assert refused.value.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert not scene.gateway.probe().is_up, "each of these would have been another login"
    assert meanrev.ensure_started(on_progress=_ignore)
    assert not momentum.ensure_started(on_progress=_ignore), "it runs again: there is nothing to do"


def test_a_person_can_lift_a_stop_from_any_instance(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    meanrev.stop(timeout_s=1.0, reason=StopReason.LOGIN_REJECTED)
    momentum.lift_stop()
    assert momentum.ensure_started(on_progress=_ignore)


def test_no_instance_is_told_of_its_own_restarts(scene: Scene) -> None:
    meanrev, momentum = scene.of("meanrev"), scene.of("momentum")
    meanrev.restart()
    assert meanrev.read_history(meanrev.probe()).restarts == ()
    (other,) = momentum.read_history(momentum.probe()).restarts
    assert (other.by, other.at_s) == ("meanrev", scene.clock.monotonic_s())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"restarts": 5}', '{"boot": 1, "restarts": [], "stop": 7}']
)
def test_a_ledger_that_cannot_be_understood_says_nothing(scene: Scene, content: str) -> None:
    runtime = scene.of("meanrev")
    runtime.restart()
    (file,) = (scene.folder / "shared" / "gateways").glob("*.json")
    file.write_text(content, encoding="utf-8")
    assert scene.of("momentum").read_history(None).restarts == ()
    runtime.restart()
    assert len(scene.of("momentum").read_history(runtime.probe()).restarts) == 1, "and is written again"


def test_restarts_before_a_reboot_count_for_nothing(scene: Scene) -> None:
    scene.of("meanrev").restart()
    (file,) = (scene.folder / "shared" / "gateways").glob("*.json")
    text = file.read_text(encoding="utf-8")
    before, _, after = text.partition('"boot": "')
    file.write_text(f'{before}"boot": "another-{after}', encoding="utf-8")
    assert scene.of("momentum").read_history(None).restarts == ()


def test_where_the_shared_folder_cannot_be_written_each_one_acts_alone(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file", encoding="utf-8")
    scene = Scene(tmp_path, FakeRuntime(status=RUNNING), FakeClock())
    assert scene.restart_lost(scene.of("meanrev")) is None
    assert scene.gateway.restarts == 1


@pytest.mark.parametrize(
    ("environ", "engine"),
    [
        ({}, ""),
        ({"DOCKER_HOST": "unix:///var/run/docker.sock"}, ""),
        ({"DOCKER_HOST": "tcp://10.0.0.1:2376"}, "tcp://10.0.0.1:2376"),
        ({"DOCKER_CONTEXT": "default"}, ""),
        ({"DOCKER_CONTEXT": "lab"}, "lab"),
        ({"DOCKER_CONTEXT": "default-lab"}, "default-lab"),
        ({"DOCKER_CONTEXT": "lab", "DOCKER_HOST": "tcp://10.0.0.1:2376"}, "tcp://10.0.0.1:2376"),
    ],
)
def test_containers_of_one_name_on_two_engines_are_two_gateways(environ: dict[str, str], engine: str) -> None:
    settings = Settings.from_environ(environ)
    assert name_engine(settings) == engine
    assert (name_container(settings, "ibkr-gateway") == "container-ibkr-gateway") is (engine == "")


def test_a_simulators_process_is_known_to_all(scene: Scene) -> None:
    process = GatewayRecord(runtime=GatewayRuntime.SIMULATOR, host="127.0.0.1", port=4002, pid=77, birth="b")
    scene.shared_state("meanrev").note_started(process=process)
    scene.shared_state("momentum").note_restart(RUNNING)
    assert scene.shared_state("momentum").read_process() == process


def _ignore(text: str) -> None:
    del text


def test_its_users_are_found_without_waiting_for_one_that_is_at_work(scene: Scene) -> None:
    (scene.folder / "shared" / "gateways").mkdir(parents=True)
    with scene.shared_state("momentum").hold("start", _ignore):
        left = scene.of("meanrev", MOMENTUM_RUN).stop_unless_used(timeout_s=1.0, on_progress=_ignore)
    assert left.users == (MOMENTUM_RUN,)


def test_an_instance_that_was_killed_in_the_act_delays_no_other(scene: Scene) -> None:
    momentum = scene.of("momentum")
    with scene.shared_state("meanrev").hold("restart", _ignore):
        scene.shared_state("meanrev").note_restart(scene.gateway.probe())
        assert len(momentum.read_history(momentum.probe()).restarts) == 1, "while it is at it, it is waited for"
    assert momentum.read_history(momentum.probe()).restarts == (), (
        "no instance is at it, and the start is still the same"
    )
    assert scene.restart_lost(momentum) is None
    assert scene.gateway.restarts == 1
