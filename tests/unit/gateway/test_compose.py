"""What Compose is told about the gateway's service."""

from orchestration.gateway.compose import build_compose_environ
from orchestration.settings import Settings

LIVE = {"TRADING_MODE": "live", "ALLOW_LIVE_TRADING": "yes", "GATEWAY_ACCOUNT": "U1234567"}


def test_compose_is_given_the_checked_values() -> None:
    environ = build_compose_environ(
        Settings.from_environ(
            {"TWS_USERID": "user", "TWS_PASSWORD": "pass word", "READ_ONLY_API": "yes", "TIME_ZONE": "Europe/Berlin"}
        )
    )
    assert environ == {
        "GATEWAY_IMAGE": "ghcr.io/gnzsnz/ib-gateway:stable",
        "GATEWAY_CONTAINER_NAME": "ibkr-gateway",
        "GATEWAY_PORT": "4002",
        "GATEWAY_FORWARDER_PORT": "4004",
        "GATEWAY_STOP_GRACE": "120",
        "GATEWAY_MEMORY_LIMIT": "2g",
        "TRADING_MODE": "paper",
        "TWS_USERID": "user",
        "TWS_PASSWORD": "pass word",
        "TIME_ZONE": "Europe/Berlin",
        "TWOFA_TIMEOUT_ACTION": "restart",
        "AUTO_RESTART_TIME": "11:45 PM",
        "SIMULATOR_FAULTS": "",
        "READ_ONLY_API": "yes",
    }


def test_live_mode_publishes_the_live_port() -> None:
    environ = build_compose_environ(Settings.from_environ(LIVE))
    assert (environ["GATEWAY_PORT"], environ["GATEWAY_FORWARDER_PORT"]) == ("4001", "4003")
    assert environ["TRADING_MODE"] == "live"


def test_a_missing_password_is_empty_and_not_unset() -> None:
    assert build_compose_environ(Settings.from_environ({}))["TWS_PASSWORD"] == ""
