"""Which commands need the lease, and what one without it is told."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.bot.environment import build_bot_environ
from orchestration.errors import FailureWord, StartupFailure
from orchestration.hold import write_hold
from orchestration.lease.held import (
    Role,
    Standing,
    drop,
    fingerprint_login,
    keep,
    name_cause,
    refuse_by_hand,
    require_lease,
)
from orchestration.lease.term import Holder
from orchestration.preflight.lease import find_policy_problem, refuse_policy
from orchestration.settings import Settings
from orchestration.shutdown import BOT_STOP_FIRST, GATEWAY_DOWN, GATEWAY_RESTART, GATEWAY_STOP
from orchestration.startup.admission import InstanceLocks
from orchestration.startup.context import RunSpec
from orchestration.startup.orphan import STOP_LEFT_BEHIND
from orchestration.startup.sequence import STEPS
from orchestration.supervision.standby_gateway import find_reason_for_cold
from orchestration.system.endpoint import Endpoint
from tests.fakes.commands import FakeCommands
from tests.fakes.lease import FakeLease

_LEASED = {"LEASE_ETCD": "http://192.0.2.1:2379", "GATEWAY_RUNTIME": "simulator"}


@pytest.mark.parametrize(
    ("spec", "needs_lease", "may_start"),
    [
        (RunSpec(kind="startup", steps=STEPS), True, True),
        (RunSpec(kind="restart", steps=STEPS[2:]), True, True),
        (RunSpec(kind="gateway.up", steps=STEPS[1:2]), True, True),
        (RunSpec(kind="gateway.restart", steps=(GATEWAY_RESTART,)), True, True),
        (RunSpec(kind="gateway.wait", steps=STEPS[2:3]), False, True),  # it waits, and must not restart
        (RunSpec(kind="preflight", steps=STEPS[:1]), False, False),
        (RunSpec(kind="gameplan.check", steps=STEPS[3:4]), False, False),
        (RunSpec(kind="gateway.down", steps=(GATEWAY_DOWN,)), False, False),
        (RunSpec(kind="shutdown", steps=(BOT_STOP_FIRST, GATEWAY_STOP), starts=False), False, False),
        (STOP_LEFT_BEHIND, False, False),
    ],
)
def test_what_can_lead_to_a_trade_needs_the_lease_and_a_stop_never_does(
    spec: RunSpec, *, needs_lease: bool, may_start: bool
) -> None:
    assert (spec.needs_lease, spec.may_start) == (needs_lease, may_start)


def test_without_the_lease_nothing_is_started_and_one_host_alone_is_asked_nothing() -> None:
    leased = Settings.from_environ(_LEASED)
    with pytest.raises(StartupFailure) as refused:
        InstanceLocks(leased).require()
    assert refused.value.word is FailureWord.LEASED_ELSEWHERE
    InstanceLocks(leased).require_in_place()

    for free in (Settings.from_environ({}), Settings.from_environ(_LEASED, simulated=True)):
        require_lease(free)


def test_a_start_that_does_not_stay_with_its_bot_is_refused_where_a_lease_is_needed() -> None:
    leased = Settings.from_environ(_LEASED)
    with pytest.raises(StartupFailure) as refused:
        refuse_by_hand(leased)
    assert refused.value.word is FailureWord.CONFIG_INVALID
    assert refused.value.message.startswith("LEASE_ETCD")
    for free in (Settings.from_environ({}), Settings.from_environ(_LEASED, simulated=True)):
        refuse_by_hand(free)
    keep(FakeLease())
    try:
        refuse_by_hand(leased)
    finally:
        drop()


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
@pytest.mark.parametrize("container", ["ibkr-gateway", "bot"])
def test_a_container_that_docker_itself_would_start_after_a_boot_is_refused_with_the_command(
    container: str, policy: str
) -> None:
    environ = {"LEASE_ETCD": "http://192.0.2.1:2379", "GATEWAY_CONTAINER_NAME": "ibkr-gateway"}
    environ |= {"BOT_RUNTIME": "docker", "BOT_CONTAINER_NAME": "bot", "BOT_IMAGE": "bot:1"}
    settings = Settings.from_environ(environ)

    def answer(policies: dict[str, str]) -> FakeCommands:
        commands = FakeCommands()
        for name in ("ibkr-gateway", "bot"):
            argv = ("docker", "container", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", name)
            commands.expect(argv, stdout=policies.get(name, "no") + "\n")
        return commands

    assert find_policy_problem(settings, answer({})) is None
    with pytest.raises(StartupFailure) as refused:
        refuse_policy(settings, answer({container: policy}))
    assert refused.value.word is FailureWord.CONFIG_INVALID
    assert f"docker update --restart=no {container}" in refused.value.next_action


def test_the_bot_is_told_the_number_of_the_term_and_without_a_lease_nothing(tmp_path: Path) -> None:
    settings = Settings.from_environ(_LEASED)

    def read_revision() -> str | None:
        environ = build_bot_environ(
            settings, Endpoint(host="127.0.0.1", port=4002), gameplan=tmp_path / "plan.json", notify_socket=None
        )
        return environ.get("LEASE_REVISION")

    assert read_revision() is None
    keep(FakeLease())
    try:
        assert read_revision() == "7"
    finally:
        drop()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"GATEWAY_RUNTIME": "external"}, "LEASE_ETCD"),
        ({"LEASE_ETCD": "http://a:1, https://b:1"}, "LEASE_ETCD"),
        ({"LEASE_ETCD": "a:2379"}, "LEASE_ETCD"),
        ({"LEASE_ETCD": "http://a:2379/v3"}, "LEASE_ETCD"),
        ({"LEASE_CA": "/x"}, "LEASE_CA"),
        ({"LEASE_CERT": "/x"}, "LEASE_CERT"),
        ({"LEASE_KEY": "/x"}, "LEASE_CERT"),
        ({"LEASE_USER": "u"}, "LEASE_USER"),
        ({"LEASE_PASSWORD": "p"}, "LEASE_USER"),
        ({"LEASE_TTL": "2"}, "LEASE_TTL"),
        ({"STANDBY_GATEWAY": "hot"}, "STANDBY_GATEWAY"),  # whose user name?
        (
            {"STANDBY_GATEWAY": "hot", "TWS_USERID": "u", "EXISTING_SESSION_DETECTED_ACTION": "primary"},
            "EXISTING_SESSION_DETECTED_ACTION",
        ),
        ({"STANDBY_GATEWAY": "warm"}, "STANDBY_GATEWAY"),
    ],
)
def test_settings_that_do_not_belong_together_are_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(StartupFailure) as wrong:
        Settings.from_environ(_LEASED | environ)
    assert wrong.value.word is FailureWord.CONFIG_INVALID
    assert [one.partition(":")[0] for one in wrong.value.evidence] == [named]


@pytest.mark.parametrize(
    ("loss", "word", "named"),
    [
        ("no renewal of the lease has counted for 9.1 s", FailureWord.BOT_START_FAILED, FailureWord.LEASE_UNAVAILABLE),
        ("no renewal of the lease has counted for 9.1 s", FailureWord.INTERRUPTED, FailureWord.INTERRUPTED),
        ("", FailureWord.BOT_START_FAILED, FailureWord.BOT_START_FAILED),
    ],
)
def test_a_bot_that_the_fence_killed_while_it_started_is_not_said_to_have_failed(
    loss: str, word: FailureWord, named: FailureWord
) -> None:
    keep(FakeLease(loss=loss))
    try:
        failure = StartupFailure(word, "The bot was ended by SIGKILL.", next_action="Look.", evidence=("last line",))
        cause = name_cause(Settings.from_environ(_LEASED), failure)
    finally:
        drop()
    assert cause.word is named
    if named is FailureWord.LEASE_UNAVAILABLE:
        assert loss in cause.message
        assert cause.evidence == (str(failure), "last line")


def test_the_password_is_a_secret_that_no_text_shows() -> None:
    settings = Settings.from_environ(_LEASED | {"LEASE_USER": "u", "LEASE_PASSWORD": "hunter22"})
    assert "hunter22" in settings.secrets
    assert "hunter22" not in repr(settings)


@pytest.mark.parametrize("role", list(Role))
def test_every_role_is_said_in_a_sentence_of_its_own(role: Role) -> None:
    text = str(Standing(role=role, host="a", holder="b", since="2026-11-18", revision=7, problem="no answer"))
    assert text.startswith("a ")
    assert "no answer" in text


def test_a_hot_standbys_gateway_never_takes_a_session_away() -> None:
    hot = {"STANDBY_GATEWAY": "hot", "TWS_USERID": "two"}

    def find_action(environ: dict[str, str]) -> list[str]:
        return [one.value for one in Settings.from_environ(environ).image_variables]

    assert find_action(_LEASED | hot) == ["secondary"]
    assert find_action(_LEASED | hot | {"EXISTING_SESSION_DETECTED_ACTION": "secondary"}) == ["secondary"]
    assert find_action(_LEASED | {"TWS_USERID": "two"}) == []
    assert find_action(hot) == []  # one host alone is exactly as before


def test_user_names_are_told_apart_without_showing_them() -> None:
    def fingerprint(**environ: str) -> str:
        return fingerprint_login(Settings.from_environ(_LEASED | environ))

    one = fingerprint(TWS_USERID="trader")
    assert one == fingerprint(TWS_USERID="Trader")  # the broker takes both
    assert one not in {"", "trader", fingerprint(TWS_USERID="trader2"), fingerprint(TWS_USERID="trader", INSTANCE="b")}
    assert fingerprint() == ""


@pytest.mark.parametrize(
    ("leader", "own", "kind", "said"),
    [
        ("a1", "b2", "hot", ""),
        ("a1", "a1", "hot", "same user name"),
        ("", "b2", "hot", "unknown whether"),
        ("a1", "", "hot", "unknown whether"),
        (None, "b2", "hot", "no other host leads"),
        ("a1", "b2", "cold", "cold"),
    ],
)
def test_a_standbys_gateway_is_up_only_beside_a_leader_of_another_user_name(
    tmp_path: Path, leader: str | None, own: str, kind: str, said: str
) -> None:
    environ = _LEASED | {"STANDBY_GATEWAY": kind, "TWS_USERID": "two", "STATE_DIR": str(tmp_path)}
    other = None if leader is None else Holder(host="a", session="", since="", ttl_s=15.0, login=leader)
    settings = Settings.from_environ(environ)

    why = find_reason_for_cold(settings, other, own)
    assert (why == "") is (said == "")
    assert said in why

    write_hold(tmp_path, reason="a test", now=datetime.now(tz=UTC))
    assert find_reason_for_cold(settings, other, own)
