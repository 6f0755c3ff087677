"""Whether the operator's own bot may be tried on the built-in gateway: `inv startup --simulate` with BOT_COMMAND."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.errors import FailureWord, StepStatus
from orchestration.preflight.trial import GATEWAY_PORTS, KnownGateway, TrialScene, is_trial, judge_trial
from orchestration.settings import Settings
from orchestration.startup.configuration import build_overrides
from orchestration.system.sockets import find_listen_addresses_in

_SCENE = TrialScene(
    host="127.0.0.1",
    port=4102,
    known=frozenset({KnownGateway(host="", port=4002)}),
    listening_at_own_port=frozenset(),
    denied_ports=GATEWAY_PORTS,
    listening_ports=frozenset(),
    can_confine=True,
)


def test_a_bot_that_the_kernel_confines_may_be_tried_beside_a_real_gateway() -> None:
    check = judge_trial(replace(_SCENE, listening_ports=frozenset({4002})))
    assert check.status is StepStatus.OK
    assert "cannot connect to ports 4001, 4002, 4003, 4004, 7496, 7497" in check.detail


def test_without_confinement_a_port_that_anything_listens_at_refuses_the_trial() -> None:
    check = judge_trial(replace(_SCENE, can_confine=False, listening_ports=frozenset({7497, 4001})))
    assert (check.status, check.failure) == (StepStatus.FAIL, FailureWord.CONFIG_INVALID)
    assert "port 4001" in check.detail
    assert check.fix


def test_without_confinement_and_without_a_gateway_here_there_is_a_warning() -> None:
    check = judge_trial(replace(_SCENE, can_confine=False))
    assert check.status is StepStatus.WARN
    assert "cannot deny" in check.detail


@pytest.mark.parametrize("can_confine", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"known": frozenset({KnownGateway(host="192.0.2.7", port=4102)})},
        {"known": frozenset({KnownGateway(host="gateway.example", port=4102)})},
        {"listening_at_own_port": frozenset({"127.0.0.1", "192.0.2.1"})},
        {"listening_at_own_port": frozenset({"::1"})},
        {"listening_at_own_port": frozenset({"0.0.0.0"})},  # noqa: S104 - as the kernel's table says it
    ],
    ids=["remote address", "remote name", "another address", "IPv6 loopback", "every address"],
)
def test_no_other_gateway_may_have_the_simulators_port(
    changes: dict[str, frozenset[str]], *, can_confine: bool
) -> None:
    scene = replace(_SCENE, can_confine=can_confine, **changes)  # type: ignore[arg-type]  # fields of the table above
    check = judge_trial(scene)
    assert (check.status, check.failure) == (StepStatus.FAIL, FailureWord.CONFIG_INVALID)
    assert "GATEWAY_PORT=" in check.fix


def test_the_simulator_itself_and_a_gateway_elsewhere_are_no_reason_to_refuse() -> None:
    known = frozenset({KnownGateway(host="192.0.2.7", port=4002), KnownGateway(host="localhost", port=4102)})
    scene = replace(_SCENE, known=known, listening_at_own_port=frozenset({"127.0.0.1"}))
    assert judge_trial(scene).status is StepStatus.OK


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        ({"BOT_COMMAND": "./trader", "BOT_WORKDIR": "/srv", "BOT_ARGUMENTS": "none"}, ("./trader",)),
        ({"BOT_WORKDIR": "/srv", "BOT_ARGUMENTS": "none"}, None),
    ],
)
def test_the_bots_own_settings_count_where_it_is_named(
    environ: dict[str, str], command: tuple[str, ...] | None, tmp_path: Path
) -> None:
    configured = Settings.from_environ(environ, project_dir=tmp_path, lenient=True)
    overrides = build_overrides(configured)
    tried = Settings.from_environ(environ, project_dir=tmp_path, overrides=overrides, simulated=True)
    assert is_trial(tried) == (command is not None)
    if command is None:
        assert (tried.bot_workdir, tried.bot_arguments) == (tmp_path, "append")
    else:
        assert (tried.bot_command, str(tried.bot_workdir), tried.bot_arguments) == (command, "/srv", "none")


def test_addresses_that_anything_listens_at_are_read_from_the_kernels_table() -> None:
    table = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 0200007F:0FA2 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12 1
   2: 00000000000000000000000001000000:0FA2 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 13 1
   3: 00000000:0FA1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1"""
    assert find_listen_addresses_in(table.splitlines(), 4002) == {"127.0.0.1", "::1"}
