"""Where another container reaches the gateway."""

import dataclasses

import pytest

from orchestration.docker.container import ContainerState
from orchestration.errors import FailureWord, StartupFailure
from orchestration.gateway.container import GatewayStatus, find_inner_address
from orchestration.system.endpoint import Endpoint


def status(*networks: str, ports: tuple[tuple[int, int], ...] = ((4002, 4004),)) -> GatewayStatus:
    return GatewayStatus(state=ContainerState.RUNNING, name="ibkr-gateway", networks=networks, inner_ports=ports)


def test_it_is_the_gateways_own_name_and_inner_port_in_a_network_of_names() -> None:
    found = find_inner_address(status("bridge", "ibkr-gateway_default"), port=4002)
    assert found == Endpoint(host="ibkr-gateway", port=4004, network="ibkr-gateway_default")


def test_of_several_networks_it_is_the_default_one_of_the_gateways_compose_project() -> None:
    seen = dataclasses.replace(status("gw_broker", "gw_default", "z"), compose_project="gw")
    assert find_inner_address(seen, port=4002).network == "gw_default"
    assert find_inner_address(dataclasses.replace(seen, compose_project="other"), port=4002).network == "gw_broker"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (status("bridge"), "in no network of its own"),
        (status("host"), "in no network of its own"),
        (status(), "in no network of its own"),
        (status("trading", ports=((4001, 4003),)), "publishes nothing at port 4002"),
    ],
)
def test_a_gateway_that_no_container_reaches_is_a_failed_start(seen: GatewayStatus, said: str) -> None:
    with pytest.raises(StartupFailure, match=said) as failed:
        find_inner_address(seen, port=4002)
    assert failed.value.word is FailureWord.BOT_START_FAILED
    assert "BOT_RUNTIME=process" in failed.value.next_action
