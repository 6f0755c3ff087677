"""Where a gateway can be asked to restart itself, and when that has begun."""

from dataclasses import replace

import pytest

from orchestration.docker.container import ContainerState
from orchestration.gateway.container import GatewayStatus
from orchestration.gateway.soft_restart import InnerLook, Ports, find_ports, has_begun, parse_look
from orchestration.system.commands import CommandResult

RUNNING = GatewayStatus(state=ContainerState.RUNNING, id="c0ffee", networks=("algo-trader_default",))


@pytest.mark.parametrize(
    ("environ", "ports"),
    [
        ((), Ports(command=7462, api=4002)),
        ((("TRADING_MODE", "live"),), Ports(command=7462, api=4001)),
        ((("TRADING_MODE", "paper"), ("CONTROLLER_COMMAND_SERVER_PORT", "7500")), Ports(command=7500, api=4002)),
        ((("CONTROLLER_COMMAND_SERVER_PORT", "what"),), Ports(command=7462, api=4002)),
        ((("CONTROLLER_COMMAND_SERVER_PORT", "0"),), None),
        ((("TRADING_MODE", "both"),), None),
        ((("CONTROLLER_COMMAND_SERVER_PORT", "65536"),), None),
    ],
)
def test_the_ports_are_those_of_the_containers_own_environment(
    environ: tuple[tuple[str, str], ...], ports: Ports | None
) -> None:
    assert find_ports(replace(RUNNING, environ=environ)) == ports


@pytest.mark.parametrize(
    "status",
    [
        replace(RUNNING, networks=("host",)),
        replace(RUNNING, networks=()),  # in another container's network: that one's loopback
        *(replace(RUNNING, state=state) for state in ContainerState if state is not ContainerState.RUNNING),
    ],
)
def test_a_gateway_that_cannot_be_told_from_another_one_is_not_asked(status: GatewayStatus) -> None:
    assert find_ports(status) is None


@pytest.mark.parametrize(
    ("before", "now", "begun"),
    [
        ((True, 1), (True, 1), False),
        ((True, 1), (False, 1), True),  # the API goes down first
        ((True, 1), (True, 2), True),  # too quick to be seen down: it has written down its new start
        ((False, 1), (False, 1), False),
        ((False, 1), (False, 2), True),
        ((False, 1), (True, 1), True),
        ((True, 5), (True, 1), False),  # another file took the place of launcher.log; nothing was restarted
    ],
)
def test_a_restart_has_begun_once_the_api_is_down_or_a_new_start_is_written(
    before: tuple[bool, int], now: tuple[bool, int], *, begun: bool
) -> None:
    looks = [InnerLook(is_api_open=is_open, restarts=restarts) for is_open, restarts in (before, now)]
    assert has_begun(*looks) is begun


@pytest.mark.parametrize("text", ["", "api open\n", "restarts 1\n", "api open\nrestarts many\n", "bash: not found\n"])
def test_a_look_that_cannot_be_understood_says_nothing(text: str) -> None:
    assert parse_look(CommandResult(argv=("docker",), exit_code=0, stdout=text)) is None
