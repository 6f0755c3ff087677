"""Where the live page may listen, and who must give a token."""

import pytest

from orchestration.errors import StartupFailure
from orchestration.settings import Settings

TOKEN = "0123456789abcdef"  # noqa: S105 - planted


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "localhost:1", "[::1]:65535"])
def test_the_page_may_listen_on_loopback_without_a_token(address: str) -> None:
    listen = Settings.from_environ({"STATUS_LISTEN": address}).status_listen
    assert listen is not None
    assert f"{listen.host}:{listen.port}" == address.replace("[", "").replace("]", "")


@pytest.mark.parametrize(
    "address", ["9464", ":9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "http://x:1", "a b:1"]
)
def test_what_is_no_address_with_a_port_is_refused_by_name(address: str) -> None:
    with pytest.raises(StartupFailure, match=r"STATUS_LISTEN: .* must be an address and a port"):
        Settings.from_environ({"STATUS_LISTEN": address})


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "192.168.1.5:9464", "rackmount:9464", "[::]:9464"])
def test_an_address_that_others_reach_needs_a_token(address: str) -> None:
    with pytest.raises(StartupFailure, match="STATUS_TOKEN: unset, and required"):
        Settings.from_environ({"STATUS_LISTEN": address})
    assert Settings.from_environ({"STATUS_LISTEN": address, "STATUS_TOKEN": TOKEN}).status_listen is not None


def test_a_short_token_is_accepted() -> None:
    settings = Settings.from_environ({"STATUS_LISTEN": "0.0.0.0:9464", "STATUS_TOKEN": "hunter2"})
    assert settings.status_token is not None
    assert settings.status_token.reveal() == "hunter2"
