"""When a bot needs an order guard, and what it must not reach past it."""

import json

import pytest

from orchestration.bot.docker_runtime import find_other_networks
from orchestration.bot.order_guard import has_no_bot, is_guarded, list_gateway_ports
from orchestration.errors import StepStatus
from orchestration.preflight.table import check_strategy_c
from orchestration.settings import Settings


def settings_with(choice: str, **variables: str) -> Settings:
    return Settings.from_environ({"STRATEGY_C_BOT": choice, **variables})


@pytest.mark.parametrize(
    ("choice", "strategy", "guarded", "no_bot"),
    [
        ("guarded", "C", True, False),
        ("trusted", "C", False, False),
        ("none", "C", False, True),
        ("guarded", "A", False, False),
        ("none", "B", False, False),
    ],
)
def test_only_strategy_c_is_guarded_or_without_a_bot(
    *, choice: str, strategy: str, guarded: bool, no_bot: bool
) -> None:
    settings = settings_with(choice)
    assert (is_guarded(settings, strategy), has_no_bot(settings, strategy)) == (guarded, no_bot)


def test_guarded_is_the_default() -> None:
    assert is_guarded(Settings.from_environ({}), "C")


def test_the_gateways_own_port_and_the_usual_ones_are_denied_but_not_the_guards() -> None:
    assert list_gateway_ports(5000, but=4102) == {4001, 4002, 4003, 4004, 7496, 7497, 5000}
    assert 4004 not in list_gateway_ports(3904, but=4004)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"networks": {"default": None}}, ""),
        ({}, ""),
        ({"networks": {"default": None, "gateway": {}}}, "the network gateway"),
        ({"network_mode": "host"}, "network mode host"),
        ({"network_mode": "container:gateway"}, "network mode container:gateway"),
    ],
)
def test_a_compose_file_that_puts_the_bot_elsewhere_is_found(service: dict[str, object], said: str) -> None:
    assert find_other_networks(json.dumps({"services": {"bot": service}}), "bot") == said


def test_preflight_says_that_a_container_cannot_be_guarded_where_dockers_networks_are_not_on_this_host() -> None:
    for mode, status in (("guarded", StepStatus.WARN), ("none", StepStatus.OK)):
        check = check_strategy_c(settings_with(mode, BOT_RUNTIME="docker"), can_deny=True, can_listen=False)
        assert check.status is status
    in_process = check_strategy_c(settings_with("guarded"), can_deny=True, can_listen=False)
    assert in_process.status is StepStatus.OK


@pytest.mark.parametrize(
    ("settings", "can_deny", "status", "said"),
    [
        (settings_with("guarded"), True, StepStatus.OK, "prevented (Landlock)"),
        (settings_with("guarded"), False, StepStatus.WARN, "detected, not prevented"),
        (settings_with("guarded", BOT_RUNTIME="docker"), False, StepStatus.OK, "a network that the gateway is not in"),
        (settings_with("trusted"), True, StepStatus.WARN, "nothing keeps it from ordering"),
        (settings_with("none"), False, StepStatus.OK, "no bot runs on Strategy C"),
    ],
)
def test_preflight_says_what_keeps_the_bot_from_ordering(
    *, settings: Settings, can_deny: bool, status: StepStatus, said: str
) -> None:
    check = check_strategy_c(settings, can_deny=can_deny)
    assert check.status is status
    assert said in check.detail
