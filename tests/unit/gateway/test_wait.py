"""The loop around the readiness machine, in simulated time."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.api_status import ApiCode, ApiState, ApiStatus
from orchestration.gateway.container import GatewayStatus, Health
from orchestration.gateway.failure import GatewayFailure, GatewaySnapshot
from orchestration.gateway.history import GatewayUser, Spared, StopReason, name_start
from orchestration.gateway.messages import describe_health_check
from orchestration.gateway.wait import GatewayReady, WaitEvent, WaitEventKind, check_ready_now, wait_until_ready
from orchestration.settings import GatewayRuntime, Settings
from orchestration.system.signals import InterruptedBySignal
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import FARMS_BROKEN, HEALTHY, LINK_DOWN, READY, RUNNING, UNHEALTHY, FakeProbe, FakeRuntime, api

GONE = replace(RUNNING, state=ContainerState.EXITED, exit_code=1)
ENGINE_GONE = StartupFailure(FailureWord.DOCKER_UNAVAILABLE, "down", next_action="start it")
UNKNOWN = GatewayStatus(state=ContainerState.UNKNOWN)
PASSWORD = "planted-password"  # noqa: S105 - planted, looked for in everything that is shown


@dataclass
class Scene:
    """A wait with everything fake."""

    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    probe: FakeProbe = field(default_factory=FakeProbe)
    clock: FakeClock = field(default_factory=FakeClock)
    environ: dict[str, str] = field(default_factory=lambda: {"TWS_PASSWORD": PASSWORD})
    events: list[WaitEvent] = field(default_factory=list)
    progress: list[tuple[float, float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.probe.is_open = self._is_logged_in

    def _is_logged_in(self) -> bool:
        """The API opens with the login, and so the container's health check passes then."""
        status = self.runtime.status
        return isinstance(status, GatewayStatus) and status.health in {Health.HEALTHY, Health.NONE}

    def at(self, after_s: float, happening: Callable[[], None]) -> None:
        self.clock.plan(after_s, happening)

    def wait(self, *, requires_health_check: bool | None = None) -> GatewayReady:
        begun_s = self.clock.monotonic_s()
        try:
            return wait_until_ready(
                self.runtime,
                Settings.from_environ(self.environ),
                clock=self.clock,
                probe=self.probe,
                on_event=self.events.append,
                on_progress=lambda *told: self.progress.append(told),
                requires_health_check=requires_health_check,
            )
        finally:
            self.took_s = self.clock.monotonic_s() - begun_s
            assert not any(following.is_running for following in self.runtime.followings), "left a follower behind"

    def fail(self) -> StartupFailure:
        with pytest.raises(StartupFailure) as failed:
            self.wait()
        assert failed.value.next_action
        return failed.value

    def told(self) -> list[WaitEventKind]:
        return [event.kind for event in self.events]


def test_a_ready_gateway_is_ready_without_a_wait() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY))
    ready = scene.wait()
    assert ready == GatewayReady(
        runtime=GatewayRuntime.DOCKER,
        container="ibkr-gateway",
        server_version=178,
        accounts=("DU1234567",),
        latency_ms=2.0,
        skew_s=0.0,
        server_time=None,
        restarted=False,
        warnings=(),
        container_started_at=RUNNING.started_at,
        is_simulated=False,
        start=name_start(HEALTHY),
        seen=GatewaySnapshot(
            runtime=GatewayRuntime.DOCKER,
            container="ibkr-gateway",
            state="running",
            health="healthy",
            login="unknown",
            docker_restarts=0,
            restarted=False,
            server_version=178,
            accounts=("DU1234567",),
            latency_ms=2.0,
            skew_s=0.0,
        ),
    )
    assert scene.took_s == 0


def test_the_moment_the_container_turns_healthy_is_the_moment_of_the_handshake() -> None:
    scene = Scene()
    scene.at(33.3, lambda: scene.runtime.become(HEALTHY))
    scene.wait()
    assert scene.took_s == pytest.approx(33.3)
    assert scene.probe.calls == 1, "no handshake before it is healthy: that would only fill the gateway's log"


@pytest.mark.parametrize(
    ("answers", "reads"), [((READY,), 0), ((LINK_DOWN, READY), 1)], ids=["works", "without its link first"]
)
def test_where_log_and_api_say_that_it_is_logged_in_no_process_reads_the_gateways_own_log(
    answers: tuple[ApiStatus, ...], reads: int
) -> None:
    scene = Scene(FakeRuntime(status=HEALTHY, launcher_lines=[]))
    scene.runtime.say("IBC: Login has completed")
    scene.probe.answers = list(answers)
    ready = scene.wait()
    assert scene.runtime.launcher_reads == reads
    assert ready.seen is not None
    assert ready.seen.login == "logged_in"


def test_while_nothing_happens_the_container_is_hardly_looked_at() -> None:
    scene = Scene()
    scene.at(60.0, lambda: scene.runtime.become(HEALTHY))
    scene.wait()
    assert scene.runtime.looks <= 60 / 5 + 4


def test_a_change_without_an_event_is_found_all_the_same() -> None:
    scene = Scene()
    scene.at(20.0, lambda: scene.runtime.become(HEALTHY, silently=True))
    scene.wait()
    assert scene.took_s <= 26.0


def test_without_events_the_container_is_looked_at_each_interval() -> None:
    scene = Scene(FakeRuntime(has_events=False))
    scene.at(20.2, lambda: scene.runtime.become(HEALTHY))
    scene.wait()
    assert scene.took_s == pytest.approx(20.5)


def test_an_api_that_is_not_ready_is_asked_again_each_interval() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([api(ApiState.CLOSED), api(ApiState.DISCLAIMER), READY]))
    scene.wait()
    assert scene.took_s == pytest.approx(1.0)
    assert "hangs up" in scene.progress[0][2]
    assert "disclaimer" in scene.progress[1][2]


def test_an_external_gateway_is_waited_for_through_its_api_alone() -> None:
    runtime = FakeRuntime(
        status=UNKNOWN, kind=GatewayRuntime.EXTERNAL, container_name=None, can_control=False, has_events=False
    )
    scene = Scene(runtime, FakeProbe([*[api(ApiState.REFUSED)] * 5, READY]))
    assert scene.wait().container is None
    assert scene.took_s == pytest.approx(2.5)


def test_an_external_gateway_is_never_restarted() -> None:
    runtime = FakeRuntime(status=UNKNOWN, kind=GatewayRuntime.EXTERNAL, can_control=False, has_events=False)
    scene = Scene(runtime, FakeProbe([api(ApiState.REFUSED)]))
    assert scene.fail().word is FailureWord.GATEWAY_TIMEOUT
    assert scene.took_s == pytest.approx(120.0)


def test_ready_exactly_at_the_deadline_is_success() -> None:
    scene = Scene()
    # Between two looks of the safety net, so that only the last look can see it.
    scene.environ |= {"GATEWAY_RECOVERY": "alert", "GATEWAY_HEALTH_TIMEOUT": "122"}
    scene.at(122.0, lambda: scene.runtime.become(HEALTHY, silently=True))
    scene.wait()
    assert scene.took_s == pytest.approx(122.0)


def test_a_clock_that_is_set_changes_no_deadline() -> None:
    scene = Scene()
    scene.environ["GATEWAY_RECOVERY"] = "alert"
    scene.at(10.0, lambda: scene.clock.jump(3600.0))
    scene.at(20.0, lambda: scene.clock.jump(-7200.0))
    scene.fail()
    assert scene.took_s == pytest.approx(120.0)


def test_not_ready_in_time_is_restarted_once_and_waited_for_once_more() -> None:
    scene = Scene()
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert "also after one restart" in failure.message
    assert scene.runtime.restarts == 1
    assert scene.took_s == pytest.approx(240.0)


def test_what_becomes_ready_after_the_restart_is_ready_and_says_so() -> None:
    scene = Scene()
    scene.runtime.after_restart = lambda: scene.at(5.0, lambda: scene.runtime.become(_healthy(scene.runtime)))
    ready = scene.wait()
    assert ready.restarted
    assert scene.told() == [WaitEventKind.RESTARTING]
    assert scene.took_s == pytest.approx(125.0)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ((), "it has said nothing yet"),
        (("health check ended with 1: refused",), "health check ended with 1: refused"),
        (("health check ended with 1", "health check ended with 0"), "the last one passed"),
        (("health check ended with 0: ok",), "the last one passed"),
        (("health check ended with 09",), "health check ended with 09"),
    ],
)
def test_a_health_check_that_passed_is_not_given_as_the_reason_for_one_that_does_not(
    log: tuple[str, ...], said: str
) -> None:
    assert describe_health_check(replace(UNHEALTHY, health_log=log)) == said


def test_an_unhealthy_container_is_restarted_at_once_with_the_evidence() -> None:
    scene = Scene(FakeRuntime(log=["IBC: Login attempt: 1", f"java.lang.OutOfMemoryError {PASSWORD}"]))
    unhealthy = replace(UNHEALTHY, health_log=("health check ended with 1: refused",))
    scene.at(10.0, lambda: scene.runtime.become(unhealthy))
    scene.runtime.after_restart = lambda: scene.at(5.0, lambda: scene.runtime.become(_healthy(scene.runtime)))
    scene.wait()
    (event,) = scene.events
    assert event.kind is WaitEventKind.RESTARTING
    assert "unhealthy" in event.message
    assert event.evidence == (
        "health check ended with 1: refused",
        "IBC: Login attempt: 1",
        "java.lang.OutOfMemoryError ********",
    )
    assert scene.took_s == pytest.approx(15.0)


def test_a_container_that_says_last_that_it_is_unhealthy_fails_as_such() -> None:
    scene = Scene(FakeRuntime(status=UNHEALTHY))
    scene.runtime.after_restart = lambda: scene.runtime.become(
        replace(_healthy(scene.runtime), health=Health.UNHEALTHY)
    )
    assert scene.fail().word is FailureWord.GATEWAY_UNHEALTHY
    assert scene.runtime.restarts == 1


def test_a_container_whose_check_never_passes_is_restarted_at_the_deadline_only_while_its_api_works() -> None:
    unhealthy = replace(UNHEALTHY, health_log=("health check ended with 127: nc: not found",))
    scene = Scene(FakeRuntime(status=unhealthy))
    scene.probe.is_open = lambda: True
    scene.runtime.after_restart = lambda: scene.runtime.become(
        replace(unhealthy, started_at=_healthy(scene.runtime).started_at)
    )
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_UNHEALTHY
    assert "nc: not found" in failure.message
    assert "GATEWAY_HEALTH_CHECK=ignore" in failure.next_action
    assert scene.runtime.restarts == 1
    assert scene.took_s == pytest.approx(240.0, abs=2.0)
    assert scene.probe.calls <= 2 * 120 / 10 + 4, "its log is evidence, and not to be filled"


def test_a_container_whose_check_is_ignored_is_ready_as_soon_as_its_api_works() -> None:
    scene = Scene(FakeRuntime(status=UNHEALTHY), environ={"GATEWAY_HEALTH_CHECK": "ignore"})
    scene.probe.is_open = lambda: True
    scene.wait()
    assert scene.took_s == 0


def test_a_supervisor_that_validates_its_gateway_again_takes_a_failing_check_for_a_warning() -> None:
    scene = Scene(FakeRuntime(status=UNHEALTHY))
    scene.probe.is_open = lambda: True
    ready = scene.wait(requires_health_check=False)
    assert scene.took_s == 0
    assert "health check fails" in ready.warnings[0]


def test_what_an_unhealthy_container_has_said_is_read_before_it_is_judged() -> None:
    said = ["IBC: Login attempt: 1", "IBC: Second Factor Authentication initiated"]
    scene = Scene(FakeRuntime(status=UNHEALTHY, log=said, is_follower_slow=True))
    assert scene.fail().word is FailureWord.GATEWAY_SECOND_FACTOR
    assert scene.runtime.restarts == 0, "a restart sends a new push"


def test_a_wait_that_is_prolonged_after_a_late_login_does_not_spin() -> None:
    scene = Scene()
    scene.environ["GATEWAY_RECOVERY"] = "alert"
    scene.at(119.0, lambda: scene.runtime.say("IBC: Login has completed"))
    scene.fail()
    assert scene.took_s == pytest.approx(149.0, abs=1.5)
    assert min(scene.clock.waits_s[:-1]) > 0


def test_a_container_that_crashes_again_and_again_is_stopped_when_the_wait_fails() -> None:
    scene = Scene()
    for number in range(1, 8):
        scene.at(30.0 * number, lambda: scene.runtime.start_anew(RUNNING))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert "stopped" in failure.message
    assert scene.runtime.stop_reasons == [StopReason.FAILING]


def test_one_that_crashes_under_another_instances_bot_is_left_to_it() -> None:
    user = GatewayUser(instance="meanrev", detail="the bot of instance meanrev, process 7", has_bot=True)
    scene = Scene(FakeRuntime(users=(user,)))
    for number in range(1, 8):
        scene.at(30.0 * number, lambda: scene.runtime.start_anew(RUNNING))
    failure = scene.fail()
    assert scene.runtime.stops == 0
    assert "process 7" in failure.message


@pytest.mark.parametrize("faults", ["unhealthy", "crashing", "asked", "no engine", "wrong account"])
def test_a_failed_wait_says_what_is_known_of_the_gateway(faults: str) -> None:
    scene = Scene()
    expected: dict[str, object] = {"state": "running", "health": "starting", "login": "unknown"}
    match faults:
        case "unhealthy":
            scene.runtime.status = UNHEALTHY
            scene.environ["GATEWAY_RECOVERY"] = "alert"
            expected |= {"health": "unhealthy", "restarted": False}
        case "crashing":
            for number in range(1, 4):
                scene.at(30.0 * number, lambda: scene.runtime.start_anew(RUNNING))
            expected |= {"docker_restarts": 3, "restarted": True}
        case "asked":
            scene.runtime.log = ["IBC: Second Factor Authentication initiated"]
            expected |= {"login": "second_factor"}
        case "no engine":
            scene.runtime.status = ENGINE_GONE
            expected |= {"state": None, "health": None}
        case _:
            scene.runtime.status = HEALTHY
            scene.probe.answers = [replace(READY, accounts=("U7654321",))]
            expected |= {"health": "healthy", "accounts": ("U7654321",), "server_version": 178}
    failure = scene.fail()
    assert isinstance(failure, GatewayFailure)
    seen = asdict(failure.seen)
    assert seen | expected == seen
    assert seen["container"] == "ibkr-gateway"


def test_a_container_that_dies_is_started_again_once_and_then_given_up_at_once() -> None:
    scene = Scene()
    scene.at(10.0, lambda: scene.runtime.become(GONE))
    scene.runtime.after_restart = lambda: scene.at(
        5.0, lambda: scene.runtime.become(replace(_healthy(scene.runtime), state=ContainerState.EXITED, exit_code=1))
    )
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert "exited with code 1" in failure.message
    assert scene.took_s < 25.0


def test_where_another_monitor_restarts_nothing_is_restarted_and_the_gateway_may_come_back() -> None:
    scene = Scene()
    scene.environ["GATEWAY_RECOVERY"] = "alert"
    scene.at(10.0, lambda: scene.runtime.become(GONE))
    scene.at(50.0, lambda: scene.runtime.start_anew(HEALTHY))
    assert not scene.wait().restarted
    assert scene.runtime.restarts == 0


def test_a_restart_that_fails_ends_the_wait_with_its_reason() -> None:
    failure = StartupFailure(FailureWord.GATEWAY_START_FAILED, "no", next_action="look")

    def refuse() -> None:
        raise failure

    scene = Scene(FakeRuntime(status=UNHEALTHY, after_restart=refuse))
    assert scene.fail() is failure


def test_a_second_factor_is_told_at_once_and_waited_for_longer() -> None:
    scene = Scene()
    scene.at(7.0, lambda: scene.runtime.say("IBC: Second Factor Authentication initiated"))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_SECOND_FACTOR
    assert scene.told() == [WaitEventKind.SECOND_FACTOR_NEEDED]
    assert scene.events[0].evidence == ("IBC: Second Factor Authentication initiated",)
    assert "phone" in scene.events[0].next_action
    assert scene.runtime.restarts == 0
    assert scene.took_s == pytest.approx(300.0)


def test_a_second_factor_that_is_granted_late_leads_to_ready() -> None:
    scene = Scene()
    scene.at(7.0, lambda: scene.runtime.say("IBC: Second Factor Authentication initiated"))
    scene.at(200.0, lambda: scene.runtime.say("IBC: Login has completed"))
    scene.at(201.0, lambda: scene.runtime.become(HEALTHY))
    scene.wait()
    assert scene.told() == [
        WaitEventKind.SECOND_FACTOR_NEEDED,
        WaitEventKind.SECOND_FACTOR_GRANTED,
        WaitEventKind.LOGIN_SEEN,
    ]
    assert scene.took_s == pytest.approx(201.0)


def test_a_line_of_the_log_is_heard_when_it_is_written_without_a_look_at_the_container() -> None:
    scene = Scene()
    told_at_s: list[float] = []
    scene.at(7.3, lambda: scene.runtime.say("IBC: Second Factor Authentication initiated"))
    scene.at(8.0, lambda: scene.runtime.become(HEALTHY))
    begun_s = scene.clock.monotonic_s()
    wait_until_ready(
        scene.runtime,
        Settings.from_environ({}),
        clock=scene.clock,
        probe=scene.probe,
        on_event=lambda _: told_at_s.append(scene.clock.monotonic_s() - begun_s),
        on_progress=lambda *_: None,
    )
    assert told_at_s[0] == pytest.approx(7.3)


def test_a_wrong_password_stops_the_container() -> None:
    scene = Scene()
    for attempt in (1, 2):
        scene.at(attempt, lambda: scene.runtime.say("IBC: Login attempt: 1", "IBC: Login failed"))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert "it was stopped" in failure.message
    assert scene.told() == [WaitEventKind.LOGIN_FAILED_ONCE]
    assert (scene.runtime.stops, scene.runtime.restarts) == (1, 0)
    assert failure.evidence[-1] == "IBC: Login failed"


def test_a_container_that_cannot_be_stopped_is_said_to_run_on() -> None:
    scene = Scene(FakeRuntime(log=["IBC: Too many failed login attempts"]))
    scene.runtime.stop_failure = StartupFailure(FailureWord.GATEWAY_START_FAILED, "no answer", next_action="x")
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_LOGIN_FAILED
    assert "could NOT be stopped (no answer)" in failure.message


def test_failed_logins_while_the_broker_resets_its_servers_stop_nothing() -> None:
    scene = Scene()
    scene.environ |= {"BROKER_RESET_WINDOWS": "08:59-09:01 America/New_York", "GATEWAY_RECOVERY": "alert"}
    for attempt in range(3):
        scene.at(attempt + 1.0, lambda: scene.runtime.say("IBC: Login attempt: 1", "IBC: Login failed"))
    assert scene.fail().word is FailureWord.GATEWAY_TIMEOUT
    assert scene.runtime.stops == 0


def test_a_session_that_was_taken_over_is_told_and_never_restarted() -> None:
    scene = Scene(FakeRuntime(log=["IBC: End this session and let the other session proceed"]))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert "Log the other session out" in failure.next_action
    assert scene.told() == [WaitEventKind.SESSION_TAKEN]
    assert scene.runtime.restarts == 0


def test_a_link_that_is_down_is_not_ready_until_it_is_back() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([LINK_DOWN, LINK_DOWN, READY]))
    scene.wait()
    assert scene.told() == [WaitEventKind.LINK_DOWN]
    assert scene.took_s == pytest.approx(1.0)


def test_a_link_that_stays_down_is_no_reason_to_restart() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([LINK_DOWN]))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert "lost its link to the broker" in failure.message
    assert "status page" in failure.next_action
    assert scene.runtime.restarts == 0


def test_broken_farms_are_a_warning() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([FARMS_BROKEN]))
    assert scene.wait().warnings == ("data farms are broken: 2103 Market data farm connection is broken:usfarm",)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (ApiState.REFUSED, "nothing answers on port 4002"),
        (ApiState.SILENT, "the API is silent"),
        (ApiState.GARBAGE, "not the gateway's API"),
        (ApiState.NOT_CONNECTED, "not connected"),
        (ApiState.OUTDATED, "too old for this program"),
        (ApiState.CLIENT_ID_IN_USE, "client ids of the check are in use"),
    ],
)
def test_each_way_of_not_being_ready_has_its_own_words(outcome: ApiState, words: str) -> None:
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([api(outcome)]))
    scene.runtime.after_restart = lambda: scene.runtime.become(_healthy(scene.runtime))
    assert words in scene.fail().message


@pytest.mark.parametrize(
    ("outcome", "code", "advice"),
    [
        (ApiState.OUTDATED, 503, "GATEWAY_IMAGE"),
        (ApiState.NOT_CONNECTED, 502, "Enable ActiveX and Socket Clients"),
        (ApiState.NOT_CONNECTED, 504, "not connected to the broker"),
        (ApiState.NOT_CONNECTED, 1300, "set GATEWAY_PORT"),
        (ApiState.NOT_CONNECTED, 507, "inv logs --of gateway"),
    ],
)
def test_each_code_that_refuses_the_handshake_has_its_own_advice(outcome: ApiState, code: int, advice: str) -> None:
    refused = api(outcome).hear((ApiCode(code=code, text=""),))
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([refused]))
    scene.environ["GATEWAY_RECOVERY"] = "alert"
    assert advice in scene.fail().next_action


def test_a_port_that_is_not_the_containers_is_named() -> None:
    scene = Scene(FakeRuntime(status=replace(HEALTHY, inner_ports=((4001, 4003),))), FakeProbe([api(ApiState.REFUSED)]))
    scene.environ["GATEWAY_RECOVERY"] = "alert"
    assert "publishes port 4001, not GATEWAY_PORT 4002" in scene.fail().message


def test_an_answer_from_a_start_that_has_ended_meanwhile_does_not_count() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY))

    def start_anew_once() -> None:
        if scene.probe.calls == 1:
            scene.runtime.start_anew(RUNNING)

    scene.probe.before = start_anew_once
    scene.at(10.0, lambda: scene.runtime.become(_healthy(scene.runtime)))
    ready = scene.wait()
    assert scene.took_s == pytest.approx(10.0)
    assert ready.container_started_at != RUNNING.started_at


def test_a_crash_loop_is_named() -> None:
    scene = Scene()
    for number in range(4):
        scene.at(number + 1.0, lambda: scene.runtime.start_anew(RUNNING, after_s=1.0))
    scene.environ["GATEWAY_RECOVERY"] = "alert"
    failure = scene.fail()
    assert "crashes again and again (Docker has started it 4 more times)" in failure.message
    assert scene.took_s == pytest.approx(120.0), "Docker's own restarts move no deadline"
    assert scene.told() == [WaitEventKind.CONTAINER_RESTARTED]


def test_an_engine_that_goes_away_for_a_while_is_waited_for() -> None:
    scene = Scene()
    scene.at(10.0, lambda: scene.runtime.become(ENGINE_GONE))
    scene.at(30.0, lambda: scene.runtime.become(HEALTHY, silently=True))
    scene.wait()
    assert scene.told() == [WaitEventKind.ENGINE_LOST]
    assert scene.took_s <= 32.0


def test_an_engine_that_stays_away_is_not_the_gateways_fault() -> None:
    scene = Scene(FakeRuntime(status=ENGINE_GONE))
    assert scene.fail().word is FailureWord.DOCKER_UNAVAILABLE
    assert scene.runtime.restarts == 0
    assert scene.took_s == pytest.approx(120.0)


def test_a_subscription_that_ended_is_taken_up_again() -> None:
    scene = Scene()

    def lose() -> None:
        for following in scene.runtime.followings:
            following.is_running = False

    scene.at(10.0, lose)
    scene.at(20.3, lambda: scene.runtime.become(HEALTHY))
    scene.wait()
    assert scene.took_s == pytest.approx(20.3)


def test_what_an_earlier_start_said_is_forgotten_even_while_its_log_is_still_read() -> None:
    scene = Scene(FakeRuntime(log=["IBC: End this session and let the other session proceed"], ends_logs=False))
    scene.at(10.0, lambda: scene.runtime.start_anew(RUNNING))
    scene.fail()
    assert scene.runtime.restarts == 1, "a session that was taken over is never restarted; this start's was not"


def test_our_own_restart_is_looked_at_again_even_without_an_event() -> None:
    scene = Scene(FakeRuntime(status=UNHEALTHY, tells_of_starts=False))
    scene.runtime.after_restart = lambda: scene.runtime.become(_healthy(scene.runtime), silently=True)
    scene.wait()
    assert scene.took_s < 1.0


def test_an_interruption_leaves_no_follower_behind() -> None:
    scene = Scene()

    def interrupt() -> None:
        raise InterruptedBySignal("SIGTERM")

    scene.at(5.0, interrupt)
    with pytest.raises(InterruptedBySignal):
        scene.wait()


def test_the_wrong_account_is_refused() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([replace(READY, accounts=("U1234567",))]))
    assert scene.fail().word is FailureWord.GATEWAY_WRONG_ACCOUNT


def test_a_person_sees_the_seconds_go_by() -> None:
    scene = Scene()
    scene.at(3.0, lambda: scene.runtime.become(HEALTHY))
    scene.wait()
    assert [(elapsed_s, left_s) for elapsed_s, left_s, _ in scene.progress] == [(0, 120), (1, 119), (2, 118)]


def test_one_look_at_a_ready_gateway_is_enough() -> None:
    runtime, clock, probe = FakeRuntime(status=HEALTHY), FakeClock(), FakeProbe()
    ready = check_ready_now(runtime, Settings.from_environ({}), clock=clock, probe=probe)
    assert ready.accounts == ("DU1234567",)
    assert clock.waits_s == []


@pytest.mark.parametrize(
    ("status", "log", "outcome", "word"),
    [
        (HEALTHY, [], ApiState.CLOSED, FailureWord.GATEWAY_TIMEOUT),
        (RUNNING, [], ApiState.CLOSED, FailureWord.GATEWAY_TIMEOUT),
        (UNHEALTHY, [], ApiState.CLOSED, FailureWord.GATEWAY_UNHEALTHY),
        (UNHEALTHY, [], ApiState.READY, FailureWord.GATEWAY_UNHEALTHY),
        (GONE, [], None, FailureWord.GATEWAY_TIMEOUT),
        (
            RUNNING,
            ["IBC: Second Factor Authentication initiated"],
            ApiState.CLOSED,
            FailureWord.GATEWAY_SECOND_FACTOR,
        ),
        (RUNNING, ["IBC: Too many failed login attempts"], ApiState.CLOSED, FailureWord.GATEWAY_LOGIN_FAILED),
        (ENGINE_GONE, [], None, FailureWord.DOCKER_UNAVAILABLE),
    ],
)
def test_one_look_at_a_gateway_that_is_not_ready_fails_at_once_and_changes_nothing(
    status: GatewayStatus | StartupFailure, log: list[str], outcome: ApiState | None, word: FailureWord
) -> None:
    runtime, clock = FakeRuntime(status=status, log=log), FakeClock()
    probe = FakeProbe([api(outcome)] if outcome is not None else [])
    with pytest.raises(StartupFailure) as failed:
        check_ready_now(runtime, Settings.from_environ({}), clock=clock, probe=probe)
    assert failed.value.word is word
    assert failed.value.next_action
    assert (runtime.restarts, runtime.stops, clock.waits_s) == (0, 0, [])


def _healthy(runtime: FakeRuntime) -> GatewayStatus:
    """The present start, healthy."""
    assert isinstance(runtime.status, GatewayStatus)
    return replace(runtime.status, health=Health.HEALTHY)


@pytest.mark.parametrize(
    ("status", "outcome", "advice"),
    [
        (UNKNOWN, ApiState.REFUSED, "where it runs"),
        (UNKNOWN, ApiState.GARBAGE, "what listens on port"),
        (replace(HEALTHY, inner_ports=((4001, 4003),)), ApiState.REFUSED, "GATEWAY_PORT"),
        (HEALTHY, ApiState.SILENT, "inv logs --of gateway"),
    ],
)
def test_what_to_do_next_leads_to_where_the_cause_is(status: GatewayStatus, outcome: ApiState, advice: str) -> None:
    scene = Scene(FakeRuntime(status=status), FakeProbe([api(outcome)]))
    scene.environ["GATEWAY_RECOVERY"] = "alert"
    assert advice in scene.fail().next_action


def test_a_restart_by_another_instance_counts_as_the_one_of_this_wait() -> None:
    scene = Scene(FakeRuntime(spared=Spared(why="instance momentum restarted it at 10:00:00", is_restarted=True)))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert scene.runtime.restarts == 0
    assert scene.took_s == pytest.approx(240.0), "it has the time of a restart once more, and no more than that"
    assert WaitEventKind.RESTARTING not in scene.told(), "no alert tells of a restart that this run does not make"
    (spared,) = [event for event in scene.events if event.kind is WaitEventKind.RESTART_SPARED]
    assert "instance momentum restarted it" in spared.message


def test_a_gateway_that_another_instances_bot_uses_is_not_restarted_by_a_start() -> None:
    scene = Scene(FakeRuntime(status=UNHEALTHY, spared=Spared(why="it is in use (process 7)", is_restarted=False)))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_UNHEALTHY
    assert "in use (process 7)" in failure.message
    assert "gateway.restart --force" in failure.next_action
    assert scene.runtime.restarts == 0
    assert scene.took_s == pytest.approx(120.0)


def test_one_that_was_in_use_may_become_ready_all_the_same() -> None:
    scene = Scene(FakeRuntime(status=UNHEALTHY, spared=Spared(why="it is in use", is_restarted=False)))
    scene.at(60.0, lambda: scene.runtime.become(HEALTHY))
    assert not scene.wait().restarted


def test_a_stop_for_a_rejected_password_says_so_to_the_other_instances() -> None:
    scene = Scene()
    scene.runtime.say("Too many failed login attempts")
    assert scene.fail().word is FailureWord.GATEWAY_LOGIN_FAILED
    assert scene.runtime.stop_reasons == [StopReason.LOGIN_REJECTED]


def test_a_gateway_that_is_full_is_not_restarted_and_says_so() -> None:
    scene = Scene(FakeRuntime(status=HEALTHY), FakeProbe([api(ApiState.FULL)]))
    failure = scene.fail()
    assert failure.word is FailureWord.GATEWAY_TIMEOUT
    assert "it takes 32 clients" in failure.message
    assert "a second gateway" in failure.next_action
    assert scene.runtime.restarts == 0
